"""A local CJ Dropshipping: tokens, points, products, freight, orders, payment, tracking, signed push messages.

This server proves our reading of the vendor's documents, not the vendor. Read: CJ's pages on authentication, products,
shopping, logistics, webhooks, settings, limits, points and status codes, as of late 2026. Ours, because they say
nothing: what products there are, what carriers ask, texts of most errors, which number beside 16900202 means what, and
that an order of more than there is answers 1603102 when it is made. Not here: probing a URL that webhook/set names,
switching off a topic that fails for hours, stores, disputes, freightCalculateTip, the sandbox's own calls.
"""

from __future__ import annotations

import argparse
import json
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from http import HTTPStatus
from itertools import chain
from typing import ClassVar, Final, Self

from aiohttp import web

from providers.testing.servers._base import LocalServer, listing, read_json
from providers.testing.servers._cjdropshipping import (
    freight,
    hooks,
    orders,
    payments,
    products,
    tokens,
    tracking,
)
from providers.testing.servers._cjdropshipping.call import (
    BAD_BODY,
    BAD_TYPE,
    BAD_VERB,
    BUSY,
    NO_INTERFACE,
    STATUS,
    SUCCESS,
    Call,
    Obj,
    RefusalError,
    Route,
    envelope,
    is_object,
    wrong,
)
from providers.testing.servers._cjdropshipping.catalog import Product
from providers.testing.servers._cjdropshipping.hooks import Hooks, signature
from providers.testing.servers._cjdropshipping.limits import Limits
from providers.testing.servers._cjdropshipping.order import Event, Order, Status, by_either, turn
from providers.testing.servers._cjdropshipping.orders import NO_LOGISTICS
from providers.testing.servers._cjdropshipping.shelf import Shelf
from providers.testing.servers._cjdropshipping.shop import Shop
from providers.testing.servers._cjdropshipping.tokens import Tokens
from providers.testing.servers._host import Json, JsonObject, parse_query

__all__ = ["LOCAL_EMAIL", "LOCAL_KEY", "LOCAL_OPEN_ID", "CjServer", "Order", "Status", "signature"]

LOCAL_KEY: Final = "CJ0000001@api@local-not-a-secret"
LOCAL_EMAIL: Final = "owner@example.com"
LOCAL_OPEN_ID: Final = 12312
"""What a server takes unless told otherwise; worth nothing."""

BASE: Final = "/api2.0/v1/"
DAY: Final = 86_400


class CjServer(LocalServer):
    """CJ Dropshipping API 2.0 on loopback, under ``/api2.0/v1/``.

    ``api_key``, ``email`` and ``open_id`` are the account. An access token is good for ``token_lifetime`` seconds, a
    refresh token for ``refresh_lifetime``; ``token_interval`` seconds lie between two calls of getAccessToken,
    ``refreshes_a_minute`` bounds refreshes. ``qps`` are requests a second, ``points`` a day (None: no limit).

    Any id of 19 digits and any UUID is a product, always the same; one that ends in 0404 is unknown, in 0410 off the
    shelves. ``found`` is how many any search finds, before filters. ``balance`` is USD. ``outcomes`` maps a variant to
    what becomes of orders with it: ``logisticsMiss``, or ``code:message`` of an intercept reason.

    ``sandbox`` makes it a sandbox account, ``root`` is its rights as setting/get has them. ``http_statuses`` answers
    bad tokens with 401 and throttled calls with 429, as both were seen live; otherwise all is 200. ``strict`` refuses
    parameters that no page names, which CJ overlooks. ``webhook_url`` gets all messages until webhook/set says
    otherwise; with ``allow_http_webhooks`` that takes URLs of this machine, with http too. ``shuffle`` and
    ``duplicate`` post messages out of order and twice.
    """

    vendor: ClassVar[str] = "cjdropshipping"
    max_body: ClassVar[int] = 1024 * 1024

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.time,
        keep: int = 100_000,
        api_key: str = LOCAL_KEY,
        email: str = LOCAL_EMAIL,
        open_id: int = LOCAL_OPEN_ID,
        token_lifetime: float = 15 * DAY,
        refresh_lifetime: float = 180 * DAY,
        token_interval: float = 300.0,
        refreshes_a_minute: int | None = 5,
        qps: int | None = None,
        points: int | None = None,
        found: int = 120,
        balance: str = "250.00",
        outcomes: Mapping[str, str] | None = None,
        sandbox: bool = False,
        root: str = "GENERAL",
        http_statuses: bool = False,
        strict: bool = True,
        webhook_url: str | None = None,
        allow_http_webhooks: bool = True,
        shuffle: bool = False,
        duplicate: bool = False,
    ) -> None:
        super().__init__(host=host, port=port, ssl_context=ssl_context, clock=clock, keep=keep)
        self.api_key, self.email, self.open_id = api_key, email, open_id
        self.outcomes = dict(outcomes or {})
        for outcome in self.outcomes.values():
            if outcome != NO_LOGISTICS and not outcome.partition(":")[0].isdecimal():
                raise ValueError(f"no outcome is called {outcome!r}")
        self._http_statuses, self._strict = http_statuses, strict
        self._lock = threading.RLock()
        self._shop = Shop(
            self._now,
            tokens=Tokens(
                self._now,
                api_key=api_key,
                email=email,
                open_id=open_id,
                lifetime=token_lifetime,
                refresh_lifetime=refresh_lifetime,
                interval=token_interval,
                refreshes_a_minute=refreshes_a_minute,
            ),
            limits=Limits(self._now, qps=qps, points=points),
            shelf=Shelf(found),
            hooks=Hooks(open_id, webhook_url, allow_http=allow_http_webhooks, shuffle=shuffle, duplicate=duplicate),
            balance=Decimal(balance),
            outcomes=self.outcomes,
            open_id=open_id,
            email=email,
            sandbox=sandbox,
            root=root,
        )

    def _now(self) -> float:
        return self.clock()

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """Options of the command."""
        parser.add_argument("--api-key", default=LOCAL_KEY)
        parser.add_argument("--email", default=LOCAL_EMAIL)
        parser.add_argument("--open-id", type=int, default=LOCAL_OPEN_ID)
        parser.add_argument("--webhook-url", help="where signed push messages go")
        parser.add_argument("--token-interval", type=float, default=300.0, help="seconds between two getAccessToken")
        parser.add_argument("--qps", type=int, help="requests a second")
        parser.add_argument("--points", type=int, help="points a day")
        parser.add_argument("--found", type=int, default=120, help="products that any search finds")
        parser.add_argument("--balance", default="250.00", help="USD")
        parser.add_argument("--sandbox", action="store_true", help="a sandbox account")
        parser.add_argument("--http-statuses", action="store_true", help="401 and 429 instead of 200")

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> Self:
        """A server as the command line asks for it."""
        return cls(
            host=options.host,
            port=options.port,
            api_key=options.api_key,
            email=options.email,
            open_id=options.open_id,
            webhook_url=options.webhook_url,
            token_interval=options.token_interval,
            qps=options.qps,
            points=options.points,
            found=options.found,
            balance=options.balance,
            sandbox=options.sandbox,
            http_statuses=options.http_statuses,
        )

    # What tests and the command read.

    @property
    def env(self) -> dict[str, str]:
        """The variables that point at this server."""
        return {
            "PROVIDER_CJDROPSHIPPING_BASE_URL": self.url,
            "CJDROPSHIP_API_KEY": self.api_key,
            "CJDROPSHIP_EMAIL": self.email,
        }

    @property
    def issued(self) -> int:
        """How many getAccessToken calls succeeded."""
        return self._shop.tokens.issued

    @property
    def refreshes(self) -> int:
        """How many refreshAccessToken calls succeeded."""
        return self._shop.tokens.refreshes

    @property
    def orders(self) -> tuple[Order, ...]:
        """What was ordered, oldest first."""
        with self._lock:
            return tuple(self._shop.orders.values())

    @property
    def balance(self) -> Decimal:
        """USD that are left."""
        return self._shop.balance

    @balance.setter
    def balance(self, amount: Decimal) -> None:
        """Have this much."""
        with self._lock:
            self._shop.balance = amount

    @property
    def webhook_url(self) -> str | None:
        """What gets all messages until webhook/set says otherwise."""
        return self._shop.hooks.url

    @webhook_url.setter
    def webhook_url(self, url: str | None) -> None:
        """Send all messages there."""
        with self._lock:
            self._shop.hooks.point(url)

    @property
    def webhooks(self) -> dict[str, str]:
        """Where messages go now: topics as webhook/set has them, and URLs."""
        return dict(self._shop.hooks.urls)

    @property
    def subscribed(self) -> frozenset[str]:
        """The products whose changes are told, in upper case."""
        return frozenset(self._shop.hooks.subscribed)

    @property
    def pending_messages(self) -> int:
        """Messages that wait to be posted."""
        return self._shop.hooks.pending()

    def variants(self, pid: str) -> tuple[str, ...]:
        """The ids of a product's variants. Raises ``ValueError`` for one that is not on sale."""
        with self._lock:
            return tuple(each.vid for each in self._product(pid).variants)

    # What tests make happen.

    def expire_token(self) -> None:
        """Every access token so far is refused from now on; the refresh token is good."""
        with self._lock:
            self._shop.tokens.expire()

    def revoke(self) -> None:
        """The refresh token is refused, too, and so is the key (1600005)."""
        with self._lock:
            self._shop.tokens.revoke()

    def set_price(self, pid: str, price: Decimal | str) -> None:
        """Another price (USD) of a product's cheapest variant; the others keep their distance. Told to subscribers."""
        with self._lock:
            found, shelf = self._product(pid), self._shop.shelf
            shelf.set_price(pid, Decimal(price))
            self._shop.hooks.product_changed(found, shelf.price(found))
            for each in found.variants:
                self._shop.hooks.variant_changed(found, each, shelf.price(found, each))
            self._wake()

    def set_stock(self, vid: str, at_cj: int, *, factory: int = 0) -> None:
        """All there is of a variant from now on, in China. Told to subscribers."""
        with self._lock:
            try:
                found, variant = self._shop.shelf.variant(vid)
            except RefusalError as refusal:
                raise ValueError(refusal.message) from None
            self._shop.shelf.set_stock(vid, at_cj, factory)
            self._shop.hooks.stock_changed(found, variant, self._shop.shelf.stock(found, variant))
            self._wake()

    def take_off(self, pid: str) -> None:
        """Take a product off the shelves: 1602002 from now on. Told to subscribers."""
        with self._lock:
            found = self._product(pid)
            self._shop.shelf.take_off(pid)
            self._shop.hooks.product_changed(found, None, status=2)
            self._wake()

    def reprice(self, order_id: str, amount: Decimal | str) -> Order:
        """Another amount of an order that is not paid: the carrier asks more now."""
        with self._lock:
            found = self._order(order_id, Status.CREATED, Status.IN_CART, Status.UNPAID)
            found.amount = Decimal(amount)
            return found

    def ship(self, order_id: str, *, number: str | None = None) -> Order:
        """Send a paid order off, under a tracking number; pushes ORDER and LOGISTIC."""
        with self._lock:
            found = self._order(order_id, Status.UNSHIPPED, Status.PENDING, Status.PROCESSING)
            found.track_number = number or f"CJPLOCAL{self._shop.next_number()}YQ"
            turn(self._shop, found, Status.SHIPPED)
            found.shipped = self.clock()
            self._shop.hooks.order_changed(found)
            return self._moved(found, 1, "Left the warehouse", "Shenzhen, CN")

    def move(self, order_id: str, status: int, words: str = "", place: str = "") -> Order:
        """A carrier's word about a shipped order, ``status`` from 0 to 14; pushes LOGISTIC."""
        with self._lock:
            return self._moved(self._order(order_id, Status.SHIPPED), status, words or tracking.WORDS[status], place)

    def deliver(self, order_id: str) -> Order:
        """Hand a shipped order over; pushes ORDER and LOGISTIC."""
        with self._lock:
            found = self._order(order_id, Status.SHIPPED)
            turn(self._shop, found, Status.DELIVERED)
            found.delivered = self.clock()
            self._shop.hooks.order_changed(found)
            return self._moved(found, tracking.DELIVERED, "Delivered", str(found.request["shippingCity"]))

    def cancel(self, order_id: str) -> Order:
        """Let CJ cancel an order that is not shipped; what was paid comes back; pushes ORDER."""
        with self._lock:
            found = self._order(order_id, *(each for each in Status if each not in _OVER))
            if found.paid is not None and not found.sandbox:
                self._shop.balance += found.amount
            turn(self._shop, found, Status.CANCELLED)
            self._shop.hooks.order_changed(found)
            self._wake()
            return found

    def split(self, order_id: str) -> tuple[Order, ...]:
        """Make each line of a paid order an order of its own, at no further cost; pushes ORDERSPLIT."""
        with self._lock:
            whole = self._order(order_id, Status.UNSHIPPED)
            parts = tuple(payments.part(self._shop, whole, line) for line in whole.lines)
            turn(self._shop, whole, Status.OTHER)
            self._shop.hooks.order_split(whole, parts)
            self._wake()
            return parts

    def push(self, kind: str, message_type: str, params: Json) -> str | None:
        """Post any message, signed: its ``messageId``, None where nobody wants its topic."""
        with self._lock:
            name = self._shop.hooks.put(kind, message_type, params, with_open_id=kind == "LOGISTIC")
            self._wake()
            return name

    def flush(self) -> int:
        """Post what waits now; how many messages were taken. Blocks: call it from a thread in async."""
        return self._call(self._shop.hooks.deliver())

    def signed_request(self, message: JsonObject) -> tuple[dict[str, str], bytes]:
        """Headers and body of a message, to be posted by hand."""
        body = json.dumps(message, separators=(",", ":")).encode()
        return self._shop.hooks.headers(body), body

    def reset(self) -> None:
        """Back to the state after start: no tokens, orders, waiting messages, faults; all of the balance and points."""
        super().reset()
        with self._lock:
            self._shop.clear()

    def _product(self, pid: str) -> Product:
        try:
            return self._shop.shelf.product(pid)
        except RefusalError as refusal:
            raise ValueError(refusal.message) from None

    def _order(self, name: str, *allowed: Status) -> Order:
        found = by_either(self._shop, name)
        if found is None:
            raise ValueError(f"no order is called {name!r}")
        if found.status not in allowed:
            raise ValueError(f"order {name} is {found.status}")
        return found

    def _moved(self, order: Order, status: int, words: str, place: str) -> Order:
        order.events.append(Event(status, words, place, self.clock()))
        self._shop.hooks.moved(order)
        self._wake()
        return order

    def _wake(self) -> None:
        if self._shop.hooks.pending():
            self._soon(self._shop.hooks.wake)

    # How it runs.

    async def opened(self) -> None:
        """Start posting messages."""
        await self._shop.hooks.open()

    async def closing(self) -> None:
        """Post what waits."""
        await self._shop.hooks.close()

    def problem(self, status: int, message: str) -> web.Response:
        """The vendor's error shape; an unknown interface and a wrong verb are told with 200, too."""
        codes = {HTTPStatus.NOT_FOUND: NO_INTERFACE, HTTPStatus.METHOD_NOT_ALLOWED: BAD_VERB}
        known = HTTPStatus(status)
        code = codes.get(known, BAD_BODY if status < HTTPStatus.INTERNAL_SERVER_ERROR else BUSY)
        refusal = RefusalError(code)
        return _reply(envelope(code, refusal.message, None), HTTPStatus.OK if known in codes else known)

    def routes(self) -> Iterable[web.RouteDef]:
        """All interfaces, guarded, and the control routes."""
        every = chain(
            tokens.routes(),
            products.routes(),
            freight.routes(),
            orders.routes(),
            payments.routes(),
            tracking.routes(),
            hooks.routes(),
        )
        for route in every:
            yield web.route(route.method, BASE + route.path, self._guard(route))
        yield web.get("/_control/orders", self._control_orders)
        yield web.post("/_control/ship", self._control_ship)
        yield web.post("/_control/deliver", self._control_deliver)
        yield web.post("/_control/cancel", self._control_cancel)
        yield web.post("/_control/set_price", self._control_set_price)
        yield web.post("/_control/set_stock", self._control_set_stock)
        yield web.post("/_control/expire_token", self._control_expire_token)
        yield web.post("/_control/revoke", self._control_revoke)
        yield web.post("/_control/push", self._control_push)
        yield web.post("/_control/flush", self._control_flush)

    def _guard(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        takes = frozenset(route.takes.split())

        async def guarded(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            with self._lock:
                status, code, message, data = HTTPStatus.OK, SUCCESS, "Success", None
                try:
                    data = self._answer(route, takes, request, body)
                except RefusalError as refusal:
                    code, message = refusal.code, refusal.message
                    if self._http_statuses:
                        status = HTTPStatus(STATUS.get(code, HTTPStatus.OK))
                points = self._shop.limits.shown() if route.cost else None
                self._wake()
            return _reply(envelope(code, message, data, alternative=route.alternative, points=points), status)

        return guarded

    def _answer(self, route: Route, takes: frozenset[str], request: web.Request, body: bytes) -> object:
        token = request.headers.get("CJ-Access-Token", "")
        if route.guarded:
            self._shop.tokens.admit(token)
            self._shop.limits.admit(route.cost)
        query = parse_query(request.raw_path.partition("?")[2])
        given = _body(request, body) if request.method in ("POST", "PATCH") and takes else {}
        if self._strict and (unknown := {*query, *given} - takes):
            raise wrong(f"there is no parameter {', '.join(sorted(unknown))[:100]}")
        return route.answer(self._shop, Call(query, given))

    # Control routes.

    async def _control_orders(self, request: web.Request) -> web.StreamResponse:
        return await listing(request, "orders", self.orders, Order.as_dict)

    async def _control_ship(self, request: web.Request) -> web.StreamResponse:
        body = await _fields(request)
        number = body.get("number")
        shipped = self.ship(_text(body, "order"), number=None if number is None else str(number))
        return web.json_response(shipped.as_dict())

    async def _control_deliver(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self.deliver(_text(await _fields(request), "order")).as_dict())

    async def _control_cancel(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self.cancel(_text(await _fields(request), "order")).as_dict())

    async def _control_set_price(self, request: web.Request) -> web.StreamResponse:
        body = await _fields(request)
        try:
            price = Decimal(str(body.get("price")))
        except InvalidOperation:
            raise ValueError('a "price" is needed') from None
        self.set_price(_text(body, "product"), price)
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def _control_set_stock(self, request: web.Request) -> web.StreamResponse:
        body = await _fields(request)
        at_cj, factory = body.get("stock"), body.get("factory", 0)
        if not isinstance(at_cj, int) or not isinstance(factory, int):
            raise ValueError('a "stock" is needed, as a number')  # noqa: TRY004 - it came over the wire
        self.set_stock(_text(body, "variant"), at_cj, factory=factory)
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def _control_expire_token(self, request: web.Request) -> web.StreamResponse:
        self.expire_token()
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def _control_revoke(self, request: web.Request) -> web.StreamResponse:
        self.revoke()
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def _control_push(self, request: web.Request) -> web.StreamResponse:
        body = await _fields(request)
        kind, message_type = _text(body, "type"), str(body.get("messageType", "UPDATE"))
        return web.json_response({"messageId": self.push(kind, message_type, body.get("params"))}, status=201)

    async def _control_flush(self, request: web.Request) -> web.StreamResponse:
        taken = await self._shop.hooks.deliver()
        return web.json_response({"delivered": taken, "pending": self.pending_messages})


_OVER: Final = frozenset((Status.SHIPPED, Status.DELIVERED, Status.CANCELLED))


def _reply(body: Obj, status: int = HTTPStatus.OK) -> web.Response:
    return web.Response(status=status, text=json.dumps(body), content_type="application/json")


def _body(request: web.Request, body: bytes) -> Obj:
    if request.content_type != "application/json":
        raise RefusalError(BAD_TYPE)
    try:
        given = json.loads(body)
    except ValueError:
        raise RefusalError(BAD_BODY) from None
    if not is_object(given):
        raise RefusalError(BAD_BODY)
    return given


async def _fields(request: web.Request) -> dict[str, Json]:
    body = await read_json(request)
    if not isinstance(body, dict):
        raise ValueError("an object is needed")  # noqa: TRY004 - it came over the wire
    return body


def _text(body: Mapping[str, Json], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise ValueError(f'a "{name}" is needed, as text')  # noqa: TRY004 - it came over the wire
    return value
