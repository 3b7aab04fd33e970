"""Push messages: the sheet's vector, bodies as the samples, subscriptions, deliveries; control routes; the command."""

import base64
import hashlib
import hmac
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.testing.servers.cjdropshipping import LOCAL_OPEN_ID, CjServer, signature

SAMPLES = Path(__file__).parent.parent / "data" / "cjdropshipping"
BASE = "/api2.0/v1/"
PID = "1795000000000000001"
TOPICS = ("product", "stock", "order", "logistics")


def sample(name):
    return json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))


def names(value):
    """Names and JSON types; null is any type."""
    if isinstance(value, dict):
        return {name: names(each) for name, each in value.items()}
    return "number" if isinstance(value, int | float) else type(value).__name__


@pytest.fixture
def start(clock, receiver):
    """Starts servers, and closes them before the receiver, which they may be posting to."""
    receiver.status = 200
    started = []

    def start(**options):
        started.append(CjServer(**{"clock": clock, "webhook_url": receiver.hook, "balance": "2000"} | options).start())
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture
def ask(call):
    tokens = {}

    def ask(server, method, path, body=None):
        if server not in tokens:
            tokens[server] = server._shop.tokens.issue({"apiKey": server.api_key})["accessToken"]
        return call(server, method, BASE + path, body, key="", headers={"CJ-Access-Token": tokens[server]}).json

    return ask


@pytest.fixture
def paid(ask):
    """An order that was paid."""

    def paid(server, *pids, number="DEMO-1001"):
        lines = [{"vid": server.variants(pid)[0], "quantity": 1} for pid in pids or (PID,)]
        address = ("shippingCountry", "shippingProvince", "shippingCity", "shippingCustomerName", "shippingAddress")
        body = dict.fromkeys(address, "Springfield") | {
            "orderNumber": number,
            "shippingCountryCode": "US",
            "fromCountryCode": "CN",
            "logisticName": "CJPacket Ordinary",
            "products": lines,
            "payType": 2,
        }
        return ask(server, "POST", "shopping/order/createOrderV2", body)["data"]["orderId"]

    return paid


def settings(url, **changes):
    return {topic: {"type": "ENABLE", "callbackUrls": [url]} for topic in TOPICS} | changes


def taken(server, receiver):
    """What arrived, each with the right signature."""
    server.flush()
    assert server.pending_messages == 0
    for request in receiver.requests:
        digest = hmac.new(str(LOCAL_OPEN_ID).encode(), request.body, hashlib.sha256).digest()
        assert request.headers["sign"] == base64.b64encode(digest).decode()
        assert request.headers["Content-Type"] == "application/json"
    messages = [request.json() for request in receiver.requests]
    receiver.reset()
    return messages


# The signature.


def test_the_signature_is_that_of_the_vector():
    vector = sample("webhook_signature_vector")
    assert signature(int(vector["open_id"]), vector["raw_body"].encode()) == vector["sign"]
    assert signature(vector["open_id"], vector["raw_body"].encode()) == vector["sign"]
    assert signature(int(vector["open_id"]) + 1, vector["raw_body"].encode()) != vector["sign"]


@given(st.integers(0, 10**12), st.binary(max_size=200))
def test_the_signature_is_an_hmac_by_its_definition(key, body):
    """RFC 2104 by hand: the key is shorter than a block."""
    block = str(key).encode().ljust(64, b"\0")
    inner = hashlib.sha256(bytes(each ^ 0x36 for each in block) + body).digest()
    outer = hashlib.sha256(bytes(each ^ 0x5C for each in block) + inner).digest()
    assert signature(key, body) == base64.b64encode(outer).decode()


def test_a_message_can_be_signed_to_be_posted_by_hand():
    headers, body = CjServer().signed_request({"messageId": "1", "type": "ORDER"})
    assert headers["sign"] == signature(LOCAL_OPEN_ID, body)
    assert json.loads(body) == {"messageId": "1", "type": "ORDER"}


# What is told.


def test_shipping_and_delivery_are_told_as_in_the_samples(start, receiver, paid):
    server = start()
    order_id = paid(server)
    server.ship(order_id, number="CJPDEMO0000000001YQ")
    server.move(order_id, 5, place="Shenzhen, CN")
    server.deliver(order_id)
    messages = taken(server, receiver)
    assert [each["type"] for each in messages] == ["ORDER", "LOGISTIC", "LOGISTIC", "ORDER", "LOGISTIC"]
    assert len({each["messageId"] for each in messages}) == 5
    shipped, left, transit, delivered, arrived = messages
    wanted = sample("webhook_order")
    assert names(shipped) == names(wanted)
    for name in ("orderNumber", "orderStatus", "logisticName", "trackNumber"):
        assert shipped["params"][name] == wanted["params"][name]
    assert shipped["params"]["cjOrderId"] == order_id
    assert delivered["params"]["orderStatus"] == "DELIVERED"
    assert delivered["params"]["deliveryDate"]
    wanted = sample("webhook_logistic")
    for each, status in ((left, 1), (transit, 5), (arrived, 12)):
        assert names(each) == names(wanted)
        assert (each["openId"], each["params"]["orderId"]) == (LOCAL_OPEN_ID, order_id)
        assert (each["params"]["trackingStatus"], each["params"]["storeOrderNumbers"]) == (status, ["DEMO-1001"])
        events = json.loads(each["params"]["logisticsTrackEvents"])
        assert {*events[0]} == {*json.loads(wanted["params"]["logisticsTrackEvents"])[0]}
        assert events[0]["status"] == status
    assert [each["status"] for each in json.loads(arrived["params"]["logisticsTrackEvents"])] == [12, 5, 1]


def test_a_split_and_a_cancelled_order_are_told(start, receiver, paid):
    server = start()
    whole, dropped = paid(server, PID, "1795000000000000002"), paid(server, number="DEMO-2")
    parts = server.split(whole)
    server.cancel(dropped)
    split, cancelled = taken(server, receiver)
    assert (split["type"], split["params"]["originalOrderId"]) == ("ORDERSPLIT", whole)
    assert [each["orderCode"] for each in split["params"]["splitOrderList"]] == [each.id for each in parts]
    assert cancelled["params"]["orderStatus"] == "CANCELLED"


def test_products_are_told_only_to_who_subscribed(start, receiver, ask):
    server = start()
    vid, *others = server.variants(PID)
    server.set_price(PID, "8.10")
    server.set_stock(vid, 120)
    assert taken(server, receiver) == []
    assert ask(server, "POST", "webhook/product/subscribe", {"productIds": [PID]})["data"] is True
    server.set_price(PID, "8.10")
    server.set_stock(vid, 120)
    server.set_price("1795000000000000002", "8.10")
    server.take_off(PID)
    product, *variants, stock, off = taken(server, receiver)
    assert names(product) == names(sample("webhook_product"))
    assert product["params"] == sample("webhook_product")["params"]
    assert [each["params"]["vid"] for each in variants] == [vid, *others]
    assert {each["type"] for each in variants} == {"VARIANT"}
    assert variants[0]["params"]["variantSellPrice"] == 8.1
    wanted = sample("webhook_stock")
    assert names(stock) == names(wanted | {"params": {vid: []}})
    (row,) = stock["params"][vid]
    assert names(row) == names(next(iter(wanted["params"].values()))[0])
    assert (row["storageNum"], row["countryCode"]) == (120, "CN")
    assert (off["params"]["productStatus"], off["params"]["fields"]) == (2, ["productStatus"])


def test_nobody_is_told_after_unsubscribing(start, receiver, ask):
    server = start()
    ask(server, "POST", "webhook/product/subscribe", {"productIds": [PID, "1795000000000000002"]})
    assert server.subscribed == {PID, "1795000000000000002"}
    ask(server, "POST", "webhook/product/unsubscribe", {"productIds": [PID]})
    server.set_price(PID, "1")
    assert taken(server, receiver) == []


def test_subscriptions_have_bounds(start, ask):
    server = start()
    many = [str(1795000000001000000 + number * 100) for number in range(101)]
    for refused in (many, [], None, "x", [5]):
        assert ask(server, "POST", "webhook/product/subscribe", {"productIds": refused})["code"] == 1600300
    assert ask(server, "POST", "webhook/product/subscribe", {"productIds": ["1795000000000000404"]})["code"] == 1602001
    assert server.subscribed == frozenset()
    assert ask(server, "POST", "webhook/product/subscribe", {"productIds": many[:100]})["code"] == 200


# Where it goes.


def test_setting_webhooks_answers_as_the_sample(start, receiver, ask, paid):
    server = start(webhook_url=None)
    server.ship(paid(server))
    assert server.pending_messages == 0
    reply = ask(server, "POST", "webhook/set", settings(receiver.hook, product={"type": "CANCEL", "callbackUrls": []}))
    assert reply | {"requestId": ""} == sample("webhook_set") | {"requestId": ""}
    assert server.webhooks == dict.fromkeys(("stock", "order", "logistics"), receiver.hook)
    callback = ask(server, "GET", "setting/get")["data"]["callback"]
    assert (callback["productType"], callback["productCallbackUrls"]) == ("CANCEL", [])
    assert (callback["orderType"], callback["orderCallbackUrls"]) == ("ENABLE", [receiver.hook])
    server.ship(paid(server, number="B"))
    assert [each["type"] for each in taken(server, receiver)] == ["ORDER", "LOGISTIC"]
    nobody = {"type": "CANCEL"}
    ask(
        server,
        "POST",
        "webhook/set",
        settings(receiver.hook, order=nobody, logistics={"type": "ALL"} | {"callbackUrls": [receiver.hook]}),
    )
    server.ship(paid(server, number="C"))
    assert [each["type"] for each in taken(server, receiver)] == ["LOGISTIC"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        *(({topic: None}, 1600300) for topic in TOPICS),
        ({"order": {"type": "ENABLE", "callbackUrls": []}}, 1600300),
        ({"order": {"type": "ENABLE"}}, 1600300),
        ({"order": {"type": "ON", "callbackUrls": ["https://shop.example.com"]}}, 1600300),
        ({"order": {"type": "ENABLE", "callbackUrls": ["https://a.example.com", "https://b.example.com"]}}, 1600300),
        ({"order": {"type": "ENABLE", "callbackUrls": "https://a.example.com"}}, 1600300),
        ({"makeup": {"type": "ENABLE"}}, 1600300),
        ({"order": {"type": "ENABLE", "callbackUrls": ["http://shop.example.com/hook"]}}, 1606000),
        ({"order": {"type": "ENABLE", "callbackUrls": ["shop.example.com"]}}, 1606000),
        ({"order": {"type": "ENABLE", "callbackUrls": ["https://"]}}, 1606000),
        ({"order": {"type": "ENABLE", "callbackUrls": ["https://[::1"]}}, 1606000),
        ({"order": {"type": "ENABLE", "callbackUrls": [5]}}, 1606000),
    ],
)
def test_webhooks_that_are_refused_change_nothing(start, receiver, ask, changes, code):
    server = start()
    before = server.webhooks
    assert ask(server, "POST", "webhook/set", settings("https://shop.example.com/hook", **changes))["code"] == code
    assert server.webhooks == before


def test_http_and_this_machine_only_where_allowed(start, receiver, ask):
    strict, open_ = start(allow_http_webhooks=False), start()
    for url, codes in (
        (receiver.hook, (1606000, 200)),
        ("https://localhost/hook", (1606000, 200)),
        ("https://[::1]/hook", (1606000, 200)),
        ("https://shop.example.com/hook", (200, 200)),
    ):
        assert tuple(ask(each, "POST", "webhook/set", settings(url))["code"] for each in (strict, open_)) == codes


def test_any_message_can_be_pushed(start, receiver):
    server = start()
    vector = json.loads(sample("webhook_signature_vector")["raw_body"])
    name = server.push("STOCK", "UPDATE", vector["params"])
    (message,) = taken(server, receiver)
    assert message == vector | {"messageId": name}
    with pytest.raises(ValueError, match="NEWS"):
        server.push("NEWS", "UPDATE", {})
    assert start(webhook_url=None).push("STOCK", "UPDATE", {}) is None


def test_the_url_of_all_topics_can_be_set_later(start, receiver, paid):
    server = start(webhook_url=None)
    server.webhook_url = receiver.hook
    server.ship(paid(server))
    assert [each["type"] for each in taken(server, receiver)] == ["ORDER", "LOGISTIC"]
    server.webhook_url = None
    server.ship(paid(server, number="B"))
    assert taken(server, receiver) == []


# Deliveries.


def test_what_is_not_taken_with_200_is_tried_three_times_more(start, receiver):
    server = start()
    receiver.status = 204
    name = server.push("ORDER", "UPDATE", {})
    assert [server.flush() for _ in range(6)] == [0] * 6
    assert server.pending_messages == 0
    assert [each["messageId"] for each in receiver.batches] == [name] * 4


def test_a_message_that_failed_arrives_later(start, receiver):
    server = start()
    receiver.status = 500
    server.push("ORDER", "UPDATE", {})
    server.flush()
    assert server.pending_messages == 1
    receiver.status = 200
    assert server.flush() == 1
    assert server.flush() == 0


def test_messages_go_out_by_themselves(start, receiver):
    server = start()
    server.push("ORDER", "UPDATE", {"orderNumber": "Ä"})
    (request,) = receiver.wait_for_requests(1)
    assert request.json()["params"] == {"orderNumber": "Ä"}


def test_messages_come_twice_and_out_of_order_if_told_so(start, receiver):
    server = start(duplicate=True, shuffle=True, webhook_url=None)
    server._shop.hooks.urls["order"] = receiver.hook
    with server._lock:
        sent = [server._shop.hooks.put("ORDER", "UPDATE", {}) for _ in range(8)]
    got = [each["messageId"] for each in taken(server, receiver)]
    assert sorted(got) == sorted(sent * 2)
    assert list(dict.fromkeys(got)) != sent


def test_a_reset_forgets_settings_and_messages(start, receiver, ask):
    server = start()
    ask(server, "POST", "webhook/set", settings("https://shop.example.com/hook"))
    ask(server, "POST", "webhook/product/subscribe", {"productIds": [PID]})
    server.reset()
    assert (server.pending_messages, server.subscribed) == (0, frozenset())
    assert set(server.webhooks.values()) == {receiver.hook} == {server.webhook_url}


# Control routes and the command.


def test_control_routes_do_what_the_methods_do(start, receiver, call, ask, paid):
    server = start()
    order_id, other = paid(server), paid(server, number="B")
    vid = server.variants(PID)[0]
    ask(server, "POST", "webhook/product/subscribe", {"productIds": [PID]})
    seen = server.request_count

    def control(path, body=None):
        answer = call(server, "POST", f"/_control/{path}", {} if body is None else body, key="")
        assert answer.status < 300, answer.body
        return answer.json if answer.body else None

    assert control("ship", {"order": order_id, "number": "T1"})["trackNumber"] == "T1"
    assert control("deliver", {"order": "DEMO-1001"})["orderStatus"] == "DELIVERED"
    assert control("cancel", {"order": other})["orderStatus"] == "CANCELLED"
    control("set_price", {"product": PID, "price": "3.21"})
    control("set_stock", {"variant": vid, "stock": 5, "factory": 6})
    assert control("push", {"type": "ORDER", "params": {"a": 1}})["messageId"]
    assert control("flush")["pending"] == 0
    kinds = [request.json()["type"] for request in receiver.requests]
    assert {*kinds} == {"ORDER", "LOGISTIC", "PRODUCT", "VARIANT", "STOCK"}
    assert ask(server, "GET", f"product/query?pid={PID}")["data"]["sellPrice"] == "3.21"
    listed = call(server, "GET", "/_control/orders", key="").json
    assert [each["orderStatus"] for each in listed["orders"]] == ["DELIVERED", "CANCELLED"]
    assert listed["orders"][0]["request"]["orderNumber"] == "DEMO-1001"
    control("expire_token")
    assert ask(server, "GET", "setting/get")["code"] == 1600001
    control("revoke")
    body = {"apiKey": server.api_key}
    assert call(server, "POST", BASE + "authentication/getAccessToken", body, key="").json["code"] == 1600005
    assert server.request_count == seen + 3


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("ship", {}),
        ("ship", {"order": "SD1"}),
        ("deliver", []),
        ("cancel", {"order": 5}),
        ("set_price", {"product": PID}),
        ("set_price", {"product": "x", "price": "1"}),
        ("set_stock", {"variant": "x", "stock": 1}),
        ("set_stock", {"variant": "1795000000001000001", "stock": "1"}),
        ("push", {"type": "NEWS"}),
    ],
)
def test_control_routes_refuse_what_cannot_be(start, call, path, body):
    assert call(start(), "POST", f"/_control/{path}", body, key="").status == 400


def test_the_command_takes_the_options(call):
    command = [sys.executable, "-m", "providers.testing.servers", "cjdropshipping"]
    options = ["--found", "3", "--points", "70", "--open-id", "99", "--balance", "1.50", "--sandbox"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        said = json.loads(process.stdout.readline())
        assert (said["vendor"], said["env"]["PROVIDER_CJDROPSHIPPING_BASE_URL"]) == ("cjdropshipping", said["url"])

        class Remote:
            url = said["url"]

        body = {"apiKey": said["env"]["CJDROPSHIP_API_KEY"]}
        pair = call(Remote, "POST", BASE + "authentication/getAccessToken", body, key="").json["data"]
        headers = {"CJ-Access-Token": pair["accessToken"]}
        assert pair["openId"] == 99
        get = [
            call(Remote, "GET", BASE + path, key="", headers=headers).json
            for path in ("product/listV2", "product/listV2", "shopping/pay/getBalance", "setting/get")
        ]
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, "", "")
    found, short, balance, setting = get
    assert (found["data"]["totalRecords"], short["code"]) == (3, 16900500)
    assert (balance["data"]["amount"], setting["data"]["isSandbox"]) == (1.5, True)
