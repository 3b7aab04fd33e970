"""A clock that moves only when it is told to, so that no test waits for retries, leases or deadlines."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import TracebackType

START = 1_795_359_600.0
"""Wall time of a new clock: 2026-11-22, 15:00 UTC."""


class ManualClock:
    """`Clock` for tests: wall time and monotonic time move together, by `advance` only.

    With `auto` (the default) a `sleep` moves the clock itself and returns: retries cost no time. It then also passes
    the deadlines of everything else that waits. Where calls run side by side, set `auto` to False and `advance`:
    a sleep then ends when the clock has been moved past it.

    Attributes:
        auto: whether a sleep moves the clock.
        slept: the seconds of every sleep so far.

    """

    def __init__(self, now: float = START, *, auto: bool = True) -> None:
        self.auto = auto
        self.slept: list[float] = []
        self._start = now
        self._passed = 0.0
        self._waits: set[_Wait] = set()
        self._lock = threading.RLock()

    def time(self) -> float:
        """Seconds since the epoch."""
        return self._start + self._passed

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._passed

    @property
    def waiting(self) -> int:
        """How many sleeps and deadlines are pending; more than 0 once a call is under way."""
        return len(self._waits)

    def advance(self, seconds: float) -> None:
        """Let time pass, from any thread. What it ends wakes up at the next turn of its own event loop."""
        if seconds < 0:
            msg = "time does not go backwards"
            raise ValueError(msg)
        self._move(self._passed + seconds)

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has moved so far."""
        self.slept.append(seconds)
        due = self._passed + max(seconds, 0.0)
        if not self.auto:
            await self._until(due)
            return
        # Deadlines on the way come first: the clock must not read later than the one that ends this sleep.
        while (first := self._first_before(due)) is not None:
            self._move(first)
            await asyncio.sleep(0)
        self._move(due)
        await asyncio.sleep(0)

    def timeout(self, seconds: float) -> AbstractContextManager[object]:
        """Cancel the body once the clock has moved `seconds`, and raise `TimeoutError`."""
        return _Deadline(self, seconds)

    def watch(self, due: float, wake: Callable[[], None]) -> _Wait:
        """Call `wake` on the running loop when `due` (monotonic) is reached; give the result to `forget`."""
        wait = _Wait(due, asyncio.get_running_loop(), wake)
        with self._lock:
            self._waits.add(wait)
        if due <= self._passed:
            self._move(self._passed)
        return wait

    def forget(self, wait: _Wait) -> None:
        """Watch no longer."""
        with self._lock:
            self._waits.discard(wait)

    async def _until(self, due: float) -> None:
        reached = asyncio.Event()
        wait = self.watch(due, reached.set)
        try:
            await reached.wait()
        finally:
            self.forget(wait)

    def _first_before(self, due: float) -> float | None:
        with self._lock:
            return min((wait.due for wait in self._waits if wait.due < due), default=None)

    def _move(self, to: float) -> None:
        with self._lock:
            self._passed = max(self._passed, to)
            ripe = [wait for wait in self._waits if wait.due <= self._passed]
            self._waits.difference_update(ripe)
        for wait in sorted(ripe, key=lambda one: one.due):
            if not wait.loop.is_closed():
                wait.loop.call_soon_threadsafe(wait.wake)


@dataclass(frozen=True, slots=True, eq=False)
class _Wait:
    due: float
    loop: asyncio.AbstractEventLoop
    wake: Callable[[], None]


class _Deadline:
    """What `asyncio.timeout` is, by the clock's time."""

    __slots__ = ("_cancelling", "_clock", "_due", "_fired", "_task", "_wait")

    def __init__(self, clock: ManualClock, seconds: float) -> None:
        self._clock = clock
        self._due = clock.monotonic() + seconds
        self._fired = False
        self._task: asyncio.Task[object] | None = None

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        if self._task is None:
            msg = "a deadline needs a running task"
            raise RuntimeError(msg)
        self._cancelling = self._task.cancelling()
        self._wait = self._clock.watch(self._due, self._fire)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        self._clock.forget(self._wait)
        # A cancellation that came from elsewhere as well stays one.
        over = self._fired and task is not None and task.uncancel() <= self._cancelling
        if over and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _fire(self) -> None:
        if self._task is not None:  # another thread's `advance` may come after the body has ended
            self._fired = True
            self._task.cancel()
