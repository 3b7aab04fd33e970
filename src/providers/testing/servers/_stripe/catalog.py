"""Products and prices."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from providers.testing.servers._stripe.books import Books
from providers.testing.servers._stripe.call import Call, Obj, Route, absent, invalid, refused, within
from providers.testing.servers._stripe.lists import page
from providers.testing.servers._stripe.money import checked_amount, checked_currency, decimal_text
from providers.testing.servers._stripe.shapes import Shape, listing, merged, shape

_PRODUCT: Final = """
active:b description? images[] marketing_features:x metadata:m package_dimensions:x shippable:b
statement_descriptor tax_code? tax_details:x unit_label? url?
"""
_RECURRING: Final = "recurring{interval!:day|week|month|year interval_count:i %s}"
_CREATE_PRODUCT: Final = shape(_PRODUCT + "name! id default_price_data:x type:good|service")
_UPDATE_PRODUCT: Final = shape(_PRODUCT + "name default_price")
_CREATE_PRICE: Final = shape(
    "active:b billing_scheme:per_unit|tiered currency! currency_options:x custom_unit_amount:x lookup_key metadata:m "
    "nickname product "
    "product_data{active:b id metadata:m name! statement_descriptor tax_code tax_details:x unit_label} "
    + _RECURRING
    % "meter trial_period_days:i usage_type:licensed|metered"
    + " tax_behavior:inclusive|exclusive|unspecified tiers:x tiers_mode:graduated|volume transfer_lookup_key:b "
    "transform_quantity:x unit_amount:i unit_amount_decimal:d"
)
_UPDATE_PRICE: Final = shape(
    "active:b currency_options:x lookup_key? metadata:m nickname? tax_behavior:inclusive|exclusive|unspecified "
    "transfer_lookup_key:b"
)
PRICE_DATA: Final = (
    "price_data{currency! product "
    "product_data{description images[] metadata:m name! tax_code tax_details:x unit_label} "
    + _RECURRING % ""
    + " tax_behavior:inclusive|exclusive|unspecified unit_amount:i unit_amount_decimal:d}"
)
ITEM_PRICE_DATA: Final = (
    "price_data{currency! product! "
    + _RECURRING.replace("recurring{", "recurring!{", 1) % ""
    + " tax_behavior:inclusive|exclusive|unspecified unit_amount:i unit_amount_decimal:d}"
)
"""For items of a subscription: the product is there already."""
MOST_COUNT: Final = {"day": 1095, "week": 156, "month": 36, "year": 3}
LONGEST_KEY: Final = 200
MOST_KEYS: Final = 10

SHAPES: Final[dict[str, Shape]] = {
    "ProductCreateParams": _CREATE_PRODUCT,
    "ProductUpdateParams": _UPDATE_PRODUCT,
    "PriceCreateParams": _CREATE_PRICE,
    "PriceUpdateParams": _UPDATE_PRICE,
}


def routes() -> Iterable[Route]:
    """Endpoints."""
    yield Route("POST", "/v1/products", _CREATE_PRODUCT, create_product)
    yield Route("GET", "/v1/products", listing("active:b ids[] shippable:b type url"), list_products)
    yield Route("GET", "/v1/products/{id}", shape(""), lambda books, call: books.get("product", call.id))
    yield Route("POST", "/v1/products/{id}", _UPDATE_PRODUCT, update_product)
    yield Route("DELETE", "/v1/products/{id}", shape(""), delete_product)
    yield Route("POST", "/v1/prices", _CREATE_PRICE, create_price)
    filters = "active:b currency lookup_keys[] product recurring{interval usage_type meter} type:one_time|recurring"
    yield Route("GET", "/v1/prices", listing(filters), list_prices)
    yield Route("GET", "/v1/prices/{id}", shape(""), lambda books, call: books.get("price", call.id))
    yield Route("POST", "/v1/prices/{id}", _UPDATE_PRICE, update_price)


# Products.


def create_product(books: Books, call: Call) -> Obj:
    """POST /v1/products; the id may be chosen."""
    return new_product(books, call.given)


def new_product(books: Books, given: Obj) -> Obj:
    """Enter a product."""
    name = given.get("id") or books.new_id("prod")
    if name in books.tables["product"]:
        raise refused("Product already exists.", "id", "resource_already_exists")
    one: Obj = {
        "id": name,
        "object": "product",
        "active": True,
        "created": books.now,
        "default_price": None,
        "description": None,
        "images": [],
        "livemode": books.livemode,
        "marketing_features": [],
        "metadata": {},
        "name": "",
        "package_dimensions": None,
        "shippable": None,
        "statement_descriptor": None,
        "tax_code": None,
        "type": "service",
        "unit_label": None,
        "updated": books.now,
        "url": None,
        **_plain(given, {"id", "default_price_data"}),
    }
    books.add(one)
    books.emit("product.created", one)
    return one


def _plain(given: Obj, without: set[str]) -> Obj:
    return {name: None if value == "" else value for name, value in given.items() if name not in without}


def update_product(books: Books, call: Call) -> Obj:
    """POST /v1/products/{id}."""
    one = books.get("product", call.id)
    before = books.before(one)
    given = call.given
    if given.get("default_price"):
        books.named("price", given["default_price"], "default_price")
    one.update(_plain(given, {"metadata"}))
    one["metadata"] = merged(one["metadata"], given.get("metadata"))
    one["updated"] = books.now
    books.changed("product.updated", one, before)
    return one


def delete_product(books: Books, call: Call) -> Obj:
    """DELETE /v1/products/{id}: only one without prices."""
    one = books.get("product", call.id)
    if any(books.newest("price", product=call.id)):
        raise refused("This product cannot be deleted because it has one or more user-created prices.")
    del books.tables["product"][call.id]
    books.emit("product.deleted", one)
    return {"id": call.id, "object": "product", "deleted": True}


def list_products(books: Books, call: Call) -> Obj:
    """GET /v1/products."""
    given, ids = call.given, call.given.get("ids")
    found = books.newest("product", active=given.get("active"), url=given.get("url"))
    return page(call, (one for one in found if ids is None or one["id"] in ids))


# Prices.


def create_price(books: Books, call: Call) -> Obj:
    """POST /v1/prices."""
    given = call.given
    if ("product" in given) == ("product_data" in given):
        if "product" in given:
            raise invalid("You may only specify one of these parameters: product, product_data.", "product")
        raise absent("product")
    terms = _terms(books, given, "")
    key = given.get("lookup_key")
    if key is not None and len(key) > LONGEST_KEY:
        raise invalid(f"Invalid string: {key[:10]}...; must be at most 200 characters", "lookup_key")
    transfer = given.get("transfer_lookup_key", False)
    holder = _free_key(books, key, None, transfer=transfer) if key else None
    if "product" in given:
        product = books.named("product", given["product"], "product")["id"]
    else:
        product = new_product(books, given["product_data"])["id"]
    if holder is not None:
        _give_up_key(books, holder)
    one = new_price(
        books,
        terms,
        product,
        active=given.get("active", True),
        lookup_key=key,
        nickname=given.get("nickname"),
        metadata=merged({}, given.get("metadata")),
    )
    books.emit("price.created", one)
    return one


def new_price(books: Books, terms: Obj, product: str, **more: object) -> Obj:
    """Enter a price."""
    return books.add(
        {
            "id": books.new_id("price"),
            "object": "price",
            "active": True,
            "billing_scheme": "per_unit",
            "created": books.now,
            "currency": terms["currency"],
            "custom_unit_amount": None,
            "livemode": books.livemode,
            "lookup_key": None,
            "metadata": {},
            "nickname": None,
            "product": product,
            "recurring": terms["recurring"],
            "tax_behavior": terms["tax_behavior"],
            "tiers_mode": None,
            "transform_quantity": None,
            "type": "recurring" if terms["recurring"] else "one_time",
            "unit_amount": terms["unit_amount"],
            "unit_amount_decimal": terms["unit_amount_decimal"],
            **more,
        }
    )


def price_of_data(books: Books, data: Obj, param: str) -> Obj:
    """The price that a checkout's or subscription's ``price_data`` makes: not active, so not to be used again."""
    terms = _terms(books, data, param)
    if ("product" in data) == ("product_data" in data):
        raise absent(f"{param}[product_data]")
    if "product" in data:
        product = books.named("product", data["product"], f"{param}[product]")["id"]
    else:
        product = new_product(books, {**data["product_data"], "active": False})["id"]
    return new_price(books, terms, product, active=False)


def _terms(books: Books, given: Obj, prefix: str) -> Obj:
    def param(name: str) -> str:
        return f"{prefix}[{name}]" if prefix else name

    currency = checked_currency(given["currency"], param("currency"))
    unsupported = {"tiers", "custom_unit_amount", "transform_quantity", "currency_options", "tiers_mode"} & given.keys()
    if unsupported or given.get("billing_scheme") == "tiered":
        raise invalid("This local server has flat prices only.", param(min(unsupported, default="billing_scheme")))
    amount, exact = given.get("unit_amount"), given.get("unit_amount_decimal")
    if amount is not None and exact is not None:
        message = "You may only specify one of these parameters: unit_amount, unit_amount_decimal."
        raise invalid(message, param("unit_amount"))
    if amount is None and exact is None:
        raise absent(param("unit_amount"))
    if exact is None:
        exact = Decimal(amount or 0)
    if exact < 0:
        named = param("unit_amount_decimal" if amount is None else "unit_amount")
        raise invalid(f"Invalid non-negative integer: {exact}", named, "parameter_invalid_integer")
    if exact == exact.to_integral_value():
        amount = checked_amount(int(exact), currency, param("unit_amount"))
    return {
        "currency": currency,
        "unit_amount": amount,
        "unit_amount_decimal": decimal_text(exact),
        "tax_behavior": given.get("tax_behavior", "unspecified"),
        "recurring": _recurring(books, given["recurring"], param("recurring")) if "recurring" in given else None,
    }


def _recurring(books: Books, given: Obj, param: str) -> Obj:
    interval, count = given["interval"], given.get("interval_count", 1)
    if not 1 <= count <= MOST_COUNT[interval]:
        message = f"The maximum number of {interval}s in a billing interval is {MOST_COUNT[interval]}."
        raise invalid(message, f"{param}[interval_count]")
    usage, meter = given.get("usage_type", "licensed"), given.get("meter")
    if usage == "metered" and meter is None:
        message = "Metered prices must be backed by meters from this API version on: pass recurring[meter] with an id."
        raise invalid(message, f"{param}[meter]")
    if meter is not None:
        if usage != "metered":
            raise invalid("You can only set a meter on a metered price.", f"{param}[meter]")
        found = books.named("billing.meter", meter, f"{param}[meter]")
        if found["status"] != "active":
            raise refused("The meter is not active.", f"{param}[meter]")
    return {
        "interval": interval,
        "interval_count": count,
        "meter": meter,
        "trial_period_days": given.get("trial_period_days"),
        "usage_type": usage,
    }


def _free_key(books: Books, key: str, own: str | None, *, transfer: bool) -> Obj | None:
    """The price that has to give the key up; refuses when it may not be taken."""
    for other in books.newest("price", lookup_key=key):
        if other["id"] == own:
            continue
        if not transfer:
            raise refused(f"A price (`{other['id']}`) already uses that lookup key.", "lookup_key")
        return other
    return None


def _give_up_key(books: Books, holder: Obj) -> None:
    before = books.before(holder)
    holder["lookup_key"] = None
    books.changed("price.updated", holder, before)


def update_price(books: Books, call: Call) -> Obj:
    """POST /v1/prices/{id}: all but the amount, the currency and the interval."""
    one, given = books.get("price", call.id), call.given
    key = given.get("lookup_key")
    if key:
        holder = _free_key(books, key, one["id"], transfer=given.get("transfer_lookup_key", False))
        if holder is not None:
            _give_up_key(books, holder)
    behavior = given.get("tax_behavior")
    if behavior is not None and one["tax_behavior"] not in {"unspecified", behavior}:
        raise refused("Once specified, the tax behavior of a price cannot be changed.", "tax_behavior")
    before = books.before(one)
    one.update(_plain(given, {"metadata", "transfer_lookup_key", "currency_options"}))
    one["metadata"] = merged(one["metadata"], given.get("metadata"))
    books.filed(one)
    books.changed("price.updated", one, before)
    return one


def list_prices(books: Books, call: Call) -> Obj:
    """GET /v1/prices: up to 10 lookup keys."""
    given, keys = call.given, call.given.get("lookup_keys")
    if keys is not None and len(keys) > MOST_KEYS:
        raise invalid("You can pass up to 10 lookup keys.", "lookup_keys")
    wanted = {name: given.get(name) for name in ("active", "currency", "product", "type")}
    recurring = given.get("recurring", {})
    return page(
        call,
        (
            one
            for one in books.newest("price", **wanted)
            if (keys is None or one["lookup_key"] in keys)
            and all(within(one["recurring"], name) == value for name, value in recurring.items())
        ),
    )
