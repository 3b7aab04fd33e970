"""Billing: customers, checkouts, subscriptions, refunds, invoices. Vendors: demo, stripe."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from providers.billing.api import Billing, BillingAdapter
    from providers.billing.catalog import plan_of
    from providers.billing.demo import DemoBilling
    from providers.billing.events import BillingEvent, BillingEventType
    from providers.billing.models import (
        CatalogAction,
        CatalogChange,
        CatalogKind,
        CatalogPlan,
        ChangePreview,
        CheckoutLine,
        CheckoutSession,
        CheckoutStatus,
        Customer,
        Dispute,
        DisputeStatus,
        Interval,
        Invoice,
        InvoiceLine,
        InvoiceStatus,
        Payment,
        PaymentStatus,
        Plan,
        PortalSession,
        Price,
        Proration,
        Refund,
        RefundReason,
        RefundStatus,
        Subscription,
        SubscriptionItem,
        SubscriptionStatus,
        TaxBehavior,
        UsageRecord,
    )
    from providers.billing.platform import PLATFORM_PLANS
    from providers.billing.stripe import StripeBilling

__all__ = [
    "PLATFORM_PLANS",
    "Billing",
    "BillingAdapter",
    "BillingEvent",
    "BillingEventType",
    "CatalogAction",
    "CatalogChange",
    "CatalogKind",
    "CatalogPlan",
    "ChangePreview",
    "CheckoutLine",
    "CheckoutSession",
    "CheckoutStatus",
    "Customer",
    "DemoBilling",
    "Dispute",
    "DisputeStatus",
    "Interval",
    "Invoice",
    "InvoiceLine",
    "InvoiceStatus",
    "Payment",
    "PaymentStatus",
    "Plan",
    "PortalSession",
    "Price",
    "Proration",
    "Refund",
    "RefundReason",
    "RefundStatus",
    "StripeBilling",
    "Subscription",
    "SubscriptionItem",
    "SubscriptionStatus",
    "TaxBehavior",
    "UsageRecord",
    "plan_of",
]

_HOMES = {
    "PLATFORM_PLANS": "platform",
    "Billing": "api",
    "BillingAdapter": "api",
    "BillingEvent": "events",
    "BillingEventType": "events",
    "DemoBilling": "demo",
    "StripeBilling": "stripe",
    "plan_of": "catalog",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'models')}"), name)
