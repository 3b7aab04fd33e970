"""One at a time, across all processes that share the store: looking before making, refreshing a token."""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from providers.core.errors import ConflictError, ProviderError
from providers.core.telemetry import logger

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from providers.core.clock import Clock
    from providers.core.store import Store

LEASE = 60.0
"""Seconds after which a lock whose holder has died is free again. What is done under it takes less."""

POLL = 0.05


@asynccontextmanager
async def locked(
    name: str, *, store: Store, clock: Clock, deadline: float, lease: float = LEASE
) -> AsyncGenerator[None]:
    """Hold the lock `name`. Raises `ConflictError` when it does not come free before `deadline` (monotonic).

    Only its holder releases it: one whose lease ran out meanwhile leaves the next one's alone.
    """
    key, mine = f"lock/{name}", secrets.token_bytes(12)
    try:
        while not await store.swap(key, None, mine, ttl=lease):
            if clock.monotonic() + POLL >= deadline:
                msg = "somebody else is doing the same just now"
                raise ConflictError(msg, code="in_flight", retryable=True, retry_after=1.0)
            await clock.sleep(POLL)
        yield
    finally:
        # Also after a cancelled question: it may have been answered with yes.
        try:
            await store.swap(key, mine, None)
        except ProviderError:
            # What was done under it is done; the lease frees it.
            logger.exception("the lock %s could not be released", name)
