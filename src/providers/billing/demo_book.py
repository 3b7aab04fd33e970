"""What the demo keeps: one book for each customer, read and written whole, so that two processes lose nothing."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from providers.billing.events import BillingEvent, BillingEventType
from providers.billing.models import (
    CheckoutSession,
    Customer,
    Dispute,
    Invoice,
    InvoiceLine,
    Metadata,
    Payment,
    Price,
    Refund,
    Subscription,
    UsageRecord,
)
from providers.core.models import Ref

_ID = re.compile(r"[a-z]+-([0-9a-f]{12})(?:-[0-9]+)?")


class Fate(StrEnum):
    """What becomes of payments, by the word before the @ of the customer's address. The table of `docs/demo.md`."""

    DECLINED = "declined"
    """Checkouts: the card is declined, the session stays open and unpaid."""
    FAILS = "fails"
    """The checkout is paid; every later invoice fails, is tried three times more, and the subscription is canceled."""
    EXPIRES = "expires"
    """Two payments go through; then the card is too old, and invoices fail as with `fails`."""
    RECOVERS = "recovers"
    """Later invoices fail twice; the second retry is paid."""
    AUTHENTICATE = "authenticate"
    """Later invoices wait for the customer's confirmation, which never comes."""
    DISPUTE = "dispute"
    """Paid, and disputed at once; lost a week later."""
    PAID = ""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Session(_Record):
    """A checkout."""

    shown: CheckoutSession


class Change(_Record):
    """A change of plan that waits for its payment."""

    price: Price
    quantity: int | None
    until: datetime


class Contract(_Record):
    """A subscription: its price, where its periods are counted from, and prorations that wait for the next invoice."""

    shown: Subscription
    price: Price
    anchor: datetime
    number: int = 0
    waiting: list[InvoiceLine] = Field(default_factory=list[InvoiceLine])
    noticed: bool = False
    pending: Change | None = None


class Bill(_Record):
    """An invoice, the payment that was tried for it, and the credit that it used."""

    shown: Invoice
    payment: Ref | None = None


class Receipt(_Record):
    """A payment, and how much of it went back."""

    shown: Payment
    refunded: Decimal = Decimal(0)
    disputed: bool = False


class Usage(_Record):
    """Usage, and whether it stands on an invoice."""

    shown: UsageRecord
    billed: bool = False


class Book(_Record):
    """All of one customer's, or of one checkout that nobody is named in."""

    token: str
    address: str = ""
    customer: Customer | None = None
    count: int = 0
    told: int = 0
    sessions: dict[str, Session] = Field(default_factory=dict[str, Session])
    contracts: dict[str, Contract] = Field(default_factory=dict[str, Contract])
    bills: dict[str, Bill] = Field(default_factory=dict[str, Bill])
    receipts: dict[str, Receipt] = Field(default_factory=dict[str, Receipt])
    refunds: dict[str, Refund] = Field(default_factory=dict[str, Refund])
    disputes: dict[str, Dispute] = Field(default_factory=dict[str, Dispute])
    usage: dict[str, Usage] = Field(default_factory=dict[str, Usage])
    credit: dict[str, Decimal] = Field(default_factory=dict[str, Decimal])
    done: dict[str, str] = Field(default_factory=dict[str, str])
    """The vendor's idempotency keys -> what was made."""
    scheduled: datetime | None = None
    events: list[BillingEvent] = Field(default_factory=list[BillingEvent], exclude=True)
    opened: list[Dispute] = Field(default_factory=list[Dispute], exclude=True)

    @property
    def fate(self) -> Fate:
        """What becomes of its payments."""
        found = word(self.address)
        return Fate(found) if found in {*Fate} else Fate.PAID

    @property
    def whom(self) -> Ref | None:
        """The customer."""
        return None if self.customer is None else self.customer.ref

    def new_ref(self, kind: str) -> Ref:
        """A name for one more thing of it."""
        self.count += 1
        return ref(f"{kind}-{self.token}-{self.count}")

    def tell(
        self,
        kind: BillingEventType,
        at: datetime,
        about: Customer | Subscription | Invoice | CheckoutSession | Refund | Payment | Dispute,
        changed: tuple[str, ...] = (),
    ) -> None:
        """Note an event about one thing, as it is now."""
        self.told += 1
        name = "checkout" if isinstance(about, CheckoutSession) else type(about).__name__.lower()
        told: dict[str, Any] = {name: about}
        metadata: Metadata = about.metadata
        self.events.append(
            BillingEvent.model_construct(
                type=kind,
                event_id=f"evt-{self.token}-{self.told}",
                occurred_at=at,
                livemode=False,
                metadata=metadata,
                changed=changed,
                vendor="demo",
                **told,
            )
        )


def word(address: str) -> str:
    """What chooses the outcome: `fails` of `fails+1@example.com`."""
    return address.partition("@")[0].partition("+")[0].lower()


def ref(id_: str) -> Ref:
    """A reference to something made up."""
    return Ref(vendor="demo", id=id_)


def token_for(text: str) -> str:
    """A book's name from a key, or from an id that the demo did not make."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def token_of(id_: str) -> str:
    """The book that something is in."""
    match = _ID.fullmatch(id_)
    return token_for(id_) if match is None else match[1]
