"""What the local CJ sells: a product follows from its id alone, its name also from the words it was found by.

Any id of 19 digits or any UUID is a product. The id of a variant is that of its product with one digit moved on by
its place, so that it can be read back where that digit of the product is 0, as in all ids that a search gives.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from providers.testing.servers._cjdropshipping.call import Obj

GONE: Final = "0404"
OFF: Final = "0410"
"""Last four characters of the ids of products that are unknown, and off the shelves."""

_DIGITS: Final = re.compile(r"[1-9]\d{18}", re.ASCII)
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
_CREATED: Final = datetime(2024, 1, 1, tzinfo=UTC).timestamp()
_SPAN: Final = int(datetime(2026, 10, 1, tzinfo=UTC).timestamp() - _CREATED)

_COLOURS: Final = ("Black", "White", "Blue", "Red", "Green", "Grey")
_SIZES: Final = ("S", "M", "L")
_ADJECTIVES: Final = ("Foldable", "Portable", "Mini", "Classic", "Upgraded", "Compact", "Waterproof", "Adjustable")
_TAILS: Final = ("with Storage Bag", "for Travel", "for Home", "with Gift Box", "for Outdoor", "Set")


@dataclass(frozen=True, slots=True)
class Category:
    """A place in the tree; ``words`` are what its things are called."""

    first: str
    second: str
    name: str
    words: tuple[str, ...]
    id: str
    second_id: str
    first_id: str


_TREE: Final = """
Consumer Electronics > Portable Audio > Earphones & Headphones: earbuds, earphones, headphones, headset
Consumer Electronics > Portable Audio > Speakers: speaker, soundbar
Consumer Electronics > Smart Electronics > Wearable Devices: watch, tracker, band, ring
Phones & Accessories > Mobile Phone Accessories > Holders & Stands: stand, holder, mount
Phones & Accessories > Mobile Phone Accessories > Phone Cases: case, cover
Phones & Accessories > Chargers > Chargers & Cables: charger, cable, adapter
Home, Garden & Furniture > Kitchen, Dining & Bar > Drinkware: bottle, mug, cup, tumbler
Home, Garden & Furniture > Kitchen, Dining & Bar > Kitchen Tools: knife, peeler, scale, grater
Home, Garden & Furniture > Home Decor > Lamps: lamp, light, lantern, lights
Home, Garden & Furniture > Home Textiles > Bedding: blanket, pillow, sheet
Pet Supplies > Pet Products > Pet Toys: toy, ball, rope
Pet Supplies > Pet Products > Pet Grooming: brush, comb, clipper
Sports & Outdoors > Fitness & Bodybuilding > Yoga: mat, strap, block
Sports & Outdoors > Camping & Hiking > Tents & Bags: tent, backpack, bag
Bags & Shoes > Women's Luggage & Bags > Shoulder Bags: tote, purse, handbag
Bags & Shoes > Men's Shoes > Sneakers: shoes, sneakers, boots
Health, Beauty & Hair > Skin Care > Face Tools: roller, mask, mirror
Health, Beauty & Hair > Massage > Massagers: massager, gun, cushion
"""


def _read_tree() -> Iterator[Category]:
    ids: dict[str, str] = {}

    def known(path: str) -> str:
        return ids.setdefault(path, f"5E656DFB-0000-4000-8000-{len(ids) + 1:012X}")

    for line in _TREE.strip().splitlines():
        path, _, words = line.partition(": ")
        first, second, name = path.split(" > ")
        yield Category(
            first,
            second,
            name,
            tuple(words.split(", ")),
            known(path),
            known(f"{first} > {second}"),
            known(first),
        )


CATEGORIES: Final = tuple(_read_tree())


@dataclass(frozen=True, slots=True)
class Variant:
    """One thing that can be ordered. ``price`` is USD on top of the product's, ``weight`` g, ``size`` mm."""

    vid: str
    index: int
    key: str
    sku: str
    surcharge: Decimal
    weight: int
    size: tuple[int, int, int]

    @property
    def volume(self) -> int:
        """In mm3."""
        length, width, height = self.size
        return length * width * height


@dataclass(frozen=True, slots=True)
class Product:
    """A product; ``price`` is USD, of its first and cheapest variant, ``created`` unix time."""

    pid: str
    name: str
    sku: str
    category: Category
    price: Decimal
    created: int
    listed: int
    supplied: bool
    free_shipping: bool
    battery: bool
    video: bool
    in_us: bool
    verified: int
    discount: int
    variants: tuple[Variant, ...]

    @property
    def weights(self) -> str:
        """In g, as text: one weight, or from the least to the most."""
        known = sorted({each.weight for each in self.variants})
        return f"{known[0]}.00" if len(known) == 1 else f"{known[0]}.00-{known[-1]}.00"

    @property
    def kind(self) -> str:
        """``productType``."""
        return "SUPPLIER_PRODUCT" if self.supplied else "ORDINARY_PRODUCT"

    @property
    def images(self) -> list[str]:
        """Two pictures."""
        return [f"https://img.example.com/cj/{self.pid}/{number}.jpg" for number in (1, 2)]


def roll(seed: str, what: str, sides: int) -> int:
    """A number below ``sides`` that is always the same for the same seed."""
    return int.from_bytes(blake2b(f"{seed}/{what}".encode(), digest_size=8).digest()) % sides


def is_id(text: str) -> bool:
    """Whether this could be the id of a product or variant."""
    return _DIGITS.fullmatch(text) is not None or _UUID.fullmatch(text) is not None


@lru_cache(maxsize=20_000)
def product(pid: str, words: str = "") -> Product:
    """The product of an id; ``words`` are those of the search that found it."""
    seed = pid.upper()
    free = roll(seed, "free", 4) == 0
    supplied = roll(seed, "supplier", 5) == 0
    return Product(
        pid=pid,
        name=_name(seed, words),
        sku=sku_of(pid),
        category=_category(seed, words),
        price=Decimal(80 + roll(seed, "price", 5_920)) / 100,
        created=int(_CREATED) + roll(seed, "created", _SPAN),
        listed=roll(seed, "listed", 3_000),
        supplied=supplied,
        free_shipping=free,
        battery=roll(seed, "battery", 5) == 0,
        video=roll(seed, "video", 3) == 0,
        in_us=roll(seed, "us", 3) == 0,
        verified=1 + roll(seed, "verified", 2),
        discount=(0, 0, 9)[roll(seed, "discount", 3)],
        variants=tuple(_variants(pid, seed)),
    )


def _category(seed: str, words: str) -> Category:
    known = set(words.lower().split())
    for each in CATEGORIES:
        if known.intersection(each.words):
            return each
    return CATEGORIES[roll(seed, "category", len(CATEGORIES))]


def _name(seed: str, words: str) -> str:
    what = words or " ".join(
        (_COLOURS[roll(seed, "shade", len(_COLOURS))], _pick(_category(seed, "").words, seed, "noun"))
    )
    titled = " ".join(word[0].upper() + word[1:] if word[0].isascii() else word for word in what.split())
    return f"{_pick(_ADJECTIVES, seed, 'adjective')} {titled} {_pick(_TAILS, seed, 'tail')}"


def _pick(some: tuple[str, ...], seed: str, what: str) -> str:
    return some[roll(seed, what, len(some))]


def _variants(pid: str, seed: str) -> Iterator[Variant]:
    start = roll(seed, "colour", len(_COLOURS))
    colours = [_COLOURS[(start + step) % len(_COLOURS)] for step in range(1 + roll(seed, "colours", 3))]
    sizes = _SIZES if len(colours) == 2 else ("",)
    weight, length = 40 + roll(seed, "weight", 900), 60 + roll(seed, "length", 300)
    heavier, dearer = 15 * roll(seed, "heavier", 2), Decimal(roll(seed, "dearer", 3)) / 10
    keys = [f"{colour}-{size}".rstrip("-") for colour in colours for size in sizes]
    for index, key in enumerate(keys):
        yield Variant(
            vid=vid_of(pid, index),
            index=index,
            key=key,
            sku=f"{sku_of(pid)}-{index + 1:02d}AZ",
            surcharge=dearer * index,
            weight=weight + heavier * index,
            size=(length, length * 4 // 5, length * 2 // 5),
        )


def _place(name: str) -> tuple[int, int]:
    """Where a variant's number stands in an id, and to which base."""
    return (-7, 10) if name.isdecimal() else (-12, 16)


def vid_of(pid: str, index: int) -> str:
    """The id of a product's variant."""
    place, base = _place(pid)
    digit = (int(pid[place], base) + index + 1) % base
    return f"{pid[:place]}{digit:X}{pid[place + 1 :]}"


def owner_of(vid: str) -> tuple[str, int] | None:
    """Product and place that a variant's id says, where it can be read; None otherwise."""
    if not is_id(vid):
        return None
    place, base = _place(vid)
    digit = int(vid[place], base)
    return (f"{vid[:place]}0{vid[place + 1 :]}", digit - 1) if digit else None


_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def sku_of(pid: str) -> str:
    """The SKU of a product, from which its id can be read."""
    mark, number = ("D", int(pid)) if pid.isdecimal() else ("U", int(pid.replace("-", ""), 16))
    text = ""
    while number:
        number, rest = divmod(number, 36)
        text = _ALPHABET[rest] + text
    return f"CJ{mark}{text or '0'}"


def read_sku(sku: str) -> tuple[str, int | None] | None:
    """The id of the product of a SKU, and the place of the variant if it is a variant's; None for what is no SKU."""
    found = re.fullmatch(r"CJ([DU])([0-9A-Z]{1,25})(?:-(\d\d)AZ)?", sku, re.ASCII)
    if found is None:
        return None
    number = int(found[2], 36)
    if found[1] == "U":
        plain = f"{number:032X}"
        pid = "-".join((plain[:8], plain[8:12], plain[12:16], plain[16:20], plain[20:]))
    else:
        pid = str(number)
    return (pid, int(found[3]) - 1 if found[3] else None) if is_id(pid) else None


def found_id(words: str, number: int) -> str:
    """The id of the product at a place of the answer to a search."""
    plain = blake2b(f"{words}#{number}".encode(), digest_size=16).hexdigest().upper()
    if int(plain[0], 16) < 2:
        return f"{plain[:8]}-{plain[8:12]}-4{plain[13:16]}-8{plain[17:20]}-0{plain[21:28]}{_tail(plain[28:])}"
    digits = f"{int(plain, 16):039d}"[-16:]
    return f"17{digits[:10]}0{digits[10:12]}{_tail(digits[12:])}"


def _tail(end: str) -> str:
    return {GONE: "0400", OFF: "0411"}.get(end, end)


def tree() -> list[Obj]:
    """The answer of getCategory."""
    firsts: dict[str, dict[str, list[Obj]]] = {}
    for each in CATEGORIES:
        seconds = firsts.setdefault(each.first, {}).setdefault(each.second, [])
        seconds.append({"categoryId": each.id, "categoryName": each.name})
    return [
        {
            "categoryFirstName": first,
            "categoryFirstList": [
                {"categorySecondName": second, "categorySecondList": thirds} for second, thirds in seconds.items()
            ],
        }
        for first, seconds in firsts.items()
    ]
