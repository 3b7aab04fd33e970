"""`Transport` over httpx: for its mocks, its proxies, or where aiohttp is not wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from providers.core.attempt import ATTEMPT
from providers.core.errors import BadResponseError, Outcome, ProviderUnavailableError
from providers.core.transport import CONNECT_SECONDS, HttpRequest, HttpResponse, HttpStream

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from providers.core.errors import ProviderError

NO_TIMEOUT = httpx.Timeout(None, connect=CONNECT_SECONDS)


class HttpxTransport:
    """Drives an httpx transport directly, without its client: half the work for one request."""

    def __init__(
        self, transport: httpx.AsyncBaseTransport | None = None, *, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        self._transport = transport
        self._ssl: ssl.SSLContext | bool = ssl_context or True

    async def send(self, request: HttpRequest) -> HttpResponse:
        """See `Transport.send`."""
        reply = await self._begin(request)
        try:
            content = await reply.aread()
        except httpx.RequestError as error:
            raise _named(error, request) from error
        finally:
            await reply.aclose()
        return HttpResponse(reply.status_code, {k.lower(): v for k, v in reply.headers.items()}, content)

    async def stream(self, request: HttpRequest) -> HttpStream:
        """See `Transport.stream`."""
        reply = await self._begin(request)

        async def chunks() -> AsyncIterator[bytes]:
            try:
                async for chunk in reply.aiter_bytes():
                    yield chunk
            except httpx.RequestError as error:
                raise _named(error, request) from error

        headers = {k.lower(): v for k, v in reply.headers.items()}
        return HttpStream(reply.status_code, headers, chunks(), reply.aclose)

    async def _begin(self, request: HttpRequest) -> httpx.Response:
        if self._transport is None:
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=15)
            self._transport = httpx.AsyncHTTPTransport(verify=self._ssl, limits=limits)
        attempt = ATTEMPT.get()
        if attempt is not None:
            # Only httpx's own transport reports when it starts to send.
            attempt.sent = not isinstance(self._transport, httpx.AsyncHTTPTransport)
        outgoing = httpx.Request(
            request.method,
            request.url,
            headers=dict(request.headers),
            content=request.content,
            extensions={"timeout": NO_TIMEOUT.as_dict(), "trace": _mark},
        )
        try:
            return await self._transport.handle_async_request(outgoing)
        except httpx.RequestError as error:
            raise _named(error, request) from error

    async def aclose(self) -> None:
        """See `Transport.aclose`."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()


def _named(error: httpx.RequestError, request: HttpRequest) -> ProviderError:
    if isinstance(error, httpx.ConnectTimeout):
        msg = f"no connection within {CONNECT_SECONDS:g} seconds"
        return ProviderUnavailableError(msg, code="connect_timeout", outcome=Outcome.NOT_APPLIED)
    if isinstance(error, httpx.ConnectError | httpx.UnsupportedProtocol):
        msg = f"cannot connect to {httpx.URL(request.url).host}"
        return ProviderUnavailableError(msg, code="connect", outcome=Outcome.NOT_APPLIED)
    answered = "without sending a response" not in str(error)
    if isinstance(error, httpx.RemoteProtocolError | httpx.DecodingError) and answered:
        return BadResponseError("the reply is not HTTP, or ended before it was complete", code="not_http")
    return ProviderUnavailableError("the connection was lost before the reply", code="connection_lost")


async def _mark(event: str, _: object) -> None:
    if event.endswith("send_request_headers.started"):
        attempt = ATTEMPT.get()
        if attempt is not None:
            attempt.sent = True
