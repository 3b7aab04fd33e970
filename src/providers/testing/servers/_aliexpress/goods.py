"""The methods that only read: search, products, freight, categories, pictures, affiliate links, addresses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from providers.testing.servers._aliexpress import address, freight, shapes
from providers.testing.servers._aliexpress.call import Answer, Call, FailureError, missing, wrong
from providers.testing.servers._aliexpress.categories import category
from providers.testing.servers._aliexpress.money import USD
from providers.testing.servers._aliexpress.shop import Shop
from providers.testing.servers._aliexpress.traits import number, pick
from providers.testing.servers._host import JsonObject

MOST_LINKS: Final = 50
MOST_PIECES: Final = 10_000
LARGEST_PICTURE: Final = 100 * 1024
LARGEST_PAGE: Final = 50

_SORTS: Final = ("orders,desc", "min_price,asc", "min_price,desc")
_DELIVERY: Final = (
    *("productId", "selectedSkuId", "quantity", "shipToCountry", "provinceCode", "cityCode"),
    *("language", "locale", "currency"),
)
_PICTURED: Final = ("Wireless Earbuds", "Night Light", "Yoga Mat", "Phone Case", "Wall Clock", "Backpack")


class Goods:
    """Answers from the shop. ``tracking_id`` is the only one that links are made for."""

    def __init__(self, shop: Shop, *, clock: Callable[[], float], tracking_id: str | None) -> None:
        self._shop = shop
        self._clock = clock
        self._tracking_id = tracking_id

    @property
    def methods(self) -> Mapping[str, tuple[tuple[str, ...], Answer]]:
        """Each with its business parameters."""
        return {
            "aliexpress.ds.text.search": (
                (
                    *("keyWord", "countryCode", "currency", "local", "pageIndex", "pageSize", "sortBy", "categoryId"),
                    "searchExtend",
                ),
                self._search,
            ),
            "aliexpress.ds.product.get": (
                ("product_id", "ship_to_country", "target_currency", "target_language", "remove_personal_benefit"),
                self._product,
            ),
            "aliexpress.ds.freight.query": (("queryDeliveryReq",), self._freight),
            "aliexpress.ds.category.get": (("language", "category_id"), self._categories),
            "aliexpress.ds.image.search": (
                ("shpt_to", "target_currency", "target_language", "page_no", "page_size"),
                self._image_search,
            ),
            "aliexpress.ds.address.get": (("countryCode", "language", "isMultiLanguage"), self._addresses),
            "aliexpress.affiliate.link.generate": (
                ("promotion_link_type", "source_values", "tracking_id"),
                self._links,
            ),
        }

    def _search(self, call: Call) -> JsonObject:
        params = call.params
        words, country, unit = params.need("keyWord"), params.country("countryCode"), params.currency("currency")
        params.language("local")
        index, size = params.number("pageIndex", 1), params.number("pageSize", 20, most=LARGEST_PAGE)
        order = params.word("sortBy", *_SORTS) if params.get("sortBy") else ""
        data: JsonObject = {"pageIndex": index, "pageSize": size, "totalCount": 0}
        wanted = category(params.number("categoryId")) if params.get("categoryId") else None
        if params.get("categoryId") and wanted is None:
            return {"code": "00", "data": data}
        found = self._shop.search(words, wanted, country)
        data["totalCount"] = len(found)
        if order == "orders,desc":
            found.sort(key=lambda each: -each.sold)
        elif order:
            found.sort(key=lambda each: self._shop.lowest(each, country, unit).paid, reverse=order == "min_price,desc")
        page = found[(index - 1) * size : index * size]
        if page:
            items = [shapes.search_item(self._shop, each, country, unit) for each in page]
            data |= shapes.wrapped("products", "selection_search_product", items)
        return {"code": "00", "data": data}

    def _product(self, call: Call) -> JsonObject:
        params = call.params
        given, country = params.number("product_id"), params.country("ship_to_country")
        unit = params.currency("target_currency", USD.code)
        params.language("target_language", "en")
        params.word("remove_personal_benefit", "true", "false", default="false")
        product = self._shop.product(str(given))
        if product is None:
            raise FailureError("605", "ITEM_ID_NOT_FOUND")
        if not self._shop.sells(product, country):
            raise FailureError("602", "Item is not allowed to this country")
        result = shapes.product_result(self._shop, product, country, unit, given)
        return {"result": result, "rsp_code": 200, "rsp_msg": "Call succeeds"}

    def _freight(self, call: Call) -> JsonObject:
        asked = call.params.inner("queryDeliveryReq")
        asked.only(*_DELIVERY)
        asked.need_text("quantity")
        quantity, country = asked.number("quantity", most=MOST_PIECES), asked.country("shipToCountry")
        unit = asked.currency("currency")
        asked.language("language")
        asked.language("locale")
        product = self._shop.product(asked.need("productId"))
        sku = None if product is None else product.sku(asked.need("selectedSkuId"))
        if product is None or sku is None:
            raise FailureError("501", "DELIVERY_INFO_EMPTY")
        if not self._shop.delivers(product, country):
            raise FailureError("500", "DELIVERY_NOT_AVAILABLE_TO_YOUR_ADDRESS")
        now, stock = self._clock(), self._shop.stock(sku)
        options = [
            freight.option(each, country=country, quantity=quantity, unit=unit, stock=stock, now=now)
            for each in freight.SERVICES
        ]
        found = shapes.wrapped("delivery_options", "delivery_option_d_t_o", options)
        return {"result": {"msg": "Call succeeds", "code": 200, "success": True, **found}}

    def _categories(self, call: Call) -> JsonObject:
        call.params.language("language", "en")
        return _affiliate(shapes.categories())

    def _image_search(self, call: Call) -> JsonObject:
        params = call.params
        country, unit = params.country("shpt_to"), params.currency("target_currency", USD.code)
        params.language("target_language", "en")
        index, size = params.number("page_no", 1), params.number("page_size", 20, most=LARGEST_PAGE)
        picture = call.files.get("image_file_bytes")
        if not picture:
            raise missing("image_file_bytes")
        if len(picture) > LARGEST_PICTURE:
            raise wrong("image_file_bytes", "more than 100 KB")
        found = self._shop.search(pick(_PICTURED, picture.hex()), None, country)
        page = found[(index - 1) * size : index * size]
        items = [shapes.image_item(self._shop, each, country, unit) for each in page]
        data = shapes.wrapped("products", "traffic_image_product_d_t_o", items) if items else {}
        return {"data": data, "rsp_code": 200, "rsp_msg": "success"}

    def _links(self, call: Call) -> JsonObject:
        params = call.params
        params.word("promotion_link_type", "0", "2")
        tracking_id, given = params.need("tracking_id"), params.need("source_values")
        urls = [each.strip() for each in given.split(",")]
        if tracking_id != self._tracking_id:
            raise wrong("tracking_id", "not one of this account")
        if len(urls) > MOST_LINKS or not all(each.startswith(("https://", "http://")) for each in urls):
            raise wrong("source_values", f"at most {MOST_LINKS} URLs, with commas between them")
        links: list[JsonObject] = [
            {"source_value": url, "promotion_link": f"https://s.click.aliexpress.com/e/_{_short(url, tracking_id)}"}
            for url in urls
        ]
        return _affiliate(
            {
                "total_result_count": len(links),
                "tracking_id": tracking_id,
                **shapes.wrapped("promotion_links", "promotion_link", links),
            }
        )

    def _addresses(self, call: Call) -> JsonObject:
        params = call.params
        country = params.country("countryCode")
        params.language("language", "en")
        params.word("isMultiLanguage", "true", "false", default="false")
        return {"result": {"ret": True, "code": "0", "data": address.tree(country)}, "code": "0"}


def _affiliate(result: JsonObject) -> JsonObject:
    return {"resp_result": {"resp_code": 200, "resp_msg": "Call succeeds", "result": result}}


def _short(url: str, tracking_id: str) -> str:
    return f"{number(url, tracking_id) % 36**6:07x}"
