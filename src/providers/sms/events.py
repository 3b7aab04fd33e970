"""What happened to a text after it was sent, and texts that people send us, in one vocabulary for all vendors."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import AwareDatetime, Field

from providers.core.models import Model, Money, OpenVocabulary, Raw


class SmsEventType(OpenVocabulary):
    """What happened. A vendor's word that is not known here is `UNKNOWN`, never an error."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    SENT = "sent"
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"
    FAILED = "failed"
    CANCELED = "canceled"
    CLICKED = "clicked"
    RECEIVED = "received"
    """Somebody texted us."""
    OPTED_OUT = "opted_out"
    """Somebody texted STOP, or a text was not delivered for an opt-out."""
    OPTED_IN = "opted_in"
    """Somebody texted START."""
    UNKNOWN = "unknown"

    @property
    def rank(self) -> int:
        """Order of delivery states, so that a late event never moves a text backwards; 0 for all that says nothing."""
        return RANKS.get(self, 0)


RANKS = {
    SmsEventType.SCHEDULED: 1,
    SmsEventType.QUEUED: 2,
    SmsEventType.SENT: 3,
    SmsEventType.CANCELED: 4,
    SmsEventType.FAILED: 4,
    SmsEventType.UNDELIVERED: 4,
    SmsEventType.DELIVERED: 5,
}


STOP = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"})
START = frozenset({"START", "UNSTOP"})
"""YES, which some vendors take for this too, answers many questions: it counts only where the vendor says so."""


def incoming(body: str) -> SmsEventType:
    """What a text that somebody sent us is: a keyword alone, in any case, opts out or in."""
    word = body.strip().upper()
    if word in STOP:
        return SmsEventType.OPTED_OUT
    return SmsEventType.OPTED_IN if word in START else SmsEventType.RECEIVED


class SmsEvent(Model):
    """One event. Events come late, twice and out of order: drop repeats by `event_id`, order by `type.rank`.

    `message_id` is the id of the `SentSms.ref` (of the incoming text for `RECEIVED`, `OPTED_OUT`, `OPTED_IN`).
    `recipient` is always the person's number, `sender` ours. `metadata` and `tags` are the text's own. `permanent`
    tells a dead number from one to try again; None where the vendor does not say.
    """

    type: SmsEventType
    event_id: str
    message_id: str
    recipient: str
    occurred_at: AwareDatetime
    sender: str = ""
    body: str | None = None
    code: str = ""
    reason: str = ""
    permanent: bool | None = None
    click_url: str | None = None
    segments: int | None = None
    price: Money | None = None
    metadata: Mapping[str, str] = Field(default_factory=dict)
    tags: tuple[str, ...] = ()
    vendor: str
    raw: Raw = None
