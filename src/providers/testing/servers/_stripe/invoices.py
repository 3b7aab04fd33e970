"""Invoices: made, finalized, paid by the customer's card, or not; retried; void."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from providers.testing.servers._stripe.books import Books
from providers.testing.servers._stripe.call import Call, Obj, Route, invalid, refused, within
from providers.testing.servers._stripe.customers import CARDS, card_of, declined
from providers.testing.servers._stripe.lists import listed, page
from providers.testing.servers._stripe.payments import Card, charge, close, new_intent
from providers.testing.servers._stripe.shapes import listing, shape

PAYABLE: Final = frozenset({"open", "uncollectible"})


def routes() -> Iterable[Route]:
    """Endpoints; ``create_preview`` is with the subscriptions."""
    base = "/v1/invoices"
    filters = (
        "collection_method customer customer_account due_date:r status:draft|open|paid|uncollectible|void subscription"
    )
    yield Route("GET", base, listing(filters), list_all)
    yield Route("GET", base + "/{id}", shape(""), lambda books, call: books.get("invoice", call.id))
    yield Route("GET", base + "/{id}/lines", listing(), list_lines)
    pay_shape = shape("forgive:b mandate? off_session:b paid_out_of_band:b payment_method source")
    yield Route("POST", base + "/{id}/pay", pay_shape, pay)
    yield Route("POST", base + "/{id}/void", shape(""), void)
    payments = "invoice payment{payment_intent payment_record type!} status:canceled|open|paid"
    yield Route("GET", "/v1/invoice_payments", listing(payments), list_payments)
    yield Route(
        "GET", "/v1/invoice_payments/{id}", shape(""), lambda books, call: books.get("invoice_payment", call.id)
    )


def list_all(books: Books, call: Call) -> Obj:
    """GET /v1/invoices."""
    given = call.given
    wanted = {name: given.get(name) for name in ("customer", "status", "collection_method")}
    only = given.get("subscription")
    return page(
        call, (one for one in books.newest("invoice", **wanted) if only is None or subscription_of(one) == only)
    )


def list_lines(books: Books, call: Call) -> Obj:
    """GET /v1/invoices/{id}/lines."""
    return page(call, books.get("invoice", call.id)["lines"]["data"])


def list_payments(books: Books, call: Call) -> Obj:
    """GET /v1/invoice_payments."""
    given = call.given
    intent = given.get("payment", {}).get("payment_intent")
    found = books.newest("invoice_payment", invoice=given.get("invoice"), status=given.get("status"))
    return page(call, (one for one in found if intent is None or one["payment"]["payment_intent"] == intent))


def subscription_of(invoice: Obj) -> str | None:
    """The subscription an invoice is for."""
    name: str | None = within(invoice, "parent", "subscription_details", "subscription")
    return name


def line(
    books: Books,
    price: Obj,
    amount: int,
    description: str,
    period: tuple[int, int],
    *,
    quantity: int | None,
    item: Obj | None = None,
    proration: bool = False,
) -> Obj:
    """One position."""
    details: Obj = {"proration": proration, "subscription": item["subscription"] if item else None}
    if proration:
        details["proration_details"] = {"credited_items": None}
    kind = "subscription_item_details" if item and not proration else "invoice_item_details"
    if kind == "invoice_item_details":
        details["invoice_item"] = books.new_id("ii")
    elif item:
        details |= {"invoice_item": None, "proration_details": None, "subscription_item": item["id"]}
    return {
        "id": books.new_id("il"),
        "object": "line_item",
        "amount": amount,
        "currency": price["currency"],
        "description": description,
        "discount_amounts": [],
        "discountable": not proration,
        "discounts": [],
        "invoice": None,
        "livemode": books.livemode,
        "metadata": {},
        "parent": {"invoice_item_details": None, "subscription_item_details": None, "type": kind, kind: details},
        "period": {"start": period[0], "end": period[1]},
        "pretax_credit_amounts": [],
        "pricing": {
            "price_details": {"price": price["id"], "product": price["product"]},
            "type": "price_details",
            "unit_amount_decimal": price["unit_amount_decimal"],
        },
        "quantity": quantity,
        "subscription": item["subscription"] if item else None,
        "subtotal": amount,
        "taxes": [],
    }


def draft(
    books: Books, customer: Obj, lines: list[Obj], *, reason: str, subscription: Obj | None, preview: bool = False
) -> Obj:
    """An invoice with these lines; entered unless it is a ``preview``."""
    name = books.new_id("in")
    subtotal = sum(each["amount"] for each in lines)
    currency = lines[0]["currency"] if lines else (subscription or {}).get("currency") or "usd"
    automatic = bool(subscription and subscription["automatic_tax"]["enabled"])
    tax = subtotal * books.rules.tax_percent // 100 if automatic and subtotal > 0 else 0
    if preview:
        name = "upcoming_" + name
    for each in lines:
        each["invoice"] = name
    parent: Obj | None = None
    if subscription is not None:
        details: Obj = {"metadata": dict(subscription["metadata"]), "subscription": subscription["id"]}
        parent = {"quote_details": None, "subscription_details": details, "type": "subscription_details"}
    begin = subscription["items"]["data"][0]["current_period_start"] if subscription else books.now
    one: Obj = {
        "id": name,
        "object": "invoice",
        "account_country": "US",
        "account_name": "Local",
        "amount_due": 0,
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_remaining": 0,
        "amount_shipping": 0,
        "attempt_count": 0,
        "attempted": False,
        "auto_advance": True,
        "automatic_tax": {
            "disabled_reason": None,
            "enabled": automatic,
            "liability": {"type": "self"} if automatic else None,
            "provider": "stripe" if automatic else None,
            "status": "complete" if automatic else None,
        },
        "billing_reason": reason,
        "collection_method": "charge_automatically",
        "created": books.now,
        "currency": currency,
        "customer": customer["id"],
        "customer_address": customer["address"],
        "customer_email": customer["email"],
        "customer_name": customer["name"],
        "default_payment_method": None,
        "description": None,
        "discounts": [],
        "due_date": None,
        "effective_at": None,
        "ending_balance": None,
        "hosted_invoice_url": None,
        "invoice_pdf": None,
        "last_finalization_error": None,
        "lines": listed(lines, f"/v1/invoices/{name}/lines"),
        "livemode": books.livemode,
        "metadata": {},
        "next_payment_attempt": None,
        "number": None,
        "parent": parent,
        "period_end": books.now,
        "period_start": begin,
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "starting_balance": 0,
        "status": "draft",
        "status_transitions": {
            "finalized_at": None,
            "marked_uncollectible_at": None,
            "paid_at": None,
            "voided_at": None,
        },
        "subtotal": subtotal,
        "subtotal_excluding_tax": subtotal,
        "total": subtotal + tax,
        "total_discount_amounts": [],
        "total_excluding_tax": subtotal,
        "total_taxes": [{"amount": tax, "tax_behavior": "exclusive", "taxable_amount": subtotal}] if tax else [],
    }
    _due(one, customer)
    if not preview:
        books.add(one)
        books.emit("invoice.created", one)
    return one


def _due(one: Obj, customer: Obj) -> None:
    """What is to be paid after the customer's balance (below 0: credit)."""
    balance = customer["balance"]
    one["starting_balance"] = balance
    left = one["total"] + balance
    one["amount_due"] = one["amount_remaining"] = max(left, 0)


def finalize(books: Books, one: Obj) -> None:
    """Make a draft final: from here on it is to be paid."""
    customer = books.get("customer", one["customer"])
    _due(one, customer)
    after = min(one["total"] + customer["balance"], 0)
    one["ending_balance"] = after
    if after != customer["balance"] or customer["currency"] is None:
        before = books.before(customer)
        customer["balance"], customer["currency"] = after, customer["currency"] or one["currency"]
        books.changed("customer.updated", customer, before)
    prefix, number = customer["invoice_prefix"], customer["next_invoice_sequence"]
    customer["next_invoice_sequence"] += 1
    one.update(
        status="open",
        number=f"{prefix}-{number:04d}",
        effective_at=books.now,
        hosted_invoice_url=f"{books.url}/i/{one['id']}",
        invoice_pdf=f"{books.url}/i/{one['id']}/pdf",
    )
    one["status_transitions"]["finalized_at"] = books.now
    books.emit("invoice.finalized", one)
    if one["amount_due"] == 0:
        settled(books, one)


def settled(books: Books, one: Obj) -> None:
    """The invoice is paid: tell, and let its subscription go on."""
    one.update(
        status="paid",
        amount_paid=one["amount_due"],
        amount_remaining=0,
        attempted=True,
        auto_advance=False,
        next_payment_attempt=None,
    )
    one["status_transitions"]["paid_at"] = books.now
    books.emit("invoice.paid", one)
    books.emit("invoice.payment_succeeded", one)
    _delinquent(books, one, value=False)


def _delinquent(books: Books, one: Obj, *, value: bool) -> None:
    customer = books.get("customer", one["customer"])
    if customer.get("deleted") or customer["delinquent"] is value:
        return
    if not value and any(
        each["attempted"] for each in books.newest("invoice", customer=one["customer"], status="open")
    ):
        return
    before = books.before(customer)
    customer["delinquent"] = value
    books.changed("customer.updated", customer, before)


def intent_of(books: Books, one: Obj) -> Obj:
    """The payment intent of an invoice; made when first asked for."""
    for each in books.newest("invoice_payment", invoice=one["id"], status="open"):
        return books.get("payment_intent", each["payment"]["payment_intent"])
    more = {"description": "Subscription creation" if one["billing_reason"] == "subscription_create" else None}
    intent = new_intent(books, one["amount_due"], one["currency"], one["customer"], **more)
    books.add(
        {
            "id": books.new_id("inpay"),
            "object": "invoice_payment",
            "amount_paid": None,
            "amount_requested": one["amount_due"],
            "created": books.now,
            "currency": one["currency"],
            "invoice": one["id"],
            "is_default": True,
            "livemode": books.livemode,
            "payment": {"payment_intent": intent["id"], "type": "payment_intent"},
            "status": "open",
            "status_transitions": {"canceled_at": None, "paid_at": None},
        }
    )
    return intent


def attempt(books: Books, one: Obj, card: Card | None) -> bool:
    """Try to be paid; whether it worked. Without a card it fails at once."""
    one["attempted"] = True
    one["attempt_count"] += 1
    intent = intent_of(books, one)
    paid = card is not None and charge(books, intent, card)
    if paid:
        for each in books.newest("invoice_payment", invoice=one["id"], status="open"):
            each.update(status="paid", amount_paid=one["amount_due"])
            each["status_transitions"]["paid_at"] = books.now
            settled(books, one)
            books.emit("invoice_payment.paid", each)
            return True
    return False


def failed(books: Books, one: Obj, next_attempt: int | None) -> None:
    """Tell that an attempt did not work, and when the next is."""
    one["next_payment_attempt"] = next_attempt
    intent = intent_of(books, one)
    if intent["status"] == "requires_action":
        books.emit("invoice.payment_action_required", one)
    books.emit("invoice.payment_failed", one)
    _delinquent(books, one, value=True)


def card_for(books: Books, one: Obj, *, present: bool = False) -> Card | None:
    """The card an invoice is charged to."""
    customer = books.get("customer", one["customer"])
    if customer.get("deleted"):
        return None
    subscription = books.tables["subscription"].get(subscription_of(one) or "")
    chosen = card_of(books, customer, subscription)
    return Card(chosen[1], chosen[0], present) if chosen else None


def pay(books: Books, call: Call) -> Obj:
    """POST /v1/invoices/{id}/pay: with the customer's card, another one, or as paid elsewhere."""
    from providers.testing.servers._stripe.lifecycle import invoice_failed, invoice_paid

    one, given = books.get("invoice", call.id), call.given
    if one["status"] == "draft":
        finalize(books, one)
    elif one["status"] == "paid":
        raise refused("Invoice is already paid")
    elif one["status"] not in PAYABLE:
        raise refused(f"This invoice cannot be paid because its status is {one['status']}.", "id")
    if one["status"] == "paid":
        return one
    if given.get("paid_out_of_band"):
        settled(books, one)
        invoice_paid(books, one)
        return one
    card = card_for(books, one)
    if "payment_method" in given:
        card = _named_card(books, given["payment_method"])
    if card is None:
        message = (
            "There is no default_payment_method set on this Customer or Invoice. Please set a default payment method."
        )
        raise refused(message, None, "resource_missing")
    if attempt(books, one, card):
        invoice_paid(books, one)
        return one
    invoice_failed(books, one, scheduled=False)
    intent = intent_of(books, one)
    if intent["status"] == "requires_action":
        message = "This payment requires additional user action before it can be completed successfully."
        raise refused(
            message,
            None,
            "invoice_payment_intent_requires_action",
            status=402,
            kind="card_error",
            payment_intent=intent,
        )
    raise declined(card.name, payment_intent=intent, charge=intent["latest_charge"])


def _named_card(books: Books, name: str) -> Card:
    if name in CARDS:
        return Card(name, None)
    return Card(books.hidden[books.named("payment_method", name, "payment_method")["id"]]["card"], name)


def void(books: Books, call: Call) -> Obj:
    """POST /v1/invoices/{id}/void."""
    one = books.get("invoice", call.id)
    if one["status"] not in PAYABLE:
        raise refused(
            f"You can only pass in open or uncollectible invoices. This invoice isn't open ({one['status']})."
        )
    voided(books, one)
    return one


def voided(books: Books, one: Obj) -> None:
    """Nobody owes this any more."""
    for each in books.newest("invoice_payment", invoice=one["id"], status="open"):
        each["status"] = "canceled"
        each["status_transitions"]["canceled_at"] = books.now
        close(books, books.get("payment_intent", each["payment"]["payment_intent"]), "void_invoice")
    one.update(status="void", auto_advance=False, next_payment_attempt=None)
    one["status_transitions"]["voided_at"] = books.now
    books.emit("invoice.voided", one)


def needs_customer(given: Obj) -> None:
    """A preview is for somebody."""
    if not given.get("customer") and not given.get("subscription"):
        raise invalid("You must pass either `customer`, `customer_details`, `subscription`, or `schedule`.", "customer")
