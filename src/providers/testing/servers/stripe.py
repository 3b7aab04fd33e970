"""A local Stripe: catalogue, checkout, subscriptions by the clock, invoices, refunds, meters, signed webhooks.

This server proves our reading of the vendor's documents, not the vendor. Read: the typed parameters and objects of the
stripe library 16.1.0 (API version 2026-10-28.endive), docs.stripe.com: errors, idempotency, currencies, webhooks,
billing. Prices are flat; coupons, tiers, schedules and setup mode are not here and are refused.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import secrets
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from http import HTTPStatus
from itertools import chain
from typing import ClassVar, Final, Self
from urllib.parse import parse_qsl

from aiohttp import web

from providers.testing.servers._base import LocalServer, listing, read_json
from providers.testing.servers._host import Json, JsonObject
from providers.testing.servers._stripe import (
    catalog,
    checkout,
    customers,
    invoices,
    lifecycle,
    meters,
    pages,
    payments,
    portal,
    refunds,
    subscriptions,
)
from providers.testing.servers._stripe.books import API_VERSION, Books, Event, Rules
from providers.testing.servers._stripe.call import Call, Obj, RefusalError, Route, decode, refused
from providers.testing.servers._stripe.hooks import Hook, Webhooks, signature
from providers.testing.servers._stripe.idempotency import Keys
from providers.testing.servers._stripe.lists import expanded
from providers.testing.servers._stripe.payments import Card
from providers.testing.servers._stripe.shapes import Field, read

__all__ = ["API_VERSION", "LOCAL_KEY", "LOCAL_WEBHOOK_SECRET", "Rules", "StripeServer"]

LOCAL_KEY: Final = f"sk_test_{'local' * 4}00"
LOCAL_WEBHOOK_SECRET: Final = f"whsec_{'local' * 4}00"
"""What a server takes unless told otherwise; of the vendor's form, worth nothing."""

_EXPAND: Final = Field("s", many=True)


class StripeServer(LocalServer):
    """Stripe on loopback.

    ``webhook_url`` gets every event of every account, signed with ``webhook_secret``, besides the endpoints made.
    ``accounts`` are the connected accounts there are (None: any). ``rate_limit`` is requests a second and account.
    ``retry_days`` are the days from one attempt to the next, ``after_retries`` what then becomes of a subscription
    (``cancel``, ``unpaid``, ``past_due``), ``upcoming_days`` how early ``invoice.upcoming`` is told. ``shuffle`` and
    ``duplicate`` deliver events out of order and twice.
    """

    vendor: ClassVar[str] = "stripe"

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.time,
        keep: int = 100_000,
        secret_key: str = LOCAL_KEY,
        webhook_secret: str = LOCAL_WEBHOOK_SECRET,
        webhook_url: str | None = None,
        accounts: Iterable[str] | None = None,
        rate_limit: int = 1_000_000,
        retry_days: Sequence[int] = (3, 5, 7),
        after_retries: str = "cancel",
        upcoming_days: int = 7,
        tax_percent: int = 0,
        shuffle: bool = False,
        duplicate: bool = False,
    ) -> None:
        super().__init__(host=host, port=port, ssl_context=ssl_context, clock=clock, keep=keep)
        if after_retries not in {"cancel", "unpaid", "past_due"}:
            raise ValueError("after_retries is cancel, unpaid or past_due")
        self.secret_key, self.webhook_secret, self.webhook_url = secret_key, webhook_secret, webhook_url
        self.rate_limit = rate_limit
        self._accounts = None if accounts is None else frozenset(accounts)
        self._rules = Rules(tuple(retry_days), after_retries, upcoming_days, tax_percent)
        self._lock = threading.RLock()
        self._hooks = Webhooks(clock, shuffle=shuffle, duplicate=duplicate)
        self._keys = Keys()
        self._books: dict[str | None, Books] = {}
        self._windows: dict[str | None, list[int]] = {}
        self._due = False
        self._register()

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """Options of the command."""
        parser.add_argument("--secret-key", default=LOCAL_KEY)
        parser.add_argument("--webhook-url", help="where signed events go")
        parser.add_argument("--webhook-secret", default=LOCAL_WEBHOOK_SECRET)
        parser.add_argument("--rate-limit", type=int, default=1_000_000, help="requests a second")
        parser.add_argument("--after-retries", choices=("cancel", "unpaid", "past_due"), default="cancel")
        parser.add_argument("--shuffle-events", action="store_true", help="deliver events out of order")
        parser.add_argument("--duplicate-events", action="store_true", help="deliver every event twice")

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> Self:
        """A server as the command line asks for it."""
        return cls(
            host=options.host,
            port=options.port,
            secret_key=options.secret_key,
            webhook_url=options.webhook_url,
            webhook_secret=options.webhook_secret,
            rate_limit=options.rate_limit,
            after_retries=options.after_retries,
            shuffle=options.shuffle_events,
            duplicate=options.duplicate_events,
        )

    def _register(self) -> None:
        if self.webhook_url:
            self._hooks.hooks[""] = Hook(self.webhook_url, [self.webhook_secret])

    # What tests and the command read.

    @property
    def env(self) -> dict[str, str]:
        """The variables that point at this server."""
        return {
            "PROVIDER_STRIPE_BASE_URL": self.url,
            "STRIPE_SECRET_KEY": self.secret_key,
            "STRIPE_WEBHOOK_SECRET": self.webhook_secret,
        }

    @property
    def events(self) -> tuple[JsonObject, ...]:
        """Every event so far, oldest first, as webhooks carry it."""
        with self._lock:
            self._settle()
            found = sorted(chain.from_iterable(books.events for books in self._books.values()), key=_moment)
            return tuple(event.payload() for event in found)

    @property
    def pending_events(self) -> int:
        """Events that wait for an endpoint."""
        return self._hooks.pending()

    def objects(self, kind: str, *, account: str | None = None) -> list[JsonObject]:
        """The objects of a kind (``customer``, ``checkout.session``, ...), oldest first, as the API shows them."""
        with self._lock:
            self._settle()
            table = self._account(account).tables.get(kind, {})
            copied: list[JsonObject] = json.loads(json.dumps([*table.values()]))
            return copied

    # What tests make happen.

    def pay(self, session_id: str, card: str | None = "pm_card_visa") -> JsonObject:
        """Complete a checkout as a customer would; the session afterwards: still ``open`` when the card is declined.

        ``card=None`` gives none, where none is asked for. Raises `ValueError` for a session that cannot be paid.
        """
        with self._lock, self._changing() as books_of:
            books = books_of(session_id, "checkout.session")
            try:
                shown = checkout.pay(books, session_id, card)
            except RefusalError as refusal:
                if refusal.status != HTTPStatus.PAYMENT_REQUIRED:
                    raise ValueError(str(refusal)) from None
                shown = books.get("checkout.session", session_id)
            return _copied(shown)

    def set_card(self, customer_id: str, card: str | None) -> None:
        """Give a customer another card (None: none), for all subscriptions. Raises `ValueError` for an unknown one."""
        with self._lock, self._changing() as books_of:
            books = books_of(customer_id, "customer")
            customer = books.get("customer", customer_id)
            before = books.before(customer)
            method = None
            try:
                if card is not None:
                    method = customers.attach(books, customer, card)["id"]
            except RefusalError as refusal:
                raise ValueError(str(refusal)) from None
            customer["invoice_settings"]["default_payment_method"] = method
            books.changed("customer.updated", customer, before)
            for each in books.newest("subscription", customer=customer_id):
                if each["default_payment_method"] is not None:
                    earlier = books.before(each)
                    each["default_payment_method"] = method
                    books.changed("customer.subscription.updated", each, earlier)

    def dispute(self, payment_id: str, reason: str = "fraudulent") -> JsonObject:
        """Let the customer's bank take a payment (intent or charge) back; the dispute."""
        with self._lock, self._changing() as books_of:
            books = books_of(payment_id, "payment_intent", "charge")
            try:
                return _copied(refunds.dispute(books, payment_id, reason))
            except RefusalError as refusal:
                raise ValueError(str(refusal)) from None

    def close_dispute(self, dispute_id: str, status: str = "lost") -> JsonObject:
        """Let a dispute end, ``won`` or ``lost``."""
        with self._lock, self._changing() as books_of:
            return _copied(refunds.closed(books_of(dispute_id, "dispute"), dispute_id, status))

    def fail_refund(self, refund_id: str, reason: str = "lost_or_stolen_card") -> JsonObject:
        """Let the bank send a refund back."""
        with self._lock, self._changing() as books_of:
            return _copied(refunds.fail(books_of(refund_id, "refund"), refund_id, reason))

    def advance(self) -> None:
        """Do everything that is due at ``clock()``, each at its moment."""
        with self._lock:
            self._settle()
            self._wake()

    def hold_key(self, key: str) -> None:
        """Another request with this idempotency key is under way, until ``release_key``."""
        with self._lock:
            self._keys.busy.add(key)

    def release_key(self, key: str) -> None:
        """It is over, without an answer to replay."""
        with self._lock:
            self._keys.busy.discard(key)

    def roll_secret(self, secret: str) -> None:
        """Sign what goes to ``webhook_url`` with this secret too: two ``v1``, the new one first."""
        with self._lock:
            hook = self._hooks.hooks[""]
            hook.secrets = [secret, *hook.secrets[:1]]
            self.webhook_secret = secret

    def flush(self) -> int:
        """Post what waits now; how many events were taken. Blocks: call it from a thread in async."""
        self.advance()
        return self._call(self._hooks.deliver())

    def signed_request(self, event: JsonObject, *, timestamp: int | None = None) -> tuple[dict[str, str], bytes]:
        """Headers and body of a delivery, to be sent by hand."""
        body = json.dumps(event, separators=(",", ":")).encode()
        moment = int(self.clock()) if timestamp is None else timestamp
        signed = signature([self.webhook_secret], moment, body)
        return {"Content-Type": "application/json; charset=utf-8", "Stripe-Signature": signed}, body

    def reset(self) -> None:
        """Back to the state after start: no objects, events, endpoints, keys, faults; the webhook as constructed."""
        super().reset()
        with self._lock:
            self._books.clear()
            self._windows.clear()
            self._keys.clear()
            self._hooks.hooks.clear()
            self._register()

    # How it runs.

    async def opened(self) -> None:
        """Start delivering events."""
        await self._hooks.open()

    async def closing(self) -> None:
        """Deliver what waits."""
        await self._hooks.close()

    def problem(self, status: int, message: str) -> web.Response:
        """The vendor's error shape."""
        return _failure(refused(f"{message}.", status=status))

    def routes(self) -> Iterable[web.RouteDef]:
        """All endpoints, guarded, the pages, and the control routes."""
        every = chain(
            customers.routes(),
            catalog.routes(),
            checkout.routes(),
            subscriptions.routes(),
            invoices.routes(),
            payments.routes(),
            refunds.routes(),
            meters.routes(),
            self._hooks.routes(),
            portal.routes(),
        )
        for route in every:
            yield web.route(route.method, route.path, self._guard(route))
        yield web.route("*", "/v1/{rest:.*}", self._unknown)
        yield web.route("*", "/c/pay/{id}", self._checkout_page)
        yield web.route("*", "/p/session/{token}", self._portal_page)
        yield web.route("*", "/i/{id}", self._invoice_page)
        yield web.post("/_control/pay", self._control_pay)
        yield web.post("/_control/advance", self._control_advance)
        yield web.post("/_control/set_card", self._control_set_card)
        yield web.post("/_control/dispute", self._control_dispute)
        yield web.get("/_control/objects", self._control_objects)
        yield web.get("/_control/events", self._control_events)
        yield web.post("/_control/flush", self._control_flush)

    def _account(self, name: str | None) -> Books:
        books = self._books.get(name)
        if books is None:
            livemode = "_live_" in self.secret_key
            books = Books(name, self.url, self._rules, livemode=livemode, heard=self._heard)
            books.now = int(self.clock())
            self._books[name] = books
        return books

    def _heard(self, event: Event) -> None:
        if self._hooks.offer(event):
            self._due = True

    def _settle(self) -> None:
        now = int(self.clock())
        for books in tuple(self._books.values()):
            books.settle(now)

    def _wake(self) -> None:
        if self._due:
            self._due = False
            self._soon(self._hooks.wake)

    @contextlib.contextmanager
    def _changing(self) -> Generator[Callable[..., Books], None, None]:
        """A change that no request makes: time first, then the change, then its events go out."""
        self._settle()
        try:
            yield self._find
        finally:
            self._wake()

    def _find(self, name: str, *kinds: str) -> Books:
        for books in self._books.values():
            if any(name in books.tables[kind] for kind in kinds):
                return books
        raise ValueError(f"no {kinds[0]} is called {name!r}")

    def _guard(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def guarded(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            name = f"req_{secrets.token_hex(7)}"
            with self._lock:
                self._settle()
                try:
                    response = self._answer(route, request, body, name)
                except RefusalError as refusal:
                    response = _failure(refusal)
                self._wake()
            headers = response.headers
            headers.setdefault("Request-Id", name)
            headers["Stripe-Version"] = request.headers.get("Stripe-Version", API_VERSION)
            if (key := request.headers.get("Idempotency-Key")) is not None:
                headers["Idempotency-Key"] = key
            return response

        return guarded

    def _answer(self, route: Route, request: web.Request, body: bytes, name: str) -> web.Response:
        account = self._authorized(request)
        self._meter(account)
        books = self._account(account)
        key = request.headers.get("Idempotency-Key") if request.method == "POST" else None
        what = "&".join([request.raw_path, *sorted(body.decode("utf-8", "replace").split("&"))])
        if key is not None:
            kept = self._keys.find(account, key, what, self.clock())
            if kept is not None:
                headers = {"Idempotent-Replayed": "true", "Original-Request": kept.request_id}
                headers["Request-Id"] = kept.request_id
                return _response(kept.status, kept.body, headers)
        try:
            status, content = int(HTTPStatus.OK), _encoded(self._do(route, books, request, body, name))
        except RefusalError as refusal:
            if key is None or not refusal.kept:
                raise
            status, content = refusal.status, _encoded({"error": refusal.error})
        finally:
            books.end()
        if key is not None:
            self._keys.keep(account, key, what, (status, content), self.clock(), name)
        return _response(status, content, {})

    def _do(self, route: Route, books: Books, request: web.Request, body: bytes, name: str) -> Obj:
        pairs = parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True)
        if body:
            if not request.content_type.startswith("application/x-www-form-urlencoded"):
                message = f"Invalid request: unsupported content type {request.content_type}."
                raise refused(message, kept=False)
            pairs += parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
        given = read(decode(pairs), {**route.shape, "expand": _EXPAND})
        expand = tuple(given.pop("expand", ()))
        key = request.headers.get("Idempotency-Key")
        call = Call(given, dict(request.match_info), name, key, request.path)
        books.begin(call)
        return expanded(books, route.answer(books, call), expand)

    def _authorized(self, request: web.Request) -> str | None:
        kind, _, key = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() == "basic":
            try:
                key = base64.b64decode(key).decode().partition(":")[0]
            except ValueError:
                key = ""
        if not key:
            message = (
                "You did not provide an API key. You need to provide your API key in the Authorization header, using "
                "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
            )
            raise refused(message, status=HTTPStatus.UNAUTHORIZED, kept=False)
        if not secrets.compare_digest(key.encode(), self.secret_key.encode()):
            message = f"Invalid API Key provided: {key[:8]}***"
            raise refused(message, status=HTTPStatus.UNAUTHORIZED, kept=False)
        account = request.headers.get("Stripe-Account")
        known = account is None or (
            account.startswith("acct_") if self._accounts is None else account in self._accounts
        )
        if not known:
            message = (
                f"The provided key '{key[:8]}***' does not have access to account '{account}' (or that account does "
                "not exist). Application access may have been revoked."
            )
            raise refused(message, None, "account_invalid", status=HTTPStatus.FORBIDDEN, kept=False)
        return account

    def _meter(self, account: str | None) -> None:
        now = int(self.clock())
        window = self._windows.get(account)
        if window is None or window[0] != now:
            window = self._windows[account] = [now, 0]
        window[1] += 1
        if window[1] > self.rate_limit:
            refusal = refused("Request rate limit exceeded.", None, "rate_limit", status=429, kept=False)
            refusal.headers["Stripe-Rate-Limited-Reason"] = "global-rate"
            raise refusal

    async def _unknown(self, request: web.Request) -> web.StreamResponse:
        message = (
            f"Unrecognized request URL ({request.method}: {request.path}). If you are trying to list objects, remove "
            "the trailing slash. If you are trying to retrieve an object, make sure you passed a valid (non-empty) "
            "identifier in your code."
        )
        return _failure(refused(message, status=HTTPStatus.NOT_FOUND))

    # Pages.

    async def _checkout_page(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["id"]
        form = await request.post()
        with self._lock, self._changing() as books_of:
            try:
                books = books_of(name, "checkout.session")
            except ValueError:
                return _page(pages.document("Checkout", "<p>No such session.</p>"), HTTPStatus.NOT_FOUND)
            one = books.get("checkout.session", name)
            if one["status"] != "open":
                return _page(pages.over(one), HTTPStatus.GONE)
            lines = books.hidden[name]["line_items"]
            if request.method != "POST":
                return _page(pages.checkout(one, lines))
            try:
                checkout.pay(books, name, str(form.get("card") or customers.VISA))
            except RefusalError as refusal:
                return _page(pages.checkout(one, lines, str(refusal)), refusal.status)
            where = str(one["success_url"]).replace("{CHECKOUT_SESSION_ID}", name)
        return web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": where})

    async def _portal_page(self, request: web.Request) -> web.StreamResponse:
        token = request.match_info["token"]
        form = await request.post()
        with self._lock, self._changing():
            for books in self._books.values():
                if (name := books.hidden["portals"].get(token)) is not None:
                    one = books.get("billing_portal.session", name)
                    try:
                        return self._portal(books, one, {key: str(value) for key, value in form.items()})
                    except RefusalError as refusal:
                        return _page(pages.document("Billing", f"<p>{refusal}</p>"), refusal.status)
        return _page(pages.document("Billing", "<p>No such session.</p>"), HTTPStatus.NOT_FOUND)

    def _portal(self, books: Books, one: Obj, form: dict[str, str]) -> web.Response:
        customer = books.get("customer", one["customer"])
        action = form.get("action")
        if action in {"cancel", "keep"}:
            given: Obj = {"cancel_at_period_end": action == "cancel"}
            subscriptions.update(books, Call(given, {"id": form.get("subscription", "")}, ""))
        elif action == "card":
            self.set_card(one["customer"], form.get("card"))
        current = [each for each in books.newest("subscription", customer=one["customer"]) if not each["ended_at"]]
        bills = [*books.newest("invoice", customer=one["customer"])]
        return _page(pages.portal(one, customer, current, bills))

    async def _invoice_page(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["id"]
        form = await request.post()
        with self._lock, self._changing() as books_of:
            try:
                books = books_of(name, "invoice")
            except ValueError:
                return _page(pages.document("Invoice", "<p>No such invoice.</p>"), HTTPStatus.NOT_FOUND)
            one = books.get("invoice", name)
            if request.method == "POST" and one["status"] in invoices.PAYABLE:
                card = Card(str(form.get("card") or customers.VISA), books.new_id("pm"), present=True)
                if not invoices.attempt(books, one, card):
                    lifecycle.invoice_failed(books, one, scheduled=False)
                    return _page(pages.invoice(one, "Your card was declined."), HTTPStatus.PAYMENT_REQUIRED)
                lifecycle.invoice_paid(books, one)
            return _page(pages.invoice(one))

    # Control routes.

    async def _control_pay(self, request: web.Request) -> web.StreamResponse:
        body = await _fields(request)
        card = body.get("card", "pm_card_visa")
        return web.json_response(self.pay(str(body.get("session")), None if card is None else str(card)))

    async def _control_advance(self, request: web.Request) -> web.StreamResponse:
        self.advance()
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def _control_set_card(self, request: web.Request) -> web.StreamResponse:
        body = await _fields(request)
        card = body.get("card")
        self.set_card(str(body.get("customer")), None if card is None else str(card))
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def _control_dispute(self, request: web.Request) -> web.StreamResponse:
        body = await _fields(request)
        made = self.dispute(str(body.get("payment")), str(body.get("reason", "fraudulent")))
        return web.json_response(made, status=HTTPStatus.CREATED)

    async def _control_objects(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        found = self.objects(query.get("kind", ""), account=query.get("account"))
        return await listing(request, "objects", found, dict)

    async def _control_events(self, request: web.Request) -> web.StreamResponse:
        return await listing(request, "events", self.events, dict)

    async def _control_flush(self, request: web.Request) -> web.StreamResponse:
        self.advance()
        taken = await self._hooks.deliver()
        return web.json_response({"delivered": taken, "pending": self._hooks.pending()})


def _moment(event: Event) -> int:
    return event.created


def _copied(one: Obj) -> JsonObject:
    copied: JsonObject = json.loads(json.dumps(one))
    return copied


def _encoded(value: Obj) -> bytes:
    return json.dumps(value).encode()


def _response(status: int, body: bytes, headers: dict[str, str]) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


def _failure(refusal: RefusalError) -> web.Response:
    return _response(refusal.status, _encoded({"error": refusal.error}), refusal.headers)


def _page(text: str, status: int = HTTPStatus.OK) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html")


async def _fields(request: web.Request) -> dict[str, Json]:
    body = await read_json(request)
    if not isinstance(body, dict):
        raise ValueError("an object is needed")  # noqa: TRY004 - it came over the wire
    return body
