"""Payment intents and their charges: what a card is asked for, and what it says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from providers.testing.servers._stripe.books import Books
from providers.testing.servers._stripe.call import Call, Obj, Route, refused
from providers.testing.servers._stripe.customers import CARDS, DECLINED, LATER, SECURE
from providers.testing.servers._stripe.lists import page
from providers.testing.servers._stripe.shapes import listing, merged, shape

POOR: Final = "pm_card_chargeDeclinedInsufficientFunds"


@dataclass(frozen=True, slots=True)
class Card:
    """A card as it is charged; ``present`` when its holder is there to confirm."""

    name: str
    method: str | None
    present: bool = False

    @property
    def refusal(self) -> tuple[str, str, str] | None:
        """Code, decline code and message; None when it pays."""
        if self.name == SECURE and not self.present:
            message = "Your card was declined. This transaction requires authentication."
            return "authentication_required", "authentication_required", message
        if self.name == POOR:
            return "card_declined", "insufficient_funds", "Your card has insufficient funds."
        if self.name == DECLINED or (self.name == LATER and not self.present):
            return "card_declined", "generic_decline", "Your card was declined."
        return None


def routes() -> Iterable[Route]:
    """Endpoints."""
    base = "/v1/payment_intents"
    yield Route("GET", base, listing("customer customer_account"), list_intents)
    yield Route("GET", base + "/{id}", shape("client_secret"), lambda books, call: books.get("payment_intent", call.id))
    yield Route("POST", base + "/{id}", shape("metadata:m description? receipt_email?"), update_intent)
    yield Route("POST", base + "/{id}/cancel", shape("cancellation_reason"), cancel_intent)
    yield Route("GET", "/v1/charges", listing("customer payment_intent transfer_group"), list_charges)
    yield Route("GET", "/v1/charges/{id}", shape(""), lambda books, call: books.get("charge", call.id))
    yield Route("GET", "/v1/payment_methods/{id}", shape(""), lambda books, call: books.get("payment_method", call.id))


def list_intents(books: Books, call: Call) -> Obj:
    """GET /v1/payment_intents."""
    return page(call, books.newest("payment_intent", customer=call.given.get("customer")))


def list_charges(books: Books, call: Call) -> Obj:
    """GET /v1/charges."""
    given = call.given
    wanted = {name: given.get(name) for name in ("payment_intent", "customer")}
    return page(call, books.newest("charge", **wanted))


def update_intent(books: Books, call: Call) -> Obj:
    """POST /v1/payment_intents/{id}: what is only said about it. Tells nobody, as the vendor."""
    one = books.get("payment_intent", call.id)
    for name in ("description", "receipt_email"):
        if name in call.given:
            one[name] = call.given[name] or None
    one["metadata"] = merged(one["metadata"], call.given.get("metadata"))
    return one


def cancel_intent(books: Books, call: Call) -> Obj:
    """POST /v1/payment_intents/{id}/cancel."""
    one = books.get("payment_intent", call.id)
    if one["status"] in {"succeeded", "canceled"}:
        message = f"You cannot cancel this PaymentIntent because it has a status of {one['status']}."
        raise refused(message, None, "payment_intent_unexpected_state", payment_intent=one)
    close(books, one, call.given.get("cancellation_reason"))
    return one


def close(books: Books, one: Obj, reason: str | None) -> None:
    """Cancel an intent."""
    one.update(status="canceled", canceled_at=books.now, cancellation_reason=reason, next_action=None)
    books.emit("payment_intent.canceled", one)


def new_intent(books: Books, amount: int, currency: str, customer: str | None, **more: object) -> Obj:
    """Enter a payment intent that waits for a card."""
    name = books.new_id("pi")
    one: Obj = {
        "id": name,
        "object": "payment_intent",
        "amount": amount,
        "amount_capturable": 0,
        "amount_received": 0,
        "automatic_payment_methods": None,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic_async",
        "client_secret": f"{name}_secret_local",
        "confirmation_method": "automatic",
        "created": books.now,
        "currency": currency,
        "customer": customer,
        "description": None,
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": books.livemode,
        "metadata": {},
        "next_action": None,
        "payment_method": None,
        "payment_method_types": ["card"],
        "receipt_email": None,
        "setup_future_usage": None,
        "status": "requires_payment_method",
        **more,
    }
    books.add(one)
    books.emit("payment_intent.created", one)
    return one


def charge(books: Books, intent: Obj, card: Card) -> bool:
    """Ask the card for the money; whether it gave it. Tells of the charge and of the intent."""
    refusal = card.refusal
    if refusal is not None and refusal[0] == "authentication_required":
        intent.update(
            status="requires_action",
            payment_method=card.method,
            next_action={"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}},
        )
        books.emit("payment_intent.requires_action", intent)
    one = _new_charge(books, intent, card, refusal)
    intent["latest_charge"] = one["id"]
    if refusal is None:
        intent.update(
            status="succeeded",
            amount_received=intent["amount"],
            payment_method=card.method,
            last_payment_error=None,
            next_action=None,
        )
        books.emit("charge.succeeded", one)
        books.emit("payment_intent.succeeded", intent)
        return True
    code, decline, message = refusal
    intent["last_payment_error"] = {
        "charge": one["id"],
        "code": code,
        "decline_code": decline,
        "message": message,
        "type": "card_error",
    }
    if intent["status"] != "requires_action":
        intent.update(status="requires_payment_method", payment_method=None)
    books.emit("charge.failed", one)
    books.emit("payment_intent.payment_failed", intent)
    return False


def _new_charge(books: Books, intent: Obj, card: Card, refusal: tuple[str, str, str] | None) -> Obj:
    name = books.new_id("ch")
    return books.add(
        {
            "id": name,
            "object": "charge",
            "amount": intent["amount"],
            "amount_captured": 0 if refusal else intent["amount"],
            "amount_refunded": 0,
            "balance_transaction": None if refusal else books.new_id("txn"),
            "captured": refusal is None,
            "created": books.now,
            "currency": intent["currency"],
            "customer": intent["customer"],
            "description": intent["description"],
            "disputed": False,
            "failure_code": refusal[0] if refusal else None,
            "failure_message": refusal[2] if refusal else None,
            "livemode": books.livemode,
            "metadata": dict(intent["metadata"]),
            "outcome": {
                "network_status": "declined_by_network" if refusal else "approved_by_network",
                "reason": refusal[1] if refusal else None,
                "type": "issuer_declined" if refusal else "authorized",
            },
            "paid": refusal is None,
            "payment_intent": intent["id"],
            "payment_method": card.method,
            "payment_method_details": {
                "card": {"brand": "visa", "last4": CARDS.get(card.name, "4242")},
                "type": "card",
            },
            "receipt_email": intent["receipt_email"],
            "receipt_url": f"{books.url}/receipts/{name}",
            "refunded": False,
            "status": "failed" if refusal else "succeeded",
        }
    )
