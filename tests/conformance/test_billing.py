"""The one billing suite, unchanged: the demo, and Stripe over both transports."""

import asyncio
import contextlib
import json

import pytest

from providers import Providers, Settings
from providers.billing.demo import DemoBilling
from providers.core.clock import utc
from providers.core.models import RawRequest
from providers.core.transport_aiohttp import AiohttpTransport
from providers.core.transport_httpx import HttpxTransport
from providers.demo import webhooks
from providers.testing.clock import ManualClock
from providers.testing.conformance.billing import BillingConformance, BillingHarness
from providers.testing.servers import Fault, StripeServer

# The demo.


def demo_event(clock):
    event = {"type": "teleported", "event_id": "1", "occurred_at": utc(clock.time()).isoformat(), "livemode": False,
             "vendor": "demo"}  # fmt: skip
    body = json.dumps([event]).encode()
    return RawRequest(body=body, headers=webhooks.sign(body, clock.time()))


async def demo_made(providers, kind):
    books = [book async for book in providers.billing.unwrap(DemoBilling).books()]
    return sum(len(book.sessions if kind == "checkout" else book.refunds) for book in books)


def demo_harness(clock, *, stalled, **options):
    def open_demo(*, webhook_url=None, **parts):
        settings = Settings(mode="demo", webhook_url=webhook_url, environ={}, env_file=None, **options.get("also", {}))
        return Providers(settings, **{**options.get("parts", {}), **parts})

    async def advance(seconds):
        clock.advance(seconds)

    async def dispute(providers, payment):
        """Its address has done so."""

    return BillingHarness(
        open=open_demo,
        clock=clock,
        advance=advance,
        dispute=dispute,
        made=demo_made,
        stalled=stalled,
        unknown_event=lambda: demo_event(clock),
    )


class TestDemo(BillingConformance):
    @pytest.fixture
    def harness(self, stalling_store):
        clock = ManualClock()
        store = stalling_store(clock)
        return demo_harness(clock, stalled=store.stalled, parts={"store": store})


class TestDemoOnSqlite(BillingConformance):
    @pytest.fixture
    def harness(self, tmp_path):
        @contextlib.contextmanager
        def stalled():
            # The demo waits for its state; no other way to stop it.
            with pytest.MonkeyPatch.context() as patch:
                waiting = asyncio.Event()
                patch.setattr(DemoBilling, "_write", lambda *_: waiting.wait())
                yield

        state = {"state_url": f"sqlite:///{tmp_path}/state.db"}
        return demo_harness(ManualClock(), stalled=stalled, also=state)


# Stripe, on the server in this package.


@contextlib.contextmanager
def stripe_harness(transport):
    clock = ManualClock()
    with StripeServer(clock=clock.time) as server:
        settings = Settings(mode="live", vendors={"billing": "stripe"}, environ=server.env, env_file=None)

        def open_stripe(*, webhook_url=None, **parts):
            if webhook_url is not None:
                server.webhook_url = webhook_url
                server.reset()
            return Providers(settings, transport=transport(), **parts)

        async def pay(providers, session):
            server.pay(session.ref.id)

        async def advance(seconds):
            clock.advance(seconds)
            server.advance()

        async def decline(providers, customer):
            server.set_card(customer.ref.id, "pm_card_chargeCustomerFail")

        async def dispute(providers, payment):
            server.dispute(payment.id)

        async def made(providers, kind):
            return len(server.objects({"checkout": "checkout.session"}.get(kind, kind)))

        @contextlib.contextmanager
        def stalled():
            server.stage(Fault.SLOW_HEADERS, times=None)
            try:
                yield
            finally:
                server._faults.clear()
                server.release()

        def unknown_event():
            event = {"id": "evt_1", "object": "event", "type": "teleported", "created": int(clock.time()),
                     "livemode": False, "data": {"object": {"id": "x_1"}}}  # fmt: skip
            headers, body = server.signed_request(event)
            return RawRequest(body=body, headers=headers)

        yield BillingHarness(
            open=open_stripe,
            clock=clock,
            pay=pay,
            advance=advance,
            decline=decline,
            dispute=dispute,
            made=made,
            stalled=stalled,
            unknown_event=unknown_event,
            pending=lambda: server.pending_events,
        )


class TestStripe(BillingConformance):
    @pytest.fixture
    def harness(self):
        with stripe_harness(AiohttpTransport) as harness:
            yield harness


class TestStripeOverHttpx(BillingConformance):
    @pytest.fixture
    def harness(self):
        with stripe_harness(HttpxTransport) as harness:
            yield harness
