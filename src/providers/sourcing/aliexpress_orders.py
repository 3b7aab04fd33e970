"""Orders as AliExpress takes and shows them, and the way of their parcels."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING

from providers.core.errors import BadResponseError, InvalidRequestError
from providers.core.models import Ref
from providers.sourcing.aliexpress_errors import method_error, place_error
from providers.sourcing.aliexpress_products import VENDOR
from providers.sourcing.aliexpress_values import (
    amount,
    as_id,
    as_list,
    as_object,
    as_objects,
    moment,
    text,
    whole,
    yes,
)
from providers.sourcing.orders import (
    OrderedItem,
    OrderPart,
    OrderState,
    Placed,
    Tracking,
    TrackingEvent,
    TrackingState,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import JsonValue

    from providers.sourcing.aliexpress_values import Object
    from providers.sourcing.orders import Address, OrderDraft

STATES: Mapping[str, OrderState] = MappingProxyType(
    {
        "PLACE_ORDER_SUCCESS": OrderState.UNPAID,
        "RISK_CONTROL": OrderState.PROCESSING,
        "WAIT_SELLER_SEND_GOODS": OrderState.PROCESSING,
        "WAIT_BUYER_ACCEPT_GOODS": OrderState.SHIPPED,
        "FUND_PROCESSING": OrderState.DELIVERED,
    }
)

FINISHED: Mapping[str, OrderState] = MappingProxyType(
    {
        "BUYER_ACCEPT_GOODS": OrderState.DELIVERED,
        "SELLER_SEND_GOODS": OrderState.DELIVERED,
        "NO_LOGISTICS": OrderState.CANCELLED,
        "WAIT_SELLER_SEND_GOODS": OrderState.CANCELLED,
    }
)
"""`FINISH` is the end of every order, also of those that were never sent: `logistics_status` tells them apart."""

PAID = frozenset({OrderState.PROCESSING, OrderState.SHIPPED, OrderState.DELIVERED})

EUROPE = "AT BE BG CY CZ DE DK EE ES FI FR GB GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK"

TAX_IDS: Mapping[str, str] = MappingProxyType(
    {
        "BR": "cpf",
        "CL": "rut_no",
        **dict.fromkeys(EUROPE.split(" "), "vat_no"),
    }
)
"""Which field of an address holds the recipient's number, by country; elsewhere `tax_number`."""

OWN_FIELDS = frozenset({"out_order_id", "product_items"})
"""What an order is known and priced by: not to be replaced behind its back."""

INTERNATIONAL = re.compile(
    r"(?:\+|00)(1|7|2[07]|3[0123469]|4[013456789]|5[12345678]|6[0123456]|8[1246]|9[0123458]|[2-9]\d\d)(\d+)"
)
"""A number with its country's calling code (ITU E.164): one figure, one of the listed two, or three."""

NOTHING_YET = "1001"


def request(draft: OrderDraft) -> Object:
    """The order."""
    items: list[JsonValue] = []
    for line in draft.lines:
        item: Object = {
            "product_id": line.order_id or line.product.id,
            "product_count": line.quantity,
            "sku_attr": line.sku,
        }
        if line.shipping is not None:
            item["logistics_service_name"] = line.shipping.code
        if draft.note:
            item["order_memo"] = draft.note
        items.append(item)
    address = _address(draft.address)
    made: Object = {"out_order_id": draft.number, "product_items": items, "logistics_address": address}
    for name, value in draft.options.items():
        if name in OWN_FIELDS:
            field = f"vendor_options.{VENDOR}.{name}"
            raise InvalidRequestError(f"{field}: it is made of the order itself", field=field)
        made[name] = {**address, **value} if name == "logistics_address" and isinstance(value, dict) else value
    return made


def extension(draft: OrderDraft) -> Object:
    """What goes beside the order: the currency, and whether to take the money at once."""
    return {
        "payment": {"pay_currency": draft.currency, "try_to_pay": "true" if draft.pay else "false"},
        "trade_extra_param": {"business_model": "retail"},
    }


def placed(payload: Object, draft: OrderDraft) -> Placed:
    """What was made of a request: one order for each store. What they cost, and whether they are paid, is not told."""
    result = as_object(payload.get("result"), "result")
    made, ids = yes(result.get("is_success")), as_list(result.get("order_list"), "number")
    if made is False and not ids:
        raise place_error(result, payload)
    if not made or not ids:
        msg = "the reply does not say whether the order was made"
        raise BadResponseError(msg, code="reply", request_id=text(payload.get("request_id")) or None)
    refs = [Ref(vendor=VENDOR, id=as_id(id_, "number")) for id_ in ids]
    # Which line went to which store is not told.
    items = tuple(
        OrderedItem(product=line.product.id, variant=line.variant, quantity=line.quantity, price=line.price)
        for line in (draft.lines if len(refs) == 1 else ())
    )
    return Placed(
        orders=tuple(
            OrderPart(
                source=draft.source,
                state=OrderState.UNKNOWN if draft.pay else OrderState.UNPAID,
                ref=ref,
                number=draft.number,
                items=items,
                paid=None if draft.pay else False,
                raw=result,
            )
            for ref in refs
        )
    )


def ordered(result: Object, ref: Ref) -> OrderPart:
    """The answer of `trade.ds.order.get`. Its times are of a zone that is nowhere told: they stay in `raw`.

    The tracking number can be a provisional one; `trackings` has the final one.
    """
    status, logistics = text(result.get("order_status")), text(result.get("logistics_status"))
    if not status:
        raise BadResponseError("the reply is not as documented: order_status: none", code="reply")
    states = FINISHED if status == "FINISH" else STATES
    state = states.get(logistics if status == "FINISH" else status, OrderState.UNKNOWN)
    paid = False if state is OrderState.UNPAID else True if state in PAID else None
    parcels = as_objects(result.get("logistics_info_list"), "aeop_order_logistics_info")
    sent = [one for one in parcels if text(one.get("logistics_no"))]
    parcel: Object = sent[0] if sent else {}
    children = as_objects(result.get("child_order_list"), "aeop_child_order_info")
    return OrderPart(
        source=VENDOR,
        state=state,
        ref=ref,
        items=tuple(_item(child) for child in children),
        total=amount(result.get("user_order_amount")) or amount(result.get("order_amount")),
        paid=paid,
        tracking_number=text(parcel.get("logistics_no")) or None,
        carrier=text(parcel.get("logistics_service")) or None,
        raw=result,
    )


def tracked(payload: Object, ref: Ref) -> Tracking:
    """The answer of `ds.order.tracking.get`, of the first parcel; newest first there, oldest first here."""
    result = as_object(payload.get("result"), "result")
    if not yes(result.get("ret")):
        if text(result.get("code")) == NOTHING_YET:
            return Tracking(ref=ref, state=TrackingState.PENDING, raw=result)
        raise method_error(result, {}, payload)
    data = as_object(result.get("data"), "data")
    parcels = as_objects(data.get("tracking_detail_line_list"), "tracking_detail")
    if not parcels:
        return Tracking(ref=ref, state=TrackingState.PENDING, raw=result)
    parcel = parcels[0]
    nodes = as_objects(parcel.get("detail_node_list"), "detail_node")
    events = tuple(_event(node) for node in reversed(nodes))
    known = [one for one in events if one.state is not TrackingState.UNKNOWN]
    nothing = TrackingState.UNKNOWN if events else TrackingState.PENDING
    return Tracking(
        ref=ref,
        state=known[-1].state if known else nothing,
        number=text(parcel.get("mail_no")) or None,
        carrier=text(parcel.get("carrier_name")) or None,
        events=events,
        delivered_at=next((one.at for one in known if one.state is TrackingState.DELIVERED), None),
        raw=result,
    )


def _event(node: Object) -> TrackingEvent:
    """The vendor's words for what happened are not listed: those that are ours are taken, `CREATED` besides."""
    name = text(node.get("tracking_name"))
    state = TrackingState.PENDING if name == "CREATED" else TrackingState(name.lower())
    return TrackingEvent(
        at=moment(node.get("time_stamp")), description=text(node.get("tracking_detail_desc")) or name, state=state
    )


def _item(child: Object) -> OrderedItem:
    return OrderedItem(
        product=text(child.get("product_id")),
        title=text(child.get("product_name")),
        quantity=whole(child.get("product_count")) or 1,
        price=amount(child.get("product_price")),
    )


def _address(address: Address) -> Object:
    """Without what is empty."""
    number = re.sub(r"[^\d+]", "", address.phone)
    split = INTERNATIONAL.fullmatch(number)
    country, phone = (split[1], split[2]) if split else ("", number)
    fields: dict[str, str] = {
        "country": address.country,
        "province": address.region,
        "city": address.city,
        "address": address.line1,
        "address2": address.line2,
        "zip": address.postal_code,
        "contact_person": address.name,
        "full_name": address.name,
        "phone_country": country,
        "mobile_no": phone,
        "locale": "en_US",
        TAX_IDS.get(address.country, "tax_number"): address.tax_id,
    }
    return {name: value for name, value in fields.items() if value}
