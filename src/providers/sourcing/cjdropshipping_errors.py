"""What CJ's replies say: whether a call was done, and what its codes mean.

CJ's global list of codes (start/ps-code, read as of 2026). It says to go by the code, not by the HTTP status or text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

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
    Refusal,
    RejectedError,
)
from providers.core.json import from_json
from providers.core.transport import MULTIPLE_CHOICES, HttpResponse, from_status
from providers.sourcing.facts import CJDROPSHIPPING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import JsonValue

    from providers.core.clock import Clock

SUCCESS, TOO_MANY, BAD_PARAMETER, NO_INTERFACE_NOW = 200, 1600200, 1600300, 1600100
ORDER_EXISTS = "1603003"

BAD_TOKENS = frozenset({"1600001", "1600002", "1600030", "1600031"})
"""Another access token may do."""

BAD_KEYS = frozenset({1600004, 1600005, 1600006, 1600008, 1600013, 1601000})

OFF_SHELF, INSUFFICIENT_FUNDS = "off_shelf", "insufficient_funds"

RECONNECT = "create a new API key at CJ (My CJ, Authorization, API) and set CJDROPSHIP_API_KEY"

APART, TOKENS_APART = 1.1, 300.0
"""Seconds to the next request where CJ counts them by the second, and to the next getAccessToken."""

NOWHERE = frozenset({404, 410})

DAY = 86_400.0
LARGEST = 10**12
LACK = re.compile(r"remaining:?\s*(\d{1,9})\b.*required:?\s*(\d{1,9})\b", re.IGNORECASE | re.DOTALL | re.ASCII)


# Whether it was done shows only when it is read back.
_UNDECIDED = Refusal(ConflictError, outcome=Outcome.UNKNOWN)

REFUSALS: Mapping[int, Refusal] = {
    1600000: Refusal(ProviderUnavailableError),
    1600301: Refusal(ProviderTimeoutError),
    **{int(code): Refusal(AuthenticationError) for code in BAD_TOKENS},
    1600003: Refusal(AuthenticationError),
    **dict.fromkeys(BAD_KEYS, Refusal(AuthenticationError)),
    **dict.fromkeys((1600007, 1600012, 1604001), Refusal(PermissionDeniedError)),
    1600101: Refusal(InvalidRequestError),
    TOO_MANY: Refusal(RateLimitedError),
    **dict.fromkeys((1600201, 16900500), Refusal(QuotaExceededError)),
    NO_INTERFACE_NOW: Refusal(InvalidRequestError),
    BAD_PARAMETER: Refusal(InvalidRequestError),
    **dict.fromkeys((1602000, 1602001, 1603100), Refusal(NotFoundError, "ref")),
    **dict.fromkeys((1602002, 1602003), Refusal(NotFoundError, "ref", OFF_SHELF)),
    **dict.fromkeys((1603000, 1603001, 1603002, 1603101, 1603102), _UNDECIDED),
    int(ORDER_EXISTS): Refusal(ConflictError),
    1604000: Refusal(RejectedError, code=INSUFFICIENT_FUNDS),
    **dict.fromkeys((1605000, 1605001, 1605002), Refusal(InvalidRequestError, "shipping")),
    **dict.fromkeys((1606000, 1606001, 1607000, 1607001, 1607002, 1607003), Refusal(InvalidRequestError, "url")),
    **dict.fromkeys((1607004, 1607006, 1607007, 1607008, 1607009, 1607010), Refusal(ProviderUnavailableError)),
    **dict.fromkeys((16900202, 16900203, 16900204, 16900205, 16900403), Refusal(InvalidRequestError)),
}


class Told(NamedTuple):
    """What a reply says of itself, as far as it can be read."""

    code: int | None = None
    message: str = ""
    request_id: str | None = None
    points_per_day: int | None = None


def data(response: HttpResponse, clock: Clock, *, for_token: bool = False) -> JsonValue:
    """The data of a call that was done. Raises the error of one that was not, and `BadResponseError`.

    Done is what has the code 200, or none, and neither `result` nor `success` false; one of the three has to say so.
    """
    body = response.json_object()
    code, flags = body.get("code"), (body.get("result"), body.get("success"))
    readable = code is None or _number(code) is not None
    if not readable or not all(flag is None or isinstance(flag, bool) for flag in flags):
        raise BadResponseError("the reply is not in CJ's envelope", code="envelope", status=response.status)
    if _number(code) not in {None, SUCCESS} or False in flags:
        raise refused(response, clock, for_token=for_token)
    if code is None and True not in flags:
        msg = "the reply does not say whether it was done"
        raise BadResponseError(msg, code="envelope", status=response.status)
    return body.get("data")


def refused(response: HttpResponse, clock: Clock, *, for_token: bool = False) -> ProviderError:
    """The error of a call that was not done. `for_token`: it was for an access token, which CJ gives more rarely."""
    told = _told(response)
    refusal = None if told.code is None else REFUSALS.get(told.code)
    if refusal is None:
        named = _unlisted(response, told, clock)
    else:
        refusal = _by_text(refusal, told)
        wait = _wait(refusal.kind, told, for_token=for_token)
        named = refusal.kind(
            f"{told.message}; {RECONNECT}" if told.code in BAD_KEYS else told.message,
            code=refusal.code or str(told.code),
            status=response.status,
            field=refusal.field,
            outcome=refusal.outcome,
            # When its points are there again is known.
            repeatable=True if refusal.kind is QuotaExceededError and wait is not None else refusal.repeatable,
            retry_after=wait,
        )
    # Some are handed on as they are, one in a list of outcomes.
    named.vendor = CJDROPSHIPPING.vendor
    named.request_id = told.request_id or named.request_id
    if type(named) is RateLimitedError and named.retry_after is None:
        named.retry_after = TOKENS_APART if for_token else APART
    return named


def _unlisted(response: HttpResponse, told: Told, clock: Clock) -> ProviderError:
    message = told.message or f"refused with HTTP {response.status}, without the documented reason"
    code = None if told.code is None else str(told.code)
    if response.status in NOWHERE and told.code is None:
        # Not to be taken for a product or an order that is not there.
        msg = f"HTTP {response.status} without a code of CJ's: is PROVIDER_CJDROPSHIPPING_BASE_URL CJ's API?"
        return BadResponseError(msg, status=response.status, outcome=Outcome.NOT_APPLIED, code="not_cj")
    if response.status >= MULTIPLE_CHOICES:
        return from_status(response, CJDROPSHIPPING, message=message, clock=clock, code=code)
    # Not documented, so what it left behind is not known either.
    return BadResponseError(message, code=code, status=response.status, repeatable=False)


def _by_text(refusal: Refusal, told: Told) -> Refusal:
    """Codes that mean several things."""
    text = told.message.lower()
    if told.code == NO_INTERFACE_NOW and "offline" in text:
        return Refusal(ProviderUnavailableError, outcome=Outcome.NOT_APPLIED, repeatable=False)
    if told.code == BAD_PARAMETER and "not found" in text:
        return Refusal(NotFoundError, "ref")
    if told.code == TOO_MANY and "point" in text:
        return Refusal(QuotaExceededError)
    return refusal


def _wait(kind: type[ProviderError], told: Told, *, for_token: bool) -> float | None:
    if kind is RateLimitedError:
        return TOKENS_APART if for_token else APART
    lack = LACK.search(told.message) if kind is QuotaExceededError else None
    points = CJDROPSHIPPING.points
    per_day = told.points_per_day or (points.per_day if points is not None else 0)
    if lack is None or per_day <= 0:
        return None
    # All points of a day come back evenly over the day.
    return max(int(lack[2]) - int(lack[1]), 1) * DAY / per_day


def _told(response: HttpResponse) -> Told:
    try:
        body = from_json(response.content)
    except ValueError:
        return Told()
    if not isinstance(body, dict):
        return Told()
    message, request_id, points = body.get("message"), body.get("requestId"), body.get("pointsInfo")
    per_day = _number(points.get("total")) if isinstance(points, dict) else None
    return Told(
        _number(body.get("code")),
        message.strip() if isinstance(message, str) else "",
        request_id if isinstance(request_id, str) and request_id else None,
        per_day,
    )


def _number(value: JsonValue) -> int | None:
    """A code, which may stand there as text."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 12:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST else None
