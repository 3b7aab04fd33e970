"""CJ's products, stock, categories and ways to ship, read from its replies."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Annotated, TypeAlias

from pydantic import AliasChoices, BeforeValidator, Field, JsonValue

from providers.core.errors import BadResponseError, NotFoundError
from providers.core.json import from_json
from providers.core.models import Money, Ref, Reply
from providers.sourcing.cjdropshipping_client import read
from providers.sourcing.cjdropshipping_values import (
    DOLLARS,
    ON_SALE,
    VENDOR,
    Amount,
    CjReply,
    Count,
    Id,
    Objects,
    PriceRange,
    Prices,
    ProductId,
    Text,
    dollars,
    listed,
)
from providers.sourcing.models import NO_WAY, Category, Listing, Product, ShippingQuote, Stock, StockLevel, Variant

if TYPE_CHECKING:
    from datetime import datetime

    from providers.sourcing.models import Market
    from providers.sourcing.orders import OrderLine

CHINA = "CN"
LONGEST_SLUG = 100
DAYS = re.compile(r"(\d{1,3})(?:\s*-\s*(\d{1,3}))?", re.ASCII)


def product_ref(id_: str) -> Ref:
    """What we call a product."""
    return Ref(vendor=VENDOR, id=id_)


def page_url(title: str, id_: str) -> str:
    """The product's page: CJ goes by the id at its end."""
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower())[:LONGEST_SLUG].strip("-")
    return f"https://cjdropshipping.com/product/{slug}{'-' if slug else ''}p-{id_}.html"


# Searches.


class _Content(CjReply):
    product_list: Objects = ()


class _Found(CjReply):
    total_records: Count = None
    content: Annotated[tuple[_Content, ...], BeforeValidator(listed)] = ()


class _Row(CjReply):
    id: ProductId
    name_en: Text = ""
    big_image: Text = ""
    sell_price: Prices = None
    now_price: Prices = None
    discount_price: Prices = None
    currency: Text = ""
    category_id: Text = ""
    warehouse_inventory_num: Count = None
    supplier_name: Text = ""
    sale_status: Text = ""

    @property
    def prices(self) -> PriceRange | None:
        """What is paid now: after a discount, where there is one."""
        reduced = (price for price in (self.now_price, self.discount_price) if price is not None and price.low > 0)
        return next(reduced, self.sell_price)


def listing(value: JsonValue, market: Market, now: datetime, *, reachable: int) -> Listing:
    """A page of a search. Rows in another currency than the one asked for are left out.

    Raises `BadResponseError` when none is left.
    """
    page = read(_Found, value)
    rows = [(read(_Row, row), row) for content in page.content for row in content.product_list]
    fitting = [(row, raw) for row, raw in rows if (row.currency.upper() or DOLLARS) == market.currency]
    if rows and not fitting:
        msg = f"prices in {rows[0][0].currency[:3] or DOLLARS}, asked for in {market.currency}"
        raise BadResponseError(msg, code="currency", repeatable=False)
    total = None if page.total_records is None else min(page.total_records, reachable)
    return Listing(items=tuple(_listing_item(row, raw, market, now) for row, raw in fitting), total=total)


def _listing_item(row: _Row, raw: JsonValue, market: Market, now: datetime) -> Product:
    prices, regular = row.prices, row.sell_price

    def money(amount: Decimal) -> Money:
        return Money(amount=amount, currency=market.currency)

    return Product(
        ref=product_ref(row.id),
        source=VENDOR,
        source_id=row.id,
        title=row.name_en,
        url=page_url(row.name_en, row.id),
        price=None if prices is None else money(prices.low),
        price_max=None if prices is None or prices.high == prices.low else money(prices.high),
        # It is crossed out only where less is paid.
        list_price=None if prices is None or regular is None or regular.low <= prices.low else money(regular.low),
        images=(row.big_image,) if row.big_image else (),
        stock=row.warehouse_inventory_num,
        supplier=row.supplier_name or None,
        category_id=row.category_id or None,
        language="en",
        on_sale=ON_SALE.get(row.sale_status),
        fetched_at=now,
        raw=raw,
    )


# Products.


class _Warehouse(CjReply):
    country_code: Text = ""
    total: Count = Field(None, validation_alias=AliasChoices("totalInventoryNum", "totalInventory"))
    at_cj: Count = Field(None, validation_alias=AliasChoices("cjInventoryNum", "cjInventory"))
    at_factory: Count = Field(None, validation_alias=AliasChoices("factoryInventoryNum", "factoryInventory"))

    @property
    def pieces(self) -> int | None:
        """CJ's own, which ship at once, and the factory's."""
        if self.total is not None or self.at_cj is None or self.at_factory is None:
            return self.total
        return self.at_cj + self.at_factory


Warehouses: TypeAlias = Annotated[tuple[_Warehouse, ...], BeforeValidator(listed)]


class _Variant(CjReply):
    vid: Id
    variant_name_en: Text = ""
    variant_sku: Text = ""
    variant_image: Text = ""
    variant_key: Text = ""
    variant_weight: Amount = None
    variant_sell_price: Amount = None
    inventories: Warehouses = ()


class _Product(CjReply):
    pid: ProductId
    product_name_en: Text = ""
    product_image: Text = ""
    product_image_set: Annotated[tuple[Text, ...], BeforeValidator(listed)] = ()
    product_key_en: Text = ""
    category_id: Text = ""
    description: Text = ""
    sell_price: Prices = None
    status: Text = ""
    supplier_name: Text = ""
    variants: Annotated[tuple[_Variant, ...], BeforeValidator(listed)] = ()


def product(value: JsonValue, now: datetime) -> Product:
    """All of one product, in dollars."""
    found = read(_Product, value)
    variants = tuple(_variant(one, found.product_key_en) for one in found.variants)
    amounts = [variant.price.amount for variant in variants if variant.price is not None]
    prices = PriceRange(min(amounts), max(amounts)) if amounts else found.sell_price
    return Product(
        ref=product_ref(found.pid),
        source=VENDOR,
        source_id=found.pid,
        title=found.product_name_en,
        url=page_url(found.product_name_en, found.pid),
        description=found.description or None,
        price=None if prices is None else dollars(prices.low),
        price_max=None if prices is None or prices.high == prices.low else dollars(prices.high),
        images=tuple(image for image in found.product_image_set if image) or _images(found.product_image),
        variants=variants,
        stock=_sum([variant.stock for variant in variants]),
        supplier=found.supplier_name or None,
        category_id=found.category_id or None,
        language="en",
        on_sale=ON_SALE.get(found.status),
        fetched_at=now,
        raw=value,
    )


def _variant(found: _Variant, keys: str) -> Variant:
    return Variant(
        id=found.vid,
        name=found.variant_key or found.variant_name_en,
        sku=found.variant_sku,
        price=None if found.variant_sell_price is None else dollars(found.variant_sell_price),
        stock=_sum([warehouse.pieces for warehouse in found.inventories]),
        image=found.variant_image or None,
        attributes=_attributes(keys, found.variant_key),
        weight_grams=None if found.variant_weight is None else _whole(found.variant_weight),
    )


def _attributes(keys: str, values: str) -> Mapping[str, str]:
    """`Color-Size` and `Black-L`, in pairs; as they stand where a dash is part of a name or value."""
    if not keys or not values:
        return {}
    names, parts = keys.split("-"), values.split("-")
    if len(names) != len(parts) or len(set(names)) < len(names):
        return {keys: values}
    return dict(zip(names, parts, strict=True))


def _images(text: str) -> tuple[str, ...]:
    """One URL, or a list of them as JSON text."""
    if not text.startswith("["):
        return (text,) if text else ()
    try:
        found = from_json(text.encode("utf-8", "replace"))
    except ValueError:
        return ()
    return tuple(one for one in found if isinstance(one, str) and one) if isinstance(found, list) else ()


def _sum(counts: Sequence[int | None]) -> int | None:
    """All together; None where one is not known, or nothing is said."""
    known = [count for count in counts if count is not None]
    return sum(known) if known and len(known) == len(counts) else None


def _whole(amount: Decimal) -> int:
    return int(amount.to_integral_value(ROUND_HALF_UP))


# Stock.


class _VariantStock(CjReply):
    vid: Id
    inventory: Warehouses = ()


class _Stock(CjReply):
    inventories: Warehouses = ()
    variant_inventories: Annotated[tuple[_VariantStock, ...], BeforeValidator(listed)] = ()


def stock(value: JsonValue, id_: str, now: datetime) -> Stock:
    """How many there are, by variant and warehouse; `ready` are CJ's own, the rest has to come from the factory."""
    found = read(_Stock, value)
    levels = tuple(
        StockLevel(variant=one.vid, quantity=pieces, ready=warehouse.at_cj, country=warehouse.country_code or None)
        for one in found.variant_inventories
        for warehouse in one.inventory
        if (pieces := warehouse.pieces) is not None
    )
    total = _sum([warehouse.pieces for warehouse in found.inventories])
    if total is None:
        total = _sum([level.quantity for level in levels])
    return Stock(ref=product_ref(id_), total=total, levels=levels, checked_at=now, raw=value)


def origin(lines: Iterable[OrderLine], levels: Sequence[StockLevel], country: str) -> str:
    """The country whose warehouse has all of these: China if it does, else the buyer's, else another one.

    China, too, where none is known to have them.
    """
    there: set[str] | None = None
    for line in lines:
        known = [level for level in levels if level.variant.lower() == line.variant.lower() and level.country]
        enough = {level.country for level in known if level.country and level.quantity >= line.quantity}
        if known:
            there = enough if there is None else there & enough
    if not there or CHINA in there:
        return CHINA
    return country if country in there else min(there)


# Ways to ship.


class _Option(CjReply):
    logistic_name: Id
    logistic_price: Amount = None
    logistic_aging: Text = ""
    total_postage_fee: Amount = None


class _Options(Reply):
    options: Objects


def shipping_quotes(value: JsonValue, ships_from: str) -> list[ShippingQuote]:
    """Ways to ship, taxes and clearance included where CJ says them. Raises `NotFoundError` (`no_way`) for none."""
    quotes: list[ShippingQuote] = []
    options = read(_Options, {"options": value}).options
    for raw in options:
        option = read(_Option, raw)
        cost = option.logistic_price if option.total_postage_fee is None else option.total_postage_fee
        if cost is None:
            continue
        days = DAYS.search(option.logistic_aging)
        first, last = (int(days[1]), int(days[2] or days[1])) if days is not None else (None, None)
        quotes.append(
            ShippingQuote(
                code=option.logistic_name,
                method=option.logistic_name,
                cost=dollars(cost),
                days_min=first,
                days_max=last,
                ships_from=ships_from,
                raw=raw,
            )
        )
    if not quotes and options:
        raise BadResponseError("no way to ship has a price", code="reply")
    if not quotes:
        raise NotFoundError("CJ ships this nowhere near the address", code=NO_WAY)
    return quotes


# Categories.


class _Third(CjReply):
    category_id: Id
    category_name: Text = ""


class _Second(CjReply):
    category_second_name: Id
    category_second_list: Annotated[tuple[_Third, ...], BeforeValidator(listed)] = ()


class _First(CjReply):
    category_first_name: Id
    category_first_list: Annotated[tuple[_Second, ...], BeforeValidator(listed)] = ()


class _Tree(Reply):
    tree: Annotated[tuple[_First, ...], BeforeValidator(listed)]


BELOW = " > "
"""Between the names that the id of an upper category is made of: CJ gives ids to the lowest level only."""


def categories(value: JsonValue) -> list[Category]:
    """Three levels, parents first."""
    found: list[Category] = []
    for first in read(_Tree, {"tree": value}).tree:
        top = first.category_first_name
        found.append(Category(id=top, name=top, source=VENDOR))
        for second in first.category_first_list:
            middle = f"{top}{BELOW}{second.category_second_name}"
            found.append(Category(id=middle, name=second.category_second_name, source=VENDOR, parent_id=top))
            found += [
                Category(id=third.category_id, name=third.category_name, source=VENDOR, parent_id=middle)
                for third in second.category_second_list
            ]
    return found
