"""The made-up shop that all demos share: the same for ever, for everybody, whatever is asked."""

import subprocess
import sys
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.demo import world
from providers.demo.world_goods import KINDS

HOUR, DAY = 3_600.0, 86_400.0
NOW = 1_795_359_600.0

numbers = st.integers(min_value=0, max_value=world.NUMBERS - 1)


@given(numbers)
def test_every_number_is_a_product_and_always_the_same(number):
    item = world.item(number)
    assert item == world.item.__wrapped__(number)
    assert item.number == number
    assert item.title.startswith(item.name) or item in world.SHOP
    assert 20 <= len(item.title) <= 200
    assert item.keyword.lower() in item.title.lower()
    assert len(item.path) == 3
    assert 0 < item.base_price < item.retail_price
    assert item.weight_grams > 0
    assert 4 <= item.rating < 5
    assert 0 <= item.review_count <= item.order_count
    assert 3 <= len(set(item.images)) == len(item.images) <= 5
    assert all(url.startswith("https://images.example.com/") for url in item.images)
    assert item.name in item.description
    assert "{" not in item.description
    assert 80 <= item.positive_percent < 100


@given(st.text(max_size=60))
def test_every_text_is_some_product_s_number(text):
    assert 0 <= world.number_of(text) < world.NUMBERS
    assert world.number_of(f" {text.upper()} ") == world.number_of(text.upper())


def test_digits_are_their_own_number_and_other_ids_have_one_each():
    assert world.number_of("1005604123011000") == 604123011000
    assert world.number_of("0000000000000000007") == 7
    uuids = [f"{index:08X}-1C6E-4F0A-9B7E-000000000000" for index in range(500)]
    assert len({world.number_of(one) for one in uuids}) == 500
    assert world.number_of(uuids[3]) == world.number_of(uuids[3].lower())


@pytest.mark.parametrize(
    "words",
    ["yoga mat", "lamp", "Purple YOGA MAT for travel", "vinyl record cleaner", "瑜伽垫", "детская коляска", "x"],
)
def test_a_search_finds_what_holds_all_the_words(words):
    found = world.found(words)
    assert world.FEWEST <= len(found.numbers) <= world.MOST + len(world.SHOP)
    assert len(set(found.numbers)) == len(found.numbers)
    items = world.find(words, limit=500)
    assert [item.number for item in items] == list(found.numbers)
    for item in items:
        title = item.title.lower()
        assert all(word in title for word in words.lower().split())
    assert world.find(words, offset=10, limit=15) == items[10:25]
    # By its number, and the words where the number does not tell.
    for item in items[:30]:
        assert world.item.__wrapped__(item.number, found.words) == item
        assert (world.code_of(item.number) is None) == (not found.words or item in world.SHOP)
    assert len({item.title for item in items}) > 20


@given(st.text(max_size=300))
def test_any_words_find_something_and_nothing_that_chooses_an_outcome(words):
    found = world.found(words)
    assert len(found.numbers) >= world.FEWEST
    # The endings below 1000 are what demos go by.
    assert all(number % 10_000 >= 1000 for number in found.numbers)
    first = world.item(found.numbers[-1], found.words)
    assert len(first.title) < 300


def test_what_was_searched_for_is_named_only_with_its_own_words():
    found = world.found("vinyl record cleaner")
    number = found.numbers[0]
    assert "Vinyl Record Cleaner" in world.item(number, found.words).title
    assert "Vinyl" not in world.item(number).title
    assert world.item(number, "bath mat") == world.item(number)


def test_the_shop_s_own_products_come_first():
    assert len(world.SHOP) == 24
    assert len({item.number for item in world.SHOP}) == 24
    for item in world.SHOP:
        assert world.item(item.number) is item
        assert world.find(item.keyword)[0] is item
        assert item.retail_price > 2 * item.base_price
        assert item.handle
        assert item.handle.isascii()


@given(numbers, st.floats(min_value=0, max_value=4e9))
def test_prices_move_by_the_hour_a_little_and_steadily(number, moment):
    item = world.item(number)
    hour = moment // HOUR * HOUR
    price = world.price(item, moment)
    assert price == world.price(item, hour) == world.price(item, hour + HOUR - 1)
    assert abs(price / item.base_price - 1) <= Decimal("0.05")
    after = world.price(item, hour + HOUR)
    assert abs(after - price) <= max(item.base_price / 200, Decimal("0.01"))
    kinds = world.variants(item.options)
    assert all(world.price(item, moment, place) >= price for place in range(len(kinds)))


def test_prices_do_move():
    moved = {world.price(world.SHOP[0], NOW + day * DAY) for day in range(30)}
    assert len(moved) > 10


@given(numbers, st.floats(min_value=0, max_value=4e9))
def test_the_first_variant_is_always_in_stock(number, moment):
    item = world.item(number)
    assert world.stock(item, moment) > 0
    left = [world.stock(item, moment, place) for place in range(len(world.variants(item.options)))]
    assert all(0 <= count <= 2000 for count in left)
    assert world.stock(item, moment) == world.stock(item, moment // HOUR * HOUR)


def test_stock_falls_for_a_week_and_is_filled_up():
    item = world.SHOP[3]
    week = [world.stock(item, NOW + hour * HOUR) for hour in range(168)]
    assert week == [world.stock(item, NOW + (168 + hour) * HOUR) for hour in range(168)]
    rises = sum(after > before for before, after in pairwise(week))
    assert rises <= 1
    assert len(set(week)) > 20


def test_variants_are_all_combinations_and_larger_ones_cost_more():
    for kind in KINDS:
        combined = world.variants(kind.options)
        assert len({tuple(one.items()) for one in combined}) == len(combined) > 1
        assert list(combined[0]) == [option.name for option in kind.options]
        steps = world.steps(kind.options)
        assert len(steps) == len(combined)
        assert (steps[0], max(steps)) == (0, steps[-1])


def test_ways_to_ship_depend_on_weight_and_distance():
    light, heavy = world.item(604123371000), world.item(604123171000)
    for country in ("US", "DE", "BR", "JP", "NZ", "ZA", "CN", "XX"):
        ways = world.ways([(light, 1)], country)
        assert ways
        assert [way.cost for way in ways] == sorted(way.cost for way in ways)
        assert all(0 < way.days_min < way.days_max for way in ways)
        assert any(way.tracked for way in ways)
    express = {way.code: way.cost for way in world.ways([(light, 1)], "US")}["express"]
    more = {way.code: way.cost for way in world.ways([(light, 1), (heavy, 2)], "US")}
    assert more["express"] > express
    assert "economy" not in more
    assert all(world.ways([(light, 1)], country) == () for country in world.CLOSED)


def test_money_is_exchanged_to_its_smallest_unit():
    assert world.exchange(Decimal("10.00"), "USD") == Decimal("10.00")
    assert world.exchange(Decimal("10.00"), "EUR") == Decimal("8.64")
    assert str(world.exchange(Decimal("10.01"), "JPY")) == "1562"
    assert str(world.exchange(Decimal("10.00"), "KWD")) == "3.070"
    with pytest.raises(KeyError):
        world.exchange(Decimal(1), "XXX")


def test_categories_are_a_tree_that_every_product_is_in():
    tree = world.categories()
    assert len({one.id for one in tree}) == len(tree)
    seen = set()
    for one in tree:
        assert one.parent_id is None or one.parent_id in seen
        seen.add(one.id)
    for number in range(0, world.NUMBERS, world.NUMBERS // 300):
        item = world.item(number)
        assert set(item.category_ids) <= seen
        assert item.category_ids[-1] == item.category_id


def test_it_is_imported_without_pydantic():
    code = "import sys, providers.demo.world; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
