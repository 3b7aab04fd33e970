"""Orders at AliExpress: what is sent, what is made of the answers, and how far an order is."""

import asyncio
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import Money, Providers, RawRequest, Ref, Settings
from providers.core.transport import HttpResponse
from providers.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    ProviderError,
    ProviderTimeoutError,
    UnsupportedOperationError,
    WebhookVerificationError,
)
from providers.sourcing import (
    Address,
    OrderedItem,
    OrderItem,
    OrderPart,
    OrderState,
    Tracking,
    TrackingEvent,
    TrackingState,
)
from providers.sourcing.aliexpress import AliExpressSourcing
from providers.sourcing.aliexpress_orders import request as order_request
from providers.sourcing.facts import ALIEXPRESS
from providers.sourcing.models import ProductName
from providers.sourcing.orders import OrderDraft, OrderLine
from providers.testing.clock import ManualClock
from providers.testing.servers.aliexpress import AliExpressServer

DATA = Path(__file__).parent.parent / "data" / "aliexpress"
CREDENTIALS = {
    "ALIEXPRESS_APP_KEY": "500001",
    "ALIEXPRESS_APP_SECRET": "demo-app-secret-0001",
    "ALIEXPRESS_ACCESS_TOKEN": "50000000a1b2c3d4",
}
PRODUCT, REF = "aliexpress:1005000000000001", Ref.parse("aliexpress:8180000000000001")
GET, CREATE, ORDER = "aliexpress.ds.product.get", "aliexpress.ds.order.create", "aliexpress.trade.ds.order.get"
TRACKING = "aliexpress.ds.order.tracking.get"
SAMPLES = {
    GET: "product_get",
    "aliexpress.ds.freight.query": "freight_query",
    CREATE: "order_create_success",
    ORDER: "trade_order_get",
    TRACKING: "order_tracking_get",
}
BERLIN = Address(
    name="Ann Lee", line1="Musterstr. 1", line2="2. OG", city="Berlin", region="Berlin", postal_code="10115",
    country="DE", phone="+49 (30) 123-456", tax_id="DE123456789",
)  # fmt: skip


def usd(text):
    return Money(amount=Decimal(text), currency="USD")


class Gateway:
    """Answers by the samples; a test changes `replies`, or puts an exception there."""

    def __init__(self):
        self.replies = {
            method: json.loads((DATA / f"{name}.json").read_text("utf-8")) for method, name in SAMPLES.items()
        }
        self.forms = []

    def of(self, method):
        return self.replies[method][method.replace(".", "_") + "_response"]["result"]

    def asked(self, method):
        return [form for form in self.forms if form["method"] == method]

    def __call__(self, request):
        form = dict(parse_qsl(request.content.decode(), keep_blank_values=True))
        self.forms.append(form)
        reply = self.replies[form["method"]]
        return reply if isinstance(reply, Exception) else HttpResponse(200, {}, json.dumps(reply).encode())


@pytest.fixture
def gateway():
    return Gateway()


@pytest.fixture
def call(scripted, gateway):
    def made(step):
        async def scenario():
            settings = Settings(
                mode="live", vendors={"sourcing": "aliexpress"}, credentials=CREDENTIALS, environ={}, env_file=None
            )
            async with Providers(settings, clock=ManualClock(), transport=scripted(gateway)) as p:
                return await step(p.sourcing)

        return asyncio.run(scenario())

    return made


def sent(gateway):
    """The two JSON texts of an order."""
    (form,) = gateway.asked(CREATE)
    return json.loads(form["param_place_order_request4_open_api_d_t_o"]), json.loads(form["ds_extend_request"])


def test_an_order_as_the_sheet_has_it(call, gateway, order):
    item = OrderItem(ref=PRODUCT, variant="12000000000000001", quantity=2, shipping="CAINIAO_FULFILLMENT_STD")
    call(lambda s: s.place_order(order(item, address=BERLIN, note="No invoice, please.")))
    request, extension = sent(gateway)
    assert request == {
        "out_order_id": "order-1",
        "product_items": [
            {
                "product_id": "1005000000000001",
                "product_count": 2,
                "sku_attr": "14:193#Matte Black",
                "logistics_service_name": "CAINIAO_FULFILLMENT_STD",
                "order_memo": "No invoice, please.",
            }
        ],
        "logistics_address": {
            "country": "DE",
            "province": "Berlin",
            "city": "Berlin",
            "address": "Musterstr. 1",
            "address2": "2. OG",
            "zip": "10115",
            "contact_person": "Ann Lee",
            "full_name": "Ann Lee",
            "phone_country": "49",
            "mobile_no": "30123456",
            "locale": "en_US",
            "vat_no": "DE123456789",
        },
    }
    assert extension == {
        "payment": {"pay_currency": "USD", "try_to_pay": "false"},
        "trade_extra_param": {"business_model": "retail"},
    }


def test_only_who_says_so_pays_at_once(call, gateway, order):
    call(lambda s: s.place_order(order(PRODUCT, pay=True)))
    assert sent(gateway)[1]["payment"] == {"pay_currency": "USD", "try_to_pay": "true"}


def test_an_order_without_a_choice_has_an_empty_sku(call, gateway, order):
    rows = gateway.of(GET)["ae_item_sku_info_dtos"]["ae_item_sku_info_d_t_o"]
    del rows[0]["sku_attr"], rows[1]
    call(lambda s: s.place_order(order(PRODUCT)))
    assert sent(gateway)[0]["product_items"][0]["sku_attr"] == ""


@pytest.mark.parametrize(
    ("country", "field"),
    [("BR", "cpf"), ("CL", "rut_no"), ("FR", "vat_no"), ("IT", "vat_no"), ("KR", "tax_number"), ("MX", "tax_number")],
)
def test_the_recipients_number_is_called_what_the_country_calls_it(call, gateway, order, country, field):
    address = BERLIN.model_copy(update={"country": country, "tax_id": "12345678909"})
    call(lambda s: s.place_order(order(PRODUCT, address=address)))
    made = sent(gateway)[0]["logistics_address"]
    assert made[field] == "12345678909"
    assert {"cpf", "rut_no", "vat_no", "tax_number"} & made.keys() == {field}


@pytest.mark.parametrize(
    ("phone", "country", "number"),
    [
        ("+1 518 555 0100", "1", "5185550100"),
        ("+7 495 123 45 67", "7", "4951234567"),
        ("+20 2 1234567", "20", "21234567"),
        ("+44 20 7946 0000", "44", "2079460000"),
        ("+351 21 123 4567", "351", "211234567"),
        ("+420 123 456 789", "420", "123456789"),
        ("+971 50 123 4567", "971", "501234567"),
        ("+66 2 123 4567", "66", "21234567"),
        ("+998 71 123 4567", "998", "711234567"),
        ("0049 30 123456", "49", "30123456"),
        ("030 123456", None, "030123456"),
        ("", None, None),
    ],
)
def test_a_phone_number_is_split_where_it_says_its_country(call, gateway, order, phone, country, number):
    call(lambda s: s.place_order(order(PRODUCT, address=BERLIN.model_copy(update={"phone": phone}))))
    address = sent(gateway)[0]["logistics_address"]
    assert (address.get("phone_country"), address.get("mobile_no")) == (country, number)


@given(st.from_regex(r"\+[1-9][0-9]{6,14}", fullmatch=True))
def test_no_figure_of_a_phone_number_is_lost(phone):
    line = OrderLine(product=ProductName("aliexpress", "1005000000000001"), variant="1")
    address = BERLIN.model_copy(update={"phone": phone})
    draft = OrderDraft(source="aliexpress", number="1", lines=(line,), address=address, currency="USD")
    made = order_request(draft)["logistics_address"]
    assert f"+{made.get('phone_country', '')}{made['mobile_no']}" in {phone, f"+{phone}"}
    assert len(made.get("phone_country", "")) <= 3


def test_what_a_vendor_takes_besides_is_merged_last(call, gateway, order):
    options = {"logistics_address": {"passport_no": "P1", "city": "Other"}, "promo": {"code": 7}}
    call(lambda s: s.place_order(order(PRODUCT, address=BERLIN, vendor_options={"aliexpress": options})))
    request, _ = sent(gateway)
    assert request["promo"] == {"code": 7}
    assert request["logistics_address"]["passport_no"] == "P1"
    assert (request["logistics_address"]["city"], request["logistics_address"]["zip"]) == ("Other", "10115")


@pytest.mark.parametrize("name", ["out_order_id", "product_items"])
def test_what_an_order_is_known_and_priced_by_cannot_be_replaced(call, gateway, order, name):
    with pytest.raises(InvalidRequestError) as caught:
        call(lambda s: s.place_order(order(PRODUCT, vendor_options={"aliexpress": {name: "x"}})))
    assert caught.value.field == f"vendor_options.aliexpress.{name}"
    assert gateway.asked(CREATE) == []


def test_to_the_united_states_a_product_is_ordered_by_its_other_id(call, gateway, order):
    placed = call(lambda s: s.place_order(order(PRODUCT)))
    assert sent(gateway)[0]["product_items"][0]["product_id"] == "3256800000000001"
    # To price it: the other id comes with that.
    assert len(gateway.asked(GET)) == 1
    assert placed.refs == (REF,)


@pytest.mark.parametrize("told", [None, {}, {"sub_product_id": "{"}, {"sub_product_id": '{"FR": 1}'}, "x"])
def test_a_product_without_another_id_is_ordered_by_its_own(call, gateway, order, told):
    gateway.of(GET)["product_id_converter_result"] = told
    call(lambda s: s.place_order(order(PRODUCT)))
    assert sent(gateway)[0]["product_items"][0]["product_id"] == "1005000000000001"


@pytest.mark.parametrize("failure", [TimeoutError(), "error_top_style"])
def test_an_order_whose_product_could_not_be_asked_for_was_not_made(scripted, gateway, order, failure):
    asked = []

    def answer(request):
        method = dict(parse_qsl(request.content.decode()))["method"]
        asked.append(method)
        if method == GET:
            if isinstance(failure, Exception):
                return failure
            return HttpResponse(200, {}, (DATA / f"{failure}.json").read_bytes())
        return gateway(request)

    async def scenario():
        settings = Settings(
            mode="live", vendors={"sourcing": "aliexpress"}, credentials=CREDENTIALS, environ={}, env_file=None
        )
        async with Providers(settings, clock=ManualClock(), transport=scripted(answer)) as p:
            with pytest.raises(ProviderError) as caught:
                await p.sourcing.place_order(order(PRODUCT))
            return caught.value

    error = asyncio.run(scenario())
    assert (error.outcome, error.retryable) == (Outcome.NOT_APPLIED, True)
    assert CREATE not in asked


def test_what_was_asked_before_an_order_is_not_taken_for_the_order(scripted, gateway, order):
    """Once the order itself has left, a timeout is of unknown outcome again."""
    gateway.replies[CREATE] = TimeoutError()

    async def scenario():
        settings = Settings(
            mode="live", vendors={"sourcing": "aliexpress"}, credentials=CREDENTIALS, environ={}, env_file=None
        )
        async with Providers(settings, clock=ManualClock(), transport=scripted(gateway)) as p:
            with pytest.raises(ProviderTimeoutError) as caught:
                await p.sourcing.place_order(order(PRODUCT))
            return caught.value

    assert asyncio.run(scenario()).outcome is Outcome.UNKNOWN
    assert len(gateway.asked(CREATE)) == 1


def test_each_store_makes_an_order_of_its_own(call, gateway, order):
    gateway.of(CREATE)["order_list"] = {"number": [8180000000000001, "8180000000000002"]}
    placed = call(lambda s: s.place_order(order(PRODUCT)))
    assert [str(ref) for ref in placed.refs] == ["aliexpress:8180000000000001", "aliexpress:8180000000000002"]
    assert [part.number for part in placed.parts] == ["order-1", "order-1"]
    # What it costs is read back.
    assert (len(gateway.asked(ORDER)), placed.total) == (2, usd("30.40"))


def test_an_order_whose_state_cannot_be_read_back_was_made_all_the_same(call, gateway, order):
    gateway.replies[ORDER] = json.loads((DATA / "error_root_level.json").read_text())
    (part,) = call(lambda s: s.place_order(order(OrderItem(ref=PRODUCT, quantity=2)))).parts
    assert part == OrderPart(
        source="aliexpress",
        state=OrderState.UNPAID,
        ref=REF,
        number="order-1",
        items=(OrderedItem(product="1005000000000001", variant="12000000000000001", quantity=2, price=usd("12.49")),),
        paid=False,
        raw=gateway.of(CREATE),
    )


def test_whether_an_order_that_was_to_be_paid_is_paid_is_not_guessed(call, gateway, order):
    gateway.replies[ORDER] = json.loads((DATA / "error_root_level.json").read_text())
    placed = call(lambda s: s.place_order(order(PRODUCT, pay=True)))
    assert (placed.state, placed.paid, placed.parts[0].paid) == (OrderState.UNKNOWN, False, None)


def test_a_repeated_number_is_not_taken_for_nothing_ordered(call, gateway, order):
    gateway.of(CREATE).update({"is_success": False, "error_code": "REPEATED_ORDER_ERROR", "error_msg": "Repeated"})
    del gateway.of(CREATE)["order_list"]
    with pytest.raises(ConflictError) as caught:
        call(lambda s: s.place_order(order(PRODUCT)))
    assert (caught.value.outcome, caught.value.retryable) == (Outcome.UNKNOWN, False)


def test_the_sample_order(call, gateway):
    (part,) = call(lambda s: s.order(REF)).parts
    assert part == OrderPart(
        source="aliexpress",
        state=OrderState.SHIPPED,
        ref=REF,
        items=(
            OrderedItem(
                product="1005000000000001",
                title="Wireless Earbuds with Charging Case",
                quantity=1,
                price=usd("12.49"),
            ),
        ),
        # What the buyer really pays; and its time is of a zone that nobody tells.
        total=usd("15.20"),
        paid=True,
        placed_at=None,
        tracking_number="LP00000000000001",
        carrier="CAINIAO_FULFILLMENT_STD",
        raw=gateway.of(ORDER),
    )
    assert part.raw["gmt_create"] == "2026-11-20 04:15:09"
    assert json.loads(gateway.forms[0]["single_order_query"]) == {"order_id": "8180000000000001"}


@pytest.mark.parametrize(
    ("status", "logistics", "state", "paid"),
    [
        ("PLACE_ORDER_SUCCESS", "NO_LOGISTICS", OrderState.UNPAID, False),
        ("RISK_CONTROL", "NO_LOGISTICS", OrderState.PROCESSING, True),
        ("WAIT_SELLER_SEND_GOODS", "WAIT_SELLER_SEND_GOODS", OrderState.PROCESSING, True),
        ("WAIT_BUYER_ACCEPT_GOODS", "SELLER_SEND_GOODS", OrderState.SHIPPED, True),
        ("FUND_PROCESSING", "BUYER_ACCEPT_GOODS", OrderState.DELIVERED, True),
        ("FINISH", "BUYER_ACCEPT_GOODS", OrderState.DELIVERED, True),
        ("FINISH", "SELLER_SEND_GOODS", OrderState.DELIVERED, True),
        ("FINISH", "NO_LOGISTICS", OrderState.CANCELLED, None),
        ("FINISH", "WAIT_SELLER_SEND_GOODS", OrderState.CANCELLED, None),
        ("FINISH", "SOMETHING", OrderState.UNKNOWN, None),
        ("FINISH", None, OrderState.UNKNOWN, None),
        ("IN_CANCEL", "NO_LOGISTICS", OrderState.UNKNOWN, None),
        ("IN_FROZEN", "SELLER_SEND_GOODS", OrderState.UNKNOWN, None),
    ],
)
def test_how_far_an_order_is(call, gateway, status, logistics, state, paid):
    gateway.of(ORDER).update({"order_status": status, "logistics_status": logistics})
    (part,) = call(lambda s: s.order(REF)).parts
    assert (part.state, part.paid, part.raw["order_status"]) == (state, paid, status)


@pytest.mark.parametrize(
    ("changes", "total"),
    [
        ({}, "15.20"),
        ({"user_order_amount": None}, "14.48"),
        ({"user_order_amount": {"amount": "x", "currency_code": "USD"}}, "14.48"),
        ({"user_order_amount": {"amount": "1", "currency_code": "usd"}}, "14.48"),
        ({"user_order_amount": {"amount": 15.5, "currency_code": "USD"}}, "15.5"),
        ({"user_order_amount": None, "order_amount": None}, None),
    ],
)
def test_what_an_order_costs(call, gateway, changes, total):
    gateway.of(ORDER).update(changes)
    assert call(lambda s: s.order(REF)).total == (total and usd(total))


def test_an_order_of_several_things_and_parcels(call, gateway):
    result = gateway.of(ORDER)
    child = result["child_order_list"]["aeop_child_order_info"]
    result["child_order_list"]["aeop_child_order_info"] = [child, child | {"product_id": 7, "product_count": 3}]
    parcel = result["logistics_info_list"]["aeop_order_logistics_info"]
    result["logistics_info_list"] = [{"logistics_service": "X"}, parcel]
    (part,) = call(lambda s: s.order(REF)).parts
    assert [(item.product, item.quantity) for item in part.items] == [("1005000000000001", 1), ("7", 3)]
    assert (part.tracking_number, part.carrier) == ("LP00000000000001", "CAINIAO_FULFILLMENT_STD")


def test_the_sample_parcel_comes_oldest_first(call, gateway):
    assert call(lambda s: s.tracking(REF)) == Tracking(
        ref=REF,
        state=TrackingState.IN_TRANSIT,
        number="LP00000000000001",
        carrier="AliExpress Selection Standard",
        events=(
            TrackingEvent(
                at=datetime(2026, 11, 20, 12, tzinfo=UTC), description="Order created", state=TrackingState.PENDING
            ),
            TrackingEvent(
                at=datetime(2026, 11, 21, 12, tzinfo=UTC),
                description="Departed from departure country/region",
                state=TrackingState.IN_TRANSIT,
            ),
        ),
        raw=gateway.of(TRACKING),
    )
    (form,) = gateway.forms
    assert (form["ae_order_id"], form["language"]) == ("8180000000000001", "en_US")


def test_a_parcel_of_which_nothing_is_known_is_pending(call, gateway):
    gateway.replies[TRACKING] = json.loads((DATA / "order_tracking_not_found.json").read_text())
    raw = gateway.of(TRACKING)
    assert call(lambda s: s.tracking(REF)) == Tracking(ref=REF, state=TrackingState.PENDING, raw=raw)


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("DELIVERED", TrackingState.DELIVERED),
        ("OUT_FOR_DELIVERY", TrackingState.OUT_FOR_DELIVERY),
        ("SOMETHING_ELSE", TrackingState.IN_TRANSIT),
        ("", TrackingState.IN_TRANSIT),
    ],
)
def test_the_newest_event_that_is_understood_says_where_a_parcel_is(call, gateway, name, state):
    nodes = gateway.of(TRACKING)["data"]["tracking_detail_line_list"]["tracking_detail"][0]["detail_node_list"]
    nodes["detail_node"].insert(0, {"time_stamp": "1795348800000", "tracking_detail_desc": "", "tracking_name": name})
    found = call(lambda s: s.tracking(REF))
    assert (found.state, found.events[-1].description) == (state, name)
    arrived = datetime(2026, 11, 22, 12, tzinfo=UTC)
    assert found.delivered_at == (arrived if state is TrackingState.DELIVERED else None)


@pytest.mark.parametrize("stamp", [None, "", "soon", -5, 0, 10**18, True, "1795176000000.5"])
def test_a_moment_that_is_none_is_not_made_up(call, gateway, stamp):
    (parcel,) = gateway.of(TRACKING)["data"]["tracking_detail_line_list"]["tracking_detail"]
    parcel["detail_node_list"]["detail_node"][0]["time_stamp"] = stamp
    assert call(lambda s: s.tracking(REF)).events[-1].at is None


@pytest.mark.parametrize("id_", ["abc", "12x", "٣٣٣", "1 OR 1"])
def test_what_is_no_order_id_is_not_asked_for(call, gateway, id_):
    for step in (lambda s: s.order(Ref(vendor="aliexpress", id=id_)), lambda s: s.tracking(f"aliexpress:{id_}")):
        with pytest.raises(NotFoundError):
            call(step)
    assert gateway.forms == []


@pytest.mark.parametrize(
    "step",
    [
        lambda s: s.pay(REF),
        lambda s: s.cancel_order(REF),
        lambda s: s.watch([PRODUCT]),
        lambda s: s.ensure_webhook("https://shop.example.com/hook"),
    ],
)
def test_what_it_cannot_do_is_said_before_anything_is_sent(call, gateway, step):
    with pytest.raises(UnsupportedOperationError, match="AliExpress"):
        call(step)
    assert gateway.forms == []


@pytest.mark.parametrize(
    "step",
    [
        lambda adapter: adapter.find(None, 0.0),
        lambda adapter: adapter.confirm(REF),
        lambda adapter: adapter.pay(REF),
        lambda adapter: adapter.cancel(REF),
        lambda adapter: adapter.watch(()),
        lambda adapter: adapter.ensure_webhook("https://shop.example.com/hook"),
        lambda adapter: adapter.webhook(RawRequest(body=b"{}")),
    ],
)
def test_an_adapter_that_is_used_alone_says_so_too(call, gateway, step):
    async def alone(s):
        await s.check()
        return await step(s.unwrap(AliExpressSourcing))

    with pytest.raises(UnsupportedOperationError) as caught:
        call(alone)
    assert caught.value.message in ALIEXPRESS.unsupported.values()
    assert [form["product_id"] for form in gateway.forms] == ["1"]


def test_no_webhook_is_taken_for_its_own(call):
    for vendor in (None, "aliexpress"):
        with pytest.raises(WebhookVerificationError):
            call(lambda s, vendor=vendor: s.webhook(RawRequest(body=b"{}"), vendor=vendor))


def test_the_life_of_an_order_at_a_local_gateway(order):
    clock = ManualClock()
    with AliExpressServer(clock=clock.time) as server:

        async def scenario():
            settings = Settings(mode="live", vendors={"sourcing": "aliexpress"}, environ=server.env, env_file=None)
            async with Providers(settings, clock=clock) as p:
                s = p.sourcing
                address = Address(
                    name="Ann Lee", line1="1 Main St", city="Albany", region="New York", postal_code="12207",
                    country="US", phone="+1 518 555 0100",
                )  # fmt: skip
                request = order(PRODUCT, address=address)
                placed = await s.place_order(request)
                (ref,) = placed.refs
                states = [placed.state, (await s.tracking(ref, fresh=True)).state]
                server.pay(ref.id)
                states.append((await s.order(ref, fresh=True)).state)
                server.ship(ref.id, "UJ000000001YP")
                states += [(await s.order(ref, fresh=True)).state, (await s.tracking(ref, fresh=True)).state]
                server.deliver(ref.id)
                end = await s.tracking(ref, fresh=True)
                states += [(await s.order(ref, fresh=True)).state, end.state]
                again = await s.place_order(request)
                return states, placed, again, end

        states, placed, again, end = asyncio.run(scenario())
        assert len(server.orders) == 1
        assert server.orders[0].request["product_items"][0]["product_id"].startswith("3256")
        assert server.orders[0].total == placed.total.amount
    assert states == ["unpaid", "pending", "processing", "shipped", "in_transit", "delivered", "delivered"]
    assert again.refs == placed.refs
    assert (end.number, len(end.events)) == ("UJ000000001YP", 3)
    assert end.delivered_at == end.events[-1].at


def test_an_order_that_ends_before_it_is_sent_is_cancelled(order):
    with AliExpressServer() as server:

        async def scenario():
            settings = Settings(mode="live", vendors={"sourcing": "aliexpress"}, environ=server.env, env_file=None)
            async with Providers(settings) as p:
                address = BERLIN.model_copy(update={"tax_id": ""})
                placed = await p.sourcing.place_order(order(PRODUCT, address=address, pay=True))
                server.cancel(placed.refs[0].id)
                return placed, await p.sourcing.order(placed.refs[0], fresh=True)

        placed, found = asyncio.run(scenario())
    assert (placed.state, placed.paid) == (OrderState.PROCESSING, True)
    assert (found.state, found.parts[0].paid) == (OrderState.CANCELLED, None)
