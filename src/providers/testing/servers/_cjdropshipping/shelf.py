"""The products as they stand now: names they were found by, prices that were set, stock that was sold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from providers.testing.servers._cjdropshipping import catalog
from providers.testing.servers._cjdropshipping.call import (
    NO_PRODUCT,
    NO_STOCK,
    NO_VARIANT,
    OFF_SHELF,
    RefusalError,
)
from providers.testing.servers._cjdropshipping.catalog import Product, Variant

CENT: Final = Decimal("0.01")
STOCK_ID: Final = "201e67f6000000000000000000000001"


@dataclass(frozen=True, slots=True)
class Warehouse:
    """A place that ships."""

    area_id: int
    area: str
    country: str
    country_name: str


CHINA: Final = Warehouse(1, "China Warehouse", "CN", "China")
AMERICA: Final = Warehouse(2, "US Warehouse", "US", "United States of America (the)")
WAREHOUSES: Final = {each.country: each for each in (CHINA, AMERICA)}


@dataclass(frozen=True, slots=True)
class Row:
    """What a warehouse has of a variant: at CJ, and still at the factory."""

    warehouse: Warehouse
    cj: int
    factory: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.cj + self.factory


class Shelf:
    """All products; ``found`` is how many any search finds."""

    def __init__(self, found: int) -> None:
        self.found = found
        self.clear()

    def clear(self) -> None:
        """As it was built."""
        self._words: dict[str, str] = {}
        self._owners: dict[str, tuple[str, int]] = {}
        self._prices: dict[str, Decimal] = {}
        self._stock: dict[str, dict[str, Row]] = {}
        self._off: set[str] = set()

    # Products.

    def product(self, pid: str) -> Product:
        """A product on sale, else a refusal."""
        if not catalog.is_id(pid) or pid.endswith(catalog.GONE):
            raise RefusalError(NO_PRODUCT)
        if pid.endswith(catalog.OFF) or pid.upper() in self._off:
            raise RefusalError(OFF_SHELF)
        found = catalog.product(pid, self._words.get(pid.upper(), ""))
        for variant in found.variants:
            if catalog.owner_of(variant.vid) != (pid, variant.index):
                self._owners[variant.vid.upper()] = (pid, variant.index)
        return found

    def variant(self, vid: str) -> tuple[Product, Variant]:
        """A variant on sale with its product, else a refusal."""
        owner = self._owners.get(vid.upper()) or catalog.owner_of(vid)
        if owner is None:
            raise RefusalError(NO_VARIANT)
        try:
            found = self.product(owner[0])
        except RefusalError as refusal:
            if refusal.code == NO_PRODUCT:
                raise RefusalError(NO_VARIANT) from None
            raise
        if owner[1] >= len(found.variants):
            raise RefusalError(NO_VARIANT)
        return found, found.variants[owner[1]]

    def by_sku(self, sku: str) -> tuple[Product, Variant | None]:
        """The product of a SKU, and the variant if it is a variant's."""
        read = catalog.read_sku(sku)
        if read is None:
            raise RefusalError(NO_PRODUCT)
        found = self.product(read[0])
        if read[1] is None:
            return found, None
        if not 0 <= read[1] < len(found.variants):
            raise RefusalError(NO_VARIANT)
        return found, found.variants[read[1]]

    def search(self, words: str) -> Iterator[Product]:
        """What a search finds, best match first; those of the same words are always the same."""
        asked = " ".join(words.split())
        for number in range(self.found):
            pid = catalog.found_id(asked.lower(), number)
            if pid not in self._off:
                yield catalog.product(pid, self._words.get(pid.upper(), asked))

    def remember(self, found: Product, words: str) -> None:
        """A product was shown under a name: it keeps that."""
        self._words.setdefault(found.pid.upper(), " ".join(words.split()))

    def take_off(self, pid: str) -> None:
        """Take a product off the shelves."""
        self._off.add(pid.upper())

    # Prices.

    def price(self, found: Product, variant: Variant | None = None) -> Decimal:
        """What a variant costs in USD, or the cheapest."""
        base = self._prices.get(found.pid.upper(), found.price)
        return (base + (variant.surcharge if variant else Decimal(0))).quantize(CENT)

    def dearest(self, found: Product) -> Decimal:
        """What the dearest variant costs."""
        return max(self.price(found, each) for each in found.variants)

    def set_price(self, pid: str, price: Decimal) -> None:
        """Another price of the cheapest variant; the others keep their distance."""
        self._prices[pid.upper()] = price

    # Stock.

    def stock(self, found: Product, variant: Variant) -> list[Row]:
        """What there is of a variant, by warehouse."""
        return [*self._rows(found, variant).values()]

    def set_stock(self, vid: str, at_cj: int, factory: int) -> None:
        """All there is of a variant from now on, in China."""
        self._stock[vid.upper()] = {"CN": Row(CHINA, at_cj, factory)}

    def check(self, found: Product, variant: Variant, country: str, amount: int) -> None:
        """Refuse more than a warehouse has."""
        row = self._rows(found, variant).get(country)
        if row is None or row.total < amount:
            raise RefusalError(NO_STOCK)

    def deduct(self, found: Product, variant: Variant, country: str, amount: int) -> None:
        """Take what was sold: CJ's own first."""
        self.check(found, variant, country, amount)
        rows = self._rows(found, variant)
        row = rows[country]
        at_cj = min(row.cj, amount)
        rows[country] = Row(row.warehouse, row.cj - at_cj, row.factory - (amount - at_cj))
        self._stock[variant.vid.upper()] = rows

    def _rows(self, found: Product, variant: Variant) -> dict[str, Row]:
        kept = self._stock.get(variant.vid.upper())
        if kept is not None:
            return dict(kept)
        seed = variant.vid.upper()
        rows = {"CN": Row(CHINA, catalog.roll(seed, "cj", 200), 50 + catalog.roll(seed, "made", 950))}
        if found.in_us:
            rows["US"] = Row(AMERICA, 5 + catalog.roll(seed, "us", 95), 0)
        return rows
