"""What goes out: the envelope of an answer, a method's own failure, and the forms one answer can take."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from providers.testing.servers._aliexpress.call import FailureError
from providers.testing.servers._host import Json, JsonObject

_INNER: Final = frozenset(
    (
        *("selection_search_product", "ae_item_sku_info_d_t_o", "ae_sku_property_d_t_o", "ae_video_d_t_o"),
        *("ae_item_property", "delivery_option_d_t_o", "number", "aeop_child_order_info", "aeop_order_logistics_info"),
        *("tracking_detail", "detail_node", "category", "traffic_image_product_d_t_o", "promotion_link"),
    )
)
_FLAGS: Final = frozenset(("is_success", "success", "ret"))


class Lists(StrEnum):
    """How lists come."""

    WRAPPED = "wrapped"
    """As in the samples: a list in an object; an order's single child is an object."""
    BARE = "bare"
    """Every list of one is its only item."""
    PLAIN = "plain"
    """Nothing around a list."""


def envelope(method: str) -> str:
    """The only key of an answer."""
    return method.replace(".", "_") + "_response"


def failure(method: str, error: FailureError) -> JsonObject:
    """A method's own way to say no."""
    code: Json = int(error.code) if error.code.isdecimal() else error.code
    match method:
        case "aliexpress.ds.text.search":
            return {"code": error.code, "msg": error.message}
        case "aliexpress.ds.freight.query":
            return {"result": {"msg": error.message, "code": code, "success": False}}
        case "aliexpress.ds.order.create":
            return {"result": {"is_success": False, "error_code": error.code, "error_msg": error.message}}
        case "aliexpress.ds.order.tracking.get" | "aliexpress.ds.address.get":
            return {"result": {"ret": False, "code": error.code, "msg": error.message}}
        case "aliexpress.ds.category.get" | "aliexpress.affiliate.link.generate":
            return {"resp_result": {"resp_code": code, "resp_msg": error.message}}
        case _:
            return {"rsp_code": code, "rsp_msg": error.message}


def restyled(value: Json, *, lists: Lists, numbers: bool, flags: bool) -> Json:
    """The same answer with lists as ``lists`` says; whole numbers as text, flags as text."""
    if isinstance(value, list):
        return [restyled(each, lists=lists, numbers=numbers, flags=flags) for each in value]
    if isinstance(value, dict):
        if len(value) == 1:
            ((name, only),) = value.items()
            if name in _INNER and lists is Lists.PLAIN:
                items: Json = only if isinstance(only, list) else [only]
                return restyled(items, lists=lists, numbers=numbers, flags=flags)
            if name in _INNER and lists is Lists.BARE and isinstance(only, list) and len(only) == 1:
                return {name: restyled(only[0], lists=lists, numbers=numbers, flags=flags)}
        return {
            name: str(each).lower()
            if flags and name in _FLAGS and isinstance(each, bool)
            else restyled(each, lists=lists, numbers=numbers, flags=flags)
            for name, each in value.items()
        }
    return str(value) if numbers and isinstance(value, int) and not isinstance(value, bool) else value
