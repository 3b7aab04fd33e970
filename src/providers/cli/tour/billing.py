"""The tour's part for billing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from providers.cli.tour.step import Step, Tour
from providers.core.errors import NotFoundError, ProviderError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from providers.billing.api import Billing
    from providers.billing.models import Customer, Subscription

SHOP = "https://shop.example.com/billing"


async def show(tour: Tour) -> AsyncIterator[Step]:
    """Billing: the catalogue, a customer, a subscription and its change, a refund, the invoices."""
    billing = tour.p.billing
    yield await _catalog(billing)
    yield await _unknown_price(billing)
    if tour.live:
        yield Step(title="A customer subscribes, changes and is refunded", skipped="it would be real money")
        return
    customer = await billing.ensure_customer(
        email="ada@example.com", name="Ada", metadata={"service": "trendscout", "user_id": "17"}
    )
    yield Step(title="A customer, made if there is none", lines=(f"{customer.ref} {customer.email}",), data=customer)
    async for step in _subscription(billing, customer):
        yield step
    yield await _refund(billing, tour.run)
    invoices = [invoice async for invoice in billing.invoices(customer.ref)]
    lines = [f"{invoice.number or invoice.ref}  {invoice.status.value:6} {invoice.total}" for invoice in invoices[:3]]
    yield Step(title="The invoices, newest first", lines=tuple(lines) or ("none yet",), data=invoices)


async def _catalog(billing: Billing) -> Step:
    from providers.billing.platform import PLATFORM_PLANS

    plan = await billing.sync_catalog(PLATFORM_PLANS, dry_run=True)
    shown = [f"{change.action.value:8} {change.kind.value:8} {change.key}" for change in plan.changed[:3]]
    more = len(plan.changed) - len(shown)
    lines = [f"{len(plan.changes)} products and prices of ten services, {len(plan.changed)} to change", *shown]
    return Step(
        title="What is sold, compared with the vendor's catalogue (nothing is changed)",
        lines=(*lines, f"and {more} more") if more else tuple(lines),
        data=plan,
    )


async def _unknown_price(billing: Billing) -> Step:
    try:
        await billing.price("no_such_plan_monthly")
    except NotFoundError as error:
        return Step(
            title="A price nobody knows: an error, never somebody's upgrade",
            lines=(f"NotFoundError, field {error.field}: {error.message}",),
            data={"error": type(error).__name__, "field": error.field, "message": error.message},
        )
    msg = "a price that does not exist was found"
    raise ProviderError(msg)


async def _subscription(billing: Billing, customer: Customer) -> AsyncIterator[Step]:
    from providers.billing.models import Proration

    session = await billing.subscription_checkout(
        customer=customer.ref,
        price="trendscout_pro_monthly",
        success_url=SHOP + "?session_id={CHECKOUT_SESSION_ID}",
        cancel_url=SHOP,
        metadata={"service": "trendscout", "user_id": "17", "plan": "pro"},
    )
    if session.subscription is None:
        msg = "the demo's checkout made no subscription"
        raise ProviderError(msg)
    subscription = await billing.subscription(session.subscription)
    yield Step(
        title="They subscribe: a page to send them to, and what it made",
        lines=(f"{session.ref} {session.status.value}", _line(subscription)),
        data=subscription,
    )
    preview = await billing.preview_change(subscription.ref, "trendscout_enterprise_monthly", proration=Proration.NOW)
    changed = await billing.change_plan(
        subscription.ref, "trendscout_enterprise_monthly", proration=Proration.NOW, at=preview.at
    )
    yield Step(
        title="They want more: what it costs now, then the change",
        lines=(f"due now: {preview.due_now}", _line(changed)),
        data={"preview": preview, "subscription": changed},
    )
    ending = await billing.cancel(subscription.ref)
    back = await billing.resume(subscription.ref)
    over = await billing.cancel(subscription.ref, at_period_end=False)
    yield Step(
        title="They leave at the period's end, come back, and leave at once",
        lines=tuple(_line(each) for each in (ending, back, over)),
        data=over,
    )


async def _refund(billing: Billing, run: str) -> Step:
    from decimal import Decimal

    from providers.billing.models import CheckoutLine
    from providers.core.models import Money

    lines = [CheckoutLine(title="Yoga mat", unit_price=Money(amount=Decimal(4980), currency="JPY"))]
    session = await billing.payment_checkout(
        lines, customer_email="ada@example.com", success_url=SHOP, cancel_url=SHOP, idempotency_key=f"order-{run}"
    )
    part = Money(amount=Decimal(1500), currency="JPY")
    first = await billing.refund(session.ref, amount=part, idempotency_key=f"return-{run}")
    again = await billing.refund(session.ref, amount=part, idempotency_key=f"return-{run}")
    if first.ref != again.ref:
        msg = f"the money went back twice: {first.ref} and {again.ref}"
        raise ProviderError(msg)
    rest = await billing.refund(session.ref)
    return Step(
        title="An order in yen is paid, a part sent back (twice asked, once done), then the rest",
        lines=(f"paid: {session.amount}", f"{first.amount}: {first.ref}", f"{rest.amount}: {rest.ref}"),
        data=[first, rest],
    )


def _line(subscription: Subscription) -> str:
    ends = f", ends {subscription.period_end:%Y-%m-%d}" if subscription.cancel_at_period_end else ""
    return f"{subscription.lookup_key}: {subscription.status.value}{ends}"
