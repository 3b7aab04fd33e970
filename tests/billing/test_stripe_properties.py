"""Of Stripe's replies and amounts: nothing is guessed, nothing is cut off, nothing else than our errors comes out."""

import asyncio
import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import Providers, Settings
from providers.billing import BillingEventType, Proration, stripe_objects
from providers.billing.stripe import PRORATION
from providers.billing.stripe_objects import major, minor
from providers.core.errors import BadResponseError, InvalidRequestError, ProviderError
from providers.core.models import Money, Ref
from providers.core.operation import Effect, Operation
from providers.core.transport import HttpResponse
from providers.testing.clock import ManualClock

DATA = Path(__file__).parent.parent / "data" / "stripe"

# docs.stripe.com/currencies: amount, currency, as Stripe counts it; None: it cannot be said.
AMOUNTS = [
    ("19.99", "USD", 1999),
    ("0", "USD", 0),
    ("19.999", "USD", None),
    ("1E+2", "USD", 10000),
    ("19.990", "EUR", 1999),
    ("500", "JPY", 500),
    ("500.0", "JPY", 500),
    ("500.5", "JPY", None),
    ("500", "ISK", 50000),
    ("500.50", "ISK", None),
    ("12", "UGX", 1200),
    ("12.10", "UGX", None),
    ("5", "MGA", 5),
    ("5.2", "MGA", None),
    ("5.12", "KWD", 5120),
    ("5.123", "KWD", None),
    ("5.1", "BHD", 5100),
    ("5.001", "TND", None),
    ("NaN", "USD", None),
    ("Infinity", "USD", None),
    ("1E+30", "USD", None),
    ("0.00000000000000000000000000000000000000001", "USD", None),
    ("1.00000000000000000000000000000000000000001", "USD", None),
]


@pytest.mark.parametrize(("amount", "currency", "counted"), AMOUNTS)
def test_amounts_are_counted_as_stripe_counts(amount, currency, counted):
    money = Money.model_construct(amount=Decimal(amount), currency=currency)
    if counted is None:
        with pytest.raises(InvalidRequestError) as error:
            minor(money, "lines.0.unit_price")
        assert error.value.field == "lines.0.unit_price"
        return
    assert minor(money, "amount") == counted
    assert major(counted, currency.lower()) == Money(amount=Decimal(amount), currency=currency)


@given(
    st.integers(-(10**12), 10**12),
    st.sampled_from(["USD", "EUR", "JPY", "ISK", "UGX", "MGA", "KWD", "BHD", "HUF", "XAF"]),
)
def test_what_stripe_counted_comes_back_exactly(amount, currency):
    money = major(amount, currency)
    try:
        counted = minor(money, "amount")
    except InvalidRequestError:
        assert currency in {"ISK", "UGX", "KWD", "BHD"}
        return
    assert counted == amount


def sample(what):
    return json.loads((DATA / f"{what}.json").read_text())


PREVIEW = sample("invoice_paid") | {"status": "draft"}
CUSTOMER, THING = Ref(vendor="stripe", id="cus_1"), Ref(vendor="stripe", id="x_1")
CALLS = {
    # A call of the adapter that makes one request, and a reply to it.
    "customer": (lambda a: a.customer(CUSTOMER), sample("customer")),
    "price": (lambda a: a.price(THING), sample("price")),
    "price by key": (lambda a: a.price_by_key("k"), sample("list_prices_page")),
    "checkout": (lambda a: a.checkout(THING), sample("checkout_session_open")),
    "portal": (lambda a: a.portal(CUSTOMER, "https://shop.example/"), sample("portal_session")),
    "subscription": (lambda a: a.subscription(THING), sample("subscription")),
    "invoice": (lambda a: a.invoice(THING), sample("invoice_paid")),
    "refund": (lambda a: a.refund(THING, None, None, "k"), sample("refund")),
    "payment": (lambda a: a.payment_of(Ref(vendor="stripe", id="ch_1")), sample("payment_intent")),
    "usage": (lambda a: a.record_usage(CUSTOMER, "m", Decimal(1), None, "k"), sample("meter_event")),
    "disputes": (lambda a: a.disputes(""), {"object": "list", "data": [], "has_more": False}),
    "check": (lambda a: a.check(), {"object": "balance", "livemode": True}),
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
odd_values = (
    st.none() | json_values | st.sampled_from([10**30, -1, float("inf"), "", {"id": "x"}, {"object": []}, True])
)


class Answer:
    def __init__(self):
        self.reply = HttpResponse(200, {}, b"")

    async def send(self, request):
        await asyncio.sleep(0)
        return self.reply

    async def aclose(self):
        pass


ANSWER = Answer()
ONE_WRITE = Operation(name="billing.anything", effect=Effect.ONCE, attempts=1)
SETTINGS = Settings(
    mode="live",
    vendors={"billing": "stripe"},
    credentials={"STRIPE_SECRET_KEY": "sk_test_0123456789"},
    environ={},
    env_file=None,
)


def outcome(step, status, content):
    """What a call of the adapter gives, or our error for what it raises, as the pipeline makes it."""
    ANSWER.reply = HttpResponse(status, {"content-type": "application/json"}, content)

    async def scenario():
        async with Providers(SETTINGS, clock=ManualClock(), transport=ANSWER) as providers:
            return await providers.billing._route.one(ONE_WRITE, None, step)

    try:
        return asyncio.run(scenario())
    except ProviderError as error:
        return error


@given(st.data())
def test_any_reply_is_read_or_a_bad_response(data):
    step, whole = CALLS[data.draw(st.sampled_from(sorted(CALLS)))]
    whole = json.loads(json.dumps(whole))
    places = [whole, *(value for value in whole.values() if isinstance(value, dict) and value)]
    place = data.draw(st.sampled_from(places))
    name = data.draw(st.sampled_from(sorted(place)))
    if data.draw(st.booleans()):
        place[name] = data.draw(odd_values)
    else:
        del place[name]
    found = outcome(step, 200, json.dumps(whole).encode())
    assert not isinstance(found, ProviderError) or isinstance(found, BadResponseError) or found.status is None


@given(
    st.sampled_from(sorted(CALLS)), st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode())
)
def test_any_success_is_read_or_a_bad_response(case, content):
    found = outcome(CALLS[case][0], 200, content)
    if isinstance(found, ProviderError):
        assert isinstance(found, BadResponseError) or found.code == "resource_missing"


problems = st.dictionaries(
    st.sampled_from(["type", "code", "decline_code", "param", "message", "payment_intent"]),
    st.none() | st.text(max_size=20) | json_values,
)


@given(st.integers(300, 599), problems | json_values)
def test_any_refusal_is_an_error_of_ours(status, problem):
    found = outcome(CALLS["refund"][0], status, json.dumps({"error": problem}).encode())
    assert isinstance(found, ProviderError)
    assert found.status == status
    # Nothing that is refused may have happened, but for what failed inside.
    assert found.may_have_applied == (status >= 500 or status == 408)


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (stripe_objects.checkout, "checkout_session_open"),
        (stripe_objects.customer, "customer"),
        (stripe_objects.subscription, "subscription"),
        (stripe_objects.invoice, "invoice_paid"),
        (stripe_objects.refund, "refund"),
        (stripe_objects.payment, "payment_intent"),
        (stripe_objects.price, "price"),
    ],
)
def test_expanded_objects_are_read_by_their_ids(read, name):
    plain, whole = sample(name), sample(name)
    for field in ("customer", "subscription", "invoice", "latest_invoice", "payment_intent", "charge", "product"):
        if isinstance(whole.get(field), str):
            whole[field] = {"id": whole[field], "object": field, "deleted": True}
    assert read(whole) == read(plain).model_copy(update={"raw": whole})


def test_a_tiered_price_has_no_amount():
    price = stripe_objects.price(sample("price") | {"unit_amount": None, "tiers_mode": "graduated"})
    assert (price.amount, price.lookup_key) == (None, "trendscout_pro_monthly")


def test_the_words_of_proration_and_events_are_all_known():
    assert set(PRORATION) == set(Proration)
    assert BillingEventType("teleported") is BillingEventType.UNKNOWN
