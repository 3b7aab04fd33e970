"""Stripe's own library as a judge: what reaches the wire is what it sends by itself, for parameters written by hand.

Then the vendor's error table, that nothing is asked twice, and that the library's habits stay at home.
"""

import asyncio
import json
import logging
import os
import pickle
import socket
import subprocess
import sys
import time
import traceback
import urllib.request
from decimal import Decimal
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
import stripe
from stripe._api_requestor import _APIRequestor

from providers import Providers, Settings
from providers.billing import CheckoutLine, Plan, Proration, RefundReason
from providers.billing.facts import STRIPE
from providers.core.clock import utc
from providers.core.errors import (
    AuthenticationError,
    BadResponseError,
    ConflictError,
    CredentialRevokedError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    PermissionDeniedError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    RejectedError,
)
from providers.core.models import CheckState, Money, Ref
from providers.core.transport import HttpResponse
from providers.testing.clock import START, ManualClock
from providers.testing.servers import FaultServer

DATA = Path(__file__).parent.parent / "data" / "stripe"
SECRET = "sk_test_canary0123456789abcdef"
CREDENTIALS = {"STRIPE_SECRET_KEY": SECRET}
UNKNOWN, NOT_APPLIED = Outcome.UNKNOWN, Outcome.NOT_APPLIED
CUSTOMER, SUBSCRIPTION, PRICE = "stripe:cus_1", "stripe:sub_1", "stripe:price_2"
ITEM = "si_own0000000000001"
AT = utc(int(START))
PAGES = {"success_url": "https://shop.example/{CHECKOUT_SESSION_ID}", "cancel_url": "https://shop.example/"}


def sample(what, /, **changes):
    return json.loads((DATA / f"{what}.json").read_text()) | changes


def listed(*entries, more=False):
    return {"object": "list", "data": list(entries), "has_more": more, "url": "/v1/things"}


def usd(amount):
    return Money(amount=Decimal(amount), currency="USD")


PREVIEW = sample("invoice_paid", id="upcoming_in_1", status="draft")
METER = {"id": "mtr_1", "object": "billing.meter", "event_name": "ai_tokens"}
PRODUCT = {"id": "ai", "object": "product", "name": "Ai", "active": True}
ENDPOINT = sample("webhook_endpoint_created")
METERED = sample(
    "price", recurring={"interval": "month", "interval_count": 1, "usage_type": "metered", "meter": "mtr_1"}
)

REPLIES = {
    "/v1/customers": sample("customer"),
    "/v1/prices": sample("price"),
    "/v1/products": PRODUCT,
    "/v1/checkout": sample("checkout_session_open"),
    "/v1/billing_portal": sample("portal_session"),
    "/v1/billing/meter_events": sample("meter_event"),
    "/v1/billing/meters": METER,
    "/v1/subscriptions": sample("subscription"),
    "/v1/invoices/create_preview": PREVIEW,
    "/v1/invoices": sample("invoice_paid"),
    "/v1/payment_intents": sample("payment_intent"),
    "/v1/refunds": sample("refund"),
    "/v1/webhook_endpoints": ENDPOINT,
    "/v1/balance": {"object": "balance", "livemode": False},
}
LISTS = frozenset(["customers", "prices", "products", "meters", "subscriptions", "invoices", "disputes", "refunds",
                   "webhook_endpoints", "sessions"])  # fmt: skip


def usual(request):
    """What an account with one of everything, and nothing to be found, answers."""
    path = request.url.partition("?")[0].removeprefix(STRIPE.base_url)
    if request.method == "GET" and path.rpartition("/")[2] in LISTS:
        return reply(listed())
    return reply(next(value for start, value in REPLIES.items() if path.startswith(start)))


def reply(value, status=200, **headers):
    return HttpResponse(status, {"content-type": "application/json", "request-id": "req_1"} | headers,
                        value if isinstance(value, bytes) else json.dumps(value).encode())  # fmt: skip


def refusal(status, headers=None, **error):
    return reply({"error": {"type": "invalid_request_error", "message": "No."} | error}, status, **headers or {})


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def call(clock):
    """`call(transport, step)`: the outcome of a step with Stripe behind a transport."""

    def run(transport, step, **credentials):
        settings = Settings(
            mode="live",
            vendors={"billing": "stripe"},
            credentials=CREDENTIALS | credentials,
            environ={},
            env_file=None,
        )

        async def scenario():
            async with Providers(settings, clock=clock, transport=transport) as providers:
                return await step(providers.billing)

        return asyncio.run(scenario())

    return run


async def all_of(things):
    return [one async for one in things]


class Own(stripe.HTTPXClient):
    """The library's default way of sending, that says what it sends."""

    def __init__(self):
        super().__init__()
        self.sent = []

    async def request_async(self, method, url, headers, post_data, **more):
        self.sent.append((method.upper(), url, headers, post_data))
        return await super().request_async(method, url, headers, post_data, **more)


def by_itself(step):
    """The request that the library makes by itself."""
    with FaultServer() as server:

        async def scenario():
            http = Own()
            client = stripe.StripeClient(SECRET, base_addresses={"api": server.url}, http_client=http)
            await step(client.v1)
            await http.close_async()
            return http.sent

        (sent,) = asyncio.run(scenario())
        (arrived,) = server.requests
    # What it hands to its client is what arrives.
    assert (arrived.method, arrived.body.decode()) == (sent[0], sent[3] or "")
    return sent[0], sent[1].removeprefix(server.url), sent[2], sent[3]


CHECKOUT = {
    "mode": "subscription",
    "customer": "cus_1",
    "line_items": [{"price": "price_2", "quantity": 3}],
    "subscription_data": {"metadata": {"user": "17 & 18"}, "trial_period_days": 14},
    "metadata": {"user": "17 & 18", "providers_key": "KEY"},
    "allow_promotion_codes": True,
    "automatic_tax": {"enabled": True},
    "customer_update": {"address": "auto"},
    **PAGES,
}
PAYMENT = {
    "mode": "payment",
    "customer_email": "ana@example.com",
    "line_items": [
        {
            "price_data": {
                "currency": "jpy",
                "unit_amount": 1500,
                "product_data": {
                    "name": "Kimono, blå",
                    "description": "of silk",
                    "images": ["https://shop.example/k.png"],
                    "tax_code": "txcd_1",
                },
            },
            "quantity": 2,
        }
    ],
    "payment_intent_data": {"metadata": {"order": "7"}},
    "metadata": {"order": "7", "providers_key": "KEY"},
    **PAGES,
}
KIMONO = CheckoutLine(
    title="Kimono, blå",
    unit_price=Money(amount=Decimal(1500), currency="JPY"),
    quantity=2,
    description="of silk",
    image_url="https://shop.example/k.png",
    tax_code="txcd_1",
)
USD_PLAN = Plan(service="ai", plan="tokens", amount=usd("0.02"), meter="ai_tokens", metadata={"service": "ai"})
WIRE = {
    # our call; the library's, with parameters from the vendor's reference. The last request is compared.
    "customer made": (
        lambda b: b.ensure_customer(email="ana@example.com", name="Ana", metadata={"service": "ai"}),
        lambda v1: v1.customers.create_async(
            {"email": "ana@example.com", "name": "Ana", "metadata": {"service": "ai"}}
        ),
    ),
    "customer": (lambda b: b.customer(CUSTOMER), lambda v1: v1.customers.retrieve_async("cus_1")),
    "price": (lambda b: b.price(PRICE), lambda v1: v1.prices.retrieve_async("price_2")),
    "subscription checkout": (
        lambda b: b.subscription_checkout(
            customer=CUSTOMER,
            price=PRICE,
            quantity=3,
            trial_days=14,
            metadata={"user": "17 & 18"},
            promotion_codes=True,
            automatic_tax=True,
            **PAGES,
        ),
        lambda v1: v1.checkout.sessions.create_async(CHECKOUT),
    ),
    "payment checkout": (
        lambda b: b.payment_checkout([KIMONO], customer_email="ana@example.com", metadata={"order": "7"}, **PAGES),
        lambda v1: v1.checkout.sessions.create_async(PAYMENT),
    ),
    "checkout": (lambda b: b.checkout("stripe:cs_1"), lambda v1: v1.checkout.sessions.retrieve_async("cs_1")),
    "expire": (lambda b: b.expire_checkout("stripe:cs_1"), lambda v1: v1.checkout.sessions.expire_async("cs_1")),
    "portal": (
        lambda b: b.portal(CUSTOMER, return_url="https://shop.example/"),
        lambda v1: v1.billing_portal.sessions.create_async(
            {"customer": "cus_1", "return_url": "https://shop.example/"}
        ),
    ),
    "subscription": (lambda b: b.subscription(SUBSCRIPTION), lambda v1: v1.subscriptions.retrieve_async("sub_1")),
    "subscriptions": (
        lambda b: all_of(b.subscriptions(CUSTOMER)),
        lambda v1: v1.subscriptions.list_async({"customer": "cus_1", "status": "all", "limit": 100}),
    ),
    "preview": (
        lambda b: b.preview_change(SUBSCRIPTION, PRICE, quantity=2, proration=Proration.NOW, at=AT),
        lambda v1: v1.invoices.create_preview_async(
            {
                "subscription": "sub_1",
                "subscription_details": {
                    "items": [{"id": ITEM, "price": "price_2", "quantity": 2}],
                    "proration_behavior": "always_invoice",
                    "proration_date": AT,
                },
            }
        ),
    ),
    "change on the next invoice": (
        lambda b: b.change_plan(SUBSCRIPTION, PRICE, at=AT),
        lambda v1: v1.subscriptions.update_async(
            "sub_1",
            {
                "items": [{"id": ITEM, "price": "price_2"}],
                "proration_behavior": "create_prorations",
                "proration_date": AT,
            },
        ),
    ),
    "change now": (
        lambda b: b.change_plan(SUBSCRIPTION, PRICE, quantity=2, proration=Proration.NOW),
        lambda v1: v1.subscriptions.update_async(
            "sub_1",
            {
                "items": [{"id": ITEM, "price": "price_2", "quantity": 2}],
                "proration_behavior": "always_invoice",
                "payment_behavior": "pending_if_incomplete",
            },
        ),
    ),
    "change without money": (
        lambda b: b.change_plan(SUBSCRIPTION, PRICE, proration=Proration.NONE, at=AT),
        lambda v1: v1.subscriptions.update_async(
            "sub_1", {"items": [{"id": ITEM, "price": "price_2"}], "proration_behavior": "none"}
        ),
    ),
    "cancel at the end": (
        lambda b: b.cancel(SUBSCRIPTION),
        lambda v1: v1.subscriptions.update_async("sub_1", {"cancel_at_period_end": True}),
    ),
    "cancel now": (
        lambda b: b.cancel(SUBSCRIPTION, at_period_end=False),
        lambda v1: v1.subscriptions.cancel_async("sub_1"),
    ),
    "refund": (
        lambda b: b.refund("stripe:pi_1", amount=usd("4.20"), reason=RefundReason.REQUESTED),
        lambda v1: v1.refunds.create_async(
            {
                "payment_intent": "pi_1",
                "amount": 420,
                "reason": "requested_by_customer",
                "metadata": {"providers_key": "KEY"},
            }
        ),
    ),
    "invoice": (lambda b: b.invoice("stripe:in_1"), lambda v1: v1.invoices.retrieve_async("in_1")),
    "invoices": (
        lambda b: all_of(b.invoices(CUSTOMER)),
        lambda v1: v1.invoices.list_async({"customer": "cus_1", "limit": 100}),
    ),
    "disputes": (lambda b: all_of(b.disputes()), lambda v1: v1.disputes.list_async({"limit": 100})),
    "usage": (
        lambda b: b.record_usage(CUSTOMER, meter="ai_tokens", quantity=Decimal("1E+3"), at=AT),
        lambda v1: v1.billing.meter_events.create_async(
            {
                "event_name": "ai_tokens",
                "payload": {"value": "1000", "stripe_customer_id": "cus_1"},
                "identifier": "KEY",
                "timestamp": AT,
            }
        ),
    ),
    "price made": (
        lambda b: b.sync_catalog([USD_PLAN]),
        lambda v1: v1.prices.create_async(
            {
                "product": "ai",
                "currency": "usd",
                "unit_amount": 2,
                "recurring": {"interval": "month", "interval_count": 1, "usage_type": "metered", "meter": "mtr_1"},
                "lookup_key": "ai_tokens_monthly",
                "transfer_lookup_key": True,
                "nickname": "Ai Tokens",
                "metadata": {"service": "ai"},
            }
        ),
    ),
    "webhook": (
        lambda b: b.ensure_webhook("https://shop.example/hooks"),
        lambda v1: v1.webhook_endpoints.create_async(
            {
                "url": "https://shop.example/hooks",
                "enabled_events": list(EVENTS),
                "api_version": stripe.api_version,
                "metadata": {"providers_key": "KEY"},
            }
        ),
    ),
}
EVENTS = (
    "checkout.session.completed", "checkout.session.async_payment_succeeded", "checkout.session.async_payment_failed",
    "checkout.session.expired", "customer.created", "customer.updated", "customer.deleted",
    "customer.subscription.created", "customer.subscription.updated",
    "customer.subscription.pending_update_applied", "customer.subscription.pending_update_expired",
    "customer.subscription.trial_will_end", "customer.subscription.paused", "customer.subscription.resumed",
    "customer.subscription.deleted", "invoice.upcoming", "invoice.paid", "invoice.payment_failed",
    "invoice.payment_action_required", "invoice.finalization_failed", "payment_intent.succeeded",
    "payment_intent.payment_failed", "charge.refunded", "refund.created", "refund.updated", "refund.failed",
    "charge.dispute.created", "charge.dispute.updated", "charge.dispute.closed",
)  # fmt: skip


def fields(text, key):
    """A form's or a query's pairs, in no order; our key, which is a hash, as KEY."""
    return sorted((name, "KEY" if key and value == key else value) for name, value in parse_qsl(text or ""))


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the library's, of its httpx
@pytest.mark.parametrize("case", WIRE)
def test_what_is_sent_is_what_the_library_sends_by_itself(case, call, scripted):
    ours, theirs = WIRE[case]
    transport = scripted(usual)
    call(transport, ours)
    request = transport.requests[-1]
    method, path, headers, body = by_itself(theirs)

    key = request.headers.get("Idempotency-Key", "")
    own_path, _, own_query = request.url.removeprefix(STRIPE.base_url).partition("?")
    path, _, query = path.partition("?")
    assert (request.method, own_path) == (method, path)
    assert fields(own_query, key) == fields(query, "")
    assert fields((request.content or b"").decode(), key) == fields(body, "")
    apart = {"Idempotency-Key", "User-Agent", "X-Stripe-Client-User-Agent", "X-Stripe-Client-Telemetry"}
    assert {k: v for k, v in request.headers.items() if k not in apart} == {
        k: v for k, v in headers.items() if k not in apart
    }
    assert ("Idempotency-Key" in request.headers) == ("Idempotency-Key" in headers)


def test_the_version_and_the_events_are_the_librarys():
    assert STRIPE.api_version == stripe.api_version
    assert ENDPOINT["api_version"] == stripe.api_version


def test_a_write_repeated_under_its_key_reaches_the_vendor_under_one_key_too(call, scripted):
    posts = []

    def answer(request):
        posts.append(request)
        return refusal(500) if len(posts) == 1 else reply(sample("refund"))

    call(scripted(answer), lambda b: b.refund("stripe:pi_1", idempotency_key="return-7"))
    assert len(posts) == 2
    assert len({(post.headers["Idempotency-Key"], post.content) for post in posts}) == 1


ERRORS = {
    # status, headers, error -> class, outcome, code, retry_after, field, retryable
    "parameter": (
        (400, {}, {"code": "parameter_missing", "param": "line_items[0][price]"}),
        (InvalidRequestError, NOT_APPLIED, "parameter_missing", None, "price", False),
    ),
    "amount": (
        (400, {}, {"param": "line_items[0][price_data][unit_amount]"}),
        (InvalidRequestError, NOT_APPLIED, None, None, "amount", False),
    ),
    "metadata": (
        (400, {}, {"param": "metadata[shop]"}),
        (InvalidRequestError, NOT_APPLIED, None, None, "metadata", False),
    ),
    "missing": (
        (404, {}, {"code": "resource_missing", "param": "id"}),
        (NotFoundError, NOT_APPLIED, "resource_missing", None, "ref", False),
    ),
    "missing, as a parameter": (
        (400, {}, {"code": "resource_missing", "param": "customer"}),
        (NotFoundError, NOT_APPLIED, "resource_missing", None, "customer", False),
    ),
    "key": ((401, {}, {}), (AuthenticationError, NOT_APPLIED, None, None, None, False)),
    "expired key": (
        (401, {}, {"code": "api_key_expired"}),
        (CredentialRevokedError, NOT_APPLIED, "api_key_expired", None, None, False),
    ),
    "declined": (
        (402, {}, {"type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds"}),
        (RejectedError, NOT_APPLIED, "insufficient_funds", None, None, False),
    ),
    "card": (
        (402, {}, {"type": "card_error", "code": "expired_card"}),
        (RejectedError, NOT_APPLIED, "expired_card", None, None, False),
    ),
    "permission": (
        (403, {}, {"code": "more_permissions_required"}),
        (PermissionDeniedError, NOT_APPLIED, "more_permissions_required", None, None, False),
    ),
    "key used for another request": (
        (400, {}, {"type": "idempotency_error"}),
        (ConflictError, NOT_APPLIED, None, None, None, False),
    ),
    "key in use": (
        (409, {}, {"type": "idempotency_error", "code": "idempotency_key_in_use"}),
        (ConflictError, NOT_APPLIED, "idempotency_key_in_use", None, None, True),
    ),
    "locked": (
        (409, {}, {"code": "lock_timeout"}),
        (ConflictError, NOT_APPLIED, "lock_timeout", None, None, True),
    ),
    "conflict that Stripe says will not end": (
        (409, {"stripe-should-retry": "false"}, {}),
        (ConflictError, NOT_APPLIED, None, None, None, False),
    ),
    "too many": ((429, {}, {"code": "rate_limit"}), (RateLimitedError, NOT_APPLIED, "rate_limit", None, None, True)),
    "too many, with a time": (
        (429, {"retry-after": "2"}, {"code": "rate_limit"}),
        (RateLimitedError, NOT_APPLIED, "rate_limit", 2.0, None, True),
    ),
    "down": ((500, {}, {"type": "api_error"}), (ProviderUnavailableError, UNKNOWN, None, None, None, False)),
    "down, and to be asked again": (
        (500, {"stripe-should-retry": "true"}, {"type": "api_error"}),
        # Whether that does it twice is for whoever knows the key to say.
        (ProviderUnavailableError, UNKNOWN, None, None, None, False),
    ),
    "conflict that Stripe says will end": (
        (409, {"stripe-should-retry": "true"}, {}),
        (ConflictError, NOT_APPLIED, None, None, None, True),
    ),
}
HTML = b"<html><body>Bad gateway</body></html>"
BODIES = {
    # status, body -> class, outcome
    "gateway's page": ((502, HTML), (ProviderUnavailableError, UNKNOWN)),
    "not Stripe": ((404, HTML), (BadResponseError, NOT_APPLIED)),
    "moved": ((301, b""), (BadResponseError, NOT_APPLIED)),
    "blocked on the way": ((403, HTML), (PermissionDeniedError, NOT_APPLIED)),
    "limited on the way": ((429, b""), (RateLimitedError, NOT_APPLIED)),
    "payment required, by whom": ((402, b""), (RejectedError, NOT_APPLIED)),
    "another error object": ((400, b'{"error": "invalid_grant"}'), (InvalidRequestError, NOT_APPLIED)),
    "error of another shape": ((400, b'{"error": {"message": 5}}'), (InvalidRequestError, NOT_APPLIED)),
    "page as success": ((200, HTML), (BadResponseError, UNKNOWN)),
    "nothing as success": ((200, b""), (BadResponseError, UNKNOWN)),
    "list as success": ((200, b"[]"), (BadResponseError, UNKNOWN)),
    "object of another kind": ((200, b'{"object": []}'), (BadResponseError, UNKNOWN)),
    "status of tomorrow": ((200, json.dumps(sample("refund", status="teleported"))), (BadResponseError, UNKNOWN)),
    "too deep": ((200, b'{"id":' + b"[" * 100_000), (BadResponseError, UNKNOWN)),
}


def ref(id_):
    return Ref(vendor="stripe", id=id_)


def refused(call, scripted, answer):
    """The error of one attempt at a write, as the adapter names it."""
    transport = scripted(answer)

    async def once(billing):
        adapter = billing._route.targets[0].ready_now()
        try:
            await adapter.refund(ref("pi_1"), None, None, "key-1")
        except ProviderError as error:
            return error
        except Exception as error:
            named = adapter.translate(error)
            if named is None:
                raise
            named.__cause__ = error
            return named
        pytest.fail("no error")

    error = call(transport, once)
    assert len(transport.requests) == 1
    return error


@pytest.mark.parametrize("case", ERRORS)
def test_the_vendors_error_table(case, call, scripted):
    (status, headers, error), (kind, outcome, code, wait, field, retryable) = ERRORS[case]
    named = refused(call, scripted, refusal(status, headers, **error))
    assert type(named) is kind
    assert (named.outcome, named.code, named.retry_after, named.field) == (outcome, code, wait, field)
    assert (named.status, named.request_id, named.retryable, named.message) == (status, "req_1", retryable, "No.")


@pytest.mark.parametrize("case", BODIES)
def test_replies_that_are_not_stripes(case, call, scripted):
    (status, body), (kind, outcome) = BODIES[case]
    content = body.encode() if isinstance(body, str) else body
    transport = scripted(reply(content, status))
    with pytest.raises(ProviderError) as error:
        call(transport, lambda b: b.refund("stripe:pi_1"))
    assert type(error.value) is kind
    assert error.value.outcome is outcome


def test_an_answer_of_a_proxy_is_never_a_thing_that_does_not_exist(call, scripted):
    with pytest.raises(BadResponseError, match="PROVIDER_STRIPE_BASE_URL"):
        call(scripted(reply(HTML, 404)), lambda b: b.subscription(SUBSCRIPTION))


def test_errors_hold_no_secret_even_if_the_vendor_quotes_it(call, scripted):
    quoting = refusal(401, message=f"Invalid API Key provided: {SECRET}", code=SECRET)
    with pytest.raises(AuthenticationError) as error:
        call(scripted(quoting), lambda b: b.customer(CUSTOMER))
    shown = "".join(traceback.format_exception(error.value)) + repr(error.value)
    assert "canary" not in shown
    assert b"canary" not in pickle.dumps(error.value)
    chain = [error.value.__cause__, error.value.__context__]
    assert not any(isinstance(one, stripe.StripeError) for one in chain)


def test_a_failed_look_before_a_write_is_no_unknown_write(call, scripted):
    down = scripted(lambda request: refusal(500) if request.method == "GET" else pytest.fail("written"))
    with pytest.raises(ProviderUnavailableError) as error:
        call(down, lambda b: b.change_plan(SUBSCRIPTION, PRICE))
    assert error.value.outcome is NOT_APPLIED


def test_notices_warn_nobody_and_personal_data_is_not_logged(call, scripted, caplog, recwarn):
    with caplog.at_level(logging.DEBUG):
        noticed = scripted(lambda request: reply(json.loads(usual(request).content), **{"stripe-notice": "Read this"}))
        call(noticed, lambda b: b.ensure_customer(email="ana@example.com", name="Ana"))
    assert "ana" not in caplog.text
    assert not recwarn.list


QUIET = """
import sys
from providers.billing.stripe import StripeBilling
import stripe
assert stripe.enable_telemetry is False
assert stripe.api_key is None
"""


def test_the_library_says_and_keeps_nothing(tmp_path):
    names = [name for name, _ in _APIRequestor.AI_AGENTS]
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config"), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", QUIET],
        env=home | dict.fromkeys(names, "1"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_a_connected_account_is_named_in_every_request(call, scripted):
    transport = scripted(usual)
    call(transport, lambda b: b.customer(CUSTOMER), STRIPE_ACCOUNT="acct_7")
    assert [request.headers["Stripe-Account"] for request in transport.requests] == ["acct_7"]


def test_ids_stay_in_their_place(call, scripted):
    transport = scripted(usual)
    with pytest.raises(NotFoundError):
        call(transport, lambda b: b.customer("stripe:.."))
    call(transport, lambda b: b.customer("stripe:../../v2/x?a=b#c"))
    assert [request.url for request in transport.requests] == [
        f"{STRIPE.base_url}/v1/customers/..%2F..%2Fv2%2Fx%3Fa%3Db%23c"
    ]


def test_check_by_the_balance(call, scripted):
    async def check(billing):
        return await billing._route.targets[0].ready_now().check()

    assert call(scripted(usual), check).sandbox is True
    live = scripted(reply({"object": "balance", "livemode": True}))
    assert call(live, check).sandbox is False
    restricted = scripted(refusal(403, code="more_permissions_required"))
    found = call(restricted, check, STRIPE_SECRET_KEY="rk_live_0123456789")
    assert (found.state, found.sandbox) == (CheckState.OK, False)
    assert "not allowed" in found.detail


class TestWhatIsPaid:
    @staticmethod
    def find(call, scripted, ref_id, **replies):
        transport = scripted(lambda request: reply(replies[request.url.rpartition("/")[2].partition("?")[0]]))

        async def step(billing):
            return (await billing._route.targets[0].ready_now().payment_of(ref(ref_id))).id

        return call(transport, step)

    payments = listed(
        {"status": "canceled", "payment": {"type": "payment_intent", "payment_intent": "pi_0"}},
        {"status": "paid", "payment": {"type": "payment_intent", "payment_intent": {"id": "pi_9", "object": "x"}}},
    )

    def test_an_intent_is_itself(self, call, scripted):
        assert self.find(call, scripted, "pi_1") == "pi_1"

    @pytest.mark.parametrize(("intent", "found"), [("pi_9", "pi_9"), (None, "py_1")])
    def test_a_charge_is_its_intent_or_itself(self, intent, found, call, scripted):
        charge = {"id": "py_1", "status": "succeeded", "amount": 1, "currency": "usd", "payment_intent": intent}
        assert self.find(call, scripted, "py_1", py_1=charge) == found

    def test_an_invoice_is_the_payment_that_went_through(self, call, scripted):
        assert self.find(call, scripted, "in_1", in_1=sample("invoice_paid", payments=self.payments)) == "pi_9"

    def test_a_checkout_is_its_payment_or_its_invoices(self, call, scripted):
        paid = sample("checkout_session_open", payment_status="paid", payment_intent="pi_3")
        assert self.find(call, scripted, "cs_1", cs_1=paid) == "pi_3"
        billed = sample("checkout_session_open", payment_status="paid", invoice="in_1")
        invoice = sample("invoice_paid", payments=self.payments)
        assert self.find(call, scripted, "cs_1", cs_1=billed, in_1=invoice) == "pi_9"

    @pytest.mark.parametrize(
        "session",
        [
            {"payment_status": "unpaid", "payment_intent": "pi_3"},
            {"payment_status": "no_payment_required", "subscription": "sub_1"},
            {"payment_status": "no_payment_required", "invoice": "in_1"},
        ],
    )
    def test_what_was_not_paid_is_not_found(self, session, call, scripted):
        unpaid = sample("invoice_paid", payments=listed())
        with pytest.raises(NotFoundError) as error:
            self.find(call, scripted, "cs_1", cs_1=sample("checkout_session_open", **session), in_1=unpaid)
        assert error.value.code == "not_paid"

    def test_other_things_are_no_payments(self, call, scripted):
        with pytest.raises(InvalidRequestError):
            self.find(call, scripted, "cus_1")


def test_an_amount_has_to_be_in_the_payments_currency(call, scripted):
    transport = scripted(usual)
    with pytest.raises(InvalidRequestError) as error:
        call(transport, lambda b: b.refund("stripe:pi_1", amount=Money(amount=Decimal(1), currency="EUR")))
    assert error.value.field == "amount"
    assert {request.method for request in transport.requests} == {"GET"}


def test_a_lost_webhook_secret_comes_with_the_repeat(call, scripted):
    """The first reply is lost: the endpoint is there, made with our key, and is asked for again."""
    posts = []

    def answer(request):
        if request.method == "GET":
            made = [ENDPOINT | {"secret": None, "metadata": {"providers_key": posts[0][0]}}] if posts else []
            return reply(listed(*made))
        posts.append((request.headers["Idempotency-Key"], request.content))
        return refusal(500) if len(posts) == 1 else reply(ENDPOINT)

    endpoint = call(scripted(answer), lambda b: b.ensure_webhook(ENDPOINT["url"]))
    assert endpoint.secret.get_secret_value() == ENDPOINT["secret"]
    assert len(posts) == 2
    assert posts[0] == posts[1]


@pytest.mark.parametrize(
    ("there", "sent"),
    [
        ({}, [*ENDPOINT["enabled_events"]]),
        ({"enabled_events": ["*"]}, None),
        ({"enabled_events": [*EVENTS, "payout.paid"]}, None),
        ({"enabled_events": ["*"], "status": "disabled"}, ["*"]),
    ],
)
def test_an_endpoint_that_is_there_is_brought_up_to_date(there, sent, call, scripted):
    endpoint = ENDPOINT | {"secret": None} | there
    transport = scripted(lambda request: reply(listed(endpoint) if request.method == "GET" else endpoint))
    found = call(transport, lambda b: b.ensure_webhook(ENDPOINT["url"]))
    assert (found.ref.id, found.secret) == (ENDPOINT["id"], None)
    written = [dict(parse_qsl(request.content.decode())) for request in transport.requests if request.method == "POST"]
    if sent is None:
        assert not written
        return
    (form,) = written
    events = [value for name, value in form.items() if name.startswith("enabled_events")]
    assert events[: len(sent)] == sent
    assert form["disabled"] == "false"
    assert sent == ["*"] or set(EVENTS) <= set(events)


@pytest.mark.parametrize("more", [[], ["cus_other"]])
def test_the_oldest_customer_that_agrees_is_taken_over_several_pages(more, call, scripted):
    ana = sample("customer", name="Ana", metadata={"service": "ai", "user_id": "17"})
    pages = [
        listed(ana | {"id": "cus_new"}, ana | {"id": "cus_not", "metadata": {"service": "seo"}}, more=True),
        listed(ana | {"id": "cus_old"}, *(ana | {"id": one, "metadata": {}} for one in more)),
    ]
    cursors = []

    def answer(request):
        cursors.append(dict(parse_qsl(request.url.partition("?")[2])).get("starting_after"))
        return reply(pages[len(cursors) - 1])

    transport = scripted(answer)
    found = call(
        transport,
        lambda b: b.ensure_customer(email="ana@example.com", name="Ana", metadata={"service": "ai", "user_id": "17"}),
    )
    assert found.ref.id == "cus_old"
    assert cursors == [None, "cus_not"]


def test_only_what_differs_of_a_customer_is_written(call, scripted):
    there = sample("customer", name="Ana", metadata={"service": "ai", "tier": "pro"})
    transport = scripted(lambda request: reply(listed(there) if request.method == "GET" else there))
    told = {"service": "ai", "tier": "free", "note": ""}
    call(transport, lambda b: b.ensure_customer(email="ana@example.com", name="Ana", metadata=told))
    assert [request.content for request in transport.requests if request.method == "POST"] == [b"metadata[tier]=free"]


def test_a_list_that_does_not_end_ends_the_call(call, scripted):
    endless = scripted(reply(listed(sample("customer", metadata={"service": "x"}), more=True)))
    with pytest.raises(ProviderUnavailableError):
        call(endless, lambda b: b.ensure_customer(email="ana@example.com", metadata={"service": "ai"}))
    assert len(endless.requests) <= 3 * 50


class TestCatalog:
    plan = Plan(
        service="trendscout", plan="pro", title="TrendScout", amount=usd(31), metadata={"service": "trendscout"}
    )
    product = PRODUCT | {"id": "trendscout", "name": "TrendScout"}

    def sync(self, call, scripted, plans, *, dry_run=False, prices=(), products=()):
        def answer(request):
            if request.method == "POST":
                return reply(self.product if "/products" in request.url else sample("price", id="price_new"))
            return reply(listed(*(prices if "/prices" in request.url else products)))

        transport = scripted(answer)
        found = call(transport, lambda b: b.sync_catalog(plans, dry_run=dry_run))
        return found, transport.requests

    def test_a_dry_run_only_reads(self, call, scripted):
        found, requests = self.sync(call, scripted, [self.plan], dry_run=True)
        assert [change.action for change in found.changes] == ["create", "create"]
        assert {request.method for request in requests} == {"GET"}

    def test_a_price_is_replaced_and_the_old_one_archived_after(self, call, scripted):
        found, requests = self.sync(call, scripted, [self.plan], prices=[sample("price")], products=[self.product])
        assert [(change.action, change.ref.id) for change in found.changed] == [("replace", "price_new")]
        made, archived = [request for request in requests if request.method == "POST"]
        form = dict(parse_qsl(made.content.decode()))
        assert (form["transfer_lookup_key"], form["unit_amount"]) == ("true", "3100")
        assert archived.url.endswith(f"/v1/prices/{sample('price')['id']}")
        assert archived.content == b"active=false"

    def test_a_price_there_and_back_is_another_price_each_time(self, call, scripted):
        keys = []
        for old in ("price_1", "price_2"):
            prices = [sample("price", id=old)]
            for _ in range(2):
                _, requests = self.sync(call, scripted, [self.plan], prices=prices, products=[self.product])
                made = next(request for request in requests if request.method == "POST")
                keys.append(made.headers["Idempotency-Key"])
        assert keys[0] == keys[1] != keys[2] == keys[3]

    def test_lookup_keys_are_asked_for_by_tens(self, call, scripted):
        plans = [self.plan.model_copy(update={"lookup_key": f"key_{n}"}) for n in range(21)]
        _, requests = self.sync(call, scripted, plans, dry_run=True)
        asked = [parse_qsl(request.url.partition("?")[2]) for request in requests if "/v1/prices" in request.url]
        assert [sum(name.startswith("lookup_keys") for name, _ in query) for query in asked] == [10, 10, 1]

    def test_a_price_that_stripe_cannot_express_is_refused_before_anything_is_asked(self, call, scripted):
        plans = [self.plan, self.plan.model_copy(update={"amount": usd("0.001"), "lookup_key": "other"})]
        with pytest.raises(InvalidRequestError) as error:
            self.sync(call, scripted, plans)
        assert error.value.field == "plans.1.amount"


class TestSubscriptions:
    @staticmethod
    def with_(scripted, **changes):
        return scripted(lambda _: reply(sample("subscription", **changes)))

    def test_several_prices_are_not_guessed_at(self, call, scripted):
        items = sample("subscription")["items"]
        transport = self.with_(scripted, items=items | {"data": items["data"] * 2})
        with pytest.raises(InvalidRequestError):
            call(transport, lambda b: b.change_plan(SUBSCRIPTION, PRICE))
        assert {request.method for request in transport.requests} == {"GET"}

    @pytest.mark.parametrize("step", ["change_plan", "resume", "preview_change"])
    def test_what_is_over_stays_over(self, step, call, scripted):
        transport = self.with_(scripted, status="canceled")
        more = () if step == "resume" else (PRICE,)
        with pytest.raises(ConflictError):
            call(transport, lambda b: getattr(b, step)(SUBSCRIPTION, *more))
        assert {request.method for request in transport.requests} == {"GET"}

    @pytest.mark.parametrize("at_period_end", [True, False])
    def test_cancelling_what_is_over_is_no_error(self, at_period_end, call, scripted):
        over = reply(sample("subscription", status="canceled"))
        refusing = refusal(404, code="resource_missing", param="id")
        transport = scripted(lambda request: over if request.method == "GET" else refusing)
        found = call(transport, lambda b: b.cancel(SUBSCRIPTION, at_period_end=at_period_end))
        assert found.status.over

    @pytest.mark.parametrize(
        ("state", "sent"),
        [
            ({}, None),
            ({"cancel_at_period_end": True, "cancel_at": int(START)}, b"cancel_at_period_end=false"),
            ({"cancel_at": int(START)}, b"cancel_at="),
            ({"pause_collection": {"behavior": "void"}}, b"pause_collection="),
            ({"status": "paused"}, b""),
        ],
    )
    def test_resuming_ends_what_stops_it(self, state, sent, call, scripted):
        transport = self.with_(scripted, **state)
        call(transport, lambda b: b.resume(SUBSCRIPTION))
        posts = [request.content or b"" for request in transport.requests if request.method == "POST"]
        assert posts == ([] if sent is None else [sent])

    def test_a_change_that_waits_for_its_payment(self, call, scripted):
        pending = {"subscription_items": [{"id": "si_1", "price": {"id": "price_2", "object": "price"}}]}
        found = call(self.with_(scripted, pending_update=pending), lambda b: b.subscription(SUBSCRIPTION))
        assert found.pending_price == ref("price_2")
        assert found.price != found.pending_price

    @pytest.mark.parametrize(
        ("proration", "start", "due"),
        [(Proration.NOW, 900, "12.00"), (Proration.NEXT_INVOICE, 900, "0.00"), (Proration.NEXT_INVOICE, 0, "12.00")],
    )
    def test_a_preview_says_what_is_due_now(self, proration, start, due, call, scripted):
        """A change of the interval begins a new period, which is charged at once."""

        def line(amount, *, proration):
            details = {"subscription_item_details": {"proration": proration}}
            period = {"start": int(START) + start, "end": int(START) + 1000}
            return {"amount": amount, "currency": "usd", "description": None, "parent": details, "period": period}

        lines = listed(line(-500, proration=True), line(800, proration=True), line(900, proration=False))
        preview = PREVIEW | {"lines": lines, "total": 1200, "amount_due": 1200}
        transport = scripted(lambda request: reply(preview) if request.method == "POST" else usual(request))
        found = call(transport, lambda b: b.preview_change(SUBSCRIPTION, PRICE, proration=proration, at=AT))
        assert (str(found.due_now.amount), str(found.difference.amount), str(found.total.amount)) == (
            due,
            "3.00",
            "12.00",
        )
        assert found.at == AT


def test_a_metered_price_names_its_meter_and_is_sold_without_a_quantity(call, scripted):
    transport = scripted(lambda request: reply(METERED) if "/prices/" in request.url else usual(request))
    assert call(transport, lambda b: b.price(PRICE)).meter == "ai_tokens"
    call(transport, lambda b: b.subscription_checkout(customer=CUSTOMER, price=PRICE, **PAGES))
    assert b"quantity" not in transport.requests[-1].content


def test_what_was_made_is_found_by_its_key(call, scripted):
    mine = sample("refund", metadata={"providers_key": "key-1", "order": "7"})
    pages = [listed(sample("refund"), more=True), listed(mine)]
    transport = scripted(lambda request: reply(pages["starting_after" in request.url]))

    async def find(billing):
        adapter = billing._route.targets[0].ready_now()
        return await adapter.find_refund(ref("pi_1"), "key-1"), await adapter.find_refund(ref("ch_1"), "key-2")

    found, other = call(transport, find)
    assert found.metadata == {"order": "7"}
    assert other is None
    assert "payment_intent=pi_1" in transport.requests[0].url
    assert "charge=ch_1" in transport.requests[-1].url


@pytest.fixture(scope="module")
def localstripe(tmp_path_factory):
    """A Stripe that somebody else wrote, old and partial. A process of its own: its licence is not ours."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    home = str(tmp_path_factory.mktemp("localstripe"))
    process = subprocess.Popen(
        [sys.executable, "-m", "localstripe", "--port", str(port), "--from-scratch"],
        env={"PATH": os.environ["PATH"], "HOME": home, "TMPDIR": home},
        cwd=home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(10)


class TestOnLocalstripe:
    """What a server that we did not write makes of our calls: those that it has in the form of today."""

    def ask(self, base, path, form=None):
        request = urllib.request.Request(  # noqa: S310 (loopback)
            base + path, form and form.encode(), {"Authorization": f"Bearer {SECRET}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 (loopback)
            return json.loads(answer.read())

    def run(self, base, step):
        settings = Settings(
            mode="live",
            vendors={"billing": "stripe"},
            credentials=CREDENTIALS,
            base_urls={"stripe": base},
            environ={},
            env_file=None,
        )

        async def scenario():
            async with Providers(settings) as providers:
                return await step(providers.billing)

        return asyncio.run(scenario())

    def test_customers(self, localstripe):
        async def step(billing):
            made = await billing.ensure_customer(email="ana@example.com", name="Ana", metadata={"service": "ai"})
            other = await billing.ensure_customer(email="ana@example.com", metadata={"service": "seo"})
            again = await billing.ensure_customer(email="ana@example.com", name="Ana B", metadata={"service": "ai"})
            return made, other, again, await billing.customer(made.ref)

        made, other, again, found = self.run(localstripe, step)
        assert made.ref == again.ref == found.ref != other.ref
        assert (found.name, found.email, found.metadata) == ("Ana B", "ana@example.com", {"service": "ai"})

    def test_refunds_are_found_by_their_key(self, localstripe):
        customer = self.ask(localstripe, "/v1/customers", "email=bo@example.com")["id"]
        method = self.ask(localstripe, "/v1/payment_methods/pm_card_visa/attach", f"customer={customer}")["id"]
        form = f"amount=1500&currency=usd&customer={customer}&payment_method={method}&confirm=true"
        intent = self.ask(localstripe, "/v1/payment_intents", form)
        assert intent["status"] == "succeeded"

        async def step(billing):
            refund = await billing.refund(f"stripe:{intent['id']}", amount=usd("4.20"))
            key = self.ask(localstripe, f"/v1/refunds/{refund.ref.id}")["metadata"]["providers_key"]
            adapter = billing._route.targets[0].ready_now()
            return refund, await adapter.find_refund(ref(intent["id"]), key)

        refund, found = self.run(localstripe, step)
        assert (str(refund.amount), refund.payment.id) == ("4.20 USD", intent["id"])
        assert found.ref == refund.ref

    def test_what_is_not_there_and_a_wrong_key(self, localstripe):
        with pytest.raises(NotFoundError) as error:
            self.run(localstripe, lambda billing: billing.customer("stripe:cus_nobody"))
        assert error.value.field in {"ref", None}

    def test_a_balance_proves_the_key(self, localstripe):
        async def check(billing):
            return await billing._route.targets[0].ready_now().check()

        assert self.run(localstripe, check).sandbox is True

    def test_a_customer_without_anything_has_empty_lists(self, localstripe):
        customer = self.ask(localstripe, "/v1/customers", "email=cy@example.com")["id"]

        async def step(billing):
            return await all_of(billing.invoices(f"stripe:{customer}"))

        assert self.run(localstripe, step) == []
