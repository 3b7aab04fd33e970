"""The tree of categories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from providers.testing.servers._aliexpress.traits import pick


@dataclass(frozen=True, slots=True)
class Category:
    """One category; ``parent`` is None at the top. ``nouns`` are what its products are called."""

    id: int
    name: str
    parent: int | None = None
    nouns: tuple[str, ...] = ()


CATEGORIES: Final = (
    Category(44, "Consumer Electronics"),
    Category(200010196, "Portable Audio & Video", 44),
    Category(63705, "Earphones & Headphones", 200010196, ("Wireless Earbuds", "Headphones", "Earphones")),
    Category(518, "Speakers", 200010196, ("Bluetooth Speaker", "Soundbar")),
    Category(200002398, "Smart Electronics", 44, ("Smart Watch", "Fitness Tracker", "Smart Plug")),
    Category(15, "Home & Garden"),
    Category(200000920, "Kitchen, Dining & Bar", 15, ("Kitchen Knife", "Coffee Grinder", "Spice Rack", "Mug")),
    Category(3710, "Home Decor", 15, ("Wall Clock", "Candle Holder", "Picture Frame", "Vase")),
    Category(39, "Lights & Lighting"),
    Category(390501, "LED Lamps", 39, ("LED Strip", "Night Light", "Desk Lamp", "String Lights")),
    Category(66, "Beauty & Health"),
    Category(660103, "Skin Care", 66, ("Face Roller", "Makeup Brush", "Hair Dryer")),
    Category(18, "Sports & Entertainment"),
    Category(200001115, "Fitness", 18, ("Yoga Mat", "Resistance Band", "Water Bottle")),
    Category(200001095, "Camping & Hiking", 18, ("Camping Lantern", "Tent", "Hiking Backpack")),
    Category(200003482, "Apparel & Accessories"),
    Category(200000345, "Clothing", 200003482, ("T-Shirt", "Hoodie", "Summer Dress", "Jacket", "Socks")),
    Category(1524, "Luggage & Bags", 200003482, ("Backpack", "Wallet", "Crossbody Bag", "Handbag")),
    Category(26, "Toys & Hobbies"),
    Category(2621, "Building Toys", 26, ("Building Blocks", "Puzzle", "Model Kit", "Plush Toy")),
    Category(100006664, "Pet Products"),
    Category(200002088, "Dog & Cat Supplies", 100006664, ("Dog Leash", "Cat Toy", "Pet Bed", "Pet Hair Remover")),
    Category(509, "Phones & Telecommunications"),
    Category(5090301, "Phone Accessories", 509, ("Phone Case", "Phone Stand", "USB C Cable", "Power Bank")),
)
LEAVES: Final = tuple(each for each in CATEGORIES if each.nouns)
_BY_ID: Final[Mapping[int, Category]] = {each.id: each for each in CATEGORIES}


def category(number: int) -> Category | None:
    """A category by its id."""
    return _BY_ID.get(number)


def path(leaf: Category) -> tuple[Category, ...]:
    """From the top down to a category."""
    above = _BY_ID.get(leaf.parent or 0)
    return (*path(above), leaf) if above is not None else (leaf,)


def below(top: Category) -> tuple[Category, ...]:
    """The leaves of a category; itself when it is one."""
    return tuple(leaf for leaf in LEAVES if top in path(leaf))


def of_words(words: str) -> Category:
    """The leaf that a query means: the one that has most of its words, any one where none has."""
    wanted = {word.rstrip("s") for word in words.lower().split()}

    def shared(leaf: Category) -> int:
        known = " ".join((leaf.name, *leaf.nouns)).lower().replace("-", " ").split()
        return len(wanted & {word.rstrip("s") for word in known})

    most = max(LEAVES, key=shared)
    return most if shared(most) else pick(LEAVES, "category", words)
