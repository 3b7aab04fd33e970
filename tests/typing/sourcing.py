"""Sourcing as a caller types it, and an adapter as a vendor's author does. Checked, never run."""

from datetime import datetime
from decimal import Decimal
from typing import assert_type

from pydantic import SecretStr

from providers import CheckResult, Money, Providers, RawRequest, Ref, WebhookEndpoint, WebhookResult
from providers.core.account import Account
from providers.errors import ProviderError
from providers.sourcing import (
    Address,
    AliExpressSourcing,
    Category,
    CjSourcing,
    DemoSourcing,
    Grant,
    OrderItem,
    OrderPart,
    OrderQuote,
    OrderRequest,
    OrderState,
    PriceOutcome,
    Product,
    ProductPage,
    ShippingQuote,
    Sort,
    Sourcing,
    SourcingAdapter,
    SourcingEvent,
    SourcingEventType,
    Stock,
    SupplierOrder,
    Tracking,
    TrackingOutcome,
    TrackingState,
    Variant,
)
from providers.sync import Providers as SyncProviders


def request() -> OrderRequest:
    return OrderRequest(
        items=(
            OrderItem(ref=Ref(vendor="aliexpress", id="1005006123456789"), variant="12000000000000001", quantity=2),
        ),
        address=Address(name="Ada", line1="1 Main St", city="Springfield", postal_code="62701", country="US"),
        idempotency_key="order-7",
        max_total=Money(amount=Decimal(50), currency="USD"),
        pay=True,
        vendor_options={"aliexpress": {"logistics_address": {"cpf": "000"}}},
    )


async def searching(sourcing: Sourcing) -> None:
    page = await sourcing.search("yoga mat", country="US", sort=Sort.PRICE_UP, price_max=Decimal(30), timeout=3)
    assert_type(page, ProductPage)
    assert_type(page.total, int | None)
    for product in page.items:
        assert_type(product, Product)
    for source, error in page.errors.items():
        assert_type(source, str)
        assert_type(error, ProviderError)
    assert_type(sourcing.ref("https://www.aliexpress.com/item/1005006123456789.html"), Ref)
    assert_type(await sourcing.search_by_image(b"...", country="DE"), ProductPage)
    assert_type(await sourcing.categories("aliexpress"), list[Category])
    assert_type(sourcing.sources, tuple[str, ...])


async def one_product(sourcing: Sourcing) -> None:
    product = await sourcing.product("aliexpress:1005006123456789", country="DE", currency="EUR", language="de")
    assert_type(product.price, Money | None)
    assert_type(product.rating, Decimal | None)
    assert_type(product.fetched_at, datetime)
    assert_type(product.variant(None), Variant | None)
    assert_type(product.shipping, ShippingQuote | None)
    assert_type(await sourcing.stock(product.ref, country="DE"), Stock)
    assert_type(await sourcing.shipping_quotes(product.ref, quantity=2, country="DE"), list[ShippingQuote])
    assert_type(await sourcing.prices([product.ref, product.url], country="DE"), list[PriceOutcome])


async def ordering(sourcing: Sourcing) -> None:
    assert_type(await sourcing.quote_order(request()), OrderQuote)
    order = await sourcing.place_order(request())
    assert_type(order, SupplierOrder)
    assert_type(order.refs, tuple[Ref, ...])
    assert_type(order.state, OrderState)
    assert_type(order.parts[0], OrderPart)
    assert_type(order.parts[0].error, ProviderError | None)
    assert_type(await sourcing.pay(order.refs[0], max_total=Money(amount=Decimal(9), currency="USD")), SupplierOrder)
    tracking = await sourcing.tracking(order.refs[0])
    assert_type(tracking, Tracking)
    assert_type(tracking.state, TrackingState)
    assert_type(await sourcing.trackings(order.refs), list[TrackingOutcome])
    assert_type(await sourcing.cancel_order(str(order.refs[0])), SupplierOrder)


async def connecting(p: Providers) -> None:
    assert_type(await p.sourcing.authorize_url(redirect_uri="https://shop.example.com/ali", state="s"), str)
    grant = await p.sourcing.exchange_code("code", vendor="aliexpress")
    assert_type(grant, Grant)
    assert_type(grant.values["ALIEXPRESS_ACCESS_TOKEN"], SecretStr)
    assert_type(await p.sourcing.check(), list[CheckResult])
    assert_type(await p.sourcing.ensure_webhook("https://shop.example.com/cj"), WebhookEndpoint)
    result = await p.sourcing.webhook(RawRequest(body=b"{}"))
    assert_type(result, WebhookResult[SourcingEvent])
    assert_type(result.events[0].type, SourcingEventType)
    assert_type(p.sourcing.unwrap(CjSourcing), CjSourcing)


def blocking(p: SyncProviders) -> None:
    assert_type(p.sourcing.search("yoga mat", country="US"), ProductPage)
    assert_type(p.sourcing.place_order(request()), SupplierOrder)
    assert_type(p.sourcing.ref("https://cjdropshipping.com/product/x-p-1795000000000000001.html"), Ref)


def adapters(account: Account) -> tuple[SourcingAdapter, ...]:
    return DemoSourcing(account), AliExpressSourcing(account), CjSourcing(account)
