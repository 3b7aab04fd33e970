"""Made-up suppliers: what they sell, how they fail and what they were asked is as a test says."""

import asyncio
import json
from collections import Counter, defaultdict, deque
from decimal import Decimal

import pytest

from providers import Money, Providers, Ref, Settings, WebhookResult, catalog
from providers.core.clock import utc
from providers.core.models import CheckResult, CheckState
from providers.core.operation import Variable, VendorFacts
from providers.core.store import MemoryStore
from providers.errors import ConflictError, NotFoundError, RejectedError
from providers.sourcing import (
    Address,
    Listing,
    OrderItem,
    OrderPart,
    OrderRequest,
    OrderState,
    Placed,
    Product,
    ShippingQuote,
    Sort,
    SourcingEvent,
    Stock,
    Tracking,
    TrackingState,
    Variant,
)
from providers.sourcing.facts import CATALOGUE
from providers.sourcing.models import NO_WAY
from providers.testing.clock import ManualClock


class Entry:
    """An installed entry point, as `importlib.metadata` would give it."""

    def __init__(self, kind):
        self._kind = kind

    def load(self):
        return self._kind


def usd(amount, currency="USD"):
    return Money(amount=Decimal(amount), currency=currency)


class Supplier:
    """A supplier with a memory. All adapters of one test share it.

    `script[operation]` holds what the next calls do first: an error to raise, a function to await, None for nothing;
    `after[operation]` the same for when it was done, so that the answer is lost. `found` are the prices of what a
    search finds. Any product id answers: 10 USD, a variant `v1`, 100 pieces, unless `goods` has fields for the id.
    Shipping is `ways`, 2 USD by `std` unless told otherwise.
    """

    facts: VendorFacts

    def __init_subclass__(cls):
        cls.calls, cls.made, cls.adapters = [], [], []
        cls.script, cls.after = defaultdict(deque), defaultdict(deque)
        cls.found, cls.says_total, cls.exact = [], True, True
        cls.goods, cls.ways = {}, [("std", "2.00"), ("fast", "9.00")]
        cls.split, cls.tells_total, cls.surcharge, cls.balance = 1, True, Decimal(0), Decimal(1000)
        cls.in_flight = cls.most_in_flight = 0

    def __init__(self, account):
        self.account = account
        self.adapters.append(self)

    @classmethod
    def count(cls, operation):
        return Counter(name for name, _ in cls.calls)[operation]

    @classmethod
    def asked(cls, operation):
        return [what for name, what in cls.calls if name == operation]

    @classmethod
    async def called(cls, operation, times=1):
        """Let others run until it has been called so often."""
        for _ in range(2000):
            if cls.count(operation) >= times:
                return
            await asyncio.sleep(0)
        pytest.fail(f"{cls.facts.vendor} was not called: {operation}")

    async def _play(self, operation, what):
        kind = type(self)
        kind.calls.append((operation, what))
        kind.in_flight += 1
        kind.most_in_flight = max(kind.most_in_flight, kind.in_flight)
        try:
            await self._step(kind.script[operation])
        finally:
            kind.in_flight -= 1

    async def _step(self, steps):
        if steps:
            step = steps.popleft()
            if isinstance(step, BaseException):
                raise step
            if step is not None:
                await step()

    def translate(self, error):
        return None

    async def check(self):
        return CheckResult(vendor=self.facts.vendor, state=CheckState.OK)

    async def aclose(self):
        return None

    @property
    def affiliate(self):
        return self._tracking_id

    @property
    def _tracking_id(self):
        return self.account.get(self.facts.vendor.upper() + "_TRACKING")

    def _now(self):
        return utc(self.account.clock.time())

    def _product(self, id_, **fields):
        vendor = self.facts.vendor
        told = {
            "ref": Ref(vendor=vendor, id=id_),
            "source": vendor,
            "source_id": id_,
            "title": f"{vendor} {id_}",
            "url": f"https://{vendor}.example.com/{id_}",
            "price": usd("10.00"),
            "stock": 100,
            "fetched_at": self._now(),
        }
        return Product(**{**told, **fields})

    async def search(self, query):
        await self._play("search", query)
        prices = list(enumerate(self.found))
        if query.sort in {Sort.PRICE_UP, Sort.PRICE_DOWN} and self.exact:
            down = query.sort is Sort.PRICE_DOWN
            prices.sort(key=lambda one: (one[1] is None, Decimal(one[1] or 0) * (-1 if down else 1)))
        start = (query.page - 1) * query.page_size
        items = tuple(
            self._product(str(number), price=None if price is None else usd(price, query.market.currency))
            for number, price in prices[start : start + query.page_size]
        )
        return Listing(items=items, total=len(self.found) if self.says_total else None)

    async def product(self, name, market):
        await self._play("product", name)
        fields = {"currency": market.currency, "price": "10.00", "stock": 100} | self.goods.get(name.id, {})
        if fields.pop("gone", False):
            raise NotFoundError("no such product", code="gone")
        currency, amount = fields.pop("currency"), fields.pop("price")
        price = None if amount is None else usd(amount, currency)
        fields.setdefault("variants", (Variant(id="v1", name="One", sku="s1", price=price, stock=fields["stock"]),))
        return self._product(name.id, price=price, **fields)

    async def stock(self, name, market):
        await self._play("stock", name)
        return Stock(ref=Ref(vendor=self.facts.vendor, id=name.id), total=100, levels=(), checked_at=self._now())

    async def shipping_quotes(self, lines, market, postal_code):
        await self._play("shipping_quotes", lines)
        if not self.ways:
            raise NotFoundError("nothing goes there", code=NO_WAY)
        return [ShippingQuote(code=code, method=code, cost=usd(cost, market.currency)) for code, cost in self.ways]

    async def search_by_image(self, image, source, market, limit):
        await self._play("search_by_image", image)
        return Listing(items=tuple(self._product(str(number)) for number in range(len(self.found))[:limit]))

    async def categories(self, source, language):
        await self._play("categories", source)
        return []

    async def affiliate_links(self, urls):
        await self._play("affiliate_links", urls)
        return {url: f"{url}?aff={self._tracking_id}" for url in urls}

    async def place(self, draft):
        await self._play("place", draft)
        goods = sum((line.price.amount * line.quantity for line in draft.lines), Decimal(0))
        shipping = draft.lines[0].shipping.cost.amount
        total = usd((goods + shipping + self.surcharge) / self.split, draft.currency)
        orders = [
            OrderPart(
                source=self.facts.vendor,
                state=OrderState.UNPAID,
                ref=Ref(vendor=self.facts.vendor, id=f"{self.facts.vendor}-{len(self.made) + number}"),
                number=draft.number,
                total=total,
                paid=False,
                placed_at=self._now(),
            )
            for number in range(1, self.split + 1)
        ]
        self.made.extend(orders)
        await self._step(self.after["place"])
        hidden = {} if self.tells_total else {"total": None}
        return Placed(orders=tuple(one.model_copy(update=hidden) for one in orders))

    async def find(self, draft, since):
        await self._play("find", draft)
        found = tuple(one for one in self.made if one.number == draft.number)
        return Placed(orders=found) if found else None

    def _at(self, ref):
        place = next((index for index, one in enumerate(self.made) if one.ref == ref), None)
        if place is None:
            raise NotFoundError("no such order")
        return place

    def _change(self, ref, **fields):
        place = self._at(ref)
        self.made[place] = self.made[place].model_copy(update=fields)
        return self.made[place]

    async def order(self, ref):
        await self._play("order", ref)
        return self.made[self._at(ref)]

    async def confirm(self, ref):
        await self._play("confirm", ref)
        return self.made[self._at(ref)]

    async def pay(self, ref):
        await self._play("pay", ref)
        order = self.made[self._at(ref)]
        if order.paid:
            raise ConflictError("paid already")
        if order.total.amount > self.balance:
            raise RejectedError("the balance is too low", code="insufficient_funds")
        type(self).balance -= order.total.amount
        order = self._change(ref, paid=True, state=OrderState.PROCESSING)
        await self._step(self.after["pay"])
        return order

    async def cancel(self, ref):
        await self._play("cancel", ref)
        return self._change(ref, state=OrderState.CANCELLED)

    async def trackings(self, refs):
        await self._play("trackings", refs)
        return [
            NotFoundError("no such order")
            if ref.id.startswith("none")
            else Tracking(ref=ref, state=TrackingState.IN_TRANSIT, number="T" + ref.id)
            for ref in refs
        ]

    def recognises(self, request):
        return request.headers.get("x-from") == self.facts.vendor

    async def webhook(self, request):
        told = json.loads(request.body)
        event = SourcingEvent(
            type="order",
            event_id="e1",
            source=self.facts.vendor,
            vendor=self.facts.vendor,
            order=Ref.parse(told["order"]),
            number=told["number"],
            state=OrderState.UNPAID,
        )
        return WebhookResult(events=(event,))


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def supplier(monkeypatch):
    """Install a made-up supplier by name, also by that of a real one; what else it is given are facts."""
    installed = {}
    built_in = catalog.built_in

    def others(name):
        facts = built_in(name)
        return {vendor: each for vendor, each in facts.items() if f"{name}.{vendor}" not in installed}

    monkeypatch.setattr(catalog, "_plugins", lambda: installed)
    monkeypatch.setattr(catalog, "built_in", others)

    def install(name, **facts):
        limits = {"page_size": 100, "trackings": 3, "lines_per_quote": 50} | facts.pop("limits", {})
        variables = (
            Variable(name=name.upper() + "_KEY", purpose="API key", secret=True),
            Variable(name=name.upper() + "_TRACKING", purpose="tracking id", required=False),
        )
        entry = VendorFacts(
            vendor=name,
            capability="sourcing",
            title=name.title(),
            adapter="",
            variables=variables,
            limits=limits,
            **{"shared": CATALOGUE, **facts},
        )
        kind = type(name.title() + "Supplier", (Supplier,), {"facts": entry})
        installed[f"sourcing.{name}"] = Entry(kind)
        return kind

    return install


@pytest.fixture
def live(clock):
    """Open `Providers` on made-up suppliers, in order, with time by hand and nothing from this machine."""

    def opened(vendors="alpha", *, store=None, at=None, environ=None, **settings):
        keys = {name.strip().upper() + "_KEY": f"{name}-key-value" for name in vendors.split(",")}
        settings = Settings(
            mode="live", vendors={"sourcing": vendors}, environ=keys | (environ or {}), env_file=None, **settings
        )
        return Providers(settings, clock=at or clock, store=store or MemoryStore(at or clock), hooks=())

    return opened


@pytest.fixture
def order():
    """A customer's order: of products by reference, or of whole items."""
    address = Address(
        name="Ann Lee", line1="1 Main St", city="Austin", region="Texas", postal_code="73301", country="US"
    )

    def made(*items, key="order-1", **fields):
        listed = tuple(item if isinstance(item, OrderItem) else OrderItem(ref=item) for item in items)
        return OrderRequest(**{"items": listed, "address": address, "idempotency_key": key} | fields)

    return made
