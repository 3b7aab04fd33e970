"""The record of writes that must happen once: intent before, outcome after. Keys, twins, and what is unknown.

A record lives at `write/<live or demo>/<tenant>/<operation>/<key>` and says STARTED (with its owner), DONE (with the
result) or UNKNOWN (with the error). Beside it `open/...` marks what is not settled, so that unknown outcomes are found
without reading everything. A call that was not applied leaves nothing.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import socket
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar, cast

from pydantic import AwareDatetime
from pydantic_core import from_json, to_json

from providers.core.clock import utc
from providers.core.codec import decode
from providers.core.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    ProviderError,
    ProviderUnavailableError,
)
from providers.core.limits import Place
from providers.core.models import Model
from providers.core.telemetry import logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from pydantic import BaseModel, JsonValue

    from providers.core.clock import Clock
    from providers.core.limits import Limiter
    from providers.core.operation import Operation
    from providers.core.pipeline import Call
    from providers.core.store import Store

T = TypeVar("T")

KEPT = 7 * 86_400.0
"""Seconds a settled record answers repeats. An unknown one stays until somebody resolves it."""

LEASE = 600.0
"""Seconds after which a call on another machine is taken for dead; longer than any call may last."""

POLL = 0.1

UNKNOWN_BEFORE = "unknown_outcome"
"""The code of the error of a repeat whose first call's outcome is not known."""

ALREADY_APPLIED = "already_applied"
"""The code of the error of a repeat of what was resolved by hand as done."""

_serial = itertools.count(1)


class State(StrEnum):
    """Of a record."""

    STARTED = "started"
    DONE = "done"
    UNKNOWN = "unknown"


class Resolution(StrEnum):
    """What somebody found out about an unknown write."""

    APPLIED = "applied"
    """It happened: a repeat with the same key is refused."""
    REPEAT = "repeat"
    """It did not happen, or may happen twice: a repeat with the same key goes out."""


class Record(NamedTuple):
    """What is stored of one write: when its owner began `at`, and when the key was first used, if by another call."""

    state: State
    payload: str
    owner: str
    at: float
    vendor: str = ""
    error: str = ""
    result: JsonValue | BaseModel = None
    first: float = 0.0

    @property
    def since(self) -> float:
        """When the key was first used: from then on the vendor may have made something."""
        return self.first or self.at


class UnknownWrite(Model):
    """A write whose outcome nobody knows. `id` is what `resolve` takes."""

    id: str
    operation: str
    key: str
    vendor: str
    tenant: str
    demo: bool
    at: AwareDatetime
    reason: str


def owner() -> str:
    """This process, by host, process id and birth, so that another on the same host can tell whether it lives."""
    pid = os.getpid()
    return f"{_host()}/{pid}.{_own_birth(pid)}"


@cache
def _host() -> str:
    return socket.gethostname()


def alive(who: str, at: float, now: float) -> bool:
    """Whether the owner of an intent written `at` may still be working on it. In doubt, yes."""
    host, _, process = who.split("#", maxsplit=1)[0].rpartition("/")
    if host != _host():
        return now - at < LEASE
    pid, _, birth = process.partition(".")
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError, ValueError):
        return False
    except PermissionError:
        pass
    # A restarted container has the same host name and the same process ids.
    return _birth(int(pid)) == birth


def _birth(pid: int) -> str:
    """When a process began, in the kernel's count; `""` where there is nobody to ask."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


_own_birth = cache(_birth)


def payload_digest(payload: object) -> str:
    """What a key was first used for, compared on every repeat."""
    data = payload if isinstance(payload, bytes) else to_json(payload, bytes_mode="base64")
    return hashlib.sha256(data).hexdigest()[:32]


def scope(tenant: str, *, demo: bool) -> str:
    """Where keys are unique. A key used in a rehearsal must not answer for the real thing."""
    return f"{'demo' if demo else 'live'}/{tenant}"


class Writes:
    """Runs writes under their keys, and lists those whose outcome is unknown."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def once(
        self,
        call: Call,
        key: str,
        payload: str,
        run: Callable[[float], Awaitable[T]],
        *,
        scope: str,
        limiter: Limiter | None = None,
        find: Callable[[str, float], Awaitable[T | None]] | None = None,
        vendor: str = "",
        deduplicated_for: float = 0.0,
    ) -> T:
        """The result of `run`, or that of the first call with this key.

        `run` is told when the key was first used.

        The key is claimed and the place that `limiter` asks for is taken by one question to the store.
        Raises `ConflictError` for another payload under the key, or a twin that is still busy at `deadline`.

        `vendor` is the only one that `run` may ask, `""` if there are several. When the first call's outcome is not
        known: within `deduplicated_for` seconds of it, and if it asked the same vendor, `run` is called, since the
        vendor itself does a key only once; else `find` is asked, with the vendor (`""`: not recorded) and the time of
        that call. Where neither helps the stored failure is raised, UNKNOWN again.
        """
        operation = call.operation
        name = f"{scope}/{operation.name}/{key}"
        mine = Record(State.STARTED, payload, f"{owner()}#{next(_serial)}", self._clock.time(), vendor)
        try:
            first = await self._first(name, mine, call, limiter)
        except BaseException:
            # A claim that was cancelled may have been written all the same.
            if await self._store.swap("write/" + name, _dump(mine), None):
                await self._store.put([("open/" + name, None)])
            raise
        if first is not None and first.state is State.UNKNOWN:
            if first.vendor == vendor and self._clock.time() - first.since < deduplicated_for:
                # The vendor counts from the first use of the key.
                mine = mine._replace(first=first.since)
                await self._claim_again(name, first, mine)
                # Whatever comes of this attempt, that one may have been applied.
                call.unknown = True
                first = None
            elif find is not None and (found := await find(first.vendor, first.since)) is not None:
                await self._done(name, first, found)
                return found
            else:
                raise _unknown(first)
        if first is not None:
            return cast("T", _answer(operation, first))
        try:
            result = await run(mine.since)
        except BaseException as error:
            if call.unknown:
                await self._record([("write/" + name, _dump(_as_unknown(mine, error)))])
            else:
                await self._record([("write/" + name, None), ("open/" + name, None)])
            raise
        if getattr(result, "dry_run", False):
            # The vendor checked it and did nothing: the real one is still to come.
            await self._record([("write/" + name, None), ("open/" + name, None)])
            return result
        await self._done(name, mine, result)
        return result

    async def _done(self, name: str, record: Record, result: object) -> None:
        done = record._replace(state=State.DONE, result=cast("BaseModel", result), error="")
        await self._record([("write/" + name, _dump(done)), ("open/" + name, None)], ttl=KEPT)

    async def _claim_again(self, name: str, unknown: Record, mine: Record) -> None:
        """Make an unknown write ours. Raises `ConflictError` when another call has done so just before."""
        try:
            ours = await self._store.swap("write/" + name, _dump(unknown), _dump(mine))
        except BaseException:
            # A swap that was cancelled may have been done all the same.
            await self._store.swap("write/" + name, _dump(mine), _dump(unknown))
            raise
        if not ours:
            msg = "a call with the same idempotency key has just begun"
            raise ConflictError(msg, code="in_flight", retryable=True, retry_after=1.0)

    async def _first(self, name: str, mine: Record, call: Call, limiter: Limiter | None) -> Record | None:
        """The record of the first call with this key, once that has ended; None when that is us. Waits for a twin."""
        items = [("write/" + name, _dump(mine)), ("open/" + name, b"")]
        while True:
            meter = None if limiter is None else limiter.meter(call.counted, call.deadline)
            there, wait = await self._store.begin(items, meter=meter)
            if there is None:
                if meter is not None:
                    call.place = Place(meter.key, self._clock.monotonic() + wait)
                return None
            record = _load(there)
            if record.payload != mine.payload:
                msg = "this idempotency key was used for another request"
                raise ConflictError(msg, code="key_reused", field="idempotency_key")
            if record.state is not State.STARTED:
                return record
            if not alive(record.owner, record.at, self._clock.time()):
                await self._mark_dead("write/" + name, there, record)
                continue
            if self._clock.monotonic() + POLL >= call.deadline:
                msg = "a call with the same idempotency key is still running"
                raise ConflictError(msg, code="in_flight", retryable=True, retry_after=1.0)
            await self._clock.sleep(POLL)

    async def _record(self, items: list[tuple[str, bytes | None]], *, ttl: float | None = None) -> None:
        """Write an outcome down. A store that fails now must not hide it from the caller: the intent stays."""
        try:
            await self._store.put(items, ttl=ttl)
        except ProviderError:
            logger.exception("the outcome of a write could not be recorded; its intent stays")

    async def note_unknown(self, operation: Operation, error: BaseException, *, scope: str, payload: str) -> None:
        """Record a write without a key whose outcome is unknown, so that it is listed too."""
        now = self._clock.time()
        name = f"{scope}/{operation.name}/~{int(now * 1e6):x}-{os.getpid():x}-{next(_serial):x}"
        record = _as_unknown(Record(state=State.STARTED, payload=payload, owner=owner(), at=now), error)
        await self._record([("write/" + name, _dump(record)), ("open/" + name, b"")])

    async def unknown(self) -> AsyncIterator[UnknownWrite]:
        """Writes whose outcome is not known: failed so, or cut off with the process that made them."""
        async for key, _ in self._store.scan("open/"):
            name = key.removeprefix("open/")
            stored = await self._store.get("write/" + name)
            if stored is None:
                continue
            record = _load(stored)
            if record.state is State.STARTED and not alive(record.owner, record.at, self._clock.time()):
                record = await self._mark_dead("write/" + name, stored, record)
            if record.state is State.UNKNOWN:
                realm, tenant, operation, write_key = name.split("/", 3)
                yield UnknownWrite(
                    id=name, operation=operation, key="" if write_key.startswith("~") else write_key, tenant=tenant,
                    demo=realm == "demo",
                    vendor=record.vendor, at=utc(record.since), reason=record.error,
                )  # fmt: skip

    async def resolve(self, write: str, resolution: Resolution) -> None:
        """Settle an unknown write by hand. Raises `NotFoundError` when there is no such unknown write."""
        if resolution not in set(Resolution):
            msg = f"resolution: {resolution!r} is neither 'applied' nor 'repeat'"
            raise InvalidRequestError(msg, field="resolution")
        stored = await self._store.get("write/" + write)
        record = _load(stored) if stored is not None else None
        if record is None or record.state is not State.UNKNOWN:
            msg = f"no write with an unknown outcome is called {write[:120]!r}"
            raise NotFoundError(msg, field="id")
        if resolution == Resolution.APPLIED:
            done = record._replace(state=State.DONE)
            await self._store.put([("write/" + write, _dump(done)), ("open/" + write, None)], ttl=KEPT)
        else:
            await self._store.put([("write/" + write, None), ("open/" + write, None)])

    async def settled(self, operation: Operation, write: str) -> object:
        """The result of a write that is done, as far as it is known; None for any other."""
        stored = await self._store.get("write/" + write)
        record = None if stored is None else _load(stored)
        if record is None or record.state is not State.DONE or record.result is None:
            return None
        return _answer(operation, record)

    async def settle(self, write: str, result: object) -> None:
        """Evidence came that an unknown write happened: `result` answers repeats. Nothing for one that is not."""
        stored = await self._store.get("write/" + write)
        record = None if stored is None else _load(stored)
        if record is None or stored is None:
            return
        if record.state is State.STARTED and not alive(record.owner, record.at, self._clock.time()):
            record = await self._mark_dead("write/" + write, stored, record)
        if record.state is State.UNKNOWN:
            await self._done(write, record, result)

    async def _mark_dead(self, key: str, stored: bytes, record: Record) -> Record:
        dead = record._replace(state=State.UNKNOWN, error="the process that sent it ended")
        await self._store.swap(key, stored, _dump(dead))
        return dead


def _dump(record: Record) -> bytes:
    return to_json(record._asdict())


def _load(stored: bytes) -> Record:
    fields = from_json(stored)
    record = Record(**fields)
    return record._replace(state=State(record.state))


def _as_unknown(record: Record, error: BaseException) -> Record:
    text, vendor = str(error) or type(error).__name__, getattr(error, "vendor", "") or ""
    return record._replace(state=State.UNKNOWN, error=text, vendor=vendor or record.vendor)


def _answer(operation: Operation, record: Record) -> object:
    if record.result is None and operation.result is not None:
        msg = "this write was resolved by hand as applied; its result is not known"
        raise ConflictError(msg, code=ALREADY_APPLIED, field="idempotency_key")
    return decode(operation.result, to_json(record.result))


def _unknown(record: Record) -> ProviderUnavailableError:
    msg = f"the outcome of the first call with this key is unknown ({record.error}); resolve it first"
    return ProviderUnavailableError(
        msg, code=UNKNOWN_BEFORE, vendor=record.vendor or None, outcome=Outcome.UNKNOWN, retryable=False
    )
