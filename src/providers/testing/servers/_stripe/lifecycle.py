"""The life of a subscription by the clock: trials, renewals, retries of what was not paid, the end.

Where the vendor leaves an invoice a draft for about an hour, this server finalizes and charges it at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from providers.testing.servers._stripe import invoices
from providers.testing.servers._stripe.books import Books
from providers.testing.servers._stripe.call import Obj
from providers.testing.servers._stripe.customers import card_of
from providers.testing.servers._stripe.dates import DAY, day_name, period_end
from providers.testing.servers._stripe.lists import listed
from providers.testing.servers._stripe.meters import usage
from providers.testing.servers._stripe.money import rounded

HOUR: Final = 3600
INCOMPLETE_FOR: Final = 23 * HOUR
OVER: Final = frozenset({"canceled", "incomplete_expired"})


def new_item(books: Books, subscription: str, price: Obj, quantity: int | None, start: int, end: int) -> Obj:
    """One price of a subscription; only here the period stands."""
    return {
        "id": books.new_id("si"),
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": books.now,
        "current_period_end": end,
        "current_period_start": start,
        "discounts": [],
        "metadata": {},
        "price": price,
        "quantity": quantity,
        "subscription": subscription,
        "tax_rates": [],
    }


def start(
    books: Books,
    customer: Obj,
    wanted: list[tuple[Obj, int | None]],
    *,
    trial_end: int | None = None,
    metadata: dict[str, str] | None = None,
    method: str | None = None,
    automatic_tax: bool = False,
    missing_method: str = "create_invoice",
    description: str | None = None,
    present: bool = False,
    collect: bool = True,
    once: Sequence[tuple[Obj, int]] = (),
) -> Obj:
    """Begin a subscription: with a trial, or with the first invoice, which is charged (``collect``) at once."""
    name = books.new_id("sub")
    recurring = wanted[0][0]["recurring"]
    anchor = trial_end or books.now
    end_ = trial_end or period_end(anchor, anchor, recurring["interval"], recurring["interval_count"])
    items = [new_item(books, name, price, quantity, books.now, end_) for price, quantity in wanted]
    one: Obj = {
        "id": name,
        "object": "subscription",
        "application": None,
        "automatic_tax": {"disabled_reason": None, "enabled": automatic_tax, "liability": None},
        "billing_cycle_anchor": anchor,
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "cancellation_details": {"comment": None, "feedback": None, "reason": None},
        "collection_method": "charge_automatically",
        "created": books.now,
        "currency": wanted[0][0]["currency"],
        "customer": customer["id"],
        "days_until_due": None,
        "default_payment_method": method,
        "description": description,
        "discounts": [],
        "ended_at": None,
        "items": listed(items, f"/v1/subscription_items?subscription={name}"),
        "latest_invoice": None,
        "livemode": books.livemode,
        "metadata": metadata or {},
        "pause_collection": None,
        "pending_setup_intent": None,
        "pending_update": None,
        "schedule": None,
        "start_date": books.now,
        "status": "trialing" if trial_end else "incomplete",
        "test_clock": None,
        "trial_end": trial_end,
        "trial_settings": {"end_behavior": {"missing_payment_method": missing_method}},
        "trial_start": books.now if trial_end else None,
    }
    books.add(one)
    books.emit("customer.subscription.created", one)
    schedule(books, one)
    if trial_end:
        notice = trial_end - 3 * DAY
        if notice <= books.now:
            books.emit("customer.subscription.trial_will_end", one)
        else:
            books.at(notice, lambda: _trial_will_end(books, name, trial_end))
        lines = [
            invoices.line(
                books,
                price,
                0,
                f"Trial period for {_title(books, price)}",
                (books.now, trial_end),
                quantity=quantity,
                item=item,
            )
            for (price, quantity), item in zip(wanted, items, strict=True)
        ]
    else:
        lines = period_lines(books, one)
    for price, quantity in once:
        text, period = _title(books, price), (books.now, books.now)
        lines.append(invoices.line(books, price, cost(price, quantity), text, period, quantity=quantity))
    if not trial_end:
        books.at(books.now + INCOMPLETE_FOR, lambda: _expire_incomplete(books, name))
    bill(books, one, lines, reason="subscription_create", present=present, collect=collect)
    return one


def _title(books: Books, price: Obj) -> str:
    found = books.tables["product"].get(price["product"])
    return str(found["name"]) if found else str(price["product"])


def cost(price: Obj, quantity: int | Decimal) -> int:
    """What so many cost."""
    return rounded(Decimal(price["unit_amount_decimal"]) * quantity, price["currency"])


def period_lines(books: Books, one: Obj, *, used: tuple[int, int] | None = None) -> list[Obj]:
    """Positions of a new period: licences ahead, usage of the period ``used`` behind."""
    lines: list[Obj] = []
    for item in one["items"]["data"]:
        price = item["price"]
        if price["recurring"]["usage_type"] == "metered":
            if used is not None:
                lines.append(usage_line(books, one, item, used))
            continue
        quantity = item["quantity"]
        amount = cost(price, quantity)
        text = f"{quantity} \u00d7 {_title(books, price)} (at {_each(price)})"
        period = (item["current_period_start"], item["current_period_end"])
        lines.append(invoices.line(books, price, amount, text, period, quantity=quantity, item=item))
    return lines


def usage_line(books: Books, one: Obj, item: Obj, used: tuple[int, int]) -> Obj:
    """What was used of a metered price."""
    price = item["price"]
    count = usage(books, price["recurring"]["meter"], one["customer"], *used)
    text = f"{count:f} \u00d7 {_title(books, price)} (at {_each(price)})"
    whole = int(count) if count == count.to_integral_value() else None
    return invoices.line(books, price, cost(price, count), text, used, quantity=whole, item=item)


def _each(price: Obj) -> str:
    recurring = price["recurring"]
    every = recurring["interval"] if recurring["interval_count"] == 1 else f"{recurring['interval_count']} months"
    return f"{price['unit_amount_decimal']} {price['currency']} / {every}"


def changed_title(books: Books, price: Obj, quantity: int | None, *, used: bool, at: int) -> str:
    """The text of a proration line."""
    many = f"{quantity} \u00d7 " if quantity and quantity > 1 else ""
    return f"{'Unused' if used else 'Remaining'} time on {many}{_title(books, price)} after {day_name(at)}"


def bill(
    books: Books,
    one: Obj,
    lines: list[Obj],
    *,
    reason: str,
    present: bool = False,
    collect: bool = True,
    held: Obj | None = None,
) -> Obj:
    """Make an invoice for a subscription, and charge it. ``held``: the change that waits for its payment."""
    customer = books.get("customer", one["customer"])
    lines = [*books.hidden[one["id"]].pop("pending", []), *lines]
    invoice = invoices.draft(books, customer, lines, reason=reason, subscription=one)
    if held is not None:
        books.hidden[invoice["id"]]["held"] = held
    before = books.before(one)
    one["latest_invoice"] = invoice["id"]
    if one["status"] == "unpaid":  # nothing is collected any more: its invoices stay drafts
        invoice["auto_advance"] = False
        books.changed("customer.subscription.updated", one, before)
        return invoice
    pause = one["pause_collection"]
    if pause is not None and pause["behavior"] == "keep_as_draft":
        invoice["auto_advance"] = False
        books.changed("customer.subscription.updated", one, before)
        return invoice
    books.changed("customer.subscription.updated", one, before)
    invoices.finalize(books, invoice)
    if invoice["status"] == "paid":
        invoice_paid(books, invoice)
    elif pause is not None:
        if pause["behavior"] == "void":
            invoices.voided(books, invoice)
        else:
            invoice.update(status="uncollectible", auto_advance=False)
            invoice["status_transitions"]["marked_uncollectible_at"] = books.now
            books.emit("invoice.marked_uncollectible", invoice)
    elif collect:
        collect_now(books, invoice, present=present)
    return invoice


def collect_now(books: Books, invoice: Obj, *, present: bool = False) -> bool:
    """Charge the customer's card; whether it paid."""
    if invoices.attempt(books, invoice, invoices.card_for(books, invoice, present=present)):
        invoice_paid(books, invoice)
        return True
    invoice_failed(books, invoice)
    return False


def invoice_paid(books: Books, invoice: Obj) -> None:
    """What a paid invoice does for its subscription."""
    one = books.tables["subscription"].get(invoices.subscription_of(invoice) or "")
    if one is None or one["status"] in OVER:
        return
    before = books.before(one)
    held = books.hidden[invoice["id"]].pop("held", None)
    if held is not None:
        held["apply"]()
        one["pending_update"] = None
        books.emit("customer.subscription.pending_update_applied", one)
    if one["status"] in {"incomplete", "past_due", "unpaid"} and one["latest_invoice"] == invoice["id"]:
        one["status"] = "active"
    if one["status"] == "paused" and books.hidden[one["id"]].pop("resuming", False):
        one["status"] = "active"
        books.emit("customer.subscription.resumed", one)
    books.changed("customer.subscription.updated", one, before)


def invoice_failed(books: Books, invoice: Obj, *, scheduled: bool = True) -> None:
    """What an invoice that could not be charged does: the next attempt, or the end."""
    one = books.tables["subscription"].get(invoices.subscription_of(invoice) or "")
    days = books.rules.retry_days
    waits = one is not None and one["status"] not in {"incomplete", *OVER} and "held" not in books.hidden[invoice["id"]]
    following: int | None = invoice["next_payment_attempt"]
    last = False
    if scheduled:
        # The first attempt is no retry; what the customer tried by hand does not count.
        kept = books.hidden[invoice["id"]]
        done = int(kept.get("retries", -1)) + 1
        kept["retries"] = done
        last = waits and done >= len(days)
        following = books.now + days[done] * DAY if waits and not last else None
        if following is not None:
            moment, name = following, invoice["id"]
            books.at(moment, lambda: _retry(books, name, moment))
        elif last:
            invoice["auto_advance"] = False
    invoices.failed(books, invoice, following)
    if one is None or not waits:
        return
    if one["status"] in {"active", "trialing"}:
        before = books.before(one)
        one["status"] = "past_due"
        books.changed("customer.subscription.updated", one, before)
    if last and books.rules.after_retries == "cancel":
        end(books, one, reason="payment_failed")
    elif last and books.rules.after_retries == "unpaid":
        before = books.before(one)
        one["status"] = "unpaid"
        books.changed("customer.subscription.updated", one, before)


def _retry(books: Books, name: str, moment: int) -> None:
    invoice = books.get("invoice", name)
    if invoice["status"] == "open" and invoice["next_payment_attempt"] == moment:
        collect_now(books, invoice)


def end(books: Books, one: Obj, *, reason: str | None, comment: str | None = None, feedback: str | None = None) -> None:
    """It is over, now."""
    details = one["cancellation_details"]
    details["reason"] = reason or details["reason"]
    details["comment"] = comment or details["comment"]
    details["feedback"] = feedback or details["feedback"]
    one.update(status="canceled", ended_at=books.now, canceled_at=one["canceled_at"] or books.now, pending_update=None)
    for invoice in books.newest("invoice", customer=one["customer"], status="open"):
        if invoices.subscription_of(invoice) == one["id"]:
            invoice.update(auto_advance=False, next_payment_attempt=None)
    books.emit("customer.subscription.deleted", one)


# What the clock brings.


def schedule(books: Books, one: Obj) -> None:
    """The end of the current period, and the notice of it."""
    name, moment = one["id"], one["items"]["data"][0]["current_period_end"]
    books.at(moment, lambda: _cycle(books, name, moment))
    notice = moment - books.rules.upcoming_days * DAY
    if notice > books.now:
        books.at(notice, lambda: _upcoming(books, name, moment))


def _current(books: Books, name: str, moment: int) -> Obj | None:
    one = books.tables["subscription"].get(name)
    if one is None or one["status"] in OVER or one["items"]["data"][0]["current_period_end"] != moment:
        return None
    return one


def _trial_will_end(books: Books, name: str, trial_end: int) -> None:
    one = books.get("subscription", name)
    if one["status"] == "trialing" and one["trial_end"] == trial_end:
        books.emit("customer.subscription.trial_will_end", one)


def _upcoming(books: Books, name: str, moment: int) -> None:
    one = _current(books, name, moment)
    if one is None or one["cancel_at_period_end"] or one["status"] not in {"active", "trialing", "past_due"}:
        return
    invoice = upcoming(books, one, pending_lines(books, one))
    invoice["next_payment_attempt"] = moment
    books.emit("invoice.upcoming", invoice)


def pending_lines(books: Books, one: Obj) -> list[Obj]:
    """Prorations that wait for the next invoice."""
    lines: list[Obj] = books.hidden[one["id"]].get("pending", [])
    return [dict(each) for each in lines]


def upcoming(books: Books, one: Obj, lines: list[Obj]) -> Obj:
    """The next renewal's invoice as it looks today, after these lines."""
    items = one["items"]["data"]
    begin = items[0]["current_period_end"]
    recurring = items[0]["price"]["recurring"]
    finish = period_end(one["billing_cycle_anchor"], begin, recurring["interval"], recurring["interval_count"])
    ahead = {
        **one,
        "items": {
            **one["items"],
            "data": [{**item, "current_period_start": begin, "current_period_end": finish} for item in items],
        },
    }
    used = (items[0]["current_period_start"], begin)
    customer = books.get("customer", one["customer"])
    every = [*lines, *period_lines(books, ahead, used=used)]
    return invoices.draft(books, customer, every, reason="upcoming", subscription=one, preview=True)


def _expire_incomplete(books: Books, name: str) -> None:
    one = books.get("subscription", name)
    if one["status"] != "incomplete":
        return
    before = books.before(one)
    one.update(status="incomplete_expired", ended_at=books.now)
    for invoice in books.newest("invoice", customer=one["customer"], status="open"):
        if invoices.subscription_of(invoice) == name:
            invoices.voided(books, invoice)
    books.changed("customer.subscription.updated", one, before)


def _cycle(books: Books, name: str, moment: int) -> None:
    """The period is over: the end, a pause, or the next period and its invoice."""
    one = _current(books, name, moment)
    if one is None or one["status"] in {"paused", "incomplete"}:
        return
    items = one["items"]["data"]
    used = (items[0]["current_period_start"], moment)
    if one["cancel_at_period_end"] or (one["cancel_at"] is not None and one["cancel_at"] <= moment):
        finish(books, one, used)
        return
    before = books.before(one)
    if one["status"] == "trialing":
        customer = books.get("customer", one["customer"])
        missing = one["trial_settings"]["end_behavior"]["missing_payment_method"]
        if missing != "create_invoice" and card_of(books, customer, one) is None:
            if missing == "cancel":
                end(books, one, reason=None)
                return
            one["status"] = "paused"
            books.changed("customer.subscription.updated", one, before)
            books.emit("customer.subscription.paused", one)
            return
        one["status"] = "active"
    renew(books, one, moment)
    books.changed("customer.subscription.updated", one, before)
    bill(books, one, period_lines(books, one, used=used), reason="subscription_cycle")


def renew(books: Books, one: Obj, begin: int) -> None:
    """Set the period that begins now."""
    recurring = one["items"]["data"][0]["price"]["recurring"]
    finish_ = period_end(one["billing_cycle_anchor"], begin, recurring["interval"], recurring["interval_count"])
    for item in one["items"]["data"]:
        item.update(current_period_start=begin, current_period_end=finish_)
    schedule(books, one)


def finish(books: Books, one: Obj, used: tuple[int, int]) -> None:
    """End as planned; what was used, and what waits, is still billed."""
    owed = [
        usage_line(books, one, item, used)
        for item in one["items"]["data"]
        if item["price"]["recurring"]["usage_type"] == "metered"
    ]
    if any(each["amount"] for each in owed) or books.hidden[one["id"]].get("pending"):
        bill(books, one, owed, reason="subscription_cycle")
    if one["status"] not in OVER:
        end(books, one, reason=None)
