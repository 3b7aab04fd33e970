"""E-mail, as services hold it, and what a vendor has to provide."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from providers.core.capability import Capability, Context, as_ref
from providers.core.errors import (
    ConfigurationError,
    InvalidRequestError,
    ProviderError,
)
from providers.core.ids import new_id
from providers.core.models import RawRequest, Ref, WebhookEndpoint, WebhookResult
from providers.core.operation import Effect, Operation
from providers.core.pipeline import refuse_features
from providers.core.sending import SendState, failed_state
from providers.core.webhooks import ReceivingAdapter, receive
from providers.email.address import normalise
from providers.email.events import EmailEvent
from providers.email.models import (
    EmailMessage,
    MessageRef,
    MessageStatus,
    Recipient,
    SendingDomain,
    SendOutcome,
    Suppression,
)
from providers.email.template import filled

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping

    from pydantic import JsonValue

    from providers.core.operation import VendorFacts
    from providers.core.pipeline import Target
    from providers.core.route import Route
    from providers.email.journal import CampaignStatus

SEND = Operation(name="email.send", effect=Effect.ONCE, result=MessageRef, unit="email")
SEND_BATCH = Operation(
    name="email.send_campaign", effect=Effect.ONCE, timeout=300.0, attempt_timeout=60.0, attempts=5, unit="email"
)
STATUS = Operation(name="email.status", effect=Effect.READ, result=MessageStatus)
SUPPRESSIONS = Operation(name="email.suppressions", effect=Effect.READ)
SUPPRESS = Operation(name="email.suppress", effect=Effect.IDEMPOTENT)
UNSUPPRESS = Operation(name="email.unsuppress", effect=Effect.IDEMPOTENT)
DOMAIN = Operation(name="email.domain", effect=Effect.IDEMPOTENT, result=SendingDomain, exclusive=True)
ENSURE_WEBHOOK = Operation(
    name="email.ensure_webhook", effect=Effect.IDEMPOTENT, result=WebhookEndpoint, exclusive=True
)

OPERATIONS = (SEND, SEND_BATCH, STATUS, SUPPRESSIONS, SUPPRESS, UNSUPPRESS, DOMAIN, ENSURE_WEBHOOK)

AT_ONCE = 32
"""Mails of one `send_many` in flight together."""


@dataclass(slots=True, eq=False)
class Personal:
    """One recipient of a batch, checked: what an adapter needs to address and fill the mail.

    `values` are the texts of the tokens used; `variables` what a vendor's template gets.
    """

    email: str
    name: str
    tracking_id: str
    values: Mapping[str, str]
    variables: Mapping[str, JsonValue]
    metadata: Mapping[str, str]


class EmailAdapter(ReceivingAdapter[EmailEvent], Protocol):
    """What an e-mail vendor provides. Let vendor exceptions escape; do not retry, cache or log."""

    async def send(self, message: EmailMessage, tracking_id: str) -> MessageRef:
        """Send one mail, its tokens filled already. `tracking_id` comes back in events as `metadata["pm_id"]`."""
        ...

    async def send_batch(
        self, message: EmailMessage, recipients: Sequence[Personal]
    ) -> list[MessageRef | ProviderError]:
        """Send the message to each recipient alone, filling the tokens; at most `facts.limits["batch"]` in one call.

        One result per recipient, in order. A refusal of the whole call for one recipient's fault is an
        `InvalidRequestError` whose `field` starts with `recipients.<index>`.
        """
        ...

    async def status(self, ref: Ref) -> MessageStatus:
        """How far the mail came."""
        ...

    async def suppressions(self, cursor: str) -> tuple[list[Suppression], str]:
        """One page, from `""`; with the cursor of the next, `""` at the end."""
        ...

    async def suppress(self, email: str) -> None:
        """Send this address nothing any more."""
        ...

    async def unsuppress(self, email: str) -> None:
        """Take the address off every list it is on."""
        ...

    async def domain(self, name: str) -> SendingDomain:
        """The domain's records and state, registering it first if the vendor does not know it."""
        ...

    async def ensure_webhook(self, url: str) -> WebhookEndpoint:
        """Have all events sent to `url`, signed."""
        ...


class Email(Capability[EmailAdapter]):
    """Sends mail, keeps what became of it, and reads the vendors' events. Safe to share between tasks.

    Every operation takes `timeout=` (seconds, the whole call) and raises the errors of `providers.errors`.
    """

    name = "email"

    def __init__(self, route: Route[EmailAdapter], context: Context) -> None:
        super().__init__(route, context)
        redirect = context.options.get("PROVIDER_EMAIL_REDIRECT_TO")
        try:
            self._redirect_to = normalise(redirect) if redirect else None
        except ValueError as error:
            msg = f"PROVIDER_EMAIL_REDIRECT_TO: {error}"
            raise ConfigurationError(msg, field="PROVIDER_EMAIL_REDIRECT_TO") from None

    async def send(
        self, message: EmailMessage, *, idempotency_key: str | None = None, timeout: float | None = None
    ) -> MessageRef:
        """Send one mail, with the first vendor that takes it. Accepted is not delivered: see `webhook` and `status`.

        With an idempotency key (here or in the message) a repeat returns the first result and sends nothing.
        """
        if not message.to:
            msg = "to: nobody to send it to"
            raise InvalidRequestError(msg, field="to")
        ready = filled(message)
        if self._redirect_to is not None:
            ready = _redirected(ready, self._redirect_to)
        return await self._route.first(
            SEND,
            lambda adapter: _send_checked(adapter, ready, self._context.clock.time()),
            key=idempotency_key or message.idempotency_key,
            # The same mail is the same request wherever its key is given.
            payload=message.model_copy(update={"idempotency_key": None}) if message.idempotency_key else message,
            units=len(ready.to) + len(ready.cc) + len(ready.bcc),
            timeout=timeout,
        )

    async def send_many(self, messages: Iterable[EmailMessage], *, timeout: float | None = None) -> list[SendOutcome]:
        """Send different mails, some at once; one outcome each, in order. `timeout` is for each.

        Never raises for one bad mail. For one text to many people `send_campaign` is far cheaper.
        """
        places = asyncio.Semaphore(AT_ONCE)

        async def deliver(index: int, message: EmailMessage) -> SendOutcome:
            recipient = message.to[0] if message.to else ""
            key = message.idempotency_key or recipient
            async with places:
                try:
                    ref = await self.send(message, timeout=timeout)
                except ProviderError as error:
                    return failure(index, key, recipient, error)
            return SendOutcome(index=index, key=key, recipient=recipient, state=SendState.SENT, ref=ref)

        return list(await asyncio.gather(*(deliver(i, message) for i, message in enumerate(messages))))

    def send_campaign(
        self,
        message: EmailMessage,
        recipients: Iterable[Recipient] | AsyncIterable[Recipient],
        *,
        idempotency_key: str,
        timeout: float | None = None,
    ) -> AsyncIterator[SendOutcome]:
        """Send one text to many, each alone, and say of each what became of it, in order.

        Resumable: with the same key and text, whoever had the mail (or may have had it) gets none. The journal is in
        the state store: intent before, outcome after; `memory://` is refused beyond a thousand recipients. Raises
        `ConflictError` for another text under the key, and when the account fails (credential, quota, budget) or three
        batches in a row do; everything up to then is recorded. `timeout` is for each batch.
        """
        from providers.email.campaign import run

        return run(self, message, recipients, key=idempotency_key, timeout=timeout)

    async def campaign(self, key: str, *, timeout: float | None = None) -> CampaignStatus:
        """The counts of a campaign so far, and its unknown mails. Raises `NotFoundError`."""
        from providers.email.campaign import status

        with self._within(timeout, "email.campaign"):
            return await status(self, key)

    async def forget(self, email: str, *, timeout: float | None = None) -> int:
        """Blank an address in all campaign journals (a person's wish to be forgotten); in how many it stood.

        Its mails are still not sent again: the journals keep a digest. What a `timeout` cuts off is done by a repeat.
        """
        from providers.email.campaign import forget

        with self._within(timeout, "email.forget"):
            return await forget(self, _address(email))

    async def status(self, ref: Ref | str, *, timeout: float | None = None, fresh: bool = False) -> MessageStatus:
        """How far a mail came, from the vendor that sent it. Raises `NotFoundError`."""
        name = as_ref(ref)
        return await self._route.one(
            STATUS, name.vendor, lambda adapter: adapter.status(name), payload=str(name), timeout=timeout, fresh=fresh
        )

    async def suppressions(
        self, *, vendor: str | None = None, timeout: float | None = None, fresh: bool = False
    ) -> AsyncIterator[Suppression]:
        """Who gets no mail from this vendor (default: the first in use). `timeout` is for each page."""
        pages = self._route.pages(
            SUPPRESSIONS, vendor, lambda adapter, cursor: adapter.suppressions(cursor), timeout=timeout, fresh=fresh
        )
        async for suppression in pages:
            yield suppression

    async def suppress(self, email: str, *, timeout: float | None = None) -> None:
        """Send this address nothing any more, at every vendor in use."""
        address = _address(email)
        await self._at_every(SUPPRESS, lambda adapter: adapter.suppress(address), timeout)

    async def unsuppress(self, email: str, *, timeout: float | None = None) -> None:
        """Take the address off the lists of every vendor in use; no error if it is on none."""
        address = _address(email)
        await self._at_every(UNSUPPRESS, lambda adapter: adapter.unsuppress(address), timeout)

    async def domain(self, name: str, *, vendor: str | None = None, timeout: float | None = None) -> SendingDomain:
        """What to publish in the DNS of a sending domain, and whether the vendor has verified it.

        Registers the domain if the vendor does not know it. `name` is a domain, e.g. `"shop.example.com"`.
        """
        try:
            domain = normalise(f"postmaster@{name}").partition("@")[2]
        except ValueError:
            msg = f"name: {name[:80]!r} is not a domain"
            raise InvalidRequestError(msg, field="name") from None
        return await self._route.one(DOMAIN, vendor, lambda adapter: adapter.domain(domain), timeout=timeout)

    async def webhook(
        self, request: RawRequest, *, vendor: str | None = None, timeout: float | None = None
    ) -> WebhookResult[EmailEvent]:
        """Verify a vendor's request on its raw bytes, then read its events. Raises `WebhookVerificationError`."""
        with self._within(timeout, "email.webhook"):
            return await receive(self._route, request, vendor, operation="email.webhook")

    async def ensure_webhook(
        self, url: str, *, vendor: str | None = None, timeout: float | None = None
    ) -> WebhookEndpoint:
        """Have the vendor send its events to `url`, signed. Idempotent; the secret verifies them."""
        if not url.startswith(("https://", "http://")):
            msg = "url: not an http(s) URL"
            raise InvalidRequestError(msg, field="url")
        return await self._route.one(
            ENSURE_WEBHOOK, vendor, lambda adapter: adapter.ensure_webhook(url), timeout=timeout
        )

    @property
    def redirect_to(self) -> str | None:
        """Where all mail goes instead (`PROVIDER_EMAIL_REDIRECT_TO`)."""
        return self._redirect_to

    @property
    def batch_size(self) -> int:
        """How many recipients every vendor in use takes in one call."""
        return min(_most_at_once(target) for target in self._route.targets)

    async def _at_every(
        self, operation: Operation, step: Callable[[EmailAdapter], Awaitable[None]], timeout: float | None
    ) -> None:
        answers = await self._route.every(operation, step, timeout=timeout)
        for answer in answers.values():
            if isinstance(answer, ProviderError):
                raise answer


def _most_at_once(target: Target[EmailAdapter]) -> int:
    most = target.facts.limits.get("batch", 1)
    limiter = target.guards.limiter
    return most if limiter is None or limiter.at_once is None else min(most, limiter.at_once)


def _send_checked(adapter: EmailAdapter, message: EmailMessage, moment: float) -> Awaitable[MessageRef]:
    check_limits(adapter.facts, message, moment)
    return adapter.send(message, new_id())


def check_limits(facts: VendorFacts, message: EmailMessage, moment: float) -> None:
    """Raise for what this vendor is known to refuse or cannot express, before anything is sent."""
    refuse_features(facts, message)
    limits = facts.limits
    people = len(message.to) + len(message.cc) + len(message.bcc)
    if people > limits.get("recipients", people):
        _too_much("to", f"{people} recipients", f"{limits['recipients']} in one mail", facts)
    if len(message.tags) > limits.get("tags", len(message.tags)):
        _too_much("tags", f"{len(message.tags)} tags", str(limits["tags"]), facts)
    if message.attachments and "message_bytes" in limits:
        # Sent as base64: four bytes for three.
        size = sum(len(attachment.content) + 2 for attachment in message.attachments) * 4 // 3
        if size > limits["message_bytes"]:
            _too_much("attachments", f"{size:,} bytes encoded", f"{limits['message_bytes']:,}", facts)
    ahead = message.send_at.timestamp() - moment if message.send_at is not None else 0.0
    if ahead > limits.get("schedule_seconds", ahead):
        _too_much("send_at", "later", f"{limits['schedule_seconds'] // 3600} hours ahead", facts)


def _too_much(field: str, what: str, most: str, facts: VendorFacts) -> None:
    msg = f"{field}: {what}; {facts.title} takes at most {most}"
    raise InvalidRequestError(msg, field=field, code="too_much")


def failure(index: int, key: str, recipient: str, error: ProviderError) -> SendOutcome:
    """The outcome of a mail that raised."""
    return SendOutcome(
        index=index, key=key, recipient=recipient, state=failed_state(error), error=error, reason=str(error)
    )


def _redirected(message: EmailMessage, to: str) -> EmailMessage:
    """For staging: the mail goes to one address, and says whose it was."""
    meant = ", ".join(message.to + message.cc + message.bcc)
    headers = {**message.headers, "X-Redirected-From": meant[:900]}
    return message.model_copy(update={"to": (to,), "cc": (), "bcc": (), "headers": headers})


def _address(text: str) -> str:
    try:
        return normalise(text)
    except ValueError as error:
        msg = f"email: {error}"
        raise InvalidRequestError(msg, field="email") from None
