"""What must hold for any reply, well-formed or not: a result, or an error of ours."""

import asyncio
import contextlib
import io
from xml.sax.saxutils import escape

import pytest
from botocore.awsrequest import AWSResponse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from providers import Providers, Settings
from providers.core.errors import ProviderError
from providers.core.models import Model
from providers.sms import SmsMessage, SnsSms
from providers.testing.clock import ManualClock

SETTINGS = Settings(
    mode="live",
    vendors={"sms": "sns"},
    credentials={"SNS_ACCESS_KEY_ID": "AKIAX", "SNS_SECRET_ACCESS_KEY": "x", "SNS_REGION": "eu-central-1"},
    environ={},
    env_file=None,
)
NAMES = st.sampled_from(
    ["PublishResponse", "PublishResult", "MessageId", "GetSMSAttributesResponse", "GetSMSAttributesResult",
     "attributes", "entry", "key", "value", "ListPhoneNumbersOptedOutResponse", "ListPhoneNumbersOptedOutResult",
     "phoneNumbers", "member", "nextToken", "OptInPhoneNumberResponse", "OptInPhoneNumberResult",
     "GetSMSSandboxAccountStatusResponse", "GetSMSSandboxAccountStatusResult", "IsInSandbox", "ErrorResponse",
     "Errors", "Error", "Code", "Message", "Type", "RequestId", "ResponseMetadata"]
)  # fmt: skip
TEXTS = st.sampled_from(["", "true", "OptedOut", "Throttled", "MonthlySpendLimit", "1e999", "+15005550010", "x"])


def element(name, inside):
    return f"<{name}>{inside}</{name}>"


trees = st.recursive(
    (st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8) | TEXTS).map(escape),
    lambda inner: st.lists(st.tuples(NAMES, inner), min_size=1, max_size=4).map(
        lambda parts: "".join(element(*part) for part in parts)
    ),
    max_leaves=10,
)
OPERATIONS = (
    "Publish",
    "GetSMSAttributes",
    "ListPhoneNumbersOptedOut",
    "OptInPhoneNumber",
    "GetSMSSandboxAccountStatus",
)
wrapped = st.tuples(st.sampled_from(OPERATIONS), trees).map(
    lambda pair: element(f"{pair[0]}Response", element(f"{pair[0]}Result", pair[1]))
)
bodies = (
    st.tuples(NAMES, trees).map(lambda pair: element(*pair).encode())
    | wrapped.map(str.encode)
    | st.tuples(wrapped, st.integers(1, 60)).map(lambda pair: pair[0].encode()[: -pair[1]])
    | st.binary(max_size=60)
    | st.sampled_from([b"", b"{}", b"<html><body/></html>", b"<?xml version='1.0' encoding='x'?><a/>"])
)
statuses = st.sampled_from([200, 204, 300, 301, 400, 403, 404, 429, 500, 503]) | st.integers(200, 599)
headers = st.dictionaries(
    st.sampled_from(["x-amzn-requestid", "content-type", "retry-after", "content-length"]),
    st.sampled_from(["text/xml", "", "9" * 500, "nan", "-1"]),
    max_size=3,
)


async def listed(items):
    return [item async for item in items]


CALLS = {
    "send": lambda p: p.sms.send(SmsMessage(to="+15005550010", body="Hi")),
    "opt_outs": lambda p: listed(p.sms.opt_outs()),
    "opt_in": lambda p: p.sms.opt_in("+15005550010"),
    "check": lambda p: p.sms.check(),
}


class Body(io.BytesIO):
    def stream(self, **_):
        yield self.read()


@pytest.mark.parametrize("name", CALLS)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(replies=st.lists(st.tuples(statuses, headers, bodies), min_size=1, max_size=4))
def test_any_reply_is_a_result_or_an_error_of_ours(name, replies):
    asked = []

    def answer(request, **_):
        status, head, body = replies[min(len(asked), len(replies) - 1)]
        asked.append(request)
        # A list that never ends is no reply, and nobody would wait for it.
        if len(asked) > 20:
            body = b""
        return AWSResponse(request.url, status, head, Body(body))

    async def scenario():
        async with Providers(SETTINGS, clock=ManualClock()) as providers:
            providers.sms.unwrap(SnsSms).client.meta.events.register("before-send", answer)
            with contextlib.suppress(ProviderError):
                return await CALLS[name](providers)

    result = asyncio.run(scenario())
    assert asked
    for one in result if isinstance(result, list) else [result]:
        assert one is None or isinstance(one, Model)
        if isinstance(one, Model):
            one.model_dump_json()
            assert name != "send" or b"<MessageId>" + one.ref.id.encode() in replies[len(asked) - 1][2]
