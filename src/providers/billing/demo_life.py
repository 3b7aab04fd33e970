"""What happens in a made-up customer's book: subscriptions begin, renew, fail and end; money is paid and goes back.

Each function does one thing at a moment and notes its events; `advance` does all that came due, in order of time.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

from providers.billing import demo_terms as terms
from providers.billing.demo_book import Bill, Book, Change, Contract, Fate, Receipt, Session
from providers.billing.events import BillingEventType
from providers.billing.models import (
    CheckoutSession,
    CheckoutStatus,
    Dispute,
    DisputeStatus,
    Interval,
    Invoice,
    InvoiceLine,
    InvoiceStatus,
    Payment,
    PaymentStatus,
    Price,
    Proration,
    Refund,
    RefundReason,
    RefundStatus,
    Subscription,
    SubscriptionItem,
    SubscriptionStatus,
)
from providers.core.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from providers.billing.api import CheckoutPage
    from providers.core.models import Money, Ref

OPEN_FOR = timedelta(days=1)
"""How long a checkout can be paid."""

ANSWER_WITHIN = timedelta(days=7)
"""Time for evidence against a dispute."""

GOOD_FOR = 2
"""Payments of a card that expires."""

PAID = "succeeded"
DECLINED, CONFIRM = "card_declined", "authentication_required"
_FAILURES = {DECLINED: "Your card was declined.", CONFIRM: "Please confirm this payment with your bank."}


# Subscriptions.


def begin(
    book: Book,
    customer: Ref,
    price: Price,
    quantity: int,
    trial_days: int | None,
    metadata: Mapping[str, str],
    at: datetime,
) -> Contract:
    """A subscription whose checkout is paid: on trial, or active with its first invoice."""
    name = book.new_ref("sub")
    trial_end = None if trial_days is None else at + timedelta(days=trial_days)
    anchor = trial_end or at
    many = None if price.meter is not None else quantity
    end = trial_end or terms.boundary(anchor, 1, *every(price))
    item = SubscriptionItem(
        id=f"si{name.id.removeprefix('sub')}",
        price=price.ref,
        lookup_key=price.lookup_key,
        quantity=many,
        period_start=at,
        period_end=end,
    )
    shown = Subscription(
        ref=name,
        customer=customer,
        status=SubscriptionStatus.ACTIVE if trial_end is None else SubscriptionStatus.TRIALING,
        price=price.ref,
        lookup_key=price.lookup_key,
        quantity=many,
        period_start=at,
        period_end=end,
        cancel_at_period_end=False,
        trial_start=None if trial_end is None else at,
        trial_end=trial_end,
        items=(item,),
        metadata=dict(metadata),
    )
    contract = Contract(shown=shown, price=price, anchor=anchor)
    book.contracts[name.id] = contract
    book.tell(BillingEventType.SUBSCRIPTION_CREATED, at, shown)
    if trial_end is None:
        lines = terms.period_lines(price, many)
    else:
        free = terms.nothing(terms.currency(price))
        lines = [InvoiceLine(description=f"Trial of {terms.title(price)}", amount=free)]
    charge(book, bill(book, contract, lines, "subscription_create", at), at, present=True)
    return contract


def every(price: Price) -> tuple[Interval, int]:
    """How often it is charged."""
    return price.interval or Interval.MONTH, price.interval_count or 1


def reshape(book: Book, contract: Contract, at: datetime, **changes: object) -> None:
    """Change a subscription, its first item with it, and say so."""
    before = contract.shown
    first = before.items[0]
    of_item = {name: value for name, value in changes.items() if name in SubscriptionItem.model_fields}
    items = (first.model_copy(update=of_item), *before.items[1:])
    contract.shown = before.model_copy(update={**changes, "items": items})
    changed = tuple(
        name for name in Subscription.model_fields if getattr(before, name) != getattr(contract.shown, name)
    )
    if changed:
        book.tell(BillingEventType.SUBSCRIPTION_UPDATED, at, contract.shown, changed)


def end(book: Book, contract: Contract, at: datetime) -> None:
    """It is over: what is still open is not tried any more."""
    shown = contract.shown
    contract.shown = shown.model_copy(
        update={
            "status": SubscriptionStatus.CANCELED,
            "canceled_at": shown.canceled_at or at,
            "pending_price": None,
        }
    )
    contract.pending = None
    for each in open_bills(book, contract):
        each.shown = each.shown.model_copy(update={"next_attempt_at": None})
    book.tell(BillingEventType.SUBSCRIPTION_ENDED, at, contract.shown)


def renew(book: Book, contract: Contract, at: datetime) -> None:
    """The period is over: the end, or the next period and its invoice."""
    shown = contract.shown
    lines = used(book, contract, at)
    if shown.cancel_at_period_end:
        if contract.waiting or any(line.amount.amount for line in lines):
            charge(book, bill(book, contract, lines, "subscription_cycle", at), at)
        if not contract.shown.status.over:
            end(book, contract, at)
        return
    if shown.status is not SubscriptionStatus.TRIALING:
        contract.number += 1
    status = SubscriptionStatus.ACTIVE if shown.status is SubscriptionStatus.TRIALING else shown.status
    following = terms.boundary(contract.anchor, contract.number + 1, *every(contract.price))
    reshape(book, contract, at, status=status, period_start=at, period_end=following)
    lines += terms.period_lines(contract.price, contract.shown.quantity)
    charge(book, bill(book, contract, lines, "subscription_cycle", at), at)


def used(book: Book, contract: Contract, at: datetime) -> list[InvoiceLine]:
    """The line of what was used of a metered price until now, which is then counted."""
    meter = contract.price.meter
    if meter is None:
        return []
    counted = Decimal(0)
    for usage in book.usage.values():
        if usage.shown.meter == meter and not usage.billed and usage.shown.at < at:
            usage.billed = True
            counted += usage.shown.quantity
    return terms.usage_lines(contract.price, counted)


# Changes of plan.


def proration(
    contract: Contract, price: Price, quantity: int | None, how: Proration, at: datetime
) -> list[InvoiceLine]:
    """What the change alone makes, at a moment of the current period."""
    shown = contract.shown
    if not shown.period_start <= at < shown.period_end:
        msg = f"at: not within the current period, {shown.period_start:%Y-%m-%d} to {shown.period_end:%Y-%m-%d}"
        raise InvalidRequestError(msg, field="at")
    if terms.currency(price) != terms.currency(contract.price):
        msg = f"price: {price.ref} is in {terms.currency(price)}, the subscription in {terms.currency(contract.price)}"
        raise InvalidRequestError(msg, field="price")
    same = (price.ref, quantity) == (contract.price.ref, shown.quantity)
    if same or how is Proration.NONE or shown.status is SubscriptionStatus.TRIALING:
        return []
    old, new = (contract.price, shown.quantity), (price, quantity)
    lines = terms.proration_lines(old, new, (shown.period_start, shown.period_end), at)
    return lines[:1] if restarts(contract, price) else lines


def restarts(contract: Contract, price: Price) -> bool:
    """Whether a new period begins with the change, since the new price is charged for another one."""
    trial = contract.shown.status is SubscriptionStatus.TRIALING
    return every(price) != every(contract.price) and not trial


def change(
    book: Book,
    contract: Contract,
    price: Price,
    quantity: int | None,
    how: Proration,
    *,
    at: datetime,
    now: datetime,
) -> None:
    """Put it on another price: the difference waits for the next invoice, or is charged and paid first."""
    lines = proration(contract, price, quantity, how, at)
    wanted = Change(price=price, quantity=quantity, until=now + terms.PENDING_FOR)
    restart = restarts(contract, price)
    if restart:
        lines = [*lines, *terms.period_lines(price, quantity)]
    drop_pending(book, contract, now)
    if how is Proration.NOW and lines:
        made = bill(book, contract, lines, "subscription_update", now)
        contract.pending = wanted
        charge(book, made, now)
        if made.shown.status is InvoiceStatus.OPEN:
            reshape(book, contract, now, pending_price=price.ref)
        return
    apply(book, contract, wanted, now)
    if restart:
        charge(book, bill(book, contract, lines, "subscription_update", now), now)
    else:
        contract.waiting += lines


def apply(book: Book, contract: Contract, wanted: Change, at: datetime) -> None:
    """The change, once nothing stands in its way."""
    price = wanted.price
    changes: dict[str, object] = {
        "price": price.ref,
        "lookup_key": price.lookup_key,
        "quantity": wanted.quantity,
        "pending_price": None,
    }
    if restarts(contract, price):
        contract.anchor, contract.number = at, 0
        changes |= {"period_start": at, "period_end": terms.boundary(at, 1, *every(price))}
    contract.price = price
    contract.pending = None
    reshape(book, contract, at, **changes)


def drop_pending(book: Book, contract: Contract, at: datetime) -> None:
    """Give up a change that was not paid: its invoice is void."""
    if contract.pending is None:
        return
    contract.pending = None
    for each in open_bills(book, contract):
        if each.shown.reason == "subscription_update":
            each.shown = each.shown.model_copy(update={"status": InvoiceStatus.VOID, "next_attempt_at": None})
    reshape(book, contract, at, pending_price=None)


# Invoices.


def bill(book: Book, contract: Contract, lines: Sequence[InvoiceLine], reason: str, at: datetime) -> Bill:
    """An invoice of a subscription, with what has waited for it; credit is used first."""
    shown = contract.shown
    every_line = (*contract.waiting, *lines)
    contract.waiting = []
    unit = terms.currency(contract.price)
    sum_ = terms.total(every_line, unit)
    credit = book.credit.get(unit, Decimal(0))
    if sum_.amount < 0:
        book.credit[unit] = credit - sum_.amount
        due = terms.nothing(unit)
    else:
        due = terms.rounded(max(sum_.amount - credit, Decimal(0)), unit)
        book.credit[unit] = credit - (sum_.amount - due.amount)
    name = book.new_ref("in")
    invoice = Invoice(
        ref=name,
        status=InvoiceStatus.OPEN,
        total=sum_,
        amount_due=due,
        amount_paid=terms.nothing(unit),
        created_at=at,
        customer=shown.customer,
        subscription=shown.ref,
        number=f"DEMO-{book.token[:6].upper()}-{len(book.bills) + 1:04}",
        reason=reason,
        hosted_url=f"https://billing.demo.invalid/invoices/{name.id}",
        pdf_url=f"https://billing.demo.invalid/invoices/{name.id}.pdf",
        lines=every_line,
        metadata=shown.metadata,
    )
    book.bills[name.id] = made = Bill(shown=invoice)
    contract.shown = shown.model_copy(update={"latest_invoice": name})
    return made


def charge(book: Book, one: Bill, at: datetime, *, present: bool = False) -> None:
    """Try to be paid; `present` while the customer stands at the checkout."""
    invoice = one.shown
    if invoice.amount_due.amount == 0:
        settle(book, one, at)
        return
    tries = invoice.attempts
    failure = None if present else later_failure(book, tries)
    if one.payment is None:
        one.payment = book.new_ref("pay")
    one.shown = invoice.model_copy(update={"attempts": tries + 1})
    take(book, one.payment, invoice.amount_due, invoice.metadata, failure, at)
    if failure is None:
        settle(book, one, at)
    else:
        fail(book, one, failure, at)


def later_failure(book: Book, tries: int) -> str | None:
    """Why an invoice that comes by itself is not paid, when it was tried so often before."""
    fate = book.fate
    if fate is Fate.EXPIRES:
        paid = sum(receipt.shown.status == PAID for receipt in book.receipts.values())
        return DECLINED if paid >= GOOD_FOR else None
    if fate is Fate.AUTHENTICATE:
        return CONFIRM
    if fate in {Fate.FAILS, Fate.DECLINED} or (fate is Fate.RECOVERS and tries < len(terms.RETRIES) - 1):
        return DECLINED
    return None


def settle(book: Book, one: Bill, at: datetime) -> None:
    """It is paid, and so is what waited for it."""
    one.shown = one.shown.model_copy(
        update={"status": InvoiceStatus.PAID, "amount_paid": one.shown.amount_due, "next_attempt_at": None}
    )
    book.tell(BillingEventType.INVOICE_PAID, at, one.shown)
    contract = contract_of(book, one)
    if contract is None or contract.shown.status.over:
        return
    if contract.pending is not None and one.shown.reason == "subscription_update":
        apply(book, contract, contract.pending, at)
    if contract.shown.status is SubscriptionStatus.PAST_DUE and not list(open_bills(book, contract)):
        reshape(book, contract, at, status=SubscriptionStatus.ACTIVE)


def fail(book: Book, one: Bill, failure: str, at: datetime) -> None:
    """It is not paid: the next attempt, or the end."""
    contract = contract_of(book, one)
    waits = contract is not None and contract.pending is not None and one.shown.reason == "subscription_update"
    done = one.shown.attempts - 1
    last = done >= len(terms.RETRIES)
    following = None if waits or last else at + terms.RETRIES[done]
    one.shown = one.shown.model_copy(update={"next_attempt_at": following})
    book.tell(BillingEventType.INVOICE_FAILED, at, one.shown)
    if failure == CONFIRM:
        book.tell(BillingEventType.INVOICE_ACTION_REQUIRED, at, one.shown)
    if contract is None or waits:
        return
    if contract.shown.status is SubscriptionStatus.ACTIVE:
        reshape(book, contract, at, status=SubscriptionStatus.PAST_DUE)
    if last:
        end(book, contract, at)


def contract_of(book: Book, one: Bill) -> Contract | None:
    """The subscription that an invoice is for."""
    name = one.shown.subscription
    return None if name is None else book.contracts.get(name.id)


def open_bills(book: Book, contract: Contract) -> Iterator[Bill]:
    """Its invoices that are not paid."""
    for each in book.bills.values():
        if each.shown.subscription == contract.shown.ref and each.shown.status is InvoiceStatus.OPEN:
            yield each


# Payments, refunds, disputes.


def take(
    book: Book, name: Ref, amount: Money, metadata: Mapping[str, str], failure: str | None, at: datetime
) -> Receipt:
    """One attempt of a payment."""
    status = PAID if failure is None else "requires_action" if failure == CONFIRM else "requires_payment_method"
    shown = Payment(
        ref=name,
        status=status,
        amount=amount,
        customer=book.whom,
        failure_code=failure,
        failure=None if failure is None else _FAILURES[failure],
        metadata=dict(metadata),
    )
    book.receipts[name.id] = receipt = Receipt(shown=shown)
    book.tell(BillingEventType.PAYMENT_SUCCEEDED if failure is None else BillingEventType.PAYMENT_FAILED, at, shown)
    if failure is None and book.fate is Fate.DISPUTE:
        dispute(book, receipt, at)
    return receipt


def give_back(
    book: Book, receipt: Receipt, amount: Money | None, reason: RefundReason | None, key: str, at: datetime
) -> Refund:
    """Send money back. Raises `InvalidRequestError` for more than is left, or another currency."""
    paid = receipt.shown.amount
    left = paid.amount - receipt.refunded
    if amount is not None and amount.currency != paid.currency:
        msg = f"amount: {amount}, and the payment was in {paid.currency}"
        raise InvalidRequestError(msg, field="amount", code="currency")
    if receipt.disputed:
        msg = f"{receipt.shown.ref} is disputed: the bank has the money"
        raise InvalidRequestError(msg, field="ref", code="charge_disputed")
    if left <= 0:
        msg = f"nothing is left of {receipt.shown.ref}: all was refunded"
        raise InvalidRequestError(msg, field="amount", code="charge_already_refunded")
    back = terms.rounded(left, paid.currency) if amount is None else amount
    if back.amount > left:
        msg = f"amount: {back} is more than the {left} {paid.currency} that are left"
        raise InvalidRequestError(msg, field="amount", code="amount_too_large")
    receipt.refunded += back.amount
    refund = Refund(
        ref=book.new_ref("re"),
        status=RefundStatus.SUCCEEDED,
        amount=back,
        created_at=at,
        payment=receipt.shown.ref,
        reason=reason,
        metadata={},
    )
    book.refunds[refund.ref.id] = refund
    book.done[key] = refund.ref.id
    book.tell(BillingEventType.REFUND_CREATED, at, refund)
    book.tell(BillingEventType.PAYMENT_REFUNDED, at, receipt.shown)
    return refund


def dispute(book: Book, receipt: Receipt, at: datetime) -> Dispute:
    """The customer's bank takes the payment back."""
    receipt.disputed = True
    made = Dispute(
        ref=book.new_ref("dp"),
        status=DisputeStatus.NEEDS_RESPONSE,
        reason="fraudulent",
        amount=receipt.shown.amount,
        created_at=at,
        payment=receipt.shown.ref,
        respond_by=at + ANSWER_WITHIN,
        metadata=receipt.shown.metadata,
    )
    book.disputes[made.ref.id] = made
    book.opened.append(made)
    book.tell(BillingEventType.DISPUTE_OPENED, at, made)
    return made


# Checkouts.


def open_checkout(
    book: Book,
    *,
    customer: Ref | None,
    amount: Money,
    page: CheckoutPage,
    at: datetime,
) -> Session:
    """One that can be paid; `complete` is what the demo does with it at once."""
    shown = CheckoutSession(
        ref=book.new_ref("cs"),
        url=page.cancel_url,
        expires_at=at + OPEN_FOR,
        status=CheckoutStatus.OPEN,
        payment_status=PaymentStatus.UNPAID,
        customer=customer,
        amount=amount,
        metadata=dict(page.metadata),
    )
    book.sessions[shown.ref.id] = session = Session(shown=shown)
    book.done[page.key] = shown.ref.id
    return session


def refuse(book: Book, session: Session, at: datetime) -> None:
    """The card is declined: the page stays open."""
    amount = session.shown.amount
    if amount is not None and amount.amount:
        take(book, book.new_ref("pay"), amount, session.shown.metadata, DECLINED, at)


def complete(book: Book, session: Session, success_url: str, at: datetime, **made: object) -> None:
    """The customer is through."""
    amount = session.shown.amount
    paid = amount is not None and amount.amount > 0
    session.shown = session.shown.model_copy(
        update={
            "url": success_url.replace("{CHECKOUT_SESSION_ID}", session.shown.ref.id),
            "status": CheckoutStatus.COMPLETE,
            "payment_status": PaymentStatus.PAID if paid else PaymentStatus.NOT_REQUIRED,
            **made,
        }
    )
    book.tell(BillingEventType.CHECKOUT_COMPLETED, at, session.shown)


def expire(book: Book, session: Session, at: datetime) -> None:
    """Nobody can pay it any more; one that is over stays as it is."""
    if session.shown.status is CheckoutStatus.OPEN:
        session.shown = session.shown.model_copy(update={"status": CheckoutStatus.EXPIRED, "url": None})
        book.tell(BillingEventType.CHECKOUT_EXPIRED, at, session.shown)


# Time.


def advance(book: Book, now: datetime) -> None:
    """Do all that came due until now, in order of time, each at its own moment."""
    while True:
        first = min(due(book), key=lambda one: one[0], default=None)
        if first is None or first[0] > now:
            return
        at, do = first
        do(at)


def next_due(book: Book) -> datetime | None:
    """When the next thing comes due."""
    return min((at for at, _ in due(book)), default=None)


def due(book: Book) -> Iterator[tuple[datetime, Callable[[datetime], None]]]:
    """All that will come due, with what is to be done then."""
    for session in book.sessions.values():
        if session.shown.status is CheckoutStatus.OPEN:
            yield session.shown.expires_at, partial(expire, book, session)
    for contract in book.contracts.values():
        shown = contract.shown
        if shown.status.over:
            continue
        if shown.status is SubscriptionStatus.TRIALING and not contract.noticed and shown.trial_end is not None:
            soon = max(shown.trial_end - terms.TRIAL_NOTICE, shown.trial_start or shown.trial_end)
            yield soon, partial(_notice, book, contract)
        if contract.pending is not None:
            yield contract.pending.until, partial(drop_pending, book, contract)
        yield shown.period_end, partial(renew, book, contract)
    for each in book.bills.values():
        following = each.shown.next_attempt_at
        if following is not None:
            yield following, partial(charge, book, each)
    for lost in book.disputes.values():
        if lost.status is DisputeStatus.NEEDS_RESPONSE and lost.respond_by is not None:
            yield lost.respond_by, partial(_lose, book, lost)


def _notice(book: Book, contract: Contract, at: datetime) -> None:
    contract.noticed = True
    book.tell(BillingEventType.SUBSCRIPTION_TRIAL_ENDING, at, contract.shown)


def _lose(book: Book, one: Dispute, at: datetime) -> None:
    lost = one.model_copy(update={"status": DisputeStatus.LOST})
    book.disputes[one.ref.id] = lost
    book.tell(BillingEventType.DISPUTE_CLOSED, at, lost)
