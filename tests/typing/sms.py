"""SMS as a caller types it, and an adapter as a vendor's author does. Checked, never run."""

from collections.abc import Iterable
from datetime import datetime
from typing import assert_type

from providers import CheckResult, CheckState, Money, Providers, RawRequest, Ref, WebhookResult
from providers.core.account import Account
from providers.core.operation import VendorFacts
from providers.errors import NotFoundError, ProviderError
from providers.sms import (
    DemoSms,
    Encoding,
    OptOut,
    OptOutSource,
    Segments,
    SendOutcome,
    SendState,
    SentSms,
    Sms,
    SmsAdapter,
    SmsEvent,
    SmsEventType,
    SmsKind,
    SmsMessage,
    SmsState,
    SmsStatus,
    SnsSms,
    TwilioSms,
)


def message() -> SmsMessage:
    return SmsMessage(
        to="+15551230001",
        body="Your order has shipped.",
        sender="MG00000000000000000000000000000000",
        kind=SmsKind.PROMOTIONAL,
        valid_for=3600,
        tags=("order",),
        metadata={"order": "7"},
        idempotency_key="order-7",
        vendor_options={"twilio": {"SmartEncoded": True}},
    )


async def sending(sms: Sms) -> None:
    sent = await sms.send(message(), idempotency_key="order-7", timeout=5)
    assert_type(sent, SentSms)
    assert_type(sent.ref, Ref)
    assert_type(sent.segments, int)
    assert_type(sent.price, Money | None)
    assert_type(sent.status, SmsState)
    status = await sms.status(sent.ref, fresh=True)
    assert_type(status, SmsStatus)
    assert_type(status.permanent, bool | None)
    assert_type(await sms.status(str(sent.ref)), SmsStatus)


async def many(p: Providers, texts: Iterable[SmsMessage]) -> None:
    outcomes = await p.sms.send_many(texts)
    assert_type(outcomes, list[SendOutcome])
    assert_type(outcomes[0].state, SendState)
    assert_type(outcomes[0].sent, SentSms | None)
    assert_type(outcomes[0].error, ProviderError | None)


async def lists(sms: Sms) -> None:
    async for entry in sms.opt_outs():
        assert_type(entry, OptOut)
        assert_type(entry.source, OptOutSource)
        assert_type(entry.since, datetime)
    assert_type(await sms.opt_out("+15551230001"), OptOut)
    await sms.opt_in("+15551230001", timeout=3)


def counting(sms: Sms) -> None:
    parts = sms.segments("Hello")
    assert_type(parts, Segments)
    assert_type(parts.segments, int)
    assert_type(parts.encoding, Encoding)


async def webhooks(sms: Sms, request: RawRequest) -> int:
    result = await sms.webhook(request, vendor="twilio")
    assert_type(result, WebhookResult[SmsEvent])
    for event in result.events:
        assert_type(event.type, SmsEventType)
        assert_type(event.type.rank, int)
        assert_type(event.body, str | None)
    return result.reply.status


async def reaching(sms: Sms) -> None:
    assert_type(sms.unwrap(TwilioSms), TwilioSms)
    assert_type(sms.unwrap(SnsSms), SnsSms)
    assert_type(sms.unwrap(DemoSms), DemoSms)
    assert_type(await sms.check(), list[CheckResult])
    assert_type(sms.redirect_to, str | None)


class OwnSms:
    """A vendor of somebody else's: everything `SmsAdapter` names."""

    facts = VendorFacts(vendor="own", capability="sms", title="Own", adapter="own:OwnSms")
    correlates = True

    def __init__(self, account: Account) -> None:
        self._key = account.get("OWN_KEY")

    def translate(self, error: Exception) -> ProviderError | None:
        return NotFoundError("gone") if isinstance(error, KeyError) else None

    async def send(self, message: SmsMessage, tracking_id: str) -> SentSms:
        ref = Ref(vendor="own", id=tracking_id)
        return SentSms(ref=ref, recipient=message.to, segments=1, status=SmsState.QUEUED)

    async def find(self, message: SmsMessage, since: float) -> list[SentSms]:
        return []

    async def status(self, ref: Ref) -> SmsStatus:
        return SmsStatus(ref=ref, recipient="", state=SmsState.SENT)

    async def opt_outs(self, cursor: str) -> tuple[list[str], str]:
        return [], ""

    async def opt_in(self, number: str) -> None:
        raise NotImplementedError

    def recognises(self, request: RawRequest) -> bool:
        return "x-own" in request.headers

    async def webhook(self, request: RawRequest) -> WebhookResult[SmsEvent]:
        return WebhookResult[SmsEvent](events=())

    async def check(self) -> CheckResult:
        return CheckResult(vendor="own", state=CheckState.OK)

    async def aclose(self) -> None:
        pass


def is_an_adapter(account: Account) -> SmsAdapter:
    return OwnSms(account)


async def mistakes(p: Providers) -> None:
    await p.sms.send("hello")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await p.sms.send(message(), "order-7")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await p.sms.status(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await p.sms.opt_outs()  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    p.sms.unwrap("twilio")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
