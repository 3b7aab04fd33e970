"""The one sourcing suite, unchanged: the demo on two kinds of state, AliExpress and CJdropshipping."""

import asyncio
import contextlib
import json

import pytest

from providers import Providers, Settings
from providers.core.attempt import ATTEMPT
from providers.core.clock import utc
from providers.core.errors import Outcome, ProviderTimeoutError, ProviderUnavailableError
from providers.core.models import RawRequest, Ref
from providers.core.transport_aiohttp import AiohttpTransport
from providers.demo import webhooks
from providers.sourcing import demo_life
from providers.sourcing.demo import DemoSourcing
from providers.testing.clock import ManualClock
from providers.testing.conformance.sourcing import SourcingConformance, SourcingHarness
from providers.testing.servers.aliexpress import AliExpressServer
from providers.testing.servers.cjdropshipping import CjServer

# The demo.


def demo_product(source, ending):
    """Its id says what becomes of it."""

    async def product(providers):
        return Ref(vendor="demo", id=f"{source}-100500600001{ending}")

    return product


def demo_lost(providers):
    """The next order is made and its answer gets lost."""
    demo = providers.sourcing.unwrap(DemoSourcing)
    place = demo.place

    async def once(draft):
        demo.place = place
        await place(draft)
        raise ProviderTimeoutError("lost", outcome=Outcome.UNKNOWN)

    demo.place = once


def demo_harness(clock, *, source, links, **also):
    def open_demo(*, webhook_url=None, **parts):
        settings = Settings(mode="demo", webhook_url=webhook_url, environ={}, env_file=None, **also)
        return Providers(settings, **parts)

    async def placed(providers):
        return len([order async for order in providers.sourcing.unwrap(DemoSourcing).orders()])

    async def ship(providers, ref):
        clock.advance(demo_life.DISPATCHED + 1)

    async def deliver(providers, ref):
        clock.advance(60 * demo_life.DAY)

    @contextlib.contextmanager
    def stalled():
        # The demo waits for nobody; no other way to stop it.
        async def never(*_):
            await asyncio.Event().wait()

        with pytest.MonkeyPatch.context() as patch:
            for name in ("search", "product", "place"):
                patch.setattr(DemoSourcing, name, never)
            yield

    def unknown_event():
        event = {"type": "teleported", "event_id": "1", "source": source, "vendor": "demo",
                 "occurred_at": utc(clock.time()).isoformat()}  # fmt: skip
        body = json.dumps([event]).encode()
        return RawRequest(body=body, headers=webhooks.sign(body, clock.time()))

    return SourcingHarness(
        open=open_demo,
        clock=clock,
        source=source,
        missing="1005006000010404",
        ids=("12345", "1005006000017777", "1005006000010000", "99999999999999999999"),
        links=links,
        closed="KP",
        placed=placed,
        ship=ship,
        deliver=deliver,
        sold_out=demo_product(source, "0409"),
        poor=demo_product(source, "0402"),
        stalled=stalled,
        cut=lambda providers: providers.faults.stage(
            "sourcing.place_order", ProviderTimeoutError("cut off", outcome=Outcome.UNKNOWN)
        ),
        lost=demo_lost,
        code=lambda: "demo-code",
        unknown_event=unknown_event,
    )


CJ_LINKS = (
    ("https://cjdropshipping.com/product/yoga-mat-p-1746203604123011000.html", "1746203604123011000"),
    ("https://m.cjdropshipping.com/product/yoga-mat-p-1746203604123011000.html?utm_source=x", "1746203604123011000"),
)
ALIEXPRESS_LINKS = (
    ("https://www.aliexpress.com/item/1005604123011000.html", "1005604123011000"),
    ("https://m.aliexpress.com/item/1005604123011000.html?spm=a2g0o.1", "1005604123011000"),
    ("https://de.aliexpress.com/item/1005604123011000.html", "1005604123011000"),
    ("aliexpress.us/item/1005604123011000.html", "1005604123011000"),
)


class TestDemo(SourcingConformance):
    @pytest.fixture
    def harness(self):
        return demo_harness(ManualClock(), source="cjdropshipping", links=CJ_LINKS)


class TestDemoOnSqlite(SourcingConformance):
    @pytest.fixture
    def harness(self, tmp_path):
        state = {"state_url": f"sqlite:///{tmp_path}/state.db"}
        return demo_harness(ManualClock(), source="aliexpress", links=ALIEXPRESS_LINKS, **state)


# AliExpress and CJdropshipping, on the servers in this package.


class Line:
    """The way to a vendor, which can break where an order is made, or lead nowhere.

    `before` is called once, when the next order is on its way.
    """

    def __init__(self, orders):
        self._orders = orders
        self._break = ""
        self._gate = None
        self.before = None

    def cut(self, _):
        self._break = "cut"

    def lost(self, _):
        self._break = "lost"

    @contextlib.contextmanager
    def stalled(self):
        self._gate = asyncio.Event()
        try:
            yield
        finally:
            self._gate = None

    def transport(self):
        line = self

        class Transport(AiohttpTransport):
            async def send(self, request):
                return await line.send(request, super().send)

        return Transport()

    async def send(self, request, onwards):
        if self._gate is not None:
            ATTEMPT.get().sent = True
            await self._gate.wait()
        if not self._orders(request):
            return await onwards(request)
        before, self.before = self.before, None
        if before is not None:
            before()
        how, self._break = self._break, ""
        if not how:
            return await onwards(request)
        if how == "lost":
            await onwards(request)
        ATTEMPT.get().sent = True
        raise ProviderUnavailableError("the connection was lost before the reply", code="connection_lost")


def live_harness(server, clock, line, **options):
    def open_live(*, webhook_url=None, **parts):
        if webhook_url:
            server.webhook_url = webhook_url
        settings = Settings(mode="live", vendors={"sourcing": server.vendor}, environ=server.env, env_file=None)
        return Providers(settings, transport=line.transport(), **parts)

    async def placed(providers):
        return len(server.orders)

    async def ship(providers, ref):
        server.ship(ref.id)

    async def deliver(providers, ref):
        server.deliver(ref.id)

    return SourcingHarness(
        open=open_live,
        clock=clock,
        placed=placed,
        ship=ship,
        deliver=deliver,
        stalled=line.stalled,
        cut=line.cut,
        lost=line.lost,
        **options,
    )


class TestAliExpress(SourcingConformance):
    @pytest.fixture
    def harness(self):
        clock = ManualClock()
        line = Line(lambda request: b"aliexpress.ds.order.create" in (request.content or b""))
        with AliExpressServer(clock=clock.time) as server:

            async def paid(providers, ref):
                server.pay(ref.id)

            async def sold_out(providers):
                server.fail("aliexpress.ds.order.create", "INVENTORY_HOLD_ERROR")
                return Ref(vendor="aliexpress", id="1005006123456789")

            yield live_harness(
                server,
                clock,
                line,
                missing="1005006000010404",
                ids=("1005006123456789", "1005007000000001", "1005000000000404"),
                links=ALIEXPRESS_LINKS,
                paid=paid,
                sold_out=sold_out,
                code=server.authorise,
            )


class TestCj(SourcingConformance):
    @pytest.fixture
    def harness(self):
        clock = ManualClock()
        line = Line(lambda request: "createOrderV2" in request.url)
        with CjServer(clock=clock.time, balance="100000.00") as server:

            async def poor(providers):
                server.balance = 0
                return Ref(vendor="cjdropshipping", id="1746203604123011000")

            async def sold_out(providers):
                id_ = "1746203604123011000"

                def gone():
                    for variant in server.variants(id_):
                        server.set_stock(variant, 0)

                line.before = gone
                return Ref(vendor="cjdropshipping", id=id_)

            def unknown_event():
                message = {"messageId": "m-1", "type": "TELEPORT", "messageType": "UPDATE", "params": {}}
                headers, body = server.signed_request(message)
                return RawRequest(body=body, headers=headers)

            yield live_harness(
                server,
                clock,
                line,
                missing="1746203604123010404",
                ids=("1746203604123011000", "0F8A3F42-1C6E-4F0A-9B7E-111111111111", "1746203604123010410"),
                links=CJ_LINKS,
                sold_out=sold_out,
                poor=poor,
                unknown_event=unknown_event,
            )
