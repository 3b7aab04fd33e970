"""What the shop remembers: what was found by which words, and what a test set."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from providers.testing.servers._aliexpress.catalogue import Product, Sku, build, found_ids, read_id
from providers.testing.servers._aliexpress.categories import Category, below, of_words
from providers.testing.servers._aliexpress.money import Currency, factor

ON_SALE: Final = "onSelling"


@dataclass(frozen=True, slots=True)
class Price:
    """What a SKU costs: before and after the seller's discount."""

    unit: Currency
    before: Decimal
    paid: Decimal

    @property
    def text(self) -> str:
        """What is paid, as text."""
        return str(self.paid)


class Shop:
    """The catalogue with what tests set in it."""

    def __init__(self, found: int) -> None:
        self._usual = found
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._finds: dict[int, tuple[str, Category]] = {}
        self._counts: dict[str, int] = {}
        self._prices: dict[int, tuple[Decimal, Currency]] = {}
        self._stocks: dict[str, int] = {}
        self._statuses: dict[int, str] = {}
        self._unsold: set[tuple[int, str]] = set()
        self._undelivered: set[tuple[int, str]] = set()

    def product(self, text: str) -> Product | None:
        """The product of an id; None for what none has."""
        number = read_id(text)
        return None if number is None else self._product(number)

    def _product(self, number: int) -> Product:
        words, leaf = self._finds.get(number, (None, None))
        return build(number, words, leaf)

    def search(self, words: str, wanted: Category | None, country: str) -> list[Product]:
        """What a query finds, in the shop's own order. An unknown category is the caller's matter."""
        query = " ".join(words.split())
        leaf = of_words(query) if wanted is None else below(wanted)[0]
        key = query.lower()
        count = self._counts.get(key, self._usual)
        numbers = [each for each in found_ids(key, wanted, count) if (each, country) not in self._unsold]
        for each in numbers:
            self._finds.setdefault(each, (query, leaf))
        return [self._product(each) for each in numbers]

    def price(self, product: Product, sku: Sku, country: str, unit: Currency) -> Price:
        """What it costs there."""
        given = self._prices.get(product.id)
        if given is not None:
            amount, of = given
            dollars = amount / of.rate
            before = dollars * sku.list_price / sku.price
            return Price(unit, unit.of(before), unit.round(amount) if of == unit else unit.of(dollars))
        times = factor(product.id, country)
        return Price(unit, unit.of(sku.list_price * times), unit.of(sku.price * times))

    def lowest(self, product: Product, country: str, unit: Currency) -> Price:
        """Its cheapest SKU's."""
        return min((self.price(product, sku, country, unit) for sku in product.skus), key=lambda price: price.paid)

    def stock(self, sku: Sku) -> int:
        """How many are left."""
        return self._stocks.get(sku.id, sku.stock)

    def take(self, sku: Sku, count: int) -> None:
        """Sell some; only a stock that was set runs down. A negative count gives back."""
        if sku.id in self._stocks:
            self._stocks[sku.id] -= count

    def status(self, product: Product) -> str:
        """``onSelling`` unless something else was set."""
        return self._statuses.get(product.id, ON_SALE)

    def sells(self, product: Product, country: str) -> bool:
        """Whether a country may buy it."""
        return (product.id, country) not in self._unsold

    def delivers(self, product: Product, country: str) -> bool:
        """Whether anybody carries it there."""
        return self.sells(product, country) and (product.id, country) not in self._undelivered

    # What tests set. Each raises ``ValueError`` for what is no product.

    def _known(self, product_id: str | int) -> Product:
        found = self.product(str(product_id))
        if found is None:
            raise ValueError(f"no product has the id {product_id}")
        return found

    def set_price(self, product_id: str | int, price: Decimal, unit: Currency) -> None:
        """Every SKU costs this, in every country."""
        if price <= 0:
            raise ValueError("a price is more than nothing")
        self._prices[self._known(product_id).id] = (price, unit)

    def set_stock(self, product_id: str | int, sku_id: str, count: int) -> None:
        """So many of a SKU are left."""
        sku = self._known(product_id).sku(sku_id)
        if sku is None or count < 0:
            raise ValueError(f"the product has no SKU {sku_id} with {count} left")
        self._stocks[sku.id] = count

    def set_status(self, product_id: str | int, status: str) -> None:
        """``product_status_type`` from now on."""
        self._statuses[self._known(product_id).id] = status

    def set_found(self, words: str, count: int) -> None:
        """So many products are found by these words."""
        self._counts[" ".join(words.split()).lower()] = count

    def not_sold(self, product_id: str | int, country: str) -> None:
        """A country may not buy it."""
        self._unsold.add((self._known(product_id).id, country))

    def not_delivered(self, product_id: str | int, country: str) -> None:
        """Nobody carries it there."""
        self._undelivered.add((self._known(product_id).id, country))
