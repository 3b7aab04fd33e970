"""CJ's list of codes: what each becomes, by HTTP 200 or not, for reads and for writes; and replies that are none."""

import asyncio
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import to_json

from providers import Money, Providers, Ref, Settings
from providers.core.errors import (
    AuthenticationError,
    BadResponseError,
    ConflictError,
    CredentialRevokedError,
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
    UnsupportedOperationError,
)
from providers.core.models import Model
from providers.core.transport import HttpResponse
from providers.sourcing import (
    Address,
    CjSourcing,
    Market,
    OrderDraft,
    OrderLine,
    ProductName,
    SearchQuery,
    ShippingQuote,
)
from providers.testing.clock import ManualClock

DATA = Path(__file__).parent.parent / "data" / "cjdropshipping"
CREDENTIALS = {"CJDROPSHIP_API_KEY": "CJ1@api@canary-key-0000", "CJDROPSHIP_EMAIL": "owner@example.com"}
UNKNOWN, NOT_APPLIED = Outcome.UNKNOWN, Outcome.NOT_APPLIED
PID, VID = "1795000000000000001", "1795000000000000101"
NAME = ProductName("cjdropshipping", PID)
US = Market(country="US")
ORDER = Ref(vendor="cjdropshipping", id="SD2611220001000000001")
LINE = OrderLine(
    product=NAME,
    variant=VID,
    price=Money(amount=Decimal("7.85"), currency="USD"),
    shipping=ShippingQuote(
        code="USPS+", method="USPS+", cost=Money(amount=Decimal("6.02"), currency="USD"), ships_from="CN"
    ),
)
DRAFT = OrderDraft(
    source="cjdropshipping",
    number="DEMO-1001",
    lines=(LINE,),
    address=Address(name="Alex Demo", line1="1 Example Street", city="Springfield", region="California", country="US"),
    currency="USD",
)


def sample(name):
    return (DATA / f"{name}.json").read_bytes()


def reply(body, status=200, headers=None):
    content = body if isinstance(body, bytes) else to_json(body, inf_nan_mode="constants")
    return HttpResponse(status, headers or {"content-type": "application/json"}, content)


def refusal(code, message="No.", **others):
    return {"code": code, "result": False, "message": message, "data": None, "requestId": "r-1", **others}


def vendor(answer):
    """A CJ that gives tokens as its pages say, and else answers as told."""

    def answered(request):
        if request.url.endswith("/authentication/getAccessToken"):
            return reply(sample("get_access_token"))
        if request.url.endswith("/authentication/refreshAccessToken"):
            return reply(sample("refresh_access_token"))
        return answer(request) if callable(answer) else answer

    return answered


def opened(transport, clock=None, **credentials):
    given = Settings(
        mode="live",
        vendors={"sourcing": "cjdropshipping"},
        credentials=CREDENTIALS | credentials,
        environ={},
        env_file=None,
    )
    return Providers(given, clock=clock or ManualClock(datetime(2026, 11, 23, tzinfo=UTC).timestamp()),
                     transport=transport)  # fmt: skip


def adapter_failed(transport, step):
    """What the adapter itself raises: no pipeline stands around it."""

    async def scenario():
        async with opened(transport) as providers:
            with pytest.raises(ProviderError) as caught:
                await step(providers.sourcing.unwrap(CjSourcing))
            return caught.value

    return asyncio.run(scenario())


def read(adapter):
    return adapter.product(NAME, US)


def write(adapter):
    return adapter.client.post("webhook/product/subscribe", {"productIds": [PID]})


UNAVAILABLE = (ProviderUnavailableError, UNKNOWN, None, True)
AUTHENTICATION = (AuthenticationError, NOT_APPLIED, None, False)
DENIED = (PermissionDeniedError, NOT_APPLIED, None, False)
INVALID = (InvalidRequestError, NOT_APPLIED, None, False)
UNDECIDED = (ConflictError, UNKNOWN, None, False)
FREIGHT = (InvalidRequestError, NOT_APPLIED, "shipping", False)
URL = (InvalidRequestError, NOT_APPLIED, "url", False)
GONE = (NotFoundError, NOT_APPLIED, "ref", False)

TABLE = {
    # code: class, outcome of a write, field, whether it may be repeated
    1600000: UNAVAILABLE,
    1600003: AUTHENTICATION,
    1600004: AUTHENTICATION,
    1600005: AUTHENTICATION,
    1600006: AUTHENTICATION,
    1600008: AUTHENTICATION,
    1600013: AUTHENTICATION,
    1601000: AUTHENTICATION,
    1600007: DENIED,
    1600012: DENIED,
    1604001: DENIED,
    1600101: INVALID,
    1600100: INVALID,
    1600200: (RateLimitedError, NOT_APPLIED, None, True),
    1600201: (QuotaExceededError, NOT_APPLIED, None, False),
    16900500: (QuotaExceededError, NOT_APPLIED, None, False),
    1600300: INVALID,
    1600301: (ProviderTimeoutError, UNKNOWN, None, True),
    1602000: GONE,
    1602001: GONE,
    1602002: GONE,
    1602003: GONE,
    1603000: UNDECIDED,
    1603001: UNDECIDED,
    1603002: UNDECIDED,
    1603101: UNDECIDED,
    1603102: UNDECIDED,
    1603003: (ConflictError, NOT_APPLIED, None, False),
    1603100: GONE,
    1604000: (RejectedError, NOT_APPLIED, None, False),
    1605000: FREIGHT,
    1605001: FREIGHT,
    1605002: FREIGHT,
    1606000: URL,
    1606001: URL,
    1607000: URL,
    1607001: URL,
    1607002: URL,
    1607003: URL,
    1607004: UNAVAILABLE,
    1607006: UNAVAILABLE,
    1607007: UNAVAILABLE,
    1607008: UNAVAILABLE,
    1607009: UNAVAILABLE,
    1607010: UNAVAILABLE,
    16900202: INVALID,
    16900203: INVALID,
    16900204: INVALID,
    16900205: INVALID,
    16900403: INVALID,
}
WORDS = {1602002: "off_shelf", 1602003: "off_shelf", 1604000: "insufficient_funds"}
BY_TEXT = {
    # code, text: class, outcome of a write, field, whether it may be repeated
    (1600100, "Interface is offline"): (ProviderUnavailableError, NOT_APPLIED, None, False),
    (1600100, "Param error"): INVALID,
    (1600300, "order not found"): GONE,
    (1600200, "Insufficient API points"): (QuotaExceededError, NOT_APPLIED, None, False),
}
EVERY = [(code, "No.", row) for code, row in TABLE.items()] + [(*key, row) for key, row in BY_TEXT.items()]


@pytest.mark.parametrize("status", [200, 400, 401, 429, 500])
@pytest.mark.parametrize(("code", "message", "row"), EVERY)
def test_what_a_code_means_whatever_the_http_status(scripted, code, message, row, status):
    kind, outcome, field, repeatable = row
    error = adapter_failed(scripted(vendor(reply(refusal(code, message), status))), write)
    assert type(error) is kind
    assert (error.outcome, error.field, error.repeatable) == (outcome, field, repeatable)
    assert (error.code, error.status, error.request_id) == (WORDS.get(code, str(code)), status, "r-1")
    assert error.message.startswith(message)
    assert error.vendor == "cjdropshipping"
    assert error.retry_after == (1.1 if kind is RateLimitedError else None)


def test_a_code_may_stand_there_as_text_and_success_instead_of_result(scripted):
    body = {"code": "1602001", "success": False, "message": "Product not found", "data": None}
    error = adapter_failed(scripted(vendor(reply(body))), read)
    assert type(error) is NotFoundError
    assert error.code == "1602001"


@pytest.mark.parametrize("code", [1600001, 1600002, 1600030, 1600031])
def test_a_bad_token_is_renewed_once_before_it_is_an_error(scripted, code):
    transport = scripted(vendor(reply(refusal(code, "Invalid API key or access token"), 401)))
    error = adapter_failed(transport, read)
    assert type(error) is AuthenticationError
    assert error.code == str(code)
    paths = [request.url.partition("/api2.0/v1/")[2].partition("?")[0] for request in transport.requests]
    asked = ["product/query", "authentication/refreshAccessToken", "product/query"]
    assert paths == ["authentication/getAccessToken", *asked]


@pytest.mark.parametrize("name", ["error_api_key_wrong", "error_param", "error_product_not_found", "error_qps",
                                  "error_points_exhausted", "order_not_found", "pay_balance_insufficient",
                                  "create_order_duplicate", "confirm_order_failed"])  # fmt: skip
def test_the_vendors_samples_are_what_the_table_says(scripted, name):
    body = json.loads(sample(name))
    error = adapter_failed(scripted(vendor(reply(body))), write)
    row = BY_TEXT.get((body["code"], body["message"])) or TABLE[body["code"]]
    assert type(error) is row[0]
    assert error.message.startswith(body["message"])
    assert error.request_id == body["requestId"]


def test_a_key_that_is_refused_says_how_to_connect_the_account_again(scripted):
    transport = scripted(reply(sample("error_api_key_wrong")))
    error = adapter_failed(transport, read)
    assert type(error) is CredentialRevokedError
    assert error.code == "1600005"
    assert "create a new API key" in str(error)
    assert "CJDROPSHIP_API_KEY" in str(error)
    assert len(transport.requests) == 1


def test_a_token_that_is_asked_for_too_soon_waits_five_minutes(scripted):
    error = adapter_failed(scripted(reply(sample("error_qps"))), read)
    assert type(error) is RateLimitedError
    assert error.retry_after == 300.0


@pytest.mark.parametrize(
    ("message", "info", "seconds"),
    [
        # 50,000 points come back in 86,400 seconds.
        ("Insufficient API points. Used today: 50000, Remaining: 0, Required: 50", {}, 86.4),
        ("Insufficient API points. Used today: 50000, Remaining: 4, Required: 10", {}, 6 * 1.728),
        ("Insufficient API points. Used today: 1, Remaining: 0, Required: 50", {"total": 100_000}, 43.2),
        ("Insufficient API points. Used today: 1, Remaining: 0, Required: 50", {"total": 0}, 86.4),
        ("Insufficient API points. Used today: 1, Remaining: 0, Required: 50", {"total": 10**40}, 86.4),
        ("Insufficient API points.", {"total": 50_000}, None),
    ],
)
def test_when_points_are_there_again_is_said_where_it_can_be_reckoned(scripted, message, info, seconds):
    body = refusal(16900500, message, pointsInfo={"usedToday": 1, "remaining": 0, **info})
    error = adapter_failed(scripted(vendor(reply(body))), read)
    assert type(error) is QuotaExceededError
    assert error.retry_after == (None if seconds is None else pytest.approx(seconds))
    assert error.repeatable is (seconds is not None)


CALLS = {
    "search": lambda a: a.search(SearchQuery(source="cjdropshipping", text="mat", market=US)),
    "product": read,
    "stock": lambda a: a.stock(NAME, US),
    "quotes": lambda a: a.shipping_quotes((LINE,), US, ""),
    "categories": lambda a: a.categories("cjdropshipping", "en"),
    "place": lambda a: a.place(DRAFT),
    "find": lambda a: a.find(DRAFT, 0.0),
    "order": lambda a: a.order(ORDER),
    "confirm": lambda a: a.confirm(ORDER),
    "pay": lambda a: a.pay(ORDER),
    "cancel": lambda a: a.cancel(ORDER),
    "trackings": lambda a: a.trackings((ORDER, Ref(vendor="cjdropshipping", id="SD2"))),
    "watch": lambda a: a.watch((NAME,)),
    "ensure_webhook": lambda a: a.ensure_webhook("https://shop.example.com/hook"),
    "check": lambda a: a.check(),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("status", [200, 429])
def test_a_throttled_reply_is_never_read_as_nothing(scripted, call, status):
    error = adapter_failed(scripted(vendor(reply(sample("error_qps"), status))), CALLS[call])
    assert type(error) is RateLimitedError
    assert (error.outcome, error.retry_after) == (NOT_APPLIED, 1.1)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (429, RateLimitedError),
        (500, ProviderUnavailableError),
        (403, PermissionDeniedError),
        (302, BadResponseError),
        (404, BadResponseError),
    ],
)
def test_a_page_instead_of_json_is_named_by_its_status(scripted, call, status, kind):
    error = adapter_failed(
        scripted(vendor(reply(b"<html>no</html>", status, {"content-type": "text/html"}))), CALLS[call]
    )
    assert type(error) is kind
    assert error.retry_after == (1.1 if status == 429 else None)


BROKEN = {
    "html": b"<!doctype html><html></html>",
    "truncated": sample("product_query")[:-40],
    "empty": b"",
    "a list": b"[]",
    "no envelope": b"{}",
    "nothing said": b'{"data": {}, "message": "Success"}',
    "a code of another kind": b'{"code": [200], "result": true, "data": {}}',
    "a result of another kind": b'{"code": 200, "result": "false", "data": {}}',
    "a code that is true": b'{"code": true, "result": true, "data": {}}',
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("broken", BROKEN)
def test_what_is_no_reply_of_cjs_is_not_taken_for_one(scripted, call, broken):
    error = adapter_failed(scripted(vendor(reply(BROKEN[broken]))), CALLS[call])
    assert type(error) is BadResponseError
    assert error.outcome is UNKNOWN


def test_a_code_that_is_not_in_the_list_leaves_a_write_unknown(scripted):
    error = adapter_failed(scripted(vendor(reply(refusal(1699999, "Something new")))), write)
    assert type(error) is BadResponseError
    assert (error.code, error.outcome, error.repeatable) == ("1699999", UNKNOWN, False)
    assert error.message == "Something new"


def test_code_200_with_result_false_is_no_success(scripted):
    error = adapter_failed(
        scripted(vendor(reply({"code": 200, "result": False, "message": "no", "data": None}))), write
    )
    assert type(error) is BadResponseError
    assert error.message == "no"


def test_nothing_of_the_secrets_is_in_what_leaves(scripted):
    echoed = refusal(1600300, "apiKey CJ1@api@canary-key-0000 and token demo-access-token-0001 are wrong")

    async def scenario():
        async with opened(scripted(vendor(reply(echoed)))) as providers:
            with pytest.raises(InvalidRequestError) as caught:
                await providers.sourcing.product(f"cjdropshipping:{PID}", country="US", shipping=False)
            return caught.value

    error = asyncio.run(scenario())
    assert "canary" not in str(error) + repr(error)
    assert "demo-access-token" not in str(error)


# Whatever it answers.

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
known_values = st.sampled_from(
    ["1.20 -- 2.35", "7.85", "", "USD", "EUR", "3", "SHIPPED", "CREATED", "OTHER", "2026-11-20 04:15:09", PID, VID,
     "0001-01-01T00:00+14:00", "9999-12-31T23:59:59-14:00", "00000000-0000-4000-8000-000000000001", "DEMO-1001", "7-12",
     "CN", "1e999999", "NaN", "9" * 400, 10**400, -5, 1.5, '["https://img.example.com/1.jpg"]', "[1", "Black-L", "١٢"]
)  # fmt: skip
SAMPLES = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(DATA.glob("*.json"))]


def places(value, above=()):
    """Where something stands in it."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [above, *(place for name, one in inner for place in places(one, (*above, name)))]


def replaced(value, place, new):
    if not place:
        return new
    name, *rest = place
    items = value.items() if isinstance(value, dict) else enumerate(value)
    changed = {key: replaced(one, rest, new) if key == name else one for key, one in items}
    return changed if isinstance(value, dict) else list(changed.values())


@st.composite
def nearly_samples(draw):
    """A sample of the vendor's in which one thing is another."""
    found = draw(st.sampled_from(SAMPLES))
    return replaced(found, draw(st.sampled_from(places(found))), draw(json_values | known_values))


bodies = st.binary(max_size=60) | (nearly_samples() | json_values).map(
    lambda value: to_json(value, inf_nan_mode="constants")
)
ALIKE = {
    "search": "product_list_v2",
    "product": "product_query",
    "stock": "inventory_by_pid",
    "place": "create_order_v2",
    "quotes": "freight_calculate",
    "categories": "get_category",
    "check": "setting_get",
}


@settings(max_examples=300)
@given(data=st.data(), call=st.sampled_from(sorted(CALLS)), status=st.sampled_from([200, 200, 200, 500]))
def test_whatever_comes_is_a_result_or_an_error_of_ours(data, call, status):
    own = json.loads(sample(ALIKE.get(call, "order_detail")))
    near = st.builds(lambda place, new: to_json(replaced(own, place, new), inf_nan_mode="constants"),
                     st.sampled_from(places(own)), json_values | known_values)  # fmt: skip
    found = data.draw(st.lists(near | bodies, min_size=1, max_size=3))

    class Answers:
        requests = 0

        async def send(self, request):
            if "/authentication/" in request.url:
                return reply(sample("get_access_token"))
            self.requests += 1
            return reply(found[min(self.requests, len(found)) - 1], status)

        async def aclose(self):
            return

    async def scenario():
        async with opened(Answers()) as providers:
            try:
                return await CALLS[call](providers.sourcing.unwrap(CjSourcing))
            except ProviderError as error:
                return error

    result = asyncio.run(scenario())
    assert not isinstance(result, UnsupportedOperationError)
    for one in result if isinstance(result, list) else [result]:
        assert one is None or isinstance(one, Model | ProviderError)
        assert not isinstance(one, Model) or one.model_dump_json()


@settings(max_examples=60)
@given(found=bodies)
def test_whatever_a_token_call_answers_is_a_token_or_an_error_of_ours(found):
    class Answers:
        async def send(self, request):
            return reply(found if "/authentication/" in request.url else sample("get_category"))

        async def aclose(self):
            return

    async def scenario():
        async with opened(Answers()) as providers:
            try:
                return await providers.sourcing.unwrap(CjSourcing).categories("cjdropshipping", "en")
            except ProviderError as error:
                return error

    assert isinstance(asyncio.run(scenario()), list | ProviderError)
