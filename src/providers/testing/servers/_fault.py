"""What can go wrong with one exchange, and how it is acted out on a connection."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from http import HTTPStatus
from typing import ClassVar

from providers.testing.servers._host import Json

Match = tuple[str | None, str]
"""Method (``None``: any) and path prefix a fault waits for."""

GARBAGE = b"\x16\x03\x00 this is not HTTP \x00\xff\r\n\r\n"
HTML = b"<!doctype html><html><body><h1>Service unavailable</h1></body></html>"


class Kind(StrEnum):
    """The ways an exchange can fail."""

    PASS = "pass"  # noqa: S105 - the exchange passes
    REFUSE = "refuse"
    RESET_BEFORE = "reset_before"
    RESET_AFTER = "reset_after"
    SLOW_HEADERS = "slow_headers"
    SLOW_BODY = "slow_body"
    TRUNCATED_BODY = "truncated_body"
    STATUS = "status"
    GARBAGE = "garbage"
    IDLE_CLOSE = "idle_close"
    STALE_CLOSE = "stale_close"


@dataclass(frozen=True, slots=True)
class Fault:
    """One staged misbehaviour: a constant below or one of the constructors.

    ``PASS`` nothing; ``REFUSE`` RST on accept; ``RESET_BEFORE`` RST, nothing forwarded; ``RESET_AFTER`` forwarded
    and accepted, then RST; ``SLOW_HEADERS``/``SLOW_BODY`` forwarded, reply held until ``release()``;
    ``TRUNCATED_BODY`` fewer bytes than Content-Length says; ``GARBAGE`` no HTTP; ``IDLE_CLOSE`` good reply, then
    the keep-alive connection is closed; ``STALE_CLOSE`` good reply, the next request on that connection gets RST.
    """

    kind: Kind
    code: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    after_upstream: bool = False

    PASS: ClassVar[Fault]
    REFUSE: ClassVar[Fault]
    RESET_BEFORE: ClassVar[Fault]
    RESET_AFTER: ClassVar[Fault]
    SLOW_HEADERS: ClassVar[Fault]
    SLOW_BODY: ClassVar[Fault]
    TRUNCATED_BODY: ClassVar[Fault]
    GARBAGE: ClassVar[Fault]
    IDLE_CLOSE: ClassVar[Fault]
    STALE_CLOSE: ClassVar[Fault]
    WRONG_CONTENT_TYPE: ClassVar[Fault]
    NON_JSON: ClassVar[Fault]
    EMPTY: ClassVar[Fault]

    @classmethod
    def status(
        cls,
        code: int,
        headers: Mapping[str, str] | None = None,
        body: bytes | str = b"",
        *,
        after_upstream: bool = False,
    ) -> Fault:
        """This reply instead of the real one; with ``after_upstream`` the real one had been given."""
        content = body.encode() if isinstance(body, str) else body
        return cls(Kind.STATUS, code, tuple((headers or {}).items()), content, after_upstream)

    @classmethod
    def json(
        cls, code: int, value: Json, headers: Mapping[str, str] | None = None, *, after_upstream: bool = False
    ) -> Fault:
        """``status`` with a JSON body."""
        named = {"Content-Type": "application/json", **(headers or {})}
        return cls.status(code, named, json.dumps(value), after_upstream=after_upstream)

    @classmethod
    def wrong_content_type(cls, code: int = 200) -> Fault:
        """An HTML page, as a proxy on the way would serve it."""
        return cls.status(code, {"Content-Type": "text/html; charset=utf-8"}, HTML)

    @classmethod
    def non_json(cls, code: int = 200) -> Fault:
        """Says JSON and is not."""
        return cls.status(code, {"Content-Type": "application/json"}, b'{"half": ')

    @classmethod
    def empty(cls, code: int = 200) -> Fault:
        """Says JSON and has no body."""
        return cls.status(code, {"Content-Type": "application/json"})

    def after(self) -> Fault:
        """The same reply, given after the upstream accepted the request."""
        return replace(self, after_upstream=True)


for _kind in Kind:
    if _kind is not Kind.STATUS:
        setattr(Fault, _kind.name, Fault(_kind))
Fault.WRONG_CONTENT_TYPE = Fault.wrong_content_type()
Fault.NON_JSON = Fault.non_json()
Fault.EMPTY = Fault.empty()


@dataclass(slots=True)
class _Staged:
    fault: Fault
    match: Match | None
    times: int | None


class FaultQueue:
    """Staged faults in order; the first whose match fits is used, ``times`` times (``None``: for ever)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._staged: list[_Staged] = []

    def stage(self, fault: Fault, match: Match | None, times: int | None) -> None:
        """Append a fault."""
        if times is not None and times < 1:
            raise ValueError("times must be at least 1")
        with self._lock:
            self._staged.append(_Staged(fault, match, times))

    def take(self, method: str, path: str) -> Fault | None:
        """The fault for this request, if any is staged."""
        return self._take(lambda staged: staged.fault.kind is not Kind.REFUSE and _fits(staged.match, method, path))

    def take_refusal(self) -> bool:
        """Whether the connection now accepted is to be refused."""
        return self._take(lambda staged: staged.fault.kind is Kind.REFUSE) is not None

    def _take(self, fits: Callable[[_Staged], bool]) -> Fault | None:
        if not self._staged:
            return None
        with self._lock:
            for index, staged in enumerate(self._staged):
                if fits(staged):
                    if staged.times is not None:
                        staged.times -= 1
                        if not staged.times:
                            del self._staged[index]
                    return staged.fault
        return None

    def clear(self) -> None:
        """Drop everything staged."""
        with self._lock:
            self._staged.clear()

    def __len__(self) -> int:
        return len(self._staged)


def _fits(match: Match | None, method: str, path: str) -> bool:
    if match is None:
        return True
    return match[0] in (None, method) and path.startswith(match[1])


class Gate:
    """Holds replies until ``release``. A ticket taken before a release is let through by it."""

    def __init__(self) -> None:
        self._tickets: set[asyncio.Event] = set()

    def ticket(self) -> asyncio.Event:
        """Register one reply to hold; on the loop."""
        event = asyncio.Event()
        self._tickets.add(event)
        return event

    def release(self) -> None:
        """Let every held reply go; on the loop."""
        for event in self._tickets:
            event.set()
        self._tickets.clear()


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP reply."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def head(self, length: int) -> bytes:
        """Status line and fields, keep-alive, with this Content-Length."""
        try:
            reason = HTTPStatus(self.status).phrase
        except ValueError:
            reason = "Unknown"
        lines = [f"HTTP/1.1 {self.status} {reason}"]
        dropped = ("content-length", "transfer-encoding", "connection", "keep-alive")
        lines += [f"{name}: {value}" for name, value in self.headers if name.lower() not in dropped]
        if self.status != HTTPStatus.NO_CONTENT:
            lines.append(f"Content-Length: {length}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def encode(self) -> bytes:
        """The whole reply."""
        return self.head(len(self.body)) + self.body


def reset(transport: asyncio.WriteTransport) -> None:
    """End a connection with RST."""
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def act(
    fault: Fault, transport: asyncio.WriteTransport, answer: Callable[[], Awaitable[Reply]], ticket: asyncio.Event
) -> bool:
    """Act a fault out; ``answer`` forwards the request. True when the connection may carry on."""
    kind = fault.kind
    if kind is Kind.RESET_BEFORE:
        reset(transport)
        return False
    if kind is Kind.GARBAGE:
        transport.write(GARBAGE)
        transport.close()
        return False
    if kind is Kind.STATUS:
        if fault.after_upstream:
            await answer()
        transport.write(Reply(fault.code, fault.headers, fault.body).encode())
        return True
    reply = await answer()
    if kind is Kind.RESET_AFTER:
        reset(transport)
        return False
    if kind is Kind.SLOW_HEADERS:
        await ticket.wait()
        transport.write(reply.encode())
        return True
    if kind is Kind.SLOW_BODY:
        body = reply.body or b"{}"
        transport.write(reply.head(len(body)) + body[:1])
        await ticket.wait()
        transport.write(body[1:])
        return True
    if kind is Kind.TRUNCATED_BODY:
        body = reply.body or b"{}"
        transport.write(reply.head(len(body) + 64) + body[: (len(body) + 1) // 2])
        transport.close()
        return False
    transport.write(reply.encode())
    if kind is Kind.IDLE_CLOSE:
        transport.close()
        return False
    return True


def fault_from_json(value: Json) -> tuple[Fault, Match | None, int | None]:
    """``{"fault": name, "status"?, "headers"?, "body"?, "after_upstream"?, "match"?: [method, prefix], "times"?}``."""
    if not isinstance(value, dict) or not isinstance(name := value.get("fault"), str):
        raise ValueError('an object with "fault" is needed')  # noqa: TRY004 - what came over the wire is a value
    code, times = value.get("status"), value.get("times", 1)
    if name.lower() == Kind.STATUS:
        body, headers = value.get("body", ""), value.get("headers") or {}
        if not isinstance(code, int) or not isinstance(headers, dict):
            raise ValueError('"status" takes a number and "headers" an object')
        named = {key: str(content) for key, content in headers.items()}
        fault = Fault.status(code, named, body) if isinstance(body, str) else Fault.json(code, body, named)
        if value.get("after_upstream") is True:
            fault = fault.after()
    else:
        found = getattr(Fault, name.upper(), None)
        if not isinstance(found, Fault):
            raise ValueError(f"no fault is called {name!r}")
        fault = replace(found, code=code) if isinstance(code, int) else found
    match: Match | None = None
    wanted = value.get("match")
    if isinstance(wanted, list) and len(wanted) == 2:
        match = (wanted[0] if isinstance(wanted[0], str) else None, str(wanted[1]))
    return fault, match, times if isinstance(times, int) else None
