"""`Transport` over aiohttp."""

from __future__ import annotations

import asyncio
import os
import ssl
from io import BytesIO
from typing import TYPE_CHECKING
from weakref import WeakSet

import aiohttp
from yarl import URL

from providers.core.attempt import ATTEMPT
from providers.core.errors import BadResponseError, Outcome, ProviderUnavailableError
from providers.core.transport import CONNECT_SECONDS, HttpRequest, HttpResponse, HttpStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

    from providers.core.errors import ProviderError

NO_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
"""The pipeline has the deadline; only connecting is bounded here, so that its failure is told from a lost reply."""

URLS = 512
LARGE = 1 << 20
"""Bytes above which a body is written in pieces."""


class MarkingConnector(aiohttp.TCPConnector):
    """Tells the attempt in flight when it has a connection: from then on something may have left."""

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout) -> Connection:
        """Connect, then mark."""
        attempt = ATTEMPT.get()
        if attempt is not None and attempt.sent:
            # By itself aiohttp sends GET, PUT and DELETE again when a connection breaks: that is the pipeline's to say.
            raise aiohttp.ClientConnectionError
        connection = await super().connect(req, traces, timeout)
        if attempt is not None:
            attempt.sent = True
        return connection

    def abandon(self) -> None:
        """Take it for closed. Closing it would take its sockets from the event loop that still uses them."""
        self._closed = True


class AiohttpTransport:
    """One pool of connections per event loop, opened at the first request."""

    def __init__(self, *, ssl_context: ssl.SSLContext | None = None) -> None:
        self._ssl: ssl.SSLContext | bool = ssl_context or True
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._urls: dict[str, URL] = {}

    async def send(self, request: HttpRequest) -> HttpResponse:
        """See `Transport.send`."""
        session = await self._ready()
        try:
            async with await self._request(session, request) as reply:
                content = await reply.read()
                return HttpResponse(reply.status, {k.lower(): v for k, v in reply.headers.items()}, content)
        except (aiohttp.ClientError, OSError) as error:
            raise _named(error) from error

    async def stream(self, request: HttpRequest) -> HttpStream:
        """See `Transport.stream`."""
        session = await self._ready()
        try:
            reply = await self._request(session, request)
        except (aiohttp.ClientError, OSError) as error:
            raise _named(error) from error
        headers = {k.lower(): v for k, v in reply.headers.items()}

        async def aclose() -> None:
            # A connection whose reply was not read to its end is of no more use.
            reply.close()

        return HttpStream(reply.status, headers, _chunks(reply), aclose)

    async def _ready(self) -> aiohttp.ClientSession:
        """The session of this loop; what is sent next is an attempt that nothing has left of yet."""
        attempt = ATTEMPT.get()
        if attempt is not None:
            attempt.sent = False
        session = self._session
        if session is None or self._loop is not asyncio.get_running_loop():
            await self.aclose()
            session = self._open()
        return session

    async def _request(self, session: aiohttp.ClientSession, request: HttpRequest) -> aiohttp.ClientResponse:
        return await session.request(
            request.method,
            self._urls.get(request.url) or self._url(request.url),
            data=_body(request.content),
            headers=request.headers,
            allow_redirects=False,
        )

    async def aclose(self) -> None:
        """See `Transport.aclose`."""
        session, self._session = self._session, None
        # One whose loop has ended is only marked as closed: its connections ended with the loop.
        if session is not None and self._loop and (self._loop.is_closed() or self._loop is asyncio.get_running_loop()):
            await session.close()

    def abandon(self) -> None:
        """After a fork: leave the session to the process that opened it."""
        session, self._session = self._session, None
        if session is None:
            return
        connector = session.connector
        session.detach()
        if isinstance(connector, MarkingConnector):
            connector.abandon()
            _inherited.append(connector)

    def _open(self) -> aiohttp.ClientSession:
        self._loop = asyncio.get_running_loop()
        _opened.add(self)
        # limit=0: concurrency is bounded per account, before a connection is asked for.
        self._session = aiohttp.ClientSession(
            connector=MarkingConnector(limit=0, ssl=self._ssl),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=NO_TIMEOUT,
            skip_auto_headers=("User-Agent", "Content-Type"),
        )
        return self._session

    def _url(self, text: str) -> URL:
        """Parsing a URL costs more than sending it; those of writes are few and repeat."""
        url = URL(text, encoded=True)
        if "?" not in text:
            if len(self._urls) >= URLS:
                self._urls.clear()
            self._urls[text] = url
        return url


_opened: WeakSet[AiohttpTransport] = WeakSet()
_inherited: list[MarkingConnector] = []
"""Kept, because forgetting one would close its sockets."""


def _abandon_all() -> None:
    for transport in list(_opened):
        transport.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)


def _body(content: bytes | None) -> bytes | BytesIO | None:
    """Aiohttp warns of large byte strings: it would write them in one go."""
    return BytesIO(content) if content is not None and len(content) > LARGE else content


async def _chunks(reply: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        if reply.content.at_eof():
            # Read already, by what records it.
            yield await reply.read()
            return
        async for chunk in reply.content.iter_any():
            yield chunk
    except (aiohttp.ClientError, OSError) as error:
        # It overtakes what came before it and was not read yet.
        if rest := reply.content._read_nowait(-1):  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            yield rest
        raise _named(error) from error


def _named(error: aiohttp.ClientError | OSError) -> ProviderError:
    if isinstance(error, aiohttp.ClientConnectorError):
        # No library text: it names resolved addresses. The host is in the settings, its failure in the code.
        msg = f"cannot connect to {error.host}: {_why(error)}"
        return ProviderUnavailableError(msg, code=_why(error), outcome=Outcome.NOT_APPLIED)
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        msg = f"no connection within {CONNECT_SECONDS:g} seconds"
        return ProviderUnavailableError(msg, code="connect_timeout", outcome=Outcome.NOT_APPLIED)
    if isinstance(error, aiohttp.InvalidURL):
        return ProviderUnavailableError("the base URL is not a URL", code="url", outcome=Outcome.NOT_APPLIED)
    if isinstance(error, aiohttp.ClientPayloadError):
        return BadResponseError("the reply ended before it was complete", code="truncated")
    if isinstance(error, aiohttp.ClientResponseError):
        return BadResponseError("the reply is not HTTP", code="not_http")
    return ProviderUnavailableError("the connection was lost before the reply", code="connection_lost")


def _why(error: aiohttp.ClientConnectorError) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "dns"
    if isinstance(error, aiohttp.ClientSSLError):
        return "tls"
    return "refused"
