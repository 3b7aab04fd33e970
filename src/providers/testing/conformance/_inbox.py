"""The service's end of a webhook: a few lines of HTTP on loopback that keep what was posted."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

from providers.core.models import RawRequest

if TYPE_CHECKING:
    from types import TracebackType

PATIENCE = 10.0
"""Real seconds to wait for a delivery."""


class Inbox:
    """Answers every request with 200 and keeps it as a `RawRequest`."""

    def __init__(self) -> None:
        self.requests: list[RawRequest] = []
        self._arrived = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/hooks/email"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
            for writer in tuple(self._writers):
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
            await self._server.wait_closed()

    async def received(self, count: int) -> RawRequest:
        """The request number `count`, from 1. Raises `TimeoutError` when it does not come."""
        async with asyncio.timeout(PATIENCE), self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)
        return self.requests[count - 1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
                pairs = (line.partition(":") for line in lines)
                headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                method, path, _ = first.split(" ", 2)
                url = f"http://{headers.get('host', '')}{path}"
                async with self._arrived:
                    self.requests.append(RawRequest(method=method, url=url, headers=headers, body=body))
                    self._arrived.notify_all()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the sender is done
        finally:
            self._writers.discard(writer)
            writer.close()
