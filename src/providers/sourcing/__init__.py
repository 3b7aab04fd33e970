"""Sourcing: products of suppliers, their prices and stock, orders and parcels.

Vendors: demo, aliexpress, cjdropshipping.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from providers.sourcing.aliexpress import AliExpressSourcing
    from providers.sourcing.api import Sourcing, SourcingAdapter
    from providers.sourcing.cjdropshipping import CjSourcing
    from providers.sourcing.demo import DemoSourcing
    from providers.sourcing.events import SourcingEvent, SourcingEventType
    from providers.sourcing.models import (
        Category,
        Grant,
        Listing,
        Market,
        PriceOutcome,
        Product,
        ProductName,
        ProductOption,
        ProductPage,
        SearchQuery,
        ShippingQuote,
        Sort,
        Stock,
        StockLevel,
        Variant,
    )
    from providers.sourcing.orders import (
        Address,
        OrderDraft,
        OrderedItem,
        OrderItem,
        OrderLine,
        OrderPart,
        OrderQuote,
        OrderRequest,
        OrderState,
        Placed,
        QuotedPart,
        SupplierOrder,
        Tracking,
        TrackingEvent,
        TrackingOutcome,
        TrackingState,
    )

__all__ = [
    "Address",
    "AliExpressSourcing",
    "Category",
    "CjSourcing",
    "DemoSourcing",
    "Grant",
    "Listing",
    "Market",
    "OrderDraft",
    "OrderItem",
    "OrderLine",
    "OrderPart",
    "OrderQuote",
    "OrderRequest",
    "OrderState",
    "OrderedItem",
    "Placed",
    "PriceOutcome",
    "Product",
    "ProductName",
    "ProductOption",
    "ProductPage",
    "QuotedPart",
    "SearchQuery",
    "ShippingQuote",
    "Sort",
    "Sourcing",
    "SourcingAdapter",
    "SourcingEvent",
    "SourcingEventType",
    "Stock",
    "StockLevel",
    "SupplierOrder",
    "Tracking",
    "TrackingEvent",
    "TrackingOutcome",
    "TrackingState",
    "Variant",
]

_ORDERS = (
    "Address OrderDraft OrderItem OrderLine OrderPart OrderQuote OrderRequest OrderState OrderedItem Placed QuotedPart"
    " SupplierOrder Tracking TrackingEvent TrackingOutcome TrackingState"
)
_HOMES = {
    "AliExpressSourcing": "sourcing.aliexpress",
    "CjSourcing": "sourcing.cjdropshipping",
    "DemoSourcing": "sourcing.demo",
    "Sourcing": "sourcing.api",
    "SourcingAdapter": "sourcing.api",
    "SourcingEvent": "sourcing.events",
    "SourcingEventType": "sourcing.events",
    **dict.fromkeys(_ORDERS.split(), "sourcing.orders"),
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"providers.{_HOMES.get(name, 'sourcing.models')}"), name)
