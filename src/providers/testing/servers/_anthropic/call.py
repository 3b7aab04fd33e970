"""What Anthropic refuses a request with: the types of its errors, their statuses, and the shape of the body."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from aiohttp import web

from providers.testing.servers._host import Json, JsonObject

OVERLOADED: Final = 529

STATUSES: Final[Mapping[str, int]] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": OVERLOADED,
}
"""The status of each type of error."""

WORDS: Final[Mapping[str, str]] = {
    "authentication_error": "invalid x-api-key",
    "billing_error": "Your organization's payment is needed.",
    "permission_error": "Your API key does not have permission to use the specified resource.",
    "not_found_error": "Not found",
    "request_too_large": "Request exceeds the maximum size",
    "rate_limit_error": "This request would exceed your organization's rate limit.",
    "api_error": "Internal server error",
    "timeout_error": "The request timed out.",
    "overloaded_error": "Overloaded",
}
"""What an error says where nothing more is known."""


class RefusalError(Exception):
    """An error reply."""

    def __init__(
        self,
        kind: str,
        message: str = "",
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        details: JsonObject | None = None,
    ) -> None:
        self.kind = kind
        self.message = message or WORDS.get(kind, kind)
        self.status = STATUSES.get(kind, HTTPStatus.BAD_REQUEST) if status is None else status
        self.headers = dict(headers or {})
        self.details = details
        super().__init__(self.message)

    def body(self, request_id: str) -> JsonObject:
        """As the wire has it."""
        error: JsonObject = {"type": self.kind, "message": self.message}
        if self.details is not None:
            error["details"] = self.details
        return {"type": "error", "error": error, "request_id": request_id}

    def response(self, request_id: str) -> web.Response:
        """The reply."""
        return reply(self.body(request_id), request_id, status=self.status, headers=self.headers)


def invalid(message: str) -> RefusalError:
    """A request that cannot be answered: `field: problem`."""
    return RefusalError("invalid_request_error", message)


def new_id(prefix: str) -> str:
    """An id as the vendor makes them."""
    return f"{prefix}_01{secrets.token_hex(11)}"


def reply(
    value: Json, request_id: str, *, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A reply in JSON, named."""
    named = {"request-id": request_id, **(headers or {})}
    return web.Response(status=status, text=json.dumps(value), content_type="application/json", headers=named)
