"""The methods about orders. A request is checked as a whole, then becomes one order per store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from typing import Final

from providers.testing.servers._aliexpress import address
from providers.testing.servers._aliexpress.call import Answer, Call, FailureError, Params, RefusalError
from providers.testing.servers._aliexpress.freight import FREE, fee, service
from providers.testing.servers._aliexpress.goods import MOST_PIECES
from providers.testing.servers._aliexpress.money import USD, Currency, currency
from providers.testing.servers._aliexpress.orders import PAY_WITHIN, Line, Order, Parcel, Status, Step
from providers.testing.servers._aliexpress.shop import ON_SALE, Shop
from providers.testing.servers._aliexpress.traits import number
from providers.testing.servers._host import Json, JsonObject

REQUEST: Final = "param_place_order_request4_open_api_d_t_o"
EXTEND: Final = "ds_extend_request"
CANCELED: Final = "CANCELED"
LAPSED: Final = "PAY_TIMEOUT"
FIRST_ID: Final = 9_180_000_000_000_001


class Desk:
    """Takes orders and keeps them.

    With ``dedupe`` a ``out_order_id`` is refused for ``window`` seconds after it made an order. ``visible_after``
    seconds after it was made, order.get knows an order.
    """

    def __init__(
        self,
        shop: Shop,
        *,
        clock: Callable[[], float],
        dedupe: bool,
        window: float,
        visible_after: float,
        listed_cities: bool,
    ) -> None:
        self._shop = shop
        self._clock = clock
        self._dedupe, self._window = dedupe, window
        self._visible_after, self._listed_cities = visible_after, listed_cities
        self.clear()

    def clear(self) -> None:
        """Forget what was ordered."""
        self._orders: dict[str, Order] = {}
        self._seen: dict[str, float] = {}
        self._ids = count(FIRST_ID)

    @property
    def methods(self) -> Mapping[str, tuple[tuple[str, ...], Answer]]:
        """Each with its business parameters."""
        return {
            "aliexpress.ds.order.create": ((REQUEST, EXTEND), self._create),
            "aliexpress.trade.ds.order.get": (("single_order_query",), self._get),
            "aliexpress.ds.order.tracking.get": (("ae_order_id", "language"), self._tracking),
        }

    @property
    def orders(self) -> tuple[Order, ...]:
        """All, oldest first."""
        self._settle()
        return tuple(self._orders.values())

    def order(self, order_id: str | int) -> Order:
        """One order; ``ValueError`` when there is none."""
        self._settle()
        found = self._orders.get(str(order_id))
        if found is None:
            raise ValueError(f"no order has the id {order_id}")
        return found

    def ship(self, order: Order, given: str | None, *, events: bool) -> None:
        """Send a parcel, after payment."""
        if order.status in {Status.UNPAID, Status.CHECKED}:
            order.pay(self._clock(), checked=True)
        place = len(order.parcels)
        way = order.lines[min(place, len(order.lines) - 1)].service
        made = number("parcel", order.order_id, place)
        parcel = Parcel(f"LP{made % 10**14:014}", given or f"UJ{made % 10**9:09}YP", way.company, way.code)
        order.ship(parcel)
        if events:
            parcel.steps += [
                Step(order.created_at, "CREATED", "Order created"),
                Step(self._clock(), "IN_TRANSIT", "Departed from departure country/region"),
            ]

    def cancel(self, order: Order, reason: str = CANCELED) -> None:
        """Close an order, give back what it held."""
        order.cancel(reason)
        for line in order.lines:
            self._shop.take(line.sku, -line.count)

    def _settle(self) -> None:
        lapsed = self._clock() - PAY_WITHIN
        for order in self._orders.values():
            if order.status is Status.UNPAID and order.created_at <= lapsed:
                self.cancel(order, LAPSED)

    # The methods.

    def _create(self, call: Call) -> JsonObject:
        self._settle()
        request = call.params.inner(REQUEST)
        request.only("product_items", "logistics_address", "out_order_id")
        unit, pay = _extension(call.params)
        now, out_order_id = self._clock(), request.get("out_order_id") or None
        items = request.children("product_items")
        country = address.check(request.child("logistics_address"), listed_cities=self._listed_cities)
        self._check_repeat(out_order_id, now)
        lines = [self._line(item, country, unit) for item in items]
        self._check_stock(lines)
        stores: dict[int, list[Line]] = {}
        for line in lines:
            stores.setdefault(line.product.store_id, []).append(line)
            self._shop.take(line.sku, line.count)
        if out_order_id is not None:
            self._seen[out_order_id] = now
        numbers: list[Json] = []
        for group in stores.values():
            made = next(self._ids)
            order = Order(str(made), out_order_id, now, country, unit, tuple(group), dict(request.values))
            self._orders[order.order_id] = order
            numbers.append(made)
            if pay:
                order.pay(now, checked=True)
        return {"result": {"is_success": True, "order_list": {"number": numbers}}}

    def _check_repeat(self, out_order_id: str | None, now: float) -> None:
        if self._dedupe and out_order_id in self._seen and now - self._seen[out_order_id] < self._window:
            raise FailureError("REPEATED_ORDER_ERROR", "Repeated placed order")

    def _check_stock(self, lines: list[Line]) -> None:
        wanted: dict[str, int] = {}
        for line in lines:
            wanted[line.sku.id] = wanted.get(line.sku.id, 0) + line.count
            if wanted[line.sku.id] > self._shop.stock(line.sku):
                raise FailureError("INVENTORY_HOLD_ERROR", "Hold inventory error")

    def _line(self, item: Params, country: str, unit: Currency) -> Line:
        item.only("product_id", "product_count", "sku_attr", "logistics_service_name", "order_memo")
        pieces = item.number("product_count", most=MOST_PIECES)
        product = self._shop.product(item.need("product_id"))
        if product is None or self._shop.status(product) != ON_SALE or not self._shop.sells(product, country):
            raise FailureError("ERROR_WHEN_BUILD_FOR_PLACE_ORDER", "System error.")
        sku = product.sku_with(item.get("sku_attr"))
        if sku is None:
            raise FailureError("ERROR_WHEN_BUILD_FOR_PLACE_ORDER", "System error.")
        way = service(item.get("logistics_service_name", FREE))
        if way is None or not self._shop.delivers(product, country):
            raise FailureError("DELIVERY_METHOD_NOT_EXIST", "Delivery method is not exist")
        paid = self._shop.price(product, sku, country, unit).paid
        return Line(product, sku, pieces, way, paid, fee(way, country, pieces, unit))

    def _get(self, call: Call) -> JsonObject:
        self._settle()
        query = call.params.inner("single_order_query")
        query.only("order_id")
        order = self._orders.get(str(query.number("order_id")))
        if order is None or order.created_at + self._visible_after > self._clock():
            raise RefusalError("15", sub_code="isv.insufficient-permission", sub_msg="Insufficient permission.")
        return {"result": order.shown()}

    def _tracking(self, call: Call) -> JsonObject:
        call.params.language("language")
        order = self._orders.get(str(call.params.number("ae_order_id")))
        if order is None or not any(parcel.steps for parcel in order.parcels):
            raise FailureError("1001", "TRACKING DATA NOT FOUND")
        return {"result": {"ret": True, "code": "0", "data": order.tracking()}}


def _extension(form: Params) -> tuple[Currency, bool]:
    """The currency to pay in, and whether to pay at once."""
    if not form.get(EXTEND):
        return USD, False
    extend = form.inner(EXTEND)
    extend.only("payment", "promotion", "trade_extra_param")
    payment = extend.child("payment")
    payment.only("pay_currency", "try_to_pay")
    unit = currency(payment.get("pay_currency", USD.code))
    if unit is None:
        words = "Products in the place order request should not be declared in different currencies"
        raise FailureError("PRICE_PAY_CURRENCY_ERROR", words)
    return unit, payment.word("try_to_pay", "true", "false", default="false") == "true"
