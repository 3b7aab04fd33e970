"""Subscriptions: made, read, changed, previewed, canceled, resumed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from providers.testing.servers._stripe import changes, invoices, lifecycle
from providers.testing.servers._stripe.books import Books
from providers.testing.servers._stripe.call import Call, Obj, Route, absent, invalid, refused, unknown_object, within
from providers.testing.servers._stripe.catalog import ITEM_PRICE_DATA
from providers.testing.servers._stripe.customers import card_of, declined, living
from providers.testing.servers._stripe.dates import DAY
from providers.testing.servers._stripe.lifecycle import OVER
from providers.testing.servers._stripe.lists import page
from providers.testing.servers._stripe.shapes import Shape, listing, merged, shape

_NEW_ITEM: Final = (
    f"billing_thresholds:x current_trial:x discounts:x metadata:m plan price {ITEM_PRICE_DATA} quantity:i tax_rates[]"
)
_ITEMS: Final = f"items[{{clear_usage:b deleted:b id {_NEW_ITEM}}}]"
_PRORATION: Final = "proration_behavior:always_invoice|create_prorations|none proration_date:i"
_PAYMENT: Final = "payment_behavior:allow_incomplete|default_incomplete|error_if_incomplete|pending_if_incomplete"
_TRIAL: Final = (
    "trial_settings{end_behavior!{billing_cycle_anchor:x missing_payment_method:cancel|create_invoice|pause}}"
)
_DETAILS: Final = "cancellation_details{comment? feedback? feedback_option?}"
_COMMON: Final = f"""
add_invoice_items:x application_fee_percent:x automatic_tax{{enabled!:b liability:x}} billing_schedules:x
billing_thresholds:x cancel_at?:now cancel_at_period_end:b collection_method:charge_automatically|send_invoice
days_until_due:i default_payment_method default_source default_tax_rates:x description? discounts:x
invoice_settings:x metadata:m off_session:b on_behalf_of? {_PAYMENT} payment_settings:x
pending_invoice_item_interval:x proration_behavior:always_invoice|create_prorations|none transfer_data:x
trial_end:now trial_from_plan:b {_TRIAL}
"""
_CREATE: Final = shape(
    _COMMON + f"items[{{{_NEW_ITEM}}}] customer currency billing_cycle_anchor:i trial_period_days:i customer_account "
    "backdate_start_date:i billing_cycle_anchor_config:x billing_mode:x"
)
_UPDATE: Final = shape(
    _COMMON + f"{_ITEMS} billing_cycle_anchor:now|unchanged {_DETAILS} proration_date:i "
    "pause_collection?{behavior!:keep_as_draft|mark_uncollectible|void resumes_at:i}"
)
_CANCEL: Final = shape(f"{_DETAILS} invoice_now:b prorate:b")
_RESUME: Final = shape(f"billing_cycle_anchor:now|unchanged {_PRORATION} {_PAYMENT}")
_PREVIEW: Final = shape(
    f"""automatic_tax{{enabled!:b liability:x}} currency customer customer_account customer_details:x discounts:x
    invoice_items:x issuer:x on_behalf_of preview_mode:next|recurring schedule schedule_details:x subscription
    subscription_details{{billing_cycle_anchor:now|unchanged billing_mode:x billing_schedules:x cancel_at?:now
    cancel_at_period_end:b cancel_now:b default_tax_rates:x {_ITEMS} metadata:m pause:x {_PRORATION} resume_at:now
    start_date:i trial_end:now}}"""
)
SHAPES: Final[dict[str, Shape]] = {
    "SubscriptionCreateParams": _CREATE,
    "SubscriptionUpdateParams": _UPDATE,
    "SubscriptionCancelParams": _CANCEL,
    "SubscriptionResumeParams": _RESUME,
    "InvoiceCreatePreviewParams": _PREVIEW,
}
PENDING_TAKES: Final = frozenset(
    [
        "items",
        "proration_behavior",
        "proration_date",
        "payment_behavior",
        "trial_end",
        "trial_from_plan",
        "billing_cycle_anchor",
        "add_invoice_items",
        "discounts",
        "off_session",
    ]
)
STATUSES: Final = "active|all|canceled|ended|incomplete|incomplete_expired|past_due|paused|trialing|unpaid"
FEEDBACK: Final = frozenset(
    [
        "customer_service",
        "low_quality",
        "missing_features",
        "other",
        "switched_service",
        "too_complex",
        "too_expensive",
        "unused",
    ]
)
NOT_HERE: Final = frozenset(
    [
        "add_invoice_items",
        "billing_schedules",
        "billing_thresholds",
        "discounts",
        "default_tax_rates",
        "default_source",
        "transfer_data",
    ]
)


def routes() -> Iterable[Route]:
    """Endpoints."""
    base = "/v1/subscriptions"
    yield Route("POST", base, _CREATE, create)
    filters = (
        "automatic_tax:x collection_method current_period_end:r current_period_start:r customer customer_account plan "
        f"price status:{STATUSES} test_clock"
    )
    yield Route("GET", base, listing(filters), list_all)
    yield Route("GET", base + "/{id}", shape(""), lambda books, call: books.get("subscription", call.id))
    yield Route("POST", base + "/{id}", _UPDATE, update)
    yield Route("DELETE", base + "/{id}", _CANCEL, cancel)
    yield Route("POST", base + "/{id}/resume", _RESUME, resume)
    yield Route("POST", "/v1/invoices/create_preview", _PREVIEW, preview)


def list_all(books: Books, call: Call) -> Obj:
    """GET /v1/subscriptions: without ``status`` all that are not canceled."""
    given = call.given
    status, price = given.get("status"), given.get("price")

    def fits(one: Obj) -> bool:
        if status is None:
            found = one["status"] != "canceled"
        elif status == "ended":
            found = one["status"] in OVER
        else:
            found = status in {"all", one["status"]}
        return found and (price is None or any(item["price"]["id"] == price for item in one["items"]["data"]))

    return page(call, filter(fits, books.newest("subscription", customer=given.get("customer"))))


def create(books: Books, call: Call) -> Obj:
    """POST /v1/subscriptions: the customer's card is charged at once, and may fail (incomplete)."""
    given = call.given
    _supported(given)
    if "customer" not in given:
        raise absent("customer")
    customer = living(books, given["customer"])
    if not given.get("items"):
        raise absent("items")
    trial_end = given.get("trial_end")
    if "trial_period_days" in given:
        trial_end = books.now + given["trial_period_days"] * DAY
    if trial_end == "now":
        trial_end = None
    first = {"id": "", "items": {"data": [{"current_period_start": 0, "current_period_end": 1}]}}
    items: list[Obj] = []
    for index, each in enumerate(given["items"]):
        changes.alter(books, first, items, each, f"items[{index}]")
    behavior = given.get("payment_behavior", "allow_incomplete")
    if card_of(books, customer) is None and trial_end is None and behavior != "default_incomplete":
        message = (
            "This customer has no attached payment source or default payment method. Please consider adding a default "
            "payment method."
        )
        raise refused(message, None, "resource_missing")
    return lifecycle.start(
        books,
        customer,
        [(item["price"], item["quantity"]) for item in items],
        trial_end=trial_end,
        metadata=merged({}, given.get("metadata")),
        description=given.get("description"),
        automatic_tax=given.get("automatic_tax", {}).get("enabled", False),
        missing_method=given.get("trial_settings", {})
        .get("end_behavior", {})
        .get("missing_payment_method", "create_invoice"),
        collect=behavior != "default_incomplete",
    )


def _supported(given: Obj) -> None:
    for name in sorted(NOT_HERE & given.keys()):
        if given[name]:
            raise invalid(f"This local server does not take `{name}`.", name)


def update(books: Books, call: Call) -> Obj:
    """POST /v1/subscriptions/{id}."""
    one, given = books.get("subscription", call.id), call.given
    _supported(given)
    if one["status"] in OVER and given.keys() - {"metadata", "cancellation_details"}:
        message = "A canceled subscription can only update its cancellation_details and metadata."
        raise refused(message)
    if given.get("payment_behavior") == "pending_if_incomplete" and (wrong := sorted(given.keys() - PENDING_TAKES)):
        message = (
            f"You can't pass `{wrong[0]}` when `payment_behavior` is `pending_if_incomplete`: pending updates do not "
            "support it."
        )
        raise refused(message, wrong[0])
    if one["pending_update"] is not None and "items" in given:
        _drop_pending(books, one)
    if "items" in given:
        _change_items(books, one, given)
    before = books.before(one)
    _set(books, one, given)
    books.changed("customer.subscription.updated", one, before)
    return one


def _set(books: Books, one: Obj, given: Obj) -> None:
    if "metadata" in given:
        one["metadata"] = merged(one["metadata"], given["metadata"])
    if "description" in given:
        one["description"] = given["description"] or None
    if "default_payment_method" in given:
        one["default_payment_method"] = books.named(
            "payment_method", given["default_payment_method"], "default_payment_method"
        )["id"]
    if "automatic_tax" in given:
        one["automatic_tax"]["enabled"] = given["automatic_tax"]["enabled"]
    if "trial_settings" in given:
        one["trial_settings"] = given["trial_settings"]
    if "pause_collection" in given:
        paused = given["pause_collection"]
        one["pause_collection"] = {"resumes_at": None, **paused} if paused else None
        if paused and paused.get("resumes_at"):
            books.at(paused["resumes_at"], lambda: _collect_again(books, one, paused["resumes_at"]))
    _set_end(books, one, given)
    if "trial_end" in given:
        _end_trial(books, one, given["trial_end"])


def _set_end(books: Books, one: Obj, given: Obj) -> None:
    if "cancel_at_period_end" in given and given.get("cancel_at"):
        raise invalid("You may only specify one of these parameters: cancel_at, cancel_at_period_end.", "cancel_at")
    details = given.get("cancellation_details", {})
    if "feedback" in details and details["feedback"] and details["feedback"] not in FEEDBACK:
        raise invalid("Invalid cancellation_details[feedback]", "cancellation_details[feedback]")
    for name in ("comment", "feedback"):
        if name in details:
            one["cancellation_details"][name] = details[name] or None
    if "cancel_at_period_end" in given:
        planned = given["cancel_at_period_end"]
        one["cancel_at_period_end"] = planned
        one["cancel_at"] = one["items"]["data"][0]["current_period_end"] if planned else None
        one["canceled_at"] = books.now if planned else None
        one["cancellation_details"]["reason"] = "cancellation_requested" if planned else None
    elif "cancel_at" in given:
        moment = given["cancel_at"] or None
        one["cancel_at"] = moment
        one["canceled_at"] = books.now if moment else None
        one["cancellation_details"]["reason"] = "cancellation_requested" if moment else None
        if moment is not None:
            if moment <= books.now:
                raise invalid("`cancel_at` must be in the future.", "cancel_at")
            books.at(moment, lambda: _end_at(books, one, moment))


def _end_at(books: Books, one: Obj, moment: int) -> None:
    if one["cancel_at"] == moment and one["status"] not in OVER:
        lifecycle.finish(books, one, (one["items"]["data"][0]["current_period_start"], moment))


def _collect_again(books: Books, one: Obj, moment: int) -> None:
    if within(one, "pause_collection", "resumes_at") == moment:
        before = books.before(one)
        one["pause_collection"] = None
        books.changed("customer.subscription.updated", one, before)


def _end_trial(books: Books, one: Obj, moment: int | str) -> None:
    if one["status"] != "trialing":
        raise refused("This local server moves the end of a trial only while there is one.", "trial_end")
    until = books.now if moment == "now" else int(moment)
    if until < books.now:
        raise invalid("`trial_end` must be in the future.", "trial_end")
    one["trial_end"] = one["billing_cycle_anchor"] = until
    for item in one["items"]["data"]:
        item["current_period_end"] = until
    lifecycle.schedule(books, one)


def _change_items(books: Books, one: Obj, given: Obj) -> None:
    behavior = given.get("proration_behavior", "create_prorations")
    at = given.get("proration_date", books.now)
    change = changes.planned(books, one, given["items"], behavior=behavior, at=at)
    now = behavior == "always_invoice" or change.restarts
    if not now or one["status"] == "trialing":
        _apply(books, one, change)
        if change.lines:
            books.hidden[one["id"]].setdefault("pending", []).extend(change.lines)
        return
    lines = change.lines
    if change.restarts:
        ahead = {**one, "items": {**one["items"], "data": change.items}}
        lines = [*lines, *lifecycle.period_lines(books, ahead)]
    if not lines:
        _apply(books, one, change)
        return
    payment = given.get("payment_behavior", "allow_incomplete")
    if payment == "error_if_incomplete":
        _check_card(books, one, lines)
    if payment != "pending_if_incomplete":
        _apply(books, one, change)
        lifecycle.bill(books, one, lines, reason="subscription_update", collect=payment != "default_incomplete")
        return
    held: Obj = {"apply": lambda: _apply(books, one, change, tell=False)}
    invoice = lifecycle.bill(books, one, lines, reason="subscription_update", held=held)
    if invoice["status"] == "open":
        before = books.before(one)
        expires_at = books.now + lifecycle.INCOMPLETE_FOR
        one["pending_update"] = {
            "billing_cycle_anchor": None,
            "expires_at": expires_at,
            "subscription_items": change.items,
            "trial_end": None,
            "trial_from_plan": None,
        }
        books.hidden[one["id"]]["pending_invoice"] = invoice["id"]
        books.at(expires_at, lambda: _expire_pending(books, one, invoice["id"]))
        books.changed("customer.subscription.updated", one, before)


def _apply(books: Books, one: Obj, change: changes.Change, *, tell: bool = True) -> None:
    before = books.before(one)
    changes.applied(one, change)
    if change.restarts:
        lifecycle.schedule(books, one)
    if tell:
        books.changed("customer.subscription.updated", one, before)


def _check_card(books: Books, one: Obj, lines: list[Obj]) -> None:
    customer = books.get("customer", one["customer"])
    draft = invoices.draft(books, customer, lines, reason="subscription_update", subscription=one, preview=True)
    card = invoices.card_for(books, draft)
    if draft["amount_due"] and (card is None or card.refusal):
        raise declined(card.name if card else "")


def _expire_pending(books: Books, one: Obj, invoice: str) -> None:
    if one["pending_update"] is not None and books.hidden[one["id"]].get("pending_invoice") == invoice:
        _drop_pending(books, one)
        books.emit("customer.subscription.pending_update_expired", one)


def _drop_pending(books: Books, one: Obj) -> None:
    invoice = books.get("invoice", books.hidden[one["id"]].pop("pending_invoice"))
    books.hidden[invoice["id"]].pop("held", None)
    if invoice["status"] == "open":
        invoices.voided(books, invoice)
    before = books.before(one)
    one["pending_update"] = None
    books.changed("customer.subscription.updated", one, before)


def cancel(books: Books, call: Call) -> Obj:
    """DELETE /v1/subscriptions/{id}: at once; a second time there is none."""
    one, given = books.get("subscription", call.id), call.given
    if one["status"] in OVER:
        raise unknown_object("subscription", call.id)
    details = given.get("cancellation_details", {})
    if details.get("feedback") and details["feedback"] not in FEEDBACK:
        raise invalid("Invalid cancellation_details[feedback]", "cancellation_details[feedback]")
    if given.get("prorate") and one["status"] in {"active", "past_due"}:
        books.hidden[one["id"]].setdefault("pending", []).extend(changes.credit(books, one, books.now))
    if given.get("invoice_now"):
        used = (one["items"]["data"][0]["current_period_start"], books.now)
        owed = [
            lifecycle.usage_line(books, one, item, used)
            for item in one["items"]["data"]
            if item["price"]["recurring"]["usage_type"] == "metered"
        ]
        if owed or books.hidden[one["id"]].get("pending"):
            lifecycle.bill(books, one, owed, reason="subscription_update")
    if one["status"] not in OVER:
        lifecycle.end(
            books,
            one,
            reason="cancellation_requested",
            comment=details.get("comment"),
            feedback=details.get("feedback"),
        )
    return one


def resume(books: Books, call: Call) -> Obj:
    """POST /v1/subscriptions/{id}/resume: a paused one goes on, when its invoice is paid."""
    one = books.get("subscription", call.id)
    if one["status"] != "paused":
        raise refused(f"This subscription cannot be resumed because its status is {one['status']}.")
    before = books.before(one)
    one["billing_cycle_anchor"] = books.now
    lifecycle.renew(books, one, books.now)
    books.changed("customer.subscription.updated", one, before)
    books.hidden[one["id"]]["resuming"] = True
    lifecycle.bill(books, one, lifecycle.period_lines(books, one), reason="subscription_cycle")
    return one


def preview(books: Books, call: Call) -> Obj:
    """POST /v1/invoices/create_preview: what a change would be billed, or the next renewal."""
    given = call.given
    invoices.needs_customer(given)
    if "subscription" not in given:
        raise invalid("This local server previews changes of a subscription.", "subscription")
    one = books.named("subscription", given["subscription"], "subscription")
    if given.get("customer", one["customer"]) != one["customer"]:
        raise refused("The subscription belongs to another customer.", "subscription")
    if one["status"] in OVER:
        raise refused("No upcoming invoices for the subscription.", None, "invoice_upcoming_none")
    details = given.get("subscription_details", {})
    behavior = details.get("proration_behavior", "create_prorations")
    at = details.get("proration_date", books.now)
    if details.get("cancel_now"):
        customer = books.get("customer", one["customer"])
        lines = [] if behavior == "none" else changes.credit(books, one, at)
        return invoices.draft(books, customer, lines, reason="upcoming", subscription=one, preview=True)
    ends = details.get("cancel_at_period_end", one["cancel_at_period_end"])
    if ends and not lifecycle.pending_lines(books, one) and "items" not in details:
        raise refused("No upcoming invoices for the subscription.", None, "invoice_upcoming_none")
    if "items" not in details:
        return lifecycle.upcoming(books, one, lifecycle.pending_lines(books, one))
    change = changes.planned(
        books, one, details["items"], behavior=behavior, at=at, param="subscription_details[items]"
    )
    ahead = {**one, "items": {**one["items"], "data": change.items}}
    pending = lifecycle.pending_lines(books, one)
    if change.restarts or (behavior == "always_invoice" and one["status"] != "trialing"):
        lines = [*pending, *change.lines, *(lifecycle.period_lines(books, ahead) if change.restarts else [])]
        customer = books.get("customer", one["customer"])
        invoice = invoices.draft(books, customer, lines, reason="upcoming", subscription=one, preview=True)
    else:
        invoice = lifecycle.upcoming(books, ahead, [*pending, *change.lines])
    invoice["parent"]["subscription_details"]["subscription_proration_date"] = at
    return invoice
