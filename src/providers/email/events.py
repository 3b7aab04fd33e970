"""What happened to a mail after it was sent, in one vocabulary for all vendors."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import AwareDatetime, Field

from providers.core.models import Model, OpenVocabulary, Raw


class EmailEventType(OpenVocabulary):
    """What happened. A vendor's word that is not known here is `UNKNOWN`, never an error."""

    QUEUED = "queued"
    SENT = "sent"
    DELIVERED = "delivered"
    DEFERRED = "deferred"
    BOUNCED = "bounced"
    REJECTED = "rejected"
    FAILED = "failed"
    COMPLAINED = "complained"
    UNSUBSCRIBED = "unsubscribed"
    SUBSCRIBED = "subscribed"
    OPENED = "opened"
    CLICKED = "clicked"
    UNKNOWN = "unknown"

    @property
    def rank(self) -> int:
        """Order of delivery states, so that a late event never moves a mail backwards; 0 for all that says nothing."""
        return RANKS.get(self, 0)


RANKS = {
    EmailEventType.QUEUED: 1,
    EmailEventType.SENT: 2,
    EmailEventType.DEFERRED: 3,
    EmailEventType.DELIVERED: 4,
    EmailEventType.BOUNCED: 5,
    EmailEventType.REJECTED: 5,
    EmailEventType.FAILED: 5,
    EmailEventType.COMPLAINED: 6,
}


class EmailEvent(Model):
    """One event. Events come late, twice and out of order: drop repeats by `event_id`, order by `type.rank`.

    `message_id` is the id of the `MessageRef` that the send returned; `metadata` and `tags` are the message's own.
    `permanent` tells a dead address from one to try again; None where the vendor does not say.
    """

    type: EmailEventType
    event_id: str
    message_id: str
    recipient: str
    occurred_at: AwareDatetime
    code: str = ""
    reason: str = ""
    permanent: bool | None = None
    click_url: str | None = None
    user_agent: str | None = None
    metadata: Mapping[str, str] = Field(default_factory=dict)
    tags: tuple[str, ...] = ()
    vendor: str
    raw: Raw = None
