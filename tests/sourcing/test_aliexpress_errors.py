"""The vendor's error table: what a code becomes in each envelope, what it leaves behind, and when to come back."""

import asyncio
import json
import pickle
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from pydantic_core import to_json

from providers import Providers, Settings
from providers.core.transport import HttpResponse
from providers.errors import (
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
)
from providers.testing.clock import ManualClock

DATA = Path(__file__).parent.parent / "data" / "aliexpress"
SECRET, ACCESS, REFRESH = "canary-app-secret-0001", "50000000canaryaccess0001", "50001000canaryrefresh0001"
CREDENTIALS = {
    "ALIEXPRESS_APP_KEY": "500001",
    "ALIEXPRESS_APP_SECRET": SECRET,
    "ALIEXPRESS_ACCESS_TOKEN": ACCESS,
    "ALIEXPRESS_REFRESH_TOKEN": REFRESH,
}
PRODUCT, ORDER = "aliexpress:1005000000000001", "aliexpress:8180000000000001"
CREATE = "aliexpress.ds.order.create"
UNKNOWN, NOT_APPLIED = Outcome.UNKNOWN, Outcome.NOT_APPLIED

SAMPLES = {
    "aliexpress.ds.text.search": "text_search",
    "aliexpress.ds.product.get": "product_get",
    "aliexpress.ds.freight.query": "freight_query",
    CREATE: "order_create_success",
    "aliexpress.trade.ds.order.get": "trade_order_get",
    "aliexpress.ds.order.tracking.get": "order_tracking_get",
    "aliexpress.ds.category.get": "category_get",
}


def sample(name):
    return HttpResponse(200, {"content-type": "application/json"}, (DATA / f"{name}.json").read_bytes())


def reply(body, status=200):
    return HttpResponse(status, {}, body if isinstance(body, bytes) else to_json(body))


class Gateway:
    """Answers by the samples; `replies` by method, or by what comes after /rest, stand in for them."""

    def __init__(self, replies):
        self.replies = replies
        self.asked = []

    def __call__(self, request):
        form = dict(parse_qsl(request.content.decode()))
        name = form.get("method") or request.url.partition("/rest")[2]
        self.asked.append(name)
        return self.replies.get(name) or sample(SAMPLES.get(name, "token_refresh"))


def failed(scripted, replies, step, **credentials):
    """What a call raised, and what was asked."""
    gateway = Gateway(replies)

    async def scenario():
        settings = Settings(
            mode="live",
            vendors={"sourcing": "aliexpress"},
            credentials={name: value for name, value in (CREDENTIALS | credentials).items() if value},
            environ={},
            env_file=None,
        )
        async with Providers(settings, clock=ManualClock(), transport=scripted(gateway)) as p:
            with pytest.raises(ProviderError) as caught:
                await step(p.sourcing)
            return caught.value

    return asyncio.run(scenario()), gateway.asked


def wrapped(code, **more):
    return {"error_response": {"code": code, "msg": "No.", "request_id": "2101", "_trace_id_": "t"} | more}


def rooted(code, **more):
    return {"type": "ISV", "code": code, "message": "No.", "request_id": "2101"} | more


BAN = "Api access frequency exceeds the limit. this ban will last 7 seconds"

ENVELOPE = [
    # code, what is told besides -> class, what order.create may have left behind, seconds to wait
    ("IllegalRefreshToken", {"type": "ISV"}, CredentialRevokedError, NOT_APPLIED, None),
    ("IncompleteSignature", {"type": "ISV"}, AuthenticationError, NOT_APPLIED, None),
    ("25", {}, AuthenticationError, NOT_APPLIED, None),
    ("InvalidAppKey", {"type": "ISV"}, PermissionDeniedError, NOT_APPLIED, None),
    ("InsufficientPermission", {"type": "ISV"}, PermissionDeniedError, NOT_APPLIED, None),
    ("11", {}, PermissionDeniedError, NOT_APPLIED, None),
    ("12", {}, PermissionDeniedError, NOT_APPLIED, None),
    ("29", {}, PermissionDeniedError, NOT_APPLIED, None),
    ("11", {"sub_code": "isv.permission-api-package-limit"}, PermissionDeniedError, NOT_APPLIED, None),
    ("99", {"sub_code": "isv.permission-user-limit"}, PermissionDeniedError, NOT_APPLIED, None),
    ("MissingParameter", {"type": "ISV"}, InvalidRequestError, NOT_APPLIED, None),
    ("InvalidParameter", {"type": "ISV"}, InvalidRequestError, NOT_APPLIED, None),
    ("40", {}, InvalidRequestError, NOT_APPLIED, None),
    ("41", {}, InvalidRequestError, NOT_APPLIED, None),
    ("InvalidApiPath", {"type": "ISV"}, InvalidRequestError, NOT_APPLIED, None),
    ("ApiCallLimit", {"type": "ISV", "msg": BAN, "message": BAN}, RateLimitedError, NOT_APPLIED, 7.0),
    ("ApiCallLimit", {"type": "ISV"}, RateLimitedError, NOT_APPLIED, 1.0),
    ("7", {}, RateLimitedError, NOT_APPLIED, 1.0),
    ("7", {"sub_msg": "This ban will last for 3 more seconds"}, RateLimitedError, NOT_APPLIED, 3.0),
    ("7", {"sub_code": "accesscontrol.limited-by-api-access-count"}, RateLimitedError, NOT_APPLIED, 1.0),
    ("99", {"sub_code": "accesscontrol.limited-by-app"}, RateLimitedError, NOT_APPLIED, 1.0),
    ("7", {"sub_msg": "App call limited: 5000 calls a day"}, QuotaExceededError, NOT_APPLIED, None),
    ("ApiCallLimit", {"sub_msg": "daily limit"}, QuotaExceededError, NOT_APPLIED, None),
    ("Whatever", {"type": "ISV", "msg": "Your quota is used up"}, QuotaExceededError, NOT_APPLIED, None),
    ("15", {}, ProviderUnavailableError, UNKNOWN, None),
    ("15", {"sub_code": "isp.remote-service-error"}, ProviderUnavailableError, UNKNOWN, None),
    ("99", {"sub_code": "isp.top-remote-connection-timeout"}, ProviderUnavailableError, UNKNOWN, None),
    ("15", {"sub_code": "isv.parameter-invalid"}, InvalidRequestError, NOT_APPLIED, None),
    ("15", {"sub_code": "isv.permission-x"}, PermissionDeniedError, NOT_APPLIED, None),
    ("NeverHeardOf", {"type": "ISV"}, InvalidRequestError, NOT_APPLIED, None),
    ("NeverHeardOf", {"type": "ISP"}, ProviderUnavailableError, UNKNOWN, None),
    ("NeverHeardOf", {"type": "SYSTEM"}, ProviderUnavailableError, UNKNOWN, None),
    ("NeverHeardOf", {"type": "WHO"}, ProviderUnavailableError, UNKNOWN, None),
]


@pytest.mark.parametrize(("code", "more", "kind", "outcome", "wait"), ENVELOPE)
def test_what_the_gateway_refuses(scripted, order, code, more, kind, outcome, wait):
    refusal = reply(wrapped(code, **more))
    error, asked = failed(scripted, {"aliexpress.trade.ds.order.get": refusal}, lambda s: s.order(ORDER))
    assert (type(error), error.retry_after, error.outcome) == (kind, wait, NOT_APPLIED)
    assert error.code == more.get("sub_code", code)
    assert (error.request_id, error.vendor, error.operation) == ("2101", "aliexpress", "sourcing.order")
    assert len(asked) == (3 if error.repeatable else 1)
    # The same as an order is made: what may have been done is asked for once.
    error, asked = failed(scripted, {CREATE: refusal}, lambda s: s.place_order(order(PRODUCT)))
    assert (type(error), error.retry_after, error.outcome) == (kind, wait, outcome)
    assert asked.count(CREATE) == (3 if error.repeatable and outcome is NOT_APPLIED else 1)


@pytest.mark.parametrize(("code", "more", "kind", "outcome", "wait"), ENVELOPE)
def test_the_same_at_the_root_of_the_body(scripted, code, more, kind, outcome, wait):
    refusal = reply(rooted(code, **{"type": ""} | {{"msg": "message"}.get(name, name): more[name] for name in more}))
    error, _ = failed(scripted, {"aliexpress.trade.ds.order.get": refusal}, lambda s: s.order(ORDER))
    assert (type(error), error.retry_after, error.request_id) == (kind, wait, "2101")


TOKEN = [
    wrapped("IllegalAccessToken", type="ISV", msg="The specified access token is invalid or expired"),
    wrapped("27", msg="Invalid session"),
    wrapped("27", msg="No.", sub_code="isv.session-expired"),
    wrapped("99", msg="Invalid session"),
    wrapped("99", sub_code="invalid-sessionkey"),
    rooted("IllegalAccessToken"),
]


@pytest.mark.parametrize("body", TOKEN, ids=range(len(TOKEN)))
@pytest.mark.parametrize("status", [200, 400, 401, 403])
def test_a_refused_token_is_renewed_once_and_the_call_replayed_once(scripted, order, body, status):
    error, asked = failed(scripted, {"aliexpress.trade.ds.order.get": reply(body, status)}, lambda s: s.order(ORDER))
    assert type(error) is AuthenticationError
    assert asked == ["aliexpress.trade.ds.order.get", "/auth/token/refresh", "aliexpress.trade.ds.order.get"]
    error, asked = failed(scripted, {CREATE: reply(body, status)}, lambda s: s.place_order(order(PRODUCT)))
    assert (type(error), error.outcome) == (AuthenticationError, NOT_APPLIED)
    assert asked[-3:] == [CREATE, "/auth/token/refresh", CREATE]
    assert asked.count(CREATE) == 2


def answer(method, **payload):
    return {method.replace(".", "_") + "_response": {**payload, "request_id": "2102"}}


METHODS = [
    # method, payload -> class, code, field, seconds to wait
    ("aliexpress.ds.text.search", {"code": "NGSELECTION_SEARCH_ERROR", "msg": "x"},
     ProviderUnavailableError, "NGSELECTION_SEARCH_ERROR", None, 10.0),
    ("aliexpress.ds.text.search", {"code": "SOMETHING"}, ProviderUnavailableError, "SOMETHING", None, None),
    ("aliexpress.ds.text.search", {}, BadResponseError, "reply", None, None),
    ("aliexpress.ds.product.get", {"rsp_code": 605, "rsp_msg": "ITEM_ID_NOT_FOUND"}, NotFoundError, "605", "ref", None),
    ("aliexpress.ds.product.get", {"rsp_code": "605"}, NotFoundError, "605", "ref", None),
    ("aliexpress.ds.product.get", {"rsp_code": 602, "rsp_msg": "x"}, NotFoundError, "not_sold", "country", None),
    ("aliexpress.ds.product.get", {"rsp_code": 404, "rsp_msg": "System Error"},
     ProviderUnavailableError, "404", None, None),
    ("aliexpress.ds.product.get", {"rsp_code": 7, "rsp_msg": "x"}, ProviderUnavailableError, "7", None, None),
    ("aliexpress.ds.product.get", {"rsp_code": 200}, BadResponseError, "reply", None, None),
    ("aliexpress.ds.product.get", {"result": {}}, BadResponseError, "reply", None, None),
    ("aliexpress.ds.order.tracking.get", {"result": {"ret": False, "code": "9", "msg": "x"}},
     ProviderUnavailableError, "9", None, None),
    ("aliexpress.ds.order.tracking.get", {"result": {"ret": False}}, BadResponseError, "reply", None, None),
    ("aliexpress.ds.category.get", {"resp_result": {"resp_code": 500, "resp_msg": "x"}},
     ProviderUnavailableError, "500", None, None),
    ("aliexpress.ds.category.get", {}, BadResponseError, "reply", None, None),
    ("aliexpress.trade.ds.order.get", {}, BadResponseError, "reply", None, None),
    ("aliexpress.trade.ds.order.get", {"result": {}}, BadResponseError, "reply", None, None),
    ("aliexpress.trade.ds.order.get", {"code": "isv.x", "msg": "y"}, InvalidRequestError, "isv.x", None, None),
]  # fmt: skip

STEPS = {
    "aliexpress.ds.text.search": lambda s: s.search("earbuds", country="US"),
    "aliexpress.ds.product.get": lambda s: s.product(PRODUCT, country="US"),
    "aliexpress.ds.freight.query": lambda s: s.shipping_quotes(PRODUCT, variant="12000000000000001", country="US"),
    "aliexpress.ds.order.tracking.get": lambda s: s.tracking(ORDER),
    "aliexpress.ds.category.get": lambda s: s.categories(),
    "aliexpress.trade.ds.order.get": lambda s: s.order(ORDER),
}


@pytest.mark.parametrize(("method", "payload", "kind", "code", "field", "wait"), METHODS)
def test_what_a_method_says_no_with(scripted, method, payload, kind, code, field, wait):
    error, _ = failed(scripted, {method: reply(answer(method, **payload))}, STEPS[method])
    assert (type(error), error.code, error.field, error.retry_after) == (kind, code, field, wait)


@pytest.mark.parametrize(
    ("method", "payload", "kind", "code"), [row[:4] for row in METHODS if row[2] is not BadResponseError]
)
def test_an_answer_without_its_outer_key_says_no_all_the_same(scripted, method, payload, kind, code):
    error, _ = failed(scripted, {method: reply({**payload, "request_id": "2102"})}, STEPS[method])
    assert (type(error), error.code, error.request_id) == (kind, code, "2102")


@pytest.mark.parametrize("node", [
    {"code": 501, "msg": "DELIVERY_INFO_EMPTY", "success": False},
    {"code": "500", "msg": "DELIVERY_NOT_AVAILABLE_TO_YOUR_ADDRESS", "success": "false"},
    {"code": 0, "msg": "DELIVERY_NOT_AVAILABLE_TO_YOUR_ADDRESS"},
    {"code": 200, "success": True},
    {"code": 200, "success": "true", "delivery_options": {}},
    {"code": 200, "success": True, "delivery_options": {"delivery_option_d_t_o": []}},
])  # fmt: skip
def test_no_way_to_ship_is_no_error(scripted, node):
    gateway = Gateway({"aliexpress.ds.freight.query": reply(answer("aliexpress.ds.freight.query", result=node))})

    async def scenario():
        settings = Settings(
            mode="live", vendors={"sourcing": "aliexpress"}, credentials=CREDENTIALS, environ={}, env_file=None
        )
        async with Providers(settings, clock=ManualClock(), transport=scripted(gateway)) as p:
            return await STEPS["aliexpress.ds.freight.query"](p.sourcing)

    assert asyncio.run(scenario()) == []


PLACE = [
    ("B_DROPSHIPPER_DELIVERY_ADDRESS_VALIDATE_FAIL", InvalidRequestError, None, "address", NOT_APPLIED),
    ("A002_INVALID_ZONE", InvalidRequestError, None, "address", NOT_APPLIED),
    ("A005_INVALID_COUNTRIES", InvalidRequestError, None, "address", NOT_APPLIED),
    ("DELIVERY_METHOD_NOT_EXIST", InvalidRequestError, None, "shipping", NOT_APPLIED),
    ("PRICE_PAY_CURRENCY_ERROR", InvalidRequestError, None, "currency", NOT_APPLIED),
    ("A004_CANNOT_USER_COUPON", InvalidRequestError, None, None, NOT_APPLIED),
    ("ERROR_WHEN_BUILD_FOR_PLACE_ORDER", InvalidRequestError, None, None, NOT_APPLIED),
    ("INVENTORY_HOLD_ERROR", ConflictError, "out_of_stock", "quantity", NOT_APPLIED),
    ("REPEATED_ORDER_ERROR", ConflictError, None, "idempotency_key", UNKNOWN),
    ("BLACKLIST_BUYER_IN_LIST", PermissionDeniedError, None, None, NOT_APPLIED),
    ("USER_ACCOUNT_DISABLED", PermissionDeniedError, None, None, NOT_APPLIED),
    ("A001", PermissionDeniedError, None, None, NOT_APPLIED),
    ("A003_SOMETHING", PermissionDeniedError, None, None, NOT_APPLIED),
    ("A006_SOMETHING", PermissionDeniedError, None, None, NOT_APPLIED),
    ("404", ProviderUnavailableError, None, None, UNKNOWN),
    ("isp.item-service-error", ProviderUnavailableError, None, None, UNKNOWN),
    ("SYSTEM_ERROR", ProviderUnavailableError, None, None, UNKNOWN),
    ("TRADE_TIMEOUT", ProviderUnavailableError, None, None, UNKNOWN),
    ("isv.something", InvalidRequestError, None, None, NOT_APPLIED),
    ("LIMIT_PER_BUYER", RejectedError, None, None, NOT_APPLIED),
]


@pytest.mark.parametrize("is_success", [False, "false"])
@pytest.mark.parametrize(("word", "kind", "code", "field", "outcome"), PLACE)
def test_what_an_order_is_refused_with(scripted, order, is_success, word, kind, code, field, outcome):
    result = {"is_success": is_success, "error_code": word, "error_msg": "Please do not."}
    error, asked = failed(
        scripted, {CREATE: reply(answer(CREATE, result=result))}, lambda s: s.place_order(order(PRODUCT))
    )
    assert (type(error), error.code, error.field, error.outcome) == (kind, code or word, field, outcome)
    assert (error.message, error.request_id, error.operation) == ("Please do not.", "2102", "sourcing.place_order")
    assert asked.count(CREATE) == 1
    assert error.retryable is False


@pytest.mark.parametrize("body", [
    answer(CREATE, result={"is_success": True}),
    answer(CREATE, result={"is_success": True, "order_list": {"number": []}}),
    answer(CREATE, result={"is_success": True, "order_list": {"number": [None]}}),
    answer(CREATE, result={"is_success": False, "order_list": {"number": [8180000000000001]}}),
    answer(CREATE, result={"is_success": "perhaps", "order_list": {"number": [8180000000000001]}}),
    answer(CREATE, result={"is_success": False}),
    answer(CREATE, result={}),
    answer(CREATE),
    {},
    b"",
    b"<html><body>Bad gateway</body></html>",
    b'{"aliexpress_ds_order_create_response": {"result": {"is_succ',
    b"[]",
    b"null",
    b'"ok"',
], ids=range(15))  # fmt: skip
def test_a_broken_answer_to_an_order_leaves_its_outcome_unknown_and_is_not_repeated(scripted, order, body):
    error, asked = failed(scripted, {CREATE: reply(body)}, lambda s: s.place_order(order(PRODUCT)))
    assert isinstance(error, BadResponseError | ProviderUnavailableError)
    assert (error.outcome, error.retryable, asked.count(CREATE)) == (UNKNOWN, False, 1)


@pytest.mark.parametrize(
    ("status", "kind", "outcome"),
    [
        (500, ProviderUnavailableError, UNKNOWN),
        (502, ProviderUnavailableError, UNKNOWN),
        (504, ProviderUnavailableError, UNKNOWN),
        (408, ProviderTimeoutError, UNKNOWN),
        (302, BadResponseError, NOT_APPLIED),
        (404, BadResponseError, NOT_APPLIED),
        (401, AuthenticationError, NOT_APPLIED),
        (403, PermissionDeniedError, NOT_APPLIED),
        (429, RateLimitedError, NOT_APPLIED),
        (400, InvalidRequestError, NOT_APPLIED),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>", b"null", b"[]", b'{"error_response": 7}', b"[" * 100_000])
def test_a_status_without_the_gateways_words(scripted, order, status, kind, outcome, body):
    error, asked = failed(scripted, {CREATE: reply(body, status)}, lambda s: s.place_order(order(PRODUCT)))
    assert (type(error), error.status, error.outcome) == (kind, status, outcome)
    assert f"HTTP {status}" in str(error)
    assert asked.count(CREATE) == (3 if error.repeatable and outcome is NOT_APPLIED else 1)


def test_a_failing_gateway_is_not_believed_that_it_refused(scripted, order):
    refusal = reply(wrapped("MissingParameter", type="ISV"), 500)
    error, asked = failed(scripted, {CREATE: refusal}, lambda s: s.place_order(order(PRODUCT)))
    assert (type(error), error.outcome, asked.count(CREATE)) == (ProviderUnavailableError, UNKNOWN, 1)


def test_a_timeout_while_an_order_is_made_leaves_its_outcome_unknown(scripted, order):
    error, asked = failed(scripted, {CREATE: TimeoutError()}, lambda s: s.place_order(order(PRODUCT)))
    assert (type(error), error.outcome, error.retryable) == (ProviderTimeoutError, UNKNOWN, False)
    assert asked.count(CREATE) == 1


def test_an_order_that_is_somebody_elses_or_nowhere_is_not_found(scripted):
    refusal = wrapped("15", sub_code="isv.insufficient-permission", sub_msg="Insufficient permission.")
    error, asked = failed(scripted, {"aliexpress.trade.ds.order.get": reply(refusal)}, lambda s: s.order(ORDER))
    assert (type(error), error.field, error.request_id, len(asked)) == (NotFoundError, "ref", "2101", 1)


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        ("error_api_call_limit", RateLimitedError, "ApiCallLimit"),
        ("error_illegal_refresh_token", CredentialRevokedError, "IllegalRefreshToken"),
        ("error_incomplete_signature", AuthenticationError, "IncompleteSignature"),
        ("error_missing_parameter", InvalidRequestError, "MissingParameter"),
        ("error_root_level", ProviderUnavailableError, "15"),
        ("error_top_style", ProviderUnavailableError, "isp.remote-service-error"),
    ],
)
def test_the_sample_refusals(scripted, name, kind, code):
    told = json.loads(sample(name).content)
    told = told.get("error_response", told)
    error, _ = failed(scripted, {"aliexpress.trade.ds.order.get": sample(name)}, lambda s: s.order(ORDER))
    assert (type(error), error.code, error.request_id) == (kind, code, told["request_id"])
    assert (told.get("msg") or told["message"]) in error.message


@pytest.mark.parametrize("body", [
    wrapped("IllegalAccessToken", msg=f"session {ACCESS} is not valid"),
    wrapped("IncompleteSignature", msg=f"base string app_key500001session{ACCESS} with {SECRET}"),
    wrapped("NeverHeardOf", type="ISV", msg=f"{ACCESS} {REFRESH} {SECRET}", sub_code=ACCESS),
    rooted(f"Code{SECRET}", message=f"{REFRESH}"),
], ids=range(4))  # fmt: skip
def test_what_the_vendor_quotes_back_shows_no_secret(scripted, body):
    error, _ = failed(scripted, {"aliexpress.trade.ds.order.get": reply(body)}, lambda s: s.order(ORDER))
    shown = f"{error!s} {error!r} {error.code} {error.request_id} {pickle.loads(pickle.dumps(error))!r}"  # noqa: S301
    assert "***" in shown
    assert not any(secret in shown for secret in (ACCESS, REFRESH, SECRET))
