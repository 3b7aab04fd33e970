"""What is known of the attempt in flight: above all, whether anything may have left."""

from __future__ import annotations

from contextvars import ContextVar
from math import inf

NO_PLACE = "limit"
"""The code of our own error where no place comes free in time."""


class Attempt:
    """One try at one vendor, until `deadline` (monotonic).

    `sent` is True unless the transport knows that nothing has left yet. `placed` is when a place in the account's rate
    came free for its first request (monotonic); None when that is used, or there is none.
    """

    __slots__ = ("deadline", "placed", "sent")

    def __init__(self, deadline: float = inf, *, placed: float | None = None) -> None:
        self.deadline = deadline
        self.placed = placed
        self.sent = True


ATTEMPT: ContextVar[Attempt | None] = ContextVar("providers_attempt", default=None)
