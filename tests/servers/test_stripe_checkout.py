"""Catalogue and checkout: prices by key, amounts, sessions that are paid, declined and expire."""

import importlib
import json
from pathlib import Path
from urllib.parse import urlencode

import pytest
import stripe

from providers.testing.servers._stripe import (
    catalog,
    checkout,
    customers,
    hooks,
    meters,
    portal,
    refunds,
    subscriptions,
)
from providers.testing.servers.stripe import StripeServer

SAMPLES = Path(__file__).parent.parent / "data" / "stripe"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
DAY = 86_400
URLS = {"success_url": "https://app.example/done?session_id={CHECKOUT_SESSION_ID}", "cancel_url": "https://app.example"}


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setattr(stripe, "enable_telemetry", False)


@pytest.fixture
def server(clock):
    with StripeServer(clock=clock) as started:
        yield started


@pytest.fixture
def api(server):
    http = stripe.RequestsClient()
    return stripe.StripeClient(server.secret_key, base_addresses={"api": server.url}, http_client=http).v1


@pytest.fixture
def price(api):
    api.products.create({"id": "trendscout", "name": "TrendScout"})
    return price_of(api)


def price_of(api, amount=2900, **more):
    recurring = {"interval": "month"}
    return api.prices.create(
        {"product": "trendscout", "currency": "usd", "unit_amount": amount, "recurring": recurring, **more}
    )


def once(api, amount=1500, currency="usd", quantity=1, **more):
    data = {"currency": currency, "unit_amount": amount, "product_data": {"name": "Mug"}}
    lines = [{"price_data": data, "quantity": quantity}]
    return api.checkout.sessions.create({"mode": "payment", "line_items": lines, **URLS, **more})


def subscribe(api, price, **more):
    lines = [{"price": price.id, "quantity": 1}]
    return api.checkout.sessions.create({"mode": "subscription", "line_items": lines, **URLS, **more})


def kinds(server):
    return [event["type"] for event in server.events]


def sample(name):
    return json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))


# What is taken is what the library's typed parameters know.

SHAPES = {
    name: shape
    for module in (catalog, checkout, customers, hooks, meters, portal, refunds, subscriptions)
    for name, shape in module.SHAPES.items()
}
OPTIONS = {
    *("api_key", "stripe_version", "stripe_account", "stripe_context", "max_network_retries", "idempotency_key"),
    *("content_type", "headers", "expand"),
}


def typed(module, name):
    return getattr(importlib.import_module(f"stripe.params.{module}".rstrip(".")), name)


def compare(shape, kind, module, path):
    known = {key: str(getattr(hint, "__forward_arg__", hint)) for key, hint in kind.__annotations__.items()}
    extra = set(shape) - set(known)
    assert not extra, f"{path}: {extra}"
    for name, field in shape.items():
        if field.inner is not None:
            title = "".join(part.title() for part in name.rstrip("s" if field.many else "").split("_"))
            inner = getattr(importlib.import_module(f"stripe.params.{module}".rstrip(".")), kind.__name__ + title, None)
            if inner is not None:
                compare(field.inner, inner, module, f"{path}.{name}")
        assert name not in known or field.required <= ("NotRequired" not in known[name]), f"{path}.{name}"
    return set(known) - set(shape) - OPTIONS


@pytest.mark.parametrize("name", SHAPES)
def test_the_parameters_are_those_of_the_library(name):
    module, _, title = name.rpartition(".")
    module = "billing" if title.startswith("Meter") else module
    missing = compare(SHAPES[name], typed(module, title), module, name)
    if not name.startswith(("Subscription", "Invoice")):
        assert missing == set()


# Prices.


def test_a_price_looks_like_the_sample(api, price):
    made = price_of(api, lookup_key="trendscout_pro_monthly", nickname="Pro", metadata={"plan": "pro"}).to_dict()
    wanted = sample("price")
    assert wanted.keys() <= made.keys()
    assert made["recurring"] == wanted["recurring"]
    assert str(made["unit_amount_decimal"]) == wanted["unit_amount_decimal"]


def test_a_lookup_key_has_one_price_and_is_transferred(api, price):
    first = price_of(api, lookup_key="key")
    with pytest.raises(stripe.InvalidRequestError, match="already uses that lookup key"):
        price_of(api, 3900, lookup_key="key")
    second = price_of(api, 3900, lookup_key="key", transfer_lookup_key=True)
    assert [one.id for one in api.prices.list({"lookup_keys": ["key", "other"], "active": True}).data] == [second.id]
    assert api.prices.retrieve(first.id).lookup_key is None
    api.prices.update(second.id, {"active": False})
    assert api.prices.list({"lookup_keys": ["key"], "active": True}).data == []
    with pytest.raises(stripe.InvalidRequestError, match="up to 10"):
        api.prices.list({"lookup_keys": [str(each) for each in range(11)]})


def test_amounts_of_prices_do_not_change(api, price):
    for change in ({"unit_amount": 1}, {"currency": "eur"}, {"recurring": {"interval": "year"}}):
        with pytest.raises(stripe.InvalidRequestError) as caught:
            api.prices.update(price.id, change)
        assert caught.value.code == "parameter_unknown"


def test_products_are_made_once(api, price):
    with pytest.raises(stripe.InvalidRequestError) as caught:
        api.products.create({"id": "trendscout", "name": "Other"})
    assert caught.value.code == "resource_already_exists"
    with pytest.raises(stripe.InvalidRequestError, match="user-created prices"):
        api.products.delete("trendscout")
    assert api.products.update("trendscout", {"active": False}).active is False


@pytest.mark.parametrize(
    ("currency", "amount", "code"),
    [
        ("xxx", 100, None),
        ("usd", -1, "parameter_invalid_integer"),
        ("usd", 100_000_000, "amount_too_large"),
        ("kwd", 1001, "invalid_charge_amount"),
        ("isk", 150, "invalid_charge_amount"),
        ("usd", None, "parameter_missing"),
    ],
)
def test_amounts_that_a_currency_does_not_have_are_refused(api, price, currency, amount, code):
    given = {"product": "trendscout", "currency": currency, **({} if amount is None else {"unit_amount": amount})}
    with pytest.raises(stripe.InvalidRequestError) as caught:
        api.prices.create(given)
    assert caught.value.code == code


def test_metered_prices_need_a_meter_and_fractions_have_no_unit_amount(api, price):
    metered = {"interval": "month", "usage_type": "metered"}
    with pytest.raises(stripe.InvalidRequestError, match="meter"):
        price_of(api, recurring=metered)
    exact = api.prices.create({"product": "trendscout", "currency": "usd", "unit_amount_decimal": "0.25"}).to_dict()
    assert (exact["unit_amount"], str(exact["unit_amount_decimal"]), exact["type"]) == (None, "0.25", "one_time")


# Sessions.


def test_an_open_session_looks_like_the_sample(api, price, server):
    made = subscribe(api, price, client_reference_id="user-17", metadata={"plan": "pro"}).to_dict()
    wanted = sample("checkout_session_open")
    assert wanted.keys() <= made.keys()
    for name in ("object", "mode", "status", "payment_status", "amount_total", "currency", "client_reference_id"):
        assert made[name] == wanted[name]
    assert made["expires_at"] - made["created"] == DAY
    assert made["url"].startswith(server.url + "/c/pay/cs_test_")


def test_a_paid_session_has_its_payment(api, server):
    session = once(api, quantity=2, payment_intent_data={"metadata": {"order": "7"}}, metadata={"cart": "c"})
    assert (session.amount_total, session.payment_intent, session.customer) == (3000, None, None)
    paid = server.pay(session.id)
    assert (paid["status"], paid["payment_status"], paid["url"]) == ("complete", "paid", None)
    intent = api.payment_intents.retrieve(paid["payment_intent"], {"expand": ["latest_charge"]})
    assert (intent.status, intent.amount_received, intent.metadata["order"]) == ("succeeded", 3000, "7")
    assert (intent.latest_charge.paid, intent.latest_charge.amount) == (True, 3000)
    assert sample("payment_intent").keys() <= intent.to_dict().keys()
    assert kinds(server)[-4:] == [
        *("payment_intent.created", "charge.succeeded", "payment_intent.succeeded", "checkout.session.completed")
    ]
    with pytest.raises(ValueError, match="complete"):
        server.pay(session.id)


@pytest.mark.parametrize("card", ["pm_card_chargeDeclined", "pm_card_chargeDeclinedInsufficientFunds"])
def test_a_declined_card_leaves_the_session_open(api, server, price, card):
    for session in (once(api), subscribe(api, price)):
        assert server.pay(session.id, card)["status"] == "open"
        assert server.pay(session.id, "pm_card_visa")["status"] == "complete"
    assert len(server.objects("payment_intent")) == 2
    assert kinds(server).count("payment_intent.payment_failed") == 1
    assert len(server.objects("subscription")) == 1


def test_a_subscription_begins_with_the_session(api, server, price):
    customer = api.customers.create({"email": "ada@example.com"})
    data = {"metadata": {"user_id": "17"}}
    session = subscribe(api, price, customer=customer.id, subscription_data=data)
    before = len(server.events)
    paid = server.pay(session.id)
    one = api.subscriptions.retrieve(paid["subscription"], {"expand": ["latest_invoice"]})
    assert (one.status, one.customer, one.metadata["user_id"]) == ("active", customer.id, "17")
    assert sample("subscription").keys() <= one.to_dict().keys()
    assert "current_period_end" not in one.to_dict()
    item = one["items"].data[0]
    assert sample("subscription")["items"]["data"][0].keys() <= item.to_dict().keys()
    invoice = one.latest_invoice.to_dict()
    assert sample("invoice_paid").keys() <= invoice.keys()
    assert not {"subscription", "payment_intent", "charge", "paid"} & invoice.keys()
    assert (invoice["status"], invoice["billing_reason"]) == ("paid", "subscription_create")
    assert invoice["parent"]["subscription_details"]["subscription"] == one.id
    (payment,) = api.invoice_payments.list({"invoice": invoice["id"]}).data
    assert api.payment_intents.retrieve(payment.payment.payment_intent).status == "succeeded"
    told = [kind for kind in kinds(server)[before:] if kind.startswith(("customer.sub", "invoice.", "checkout"))]
    assert told == [
        "customer.subscription.created",
        "invoice.created",
        "customer.subscription.updated",
        "invoice.finalized",
        "invoice.paid",
        "invoice.payment_succeeded",
        "customer.subscription.updated",
        "checkout.session.completed",
    ]


def test_a_trial_costs_nothing_yet(api, server, price):
    session = subscribe(api, price, customer_email="ada@example.com", subscription_data={"trial_period_days": 14})
    assert session.amount_total == 0
    paid = server.pay(session.id)
    assert paid["payment_status"] == "no_payment_required"
    one = api.subscriptions.retrieve(paid["subscription"])
    assert (one.status, one.trial_end - one.trial_start) == ("trialing", 14 * DAY)
    assert one["items"].data[0].current_period_end == one.trial_end
    assert api.customers.retrieve(paid["customer"]).email == "ada@example.com"
    assert api.invoices.list({"subscription": one.id}).data[0].total == 0


def test_sessions_expire_by_the_clock_and_by_hand(api, server, clock):
    first, second, third = once(api), once(api, expires_at=int(clock.now) + 1800), once(api)
    assert api.checkout.sessions.expire(first.id).status == "expired"
    with pytest.raises(stripe.InvalidRequestError, match="can be expired"):
        api.checkout.sessions.expire(first.id)
    clock.now += 1800
    found = {one.id: (one.status, one.url is None) for one in api.checkout.sessions.list().data}
    assert found == {first.id: ("expired", True), second.id: ("expired", True), third.id: ("open", False)}
    clock.now += DAY
    assert [one.id for one in api.checkout.sessions.list({"status": "open"}).data] == []
    expired = [event for event in server.events if event["type"] == "checkout.session.expired"]
    assert [event["created"] for event in expired] == [int(clock.now) - DAY - 1800, second.expires_at, third.expires_at]


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"customer": "cus_x"}, "customer", "resource_missing"),
        ({"success_url": None}, "success_url", "parameter_missing"),
        ({"success_url": "app.example"}, "success_url", "url_invalid"),
        ({"line_items": None}, "line_items", "parameter_missing"),
        ({"line_items": [{"price": "price_x", "quantity": 1}]}, "line_items[0][price]", "resource_missing"),
        ({"line_items": [{"quantity": 1}]}, "line_items[0][price]", "parameter_missing"),
        ({"subscription_data": {"trial_period_days": 1}}, "subscription_data", None),
        ({"expires_at": 1}, "expires_at", None),
        ({"mode": "setup"}, "mode", None),
        ({"mode": "subscription"}, "line_items", None),
        ({"mode": None}, "mode", "parameter_missing"),
    ],
)
def test_sessions_that_cannot_be_are_refused(api, server, change, param, code):
    data = {"currency": "usd", "unit_amount": 1500, "product_data": {"name": "Mug"}}
    lines = [{"price_data": data, "quantity": 1}]
    given = {"mode": "payment", "line_items": lines, **URLS, **change}
    with pytest.raises(stripe.InvalidRequestError) as caught:
        api.checkout.sessions.create({name: value for name, value in given.items() if value is not None})
    assert (caught.value.param, caught.value.code) == (param, code)
    assert server.objects("checkout.session") == []


def test_customer_and_customer_email_exclude_each_other(api):
    customer = api.customers.create({"email": "ada@example.com"})
    with pytest.raises(stripe.InvalidRequestError, match="only specify one of these"):
        once(api, customer=customer.id, customer_email="ada@example.com")


def test_amounts_of_sessions(api, price):
    with pytest.raises(stripe.InvalidRequestError) as small:
        once(api, 49)
    assert small.value.code == "amount_too_small"
    assert once(api, 50, "jpy").amount_total == 50
    assert once(api, 0).amount_total == 0
    with pytest.raises(stripe.InvalidRequestError) as odd:
        once(api, 12345, "kwd")
    assert odd.value.code == "invalid_charge_amount"
    api.prices.update(price.id, {"active": False})
    with pytest.raises(stripe.InvalidRequestError) as inactive:
        subscribe(api, price)
    assert inactive.value.code == "price_inactive"


def test_automatic_tax_wants_to_know_where(api, price):
    customer = api.customers.create({"email": "ada@example.com"})
    tax = {"automatic_tax": {"enabled": True}, "customer": customer.id}
    with pytest.raises(stripe.InvalidRequestError) as caught:
        subscribe(api, price, **tax)
    assert caught.value.code == "customer_tax_location_invalid"
    assert subscribe(api, price, **tax, customer_update={"address": "auto"}).automatic_tax.enabled
    api.customers.update(customer.id, {"address": {"country": "DE"}})
    assert subscribe(api, price, **tax, allow_promotion_codes=True).automatic_tax.status == "complete"


def test_line_items_are_read_with_expand(api, price):
    session = subscribe(api, price)
    assert "line_items" not in session.to_dict()
    full = api.checkout.sessions.retrieve(session.id, {"expand": ["line_items"]})
    assert [one.price.id for one in full.line_items.data] == [price.id]
    assert [one.price.id for one in api.checkout.sessions.line_items.list(session.id).data] == [price.id]


# Pages.


def press(server, call, url, **fields):
    path = url.removeprefix(server.url)
    return call(server, "POST", path, data=urlencode(fields).encode(), headers=FORM)


def test_the_page_has_a_pay_and_a_decline_button(api, server, call):
    session = once(api)
    shown = call(server, "GET", session.url.removeprefix(server.url))
    assert shown.status == 200
    assert b"15.00 USD" in shown.body
    assert b">Pay<" in shown.body
    assert b">Decline<" in shown.body
    declined = press(server, call, session.url, card="pm_card_chargeDeclined")
    assert (declined.status, b"Your card was declined." in declined.body) == (402, True)
    assert api.checkout.sessions.retrieve(session.id).status == "open"


def test_paying_on_the_page_completes_the_session(api, server, call):
    session = once(api, success_url=server.url + "/_control/health?session_id={CHECKOUT_SESSION_ID}")
    press(server, call, session.url, card="pm_card_visa")
    assert api.checkout.sessions.retrieve(session.id).payment_status == "paid"
    assert call(server, "GET", session.url.removeprefix(server.url)).status == 410
    assert call(server, "GET", "/c/pay/cs_x").status == 404


def test_the_portal_cancels_and_keeps(api, server, call, price):
    paid = server.pay(subscribe(api, price).id)
    made = api.billing_portal.sessions.create({"customer": paid["customer"], "return_url": "https://app.example"})
    assert sample("portal_session").keys() == made.to_dict().keys()
    assert b"active" in call(server, "GET", made.url.removeprefix(server.url)).body
    press(server, call, made.url, action="cancel", subscription=paid["subscription"])
    assert api.subscriptions.retrieve(paid["subscription"]).cancel_at_period_end is True
    press(server, call, made.url, action="keep", subscription=paid["subscription"])
    assert api.subscriptions.retrieve(paid["subscription"]).cancel_at_period_end is False
    assert call(server, "GET", "/p/session/x").status == 404
    with pytest.raises(stripe.InvalidRequestError):
        api.billing_portal.sessions.create({"customer": "cus_x"})
