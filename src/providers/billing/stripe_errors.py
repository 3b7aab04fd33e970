"""What Stripe's refusals mean (docs.stripe.com/api/errors, docs.stripe.com/error-codes)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pydantic import ValidationError

from providers.core.errors import (
    BadResponseError,
    ConflictError,
    CredentialRevokedError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    PermissionDeniedError,
    ProviderError,
    RateLimitedError,
    RejectedError,
)
from providers.core.models import Reply
from providers.core.transport import SERVER_ERROR, HttpResponse, from_status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from providers.core.clock import Clock
    from providers.core.operation import VendorFacts

BAD_REQUEST, UNAUTHORIZED, PAYMENT_REQUIRED, NOT_FOUND, TOO_MANY = 400, 401, 402, 404, 429

BUSY = frozenset({"idempotency_key_in_use", "lock_timeout"})
"""Another request with this key, or for this object, is under way: a matter of seconds."""

EXPIRED = frozenset({"api_key_expired", "platform_api_key_expired"})

CODES: Mapping[str, type[ProviderError]] = {
    "resource_missing": NotFoundError,
    "secret_key_required": PermissionDeniedError,
    "testmode_charges_only": PermissionDeniedError,
    "account_invalid": PermissionDeniedError,
    "lock_timeout": ConflictError,
    "idempotency_key_in_use": ConflictError,
    "rate_limit": RateLimitedError,
}
"""Where a code says more than its status. All of them were refused before anything was done."""

FIELDS: Mapping[str, str] = {
    "id": "ref",
    "subscription": "ref",
    "payment_intent": "ref",
    "charge": "ref",
    "session": "ref",
    "invoice": "ref",
    "unit_amount": "amount",
    "trial_period_days": "trial_days",
    "event_name": "meter",
    "value": "quantity",
    "stripe_customer_id": "customer",
    "timestamp": "at",
    "proration_date": "at",
    "product_data": "lines",
}
"""Our names for Stripe's parameters, where they differ; of nested ones the innermost that is no index counts."""


class _Problem(Reply):
    type: str = ""
    code: str | None = None
    decline_code: str | None = None
    param: str | None = None
    message: str | None = None


class _Refusal(Reply):
    error: _Problem


def _problem(response: HttpResponse) -> _Problem | None:
    try:
        return _Refusal.model_validate_json(response.content).error
    except ValidationError:
        return None


def is_refusal(response: HttpResponse) -> bool:
    """Whether a reply has the form that Stripe gives to refusals."""
    return _problem(response) is not None


def translate(response: HttpResponse, facts: VendorFacts, clock: Clock) -> ProviderError:
    """Our error for a refusal."""
    status, problem = response.status, _problem(response)
    if problem is None:
        return _foreign(response, facts, clock)
    message = problem.message or f"refused with HTTP {status}, without a reason"
    code = problem.decline_code or problem.code
    named = from_status(response, facts, message=message, clock=clock, code=code)
    kind = _kind(status, problem)
    if kind is not None and type(named) is not kind:
        named = kind(message, code=code, status=status, request_id=named.request_id, retry_after=named.retry_after)
    if isinstance(named, InvalidRequestError | NotFoundError | RejectedError):
        named.field = _field(problem)
    if isinstance(named, ConflictError | RateLimitedError):
        again = response.headers.get("stripe-should-retry")
        named.retryable = again == "true" or (again is None and (named.retryable or problem.code in BUSY))
    return named


def _kind(status: int, problem: _Problem) -> type[ProviderError] | None:
    if status >= SERVER_ERROR:
        return None
    if status == PAYMENT_REQUIRED or problem.type == "card_error":
        return RejectedError
    if problem.type == "idempotency_error":
        return ConflictError
    if status in {TOO_MANY, UNAUTHORIZED}:
        return CredentialRevokedError if problem.code in EXPIRED else None
    return CODES.get(problem.code or "")


def _foreign(response: HttpResponse, facts: VendorFacts, clock: Clock) -> ProviderError:
    """A reply that is not Stripe's: of something in between, or of another host."""
    status = response.status
    if status == NOT_FOUND:
        # Not to be taken for a subscription that does not exist.
        msg = "HTTP 404 without a reason of Stripe's: is PROVIDER_STRIPE_BASE_URL Stripe's API?"
        return BadResponseError(msg, status=status, outcome=Outcome.NOT_APPLIED, code="not_stripe")
    message = f"refused with HTTP {status}, without the documented reason"
    named = from_status(response, facts, message=message, clock=clock)
    if status == PAYMENT_REQUIRED:
        return RejectedError(message, status=status, request_id=named.request_id)
    if named.status and named.status < BAD_REQUEST:
        return BadResponseError(message, status=status, request_id=named.request_id, outcome=named.outcome)
    return named


def _field(problem: _Problem) -> str | None:
    """`line_items[0][price_data][unit_amount]` is the `amount`; `metadata[shop]` stays what it is."""
    if problem.code == "charge_already_refunded":
        return "amount"
    if problem.param is None:
        return None
    names = [name for name in re.split(r"[\[\]]+", problem.param) if name and not name.isdigit()]
    if not names:
        return None
    if names[0] in {"metadata", "lookup_keys"}:
        return names[0]
    return FIELDS.get(names[-1], names[-1])[:100]
