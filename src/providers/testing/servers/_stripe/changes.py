"""What a change of a subscription's items makes of the money: prorations by the second."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from providers.testing.servers._stripe import invoices
from providers.testing.servers._stripe.books import Books
from providers.testing.servers._stripe.call import Obj, absent, invalid, refused
from providers.testing.servers._stripe.catalog import price_of_data
from providers.testing.servers._stripe.dates import period_end
from providers.testing.servers._stripe.lifecycle import changed_title, cost, new_item
from providers.testing.servers._stripe.lists import listed

MOST_ITEMS = 20


@dataclass(slots=True)
class Change:
    """The items as they will be, the prorations, and whether the billing period starts anew (another interval)."""

    items: list[Obj]
    lines: list[Obj]
    restarts: bool


def planned(books: Books, one: Obj, given: list[Obj], *, behavior: str, at: int, param: str = "items") -> Change:
    """What ``items`` ask for; nothing is changed yet."""
    before = one["items"]["data"]
    after = [_copy(item) for item in before]
    for index, each in enumerate(given):
        alter(books, one, after, each, f"{param}[{index}]")
    if not after:
        raise refused("A subscription must have at least one active item.", param)
    if len(after) > MOST_ITEMS:
        raise refused(f"A subscription can have up to {MOST_ITEMS} items.", param)
    recurring = {
        (item["price"]["recurring"]["interval"], item["price"]["recurring"]["interval_count"]) for item in after
    }
    if len(recurring) > 1:
        message = "All prices on a subscription must have the same `recurring.interval` and `recurring.interval_count`."
        raise refused(message, param)
    if any(item["price"]["currency"] != one["currency"] for item in after):
        message = f"The price specified has another currency than the subscription ({one['currency']})."
        raise refused(message, param)
    old = before[0]["price"]["recurring"]
    restarts = recurring != {(old["interval"], old["interval_count"])} and one["status"] != "trialing"
    if restarts:
        (interval, count) = next(iter(recurring))
        for item in after:
            item.update(current_period_start=at, current_period_end=period_end(at, at, interval, count))
    start, end = before[0]["current_period_start"], before[0]["current_period_end"]
    if not start <= at <= end:
        message = "Cannot specify `proration_date` outside of the current period."
        raise refused(message, "proration_date")
    quiet = behavior == "none" or one["status"] == "trialing"
    lines = [] if quiet else _prorations(books, before, after, at, restarts=restarts)
    return Change(after, lines, restarts)


def _copy(item: Obj) -> Obj:
    return {**item, "metadata": dict(item["metadata"])}


def alter(books: Books, one: Obj, items: list[Obj], given: Obj, param: str) -> None:
    """Do to ``items`` what one entry of the parameter asks for: add, change or delete one."""
    price = _price(books, given, param)
    quantity = given.get("quantity")
    if quantity is not None and not 0 <= quantity <= 999_999:
        raise invalid(f"Invalid integer: {quantity}", f"{param}[quantity]", "parameter_invalid_integer")
    if "id" not in given:
        _add(books, one, items, price, quantity, param)
        return
    item = next((each for each in items if each["id"] == given["id"]), None)
    if item is None:
        raise refused(f"No such subscription item: '{given['id']}'", f"{param}[id]", "resource_missing")
    if given.get("deleted"):
        items.remove(item)
        return
    if price is not None:
        item["price"] = price
    item["quantity"] = _quantity(item["price"], quantity, item["quantity"], param)
    item["metadata"] |= given.get("metadata") or {}


def _price(books: Books, given: Obj, param: str) -> Obj | None:
    if "price" in given and "price_data" in given:
        raise invalid("You may only specify one of these parameters: price, price_data.", f"{param}[price]")
    if "price" in given:
        price = books.named("price", given["price"], f"{param}[price]")
        if not price["active"]:
            message = f"The price specified is inactive. This field only accepts active prices. ({price['id']})"
            raise refused(message, f"{param}[price]", "price_inactive")
    elif "price_data" in given:
        price = price_of_data(books, given["price_data"], f"{param}[price_data]")
    else:
        return None
    if price["recurring"] is None:
        message = (
            "The price specified is set to `type=one_time` but this field only accepts prices with `type=recurring`."
        )
        raise refused(message, f"{param}[price]")
    return price


def _add(books: Books, one: Obj, items: list[Obj], price: Obj | None, quantity: int | None, param: str) -> None:
    if price is None:
        raise absent(f"{param}[price]")
    if any(item["price"]["id"] == price["id"] for item in items):
        message = f"Cannot add multiple subscription items with the same plan: {price['id']}"
        raise refused(message, f"{param}[price]")
    first = one["items"]["data"][0]
    period = first["current_period_start"], first["current_period_end"]
    items.append(new_item(books, one["id"], price, _quantity(price, quantity, None, param), *period))


def _quantity(price: Obj, asked: int | None, before: int | None, param: str) -> int | None:
    if price["recurring"]["usage_type"] == "metered":
        if asked is not None:
            raise refused("Quantity should not be specified where usage_type is `metered`.", f"{param}[quantity]")
        return None
    return asked if asked is not None else before or 1


def _prorations(books: Books, before: list[Obj], after: list[Obj], at: int, *, restarts: bool) -> list[Obj]:
    """Credit for what is not used any more, then what the rest of the period costs."""
    lines: list[Obj] = []
    left = {item["id"]: item for item in after}
    old = {item["id"]: item for item in before}
    for item in before:
        other = left.get(item["id"])
        if restarts or other is None or _terms(item) != _terms(other):
            lines += _prorated(books, item, at, used=True)
    if not restarts:  # else the new period is billed as a whole
        for item in after:
            other = old.get(item["id"])
            if other is None or _terms(item) != _terms(other):
                lines += _prorated(books, item, at, used=False)
    return lines


def _terms(item: Obj) -> tuple[str, int | None]:
    return item["price"]["id"], item["quantity"]


def credit(books: Books, one: Obj, at: int) -> list[Obj]:
    """What a subscription that ends now gives back."""
    return [line for item in one["items"]["data"] for line in _prorated(books, item, at, used=True)]


def _prorated(books: Books, item: Obj, at: int, *, used: bool) -> list[Obj]:
    price, quantity = item["price"], item["quantity"]
    if price["recurring"]["usage_type"] == "metered":
        return []
    start, end = item["current_period_start"], item["current_period_end"]
    share = Decimal(end - at) / Decimal(end - start)
    amount = cost(price, quantity * share)
    text = changed_title(books, price, quantity, used=used, at=at)
    return [
        invoices.line(
            books, price, -amount if used else amount, text, (at, end), quantity=quantity, item=item, proration=True
        )
    ]


def applied(one: Obj, change: Change) -> None:
    """Put the items in place."""
    one["items"] = listed(change.items, one["items"]["url"])
    if change.restarts:
        one["billing_cycle_anchor"] = change.items[0]["current_period_start"]
