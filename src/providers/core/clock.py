"""Time, injectable: every wait and every deadline of the package goes through a `Clock`."""

from __future__ import annotations

import asyncio
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
        return Deadline(seconds)


class Deadline:
    """What `asyncio.timeout` does, at half its price: every call of every capability pays for one."""

    __slots__ = ("_cancelling", "_fired", "_handle", "_seconds", "_task")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._fired = False

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        if task is None:
            msg = "a deadline needs a running task"
            raise RuntimeError(msg)
        self._task = task
        self._cancelling = task.cancelling()
        self._handle = loop.call_later(self._seconds, self.fire)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.cancel()
        # A cancellation that came from elsewhere as well stays one.
        if self._fired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def fire(self) -> None:
        """The time is over."""
        self._fired = True
        self._task.cancel()


def utc(seconds: float) -> datetime:
    """An aware datetime of seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC)
