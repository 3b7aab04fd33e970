"""Categories, searches, products, variants and stock (product page of CJ's documents).

``productFlag``, ``enable_category`` and ``enable_combine`` are taken and change nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from html import escape
from typing import TYPE_CHECKING, Final

from providers.testing.servers._cjdropshipping import catalog
from providers.testing.servers._cjdropshipping.call import NO_PRODUCT, Call, Obj, RefusalError, Route, wrong
from providers.testing.servers._cjdropshipping.catalog import Product, Variant
from providers.testing.servers._cjdropshipping.freight import COUNTRIES
from providers.testing.servers._cjdropshipping.shelf import CENT, STOCK_ID, Row
from providers.testing.servers._cjdropshipping.times import utc_iso, utc_text

if TYPE_CHECKING:
    from providers.testing.servers._cjdropshipping.shop import Shop

MOST: Final = 6_000
"""What listV2 answers of any search."""

RATES: Final[Mapping[str, Decimal]] = {
    "USD": Decimal(1),
    "EUR": Decimal("0.86"),
    "GBP": Decimal("0.75"),
    "CAD": Decimal("1.40"),
    "AUD": Decimal("1.53"),
    "CNY": Decimal("7.12"),
}
"""What a dollar is in other currencies; ours, and the same for ever."""

_FEATURES: Final = frozenset(
    (
        *("enable_description", "enable_category", "enable_combine", "enable_video", "enable_inventory"),
        "LOGISTICS_TIMELINESS",
    )
)
_V2: Final = (
    "keyWord page size categoryId lv2categoryList lv3categoryList countryCode startSellPrice endSellPrice "
    "addMarkStatus productType productFlag startWarehouseInventory endWarehouseInventory verifiedWarehouse timeStart "
    "timeEnd currency sort orderBy features supplierId"
)
_V1: Final = (
    "pageNum pageSize categoryId pid productSku productNameEn countryCode deliveryTime minPrice maxPrice sort orderBy "
    "isFreeShipping createTimeFrom createTimeTo"
)
_ONE: Final = "pid productSku variantSku countryCode features"


def routes() -> Iterable[Route]:
    """All of them; a search costs 50 points, a product 10."""
    yield Route("GET", "product/getCategory", "", lambda _, __: catalog.tree())
    yield Route("GET", "product/listV2", _V2, _search, 50)
    yield Route("GET", "product/list", _V1, _list, 50)
    yield Route("GET", "product/query", _ONE, _query, 10)
    yield Route("GET", "product/variant/query", _ONE, _variants, 10)
    yield Route("GET", "product/variant/queryByVid", "vid features", _variant, 10)
    yield Route("GET", "product/stock/queryByVid", "vid", _stock, 10)
    yield Route("GET", "product/stock/getInventoryByPid", "pid", _inventory, 10)


def features(call: Call) -> frozenset[str]:
    """What was asked for besides."""
    asked = frozenset(each for each in call.query.all("features") if each)
    if unknown := asked - _FEATURES:
        raise wrong(f"no feature is called {', '.join(sorted(unknown))}")
    return asked


# Searches.


def _search(shop: Shop, call: Call) -> Obj:
    page, size = call.whole("page", 1, 1, 1_000), call.whole("size", 10, 1, 100)
    asked, words = features(call), call.text("keyWord") or ""
    currency = (call.text("currency") or "USD").upper()
    if currency not in RATES:
        raise wrong(f"currency is one of {', '.join(RATES)}")
    found = _ordered(call, shop, _filtered(shop, call, words))[:MOST]
    shown = found[(page - 1) * size : page * size]
    for each in shown:
        shop.shelf.remember(each, words)
    categories = dict.fromkeys((each.category.id, each.category.name) for each in shown)
    content = [
        {
            "productList": [_item_v2(shop, each, currency, asked) for each in shown],
            "relatedCategoryList": [{"categoryId": name, "categoryName": title} for name, title in categories],
            "keyWord": words,
            "keyWordOld": words,
        }
    ]
    return {
        "pageSize": size,
        "pageNumber": page,
        "totalRecords": len(found),
        "totalPages": -(-len(found) // size),
        "content": content if shown else [],
    }


def _filtered(shop: Shop, call: Call, words: str) -> list[Product]:
    tests = [*_tests_v2(shop, call)]
    return [each for each in shop.shelf.search(words) if all(test(each) for test in tests)]


Test = Callable[[Product], bool]


def _tests_v2(shop: Shop, call: Call) -> Iterable[Test]:
    ranges: tuple[tuple[str, str, Callable[[Product], Decimal | int]], ...] = (
        ("startSellPrice", "endSellPrice", shop.shelf.price),
        ("startWarehouseInventory", "endWarehouseInventory", lambda each: _total(shop, each)),
        ("timeStart", "timeEnd", lambda each: each.created * 1000),
    )
    for least, most, measure in ranges:
        yield from _between(_decimal(call, least), _decimal(call, most), measure)
    members: tuple[tuple[str, Callable[[Product], str | None]], ...] = (
        ("categoryId", lambda each: each.category.id),
        ("lv2categoryList", lambda each: each.category.second_id),
        ("lv3categoryList", lambda each: each.category.id),
        ("productType", lambda each: each.kind),
        ("addMarkStatus", lambda each: str(int(each.free_shipping))),
        ("verifiedWarehouse", lambda each: str(each.verified)),
        ("supplierId", lambda each: _supplier(each)[1]),
    )
    for name, member in members:
        yield from _among(call, name, member)
    yield from _in_country(call)


def _between(
    least: Decimal | None, most: Decimal | None, measure: Callable[[Product], Decimal | int]
) -> Iterable[Test]:
    if least is not None:
        yield lambda each: measure(each) >= least
    if most is not None:
        yield lambda each: measure(each) <= most


def _among(call: Call, name: str, member: Callable[[Product], str | None]) -> Iterable[Test]:
    if allowed := frozenset(each for each in call.query.all(name) if each):
        yield lambda each: member(each) in allowed


def _in_country(call: Call) -> Iterable[Test]:
    if (country := _country(call)) is not None:
        yield lambda each: country == "CN" or (country == "US" and each.in_us)


def _ordered(call: Call, shop: Shop, found: list[Product]) -> list[Product]:
    order, sort = call.text("orderBy") or "0", call.text("sort") or "desc"
    keys: dict[str, Callable[[Product], Decimal | int]] = {
        "1": lambda each: each.listed,
        "2": shop.shelf.price,
        "3": lambda each: each.created,
        "4": lambda each: _total(shop, each),
    }
    if sort not in ("asc", "desc") or (order != "0" and order not in keys):
        raise wrong("sort is asc or desc, orderBy from 0 to 4")
    return found if order == "0" else sorted(found, key=keys[order], reverse=sort == "desc")


def _list(shop: Shop, call: Call) -> Obj:
    page, size = call.whole("pageNum", 1, 1, 1_000_000), call.whole("pageSize", 20, 1, 200)
    words = call.text("productNameEn") or ""
    pid, sku = call.text("pid"), call.text("productSku")
    if pid is not None or sku is not None:
        try:
            found = [shop.shelf.product(pid) if pid is not None else shop.shelf.by_sku(sku or "")[0]]
        except RefusalError:
            found = []
    else:
        tests = [*_tests_v1(shop, call)]
        found = [each for each in shop.shelf.search(words) if all(test(each) for test in tests)]
        order, sort = call.text("orderBy"), call.text("sort") or "desc"
        if sort not in ("asc", "desc") or order not in (None, "createAt", "listedNum"):
            raise wrong("sort is asc or desc, orderBy createAt or listedNum")
        if order is not None:
            found.sort(key=lambda each: each.created if order == "createAt" else each.listed, reverse=sort == "desc")
    shown = found[(page - 1) * size : page * size]
    for each in shown:
        shop.shelf.remember(each, words)
    return {
        "pageNum": page,
        "pageSize": size,
        "total": len(found),
        "list": [_item_v1(shop, each) for each in shown],
    }


def _tests_v1(shop: Shop, call: Call) -> Iterable[Test]:
    yield from _between(_decimal(call, "minPrice"), None, shop.shelf.dearest)
    yield from _between(None, _decimal(call, "maxPrice"), shop.shelf.price)
    yield from _among(call, "categoryId", lambda each: each.category.id)
    if (free := call.text("isFreeShipping")) is not None:
        yield lambda each: each.free_shipping is (free.lower() in ("1", "true"))
    if (hours := call.text("deliveryTime")) is not None:
        if hours not in ("24", "48", "72"):
            raise wrong("deliveryTime is 24, 48 or 72")
        yield lambda each: _delivery(each) == hours
    since, until = _moment(call, "createTimeFrom"), _moment(call, "createTimeTo")
    if since is not None:
        yield lambda each: each.created >= since
    if until is not None:
        yield lambda each: each.created <= until
    yield from _in_country(call)


def _item_v2(shop: Shop, one: Product, currency: str, asked: frozenset[str]) -> Obj:
    price = (shop.shelf.price(one) * RATES[currency]).quantize(CENT)
    now = (price * (100 - one.discount) / 100).quantize(CENT)
    rows = [row for variant in one.variants for row in shop.shelf.stock(one, variant)]
    at_cj, factory = sum(row.cj for row in rows), sum(row.factory for row in rows)
    place = one.category
    shown: Obj = {
        "id": one.pid,
        "nameEn": one.name,
        "sku": one.sku,
        "spu": one.sku,
        "bigImage": one.images[0],
        "sellPrice": str(price),
        "nowPrice": str(now),
        "discountPrice": str(now),
        "discountPriceRate": str(one.discount),
        "listedNum": one.listed,
        "isCollect": 0,
        "categoryId": place.id,
        "threeCategoryName": place.name,
        "twoCategoryId": place.second_id,
        "twoCategoryName": place.second,
        "oneCategoryId": place.first_id,
        "oneCategoryName": place.first,
        "addMarkStatus": int(one.free_shipping),
        "isVideo": int(one.video),
        "videoList": [],
        "productType": one.kind,
        "supplierName": _supplier(one)[0] or "",
        "createAt": one.created * 1000,
        "warehouseInventoryNum": at_cj + factory,
        "totalVerifiedInventory": at_cj,
        "totalUnVerifiedInventory": factory,
        "verifiedWarehouse": one.verified,
        "customization": 0,
        "hasCECertification": int(not one.supplied),
        "isPersonalized": 0,
        "myProduct": False,
        "currency": currency,
        "deliveryCycle": "1-3",
        "saleStatus": "3",
        "authorityStatus": "1",
    }
    if "enable_video" in asked and one.video:
        shown["videoList"] = [f"https://video.example.com/cj/{one.pid}.mp4"]
    if "enable_description" in asked:
        shown["description"] = _description(one)
    return shown


def _item_v1(shop: Shop, one: Product) -> Obj:
    low, high = shop.shelf.price(one), shop.shelf.dearest(one)
    supplier, supplier_id = _supplier(one)
    return {
        "pid": one.pid,
        "productName": json.dumps([one.name], separators=(",", ":")),
        "productNameEn": one.name,
        "productSku": one.sku,
        "productImage": one.images[0],
        "productWeight": one.weights,
        "productType": one.kind,
        "productUnit": "unit(s)",
        "categoryId": one.category.id,
        "categoryName": one.category.name,
        "sellPrice": str(low) if low == high else f"{low} -- {high}",
        "remark": "",
        "addMarkStatus": int(one.free_shipping),
        "isFreeShipping": one.free_shipping,
        "createTime": utc_text(one.created),
        "isVideo": int(one.video),
        "saleStatus": 3,
        "listedNum": one.listed,
        "supplierName": supplier,
        "supplierId": supplier_id,
        "customizationVersion": 0,
        "deliveryTime": _delivery(one),
    }


# Products and variants.


def _query(shop: Shop, call: Call) -> Obj:
    one, _ = _asked(shop, call)
    asked, country = features(call), _country(call)
    supplier, supplier_id = _supplier(one)
    place = one.category
    price = shop.shelf.price(one)
    heaviest = max(each.weight for each in one.variants)
    return {
        "pid": one.pid,
        "productName": json.dumps([one.name], separators=(",", ":")),
        "productNameEn": one.name,
        "productSku": one.sku,
        "productImage": json.dumps(one.images, separators=(",", ":")),
        "productImageSet": one.images,
        "productWeight": one.weights,
        "productType": one.kind,
        "productUnit": "unit(s)",
        "categoryId": place.id,
        "categoryName": f"{place.first} / {place.second} / {place.name}",
        "entryCode": "8518300000",
        "entryNameEn": place.words[0],
        "materialNameEn": '["Plastic"]',
        "packWeight": f"{heaviest + 25}.00",
        "packingNameEn": '["Box"]',
        "productKeyEn": "Color-Size" if "-" in one.variants[0].key else "Color",
        "productProEnSet": ["ELECTRONIC", "BATTERY"] if one.battery else ["COMMON"],
        "addMarkStatus": int(one.free_shipping),
        "description": _description(one),
        "sellPrice": str(price),
        "suggestSellPrice": f"{_plain(price * 2)}-{_plain(price * 3)}",
        "createrTime": utc_iso(one.created),
        "status": "3",
        "listedNum": one.listed,
        "supplierName": supplier,
        "supplierId": supplier_id,
        "customizationVersion": 0,
        "variants": [
            variant_shown(shop, one, each, inventories="enable_inventory" in asked, country=country)
            for each in one.variants
            if _has(shop, one, each, country)
        ],
    }


def _variants(shop: Shop, call: Call) -> list[Obj]:
    one, chosen = _asked(shop, call)
    asked, country = features(call), _country(call)
    return [
        variant_shown(shop, one, each, inventories="enable_inventory" in asked, country=country)
        for each in one.variants
        if (chosen is None or each == chosen) and _has(shop, one, each, country)
    ]


def _variant(shop: Shop, call: Call) -> Obj:
    asked = features(call)
    one, variant = shop.shelf.variant(call.need("vid"))
    return variant_shown(shop, one, variant, inventories="enable_inventory" in asked, country=None)


def _asked(shop: Shop, call: Call) -> tuple[Product, Variant | None]:
    given = [name for name in ("pid", "productSku", "variantSku") if call.text(name) is not None]
    if len(given) != 1:
        raise wrong("one of pid, productSku and variantSku is required")
    (name,) = given
    if name == "pid":
        return shop.shelf.product(call.need(name)), None
    one, variant = shop.shelf.by_sku(call.need(name))
    if (name == "variantSku") is not (variant is not None):
        raise RefusalError(NO_PRODUCT)
    return one, variant


def variant_shown(shop: Shop, one: Product, variant: Variant, *, inventories: bool, country: str | None) -> Obj:
    """A variant; with its stock only if asked."""
    length, width, height = variant.size
    price = shop.shelf.price(one, variant)
    shown: Obj = {
        "vid": variant.vid,
        "pid": one.pid,
        "variantName": None,
        "variantNameEn": f"{one.name} {variant.key.replace('-', ' ')}",
        "variantSku": variant.sku,
        "variantImage": f"https://img.example.com/cj/{one.pid}/{variant.key}.jpg",
        "variantStandard": f"long={length},width={width},height={height}",
        "variantUnit": None,
        "variantProperty": "[]",
        "variantKey": variant.key,
        "variantLength": length,
        "variantWidth": width,
        "variantHeight": height,
        "variantVolume": variant.volume,
        "variantWeight": float(variant.weight),
        "variantSellPrice": float(price),
        "variantSugSellPrice": float((price * 5 / 2).quantize(CENT)),
        "createTime": utc_iso(one.created),
        "combineNum": 0,
    }
    if inventories:
        shown["inventories"] = [
            {
                "countryCode": row.warehouse.country,
                "totalInventory": row.total,
                "cjInventory": row.cj,
                "factoryInventory": row.factory,
                "verifiedWarehouse": one.verified,
                "stock": _parts(row) if row.factory else [],
            }
            for row in shop.shelf.stock(one, variant)
            if country in (None, row.warehouse.country)
        ]
    return shown


# Stock.


def _stock(shop: Shop, call: Call) -> list[Obj]:
    one, variant = shop.shelf.variant(call.need("vid"))
    return [
        {
            "vid": variant.vid,
            "areaId": row.warehouse.area_id,
            "areaEn": row.warehouse.area,
            "countryCode": row.warehouse.country,
            "storageNum": row.total,
            "totalInventoryNum": row.total,
            "cjInventoryNum": row.cj,
            "factoryInventoryNum": row.factory,
            "stock": _parts(row),
        }
        for row in shop.shelf.stock(one, variant)
    ]


def _inventory(shop: Shop, call: Call) -> Obj:
    one = shop.shelf.product(call.need("pid"))
    rows = [(variant, row) for variant in one.variants for row in shop.shelf.stock(one, variant)]
    countries = {row.warehouse.country: row.warehouse for _, row in rows}
    return {
        "inventories": [
            {
                "areaEn": place.area,
                "areaId": place.area_id,
                "countryCode": country,
                "countryNameEn": place.country_name,
                "totalInventoryNum": sum(row.total for _, row in rows if row.warehouse is place),
                "cjInventoryNum": sum(row.cj for _, row in rows if row.warehouse is place),
                "factoryInventoryNum": sum(row.factory for _, row in rows if row.warehouse is place),
            }
            for country, place in countries.items()
        ],
        "variantInventories": [
            {
                "vid": variant.vid,
                "inventory": [
                    {
                        "countryCode": row.warehouse.country,
                        "totalInventoryNum": row.total,
                        "cjInventoryNum": row.cj,
                        "factoryInventoryNum": row.factory,
                        "verifiedWarehouse": one.verified,
                        "stock": [],
                    }
                    for owner, row in rows
                    if owner is variant
                ],
            }
            for variant in one.variants
        ],
    }


def _parts(row: Row) -> list[Obj]:
    return [{"stockId": STOCK_ID, "inventory": row.cj, "factoryInventory": row.factory}]


def _has(shop: Shop, one: Product, variant: Variant, country: str | None) -> bool:
    return country is None or any(row.warehouse.country == country for row in shop.shelf.stock(one, variant))


def _total(shop: Shop, one: Product) -> int:
    return sum(row.total for variant in one.variants for row in shop.shelf.stock(one, variant))


# Small parts.


def _supplier(one: Product) -> tuple[str | None, str | None]:
    return ("Demo Supplier", "900001") if one.supplied else (None, None)


def _delivery(one: Product) -> str | None:
    return None if one.supplied else ("24", "48", "72")[one.created % 3]


def _description(one: Product) -> str:
    return f"<p>{escape(one.name)}: <b>{escape(one.category.name)}</b>.</p><p>Size: see the variants.</p>"


def _plain(amount: Decimal) -> str:
    return f"{amount:.1f}"


def _country(call: Call) -> str | None:
    country = call.text("countryCode")
    if country is not None and country not in COUNTRIES:
        raise wrong("countryCode is a country's two letters")
    return country


def _decimal(call: Call, name: str) -> Decimal | None:
    text = call.text(name)
    try:
        found = None if text is None else Decimal(text)
    except InvalidOperation:
        raise wrong(f"{name} is a number") from None
    if found is not None and not found.is_finite():
        raise wrong(f"{name} is a number")
    return found


def _moment(call: Call, name: str) -> float | None:
    text = call.text(name)
    try:
        return None if text is None else datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise wrong(f"{name} is YYYY-MM-DD HH:MM:SS") from None
