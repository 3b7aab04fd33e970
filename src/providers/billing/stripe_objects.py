"""Stripe's objects as our models, and amounts as Stripe counts them. Needs no library: webhooks hold the same objects.

Since API version 2025-03-31 ("basil") a subscription's period stands on its items, and an invoice names its
subscription under `parent`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, TypeAlias, cast

from pydantic import BeforeValidator, Field, JsonValue

from providers.billing.models import (
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
    PortalSession,
    Price,
    Refund,
    RefundStatus,
    Subscription,
    SubscriptionStatus,
    TaxBehavior,
)
from providers.core.clock import utc
from providers.core.errors import InvalidRequestError
from providers.core.models import Money, Ref, Reply
from providers.core.money import DECIMALS, from_minor, to_minor

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

KEY = "providers_key"
"""Our name in the metadata of what a write has made, for the key that it was made with."""

AMOUNTS: Mapping[str, int] = MappingProxyType({**DECIMALS, "ISK": 2, "UGX": 2, "MGA": 0})
"""How many decimals Stripe counts a currency with (docs.stripe.com/currencies), where that is not ISO 4217's."""

STEPS: Mapping[str, int] = MappingProxyType(
    {"ISK": 100, "UGX": 100, **dict.fromkeys(("BHD", "JOD", "KWD", "OMR", "TND"), 10)}
)
"""What an amount has to be a multiple of: krónur and shillings are whole, the last of three decimals is 0."""

LARGEST = 10**15
LATEST = 20_000_000_000
"""Of times in seconds, in the year 2603; pydantic takes what is above for milliseconds."""


def minor(money: Money, field: str) -> int:
    """An amount as Stripe counts it. Raises `InvalidRequestError` for one that it cannot express."""
    amount = to_minor(money, decimals=AMOUNTS, field=field)
    step = STEPS.get(money.currency, 1)
    if amount % step or abs(amount) > LARGEST:
        msg = f"{field}: Stripe cannot express {money}"
        raise InvalidRequestError(msg, field=field, code="decimals")
    return amount


def major(amount: int, currency: str) -> Money:
    """The money of an amount as Stripe counts it."""
    return from_minor(amount, currency, decimals=AMOUNTS)


def ref(id_: str) -> Ref:
    """A reference to something of Stripe's."""
    return Ref(vendor="stripe", id=id_)


def _ref(id_: str | None) -> Ref | None:
    return None if id_ is None else ref(id_)


def _expanded(value: object) -> object:
    """The id, where the whole object stands in its place."""
    return cast("dict[str, object]", value).get("id") if isinstance(value, dict) else value


def _without_nulls(value: object) -> object:
    return {} if value is None else value


# Constraints first: those that stand behind a validator are checked in Python.
Id: TypeAlias = Annotated[str, Field(min_length=1, max_length=224), BeforeValidator(_expanded)]
Moment: TypeAlias = Annotated[int, Field(ge=0, le=LATEST)]
Amount: TypeAlias = Annotated[int, Field(ge=-LARGEST, le=LARGEST)]
Currency: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z]{3}$")]
Texts: TypeAlias = Annotated[dict[str, str], BeforeValidator(_without_nulls)]


class Listed(Reply):
    """A page of a list; its entries are read one by one."""

    data: list[dict[str, JsonValue]]
    has_more: bool = False

    @property
    def cursor(self) -> str:
        """Where the next page begins; `""` at the end."""
        last = self.data[-1].get("id") if self.has_more and self.data else None
        return last if isinstance(last, str) else ""


class _Recurring(Reply):
    interval: Interval
    interval_count: int
    meter: str | None = None


class PriceReply(Reply):
    """A price; `meter` is an id here, and the name of its events in ours."""

    id: Id
    product: Id
    active: bool
    currency: Currency
    unit_amount: Amount | None = None
    lookup_key: str | None = None
    recurring: _Recurring | None = None
    tax_behavior: str | None = None
    metadata: Texts = Field(default_factory=dict[str, str])

    @property
    def meter(self) -> str | None:
        """The id of its meter."""
        return self.recurring.meter if self.recurring else None

    @property
    def behavior(self) -> TaxBehavior:
        """Whether it holds the tax already."""
        return TaxBehavior(self.tax_behavior or TaxBehavior.UNSPECIFIED)


def price(data: JsonValue, meter: str | None = None) -> Price:
    """A price; its meter's event name, which Stripe tells elsewhere, is `meter`."""
    found = PriceReply.model_validate(data)
    return Price(
        ref=ref(found.id),
        product=found.product,
        amount=None if found.unit_amount is None else major(found.unit_amount, found.currency),
        active=found.active,
        lookup_key=found.lookup_key,
        interval=found.recurring.interval if found.recurring else None,
        interval_count=found.recurring.interval_count if found.recurring else None,
        meter=meter,
        metadata=found.metadata,
        raw=data,
    )


class ProductReply(Reply):
    """A product."""

    id: Id
    name: str
    active: bool
    tax_code: Id | None = None


class MeterReply(Reply):
    """A meter."""

    id: Id
    event_name: str


class _Customer(Reply):
    id: Id
    email: str | None = None
    name: str | None = None
    deleted: bool = False
    metadata: Texts = Field(default_factory=dict[str, str])


def customer(data: JsonValue) -> Customer:
    """A customer."""
    found = _Customer.model_validate(data)
    return Customer(
        ref=ref(found.id),
        email=found.email,
        name=found.name,
        deleted=found.deleted,
        metadata=_told(found.metadata),
        raw=data,
    )


class CheckoutReply(Reply):
    """A checkout session."""

    id: Id
    status: CheckoutStatus
    payment_status: PaymentStatus
    expires_at: Moment
    url: str | None = None
    customer: Id | None = None
    subscription: Id | None = None
    payment_intent: Id | None = None
    invoice: Id | None = None
    amount_total: Amount | None = None
    currency: Currency | None = None
    metadata: Texts = Field(default_factory=dict[str, str])


def checkout(data: JsonValue) -> CheckoutSession:
    """A checkout session."""
    found = CheckoutReply.model_validate(data)
    told = found.amount_total is not None and found.currency is not None
    return CheckoutSession(
        ref=ref(found.id),
        url=found.url,
        expires_at=utc(found.expires_at),
        status=found.status,
        payment_status=found.payment_status,
        customer=_ref(found.customer),
        subscription=_ref(found.subscription),
        payment=_ref(found.payment_intent),
        invoice=_ref(found.invoice),
        amount=major(found.amount_total or 0, found.currency or "") if told else None,
        metadata=_told(found.metadata),
        raw=data,
    )


class _Portal(Reply):
    id: Id
    url: str


def portal(data: JsonValue) -> PortalSession:
    """A session of the customer portal."""
    found = _Portal.model_validate(data)
    return PortalSession(ref=ref(found.id), url=found.url, raw=data)


class _ItemPrice(Reply):
    id: Id
    lookup_key: str | None = None


class _Item(Reply):
    id: Id
    price: _ItemPrice
    current_period_start: Moment
    current_period_end: Moment
    quantity: int | None = None


class _Items(Reply):
    data: Annotated[list[_Item], Field(min_length=1)]


class _PendingItem(Reply):
    price: _ItemPrice


class _PendingUpdate(Reply):
    subscription_items: list[_PendingItem] | None = None


class _Subscription(Reply):
    id: Id
    customer: Id
    status: SubscriptionStatus
    items: _Items
    cancel_at_period_end: bool
    trial_start: Moment | None = None
    trial_end: Moment | None = None
    cancel_at: Moment | None = None
    canceled_at: Moment | None = None
    latest_invoice: Id | None = None
    pending_update: _PendingUpdate | None = None
    metadata: Texts = Field(default_factory=dict[str, str])


def subscription(data: JsonValue) -> Subscription:
    """A subscription. Made in one go, times as seconds: it comes with most events."""
    found = _Subscription.model_validate(data)
    items = [
        {
            "id": item.id,
            "price": _named(item.price.id),
            "lookup_key": item.price.lookup_key,
            "quantity": item.quantity,
            "period_start": item.current_period_start,
            "period_end": item.current_period_end,
        }
        for item in found.items.data
    ]
    pending = found.pending_update and found.pending_update.subscription_items
    return Subscription.model_validate(
        {
            **{name: items[0][name] for name in _OF_FIRST_ITEM},
            "ref": _named(found.id),
            "customer": _named(found.customer),
            "status": found.status,
            "cancel_at_period_end": found.cancel_at_period_end,
            "trial_start": found.trial_start,
            "trial_end": found.trial_end,
            "cancel_at": found.cancel_at,
            "canceled_at": found.canceled_at,
            "latest_invoice": found.latest_invoice and _named(found.latest_invoice),
            "pending_price": _named(pending[0].price.id) if pending else None,
            "items": items,
            "metadata": _told(found.metadata),
            "raw": data,
        }
    )


_OF_FIRST_ITEM = ("price", "lookup_key", "quantity", "period_start", "period_end")


def _named(id_: str) -> dict[str, str]:
    """`ref`, to be made along with what it stands in."""
    return {"vendor": "stripe", "id": id_}


class _Proration(Reply):
    proration: bool = False


class _LineParent(Reply):
    invoice_item_details: _Proration | None = None
    subscription_item_details: _Proration | None = None


class _Period(Reply):
    start: Moment


class LineReply(Reply):
    """A line of an invoice."""

    amount: Amount
    currency: Currency
    description: str | None = None
    parent: _LineParent | None = None
    period: _Period | None = None

    @property
    def proration(self) -> bool:
        """Whether it settles a change in the middle of a period."""
        details = self.parent and (self.parent.subscription_item_details or self.parent.invoice_item_details)
        return bool(details and details.proration)

    def line(self) -> InvoiceLine:
        """As ours."""
        amount = major(self.amount, self.currency)
        return InvoiceLine(description=self.description or "", amount=amount, proration=self.proration)


class _Lines(Reply):
    data: list[LineReply]


class _OfSubscription(Reply):
    subscription: Id | None = None
    metadata: Texts = Field(default_factory=dict[str, str])


class _InvoiceParent(Reply):
    subscription_details: _OfSubscription | None = None


class _PaidWith(Reply):
    payment_intent: Id | None = None
    charge: Id | None = None


class _InvoicePayment(Reply):
    status: str
    payment: _PaidWith


class _InvoicePayments(Reply):
    data: list[_InvoicePayment]


class PaymentsReply(Reply):
    """What an invoice was paid with, where `payments` is expanded."""

    payments: _InvoicePayments | None = None

    @property
    def paid(self) -> str | None:
        """The id of the payment that went through."""
        for one in self.payments.data if self.payments else ():
            if one.status == "paid" and (id_ := one.payment.payment_intent or one.payment.charge):
                return id_
        return None


class AmountsReply(Reply):
    """What is on an invoice; a preview has no more than this."""

    total: Amount
    amount_due: Amount
    currency: Currency
    lines: _Lines


class _Invoice(Reply):
    id: Id
    status: InvoiceStatus
    total: Amount
    amount_due: Amount
    amount_paid: Amount
    currency: Currency
    created: Moment
    customer: Id | None = None
    parent: _InvoiceParent | None = None
    number: str | None = None
    billing_reason: str | None = None
    hosted_invoice_url: str | None = None
    invoice_pdf: str | None = None
    attempt_count: int = 0
    next_payment_attempt: Moment | None = None
    lines: _Lines | None = None
    metadata: Texts = Field(default_factory=dict[str, str])


def invoice(data: JsonValue) -> Invoice:
    """An invoice; its subscription's metadata is its own too, as far as it has no other."""
    found = _Invoice.model_validate(data)
    of = found.parent and found.parent.subscription_details
    return Invoice(
        ref=ref(found.id),
        status=found.status,
        total=major(found.total, found.currency),
        amount_due=major(found.amount_due, found.currency),
        amount_paid=major(found.amount_paid, found.currency),
        created_at=utc(found.created),
        customer=_ref(found.customer),
        subscription=_ref(of.subscription) if of else None,
        number=found.number,
        reason=found.billing_reason,
        hosted_url=found.hosted_invoice_url,
        pdf_url=found.invoice_pdf,
        attempts=found.attempt_count,
        next_attempt_at=_moment(found.next_payment_attempt),
        lines=tuple(line.line() for line in found.lines.data) if found.lines else (),
        metadata=_told({**of.metadata, **found.metadata} if of else found.metadata),
        raw=data,
    )


class _Refund(Reply):
    id: Id
    status: RefundStatus
    amount: Amount
    currency: Currency
    created: Moment
    payment_intent: Id | None = None
    charge: Id | None = None
    reason: str | None = None
    metadata: Texts = Field(default_factory=dict[str, str])


def refund(data: JsonValue) -> Refund:
    """A refund."""
    found = _Refund.model_validate(data)
    return Refund(
        ref=ref(found.id),
        status=found.status,
        amount=major(found.amount, found.currency),
        created_at=utc(found.created),
        payment=_ref(found.payment_intent or found.charge),
        reason=found.reason,
        metadata=_told(found.metadata),
        raw=data,
    )


class _Evidence(Reply):
    due_by: Moment | None = None


class _Dispute(Reply):
    id: Id
    status: DisputeStatus
    reason: str
    amount: Amount
    currency: Currency
    created: Moment
    payment_intent: Id | None = None
    charge: Id | None = None
    evidence_details: _Evidence | None = None
    metadata: Texts = Field(default_factory=dict[str, str])


def dispute(data: JsonValue) -> Dispute:
    """A dispute."""
    found = _Dispute.model_validate(data)
    # 0 and null both say that there is no date.
    due = (found.evidence_details and found.evidence_details.due_by) or None
    return Dispute(
        ref=ref(found.id),
        status=found.status,
        reason=found.reason,
        amount=major(found.amount, found.currency),
        created_at=utc(found.created),
        payment=_ref(found.payment_intent or found.charge),
        respond_by=_moment(due),
        metadata=_told(found.metadata),
        raw=data,
    )


class _Failure(Reply):
    code: str | None = None
    decline_code: str | None = None
    message: str | None = None


class PaymentReply(Reply):
    """A payment intent, or a charge, which knows the intent that it belongs to."""

    id: Id
    status: str
    amount: Amount
    currency: Currency
    customer: Id | None = None
    payment_intent: Id | None = None
    last_payment_error: _Failure | None = None
    failure_code: str | None = None
    failure_message: str | None = None
    metadata: Texts = Field(default_factory=dict[str, str])


def payment(data: JsonValue) -> Payment:
    """A payment, by its intent where it has one."""
    found = PaymentReply.model_validate(data)
    failure = found.last_payment_error or _Failure(code=found.failure_code, message=found.failure_message)
    return Payment(
        ref=ref(found.payment_intent or found.id),
        status=found.status,
        amount=major(found.amount, found.currency),
        customer=_ref(found.customer),
        failure_code=failure.decline_code or failure.code,
        failure=failure.message,
        metadata=_told(found.metadata),
        raw=data,
    )


class BalanceReply(Reply):
    """The account's balance, of which the mode is of interest."""

    livemode: bool


class EndpointReply(Reply):
    """A webhook endpoint; the secret only when it is made."""

    id: Id
    url: str
    status: str
    enabled_events: list[str]
    metadata: Texts = Field(default_factory=dict[str, str])
    secret: str | None = None


class MeterEventReply(Reply):
    """Usage that was taken."""

    identifier: Annotated[str, Field(min_length=1)]
    timestamp: Moment


def is_made_with(data: Mapping[str, JsonValue], key: str) -> bool:
    """Whether something was made with one of our keys."""
    metadata = data.get("metadata")
    return isinstance(metadata, dict) and metadata.get(KEY) == key


def _told(metadata: dict[str, str]) -> dict[str, str]:
    """The caller's part of the metadata."""
    metadata.pop(KEY, None)
    return metadata


def _moment(seconds: int | None) -> datetime | None:
    return None if seconds is None else utc(seconds)
