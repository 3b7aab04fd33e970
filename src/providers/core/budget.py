"""Hard limits on units or money, reserved before a call and settled after it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from providers.core.clock import utc
from providers.core.errors import BudgetExceededError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import JsonValue

    from providers.core.clock import Clock
    from providers.core.operation import VendorFacts
    from providers.core.store import Store

MICRO = 1_000_000
"""Money is counted in millionths: prices per unit are fractions of a cent."""

PERIODS = {"hour": 3600, "day": 86_400, "month": 31 * 86_400}
FORM = re.compile(
    r"(?P<amount>\d+(?:\.\d+)?)\s*(?P<currency>[A-Z]{3})?\s*/\s*(?P<period>hour|day|month)"
    r"(?:\s+per\s+(?P<whose>tenant|service))?"
)


class Whose(StrEnum):
    """Whom a limit counts: everybody together, or each tenant or service alone."""

    ALL = "all"
    TENANT = "tenant"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class BudgetSpec:
    """`100/month` (units) or `50 USD/month` (money at the vendor's list prices). Periods are UTC.

    With `per tenant` or `per service` behind it, each of them has that much.
    """

    amount: Decimal
    currency: str | None
    period: str
    whose: Whose = Whose.ALL

    @classmethod
    def parse(cls, text: str, field: str) -> BudgetSpec:
        """Read one limit of the setting `field`. Raises `ConfigurationError`."""
        match = FORM.fullmatch(text.strip())
        if match is None:
            msg = f"{field}: {text!r} is not a budget; write 100/month or 50 USD/month per tenant (hour, day or month)"
            raise ConfigurationError(msg, field=field)
        return cls(Decimal(match["amount"]), match["currency"], match["period"], Whose(match["whose"] or "all"))

    @classmethod
    def parse_all(cls, text: str, field: str) -> tuple[BudgetSpec, ...]:
        """Read limits separated by commas; all of them hold. Raises `ConfigurationError`."""
        return tuple(cls.parse(part, field) for part in text.split(","))

    def check(self, facts: VendorFacts, field: str) -> None:
        """Raise `ConfigurationError` when the vendor's prices cannot be counted in this currency."""
        if self.currency is not None and (self.currency != facts.currency or not facts.prices):
            prices = f"its prices are in {facts.currency}" if facts.prices else "its prices are not known"
            msg = f"{field}: budget of {facts.vendor}: {prices}; {self.currency} cannot be counted"
            raise ConfigurationError(msg, field=field)

    def __str__(self) -> str:
        whose = "" if self.whose is Whose.ALL else f" per {self.whose}"
        return f"{self.amount}{f' {self.currency}' if self.currency else ''}/{self.period}{whose}"


class Cap(NamedTuple):
    """One limit, and whose spending is counted against it: the start of a key in the store."""

    spec: BudgetSpec
    key: str


class Part(NamedTuple):
    """What was set aside under one key."""

    key: str
    amount: int
    money: bool


Reservation: TypeAlias = tuple[Part, ...]
"""What was set aside, and where."""


def read_reservation(value: JsonValue) -> Reservation:
    """A reservation that was kept as JSON. Raises `ValueError`."""
    rows = value if isinstance(value, list) else []
    return tuple(Part(str(row[0]), int(str(row[1])), bool(row[2])) for row in rows if isinstance(row, list))


class Budget:
    """The limits that hold for calls to one vendor account, counted in the store. All of them hold."""

    __slots__ = ("_caps", "_clock", "_prices", "_service", "_store")

    def __init__(
        self, caps: Sequence[Cap], *, facts: VendorFacts, store: Store, clock: Clock, service: str = ""
    ) -> None:
        self._caps = tuple(caps)
        self._service = service
        self._prices = facts.prices
        self._store = store
        self._clock = clock

    @property
    def counts_money(self) -> bool:
        """Whether any limit is one of money."""
        return any(cap.spec.currency is not None for cap in self._caps)

    async def reserve(self, unit: str, count: int, *, cost: Decimal | None = None, service: str = "") -> Reservation:
        """Set `count` units aside, and `cost` (default: their list price); what to give to `release` or `settle`.

        `service` is who asks, where it is not the one that this process is.

        Raises `BudgetExceededError`, and sets nothing aside, when any limit would be passed.
        """
        price = self._prices.get(unit, Decimal(0)) * count if cost is None else cost
        reserved: list[Part] = []
        try:
            for cap in self._caps:
                reserved.append(await self._reserve(cap, unit, count, price, service))  # noqa: PERF401 (kept on failure)
        except BaseException:
            await self.release(tuple(reserved))
            raise
        return tuple(reserved)

    async def release(self, reserved: Reservation) -> None:
        """Give back what was set aside: the call was not applied."""
        for part in reserved:
            if part.amount:
                await self._store.add(part.key, -part.amount)

    async def settle(self, reserved: Reservation, cost: Decimal) -> None:
        """The call cost this much after all: count the difference to what was set aside."""
        spent = _micros(cost)
        for part in reserved:
            if part.money and part.amount != spent:
                await self._store.add(part.key, spent - part.amount)

    async def _reserve(self, cap: Cap, unit: str, count: int, price: Decimal, service: str) -> Part:
        spec = cap.spec
        money = spec.currency is not None
        amount = _micros(price) if money else count
        whose = f"{cap.key}/{service or self._service}" if spec.whose is Whose.SERVICE else cap.key
        key = f"budget/{whose}/{spec.currency or 'units'}/{self._period(spec)}"
        ceiling = int(spec.amount * (MICRO if money else 1))
        if await self._store.add(key, amount, ceiling=ceiling, ttl=PERIODS[spec.period] * 2) is None:
            limit = str(spec) if money else str(spec).replace("/", f" {unit}/", 1)
            msg = f"the budget of {limit} would be passed; nothing was sent"
            raise BudgetExceededError(msg, code="budget")
        return Part(key, amount, money)

    def _period(self, spec: BudgetSpec) -> str:
        now = utc(self._clock.time())
        return now.strftime({"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "month": "%Y-%m"}[spec.period])


def _micros(money: Decimal) -> int:
    """Rounded up: fractions of a millionth must not add up to a hole."""
    return int((money * MICRO).to_integral_value(ROUND_CEILING))
