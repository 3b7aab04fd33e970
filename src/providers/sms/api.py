"""SMS, as services hold it, and what a vendor has to provide."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from providers.core.capability import Capability, Context, as_ref
from providers.core.errors import ConfigurationError, InvalidRequestError, ProviderError, RejectedError
from providers.core.ids import new_id
from providers.core.json import from_json, to_json
from providers.core.models import RawRequest, Ref, WebhookResult
from providers.core.operation import Effect, Operation
from providers.core.pipeline import refuse_features
from providers.core.route import Safeguards
from providers.core.sending import SendState, failed_state
from providers.core.telemetry import logger
from providers.core.webhooks import ReceivingAdapter, receive
from providers.core.writes import UNKNOWN_BEFORE
from providers.sms.events import SmsEvent, SmsEventType
from providers.sms.models import OptOut, OptOutSource, SendOutcome, SentSms, SmsMessage, SmsState, SmsStatus
from providers.sms.number import normalise
from providers.sms.opt_outs import CODE, OptOuts
from providers.sms.segments import Segments, count

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from providers.core.operation import VendorFacts
    from providers.core.route import Route

SEND = Operation(name="sms.send", effect=Effect.ONCE, result=SentSms, unit="segment")
FIND = Operation(name="sms.find", effect=Effect.READ, attempts=2)
STATUS = Operation(name="sms.status", effect=Effect.READ, result=SmsStatus)
OPT_OUTS = Operation(name="sms.opt_outs", effect=Effect.READ)
OPT_IN = Operation(name="sms.opt_in", effect=Effect.IDEMPOTENT)

OPERATIONS = (SEND, FIND, STATUS, OPT_OUTS, OPT_IN)

AT_ONCE = 32
"""Texts of one `send_many` in flight together."""

REMEMBERED = 4 * 86_400.0
"""Seconds that tags and metadata are kept for a vendor whose events do not bring them; its logs lag up to 72 hours."""

FOUND = 7 * 86_400.0
"""Seconds that a text which answered one call, at once or found later, stands for no other."""


class SmsAdapter(ReceivingAdapter[SmsEvent], Protocol):
    """What an SMS vendor provides. Let vendor exceptions escape; do not retry, cache or log.

    A refusal because the person opted out is a `RejectedError` with the code `opted_out`.
    """

    @property
    def correlates(self) -> bool:
        """Whether events bring the text's tags and metadata back; where not, they are remembered here."""
        ...

    async def send(self, message: SmsMessage, tracking_id: str) -> SentSms:
        """Send one text. `tracking_id` comes back in events as `metadata["pm_id"]` where the vendor correlates."""
        ...

    async def find(self, message: SmsMessage, since: float) -> list[SentSms]:
        """The texts of these words to this number that were made since a moment (unix time), oldest first."""
        ...

    async def status(self, ref: Ref) -> SmsStatus:
        """How far the text came."""
        ...

    async def opt_outs(self, cursor: str) -> tuple[list[str], str]:
        """One page of the vendor's own list, from `""`; with the cursor of the next, `""` at the end."""
        ...

    async def opt_in(self, number: str) -> None:
        """Take the number off the vendor's own list."""
        ...


class Sms(Capability[SmsAdapter]):
    """Sends texts, honours opt-outs, and reads the vendors' events. Safe to share between tasks.

    Every operation takes `timeout=` (seconds, the whole call) and raises the errors of `providers.errors`.
    """

    name = "sms"

    def __init__(self, route: Route[SmsAdapter], context: Context) -> None:
        super().__init__(route, context)
        self._opt_outs = OptOuts(context)
        redirect = context.options.get("PROVIDER_SMS_REDIRECT_TO")
        try:
            self._redirect_to = normalise(redirect) if redirect else None
        except ValueError as error:
            msg = f"PROVIDER_SMS_REDIRECT_TO: {error}"
            raise ConfigurationError(msg, field="PROVIDER_SMS_REDIRECT_TO") from None

    async def send(
        self, message: SmsMessage, *, idempotency_key: str | None = None, timeout: float | None = None
    ) -> SentSms:
        """Send one text, with the first vendor that takes it. Accepted is not delivered: see `webhook` and `status`.

        With an idempotency key (here or in the message) a repeat returns the first result and sends nothing. A text
        whose outcome is unknown is looked up at the vendor, now and at every repeat; where nothing is found it stays
        unknown until an event tells of it. Raises `RejectedError` with the code `opted_out` for a number that opted
        out: before anything is sent if that is known here, and from then on if the vendor says so.
        """
        ready = message if self._redirect_to is None else message.model_copy(update={"to": self._redirect_to})
        key, tracking_id = idempotency_key or message.idempotency_key, new_id()
        segments = count(message.body).segments
        try:
            return await self._route.first(
                SEND,
                lambda adapter: self._send(adapter, ready, tracking_id),
                key=key,
                # The same text is the same request wherever its key is given.
                payload=message.model_copy(update={"idempotency_key": None}) if message.idempotency_key else message,
                units=segments,
                timeout=timeout,
                safeguards=Safeguards(
                    before=lambda: self._opt_outs.refuse(ready.to),
                    look_up=FIND,
                    find=lambda adapter, since: self._find(adapter, ready, since),
                ),
            )
        except ProviderError as error:
            try:
                if isinstance(error, RejectedError) and error.code == CODE and error.vendor:
                    await self._opt_outs.add(ready.to, OptOutSource.REFUSED, error.vendor)
                elif error.may_have_applied and key is not None and error.code != UNKNOWN_BEFORE:
                    waiting = to_json({"key": key, "segments": segments})
                    await self._context.store.put([(self._waiting(tracking_id), waiting)], ttl=FOUND)
            except ProviderError:
                logger.exception("what became of a text could not be recorded")
            raise

    async def send_many(self, messages: Iterable[SmsMessage], *, timeout: float | None = None) -> list[SendOutcome]:
        """Send texts, some at once; one outcome each, in order. `timeout` is for each.

        Never raises for one bad text. Only texts with an idempotency key may be given again after a crash.
        """
        places = asyncio.Semaphore(AT_ONCE)

        async def deliver(index: int, message: SmsMessage) -> SendOutcome:
            key = message.idempotency_key or message.to
            async with places:
                try:
                    sent = await self.send(message, timeout=timeout)
                except ProviderError as error:
                    state, reason = failed_state(error), str(error)
                    return SendOutcome(
                        index=index, key=key, recipient=message.to, state=state, error=error, reason=reason
                    )
            state = SendState.SENT
            return SendOutcome(index=index, key=key, recipient=message.to, state=state, ref=sent.ref, sent=sent)

        return list(await asyncio.gather(*(deliver(i, message) for i, message in enumerate(messages))))

    async def status(self, ref: Ref | str, *, timeout: float | None = None, fresh: bool = False) -> SmsStatus:
        """How far a text came and what it cost, from the vendor that sent it. Raises `NotFoundError`."""
        name = as_ref(ref)
        return await self._route.one(
            STATUS, name.vendor, lambda adapter: adapter.status(name), payload=str(name), timeout=timeout, fresh=fresh
        )

    async def opt_outs(self, *, timeout: float | None = None, fresh: bool = False) -> AsyncIterator[OptOut]:
        """Who gets no texts: the list kept here, after learning what stands on the vendors' own lists.

        `timeout` is for each page of a vendor's list. Run it daily with a vendor that has one (SNS): what only stands
        there is honoured by that vendor alone until then.
        """
        for target in self._route.targets:
            if "opt_outs" in target.facts.unsupported:
                continue
            vendor = target.facts.vendor
            pages = self._route.pages(
                OPT_OUTS, vendor, lambda adapter, cursor: adapter.opt_outs(cursor), timeout=timeout, fresh=fresh
            )
            async for number in pages:
                await self._opt_outs.add(number, OptOutSource.VENDOR, vendor)
        async for entry in self._opt_outs.all():
            yield entry

    async def opt_out(self, number: str, *, timeout: float | None = None) -> OptOut:
        """Send this number nothing any more. Kept here, for all vendors."""
        with self._within(timeout, "sms.opt_out"):
            return await self._opt_outs.add(_number(number), OptOutSource.CALLER)

    async def opt_in(self, number: str, *, timeout: float | None = None) -> None:
        """Take a number off the list here, and off those of vendors that let us; only on the person's own wish.

        Some vendors go on refusing until the person texts START.
        """
        wanted = _number(number)
        for target in self._route.targets:
            if "opt_in" not in target.facts.unsupported:
                await self._route.one(
                    OPT_IN, target.facts.vendor, lambda adapter: adapter.opt_in(wanted), timeout=timeout
                )
        await self._opt_outs.remove(wanted)

    def segments(self, body: str) -> Segments:
        """How many parts a text is sent and billed as. A vendor that splits between words may need more (SNS)."""
        return count(body)

    async def webhook(
        self, request: RawRequest, *, vendor: str | None = None, timeout: float | None = None
    ) -> WebhookResult[SmsEvent]:
        """Verify a vendor's request on its raw bytes, then read its events. Raises `WebhookVerificationError`.

        Opt-outs and opt-ins among them are on the list here before this returns.
        """
        with self._within(timeout, "sms.webhook"):
            result = await receive(self._route, request, vendor, operation="sms.webhook")
            events = tuple([await self._learned(event) for event in result.events])
            return result if events == result.events else WebhookResult[SmsEvent](events=events, reply=result.reply)

    @property
    def redirect_to(self) -> str | None:
        """Where all texts go instead (`PROVIDER_SMS_REDIRECT_TO`)."""
        return self._redirect_to

    async def _send(self, adapter: SmsAdapter, message: SmsMessage, tracking_id: str) -> SentSms:
        check_limits(adapter.facts, message, self._context.clock.time())
        sent = await adapter.send(message, tracking_id)
        store = self._context.store
        try:
            if "find" not in adapter.facts.unsupported:
                # It answers this call, and must not be found for one of the same words that was lost.
                await store.put([(_found(sent.ref), b"1")], ttl=FOUND)
            if not adapter.correlates and (message.metadata or message.tags):
                told = {"metadata": dict(message.metadata), "tags": list(message.tags)}
                await store.put([(self._memory(sent.ref.vendor, sent.ref.id), to_json(told))], ttl=REMEMBERED)
        except ProviderError:
            # The text is on its way: this must not pass for a failure.
            logger.exception("%s could not be remembered with its tags and metadata", sent.ref)
        return sent

    async def _find(self, adapter: SmsAdapter, message: SmsMessage, since: float) -> SentSms | None:
        """A text that stands for no other unknown write yet."""
        for sent in await adapter.find(message, since):
            (there,) = await self._context.store.claim([(_found(sent.ref), b"1")], ttl=FOUND)
            if there is None:
                return sent
        return None

    async def _learned(self, event: SmsEvent) -> SmsEvent:
        """The event with what is remembered of its text; the list of opt-outs follows it."""
        if event.type is SmsEventType.OPTED_OUT:
            source = OptOutSource.REPLY if event.body is not None else OptOutSource.REFUSED
            await self._opt_outs.add(event.recipient, source, event.vendor)
        elif event.type is SmsEventType.OPTED_IN:
            await self._opt_outs.remove(event.recipient)
        if not event.message_id or event.type in {SmsEventType.RECEIVED, SmsEventType.UNKNOWN}:
            return event
        if tracking_id := event.metadata.get("pm_id"):
            await self._settle(event, tracking_id)
        if event.metadata or event.tags:
            return event
        kept = await self._context.store.get(self._memory(event.vendor, event.message_id))
        told = from_json(kept) if kept is not None else None
        return event if not isinstance(told, dict) else SmsEvent.model_validate({**dict(event), **told})

    async def _settle(self, event: SmsEvent, tracking_id: str) -> None:
        """A text of which nobody knew whether it was taken: it was."""
        waiting = await self._context.store.get(self._waiting(tracking_id))
        told = from_json(waiting) if waiting is not None else None
        if isinstance(told, dict):
            sent = SentSms(
                ref=Ref(vendor=event.vendor, id=event.message_id),
                recipient=event.recipient,
                segments=int(str(told["segments"])),
                status=SmsState(event.type.value),
            )
            await self._route.settle(SEND, str(told["key"]), sent)

    def _waiting(self, tracking_id: str) -> str:
        return f"sms/unknown/{self._context.scope}/{tracking_id}"

    def _memory(self, vendor: str, message_id: str) -> str:
        return f"sms/sent/{self._context.scope}/{vendor}:{message_id}"


def check_limits(facts: VendorFacts, message: SmsMessage, moment: float) -> None:
    """Raise for what this vendor is known to refuse or cannot express, before anything is sent."""
    refuse_features(facts, message)
    if message.send_at is None:
        return
    ahead = message.send_at.timestamp() - moment
    soonest, latest = facts.limits.get("schedule_soonest", 0), facts.limits.get("schedule_latest", ahead)
    if not soonest <= ahead <= latest:
        msg = f"send_at: {facts.title} takes texts {soonest // 60} minutes to {int(latest) // 86_400} days ahead"
        raise InvalidRequestError(msg, field="send_at", code="schedule")


def _found(ref: Ref) -> str:
    """Of all tenants: those without an account of their own share the platform's list of texts."""
    return f"sms/found/{ref}"


def _number(text: str) -> str:
    try:
        return normalise(text)
    except ValueError as error:
        msg = f"number: {error}"
        raise InvalidRequestError(msg, field="number") from None
