"""Hard limits on units or money, reserved before a call and settled after it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, TypeAlias

from providers.core.clock import utc
from providers.core.errors import BudgetExceededError, ConfigurationError

if TYPE_CHECKING:
    from providers.core.clock import Clock
    from providers.core.operation import VendorFacts
    from providers.core.store import Store

MICRO = 1_000_000
"""Money is counted in millionths: prices per unit are fractions of a cent."""

PERIODS = {"hour": 3600, "day": 86_400, "month": 31 * 86_400}
FORM = re.compile(r"(?P<amount>\d+(?:\.\d+)?)\s*(?P<currency>[A-Z]{3})?\s*/\s*(?P<period>hour|day|month)")


@dataclass(frozen=True, slots=True)
class BudgetSpec:
    """`100/month` (units) or `50 USD/month` (money at the vendor's list prices). Periods are UTC."""

    amount: Decimal
    currency: str | None
    period: str

    @classmethod
    def parse(cls, text: str, field: str) -> BudgetSpec:
        """Read the setting `field`. Raises `ConfigurationError`."""
        match = FORM.fullmatch(text.strip())
        if match is None:
            msg = f"{field}: {text!r} is not a budget; write 100/month or 50 USD/month (hour, day or month)"
            raise ConfigurationError(msg, field=field)
        return cls(Decimal(match["amount"]), match["currency"], match["period"])


Reservation: TypeAlias = tuple[tuple[str, int], ...]
"""What was set aside, and where."""


class Budget:
    """The budget of one vendor account, counted in the store. It holds `within` another one, if there is."""

    __slots__ = ("_clock", "_key", "_prices", "_store", "_within", "spec")

    def __init__(
        self,
        spec: BudgetSpec,
        key: str,
        *,
        facts: VendorFacts,
        store: Store,
        clock: Clock,
        within: Budget | None = None,
    ) -> None:
        if spec.currency is not None and (spec.currency != facts.currency or not facts.prices):
            prices = f"its prices are in {facts.currency}" if facts.prices else "its prices are not known"
            msg = f"budget of {facts.vendor}: {prices}; {spec.currency} cannot be counted"
            raise ConfigurationError(msg, field=f"PROVIDER_BUDGET_{facts.vendor.upper()}")
        self._within = within
        self.spec = spec
        self._key = key
        self._prices = facts.prices
        self._store = store
        self._clock = clock

    async def reserve(self, unit: str, count: int) -> Reservation:
        """Set the cost of `count` units aside; what to give to `release`. Raises `BudgetExceededError`."""
        outer = () if self._within is None else await self._within.reserve(unit, count)
        try:
            return (*outer, await self._reserve(unit, count))
        except BaseException:
            await self.release(outer)
            raise

    async def release(self, reserved: Reservation) -> None:
        """Give back what was set aside: the call was not applied."""
        for key, amount in reserved:
            if amount:
                await self._store.add(key, -amount)

    async def _reserve(self, unit: str, count: int) -> tuple[str, int]:
        counts_money = self.spec.currency is not None
        cost = Decimal(count) * (self._prices.get(unit, Decimal(0)) if counts_money else 1)
        scale = MICRO if counts_money else 1
        amount = int((cost * scale).to_integral_value(ROUND_CEILING))
        key = f"budget/{self._key}/{self._period()}"
        ceiling = int(self.spec.amount * scale)
        if await self._store.add(key, amount, ceiling=ceiling, ttl=PERIODS[self.spec.period] * 2) is None:
            limit = f"{self.spec.amount} {self.spec.currency or unit}/{self.spec.period}"
            msg = f"the budget of {limit} would be passed; nothing was sent"
            raise BudgetExceededError(msg, code="budget")
        return key, amount

    def _period(self) -> str:
        now = utc(self._clock.time())
        return now.strftime({"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "month": "%Y-%m"}[self.spec.period])
