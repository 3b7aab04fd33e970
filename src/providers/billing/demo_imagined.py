"""What is in a book; and where an id is not the demo's, something plausible that follows from the id alone.

So previews of the platform work with ids of another day, or of a mock. None of it has a lookup key: what is made up
is nobody's upgrade.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from providers.billing import demo_terms as terms
from providers.billing.demo_book import Bill, Book, Contract, Receipt, Session, ref
from providers.billing.demo_catalog import imagined_price
from providers.billing.models import (
    CheckoutSession,
    CheckoutStatus,
    Customer,
    Interval,
    Invoice,
    InvoiceStatus,
    Payment,
    PaymentStatus,
    Subscription,
    SubscriptionItem,
    SubscriptionStatus,
)
from providers.core.money import from_minor

if TYPE_CHECKING:
    from providers.core.models import Money, Ref


def customer_in(book: Book, id_: str) -> Customer:
    """The book's, or one of this name."""
    if book.customer is None or book.customer.ref.id != id_:
        book.address = book.address or f"somebody-{book.token}@example.com"
        book.customer = Customer(ref=ref(id_), email=book.address)
    return book.customer


def contract_in(book: Book, id_: str, at: datetime) -> Contract:
    """A subscription, active in the month that holds this moment."""
    known = book.contracts.get(id_)
    if known is not None:
        return known
    price = imagined_price(f"price-{book.token}")
    anchor = began(id_)
    number = (at.year - anchor.year) * 12 + at.month - anchor.month
    number -= terms.boundary(anchor, number, Interval.MONTH, 1) > at
    start, end = (terms.boundary(anchor, each, Interval.MONTH, 1) for each in (number, number + 1))
    name = ref(id_)
    item = SubscriptionItem(
        id=f"si-{book.token}", price=price.ref, lookup_key=None, quantity=1, period_start=start, period_end=end
    )
    whom = whose(book)
    book.contracts[id_] = made = Contract(
        shown=Subscription(
            ref=name,
            customer=whom,
            status=SubscriptionStatus.ACTIVE,
            price=price.ref,
            lookup_key=None,
            quantity=1,
            period_start=start,
            period_end=end,
            cancel_at_period_end=False,
            items=(item,),
        ),
        price=price,
        anchor=anchor,
        number=number,
    )
    return made


def session_in(book: Book, id_: str) -> Session:
    """A checkout, complete and paid."""
    known = book.sessions.get(id_)
    if known is not None:
        return known
    made = began(id_)
    shown = CheckoutSession(
        ref=ref(id_),
        url=None,
        expires_at=made,
        status=CheckoutStatus.COMPLETE,
        payment_status=PaymentStatus.PAID,
        payment=payment_for(id_),
        amount=from_minor(2900, "USD"),
    )
    return Session(shown=shown)


def bill_in(book: Book, id_: str) -> Bill:
    """An invoice, paid."""
    known = book.bills.get(id_)
    if known is not None:
        return known
    amount = from_minor(2900, "USD")
    shown = Invoice(
        ref=ref(id_),
        status=InvoiceStatus.PAID,
        total=amount,
        amount_due=amount,
        amount_paid=amount,
        created_at=began(id_),
        customer=whose(book),
    )
    return Bill(shown=shown, payment=payment_for(id_))


def receipt_in(book: Book, id_: str, amount: Money | None) -> Receipt:
    """A payment, of at least this amount."""
    known = book.receipts.get(id_)
    if known is not None:
        return known
    usual = from_minor(2900, "USD")
    if amount is not None:
        usual = amount if amount.currency != usual.currency else max(amount, usual, key=lambda one: one.amount)
    book.receipts[id_] = made = Receipt(shown=Payment(ref=ref(id_), status="succeeded", amount=usual))
    return made


def payment_for(id_: str) -> Ref:
    """The payment behind something; a payment's own id names itself."""
    return ref(id_) if id_.startswith("pay-") else ref(f"pay-{_digest(id_)[:12]}-0")


def whose(book: Book) -> Ref:
    """The book's customer, or the one it would have."""
    return book.whom or ref(f"cus-{book.token}")


def began(id_: str) -> datetime:
    """When something of this name was made: a day of January 2026."""
    return datetime(2026, 1, 1 + int(_digest(id_)[:4], 16) % 28, 12, tzinfo=UTC)


def _digest(id_: str) -> str:
    return hashlib.sha256(id_.encode()).hexdigest()
