"""A local AliExpress Open Platform gateway: products, freight, orders and tracking, tokens and signatures, in memory.

This server proves our reading of the vendor's documents, not the vendor. Read: the Open Platform's pages on signatures
and HTTP requests, its method pages for dropshipping, public clients with captured replies (2024 to 2026). Guessed,
where none says it: the code for a bad timestamp and for a bad authorisation code (InvalidParameter), the zone of an
order's times, what address.get knows. Checked and not acted on: ``searchExtend``,
``order_memo``, promotions. Not here: feeds, image.searchV2, the old freight method, MD5 signatures.
"""

from __future__ import annotations

import argparse
import json
import math
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from typing import Final, Self
from urllib.parse import urlencode

from aiohttp import web

from providers.testing.servers._aliexpress.call import (
    Call,
    FailureError,
    Params,
    RefusalError,
    Shape,
    is_object,
    missing,
    read_form,
    sign,
    wrong,
)
from providers.testing.servers._aliexpress.desk import Desk
from providers.testing.servers._aliexpress.goods import Goods
from providers.testing.servers._aliexpress.money import currency
from providers.testing.servers._aliexpress.orders import Logistics, Order, Status, Step
from providers.testing.servers._aliexpress.replies import Lists, envelope, failure, restyled
from providers.testing.servers._aliexpress.shop import Shop
from providers.testing.servers._aliexpress.tokens import Grants
from providers.testing.servers._base import LocalServer, listing, read_json
from providers.testing.servers._host import JsonObject

__all__ = [
    "LOCAL_ACCESS_TOKEN",
    "LOCAL_KEY",
    "LOCAL_REFRESH_TOKEN",
    "LOCAL_SECRET",
    "LOCAL_TRACKING_ID",
    "AliExpressServer",
    "Lists",
    "Logistics",
    "Order",
    "Shape",
    "Status",
    "sign",
]

LOCAL_KEY: Final = "500001"
LOCAL_SECRET: Final = "local-not-a-secret-app-secret"  # noqa: S105 - worth nothing
LOCAL_ACCESS_TOKEN: Final = "50000000local-not-a-secret-access"  # noqa: S105 - worth nothing
LOCAL_REFRESH_TOKEN: Final = "50001000local-not-a-secret-refresh"  # noqa: S105 - worth nothing
LOCAL_TRACKING_ID: Final = "local_tracking"

SKEW: Final = 600.0
DAY: Final = 86_400
_SYSTEM: Final = ("app_key", "sign_method", "timestamp", "sign", "format", "v", "partner_id")
_BUSINESS: Final = (*_SYSTEM, "method", "session", "access_token", "simplify")


@dataclass(slots=True)
class _Staged:
    """An error that waits for calls of ``method`` (None: any)."""

    error: RefusalError | FailureError
    method: str | None
    times: int
    after: bool


class AliExpressServer(LocalServer):
    """The gateway on loopback: ``POST /sync`` for business methods, ``POST /rest/auth/token/...`` for tokens.

    Tokens: ``access_token`` lives ``token_lifetime`` seconds, ``refresh_token`` ``refresh_lifetime``; with ``rotate``
    a refresh ends both old ones. ``category_token=False``: category.get looks at no token. ``root_errors``: system
    calls are refused with the fields at the root of the body.

    ``rate_limit`` calls of /sync per ``rate_window`` seconds, then none until the time that ApiCallLimit names.

    Products: ``found`` is how many a query finds. ``strict`` refuses parameters the sheet does not have, empty ones
    and repeated ones. ``lists``, ``numbers_as_text``, ``flags_as_text`` are forms the same answers can take.

    Orders: ``dedupe`` refuses a ``out_order_id`` for ``dedupe_window`` seconds after it made an order.
    ``visible_after`` seconds after it was made, order.get knows an order. ``listed_cities``: a city must be one that
    address.get lists. An order that is not paid within 20 days lapses.

    Affiliate links are made for ``tracking_id``; for no other, and for none when it is None. ``callback_url``: the
    only ``redirect_uri`` that ``GET /oauth/authorize`` goes back to (None: any).
    """

    vendor = "aliexpress"
    max_body = 8 * 1024 * 1024

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.time,
        keep: int = 100_000,
        app_key: str = LOCAL_KEY,
        app_secret: str = LOCAL_SECRET,
        access_token: str = LOCAL_ACCESS_TOKEN,
        refresh_token: str = LOCAL_REFRESH_TOKEN,
        tracking_id: str | None = LOCAL_TRACKING_ID,
        callback_url: str | None = None,
        token_lifetime: int = 2_592_000,
        refresh_lifetime: int = 15_552_000,
        rotate: bool = True,
        category_token: bool = True,
        root_errors: bool = False,
        rate_limit: int | None = None,
        rate_window: float = 1.0,
        found: int = 120,
        strict: bool = True,
        lists: Lists | str = Lists.WRAPPED,
        numbers_as_text: bool = False,
        flags_as_text: bool = False,
        dedupe: bool = True,
        dedupe_window: float = DAY,
        visible_after: float = 0.0,
        listed_cities: bool = False,
    ) -> None:
        super().__init__(host=host, port=port, ssl_context=ssl_context, clock=clock, keep=keep)
        self.app_key, self.app_secret, self.tracking_id = app_key, app_secret, tracking_id
        self.callback_url = callback_url
        self.rate_limit, self.rate_window = rate_limit, rate_window
        self.lists, self.numbers_as_text, self.flags_as_text = Lists(lists), numbers_as_text, flags_as_text
        self._strict, self._category_token, self._root_errors = strict, category_token, root_errors
        self._first_tokens = access_token, refresh_token
        self._lock = threading.RLock()
        self._shop = Shop(found)
        self._desk = Desk(
            self._shop,
            clock=clock,
            dedupe=dedupe,
            window=dedupe_window,
            visible_after=visible_after,
            listed_cities=listed_cities,
        )
        self._methods = {**Goods(self._shop, clock=clock, tracking_id=tracking_id).methods, **self._desk.methods}
        self._grants = Grants(
            app_key, clock=clock, lifetime=token_lifetime, refresh_lifetime=refresh_lifetime, rotate=rotate
        )
        self._forget()

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """Options of the command."""
        parser.add_argument("--app-key", default=LOCAL_KEY)
        parser.add_argument("--app-secret", default=LOCAL_SECRET)
        parser.add_argument("--access-token", default=LOCAL_ACCESS_TOKEN)
        parser.add_argument("--refresh-token", default=LOCAL_REFRESH_TOKEN)
        parser.add_argument("--tracking-id", default=LOCAL_TRACKING_ID)
        parser.add_argument("--token-lifetime", type=int, default=2_592_000, help="seconds")
        parser.add_argument("--rate-limit", type=int, help="calls a second")
        parser.add_argument("--found", type=int, default=120, help="how many products a query finds")

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> Self:
        """A server as the command line asks for it."""
        return cls(
            host=options.host,
            port=options.port,
            app_key=options.app_key,
            app_secret=options.app_secret,
            access_token=options.access_token,
            refresh_token=options.refresh_token,
            tracking_id=options.tracking_id,
            token_lifetime=options.token_lifetime,
            rate_limit=options.rate_limit,
            found=options.found,
        )

    def _forget(self) -> None:
        self._grants.begin(*self._first_tokens)
        self._shop.clear()
        self._desk.clear()
        self._staged: list[_Staged] = []
        self._window: deque[float] = deque()
        self._banned_until = 0.0
        self._calls = count(1)

    # What tests and the command read.

    @property
    def env(self) -> dict[str, str]:
        """The variables that point at this server."""
        given = {
            "PROVIDER_ALIEXPRESS_BASE_URL": self.url,
            "ALIEXPRESS_APP_KEY": self.app_key,
            "ALIEXPRESS_APP_SECRET": self.app_secret,
            "ALIEXPRESS_ACCESS_TOKEN": self.access_token,
            "ALIEXPRESS_REFRESH_TOKEN": self.refresh_token,
        }
        if self.tracking_id is not None:
            given["ALIEXPRESS_TRACKING_ID"] = self.tracking_id
        return given

    @property
    def access_token(self) -> str:
        """The newest access token."""
        return self._grants.access

    @property
    def refresh_token(self) -> str:
        """The refresh token of now."""
        return self._grants.refresh

    @property
    def refreshes(self) -> int:
        """How often a refresh was done."""
        return self._grants.refreshes

    @property
    def orders(self) -> tuple[Order, ...]:
        """What was ordered, oldest first, each with the request that made it."""
        with self._lock:
            return self._desk.orders

    # What tests make happen.

    def expire_token(self) -> None:
        """Refuse the access token from now on."""
        with self._lock:
            self._grants.expire()

    def revoke(self) -> None:
        """Refuse the refresh token too: only ``authorise`` helps."""
        with self._lock:
            self._grants.revoke()

    def authorise(self) -> str:
        """The human step: a code for /auth/token/create, good once, for three minutes."""
        with self._lock:
            return self._grants.authorise()

    def refuse(
        self,
        code: str,
        message: str = "",
        *,
        sub_code: str = "",
        method: str | None = None,
        shape: Shape | str | None = None,
        times: int = 1,
        after: bool = False,
    ) -> None:
        """Refuse the next calls of a method (or path below /rest; None: any) at the gateway.

        ``after``: when the call was carried out.
        """
        given = None if shape is None else Shape(shape)
        self._stage(RefusalError(code, message, sub_code=sub_code, shape=given), method, times, after=after)

    def fail(self, method: str, code: str, message: str = "", *, times: int = 1, after: bool = False) -> None:
        """Let the next calls of a method say no inside their payload."""
        self._stage(FailureError(code, message), method, times, after=after)

    def flaky(self, times: int) -> None:
        """Let so many searches fail with NGSELECTION_SEARCH_ERROR."""
        self.fail("aliexpress.ds.text.search", "NGSELECTION_SEARCH_ERROR", times=times)

    def _stage(self, error: RefusalError | FailureError, method: str | None, times: int, *, after: bool) -> None:
        if times < 1:
            raise ValueError("times is at least 1")
        with self._lock:
            self._staged.append(_Staged(error, method, times, after))

    def set_price(self, product_id: str | int, price: str | Decimal, currency_code: str = "USD") -> None:
        """Every SKU of a product costs this, in every country; other currencies follow."""
        unit = currency(currency_code)
        if unit is None:
            raise ValueError(f"no currency is called {currency_code!r}")
        with self._lock:
            self._shop.set_price(product_id, Decimal(price), unit)

    def set_stock(self, product_id: str | int, sku_id: str, left: int) -> None:
        """So many of a SKU are left; orders take from a stock that was set."""
        with self._lock:
            self._shop.set_stock(product_id, sku_id, left)

    def set_status(self, product_id: str | int, status: str) -> None:
        """``product_status_type``; anything but ``onSelling`` cannot be ordered."""
        with self._lock:
            self._shop.set_status(product_id, status)

    def set_found(self, query: str, found: int) -> None:
        """So many products are found by a query."""
        with self._lock:
            self._shop.set_found(query, found)

    def not_sold(self, product_id: str | int, country: str) -> None:
        """A product is not sold to a country: 602."""
        with self._lock:
            self._shop.not_sold(product_id, country)

    def not_delivered(self, product_id: str | int, country: str) -> None:
        """Nobody delivers a product to a country: freight 500, order DELIVERY_METHOD_NOT_EXIST."""
        with self._lock:
            self._shop.not_delivered(product_id, country)

    def pay(self, order_id: str, *, checked: bool = True) -> Order:
        """The order is paid; unless ``checked``, it stays in RISK_CONTROL. ``ValueError`` when it cannot be."""
        with self._lock:
            order = self._desk.order(order_id)
            order.pay(self.clock(), checked=checked)
            return order

    def ship(self, order_id: str, number: str | None = None, *, events: bool = True) -> Order:
        """A parcel of the order leaves, with this number, or one of its own. Paid first when it was not.

        Without ``events`` tracking still says 1001.
        """
        with self._lock:
            order = self._desk.order(order_id)
            self._desk.ship(order, number, events=events)
            return order

    def move(self, order_id: str, name: str, description: str) -> Order:
        """Something happens to the last parcel of an order."""
        with self._lock:
            order = self._desk.order(order_id)
            if not order.parcels:
                raise ValueError(f"order {order_id} has no parcel")
            order.parcels[-1].steps.append(Step(self.clock(), name, description))
            return order

    def deliver(self, order_id: str, *, settled: bool = True) -> Order:
        """Everything arrived. Shipped first when it was not; unless ``settled``, it stays in FUND_PROCESSING."""
        with self._lock:
            order = self._desk.order(order_id)
            if order.status in {Status.UNPAID, Status.CHECKED, Status.PAID}:
                self._desk.ship(order, None, events=True)
            order.deliver(self.clock(), settled=settled)
            return order

    def cancel(self, order_id: str) -> Order:
        """The buyer cancels on the site (no API does): FINISH, with CANCELED as the children's ``end_reason``."""
        with self._lock:
            order = self._desk.order(order_id)
            self._desk.cancel(order)
            return order

    def reset(self) -> None:
        """Back to the state after start: first tokens, no orders, nothing set or staged."""
        super().reset()
        with self._lock:
            self._forget()

    # How it answers.

    def problem(self, status: int, message: str) -> web.Response:
        """The vendor's error at the root of the body. No document tells of HTTP statuses."""
        refusal = RefusalError("InvalidApiPath" if status in {404, 405} else "InvalidParameter", shape=Shape.ROOT)
        return self._reply(refusal.body(*self._ids()), status)

    def routes(self) -> Iterable[web.RouteDef]:
        """The gateway and the control routes."""
        yield web.post("/sync", self._sync)
        yield web.post("/rest/{path:.*}", self._rest)
        yield web.get("/oauth/authorize", self._authorise)
        yield web.get("/_control/orders", self._control_orders)
        yield web.post("/_control/orders/{order_id}/{step:pay|ship|deliver|cancel}", self._control_step)
        yield web.post("/_control/authorise", self._control_authorise)
        yield web.post("/_control/expire-token", self._control_expire)
        yield web.post("/_control/revoke", self._control_revoke)
        yield web.post("/_control/price", self._control_price)
        yield web.post("/_control/stock", self._control_stock)
        yield web.post("/_control/refuse", self._control_refuse)
        yield web.post("/_control/fail", self._control_fail)

    def _ids(self) -> tuple[str, str]:
        place, now = next(self._calls), int(self.clock() * 1000)
        return f"21010001{now:013}{place % 10_000:04}", f"21010001{now:013}{place % 16**8:08x}"

    def _reply(self, body: JsonObject, status: int = 200) -> web.Response:
        return web.Response(status=status, text=json.dumps(body), content_type="application/json")

    async def _sync(self, request: web.Request) -> web.StreamResponse:
        pairs, files = await self._read(request)
        with self._lock:
            ids = self._ids()
            try:
                return self._reply(self._business(pairs, files, ids))
            except RefusalError as refusal:
                return self._reply(refusal.body(*ids))

    async def _rest(self, request: web.Request) -> web.StreamResponse:
        pairs, _ = await self._read(request)
        with self._lock:
            ids = self._ids()
            try:
                body = self._system("/" + request.match_info["path"], pairs)
            except RefusalError as refusal:
                if self._root_errors:
                    refusal.shape = Shape.ROOT
                return self._reply(refusal.body(*ids))
            return self._reply({**body, "request_id": ids[0], "_trace_id_": ids[1]})

    async def _read(self, request: web.Request) -> tuple[list[tuple[str, str]], dict[str, bytes]]:
        return read_form(
            request.headers.get("Content-Type", ""), request.raw_path.partition("?")[2], await request.read()
        )

    def _admit(self, pairs: list[tuple[str, str]], path: str) -> Params:
        names = [name for name, _ in pairs]
        for name, value in pairs:
            if self._strict and names.count(name) > 1:
                raise wrong(name, "given more than once")
            if self._strict and not value:
                raise wrong(name, "empty")
        params = Params(dict(pairs), strict=self._strict)
        if params.need("app_key") != self.app_key:
            raise RefusalError("InvalidAppKey")
        params.word("sign_method", "sha256")
        given, stamp = params.need("sign"), params.number("timestamp")
        if given != sign(self.app_secret, pairs, path):
            raise RefusalError("IncompleteSignature")
        if abs(stamp / 1000 - self.clock()) > SKEW:
            raise wrong("timestamp", "more than 10 minutes from now")
        params.word("format", "json", default="json")
        return params

    def _system(self, path: str, pairs: list[tuple[str, str]]) -> JsonObject:
        params = self._admit(pairs, path)
        name = {"/auth/token/create": "code", "/auth/token/refresh": "refresh_token"}.get(path)
        if name is None:
            raise RefusalError("InvalidApiPath")
        params.only(*_SYSTEM, name)
        value = params.need(name)
        before, after = self._staged_for(path)
        self._raise(before)
        body = self._grants.create(value) if name == "code" else self._grants.renew(value)
        self._raise(after)
        return body

    def _business(self, pairs: list[tuple[str, str]], files: dict[str, bytes], ids: tuple[str, str]) -> JsonObject:
        params = self._admit(pairs, "")
        method = params.need("method")
        self._hold_rate()
        if params.get("simplify", "false") != "false":
            raise wrong("simplify", "lists would lose what is around them")
        known = self._methods.get(method)
        if known is None:
            raise RefusalError("InvalidApiPath")
        names, answer = known
        self._check_session(params, method)
        params.only(*_BUSINESS, *names)
        before, after = self._staged_for(method)
        try:
            self._raise(before)
            body = answer(Call(params, files))
            self._raise(after)
        except FailureError as error:
            body = failure(method, error)
        shown = restyled(body, lists=self.lists, numbers=self.numbers_as_text, flags=self.flags_as_text)
        return {envelope(method): {**(shown if is_object(shown) else {}), "request_id": ids[0], "_trace_id_": ids[1]}}

    def _check_session(self, params: Params, method: str) -> None:
        if method == "aliexpress.ds.category.get" and not self._category_token:
            return
        token = params.get("session") or params.get("access_token")
        if not token:
            raise missing("session")
        self._grants.check(token)

    def _hold_rate(self) -> None:
        if self.rate_limit is None:
            return
        now, window = self.clock(), self._window
        while window and window[0] <= now - self.rate_window:
            window.popleft()
        if now >= self._banned_until and len(window) < self.rate_limit:
            window.append(now)
            return
        if now >= self._banned_until:
            self._banned_until = now + max(1, math.ceil(window[0] + self.rate_window - now))
        left = max(1, math.ceil(self._banned_until - now))
        words = f"Api access frequency exceeds the limit. this ban will last {left} seconds"
        raise RefusalError("ApiCallLimit", words)

    def _staged_for(self, method: str) -> tuple[_Staged | None, _Staged | None]:
        """The error to give instead of the answer, or the one to give after the work was done."""
        found = next((each for each in self._staged if each.method in {None, method}), None)
        if found is None:
            return None, None
        found.times -= 1
        if not found.times:
            self._staged.remove(found)
        return (None, found) if found.after else (found, None)

    def _raise(self, staged: _Staged | None) -> None:
        if staged is not None:
            raise staged.error

    # The human step, and control routes.

    async def _authorise(self, request: web.Request) -> web.StreamResponse:
        given = request.query
        back = given.get("redirect_uri", "")
        if given.get("response_type") != "code" or given.get("client_id") != self.app_key or not back:
            return web.Response(status=400, text="response_type=code, client_id and redirect_uri are needed")
        if self.callback_url not in {None, back}:
            return web.Response(status=400, text="redirect_uri is not the callback of this application")
        answer = {"code": self.authorise()} | ({"state": given["state"]} if "state" in given else {})
        where = f"{back}{'&' if '?' in back else '?'}{urlencode(answer)}"
        return web.Response(status=302, headers={"Location": where})

    async def _control_orders(self, request: web.Request) -> web.StreamResponse:
        return await listing(request, "orders", self.orders, Order.as_dict)

    async def _control_step(self, request: web.Request) -> web.StreamResponse:
        order_id, step = request.match_info["order_id"], request.match_info["step"]
        steps = {"pay": self.pay, "deliver": self.deliver, "cancel": self.cancel}
        order = self.ship(order_id, request.query.get("number")) if step == "ship" else steps[step](order_id)
        return web.json_response(order.as_dict())

    async def _control_authorise(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"code": self.authorise()}, status=201)

    async def _control_expire(self, request: web.Request) -> web.StreamResponse:
        self.expire_token()
        return web.Response(status=204)

    async def _control_revoke(self, request: web.Request) -> web.StreamResponse:
        self.revoke()
        return web.Response(status=204)

    async def _control_price(self, request: web.Request) -> web.StreamResponse:
        given = await _asked(request)
        self.set_price(_text(given, "product_id"), _text(given, "price"), str(given.get("currency", "USD")))
        return web.Response(status=204)

    async def _control_stock(self, request: web.Request) -> web.StreamResponse:
        given = await _asked(request)
        self.set_stock(_text(given, "product_id"), _text(given, "sku_id"), int(_text(given, "stock")))
        return web.Response(status=204)

    async def _control_refuse(self, request: web.Request) -> web.StreamResponse:
        given = await _asked(request)
        method, shape = given.get("method"), given.get("shape")
        self.refuse(
            _text(given, "code"),
            str(given.get("message", "")),
            method=None if method is None else str(method),
            shape=None if shape is None else str(shape),
            times=int(str(given.get("times", 1))),
            after=given.get("after") is True,
        )
        return web.Response(status=204)

    async def _control_fail(self, request: web.Request) -> web.StreamResponse:
        given = await _asked(request)
        self.fail(
            _text(given, "method"),
            _text(given, "code"),
            str(given.get("message", "")),
            times=int(str(given.get("times", 1))),
        )
        return web.Response(status=204)


async def _asked(request: web.Request) -> JsonObject:
    given = await read_json(request)
    if not is_object(given):
        raise ValueError("an object is needed")
    return given


def _text(given: JsonObject, name: str) -> str:
    value = given.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f'"{name}" is needed')  # noqa: TRY004 - it came over the wire
    return str(value)
