"""Refunds and disputes: money that goes back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from providers.testing.servers._stripe.books import Books
from providers.testing.servers._stripe.call import Call, Obj, Route, absent, invalid, refused
from providers.testing.servers._stripe.dates import DAY
from providers.testing.servers._stripe.lists import page
from providers.testing.servers._stripe.money import checked_amount
from providers.testing.servers._stripe.shapes import Shape, listing, merged, shape

_CREATE: Final = shape(
    "amount:i charge currency customer instructions_email metadata:m origin:customer_balance payment_intent "
    "reason:duplicate|fraudulent|requested_by_customer refund_application_fee:b reverse_transfer:b"
)
SHAPES: Final[dict[str, Shape]] = {"RefundCreateParams": _CREATE}
RESPOND_WITHIN: Final = 7 * DAY


def routes() -> Iterable[Route]:
    """Endpoints."""
    yield Route("POST", "/v1/refunds", _CREATE, create)
    yield Route(
        "GET", "/v1/refunds", listing("charge payment_intent"), lambda books, call: _list(books, call, "refund")
    )
    yield Route("GET", "/v1/refunds/{id}", shape(""), lambda books, call: books.get("refund", call.id))
    yield Route("POST", "/v1/refunds/{id}", shape("metadata:m"), update)
    filters = listing("charge payment_intent")
    yield Route("GET", "/v1/disputes", filters, lambda books, call: _list(books, call, "dispute"))
    yield Route("GET", "/v1/disputes/{id}", shape(""), lambda books, call: books.get("dispute", call.id))
    yield Route("POST", "/v1/disputes/{id}/close", shape(""), close)


def _list(books: Books, call: Call, kind: str) -> Obj:
    wanted = {name: call.given.get(name) for name in ("charge", "payment_intent")}
    return page(call, books.newest(kind, **wanted))


def create(books: Books, call: Call) -> Obj:
    """POST /v1/refunds: of a payment intent or a charge, all that is left or part of it."""
    given = call.given
    charge = _charge(books, given)
    if charge["disputed"]:
        raise refused(f"Charge {charge['id']} has been charged back; cannot issue a refund.", None, "charge_disputed")
    left = charge["amount"] - charge["amount_refunded"]
    if left == 0:
        raise refused(f"Charge {charge['id']} has already been refunded.", None, "charge_already_refunded")
    amount = given.get("amount", left)
    if amount < 1:
        raise invalid(f"Invalid positive integer: {amount}", "amount", "parameter_invalid_integer")
    checked_amount(amount, charge["currency"], "amount")
    if amount > left:
        currency = charge["currency"]
        message = f"Refund amount ({amount} {currency}) is greater than unrefunded amount on charge ({left} {currency})"
        raise refused(message, "amount")
    one: Obj = {
        "id": books.new_id("re"),
        "object": "refund",
        "amount": amount,
        "balance_transaction": books.new_id("txn"),
        "charge": charge["id"],
        "created": books.now,
        "currency": charge["currency"],
        "destination_details": {"card": {"type": "refund"}, "type": "card"},
        "metadata": merged({}, given.get("metadata")),
        "payment_intent": charge["payment_intent"],
        "reason": given.get("reason"),
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "succeeded",
        "transfer_reversal": None,
    }
    books.add(one)
    before = books.before(charge)
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]
    books.emit("refund.created", one)
    previous = {name: before[name] for name in ("amount_refunded", "refunded") if before[name] != charge[name]}
    books.emit("charge.refunded", charge, previous)
    return one


def _charge(books: Books, given: Obj) -> Obj:
    if "charge" in given and "payment_intent" in given:
        raise invalid("You may only specify one of these parameters: charge, payment_intent.", "payment_intent")
    if "charge" in given:
        charge = books.named("charge", given["charge"], "charge")
    elif "payment_intent" in given:
        intent = books.named("payment_intent", given["payment_intent"], "payment_intent")
        if intent["status"] != "succeeded":
            message = f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund."
            raise refused(message, "payment_intent", "payment_intent_unexpected_state")
        charge = books.get("charge", intent["latest_charge"])
    else:
        raise absent("payment_intent")
    if not charge["paid"]:
        raise refused(f"Charge {charge['id']} was not paid.", "charge", "charge_not_refundable")
    return charge


def update(books: Books, call: Call) -> Obj:
    """POST /v1/refunds/{id}: its metadata."""
    one = books.get("refund", call.id)
    before = books.before(one)
    one["metadata"] = merged(one["metadata"], call.given.get("metadata"))
    books.changed("refund.updated", one, before)
    return one


def fail(books: Books, name: str, reason: str) -> Obj:
    """The bank did not take the refund: the money is back in the account."""
    one = books.get("refund", name)
    before = books.before(one)
    one.update(status="failed", failure_reason=reason)
    charge = books.get("charge", one["charge"])
    charge["amount_refunded"] -= one["amount"]
    charge["refunded"] = False
    books.changed("refund.updated", one, before)
    books.emit("refund.failed", one)
    return one


def dispute(books: Books, payment: str, reason: str = "fraudulent") -> Obj:
    """The customer's bank takes a payment back: of an intent or a charge."""
    if payment in books.tables["payment_intent"]:
        charge = books.get("charge", books.get("payment_intent", payment)["latest_charge"] or "")
    else:
        charge = books.get("charge", payment)
    if not charge["paid"] or charge["disputed"]:
        raise refused(f"Charge {charge['id']} cannot be disputed.")
    one: Obj = {
        "id": books.new_id("du"),
        "object": "dispute",
        "amount": charge["amount"] - charge["amount_refunded"],
        "balance_transactions": [],
        "charge": charge["id"],
        "created": books.now,
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {},
        "evidence_details": {
            "due_by": books.now + RESPOND_WITHIN,
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        "is_charge_refundable": False,
        "livemode": books.livemode,
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "reason": reason,
        "status": "needs_response",
    }
    books.add(one)
    charge["disputed"] = True
    books.emit("charge.dispute.created", one)
    books.emit("charge.dispute.funds_withdrawn", one)
    return one


def close(books: Books, call: Call) -> Obj:
    """POST /v1/disputes/{id}/close: it is given up."""
    return closed(books, call.id, "lost")


def closed(books: Books, name: str, status: str) -> Obj:
    """A dispute ends: ``won`` or ``lost``."""
    one = books.get("dispute", name)
    if one["status"] in {"won", "lost"}:
        raise refused("This dispute is already closed.")
    one["status"] = status
    if status == "won":
        books.emit("charge.dispute.funds_reinstated", one)
    books.emit("charge.dispute.closed", one)
    return one
