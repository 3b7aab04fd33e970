"""Made-up e-mail: keeps the last mails, makes their events, and fails where it is asked to."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import JsonValue, SecretStr, TypeAdapter
from pydantic_core import to_json

from providers.core.clock import utc
from providers.core.errors import BadResponseError, ProviderError
from providers.core.models import CheckResult, CheckState, Model, RawRequest, Ref, WebhookEndpoint, WebhookResult
from providers.demo import webhooks
from providers.email.address import split
from providers.email.events import EmailEvent, EmailEventType
from providers.email.facts import DEMO
from providers.email.models import (
    DnsRecord,
    EmailMessage,
    MessageRef,
    MessageStatus,
    SendingDomain,
    Suppression,
    SuppressionReason,
)
from providers.email.template import escape_html, fill

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from providers.core.account import Account
    from providers.email.api import Personal

KEPT = 5000
"""Mails that are kept; older ones are forgotten, so that a long demo does not grow."""

VERIFIED_AFTER = 86_400.0
"""Seconds until a demo domain counts as verified, as real ones take a day."""

# What happens to mail for these names before the @; anything else is delivered.
FATES: dict[str, tuple[tuple[EmailEventType, str, bool | None], ...]] = {
    "bounce": ((EmailEventType.BOUNCED, "550 5.1.1 user unknown", True),),
    "blocked": ((EmailEventType.BOUNCED, "554 5.7.1 refused by policy", False),),
    "deferred": ((EmailEventType.DEFERRED, "451 4.7.1 try again later", None),),
    "complaint": ((EmailEventType.DELIVERED, "", None), (EmailEventType.COMPLAINED, "", None)),
    "unsubscribe": ((EmailEventType.DELIVERED, "", None), (EmailEventType.UNSUBSCRIBED, "", None)),
    "open": ((EmailEventType.DELIVERED, "", None), (EmailEventType.OPENED, "", None)),
    "click": ((EmailEventType.DELIVERED, "", None), (EmailEventType.CLICKED, "", None)),
}
DELIVERED = ((EmailEventType.DELIVERED, "", None),)
DROPPED = ((EmailEventType.REJECTED, "suppressed address", None),)

SUPPRESSES = {
    EmailEventType.BOUNCED: SuppressionReason.BOUNCED,
    EmailEventType.COMPLAINED: SuppressionReason.COMPLAINED,
    EmailEventType.UNSUBSCRIBED: SuppressionReason.UNSUBSCRIBED,
}


class DemoMail(Model):
    """A mail as the demo kept it."""

    id: str
    to: str
    sender: str
    subject: str
    html: str | None
    text: str | None
    fate: str
    at: float
    metadata: dict[str, str]
    tags: tuple[str, ...]


class DemoEmail:
    """An e-mail vendor that sends nothing. State is in the store, so that all processes that share it see it."""

    facts = DEMO

    def __init__(self, account: Account) -> None:
        self._store = account.store
        self._clock = account.clock
        self._faults = account.faults
        self._url = account.webhook_url
        self._prefix = f"demo/{account.tenant}/email/"
        self._deliver = account.deliver

    def translate(self, error: Exception) -> ProviderError | None:
        """The demo raises our errors itself."""
        del error
        return None

    async def send(self, message: EmailMessage, tracking_id: str) -> MessageRef:
        """Keep it, one copy per reader."""
        readers = [split(person)[1] for person in message.to + message.cc + message.bcc]
        self._faults.strike("email.send", readers[0].partition("@")[0])
        metadata = {**message.metadata, "pm_id": tracking_id}
        entries = [_entry(message, reader, message.subject, message.html, message.text, metadata) for reader in readers]
        return (await self._keep(entries))[0]

    async def send_batch(
        self, message: EmailMessage, recipients: Sequence[Personal]
    ) -> list[MessageRef | ProviderError]:
        """Fill the text for each and keep it; each address may provoke its own failure."""
        self._faults.strike("email.send_campaign")
        results: list[MessageRef | ProviderError] = []
        entries: list[dict[str, JsonValue]] = []
        places: list[int] = []
        for index, one in enumerate(recipients):
            try:
                self._faults.strike("email.send", one.email.partition("@")[0])
            except ProviderError as error:
                results.append(error)
                continue
            values = one.values
            inline = message.template is None
            subject = fill(message.subject, values) if inline else message.subject
            html = fill(message.html, values, escape_html) if message.html and inline else message.html
            text = fill(message.text, values) if message.text and inline else message.text
            metadata = {**message.metadata, **one.metadata, "pm_id": one.tracking_id}
            entries.append(_entry(message, one.email, subject, html, text, metadata))
            places.append(index)
            results.append(PLACEHOLDER)
        for index, ref in zip(places, await self._keep(entries), strict=True):
            results[index] = ref
        return results

    async def status(self, ref: Ref) -> MessageStatus:
        """What became of it; a mail that was forgotten was delivered."""
        mail = await self._mail(ref.id)
        if mail is None:
            return MessageStatus(ref=ref, recipient="", state=EmailEventType.DELIVERED.value)
        last = _fate(mail.fate)[-1][0]
        return MessageStatus(ref=ref, recipient=mail.to, state=last.value, updated_at=utc(mail.at))

    async def suppressions(self, cursor: str) -> tuple[list[Suppression], str]:
        """All of them on one page."""
        del cursor
        prefix = self._prefix + "suppressed/"
        return [Suppression.model_validate_json(value) async for _, value in self._store.scan(prefix)], ""

    async def suppress(self, email: str) -> None:
        """Put it on the list."""
        await self._suppress(email, SuppressionReason.UNSUBSCRIBED)

    async def unsuppress(self, email: str) -> None:
        """Take it off the list."""
        await self._store.put([(self._prefix + "suppressed/" + email, None)])

    async def domain(self, name: str) -> SendingDomain:
        """Registered at the first question, verified a day later by the demo's clock."""
        now = self._clock.time()
        (known,) = await self._store.claim([(self._prefix + "domain/" + name, str(now).encode())])
        verified = known is not None and now - float(known) >= VERIFIED_AFTER
        hosts = (("mail", "u0.wl.demo.invalid"), ("s1._domainkey", "s1.u0.wl.demo.invalid"))
        records = tuple(
            DnsRecord(type="CNAME", name=f"{host}.{name}", value=value, verified=verified) for host, value in hosts
        )
        return SendingDomain(name=name, verified=verified, records=records, vendor="demo")

    async def ensure_webhook(self, url: str) -> WebhookEndpoint:
        """Deliver to `url` from now on."""
        await self._store.put([(self._prefix + "webhook", url.encode())])
        return WebhookEndpoint(ref=Ref(vendor="demo", id="webhook-email"), secret=SecretStr(webhooks.SECRET))

    def recognises(self, request: RawRequest) -> bool:
        """By the signature header."""
        return webhooks.HEADER in request.headers

    async def webhook(self, request: RawRequest) -> WebhookResult[EmailEvent]:
        """As `_keep` signs it."""
        webhooks.verify(request, self._clock.time())
        try:
            return WebhookResult[EmailEvent](events=tuple(TypeAdapter(list[EmailEvent]).validate_json(request.body)))
        except ValueError as error:
            msg = "the webhook is not a list of demo events"
            raise BadResponseError(msg, vendor="demo") from error

    async def check(self) -> CheckResult:
        """Always well."""
        return CheckResult(vendor="demo", state=CheckState.OK, detail="made up: nothing is sent", sandbox=True)

    async def aclose(self) -> None:
        """Nothing of its own."""

    async def mails(self) -> AsyncIterator[DemoMail]:
        """The mails that were kept, in no particular order."""
        async for _, value in self._store.scan(self._prefix + "mail/"):
            yield DemoMail.model_validate_json(value)

    async def _mail(self, id_: str) -> DemoMail | None:
        number = id_.removeprefix("mail-").partition("-")[0]
        try:
            slot = int(number, 16) % KEPT
        except ValueError:
            return None
        kept = await self._store.get(f"{self._prefix}mail/{slot:04}")
        mail = DemoMail.model_validate_json(kept) if kept is not None else None
        return mail if mail is not None and mail.id == id_ else None

    async def _keep(self, entries: list[dict[str, JsonValue]]) -> list[MessageRef]:
        if not entries:
            return []
        last = await self._store.add(self._prefix + "sent", len(entries)) or 0
        now = self._clock.time()
        refs: list[MessageRef] = []
        kept: dict[str, dict[str, JsonValue]] = {}
        events: list[EmailEvent] = []
        hook = await self._hook()
        token = secrets.token_hex(3)
        for number, entry in enumerate(entries, last - len(entries) + 1):
            address = str(entry["to"])
            fate = address.partition("@")[0]
            if await self._store.get(self._prefix + "suppressed/" + address) is not None:
                fate = "suppressed"
            entry |= {"id": f"mail-{number:x}-{token}", "fate": fate, "at": now}
            kept[f"{self._prefix}mail/{number % KEPT:04}"] = entry
            refs.append(MessageRef(vendor="demo", id=f"mail-{number:x}-{token}"))
            if fate in FATES or hook:
                events += await self._happen(entry, now)
        await self._store.put([(key, to_json(entry)) for key, entry in kept.items()])
        if hook and events:
            body = to_json(events)
            self._deliver(hook, body, webhooks.sign(body, now))
        return refs

    async def _hook(self) -> str:
        registered = await self._store.get(self._prefix + "webhook")
        return registered.decode() if registered else self._url

    async def _happen(self, entry: dict[str, JsonValue], now: float) -> list[EmailEvent]:
        events: list[EmailEvent] = []
        mail = DemoMail.model_validate(entry)
        queued = (EmailEventType.QUEUED, "", None)
        for number, (kind, reason, permanent) in enumerate((queued, *_fate(mail.fate))):
            events.append(
                EmailEvent(
                    type=kind,
                    event_id=f"{mail.id}-{number}",
                    message_id=mail.id,
                    recipient=mail.to,
                    occurred_at=utc(now),
                    reason=reason,
                    permanent=permanent,
                    click_url="https://shop.example.com/" if kind is EmailEventType.CLICKED else None,
                    metadata=mail.metadata,
                    tags=mail.tags,
                    vendor="demo",
                )
            )
            if kind in SUPPRESSES and permanent is not False:
                await self._suppress(mail.to, SUPPRESSES[kind])
        return events

    async def _suppress(self, email: str, reason: SuppressionReason) -> None:
        entry = Suppression(email=email, reason=reason, since=utc(self._clock.time()), vendor="demo")
        await self._store.put([(self._prefix + "suppressed/" + email, entry.model_dump_json().encode())])


PLACEHOLDER = MessageRef(vendor="demo", id="pending")


def _fate(word: str) -> tuple[tuple[EmailEventType, str, bool | None], ...]:
    return DROPPED if word == "suppressed" else FATES.get(word, DELIVERED)


def _entry(
    message: EmailMessage, to: str, subject: str, html: str | None, text: str | None, metadata: dict[str, str]
) -> dict[str, JsonValue]:
    return {
        "to": to,
        "sender": message.sender or "demo@shop.example.com",
        "subject": subject,
        "html": html,
        "text": text,
        "metadata": {**metadata},
        "tags": list(message.tags),
    }
