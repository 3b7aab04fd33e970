"""The platform and accounts connected to it, side by side under one key: nothing is shared but connections."""

import asyncio
import json
from decimal import Decimal

import pytest

from providers import Money, Providers, RawRequest, Settings
from providers.billing import CheckoutLine
from providers.core.store import MemoryStore
from providers.errors import (
    ConfigurationError,
    NotFoundError,
    ProviderError,
    RateLimitedError,
    WebhookVerificationError,
)
from providers.testing.clock import ManualClock
from providers.testing.servers import Fault, StripeServer

ACCOUNTS = (None, "acct_0000000000000001", "acct_0000000000000002")
URLS = {"success_url": "https://shop.example.com/thanks", "cancel_url": "https://shop.example.com/cart"}
LINE = CheckoutLine(title="Mug", unit_price=Money(amount=Decimal("19.99"), currency="USD"))


class Vault:
    """A `CredentialSource` over one account."""

    def __init__(self, account):
        self.account = account

    async def get(self, vendor):
        return {"STRIPE_ACCOUNT": self.account}

    async def put(self, vendor, values):
        raise NotImplementedError


class Platform:
    """Stripe with the platform's own account and two that are connected to it."""

    def __init__(self, server, clock):
        self.server, self.clock = server, clock
        self.store = MemoryStore(clock)

    def open(self):
        settings = Settings(mode="live", environ=self.server.env, env_file=None)
        return Providers(settings, clock=self.clock, store=self.store)

    @staticmethod
    def views(p, *, by=lambda account: {"STRIPE_ACCOUNT": account}):
        return [p, *(p.scoped(f"m-{number}", credentials=by(ACCOUNTS[number])) for number in (1, 2))]

    def made(self, kind):
        """What each account has of a kind."""
        return [self.server.objects(kind, account=account) for account in ACCOUNTS]

    def named(self):
        """Which account each request was for."""
        return [request.headers.get("Stripe-Account") for request in self.server.requests]


@pytest.fixture
def platform():
    clock = ManualClock()
    with StripeServer(clock=clock.time, accounts=ACCOUNTS[1:]) as server:
        yield Platform(server, clock)


def buy(view, **options):
    return view.billing.payment_checkout([LINE], **{"idempotency_key": "order-1"} | URLS | options)


async def unknowns(p):
    return [write async for write in p.unknowns.unknown()]


@pytest.mark.parametrize("by", [lambda account: {"STRIPE_ACCOUNT": account}, Vault], ids=["credentials", "source"])
def test_with_the_platform_s_key_each_sells_in_its_own_account(platform, by):
    async def scenario():
        async with platform.open() as p:
            return [(await buy(view)).ref.id for view in platform.views(p, by=by)]

    sessions = asyncio.run(scenario())
    assert [[one["id"] for one in made] for made in platform.made("checkout.session")] == [[each] for each in sessions]
    assert platform.named() == list(ACCOUNTS)
    assert len({request.headers["Authorization"] for request in platform.server.requests}) == 1


def test_a_key_of_one_is_not_a_key_of_another(platform):
    async def scenario():
        async with platform.open() as p:
            views = platform.views(p)
            first = [(await buy(view)).ref for view in views]
            return first, [(await buy(view)).ref for view in views]

    first, again = asyncio.run(scenario())
    assert first == again
    assert len(set(first)) == 3
    keys = [request.headers["Idempotency-Key"] for request in platform.server.requests]
    assert len(keys) == len(set(keys)) == 3


def test_one_address_is_a_customer_of_each_and_nobody_sees_another_s(platform):
    async def scenario():
        async with platform.open() as p:
            views = platform.views(p)
            customers = [await view.billing.ensure_customer(email="ana@example.com") for view in views]
            again = [await view.billing.ensure_customer(email="ana@example.com") for view in views]
            assert [one.ref for one in again] == [one.ref for one in customers]
            for view, others in ((views[1], (0, 2)), (views[2], (0, 1)), (views[0], (1, 2))):
                for other in others:
                    with pytest.raises(NotFoundError):
                        await view.billing.customer(customers[other].ref)
            return [one.ref for one in customers]

    assert len(set(asyncio.run(scenario()))) == 3
    assert [len(made) for made in platform.made("customer")] == [1, 1, 1]


def test_a_payment_is_given_back_by_the_account_that_got_it_and_no_other(platform):
    async def scenario():
        async with platform.open() as p:
            _, one, two = platform.views(p)
            session = (await buy(one)).ref
            platform.server.pay(session.id)
            for stranger in (p, two):
                with pytest.raises(NotFoundError):
                    await stranger.billing.refund(session, idempotency_key="return-1")
            return await one.billing.refund(session, idempotency_key="return-1")

    refund = asyncio.run(scenario())
    assert [[made["id"] for made in each] for each in platform.made("refund")] == [[], [refund.ref.id], []]


def test_what_is_unknown_of_one_is_its_own_and_is_repeated_in_its_account(platform):
    async def scenario():
        async with platform.open() as p:
            _, one, two = platform.views(p)
            platform.server.stage(Fault.RESET_AFTER, match=("POST", "/v1/checkout/sessions"), times=3)
            platform.server.stage(Fault.RESET_AFTER, match=("GET", "/v1/checkout/sessions"), times=2)
            with pytest.raises(ProviderError) as caught:
                await buy(one)
            assert caught.value.may_have_applied
            assert (caught.value.tenant, caught.value.retryable) == ("m-1", True)
            platform.clock.advance(60)
            (write,) = await unknowns(p)
            assert (write.tenant, write.key) == ("m-1", "order-1")
            await buy(two)
            await buy(one)
            return await unknowns(p)

    assert asyncio.run(scenario()) == []
    assert [len(made) for made in platform.made("checkout.session")] == [0, 1, 1]


def test_a_limit_of_one_holds_up_nobody_else(platform):
    refused = Fault.json(429, {"error": {"type": "api_error", "code": "rate_limit"}}, {"Retry-After": "3600"})

    async def scenario():
        async with platform.open() as p:
            _, one, two = platform.views(p)
            platform.server.stage(refused)
            for _ in range(2):
                with pytest.raises(RateLimitedError):
                    await buy(one)
            for view in (p, two):
                await buy(view)

    asyncio.run(scenario())
    assert platform.clock.slept == []
    assert [len(made) for made in platform.made("checkout.session")] == [1, 0, 1]


def event(platform, account):
    """A signed event, as the platform's endpoint gets it of an account that is connected to it."""
    created = int(platform.clock.time())
    thing = {"id": "cus_1", "object": "customer", "email": "ana@example.com", "metadata": {}, "created": created}
    told = {
        "id": "evt_1",
        "object": "event",
        "type": "customer.created",
        "created": created,
        "livemode": False,
        "api_version": "2026-10-28.endive",
        "data": {"object": thing},
        **({"account": account} if account else {}),
    }
    headers, body = platform.server.signed_request(told)
    return RawRequest(body=body, headers=headers)


def test_an_event_of_a_connected_account_is_its_own_and_the_platform_s_and_nobody_else_s(platform):
    async def scenario():
        async with platform.open() as p:
            _, one, two = platform.views(p)
            request = event(platform, ACCOUNTS[1])
            for view in (p, one):
                (told,) = (await view.billing.webhook(request)).events
                assert told.account == ACCOUNTS[1]
            with pytest.raises(WebhookVerificationError):
                await two.billing.webhook(request)

    asyncio.run(scenario())


def test_a_tenant_with_a_key_of_its_own_does_not_trust_the_platform_s_events(platform):
    async def scenario():
        async with platform.open() as p:
            own = p.scoped("m-3", credentials={"STRIPE_SECRET_KEY": "sk_test_own"})
            with pytest.raises(ConfigurationError, match="STRIPE_WEBHOOK_SECRET"):
                await own.billing.webhook(event(platform, None))
            signed = {"STRIPE_SECRET_KEY": "sk_test_own", "STRIPE_WEBHOOK_SECRET": "whsec_own"}
            with pytest.raises(WebhookVerificationError):
                await p.scoped("m-4", credentials=signed).billing.webhook(event(platform, None))

    asyncio.run(scenario())


def test_a_tenant_that_names_no_account_never_sells_in_the_platform_s(platform):
    async def scenario():
        async with platform.open() as p:
            for credentials in ({}, {"STRIPE_ACCOUNT": ""}, {"STRIPE_WEBHOOK_SECRET": "whsec_own"}):
                with pytest.raises(ConfigurationError, match="STRIPE_SECRET_KEY"):
                    await buy(p.scoped("m-3", credentials=credentials))

    asyncio.run(scenario())
    assert platform.server.requests == ()


def test_what_is_stored_of_one_names_no_other(platform):
    async def scenario():
        async with platform.open() as p:
            for view in platform.views(p)[1:]:
                await buy(view)
            return {key: value async for key, value in platform.store.scan("")}

    stored = asyncio.run(scenario())
    for mine, other in (("m-1", "m-2"), ("m-2", "m-1")):
        own = {key: value for key, value in stored.items() if f"/{mine}/" in key}
        assert own
        assert other not in json.dumps([key + value.decode() for key, value in own.items()])
