"""The base of the local vendor servers: an aiohttp.web app on loopback, recorded, with staged faults."""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import ssl
import time
import weakref
from collections.abc import Awaitable, Callable, Iterable, Sequence
from http import HTTPStatus
from typing import ClassVar, Self, TypeVar

from aiohttp import web
from aiohttp.typedefs import Middleware

from providers.testing.servers._fault import Fault, FaultQueue, Gate, Kind, Match, Reply, act, fault_from_json, reset
from providers.testing.servers._host import Fields, Headers, Host, Json, JsonObject, RecordedRequest, parse_query

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

T = TypeVar("T")

CONTROL = "/_control/"
PAGE = 1_000
KEYS = {"authorization", "cj-access-token", "x-api-key", "x-service-key"}
"""Headers that are not shown."""


class LocalServer(Host):
    """A vendor on 127.0.0.1. Subclasses give ``vendor``, ``env``, ``routes`` and ``problem``.

    ``clock`` is the server's idea of now. Everything that reaches it outside ``/_control/`` is recorded.
    """

    vendor: ClassVar[str] = "local"
    max_body: ClassVar[int] = 64 * 1024 * 1024

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.time,
        keep: int = 100_000,
    ) -> None:
        super().__init__(host=host, port=port, keep=keep)
        self.clock = clock
        self._ssl = ssl_context
        self._faults = FaultQueue()
        self._gate = Gate()
        self._stale: weakref.WeakSet[asyncio.Transport] = weakref.WeakSet()

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """Command-line options besides ``--host`` and ``--port``."""

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> Self:
        """A server as the command line asks for it."""
        return cls(host=options.host, port=options.port)

    @property
    def env(self) -> dict[str, str]:
        """The variables that point at this server."""
        return {}

    def routes(self) -> Iterable[web.RouteDef]:
        """The vendor's routes."""
        return ()

    def problem(self, status: int, message: str) -> web.Response:
        """The vendor's shape of an error that no handler answered (unknown path, wrong method, too large)."""
        return web.json_response({"error": message}, status=status)

    async def opened(self) -> None:
        """Called on the loop before it says it listens."""

    async def closing(self) -> None:
        """Called on the loop before connections are closed."""

    def stage(self, fault: Fault, *, match: Match | None = None, times: int | None = 1) -> None:
        """Make the next fitting requests fail; ``times=None`` until reset."""
        if fault.kind is Kind.REFUSE:
            raise ValueError("REFUSE acts on connections: put a FaultServer in front")
        self._faults.stage(fault, match, times)

    def release(self) -> None:
        """Let held replies go."""
        self._soon(self._gate.release)

    def reset(self) -> None:
        """Forget requests and staged faults, let held replies go."""
        super().reset()
        self._faults.clear()
        self.release()

    @property
    def _scheme(self) -> str:
        return "https" if self._ssl else "http"

    async def _serve(self, ready: Callable[[int], None], stop: asyncio.Event) -> None:
        app = web.Application(middlewares=[self._wire()], client_max_size=self.max_body)
        app.add_routes(self.routes())
        app.add_routes(
            [
                web.get(CONTROL + "health", self._control_health),
                web.get(CONTROL + "requests", self._control_requests),
                web.post(CONTROL + "faults", self._control_faults),
                web.post(CONTROL + "release", self._control_release),
                web.post(CONTROL + "reset", self._control_reset),
            ]
        )
        runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        try:
            await web.TCPSite(runner, self.host, self._wanted_port, ssl_context=self._ssl, backlog=1024).start()
            await self.opened()
            ready(runner.addresses[0][1])
            await stop.wait()
            self._gate.release()
            await self.closing()
        finally:
            await runner.cleanup()

    def _wire(self) -> Middleware:
        async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
            try:
                return await handler(request)
            except web.HTTPException as error:
                return self.problem(error.status, error.reason)

        @web.middleware
        async def wire(request: web.Request, handler: Handler) -> web.StreamResponse:
            path, _, query = request.raw_path.partition("?")
            if path.startswith(CONTROL):
                try:
                    return await answer(request, handler)
                except ValueError as error:
                    return web.json_response({"error": str(error)}, status=HTTPStatus.BAD_REQUEST)
            if self._stale and (transport := request.transport) is not None and transport in self._stale:
                reset(transport)
                return web.Response()
            fault = self._faults.take(request.method, path) if len(self._faults) else None
            ticket = self._gate.ticket() if fault is not None else None
            headers = Headers(tuple(request.headers.items()))
            try:
                body = await request.read()
            except web.HTTPRequestEntityTooLarge:
                self._record(RecordedRequest(request.method, path, parse_query(query), headers, b""))
                return self.problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "content too large")
            self._record(RecordedRequest(request.method, path, parse_query(query), headers, body))
            if fault is None or ticket is None:
                return await answer(request, handler)
            return await self._disturb(fault, ticket, request, lambda: answer(request, handler))

        return wire

    async def _disturb(
        self,
        fault: Fault,
        ticket: asyncio.Event,
        request: web.Request,
        answer: Callable[[], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        transport = request.transport
        if transport is None or fault.kind is Kind.PASS:
            return await answer()
        if fault.kind is Kind.STATUS:
            if fault.after_upstream:
                await answer()
            return web.Response(status=fault.code, headers=dict(fault.headers), body=fault.body)
        if fault.kind is Kind.SLOW_HEADERS:
            response = await answer()
            await ticket.wait()
            return response
        if fault.kind is Kind.STALE_CLOSE:
            self._stale.add(transport)
            return await answer()

        async def reply() -> Reply:
            response = await answer()
            body = response.body if isinstance(response, web.Response) else b""
            content = body if isinstance(body, bytes) else b""
            return Reply(response.status, tuple(response.headers.items()), content)

        if await act(fault, transport, reply, ticket):
            transport.close()
        return web.Response()  # goes nowhere: the connection is closed

    async def _control_health(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"vendor": self.vendor, "url": self.url, "requests": self.request_count})

    async def _control_requests(self, request: web.Request) -> web.StreamResponse:
        with self._arrived:
            kept, first = tuple(self._requests), self._count - len(self._requests)
        return await listing(request, "requests", kept, _show_request, first)

    async def _control_faults(self, request: web.Request) -> web.StreamResponse:
        fault, match, times = fault_from_json(await read_json(request))
        self.stage(fault, match=match, times=times)
        return web.json_response({"staged": len(self._faults)}, status=HTTPStatus.CREATED)

    async def _control_release(self, request: web.Request) -> web.StreamResponse:
        self._gate.release()
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def _control_reset(self, request: web.Request) -> web.StreamResponse:
        self.reset()
        return web.Response(status=HTTPStatus.NO_CONTENT)


async def read_json(request: web.Request) -> Json:
    """The body as JSON; ``ValueError`` when it is none, which control routes answer with 400."""
    value: Json = json.loads(await request.read())
    return value


async def listing(
    request: web.Request, name: str, items: Sequence[T], show: Callable[[T], JsonObject], first: int = 0
) -> web.StreamResponse:
    """``{name: [...], "next": cursor}`` after ``?after=`` (``?limit=``), or all of it with ``?format=ndjson``.

    The cursor counts what was ever listed; ``first`` is the cursor before ``items[0]``.
    """
    after = max(_number(request.query.get("after"), 0) - first, 0)
    if request.query.get("format") == "ndjson":
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        for start in range(after, len(items), PAGE):
            lines = (json.dumps(show(item)) + "\n" for item in items[start : start + PAGE])
            await response.write("".join(lines).encode())
        await response.write_eof()
        return response
    limit = _number(request.query.get("limit"), PAGE)
    page = items[after : after + limit]
    return web.json_response({name: [show(item) for item in page], "next": first + after + len(page)})


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.isdecimal() else default


def _show_request(request: RecordedRequest) -> JsonObject:
    shown: JsonObject = {
        "method": request.method,
        "path": request.path,
        "query": _pairs(request.query),
        "headers": [[name, "(hidden)" if name.lower() in KEYS else value] for name, value in request.headers.pairs],
    }
    try:
        shown["body"] = request.body.decode()
    except UnicodeDecodeError:
        shown["body_base64"] = base64.b64encode(request.body).decode()
    return shown


def _pairs(fields: Fields) -> Json:
    return [[name, value] for name, value in fields.pairs]
