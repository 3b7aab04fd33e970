"""An order, and how it is found."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from providers.testing.servers._cjdropshipping.call import NO_ORDER, Obj, RefusalError
from providers.testing.servers._cjdropshipping.catalog import Product, Variant
from providers.testing.servers._cjdropshipping.times import utc_text

if TYPE_CHECKING:
    from providers.testing.servers._cjdropshipping.shop import Shop

PACKAGE: Final = 25
"""Grams of the wrapping of a piece."""


class Status(StrEnum):
    """The life of an order."""

    CREATED = "CREATED"
    IN_CART = "IN_CART"
    UNPAID = "UNPAID"
    UNSHIPPED = "UNSHIPPED"
    SHIPPED = "SHIPPED"
    DELIVERED = "DELIVERED"
    CANCELLED = "CANCELLED"
    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    OTHER = "OTHER"


@dataclass(frozen=True, slots=True)
class Line:
    """What was ordered of a variant, at the price of that moment (USD, a piece)."""

    product: Product
    variant: Variant
    quantity: int
    price: Decimal
    line_id: str
    store_line_id: str | None


@dataclass(frozen=True, slots=True)
class Event:
    """A carrier's word; ``status`` as LOGISTIC messages count them, 0 to 14."""

    status: int
    words: str
    place: str
    at: float


@dataclass(slots=True, eq=False)
class Order:
    """An order. ``request`` is the body that made it, amounts are USD; ``reason`` is why it was intercepted."""

    id: str
    number: str
    request: Obj
    lines: list[Line]
    postage: Decimal
    created: float
    sandbox: bool
    logistics_miss: bool = False
    reason: tuple[int, str] | None = None
    status: Status = Status.CREATED
    shipment: str | None = None
    amount: Decimal = Decimal(0)
    paid: float | None = None
    shipped: float | None = None
    delivered: float | None = None
    updated: float = 0.0
    track_number: str | None = None
    events: list[Event] = field(default_factory=list[Event])

    @property
    def product_amount(self) -> Decimal:
        """The products alone."""
        return sum((each.price * each.quantity for each in self.lines), Decimal(0))

    @property
    def carrier(self) -> str:
        """``logisticName``."""
        return str(self.request["logisticName"])

    @property
    def tracking_url(self) -> str | None:
        """Where its way is shown."""
        return self.track_number and f"https://example.com/track/{self.track_number}"

    def detail(self) -> Obj:
        """As getOrderDetail has it."""
        asked = self.request
        return {
            "orderId": self.id,
            "orderNum": self.number,
            "platformOrderId": None,
            "cjOrderId": None,
            "fromCountryCode": asked["fromCountryCode"],
            "shippingCountryCode": asked["shippingCountryCode"],
            "shippingProvince": asked["shippingProvince"],
            "shippingCity": asked["shippingCity"],
            "shippingPhone": asked.get("shippingPhone"),
            "shippingAddress": asked["shippingAddress"],
            "shippingCustomerName": asked["shippingCustomerName"],
            "remark": asked.get("remark"),
            "orderWeight": sum((each.variant.weight + PACKAGE) * each.quantity for each in self.lines),
            "orderStatus": self.status.value,
            "orderAmount": float(self.amount),
            "productAmount": float(self.product_amount),
            "postageAmount": float(self.postage),
            "logisticName": self.carrier,
            "trackNumber": self.track_number,
            "trackingUrl": self.tracking_url,
            "disputeId": None,
            "createDate": utc_text(self.created),
            "paymentDate": None if self.paid is None else utc_text(self.paid),
            "outWarehouseTime": None if self.shipped is None else utc_text(self.shipped),
            "storeCreateDate": None,
            "isComplete": 1,
            "productList": [
                {
                    "vid": each.variant.vid,
                    "quantity": each.quantity,
                    "sellPrice": float(each.price),
                    "podPropertiesInfo": None,
                    "lineItemId": each.line_id,
                    "storeLineItemId": each.store_line_id,
                }
                for each in self.lines
            ],
        }

    def as_dict(self) -> Obj:
        """What the control routes show: the detail, and the request."""
        return {**self.detail(), "request": self.request}


def by_either(shop: Shop, name: str) -> Order | None:
    """An order by CJ's number or by the client's own."""
    return shop.orders.get(name) or shop.numbers.get(name)


def known(shop: Shop, name: str) -> Order:
    """An order by CJ's number; else a refusal."""
    found = shop.orders.get(name)
    if found is None:
        raise RefusalError(NO_ORDER)
    return found


def turn(shop: Shop, order: Order, status: Status) -> None:
    """The next status, from now on."""
    order.status, order.updated = status, shop.clock()
