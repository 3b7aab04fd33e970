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

FAILURES = 5
OPEN_SECONDS = 30.0


class Breaker:
    """Opens after five failures of the vendor's in a row; lets one call through every 30 seconds until it works."""

    __slots__ = ("_clock", "_failures", "_opened_until")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = 0
        self._opened_until = 0.0

    def check(self) -> None:
        """Raise `ProviderUnavailableError` while open."""
        if self._failures < FAILURES:
            return
        now = self._clock.monotonic()
        if now < self._opened_until:
            msg = f"not asked: it failed {self._failures} times in a row"
            wait = self._opened_until - now
            raise ProviderUnavailableError(msg, code="breaker", retry_after=wait, outcome=Outcome.NOT_APPLIED)
        # This call is the probe; others wait for its result.
        self._opened_until = now + OPEN_SECONDS

    def succeeded(self) -> None:
        """The vendor answered."""
        self._failures = 0

    def failed(self, error: ProviderError) -> None:
        """Count it, if it was the vendor's fault and not a limit."""
        if error.fault is not Fault.VENDOR or isinstance(error, RateLimitedError | UnsupportedOperationError):
            self._failures = 0
            return
        self._failures += 1
        if self._failures >= FAILURES:
            self._opened_until = self._clock.monotonic() + OPEN_SECONDS
