"""Shared state behind one small protocol: idempotency records, journals, budgets, limits, caches, demo state."""

from __future__ import annotations

from bisect import bisect_left, insort
from math import inf
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from providers.core.clock import Clock

SCAN_PAGE = 500
SWEEP = 10_000
"""Writes with an expiry between two looks for what has expired."""


class Meter(NamedTuple):
    """`places` of the meter `key`, which frees `rate` places a second and holds `burst` of them.

    They are ours when all are there; more than `burst` when that is full, and the next wait for the rest. A negative
    number gives so many back. Who gives up must not hold up those who wait: none is taken when they are `patience`
    seconds away or more.
    """

    key: str
    rate: float
    burst: int = 1
    places: int = 1
    patience: float = inf


class Store(Protocol):
    """Keys to bytes, with expiry. Each method is atomic as a whole, across every process that shares the store.

    `ttl` is seconds; None keeps a value for ever. Counters (`add`) and meters (`take`) live beside the values:
    `get` and `scan` do not see them.
    """

    @property
    def durable(self) -> bool:
        """Whether the state outlives the process."""
        ...

    @property
    def shared(self) -> bool:
        """Whether other processes may see it."""
        ...

    async def get(self, key: str) -> bytes | None:
        """The value, if there is one."""
        ...

    async def swap(self, key: str, old: bytes | None, new: bytes | None, *, ttl: float | None = None) -> bool:
        """Write `new` only if the value is still `old`. None stands for absent."""
        ...

    async def claim(self, items: Sequence[tuple[str, bytes]], *, ttl: float | None = None) -> list[bytes | None]:
        """Write those that are absent. Per item: None when it was written, else the value that was there."""
        ...

    async def put(self, items: Sequence[tuple[str, bytes | None]], *, ttl: float | None = None) -> None:
        """Write all, whatever was there; None deletes."""
        ...

    async def add(self, key: str, amount: int, *, ceiling: int | None = None, ttl: float | None = None) -> int | None:
        """Add to a counter and return it; None, and nothing added, when it would pass `ceiling`.

        `ttl` counts from the counter's first use.
        """
        ...

    async def take(self, meter: Meter) -> float:
        """Take places of a meter; the seconds to wait until they are ours. At `meter.patience` or more none is."""
        ...

    async def begin(
        self, items: Sequence[tuple[str, bytes]], *, meter: Meter | None = None, ttl: float | None = None
    ) -> tuple[bytes | None, float]:
        """If the first key is free, write all items and `take` the places; the seconds to wait for those.

        Else nothing is written or taken: the value that was there, and 0.
        """
        ...

    def scan(self, prefix: str) -> AsyncIterator[tuple[str, bytes]]:
        """All values whose key starts with `prefix`, in order of their keys."""
        ...

    async def shortcomings(self) -> tuple[str, ...]:
        """Why keys and journals of live writes may get lost here, in words to show; empty when all is well."""
        ...

    async def aclose(self) -> None:
        """Release files and connections."""
        ...


def open_store(url: str, clock: Clock) -> Store:
    """The store that `PROVIDER_STATE_URL` names: `memory://`, `sqlite:///path` or `redis://host:6379/0`."""
    scheme, _, rest = url.partition("://")
    if scheme == "memory":
        return MemoryStore(clock)
    if scheme == "sqlite" and rest.strip("/"):
        from providers.core.sqlite import SqliteStore

        # As SQLAlchemy writes it: three slashes and a relative path, four and an absolute one.
        return SqliteStore(rest.removeprefix("/"), clock)
    from providers.core.errors import ConfigurationError

    if scheme in {"redis", "rediss", "valkey", "valkeys", "unix"}:
        try:
            from providers.core.redis import RedisStore
        except ModuleNotFoundError as error:
            msg = f"PROVIDER_STATE_URL: {scheme}:// needs hiredis: pip install 'providers[redis]'"
            raise ConfigurationError(msg, field="PROVIDER_STATE_URL") from error
        return RedisStore(url)
    msg = f"PROVIDER_STATE_URL: {scheme + '://...'!r} is not supported; use memory://, sqlite:///path or redis://host"
    raise ConfigurationError(msg, field="PROVIDER_STATE_URL")


def metered(due: float, now: float, meter: Meter) -> tuple[float, float]:
    """The generic cell rate algorithm: when all places are there again after these, and how long to wait for these."""
    due = max(due, now)
    wait = max(due - (meter.burst - min(meter.places, meter.burst)) / meter.rate - now, 0.0)
    if wait > 0 and wait >= meter.patience:
        return due, wait
    return due + meter.places / meter.rate, wait


Counter: TypeAlias = tuple[int, float | None]
"""Total, and when it starts anew."""


def counted(counter: Counter | None, now: float, amount: int, ceiling: int | None, ttl: float | None) -> Counter | None:
    """The counter after adding; None when that would pass the ceiling."""
    total, expires = counter or (0, None)
    if expires is not None and expires <= now:
        total, expires = 0, None
    if ceiling is not None and amount > 0 and total + amount > ceiling:
        return None
    if expires is None and ttl is not None:
        expires = now + ttl
    return total + amount, expires


class MemoryStore:
    """State of one process; gone with it."""

    durable = False
    shared = False

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._values: dict[str, tuple[bytes, float | None]] = {}
        self._order: list[str] | None = None
        self._counters: dict[str, Counter] = {}
        self._meters: dict[str, float] = {}
        self._kept_for_a_while = 0

    def _sweep(self) -> None:
        """Drop what has expired and nobody asks for."""
        now = self._clock.time()
        self._values = {key: kept for key, kept in self._values.items() if kept[1] is None or kept[1] > now}
        self._counters = {key: kept for key, kept in self._counters.items() if kept[1] is None or kept[1] > now}
        self._order = None

    def _read(self, key: str) -> bytes | None:
        found = self._values.get(key)
        if found is None:
            return None
        value, expires = found
        if expires is not None and expires <= self._clock.time():
            self._write(key, None, None)
            return None
        return value

    def _write(self, key: str, value: bytes | None, ttl: float | None) -> None:
        known = key in self._values
        if value is None:
            if known:
                del self._values[key]
                self._order = None
            return
        self._values[key] = (value, None if ttl is None else self._clock.time() + ttl)
        if ttl is not None:
            self._kept_for_a_while += 1
            if self._kept_for_a_while % SWEEP == 0:
                self._sweep()
        if not known and self._order is not None:
            insort(self._order, key)

    async def get(self, key: str) -> bytes | None:
        """See `Store.get`."""
        return self._read(key)

    async def swap(self, key: str, old: bytes | None, new: bytes | None, *, ttl: float | None = None) -> bool:
        """See `Store.swap`."""
        if self._read(key) != old:
            return False
        self._write(key, new, ttl)
        return True

    async def claim(self, items: Sequence[tuple[str, bytes]], *, ttl: float | None = None) -> list[bytes | None]:
        """See `Store.claim`."""
        found: list[bytes | None] = []
        for key, value in items:
            there = self._read(key)
            found.append(there)
            if there is None:
                self._write(key, value, ttl)
        return found

    async def put(self, items: Sequence[tuple[str, bytes | None]], *, ttl: float | None = None) -> None:
        """See `Store.put`."""
        for key, value in items:
            self._write(key, value, ttl)

    async def add(self, key: str, amount: int, *, ceiling: int | None = None, ttl: float | None = None) -> int | None:
        """See `Store.add`."""
        counter = counted(self._counters.get(key), self._clock.time(), amount, ceiling, ttl)
        if counter is None:
            return None
        self._counters[key] = counter
        return counter[0]

    async def take(self, meter: Meter) -> float:
        """See `Store.take`."""
        return self._take(meter)

    async def begin(
        self, items: Sequence[tuple[str, bytes]], *, meter: Meter | None = None, ttl: float | None = None
    ) -> tuple[bytes | None, float]:
        """See `Store.begin`."""
        there = self._read(items[0][0])
        if there is not None:
            return there, 0.0
        for key, value in items:
            self._write(key, value, ttl)
        return None, 0.0 if meter is None else self._take(meter)

    def _take(self, meter: Meter) -> float:
        due, wait = metered(self._meters.get(meter.key, 0.0), self._clock.time(), meter)
        self._meters[meter.key] = due
        return wait

    async def scan(self, prefix: str) -> AsyncIterator[tuple[str, bytes]]:
        """See `Store.scan`."""
        last = prefix
        while True:
            if self._order is None:
                self._order = sorted(self._values)
            at = bisect_left(self._order, last)
            keys = self._order[at : at + SCAN_PAGE]
            for key in keys:
                if not key.startswith(prefix):
                    return
                value = self._read(key)
                if value is not None:
                    yield key, value
            if len(keys) < SCAN_PAGE:
                return
            last = keys[-1] + "\0"

    async def shortcomings(self) -> tuple[str, ...]:
        """See `Store.shortcomings`."""
        return ("it is gone with the process, and other processes do not see it",)

    async def aclose(self) -> None:
        """Nothing to release; the state stays readable."""
