"""Answers to READs kept for a while; equal questions asked at once share one call; an old answer beats a failure."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from copy import copy
from typing import TYPE_CHECKING, NamedTuple, TypeVar, cast

from providers.core.breaker import NOT_ASKED
from providers.core.codec import decode, encode
from providers.core.errors import (
    BadResponseError,
    Fault,
    Outcome,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    QuotaExceededError,
    RateLimitedError,
)
from providers.core.telemetry import logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from providers.core.clock import Clock
    from providers.core.operation import Operation
    from providers.core.store import Store

T = TypeVar("T")

NEAR = 256
"""Answers that a process keeps as objects; the others it reads from the store."""

PASSING = (
    BadResponseError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    QuotaExceededError,
    RateLimitedError,
)
"""Failures that say nothing about what was asked: an old answer may stand in."""


class Kept(NamedTuple):
    """An answer, and when it was fetched (unix time)."""

    at: float
    answer: object


class Flight:
    """A question on its way: for whom and until when (monotonic), and what may stand in for the answer."""

    __slots__ = ("answer", "asker", "old", "until")

    def __init__(self, asker: str, until: float) -> None:
        self.asker = asker
        self.until = until
        self.answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.old: Kept | None = None


class Cache:
    """Read-through: copies in the process before those in the store; one flight per question and process."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._near: OrderedDict[str, Kept] = OrderedDict()
        self._flights: dict[tuple[str, bool], Flight] = {}

    async def through(
        self,
        operation: Operation,
        question: str,
        fetch: Callable[[], Awaitable[T]],
        *,
        asker: str,
        fresh: bool,
        until: float,
    ) -> T:
        """The cached answer, or that of `fetch`. `fresh` asks again and renews the cache.

        An answer is good for `operation.cache` seconds. For `operation.stale` more it is given when `fetch` fails in
        passing, and never to `fresh`. `asker` is for whom it is asked where a question is not one account's: failures
        of one account are not shared with others. `until` (monotonic) bounds the wait for somebody else's call. A
        store that fails costs the cache, not the answer.
        """
        key = f"cache/{operation.name}/{question}"
        kept = self._near.get(key)
        if kept is not None and not fresh and self._clock.time() - kept.at < operation.cache:
            self._near.move_to_end(key)
            answer = kept.answer
        else:
            answer = await self._asked(operation, key, fetch, asker=asker, fresh=fresh, until=until)
        # Models are frozen; a list could be changed by who gets it.
        return cast("T", copy(cast("object", answer)) if isinstance(answer, list | dict) else answer)

    def composed(self, operation: Operation, question: str) -> object:
        """What was made of several answers and is still good; None for nothing. In this process only."""
        kept = self._near.get(f"composed/{operation.name}/{question}")
        return kept.answer if kept is not None and self._clock.time() - kept.at < operation.cache else None

    def compose(self, operation: Operation, question: str, answer: object) -> None:
        """Keep it for `operation.cache` seconds."""
        self._keep_near(f"composed/{operation.name}/{question}", Kept(self._clock.time(), answer))

    async def _asked(
        self,
        operation: Operation,
        key: str,
        fetch: Callable[[], Awaitable[object]],
        *,
        asker: str,
        fresh: bool,
        until: float,
    ) -> object:
        while (flight := self._flights.get((key, fresh))) is not None:
            try:
                with self._clock.timeout(until - self._clock.monotonic()):
                    return await asyncio.shield(flight.answer)
            except TimeoutError as error:
                msg = "no answer in time to the same question, asked by another call"
                late = ProviderTimeoutError(msg, operation=operation.name, code="timeout", outcome=Outcome.NOT_APPLIED)
                late.__cause__ = error
                return self._instead(operation, flight.old, late).answer
            except asyncio.CancelledError:
                # Ours to obey, unless it was the leader who was cancelled: then one of the others leads.
                if not flight.answer.cancelled():
                    raise
            except ProviderError as error:
                if not self._leaders_alone(error, flight, asker):
                    # Each has an error of its own, which names its own tenant.
                    mine = copy(error)
                    mine.tenant = None
                    raise mine from error.__cause__
        flight = self._flights[key, fresh] = Flight(asker, until)
        try:
            kept = await self._lead(operation, key, fetch, flight, fresh=fresh)
        except asyncio.CancelledError:
            flight.answer.cancel()
            raise
        except BaseException as error:
            flight.answer.set_exception(error)
            flight.answer.exception()  # followers or not, it has been seen
            raise
        else:
            flight.answer.set_result(kept.answer)
        finally:
            del self._flights[key, fresh]
        if kept is not flight.old:
            data = f"{kept.at!r}\n".encode() + encode(kept.answer)
            await self._put(key, data, ttl=operation.cache + operation.stale)
        return kept.answer

    async def _lead(
        self, operation: Operation, key: str, fetch: Callable[[], Awaitable[object]], flight: Flight, *, fresh: bool
    ) -> Kept:
        if not fresh:
            flight.old = old = await self._kept(key, operation)
            if old is not None and self._clock.time() - old.at < operation.cache:
                return old
        try:
            answer = await fetch()
        except PASSING as error:
            return self._instead(operation, flight.old, error)
        except ProviderError as error:
            if error.fault is Fault.REQUEST and (fresh or flight.old is not None):
                # What was asked for is not there any more, or not like this.
                self._near.pop(key, None)
                await self._put(key, None)
            raise
        return self._keep_near(key, Kept(self._clock.time(), answer))

    def _leaders_alone(self, error: ProviderError, flight: Flight, asker: str) -> bool:
        """Whether who followed may fare better: the leader's time was over, or the failure is one of its account."""
        if isinstance(error, ProviderTimeoutError) and flight.until <= self._clock.monotonic():
            return True
        account = error.fault is Fault.ACCOUNT or isinstance(error, RateLimitedError) or error.code == NOT_ASKED
        return account and asker != flight.asker

    def _instead(self, operation: Operation, old: Kept | None, error: ProviderError) -> Kept:
        """The old answer, if there is one that is not too old. Raises `error` otherwise."""
        now = self._clock.time()
        if old is None or now - old.at >= operation.cache + operation.stale:
            raise error
        # Of an open breaker it was said when it opened; not again for every call.
        level = logger.info if error.code == NOT_ASKED else logger.warning
        level("%s: an answer %.0f seconds old stands in: %r", operation.name, now - old.at, error)
        return old

    def _keep_near(self, key: str, kept: Kept) -> Kept:
        self._near[key] = kept
        self._near.move_to_end(key)
        if len(self._near) > NEAR:
            self._near.popitem(last=False)
        return kept

    async def _kept(self, key: str, operation: Operation) -> Kept | None:
        """The newest copy there is: another process may have asked since."""
        near = self._near.get(key)
        try:
            data = await self._store.get(key)
            if data is not None:
                at, _, answer = data.partition(b"\n")
                if near is None or float(at) > near.at:
                    return self._keep_near(key, Kept(float(at), decode(operation.result, answer)))
        except ProviderUnavailableError as error:
            logger.warning("the cache could not be read: %s", error)
        except ValueError:
            logger.info("a cached answer to %s is of another version", operation.name)
        return near

    async def _put(self, key: str, data: bytes | None, *, ttl: float | None = None) -> None:
        try:
            await self._store.put([(key, data)], ttl=ttl)
        except ProviderUnavailableError as error:
            logger.warning("an answer could not be cached: %s", error)
