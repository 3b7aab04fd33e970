"""Meters and what was used: each identifier counted once, within the window of time."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Final

from providers.testing.servers._stripe.books import Books
from providers.testing.servers._stripe.call import Call, Obj, Route, absent, invalid, is_object, refused
from providers.testing.servers._stripe.dates import DAY
from providers.testing.servers._stripe.lists import page
from providers.testing.servers._stripe.shapes import Shape, listing, shape

_CREATE: Final = shape(
    "customer_mapping{event_payload_key! type!:by_id} default_aggregation!{formula!:count|last|sum} display_name! "
    "event_name! event_time_window:day|hour value_settings{event_payload_key!}"
)
_EVENT: Final = shape("event_name! payload!:x identifier timestamp:i")
SHAPES: Final[dict[str, Shape]] = {"MeterCreateParams": _CREATE, "MeterEventCreateParams": _EVENT}
OLDEST: Final = 35 * DAY
AHEAD: Final = 300
_VALUE: Final = re.compile(r"-?\d+(\.\d{1,15})?")


def routes() -> Iterable[Route]:
    """Endpoints."""
    base = "/v1/billing/meters"
    yield Route("POST", base, _CREATE, create)
    yield Route("GET", base, listing("status:active|inactive"), list_all)
    yield Route("GET", base + "/{id}", shape(""), lambda books, call: books.get("billing.meter", call.id))
    yield Route("POST", base + "/{id}", shape("display_name"), update)
    yield Route("POST", base + "/{id}/deactivate", shape(""), lambda books, call: _switch(books, call, active=False))
    yield Route("POST", base + "/{id}/reactivate", shape(""), lambda books, call: _switch(books, call, active=True))
    summaries = shape(
        "customer! start_time!:i end_time!:i value_grouping_window:day|hour limit:i starting_after ending_before"
    )
    yield Route("GET", base + "/{id}/event_summaries", summaries, summarize)
    yield Route("POST", "/v1/billing/meter_events", _EVENT, record)


def create(books: Books, call: Call) -> Obj:
    """POST /v1/billing/meters: one active meter an event name."""
    given = call.given
    for other in books.newest("billing.meter", event_name=given["event_name"], status="active"):
        message = f"An active meter already exists with event name: {given['event_name']} ({other['id']})"
        raise refused(message, "event_name", "resource_already_exists")
    if len(given["event_name"]) > 100:
        raise invalid("Invalid string: event_name; must be at most 100 characters", "event_name")
    mapping = given.get("customer_mapping", {"event_payload_key": "stripe_customer_id", "type": "by_id"})
    one: Obj = {
        "id": books.new_id("mtr"),
        "object": "billing.meter",
        "created": books.now,
        "customer_mapping": mapping,
        "default_aggregation": given["default_aggregation"],
        "display_name": given["display_name"],
        "event_name": given["event_name"],
        "event_time_window": given.get("event_time_window"),
        "livemode": books.livemode,
        "status": "active",
        "status_transitions": {"deactivated_at": None},
        "updated": books.now,
        "value_settings": given.get("value_settings", {"event_payload_key": "value"}),
    }
    books.add(one)
    books.emit("billing.meter.created", one)
    return one


def list_all(books: Books, call: Call) -> Obj:
    """GET /v1/billing/meters."""
    return page(call, books.newest("billing.meter", status=call.given.get("status")))


def update(books: Books, call: Call) -> Obj:
    """POST /v1/billing/meters/{id}."""
    one = books.get("billing.meter", call.id)
    before = books.before(one)
    one.update(call.given, updated=books.now)
    books.changed("billing.meter.updated", one, before)
    return one


def _switch(books: Books, call: Call, *, active: bool) -> Obj:
    one = books.get("billing.meter", call.id)
    if (one["status"] == "active") is active:
        raise refused(f"The meter is already {one['status']}.")
    one.update(status="active" if active else "inactive", updated=books.now)
    one["status_transitions"]["deactivated_at"] = None if active else books.now
    books.emit(f"billing.meter.{'reactivated' if active else 'deactivated'}", one)
    return one


def record(books: Books, call: Call) -> Obj:
    """POST /v1/billing/meter_events: an identifier that was seen is refused."""
    given, payload = call.given, call.given["payload"]
    meter = next(books.newest("billing.meter", event_name=given["event_name"], status="active"), None)
    if meter is None:
        message = f"No active meter found with event name: {given['event_name']}"
        raise refused(message, "event_name", "resource_missing")
    if not is_object(payload) or not all(isinstance(each, str) for each in payload.values()):
        raise invalid("Invalid object", "payload")
    customer_key = meter["customer_mapping"]["event_payload_key"]
    value_key = meter["value_settings"]["event_payload_key"]
    counts = meter["default_aggregation"]["formula"] == "count"
    for key in (customer_key, *(() if counts else (value_key,))):
        if not payload.get(key):
            raise absent(f"payload[{key}]")
    customer = books.tables["customer"].get(payload[customer_key])
    if customer is None or customer.get("deleted"):
        raise refused(f"No such customer: '{payload[customer_key]}'", f"payload[{customer_key}]", "resource_missing")
    value = Decimal(1) if counts else _value(payload[value_key], f"payload[{value_key}]")
    moment = given.get("timestamp", books.now)
    if moment < books.now - OLDEST:
        message = "The timestamp must be within the past 35 calendar days."
        raise refused(message, "timestamp", "timestamp_too_far_in_past")
    if moment > books.now + AHEAD:
        message = "The timestamp must be no more than 5 minutes in the future."
        raise refused(message, "timestamp", "timestamp_in_future")
    identifier = given.get("identifier") or secrets.token_hex(16)
    if len(identifier) > 100:
        raise invalid("Invalid string: identifier; must be at most 100 characters", "identifier")
    seen: dict[str, int] = books.hidden["meter_events"]
    if seen.get(identifier, 0) > books.now - DAY:
        message = f"An event already exists with identifier {identifier}."
        raise refused(message, "identifier", "duplicate_meter_event")
    seen[identifier] = books.now
    books.hidden[meter["id"]].setdefault(customer["id"], []).append((moment, value))
    return {
        "object": "billing.meter_event",
        "created": books.now,
        "event_name": given["event_name"],
        "identifier": identifier,
        "livemode": books.livemode,
        "payload": payload,
        "timestamp": moment,
    }


def _value(text: str, param: str) -> Decimal:
    try:
        if _VALUE.fullmatch(text):
            return Decimal(text)
    except InvalidOperation:
        pass
    raise refused(f"Invalid value: {text}. A meter event takes a number.", param, "meter_event_invalid_value")


def usage(books: Books, meter: str, customer: str, start: int, end: int) -> Decimal:
    """What a customer used from ``start`` until before ``end``."""
    formula = books.get("billing.meter", meter)["default_aggregation"]["formula"]
    found = [value for moment, value in books.hidden[meter].get(customer, ()) if start <= moment < end]
    if formula == "last":
        return found[-1] if found else Decimal(0)
    return sum(found, Decimal(0))


def summarize(books: Books, call: Call) -> Obj:
    """GET /v1/billing/meters/{id}/event_summaries: one summary of the whole range."""
    meter, given = books.get("billing.meter", call.id), call.given
    value = usage(books, meter["id"], given["customer"], given["start_time"], given["end_time"])
    summary: Obj = {
        "id": books.new_id("mtrusg"),
        "object": "billing.meter_event_summary",
        "aggregated_value": float(value),
        "end_time": given["end_time"],
        "livemode": books.livemode,
        "meter": meter["id"],
        "start_time": given["start_time"],
    }
    return {"object": "list", "data": [summary], "has_more": False, "url": call.url}
