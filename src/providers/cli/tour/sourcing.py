"""The tour's part for suppliers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from providers.cli.tour.step import Step, Tour
from providers.core.errors import InvalidRequestError, NotFoundError, ProviderError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from providers.core.models import Ref
    from providers.sourcing.api import Sourcing
    from providers.sourcing.models import Product, ProductPage

WORDS = "cork yoga mat"
COUNTRY = "US"
TITLE = 56


async def show(tour: Tour) -> AsyncIterator[Step]:
    """Suppliers: a search over all, one product by its URL, prices to watch, ways to ship, an order and its parcels."""
    sourcing = tour.p.sourcing
    page = await sourcing.search(WORDS, country=COUNTRY, page_size=6)
    failed = [f"{source} failed: {error}" for source, error in page.errors.items()]
    yield Step(
        title=f"A shop needs products: a search for {WORDS!r} over {len(sourcing.sources)} suppliers",
        lines=(f"{page.total} found", *(_line(item) for item in page.items), *failed),
        data=page,
    )
    if not page.items:
        yield Step(title="The rest of the suppliers' part", skipped="nothing was found to show it with")
        return
    yield await _by_url(sourcing, page.items[0])
    yield _hostile(sourcing)
    yield await _prices(sourcing, page)
    yield await _quotes(sourcing, page.items[0])
    if tour.live:
        yield Step(title="An order with several suppliers, paid and followed", skipped="it would be real money")
        return
    async for step in _order(sourcing, page, tour.run):
        yield step


async def _by_url(sourcing: Sourcing, item: Product) -> Step:
    ref = sourcing.ref(item.url)
    product = await sourcing.product(item.url, country=COUNTRY)
    options = [f"{option.name}: {', '.join(option.values)}" for option in product.options]
    ships = product.shipping
    cost = f"ships by {ships.method} for {ships.cost}" if ships else "what shipping costs is not known"
    return Step(
        title="Somebody pastes its address: read here, never fetched",
        lines=(item.url, f"is {ref}", _line(product), *options, cost, f"in stock: {_known(product.stock)}"),
        data=product,
    )


def _hostile(sourcing: Sourcing) -> Step:
    try:
        sourcing.ref("https://www.aliexpress.com@evil.example/item/1005006123456789.html")
    except InvalidRequestError as error:
        return Step(
            title="Somebody pastes something else",
            lines=(f"InvalidRequestError, field {error.field}: {error.message}",),
            data={"error": type(error).__name__, "field": error.field, "message": error.message},
        )
    msg = "an address that only looks like a supplier's was taken"
    raise ProviderError(msg)


async def _prices(sourcing: Sourcing, page: ProductPage) -> Step:
    watched: list[Ref | str] = [*(item.ref for item in page.items), "https://shop.example.com/item/1.html"]
    outcomes = await sourcing.prices(watched, country=COUNTRY, currency="EUR")
    lines = [f"{one.ref or watched[one.index]}: {one.price or one.reason}" for one in outcomes]
    return Step(title="Prices to watch, in euros: one that fails fails alone", lines=tuple(lines), data=outcomes)


async def _quotes(sourcing: Sourcing, item: Product) -> Step:
    quotes = await sourcing.shipping_quotes(item.ref, quantity=2, country="DE")
    lines = [
        f"{quote.method}: {quote.cost}, {_known(quote.days_min)} to {_known(quote.days_max)} days" for quote in quotes
    ]
    return Step(title="How two of it get to Germany", lines=tuple(lines) or ("not at all",), data=quotes)


async def _order(sourcing: Sourcing, page: ProductPage, run: str) -> AsyncIterator[Step]:
    from decimal import Decimal

    from providers.core.models import Money
    from providers.sourcing.orders import Address, OrderItem, OrderRequest

    chosen = {item.source: item for item in reversed(page.items)}
    request = OrderRequest(
        items=tuple(OrderItem(ref=item.ref) for item in chosen.values()),
        address=Address(
            name="Ada", line1="1 Main St", city="Springfield", region="Illinois", postal_code="62701", country=COUNTRY
        ),
        idempotency_key=f"order-{run}",
        max_total=Money(amount=Decimal(500), currency="USD"),
    )
    quote = await sourcing.quote_order(request)
    order = await sourcing.place_order(request)
    again = await sourcing.place_order(request)
    if order.refs != again.refs:
        msg = f"it was ordered twice: {order.refs} and {again.refs}"
        raise ProviderError(msg)
    parts = [f"{part.source}: {part.ref} {part.state.value}, {part.total}" for part in order.parts]
    yield Step(
        title=f"A customer's order with {len(chosen)} suppliers: priced, capped, asked for twice, ordered once",
        lines=(f"quoted: {quote.total}", *parts),
        data=order,
    )
    paid: list[str] = []
    for ref in order.refs:
        part = await sourcing.pay(ref)
        paid.append(f"{ref}: {part.state.value}")
    followed = await sourcing.trackings(order.refs)
    lines = [f"{one.ref}: {one.tracking.state.value if one.tracking else one.reason}" for one in followed]
    yield Step(title="Paid from the balance, then followed", lines=(*paid, *lines), data=followed)
    try:
        await sourcing.product("aliexpress:1005000000000404", country=COUNTRY)
    except NotFoundError as error:
        yield Step(
            title="A product that is gone",
            lines=(f"NotFoundError: {error.message}",),
            data={"error": type(error).__name__, "message": error.message},
        )
        return
    msg = "a product that is gone was found"
    raise ProviderError(msg)


def _line(product: Product) -> str:
    import textwrap

    title = textwrap.shorten(product.title, TITLE, placeholder="...")
    return f"{product.source}: {title}  {product.price or 'price not known'}"


def _known(number: int | None) -> str:
    return "not known" if number is None else str(number)
