"""Orders and parcels: the samples' shapes, what an order is refused for, and the life of one that is not."""

import hmac
import json
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlencode

import pytest

from providers.testing.servers.aliexpress import AliExpressServer, Logistics, Status

SAMPLES = Path(__file__).parent.parent / "data" / "aliexpress"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
ONE, NEIGHBOUR, FAR = "1005001234567890", "1005001234567891", "1005001111111110"
ADDRESS = {
    "country": "US",
    "province": "Oregon",
    "city": "Portland",
    "address": "1 Main St",
    "zip": "97201",
    "contact_person": "Ana Doe",
    "full_name": "Ana Doe",
    "phone_country": "+1",
    "mobile_no": "5035550100",
}
DAY = 86_400


def sample(name):
    return json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))


def alike(wanted, got, where="$"):
    """Every key of the sample is in the answer, with a value of the same JSON type."""
    assert type(wanted) is type(got), where
    if isinstance(wanted, dict):
        for name, value in wanted.items():
            assert name in got, f"{where}.{name}"
            alike(value, got[name], f"{where}.{name}")
    elif isinstance(wanted, list):
        assert len(got) >= len(wanted), where
        for place, (one, other) in enumerate(zip(wanted, got, strict=False)):
            alike(one, other, f"{where}[{place}]")


class Buyer(AliExpressServer):
    """The server, and ways to ask it: the inside of the answer."""

    def ask(self, name, /, **given):
        form = {"app_key": self.app_key, "sign_method": "sha256", "timestamp": str(int(self.clock() * 1000))}
        form |= {"method": name, "format": "json", "session": self.access_token, **given}
        text = "".join(f"{each}{form[each]}" for each in sorted(form, key=str.encode))
        form["sign"] = hmac.new(self.app_secret.encode(), text.encode(), "sha256").hexdigest().upper()
        answer = self.caller(self, "POST", "/sync", data=urlencode(form).encode(), headers=FORM).json
        return answer.get(name.replace(".", "_") + "_response") or answer["error_response"]

    def skus(self, product_id=ONE, country="US", currency="USD"):
        given = {"product_id": product_id, "ship_to_country": country, "target_currency": currency}
        result = self.ask("aliexpress.ds.product.get", **given)["result"]
        return result["ae_item_sku_info_dtos"]["ae_item_sku_info_d_t_o"]

    def item(self, product_id=ONE, count=1, **changes):
        sku = self.skus(product_id)[0]["sku_attr"] if product_id != "1" else ""
        given = {"product_id": product_id, "product_count": count, "sku_attr": sku, **changes}
        return {"logistics_service_name": "CAINIAO_FULFILLMENT_STD", "order_memo": "no invoice", **given}

    def order(self, *items, address=ADDRESS, out_order_id=None, extend=None, **more):
        request = {"product_items": [*items] or [self.item()], "logistics_address": address, **more}
        if out_order_id is not None:
            request["out_order_id"] = out_order_id
        given = {"param_place_order_request4_open_api_d_t_o": json.dumps(request)}
        if extend is not None:
            given["ds_extend_request"] = json.dumps(extend)
        answer = self.ask("aliexpress.ds.order.create", **given)
        return answer.get("result", answer)

    def made(self, *items, **options):
        return [str(each) for each in self.order(*items, **options)["order_list"]["number"]]

    def get(self, order_id):
        answer = self.ask("aliexpress.trade.ds.order.get", single_order_query=json.dumps({"order_id": order_id}))
        return answer.get("result", answer)

    def track(self, order_id):
        return self.ask("aliexpress.ds.order.tracking.get", ae_order_id=order_id, language="en_US")["result"]

    def nodes(self, order_id):
        (parcel,) = self.track(order_id)["data"]["tracking_detail_line_list"]["tracking_detail"]
        return parcel["detail_node_list"]["detail_node"]


@pytest.fixture
def buyer(clock, call):
    started = []

    def start(**options):
        started.append(Buyer(clock=clock, **options).start())
        started[-1].caller = call
        return started[-1]

    yield start
    for server in started:
        server.close()


# Placing.


def test_an_order_has_the_samples_shape_and_is_kept_with_its_request(buyer):
    server = buyer()
    result = server.order(out_order_id="o-1")
    (wanted,) = sample("order_create_success").values()
    alike(wanted["result"], result)
    (number,) = result["order_list"]["number"]
    assert number > 2**53
    (order,) = server.orders
    assert (order.order_id, order.out_order_id, order.country) == (str(number), "o-1", "US")
    assert order.request["logistics_address"] == ADDRESS
    assert order.status is Status.UNPAID


def test_a_request_becomes_one_order_per_store(buyer):
    server = buyer()
    items = [server.item(ONE), server.item(FAR), server.item(NEIGHBOUR, count=2)]
    first, second = server.made(*items, out_order_id="o-1")
    children = server.get(first)["child_order_list"]["aeop_child_order_info"]
    assert [(each["product_id"], each["product_count"]) for each in children] == [(ONE, "1"), (NEIGHBOUR, "2")]
    assert server.get(second)["child_order_list"]["aeop_child_order_info"]["product_id"] == FAR
    assert server.get(first)["store_info"]["store_id"] != server.get(second)["store_info"]["store_id"]


def test_an_order_number_of_ours_is_taken_once_in_a_day(buyer, clock):
    server = buyer()
    server.made(out_order_id="o-1")
    again = server.order(out_order_id="o-1")
    assert (again["is_success"], again["error_code"]) == (False, "REPEATED_ORDER_ERROR")
    assert "order_list" not in again
    server.made(out_order_id="o-2")
    clock.now += DAY
    server.made(out_order_id="o-1")
    assert [each.out_order_id for each in server.orders] == ["o-1", "o-2", "o-1"]


def test_a_refused_order_does_not_use_up_its_number(buyer):
    server = buyer()
    assert server.order(server.item(logistics_service_name="PIGEON"), out_order_id="o-1")["is_success"] is False
    assert len(server.made(out_order_id="o-1")) == 1


def test_without_dedupe_and_without_a_number_every_request_is_an_order(buyer):
    server = buyer(dedupe=False)
    for _ in range(2):
        server.made(out_order_id="o-1")
    assert len(server.orders) == 2
    server = buyer()
    for _ in range(2):
        server.made()
    assert len(server.orders) == 2


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"province": None}, "B_DROPSHIPPER_DELIVERY_ADDRESS_VALIDATE_FAIL", "Please select a State/Province/County"),
        ({"province": "OR"}, "B_DROPSHIPPER_DELIVERY_ADDRESS_VALIDATE_FAIL", "Please select a State/Province/County"),
        ({"city": None}, "B_DROPSHIPPER_DELIVERY_ADDRESS_VALIDATE_FAIL", "Please enter a City"),
        ({"address": ""}, "B_DROPSHIPPER_DELIVERY_ADDRESS_VALIDATE_FAIL", "Address"),
        ({"zip": "12"}, "B_DROPSHIPPER_DELIVERY_ADDRESS_VALIDATE_FAIL", "ZIP"),
        ({"mobile_no": "503 555"}, "B_DROPSHIPPER_DELIVERY_ADDRESS_VALIDATE_FAIL", "phone number"),
        ({"phone_country": None}, "B_DROPSHIPPER_DELIVERY_ADDRESS_VALIDATE_FAIL", "phone number"),
        ({"contact_person": "A Doe"}, "B_DROPSHIPPER_DELIVERY_ADDRESS_VALIDATE_FAIL", "2 - 32"),
        ({"country": "BR", "province": "Bahia"}, "B_DROPSHIPPER_DELIVERY_ADDRESS_VALIDATE_FAIL", "CPF"),
        ({"country": "XX"}, "A005_INVALID_COUNTRIES", "A005"),
    ],
)
def test_an_address_that_is_no_good_is_refused_in_the_vendors_words(buyer, changes, code, words):
    server = buyer()
    address = {name: value for name, value in {**ADDRESS, **changes}.items() if value is not None}
    result = server.order(address=address)
    (wanted,) = sample("order_create_rejected").values()
    assert result.keys() == wanted["result"].keys()
    assert (result["is_success"], result["error_code"]) == (False, code)
    assert words in result["error_msg"]
    assert server.orders == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"country": "BR", "province": "Bahia", "cpf": "12345678909"},
        {"country": "MT", "province": "", "city": "Valletta", "zip": "VLT 1117"},
        {"city": "Other", "province": "Other"},
    ],
)
def test_addresses_elsewhere_are_taken(buyer, changes):
    assert len(buyer().made(address={**ADDRESS, **changes})) == 1


def test_cities_are_checked_against_the_list_when_asked_to(buyer):
    server = buyer(listed_cities=True)
    assert server.order(address={**ADDRESS, "city": "Bend"})["error_msg"] == "Please enter a City"
    for city in ("Portland", "Other"):
        server.made(address={**ADDRESS, "city": city})


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"logistics_service_name": "PIGEON"}, "DELIVERY_METHOD_NOT_EXIST"),
        ({"sku_attr": "14:1#Nothing"}, "ERROR_WHEN_BUILD_FOR_PLACE_ORDER"),
        ({"product_id": "1", "sku_attr": ""}, "ERROR_WHEN_BUILD_FOR_PLACE_ORDER"),
        ({"count": 9_999}, "INVENTORY_HOLD_ERROR"),
    ],
)
def test_an_item_that_cannot_be_had_refuses_the_whole_order(buyer, changes, code):
    server = buyer()
    assert server.order(server.item(FAR), server.item(**changes))["error_code"] == code
    assert server.orders == ()


def test_stock_that_was_set_runs_down_over_items_and_orders_and_comes_back(buyer):
    server = buyer()
    server.set_stock(ONE, server.skus()[0]["sku_id"], 2)
    assert server.order(server.item(), server.item(count=2))["error_code"] == "INVENTORY_HOLD_ERROR"
    (order_id,) = server.made(server.item(count=2))
    assert server.skus()[0]["sku_available_stock"] == 0
    assert server.order()["error_code"] == "INVENTORY_HOLD_ERROR"
    server.cancel(order_id)
    assert server.skus()[0]["sku_available_stock"] == 2


def test_what_is_off_the_shelf_not_sold_or_not_delivered_cannot_be_ordered(buyer):
    server = buyer()
    item = server.item()
    server.not_delivered(ONE, "US")
    assert server.order(item)["error_code"] == "DELIVERY_METHOD_NOT_EXIST"
    server.not_sold(ONE, "US")
    assert server.order(item)["error_code"] == "ERROR_WHEN_BUILD_FOR_PLACE_ORDER"
    server.reset()
    server.set_status(ONE, "offline")
    assert server.order(item)["error_code"] == "ERROR_WHEN_BUILD_FOR_PLACE_ORDER"


def test_an_empty_sku_attr_will_do_only_where_there_is_one_sku(buyer):
    server = buyer()
    ids = [str(1005000000000010 + 10 * place) for place in range(1, 30)]
    single = next(each for each in ids if len(server.skus(each)) == 1)
    several = next(each for each in ids if len(server.skus(each)) > 1)
    assert len(server.made(server.item(single, sku_attr=""))) == 1
    assert server.order(server.item(several, sku_attr=""))["error_code"] == "ERROR_WHEN_BUILD_FOR_PLACE_ORDER"


def test_without_a_service_the_free_one_is_taken(buyer):
    server = buyer()
    (order_id,) = server.made(server.item(logistics_service_name=""))
    child = server.get(order_id)["child_order_list"]["aeop_child_order_info"]
    assert child["actual_shipping_fee"] == {"amount": "0.00", "currency_code": "USD"}


@pytest.mark.parametrize(
    ("request_changes", "code", "name"),
    [
        ({"product_items": []}, "MissingParameter", "product_items"),
        ({"product_items": {"product_id": 1}}, "InvalidParameter", "product_items"),
        ({"product_items": [7]}, "InvalidParameter", "product_items[0]"),
        ({"product_items": [{"product_id": ONE}]}, "MissingParameter", "product_items[0].product_count"),
        ({"product_items": [{"product_id": ONE, "product_count": 0}]}, "InvalidParameter", "product_count"),
        ({"logistics_address": {}}, "MissingParameter", "logistics_address.country"),
        ({"logistics_address": "Portland"}, "InvalidParameter", "logistics_address"),
        ({"logistics_address": {**ADDRESS, "street": "1"}}, "InvalidParameter", "logistics_address.street"),
        ({"note": "x"}, "InvalidParameter", "note"),
    ],
)
def test_what_is_wrong_within_a_request_is_named(buyer, request_changes, code, name):
    refused = buyer().order(**{"address": ADDRESS, **request_changes})
    assert refused["code"] == code
    assert f'{name}"' in refused["msg"]


def test_success_can_come_as_text(buyer):
    server = buyer(flags_as_text=True)
    assert server.order()["is_success"] == "true"
    assert server.order(server.item(logistics_service_name="PIGEON"))["is_success"] == "false"


def test_a_staged_rejection_and_an_answer_lost_after_the_order_was_made(buyer):
    server = buyer()
    server.fail("aliexpress.ds.order.create", "USER_ACCOUNT_DISABLED", "Buyer account has been disabled")
    refused = server.order()
    assert (refused["error_code"], refused["error_msg"]) == (
        "USER_ACCOUNT_DISABLED",
        "Buyer account has been disabled",
    )
    assert server.orders == ()
    server.refuse("15", method="aliexpress.ds.order.create", after=True)
    assert server.order(out_order_id="o-1")["code"] == "15"
    assert len(server.orders) == 1
    assert server.order(out_order_id="o-1")["error_code"] == "REPEATED_ORDER_ERROR"


# Money.


def test_amounts_are_those_of_product_and_freight_and_the_buyer_pays_the_tax_too(buyer):
    server = buyer()
    (order_id,) = server.made(server.item(count=3), server.item(NEIGHBOUR))
    shown = server.get(order_id)
    amount, tax = Decimal(0), Decimal(0)
    for child in shown["child_order_list"]["aeop_child_order_info"]:
        assert child["product_price"]["amount"] == server.skus(child["product_id"])[0]["offer_sale_price"]
        amount += Decimal(child["product_price"]["amount"]) * int(child["product_count"])
        amount += Decimal(child["actual_shipping_fee"]["amount"])
        tax += Decimal(child["actual_tax_fee"]["amount"])
    first = shown["child_order_list"]["aeop_child_order_info"][0]
    assert first["actual_shipping_fee"] == {"amount": "2.99", "currency_code": "USD"}
    assert shown["order_amount"] == {"amount": str(amount), "currency_code": "USD"}
    assert shown["user_order_amount"] == {"amount": str(amount + tax), "currency_code": "USD"}
    assert tax > 0


def test_the_currency_to_pay_in_is_chosen_and_must_be_one(buyer):
    server = buyer()
    address = {**ADDRESS, "country": "DE", "province": "Berlin", "city": "Berlin", "zip": "10115"}
    (order_id,) = server.made(address=address, extend={"payment": {"pay_currency": "EUR"}})
    shown = server.get(order_id)
    assert shown["user_order_amount"]["currency_code"] == "EUR"
    price = shown["child_order_list"]["aeop_child_order_info"]["product_price"]["amount"]
    assert price == server.skus(ONE, "DE", "EUR")[0]["offer_sale_price"]
    refused = server.order(extend={"payment": {"pay_currency": "XXX"}})
    assert refused["error_code"] == "PRICE_PAY_CURRENCY_ERROR"


def test_an_order_is_paid_at_once_only_when_asked_for_in_so_many_letters(buyer):
    server = buyer()
    (unpaid,) = server.made(extend={"payment": {"try_to_pay": "false"}, "trade_extra_param": {"business_model": "x"}})
    (paid,) = server.made(extend={"payment": {"try_to_pay": "true"}})
    assert [server.get(each)["order_status"] for each in (unpaid, paid)] == [Status.UNPAID, Status.PAID]
    assert server.order(extend={"payment": {"try_to_pay": True}})["code"] == "InvalidParameter"


# Reading back.


def test_an_order_that_was_shipped_has_the_samples_shape(buyer):
    server = buyer()
    (order_id,) = server.made()
    server.ship(order_id)
    (wanted,) = sample("trade_order_get").values()
    shown = server.get(order_id)
    alike(wanted["result"], shown)
    assert (shown["order_status"], shown["logistics_status"]) == ("WAIT_BUYER_ACCEPT_GOODS", "SELLER_SEND_GOODS")


def test_an_unknown_order_is_a_backends_refusal(buyer):
    refused = buyer().get("9180000000000999")
    assert (refused["code"], refused["sub_code"]) == ("15", "isv.insufficient-permission")


def test_an_order_can_take_a_while_to_be_known(buyer, clock):
    server = buyer(visible_after=10)
    (order_id,) = server.made()
    assert server.get(order_id)["code"] == "15"
    clock.now += 10
    assert server.get(order_id)["order_status"] == "PLACE_ORDER_SUCCESS"


def test_an_order_goes_through_its_states(buyer, clock):
    server = buyer()
    (order_id,) = server.made()

    def states():
        shown = server.get(order_id)
        return shown["order_status"], shown["logistics_status"]

    assert states() == (Status.UNPAID, Logistics.NONE)
    assert server.get(order_id)["pay_timeout_second"].isdecimal()
    assert "logistics_info_list" not in server.get(order_id)
    server.pay(order_id, checked=False)
    assert states() == ("RISK_CONTROL", "WAIT_SELLER_SEND_GOODS")
    assert "pay_timeout_second" not in server.get(order_id)
    server.pay(order_id)
    assert states() == ("WAIT_SELLER_SEND_GOODS", "WAIT_SELLER_SEND_GOODS")
    server.ship(order_id)
    assert states() == ("WAIT_BUYER_ACCEPT_GOODS", "SELLER_SEND_GOODS")
    server.deliver(order_id, settled=False)
    assert states() == ("FUND_PROCESSING", "BUYER_ACCEPT_GOODS")
    server.deliver(order_id)
    assert states() == ("FINISH", "BUYER_ACCEPT_GOODS")
    for step in (server.pay, server.ship, server.deliver, server.cancel):
        with pytest.raises(ValueError, match="is FINISH"):
            step(order_id)
    with pytest.raises(ValueError, match="no order has the id 7"):
        server.pay("7")


def test_steps_that_were_left_out_are_made_up_for(buyer):
    server = buyer()
    first, second = server.made(server.item(ONE), server.item(FAR))
    with pytest.raises(ValueError, match="has no parcel"):
        server.move(first, "IN_TRANSIT", "Seen")
    server.deliver(first)
    server.ship(second)
    assert [each.status for each in server.orders] == [Status.FINISHED, Status.SHIPPED]
    assert all("order_paidtime_string" in server.get(each) for each in (first, second))
    assert [each["tracking_name"] for each in server.nodes(first)] == ["DELIVERED", "IN_TRANSIT", "CREATED"]


def test_a_cancelled_order_is_finished_too_but_says_why(buyer):
    server = buyer()
    (order_id,) = server.made()
    server.cancel(order_id)
    shown = server.get(order_id)
    assert (shown["order_status"], shown["logistics_status"]) == ("FINISH", "NO_LOGISTICS")
    assert shown["child_order_list"]["aeop_child_order_info"]["end_reason"] == "CANCELED"


def test_an_order_that_is_not_paid_lapses(buyer, clock):
    server = buyer()
    unpaid, paid = server.made(server.item(ONE), server.item(FAR))
    server.pay(paid)
    clock.now += int(server.get(unpaid)["pay_timeout_second"]) - 1
    assert server.get(unpaid)["order_status"] == Status.UNPAID
    clock.now += 1
    assert [each.status for each in server.orders] == [Status.FINISHED, Status.PAID]
    assert server.get(unpaid)["child_order_list"]["aeop_child_order_info"]["end_reason"] == "PAY_TIMEOUT"


# Tracking.


def test_there_is_nothing_to_track_before_a_parcel_was_seen(buyer):
    server = buyer()
    (order_id,) = server.made()
    (wanted,) = sample("order_tracking_not_found").values()
    assert server.track(order_id) == wanted["result"]
    assert server.track("9180000000000999") == wanted["result"]
    server.ship(order_id, events=False)
    assert server.track(order_id) == wanted["result"]
    server.move(order_id, "IN_TRANSIT", "Seen")
    assert server.track(order_id)["ret"] is True


def test_tracking_has_the_samples_shape(buyer):
    server = buyer()
    (order_id,) = server.made()
    server.ship(order_id)
    (wanted,) = sample("order_tracking_get").values()
    alike(wanted["result"], server.track(order_id))


def test_events_are_newest_first_and_their_times_numbers_or_text(buyer, clock):
    server = buyer()
    (order_id,) = server.made()
    clock.now += DAY
    server.ship(order_id)
    clock.now += DAY
    server.move(order_id, "CUSTOMS", "Held at customs")
    clock.now += DAY
    server.deliver(order_id)
    nodes = server.nodes(order_id)
    assert [each["tracking_name"] for each in nodes] == ["DELIVERED", "CUSTOMS", "IN_TRANSIT", "CREATED"]
    assert [type(each["time_stamp"]) for each in nodes] == [int, str, int, str]
    times = [int(each["time_stamp"]) for each in nodes]
    assert times == [int(clock.now * 1000) - each * DAY * 1000 for each in range(4)]


def test_the_number_of_an_order_is_provisional_and_tracking_has_the_final_one(buyer):
    server = buyer()
    (order_id,) = server.made()
    server.ship(order_id, "420972019400100000000001")
    provisional = server.get(order_id)["logistics_info_list"]["aeop_order_logistics_info"]["logistics_no"]
    (parcel,) = server.track(order_id)["data"]["tracking_detail_line_list"]["tracking_detail"]
    assert provisional.startswith("LP")
    assert parcel["mail_no"] == "420972019400100000000001"
    assert parcel["carrier_name"] == "AliExpress Selection Standard"


def test_an_order_can_go_in_two_parcels(buyer):
    server = buyer()
    (order_id,) = server.made(server.item(ONE), server.item(NEIGHBOUR))
    for number in ("A1", "B2"):
        server.ship(order_id, number)
    listed = server.get(order_id)["logistics_info_list"]["aeop_order_logistics_info"]
    assert len({each["logistics_no"] for each in listed}) == 2
    parcels = server.track(order_id)["data"]["tracking_detail_line_list"]["tracking_detail"]
    assert [each["mail_no"] for each in parcels] == ["A1", "B2"]


# Control routes.


def test_orders_can_be_read_and_moved_over_the_wire(buyer, call):
    server = buyer()
    (order_id,) = server.made(out_order_id="o-1")
    steps = [("pay", Status.PAID), ("ship?number=A1", Status.SHIPPED), ("deliver", Status.FINISHED)]
    for step, status in steps:
        answer = call(server, "POST", f"/_control/orders/{order_id}/{step}")
        assert (answer.status, answer.json["status"]) == (200, status)
    (listed,) = call(server, "GET", "/_control/orders").json["orders"]
    assert (listed["order_id"], listed["out_order_id"], listed["tracking"]) == (order_id, "o-1", ["A1"])
    assert listed["request"]["logistics_address"] == ADDRESS
    refused = call(server, "POST", f"/_control/orders/{order_id}/cancel")
    assert (refused.status, "is FINISH" in refused.json["error"]) == (400, True)
    assert call(server, "POST", "/_control/reset").status == 204
    assert server.orders == ()
