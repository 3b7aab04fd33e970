"""Money that goes back: whatever happens on the way, the vendor gets one key, and gives back once."""

import asyncio
from decimal import Decimal

import pytest

from providers import Money, Providers, Settings
from providers.billing import CheckoutLine
from providers.core.errors import Outcome, ProviderError, RejectedError
from providers.core.store import MemoryStore
from providers.testing.servers import Fault, FaultServer, StripeServer

REFUNDS = ("POST", "/v1/refunds")
URLS = {"success_url": "https://shop.example.com/thanks", "cancel_url": "https://shop.example.com/cart"}
FIVE = Money(amount=Decimal("5.00"), currency="USD")
DAY = 86_400.0


class Till:
    """A payment of 19.99 USD at a Stripe behind a fault server."""

    def __init__(self, vendor, faults, clock, transport):
        self.vendor, self.faults, self.clock, self.transport = vendor, faults, clock, transport
        self.store = MemoryStore(clock)
        asyncio.run(self._sell())

    def open(self):
        """Another process with the same state."""
        environ = {**self.vendor.env, "PROVIDER_STRIPE_BASE_URL": self.faults.url}
        settings = Settings(mode="live", environ=environ, env_file=None)
        return Providers(settings, clock=self.clock, transport=self.transport(), store=self.store)

    async def _sell(self):
        line = CheckoutLine(title="Mug", unit_price=Money(amount=Decimal("19.99"), currency="USD"))
        async with self.open() as p:
            self.session = (await p.billing.payment_checkout([line], **URLS)).ref
        self.vendor.pay(self.session.id)

    def stage(self, fault, times=1, *, looks=False):
        """At refunds only, or at looking for them too."""
        self.faults.stage(fault, match=REFUNDS, times=times)
        if looks:
            self.faults.stage(fault, match=("GET", "/v1/refunds"), times=times)

    @property
    def keys(self):
        """Of every refund that was asked for, in order."""
        found = (request for request in self.faults.requests if (request.method, request.path) == REFUNDS)
        return [request.headers["Idempotency-Key"] for request in found]

    @property
    def given(self):
        """In cents."""
        return [refund["amount"] for refund in self.vendor.objects("refund")]


@pytest.fixture
def till(clock, transport):
    with StripeServer(clock=clock.time) as vendor, FaultServer(vendor.url) as faults:
        yield Till(vendor, faults, clock, transport)
        faults.release()


async def unknowns(p):
    return [write async for write in p.unknowns.unknown()]


@pytest.mark.parametrize(
    "fault",
    [
        Fault.RESET_BEFORE,
        Fault.RESET_AFTER,
        Fault.TRUNCATED_BODY,
        Fault.NON_JSON.after(),
        Fault.json(500, {"error": {"type": "api_error", "message": "no"}}).after(),
        Fault.json(502, {}).after(),
        Fault.status(504).after(),
    ],
    ids=["reset before", "reset after", "truncated", "not JSON", "500", "502", "504"],
)
@pytest.mark.parametrize("times", [1, 2])
def test_a_refund_whose_answer_was_lost_is_repeated_by_the_same_key_and_made_once(till, fault, times):
    till.stage(fault, times)

    async def scenario():
        async with till.open() as p:
            refund = await p.billing.refund(till.session, amount=FIVE, idempotency_key="return-1")
            assert await unknowns(p) == []
            assert (await p.billing.refund(till.session, amount=FIVE, idempotency_key="return-1")).ref == refund.ref

    asyncio.run(scenario())
    assert till.given == [500]
    assert len(till.keys) == times + 1
    assert len(set(till.keys)) == 1


@pytest.mark.parametrize("fault", [Fault.RESET_BEFORE, Fault.RESET_AFTER], ids=["before", "after"])
def test_a_refund_that_stays_unknown_is_made_once_by_the_next_process(till, fault):
    till.stage(fault, None, looks=True)

    async def scenario():
        async with till.open() as p:
            with pytest.raises(ProviderError) as caught:
                await p.billing.refund(till.session, amount=FIVE, idempotency_key="return-1")
            assert (caught.value.outcome, caught.value.retryable) == (Outcome.UNKNOWN, True)
        asked, made = len(till.keys), len(till.given)
        first = set(till.keys)
        till.faults.reset()
        till.clock.advance(3600)
        async with till.open() as p:
            (write,) = await unknowns(p)
            assert (write.operation, write.key, write.vendor) == ("billing.refund", "return-1", "stripe")
            refund = await p.billing.refund(till.session, amount=FIVE, idempotency_key="return-1")
            assert await unknowns(p) == []
        return asked, made, first, refund

    asked, made, first, refund = asyncio.run(scenario())
    assert (asked, made) == (3, int(fault is Fault.RESET_AFTER))
    assert set(till.keys) == first
    assert till.given == [500]
    assert refund.amount == FIVE


def test_after_the_window_of_the_key_a_refund_is_found_and_never_asked_for_again(till):
    till.stage(Fault.RESET_AFTER, None, looks=True)

    async def scenario():
        async with till.open() as p:
            with pytest.raises(ProviderError):
                await p.billing.refund(till.session, amount=FIVE, idempotency_key="return-1")
            till.faults.reset()
            till.clock.advance(DAY)
            return await p.billing.refund(till.session, amount=FIVE, idempotency_key="return-1")

    refund = asyncio.run(scenario())
    assert till.keys == []
    assert [made["id"] for made in till.vendor.objects("refund")] == [refund.ref.id]


def test_after_the_window_of_the_key_a_refund_that_is_not_found_stays_unknown(till):
    till.stage(Fault.RESET_BEFORE, None, looks=True)

    async def scenario():
        async with till.open() as p:
            with pytest.raises(ProviderError):
                await p.billing.refund(till.session, amount=FIVE, idempotency_key="return-1")
            till.faults.reset()
            till.clock.advance(DAY)
            with pytest.raises(ProviderError) as caught:
                await p.billing.refund(till.session, amount=FIVE, idempotency_key="return-1")
            assert (caught.value.code, caught.value.outcome) == ("unknown_outcome", Outcome.UNKNOWN)
            assert len(await unknowns(p)) == 1

    asyncio.run(scenario())
    assert till.keys == till.given == []


def test_without_a_key_of_the_caller_s_attempts_are_one_refund_and_calls_are_two(till):
    till.stage(Fault.RESET_AFTER)

    async def scenario():
        async with till.open() as p:
            for _ in range(2):
                await p.billing.refund(till.session, amount=FIVE)

    asyncio.run(scenario())
    assert till.given == [500, 500]
    assert len(till.keys) == 3
    assert till.keys[0] == till.keys[1] != till.keys[2]


def test_a_decline_is_no_unknown_and_is_not_repeated(till):
    body = {"error": {"type": "card_error", "code": "card_declined", "decline_code": "do_not_honor", "message": "no"}}
    till.stage(Fault.json(402, body))

    async def scenario():
        async with till.open() as p:
            with pytest.raises(RejectedError) as caught:
                await p.billing.refund(till.session, idempotency_key="return-1")
            assert (caught.value.code, caught.value.outcome) == ("do_not_honor", Outcome.NOT_APPLIED)
            assert await unknowns(p) == []

    asyncio.run(scenario())
    assert len(till.keys) == 1
    assert till.given == []
