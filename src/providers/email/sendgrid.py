"""E-mail through Twilio SendGrid's v3 API.

Plain HTTP: the vendor's library is synchronous, has no timeout and opens a connection per mail (docs/adr/0003).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, TypeAlias
from urllib.parse import quote

from pydantic import AwareDatetime, Field, JsonValue, SecretStr, TypeAdapter, ValidationError

from providers.core.clock import utc
from providers.core.errors import (
    BadResponseError,
    ConfigurationError,
    InvalidRequestError,
    NotFoundError,
    ProviderError,
    QuotaExceededError,
    WebhookVerificationError,
)
from providers.core.json import to_json
from providers.core.models import (
    CheckResult,
    CheckState,
    Quota,
    RawRequest,
    Ref,
    Reply,
    WebhookEndpoint,
    WebhookResult,
)
from providers.core.redact import SecretText
from providers.core.signatures import ecdsa_sha256
from providers.core.transport import HttpResponse, JsonApi, StatusError, from_status
from providers.email.address import split
from providers.email.events import EmailEvent, EmailEventType
from providers.email.facts import SENDGRID
from providers.email.models import (
    DnsRecord,
    EmailMessage,
    MessageRef,
    MessageStatus,
    SendingDomain,
    Suppression,
    SuppressionReason,
)
from providers.email.template import TOKEN, Names, escape_html, escape_url, fill

if TYPE_CHECKING:
    from providers.core.account import Account
    from providers.email.api import Personal

Json: TypeAlias = dict[str, JsonValue]
Payload: TypeAlias = dict[str, object]

PAGE = 500
TRACKING_ID, METADATA_NAMES = "pm_id", "pm_meta"
"""Our custom arguments: the mail's id, and which of the event's flattened keys are the message's metadata."""

PERSONAL_BYTES = 10_000
LONGEST_ID = 200
LONGEST_TIME = 11
"""Digits of a unix time that may be meant."""

SIGNATURE, TIMESTAMP = "x-twilio-email-event-webhook-signature", "x-twilio-email-event-webhook-timestamp"

LISTS = {
    "unsubscribes": SuppressionReason.UNSUBSCRIBED,
    "bounces": SuppressionReason.BOUNCED,
    "blocks": SuppressionReason.BLOCKED,
    "invalid_emails": SuppressionReason.INVALID,
    "spam_reports": SuppressionReason.COMPLAINED,
}

EVENT_TYPES = {
    "processed": EmailEventType.QUEUED,
    "delivered": EmailEventType.DELIVERED,
    "deferred": EmailEventType.DEFERRED,
    "bounce": EmailEventType.BOUNCED,
    "dropped": EmailEventType.REJECTED,
    "open": EmailEventType.OPENED,
    "click": EmailEventType.CLICKED,
    "spamreport": EmailEventType.COMPLAINED,
    "unsubscribe": EmailEventType.UNSUBSCRIBED,
    "group_unsubscribe": EmailEventType.UNSUBSCRIBED,
    "group_resubscribe": EmailEventType.SUBSCRIBED,
}
# Event Webhook reference: every other key of an event is one of the mail's custom arguments.
EVENT_KEYS = frozenset(
    [
        "email",
        "timestamp",
        "smtp-id",
        "event",
        "category",
        "sg_event_id",
        "sg_message_id",
        "response",
        "attempt",
        "ip",
        "tls",
        "reason",
        "status",
        "type",
        "bounce_classification",
        "useragent",
        "url",
        "url_offset",
        "sg_machine_open",
        "asm_group_id",
        "send_at",
        "marketing_campaign_id",
        "marketing_campaign_name",
        "sg_content_type",
        "sg_template_id",
        "sg_template_name",
        "newsletter",
        "pool",
        "cert_err",
    ]
)
ACTIVITY_STATES = {"processed": "queued", "delivered": "delivered", "not_delivered": "failed"}


class SendGridEmail:
    """Mail Send, suppressions, domain authentication and the signed event webhook of one SendGrid account."""

    facts = SENDGRID

    def __init__(self, account: Account) -> None:
        self._account = account
        self._clock = account.clock
        name, sender = account.get("SENDGRID_FROM_NAME"), account.get("SENDGRID_FROM_EMAIL")
        self._from = f"{name} <{sender}>" if name else sender
        self._sandbox = account.flag("SENDGRID_SANDBOX")
        headers: dict[str, str] = {
            "Authorization": SecretText("Bearer " + account.get("SENDGRID_API_KEY")),
            "User-Agent": account.user_agent,
        }
        if subuser := account.get("SENDGRID_SUBUSER"):
            headers["On-Behalf-Of"] = subuser
        self.client = JsonApi(account.base_url, transport=account.http(), headers=headers)

    def translate(self, error: Exception) -> ProviderError | None:
        """By the table in section 5 of the vendor's error reference."""
        if not isinstance(error, StatusError):
            return None
        response = error.response
        message, field = _refusal(response)
        named = from_status(response, self.facts, message=message, clock=self._clock)
        if response.status == 401 and "credits exceeded" in message.lower():
            named = QuotaExceededError(message, status=401)
        if isinstance(named, InvalidRequestError):
            named.field = field
        if named.retry_after is None and response.status == 429:
            reset = response.headers.get("x-ratelimit-reset", "")
            if reset.isascii() and reset.isdigit() and len(reset) <= LONGEST_TIME:
                named.retry_after = max(int(reset) - self._clock.time(), 0.0)
        return named

    async def send(self, message: EmailMessage, tracking_id: str) -> MessageRef:
        """`POST /v3/mail/send` with one personalization."""
        personal: Payload = {"to": [_person(to) for to in message.to]}
        if message.cc:
            personal["cc"] = [_person(cc) for cc in message.cc]
        if message.bcc:
            personal["bcc"] = [_person(bcc) for bcc in message.bcc]
        personal["custom_args"] = _custom_args(message.metadata, tracking_id)
        body = self._body(message, [personal])
        if message.template is not None:
            personal["dynamic_template_data"] = message.variables
        # Transactional links and pixels stay as they are unless the caller asks for tracking.
        body.setdefault(
            "tracking_settings",
            {"click_tracking": {"enable": False, "enable_text": False}, "open_tracking": {"enable": False}},
        )
        response = await self.client.request("POST", "/v3/mail/send", json=body)
        return self._accepted(response, tracking_id)

    async def send_batch(
        self, message: EmailMessage, recipients: Sequence[Personal]
    ) -> list[MessageRef | ProviderError]:
        """`POST /v3/mail/send` with a personalization each; tokens become substitutions, which the vendor fills."""
        names = Names(message)
        _custom_args(message.metadata, "")
        entries = [_personalization(message, names, i, one) for i, one in enumerate(recipients)]
        tagged = message.model_copy(
            update={
                "subject": _tagged(message.subject, ""),
                "text": message.text and _tagged(message.text, ""),
                "html": message.html and _tagged(message.html, "|html"),
                "unsubscribe_url": None if names.url else message.unsubscribe_url,
            }
        )
        body = self._body(tagged if message.template is None else message, entries)
        response = await self.client.request("POST", "/v3/mail/send", json=body)
        ref = self._accepted(response, recipients[0].tracking_id)
        return [ref] * len(recipients)

    async def status(self, ref: Ref) -> MessageStatus:
        """`GET /v3/messages` (Email Activity, a paid add-on: 403 without it). The first recipient's state."""
        if not ref.id.replace("_", "").replace("-", "").replace(".", "").isalnum():
            raise _no_such(ref)
        params: dict[str, str | int] = {"limit": 1, "query": f'msg_id LIKE "{ref.id}%"'}
        response = await self.client.request("GET", "/v3/messages", params=params)
        messages = _Activity.model_validate(response.json_object()).messages
        if not messages:
            raise _no_such(ref)
        found = messages[0]
        return MessageStatus(
            ref=ref,
            recipient=found.to_email,
            state=ACTIVITY_STATES.get(found.status, "unknown"),
            opens=found.opens_count,
            clicks=found.clicks_count,
            updated_at=found.last_event_time,
            raw=found.model_dump(mode="json"),
        )

    async def suppressions(self, cursor: str) -> tuple[list[Suppression], str]:
        """The five lists, one after the other; a cursor is `list:offset`."""
        names = list(LISTS)
        name, _, offset = cursor.partition(":")
        name = name or names[0]
        params: dict[str, str | int] = {"limit": PAGE, "offset": int(offset or 0)}
        response = await self.client.request("GET", f"/v3/suppression/{name}", params=params)
        entries = _SUPPRESSED.validate_python(response.json_list())
        page = [
            Suppression(
                email=entry.email,
                reason=LISTS[name],
                detail=entry.reason or "",
                since=utc(entry.created),
                vendor="sendgrid",
            )
            for entry in entries
        ]
        if len(entries) == PAGE:
            return page, f"{name}:{int(offset or 0) + PAGE}"
        following = names.index(name) + 1
        return page, f"{names[following]}:0" if following < len(names) else ""

    async def suppress(self, email: str) -> None:
        """Add to the global unsubscribes."""
        body = {"recipient_emails": [email]}
        response = await self.client.request("POST", "/v3/asm/suppressions/global", json=body)
        response.json_object()

    async def unsuppress(self, email: str) -> None:
        """Delete from the global unsubscribes and the four lists the vendor keeps; unsubscribe groups stay."""
        paths = ["/v3/asm/suppressions/global/"]
        paths += [f"/v3/suppression/{name}/" for name in LISTS if name != "unsubscribes"]
        for path in paths:
            try:
                response = await self.client.request("DELETE", path + quote(email, safe=""))
            except StatusError as error:
                if error.response.status != 404:
                    raise
            else:
                _empty_or_json(response)

    async def domain(self, name: str) -> SendingDomain:
        """Domain authentication: look it up, register it if unknown, have it validated if it is not yet."""
        params: dict[str, str | int] = {"domain": name, "limit": 50}
        listed = await self.client.request("GET", "/v3/whitelabel/domains", params=params)
        known = [found for found in _DOMAINS.validate_python(listed.json_list()) if found.domain == name]
        if known:
            found = known[0]
        else:
            body: Json = {"domain": name, "automatic_security": True}
            made = await self.client.request("POST", "/v3/whitelabel/domains", json=body)
            found = _Domain.model_validate(made.json_object())
        verified = {key: record.valid for key, record in found.dns.items()}
        valid = found.valid
        if not valid:
            checked = await self.client.request("POST", f"/v3/whitelabel/domains/{found.id}/validate")
            validation = _Validation.model_validate(checked.json_object())
            valid = validation.valid
            verified |= {key: result.valid for key, result in validation.validation_results.items()}
        records = tuple(
            DnsRecord(type=record.type.upper(), name=record.host, value=record.data, verified=verified[key])
            for key, record in found.dns.items()
        )
        return SendingDomain(
            name=name, verified=valid, records=records, vendor="sendgrid", raw=found.model_dump(mode="json")
        )

    async def ensure_webhook(self, url: str) -> WebhookEndpoint:
        """Register the event webhook for every event, switch its signature on and fetch the key."""
        listed = await self.client.request("GET", "/v3/user/webhooks/event/settings/all")
        hooks = _Hooks.model_validate(listed.json_object()).webhooks
        wanted: Json = {"enabled": True, "url": url, **dict.fromkeys(WEBHOOK_EVENTS, True)}
        known = next((hook for hook in hooks if hook.url == url and hook.id), None)
        if known is None:
            made = await self.client.request("POST", "/v3/user/webhooks/event/settings", json=wanted)
            hook = _Hook.model_validate(made.json_object())
        else:
            path = f"/v3/user/webhooks/event/settings/{quote(known.id, safe='')}"
            changed = await self.client.request("PATCH", path, json=wanted)
            hook = _Hook.model_validate(changed.json_object())
        path = f"/v3/user/webhooks/event/settings/signed/{quote(hook.id, safe='')}"
        signed = await self.client.request("PATCH", path, json={"enabled": True})
        key = _Signed.model_validate(signed.json_object()).public_key
        return WebhookEndpoint(ref=Ref(vendor="sendgrid", id=hook.id), secret=SecretStr(key))

    def recognises(self, request: RawRequest) -> bool:
        """By the signature header."""
        return SIGNATURE in request.headers

    async def webhook(self, request: RawRequest) -> WebhookResult[EmailEvent]:
        """ECDSA over timestamp and body. No age limit: the vendor repeats deliveries for 24 hours and does not say
        whether it signs them anew, so drop repeats by `event_id`.
        """  # noqa: D205
        key = self._account.get("SENDGRID_WEBHOOK_PUBLIC_KEY")
        if not key:
            msg = "SENDGRID_WEBHOOK_PUBLIC_KEY is not set; without it no event can be trusted"
            raise ConfigurationError(msg, vendor="sendgrid", field="SENDGRID_WEBHOOK_PUBLIC_KEY")
        signature, timestamp = request.headers.get(SIGNATURE, ""), request.headers.get(TIMESTAMP, "")
        if not ecdsa_sha256(key, signature, timestamp.encode() + request.body):
            msg = "the signature does not fit the body"
            raise WebhookVerificationError(msg, vendor="sendgrid", operation="email.webhook")
        return WebhookResult[EmailEvent](events=parse_events(request.body, self._clock.time()))

    async def check(self) -> CheckResult:
        """`GET /v3/scopes`, and what is left of the plan where the key may see it."""
        response = await self.client.request("GET", "/v3/scopes")
        scopes = tuple(_Scopes.model_validate(response.json_object()).scopes)
        able = "mail.send" in scopes
        detail = "every mail is only checked, none is sent" if self._sandbox else ""
        return CheckResult(
            vendor="sendgrid",
            state=CheckState.OK if able else CheckState.REFUSED,
            detail=detail if able else "the key lacks the scope mail.send",
            permissions=scopes,
            quota=await self._quota(),
            sandbox=self._sandbox,
        )

    async def aclose(self) -> None:
        """Nothing of its own."""

    async def _quota(self) -> Quota | None:
        try:
            response = await self.client.request("GET", "/v3/user/credits")
            credit = _Credits.model_validate(response.json_object())
        except (StatusError, ProviderError, ValidationError):
            # The scopes have proved the key; what is left is extra, and not every key may see it.
            return None
        return Quota.model_validate(
            {"unit": "email", "used": credit.used, "limit": credit.total, "remaining": credit.remain}
        )

    def _body(self, message: EmailMessage, personalizations: list[Payload]) -> Payload:
        body: Payload = {"personalizations": personalizations, "from": _person(message.sender or self._from)}
        if message.reply_to:
            body["reply_to"] = _person(message.reply_to)
        if message.subject:
            body["subject"] = message.subject
        if message.template is not None:
            body["template_id"] = message.template
        else:
            # The vendor wants text before HTML, and neither empty.
            parts = (("text/plain", message.text), ("text/html", message.html))
            body["content"] = [{"type": kind, "value": value} for kind, value in parts if value]
        if message.attachments:
            body["attachments"] = [
                {
                    "content": base64.b64encode(file.content).decode(),
                    "filename": file.filename,
                    "type": file.content_type,
                    "disposition": "inline" if file.inline else "attachment",
                    **({"content_id": file.content_id} if file.content_id else {}),
                }
                for file in message.attachments
            ]
        headers = dict(message.headers) | _unsubscribe(message.unsubscribe_url)
        if headers:
            body["headers"] = headers
        if message.tags:
            body["categories"] = message.tags
        if message.send_at is not None:
            body["send_at"] = int(message.send_at.timestamp())
        if self._sandbox:
            body["mail_settings"] = {"sandbox_mode": {"enable": True}}
        if options := message.vendor_options.get("sendgrid"):
            body |= options
        return body

    def _accepted(self, response: HttpResponse, tracking_id: str) -> MessageRef:
        """202 with `X-Message-Id`; the sandbox answers 200 without. Our own id stands in where theirs is missing."""
        _empty_or_json(response)
        given = response.headers.get("x-message-id", "")
        id_ = given if 0 < len(given) <= LONGEST_ID else tracking_id
        return MessageRef(vendor="sendgrid", id=id_, dry_run=self._sandbox)


def parse_events(body: bytes, now: float) -> tuple[EmailEvent, ...]:
    """The events of a webhook body. Raises `BadResponseError` for anything but a JSON array of objects."""
    items = HttpResponse(200, {}, body).json_list()
    return tuple(_event(item, now) for item in items)


def _event(item: JsonValue, now: float) -> EmailEvent:
    if not isinstance(item, dict):
        msg = "an event is not a JSON object"
        raise BadResponseError(msg)
    kind = EVENT_TYPES.get(_text(item, "event"), EmailEventType.UNKNOWN)
    permanent = None
    if kind is EmailEventType.BOUNCED:
        permanent = _text(item, "type") != "blocked"
    category = item.get("category")
    tags = category if isinstance(category, list) else [category]
    named = _text(item, METADATA_NAMES)
    names = named.split(",") if named else [key for key in item if key not in EVENT_KEYS]
    return EmailEvent(
        type=kind,
        event_id=_text(item, "sg_event_id"),
        message_id=_text(item, "sg_message_id").partition(".")[0],
        recipient=_text(item, "email"),
        occurred_at=utc(_moment(item.get("timestamp"), now)),
        code=_text(item, "status"),
        reason=_text(item, "reason") or _text(item, "response"),
        permanent=permanent,
        click_url=_text(item, "url") or None,
        user_agent=_text(item, "useragent") or None,
        metadata={name: _text(item, name) for name in dict.fromkeys([*names, TRACKING_ID]) if name in item},
        tags=tuple(tag for tag in tags if isinstance(tag, str)),
        vendor="sendgrid",
        raw=item,
    )


def _text(item: Json, key: str) -> str:
    value = item.get(key)
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _moment(value: JsonValue, now: float) -> float:
    """A unix time as the vendor writes it, number or text; `now` for anything that is none."""
    try:
        seconds = float(value) if isinstance(value, str | int | float) else now
    except (ValueError, OverflowError):
        return now
    return seconds if 0 <= seconds < 253_402_300_800 else now


def _person(text: str) -> dict[str, str]:
    name, email = split(text)
    return {"email": email, "name": name} if name else {"email": email}


def _custom_args(metadata: Mapping[str, str], tracking_id: str, whose: str = "") -> dict[str, str]:
    if not metadata:
        return {TRACKING_ID: tracking_id}
    for name in metadata:
        if name in EVENT_KEYS or name in {TRACKING_ID, METADATA_NAMES} or "," in name:
            msg = f"metadata: {name!r} is one of SendGrid's own event fields; use another name"
            raise InvalidRequestError(msg, field=f"{whose}metadata.{name}", vendor="sendgrid")
    return {**metadata, TRACKING_ID: tracking_id, METADATA_NAMES: ",".join(metadata)}


def _unsubscribe(url: str | None) -> dict[str, str]:
    if not url:
        return {}
    return {"List-Unsubscribe": f"<{url}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}


def _personalization(message: EmailMessage, names: Names, index: int, personal: Personal) -> Payload:
    to = {"email": personal.email}
    if personal.name:
        to["name"] = personal.name
    metadata = {**message.metadata, **personal.metadata} if personal.metadata else message.metadata
    custom_args = _custom_args(metadata, personal.tracking_id, f"recipients.{index}." if personal.metadata else "")
    if metadata:
        _fits("custom_args", custom_args, index)
    entry: Payload = {"to": [to], "custom_args": custom_args}
    if message.template is not None:
        entry["dynamic_template_data"] = personal.variables
    elif names.all:
        values = personal.values
        tags = {"{{" + name + "}}": values[name] for name in names.text}
        for name in names.subject:
            tags["{{" + name + "}}"] = values[name]
        for name in names.html:
            # A value must not bring a tag of its own: the vendor may fill that one too, and unescaped.
            tags["{{" + name + "|html}}"] = escape_html(values[name]).replace("{", "&#123;")
        if tags:
            _fits("substitutions", tags, index)
            entry["substitutions"] = tags
    if names.url and message.unsubscribe_url:
        entry["headers"] = _unsubscribe(fill(message.unsubscribe_url, personal.values, escape_url))
    return entry


def _tagged(text: str, suffix: str) -> str:
    """The text with every token in the one spelling that its substitution has."""
    return TOKEN.sub(lambda match: "{{" + match[1] + suffix + "}}", text)


def _fits(part: str, values: Mapping[str, str], index: int) -> None:
    # A character is at most four bytes, and names are short: only long ones are counted exactly.
    rough = sum(map(len, values.values())) + 100 * len(values)
    if rough > PERSONAL_BYTES // 4 and len(to_json(values)) > PERSONAL_BYTES:
        msg = f"variables: {part} of one recipient are more than {PERSONAL_BYTES:,} bytes"
        raise InvalidRequestError(msg, field=f"recipients.{index}.variables", vendor="sendgrid")


def _refusal(response: HttpResponse) -> tuple[str, str | None]:
    """Message and our field of the first of `{"errors": [{"message", "field"}]}`."""
    try:
        errors = _Refusal.model_validate_json(response.content).errors
    except ValueError:
        return f"refused with HTTP {response.status}, without the documented reason", None
    text = "; ".join(error.message for error in errors[:5])
    field = next((error.field for error in errors if error.field), None)
    return text or f"refused with HTTP {response.status}", _our_field(field)


def _our_field(field: str | None) -> str | None:
    """`personalizations.3.to.0.email` is the batch's recipient 3; whose it is in a single mail, the message's `to`."""
    if field is None:
        return None
    head, _, rest = field.partition(".")
    if head != "personalizations":
        return {"from": "sender", "content": "html", "custom_args": "metadata", "categories": "tags"}.get(head, head)
    index, _, part = rest.partition(".")
    return f"recipients.{index}.{part}" if index.isdigit() else "to"


def _no_such(ref: Ref) -> NotFoundError:
    return NotFoundError(f"ref: SendGrid's activity has no mail {ref.id[:80]!r}", vendor="sendgrid", field="ref")


def _empty_or_json(response: HttpResponse) -> None:
    if response.content.strip():
        response.json()


WEBHOOK_EVENTS = (
    "processed", "delivered", "deferred", "bounce", "dropped", "open", "click", "spam_report", "unsubscribe",
    "group_unsubscribe", "group_resubscribe",
)  # fmt: skip


class _Problem(Reply):
    message: str = ""
    field: str | None = None


class _Refusal(Reply):
    errors: list[_Problem]


class _Scopes(Reply):
    scopes: list[str]


class _Credits(Reply):
    remain: int
    total: int
    used: int


class _Suppressed(Reply):
    email: str
    created: Annotated[int, Field(ge=0, lt=253_402_300_800)]
    reason: str | None = None


class _Mail(Reply):
    to_email: str
    status: str
    opens_count: int | None = None
    clicks_count: int | None = None
    last_event_time: AwareDatetime | None = None


class _Activity(Reply):
    messages: list[_Mail]


class _Dns(Reply):
    valid: bool
    type: str
    host: str
    data: str


class _Domain(Reply):
    id: int
    domain: str
    valid: bool
    dns: dict[str, _Dns]


class _Result(Reply):
    valid: bool


class _Validation(Reply):
    valid: bool
    validation_results: dict[str, _Result]


class _Hook(Reply):
    id: str = ""
    url: str = ""


class _Hooks(Reply):
    webhooks: list[_Hook]


class _Signed(Reply):
    public_key: str


_SUPPRESSED = TypeAdapter(list[_Suppressed], config=Reply.model_config)
_DOMAINS = TypeAdapter(list[_Domain], config=Reply.model_config)
