"""All that the local CJ keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING

from providers.testing.servers._cjdropshipping.hooks import Hooks
from providers.testing.servers._cjdropshipping.limits import Limits
from providers.testing.servers._cjdropshipping.shelf import Shelf
from providers.testing.servers._cjdropshipping.tokens import Tokens

if TYPE_CHECKING:
    from providers.testing.servers._cjdropshipping.order import Order
    from providers.testing.servers._cjdropshipping.payments import Bill


class Shop:
    """One account and its orders. ``outcomes`` maps a variant to what becomes of an order with it."""

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        tokens: Tokens,
        limits: Limits,
        shelf: Shelf,
        hooks: Hooks,
        balance: Decimal,
        outcomes: Mapping[str, str],
        open_id: int,
        email: str,
        sandbox: bool,
        root: str,
    ) -> None:
        self.clock = clock
        self.tokens, self.limits, self.shelf, self.hooks = tokens, limits, shelf, hooks
        self.outcomes = outcomes
        self.open_id, self.email, self.sandbox, self.root = open_id, email, sandbox, root
        self._opening = balance
        self._begin()

    def _begin(self) -> None:
        self.balance = self._opening
        self.orders: dict[str, Order] = {}
        self.numbers: dict[str, Order] = {}
        self.bills: dict[str, Bill] = {}
        self._numbers = count(1_000_000_001)

    def clear(self) -> None:
        """As it was built."""
        self.tokens.clear()
        self.limits.clear()
        self.shelf.clear()
        self.hooks.clear()
        self._begin()

    @property
    def today(self) -> str:
        """The day as numbers of orders have it, ``yymmdd``."""
        return datetime.fromtimestamp(self.clock(), UTC).strftime("%y%m%d")

    def next_number(self) -> int:
        """Never the same twice."""
        return next(self._numbers)
