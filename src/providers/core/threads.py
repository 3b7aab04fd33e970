"""Blocking libraries, kept off the event loop: a pool of our own, and their clients, few and shared."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import OrderedDict
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar, cast

from providers.core.attempt import ATTEMPT

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from concurrent.futures import Executor, ThreadPoolExecutor

T = TypeVar("T")

WORKERS = 32
"""Threads for one vendor, unless its facts say how many calls may be in flight."""

CLIENTS = 64
"""Clients kept; each costs megabytes, and making one costs tens of milliseconds."""

EXECUTOR: ContextVar[Executor | None] = ContextVar("providers_executor", default=None)
"""What runs blocking calls in this context instead; for recordings, which follow one thread only."""


class Threads:
    """Runs one vendor's blocking calls. The pool is private: the loop's own is small, and everybody's.

    A call that nobody waits for any more keeps its thread until it ends: a vendor that hangs takes none of another's.
    """

    def __init__(self, workers: int | None = None) -> None:
        self._workers = workers or WORKERS
        self._pool: ThreadPoolExecutor | None = None
        self._pid = 0

    async def run(self, call: Callable[[], T]) -> T:
        """The result of `call`, run on a thread.

        Cancelling does not stop the thread: a call that has begun counts as sent, one still waiting does not.
        """
        attempt = ATTEMPT.get()
        if attempt is not None:
            attempt.sent = False

        def begin() -> T:
            if attempt is not None:
                attempt.sent = True
            return call()

        running = (EXECUTOR.get() or self._own()).submit(begin)
        try:
            return await asyncio.wrap_future(running)
        except asyncio.CancelledError:
            if not running.cancel() and attempt is not None:
                attempt.sent = True
            raise

    def shutdown(self) -> None:
        """End the threads that are idle; those at work end with their call."""
        pool, self._pool = self._pool, None
        if pool is not None and self._pid == os.getpid():
            pool.shutdown(wait=False, cancel_futures=True)

    def _own(self) -> ThreadPoolExecutor:
        if self._pool is None or self._pid != os.getpid():
            from concurrent.futures import ThreadPoolExecutor

            # Threads do not survive a fork.
            self._pool, self._pid = ThreadPoolExecutor(self._workers, "providers-blocking"), os.getpid()
        return self._pool


class Clients:
    """Vendors' clients by what they were made with, the least used dropped first. Safe to share between threads.

    One that has a `close` is closed when it is dropped; calls under way end all the same.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, object] = OrderedDict()
        self._lock = threading.RLock()
        self._pid = 0

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The client made with `key`, from `make` the first time. Blocks while another thread makes one.

        `make` may ask for what several clients share.
        """
        if self._pid != os.getpid():
            # A connection must not be shared with the process that forked this one, nor its lock.
            self._kept, self._lock, self._pid = OrderedDict(), threading.RLock(), os.getpid()
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            else:
                self._kept[key] = make()
                if len(self._kept) > CLIENTS:
                    _close(self._kept.popitem(last=False)[1])
            return cast("T", self._kept[key])

    def close(self) -> None:
        """Drop them all; the next call makes new ones."""
        if self._pid == os.getpid():
            with self._lock:
                kept, self._kept = self._kept, OrderedDict()
            for client in kept.values():
                _close(client)


def _close(client: object) -> None:
    close = getattr(client, "close", None)
    if callable(close):
        close()
