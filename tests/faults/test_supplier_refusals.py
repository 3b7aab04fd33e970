"""What suppliers refuse inside a reply with status 200: named, waited out, never ordered twice for it."""

import asyncio
from contextlib import ExitStack
from decimal import Decimal

import pytest

from providers import Money, Providers, Settings
from providers.core.store import MemoryStore
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
from providers.sourcing import OrderRequest, OrderState
from providers.sourcing.facts import ALIEXPRESS, CJDROPSHIPPING
from providers.testing import servers
from providers.testing.clock import ManualClock
from providers.testing.servers import Fault

UNKNOWN, NOT_APPLIED = Outcome.UNKNOWN, Outcome.NOT_APPLIED
AE_PRODUCT, CJ_PRODUCT = "aliexpress:1005001234567890", "cjdropshipping:1400000000000000001"
AE_CREATE = "aliexpress.ds.order.create"
CJ = "/api2.0/v1/"
CJ_CREATE, CJ_DETAIL = ("POST", CJ + "shopping/order/createOrderV2"), ("GET", CJ + "shopping/order/getOrderDetail")
CJ_CONFIRM, CJ_PAY = ("PATCH", CJ + "shopping/order/confirmOrder"), ("POST", CJ + "shopping/pay/payBalance")
CJ_DELETE = ("DELETE", CJ + "shopping/order/deleteOrder")
CJ_PRODUCT_QUERY = ("GET", CJ + "product/query")
# What a reply says is read the same whoever brings it.
ONE_TRANSPORT = pytest.mark.parametrize("transport", ["aiohttp"], indirect=True)
ADDRESS = {
    "name": "Ana Silva",
    "line1": "1 Main Street",
    "city": "Austin",
    "region": "Texas",
    "postal_code": "78701",
    "country": "US",
    "phone": "+15125550123",
}


def order(*refs, key="order-7", **fields):
    return OrderRequest(items=tuple({"ref": ref} for ref in refs), address=ADDRESS, idempotency_key=key, **fields)


class Suppliers:
    """Both suppliers' servers, on one clock."""

    def __init__(self, aliexpress, cj, clock, transport):
        self.aliexpress, self.cj, self.clock, self.transport = aliexpress, cj, clock, transport
        self.store = MemoryStore(clock)

    def open(self, *vendors, **environ):
        rates = {f"PROVIDER_RATE_{name}": "1000000000/second" for name in ("ALIEXPRESS", "CJDROPSHIPPING")}
        settings = Settings(
            mode="live",
            vendors={"sourcing": ",".join(vendors or ("aliexpress", "cjdropshipping"))},
            environ={**self.aliexpress.env, **self.cj.env, **rates, **environ},
            env_file=None,
        )
        return Providers(settings, clock=self.clock, store=self.store, transport=self.transport(), hooks=())

    def asked_aliexpress(self, method):
        return sum(f"method={method}&" in request.body.decode() + "&" for request in self.aliexpress.requests)

    def asked_cj(self, wire):
        return sum((request.method, request.path) == wire for request in self.cj.requests)


@pytest.fixture
def suppliers(clock, transport):
    with ExitStack() as stack:
        aliexpress = stack.enter_context(servers.AliExpressServer(clock=clock.time, tracking_id=None))
        cj = stack.enter_context(servers.CjServer(clock=clock.time))
        yield Suppliers(aliexpress, cj, clock, transport)


async def failed(call):
    with pytest.raises(ProviderError) as caught:
        await call
    return caught.value


async def unknowns(p):
    return [(one.operation, one.key) async for one in p.unknowns.unknown()]


def cj_says(code, message="No.", status=200, **more):
    return Fault.json(status, {"code": code, "result": False, "message": message, "data": None, **more})


# AliExpress, of an order.

REFUSED_ORDERS = {
    # code of the gateway or of the method, words -> class, outcome, field, requests
    ("gateway", "IncompleteSignature", ""): (AuthenticationError, NOT_APPLIED, None, 1),
    ("gateway", "InvalidAppKey", ""): (PermissionDeniedError, NOT_APPLIED, None, 1),
    ("gateway", "InsufficientPermission", ""): (PermissionDeniedError, NOT_APPLIED, None, 1),
    ("gateway", "MissingParameter", ""): (InvalidRequestError, NOT_APPLIED, None, 1),
    ("gateway", "InvalidApiPath", ""): (InvalidRequestError, NOT_APPLIED, None, 1),
    ("gateway", "12", ""): (PermissionDeniedError, NOT_APPLIED, None, 1),
    ("gateway", "41", ""): (InvalidRequestError, NOT_APPLIED, None, 1),
    ("gateway", "15", ""): (ProviderUnavailableError, UNKNOWN, None, 1),
    ("gateway", "ApiCallLimit", "The daily quota of calls is used up"): (QuotaExceededError, NOT_APPLIED, None, 1),
    ("method", "B_DROPSHIPPER_DELIVERY_ADDRESS_VALIDATE_FAIL", "Please enter a City"): (
        InvalidRequestError,
        NOT_APPLIED,
        "address",
        1,
    ),
    ("method", "A005_INVALID_COUNTRIES", ""): (InvalidRequestError, NOT_APPLIED, "address", 1),
    ("method", "DELIVERY_METHOD_NOT_EXIST", ""): (InvalidRequestError, NOT_APPLIED, "shipping", 1),
    ("method", "PRICE_PAY_CURRENCY_ERROR", ""): (InvalidRequestError, NOT_APPLIED, "currency", 1),
    ("method", "INVENTORY_HOLD_ERROR", "Hold inventory error"): (ConflictError, NOT_APPLIED, "quantity", 1),
    ("method", "BLACKLIST_BUYER_IN_LIST", ""): (PermissionDeniedError, NOT_APPLIED, None, 1),
    ("method", "USER_ACCOUNT_DISABLED", ""): (PermissionDeniedError, NOT_APPLIED, None, 1),
    # An order of this number is there: whether it is this one nobody can tell.
    ("method", "REPEATED_ORDER_ERROR", "Repeated placed order"): (ConflictError, UNKNOWN, "idempotency_key", 1),
}


@ONE_TRANSPORT
@pytest.mark.parametrize("case", REFUSED_ORDERS, ids=" ".join)
def test_an_order_that_aliexpress_refuses_says_why_and_whether_it_was_made(suppliers, case):
    where, code, words = case
    kind, outcome, field, asked = REFUSED_ORDERS[case]
    if where == "gateway":
        suppliers.aliexpress.refuse(code, words, method=AE_CREATE, times=9)
    else:
        suppliers.aliexpress.fail(AE_CREATE, code, words, times=9)

    async def scenario():
        async with suppliers.open("aliexpress") as p:
            error = await failed(p.sourcing.place_order(order(AE_PRODUCT)))
            return error, await unknowns(p)

    error, left = asyncio.run(scenario())
    assert type(error) is kind
    assert (error.vendor, error.operation) == ("aliexpress", "sourcing.place_order")
    assert (error.outcome, error.field) == (outcome, field)
    assert error.request_id
    assert not error.retryable
    assert suppliers.asked_aliexpress(AE_CREATE) == asked
    assert len(left) == (outcome is UNKNOWN)
    assert suppliers.aliexpress.orders == ()


@pytest.mark.parametrize("shape", ["error_response", "root", "top"])
def test_a_ban_of_aliexpress_is_waited_out_and_the_order_is_made_once(suppliers, shape):
    words = "Api access frequency exceeds the limit. this ban will last 3 seconds"
    suppliers.aliexpress.refuse("ApiCallLimit", words, method=AE_CREATE, shape=shape)

    async def scenario():
        async with suppliers.open("aliexpress") as p:
            return await p.sourcing.place_order(order(AE_PRODUCT))

    placed = asyncio.run(scenario())
    assert [ref.id for ref in placed.refs] == [made.order_id for made in suppliers.aliexpress.orders]
    assert suppliers.asked_aliexpress(AE_CREATE) == 2
    assert suppliers.clock.slept == [3]


def test_whoever_comes_during_a_ban_waits_for_its_end(suppliers):
    words = "Api access frequency exceeds the limit. this ban will last 3 seconds"
    suppliers.aliexpress.refuse("ApiCallLimit", words)

    async def scenario():
        async with suppliers.open("aliexpress") as p:
            error = await failed(p.sourcing.product(AE_PRODUCT, country="US", shipping=False, timeout=1))
            assert (type(error), error.retry_after, error.retryable) == (RateLimitedError, 3, True)
            assert suppliers.aliexpress.request_count == 1
            hasty = await failed(p.sourcing.product(AE_PRODUCT, country="FR", shipping=False, timeout=1))
            assert (type(hasty), hasty.code) == (RateLimitedError, "limit")
            assert suppliers.aliexpress.request_count == 1
            await p.sourcing.product(AE_PRODUCT, country="US", shipping=False)

    asyncio.run(scenario())
    assert suppliers.aliexpress.request_count == 2
    assert sum(suppliers.clock.slept) == pytest.approx(3)


def test_an_order_that_fails_behind_the_gateway_after_it_was_made_is_never_sent_again(suppliers):
    suppliers.aliexpress.refuse("15", method=AE_CREATE, after=True)

    async def scenario():
        async with suppliers.open("aliexpress") as p:
            first = await failed(p.sourcing.place_order(order(AE_PRODUCT)))
            again = [await failed(p.sourcing.place_order(order(AE_PRODUCT))) for _ in range(3)]
            assert await unknowns(p) == [("sourcing.place_order", "order-7/aliexpress")]
            return [first, *again]

    errors = asyncio.run(scenario())
    assert {type(error) for error in errors} == {ProviderUnavailableError}
    assert {(error.outcome, error.retryable) for error in errors} == {(UNKNOWN, False)}
    assert suppliers.asked_aliexpress(AE_CREATE) == len(suppliers.aliexpress.orders) == 1


def test_products_of_aliexpress_that_are_not_there_or_not_for_a_country_say_so(suppliers):
    suppliers.aliexpress.not_sold(1005001234567890, "FR")

    async def scenario():
        async with suppliers.open("aliexpress") as p:
            gone = await failed(p.sourcing.product("aliexpress:1005001234560404", country="US"))
            elsewhere = await failed(p.sourcing.product(AE_PRODUCT, country="FR"))
            return gone, elsewhere

    gone, elsewhere = asyncio.run(scenario())
    assert (type(gone), gone.field) == (NotFoundError, "ref")
    assert (type(elsewhere), elsewhere.code, elsewhere.field) == (NotFoundError, "not_sold", "country")
    assert suppliers.aliexpress.request_count == 2


# CJ, of an order.

REFUSED_AT_CJ = {
    # code, words, status -> class, outcome, field, retry_after, how often it is sent
    (1600100, "Param error", 200): (InvalidRequestError, NOT_APPLIED, None, None, 1),
    (1600100, "Interface is offline", 200): (ProviderUnavailableError, NOT_APPLIED, None, None, 1),
    (1600101, "Interface not found", 200): (InvalidRequestError, NOT_APPLIED, None, None, 1),
    (1600300, "Param error", 200): (InvalidRequestError, NOT_APPLIED, None, None, 1),
    (1600005, "APIkey is wrong, please check and try again", 200): (AuthenticationError, NOT_APPLIED, None, None, 1),
    (1600012, "The account is disabled", 200): (PermissionDeniedError, NOT_APPLIED, None, None, 1),
    (1602000, "Variant not found", 200): (NotFoundError, NOT_APPLIED, "ref", None, 1),
    (1602002, "Product has been removed from shelves", 200): (NotFoundError, NOT_APPLIED, "ref", None, 1),
    (1605000, "Logistic not found", 200): (InvalidRequestError, NOT_APPLIED, "shipping", None, 1),
    (16900403, "Field is empty", 200): (InvalidRequestError, NOT_APPLIED, None, None, 1),
    (1600201, "Quota exceeded", 200): (QuotaExceededError, NOT_APPLIED, None, None, 1),
    (1600200, "Too Many Requests, QPS limit is 1 time/1second", 200): (RateLimitedError, NOT_APPLIED, None, 1.1, 3),
    (1600200, "Too Many Requests, QPS limit is 1 time/1second", 429): (RateLimitedError, NOT_APPLIED, None, 1.1, 3),
    # It says that it was not done, and the number is not there when it is read back.
    (1603000, "Create order fail", 200): (ConflictError, NOT_APPLIED, None, None, 1),
    (1603102, "Inventory deduction fail", 200): (ConflictError, NOT_APPLIED, None, None, 1),
    # Nobody can tell.
    (1600000, "System is busy", 200): (ProviderUnavailableError, UNKNOWN, None, None, 1),
    (1600301, "Read timed out", 200): (ProviderTimeoutError, UNKNOWN, None, None, 1),
    (1999999, "A code of its own", 200): (BadResponseError, UNKNOWN, None, None, 1),
    # There is one of this number, and it is not shown.
    (1603003, "Order exist, please do not duplicate create", 200): (ConflictError, UNKNOWN, None, None, 1),
}


@ONE_TRANSPORT
@pytest.mark.parametrize("case", REFUSED_AT_CJ, ids=str)
def test_an_order_that_cj_refuses_says_why_and_whether_it_was_made(suppliers, case):
    code, words, status = case
    kind, outcome, field, wait, asked = REFUSED_AT_CJ[case]
    suppliers.cj.stage(cj_says(code, words, status), match=CJ_CREATE, times=None)

    async def scenario():
        async with suppliers.open("cjdropshipping") as p:
            error = await failed(p.sourcing.place_order(order(CJ_PRODUCT)))
            return error, await unknowns(p)

    error, left = asyncio.run(scenario())
    assert type(error) is kind
    assert (error.vendor, error.operation) == ("cjdropshipping", "sourcing.place_order")
    assert (error.outcome, error.field, error.retry_after) == (outcome, field, wait)
    assert error.retryable == (kind is RateLimitedError)
    assert suppliers.asked_cj(CJ_CREATE) == asked
    assert len(left) == (outcome is UNKNOWN)
    # Before anything that cannot be told is left as it is, CJ is asked for the number.
    conflict = kind is ConflictError
    assert suppliers.asked_cj(CJ_DETAIL) == conflict + (outcome is UNKNOWN)
    assert suppliers.cj.orders == ()


@pytest.mark.parametrize(
    "fault",
    [
        cj_says(1600000, "System is busy").after(),
        cj_says(1600301, "Read timed out").after(),
        cj_says(1603000, "Create order fail").after(),
        cj_says(1999999, "A code of its own").after(),
        Fault.RESET_AFTER,
        Fault.TRUNCATED_BODY,
        Fault.NON_JSON.after(),
    ],
    ids=str,
)
def test_an_order_that_cj_made_all_the_same_is_found_by_its_number(suppliers, fault):
    suppliers.cj.stage(fault, match=CJ_CREATE)

    async def scenario():
        async with suppliers.open("cjdropshipping") as p:
            first = await p.sourcing.place_order(order(CJ_PRODUCT))
            again = await p.sourcing.place_order(order(CJ_PRODUCT))
            assert again.model_dump() == first.model_dump()
            assert await unknowns(p) == []
            return first

    placed = asyncio.run(scenario())
    (made,) = suppliers.cj.orders
    assert [ref.id for ref in placed.refs] == [made.id]
    assert placed.total == Money(amount=made.amount, currency="USD")
    assert suppliers.asked_cj(CJ_CREATE) == 1


def test_an_order_that_cj_cannot_be_asked_for_is_found_by_the_repeat(suppliers):
    suppliers.cj.stage(Fault.RESET_AFTER, match=CJ_CREATE)
    suppliers.cj.stage(Fault.json(503, {}), match=CJ_DETAIL, times=2)

    async def scenario():
        async with suppliers.open("cjdropshipping") as p:
            error = await failed(p.sourcing.place_order(order(CJ_PRODUCT)))
            assert (error.outcome, error.retryable) == (UNKNOWN, False)
            assert await unknowns(p) == [("sourcing.place_order", "order-7/cjdropshipping")]
            placed = await p.sourcing.place_order(order(CJ_PRODUCT))
            assert await unknowns(p) == []
            return placed

    placed = asyncio.run(scenario())
    assert [ref.id for ref in placed.refs] == [made.id for made in suppliers.cj.orders]
    assert suppliers.asked_cj(CJ_CREATE) == 1


def test_an_order_is_taken_for_ours_only_if_it_is_to_the_same_person_for_the_same_things(suppliers):
    other = order(CJ_PRODUCT, key="order-7").model_copy(update={"address": order(CJ_PRODUCT).address})
    stranger = OrderRequest(
        items=({"ref": "cjdropshipping:1400000000000000005"},),
        address={**ADDRESS, "name": "Ben Costa"},
        idempotency_key="order-7",
    )

    async def scenario():
        async with suppliers.open("cjdropshipping") as p:
            await p.sourcing.place_order(stranger)
        # Somebody else's state: the key is free there, the number is not free at CJ.
        suppliers.store = MemoryStore(suppliers.clock)
        suppliers.clock.advance(301)
        async with suppliers.open("cjdropshipping") as p:
            return await failed(p.sourcing.place_order(other))

    error = asyncio.run(scenario())
    assert (type(error), error.field, error.outcome) == (ConflictError, "idempotency_key", NOT_APPLIED)
    assert len(suppliers.cj.orders) == 1


# CJ: confirm, pay and cancel.


@pytest.fixture
def placed(suppliers):
    """An unpaid order at CJ, and what it costs."""

    async def scenario():
        async with suppliers.open("cjdropshipping") as p:
            return await p.sourcing.place_order(order(CJ_PRODUCT))

    made = asyncio.run(scenario())
    suppliers.cj.balance = Decimal("1000.00")
    return made


def pay(suppliers, ref, **options):
    async def scenario():
        async with suppliers.open("cjdropshipping") as p:
            return await p.sourcing.pay(ref, **options)

    return asyncio.run(scenario())


@pytest.mark.parametrize("fault", [Fault.RESET_AFTER, Fault.TRUNCATED_BODY, cj_says(1600000).after()], ids=str)
def test_a_payment_whose_answer_is_lost_is_read_back_and_made_once(suppliers, placed, fault):
    suppliers.cj.stage(fault, match=CJ_PAY)
    paid = pay(suppliers, placed.refs[0])
    again = pay(suppliers, placed.refs[0])

    assert (paid.paid, again.paid) == (True, True)
    assert suppliers.asked_cj(CJ_PAY) == 1
    assert suppliers.cj.balance == 1000 - placed.total.amount


@pytest.mark.parametrize("fault", [Fault.RESET_BEFORE, cj_says(1600000), cj_says(1600301)], ids=str)
def test_a_payment_of_which_nobody_knows_is_not_made_again(suppliers, placed, fault):
    suppliers.cj.stage(fault, match=CJ_PAY)

    async def scenario():
        async with suppliers.open("cjdropshipping") as p:
            errors = [await failed(p.sourcing.pay(placed.refs[0])) for _ in range(3)]
            assert [operation for operation, _ in await unknowns(p)] == ["sourcing.pay"]
            return errors

    errors = asyncio.run(scenario())
    assert {error.outcome for error in errors} == {UNKNOWN}
    assert suppliers.asked_cj(CJ_PAY) == 1
    assert suppliers.cj.balance == 1000


def test_a_balance_that_is_too_low_is_a_refusal_that_a_top_up_ends(suppliers, placed):
    suppliers.cj.balance = Decimal("0.50")

    async def scenario():
        async with suppliers.open("cjdropshipping") as p:
            return await failed(p.sourcing.pay(placed.refs[0]))

    error = asyncio.run(scenario())
    assert (type(error), error.code, error.outcome) == (RejectedError, "insufficient_funds", NOT_APPLIED)
    assert suppliers.cj.balance == Decimal("0.50")
    suppliers.cj.balance = Decimal("1000.00")
    assert pay(suppliers, placed.refs[0]).paid


@pytest.mark.parametrize("fault", [Fault.RESET_BEFORE, Fault.RESET_AFTER, cj_says(1600000).after()], ids=str)
def test_a_confirmation_is_repeated_until_it_is_done(suppliers, placed, fault):
    suppliers.cj.stage(fault, match=CJ_CONFIRM)

    assert pay(suppliers, placed.refs[0]).paid
    assert suppliers.cj.balance == 1000 - placed.total.amount


@pytest.mark.parametrize("fault", [Fault.RESET_BEFORE, Fault.RESET_AFTER, cj_says(1600000).after()], ids=str)
def test_a_cancellation_is_repeated_until_it_is_done(suppliers, placed, fault):
    suppliers.cj.stage(fault, match=CJ_DELETE)

    async def scenario():
        async with suppliers.open("cjdropshipping") as p:
            return await p.sourcing.cancel_order(placed.refs[0])

    assert asyncio.run(scenario()).state is OrderState.CANCELLED
    assert [made.status for made in suppliers.cj.orders] == ["CANCELLED"]


# CJ: rates and points.


@pytest.mark.parametrize("status", [200, 429])
def test_what_cj_finds_too_fast_is_waited_out_and_not_taken_for_an_empty_answer(suppliers, status):
    told = cj_says(1600200, "Too Many Requests, QPS limit is 1 time/1second", status)
    suppliers.cj.stage(told, match=CJ_PRODUCT_QUERY)

    async def scenario():
        async with suppliers.open("cjdropshipping") as p:
            return await p.sourcing.product(CJ_PRODUCT, country="US", shipping=False)

    product = asyncio.run(scenario())
    assert product.stock
    assert product.price.amount > 0
    assert suppliers.asked_cj(CJ_PRODUCT_QUERY) == 2
    assert suppliers.clock.slept == [1.1]


def test_points_that_are_used_up_are_not_asked_for_again_and_again(suppliers, transport):
    """By CJ's count, which is shorter than ours: somebody else uses the account."""

    async def scenario(server):
        environ = {**server.env, "PROVIDER_RATE_CJDROPSHIPPING": "1000000000/second"}
        settings = Settings(mode="live", vendors={"sourcing": "cjdropshipping"}, environ=environ, env_file=None)
        async with Providers(settings, clock=suppliers.clock, transport=transport(), hooks=()) as p:
            for _ in range(3):
                await p.sourcing.product(CJ_PRODUCT, country="US", shipping=False, fresh=True)
            errors = [
                await failed(p.sourcing.product(CJ_PRODUCT, country="US", shipping=False, fresh=True)) for _ in range(5)
            ]
            # Orders cost none.
            await p.sourcing.check()
            return errors

    with servers.CjServer(clock=suppliers.clock.time, points=30) as server:
        errors = asyncio.run(scenario(server))
        asked = sum(request.path == CJ_PRODUCT_QUERY[1] for request in server.requests)
    assert {type(error) for error in errors} == {QuotaExceededError}
    assert asked == 3 + len(errors)
    # 10 of 30 a day are there in 8 hours.
    assert errors[0].retry_after == pytest.approx(86_400 / 3, rel=0.05)
    assert suppliers.clock.slept == []


def test_our_own_count_of_points_keeps_calls_from_cj(suppliers):
    async def scenario():
        async with suppliers.open("cjdropshipping", PROVIDER_POINTS_CJDROPSHIPPING="30/day") as p:
            for _ in range(3):
                await p.sourcing.product(CJ_PRODUCT, country="US", shipping=False, fresh=True)
            error = await failed(p.sourcing.product(CJ_PRODUCT, country="US", shipping=False, fresh=True))
            # What costs none goes on.
            with pytest.raises(NotFoundError):
                await p.sourcing.order("cjdropshipping:SD1")
            suppliers.clock.advance(86_400 / 3)
            await p.sourcing.product(CJ_PRODUCT, country="US", shipping=False, fresh=True)
            return error

    error = asyncio.run(scenario())
    assert (type(error), error.code) == (QuotaExceededError, "points")
    assert error.retry_after == pytest.approx(86_400 / 3)
    assert suppliers.asked_cj(CJ_PRODUCT_QUERY) == 4


def test_the_rate_of_the_facts_is_one_that_cj_never_refuses(clock, transport):
    async def scenario(server):
        settings = Settings(mode="live", vendors={"sourcing": "cjdropshipping"}, environ=server.env, env_file=None)
        begun = clock.monotonic()
        async with Providers(settings, clock=clock, transport=transport(), hooks=()) as p:
            page = await p.sourcing.search("yoga mat", country="US")
            for item in page.items:
                await p.sourcing.product(item.ref, country="US")
        return clock.monotonic() - begun

    with servers.CjServer(clock=clock.time, qps=1) as server:
        seconds = asyncio.run(scenario(server))
        count = server.request_count
    # A search, then of each of twenty products itself, its stock and its shipping; none was repeated.
    assert count == 1 + 1 + 20 * 3
    assert seconds == pytest.approx((count - 1) / CJDROPSHIPPING.rate.per_second, rel=0.02)


def test_the_rate_of_the_facts_fits_a_limit_of_ten_a_second_at_aliexpress(clock, transport):
    async def scenario(server):
        settings = Settings(mode="live", vendors={"sourcing": "aliexpress"}, environ=server.env, env_file=None)
        begun = clock.monotonic()
        async with Providers(settings, clock=clock, transport=transport(), hooks=()) as p:
            for number in range(60):
                await p.sourcing.product(f"aliexpress:{1005001234560000 + number}", country="US", shipping=False)
        return clock.monotonic() - begun

    with servers.AliExpressServer(clock=clock.time, tracking_id=None, rate_limit=10) as server:
        seconds = asyncio.run(scenario(server))
        assert server.request_count == 60
    rate = ALIEXPRESS.rate
    assert seconds == pytest.approx((60 - rate.burst) / rate.per_second, rel=0.02)


# Two suppliers.


async def driven(clock, call):
    """The call's result, while time goes by: a second in every twentieth of one, so that nobody is late."""
    task = asyncio.ensure_future(call)
    while not task.done():
        await asyncio.sleep(0.05)
        clock.advance(1)
    return await task


def test_a_search_that_fails_at_one_supplier_has_what_the_other_found(transport):
    clock = ManualClock(auto=False)
    with ExitStack() as stack:
        aliexpress = stack.enter_context(servers.AliExpressServer(clock=clock.time, tracking_id=None))
        cj = stack.enter_context(servers.CjServer(clock=clock.time))
        both = Suppliers(aliexpress, cj, clock, transport)
        aliexpress.flaky(2)

        async def scenario():
            async with both.open() as p:
                page = await driven(clock, p.sourcing.search("yoga mat", country="US"))
                second = await driven(clock, p.sourcing.search("yoga mat", country="US", page=2))
                whole = await driven(clock, p.sourcing.search("yoga mat", country="US", fresh=True))
                return page, second, whole

        page, second, whole = asyncio.run(scenario())
    error = page.errors["aliexpress"]
    assert (type(error), error.code) == (ProviderUnavailableError, "NGSELECTION_SEARCH_ERROR")
    assert error.retryable
    assert list(page.errors) == ["aliexpress"]
    assert {item.source for item in page.items} == {"cjdropshipping"}
    assert (len(page.items), page.total, dict(page.totals)) == (20, 120, {"cjdropshipping": 120})
    # The pages that follow fit the first one.
    assert {item.source for item in second.items} == {"cjdropshipping"}
    assert not {item.ref for item in second.items} & {item.ref for item in page.items}
    assert list(second.errors) == ["aliexpress"]
    assert (dict(whole.errors), whole.total) == ({}, 240)
    assert {item.source for item in whole.items} == {"aliexpress", "cjdropshipping"}


def test_a_search_that_fails_everywhere_raises(suppliers):
    suppliers.aliexpress.refuse("InsufficientPermission", method="aliexpress.ds.text.search", times=9)
    suppliers.cj.stage(cj_says(1600012, "disabled"), times=None)

    async def scenario():
        async with suppliers.open() as p:
            return await failed(p.sourcing.search("yoga mat", country="US"))

    assert type(asyncio.run(scenario())) is PermissionDeniedError


def test_an_old_answer_stands_in_while_a_search_fails(suppliers):
    async def scenario():
        async with suppliers.open("aliexpress") as p:
            first = await p.sourcing.search("yoga mat", country="US")
            suppliers.clock.advance(1000)
            suppliers.aliexpress.flaky(2)
            assert await p.sourcing.search("yoga mat", country="US") == first
            suppliers.aliexpress.flaky(2)
            return await failed(p.sourcing.search("yoga mat", country="US", fresh=True))

    assert type(asyncio.run(scenario())) is ProviderUnavailableError


@pytest.mark.parametrize("pay", [False, True])
def test_an_order_at_two_suppliers_of_which_one_is_unknown_keeps_the_other(suppliers, pay):
    """The half that is there is there; the other is neither sent again nor taken for refused."""
    suppliers.aliexpress.refuse("15", method=AE_CREATE, after=True)
    suppliers.cj.balance = Decimal("1000.00")
    request = order(AE_PRODUCT, CJ_PRODUCT, pay=pay)

    async def scenario():
        async with suppliers.open() as p:
            return [await p.sourcing.place_order(request) for _ in range(2)], await unknowns(p)

    (first, again), left = asyncio.run(scenario())
    for placed in (first, again):
        states = {part.source: part.state for part in placed.parts}
        assert placed.state is OrderState.PARTIAL
        assert states["aliexpress"] is OrderState.UNKNOWN
        assert states["cjdropshipping"] is (OrderState.PROCESSING if pay else OrderState.UNPAID)
    assert left == [("sourcing.place_order", "order-7/aliexpress")]
    assert first.refs == again.refs
    assert (suppliers.asked_aliexpress(AE_CREATE), suppliers.asked_cj(CJ_CREATE)) == (1, 1)
    assert suppliers.asked_cj(CJ_PAY) == pay


def test_a_dead_grant_at_one_supplier_leaves_the_other_alone(suppliers):
    suppliers.aliexpress.revoke()

    async def scenario():
        async with suppliers.open() as p:
            outcomes = await p.sourcing.prices([AE_PRODUCT, CJ_PRODUCT, AE_PRODUCT], country="US")
            checks = {result.vendor: result for result in await p.sourcing.check()}
            return outcomes, checks

    (first, second, third), checks = asyncio.run(scenario())
    assert type(first.error) is type(third.error) is CredentialRevokedError
    assert second.error is None
    assert second.price.amount > 0
    assert (checks["aliexpress"].ok, checks["cjdropshipping"].ok) == (False, True)
