"""The vendor's own service model as a judge: what reaches the wire has its shape, limits and patterns included.

Then the vendor's error table, and that nothing is ever asked twice: the library would, left alone.
"""

import asyncio
import base64
import contextlib
import json
import pickle
import re
import subprocess
import sys
from email.header import decode_header, make_header
from pathlib import Path
from types import SimpleNamespace

import botocore.loaders
import botocore.model
import pytest

from providers import Providers, Settings
from providers.core import errors
from providers.core.clock import utc
from providers.core.errors import (
    AuthenticationError,
    BadResponseError,
    ConfigurationError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    PermissionDeniedError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    QuotaExceededError,
    RateLimitedError,
    UnsupportedOperationError,
)
from providers.core.threads import Clients, Threads
from providers.email import Attachment, MessageRef, Recipient, SendState, SesEmail
from providers.email.api import Personal, failure
from providers.email.ses_events import parse_events
from providers.testing.clock import START, ManualClock
from providers.testing.servers import Fault, FaultServer

DATA = Path(__file__).parent.parent / "data" / "ses"
SENDER = "noreply@shop.example.com"
SECRET = "canary/secret+key/0123456789abcdefghijkl"
CREDENTIALS = {
    "SES_ACCESS_KEY_ID": "AKIACANARY0123456789",
    "SES_SECRET_ACCESS_KEY": SECRET,
    "SES_REGION": "eu-central-1",
    "SES_FROM_EMAIL": SENDER,
}
UNKNOWN, NOT_APPLIED = Outcome.UNKNOWN, Outcome.NOT_APPLIED
ONE, MANY = "/v2/email/outbound-emails", "/v2/email/outbound-bulk-emails"
SENT = {"MessageId": "0100019aexample-00000000-0000-4000-8000-000000000001-000000"}
MODEL = botocore.model.ServiceModel(botocore.loaders.Loader().load_service_model("sesv2", "service-2"), "sesv2")
PDF = bytes(range(256)) * 20


class Vendor:
    """A server that answers as it is told, and the `Providers` that talk to it."""

    def __init__(self, server, clock):
        self.server, self.clock = server, clock

    def open(self, **more):
        settings = Settings(
            mode="live",
            vendors={"email": "ses"},
            credentials=CREDENTIALS | more,
            base_urls={"ses": self.server.url},
            environ={},
            env_file=None,
        )
        return Providers(settings, clock=self.clock)

    def answer(self, value, status=200, headers=None, *, times=None, path=""):
        fault = Fault.json(status, value, headers)
        self.server.stage(fault, times=times, match=(None, path) if path else None)

    def call(self, step, **more):
        async def scenario():
            async with self.open(**more) as providers:
                return await step(providers.email)

        return asyncio.run(scenario())

    def bodies(self, path=ONE):
        return [json.loads(request.body) for request in self.server.requests if request.path == path]

    def send(self, message, **more):
        """The request of one mail, as it came over the wire."""
        self.answer(SENT, times=1)
        ref = self.call(lambda email: email.send(message), **more)
        assert ref == MessageRef(vendor="ses", id=SENT["MessageId"])
        (body,) = self.bodies()
        judge(body, "SendEmail")
        return body

    def campaign(self, message, recipients, results=None, **more):
        """The outcomes of a campaign, and the request."""
        results = results or [{"Status": "SUCCESS", "MessageId": f"id-{n}"} for n, _ in enumerate(recipients)]
        self.answer({"SuppressedDestinationSummaries": []}, path="/v2/email/suppression")
        self.answer({"BulkEmailEntryResults": results}, path=MANY)

        async def step(email):
            return [one async for one in email.send_campaign(message, recipients, idempotency_key="spring")]

        outcomes = self.call(step, **more)
        body = self.bodies(MANY)[0] if self.bodies(MANY) else None
        if body is not None:
            judge(body, "SendBulkEmail")
        return outcomes, body


@pytest.fixture
def vendor():
    clock = ManualClock()
    with FaultServer() as server:
        yield Vendor(server, clock)
        server.release()


def judge(body, operation):
    """The request against the vendor's model: names, types, what is required, lengths, patterns, words."""
    check(body, MODEL.operation_model(operation).input_shape, operation)


def check(value, shape, place):
    assert isinstance(value, {"structure": dict, "list": list, "string": str, "blob": str}[shape.type_name]), place
    if shape.type_name == "structure":
        assert set(shape.required_members) <= set(value) <= set(shape.members), place
        for name, inner in value.items():
            check(inner, shape.members[name], f"{place}.{name}")
    elif shape.type_name == "list":
        assert len(value) <= shape.metadata.get("max", len(value)), place
        for index, inner in enumerate(value):
            check(inner, shape.member, f"{place}.{index}")
    elif shape.type_name == "string":
        limits = shape.metadata
        assert limits.get("min", 0) <= len(value) <= limits.get("max", len(value)), place
        assert re.fullmatch(limits.get("pattern", ".*"), value, re.DOTALL), place
        assert value in (shape.enum or [value]), place
        if shape.name in {"MessageTagName", "MessageTagValue"}:
            assert re.fullmatch("[A-Za-z0-9_-]{1,256}", value), place
    else:
        base64.b64decode(value, validate=True)


def tags_of(body):
    return {tag["Name"]: tag["Value"] for tag in body["EmailTags"]}


def headers_of(content):
    return {header["Name"]: header["Value"] for header in content["Headers"]}


def read_back(tags):
    """Metadata and tags as an event would bring them."""
    event = {"eventType": "Send", "mail": {"destination": ["a@example.com"], "tags": {k: [v] for k, v in tags.items()}}}
    (found,) = parse_events(json.dumps(event), "n", START)
    return dict(found.metadata), found.tags


# Single mails.


def test_a_plain_mail_is_the_vendors_sample_with_our_id(vendor, mail):
    body = vendor.send(mail(subject="Order 1001", text="It has shipped.", html="<p>It has <b>shipped</b>.</p>"))
    tracking_id = tags_of(body)["pm_id"]
    assert len(tracking_id) == 32
    assert body == {
        "FromEmailAddress": SENDER,
        "Destination": {"ToAddresses": ["ana@example.com"]},
        "Content": {
            "Simple": {
                "Subject": {"Data": "Order 1001", "Charset": "UTF-8"},
                "Body": {
                    "Text": {"Data": "It has shipped.", "Charset": "UTF-8"},
                    "Html": {"Data": "<p>It has <b>shipped</b>.</p>", "Charset": "UTF-8"},
                },
                "Headers": [{"Name": "X-PM-Id", "Value": tracking_id}],
            }
        },
        "EmailTags": [{"Name": "pm_id", "Value": tracking_id}],
    }


def test_the_samples_of_the_sheet_have_the_models_shape():
    judge(json.loads((DATA / "send_email_kwargs.json").read_text(encoding="utf-8")), "SendEmail")
    judge(json.loads((DATA / "send_bulk_email_kwargs.json").read_text(encoding="utf-8")), "SendBulkEmail")


def test_the_request_is_signed_says_who_we_are_and_holds_no_secret(vendor, mail):
    vendor.send(mail())
    (request,) = vendor.server.requests
    assert (request.method, request.path) == ("POST", ONE)
    scope = "/eu-central-1/ses/aws4_request"
    assert request.headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIACANARY0123456789/")
    assert scope in request.headers["Authorization"]
    assert "providers/" in request.headers["User-Agent"]
    assert SECRET not in str(request)


def test_names_in_every_script_become_encoded_words(vendor, mail):
    people = ['"O\'Neill, Ana" <ana@example.com>', "Zażółć Gęślą 🎈 注文 <ben@example.com>", "=?x?= <cay@example.com>"]
    body = vendor.send(
        mail(
            *people[:1],
            cc=tuple(people[1:2]),
            bcc=tuple(people[2:]),
            reply_to="Hilfe Söhne <help@shop.example.com>",
            sender="Söhne & Co <shop@shop.example.com>",
        )
    )
    sent = [*body["Destination"].values(), body["ReplyToAddresses"], [body["FromEmailAddress"]]]
    assert all(one.isascii() for some in sent for one in some)
    read = [str(make_header(decode_header(one))) for some in sent for one in some]
    assert read == [
        '"O\'Neill, Ana" <ana@example.com>',
        "Zażółć Gęślą 🎈 注文 <ben@example.com>",
        "=?x?= <cay@example.com>",
        "Hilfe Söhne <help@shop.example.com>",
        "Söhne & Co <shop@shop.example.com>",
    ]
    assert all(len(word) <= 75 for some in sent for one in some for word in one.split())


def test_headers_attachments_and_one_click(vendor, mail):
    message = mail(
        html='<img src="cid:logo">',
        headers={"X-Entity-Ref-ID": "1001", "X-Söhne".encode("ascii", "ignore").decode(): "Grüße 🎈"},
        unsubscribe_url="https://shop.example.com/u/1?a=b",
        attachments=(
            Attachment(filename="Rechnung 1001.pdf", content=PDF, content_type="application/pdf"),
            Attachment(filename="logo.png", content=b"x", content_type="image/png", inline=True, content_id="logo"),
        ),
    )
    simple = vendor.send(message)["Content"]["Simple"]
    headers = headers_of(simple)
    assert headers["List-Unsubscribe"] == "<https://shop.example.com/u/1?a=b>"
    assert headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert str(make_header(decode_header(headers["X-Shne"]))) == "Grüße 🎈"
    assert simple["Attachments"] == [
        {
            "RawContent": base64.b64encode(PDF).decode(),
            "FileName": "Rechnung 1001.pdf",
            "ContentType": "application/pdf",
            "ContentDisposition": "ATTACHMENT",
            "ContentTransferEncoding": "BASE64",
        },
        {
            "RawContent": base64.b64encode(b"x").decode(),
            "FileName": "logo.png",
            "ContentType": "image/png",
            "ContentDisposition": "INLINE",
            "ContentTransferEncoding": "BASE64",
            "ContentId": "logo",
        },
    ]


def test_metadata_that_can_be_tags_are_and_all_of_it_comes_back(vendor, mail):
    metadata = {"order_id": "1001", "shop": "Söhne", "pm_own": "x", "empty": "", "with space": "1", "long": "x" * 257}
    tags = ("orders", "émigré, and so on")
    body = vendor.send(mail(metadata=metadata, tags=tags))
    sent = tags_of(body)
    assert sent["order_id"] == "1001"
    assert {"shop", "pm_own", "empty", "with space", "long"}.isdisjoint(sent)
    assert read_back(sent) == ({**metadata, "pm_id": sent["pm_id"]}, tags)


def test_a_stored_template_by_name_and_by_arn(vendor, mail):
    arn = "arn:aws:ses:eu-central-1:123456789012:template/welcome"
    for template, named in (("welcome", "TemplateName"), (arn, "TemplateArn")):
        vendor.server.reset()
        body = vendor.send(mail(template=template, text=None, variables={"first_name": "Ana", "items": [1, 2]}))
        content = body["Content"]["Template"]
        assert content[named] == template
        assert json.loads(content["TemplateData"]) == {"first_name": "Ana", "items": [1, 2]}
        assert headers_of(content)["X-PM-Id"] == tags_of(body)["pm_id"]


def test_the_configuration_set_and_the_senders_name_are_the_accounts(vendor, mail):
    body = vendor.send(mail(), SES_CONFIGURATION_SET="transactional", SES_FROM_NAME="Demo, Shop")
    assert body["ConfigurationSetName"] == "transactional"
    assert body["FromEmailAddress"] == f'"Demo, Shop" <{SENDER}>'


def test_vendor_options_come_last(vendor, mail):
    options = {"ses": {"ConfigurationSetName": "mine", "TenantName": "t"}, "sendgrid": {"ConfigurationSetName": "no"}}
    body = vendor.send(mail(vendor_options=options), SES_CONFIGURATION_SET="transactional")
    assert (body["ConfigurationSetName"], body["TenantName"]) == ("mine", "t")


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("headers", {"headers": {f"X-{n}": "1" for n in range(15)}}),
        ("headers", {"headers": {"X-A": "x" * 996}}),
        ("headers", {"headers": {"X" * 127: "1"}}),
        ("headers", {"headers": {"X" * 100: "x" * 900}}),
        ("headers", {"headers": {"X-A": ""}}),
        ("headers", {"headers": {"X-A": "ü" * 400}}),
        ("unsubscribe_url", {"unsubscribe_url": "https://shop.example.com/ü"}),
        ("unsubscribe_url", {"unsubscribe_url": "https://shop.example.com/" + "x" * 1000}),
        ("metadata.pm_id", {"metadata": {"pm_id": "1"}}),
        ("metadata", {"metadata": {f"name{n}": "1" for n in range(50)}}),
        ("metadata", {"metadata": {"n": "x" * 20_000}}),
        ("variables", {"template": "t", "variables": {"x": "y" * 262_144}}),
        (
            "attachments.0.content_type",
            {"attachments": (Attachment(filename="a", content=b"", content_type="x" * 79),)},
        ),
        (
            "attachments.0.content_id",
            {"attachments": (Attachment(filename="a", content=b"", inline=True, content_id="x" * 79),)},
        ),
        ("tags", {"tags": tuple(f"t{n}" for n in range(11))}),
    ],
    ids=range(15),
)
def test_what_the_model_does_not_allow_is_refused_before_anything_is_sent(vendor, mail, field, changes):
    with pytest.raises(InvalidRequestError) as caught:
        vendor.call(lambda email: email.send(mail(**changes)))
    assert (caught.value.field, caught.value.outcome, caught.value.vendor) == (field, NOT_APPLIED, "ses")
    assert vendor.server.requests == ()


def test_what_is_just_allowed_is_sent(vendor, mail):
    vendor.send(
        mail(
            headers={f"X-{n}": "1" for n in range(11)} | {"X-A": "x" * 993},
            unsubscribe_url="https://e.example.com/" + "x" * 950,
            metadata={f"name{n}": "1" for n in range(48)},
            tags=("a",),
        )
    )


def test_a_time_to_send_at_is_unsupported(vendor, mail):
    with pytest.raises(UnsupportedOperationError):
        vendor.call(lambda email: email.send(mail(send_at=utc(START + 60))))
    assert vendor.server.requests == ()


def test_options_that_the_model_does_not_have_are_the_requests_fault(vendor, mail):
    for options, named in (({"Nonsense": 1}, "Nonsense"), ({"EmailTags": [{"Name": 7}]}, "EmailTags[0]")):
        with pytest.raises(InvalidRequestError) as caught:
            vendor.call(lambda email, options=options: email.send(mail(vendor_options={"ses": options})))
        assert named in str(caught.value)
        assert (caught.value.code, caught.value.outcome) == ("parameter", NOT_APPLIED)
    assert vendor.server.requests == ()


# Batches.

READERS = [
    Recipient(email="ana@example.com", name="Ana", variables={"code": "A-1"}, metadata={"contact": "7"}),
    Recipient(email="ben@example.com", name="<Béla> & {{code}}", variables={"code": 2}),
]


def rendered(template, data):
    """Simple substitution, the only one there is in a template that comes with the request; nothing is escaped."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: data[match[1]], template)


def campaign_text(mail, **changes):
    return mail(**{"to": (), "subject": "{{code}} for {{name}}", "text": "{{ name }}: {{code}}"} | changes)


def test_a_batch_carries_its_text_once_and_each_readers_own(vendor, mail):
    message = campaign_text(
        mail,
        html="<b title='{{name}}'>{{name}}</b>",
        headers={"X-A": "1"},
        unsubscribe_url="https://shop.example.com/u/{{code}}?n={{name}}",
        metadata={"campaign": "spring"},
        tags=("news",),
        attachments=(Attachment(filename="a.txt", content=b"a"),),
    )
    outcomes, body = vendor.campaign(message, READERS)
    assert [one.state for one in outcomes] == [SendState.SENT] * 2
    assert [one.ref.id for one in outcomes] == ["id-0", "id-1"]
    template = body["DefaultContent"]["Template"]
    assert headers_of(template) == {"X-A": "1"}
    assert len(template["Attachments"]) == 1
    content = template["TemplateContent"]
    for reader, entry, code in zip(READERS, body["BulkEmailEntries"], ("A-1", "2"), strict=True):
        data = json.loads(entry["ReplacementEmailContent"]["ReplacementTemplate"]["ReplacementTemplateData"])
        name = reader.name
        assert rendered(content["Subject"], data) == f"{code} for {name}"
        assert rendered(content["Text"], data) == f"{name}: {code}"
        escaped = name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("{", "&#123;")
        assert rendered(content["Html"], data) == f"<b title='{escaped}'>{escaped}</b>"
        (to,) = entry["Destination"]["ToAddresses"]
        assert str(make_header(decode_header(to))).endswith(f" <{reader.email}>")
        tags = {tag["Name"]: tag["Value"] for tag in entry["ReplacementTags"]}
        headers = {header["Name"]: header["Value"] for header in entry["ReplacementHeaders"]}
        assert headers["X-PM-Id"] == tags["pm_id"]
        assert headers["List-Unsubscribe"].startswith(f"<https://shop.example.com/u/{code}?n=")
        assert headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        metadata, labels = read_back(tags)
        assert metadata == {"campaign": "spring", **reader.metadata, "pm_id": tags["pm_id"]}
        assert labels == ("news",)
    assert len({entry["ReplacementTags"][0]["Value"] for entry in body["BulkEmailEntries"]}) == 2


@pytest.mark.parametrize(
    "text",
    [
        "{{{name}}}",
        "{{{{name}}}}",
        "\\{{name}}",
        "\\\\{{name}}\\",
        "{{#if x}}literal{{/if}} {{!note}} {{> part}} {{^}}",
        "{{name}}{{ name }}{{{",
        "}}}{{name}}{",
        "a{b}c { d } {}",
        "@media print{p{color:red}}",
        "{{a.b}} {{a-b}} {{}} {{ }}",
        "{{name",
    ],
)
def test_braces_of_the_customers_own_reach_the_reader_unchanged(vendor, mail, text):
    message = campaign_text(mail, subject="S " + text, text=text, html=f"<style>{text}</style>")
    outcomes, body = vendor.campaign(message, READERS[:1])
    assert [one.state for one in outcomes] == [SendState.SENT]
    content = body["DefaultContent"]["Template"]["TemplateContent"]
    (entry,) = body["BulkEmailEntries"]
    data = json.loads(entry["ReplacementEmailContent"]["ReplacementTemplate"]["ReplacementTemplateData"])
    expected = re.sub(r"\{\{\s*name\s*\}\}", "Ana", text)
    assert rendered(content["Text"], data) == expected
    assert rendered(content["Subject"], data) == "S " + expected
    assert rendered(content["Html"], data) == f"<style>{expected}</style>"
    # No brace or backslash touches a tag, whatever more a template language may read into it.
    for part in content.values():
        bare = re.sub(r"\{\{\w+\}\}", "\0", part)
        assert not re.search(r"\{\{|\}\}|[{}\\]\0|\0[{}\\]", bare)


def test_a_stored_template_gets_each_readers_variables(vendor, mail):
    message = mail(to=(), template="welcome", text=None, subject="", variables={"shop": "Söhne"})
    outcomes, body = vendor.campaign(message, READERS)
    assert [one.state for one in outcomes] == [SendState.SENT] * 2
    assert body["DefaultContent"]["Template"] == {"TemplateName": "welcome", "TemplateData": "{}", "Headers": []}
    data = [
        json.loads(entry["ReplacementEmailContent"]["ReplacementTemplate"]["ReplacementTemplateData"])
        for entry in body["BulkEmailEntries"]
    ]
    assert data[0] == {"email": "ana@example.com", "name": "Ana", "shop": "Söhne", "code": "A-1"}
    assert data[1]["code"] == 2


STATUSES = {
    "MESSAGE_REJECTED": (InvalidRequestError, NOT_APPLIED, SendState.INVALID),
    "INVALID_PARAMETER": (InvalidRequestError, NOT_APPLIED, SendState.INVALID),
    "TEMPLATE_NOT_FOUND": (NotFoundError, NOT_APPLIED, SendState.INVALID),
    "CONFIGURATION_SET_NOT_FOUND": (ConfigurationError, NOT_APPLIED, SendState.FAILED),
    "INVALID_SENDING_POOL_NAME": (ConfigurationError, NOT_APPLIED, SendState.FAILED),
    "MAIL_FROM_DOMAIN_NOT_VERIFIED": (PermissionDeniedError, NOT_APPLIED, SendState.FAILED),
    "ACCOUNT_SUSPENDED": (PermissionDeniedError, NOT_APPLIED, SendState.FAILED),
    "ACCOUNT_SENDING_PAUSED": (PermissionDeniedError, NOT_APPLIED, SendState.FAILED),
    "CONFIGURATION_SET_SENDING_PAUSED": (PermissionDeniedError, NOT_APPLIED, SendState.FAILED),
    "ACCOUNT_THROTTLED": (RateLimitedError, NOT_APPLIED, SendState.FAILED),
    "ACCOUNT_DAILY_QUOTA_EXCEEDED": (QuotaExceededError, NOT_APPLIED, SendState.FAILED),
    "TRANSIENT_FAILURE": (ProviderUnavailableError, NOT_APPLIED, SendState.FAILED),
    "FAILED": (ProviderUnavailableError, NOT_APPLIED, SendState.FAILED),
    "SOMETHING_NEW": (ProviderUnavailableError, UNKNOWN, SendState.UNKNOWN),
    "": (ProviderUnavailableError, UNKNOWN, SendState.UNKNOWN),
}


@pytest.mark.parametrize("status", STATUSES)
def test_each_entry_of_a_batch_has_its_own_outcome(vendor, mail, status):
    results = [{"Status": "SUCCESS", "MessageId": "id-0"}, {"Status": status, "Error": "Because."}]
    vendor.answer({"BulkEmailEntryResults": results})
    people = [
        Personal(email=one.email, name="", tracking_id=f"t{n}", values={}, variables={}, metadata={})
        for n, one in enumerate(READERS)
    ]

    async def scenario():
        async with vendor.open() as providers:
            return await providers.email.unwrap(SesEmail).send_batch(mail(to=()), people)

    sent, error = asyncio.run(scenario())
    kind, outcome, state = STATUSES[status]
    assert sent == MessageRef(vendor="ses", id="id-0")
    assert type(error) is kind
    assert (error.outcome, error.vendor, error.operation) == (outcome, "ses", "email.send_campaign")
    assert error.code == (status or None)
    assert failure(1, "k", "r", error).state is state
    assert error.retryable is (status in {"ACCOUNT_THROTTLED", "TRANSIENT_FAILURE"})
    if state is SendState.FAILED and status not in {"ACCOUNT_THROTTLED", "TRANSIENT_FAILURE", "FAILED"}:
        assert error.fault is errors.Fault.ACCOUNT


def test_every_status_of_the_model_is_known():
    words = MODEL.shape_for("BulkEmailStatus").enum
    assert set(words) - {"SUCCESS"} == set(STATUSES) - {"", "SOMETHING_NEW"}


def test_failed_without_a_reason_is_unknown_and_success_without_an_id_is_sent(vendor, mail):
    results = [{"Status": "SUCCESS"}, {"Status": "FAILED"}]
    outcomes, body = vendor.campaign(campaign_text(mail), READERS, results)
    assert [one.state for one in outcomes] == [SendState.SENT, SendState.UNKNOWN]
    assert len(vendor.bodies(MANY)) == 1
    assert outcomes[0].ref.id == body["BulkEmailEntries"][0]["ReplacementTags"][0]["Value"]


@pytest.mark.parametrize(
    ("status", "requests"),
    [("ACCOUNT_SUSPENDED", 1), ("CONFIGURATION_SET_NOT_FOUND", 1), ("ACCOUNT_DAILY_QUOTA_EXCEEDED", 1),
     ("TRANSIENT_FAILURE", 5)],
)  # fmt: skip
def test_when_nothing_was_taken_the_whole_call_has_failed_and_a_campaign_stops(vendor, mail, status, requests):
    with pytest.raises(ProviderError) if requests == 1 else contextlib.nullcontext() as caught:
        vendor.campaign(campaign_text(mail), READERS, [{"Status": status, "Error": "Because."}] * 2)
    if caught is not None:
        assert caught.value.fault is errors.Fault.ACCOUNT
        assert (caught.value.code, caught.value.operation) == (status, "email.send_campaign")
        assert type(caught.value) is STATUSES[status][0]
    assert len(vendor.bodies(MANY)) == requests


def test_too_few_results_leave_everybody_unknown(vendor, mail):
    outcomes, _ = vendor.campaign(campaign_text(mail), READERS, [{"Status": "SUCCESS"}])
    assert [one.state for one in outcomes] == [SendState.UNKNOWN] * 2
    assert len(vendor.bodies(MANY)) == 1


def test_one_reader_with_too_much_is_left_out_and_the_rest_is_sent(vendor, mail):
    readers = [
        *READERS,
        Recipient(email="big@example.com", name="Big", variables={"code": "x" * 10_000}),
        Recipient(email="own@example.com", name="Own", variables={"code": "1"}, metadata={"pm_id": "1"}),
    ]
    results = [{"Status": "SUCCESS", "MessageId": f"id-{n}"} for n in range(2)]
    outcomes, body = vendor.campaign(campaign_text(mail), readers, results)
    assert [one.state for one in outcomes] == [SendState.SENT] * 2 + [SendState.INVALID] * 2
    assert len(body["BulkEmailEntries"]) == 2


def test_a_text_too_long_for_a_batch_is_refused(vendor, mail):
    outcomes, body = vendor.campaign(campaign_text(mail, html="x" * 400_000), READERS)
    assert {one.state for one in outcomes} == {SendState.INVALID}
    assert outcomes[0].error.field == "html"
    assert body is None


# The error table.


def wire(code, message="Because.", status=400):
    return status, {"x-amzn-errortype": code, "x-amzn-requestid": "request-1"}, {"message": message}


TABLE = {
    # status, headers, body -> class, outcome, field
    "rate": (
        wire("TooManyRequestsException", "Maximum sending rate exceeded.", 429),
        (RateLimitedError, NOT_APPLIED, None),
    ),
    "throttling": (wire("Throttling", "Maximum sending rate exceeded."), (RateLimitedError, NOT_APPLIED, None)),
    "throttled": (wire("ThrottlingException", "Rate exceeded"), (RateLimitedError, NOT_APPLIED, None)),
    "429 alone": ((429, {}, {}), (RateLimitedError, NOT_APPLIED, None)),
    "day": (
        wire("TooManyRequestsException", "Daily message quota exceeded.", 429),
        (QuotaExceededError, NOT_APPLIED, None),
    ),
    "day, throttling": (wire("Throttling", "Daily message quota exceeded"), (QuotaExceededError, NOT_APPLIED, None)),
    "limit": (wire("LimitExceededException"), (QuotaExceededError, NOT_APPLIED, None)),
    "rejected": (wire("MessageRejected", "Message contains a virus"), (InvalidRequestError, NOT_APPLIED, None)),
    "sandbox": (
        wire(
            "MessageRejected",
            "Email address is not verified. The following identities failed the check in region "
            "EU-CENTRAL-1: ana@example.com",
        ),
        (PermissionDeniedError, NOT_APPLIED, None),
    ),
    "mail from": (wire("MailFromDomainNotVerifiedException"), (PermissionDeniedError, NOT_APPLIED, None)),
    "suspended": (wire("AccountSuspendedException"), (PermissionDeniedError, NOT_APPLIED, None)),
    "paused": (wire("SendingPausedException"), (PermissionDeniedError, NOT_APPLIED, None)),
    "bad": (wire("BadRequestException", "Missing final '@domain'"), (InvalidRequestError, NOT_APPLIED, None)),
    "template": (
        wire("NotFoundException", "Template welcome does not exist", 404),
        (NotFoundError, NOT_APPLIED, "template"),
    ),
    "configuration set": (
        wire("NotFoundException", "Configuration set <x> does not exist.", 404),
        (ConfigurationError, NOT_APPLIED, "SES_CONFIGURATION_SET"),
    ),
    "configuration set, 400": (
        wire("BadRequestException", "Configuration set <x> does not exist."),
        (ConfigurationError, NOT_APPLIED, "SES_CONFIGURATION_SET"),
    ),
    "denied": (
        wire("AccessDeniedException", "User is not authorized to perform: ses:SendEmail", 403),
        (PermissionDeniedError, NOT_APPLIED, None),
    ),
    "token": (wire("InvalidClientTokenId", status=403), (AuthenticationError, NOT_APPLIED, None)),
    "signature": (wire("SignatureDoesNotMatch", status=403), (AuthenticationError, NOT_APPLIED, None)),
    "signature, new": (wire("InvalidSignatureException", status=403), (AuthenticationError, NOT_APPLIED, None)),
    "client": (wire("UnrecognizedClientException", status=403), (AuthenticationError, NOT_APPLIED, None)),
    "expired": (wire("ExpiredToken", status=403), (AuthenticationError, NOT_APPLIED, None)),
    "403 alone": ((403, {}, {}), (PermissionDeniedError, NOT_APPLIED, None)),
    "exists": (wire("AlreadyExistsException"), (ConflictError, NOT_APPLIED, None)),
    "internal": (wire("InternalFailure", status=500), (ProviderUnavailableError, UNKNOWN, None)),
    "500 alone": ((500, {}, {}), (ProviderUnavailableError, UNKNOWN, None)),
    "502": ((502, {}, {}), (ProviderUnavailableError, UNKNOWN, None)),
    "unavailable": (wire("ServiceUnavailable", status=503), (ProviderUnavailableError, NOT_APPLIED, None)),
    "strange code": (wire("SomethingNew"), (InvalidRequestError, NOT_APPLIED, None)),
    "moved": ((301, {"Location": "https://elsewhere.example.com"}, {}), (BadResponseError, NOT_APPLIED, None)),
    "no id": ((200, {}, {}), (BadResponseError, UNKNOWN, None)),
    "another id": ((200, {}, {"MessageId": 7}), (BadResponseError, UNKNOWN, None)),
    "a list": ((200, {}, [1]), (BadResponseError, UNKNOWN, None)),
    "a text": ((200, {}, "x"), (BadResponseError, UNKNOWN, None)),
    "null": ((200, {}, None), (BadResponseError, UNKNOWN, None)),
}


def caught_by(vendor, mail, kind=ProviderError, **more):
    with pytest.raises(kind) as caught:
        vendor.call(lambda email: email.send(mail()), **more)
    error = caught.value
    assert (error.vendor, error.operation) == ("ses", "email.send")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 (our own)
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
    assert SECRET not in repr(error)
    return error


@pytest.mark.parametrize("case", TABLE)
def test_the_vendors_error_table(vendor, mail, case):
    (status, headers, body), (kind, outcome, field) = TABLE[case]
    vendor.answer(body, status, headers)
    error = caught_by(vendor, mail)
    assert (type(error), error.outcome, error.field) == (kind, outcome, field)
    assert error.retry_after is None
    if status != 200:
        assert error.status == status
    if "x-amzn-errortype" in headers:
        assert (error.code, error.request_id) == (headers["x-amzn-errortype"], "request-1")
        assert body["message"] in str(error)
    # Ours repeats what is safe; the library under it repeats nothing.
    assert vendor.server.request_count == (3 if error.retryable else 1)


def test_a_secret_that_the_vendor_quotes_is_masked(vendor, mail):
    vendor.answer(
        {"message": f"no: {SECRET} and AKIACANARY0123456789"}, 400, {"x-amzn-errortype": "BadRequestException"}
    )
    error = caught_by(vendor, mail)
    assert "***" in str(error)
    assert "AKIACANARY" not in str(error)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault.RESET_BEFORE, ProviderUnavailableError),
        (Fault.RESET_AFTER, ProviderUnavailableError),
        (Fault.TRUNCATED_BODY, ProviderError),
        (Fault.GARBAGE, ProviderUnavailableError),
        (Fault.NON_JSON, BadResponseError),
        (Fault.WRONG_CONTENT_TYPE, BadResponseError),
        (Fault.EMPTY, BadResponseError),
        (Fault.json(500, {}), ProviderUnavailableError),
    ],
    ids=["reset", "reset after", "truncated", "garbage", "not JSON", "HTML", "empty", "500"],
)
def test_a_mail_whose_outcome_is_unknown_goes_over_the_wire_once(vendor, mail, fault, kind):
    vendor.server.stage(fault, times=None)
    error = caught_by(vendor, mail, kind)
    assert error.outcome is UNKNOWN
    assert not error.retryable
    assert vendor.server.request_count == 1


def test_nobody_listening_is_known_not_to_have_applied(vendor, mail):
    vendor.server.close()
    error = caught_by(vendor, mail, ProviderUnavailableError, PROVIDER_RATE_SES="")
    assert (error.outcome, error.code, error.retryable) == (NOT_APPLIED, "connect", True)


def test_a_certificate_nobody_trusts_is_known_not_to_have_applied(mail):
    with FaultServer(tls="untrusted") as server:
        error = caught_by(Vendor(server, ManualClock()), mail, ProviderUnavailableError)
        assert (error.outcome, server.request_count) == (NOT_APPLIED, 0)


def test_a_call_that_runs_out_of_time_is_unknown_and_sent_once(vendor, mail):
    vendor.server.stage(Fault.SLOW_HEADERS, times=None)

    async def scenario():
        async with vendor.open() as providers:
            task = asyncio.create_task(providers.email.send(mail()))
            await vendor.server.received(1)
            vendor.clock.advance(10)
            with pytest.raises(ProviderTimeoutError) as caught:
                await task
            assert (caught.value.outcome, caught.value.retryable) == (UNKNOWN, False)
            vendor.server.release()

    asyncio.run(scenario())
    assert vendor.server.request_count == 1


def test_a_call_still_waiting_for_a_thread_has_sent_nothing(vendor, mail, monkeypatch):
    threads = Threads(1)
    monkeypatch.setattr("providers.shared.Shared.threads", lambda *_: threads)
    vendor.server.stage(Fault.SLOW_HEADERS, times=1)
    vendor.answer(SENT)

    async def scenario():
        async with vendor.open() as providers:
            first = asyncio.create_task(providers.email.send(mail()))
            await vendor.server.received(1)
            second = asyncio.create_task(providers.email.send(mail("ben@example.com"), timeout=5))
            while vendor.clock.waiting < 2:  # noqa: ASYNC110 (nobody could set an event)
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.02)
            vendor.clock.advance(6)
            with pytest.raises(ProviderTimeoutError) as caught:
                await second
            assert caught.value.outcome is NOT_APPLIED
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            (unknown,) = [one async for one in providers.unknowns.unknown()]
            assert unknown.operation == "email.send"
            vendor.server.release()

    asyncio.run(scenario())
    assert vendor.server.request_count == 1


def test_nothing_of_this_machines_aws_settings_is_used(vendor, mail, monkeypatch, tmp_path):
    broken = tmp_path / "config"
    broken.write_text("[[[ garbage", encoding="utf-8")
    for name, value in {
        "AWS_PROFILE": "nobody",
        "AWS_CONFIG_FILE": str(broken),
        "AWS_SHARED_CREDENTIALS_FILE": str(broken),
        "AWS_ACCESS_KEY_ID": "AKIAOFSOMEBODYELSE00",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_SESSION_TOKEN": "of somebody else",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "5",
        "AWS_RETRY_MODE": "legacy",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ENDPOINT_URL_SESV2": "http://127.0.0.1:1",
        "AWS_CA_BUNDLE": str(broken),
        "AWS_USE_FIPS_ENDPOINT": "true",
    }.items():
        monkeypatch.setenv(name, value)
    vendor.answer({}, 500, times=1)
    assert caught_by(vendor, mail, ProviderUnavailableError).outcome is UNKNOWN
    (request,) = vendor.server.requests
    assert "AKIACANARY0123456789" in request.headers["Authorization"]
    assert "X-Amz-Security-Token" not in request.headers


def test_a_region_that_is_none_is_a_matter_of_configuration(vendor, mail):
    with pytest.raises(ConfigurationError) as caught:
        vendor.call(lambda email: email.send(mail()), SES_REGION="Frankfurt")
    assert caught.value.field == "SES_REGION"


def test_two_accounts_side_by_side_share_nothing_but_the_library(vendor, mail):
    vendor.answer(SENT)

    async def scenario():
        async with vendor.open() as providers:
            own = {**CREDENTIALS, "SES_ACCESS_KEY_ID": "AKIAOTHER00000000000", "SES_REGION": "us-east-1"}
            tenant = providers.scoped("merchant-1", credentials=own)
            await providers.email.send(mail())
            await tenant.email.send(mail())
            assert providers.email.unwrap(SesEmail).client is not tenant.email.unwrap(SesEmail).client
            assert providers.email.unwrap(SesEmail).client is providers.email.unwrap(SesEmail).client

    asyncio.run(scenario())
    first, second = (request.headers["Authorization"] for request in vendor.server.requests)
    assert "AKIACANARY0123456789" in first
    assert "AKIAOTHER00000000000" in second
    assert "/us-east-1/ses/" in second


def test_clients_are_closed_when_they_are_dropped_and_at_the_end(monkeypatch):
    monkeypatch.setattr("providers.core.threads.CLIENTS", 2)
    closed, clients = [], Clients()

    def make(name):
        return lambda: SimpleNamespace(close=lambda: closed.append(name))

    first = clients.get("a", make("a"))
    clients.get("b", make("b"))
    assert clients.get("a", make("again")) is first
    # What several share may be asked for while one is made.
    clients.get("c", lambda: (clients.get("a", make("never")), make("c")())[1])
    assert closed == ["b"]
    clients.get("plain", object)
    assert closed == ["b", "a"]
    clients.close()
    assert closed == ["b", "a", "c"]
    clients.close()
    assert clients.get("a", make("new")) is not first


# The other operations.

ACCOUNT = json.loads((DATA / "responses.json").read_text(encoding="utf-8"))["get_account"]


def checked(vendor, **changes):
    vendor.server.reset()
    vendor.answer(ACCOUNT | changes)
    (result,) = vendor.call(lambda email: email.check())
    return result


def test_check_tells_quota_rate_and_sandbox(vendor):
    result = checked(vendor)
    assert (result.state, result.sandbox, result.detail) == (
        "ok",
        True,
        "1 mails a second; only verified addresses get mail until AWS grants production access",
    )
    assert (result.quota.unit, result.quota.used, result.quota.limit, result.quota.remaining) == ("email", 3, 200, 197)
    unlimited = checked(
        vendor,
        ProductionAccessEnabled=True,
        SendQuota={"Max24HourSend": -1.0, "MaxSendRate": 14.0, "SentLast24Hours": 7.0},
    )
    assert (unlimited.sandbox, unlimited.quota.limit, unlimited.quota.remaining) == (False, None, None)
    assert (request_line(vendor), unlimited.quota.used) == ("GET /v2/email/account", 7)


def request_line(vendor):
    request = vendor.server.requests[-1]
    return f"{request.method} {request.path}"


def test_an_account_that_may_not_send_is_refused_and_one_under_review_says_so(vendor):
    for changes in ({"SendingEnabled": False}, {"EnforcementStatus": "SHUTDOWN"}):
        assert checked(vendor, **changes).state == "refused"
    review = checked(vendor, EnforcementStatus="PROBATION")
    assert review.state == "ok"
    assert "PROBATION" in review.detail


def test_a_key_that_may_only_send_is_a_good_one(vendor):
    vendor.answer({"message": "not authorized"}, 403, {"x-amzn-errortype": "AccessDeniedException"})
    (result,) = vendor.call(lambda email: email.check())
    assert (result.state, result.quota, result.sandbox) == ("ok", None, None)
    assert "ses:GetAccount is not allowed" in result.detail


def test_a_key_that_is_none_is_refused(vendor):
    vendor.answer({"message": "no"}, 403, {"x-amzn-errortype": "UnrecognizedClientException"})
    (result,) = vendor.call(lambda email: email.check())
    assert result.state == "refused"


def test_suppressions_go_from_page_to_page(vendor):
    def page(address, reason, token=None):
        summary = {"EmailAddress": address, "Reason": reason, "LastUpdateTime": 1_795_359_600}
        return {"SuppressedDestinationSummaries": [summary], **({"NextToken": token} if token else {})}

    vendor.answer(page("ana@example.com", "BOUNCE", "a/b+c="), times=1)
    vendor.answer(page("ben@example.com", "COMPLAINT"), times=1)

    async def step(email):
        return [one async for one in email.suppressions()]

    first, second = vendor.call(step)
    assert (first.email, first.reason, first.since) == ("ana@example.com", "bounced", utc(1_795_359_600))
    assert (second.email, second.reason) == ("ben@example.com", "complained")
    assert [request.query.get("NextToken") for request in vendor.server.requests] == [None, "a/b+c="]


def test_suppress_is_a_complaint_and_unsuppress_of_nobody_is_fine(vendor):
    vendor.answer({}, times=1)
    vendor.call(lambda email: email.suppress("ana@example.com"))
    (request,) = vendor.server.requests
    assert json.loads(request.body) == {"EmailAddress": "ana@example.com", "Reason": "COMPLAINT"}
    judge(json.loads(request.body), "PutSuppressedDestination")
    vendor.answer({"message": "none"}, 404, {"x-amzn-errortype": "NotFoundException"}, times=1)
    vendor.call(lambda email: email.unsuppress("ana@example.com"))
    assert request_line(vendor) == "DELETE /v2/email/suppression/addresses/ana%40example.com"


IDENTITY = {
    "IdentityType": "DOMAIN",
    "VerifiedForSendingStatus": False,
    "DkimAttributes": {"Status": "PENDING", "Tokens": ["t1", "t2", "t3"], "SigningAttributesOrigin": "AWS_SES"},
}
MISSING = ({"message": "no such"}, 404, {"x-amzn-errortype": "NotFoundException"})


def test_a_domain_has_three_dkim_records_in_its_own_zone(vendor):
    vendor.answer(IDENTITY, times=1)
    found = vendor.call(lambda email: email.domain("shop.example.com"))
    assert not found.verified
    assert [(one.type, one.name, one.value, one.verified) for one in found.records] == [
        ("CNAME", f"t{n}._domainkey.shop.example.com", f"t{n}.dkim.amazonses.com", False) for n in (1, 2, 3)
    ]
    zone = {"Status": "SUCCESS", "Tokens": ["t1"], "SigningHostedZone": "abc.dkim.eu-central-1.amazonses.com"}
    vendor.answer(IDENTITY | {"VerifiedForSendingStatus": True, "DkimAttributes": zone}, times=1)
    found = vendor.call(lambda email: email.domain("shop.example.com"))
    assert found.verified
    (record,) = found.records
    assert (record.value, record.verified) == ("t1.abc.dkim.eu-central-1.amazonses.com", True)
    own = {"Status": "SUCCESS", "Tokens": ["selector"], "SigningAttributesOrigin": "EXTERNAL"}
    vendor.answer(IDENTITY | {"DkimAttributes": own}, times=1)
    assert vendor.call(lambda email: email.domain("shop.example.com")).records == ()


def test_a_domain_that_is_not_known_is_made_even_if_somebody_else_is_quicker(vendor):
    vendor.answer(*MISSING, times=1)
    vendor.answer(IDENTITY, times=1)
    assert len(vendor.call(lambda email: email.domain("shop.example.com")).records) == 3
    assert [request.method for request in vendor.server.requests] == ["GET", "POST"]
    judge(json.loads(vendor.server.requests[1].body), "CreateEmailIdentity")
    vendor.answer(*MISSING, times=1)
    vendor.answer({"message": "there"}, 400, {"x-amzn-errortype": "AlreadyExistsException"}, times=1)
    vendor.answer(IDENTITY, times=1)
    assert len(vendor.call(lambda email: email.domain("shop.example.com")).records) == 3


def test_status_is_the_furthest_event_of_the_first_recipient(vendor):
    def event(kind, second):
        return {"Type": kind, "Timestamp": 1_795_359_600 + second}

    events = [event("SEND", 0), event("DELIVERY", 3), event("OPEN", 9), event("OPEN", 12), event("CLICK", 20)]
    vendor.answer({"MessageId": "m-1", "Insights": [{"Destination": "ana@example.com", "Events": events}]}, times=1)
    status = vendor.call(lambda email: email.status("ses:m-1"))
    assert (status.state, status.recipient, status.opens, status.clicks) == ("delivered", "ana@example.com", 2, 1)
    assert status.updated_at == utc(1_795_359_620)
    assert request_line(vendor) == "GET /v2/email/insights/m-1/"
    vendor.answer({"MessageId": "m-1"}, times=1)
    assert vendor.call(lambda email: email.status("ses:m-1")).state == "unknown"
    vendor.answer(*MISSING, times=1)
    with pytest.raises(NotFoundError) as caught:
        vendor.call(lambda email: email.status("ses:m-1"))
    assert caught.value.field == "ref"


def test_the_library_is_not_loaded_before_it_is_used():
    code = "import sys, providers.email.ses as s; print([n for n in ('boto3', 'botocore.client') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
