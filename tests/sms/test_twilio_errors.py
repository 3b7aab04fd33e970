"""The vendor's error table: what a status, a code and a body become, of either form of body."""

import asyncio
import json
import logging
from pathlib import Path

import pytest
from pydantic_core import to_json
from twilio.base.exceptions import TwilioException
from twilio.http import HttpClient
from twilio.http.response import Response
from twilio.rest import Client

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
    QuotaExceededError,
    RateLimitedError,
    RejectedError,
)
from providers.core.transport import HttpResponse
from providers.sms import SmsMessage
from providers.testing.clock import ManualClock
from providers.testing.servers.twilio import TwilioServer

DATA = Path(__file__).parent.parent / "data" / "twilio"
REPLIES = json.loads((DATA / "responses.json").read_text(encoding="utf-8"))
SID, TOKEN = "AC00000000000000000000000000000000", "canary-token-000000000000000000"
UNKNOWN, NOT_APPLIED = Outcome.UNKNOWN, Outcome.NOT_APPLIED
MESSAGE = SmsMessage(to="+15005550010", body="Your order 1001 has shipped.")


def settings_of(**credentials):
    own = {"TWILIO_ACCOUNT_SID": SID, "TWILIO_AUTH_TOKEN": TOKEN, "TWILIO_PHONE_NUMBER": "+15005550006"}
    return Settings(mode="live", vendors={"sms": "twilio"}, credentials=own | credentials, environ={}, env_file=None)


def failed(transport, step=lambda p: p.sms.send(MESSAGE)):
    """What a call raised, and how often the vendor was asked to send."""

    async def scenario():
        async with Providers(settings_of(), clock=ManualClock(), transport=transport) as providers:
            with pytest.raises(ProviderError) as caught:
                await step(providers)
            return caught.value

    error = asyncio.run(scenario())
    return error, sum(request.method == "POST" for request in transport.requests)


def classic(status, code, message="No.", headers=None):
    body = {
        "code": code,
        "message": message,
        "more_info": f"https://www.twilio.com/docs/errors/{code}",
        "status": status,
    }
    return HttpResponse(status, headers or {}, to_json(body))


def problem(status, code, **others):
    body = {"type": f"https://www.twilio.com/docs/errors/{code}", "title": "No.", "status": status, "code": code}
    return HttpResponse(status, {"content-type": "application/problem+json"}, to_json(body | others))


TABLE = {
    # status, code -> class, outcome, field
    (401, 20003): (AuthenticationError, None),
    (403, 20003): (AuthenticationError, None),
    (403, 20005): (PermissionDeniedError, None),
    (400, 30002): (PermissionDeniedError, None),
    (403, 20008): (PermissionDeniedError, None),
    (404, 20404): (NotFoundError, None),
    (400, 21211): (InvalidRequestError, "to"),
    (400, 21217): (InvalidRequestError, "to"),
    (400, 21265): (InvalidRequestError, "to"),
    (400, 21266): (InvalidRequestError, "to"),
    (400, 21604): (InvalidRequestError, "to"),
    (400, 21612): (InvalidRequestError, "to"),
    (400, 21614): (InvalidRequestError, "to"),
    (400, 21635): (InvalidRequestError, "to"),
    (400, 21212): (InvalidRequestError, "sender"),
    (400, 21603): (InvalidRequestError, "sender"),
    (400, 21606): (InvalidRequestError, "sender"),
    (400, 21659): (InvalidRequestError, "sender"),
    (400, 21703): (InvalidRequestError, "sender"),
    (400, 21704): (InvalidRequestError, "sender"),
    (400, 21705): (InvalidRequestError, "sender"),
    (400, 21608): (PermissionDeniedError, "to"),
    (400, 21408): (PermissionDeniedError, "to"),
    (400, 21602): (InvalidRequestError, "body"),
    (400, 21605): (InvalidRequestError, "body"),
    (400, 21617): (InvalidRequestError, "body"),
    (400, 21619): (InvalidRequestError, "body"),
    (400, 21658): (InvalidRequestError, "body"),
    (400, 21609): (ConfigurationError, "TWILIO_STATUS_CALLBACK_URL"),
    (400, 35111): (InvalidRequestError, "send_at"),
    (400, 35114): (InvalidRequestError, "send_at"),
    (400, 35117): (InvalidRequestError, "send_at"),
    (400, 35118): (InvalidRequestError, "send_at"),
    (400, 21611): (RateLimitedError, "sender"),
    (400, 14107): (RateLimitedError, None),
    (429, 20429): (RateLimitedError, None),
    (429, 63038): (QuotaExceededError, None),
    (400, 99999): (InvalidRequestError, None),
}


@pytest.mark.parametrize("form", [classic, problem])
@pytest.mark.parametrize(("status", "code"), TABLE)
def test_what_a_code_means(scripted, form, status, code):
    kind, field = TABLE[status, code]
    transport = scripted(form(status, code))
    error, sends = failed(transport)
    assert type(error) is kind
    assert (error.code, error.status, error.field) == (str(code), status, field)
    assert (error.vendor, error.operation) == ("twilio", "sms.send")
    assert (error.outcome, error.message) == (NOT_APPLIED, "No.")
    assert sends == (3 if kind is RateLimitedError else 1)


@pytest.mark.parametrize("form", [classic, problem])
def test_who_replied_stop_is_rejected_as_opted_out_and_not_tried_again(scripted, form):
    transport = scripted(form(400, 21610))

    async def scenario():
        async with Providers(settings_of(), clock=ManualClock(), transport=transport) as providers:
            raised = []
            for _ in range(2):
                with pytest.raises(RejectedError) as caught:
                    await providers.sms.send(MESSAGE)
                raised.append(caught.value)
            return raised, [one async for one in providers.sms.opt_outs()]

    (first, second), (entry,) = asyncio.run(scenario())
    assert (first.code, first.field, first.status, first.vendor) == ("opted_out", "to", 400, "twilio")
    assert (second.code, second.vendor) == ("opted_out", None)
    assert (entry.number, entry.source) == (MESSAGE.to, "refused")
    assert len(transport.requests) == 1


@pytest.mark.parametrize(
    ("status", "code", "kind", "outcome", "sends"),
    [
        (500, 20500, ProviderUnavailableError, UNKNOWN, 1),
        (500, 21211, ProviderUnavailableError, UNKNOWN, 1),
        (502, None, ProviderUnavailableError, UNKNOWN, 1),
        (504, None, ProviderUnavailableError, UNKNOWN, 1),
        (503, 20503, ProviderUnavailableError, NOT_APPLIED, 3),
        (503, None, ProviderUnavailableError, NOT_APPLIED, 3),
        (408, None, ProviderTimeoutError, UNKNOWN, 1),
        (302, None, BadResponseError, NOT_APPLIED, 3),
    ],
)
def test_only_what_was_surely_not_applied_is_sent_again(scripted, status, code, kind, outcome, sends):
    answer = classic(status, code)
    transport = scripted(
        lambda request: answer if request.method == "POST" else HttpResponse(200, {}, b'{"messages": []}')
    )
    error, asked = failed(transport)
    assert (type(error), error.outcome, asked) == (kind, outcome, sends)
    looked = [request for request in transport.requests if request.method == "GET"]
    assert bool(looked) is (outcome is UNKNOWN)


@pytest.mark.parametrize("code", [20429, None])
def test_too_many_calls_say_when_to_come_back(scripted, code):
    error, _ = failed(scripted(classic(429, code, headers={"retry-after": "120"})))
    assert (type(error), error.retry_after, error.outcome) == (RateLimitedError, 120, NOT_APPLIED)
    assert error.retryable


def test_the_vendors_name_of_the_request_is_kept_for_its_support(scripted):
    error, _ = failed(scripted(classic(400, 21211, headers={"twilio-request-id": "RQ0123"})))
    assert error.request_id == "RQ0123"


@pytest.mark.parametrize(
    ("pointer", "field"),
    [("#/To", "to"), ("/From", "sender"), ("#/MessagingServiceSid", "sender"), ("#/Body", "body"),
     ("#/SendAt", "send_at"), ("#/ValidityPeriod", "valid_for"), ("#/StatusCallback", "TWILIO_STATUS_CALLBACK_URL"),
     ("#/SmartEncoded", "vendor_options.twilio.SmartEncoded"), ("", None), (None, None)],
)  # fmt: skip
def test_a_pointer_names_the_part_of_our_message(scripted, pointer, field):
    errors = [{"detail": "Too bad.", "pointer": pointer}]
    error, _ = failed(scripted(problem(400, 20001, detail="Not valid.", errors=errors)))
    assert (type(error), error.field) == (InvalidRequestError, field)
    assert error.message == "Not valid.; Too bad."


class Answering(HttpClient):
    def __init__(self, reply):
        super().__init__(logging.getLogger(__name__), is_async=False)
        self.reply = reply

    def request(self, *args, **options):
        return Response(self.reply["status"], json.dumps(self.reply["body"]))


REFUSED = [name for name, reply in REPLIES.items() if reply["status"] >= 400]


@pytest.mark.parametrize("name", REFUSED)
def test_the_sample_refusals_carry_the_code_and_status_that_the_vendors_library_reads(scripted, name):
    reply = REPLIES[name]
    client = Client(SID, TOKEN, http_client=Answering(reply), environment={"none": ""})
    with pytest.raises(TwilioException) as caught:
        client.messages.create(to=MESSAGE.to, from_="+15005550006", body=MESSAGE.body)
    error, _ = failed(scripted(HttpResponse(reply["status"], {}, to_json(reply["body"]))))
    expected = "opted_out" if name == "unsubscribed" else str(caught.value.code)
    assert (error.code, error.status) == (expected, caught.value.status)
    assert reply["body"].get("message", reply["body"].get("detail")) in error.message


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"null", b"[]", b'{"code": "abc"}', b'{"code": 1e400}', b'{"message": 7}', b'{"errors": 3}',
     b'{"code": ' + b"9" * 5000 + b"}", b"\xff", b"[" * 100_000],
    ids=range(11),
)  # fmt: skip
@pytest.mark.parametrize("status", [400, 401, 403, 404, 429])
def test_a_refusal_without_the_documented_body_goes_by_its_status(scripted, status, body):
    error, _ = failed(scripted(HttpResponse(status, {}, body)))
    expected = {401: AuthenticationError, 403: PermissionDeniedError, 404: NotFoundError, 429: RateLimitedError}
    assert type(error) is expected.get(status, InvalidRequestError)
    assert f"HTTP {status}" in error.message


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"null", b"[]", b"{}", b'{"sid": ""}', b'{"sid": null}', b'{"sid": 7}',
     b'{"sid": "SM1", "num_segments": "many"}', b'{"sid": "' + b"S" * 300 + b'"}'],
    ids=range(10),
)  # fmt: skip
def test_an_answer_that_names_no_text_leaves_the_outcome_unknown_and_is_not_repeated(scripted, body):
    answer = HttpResponse(201, {}, body)
    transport = scripted(
        lambda request: answer if request.method == "POST" else HttpResponse(200, {}, b'{"messages": []}')
    )
    error, sends = failed(transport)
    assert (type(error), error.outcome, sends) == (BadResponseError, UNKNOWN, 1)


def test_what_the_vendor_quotes_of_our_secrets_is_masked(scripted):
    error, _ = failed(scripted(classic(400, 21211, f"You sent {TOKEN}.")))
    assert TOKEN not in str(error)
    assert "***" in str(error)


MAGIC = {
    # Twilio's page on test credentials.
    "+15005550001": (InvalidRequestError, "21211", "to"),
    "+15005550002": (InvalidRequestError, "21612", "to"),
    "+15005550003": (PermissionDeniedError, "21408", "to"),
    "+15005550004": (RejectedError, "opted_out", "to"),
    "+15005550009": (InvalidRequestError, "21614", "to"),
}
MAGIC_SENDERS = {
    "+15005550001": (InvalidRequestError, "21212", "sender"),
    "+15005550007": (InvalidRequestError, "21606", "sender"),
    "+15005550008": (RateLimitedError, "21611", "sender"),
}


@pytest.mark.parametrize("problem_details", [False, True])
def test_the_magic_numbers_of_test_credentials_mean_what_they_are_for(problem_details):
    async def scenario(server):
        settings = Settings(mode="live", vendors={"sms": "twilio"}, environ=server.env, env_file=None)
        async with Providers(settings, clock=ManualClock()) as providers:
            assert (await providers.sms.send(MESSAGE)).segments == 1
            for field, numbers in (("to", MAGIC), ("sender", MAGIC_SENDERS)):
                for number, expected in numbers.items():
                    with pytest.raises(ProviderError) as caught:
                        await providers.sms.send(SmsMessage(**{"to": MESSAGE.to, "body": "Hi", field: number}))
                    error = caught.value
                    assert (type(error), error.code, error.field) == expected
                    assert error.request_id.startswith("RQ")
            (check,) = await providers.sms.check()
            assert (check.ok, check.sandbox) == (True, True)

    with TwilioServer(test_credentials=True, problem_details=problem_details) as server:
        asyncio.run(scenario(server))


@pytest.mark.parametrize(("secret", "state"), [("key-secret-0000", "ok"), ("another-secret-0000", "refused")])
def test_a_key_that_may_not_see_the_balance_is_told_from_a_wrong_one(secret, state):
    async def scenario(server):
        key = {"TWILIO_API_KEY_SID": "SK1", "TWILIO_API_KEY_SECRET": secret}
        settings = Settings(mode="live", vendors={"sms": "twilio"}, environ=server.env | key, env_file=None)
        async with Providers(settings, clock=ManualClock()) as providers:
            return (await providers.sms.check())[0].state

    with TwilioServer(keys={"SK1": "key-secret-0000"}) as server:
        assert asyncio.run(scenario(server)) == state
