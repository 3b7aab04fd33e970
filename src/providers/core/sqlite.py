"""State in one SQLite file: durable, and shared by the processes of one machine."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from providers.core.errors import ConfigurationError, Outcome, ProviderUnavailableError
from providers.core.store import SCAN_PAGE, SWEEP, counted, metered

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from providers.core.clock import Clock
    from providers.core.store import Meter

T = TypeVar("T")

BUSY_SECONDS = 30.0
VARIABLES = 500
"""Keys asked for in one statement; SQLite's own limit is higher everywhere."""

INHERITED: list[sqlite3.Connection] = []
"""Connections of the process that forked this one: kept, because forgetting one would close it."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, value BLOB NOT NULL, expires REAL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counters (key TEXT PRIMARY KEY, total INTEGER NOT NULL, expires REAL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meters (key TEXT PRIMARY KEY, due REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS entries_expire ON entries (expires) WHERE expires IS NOT NULL;
"""


class SqliteStore:
    """`Store` on one file. Every write is synced to disk before the call it protects goes out."""

    durable = True
    shared = True

    def __init__(self, path: str, clock: Clock) -> None:
        self._path = Path(path)
        self._clock = clock
        self._pid = 0
        self._transactions = 0
        self._thread: ThreadPoolExecutor | None = None
        self._db: sqlite3.Connection | None = None

    async def get(self, key: str) -> bytes | None:
        """See `Store.get`."""

        def work(db: sqlite3.Connection, now: float) -> bytes | None:
            return _existing(db, [key], now).get(key)

        return await self._run(work)

    async def swap(self, key: str, old: bytes | None, new: bytes | None, *, ttl: float | None = None) -> bool:
        """See `Store.swap`."""

        def work(db: sqlite3.Connection, now: float) -> bool:
            if _existing(db, [key], now).get(key) != old:
                return False
            _write(db, [(key, new)], now, ttl)
            return True

        return await self._run(work)

    async def claim(self, items: Sequence[tuple[str, bytes]], *, ttl: float | None = None) -> list[bytes | None]:
        """See `Store.claim`."""

        def all_new(db: sqlite3.Connection, now: float) -> list[bytes | None]:
            _insert_all(db, items, now, ttl)
            return [None] * len(items)

        def work(db: sqlite3.Connection, now: float) -> list[bytes | None]:
            there = _existing(db, [key for key, _ in items], now)
            found: list[bytes | None] = []
            fresh: dict[str, bytes | None] = {}
            for key, value in items:
                known = there.get(key, fresh.get(key))
                found.append(known)
                if known is None:
                    fresh[key] = value
            _write(db, list(fresh.items()), now, ttl)
            return found

        try:
            return await self._run(all_new)
        except _SomeKnown:
            return await self._run(work)

    async def put(self, items: Sequence[tuple[str, bytes | None]], *, ttl: float | None = None) -> None:
        """See `Store.put`."""

        def work(db: sqlite3.Connection, now: float) -> None:
            _write(db, items, now, ttl)

        await self._run(work)

    async def add(self, key: str, amount: int, *, ceiling: int | None = None, ttl: float | None = None) -> int | None:
        """See `Store.add`."""

        def work(db: sqlite3.Connection, now: float) -> int | None:
            row = db.execute("SELECT total, expires FROM counters WHERE key = ?", (key,)).fetchone()
            counter = counted(row, now, amount, ceiling, ttl)
            if counter is None:
                return None
            db.execute("INSERT OR REPLACE INTO counters VALUES (?, ?, ?)", (key, *counter))
            return counter[0]

        return await self._run(work)

    async def take(self, meter: Meter) -> float:
        """See `Store.take`."""
        return await self._run(lambda db, now: _take(db, now, meter))

    async def begin(
        self, items: Sequence[tuple[str, bytes]], *, meter: Meter | None = None, ttl: float | None = None
    ) -> tuple[bytes | None, float]:
        """See `Store.begin`."""
        first = items[0][0]

        def work(db: sqlite3.Connection, now: float) -> tuple[bytes | None, float]:
            there = _existing(db, [first], now).get(first)
            if there is not None:
                return there, 0.0
            _write(db, items, now, ttl)
            return None, 0.0 if meter is None else _take(db, now, meter)

        return await self._run(work)

    async def scan(self, prefix: str) -> AsyncIterator[tuple[str, bytes]]:
        """See `Store.scan`."""
        last = prefix
        end = prefix + "\U0010ffff"

        def work(db: sqlite3.Connection, now: float) -> list[tuple[str, bytes]]:
            return db.execute(
                "SELECT key, value FROM entries WHERE key >= ? AND key < ? AND (expires IS NULL OR expires > ?)"
                " ORDER BY key LIMIT ?",
                (last, end, now, SCAN_PAGE),
            ).fetchall()

        while True:
            rows = await self._run(work)
            for row in rows:
                yield row
            if len(rows) < SCAN_PAGE:
                return
            last = rows[-1][0] + "\0"

    async def shortcomings(self) -> tuple[str, ...]:
        """See `Store.shortcomings`."""
        return ()

    async def aclose(self) -> None:
        """Close the file; the next use opens it again."""
        if self._thread is not None and self._pid == os.getpid():
            await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
            self._thread.shutdown()
        self._thread = None

    async def _run(self, work: Callable[[sqlite3.Connection, float], T]) -> T:
        """Do `work` in one transaction on the store's own thread: a disk must not hold up the event loop."""
        if self._thread is None or self._pid != os.getpid():
            # After a fork the parent's connection must not be touched, not even to close it.
            if self._db is not None:
                INHERITED.append(self._db)
            self._thread, self._db, self._pid = ThreadPoolExecutor(1, "providers-sqlite"), None, os.getpid()
        future = asyncio.get_running_loop().run_in_executor(self._thread, self._transaction, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            # The transaction cannot be stopped: whoever cleans up after this needs it to be over.
            await asyncio.wait({future})
            raise

    def _transaction(self, work: Callable[[sqlite3.Connection, float], T]) -> T:
        db = self._db or self._open()
        try:
            db.execute("BEGIN IMMEDIATE")
            try:
                now = self._clock.time()
                result = work(db, now)
                self._transactions += 1
                if self._transactions % SWEEP == 0:
                    _sweep(db, now)
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")
        except sqlite3.Error as error:
            msg = f"the state store {self._path.name} failed: {error}"
            raise ProviderUnavailableError(msg, code="store", outcome=Outcome.NOT_APPLIED) from error
        return result

    def _open(self) -> sqlite3.Connection:
        db: sqlite3.Connection | None = None
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # It holds addresses and results: nobody else's business. The files beside it take over its mode.
            with suppress(FileExistsError):
                self._path.touch(0o600, exist_ok=False)
            db = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None)
            self._path.chmod(0o600)
            _switch_to_wal(db)
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA cache_size = -32000")
            # A large batch touches a thousand pages: copying them back after each would double its cost.
            db.execute("PRAGMA wal_autocheckpoint = 8000")
            db.executescript(SCHEMA)
            _sweep(db, self._clock.time())
        except (OSError, sqlite3.Error) as error:
            if db is not None:
                db.close()
            msg = f"PROVIDER_STATE_URL: cannot open {self._path}: {error}"
            raise ConfigurationError(msg, field="PROVIDER_STATE_URL") from error
        self._db = db
        return db

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


def _take(db: sqlite3.Connection, now: float, meter: Meter) -> float:
    row = db.execute("SELECT due FROM meters WHERE key = ?", (meter.key,)).fetchone()
    due, wait = metered(row[0] if row else 0.0, now, meter)
    db.execute("INSERT OR REPLACE INTO meters VALUES (?, ?)", (meter.key, due))
    return wait


def _sweep(db: sqlite3.Connection, now: float) -> None:
    """Drop what has expired and nobody asks for."""
    db.execute("DELETE FROM entries WHERE expires <= ?", (now,))
    db.execute("DELETE FROM counters WHERE expires <= ?", (now,))


def _switch_to_wal(db: sqlite3.Connection) -> None:
    """SQLite does not wait for others here, as it does everywhere else, when several processes start at once."""
    give_up = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.01)
        else:
            return


def _insert_all(db: sqlite3.Connection, items: Sequence[tuple[str, bytes]], now: float, ttl: float | None) -> None:
    """Insert items that are all new, as those of a batch usually are; `_SomeKnown` rolls back if any is not."""
    expires = None if ttl is None else now + ttl
    rows = [(key, value, expires) for key, value in items]
    if db.executemany("INSERT OR IGNORE INTO entries VALUES (?, ?, ?)", rows).rowcount < len(items):
        raise _SomeKnown


class _SomeKnown(Exception):  # noqa: N818 (a signal, not an error)
    """Some of the keys to insert exist."""


def _existing(db: sqlite3.Connection, keys: Sequence[str], now: float) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for start in range(0, len(keys), VARIABLES):
        some = keys[start : start + VARIABLES]
        marks = ",".join("?" * len(some))
        found.update(
            db.execute(
                f"SELECT key, value FROM entries WHERE key IN ({marks}) AND (expires IS NULL OR expires > ?)",  # noqa: S608 (only marks)
                (*some, now),
            )
        )
    return found


def _write(db: sqlite3.Connection, items: Sequence[tuple[str, bytes | None]], now: float, ttl: float | None) -> None:
    expires = None if ttl is None else now + ttl
    db.executemany(
        "INSERT INTO entries VALUES (?, ?, ?)"
        " ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires = excluded.expires",
        [(key, value, expires) for key, value in items if value is not None],
    )
    db.executemany("DELETE FROM entries WHERE key = ?", [(key,) for key, value in items if value is None])
