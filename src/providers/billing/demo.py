"""Made-up billing: checkouts are paid at once, subscriptions live by the clock, and fail where they are asked to.

Every operation first does what came due since the last one, in order of time, with its events.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, TypeVar

from pydantic import SecretStr, TypeAdapter
from pydantic_core import from_json, to_json

from providers.billing import demo_life as life
from providers.billing import demo_terms as terms
from providers.billing.demo_book import (
    Bill,
    Book,
    Contract,
    Fate,
    Session,
    Usage,
    ref,
    token_for,
    token_of,
    word,
)
from providers.billing.demo_catalog import DemoCatalog
from providers.billing.demo_imagined import (
    bill_in,
    contract_in,
    customer_in,
    payment_for,
    receipt_in,
    session_in,
)
from providers.billing.events import BillingEvent, BillingEventType
from providers.billing.facts import DEMO
from providers.billing.models import (
    CatalogPlan,
    ChangePreview,
    CheckoutLine,
    CheckoutSession,
    Customer,
    Dispute,
    Invoice,
    Plan,
    PortalSession,
    Price,
    Proration,
    Refund,
    RefundReason,
    Subscription,
    UsageRecord,
)
from providers.core.clock import utc
from providers.core.errors import BadResponseError, ConflictError, InvalidRequestError, NotFoundError, ProviderError
from providers.core.ids import new_id
from providers.core.models import CheckResult, CheckState, Money, RawRequest, Ref, WebhookEndpoint, WebhookResult
from providers.core.money import from_minor, to_minor
from providers.demo import webhooks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from providers.billing.api import CheckoutPage
    from providers.core.account import Account

T = TypeVar("T")

PAGE = 20
"""Things on a page of a list."""

PER_DELIVERY = 100
"""Events in one webhook."""

OLDEST_USAGE, NEWEST_USAGE = timedelta(days=35), timedelta(minutes=5)


class DemoBilling:
    """A billing vendor that moves no money. State is in the store, so that all processes that share it see it."""

    facts = DEMO

    def __init__(self, account: Account) -> None:
        self._store = account.store
        self._clock = account.clock
        self._faults = account.faults
        self._url = account.webhook_url
        self._prefix = f"demo/{account.tenant}/billing/"
        self._deliver = account.deliver
        self._catalog = DemoCatalog(account.store, self._prefix)

    def translate(self, error: Exception) -> ProviderError | None:
        """The demo raises our errors itself."""
        del error
        return None

    async def ensure_customer(self, email: str, name: str | None, metadata: Mapping[str, str], key: str) -> Customer:
        """One book for each customer; the address leads to all of its books."""
        await self._begin("billing.ensure_customer", email)
        index, mine = f"{self._prefix}address/{email}", token_for(key)
        wanted = {each: metadata[each] for each in ("service", "user_id") if each in metadata}

        def step(book: Book, at: datetime) -> Customer:
            known = book.customer
            if known is None:
                made = Customer(ref=ref(f"cus-{book.token}"), email=email, name=name, metadata=dict(metadata))
                book.address, book.customer = email, made
                book.tell(BillingEventType.CUSTOMER_CREATED, at, made)
                return made
            wished = {"name": name or known.name, "metadata": {**known.metadata, **metadata}}
            changed = tuple(each for each, value in wished.items() if getattr(known, each) != value)
            if changed:
                book.customer = known.model_copy(update=wished)
                book.tell(BillingEventType.CUSTOMER_UPDATED, at, book.customer, changed)
            return book.customer or known

        while True:
            stored = await self._store.get(index)
            tokens: list[str] = from_json(stored) if stored else []
            for token in tokens:
                book, _ = await self._read(token)
                known = book.customer
                if known is not None and all(known.metadata.get(each, "") == value for each, value in wanted.items()):
                    return await self._change(token, step)
            if mine in tokens:
                return await self._change(mine, step)
            # The list first: a book that nobody finds would be a second customer.
            await self._store.swap(index, stored, to_json([*tokens, mine]))

    async def customer(self, ref: Ref) -> Customer:
        """One that is known, or a plausible one."""
        await self._begin("billing.customer")
        book, _ = await self._read(token_of(ref.id))
        return customer_in(book, ref.id)

    async def price(self, ref: Ref) -> Price:
        """By reference; a plausible one without a lookup key where the demo made none."""
        await self._begin("billing.price")
        return await self._catalog.price(ref.id)

    async def price_by_key(self, lookup_key: str) -> Price:
        """Of the platform's plans, or of those that were synced."""
        await self._begin("billing.price")
        return await self._catalog.by_key(lookup_key)

    async def subscription_checkout(
        self,
        *,
        customer: Ref,
        price: Ref,
        quantity: int,
        trial_days: int | None,
        page: CheckoutPage,
    ) -> CheckoutSession:
        """Complete at once: the subscription is active, or on trial. Nobody enters a code, and there is no tax."""
        await self._begin("billing.subscription_checkout")
        what = await self._catalog.price(price.id)
        if not what.active:
            msg = f"price: {price} is archived"
            raise InvalidRequestError(msg, field="price", code="price_inactive")

        def step(book: Book, at: datetime) -> CheckoutSession:
            if page.key in book.done:
                return book.sessions[book.done[page.key]].shown
            whom = customer_in(book, customer.id)
            many = quantity if what.meter is None else 0
            unit = terms.currency(what)
            amount = terms.nothing(unit) if trial_days else terms.rounded(terms.cost(what, many), unit)
            session = life.open_checkout(book, customer=whom.ref, amount=amount, page=page, at=at)
            if book.fate is Fate.DECLINED:
                life.refuse(book, session, at)
                return session.shown
            contract = life.begin(book, whom.ref, what, quantity, trial_days, page.metadata, at)
            subscribed, invoice = contract.shown.ref, contract.shown.latest_invoice
            life.complete(book, session, page.success_url, at, subscription=subscribed, invoice=invoice)
            return session.shown

        token = token_of(customer.id)
        made = await self._change(token, step)
        await self._store.put([(f"{self._prefix}key/{page.key}", made.ref.id.encode())])
        return made

    async def payment_checkout(
        self,
        *,
        lines: Sequence[CheckoutLine],
        customer: Ref | None,
        customer_email: str | None,
        page: CheckoutPage,
    ) -> CheckoutSession:
        """Complete at once, and paid; as above."""
        await self._begin("billing.payment_checkout", customer_email or "")
        currency = lines[0].unit_price.currency
        amount = from_minor(
            sum(
                to_minor(line.unit_price, field=f"lines.{index}.unit_price") * line.quantity
                for index, line in enumerate(lines)
            ),
            currency,
        )

        def step(book: Book, at: datetime) -> CheckoutSession:
            if page.key in book.done:
                return book.sessions[book.done[page.key]].shown
            if customer is None:
                book.address = customer_email or ""
            whom = None if customer is None else customer_in(book, customer.id).ref
            session = life.open_checkout(book, customer=whom, amount=amount, page=page, at=at)
            if book.fate is Fate.DECLINED:
                life.refuse(book, session, at)
            elif amount.amount:
                payment = life.take(book, book.new_ref("pay"), amount, page.metadata, None, at).shown.ref
                life.complete(book, session, page.success_url, at, payment=payment)
            else:
                life.complete(book, session, page.success_url, at)
            return session.shown

        token = token_for(page.key) if customer is None else token_of(customer.id)
        made = await self._change(token, step)
        await self._store.put([(f"{self._prefix}key/{page.key}", made.ref.id.encode())])
        return made

    async def find_checkout(self, key: str, since: float) -> CheckoutSession | None:
        """By its key."""
        del since
        await self._begin("billing.find")
        id_ = await self._store.get(f"{self._prefix}key/{key}")
        if id_ is None:
            return None
        book, _ = await self._read(token_of(id_.decode()))
        session = book.sessions.get(id_.decode())
        return None if session is None else session.shown

    async def checkout(self, ref: Ref) -> CheckoutSession:
        """How far it is."""
        await self._begin("billing.checkout")
        book, _ = await self._read(token_of(ref.id))
        return session_in(book, ref.id).shown

    async def expire_checkout(self, ref: Ref) -> CheckoutSession:
        """Close it; one that is over stays as it is."""
        await self._begin("billing.expire_checkout")

        def step(book: Book, at: datetime) -> CheckoutSession:
            session = session_in(book, ref.id)
            life.expire(book, session, at)
            return session.shown

        return await self._change(token_of(ref.id), step)

    async def portal(self, customer: Ref, return_url: str) -> PortalSession:
        """Nothing to manage: it leads straight back."""
        await self._begin("billing.portal")
        return PortalSession(ref=ref(f"bps-{token_of(customer.id)}-{new_id()[:8]}"), url=return_url)

    async def subscription(self, ref: Ref) -> Subscription:
        """As it is now."""
        await self._begin("billing.subscription")
        book, at = await self._read(token_of(ref.id))
        return contract_in(book, ref.id, at).shown

    async def subscriptions(self, customer: Ref, cursor: str) -> tuple[list[Subscription], str]:
        """Newest first."""
        await self._begin("billing.subscriptions")
        book, _ = await self._read(token_of(customer.id))
        return _page((one.shown for one in book.contracts.values()), cursor)

    async def preview_change(
        self, ref: Ref, price: Ref, quantity: int | None, proration: Proration, at: datetime | None
    ) -> ChangePreview:
        """By the same rules as `change_plan`."""
        await self._begin("billing.preview_change")
        what = await self._catalog.price(price.id)
        book, now = await self._read(token_of(ref.id))
        contract = contract_in(book, ref.id, now)
        return _preview(book, contract, what, quantity, proration, at or now)

    async def change_plan(
        self, ref: Ref, price: Ref, quantity: int | None, proration: Proration, at: datetime | None, key: str
    ) -> Subscription:
        """Put it on another price, once for the key."""
        await self._begin("billing.change_plan")
        what = await self._catalog.price(price.id)

        def step(book: Book, now: datetime) -> Subscription:
            contract = contract_in(book, ref.id, now)
            if key not in book.done:
                _not_over(contract)
                many = _quantity(contract, what, quantity)
                life.change(book, contract, what, many, proration, at=at or now, now=now)
                book.done[key] = ref.id
            return contract.shown

        return await self._change(token_of(ref.id), step)

    async def cancel(self, ref: Ref, *, at_period_end: bool) -> Subscription:
        """End it; one that has ended stays so."""
        await self._begin("billing.cancel")

        def step(book: Book, at: datetime) -> Subscription:
            contract = contract_in(book, ref.id, at)
            shown = contract.shown
            if shown.status.over:
                return shown
            if not at_period_end:
                life.end(book, contract, at)
            elif not shown.cancel_at_period_end:
                life.reshape(book, contract, at, cancel_at_period_end=True, cancel_at=shown.period_end, canceled_at=at)
            return contract.shown

        return await self._change(token_of(ref.id), step)

    async def resume(self, ref: Ref) -> Subscription:
        """Take a cancellation at the period's end back."""
        await self._begin("billing.resume")

        def step(book: Book, at: datetime) -> Subscription:
            contract = contract_in(book, ref.id, at)
            _not_over(contract)
            if contract.shown.cancel_at_period_end:
                life.reshape(book, contract, at, cancel_at_period_end=False, cancel_at=None, canceled_at=None)
            return contract.shown

        return await self._change(token_of(ref.id), step)

    async def payment_of(self, ref: Ref) -> Ref:
        """By what the reference names; something unknown was paid, plausibly."""
        await self._begin("billing.payment_of")
        book, _ = await self._read(token_of(ref.id))
        session, bill, receipt = (kept.get(ref.id) for kept in (book.sessions, book.bills, book.receipts))
        found: Ref | None = ref
        if isinstance(session, Session):
            invoice = session.shown.invoice
            bill = book.bills.get(invoice.id) if invoice is not None else None
            found = session.shown.payment
        if isinstance(bill, Bill):
            found = bill.payment
        elif receipt is None and session is None:
            found = None if ref.id in book.contracts else payment_for(ref.id)
        if found is not None:
            receipt = book.receipts.get(found.id)
            if receipt is None or receipt.shown.status == life.PAID:
                return found
        msg = f"nothing was paid for {ref}"
        raise NotFoundError(msg, field="ref", code="not_paid")

    async def refund(self, payment: Ref, amount: Money | None, reason: RefundReason | None, key: str) -> Refund:
        """Once for the key."""
        await self._begin("billing.refund")
        exact = None if amount is None else from_minor(to_minor(amount), amount.currency)

        def step(book: Book, at: datetime) -> Refund:
            if key in book.done:
                return book.refunds[book.done[key]]
            receipt = receipt_in(book, payment.id, exact)
            return life.give_back(book, receipt, exact, reason, key, at)

        return await self._change(token_of(payment.id), step)

    async def find_refund(self, payment: Ref, key: str) -> Refund | None:
        """By its key."""
        await self._begin("billing.find")
        book, _ = await self._read(token_of(payment.id))
        return book.refunds.get(book.done.get(key, ""))

    async def invoice(self, ref: Ref) -> Invoice:
        """As it is now."""
        await self._begin("billing.invoice")
        book, _ = await self._read(token_of(ref.id))
        return bill_in(book, ref.id).shown

    async def invoices(self, customer: Ref, cursor: str) -> tuple[list[Invoice], str]:
        """Newest first."""
        await self._begin("billing.invoices")
        book, _ = await self._read(token_of(customer.id))
        return _page((one.shown for one in book.bills.values()), cursor)

    async def disputes(self, cursor: str) -> tuple[list[Dispute], str]:
        """Newest first, of all customers."""
        await self._begin("billing.disputes")
        ids = [value.decode() async for _, value in self._store.scan(f"{self._prefix}dispute/")]
        found: list[Dispute] = []
        for id_ in ids:
            book, _ = await self._read(token_of(id_))
            if id_ in book.disputes:
                found.append(book.disputes[id_])
        return _page(found, cursor)

    async def record_usage(
        self, customer: Ref, meter: str, quantity: Decimal, at: datetime | None, key: str
    ) -> UsageRecord:
        """Counted once for the key, on the next invoice of a subscription to a price with this meter."""
        await self._begin("billing.record_usage")
        if not await self._catalog.has_meter(meter):
            msg = f"meter: no price is counted by {meter[:80]!r}"
            raise NotFoundError(msg, field="meter", code="no_meter")

        def step(book: Book, now: datetime) -> UsageRecord:
            known = book.usage.get(key)
            if known is not None:
                return known.shown
            moment = at or now
            if not now - OLDEST_USAGE <= moment <= now + NEWEST_USAGE:
                msg = "at: at most 35 days ago, and 5 minutes ahead"
                raise InvalidRequestError(msg, field="at", code="timestamp")
            whom = customer_in(book, customer.id)
            usage = UsageRecord(id=key, meter=meter, customer=whom.ref, quantity=quantity, at=moment)
            book.usage[key] = Usage(shown=usage)
            return usage

        return await self._change(token_of(customer.id), step)

    async def sync_catalog(self, plans: Sequence[Plan], *, dry_run: bool) -> CatalogPlan:
        """Products, prices and meters that are there from then on."""
        await self._begin("billing.sync_catalog")
        return await self._catalog.sync(plans, dry_run=dry_run)

    async def ensure_webhook(self, url: str, key: str) -> WebhookEndpoint:
        """Deliver to `url` from now on. The secret is shown once, as live vendors do."""
        del key
        await self._begin("billing.ensure_webhook")
        hook = self._prefix + "webhook"
        known = await self._store.get(hook)
        await self._store.put([(hook, url.encode())])
        secret = None if known == url.encode() else SecretStr(webhooks.SECRET)
        return WebhookEndpoint(ref=ref("webhook-billing"), secret=secret)

    def recognises(self, request: RawRequest) -> bool:
        """By the signature header."""
        return webhooks.HEADER in request.headers

    async def webhook(self, request: RawRequest) -> WebhookResult[BillingEvent]:
        """As `_tell` signs it."""
        webhooks.verify(request, self._clock.time())
        try:
            return WebhookResult[BillingEvent](events=tuple(_EVENTS.validate_json(request.body)))
        except ValueError as error:
            msg = "the webhook is not a list of demo events"
            raise BadResponseError(msg, vendor="demo") from error

    async def check(self) -> CheckResult:
        """Always well."""
        return CheckResult(vendor="demo", state=CheckState.OK, detail="made up: no money moves", sandbox=True)

    async def aclose(self) -> None:
        """Nothing of its own."""

    async def books(self) -> AsyncIterator[Book]:
        """All that is kept, in no particular order."""
        async for _, value in self._store.scan(f"{self._prefix}book/"):
            yield Book.model_validate_json(value)

    async def _begin(self, operation: str, address: str = "") -> None:
        """Fail where it is asked to; then do what came due."""
        self._faults.strike(operation, word(address))
        gate = await self._store.get(self._prefix + "next")
        if gate is not None and int(gate) <= self._clock.time():
            await self._catch_up()

    async def _read(self, token: str) -> tuple[Book, datetime]:
        """The book, and the moment. All that came due was done by `_begin`."""
        stored = await self._store.get(f"{self._prefix}book/{token}")
        now = self._now()
        book = Book(token=token) if stored is None else Book.model_validate_json(stored)
        return book, now

    async def _change(self, token: str, step: Callable[[Book, datetime], T]) -> T:
        """What `step` makes of the book, written down unless somebody else was faster: then again."""
        book, result = await self._write(token, step)
        await self._tell(book.events)
        return result

    async def _write(self, token: str, step: Callable[[Book, datetime], T]) -> tuple[Book, T]:
        key = f"{self._prefix}book/{token}"
        while True:
            stored = await self._store.get(key)
            book = Book(token=token) if stored is None else Book.model_validate_json(stored)
            now = self._now()
            life.advance(book, now)
            result = step(book, now)
            await self._schedule(book)
            new = book.model_dump_json().encode()
            if new == stored or await self._store.swap(key, stored, new):
                for one in book.opened:
                    newest_first = f"{10**12 - int(one.created_at.timestamp()):013}"
                    await self._store.put([(f"{self._prefix}dispute/{newest_first}/{one.ref.id}", one.ref.id.encode())])
                return book, result

    async def _schedule(self, book: Book) -> None:
        """Have it looked at when its next thing comes due. Before the book is written: too often does no harm."""
        at = life.next_due(book)
        if at == book.scheduled:
            return
        book.scheduled = at
        if at is not None:
            second = int(at.timestamp())
            await self._store.put([(f"{self._prefix}due/{second:012}/{book.token}", book.token.encode())])
            await self._open_gate(second)

    async def _open_gate(self, second: int) -> None:
        gate = self._prefix + "next"
        while True:
            known = await self._store.get(gate)
            if known is not None and int(known) <= second:
                return
            if await self._store.swap(gate, known, str(second).encode()):
                return

    async def _catch_up(self) -> None:
        """Do what came due in every book."""
        events: list[BillingEvent] = []
        gate = self._prefix + "next"
        while True:
            known = await self._store.get(gate)
            first = await self._first_due()
            if first is not None and first[0] <= self._clock.time():
                _, key, token = first
                book, _ = await self._write(token, _nothing_more)
                await self._store.put([(key, None)])
                events += book.events
                continue
            # Who schedules something writes it down first and then looks at the gate: one of us sees the other.
            opens = None if first is None else str(first[0]).encode()
            if await self._store.swap(gate, known, opens) and await self._first_due() == first:
                break
        events.sort(key=lambda event: event.occurred_at)
        await self._tell(events)

    async def _first_due(self) -> tuple[int, str, str] | None:
        prefix = f"{self._prefix}due/"
        async for key, token in self._store.scan(prefix):
            return int(key.removeprefix(prefix).partition("/")[0]), key, token.decode()
        return None

    async def _tell(self, events: list[BillingEvent]) -> None:
        """Post them, signed, in order of time."""
        if not events:
            return
        registered = await self._store.get(self._prefix + "webhook")
        url = registered.decode() if registered else self._url
        if not url:
            return
        for at in range(0, len(events), PER_DELIVERY):
            body = to_json(events[at : at + PER_DELIVERY])
            self._deliver(url, body, webhooks.sign(body, self._clock.time()))

    def _now(self) -> datetime:
        return utc(int(self._clock.time()))


_EVENTS = TypeAdapter(list[BillingEvent])


def _nothing_more(book: Book, at: datetime) -> None:
    """What came due is all."""
    del book, at


N = TypeVar("N", Subscription, Invoice, Dispute)


def _page(things: Iterable[N], cursor: str) -> tuple[list[N], str]:
    """Newest first; the cursor is the last one's id."""
    newest = sorted(things, key=lambda one: _number(one.ref), reverse=True)
    ids = [one.ref.id for one in newest]
    begin = ids.index(cursor) + 1 if cursor in ids else 0
    page = newest[begin : begin + PAGE]
    return page, page[-1].ref.id if begin + PAGE < len(newest) else ""


def _number(name: Ref) -> int:
    number = name.id.rpartition("-")[2]
    return int(number) if number.isascii() and number.isdigit() else 0


def _preview(
    book: Book, contract: Contract, price: Price, quantity: int | None, how: Proration, at: datetime
) -> ChangePreview:
    _not_over(contract)
    many = _quantity(contract, price, quantity)
    alone = life.proration(contract, price, many, how, at)
    unit = terms.currency(price)
    lines = [*contract.waiting, *alone]
    at_once = how is Proration.NOW or life.restarts(contract, price)
    if not at_once or life.restarts(contract, price):
        lines += terms.period_lines(price, many)
    sum_ = terms.total(lines, unit)
    due = terms.nothing(unit)
    if at_once:
        due = terms.rounded(max(sum_.amount - book.credit.get(unit, Decimal(0)), Decimal(0)), unit)
    return ChangePreview(at=at, due_now=due, difference=terms.total(alone, unit), total=sum_, lines=tuple(lines))


def _quantity(contract: Contract, price: Price, quantity: int | None) -> int | None:
    if price.meter is not None:
        return None
    return quantity or contract.shown.quantity or 1


def _not_over(contract: Contract) -> None:
    if contract.shown.status.over:
        msg = f"{contract.shown.ref} is over"
        raise ConflictError(msg, code="subscription_over")
