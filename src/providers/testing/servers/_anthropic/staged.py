"""What is staged for the next streams: where each is held, breaks off, or ends in an error."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


class Queue(Generic[T]):
    """Values for the next streams, in order."""

    def __init__(self) -> None:
        self._waiting: deque[T] = deque()

    def add(self, value: T, times: int) -> None:
        """For so many streams."""
        if times < 1:
            raise ValueError("times must be at least 1")
        self._waiting.extend([value] * times)

    def take(self) -> T | None:
        """For this stream."""
        return self._waiting.popleft() if self._waiting else None

    def clear(self) -> None:
        """Nothing more."""
        self._waiting.clear()


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens to one stream, by how many events were sent: held, then broken off or ended by an error."""

    hold: int | None = None
    broken: int | None = None
    error: tuple[int, str] | None = None


@dataclass(slots=True)
class Staged:
    """The queues; each stream takes at most one of each."""

    holds: Queue[int] = field(default_factory=Queue[int])
    breaks: Queue[int] = field(default_factory=Queue[int])
    errors: Queue[tuple[int, str]] = field(default_factory=Queue[tuple[int, str]])

    def next(self) -> Plan:
        """For this stream."""
        return Plan(self.holds.take(), self.breaks.take(), self.errors.take())

    def clear(self) -> None:
        """Nothing more."""
        self.holds.clear()
        self.breaks.clear()
        self.errors.clear()
