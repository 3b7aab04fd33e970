"""What shops do with suppliers all day, by the same code on the demo and on real servers: the variables decide."""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest

from providers import Money, Providers, Settings
from providers.core.transport_aiohttp import AiohttpTransport
from providers.errors import ConflictError, InvalidRequestError, NotFoundError
from providers.sourcing import Address, OrderItem, OrderRequest, OrderState, TrackingState
from providers.testing.clock import ManualClock
from providers.testing.servers import AliExpressServer, CjServer

DEMO = {"PROVIDER_MODE": "demo"}
FAST = {"PROVIDER_RATE_ALIEXPRESS": "1000/second", "PROVIDER_RATE_CJDROPSHIPPING": "1000/second"}

ALI, CJ = 1005006123456700, 1746203604123011000
CJ_OLD = "0F8A3F42-1C6E-4F0A-9B7E-0000000000{}"

TWENTY = {
    f"https://www.aliexpress.com/item/{ALI + 10}.html": f"{ALI + 10}",
    f"https://de.aliexpress.com/item/{ALI + 20}.html?spm=a2g0o.productlist&gatewayAdapt=glo2deu": f"{ALI + 20}",
    f"https://m.aliexpress.com/item/{ALI + 30}.html": f"{ALI + 30}",
    f"https://m.aliexpress.com/i/{ALI + 40}.html?aff_fcid=12&tt=CPS_NORMAL&aff_trace_key=x": f"{ALI + 40}",
    f"https://www.aliexpress.us/item/{ALI + 50}.html#reviews": f"{ALI + 50}",
    f"https://aliexpress.ru/item/{ALI + 60}.html?sku_id=12000036": f"{ALI + 60}",
    f"https://pt.aliexpress.com/item/Wireless-Earbuds-30-h/{ALI + 70}.html": f"{ALI + 70}",
    f"http://aliexpress.com/item/{ALI + 80}.html": f"{ALI + 80}",
    f"//www.aliexpress.com/item/{ALI + 90}.html?skuId=12000000000000001": f"{ALI + 90}",
    f"www.aliexpress.com/item/{ALI + 100}.html": f"{ALI + 100}",
    f"HTTPS://WWW.ALIEXPRESS.COM/item/{ALI + 110}.html": f"{ALI + 110}",
    f"https://www.aliexpress.com:443/item/{ALI + 120}.html": f"{ALI + 120}",
    f"https://www.aliexpress.com/ssr/300000512/BundleDeals2?productIds={ALI + 130}:12000036": f"{ALI + 130}",
    f"https://ko.aliexpress.com/i/{ALI + 140}": f"{ALI + 140}",
    f"https://cjdropshipping.com/product/foldable-phone-stand-p-{CJ + 10}.html": f"{CJ + 10}",
    f"https://www.cjdropshipping.com/product/earbuds-p-{CJ_OLD.format(20)}.html?from=US": CJ_OLD.format(20),
    f"https://app.cjdropshipping.com/product-detail.html?id=1&pid={CJ + 30}": f"{CJ + 30}",
    f"https://cjdropshipping.com/product/p-{CJ + 40}.html": f"{CJ + 40}",
    f"https://m.cjdropshipping.com/product/mat-p-{CJ + 50}.html?utm_source=mail&utm_medium=x": f"{CJ + 50}",
    f"https://cjdropshipping.com/product/p-{CJ_OLD.format(60)}.html": CJ_OLD.format(60),
}
"""Pages of all kinds -> the product's id."""


def hostile(port):
    """Addresses that lead here, or to other people's machines, dressed up as a supplier's."""
    return [
        f"http://127.0.0.1:{port}/item/{ALI}.html",
        f"http://localhost:{port}/item/{ALI}.html",
        f"http://www.aliexpress.com@127.0.0.1:{port}/item/{ALI}.html",
        f"http://127.0.0.1:{port}#@www.aliexpress.com/item/{ALI}.html",
        f"http://127.0.0.1:{port}\\@www.aliexpress.com/item/{ALI}.html",
        f"http://www.aliexpress.com:{port}/item/{ALI}.html",
        f"https://aliexpress.com.evil.example/item/{ALI}.html",
        f"https://evilaliexpress.com/item/{ALI}.html",
        "http://169.254.169.254/latest/meta-data/",
        "file:///etc/passwd",
        "https://s.click.aliexpress.com/e/_demo001",
        "https://detail.1688.com/offer/610000000000.html",
        "https://www.aliexpress.com/w/wholesale-earbuds.html",
    ]


class Wire(AiohttpTransport):
    """Knows what is under way; answers take `seconds` of the clock."""

    def __init__(self, clock, seconds):
        super().__init__()
        self.clock, self.seconds = clock, seconds
        self.busy = 0
        self.idle = asyncio.Event()

    async def send(self, request):
        self.busy += 1
        self.idle.clear()
        try:
            reply = await super().send(request)
        finally:
            self.busy -= 1
            if not self.busy:
                self.idle.set()
        await self.clock.sleep(self.seconds)
        return reply


class Turning(ManualClock):
    """Time goes on to the next thing that is waited for, once nothing is under way."""

    def __init__(self):
        super().__init__(auto=False)

    async def run(self, coroutine, wire):
        task = asyncio.ensure_future(coroutine)
        quiet = 0
        while not task.done():
            await asyncio.sleep(0)
            quiet = 0 if wire.busy else quiet + 1
            if wire.busy:
                await wire.idle.wait()
            elif quiet > 20:
                quiet = 0
                due = min((wait.due for wait in self._waits), default=self.monotonic())
                self.advance(max(due - self.monotonic(), 0.0))
        return await task


@pytest.fixture
def ali():
    with AliExpressServer() as server:
        yield server


@pytest.fixture
def cj():
    with CjServer() as server:
        yield server


@pytest.fixture(params=["demo", "live"])
def environ(request):
    """All that differs between a rehearsal and the real thing."""
    if request.param == "demo":
        return DEMO
    servers = (request.getfixturevalue("ali"), request.getfixturevalue("cj"))
    return {"PROVIDER_MODE": "live", **FAST} | servers[0].env | servers[1].env


def opened(environ, **parts):
    return Providers(Settings(environ=environ, env_file=None), **parts)


@asynccontextmanager
async def trap():
    """A port of this machine that nobody may come to; who did."""
    came = []

    async def caught(reader, writer):
        came.append(writer.get_extra_info("peername"))
        writer.close()

    server = await asyncio.start_server(caught, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], came


async def imported(p, urls):
    """What a bulk import does: a product or a reason for each address."""

    async def one(url):
        try:
            return await p.sourcing.product(url, country="US")
        except InvalidRequestError as error:
            return error

    return await asyncio.gather(*map(one, urls))


def test_twenty_products_are_imported_from_pages_of_all_kinds_and_no_page_is_ever_fetched(environ, request):
    async def main():
        async with opened(environ) as p, trap() as (port, came):
            bad = hostile(port)
            found = await imported(p, [*TWENTY, *bad])
            products, refused = found[: len(TWENTY)], found[len(TWENTY) :]
            for (url, id_), product in zip(TWENTY.items(), products, strict=True):
                source = "cjdropshipping" if "cjdropshipping" in url else "aliexpress"
                assert (product.source, product.source_id) == (source, id_)
                assert product.ref == (await p.sourcing.product(p.sourcing.ref(url), country="US")).ref
                assert product.title
                assert product.price.amount > 0
                assert product.price.currency == "USD"
                assert product.images
                assert all(variant.price.amount > 0 for variant in product.variants)
                assert product.shipping.cost.currency == "USD"
            assert len({product.ref for product in products}) == 20
            for url, error in zip(bad, refused, strict=True):
                assert (type(error), error.field) == (InvalidRequestError, "url")
                with pytest.raises(ValueError, match="url: "):
                    p.sourcing.ref(url)
            assert came == []

    asyncio.run(main())
    if environ is DEMO:
        return
    # Nothing but the API was asked, and for each product once.
    ali, cj = request.getfixturevalue("ali"), request.getfixturevalue("cj")
    methods = Counter(name for one in ali.requests for name in [one.body.decode().partition("method=")[2]])
    assert {one.path for one in ali.requests} == {"/sync"}
    assert sum(name.startswith("aliexpress.ds.product.get") for name in methods.elements()) == 14
    asked = Counter(one.path.removeprefix("/api2.0/v1/") for one in cj.requests)
    assert asked["product/query"] == 6
    assert set(asked) <= {
        "authentication/getAccessToken",
        "product/query",
        "product/stock/getInventoryByPid",
        "logistic/freightCalculate",
    }


HOME = Address(
    name="Ann Lee",
    line1="1 Main St",
    city="Austin",
    region="Texas",
    postal_code="73301",
    country="US",
    phone="+15125550100",
)


def order_of(p, urls, *, key="order-1001"):
    """A customer's order as the shop's core makes it."""
    items = tuple(OrderItem(ref=p.sourcing.ref(url)) for url in urls)
    most = Money(amount=Decimal(2000), currency="USD")
    return OrderRequest(items=items, address=HOME, idempotency_key=key, max_total=most)


def page_of(source, id_):
    return {
        "aliexpress": f"https://www.aliexpress.com/item/{id_}.html",
        "cjdropshipping": f"https://cjdropshipping.com/product/x-p-{id_}.html",
        "spocket": f"https://www.spocket.co/products/{id_}",
    }[source]


def test_an_order_of_three_suppliers_with_one_failing_on_the_demo():
    pages = [
        page_of("aliexpress", ALI),
        page_of("cjdropshipping", f"{CJ // 10000}0409"),
        page_of("spocket", "808302311028"),
    ]
    clock = ManualClock()

    async def main():
        async with opened(DEMO, clock=clock) as p:
            request = order_of(p, pages)
            found = await p.sourcing.place_order(request)
            assert found.state is OrderState.PARTIAL
            parts = {part.source: part for part in found.parts}
            assert [part.state for part in parts.values()] == ["unpaid", "failed", "unpaid"]
            assert list(parts) == ["aliexpress", "cjdropshipping", "spocket"]
            error = parts["cjdropshipping"].error
            assert (type(error), error.code, error.may_have_applied) == (ConflictError, "out_of_stock", False)
            assert found.total.amount == sum(part.total.amount for part in found.parts if part.ref)
            # A repeat makes nothing twice; the one that failed is tried, and fails, again.
            again = await p.sourcing.place_order(request)
            assert (again.refs, again.state) == (found.refs, OrderState.PARTIAL)
            for ref in found.refs:
                assert (await p.sourcing.pay(ref)).paid
            clock.advance(60 * 86_400)
            outcomes = await p.sourcing.trackings(found.refs)
            assert [one.tracking.state for one in outcomes] == [TrackingState.DELIVERED] * 2
            assert all(one.tracking.number and one.tracking.carrier for one in outcomes)

    asyncio.run(main())


@pytest.mark.parametrize("failing", ["aliexpress", "cjdropshipping"])
def test_an_order_of_three_suppliers_with_one_failing_at_real_servers(ali, cj, failing):
    environ = {"PROVIDER_MODE": "live", **FAST, **ali.env, **cj.env}
    # Two stores, and a supplier besides.
    pages = [
        page_of("aliexpress", ALI + 10),
        page_of("aliexpress", ALI + 20),
        page_of("cjdropshipping", CJ + 10),
    ]

    async def main():
        async with opened(environ) as p:
            request = order_of(p, pages)
            if failing == "aliexpress":
                ali.fail("aliexpress.ds.order.create", "INVENTORY_HOLD_ERROR")
            else:
                for variant in cj.variants(str(CJ + 10)):
                    cj.set_stock(variant, 0)
            found = await p.sourcing.place_order(request)
            assert found.state is OrderState.PARTIAL
            good = [part for part in found.parts if part.source != failing]
            (bad,) = [part for part in found.parts if part.source == failing]
            assert {part.state for part in good} == {OrderState.UNPAID}
            assert len(good) == (2 if failing == "cjdropshipping" else 1)
            assert all(part.ref and part.total.amount > 0 for part in good)
            assert (bad.state, type(bad.error), bad.error.may_have_applied) == ("failed", ConflictError, False)
            assert bad.error.vendor == failing
            assert bad.reason

            for variant in cj.variants(str(CJ + 10)):
                cj.set_stock(variant, 50)
            again = await p.sourcing.place_order(request)
            assert again.state is OrderState.UNPAID
            assert set(found.refs) < set(again.refs)
            assert len(again.refs) == len(set(again.refs)) == 3
            assert (await p.sourcing.place_order(request)).model_dump() == again.model_dump()
            assert (len(ali.orders), len(cj.orders)) == (2, 1)
            assert again.total.currency == "USD"

            (ref,) = [ref for ref in again.refs if ref.vendor == "cjdropshipping"]
            assert (await p.sourcing.pay(ref, max_total=again.total)).paid
            assert cj.balance < 250
            for ref in again.refs:
                server = cj if ref.vendor == "cjdropshipping" else ali
                server.ship(ref.id)
                server.deliver(ref.id)
            outcomes = await p.sourcing.trackings(again.refs)
            assert [one.tracking.state for one in outcomes] == [TrackingState.DELIVERED] * 3

    asyncio.run(main())


# The vendors' limits, which their servers hold: requests a second.
LIMITS = {"aliexpress": 5, "cjdropshipping": 1}
WATCHED = {"aliexpress": 1_660, "cjdropshipping": 340}


FATES = {"0401", "0402", "0403", "0408", "0409", "0410", "0429", "0503", "0504"}
"""Endings of ids by which the demo does something else than tell a price."""
CHEAP = 1005006123470007


def watched():
    """2,000 products that shops watch, of all suppliers in turn; two are not there any more."""
    lists = []
    for source, first in (("aliexpress", CHEAP - 7), ("cjdropshipping", 1746203604123010000)):
        ids = [f"{first + number}" for number in range(WATCHED[source] + len(FATES))]
        pages = [page_of(source, id_) for id_ in ids if id_[-4:] not in FATES | {"0404"}]
        lists.append([page_of(source, f"{first + 404}"), *pages][: WATCHED[source]])
    turns = ((place / len(pages), page) for pages in lists for place, page in enumerate(pages))
    return [page for _, page in sorted(turns)]


def gone(page):
    return page.removesuffix(".html").endswith("0404")


def check(pages, outcomes):
    assert len(set(pages)) == 2_000
    assert sum(map(gone, pages)) == 2
    assert [one.index for one in outcomes] == list(range(len(pages)))
    for page, one in zip(pages, outcomes, strict=True):
        if gone(page):
            assert isinstance(one.error, NotFoundError), page
        else:
            assert one.error is None, (page, one.error)
            assert one.price.amount > 0
            assert one.ref.id.rpartition("-")[2] in page


def test_two_thousand_watched_prices_on_the_demo_have_an_outcome_each():
    pages = watched()

    async def main():
        async with opened(DEMO) as p:
            outcomes = await p.sourcing.prices(pages, country="US")
            check(pages, outcomes)

    asyncio.run(main())


def test_two_thousand_watched_prices_take_as_long_as_the_vendors_limits_ask_and_no_longer():
    clock, pages = Turning(), watched()
    bad = ["https://evil.example/item/1005006123456789.html", "omega:1"]
    # As close to what the vendors allow as clocks can be trusted to be.
    rates = {"PROVIDER_RATE_ALIEXPRESS": "4.75/second", "PROVIDER_RATE_CJDROPSHIPPING": "0.95/second"}

    async def main():
        with (
            AliExpressServer(clock=clock.time, rate_limit=LIMITS["aliexpress"]) as ali,
            CjServer(clock=clock.time, qps=LIMITS["cjdropshipping"], points=50_000) as cj,
        ):
            ali.set_price(CHEAP, "7.77")
            environ = {"PROVIDER_MODE": "live", **rates, **ali.env, **cj.env}
            wire = Wire(clock, 0.4)
            async with opened(environ, clock=clock, transport=wire) as p:
                # What some pages are given for twice is asked once.
                asked = [*pages, *bad, *pages[:50]]
                outcomes = await clock.run(p.sourcing.prices(asked, country="US"), wire)
                check(pages, outcomes[: len(pages)])
                again = outcomes[-50:]
                assert [one.price for one in again] == [one.price for one in outcomes[:50]]
                assert {type(one.error) for one in outcomes[len(pages) : -50]} == {InvalidRequestError}
                (cheap,) = [one for one in outcomes[: len(pages)] if one.ref.id == str(CHEAP)]
                assert cheap.price == Money(amount=Decimal("7.77"), currency="USD")
            elapsed = clock.monotonic()
            # One request each and CJ's token: none was refused and repeated.
            assert len(ali.requests) == WATCHED["aliexpress"]
            assert len(cj.requests) == WATCHED["cjdropshipping"] + 1
            least = max((len(server.requests) - 1) / LIMITS[server.vendor] for server in (ali, cj))
            assert least <= elapsed <= 1.1 * least

    asyncio.run(main())
