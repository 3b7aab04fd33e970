"""A vendor that keeps failing is left alone for a while, so that failover does not wait for it every time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from providers.core.errors import (
    Fault,
    Outcome,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    UnsupportedOperationError,
)

if TYPE_CHECKING:
    from providers.core.clock import Clock
    from providers.core.health import Health

FAILURES = 5
OPEN_SECONDS = 30.0

NOT_ASKED = "breaker"
"""The code of the error of a call while it is open."""


class Breaker:
    """Opens after five failures of the vendor's in a row; lets one call through every 30 seconds until it works.

    Each process counts its own failures; that it is open, and who tries again, is known to all.
    """

    __slots__ = ("_clock", "_failures", "_health")

    def __init__(self, health: Health, clock: Clock) -> None:
        self._health = health
        self._clock = clock
        self._failures = 0

    @property
    def open(self) -> bool:
        """Whether to ask `check` first."""
        return self._health.open_until > 0

    async def check(self) -> None:
        """Raise `ProviderUnavailableError` while open, unless this call is the one that tries again."""
        wait = self._health.open_until - self._clock.monotonic()
        if self.open and (wait > 0 or not await self._health.probe(OPEN_SECONDS)):
            wait = max(self._health.open_until - self._clock.monotonic(), 0.0)
            msg = f"not asked: it failed {FAILURES} times in a row"
            raise ProviderUnavailableError(msg, code=NOT_ASKED, retry_after=wait, outcome=Outcome.NOT_APPLIED)

    async def succeeded(self) -> None:
        """The vendor answered."""
        self._failures = 0
        if self.open:
            await self._health.close()

    async def failed(self, error: ProviderError) -> None:
        """Count it, if it was the vendor's fault and not a limit; anything else is an answer."""
        if error.fault is not Fault.VENDOR or isinstance(error, RateLimitedError | UnsupportedOperationError):
            await self.succeeded()
            return
        self._failures += 1
        if self._failures >= FAILURES:
            await self._health.open(OPEN_SECONDS)
