"""State in Redis or Valkey: shared by every process that reaches the server.

Everything lives under `providers:` (`v:` values, `n:` counters, `m:` meters), in the database that the URL names.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import re
import socket
import ssl
import struct
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import hiredis

from providers.core.errors import ConfigurationError, Outcome, ProviderError, ProviderUnavailableError
from providers.core.store import SCAN_PAGE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

    from providers.core.store import Meter

CONNECT_SECONDS = 5.0
REPLY_SECONDS = 10.0
PORT = 6379

VALUES, COUNTERS, METERS = b"providers:v:", b"providers:n:", b"providers:m:"
SCAN_STEP = 2000
"""Keys the server looks at in one step of a scan: it serves nobody else meanwhile."""

LONGEST = 10**15
"""Milliseconds; the server refuses an expiry that its clock cannot hold."""

QUIET_TURNS = 10
"""Turns of an ending event loop without a command after which nobody has anything left to tidy up."""

INHERITED: list[object] = []
"""Connections of the process that forked this one: kept, because forgetting one would touch the parent's socket."""

WRITE = """
local function write(key, value, ms)
  if ms == '' then redis.call('SET', key, value) else redis.call('SET', key, value, 'PX', ms) end
end
"""

# The rule is `store.metered`, by the clock of the server. A due moment that is over needs no keeping.
TAKE = """
local function take(key, rate, burst, count, patience)
  local time = redis.call('TIME')
  local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
  local due = math.max(tonumber(redis.call('GET', key) or 0), now)
  local wait = math.max(due - (burst - math.min(count, burst)) / rate - now, 0)
  if wait == 0 or wait < patience then
    due = due + count / rate
    if due > now then
      local ms = math.min(math.ceil((due - now) * 1000) + 1, 1e15)
      redis.call('SET', key, string.format('%.17g', due), 'PX', string.format('%.0f', ms))
    else
      redis.call('DEL', key)
    end
  end
  return string.format('%.17g', wait)
end
"""


class Script:
    """A text the server runs as one step. It knows most of them by their digest."""

    def __init__(self, text: str) -> None:
        self.text = text.encode()
        self.digest = hashlib.sha1(self.text, usedforsecurity=False).hexdigest().encode()


SWAP = Script(
    WRITE
    + """
local there = redis.call('GET', KEYS[1])
if ARGV[1] == '0' then
  if there then return 0 end
elseif there ~= ARGV[2] then
  return 0
end
if ARGV[3] == '0' then redis.call('DEL', KEYS[1]) else write(KEYS[1], ARGV[4], ARGV[5]) end
return 1
"""
)
CLAIM = Script("""
local ms, found = ARGV[1], {}
for i, key in ipairs(KEYS) do
  local written
  if ms == '' then
    written = redis.call('SET', key, ARGV[i + 1], 'NX')
  else
    written = redis.call('SET', key, ARGV[i + 1], 'PX', ms, 'NX')
  end
  found[i] = not written and redis.call('GET', key)
end
return found
""")
PUT = Script(
    WRITE
    + """
for i, key in ipairs(KEYS) do
  local value = ARGV[i + 1]
  if value then write(key, value, ARGV[1]) else redis.call('DEL', key) end
end
"""
)
ADD = Script("""
local total = tonumber(redis.call('GET', KEYS[1]) or 0)
local amount = tonumber(ARGV[1])
if ARGV[2] ~= '' and amount > 0 and total + amount > tonumber(ARGV[2]) then return false end
total = redis.call('INCRBY', KEYS[1], ARGV[1])
if ARGV[3] ~= '' and redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return total
""")
TAKEN = Script(
    TAKE + "return take(KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]))"
)
BEGIN = Script(
    WRITE
    + TAKE
    + """
local there = redis.call('GET', KEYS[1])
if there then return there end
local count = tonumber(ARGV[2])
for i = 1, count do write(KEYS[i], ARGV[i + 2], ARGV[1]) end
if #KEYS == count then return {'0'} end
local rate, burst, places, patience = unpack(ARGV, count + 3)
return {take(KEYS[count + 1], tonumber(rate), tonumber(burst), tonumber(places), tonumber(patience))}
"""
)

GLOB = re.compile(rb"[*?\[\]\\]")
OURS = frozenset({"NOAUTH", "WRONGPASS", "NOPERM", "DENIED"})
"""Refusals that only other settings help against."""

ESCAPED = "in a password, characters like / # ? @ are percent-encoded"

Part: TypeAlias = "bytes | int"
pack = cast("Callable[[tuple[Part, ...]], bytes]", hiredis.pack_command)  # pyright: ignore[reportUnknownMemberType]


class _Lost(Exception):  # noqa: N818 (why there is no reply; given as one, as hiredis does with refusals)
    """The connection was lost before the reply."""


class RedisStore:
    """`Store` on one Redis (6 or newer) or Valkey server, by the server's clock. No cluster, no sentinel.

    URLs: `redis://user:password@host:6379/0`, `rediss://` for TLS (certificates as OpenSSL finds them: `SSL_CERT_FILE`
    adds one's own authority), `unix:///path/to.sock?db=0`; `valkey` may stand for `redis`.

    An event loop has one connection, which all its tasks share. Commands are executed in the order they were given,
    those of callers that were cancelled meanwhile included: what such a caller does next comes after what it did.
    No command is repeated when its reply is lost. After a loss the old connection is reset before the next one is
    opened, so that what the server had received comes before, and what it had not is never sent. That ends at a
    proxy in between and at a failover: there a claim that was given up may appear after it was freed. It then names
    an owner that never used it, and keeps its key until somebody resolves it; nothing is sent twice.

    A promise is as good as the server's: a replica that takes over may lack the last writes. Counters are exact to
    2**53, expiry to a millisecond.

    Raises `ProviderUnavailableError` (code `store`, not applied) when the server fails or cannot be reached,
    `ConfigurationError` when it refuses the password, the database or our right to use it.
    """

    durable = True
    shared = True

    def __init__(self, url: str, *, reply_seconds: float = REPLY_SECONDS) -> None:
        self._server = _server(url)
        self._reply_seconds = reply_seconds
        self._lines: dict[asyncio.AbstractEventLoop, _Line] = {}
        self._pid = os.getpid()

    async def get(self, key: str) -> bytes | None:
        """See `Store.get`."""
        return cast("bytes | None", self._checked(await self._ask(b"GET", _name(VALUES, key))))

    async def swap(self, key: str, old: bytes | None, new: bytes | None, *, ttl: float | None = None) -> bool:
        """See `Store.swap`."""
        before = (b"0", b"") if old is None else (b"1", old)
        after = (b"0", b"") if new is None else (b"1", new)
        return await self._run(SWAP, (_name(VALUES, key),), (*before, *after, _ms(ttl))) == 1

    async def claim(self, items: Sequence[tuple[str, bytes]], *, ttl: float | None = None) -> list[bytes | None]:
        """See `Store.claim`."""
        names = [_name(VALUES, key) for key, _ in items]
        found = await self._run(CLAIM, names, (_ms(ttl), *(value for _, value in items)))
        return cast("list[bytes | None]", found)

    async def put(self, items: Sequence[tuple[str, bytes | None]], *, ttl: float | None = None) -> None:
        """See `Store.put`."""
        last = {_name(VALUES, key): value for key, value in items}
        kept = {name: value for name, value in last.items() if value is not None}
        await self._run(PUT, (*kept, *(name for name in last if name not in kept)), (_ms(ttl), *kept.values()))

    async def add(self, key: str, amount: int, *, ceiling: int | None = None, ttl: float | None = None) -> int | None:
        """See `Store.add`."""
        args = (amount, b"" if ceiling is None else ceiling, _ms(ttl))
        return cast("int | None", await self._run(ADD, (_name(COUNTERS, key),), args))

    async def take(self, meter: Meter) -> float:
        """See `Store.take`."""
        return float(cast("bytes", await self._run(TAKEN, (_name(METERS, meter.key),), _numbers(meter))))

    async def begin(
        self, items: Sequence[tuple[str, bytes]], *, meter: Meter | None = None, ttl: float | None = None
    ) -> tuple[bytes | None, float]:
        """See `Store.begin`."""
        names = [_name(VALUES, key) for key, _ in items]
        args: list[Part] = [_ms(ttl), len(items), *(value for _, value in items)]
        if meter is not None:
            names.append(_name(METERS, meter.key))
            args += _numbers(meter)
        reply = cast("bytes | list[bytes]", await self._run(BEGIN, names, args))
        return (reply, 0.0) if isinstance(reply, bytes) else (None, float(reply[0]))

    async def scan(self, prefix: str) -> AsyncIterator[tuple[str, bytes]]:
        """See `Store.scan`. What is written meanwhile may be left out.

        The server has no order: it walks all the keys it has, 0.3 to 0.5 seconds of its time per million (in steps of
        a millisecond), and the names that match are sorted here.
        """
        pattern = GLOB.sub(rb"\\\g<0>", _name(VALUES, prefix)) + b"*"
        names: set[bytes] = set()
        cursor = b"0"
        while True:
            reply = self._checked(await self._ask(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", SCAN_STEP))
            cursor, found = cast("tuple[bytes, list[bytes]]", reply)
            names.update(found)
            if cursor == b"0":
                break
        ordered = sorted(names)
        for start in range(0, len(ordered), SCAN_PAGE):
            page = ordered[start : start + SCAN_PAGE]
            values = cast("list[bytes | None]", self._checked(await self._ask(b"MGET", *page)))
            for name, value in zip(page, values, strict=True):
                if value is not None:
                    yield name[len(VALUES) :].decode("utf-8", "surrogatepass"), value

    async def shortcomings(self) -> tuple[str, ...]:
        """See `Store.shortcomings`. What the server does not tell, as managed ones may not, is not judged."""
        facts = await self._told(b"INFO", b"persistence") | await self._told(b"INFO", b"memory")
        facts |= await self._told(b"CONFIG", b"GET", b"appendfsync")
        found: list[str] = []
        again = "and a mail may go twice"
        if facts.get("aof_enabled") == "0":
            found.append(
                "appendonly is off: what was written since the last snapshot is lost when the server restarts, " + again
            )
        elif (sync := facts.get("appendfsync", "always")) != "always":
            seconds = "last second" if sync == "everysec" else "last half minute"
            found.append(f"appendfsync is {sync}: the {seconds} of writes is lost when its machine fails, {again}")
        policy = facts.get("maxmemory_policy", "noeviction")
        if policy != "noeviction" and facts.get("maxmemory") != "0":
            found.append(f"maxmemory-policy is {policy}: records are dropped when memory runs short, {again}")
        return tuple(found)

    async def aclose(self) -> None:
        """Close the connections; the next use opens one again. Commands under way fail."""
        lines, self._lines = self._mine(), {}
        for loop, line in lines.items():
            if loop is asyncio.get_running_loop():
                await line.close()
            else:
                with suppress(RuntimeError):  # that loop has ended
                    loop.call_soon_threadsafe(line.hang_up)

    async def _run(self, script: Script, names: Sequence[bytes], args: Sequence[Part]) -> object:
        rest = (len(names), *names, *args)
        reply = await self._ask(b"EVALSHA", script.digest, *rest)
        if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT"):
            reply = await self._ask(b"EVAL", script.text, *rest)
        return self._checked(reply)

    async def _ask(self, *parts: Part) -> object:
        """The reply; a refusal or a loss is one too."""
        loop = asyncio.get_running_loop()
        lines = self._lines if self._pid == os.getpid() else self._mine()
        line = lines.get(loop)
        if line is None:
            for other in [each for each in lines if each.is_closed()]:
                lines.pop(other, None)
            line = lines.setdefault(loop, _Line(self._server, loop, self._reply_seconds))
        link = line.link
        if link is None or link.lost:
            opened = await line.open()
            if isinstance(opened, _Failure):
                raise opened.error()
            link = opened
        reply = await link.ask(pack(parts))
        if isinstance(reply, hiredis.ReplyError) and "READONLY " in str(reply):
            # The name may belong to another server by now. Older ones put the word inside what a script says.
            link.lose("the server has become a replica")
        return reply

    def _mine(self) -> dict[asyncio.AbstractEventLoop, _Line]:
        """The connections of this process. After a fork those of the parent must not be touched, not even closed."""
        if self._pid != os.getpid():
            INHERITED.append(self._lines)
            self._lines, self._pid = {}, os.getpid()
        return self._lines

    def _checked(self, reply: object) -> object:
        if isinstance(reply, Exception):
            # Not "from": what the server repeats of a command would be in the traceback.
            raise _Failure.of(self._server, reply).error() from None
        return reply

    async def _told(self, *question: bytes) -> dict[str, str]:
        """Facts from `INFO` or `CONFIG GET`; none where they are forbidden."""
        reply = await self._ask(*question)
        if isinstance(reply, bytes):
            lines = (line.partition(":") for line in reply.decode("utf-8", "replace").splitlines())
            return {name: value for name, _, value in lines}
        if isinstance(reply, list):
            texts = [part.decode("utf-8", "replace") for part in cast("list[bytes]", reply)]
            return dict(zip(texts[::2], texts[1::2], strict=True))
        if isinstance(reply, _Lost):
            self._checked(reply)
        return {}


@dataclass(frozen=True, slots=True)
class _Server:
    """Where it is, and what to say first."""

    name: str
    host: str
    port: int
    path: str
    tls: bool
    greeting: tuple[tuple[Part, ...], ...] = field(repr=False)

    async def connect(self, link: _Link, loop: asyncio.AbstractEventLoop) -> None:
        """Open the connection of `link`."""
        if self.path:
            await loop.create_unix_connection(lambda: link, self.path)
            return
        context = ssl.create_default_context() if self.tls else None
        transport, _ = await loop.create_connection(lambda: link, self.host, self.port, ssl=context)
        sock: socket.socket = transport.get_extra_info("socket")
        # Of a connection that something on the way has forgotten we want to hear before it is needed.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, seconds in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, option):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), seconds)


def _server(url: str) -> _Server:
    """Read the setting. What it holds is not shown: a password may be anywhere in a URL that is not one."""
    scheme, _, _ = url.partition("://")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or PORT
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise _unusable(f"{scheme}://... is not a URL; {ESCAPED}") from None
    unix = scheme == "unix"
    path = unquote(parts.path) if unix else ""
    if not (path if unix else host) or parts.fragment:
        form = "unix:///path/to.sock?db=0" if unix else f"{scheme}://user:password@host:{PORT}/0"
        raise _unusable(f"it is not of the form {form}; {ESCAPED}")
    if unix and not hasattr(socket, "AF_UNIX"):
        raise _unusable("this machine has no unix sockets")
    db = options.pop("db", "" if unix else parts.path.strip("/")) or "0"
    if options:
        raise _unusable("the only option there is in the URL is db")
    if not (db.isascii() and db.isdigit()):
        raise _unusable("the database is not a number")
    greeting: list[tuple[Part, ...]] = []
    if parts.username or parts.password:
        user, password = unquote(parts.username or "").encode(), unquote(parts.password or "").encode()
        greeting.append((b"AUTH", user, password) if user else (b"AUTH", password))
    greeting.append((b"CLIENT", b"SETNAME", b"providers"))
    if int(db):
        greeting.append((b"SELECT", int(db)))
    name = path or (f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    return _Server(name, host, port, path, scheme in {"rediss", "valkeys"}, tuple(greeting))


def _unusable(why: str) -> ConfigurationError:
    return ConfigurationError(f"PROVIDER_STATE_URL: {why}", field="PROVIDER_STATE_URL")


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a command failed. Everyone who waited gets an error of their own."""

    settings: bool
    text: str

    @classmethod
    def of(cls, server: _Server, reply: Exception) -> _Failure:
        # What the server repeats of a command may hold anything.
        text = str(reply).partition(", with args")[0]
        if not isinstance(reply, _Lost) and text.partition(" ")[0] in OURS:
            return cls.settings_of(server, text)
        return cls(settings=False, text=f"the state store at {server.name} failed: {text}")

    @classmethod
    def settings_of(cls, server: _Server, text: str) -> _Failure:
        return cls(settings=True, text=f"{server.name} says: {text}")

    def error(self) -> ProviderError:
        if self.settings:
            return _unusable(self.text)
        return ProviderUnavailableError(self.text, code="store", outcome=Outcome.NOT_APPLIED)


class _Line:
    """The connection of one event loop: opened at its first use, again after a loss, closed with the loop."""

    def __init__(self, server: _Server, loop: asyncio.AbstractEventLoop, reply_seconds: float) -> None:
        self.link: _Link | None = None
        self._server = server
        self._loop = loop
        self._reply_seconds = reply_seconds
        self._opening: asyncio.Task[_Link | _Failure] | None = None
        self._keeper: AsyncGenerator[None] | None = None
        self._ending = False

    async def open(self) -> _Link | _Failure:
        """The open connection. Who gives up waiting for it does not stop the others."""
        if self._opening is None or self._opening.done():
            self._opening = self._loop.create_task(self._open())
        opening = self._opening
        await asyncio.wait({opening})
        if opening.cancelled():
            return _Failure(settings=False, text=f"the state store at {self._server.name} failed: it was closed")
        return opening.result()

    def hang_up(self) -> None:
        """Close the connection."""
        if self._opening is not None:
            self._opening.cancel()
        if self.link is not None:
            self.link.lose("it was closed")

    async def close(self) -> None:
        """Close the connection and wait until it is."""
        self.hang_up()
        if self._opening is not None:
            await asyncio.wait({self._opening})
        if self.link is not None:
            await self.link.gone
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            await keeper.aclose()

    async def _open(self) -> _Link | _Failure:
        link = _Link(self._loop, self._reply_seconds)
        try:
            if self._keeper is None and not self._ending:
                self._keeper = self._until_the_loop_ends()
                await anext(self._keeper)
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._server.connect(link, self._loop)
                failure = await self._greet(link)
        except TimeoutError:
            failure = self._unreachable(f"no connection within {CONNECT_SECONDS:g} seconds")
        except OSError as error:
            failure = self._unreachable(_why(error))
        else:
            if failure is None:
                self.link = link
                return link
        finally:
            self._opening = None
            if self.link is not link:
                link.lose("it was closed")
        return failure

    async def _greet(self, link: _Link) -> _Failure | None:
        """Say who we are. Once the server has answered this, it has read what it had of a connection that was lost."""
        asked = [(command, link.ask(pack(command))) for command in self._server.greeting]
        for command, reply in asked:
            said = await reply
            if not isinstance(said, Exception):
                continue
            text = str(said)
            if isinstance(said, _Lost) or text.startswith(("LOADING", "ERR max number of clients")):
                return _Failure.of(self._server, said)
            if command[0] == b"AUTH":
                # Servers may repeat what they did not understand.
                return _Failure.settings_of(self._server, f"{text.partition(' ')[0]}, user or password is refused")
            if command[0] == b"SELECT" or text.startswith(("NOAUTH", "DENIED")):
                return _Failure.settings_of(self._server, text)
        return None

    def _unreachable(self, why: str) -> _Failure:
        return _Failure(settings=False, text=f"the state store at {self._server.name} cannot be reached: {why}")

    async def _until_the_loop_ends(self) -> AsyncGenerator[None]:
        """An event loop that ends runs what its generators still have to do: the only notice it gives of its end."""
        try:
            yield
        finally:
            self._keeper, self._ending = None, True
            quiet = 0
            while quiet < QUIET_TURNS and self.link is not None and not self.link.lost:
                # Others that end with it may have to tidy up in the store.
                before = self.link.asked
                await asyncio.sleep(0)
                quiet = quiet + 1 if self.link.asked == before and not self.link.busy else 0
            self.hang_up()
            if self.link is not None:
                await self.link.gone


class _Link(asyncio.Protocol):
    """One connection: commands go out, and their replies come back in the same order."""

    def __init__(self, loop: asyncio.AbstractEventLoop, reply_seconds: float) -> None:
        self.lost = ""
        self.asked = 0
        self.gone: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._reply_seconds = reply_seconds
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader()
        self._waiting: deque[asyncio.Future[object]] = deque()
        self._unsent: list[bytes] = []
        self._heard = 0.0
        self._watch: asyncio.TimerHandle | None = None

    @property
    def busy(self) -> bool:
        """Whether replies are still to come."""
        return bool(self._waiting)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        if self.lost:
            self._transport.abort()

    def ask(self, command: bytes) -> asyncio.Future[object]:
        """Send it; the future of its reply. Cancelling that changes nothing for the server."""
        reply: asyncio.Future[object] = self._loop.create_future()
        if self.lost or self._transport is None:
            reply.set_result(_Lost(self.lost))
            return reply
        self.asked += 1
        if self._waiting:
            # Tasks that wake together write together: one system call for all of them.
            if not self._unsent:
                self._loop.call_soon(self._flush)
            self._unsent.append(command)
        else:
            self._heard = self._loop.time()
            if self._watch is None:
                self._watch = self._loop.call_later(self._reply_seconds, self._look)
            self._transport.write(command)
        self._waiting.append(reply)
        return reply

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._heard = self._loop.time()
        reader, waiting = self._reader, self._waiting
        try:
            reader.feed(data)
            # False stands for a reply that is not complete: this protocol has no other use for it.
            while (reply := reader.gets()) is not False:
                future = waiting.popleft()
                if not future.done():
                    future.set_result(reply)
        except (hiredis.ProtocolError, IndexError):
            self.lose("the reply is not Redis's protocol")

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.lose("the connection was lost")
        if not self.gone.done():
            self.gone.set_result(None)

    def lose(self, why: str) -> None:
        """Close it; whoever waits for a reply gets none."""
        if self.lost:
            return
        self.lost = why
        if self._watch is not None:
            self._watch.cancel()
        self._unsent.clear()
        if self._transport is None:
            self.gone.set_result(None)
            return
        if self._waiting:
            # A command the kernel still holds must not arrive after what the next connection says.
            sock: socket.socket | None = self._transport.get_extra_info("socket")
            with suppress(OSError):
                if sock is not None:
                    linger = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._transport.abort()
        for reply in self._waiting:
            if not reply.done():
                reply.set_result(_Lost(why))
        self._waiting.clear()

    def _flush(self) -> None:
        if self._unsent and self._transport is not None:
            commands = b"".join(self._unsent)
            self._unsent.clear()
            self._transport.write(commands)

    def _look(self) -> None:
        """Close a connection on which nothing was heard for too long."""
        self._watch = None
        if self._waiting:
            left = self._heard + self._reply_seconds - self._loop.time()
            if left > 0:
                self._watch = self._loop.call_later(left, self._look)
            else:
                self.lose(f"no reply within {self._reply_seconds:g} seconds")


def _why(error: OSError) -> str:
    """No library text: it names resolved addresses."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return "the TLS handshake failed"
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    return os.strerror(error.errno).lower() if error.errno else "connection refused"


def _name(kind: bytes, key: str) -> bytes:
    return kind + key.encode("utf-8", "surrogatepass")


def _ms(ttl: float | None) -> Part:
    return b"" if ttl is None else max(1, min(math.ceil(ttl * 1000), LONGEST))


def _numbers(meter: Meter) -> tuple[Part, ...]:
    return (
        repr(float(meter.rate)).encode(),
        meter.burst,
        meter.places,
        # Not every Lua reads "inf".
        repr(min(float(meter.patience), 1e300)).encode(),
    )
