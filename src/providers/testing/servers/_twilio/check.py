"""What Twilio refuses in the form of a new message, whatever the account (``POST .../Messages.json`` of its spec)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

from providers.testing.servers._host import Fields
from providers.testing.servers._twilio.call import RefusalError

LONGEST_BODY: Final = 1_600
MOST_MEDIA: Final = 10
SOONEST: Final = 900
LATEST: Final = 35 * 86_400
LONGEST_VALIDITY: Final = 36_000
LONGEST_URL: Final = 4_000

E164: Final = re.compile(r"\+(?:1\d{10}|[2-9]\d{6,14})", re.ASCII)
"""A number; those of North America have ten digits after the 1."""
SHORT_CODE: Final = re.compile(r"\d{3,8}", re.ASCII)
NAME: Final = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9+\-_& ]{1,11}", re.ASCII)
"""A sender that is a name (alphanumeric sender id)."""

_NUMBERS: Final[Mapping[str, tuple[int, int]]] = {"ValidityPeriod": (1, LONGEST_VALIDITY), "Attempt": (1, 1_000)}
_SWITCHES: Final = ("ProvideFeedback", "ForceDelivery", "SmartEncoded", "ShortenUrls", "SendAsMms")
_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "ContentRetention": ("retain", "discard"),
    "AddressRetention": ("retain", "obfuscate"),
    "TrafficType": ("free",),
    "ScheduleType": ("fixed",),
    "RiskCheck": ("enable", "disable"),
}
_REPEATED: Final = frozenset(("MediaUrl", "PersistentAction"))
_KNOWN: Final = frozenset(
    (
        *("To", "From", "MessagingServiceSid", "Body", "MediaUrl", "ContentSid", "ContentVariables"),
        *("StatusCallback", "ApplicationSid", "PersistentAction", "SendAt", "MaxPrice", "FallbackFrom"),
        *("MessageIntent", *_NUMBERS, *_SWITCHES, *_WORDS),
    )
)


@dataclass(frozen=True, slots=True)
class Draft:
    """A message whose form is in order. ``sender`` or ``service`` is given."""

    to: str
    sender: str | None
    service: str | None
    body: str
    media: tuple[str, ...] = ()
    callback: str | None = None
    send_at: float | None = None
    smart: bool = False


def check_create(form: Fields, *, now: float | None, strict: bool) -> Draft:
    """The message of a form. With no ``now``, any time to send at will do.

    ``strict`` refuses fields that the spec does not have, repeated ones, a sender besides a service, and a schedule
    without a service; the vendor takes the third, and sends the last at once.
    """
    if strict:
        check_known(form, _KNOWN)
    given = dict(form.pairs)
    to, sender, service = _present(given, "To"), _present(given, "From"), _present(given, "MessagingServiceSid")
    if to is None:
        raise RefusalError(21604, field="To")
    if E164.fullmatch(to) is None:
        raise RefusalError(21211, detail=to, field="To")
    if sender is None and service is None:
        raise RefusalError(21603, field="From")
    if strict and sender is not None and service is not None:
        raise wrong("MessagingServiceSid", "not together with From")
    if sender is not None and not any(kind.fullmatch(sender) for kind in (E164, SHORT_CODE, NAME)):
        raise RefusalError(21212, detail=sender, field="From")
    if sender == to:
        raise RefusalError(21266, field="To")
    if service is not None and not is_sid("MG", service):
        raise RefusalError(21705, field="MessagingServiceSid")
    media = form.all("MediaUrl")
    body = _content(given, media)
    callback = _present(given, "StatusCallback")
    if callback is not None and not is_callback(callback):
        raise RefusalError(21609, f"The 'StatusCallback' URL {callback} is not a valid URL.", field="StatusCallback")
    _check_settings(given, service)
    send_at = _send_at(given, service, now, strict=strict)
    smart = given.get("SmartEncoded", "").lower() == "true"
    return Draft(to, sender, service, body, media, callback, send_at, smart)


def check_known(form: Fields, known: frozenset[str]) -> None:
    """Refuse other fields, and a second value of one that takes one."""
    seen: set[str] = set()
    for name, _ in form.pairs:
        if name not in known:
            raise wrong(name, "unknown parameter")
        if name in seen and name not in _REPEATED:
            raise wrong(name, "given more than once")
        seen.add(name)


def wrong(field: str, why: str) -> RefusalError:
    """A refusal for which the vendor's own code is not documented."""
    return RefusalError(20001, f"Invalid Parameter {field}: {why}", field=field)


def is_sid(prefix: str, value: str) -> bool:
    """Whether this is a SID: two letters and 32 hex digits."""
    return value.startswith(prefix) and re.fullmatch(r"[0-9a-fA-F]{32}", value[2:], re.ASCII) is not None


def is_callback(url: str) -> bool:
    """Whether Twilio would post there: http or https, no underscore in the host, not too long."""
    return len(url) <= LONGEST_URL and _is_url(url) and "_" not in (urlsplit(url).hostname or "_")


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not re.search(r"[\s<>\"]", url)


def _present(given: Mapping[str, str], name: str) -> str | None:
    return given.get(name) or None


def _content(given: Mapping[str, str], media: tuple[str, ...]) -> str:
    body, content, variables = given.get("Body", ""), _present(given, "ContentSid"), given.get("ContentVariables")
    if not body and not media and content is None:
        raise RefusalError(21602, field="Body")
    if len(body) > LONGEST_BODY:
        raise RefusalError(21617, field="Body")
    if len(media) > MOST_MEDIA:
        raise RefusalError(21623, field="MediaUrl")
    for url in media:
        if not _is_url(url):
            raise RefusalError(21620, detail=url, field="MediaUrl")
    if content is not None and not is_sid("HX", content):
        raise RefusalError(21655, field="ContentSid")
    if variables is not None and (content is None or not _is_object(variables)):
        raise RefusalError(21656, field="ContentVariables")
    return body


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _check_settings(given: Mapping[str, str], service: str | None) -> None:
    for name, (least, most) in _NUMBERS.items():
        value = given.get(name)
        if value is not None and not (value.isdecimal() and least <= int(value) <= most):
            raise wrong(name, f"a whole number from {least} to {most}")
    for name in _SWITCHES:
        if given.get(name, "true").lower() not in ("true", "false"):
            raise wrong(name, "true or false")
    for name, words in _WORDS.items():
        if name in given and given[name] not in words:
            raise wrong(name, f"one of {', '.join(words)}")
    if "MaxPrice" in given and re.fullmatch(r"\d+(\.\d+)?", given["MaxPrice"], re.ASCII) is None:
        raise wrong("MaxPrice", "a number")
    if "ApplicationSid" in given and not is_sid("AP", given["ApplicationSid"]):
        raise wrong("ApplicationSid", "AP and 32 hex digits")
    if given.get("ShortenUrls", "").lower() == "true" and service is None:
        raise wrong("ShortenUrls", "only with a Messaging Service")


def _send_at(given: Mapping[str, str], service: str | None, now: float | None, *, strict: bool) -> float | None:
    text = _present(given, "SendAt")
    if (text is None and "ScheduleType" not in given) or (service is None and not strict):
        return None
    if text is None:
        raise RefusalError(35111, field="SendAt")
    if "ScheduleType" not in given:
        raise RefusalError(35117, field="ScheduleType")
    if service is None:
        raise RefusalError(35118, field="MessagingServiceSid")
    moment = read_time(text)
    if moment is None or (now is not None and not SOONEST <= moment.timestamp() - now <= LATEST):
        raise RefusalError(35114, field="SendAt")
    return moment.timestamp()


def read_time(text: str) -> datetime | None:
    """An ISO 8601 time, UTC unless it says otherwise; None for anything else."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
