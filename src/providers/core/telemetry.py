"""What others may watch: one record before a call and one after it. Costs nothing when nobody watches."""

from __future__ import annotations

import hashlib
import logging
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

logger = logging.getLogger("providers")


@dataclass(frozen=True, slots=True)
class CallStart:
    """A call that begins. Never bodies, addresses or secrets: tenant and key are digests."""

    operation: str
    tenant: str
    key: str


@dataclass(frozen=True, slots=True)
class CallEnd:
    """How it went. `seconds` include waiting; `error` is None for success, and may be a cancellation or a bug.

    `cost` is what it is known to have cost, in the currency of the vendor's prices, where calls differ in that.
    """

    vendor: str
    attempts: int
    seconds: float
    error: BaseException | None
    cost: Decimal | None = None


class Hook(Protocol):
    """Called at the start of every call; what it returns is called at the end."""

    def __call__(self, start: CallStart, /) -> Callable[[CallEnd], None]:
        """Begin watching one call."""
        ...


def digest(text: str) -> str:
    """A short stable stand-in for a value that must not be shown."""
    return hashlib.sha256(text.encode()).hexdigest()[:12] if text else ""


def default_hooks() -> tuple[Hook, ...]:
    """OpenTelemetry's, in a process that uses it. Merely having it installed costs nothing."""
    if "opentelemetry.trace" not in sys.modules:
        return ()
    from providers.core.otel import OpenTelemetryHook

    return (OpenTelemetryHook(),)
