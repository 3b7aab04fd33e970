"""Suppliers: what a cached answer, a page of products, a pushed message and a watched price cost; CPU us.

The prices are asked over a transport that answers at once and on a clock that moves by itself: how long they take is
what the suppliers' limits make of it.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from benchmarks import setup
from benchmarks.report import Report, best
from providers import Providers, RawRequest, Settings
from providers.core.transport import HttpRequest, HttpResponse, HttpStream
from providers.sourcing import Market
from providers.sourcing.aliexpress_client import answer
from providers.sourcing.aliexpress_products import found
from providers.testing.clock import ManualClock

ROUNDS, CALLS, PAGE, WATCHED = 7, 2000, 50, 2000
STEP = 0.1
"""Seconds that the clock moves at once."""
OPEN_ID = "12312"
NOW = datetime(2026, 11, 22, tzinfo=UTC)
METHOD = "aliexpress_ds_text_search_response"
ENVIRON = {
    "ALIEXPRESS_APP_KEY": "500001",
    "ALIEXPRESS_APP_SECRET": "benchmark-not-a-secret",
    "ALIEXPRESS_ACCESS_TOKEN": "50000000benchmark",
    "CJDROPSHIP_API_KEY": "CJ0000001@api@benchmark",
    "CJDROPSHIP_ACCESS_TOKEN": "benchmark-token",
    "CJDROPSHIP_OPEN_ID": OPEN_ID,
    # An account with more than the lowest level's points: 1,000 prices are 10,000 of them.
    "PROVIDER_POINTS_CJDROPSHIPPING": "50000/day",
}


def row(number: int) -> dict[str, object]:
    """A product of a search, with every field that the gateway sends."""
    id_ = str(1005000000000001 + number)
    price = f"{9 + number / 100:.2f}"
    return {
        "itemId": id_,
        "title": f"Wireless Earbuds with Charging Case, {number} h Playtime",
        "itemMainPic": f"https://img.example.com/ae/{id_}/main.jpg",
        "itemUrl": f"//www.aliexpress.com/item/{id_}.html?skuId=12000000000000001",
        "type": "search",
        "cateId": "44,200010196,63705",
        "score": "4.7",
        "evaluateRate": "94.1",
        "orders": "3,000+",
        "discount": "0%",
        "originalPrice": "178.20",
        "originalPriceCurrency": "CNY",
        "salePrice": "89.10",
        "salePriceCurrency": "CNY",
        "targetSalePrice": price,
        "targetOriginalPrice": "24.98",
        "targetOriginalPriceCurrency": "USD",
        "salePriceFormat": f"US ${price}",
        "originMinPrice": json.dumps(
            {
                "thousandsChar": ",", "shipToCountry": "US", "decimalPointChar": ".", "cent": 1249, "version": "V1",
                "currencySymbolPosition": "front", "currencySymbol": "US $", "showDecimal": True, "decimalStr": "49",
                "currencyCode": "USD", "formatPrice": f"US ${price}", "integerStr": "12",
            }
        ),
    }  # fmt: skip


def page() -> bytes:
    products = {"selection_search_product": [row(number) for number in range(PAGE)]}
    data = {"pageIndex": 1, "pageSize": PAGE, "totalCount": 1200, "products": products}
    return json.dumps({METHOD: {"code": "00", "data": data, "request_id": "2101000117953488000000001"}}).encode()


ALI_PRODUCT = {
    "aliexpress_ds_product_get_response": {
        "rsp_code": 200,
        "result": {
            "ae_item_base_info_dto": {"product_id": 1005000000000001, "subject": "Earbuds", "currency_code": "CNY"},
            "ae_item_sku_info_dtos": {
                "ae_item_sku_info_d_t_o": [
                    {
                        "sku_id": "12000000000000001", "sku_attr": "14:193#Black", "offer_sale_price": "12.49",
                        "sku_price": "24.98", "currency_code": "USD", "sku_available_stock": 240,
                    }
                ]
            },
        },
    }
}  # fmt: skip
CJ_PRODUCT = {
    "code": 200, "result": True, "message": "Success", "requestId": "r",
    "data": {
        "pid": "1795000000000000001", "productNameEn": "Earbuds", "sellPrice": "7.85", "status": "3",
        "variants": [
            {
                "vid": "1795000000000000101", "variantSku": "CJ1", "variantKey": "Black", "variantSellPrice": 7.85,
                "inventories": [{"countryCode": "CN", "totalInventory": 860, "cjInventory": 40}],
            }
        ],
    },
}  # fmt: skip


class AtOnce:
    """A transport that answers at once, as the supplier does whose host it is."""

    def __init__(self) -> None:
        self.ali = HttpResponse(200, {}, json.dumps(ALI_PRODUCT).encode())
        self.cj = HttpResponse(200, {}, json.dumps(CJ_PRODUCT).encode())

    async def send(self, request: HttpRequest) -> HttpResponse:
        return self.cj if "cjdropshipping" in request.url else self.ali

    async def stream(self, request: HttpRequest) -> HttpStream:
        raise NotImplementedError

    async def aclose(self) -> None:
        pass


async def spent(step: Callable[[], Awaitable[object]], calls: int = CALLS) -> float:
    for _ in range(50):
        await step()

    async def once() -> float:
        begun = time.process_time()
        for _ in range(calls):
            await step()
        return (time.process_time() - begun) / calls * 1e6

    return min([await once() for _ in range(ROUNDS)])


async def cached(report: Report) -> None:
    async with setup.demo() as p:
        mat = "https://www.aliexpress.com/item/1005006123456789.html"
        hits: dict[str, Callable[[], Awaitable[object]]] = {
            "a product by its URL": lambda: p.sourcing.product(mat, country="US"),
            "its stock": lambda: p.sourcing.stock(mat, country="US"),
            "a search at one supplier": lambda: p.sourcing.search("yoga mat", source="aliexpress", country="US"),
        }
        for what, step in hits.items():
            report.at_most(f"cache hit: {what}", await spent(step), 30, "us")
        report.note(
            "cache hit: a search over four suppliers, merged",
            f"{await spent(lambda: p.sourcing.search('yoga mat', country='US')):,.1f} us",
        )
        fresh = await spent(lambda: p.sourcing.product(mat, country="US", fresh=True), 300)
        report.at_most("demo: a product, asked anew", fresh, 400, "us")


def parsed(report: Report) -> None:
    content, market = page(), Market(country="US")

    def loads() -> float:
        begun = time.process_time()
        for _ in range(100):
            json.loads(content)
        return (time.process_time() - begun) * 1e4

    def ours() -> float:
        begun = time.process_time()
        for _ in range(100):
            payload = answer(HttpResponse(200, {}, content))
            assert len(found(payload, market, NOW).items) == PAGE
        return (time.process_time() - begun) * 1e4

    plain, took = best(ROUNDS * 3, loads), best(ROUNDS * 3, ours)
    report.note(f"json.loads of a page of {PAGE} AliExpress products, {len(content) // 1024} KB", f"{plain:,.0f} us")
    report.note("the same as models", f"{took:,.0f} us")
    report.at_most("models against json.loads", took / plain, 6, "x")


async def pushed(report: Report) -> None:
    message = {
        "messageId": "1", "type": "ORDER", "messageType": "UPDATE",
        "params": {"orderNumber": "order-1", "cjOrderId": "SD1", "orderStatus": "SHIPPED", "trackNumber": "T1"},
    }  # fmt: skip
    body = json.dumps(message).encode()
    sign = base64.b64encode(hmac.digest(OPEN_ID.encode(), body, hashlib.sha256)).decode()
    request = RawRequest(body=body, headers={"sign": sign})
    settings = Settings(mode="live", vendors={"sourcing": "cjdropshipping"}, environ=ENVIRON, env_file=None)
    async with Providers(settings, transport=AtOnce(), hooks=()) as p:
        (event,) = (await p.sourcing.webhook(request)).events
        assert event.number == "order-1"
        # It is also looked up whether an order waits for such a message.
        report.at_most(
            "CJ: a pushed message, verified and typed", await spent(lambda: p.sourcing.webhook(request)), 30, "us"
        )


async def watched(report: Report) -> None:
    """2,000 prices, half of each supplier."""
    refs = [f"aliexpress:{1005000000000001 + number}" for number in range(WATCHED // 2)]
    refs += [f"cjdropshipping:{1795000000000000001 + number}" for number in range(WATCHED // 2)]
    clock = ManualClock(auto=False)
    settings = Settings(mode="live", environ=ENVIRON, env_file=None)
    async with Providers(settings, clock=clock, transport=AtOnce(), hooks=()) as p:
        begun, cpu = clock.monotonic(), time.process_time()
        batch = asyncio.ensure_future(p.sourcing.prices(refs, country="US"))
        while not batch.done():
            for _ in range(10):
                await asyncio.sleep(0)
            clock.advance(STEP)
        outcomes = await batch
        cpu, took = time.process_time() - cpu, clock.monotonic() - begun
    assert all(outcome.price is not None for outcome in outcomes), next(o for o in outcomes if o.price is None)
    slowest = WATCHED // 2 - 1  # one a second at CJ
    report.note(f"{WATCHED:,} prices over two suppliers, on the clock of their limits", f"{took:,.0f} s")
    report.at_most("against what the slower one's limit allows", took / slowest, 1.1, "x")
    report.at_least("and no faster", took / slowest, 1.0, "x")
    report.note("each costs", f"{cpu / WATCHED * 1e6:,.0f} us")


def run(report: Report) -> None:
    report.section("Suppliers")
    asyncio.run(cached(report))
    parsed(report)
    asyncio.run(pushed(report))
    asyncio.run(watched(report))
