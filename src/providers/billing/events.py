"""What happened to money and subscriptions, in one vocabulary for all vendors."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import AwareDatetime, Field

from providers.billing.models import (
    CheckoutSession,
    Customer,
    Dispute,
    Invoice,
    Payment,
    Refund,
    Subscription,
)
from providers.core.models import Model, OpenVocabulary, Raw


class BillingEventType(OpenVocabulary):
    """What happened. A vendor's word that is not known here is `UNKNOWN`, never an error."""

    CHECKOUT_COMPLETED = "checkout.completed"
    """The customer is through; paid or not says `checkout.payment_status`."""
    CHECKOUT_PAID = "checkout.paid"
    """A payment that takes days (a debit) has arrived."""
    CHECKOUT_FAILED = "checkout.failed"
    """A payment that takes days has failed."""
    CHECKOUT_EXPIRED = "checkout.expired"
    CUSTOMER_CREATED = "customer.created"
    CUSTOMER_UPDATED = "customer.updated"
    CUSTOMER_DELETED = "customer.deleted"
    SUBSCRIPTION_CREATED = "subscription.created"
    SUBSCRIPTION_UPDATED = "subscription.updated"
    SUBSCRIPTION_TRIAL_ENDING = "subscription.trial_ending"
    SUBSCRIPTION_PAUSED = "subscription.paused"
    SUBSCRIPTION_RESUMED = "subscription.resumed"
    SUBSCRIPTION_ENDED = "subscription.ended"
    INVOICE_UPCOMING = "invoice.upcoming"
    INVOICE_PAID = "invoice.paid"
    INVOICE_FAILED = "invoice.payment_failed"
    INVOICE_ACTION_REQUIRED = "invoice.action_required"
    """The customer has to confirm the payment at `invoice.hosted_url`."""
    INVOICE_NOT_FINAL = "invoice.finalization_failed"
    PAYMENT_SUCCEEDED = "payment.succeeded"
    PAYMENT_FAILED = "payment.failed"
    PAYMENT_REFUNDED = "payment.refunded"
    REFUND_CREATED = "refund.created"
    REFUND_UPDATED = "refund.updated"
    REFUND_FAILED = "refund.failed"
    DISPUTE_OPENED = "dispute.opened"
    DISPUTE_UPDATED = "dispute.updated"
    DISPUTE_CLOSED = "dispute.closed"
    USAGE_REJECTED = "usage.rejected"
    """Usage that was recorded could not be counted."""
    UNKNOWN = "unknown"

    @property
    def rank(self) -> int:
        """Order within one second, of events about the same thing: first what begins it, last what ends it."""
        return _RANKS.get(self, 5)


_RANKS = {
    BillingEventType.CUSTOMER_CREATED: 0,
    BillingEventType.SUBSCRIPTION_CREATED: 0,
    BillingEventType.REFUND_CREATED: 0,
    BillingEventType.DISPUTE_OPENED: 0,
    BillingEventType.INVOICE_UPCOMING: 0,
    BillingEventType.INVOICE_FAILED: 4,
    BillingEventType.INVOICE_PAID: 9,
    BillingEventType.CUSTOMER_DELETED: 9,
    BillingEventType.SUBSCRIPTION_ENDED: 9,
    BillingEventType.DISPUTE_CLOSED: 9,
    BillingEventType.REFUND_FAILED: 9,
}


class BillingEvent(Model):
    """One event. Events come late, twice and out of order.

    Drop repeats by `event_id`. To keep a late one from undoing a newer, store `order` beside what it is about (the
    subscription, the invoice) and leave out events whose `order` is lower; where it is equal, read the thing anew.
    Of the typed objects the one concerned is set, as it was then. `changed` names what an update changed, in the
    vendor's words. `account` is the connected account it happened at. Check `livemode`: endpoints of connected
    accounts get test events too.
    """

    type: BillingEventType
    event_id: str
    occurred_at: AwareDatetime
    livemode: bool
    customer: Customer | None = None
    subscription: Subscription | None = None
    invoice: Invoice | None = None
    checkout: CheckoutSession | None = None
    refund: Refund | None = None
    payment: Payment | None = None
    dispute: Dispute | None = None
    metadata: Mapping[str, str] = Field(default_factory=dict)
    changed: tuple[str, ...] = ()
    account: str | None = None
    vendor: str
    raw: Raw = None

    @property
    def order(self) -> int:
        """Grows with time, by the second, and within one second by what the event is; fits a bigint column."""
        return int(self.occurred_at.timestamp()) * 10 + self.type.rank
