"""What the demo keeps: orders, by their ids and our numbers; the balance that pays them; what waits for its time."""

from __future__ import annotations

import secrets
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from pydantic import TypeAdapter
from pydantic_core import to_json

from providers.core.errors import ConflictError, NotFoundError
from providers.sourcing import demo_life as life
from providers.sourcing.demo_life import DemoOrder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from providers.core.models import Ref
    from providers.core.store import Store

KEPT = 5000
"""Orders that are kept; older ones are forgotten, so that a long demo does not grow. Forgotten ones arrived."""

BALANCE = 500_000
"""What the balance pays in a day, in cents (USD)."""


class Waiting(NamedTuple):
    """Something that happens at a moment (unix time), to something."""

    at: float
    what: str
    then: str


class Book:
    """In the store, so that all processes that share it see the same."""

    def __init__(self, store: Store, prefix: str) -> None:
        self._store = store
        self._prefix = prefix

    async def write(self, orders: list[DemoOrder], now: float) -> list[DemoOrder] | None:
        """Keep new orders of one number, and give them ids; None, and nothing kept, when the number is known."""
        number = f"{self._prefix}number/{orders[0].source}/{orders[0].number}"
        written: list[DemoOrder] = []
        items: list[tuple[str, bytes]] = []
        over: list[tuple[str, bytes | None]] = []
        for order in orders:
            serial = await self._store.add(self._prefix + "placed", 1) or 0
            slot = f"{self._prefix}order/{serial % KEPT:04}"
            forgotten = await self._store.get(slot)
            if forgotten is not None:
                old = DemoOrder.model_validate_json(forgotten)
                over.append((f"{self._prefix}number/{old.source}/{old.number}", None))
            kept = order.model_copy(update={"id": f"order-{serial:x}-{_mark()}"})
            written.append(kept)
            items.append((slot, to_json(kept)))
        # At once: a number without its orders would be neither known nor free.
        known, _ = await self._store.begin([(number, to_json([order.id for order in written])), *items])
        if known is not None:
            return None
        if over:
            await self._store.put(over)
        for order in written:
            await self._follow(order, now)
        return written

    async def numbered(self, source: str, number: str) -> list[DemoOrder] | None:
        """What was ordered under a number, if anything."""
        known = await self._store.get(f"{self._prefix}number/{source}/{number}")
        if known is None:
            return None
        found = [await self._kept(id_) for id_ in _ids().validate_json(known)]
        return [order for order in found if order is not None]

    async def order(self, ref: Ref) -> DemoOrder | None:
        """The order of a reference; None for one that is not kept. Raises `NotFoundError` for what names no order."""
        if not ref.id.startswith("order-") or ref.id.endswith("0404"):
            msg = f"ref: the demo knows no order {ref.id[:60]!r}"
            raise NotFoundError(msg, field="ref", code="no_such_order", vendor="demo")
        return await self._kept(ref.id)

    async def change(self, old: DemoOrder, now: float, **moments: float) -> DemoOrder:
        """Write that it was paid or cancelled. Raises `ConflictError` when it was changed since it was read."""
        new = old.model_copy(update=moments)
        slot = self._slot(old.id)
        kept = await self._store.get(slot)
        same = kept is not None and DemoOrder.model_validate_json(kept) == old
        if not same or not await self._store.swap(slot, kept, to_json(new)):
            msg = f"{old.id} was changed by another call"
            raise ConflictError(msg, code="changed", retryable=True)
        await self._follow(new, now)
        return new

    async def orders(self) -> AsyncIterator[DemoOrder]:
        """All that are kept, in no particular order."""
        async for _, value in self._store.scan(self._prefix + "order/"):
            yield DemoOrder.model_validate_json(value)

    async def spend(self, cents: int) -> int | None:
        """Take from the day's balance, or give back: what was spent by now. None, and nothing taken, if too low."""
        return await self._store.add(self._prefix + "spent", cents, ceiling=BALANCE, ttl=life.DAY)

    async def wait(self, *waiting: Waiting) -> None:
        """`due` is the time of the next thing that waits, so that other calls need not look through all."""
        for one in waiting:
            due = await self._store.get(self._prefix + "due")
            items: list[tuple[str, bytes | None]] = [
                (f"{self._prefix}waiting/{one.at:014.3f}/{one.what}", to_json(one))
            ]
            if due is None or one.at < float(due):
                items.append((self._prefix + "due", str(one.at).encode()))
            await self._store.put(items)

    async def due(self, now: float) -> list[Waiting]:
        """What has waited long enough, oldest first; each is given to one caller."""
        due = await self._store.get(self._prefix + "due")
        if due is None or now < float(due) or not await self._store.swap(self._prefix + "due", due, None):
            return []
        ripe: list[Waiting] = []
        over: list[tuple[str, bytes | None]] = []
        async for key, value in self._store.scan(self._prefix + "waiting/"):
            one = _waiting().validate_json(value)
            if one.at > now:
                over.append((self._prefix + "due", str(one.at).encode()))
                break
            over.append((key, None))
            ripe.append(one)
        await self._store.put(over)
        return ripe

    async def _follow(self, order: DemoOrder, now: float) -> None:
        """Wait for its next milestone."""
        following = next((one for one in life.milestones(order) if one.at > now), None)
        if following is not None:
            await self.wait(Waiting(following.at, order.id, following.state.value))

    async def _kept(self, id_: str) -> DemoOrder | None:
        kept = await self._store.get(self._slot(id_))
        order = DemoOrder.model_validate_json(kept) if kept is not None else None
        return order if order is not None and order.id == id_ else None

    def _slot(self, id_: str) -> str:
        number = id_.removeprefix("order-").partition("-")[0]
        try:
            slot = int(number, 16) % KEPT
        except ValueError:
            slot = 0
        return f"{self._prefix}order/{slot:04}"


@cache
def _ids() -> TypeAdapter[list[str]]:
    return TypeAdapter(list[str])


@cache
def _waiting() -> TypeAdapter[Waiting]:
    return TypeAdapter(Waiting)


def _mark() -> str:
    """Six hexadecimal digits; the last is a letter, so that it is never the ending of an order that is not there."""
    return secrets.token_hex(3)[:5] + secrets.choice("abcdef")
