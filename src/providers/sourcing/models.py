"""Products as suppliers offer them: searches, variants, prices, stock, ways to ship."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, NamedTuple

from pydantic import AwareDatetime, ConfigDict, Field, SecretStr, field_serializer, field_validator, model_validator

from providers.core.errors import ProviderError
from providers.core.models import Model, Money, Page, Raw, Ref, RequestModel

LONGEST_QUERY = 200
LONGEST_URL = 2000

NO_WAY = "no_way"
"""Code of the `NotFoundError` by which a supplier ships something nowhere near the address."""

ALIASES: Mapping[str, str] = MappingProxyType({"cjdropship": "cjdropshipping", "cj": "cjdropshipping"})
"""Other names by which services know a supplier platform."""

Country = Annotated[str, Field(pattern=r"^[A-Z]{2}$")]
"""ISO 3166-1, two letters."""
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
"""ISO 4217."""


def source_name(text: str) -> str:
    """A supplier platform as it is called here, in lower case."""
    name = text.strip().lower()
    return ALIASES.get(name, name)


class Sort(StrEnum):
    """In which order a search answers."""

    RELEVANCE = "relevance"
    """As the supplier finds it fit; answers of several take turns."""
    POPULAR = "popular"
    """By orders, or by how many shops list it, as the supplier counts; answers of several take turns."""
    PRICE_UP = "price_asc"
    PRICE_DOWN = "price_desc"
    NEWEST = "newest"


class Market(RequestModel):
    """For whom prices, stock and texts are: the country they are shipped to, the currency and the language.

    The same product has other prices, and other stock, in another country.
    """

    country: Country
    currency: Currency = "USD"
    language: Annotated[str, Field(pattern=r"^[a-z]{2}$")] = "en"

    @field_validator("country", "currency", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.strip().upper() if isinstance(value, str) else value

    @field_validator("language", mode="before")
    @classmethod
    def _two_letters(cls, value: object) -> object:
        return re.split("[-_]", value.strip())[0].lower() if isinstance(value, str) else value


class SearchQuery(RequestModel):
    """One page of one supplier's answer to a search. Prices are bounds in the market's currency."""

    source: str
    text: Annotated[str, Field(min_length=1, max_length=LONGEST_QUERY)]
    market: Market
    page: Annotated[int, Field(ge=1)] = 1
    page_size: Annotated[int, Field(ge=1, le=100)] = 20
    sort: Sort = Sort.RELEVANCE
    price_min: Annotated[Decimal | None, Field(ge=0)] = None
    price_max: Annotated[Decimal | None, Field(ge=0)] = None
    category: str | None = None

    @field_validator("text")
    @classmethod
    def _one_line(cls, value: str) -> str:
        text = " ".join(value.split())
        if not text:
            msg = "empty"
            raise ValueError(msg)
        return text

    @model_validator(mode="after")
    def _bounds(self) -> SearchQuery:
        if self.price_min is not None and self.price_max is not None and self.price_min > self.price_max:
            msg = "price_min: more than price_max"
            raise ValueError(msg)
        return self


class ProductName(NamedTuple):
    """A product by the supplier platform and that one's own id of it."""

    source: str
    id: str


def demo_ref(name: ProductName) -> Ref:
    """What the demo calls a product of a platform."""
    return Ref(vendor="demo", id=f"{name.source}-{name.id}")


class Variant(Model):
    """One thing that can be ordered: a colour, a size.

    `id` is what orders and quotes take; `sku` what the supplier calls it besides. `price` is what is paid for one,
    `list_price` what is crossed out beside it.
    """

    id: str
    name: str = ""
    sku: str = ""
    price: Money | None = None
    list_price: Money | None = None
    stock: int | None = None
    image: str | None = None
    attributes: Mapping[str, str] = Field(default_factory=dict)
    weight_grams: int | None = None


class ShippingQuote(Model):
    """One way to ship, and what it costs; zero is free. Days from dispatch to the door. `code` is what orders take."""

    code: str
    method: str
    cost: Money
    days_min: int | None = None
    days_max: int | None = None
    tracked: bool | None = None
    ships_from: str | None = None
    raw: Raw = None


class ProductOption(NamedTuple):
    """What there is to choose from: `("Color", ("Black", "White"))`."""

    name: str
    values: tuple[str, ...]


class Product(Model):
    """A product of one supplier platform, in one market.

    Attributes:
        ref: what operations take. source, source_id: the platform, and its own id of the product.
        order_id: the id by which it is ordered for this market, where that is another.
        price: of the cheapest variant; list_price: what is crossed out beside it.
        price_max: of the dearest, where variants differ.
        rating: 0 to 5. positive_percent: of reviews. order_count: at least so many.
        shipping: the cheapest way to ship one piece to the market's country.
        stock: pieces over all variants and warehouses.
        url, affiliate_url: its page; and the one that earns a commission, where a tracking id is set.
        language: of title and description, where the supplier says.

    """

    ref: Ref
    source: str
    source_id: str
    order_id: str | None = None
    title: str
    url: str
    description: str | None = None
    price: Money | None = None
    price_max: Money | None = None
    list_price: Money | None = None
    images: tuple[str, ...] = ()
    variants: tuple[Variant, ...] = ()
    rating: Decimal | None = None
    review_count: int | None = None
    positive_percent: Decimal | None = None
    order_count: int | None = None
    supplier: str | None = None
    supplier_url: str | None = None
    shipping: ShippingQuote | None = None
    stock: int | None = None
    category_id: str | None = None
    affiliate_url: str | None = None
    language: str | None = None
    on_sale: bool | None = None
    fetched_at: AwareDatetime
    raw: Raw = None

    @property
    def options(self) -> tuple[ProductOption, ...]:
        """What there is to choose from, over all variants."""
        found: dict[str, dict[str, None]] = {}
        for variant in self.variants:
            for name, value in variant.attributes.items():
                found.setdefault(name, {})[value] = None
        return tuple(ProductOption(name, tuple(values)) for name, values in found.items())

    def variant(self, id_: str | None) -> Variant | None:
        """The one of that id or SKU; without, the cheapest that is in stock, else the first."""
        if id_ is not None:
            return next((one for one in self.variants if id_ in {one.id, one.sku}), None)
        priced = [one for one in self.variants if one.price is not None and one.stock != 0]
        cheapest = min(priced, key=lambda one: one.price.amount if one.price else Decimal(0), default=None)
        return cheapest or next(iter(self.variants), None)


class Listing(Model):
    """One page of one supplier's answer. `total` is how many can be reached by paging; None where it does not say."""

    items: tuple[Product, ...]
    total: int | None = None


class ProductPage(Page[Product]):
    """One page over all suppliers asked. `errors` says which of them failed, `totals` how many each has."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    errors: Mapping[str, ProviderError] = Field(default_factory=dict)
    totals: Mapping[str, int | None] = Field(default_factory=dict)

    @field_serializer("errors")
    def _as_text(self, errors: Mapping[str, ProviderError]) -> dict[str, str]:
        return {source: str(error) for source, error in errors.items()}


class Offer(Model):
    """What a product costs and how many there are, at a moment."""

    price: Money
    stock: int | None = None
    checked_at: AwareDatetime


class ItemOutcome(Model):
    """Of one item of a batch: what was asked, or why not. `index` counts from 0 in the order given."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    index: int
    ref: Ref | None = None
    error: Annotated[ProviderError | None, Field(exclude=True)] = None
    reason: str = ""


class PriceOutcome(ItemOutcome):
    """One price of a batch, of the cheapest variant; `ref` is None for what names no product."""

    price: Money | None = None
    stock: int | None = None
    checked_at: AwareDatetime


class StockLevel(Model):
    """Pieces of one variant in one warehouse. `ready` ship at once; the others have to come from a factory first."""

    variant: str
    quantity: int
    ready: int | None = None
    country: str | None = None


class Stock(Model):
    """How many there are, in all and by variant and warehouse."""

    ref: Ref
    total: int | None
    levels: tuple[StockLevel, ...]
    checked_at: AwareDatetime
    raw: Raw = None


class Category(Model):
    """A category of a supplier; `parent_id` is None at the top."""

    id: str
    name: str
    source: str
    parent_id: str | None = None


class Grant(Model):
    """What a supplier account's owner has granted: the variables to store, and until when they hold."""

    values: Mapping[str, SecretStr]
    account: str = ""
    expires_at: AwareDatetime | None = None
    refresh_expires_at: AwareDatetime | None = None
