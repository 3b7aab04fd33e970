"""The made-up world as supplier platforms offer it. Nothing is kept: the answers of an hour are always the same."""

from __future__ import annotations

import re
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from providers.core.clock import utc
from providers.core.errors import InvalidRequestError, NotFoundError
from providers.core.models import Money
from providers.demo import world
from providers.sourcing.models import (
    NO_WAY,
    Category,
    Product,
    ProductName,
    ShippingQuote,
    Sort,
    Stock,
    StockLevel,
    Variant,
    demo_ref,
)
from providers.sourcing.urls import ALIEXPRESS_ID, CJ_ID, SITES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from decimal import Decimal

    from providers.sourcing.models import Market, SearchQuery


class Platform(NamedTuple):
    """A supplier platform. `percent` is what it takes of the world's prices; `digits` which numbers it offers.

    `by_store`: it makes an order for each of its stores.
    """

    title: str
    id: re.Pattern[str]
    prefix: str
    url: str
    percent: int
    digits: frozenset[int]
    by_store: bool = False


PLATFORMS: Mapping[str, Platform] = MappingProxyType(
    {
        "aliexpress": Platform(
            "AliExpress",
            ALIEXPRESS_ID,
            "1005",
            "https://www.aliexpress.com/item/{id}.html",
            100,
            frozenset(range(10)),
            by_store=True,
        ),
        "cjdropshipping": Platform(
            "CJdropshipping",
            CJ_ID,
            "1746203",
            "https://cjdropshipping.com/product/{handle}-p-{id}.html",
            104,
            frozenset((0, 1, 3, 4, 6, 7, 9)),
        ),
        "spocket": Platform(
            "Spocket",
            next(site.id for site in SITES if site.source == "spocket"),
            "",
            "https://app.spocket.co/products/{id}",
            138,
            frozenset((0, 2, 5, 8)),
        ),
        "manual": Platform(
            "by hand",
            re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"),
            "",
            world.SHOP_URL + "/products/{handle}-{id}",
            100,
            frozenset((0, 4)),
        ),
    }
)
"""By name. All offer what the shop itself sells."""


class Goods(NamedTuple):
    """A product as one platform has it."""

    name: ProductName
    item: world.Item


def platform(name: ProductName) -> Platform:
    """The platform of a product. Raises `NotFoundError` for an id that is none of its ids."""
    found = PLATFORMS[name.source]
    if not found.id.fullmatch(name.id):
        msg = f"ref: {name.id[:60]!r} is no id of a product at {found.title}"
        raise NotFoundError(msg, field="ref", code="no_such_product")
    return found


def listed(source: str, number: int) -> ProductName:
    """What a platform calls a product of the world."""
    prefix = PLATFORMS[source].prefix
    return ProductName(source, f"{prefix}{number:012}" if prefix else str(number))


@lru_cache(maxsize=512)
def offered(source: str, words: str) -> world.Found:
    """What a platform's search finds, best first. What two of them have, they do not show at the same place."""
    found = world.found(words)
    digits = PLATFORMS[source].digits
    own = {one.number for one in world.SHOP}
    numbers = tuple(one for one in found.numbers if one in own or one % 10 in digits)
    turn = list(PLATFORMS).index(source) * len(numbers) // len(PLATFORMS)
    return world.Found(found.words, numbers[turn:] + numbers[:turn])


def matching(query: SearchQuery, now: float) -> tuple[tuple[world.Item, ...], int, str]:
    """The items of the query's page, how many there are in all, and the words that they are named after."""
    found = offered(query.source, query.text)
    numbers: Sequence[int] = found.numbers
    if query.category is not None:
        numbers = [one for one in numbers if query.category in world.item(one, found.words).category_ids]
    if query.price_min is not None or query.price_max is not None:
        numbers = [one for one in numbers if _in_range(world.item(one, found.words), query, now)]
    if query.sort is not Sort.RELEVANCE:
        numbers = sorted(numbers, key=lambda one: _rank(world.item(one, found.words), query.sort, now))
    start = (query.page - 1) * query.page_size
    page = tuple(world.item(one, found.words) for one in numbers[start : start + query.page_size])
    return page, len(numbers), found.words


def _in_range(item: world.Item, query: SearchQuery, now: float) -> bool:
    amount = _money(query.source, world.price_cents(item, now), query.market.currency).amount
    low, high = query.price_min, query.price_max
    return (low is None or low <= amount) and (high is None or amount <= high)


def _rank(item: world.Item, sort: Sort, now: float) -> int:
    if sort is Sort.POPULAR:
        return -item.order_count
    if sort is Sort.NEWEST:
        return item.days_listed
    cents = world.price_cents(item, now)
    return -cents if sort is Sort.PRICE_DOWN else cents


def seen(name: ProductName, item: world.Item, market: Market, now: float) -> Product:
    """A product as a search shows it: without its variants, and what is told only on its own page."""
    return _seen(name, item, market.currency, int(now // 3600)).model_copy(update={"fetched_at": utc(now)})


def product(name: ProductName, item: world.Item, market: Market, now: float) -> Product:
    """All of a product. Raises `NotFoundError` where the market's country gets nothing."""
    if market.country in world.CLOSED:
        msg = f"country: {name.id} is not sold to {market.country}"
        raise NotFoundError(msg, field="country", code="not_sold")
    return _shown(name, item, market.currency, int(now // 3600)).model_copy(update={"fetched_at": utc(now)})


@lru_cache(maxsize=4096)
def _seen(name: ProductName, item: world.Item, currency: str, hour: int) -> Product:
    steps, cents = world.steps(item.options), world.price_cents(item, hour * 3600.0)
    price = _money(name.source, cents, currency)
    dearest = world.price_cents(item, hour * 3600.0, len(steps) - 1)
    return Product(
        ref=demo_ref(name),
        source=name.source,
        source_id=name.id,
        title=item.title,
        url=PLATFORMS[name.source].url.format(id=name.id, handle=item.handle),
        price=price,
        price_max=_money(name.source, dearest, currency) if steps[-1] else price,
        list_price=_money(name.source, cents * _before(item) // 100, currency),
        images=item.images,
        rating=item.rating,
        review_count=item.review_count,
        order_count=item.order_count,
        supplier=item.supplier,
        category_id=item.category_id,
        language="en",
        on_sale=True,
        fetched_at=utc(hour * 3600),
    )


@lru_cache(maxsize=1024)
def _shown(name: ProductName, item: world.Item, currency: str, hour: int) -> Product:
    kinds = variants(name.source, item, currency, hour)
    more = {
        "description": item.description,
        "variants": kinds,
        "positive_percent": item.positive_percent,
        "supplier_url": f"{world.SHOP_URL}/suppliers/{item.dice % 900}",
        "stock": sum(kind.stock or 0 for kind in kinds),
    }
    return _seen(name, item, currency, hour).model_copy(update=more)


@lru_cache(maxsize=1024)
def variants(source: str, item: world.Item, currency: str, hour: int) -> tuple[Variant, ...]:
    """All that can be ordered of a product, in an hour."""
    images, now = item.images, hour * 3600.0
    return tuple(
        Variant(
            id=f"1200{item.number:012}{place:03}",
            name=" / ".join(attributes.values()),
            sku=f"{source[:2].upper()}{item.number}-{place + 1:02}",
            price=_money(source, cents := world.price_cents(item, now, place), currency),
            list_price=_money(source, cents * _before(item) // 100, currency),
            stock=world.stock(item, now, place),
            image=images[place % len(images)],
            attributes=attributes,
            weight_grams=item.weight_grams,
        )
        for place, attributes in enumerate(world.variants(item.options))
    )


def price(goods: Goods, currency: str, now: float) -> Money:
    """Of its cheapest variant."""
    return _money(goods.name.source, world.price_cents(goods.item, now), currency)


def stock(name: ProductName, item: world.Item, now: float) -> Stock:
    """Pieces of all variants. Seven in ten lie ready; the others come from the factory."""
    kinds = variants(name.source, item, "USD", int(now // 3600))
    levels = tuple(
        StockLevel(
            variant=kind.id,
            quantity=kind.stock or 0,
            ready=(kind.stock or 0) * 7 // 10,
            country=item.ships_from,
        )
        for kind in kinds
    )
    return Stock(ref=demo_ref(name), total=sum(level.quantity for level in levels), levels=levels, checked_at=utc(now))


def variant(goods: Goods, id_: str, currency: str, now: float) -> Variant:
    """The one that an order or a quote names. Raises `NotFoundError`."""
    for one in variants(goods.name.source, goods.item, currency, int(now // 3600)):
        if id_ in {one.id, one.sku}:
            return one
    msg = f"variant: {goods.name.id} has no {id_[:80]!r}"
    raise NotFoundError(msg, field="variant", code="no_such_variant")


def quotes(parcel: Sequence[tuple[Goods, int]], market: Market) -> list[ShippingQuote]:
    """Ways to ship these together. Raises `NotFoundError` with `NO_WAY` where there is none."""
    ways = world.ways([(goods.item, quantity) for goods, quantity in parcel], market.country)
    if not ways:
        msg = f"country: nothing goes to {market.country}"
        raise NotFoundError(msg, field="country", code=NO_WAY)
    return [
        ShippingQuote(
            code=way.code,
            method=way.name,
            cost=money(way.cost, market.currency),
            days_min=way.days_min,
            days_max=way.days_max,
            tracked=way.tracked,
            ships_from=parcel[0][0].item.ships_from,
        )
        for way in ways
    ]


def money(usd: Decimal, currency: str) -> Money:
    """Dollars in a market's currency. Raises `InvalidRequestError` for one that the world has no rate for."""
    try:
        return Money(amount=world.exchange(usd, currency), currency=currency)
    except KeyError:
        msg = f"currency: the demo has no rate for {currency}"
        raise InvalidRequestError(msg, field="currency", code="currency") from None


def categories(source: str) -> list[Category]:
    """The world's, which all platforms share."""
    return [Category(id=one.id, name=one.name, source=source, parent_id=one.parent_id) for one in world.categories()]


def pictured(source: str, image: bytes, limit: int) -> list[world.Item]:
    """What looks like a picture: some kind of goods, always the same for the same bytes."""
    some = world.item(world.number_of(image.hex()))
    found = offered(source, some.keyword)
    return [world.item(number, found.words) for number in found.numbers[:limit]]


PICTURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF")
"""How JPEG, PNG and WebP begin."""


def _before(item: world.Item) -> int:
    """How much of its price is crossed out beside it, in per cent."""
    return 120 + item.dice % 7 * 10


def _money(source: str, cents: int, currency: str) -> Money:
    return money(world.dollars(cents * PLATFORMS[source].percent // 100), currency)
