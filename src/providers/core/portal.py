"""Async from sync: one event loop on one thread per process, for callers that block.

A child made by fork has no such thread: it starts one of its own at its first call, and never touches what it has
inherited.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time
from collections import deque
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from importlib import import_module
from itertools import islice
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar, cast
from weakref import finalize

from providers.core.telemetry import logger

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterable,
        AsyncIterator,
        Awaitable,
        Callable,
        Coroutine,
        Generator,
        Iterable,
        Iterator,
        Sequence,
    )
    from contextvars import Context

P = ParamSpec("P")
T = TypeVar("T")

GRACE = 5.0
"""Seconds for a call that is cut off to write its records, and at exit for calls in flight and for each closing."""

READ_AHEAD = 100
"""Items taken at a time from an iterable of the caller's."""


class BlockingCallError(RuntimeError):
    """A blocking call in a thread that runs an event loop, which would stand still meanwhile. Nothing was done."""


class Closable(Protocol):
    """What is closed at exit."""

    async def aclose(self) -> None:
        """Close it; a no-op when it is closed."""
        ...


class Portal:
    """The loop of one process, its thread, and what is to be closed with it."""

    def __init__(self) -> None:
        # Reentrant: what is made under it may ask for other things that are made under it.
        self.lock = threading.RLock()
        self.calls: set[Call] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._open: dict[int, Closable] = {}

    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop, running. Until the lock is released, whatever is submitted to it still runs."""
        with self.lock:
            return self._loop or self._start()

    def runs(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether this loop is the one in use."""
        return self._loop is loop and self is current()

    def keep(self, made: Closable, holder: object) -> None:
        """Close it at exit, or when its holder is gone."""
        self._open[id(made)] = made
        finalize(holder, self._give_up, made).atexit = False

    def _give_up(self, made: Closable) -> None:
        if self is not current():
            return
        with self.lock:
            if self._open.pop(id(made), None) is not None and self._loop is not None:
                self._loop.call_soon_threadsafe(_spawn, made.aclose)

    def close(self) -> None:
        """Let calls in flight end and close everything. The next call opens it again."""
        self._settle(end=False)

    def stop(self) -> None:
        """As `close`, and end the thread."""
        thread = self._thread
        self._settle(end=True)
        if thread is not None:
            # A daemon: what does not end is left behind.
            thread.join(GRACE)

    def _settle(self, *, end: bool) -> None:
        settled = threading.Event()
        if not self.lock.acquire(timeout=GRACE):
            return  # an end that did not come to an end
        try:
            if self._loop is None:
                return
            self._loop.call_soon_threadsafe(_spawn, partial(self._close_all, settled, end=end))
        finally:
            self.lock.release()
        settled.wait(5 * GRACE)

    def _start(self) -> asyncio.AbstractEventLoop:
        _stop_at_exit()
        loop = asyncio.new_event_loop()
        # For asyncio's debug mode: vendors' libraries load here, at the first call that needs them.
        loop.slow_callback_duration = GRACE
        thread = threading.Thread(target=self._serve, args=(loop,), name="providers-sync", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the process is at its end
            loop.close()
            raise
        self._loop, self._thread = loop, thread
        return loop

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        ended = False
        while not ended:
            with suppress(KeyboardInterrupt, SystemExit):  # raised by a task, which has it
                loop.run_forever()
                ended = True
        loop.close()

    async def _close_all(self, settled: threading.Event, *, end: bool) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + GRACE
        while True:
            self.lock.acquire()  # from here on who calls waits
            await asyncio.sleep(0)  # what was submitted before has begun
            if not self.calls or loop.time() >= until:
                break
            self.lock.release()
            await asyncio.wait([call.task for call in self.calls if call.task], timeout=until - loop.time())
        if end:
            self._loop = self._thread = None
        try:
            await _end_all([call.task for call in self.calls if call.task])
            for made in list(self._open.values()):
                try:
                    async with asyncio.timeout(GRACE):
                        await made.aclose()
                except Exception as error:  # noqa: BLE001 (one that fails does not keep the others open)
                    logger.debug("not closed at exit: %r", error)
            if end:
                await _end_all([task for task in asyncio.all_tasks() if task is not asyncio.current_task()])
                await loop.shutdown_asyncgens()
        finally:
            self.lock.release()
            settled.set()
            if end:
                loop.stop()


async def _end_all(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel them, and let them clean up."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=GRACE)


_background: set[asyncio.Task[None]] = set()


def _spawn(work: Callable[[], Coroutine[object, object, None]]) -> None:
    """Start a task that nobody waits for."""
    task = asyncio.get_running_loop().create_task(work())
    _background.add(task)
    task.add_done_callback(_background.discard)


_portal = Portal()
_inherited: list[Portal] = []
"""Those of the processes that forked this one, with all they hold: closing it would reach into their connections."""
_stopping_at_exit = False


def current() -> Portal:
    """That of this process."""
    return _portal


def _forked() -> None:
    global _portal  # noqa: PLW0603 (one per process is the point)
    _inherited.append(_portal)
    _portal = Portal()


def _stop_at_exit() -> None:
    global _stopping_at_exit  # noqa: PLW0603
    if _stopping_at_exit:
        return
    _stopping_at_exit = True
    # Loaded first, so that it is told of the end after us: stores and adapters close with the help of its threads.
    import_module("concurrent.futures.thread")
    before_threads_end = getattr(threading, "_register_atexit", None)
    if before_threads_end is not None:
        with suppress(RuntimeError):  # the end has begun
            before_threads_end(_close)
    # The thread itself is kept for threads that outlive the main one: no other can be started by then.
    atexit.register(_stop)


def _close() -> None:
    _portal.close()


def _stop() -> None:
    _portal.stop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class Twin(Generic[T]):
    """The async object behind a blocking one: made at first use, and anew in every process."""

    __slots__ = ("__weakref__", "_closes", "_made", "_make", "_portal")

    def __init__(self, make: Callable[[], T], *, closes: bool = False) -> None:
        """With `closes` it is the one that closes what it makes, a `Closable`."""
        self._make = make
        self._closes = closes
        self._portal: Portal | None = None
        self._made: T | None = None

    def __call__(self) -> T:
        """The one of this process."""
        if self._portal is not _portal:
            with _portal.lock:
                if self._portal is not _portal:
                    # In this order: who finds the portal reads what was made without the lock.
                    self._made = self._make()
                    self._portal = _portal
                    if self._closes:
                        _portal.keep(cast("Closable", self._made), self)
        return cast("T", self._made)


def refuse_in_loop(function: Callable[..., object]) -> None:
    """Raise `BlockingCallError` in a thread that runs an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    name = getattr(function, "__qualname__", None) or repr(function)
    msg = f"{name} of providers.sync blocks, and this thread runs an event loop: await that of providers.Providers here"
    raise BlockingCallError(msg)


class Call:
    """A blocking call, or the steps of an iteration one after another, as their caller's thread sees them.

    The thread waits at an inbox: for work that has to be done in this very thread, and for None, the end.
    """

    __slots__ = ("_context", "_error", "_inbox", "_loop", "_portal", "_result", "task")

    def __init__(self) -> None:
        self._portal = current()
        self._context: Context = copy_context()
        self._inbox: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._result: Any = None

    def run(self, start: Callable[[], Awaitable[T]]) -> T:
        """The result of what `start` begins on the loop. An exception in the waiting thread cancels it there."""
        self._check_process()
        try:
            with self._portal.lock:
                if self._loop is not None and not self._portal.runs(self._loop):
                    # What it iterates over was closed with it, and would seem to be complete.
                    msg = "the event loop of this iteration has ended, as it does at exit"
                    raise RuntimeError(msg)
                self._loop = self._portal.loop()
                self._loop.call_soon_threadsafe(self._begin, start)
            while (work := self._inbox.get()) is not None:
                work()
                self._check_process()
        except BaseException:
            # Ctrl-C, or a signal's handler: Celery raises its soft time limit so.
            self._interrupt()
            raise
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # the traceback holds this frame
        result, self._result = self._result, None
        return cast("T", result)

    def ask(self, work: Callable[[], None]) -> None:
        """Have it done in the caller's thread. For code on the loop."""
        self._inbox.put(work)

    def close(self, source: AsyncIterator[object]) -> None:
        """Close an async iterator that was left early."""
        aclose: Callable[[], Awaitable[None]] | None = getattr(source, "aclose", None)
        if aclose is None or self._loop is None or not self._portal.runs(self._loop):
            return

        async def closing() -> None:
            await aclose()

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self.run(closing)
        else:
            # The collector found it, in a thread that must not block.
            self._loop.call_soon_threadsafe(_spawn, closing)

    def _check_process(self) -> None:
        if self._portal is not current():
            msg = "begun before this process was forked; begin it anew here"
            raise RuntimeError(msg)

    def _begin(self, start: Callable[[], Awaitable[Any]]) -> None:
        self._portal.calls.add(self)
        self.task = asyncio.get_running_loop().create_task(self._drive(start), context=self._context)

    async def _drive(self, start: Callable[[], Awaitable[Any]]) -> None:
        try:
            self._result = await start()
        except BaseException as error:  # noqa: BLE001 (whatever it is, it is the caller's)
            self._error = error
        finally:
            # From within the task, not when it is done: the loop need not turn once more.
            self._portal.calls.discard(self)
            self._inbox.put(None)

    def _interrupt(self) -> None:
        """Cancel, and wait until what was done is written down."""
        if self._portal is not current() or self._loop is None:
            return
        try:
            self._loop.call_soon_threadsafe(self._cancel)
        except RuntimeError:  # the loop has ended, and all that ran on it
            return
        until = time.monotonic() + GRACE
        with suppress(Empty):
            while self._inbox.get(timeout=max(until - time.monotonic(), 0.0)) is not None:
                pass  # its items are not wanted any more
            return
        logger.warning("a call that was interrupted has not ended in %g seconds", GRACE)

    def _cancel(self) -> None:
        # Whatever was submitted before this has begun.
        if self.task is None or not self.task.cancel():
            self._inbox.put(None)


class Lent(Generic[T]):
    """An iterable of the caller's, read by code on the loop, and still walked in the caller's thread.

    There its database connection lives; there it may make blocking calls itself. `READ_AHEAD` items are taken at once.
    """

    __slots__ = ("_call", "_end", "_items", "_taken")

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self._taken: deque[T] = deque()
        self._end: BaseException | None = None
        self._call: Call | None = None

    def to(self, call: Call) -> None:
        """Whose thread walks it."""
        self._call = call

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        if not self._taken and self._end is None:
            if self._call is None:
                raise RuntimeError("lent to nobody")
            ready = asyncio.get_running_loop().create_future()
            self._call.ask(partial(self._take, ready))
            await ready
        if self._taken:
            return self._taken.popleft()
        end, self._end = self._end or StopAsyncIteration(), StopAsyncIteration()
        raise end

    def _take(self, ready: asyncio.Future[None]) -> None:
        """In the caller's thread. A `BaseException` that is no `Exception` is an interruption of the call."""
        taken: list[T] = []
        end: BaseException | None = None
        try:
            taken.extend(islice(self._items, READ_AHEAD))
        except Exception as error:  # noqa: BLE001 (the loop raises it where it reads)
            end = error
        else:
            if len(taken) < READ_AHEAD:
                end = StopAsyncIteration()

        def give() -> None:
            if not ready.done():
                self._taken.extend(taken)
                self._end = end
                ready.set_result(None)

        ready.get_loop().call_soon_threadsafe(give)


def lend(items: Iterable[T]) -> Iterable[T] | AsyncIterable[T]:
    """An iterable as code on the loop may read it. What is in memory is handed over as it is."""
    return items if isinstance(items, list | tuple) else Lent(iter(items))


def _lend_to(call: Call, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
    for argument in (*args, *kwargs.values()):
        if isinstance(argument, Lent):
            cast("Lent[object]", argument).to(call)


def run(function: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of an async function, waited for in this thread.

    It runs in a copy of the caller's context. Raises `BlockingCallError` in a thread that runs an event loop.
    """
    refuse_in_loop(function)
    call = Call()
    _lend_to(call, args, kwargs)
    return call.run(partial(function, *args, **kwargs))


def iterate(function: Callable[P, AsyncIterator[T]], /, *args: P.args, **kwargs: P.kwargs) -> Generator[T]:
    """The items of an async iterator, each asked for when the caller asks; leaving early closes it.

    All of it runs in one copy of the caller's context. Raises `BlockingCallError` in a thread that runs an event loop.
    """
    refuse_in_loop(function)
    call = Call()
    _lend_to(call, args, kwargs)
    return _steps(call, function, function(*args, **kwargs))


_END = object()


def _steps(call: Call, function: Callable[..., object], source: AsyncIterator[T]) -> Generator[T]:
    async def step() -> T | object:
        try:
            return await source.__anext__()
        except StopAsyncIteration:
            return _END

    while True:
        refuse_in_loop(function)
        item = call.run(step)
        if item is _END:
            return
        try:
            yield cast("T", item)
        except BaseException:
            call.close(source)
            raise


async def in_thread(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of a blocking function, run on a thread of its own: a pool could fill up with those that wait."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[T] = loop.create_future()
    context = copy_context()

    def settle(result: T | None, error: BaseException | None) -> None:
        if ready.done():
            return
        if error is not None:
            ready.set_exception(error)
        else:
            ready.set_result(cast("T", result))

    def work() -> None:
        result: T | None = None
        failure: BaseException | None = None
        try:
            result = context.run(function, *args, **kwargs)
        except BaseException as error:  # noqa: BLE001 (it is the waiting task's)
            failure = error
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=work, name="providers-sync-call", daemon=True).start()
    return await ready
