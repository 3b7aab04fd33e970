"""One list out of several suppliers' lists, page by page: pure arithmetic, so that pages never overlap or skip."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import partial
from heapq import merge
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from providers.sourcing.models import Product

Totals = Mapping[str, int]
"""How many each supplier has, in the order they take turns."""


def counts(totals: Totals, position: int) -> dict[str, int]:
    """How many of each supplier's items stand before a position of the merged list.

    They take turns, one item each; who has no more is passed over.
    """
    low, high = 0, max(totals.values(), default=0)
    while low < high:
        middle = (low + high + 1) // 2
        if sum(min(total, middle) for total in totals.values()) <= position:
            low = middle
        else:
            high = middle - 1
    left = position - sum(min(total, low) for total in totals.values())
    taken: dict[str, int] = {}
    for source, total in totals.items():
        more = int(total > low and left > 0)
        taken[source] = min(total, low) + more
        left -= more
    return taken


def turns(totals: Totals, start: int, stop: int) -> Iterator[tuple[str, int]]:
    """Which supplier's item, by its place in that one's own list from 0, stands at each position of the window."""
    taken = counts(totals, start)
    position = start
    while position < stop:
        # The round that is under way: those who are behind have not had their turn in it.
        behind = min((taken[source] for source, total in totals.items() if taken[source] < total), default=None)
        if behind is None:
            return
        for source, total in totals.items():
            if taken[source] == behind < total and position < stop:
                yield source, behind
                taken[source] += 1
                position += 1


def price_key(product: Product, *, down: bool) -> tuple[bool, Decimal]:
    """What sorts by price; those without one come last."""
    price = product.price
    if price is None:
        return True, Decimal(0)
    return False, -price.amount if down else price.amount


def by_price(lists: Sequence[Sequence[Product]], *, down: bool) -> list[Product]:
    """Lists that are each sorted by price as one.

    One that is not quite keeps its order all the same: what is read of it later must not move what stands before.
    """
    return list(merge(*lists, key=partial(price_key, down=down)))
