"""What every billing adapter must do, whatever the vendor: the demo, live vendors, and those of other packages.

    class TestPaddle(BillingConformance):
        @pytest.fixture
        def harness(self) -> Iterator[BillingHarness]:
            with PaddleServer() as server:
                yield BillingHarness(
                    open=lambda **parts: Providers(settings(server), **parts),
                    pay=lambda providers, session: server.pay(session.ref.id),
                )

Each test opens its own `Providers` and goes through `providers.billing`, never to the adapter directly.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypedDict, cast

import pytest

from providers.billing.catalog import plan_of
from providers.billing.events import BillingEvent, BillingEventType
from providers.billing.models import (
    CatalogAction,
    CatalogKind,
    CheckoutLine,
    CheckoutSession,
    CheckoutStatus,
    Customer,
    Interval,
    InvoiceStatus,
    PaymentStatus,
    Plan,
    Proration,
    RefundReason,
    RefundStatus,
    Subscription,
    SubscriptionStatus,
)
from providers.core.clock import utc
from providers.core.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    ProviderError,
    RejectedError,
    WebhookVerificationError,
)
from providers.core.models import Model, Money, RawRequest, Ref
from providers.core.writes import Resolution
from providers.testing.clock import ManualClock
from providers.testing.conformance._inbox import Inbox
from providers.testing.conformance._suite import (
    PATIENCE,
    ReceivingConformance,
    check_model,
    collect,
    in_flight,
    invalid,
    needed,
    needs,
    only_what_was_signed,
    proven,
    run,
)

if TYPE_CHECKING:
    from providers.billing.api import BillingAdapter
    from providers.core.operation import VendorFacts
    from providers.runtime import Providers
    from providers.testing.conformance._suite import SlowCalls

DAY = 86_400.0
ANA, BEN = "ana@example.com", "ben@example.com"
FAILING, DISPUTING = "fails@example.com", "dispute@example.com"
"""Customers whose later payments fail, or whose payments are disputed; the demo goes by these addresses."""


class Pages(TypedDict):
    """Where customers come back to."""

    success_url: str
    cancel_url: str


PAGES: Pages = {
    "success_url": "https://shop.example.com/done?session={CHECKOUT_SESSION_ID}",
    "cancel_url": "https://shop.example.com/cart",
}


def dollars(amount: str) -> Money:
    """In USD."""
    return Money(amount=Decimal(amount), currency="USD")


BASIC = Plan(service="acme", plan="basic", amount=dollars("20"), title="Acme", metadata={"plan": "basic"})
PRO = Plan(service="acme", plan="pro", amount=dollars("50"), title="Acme", metadata={"plan": "pro"})
YEARLY = Plan(service="acme", plan="pro", amount=dollars("500"), interval=Interval.YEAR, title="Acme")
METERED = Plan(service="acme_api", plan="calls", amount=dollars("0.05"), title="Acme API", meter="acme_calls")
PLANS = (BASIC, PRO, YEARLY, METERED)


async def nothing_to_do(*_: object) -> None:
    """The vendor does it by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BillingHarness:
    """An adapter under test, and what the suite needs from the world around it.

    Attributes:
        open: a new `Providers` whose `billing` has this adapter as its only vendor. Called several times in one test:
            all share the vendor's account, and keep their state apart unless `open` gives them a common store. With
            `webhook_url=` the vendor's events go there, signed so that these `Providers` can verify them. Other
            keywords (`clock=`) go to `Providers(...)`.
        clock: the clock that the suite passes to `open`; a local server should go by it too.
        pay: complete a checkout as a customer would.
        advance: let seconds pass, and the vendor do what came due.
        decline: let all later payments of a customer (`FAILING`) fail.
        dispute: let the customer's (`DISPUTING`) bank take a payment back. None where nobody can.
        made: how many of a kind (`checkout`, `refund`) the vendor has made. None where nobody can see them.
        stalled: while the context is open, the vendor answers no write. None where it cannot be stopped.
        unknown_event: a request, signed by the vendor, with one event of a type that nobody has heard of.
        delivers: whether the vendor's webhooks reach a port on this machine.
        pending: how many of them are on their way.

    """

    open: Callable[..., Providers]
    clock: ManualClock = field(default_factory=ManualClock)
    pay: Callable[[Providers, CheckoutSession], Awaitable[None]] = nothing_to_do
    advance: Callable[[float], Awaitable[None]]
    decline: Callable[[Providers, Customer], Awaitable[None]] = nothing_to_do
    dispute: Callable[[Providers, Ref], Awaitable[None]] | None = None
    made: Callable[[Providers, str], Awaitable[int]] | None = None
    stalled: Callable[[], AbstractContextManager[object]] | None = None
    unknown_event: Callable[[], RawRequest] | None = None
    delivers: bool = True
    pending: Callable[[], int] = lambda: 0


class BillingConformance(ReceivingConformance["BillingHarness"]):
    """The promises of `providers.billing`. Subclasses give the fixture `harness`."""

    capability = "billing"

    async def slow_calls(self, harness: BillingHarness, providers: Providers, within: float) -> SlowCalls:
        """See `CapabilityConformance`."""
        await providers.billing.check()
        book = CheckoutLine(title="A book", unit_price=dollars("12.34"))
        asked: dict[str, Any] = {**PAGES, "timeout": within, "idempotency_key": "order-1"}
        yield "billing.payment_checkout", providers.billing.payment_checkout([book], **asked)

    def given_up(self, harness: BillingHarness, providers: Providers, error: ProviderError) -> None:
        """A vendor that does it only once for a key may be asked again."""
        if error.operation not in facts(providers).deduplicates:
            super().given_up(harness, providers, error)

    # Customers.

    def test_a_customer_is_made_once_and_brought_up_to_date(self, harness: BillingHarness) -> None:
        """The same address again is the same customer; name and metadata follow what is told."""

        async def scenario(providers: Providers) -> None:
            billing = providers.billing
            told = {"service": "acme", "user_id": "17"}
            first = await billing.ensure_customer(email=f"  {ANA} ", name="Ana", metadata=told)
            assert same(await billing.ensure_customer(email=ANA, metadata=told), first)
            assert (first.email, first.name, first.metadata) == (ANA, "Ana", told)
            assert first.ref.vendor == facts(providers).vendor
            changed = await billing.ensure_customer(email=ANA, name="Ana B", metadata={**told, "plan": "Söhne & 🎈"})
            assert changed.ref == first.ref
            assert (changed.name, changed.metadata["plan"]) == ("Ana B", "Söhne & 🎈")
            found = await billing.customer(str(first.ref))
            assert (found.name, found.metadata) == (changed.name, changed.metadata)
            assert not found.deleted
            check_model(found)
            await invalid("email", billing.ensure_customer(email="not an address"))
            await invalid("metadata", billing.ensure_customer(email=ANA, metadata={"x" * 41: ""}))

        run(harness, scenario)

    def test_one_person_is_a_customer_of_each_service(self, harness: BillingHarness) -> None:
        """Told apart by `service` and `user_id`; who names neither gets one of them."""

        async def scenario(providers: Providers) -> None:
            billing = providers.billing
            one = await billing.ensure_customer(email=ANA, metadata={"service": "acme", "user_id": "17"})
            two = await billing.ensure_customer(email=ANA, metadata={"service": "blog", "user_id": "17"})
            three = await billing.ensure_customer(email=ANA, metadata={"service": "acme", "user_id": "18"})
            assert len({one.ref, two.ref, three.ref}) == 3
            assert (await billing.ensure_customer(email=ANA, metadata={"service": "blog"})).ref == two.ref
            assert (await billing.ensure_customer(email=ANA)).ref in {one.ref, two.ref, three.ref}
            assert (await billing.ensure_customer(email=BEN)).ref not in {one.ref, two.ref, three.ref}

        run(harness, scenario)

    def test_customers_asked_for_at_the_same_time_are_one(self, harness: BillingHarness) -> None:
        """Two requests of one sign-up do not make two customers."""

        async def scenario(providers: Providers) -> None:
            harness.clock.auto = False
            tasks = [asyncio.create_task(providers.billing.ensure_customer(email=ANA)) for _ in range(3)]
            while not all(task.done() for task in tasks):
                harness.clock.advance(0.1)
                await asyncio.sleep(0.001)
            assert len({task.result().ref for task in tasks}) == 1

        run(harness, scenario)

    # The catalogue.

    def test_the_catalogue_is_planned_made_and_then_left_alone(self, harness: BillingHarness) -> None:
        """A dry run makes nothing; the second run finds nothing to do."""

        async def scenario(providers: Providers) -> None:
            billing = providers.billing
            planned = await billing.sync_catalog(PLANS, dry_run=True)
            assert planned.dry_run
            assert {change.action for change in planned.changes} == {CatalogAction.CREATE}
            counted = [change.kind for change in planned.changes]
            assert [counted.count(kind) for kind in CatalogKind] == [1, 2, 4]
            with pytest.raises(NotFoundError):
                await billing.price(BASIC.lookup_key)
            made = await billing.sync_catalog(PLANS)
            assert not made.dry_run
            assert [(one.action, one.kind, one.key) for one in made.changes] == [
                (one.action, one.kind, one.key) for one in planned.changes
            ]
            assert all(one.ref is not None for one in made.changes)
            again = await billing.sync_catalog(PLANS)
            assert again.changed == ()
            check_model(made)

        run(harness, scenario)

    def test_prices_are_found_by_lookup_key_and_by_reference(self, harness: BillingHarness) -> None:
        """With what they cost, how often, and of what."""

        async def scenario(providers: Providers) -> None:
            billing = providers.billing
            await billing.sync_catalog(PLANS)
            for plan in PLANS:
                price = await billing.price(plan.lookup_key)
                assert price.amount == plan.amount
                assert (price.product, price.lookup_key) == (plan.service, plan.lookup_key)
                assert (price.interval, price.interval_count) == (plan.interval, 1)
                assert (price.meter, price.active) == (plan.meter, True)
                assert plan.metadata.items() <= price.metadata.items()
                assert (await billing.price(str(price.ref))).ref == price.ref
                check_model(price)
            with pytest.raises(NotFoundError):
                await billing.price("acme_nothing_monthly")

        run(harness, scenario)

    def test_a_changed_amount_replaces_the_price_and_keeps_old_subscriptions(self, harness: BillingHarness) -> None:
        """The lookup key moves on; who subscribed before pays what they did, until their plan is changed."""

        async def scenario(providers: Providers) -> None:
            billing = providers.billing
            before = await subscribed(harness, providers)
            dearer = BASIC.model_copy(update={"amount": dollars("25")})
            planned = await billing.sync_catalog((dearer,), dry_run=True)
            assert [one.action for one in planned.changed] == [CatalogAction.REPLACE]
            made = await billing.sync_catalog((dearer,))
            assert [one.action for one in made.changed] == [CatalogAction.REPLACE]
            assert (await billing.sync_catalog((dearer,))).changed == ()
            price = await billing.price(BASIC.lookup_key)
            assert price.amount == dollars("25")
            assert price.ref != before.price
            assert (await billing.subscription(before.ref)).price == before.price
            assert not (await billing.price(before.price)).active
            assert (await billing.price(PRO.lookup_key)).amount == PRO.amount
            renamed = BASIC.model_copy(update={"amount": dollars("25"), "title": "Acme & Söhne"})
            updated = (await billing.sync_catalog((renamed,))).changed
            assert [(one.action, one.kind) for one in updated] == [(CatalogAction.UPDATE, CatalogKind.PRODUCT)]

        run(harness, scenario)

    def test_two_plans_under_one_key_are_refused(self, harness: BillingHarness) -> None:
        """Before anything is asked."""

        async def scenario(providers: Providers) -> None:
            await invalid("plans.1.lookup_key", providers.billing.sync_catalog((BASIC, BASIC)))

        run(harness, scenario)

    # Subscriptions.

    def test_a_checkout_becomes_an_active_subscription(self, harness: BillingHarness) -> None:
        """By lookup key, with the period on its item, and the metadata of the checkout."""

        async def scenario(providers: Providers) -> None:
            billing = providers.billing
            told = {"user_id": "17", "plan": "basic"}
            customer = await a_customer(providers)
            session = await billing.subscription_checkout(
                customer=customer.ref, price=BASIC.lookup_key, quantity=3, metadata=told, **PAGES
            )
            assert session.url
            assert session.metadata == told
            assert session.expires_at > now(harness)
            await harness.pay(providers, session)
            done = await billing.checkout(session.ref)
            assert (done.status, done.payment_status) == (CheckoutStatus.COMPLETE, PaymentStatus.PAID)
            assert (done.customer, done.amount) == (customer.ref, dollars("60"))
            assert done.subscription is not None
            check_model(done)
            one = await billing.subscription(done.subscription)
            assert (one.status, one.customer, one.quantity) == (SubscriptionStatus.ACTIVE, customer.ref, 3)
            assert (one.lookup_key, one.metadata) == (BASIC.lookup_key, told)
            assert one.price == (await billing.price(BASIC.lookup_key)).ref
            assert abs(one.period_start - now(harness)) < timedelta(minutes=1)
            assert timedelta(days=28) <= one.period_end - one.period_start <= timedelta(days=31)
            assert (one.items[0].period_start, one.items[0].period_end) == (one.period_start, one.period_end)
            assert one.period_end.day == one.period_start.day
            assert not one.cancel_at_period_end
            assert plan_of(one, PLANS) is BASIC
            check_model(one)
            assert [each.ref for each in await collect(billing.subscriptions(customer.ref))] == [one.ref]
            assert one.latest_invoice is not None
            invoice = await billing.invoice(one.latest_invoice)
            assert (invoice.status, invoice.total, invoice.amount_paid) == (
                InvoiceStatus.PAID,
                dollars("60"),
                dollars("60"),
            )
            assert (invoice.customer, invoice.subscription) == (customer.ref, one.ref)
            assert sum(line.amount.amount for line in invoice.lines) == 60
            check_model(invoice)

        run(harness, scenario)

    def test_a_trial_becomes_a_paid_subscription_when_it_ends(self, harness: BillingHarness) -> None:
        """Nothing is paid before."""

        async def scenario(providers: Providers) -> None:
            billing = providers.billing
            one = await subscribed(harness, providers, trial_days=14)
            assert one.status is SubscriptionStatus.TRIALING
            assert one.trial_end == one.period_end
            assert one.trial_end is not None
            assert one.trial_start is not None
            assert one.trial_end - one.trial_start == timedelta(days=14)
            assert [each.total.amount for each in await collect(billing.invoices(one.customer))] in ([], [0])
            await harness.advance(14 * DAY + 60)
            after = await billing.subscription(one.ref)
            assert after.status is SubscriptionStatus.ACTIVE
            assert after.period_start == one.trial_end
            assert after.period_end > after.period_start + timedelta(days=27)
            newest = (await collect(billing.invoices(one.customer)))[0]
            assert (newest.status, newest.total) == (InvoiceStatus.PAID, BASIC.amount)

        run(harness, scenario)

    def test_an_unknown_lookup_key_sells_nothing(self, harness: BillingHarness) -> None:
        """It is an error, never another plan."""

        async def scenario(providers: Providers) -> None:
            customer = await a_customer(providers)
            with pytest.raises(NotFoundError) as caught:
                await providers.billing.subscription_checkout(
                    customer=customer.ref, price="acme_platinum_monthly", **PAGES
                )
            assert caught.value.outcome is Outcome.NOT_APPLIED
            assert await collect(providers.billing.subscriptions(customer.ref)) == []

        run(harness, scenario)

    def test_what_is_wrong_with_a_checkout_is_said_before_it_is_made(self, harness: BillingHarness) -> None:
        """By the name of the field."""

        async def scenario(providers: Providers) -> None:
            billing = providers.billing
            whom = (await a_customer(providers)).ref

            def subscribe(**changes: object) -> Awaitable[object]:
                asked = {"customer": whom, "price": BASIC.lookup_key, **PAGES, **changes}
                return billing.subscription_checkout(**cast("dict[str, Any]", asked))

            def sell(*lines: CheckoutLine, **changes: object) -> Awaitable[object]:
                return billing.payment_checkout(lines, **cast("dict[str, Any]", {**PAGES, **changes}))

            book = CheckoutLine(title="A book", unit_price=dollars("12.34"))
            euros = CheckoutLine(title="A map", unit_price=Money(amount=Decimal(5), currency="EUR"))
            fine = CheckoutLine(title="A pin", unit_price=dollars("0.001"))
            for wrong, call in (
                ("quantity", subscribe(quantity=0)),
                ("trial_days", subscribe(trial_days=0)),
                ("success_url", subscribe(success_url="shop")),
                ("cancel_url", subscribe(cancel_url="")),
                ("lines", sell()),
                ("lines.1.unit_price", sell(book, euros)),
                ("lines.0.unit_price", sell(book, currency="EUR")),
                ("lines.0.unit_price", sell(fine)),
                ("customer_email", sell(book, customer=whom, customer_email=ANA)),
                ("success_url", sell(book, success_url="shop")),
            ):
                await invalid(wrong, call)
            for name, value in (("title", ""), ("quantity", 0), ("unit_price", dollars("-1"))):
                with pytest.raises(InvalidRequestError) as caught:
                    CheckoutLine(**cast("dict[str, Any]", {"title": "x", "unit_price": dollars("1"), name: value}))
                assert caught.value.field == name

        run(harness, scenario)

    def test_a_plan_is_changed_as_the_preview_said(self, harness: BillingHarness) -> None:
        """Charged at once, to the cent, at the moment of the preview."""

        async def scenario(providers: Providers) -> None:
            billing = providers.billing
            one = await subscribed(harness, providers)
            await harness.advance(10 * DAY + 3)
            seen = await billing.preview_change(one.ref, PRO.lookup_key, proration=Proration.NOW)
            assert seen.difference == seen.due_now
            assert Decimal(15) < seen.due_now.amount < Decimal(25)
            assert seen.due_now.amount == sum(line.amount.amount for line in seen.lines if line.proration)
            assert (await billing.subscription(one.ref)).price == one.price
            check_model(seen)
            await harness.advance(3600)
            changed = await billing.change_plan(one.ref, PRO.lookup_key, proration=Proration.NOW, at=seen.at)
            assert (changed.lookup_key, changed.pending_price) == (PRO.lookup_key, None)
            assert (changed.period_start, changed.period_end) == (one.period_start, one.period_end)
            newest = (await collect(billing.invoices(one.customer)))[0]
            assert (newest.status, newest.total) == (InvoiceStatus.PAID, seen.due_now)

        run(harness, scenario)

    def test_a_change_waits_for_the_next_invoice_or_costs_nothing(self, harness: BillingHarness) -> None:
        """As `proration` says; down as well as up."""

        async def scenario(providers: Providers) -> None:
            billing = providers.billing
            one = await subscribed(harness, providers, price=PRO.lookup_key)
            await harness.advance(12 * DAY)
            seen = await billing.preview_change(one.ref, BASIC.lookup_key)
            assert seen.due_now.amount == 0
            assert seen.difference.amount < 0
            assert seen.total.amount == seen.difference.amount + BASIC.amount.amount
            changed = await billing.change_plan(one.ref, BASIC.lookup_key, at=seen.at)
            assert changed.lookup_key == BASIC.lookup_key
            assert len(await collect(billing.invoices(one.customer))) == 1
            await harness.advance(20 * DAY)
            newest = (await collect(billing.invoices(one.customer)))[0]
            assert newest.total == seen.total

            free = await billing.preview_change(one.ref, PRO.lookup_key, quantity=2, proration=Proration.NONE)
            assert free.due_now.amount == free.difference.amount == 0
            twice = await billing.change_plan(one.ref, PRO.lookup_key, quantity=2, proration=Proration.NONE)
            assert (twice.quantity, twice.lookup_key) == (2, PRO.lookup_key)

        run(harness, scenario)

    def test_a_change_made_twice_with_one_key_is_made_once(self, harness: BillingHarness) -> None:
        """The repeat gets the first answer; another change under the key is a conflict."""

        async def scenario(providers: Providers) -> None:
            billing = providers.billing
            one = await subscribed(harness, providers)
            await harness.advance(10 * DAY)
            keyed = {"proration": Proration.NOW, "idempotency_key": "upgrade-17"}
            first = await billing.change_plan(one.ref, PRO.lookup_key, **cast("dict[str, Any]", keyed))
            again = await billing.change_plan(one.ref, PRO.lookup_key, **cast("dict[str, Any]", keyed))
            assert same(again, first)
            assert len(await collect(billing.invoices(one.customer))) == 2
            await conflict(billing.change_plan(one.ref, BASIC.lookup_key, **cast("dict[str, Any]", keyed)))

        run(harness, scenario)

    def test_a_change_that_is_not_paid_stays_pending(self, harness: BillingHarness) -> None:
        """Nobody is upgraded before the money is there."""

        async def scenario(providers: Providers) -> None:
            billing = providers.billing
            one = await subscribed(harness, providers, email=FAILING)
            await harness.decline(providers, await billing.customer(one.customer))
            await harness.advance(10 * DAY)
            changed = await billing.change_plan(one.ref, PRO.lookup_key, proration=Proration.NOW)
            assert (changed.lookup_key, changed.price) == (BASIC.lookup_key, one.price)
            assert changed.pending_price == (await billing.price(PRO.lookup_key)).ref
            await harness.advance(2 * DAY)
            given_up = await billing.subscription(one.ref)
            assert (given_up.lookup_key, given_up.pending_price) == (BASIC.lookup_key, None)

        run(harness, scenario)

    def test_a_subscription_is_canceled_at_its_end_resumed_and_canceled_now(self, harness: BillingHarness) -> None:
        """Each as often as one likes."""

        async def scenario(providers: Providers) -> None:
            billing = providers.billing
            one = await subscribed(harness, providers)
            for _ in range(2):
                ending = await billing.cancel(one.ref)
                assert (ending.status, ending.cancel_at_period_end) == (SubscriptionStatus.ACTIVE, True)
            for _ in range(2):
                going_on = await billing.resume(one.ref)
                assert (going_on.status, going_on.cancel_at_period_end) == (SubscriptionStatus.ACTIVE, False)
            for _ in range(2):
                over = await billing.cancel(one.ref, at_period_end=False)
                assert over.status is SubscriptionStatus.CANCELED
                assert over.status.over
                assert over.canceled_at is not None
            assert (await billing.cancel(one.ref)).status is SubscriptionStatus.CANCELED
            with pytest.raises(ConflictError):
                await billing.resume(one.ref)
            with pytest.raises(ConflictError):
                await billing.change_plan(one.ref, PRO.lookup_key)
            listed = await collect(billing.subscriptions(one.customer))
            assert [(each.ref, each.status) for each in listed] == [(one.ref, SubscriptionStatus.CANCELED)]

        run(harness, scenario)

    def test_a_subscription_that_is_to_end_ends_when_what_is_paid_runs_out(self, harness: BillingHarness) -> None:
        """And is not charged again."""

        async def scenario(providers: Providers) -> None:
            billing = providers.billing
            one = await subscribed(harness, providers)
            await billing.cancel(one.ref)
            await harness.advance(20 * DAY)
            assert (await billing.subscription(one.ref)).status is SubscriptionStatus.ACTIVE
            await harness.advance(12 * DAY)
            assert (await billing.subscription(one.ref)).status is SubscriptionStatus.CANCELED
            assert len(await collect(billing.invoices(one.customer))) == 1

        run(harness, scenario)

    def test_invoices_come_every_month_newest_first(self, harness: BillingHarness) -> None:
        """Over several pages."""

        async def scenario(providers: Providers) -> None:
            billing = providers.billing
            one = await subscribed(harness, providers)
            for _ in range(25):
                await harness.advance(31 * DAY)
                await billing.subscription(one.ref)
            invoices = await collect(billing.invoices(one.customer))
            assert len(invoices) in {26, 27}
            times = [each.created_at for each in invoices]
            assert times == sorted(times, reverse=True)
            assert len({each.ref for each in invoices}) == len(invoices)
            assert {each.status for each in invoices} == {InvoiceStatus.PAID}
            assert all(each.total == BASIC.amount for each in invoices)

        run(harness, scenario)

    def test_invoices_that_fail_make_it_past_due_and_end_it(self, harness: BillingHarness) -> None:
        """After the retries, not at once; what is open can be seen."""

        async def scenario(providers: Providers) -> None:
            billing = providers.billing
            one = await subscribed(harness, providers, email=FAILING)
            await harness.decline(providers, await billing.customer(one.customer))
            await harness.advance(31 * DAY + 7200)
            late = await billing.subscription(one.ref)
            assert late.status is SubscriptionStatus.PAST_DUE
            newest = (await collect(billing.invoices(one.customer)))[0]
            assert (newest.status, newest.attempts, newest.amount_paid) == (InvoiceStatus.OPEN, 1, dollars("0"))
            assert newest.next_attempt_at is not None
            assert newest.next_attempt_at > now(harness)
            with pytest.raises(NotFoundError):
                await billing.refund(newest.ref)
            await harness.advance(25 * DAY)
            over = await billing.subscription(one.ref)
            assert over.status is SubscriptionStatus.CANCELED
            last = await billing.invoice(newest.ref)
            assert last.attempts > 1
            assert last.next_attempt_at is None

        run(harness, scenario)

    # Payments and refunds.

    @pytest.mark.parametrize(
        ("currency", "each", "total"),
        [("USD", "19.99", "59.97"), ("JPY", "500", "1500"), ("KWD", "1.230", "3.690")],
    )
    def test_a_payment_is_exact_in_every_currency(
        self, harness: BillingHarness, currency: str, each: str, total: str
    ) -> None:
        """Two decimals, none, three."""

        async def scenario(providers: Providers) -> None:
            billing = providers.billing
            unit = Money(amount=Decimal(each), currency=currency)
            line = CheckoutLine(title="Yoga mat", unit_price=unit, quantity=3, description="Blue & long")
            session = await billing.payment_checkout(
                [line], customer_email=ANA, currency=currency, metadata={"order_id": "1001"}, **PAGES
            )
            assert session.url
            await harness.pay(providers, session)
            done = await billing.checkout(session.ref)
            assert done.amount == Money(amount=Decimal(total), currency=currency)
            assert (done.status, done.payment_status) == (CheckoutStatus.COMPLETE, PaymentStatus.PAID)
            assert done.metadata == {"order_id": "1001"}
            assert (done.subscription, done.payment is not None) == (None, True)
            check_model(done)
            back = await billing.refund(done.ref, amount=unit, reason=RefundReason.REQUESTED)
            assert (back.amount, back.payment) == (unit, done.payment)
            assert back.status in {RefundStatus.SUCCEEDED, RefundStatus.PENDING}
            assert back.ref.vendor == facts(providers).vendor
            assert back.reason == RefundReason.REQUESTED
            check_model(back)
            rest = await billing.refund(done.ref)
            assert rest.amount == Money(amount=Decimal(total) - Decimal(each), currency=currency)

        run(harness, scenario)

    def test_a_refund_goes_by_checkout_payment_or_invoice(self, harness: BillingHarness) -> None:
        """Whatever the order kept."""

        async def scenario(providers: Providers) -> None:
            billing = providers.billing
            done = await paid(harness, providers)
            assert done.payment is not None
            for name in (done.ref, done.payment, str(done.ref), str(done.payment)):
                back = await billing.refund(name, amount=dollars("1"))
                assert (back.payment, back.amount) == (done.payment, dollars("1"))
            one = await subscribed(harness, providers)
            assert one.latest_invoice is not None
            back = await billing.refund(one.latest_invoice)
            assert back.amount == BASIC.amount

        run(harness, scenario)

    def test_more_than_is_left_or_another_currency_is_not_refunded(self, harness: BillingHarness) -> None:
        """Nor nothing, nor what was never paid."""

        async def scenario(providers: Providers) -> None:
            billing = providers.billing
            done = await paid(harness, providers)
            await billing.refund(done.ref, amount=dollars("7.50"))
            with pytest.raises(InvalidRequestError):
                await billing.refund(done.ref, amount=dollars("4.85"))
            await invalid("amount", billing.refund(done.ref, amount=Money(amount=Decimal(1), currency="EUR")))
            await invalid("amount", billing.refund(done.ref, amount=dollars("0")))
            await invalid("amount", billing.refund(done.ref, amount=dollars("0.001")))
            assert (await billing.refund(done.ref)).amount == dollars("4.84")
            with pytest.raises(InvalidRequestError):
                await billing.refund(done.ref)

        run(harness, scenario)

    def test_a_refund_repeated_with_its_key_is_one_refund(self, harness: BillingHarness) -> None:
        """Another amount under the key is a conflict; another key is another refund."""

        async def scenario(providers: Providers) -> None:
            billing = providers.billing
            done = await paid(harness, providers)
            first = await billing.refund(done.ref, amount=dollars("2"), idempotency_key="return-1")
            assert same(await billing.refund(done.ref, amount=dollars("2"), idempotency_key="return-1"), first)
            await conflict(billing.refund(done.ref, amount=dollars("3"), idempotency_key="return-1"))
            second = await billing.refund(done.ref, amount=dollars("2"), idempotency_key="return-2")
            assert second.ref != first.ref
            assert (await billing.refund(done.ref)).amount == dollars("8.34")

        run(harness, scenario)

    def test_a_checkout_repeated_with_its_key_is_one_checkout(self, harness: BillingHarness) -> None:
        """For both kinds."""

        async def scenario(providers: Providers) -> None:
            billing = providers.billing
            book = CheckoutLine(title="A book", unit_price=dollars("12.34"))
            first = await billing.payment_checkout([book], idempotency_key="order-1", **PAGES)
            again = await billing.payment_checkout([book], idempotency_key="order-1", **PAGES)
            assert same(again, first)
            await conflict(billing.payment_checkout([book, book], idempotency_key="order-1", **PAGES))
            customer = await a_customer(providers)
            asked: dict[str, Any] = {"customer": customer.ref, "price": BASIC.lookup_key, **PAGES}
            one = await billing.subscription_checkout(**asked, idempotency_key="sub-1")
            assert same(await billing.subscription_checkout(**asked, idempotency_key="sub-1"), one)
            await conflict(billing.subscription_checkout(**asked, quantity=2, idempotency_key="sub-1"))

        run(harness, scenario)

    def test_a_checkout_is_closed_once_and_stays_as_it_ended(self, harness: BillingHarness) -> None:
        """One that is paid stays paid."""

        async def scenario(providers: Providers) -> None:
            billing = providers.billing
            book = CheckoutLine(title="A book", unit_price=dollars("12.34"))
            session = await billing.payment_checkout([book], customer_email="declined@example.com", **PAGES)
            assert session.status is CheckoutStatus.OPEN
            for _ in range(2):
                closed = await billing.expire_checkout(session.ref)
                assert (closed.status, closed.url) == (CheckoutStatus.EXPIRED, None)
            with pytest.raises(NotFoundError):
                await billing.refund(session.ref)
            done = await paid(harness, providers)
            assert (await billing.expire_checkout(done.ref)).status is CheckoutStatus.COMPLETE

        run(harness, scenario)

    def test_the_portal_is_a_page_for_one_customer(self, harness: BillingHarness) -> None:
        """Made when it is asked for."""

        async def scenario(providers: Providers) -> None:
            customer = await a_customer(providers)
            page = await providers.billing.portal(customer.ref, return_url="https://shop.example.com/account")
            assert page.url.startswith(("http://", "https://"))
            check_model(page)
            await invalid("return_url", providers.billing.portal(customer.ref, return_url="account"))

        run(harness, scenario)

    def test_disputes_are_listed_with_what_they_take(self, harness: BillingHarness) -> None:
        """And until when to answer."""
        dispute = needed(harness.dispute, "dispute: a way to have a payment taken back")

        async def scenario(providers: Providers) -> None:
            assert await collect(providers.billing.disputes()) == []
            done = await paid(harness, providers, email=DISPUTING)
            assert done.payment is not None
            await dispute(providers, done.payment)
            (one,) = await collect(providers.billing.disputes())
            assert (one.payment, one.amount) == (done.payment, dollars("12.34"))
            assert not one.respond_by or one.respond_by > now(harness)
            check_model(one)

        run(harness, scenario)

    def test_usage_is_counted_once_for_its_key(self, harness: BillingHarness) -> None:
        """And stands on the next invoice."""

        async def scenario(providers: Providers) -> None:
            billing = providers.billing
            one = await subscribed(harness, providers, price=METERED.lookup_key)
            await harness.advance(DAY)
            asked: dict[str, Any] = {"meter": "acme_calls", "quantity": 30}
            first = await billing.record_usage(one.customer, **asked, idempotency_key="calls-1")
            assert same(await billing.record_usage(one.customer, **asked, idempotency_key="calls-1"), first)
            assert (first.quantity, first.customer, first.meter) == (Decimal(30), one.customer, "acme_calls")
            check_model(first)
            await billing.record_usage(one.customer, meter="acme_calls", quantity=12, idempotency_key="calls-2")
            await conflict(
                billing.record_usage(one.customer, meter="acme_calls", quantity=1, idempotency_key="calls-2")
            )
            await invalid("quantity", billing.record_usage(one.customer, meter="acme_calls", quantity=-1))
            await harness.advance(31 * DAY)
            newest = (await collect(billing.invoices(one.customer)))[0]
            assert newest.total == dollars("2.10")

        run(harness, scenario)

    # Webhooks.

    def test_events_come_signed_with_what_they_are_about(self, harness: BillingHarness) -> None:
        """Typed, with metadata, each id once, and an order that lets a late one be left out."""
        needs(harness.delivers, "webhooks that reach this machine")

        async def scenario(providers: Providers, ear: Ear) -> None:
            billing = providers.billing
            told = {"user_id": "17"}
            one = await subscribed(harness, providers, metadata=told)
            done = await paid(harness, providers, metadata={"order_id": "1001"})
            back = await billing.refund(done.ref)
            kinds = BillingEventType
            heard = await ear.until(
                kinds.SUBSCRIPTION_CREATED, kinds.INVOICE_PAID, kinds.CHECKOUT_COMPLETED, kinds.REFUND_CREATED
            )
            made = first(heard, kinds.SUBSCRIPTION_CREATED)
            assert made.subscription is not None
            assert (made.subscription.ref, made.subscription.metadata, made.metadata) == (one.ref, told, told)
            invoice = first(heard, kinds.INVOICE_PAID)
            assert invoice.invoice is not None
            assert (invoice.invoice.subscription, invoice.invoice.total) == (one.ref, BASIC.amount)
            sessions = [each.checkout for each in heard if each.type is kinds.CHECKOUT_COMPLETED]
            assert done.ref in {each.ref for each in sessions if each is not None}
            refund = first(heard, kinds.REFUND_CREATED)
            assert refund.refund is not None
            assert (refund.refund.ref, refund.refund.amount) == (back.ref, dollars("12.34"))
            ids = [each.event_id for each in heard]
            assert len(set(ids)) == len(ids)
            for each in heard:
                assert each.vendor == facts(providers).vendor
                assert each.occurred_at.utcoffset() == timedelta(0)
                assert each.order // 10 == int(each.occurred_at.timestamp())
                assert not each.livemode
                check_model(each)

        run_listening(harness, scenario)

    def test_a_late_event_is_told_from_a_newer_one(self, harness: BillingHarness) -> None:
        """The last state by `order` is the state there is, in whatever order events came."""
        needs(harness.delivers, "webhooks that reach this machine")

        async def scenario(providers: Providers, ear: Ear) -> None:
            one = await subscribed(harness, providers, trial_days=14)
            await ear.until(BillingEventType.SUBSCRIPTION_CREATED)
            await ear.pass_time(15 * DAY)
            await providers.billing.subscription(one.ref)
            await ear.until(BillingEventType.SUBSCRIPTION_UPDATED)
            await ear.pass_time(DAY)
            await providers.billing.cancel(one.ref, at_period_end=False)
            heard = await ear.until(BillingEventType.SUBSCRIPTION_ENDED)
            newest: tuple[int, BillingEvent] | None = None
            for each in reversed(heard):
                if each.subscription is not None and (newest is None or each.order >= newest[0]):
                    newest = (each.order, each)
            assert newest is not None
            assert newest[1].subscription is not None
            assert newest[1].subscription.status is SubscriptionStatus.CANCELED
            assert newest[1].type is BillingEventType.SUBSCRIPTION_ENDED

        run_listening(harness, scenario)

    def test_a_forged_webhook_is_refused_and_a_repeated_one_has_the_same_ids(self, harness: BillingHarness) -> None:
        """Another body, no signature, another one's: `WebhookVerificationError`, a `ValueError`."""
        needs(harness.delivers, "webhooks that reach this machine")

        async def scenario(providers: Providers, ear: Ear) -> None:
            await subscribed(harness, providers)
            await ear.until(BillingEventType.INVOICE_PAID)
            request = ear.inbox.requests[0]
            again = [await providers.billing.webhook(request) for _ in range(2)]
            assert again[0].reply.status == 200
            assert [one.event_id for one in again[0].events] == [one.event_id for one in again[1].events]
            await only_what_was_signed(providers.billing, request)
            harness.clock.advance(3600)
            with pytest.raises(WebhookVerificationError):
                await providers.billing.webhook(request)

        run_listening(harness, scenario)

    def test_an_event_of_an_unknown_type_is_unknown_not_an_error(self, harness: BillingHarness) -> None:
        """Vendors invent new ones."""
        make = needed(harness.unknown_event, "unknown_event: a signed request with an event of a new type")

        async def scenario(providers: Providers) -> None:
            (event,) = (await providers.billing.webhook(make())).events
            assert event.type is BillingEventType.UNKNOWN
            check_model(event)

        run(harness, scenario)

    def test_a_webhook_is_registered_once_and_its_secret_is_shown_once(self, harness: BillingHarness) -> None:
        """Never in `repr` or a dump."""

        async def scenario(providers: Providers) -> None:
            billing = providers.billing
            url = "https://shop.example.com/hooks/billing"
            endpoint = await billing.ensure_webhook(url)
            assert endpoint.secret is not None
            secret = endpoint.secret.get_secret_value()
            assert secret
            assert secret not in endpoint.model_dump_json() + repr(endpoint)
            again = await billing.ensure_webhook(url)
            assert (again.ref, again.secret) == (endpoint.ref, None)
            await invalid("url", billing.ensure_webhook("ftp://example.com/"))

        run(harness, scenario)

    # What is not known.

    def test_a_refund_nobody_answered_is_listed_and_made_once(self, harness: BillingHarness) -> None:
        """A repeat with the same key gets the one refund, and settles it."""
        stalled = needed(harness.stalled, "stalled: a way to keep the vendor from answering")
        made = needed(harness.made, "made: how many the vendor has made")

        async def scenario(providers: Providers) -> None:
            billing = providers.billing
            done = await paid(harness, providers)
            payment = done.payment
            assert payment is not None
            with stalled():
                error = await unanswered(harness, billing.refund(payment, idempotency_key="return-1"))
            assert error.may_have_applied
            assert await made(providers, "refund") <= 1
            assert [one.key async for one in providers.unknowns.unknown()] == ["return-1"]
            await conflict(billing.refund(payment, amount=dollars("1"), idempotency_key="return-1"))
            back = await billing.refund(payment, idempotency_key="return-1")
            assert back.amount == dollars("12.34")
            assert await made(providers, "refund") == 1
            assert [one async for one in providers.unknowns.unknown()] == []
            assert same(await billing.refund(payment, idempotency_key="return-1"), back)

        run(harness, scenario)

    def test_a_checkout_nobody_answered_is_listed_and_made_once(self, harness: BillingHarness) -> None:
        """As a refund."""
        stalled = needed(harness.stalled, "stalled: a way to keep the vendor from answering")
        made = needed(harness.made, "made: how many the vendor has made")

        async def scenario(providers: Providers) -> None:
            billing = providers.billing
            book = CheckoutLine(title="A book", unit_price=dollars("12.34"))
            keyed: dict[str, Any] = {**PAGES, "idempotency_key": "order-1"}
            with stalled():
                error = await unanswered(harness, billing.payment_checkout([book], **keyed))
            assert error.may_have_applied
            assert [one.key async for one in providers.unknowns.unknown()] == ["order-1"]
            session = await billing.payment_checkout([book], **keyed)
            assert await made(providers, "checkout") == 1
            assert (await billing.checkout(session.ref)).amount == dollars("12.34")
            assert [one async for one in providers.unknowns.unknown()] == []

        run(harness, scenario)

    def test_somebody_can_say_what_became_of_an_unknown_refund(self, harness: BillingHarness) -> None:
        """Applied: a repeat is refused, and nothing goes out."""
        stalled = needed(harness.stalled, "stalled: a way to keep the vendor from answering")
        made = needed(harness.made, "made: how many the vendor has made")

        async def scenario(providers: Providers) -> None:
            billing = providers.billing
            payment = (await paid(harness, providers)).payment
            assert payment is not None
            with stalled():
                await unanswered(harness, billing.refund(payment, idempotency_key="return-1"))
            before = await made(providers, "refund")
            (unknown,) = [one async for one in providers.unknowns.unknown()]
            assert (unknown.operation, unknown.vendor) == ("billing.refund", facts(providers).vendor)
            await providers.unknowns.resolve(unknown.id, Resolution.APPLIED)
            with pytest.raises(ConflictError) as caught:
                await billing.refund(payment, idempotency_key="return-1")
            assert caught.value.code == "already_applied"
            assert await made(providers, "refund") == before

        run(harness, scenario)

    # All capabilities.

    @pytest.mark.parametrize("id_", ["0123456789abcdef", "a", "x" * 200, "%", 'x" OR 1=1', "ünïcödé 🎈", "a/b?c#d"])
    def test_an_unknown_id_is_plausible_or_not_found(self, harness: BillingHarness, id_: str) -> None:
        """Never another error, whatever the id looks like."""

        async def scenario(providers: Providers) -> None:
            billing = providers.billing
            name = Ref(vendor=facts(providers).vendor, id=id_)
            reads = (billing.customer, billing.price, billing.checkout, billing.subscription, billing.invoice)
            for read in reads:
                model: Model
                try:
                    model = await cast("Callable[[Ref], Awaitable[Any]]", read)(name)
                except NotFoundError as error:
                    assert isinstance(error, ValueError)
                else:
                    assert cast("Any", model).ref == name
                    check_model(model)

        run(harness, scenario)

    def test_a_reference_of_somebody_else_is_refused_and_says_so(self, harness: BillingHarness) -> None:
        """A reference of the demo at a live vendor above all."""

        async def scenario(providers: Providers) -> None:
            billing = providers.billing
            stranger = "nobody" if facts(providers).demo else "demo"
            name = f"{stranger}:sub-1"
            calls: list[Callable[[], Awaitable[object]]] = [
                lambda: billing.subscription(name),
                lambda: billing.cancel(name),
                lambda: billing.refund(name),
                lambda: billing.portal(name, return_url="https://shop.example.com/"),
                lambda: billing.change_plan(name, Ref(vendor=stranger, id="price-1")),
                lambda: billing.price(name),
                lambda: billing.record_usage(name, meter="acme_calls", quantity=1),
            ]
            for call in calls:
                with pytest.raises(InvalidRequestError, match=stranger):
                    await call()
            for nonsense in ("", "sub-1", ":x", f"{facts(providers).vendor}:"):
                await invalid("ref", billing.subscription(nonsense))

        run(harness, scenario)

    def test_check_proves_the_credential(self, harness: BillingHarness) -> None:
        """For all vendors in use, or one."""

        async def scenario(providers: Providers) -> None:
            await proven(providers.billing)

        run(harness, scenario)


class Ear:
    """Verifies and reads what comes in, as it comes: a signature is good for minutes."""

    def __init__(self, providers: Providers, harness: BillingHarness, inbox: Inbox) -> None:
        self.inbox = inbox
        self.events: list[BillingEvent] = []
        self._providers = providers
        self._harness = harness
        self._read = 0
        self._arrived = asyncio.Condition()

    async def listen(self) -> None:
        """Until it is cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                request = await self.inbox.received(self._read + 1)
                result = await self._providers.billing.webhook(request)
                async with self._arrived:
                    self._read += 1
                    self.events += result.events
                    self._arrived.notify_all()

    async def until(self, *kinds: BillingEventType) -> list[BillingEvent]:
        """All events so far, once there is one of each kind. Raises `TimeoutError` when one does not come."""
        async with asyncio.timeout(PATIENCE / 3), self._arrived:
            await self._arrived.wait_for(lambda: {*kinds} <= {event.type for event in self.events})
        return list(self.events)

    async def pass_time(self, seconds: float) -> None:
        """Let time pass once nothing is on its way: what was signed before would be too old."""
        quiet = 0
        while quiet < 5:
            before = len(self.inbox.requests)
            await asyncio.sleep(0.01)
            calm = self._read == len(self.inbox.requests) == before and not self._harness.pending()
            quiet = quiet + 1 if calm else 0
        await self._harness.advance(seconds)


def run_listening(
    harness: BillingHarness, scenario: Callable[[Providers, Ear], Coroutine[object, object, None]]
) -> None:
    """As `run`, with the vendor's events coming in."""

    async def main() -> None:
        async with (
            asyncio.timeout(PATIENCE),
            Inbox() as inbox,
            harness.open(clock=harness.clock, webhook_url=inbox.url) as providers,
        ):
            ear = Ear(providers, harness, inbox)
            listening = asyncio.create_task(ear.listen())
            try:
                await scenario(providers, ear)
            finally:
                listening.cancel()
                await asyncio.wait({listening})
            if not listening.cancelled():
                listening.result()

    asyncio.run(main())


def adapter(providers: Providers) -> BillingAdapter:
    """The adapter under test."""
    return cast("BillingAdapter", providers.billing.unwrap(object))


def facts(providers: Providers) -> VendorFacts:
    """Its facts."""
    return adapter(providers).facts


def now(harness: BillingHarness) -> datetime:
    """By the clock of the test."""
    return utc(harness.clock.time())


async def a_customer(providers: Providers, email: str = ANA) -> Customer:
    """Somebody, and a catalogue to choose from."""
    await providers.billing.sync_catalog(PLANS)
    return await providers.billing.ensure_customer(email=email, metadata={"service": "acme"})


async def subscribed(
    harness: BillingHarness,
    providers: Providers,
    *,
    email: str = ANA,
    price: str = BASIC.lookup_key,
    trial_days: int | None = None,
    metadata: dict[str, str] | None = None,
) -> Subscription:
    """A customer's subscription, as the checkout left it."""
    customer = await a_customer(providers, email)
    session = await providers.billing.subscription_checkout(
        customer=customer.ref, price=price, trial_days=trial_days, metadata=metadata, **PAGES
    )
    await harness.pay(providers, session)
    done = await providers.billing.checkout(session.ref)
    assert done.subscription is not None, "the checkout is not complete"
    return await providers.billing.subscription(done.subscription)


async def paid(
    harness: BillingHarness, providers: Providers, *, email: str = ANA, metadata: dict[str, str] | None = None
) -> CheckoutSession:
    """A book for 12.34 USD, paid."""
    book = CheckoutLine(title="A book", unit_price=dollars("12.34"))
    session = await providers.billing.payment_checkout([book], customer_email=email, metadata=metadata, **PAGES)
    await harness.pay(providers, session)
    return await providers.billing.checkout(session.ref)


def same(left: Model, right: Model) -> bool:
    """Whether two answers say the same; the vendor's raw reply is not kept for repeats."""
    return left.model_dump() == right.model_dump()


async def conflict(call: Awaitable[object]) -> None:
    """The key was used for something else."""
    with pytest.raises(ConflictError) as caught:
        await call
    assert (caught.value.field, caught.value.outcome) == ("idempotency_key", Outcome.NOT_APPLIED)


async def unanswered(harness: BillingHarness, call: Coroutine[Any, Any, object]) -> ProviderError:
    """The error of a write while the vendor answers nothing: time passes until it gives up."""
    task = asyncio.create_task(call)
    await in_flight(harness.clock)
    while not task.done():
        harness.clock.advance(1)
        await asyncio.sleep(0.005)
    with pytest.raises(ProviderError) as caught:
        await task
    assert not isinstance(caught.value, RejectedError)
    return caught.value


def first(events: list[BillingEvent], kind: BillingEventType) -> BillingEvent:
    """The first of a kind."""
    return next(event for event in events if event.type is kind)


__all__ = ["BillingConformance", "BillingHarness"]
