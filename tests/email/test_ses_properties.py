"""What must hold for any input: replies, notifications, envelopes, tags, templates, header texts."""

import asyncio
import contextlib
import io
import json
from email.header import decode_header, make_header

import pytest
from botocore.awsrequest import AWSResponse
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic_core import to_json

from providers import Providers, RawRequest, Settings
from providers.core.errors import BadResponseError, InvalidRequestError, ProviderError, WebhookVerificationError
from providers.core.models import Model
from providers.email import EmailMessage, Recipient, SesEmail
from providers.email.ses_events import labels, parse_events
from providers.email.ses_mail import TAG, TAGS, header_text, inline_template, message_tags, person, templated
from providers.email.template import fill, tokens
from providers.testing.clock import START, ManualClock
from providers.testing.servers._ses.handlebars import render

TOPIC = "arn:aws:sns:eu-central-1:123456789012:ses-events"
SETTINGS = Settings(
    mode="live",
    vendors={"email": "ses"},
    credentials={
        "SES_ACCESS_KEY_ID": "AKIACANARY0123456789",
        "SES_SECRET_ACCESS_KEY": "x",
        "SES_REGION": "eu-central-1",
        "SES_FROM_EMAIL": "shop@example.com",
        "SES_SNS_TOPIC_ARN": TOPIC,
    },
    environ={},
    env_file=None,
)
PLENTY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


# Replies.

known = st.sampled_from(
    ["MessageId", "BulkEmailEntryResults", "Status", "Error", "Insights", "Destination", "Events", "Type", "Timestamp",
     "SuppressedDestinationSummaries", "EmailAddress", "Reason", "LastUpdateTime", "NextToken", "DkimAttributes",
     "Tokens", "VerifiedForSendingStatus", "SendQuota", "Max24HourSend", "MaxSendRate", "SentLast24Hours",
     "ProductionAccessEnabled", "SendingEnabled", "message", "__type", "code"]
)  # fmt: skip
shaped = st.recursive(
    json_values
    | st.sampled_from(
        [True, 1, 1e300, -1, 10**40, "a@example.com", "SUCCESS", "FAILED", "2026-01-01T00:00:00Z", "NaN"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(known, inner, max_size=6),
    max_leaves=12,
)
bodies = (
    shaped.map(lambda value: to_json(value, inf_nan_mode="constants"))
    | st.binary(max_size=60)
    | st.sampled_from([b"", b"{}", b"<x/>", b"<ErrorResponse><Error><Code>NotFound</Code></Error></ErrorResponse>"])
    | text.map(lambda arn: f"<r><SetTopicAttributesResult/><TopicArn>{arn}</TopicArn></r>".encode())
)
headers = st.dictionaries(
    st.sampled_from(["x-amzn-errortype", "x-amzn-requestid", "content-type", "retry-after", "location"]),
    st.sampled_from(["NotFoundException", "Throttling", "x:y/z", "", "text/html", "9" * 500, "nan", "-1"]),
    max_size=3,
)
statuses = st.sampled_from([200, 201, 204, 301, 400, 403, 404, 409, 429, 500, 503]) | st.integers(200, 599)

MAIL = EmailMessage(to=("ana@example.com",), subject="Hi", text="Hello")
CALLS = {
    "send": lambda p: p.email.send(MAIL),
    "status": lambda p: p.email.status("ses:abc"),
    "suppressions": lambda p: listed(p.email.suppressions()),
    "suppress": lambda p: p.email.suppress("ana@example.com"),
    "unsuppress": lambda p: p.email.unsuppress("ana@example.com"),
    "domain": lambda p: p.email.domain("shop.example.com"),
    "ensure_webhook": lambda p: p.email.ensure_webhook("https://shop.example.com/hook"),
    "check": lambda p: p.email.check(),
    "send_campaign": lambda p: listed(
        p.email.send_campaign(
            EmailMessage(subject="Hi", text="Hello"),
            [Recipient(email="ana@example.com", name="Reader")],
            idempotency_key="k",
        )
    ),
}


class Body(io.BytesIO):
    def stream(self, **_):
        yield self.read()


async def listed(items):
    return [item async for item in items]


@pytest.mark.parametrize("name", CALLS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(replies=st.lists(st.tuples(statuses, headers, bodies), min_size=1, max_size=4))
def test_any_reply_is_a_result_or_an_error_of_ours(name, replies):
    asked = []

    def answer(request, **_):
        status, head, body = replies[min(len(asked), len(replies) - 1)]
        asked.append(request)
        # A list that never ends is no reply, and nobody would wait for it.
        if len(asked) > 20:
            body = b"{}"
        return AWSResponse(request.url, status, head, Body(body))

    async def scenario():
        async with Providers(SETTINGS, clock=ManualClock()) as providers:
            adapter = providers.email.unwrap(SesEmail)
            for client in (adapter.client, adapter._aws.sns("eu-central-1")):
                client.meta.events.register("before-send", answer)
            with contextlib.suppress(ProviderError):
                return await CALLS[name](providers)

    result = asyncio.run(scenario())
    assert asked
    for one in result if isinstance(result, list) else [result]:
        assert one is None or isinstance(one, Model)
        if isinstance(one, Model):
            one.model_dump_json()


# Notifications.

event_keys = st.sampled_from(
    ["eventType", "notificationType", "mail", "bounce", "complaint", "delivery", "open", "click", "failure", "reject",
     "deliveryDelay", "subscription", "tags", "headers", "name", "value", "destination", "messageId", "timestamp",
     "bouncedRecipients", "complainedRecipients", "delayedRecipients", "recipients", "emailAddress", "bounceType",
     "bounceSubType", "feedbackId", "newTopicPreferences", "topicSubscriptionStatus", "pm_data_0", "pm_data_1", "pm_id",
     "link"]
)  # fmt: skip
words = st.sampled_from(
    ["Bounce", "Complaint", "Delivery", "Send", "Open", "Click", "Reject", "Rendering Failure", "DeliveryDelay",
     "Subscription", "Permanent", "Suppressed", "2026-11-22T12:00:00.000Z", "0001-01-01T00:00:00+23:59", "9999-12-31",
     "eyJtIjp7fX0", "<", "<>", "x <y>"]
)  # fmt: skip
odd_events = st.recursive(
    json_values | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(event_keys, inner, max_size=8),
    max_leaves=20,
)


def check_parsed(body):
    try:
        events = parse_events(body, "n-1", START)
    except BadResponseError:
        return
    for event in events:
        assert event.vendor == "ses"
        assert event.event_id
        assert event.occurred_at.tzinfo is not None
        assert type(event).model_validate_json(event.model_dump_json()).model_dump() == event.model_dump()
    assert len({event.event_id for event in events}) == len(events)


@PLENTY
@given(odd_events)
def test_any_json_is_events_or_a_bad_response(value):
    check_parsed(json.dumps(value))


@PLENTY
@given(st.text(max_size=200))
def test_any_text_is_events_or_a_bad_response(body):
    check_parsed(body)


@pytest.mark.parametrize(
    "body",
    [
        '{"eventType": "Bounce", "mail": {"timestamp": ' + "9" * 5000 + "}}",
        '{"eventType": "\\ud800"}',
        '{"mail": {"destination": ["\\ud800"]}}',
        "[" * 100_000,
        '{"a":' * 5_000,
        '{"x": ' + "[" * 150 + "]" * 150 + "}",
        "\ufeff{}",
        "\ud800",
        '{"x": 1e999, "y": NaN}',
        '{"eventType": ["Bounce"], "mail": []}',
    ],
    ids=range(10),
)
def test_awkward_notifications_are_events_or_a_bad_response(body):
    check_parsed(body)


# Envelopes.


@PLENTY
@given(
    st.binary(max_size=100)
    | st.dictionaries(
        st.sampled_from(["Type", "TopicArn", "SignatureVersion", "SigningCertURL", "Signature", "Message", "MessageId",
                         "Timestamp", "Subject", "Token", "SubscribeURL"]),
        json_values
        | st.sampled_from(["Notification", TOPIC, "1", "2", "https://sns.eu-central-1.amazonaws.com/x.txt", "\ud800"]),
    ).map(lambda value: json.dumps(value).encode()),
    st.sampled_from(["Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation", "x", ""]),
)  # fmt: skip
def test_no_envelope_that_was_made_up_passes_or_crashes(body, kind):
    async def scenario():
        async with Providers(SETTINGS, clock=ManualClock()) as providers:
            with pytest.raises(WebhookVerificationError):
                await providers.email.webhook(RawRequest(body=body, headers={"x-amz-sns-message-type": kind}))

    asyncio.run(scenario())


# Tags.


@PLENTY
@given(
    st.dictionaries(text | st.from_regex(TAG, fullmatch=True), text | st.from_regex(TAG, fullmatch=True), max_size=12),
    st.lists(text.filter(bool), max_size=10, unique=True),
)
def test_metadata_and_tags_come_back_as_they_were(metadata, tags):
    assume("pm_id" not in metadata)
    try:
        made = message_tags(metadata, tags, "id-1")
    except InvalidRequestError:
        assert len(json.dumps([metadata, tags]).encode()) > TAGS * 100
        return
    assert len(made) <= TAGS
    assert len({tag["Name"] for tag in made}) == len(made)
    assert all(TAG.fullmatch(tag["Name"]) and TAG.fullmatch(tag["Value"]) for tag in made)
    # The vendor keeps no order.
    event = {"tags": {tag["Name"]: [tag["Value"]] for tag in reversed(made)} | {"ses:source-ip": ["192.0.2.1"]}}
    assert labels(event) == ({**metadata, "pm_id": "id-1"}, tuple(tags))


# Templates.

pieces = st.sampled_from(
    ["{{name}}", "{{ code }}", "{", "}", "{{", "}}", "\\", "{{{", "#if x", "name", " ", "ü", "<b>", "{{a.b}}", "!--"]
)


@PLENTY
@given(st.lists(pieces | text, max_size=12).map("".join), text, text)
def test_the_vendor_renders_what_we_would_have_filled(template, name, code):
    values = {"name": name, "code": code}
    assume(set(tokens(template)) <= set(values))
    guards = {}
    ready = templated(template, "t_", guards)
    data = {f"t_{key}": value for key, value in values.items()} | {key: run for run, key in guards.items()}
    assert render(ready, data, simple=True) == fill(template, values)


def test_all_texts_of_a_mail_share_their_guards():
    message = EmailMessage(subject="{{{name}}}", text="\\{{name}}", html="{{{name}}} \\{{name}}")
    guards = {}
    assert inline_template(message, guards) == {
        "Subject": "{{b_0}}{{t_name}}{{b_1}}",
        "Text": "{{b_2}}{{t_name}}",
        "Html": "{{b_0}}{{h_name}}{{b_1}} {{b_2}}{{h_name}}",
    }
    assert guards == {"{": "b_0", "}": "b_1", "\\": "b_2"}


# Header texts.

lines = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=80)


@PLENTY
@given(lines | st.sampled_from(["=?utf-8?q?x?=", "=?", "?=", "a =?b"]))
def test_a_header_text_is_ascii_and_reads_as_it_was(value):
    encoded = header_text(value)
    assert encoded.isascii()
    assert "\n" not in encoded
    if value.isascii() and "=?" not in value:
        assert encoded == value
    else:
        assert str(make_header(decode_header(encoded))) == value


@PLENTY
@given(lines.filter(lambda name: "<" not in name and ">" not in name and name.strip()))
def test_a_name_beside_an_address_is_ascii_and_ends_in_it(name):
    shown = person(f"{name} <ana@example.com>")
    assert shown.isascii()
    assert shown.endswith(" <ana@example.com>")
