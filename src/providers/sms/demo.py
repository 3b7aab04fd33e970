"""Made-up SMS: keeps the last texts, makes their events, and fails where the number asks for it."""

from __future__ import annotations

import secrets
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from pydantic import TypeAdapter
from pydantic_core import to_json

from providers.core.clock import utc
from providers.core.errors import (
    BadResponseError,
    InvalidRequestError,
    Outcome,
    ProviderError,
    ProviderTimeoutError,
    RejectedError,
)
from providers.core.faults import BY_WORD
from providers.core.models import CheckResult, CheckState, Model, Money, RawRequest, Ref, WebhookResult
from providers.demo import webhooks
from providers.sms.events import SmsEvent, SmsEventType, incoming
from providers.sms.facts import DEMO
from providers.sms.models import SentSms, SmsState, SmsStatus
from providers.sms.number import normalise
from providers.sms.opt_outs import CODE
from providers.sms.segments import count

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pydantic import JsonValue

    from providers.core.account import Account
    from providers.sms.models import SmsMessage

KEPT = 5000
"""Texts that are kept; older ones are forgotten, so that a long demo does not grow."""

NUMBER = "+15005550006"
"""Ours, where the message names no sender."""


class Happening(NamedTuple):
    """One event in a text's life."""

    type: SmsEventType
    code: str = ""
    reason: str = ""
    permanent: bool | None = None


class Fate(NamedTuple):
    """What happens to texts for numbers of one ending: the call fails, or events follow; or both, the answer lost."""

    what: str
    then: tuple[Happening, ...] = ()
    error: Callable[[], ProviderError] | None = None


SENT = Happening(SmsEventType.SENT)
DELIVERED = Fate("delivered", (SENT, Happening(SmsEventType.DELIVERED)))


def _undelivered(code: str, reason: str, *, permanent: bool | None) -> tuple[Happening, ...]:
    return (SENT, Happening(SmsEventType.UNDELIVERED, code, reason, permanent))


def _invalid(code: str, reason: str) -> Callable[[], ProviderError]:
    return lambda: InvalidRequestError(f"to: {reason}", field="to", code=code)


FATES: dict[str, Fate] = {
    "0003": Fate("not delivered: the phone is off", _undelivered("30003", "unreachable handset", permanent=False)),
    "0005": Fate("not delivered, for good: nobody has it", _undelivered("30005", "unknown number", permanent=True)),
    "0007": Fate("not delivered: taken for spam", _undelivered("30007", "blocked by the carrier", permanent=False)),
    "0008": Fate("not delivered: nobody says why", _undelivered("30008", "unknown error", permanent=None)),
    "0034": Fate("failed", (Happening(SmsEventType.FAILED, "30034", "our number is not registered", permanent=False),)),
    "2542": Fate("delivered; the link is clicked", (*DELIVERED.then, Happening(SmsEventType.CLICKED))),
    "7867": Fate("delivered; the answer is STOP", (*DELIVERED.then, Happening(SmsEventType.OPTED_OUT))),
    "1211": Fate("no such number", error=_invalid("21211", "the demo knows no such number")),
    "1614": Fate("a landline", error=_invalid("21614", "the demo knows this as a landline")),
    "1610": Fate("opted out", error=lambda: RejectedError("to: opted out of texts", code=CODE, field="to")),
    "0401": Fate("wrong credential", error=BY_WORD["unauthorized"]),
    "0402": Fate("nothing left of the plan", error=BY_WORD["quota"]),
    "0403": Fate("not allowed", error=BY_WORD["denied"]),
    "0408": Fate(
        "delivered, but the answer is lost: found by look-up",
        DELIVERED.then,
        lambda: ProviderTimeoutError("the demo's answer got lost", outcome=Outcome.UNKNOWN),
    ),
    "0422": Fate("rejected as spam", error=BY_WORD["rejected"]),
    "0429": Fate("too many calls; repeat after 30 seconds", error=BY_WORD["ratelimited"]),
    "0503": Fate("down; nothing was sent", error=BY_WORD["unavailable"]),
    "0504": Fate("no answer: nobody knows whether it was sent", error=BY_WORD["timeout"]),
}
"""The last four digits of a number -> what becomes of its texts; all others are delivered.

Delivery failures end like Twilio's codes for them, refusals like its codes or like HTTP statuses, 7867 spells STOP and
2542 CLIC.
"""

STATES = {
    one.type: SmsState(one.type.value) for fate in (DELIVERED, *FATES.values()) for one in fate.then if one.type.rank
}


class DemoText(Model):
    """A text as the demo kept it. `at` is when it is sent: in the future, it waits. `fate` is the number's ending."""

    id: str
    to: str
    sender: str
    body: str
    kind: str
    segments: int
    fate: str
    made: float
    at: float
    metadata: dict[str, str]
    tags: tuple[str, ...]


class DemoSms:
    """An SMS vendor that sends nothing. State is in the store, so that all processes that share it see it."""

    facts = DEMO
    correlates = True

    def __init__(self, account: Account) -> None:
        self._store = account.store
        self._clock = account.clock
        self._faults = account.faults
        self._url = account.webhook_url
        self._prefix = f"demo/{account.tenant}/sms/"
        self._deliver = account.deliver

    def translate(self, error: Exception) -> ProviderError | None:
        """The demo raises our errors itself."""
        del error
        return None

    async def send(self, message: SmsMessage, tracking_id: str) -> SentSms:
        """Keep it, unless the number's ending says otherwise or the person texted STOP."""
        self._faults.strike("sms.send")
        fate = _fate(message.to)
        if fate.error is not None and not fate.then:
            raise fate.error()
        if await self._store.get(self._prefix + "opted-out/" + message.to) is not None:
            msg = f"to: {message.to} texted STOP"
            raise RejectedError(msg, code=CODE, field="to")
        sent = await self._keep(message, fate, {**message.metadata, "pm_id": tracking_id})
        if fate.error is not None:
            raise fate.error()
        return sent

    async def find(self, message: SmsMessage, since: float) -> list[SentSms]:
        """Among the texts that are kept."""
        self._faults.strike("sms.find")
        made = [
            text
            async for text in self.texts()
            if text.made >= since and (text.to, text.body) == (message.to, message.body)
        ]
        return [_sent(text.id, text.to, text.segments, _state(text, text.made)) for text in sorted(made, key=_serial)]

    async def status(self, ref: Ref) -> SmsStatus:
        """What became of it; a text that was forgotten was delivered."""
        self._faults.strike("sms.status")
        now = self._clock.time()
        await self._catch_up(now)
        text = await self._text(ref.id)
        if text is None:
            return SmsStatus(ref=ref, recipient="", state=SmsState.DELIVERED)
        state = _state(text, now)
        last = next((one for one in _fate(text.to).then if one.type == state.value), SENT)
        return SmsStatus(
            ref=ref,
            recipient=text.to,
            state=state,
            segments=text.segments,
            price=_price(text.segments),
            code=last.code,
            reason=last.reason,
            permanent=last.permanent,
            updated_at=utc(min(text.at, now)),
        )

    async def opt_outs(self, cursor: str) -> tuple[list[str], str]:
        """Who texted STOP, all on one page."""
        del cursor
        prefix = self._prefix + "opted-out/"
        return [key.removeprefix(prefix) async for key, _ in self._store.scan(prefix)], ""

    async def opt_in(self, number: str) -> None:
        """Take it off the list."""
        await self._store.put([(self._prefix + "opted-out/" + number, None)])

    async def receive(self, number: str, body: str, *, to: str = NUMBER) -> SmsEvent:
        """Let a person text us. STOP and START count as such; the signed webhook is on its way when this returns.

        Raises `ValueError` for what is no phone number.
        """
        now = self._clock.time()
        await self._catch_up(now)
        event = await self._incoming(normalise(number), body, to, now)
        self._tell([event], now)
        return event

    def recognises(self, request: RawRequest) -> bool:
        """By the signature header."""
        return webhooks.HEADER in request.headers

    async def webhook(self, request: RawRequest) -> WebhookResult[SmsEvent]:
        """As `_tell` signs it."""
        webhooks.verify(request, self._clock.time())
        try:
            return WebhookResult[SmsEvent](events=tuple(_events().validate_json(request.body)))
        except ValueError as error:
            msg = "the webhook is not a list of demo events"
            raise BadResponseError(msg, vendor="demo") from error

    async def check(self) -> CheckResult:
        """Always well."""
        return CheckResult(vendor="demo", state=CheckState.OK, detail="made up: nothing is sent", sandbox=True)

    async def aclose(self) -> None:
        """Nothing of its own."""

    async def texts(self) -> AsyncIterator[DemoText]:
        """The texts that were kept, in no particular order."""
        async for _, value in self._store.scan(self._prefix + "text/"):
            yield DemoText.model_validate_json(value)

    async def _text(self, id_: str) -> DemoText | None:
        number = id_.removeprefix("text-").partition("-")[0]
        try:
            slot = int(number, 16) % KEPT
        except ValueError:
            return None
        kept = await self._store.get(f"{self._prefix}text/{slot:04}")
        text = DemoText.model_validate_json(kept) if kept is not None else None
        return text if text is not None and text.id == id_ else None

    async def _keep(self, message: SmsMessage, fate: Fate, metadata: dict[str, str]) -> SentSms:
        now = self._clock.time()
        await self._catch_up(now)
        number = await self._store.add(self._prefix + "sent", 1) or 0
        id_ = f"text-{number:x}-{secrets.token_hex(3)}"
        segments = count(message.body).segments
        at = now if message.send_at is None else message.send_at.timestamp()
        entry: dict[str, JsonValue] = {
            "id": id_,
            "to": message.to,
            "sender": message.sender or NUMBER,
            "body": message.body,
            "kind": message.kind.value,
            "segments": segments,
            "fate": message.to[-4:] if fate is not DELIVERED else "",
            "made": now,
            "at": at,
            "metadata": {**metadata},
            "tags": list(message.tags),
        }
        kept = to_json(entry)
        await self._store.put([(f"{self._prefix}text/{number % KEPT:04}", kept)])
        if at > now:
            await self._wait(id_, at, kept)
            self._tell([_event(DemoText.model_validate(entry), 0, Happening(SmsEventType.SCHEDULED), now)], now)
            return _sent(id_, message.to, segments, SmsState.SCHEDULED)
        if fate is not DELIVERED or self._url:
            self._tell(await self._happen(DemoText.model_validate(entry)), now)
        return _sent(id_, message.to, segments, SmsState.QUEUED)

    async def _wait(self, id_: str, at: float, kept: bytes) -> None:
        """`due` is the time of the next text that waits, so that other calls need not look through all."""
        due = await self._store.get(self._prefix + "due")
        items: list[tuple[str, bytes | None]] = [(f"{self._prefix}waiting/{at:014.3f}/{id_}", kept)]
        if due is None or at < float(due):
            items.append((self._prefix + "due", str(at).encode()))
        await self._store.put(items)

    async def _catch_up(self, now: float) -> None:
        """Let the events of scheduled texts happen whose time has come: the demo does nothing between calls."""
        due = await self._store.get(self._prefix + "due")
        if due is None or now < float(due) or not await self._store.swap(self._prefix + "due", due, None):
            return
        events: list[SmsEvent] = []
        over: list[tuple[str, bytes | None]] = []
        async for key, value in self._store.scan(self._prefix + "waiting/"):
            text = DemoText.model_validate_json(value)
            if text.at > now:
                over.append((self._prefix + "due", str(text.at).encode()))
                break
            over.append((key, None))
            events += await self._happen(text)
        await self._store.put(over)
        self._tell(events, now)

    async def _happen(self, text: DemoText) -> list[SmsEvent]:
        events: list[SmsEvent] = []
        for number, happening in enumerate(_fate(text.to).then, 1):
            if happening.type is SmsEventType.OPTED_OUT:
                events.append(await self._incoming(text.to, "STOP", text.sender, text.at))
            else:
                events.append(_event(text, number, happening, text.at))
        return events

    async def _incoming(self, number: str, body: str, to: str, at: float) -> SmsEvent:
        kind = incoming(body)
        if kind is SmsEventType.OPTED_OUT:
            await self._store.put([(self._prefix + "opted-out/" + number, b"1")])
        elif kind is SmsEventType.OPTED_IN:
            await self.opt_in(number)
        id_ = f"text-in-{secrets.token_hex(6)}"
        return SmsEvent(
            type=kind,
            event_id=f"{id_}-0",
            message_id=id_,
            recipient=number,
            occurred_at=utc(at),
            sender=to,
            body=body,
            segments=count(body).segments,
            vendor="demo",
        )

    def _tell(self, events: list[SmsEvent], now: float) -> None:
        if self._url and events:
            body = to_json(events)
            self._deliver(self._url, body, webhooks.sign(body, now))


@cache
def _events() -> TypeAdapter[list[SmsEvent]]:
    return TypeAdapter(list[SmsEvent])


def _fate(number: str) -> Fate:
    return FATES.get(number[-4:], DELIVERED)


def _serial(text: DemoText) -> int:
    return int(text.id.split("-")[1], 16)


def _price(segments: int) -> Money:
    return Money(amount=DEMO.prices["segment"] * segments, currency="USD")


def _sent(id_: str, to: str, segments: int, status: SmsState) -> SentSms:
    ref = Ref(vendor="demo", id=id_)
    return SentSms(ref=ref, recipient=to, segments=segments, status=status, price=_price(segments))


def _state(text: DemoText, now: float) -> SmsState:
    if text.at > now:
        return SmsState.SCHEDULED
    return [STATES[one.type] for one in _fate(text.to).then if one.type in STATES][-1]


def _event(text: DemoText, number: int, happening: Happening, at: float) -> SmsEvent:
    return SmsEvent(
        type=happening.type,
        event_id=f"{text.id}-{number}",
        message_id=text.id,
        recipient=text.to,
        occurred_at=utc(at),
        sender=text.sender,
        code=happening.code,
        reason=happening.reason,
        permanent=happening.permanent,
        click_url="https://shop.example.com/" if happening.type is SmsEventType.CLICKED else None,
        segments=text.segments,
        price=_price(text.segments),
        metadata=text.metadata,
        tags=text.tags,
        vendor="demo",
    )
