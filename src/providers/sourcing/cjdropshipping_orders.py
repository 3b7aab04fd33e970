"""CJ's orders: what makes one, how far it is, where its parcel is. Amounts are dollars, times are UTC."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, TypeAlias

from pydantic import BeforeValidator, JsonValue

from providers.core.errors import (
    BadResponseError,
    ConflictError,
    InvalidRequestError,
    Outcome,
    UnsupportedOperationError,
)
from providers.core.models import Ref, Reply
from providers.sourcing.cjdropshipping_client import read
from providers.sourcing.cjdropshipping_values import (
    DOLLARS,
    VENDOR,
    Amount,
    CjReply,
    Count,
    Id,
    Objects,
    Text,
    dollars,
    listed,
)
from providers.sourcing.orders import OrderedItem, OrderPart, OrderState, Tracking, TrackingState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from providers.core.errors import ProviderError
    from providers.sourcing.orders import OrderDraft

CREATE_ONLY, PAY_AT_ONCE = 3, 2
"""Of `payType`."""

OWN_FIELDS = {"orderNumber": "idempotency_key", "products": "items", "shippingCustomerName": "address"}
"""What look-ups go by: not to be replaced behind their back."""

UNCONFIRMED = frozenset({"CREATED", "IN_CART"})
STATES: Mapping[str, OrderState] = {
    **dict.fromkeys(UNCONFIRMED | {"UNPAID"}, OrderState.UNPAID),
    "UNSHIPPED": OrderState.PROCESSING,
    "SHIPPED": OrderState.SHIPPED,
    "DELIVERED": OrderState.DELIVERED,
    "CANCELLED": OrderState.CANCELLED,
}
UNDER_WAY = frozenset({"PENDING", "PROCESSING"})
"""CJ does not say whether these are paid: that shows by the date of payment."""

TRACKING_STATES = (
    TrackingState.PENDING,
    TrackingState.IN_TRANSIT,
    TrackingState.IN_TRANSIT,
    TrackingState.RETURNED,
    TrackingState.IN_TRANSIT,
    TrackingState.IN_TRANSIT,
    TrackingState.ARRIVED,
    TrackingState.ARRIVED,
    TrackingState.ARRIVED,
    TrackingState.ARRIVED,
    TrackingState.OUT_FOR_DELIVERY,
    TrackingState.READY_FOR_PICKUP,
    TrackingState.DELIVERED,
    TrackingState.FAILED,
    TrackingState.RETURNED,
)
"""By the numbers 0 to 14 of `trackingStatus`."""

WORDS: tuple[tuple[re.Pattern[str], TrackingState], ...] = tuple(
    (re.compile(pattern), state)
    for pattern, state in (
        (r"return", TrackingState.RETURNED),
        (r"undeliver|not delivered|fail|exception|unsuccessful|attempt", TrackingState.FAILED),
        (r"out for delivery|delivering", TrackingState.OUT_FOR_DELIVERY),
        (r"ready for pick|available for pick|awaiting pick|pick-?up point", TrackingState.READY_FOR_PICKUP),
        (r"no info|not found|pending|label|pre-?shipment|waiting", TrackingState.PENDING),
        (r"delivered|signed", TrackingState.DELIVERED),
        (r"customs|clear|arrived in|destination", TrackingState.ARRIVED),
        (r"transit|shipped|dispatch|depart|transport|carrier|left|in_transit|arrive", TrackingState.IN_TRANSIT),
    )
)
"""What the text of `trackingStatus` means where it is not a number; the first that is found."""

COUNTRIES: Mapping[str, str] = {
    "AE": "United Arab Emirates", "AR": "Argentina", "AT": "Austria", "AU": "Australia", "BE": "Belgium",
    "BG": "Bulgaria", "BR": "Brazil", "CA": "Canada", "CH": "Switzerland", "CL": "Chile", "CN": "China",
    "CO": "Colombia", "CZ": "Czech Republic", "DE": "Germany", "DK": "Denmark", "EE": "Estonia", "ES": "Spain",
    "FI": "Finland", "FR": "France", "GB": "United Kingdom", "GR": "Greece", "HR": "Croatia", "HU": "Hungary",
    "ID": "Indonesia", "IE": "Ireland", "IL": "Israel", "IN": "India", "IT": "Italy", "JP": "Japan",
    "KR": "South Korea", "LT": "Lithuania", "LU": "Luxembourg", "LV": "Latvia", "MX": "Mexico", "MY": "Malaysia",
    "NL": "Netherlands", "NO": "Norway", "NZ": "New Zealand", "PE": "Peru", "PH": "Philippines", "PL": "Poland",
    "PT": "Portugal", "RO": "Romania", "SA": "Saudi Arabia", "SE": "Sweden", "SG": "Singapore", "SI": "Slovenia",
    "SK": "Slovakia", "TH": "Thailand", "TR": "Turkey", "UA": "Ukraine", "US": "United States", "VN": "Vietnam",
    "ZA": "South Africa",
}  # fmt: skip
"""Names that CJ wants beside the codes; other countries go by their code."""


def _moment(value: object) -> object:
    """`YYYY-MM-DD HH:MM:SS` in UTC; None for what is no time."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    if found is None:
        return None
    try:
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except OverflowError:
        return None


Moment: TypeAlias = Annotated[datetime | None, BeforeValidator(_moment)]


def order_ref(id_: str) -> Ref:
    """What we call an order."""
    return Ref(vendor=VENDOR, id=id_)


# Making one.


def new_order(draft: OrderDraft, *, sandbox: bool) -> dict[str, JsonValue]:
    """The body of `createOrderV2`: the order is made, nothing is paid. Raises for what cannot be ordered so.

    CJ wants a province of every address: where there is none the city stands in for it.
    """
    if draft.currency != DOLLARS:
        raise UnsupportedOperationError("currency: CJ is paid in USD", field="currency")
    ways = {(line.shipping.code, line.shipping.ships_from) for line in draft.lines if line.shipping is not None}
    if len(ways) != 1 or any(line.shipping is None for line in draft.lines):
        raise InvalidRequestError("shipping: all of an order goes one way, by one of its quotes", field="shipping")
    ((carrier, ships_from),) = ways
    address = draft.address
    body: dict[str, JsonValue] = {
        "orderNumber": draft.number,
        "payType": CREATE_ONLY,
        "logisticName": carrier,
        "fromCountryCode": ships_from or "CN",
        "shippingCustomerName": address.name,
        "shippingAddress": address.line1,
        "shippingCity": address.city,
        "shippingProvince": address.region or address.city,
        "shippingCountryCode": address.country,
        "shippingCountry": COUNTRIES.get(address.country, address.country),
        "products": [
            {
                "vid": line.variant,
                "quantity": line.quantity,
                "storeLineItemId": f"{draft.number}-{index}",
                **({} if line.price is None else {"unitPrice": float(line.price.amount)}),
            }
            for index, line in enumerate(draft.lines, start=1)
        ],
    }
    optional = {
        "shippingAddress2": address.line2,
        "shippingZip": address.postal_code,
        "shippingPhone": address.phone,
        "email": address.email,
        "taxId": address.tax_id,
        "remark": draft.note,
    }
    body |= {name: text for name, text in optional.items() if text}
    if sandbox:
        body["isSandbox"] = 1
    return _with_options(body, draft.options)


def _with_options(body: dict[str, JsonValue], options: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    for name, value in options.items():
        field = f"vendor_options.{VENDOR}.{name}"
        if name in OWN_FIELDS:
            raise InvalidRequestError(f"{field}: set the order's own {OWN_FIELDS[name]!r}", field=field)
        if name == "payType" and value in (PAY_AT_ONCE, str(PAY_AT_ONCE)):
            raise InvalidRequestError(f"{field}: pays whatever it costs; use pay=True and max_total", field=field)
        body[name] = value
    return {name: value for name, value in body.items() if value is not None}


class _Reason(CjReply):
    code: Text = ""
    message: Text = ""


class Made(CjReply):
    """What `createOrderV2` says. CJ may make an order and hold it back, with the code 200."""

    order_id: Text = ""
    order_status: Text = ""
    order_amount: Amount = None
    actual_payment: Amount = None
    cj_pay_url: Text = ""
    logistics_miss: bool | None = None
    intercept_order_reasons: Annotated[tuple[_Reason, ...], BeforeValidator(listed)] = ()

    @property
    def obstacle(self) -> ProviderError | None:
        """Why it cannot be paid, if so."""
        reasons = [one.message or one.code for one in self.intercept_order_reasons]
        code = next((one.code for one in self.intercept_order_reasons if one.code), "intercepted")
        if self.logistics_miss:
            reasons.append("no carrier takes it")
            code = code if self.intercept_order_reasons else "logistics_miss"
        if not reasons:
            return None
        msg = f"CJ holds the order back: {'; '.join(reasons[:5])}"
        return ConflictError(msg, vendor=VENDOR, code=code, outcome=Outcome.NOT_APPLIED)


def made_part(made: Made, draft: OrderDraft, raw: JsonValue, now: datetime) -> OrderPart:
    """A new order, of which CJ said the id."""
    total = made.actual_payment if made.order_amount is None else made.order_amount
    obstacle = made.obstacle
    return OrderPart(
        source=VENDOR,
        state=STATES.get(made.order_status, OrderState.UNKNOWN),
        ref=order_ref(made.order_id),
        number=draft.number,
        items=tuple(
            OrderedItem(product=line.product.id, variant=line.variant, quantity=line.quantity, price=line.price)
            for line in draft.lines
        ),
        total=None if total is None else dollars(total),
        paid=False if made.order_status in UNCONFIRMED or made.order_status == "UNPAID" else None,
        placed_at=now,
        pay_url=made.cj_pay_url or None,
        error=obstacle,
        reason="" if obstacle is None else str(obstacle),
        raw=raw,
    )


# How far it is.


class _Item(CjReply):
    vid: Text = ""
    quantity: Count = None
    sell_price: Amount = None


class Order(CjReply):
    """What `getOrderDetail` and `order/list` say of one."""

    order_id: Id
    order_num: Text = ""
    order_status: Text = ""
    order_amount: Amount = None
    logistic_name: Text = ""
    track_number: Text = ""
    tracking_url: Text = ""
    shipping_customer_name: Text = ""
    create_date: Moment = None
    payment_date: Moment = None
    out_warehouse_time: Moment = None
    product_list: Annotated[tuple[_Item, ...], BeforeValidator(listed)] = ()

    @property
    def paid(self) -> bool | None:
        """Whether it is; None where CJ does not say."""
        if self.payment_date is not None:
            return True
        state = STATES.get(self.order_status)
        if state in {OrderState.UNPAID, OrderState.CANCELLED}:
            return False
        return None if state is None else True

    @property
    def state(self) -> OrderState:
        """As ours."""
        if self.order_status in UNDER_WAY and self.payment_date is not None:
            return OrderState.PROCESSING
        return STATES.get(self.order_status, OrderState.UNKNOWN)


class _Listed(CjReply):
    list: Objects = ()


def order(value: JsonValue) -> Order:
    """One order."""
    return read(Order, value)


def listed_orders(value: JsonValue) -> list[Order]:
    """Those of a page, or the one that stands in its place; what cannot be read is left out."""
    rows = (value,) if isinstance(value, dict) and "orderId" in value else read(_Listed, value).list
    found: list[Order] = []
    for row in rows:
        with suppress(BadResponseError):
            found.append(order(row))
    return found


def part(found: Order, raw: JsonValue) -> OrderPart:
    """An order as ours."""
    return OrderPart(
        source=VENDOR,
        state=found.state,
        ref=order_ref(found.order_id),
        number=found.order_num,
        items=tuple(
            OrderedItem(
                variant=item.vid,
                quantity=1 if item.quantity is None else item.quantity,
                price=None if item.sell_price is None else dollars(item.sell_price),
            )
            for item in found.product_list
        ),
        total=None if found.order_amount is None else dollars(found.order_amount),
        paid=found.paid,
        placed_at=found.create_date,
        paid_at=found.payment_date,
        shipped_at=found.out_warehouse_time,
        tracking_number=found.track_number or None,
        carrier=found.logistic_name or None,
        raw=raw,
    )


def is_of(found: Order, draft: OrderDraft) -> bool:
    """Whether a stored order is the draft's: number, recipient, variants and quantities, as far as CJ says them."""
    if found.order_num and found.order_num != draft.number:
        return False
    if found.shipping_customer_name and _plain(found.shipping_customer_name) != _plain(draft.address.name):
        return False
    wanted: Counter[str] = Counter()
    stored: Counter[str] = Counter()
    for line in draft.lines:
        wanted[line.variant.lower()] += line.quantity
    for item in found.product_list:
        stored[item.vid.lower()] += 1 if item.quantity is None else item.quantity
    return not wanted or not stored or wanted == stored


def _plain(name: str) -> str:
    return " ".join(name.split()).casefold()


# Where its parcel is.


class _Track(CjReply):
    tracking_number: Text = ""
    logistic_name: Text = ""
    tracking_status: Text = ""
    delivery_time: Moment = None


class _Tracks(Reply):
    tracks: Objects


def tracks(value: JsonValue) -> dict[str, tuple[_Track, JsonValue]]:
    """What carriers say, by number."""
    rows = read(_Tracks, {"tracks": value}).tracks
    return {track.tracking_number: (track, raw) for raw in rows if (track := read(_Track, raw)).tracking_number}


def tracking_state(word: str) -> TrackingState:
    """By a number from 0 to 14, or by a carrier's words."""
    text = word.strip().lower()
    if text.isascii() and text.isdigit() and len(text) <= 2:
        number = int(text)
        return TRACKING_STATES[number] if number < len(TRACKING_STATES) else TrackingState.UNKNOWN
    return next((state for pattern, state in WORDS if pattern.search(text)), TrackingState.UNKNOWN)


def tracking(ref: Ref, found: Order, track: tuple[_Track, JsonValue] | None) -> Tracking:
    """An order's parcel: what the carrier says, and that it is delivered or on its way, where only CJ says so."""
    row, raw = track if track is not None else (None, None)
    state = TrackingState.PENDING if row is None else tracking_state(row.tracking_status)
    if found.order_status == "DELIVERED":
        state = TrackingState.DELIVERED
    elif found.order_status == "SHIPPED" and state is TrackingState.UNKNOWN:
        state = TrackingState.IN_TRANSIT
    delivered = row is not None and state is TrackingState.DELIVERED
    return Tracking(
        ref=ref,
        state=state,
        number=found.track_number or None,
        carrier=(row and row.logistic_name) or found.logistic_name or None,
        url=found.tracking_url or None,
        delivered_at=row.delivery_time if row is not None and delivered else None,
        raw=raw,
    )
