"""What the local SendGrid keeps of a mail, and how each recipient sees it."""

from __future__ import annotations

import base64
import html
import json
import re
from dataclasses import dataclass

from providers.testing.servers._host import Json, JsonObject
from providers.testing.servers._sendgrid.check import items, objects

_HANDLEBARS = re.compile(r"\{\{\{\s*([\w.@-]+)\s*\}\}\}|\{\{\s*([\w.@-]+)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Template:
    """A template with its one active version. Only plain ``{{name}}`` and ``{{{name}}}`` are rendered."""

    id: str
    name: str = ""
    subject: str = ""
    text: str = ""
    html: str = ""

    @property
    def generation(self) -> str:
        """``dynamic`` or ``legacy``, told by the id."""
        return "dynamic" if self.id.startswith("d-") else "legacy"


@dataclass(frozen=True, slots=True)
class Message:
    """One accepted request, shared by its recipients."""

    id: str
    body: JsonObject
    accepted_at: float
    subuser: str | None
    template: Template | None

    def content(self, kind: str) -> str | None:
        """The body part of a MIME type."""
        for part in items(self.body, "content"):
            if part.get("type") == kind:
                return _text(part, "value")
        return None


@dataclass(frozen=True, slots=True)
class Attachment:
    """What came with a mail."""

    filename: str
    type: str | None
    disposition: str
    content_id: str | None
    content: bytes


@dataclass(slots=True, eq=False)
class Mail:
    """One recipient of one message; what is personal is worked out when asked for.

    ``kind`` is to, cc or bcc; ``state`` scheduled, processed, delivered, deferred, bounced, dropped or canceled.
    """

    message: Message
    personalization: JsonObject
    kind: str
    to: str
    place: tuple[int, int]
    state: str
    send_at: int | None
    opens: int = 0
    clicks: int = 0
    changed_at: int = 0

    @property
    def message_id(self) -> str:
        """The ``X-Message-Id`` of the request."""
        return self.message.id

    @property
    def sg_message_id(self) -> str:
        """The id of this recipient's copy; starts with ``message_id`` and a dot."""
        return f"{self.message.id}.recvd-5d9f-1-{self.place[0]:04X}-A.{self.place[1]}"

    @property
    def to_name(self) -> str | None:
        """The recipient's name."""
        for who in items(self.personalization, self.kind):
            if who.get("email") == self.to:
                return _optional(who, "name")
        return None

    @property
    def to_line(self) -> tuple[str, ...]:
        """The To addresses this recipient sees: more than one means that recipients see each other."""
        return tuple(_text(who, "email") for who in items(self.personalization, "to"))

    @property
    def sender(self) -> JsonObject:
        """The From object that counts."""
        return objects(self.personalization, "from") or objects(self.message.body, "from")

    @property
    def from_email(self) -> str:
        """From address."""
        return _text(self.sender, "email")

    @property
    def from_name(self) -> str | None:
        """From name."""
        return _optional(self.sender, "name")

    @property
    def reply_to(self) -> tuple[str, ...]:
        """Reply-To addresses."""
        single = objects(self.message.body, "reply_to")
        several = [single] if single else items(self.message.body, "reply_to_list")
        return tuple(_text(who, "email") for who in several)

    @property
    def subject(self) -> str:
        """As this recipient reads it."""
        own = _text(self.personalization, "subject") or _text(self.message.body, "subject")
        template = self.message.template
        if template is None or not template.subject:
            return self._personal(own, escape=False)
        return self._personal(template.subject.replace("<%subject%>", own), escape=False)

    @property
    def text(self) -> str | None:
        """The plain part as this recipient reads it."""
        return self._part("text/plain", self.message.template.text if self.message.template else "", escape=False)

    @property
    def html(self) -> str | None:
        """The HTML part as this recipient reads it."""
        return self._part("text/html", self.message.template.html if self.message.template else "", escape=True)

    def _part(self, kind: str, template: str, *, escape: bool) -> str | None:
        own = self.message.content(kind)
        if template:
            return self._personal(template.replace("<%body%>", own or ""), escape=escape)
        return None if own is None else self._personal(own, escape=escape)

    def _personal(self, text: str, *, escape: bool) -> str:
        substitutions = objects(self.personalization, "substitutions")
        if substitutions:
            for section, content in objects(self.message.body, "sections").items():
                text = text.replace(section, str(content))
        for tag, value in substitutions.items():
            text = text.replace(tag, str(value))
        if self.message.template is not None and self.message.template.generation == "dynamic":
            text = _handlebars(text, self.template_data, escape=escape)
        return text

    @property
    def headers(self) -> dict[str, str]:
        """Own headers, the personal ones over the shared ones."""
        return self._merged("headers")

    @property
    def custom_args(self) -> dict[str, str]:
        """Custom arguments, the personal ones over the shared ones."""
        return self._merged("custom_args")

    def _merged(self, name: str) -> dict[str, str]:
        merged = {**objects(self.message.body, name), **objects(self.personalization, name)}
        return {key: str(value) for key, value in merged.items()}

    @property
    def categories(self) -> tuple[str, ...]:
        """Categories."""
        value = self.message.body.get("categories")
        return tuple(str(each) for each in value) if isinstance(value, list) else ()

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        """Attachments, decoded."""
        return tuple(
            Attachment(
                _text(each, "filename"),
                _optional(each, "type"),
                _optional(each, "disposition") or "attachment",
                _optional(each, "content_id"),
                base64.b64decode(_text(each, "content")),
            )
            for each in items(self.message.body, "attachments")
        )

    @property
    def template_id(self) -> str | None:
        """Template, if one was used."""
        return _optional(self.message.body, "template_id")

    @property
    def template_data(self) -> JsonObject:
        """``dynamic_template_data`` of this recipient."""
        return objects(self.personalization, "dynamic_template_data")

    @property
    def asm_group_id(self) -> int | None:
        """Unsubscribe group, if one was given."""
        value = objects(self.message.body, "asm").get("group_id")
        return value if isinstance(value, int) else None

    @property
    def batch_id(self) -> str | None:
        """Batch, if one was given."""
        return _optional(self.message.body, "batch_id")

    def as_dict(self) -> JsonObject:
        """All of it as JSON; of attachments only what they are."""
        shown: JsonObject = {
            "message_id": self.message_id,
            "sg_message_id": self.sg_message_id,
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
            "custom_args": dict(self.custom_args),
            "categories": list(self.categories),
            "template_id": self.template_id,
            "template_data": self.template_data,
            "asm_group_id": self.asm_group_id,
            "batch_id": self.batch_id,
            "send_at": self.send_at,
            "subuser": self.message.subuser,
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


def _text(source: JsonObject, key: str) -> str:
    value = source.get(key)
    return value if isinstance(value, str) else ""


def _optional(source: JsonObject, key: str) -> str | None:
    return _text(source, key) or None


def _handlebars(text: str, data: JsonObject, *, escape: bool) -> str:
    def value(found: re.Match[str]) -> str:
        current: Json = data
        for step in (found[1] or found[2]).split("."):
            current = current.get(step) if isinstance(current, dict) else None
        if current is None or current is False:
            return ""
        shown = current if isinstance(current, str) else json.dumps(current)
        return html.escape(shown) if escape and found[2] else shown

    return _HANDLEBARS.sub(value, text)
