"""Anthropic's own library, over our transport: it knows the API and its version; we send, once.

Left alone it repeats requests, takes headers, hosts and keys from the environment, and logs prompts where that says
so: here it does none of that.
"""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self, TypeAlias, cast

import httpx2

from providers.core.errors import BadResponseError
from providers.core.json import to_json
from providers.core.redact import MASK, SecretText
from providers.core.transport import MULTIPLE_CHOICES, HttpRequest, HttpResponse, StatusError

LOGGERS = ("anthropic", "httpx2")


@contextmanager
def logging_kept() -> Generator[None]:
    """Undo what ANTHROPIC_LOG makes the library do to an application's logging when it is loaded."""
    before = {name: logging.getLogger(name).level for name in LOGGERS}
    handlers = list(logging.root.handlers)
    yield
    if before != {name: logging.getLogger(name).level for name in LOGGERS}:
        logging.root.handlers[:] = handlers
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


if "anthropic" in sys.modules:
    import anthropic
else:
    with logging_kept():
        import anthropic

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Mapping

    from pydantic import JsonValue

    from providers.core.account import Account
    from providers.core.transport import HttpStream, Transport

__all__ = ["Opened", "get", "make_client", "open_get", "open_post", "post", "strict"]

_log = logging.getLogger("anthropic")
if _log.level == logging.NOTSET:
    # At DEBUG it writes out requests, prompts included: who wants that may say so.
    _log.setLevel(logging.WARNING)

Events: TypeAlias = anthropic.AsyncStream[object]

SENT = ("Accept", "Content-Type", "anthropic-version", "anthropic-beta")
"""What of the library's headers is sent: neither what it tells of the machine, nor what the environment adds."""

CODED = frozenset({"connection", "content-encoding", "content-length", "keep-alive", "transfer-encoding"})
"""Headers that are true of the bytes on the wire only."""


class OwnClient(httpx2.AsyncClient):
    """What the library sends by: our transport. Our errors come out of the library as the cause of its own.

    The key is put in here, so that no variable of the library's holds it for a traceback to show.
    """

    def __init__(self, account: Account) -> None:
        super().__init__(transport=httpx2.AsyncBaseTransport(), trust_env=False, timeout=None)
        self._own: Callable[[], Transport] = account.http
        self._given = {
            "User-Agent": f"{account.user_agent} anthropic-python/{anthropic.__version__}",
            "Authorization": SecretText(f"Bearer {account.get('ANTHROPIC_API_KEY')}"),
        }

    async def send(self, request: httpx2.Request, *, stream: bool = False, **_: object) -> httpx2.Response:
        """Send it, once; no redirect is followed, and no cookie kept."""
        told = request.headers
        headers = {name: value for name in SENT if (value := told.get(name))} | self._given
        outgoing = HttpRequest(request.method, str(request.url), headers, await request.aread() or None)
        if stream:
            opened = await self._own().stream(outgoing)
            if opened.status < MULTIPLE_CHOICES:
                return httpx2.Response(
                    opened.status, headers=_plain(opened.headers), stream=OwnStream(opened), request=request
                )
            reply = await _whole(opened)
        else:
            reply = await self._own().send(outgoing)
        return httpx2.Response(reply.status, headers=_plain(reply.headers), content=reply.content, request=request)


class OwnStream(httpx2.AsyncByteStream):
    """A body that is still on its way."""

    def __init__(self, reply: HttpStream) -> None:
        self._reply = reply

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._reply.chunks)

    async def aclose(self) -> None:
        """Give the connection back."""
        await self._reply.aclose()


async def _whole(opened: HttpStream) -> HttpResponse:
    """A refusal, which the library would leave open when it is interrupted."""
    try:
        return HttpResponse(opened.status, opened.headers, b"".join([chunk async for chunk in opened.chunks]))
    finally:
        await opened.aclose()


def _plain(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """As bytes: a header may hold anything."""
    return [
        (name.encode(errors="replace"), value.encode(errors="surrogateescape"))
        for name, value in headers.items()
        if name not in CODED
    ]


class OwnAnthropic(anthropic.AsyncAnthropic):
    """The library's client, that takes nothing from the environment."""

    def settle(self, version: str) -> Self:
        """Ask in this version of the API: the one whose replies are read here, whatever a newer library asks in."""
        # Without those of ANTHROPIC_CUSTOM_HEADERS.
        self._custom_headers = {"anthropic-version": version}
        # Told to nobody; to find it out it would start a thread for each client.
        self._platform = "Unknown"
        return self


def make_client(account: Account) -> anthropic.AsyncAnthropic:
    """The library's client for an account. Cheap: it holds no key and no connection."""
    client = OwnAnthropic(
        api_key=MASK,
        webhook_key="",
        base_url=account.base_url,
        timeout=None,
        max_retries=0,
        open_telemetry=False,
        http_client=OwnClient(account),
    )
    return client.settle(account.facts.api_version)


class Opened:
    """A reply that is still on its way. `aclose` it in any case."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self.request_id = response.headers.get("request-id")
        self.aclose = response.aclose

    async def events(self) -> AsyncGenerator[str]:
        """The data of each server-sent event, as it comes."""
        try:
            async for event in anthropic.AsyncStream.raw_events(self._response):
                if event.data:
                    yield event.data
        except UnicodeDecodeError:
            raise BadResponseError("an event of the stream is not text", code="reply") from None

    async def lines(self) -> AsyncGenerator[bytes]:
        """The lines, as they come."""
        rest = b""
        async for chunk in self._response.aiter_bytes():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield line
        yield rest


async def get(client: anthropic.AsyncAnthropic, path: str) -> HttpResponse:
    """Read something. Raises `StatusError`."""
    return _reply(await _sent(client.get(path, cast_to=httpx2.Response)))


async def post(client: anthropic.AsyncAnthropic, path: str, body: object = None) -> HttpResponse:
    """Send JSON. Raises `StatusError`."""
    return _reply(await _sent(client.post(path, content=_json(body), cast_to=httpx2.Response)))


async def open_get(client: anthropic.AsyncAnthropic, path: str) -> Opened:
    """Read the results of a batch. Raises `StatusError`."""
    options: anthropic.RequestOptions = {"headers": {"Accept": "application/binary"}}
    call = client.get(path, cast_to=httpx2.Response, options=options, stream=True, stream_cls=Events)
    return Opened(await _sent(call))


async def open_post(client: anthropic.AsyncAnthropic, path: str, body: object) -> Opened:
    """Send JSON, for a stream. Raises `StatusError`."""
    call = client.post(path, content=_json(body), cast_to=httpx2.Response, stream=True, stream_cls=Events)
    return Opened(await _sent(call))


def _json(body: object) -> bytes | None:
    """By our own encoder, in a fraction of the time that the library's takes."""
    return None if body is None else to_json(body)


async def _sent(call: Awaitable[object]) -> httpx2.Response:
    """The reply. Raises `StatusError` for refusals, and the errors of our transport as they are.

    The library's errors hold whole requests and replies, and end here.
    """
    failure: BaseException
    try:
        return cast("httpx2.Response", await call)
    except anthropic.APIStatusError as error:
        failure = StatusError(_reply(error.response))
    except anthropic.APIConnectionError as error:
        failure = error.__cause__ or error
    raise failure


def _reply(response: httpx2.Response) -> HttpResponse:
    return HttpResponse(response.status_code, dict(response.headers), response.content)


def strict(schema: Mapping[str, JsonValue]) -> dict[str, object] | None:
    """The schema as the library makes it fit for the API; None for what it cannot."""
    try:
        return anthropic.transform_schema(dict(schema))
    except (AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return None
