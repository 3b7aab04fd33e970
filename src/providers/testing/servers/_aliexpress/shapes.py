"""Products as the methods show them; names and JSON types are those of the sheet's samples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal

from providers.testing.servers._aliexpress.catalogue import Product, Sku
from providers.testing.servers._aliexpress.categories import CATEGORIES
from providers.testing.servers._aliexpress.money import CNY, Currency, origin_min_price
from providers.testing.servers._aliexpress.shop import Shop
from providers.testing.servers._aliexpress.traits import number
from providers.testing.servers._host import Json, JsonObject

PICTURES = "https://img.example.com/ae"
SITE = "www.aliexpress.com"


def wrapped(outer: str, inner: str, items: Sequence[JsonObject]) -> JsonObject:
    """A list the way the gateway has it: an object around it."""
    listed: list[Json] = [*items]
    return {outer: {inner: listed}}


def item_url(product: Product) -> str:
    """A product's page."""
    return f"https://{SITE}/item/{product.id}.html"


def picture(product: Product, name: object) -> str:
    """The address of one of a product's pictures."""
    return f"{PICTURES}/{product.id}/{name}.jpg"


def _rounded_down(count: int) -> str:
    """``412``, ``3,000+``, nothing for nothing."""
    if count < 500:
        return str(count) if count else ""
    return f"{count - count % (1000 if count >= 1000 else 100):,}+"


def search_item(shop: Shop, product: Product, country: str, unit: Currency) -> JsonObject:
    """One of ``selection_search_product``: ``target*`` is what was asked for, the rest the seller's."""
    price = shop.lowest(product, country, unit)
    cheapest = min(product.skus, key=lambda sku: sku.price)
    rated = product.reviews > 0
    return {
        "itemId": str(product.id),
        "title": product.title,
        "itemMainPic": picture(product, "main"),
        "itemUrl": f"//{SITE}/item/{product.id}.html?skuId={cheapest.id}",
        "type": "search",
        "cateId": ",".join(str(level.id) for level in product.levels),
        "score": str(product.rating) if rated else "",
        "evaluateRate": str(product.positive) if rated else "",
        "orders": _rounded_down(product.sold),
        "discount": "0%",
        "originalPrice": str(CNY.of(cheapest.list_price)),
        "originalPriceCurrency": CNY.code,
        "salePrice": str(CNY.of(cheapest.price)),
        "salePriceCurrency": CNY.code,
        "targetSalePrice": price.text,
        "targetOriginalPrice": str(price.before),
        "targetOriginalPriceCurrency": unit.code,
        "salePriceFormat": unit.shown(price.paid),
        "originMinPrice": origin_min_price(unit, price.paid, country),
    }


def image_item(shop: Shop, product: Product, country: str, unit: Currency) -> JsonObject:
    """One of ``traffic_image_product_d_t_o``."""
    price = shop.lowest(product, country, unit)
    return {
        "product_id": product.id,
        "product_title": product.title,
        "product_main_image_url": picture(product, "main"),
        "product_detail_url": item_url(product),
        "target_sale_price": price.text,
        "target_sale_price_currency": unit.code,
        "shop_url": store_url(product),
        "evaluate_rate": f"{product.positive}%",
        "lastest_volume": product.sold,
    }


def store_url(product: Product) -> str:
    """A store's page."""
    return f"https://{SITE}/store/{product.store_id}"


def product_result(shop: Shop, product: Product, country: str, unit: Currency, shown_id: int) -> JsonObject:
    """``result`` of product.get. ``shown_id`` is the id it was asked by."""
    variety = number("brand", product.id) % 1000
    videos: list[JsonObject] = [
        {
            "media_id": 296_000_000_000 + variety,
            "media_type": "MAIN_IMAGE_VIDEO",
            "media_status": "approved",
            "media_url": f"{PICTURES}/{product.id}/v.mp4",
            "poster_url": picture(product, "v"),
            "ali_member_id": 700_000_000 + variety,
        }
    ]
    properties: list[JsonObject] = [
        {"attr_name_id": 2, "attr_name": "Brand Name", "attr_value_id": 201512802, "attr_value": "NONE"},
        {"attr_name_id": 219, "attr_name": "Origin", "attr_value_id": 9441741844, "attr_value": "Mainland China"},
    ]
    base: JsonObject = {
        "product_id": shown_id,
        "subject": product.title,
        "category_id": product.category.id,
        "currency_code": CNY.code,
        "product_status_type": shop.status(product),
        "avg_evaluation_rating": str(product.rating) if product.reviews else "0.0",
        "evaluation_count": str(product.reviews),
        "sales_count": _rounded_down(product.sold).replace(",", "") or "0",
        "separated_listing": False,
        "sl_product": False,
        "mobile_detail": '{"version":"2.0.0","moduleList":[]}',
        "detail": f"<div><p>{product.title}.</p></div>",
    }
    pictures = ";".join(picture(product, name) for name in ("main", 1, 2))
    return {
        "ae_item_base_info_dto": base,
        **wrapped(
            "ae_item_sku_info_dtos",
            "ae_item_sku_info_d_t_o",
            [_sku(shop, product, sku, country, unit) for sku in product.skus],
        ),
        "ae_multimedia_info_dto": {
            "image_urls": pictures,
            **wrapped("ae_video_dtos", "ae_video_d_t_o", videos),
        },
        "package_info_dto": {
            "package_width": 5 + variety % 20,
            "package_height": 2 + variety % 10,
            "package_length": 8 + variety % 30,
            "gross_weight": str(Decimal(50 + variety).scaleb(-3)),
            "package_type": False,
            "product_unit": 100000015,
        },
        "logistics_info_dto": {"delivery_time": 7, "ship_to_country": country},
        "product_id_converter_result": {
            "main_product_id": product.id,
            "sub_product_id": json.dumps({"US": product.sub_id}, separators=(",", ":")),
        },
        **wrapped("ae_item_properties", "ae_item_property", properties),
        "ae_store_info": {
            "store_id": product.store_id,
            "store_name": product.store_name,
            "store_country_code": "CN",
            "item_as_described_rating": "4.8",
            "communication_rating": "4.7",
            "shipping_speed_rating": "4.7",
        },
        "manufacturer_info": {
            "address": "1 Example Road, Shenzhen, China",
            "country_name": "China",
            "email": "maker@example.com",
            "phone": "13800000000",
            "phone_prefix": "86",
        },
        "has_whole_sale": False,
    }


def _sku(shop: Shop, product: Product, sku: Sku, country: str, unit: Currency) -> JsonObject:
    price = shop.price(product, sku, country, unit)
    traits: list[JsonObject] = []
    for trait in sku.traits:
        shown: JsonObject = {
            "sku_property_id": trait.id,
            "sku_property_name": trait.name,
            "property_value_id": trait.value_id,
            "sku_property_value": trait.value,
        }
        if trait.own is not None:
            shown["property_value_definition_name"] = trait.own
            shown["sku_image"] = picture(product, trait.value.lower())
        traits.append(shown)
    described = wrapped("ae_sku_property_dtos", "ae_sku_property_d_t_o", traits) if traits else {}
    return {
        "sku_id": sku.id,
        "sku_attr": sku.attr,
        "id": sku.attr,
        "sku_price": str(price.before),
        "offer_sale_price": price.text,
        "offer_bulk_sale_price": price.text,
        "currency_code": unit.code,
        "sku_available_stock": shop.stock(sku),
        "price_include_tax": False,
        **described,
    }


def categories() -> JsonObject:
    """``result`` of category.get."""
    shown: list[JsonObject] = []
    for each in CATEGORIES:
        above: JsonObject = {} if each.parent is None else {"parent_category_id": each.parent}
        shown.append({"category_id": each.id, "category_name": each.name, **above})
    return {"total_result_count": len(shown), **wrapped("categories", "category", shown)}
