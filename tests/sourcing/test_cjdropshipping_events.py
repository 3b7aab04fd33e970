"""CJ's push messages: verified on their raw bytes before anything is read, and without the account's secret."""

import asyncio
import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import to_json

from providers import Money, Providers, RawRequest, Ref, Settings
from providers.core.errors import BadResponseError, ProviderError, WebhookVerificationError
from providers.core.transport import HttpResponse
from providers.sourcing import (
    Address,
    CjSourcing,
    OrderItem,
    OrderRequest,
    OrderState,
    SourcingEvent,
    SourcingEventType,
    Tracking,
    TrackingEvent,
    TrackingState,
)
from providers.sourcing.cjdropshipping_events import parse, recognised, verify
from providers.testing.clock import ManualClock
from providers.testing.servers.cjdropshipping import CjServer

DATA = Path(__file__).parent.parent / "data" / "cjdropshipping"
OPEN_ID = "12312"
PID, VID = "1795000000000000001", "1795000000000000101"
ORDER = Ref(vendor="cjdropshipping", id="SD2611220001000000001")
PRODUCT = Ref(vendor="cjdropshipping", id=PID)


def sample(name):
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


def signed(body, key=OPEN_ID):
    """As the sheet has it, computed without our code."""
    digest = hmac.new(key.encode("ascii"), body, hashlib.sha256).digest()
    return RawRequest(body=body, headers={"Sign": base64.standard_b64encode(digest).decode("ascii")})


def message(kind, params, message_type="UPDATE", **more):
    return {"messageId": "m-1", "type": kind, "messageType": message_type, "params": params, **more}


def event(body):
    return parse(body if isinstance(body, bytes) else json.dumps(body).encode())


class Cj:
    def __init__(self):
        self.paths = []

    async def send(self, request):
        path = urlsplit(request.url).path.removeprefix("/api2.0/v1/")
        self.paths.append(path)
        name = {"authentication/getAccessToken": "get_access_token", "setting/get": "setting_get"}[path]
        return HttpResponse(200, {}, (DATA / f"{name}.json").read_bytes())

    async def aclose(self):
        return


def opened(vendor, **credentials):
    given = Settings(
        mode="live",
        vendors={"sourcing": "cjdropshipping"},
        credentials={"CJDROPSHIP_API_KEY": "CJ1@api@canary-key-0000"} | credentials,
        environ={},
        env_file=None,
    )
    return Providers(given, clock=ManualClock(), transport=vendor)


def received(vendor, *requests, **credentials):
    async def scenario():
        async with opened(vendor, **credentials) as providers:
            return [await providers.sourcing.webhook(request) for request in requests]

    return asyncio.run(scenario())


# Whether it is CJ's.

VECTOR = sample("webhook_signature_vector")


def test_the_signature_is_that_of_the_vector():
    body, sign = VECTOR["raw_body"].encode(), VECTOR["sign"]
    assert sign == "+H7RRk0TGUcqTTw7JCArSOxn/9Wj0Ly2Ei0O8SD5ov4="
    verify(RawRequest(body=body, headers={"sign": sign}), VECTOR["open_id"])
    assert signed(body).headers == {"sign": sign}


@given(body=st.binary(max_size=200), key=st.integers(0, 10**18))
def test_whatever_is_signed_is_verified_and_nothing_else(body, key):
    request = signed(body, str(key))
    verify(request, str(key))
    for other in (
        RawRequest(body=body + b" ", headers=request.headers),
        RawRequest(body=body, headers={"sign": request.headers["sign"].rstrip("=")}),
        RawRequest(body=body, headers={}),
    ):
        with pytest.raises(WebhookVerificationError):
            verify(other, str(key))
    with pytest.raises(WebhookVerificationError):
        verify(request, str(key + 1))


@pytest.mark.parametrize("sign", ["", "x", "ü", "\ud800", "0" * 10_000])
def test_a_bad_signature_is_refused_before_anything_is_read(sign):
    body = b'{"messageId": not json'
    with pytest.raises(WebhookVerificationError):
        received(Cj(), RawRequest(body=body, headers={"sign": sign}), CJDROPSHIP_OPEN_ID=OPEN_ID)
    with pytest.raises(BadResponseError):
        received(Cj(), signed(body), CJDROPSHIP_OPEN_ID=OPEN_ID)


def test_a_message_is_known_by_its_header_and_its_id():
    body = json.dumps(sample("webhook_stock")).encode()
    assert recognised(signed(body))
    assert not recognised(RawRequest(body=body))
    assert not recognised(signed(b'{"id": 1}'))


@pytest.mark.parametrize(
    ("credentials", "paths"),
    [
        # Given; come with the token; asked for once.
        ({"CJDROPSHIP_OPEN_ID": OPEN_ID}, []),
        ({}, ["authentication/getAccessToken"]),
        ({"CJDROPSHIP_ACCESS_TOKEN": "given-access-0000"}, ["setting/get"]),
    ],
)
def test_where_the_key_of_the_signature_comes_from(credentials, paths):
    vendor = Cj()
    request = signed(json.dumps(sample("webhook_stock")).encode())
    results = received(vendor, request, request, **credentials)
    assert [result.reply.status for result in results] == [200, 200]
    assert vendor.paths == paths


def test_another_accounts_message_is_refused():
    with pytest.raises(WebhookVerificationError):
        received(Cj(), signed(b'{"messageId": "1"}', "12313"))


# What it tells.


def test_a_product_changed():
    found = sample("webhook_product")
    assert event(found) == SourcingEvent(
        type=SourcingEventType.PRODUCT,
        event_id="00000000000000000000000000000001:PRODUCT",
        source="cjdropshipping",
        vendor="cjdropshipping",
        product=PRODUCT,
        changed=("productSellPrice",),
        price=Money(amount=Decimal("8.1"), currency="USD"),
        on_sale=True,
        raw=found,
    )


@pytest.mark.parametrize(
    ("kind", "status", "on_sale"),
    [("UPDATE", 2, False), ("UPDATE", "5", False), ("UPDATE", None, None), ("UPDATE", 9, None), ("DELETE", 3, False)],
)
def test_whether_a_product_is_on_sale(kind, status, on_sale):
    told = event(message("PRODUCT", {"pid": PID, "productStatus": status, "productSellPrice": None}, kind))
    assert (told.on_sale, told.price, told.changed) == (on_sale, None, ())


def test_a_variant_changed():
    told = event(message("VARIANT", {"vid": int(VID), "variantSellPrice": "8.10", "fields": ["variantSellPrice"]}))
    assert (told.type, told.variants, told.changed) == (SourcingEventType.VARIANT, (VID,), ("variantSellPrice",))
    assert (told.product, told.price) == (None, Money(amount=Decimal("8.10"), currency="USD"))
    assert event(message("VARIANT", {"vid": VID, "pid": PID})).product == PRODUCT


def test_stock_changed():
    told = event(sample("webhook_stock"))
    assert (told.type, told.variants) == (SourcingEventType.STOCK, (VID,))
    assert told.event_id == "00000000000000000000000000000002:STOCK"


def test_an_order_is_in_another_state():
    found = sample("webhook_order")
    assert event(found) == SourcingEvent(
        type=SourcingEventType.ORDER,
        event_id="00000000000000000000000000000003:ORDER",
        source="cjdropshipping",
        vendor="cjdropshipping",
        occurred_at=datetime(2026, 11, 21, 9, 10, tzinfo=UTC),
        order=ORDER,
        number="DEMO-1001",
        state=OrderState.SHIPPED,
        tracking=Tracking(
            ref=ORDER, state=TrackingState.IN_TRANSIT, number="CJPDEMO0000000001YQ", carrier="CJPacket Ordinary"
        ),
        raw=found,
    )
    told = event(message("ORDER", {"orderNumber": "DEMO-1001", "cjOrderId": None}, "ORDER_CONNNECTED"))
    assert (told.order, told.number, told.state, told.tracking) == (None, "DEMO-1001", OrderState.UNKNOWN, None)


@pytest.mark.parametrize("parts", [["SD1", 2], [{"orderId": "SD1"}, {"cjOrderId": 2}], [{"orderCode": "SD1"}, 2]])
def test_an_order_became_several(parts):
    told = event(message("ORDERSPLIT", {"originalOrderId": ORDER.id, "splitOrderList": parts}))
    assert (told.type, told.order) == (SourcingEventType.SPLIT, ORDER)
    assert told.refs == (Ref(vendor="cjdropshipping", id="SD1"), Ref(vendor="cjdropshipping", id="2"))


def test_a_parcel_moved():
    found = sample("webhook_logistic")
    without = {name: value for name, value in found.items() if name != "openId"}
    moment = datetime(2026, 11, 21, 15, 45, tzinfo=UTC)
    told = event(found)
    assert told == SourcingEvent(
        type=SourcingEventType.TRACKING,
        event_id="00000000000000000000000000000004:LOGISTIC",
        source="cjdropshipping",
        vendor="cjdropshipping",
        occurred_at=moment,
        order=ORDER,
        number="DEMO-1001",
        tracking=Tracking(
            ref=ORDER,
            state=TrackingState.IN_TRANSIT,
            number="CJPDEMO0000000001YQ",
            carrier="CJPacket Ordinary",
            url="https://example.com/track/CJPDEMO0000000001YQ",
            events=(
                TrackingEvent(
                    at=moment,
                    description="Departed transit hub",
                    location="Shenzhen, CN",
                    state=TrackingState.IN_TRANSIT,
                ),
            ),
        ),
        raw=without,
    )


def test_the_steps_of_a_parcel_are_told_from_the_oldest_on():
    steps = [
        {"status": 12, "activity": "Delivered", "eventTime": "2026-11-25 10:00:00"},
        {"status": "5", "statusDesc": "International transit", "eventTime": "2026-11-22 10:00:00"},
        {"status": 1, "activity": "Left", "eventTime": None},
    ]
    params = {"orderId": 5, "trackingStatus": "12", "logisticsTrackEvents": json.dumps(steps)}
    told = event(message("LOGISTIC", params))
    assert told.order == Ref(vendor="cjdropshipping", id="5")
    assert [step.description for step in told.tracking.events] == ["Left", "International transit", "Delivered"]
    assert told.tracking.state is TrackingState.DELIVERED
    assert told.tracking.delivered_at == told.occurred_at == datetime(2026, 11, 25, 10, tzinfo=UTC)
    for nothing in (None, "", "[]", []):
        told = event(message("LOGISTIC", {**params, "logisticsTrackEvents": nothing}))
        assert (told.tracking.events, told.occurred_at) == ((), None)


@pytest.mark.parametrize("kind", ["ORDER_REVIEWED", "", None, "product"])
@pytest.mark.parametrize("params", [None, [1], {"pid": 1}, "x"])
def test_what_is_not_known_is_unknown_whatever_it_holds(kind, params):
    told = event(message(kind, params))
    assert told.type is SourcingEventType.UNKNOWN
    assert told.event_id == f"m-1:{kind or ''}"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"<html>",
        message("PRODUCT", None),
        message("PRODUCT", {"pid": None}),
        message("STOCK", []),
        message("ORDERSPLIT", {"originalOrderId": "SD1", "splitOrderList": [{}]}),
        message("LOGISTIC", {"orderId": "SD1", "logisticsTrackEvents": "[{"}),
        message("LOGISTIC", {"orderId": "SD1", "logisticsTrackEvents": '"x"'}),
        {**message("STOCK", {}), "messageId": None},
    ],
)
def test_what_is_not_as_documented_is_an_error(body):
    with pytest.raises(BadResponseError):
        event(body)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
    | st.sampled_from(["SHIPPED", "2026-11-21 15:45:00", "[{}]", '[{"status": 5}]', VID, 12]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["pid", "vid", "orderId", "cjOrderId", "originalOrderId", "splitOrderList", "trackNumber",
                         "trackingStatus", "logisticsTrackEvents", "storeOrderNumbers", "fields", "openId",
                         "productSellPrice", "productStatus", "orderStatus", "updateDate", "params"]),
        inner, max_size=6),
    max_leaves=10,
)  # fmt: skip
KINDS = ["PRODUCT", "VARIANT", "STOCK", "ORDER", "ORDERSPLIT", "LOGISTIC", "OTHER"]
messages = st.builds(message, st.sampled_from(KINDS), values, st.sampled_from(["INSERT", "UPDATE", "DELETE"]))
bodies = st.binary(max_size=40) | (values | messages).map(lambda value: to_json(value, inf_nan_mode="constants"))


def names(value):
    if isinstance(value, dict):
        return {*value, *(name for one in value.values() for name in names(one))}
    return {name for one in value for name in names(one)} if isinstance(value, list) else set()


@settings(max_examples=300)
@given(bodies)
def test_whatever_is_signed_gives_an_event_or_an_error_of_ours(body):
    try:
        told = event(body)
    except ProviderError as error:
        told = error
    if isinstance(told, SourcingEvent):
        assert told.model_dump_json()
        assert "openId" not in names(told.raw)
    else:
        assert type(told) is BadResponseError


def test_the_secret_is_nowhere_in_an_event():
    secret = "987654321098"
    body = json.dumps(sample("webhook_logistic")).replace("12312", secret).encode()
    nested = json.dumps(message("PRODUCT", {"pid": PID, "more": [{"OPENID": secret}]}, openId=secret)).encode()
    for one in (body, nested):
        ((told,),) = [result.events for result in received(Cj(), signed(one, secret), CJDROPSHIP_OPEN_ID=secret)]
        assert secret not in repr(told) + repr(told.raw) + told.model_dump_json() + str(told.model_dump())


# With the local CJ.


class Inbox:
    """Takes what the server posts."""

    def __init__(self, path):
        self.requests = []
        self.path = path

    async def handle(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
        length = next(int(value) for name, value in headers.items() if name.lower() == "content-length")
        self.requests.append(RawRequest(body=await reader.readexactly(length), headers=headers))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()


def test_what_the_local_cj_pushes_is_verified_and_understood():
    clock = ManualClock()
    product = "1783526827990840000"
    address = Address(name="Alex Demo", line1="1 Example St", city="Springfield", region="California", country="US")

    async def scenario():
        inbox = Inbox("/hook")
        listening = await asyncio.start_server(inbox.handle, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        with CjServer(clock=clock.time, webhook_url=f"http://127.0.0.1:{port}/hook") as server:
            environ = {"PROVIDER_MODE": "live", "PROVIDER_SOURCING": "cjdropshipping", **server.env}
            async with Providers(Settings(environ=environ, env_file=None), clock=clock) as providers:
                sourcing = providers.sourcing
                await sourcing.watch([f"cjdropshipping:{product}"])
                server.set_price(product, "19.99")
                server.set_stock(server.variants(product)[0], 7)
                order = await sourcing.place_order(
                    OrderRequest(
                        items=[OrderItem(ref=f"cjdropshipping:{product}")],
                        address=address,
                        idempotency_key="order-1",
                        pay=True,
                    )
                )
                server.ship(order.refs[0].id, number="T1")
                server.deliver(order.refs[0].id)
                await asyncio.to_thread(server.flush)
                told = [one for request in inbox.requests for one in (await sourcing.webhook(request)).events]
                with pytest.raises(WebhookVerificationError):
                    await sourcing.webhook(RawRequest(body=inbox.requests[0].body, headers={"sign": "x"}))
                assert await sourcing.unwrap(CjSourcing).client.open_id() == OPEN_ID
        listening.close()
        await listening.wait_closed()
        return order.refs[0], told

    ref, told = asyncio.run(scenario())
    kinds = [one.type.value for one in told]
    assert {"product", "variant", "stock", "order", "tracking"} == set(kinds)
    assert next(one for one in told if one.type is SourcingEventType.PRODUCT).price.amount == Decimal("19.99")
    last = [one for one in told if one.type is SourcingEventType.TRACKING][-1]
    assert (last.order, last.number, last.tracking.number) == (ref, "order-1", "T1")
    assert last.tracking.state is TrackingState.DELIVERED
    assert len({one.event_id for one in told}) == len(told)
    assert OPEN_ID not in " ".join(repr(one.raw) for one in told if one.type is SourcingEventType.TRACKING)
