"""A server in its own thread and event loop, and the record of what reached it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeAlias, TypeVar
from urllib.parse import parse_qsl

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = "dict[str, Json]"

T = TypeVar("T")

START_TIMEOUT = 30.0


class Fields(Mapping[str, str]):
    """Named values in wire order; a repeated name answers with its first value."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: tuple[tuple[str, str], ...] = ()) -> None:
        self.pairs = pairs

    def _fold(self, name: str) -> str:
        return name

    def __getitem__(self, name: str) -> str:
        wanted = self._fold(name)
        for key, value in self.pairs:
            if self._fold(key) == wanted:
                return value
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(self._fold(key) for key, _ in self.pairs))

    def __len__(self) -> int:
        return len({self._fold(key) for key, _ in self.pairs})

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of a name."""
        wanted = self._fold(name)
        return tuple(value for key, value in self.pairs if self._fold(key) == wanted)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.pairs!r})"


class Headers(Fields):
    """Header fields, names without regard to case."""

    __slots__ = ()

    def _fold(self, name: str) -> str:
        return name.lower()


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request as it came over the wire. ``path`` is still percent-encoded, ``query`` is decoded."""

    method: str
    path: str
    query: Fields
    headers: Headers
    body: bytes

    def json(self) -> Json:
        """The body as JSON."""
        value: Json = json.loads(self.body)
        return value


def parse_query(raw: str) -> Fields:
    """A query string as decoded pairs."""
    return Fields(tuple(parse_qsl(raw, keep_blank_values=True))) if raw else Fields()


class Host:
    """Runs ``_serve`` on a loop in a daemon thread; records requests.

    ``keep`` bounds the recorded requests (oldest go first); ``request_count`` counts all of them.
    """

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, keep: int = 100_000) -> None:
        self.host = host
        self._wanted_port = port
        self._port = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._listening = threading.Event()
        self._arrived = threading.Condition()
        self._requests: deque[RecordedRequest] = deque(maxlen=keep)
        self._count = 0

    async def _serve(self, ready: Callable[[int], None], stop: asyncio.Event) -> None:
        """Listen, call ``ready(port)``, wait for ``stop``, clean up."""
        raise NotImplementedError

    @property
    def _scheme(self) -> str:
        return "http"

    @property
    def port(self) -> int:
        """The port it listens on; 0 before start."""
        return self._port

    @property
    def url(self) -> str:
        """Base URL without a trailing slash."""
        if not self._port:
            raise RuntimeError("the server is not started")
        return f"{self._scheme}://{self.host}:{self._port}"

    @property
    def running(self) -> bool:
        """Whether it listens now."""
        return self._thread is not None and self._thread.is_alive() and self._listening.is_set()

    def start(self) -> Self:
        """Start and wait until it listens."""
        if self._thread is not None:
            raise RuntimeError("the server is already started")
        self._listening.clear()
        self._failure = None
        self._thread = threading.Thread(target=self._run, name=f"{type(self).__name__}-loop", daemon=True)
        self._thread.start()
        if not self._listening.wait(START_TIMEOUT):
            raise RuntimeError("the server did not start")
        self._raise_failure()
        return self

    def _raise_failure(self) -> None:
        if self._failure is not None:
            self.close()
            raise self._failure

    def close(self) -> None:
        """Stop, close every connection, join the thread. Safe to call twice."""
        thread, loop, stop = self._thread, self._loop, self._stop
        if thread is None:
            return
        if loop is not None and stop is not None:
            with contextlib.suppress(RuntimeError):  # the loop ended by itself
                loop.call_soon_threadsafe(stop.set)
        thread.join()
        self._thread = self._loop = self._stop = None

    def __enter__(self) -> Self:
        return self.start() if self._thread is None else self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:  # noqa: BLE001 - start() raises it in the caller's thread
            self._failure = error
        finally:
            self._listening.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        await self._serve(self._ready, self._stop)
        for _ in range(3):  # transports report their end one turn of the loop after being closed
            await asyncio.sleep(0)

    def _ready(self, port: int) -> None:
        self._port = port
        self._listening.set()

    def _call(self, work: Coroutine[object, object, T], timeout: float | None = None) -> T:
        """Run a coroutine on the server's loop from another thread."""
        loop = self._loop
        if loop is None or not self.running:
            work.close()
            raise RuntimeError("the server is not running")
        return asyncio.run_coroutine_threadsafe(work, loop).result(timeout)

    def _soon(self, work: Callable[[], object]) -> None:
        """Call something on the server's loop, from any thread; nothing happens when it is down."""
        if self._loop is not None and self.running:
            self._loop.call_soon_threadsafe(work)

    def _record(self, request: RecordedRequest) -> None:
        with self._arrived:
            self._requests.append(request)
            self._count += 1
            self._arrived.notify_all()

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """What arrived, in order."""
        with self._arrived:
            return tuple(self._requests)

    @property
    def request_count(self) -> int:
        """How many requests arrived since the start or the last reset."""
        with self._arrived:
            return self._count

    def wait_for_requests(self, count: int, timeout: float = 10.0) -> tuple[RecordedRequest, ...]:
        """Block until that many requests have arrived, else ``TimeoutError``."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: self._count >= count, timeout):
                raise TimeoutError(f"{self._count} of {count} requests arrived within {timeout} s")
            return tuple(self._requests)

    async def received(self, count: int, timeout: float = 10.0) -> tuple[RecordedRequest, ...]:
        """``wait_for_requests`` that does not block the caller's loop."""
        return await asyncio.to_thread(self.wait_for_requests, count, timeout)

    def reset(self) -> None:
        """Forget the recorded requests."""
        with self._arrived:
            self._requests.clear()
            self._count = 0
