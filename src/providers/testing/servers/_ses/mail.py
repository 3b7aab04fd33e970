"""What the local SES keeps of a message, and one mail per recipient of it, as that reader sees it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from providers.testing.servers._host import Json, JsonObject
from providers.testing.servers._ses.address import Address


@dataclass(frozen=True, slots=True)
class Attachment:
    """What came with a mail; ``disposition`` is ``attachment`` or ``inline``."""

    filename: str
    type: str
    disposition: str
    content_id: str | None
    content: bytes


@dataclass(slots=True, eq=False)
class Message:
    """One message, shared by its recipients. ``failure`` says why its template was not rendered.

    ``source`` is a ``FromEmailAddress`` beside the From of a raw message, ``template`` the name of a stored template,
    ``size`` the bytes of the message as the vendor counts them.
    """

    sender: Address
    source: Address | None = None
    to: tuple[Address, ...] = ()
    cc: tuple[Address, ...] = ()
    bcc: tuple[Address, ...] = ()
    reply_to: tuple[Address, ...] = ()
    subject: str = ""
    text: str | None = None
    html: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    tags: dict[str, str] = field(default_factory=dict[str, str])
    attachments: tuple[Attachment, ...] = ()
    configuration_set: str | None = None
    template: str | None = None
    template_data: JsonObject = field(default_factory=dict[str, Json])
    failure: str | None = None
    size: int = 0
    operation: str = ""
    id: str = ""
    accepted_at: float = 0.0
    source_ip: str = ""
    key_id: str = ""

    @property
    def senders(self) -> tuple[Address, ...]:
        """Whoever must be verified."""
        return (self.sender,) if self.source is None else (self.sender, self.source)

    @property
    def recipients(self) -> tuple[Address, ...]:
        """To, cc and bcc."""
        return self.to + self.cc + self.bcc

    def mails(self) -> Iterator[Mail]:
        """One per recipient, in order."""
        for kind, addresses in (("to", self.to), ("cc", self.cc), ("bcc", self.bcc)):
            for address in addresses:
                yield Mail(self, kind, address)


@dataclass(slots=True, eq=False)
class Mail:
    """One recipient of one message.

    ``kind`` is to, cc or bcc; ``state`` processed, delivered, bounced, complained, delayed, dropped (suppressed),
    rejected or failed (its template could not be rendered).
    """

    message: Message
    kind: str
    address: Address
    state: str = "processed"

    @property
    def message_id(self) -> str:
        """The ``MessageId`` that the call returned."""
        return self.message.id

    @property
    def to(self) -> str:
        """The recipient."""
        return self.address.email

    @property
    def to_name(self) -> str | None:
        """The recipient's name."""
        return self.address.name or None

    @property
    def to_line(self) -> tuple[str, ...]:
        """The To addresses this recipient sees: more than one means that recipients see each other."""
        return tuple(each.email for each in self.message.to)

    @property
    def sender(self) -> str:
        """From, with its name decoded: ``Name <address>`` or the address."""
        name, email = self.message.sender.name, self.message.sender.email
        return f"{name} <{email}>" if name else email

    @property
    def from_email(self) -> str:
        """From address."""
        return self.message.sender.email

    @property
    def from_name(self) -> str | None:
        """From name, decoded."""
        return self.message.sender.name or None

    @property
    def reply_to(self) -> tuple[str, ...]:
        """Reply-To addresses."""
        return tuple(each.email for each in self.message.reply_to)

    @property
    def subject(self) -> str:
        """As this recipient reads it."""
        return self.message.subject

    @property
    def text(self) -> str | None:
        """The plain part as this recipient reads it."""
        return self.message.text

    @property
    def html(self) -> str | None:
        """The HTML part as this recipient reads it."""
        return self.message.html

    @property
    def headers(self) -> dict[str, str]:
        """Headers besides those that have a property here."""
        return dict(self.message.headers)

    @property
    def tags(self) -> dict[str, str]:
        """Message tags, without those that SES adds."""
        return self.message.tags

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        """Attachments, decoded."""
        return self.message.attachments

    @property
    def configuration_set(self) -> str | None:
        """Configuration set, if one was used."""
        return self.message.configuration_set

    def as_dict(self) -> JsonObject:
        """All of it as JSON; of attachments only what they are."""
        shown: JsonObject = {
            "message_id": self.message_id,
            "to": self.to,
            "to_name": self.to_name,
            "kind": self.kind,
            "to_line": list(self.to_line),
            "from_email": self.from_email,
            "from_name": self.from_name,
            "reply_to": list(self.reply_to),
            "subject": self.subject,
            "text": self.text,
            "html": self.html,
            "headers": dict(self.headers),
            "tags": dict(self.tags),
            "configuration_set": self.configuration_set,
            "template": self.message.template,
            "template_data": self.message.template_data,
            "state": self.state,
            "accepted_at": self.message.accepted_at,
            "attachments": [
                {
                    "filename": each.filename,
                    "type": each.type,
                    "disposition": each.disposition,
                    "content_id": each.content_id,
                    "size": len(each.content),
                }
                for each in self.attachments
            ],
        }
        return shown
