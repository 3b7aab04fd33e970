"""What an id stands for: title, SKUs, prices in dollars, store. Made of the id alone, and the words it was found by."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from itertools import product as combinations
from typing import Final

from providers.testing.servers._aliexpress.categories import LEAVES, Category, path
from providers.testing.servers._aliexpress.traits import number, pick

FIRST_ID: Final = 1_000_000_000_000_000
END_ID: Final = 1_005_900_000_000_000
_TO_SUB: Final = 3_256_800_000_000_000 - 1_005_000_000_000_000
_FIRST_SKU: Final = 12_000_000_000_000_000

ABSENT_ENDING: Final = "0404"
_SPECIAL: Final = re.compile(r"0[45]\d\d$")
"""Endings that mean something to tests; no search finds them."""

_QUALITIES: Final = ("Portable", "New", "Mini", "Upgraded", "Original", "Foldable", "Durable", "Premium", "Classic")
_FEATURES: Final = ("for Home and Travel", "High Quality", "Gift Set", "2026 Version", "Fast Delivery", "Lightweight")
_COLOURS: Final = ((193, "Black", "Matte Black"), (29, "White", "Snow"), (173, "Blue", "Navy"), (10, "Red", "Ruby"))
_SIZES: Final = ((361386, "M"), (361385, "L"), (100014065, "XL"))
_STORES: Final = ("Audio", "Home", "Bright", "Sunny", "Golden", "Happy", "Smart", "Global", "Star", "Ocean")


@dataclass(frozen=True, slots=True)
class Trait:
    """One property of a SKU. ``own`` is the seller's name of the value, None where there is none."""

    id: int
    name: str
    value_id: int
    value: str
    own: str | None = None

    @property
    def attr(self) -> str:
        """As ``sku_attr`` has it."""
        return f"{self.id}:{self.value_id}" + (f"#{self.own}" if self.own else "")


@dataclass(frozen=True, slots=True)
class Sku:
    """One variant. ``price`` and ``list_price`` are dollars, before what a country adds."""

    id: str
    traits: tuple[Trait, ...]
    price: Decimal
    list_price: Decimal
    stock: int

    @property
    def attr(self) -> str:
        """``14:193#Matte Black;5:361386``; empty when the product has no properties."""
        return ";".join(trait.attr for trait in self.traits)


@dataclass(frozen=True, slots=True)
class Product:
    """One product; ``sold`` is how often."""

    id: int
    title: str
    category: Category
    skus: tuple[Sku, ...]
    sold: int
    rating: Decimal
    reviews: int
    positive: Decimal

    @property
    def sub_id(self) -> int:
        """Its id for buyers in the US."""
        return self.id + _TO_SUB

    @property
    def store_id(self) -> int:
        """Ten neighbouring ids are one store's."""
        return 1_100_000_000 + number("store", self.id // 10) % 90_000_000

    @property
    def store_name(self) -> str:
        """The store's name."""
        return f"{pick(_STORES, 'store', self.store_id)} {self.store_id % 1000:03} Store"

    @property
    def levels(self) -> tuple[Category, ...]:
        """Its categories, from the top down."""
        return path(self.category)

    def sku(self, sku_id: str) -> Sku | None:
        """A variant by its id."""
        return next((each for each in self.skus if each.id == sku_id), None)

    def sku_with(self, attr: str) -> Sku | None:
        """A variant by its ``sku_attr``, which may be empty where there is only one."""
        if not attr and len(self.skus) == 1:
            return self.skus[0]
        return next((each for each in self.skus if each.attr == attr), None)


def read_id(text: str) -> int | None:
    """The id of a product, by its own id or the one for the US; None where none can be."""
    if not (len(text) == 16 and text.isascii() and text.isdecimal()) or text.endswith(ABSENT_ENDING):
        return None
    given = int(text)
    main = given - _TO_SUB if given >= FIRST_ID + _TO_SUB else given
    return main if FIRST_ID <= main < END_ID and not str(main).endswith(ABSENT_ENDING) else None


def found_ids(words: str, category: Category | None, count: int) -> list[int]:
    """Ids that a query finds, always the same. Never one with an ending that means something."""
    leaf = category.id if category is not None else ""
    at = 1_005_000_000_000_000 + number("query", words, leaf) % 80_000_000 * 10_000
    found: list[int] = []
    while len(found) < count:
        at += 1
        if _SPECIAL.search(str(at)) is None:
            found.append(at)
    return found


@lru_cache(maxsize=20_000)
def build(product_id: int, words: str | None, leaf: Category | None) -> Product:
    """The product of an id; ``words`` and ``leaf`` are what it was found by."""
    category = leaf or pick(LEAVES, "leaf", product_id)
    noun = words or pick(category.nouns, "noun", product_id)
    title = f"{pick(_QUALITIES, 'quality', product_id)} {_titled(noun)}, {pick(_FEATURES, 'feature', product_id)}"
    base = Decimal(199 + number("price", product_id) % 4_800) / 100
    lists = base if number("sale", product_id) % 4 == 0 else base * 2
    sold = number("sold", product_id) % 5_000
    fresh = number("fresh", product_id) % 10 == 0
    return Product(
        id=product_id,
        title=title,
        category=category,
        skus=tuple(_skus(product_id, base, lists)),
        sold=0 if fresh else sold,
        rating=Decimal(40 + number("rating", product_id) % 11) / 10,
        reviews=0 if fresh else sold // 3,
        positive=Decimal(850 + number("positive", product_id) % 150) / 10,
    )


def _titled(words: str) -> str:
    return " ".join(word[:1].upper() + word[1:] for word in words.split())


def _skus(product_id: int, base: Decimal, lists: Decimal) -> list[Sku]:
    colours = _COLOURS[: number("colours", product_id) % 4]
    sizes = _SIZES if colours and number("sizes", product_id) % 3 == 0 else ()
    axes = [[Trait(14, "Color", *colour) for colour in colours]] if colours else []
    axes += [[Trait(5, "Size", *size) for size in sizes]] if sizes else []
    variants = list(combinations(*axes))[:9]
    skus: list[Sku] = []
    for place, traits in enumerate(variants):
        out = place > 0 and number("out", product_id, place) % 4 == 0
        more = Decimal(place) / 2
        skus.append(
            Sku(
                id=str(_FIRST_SKU + (product_id - FIRST_ID) * 10 + place + 1),
                traits=traits,
                price=base + more,
                list_price=lists + more,
                stock=0 if out else 20 + number("stock", product_id, place) % 400,
            )
        )
    return skus
