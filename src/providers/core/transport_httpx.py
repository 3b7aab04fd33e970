"""`Transport` over httpx: for its mocks, its proxies, or where aiohttp is not wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from providers.core.attempt import ATTEMPT
from providers.core.errors import BadResponseError, Outcome, ProviderUnavailableError
from providers.core.transport import CONNECT_SECONDS, HttpRequest, HttpResponse

if TYPE_CHECKING:
    import ssl

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
            reply = await self._transport.handle_async_request(outgoing)
            try:
                content = await reply.aread()
            finally:
                await reply.aclose()
        except httpx.ConnectTimeout as error:
            msg = f"no connection within {CONNECT_SECONDS:g} seconds"
            raise ProviderUnavailableError(msg, code="connect_timeout", outcome=Outcome.NOT_APPLIED) from error
        except (httpx.ConnectError, httpx.UnsupportedProtocol) as error:
            msg = f"cannot connect to {outgoing.url.host}"
            raise ProviderUnavailableError(msg, code="connect", outcome=Outcome.NOT_APPLIED) from error
        except (httpx.RemoteProtocolError, httpx.DecodingError) as error:
            if "without sending a response" in str(error):
                msg = "the connection was lost before the reply"
                raise ProviderUnavailableError(msg, code="connection_lost") from error
            msg = "the reply is not HTTP, or ended before it was complete"
            raise BadResponseError(msg, code="not_http") from error
        except httpx.TransportError as error:
            msg = "the connection was lost before the reply"
            raise ProviderUnavailableError(msg, code="connection_lost") from error
        return HttpResponse(reply.status_code, {k.lower(): v for k, v in reply.headers.items()}, content)

    async def aclose(self) -> None:
        """See `Transport.aclose`."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()


async def _mark(event: str, _: object) -> None:
    if event.endswith("send_request_headers.started"):
        attempt = ATTEMPT.get()
        if attempt is not None:
            attempt.sent = True
