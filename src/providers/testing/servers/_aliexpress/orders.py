"""Orders: one per store of a request, their states, their parcels."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from typing import Final

from providers.testing.servers._aliexpress.catalogue import Product, Sku
from providers.testing.servers._aliexpress.freight import Service
from providers.testing.servers._aliexpress.money import Currency
from providers.testing.servers._aliexpress.shapes import store_url
from providers.testing.servers._host import Json, JsonObject

TAX: Final = Decimal("0.05")
PAY_WITHIN: Final = 1_728_000
"""Seconds after which an unpaid order lapses."""

_PACIFIC: Final = timezone(timedelta(hours=-8))
"""The vendor's times are those of this zone (a guess: the sheet says none)."""


class Status(StrEnum):
    """``order_status``."""

    UNPAID = "PLACE_ORDER_SUCCESS"
    CHECKED = "RISK_CONTROL"
    PAID = "WAIT_SELLER_SEND_GOODS"
    SHIPPED = "WAIT_BUYER_ACCEPT_GOODS"
    SETTLING = "FUND_PROCESSING"
    FINISHED = "FINISH"


class Logistics(StrEnum):
    """``logistics_status``."""

    NONE = "NO_LOGISTICS"
    WAITING = "WAIT_SELLER_SEND_GOODS"
    SENT = "SELLER_SEND_GOODS"
    ACCEPTED = "BUYER_ACCEPT_GOODS"


@dataclass(frozen=True, slots=True)
class Line:
    """One item of an order. ``price`` is of one piece, ``shipping`` and ``tax`` of the whole line."""

    product: Product
    sku: Sku
    count: int
    service: Service
    price: Decimal
    shipping: Decimal

    @property
    def amount(self) -> Decimal:
        """Without tax."""
        return self.price * self.count + self.shipping


@dataclass(frozen=True, slots=True)
class Step:
    """What happened to a parcel, and when (seconds since the epoch)."""

    at: float
    name: str
    description: str


@dataclass(slots=True, eq=False)
class Parcel:
    """``provisional`` is the number that order.get knows, ``number`` the one that tracking ends up with."""

    provisional: str
    number: str
    carrier: str
    service: str
    steps: list[Step] = field(default_factory=list[Step])


@dataclass(slots=True, eq=False)
class Order:
    """One store's order, with the request that made it. Amounts are in ``unit``; times are seconds since the epoch."""

    order_id: str
    out_order_id: str | None
    created_at: float
    country: str
    unit: Currency
    lines: tuple[Line, ...]
    request: JsonObject
    status: Status = Status.UNPAID
    logistics: Logistics = Logistics.NONE
    parcels: list[Parcel] = field(default_factory=list[Parcel])
    end_reason: str | None = None
    paid_at: float | None = None

    @property
    def amount(self) -> Decimal:
        """Without tax."""
        return sum((line.amount for line in self.lines), Decimal(0))

    @property
    def tax(self) -> Decimal:
        """Of all lines."""
        return sum((self.tax_of(line) for line in self.lines), Decimal(0))

    def tax_of(self, line: Line) -> Decimal:
        """Of one line."""
        return self.unit.round(line.amount * TAX)

    @property
    def total(self) -> Decimal:
        """What the buyer really pays."""
        return self.amount + self.tax

    def pay(self, now: float, *, checked: bool) -> None:
        """Paid; unless ``checked``, the vendor still looks at it."""
        self._from(Status.UNPAID, Status.CHECKED)
        self.paid_at = self.paid_at or now
        self.status = Status.PAID if checked else Status.CHECKED
        self.logistics = Logistics.WAITING

    def ship(self, parcel: Parcel) -> None:
        """A parcel leaves; may happen again."""
        self._from(Status.PAID, Status.SHIPPED)
        self.parcels.append(parcel)
        self.status, self.logistics = Status.SHIPPED, Logistics.SENT

    def deliver(self, now: float, *, settled: bool) -> None:
        """It arrived; unless ``settled``, the money is still on its way."""
        self._from(Status.SHIPPED, Status.SETTLING)
        for parcel in self.parcels:
            if not parcel.steps or parcel.steps[-1].name != "DELIVERED":
                parcel.steps.append(Step(now, "DELIVERED", "Delivered"))
        self.status, self.logistics = Status.FINISHED if settled else Status.SETTLING, Logistics.ACCEPTED

    def cancel(self, reason: str) -> None:
        """Closed before it was sent: finished, like any other, but for the reason."""
        self._from(Status.UNPAID, Status.CHECKED, Status.PAID)
        self.status, self.logistics, self.end_reason = Status.FINISHED, Logistics.NONE, reason

    def _from(self, *statuses: Status) -> None:
        if self.status not in statuses:
            raise ValueError(f"order {self.order_id} is {self.status}")

    # As the methods show it.

    def _money(self, amount: Decimal) -> JsonObject:
        return {"amount": str(self.unit.round(amount)), "currency_code": self.unit.code}

    def _child(self, line: Line) -> JsonObject:
        ended: JsonObject = {} if self.end_reason is None else {"end_reason": self.end_reason}
        return {
            "product_id": str(line.product.id),
            "product_name": line.product.title,
            "product_count": str(line.count),
            "product_price": self._money(line.price),
            "sku_id": line.sku.id,
            "shipping_fee": self._money(line.shipping),
            "actual_shipping_fee": self._money(line.shipping),
            "actual_tax_fee": self._money(self.tax_of(line)),
            **ended,
        }

    def shown(self) -> JsonObject:
        """``result`` of trade.ds.order.get; a single child is an object."""
        first = self.lines[0].product
        more: JsonObject = {"pay_timeout_second": str(PAY_WITHIN)} if self.status is Status.UNPAID else {}
        if self.paid_at is not None:
            more["order_paidtime_string"] = _vendor_time(self.paid_at)
        if self.parcels:
            logistics: list[JsonObject] = [
                {"logistics_no": parcel.provisional, "logistics_service": parcel.service} for parcel in self.parcels
            ]
            more["logistics_info_list"] = {"aeop_order_logistics_info": single(logistics)}
        return {
            "gmt_create": _vendor_time(self.created_at),
            "order_status": self.status.value,
            "logistics_status": self.logistics.value,
            "order_amount": self._money(self.amount),
            "user_order_amount": self._money(self.total),
            "child_order_list": {"aeop_child_order_info": single([self._child(line) for line in self.lines])},
            "store_info": {
                "store_id": first.store_id,
                "store_name": first.store_name,
                "store_url": store_url(first),
            },
            **more,
        }

    def tracking(self) -> JsonObject:
        """``data`` of tracking.get: newest first; every other time is text."""
        details: list[Json] = []
        for parcel in self.parcels:
            nodes: list[Json] = []
            for place, step in enumerate(reversed(parcel.steps)):
                at = int(step.at * 1000)
                nodes.append(
                    {
                        "time_stamp": str(at) if place % 2 else at,
                        "tracking_detail_desc": step.description,
                        "tracking_name": step.name,
                    }
                )
            details.append(
                {
                    "mail_no": parcel.number,
                    "carrier_name": parcel.carrier,
                    "detail_node_list": {"detail_node": nodes},
                }
            )
        return {"tracking_detail_line_list": {"tracking_detail": details}}

    def as_dict(self) -> JsonObject:
        """For the control route."""
        return {
            "order_id": self.order_id,
            "out_order_id": self.out_order_id,
            "status": self.status.value,
            "logistics": self.logistics.value,
            "amount": str(self.amount),
            "total": str(self.total),
            "currency": self.unit.code,
            "country": self.country,
            "products": [str(line.product.id) for line in self.lines],
            "tracking": [parcel.number for parcel in self.parcels],
            "end_reason": self.end_reason,
            "created_at": self.created_at,
            "request": self.request,
        }


def single(items: list[JsonObject]) -> Json:
    """A list, or its only item."""
    return items[0] if len(items) == 1 else [*items]


def _vendor_time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).astimezone(_PACIFIC).strftime("%Y-%m-%d %H:%M:%S")
