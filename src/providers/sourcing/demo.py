"""Made-up suppliers: sells what the shared world holds, keeps orders, ships them as time passes.

Serves every platform that services know. Products fail, or their orders do, where their ids ask for it.
"""

from __future__ import annotations

import secrets
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode

from pydantic import SecretStr, TypeAdapter
from pydantic_core import to_json

from providers.core.clock import utc
from providers.core.errors import (
    BadResponseError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    ProviderError,
    ProviderTimeoutError,
    RejectedError,
)
from providers.core.faults import BY_WORD
from providers.core.models import CheckResult, CheckState, Money, Quota, RawRequest, Ref, WebhookEndpoint, WebhookResult
from providers.demo import webhooks, world
from providers.sourcing import demo_catalogue as catalogue
from providers.sourcing import demo_life as life
from providers.sourcing.demo_book import BALANCE, Book, Waiting
from providers.sourcing.demo_catalogue import Goods
from providers.sourcing.demo_life import DemoOrder, Milestone
from providers.sourcing.events import SourcingEvent, SourcingEventType
from providers.sourcing.facts import DEMO
from providers.sourcing.models import NO_WAY, Grant, Listing, Market, ProductName, demo_ref
from providers.sourcing.orders import OrderedItem, OrderState, Placed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from providers.core.account import Account
    from providers.sourcing.models import Category, Product, SearchQuery, ShippingQuote, Stock
    from providers.sourcing.orders import OrderDraft, OrderLine, OrderPart, Tracking

WORDS_KEPT = 1000
"""Searches whose words are remembered, for products that are named after them."""

WATCHED = 1000
"""Products whose prices are pushed; more push older ones out."""

PER_DELIVERY = 100
"""Events in one webhook."""

GRANTED = 30 * life.DAY

WATCH = "watch"
"""What waits for the next hour instead of an order's milestone."""


class Fate(NamedTuple):
    """What happens to products whose ids have one ending: reading them fails, ordering them, or paying the order."""

    what: str
    read: Callable[[], ProviderError] | None = None
    order: Callable[[], ProviderError] | None = None
    kept: bool = False
    pay: Callable[[], ProviderError] | None = None


def _missing(code: str, reason: str) -> Callable[[], ProviderError]:
    return lambda: NotFoundError(f"ref: {reason}", field="ref", code=code)


def _poor() -> ProviderError:
    return RejectedError("the balance is too low", code="insufficient_funds")


OUTCOMES: dict[str, Fate] = {
    "0404": Fate("no such product", _missing("no_such_product", "the demo knows no such product")),
    "0410": Fate("off the shelf", _missing("off_shelf", "the product is off the shelf")),
    "0401": Fate("wrong credential", BY_WORD["unauthorized"]),
    "0403": Fate("not allowed", BY_WORD["denied"]),
    "0429": Fate("too many calls; repeat after 30 seconds", BY_WORD["ratelimited"]),
    "0503": Fate("down; nothing was asked or ordered", BY_WORD["unavailable"]),
    "0402": Fate("ordered, but the balance is too low to pay", pay=_poor),
    "0408": Fate(
        "ordered, but the answer is lost: found by look-up",
        order=lambda: ProviderTimeoutError("the demo's answer got lost", outcome=Outcome.UNKNOWN),
        kept=True,
    ),
    "0409": Fate(
        "in stock, but sold out when it is ordered",
        order=lambda: ConflictError("the demo has just sold the last one", code="out_of_stock"),
    ),
    "0504": Fate("no answer to an order: nobody knows whether it was made", order=BY_WORD["timeout"]),
}
"""The last four digits of a platform's id of a product -> what becomes of it; all others are sold and arrive."""

PLAIN = Fate("sold, shipped and delivered")


class DemoSourcing:
    """Suppliers that ship nothing. State is in the store, so that all processes that share it see it."""

    facts = DEMO
    affiliate = "demo"

    def __init__(self, account: Account) -> None:
        self._store = account.store
        self._clock = account.clock
        self._faults = account.faults
        self._url = account.webhook_url
        self._prefix = f"demo/{account.tenant}/sourcing/"
        self._deliver = account.deliver
        self._book = Book(account.store, self._prefix)

    def translate(self, error: Exception) -> ProviderError | None:
        """The demo raises our errors itself."""
        del error
        return None

    # Reading.

    async def search(self, query: SearchQuery) -> Listing:
        """What holds the words, or is named after them. Its order and number stay the same."""
        self._faults.strike("sourcing.search")
        now = self._clock.time()
        items, total, words = catalogue.matching(query, now)
        await self._remember(items, words)
        return Listing(items=self._shown(query.source, items, query.market, now), total=total)

    async def product(self, name: ProductName, market: Market) -> Product:
        """Any well-formed id is some product's."""
        goods = await self._goods(name, "sourcing.product")
        return catalogue.product(name, goods.item, market, self._clock.time())

    async def stock(self, name: ProductName, market: Market) -> Stock:
        """In one warehouse."""
        goods = await self._goods(name, "sourcing.stock")
        return catalogue.stock(name, goods.item, self._clock.time())

    async def shipping_quotes(
        self, lines: tuple[OrderLine, ...], market: Market, postal_code: str
    ) -> list[ShippingQuote]:
        """By weight and zone; all in one parcel."""
        now = self._clock.time()
        parcel: list[tuple[Goods, int]] = []
        for line in lines:
            goods = await self._goods(line.product, "sourcing.shipping_quotes")
            catalogue.variant(goods, line.variant, market.currency, now)
            parcel.append((goods, line.quantity))
        return catalogue.quotes(parcel, market)

    async def search_by_image(self, image: bytes, source: str, market: Market, limit: int) -> Listing:
        """The same products for the same bytes."""
        self._faults.strike("sourcing.search_by_image")
        if not image.startswith(catalogue.PICTURES):
            msg = "image: no JPEG, PNG or WebP"
            raise InvalidRequestError(msg, field="image", code="format")
        items = catalogue.pictured(source, image, limit)
        return Listing(items=self._shown(source, items, market, self._clock.time()), total=len(items))

    async def categories(self, source: str, language: str) -> list[Category]:
        """In English."""
        self._faults.strike("sourcing.categories")
        return catalogue.categories(source)

    async def affiliate_links(self, urls: tuple[str, ...]) -> dict[str, str]:
        """For what AliExpress sells."""
        self._faults.strike("sourcing.affiliate_links")
        host = "https://www.aliexpress.com/"
        return {url: f"https://s.click.example.com/e/_{world.number_of(url):x}" for url in urls if url.startswith(host)}

    # Orders.

    async def place(self, draft: OrderDraft) -> Placed:
        """One order, or one for each store. The same number makes no second one."""
        self._faults.strike("sourcing.place_order")
        now = self._clock.time()
        await self._catch_up(now)
        known = await self._placed(draft)
        if known is not None:
            return known
        goods = [await self._goods(line.product, "") for line in draft.lines]
        fates = [_fate(line.product) for line in draft.lines]
        lost: Callable[[], ProviderError] | None = None
        for fate in fates:
            if fate.order is not None and not fate.kept:
                raise fate.order()
            lost = lost or fate.order
        pays = draft.pay and draft.source not in life.BALANCE
        for fate in fates:
            if pays and fate.pay is not None:
                raise fate.pay()
        made = _orders(draft, goods, now, paid=pays, poor=any(fate.pay for fate in fates))
        orders = await self._book.write(made, now)
        if orders is None:
            return await self._placed(draft) or Placed(orders=())
        await self._tell([event for order in orders for event in life.told(order, life.milestones(order)[0])])
        if lost is not None:
            raise lost()
        return Placed(orders=tuple(life.part(order, now) for order in orders))

    async def find(self, draft: OrderDraft, since: float) -> Placed | None:
        """By its number."""
        self._faults.strike("sourcing.find")
        return await self._placed(draft)

    async def order(self, ref: Ref) -> OrderPart:
        """As it is now."""
        self._faults.strike("sourcing.order")
        now = self._clock.time()
        await self._catch_up(now)
        found = await self._book.order(ref)
        return life.imagined(ref.id) if found is None else life.part(found, now)

    async def confirm(self, ref: Ref) -> OrderPart:
        """All are payable as they are."""
        self._faults.strike("sourcing.confirm")
        now = self._clock.time()
        await self._catch_up(now)
        return await self._payable(ref, now)

    async def pay(self, ref: Ref) -> OrderPart:
        """From the balance, at the platform that has one; elsewhere somebody pays it by hand, at once."""
        self._faults.strike("sourcing.pay")
        now = self._clock.time()
        await self._catch_up(now)
        part, order = await self._payable(ref, now), await self._book.order(ref)
        if order is None or part.paid:
            return part
        if order.poor or (order.cents and await self._book.spend(order.cents) is None):
            raise _poor()
        try:
            paid = await self._book.change(order, now, paid=now)
        except ConflictError:
            # Somebody else was quicker.
            await self._book.spend(-order.cents)
            raise
        return await self._changed(paid, now)

    async def cancel(self, ref: Ref) -> OrderPart:
        """Until it is shipped; what the balance paid comes back."""
        self._faults.strike("sourcing.cancel_order")
        now = self._clock.time()
        await self._catch_up(now)
        order = await self._book.order(ref)
        state = OrderState.DELIVERED if order is None else life.state(order, now)
        if state in {OrderState.SHIPPED, OrderState.DELIVERED}:
            msg = f"{ref} is {state}: too late to cancel it"
            raise ConflictError(msg, code="too_late")
        if order is None or state is OrderState.CANCELLED:
            return await self.order(ref)
        cancelled = await self._book.change(order, now, cancelled=now)
        if order.paid is not None:
            await self._book.spend(-order.cents)
        return await self._changed(cancelled, now)

    async def trackings(self, refs: tuple[Ref, ...]) -> list[Tracking | ProviderError]:
        """Where the parcels are."""
        self._faults.strike("sourcing.trackings")
        now = self._clock.time()
        await self._catch_up(now)
        found: list[Tracking | ProviderError] = []
        for ref in refs:
            try:
                order = await self._book.order(ref)
            except NotFoundError as error:
                found.append(error)
            else:
                found.append(life.imagined_tracking(ref.id) if order is None else life.tracking(order, now))
        return found

    def orders(self) -> AsyncIterator[DemoOrder]:
        """The orders that were kept, in no particular order."""
        return self._book.orders()

    # What is pushed.

    async def watch(self, names: tuple[ProductName, ...]) -> None:
        """Push their prices when they change, hour by hour."""
        self._faults.strike("sourcing.watch")
        now = self._clock.time()
        await self._catch_up(now)
        items: list[tuple[str, bytes | None]] = []
        for name in names:
            goods = await self._goods(name, "")
            slot = world.number_of(f"{name.source}/{name.id}") % WATCHED
            cents = int(catalogue.price(goods, "USD", now).amount * 100)
            items.append((f"{self._prefix}watched/{slot:03}", to_json((name.source, name.id, cents))))
        await self._store.put(items)
        await self._book.wait(Waiting(_next_hour(now), WATCH, ""))

    async def ensure_webhook(self, url: str) -> WebhookEndpoint:
        """Deliver to `url` from now on. The secret is shown once."""
        self._faults.strike("sourcing.ensure_webhook")
        hook = self._prefix + "webhook"
        known = await self._store.get(hook)
        await self._store.put([(hook, url.encode())])
        secret = None if known == url.encode() else SecretStr(webhooks.SECRET)
        return WebhookEndpoint(ref=Ref(vendor="demo", id="webhook-sourcing"), secret=secret)

    def recognises(self, request: RawRequest) -> bool:
        """By the signature header."""
        return webhooks.HEADER in request.headers

    async def webhook(self, request: RawRequest) -> WebhookResult[SourcingEvent]:
        """As `_tell` signs it."""
        webhooks.verify(request, self._clock.time())
        try:
            return WebhookResult[SourcingEvent](events=tuple(_events().validate_json(request.body)))
        except ValueError as error:
            msg = "the webhook is not a list of demo events"
            raise BadResponseError(msg, vendor="demo") from error

    # The account.

    def authorize_url(self, redirect_uri: str, state: str) -> str:
        """Nobody to ask: it leads straight back."""
        joint = "&" if "?" in redirect_uri else "?"
        return redirect_uri + joint + urlencode({"code": f"demo-{secrets.token_hex(6)}", "state": state})

    async def exchange_code(self, code: str) -> Grant:
        """For any code."""
        self._faults.strike("sourcing.exchange_code")
        now = self._clock.time()
        return Grant(
            values={
                "ALIEXPRESS_ACCESS_TOKEN": SecretStr(f"demo-access-{code}"),
                "ALIEXPRESS_REFRESH_TOKEN": SecretStr(f"demo-refresh-{code}"),
            },
            account="demo",
            expires_at=utc(now + GRANTED),
            refresh_expires_at=utc(now + 2 * GRANTED),
        )

    async def check(self) -> CheckResult:
        """Always well; what is left of the day's balance."""
        spent = await self._book.spend(0) or 0
        quota = Quota(
            unit="USD",
            used=world.dollars(spent),
            limit=world.dollars(BALANCE),
            remaining=world.dollars(BALANCE - spent),
        )
        detail = "made up: nothing is ordered"
        return CheckResult(vendor="demo", state=CheckState.OK, detail=detail, quota=quota, sandbox=True)

    async def aclose(self) -> None:
        """Nothing of its own."""

    # State.

    async def _goods(self, name: ProductName, operation: str) -> Goods:
        """The product of a name. Raises what its ending asks for."""
        self._faults.strike(operation)
        catalogue.platform(name)
        fate = _fate(name)
        if fate.read is not None:
            raise fate.read()
        number = world.number_of(name.id)
        code = world.code_of(number)
        words = ""
        if code is not None:
            kept = await self._store.get(_words_key(code))
            known, _, said = (kept or b"").decode().partition(" ")
            words = said if known == str(code) else ""
        return Goods(name, world.item(number, words))

    async def _remember(self, items: Sequence[world.Item], words: str) -> None:
        code = next((code for item in items if (code := world.code_of(item.number)) is not None), None)
        if words and code is not None:
            await self._store.put([(_words_key(code), f"{code} {words}".encode())])

    def _shown(self, source: str, items: Iterable[world.Item], market: Market, now: float) -> tuple[Product, ...]:
        return tuple(catalogue.seen(catalogue.listed(source, item.number), item, market, now) for item in items)

    async def _placed(self, draft: OrderDraft) -> Placed | None:
        known = await self._book.numbered(draft.source, draft.number)
        now = self._clock.time()
        return None if known is None else Placed(orders=tuple(life.part(order, now) for order in known))

    async def _payable(self, ref: Ref, now: float) -> OrderPart:
        found = await self._book.order(ref)
        if found is None:
            return life.imagined(ref.id)
        if life.state(found, now) is OrderState.CANCELLED:
            msg = f"{ref} is cancelled"
            raise ConflictError(msg, code="cancelled")
        return life.part(found, now)

    async def _changed(self, order: DemoOrder, now: float) -> OrderPart:
        """Tell of an order that has just been paid or cancelled."""
        reached = [one for one in life.milestones(order) if one.at <= now]
        await self._tell(life.told(order, reached[-1]))
        return life.part(order, now)

    async def _catch_up(self, now: float) -> None:
        """Tell of what has happened by now: the demo does nothing between calls."""
        events: list[SourcingEvent] = []
        for at, what, then in await self._book.due(now):
            if what == WATCH:
                events += await self._prices_moved(now)
                await self._book.wait(Waiting(_next_hour(now), WATCH, ""))
                continue
            order = await self._book.order(Ref(vendor="demo", id=what))
            ahead = [] if order is None else life.milestones(order)
            # It may have been paid or cancelled since: then this is not how its life went.
            if order is None or Milestone(at, OrderState(then)) not in ahead:
                continue
            for one in ahead:
                if at <= one.at <= now:
                    events += life.told(order, one)
                elif one.at > now:
                    await self._book.wait(Waiting(one.at, order.id, one.state.value))
                    break
        events.sort(key=lambda event: event.occurred_at or utc(now))
        await self._tell(events)

    async def _prices_moved(self, now: float) -> list[SourcingEvent]:
        """Those of the products that are watched, since the last time."""
        events: list[SourcingEvent] = []
        items: list[tuple[str, bytes | None]] = []
        async for key, value in self._store.scan(self._prefix + "watched/"):
            source, id_, cents = _watched().validate_json(value)
            name = ProductName(source, id_)
            try:
                goods = await self._goods(name, "")
            except ProviderError:
                continue
            price = catalogue.price(goods, "USD", now)
            moved = int(price.amount * 100)
            if moved == cents:
                continue
            items.append((key, to_json((source, id_, moved))))
            events.append(
                SourcingEvent(
                    type=SourcingEventType.PRODUCT,
                    event_id=f"price-{source}-{id_}-{now // life.HOUR:.0f}",
                    source=source,
                    vendor="demo",
                    occurred_at=utc(now // life.HOUR * life.HOUR),
                    product=demo_ref(name),
                    changed=("price",),
                    price=price,
                )
            )
        await self._store.put(items)
        return events

    async def _tell(self, events: list[SourcingEvent]) -> None:
        """Post them, signed."""
        if not events:
            return
        registered = await self._store.get(self._prefix + "webhook")
        url = registered.decode() if registered else self._url
        if not url:
            return
        now = self._clock.time()
        for at in range(0, len(events), PER_DELIVERY):
            body = to_json(events[at : at + PER_DELIVERY])
            self._deliver(url, body, webhooks.sign(body, now))


@cache
def _events() -> TypeAdapter[list[SourcingEvent]]:
    return TypeAdapter(list[SourcingEvent])


@cache
def _watched() -> TypeAdapter[tuple[str, str, int]]:
    return TypeAdapter(tuple[str, str, int])


def _fate(name: ProductName) -> Fate:
    return OUTCOMES.get(name.id[-4:], PLAIN)


def _words_key(code: int) -> str:
    # The same for all tenants: so are the answers that are cached.
    return f"demo/sourcing/words/{code % WORDS_KEPT:03}"


def _next_hour(now: float) -> float:
    return (now // life.HOUR + 1) * life.HOUR


def _orders(draft: OrderDraft, goods: Sequence[Goods], now: float, *, paid: bool, poor: bool) -> list[DemoOrder]:
    """What becomes of a draft: some platforms make an order for each store. The first pays for shipping."""
    market = Market(country=draft.address.country, currency=draft.currency)
    parcel = [(one, line.quantity) for one, line in zip(goods, draft.lines, strict=True)]
    way = _way(parcel, draft.lines, market)
    by_store = catalogue.PLATFORMS[draft.source].by_store
    stores: dict[str, list[tuple[Goods, OrderLine]]] = {}
    for one, line in zip(goods, draft.lines, strict=True):
        stores.setdefault(one.item.supplier if by_store else "", []).append((one, line))
    made: list[DemoOrder] = []
    for store in stores.values():
        cost = Decimal(0) if made else way.cost
        total, cents = catalogue.money(cost, draft.currency).amount, int(cost * 100)
        items: list[OrderedItem] = []
        for one, line in store:
            kind = catalogue.variant(one, line.variant, draft.currency, now)
            price = catalogue.variant(one, line.variant, "USD", now).price
            if kind.price is None or price is None or kind.stock is None or kind.stock < line.quantity:
                msg = f"quantity: {kind.stock} of {one.name.id} are left"
                raise ConflictError(msg, field="quantity", code="out_of_stock")
            total += kind.price.amount * line.quantity
            cents += int(price.amount * 100) * line.quantity
            items.append(
                OrderedItem(
                    product=one.name.id,
                    variant=kind.id,
                    title=one.item.title,
                    quantity=line.quantity,
                    price=kind.price,
                )
            )
        made.append(
            DemoOrder(
                id="",
                number=draft.number,
                source=draft.source,
                country=market.country,
                items=tuple(items),
                total=Money(amount=total, currency=draft.currency),
                cents=cents if draft.source in life.BALANCE else 0,
                carrier=way.carrier,
                tracked=way.tracked,
                days=life.days(way, f"{draft.number}-{len(made)}"),
                placed=now,
                paid=now if paid else None,
                poor=poor,
            )
        )
    return made


def _way(parcel: Sequence[tuple[Goods, int]], lines: Sequence[OrderLine], market: Market) -> world.Way:
    """The one that was quoted, else the cheapest."""
    ways = world.ways([(goods.item, quantity) for goods, quantity in parcel], market.country)
    code = next((line.shipping.code for line in lines if line.shipping is not None), "")
    way = next((one for one in ways if not code or one.code == code), None)
    if way is None:
        msg = f"shipping: no way {code[:60]!r} to {market.country}"
        raise InvalidRequestError(msg, field="shipping", code=NO_WAY)
    return way
