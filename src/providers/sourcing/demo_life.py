"""What becomes of made-up orders as time passes. Pure: an order and a moment give its state and its parcel's way."""

from __future__ import annotations

from itertools import takewhile
from typing import NamedTuple

from providers.core.clock import utc
from providers.core.models import Model, Money, Ref
from providers.demo import world
from providers.sourcing.events import SourcingEvent, SourcingEventType
from providers.sourcing.facts import SOURCES
from providers.sourcing.orders import (
    OrderedItem,
    OrderPart,
    OrderState,
    Tracking,
    TrackingEvent,
    TrackingState,
)

HOUR, DAY = 3_600.0, 86_400.0

OWNER_PAYS = HOUR
"""After so long somebody has paid an order by hand, at a platform that takes no payment from here."""

LAPSES = 7 * DAY
"""After so long an order that nobody has paid is cancelled."""

DISPATCHED = DAY
"""From the payment to the carrier; then it takes the days that the way to ship says."""

BALANCE = frozenset(("cjdropshipping",))
"""Platforms that are paid from the account's balance."""


class DemoOrder(Model):
    """An order as the demo kept it. Moments are unix time; `days` are those that its parcel is on the way.

    `cents` is what the balance pays for it (USD), 0 where it pays nothing.
    """

    id: str
    number: str
    source: str
    country: str
    items: tuple[OrderedItem, ...]
    total: Money
    cents: int
    carrier: str
    tracked: bool
    days: int
    placed: float
    paid: float | None = None
    cancelled: float | None = None
    poor: bool = False


class Milestone(NamedTuple):
    """A moment in an order's life, and its state from then on."""

    at: float
    state: OrderState


def milestones(order: DemoOrder) -> list[Milestone]:
    """All of its life, as far as it is decided, in order."""
    paid = order.paid
    if paid is None and order.source not in BALANCE:
        paid = order.placed + OWNER_PAYS
    at_once = paid == order.placed
    life = [Milestone(order.placed, OrderState.PROCESSING if at_once else OrderState.UNPAID)]
    if paid is None:
        life.append(Milestone(order.placed + LAPSES, OrderState.CANCELLED))
    else:
        if not at_once:
            life.append(Milestone(paid, OrderState.PROCESSING))
        shipped = paid + DISPATCHED
        life += [
            Milestone(shipped, OrderState.SHIPPED),
            Milestone(shipped + order.days * DAY, OrderState.DELIVERED),
        ]
    if order.cancelled is not None:
        end = order.cancelled
        life = [*takewhile(lambda one: one.at <= end, life), Milestone(end, OrderState.CANCELLED)]
    return life


def state(order: DemoOrder, now: float) -> OrderState:
    """How far it is."""
    return [one.state for one in milestones(order) if one.at <= now or one.at == order.placed][-1]


def part(order: DemoOrder, now: float) -> OrderPart:
    """As it is now."""
    when = {one.state: one.at for one in milestones(order) if one.at <= now}
    paid, shipped = when.get(OrderState.PROCESSING), when.get(OrderState.SHIPPED)
    return OrderPart(
        source=order.source,
        state=state(order, now),
        ref=_ref(order.id),
        number=order.number,
        items=order.items,
        total=order.total,
        paid=paid is not None,
        placed_at=utc(order.placed),
        paid_at=None if paid is None else utc(paid),
        shipped_at=None if shipped is None else utc(shipped),
        tracking_number=None if shipped is None else _number(order.id),
        carrier=None if shipped is None else order.carrier,
    )


def tracking(order: DemoOrder, now: float) -> Tracking:
    """Where its parcel is."""
    when = {one.state: one.at for one in milestones(order)}
    shipped, delivered = when.get(OrderState.SHIPPED), when.get(OrderState.DELIVERED)
    if shipped is None or delivered is None or shipped > now:
        return Tracking(ref=_ref(order.id), state=TrackingState.PENDING)
    over = delivered <= now
    scans = (
        TrackingEvent(
            at=utc(at),
            description=text,
            location=order.country if abroad else "CN",
            state=kind,
        )
        for share, text, abroad, kind in _SCANS
        if (at := shipped + (delivered - shipped) * share) <= now and (order.tracked or share == 0)
    )
    events = tuple(scans)
    return Tracking(
        ref=_ref(order.id),
        state=TrackingState.DELIVERED if over else events[-1].state,
        number=_number(order.id),
        carrier=order.carrier,
        url=TRACKING_URL + _number(order.id),
        events=events,
        delivered_at=utc(delivered) if over else None,
    )


TRACKING_URL = "https://track.example.com/"

_SCANS = (
    # at which share of its way, what the carrier says of it, and whether it is in the country it goes to
    (0.0, "Accepted by carrier", False, TrackingState.IN_TRANSIT),
    (0.08, "Departed from sorting center", False, TrackingState.IN_TRANSIT),
    (0.25, "Handed over to airline", False, TrackingState.IN_TRANSIT),
    (0.6, "Arrived at destination country", True, TrackingState.ARRIVED),
    (0.7, "Customs clearance completed", True, TrackingState.ARRIVED),
    (0.9, "Out for delivery", True, TrackingState.OUT_FOR_DELIVERY),
    (1.0, "Delivered", True, TrackingState.DELIVERED),
)


def told(order: DemoOrder, one: Milestone) -> list[SourcingEvent]:
    """What is pushed of a milestone."""
    kinds = [SourcingEventType.ORDER]
    if one.state in {OrderState.SHIPPED, OrderState.DELIVERED}:
        kinds.append(SourcingEventType.TRACKING)
    return [
        SourcingEvent(
            type=kind,
            event_id=f"{order.id}-{one.state.value}-{kind.value}",
            source=order.source,
            vendor="demo",
            occurred_at=utc(one.at),
            order=_ref(order.id),
            number=order.number,
            state=one.state,
            tracking=tracking(order, one.at) if kind is SourcingEventType.TRACKING else None,
        )
        for kind in kinds
    ]


def imagined(id_: str) -> OrderPart:
    """An order that the demo does not know, or knows no longer: it arrived."""
    dice = world.number_of(id_)
    item = world.item(dice)
    return OrderPart(
        source=SOURCES[0],
        state=OrderState.DELIVERED,
        ref=_ref(id_),
        items=(OrderedItem(title=item.title),),
        total=Money(amount=item.base_price, currency="USD"),
        paid=True,
        tracking_number=_number(id_),
        carrier="YunExpress",
    )


def imagined_tracking(id_: str) -> Tracking:
    """And its parcel."""
    number = _number(id_)
    return Tracking(
        ref=_ref(id_), state=TrackingState.DELIVERED, number=number, carrier="YunExpress", url=TRACKING_URL + number
    )


def days(way: world.Way, id_: str) -> int:
    """How long one parcel takes."""
    return way.days_min + world.number_of(id_) % (way.days_max - way.days_min + 1)


def _ref(id_: str) -> Ref:
    return Ref(vendor="demo", id=id_)


def _number(id_: str) -> str:
    return f"YT{world.number_of(id_):016}"
