"""Webhooks of made-up vendors: signed like real ones, delivered to the service's own endpoint."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from providers.core.errors import ProviderError, WebhookVerificationError
from providers.core.signatures import hmac_sha256, same
from providers.core.telemetry import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from providers.core.models import RawRequest
    from providers.core.transport import Transport

SECRET = "demo-webhook-secret"  # noqa: S105 (public on purpose: it protects made-up events)
HEADER = "x-demo-signature"
TOLERANCE = 300.0
"""Seconds a signature is good for."""


def sign(body: bytes, now: float) -> dict[str, str]:
    """The headers of a delivery."""
    moment = str(int(now))
    signature = hmac_sha256(SECRET, moment.encode(), b".", body)
    return {HEADER: f"t={moment},v1={signature}", "content-type": "application/json"}


def verify(request: RawRequest, now: float) -> None:
    """Raise `WebhookVerificationError` unless `sign` made the header for this body, not long ago."""
    moment, _, signature = request.headers.get(HEADER, "").removeprefix("t=").partition(",v1=")
    expected = hmac_sha256(SECRET, moment.encode(), b".", request.body)
    recent = moment.isascii() and moment.isdigit() and len(moment) <= 12 and abs(now - int(moment)) <= TOLERANCE
    if not same(signature, expected) or not recent:
        msg = "the signature does not fit the body, or is too old"
        raise WebhookVerificationError(msg, vendor="demo")


class Deliveries:
    """Posts in the background; `drain` waits for what is under way."""

    def __init__(self, http: Callable[[], Transport]) -> None:
        self._http = http
        self._tasks: set[asyncio.Task[None]] = set()

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Start one delivery."""
        task = asyncio.get_running_loop().create_task(self._post(url, body, headers))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Wait for the deliveries under way."""
        if self._tasks:
            await asyncio.gather(*self._tasks)

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        from providers.core.transport import HttpRequest

        try:
            reply = await self._http().send(HttpRequest("POST", url, headers, body))
        except ProviderError as error:
            logger.warning("a demo webhook was not delivered: %s", error)
        else:
            if reply.status >= 300:
                logger.warning("a demo webhook was answered with HTTP %s", reply.status)
