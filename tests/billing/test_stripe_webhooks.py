"""Stripe's webhooks: signatures that its library makes and checks, and every event that is subscribed to."""

import asyncio
import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st

from providers import Providers, Settings
from providers.billing import BillingEventType
from providers.billing.stripe_events import TYPES, parse, verify
from providers.core.errors import BadResponseError, ConfigurationError, WebhookVerificationError
from providers.core.models import RawRequest
from providers.testing.clock import START, ManualClock

DATA = Path(__file__).parent.parent / "data" / "stripe"
SECRET = "whsec_canary0123456789"
NOW = int(START)
UPDATED = json.loads((DATA / "event_customer_subscription_updated.json").read_text())


def sample(what, /, **changes):
    return json.loads((DATA / f"{what}.json").read_text()) | changes


def event(type_, thing, **data):
    return {
        "id": "evt_1",
        "object": "event",
        "type": type_,
        "created": NOW,
        "livemode": True,
        "data": {"object": thing, **data},
    }


def packed(value):
    return json.dumps(value).encode()


def signed(body, *, secret=SECRET, at=NOW):
    """As the vendor's library signs."""
    header = stripe.WebhookSignature.generate_signature_header(body.decode(), secret, timestamp=at)
    return RawRequest(body=body, headers={"Stripe-Signature": header})


def receive(request, **credentials):
    settings = Settings(
        mode="live",
        vendors={"billing": "stripe"},
        credentials={"STRIPE_SECRET_KEY": "sk_test_0123456789", "STRIPE_WEBHOOK_SECRET": SECRET} | credentials,
        environ={},
        env_file=None,
    )

    async def scenario():
        async with Providers(settings, clock=ManualClock()) as providers:
            return await providers.billing.webhook(request)

    return asyncio.run(scenario())


def test_the_vendors_own_vector():
    vector = sample("webhook_signature_vector")
    request = RawRequest(body=vector["body"].encode(), headers={"stripe-signature": vector["header"]})
    verify(request, [vector["secret"]], now=vector["timestamp"], tolerance=300)
    with pytest.raises(WebhookVerificationError):
        verify(request, ["whsec_other"], now=vector["timestamp"], tolerance=300)


@given(st.text(max_size=200), st.text(min_size=1, max_size=60).filter(str.strip), st.integers(1, 10**11))
def test_the_library_and_we_agree_on_signatures(text, secret, at):
    header = stripe.WebhookSignature.generate_signature_header(text, secret, timestamp=at)
    request = RawRequest(body=text.encode(), headers={"stripe-signature": header})
    verify(request, ["whsec_another", secret], now=at, tolerance=1)
    assert stripe.WebhookSignature.verify_header(text, header, secret)
    other = RawRequest(body=text.encode() + b" ", headers={"stripe-signature": header})
    with pytest.raises(WebhookVerificationError):
        verify(other, [secret], now=at, tolerance=1)


@given(st.text(max_size=80) | st.from_regex(r"(t=[0-9]{0,14}|v1=[0-9a-f]{0,8}|v0=x|,| |t|=){0,8}", fullmatch=True))
def test_no_header_is_let_through_or_crashes(header):
    request = RawRequest(body=b"{}", headers={"stripe-signature": header})
    with pytest.raises(WebhookVerificationError):
        verify(request, [SECRET], now=NOW, tolerance=300)


def test_what_we_accept_the_library_accepts():
    body = packed(UPDATED)
    request = signed(body)
    (found,) = receive(request).events
    theirs = stripe.Webhook.construct_event(body, request.headers["stripe-signature"], SECRET, tolerance=10**9)
    assert (found.event_id, found.raw["type"]) == (theirs.id, theirs.type)


@pytest.mark.parametrize(("age", "good"), [(0, True), (300, True), (-300, True), (301, False), (-301, False)])
def test_neither_old_nor_future_events_are_taken(age, good):
    request = signed(packed(UPDATED), at=NOW - age)
    if good:
        assert receive(request).events
        return
    with pytest.raises(WebhookVerificationError):
        receive(request)


def test_the_tolerance_can_be_set():
    assert receive(signed(packed(UPDATED), at=NOW - 900), STRIPE_WEBHOOK_TOLERANCE="1000").events


@pytest.mark.parametrize("value", ["0", "-1", "soon", "inf", "nan"])
def test_a_tolerance_that_would_take_anything_is_refused(value):
    with pytest.raises(ConfigurationError) as error:
        receive(signed(packed(UPDATED)), STRIPE_WEBHOOK_TOLERANCE=value)
    assert error.value.field == "STRIPE_WEBHOOK_TOLERANCE"


def test_while_a_secret_is_rolled_either_is_good():
    old, new = signed(packed(UPDATED)), signed(packed(UPDATED), secret="whsec_new0123456789")
    both = f"{SECRET}, whsec_new0123456789"
    for request in (old, new):
        assert receive(request, STRIPE_WEBHOOK_SECRET=both).events
    two = old.headers["stripe-signature"] + "," + new.headers["stripe-signature"].partition(",")[2]
    twice = RawRequest(body=old.body, headers={"stripe-signature": two})
    assert receive(twice).events
    assert receive(twice, STRIPE_WEBHOOK_SECRET="whsec_new0123456789").events


def test_the_old_scheme_is_no_signature():
    request = signed(packed(UPDATED))
    header = request.headers["stripe-signature"].replace("v1=", "v0=")
    with pytest.raises(WebhookVerificationError):
        receive(RawRequest(body=request.body, headers={"stripe-signature": header}))


def test_without_a_secret_nothing_can_be_trusted():
    with pytest.raises(ConfigurationError) as error:
        receive(signed(packed(UPDATED)), STRIPE_WEBHOOK_SECRET="")
    assert error.value.field == "STRIPE_WEBHOOK_SECRET"


def test_it_is_the_bytes_that_are_signed():
    """The same JSON in other words is not what was signed."""
    body = packed(UPDATED)
    again = json.dumps(json.loads(body), indent=1).encode()
    with pytest.raises(WebhookVerificationError):
        receive(RawRequest(body=again, headers=signed(body).headers))


THINGS = {
    "checkout": sample("checkout_session_open"),
    "customer": sample("customer"),
    "subscription": sample("subscription"),
    "invoice": sample("invoice_paid"),
    "refund": sample("refund"),
    "payment": sample("payment_intent"),
    "dispute": {
        "id": "du_1",
        "object": "dispute",
        "status": "needs_response",
        "reason": "fraudulent",
        "amount": 1500,
        "currency": "usd",
        "created": NOW,
        "charge": "ch_1",
        "payment_intent": "pi_1",
        "evidence_details": {"due_by": NOW + 86_400},
        "metadata": {},
    },
}


@pytest.mark.parametrize("type_", TYPES)
def test_every_event_that_is_subscribed_to_has_its_type_and_its_object(type_):
    kind, name = TYPES[type_]
    found = parse(packed(event(type_, THINGS[name])))
    assert found.type is kind is not BillingEventType.UNKNOWN
    others = [other for other in THINGS if getattr(found, other) is not None]
    assert others == [name]
    assert getattr(found, name).raw == THINGS[name]
    assert (found.event_id, found.livemode, found.occurred_at.timestamp(), found.vendor) == (
        "evt_1",
        True,
        NOW,
        "stripe",
    )


def test_all_types_of_events_but_the_unknown_can_come():
    sent = {kind for kind, _ in TYPES.values()} | {BillingEventType.USAGE_REJECTED, BillingEventType.UNKNOWN}
    assert sent == set(BillingEventType)


def test_the_subscriptions_event_holds_what_changed_and_its_period():
    update = event(
        "customer.subscription.updated",
        UPDATED["data"]["object"],
        previous_attributes={"status": "trialing", "items": {}},
    )
    found = parse(packed(update | {"account": "acct_7"}))
    subscription = found.subscription
    assert found.changed == ("status", "items")
    assert found.account == "acct_7"
    assert found.metadata == {"service": "trendscout", "user_id": "17", "plan": "pro"}
    assert (subscription.period_start.timestamp(), subscription.period_end.timestamp()) == (1795000000, 1796209600)
    assert (subscription.lookup_key, subscription.cancel_at_period_end) == ("trendscout_pro_monthly", True)


def test_an_invoices_event_names_its_subscription_and_whose_it_is():
    found = parse((DATA / "event_invoice_payment_failed.json").read_bytes())
    assert found.type is BillingEventType.INVOICE_FAILED
    assert found.invoice.subscription.id == "sub_own00000000000000000001"
    assert (found.invoice.attempts, found.invoice.next_attempt_at.timestamp()) == (1, 1796469000)
    assert found.metadata == {"service": "trendscout", "user_id": "17"}


def test_our_key_is_not_told():
    session = sample("checkout_session_open", metadata={"order": "7", "providers_key": "k"})
    found = parse(packed(event("checkout.session.completed", session)))
    assert found.metadata == found.checkout.metadata == {"order": "7"}


def test_an_invoice_to_come_may_have_no_id():
    upcoming = {name: value for name, value in sample("invoice_paid").items() if name != "id"}
    found = parse(packed(event("invoice.upcoming", upcoming)))
    assert (found.type, found.invoice) == (BillingEventType.INVOICE_UPCOMING, None)
    assert found.raw["data"]["object"]["customer"] == upcoming["customer"]


def test_a_failed_payment_says_why_and_a_refunded_charge_is_its_payment():
    failure = {"code": "card_declined", "decline_code": "insufficient_funds", "message": "No funds."}
    failed = sample("payment_intent", status="requires_payment_method", last_payment_error=failure)
    found = parse(packed(event("payment_intent.payment_failed", failed))).payment
    assert (found.failure_code, found.failure) == ("insufficient_funds", "No funds.")
    charge = {"id": "ch_1", "status": "succeeded", "amount": 5, "currency": "jpy", "payment_intent": "pi_1"}
    found = parse(packed(event("charge.refunded", charge))).payment
    assert (found.ref.id, str(found.amount)) == ("pi_1", "5 JPY")


@pytest.mark.parametrize(
    ("type_", "kind"),
    [
        ("v1.billing.meter.error_report_triggered", BillingEventType.USAGE_REJECTED),
        ("v2.core.account.updated", BillingEventType.UNKNOWN),
    ],
)
def test_thin_events_are_read(type_, kind):
    found = parse(packed(sample("event_thin_meter_error", type=type_)))
    assert (found.type, found.event_id, found.livemode) == (kind, "evt_test_own65", False)
    assert found.occurred_at.isoformat() == "2026-11-01T10:00:00+00:00"
    assert found.raw["related_object"]["id"] == "mtr_own1"


def test_an_event_of_tomorrow_is_unknown_and_whole():
    tomorrow = event("customer.teleported", {"object": "portal_gun", "metadata": 5})
    found = parse(packed(tomorrow))
    assert (found.type, found.raw, found.metadata) == (BillingEventType.UNKNOWN, tomorrow, {})


def test_a_status_of_tomorrow_is_an_error_and_no_guess():
    changed = event("customer.subscription.updated", sample("subscription", status="half_alive"))
    with pytest.raises(BadResponseError):
        parse(packed(changed))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_body_is_an_event_or_a_bad_response(body):
    with contextlib.suppress(BadResponseError):
        assert parse(body).vendor == "stripe"


@given(st.data())
def test_any_change_to_an_event_is_an_event_or_a_bad_response(data):
    type_ = data.draw(st.sampled_from(sorted(TYPES)))
    whole = event(type_, dict(THINGS[TYPES[type_][1]]), previous_attributes={})
    place = data.draw(st.sampled_from([whole, whole["data"], whole["data"]["object"]]))
    name = data.draw(st.sampled_from(sorted(place)))
    value = data.draw(st.none() | json_values | st.sampled_from([10**30, -1, float("nan"), "", {"id": "x"}]))
    if data.draw(st.booleans()):
        place[name] = value
    else:
        del place[name]
    try:
        found = parse(json.dumps(whole).encode())
    except BadResponseError:
        return
    assert found.type in BillingEventType
    assert found.model_dump_json()


def test_events_need_no_library_of_the_vendors():
    code = "import sys; from providers.billing import stripe_events; assert 'stripe' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
