"""Orders from creation to delivery, their refusals, payment, tracking; shapes as the samples."""

import json
import re
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from providers.testing.servers.cjdropshipping import CjServer, Status

SAMPLES = Path(__file__).parent.parent / "data" / "cjdropshipping"
BASE = "/api2.0/v1/"
ORDER = "shopping/order/"
PID = "1795000000000000001"
CARRIER = "CJPacket Ordinary"


def sample(name):
    return json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))


def shape(value):
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    if isinstance(value, list):
        return [shape(each) for each in value]
    if isinstance(value, bool) or value is None:
        return type(value).__name__
    return "number" if isinstance(value, int | float) else type(value).__name__


def plain(reply):
    return {name: value for name, value in reply.items() if name != "requestId"}


class Shop:
    """A server and a client of it."""

    def __init__(self, call, server) -> None:
        self.server, self._call = server, call
        self.token = server._shop.tokens.issue({"apiKey": server.api_key})["accessToken"]
        self.vid, *_ = server.variants(PID)

    def __call__(self, method, path, body=None):
        answer = self._call(self.server, method, BASE + path, body, key="", headers={"CJ-Access-Token": self.token})
        assert answer.status == 200
        return answer.json

    def order(self, number="DEMO-1001", *lines, **changes):
        """A body of createOrderV2 that is in order, with changes."""
        body = {
            "orderNumber": number,
            "shippingCountryCode": "US",
            "shippingCountry": "United States",
            "shippingProvince": "California",
            "shippingCity": "Springfield",
            "shippingCustomerName": "Alex Demo",
            "shippingAddress": "1 Example Street",
            "shippingPhone": "5550100",
            "shippingZip": "90001",
            "logisticName": CARRIER,
            "fromCountryCode": "CN",
            "payType": 3,
            "products": [*lines] or [{"vid": self.vid, "quantity": 1, "storeLineItemId": "line-1"}],
        } | changes
        return {name: value for name, value in body.items() if value is not ...}

    def create(self, *arguments, **changes):
        return self("POST", ORDER + "createOrderV2", self.order(*arguments, **changes))

    def made(self, *arguments, **changes):
        reply = self.create(*arguments, **changes)
        assert reply["code"] == 200, reply
        return reply["data"]["orderId"]

    def detail(self, name):
        return self("GET", f"{ORDER}getOrderDetail?orderId={name}")

    def status(self, name):
        return self.detail(name)["data"]["orderStatus"]

    def paid(self, *arguments, **changes):
        order_id = self.made(*arguments, **changes)
        assert self("PATCH", ORDER + "confirmOrder", {"orderId": order_id})["code"] == 200
        assert self("POST", "shopping/pay/payBalance", {"orderId": order_id})["code"] == 200
        return order_id

    @property
    def balance(self):
        return Decimal(str(self("GET", "shopping/pay/getBalance")["data"]["amount"]))


@pytest.fixture
def start(call, clock):
    started = []

    def start(**options):
        started.append(CjServer(**{"clock": clock} | options).start())
        return Shop(call, started[-1])

    yield start
    for server in started:
        server.close()


@pytest.fixture
def shop(start):
    return start()


# Making orders.


def test_a_new_order_answers_as_the_sample(shop):
    reply, wanted = shop.create(), sample("create_order_v2")
    assert shape(reply) == shape(wanted)
    data = reply["data"]
    assert (data["orderNumber"], data["orderStatus"], data["logisticsMiss"]) == ("DEMO-1001", "CREATED", False)
    assert data["productInfoList"][0]["variantId"] == shop.vid
    assert re.fullmatch(r"SD\d{19}", data["orderId"])
    assert Decimal(str(data["orderAmount"])) == Decimal(str(data["productAmount"])) + Decimal(
        str(data["postageAmount"])
    )
    (order,) = shop.server.orders
    assert (order.id, order.number, order.status) == (data["orderId"], "DEMO-1001", Status.CREATED)
    assert order.request == shop.order()


def test_the_postage_is_what_was_quoted(shop):
    lines = [{"vid": vid, "quantity": 2} for vid in shop.server.variants(PID)]
    for carrier, to in ((CARRIER, "US"), (CARRIER, "DE"), ("DHL Official", "DE"), ("USPS+", "US")):
        body = {"startCountryCode": "CN", "endCountryCode": to, "products": lines}
        quotes = {each["logisticName"]: each for each in shop("POST", "logistic/freightCalculate", body)["data"]}
        quote = quotes[carrier]["totalPostageFee"] or quotes[carrier]["logisticPrice"]
        made = shop.create(f"{carrier} to {to}", *lines, shippingCountryCode=to, logisticName=carrier)["data"]
        assert made["postageAmount"] == quote


def test_a_number_is_used_once(shop):
    first = shop.made()
    assert plain(shop.create()) == plain(sample("create_order_duplicate"))
    assert plain(shop.create(logisticName="DHL Official")) == plain(sample("create_order_duplicate"))
    shop("DELETE", f"{ORDER}deleteOrder?orderId={first}")
    assert shop.create()["code"] == 1603003
    assert len(shop.server.orders) == 1


REQUIRED = (
    *("orderNumber", "shippingCountryCode", "shippingCountry", "shippingProvince", "shippingCity"),
    *("shippingCustomerName", "shippingAddress", "logisticName", "fromCountryCode", "products"),
)


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("value", [..., None, "", 5])
def test_required_fields_are_required(shop, name, value):
    reply = shop.create(
        **{name: value} if name != "orderNumber" else {}, **({"number": value} if name == "orderNumber" else {})
    )
    assert (reply["code"], reply["result"], reply["data"]) == (1600300, False, None)
    assert reply["message"].startswith("Param error")
    assert name in reply["message"]
    assert not shop.server.orders


@pytest.mark.parametrize(
    "changes",
    [
        {"number": "x" * 51},
        {"payType": 4},
        {"payType": "3"},
        {"payType": True},
        {"isSandbox": 2},
        {"iossType": 9},
        {"products": []},
        {"products": [{"quantity": 1}]},
        {"products": [{"vid": 1795000000000000001, "quantity": 1}]},
        {"products": ["1795000000000000001"]},
        {"orderNum": "DEMO"},
        {"logisticName": "DHL Official", "shippingPhone": ...},
        {"logisticName": "USPS+", "shippingZip": ...},
    ],
)
def test_fields_out_of_range_are_refused(shop, changes):
    assert shop.create(**changes)["code"] == 1600300
    assert not shop.server.orders


def test_lengths_that_are_allowed(shop):
    line = {"vid": shop.vid, "quantity": 1, "storeLineItemId": "l" * 125}
    assert shop.create("n" * 50, line)["code"] == 200
    assert shop.create("other", line | {"storeLineItemId": "l" * 126})["code"] == 1600300


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"shippingCountryCode": "ZZ"}, 1605001),
        ({"fromCountryCode": "ZZ"}, 1605001),
        ({"logisticName": "Pigeon"}, 1605000),
        ({"products": [{"vid": "1795000000000000101", "quantity": 1}]}, 1602000),
        ({"products": [{"vid": "1795000000001000410", "quantity": 1}]}, 1602002),
        ({"products": [{"vid": "1795000000001000001", "quantity": 1_000_000}]}, 1603102),
    ],
)
def test_what_cannot_be_ordered_makes_no_order(shop, changes, code):
    assert shop.create(**changes)["code"] == code
    assert not shop.server.orders
    assert shop.create()["code"] == 200


def test_a_variant_may_be_named_by_its_sku(shop):
    sku = shop("GET", f"product/variant/query?pid={PID}")["data"][0]["variantSku"]
    data = shop.create("A", {"sku": sku, "quantity": 1})["data"]
    assert data["productInfoList"][0]["variantId"] == shop.vid
    foreign = shop.create("B", {"sku": "SHIRT-RED", "quantity": 1})
    assert foreign["code"] == 200
    assert foreign["data"]["orderId"] is None
    assert foreign["data"]["interceptOrderReasons"]
    shop.server.take_off(PID)
    assert shop.create("C", {"sku": sku, "quantity": 1})["code"] == 1602002
    assert shape(foreign["data"]).keys() == shape(sample("create_order_v2")["data"]).keys()
    assert len(shop.server.orders) == 1


def test_a_carrier_that_does_not_go_there_is_a_partial_failure(shop):
    data = shop.create(logisticName="USPS+", shippingCountryCode="DE")["data"]
    assert (data["logisticsMiss"], data["orderStatus"], data["postageAmount"]) == (True, "CREATED", 0)
    assert shop("PATCH", ORDER + "confirmOrder", {"orderId": data["orderId"]})["code"] == 1603001


def test_outcomes_by_variant(start):
    vids = CjServer().variants(PID)
    shop = start(outcomes={vids[0]: "1602002:Product is off the shelves", vids[-1]: "logisticsMiss"})
    data = shop.create("A")["data"]
    assert data["interceptOrderReasons"] == [{"code": 1602002, "message": "Product is off the shelves"}]
    assert (data["logisticsMiss"], data["orderStatus"]) == (False, "CREATED")
    if len(vids) > 1:
        missed = shop.create("B", {"vid": vids[-1], "quantity": 1})["data"]
        assert (missed["logisticsMiss"], missed["interceptOrderReasons"]) == (True, [])
    added = shop("POST", ORDER + "addCart", {"cjOrderIdList": [data["orderId"]]})["data"]
    assert (added["successCount"], added["addSuccessOrders"]) == (0, [])
    (held,) = added["interceptOrders"]
    assert held["orderId"] == data["orderId"]
    confirmed = shop("PATCH", ORDER + "confirmOrder", {"orderId": data["orderId"]})
    assert plain(confirmed) == plain(sample("confirm_order_failed"))
    for pay_type in (1, 2):
        later = shop.create(f"pay {pay_type}", payType=pay_type)["data"]
        assert (later["orderStatus"], later["cjPayUrl"]) == ("CREATED", None)
    assert shop.server.balance == 250


# The three ways to pay.


@pytest.mark.parametrize("pay_type", [1, ...])
def test_without_a_pay_type_there_is_a_pay_page(shop, pay_type):
    data = shop.create(payType=pay_type)["data"]
    assert data["cjPayUrl"].endswith(data["orderId"])
    assert data["shipmentOrderId"].startswith("SP")
    assert (shop.status("DEMO-1001"), shop.balance) == ("UNPAID", 250)


def test_pay_type_2_takes_the_balance_at_once(shop):
    data = shop.create(payType=2)["data"]
    assert (data["orderStatus"], data["cjPayUrl"]) == ("UNSHIPPED", None)
    assert shop.balance == 250 - Decimal(str(data["actualPayment"]))


def test_pay_type_2_without_money_leaves_an_unpaid_order(start):
    shop = start(balance="0.50")
    assert plain(shop.create(payType=2)) == plain(sample("pay_balance_insufficient"))
    assert (shop.status("DEMO-1001"), shop.balance) == ("UNPAID", Decimal("0.5"))
    assert shop.create(payType=2)["code"] == 1603003


def test_pay_type_3_only_makes_it(shop):
    data = shop.create()["data"]
    assert (data["orderStatus"], data["cjPayUrl"], data["shipmentOrderId"]) == ("CREATED", None, None)
    assert shop.balance == 250


# The cart.


def test_the_steps_from_cart_to_paid_answer_as_the_samples(shop):
    one, other = shop.made("A"), shop.made("B")
    added = shop("POST", ORDER + "addCart", {"cjOrderIdList": [one, other]})
    assert shape(added) == shape(sample("add_cart")) | {"data": shape(added["data"])}
    assert shape(added["data"]).keys() == sample("add_cart")["data"].keys()
    assert added["data"]["addSuccessOrders"] == [one, other]
    assert {shop.status("A"), shop.status("B")} == {"IN_CART"}
    confirmed = shop("POST", ORDER + "addCartConfirm", {"cjOrderIdList": [one, other]})
    assert shape(confirmed) == shape(sample("add_cart_confirm"))
    shipment = confirmed["data"]["shipmentsId"]
    assert {shop.status("A"), shop.status("B")} == {"UNPAID"}
    bill = shop("POST", ORDER + "saveGenerateParentOrder", {"shipmentOrderId": shipment})
    assert "requestId" not in bill
    assert bill["success"] is True
    assert bill["data"].keys() == {"payId", "orderMoney", "payExpireTime", "paymentInformation"}
    amounts = [Decimal(str(shop.detail(name)["data"]["orderAmount"])) for name in "AB"]
    assert Decimal(str(bill["data"]["orderMoney"])) == sum(amounts)
    asked = {"shipmentOrderId": shipment, "payId": bill["data"]["payId"]}
    assert plain(shop("POST", "shopping/pay/payBalanceV2", asked)) == plain(sample("pay_balance"))
    assert {shop.status("A"), shop.status("B")} == {"UNSHIPPED"}
    assert shop.balance == 250 - sum(amounts)
    assert shop("POST", "shopping/pay/payBalanceV2", asked)["code"] == 1603101
    assert shop.balance == 250 - sum(amounts)


def test_carts_refuse_what_they_do_not_know(shop):
    order_id = shop.made()
    for step in ("addCart", "addCartConfirm"):
        assert shop("POST", ORDER + step, {"cjOrderIdList": ["SD1", order_id]})["code"] == 1603100
        for wrong in ([], None, [5], "SD1"):
            refused = shop("POST", ORDER + step, {"cjOrderIdList": wrong})
            assert (refused["code"], refused["success"], "result" in refused) == (1600300, False, False)
    nothing = shop("POST", ORDER + "addCartConfirm", {"cjOrderIdList": [order_id]})["data"]
    assert (nothing["submitSuccess"], nothing["shipmentsId"], nothing["successCount"]) == (False, None, 0)
    assert nothing["interceptOrders"][0]["orderId"] == order_id
    assert shop("POST", ORDER + "saveGenerateParentOrder", {"shipmentOrderId": "SP1"})["code"] == 1603100


def test_a_bill_is_for_one_shipment_and_for_a_day(shop, clock):
    def shipped(number):
        order_id = shop.made(number)
        shop("POST", ORDER + "addCart", {"cjOrderIdList": [order_id]})
        return shop("POST", ORDER + "addCartConfirm", {"cjOrderIdList": [order_id]})["data"]["shipmentsId"]

    def bill(shipment):
        return shop("POST", ORDER + "saveGenerateParentOrder", {"shipmentOrderId": shipment})["data"]

    one, other = shipped("A"), shipped("B")
    mine, theirs = bill(one), bill(other)
    pay = "shopping/pay/payBalanceV2"
    assert shop("POST", pay, {"shipmentOrderId": one, "payId": theirs["payId"]})["code"] == 1603101
    assert shop("POST", pay, {"shipmentOrderId": one, "payId": "PAY1"})["code"] == 1603101
    assert shop("POST", pay, {"shipmentOrderId": "SP1", "payId": mine["payId"]})["code"] == 1603100
    until = datetime.strptime(mine["payExpireTime"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
    clock.now = until
    assert shop("POST", pay, {"shipmentOrderId": one, "payId": mine["payId"]})["code"] == 1603101
    assert shop("POST", pay, {"shipmentOrderId": one, "payId": bill(one)["payId"]})["code"] == 200


def test_the_bill_may_be_more_than_was_said(shop):
    order_id = shop.made()
    shop.server.reprice(order_id, "99.99")
    shop("POST", ORDER + "addCart", {"cjOrderIdList": [order_id]})
    shipment = shop("POST", ORDER + "addCartConfirm", {"cjOrderIdList": [order_id]})["data"]["shipmentsId"]
    assert shop("POST", ORDER + "saveGenerateParentOrder", {"shipmentOrderId": shipment})["data"]["orderMoney"] == 99.99
    assert shop.detail(order_id)["data"]["orderAmount"] == 99.99


# The older way.


def test_confirming_and_paying_answer_as_the_samples(shop, clock):
    order_id = shop.made()
    clock.now += 100
    early = shop("POST", "shopping/pay/payBalance", {"orderId": order_id})
    assert early["code"] == 1603101
    confirmed = shop("PATCH", ORDER + "confirmOrder", {"orderId": order_id})
    assert plain(confirmed) == plain(sample("confirm_order")) | {"data": order_id}
    assert shop.status(order_id) == "UNPAID"
    assert shop("PATCH", ORDER + "confirmOrder", {"orderId": order_id})["code"] == 1603001
    assert plain(shop("POST", "shopping/pay/payBalance", {"orderId": order_id})) == plain(sample("pay_balance"))
    assert shop("POST", "shopping/pay/payBalance", {"orderId": order_id})["code"] == 1603101
    data = shop.detail(order_id)["data"]
    assert data["paymentDate"] == datetime.fromtimestamp(clock.now, UTC).strftime("%Y-%m-%d %H:%M:%S")
    for path, method in ((ORDER + "confirmOrder", "PATCH"), ("shopping/pay/payBalance", "POST")):
        assert shop(method, path, {"orderId": "SD1"})["code"] == 1603100
        assert shop(method, path, {})["code"] == 1600300


def test_a_balance_that_is_too_low_answers_as_the_sample(start):
    shop = start(balance="1.00")
    order_id = shop.made()
    shop("PATCH", ORDER + "confirmOrder", {"orderId": order_id})
    refused = shop("POST", "shopping/pay/payBalance", {"orderId": order_id})
    assert plain(refused) == plain(sample("pay_balance_insufficient"))
    assert (shop.status(order_id), shop.server.balance) == ("UNPAID", 1)
    shop.server.balance = Decimal(500)
    assert shop("POST", "shopping/pay/payBalance", {"orderId": order_id})["code"] == 200


@pytest.mark.parametrize("account", [False, True])
def test_the_sandbox_takes_no_money_and_no_stock(start, account):
    shop = start(balance="0.00", sandbox=account)
    order_id = shop.paid(**({} if account else {"isSandbox": 1}))
    assert (shop.status(order_id), shop.server.balance) == ("UNSHIPPED", 0)
    assert shop.server.orders[0].sandbox


def test_what_is_sold_is_no_longer_there(start):
    shop = start(balance="2000")
    shop.server.set_stock(shop.vid, 2, factory=3)
    shop.paid("A", {"vid": shop.vid, "quantity": 3})
    (row,) = shop("GET", f"product/stock/queryByVid?vid={shop.vid}")["data"]
    assert (row["cjInventoryNum"], row["factoryInventoryNum"]) == (0, 2)
    for number in ("B", "C"):
        shop("PATCH", ORDER + "confirmOrder", {"orderId": shop.made(number, {"vid": shop.vid, "quantity": 2})})
    first, second = (each.id for each in shop.server.orders[1:])
    before = shop.balance
    assert shop("POST", "shopping/pay/payBalance", {"orderId": first})["code"] == 200
    after = shop.balance
    assert shop("POST", "shopping/pay/payBalance", {"orderId": second})["code"] == 1603102
    assert (shop.balance, shop.status(second)) == (after, "UNPAID")
    assert before > after
    assert shop.create("D")["code"] == 1603102


# Reading.


def test_an_order_is_found_by_either_number_and_answers_as_the_sample(shop, clock):
    order_id = shop.paid()
    shop.server.ship(order_id, number="CJPDEMO0000000001YQ")
    by_id, by_number = shop.detail(order_id), shop.detail("DEMO-1001")
    assert plain(by_id) == plain(by_number)
    assert shape(by_id) == shape(sample("order_detail"))
    data = by_id["data"]
    wanted = sample("order_detail")["data"]
    for name in ("shippingCity", "shippingPhone", "orderStatus", "trackNumber", "trackingUrl", "logisticName"):
        assert data[name] == wanted[name]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", data["createDate"])
    assert shop("GET", f"{ORDER}getOrderDetail?orderId={order_id}&features=LOGISTICS_TIMELINESS")["code"] == 200


def test_an_unknown_order_answers_as_the_sample(shop):
    assert plain(shop.detail("DEMO-9")) == plain(sample("order_not_found"))
    assert shop("GET", ORDER + "getOrderDetail")["message"] != "order not found"


def test_lists_have_cancelled_orders_unless_a_status_is_given(shop):
    kept, dropped = [shop.made(f"K{number}") for number in range(5)], shop.made("D")
    assert shop("DELETE", f"{ORDER}deleteOrder?orderId={dropped}")["data"] == dropped
    default = shop("GET", ORDER + "list")
    assert [each["orderId"] for each in default["data"]["list"]] == [dropped]
    created = shop("GET", ORDER + "list?status=CREATED")
    assert [each["orderId"] for each in created["data"]["list"]] == kept[::-1]
    page = shop("GET", ORDER + "list?status=CREATED&pageNum=2&pageSize=2")["data"]
    assert (page["pageNum"], page["pageSize"], page["total"]) == (2, 2, 5)
    assert [each["orderId"] for each in page["list"]] == kept[::-1][2:4]
    two = shop("GET", f"{ORDER}list?status=CREATED&orderIds={kept[0]}&orderIds={kept[3]}")["data"]["list"]
    assert {each["orderId"] for each in two} == {kept[0], kept[3]}
    for wrong in ("status=created", "status=SENT", "pageNum=0", "pageSize=201"):
        assert shop("GET", f"{ORDER}list?{wrong}")["code"] == 1600300


def test_a_list_answers_as_the_sample(shop):
    shop.server.ship(shop.paid(), number="T1")
    reply = shop("GET", ORDER + "list?status=SHIPPED")
    assert shape(reply) == shape(sample("order_list"))
    shipment = shop.server.orders[0].shipment
    assert shop("GET", f"{ORDER}list?status=SHIPPED&shipmentOrderId={shipment}")["data"]["total"] == 1
    assert shop("GET", f"{ORDER}list?status=SHIPPED&shipmentOrderId=SP1")["data"]["total"] == 0


def test_only_new_orders_can_be_deleted(shop):
    def delete(order_id):
        return shop("DELETE", f"{ORDER}deleteOrder?orderId={order_id}")["code"]

    new, carted = shop.made("A"), shop.made("B")
    shop("POST", ORDER + "addCart", {"cjOrderIdList": [carted]})
    unpaid = shop.create("C", payType=1)["data"]["orderId"]
    paid = shop.create("D", payType=2)["data"]["orderId"]
    assert [delete(each) for each in (new, carted, unpaid, paid)] == [200, 200, 1603002, 1603002]
    assert (delete(new), delete("SD1")) == (1603002, 1603100)
    assert [shop.status(name) for name in "ABCD"] == ["CANCELLED", "CANCELLED", "UNPAID", "UNSHIPPED"]


# On the way.


def test_tracking_answers_as_the_sample(shop, clock):
    one, other = shop.paid("A"), shop.paid("B")
    shop.server.ship(one, number="T1")
    shop.server.ship(other, number="T2")
    clock.now += 9 * 86_400
    reply = shop("GET", "logistic/trackInfo?trackNumber=T2&trackNumber=T1&trackNumber=T2&trackNumber=T9")
    assert shape(reply)["data"] == shape(sample("track_info"))["data"] * 2
    assert [(each["trackingNumber"], each["deliveryDay"]) for each in reply["data"]] == [("T2", "9"), ("T1", "9")]
    assert {each["trackingStatus"] for each in reply["data"]} == {"In transit"}
    shop.server.deliver(one)
    (row,) = shop("GET", "logistic/trackInfo?trackNumber=T1")["data"]
    assert (row["trackingStatus"], shop.status("A")) == ("Delivered", "DELIVERED")
    assert row["deliveryTime"] == datetime.fromtimestamp(clock.now, UTC).strftime("%Y-%m-%d %H:%M:%S")
    assert shop("GET", "logistic/trackInfo")["code"] == 1600300
    assert shop("GET", "logistic/trackInfo?trackNumber=T9")["data"] == []


def test_only_what_is_paid_ships_and_only_what_is_shipped_arrives(shop):
    order_id = shop.made()
    for step in (shop.server.ship, shop.server.deliver):
        with pytest.raises(ValueError, match="CREATED"):
            step(order_id)
        with pytest.raises(ValueError, match="no order"):
            step("SD1")
    paid = shop.paid("B")
    assert shop.server.ship(paid).track_number
    with pytest.raises(ValueError, match="SHIPPED"):
        shop.server.ship(paid)
    with pytest.raises(ValueError, match="SHIPPED"):
        shop.server.cancel(paid)


def test_a_cancelled_order_gives_the_money_back(shop):
    order_id = shop.paid()
    assert shop.balance < 250
    shop.server.cancel(order_id)
    assert (shop.status(order_id), shop.balance) == ("CANCELLED", 250)


def test_a_split_order_becomes_several(start):
    shop = start(balance="2000")
    other = shop.server.variants("1795000000000000002")[0]
    order_id = shop.paid("A", {"vid": shop.vid, "quantity": 1}, {"vid": other, "quantity": 2})
    parts = shop.server.split(order_id)
    assert shop.status(order_id) == "OTHER"
    details = [shop.detail(each.id)["data"] for each in parts]
    assert [each["productList"][0]["vid"] for each in details] == [shop.vid, other]
    assert {each["orderStatus"] for each in details} == {"UNSHIPPED"}
    assert Counter(len(each["productList"]) for each in details) == {1: 2}


def test_a_reset_forgets_all_of_it(shop):
    shop.paid()
    shop.server.reset()
    assert shop.server.orders == ()
    assert shop.server.balance == 250
    assert shop.server.issued == 0
    shop.token = shop.server._shop.tokens.issue({"apiKey": shop.server.api_key})["accessToken"]
    assert shop.create()["code"] == 200
