"""How a local server posts webhooks: from its own loop, in the background, nothing retried unless asked to."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import aiohttp
from yarl import URL

POST_TIMEOUT = 5.0


class Deliveries:
    """Posts what waits. Subclasses keep the queues and give ``pending`` and ``flush``."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()

    def pending(self) -> int:
        """Events that wait for delivery."""
        raise NotImplementedError

    async def flush(self, *, stalled: bool) -> int:
        """Post what waits, to stalled hooks too if ``stalled``; how many events were taken."""
        raise NotImplementedError

    async def open(self) -> None:
        """Start delivering in the background."""
        self._wake, self._turn = asyncio.Event(), asyncio.Lock()
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=POST_TIMEOUT))
        self._task = asyncio.create_task(self._background())
        if self.pending():
            self._wake.set()

    async def close(self) -> None:
        """Deliver what waits, once, and stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self.deliver()
        if self._session is not None:
            await self._session.close()
            self._session = None

    def wake(self) -> None:
        """There is something to send; on the loop."""
        self._wake.set()

    async def deliver(self, *, stalled: bool = True) -> int:
        """Send what waits, stalled hooks too unless told not to; how many events were taken."""
        async with self._turn:
            return await self.flush(stalled=stalled)

    async def _background(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.deliver(stalled=False)

    async def post(self, url: str | URL, body: bytes, headers: Mapping[str, str]) -> int:
        """The status of the answer; 0 when there was none."""
        if self._session is None:
            return 0
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                await response.read()
                return response.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0
