"""Subscriptions by the clock: trials, renewals, dunning, changes, cancellations; refunds, disputes, meters."""

from collections import Counter
from datetime import UTC, datetime

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st

from providers.testing.servers._stripe.dates import period_end, shifted
from providers.testing.servers.stripe import StripeServer

DAY = 86_400
URLS = {"success_url": "https://app.example/done"}
FAILS = "pm_card_chargeCustomerFail"


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setattr(stripe, "enable_telemetry", False)


@pytest.fixture
def server(clock):
    with StripeServer(clock=clock) as started:
        yield started


def services(server):
    http = stripe.RequestsClient()
    return stripe.StripeClient(server.secret_key, base_addresses={"api": server.url}, http_client=http).v1


@pytest.fixture
def api(server):
    return services(server)


@pytest.fixture
def pro(api):
    api.products.create({"id": "trendscout", "name": "TrendScout"})
    return price_of(api)


def price_of(api, amount=2900, interval="month", **more):
    recurring = {"interval": interval, **more}
    return api.prices.create(
        {"product": "trendscout", "currency": "usd", "unit_amount": amount, "recurring": recurring}
    )


def begin(server, api, price, card="pm_card_visa", quantity=1, **more):
    line = {"price": price.id, **({} if quantity is None else {"quantity": quantity})}
    session = api.checkout.sessions.create({"mode": "subscription", "line_items": [line], **URLS, **more})
    return api.subscriptions.retrieve(server.pay(session.id, card)["subscription"])


def item(subscription):
    return subscription["items"].data[0]


def kinds(server, since=0):
    return [event["type"] for event in server.events[since:]]


def told(server, kind):
    return [event for event in server.events if event["type"] == kind]


def at(*when):
    return int(datetime(*when, tzinfo=UTC).timestamp())


# Periods.


@pytest.mark.parametrize(
    ("anchor", "start", "interval", "count", "end"),
    [
        (at(2026, 1, 31), at(2026, 1, 31), "month", 1, at(2026, 2, 28)),
        (at(2026, 1, 31), at(2026, 2, 28), "month", 1, at(2026, 3, 31)),
        (at(2024, 2, 29), at(2024, 2, 29), "year", 1, at(2025, 2, 28)),
        (at(2024, 2, 29), at(2027, 2, 28), "year", 1, at(2028, 2, 29)),
        (at(2026, 11, 30), at(2026, 11, 30), "month", 3, at(2027, 2, 28)),
        (at(2026, 1, 1), at(2026, 1, 1), "week", 2, at(2026, 1, 15)),
        (at(2026, 1, 1), at(2026, 1, 3), "day", 1, at(2026, 1, 4)),
    ],
)
def test_periods_follow_the_anchor_through_short_months(anchor, start, interval, count, end):
    assert period_end(anchor, start, interval, count) == end


@given(st.integers(0, 4_000_000_000), st.integers(1, 40), st.sampled_from(["month", "year"]), st.integers(1, 3))
def test_periods_go_on_without_gaps(anchor, steps, interval, count):
    start = anchor
    for step in range(1, steps + 1):
        end = period_end(anchor, start, interval, count)
        assert end == shifted(anchor, step * count * (12 if interval == "year" else 1)) > start
        start = end


# The clock.


def test_a_trial_is_announced_ends_and_is_paid(server, api, pro, clock):
    one = begin(server, api, pro, subscription_data={"trial_period_days": 14})
    clock.now += 11 * DAY
    (notice,) = told(server, "customer.subscription.trial_will_end")
    assert notice["created"] == one.trial_end - 3 * DAY
    clock.now += 3 * DAY
    renewed = api.subscriptions.retrieve(one.id, {"expand": ["latest_invoice"]})
    assert renewed.status == "active"
    assert item(renewed).current_period_start == one.trial_end
    assert item(renewed).current_period_end == shifted(one.trial_end, 1)
    invoice = renewed.latest_invoice
    assert (invoice.status, invoice.total, invoice.billing_reason) == ("paid", 2900, "subscription_cycle")
    changed = next(
        event for event in told(server, "customer.subscription.updated") if event["created"] == one.trial_end
    )
    assert changed["data"]["previous_attributes"]["status"] == "trialing"
    assert changed["data"]["object"]["status"] == "active"


def test_a_year_of_renewals_happens_in_order_at_the_moments_due(server, api, pro, clock):
    one = begin(server, api, pro)
    clock.now = shifted(one.created, 12)
    server.advance()
    found = [invoice.created for invoice in api.invoices.list({"subscription": one.id, "limit": 100}).data]
    assert found == [shifted(one.created, month) for month in range(12, -1, -1)]
    moments = [event["created"] for event in server.events]
    assert moments == sorted(moments)
    assert Counter(kinds(server))["invoice.upcoming"] == 12
    assert told(server, "invoice.upcoming")[0]["created"] == shifted(one.created, 1) - 7 * DAY


def test_what_is_not_paid_is_tried_again_and_then_canceled(server, api, pro, clock):
    one = begin(server, api, pro)
    server.set_card(one.customer, FAILS)
    due = item(one).current_period_end
    clock.now = due
    assert api.subscriptions.retrieve(one.id).status == "past_due"
    assert api.customers.retrieve(one.customer).delinquent is True
    clock.now += 20 * DAY
    over = api.subscriptions.retrieve(one.id)
    assert (over.status, over.cancellation_details.reason) == ("canceled", "payment_failed")
    failed = told(server, "invoice.payment_failed")
    assert [event["created"] - due for event in failed] == [0, 3 * DAY, 8 * DAY, 15 * DAY]
    following = [event["data"]["object"]["next_payment_attempt"] for event in failed]
    assert following == [due + 3 * DAY, due + 8 * DAY, due + 15 * DAY, None]
    assert [event["data"]["object"]["attempt_count"] for event in failed] == [1, 2, 3, 4]
    assert told(server, "customer.subscription.deleted")[0]["created"] == due + 15 * DAY


def test_dunning_may_end_unpaid(clock):
    with StripeServer(clock=clock, after_retries="unpaid", retry_days=(1,)) as server:
        api = services(server)
        api.products.create({"id": "trendscout", "name": "TrendScout"})
        one = begin(server, api, price_of(api))
        server.set_card(one.customer, FAILS)
        clock.now = item(one).current_period_end + DAY
        assert api.subscriptions.retrieve(one.id).status == "unpaid"
        clock.now = shifted(one.created, 2)
        assert api.invoices.list({"subscription": one.id}).data[0].status == "draft"


def test_a_new_card_brings_a_past_due_subscription_back(server, api, pro, clock):
    one = begin(server, api, pro, FAILS)
    clock.now = item(one).current_period_end
    late = api.subscriptions.retrieve(one.id, {"expand": ["latest_invoice"]})
    with pytest.raises(stripe.CardError) as caught:
        api.invoices.pay(late.latest_invoice.id)
    assert (caught.value.code, caught.value.error.decline_code) == ("card_declined", "generic_decline")
    server.set_card(one.customer, "pm_card_visa")
    clock.now += 3 * DAY
    assert api.subscriptions.retrieve(one.id).status == "active"
    assert api.customers.retrieve(one.customer).delinquent is False
    with pytest.raises(stripe.InvalidRequestError, match="already paid"):
        api.invoices.pay(late.latest_invoice.id)


def test_a_card_that_asks_for_its_holder(server, api, pro, clock, call):
    one = begin(server, api, pro, "pm_card_threeDSecure2Required")
    assert one.status == "active"
    clock.now = item(one).current_period_end
    server.advance()
    (asked,) = told(server, "invoice.payment_action_required")
    invoice = asked["data"]["object"]
    assert told(server, "payment_intent.requires_action")
    page = invoice["hosted_invoice_url"].removeprefix(server.url)
    assert b">Pay<" in call(server, "GET", page).body
    assert call(server, "POST", page, data=b"").status == 200
    assert api.subscriptions.retrieve(one.id).status == "active"
    assert api.invoices.retrieve(invoice["id"]).status == "paid"


def test_a_first_payment_that_fails_expires_after_23_hours(server, api, pro, clock):
    customer = api.customers.create({"email": "a@example.com", "payment_method": FAILS})
    one = api.subscriptions.create({"customer": customer.id, "items": [{"price": pro.id}]})
    assert one.status == "incomplete"
    clock.now += 23 * 3600
    assert api.subscriptions.retrieve(one.id).status == "incomplete_expired"
    assert api.invoices.retrieve(one.latest_invoice).status == "void"


@pytest.mark.parametrize(("missing", "status"), [("cancel", "canceled"), ("pause", "paused")])
def test_a_trial_without_a_card_ends_as_told(server, api, pro, clock, missing, status):
    data = {"trial_period_days": 7, "trial_settings": {"end_behavior": {"missing_payment_method": missing}}}
    one = begin(server, api, pro, None, payment_method_collection="if_required", subscription_data=data)
    clock.now += 7 * DAY
    assert api.subscriptions.retrieve(one.id).status == status
    if status == "paused":
        server.set_card(one.customer, "pm_card_visa")
        assert api.subscriptions.resume(one.id).status == "active"
        assert kinds(server)[-2:] == ["customer.subscription.resumed", "customer.subscription.updated"]


# Cancellations.


def test_cancel_at_the_end_and_keep(server, api, pro, clock):
    one = begin(server, api, pro)
    planned = api.subscriptions.update(one.id, {"cancel_at_period_end": True})
    assert (planned.status, planned.cancel_at) == ("active", item(one).current_period_end)
    assert api.subscriptions.update(one.id, {"cancel_at_period_end": False}).cancel_at is None
    previous = [event["data"]["previous_attributes"] for event in told(server, "customer.subscription.updated")[-2:]]
    assert [change["cancel_at_period_end"] for change in previous] == [False, True]
    api.subscriptions.update(one.id, {"cancel_at_period_end": True})
    clock.now = item(one).current_period_end
    over = api.subscriptions.retrieve(one.id)
    assert (over.status, over.ended_at) == ("canceled", item(one).current_period_end)
    assert len(api.invoices.list({"subscription": one.id}).data) == 1
    assert api.subscriptions.list({"customer": one.customer}).data == []
    assert [found.id for found in api.subscriptions.list({"customer": one.customer, "status": "all"}).data] == [one.id]


def test_cancel_now_and_only_once(server, api, pro):
    one = begin(server, api, pro)
    details = {"cancellation_details": {"comment": "bye", "feedback": "too_expensive"}}
    over = api.subscriptions.cancel(one.id, details)
    assert (over.status, over.cancellation_details.feedback) == ("canceled", "too_expensive")
    with pytest.raises(stripe.InvalidRequestError) as caught:
        api.subscriptions.cancel(one.id)
    assert (caught.value.http_status, caught.value.code) == (404, "resource_missing")
    with pytest.raises(stripe.InvalidRequestError, match="canceled subscription"):
        api.subscriptions.update(one.id, {"cancel_at_period_end": True})


def test_cancel_now_with_money_back_makes_credit(server, api, pro, clock):
    one = begin(server, api, pro)
    clock.now += (item(one).current_period_end - one.created) // 2
    api.subscriptions.cancel(one.id, {"invoice_now": True, "prorate": True})
    assert api.customers.retrieve(one.customer).balance == -1450


# Changes.


def change(api, one, price, **more):
    return api.subscriptions.update(one.id, {"items": [{"id": item(one).id, "price": price.id}], **more})


def previewed(api, one, price, **more):
    details = {"items": [{"id": item(one).id, "price": price.id}], **more}
    return api.invoices.create_preview({"subscription": one.id, "subscription_details": details})


def half(one, clock):
    clock.now += (item(one).current_period_end - one.created) // 2
    return int(clock.now)


def test_an_upgrade_now_charges_what_the_preview_said(server, api, pro, clock):
    one, best = begin(server, api, pro), price_of(api, 9900)
    moment = half(one, clock)
    now = {"proration_behavior": "always_invoice", "proration_date": moment}
    preview = previewed(api, one, best, **now)
    assert [line.amount for line in preview.lines.data] == [-1450, 4950]
    assert [line.parent.invoice_item_details.proration for line in preview.lines.data] == [True, True]
    assert len(server.objects("invoice")) == 1
    clock.now += 600
    changed = change(api, one, best, payment_behavior="pending_if_incomplete", **now)
    assert item(changed).price.id == best.id
    assert changed.pending_update is None
    invoice = api.invoices.retrieve(changed.latest_invoice)
    assert (invoice.total, invoice.status, invoice.billing_reason) == (preview.total, "paid", "subscription_update")
    assert item(changed).current_period_end == item(one).current_period_end


def test_an_upgrade_that_is_not_paid_waits(server, api, pro, clock):
    one, best = begin(server, api, pro), price_of(api, 9900)
    server.set_card(one.customer, FAILS)
    half(one, clock)
    now = {"proration_behavior": "always_invoice", "payment_behavior": "pending_if_incomplete"}
    waits = change(api, one, best, **now)
    assert (waits.status, item(waits).price.id) == ("active", pro.id)
    assert waits.pending_update.subscription_items[0].price.id == best.id
    server.set_card(one.customer, "pm_card_visa")
    api.invoices.pay(waits.latest_invoice)
    done = api.subscriptions.retrieve(one.id)
    assert (item(done).price.id, done.pending_update) == (best.id, None)
    assert told(server, "customer.subscription.pending_update_applied")


def test_an_upgrade_that_is_never_paid_is_dropped(server, api, pro, clock):
    one, best = begin(server, api, pro), price_of(api, 9900)
    server.set_card(one.customer, FAILS)
    now = {"proration_behavior": "always_invoice", "payment_behavior": "pending_if_incomplete"}
    half(one, clock)
    waits = change(api, one, best, **now)
    clock.now += 23 * 3600
    done = api.subscriptions.retrieve(one.id)
    assert (item(done).price.id, done.pending_update) == (pro.id, None)
    assert api.invoices.retrieve(waits.latest_invoice).status == "void"
    with pytest.raises(stripe.InvalidRequestError) as caught:
        change(api, one, best, metadata={"plan": "best"}, **now)
    assert caught.value.param == "metadata"


def test_an_upgrade_that_must_be_paid_is_refused_without_money(server, api, pro, clock):
    one, best = begin(server, api, pro), price_of(api, 9900)
    server.set_card(one.customer, FAILS)
    half(one, clock)
    with pytest.raises(stripe.CardError):
        change(api, one, best, proration_behavior="always_invoice", payment_behavior="error_if_incomplete")
    assert item(api.subscriptions.retrieve(one.id)).price.id == pro.id


def test_prorations_wait_for_the_next_invoice(server, api, pro, clock):
    one, best = begin(server, api, pro), price_of(api, 9900)
    half(one, clock)
    preview = previewed(api, one, best)
    assert [line.amount for line in preview.lines.data] == [-1450, 4950, 9900]
    change(api, one, best)
    assert len(server.objects("invoice")) == 1
    clock.now = item(one).current_period_end
    newest = api.invoices.list({"subscription": one.id}).data[0]
    assert (newest.total, newest.status) == (preview.total, "paid")


def test_no_prorations_and_none_in_a_trial(server, api, pro, clock):
    best = price_of(api, 9900)
    one = begin(server, api, pro)
    half(one, clock)
    change(api, one, best, proration_behavior="none")
    clock.now = item(one).current_period_end
    assert api.invoices.list({"subscription": one.id}).data[0].total == 9900
    trial = begin(server, api, pro, subscription_data={"trial_period_days": 14})
    change(api, trial, best, proration_behavior="always_invoice")
    assert [one.total for one in api.invoices.list({"subscription": trial.id}).data] == [0]


def test_another_interval_begins_a_period_now(server, api, pro, clock):
    one, yearly = begin(server, api, pro), price_of(api, 29000, "year")
    moment = half(one, clock)
    assert previewed(api, one, yearly).total == 29000 - 1450
    changed = change(api, one, yearly)
    assert item(changed).current_period_start == moment
    assert item(changed).current_period_end == shifted(moment, 12)
    assert api.invoices.retrieve(changed.latest_invoice).total == 29000 - 1450


def test_a_downgrade_leaves_credit_that_the_next_invoice_uses(server, api, pro, clock):
    best = price_of(api, 9900)
    one = begin(server, api, best)
    half(one, clock)
    changed = change(api, one, pro, proration_behavior="always_invoice")
    invoice = api.invoices.retrieve(changed.latest_invoice)
    assert (invoice.total, invoice.amount_due, invoice.status) == (-3500, 0, "paid")
    assert api.customers.retrieve(one.customer).balance == -3500
    clock.now = item(one).current_period_end
    newest = api.invoices.list({"subscription": one.id}).data[0]
    assert (newest.total, newest.amount_due) == (2900, 0)
    assert api.customers.retrieve(one.customer).balance == -600


def test_changes_that_cannot_be_are_refused(server, api, pro, clock):
    one = begin(server, api, pro)
    yearly, once = (
        price_of(api, 100, "year"),
        api.prices.create({"product": "trendscout", "currency": "usd", "unit_amount": 100}),
    )
    for given_, param in [
        ({"items": [{"id": "si_x", "price": pro.id}]}, "items[0][id]"),
        ({"items": [{"id": item(one).id, "price": once.id}]}, "items[0][price]"),
        ({"items": [{"price": yearly.id}]}, "items"),
        ({"items": [{"price": pro.id}]}, "items[0][price]"),
        ({"items": [{"id": item(one).id, "deleted": True}]}, "items"),
        ({"items": [{"id": item(one).id, "quantity": 2}], "proration_date": 1}, "proration_date"),
        ({"discounts": [{"coupon": "x"}]}, "discounts"),
    ]:
        with pytest.raises(stripe.InvalidRequestError) as caught:
            api.subscriptions.update(one.id, given_)
        assert caught.value.param == param
    assert item(api.subscriptions.retrieve(one.id)).to_dict() == item(one).to_dict()


def test_collection_can_be_paused(server, api, pro, clock):
    one = begin(server, api, pro)
    api.subscriptions.update(one.id, {"pause_collection": {"behavior": "void"}})
    clock.now = item(one).current_period_end
    assert api.invoices.list({"subscription": one.id}).data[0].status == "void"
    api.subscriptions.update(one.id, {"pause_collection": ""})
    clock.now = shifted(one.created, 2)
    assert api.invoices.list({"subscription": one.id}).data[0].status == "paid"


# Money back.


@pytest.fixture
def payment(server, api):
    data = {"currency": "usd", "unit_amount": 3000, "product_data": {"name": "Mug"}}
    lines = [{"price_data": data, "quantity": 1}]
    session = api.checkout.sessions.create({"mode": "payment", "line_items": lines, **URLS})
    return server.pay(session.id)["payment_intent"]


def test_refunds_up_to_what_was_paid(server, api, payment):
    first = api.refunds.create({"payment_intent": payment, "amount": 1000, "reason": "duplicate"})
    assert (first.status, first.amount, first.reason) == ("succeeded", 1000, "duplicate")
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded amount"):
        api.refunds.create({"payment_intent": payment, "amount": 2001})
    rest = api.refunds.create({"charge": first.charge, "metadata": {"n": "2"}})
    assert rest.amount == 2000
    with pytest.raises(stripe.InvalidRequestError) as caught:
        api.refunds.create({"payment_intent": payment})
    assert caught.value.code == "charge_already_refunded"
    assert [one.id for one in api.refunds.list({"payment_intent": payment}).data] == [rest.id, first.id]
    charge = api.charges.retrieve(first.charge, {"expand": ["refunds"]})
    assert (charge.refunded, len(charge.refunds.data)) == (True, 2)
    assert [event["data"]["object"]["amount_refunded"] for event in told(server, "charge.refunded")] == [1000, 3000]
    server.fail_refund(rest.id)
    assert api.refunds.retrieve(rest.id).status == "failed"
    assert kinds(server)[-1] == "refund.failed"


@pytest.mark.parametrize("change_", [{"amount": 0}, {"reason": "whim"}, {"payment_intent": "pi_x"}, {"charge": "ch_x"}])
def test_refunds_that_cannot_be_are_refused(server, api, payment, change_):
    with pytest.raises(stripe.InvalidRequestError):
        api.refunds.create({"payment_intent": payment, **change_})
    assert server.objects("refund") == []


def test_a_dispute_stops_refunds(server, api, payment):
    made = server.dispute(payment)
    assert api.disputes.retrieve(made["id"]).status == "needs_response"
    assert [one.id for one in api.disputes.list({"payment_intent": payment}).data] == [made["id"]]
    with pytest.raises(stripe.InvalidRequestError) as caught:
        api.refunds.create({"payment_intent": payment})
    assert caught.value.code == "charge_disputed"
    assert server.close_dispute(made["id"], "won")["status"] == "won"
    assert kinds(server)[-1] == "charge.dispute.closed"
    assert api.balance.retrieve().available[0].amount == 3000


# Usage.


def test_usage_is_counted_once_and_billed(server, api, pro, clock):
    meter = api.billing.meters.create(
        {"display_name": "Tokens", "event_name": "tokens", "default_aggregation": {"formula": "sum"}}
    )
    recurring = {"interval": "month", "usage_type": "metered", "meter": meter.id}
    price = api.prices.create(
        {"product": "trendscout", "currency": "usd", "unit_amount_decimal": "0.5", "recurring": recurring}
    )
    one = begin(server, api, price, quantity=None)

    def use(value, identifier, **more):
        payload = {"stripe_customer_id": one.customer, "value": value}
        return api.billing.meter_events.create(
            {"event_name": "tokens", "payload": payload, "identifier": identifier, **more}
        )

    clock.now += DAY
    assert use("101", "a").identifier == "a"
    with pytest.raises(stripe.InvalidRequestError, match="already exists with identifier a"):
        use("101", "a")
    use("3", "b", timestamp=int(clock.now) - 60)
    for bad in ({"timestamp": int(clock.now) - 36 * DAY}, {"timestamp": int(clock.now) + 301}):
        with pytest.raises(stripe.InvalidRequestError):
            use("1", "c", **bad)
    with pytest.raises(stripe.InvalidRequestError):
        use("many", "d")
    clock.now = item(one).current_period_end
    newest = api.invoices.list({"subscription": one.id}).data[0]
    assert (newest.total, newest.lines.data[0].quantity) == (52, 104)
    with pytest.raises(stripe.InvalidRequestError):
        api.billing.meters.create(
            {"display_name": "Again", "event_name": "tokens", "default_aggregation": {"formula": "sum"}}
        )
