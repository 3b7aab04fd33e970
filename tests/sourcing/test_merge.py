"""Several suppliers' lists as one: no page overlaps another, none skips anything."""

from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from providers import Money, Ref
from providers.sourcing import Product, merge

TOTALS = st.dictionaries(st.sampled_from("abcde"), st.integers(0, 60), min_size=1)
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def everything(totals):
    """The merged list, one turn after the other, as one would do it by hand."""
    taken = dict.fromkeys(totals, 0)
    found = []
    while any(taken[source] < total for source, total in totals.items()):
        for source, total in totals.items():
            if taken[source] < total:
                found.append((source, taken[source]))
                taken[source] += 1
    return found


@given(TOTALS, st.integers(1, 30))
def test_pages_one_after_the_other_are_the_whole_list(totals, size):
    whole = everything(totals)
    pages = [list(merge.turns(totals, start, start + size)) for start in range(0, len(whole) + size, size)]
    assert [item for page in pages for item in page] == whole
    assert all(len(page) == size for page in pages[: len(whole) // size])


@given(TOTALS, st.integers(0, 400))
def test_counts_before_a_position_are_those_of_the_list_up_to_it(totals, position):
    before = Counter(source for source, _ in everything(totals)[:position])
    assert merge.counts(totals, position) == {source: before[source] for source in totals}


def test_a_list_whose_end_nobody_knows_is_no_work():
    totals = {"a": 10**9, "b": 3}
    assert list(merge.turns(totals, 10**6, 10**6 + 2)) == [("a", 10**6 - 3), ("a", 10**6 - 2)]


def product(number, price):
    money = None if price is None else Money(amount=Decimal(price), currency="USD")
    ref = Ref(vendor="demo", id=f"manual-{number}")
    return Product(ref=ref, source="manual", source_id=str(number), title="x", url="u", price=money, fetched_at=NOW)


PRICES = st.lists(st.one_of(st.none(), st.integers(0, 50)), max_size=8)


@given(st.lists(PRICES, min_size=1, max_size=4), st.booleans())
def test_lists_sorted_by_price_are_one_sorted_list_with_the_unpriced_last(lists, down):
    products = [
        sorted(
            (product((i, j), price) for j, price in enumerate(prices)), key=lambda one: merge.price_key(one, down=down)
        )
        for i, prices in enumerate(lists)
    ]
    merged = merge.by_price(products, down=down)
    prices = [one.price.amount for one in merged if one.price is not None]
    assert prices == sorted(prices, reverse=down)
    assert [one.price for one in merged[len(prices) :]] == [None] * (len(merged) - len(prices))
    assert Counter(one.ref for one in merged) == Counter(one.ref for some in products for one in some)


@given(st.lists(PRICES, min_size=1, max_size=4), st.lists(PRICES, min_size=4, max_size=4), st.booleans())
def test_what_is_read_later_of_a_list_moves_nothing_before_it(lists, more, down):
    first = [[product((i, j), price) for j, price in enumerate(prices)] for i, prices in enumerate(lists)]
    later = [
        [*one, *(product((i, "later", j), price) for j, price in enumerate(added))]
        for i, (one, added) in enumerate(zip(first, more, strict=False))
    ]
    shortest = min(map(len, first))
    before, after = (merge.by_price(each, down=down) for each in (first, later))
    assert before[:shortest] == after[:shortest]
