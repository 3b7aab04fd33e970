"""Hands calls on to another server of the same protocol (moto), signed with keys that are worth nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from providers.testing.servers._host import Json

TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class UpstreamReply:
    """What the other server said."""

    status: int
    body: bytes
    error_type: str | None

    @property
    def ok(self) -> bool:
        """Whether it took the call."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def message_id(self) -> str | None:
        """``MessageId``, if there is one."""
        try:
            value: Json = json.loads(self.body)
        except ValueError:
            return None
        found = value.get("MessageId") if isinstance(value, dict) else None
        return found if isinstance(found, str) else None


class Upstream:
    """The other server. One that cannot be reached answers 503."""

    def __init__(self, url: str, region: str) -> None:
        self._url, self._region = url.rstrip("/"), region
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Before the first call."""
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT))

    async def close(self) -> None:
        """After the last call."""
        if self._session is not None:
            await self._session.close()

    async def post(self, path: str, body: bytes) -> UpstreamReply:
        """Hand a call on."""
        request = AWSRequest("POST", self._url + path, headers={"Content-Type": "application/json"}, data=body)
        SigV4Auth(Credentials("AKIAUPSTREAM", "upstream"), "ses", self._region).add_auth(request)
        headers = {name: str(value) for name, value in request.headers.items()}
        if self._session is None:
            raise RuntimeError("the server is not running")
        try:
            async with self._session.post(self._url + path, data=body, headers=headers) as response:
                return UpstreamReply(response.status, await response.read(), response.headers.get("x-amzn-errortype"))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            text = json.dumps({"message": f"The upstream server did not answer: {type(error).__name__}"})
            return UpstreamReply(HTTPStatus.SERVICE_UNAVAILABLE, text.encode(), "ServiceUnavailable")
