"""Waiting for a place: the rate, points and concurrency that one account has, and pauses that the vendor asks for."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from providers.core.attempt import ATTEMPT, NO_PLACE
from providers.core.errors import ProviderError, QuotaExceededError, RateLimitedError
from providers.core.operation import Per
from providers.core.store import Meter

if TYPE_CHECKING:
    from providers.core.clock import Clock
    from providers.core.health import Health
    from providers.core.operation import Points, Rate
    from providers.core.store import Store
    from providers.core.transport import HttpRequest, HttpResponse, HttpStream, Transport

DAY = 86_400
STALE = 0.1
"""Seconds after which a place that was not used is gone: used later, it would be another's moment."""


class Place(NamedTuple):
    """A place that was taken already, together with the claim of an idempotency key."""

    meter: str
    free_at: float
    """Monotonic."""


class Limiter:
    """One account's limits. All but the concurrency, which is each process's own, are shared through the store."""

    __slots__ = (
        "_clock",
        "_concurrency",
        "_free",
        "_health",
        "_in_flight",
        "_key",
        "_per",
        "_points",
        "_purse",
        "_rate",
        "_store",
        "_waiting",
    )

    def __init__(
        self,
        key: str,
        *,
        rate: Rate | None,
        per: Per = Per.CALL,
        points: Points | None = None,
        concurrency: int | None,
        health: Health,
        store: Store,
        clock: Clock,
    ) -> None:
        self._key = f"rate/{key}"
        self._purse = f"points/{key}"
        self._rate = rate
        self._per = per
        self._points = points
        self._free = rate is None and points is None
        self._concurrency = concurrency
        self._health = health
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._store = store
        self._clock = clock

    @property
    def at_once(self) -> int | None:
        """How many units one call should have at most, so that it does not pass the rate by itself; None for any."""
        if self._rate is None or self._per is not Per.UNIT:
            return None
        return max(int(self._rate.per_second), self._rate.burst, 1)

    def try_enter(self) -> bool:
        """Take a place if that needs no waiting and no question to the store."""
        if not self._free or self._health.paused_until or self._full():
            return False
        self._in_flight += 1
        return True

    def meter(self, units: int | None, deadline: float) -> Meter | None:
        """What a call of so many units may take ahead; None when there is nothing to take, or not yet."""
        return None if self._per is Per.REQUEST else self._meter(units, deadline)

    def _meter(self, units: int | None, deadline: float) -> Meter | None:
        rate = self._rate
        if rate is None or (self._per is Per.UNIT and not units):
            return None
        count = units or 1 if self._per is Per.UNIT else 1
        return Meter(self._key, rate.per_second, rate.burst, count, deadline - self._clock.monotonic())

    async def enter(
        self, deadline: float, *, operation: str = "", units: int | None = None, place: Place | None = None
    ) -> None:
        """Wait for a place. Raises `RateLimitedError` at once when none comes free before `deadline` (monotonic).

        So does `QuotaExceededError` for the points that the operation costs. `units` is what the call counts, if
        anything; `place` one that it has taken already.
        """
        charge = self._charge(operation, deadline)
        if charge is None:
            await self._enter(deadline, units, place)
            return
        wait = await self._store.take(charge)
        if wait > 0 and wait >= charge.patience:
            msg = f"our own count of points: the {charge.places} it costs are there in {wait:.1f} seconds"
            raise QuotaExceededError(msg, code="points", repeatable=True, retry_after=wait)
        try:
            if wait > 0:
                await self._clock.sleep(wait)
            await self._enter(deadline, units, place)
        except BaseException:
            # Refused or cancelled: nothing is sent for them. A store that fails costs them; they come back in time.
            with suppress(ProviderError):
                await self._store.take(charge._replace(places=-charge.places, patience=inf))
            raise

    async def another(self) -> None:
        """Wait for a place for a request, unless it is the first of an attempt: that has the call's.

        Raises `RateLimitedError` at once when none comes free in the time that the attempt has.
        """
        attempt = ATTEMPT.get()
        if attempt is not None:
            placed, attempt.placed = attempt.placed, None
            if placed is not None and self._clock.monotonic() - placed < STALE:
                return
            attempt.sent = False
        if self._health.stale:
            await self._health.look()
        await self._turn(inf if attempt is None else attempt.deadline, None, None)

    def _charge(self, operation: str, deadline: float) -> Meter | None:
        """The points an operation takes; None when it costs none."""
        points = self._points
        cost = 0 if points is None else points.costs.get(operation.partition(".")[2], 0)
        if points is None or not cost:
            return None
        return Meter(self._purse, points.per_day / DAY, points.per_day, cost, deadline - self._clock.monotonic())

    async def _enter(self, deadline: float, units: int | None, place: Place | None) -> None:
        if self._per is not Per.REQUEST:
            await self._turn(deadline, units, place)
            await self._slot(deadline)
            return
        # The other way round: further requests of the calls in flight stand behind every place that is taken.
        await self._slot(deadline)
        try:
            await self._turn(deadline, units, place)
        except BaseException:
            self.leave()
            raise

    async def _slot(self, deadline: float) -> None:
        if self._full():
            try:
                with self._clock.timeout(max(deadline - self._clock.monotonic(), 0.0)):
                    await self._freed()
            except TimeoutError:
                msg = "our own limit: too many calls in flight"
                raise RateLimitedError(msg, code="concurrency") from None
        self._in_flight += 1

    async def _turn(self, deadline: float, units: int | None, place: Place | None) -> None:
        # Before a place is taken: those taken meanwhile would all be free at its end.
        if self._health.paused_until and not await self._wait(self._health.paused_until, deadline):
            self._health.paused_until = 0.0
        if place is not None and place.meter == self._key:
            await self._wait(place.free_at, deadline)
        elif (meter := self._meter(units, deadline)) is not None:
            wait = await self._store.take(meter)
            if wait > 0:
                await self._wait(self._clock.monotonic() + wait, deadline)

    async def _wait(self, moment: float, deadline: float) -> bool:
        """Until `moment` (monotonic); False if it has been. Raises `RateLimitedError` if that is too late."""
        now = self._clock.monotonic()
        if moment <= now:
            return False
        wait = moment - now
        if moment >= deadline:
            msg = f"our own limit: the next place is free in {wait:.1f} seconds"
            raise RateLimitedError(msg, code=NO_PLACE, retry_after=wait)
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


class RatedTransport:
    """The transport of an account whose vendor counts requests: each waits for its place."""

    __slots__ = ("_limiter", "_transport")

    def __init__(self, transport: Transport, limiter: Limiter) -> None:
        self._transport = transport
        self._limiter = limiter

    async def send(self, request: HttpRequest) -> HttpResponse:
        """See `Transport.send`."""
        await self._limiter.another()
        return await self._transport.send(request)

    async def stream(self, request: HttpRequest) -> HttpStream:
        """See `Transport.stream`."""
        await self._limiter.another()
        return await self._transport.stream(request)

    async def aclose(self) -> None:
        """See `Transport.aclose`."""
        await self._transport.aclose()
