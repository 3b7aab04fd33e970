"""A real server that misbehaves at the TCP and HTTP level: alone, or as a proxy in front of another server.

It proves how a client meets a broken network and a broken vendor; what a vendor means by it is the vendor's.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from providers.testing.servers._fault import Fault, FaultQueue, Gate, Kind, Match, Reply, act, reset
from providers.testing.servers._host import Headers, Host, RecordedRequest, parse_query

__all__ = ["Fault", "FaultServer", "Kind", "Match"]

MAX_HEAD = 256 * 1024
NO_BODY = (204, 304)


class FaultServer(Host):
    """Reads a whole request, records it, then does what the next staged fault says.

    With nothing staged it forwards to ``upstream`` (a base URL, plain http), or answers 200 ``{}`` without one.
    ``tls``: ``"untrusted"`` serves a self-signed certificate, ``"garbage"`` answers a TLS hello with plain bytes;
    ``ssl_context`` serves TLS properly.
    """

    def __init__(
        self,
        upstream: str | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: Literal["untrusted", "garbage"] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        keep: int = 100_000,
    ) -> None:
        super().__init__(host=host, port=port, keep=keep)
        self._upstream = urlsplit(upstream) if upstream else None
        if self._upstream is not None and self._upstream.scheme != "http":
            raise ValueError("the upstream must be plain http")
        self._tls = tls
        self._ssl = _self_signed(host) if tls == "untrusted" else ssl_context
        self._faults = FaultQueue()
        self._gate = Gate()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: set[asyncio.WriteTransport] = set()
        self._accepted = 0

    @property
    def connections(self) -> int:
        """Connections accepted since the start or the last reset, refused ones too."""
        return self._accepted

    @property
    def staged(self) -> int:
        """Faults that still wait to be used."""
        return len(self._faults)

    def stage(self, fault: Fault, *, match: Match | None = None, times: int | None = 1) -> None:
        """Make the next fitting requests (for ``REFUSE``: connections) fail; ``times=None`` until reset."""
        if fault.kind is Kind.REFUSE and match is not None:
            raise ValueError("REFUSE comes before the request, so it has no match")
        self._faults.stage(fault, match, times)

    def release(self) -> None:
        """Let held replies go."""
        self._soon(self._gate.release)

    def reset(self) -> None:
        """Forget requests, connections and staged faults, let held replies go."""
        super().reset()
        self._accepted = 0
        self._faults.clear()
        self.release()

    @property
    def _scheme(self) -> str:
        return "https" if self._tls or self._ssl else "http"

    async def _serve(self, ready: Callable[[int], None], stop: asyncio.Event) -> None:
        server = await asyncio.start_server(
            self._accept, self.host, self._wanted_port, ssl=self._ssl, limit=MAX_HEAD, backlog=1024
        )
        try:
            ready(server.sockets[0].getsockname()[1])
            await stop.wait()
        finally:
            server.close()
            for transport in self._open:
                # At once: one that is closed waits for a client who may read no more.
                transport.abort()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Not a coroutine: a refused connection must end before anything is read.
        self._accepted += 1
        if self._faults.take_refusal():
            reset(writer.transport)
            return
        self._open.add(writer.transport)
        task = asyncio.get_running_loop().create_task(self._connection(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transport = writer.transport
        try:
            if self._tls == "garbage":
                await reader.read(1)
                transport.write(b"220 this is not TLS\r\n")
                return
            while (request := await _read_request(reader, writer)) is not None:
                if not await self._exchange(request, transport):
                    return
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass  # the client went away, or sent what is no HTTP
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            self._open.discard(transport)

    async def _exchange(self, request: _Request, transport: asyncio.WriteTransport) -> bool:
        record = request.record
        fault = self._faults.take(record.method, record.path)
        ticket = self._gate.ticket()  # before the request shows in `requests`, so that no release is missed
        self._record(record)
        if fault is not None and fault.kind is Kind.STALE_CLOSE:
            transport.write((await self._answer(request)).encode())
            await request.reader.readexactly(1)
            reset(transport)
            return False
        carry_on = await act(fault or Fault.PASS, transport, lambda: self._answer(request), ticket)
        return carry_on and request.keep_alive

    async def _answer(self, request: _Request) -> Reply:
        if self._upstream is None:
            return Reply(200, (("Content-Type", "application/json"),), b"{}")
        try:
            return await _forward(request, self._upstream.hostname or "", self._upstream.port or 80)
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            return Reply(502, (("Content-Type", "text/plain"),), f"upstream: {error!r}".encode())


@dataclass(slots=True)
class _Request:
    record: RecordedRequest
    target: str
    keep_alive: bool
    reader: asyncio.StreamReader


async def _read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> _Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, headers = _split_head(head)
    method, target, version = first.split(" ", 2)
    if headers.get("Expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = await _read_body(reader, headers)
    path, _, query = target.partition("?")
    keep_alive = version == "HTTP/1.1" and headers.get("Connection", "").lower() != "close"
    return _Request(RecordedRequest(method, path, parse_query(query), headers, body), target, keep_alive, reader)


def _split_head(head: bytes) -> tuple[str, Headers]:
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    return first, Headers(tuple((name.strip(), value.strip()) for name, _, value in pairs))


async def _read_body(reader: asyncio.StreamReader, headers: Headers) -> bytes:
    if "chunked" not in headers.get("Transfer-Encoding", "").lower():
        return await reader.readexactly(int(headers.get("Content-Length", "0")))
    parts: list[bytes] = []
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass
    return b"".join(parts)


async def _forward(request: _Request, host: str, port: int) -> Reply:
    record = request.record
    reader, writer = await asyncio.open_connection(host, port, limit=MAX_HEAD)
    try:
        # `Host` goes through as it came: some signatures cover it.
        hop = ("connection", "content-length", "transfer-encoding", "expect")
        lines = [f"{record.method} {request.target} HTTP/1.1", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in record.headers.pairs if name.lower() not in hop]
        lines.append(f"Content-Length: {len(record.body)}")
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + record.body)
        await writer.drain()
        first, headers = _split_head(await reader.readuntil(b"\r\n\r\n"))
        status = int(first.split(" ", 2)[1])
        body = b""
        if record.method != "HEAD" and status not in NO_BODY:
            framed = "Content-Length" in headers or "Transfer-Encoding" in headers
            body = await (_read_body(reader, headers) if framed else reader.read())
        return Reply(status, headers.pairs, body)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _self_signed(host: str) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nobody trusts this")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address(host))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:  # ssl loads chains from files only
        path = Path(folder) / "chain.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context.load_cert_chain(path)
    return context
