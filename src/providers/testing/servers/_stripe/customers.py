"""Customers and their cards."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from providers.testing.servers._stripe.books import Books
from providers.testing.servers._stripe.call import Call, Obj, RefusalError, Route, invalid, refused, unknown_object
from providers.testing.servers._stripe.lists import page
from providers.testing.servers._stripe.shapes import Shape, listing, merged, shape

_COMMON: Final = """
address?{city? country? line1? line2? postal_code? state?} balance:i business_name? description? email?
individual_name? invoice_prefix invoice_settings:x metadata:m name? next_invoice_sequence:i phone? preferred_locales[]
shipping:x source tax:x tax_exempt?:none|exempt|reverse cash_balance:x validate:b
"""
_CREATE: Final = shape(_COMMON + "payment_method tax_id_data:x test_clock")
_UPDATE: Final = shape(_COMMON + "default_source")
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")
_QUERY: Final = re.compile(
    r"""\s*(?:(email|name|phone)|metadata\[(?P<q>['"])(?P<key>.*?)(?P=q)\])\s*:\s*(['"])(?P<value>.*?)\4\s*"""
)

VISA, DECLINED, LATER, SECURE = (
    "pm_card_visa",
    "pm_card_chargeDeclined",
    "pm_card_chargeCustomerFail",
    "pm_card_threeDSecure2Required",
)
CARDS: Final = {
    VISA: "4242",
    "pm_card_mastercard": "4444",
    DECLINED: "0002",
    "pm_card_chargeDeclinedInsufficientFunds": "9995",
    LATER: "0341",
    SECURE: "3220",
}
"""The cards there are, by the name of their test payment method: their last digits."""


def routes() -> Iterable[Route]:
    """Endpoints."""
    base = "/v1/customers"
    yield Route("POST", base, _CREATE, create)
    yield Route("GET", base, listing("email test_clock"), list_all)
    yield Route("GET", base + "/search", shape("query! limit:i page"), search)
    yield Route("GET", base + "/{id}", shape(""), retrieve)
    yield Route("POST", base + "/{id}", _UPDATE, update)
    yield Route("DELETE", base + "/{id}", shape(""), delete)


def create(books: Books, call: Call) -> Obj:
    """POST /v1/customers."""
    given = call.given
    name = books.new_id("cus")
    one: Obj = {
        "id": name,
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": books.now,
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "email": None,
        "invoice_prefix": name[-8:].upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": books.livemode,
        "metadata": {},
        "name": None,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }
    _apply(one, given)
    books.add(one)
    if "payment_method" in given:
        attach(books, one, given["payment_method"])
    books.emit("customer.created", one)
    return one


def _apply(one: Obj, given: Obj) -> None:
    email = given.get("email")
    if email and (len(email) > 512 or not _EMAIL.fullmatch(email)):
        raise invalid(f"Invalid email address: {email}", "email", "email_invalid")
    for name in ("name", "business_name", "individual_name"):
        if len(given.get(name) or "") > 256:
            raise invalid(f"Invalid string: {given[name][:10]}...; must be at most 256 characters", name)
    if len(given.get("phone") or "") > 20:
        raise invalid(f"Invalid string: {given['phone'][:10]}...; must be at most 20 characters", "phone")
    for name, value in given.items():
        if name == "metadata":
            one[name] = merged(one[name], value)
        elif name == "invoice_settings":
            one[name] = {**one[name], **value}
        elif name == "address" and value:
            parts = ("city", "country", "line1", "line2", "postal_code", "state")
            one[name] = {part: value.get(part) or None for part in parts}
        elif name not in {"payment_method", "expand", "validate", "tax_id_data", "source"}:
            one[name] = None if value == "" else value


def retrieve(books: Books, call: Call) -> Obj:
    """GET /v1/customers/{id}: a deleted one says no more than that."""
    return books.get("customer", call.id)


def update(books: Books, call: Call) -> Obj:
    """POST /v1/customers/{id}."""
    one = living(books, call.id, "id", status=404)
    before = books.before(one)
    _apply(one, call.given)
    chosen = one["invoice_settings"]["default_payment_method"]
    if chosen and chosen not in books.tables["payment_method"]:
        one["invoice_settings"]["default_payment_method"] = before["invoice_settings"]["default_payment_method"]
        attach(books, one, chosen)
    books.filed(one)
    books.changed("customer.updated", one, before)
    return one


def delete(books: Books, call: Call) -> Obj:
    """DELETE /v1/customers/{id}: their subscriptions end."""
    from providers.testing.servers._stripe.lifecycle import end

    one = living(books, call.id, "id", status=404)
    for each in [*books.newest("subscription", customer=call.id)]:
        if each["ended_at"] is None:
            end(books, each, reason="cancellation_requested")
    gone: Obj = {"id": call.id, "object": "customer", "deleted": True}
    books.tables["customer"][call.id] = gone
    books.emit("customer.deleted", one)
    return gone


def list_all(books: Books, call: Call) -> Obj:
    """GET /v1/customers: by e-mail, to the letter."""
    found = books.newest("customer", email=call.given.get("email"))
    return page(call, (one for one in found if not one.get("deleted")))


def search(books: Books, call: Call) -> Obj:
    """GET /v1/customers/search: ``field:'value'`` and ``metadata['key']:'value'``, joined by AND."""
    clauses: list[tuple[str | None, str | None, str]] = []
    for part in re.split(r"\s+AND\s+", call.given["query"]):
        fits = _QUERY.fullmatch(part)
        if fits is None:
            raise invalid(f"We were unable to parse your search query: {part}", "query")
        clauses.append((fits[1], fits["key"], fits["value"]))
    found = [
        one
        for one in books.newest("customer")
        if not one.get("deleted")
        and all((one["metadata"].get(key) if key else one.get(name or "")) == value for name, key, value in clauses)
    ]
    limit = call.given.get("limit", 10)
    start = int(call.given.get("page", "0"))
    more = len(found) > start + limit
    return {
        "object": "search_result",
        "data": found[start : start + limit],
        "has_more": more,
        "next_page": str(start + limit) if more else None,
        "url": call.url,
    }


def living(books: Books, name: str, param: str = "customer", *, status: int = 400) -> Obj:
    """A customer that was not deleted."""
    one = books.get("customer", name, param, status=status)
    if one.get("deleted"):
        raise unknown_object("customer", name, param, status=status)
    return one


# Cards.


def attach(books: Books, customer: Obj, card: str) -> Obj:
    """Give a customer a card, to be charged from now on."""
    if card not in CARDS:
        raise refused(f"No such PaymentMethod: '{card}'", "payment_method", "resource_missing")
    if card == DECLINED:
        raise declined(card)
    method: Obj = {
        "id": books.new_id("pm"),
        "object": "payment_method",
        "billing_details": {"address": None, "email": customer["email"], "name": customer["name"], "phone": None},
        "card": {"brand": "visa", "last4": CARDS[card], "exp_month": 12, "exp_year": 2034, "funding": "credit"},
        "created": books.now,
        "customer": customer["id"],
        "livemode": books.livemode,
        "metadata": {},
        "type": "card",
    }
    books.add(method)
    books.hidden[method["id"]]["card"] = card
    customer["invoice_settings"]["default_payment_method"] = method["id"]
    books.emit("payment_method.attached", method)
    return method


def card_of(books: Books, customer: Obj, subscription: Obj | None = None) -> tuple[str, str] | None:
    """The card that is charged: payment method id and its name; None when the customer has none."""
    chosen = (subscription or {}).get("default_payment_method") or customer["invoice_settings"][
        "default_payment_method"
    ]
    if chosen is None:
        return None
    return chosen, books.hidden[chosen]["card"]


def declined(card: str, **more: Any) -> RefusalError:  # noqa: ANN401 - members of the error
    """What the bank says."""
    poor = card == "pm_card_chargeDeclinedInsufficientFunds"
    return refused(
        "Your card has insufficient funds." if poor else "Your card was declined.",
        None,
        "card_declined",
        status=402,
        kind="card_error",
        decline_code="insufficient_funds" if poor else "generic_decline",
        **more,
    )


SHAPES: Final[dict[str, Shape]] = {"CustomerCreateParams": _CREATE, "CustomerUpdateParams": _UPDATE}
