"""Billing, as services hold it, and what a vendor has to provide."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol, TypeVar

from providers.billing.catalog import checked
from providers.billing.events import BillingEvent
from providers.billing.models import (
    CatalogPlan,
    ChangePreview,
    CheckoutLine,
    CheckoutSession,
    Customer,
    Dispute,
    Invoice,
    PortalSession,
    Price,
    Proration,
    Refund,
    RefundReason,
    Subscription,
    UsageRecord,
    checked_metadata,
)
from providers.core.capability import Capability, as_ref
from providers.core.errors import InvalidRequestError
from providers.core.ids import new_id
from providers.core.models import Money, RawRequest, Ref, WebhookEndpoint, WebhookResult
from providers.core.operation import Effect, Operation
from providers.core.route import Safeguards
from providers.core.webhooks import ReceivingAdapter, receive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from providers.billing.models import Plan

T = TypeVar("T")

ENSURE_CUSTOMER = Operation(name="billing.ensure_customer", effect=Effect.IDEMPOTENT, result=Customer, exclusive=True)
CUSTOMER = Operation(name="billing.customer", effect=Effect.READ, result=Customer)
PRICE = Operation(name="billing.price", effect=Effect.READ, result=Price)
SUBSCRIPTION_CHECKOUT = Operation(name="billing.subscription_checkout", effect=Effect.ONCE, result=CheckoutSession)
PAYMENT_CHECKOUT = Operation(name="billing.payment_checkout", effect=Effect.ONCE, result=CheckoutSession)
CHECKOUT = Operation(name="billing.checkout", effect=Effect.READ, result=CheckoutSession)
EXPIRE_CHECKOUT = Operation(name="billing.expire_checkout", effect=Effect.IDEMPOTENT, result=CheckoutSession)
PORTAL = Operation(name="billing.portal", effect=Effect.IDEMPOTENT, result=PortalSession)
SUBSCRIPTION = Operation(name="billing.subscription", effect=Effect.READ, result=Subscription)
SUBSCRIPTIONS = Operation(name="billing.subscriptions", effect=Effect.READ)
PREVIEW_CHANGE = Operation(name="billing.preview_change", effect=Effect.READ, result=ChangePreview)
CHANGE_PLAN = Operation(name="billing.change_plan", effect=Effect.ONCE, result=Subscription)
CANCEL = Operation(name="billing.cancel", effect=Effect.IDEMPOTENT, result=Subscription)
RESUME = Operation(name="billing.resume", effect=Effect.IDEMPOTENT, result=Subscription)
PAYMENT_OF = Operation(name="billing.payment_of", effect=Effect.READ, result=Ref)
REFUND = Operation(name="billing.refund", effect=Effect.ONCE, result=Refund)
INVOICE = Operation(name="billing.invoice", effect=Effect.READ, result=Invoice)
INVOICES = Operation(name="billing.invoices", effect=Effect.READ)
DISPUTES = Operation(name="billing.disputes", effect=Effect.READ)
RECORD_USAGE = Operation(name="billing.record_usage", effect=Effect.ONCE, result=UsageRecord)
SYNC_CATALOG = Operation(
    name="billing.sync_catalog",
    effect=Effect.IDEMPOTENT,
    result=CatalogPlan,
    timeout=300.0,
    attempt_timeout=120.0,
    exclusive=True,
)
PLAN_CATALOG = Operation(
    name="billing.sync_catalog", effect=Effect.READ, result=CatalogPlan, timeout=300.0, attempt_timeout=120.0
)
ENSURE_WEBHOOK = Operation(
    name="billing.ensure_webhook", effect=Effect.IDEMPOTENT, result=WebhookEndpoint, exclusive=True
)
FIND = Operation(name="billing.find", effect=Effect.READ, attempts=2)

OPERATIONS = (
    ENSURE_CUSTOMER,
    CUSTOMER,
    PRICE,
    SUBSCRIPTION_CHECKOUT,
    PAYMENT_CHECKOUT,
    CHECKOUT,
    EXPIRE_CHECKOUT,
    PORTAL,
    SUBSCRIPTION,
    SUBSCRIPTIONS,
    PREVIEW_CHANGE,
    CHANGE_PLAN,
    CANCEL,
    RESUME,
    PAYMENT_OF,
    REFUND,
    INVOICE,
    INVOICES,
    DISPUTES,
    RECORD_USAGE,
    SYNC_CATALOG,
    ENSURE_WEBHOOK,
    FIND,
)

LONGEST_TRIAL = 730
"""Days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutPage:
    """What both kinds of checkout have in common. `key` is the vendor's idempotency key."""

    success_url: str
    cancel_url: str
    metadata: Mapping[str, str]
    promotion_codes: bool
    automatic_tax: bool
    key: str

    def __post_init__(self) -> None:
        _url("success_url", self.success_url)
        _url("cancel_url", self.cancel_url)


class BillingAdapter(ReceivingAdapter[BillingEvent], Protocol):
    """What a billing vendor provides. Let vendor exceptions escape; do not retry, cache or log.

    References are the vendor's own ids. `key` is the vendor's idempotency key for the write: the same for every
    attempt, and kept in the metadata of what it makes, where `find_*` looks for it.
    """

    async def ensure_customer(self, email: str, name: str | None, metadata: Mapping[str, str], key: str) -> Customer:
        """The customer of this address whose `service` and `user_id` agree; made if there is none, brought up to date
        if it differs.
        """  # noqa: D205
        ...

    async def customer(self, ref: Ref) -> Customer:
        """One that is known."""
        ...

    async def price(self, ref: Ref) -> Price:
        """By reference."""
        ...

    async def price_by_key(self, lookup_key: str) -> Price:
        """The active price with this lookup key. Raises `NotFoundError`."""
        ...

    async def subscription_checkout(
        self,
        *,
        customer: Ref,
        price: Ref,
        quantity: int,
        trial_days: int | None,
        page: CheckoutPage,
    ) -> CheckoutSession:
        """A page where the customer subscribes; its metadata is the subscription's too."""
        ...

    async def payment_checkout(
        self,
        *,
        lines: Sequence[CheckoutLine],
        customer: Ref | None,
        customer_email: str | None,
        page: CheckoutPage,
    ) -> CheckoutSession:
        """A page where the lines, of one currency, are paid once; its metadata is the payment's too."""
        ...

    async def find_checkout(self, key: str, since: float) -> CheckoutSession | None:
        """The checkout made with this key since a moment (unix time)."""
        ...

    async def checkout(self, ref: Ref) -> CheckoutSession:
        """How far it is."""
        ...

    async def expire_checkout(self, ref: Ref) -> CheckoutSession:
        """Close it; one that is over stays as it is."""
        ...

    async def portal(self, customer: Ref, return_url: str) -> PortalSession:
        """A page where the customer manages what they have."""
        ...

    async def subscription(self, ref: Ref) -> Subscription:
        """As it is now."""
        ...

    async def subscriptions(self, customer: Ref, cursor: str) -> tuple[list[Subscription], str]:
        """A page of a customer's, ended ones too, from `""`; with the cursor of the next, `""` at the end."""
        ...

    async def preview_change(
        self, ref: Ref, price: Ref, quantity: int | None, proration: Proration, at: datetime | None
    ) -> ChangePreview:
        """What `change_plan` would cost, at `at` or now."""
        ...

    async def change_plan(
        self, ref: Ref, price: Ref, quantity: int | None, proration: Proration, at: datetime | None, key: str
    ) -> Subscription:
        """Put the subscription on another price."""
        ...

    async def cancel(self, ref: Ref, *, at_period_end: bool) -> Subscription:
        """End it; one that has ended stays so."""
        ...

    async def resume(self, ref: Ref) -> Subscription:
        """Take a cancellation at the period's end back, or end a pause. Raises `ConflictError` when it is over."""
        ...

    async def payment_of(self, ref: Ref) -> Ref:
        """The payment behind a payment, an invoice or a checkout. Raises `NotFoundError` when nothing was paid."""
        ...

    async def refund(self, payment: Ref, amount: Money | None, reason: RefundReason | None, key: str) -> Refund:
        """Send money back, all that is left without an amount."""
        ...

    async def find_refund(self, payment: Ref, key: str) -> Refund | None:
        """The refund of this payment that was made with this key."""
        ...

    async def invoice(self, ref: Ref) -> Invoice:
        """As it is now."""
        ...

    async def invoices(self, customer: Ref, cursor: str) -> tuple[list[Invoice], str]:
        """A page of a customer's, newest first, from `""`; with the cursor of the next, `""` at the end."""
        ...

    async def disputes(self, cursor: str) -> tuple[list[Dispute], str]:
        """A page of all, newest first, from `""`; with the cursor of the next, `""` at the end."""
        ...

    async def record_usage(
        self, customer: Ref, meter: str, quantity: Decimal, at: datetime | None, key: str
    ) -> UsageRecord:
        """Count usage once for this key."""
        ...

    async def sync_catalog(self, plans: Sequence[Plan], *, dry_run: bool) -> CatalogPlan:
        """Make the catalogue agree with the plans (`billing.catalog.changes`), or say what would be done."""
        ...

    async def ensure_webhook(self, url: str, key: str) -> WebhookEndpoint:
        """Have all events that are known sent to `url`, signed."""
        ...


class Billing(Capability[BillingAdapter]):
    """Sells, charges and gives back, and reads the vendor's events. Safe to share between tasks.

    Every operation takes `timeout=` (seconds, the whole call) and raises the errors of `providers.errors`; a declined
    card is a `RejectedError` with the vendor's `code`. Writes that move money are made once for an idempotency key,
    by us and by the vendor. Prices are given by reference or, better, by lookup key.
    """

    name = "billing"

    async def ensure_customer(
        self,
        *,
        email: str,
        name: str | None = None,
        metadata: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Customer:
        """The customer with this address, made if there is none.

        One person may be several customers: of those with the address, the one whose metadata agrees on `service` and
        `user_id`, as far as they are given. Name and metadata are brought up to date.
        """
        address = email.strip()
        if "@" not in address.strip("@") or any(c.isspace() for c in address):
            msg = f"email: {email[:80]!r} is not an address"
            raise InvalidRequestError(msg, field="email")
        told = _metadata(metadata)
        key = self._key(ENSURE_CUSTOMER, new_id())
        return await self._route.one(
            ENSURE_CUSTOMER,
            None,
            lambda adapter: adapter.ensure_customer(address, name, told, key),
            payload=[address, told.get("service"), told.get("user_id")],
            timeout=timeout,
        )

    async def customer(self, ref: Ref | str, *, timeout: float | None = None, fresh: bool = False) -> Customer:
        """A customer. Raises `NotFoundError`; one that was deleted says so."""
        return await self._read(CUSTOMER, ref, lambda adapter, name: adapter.customer(name), timeout, fresh=fresh)

    async def price(self, price: Ref | str, *, timeout: float | None = None, fresh: bool = False) -> Price:
        """A price, by reference or lookup key. Raises `NotFoundError`; by its key only an active one is found."""
        if isinstance(price, str) and ":" not in price:
            key = _lookup_key(price)
            return await self._route.one(
                PRICE, None, lambda adapter: adapter.price_by_key(key), payload=key, timeout=timeout, fresh=fresh
            )
        return await self._read(PRICE, price, lambda adapter, name: adapter.price(name), timeout, fresh=fresh)

    async def subscription_checkout(
        self,
        *,
        customer: Ref | str,
        price: Ref | str,
        quantity: int = 1,
        trial_days: int | None = None,
        success_url: str,
        cancel_url: str,
        metadata: Mapping[str, str] | None = None,
        promotion_codes: bool = False,
        automatic_tax: bool = False,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> CheckoutSession:
        """A page where the customer subscribes; send them to its `url`.

        `{CHECKOUT_SESSION_ID}` in `success_url` is filled in. `metadata` comes back on the session, the subscription
        and their events. Raises `NotFoundError` for an unknown lookup key.
        """
        whom = as_ref(customer)
        _positive("quantity", quantity)
        if trial_days is not None and not 1 <= trial_days <= LONGEST_TRIAL:
            msg = f"trial_days: 1 to {LONGEST_TRIAL}"
            raise InvalidRequestError(msg, field="trial_days")
        key = idempotency_key or new_id()
        page = CheckoutPage(
            success_url=success_url,
            cancel_url=cancel_url,
            metadata=_metadata(metadata),
            promotion_codes=promotion_codes,
            automatic_tax=automatic_tax,
            key=self._key(SUBSCRIPTION_CHECKOUT, key),
        )
        what = await self._price_ref(price, timeout)
        return await self._route.one(
            SUBSCRIPTION_CHECKOUT,
            whom.vendor,
            lambda adapter: adapter.subscription_checkout(
                customer=whom, price=what, quantity=quantity, trial_days=trial_days, page=page
            ),
            key=key,
            generated=idempotency_key is None,
            payload=[whom, str(price), quantity, trial_days, page],
            timeout=timeout,
            safeguards=Safeguards(look_up=FIND, find=lambda adapter, since: adapter.find_checkout(page.key, since)),
        )

    async def payment_checkout(
        self,
        lines: Iterable[CheckoutLine],
        *,
        customer: Ref | str | None = None,
        customer_email: str | None = None,
        currency: str | None = None,
        success_url: str,
        cancel_url: str,
        metadata: Mapping[str, str] | None = None,
        promotion_codes: bool = False,
        automatic_tax: bool = False,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> CheckoutSession:
        """A page where the lines are paid once; send the customer to its `url`.

        All lines have one currency (`currency`, if it is given). Either a customer or an address, or neither. The
        session's reference, or that of its payment, is what `refund` takes.
        """
        positions = tuple(lines)
        if not positions:
            msg = "lines: nothing to pay for"
            raise InvalidRequestError(msg, field="lines")
        wanted = currency.upper() if currency else positions[0].unit_price.currency
        for index, line in enumerate(positions):
            if line.unit_price.currency != wanted:
                msg = f"lines.{index}.unit_price: {line.unit_price.currency}, and the checkout is in {wanted}"
                raise InvalidRequestError(msg, field=f"lines.{index}.unit_price")
        if customer is not None and customer_email is not None:
            msg = "customer_email: give the customer or an address, not both"
            raise InvalidRequestError(msg, field="customer_email")
        whom = None if customer is None else as_ref(customer)
        key = idempotency_key or new_id()
        page = CheckoutPage(
            success_url=success_url,
            cancel_url=cancel_url,
            metadata=_metadata(metadata),
            promotion_codes=promotion_codes,
            automatic_tax=automatic_tax,
            key=self._key(PAYMENT_CHECKOUT, key),
        )
        return await self._route.one(
            PAYMENT_CHECKOUT,
            None if whom is None else whom.vendor,
            lambda adapter: adapter.payment_checkout(
                lines=positions, customer=whom, customer_email=customer_email, page=page
            ),
            key=key,
            generated=idempotency_key is None,
            payload=[positions, whom, customer_email, page],
            timeout=timeout,
            safeguards=Safeguards(look_up=FIND, find=lambda adapter, since: adapter.find_checkout(page.key, since)),
        )

    async def checkout(self, ref: Ref | str, *, timeout: float | None = None, fresh: bool = False) -> CheckoutSession:
        """How far a checkout is, and what it made. Raises `NotFoundError`."""
        return await self._read(CHECKOUT, ref, lambda adapter, name: adapter.checkout(name), timeout, fresh=fresh)

    async def expire_checkout(self, ref: Ref | str, *, timeout: float | None = None) -> CheckoutSession:
        """Close a checkout, so that nobody can pay it any more; one that is over stays as it is."""
        name = as_ref(ref)
        return await self._route.one(
            EXPIRE_CHECKOUT, name.vendor, lambda adapter: adapter.expire_checkout(name), timeout=timeout
        )

    async def portal(self, customer: Ref | str, *, return_url: str, timeout: float | None = None) -> PortalSession:
        """A page where the customer manages cards, plan and invoices; send them to its `url` at once."""
        whom = as_ref(customer)
        _url("return_url", return_url)
        return await self._route.one(
            PORTAL, whom.vendor, lambda adapter: adapter.portal(whom, return_url), timeout=timeout
        )

    async def subscription(self, ref: Ref | str, *, timeout: float | None = None, fresh: bool = False) -> Subscription:
        """A subscription as it is now. Raises `NotFoundError`."""
        return await self._read(
            SUBSCRIPTION, ref, lambda adapter, name: adapter.subscription(name), timeout, fresh=fresh
        )

    async def subscriptions(
        self, customer: Ref | str, *, timeout: float | None = None, fresh: bool = False
    ) -> AsyncIterator[Subscription]:
        """All of a customer's, ended ones too. `timeout` is for each page."""
        whom = as_ref(customer)
        pages = self._route.pages(
            SUBSCRIPTIONS,
            whom.vendor,
            lambda adapter, cursor: adapter.subscriptions(whom, cursor),
            timeout=timeout,
            fresh=fresh,
        )
        async for subscription in pages:
            yield subscription

    async def preview_change(
        self,
        ref: Ref | str,
        price: Ref | str,
        *,
        quantity: int | None = None,
        proration: Proration = Proration.NEXT_INVOICE,
        at: datetime | None = None,
        timeout: float | None = None,
        fresh: bool = False,
    ) -> ChangePreview:
        """What `change_plan` would cost. Changes nothing."""
        name = as_ref(ref)
        _change(quantity, at)
        what = await self._price_ref(price, timeout)
        return await self._route.one(
            PREVIEW_CHANGE,
            name.vendor,
            lambda adapter: adapter.preview_change(name, what, quantity, Proration(proration), at),
            timeout=timeout,
            fresh=fresh,
        )

    async def change_plan(
        self,
        ref: Ref | str,
        price: Ref | str,
        *,
        quantity: int | None = None,
        proration: Proration = Proration.NEXT_INVOICE,
        at: datetime | None = None,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> Subscription:
        """Put a subscription on another price, up or down; `at` is that of the preview it should agree with.

        With `Proration.NOW` the difference is charged at once: until it is paid the subscription keeps its price and
        has a `pending_price`. Raises `ConflictError` for one that is over.
        """
        name = as_ref(ref)
        _change(quantity, at)
        what = await self._price_ref(price, timeout)
        key = idempotency_key or new_id()
        own = self._key(CHANGE_PLAN, key)
        return await self._route.one(
            CHANGE_PLAN,
            name.vendor,
            lambda adapter: adapter.change_plan(name, what, quantity, Proration(proration), at, own),
            key=key,
            generated=idempotency_key is None,
            payload=[name, str(price), quantity, proration, at],
            timeout=timeout,
        )

    async def cancel(self, ref: Ref | str, *, at_period_end: bool = True, timeout: float | None = None) -> Subscription:
        """End a subscription when what is paid runs out, or at once. One that has ended stays so."""
        name = as_ref(ref)
        return await self._route.one(
            CANCEL, name.vendor, lambda adapter: adapter.cancel(name, at_period_end=at_period_end), timeout=timeout
        )

    async def resume(self, ref: Ref | str, *, timeout: float | None = None) -> Subscription:
        """Take a cancellation at the period's end back, or end a pause. Raises `ConflictError` when it is over."""
        name = as_ref(ref)
        return await self._route.one(RESUME, name.vendor, lambda adapter: adapter.resume(name), timeout=timeout)

    async def refund(
        self,
        ref: Ref | str,
        *,
        amount: Money | None = None,
        reason: RefundReason | None = None,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> Refund:
        """Send money back: all that is left, or an amount. `ref` is a payment, an invoice or a checkout session.

        Raises `NotFoundError` when nothing was paid, `InvalidRequestError` for more than is left or another currency.
        Give an idempotency key of your own (the return's id): a second refund of the same order is a new one.
        """
        name = as_ref(ref)
        if amount is not None and (not amount.amount.is_finite() or amount.amount <= 0):
            msg = f"amount: {amount} is nothing to send back"
            raise InvalidRequestError(msg, field="amount")
        payment = await self._read(PAYMENT_OF, name, lambda adapter, each: adapter.payment_of(each), timeout)
        key = idempotency_key or new_id()
        own = self._key(REFUND, key)
        return await self._route.one(
            REFUND,
            name.vendor,
            lambda adapter: adapter.refund(payment, amount, None if reason is None else RefundReason(reason), own),
            key=key,
            generated=idempotency_key is None,
            payload=[name, amount, reason],
            timeout=timeout,
            safeguards=Safeguards(look_up=FIND, find=lambda adapter, _: adapter.find_refund(payment, own)),
        )

    async def invoice(self, ref: Ref | str, *, timeout: float | None = None, fresh: bool = False) -> Invoice:
        """An invoice as it is now. Raises `NotFoundError`."""
        return await self._read(INVOICE, ref, lambda adapter, name: adapter.invoice(name), timeout, fresh=fresh)

    async def invoices(
        self, customer: Ref | str, *, timeout: float | None = None, fresh: bool = False
    ) -> AsyncIterator[Invoice]:
        """A customer's invoices, newest first. `timeout` is for each page."""
        whom = as_ref(customer)
        pages = self._route.pages(
            INVOICES, whom.vendor, lambda adapter, cursor: adapter.invoices(whom, cursor), timeout=timeout, fresh=fresh
        )
        async for invoice in pages:
            yield invoice

    async def disputes(self, *, timeout: float | None = None, fresh: bool = False) -> AsyncIterator[Dispute]:
        """All disputes, newest first. `timeout` is for each page."""
        pages = self._route.pages(
            DISPUTES, None, lambda adapter, cursor: adapter.disputes(cursor), timeout=timeout, fresh=fresh
        )
        async for dispute in pages:
            yield dispute

    async def record_usage(
        self,
        customer: Ref | str,
        *,
        meter: str,
        quantity: Decimal | int,
        at: datetime | None = None,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> UsageRecord:
        """Count usage for the customer's subscriptions to prices with this `meter` (`Plan.meter`), once for a key.

        `at` (default: now) is at most 35 days old.
        """
        whom, number = as_ref(customer), Decimal(quantity)
        if not number.is_finite() or number < 0:
            msg = f"quantity: {quantity} is not a quantity"
            raise InvalidRequestError(msg, field="quantity")
        _aware(at)
        key = idempotency_key or new_id()
        own = self._key(RECORD_USAGE, key)
        return await self._route.one(
            RECORD_USAGE,
            whom.vendor,
            lambda adapter: adapter.record_usage(whom, meter, number, at, own),
            key=key,
            generated=idempotency_key is None,
            payload=[whom, meter, str(number), at],
            timeout=timeout,
        )

    async def sync_catalog(
        self, plans: Iterable[Plan], *, dry_run: bool = False, timeout: float | None = None
    ) -> CatalogPlan:
        """Make the vendor's products, prices and meters agree with the plans; a second run changes nothing.

        Prices are found by lookup key. One whose amount changed is replaced: subscriptions keep the old one until
        `change_plan`. What is not among the plans is left alone. `dry_run` says what would be done, and does nothing.
        """
        wanted = checked(tuple(plans))
        return await self._route.one(
            PLAN_CATALOG if dry_run else SYNC_CATALOG,
            None,
            lambda adapter: adapter.sync_catalog(wanted, dry_run=dry_run),
            timeout=timeout,
        )

    async def webhook(
        self, request: RawRequest, *, vendor: str | None = None, timeout: float | None = None
    ) -> WebhookResult[BillingEvent]:
        """Verify a vendor's request on its raw bytes, then read its events. Raises `WebhookVerificationError`.

        A status that nobody knows raises `BadResponseError`: answer 500, and the vendor posts it again.
        """
        with self._within(timeout, "billing.webhook"):
            return await receive(self._route, request, vendor, operation="billing.webhook")

    async def ensure_webhook(self, url: str, *, timeout: float | None = None) -> WebhookEndpoint:
        """Have the vendor send its events to `url`, signed. Idempotent.

        The secret is shown once: it is None for an endpoint that was there before. Lost, it has to be deleted at the
        vendor and made anew.
        """
        _url("url", url)
        key = self._key(ENSURE_WEBHOOK, new_id())
        return await self._route.one(
            ENSURE_WEBHOOK, None, lambda adapter: adapter.ensure_webhook(url, key), payload=url, timeout=timeout
        )

    async def _price_ref(self, price: Ref | str, timeout: float | None) -> Ref:
        if isinstance(price, Ref):
            return price
        return Ref.parse(price) if ":" in price else (await self.price(price, timeout=timeout, fresh=True)).ref

    async def _read(
        self,
        operation: Operation,
        ref: Ref | str,
        step: Callable[[BillingAdapter, Ref], Awaitable[T]],
        timeout: float | None,
        *,
        fresh: bool = False,
    ) -> T:
        name = as_ref(ref)
        return await self._route.one(
            operation,
            name.vendor,
            lambda adapter: step(adapter, name),
            payload=str(name),
            timeout=timeout,
            fresh=fresh,
        )

    def _key(self, operation: Operation, key: str) -> str:
        """The vendor's idempotency key of a write: ours alone, whatever other tenants and operations call theirs."""
        name = f"{self._context.scope}/{operation.name}/{key}"
        return hashlib.sha256(name.encode()).hexdigest()[:40]


def _metadata(metadata: Mapping[str, str] | None) -> dict[str, str]:
    try:
        return dict(checked_metadata(metadata or {}))
    except ValueError as error:
        msg = f"metadata: {error}"
        raise InvalidRequestError(msg, field="metadata") from None


def _url(field: str, url: str) -> None:
    if not url.startswith(("https://", "http://")):
        msg = f"{field}: not an http(s) URL"
        raise InvalidRequestError(msg, field=field)


def _positive(field: str, number: int) -> None:
    if number < 1:
        msg = f"{field}: at least 1"
        raise InvalidRequestError(msg, field=field)


def _lookup_key(key: str) -> str:
    if not key.strip():
        msg = "price: give a lookup key or a reference"
        raise InvalidRequestError(msg, field="price")
    return key


def _change(quantity: int | None, at: datetime | None) -> None:
    if quantity is not None:
        _positive("quantity", quantity)
    _aware(at)


def _aware(at: datetime | None) -> None:
    if at is not None and at.tzinfo is None:
        msg = "at: a time without a zone"
        raise InvalidRequestError(msg, field="at")
