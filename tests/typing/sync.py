"""The blocking face as a caller types it, and what type checkers must refuse of it. Checked, never run."""

from collections.abc import AsyncIterator, Generator, Iterable, Iterator, Mapping
from typing import assert_type

from providers import CheckResult, Money, RawRequest, Settings, UnknownWrite, WebhookEndpoint, WebhookResult, sync
from providers.billing import BillingEvent, CheckoutLine, CheckoutSession, Customer, Invoice, Refund, StripeBilling
from providers.core.models import CredentialSource as AsyncCredentialSource
from providers.core.transport import HttpResponse
from providers.core.writes import Resolution
from providers.email import (
    DemoEmail,
    EmailEvent,
    EmailMessage,
    MessageRef,
    MessageStatus,
    Recipient,
    SendGridEmail,
    SendingDomain,
    SendOutcome,
    Suppression,
    UnknownMail,
)
from providers.sms import OptOut, Segments, SentSms, SmsEvent, SmsMessage, SmsStatus, TwilioSms
from providers.sms import SendOutcome as TextOutcome
from providers.sync import Billing, CampaignStatus, CredentialSource, Email, Providers, Scope, Sms, Writes


class Vault:
    """A service's own store of tokens, blocking."""

    def get(self, vendor: str) -> Mapping[str, str]:
        return {vendor: ""}

    def put(self, vendor: str, values: Mapping[str, str]) -> None:
        del vendor, values


class AsyncVault:
    """The same, asynchronous."""

    async def get(self, vendor: str) -> Mapping[str, str]:
        return {vendor: ""}

    async def put(self, vendor: str, values: Mapping[str, str]) -> None:
        del vendor, values


def opening(settings: Settings) -> None:
    with Providers() as p:
        assert_type(p, Providers)
        assert_type(p.email, Email)
        assert_type(p.sms, Sms)
        assert_type(p.billing, Billing)
        assert_type(p.email.vendors, tuple[str, ...])
        assert_type(p.email.unwrap(DemoEmail), DemoEmail)
        assert_type(p.unknowns, Writes)
    Providers(settings, capabilities=("email",), hooks=[]).close()
    assert_type(sync.current(), Scope)
    with sync.use(Providers()) as scope:
        assert_type(scope, Scope)
    sync.reset()
    sync.close()


def tenants(p: Providers) -> None:
    blocking: CredentialSource = Vault()
    other: AsyncCredentialSource = AsyncVault()
    assert_type(p.scoped("m-1"), Scope)
    assert_type(p.scoped("m-1", credentials={"SENDGRID_API_KEY": "x"}).email, Email)
    p.scoped("m-2", credentials=blocking, budgets={"sendgrid": "10/day"})
    p.scoped("m-3", credentials=other, vendors={"email": "demo"})
    p.scoped("m-4", credentials=Vault())
    p.scoped("m-5", credentials=AsyncVault())


def sending(email: Email, message: EmailMessage) -> None:
    ref = email.send(message, idempotency_key="order-7", timeout=5)
    assert_type(ref, MessageRef)
    assert_type(email.status(ref, fresh=True), MessageStatus)
    assert_type(email.status(str(ref)), MessageStatus)
    assert_type(email.send_many(each for each in [message]), list[SendOutcome])
    assert_type(email.check(), list[CheckResult])


def campaign(email: Email, message: EmailMessage, people: Iterable[Recipient]) -> None:
    outcomes = email.send_campaign(message, people, idempotency_key="spring")
    assert_type(outcomes, Iterator[SendOutcome])
    assert_type([outcome.recipient for outcome in outcomes], list[str])
    status = email.campaign("spring")
    assert_type(status, CampaignStatus)
    assert_type(status.sent, int)
    assert_type(status.unknowns(), Iterator[UnknownMail])
    status.resolve("ann@example.com", "sent")
    assert_type(status.resolve_all("resend"), int)
    assert_type(email.forget("ann@example.com"), int)


def lists(email: Email) -> None:
    assert_type(email.suppressions(vendor="sendgrid"), Iterator[Suppression])
    email.suppress("ann@example.com")
    email.unsuppress("ann@example.com", timeout=3)
    assert_type(email.domain("shop.example.com"), SendingDomain)


def webhooks(email: Email, request: RawRequest) -> None:
    assert_type(email.webhook(request, vendor="sendgrid"), WebhookResult[EmailEvent])
    assert_type(email.ensure_webhook("https://shop.example.com/hooks"), WebhookEndpoint)


def texts(sms: Sms, message: SmsMessage, request: RawRequest) -> None:
    sent = sms.send(message, idempotency_key="order-7", timeout=5)
    assert_type(sent, SentSms)
    assert_type(sms.status(sent.ref), SmsStatus)
    assert_type(sms.send_many(each for each in [message]), list[TextOutcome])
    assert_type(sms.opt_outs(), Iterator[OptOut])
    assert_type(sms.opt_out("+15551230001"), OptOut)
    sms.opt_in("+15551230001")
    assert_type(sms.segments("Hello"), Segments)
    assert_type(sms.webhook(request), WebhookResult[SmsEvent])
    assert_type(sms.unwrap(TwilioSms), TwilioSms)


def payments(billing: Billing, lines: Iterable[CheckoutLine], price: Money, request: RawRequest) -> None:
    customer = billing.ensure_customer(email="ann@example.com")
    assert_type(customer, Customer)
    session = billing.payment_checkout(
        lines, customer=customer.ref, success_url="https://a.example.com", cancel_url="https://b.example.com"
    )
    assert_type(session, CheckoutSession)
    assert_type(billing.refund(session.ref, amount=price, idempotency_key="return-7"), Refund)
    assert_type(billing.invoices(customer.ref), Iterator[Invoice])
    assert_type(billing.webhook(request), WebhookResult[BillingEvent])
    assert_type(billing.ensure_webhook("https://shop.example.com/hooks"), WebhookEndpoint)
    assert_type(billing.unwrap(StripeBilling), StripeBilling)


def unknowns(p: Providers) -> None:
    for write in p.unknowns.unknown():
        assert_type(write, UnknownWrite)
        p.unknowns.resolve(write.id, Resolution.APPLIED)


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


def bridging(p: Providers) -> None:
    client = p.email.unwrap(SendGridEmail).client
    assert_type(sync.run(client.request, "GET", "/v3/scopes", params={"page": 1}), HttpResponse)
    assert_type(sync.iterate(numbers, 3), Generator[int])


def mistakes(p: Providers, message: EmailMessage, people: AsyncIterator[Recipient]) -> None:
    p.email.send("hello")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    p.email.send(message, 5)  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]
    p.email.send_campaign(message, [])  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    p.email.send_campaign(message, people, idempotency_key="k")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    p.scoped("m-1", credentials=7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    sync.run(numbers, 3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    sync.iterate(numbers, "3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Providers(state="memory://")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    p.fax.send()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


async def awaiting_what_is_no_promise(p: Providers, message: EmailMessage) -> None:
    await p.email.send(message)  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
