"""What is sold, to whom, and what became of the money. Amounts are exact; times are aware, in UTC."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, cast

from pydantic import AwareDatetime, Field, field_validator, model_validator

from providers.core.models import Model, Money, Raw, Ref, RequestModel

MOST_METADATA, LONGEST_NAME, LONGEST_VALUE = 40, 40, 500
"""Of metadata; Stripe takes 50 keys, and some are ours."""

Metadata = Mapping[str, str]


class Interval(StrEnum):
    """How often a price is charged."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"

    @property
    def adverb(self) -> str:
        """As it stands in lookup keys: `monthly`."""
        return "daily" if self is Interval.DAY else f"{self}ly"


class TaxBehavior(StrEnum):
    """Whether a price holds the tax already."""

    INCLUSIVE = "inclusive"
    EXCLUSIVE = "exclusive"
    UNSPECIFIED = "unspecified"


class Plan(RequestModel):
    """One price of one product, by name: what `sync_catalog` makes and `lookup_key` finds.

    `service` is the product's id, `title` what customers read (default: the service's name). `lookup_key` defaults to
    `"<service>_<plan>_<interval>ly"`, e.g. `"trendscout_pro_monthly"`. With `meter` (an event name of `record_usage`)
    the amount is for one unit of usage. `trial_days` is for checkouts to hand on; a vendor's price has none.
    """

    service: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,49}$")]
    plan: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,49}$")]
    amount: Money
    interval: Interval = Interval.MONTH
    interval_count: Annotated[int, Field(ge=1, le=36)] = 1
    lookup_key: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{0,200}$")] = ""
    title: Annotated[str, Field(max_length=200)] = ""
    trial_days: Annotated[int | None, Field(ge=1, le=730)] = None
    tax_behavior: TaxBehavior = TaxBehavior.UNSPECIFIED
    tax_code: str | None = None
    meter: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9_.-]{1,100}$")] = None
    metadata: Metadata = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        given = cast("dict[str, object]", data)
        service, plan = str(given.get("service", "")), str(given.get("plan", ""))
        try:
            adverb = Interval(str(given.get("interval", Interval.MONTH))).adverb
        except ValueError:
            return given  # named where the field is checked
        named = {"lookup_key": f"{service}_{plan}_{adverb}", "title": service.replace("_", " ").title()}
        return {**named, **{name: value for name, value in given.items() if value or name not in named}}

    @field_validator("amount")
    @classmethod
    def _not_negative(cls, value: Money) -> Money:
        return _not_less_than_nothing(value)

    @field_validator("metadata")
    @classmethod
    def _metadata(cls, value: Metadata) -> Metadata:
        return checked_metadata(value)

    @property
    def nickname(self) -> str:
        """What the vendor's console shows: `TrendScout Pro`."""
        return f"{self.title} {self.plan.replace('_', ' ').title()}"


class CatalogAction(StrEnum):
    """What is done to one thing of the catalogue."""

    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    """A price cannot be changed: a new one takes over its lookup key, the old one is archived."""
    KEEP = "keep"


class CatalogKind(StrEnum):
    """What a change is about."""

    METER = "meter"
    PRODUCT = "product"
    PRICE = "price"


class CatalogChange(Model):
    """One line of a catalogue plan: `key` is a product's id, a price's lookup key or a meter's event name."""

    action: CatalogAction
    kind: CatalogKind
    key: str
    detail: str = ""
    ref: Ref | None = None


class CatalogPlan(Model):
    """What `sync_catalog` did, or with `dry_run` would do, in this order."""

    changes: tuple[CatalogChange, ...]
    dry_run: bool

    @property
    def changed(self) -> tuple[CatalogChange, ...]:
        """What was not as it should be."""
        return tuple(change for change in self.changes if change.action is not CatalogAction.KEEP)


class Price(Model):
    """A price at the vendor. `amount` is None for tiered ones; `interval` for what is paid once."""

    ref: Ref
    product: str
    amount: Money | None
    active: bool
    lookup_key: str | None = None
    interval: Interval | None = None
    interval_count: int | None = None
    meter: str | None = None
    metadata: Metadata = Field(default_factory=dict)
    raw: Raw = None


class Customer(Model):
    """Somebody who pays. `deleted` ones keep their reference only."""

    ref: Ref
    email: str | None = None
    name: str | None = None
    deleted: bool = False
    metadata: Metadata = Field(default_factory=dict)
    raw: Raw = None


class CheckoutLine(RequestModel):
    """One position of a checkout: what it is called, what one costs, how many."""

    title: Annotated[str, Field(min_length=1, max_length=250)]
    unit_price: Money
    quantity: Annotated[int, Field(ge=1, le=999_999)] = 1
    description: Annotated[str | None, Field(max_length=500)] = None
    image_url: str | None = None
    tax_code: str | None = None

    @field_validator("unit_price")
    @classmethod
    def _not_negative(cls, value: Money) -> Money:
        return _not_less_than_nothing(value)


class CheckoutStatus(StrEnum):
    """Whether a checkout can still be paid."""

    OPEN = "open"
    COMPLETE = "complete"
    EXPIRED = "expired"


class PaymentStatus(StrEnum):
    """Whether a checkout's money is there: complete is not yet paid."""

    PAID = "paid"
    UNPAID = "unpaid"
    NOT_REQUIRED = "no_payment_required"


class CheckoutSession(Model):
    """A page to send the customer to. `url` is None once it is over; what it made is set when it is complete.

    Grant access on a subscription's status or a paid invoice, never on the visit of `success_url`.
    """

    ref: Ref
    url: str | None
    expires_at: AwareDatetime
    status: CheckoutStatus
    payment_status: PaymentStatus
    customer: Ref | None = None
    subscription: Ref | None = None
    payment: Ref | None = None
    invoice: Ref | None = None
    amount: Money | None = None
    metadata: Metadata = Field(default_factory=dict)
    raw: Raw = None


class PortalSession(Model):
    """A page where the customer manages cards, plans and invoices. Good for minutes: make it when it is asked for."""

    ref: Ref
    url: str
    raw: Raw = None


class SubscriptionStatus(StrEnum):
    """Where a subscription stands. A word that is not here is an error, never a guess."""

    INCOMPLETE = "incomplete"
    INCOMPLETE_EXPIRED = "incomplete_expired"
    TRIALING = "trialing"
    ACTIVE = "active"
    PAST_DUE = "past_due"
    CANCELED = "canceled"
    UNPAID = "unpaid"
    PAUSED = "paused"

    @property
    def over(self) -> bool:
        """Whether nothing brings it back."""
        return self in {SubscriptionStatus.CANCELED, SubscriptionStatus.INCOMPLETE_EXPIRED}


class SubscriptionItem(Model):
    """One price of a subscription, and the period that is paid or owed for it."""

    id: str
    price: Ref
    lookup_key: str | None
    quantity: int | None
    period_start: AwareDatetime
    period_end: AwareDatetime


class Subscription(Model):
    """A customer's subscription. `price`, `lookup_key`, `quantity` and the period are those of its first item.

    `pending_price` is one that was chosen and waits for its payment: the subscription is not changed until then.
    """

    ref: Ref
    customer: Ref
    status: SubscriptionStatus
    price: Ref
    lookup_key: str | None
    quantity: int | None
    period_start: AwareDatetime
    period_end: AwareDatetime
    cancel_at_period_end: bool
    trial_start: AwareDatetime | None = None
    trial_end: AwareDatetime | None = None
    cancel_at: AwareDatetime | None = None
    canceled_at: AwareDatetime | None = None
    latest_invoice: Ref | None = None
    pending_price: Ref | None = None
    items: tuple[SubscriptionItem, ...] = ()
    metadata: Metadata = Field(default_factory=dict)
    raw: Raw = None


class Proration(StrEnum):
    """What a change in the middle of a period does to the money."""

    NEXT_INVOICE = "next_invoice"
    """The difference stands on the next invoice."""
    NOW = "now"
    """It is charged at once; the change waits for the payment."""
    NONE = "none"
    """No difference is charged or given back."""


class InvoiceLine(Model):
    """One position of an invoice."""

    description: str
    amount: Money
    proration: bool = False


class ChangePreview(Model):
    """What a change of plan would cost. Give `at` to `change_plan`, so that it charges just this.

    `due_now` is what is charged at once: with `Proration.NOW`, or when the change begins a new period, else 0.
    `difference` is what the change alone makes: below 0 for money that comes back. `total` is the invoice's, with the
    next period where it holds that.
    """

    at: AwareDatetime
    due_now: Money
    difference: Money
    total: Money
    lines: tuple[InvoiceLine, ...]
    raw: Raw = None


class InvoiceStatus(StrEnum):
    """Where an invoice stands."""

    DRAFT = "draft"
    OPEN = "open"
    PAID = "paid"
    VOID = "void"
    UNCOLLECTIBLE = "uncollectible"


class Invoice(Model):
    """What a customer owes, or has paid."""

    ref: Ref
    status: InvoiceStatus
    total: Money
    amount_due: Money
    amount_paid: Money
    created_at: AwareDatetime
    customer: Ref | None = None
    subscription: Ref | None = None
    number: str | None = None
    reason: str | None = None
    hosted_url: str | None = None
    pdf_url: str | None = None
    attempts: int = 0
    next_attempt_at: AwareDatetime | None = None
    lines: tuple[InvoiceLine, ...] = ()
    metadata: Metadata = Field(default_factory=dict)
    raw: Raw = None


class RefundReason(StrEnum):
    """Why money goes back."""

    DUPLICATE = "duplicate"
    FRAUDULENT = "fraudulent"
    REQUESTED = "requested_by_customer"


class RefundStatus(StrEnum):
    """Where a refund stands."""

    PENDING = "pending"
    REQUIRES_ACTION = "requires_action"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


class Refund(Model):
    """Money that goes back."""

    ref: Ref
    status: RefundStatus
    amount: Money
    created_at: AwareDatetime
    payment: Ref | None = None
    reason: str | None = None
    metadata: Metadata = Field(default_factory=dict)
    raw: Raw = None


class DisputeStatus(StrEnum):
    """Where a dispute stands."""

    WARNING_NEEDS_RESPONSE = "warning_needs_response"
    WARNING_UNDER_REVIEW = "warning_under_review"
    WARNING_CLOSED = "warning_closed"
    NEEDS_RESPONSE = "needs_response"
    UNDER_REVIEW = "under_review"
    WON = "won"
    LOST = "lost"
    PREVENTED = "prevented"


class Dispute(Model):
    """A charge that the customer's bank takes back. Evidence is due by `respond_by`."""

    ref: Ref
    status: DisputeStatus
    reason: str
    amount: Money
    created_at: AwareDatetime
    payment: Ref | None = None
    respond_by: AwareDatetime | None = None
    metadata: Metadata = Field(default_factory=dict)
    raw: Raw = None


class Payment(Model):
    """One attempt to be paid. `failure` says why it did not work, in words for the customer."""

    ref: Ref
    status: str
    amount: Money
    customer: Ref | None = None
    failure_code: str | None = None
    failure: str | None = None
    metadata: Metadata = Field(default_factory=dict)
    raw: Raw = None


class UsageRecord(Model):
    """Usage that was counted. `id` names it: the same id is counted once."""

    id: str
    meter: str
    customer: Ref
    quantity: Decimal
    at: AwareDatetime


def _not_less_than_nothing(value: Money) -> Money:
    if not value.amount.is_finite() or value.amount < 0:
        msg = f"{value.amount} is not an amount to charge"
        raise ValueError(msg)
    return value


def checked_metadata(value: Metadata) -> Metadata:
    """Raise `ValueError` for metadata that vendors refuse."""
    if len(value) > MOST_METADATA:
        msg = f"more than {MOST_METADATA} keys"
        raise ValueError(msg)
    for name, text in value.items():
        if not 0 < len(name) <= LONGEST_NAME or len(text) > LONGEST_VALUE or "[" in name or "]" in name:
            msg = (
                f"{name[:60]!r}: names have up to {LONGEST_NAME} characters, no brackets, values up to {LONGEST_VALUE}"
            )
            raise ValueError(msg)
    return value
