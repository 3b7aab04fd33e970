"""The demo beyond the common suite: outcomes by address, time, exact amounts, several processes, made-up ids."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import Money, Providers, Settings
from providers.billing import CheckoutLine, Interval, Plan, Proration
from providers.billing import demo_terms as terms
from providers.billing.demo import DemoBilling
from providers.billing.models import Price
from providers.billing.platform import PLATFORM_PLANS
from providers.core.errors import (
    AuthenticationError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    PermissionDeniedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    QuotaExceededError,
    RateLimitedError,
    RejectedError,
)
from providers.core.models import Ref
from providers.testing.clock import ManualClock
from providers.testing.conformance._inbox import Inbox

DAY = 86_400
PAGES = {
    "success_url": "https://shop.example.com/?s={CHECKOUT_SESSION_ID}",
    "cancel_url": "https://shop.example.com/no",
}
PRO, ENTERPRISE = "trendscout_pro_monthly", "trendscout_enterprise_monthly"


def usd(amount):
    return Money(amount=Decimal(amount), currency="USD")


def play(scenario, **options):
    """One scenario on a demo whose events come to an inbox; how time passes is the third thing it gets."""

    async def main():
        clock = ManualClock(options.pop("now", datetime(2027, 1, 31, 12, tzinfo=UTC).timestamp()))
        async with Inbox() as inbox:
            settings = Settings(mode="demo", webhook_url=inbox.url, environ={}, env_file=None, **options)
            async with Providers(settings, clock=clock) as providers:
                return await scenario(providers, clock, inbox)

    return asyncio.run(main())


async def subscribe(providers, email="ana@example.com", price=PRO, **options):
    customer = await providers.billing.ensure_customer(email=email)
    session = await providers.billing.subscription_checkout(customer=customer.ref, price=price, **PAGES, **options)
    return session, None if session.subscription is None else await providers.billing.subscription(session.subscription)


async def told(providers, inbox):
    """Every event so far, in the order of delivery."""
    await providers._shared._deliveries.drain()
    return [event for request in inbox.requests for event in (await providers.billing.webhook(request)).events]


def kinds(events, *, of=""):
    return [str(event.type) for event in events if event.type.startswith(of)]


# Outcomes by address.


def test_the_success_page_is_the_checkout_s_url_and_names_it():
    async def scenario(providers, clock, inbox):
        session, _ = await subscribe(providers)
        assert session.url == f"https://shop.example.com/?s={session.ref.id}"
        assert str(session.ref).startswith("demo:cs-")
        assert str(session.subscription).startswith("demo:sub-")

    play(scenario)


@pytest.mark.parametrize("trial", [None, 14])
def test_a_declined_checkout_stays_open_and_expires(trial):
    async def scenario(providers, clock, inbox):
        session, subscription = await subscribe(providers, "declined@example.com", trial_days=trial)
        assert subscription is None
        assert (session.status, session.payment_status, session.url) == ("open", "unpaid", PAGES["cancel_url"])
        heard = kinds(await told(providers, inbox))
        assert heard == ["customer.created", *([] if trial else ["payment.failed"])]
        inbox.requests.clear()
        clock.advance(DAY)
        assert (await providers.billing.checkout(session.ref)).status == "expired"
        assert kinds(await told(providers, inbox)) == ["checkout.expired"]

    play(scenario)


@pytest.mark.parametrize(
    ("name", "after", "story"),
    [
        ("fails", "canceled", ["past_due", "past_due", "past_due", "canceled"]),
        ("authenticate", "canceled", ["past_due", "past_due", "past_due", "canceled"]),
        ("recovers", "active", ["past_due", "past_due", "active", "active"]),
        ("expires+1", "active", ["active", "active", "active", "active"]),
        ("ana", "active", ["active", "active", "active", "active"]),
    ],
)
def test_the_address_decides_what_becomes_of_later_invoices(name, after, story):
    async def scenario(providers, clock, inbox):
        _, one = await subscribe(providers, f"{name}@example.com")
        states = []
        # One month, then the waits of 3, 5 and 7 days.
        for days in (28, 3, 5, 7):
            clock.advance(days * DAY)
            states.append(str((await providers.billing.subscription(one.ref)).status))
        assert states == story
        assert states[-1] == after

    play(scenario)


def test_a_confirmation_is_asked_for_where_the_bank_wants_one():
    async def scenario(providers, clock, inbox):
        _, one = await subscribe(providers, "authenticate@example.com", trial_days=1)
        await told(providers, inbox)
        inbox.requests.clear()
        clock.advance(DAY)
        await providers.billing.subscription(one.ref)
        events = await told(providers, inbox)
        (asked,) = [event for event in events if event.type == "invoice.action_required"]
        assert asked.invoice.hosted_url
        (failed,) = [event for event in events if event.type == "payment.failed"]
        assert (failed.payment.failure_code, failed.payment.status) == ("authentication_required", "requires_action")

    play(scenario)


def test_a_disputed_payment_is_lost_after_a_week_and_cannot_be_refunded():
    async def scenario(providers, clock, inbox):
        billing = providers.billing
        line = CheckoutLine(title="Mat", unit_price=usd(20))
        session = await billing.payment_checkout([line], customer_email="dispute@example.com", **PAGES)
        (one,) = [dispute async for dispute in billing.disputes()]
        assert (one.status, one.payment, one.amount) == ("needs_response", session.payment, usd(20))
        assert "dispute.opened" in kinds(await told(providers, inbox))
        with pytest.raises(InvalidRequestError) as caught:
            await billing.refund(session.ref)
        assert caught.value.code == "charge_disputed"
        clock.advance(7 * DAY)
        (one,) = [dispute async for dispute in billing.disputes()]
        assert one.status == "lost"

    play(scenario)


@pytest.mark.parametrize(
    ("name", "kind", "outcome"),
    [
        ("invalid", InvalidRequestError, Outcome.NOT_APPLIED),
        ("rejected", RejectedError, Outcome.NOT_APPLIED),
        ("unauthorized", AuthenticationError, Outcome.NOT_APPLIED),
        ("denied", PermissionDeniedError, Outcome.NOT_APPLIED),
        ("quota", QuotaExceededError, Outcome.NOT_APPLIED),
        ("ratelimited", RateLimitedError, Outcome.NOT_APPLIED),
        ("unavailable", ProviderUnavailableError, Outcome.NOT_APPLIED),
        ("timeout", ProviderTimeoutError, Outcome.UNKNOWN),
    ],
)
def test_the_address_provokes_an_error_of_the_real_tree(name, kind, outcome):
    async def scenario(providers, clock, inbox):
        line = CheckoutLine(title="Mat", unit_price=usd(20))
        with pytest.raises(kind) as caught:
            await providers.billing.payment_checkout(
                [line], customer_email=f"{name}@example.com", idempotency_key="k", **PAGES
            )
        assert (caught.value.outcome, caught.value.vendor) == (outcome, "demo")
        with pytest.raises(kind):
            await providers.billing.ensure_customer(email=f"{name}@example.com")
        assert [one.key async for one in providers.unknowns.unknown()] == (["k"] if name == "timeout" else [])

    play(scenario)


def test_failures_can_be_staged():
    async def scenario(providers, clock, inbox):
        providers.faults.stage("billing.refund", ProviderTimeoutError("lost", outcome=Outcome.UNKNOWN), times=2)
        line = CheckoutLine(title="Mat", unit_price=usd(20))
        session = await providers.billing.payment_checkout([line], **PAGES)
        # The demo does a key once, so the attempt is repeated under it.
        assert (await providers.billing.refund(session.ref)).amount == usd(20)
        providers.faults.stage("billing.subscription", AuthenticationError("revoked"))
        with pytest.raises(AuthenticationError):
            await providers.billing.subscription("demo:sub-1")

    play(scenario)


# Time.


def test_what_came_due_happens_in_order_at_its_own_moment():
    async def scenario(providers, clock, inbox):
        _, one = await subscribe(providers, "fails@example.com", trial_days=14)
        _, two = await subscribe(providers, "ben@example.com", trial_days=10)
        await told(providers, inbox)
        inbox.requests.clear()
        clock.advance(40 * DAY)
        # Whatever is asked for, all customers' time has passed.
        await providers.billing.customer(one.customer)
        events = await told(providers, inbox)
        times = [event.occurred_at for event in events]
        assert times == sorted(times)
        days = [
            (str(event.type), (event.occurred_at - one.period_start).days)
            for event in events
            if (about := event.subscription or event.invoice) is not None and about.customer == one.customer
        ]
        assert {
            ("subscription.trial_ending", 11),
            ("invoice.payment_failed", 14),
            ("invoice.payment_failed", 17),
            ("invoice.payment_failed", 22),
            ("invoice.payment_failed", 29),
            ("subscription.ended", 29),
        } <= {*days}
        paid = [event.invoice for event in events if event.type == "invoice.paid"]
        assert {invoice.subscription for invoice in paid} == {two.ref}
        assert len(await told(providers, inbox)) == len({event.event_id for event in events})

    play(scenario)


def test_periods_keep_the_day_of_the_month_over_short_months():
    async def scenario(providers, clock, inbox):
        _, one = await subscribe(providers)  # on January 31st
        days = [one.period_end]
        for _ in range(4):
            clock.advance(31 * DAY)
            days.append((await providers.billing.subscription(one.ref)).period_end)
        assert [(day.month, day.day) for day in dict.fromkeys(days)] == [(2, 28), (3, 31), (4, 30), (5, 31), (6, 30)]
        starts = [invoice.created_at async for invoice in providers.billing.invoices(one.customer)]
        assert [(start.month, start.day) for start in reversed(starts)] == [(1, 31), (2, 28), (3, 31), (4, 30), (5, 31)]

    play(scenario)


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001 (made aware below)
    st.sampled_from([*Interval]),
    st.integers(1, 36),
    st.integers(0, 40),
)
def test_a_period_begins_where_the_one_before_ends(anchor, interval, count, number):
    start = anchor.replace(tzinfo=UTC)
    begins, ends = (terms.boundary(start, each, interval, count) for each in (number, number + 1))
    assert begins < ends
    assert terms.boundary(start, 0, interval, count) == start
    if interval in {Interval.MONTH, Interval.YEAR}:
        assert ends.day == start.day or (ends + timedelta(days=1)).day == 1


# Amounts.


def a_price(amount, currency):
    return Price(
        ref=Ref(vendor="demo", id="p"), product="x", amount=Money(amount=amount, currency=currency), active=True
    )


@given(
    st.decimals(0, 10**6, places=2),
    st.decimals(0, 10**6, places=2),
    st.integers(1, 366 * DAY),
    st.data(),
    st.sampled_from(["USD", "JPY", "KWD"]),
)
def test_a_proration_is_exact_to_the_second_and_rounded_once_a_line(old, new, length, data, currency):
    start = datetime(2027, 1, 1, tzinfo=UTC)
    passed = data.draw(st.integers(0, length - 1))
    period = (start, start + timedelta(seconds=length))
    back, more = terms.proration_lines(
        (a_price(old, currency), 1), (a_price(new, currency), 1), period, start + timedelta(seconds=passed)
    )
    half = Decimal("0.5").scaleb(-{"USD": 2, "JPY": 0, "KWD": 3}[currency])
    for line, price, sign in ((back, old, -1), (more, new, 1)):
        assert line.proration
        assert abs(line.amount.amount - sign * price * (length - passed) / length) <= half + Decimal("1e-18")
    if passed == 0:
        assert back.amount == terms.rounded(-old, currency)


def test_money_of_a_change_down_is_used_up_by_the_next_invoices():
    async def scenario(providers, clock, inbox):
        billing = providers.billing
        _, one = await subscribe(providers, price=ENTERPRISE)
        clock.advance(14 * DAY)  # half of the 28 days
        seen = await billing.preview_change(one.ref, PRO, proration=Proration.NOW)
        assert (seen.difference, seen.due_now) == (usd("-35.00"), usd("0.00"))
        await billing.change_plan(one.ref, PRO, proration=Proration.NOW, at=seen.at)
        clock.advance(50 * DAY)
        bills = [invoice async for invoice in billing.invoices(one.customer)]
        assert [str(bill.amount_due.amount) for bill in reversed(bills)] == ["99.00", "0.00", "0.00", "23.00"]
        assert [str(bill.total.amount) for bill in reversed(bills)] == ["99.00", "-35.00", "29.00", "29.00"]

    play(scenario)


def test_a_change_to_another_interval_begins_a_new_period_at_once():
    yearly = Plan(service="trendscout", plan="pro", amount=usd(290), interval=Interval.YEAR, title="TrendScout")

    async def scenario(providers, clock, inbox):
        billing = providers.billing
        await billing.sync_catalog([yearly])
        _, one = await subscribe(providers)
        clock.advance(14 * DAY)
        seen = await billing.preview_change(one.ref, yearly.lookup_key)
        assert (seen.due_now, seen.difference) == (usd("275.50"), usd("-14.50"))
        changed = await billing.change_plan(one.ref, yearly.lookup_key, at=seen.at)
        assert changed.period_start == seen.at
        assert changed.period_end == seen.at.replace(year=2028)
        newest = await billing.invoice(changed.latest_invoice)
        assert (newest.total, newest.status) == (usd("275.50"), "paid")

    play(scenario)


def test_usage_is_billed_when_the_subscription_ends_too():
    metered = Plan(service="api", plan="calls", amount=usd("0.05"), meter="calls")

    async def scenario(providers, clock, inbox):
        billing = providers.billing
        with pytest.raises(NotFoundError):
            await billing.record_usage("demo:cus-1", meter="calls", quantity=1)
        await billing.sync_catalog([metered])
        _, one = await subscribe(providers, price=metered.lookup_key)
        await billing.record_usage(one.customer, meter="calls", quantity=Decimal("2.5"))
        old = one.period_start - timedelta(days=36)
        with pytest.raises(InvalidRequestError):
            await billing.record_usage(one.customer, meter="calls", quantity=1, at=old)
        await billing.cancel(one.ref)
        clock.advance(29 * DAY)
        bills = [str(invoice.total.amount) async for invoice in billing.invoices(one.customer)]
        assert bills == ["0.12", "0.00"]  # 0.125, half to even

    play(scenario)


# Several processes, several tenants.


def test_two_processes_on_one_store_lose_nothing(tmp_path):
    async def main():
        clock = ManualClock()
        state = f"sqlite:///{tmp_path}/state.db"
        settings = Settings(mode="demo", state_url=state, environ={}, env_file=None)
        async with Providers(settings, clock=clock) as one, Providers(settings, clock=clock) as two:
            sides = [each.billing for each in (one, two)]
            line = CheckoutLine(title="Mat", unit_price=usd(20))
            session = await sides[0].payment_checkout([line], **PAGES)
            adapters = [each.unwrap(DemoBilling) for each in sides]
            tries = [
                adapters[number % 2].refund(session.payment, usd(1), None, f"return-{number // 2}")
                for number in range(30)
            ]
            refunds = await asyncio.gather(*tries)
            assert len({refund.ref for refund in refunds}) == 15
            assert (await sides[1].refund(session.ref)).amount == usd(5)
            customer = await sides[0].ensure_customer(email="ana@example.com")
            made = await sides[0].subscription_checkout(customer=customer.ref, price=PRO, **PAGES)
            clock.advance(31 * DAY)
            await asyncio.gather(*(side.subscription(made.subscription) for side in sides * 5))
            bills = [invoice async for invoice in sides[1].invoices(customer.ref)]
            assert len(bills) == 2

    asyncio.run(main())


def test_time_that_passes_in_two_processes_is_told_once(tmp_path):
    async def main():
        clock = ManualClock()
        async with Inbox() as inbox:
            state = f"sqlite:///{tmp_path}/state.db"
            settings = Settings(mode="demo", state_url=state, webhook_url=inbox.url, environ={}, env_file=None)
            async with Providers(settings, clock=clock) as one, Providers(settings, clock=clock) as two:
                made = [(await subscribe(one, f"{name}@example.com", trial_days=5))[1] for name in ("ana", "ben")]
                await told(one, inbox)
                inbox.requests.clear()
                clock.advance(6 * DAY)
                await asyncio.gather(*(each.billing.subscription(made[0].ref) for each in (one, two) for _ in range(5)))
                for each in (one, two):
                    if each._shared._deliveries is not None:
                        await each._shared._deliveries.drain()
                events = [event for request in inbox.requests for event in (await one.billing.webhook(request)).events]
                assert len({event.event_id for event in events}) == len(events)
                assert kinds(events, of="subscription.trial") == ["subscription.trial_ending"] * 2
                assert kinds(events, of="invoice") == ["invoice.paid"] * 2

    asyncio.run(main())


def test_tenants_do_not_see_each_other():
    async def scenario(providers, clock, inbox):
        mine, theirs = providers.scoped("m-1").billing, providers.scoped("m-2").billing
        one = await mine.ensure_customer(email="ana@example.com")
        await mine.sync_catalog([Plan(service="acme", plan="pro", amount=usd(10))])
        assert (await theirs.ensure_customer(email="ana@example.com")).ref != one.ref
        with pytest.raises(NotFoundError):
            await theirs.price("acme_pro_monthly")
        assert (await mine.price("acme_pro_monthly")).amount == usd(10)

    play(scenario)


# Ids of another day.


def test_the_platform_s_plans_are_sold_before_any_sync_and_nothing_else_is():
    async def scenario(providers, clock, inbox):
        for plan in PLATFORM_PLANS:
            assert (await providers.billing.price(plan.lookup_key)).amount == plan.amount
        with pytest.raises(NotFoundError):
            await providers.billing.price("trendscout_gold_monthly")

    play(scenario)


@pytest.mark.parametrize("id_", ["cs_mock_1", "sub_mock_17", "price_mock_pro", "sub-0123456789ab-7", "x" * 224])
def test_an_id_the_demo_never_made_has_an_answer_that_stays_the_same_and_upgrades_nobody(id_):
    async def scenario(providers, clock, inbox):
        billing, name = providers.billing, f"demo:{id_}"
        one = await billing.subscription(name)
        assert (one.status, one.lookup_key, str(one.ref)) == ("active", None, name)
        assert one.period_start <= datetime(2027, 1, 31, 12, tzinfo=UTC) < one.period_end
        again = await billing.subscription(name)
        price, invoice = await billing.price(name), await billing.invoice(name)
        checkout, customer = await billing.checkout(name), await billing.customer(name)
        back = await billing.refund(name, amount=Money(amount=Decimal(500), currency="JPY"))
        ended = await billing.cancel(name, at_period_end=False)
        assert again == one
        assert (price.lookup_key, back.amount.currency, ended.status) == (None, "JPY", "canceled")
        assert (await billing.subscription(name)).status == "canceled"
        return invoice, checkout, customer

    assert play(scenario) == play(scenario)


def test_a_subscription_that_was_made_up_goes_on_by_the_clock():
    async def scenario(providers, clock, inbox):
        one = await providers.billing.cancel("demo:sub_mock_1")
        clock.advance(32 * DAY)
        assert (await providers.billing.subscription(one.ref)).status == "canceled"

    play(scenario)
