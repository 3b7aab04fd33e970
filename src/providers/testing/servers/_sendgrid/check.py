"""What SendGrid refuses in a mail: ``POST /v3/mail/send`` as its OpenAPI document and errors page describe it.

A wrong JSON type gives the bare "Bad Request"; a broken rule names its field (``personalizations.0.to.0.email``).
Messages follow the errors page where it has one; the rest of the wording is ours.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Mapping
from typing import Final, TypeAlias

from providers.testing.servers._host import Json, JsonObject

MAX_RECIPIENTS: Final = 1_000
MAX_ARGS_BYTES: Final = 10_000
MAX_BYTES: Final = 30 * 1024 * 1024
MAX_AHEAD: Final = 72 * 3600

ERRORS_PAGE: Final = "http://sendgrid.com/docs/API_Reference/Web_API_v3/Mail/errors.html#message."

_ADDRESS = re.compile(
    r"(?=.{3,254}\Z)(?=[^@]{1,64}@)"
    r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?",
    re.IGNORECASE | re.ASCII,
)
_RESERVED_HEADERS = frozenset(
    (
        "x-sg-id",
        "x-sg-eid",
        "received",
        "dkim-signature",
        "content-type",
        "content-transfer-encoding",
        "to",
        "from",
        "subject",
        "reply-to",
        "cc",
        "bcc",
    )
)
_CONTENT_ORDER = ("text/plain", "text/x-amp-html", "text/html")
_BYPASSES = ("bypass_spam_management", "bypass_bounce_management", "bypass_unsubscribe_management")

Shape: TypeAlias = "type[object] | tuple[str, Shape] | Mapping[str, Shape]"
"""A JSON type: a scalar, ``object`` for anything, ("list" | "map", inner) or named members."""

_WHO: Final[Mapping[str, Shape]] = {"email": str, "name": str}
_SWITCH: Final[Mapping[str, Shape]] = {"enable": bool}
_STRINGS: Final[Shape] = ("map", str)
_PERSONALIZATION: Final[Mapping[str, Shape]] = {
    "to": ("list", _WHO),
    "cc": ("list", _WHO),
    "bcc": ("list", _WHO),
    "from": _WHO,
    "subject": str,
    "headers": _STRINGS,
    "substitutions": _STRINGS,
    "dynamic_template_data": ("map", object),
    "custom_args": _STRINGS,
    "send_at": int,
}
_MAIL: Final[Mapping[str, Shape]] = {
    "personalizations": ("list", _PERSONALIZATION),
    "from": _WHO,
    "reply_to": _WHO,
    "reply_to_list": ("list", _WHO),
    "subject": str,
    "content": ("list", {"type": str, "value": str}),
    "attachments": (
        "list",
        {"content": str, "type": str, "filename": str, "disposition": str, "content_id": str, "name": str},
    ),
    "template_id": str,
    "sections": _STRINGS,
    "headers": _STRINGS,
    "categories": ("list", str),
    "custom_args": _STRINGS,
    "send_at": int,
    "batch_id": str,
    "asm": {"group_id": int, "groups_to_display": ("list", int)},
    "ip_pool_name": str,
    "mail_settings": {
        "bypass_list_management": _SWITCH,
        "bypass_spam_management": _SWITCH,
        "bypass_bounce_management": _SWITCH,
        "bypass_unsubscribe_management": _SWITCH,
        "footer": {"enable": bool, "text": str, "html": str},
        "sandbox_mode": _SWITCH,
    },
    "tracking_settings": {
        "click_tracking": {"enable": bool, "enable_text": bool},
        "open_tracking": {"enable": bool, "substitution_tag": str},
        "subscription_tracking": {"enable": bool, "text": str, "html": str, "substitution_tag": str},
        "ganalytics": {
            "enable": bool,
            "utm_source": str,
            "utm_medium": str,
            "utm_term": str,
            "utm_content": str,
            "utm_campaign": str,
        },
    },
}


class MalformedError(Exception):
    """A JSON type the vendor does not take: it answers a bare Bad Request."""


def problem(message: str, field: str | None = None, help_: str | None = None) -> JsonObject:
    """One entry of ``errors``."""
    return {"message": message, "field": field, "help": help_}


def valid_address(address: str) -> bool:
    """Whether the vendor takes an address: ASCII, dotted domain, no quoted local part."""
    return _ADDRESS.fullmatch(address) is not None


def check_mail(body: Json, *, now: float, templates: Collection[str], strict: bool) -> list[JsonObject]:
    """Every broken rule of a mail; ``MalformedError`` on a wrong type. With no known ``templates`` any id will do."""
    if not isinstance(body, dict):
        raise MalformedError
    _typed(body, _MAIL)
    found: list[JsonObject] = []
    if strict:
        found += [problem(f"Unknown field: {key}", key) for key in body if key not in _MAIL]
    template = _text(body, "template_id")
    _check_personalizations(found, body, now, strict=strict)
    _check_from(found, body)
    _check_reply_to(found, body)
    _check_content(found, body, template)
    _check_attachments(found, body)
    if template and templates and template not in templates:
        found.append(problem(f"The template_id {template} was not found.", "template_id"))
    _check_headers(found, objects(body, "headers"), "headers")
    _check_categories(found, body)
    _check_send_at(found, body.get("send_at"), "send_at", now)
    _check_settings(found, body)
    return found


def _typed(value: Json, shape: Shape) -> None:
    if value is None:
        return
    if isinstance(shape, type):
        if shape is not object and type(value) is not shape:
            raise MalformedError
    elif isinstance(shape, tuple):
        kind, inner = shape
        members = value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
        if not isinstance(value, list if kind == "list" else dict) or (inner is not object and None in members):
            raise MalformedError
        for item in members:
            _typed(item, inner)
    elif isinstance(value, dict):
        for key, item in value.items():
            if (member := shape.get(key)) is not None:
                _typed(item, member)
    else:
        raise MalformedError


def _text(source: JsonObject, key: str) -> str:
    value = source.get(key)
    return value if isinstance(value, str) else ""


def objects(source: JsonObject, key: str) -> JsonObject:
    """A member that is an object, else an empty one."""
    value = source.get(key)
    return value if isinstance(value, dict) else {}


def items(source: JsonObject, key: str) -> list[JsonObject]:
    """A member that is a list of objects, else an empty one."""
    value = source.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _check_personalizations(found: list[JsonObject], body: JsonObject, now: float, *, strict: bool) -> None:
    personalizations = items(body, "personalizations")
    if not personalizations:
        message = "You must have at least one personalization."
        found.append(problem(message, "personalizations", ERRORS_PAGE + "personalizations"))
        return
    if len(personalizations) > MAX_RECIPIENTS:
        message = (
            "The personalization block is limited to 1000 personalizations per API request. You have provided "
            f"{len(personalizations)} personalizations. Please consider splitting this into multiple requests "
            "and resending your request."
        )
        found.append(problem(message, "personalizations", ERRORS_PAGE + "personalizations"))
        return
    if _bytes(objects(body, "custom_args")) > MAX_ARGS_BYTES:
        found.append(problem("The custom_args may not exceed 10000 bytes.", "custom_args"))
    total = 0
    for index, each in enumerate(personalizations):
        field = f"personalizations.{index}"
        total += _check_recipients(found, each, field)
        if strict and not each.keys() <= _PERSONALIZATION.keys():
            unknown = sorted(each.keys() - _PERSONALIZATION.keys())
            found += [problem(f"Unknown field: {key}", f"{field}.{key}") for key in unknown]
        _check_overrides(found, each, field, now)
        _check_data(found, body, each, field)
    if total > MAX_RECIPIENTS:
        message = "There is a limit of 1000 total recipients (to + cc + bcc) per request."
        found.append(problem(message, "personalizations", ERRORS_PAGE + "personalizations"))


def _check_overrides(found: list[JsonObject], each: JsonObject, field: str, now: float) -> None:
    if each.get("subject") == "":
        found.append(problem("The subject must be at least one character in length.", f"{field}.subject"))
    if each.get("from") is not None:
        _check_who(found, objects(each, "from"), f"{field}.from")
    if "headers" in each:
        _check_headers(found, objects(each, "headers"), f"{field}.headers")
    if "send_at" in each:
        _check_send_at(found, each["send_at"], f"{field}.send_at", now)


def _check_data(found: list[JsonObject], body: JsonObject, each: JsonObject, field: str) -> None:
    if "custom_args" in each:
        merged = {**objects(body, "custom_args"), **objects(each, "custom_args")}
        if _bytes(merged) > MAX_ARGS_BYTES:
            found.append(problem("The custom_args may not exceed 10000 bytes.", f"{field}.custom_args"))
    if substitutions := objects(each, "substitutions"):
        if _text(body, "template_id").startswith("d-"):
            message = "Substitutions may not be used with dynamic templating"
            help_ = ERRORS_PAGE + "personalizations.substitutions"
            found.append(problem(message, f"{field}.substitutions", help_))
        if _bytes(substitutions) > MAX_ARGS_BYTES:
            message = "The substitutions may not exceed 10000 bytes per personalization."
            found.append(problem(message, f"{field}.substitutions"))


def _check_recipients(found: list[JsonObject], each: JsonObject, field: str) -> int:
    if not each.get("to"):
        message = (
            "The to array is required for all personalization objects, and must have at least one email object "
            "with a valid email address."
        )
        found.append(problem(message, f"{field}.to", ERRORS_PAGE + "personalizations.to"))
    seen: set[str] = set()
    total = 0
    for kind in ("to", "cc", "bcc"):
        if kind not in each:
            continue
        for index, who in enumerate(items(each, kind)):
            total += 1
            address = who.get("email")
            if not isinstance(address, str) or not _ADDRESS.fullmatch(address):
                message = "Does not contain a valid address."
                help_ = ERRORS_PAGE + f"personalizations.{kind}"
                found.append(problem(message, f"{field}.{kind}.{index}.email", help_))
                continue
            folded = address.lower()
            if folded in seen:
                message = (
                    "Each email address in the personalization block should be unique between to, cc, and bcc. "
                    f"We found the first duplicate instance of [{address}] in the {field}.{kind} field."
                )
                found.append(problem(message, field, ERRORS_PAGE + "recipient-errors"))
            seen.add(folded)
    return total


def _check_who(found: list[JsonObject], who: JsonObject, field: str) -> None:
    if not valid_address(_text(who, "email")):
        found.append(problem("Does not contain a valid address.", f"{field}.email", ERRORS_PAGE + field))


def _check_from(found: list[JsonObject], body: JsonObject) -> None:
    sender = objects(body, "from")
    if not _text(sender, "email"):
        message = (
            "The from object must be provided for every email send. It is an object that requires the email "
            'parameter, but may also contain a name parameter.  e.g. {"email" : "example@example.com"}  or '
            '{"email" : "example@example.com", "name" : "Example Recipient"}.'
        )
        found.append(problem(message, "from.email", ERRORS_PAGE + "from"))
    else:
        _check_who(found, sender, "from")


def _check_reply_to(found: list[JsonObject], body: JsonObject) -> None:
    several = items(body, "reply_to_list")
    if body.get("reply_to") is not None:
        _check_who(found, objects(body, "reply_to"), "reply_to")
        if body.get("reply_to_list") is not None:
            found.append(problem("Use either reply_to or reply_to_list, not both.", "reply_to_list"))
    if len(several) > MAX_RECIPIENTS:
        found.append(problem("The reply_to_list is limited to 1000 addresses.", "reply_to_list"))
    for index, who in enumerate(several):
        _check_who(found, who, f"reply_to_list.{index}")
    addresses = [_text(who, "email").lower() for who in several]
    if len(set(addresses)) < len(addresses):
        found.append(problem("Each email address in the reply_to_list should be unique.", "reply_to_list"))


def _check_content(found: list[JsonObject], body: JsonObject, template: str) -> None:
    content, personalizations = items(body, "content"), items(body, "personalizations")
    if not template:
        if not _text(body, "subject") and not all(each.get("subject") for each in personalizations or [{}]):
            message = (
                "The subject is required. You can get around this requirement if you use a template with a subject "
                "defined or if every personalization has a subject defined."
            )
            found.append(problem(message, "subject", ERRORS_PAGE + "subject"))
        if not content:
            message = (
                "Unless a valid template_id is provided, the content parameter is required. There must be at least "
                "one defined content block. We typically suggest both text/plain and text/html blocks are included, "
                "but only one block is required."
            )
            found.append(problem(message, "content", ERRORS_PAGE + "content"))
    elif body.get("subject") == "":
        found.append(problem("The subject must be at least one character in length.", "subject"))
    places: list[int] = []
    for index, part in enumerate(content):
        kind = _text(part, "type")
        if not kind or ";" in kind or "\r" in kind or "\n" in kind:
            message = "The content type must be a string at least one character in length, without ';' or line ends."
            found.append(problem(message, f"content.{index}.type", ERRORS_PAGE + "content.type"))
        if not _text(part, "value"):
            message = "The content value must be a string at least one character in length."
            found.append(problem(message, f"content.{index}.value", ERRORS_PAGE + "content.value"))
        places.append(_CONTENT_ORDER.index(kind) if kind in _CONTENT_ORDER else len(_CONTENT_ORDER))
    if places != sorted(places):
        message = "If present, text/plain must be first, followed by text/x-amp-html, then text/html, then any other."
        found.append(problem(message, "content", ERRORS_PAGE + "content"))
    elif any(place < len(_CONTENT_ORDER) and places.count(place) > 1 for place in places):
        message = "If present, text/plain and text/html may only be provided once."
        found.append(problem(message, "content", ERRORS_PAGE + "content"))


def _check_attachments(found: list[JsonObject], body: JsonObject) -> None:
    for index, attachment in enumerate(items(body, "attachments")):
        field = f"attachments.{index}"
        if not _is_base64(_text(attachment, "content")):
            message = "The attachment content must be base64 encoded."
            found.append(problem(message, f"{field}.content", ERRORS_PAGE + "attachments.content"))
        if not _text(attachment, "filename"):
            message = "The filename parameter is required."
            found.append(problem(message, f"{field}.filename", ERRORS_PAGE + "attachments.filename"))
        if attachment.get("type") == "":
            found.append(problem("The type must be at least one character in length.", f"{field}.type"))
        if attachment.get("disposition") not in (None, "attachment", "inline"):
            message = 'The disposition of your attachment can be either "inline" or "attachment".'
            found.append(problem(message, f"{field}.disposition", ERRORS_PAGE + "attachments.disposition"))


def _is_base64(content: str) -> bool:
    try:
        return bool(base64.b64decode(content, validate=True))
    except (binascii.Error, ValueError):
        return False


def _check_headers(found: list[JsonObject], headers: JsonObject, field: str) -> None:
    for name in headers:
        if name.lower() in _RESERVED_HEADERS:
            message = f"The header {name} is reserved and may not be overridden."
            found.append(problem(message, f"{field}.{name}", ERRORS_PAGE + "headers"))
        elif not name.isascii() or not name.isprintable() or ":" in name or " " in name or not name:
            found.append(problem("Headers must have ASCII names.", field, ERRORS_PAGE + "headers"))


def _check_categories(found: list[JsonObject], body: JsonObject) -> None:
    value = body.get("categories")
    categories = [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
    if len(categories) > 10:
        message = "There is a limit of 10 categories."
        found.append(problem(message, "categories", ERRORS_PAGE + "categories"))
    for index, category in enumerate(categories):
        if not 0 < len(category) <= 255:
            message = "A category cannot have more than 255 characters."
            found.append(problem(message, f"categories.{index}", ERRORS_PAGE + "categories"))
    if len(set(categories)) < len(categories):
        found.append(problem("You may not send duplicate categories.", "categories", ERRORS_PAGE + "categories"))


def _check_send_at(found: list[JsonObject], value: Json, field: str, now: float) -> None:
    if isinstance(value, int) and value > now + MAX_AHEAD:
        message = "The send_at time cannot be scheduled more than 72 hours in advance."
        found.append(problem(message, field, ERRORS_PAGE + "send_at"))


def _check_settings(found: list[JsonObject], body: JsonObject) -> None:
    asm = objects(body, "asm")
    if body.get("asm") is not None and not isinstance(asm.get("group_id"), int):
        found.append(problem("The asm group_id is required.", "asm.group_id", ERRORS_PAGE + "asm"))
    shown = asm.get("groups_to_display")
    if isinstance(shown, list) and len(shown) > 25:
        message = "There is a limit of 25 groups to display."
        found.append(problem(message, "asm.groups_to_display", ERRORS_PAGE + "asm.groups_to_display"))
    if isinstance(pool := body.get("ip_pool_name"), str) and not 2 <= len(pool) <= 64:
        found.append(problem("The ip_pool_name must be 2 to 64 characters long.", "ip_pool_name"))
    settings = objects(body, "mail_settings")
    if switched_on(settings, "bypass_list_management") and any(switched_on(settings, each) for each in _BYPASSES):
        message = "The bypass_list_management filter cannot be combined with any other bypass filter."
        found.append(problem(message, "mail_settings.bypass_list_management"))


def switched_on(settings: JsonObject, name: str) -> bool:
    """Whether ``{name: {"enable": true}}``."""
    return objects(settings, name).get("enable") is True


def _bytes(pairs: JsonObject) -> int:
    """Size of names and values in UTF-8. The document does not say how it counts."""
    length = sum(len(key) + len(value) for key, value in pairs.items() if isinstance(value, str))
    if length * 4 <= MAX_ARGS_BYTES:
        return length
    return sum(len((key + value).encode()) for key, value in pairs.items() if isinstance(value, str))
