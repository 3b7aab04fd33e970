"""Products, categories and ways to ship, as AliExpress' methods show them.

Rows of a search are read by hand: a page of them is parsed for every caller that waits.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from providers.core.errors import NotFoundError
from providers.core.models import Money, Ref
from providers.sourcing.aliexpress_values import (
    as_id,
    as_object,
    as_objects,
    at_least,
    bad,
    decimal,
    inside,
    price,
    text,
    url,
    whole,
    yes,
)
from providers.sourcing.models import (
    NO_WAY,
    Category,
    Listing,
    Product,
    ShippingQuote,
    Stock,
    StockLevel,
    Variant,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from pydantic import JsonValue

    from providers.sourcing.aliexpress_values import Object
    from providers.sourcing.models import Market

VENDOR = "aliexpress"
BEST, ALL, ZERO = 5, 100, Decimal(0)

LOCALES: Mapping[str, str] = {"en": "en_US", "pt": "pt_BR", "ja": "ja_JP", "ko": "ko_KR", "ar": "ar_MA", "he": "iw_IL"}
"""Where the country is not the language's own letters, as in `de_DE`."""

UNITED_STATES = "US"


def locale(language: str) -> str:
    """`en_US`, as searches and quotes take a language."""
    return LOCALES.get(language) or f"{language}_{language.upper()}"


def found(payload: Object, market: Market, at: datetime) -> Listing:
    """The answer of `ds.text.search`. Of its prices only `target*` are in the currency that was asked for."""
    data = as_object(payload.get("data"), "data")
    rows = as_objects(data.get("products"), "selection_search_product")
    return Listing(items=tuple(_found(row, market.currency, at) for row in rows), total=whole(data.get("totalCount")))


def _found(row: Object, currency: str, at: datetime) -> Product:
    id_ = as_id(row.get("itemId"), "itemId")
    told = row.get("targetOriginalPriceCurrency")
    if not told:
        told = inside(row.get("originMinPrice")).get("currencyCode")
    cost = price(row.get("targetSalePrice"), currency) if told == currency else None
    before = price(row.get("targetOriginalPrice"), currency) if cost is not None else None
    image = url(row.get("itemMainPic"))
    return Product(
        ref=Ref(vendor=VENDOR, id=id_),
        source=VENDOR,
        source_id=id_,
        title=text(row.get("title")),
        url=url(row.get("itemUrl")) or page(id_),
        price=cost,
        list_price=_above(before, cost),
        images=() if image is None else (image,),
        rating=_rating(row.get("score")),
        positive_percent=_percent(row.get("evaluateRate")),
        order_count=at_least(row.get("orders")),
        category_id=text(row.get("cateId")).rpartition(",")[2].strip() or None,
        fetched_at=at,
        raw=row,
    )


def pictured(payload: Object, market: Market, at: datetime, limit: int) -> Listing:
    """The answer of `ds.image.search`."""
    data = as_object(payload.get("data"), "data")
    rows = as_objects(data.get("products"), "traffic_image_product_d_t_o")[:limit]
    return Listing(items=tuple(_pictured(row, market.currency, at) for row in rows))


def _pictured(row: Object, currency: str, at: datetime) -> Product:
    id_ = as_id(row.get("product_id"), "product_id")
    cost = price(row.get("target_sale_price"), currency) if row.get("target_sale_price_currency") == currency else None
    told = row.get("target_original_price_currency")
    before = price(row.get("target_original_price"), currency) if told == currency else None
    image = url(row.get("product_main_image_url"))
    return Product(
        ref=Ref(vendor=VENDOR, id=id_),
        source=VENDOR,
        source_id=id_,
        title=text(row.get("product_title")),
        url=url(row.get("product_detail_url")) or page(id_),
        price=cost,
        list_price=_above(before, cost),
        images=() if image is None else (image,),
        positive_percent=_percent(row.get("evaluate_rate")),
        order_count=whole(row.get("lastest_volume")),
        supplier_url=url(row.get("shop_url")),
        fetched_at=at,
        raw=row,
    )


def detailed(payload: Object, id_: str, market: Market, at: datetime) -> Product:
    """The answer of `ds.product.get`, under the id that was asked for."""
    result = as_object(payload.get("result"), "result")
    base = as_object(result.get("ae_item_base_info_dto"), "ae_item_base_info_dto")
    title = base.get("subject")
    if not isinstance(title, str):
        raise bad("subject", "no text")
    weight = _grams(inside(result.get("package_info_dto")).get("gross_weight"))
    variants = tuple(_variant(row, market.currency, weight) for row in _skus(result))
    priced = sorted(
        ((one.price, one.list_price) for one in variants if one.price is not None), key=lambda pair: pair[0].amount
    )
    lowest, before = priced[0] if priced else (None, None)
    highest = priced[-1][0] if priced else None
    store = inside(result.get("ae_store_info"))
    store_id = text(store.get("store_id"))
    status = text(base.get("product_status_type"))
    detail = base.get("detail")
    return Product(
        ref=Ref(vendor=VENDOR, id=id_),
        source=VENDOR,
        source_id=id_,
        order_id=_ordered_as(result, market.country),
        title=title,
        url=page(id_),
        description=detail if isinstance(detail, str) and detail else None,
        price=lowest,
        price_max=highest if highest != lowest else None,
        list_price=before,
        images=_images(inside(result.get("ae_multimedia_info_dto")).get("image_urls")),
        variants=variants,
        rating=_rating(base.get("avg_evaluation_rating")),
        review_count=whole(base.get("evaluation_count")),
        order_count=at_least(base.get("sales_count")),
        supplier=text(store.get("store_name")) or None,
        supplier_url=f"https://www.aliexpress.com/store/{store_id}" if store_id.isdecimal() else None,
        stock=_sum(one.stock for one in variants),
        category_id=text(base.get("category_id")) or None,
        on_sale=status == "onSelling" if status else None,
        fetched_at=at,
        raw=result,
    )


def stocked(payload: Object, id_: str, market: Market, at: datetime) -> Stock:
    """How many there are of each variant; one whose stock is not told is left out, and then there is no total."""
    variants = detailed(payload, id_, market, at).variants
    return Stock(
        ref=Ref(vendor=VENDOR, id=id_),
        total=_sum(one.stock for one in variants),
        levels=tuple(StockLevel(variant=one.id, quantity=one.stock) for one in variants if one.stock is not None),
        checked_at=at,
        raw=payload.get("result"),
    )


def quotes(result: Object, currency: str) -> list[ShippingQuote]:
    """The answer of `ds.freight.query`. `shipping_fee_cent` is in major units; what is free has none.

    A way whose cost is not told in that currency is left out.
    """
    rows = as_objects(result.get("delivery_options"), "delivery_option_d_t_o")
    if not rows:
        raise NotFoundError("AliExpress names no way to ship it there", code=NO_WAY)
    ways = [(row, cost) for row in rows if (cost := _cost(row, currency)) is not None]
    if not ways:
        raise bad("delivery_options", f"no cost in {currency}")
    return [_quote(row, cost) for row, cost in ways]


def categories(result: Object, source: str) -> list[Category]:
    """The answer of `ds.category.get`, parents before children."""
    rows = as_objects(result.get("categories"), "category")
    waiting: dict[str, Category] = {}
    for row in rows:
        id_, parent = as_id(row.get("category_id"), "category_id"), text(row.get("parent_category_id"))
        name = text(row.get("category_name"))
        parent_id = parent if parent not in {"", "0", id_} else None
        waiting[id_] = Category(id=id_, name=name, source=source, parent_id=parent_id)
    children: dict[str | None, list[Category]] = {}
    for one in waiting.values():
        # One whose parent is not in the list is at its top.
        children.setdefault(one.parent_id if one.parent_id in waiting else None, []).append(one)
    ordered: list[Category] = []
    level = children.pop(None, [])
    while level:
        ordered += level
        level = [child for one in level for child in children.pop(one.id, [])]
    if children:
        raise bad("categories", "a category is above itself")
    return ordered


def links(result: Object) -> dict[str, str]:
    """The answer of `affiliate.link.generate`."""
    made = {
        text(row.get("source_value")): url(row.get("promotion_link"))
        for row in as_objects(result.get("promotion_links"), "promotion_link")
    }
    return {source: link for source, link in made.items() if source and link}


def page(id_: str) -> str:
    """A product's page."""
    return f"https://www.aliexpress.com/item/{id_}.html"


def _ordered_as(result: Object, country: str) -> str | None:
    """The id by which buyers in the United States order a product: there it has one of its own."""
    if country != UNITED_STATES:
        return None
    told = inside(inside(result.get("product_id_converter_result")).get("sub_product_id")).get(UNITED_STATES)
    return as_id(told, "sub_product_id") if text(told) else None


def _skus(result: Object) -> list[Object]:
    return as_objects(result.get("ae_item_sku_info_dtos"), "ae_item_sku_info_d_t_o")


def _variant(row: Object, currency: str, weight: int | None) -> Variant:
    told = row.get("currency_code") == currency
    cost = price(row.get("offer_sale_price"), currency) if told else None
    before = price(row.get("sku_price"), currency) if told else None
    attributes: dict[str, str] = {}
    image: str | None = None
    for one in as_objects(row.get("ae_sku_property_dtos"), "ae_sku_property_d_t_o"):
        name, value = text(one.get("sku_property_name")), text(one.get("property_value_definition_name"))
        if name and (value := value or text(one.get("sku_property_value"))):
            attributes[name] = value
        image = image or url(one.get("sku_image"))
    return Variant(
        id=as_id(row.get("sku_id"), "sku_id"),
        name=" / ".join(attributes.values()),
        sku=text(row.get("sku_attr")),
        price=cost,
        list_price=_above(before, cost),
        stock=whole(row.get("sku_available_stock")),
        image=image,
        attributes=attributes,
        weight_grams=weight,
    )


def _quote(row: Object, cost: Money) -> ShippingQuote:
    code = text(row.get("code"))
    if not code:
        raise bad("code", "none")
    return ShippingQuote(
        code=code,
        method=text(row.get("company")) or code,
        cost=cost,
        days_min=whole(row.get("min_delivery_days")),
        days_max=whole(row.get("max_delivery_days")),
        tracked=yes(row.get("tracking")),
        ships_from=text(row.get("ship_from_country")) or None,
        raw=row,
    )


def _cost(row: Object, currency: str) -> Money | None:
    fee = decimal(row.get("shipping_fee_cent"))
    if yes(row.get("free_shipping")):
        return Money(amount=ZERO, currency=currency)
    if fee is None or row.get("shipping_fee_currency") != currency:
        return None
    return Money(amount=fee, currency=currency)


def _above(before: Money | None, cost: Money | None) -> Money | None:
    """What is crossed out beside a price: more than that, or nothing."""
    return before if before is not None and cost is not None and before.amount > cost.amount else None


def _rating(value: JsonValue) -> Decimal | None:
    """Of five stars; without reviews it is zero, which is none."""
    told = decimal(value)
    return told if told and told <= BEST else None


def _percent(value: JsonValue) -> Decimal | None:
    told = decimal(text(value).removesuffix("%") if isinstance(value, str) else value)
    return told if told is not None and told <= ALL else None


def _grams(value: JsonValue) -> int | None:
    told = decimal(value)
    return int((told * 1000).to_integral_value()) if told else None


def _images(value: JsonValue) -> tuple[str, ...]:
    """A list with semicolons, or as JSON."""
    parts: Sequence[JsonValue] = (
        value.split(";") if isinstance(value, str) else value if isinstance(value, list) else ()
    )
    return tuple(dict.fromkeys(found for part in parts if (found := url(part))))


def _sum(counts: Iterable[int | None]) -> int | None:
    """All together; None when one is not known, or there are none."""
    known = list(counts)
    return sum(one for one in known if one is not None) if known and None not in known else None
