"""What Anthropic's refusals mean (platform.claude.com/docs/en/api/errors)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pydantic import ValidationError

from providers.core.errors import (
    BadResponseError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    ProviderError,
    ProviderTimeoutError,
    QuotaExceededError,
)
from providers.core.models import Reply
from providers.core.transport import SERVER_ERROR, HttpResponse, from_status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from providers.core.clock import Clock
    from providers.core.operation import VendorFacts

BAD_REQUEST, NOT_FOUND, GATEWAY_TIMEOUT = 400, 404, 504

TYPES: Mapping[str, int] = {
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
    "overloaded_error": 529,
}
"""The status that an error has where it does not come with one: within a stream, and in the results of a batch."""

NO_CREDIT = "credit balance is too low"

FIELD = re.compile(r"([a-z_]+)(?:\.([a-z0-9_]+))*: ")
FIELDS: Mapping[str, str] = {
    "cache_control": "cache",
    "max_tokens": "max_tokens",
    "messages": "messages",
    "metadata": "user_id",
    "model": "model",
    "requests": "requests",
    "stop_sequences": "stop",
    "system": "system",
    "tool_choice": "tool_choice",
    "tools": "tools",
    "output_config": "json_schema",
}
"""Our names for the parts of a request, by the first word of a message such as `tools.0.name: ...`."""


class Problem(Reply):
    """The error object in a reply, in an event of a stream or in a result of a batch."""

    type: str = ""
    message: str = ""


class Refusal(Reply):
    """What holds it."""

    error: Problem
    request_id: str | None = None


def translate(response: HttpResponse, facts: VendorFacts, clock: Clock) -> ProviderError:
    """Our error for a refusal."""
    try:
        refusal = Refusal.model_validate_json(response.content)
    except ValidationError:
        return _foreign(response, facts, clock)
    named = _named(refusal, response, facts, clock)
    named.request_id = named.request_id or refusal.request_id
    again = response.headers.get("x-should-retry")
    if again in {"true", "false"}:
        named.repeatable = again == "true"
        named.retryable = named.repeatable and not named.may_have_applied
    return named


def told(refusal: Refusal, facts: VendorFacts, clock: Clock, *, outcome: Outcome) -> ProviderError:
    """Our error for one that came without a status of its own."""
    status = TYPES.get(refusal.error.type, SERVER_ERROR)
    named = _named(refusal, HttpResponse(status, {}, b""), facts, clock)
    named.status, named.request_id, named.outcome = None, refusal.request_id, outcome
    named.retryable = named.repeatable and not named.may_have_applied
    return named


def _named(refusal: Refusal, response: HttpResponse, facts: VendorFacts, clock: Clock) -> ProviderError:
    status, problem = response.status, refusal.error
    code, message = problem.type or None, problem.message or f"refused with HTTP {status}, without a reason"
    named = from_status(response, facts, message=message, clock=clock, code=code)
    kind: type[ProviderError] | None = None
    if status == GATEWAY_TIMEOUT:
        kind = ProviderTimeoutError
    elif status == BAD_REQUEST and NO_CREDIT in message.lower():
        kind = QuotaExceededError
    if kind is not None:
        named = kind(message, code=code, status=status, request_id=named.request_id, retry_after=named.retry_after)
    if isinstance(named, InvalidRequestError | NotFoundError):
        named.field = _field(message)
    wait = _milliseconds(response.headers.get("retry-after-ms", ""))
    if wait is not None:
        named.retry_after = wait
    return named


def _foreign(response: HttpResponse, facts: VendorFacts, clock: Clock) -> ProviderError:
    """A reply that is not Anthropic's: of something in between, or of another host."""
    status = response.status
    if status == NOT_FOUND:
        # Not to be taken for a model that does not exist.
        msg = "HTTP 404 without a reason of Anthropic's: is PROVIDER_ANTHROPIC_BASE_URL Anthropic's API?"
        return BadResponseError(msg, status=status, outcome=Outcome.NOT_APPLIED, code="not_anthropic", repeatable=False)
    message = f"refused with HTTP {status}, without the documented reason"
    named = from_status(response, facts, message=message, clock=clock)
    if status == GATEWAY_TIMEOUT:
        return ProviderTimeoutError(message, status=status, request_id=named.request_id)
    return named


def _field(message: str) -> str | None:
    """`tools.0.name: ...` is about `tools`, `output_config.effort: ...` about `effort`."""
    match = FIELD.match(message)
    if match is None:
        return None
    if match.group(0).startswith("output_config.effort"):
        return "effort"
    return FIELDS.get(match[1])


def _milliseconds(text: str) -> float | None:
    try:
        seconds = float(text) / 1000
    except ValueError:
        return None
    return max(seconds, 0.0) if seconds < float("inf") else None
