"""What the gateway's refusals mean, and those of the model's vendor that it wraps in a 502 (docs: `facts.GATEWAY`)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pydantic import ValidationError

from providers.core.errors import (
    AuthenticationError,
    BadResponseError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    QuotaExceededError,
    RateLimitedError,
)
from providers.core.models import Reply
from providers.core.transport import BY_STATUS, SERVER_ERROR, HttpResponse, from_status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from providers.core.clock import Clock
    from providers.core.operation import VendorFacts

SILENCE = 61.0
"""Seconds to leave it alone after a 429. It counts for a minute from the last call, refused ones too."""

ANSWERED = re.compile(r"\[(?P<provider>[^\]]{1,60})\] API returned (?P<status>\d{3}): ?(?P<body>.*)", re.DOTALL)
UNREACHABLE = re.compile(r"\[(?P<provider>[^\]]{1,60})\] HTTP error: ?(?P<why>.*)", re.DOTALL)
NOT_SET_UP = re.compile(r"\[[^\]]{1,60}\] .*(?:not configured|disabled)", re.DOTALL)

NEVER_CONNECTED = re.compile(
    r"\[Errno (?:-\d+|101|111|113)\]|name or service not known|connection refused|all connection attempts failed",
    re.IGNORECASE,
)
"""What the gateway's HTTP client says when it made no connection."""

OVERLOADED = 529
"""Refused before anything was done."""

LONGEST_QUOTE = 300
"""Characters of what the model's vendor said."""

OUR_FIELDS: Mapping[str, str] = {"task_type": "task", "json_mode": "json_schema"}
"""Our names of the request's fields, where they differ."""

NAMED_UPSTREAM = ("max_tokens", "temperature", "prompt")
KEY_MISSING = ("header", "x-service-key")


class _Problem(Reply):
    loc: list[str | int]
    msg: str = ""

    @property
    def place(self) -> tuple[str, ...]:
        return tuple(str(part).lower() for part in self.loc)


class _Refusal(Reply):
    detail: str | list[_Problem]


def translate(response: HttpResponse, facts: VendorFacts, clock: Clock) -> ProviderError:
    """Our error for a refusal."""
    named = _named(response, facts, clock)
    named.status = response.status
    named.request_id = response.headers.get("x-request-id") or None
    return named


def _named(response: HttpResponse, facts: VendorFacts, clock: Clock) -> ProviderError:
    status, detail = response.status, _detail(response)
    if isinstance(detail, list) and status == 422:
        return _invalid(detail)
    told = detail if isinstance(detail, str) else ""
    if status == 502 and (match := ANSWERED.match(told)):
        return _upstream(match["provider"], int(match["status"]), match["body"])
    if status == 502 and (match := UNREACHABLE.match(told)):
        return _unreachable(match["provider"], match["why"])
    if status == 503 and NOT_SET_UP.match(told):
        msg = f"{told[:LONGEST_QUOTE]}: the gateway's administrator has to store its key or enable it"
        return ProviderUnavailableError(msg, code="provider", outcome=Outcome.NOT_APPLIED, repeatable=False)
    if status in {404, 405}:
        # The paths that we ask for are always there.
        msg = f"HTTP {status}: is LLM_GATEWAY_URL the gateway's address, without a path?"
        return BadResponseError(msg, code="not_gateway", outcome=Outcome.NOT_APPLIED, repeatable=False)
    message = told[:LONGEST_QUOTE] or f"refused with HTTP {status}, without the documented reason"
    named = from_status(response, facts, message=message, clock=clock)
    if status == 429 and named.retry_after is None:
        named.retry_after = SILENCE
    return named


def _detail(response: HttpResponse) -> str | list[_Problem] | None:
    try:
        return _Refusal.model_validate_json(response.content).detail
    except ValidationError:
        return None


def _invalid(problems: list[_Problem]) -> ProviderError:
    """What is wrong with the request; of its values nothing is repeated."""
    if any(problem.place == KEY_MISSING for problem in problems):
        return AuthenticationError("the gateway got no service key", code="key_missing")
    told: list[str] = []
    fields: list[str] = []
    for problem in problems:
        name = problem.place[1] if problem.place[:1] == ("body",) and len(problem.place) > 1 else ""
        fields += [OUR_FIELDS.get(name, name)[:100]] if name else []
        told.append(f"{fields[-1]}: {problem.msg}" if name else problem.msg)
    message = "; ".join(filter(None, told))[:LONGEST_QUOTE] or "refused, without a reason"
    return InvalidRequestError(message, field=fields[0] if fields else None)


def _upstream(provider: str, status: int, body: str) -> ProviderError:
    """The vendor of the model answered the gateway with this."""
    quote, code = body[:LONGEST_QUOTE], f"upstream_{status}"
    if status in {401, 403}:
        msg = f"{provider} refuses the key that the gateway has for it ({status}; not our service key): {quote}"
        return ProviderUnavailableError(msg, code=code, outcome=Outcome.NOT_APPLIED, repeatable=False)
    if status == 404:
        return NotFoundError(f"{provider} has not the model that the gateway asks for (retired?): {quote}", code=code)
    if status == 402:
        return QuotaExceededError(f"the gateway's account at {provider} is used up: {quote}", code=code)
    if status == 429:
        return RateLimitedError(f"{provider} limits the gateway: {quote}", code=code)
    msg = f"{provider} answered the gateway with {status}: {quote}"
    if status >= SERVER_ERROR:
        outcome = Outcome.NOT_APPLIED if status == OVERLOADED else None
        return ProviderUnavailableError(msg, code=code, outcome=outcome)
    if status == 408:
        return ProviderTimeoutError(msg, code=code)
    if status < 400:
        return BadResponseError(msg, code=code, outcome=Outcome.NOT_APPLIED)
    kind = BY_STATUS.get(status, InvalidRequestError)
    field = next((name for name in NAMED_UPSTREAM if name in body), None) if kind is InvalidRequestError else None
    return kind(msg, code=code, field=field)


def _unreachable(provider: str, why: str) -> ProviderError:
    outcome = Outcome.NOT_APPLIED if NEVER_CONNECTED.search(why) else None
    msg = f"the gateway got no answer from {provider}: {why[:LONGEST_QUOTE] or 'it does not say why'}"
    return ProviderUnavailableError(msg, code="upstream_unreachable", outcome=outcome)
