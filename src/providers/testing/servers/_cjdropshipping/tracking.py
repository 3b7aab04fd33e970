"""Where parcels are (logistic page of CJ's documents)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from providers.testing.servers._cjdropshipping.call import Call, Obj, Route, wrong
from providers.testing.servers._cjdropshipping.times import utc_text

if TYPE_CHECKING:
    from providers.testing.servers._cjdropshipping.order import Order
    from providers.testing.servers._cjdropshipping.shop import Shop

DELIVERED: Final = 12
WORDS: Final = (
    "No information",
    "Left the warehouse",
    "Received by carrier",
    "Returned by carrier",
    "Sent by carrier",
    "International transit",
    "Arrived in country",
    "Customs clearance begun",
    "Customs cleared",
    "Last-mile pickup",
    "Out for delivery",
    "Ready for pickup",
    "Delivered",
    "Delivery failed",
    "Returned",
)
"""Of trackingStatus 0 to 14."""

_FREE: Final = {0: "Pending", DELIVERED: "Delivered", 13: "Delivery failed", 14: "Returned"}


def routes() -> Iterable[Route]:
    """Tracking by number."""
    yield Route("GET", "logistic/trackInfo", "trackNumber", _track)


def _track(shop: Shop, call: Call) -> list[Obj]:
    numbers = [each for each in call.query.all("trackNumber") if each]
    if not numbers:
        raise wrong("trackNumber is required")
    known = {each.track_number: each for each in shop.orders.values() if each.track_number is not None}
    return [_row(shop, known[each]) for each in dict.fromkeys(numbers) if each in known]


def _row(shop: Shop, order: Order) -> Obj:
    last = order.events[-1].status if order.events else 0
    until = order.delivered if order.delivered is not None else shop.clock()
    destination = order.request["shippingCountryCode"]
    return {
        "trackingNumber": order.track_number,
        "logisticName": order.carrier,
        "trackingFrom": order.request["fromCountryCode"],
        "trackingTo": destination,
        "deliveryDay": str(int(until - (order.shipped or until)) // 86_400),
        "deliveryTime": None if order.delivered is None else utc_text(order.delivered),
        "trackingStatus": _FREE.get(last, "In transit"),
        "lastMileCarrier": "USPS" if destination == "US" else "Local post",
        "lastTrackNumber": f"92{order.id[2:]}",
    }
