"""Answers to READs kept for a while; equal questions asked at once share one call."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar, cast

from providers.core.codec import decode, encode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from providers.core.operation import Operation
    from providers.core.store import Store

T = TypeVar("T")


class Cache:
    """Read-through, in the store; one flight per question and process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._flights: dict[str, asyncio.Future[object]] = {}

    async def through(
        self, operation: Operation, question: str, fetch: Callable[[], Awaitable[T]], *, fresh: bool
    ) -> T:
        """The cached answer, or that of `fetch`. `fresh` asks again and renews the cache."""
        key = f"cache/{operation.name}/{question}"
        if not fresh:
            kept = await self._store.get(key)
            if kept is not None:
                return cast("T", decode(operation.result, kept))
        while (flight := self._flights.get(key)) is not None:
            try:
                return cast("T", await asyncio.shield(flight))
            except asyncio.CancelledError:
                # Ours to obey, unless it was the leader who was cancelled: then one of the others leads.
                if not flight.cancelled():
                    raise
        flight = self._flights[key] = asyncio.get_running_loop().create_future()
        try:
            answer = await fetch()
        except asyncio.CancelledError:
            flight.cancel()
            raise
        except BaseException as error:
            flight.set_exception(error)
            flight.exception()  # followers or not, it has been seen
            raise
        else:
            flight.set_result(answer)
        finally:
            del self._flights[key]
        await self._store.put([(key, encode(answer))], ttl=operation.cache)
        return answer
