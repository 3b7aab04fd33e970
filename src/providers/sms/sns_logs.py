"""What SNS tells of a text: the delivery logs that it writes to CloudWatch, however they are relayed.

Amazon SNS developer guide, "Viewing Amazon CloudWatch metrics and logs for SMS deliveries"; Amazon CloudWatch Logs user
guide, "Real-time processing of log data with subscriptions".
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import TypeAlias

from pydantic import JsonValue

from providers.core.clock import utc
from providers.core.errors import BadResponseError
from providers.core.json import from_json, to_json
from providers.core.models import Money
from providers.sms.events import SmsEvent, SmsEventType
from providers.sms.number import normalise

Json: TypeAlias = Mapping[str, JsonValue]

LARGEST = 16 * 1024 * 1024
"""Bytes that a packed payload may unpack to; SNS carries 256 KB, which may be made of nothing but repetition."""

GZIP = 31
MOST_PARTS, HIGHEST = 1000, 1_000_000

REASONS: tuple[tuple[str, SmsEventType, str, bool | None], ...] = (
    ("opted out", SmsEventType.OPTED_OUT, "opted_out", True),
    ("quota", SmsEventType.FAILED, "spend_limit", False),
    ("max price", SmsEventType.FAILED, "max_price", False),
    ("body is invalid", SmsEventType.FAILED, "invalid_body", False),
    ("invalid phone number", SmsEventType.UNDELIVERED, "invalid_number", True),
    ("blocked list", SmsEventType.UNDELIVERED, "blocked_list", True),
    ("spam", SmsEventType.UNDELIVERED, "spam", None),
    ("blocked", SmsEventType.UNDELIVERED, "blocked", None),
    ("unreachable", SmsEventType.UNDELIVERED, "unreachable", False),
    ("unavailable", SmsEventType.UNDELIVERED, "unreachable", False),
    ("unknown error", SmsEventType.UNDELIVERED, "unknown_error", False),
)
"""What a failure's `providerResponse`, a sentence, has in it; the first that fits."""


def parse_delivery_log(log: Json, *, received_at: float | None = None) -> SmsEvent:
    """The event of one delivery log. `DELIVERED` where the handset confirmed it, `SENT` where the carrier took it.

    `code` is a word of ours for the reason (`opted_out`, `spend_limit`, `max_price`, `invalid_body`,
    `invalid_number`, `blocked_list`, `spam`, `blocked`, `unreachable`, `unknown_error`; `""` for others), `reason` what
    SNS says, `price` that of the whole text in USD. `received_at` (unix time) stands in where the log has no time.
    Raises `BadResponseError` for what is no delivery log.
    """
    notification, delivery = _object(log, "notification"), _object(log, "delivery")
    status, message_id = _word(log, "status").upper(), _word(notification, "messageId")
    at = _moment(_word(notification, "timestamp")) or (utc(received_at) if received_at is not None else None)
    if not status or not (notification or delivery) or at is None:
        msg = "this is not a delivery log of SNS"
        raise BadResponseError(msg)
    reason = _word(delivery, "providerResponse")
    kind, code, permanent = _judged(status, delivery, reason)
    price = _price(delivery.get("priceInUSD"))
    try:
        return SmsEvent(
            type=kind,
            event_id=_identity(log, message_id, status),
            message_id=message_id,
            recipient=number(_word(delivery, "destination")),
            occurred_at=at,
            code=code,
            reason=reason,
            permanent=permanent,
            segments=_parts(delivery.get("numberOfMessageParts")),
            price=Money(amount=price, currency="USD") if price is not None else None,
            vendor="sns",
            raw=dict(log),
        )
    except ValueError:
        # Half of a character, which no text of JSON has.
        raise _unreadable() from None


def parse_notification(text: str, received_at: float) -> tuple[SmsEvent, ...]:
    """The events of what a topic relays: a delivery log, a list of them, or a CloudWatch Logs payload with some.

    Such a payload may be packed, as subscriptions hand it on (`{"awslogs": {"data": ...}}`), or not (`logEvents`).
    Raises `BadResponseError` for anything else.
    """
    value = _json(text.encode(errors="surrogatepass"))
    if isinstance(value, dict) and isinstance(value.get("awslogs"), dict):
        value = _json(_unpacked(_word(_object(value, "awslogs"), "data")))
    if isinstance(value, dict) and "logEvents" in value:
        if value.get("messageType") == "CONTROL_MESSAGE":
            return ()
        lines = value["logEvents"]
        if not isinstance(lines, list):
            raise _unreadable()
        value = [_line(line) for line in lines]
    logs = value if isinstance(value, list) else [value]
    return tuple(parse_delivery_log(_mapping(log), received_at=received_at) for log in logs)


def number(text: str) -> str:
    """A number as E.164 where it can be read as one; as it is otherwise."""
    for written in (text, f"+{text}"):
        try:
            return normalise(written)
        except ValueError:
            continue
    return text


def _judged(status: str, delivery: Json, reason: str) -> tuple[SmsEventType, str, bool | None]:
    if status == "SUCCESS":
        confirmed = delivery.get("dwellTimeMsUntilDeviceAck") is not None
        return (SmsEventType.DELIVERED if confirmed else SmsEventType.SENT), "", None
    if status != "FAILURE":
        return SmsEventType.UNKNOWN, "", None
    words = reason.lower()
    for part, kind, code, permanent in REASONS:
        if part in words:
            return kind, code, permanent
    return SmsEventType.UNDELIVERED, "", None


def _identity(log: Json, message_id: str, status: str) -> str:
    """The same whenever the log is relayed: a text to a topic's subscribers has one id for all of them."""
    told: JsonValue = [message_id, status, _word(_object(log, "delivery"), "destination")]
    if not message_id:
        told = [told, *sorted(f"{name}={text}" for part in log.values() for name, text in _items(part))]
    return f"{message_id or 'log'}:{hashlib.sha256(to_json(told)).hexdigest()[:16]}"


def _price(value: JsonValue) -> Decimal | None:
    """The digits that were written: a float's shortest text is those, as long as there are at most 15 of them."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        amount = Decimal(str(value))
    except (ArithmeticError, ValueError):
        return None
    return amount if amount.is_finite() and 0 <= amount <= HIGHEST else None


def _parts(value: JsonValue) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MOST_PARTS else None


def _unpacked(data: str) -> bytes:
    try:
        packed = base64.b64decode(data, validate=True)
        unpacker = zlib.decompressobj(GZIP)
        text = unpacker.decompress(packed, LARGEST)
    except (ValueError, zlib.error):
        raise _unreadable() from None
    if not unpacker.eof:
        msg = f"a payload of CloudWatch Logs is incomplete, or unpacks to more than {LARGEST} bytes"
        raise BadResponseError(msg)
    return text


def _line(line: JsonValue) -> JsonValue:
    """A log event's text is the log."""
    return _json(_word(_mapping(line), "message").encode(errors="surrogatepass"))


def _json(text: bytes) -> JsonValue:
    try:
        return from_json(text)
    except ValueError:
        raise _unreadable() from None


def _mapping(value: JsonValue) -> Json:
    if not isinstance(value, dict):
        raise _unreadable()
    return value


def _unreadable() -> BadResponseError:
    return BadResponseError("the notification holds no delivery logs of SNS")


def _items(value: JsonValue) -> list[tuple[str, JsonValue]]:
    return list(value.items()) if isinstance(value, dict) else []


def _object(item: Json, key: str) -> Json:
    value = item.get(key)
    return value if isinstance(value, dict) else {}


def _word(item: Json, key: str) -> str:
    value = item.get(key)
    return value if isinstance(value, str) else ""


def _moment(text: str) -> datetime | None:
    """A time as SNS writes it, `2026-11-22 12:00:00.217`, in UTC; None for anything that is none."""
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
