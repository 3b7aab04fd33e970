"""Answers to READs kept for a while; equal questions asked at once share one call."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar, cast

from providers.core.codec import decode, encode
from providers.core.errors import Outcome, ProviderTimeoutError, ProviderUnavailableError
from providers.core.telemetry import logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager

    from providers.core.operation import Operation
    from providers.core.store import Store

T = TypeVar("T")


class Cache:
    """Read-through, in the store; one flight per question and process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._flights: dict[str, asyncio.Future[object]] = {}

    async def through(
        self,
        operation: Operation,
        question: str,
        fetch: Callable[[], Awaitable[T]],
        *,
        fresh: bool,
        deadline: Callable[[], AbstractContextManager[object]],
    ) -> T:
        """The cached answer, or that of `fetch`. `fresh` asks again and renews the cache.

        `deadline` bounds the wait for somebody else's call. A store that fails costs the cache, not the answer.
        """
        key = f"cache/{operation.name}/{question}"
        if not fresh:
            kept = await self._kept(key, operation)
            if kept is not None:
                return cast("T", kept)
        while (flight := self._flights.get(key)) is not None:
            try:
                with deadline():
                    return cast("T", await asyncio.shield(flight))
            except TimeoutError as error:
                msg = "no answer in time to the same question, asked by another call"
                raise ProviderTimeoutError(
                    msg, operation=operation.name, code="timeout", outcome=Outcome.NOT_APPLIED
                ) from error
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
        try:
            await self._store.put([(key, encode(answer))], ttl=operation.cache)
        except ProviderUnavailableError as error:
            logger.warning("an answer could not be cached: %s", error)
        return answer

    async def _kept(self, key: str, operation: Operation) -> object:
        try:
            kept = await self._store.get(key)
            return None if kept is None else decode(operation.result, kept)
        except ProviderUnavailableError as error:
            logger.warning("the cache could not be read: %s", error)
        except ValueError:
            logger.info("a cached answer to %s is of another version", operation.name)
        return None
