"""Stripe's webhooks: their signature (docs.stripe.com/webhooks), then their events. Needs no library."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from typing import Annotated

from pydantic import AwareDatetime, BeforeValidator, Field, JsonValue, ValidationError

from providers.billing import stripe_objects
from providers.billing.events import BillingEvent, BillingEventType
from providers.billing.stripe_objects import Moment
from providers.core.errors import BadResponseError, WebhookVerificationError
from providers.core.json import from_json
from providers.core.models import Json, RawRequest, Reply, invalid_request
from providers.core.signatures import hmac_sha256, same

HEADER = "stripe-signature"
MOST_SIGNATURES = 20
"""Two are usual while a secret is rolled."""

THIN = "v2.core.event"

CHECKOUT, CUSTOMER, SUBSCRIPTION, INVOICE = "checkout", "customer", "subscription", "invoice"
REFUND, PAYMENT, DISPUTE = "refund", "payment", "dispute"

READERS: Mapping[str, Callable[[JsonValue], object]] = {
    CHECKOUT: stripe_objects.checkout,
    CUSTOMER: stripe_objects.customer,
    SUBSCRIPTION: stripe_objects.subscription,
    INVOICE: stripe_objects.invoice,
    REFUND: stripe_objects.refund,
    PAYMENT: stripe_objects.payment,
    DISPUTE: stripe_objects.dispute,
}

TYPES: Mapping[str, tuple[BillingEventType, str]] = {
    "checkout.session.completed": (BillingEventType.CHECKOUT_COMPLETED, CHECKOUT),
    "checkout.session.async_payment_succeeded": (BillingEventType.CHECKOUT_PAID, CHECKOUT),
    "checkout.session.async_payment_failed": (BillingEventType.CHECKOUT_FAILED, CHECKOUT),
    "checkout.session.expired": (BillingEventType.CHECKOUT_EXPIRED, CHECKOUT),
    "customer.created": (BillingEventType.CUSTOMER_CREATED, CUSTOMER),
    "customer.updated": (BillingEventType.CUSTOMER_UPDATED, CUSTOMER),
    "customer.deleted": (BillingEventType.CUSTOMER_DELETED, CUSTOMER),
    "customer.subscription.created": (BillingEventType.SUBSCRIPTION_CREATED, SUBSCRIPTION),
    "customer.subscription.updated": (BillingEventType.SUBSCRIPTION_UPDATED, SUBSCRIPTION),
    "customer.subscription.pending_update_applied": (BillingEventType.SUBSCRIPTION_UPDATED, SUBSCRIPTION),
    "customer.subscription.pending_update_expired": (BillingEventType.SUBSCRIPTION_UPDATED, SUBSCRIPTION),
    "customer.subscription.trial_will_end": (BillingEventType.SUBSCRIPTION_TRIAL_ENDING, SUBSCRIPTION),
    "customer.subscription.paused": (BillingEventType.SUBSCRIPTION_PAUSED, SUBSCRIPTION),
    "customer.subscription.resumed": (BillingEventType.SUBSCRIPTION_RESUMED, SUBSCRIPTION),
    "customer.subscription.deleted": (BillingEventType.SUBSCRIPTION_ENDED, SUBSCRIPTION),
    "invoice.upcoming": (BillingEventType.INVOICE_UPCOMING, INVOICE),
    "invoice.paid": (BillingEventType.INVOICE_PAID, INVOICE),
    "invoice.payment_failed": (BillingEventType.INVOICE_FAILED, INVOICE),
    "invoice.payment_action_required": (BillingEventType.INVOICE_ACTION_REQUIRED, INVOICE),
    "invoice.finalization_failed": (BillingEventType.INVOICE_NOT_FINAL, INVOICE),
    "payment_intent.succeeded": (BillingEventType.PAYMENT_SUCCEEDED, PAYMENT),
    "payment_intent.payment_failed": (BillingEventType.PAYMENT_FAILED, PAYMENT),
    "charge.refunded": (BillingEventType.PAYMENT_REFUNDED, PAYMENT),
    "refund.created": (BillingEventType.REFUND_CREATED, REFUND),
    "refund.updated": (BillingEventType.REFUND_UPDATED, REFUND),
    "refund.failed": (BillingEventType.REFUND_FAILED, REFUND),
    "charge.dispute.created": (BillingEventType.DISPUTE_OPENED, DISPUTE),
    "charge.dispute.updated": (BillingEventType.DISPUTE_UPDATED, DISPUTE),
    "charge.dispute.closed": (BillingEventType.DISPUTE_CLOSED, DISPUTE),
}
"""What is subscribed to, and what its object is."""

THIN_TYPES = {
    "v1.billing.meter.error_report_triggered": BillingEventType.USAGE_REJECTED,
    "v1.billing.meter.no_meter_found": BillingEventType.USAGE_REJECTED,
}
"""Events that name their object and do not hold it; they come through event destinations, set up by hand."""


class _Data(Reply):
    object: dict[str, Json]
    previous_attributes: dict[str, Json] | None = None


class _Event(Reply):
    id: Annotated[str, Field(min_length=1)]
    type: str
    created: Moment
    livemode: bool
    data: _Data
    account: str | None = None


class _Thin(Reply):
    id: Annotated[str, Field(min_length=1)]
    type: str
    created: AwareDatetime
    livemode: bool = True
    context: Annotated[str | None, BeforeValidator(lambda value: value if isinstance(value, str) else None)] = None


def verify(request: RawRequest, secrets: Sequence[str], *, now: float, tolerance: float) -> None:
    """Check `Stripe-Signature` against every secret. Raises `WebhookVerificationError`."""
    header = request.headers.get(HEADER, "")
    moment, signatures = _parts(header)
    if not moment or not signatures:
        msg = "no Stripe-Signature with a time and a signature (t=...,v1=...)"
        raise WebhookVerificationError(msg, code="signature")
    signed = moment.encode() + b"."
    expected = [hmac_sha256(secret, signed, request.body) for secret in secrets]
    # Every pair is compared: how long it takes says nothing about which one agreed.
    agreed = [same(ours, theirs) for ours in expected for theirs in signatures]
    if True not in agreed:
        raise WebhookVerificationError("the signature is nobody's who is known here", code="signature")
    if abs(now - int(moment)) > tolerance:
        msg = f"signed {abs(now - int(moment)):.0f} seconds from now; {tolerance:g} are tolerated"
        raise WebhookVerificationError(msg, code="timestamp")


def _parts(header: str) -> tuple[str, list[str]]:
    moment, signatures = "", list[str]()
    for part in header.split(",", MOST_SIGNATURES)[:MOST_SIGNATURES]:
        name, _, value = part.strip().partition("=")
        if name == "t":
            moment = value if value.isascii() and value.isdigit() and len(value) <= 12 else ""
        elif name == "v1":
            signatures.append(value)
    return moment, signatures


def parse(body: bytes) -> BillingEvent:
    """The event of a verified body. Raises `BadResponseError` for what is none, or holds what Stripe does not document.

    A type that is not known here is `UNKNOWN`, whatever it holds.
    """
    try:
        data = from_json(body)
    except ValueError:
        msg = f"the event is not JSON ({len(body)} bytes)"
        raise BadResponseError(msg, code="event") from None
    if not isinstance(data, dict):
        raise BadResponseError("the event is not a JSON object", code="event")
    try:
        return _thin(data) if data.get("object") == THIN else _snapshot(data)
    except ValidationError as error:
        msg = f"the event is not as documented: {invalid_request(error).message}"
        raise BadResponseError(msg, code="event") from error


def _snapshot(data: dict[str, JsonValue]) -> BillingEvent:
    event = _Event.model_validate(data)
    kind, name = TYPES.get(event.type, (BillingEventType.UNKNOWN, ""))
    thing = event.data.object
    held: dict[str, object] = {}
    if name and (kind is not BillingEventType.INVOICE_UPCOMING or thing.get("id")):
        # Invoices to come have no id in some versions, and are nothing that could be named then.
        held[name] = READERS[name](thing)
    metadata = getattr(held.get(name), "metadata", None)
    return BillingEvent.model_validate(
        {
            **held,
            "type": kind,
            "event_id": event.id,
            "occurred_at": event.created,
            "livemode": event.livemode,
            "metadata": metadata or {},
            "changed": tuple(event.data.previous_attributes or ()),
            "account": event.account,
            "vendor": "stripe",
            "raw": data,
        }
    )


def _thin(data: dict[str, JsonValue]) -> BillingEvent:
    event = _Thin.model_validate(data)
    return BillingEvent(
        type=THIN_TYPES.get(event.type, BillingEventType.UNKNOWN),
        event_id=event.id,
        occurred_at=event.created.astimezone(UTC),
        livemode=event.livemode,
        account=event.context,
        vendor="stripe",
        raw=data,
    )
