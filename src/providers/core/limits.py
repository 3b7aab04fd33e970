"""Waiting for a place: the rate and the concurrency one account allows, and pauses that the vendor asks for."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from providers.core.errors import RateLimitedError
from providers.core.operation import Per
from providers.core.store import Meter

if TYPE_CHECKING:
    from providers.core.clock import Clock
    from providers.core.health import Health
    from providers.core.operation import Rate
    from providers.core.store import Store


class Place(NamedTuple):
    """A place that was taken already, together with the claim of an idempotency key."""

    meter: str
    free_at: float
    """Monotonic."""


class Limiter:
    """One account's limits. Rate and pauses are shared through the store; concurrency is each process's own."""

    __slots__ = ("_clock", "_concurrency", "_health", "_in_flight", "_key", "_per", "_rate", "_store", "_waiting")

    def __init__(
        self,
        key: str,
        *,
        rate: Rate | None,
        per: Per = Per.CALL,
        concurrency: int | None,
        health: Health,
        store: Store,
        clock: Clock,
    ) -> None:
        self._key = f"rate/{key}"
        self._rate = rate
        self._per = per
        self._concurrency = concurrency
        self._health = health
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._store = store
        self._clock = clock

    @property
    def at_once(self) -> int | None:
        """How many units one call should have at most, so that it does not pass the rate by itself; None for any."""
        if self._rate is None or self._per is Per.CALL:
            return None
        return max(int(self._rate.per_second), self._rate.burst, 1)

    def try_enter(self) -> bool:
        """Take a place if that needs no waiting and no question to the store."""
        if self._rate is not None or self._health.paused_until or self._full():
            return False
        self._in_flight += 1
        return True

    def meter(self, units: int | None, deadline: float) -> Meter | None:
        """What a call of so many units has to take; None when nothing limits its rate."""
        rate = self._rate
        if rate is None or (self._per is Per.UNIT and not units):
            return None
        count = units or 1 if self._per is Per.UNIT else 1
        return Meter(self._key, rate.per_second, rate.burst, count, deadline - self._clock.monotonic())

    async def enter(self, deadline: float, *, units: int | None = None, place: Place | None = None) -> None:
        """Wait for a place. Raises `RateLimitedError` at once when none comes free before `deadline` (monotonic).

        `units` is what the call counts, if anything; `place` one that it has taken already.
        """
        # Before a place is taken: those taken meanwhile would all be free at its end.
        if self._health.paused_until and not await self._wait(self._health.paused_until, deadline):
            self._health.paused_until = 0.0
        if place is not None and place.meter == self._key:
            await self._wait(place.free_at, deadline)
        elif (meter := self.meter(units, deadline)) is not None:
            wait = await self._store.take(meter)
            if wait > 0:
                await self._wait(self._clock.monotonic() + wait, deadline)
        if self._full():
            try:
                with self._clock.timeout(max(deadline - self._clock.monotonic(), 0.0)):
                    await self._freed()
            except TimeoutError:
                msg = "our own limit: too many calls in flight"
                raise RateLimitedError(msg, code="concurrency") from None
        self._in_flight += 1

    async def _wait(self, moment: float, deadline: float) -> bool:
        """Until `moment` (monotonic); False if it has been. Raises `RateLimitedError` if that is too late."""
        now = self._clock.monotonic()
        if moment <= now:
            return False
        wait = moment - now
        if moment >= deadline:
            msg = f"our own limit: the next place is free in {wait:.1f} seconds"
            raise RateLimitedError(msg, code="limit", retry_after=wait)
        await self._clock.sleep(wait)
        return True

    def leave(self) -> None:
        """Free the place."""
        self._in_flight -= 1
        self._wake()

    def _full(self) -> bool:
        return self._concurrency is not None and self._in_flight >= self._concurrency

    async def _freed(self) -> None:
        while self._full():
            place = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            try:
                await place
            except asyncio.CancelledError:
                if place.done() and not place.cancelled():
                    # It was given to us, and we are leaving: it is the next one's.
                    self._wake()
                raise

    def _wake(self) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
