"""What suppliers tell of their own accord."""

from __future__ import annotations

from pydantic import AwareDatetime

from providers.core.models import Model, Money, OpenVocabulary, Raw, Ref
from providers.sourcing.orders import OrderState, Tracking


class SourcingEventType(OpenVocabulary):
    """What happened."""

    PRODUCT = "product"
    """A product changed: `changed` says what, `price` and `on_sale` how, where they did."""
    VARIANT = "variant"
    STOCK = "stock"
    """Stock changed: ask `stock` for how much there is."""
    ORDER = "order"
    """An order is in another state."""
    SPLIT = "split"
    """An order became several: `refs`."""
    TRACKING = "tracking"
    UNKNOWN = "unknown"


class SourcingEvent(Model):
    """One message of a supplier, as a hint: read the object itself before anything that costs money.

    Drop repeats by `event_id`. `product` and `order` name what it is about, `number` our number of the order.
    `occurred_at` is None where the supplier does not say.
    """

    type: SourcingEventType
    event_id: str
    source: str
    vendor: str
    occurred_at: AwareDatetime | None = None
    product: Ref | None = None
    variants: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    price: Money | None = None
    on_sale: bool | None = None
    order: Ref | None = None
    number: str = ""
    state: OrderState | None = None
    refs: tuple[Ref, ...] = ()
    tracking: Tracking | None = None
    raw: Raw = None
