"""What SES tells of a mail: events of a configuration set, notifications of an identity.

Amazon SES developer guide, "Contents of event data that SES publishes to Amazon SNS".
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias

from pydantic import JsonValue

from providers.core.clock import utc
from providers.core.errors import BadResponseError
from providers.core.json import from_json
from providers.email.events import EmailEvent, EmailEventType
from providers.email.ses_mail import DATA, HEADER_ID, TRACKING_ID

Json: TypeAlias = dict[str, JsonValue]

VALIDATED = "Successfully validated SNS topic"
"""What SES says in a topic when it is made an event destination: no JSON, no event."""

EVENT_TYPES = {
    "Send": (EmailEventType.SENT, "send"),
    "Delivery": (EmailEventType.DELIVERED, "delivery"),
    "DeliveryDelay": (EmailEventType.DEFERRED, "deliveryDelay"),
    "Bounce": (EmailEventType.BOUNCED, "bounce"),
    "Reject": (EmailEventType.REJECTED, "reject"),
    "Rendering Failure": (EmailEventType.FAILED, "failure"),
    "Complaint": (EmailEventType.COMPLAINED, "complaint"),
    "Open": (EmailEventType.OPENED, "open"),
    "Click": (EmailEventType.CLICKED, "click"),
    "Subscription": (EmailEventType.UNSUBSCRIBED, "subscription"),
}
SUPPRESSED = frozenset({"Suppressed", "OnAccountSuppressionList", "OnTenantSuppressionList"})
PERMANENT = {"Permanent": True, "Transient": False}


def parse_events(text: str, notification: str, now: float) -> tuple[EmailEvent, ...]:
    """The events of a notification, one for each recipient; `notification` is its id.

    Of a configuration set (`eventType`) or of an identity (`notificationType`). Opens and clicks name nobody: theirs is
    the mail's recipient where it has one only. Raises `BadResponseError` for anything but a JSON object.
    """
    if text.startswith(VALIDATED):
        return ()
    try:
        item = from_json(text.encode())
    except ValueError:
        item = None
    if not isinstance(item, dict):
        msg = "the notification is not a JSON object"
        raise BadResponseError(msg)
    mail = _object(item, "mail")
    kind, place = EVENT_TYPES.get(_word(item, "eventType") or _word(item, "notificationType"), (None, ""))
    detail = _object(item, place)
    metadata, tags = labels(mail)
    identity = _word(detail, "feedbackId") or notification
    event_type = _refined(kind, detail)
    about = _about(kind, detail)
    shared: dict[str, Any] = {
        "type": event_type,
        "message_id": _word(mail, "messageId"),
        "occurred_at": _moment(_word(detail, "timestamp")) or _moment(_word(mail, "timestamp")) or utc(now),
        "permanent": PERMANENT.get(_word(detail, "bounceType")),
        "click_url": _word(detail, "link") or None,
        "user_agent": _word(detail, "userAgent") or None,
        "metadata": metadata,
        "tags": tags,
        "vendor": "ses",
        "raw": item,
    }
    return tuple(
        EmailEvent(
            event_id=f"{identity}:{index}",
            recipient=bare(_word(one, "emailAddress")),
            code=_word(one, "status") or about[0],
            reason=_word(one, "diagnosticCode") or about[1],
            **shared,
        )
        for index, one in enumerate(_recipients(kind, detail, mail))
    )


def _refined(kind: EmailEventType | None, detail: Json) -> EmailEventType:
    if kind is EmailEventType.BOUNCED and _word(detail, "bounceSubType") in SUPPRESSED:
        return EmailEventType.REJECTED
    if kind is EmailEventType.UNSUBSCRIBED:
        new, old = _object(detail, "newTopicPreferences"), _object(detail, "oldTopicPreferences")
        if not new:
            return EmailEventType.UNKNOWN
        gone = new.get("unsubscribeAll") is True or bool(_left(new) - _left(old))
        return EmailEventType.UNSUBSCRIBED if gone else EmailEventType.SUBSCRIBED
    return kind or EmailEventType.UNKNOWN


def _left(preferences: Json) -> set[str]:
    """The topics of a contact list that somebody is not in."""
    topics = _objects(preferences.get("topicSubscriptionStatus"))
    return {_word(one, "topicName") for one in topics if _word(one, "subscriptionStatus") == "OptOut"}


def _about(kind: EmailEventType | None, detail: Json) -> tuple[str, str]:
    """Code and reason, where they are not the recipient's own."""
    if kind is EmailEventType.BOUNCED:
        sub = _word(detail, "bounceSubType")
        return sub, ": ".join(filter(None, (_word(detail, "bounceType"), sub)))
    if kind is EmailEventType.COMPLAINED:
        sub = _word(detail, "complaintSubType")
        return _word(detail, "complaintFeedbackType") or sub, sub
    if kind is EmailEventType.DEFERRED:
        return _word(detail, "delayType"), _word(detail, "delayType")
    if kind is EmailEventType.FAILED:
        return "", _word(detail, "errorMessage")
    return "", _word(detail, "reason") or _word(detail, "smtpResponse")


def _recipients(kind: EmailEventType | None, detail: Json, mail: Json) -> list[Json]:
    """Whom it is about, at least one."""
    for name in ("bouncedRecipients", "complainedRecipients", "delayedRecipients", "recipients"):
        if found := _objects(detail.get(name)):
            return found
    everybody = _objects(mail.get("destination"))
    nobody: list[Json] = [{}]
    if kind in {EmailEventType.OPENED, EmailEventType.CLICKED, EmailEventType.UNSUBSCRIBED}:
        return everybody if len(everybody) == 1 else nobody
    return everybody or nobody


def _objects(value: JsonValue) -> list[Json]:
    """A list's objects; texts in it are addresses."""
    if not isinstance(value, list):
        return []
    return [
        one if isinstance(one, dict) else {"emailAddress": one} for one in value if isinstance(one, dict | str) and one
    ]


def labels(mail: Json) -> tuple[dict[str, str], tuple[str, ...]]:
    """Metadata and tags of the message, from the tags that `_tags` made; the id at least, where there are none."""
    metadata: dict[str, str] = {}
    pieces: dict[str, str] = {}
    for name, values in _object(mail, "tags").items():
        value = values[0] if isinstance(values, list) and values else values
        if isinstance(value, str) and not name.startswith("ses:"):
            (pieces if name.startswith(DATA) else metadata)[name] = value
    tags: tuple[str, ...] = ()
    if pieces:
        data = _joined(pieces)
        given = data.get("t")
        metadata |= {name: text for name, text in _object(data, "m").items() if isinstance(text, str)}
        tags = tuple(tag for tag in given if isinstance(tag, str)) if isinstance(given, list) else ()
    if TRACKING_ID not in metadata:
        for header in _objects(mail.get("headers")):
            if _word(header, "name").lower() == HEADER_ID.lower():
                metadata[TRACKING_ID] = _word(header, "value")
    return metadata, tags


def _joined(pieces: Mapping[str, str]) -> Json:
    numbers = range(len(pieces))
    text = "".join(pieces.get(f"{DATA}{number}", "") for number in numbers)
    try:
        data = from_json(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def _object(item: Json, key: str) -> Json:
    value = item.get(key)
    return value if isinstance(value, dict) else {}


def _word(item: Json, key: str) -> str:
    value = item.get(key)
    return value if isinstance(value, str) else ""


def bare(text: str) -> str:
    """The address of `Name <address>`."""
    return text.rpartition("<")[2].removesuffix(">").strip() if text.endswith(">") else text


def _moment(text: str) -> datetime | None:
    """A time as the vendor writes it; None for anything that is none."""
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
