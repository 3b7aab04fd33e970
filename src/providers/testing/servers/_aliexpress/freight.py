"""How a parcel goes, how long it takes and what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from providers.testing.servers._aliexpress.money import Currency
from providers.testing.servers._aliexpress.traits import number
from providers.testing.servers._host import JsonObject

FREE: Final = "CAINIAO_STANDARD"


@dataclass(frozen=True, slots=True)
class Service:
    """One way to send. ``base`` and ``each`` are dollars: for the parcel, and for every further piece."""

    code: str
    company: str
    base: Decimal
    each: Decimal
    days: tuple[int, int]


SERVICES: Final = (
    Service("CAINIAO_FULFILLMENT_STD", "AliExpress Selection Standard", Decimal("1.99"), Decimal("0.50"), (8, 12)),
    Service(FREE, "AliExpress Standard Shipping", Decimal(0), Decimal(0), (10, 18)),
    Service("CAINIAO_PREMIUM", "AliExpress Premium Shipping", Decimal("9.35"), Decimal("2.10"), (5, 9)),
)


def service(code: str) -> Service | None:
    """A service by the code that ``logistics_service_name`` takes."""
    return next((each for each in SERVICES if each.code == code), None)


def fee(of: Service, country: str, quantity: int, unit: Currency) -> Decimal:
    """What it costs; nothing when it is free."""
    if not of.base:
        return unit.round(Decimal(0))
    far = Decimal(number("far", country) % 4 if country != "US" else 0) / 2
    return unit.of(of.base + far + of.each * (quantity - 1))


def option(of: Service, *, country: str, quantity: int, unit: Currency, stock: int, now: float) -> JsonObject:
    """One of ``delivery_option_d_t_o``; a free one has no fee at all. ``shipping_fee_cent`` is in major units."""
    cost = fee(of, country, quantity, unit)
    paid: JsonObject = {}
    if cost:
        paid = {
            "shipping_fee_cent": str(cost),
            "shipping_fee_currency": unit.code,
            "shipping_fee_format": unit.shown(cost),
            "free_shipping_threshold": unit.shown(Decimal(0)),
            "mayHavePFS": True,
        }
    start = datetime.fromtimestamp(now, UTC)
    first, last = (start + timedelta(days=days) for days in of.days)
    until = f"{last:%d}" if first.month == last.month else f"{last:%b %d}"
    return {
        "code": of.code,
        "company": of.company,
        "free_shipping": not cost,
        "min_delivery_days": of.days[0],
        "max_delivery_days": of.days[1],
        "guaranteed_delivery_days": "60",
        "delivery_date_desc": f"{first:%b %d} - {until}",
        "ship_from_country": "CN",
        "tracking": True,
        "available_stock": str(stock),
        **paid,
    }
