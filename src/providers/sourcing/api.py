"""Sourcing, as services hold it, and what a supplier's adapter has to provide."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, TypeVar

from providers.core.attempt import NO_PLACE
from providers.core.capability import Capability, Context, as_ref
from providers.core.clock import utc
from providers.core.errors import (
    BadResponseError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    ProviderError,
    ProviderTimeoutError,
)
from providers.core.models import RawRequest, Ref, WebhookEndpoint, WebhookResult
from providers.core.operation import Effect, Operation
from providers.core.pipeline import sign
from providers.core.telemetry import logger
from providers.core.webhooks import ReceivingAdapter, receive
from providers.sourcing import merge, ordering
from providers.sourcing.events import SourcingEvent
from providers.sourcing.models import (
    Category,
    Grant,
    Listing,
    Market,
    Offer,
    PriceOutcome,
    Product,
    ProductName,
    ProductPage,
    SearchQuery,
    ShippingQuote,
    Sort,
    Stock,
)
from providers.sourcing.orders import OrderLine, Tracking, TrackingOutcome
from providers.sourcing.search import SEARCH, Search, gathered
from providers.sourcing.suppliers import DAY, PRODUCT, SHIPPING_QUOTES, Suppliers
from providers.sourcing.urls import ref_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
    from decimal import Decimal

    from providers.core.models import Money
    from providers.core.pipeline import Target
    from providers.core.route import Route
    from providers.sourcing.orders import (
        OrderDraft,
        OrderPart,
        OrderQuote,
        OrderRequest,
        Placed,
        SupplierOrder,
        Tracking,
    )

PAGE = Operation(name="sourcing.page", effect=Effect.READ, cache=60.0)
WHOLE = Operation(name="sourcing.whole", effect=Effect.READ, cache=60.0)
PRICE = Operation(name="sourcing.price", effect=Effect.READ, result=Offer, unit="call", cache=300.0)
STOCK = Operation(name="sourcing.stock", effect=Effect.READ, result=Stock, unit="call", cache=120.0)
SEARCH_BY_IMAGE = Operation(
    name="sourcing.search_by_image", effect=Effect.READ, result=Listing, unit="call", cache=3_600.0, stale=DAY
)
CATEGORIES = Operation(
    name="sourcing.categories", effect=Effect.READ, result=list[Category], unit="call", cache=DAY, stale=7 * DAY
)
AFFILIATE_LINKS = Operation(
    name="sourcing.affiliate_links",
    effect=Effect.READ,
    result=dict[str, str],
    attempts=2,
    unit="call",
    cache=7 * DAY,
    stale=7 * DAY,
)
TRACKINGS = Operation(name="sourcing.trackings", effect=Effect.READ, unit="call", attempt_timeout=25.0)
WATCH = Operation(name="sourcing.watch", effect=Effect.IDEMPOTENT, unit="call")
ENSURE_WEBHOOK = Operation(
    name="sourcing.ensure_webhook", effect=Effect.IDEMPOTENT, result=WebhookEndpoint, unit="call", exclusive=True
)
AUTHORIZE_URL = Operation(name="sourcing.authorize_url", effect=Effect.READ)
EXCHANGE_CODE = Operation(name="sourcing.exchange_code", effect=Effect.IDEMPOTENT, result=Grant, attempts=1)

OPERATIONS = (
    SEARCH,
    PRODUCT,
    PRICE,
    STOCK,
    SHIPPING_QUOTES,
    SEARCH_BY_IMAGE,
    CATEGORIES,
    AFFILIATE_LINKS,
    TRACKINGS,
    WATCH,
    ENSURE_WEBHOOK,
    AUTHORIZE_URL,
    EXCHANGE_CODE,
    *ordering.OPERATIONS,
)

AT_ONCE = 8
"""Items of a batch in flight together, at a supplier that does not say how many it allows."""

T = TypeVar("T")


class SourcingAdapter(ReceivingAdapter[SourcingEvent], Protocol):
    """What a supplier's adapter provides. Let vendor exceptions escape; do not retry, cache or log.

    Products and orders that it returns are named by its own references: `Ref(vendor, id)`.
    """

    @property
    def affiliate(self) -> str:
        """The tracking id for which links earn a commission; `""` where there is none."""
        ...

    async def search(self, query: SearchQuery) -> Listing:
        """One page of what a search finds. Every price is in the market's currency."""
        ...

    async def product(self, name: ProductName, market: Market) -> Product:
        """All of one product. Raises `NotFoundError` for one that is not there, or not for this country."""
        ...

    async def stock(self, name: ProductName, market: Market) -> Stock:
        """How many there are of all variants."""
        ...

    async def shipping_quotes(
        self, lines: tuple[OrderLine, ...], market: Market, postal_code: str
    ) -> list[ShippingQuote]:
        """Ways to ship these together, at most `facts.limits["lines_per_quote"]`. None at all: `NotFoundError`."""
        ...

    async def search_by_image(self, image: bytes, source: str, market: Market, limit: int) -> Listing:
        """Products that look like the picture, the likeliest first."""
        ...

    async def categories(self, source: str, language: str) -> list[Category]:
        """The whole tree, parents before children."""
        ...

    async def affiliate_links(self, urls: tuple[str, ...]) -> dict[str, str]:
        """The links that earn a commission, by the product pages' URLs; those that get none are left out."""
        ...

    async def place(self, draft: OrderDraft) -> Placed:
        """Make the order, unpaid unless `draft.pay` and the supplier takes no payment afterwards."""
        ...

    async def find(self, draft: OrderDraft, since: float) -> Placed | None:
        """What the supplier has under the draft's number, made since a moment (unix time), if anything."""
        ...

    async def order(self, ref: Ref) -> OrderPart:
        """How far it is. Raises `NotFoundError`."""
        ...

    async def confirm(self, ref: Ref) -> OrderPart:
        """Make an order payable that is not yet, which may be done again; with what has to be paid."""
        ...

    async def pay(self, ref: Ref) -> OrderPart:
        """Pay it from the account's balance. Raises `RejectedError` (`insufficient_funds`) if that is too low."""
        ...

    async def cancel(self, ref: Ref) -> OrderPart:
        """Cancel it. One that is cancelled already is fine; `ConflictError` for one that is too far."""
        ...

    async def trackings(self, refs: tuple[Ref, ...]) -> list[Tracking | ProviderError]:
        """Where the parcels of these orders are, in their order; at most `facts.limits["trackings"]`."""
        ...

    async def watch(self, names: tuple[ProductName, ...]) -> None:
        """Let changes of these products be pushed; at most `facts.limits["watch"]`."""
        ...

    async def ensure_webhook(self, url: str) -> WebhookEndpoint:
        """Have everything pushed to this URL."""
        ...

    def authorize_url(self, redirect_uri: str, state: str) -> str:
        """The page at which an account's owner agrees."""
        ...

    async def exchange_code(self, code: str) -> Grant:
        """The tokens for the code that this page gave."""
        ...


class Sourcing(Capability[SourcingAdapter]):
    """Finds products at suppliers, watches their prices, orders them and follows the parcels. Safe to share.

    Every operation takes `timeout=` (seconds, the whole call) and raises the errors of `providers.errors`. Reads are
    cached: `fresh=True` asks the supplier. A product is named by its reference, that one's text, or its URL; URLs are
    read, never fetched.
    """

    name = "sourcing"

    def __init__(self, route: Route[SourcingAdapter], context: Context) -> None:
        super().__init__(route, context)
        self._suppliers = Suppliers(route, context)
        self._ordering = ordering.Ordering(self._suppliers)

    @property
    def sources(self) -> tuple[str, ...]:
        """The supplier platforms that can be asked here."""
        return self._suppliers.names

    def ref(self, url: str) -> Ref:
        """The product that a supplier's URL names, in any mode, without asking anybody.

        Pages for other languages, phones and campaigns are understood. Raises `InvalidRequestError` (`url`) for other
        sites, links that lead elsewhere, and what only looks like a supplier's address.
        """
        return ref_of(url)

    async def search(
        self,
        query: str,
        *,
        source: str | None = None,
        page: int = 1,
        page_size: int = 20,
        country: str,
        currency: str = "USD",
        language: str = "en",
        sort: Sort | str = Sort.RELEVANCE,
        price_min: Decimal | None = None,
        price_max: Decimal | None = None,
        category: str | None = None,
        timeout: float | None = None,
        fresh: bool = False,
    ) -> ProductPage:
        """Products that fit words, from one supplier or from all, 1 to 100 a page.

        Suppliers take turns in the merged list, or it is sorted by price. Its pages do not overlap or skip while the
        answer to page 1 is cached (15 minutes); a supplier that failed then is left out of the pages that follow. What
        failed is in `errors`; raises only when all did. `category` is an id of one `source`.
        """
        asked = (query, source, page, page_size, country, currency, language, sort, price_min, price_max, category)

        async def compose() -> ProductPage:
            market = Market(country=country, currency=currency, language=language)
            if source is None and category is not None:
                msg = "category: an id of one supplier; say which by source="
                raise InvalidRequestError(msg, field="category")
            sources = (self._suppliers.known(source),) if source is not None else self.sources
            base = SearchQuery.model_validate(
                {
                    "source": sources[0],
                    "text": query,
                    "market": market,
                    "page": page,
                    "page_size": page_size,
                    "sort": sort,
                    "price_min": price_min,
                    "price_max": price_max,
                    "category": category,
                }
            )
            deadline = self._suppliers.deadline(SEARCH.timeout if timeout is None else timeout)
            found = await Search(self._suppliers, base, sources, deadline=deadline, fresh=fresh).page()
            return await self._with_links(found, deadline)

        return await self._route.composed(
            PAGE, compose, payload=asked, fresh=fresh, whole=lambda found: not found.errors
        )

    async def product(
        self,
        ref: Ref | str,
        *,
        country: str,
        currency: str = "USD",
        language: str = "en",
        shipping: bool = True,
        timeout: float | None = None,
        fresh: bool = False,
    ) -> Product:
        """All of one product. `shipping` asks for the cheapest way of one piece, too: None where that fails.

        Raises `NotFoundError` for one that is not there or not sold to this country.
        """

        async def compose() -> Product:
            market = Market(country=country, currency=currency, language=language)
            name = self._suppliers.name_of(ref)
            deadline = self._suppliers.deadline(PRODUCT.timeout if timeout is None else timeout)
            found = await self._suppliers.details(name, market, timeout=timeout, fresh=fresh)
            if shipping and found.shipping is None:
                found = await self._with_shipping(found, name, market, deadline, fresh=fresh)
            target = self._suppliers.target(name.source)
            if found.affiliate_url is None and "affiliate_links" not in target.facts.unsupported:
                links = await self._links(target, (found.url,), self._suppliers.left(deadline))
                found = found.model_copy(update={"affiliate_url": links.get(found.url)}) if links else found
            return found

        return await self._route.composed(
            WHOLE,
            compose,
            payload=(str(ref), country, currency, language, shipping),
            fresh=fresh,
            whole=lambda found: found.shipping is not None or not shipping,
        )

    async def prices(
        self,
        refs: Iterable[Ref | str],
        *,
        country: str,
        currency: str = "USD",
        timeout: float | None = None,
        fresh: bool = False,
    ) -> list[PriceOutcome]:
        """What products cost now, in order; never raises for one of them. All suppliers are asked at once.

        As fast as each supplier's limits allow. `timeout` is for the whole batch (default: none): what is not known
        then has a `ProviderTimeoutError`.
        """
        market = Market(country=country, currency=currency)
        asked = list(refs)

        async def ask(name: ProductName, seconds: float | None) -> Offer:
            return await self._offer(name, market, timeout=seconds, fresh=fresh)

        found = await self._each(asked, ask, timeout, "sourcing.prices")
        now = utc(self.context.clock.time())
        return [
            PriceOutcome(index=index, ref=ref, price=one.price, stock=one.stock, checked_at=one.checked_at)
            if isinstance(one, Offer)
            else PriceOutcome(index=index, ref=ref, error=one, reason=str(one), checked_at=now)
            for index, (ref, one) in enumerate(found)
        ]

    async def stock(self, ref: Ref | str, *, country: str, timeout: float | None = None, fresh: bool = False) -> Stock:
        """How many there are for this country, by variant and warehouse."""
        name, market = self._suppliers.name_of(ref), Market(country=country)
        return await self._route.one(
            STOCK,
            self._suppliers.target(name.source).facts.vendor,
            lambda adapter: adapter.stock(name, market),
            payload=(name, market),
            timeout=timeout,
            fresh=fresh,
        )

    async def shipping_quotes(
        self,
        ref: Ref | str,
        *,
        variant: str | None = None,
        quantity: int = 1,
        country: str,
        currency: str = "USD",
        postal_code: str = "",
        timeout: float | None = None,
        fresh: bool = False,
    ) -> list[ShippingQuote]:
        """Ways to ship so many of a variant (default: the cheapest in stock), the cheapest first.

        Empty where the supplier ships nothing there.
        """
        name, market = self._suppliers.name_of(ref), Market(country=country, currency=currency)
        deadline = self._suppliers.deadline(timeout)
        if quantity < 1:
            msg = "quantity: at least 1"
            raise InvalidRequestError(msg, field="quantity")
        if variant is None:
            found = (await self._suppliers.details(name, market, timeout=timeout, fresh=fresh)).variant(None)
            if found is None:
                msg = "variant: the product has none that can be ordered"
                raise NotFoundError(msg, field="variant")
            variant = found.id
        line = OrderLine(product=name, variant=variant, quantity=quantity)
        return await self._suppliers.quotes(
            (line,), market, postal_code, timeout=self._suppliers.left(deadline), fresh=fresh
        )

    async def quote_order(self, request: OrderRequest, *, timeout: float | None = None) -> OrderQuote:
        """What an order would cost, part by part; nothing is ordered. Taxes that suppliers add are not in it."""
        return await self._ordering.quote(request, self._suppliers.deadline(timeout))

    async def place_order(self, request: OrderRequest, *, timeout: float | None = None) -> SupplierOrder:
        """Order at each supplier what it has of the items. The same key never orders twice.

        All is priced anew first; beyond `max_total` nothing is ordered: `BudgetExceededError` (`max_total`). Parts
        that fail are in `parts` with their `error`, the others are ordered; a repeat with the same key orders what is
        missing. Raises when nothing was ordered at all. What may have been ordered is looked up at the supplier, now
        and at every repeat; where that is not possible or finds nothing it stays unknown: see `unknowns`.
        """
        return await self._ordering.place(request, self._suppliers.deadline(timeout))

    async def pay(
        self, ref: Ref | str, *, max_total: Money | None = None, timeout: float | None = None
    ) -> SupplierOrder:
        """Pay an order from the account's balance at the supplier, once. One that is paid already is fine.

        Beyond `max_total` nothing is paid: `BudgetExceededError`. Raises `RejectedError` with the code
        `insufficient_funds` when the balance is too low.
        """
        return await self._ordering.pay(as_ref(ref), max_total, self._suppliers.deadline(timeout))

    async def order(self, ref: Ref | str, *, timeout: float | None = None, fresh: bool = False) -> SupplierOrder:
        """One supplier's order: `ref` is one of `SupplierOrder.refs`. Raises `NotFoundError`."""
        return await self._ordering.order(as_ref(ref), timeout=timeout, fresh=fresh)

    async def cancel_order(self, ref: Ref | str, *, timeout: float | None = None) -> SupplierOrder:
        """Cancel one supplier's order. Raises `ConflictError` when it is too far for that."""
        return await self._ordering.cancel(as_ref(ref), timeout=timeout)

    async def tracking(self, ref: Ref | str, *, timeout: float | None = None, fresh: bool = False) -> Tracking:
        """Where an order's parcel is. One that was not shipped yet is `PENDING`. Raises `NotFoundError`."""
        (found,) = await self._trackings((as_ref(ref),), timeout=timeout, fresh=fresh)
        if isinstance(found, ProviderError):
            raise found
        return found

    async def trackings(
        self, refs: Iterable[Ref | str], *, timeout: float | None = None, fresh: bool = False
    ) -> list[TrackingOutcome]:
        """Where parcels are, in order; never raises for one of them. `timeout` is for the whole batch."""
        asked = list(refs)
        outcomes: list[TrackingOutcome] = []
        chunks: dict[str, list[list[tuple[int, Ref]]]] = {}
        for index, ref in enumerate(asked):
            name: Ref | None = None
            try:
                name = as_ref(ref)
                facts = self._route.target(name.vendor).facts
            except ProviderError as error:
                outcomes.append(TrackingOutcome(index=index, ref=name, error=error, reason=str(error)))
                continue
            late = _not_asked(TRACKINGS.name)
            outcomes.append(TrackingOutcome(index=index, ref=name, error=late, reason=str(late)))
            lists = chunks.setdefault(name.vendor, [[]])
            if len(lists[-1]) >= facts.limits.get("trackings", 1):
                lists.append([])
            lists[-1].append((index, name))

        async def ask(chunk: list[tuple[int, Ref]], seconds: float | None) -> None:
            try:
                found: Sequence[Tracking | ProviderError] = await self._trackings(
                    tuple(ref for _, ref in chunk), timeout=seconds, fresh=fresh
                )
            except ProviderError as error:
                if _out_of_time(error, seconds):
                    return
                found = [error] * len(chunk)
            for (index, ref), one in zip(chunk, found, strict=True):
                outcomes[index] = (
                    TrackingOutcome(index=index, ref=ref, error=one, reason=str(one))
                    if isinstance(one, ProviderError)
                    else TrackingOutcome(index=index, ref=ref, tracking=one)
                )

        await self._at_once(chunks, ask, timeout)
        return outcomes

    async def search_by_image(
        self,
        image: bytes,
        *,
        source: str | None = None,
        country: str,
        currency: str = "USD",
        language: str = "en",
        limit: int = 20,
        timeout: float | None = None,
        fresh: bool = False,
    ) -> ProductPage:
        """Products that look like a picture (JPEG, PNG or WebP bytes), from one supplier or all that can; one page."""
        market = Market(country=country, currency=currency, language=language)
        if not image:
            msg = "image: empty"
            raise InvalidRequestError(msg, field="image")
        sources = (self._suppliers.known(source),) if source is not None else self.sources
        deadline = self._suppliers.deadline(SEARCH_BY_IMAGE.timeout if timeout is None else timeout)

        async def ask(one: str) -> Listing:
            target = self._suppliers.target(one)
            longest = target.facts.limits.get("image_bytes")
            if longest is not None and len(image) > longest:
                msg = f"image: {len(image)} bytes, more than the {longest} that {target.facts.title} takes"
                raise InvalidRequestError(msg, field="image", code="too_long")
            return await self._route.one(
                SEARCH_BY_IMAGE,
                target.facts.vendor,
                lambda adapter: adapter.search_by_image(image, one, market, limit),
                payload=(image, one, market, limit),
                timeout=self._suppliers.left(deadline),
                fresh=fresh,
            )

        listings, errors = await gathered(sources, ask)
        totals = {one: len(listing.items) for one, listing in listings.items()}
        turns = merge.turns(totals, 0, limit)
        items = tuple(listings[one].items[place] for one, place in turns)
        page = ProductPage(
            items=items, total=sum(totals.values()), page=1, page_size=limit, errors=errors, totals=dict(totals)
        )
        return await self._with_links(page, deadline)

    async def categories(
        self, source: str | None = None, *, language: str = "en", timeout: float | None = None, fresh: bool = False
    ) -> list[Category]:
        """A supplier's categories (default: the first supplier's), parents before children."""
        known = self._suppliers.known(source) if source is not None else self.sources[0]
        return await self._route.one(
            CATEGORIES,
            self._suppliers.target(known).facts.vendor,
            lambda adapter: adapter.categories(known, language),
            payload=(known, language),
            timeout=timeout,
            fresh=fresh,
        )

    async def watch(self, refs: Iterable[Ref | str], *, timeout: float | None = None) -> None:
        """Let suppliers that push changes push those of these products; see `webhook`.

        Raises `UnsupportedOperationError` for products of one that pushes nothing.
        """
        deadline = self._suppliers.deadline(timeout)
        named: dict[str, list[ProductName]] = {}
        for ref in refs:
            name = self._suppliers.name_of(ref)
            named.setdefault(self._suppliers.target(name.source).facts.vendor, []).append(name)
        for vendor, names in named.items():
            size = self._route.target(vendor).facts.limits.get("watch", len(names))
            for start in range(0, len(names), size):
                some = tuple(names[start : start + size])
                await self._route.one(
                    WATCH, vendor, _watching(some), payload=some, timeout=self._suppliers.left(deadline)
                )

    async def webhook(
        self, request: RawRequest, *, vendor: str | None = None, timeout: float | None = None
    ) -> WebhookResult[SourcingEvent]:
        """Verify a supplier's request on its raw bytes, then read its messages. Raises `WebhookVerificationError`.

        Messages are hints, and may come twice. An order of unknown outcome that one tells of is settled.
        """
        with self._within(timeout, "sourcing.webhook"):
            result: WebhookResult[SourcingEvent] = await receive(
                self._route, request, vendor, operation="sourcing.webhook"
            )
            for event in result.events:
                await self._ordering.learn(event)
            return result

    async def ensure_webhook(
        self, url: str, *, vendor: str | None = None, timeout: float | None = None
    ) -> WebhookEndpoint:
        """Have a supplier push its messages to this URL (https); `secret` verifies them."""
        return await self._route.one(
            ENSURE_WEBHOOK,
            self._able("ensure_webhook", vendor),
            lambda adapter: adapter.ensure_webhook(url),
            payload=url,
            timeout=timeout,
        )

    async def authorize_url(self, *, vendor: str | None = None, redirect_uri: str, state: str) -> str:
        """The page at which a supplier account's owner agrees; it leads to `redirect_uri` with `code` and `state`."""

        async def ask(adapter: SourcingAdapter) -> str:
            return adapter.authorize_url(redirect_uri, state)

        return await self._route.one(AUTHORIZE_URL, self._able("authorize_url", vendor), ask)

    async def exchange_code(self, code: str, *, vendor: str | None = None, timeout: float | None = None) -> Grant:
        """The tokens for a code, which can be used once, within minutes. Store `values` with the tenant."""
        able = self._able("exchange_code", vendor)
        return await self._route.one(EXCHANGE_CODE, able, lambda adapter: adapter.exchange_code(code), timeout=timeout)

    def _able(self, operation: str, vendor: str | None) -> str:
        """The vendor that is named, or else the first that can."""
        able = (one.facts.vendor for one in self._route.targets if operation not in one.facts.unsupported)
        return vendor or next(able, self._route.targets[0].facts.vendor)

    async def _offer(self, name: ProductName, market: Market, *, timeout: float | None, fresh: bool) -> Offer:
        async def ask(adapter: SourcingAdapter) -> Offer:
            found = await adapter.product(name, market)
            if found.price is None:
                msg = "the supplier gives no price"
                raise BadResponseError(msg, code="price", outcome=Outcome.NOT_APPLIED, repeatable=False)
            return Offer(price=found.price, stock=found.stock, checked_at=found.fetched_at)

        return await self._route.one(
            PRICE,
            self._suppliers.target(name.source).facts.vendor,
            ask,
            payload=(name, market),
            timeout=timeout,
            fresh=fresh,
        )

    async def _with_shipping(
        self, product: Product, name: ProductName, market: Market, deadline: float | None, *, fresh: bool
    ) -> Product:
        variant = product.variant(None)
        if variant is None:
            return product
        line = OrderLine(product=name, variant=variant.id)
        try:
            found = await self._suppliers.quotes((line,), market, timeout=self._suppliers.left(deadline), fresh=fresh)
        except ProviderError as error:
            logger.warning("what it costs to ship %s is not known: %r", product.ref, error)
            return product
        return product.model_copy(update={"shipping": found[0]}) if found else product

    async def _with_links(self, page: ProductPage, deadline: float | None) -> ProductPage:
        links: dict[str, str] = {}
        for target in self._route.targets:
            if "affiliate_links" not in target.facts.unsupported:
                urls = tuple(item.url for item in page.items if item.ref.vendor == target.facts.vendor)
                links |= await self._links(target, urls, self._suppliers.left(deadline))
        if not links:
            return page
        items = tuple(
            item.model_copy(update={"affiliate_url": links[item.url]}) if item.url in links else item
            for item in page.items
        )
        return page.model_copy(update={"items": items})

    async def _links(
        self, target: Target[SourcingAdapter], urls: tuple[str, ...], timeout: float | None
    ) -> Mapping[str, str]:
        """Links that earn a commission; none is no reason to have no products."""
        if not urls:
            return {}
        try:
            adapter = target.adapter or await target.ready()
            if not adapter.affiliate:
                return {}
            return await self._route.one(
                AFFILIATE_LINKS,
                target.facts.vendor,
                lambda adapter: adapter.affiliate_links(urls),
                payload=(adapter.affiliate, urls),
                timeout=timeout,
            )
        except ProviderError as error:
            logger.warning("no affiliate links: %r", error)
            return {}

    async def _trackings(
        self, refs: tuple[Ref, ...], *, timeout: float | None, fresh: bool
    ) -> list[Tracking | ProviderError]:
        found = await self._route.one(
            TRACKINGS, refs[0].vendor, lambda adapter: adapter.trackings(refs), timeout=timeout, fresh=fresh
        )
        target = self._route.target(refs[0].vendor)
        for one in found:
            if isinstance(one, ProviderError):
                sign(one, target, TRACKINGS.name)
        return found

    async def _each(
        self,
        refs: Sequence[Ref | str],
        ask: Callable[[ProductName, float | None], Awaitable[T]],
        timeout: float | None,
        operation: str,
    ) -> list[tuple[Ref | None, T | ProviderError]]:
        """Each distinct product asked once, as fast as its supplier allows; the answers in the order given."""
        names: list[ProductName | ProviderError] = []
        answers: dict[ProductName, T | ProviderError] = {}
        waiting: dict[str, list[ProductName]] = {}
        for ref in refs:
            try:
                name = self._suppliers.name_of(ref)
                vendor = self._suppliers.target(name.source).facts.vendor
            except ProviderError as error:
                names.append(error)
                continue
            names.append(name)
            if name not in answers:
                answers[name] = _not_asked(operation)
                waiting.setdefault(vendor, []).append(name)

        async def one(name: ProductName, seconds: float | None) -> None:
            try:
                answers[name] = await ask(name, seconds)
            except ProviderError as error:
                if not _out_of_time(error, seconds):
                    answers[name] = error

        await self._at_once(waiting, one, timeout)
        return [
            (None, name) if isinstance(name, ProviderError) else (self._suppliers.ref(name), answers[name])
            for name in names
        ]

    async def _at_once(
        self,
        waiting: Mapping[str, list[T]],
        ask: Callable[[T, float | None], Awaitable[None]],
        timeout: float | None,
    ) -> None:
        """Work through each vendor's list, so many at once as it allows, until the deadline."""
        deadline = self._suppliers.deadline(timeout)

        async def work(items: Iterator[T]) -> None:
            for item in items:
                left = self._suppliers.left(deadline)
                if left is not None and left <= 0:
                    return
                await ask(item, left)

        workers: list[asyncio.Task[None]] = []
        for vendor, items in waiting.items():
            places = self._route.target(vendor).facts.concurrency or AT_ONCE
            queue = iter(items)
            workers += [asyncio.create_task(work(queue)) for _ in range(min(places, len(items)))]
        try:
            await asyncio.gather(*workers)
        finally:
            # A bug in one of them ends the others, too.
            for worker in workers:
                worker.cancel()


def _out_of_time(error: ProviderError, seconds: float | None) -> bool:
    """Whether an item was not asked because its place would come after the batch's deadline."""
    return seconds is not None and error.code == NO_PLACE


def _not_asked(operation: str) -> ProviderError:
    return ProviderTimeoutError("not asked in time", operation=operation, code="timeout", outcome=Outcome.NOT_APPLIED)


def _watching(names: tuple[ProductName, ...]) -> Callable[[SourcingAdapter], Awaitable[None]]:
    return lambda adapter: adapter.watch(names)
