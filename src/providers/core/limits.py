"""Waiting for a place: the rate and the concurrency one account allows, and pauses that the vendor asks for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from providers.core.errors import RateLimitedError

if TYPE_CHECKING:
    from providers.core.clock import Clock
    from providers.core.operation import Rate
    from providers.core.store import Store


class Limiter:
    """One account's limits. The rate is shared through the store; concurrency is each process's own."""

    __slots__ = ("_clock", "_key", "_paused_until", "_rate", "_slots", "_store")

    def __init__(self, key: str, *, rate: Rate | None, concurrency: int | None, store: Store, clock: Clock) -> None:
        self._key = f"rate/{key}"
        self._rate = rate
        self._slots = asyncio.Semaphore(concurrency) if concurrency else None
        self._store = store
        self._clock = clock
        self._paused_until = 0.0

    async def enter(self, deadline: float) -> None:
        """Wait for a place. Raises `RateLimitedError` at once when none comes free before `deadline` (monotonic)."""
        now = self._clock.monotonic()
        wait = self._paused_until - now
        if self._rate is not None:
            rate = self._rate
            wait = max(wait, await self._store.take(self._key, rate=rate.per_second, burst=rate.burst))
        if wait > 0:
            if now + wait >= deadline:
                msg = f"our own limit: the next place is free in {wait:.1f} seconds"
                raise RateLimitedError(msg, code="limit", retry_after=wait)
            await self._clock.sleep(wait)
        if self._slots is not None:
            if self._slots.locked():
                try:
                    async with self._clock.timeout(max(deadline - self._clock.monotonic(), 0.0)):
                        await self._slots.acquire()
                except TimeoutError:
                    msg = "our own limit: too many calls in flight"
                    raise RateLimitedError(msg, code="concurrency") from None
            else:
                await self._slots.acquire()

    def leave(self) -> None:
        """Free the place in flight."""
        if self._slots is not None:
            self._slots.release()

    def pause(self, seconds: float) -> None:
        """The vendor said when to come back: everybody who shares the account waits."""
        self._paused_until = max(self._paused_until, self._clock.monotonic() + seconds)
