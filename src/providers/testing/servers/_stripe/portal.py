"""Sessions of the customer portal, the balance, the account, events: what is only read or shown."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Final

from providers.testing.servers._stripe.books import Books
from providers.testing.servers._stripe.call import Call, Obj, Route, absent, invalid, unknown_object
from providers.testing.servers._stripe.customers import living
from providers.testing.servers._stripe.lists import page
from providers.testing.servers._stripe.shapes import Shape, listing, shape

_CREATE: Final = shape(
    "after_expiration:x configuration customer customer_account flow_data:x locale on_behalf_of return_url"
)
SHAPES: Final[dict[str, Shape]] = {"billing_portal.SessionCreateParams": _CREATE}
CONFIGURATION: Final = "bpc_local000000000000000000"


def routes() -> Iterable[Route]:
    """Endpoints."""
    yield Route("POST", "/v1/billing_portal/sessions", _CREATE, create)
    yield Route("GET", "/v1/balance", shape(""), balance)
    yield Route("GET", "/v1/account", shape(""), account)
    yield Route("GET", "/v1/events", listing("delivery_success:b type types[]"), events)
    yield Route("GET", "/v1/events/{id}", shape(""), event)


def create(books: Books, call: Call) -> Obj:
    """POST /v1/billing_portal/sessions."""
    given = call.given
    if "customer" not in given:
        raise absent("customer")
    customer = living(books, given["customer"])
    url = given.get("return_url")
    if url is not None and not url.startswith(("http://", "https://")):
        raise invalid("Not a valid URL", "return_url", "url_invalid")
    token = secrets.token_hex(16)
    one: Obj = {
        "id": books.new_id("bps"),
        "object": "billing_portal.session",
        "configuration": given.get("configuration", CONFIGURATION),
        "created": books.now,
        "customer": customer["id"],
        "flow": given.get("flow_data"),
        "livemode": books.livemode,
        "locale": given.get("locale"),
        "on_behalf_of": given.get("on_behalf_of"),
        "return_url": url,
        "url": f"{books.url}/p/session/{token}",
    }
    books.add(one)
    books.hidden["portals"][token] = one["id"]
    books.emit("billing_portal.session.created", one)
    return one


def balance(books: Books, _call: Call) -> Obj:
    """GET /v1/balance: what charges left after refunds, by currency; without the vendor's fees."""
    sums: dict[str, int] = {}
    for each in books.tables["charge"].values():
        if each["paid"]:
            sums[each["currency"]] = sums.get(each["currency"], 0) + each["amount"] - each["amount_refunded"]
    found = [
        {"amount": amount, "currency": currency, "source_types": {"card": amount}}
        for currency, amount in sorted((sums or {"usd": 0}).items())
    ]
    return {"object": "balance", "available": found, "livemode": books.livemode, "pending": []}


def account(books: Books, _call: Call) -> Obj:
    """GET /v1/account."""
    return {
        "id": books.account or "acct_local0000000000",
        "object": "account",
        "charges_enabled": True,
        "country": "US",
        "default_currency": "usd",
        "details_submitted": True,
        "email": None,
        "payouts_enabled": True,
        "type": "standard",
    }


def events(books: Books, call: Call) -> Obj:
    """GET /v1/events, newest first."""
    given = call.given
    kind, kinds = given.get("type"), given.get("types")
    if kind is not None and kinds is not None:
        raise invalid("You may only specify one of these parameters: type, types.", "type")
    found = (
        each
        for each in reversed(books.events)
        if (kinds is None or each.type in kinds)
        and (kind is None or each.type == kind or (kind.endswith("*") and each.type.startswith(kind[:-1])))
    )
    shown = page(call, ({"id": each.id, "created": each.created, "event": each} for each in found))
    return {**shown, "data": [each["event"].payload() for each in shown["data"]]}


def event(books: Books, call: Call) -> Obj:
    """GET /v1/events/{id}."""
    for each in books.events:
        if each.id == call.id:
            return each.payload()
    raise unknown_object("event", call.id)
