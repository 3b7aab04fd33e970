"""One text and how the API shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import format_datetime
from enum import StrEnum
from functools import lru_cache
from typing import Final

from providers.sms import segments
from providers.testing.servers._host import JsonObject

API_VERSION: Final = "2010-04-01"

_SMART: Final = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032`\u00b4", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
        **dict.fromkeys("\u00a0\u2002\u2003\u2009\u202f", " "),
        **dict.fromkeys("\u200b\ufeff", ""),
        "\u2026": "...",
    }
)


class Status(StrEnum):
    """How far a text came."""

    ACCEPTED = "accepted"
    SCHEDULED = "scheduled"
    CANCELED = "canceled"
    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"
    FAILED = "failed"
    RECEIVED = "received"


UNFINISHED: Final = frozenset((Status.ACCEPTED, Status.SCHEDULED, Status.QUEUED, Status.SENDING))


@dataclass(slots=True, eq=False)
class Text:
    """One text. ``sender`` is None until a service has chosen one; ``history`` are all statuses so far.

    Times are seconds since the epoch. ``segments`` is what it costs, known from the start.
    """

    sid: str
    account: str
    to: str
    sender: str | None
    body: str
    status: Status
    created_at: float
    service: str | None = None
    direction: str = "outbound-api"
    media: tuple[str, ...] = ()
    callback: str | None = None
    send_at: float | None = None
    smart: bool = False
    sent_at: float | None = None
    updated_at: float = 0.0
    error_code: int | None = None
    place: int = 0
    deleted: bool = False
    segments: int = field(init=False)
    history: list[Status] = field(init=False)

    def __post_init__(self) -> None:
        self.updated_at = self.created_at
        self.history = [self.status]
        body = self.body.translate(_SMART) if self.smart else self.body
        self.segments = 1 if self.media else max(segments.count(body).segments, 1)

    def turn(self, status: Status, now: float) -> None:
        """Go on to a status."""
        self.status, self.updated_at = status, now
        self.history.append(status)

    @property
    def uri(self) -> str:
        """Path without the suffix."""
        return f"/{API_VERSION}/Accounts/{self.account}/Messages/{self.sid}"

    def cost(self, price: Decimal) -> Decimal:
        """What it costs, at so much a segment."""
        return price * self.segments

    def shown(self, price: Decimal | None) -> JsonObject:
        """As the API has it; ``price`` of a segment when the bill is made."""
        unassigned = self.service is not None and self.status in (Status.ACCEPTED, Status.SCHEDULED, Status.CANCELED)
        return {
            "account_sid": self.account,
            "api_version": API_VERSION,
            "body": self.body,
            "date_created": rfc2822(int(self.created_at)),
            "date_sent": None if self.sent_at is None else rfc2822(int(self.sent_at)),
            "date_updated": rfc2822(int(self.updated_at)),
            "direction": self.direction,
            "error_code": self.error_code,
            "error_message": None,
            "from": self.sender,
            "messaging_service_sid": self.service,
            "num_media": str(len(self.media)),
            "num_segments": "0" if unassigned else str(self.segments),
            "price": None if price is None else f"-{self.cost(price):.5f}",
            "price_unit": "USD",
            "sid": self.sid,
            "status": self.status.value,
            "subresource_uris": {"media": f"{self.uri}/Media.json"},
            "to": self.to,
            "uri": f"{self.uri}.json",
        }

    def as_dict(self) -> JsonObject:
        """For the control route."""
        return {
            "sid": self.sid,
            "to": self.to,
            "sender": self.sender,
            "service": self.service,
            "body": self.body,
            "status": self.status.value,
            "direction": self.direction,
            "segments": self.segments,
            "media": [*self.media],
            "callback": self.callback,
            "error_code": self.error_code,
            "history": [each.value for each in self.history],
            "created_at": self.created_at,
            "sent_at": self.sent_at,
            "send_at": self.send_at,
        }


@lru_cache(maxsize=1024)
def rfc2822(second: int) -> str:
    """``Sun, 22 Nov 2026 12:00:00 +0000``."""
    return format_datetime(datetime.fromtimestamp(second, UTC))
