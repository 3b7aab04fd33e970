"""A subscription's life, from its trial to its end, at the demo and at a Stripe: by variables alone."""

import asyncio
import contextlib

from providers.billing import SubscriptionStatus
from providers.billing.platform import PLATFORM_PLANS, TRIAL_DAYS
from providers.testing.conformance._inbox import Inbox

PAGES = {"success_url": "https://app.example.com/?s={CHECKOUT_SESSION_ID}", "cancel_url": "https://app.example.com/"}
STORY = ["trialing", "active", "active", "past_due", "canceled"]


class Service:
    """What a service keeps of its events: each id once, and of each subscription the newest state."""

    def __init__(self, one, providers, inbox):
        self.one, self.providers, self.inbox = one, providers, inbox
        self.seen, self.kinds = set(), []
        self.order, self.status = {}, {}
        self.read = 0

    async def listen(self):
        while True:
            with contextlib.suppress(TimeoutError):
                request = await self.inbox.received(self.read + 1)
                for event in (await self.providers.billing.webhook(request)).events:
                    self.take(event)
                self.read += 1

    def take(self, event):
        if event.event_id in self.seen:
            return
        self.seen.add(event.event_id)
        self.kinds.append(event.type)
        about = event.subscription
        if about is not None and event.order >= self.order.get(about.ref, 0):
            self.order[about.ref] = event.order
            self.status[about.ref] = about.status

    async def heard(self, kind, times=1):
        """Until it was told so often and nothing is on its way: after the next leap of time it would be too old."""
        quiet = 0
        async with asyncio.timeout(10):
            while quiet < 3:
                await asyncio.sleep(0.01)
                calm = not self.one.pending and self.read == len(self.inbox.requests)
                quiet = quiet + 1 if calm and self.kinds.count(kind) >= times else 0


async def life(one, inbox):
    states = []
    async with one.open() as providers:
        billing, service = providers.billing, Service(one, providers, inbox)
        listening = asyncio.create_task(service.listen())
        await billing.sync_catalog(PLATFORM_PLANS)
        customer = await billing.ensure_customer(
            email="expires@example.com", metadata={"service": "trendscout", "user_id": "17"}
        )
        session = await billing.subscription_checkout(
            customer=customer.ref,
            price="trendscout_pro_monthly",
            trial_days=TRIAL_DAYS,
            metadata={"user_id": "17", "plan": "pro"},
            **PAGES,
        )
        one.pay(session)
        ref = (await billing.checkout(session.ref)).subscription
        await service.heard("subscription.created")

        async def look():
            found = await billing.subscription(ref)
            assert found.metadata == {"user_id": "17", "plan": "pro"}
            states.append(str(found.status))
            return found

        first = await look()
        one.advance(TRIAL_DAYS - 2)
        await billing.subscription(ref)
        await service.heard("subscription.trial_ending")
        one.advance(2.1)
        await look()
        await service.heard("subscription.updated")
        one.advance(31)
        renewed = await look()
        assert renewed.period_start > first.period_end
        one.let_fail(customer.ref)
        await service.heard("invoice.paid", 3)
        one.advance(31)
        await look()
        await service.heard("invoice.payment_failed")
        assert service.status[ref] is SubscriptionStatus.PAST_DUE
        one.advance(20)
        await look()
        await service.heard("subscription.ended")
        assert service.status[ref] is SubscriptionStatus.CANCELED
        invoices = [invoice async for invoice in billing.invoices(customer.ref)]
        listening.cancel()
        await asyncio.wait({listening})
        if not listening.cancelled():
            listening.result()
    return states, [(str(invoice.status), str(invoice.total)) for invoice in invoices], service.kinds


def test_a_subscription_lives_from_its_trial_to_dunning_and_its_end(side):
    async def scenario():
        async with Inbox() as inbox:
            with side(inbox.url) as one:
                return await life(one, inbox)

    states, invoices, kinds = asyncio.run(scenario())
    assert states == STORY
    trial, *paid = reversed(invoices)
    assert trial == ("paid", "0.00 USD")
    assert paid == [("paid", "29.00 USD"), ("paid", "29.00 USD"), ("open", "29.00 USD")]
    # The first attempt, and three more.
    assert kinds.count("invoice.payment_failed") == 4
    counted = [
        kinds.count(kind) for kind in ("subscription.created", "subscription.trial_ending", "subscription.ended")
    ]
    assert counted == [1, 1, 1]
    assert kinds.count("invoice.paid") == 3
