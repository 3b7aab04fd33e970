"""CJ's orders: what makes one, that none is made or paid twice, how far they are, where their parcels are."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import Money, Providers, Ref, Settings
from providers.core.attempt import ATTEMPT
from providers.core.errors import (
    BadResponseError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RejectedError,
    UnsupportedOperationError,
)
from providers.core.transport import HttpResponse
from providers.core.transport_aiohttp import AiohttpTransport
from providers.sourcing import (
    Address,
    CjSourcing,
    OrderDraft,
    OrderedItem,
    OrderItem,
    OrderLine,
    OrderPart,
    OrderRequest,
    OrderState,
    Placed,
    ProductName,
    ShippingQuote,
    Tracking,
    TrackingState,
)
from providers.sourcing.cjdropshipping_orders import tracking_state
from providers.testing.clock import ManualClock
from providers.testing.servers.cjdropshipping import CjServer

DATA = Path(__file__).parent.parent / "data" / "cjdropshipping"
BASE = "https://developers.cjdropshipping.com/api2.0/v1/"
START = datetime(2026, 11, 23, 12, tzinfo=UTC)
PID, VID = "1795000000000000001", "1795000000000000101"
ID = "SD2611220001000000001"
REF = Ref(vendor="cjdropshipping", id=ID)
CREATE, DETAIL = "shopping/order/createOrderV2", "shopping/order/getOrderDetail"
CONFIRM, PAY, DELETE = "shopping/order/confirmOrder", "shopping/pay/payBalance", "shopping/order/deleteOrder"
LIST, TRACK = "shopping/order/list", "logistic/trackInfo"


def usd(amount):
    return Money(amount=Decimal(amount), currency="USD")


def sample(name):
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


def refusal(code, message="No."):
    return {"code": code, "result": False, "message": message, "data": None, "requestId": "r-1"}


def detail(**more):
    found = sample("order_detail")
    found["data"].update(more)
    return found


def state_is(status, **more):
    return detail(orderStatus=status, paymentDate=None, trackNumber=None, outWarehouseTime=None, **more)


NOT_THERE = sample("order_not_found")
UNPAID = state_is("UNPAID")
PAID = detail(orderStatus="UNSHIPPED", trackNumber=None, outWarehouseTime=None)


class Cj:
    """Answers each path with what it has for it, in order, or raises that; keeps the requests after the token's."""

    def __init__(self, answers):
        self.answers = {"authentication/getAccessToken": sample("get_access_token")} | answers
        self.requests = []

    async def send(self, request):
        attempt = ATTEMPT.get()
        if attempt is not None:
            # As the real one does, until there is a connection.
            attempt.sent = False
        path = urlsplit(request.url).path.removeprefix("/api2.0/v1/")
        found = self.answers[path]
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        if callable(found):
            await found()
        if attempt is not None:
            attempt.sent = True
        if not path.startswith("authentication/"):
            self.requests.append(request)
        if isinstance(found, Exception):
            raise found
        return HttpResponse(200, {"content-type": "application/json"}, json.dumps(found).encode())

    async def aclose(self):
        return

    @property
    def asked(self):
        return [
            (
                request.method,
                request.url.partition("?")[0].removeprefix(BASE),
                json.loads(request.content) if request.content else parse_qsl(urlsplit(request.url).query),
            )
            for request in self.requests
        ]

    @property
    def paths(self):
        return [path for _, path, _ in self.asked]


def opened(vendor, *, clock=None, **credentials):
    given = Settings(
        mode="live",
        vendors={"sourcing": "cjdropshipping"},
        credentials={"CJDROPSHIP_API_KEY": "CJ1@api@canary-key-0000"} | credentials,
        environ={},
        env_file=None,
    )
    return Providers(given, clock=clock or ManualClock(START.timestamp()), transport=vendor)


def done(vendor, step, **credentials):
    async def scenario():
        async with opened(vendor, **credentials) as providers:
            return await step(providers.sourcing.unwrap(CjSourcing))

    return asyncio.run(scenario())


def refused(kind, vendor, step, **credentials):
    with pytest.raises(ProviderError) as caught:
        done(vendor, step, **credentials)
    assert type(caught.value) is kind
    return caught.value


ADDRESS = Address(name="Alex Demo", line1="1 Example Street", city="Springfield", region="California", country="US")
QUOTE = ShippingQuote(code="CJPacket Ordinary", method="CJPacket Ordinary", cost=usd("4.71"), ships_from="CN")
LINE = OrderLine(product=ProductName("cjdropshipping", PID), variant=VID, price=usd("7.85"), shipping=QUOTE)


def draft(**more):
    told = {"source": "cjdropshipping", "number": "DEMO-1001", "lines": (LINE,), "address": ADDRESS, "currency": "USD"}
    return OrderDraft.model_validate(told | more)


def place(adapter):
    return adapter.place(draft())


# Making one.


def test_an_order_is_made_and_not_paid():
    found = sample("create_order_v2")
    vendor = Cj({CREATE: found})
    placed = done(vendor, place)
    assert vendor.asked == [
        (
            "POST",
            CREATE,
            {
                "orderNumber": "DEMO-1001",
                "payType": 3,
                "logisticName": "CJPacket Ordinary",
                "fromCountryCode": "CN",
                "shippingCustomerName": "Alex Demo",
                "shippingAddress": "1 Example Street",
                "shippingCity": "Springfield",
                "shippingProvince": "California",
                "shippingCountryCode": "US",
                "shippingCountry": "United States",
                "products": [{"vid": VID, "quantity": 1, "storeLineItemId": "DEMO-1001-1", "unitPrice": 7.85}],
            },
        )
    ]
    part = OrderPart(
        source="cjdropshipping",
        state=OrderState.UNPAID,
        ref=REF,
        number="DEMO-1001",
        items=(OrderedItem(product=PID, variant=VID, quantity=1, price=usd("7.85")),),
        total=usd("12.56"),
        paid=False,
        placed_at=START + timedelta(seconds=1.05),
        raw=found["data"],
    )
    assert placed == Placed(orders=(part,))


def test_all_of_an_address_and_of_the_lines_is_sent():
    address = Address(
        name="Zoë Lång", line1="Weg 1", line2="Haus B", city="Köln", postal_code="50667", country="AQ",
        phone="+49 151 5550100", email="zoe@example.com", tax_id="DE1",
    )  # fmt: skip
    quote = QUOTE.model_copy(update={"code": "USPS+", "ships_from": "US"})
    second = LINE.model_copy(update={"variant": "v2", "quantity": 3, "price": None, "shipping": quote})
    asked = draft(lines=(LINE.model_copy(update={"shipping": quote}), second), address=address, note="gift",
                  pay=True, options={"iossType": 2, "remark": None, "payType": 1})  # fmt: skip
    vendor = Cj({CREATE: sample("create_order_v2")})
    done(vendor, lambda a: a.place(asked), CJDROPSHIP_SANDBOX="1")
    ((_, _, body),) = vendor.asked
    assert body == {
        "orderNumber": "DEMO-1001",
        "payType": 1,
        "logisticName": "USPS+",
        "fromCountryCode": "US",
        "shippingCustomerName": "Zoë Lång",
        "shippingAddress": "Weg 1",
        "shippingAddress2": "Haus B",
        "shippingCity": "Köln",
        # CJ wants a province of every address, and has no names for all countries.
        "shippingProvince": "Köln",
        "shippingCountryCode": "AQ",
        "shippingCountry": "AQ",
        "shippingZip": "50667",
        "shippingPhone": "+49 151 5550100",
        "email": "zoe@example.com",
        "taxId": "DE1",
        "products": [
            {"vid": VID, "quantity": 1, "storeLineItemId": "DEMO-1001-1", "unitPrice": 7.85},
            {"vid": "v2", "quantity": 3, "storeLineItemId": "DEMO-1001-2"},
        ],
        "isSandbox": 1,
        "iossType": 2,
    }


OTHER_WAY = LINE.model_copy(update={"variant": "v2", "shipping": QUOTE.model_copy(update={"code": "USPS+"})})


@pytest.mark.parametrize(
    ("more", "kind", "field"),
    [
        ({"currency": "EUR"}, UnsupportedOperationError, "currency"),
        ({"lines": ()}, InvalidRequestError, "shipping"),
        ({"lines": (LINE.model_copy(update={"shipping": None}),)}, InvalidRequestError, "shipping"),
        ({"lines": (LINE, OTHER_WAY)}, InvalidRequestError, "shipping"),
        ({"options": {"orderNumber": "x"}}, InvalidRequestError, "vendor_options.cjdropshipping.orderNumber"),
        ({"options": {"products": []}}, InvalidRequestError, "vendor_options.cjdropshipping.products"),
        # It would take the balance at once, whatever it costs.
        ({"options": {"payType": 2}}, InvalidRequestError, "vendor_options.cjdropshipping.payType"),
        ({"options": {"payType": "2"}}, InvalidRequestError, "vendor_options.cjdropshipping.payType"),
    ],
)
def test_what_cannot_be_ordered_so_is_refused_before_anything_is_sent(more, kind, field):
    vendor = Cj({})
    assert refused(kind, vendor, lambda a: a.place(draft(**more))).field == field
    assert vendor.requests == []


@pytest.mark.parametrize("code", [1603003, 1603000, 1603102])
def test_an_order_that_cj_has_already_is_the_one(code):
    vendor = Cj({CREATE: refusal(code), DETAIL: UNPAID})
    (part,) = done(vendor, place).orders
    assert (part.ref, part.state, part.number) == (REF, OrderState.UNPAID, "DEMO-1001")
    assert vendor.asked[1] == ("GET", DETAIL, [("orderId", "DEMO-1001")])


@pytest.mark.parametrize(
    "stored",
    [
        state_is("UNPAID", shippingCustomerName="Somebody Else"),
        state_is("UNPAID", orderNum="DEMO-1002"),
        state_is("UNPAID", productList=[{"vid": VID, "quantity": 2}]),
        state_is("UNPAID", productList=[{"vid": "another", "quantity": 1}]),
    ],
)
def test_another_order_under_our_number_is_a_conflict_and_not_ours(stored):
    error = refused(ConflictError, Cj({CREATE: refusal(1603003), DETAIL: stored}), place)
    assert (error.code, error.outcome, error.field) == ("1603003", Outcome.NOT_APPLIED, "idempotency_key")
    assert done(Cj({DETAIL: stored}), lambda a: a.find(draft(), 0.0)) is None


def test_a_number_that_is_taken_by_what_nobody_shows_may_be_ours():
    error = refused(ConflictError, Cj({CREATE: refusal(1603003), DETAIL: NOT_THERE}), place)
    assert error.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("code", [1603000, 1603102])
def test_an_order_that_was_refused_and_is_not_there_was_not_made(code):
    error = refused(ConflictError, Cj({CREATE: refusal(code), DETAIL: NOT_THERE}), place)
    assert (error.code, error.outcome) == (str(code), Outcome.NOT_APPLIED)


@pytest.mark.parametrize("code", [1603000, 1603003])
def test_an_order_of_which_cj_says_nothing_stays_unknown(code):
    error = refused(ConflictError, Cj({CREATE: refusal(code), DETAIL: refusal(1600000)}), place)
    assert (error.code, error.outcome) == (str(code), Outcome.UNKNOWN)


@pytest.mark.parametrize("name", ["ALEX  DEMO", None, ""])
def test_an_order_is_found_by_our_number(name):
    stored = state_is("UNPAID", shippingCustomerName=name)
    placed = done(Cj({DETAIL: stored}), lambda a: a.find(draft(), 4e9))
    assert [part.ref for part in placed.orders] == [REF]
    assert done(Cj({DETAIL: NOT_THERE}), lambda a: a.find(draft(), 0.0)) is None


def made(**more):
    found = sample("create_order_v2")
    found["data"].update(more)
    return found


@pytest.mark.parametrize(
    ("more", "code", "reason"),
    [
        ({"logisticsMiss": True}, "logistics_miss", "no carrier takes it"),
        ({"interceptOrderReasons": [{"code": 4001, "message": "address"}]}, "4001", "address"),
        ({"interceptOrderReasons": [{"code": None, "message": None}, {"code": 7, "message": "b"}]}, "7", "b"),
    ],
)
def test_an_order_that_cj_holds_back_is_made_and_says_why(more, code, reason):
    (part,) = done(Cj({CREATE: made(**more)}), place).orders
    assert (part.ref, part.state, part.paid) == (REF, OrderState.UNPAID, False)
    assert type(part.error) is ConflictError
    assert (part.error.code, part.error.outcome) == (code, Outcome.NOT_APPLIED)
    assert reason in part.reason


def test_a_reply_that_names_no_order_is_looked_up():
    (part,) = done(Cj({CREATE: made(orderId=None), DETAIL: state_is("CREATED")}), place).orders
    assert (part.ref, part.state, part.error) == (REF, OrderState.UNPAID, None)
    held = made(orderId=None, logisticsMiss=True)
    (part,) = done(Cj({CREATE: held, DETAIL: state_is("CREATED")}), place).orders
    assert part.error.code == "logistics_miss"
    # Not made, and why.
    error = refused(ConflictError, Cj({CREATE: held, DETAIL: NOT_THERE}), place)
    assert (error.code, error.outcome) == ("logistics_miss", Outcome.NOT_APPLIED)
    for unknown in (NOT_THERE, refusal(1600000), {"code": 200, "result": True, "data": []}):
        error = refused(BadResponseError, Cj({CREATE: made(orderId=None), DETAIL: unknown}), place)
        assert error.outcome is Outcome.UNKNOWN


def test_where_an_order_can_be_paid_is_told():
    (part,) = done(Cj({CREATE: made(cjPayUrl="https://example.com/pay")}), place).orders
    assert part.pay_url == "https://example.com/pay"


# How far one is.


def test_an_order_is_read_exactly():
    found = sample("order_detail")
    vendor = Cj({DETAIL: found})
    assert done(vendor, lambda a: a.order(REF)) == OrderPart(
        source="cjdropshipping",
        state=OrderState.SHIPPED,
        ref=REF,
        number="DEMO-1001",
        items=(OrderedItem(variant=VID, quantity=1, price=usd("7.85")),),
        total=usd("12.56"),
        paid=True,
        placed_at=datetime(2026, 11, 20, 4, 15, 9, tzinfo=UTC),
        paid_at=datetime(2026, 11, 20, 4, 20, 31, tzinfo=UTC),
        shipped_at=datetime(2026, 11, 21, 9, 10, tzinfo=UTC),
        tracking_number="CJPDEMO0000000001YQ",
        carrier="CJPacket Ordinary",
        raw=found["data"],
    )
    assert vendor.asked == [("GET", DETAIL, [("orderId", ID)])]


@pytest.mark.parametrize(
    ("status", "dated", "state", "paid"),
    [
        ("CREATED", False, OrderState.UNPAID, False),
        ("IN_CART", False, OrderState.UNPAID, False),
        ("UNPAID", False, OrderState.UNPAID, False),
        ("UNSHIPPED", False, OrderState.PROCESSING, True),
        ("UNSHIPPED", True, OrderState.PROCESSING, True),
        ("SHIPPED", False, OrderState.SHIPPED, True),
        ("DELIVERED", True, OrderState.DELIVERED, True),
        ("CANCELLED", False, OrderState.CANCELLED, False),
        ("CANCELLED", True, OrderState.CANCELLED, True),
        ("PENDING", False, OrderState.UNKNOWN, None),
        ("PENDING", True, OrderState.PROCESSING, True),
        ("PROCESSING", True, OrderState.PROCESSING, True),
        ("OTHER", False, OrderState.UNKNOWN, None),
        ("TELEPORTED", False, OrderState.UNKNOWN, None),
        (None, False, OrderState.UNKNOWN, None),
    ],
)
def test_what_a_status_means(status, dated, state, paid):
    found = state_is(status)
    found["data"]["paymentDate"] = "2026-11-20 04:20:31" if dated else None
    part = done(Cj({DETAIL: found}), lambda a: a.order(REF))
    assert (part.state, part.paid) == (state, paid)


@pytest.mark.parametrize("text", ["soon", "", None, 5, "2026-13-01 00:00:00", "0001-01-01T00:00:00+14:00"])
def test_a_date_that_is_none_is_not_known(text):
    assert done(Cj({DETAIL: detail(createDate=text)}), lambda a: a.order(REF)).placed_at is None


# Confirming and paying.


@pytest.mark.parametrize("status", ["CREATED", "IN_CART"])
def test_an_order_is_confirmed_before_it_can_be_paid(status):
    vendor = Cj({DETAIL: [state_is(status), UNPAID], CONFIRM: sample("confirm_order")})
    part = done(vendor, lambda a: a.confirm(REF))
    assert (part.state, part.paid, part.total) == (OrderState.UNPAID, False, usd("12.56"))
    assert vendor.paths == [DETAIL, CONFIRM, DETAIL]
    assert vendor.asked[1] == ("PATCH", CONFIRM, {"orderId": ID})


@pytest.mark.parametrize("found", [UNPAID, PAID, sample("order_detail")])
def test_what_can_be_paid_or_is_paid_is_not_confirmed_again(found):
    vendor = Cj({DETAIL: found})
    done(vendor, lambda a: a.confirm(REF))
    assert vendor.paths == [DETAIL]


def test_a_confirmation_that_another_call_has_made_is_fine():
    vendor = Cj({DETAIL: [state_is("CREATED"), UNPAID], CONFIRM: sample("confirm_order_failed")})
    assert done(vendor, lambda a: a.confirm(REF)).state is OrderState.UNPAID


def test_what_cj_does_not_let_be_paid_is_a_conflict():
    vendor = Cj({DETAIL: state_is("CREATED"), CONFIRM: sample("confirm_order_failed")})
    assert refused(ConflictError, vendor, lambda a: a.confirm(REF)).code == "1603001"
    vendor = Cj({DETAIL: state_is("CREATED"), CONFIRM: sample("confirm_order")})
    assert refused(ConflictError, vendor, lambda a: a.confirm(REF)).code == "not_payable"
    for status in ("CANCELLED", "OTHER"):
        vendor = Cj({DETAIL: state_is(status)})
        assert refused(ConflictError, vendor, lambda a: a.confirm(REF)).code == "not_payable"
        assert vendor.paths == [DETAIL]


def test_an_order_is_paid_and_read_back():
    vendor = Cj({PAY: sample("pay_balance"), DETAIL: PAID})
    part = done(vendor, lambda a: a.pay(REF))
    assert (part.state, part.paid, part.total) == (OrderState.PROCESSING, True, usd("12.56"))
    assert vendor.asked == [("POST", PAY, {"orderId": ID}), ("GET", DETAIL, [("orderId", ID)])]


@pytest.mark.parametrize(
    "after",
    [NOT_THERE, refusal(1600000), sample("error_qps"), UNPAID, {"code": 200, "result": True, "data": []},
     ProviderUnavailableError("no connection", outcome=Outcome.NOT_APPLIED)],
)  # fmt: skip
def test_a_payment_that_went_through_is_one_whatever_comes_after_it(after):
    part = done(Cj({PAY: sample("pay_balance"), DETAIL: after}), lambda a: a.pay(REF))
    assert (part.ref, part.paid, part.state) == (REF, True, OrderState.PROCESSING)


def test_a_payment_is_never_repeated_when_only_reading_back_takes_too_long():
    async def scenario():
        async def never():
            clock.advance(26)
            await asyncio.Event().wait()

        clock = ManualClock(START.timestamp())
        vendor = Cj({DETAIL: [UNPAID, never], PAY: sample("pay_balance")})
        async with opened(vendor, clock=clock) as providers:
            with pytest.raises(ProviderTimeoutError) as caught:
                await providers.sourcing.pay(REF)
        return caught.value, vendor.paths.count(PAY)

    error, payments = asyncio.run(scenario())
    assert (error.outcome, payments) == (Outcome.UNKNOWN, 1)


def test_a_balance_that_is_too_low_is_named_and_nothing_was_done():
    error = refused(RejectedError, Cj({PAY: sample("pay_balance_insufficient")}), lambda a: a.pay(REF))
    assert (error.code, error.outcome) == ("insufficient_funds", Outcome.NOT_APPLIED)


@pytest.mark.parametrize("code", [1603101, 1603102])
def test_a_payment_that_cj_says_failed_is_looked_at(code):
    assert done(Cj({PAY: refusal(code), DETAIL: PAID}), lambda a: a.pay(REF)).paid
    error = refused(ConflictError, Cj({PAY: refusal(code), DETAIL: UNPAID}), lambda a: a.pay(REF))
    assert (error.code, error.outcome) == (str(code), Outcome.NOT_APPLIED)
    error = refused(ConflictError, Cj({PAY: refusal(code), DETAIL: refusal(1600000)}), lambda a: a.pay(REF))
    assert (error.code, error.outcome) == (str(code), Outcome.UNKNOWN)


# Cancelling.


def test_an_order_is_deleted_until_it_is_confirmed():
    vendor = Cj({DETAIL: state_is("CREATED"), DELETE: sample("confirm_order")})
    part = done(vendor, lambda a: a.cancel(REF))
    assert (part.ref, part.number, part.state) == (REF, "DEMO-1001", OrderState.CANCELLED)
    assert vendor.asked[1] == ("DELETE", DELETE, [("orderId", ID)])


def test_what_is_cancelled_already_is_fine():
    vendor = Cj({DETAIL: state_is("CANCELLED")})
    assert done(vendor, lambda a: a.cancel(REF)).state is OrderState.CANCELLED
    assert vendor.paths == [DETAIL]


@pytest.mark.parametrize("after", [state_is("CANCELLED"), NOT_THERE])
@pytest.mark.parametrize(
    "failure", [refusal(1603002), refusal(1603100), refusal(1600000), ProviderUnavailableError("broken")]
)
def test_a_deletion_that_was_done_all_the_same_is_one(after, failure):
    vendor = Cj({DETAIL: [state_is("CREATED"), after], DELETE: failure})
    assert done(vendor, lambda a: a.cancel(REF)).state is OrderState.CANCELLED


def test_an_order_that_is_too_far_is_not_cancelled():
    error = refused(ConflictError, Cj({DETAIL: PAID, DELETE: refusal(1603002)}), lambda a: a.cancel(REF))
    assert (error.code, error.field) == ("1603002", "ref")
    refused(
        ProviderUnavailableError,
        Cj({DETAIL: state_is("CREATED"), DELETE: refusal(1600000)}),
        lambda a: a.cancel(REF),
    )
    refused(NotFoundError, Cj({DETAIL: NOT_THERE}), lambda a: a.cancel(REF))


# Parcels.


def test_one_parcel_is_read_by_two_requests():
    tracks = sample("track_info")
    vendor = Cj({DETAIL: sample("order_detail"), TRACK: tracks})
    assert done(vendor, lambda a: a.trackings((REF,))) == [
        Tracking(
            ref=REF,
            state=TrackingState.IN_TRANSIT,
            number="CJPDEMO0000000001YQ",
            carrier="CJPacket Ordinary",
            url="https://example.com/track/CJPDEMO0000000001YQ",
            raw=tracks["data"][0],
        )
    ]
    number = [("trackNumber", "CJPDEMO0000000001YQ")]
    assert vendor.asked == [("GET", DETAIL, [("orderId", ID)]), ("GET", TRACK, number)]


def page(*orders):
    rows = [{**sample("order_detail")["data"], **one} for one in orders]
    found = {"pageNum": 1, "pageSize": 20, "total": len(rows), "list": rows}
    return {"code": 200, "result": True, "message": "Success", "data": found}


def test_many_parcels_are_read_by_few_requests_and_each_has_its_outcome():
    rows = [{"orderId": f"SD{number}", "trackNumber": f"T{number}"} for number in range(1, 4)]
    delivered = {**rows[2], "orderStatus": "DELIVERED"}
    tracks = [
        {"trackingNumber": "T1", "trackingStatus": "Arrived in country"},
        {"trackingNumber": "T3", "trackingStatus": "?", "deliveryTime": "2026-11-22 08:00:00"},
    ]
    vendor = Cj(
        {
            LIST: [page(*rows[:2], {"orderId": None}, {"orderId": "SD99"}), page(delivered), page(), page(), page()],
            DETAIL: [state_is("CREATED", orderId="SD4"), NOT_THERE, {"code": 200, "result": True, "data": []}],
            TRACK: {"code": 200, "result": True, "data": tracks},
        }
    )
    refs = tuple(Ref(vendor="cjdropshipping", id=f"SD{number}") for number in (1, 3, 4, 2, 5, 6, 1))
    found = done(vendor, lambda a: a.trackings(refs))
    assert [one.ref if isinstance(one, Tracking) else type(one) for one in found] == [
        *refs[:4],
        NotFoundError,
        BadResponseError,
        refs[6],
    ]
    assert [one.state for one in found if isinstance(one, Tracking)] == [
        TrackingState.ARRIVED,
        TrackingState.DELIVERED,
        TrackingState.PENDING,
        TrackingState.PENDING,
        TrackingState.ARRIVED,
    ]
    assert found[1].delivered_at == datetime(2026, 11, 22, 8, tzinfo=UTC)
    assert found[2].number is None
    ids = [("orderIds", f"SD{number}") for number in (1, 3, 4, 2, 5, 6)]
    first = [*ids, ("status", "SHIPPED"), ("pageNum", "1"), ("pageSize", "6")]
    assert vendor.asked[0] == ("GET", LIST, first)
    # A status always: without one CJ lists those that are cancelled.
    statuses = [dict(sent)["status"] for _, path, sent in vendor.asked if path == LIST]
    assert statuses == ["SHIPPED", "DELIVERED"]
    assert vendor.asked[-1] == ("GET", TRACK, [("trackNumber", f"T{number}") for number in (1, 2, 3)])
    assert vendor.paths.count(DETAIL) == 3


@pytest.mark.parametrize(("orders", "asked"), [(2, 4), (8, 3), (50, 3)])
def test_orders_that_wait_are_listed_where_that_takes_fewer_requests(orders, asked):
    rows = [{"orderId": f"SD{number}", "orderStatus": "UNSHIPPED", "trackNumber": None} for number in range(orders)]
    single = [{"code": 200, "result": True, "data": {**sample("order_detail")["data"], **row}} for row in rows]
    vendor = Cj({LIST: [page(), page(), page(*rows)], DETAIL: single})
    found = done(vendor, lambda a: a.trackings(tuple(Ref(vendor="cjdropshipping", id=row["orderId"]) for row in rows)))
    assert {one.state for one in found} == {TrackingState.PENDING}
    assert len(vendor.requests) == asked


def test_a_failure_that_is_no_orders_own_is_that_of_all():
    refs = (REF, Ref(vendor="cjdropshipping", id="SD2"))
    vendor = Cj({LIST: page(), DETAIL: [sample("order_detail"), refusal(1600000)], TRACK: sample("track_info")})
    refused(ProviderUnavailableError, vendor, lambda a: a.trackings(refs))


def test_a_parcel_that_no_carrier_knows_is_pending():
    vendor = Cj({DETAIL: sample("order_detail"), TRACK: refusal(1600300, "track number not found")})
    (found,) = done(vendor, lambda a: a.trackings((REF,)))
    assert (found.state, found.number) == (TrackingState.PENDING, "CJPDEMO0000000001YQ")


WORDS = {
    "In transit": "in_transit", "Shipped": "in_transit", "Departed from facility": "in_transit", "Pending": "pending",
    "No information": "pending", "Label created": "pending", "Arrived in country": "arrived",
    "Customs clearance": "arrived", "Out for delivery": "out_for_delivery", "Ready for pickup": "ready_for_pickup",
    "Delivered": "delivered", "Undelivered": "failed", "Not delivered": "failed", "Delivery failed": "failed",
    "Delivery attempt": "failed", "Returned to sender": "returned", "gone fishing": "unknown", "": "unknown",
    "0": "pending", "1": "in_transit", "2": "in_transit", "3": "returned", "4": "in_transit", "5": "in_transit",
    "6": "arrived", "7": "arrived", "8": "arrived", "9": "arrived", "10": "out_for_delivery", "11": "ready_for_pickup",
    "12": "delivered", "13": "failed", "14": "returned", "15": "unknown", "99": "unknown",
}  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_what_a_carrier_says(word):
    assert tracking_state(word) == WORDS[word]


@given(st.text())
def test_whatever_a_carrier_says_is_a_state(word):
    assert tracking_state(word) in TrackingState


# With the local CJ.


class Lossy:
    """A real transport that loses the answers to some paths."""

    def __init__(self, *lost):
        self._transport, self._lost = AiohttpTransport(), list(lost)
        self.sent = []

    async def send(self, request):
        path = urlsplit(request.url).path.removeprefix("/api2.0/v1/")
        self.sent.append(path)
        found = await self._transport.send(request)
        if path in self._lost:
            self._lost.remove(path)
            raise ProviderUnavailableError("the connection broke")
        return found

    async def aclose(self):
        await self._transport.aclose()


def traded(step, *lost, **options):
    """What comes of it, with the server as it is then."""
    clock = ManualClock()
    with CjServer(clock=clock.time, **options) as server:
        environ = {"PROVIDER_MODE": "live", "PROVIDER_SOURCING": "cjdropshipping", **server.env}

        async def scenario():
            transport = Lossy(*lost)
            async with Providers(
                Settings(environ=environ, env_file=None), clock=clock, transport=transport
            ) as providers:
                return await step(providers.sourcing, server), transport.sent

        return asyncio.run(scenario())


PRODUCT = "1783526827990840000"
ORDER = OrderRequest(
    items=[OrderItem(ref=f"cjdropshipping:{PRODUCT}", quantity=2)], address=ADDRESS, idempotency_key="order-1", pay=True
)


@pytest.mark.parametrize("lost", [CREATE, PAY, CONFIRM])
def test_an_order_whose_answer_is_lost_is_made_and_paid_once(lost):
    async def step(sourcing, server):
        first = await sourcing.place_order(ORDER)
        again = await sourcing.place_order(ORDER)
        return first, again, server.orders, server.balance

    (first, again, orders, balance), sent = traded(step, lost)
    assert [order.number for order in orders] == ["order-1"]
    assert (first.paid, first.state, again.refs) == (True, OrderState.PROCESSING, first.refs)
    assert balance == Decimal(250) - first.total.amount
    assert sent.count(CREATE) == 1


def test_an_order_in_the_sandbox_costs_nothing():
    async def step(sourcing, server):
        order = await sourcing.place_order(ORDER)
        return order.paid, server.balance

    assert traded(step, sandbox=True)[0] == (True, Decimal(250))


@pytest.mark.parametrize("outcome", ["logisticsMiss", "4001:the address is not served"])
def test_an_order_that_is_held_back_is_never_paid(outcome):
    with CjServer() as server:
        variant = server.variants(PRODUCT)[0]
    request = ORDER.model_copy(
        update={"items": (OrderItem(ref=Ref(vendor="cjdropshipping", id=PRODUCT), variant=variant),)}
    )

    async def step(sourcing, server):
        first = await sourcing.place_order(request)
        # What is remembered of the first call holds no error: CJ is asked again.
        again = await sourcing.place_order(request)
        with pytest.raises(ConflictError):
            await sourcing.pay(first.refs[0])
        return first, again, server.balance, len(server.orders)

    (first, again, balance, orders), sent = traded(step, outcomes={variant: outcome})
    assert (balance, orders, sent.count(PAY)) == (Decimal(250), 1, 0)
    assert (first.paid, again.paid) == (False, False)
    assert first.parts[0].reason
    assert again.parts[0].reason


def test_too_low_a_balance_leaves_the_order_unpaid():
    async def step(sourcing, server):
        order = await sourcing.place_order(ORDER)
        server.balance = Decimal(1000)
        return order, await sourcing.pay(order.refs[0]), len(server.orders)

    (order, paid, orders), _ = traded(step, balance="1.00")
    assert (order.paid, order.parts[0].error.code) == (False, "insufficient_funds")
    assert (paid.paid, orders) == (True, 1)


def test_what_costs_more_than_was_allowed_by_the_time_it_is_paid_is_not_paid():
    async def step(sourcing, server):
        order = await sourcing.place_order(ORDER.model_copy(update={"pay": False}))
        server.reprice(order.refs[0].id, "9999.00")
        with pytest.raises(ProviderError) as caught:
            await sourcing.pay(order.refs[0], max_total=order.total)
        return caught.value.code, server.balance

    assert traded(step)[0] == ("max_total", Decimal(250))


def test_an_order_ships_and_arrives():
    async def step(sourcing, server):
        order = await sourcing.place_order(ORDER)
        (ref,) = order.refs
        before = await sourcing.tracking(ref)
        server.ship(ref.id, number="T1")
        on_its_way = await sourcing.tracking(ref)
        server.deliver(ref.id)
        return before, on_its_way, await sourcing.tracking(ref), await sourcing.order(ref)

    (before, on_its_way, after, order), _ = traded(step)
    assert (before.state, before.number) == (TrackingState.PENDING, None)
    assert (on_its_way.state, on_its_way.number) == (TrackingState.IN_TRANSIT, "T1")
    assert after.state is TrackingState.DELIVERED
    assert after.delivered_at is not None
    assert order.state is OrderState.DELIVERED


def test_an_order_is_cancelled_while_it_can_be():
    async def step(sourcing, server):
        order = await sourcing.place_order(ORDER.model_copy(update={"pay": False}))
        first = await sourcing.cancel_order(order.refs[0])
        again = await sourcing.cancel_order(order.refs[0])
        paid = await sourcing.place_order(ORDER.model_copy(update={"idempotency_key": "order-2"}))
        with pytest.raises(ConflictError):
            await sourcing.cancel_order(paid.refs[0])
        return first.state, again.state

    assert traded(step)[0] == (OrderState.CANCELLED, OrderState.CANCELLED)
