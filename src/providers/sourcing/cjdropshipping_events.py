"""CJ's push messages: whether they are CJ's, and what they tell.

CJ signs the raw body with the account's openId, and nothing but the body: no time. Drop repeats by `event_id`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Annotated

from pydantic import BeforeValidator, JsonValue

from providers.core.errors import BadResponseError, WebhookVerificationError
from providers.core.json import from_json
from providers.core.models import Json, RawRequest
from providers.core.signatures import hmac_sha256, same
from providers.sourcing.cjdropshipping_client import OPEN_ID, read
from providers.sourcing.cjdropshipping_orders import STATES, Moment, order_ref, tracking_state
from providers.sourcing.cjdropshipping_products import product_ref
from providers.sourcing.cjdropshipping_values import (
    ON_SALE,
    VENDOR,
    CjReply,
    Id,
    MaybeId,
    Objects,
    Prices,
    Text,
    dollars,
    listed,
)
from providers.sourcing.events import SourcingEvent, SourcingEventType
from providers.sourcing.orders import OrderState, Tracking, TrackingEvent, TrackingState

SIGNATURE = "sign"
MESSAGE_ID = b'"messageId"'
DELETE = "DELETE"
OLDEST = datetime.min.replace(tzinfo=UTC)

ON_ITS_WAY: Mapping[OrderState, TrackingState] = MappingProxyType(
    {OrderState.SHIPPED: TrackingState.IN_TRANSIT, OrderState.DELIVERED: TrackingState.DELIVERED}
)


def recognised(request: RawRequest) -> bool:
    """Whether it has the form of CJ's messages."""
    return SIGNATURE in request.headers and MESSAGE_ID in request.body


def verify(request: RawRequest, open_id: str) -> None:
    """Check the header `sign`. Raises `WebhookVerificationError`."""
    given = request.headers.get(SIGNATURE, "")
    expected = base64.b64encode(bytes.fromhex(hmac_sha256(open_id, request.body))).decode()
    # A signature is ASCII; comparing anything else may fail to encode it.
    if not given.isascii() or not same(given, expected):
        raise WebhookVerificationError("the signature is not that of this CJ account", code="signature")


class _Message(CjReply):
    message_id: Id
    type: Text = ""
    message_type: Text = ""
    params: Json = None


def parse(body: bytes) -> SourcingEvent:
    """The event of a verified body. Raises `BadResponseError` for what is not as documented.

    A type that is not known here is `UNKNOWN`, whatever it holds.
    """
    try:
        found = from_json(body)
    except ValueError:
        msg = f"the message is not JSON ({len(body)} bytes)"
        raise BadResponseError(msg, code="event") from None
    raw = _without_open_id(found)
    message = read(_Message, raw)
    kind, reader = TYPES.get(message.type, (SourcingEventType.UNKNOWN, None))
    told = {} if reader is None else reader(message)
    return SourcingEvent.model_validate(
        {
            "type": kind,
            "event_id": f"{message.message_id}:{message.type}",
            "source": VENDOR,
            "vendor": VENDOR,
            "raw": raw,
            **told,
        }
    )


def _without_open_id(value: JsonValue) -> JsonValue:
    """The message without the account's secret, wherever it stands."""
    if isinstance(value, dict):
        return {name: _without_open_id(one) for name, one in value.items() if name.lower() != OPEN_ID.lower()}
    return [_without_open_id(one) for one in value] if isinstance(value, list) else value


class _Product(CjReply):
    pid: Id
    product_sell_price: Prices = None
    product_status: Text = ""
    fields: Annotated[tuple[Text, ...], BeforeValidator(listed)] = ()


def _product(message: _Message) -> dict[str, object]:
    found = read(_Product, message.params)
    # Null says nothing here.
    on_sale = False if message.message_type == DELETE else ON_SALE.get(found.product_status)
    price = found.product_sell_price
    return {
        "product": product_ref(found.pid),
        "changed": found.fields,
        "price": None if price is None else dollars(price.low),
        "on_sale": on_sale,
    }


class _Variant(CjReply):
    vid: Id
    pid: MaybeId = ""
    variant_sell_price: Prices = None
    fields: Annotated[tuple[Text, ...], BeforeValidator(listed)] = ()


def _variant(message: _Message) -> dict[str, object]:
    found = read(_Variant, message.params)
    price = found.variant_sell_price
    return {
        "product": product_ref(found.pid) if found.pid else None,
        "variants": (found.vid,),
        "changed": found.fields,
        "price": None if price is None else dollars(price.low),
        "on_sale": False if message.message_type == DELETE else None,
    }


def _stock(message: _Message) -> dict[str, object]:
    if not isinstance(message.params, dict):
        raise BadResponseError("the message is not as documented: params", code="event")
    return {"variants": tuple(message.params)}


class _Order(CjReply):
    cj_order_id: MaybeId = ""
    order_number: Text = ""
    order_status: Text = ""
    track_number: Text = ""
    logistic_name: Text = ""
    update_date: Moment = None
    delivery_date: Moment = None


def _order(message: _Message) -> dict[str, object]:
    found = read(_Order, message.params)
    ref = order_ref(found.cj_order_id) if found.cj_order_id else None
    state = STATES.get(found.order_status, OrderState.UNKNOWN)
    parcel: Tracking | None = None
    if ref is not None and found.track_number:
        parcel = Tracking(
            ref=ref,
            state=ON_ITS_WAY.get(state, TrackingState.PENDING),
            number=found.track_number,
            carrier=found.logistic_name or None,
        )
    return {
        "order": ref,
        "number": found.order_number,
        "state": state,
        "tracking": parcel,
        "occurred_at": found.update_date,
    }


class _Split(CjReply):
    original_order_id: Id
    split_order_list: Annotated[tuple[JsonValue, ...], BeforeValidator(listed)] = ()


class _Part(CjReply):
    order_id: Id


def _split(message: _Message) -> dict[str, object]:
    found = read(_Split, message.params)
    parts = [read(_Part, {"orderId": _id_of(one)}) for one in found.split_order_list]
    return {
        "order": order_ref(found.original_order_id),
        "refs": tuple(order_ref(one.order_id) for one in parts),
    }


def _id_of(part: JsonValue) -> JsonValue:
    """An order's id, whatever it is called, or as it stands there."""
    if not isinstance(part, dict):
        return part
    return next((part[name] for name in ("orderId", "cjOrderId", "orderCode") if part.get(name)), None)


class _Event(CjReply):
    status: Text = ""
    activity: Text = ""
    location: Text = ""
    event_time: Moment = None
    status_desc: Text = ""


class _Events(CjReply):
    events: Objects


class _Logistic(CjReply):
    order_id: Id
    store_order_numbers: Annotated[tuple[Text, ...], BeforeValidator(listed)] = ()
    logistic_name: Text = ""
    tracking_number: Text = ""
    tracking_url: Text = ""
    tracking_status: Text = ""
    logistics_track_events: JsonValue = None


def _logistic(message: _Message) -> dict[str, object]:
    found = read(_Logistic, message.params)
    ref, state = order_ref(found.order_id), tracking_state(found.tracking_status)
    events = _events(found.logistics_track_events)
    moments = [event.at for event in events if event.at is not None]
    delivered = [event.at for event in events if event.state is TrackingState.DELIVERED and event.at is not None]
    parcel = Tracking(
        ref=ref,
        state=state,
        number=found.tracking_number or None,
        carrier=found.logistic_name or None,
        url=found.tracking_url or None,
        events=events,
        delivered_at=delivered[0] if delivered and state is TrackingState.DELIVERED else None,
    )
    return {
        "order": ref,
        "number": next((number for number in found.store_order_numbers if number), ""),
        "tracking": parcel,
        "occurred_at": max(moments, default=None),
    }


def _events(value: JsonValue) -> tuple[TrackingEvent, ...]:
    """A list, as JSON text; the oldest first."""
    if isinstance(value, str):
        try:
            value = from_json(value.encode("utf-8", "replace")) if value else None
        except ValueError:
            raise BadResponseError("logisticsTrackEvents: not JSON", code="event") from None
    found = [read(_Event, one) for one in read(_Events, {"events": value}).events]
    events = [
        TrackingEvent(
            at=one.event_time,
            description=one.activity or one.status_desc,
            location=one.location or None,
            state=tracking_state(one.status),
        )
        for one in found
    ]
    return tuple(sorted(events, key=lambda event: event.at or OLDEST))


TYPES: Mapping[str, tuple[SourcingEventType, Callable[[_Message], dict[str, object]]]] = MappingProxyType(
    {
        "PRODUCT": (SourcingEventType.PRODUCT, _product),
        "VARIANT": (SourcingEventType.VARIANT, _variant),
        "STOCK": (SourcingEventType.STOCK, _stock),
        "ORDER": (SourcingEventType.ORDER, _order),
        "ORDERSPLIT": (SourcingEventType.SPLIT, _split),
        "LOGISTIC": (SourcingEventType.TRACKING, _logistic),
    }
)
