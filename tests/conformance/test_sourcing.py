"""The one sourcing suite, unchanged: the demo on two kinds of state, AliExpress and CJdropshipping."""

import asyncio
import contextlib
import json

import pytest

from providers import Providers, Settings
from providers.core.clock import utc
from providers.core.errors import Outcome, ProviderTimeoutError
from providers.core.models import RawRequest, Ref
from providers.demo import webhooks
from providers.sourcing import demo_life
from providers.sourcing.demo import DemoSourcing
from providers.testing.clock import ManualClock
from providers.testing.conformance.sourcing import SourcingConformance, SourcingHarness

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
