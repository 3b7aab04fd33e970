"""What must hold for any input: replies of the vendor, and forms that it signed."""

import asyncio
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from multidict import MultiDict
from pydantic_core import to_json
from twilio.request_validator import RequestValidator

from providers import Providers, RawRequest, Settings
from providers.core.errors import BadResponseError, ProviderError, WebhookVerificationError
from providers.core.models import Model
from providers.core.transport import HttpResponse
from providers.sms import SmsMessage
from providers.sms.api import FIND
from providers.testing.clock import START, ManualClock

SID, TOKEN = "AC00000000000000000000000000000000", "canary-token-000000000000000000"
TEXT = "SM00000000000000000000000000000001"
SETTINGS = Settings(
    mode="live",
    vendors={"sms": "twilio"},
    credentials={
        "TWILIO_ACCOUNT_SID": SID,
        "TWILIO_AUTH_TOKEN": TOKEN,
        "TWILIO_PHONE_NUMBER": "+15005550006",
        "TWILIO_STATUS_CALLBACK_URL": "https://flowsend.example.com/hook",
    },
    environ={},
    env_file=None,
)
MESSAGE = SmsMessage(to="+15005550010", body="Hi", metadata={"a": "1"})

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
known_keys = st.sampled_from(
    ["sid", "status", "num_segments", "price", "price_unit", "to", "from", "body", "messaging_service_sid",
     "error_code", "error_message", "date_created", "date_updated", "messages", "next_page_uri", "balance", "currency",
     "code", "message", "detail", "title", "errors", "pointer"]
)  # fmt: skip
known_values = st.sampled_from(
    [TEXT, "delivered", "1", "-0.0079", "1e999999", "NaN", "USD", "usd", "€uro", "Hi", "+15005550006", 21610, 10**30,
     -1, "Sun, 22 Nov 2026 12:00:00 +0000", "Sun, 22 Nov 2026 12:00:00 -0000", "Mon, 01 Jan 0001 00:00:00 +1400",
     "Fri, 31 Dec 9999 23:59:59 -1400", "Sun, 22 Nov 2026 12:00:00 +9999", "2026-11-22",
     f"/2010-04-01/Accounts/{SID}/Messages.json?Page=1"]
)  # fmt: skip
shaped = st.recursive(
    json_values | known_values,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(known_keys, inner | known_values, max_size=8),
    max_leaves=10,
)
texts = st.fixed_dictionaries(
    {"sid": st.just(TEXT), "date_created": known_values, "to": st.just("+15005550010"), "body": st.just("Hi")},
    optional={"price": known_values, "price_unit": known_values, "num_segments": known_values, "status": known_values,
              "date_updated": known_values, "error_code": known_values, "from": known_values},
)  # fmt: skip
replies = (
    shaped | texts | st.fixed_dictionaries({"messages": st.lists(texts, max_size=2), "next_page_uri": known_values})
)
bodies = st.binary(max_size=60) | replies.map(lambda value: to_json(value, inf_nan_mode="constants")) | st.just(b"")
headers = st.dictionaries(
    st.sampled_from(["retry-after", "twilio-request-id", "content-type", "location"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
    | st.sampled_from(["0", "-1", "1e400", "nan", "9" * 400, "Sun, 22 Nov 2026 12:00:00 GMT"]),
    max_size=3,
)
statuses = st.sampled_from([200, 201, 202, 204, 302, 400, 401, 403, 404, 429, 500, 503]) | st.integers(200, 599)

CALLS = {
    "send": lambda p: p.sms.send(MESSAGE),
    "send_many": lambda p: p.sms.send_many([MESSAGE]),
    "find": lambda p: p.sms._route.one(FIND, None, lambda adapter: adapter.find(MESSAGE, START)),
    "status": lambda p: p.sms.status(f"twilio:{TEXT}"),
    "check": lambda p: p.sms.check(),
}


class Answers:
    """A transport that gives these replies in turn, and the last one for ever."""

    def __init__(self, given_replies):
        self.replies = list(given_replies)

    async def send(self, request):
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    async def aclose(self):
        pass


@pytest.mark.parametrize("name", CALLS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(st.builds(HttpResponse, statuses, headers, bodies), min_size=1, max_size=4))
def test_any_reply_to_any_operation_is_a_model_or_an_error_of_ours(name, given_replies):
    async def scenario():
        async with Providers(SETTINGS, clock=ManualClock(), transport=Answers(given_replies)) as providers:
            return await CALLS[name](providers)

    result, error = None, None
    try:
        result = asyncio.run(scenario())
    except ProviderError as raised:
        error = raised
    if error is not None:
        assert len(str(error)) <= 1000
        assert error.retry_after is None or 0 <= error.retry_after < float("inf")
    for one in result if isinstance(result, list) else [result]:
        if one is not None:
            assert isinstance(one, Model)
            dumped = one.model_dump_json()
            assert type(one).model_validate_json(dumped).model_dump_json() == dumped


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
FIELDS = st.sampled_from(
    ["MessageSid", "SmsSid", "MessageStatus", "SmsStatus", "To", "From", "Body", "ErrorCode", "ErrorMessage",
     "RawDlrDoneDate", "NumSegments", "OptOutType", "MessagingServiceSid", "AccountSid"]
)  # fmt: skip
VALUES = WORDS | st.sampled_from(
    [TEXT, SID, "delivered", "received", "undelivered", "21610", "30003", "STOP", "START", "HELP", "2611221200",
     "9999999999", "1", "²", "9" * 5000, "+15005550010"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    form=st.lists(st.tuples(FIELDS | WORDS, VALUES), max_size=10),
    query=WORDS | st.from_regex(r"pm_id=[a-z]*&pm_data=[A-Za-z0-9_-]{0,30}", fullmatch=True),
    ours=st.booleans(),
)
def test_any_form_that_was_signed_is_events_or_an_error_of_ours(form, query, ours):
    pairs = [*form, ("AccountSid", SID)] if ours else form
    url = "https://flowsend.example.com/hook?" + query.replace("#", "")
    signed = RequestValidator(TOKEN).compute_signature(url, MultiDict(pairs))
    raw = RawRequest(
        body=urlencode(pairs).encode(),
        headers={"x-twilio-signature": signed, "content-type": "application/x-www-form-urlencoded"},
        url=url,
    )

    async def scenario():
        async with Providers(SETTINGS, clock=ManualClock()) as providers:
            return await providers.sms.webhook(raw)

    result, error = None, None
    try:
        result = asyncio.run(scenario())
    except (WebhookVerificationError, BadResponseError) as raised:
        error = raised
    if result is None:
        assert error.vendor == "twilio"
        assert not (ours and isinstance(error, WebhookVerificationError))
        return
    assert dict(pairs).get("AccountSid") == SID
    assert result.reply.status in {200, 204}
    (event,) = result.events
    assert event.message_id
    assert event.event_id.startswith(event.message_id + ":")
    assert "raw" not in event.model_dump()
    assert type(event).model_validate_json(event.model_dump_json()).model_dump() == event.model_dump()


@settings(max_examples=150, deadline=None)
@given(body=st.binary(max_size=80) | replies.map(lambda value: to_json(value, inf_nan_mode="constants")))
def test_any_body_that_was_hashed_and_signed_is_events_or_an_error_of_ours(body):
    from hashlib import sha256

    url = "https://flowsend.example.com/hook?bodySHA256=" + sha256(body).hexdigest()
    signed = RequestValidator(TOKEN).compute_signature(url, {})
    raw = RawRequest(body=body, headers={"x-twilio-signature": signed, "content-type": "application/json"}, url=url)

    async def scenario():
        async with Providers(SETTINGS, clock=ManualClock()) as providers:
            return await providers.sms.webhook(raw)

    with pytest.raises((WebhookVerificationError, BadResponseError)):
        asyncio.run(scenario())
