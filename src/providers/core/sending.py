"""One outcome for each item of a batch: never an exception for one that is bad."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from providers.core.errors import InvalidRequestError, NotFoundError, ProviderError, RejectedError
from providers.core.models import Model

SUPPRESSED_CODES = frozenset({"suppressed", "opted_out"})
"""Codes of a `RejectedError` by which somebody does not want to hear from us."""


class SendState(StrEnum):
    """What became of one message of a batch."""

    SENT = "sent"
    """Accepted by the vendor."""
    EARLIER = "earlier"
    """This address had its message already: in an earlier run, or earlier in the list."""
    SUPPRESSED = "suppressed"
    """Unsubscribed, opted out, bounced or complained before: not sent."""
    INVALID = "invalid"
    """Cannot be sent: bad address, missing variable."""
    FAILED = "failed"
    """Not sent: the vendor refused or was not there. Repeating is safe."""
    UNKNOWN = "unknown"
    """It may have been sent. Nothing sends it again unless somebody resolves it."""


class MessageOutcome(Model):
    """The outcome of one message of a batch. `index` counts from 0 in the order given."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    index: int
    key: str
    recipient: str
    state: SendState
    error: Annotated[ProviderError | None, Field(exclude=True)] = None
    reason: str = ""


def failed_state(error: ProviderError) -> SendState:
    """The state of a message whose sending raised."""
    if error.may_have_applied:
        return SendState.UNKNOWN
    if isinstance(error, RejectedError) and error.code in SUPPRESSED_CODES:
        return SendState.SUPPRESSED
    if isinstance(error, InvalidRequestError | NotFoundError):
        return SendState.INVALID
    return SendState.FAILED
