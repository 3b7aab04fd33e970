"""What made-up subscriptions cost and when: periods by the calendar, shares of them, and when a payment is tried again.

Pure functions. Amounts are rounded once for each line, half to even, to what the currency has.
"""

from __future__ import annotations

import calendar
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import TYPE_CHECKING

from providers.billing.models import Interval, InvoiceLine, Price
from providers.core.models import Money
from providers.core.money import DECIMALS, TWO

if TYPE_CHECKING:
    from collections.abc import Sequence

RETRIES = (timedelta(days=3), timedelta(days=5), timedelta(days=7))
"""From one failed attempt to the next; after the last one the subscription is canceled."""

TRIAL_NOTICE = timedelta(days=3)
"""Before a trial's end its event comes."""

PENDING_FOR = timedelta(hours=23)
"""How long a change waits for its payment."""

_EXACT = Context(prec=60)
_DAYS = {Interval.DAY: 1, Interval.WEEK: 7}
_MONTHS = {Interval.MONTH: 1, Interval.YEAR: 12}


def boundary(anchor: datetime, number: int, interval: Interval, count: int) -> datetime:
    """When the period `number` (from 0) begins: on the anchor's day, or the last of a month that has no such day."""
    if interval in _DAYS:
        return anchor + timedelta(days=_DAYS[interval] * count * number)
    months = anchor.year * 12 + anchor.month - 1 + _MONTHS[interval] * count * number
    year, month = divmod(months, 12)
    day = min(anchor.day, calendar.monthrange(year, month + 1)[1])
    return anchor.replace(year=year, month=month + 1, day=day)


def rounded(amount: Decimal, currency: str) -> Money:
    """The amount in what the currency has, half to even."""
    unit = Decimal(1).scaleb(-DECIMALS.get(currency, TWO))
    return Money(amount=amount.quantize(unit, ROUND_HALF_EVEN, _EXACT), currency=currency)


def nothing(currency: str) -> Money:
    """None of it."""
    return rounded(Decimal(0), currency)


def total(lines: Sequence[InvoiceLine], currency: str) -> Money:
    """What the lines make together."""
    return rounded(sum((line.amount.amount for line in lines), Decimal(0)), currency)


def cost(price: Price, quantity: Decimal | int) -> Decimal:
    """What so many cost, before rounding."""
    each = Decimal(0) if price.amount is None else price.amount.amount
    return _EXACT.multiply(each, Decimal(quantity))


def currency(price: Price) -> str:
    """What the price is in."""
    return "USD" if price.amount is None else price.amount.currency


def period_lines(price: Price, quantity: int | None) -> list[InvoiceLine]:
    """A period of a price that is paid ahead; usage has none."""
    if price.meter is not None:
        return []
    many = 1 if quantity is None else quantity
    amount = rounded(cost(price, many), currency(price))
    return [InvoiceLine(description=f"{many} x {title(price)}", amount=amount)]


def usage_lines(price: Price, used: Decimal) -> list[InvoiceLine]:
    """What was used of a metered price."""
    amount = rounded(cost(price, used), currency(price))
    return [InvoiceLine(description=f"{used:f} x {price.meter} of {title(price)}", amount=amount)]


def proration_lines(
    old: tuple[Price, int | None], new: tuple[Price, int | None], period: tuple[datetime, datetime], at: datetime
) -> list[InvoiceLine]:
    """The rest of a period at another price: what was paid comes back, what it costs now is charged; by the second."""
    start, end = (int(moment.timestamp()) for moment in period)
    left = end - int(at.timestamp())
    lines: list[InvoiceLine] = []
    for (price, quantity), sign, word in ((old, -1, "Unused"), (new, 1, "Remaining")):
        if price.meter is None:
            whole = cost(price, 1 if quantity is None else quantity)
            share = _EXACT.divide(_EXACT.multiply(whole, Decimal(sign * left)), Decimal(end - start))
            text = f"{word} time on {title(price)} after {at:%Y-%m-%d}"
            lines.append(InvoiceLine(description=text, amount=rounded(share, currency(price)), proration=True))
    return lines


def title(price: Price) -> str:
    """What invoices call it."""
    return price.lookup_key or price.product
