"""What is sent by e-mail, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, AwareDatetime, Field, JsonValue, field_validator, model_validator

from providers.core.models import Model, Raw, Ref, RequestModel
from providers.core.sending import MessageOutcome
from providers.email.address import has_control, normalise_named, split

LONGEST_TAG = 255

RESERVED_HEADERS = frozenset(
    [
        "to",
        "from",
        "cc",
        "bcc",
        "subject",
        "reply-to",
        "date",
        "message-id",
        "received",
        "dkim-signature",
        "content-type",
        "content-transfer-encoding",
        "mime-version",
        "return-path",
    ]
)


Person = Annotated[str, AfterValidator(normalise_named)]
"""An address with or without a name; each is checked alone, so that an error says which: `to.3`."""


class Attachment(RequestModel):
    """A file sent along. `content_id` with `inline` lets HTML show it as `<img src="cid:...">`."""

    filename: Annotated[str, Field(min_length=1, max_length=255)]
    content: bytes = Field(repr=False)
    content_type: str = "application/octet-stream"
    inline: bool = False
    content_id: str | None = None

    @field_validator("filename", "content_type", "content_id")
    @classmethod
    def _one_line(cls, value: str | None) -> str | None:
        return _no_control(value)

    @model_validator(mode="after")
    def _identified(self) -> Self:
        if self.inline and not self.content_id:
            msg = "an inline attachment needs a content_id"
            raise ValueError(msg)
        return self


class EmailMessage(RequestModel):
    """One mail, or the text of a campaign.

    Addresses are `"a@b.c"` or `"Name <a@b.c>"`; to, cc and bcc see each other as in any mail. `{{name}}` in subject,
    html, text and unsubscribe_url is filled from `variables`, escaped where it stands in HTML or a URL; with `template`
    (a vendor's template id) the vendor does that. `tags` and `metadata` come back in events. `unsubscribe_url` adds
    one-click unsubscribe headers (RFC 8058). `sender` defaults to the configured address. `vendor_options` are merged
    last into that vendor's own request, e.g. `{"sendgrid": {"asm": {"group_id": 7}}}`.
    """

    to: tuple[Person, ...] = ()
    cc: tuple[Person, ...] = ()
    bcc: tuple[Person, ...] = ()
    subject: str = ""
    html: str | None = None
    text: str | None = None
    sender: str | None = None
    reply_to: str | None = None
    headers: Mapping[str, str] = Field(default_factory=dict)
    attachments: tuple[Attachment, ...] = ()
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str] = Field(default_factory=dict)
    template: str | None = None
    variables: Mapping[str, JsonValue] = Field(default_factory=dict)
    unsubscribe_url: str | None = None
    send_at: AwareDatetime | None = None
    idempotency_key: Annotated[str | None, Field(min_length=1, max_length=255)] = None
    vendor_options: Mapping[str, Mapping[str, JsonValue]] = Field(default_factory=dict)

    @field_validator("sender", "reply_to")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        return None if value is None else normalise_named(value)

    @field_validator("subject", "unsubscribe_url", "template")
    @classmethod
    def _one_line(cls, value: str | None) -> str | None:
        return _no_control(value)

    @field_validator("tags")
    @classmethod
    def _tags(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value) or not all(0 < len(tag) <= LONGEST_TAG for tag in value):
            msg = f"tags are different from each other, and 1 to {LONGEST_TAG} characters long"
            raise ValueError(msg)
        return value

    @field_validator("headers")
    @classmethod
    def _headers(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for name, text in value.items():
            if not name or not name.isascii() or any(c in name for c in " :") or has_control(name + text):
                msg = f"{name[:80]!r} is not a header: names have no space or colon, texts no line breaks"
                raise ValueError(msg)
            if name.lower() in RESERVED_HEADERS:
                msg = f"{name!r} is set from the message's own fields"
                raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _has_body(self) -> Self:
        if self.template is None:
            if not (self.html and self.html.strip()) and not (self.text and self.text.strip()):
                msg = "the body is empty: give html, text or a template"
                raise ValueError(msg)
            if not self.subject.strip():
                msg = "the subject is empty"
                raise ValueError(msg)
        if len(self.to) + len(self.cc) + len(self.bcc) > 1:
            _once(self.to + self.cc + self.bcc)
        return self


def _once(people: tuple[str, ...]) -> None:
    """Vendors refuse a mail that names a reader twice, or send it twice."""
    seen: set[str] = set()
    for person in people:
        address = split(person)[1].lower()
        if address in seen:
            msg = f"{address!r} stands more than once among to, cc and bcc"
            raise ValueError(msg)
        seen.add(address)


def _no_control(value: str | None) -> str | None:
    if value is not None and has_control(value):
        msg = "line breaks and control characters are not allowed"
        raise ValueError(msg)
    return value


class Recipient(RequestModel):
    """One reader of a campaign. A bad address is reported as an outcome, not raised.

    `key` is what makes the mail this one's only (default: the address); an address gets one mail whatever the keys.
    `email`, and `name` where there is one, can be used as variables too.
    """

    email: str
    name: str = ""
    variables: Mapping[str, JsonValue] = Field(default_factory=dict)
    metadata: Mapping[str, str] = Field(default_factory=dict)
    key: str = ""


class MessageRef(Ref):
    """The vendor's name of an accepted mail. `dry_run` when the vendor only checked it (sandbox)."""

    dry_run: bool = False


class SendOutcome(MessageOutcome):
    """The outcome of one mail of a batch. `index` counts from 0 in the order given."""

    ref: MessageRef | None = None


class MessageStatus(Model):
    """How far a mail came, as the vendor knows it. `state` is the name of the last event."""

    ref: Ref
    recipient: str
    state: str
    opens: int | None = None
    clicks: int | None = None
    updated_at: AwareDatetime | None = None
    raw: Raw = None


class SuppressionReason(StrEnum):
    """Why an address gets no mail."""

    UNSUBSCRIBED = "unsubscribed"
    BOUNCED = "bounced"
    BLOCKED = "blocked"
    COMPLAINED = "complained"
    INVALID = "invalid"


class Suppression(Model):
    """An address that gets no mail, and why."""

    email: str
    reason: SuppressionReason
    detail: str = ""
    since: AwareDatetime | None = None
    vendor: str


class DnsRecord(Model):
    """A record to publish. `name` is the full host name."""

    type: str
    name: str
    value: str
    verified: bool


class SendingDomain(Model):
    """A domain that mail is sent from: what to publish in its DNS, and whether the vendor has seen it there."""

    name: str
    verified: bool
    records: tuple[DnsRecord, ...]
    vendor: str
    raw: Raw = None
