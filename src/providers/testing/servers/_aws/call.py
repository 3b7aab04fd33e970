"""One authenticated call to the local SES or SNS, and how refusals look on the wire."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, TypeVar

from providers.testing.servers._host import JsonObject

T = TypeVar("T")

_STATUSES: Final = {
    "NotFoundException": HTTPStatus.NOT_FOUND,
    "TooManyRequestsException": HTTPStatus.TOO_MANY_REQUESTS,
    "ConflictException": HTTPStatus.CONFLICT,
    "ConcurrentModificationException": HTTPStatus.INTERNAL_SERVER_ERROR,
    "NotFound": HTTPStatus.NOT_FOUND,
    "AuthorizationError": HTTPStatus.FORBIDDEN,
    "TopicLimitExceeded": HTTPStatus.FORBIDDEN,
}
COMMON: Final = frozenset(
    {
        *("UnrecognizedClientException", "InvalidSignatureException", "MissingAuthenticationTokenException"),
        *("IncompleteSignatureException", "AccessDeniedException", "UnknownOperationException"),
        *("InvalidClientTokenId", "SignatureDoesNotMatch", "MissingAuthenticationToken", "IncompleteSignature"),
        *("AuthorizationError", "RequestExpired", "InvalidAction", "Throttling", "OptedOut"),
        *("InternalFailure", "ServiceUnavailable", "RequestEntityTooLarge"),
    }
)
"""Codes that every operation may answer with; all others must be declared by the operation.

`OptedOut` is declared for calls of the sandbox only; the server can be told to answer texts with it all the same.
"""


class RefusalError(Exception):
    """An error reply: a code of the vendor, and its status."""

    def __init__(self, code: str, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.code, self.message = code, message
        self.status = int(_STATUSES.get(code, HTTPStatus.BAD_REQUEST) if status is None else status)


def bad_request(message: str) -> RefusalError:
    """The plain 400 of SES."""
    return RefusalError("BadRequestException", message)


def not_found(message: str) -> RefusalError:
    """The 404 of SES."""
    return RefusalError("NotFoundException", message)


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose signature and parameters were accepted. ``key_id`` is ``""`` where none is needed."""

    operation: str
    params: JsonObject
    key_id: str = ""
    source_ip: str = "127.0.0.1"


Answer = Callable[[Call], JsonObject]


def page(
    call: Call,
    found: Sequence[T],
    *,
    default: int = 100,
    most: int = 1_000,
    refusal: str = "BadRequestException",
) -> tuple[Sequence[T], JsonObject]:
    """The page that ``PageSize`` and ``NextToken`` ask for, and the ``NextToken`` of the reply."""
    size, token = call.params.get("PageSize"), call.params.get("NextToken")
    count = size if isinstance(size, int) and size > 0 else default
    if isinstance(size, int) and not 0 <= size <= most:
        raise bad_request(f"PageSize must be between 0 and {most}")
    start = 0
    if isinstance(token, str):
        try:
            name, _, place = base64.urlsafe_b64decode(token).decode().partition(":")
            start = int(place) if name == call.operation else -1
        except ValueError:
            start = -1
        if not 0 <= start <= len(found):
            raise RefusalError(refusal, "The specified NextToken is invalid.")
    end = start + count
    if end >= len(found):
        return found[start:end], {}
    return found[start:end], {"NextToken": base64.urlsafe_b64encode(f"{call.operation}:{end}".encode()).decode()}
