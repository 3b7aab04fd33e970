"""What is sent by SMS, and what comes back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, AwareDatetime, Field, JsonValue, field_validator, model_validator

from providers.core.models import Model, Money, OpenVocabulary, Raw, Ref, RequestModel
from providers.core.sending import MessageOutcome
from providers.sms.number import normalise

LONGEST_BODY = 1600
LONGEST_TAG = 100
MOST_METADATA = 1000
"""Characters of tags and metadata together: they travel in a URL at some vendors."""

SENDER_ID = re.compile(r"(?=[A-Za-z0-9 ]*[A-Za-z])[A-Za-z0-9][A-Za-z0-9 ]{0,10}")
SHORT_CODE = re.compile(r"\d{3,8}", re.ASCII)
SERVICE = re.compile(r"MG[0-9a-f]{32}")

Number = Annotated[str, AfterValidator(normalise)]


class SmsKind(StrEnum):
    """What a text is for; decides routes, hours and prices in many countries."""

    TRANSACTIONAL = "transactional"
    """Orders, codes: somebody waits for it."""
    PROMOTIONAL = "promotional"
    """Marketing."""


class SmsMessage(RequestModel):
    """One text to one number.

    `to` is E.164 (`"+15551234567"`; spaces, dashes and brackets are taken out). `body` is at most 1,600 characters.
    `sender` is a number of ours, a short code, a messaging service (`"MG..."`), or a name of up to 11 letters and
    digits where the country allows it; default: the configured one. `max_price` (of the whole text, where the vendor
    has it) refuses dearer routes. `valid_for` are the seconds after which an undelivered text is given up. `tags` and
    `metadata` come back in events. `vendor_options` are merged last into that vendor's own request.
    """

    to: Number
    body: Annotated[str, Field(min_length=1, max_length=LONGEST_BODY)]
    sender: str | None = None
    kind: SmsKind = SmsKind.TRANSACTIONAL
    send_at: AwareDatetime | None = None
    valid_for: Annotated[int | None, Field(ge=1, le=36_000)] = None
    max_price: Money | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str] = Field(default_factory=dict)
    idempotency_key: Annotated[str | None, Field(min_length=1, max_length=255)] = None
    vendor_options: Mapping[str, Mapping[str, JsonValue]] = Field(default_factory=dict)

    @field_validator("body")
    @classmethod
    def _says_something(cls, value: str) -> str:
        if not value.strip():
            msg = "the text is empty"
            raise ValueError(msg)
        return value

    @field_validator("sender")
    @classmethod
    def _sender(cls, value: str | None) -> str | None:
        return None if value is None else sender(value)

    @field_validator("tags")
    @classmethod
    def _tags(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value) or not all(0 < len(tag) <= LONGEST_TAG for tag in value):
            msg = f"tags are different from each other, and 1 to {LONGEST_TAG} characters long"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _fits_into_a_url(self) -> Self:
        if self.metadata or self.tags:
            size = sum(map(len, (*self.metadata, *self.metadata.values(), *self.tags)))
            if size > MOST_METADATA:
                msg = f"tags and metadata are {size} characters, more than {MOST_METADATA}: give ids, keep the rest"
                raise ValueError(msg)
        return self


def sender(text: str) -> str:
    """One spelling of a sender. Raises `ValueError` for what is none."""
    name = text.strip()
    if SERVICE.fullmatch(name) or SHORT_CODE.fullmatch(name) or SENDER_ID.fullmatch(name):
        return name
    try:
        return normalise(name)
    except ValueError:
        msg = f"{text[:40]!r}: neither a number, a short code, a messaging service nor a name of up to 11 characters"
        raise ValueError(msg) from None


class SmsState(OpenVocabulary):
    """How far a text came. A vendor's word that is not known here is `UNKNOWN`, never an error."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    SENT = "sent"
    """Handed to the carrier; the last word where carriers confirm nothing."""
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"
    """The carrier said no."""
    FAILED = "failed"
    """The vendor did not hand it over."""
    CANCELED = "canceled"
    UNKNOWN = "unknown"


class SentSms(Model):
    """A text that a vendor accepted; see `webhook` and `status` for what became of it.

    `segments` are the parts counted here or, where it tells, by the vendor. `price` is what the vendor asks for the
    whole text; None where it says so only later.
    """

    ref: Ref
    recipient: str
    segments: int
    status: SmsState
    price: Money | None = None
    raw: Raw = None


class SmsStatus(Model):
    """How far a text came, as the vendor knows it. `permanent` tells a dead number from one to try again."""

    ref: Ref
    recipient: str
    state: SmsState
    segments: int | None = None
    price: Money | None = None
    code: str = ""
    reason: str = ""
    permanent: bool | None = None
    updated_at: AwareDatetime | None = None
    raw: Raw = None


class SendOutcome(MessageOutcome):
    """The outcome of one text of `send_many`. `index` counts from 0 in the order given; `sent` when it was accepted."""

    ref: Ref | None = None
    sent: SentSms | None = None


class OptOutSource(StrEnum):
    """How an opt-out became known."""

    REPLY = "reply"
    """The person texted STOP."""
    REFUSED = "refused"
    """The vendor refused a text to this number for it."""
    VENDOR = "vendor"
    """It stands on the vendor's own list."""
    CALLER = "caller"
    """Told by `opt_out`."""


class OptOut(Model):
    """A number that gets no texts, and how that became known."""

    number: str
    source: OptOutSource
    since: AwareDatetime
    vendor: str = ""
