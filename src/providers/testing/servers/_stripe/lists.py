"""Pages of objects, and ``expand``: an object where its id stands."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from providers.testing.servers._stripe.call import Call, Obj, invalid, is_list, is_object

if TYPE_CHECKING:
    from providers.testing.servers._stripe.books import Books

DEFAULT_LIMIT, MAX_LIMIT, MAX_DEPTH = 10, 100, 4

_KINDS: Final = {
    "customer": "customer",
    "product": "product",
    "price": "price",
    "default_price": "price",
    "subscription": "subscription",
    "latest_invoice": "invoice",
    "invoice": "invoice",
    "payment_intent": "payment_intent",
    "latest_charge": "charge",
    "charge": "charge",
    "payment_method": "payment_method",
    "default_payment_method": "payment_method",
}


def listed(data: list[Obj], url: str, *, has_more: bool = False) -> Obj:
    """A list object."""
    return {"object": "list", "data": data, "has_more": has_more, "url": url}


def page(call: Call, found: Iterable[Obj]) -> Obj:
    """The page of ``found`` (newest first) that limit, starting_after, ending_before and created ask for."""
    given = call.given
    limit = given.get("limit", DEFAULT_LIMIT)
    if not 1 <= limit <= MAX_LIMIT:
        message = f"Invalid integer: {limit}; must be at {'least 1' if limit < 1 else 'most 100'}"
        raise invalid(message, "limit", "parameter_invalid_integer")
    after, before = given.get("starting_after"), given.get("ending_before")
    if after is not None and before is not None:
        raise invalid("You may only specify one of these parameters: starting_after, ending_before.")
    fitting = (one for one in found if in_range(one.get("created", 0), given.get("created")))
    if after is None and before is None:
        members = list(islice(fitting, limit + 1))
        return listed(members[:limit], call.url, has_more=len(members) > limit)
    members = list(fitting)
    if before is not None:
        end = _place(members, before, "ending_before")
        start = max(end - limit, 0)
        return listed(members[start:end], call.url, has_more=start > 0)
    start = _place(members, after or "", "starting_after") + 1
    return listed(members[start : start + limit], call.url, has_more=len(members) > start + limit)


def _place(members: list[Obj], name: str, param: str) -> int:
    for index, one in enumerate(members):
        if one["id"] == name:
            return index
    raise invalid(f"No such object: '{name}'", param, "resource_missing")


def in_range(moment: int, wanted: object) -> bool:
    """Whether a time is the one asked for, or within the range."""
    if wanted is None:
        return True
    if isinstance(wanted, int):
        return moment == wanted
    if not is_object(wanted):
        return False
    return bool(
        moment > wanted.get("gt", -1)
        and moment >= wanted.get("gte", 0)
        and moment < wanted.get("lt", moment + 1)
        and moment <= wanted.get("lte", moment)
    )


def expanded(books: Books, one: Obj, paths: Iterable[str]) -> Obj:
    """A copy with the objects that ``paths`` ask for in place of their ids."""
    for path in paths:
        parts = path.split(".")
        if len(parts) > MAX_DEPTH:
            raise invalid("You cannot expand more than 4 levels of a property.", "expand")
        one = _expanded(books, one, parts, path)
    return one


def _expanded(books: Books, value: Any, parts: list[str], path: str) -> Any:  # noqa: ANN401 - any part of an object
    if not parts or value is None:
        return value
    if is_list(value):
        return [_expanded(books, each, parts, path) for each in value]
    if not is_object(value):
        raise _closed(path)
    name, rest = parts[0], parts[1:]
    inner = value.get(name)
    if isinstance(inner, str):
        kind = _KINDS.get(name)
        found = books.tables[kind].get(inner) if kind else None
        if found is None:
            raise _closed(path)
        inner = found
    elif inner is None and (kept := _included(books, value, name)) is not None:
        inner = kept
    elif name not in value and value.get("object") is not None and not value.get("deleted"):
        raise _closed(path)
    return {**value, name: _expanded(books, inner, rest, path)}


def _included(books: Books, one: Obj, name: str) -> Obj | None:
    kind = one.get("object")
    if (kind, name) == ("checkout.session", "line_items"):
        return listed(books.hidden[one["id"]]["line_items"], f"/v1/checkout/sessions/{one['id']}/line_items")
    if (kind, name) == ("invoice", "payments"):
        return listed([*books.newest("invoice_payment", invoice=one["id"])], f"/v1/invoices/{one['id']}/payments")
    if (kind, name) == ("charge", "refunds"):
        return listed([*books.newest("refund", charge=one["id"])], f"/v1/charges/{one['id']}/refunds")
    if (kind, name) == ("customer", "subscriptions"):
        current = [each for each in books.newest("subscription", customer=one["id"]) if each["ended_at"] is None]
        return listed(current, f"/v1/customers/{one['id']}/subscriptions")
    return None


def _closed(path: str) -> Exception:
    return invalid(f"This property cannot be expanded ({path}).", "expand")
