"""Orders at suppliers, and where they are on their way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AwareDatetime, ConfigDict, Field, JsonValue, field_validator

from providers.core.errors import InvalidRequestError, ProviderError
from providers.core.models import Model, Money, OpenVocabulary, Raw, Ref, RequestModel
from providers.sourcing.models import Country, Currency, ItemOutcome, ProductName, ShippingQuote

Text = Annotated[str, Field(min_length=1, max_length=200)]
Line = Annotated[str, Field(max_length=200)]


class Address(RequestModel):
    """Where an order goes. `region` is the state or province: some suppliers refuse addresses without it.

    `tax_id` is the number that some countries ask of the recipient (CPF, RUT, VAT).
    """

    name: Text
    line1: Text
    line2: Line = ""
    city: Text
    region: Line = ""
    postal_code: Annotated[str, Field(max_length=20)] = ""
    country: Country
    phone: Annotated[str, Field(max_length=30)] = ""
    email: Line = ""
    tax_id: Annotated[str, Field(max_length=40)] = ""

    @field_validator("country", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.strip().upper() if isinstance(value, str) else value


class OrderItem(RequestModel):
    """So many of one variant. Without `variant` the cheapest in stock; without `shipping` the cheapest way.

    `shipping` is the `code` of a quote.
    """

    ref: Ref
    variant: str | None = None
    quantity: Annotated[int, Field(ge=1, le=10_000)] = 1
    shipping: str = ""

    @field_validator("ref", mode="before")
    @classmethod
    def _parse(cls, value: object) -> object:
        try:
            return Ref.parse(value) if isinstance(value, str) else value
        except InvalidRequestError as error:  # the field's own name comes before it
            raise ValueError(error.message.removeprefix("ref: ")) from None


class OrderRequest(RequestModel):
    """An order of a shop's customer, for one supplier or several.

    Attributes:
        idempotency_key: our order's id: the same key never orders twice.
        max_total: nothing is ordered, or paid, beyond this; in `currency`.
        currency: what is paid in.
        pay: pay at once where the supplier takes payment; else orders stay unpaid, see `Sourcing.pay`. With `max_total`
            only where that can be kept: not where an order is paid while it is made, and taxes come on top.
        note: for the supplier.
        vendor_options: by vendor, merged last into what is sent.

    """

    items: Annotated[tuple[OrderItem, ...], Field(min_length=1, max_length=50)]
    address: Address
    idempotency_key: Annotated[str, Field(min_length=1, max_length=200)]
    max_total: Money | None = None
    currency: Currency = "USD"
    pay: bool = False
    note: Annotated[str, Field(max_length=500)] = ""
    vendor_options: Mapping[str, Mapping[str, JsonValue]] = Field(default_factory=dict)

    @field_validator("items")
    @classmethod
    def _no_twins(cls, items: tuple[OrderItem, ...]) -> tuple[OrderItem, ...]:
        if len({(item.ref, item.variant) for item in items}) < len(items):
            msg = "the same variant twice: give it once, with the quantity"
            raise ValueError(msg)
        return items


class OrderState(OpenVocabulary):
    """How far an order is."""

    UNPAID = "unpaid"
    """The supplier has it, and waits for the money."""
    PROCESSING = "processing"
    """Paid; it is being checked or packed."""
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"
    FAILED = "failed"
    """Not ordered: repeating is safe."""
    PARTIAL = "partial"
    """Of an order with several suppliers: some have it, some do not."""
    UNKNOWN = "unknown"
    """Nobody knows whether it was ordered, or the supplier says something we do not know."""


class OrderedItem(Model):
    """What an order holds of one variant. `price` is of one piece."""

    product: str = ""
    variant: str = ""
    title: str = ""
    quantity: int = 1
    price: Money | None = None


class OrderPart(Model):
    """One order at one supplier. `ref` is None where there is none: see `error`.

    `number` is our number of it at the supplier; `total` is all that is paid, shipping and taxes included.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    source: str
    state: OrderState
    ref: Ref | None = None
    number: str = ""
    items: tuple[OrderedItem, ...] = ()
    total: Money | None = None
    paid: bool | None = None
    placed_at: AwareDatetime | None = None
    paid_at: AwareDatetime | None = None
    shipped_at: AwareDatetime | None = None
    tracking_number: str | None = None
    carrier: str | None = None
    pay_url: str | None = None
    error: Annotated[ProviderError | None, Field(exclude=True)] = None
    reason: str = ""
    raw: Raw = None


class Placed(Model):
    """What a supplier made of one order of ours: one order or, where it splits them by store, several."""

    orders: tuple[OrderPart, ...]


class SupplierOrder(Model):
    """An order and its parts, one for each order at a supplier and each supplier that failed.

    `total` is None where a part's is not known; `paid` says whether all that was ordered is paid.
    """

    key: str = ""
    refs: tuple[Ref, ...]
    state: OrderState
    total: Money | None
    paid: bool
    placed_at: AwareDatetime | None
    parts: tuple[OrderPart, ...]


class OrderLine(Model):
    """One variant of an order, as adapters get it; `price` of one piece. `order_id`: see `Product`."""

    product: ProductName
    order_id: str | None = None
    variant: str
    sku: str = ""
    quantity: int = 1
    price: Money | None = None
    shipping: ShippingQuote | None = None


class OrderDraft(Model):
    """What is ordered at one supplier. `number` is ours, 50 characters at most, the same for the same order."""

    source: str
    number: str
    lines: tuple[OrderLine, ...]
    address: Address
    currency: str
    pay: bool = False
    note: str = ""
    options: Mapping[str, JsonValue] = Field(default_factory=dict)


class QuotedPart(Model):
    """What one supplier asks for its part of an order, or why it cannot be ordered there."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    source: str
    lines: tuple[OrderLine, ...] = ()
    goods: Money | None = None
    shipping: Money | None = None
    total: Money | None = None
    error: Annotated[ProviderError | None, Field(exclude=True)] = None
    reason: str = ""


class OrderQuote(Model):
    """What an order would cost, before taxes that suppliers add. `total` is None unless all parts are quoted."""

    parts: tuple[QuotedPart, ...]
    total: Money | None


class TrackingState(OpenVocabulary):
    """Where a parcel is."""

    PENDING = "pending"
    """Nothing was shipped yet, or the carrier knows nothing of it."""
    IN_TRANSIT = "in_transit"
    ARRIVED = "arrived"
    """In the country it goes to; customs included."""
    OUT_FOR_DELIVERY = "out_for_delivery"
    READY_FOR_PICKUP = "ready_for_pickup"
    DELIVERED = "delivered"
    FAILED = "failed"
    """Not delivered; it may be tried again."""
    RETURNED = "returned"
    UNKNOWN = "unknown"


class TrackingEvent(Model):
    """One thing that happened to a parcel; `at` is None where the carrier does not say."""

    at: AwareDatetime | None
    description: str
    location: str | None = None
    state: TrackingState = TrackingState.UNKNOWN


class Tracking(Model):
    """A parcel's way, oldest event first. `number` is None while there is none; an order's first parcel of several."""

    ref: Ref
    state: TrackingState
    number: str | None = None
    carrier: str | None = None
    url: str | None = None
    events: tuple[TrackingEvent, ...] = ()
    delivered_at: AwareDatetime | None = None
    raw: Raw = None


class TrackingOutcome(ItemOutcome):
    """One parcel of a batch."""

    tracking: Tracking | None = None
