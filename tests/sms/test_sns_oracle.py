"""The vendor's own library as a judge: what reaches the wire is what it makes of the vendor's sample.

Then the vendor's error table, and that nothing is ever asked twice: the library would, left alone.
"""

import asyncio
import json
import pickle
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from urllib.parse import parse_qsl

import boto3
import pytest
from botocore.config import Config
from botocore.stub import Stubber

from providers import Providers, Settings
from providers.core.errors import (
    AuthenticationError,
    BadResponseError,
    ConfigurationError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    PermissionDeniedError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
    RejectedError,
    UnsupportedOperationError,
)
from providers.core.models import CheckState, Money, Ref
from providers.sms import SendState, SmsKind, SmsMessage, SmsState, SnsSms
from providers.testing.clock import ManualClock
from providers.testing.servers import Fault, FaultServer, SnsServer

DATA = Path(__file__).parent.parent / "data" / "sns"
KWARGS = json.loads((DATA / "publish_kwargs.json").read_text(encoding="utf-8"))
RESPONSES = json.loads((DATA / "responses.json").read_text(encoding="utf-8"))
SECRET = "canary/secret+key/0123456789abcdefghijkl"
CREDENTIALS = {
    "SNS_ACCESS_KEY_ID": "AKIACANARY0123456789",
    "SNS_SECRET_ACCESS_KEY": SECRET,
    "SNS_REGION": "eu-central-1",
}
SPACE = "http://sns.amazonaws.com/doc/2010-03-31/"
ID = RESPONSES["publish"]["MessageId"]
UNKNOWN, NOT_APPLIED = Outcome.UNKNOWN, Outcome.NOT_APPLIED


def xml(operation, inside):
    return (
        f'<{operation}Response xmlns="{SPACE}"><{operation}Result>{inside}</{operation}Result>'
        f"<ResponseMetadata><RequestId>request-1</RequestId></ResponseMetadata></{operation}Response>"
    ).encode()


PUBLISHED = xml("Publish", f"<MessageId>{ID}</MessageId>")


def refused(code, message="Because.", status=400):
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
    body = f'<ErrorResponse xmlns="{SPACE}">{error}<RequestId>request-1</RequestId></ErrorResponse>'
    return status, {"Content-Type": "text/xml"}, body.encode()


class Vendor:
    """A server that answers as it is told, and the `Providers` that talk to it."""

    def __init__(self, server, clock):
        self.server, self.clock = server, clock

    def open(self, **more):
        settings = Settings(
            mode="live",
            vendors={"sms": "sns"},
            credentials=CREDENTIALS | more,
            base_urls={"sns": self.server.url},
            environ={},
            env_file=None,
        )
        return Providers(settings, clock=self.clock)

    def answer(self, body=PUBLISHED, status=200, headers=None, *, times=None):
        self.server.stage(Fault.status(status, body=body, headers=headers or {"Content-Type": "text/xml"}), times=times)

    def call(self, step, **more):
        async def scenario():
            async with self.open(**more) as providers:
                return await step(providers.sms)

        return asyncio.run(scenario())

    @property
    def forms(self):
        return [dict(parse_qsl(request.body.decode(), strict_parsing=True)) for request in self.server.requests]

    def send(self, message, **more):
        """The attributes of one text, as they came over the wire."""
        self.answer(times=1)
        sent = self.call(lambda sms: sms.send(message), **more)
        assert sent.ref == Ref(vendor="sns", id=ID)
        (form,) = self.forms
        return attributes(form)


def attributes(form):
    found, number = {}, 1
    while name := form.get(f"MessageAttributes.entry.{number}.Name"):
        value = f"MessageAttributes.entry.{number}.Value"
        found[name] = (form[f"{value}.DataType"], form[f"{value}.StringValue"])
        number += 1
    return found


def text(**changes):
    return SmsMessage(**{"to": "+15005550010", "body": "Your order 1001 has shipped."} | changes)


def usd(amount):
    return Money(amount=Decimal(amount), currency="USD")


@pytest.fixture
def vendor():
    clock = ManualClock()
    with FaultServer() as server:
        yield Vendor(server, clock)
        server.release()


def theirs(url):
    """The library as anybody would use it: it checks what it is given."""
    return boto3.client(
        "sns",
        region_name="eu-central-1",
        endpoint_url=url,
        aws_access_key_id="AKIAOTHER",
        aws_secret_access_key="other",
        config=Config(retries={"mode": "standard", "total_max_attempts": 1}),
    )


# What is sent.


def test_a_text_is_the_form_that_the_library_makes_of_the_vendors_sample(vendor):
    ours = vendor.send(text(sender="DemoShop", max_price=usd("0.05")))
    vendor.answer(times=1)
    client = theirs(vendor.server.url)
    client.publish(**KWARGS)
    client.close()
    first, second = vendor.forms
    assert attributes(second) == ours
    plain = [{name: value for name, value in form.items() if "Attributes" not in name} for form in (first, second)]
    assert plain[0] == plain[1]
    sent, sample = vendor.server.requests
    assert (sent.method, sent.path) == (sample.method, sample.path) == ("POST", "/")


def test_the_result_is_our_count_and_the_vendors_id(vendor):
    vendor.answer()
    sent = vendor.call(lambda sms: sms.send(text(body="é" * 161)))
    assert (sent.ref.id, sent.segments, sent.status, sent.price) == (ID, 2, SmsState.QUEUED, None)
    assert sent.recipient == "+15005550010"


@pytest.mark.parametrize(
    ("kind", "word"), [(SmsKind.TRANSACTIONAL, "Transactional"), (SmsKind.PROMOTIONAL, "Promotional")]
)
def test_the_type_is_always_told_since_the_documents_do_not_agree_on_the_default(vendor, kind, word):
    assert vendor.send(text(kind=kind)) == {"AWS.SNS.SMS.SMSType": ("String", word)}


@pytest.mark.parametrize(
    ("sender", "name", "value"),
    [
        ("DemoShop", "AWS.SNS.SMS.SenderID", "DemoShop"),
        ("+1 (500) 555-0006", "AWS.MM.SMS.OriginationNumber", "+15005550006"),
        ("12345", "AWS.MM.SMS.OriginationNumber", "12345"),
    ],
)
def test_a_sender_goes_where_its_form_belongs_and_before_the_defaults(vendor, sender, name, value):
    found = vendor.send(text(sender=sender), SNS_SENDER_ID="Other", SNS_ORIGINATION_NUMBER="+15005550001")
    del found["AWS.SNS.SMS.SMSType"]
    assert found == {name: ("String", value)}


@pytest.mark.parametrize(
    ("to", "name"), [("+15005550010", "AWS.MM.SMS.OriginationNumber"), ("+4915123456789", "AWS.SNS.SMS.SenderID")]
)
def test_of_two_defaults_north_america_has_the_number_and_all_others_the_name(vendor, to, name):
    found = vendor.send(text(to=to), SNS_SENDER_ID="Shop", SNS_ORIGINATION_NUMBER="+15005550001")
    assert set(found) == {"AWS.SNS.SMS.SMSType", name}


def test_one_default_is_everybodys(vendor):
    found = vendor.send(text(to="+15005550010"), SNS_SENDER_ID="Shop")
    assert found["AWS.SNS.SMS.SenderID"] == ("String", "Shop")


@pytest.mark.parametrize("amount", ["0.05", "0.00645", "1E-7", "0.050", "12"])
def test_a_price_is_told_in_exactly_its_digits(vendor, amount):
    found = vendor.send(text(max_price=usd(amount)), SNS_MAX_PRICE="7")
    kind, digits = found["AWS.SNS.SMS.MaxPrice"]
    assert kind == "Number"
    assert "E" not in digits
    assert Decimal(digits).as_tuple() == Decimal(f"{Decimal(amount):f}").as_tuple()


def test_the_accounts_own_price_is_the_default(vendor):
    assert vendor.send(text(), SNS_MAX_PRICE="0.07")["AWS.SNS.SMS.MaxPrice"] == ("Number", "0.07")


def test_vendor_options_come_last_and_leave_the_rest(vendor):
    entity = {"DataType": "String", "StringValue": "1101000000000000000"}
    options = {"MessageAttributes": {"AWS.MM.SMS.EntityId": entity}, "MessageDeduplicationId": "x"}
    found = vendor.send(text(vendor_options={"sns": options, "twilio": {"x": 1}}))
    assert set(found) == {"AWS.SNS.SMS.SMSType", "AWS.MM.SMS.EntityId"}
    assert vendor.forms[0]["MessageDeduplicationId"] == "x"


@pytest.mark.parametrize(
    ("changes", "kind", "field"),
    [
        ({"sender": "MG" + "0" * 32}, UnsupportedOperationError, "sender"),
        ({"sender": "Demo Shop"}, InvalidRequestError, "sender"),
        ({"max_price": Money(amount=Decimal("0.05"), currency="EUR")}, InvalidRequestError, "max_price"),
        ({"max_price": usd(0)}, InvalidRequestError, "max_price"),
        ({"max_price": usd("-1")}, InvalidRequestError, "max_price"),
        ({"valid_for": 60}, UnsupportedOperationError, "valid_for"),
        ({"vendor_options": {"sns": {"Colour": "red"}}}, InvalidRequestError, "Colour"),
        ({"vendor_options": {"sns": {"MessageAttributes": "x"}}}, InvalidRequestError, "MessageAttributes"),
        ({"vendor_options": {"sns": {"PhoneNumber": "+1"}}}, InvalidRequestError, "vendor_options.sns.PhoneNumber"),
        ({"vendor_options": {"sns": {"TopicArn": "arn"}}}, InvalidRequestError, "vendor_options.sns.TopicArn"),
    ],
)
def test_what_sns_cannot_say_is_refused_before_anything_is_sent(vendor, changes, kind, field):
    with pytest.raises(kind) as caught:
        vendor.call(lambda sms: sms.send(text(**changes)))
    assert (type(caught.value), caught.value.field, caught.value.vendor) == (kind, field, "sns")
    assert vendor.server.request_count == 0


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SNS_MAX_PRICE", "cheap"),
        ("SNS_MAX_PRICE", "0"),
        ("SNS_MAX_PRICE", "-1"),
        ("SNS_MAX_PRICE", "inf"),
        ("SNS_ORIGINATION_NUMBER", "Shop"),
        ("SNS_ORIGINATION_NUMBER", "MG" + "0" * 32),
        ("SNS_SENDER_ID", "+15005550006"),
        ("SNS_SENDER_ID", "far too long a name"),
        ("SNS_SENDER_ID", "12345"),
        ("SNS_REGION", "Frankfurt"),
        ("SNS_TOPIC_ARN", "sms-logs"),
        ("SNS_REQUIRE_V2", "perhaps"),
    ],
)
def test_a_setting_that_is_none_is_named_at_construction(vendor, variable, value):
    with pytest.raises(ConfigurationError) as caught:
        vendor.call(lambda sms: sms.send(text()), **{variable: value})
    assert variable in str(caught.value)
    assert vendor.server.request_count == 0


def test_find_and_status_are_unsupported_and_ask_nobody(vendor):
    with pytest.raises(UnsupportedOperationError):
        vendor.call(lambda sms: sms.status(f"sns:{ID}"))

    async def directly(sms):
        adapter = sms.unwrap(SnsSms)
        with pytest.raises(UnsupportedOperationError):
            await adapter.find(text(), 0.0)
        with pytest.raises(UnsupportedOperationError):
            await adapter.status(Ref(vendor="sns", id=ID))

    vendor.call(directly)
    assert vendor.server.request_count == 0


def test_the_request_is_signed_for_sns_and_holds_no_secret(vendor):
    vendor.send(text())
    (request,) = vendor.server.requests
    assert "/eu-central-1/sns/aws4_request" in request.headers["Authorization"]
    assert SECRET.encode() not in request.body + repr(request.headers).encode()


# Opt-outs, check.


def test_opt_outs_go_from_page_to_page_and_are_one_spelling():
    numbers = [f"+1500555{n:04}" for n in range(250)]
    with SnsServer(opted_out=numbers, check_clock=False) as server:
        settings = Settings(mode="live", vendors={"sms": "sns"}, environ=server.env, env_file=None)

        async def scenario():
            async with Providers(settings, clock=ManualClock()) as providers:
                found = [entry async for entry in providers.sms.opt_outs()]
                with pytest.raises(RejectedError) as caught:
                    await providers.sms.send(text(to=numbers[7]))
                return found, caught.value

        found, error = asyncio.run(scenario())
        assert [entry.number for entry in found] == numbers
        assert {(entry.source, entry.vendor) for entry in found} == {("vendor", "sns")}
        assert (error.code, error.field) == ("opted_out", "to")
        assert server.texts == ()


def test_a_list_that_goes_round_in_circles_is_a_bad_reply(vendor):
    page = "<phoneNumbers><member>15005550010</member></phoneNumbers><nextToken>again</nextToken>"
    vendor.answer(xml("ListPhoneNumbersOptedOut", page))

    async def listed(sms):
        return [entry async for entry in sms.opt_outs()]

    with pytest.raises(BadResponseError):
        vendor.call(listed)


def test_opt_in_takes_a_number_off_both_lists():
    with SnsServer(opted_out=["+15005550010"], check_clock=False) as server:
        settings = Settings(mode="live", vendors={"sms": "sns"}, environ=server.env, env_file=None)

        async def scenario():
            async with Providers(settings, clock=ManualClock()) as providers:
                assert len([entry async for entry in providers.sms.opt_outs()]) == 1
                await providers.sms.opt_in("+15005550010")
                assert [entry async for entry in providers.sms.opt_outs()] == []
                await providers.sms.send(text())

        asyncio.run(scenario())
        assert [one.number for one in server.texts] == ["+15005550010"]


def checked(answers):
    """What `check` makes of replies that the library has found to fit the vendor's model."""
    settings = Settings(mode="live", vendors={"sms": "sns"}, credentials=CREDENTIALS, environ={}, env_file=None)

    async def scenario():
        async with Providers(settings, clock=ManualClock()) as providers:
            with Stubber(providers.sms.unwrap(SnsSms).client) as stub:
                for method, parameters, answer in answers:
                    if isinstance(answer, tuple):
                        code, status = answer
                        stub.add_client_error(
                            method, code, "Because.", status, expected_params=parameters, response_meta={}
                        )
                    else:
                        stub.add_response(method, answer, parameters)
                (result,) = await providers.sms.check()
                stub.assert_no_pending_responses()
                return result

    return asyncio.run(scenario())


def test_check_tells_the_limit_the_sandbox_and_the_logs():
    result = checked(
        [
            ("get_sms_attributes", {}, RESPONSES["get_sms_attributes"]),
            ("get_sms_sandbox_account_status", {}, RESPONSES["sandbox"]),
        ]
    )
    assert (result.state, result.sandbox) == (CheckState.OK, True)
    assert (result.quota.unit, result.quota.limit) == ("USD", 1)
    assert "1 USD a month" in result.detail
    assert "verified" in result.detail
    assert "logs" not in result.detail


@pytest.mark.parametrize(
    ("settings", "note"),
    [({}, "no delivery logs"), ({"DeliveryStatusIAMRole": "arn"}, "failures only")],
)
def test_check_says_when_no_events_will_come(settings, note):
    answers = [
        ("get_sms_attributes", {}, {"attributes": settings}),
        ("get_sms_sandbox_account_status", {}, {"IsInSandbox": False}),
    ]
    result = checked(answers)
    assert note in result.detail
    assert (result.quota, result.sandbox) == (None, False)


@pytest.mark.parametrize("answer", [("AuthorizationError", 403), ("500", 500), ("InvalidAction", 400)])
def test_a_sandbox_that_cannot_be_asked_after_is_not_known(answer):
    result = checked([("get_sms_attributes", {}, {"attributes": {}}), ("get_sms_sandbox_account_status", {}, answer)])
    assert (result.state, result.sandbox) == (CheckState.OK, None)
    assert result.permissions == ("sns:GetSMSAttributes",)


def test_a_setting_without_a_value_is_a_bad_reply(vendor):
    """The library's own parser trips over it."""
    vendor.answer(xml("GetSMSAttributes", "<attributes><entry><key>MonthlySpendLimit</key></entry></attributes>"))
    (result,) = vendor.call(lambda sms: sms.check())
    assert result.state is CheckState.UNREACHABLE
    assert "not as documented" in result.detail


@pytest.mark.parametrize("body", [b"<html><body>Welcome</body></html>", PUBLISHED, b"", b"<OptInPhoneNumberResponse>"])
def test_an_opt_in_that_was_answered_with_something_else_is_a_bad_reply(vendor, body):
    vendor.answer(body)
    with pytest.raises(BadResponseError):
        vendor.call(lambda sms: sms.opt_in("+15005550010"))


def test_a_key_that_may_only_send_is_a_good_one():
    result = checked([("get_sms_attributes", {}, ("AuthorizationError", 403))])
    assert (result.state, result.quota) == (CheckState.OK, None)
    assert "sns:GetSMSAttributes is not allowed" in result.detail


def test_a_key_that_is_none_is_refused():
    result = checked([("get_sms_attributes", {}, ("InvalidClientTokenId", 403))])
    assert result.state is CheckState.REFUSED


# The error table.

TABLE = {
    # status, headers, body -> class, outcome, field
    "number": (
        (400, {}, RESPONSES["error_xml"].encode()),
        (InvalidRequestError, NOT_APPLIED, "to"),
    ),
    "sender id": (
        refused("ParameterValueInvalid", "Invalid value for AWS.SNS.SMS.SenderID"),
        (InvalidRequestError, NOT_APPLIED, "sender"),
    ),
    "origination": (
        refused("ParameterValueInvalid", "AWS.MM.SMS.OriginationNumber is not yours"),
        (InvalidRequestError, NOT_APPLIED, "sender"),
    ),
    "max price": (
        refused("ParameterValueInvalid", "Could not cast message attribute 'AWS.SNS.SMS.MaxPrice' value to number."),
        (InvalidRequestError, NOT_APPLIED, "max_price"),
    ),
    "empty": (refused("InvalidParameter", "Empty message"), (InvalidRequestError, NOT_APPLIED, "body")),
    "validation": (refused("ValidationException"), (InvalidRequestError, NOT_APPLIED, None)),
    "user": (refused("UserError"), (InvalidRequestError, NOT_APPLIED, None)),
    "opted out": (refused("OptedOut"), (RejectedError, NOT_APPLIED, "to")),
    "denied": (refused("AuthorizationError", status=403), (PermissionDeniedError, NOT_APPLIED, None)),
    "security": (refused("InvalidSecurity", status=403), (AuthenticationError, NOT_APPLIED, None)),
    "token": (refused("InvalidClientTokenId", status=403), (AuthenticationError, NOT_APPLIED, None)),
    "signature": (refused("SignatureDoesNotMatch", status=403), (AuthenticationError, NOT_APPLIED, None)),
    "client": (refused("UnrecognizedClientException", status=403), (AuthenticationError, NOT_APPLIED, None)),
    "expired": (refused("ExpiredToken", status=403), (AuthenticationError, NOT_APPLIED, None)),
    "throttled": (refused("Throttled", status=429), (RateLimitedError, NOT_APPLIED, None)),
    "throttling": (refused("Throttling"), (RateLimitedError, NOT_APPLIED, None)),
    "throttling, long": (refused("ThrottlingException"), (RateLimitedError, NOT_APPLIED, None)),
    "key": (refused("KMSDisabled"), (PermissionDeniedError, NOT_APPLIED, "SNS_TOPIC_ARN")),
    "not found": (refused("NotFound", status=404), (NotFoundError, NOT_APPLIED, None)),
    "strange code": (refused("SomethingNew"), (InvalidRequestError, NOT_APPLIED, None)),
    "internal": (refused("InternalError", status=500), (ProviderUnavailableError, UNKNOWN, None)),
    "unavailable": (refused("ServiceUnavailable", status=503), (ProviderUnavailableError, NOT_APPLIED, None)),
    "a proxy's 502": ((502, {}, b"<!doctype html><p>Bad gateway"), (ProviderUnavailableError, UNKNOWN, None)),
    "a page's 500": ((500, {}, b"<html><body>Error</body></html>"), (ProviderUnavailableError, UNKNOWN, None)),
    "nothing's 500": ((500, {}, b""), (ProviderUnavailableError, UNKNOWN, None)),
    "a proxy's 403": ((403, {}, b"<html><b>No</b><b>No</b></html>"), (PermissionDeniedError, NOT_APPLIED, None)),
    "a proxy's 429": ((429, {}, b"slow down"), (RateLimitedError, NOT_APPLIED, None)),
    "JSON": ((400, {}, b'{"message": "no"}'), (InvalidRequestError, NOT_APPLIED, None)),
    "no code": ((400, {}, b"<ErrorResponse><Error/></ErrorResponse>"), (InvalidRequestError, NOT_APPLIED, None)),
    "moved": (
        (301, {"Location": "https://elsewhere.example.com"}, b""),
        (BadResponseError, NOT_APPLIED, None),
    ),
    "no id": ((200, {}, xml("Publish", "")), (BadResponseError, UNKNOWN, None)),
    "empty id": ((200, {}, xml("Publish", "<MessageId/>")), (BadResponseError, UNKNOWN, None)),
    "two ids": (
        (200, {}, xml("Publish", "<MessageId>a</MessageId><MessageId>b</MessageId>")),
        (BadResponseError, UNKNOWN, None),
    ),
    "cut short": ((200, {}, PUBLISHED[:-30]), (BadResponseError, UNKNOWN, None)),
    "cut shorter": ((200, {}, PUBLISHED[:140]), (BadResponseError, UNKNOWN, None)),
    "nothing": ((200, {}, b""), (BadResponseError, UNKNOWN, None)),
    "a page": ((200, {}, b"<html><body>Welcome</body></html>"), (BadResponseError, UNKNOWN, None)),
    "another's reply": ((200, {}, xml("OptInPhoneNumber", "")), (BadResponseError, UNKNOWN, None)),
    "a reply around": (
        (200, {}, b"<x>" + PUBLISHED + b"</x>"),
        (BadResponseError, UNKNOWN, None),
    ),
}  # fmt: skip


def caught_by(vendor, kind=ProviderError, **more):
    with pytest.raises(kind) as caught:
        vendor.call(lambda sms: sms.send(text()), **more)
    error = caught.value
    assert (error.vendor, error.operation) == ("sns", "sms.send")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 (our own)
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
    assert SECRET not in repr(error)
    return error


@pytest.mark.parametrize("case", TABLE)
def test_the_vendors_error_table(vendor, case):
    (status, headers, body), (kind, outcome, field) = TABLE[case]
    vendor.answer(body, status, {"Content-Type": "text/xml", **headers})
    error = caught_by(vendor)
    assert (type(error), error.outcome, error.field) == (kind, outcome, field)
    if status >= 300:
        assert error.status == status
    if b"<RequestId>request-1" in body and status >= 300:
        assert error.request_id == "request-1"
    # Ours repeats what is safe; the library under it repeats nothing.
    assert vendor.server.request_count == (3 if error.retryable else 1)


def test_an_opt_out_that_the_vendor_tells_of_is_kept(vendor):
    status, headers, body = refused("OptedOut")
    vendor.answer(body, status, headers)

    async def scenario(sms):
        for _ in range(2):
            with pytest.raises(RejectedError) as caught:
                await sms.send(text())
            assert caught.value.code == "opted_out"

    vendor.call(scenario)
    assert vendor.server.request_count == 1


def test_a_secret_that_the_vendor_quotes_is_masked(vendor):
    status, headers, body = refused("InvalidParameter", f"no: {SECRET} and AKIACANARY0123456789")
    vendor.answer(body, status, headers)
    error = caught_by(vendor)
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
        (Fault.EMPTY, BadResponseError),
    ],
    ids=["reset", "reset after", "truncated", "garbage", "not XML", "empty"],
)
def test_a_text_whose_outcome_is_unknown_goes_over_the_wire_once(vendor, fault, kind):
    vendor.server.stage(fault, times=None)
    error = caught_by(vendor, kind)
    assert error.outcome is UNKNOWN
    assert not error.retryable
    assert vendor.server.request_count == 1


def test_nobody_listening_is_known_not_to_have_applied(vendor):
    vendor.server.close()
    error = caught_by(vendor, ProviderUnavailableError, PROVIDER_RATE_SNS="")
    assert (error.outcome, error.code, error.retryable) == (NOT_APPLIED, "connect", True)


def test_a_text_that_runs_out_of_time_is_unknown_sent_once_and_never_again_under_its_key(vendor):
    vendor.server.stage(Fault.SLOW_HEADERS, times=None)

    async def scenario():
        async with vendor.open() as providers:
            task = asyncio.create_task(providers.sms.send(text(idempotency_key="order-1001")))
            await vendor.server.received(1)
            vendor.clock.advance(60)
            with pytest.raises(ProviderTimeoutError) as caught:
                await task
            assert (caught.value.outcome, caught.value.retryable) == (UNKNOWN, False)
            vendor.server.release()
            with pytest.raises(ProviderError) as again:
                await providers.sms.send(text(idempotency_key="order-1001"))
            assert again.value.outcome is UNKNOWN
            (unknown,) = [one async for one in providers.unknowns.unknown()]
            assert unknown.operation == "sms.send"

    asyncio.run(scenario())
    assert vendor.server.request_count == 1


def test_each_of_many_has_its_own_outcome():
    with SnsServer(check_clock=False, opted_out=["+15005550011"], refuses_opted_out=True) as server:
        settings = Settings(mode="live", vendors={"sms": "sns"}, environ=server.env, env_file=None)
        messages = [text(to=f"+150055500{n}") for n in (10, 11, 12)] + [text(sender="Two Words")]

        async def scenario():
            async with Providers(settings, clock=ManualClock()) as providers:
                return await providers.sms.send_many(messages)

        outcomes = asyncio.run(scenario())
        assert [one.state for one in outcomes][::2] == [SendState.SENT, SendState.SENT]
        assert outcomes[1].error.code == "opted_out"
        assert outcomes[3].error.field == "sender"
        assert {one.number for one in server.texts} == {"+15005550010", "+15005550012"}
        assert server.violations == ()


# Accounts, and what is loaded.


def test_ses_and_sns_behind_one_address_have_a_client_each():
    """Both speak to SNS; the address of theirs is not the same."""
    with SnsServer(check_clock=False) as server:
        settings = Settings(
            mode="live",
            vendors={"sms": "sns", "email": "ses"},
            environ=server.env
            | {
                "PROVIDER_SES_BASE_URL": server.url,
                "SES_ACCESS_KEY_ID": server.access_key_id,
                "SES_SECRET_ACCESS_KEY": server.secret_access_key,
                "SES_REGION": server.region,
                "SES_FROM_EMAIL": "noreply@shop.example.com",
            },
            env_file=None,
        )

        async def scenario():
            async with Providers(settings, clock=ManualClock()) as providers:
                with pytest.raises(ProviderError):
                    await providers.email.ensure_webhook("https://shop.example.com/hook")
                await providers.sms.send(text())

        asyncio.run(scenario())
        assert [request.path for request in server.requests] == ["/sns.eu-central-1.amazonaws.com/", "/"]
        assert len(server.texts) == 1


def test_two_accounts_side_by_side_share_nothing_but_the_library():
    with SnsServer(check_clock=False, keys={"AKIATENANT": ("tenants", ["sns:Publish"])}) as server:
        settings = Settings(mode="live", vendors={"sms": "sns"}, environ=server.env, env_file=None)
        own = {"SNS_ACCESS_KEY_ID": "AKIATENANT", "SNS_SECRET_ACCESS_KEY": "tenants", "SNS_SENDER_ID": "Tenant"}

        async def scenario():
            async with Providers(settings, clock=ManualClock()) as providers:
                tenant = providers.scoped("t-1", credentials={**own, "SNS_REGION": server.region})
                await asyncio.gather(providers.sms.send(text()), tenant.sms.send(text(to="+4915123456789")))
                assert providers.sms.unwrap(SnsSms).client is not tenant.sms.unwrap(SnsSms).client

        asyncio.run(scenario())
        senders = {one.number: one.attributes.get("AWS.SNS.SMS.SenderID") for one in server.texts}
        assert senders == {"+15005550010": None, "+4915123456789": "Tenant"}


def test_the_library_is_not_loaded_before_it_is_used():
    code = "import sys, providers.sms, providers; providers.sms.SmsMessage; print('botocore' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
