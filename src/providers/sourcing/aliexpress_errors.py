"""What AliExpress' refusals mean. HTTP says 200 around nearly all of them."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from providers.core.errors import (
    AuthenticationError,
    BadResponseError,
    ConflictError,
    CredentialRevokedError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    PermissionDeniedError,
    ProviderError,
    ProviderUnavailableError,
    QuotaExceededError,
    RateLimitedError,
    Refusal,
    RejectedError,
)
from providers.core.transport import from_status
from providers.sourcing.aliexpress_values import as_object, text
from providers.sourcing.models import NO_WAY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import JsonValue

    from providers.core.clock import Clock
    from providers.core.operation import VendorFacts
    from providers.core.transport import HttpResponse
    from providers.sourcing.aliexpress_values import Object


class Told(NamedTuple):
    """What a reply says when it says no."""

    code: str = ""
    sub_code: str = ""
    message: str = ""
    type: str = ""
    request_id: str = ""


UNAVAILABLE = Refusal(ProviderUnavailableError)
INVALID = Refusal(InvalidRequestError)
DENIED = Refusal(PermissionDeniedError)
LIMITED = Refusal(RateLimitedError, wait=1.0)
UNPROVEN = Refusal(AuthenticationError)

ENVELOPE: Mapping[str, Refusal] = MappingProxyType(
    {
        "IllegalRefreshToken": Refusal(CredentialRevokedError),
        **dict.fromkeys(("IllegalAccessToken", "27", "IncompleteSignature", "25"), UNPROVEN),
        **dict.fromkeys(("InvalidAppKey", "InsufficientPermission", "11", "12", "29"), DENIED),
        **dict.fromkeys(("MissingParameter", "InvalidParameter", "InvalidApiPath", "40", "41"), INVALID),
        **dict.fromkeys(("ApiCallLimit", "7"), LIMITED),
        "15": UNAVAILABLE,
    }
)
"""Of the gateway, before a method is reached. Numbers are those of the old gateway, and mean this only here."""

SEARCH: Mapping[str, Refusal] = MappingProxyType(
    {"NGSELECTION_SEARCH_ERROR": Refusal(ProviderUnavailableError, wait=10)}
)

PRODUCT: Mapping[str, Refusal] = MappingProxyType(
    {
        **dict.fromkeys(("605", "ITEM_ID_NOT_FOUND"), Refusal(NotFoundError, "ref")),
        "602": Refusal(NotFoundError, "country", "not_sold"),
    }
)

FREIGHT: Mapping[str, Refusal] = MappingProxyType(
    {
        **dict.fromkeys(("500", "DELIVERY_NOT_AVAILABLE_TO_YOUR_ADDRESS"), Refusal(NotFoundError, code=NO_WAY)),
        **dict.fromkeys(("501", "DELIVERY_INFO_EMPTY"), Refusal(NotFoundError, code=NO_WAY)),
    }
)

PLACE: Mapping[str, Refusal] = MappingProxyType(
    {
        **dict.fromkeys(
            ("B_DROPSHIPPER_DELIVERY_ADDRESS_VALIDATE_FAIL", "A002_INVALID_ZONE", "A005_INVALID_COUNTRIES"),
            Refusal(InvalidRequestError, "address"),
        ),
        "DELIVERY_METHOD_NOT_EXIST": Refusal(InvalidRequestError, "shipping"),
        "PRICE_PAY_CURRENCY_ERROR": Refusal(InvalidRequestError, "currency"),
        **dict.fromkeys(("A004_CANNOT_USER_COUPON", "ERROR_WHEN_BUILD_FOR_PLACE_ORDER"), INVALID),
        "INVENTORY_HOLD_ERROR": Refusal(ConflictError, "quantity", "out_of_stock"),
        # There is an order under this number: one of ours, made by a call whose answer was lost.
        "REPEATED_ORDER_ERROR": Refusal(ConflictError, "idempotency_key", outcome=Outcome.UNKNOWN),
        **dict.fromkeys(("BLACKLIST_BUYER_IN_LIST", "USER_ACCOUNT_DISABLED"), DENIED),
    }
)

BANNED = re.compile(r"ban will last (?:for )?(\d{1,7})")
A_DAY = re.compile(r"quota|limit.*\b(?:daily|(?:a|per|one|1)[ -]day)\b|\bdaily\b.*limit", re.IGNORECASE | re.DOTALL)
SESSION = re.compile(r"invalid[ -]session", re.IGNORECASE)
FAILING = re.compile(r"\bisp\.|system|internal|remote|time_?out|unavailable|unknown", re.IGNORECASE)
"""Words of a method's own code by which it failed, rather than refused."""


def told_in(node: Object) -> Told:
    """What an object says of itself, under each of the names that the gateway has for that."""
    message, more = (
        _first(node, names) for names in (("msg", "message", "rsp_msg", "resp_msg", "error_msg"), ("sub_msg",))
    )
    return Told(
        code=_first(node, ("code", "rsp_code", "resp_code", "error_code")),
        sub_code=text(node.get("sub_code")),
        message=f"{message}: {more}" if message and more and more != message else message or more,
        type=text(node.get("type")),
        request_id=_first(node, ("request_id", "_trace_id_")),
    )


def envelope(root: Object) -> Told | None:
    """The gateway's own refusal, of either form; None when the reply is a method's."""
    if "error_response" in root:
        return told_in(as_object(root["error_response"], "error_response"))
    if text(root.get("code")) in {"", "0", "00"} or any(name.endswith("_response") for name in root):
        return None
    return told_in(root) if "type" in root or "message" in root else None


def is_token_refused(told: Told) -> bool:
    """Whether another access token may help."""
    return told.code in {"IllegalAccessToken", "27"} or _is_session(told)


def gateway_error(told: Told, status: int | None = None) -> ProviderError:
    """Our error for the gateway's own refusal."""
    return _error(told, _by_sub_code(told) or ENVELOPE.get(told.code) or _by_words(told) or _by_type(told), status)


def method_error(node: JsonValue, own: Mapping[str, Refusal], payload: Object) -> ProviderError:
    """Our error for what a method says of a call that the gateway has let through."""
    told = told_in(node) if isinstance(node, dict) else Told()
    if not told.request_id:
        told = told._replace(request_id=_first(payload, ("request_id", "_trace_id_")))
    if not told.code and not told.message:
        return BadResponseError(
            "the reply says neither what was found nor what is wrong", code="reply", request_id=told.request_id or None
        )
    listed = own.get(told.sub_code) or own.get(told.code) or own.get(told.message)
    return _error(told, listed or _by_sub_code(told) or _by_words(told) or _by_type(told))


def place_error(node: Object, payload: Object) -> ProviderError:
    """As `method_error`, of an order: what is not listed is a refusal, unless it sounds like a failure."""
    told = told_in(node)._replace(request_id=told_in(payload).request_id)
    listed = PLACE.get(told.code) or _by_sub_code(told) or _by_words(told)
    if listed is None and re.match(r"A00[136](?:_|$)", told.code):
        listed = DENIED
    if listed is None and (
        told.type in {"ISP", "SYSTEM"} or told.code == "404" or not told.code or FAILING.search(told.code)
    ):
        listed = UNAVAILABLE
    return _error(told, listed or Refusal(RejectedError))


def status_error(response: HttpResponse, facts: VendorFacts, clock: Clock) -> ProviderError:
    """Our error for a status that is not 200 and a body that is not the gateway's."""
    status = response.status
    message = f"refused with HTTP {status}, without the documented reason"
    if status == 404:
        # Not to be taken for a product that does not exist.
        return BadResponseError(message, status=status, code="not_aliexpress", outcome=Outcome.NOT_APPLIED)
    return from_status(response, facts, message=message, clock=clock)


def _error(told: Told, refusal: Refusal, status: int | None = None) -> ProviderError:
    wait = refusal.wait
    if refusal.kind is RateLimitedError:
        if A_DAY.search(told.message):
            # Not a matter of seconds.
            refusal, wait = Refusal(QuotaExceededError), None
        elif banned := BANNED.search(told.message):
            wait = float(banned[1])
    return refusal.kind(
        told.message or told.sub_code or f"refused with the code {told.code}",
        code=refusal.code or told.sub_code or told.code or None,
        field=refusal.field,
        status=status,
        request_id=told.request_id or None,
        retry_after=wait,
        outcome=refusal.outcome,
    )


def _by_sub_code(told: Told) -> Refusal | None:
    """By the old gateway's way to say more."""
    code = told.sub_code or told.code
    if code.startswith("accesscontrol.limited"):
        return LIMITED
    if code.startswith(("isv.permission", "isv.insufficient")):
        return DENIED
    if code.startswith("isp."):
        return UNAVAILABLE
    return INVALID if code.startswith("isv.") and told.code not in ENVELOPE.keys() - {"15"} else None


def _by_words(told: Told) -> Refusal | None:
    if _is_session(told):
        return UNPROVEN
    if A_DAY.search(told.message):
        return Refusal(QuotaExceededError)
    return LIMITED if BANNED.search(told.message) else None


def _by_type(told: Told) -> Refusal:
    return INVALID if told.type == "ISV" else UNAVAILABLE


def _is_session(told: Told) -> bool:
    return SESSION.search(f"{told.sub_code} {told.message}") is not None


def _first(node: Object, names: tuple[str, ...]) -> str:
    return next((found for name in names if (found := text(node.get(name)))), "")
