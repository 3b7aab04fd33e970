"""Billing through Stripe's API, by Stripe's own library over our transport (docs/adr/0014)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, cast

from pydantic import JsonValue, SecretStr, ValidationError

from providers.billing import stripe_objects as objects
from providers.billing.catalog import Catalog, Product, changes
from providers.billing.events import BillingEvent
from providers.billing.facts import STRIPE
from providers.billing.models import (
    CatalogAction,
    CatalogKind,
    CatalogPlan,
    ChangePreview,
    CheckoutStatus,
    PaymentStatus,
    Proration,
    SubscriptionStatus,
    TaxBehavior,
    UsageRecord,
)
from providers.billing.stripe_client import make_client, read
from providers.billing.stripe_errors import translate
from providers.billing.stripe_events import HEADER, TYPES, parse, verify
from providers.billing.stripe_objects import KEY, Listed, minor, ref
from providers.core.clock import utc
from providers.core.errors import (
    BadResponseError,
    ConfigurationError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    ProviderError,
    ProviderUnavailableError,
    WebhookVerificationError,
)
from providers.core.json import to_json
from providers.core.models import (
    CheckResult,
    CheckState,
    RawRequest,
    Ref,
    WebhookEndpoint,
    WebhookResult,
    invalid_request,
)
from providers.core.redact import SecretText
from providers.core.transport import StatusError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal

    from stripe import RequestOptions, StripeClient, StripeObject
    from stripe.params import (
        CustomerCreateParams,
        CustomerListParams,
        CustomerUpdateParams,
        DisputeListParams,
        InvoiceCreatePreviewParamsSubscriptionDetails,
        InvoiceCreatePreviewParamsSubscriptionDetailsItem,
        InvoiceListParams,
        PriceCreateParams,
        PriceCreateParamsRecurring,
        ProductCreateParams,
        ProductUpdateParams,
        RefundCreateParams,
        RefundListParams,
        SubscriptionListParams,
        SubscriptionUpdateParams,
        SubscriptionUpdateParamsItem,
        WebhookEndpointListParams,
    )
    from stripe.params.billing import MeterEventCreateParams, MeterListParams
    from stripe.params.checkout import (
        SessionCreateParams,
        SessionCreateParamsLineItem,
        SessionCreateParamsLineItemPriceDataProductData,
        SessionCreateParamsSubscriptionData,
        SessionListParams,
    )

    from providers.billing.api import CheckoutPage
    from providers.billing.models import (
        CatalogChange,
        CheckoutLine,
        CheckoutSession,
        Customer,
        Dispute,
        Invoice,
        Plan,
        PortalSession,
        Price,
        Refund,
        RefundReason,
        Subscription,
    )
    from providers.core.account import Account
    from providers.core.models import Money

Json: TypeAlias = dict[str, JsonValue]
T = TypeVar("T")
P = TypeVar("P")

PAGE, PAGES = 100, 50
"""Entries of a list a request, and the most requests that one question may take."""

LOOKUP_KEYS = 10
"""The most that one list of prices may ask for."""

SKEW = 300
"""Seconds by which our clock and Stripe's may differ."""

TOLERANCE = 300.0
CHARGES = ("ch_", "py_")
RESULT = WebhookResult[BillingEvent]

PRORATION = {
    Proration.NEXT_INVOICE: "create_prorations",
    Proration.NOW: "always_invoice",
    Proration.NONE: "none",
}


class StripeBilling:
    """Customers, Checkout, Billing, refunds, disputes, meters and webhooks of one Stripe account.

    With `STRIPE_ACCOUNT` it acts for a connected account. Metadata named `providers_key` is ours.
    """

    facts = STRIPE

    def __init__(self, account: Account) -> None:
        self._clock = account.clock
        self._key = SecretText(account.get("STRIPE_SECRET_KEY"))
        self._connected = account.get("STRIPE_ACCOUNT")
        secrets = (part.strip() for part in account.get("STRIPE_WEBHOOK_SECRET").split(","))
        self._secrets = tuple(SecretText(secret) for secret in secrets if secret)
        self._tolerance = _tolerance(account.get("STRIPE_WEBHOOK_TOLERANCE"))
        self.client: StripeClient = make_client(account)

    def translate(self, error: Exception) -> ProviderError | None:
        """By the table in docs.stripe.com/api/errors."""
        return translate(error.response, self.facts, self._clock) if isinstance(error, StatusError) else None

    async def ensure_customer(self, email: str, name: str | None, metadata: Mapping[str, str], key: str) -> Customer:
        """The oldest of the address (exactly as written) that agrees; one is made, or its difference written."""
        told = {field: metadata[field] for field in ("service", "user_id") if field in metadata}
        found: Customer | None = None
        service = self.client.v1.customers
        asked: CustomerListParams = {"email": email, "limit": PAGE}
        async for entry in self._all(lambda cursor: service.list_async(_page(asked, cursor))):
            one = objects.customer(entry)
            if all(one.metadata.get(field, "") == value for field, value in told.items()):
                found = one
        if found is None:
            new: CustomerCreateParams = {"email": email, "metadata": dict(metadata)}
            if name is not None:
                new["name"] = name
            return objects.customer(await read(service.create_async(new, _once(key))))
        params: CustomerUpdateParams = {}
        if name is not None and found.name != name:
            params["name"] = name
        if changed := {field: value for field, value in metadata.items() if found.metadata.get(field, "") != value}:
            params["metadata"] = changed
        if not params:
            return found
        return objects.customer(await read(service.update_async(found.ref.id, params, _once(f"{key}-update"))))

    async def customer(self, ref: Ref) -> Customer:
        """`GET /v1/customers/{id}`."""
        return objects.customer(await read(self.client.v1.customers.retrieve_async(_id(ref))))

    async def price(self, ref: Ref) -> Price:
        """`GET /v1/prices/{id}`, and its meter's where it has one."""
        return await self._price(await read(self.client.v1.prices.retrieve_async(_id(ref))))

    async def price_by_key(self, lookup_key: str) -> Price:
        """`GET /v1/prices` by lookup key."""
        page = self.client.v1.prices.list_async({"lookup_keys": [lookup_key], "active": True, "limit": 1})
        found = Listed.model_validate(await read(page)).data
        if not found:
            msg = f"price: no active price has the lookup key {lookup_key[:200]!r}"
            raise NotFoundError(msg, field="price", code="resource_missing")
        return await self._price(found[0])

    async def subscription_checkout(
        self,
        *,
        customer: Ref,
        price: Ref,
        quantity: int,
        trial_days: int | None,
        page: CheckoutPage,
    ) -> CheckoutSession:
        """`POST /v1/checkout/sessions` in subscription mode."""
        line: SessionCreateParamsLineItem = {"price": price.id}
        if not await self._first(self._is_metered(price), "price"):
            line["quantity"] = quantity
        subscription: SessionCreateParamsSubscriptionData = {"metadata": dict(page.metadata)}
        if trial_days is not None:
            subscription["trial_period_days"] = trial_days
        params: SessionCreateParams = {
            "mode": "subscription",
            "customer": customer.id,
            "line_items": [line],
            "subscription_data": subscription,
        }
        return await self._checkout(params, page)

    async def payment_checkout(
        self,
        *,
        lines: Sequence[CheckoutLine],
        customer: Ref | None,
        customer_email: str | None,
        page: CheckoutPage,
    ) -> CheckoutSession:
        """`POST /v1/checkout/sessions` in payment mode, with prices of its own."""
        params: SessionCreateParams = {
            "mode": "payment",
            "line_items": [_line(line, index) for index, line in enumerate(lines)],
            "payment_intent_data": {"metadata": dict(page.metadata)},
        }
        if customer is not None:
            params["customer"] = customer.id
        elif customer_email is not None:
            params["customer_email"] = customer_email
        return await self._checkout(params, page)

    async def _checkout(self, params: SessionCreateParams, page: CheckoutPage) -> CheckoutSession:
        """Either kind. Payment methods are left to the dashboard."""
        params["success_url"] = page.success_url
        params["cancel_url"] = page.cancel_url
        params["metadata"] = {**page.metadata, KEY: page.key}
        if page.promotion_codes:
            params["allow_promotion_codes"] = True
        if page.automatic_tax:
            params["automatic_tax"] = {"enabled": True}
            if "customer" in params:
                # Stripe refuses to reckon without an address: the page asks for it, and keeps it.
                params["customer_update"] = {"address": "auto"}
        return objects.checkout(await read(self.client.v1.checkout.sessions.create_async(params, _once(page.key))))

    async def find_checkout(self, key: str, since: float) -> CheckoutSession | None:
        """Among the sessions made since then, by our key in the metadata."""
        service = self.client.v1.checkout.sessions
        asked: SessionListParams = {"created": {"gte": int(since) - SKEW}, "limit": PAGE}
        async for entry in self._all(lambda cursor: service.list_async(_page(asked, cursor))):
            if objects.is_made_with(entry, key):
                return objects.checkout(entry)
        return None

    async def checkout(self, ref: Ref) -> CheckoutSession:
        """`GET /v1/checkout/sessions/{id}`."""
        return objects.checkout(await read(self.client.v1.checkout.sessions.retrieve_async(_id(ref))))

    async def expire_checkout(self, ref: Ref) -> CheckoutSession:
        """`POST /v1/checkout/sessions/{id}/expire`, which takes open ones only."""
        try:
            return objects.checkout(await read(self.client.v1.checkout.sessions.expire_async(_id(ref))))
        except StatusError as error:
            if error.response.status != 400:
                raise
            found = await self.checkout(ref)
            if found.status is CheckoutStatus.OPEN:
                raise
            return found

    async def portal(self, customer: Ref, return_url: str) -> PortalSession:
        """`POST /v1/billing_portal/sessions`; what it offers is set up in the dashboard."""
        made = self.client.v1.billing_portal.sessions.create_async({"customer": customer.id, "return_url": return_url})
        return objects.portal(await read(made))

    async def subscription(self, ref: Ref) -> Subscription:
        """`GET /v1/subscriptions/{id}`."""
        return objects.subscription(await read(self.client.v1.subscriptions.retrieve_async(_id(ref))))

    async def subscriptions(self, customer: Ref, cursor: str) -> tuple[list[Subscription], str]:
        """`GET /v1/subscriptions` of every status; a cursor is the last one's id."""
        asked: SubscriptionListParams = {"customer": customer.id, "status": "all", "limit": PAGE}
        page = Listed.model_validate(await read(self.client.v1.subscriptions.list_async(_page(asked, cursor))))
        return [objects.subscription(one) for one in page.data], page.cursor

    async def preview_change(
        self, ref: Ref, price: Ref, quantity: int | None, proration: Proration, at: datetime | None
    ) -> ChangePreview:
        """`POST /v1/invoices/create_preview`; a change that begins a new period at once is due at once."""
        item = _only_item(await self._alive(ref))
        moment = int(at.timestamp() if at is not None else self._clock.time())
        position: InvoiceCreatePreviewParamsSubscriptionDetailsItem = {"id": item, "price": price.id}
        if quantity is not None:
            position["quantity"] = quantity
        details: InvoiceCreatePreviewParamsSubscriptionDetails = {
            "items": [position],
            "proration_behavior": PRORATION[proration],
        }
        if proration is not Proration.NONE:
            details["proration_date"] = moment
        data = await read(
            self.client.v1.invoices.create_preview_async({"subscription": ref.id, "subscription_details": details})
        )
        found = objects.AmountsReply.model_validate(data)
        lines = found.lines.data
        begins = any(not line.proration and line.period and line.period.start == moment for line in lines)
        due = found.amount_due if proration is Proration.NOW or begins else 0
        return ChangePreview(
            at=utc(moment),
            due_now=objects.major(due, found.currency),
            difference=objects.major(sum(line.amount for line in lines if line.proration), found.currency),
            total=objects.major(found.total, found.currency),
            lines=tuple(line.line() for line in lines),
            raw=data,
        )

    async def change_plan(
        self, ref: Ref, price: Ref, quantity: int | None, proration: Proration, at: datetime | None, key: str
    ) -> Subscription:
        """`POST /v1/subscriptions/{id}`. Raises `InvalidRequestError` for a subscription of several prices."""
        item: SubscriptionUpdateParamsItem = {"id": _only_item(await self._first(self._alive(ref))), "price": price.id}
        if quantity is not None:
            item["quantity"] = quantity
        params: SubscriptionUpdateParams = {"items": [item], "proration_behavior": PRORATION[proration]}
        if proration is Proration.NOW:
            params["payment_behavior"] = "pending_if_incomplete"
        if at is not None and proration is not Proration.NONE:
            params["proration_date"] = int(at.timestamp())
        changed = self.client.v1.subscriptions.update_async(ref.id, params, _once(key))
        return objects.subscription(await read(changed))

    async def cancel(self, ref: Ref, *, at_period_end: bool) -> Subscription:
        """`DELETE /v1/subscriptions/{id}`, or `cancel_at_period_end`; both refuse one that has ended."""
        service = self.client.v1.subscriptions
        ended: Awaitable[StripeObject]
        if at_period_end:
            ended = service.update_async(_id(ref), {"cancel_at_period_end": True})
        else:
            ended = service.cancel_async(_id(ref))
        try:
            return objects.subscription(await read(ended))
        except StatusError as error:
            if error.response.status not in {400, 404}:
                raise
            found = await self.subscription(ref)
            if not found.status.over:
                raise
            return found

    async def resume(self, ref: Ref) -> Subscription:
        """Whatever stops it: a cancellation to come, a pause, a pause of collection."""
        found = await self._alive(ref)
        service = self.client.v1.subscriptions
        if found.status is SubscriptionStatus.PAUSED:
            return objects.subscription(await read(service.resume_async(ref.id)))
        params: SubscriptionUpdateParams = {}
        if found.cancel_at_period_end:
            params["cancel_at_period_end"] = False
        elif found.cancel_at is not None:
            params["cancel_at"] = ""
        if isinstance(found.raw, dict) and found.raw.get("pause_collection"):
            params["pause_collection"] = ""
        if not params:
            return found
        return objects.subscription(await read(service.update_async(ref.id, params)))

    async def payment_of(self, ref: Ref) -> Ref:
        """A payment intent, or a charge that has none; an invoice's and a checkout's is the one that went through."""
        kind = ref.id.partition("_")[0]
        if kind == "pi":
            return ref
        if f"{kind}_" in CHARGES:
            found = await read(self.client.v1.charges.retrieve_async(_id(ref)))
            return objects.payment(found).ref
        invoice: str | None = ref.id if kind == "in" else None
        if kind == "cs":
            session = objects.CheckoutReply.model_validate(
                await read(self.client.v1.checkout.sessions.retrieve_async(_id(ref)))
            )
            if session.payment_intent is not None and session.payment_status is PaymentStatus.PAID:
                return objects.ref(session.payment_intent)
            invoice = session.invoice
        elif invoice is None:
            msg = f"ref: {ref.id[:80]!r} is neither a payment nor an invoice nor a checkout"
            raise InvalidRequestError(msg, field="ref")
        paid = await self._paid(invoice) if invoice is not None else None
        if paid is None:
            msg = f"ref: nothing was paid for {ref.id[:80]!r}"
            raise NotFoundError(msg, field="ref", code="not_paid")
        return objects.ref(paid)

    async def refund(self, payment: Ref, amount: Money | None, reason: RefundReason | None, key: str) -> Refund:
        """`POST /v1/refunds`. An amount has to be in the payment's currency, which Stripe does not ask for."""
        params: RefundCreateParams = {"metadata": {KEY: key}}
        params[_kind(payment)] = payment.id
        if amount is not None:
            params["amount"] = minor(amount, "amount")
            currency = await self._first(self._currency(payment))
            if currency != amount.currency:
                msg = f"amount: the payment is in {currency}, not in {amount.currency}"
                raise InvalidRequestError(msg, field="amount", code="currency")
        if reason is not None:
            params["reason"] = reason.value
        return objects.refund(await read(self.client.v1.refunds.create_async(params, _once(key))))

    async def find_refund(self, payment: Ref, key: str) -> Refund | None:
        """Among the payment's refunds, by our key in the metadata."""
        service = self.client.v1.refunds
        params: RefundListParams = {"limit": PAGE}
        params[_kind(payment)] = payment.id
        async for entry in self._all(lambda cursor: service.list_async(_page(params, cursor))):
            if objects.is_made_with(entry, key):
                return objects.refund(entry)
        return None

    async def invoice(self, ref: Ref) -> Invoice:
        """`GET /v1/invoices/{id}`."""
        return objects.invoice(await read(self.client.v1.invoices.retrieve_async(_id(ref))))

    async def invoices(self, customer: Ref, cursor: str) -> tuple[list[Invoice], str]:
        """`GET /v1/invoices` of a customer; a cursor is the last one's id."""
        asked: InvoiceListParams = {"customer": customer.id, "limit": PAGE}
        page = Listed.model_validate(await read(self.client.v1.invoices.list_async(_page(asked, cursor))))
        return [objects.invoice(one) for one in page.data], page.cursor

    async def disputes(self, cursor: str) -> tuple[list[Dispute], str]:
        """`GET /v1/disputes`; a cursor is the last one's id."""
        asked: DisputeListParams = {"limit": PAGE}
        page = Listed.model_validate(await read(self.client.v1.disputes.list_async(_page(asked, cursor))))
        return [objects.dispute(one) for one in page.data], page.cursor

    async def record_usage(
        self, customer: Ref, meter: str, quantity: Decimal, at: datetime | None, key: str
    ) -> UsageRecord:
        """`POST /v1/billing/meter_events`, with our key as the event's identifier too."""
        params: MeterEventCreateParams = {
            "event_name": meter,
            "payload": {"stripe_customer_id": customer.id, "value": f"{quantity:f}"},
            "identifier": key,
        }
        if at is not None:
            params["timestamp"] = int(at.timestamp())
        made = await read(self.client.v1.billing.meter_events.create_async(params, _once(key)))
        found = objects.MeterEventReply.model_validate(made)
        return UsageRecord(
            id=found.identifier, meter=meter, customer=customer, quantity=quantity, at=utc(found.timestamp)
        )

    async def sync_catalog(self, plans: Sequence[Plan], *, dry_run: bool) -> CatalogPlan:
        """Products by id, prices by lookup key, meters by event name; a price takes its key over from the old one."""
        amounts = {plan.lookup_key: minor(plan.amount, f"plans.{n}.amount") for n, plan in enumerate(plans)}
        catalog = await self._catalog(plans)
        todo = changes(plans, catalog)
        if dry_run:
            return CatalogPlan(changes=tuple(todo), dry_run=True)
        done: list[CatalogChange] = []
        meters = dict(catalog.meters)
        by_service = {plan.service: plan for plan in reversed(plans)}
        by_key = {plan.lookup_key: plan for plan in plans}
        for change in todo:
            made = change.ref
            if change.action is CatalogAction.KEEP:
                pass
            elif change.kind is CatalogKind.METER:
                made = meters[change.key] = await self._make_meter(change.key)
            elif change.kind is CatalogKind.PRODUCT:
                made = await self._write_product(by_service[change.key], change.action)
            else:
                plan = by_key[change.key]
                made = await self._make_price(
                    plan, amounts[change.key], plan.meter and meters[plan.meter].id, change.ref
                )
            done.append(change.model_copy(update={"ref": made}))
        return CatalogPlan(changes=tuple(done), dry_run=False)

    async def ensure_webhook(self, url: str, key: str) -> WebhookEndpoint:
        """`POST /v1/webhook_endpoints` for the events known here, in the library's API version.

        One that is there is enabled and gets the events it lacks.
        """
        service = self.client.v1.webhook_endpoints
        known: list[Any] = [*TYPES]
        found: objects.EndpointReply | None = None
        asked: WebhookEndpointListParams = {"limit": PAGE}
        async for entry in self._all(lambda cursor: service.list_async(_page(asked, cursor))):
            one = objects.EndpointReply.model_validate(entry)
            if one.url == url and (found is None or one.metadata.get(KEY) == key):
                found = one
        if found is None or found.metadata.get(KEY) == key:
            # The second time, with the key of the first, Stripe repeats the answer that was lost, secret and all.
            created = await read(
                service.create_async(
                    {
                        "url": url,
                        "enabled_events": known,
                        "api_version": cast("Any", self.facts.api_version),
                        "metadata": {KEY: key},
                    },
                    _once(key),
                )
            )
            made = objects.EndpointReply.model_validate(created)
            return WebhookEndpoint(ref=ref(made.id), secret=SecretStr(made.secret) if made.secret else None)
        lacking = [] if "*" in found.enabled_events else [name for name in known if name not in found.enabled_events]
        if lacking or found.status != "enabled":
            events: list[Any] = [*found.enabled_events, *lacking]
            await read(service.update_async(found.id, {"enabled_events": events, "disabled": False}))
        return WebhookEndpoint(ref=ref(found.id), secret=None)

    def recognises(self, request: RawRequest) -> bool:
        """By the header that holds the signature."""
        return HEADER in request.headers

    async def webhook(self, request: RawRequest) -> WebhookResult[BillingEvent]:
        """HMAC-SHA256 over time and body, with any of the secrets, not older than the tolerance; then the event."""
        if not self._secrets:
            msg = "STRIPE_WEBHOOK_SECRET is not set; without it no event can be trusted"
            raise ConfigurationError(msg, field="STRIPE_WEBHOOK_SECRET")
        verify(request, self._secrets, now=self._clock.time(), tolerance=self._tolerance)
        event = parse(request.body)
        if self._connected and event.account not in {None, self._connected}:
            # One endpoint and its secret serve all accounts that are connected to the platform.
            raise WebhookVerificationError("it is about another account", code="account")
        return RESULT(events=(event,))

    async def check(self) -> CheckResult:
        """`GET /v1/balance`; a restricted key that may not is known to be good all the same."""
        try:
            livemode = objects.BalanceReply.model_validate(await read(self.client.v1.balance.retrieve_async())).livemode
            notes = ["the key works"]
        except StatusError as error:
            named = self.translate(error)
            if named is None or named.code != "more_permissions_required":
                raise
            livemode = "_test_" not in self._key[: len("sk_test_")]
            notes = ["the key is valid; reading the balance is not allowed to it"]
        if not self._secrets:
            notes.append("no STRIPE_WEBHOOK_SECRET: events cannot be received")
        elif not all(secret.startswith("whsec_") for secret in self._secrets):
            notes.append("STRIPE_WEBHOOK_SECRET does not begin with whsec_: is it a signing secret?")
        return CheckResult(vendor="stripe", state=CheckState.OK, detail="; ".join(notes), sandbox=not livemode)

    async def aclose(self) -> None:
        """Nothing of its own."""

    async def _all(self, page: Callable[[str], Awaitable[StripeObject]]) -> AsyncIterator[Json]:
        """Every entry of a list. Raises `ProviderUnavailableError` for one that does not end."""
        cursor = ""
        for _ in range(PAGES):
            found = Listed.model_validate(await read(page(cursor)))
            for entry in found.data:
                yield entry
            cursor = found.cursor
            if not cursor:
                return
        msg = f"a list of more than {PAGE * PAGES:,} entries"
        raise ProviderUnavailableError(msg, code="too_many", outcome=Outcome.NOT_APPLIED)

    async def _first(self, call: Awaitable[T], field: str | None = None) -> T:
        """What is read before a write: when that fails, nothing has been written."""
        try:
            return await call
        except (StatusError, ValidationError, ProviderError) as error:
            named = self._named(error)
            named.outcome, named.retryable = Outcome.NOT_APPLIED, named.repeatable
            if isinstance(named, NotFoundError):
                named.field = field or named.field
            if named is error:
                raise
            raise named from error

    def _named(self, error: StatusError | ValidationError | ProviderError) -> ProviderError:
        if isinstance(error, StatusError):
            return translate(error.response, self.facts, self._clock)
        if isinstance(error, ProviderError):
            return error
        return BadResponseError(f"the reply is not as documented: {invalid_request(error).message}", code="reply")

    async def _price(self, data: Json) -> Price:
        meter = objects.PriceReply.model_validate(data).meter
        if meter is None:
            return objects.price(data)
        found = await read(self.client.v1.billing.meters.retrieve_async(meter))
        return objects.price(data, objects.MeterReply.model_validate(found).event_name)

    async def _is_metered(self, price: Ref) -> bool:
        data = await read(self.client.v1.prices.retrieve_async(_id(price)))
        return objects.PriceReply.model_validate(data).meter is not None

    async def _alive(self, ref: Ref) -> Subscription:
        found = await self.subscription(ref)
        if found.status.over:
            msg = f"ref: the subscription is {found.status}"
            raise ConflictError(msg, field="ref", code=found.status.value)
        return found

    async def _paid(self, invoice: str) -> str | None:
        data = await read(self.client.v1.invoices.retrieve_async(invoice, {"expand": ["payments"]}))
        return objects.PaymentsReply.model_validate(data).paid

    async def _currency(self, payment: Ref) -> str:
        service = self.client.v1
        call: Awaitable[StripeObject] = (
            service.charges.retrieve_async(_id(payment))
            if payment.id.startswith(CHARGES)
            else service.payment_intents.retrieve_async(_id(payment))
        )
        return objects.PaymentReply.model_validate(await read(call)).currency.upper()

    async def _catalog(self, plans: Sequence[Plan]) -> Catalog:
        names: dict[str, str] = {}
        meters: dict[str, Ref] = {}
        if any(plan.meter for plan in plans):
            service = self.client.v1.billing.meters
            asked: MeterListParams = {"status": "active", "limit": PAGE}
            async for entry in self._all(lambda cursor: service.list_async(_page(asked, cursor))):
                meter = objects.MeterReply.model_validate(entry)
                names[meter.id] = meter.event_name
                meters[meter.event_name] = ref(meter.id)
        prices: dict[str, Price] = {}
        behaviors: dict[str, TaxBehavior] = {}
        keys = [plan.lookup_key for plan in plans]
        for begin in range(0, len(keys), LOOKUP_KEYS):
            some = keys[begin : begin + LOOKUP_KEYS]
            page = await read(self.client.v1.prices.list_async({"lookup_keys": some, "limit": PAGE}))
            for entry in Listed.model_validate(page).data:
                found = objects.PriceReply.model_validate(entry)
                # A meter that is not active any more is another one than the plan's, whatever its name was.
                price = objects.price(entry, found.meter and names.get(found.meter, found.meter))
                if price.lookup_key is not None:
                    prices[price.lookup_key], behaviors[price.lookup_key] = price, found.behavior
        products: dict[str, Product] = {}
        services = list(dict.fromkeys(plan.service for plan in plans))
        for begin in range(0, len(services), PAGE):
            some = services[begin : begin + PAGE]
            page = await read(self.client.v1.products.list_async({"ids": some, "limit": PAGE}))
            for entry in Listed.model_validate(page).data:
                product = objects.ProductReply.model_validate(entry)
                products[product.id] = Product(
                    id=product.id, name=product.name, active=product.active, tax_code=product.tax_code
                )
        return Catalog(products=products, prices=prices, meters=meters, tax_behaviors=behaviors)

    async def _make_meter(self, event_name: str) -> Ref:
        made = self.client.v1.billing.meters.create_async(
            {
                "display_name": event_name,
                "event_name": event_name,
                "default_aggregation": {"formula": "sum"},
                "customer_mapping": {"type": "by_id", "event_payload_key": "stripe_customer_id"},
                "value_settings": {"event_payload_key": "value"},
            },
        )
        return ref(objects.MeterReply.model_validate(await read(made)).id)

    async def _write_product(self, plan: Plan, action: CatalogAction) -> Ref:
        service = self.client.v1.products
        if action is CatalogAction.CREATE:
            new: ProductCreateParams = {"id": plan.service, "name": plan.title}
            if plan.tax_code is not None:
                new["tax_code"] = plan.tax_code
            written = await read(service.create_async(new))
        else:
            params: ProductUpdateParams = {"name": plan.title, "active": True}
            if plan.tax_code is not None:
                params["tax_code"] = plan.tax_code
            written = await read(service.update_async(plan.service, params))
        return ref(objects.ProductReply.model_validate(written).id)

    async def _make_price(self, plan: Plan, amount: int, meter: str | None, old: Ref | None) -> Ref:
        """A price is made once for what it is and what it replaces, however often an answer is lost."""
        recurring: PriceCreateParamsRecurring = {
            "interval": plan.interval.value,
            "interval_count": plan.interval_count,
        }
        if meter is not None:
            recurring["usage_type"] = "metered"
            recurring["meter"] = meter
        params: PriceCreateParams = {
            "product": plan.service,
            "currency": plan.amount.currency.lower(),
            "unit_amount": amount,
            "recurring": recurring,
            "lookup_key": plan.lookup_key,
            "transfer_lookup_key": True,
            "nickname": plan.nickname,
            "metadata": dict(plan.metadata),
        }
        if plan.tax_behavior is not TaxBehavior.UNSPECIFIED:
            params["tax_behavior"] = plan.tax_behavior.value
        content = to_json([params, old and old.id])
        key = hashlib.sha256(content).hexdigest()[:40]
        made = objects.PriceReply.model_validate(await read(self.client.v1.prices.create_async(params, _once(key))))
        if old is not None:
            await read(self.client.v1.prices.update_async(old.id, {"active": False}))
        return ref(made.id)


def _page(params: P, cursor: str) -> P:
    """The parameters of a list, from where the page before it ended."""
    return cast("P", {**cast("Json", params), "starting_after": cursor}) if cursor else params


def _once(key: str) -> RequestOptions:
    return {"idempotency_key": key}


def _kind(payment: Ref) -> Literal["charge", "payment_intent"]:
    return "charge" if payment.id.startswith(CHARGES) else "payment_intent"


def _id(ref: Ref) -> str:
    """The id, for a path: a dot or two would be another place."""
    if not ref.id.strip("."):
        msg = f"ref: {ref.id!r} is no id of Stripe's"
        raise NotFoundError(msg, field="ref")
    return ref.id


def _tolerance(text: str) -> float:
    if not text:
        return TOLERANCE
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        msg = f"STRIPE_WEBHOOK_TOLERANCE: {text[:40]!r} is not a number of seconds above 0"
        raise ConfigurationError(msg, field="STRIPE_WEBHOOK_TOLERANCE")
    return seconds


def _line(line: CheckoutLine, index: int) -> SessionCreateParamsLineItem:
    product: SessionCreateParamsLineItemPriceDataProductData = {"name": line.title}
    if line.description is not None:
        product["description"] = line.description
    if line.image_url is not None:
        product["images"] = [line.image_url]
    if line.tax_code is not None:
        product["tax_code"] = line.tax_code
    return {
        "price_data": {
            "currency": line.unit_price.currency.lower(),
            "unit_amount": minor(line.unit_price, f"lines.{index}.unit_price"),
            "product_data": product,
        },
        "quantity": line.quantity,
    }


def _only_item(subscription: Subscription) -> str:
    if len(subscription.items) != 1:
        msg = "ref: the subscription has several prices; which one to change is not known"
        raise InvalidRequestError(msg, field="ref", code="several_items")
    return subscription.items[0].id
