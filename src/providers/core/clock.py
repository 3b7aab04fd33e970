"""Time, injectable: every wait and every deadline of the package goes through a `Clock`."""

from __future__ import annotations

import asyncio
import math
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from types import TracebackType


class Clock(Protocol):
    """Wall time, a steady time for durations, sleeping and deadlines."""

    def time(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go backwards."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

    def timeout(self, seconds: float) -> AbstractContextManager[object]:
        """`with clock.timeout(5):` cancels the awaiting body after that many seconds and raises `TimeoutError`."""
        ...


class SystemClock:
    """The machine's clock."""

    def __init__(self) -> None:
        self._deadlines: Deadlines | None = None

    def time(self) -> float:
        """See `Clock.time`."""
        return time.time()

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See `Clock.sleep`."""
        await asyncio.sleep(seconds)

    def timeout(self, seconds: float) -> AbstractContextManager[object]:
        """See `Clock.timeout`."""
        loop = asyncio.get_running_loop()
        if self._deadlines is None or self._deadlines.loop is not loop:
            self._deadlines = Deadlines(loop)
        return Deadline(self._deadlines, seconds)


class Deadlines:
    """The deadlines of one event loop behind one timer.

    Every call of every capability has one. A timer each, as `asyncio.timeout` makes it, costs twice as much and stays
    in the loop's heap until its time, or until the loop next turns.
    """

    __slots__ = ("_active", "_next", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._active: dict[Deadline, None] = {}
        self._next = math.inf

    def add(self, deadline: Deadline) -> None:
        """Watch it."""
        self._active[deadline] = None
        if deadline.when < self._next:
            self._arm(deadline.when)

    def discard(self, deadline: Deadline) -> None:
        """It is over, one way or another."""
        del self._active[deadline]

    def _arm(self, when: float) -> None:
        self._next = when
        self.loop.call_at(when, self._look, when)

    def _look(self, when: float) -> None:
        """Fire what is due. A timer that was overtaken by an earlier one does nothing."""
        if when != self._next:
            return
        for deadline in [each for each in self._active if each.when <= when]:
            deadline.fire()
        later = [each.when for each in self._active if each.when > when]
        self._next = math.inf
        if later:
            self._arm(min(later))


class Deadline:
    """What `asyncio.timeout` is, over `Deadlines`."""

    __slots__ = ("_all", "_cancelling", "_fired", "_seconds", "_task", "when")

    def __init__(self, all_: Deadlines, seconds: float) -> None:
        self._all = all_
        self._seconds = seconds
        self._fired = False

    def __enter__(self) -> Self:
        loop = self._all.loop
        task = asyncio.current_task(loop)
        if task is None:
            msg = "a deadline needs a running task"
            raise RuntimeError(msg)
        self._task = task
        self._cancelling = task.cancelling()
        self.when = loop.time() + self._seconds
        self._all.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._all.discard(self)
        # A cancellation that came from elsewhere as well stays one.
        if self._fired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def fire(self) -> None:
        """The time is over."""
        if not self._fired:
            self._fired = True
            self._task.cancel()


def utc(seconds: float) -> datetime:
    """An aware datetime of seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC)
