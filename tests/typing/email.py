"""E-mail as a caller types it, and an adapter as a vendor's author does. Checked, never run."""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import assert_type

from providers import CheckResult, CheckState, Providers, RawRequest, Ref, WebhookEndpoint, WebhookResult
from providers.core.account import Account
from providers.core.operation import VendorFacts
from providers.email import (
    Attachment,
    CampaignStatus,
    Email,
    EmailAdapter,
    EmailEvent,
    EmailEventType,
    EmailMessage,
    MessageRef,
    MessageStatus,
    Recipient,
    SendingDomain,
    SendOutcome,
    SendState,
    Suppression,
)
from providers.email.api import Personal
from providers.errors import NotFoundError, ProviderError


def message() -> EmailMessage:
    return EmailMessage(
        to=("Ann <ann@example.com>",),
        subject="Hi {{name}}",
        html="<p>Hi {{name}}</p>",
        text="Hi {{name}}",
        sender="shop@example.com",
        headers={"X-Order": "7"},
        attachments=(Attachment(filename="a.txt", content=b"a", content_type="text/plain"),),
        tags=("order",),
        metadata={"order": "7"},
        variables={"name": "Ann", "count": 3},
        idempotency_key="order-7",
        vendor_options={"sendgrid": {"asm": {"group_id": 7}}},
    )


async def sending(email: Email) -> None:
    ref = await email.send(message(), idempotency_key="order-7", timeout=5)
    assert_type(ref, MessageRef)
    assert_type(ref.dry_run, bool)
    name: Ref = ref
    status = await email.status(name, fresh=True)
    assert_type(status, MessageStatus)
    assert_type(await email.status(str(ref)), MessageStatus)
    outcomes = await email.send_many([message(), message()])
    assert_type(outcomes, list[SendOutcome])
    assert_type(outcomes[0].state, SendState)
    assert_type(outcomes[0].ref, MessageRef | None)
    assert_type(outcomes[0].error, ProviderError | None)


async def people() -> AsyncIterator[Recipient]:
    yield Recipient(email="ann@example.com", name="Ann", variables={"name": "Ann"}, key="customer-1")


async def campaign(p: Providers, customers: Iterable[Recipient]) -> None:
    async for outcome in p.email.send_campaign(message(), customers, idempotency_key="spring"):
        assert_type(outcome, SendOutcome)
    async for outcome in p.email.send_campaign(message(), people(), idempotency_key="spring"):
        assert_type(outcome.recipient, str)
    status = await p.email.campaign("spring")
    assert_type(status, CampaignStatus)
    assert_type(status.sent, int)
    async for mail in status.unknowns():
        await status.resolve(mail.key, "sent")
    assert_type(await p.email.forget("ann@example.com"), int)


async def lists(email: Email) -> None:
    async for entry in email.suppressions(vendor="sendgrid"):
        assert_type(entry, Suppression)
    await email.suppress("ann@example.com")
    await email.unsuppress("ann@example.com", timeout=3)
    assert_type(await email.domain("shop.example.com"), SendingDomain)


async def webhooks(email: Email, request: RawRequest) -> int:
    result = await email.webhook(request, vendor="sendgrid")
    assert_type(result, WebhookResult[EmailEvent])
    for event in result.events:
        assert_type(event.type, EmailEventType)
        assert_type(event.type.rank, int)
        assert_type(event.permanent, bool | None)
    assert_type(await email.ensure_webhook("https://shop.example.com/hooks"), WebhookEndpoint)
    return result.reply.status


class OwnEmail:
    """A vendor of somebody else's: everything `EmailAdapter` names."""

    facts = VendorFacts(vendor="own", capability="email", title="Own", adapter="own:OwnEmail")

    def __init__(self, account: Account) -> None:
        self._key = account.get("OWN_KEY")

    def translate(self, error: Exception) -> ProviderError | None:
        return NotFoundError("gone") if isinstance(error, KeyError) else None

    async def send(self, message: EmailMessage, tracking_id: str) -> MessageRef:
        return MessageRef(vendor="own", id=tracking_id)

    async def send_batch(
        self, message: EmailMessage, recipients: Sequence[Personal]
    ) -> list[MessageRef | ProviderError]:
        return [MessageRef(vendor="own", id=one.tracking_id) for one in recipients]

    async def status(self, ref: Ref) -> MessageStatus:
        return MessageStatus(ref=ref, recipient="", state="delivered")

    async def suppressions(self, cursor: str) -> tuple[list[Suppression], str]:
        return [], ""

    async def suppress(self, email: str) -> None:
        raise NotImplementedError

    async def unsuppress(self, email: str) -> None:
        raise NotImplementedError

    async def domain(self, name: str) -> SendingDomain:
        return SendingDomain(name=name, verified=True, records=(), vendor="own")

    async def ensure_webhook(self, url: str) -> WebhookEndpoint:
        raise NotImplementedError

    def recognises(self, request: RawRequest) -> bool:
        return "x-own" in request.headers

    async def webhook(self, request: RawRequest) -> WebhookResult[EmailEvent]:
        return WebhookResult[EmailEvent](events=())

    async def check(self) -> CheckResult:
        return CheckResult(vendor="own", state=CheckState.OK)

    async def aclose(self) -> None:
        pass


def is_an_adapter(account: Account) -> EmailAdapter:
    return OwnEmail(account)
