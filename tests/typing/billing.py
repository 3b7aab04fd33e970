"""Billing as a caller types it. Checked, never run."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import assert_type

from pydantic import SecretStr

from providers import CheckResult, Money, Providers, RawRequest, Ref, WebhookEndpoint, WebhookResult
from providers.billing import (
    Billing,
    BillingEvent,
    BillingEventType,
    CatalogAction,
    CatalogPlan,
    ChangePreview,
    CheckoutLine,
    CheckoutSession,
    CheckoutStatus,
    Customer,
    DemoBilling,
    Dispute,
    Interval,
    Invoice,
    InvoiceStatus,
    PaymentStatus,
    Plan,
    PortalSession,
    Price,
    Proration,
    Refund,
    RefundReason,
    RefundStatus,
    StripeBilling,
    Subscription,
    SubscriptionStatus,
    UsageRecord,
)

THANKS, CART = "https://shop.example.com/thanks", "https://shop.example.com/cart"


def usd(amount: str) -> Money:
    return Money(amount=Decimal(amount), currency="USD")


async def customers(billing: Billing) -> None:
    customer = await billing.ensure_customer(email="ann@example.com", name="Ann", metadata={"user_id": "7"})
    assert_type(customer, Customer)
    assert_type(customer.email, str | None)
    assert_type(customer.metadata, Mapping[str, str])
    assert_type(await billing.customer(customer.ref, fresh=True), Customer)
    assert_type(await billing.customer(str(customer.ref)), Customer)
    assert_type(await billing.portal(customer.ref, return_url=THANKS), PortalSession)


async def selling(p: Providers, customer: Customer) -> None:
    page = await p.billing.subscription_checkout(
        customer=customer.ref, price="trendscout_pro_monthly", trial_days=14, success_url=THANKS, cancel_url=CART
    )
    assert_type(page, CheckoutSession)
    assert_type(page.url, str | None)
    assert_type(page.expires_at, datetime)
    assert_type(page.status, CheckoutStatus)
    assert_type(page.payment_status, PaymentStatus)
    assert_type(page.subscription, Ref | None)
    lines = (CheckoutLine(title=name, unit_price=usd("9.90"), quantity=2) for name in ("Mug", "Mat"))
    paid = await p.billing.payment_checkout(
        lines, customer_email="ann@example.com", success_url=THANKS, cancel_url=CART, idempotency_key="cart-7"
    )
    assert_type(paid, CheckoutSession)
    assert_type(await p.billing.checkout(paid.ref), CheckoutSession)
    assert_type(await p.billing.expire_checkout(paid.ref), CheckoutSession)


async def subscriptions(billing: Billing, ref: Ref) -> None:
    subscription = await billing.subscription(ref)
    assert_type(subscription, Subscription)
    assert_type(subscription.status, SubscriptionStatus)
    assert_type(subscription.status.over, bool)
    assert_type(subscription.lookup_key, str | None)
    async for each in billing.subscriptions(subscription.customer):
        assert_type(each, Subscription)
    preview = await billing.preview_change(ref, "trendscout_enterprise_monthly", proration=Proration.NOW)
    assert_type(preview, ChangePreview)
    assert_type(preview.due_now, Money)
    changed = await billing.change_plan(ref, "trendscout_enterprise_monthly", at=preview.at, idempotency_key="up-7")
    assert_type(changed, Subscription)
    assert_type(await billing.cancel(ref), Subscription)
    assert_type(await billing.resume(ref, timeout=5), Subscription)


async def money(billing: Billing, session: CheckoutSession) -> None:
    refund = await billing.refund(
        session.ref, amount=usd("5"), reason=RefundReason.REQUESTED, idempotency_key="return-7"
    )
    assert_type(refund, Refund)
    assert_type(refund.status, RefundStatus)
    assert_type(refund.amount, Money)
    async for invoice in billing.invoices("stripe:cus_1"):
        assert_type(invoice, Invoice)
        assert_type(invoice.status, InvoiceStatus)
    assert_type(await billing.invoice("stripe:in_1"), Invoice)
    async for dispute in billing.disputes():
        assert_type(dispute, Dispute)
    assert_type(await billing.record_usage("stripe:cus_1", meter="calls", quantity=7), UsageRecord)


async def catalogue(billing: Billing) -> None:
    plan = Plan(service="trendscout", plan="pro", amount=usd("29"), interval=Interval.MONTH)
    done = await billing.sync_catalog([plan], dry_run=True)
    assert_type(done, CatalogPlan)
    assert_type([change.action for change in done.changed], list[CatalogAction])
    price = await billing.price("trendscout_pro_monthly")
    assert_type(price, Price)
    assert_type(price.amount, Money | None)


async def webhooks(billing: Billing, request: RawRequest) -> int:
    result = await billing.webhook(request)
    assert_type(result, WebhookResult[BillingEvent])
    for event in result.events:
        assert_type(event.type, BillingEventType)
        assert_type(event.subscription, Subscription | None)
        assert_type(event.refund, Refund | None)
        assert_type(event.livemode, bool)
    endpoint = await billing.ensure_webhook("https://shop.example.com/hooks")
    assert_type(endpoint, WebhookEndpoint)
    assert_type(endpoint.secret, SecretStr | None)
    return result.reply.status


async def reaching(billing: Billing) -> None:
    assert_type(billing.unwrap(StripeBilling), StripeBilling)
    assert_type(billing.unwrap(DemoBilling), DemoBilling)
    assert_type(await billing.check(), list[CheckResult])


async def mistakes(p: Providers, session: CheckoutSession) -> None:
    await p.billing.refund(session)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await p.billing.refund(session.ref, amount=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await p.billing.refund(session.ref, reason="bored")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await p.billing.ensure_customer("ann@example.com")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await p.billing.payment_checkout([], success_url=THANKS)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await p.billing.disputes()  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
