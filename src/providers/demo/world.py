"""One made-up shop and the suppliers it buys from: the products that all demos share.

Nothing here is kept or fetched: the same question has the same answer in every process, for ever; prices and stock go
by the hour that they are asked for. Every number is some product's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from functools import cache, lru_cache
from hashlib import blake2b
from itertools import chain, product, zip_longest
from math import sin, tau
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from providers.demo.world_goods import ANYTHING, BRANDS, COPY, KINDS, SUPPLIERS
from providers.demo.world_goods import SHOP as _SHOP

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from providers.demo.world_goods import Kind, Option

SHOP_URL = "https://shop.example.com"
IMAGES_URL = "https://images.example.com/goods"

NUMBERS = 10**12
"""Numbers of products are less."""

FEWEST, MOST = 36, 240
"""Products that a search finds, beside the shop's own."""

LONGEST = 80
MOST_WORDS = 8

_PER_CODE = 10_000
_FIRST = 1000
"""The last four digits of what the world numbers itself begin here: those below choose a demo's outcomes."""
_SHOP_CODE = 60_412_300
_KIND_CODES = 100
_WORD = re.compile(r"[^\W_]+(?:['\u2019&.-][^\W_]+)*")
_SMALL = frozenset(("a", "an", "and", "as", "at", "by", "for", "from", "in", "of", "on", "or", "the", "to", "with"))
_MASK = 0xFFFFFFFFFFFFFFFF


@dataclass(frozen=True, slots=True)
class Item:
    """A product. `keyword` is what people search for to find it; `words` what it is named after, if it is.

    `cents` is what the supplier takes for the smallest variant (USD), `retail_cents` what a shop sells it for: see
    `price`, which moves. `options` are what there is to choose from; `variants` numbers the combinations.
    """

    number: int
    name: str
    title: str
    keyword: str
    words: str
    path: tuple[str, ...]
    cents: int
    retail_cents: int
    options: tuple[Option, ...]
    weight_grams: int
    rating: Decimal
    review_count: int
    order_count: int
    supplier: str
    ships_from: str
    days_listed: int
    dice: int = field(repr=False)

    def __hash__(self) -> int:
        return hash(self.number)

    @property
    def base_price(self) -> Decimal:
        """What prices swing around, in USD."""
        return dollars(self.cents)

    @property
    def retail_price(self) -> Decimal:
        """What a shop sells it for, in USD."""
        return dollars(self.retail_cents)

    @property
    def images(self) -> tuple[str, ...]:
        """Where its pictures would be."""
        return tuple(f"{IMAGES_URL}/{self.number}/{each}.jpg" for each in range(1, 4 + self.dice % 3))

    @property
    def description(self) -> str:
        """A few sentences, as suppliers write them."""
        left_out = {1 + self.dice % (len(COPY) - 1), 1 + self.dice // 97 % (len(COPY) - 1)}
        said = [text for place, text in enumerate(COPY) if place not in left_out]
        return " ".join(said).replace("{It}", self.name)

    @property
    def positive_percent(self) -> Decimal:
        """Of its reviews."""
        return self.rating * 20 - 1

    @property
    def category_id(self) -> str:
        """Of the last part of its path, as `categories` has it."""
        return _category_id(self.path)

    @property
    def category_ids(self) -> tuple[str, ...]:
        """Of all parts of its path, the widest first."""
        return tuple(_category_id(self.path[: depth + 1]) for depth in range(len(self.path)))

    @property
    def handle(self) -> str:
        """Its name in a URL of the shop."""
        return "-".join(_WORD.findall(self.name.lower()))


class Category(NamedTuple):
    """A part of the tree of categories; `parent_id` is None at the top."""

    id: str
    name: str
    parent_id: str | None


class Found(NamedTuple):
    """All that a search finds: numbers for `item`, best first.

    `words` are what `item` needs besides; `""` where the numbers alone will do.
    """

    words: str
    numbers: tuple[int, ...]


class Way(NamedTuple):
    """A way to ship. `cost` in USD; days from dispatch to the door."""

    code: str
    name: str
    carrier: str
    cost: Decimal
    days_min: int
    days_max: int
    tracked: bool


def number_of(text: str) -> int:
    """The product that an id of any form names. Of digits, the last twelve count."""
    text = text.strip().lower()
    if text.isdigit() and text.isascii():
        return int(text[-12:])
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()) % NUMBERS


def code_of(number: int) -> int | None:
    """What to remember the words of a search by, so that its products can be had by their numbers later.

    All that one search finds has the same code. None where the number alone tells all.
    """
    code = number // _PER_CODE
    return None if 0 <= code - _SHOP_CODE <= len(KINDS) else code


@lru_cache(maxsize=4096)
def item(number: int, words: str = "") -> Item:
    """The product of a number. `words`: those of the search that found it (`Found.words`)."""
    code, index = divmod(number % NUMBERS, _PER_CODE)
    if code == _SHOP_CODE and 0 <= index - _FIRST < len(_SHOP):
        return SHOP[index - _FIRST]
    dice = _mix(number)
    if 0 < code - _SHOP_CODE <= len(KINDS):
        return _made(number, KINDS[code - _SHOP_CODE - 1], "", dice)
    if words:
        words = _plain(words)
        if _code(words) == code:
            return _made(number, _kind_in(words) or ANYTHING, words, dice)
    return _made(number, KINDS[dice % len(KINDS)], "", dice // len(KINDS))


@lru_cache(maxsize=512)
def found(words: str) -> Found:
    """What a search for any words finds: what is known by them, else what is named after them.

    The shop's own products come first, where their titles hold all the words.
    """
    plain = _plain(words)
    wanted = frozenset(plain.split())
    own = tuple(one.number for one in SHOP if wanted <= _words_of(one.title))
    codes = [_SHOP_CODE + 1 + place for place, kind in enumerate(KINDS) if wanted and wanted <= _words_of(kind.noun)]
    many = FEWEST + _mix(_code(plain)) % (MOST - FEWEST + 1)
    lists = [
        range(code * _PER_CODE + _FIRST, code * _PER_CODE + _FIRST + many // len(codes or "1"))
        for code in codes or [_code(plain)]
    ]
    in_turn = chain.from_iterable(zip_longest(*lists))
    return Found("" if codes else plain, own + tuple(number for number in in_turn if number is not None))


def find(words: str, *, offset: int = 0, limit: int = 20) -> tuple[Item, ...]:
    """A stretch of what a search finds."""
    all_ = found(words)
    return tuple(item(number, all_.words) for number in all_.numbers[offset : offset + limit])


def price(item: Item, moment: float, variant: int = 0) -> Decimal:
    """What the supplier takes (USD) in the hour of a moment (unix time): up to 4 % above or below its base."""
    return dollars(price_cents(item, moment, variant))


def price_cents(item: Item, moment: float, variant: int = 0) -> int:
    """The same, in cents."""
    hour = moment // 3600
    phase = item.dice % 1009 / 1009 * tau
    swing = 1 + 0.03 * sin(hour / 37 + phase) + 0.01 * sin(hour / 5 + 3 * phase)
    return max(1, round(item.cents * (1 + 0.2 * steps(item.options)[variant]) * swing))


def stock(item: Item, moment: float, variant: int = 0) -> int:
    """Pieces in the hour of a moment: bought all week long, filled up once a week. A few variants are sold out."""
    dice = _mix(item.number, variant + 1)
    if variant and dice % 23 == 0:
        return 0
    full = 120 + dice % 1880
    hours = (int(moment // 3600) + dice % 168) % 168
    return full - full * hours // 200


@cache
def variants(options: tuple[Option, ...]) -> tuple[Mapping[str, str], ...]:
    """All combinations of what there is to choose from, in order."""
    names = [option.name for option in options]
    return tuple(
        MappingProxyType(dict(zip(names, values, strict=True)))
        for values in product(*(option.values for option in options))
    )


@cache
def steps(options: tuple[Option, ...]) -> tuple[int, ...]:
    """By how many steps each variant is larger, and so dearer, than the smallest."""
    places = (range(len(option.values)) if option.name in _LARGER else [0] * len(option.values) for option in options)
    return tuple(sum(each) for each in product(*places))


_LARGER = frozenset(("Capacity", "Length", "Pack", "Pieces", "Set", "Size", "Tiers"))


def ways(parcel: Sequence[tuple[Item, int]], country: str) -> tuple[Way, ...]:
    """How so many of these ship together to a country, cheapest first; nothing where they do not."""
    if country in CLOSED:
        return ()
    first = parcel[0][0]
    grams = sum(item.weight_grams * quantity for item, quantity in parcel)
    quick, slow, cents, per_kilo = HOME if country == first.ships_from else ZONES.get(country, FAR)
    made: list[Way] = []
    for code, name, carrier, times, pace, tracked in _WAYS:
        fee = round((cents + per_kilo * grams / 1000) * times)
        if code == "economy" and (grams > 2000 or first.dice % 4 == 0):
            continue
        if code == "standard" and first.dice % 3 == 0 and first.cents >= 1000:
            fee = 0
        days = max(1, round(quick * pace)), max(2, round(slow * pace))
        made.append(Way(code, name, carrier, dollars(fee), *days, tracked))
    return tuple(sorted(made, key=lambda way: way.cost))


class Zone(NamedTuple):
    """How far it is: days, and what a parcel costs by itself and by the kilo (cents)."""

    quick: int
    slow: int
    cents: int
    per_kilo: int


HOME = Zone(2, 5, 190, 90)
NEAR = Zone(5, 10, 230, 420)
WEST = Zone(7, 13, 290, 640)
FAR = Zone(14, 28, 390, 980)
_ZONES: tuple[tuple[Zone, str], ...] = (
    (NEAR, "HK JP KR MO MY PH SG TH TW VN"),
    (
        WEST,
        "AT AU BE BG CA CH CY CZ DE DK EE ES FI FR GB GR HR HU IE IL IS IT LT LU LV MT NL NO NZ PL PT RO SE SI SK US",
    ),
)
ZONES: Mapping[str, Zone] = MappingProxyType({one: zone for zone, countries in _ZONES for one in countries.split()})
"""Country -> how far it is; all others are `FAR`."""

CLOSED = frozenset(("CU", "IR", "KP", "SY"))
"""Nothing ships there."""

_WAYS = (
    # code, name, carrier; times the zone's price and days; tracked
    ("economy", "Economy Post", "China Post", 0.6, 2.0, False),
    ("standard", "Standard Shipping", "YunExpress", 1.0, 1.0, True),
    ("express", "Express Courier", "DHL", 3.2, 0.5, True),
)

_RATES = (  # noqa: SIM905 (quotes round each would hide them)
    "USD 1|AED 3.6725|ARS 1420|AUD 1.54|BRL 5.36|CAD 1.40|CHF 0.806|CLP 932|CNY 7.11|COP 3760|CZK 20.9|"
    "DKK 6.45|EGP 47.5|EUR 0.864|GBP 0.763|HKD 7.78|HUF 331|IDR 16700|ILS 3.27|INR 88.7|JPY 156|KRW 1468|"
    "KWD 0.307|MXN 18.4|MYR 4.15|NGN 1450|NOK 10.2|NZD 1.77|PEN 3.38|PHP 58.9|PKR 282|PLN 3.67|RON 4.40|"
    "SAR 3.75|SEK 9.52|SGD 1.30|THB 32.4|TRY 42.4|TWD 31.2|UAH 42.2|VND 26350|ZAR 17.3"  # codespell:ignore
).split("|")
RATES: Mapping[str, Decimal] = MappingProxyType({each[:3]: Decimal(each[4:]) for each in _RATES})
"""So much of a currency is one USD, on `RATES_OF`. Made up, to be near enough."""

RATES_OF = date(2026, 11, 20)


def exchange(usd: Decimal, currency: str) -> Decimal:
    """USD in another currency, to its smallest unit. Raises `KeyError` for one that the world does not know."""
    return (usd * RATES[currency]).quantize(_unit(currency), ROUND_HALF_UP)


@cache
def _unit(currency: str) -> Decimal:
    # The world itself is imported without pydantic.
    from providers.core.money import DECIMALS

    return Decimal(f"1E-{DECIMALS.get(currency, 2)}")


@cache
def categories() -> tuple[Category, ...]:
    """The whole tree, parents before children."""
    made: dict[tuple[str, ...], Category] = {}
    for kind in (*KINDS, ANYTHING):
        for depth in range(1, len(kind.path) + 1):
            path = kind.path[:depth]
            parent = _category_id(path[:-1]) if depth > 1 else None
            made.setdefault(path, Category(_category_id(path), path[-1], parent))
    return tuple(sorted(made.values(), key=lambda one: one.parent_id is not None))


@cache
def _category_id(path: tuple[str, ...]) -> str:
    return str(200_000_000 + _hash("/".join(path)) % 90_000_000)


def _made(number: int, kind: Kind, words: str, dice: int) -> Item:
    """An item of a kind, all of it by its dice."""
    noun = _in_capitals(words) or kind.noun
    leads = kind.leads
    if words:
        said = _words_of(words)
        leads = tuple(lead for lead in leads if not said & _words_of(lead)) or leads
    rest, brand = divmod(dice, len(BRANDS))
    rest, lead = divmod(rest, len(leads))
    rest, detail = divmod(rest, len(kind.details))
    rest, use = divmod(rest, len(kind.uses))
    low, high = kind.cents
    cents = low + rest % (high - low)
    # Prices end as sellers like them to.
    cents += 9 - cents % 10
    name = f"{BRANDS[brand]} {leads[lead]} {noun}"
    title = f"{name} {kind.details[detail]} for {kind.uses[use]}"
    return _item(number, kind, (name, title, words), (cents, cents * 5 // 2 // 100 * 100 + 90), dice)


def _item(number: int, kind: Kind, text: tuple[str, str, str], cents: tuple[int, int], dice: int) -> Item:
    name, title, words = text
    more = _mix(dice)
    light, heavy = kind.grams
    orders = (more % 131) ** 2 + more % 7
    return Item(
        number=number,
        name=name,
        title=title,
        keyword=words or kind.noun.lower(),
        words=words,
        path=kind.path,
        cents=cents[0],
        retail_cents=cents[1],
        options=kind.options,
        weight_grams=light + more % (heavy - light) // 10 * 10,
        rating=_RATINGS[more // 131 % len(_RATINGS)],
        review_count=orders * 3 // 10,
        order_count=orders,
        supplier=SUPPLIERS[more % len(SUPPLIERS)],
        ships_from=("CN", "CN", "CN", "CN", "US", "CN", "DE")[more // 7 % 7],
        days_listed=more // 49 % 900,
        dice=dice,
    )


_RATINGS = tuple(Decimal(tenths).scaleb(-1) for tenths in range(41, 50))


@cache
def _kind_in(words: str) -> Kind | None:
    """The kind that words speak of, beside other things."""
    said = _words_of(words)
    return next((kind for kind in KINDS if _words_of(kind.noun) <= said), None)


def _plain(words: str) -> str:
    kept = ""
    for word in _WORD.findall(words.lower()[: 2 * LONGEST])[:MOST_WORDS]:
        if kept and len(kept) + len(word) >= LONGEST:
            break
        kept = f"{kept} {word[:LONGEST]}".strip()
    return kept


@lru_cache(maxsize=1024)
def _words_of(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.lower()))


def _in_capitals(words: str) -> str:
    return " ".join(word if word in _SMALL else word[:1].upper() + word[1:] for word in words.split())


def _code(words: str) -> int:
    """Of what is named after words: eight digits, none of the world's own."""
    code = 10_000_000 + _hash(words) % 79_000_000
    return code + _KIND_CODES if code >= _SHOP_CODE else code


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest())


def _mix(number: int, salt: int = 0) -> int:
    """Chance that falls the same way each time (SplitMix64)."""
    state = (number * 0x9E3779B97F4A7C15 + salt * 0xD1B54A32D192ED03 + 0x632BE59BD9B4E019) & _MASK
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB & _MASK
    return state ^ (state >> 31)


def dollars(cents: int) -> Decimal:
    """Cents as an amount."""
    return Decimal(cents).scaleb(-2)


def _own(place: int, title: str, noun: str, retail: int, cents: int) -> Item:
    kind = next(kind for kind in KINDS if kind.noun == noun)
    number = _SHOP_CODE * _PER_CODE + _FIRST + place
    return _item(number, kind, (title.partition(",")[0], title, ""), (cents, retail), _mix(number))


SHOP = tuple(_own(place, *row) for place, row in enumerate(_SHOP))
"""What the shop sells itself, as its suppliers offer it."""
