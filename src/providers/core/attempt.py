"""What is known of the attempt in flight: above all, whether anything may have left."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

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


@contextmanager
def written() -> Generator[None]:
    """Around what an attempt asks after it has written something.

    Each request starts as one of which nothing has left; what breaks off here must not pass for such a call.
    """
    try:
        yield
    finally:
        attempt = ATTEMPT.get()
        if attempt is not None:
            attempt.sent = True
