"""Orders: made, read, listed, deleted (shopping page of CJ's documents, createOrderV2)."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from providers.testing.servers._cjdropshipping import payments
from providers.testing.servers._cjdropshipping.call import (
    BAD_CARRIER,
    BAD_PARAMETER,
    DELETE_FAILED,
    OFF_SHELF,
    ORDER_EXISTS,
    Call,
    Obj,
    RefusalError,
    Route,
    needed,
    objects,
    quantity,
    wrong,
)
from providers.testing.servers._cjdropshipping.freight import CARRIERS, Quote, country, quotes
from providers.testing.servers._cjdropshipping.order import Line, Order, Status, by_either, known, turn
from providers.testing.servers._cjdropshipping.products import features

if TYPE_CHECKING:
    from providers.testing.servers._cjdropshipping.shop import Shop

LONGEST_NUMBER: Final = 50
LONGEST_LINE_ID: Final = 125
NO_LOGISTICS: Final = "logisticsMiss"
"""The outcome of a variant that no carrier takes."""

_REQUIRED: Final = (
    *("shippingCountryCode", "shippingCountry", "shippingProvince", "shippingCity", "shippingCustomerName"),
    *("shippingAddress", "logisticName", "fromCountryCode"),
)
_TAKES: Final = (
    "orderNumber products shippingZip shippingCounty shippingPhone shippingAddress2 houseNumber email taxId remark "
    "consigneeID shopAmount platform iossType iossNumber storageId orderFlow shopLogisticsType isSandbox payType "
) + " ".join(_REQUIRED)


def routes() -> Iterable[Route]:
    """All but cart and payment."""
    base = "shopping/order/"
    yield Route("POST", base + "createOrderV2", _TAKES, _create)
    yield Route("GET", base + "getOrderDetail", "orderId features", _detail)
    yield Route("GET", base + "list", "pageNum pageSize orderIds shipmentOrderId status", _list)
    yield Route("DELETE", base + "deleteOrder", "orderId", _delete)


def _create(shop: Shop, call: Call) -> Obj:
    body = call.body
    number = needed(body, "orderNumber", most=LONGEST_NUMBER)
    for name in _REQUIRED:
        needed(body, name)
    pay_type, sandbox = _choice(body, "payType", (1, 2, 3), 1), _choice(body, "isSandbox", (0, 1), 0)
    _choice(body, "iossType", (1, 2, 3), 1)
    origin, destination = country(body, "fromCountryCode"), country(body, "shippingCountryCode")
    if body["logisticName"] not in {each.name for each in CARRIERS}:
        raise RefusalError(BAD_CARRIER)
    if number in shop.numbers:
        raise RefusalError(ORDER_EXISTS)
    lines, unknown = _lines(shop, body)
    if unknown is not None:
        return _foreign(number, unknown)
    for each in lines:
        shop.shelf.check(each.product, each.variant, origin, each.quantity)
    outcome = next((shop.outcomes[each.variant.vid] for each in lines if each.variant.vid in shop.outcomes), "")
    grams = sum(each.variant.weight * each.quantity for each in lines)
    quote = next(
        (each for each in quotes(origin, destination, grams) if each.carrier.name == body["logisticName"]), None
    )
    if quote is not None:
        for name in quote.carrier.needs:
            needed(body, name)
    made = _make(shop, body, lines, None if outcome == NO_LOGISTICS else quote, sandbox=bool(sandbox or shop.sandbox))
    if outcome and outcome != NO_LOGISTICS:
        code, _, words = outcome.partition(":")
        made.reason = (int(code), words)
    if pay_type != 3 and made.reason is None and not made.logistics_miss:
        payments.ship_together(shop, [made])
        if pay_type == 2:
            payments.pay(shop, [made])
    return _created(made, with_page=pay_type == 1)


def _choice(body: Obj, name: str, allowed: tuple[int, ...], default: int) -> int:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or value not in allowed:
        raise wrong(f"{name} is one of {', '.join(map(str, allowed))}")
    return int(value)


def _lines(shop: Shop, body: Obj) -> tuple[list[Line], str | None]:
    """The lines of an order; or the SKU that is none of CJ's."""
    lines: list[Line] = []
    for given in objects(body, "products"):
        amount = quantity(given, "products[].")
        store_line = given.get("storeLineItemId")
        if store_line is not None:
            needed(given, "storeLineItemId", where="products[].", most=LONGEST_LINE_ID)
        if given.get("vid") is not None:
            one, variant = shop.shelf.variant(needed(given, "vid", where="products[]."))
        else:
            sku = needed(given, "sku", where="products[].")
            try:
                one, chosen = shop.shelf.by_sku(sku)
            except RefusalError as refusal:
                if refusal.code == OFF_SHELF:
                    raise
                return [], sku
            variant = chosen or one.variants[0]
        line_id = f"{shop.today}{shop.next_number():013d}"
        lines.append(Line(one, variant, amount, shop.shelf.price(one, variant), line_id, store_line))
    return lines, None


def _make(shop: Shop, body: Obj, lines: list[Line], quote: Quote | None, *, sandbox: bool) -> Order:
    now = shop.clock()
    made = Order(
        id=f"SD{shop.today}{shop.next_number():013d}",
        number=str(body["orderNumber"]),
        request=body,
        lines=lines,
        postage=Decimal(0) if quote is None else quote.total,
        created=now,
        sandbox=sandbox,
        logistics_miss=quote is None,
        updated=now,
    )
    made.amount = made.product_amount + made.postage
    shop.orders[made.id] = made
    shop.numbers[made.number] = made
    return made


def _created(made: Order, *, with_page: bool) -> Obj:
    product, postage, amount = float(made.product_amount), float(made.postage), float(made.amount)
    return {
        "orderNumber": made.number,
        "orderId": made.id,
        "shipmentOrderId": made.shipment,
        "iossAmount": None,
        "iossTaxHandlingFee": None,
        "postageAmount": postage,
        "productAmount": product,
        "productOriginalAmount": product,
        "productDiscountAmount": 0,
        "postageDiscountAmount": 0,
        "postageOriginalAmount": postage,
        "totalDiscountAmount": amount,
        "actualPayment": amount,
        "orderOriginalAmount": amount,
        "cjPayUrl": f"https://example.com/pay/{made.id}" if with_page and made.status is Status.UNPAID else None,
        "orderAmount": amount,
        "logisticsMiss": made.logistics_miss,
        "productInfoList": [
            {
                "storeLineItemId": each.store_line_id,
                "lineItemId": each.line_id,
                "variantId": each.variant.vid,
                "isGroup": False,
                "quantity": each.quantity,
                "subOrderProducts": [],
            }
            for each in made.lines
        ],
        "orderStatus": made.status.value,
        "interceptOrderReasons": ([] if made.reason is None else [{"code": made.reason[0], "message": made.reason[1]}]),
    }


def _foreign(number: str, sku: str) -> Obj:
    """The reply for a SKU that CJ does not have: 200, and nothing made."""
    nothing = dict.fromkeys(
        (
            *("orderId", "shipmentOrderId", "iossAmount", "iossTaxHandlingFee", "postageAmount", "productAmount"),
            *("productOriginalAmount", "productDiscountAmount", "postageDiscountAmount", "postageOriginalAmount"),
            *("totalDiscountAmount", "actualPayment", "orderOriginalAmount", "cjPayUrl", "orderAmount"),
        )
    )
    return {
        "orderNumber": number,
        **nothing,
        "logisticsMiss": False,
        "productInfoList": [],
        "orderStatus": None,
        "interceptOrderReasons": [{"code": 1602000, "message": f"{sku[:50]} is not connected to a CJ product"}],
    }


def _detail(shop: Shop, call: Call) -> Obj:
    features(call)
    found = by_either(shop, call.need("orderId"))
    if found is None:
        raise RefusalError(BAD_PARAMETER, "order not found")
    return found.detail()


def _list(shop: Shop, call: Call) -> Obj:
    page, size = call.whole("pageNum", 1, 1, 1_000_000), call.whole("pageSize", 20, 1, 200)
    status = call.text("status") or Status.CANCELLED.value
    if status not in Status.__members__:
        raise wrong(f"status is one of {', '.join(Status)}")
    names, shipment = frozenset(call.query.all("orderIds")), call.text("shipmentOrderId")
    found = [
        each
        for each in reversed(shop.orders.values())
        if each.status.value == status
        and (not names or each.id in names)
        and (shipment is None or each.shipment == shipment)
    ]
    shown = found[(page - 1) * size : page * size]
    return {"pageNum": page, "pageSize": size, "total": len(found), "list": [each.detail() for each in shown]}


def _delete(shop: Shop, call: Call) -> str:
    found = known(shop, call.need("orderId"))
    if found.status not in (Status.CREATED, Status.IN_CART):
        raise RefusalError(DELETE_FAILED)
    turn(shop, found, Status.CANCELLED)
    return found.id
