"""What SES is asked to send: the parts of its requests, and what its model allows (botocore, `sesv2` 2019-09-27)."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from email.header import Header
from email.utils import formataddr
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from providers.core.errors import InvalidRequestError
from providers.core.json import to_json
from providers.email.address import split
from providers.email.template import TOKEN, Names, escape_html, escape_url, fill

if TYPE_CHECKING:
    from providers.email.api import Personal
    from providers.email.models import EmailMessage

Payload: TypeAlias = dict[str, object]
Pairs: TypeAlias = Mapping[str, str]

TRACKING_ID, DATA = "pm_id", "pm_data_"
"""Our message tags: the mail's id, and what cannot be a tag, as base64url JSON in pieces."""

HEADER_ID = "X-PM-Id"
TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")
TAGS, TAG_LENGTH = 50, 256
"""Amazon documents how long a tag is, not how many there may be; 50 is what its other services take."""

HEADERS, HEADER_NAME, HEADER_VALUE, HEADER_LENGTH = 15, 126, 995, 996
CONTENT_TYPE, CONTENT_ID = 78, 78
TEMPLATE_DATA = 262_144

INLINE_BYTES, PERSONAL_BYTES = 400_000, 10_000
"""A batch with its text in it may have a megabyte: this much for the text, this much for each of 50 readers."""

RUN = re.compile(r"[{}\\]+")


def text_part(text: str) -> dict[str, str]:
    """A subject or body."""
    return {"Data": text, "Charset": "UTF-8"}


def header_text(text: str) -> str:
    """As a header may have it: RFC 2047 for all but ASCII, and for what would be taken for it."""
    if text.isascii() and "=?" not in text:
        return text
    return Header(text, "utf-8", maxlinelen=75).encode(linesep="")


def person(text: str) -> str:
    """`Name <address>` as a header has it."""
    name, email = split(text)
    if not name:
        return email
    encoded = header_text(name)
    return formataddr((name, email)) if encoded == name else f"{encoded} <{email}>"


def unsubscribe_headers(url: str | None, whose: str = "") -> dict[str, str]:
    """RFC 8058's two headers; `whose` stands before the field of an error."""
    if not url:
        return {}
    if not url.isascii():
        refuse(f"{whose}unsubscribe_url", "letters outside ASCII have to be percent-encoded")
    if len(url) + 2 > HEADER_LENGTH - len("List-Unsubscribe"):
        refuse(f"{whose}unsubscribe_url", "longer than a header of SES may be")
    return {"List-Unsubscribe": f"<{url}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}


def header_list(headers: Pairs, already: int = 0) -> list[dict[str, str]]:
    """Headers in the vendor's form; `already` is how many stand beside them. Raises `InvalidRequestError`."""
    if already + len(headers) > HEADERS:
        refuse("headers", f"{already + len(headers)} with ours; SES takes at most {HEADERS}")
    pairs: list[dict[str, str]] = []
    for name, text in headers.items():
        value = header_text(text)
        if not value or len(name) > HEADER_NAME or len(value) > HEADER_VALUE or len(name + value) > HEADER_LENGTH:
            what = f"is longer than {HEADER_LENGTH} characters" if value else "is empty"
            refuse("headers", f"{name[:80]!r} {what}; SES does not take it")
        pairs.append({"Name": name, "Value": value})
    return pairs


def attachment_list(message: EmailMessage) -> list[Payload]:
    """A message's files."""
    files: list[Payload] = []
    for index, file in enumerate(message.attachments):
        if len(file.content_type) > CONTENT_TYPE or not file.content_type:
            refuse(f"attachments.{index}.content_type", f"SES takes 1 to {CONTENT_TYPE} characters")
        if len(file.content_id or "") > CONTENT_ID:
            refuse(f"attachments.{index}.content_id", f"SES takes at most {CONTENT_ID} characters")
        files.append(
            {
                "RawContent": file.content,
                "FileName": file.filename,
                "ContentType": file.content_type,
                "ContentDisposition": "INLINE" if file.inline else "ATTACHMENT",
                "ContentTransferEncoding": "BASE64",
                **({"ContentId": file.content_id} if file.content_id else {}),
            }
        )
    return files


def stored_template(template: str) -> Payload:
    """A template of the vendor, by name or ARN."""
    return {"TemplateArn" if template.startswith("arn:") else "TemplateName": template}


def template_data(values: Mapping[str, object], field: str, most: int) -> str:
    """Values of a template as JSON of at most so many bytes."""
    data = to_json(dict(values))
    if len(data) > most:
        refuse(field, f"more than {most:,} bytes of JSON")
    return data.decode()


def message_tags(metadata: Pairs, tags: Sequence[str], tracking_id: str, whose: str = "") -> list[dict[str, str]]:
    """Message tags for our id, metadata and tags; `ses_events.labels` is the way back."""
    if TRACKING_ID in metadata:
        refuse(f"{whose}metadata.{TRACKING_ID}", "the name is ours; use another")
    plain = {TRACKING_ID: tracking_id}
    rest: dict[str, str] = {}
    for name, value in metadata.items():
        fits = TAG.fullmatch(name) and TAG.fullmatch(value) and not name.startswith("pm_")
        (plain if fits else rest)[name] = value
    if rest or tags:
        data = to_json({"m": rest, "t": list(tags)})
        text = base64.urlsafe_b64encode(data).decode().rstrip("=")
        pieces = range(0, len(text), TAG_LENGTH)
        plain |= {f"{DATA}{number}": text[at : at + TAG_LENGTH] for number, at in enumerate(pieces)}
    if len(plain) > TAGS:
        most = f"SES takes {TAGS} tags of {TAG_LENGTH} characters, and these make {len(plain)}"
        refuse(f"{whose}metadata", most)
    return [{"Name": name, "Value": value} for name, value in plain.items()]


def inline_template(message: EmailMessage, guards: dict[str, str]) -> dict[str, str]:
    """The texts, each token in the vendor's form: `t_` raw, `h_` escaped by us.

    `{{x}}` is the only form a template in a request may have ("only simple substitutions", model of TemplateContent),
    and "SES doesn't escape HTML content" (developer guide, "Advanced email personalization").
    """
    parts = (("Subject", message.subject, "t_"), ("Text", message.text, "t_"), ("Html", message.html, "h_"))
    texts = {name: templated(text, prefix, guards) for name, text, prefix in parts if text}
    if sum(len(text.encode()) for text in texts.values()) > INLINE_BYTES:
        refuse("html" if message.html else "text", f"SES takes {INLINE_BYTES:,} bytes in a batch; store a template")
    return texts


def templated(text: str, prefix: str, guards: dict[str, str]) -> str:
    """A text with its tokens in the vendor's form, and nothing else that could be one; see `_guarded`."""
    parts: list[str] = []
    end = 0
    for match in TOKEN.finditer(text):
        parts += [_guarded(text[end : match.start()], guards), "{{" + prefix + match[1] + "}}"]
        end = match.end()
    return "".join([*parts, _guarded(text[end:], guards)])


def _guarded(text: str, guards: dict[str, str]) -> str:
    """A text without tokens: braces and backslashes that could make a tag, or unmake one, go in as variables."""

    def guard(match: re.Match[str]) -> str:
        inside = match.start() > 0 and match.end() < len(text)
        if inside and len(match[0]) == 1:
            return match[0]
        return "{{" + guards.setdefault(match[0], f"b_{len(guards)}") + "}}"

    return RUN.sub(guard, text)


def batch_entry(
    message: EmailMessage, names: Names, guards: Pairs, headers: int, index: int, personal: Personal
) -> Payload:
    """One reader of a batch; `headers` says how many the batch has already."""
    whose = f"recipients.{index}."
    data: dict[str, object]
    if message.template is not None:
        data = dict(personal.variables)
    else:
        values = personal.values
        data = {name: text for text, name in guards.items()}
        data |= {f"t_{name}": values[name] for name in (*names.subject, *names.text)}
        # A value must not bring a tag of its own, should the vendor ever look twice.
        data |= {f"h_{name}": escape_html(values[name]).replace("{", "&#123;") for name in names.html}
    own = {HEADER_ID: personal.tracking_id}
    if names.url and message.unsubscribe_url:
        own |= unsubscribe_headers(fill(message.unsubscribe_url, personal.values, escape_url), whose)
    metadata = {**message.metadata, **personal.metadata} if personal.metadata else message.metadata
    to = f"{personal.name} <{personal.email}>" if personal.name else personal.email
    return {
        "Destination": {"ToAddresses": [person(to)]},
        # They replace the defaults of a request, so that each has all of its own.
        "ReplacementTags": message_tags(
            metadata, message.tags, personal.tracking_id, whose if personal.metadata else ""
        ),
        "ReplacementHeaders": header_list(own, headers),
        "ReplacementEmailContent": {
            "ReplacementTemplate": {"ReplacementTemplateData": template_data(data, f"{whose}variables", PERSONAL_BYTES)}
        },
    }


def refuse(field: str, why: str) -> NoReturn:
    """Raise `InvalidRequestError`, before anything is sent."""
    raise InvalidRequestError(f"{field}: {why}", field=field, vendor="ses")
