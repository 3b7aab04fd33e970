"""What is known of the attempt in flight: above all, whether anything may have left."""

from __future__ import annotations

from contextvars import ContextVar


class Attempt:
    """One try at one vendor. `sent` is True unless the transport knows that nothing has left yet."""

    __slots__ = ("sent",)

    def __init__(self) -> None:
        self.sent = True


ATTEMPT: ContextVar[Attempt | None] = ContextVar("providers_attempt", default=None)
