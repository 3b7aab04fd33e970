"""Checkout sessions: made, paid by a card, expired."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Final

from providers.testing.servers._stripe import lifecycle
from providers.testing.servers._stripe.books import Books
from providers.testing.servers._stripe.call import Call, Obj, Route, absent, invalid, refused, within
from providers.testing.servers._stripe.catalog import PRICE_DATA, price_of_data
from providers.testing.servers._stripe.customers import CARDS, DECLINED, VISA, attach, card_of, declined, living
from providers.testing.servers._stripe.dates import DAY
from providers.testing.servers._stripe.lists import page
from providers.testing.servers._stripe.money import LEAST, MOST
from providers.testing.servers._stripe.payments import Card, charge, new_intent
from providers.testing.servers._stripe.shapes import Shape, listing, merged, shape

_CREATE: Final = shape(
    """
    adaptive_pricing:x after_expiration:x allow_promotion_codes:b allowed_payment_method_types[]
    automatic_tax{enabled!:b liability:x} billing_address_collection:auto|required branding_settings:x cancel_url
    client_reference_id consent_collection:x currency custom_fields:x custom_text:x customer customer_account
    customer_creation:always|if_required customer_email customer_update{address:auto|never name:auto|never
    shipping:auto|never} discounts:x excluded_payment_method_types[] expires_at:i integration_identifier
    invoice_creation:x line_items[{adjustable_quantity:x metadata:m price quantity:i tax_rates[] """
    + PRICE_DATA
    + """}] locale managed_payments:x metadata:m mode:payment|setup|subscription name_collection:x optional_items:x
    origin_context:mobile_app|web payment_intent_data{application_fee_amount:i
    capture_method:automatic|automatic_async|manual description metadata:m on_behalf_of receipt_email
    setup_future_usage:off_session|on_session shipping:x statement_descriptor statement_descriptor_suffix
    transfer_data:x transfer_group} payment_method_collection:always|if_required payment_method_configuration
    payment_method_data:x payment_method_options:x permissions:x phone_number_collection:x
    redirect_on_completion:always|if_required|never return_url saved_payment_method_options:x setup_intent_data:x
    shipping_address_collection:x shipping_options:x submit_type:auto|book|donate|pay|subscribe
    subscription_data{application_fee_percent:x billing_cycle_anchor:i billing_cycle_anchor_config:x billing_mode:x
    default_tax_rates[] description invoice_settings:x metadata:m on_behalf_of pending_invoice_item_interval:x
    proration_behavior:create_prorations|none transfer_data:x trial_end:i trial_period_days:i
    trial_settings{end_behavior!{missing_payment_method!:cancel|create_invoice|pause}}} success_url
    tax_id_collection:x ui_mode:elements|embedded_page|form|hosted_page wallet_options:x
    """
)
SHAPES: Final[dict[str, Shape]] = {"checkout.SessionCreateParams": _CREATE}
SHORTEST: Final = 1800
LONGEST: Final = DAY
LONGEST_TRIAL: Final = 730
MOST_LINES: Final = {"payment": 100, "subscription": 20}


def routes() -> Iterable[Route]:
    """Endpoints."""
    base = "/v1/checkout/sessions"
    yield Route("POST", base, _CREATE, create)
    filters = (
        "customer customer_account customer_details{email!} payment_intent payment_link status:complete|expired|open "
        "subscription"
    )
    yield Route("GET", base, listing(filters), list_all)
    yield Route("GET", base + "/{id}", shape(""), lambda books, call: books.get("checkout.session", call.id))
    yield Route("POST", base + "/{id}", shape("metadata:m"), update)
    yield Route("POST", base + "/{id}/expire", shape(""), expire)
    yield Route("GET", base + "/{id}/line_items", listing(), list_lines)


def list_all(books: Books, call: Call) -> Obj:
    """GET /v1/checkout/sessions."""
    given = call.given
    wanted = {name: given.get(name) for name in ("customer", "subscription", "payment_intent", "status")}
    email = given.get("customer_details", {}).get("email")
    found = books.newest("checkout.session", **wanted)
    return page(call, (one for one in found if email is None or within(one, "customer_details", "email") == email))


def list_lines(books: Books, call: Call) -> Obj:
    """GET /v1/checkout/sessions/{id}/line_items."""
    one = books.get("checkout.session", call.id)
    return page(call, books.hidden[one["id"]]["line_items"])


def update(books: Books, call: Call) -> Obj:
    """POST /v1/checkout/sessions/{id}: its metadata."""
    one = books.get("checkout.session", call.id)
    one["metadata"] = merged(one["metadata"], call.given.get("metadata"))
    return one


def create(books: Books, call: Call) -> Obj:
    """POST /v1/checkout/sessions."""
    given = call.given
    mode = given.get("mode")
    if mode is None:
        raise absent("mode")
    if mode == "setup":
        raise invalid("This local server has no setup mode.", "mode")
    _check(given, mode)
    customer = living(books, given["customer"]) if "customer" in given else None
    if not given.get("line_items"):
        message = f"You must pass `line_items` in `{mode}` mode."
        raise invalid(message, "line_items", "parameter_missing")
    trial_end = _trial_end(books, given)
    automatic_tax = given.get("automatic_tax", {}).get("enabled", False)
    if automatic_tax and customer is not None:
        _check_location(given, customer)
    expires_at = given.get("expires_at", books.now + LONGEST)
    if not SHORTEST <= expires_at - books.now <= LONGEST:
        message = "The `expires_at` timestamp must be within 30 minutes to 24 hours of Checkout Session creation."
        raise invalid(message, "expires_at")
    lines = _lines(books, given["line_items"], mode)
    currency = lines[0]["currency"]
    subtotal = sum(0 if trial_end and each["price"]["recurring"] else each["amount_total"] for each in lines)
    _check_total(subtotal, currency, mode)
    return _enter(books, given, customer, lines, subtotal, trial_end, expires_at)


def _check_location(given: Obj, customer: Obj) -> None:
    if within(customer, "address", "country") or given.get("customer_update", {}).get("address") == "auto":
        return
    message = (
        "Automatic tax calculation in Checkout requires a valid address on the Customer. Add a valid address to the "
        "Customer or set either `customer_update[address]` to 'auto' or `customer_update[shipping]` to 'auto' to save "
        "the address entered in Checkout to the Customer."
    )
    raise refused(message, None, "customer_tax_location_invalid")


def _check(given: Obj, mode: str) -> None:
    if "customer" in given and "customer_email" in given:
        raise invalid("You may only specify one of these parameters: customer, customer_email.", "customer_email")
    if "customer_update" in given and "customer" not in given:
        raise invalid("`customer_update` can only be used with `customer`.", "customer_update")
    _check_urls(given)
    wrong = {
        "payment": ("subscription_data", "payment_method_collection"),
        "subscription": ("payment_intent_data", "customer_creation", "submit_type", "invoice_creation"),
    }[mode]
    for name in wrong:
        if name in given:
            raise invalid(f"You can not pass `{name}` in `{mode}` mode.", name)
    if given.get("allow_promotion_codes") and given.get("discounts"):
        message = "You may only specify one of these parameters: allow_promotion_codes, discounts."
        raise invalid(message, "allow_promotion_codes")
    if len(given.get("client_reference_id", "")) > 200:
        raise invalid("Invalid string: must be at most 200 characters", "client_reference_id")


def _check_urls(given: Obj) -> None:
    if given.get("ui_mode", "hosted_page") == "hosted_page":
        if "success_url" not in given:
            raise absent("success_url")
        if "return_url" in given:
            raise invalid("`return_url` cannot be used when `ui_mode` is `hosted_page`.", "return_url")
    elif "success_url" in given or "cancel_url" in given:
        raise invalid("`success_url` and `cancel_url` can only be used when `ui_mode` is `hosted_page`.", "success_url")
    elif "return_url" not in given and given.get("redirect_on_completion") != "never":
        raise absent("return_url")
    for name in ("success_url", "cancel_url", "return_url"):
        if name in given and not given[name].startswith(("http://", "https://")):
            raise invalid("Not a valid URL", name, "url_invalid")


def _trial_end(books: Books, given: Obj) -> int | None:
    data = given.get("subscription_data", {})
    days, moment = data.get("trial_period_days"), data.get("trial_end")
    if days is not None and moment is not None:
        message = "You may only specify one of these parameters: trial_end, trial_period_days."
        raise invalid(message, "subscription_data[trial_end]")
    if days is not None:
        if not 1 <= days <= LONGEST_TRIAL:
            message = "The number of trial period days must be from 1 to 730."
            raise invalid(message, "subscription_data[trial_period_days]")
        return books.now + int(days) * DAY
    if moment is not None and moment < books.now + 2 * DAY:
        message = "The `trial_end` date has to be at least 2 days in the future."
        raise invalid(message, "subscription_data[trial_end]")
    return None if moment is None else int(moment)


def _lines(books: Books, given: list[Obj], mode: str) -> list[Obj]:
    if len(given) > MOST_LINES[mode]:
        raise invalid(f"You can pass up to {MOST_LINES[mode]} line items in `{mode}` mode.", "line_items")
    lines: list[Obj] = []
    for index, each in enumerate(given):
        param = f"line_items[{index}]"
        if ("price" in each) == ("price_data" in each):
            raise absent(f"{param}[price]")
        if "price" in each:
            price = books.named("price", each["price"], f"{param}[price]")
            if not price["active"]:
                message = f"The price specified is inactive. This field only accepts active prices. ({price['id']})"
                raise refused(message, f"{param}[price]", "price_inactive")
        else:
            price = price_of_data(books, each["price_data"], f"{param}[price_data]")
        lines.append(_line(books, each, price, param))
    recurring = [each["price"]["recurring"] for each in lines]
    if mode == "payment" and any(recurring):
        message = (
            "You specified `payment` mode but passed a recurring price. Either switch to `subscription` mode or use "
            "only one-time prices."
        )
        raise refused(message, "line_items")
    if mode == "subscription" and not any(recurring):
        message = "You must provide at least one recurring price in `subscription` mode when using prices."
        raise refused(message, "line_items")
    if len({each["currency"] for each in lines}) > 1:
        raise refused("All line items must have the same currency.", "line_items")
    if len({(each["interval"], each["interval_count"]) for each in recurring if each}) > 1:
        raise refused("All recurring prices must have the same interval and interval count.", "line_items")
    return lines


def _line(books: Books, given: Obj, price: Obj, param: str) -> Obj:
    quantity: int | None = given.get("quantity")
    metered = bool(price["recurring"]) and price["recurring"]["usage_type"] == "metered"
    if metered and quantity is not None:
        message = "Quantity should not be specified where usage_type is `metered`."
        raise refused(message, f"{param}[quantity]")
    amount = 0
    if not metered:
        if quantity is None:
            message = f"Quantity is required. Add `quantity` to `{param}`"
            raise refused(message, f"{param}[quantity]", "parameter_missing")
        if not 1 <= quantity <= 999_999:
            raise invalid(f"Invalid integer: {quantity}", f"{param}[quantity]", "parameter_invalid_integer")
        amount = lifecycle.cost(price, quantity)
    product = books.tables["product"].get(price["product"], {})
    return {
        "id": books.new_id("li"),
        "object": "item",
        "amount_discount": 0,
        "amount_subtotal": amount,
        "amount_tax": 0,
        "amount_total": amount,
        "currency": price["currency"],
        "description": product.get("name"),
        "metadata": given.get("metadata", {}),
        "price": price,
        "quantity": quantity,
    }


def _check_total(total: int, currency: str, mode: str) -> None:
    if total > MOST:
        raise refused("The total amount must be no more than $999,999.99.", "line_items", "amount_too_large")
    least = LEAST.get(currency, 1)
    if mode == "payment" and 0 < total < least:
        message = f"The Checkout Session's total amount must convert to at least 50 cents ({least} {currency})."
        raise refused(message, None, "amount_too_small")


def _enter(
    books: Books, given: Obj, customer: Obj | None, lines: list[Obj], total: int, trial_end: int | None, expires_at: int
) -> Obj:
    name = f"cs_{'live' if books.livemode else 'test'}_{secrets.token_hex(24)}"
    subscription = given["mode"] == "subscription"
    hosted = given.get("ui_mode", "hosted_page") == "hosted_page"
    automatic = given.get("automatic_tax", {}).get("enabled", False)
    email = given.get("customer_email") or (customer["email"] if customer else None)
    one: Obj = {
        "id": name,
        "object": "checkout.session",
        "after_expiration": None,
        "allow_promotion_codes": given.get("allow_promotion_codes"),
        "amount_subtotal": total,
        "amount_total": total,
        "automatic_tax": {
            "enabled": automatic,
            "liability": {"type": "self"} if automatic else None,
            "provider": "stripe" if automatic else None,
            "status": ("complete" if customer and customer["address"] else "requires_location_inputs")
            if automatic
            else None,
        },
        "billing_address_collection": given.get("billing_address_collection"),
        "cancel_url": given.get("cancel_url"),
        "client_reference_id": given.get("client_reference_id"),
        "client_secret": None if hosted else f"{name}_secret_local",
        "created": books.now,
        "currency": lines[0]["currency"],
        "customer": customer["id"] if customer else None,
        "customer_creation": None if subscription else given.get("customer_creation", "if_required"),
        "customer_details": {"address": None, "email": email, "name": None, "phone": None} if email else None,
        "customer_email": given.get("customer_email"),
        "discounts": [],
        "expires_at": expires_at,
        "invoice": None,
        "livemode": books.livemode,
        "locale": given.get("locale"),
        "metadata": merged({}, given.get("metadata")),
        "mode": given["mode"],
        "payment_intent": None,
        "payment_link": None,
        "payment_method_collection": given.get("payment_method_collection", "always")
        if subscription or not total
        else "if_required",
        "payment_method_types": ["card"],
        "payment_status": "unpaid",
        "return_url": given.get("return_url"),
        "setup_intent": None,
        "status": "open",
        "submit_type": given.get("submit_type"),
        "subscription": None,
        "success_url": given.get("success_url"),
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        "ui_mode": given.get("ui_mode", "hosted_page"),
        "url": f"{books.url}/c/pay/{name}" if hosted else None,
    }
    books.add(one)
    books.hidden[name] = {"line_items": lines, "given": given, "trial_end": trial_end, "at": books.now}
    books.at(expires_at, lambda: _expire_due(books, name))
    return one


def expire(books: Books, call: Call) -> Obj:
    """POST /v1/checkout/sessions/{id}/expire: an open one only."""
    one = books.get("checkout.session", call.id)
    if one["status"] != "open":
        message = (
            'Only Checkout Sessions with a status in ["open"] can be expired. This Checkout Session has a status of '
            f"`{one['status']}`."
        )
        raise refused(message)
    _expired(books, one)
    return one


def _expire_due(books: Books, name: str) -> None:
    one = books.get("checkout.session", name)
    if one["status"] == "open":
        _expired(books, one)


def _expired(books: Books, one: Obj) -> None:
    one.update(status="expired", url=None)
    books.emit("checkout.session.expired", one)


def pay(books: Books, name: str, card: str | None = VISA) -> Obj:
    """What a customer does on the page. Raises the card's refusal; the session then stays open.

    ``card=None`` gives no card, where none is asked for (nothing to pay, ``payment_method_collection=if_required``).
    """
    one = books.get("checkout.session", name)
    if one["status"] != "open":
        raise refused(f"This Checkout Session is {one['status']}.")
    kept = books.hidden[name]
    if card is None and (one["amount_total"] or one["payment_method_collection"] == "always"):
        raise refused("This Checkout Session asks for a card.", "payment_method")
    if card is not None and card not in CARDS:
        raise refused(f"No such PaymentMethod: '{card}'", "payment_method", "resource_missing")
    if one["mode"] == "payment":
        _pay_once(books, one, kept, card)
    else:
        _subscribe(books, one, kept, card)
    one.update(status="complete", url=None)
    books.filed(one)
    books.emit("checkout.session.completed", one)
    return one


def _pay_once(books: Books, one: Obj, kept: Obj, card: str | None) -> None:
    given = kept["given"]
    data = given.get("payment_intent_data", {})
    if one["amount_total"] == 0:
        one["payment_status"] = "no_payment_required"
        return
    intent = kept.get("intent")
    if intent is None:
        more = {
            "description": data.get("description"),
            "receipt_email": data.get("receipt_email"),
            "setup_future_usage": data.get("setup_future_usage"),
            "metadata": merged({}, data.get("metadata")),
        }
        intent = kept["intent"] = new_intent(books, one["amount_total"], one["currency"], one["customer"], **more)
    if not charge(books, intent, Card(card or VISA, books.new_id("pm"), present=True)):
        raise declined(card or VISA, payment_intent=intent, charge=intent["latest_charge"])
    if one["customer"] is None and given.get("customer_creation") == "always":
        one["customer"] = intent["customer"] = _new_customer(books, one)["id"]
        books.filed(intent)
    _say_who(books, one)
    one.update(payment_status="paid", payment_intent=intent["id"])


def _new_customer(books: Books, one: Obj) -> Obj:
    from providers.testing.servers._stripe.customers import create

    email = one["customer_email"] or "customer@example.com"
    return create(books, Call({"email": email}, {}, ""))


def _say_who(books: Books, one: Obj) -> None:
    if one["customer"] is not None:
        customer = books.get("customer", one["customer"])
        details = {name: customer[name] for name in ("address", "email", "name", "phone")}
    else:
        details = {
            "address": None,
            "email": one["customer_email"] or "customer@example.com",
            "name": None,
            "phone": None,
        }
    one["customer_details"] = {**details, "tax_exempt": "none", "tax_ids": []}


def _subscribe(books: Books, one: Obj, kept: Obj, card: str | None) -> None:
    given = kept["given"]
    data = given.get("subscription_data", {})
    if card is not None and (card == DECLINED or (one["amount_total"] and Card(card, None, present=True).refusal)):
        raise declined(card)
    customer = books.get("customer", one["customer"]) if one["customer"] else None
    if customer is None or customer.get("deleted"):
        customer = _new_customer(books, one)
        one["customer"] = customer["id"]
    method = None
    if card is not None:
        before = books.before(customer)
        known = card_of(books, customer)
        method = attach(books, customer, card)["id"]
        if known is not None:  # the subscription has its own; the customer keeps the default
            customer["invoice_settings"]["default_payment_method"] = known[0]
        books.changed("customer.updated", customer, before)
    trial_end = kept["trial_end"]
    if trial_end is not None and "trial_period_days" in data:
        trial_end = books.now + data["trial_period_days"] * DAY  # days count from when the subscription begins
    recurring = [(each["price"], each["quantity"]) for each in kept["line_items"] if each["price"]["recurring"]]
    once = [each for each in kept["line_items"] if not each["price"]["recurring"]]
    subscription = lifecycle.start(
        books,
        customer,
        recurring,
        once=[(each["price"], each["quantity"]) for each in once],
        trial_end=trial_end,
        metadata=merged({}, data.get("metadata")),
        method=method,
        automatic_tax=one["automatic_tax"]["enabled"],
        missing_method=data.get("trial_settings", {})
        .get("end_behavior", {})
        .get("missing_payment_method", "create_invoice"),
        description=data.get("description"),
        present=True,
    )
    _say_who(books, one)
    one.update(
        payment_status="paid" if one["amount_total"] else "no_payment_required",
        subscription=subscription["id"],
        invoice=subscription["latest_invoice"],
    )
