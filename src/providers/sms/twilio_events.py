"""Twilio's webhooks: whether they are Twilio's, and what they tell. And the callback URL by which they know the text.

Twilio's pages on webhook security, status callbacks, and opt-out keywords.
"""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from providers.core.clock import utc
from providers.core.errors import BadResponseError, ConfigurationError, WebhookVerificationError
from providers.core.json import from_json, to_json
from providers.core.models import RawRequest, WebhookReply, WebhookResult
from providers.core.signatures import hmac_sha1, same
from providers.sms.events import SmsEvent, SmsEventType, incoming

SIGNATURE = "x-twilio-signature"
FORM = "application/x-www-form-urlencoded"
MOST_FIELDS, LONGEST_SID = 1000, 100

TRACKING_ID, DATA = "pm_id", "pm_data"
"""Our parameters of the callback URL: the text's id, and `[metadata, tags]` as base64url JSON. They stand last."""

OURS = re.compile(rf".*[?&]{TRACKING_ID}=([^&#]*)(?:&{DATA}=([A-Za-z0-9_=-]*))?", re.DOTALL)
URL = re.compile(r"(https?://)?([^/?#]*)([^#]*)", re.IGNORECASE)
HASH = re.compile(r"[?&]bodySHA256=([^&]*)")
DONE = re.compile(r"\d{10}", re.ASCII)

NO_CONTENT = WebhookReply(status=204)
NO_ANSWER = WebhookReply(headers={"Content-Type": "text/xml"}, body=b"<Response/>")
"""TwiML that texts nothing back."""

EVENT_TYPES = {
    "accepted": SmsEventType.QUEUED,
    "queued": SmsEventType.QUEUED,
    "sending": SmsEventType.QUEUED,
    "scheduled": SmsEventType.SCHEDULED,
    "sent": SmsEventType.SENT,
    "partially_delivered": SmsEventType.SENT,
    "delivered": SmsEventType.DELIVERED,
    "read": SmsEventType.DELIVERED,
    "undelivered": SmsEventType.UNDELIVERED,
    "failed": SmsEventType.FAILED,
    "canceled": SmsEventType.CANCELED,
}
INCOMING = frozenset({"received", "receiving"})
UNSUBSCRIBED = "21610"

CODES: Mapping[str, tuple[bool | None, str]] = {
    "21610": (True, "the person opted out of texts from this sender"),
    "30001": (False, "the sender's queue is full"),
    "30002": (None, "the account is suspended"),
    "30003": (False, "the phone is off or out of reach"),
    "30004": (True, "blocked by the person or the carrier"),
    "30005": (True, "the number is unknown or no longer in use"),
    "30006": (True, "a landline, or a carrier that cannot be reached"),
    "30007": (None, "filtered as spam by the carrier; do not send this text again"),
    "30008": (False, "the carrier gave no reason"),
    "30022": (False, "over the rate of the 10DLC campaign"),
    "30023": (False, "over the carrier's daily cap for the brand"),
    "30032": (None, "the toll-free number is not verified"),
    "30034": (None, "the number is not registered for 10DLC"),
    "30036": (None, "its time ran out before it could be delivered"),
    "30450": (None, "stopped as SMS pumping"),
}
"""Delivery codes: whether the number is dead for good (None: says nothing of the number), and why."""

OPT_OUT_TYPES = {"STOP": SmsEventType.OPTED_OUT, "START": SmsEventType.OPTED_IN, "HELP": SmsEventType.RECEIVED}


@dataclass(frozen=True, slots=True)
class Callback:
    """Where Twilio posts what becomes of a text. `origin` is the part before the path, as the outside world sees it."""

    origin: str
    start: str
    fragment: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `TWILIO_STATUS_CALLBACK_URL`. Raises `ConfigurationError`; Twilio takes no underscore in a host."""
        name = "TWILIO_STATUS_CALLBACK_URL"
        try:
            parts = urlsplit(text)
            fine = parts.scheme in {"http", "https"} and "_" not in (parts.hostname or "_")
        except ValueError:
            fine = False
        if not fine or not text.isascii() or not text.isprintable() or " " in text:
            msg = f"{name}: not an http(s) URL that Twilio takes (encoded, no underscore in the host)"
            raise ConfigurationError(msg, field=name)
        url, hash_, fragment = text.partition("#")
        scheme, _, rest = url.partition("://")
        host = re.split(r"[/?]", rest, maxsplit=1)[0]
        join = "" if url.endswith(("?", "&")) else "&" if "?" in url else "?"
        return cls(f"{scheme}://{host}", f"{url}{join}{TRACKING_ID}=", hash_ + fragment)

    def url(self, tracking_id: str, metadata: Mapping[str, str], tags: Sequence[str]) -> str:
        """The URL for one text."""
        data = ""
        if metadata or tags:
            encoded = urlsafe_b64encode(to_json([dict(metadata), list(tags)])).decode().rstrip("=")
            data = f"&{DATA}={encoded}"
        return f"{self.start}{quote(tracking_id, safe='')}{data}{self.fragment}"


def told(url: str) -> tuple[dict[str, str], list[str]]:
    """Metadata and tags that `Callback.url` wrote into a URL, the id among the metadata. Empty where it did not."""
    match = OURS.match(url)
    if match is None:
        return {}, []
    metadata: dict[str, str] = {}
    tags: list[str] = []
    if match[2]:
        try:
            kept = from_json(urlsafe_b64decode(match[2] + "=" * (-len(match[2]) % 4)))
        except ValueError:
            kept = None
        if isinstance(kept, list) and len(kept) == 2:
            names, words = kept
            if isinstance(names, dict):
                metadata = {name: text for name, text in names.items() if isinstance(text, str)}
            if isinstance(words, list):
                tags = [word for word in words if isinstance(word, str)]
    metadata[TRACKING_ID] = unquote(match[1])
    return metadata, tags


def verified(request: RawRequest, *, token: str, account_sid: str, public: str) -> dict[str, str]:
    """The fields of a request that Twilio signed for this account. Raises `WebhookVerificationError`.

    A form is signed with its fields. Any other body must be named by its hash in the URL, which is signed. `public` is
    the scheme and host that Twilio knows us by: a proxy may have changed those of `request.url`.
    """
    given = request.headers.get(SIGNATURE, "")
    if not given:
        raise _refused("the signature is missing")
    form = request.method.upper() == "GET" or request.headers.get("content-type", "").lower().startswith(FORM)
    signed = fields = _fields(request, form=form)
    if request.method.upper() == "GET" or not form:
        signed = []
    # Sorted by key, then by value, and each pair once: what a set of pairs gives.
    rest = "".join([key + value for key, value in sorted(set(signed))])
    if not any(same(given, hmac_sha1(token, url + rest)) for url in _urls(request.url, public)):
        raise _refused("the signature does not fit the request; is TWILIO_STATUS_CALLBACK_URL the URL it was sent to?")
    found = dict(fields)
    if found.get("AccountSid") != account_sid:
        raise _refused("it is not about this account")
    return found


def _fields(request: RawRequest, *, form: bool) -> list[tuple[str, str]]:
    """Of the form, of the query of a GET, or of a JSON object whose hash is right."""
    try:
        if request.method.upper() == "GET":
            text = request.url.partition("#")[0].partition("?")[2]
        elif form:
            text = request.body.decode()
        else:
            return _json_fields(request)
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS)
    except ValueError:
        raise _refused("the form cannot be read") from None


def _json_fields(request: RawRequest) -> list[tuple[str, str]]:
    match = HASH.search(request.url.partition("#")[0])
    if match is None or not same(hashlib.sha256(request.body).hexdigest(), match[1].lower()):
        raise _refused("the body is no form, and its hash does not stand in the signed URL")
    try:
        item = from_json(request.body)
    except ValueError:
        return []
    return [(key, value) for key, value in item.items() if isinstance(value, str)] if isinstance(item, dict) else []


def _urls(url: str, public: str) -> Iterator[str]:
    """The URLs that may have been signed: Twilio names a port, or does not, whatever the request had."""
    match = URL.match(url)
    scheme, host, target = (match[1] or "", match[2], match[3]) if match is not None else ("", "", "")
    origins = [public] if public else []
    if scheme:
        origins.insert(0, scheme + host)
    for origin in dict.fromkeys(origins):
        yield origin + target
        start, colon, port = origin.rpartition(":")
        if colon and port.isdigit():
            yield start + target
        else:
            default = "443" if origin[:5].lower() == "https" else "80"
            yield f"{origin}:{default}{target}"


def parse(form: Mapping[str, str], url: str, now: float) -> WebhookResult[SmsEvent]:
    """The event of a verified request, and the answer. Raises `BadResponseError` where it names no message."""
    sid = form.get("MessageSid") or form.get("SmsSid") or ""
    if not 0 < len(sid) <= LONGEST_SID:
        msg = "the webhook names no message"
        raise BadResponseError(msg, vendor="twilio", code="message_sid")
    status = form.get("MessageStatus") or form.get("SmsStatus") or ""
    if status in INCOMING or (not status and "Body" in form):
        return WebhookResult[SmsEvent](events=(_incoming(sid, form, now),), reply=NO_ANSWER)
    return WebhookResult[SmsEvent](events=(_status(sid, status, form, url, now),), reply=NO_CONTENT)


def _status(sid: str, status: str, form: Mapping[str, str], url: str, now: float) -> SmsEvent:
    code = form.get("ErrorCode", "")
    permanent, reason = CODES.get(code, (None, ""))
    metadata, tags = told(url)
    return SmsEvent(
        type=SmsEventType.OPTED_OUT if code == UNSUBSCRIBED else EVENT_TYPES.get(status, SmsEventType.UNKNOWN),
        event_id=f"{sid}:{status}",
        message_id=sid,
        recipient=form.get("To", ""),
        occurred_at=_done(form.get("RawDlrDoneDate", "")) or utc(now),
        sender=form.get("From") or form.get("MessagingServiceSid", ""),
        code=code,
        reason=form.get("ErrorMessage") or reason,
        permanent=permanent,
        segments=_segments(form),
        metadata=metadata,
        tags=tuple(tags),
        vendor="twilio",
        raw=dict(form),
    )


def _incoming(sid: str, form: Mapping[str, str], now: float) -> SmsEvent:
    body = form.get("Body", "")
    return SmsEvent(
        type=OPT_OUT_TYPES.get(form.get("OptOutType", "").upper()) or incoming(body),
        event_id=f"{sid}:received",
        message_id=sid,
        recipient=form.get("From", ""),
        occurred_at=utc(now),
        sender=form.get("To", ""),
        body=body,
        segments=_segments(form),
        vendor="twilio",
        raw=dict(form),
    )


def _segments(form: Mapping[str, str]) -> int | None:
    text = form.get("NumSegments", "")
    return (int(text) or None) if text.isascii() and text.isdigit() and len(text) <= 4 else None


def _done(text: str) -> datetime | None:
    """When the carrier said so, `YYMMDDhhmm` in UTC."""
    if not DONE.fullmatch(text):
        return None
    try:
        year, month, day, hour, minute = (int(text[at : at + 2]) for at in range(0, 10, 2))
        return datetime(2000 + year, month, day, hour, minute, tzinfo=UTC)
    except ValueError:
        return None


def _refused(why: str) -> WebhookVerificationError:
    return WebhookVerificationError(why, vendor="twilio", operation="sms.webhook")
