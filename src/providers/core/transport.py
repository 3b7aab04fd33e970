"""The seam to HTTP: our own request and reply, so that no HTTP library shows in an interface.

`AiohttpTransport` is the one in use (docs/adr/0002-transport.md has the numbers); `HttpxTransport` is the alternative.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, urlencode

from pydantic import JsonValue

from providers.core.errors import (
    AuthenticationError,
    BadResponseError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    PermissionDeniedError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    QuotaExceededError,
    RateLimitedError,
)
from providers.core.json import from_json, to_json
from providers.core.redact import SecretBytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from providers.core.clock import Clock
    from providers.core.operation import VendorFacts

CONNECT_SECONDS = 5.0
MULTIPLE_CHOICES, SERVER_ERROR = 300, 500


@dataclass(slots=True)
class HttpRequest:
    """One request; `url` is absolute and encoded."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    content: bytes | None = field(default=None, repr=False)


@dataclass(slots=True)
class HttpResponse:
    """One complete reply; header names in lower case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)

    def json(self) -> JsonValue:
        """The body as JSON. Raises `BadResponseError` when it is anything else."""
        try:
            value: JsonValue = from_json(self.content)
        except ValueError:
            kind = self.headers.get("content-type", "no content type")[:60]
            msg = f"the reply is not JSON ({kind}, {len(self.content)} bytes)"
            raise BadResponseError(msg, status=self.status) from None
        return value

    def json_object(self) -> dict[str, JsonValue]:
        """The body as a JSON object. Raises `BadResponseError` when it is anything else."""
        value = self.json()
        if not isinstance(value, dict):
            msg = f"the reply is a JSON {type(value).__name__}, not an object"
            raise BadResponseError(msg, status=self.status)
        return value

    def json_list(self) -> list[JsonValue]:
        """The body as a JSON array. Raises `BadResponseError` when it is anything else."""
        value = self.json()
        if not isinstance(value, list):
            msg = f"the reply is a JSON {type(value).__name__}, not a list"
            raise BadResponseError(msg, status=self.status)
        return value


@dataclass(slots=True)
class HttpStream:
    """A reply whose body is still on its way: `chunks` raise as `Transport.send` does. `aclose` it in any case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    chunks: AsyncIterator[bytes] = field(repr=False)
    aclose: Callable[[], Awaitable[None]] = field(repr=False)


class Transport(Protocol):
    """Sends a request and reads the whole reply, or lets it be read piece by piece.

    Marks `ATTEMPT.get().sent` as soon as a connection is there, and raises `ProviderUnavailableError` (nothing
    applied when no connection was made, unknown when it broke) or `BadResponseError` (not HTTP, cut short).
    Follows no redirect, keeps no cookie, repeats nothing.
    """

    async def send(self, request: HttpRequest) -> HttpResponse:
        """Send it."""
        ...

    async def stream(self, request: HttpRequest) -> HttpStream:
        """Send it; the body can be read as it comes."""
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...


class StatusError(Exception):
    """A reply whose status is not a success; an adapter's `translate` names it."""

    def __init__(self, response: HttpResponse) -> None:
        super().__init__(f"HTTP {response.status}")
        self.response = response


class JsonApi:
    """A vendor's API that answers in JSON, under one base URL, with the same headers on every request."""

    def __init__(self, base_url: str, *, transport: Transport, headers: Mapping[str, str]) -> None:
        self._base = base_url.rstrip("/")
        self._transport = transport
        self._headers = dict(headers)
        self._json_headers = {**self._headers, "Content-Type": "application/json"}
        self._form_headers = {**self._headers, "Content-Type": "application/x-www-form-urlencoded"}

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        json: object = None,
        form: Mapping[str, str | Sequence[str]] | None = None,
    ) -> HttpResponse:
        """Send and return the reply. Raises `StatusError` for anything but 2xx.

        The body is `json` or `form`; a list in a form repeats its key.
        """
        url = self._base + path
        if params:
            url += "?" + urlencode(params, quote_via=quote)
        if form is not None:
            request = HttpRequest(method, url, self._form_headers, SecretBytes(urlencode(form, doseq=True).encode()))
        elif json is None:
            request = HttpRequest(method, url, self._headers)
        else:
            request = HttpRequest(method, url, self._json_headers, SecretBytes(to_json(json)))
        response = await self._transport.send(request)
        if response.status >= MULTIPLE_CHOICES:
            raise StatusError(response)
        return response


def from_status(
    response: HttpResponse, facts: VendorFacts, *, message: str, clock: Clock, code: str | None = None
) -> ProviderError:
    """The error of a refused request by what its status means everywhere; vendors refine it."""
    status = response.status
    wait = retry_after(response, clock)
    kind: type[ProviderError]
    outcome: Outcome | None = None
    if status >= SERVER_ERROR:
        kind = ProviderUnavailableError
        if status in facts.not_applied_statuses:
            outcome = Outcome.NOT_APPLIED
    elif status < 400:
        kind, outcome = BadResponseError, Outcome.NOT_APPLIED
    else:
        kind = BY_STATUS.get(status, InvalidRequestError)
    request_id = next((response.headers[name] for name in REQUEST_IDS if name in response.headers), None)
    return kind(message, status=status, code=code, request_id=request_id, retry_after=wait, outcome=outcome)


REQUEST_IDS = ("x-request-id", "request-id", "x-amzn-requestid", "x-message-id")
"""Headers in which vendors name the request, for their support."""

BY_STATUS: dict[int, type[ProviderError]] = {
    401: AuthenticationError,
    402: QuotaExceededError,
    403: PermissionDeniedError,
    404: NotFoundError,
    408: ProviderTimeoutError,
    409: ConflictError,
    410: NotFoundError,
    429: RateLimitedError,
}


def retry_after(response: HttpResponse, clock: Clock) -> float | None:
    """Seconds of the `Retry-After` header, given in seconds or as an HTTP date; None when absent or unreadable."""
    text = response.headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - clock.time()
        except ValueError:
            return None
    return max(seconds, 0.0) if seconds < float("inf") else None
