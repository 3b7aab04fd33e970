"""From the parameters of ``SendEmail`` and ``SendBulkEmail`` to messages, without any state."""

from __future__ import annotations

import base64
import json
import mimetypes
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from email import policy
from email.errors import HeaderParseError
from email.headerregistry import AddressHeader
from email.message import EmailMessage, MIMEPart
from email.parser import BytesParser
from functools import lru_cache
from typing import Final

from providers.testing.servers._aws.call import RefusalError, bad_request, not_found
from providers.testing.servers._aws.check import sub, subs, text, texts
from providers.testing.servers._host import Json, JsonObject
from providers.testing.servers._ses import handlebars
from providers.testing.servers._ses.address import Address, parse
from providers.testing.servers._ses.mail import Attachment, Message

MAX_BYTES: Final = 40 * 1024 * 1024
MAX_HEADER: Final = 996
MAX_INLINE: Final = 1024 * 1024
_TAG: Final = re.compile(r"[A-Za-z0-9_-]{1,256}")
_STRUCTURED: Final = frozenset(
    {"from", "to", "cc", "bcc", "subject", "reply-to", "date", "message-id", "mime-version", "sender", "return-path"}
)
_REFUSED_FILES: Final = re.compile(
    r"\.(?:ade|adp|app|asp|bas|bat|cer|chm|cmd|com|cpl|crt|csh|der|exe|fxp|gadget|hlp|hta|inf|ins|isp|its|jse?|ksh|lib|lnk"
    r"|ma[dfgmqrstuvw]|md[abetwz]|msc|msh[12]?(?:xml)?|ms[ipt]|ops|pcd|pif|plg|pr[fg]|reg|sc[frt]|sh[bs]|sys"
    r"|ps[12](?:xml)?|psc[12]|tmp|url|vb[es]?|vps|vsmacros|vs[stw]|vxd|ws[cfh]?|xnk)",
    re.IGNORECASE,
)
"""File types that the developer guide lists as unsupported attachments."""


@dataclass(frozen=True, slots=True)
class Template:
    """The parts of a template; ``name`` is ``""`` for one given with the request."""

    name: str
    subject: str
    text: str | None
    html: str | None

    @classmethod
    def of(cls, name: str, content: JsonObject) -> Template:
        """From a ``TemplateContent``."""
        return cls(name, text(content, "Subject"), text(content, "Text") or None, text(content, "Html") or None)

    def check(self) -> None:
        """Raises `RefusalError` for a template that cannot be read."""
        if not self.subject:
            raise bad_request("The template must have a subject.")
        if self.text is None and self.html is None:
            raise bad_request("The template must have a text or an HTML part.")
        try:
            for part in (self.subject, self.text or "", self.html or ""):
                handlebars.parse(part, simple=not self.name)
        except handlebars.TemplateError as error:
            raise bad_request(f"Template rendering error: {error}.") from None

    def fill(self, message: Message, data: JsonObject) -> None:
        """Put the rendered parts in a message, or why there are none."""
        message.template, message.template_data, simple = self.name or None, data, not self.name
        try:
            message.subject = handlebars.render(self.subject, data, simple=simple)
            message.text = None if self.text is None else handlebars.render(self.text, data, simple=simple)
            message.html = None if self.html is None else handlebars.render(self.html, data, simple=simple)
        except handlebars.MissingError as error:
            message.failure, message.subject, message.text, message.html = str(error), "", None, None
        message.size += sum(len(part.encode()) for part in (message.subject, message.text or "", message.html or ""))


Lookup = Callable[[str], Template | None]


@dataclass(frozen=True, slots=True)
class Refused:
    """A bulk entry that is not sent: its status and why."""

    status: str
    error: str


def compose(params: JsonObject, find: Lookup) -> Message:
    """The message of a ``SendEmail``; raises `RefusalError`."""
    content = sub(params, "Content")
    if len([kind for kind in ("Simple", "Raw", "Template") if kind in content]) != 1:
        raise bad_request("Exactly one of Simple, Raw and Template must be given as the content.")
    given = sub(params, "Destination")
    if "Raw" in content:
        message = _raw(base64.b64decode(text(sub(content, "Raw"), "Data")), params, given)
    else:
        message = _addressed(params, given)
    message.operation = "SendEmail"
    if "Simple" in content:
        _simple(message, sub(content, "Simple"))
    elif "Template" in content:
        templated = sub(content, "Template")
        _extras(message, templated)
        _template(templated, find).fill(message, template_data(text(templated, "TemplateData")))
    message.tags.update(_tags(subs(params, "EmailTags")))
    message.configuration_set = text(params, "ConfigurationSetName") or message.configuration_set
    if not message.recipients:
        raise bad_request("The message has no recipients.")
    if message.size > MAX_BYTES:
        raise bad_request(f"Message length is more than {MAX_BYTES} bytes long: '{message.size}'.")
    return message


def compose_bulk(params: JsonObject, find: Lookup) -> list[Message | Refused]:
    """What becomes of each entry of a ``SendBulkEmail``; raises `RefusalError` for what concerns them all."""
    entries = subs(params, "BulkEmailEntries")
    default = sub(sub(params, "DefaultContent"), "Template")
    if not default:
        raise bad_request("DefaultContent must have a Template.")
    if not 1 <= len(entries) <= 50:
        raise bad_request("The number of bulk email entries must be between 1 and 50.")
    drafts = [_addressed(params, sub(entry, "Destination")) for entry in entries]
    if not all(draft.recipients for draft in drafts):
        raise bad_request("Every destination needs at least one recipient.")
    shared, data = _tags(subs(params, "DefaultEmailTags")), template_data(text(default, "TemplateData"))
    try:
        template = _template(default, find)
    except RefusalError as refusal:
        if refusal.code != "NotFoundException":
            raise
        return [Refused("TEMPLATE_NOT_FOUND", refusal.message) for _ in entries]
    common = subs(default, "Headers")
    attachments = subs(default, "Attachments")
    results: list[Message | Refused] = []
    for entry, draft in zip(entries, drafts, strict=True):
        replaced = sub(sub(entry, "ReplacementEmailContent"), "ReplacementTemplate")
        try:
            draft.tags = shared | _tags(subs(entry, "ReplacementTags"))
            own = template_data(text(replaced, "ReplacementTemplateData"))
            headers = _over(common, subs(entry, "ReplacementHeaders"))
            _extras(draft, {"Headers": [*headers], "Attachments": [*attachments]})
        except RefusalError as refusal:
            results.append(Refused("INVALID_PARAMETER", refusal.message))
            continue
        draft.operation = "SendBulkEmail"
        draft.configuration_set = text(params, "ConfigurationSetName") or None
        template.fill(draft, {**data, **own})
        results.append(draft)
    return results


def _addressed(params: JsonObject, destination: JsonObject) -> Message:
    if not (sender := text(params, "FromEmailAddress")):
        raise bad_request("Missing required header 'From'.")
    if forwarding := text(params, "FeedbackForwardingEmailAddress"):
        parse(forwarding)
    return Message(
        parse(sender),
        None,
        _all(texts(destination, "ToAddresses")),
        _all(texts(destination, "CcAddresses")),
        _all(texts(destination, "BccAddresses")),
        _all(texts(params, "ReplyToAddresses")),
    )


def _all(given: Iterable[str]) -> tuple[Address, ...]:
    return tuple(parse(each) for each in given)


def _simple(message: Message, simple: JsonObject) -> None:
    body = sub(simple, "Body")
    if not body:
        raise bad_request("The message body must have a text or an HTML part.")
    message.subject = _charset(sub(simple, "Subject"))
    if "\r" in message.subject or "\n" in message.subject:
        raise bad_request("Subject contains control characters.")
    message.text = _charset(sub(body, "Text")) if "Text" in body else None
    message.html = _charset(sub(body, "Html")) if "Html" in body else None
    message.size += len(json.dumps([message.subject, message.text, message.html]))
    _extras(message, simple)


def _charset(content: JsonObject) -> str:
    """What is left of a text in its charset, which is 7-bit ASCII unless told otherwise (model of ``Content``)."""
    data, charset = text(content, "Data"), text(content, "Charset") or "ascii"
    if data.isascii():
        return data
    try:
        return data.encode(charset, "replace").decode(charset)
    except LookupError:
        raise bad_request(f"Unsupported charset: {charset}") from None


def _extras(message: Message, source: JsonObject) -> None:
    headers = [(text(each, "Name"), text(each, "Value")) for each in subs(source, "Headers")]
    for name, value in headers:
        if len(name) + len(value) > MAX_HEADER:
            raise bad_request(f"The name and value of header {name} have more than {MAX_HEADER} characters together.")
    message.headers = tuple(headers)
    message.attachments = tuple(_attachment(each) for each in subs(source, "Attachments"))
    message.size += sum(len(name) + len(value) + 4 for name, value in headers)
    message.size += sum(len(each.content) * 4 // 3 + len(each.filename) + 200 for each in message.attachments)


def _over(common: list[JsonObject], own: list[JsonObject]) -> list[JsonObject]:
    """Headers of an entry over those of the template (documentation of ``BulkEmailEntry``)."""
    replaced = {text(each, "Name").lower() for each in own}
    return [*(each for each in common if text(each, "Name").lower() not in replaced), *own]


def _attachment(given: JsonObject) -> Attachment:
    filename = text(given, "FileName")
    if _REFUSED_FILES.fullmatch(filename[filename.rfind(".") :]):
        raise bad_request(f"Illegal filename '{filename}'.")
    kind = text(given, "ContentType") or mimetypes.guess_type(filename)[0] or "application/octet-stream"
    disposition = (text(given, "ContentDisposition") or "ATTACHMENT").lower()
    content_id = text(given, "ContentId") or None
    return Attachment(filename, kind, disposition, content_id, base64.b64decode(text(given, "RawContent")))


def _tags(given: list[JsonObject]) -> dict[str, str]:
    tags: dict[str, str] = {}
    for each in given:
        name, value = text(each, "Name"), text(each, "Value")
        for what, word in (("name", name), ("value", value)):
            if _TAG.fullmatch(word) is None:
                allowed = "only alphanumeric ASCII characters, '_', and '-' are allowed."
                raise bad_request(f"Invalid tag {what} <{word}>: {allowed}")
        if name in tags:
            raise bad_request(f"Duplicate tag name: {name}")
        tags[name] = value
    return tags


@lru_cache(maxsize=64)
def _json(given: str) -> JsonObject:
    try:
        value: Json = json.loads(given)
    except ValueError:
        raise bad_request("Invalid template data: it must be a JSON object.") from None
    if not isinstance(value, dict):
        raise bad_request("Invalid template data: it must be a JSON object.")
    return value


def template_data(given: str) -> JsonObject:
    """``TemplateData``, read; raises `RefusalError`."""
    return dict(_json(given)) if given else {}


def _template(given: JsonObject, find: Lookup) -> Template:
    ways = [key for key in ("TemplateName", "TemplateArn", "TemplateContent") if key in given]
    if ways == ["TemplateContent"]:
        template = Template.of("", sub(given, "TemplateContent"))
        if sum(len(part or "") for part in (template.subject, template.text, template.html)) > MAX_INLINE:
            raise bad_request(f"The template is longer than {MAX_INLINE} bytes.")
        template.check()
        return template
    if len(ways) != 1:
        raise bad_request("Exactly one of TemplateName, TemplateArn and TemplateContent must be given.")
    name = text(given, "TemplateName") or text(given, "TemplateArn").rpartition("template/")[2]
    found = find(name)
    if found is None:
        raise not_found(f"Template {name} does not exist")
    return found


def _raw(data: bytes, params: JsonObject, destination: JsonObject) -> Message:
    if len(data) > MAX_BYTES:
        raise bad_request(f"Message length is more than {MAX_BYTES} bytes long: '{len(data)}'.")
    if any(len(line) > 1000 for line in data.splitlines(keepends=True)):
        raise bad_request("A line of the message is longer than 1000 characters.")
    try:
        return _parsed(data, params, destination)
    except (AttributeError, LookupError, UnicodeError, HeaderParseError):  # the standard library's parser gave up
        raise bad_request("The message is not a valid MIME message.") from None


def _parsed(data: bytes, params: JsonObject, destination: JsonObject) -> Message:
    parsed = BytesParser(policy=policy.default).parsebytes(data)
    if not parsed.keys():
        raise bad_request("The message must have a header and a body.")
    own = {name: _header(parsed, name) for name in ("To", "Cc", "Bcc")}
    lines = {"To": "ToAddresses", "Cc": "CcAddresses", "Bcc": "BccAddresses"}
    sender = text(params, "FromEmailAddress")
    written = _header(parsed, "From")
    if not written and not sender:
        raise bad_request("Missing required header 'From'.")
    to, cc, bcc = (_all(texts(destination, lines[name])) or (() if destination else own[name]) for name in lines)
    source = parse(sender) if sender else None
    from_line = written[0] if written else parse(sender)
    message = Message(from_line, source, to, cc, bcc, _header(parsed, "Reply-To"))
    message.subject, message.size = str(parsed.get("Subject", "")), len(data)
    plain, rich = parsed.get_body(("plain",)), parsed.get_body(("html",))
    message.text, message.html = _part(plain), _part(rich)
    leaves = (part for part in parsed.walk() if not part.is_multipart())
    message.attachments = tuple(_file(part) for part in leaves if part is not plain and part is not rich)
    message.configuration_set = str(parsed.get("X-SES-CONFIGURATION-SET", "")).strip() or None
    if listed := str(parsed.get("X-SES-MESSAGE-TAGS", "")).strip():
        pairs = (pair.partition("=") for pair in listed.split(","))
        message.tags = _tags([{"Name": name.strip(), "Value": value.strip()} for name, _, value in pairs])
    message.headers = tuple(
        (name, str(value))
        for name, value in parsed.items()
        if name.lower() not in _STRUCTURED and not name.lower().startswith(("content-", "x-ses-"))
    )
    return message


def _header(parsed: EmailMessage, name: str) -> tuple[Address, ...]:
    # The parser has decoded the names already; what is checked is the address alone.
    lines = [line for line in parsed.get_all(name, ()) if isinstance(line, AddressHeader)]
    found = [each for line in lines for each in line.addresses]
    return tuple(Address(parse(each.addr_spec).email, each.display_name, str(each)) for each in found)


def _part(part: MIMEPart | None) -> str | None:
    """A text without the line end that MIME puts after it."""
    return None if part is None else str(part.get_content()).replace("\r\n", "\n").removesuffix("\n")


def _file(part: MIMEPart) -> Attachment:
    content = part.get_payload(decode=True)
    content_id = str(part.get("Content-ID", "")).strip("<> ") or None
    return Attachment(
        part.get_filename() or "",
        part.get_content_type(),
        part.get_content_disposition() or "attachment",
        content_id,
        content if isinstance(content, bytes) else b"",
    )
