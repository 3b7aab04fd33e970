"""What every supplier's adapter must do, whatever the vendor: the demo, live vendors, and those of other packages.

    class TestBazaar(SourcingConformance):
        @pytest.fixture
        def harness(self) -> Iterator[SourcingHarness]:
            with BazaarServer() as server:
                yield SourcingHarness(
                    open=lambda *, webhook_url="", **parts: Providers(settings(server, webhook_url), **parts),
                    missing="404",
                    ids=("1", "999999"),
                )

Each test opens its own `Providers` and goes through `providers.sourcing`, never to the adapter directly.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractContextManager, AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs, urlsplit

import pytest

from providers.core.errors import (
    BudgetExceededError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    ProviderError,
    ProviderTimeoutError,
    RejectedError,
    UnsupportedOperationError,
    WebhookVerificationError,
)
from providers.core.models import Money, RawRequest, Ref
from providers.core.store import MemoryStore
from providers.core.writes import Resolution
from providers.sourcing.events import SourcingEvent, SourcingEventType
from providers.sourcing.models import Product, ProductPage, ShippingQuote, Sort
from providers.sourcing.orders import Address, OrderItem, OrderRequest, OrderState, SupplierOrder, TrackingState
from providers.testing.clock import ManualClock
from providers.testing.conformance._inbox import Inbox
from providers.testing.conformance._suite import (
    PATIENCE,
    ReceivingConformance,
    check_model,
    collect,
    cut_off,
    declared,
    invalid,
    needed,
    needs,
    only_what_was_signed,
    pickles,
    proven,
    run,
)

if TYPE_CHECKING:
    from providers.core.operation import VendorFacts
    from providers.runtime import Providers, Scope
    from providers.sourcing.api import SourcingAdapter
    from providers.testing.conformance._suite import SlowCalls

QUERY = "yoga mat"
DAY = 86_400.0

PICTURE = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc0000003"
    "010100c9fe92ef0000000049454e44ae426082"
)
"""A PNG of one red pixel."""

ANA: dict[str, str] = {
    "name": "Ana Brown",
    "line1": "1200 Congress Ave",
    "line2": "Apt 4",
    "city": "Austin",
    "region": "Texas",
    "postal_code": "78701",
    "country": "US",
    "phone": "+15125550123",
}


async def nothing_to_do(*_: object) -> None:
    """The vendor does it by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcingHarness:
    """An adapter under test, and what the suite needs from the world around it.

    Attributes:
        open: a new `Providers` whose `sourcing` has this adapter as its only vendor. Called several times in one test:
            all share the vendor's account. The keywords go to `Providers(...)` (`clock=`, `store=`), but for
            `webhook_url=`: where the vendor shall deliver its messages; given only where it `delivers`.
        clock: the clock that the suite passes to `open`; a local server should go by it too.
        source: the platform that is asked, where the adapter serves several; default: the vendor's name.
        missing: an id of a product that is not there.
        ids: well-formed ids of products, any.
        links: addresses of products at the vendor's site, in all the forms that they have, with their ids.
        closed: a country that nothing is shipped to; None where the vendor ships everywhere.
        placed: how many orders the vendor has made. None where nobody can tell.
        paid: let an order be paid, where the vendor takes no payment from here.
        ship, deliver: let the vendor hand an order over to the carrier; let the parcel arrive.
        sold_out: let a product be gone by the time it is ordered, though it is shown; returns the one to order.
        poor: let the account's balance be too low.
        stalled: while the context is open, the vendor answers nothing. None where it cannot be stopped.
        cut: the connection breaks once, before the vendor takes the next order.
        lost: the connection breaks once, after the vendor has made the next order and before it answers.
        code: a code as the vendor's page of consent gives it.
        unknown_event: a request, signed by the vendor, with one message of a type that nobody has heard of.
        delivers: whether the vendor's messages reach a port on this machine.

    """

    open: Callable[..., Providers]
    clock: ManualClock = field(default_factory=ManualClock)
    source: str = ""
    missing: str
    ids: Sequence[str]
    links: Sequence[tuple[str, str]] = ()
    closed: str | None = None
    placed: Callable[[Providers], Awaitable[int]] | None = None
    paid: Callable[[Providers, Ref], Awaitable[None]] | None = None
    ship: Callable[[Providers, Ref], Awaitable[None]] | None = None
    deliver: Callable[[Providers, Ref], Awaitable[None]] | None = None
    sold_out: Callable[[Providers], Awaitable[Ref]] | None = None
    poor: Callable[[Providers], Awaitable[Ref]] | None = None
    stalled: Callable[[], AbstractContextManager[object]] | None = None
    cut: Callable[[Providers], object] | None = None
    lost: Callable[[Providers], object] | None = None
    code: Callable[[], str] | None = None
    unknown_event: Callable[[], RawRequest] | None = None
    delivers: bool = True


class SourcingConformance(ReceivingConformance["SourcingHarness"]):
    """The promises of `providers.sourcing`. Subclasses give the fixture `harness`."""

    capability = "sourcing"

    async def simplest(self, providers: Providers) -> object:
        """See `CapabilityConformance`."""
        return await providers.sourcing.search(QUERY, country="US", page_size=5)

    unsigned = (b'{"type": "ORDER"}',)

    async def receives(self, providers: Providers) -> bool:
        """See `ReceivingConformance`."""
        return not await unable(providers, "webhook")

    async def slow_calls(self, harness: SourcingHarness, providers: Providers, within: float) -> SlowCalls:
        """Reading as well as ordering."""
        sourcing = providers.sourcing
        request = await an_order(harness, providers)
        yield "sourcing.search", sourcing.search("lamp", country="US", timeout=within)
        # Limits and pauses after failures are over by then.
        harness.clock.advance(120)
        yield "sourcing.product", sourcing.product(request.items[0].ref, country="DE", timeout=within)
        harness.clock.advance(120)
        yield None, sourcing.place_order(request, timeout=within)

    # Searching.

    def test_a_search_finds_what_was_searched(self, harness: SourcingHarness) -> None:
        """Products of this source, with a price in the market's currency, each at an address that names it."""

        async def scenario(providers: Providers) -> None:
            source = source_of(harness, providers)
            page = await search(harness, providers, page_size=20)
            assert isinstance(page, ProductPage)
            assert (page.page, page.page_size, page.errors) == (1, 20, {})
            assert 0 < len(page.items) <= 20
            assert page.total is None or page.total >= len(page.items)
            assert page.totals == {source: page.total}
            assert any(word in item.title.lower() for item in page.items for word in QUERY.split())
            for item in page.items:
                a_product(harness, providers, item, "USD")
            assert len({item.ref for item in page.items}) == len(page.items)
            check_model(page)
            # All that is in use is asked.
            everywhere = await providers.sourcing.search(QUERY, country="US", page_size=20)
            assert source in everywhere.totals
            assert {item.source for item in everywhere.items} <= set(providers.sourcing.sources)

        run(harness, scenario)

    def test_pages_do_not_overlap_or_skip_and_are_the_same_again(self, harness: SourcingHarness) -> None:
        """Nor after an hour; in pages of any size. Past the end there is nothing."""

        async def scenario(providers: Providers) -> None:
            tens = [await search(harness, providers, page=number, page_size=10) for number in (1, 2, 3)]
            refs = [item.ref for page in tens for item in page.items]
            assert len(set(refs)) == len(refs)
            assert len({page.total for page in tens}) == 1
            fifteen = await search(harness, providers, page=2, page_size=15)
            assert [item.ref for item in fifteen.items] == refs[15:30]
            harness.clock.advance(3_600)
            again = await search(harness, providers, page=2, page_size=10, fresh=True)
            assert [item.ref for item in again.items] == refs[10:20]
            total = tens[0].total
            if total is not None:
                size = 20
                last = await search(harness, providers, page=(total - 1) // size + 1, page_size=size)
                assert len(last.items) == (total - 1) % size + 1
                past = await search(harness, providers, page=total // size + 2, page_size=size)
                assert (past.items, past.total) == ((), total)

        run(harness, scenario)

    @pytest.mark.parametrize("currency", ["EUR", "GBP", "JPY"])
    def test_prices_are_in_the_currency_asked_for(self, harness: SourcingHarness, currency: str) -> None:
        """In searches, of products and of ways to ship: or it is refused, never another one."""

        async def scenario(providers: Providers) -> None:
            sourcing, able = providers.sourcing, "other_currencies" not in facts(providers).unsupported
            try:
                page = await search(harness, providers, currency=currency, page_size=5)
            except (InvalidRequestError, UnsupportedOperationError):
                assert not able
                return
            for item in page.items:
                a_product(harness, providers, item, currency)
            before = (await search(harness, providers, page_size=5)).items[0]
            first = page.items[0]
            assert first.ref == before.ref
            if currency == "JPY":
                assert price_of(first) > 20 * price_of(before)
            calls: list[Callable[[], Awaitable[object]]] = [
                lambda: sourcing.product(first.ref, country="US", currency=currency),
                lambda: sourcing.shipping_quotes(first.ref, country="US", currency=currency),
            ]
            for call in calls:
                if await refused(providers, ("other_currencies",), call):
                    continue
                found = await call()
                if isinstance(found, Product):
                    a_product(harness, providers, found, currency)
                else:
                    assert {quote.cost.currency for quote in cast("list[ShippingQuote]", found)} == {currency}
            (outcome,) = await sourcing.prices([first.ref], country="US", currency=currency)
            if able:
                assert outcome.price is not None
                assert outcome.price.currency == currency
            else:
                assert isinstance(outcome.error, UnsupportedOperationError)

        run(harness, scenario)

    @pytest.mark.parametrize("sort", list(Sort))
    def test_a_search_is_sorted_as_asked_or_refused(self, harness: SourcingHarness, sort: Sort) -> None:
        """By price, up and down, for all to see."""

        async def scenario(providers: Providers) -> None:
            async def ask(number: int = 1) -> ProductPage:
                return await search(harness, providers, sort=sort, page=number)

            if await refused(providers, (f"sort_{sort.value}",), ask):
                return
            pages = [(await ask(number)).items for number in (1, 2)]
            items = [item for page in pages for item in page]
            assert len({item.ref for item in items}) == len(items) > 0
            down = sort is Sort.PRICE_DOWN
            if down or sort is Sort.PRICE_UP:
                first, second = ([price_of(item) for item in page] for page in pages)
                assert first == sorted(first, reverse=down)
                assert second == sorted(second, reverse=down)
                # To the cent in a page; from page to page as the vendor sorts, who may go by prices before discounts.
                assert (first[0] > second[0]) == (first[-1] > second[-1]) == down

        run(harness, scenario)

    @pytest.mark.parametrize("feature", ["price_min", "price_max"])
    def test_a_price_range_is_kept_or_refused(self, harness: SourcingHarness, feature: str) -> None:
        """In the market's currency, bounds included."""

        async def scenario(providers: Providers) -> None:
            prices = sorted(price_of(item) for item in (await search(harness, providers)).items)
            bound = prices[len(prices) // 2]

            async def ask() -> ProductPage:
                return await search(harness, providers, **{feature: bound})

            if await refused(providers, (feature,), ask):
                return
            found = [price_of(item) for item in (await ask()).items]
            assert found
            assert all(price >= bound if feature == "price_min" else price <= bound for price in found)

        run(harness, scenario)

    def test_categories_are_a_tree_and_narrow_a_search(self, harness: SourcingHarness) -> None:
        """Parents come before their children."""

        async def scenario(providers: Providers) -> None:
            source = source_of(harness, providers)

            async def ask() -> object:
                return await providers.sourcing.categories(source)

            if await refused(providers, ("categories",), ask):
                return
            tree = await providers.sourcing.categories(source)
            seen: set[str] = set()
            for one in tree:
                assert one.name
                assert one.source == source
                assert one.id not in seen
                assert one.parent_id is None or one.parent_id in seen
                seen.add(one.id)
                check_model(one)
            assert any(one.parent_id is not None for one in tree)
            inside = (await search(harness, providers)).items[0].category_id
            if inside is None:
                return

            async def narrowed() -> ProductPage:
                return await search(harness, providers, category=inside)

            if await refused(providers, ("category",), narrowed):
                return
            page = await narrowed()
            assert page.items
            assert all(item.category_id in {None, inside} for item in page.items)
            await invalid("category", providers.sourcing.search(QUERY, country="US", category=inside))

        run(harness, scenario)

    def test_a_picture_finds_products(self, harness: SourcingHarness) -> None:
        """Or the vendor's facts say that it cannot."""

        async def scenario(providers: Providers) -> None:
            source = source_of(harness, providers)

            async def ask(picture: bytes = PICTURE) -> ProductPage:
                return await providers.sourcing.search_by_image(picture, source=source, country="US", limit=5)

            if await refused(providers, ("search_by_image",), ask):
                return
            page = await ask()
            assert 0 < len(page.items) <= 5
            for item in page.items:
                a_product(harness, providers, item, "USD")
            assert [item.ref for item in (await ask()).items] == [item.ref for item in page.items]
            await invalid("image", ask(b""))
            longest = facts(providers).limits["image_bytes"]
            await invalid("image", ask(PICTURE + bytes(longest)))

        run(harness, scenario)

    @pytest.mark.parametrize(
        ("field", "changes"),
        [
            ("text", {"query": ""}),
            ("text", {"query": " \n"}),
            ("text", {"query": "x" * 201}),
            ("page", {"page": 0}),
            ("page", {"page": -1}),
            ("page_size", {"page_size": 0}),
            ("page_size", {"page_size": 101}),
            ("country", {"country": "USA"}),
            ("country", {"country": ""}),
            ("currency", {"currency": "dollars"}),
            ("language", {"language": "english"}),
            ("sort", {"sort": "beauty"}),
            ("price_min", {"price_min": Decimal(-1)}),
            ("price_max", {"price_max": Decimal("NaN")}),
            ("price_min", {"price_min": Decimal(5), "price_max": Decimal(4)}),
            ("source", {"source": "nobody"}),
        ],
    )
    def test_a_bad_question_is_refused_and_names_its_field(
        self, harness: SourcingHarness, field: str, changes: dict[str, Any]
    ) -> None:
        """As `InvalidRequestError`, before anybody is asked."""

        async def scenario(providers: Providers) -> None:
            asked: dict[str, Any] = {"query": QUERY, "country": "US", **changes}
            query = asked.pop("query")
            with pytest.raises(InvalidRequestError) as caught:
                await providers.sourcing.search(query, **asked)
            assert caught.value.outcome is Outcome.NOT_APPLIED
            assert (caught.value.field or field) == field

        run(harness, scenario)

    # Products.

    def test_a_product_is_the_same_by_reference_text_and_address(self, harness: SourcingHarness) -> None:
        """All of it: variants with prices and stock, pictures, a way to ship."""

        async def scenario(providers: Providers) -> None:
            sourcing = providers.sourcing
            found = (await search(harness, providers)).items[0]
            product = await sourcing.product(found.ref, country="US")
            a_product(harness, providers, product, "USD")
            assert (product.ref, product.source_id) == (found.ref, found.source_id)
            assert product.variants
            ids = [one.id for one in product.variants]
            assert len(set(ids)) == len(ids)
            for one in product.variants:
                assert one.price is not None
                assert one.price.currency == "USD"
                assert one.price.amount > 0
                assert one.stock is None or one.stock >= 0
                assert product.variant(one.id) == one
            prices = [one.price.amount for one in product.variants if one.price is not None]
            assert price_of(product) == min(prices)
            assert product.price_max is None or product.price_max.amount == max(prices)
            for option in product.options:
                assert option.name
                assert len(set(option.values)) == len(option.values) > 0
            if product.shipping is not None:
                a_way(product.shipping, "USD")
            check_model(product)
            names: list[Ref | str] = [str(found.ref)]
            if on_a_site(product):
                assert sourcing.ref(product.url).id == product.source_id
                names += [product.url, sourcing.ref(product.url)]
            for name in names:
                again = await sourcing.product(name, country="US")
                assert (again.ref, again.title) == (product.ref, product.title)
                assert [one.id for one in again.variants] == ids

        run(harness, scenario)

    def test_any_well_formed_id_answers(self, harness: SourcingHarness) -> None:
        """With a product of that id, or says that it is not there."""

        async def scenario(providers: Providers) -> None:
            for id_ in harness.ids:
                try:
                    product = await providers.sourcing.product(named(harness, providers, id_), country="US")
                except NotFoundError as error:
                    assert isinstance(error, ValueError)
                else:
                    assert product.source_id == id_
                    a_product(harness, providers, product, "USD")

        run(harness, scenario)

    def test_every_form_of_a_link_names_its_product(self, harness: SourcingHarness) -> None:
        """For phones, in other languages, out of a campaign; nobody is asked."""

        async def scenario(providers: Providers) -> None:
            needs(bool(harness.links), "links: addresses of products in their forms")
            for link, id_ in harness.links:
                ref = providers.sourcing.ref(link)
                assert ref == Ref(vendor=source_of(harness, providers), id=id_)
            product = await providers.sourcing.product(harness.links[0][0], country="US")
            assert product.source_id == harness.links[0][1]

        run(harness, scenario)

    @pytest.mark.parametrize(
        "link",
        [
            "https://shop.example.com/item/1005006123456789.html",
            "http://127.0.0.1/item/1005006123456789.html",
            "https://evil.example/https://www.example.com/item/1.html",
            "javascript:alert(1)//item/1",
            "file:///etc/passwd",
            "//",
            "https://",
            "a/b",
        ],
    )
    def test_an_address_of_nobody_is_refused_and_never_fetched(self, harness: SourcingHarness, link: str) -> None:
        """Neither as a product nor as one of many."""

        async def scenario(providers: Providers) -> None:
            with pytest.raises(InvalidRequestError) as caught:
                providers.sourcing.ref(link)
            assert caught.value.field == "url"
            await invalid("url", providers.sourcing.product(link, country="US"))
            (outcome,) = await providers.sourcing.prices([link], country="US")
            assert outcome.ref is None
            assert isinstance(outcome.error, InvalidRequestError)

        run(harness, scenario)

    def test_a_product_that_is_not_there_is_not_found(self, harness: SourcingHarness) -> None:
        """By any operation that names it."""

        async def scenario(providers: Providers) -> None:
            sourcing, name = providers.sourcing, named(harness, providers, harness.missing)
            calls: list[Callable[[], Awaitable[object]]] = [
                lambda: sourcing.product(name, country="US"),
                lambda: sourcing.shipping_quotes(name, country="US"),
                lambda: sourcing.place_order(order(name)),
            ]
            for call in calls:
                with pytest.raises(NotFoundError) as caught:
                    await call()
                error = caught.value
                assert error.vendor == facts(providers).vendor
                assert not error.retryable
                assert pickles(error)

        run(harness, scenario)

    def test_a_reference_of_somebody_else_is_refused_and_says_so(self, harness: SourcingHarness) -> None:
        """A reference of the demo at a live vendor above all."""

        async def scenario(providers: Providers) -> None:
            sourcing = providers.sourcing
            stranger = "nobody" if facts(providers).demo else "demo"
            for wrong in (f"{stranger}:order-1", Ref(vendor=stranger, id="order-1")):
                for call in (sourcing.product(wrong, country="US"), sourcing.order(wrong), sourcing.tracking(wrong)):
                    with pytest.raises(InvalidRequestError, match=stranger):
                        await call
            for nonsense in ("", "text-1", ":x", f"{facts(providers).vendor}:"):
                await invalid("ref", sourcing.order(nonsense))
                await invalid("ref", sourcing.product(nonsense, country="US"))

        run(harness, scenario)

    # Prices and stock.

    def test_prices_give_one_outcome_each_in_order(self, harness: SourcingHarness) -> None:
        """A bad one does not hold up the others; the same product twice is asked for once."""

        async def scenario(providers: Providers) -> None:
            items = (await search(harness, providers)).items[:4]
            names: list[Ref | str] = [
                items[0].ref,
                named(harness, providers, harness.missing),
                str(items[1].ref),
                "nonsense",
                items[2].url if on_a_site(items[2]) else items[2].ref,
                "https://evil.example/item/1.html",
                items[0].ref,
            ]
            outcomes = await providers.sourcing.prices(names, country="US")
            assert [one.index for one in outcomes] == list(range(len(names)))
            for place, item in ((0, items[0]), (2, items[1]), (4, items[2]), (6, items[0])):
                one = outcomes[place]
                assert (one.ref, one.error, one.reason) == (item.ref, None, "")
                product = await providers.sourcing.product(item.ref, country="US")
                assert one.price == product.price
                assert one.checked_at.utcoffset() == timedelta(0)
            for place, kind in ((1, NotFoundError), (3, InvalidRequestError), (5, InvalidRequestError)):
                one = outcomes[place]
                assert isinstance(one.error, kind)
                assert one.reason == str(one.error)
                assert one.price is None
            for one in outcomes:
                check_model(one)
            assert await providers.sourcing.prices([], country="US") == []

        run(harness, scenario)

    def test_stock_is_told_by_variant(self, harness: SourcingHarness) -> None:
        """And adds up, where all of it is known."""

        async def scenario(providers: Providers) -> None:
            sourcing = providers.sourcing
            ref = (await search(harness, providers)).items[0].ref
            stock = await sourcing.stock(ref, country="US")
            product = await sourcing.product(ref, country="US")
            assert stock.ref == ref
            assert {level.variant for level in stock.levels} <= {one.id for one in product.variants}
            assert all(level.quantity >= 0 for level in stock.levels)
            assert all(level.ready is None or 0 <= level.ready <= level.quantity for level in stock.levels)
            assert stock.total == sum(level.quantity for level in stock.levels)
            assert stock.checked_at.utcoffset() == timedelta(0)
            check_model(stock)

        run(harness, scenario)

    # Shipping.

    def test_ways_to_ship_are_quoted_the_cheapest_first(self, harness: SourcingHarness) -> None:
        """For a variant and a quantity; where nothing goes there is none."""

        async def scenario(providers: Providers) -> None:
            sourcing = providers.sourcing
            ref = (await search(harness, providers)).items[0].ref
            quotes = await sourcing.shipping_quotes(ref, country="US")
            assert quotes
            for quote in quotes:
                a_way(quote, "USD")
            costs = [quote.cost.amount for quote in quotes]
            assert costs == sorted(costs)
            assert len({quote.code for quote in quotes}) == len(quotes)
            product = await sourcing.product(ref, country="US")
            variant = product.variants[-1].id
            for quote in await sourcing.shipping_quotes(ref, variant=variant, quantity=3, country="US"):
                a_way(quote, "USD")
            if product.shipping is not None:
                assert product.shipping.cost == quotes[0].cost
            await invalid("quantity", sourcing.shipping_quotes(ref, quantity=0, country="US"))
            if harness.closed is not None:
                variant = product.variants[0].id
                assert await sourcing.shipping_quotes(ref, variant=variant, country=harness.closed) == []

        run(harness, scenario)

    # Orders.

    def test_an_order_is_quoted_and_placed_at_that_price(self, harness: SourcingHarness) -> None:
        """Unpaid; named by this vendor; its total is goods and shipping, and the taxes that some add."""

        async def scenario(providers: Providers) -> None:
            sourcing = providers.sourcing
            request = await an_order(harness, providers, quantity=2)
            quote = await sourcing.quote_order(request)
            (part,) = quote.parts
            assert (part.error, part.source) == (None, source_of(harness, providers))
            assert part.goods is not None
            assert part.shipping is not None
            assert quote.total == part.total
            assert quote.total == dollars(part.goods.amount + part.shipping.amount)
            check_model(quote)
            assert await placed(harness, providers) == 0
            answer = await sourcing.place_order(request)
            assert isinstance(answer, SupplierOrder)
            assert (answer.key, answer.state, answer.paid) == ("order-1001", OrderState.UNPAID, False)
            assert_taxed(answer.total, quote.total)
            (ref,) = answer.refs
            assert ref.vendor == facts(providers).vendor
            assert Ref.parse(str(ref)) == ref
            (one,) = answer.parts
            assert (one.ref, one.error, one.source) == (ref, None, part.source)
            assert one.number
            # Some do not say when, or not in which zone.
            assert answer.placed_at is None or answer.placed_at.utcoffset() is not None
            check_model(answer)
            assert await placed(harness, providers) == 1
            for name in (ref, str(ref)):
                found = await sourcing.order(name, fresh=True)
                assert (found.refs, found.state, found.paid) == ((ref,), OrderState.UNPAID, False)
                assert found.total == answer.total
                assert sum(item.quantity for item in found.parts[0].items) == 2
                check_model(found)

        run(harness, scenario)

    def test_a_repeat_with_the_same_key_orders_nothing(self, harness: SourcingHarness) -> None:
        """It gets the first answer. For another order the key is a conflict."""

        async def scenario(providers: Providers) -> None:
            sourcing = providers.sourcing
            request = await an_order(harness, providers)
            first = await sourcing.place_order(request)
            for _ in range(2):
                again = await sourcing.place_order(request)
                assert (again.refs, again.total) == (first.refs, first.total)
            more = request.model_copy(update={"items": (request.items[0].model_copy(update={"quantity": 3}),)})
            other = request.model_copy(update={"address": address(name="Ben")})
            for wrong in (more, other):
                with pytest.raises(ConflictError) as caught:
                    await sourcing.place_order(wrong)
                assert caught.value.field == "idempotency_key"
            assert await placed(harness, providers) == 1
            second = await sourcing.place_order(request.model_copy(update={"idempotency_key": "order-1002"}))
            assert second.refs != first.refs
            assert await placed(harness, providers) == 2

        run(harness, scenario)

    def test_twins_at_the_same_time_order_once(self, harness: SourcingHarness) -> None:
        """The others wait for the first and get its answer."""

        async def scenario(providers: Providers) -> None:
            request = await an_order(harness, providers)
            harness.clock.auto = False
            twins = [asyncio.create_task(providers.sourcing.place_order(request)) for _ in range(3)]
            while not all(twin.done() for twin in twins):
                harness.clock.advance(0.1)
                await asyncio.sleep(0.001)
            assert len({(await twin).refs for twin in twins}) == 1
            assert await placed(harness, providers) == 1

        run(harness, scenario)

    def test_processes_that_share_their_state_order_once(self, harness: SourcingHarness) -> None:
        """A key of one is a key of the other."""

        async def main() -> None:
            store = MemoryStore(harness.clock)
            async with asyncio.timeout(PATIENCE), AsyncExitStack() as stack:
                one = await stack.enter_async_context(harness.open(clock=harness.clock, store=store))
                other = await stack.enter_async_context(harness.open(clock=harness.clock, store=store))
                request = await an_order(harness, one)
                first = await one.sourcing.place_order(request)
                assert (await other.sourcing.place_order(request)).refs == first.refs
                assert await placed(harness, other) == 1

        asyncio.run(main())

    def test_nothing_is_ordered_beyond_the_cap(self, harness: SourcingHarness) -> None:
        """A cent less than it costs is too little; exactly that is enough, unless taxes come to it, which is said.

        A cap is in the order's currency.
        """

        async def scenario(providers: Providers) -> None:
            sourcing = providers.sourcing
            request = await an_order(harness, providers)
            total = (await sourcing.quote_order(request)).total
            assert total is not None
            low = request.model_copy(update={"max_total": dollars(total.amount - Decimal("0.01"))})
            with pytest.raises(BudgetExceededError) as caught:
                await sourcing.place_order(low)
            assert (caught.value.field, caught.value.outcome) == ("max_total", Outcome.NOT_APPLIED)
            euros = request.model_copy(update={"max_total": Money(amount=total.amount, currency="EUR")})
            await invalid("max_total", sourcing.place_order(euros))
            assert await placed(harness, providers) == 0
            answer = await sourcing.place_order(request.model_copy(update={"max_total": total}))
            assert await placed(harness, providers) == 1
            assert_taxed(answer.total, total)
            (part,) = answer.parts
            if answer.total == total:
                assert (part.error, part.state) == (None, OrderState.UNPAID)
            else:
                assert isinstance(part.error, BudgetExceededError)
                assert not part.paid

        run(harness, scenario)

    def test_what_cannot_be_ordered_is_refused_before_anything_is_made(self, harness: SourcingHarness) -> None:
        """A variant that is not there, more than there is, a way to ship that does not exist."""

        async def scenario(providers: Providers) -> None:
            sourcing = providers.sourcing
            ref = (await search(harness, providers)).items[0].ref
            for changes, kinds in (
                ({"variant": "nonsense"}, (NotFoundError, InvalidRequestError)),
                ({"shipping": "by pigeon"}, (NotFoundError, InvalidRequestError)),
                ({"quantity": 10_000}, (ConflictError, InvalidRequestError)),
            ):
                with pytest.raises(kinds) as caught:
                    await sourcing.place_order(order(ref, **changes))
                assert caught.value.outcome is Outcome.NOT_APPLIED
            assert await placed(harness, providers) == 0
            assert await collect(providers.unknowns.unknown()) == []

        run(harness, scenario)

    def test_what_was_sold_meanwhile_is_a_conflict(self, harness: SourcingHarness) -> None:
        """Nothing was ordered, and nothing is unknown; the same key may be used again."""
        sold_out = needed(harness.sold_out, "sold_out: a product that is gone when it is ordered")

        async def scenario(providers: Providers) -> None:
            ref = await sold_out(providers)
            with pytest.raises(ConflictError) as caught:
                await providers.sourcing.place_order(order(ref))
            assert caught.value.outcome is Outcome.NOT_APPLIED
            assert caught.value.code
            assert await placed(harness, providers) == 0
            assert await collect(providers.unknowns.unknown()) == []
            await providers.sourcing.place_order(await an_order(harness, providers))

        run(harness, scenario)

    @pytest.mark.parametrize(
        ("field", "changes"),
        [
            ("items", {"items": ()}),
            ("items.0.quantity", {"items": ({"ref": "a:1", "quantity": 0},)}),
            ("items", {"items": ({"ref": "a:1"}, {"ref": "a:1"})}),
            ("items.0.ref", {"items": ({"ref": "nonsense"},)}),
            ("address.country", {"address": {**ANA, "country": "Texas"}}),
            ("address.name", {"address": {**ANA, "name": ""}}),
            ("idempotency_key", {"idempotency_key": ""}),
            ("idempotency_key", {"idempotency_key": "x" * 201}),
            ("note", {"note": "x" * 501}),
            ("nonsense", {"nonsense": 1}),
        ],
    )
    def test_a_bad_order_is_refused_at_construction_and_names_its_field(
        self, field: str, changes: dict[str, object]
    ) -> None:
        """As `InvalidRequestError`, which pickles."""
        fields = {"items": ({"ref": "a:1"},), "address": ANA, "idempotency_key": "order-1001", **changes}
        with pytest.raises(InvalidRequestError) as caught:
            OrderRequest(**cast("dict[str, Any]", fields))
        error = caught.value
        assert (error.outcome, error.field) == (Outcome.NOT_APPLIED, field)
        assert pickles(error)

    # When nobody knows whether it was ordered.

    def test_an_order_of_unknown_outcome_is_never_placed_again(self, harness: SourcingHarness) -> None:
        """Not by us, not by its key; a look-up that finds nothing proves nothing. It is listed, and can be settled."""
        cut = needed(harness.cut, "cut: a connection that breaks before an order is taken")

        async def scenario(providers: Providers) -> None:
            sourcing, about = providers.sourcing, facts(providers)
            request = await an_order(harness, providers)
            for key, resolution in (("order-1001", Resolution.APPLIED), ("order-1002", Resolution.REPEAT)):
                keyed = request.model_copy(update={"idempotency_key": key})
                cut(providers)
                for _ in range(3):
                    await unknown(providers, sourcing.place_order(keyed))
                assert await placed(harness, providers) == 0
                (write,) = await collect(providers.unknowns.unknown())
                assert (write.operation, write.vendor) == ("sourcing.place_order", about.vendor)
                assert write.key.startswith(key)
                assert (write.demo, write.tenant) == (about.demo, "")
                await providers.unknowns.resolve(write.id, resolution)
                assert await collect(providers.unknowns.unknown()) == []
            with pytest.raises(ConflictError):
                await sourcing.place_order(request)
            assert await placed(harness, providers) == 0
            await sourcing.place_order(request.model_copy(update={"idempotency_key": "order-1002"}))
            assert await placed(harness, providers) == 1

        run(harness, scenario)

    def test_an_order_whose_answer_was_lost_is_looked_up(self, harness: SourcingHarness) -> None:
        """Where the vendor can tell, the caller gets its answer; where not, it stays unknown. It is there once."""
        lost = needed(harness.lost, "lost: a connection that breaks after an order was made")

        async def scenario(providers: Providers) -> None:
            sourcing = providers.sourcing
            request = await an_order(harness, providers)
            lost(providers)
            if "find" in facts(providers).unsupported:
                for _ in range(2):
                    await unknown(providers, sourcing.place_order(request))
                assert len(await collect(providers.unknowns.unknown())) == 1
            else:
                answer = await sourcing.place_order(request)
                assert (answer.state, len(answer.refs)) == (OrderState.UNPAID, 1)
                check_model(answer)
                assert await collect(providers.unknowns.unknown()) == []
                assert (await sourcing.place_order(request)).refs == answer.refs
                assert (await sourcing.order(answer.refs[0])).refs == answer.refs
            assert await placed(harness, providers) == 1

        run(harness, scenario)

    # Paying.

    def test_an_order_is_paid_once_where_the_vendor_takes_payment(self, harness: SourcingHarness) -> None:
        """Never beyond the cap; again is no error. Where it takes none, it says so before anything is sent."""

        async def scenario(providers: Providers) -> None:
            sourcing = providers.sourcing
            answer = await sourcing.place_order(await an_order(harness, providers))
            (ref,) = answer.refs
            assert answer.total is not None
            if await refused(providers, ("pay",), lambda: sourcing.pay(ref)):
                assert not (await sourcing.order(ref, fresh=True)).paid
                return
            with pytest.raises(BudgetExceededError) as caught:
                await sourcing.pay(ref, max_total=dollars(answer.total.amount - Decimal("0.01")))
            assert caught.value.field == "max_total"
            assert not (await sourcing.order(ref, fresh=True)).paid
            for _ in range(2):
                paid = await sourcing.pay(ref, max_total=answer.total)
                assert (paid.refs, paid.paid, paid.state) == ((ref,), True, OrderState.PROCESSING)
                check_model(paid)
            assert (await sourcing.order(str(ref), fresh=True)).paid

        run(harness, scenario)

    def test_an_order_can_be_placed_and_paid_in_one_call(self, harness: SourcingHarness) -> None:
        """Before or after it is made, as the vendor has it; a repeat pays nothing."""

        async def scenario(providers: Providers) -> None:
            sourcing = providers.sourcing
            request = (await an_order(harness, providers)).model_copy(update={"pay": True})
            for _ in range(2):
                answer = await sourcing.place_order(request)
                assert answer.paid
                assert answer.state is OrderState.PROCESSING
            assert await placed(harness, providers) == 1

        run(harness, scenario)

    def test_too_low_a_balance_is_said_and_the_order_stays(self, harness: SourcingHarness) -> None:
        """As `RejectedError` with the code `insufficient_funds`; nothing is unknown."""

        async def scenario(providers: Providers) -> None:
            sourcing = providers.sourcing
            if "pay" in facts(providers).unsupported:
                return
            poor = needed(harness.poor, "poor: an account whose balance is too low")
            answer = await sourcing.place_order(order(await poor(providers)))
            with pytest.raises(RejectedError) as caught:
                await sourcing.pay(answer.refs[0])
            assert caught.value.code == "insufficient_funds"
            assert not caught.value.may_have_applied
            found = await sourcing.order(answer.refs[0], fresh=True)
            assert (found.state, found.paid) == (OrderState.UNPAID, False)
            assert await collect(providers.unknowns.unknown()) == []

        run(harness, scenario)

    # Parcels.

    def test_an_order_is_shipped_and_arrives(self, harness: SourcingHarness) -> None:
        """Its parcel has a number once there is one, and a way whose steps are in order of time."""
        ship = needed(harness.ship, "ship: a vendor that hands orders over")
        deliver = needed(harness.deliver, "deliver: a parcel that arrives")

        async def scenario(providers: Providers) -> None:
            sourcing = providers.sourcing
            ref = await a_paid_order(harness, providers)
            before = await sourcing.tracking(ref)
            assert (before.ref, before.state, before.events) == (ref, TrackingState.PENDING, ())
            assert before.delivered_at is None
            await ship(providers, ref)
            order_ = await sourcing.order(ref, fresh=True)
            (part,) = order_.parts
            assert order_.state is OrderState.SHIPPED
            assert part.tracking_number
            under_way = await sourcing.tracking(ref, fresh=True)
            # A carrier's number may come later than the supplier's own.
            assert under_way.number
            assert under_way.state not in {TrackingState.PENDING, TrackingState.DELIVERED}
            assert under_way.delivered_at is None
            check_model(under_way)
            await deliver(providers, ref)
            assert (await sourcing.order(ref, fresh=True)).state is OrderState.DELIVERED
            there = await sourcing.tracking(ref, fresh=True)
            assert (there.number, there.state) == (under_way.number, TrackingState.DELIVERED)
            assert len(there.events) >= len(under_way.events)
            moments = [one.at for one in there.events if one.at is not None]
            assert moments == sorted(moments)
            assert there.delivered_at is None or there.delivered_at.utcoffset() == timedelta(0)
            check_model(there)

        run(harness, scenario)

    def test_trackings_give_one_outcome_each_in_order(self, harness: SourcingHarness) -> None:
        """A bad one does not hold up the others."""

        async def scenario(providers: Providers) -> None:
            sourcing = providers.sourcing
            refs = [await a_paid_order(harness, providers, key=f"order-{number}") for number in range(3)]
            names: list[Ref | str] = [refs[0], "nonsense", str(refs[1]), "nobody:1", refs[2], refs[0]]
            outcomes = await sourcing.trackings(names)
            assert [one.index for one in outcomes] == list(range(len(names)))
            for place, ref in ((0, refs[0]), (2, refs[1]), (4, refs[2]), (5, refs[0])):
                one = outcomes[place]
                assert (one.ref, one.error, one.reason) == (ref, None, "")
                assert one.tracking is not None
                assert one.tracking.ref == ref
            for place in (1, 3):
                assert isinstance(outcomes[place].error, InvalidRequestError)
                assert outcomes[place].tracking is None
            for one in outcomes:
                check_model(one)
            assert await sourcing.trackings([]) == []

        run(harness, scenario)

    @pytest.mark.parametrize("id_", ["order-0404", "8000000000000404", "a", "x" * 200, "%", "ünïcödé 🎈", "a/b?c#d"])
    def test_an_order_that_is_not_there_is_not_found_or_plausible(self, harness: SourcingHarness, id_: str) -> None:
        """Never another error, whatever the id looks like."""

        async def scenario(providers: Providers) -> None:
            ref = Ref(vendor=facts(providers).vendor, id=id_)
            for call in (providers.sourcing.order, providers.sourcing.tracking):
                try:
                    found = await call(ref)
                except NotFoundError as error:
                    assert error.vendor == ref.vendor
                else:
                    assert ref in {*getattr(found, "refs", ()), getattr(found, "ref", None)}

        run(harness, scenario)

    # Taking back.

    def test_an_order_can_be_cancelled_until_it_is_shipped(self, harness: SourcingHarness) -> None:
        """Twice is no error; too late is a conflict. Where the vendor has no way, it says so."""

        async def scenario(providers: Providers) -> None:
            sourcing = providers.sourcing
            (ref,) = (await sourcing.place_order(await an_order(harness, providers))).refs
            if await refused(providers, ("cancel_order",), lambda: sourcing.cancel_order(ref)):
                return
            for _ in range(2):
                cancelled = await sourcing.cancel_order(ref)
                assert (cancelled.refs, cancelled.state) == ((ref,), OrderState.CANCELLED)
            assert (await sourcing.order(ref, fresh=True)).state is OrderState.CANCELLED
            ship = needed(harness.ship, "ship: a vendor that hands orders over")
            gone = await a_paid_order(harness, providers, key="order-1002")
            await ship(providers, gone)
            with pytest.raises(ConflictError) as caught:
                await sourcing.cancel_order(gone)
            assert not caught.value.retryable
            assert (await sourcing.order(gone, fresh=True)).state is OrderState.SHIPPED

        run(harness, scenario)

    # What is pushed.

    def test_messages_tell_of_an_order_s_way(self, harness: SourcingHarness) -> None:
        """Delivered, verified, parsed, told apart by their ids; with our number of the order."""
        needs(harness.delivers, "messages that reach this machine")

        async def scenario(providers: Providers, ear: Ear) -> None:
            if await unable(providers, "webhook"):
                return
            ref = await a_shipped_order(harness, providers, ear)

            def shipped(events: Sequence[SourcingEvent]) -> bool:
                states = {one.state for one in events if one.order == ref}
                kinds = {one.type for one in events}
                return OrderState.SHIPPED in states and SourcingEventType.TRACKING in kinds

            events = await ear.until(shipped)
            for one in events:
                assert (one.vendor, one.source) == (ref.vendor, source_of(harness, providers))
                assert one.occurred_at is None or one.occurred_at.utcoffset() == timedelta(0)
                check_model(one)
            assert all(one.event_id for one in events)
            of_order = [one for one in events if one.type is SourcingEventType.ORDER and one.order == ref]
            assert {one.number for one in of_order} == {"order-1001"}
            parcel = next(one.tracking for one in events if one.type is SourcingEventType.TRACKING)
            assert parcel is None or parcel.number == (await providers.sourcing.tracking(ref, fresh=True)).number

        run_listening(harness, scenario)

    def test_a_message_delivered_twice_has_the_same_event_ids(self, harness: SourcingHarness) -> None:
        """So that the second one can be dropped."""
        needs(harness.delivers, "messages that reach this machine")

        async def scenario(providers: Providers, ear: Ear) -> None:
            if await unable(providers, "webhook"):
                return
            request = await a_webhook(harness, providers, ear)
            first = await providers.sourcing.webhook(request)
            second = await providers.sourcing.webhook(request, vendor=facts(providers).vendor)
            assert 200 <= first.reply.status < 300
            assert first.events
            assert [one.event_id for one in first.events] == [one.event_id for one in second.events]

        run_listening(harness, scenario)

    def test_a_forged_message_is_refused_before_it_is_read(self, harness: SourcingHarness) -> None:
        """Another body, no signature, another one's signature: `WebhookVerificationError`, a `ValueError`."""
        needs(harness.delivers, "messages that reach this machine")

        async def scenario(providers: Providers, ear: Ear) -> None:
            if await unable(providers, "webhook"):
                return
            request = await a_webhook(harness, providers, ear)
            await only_what_was_signed(providers.sourcing, request)

        run_listening(harness, scenario)

    def test_a_message_of_an_unknown_type_is_unknown_not_an_error(self, harness: SourcingHarness) -> None:
        """Vendors invent new ones."""

        async def scenario(providers: Providers) -> None:
            if await unable(providers, "webhook"):
                return
            make = needed(harness.unknown_event, "unknown_event: a signed request with a message of a new type")
            result = await providers.sourcing.webhook(make())
            assert [one.type for one in result.events] == [SourcingEventType.UNKNOWN]
            check_model(result.events[0])

        run(harness, scenario)

    def test_a_message_tells_of_an_order_of_unknown_outcome(self, harness: SourcingHarness) -> None:
        """It was made: a repeat gets it, and nothing is unknown any more."""
        needs(harness.delivers, "messages that reach this machine")
        lost = needed(harness.lost, "lost: a connection that breaks after an order was made")

        async def scenario(providers: Providers, ear: Ear) -> None:
            about = facts(providers)
            if await unable(providers, "webhook") or not about.demo:
                # Only the demo can be kept from finding what is there.
                return
            request = await an_order(harness, providers)
            lost(providers)
            providers.faults.stage("sourcing.find", ProviderTimeoutError("not now"), times=9)
            await unknown(providers, providers.sourcing.place_order(request))
            assert len(await collect(providers.unknowns.unknown())) == 1
            result = await providers.sourcing.webhook(await ear.inbox.received(1))
            providers.faults.clear()
            assert await collect(providers.unknowns.unknown()) == []
            answer = await providers.sourcing.place_order(request)
            assert answer.refs == (result.events[0].order,)
            assert await placed(harness, providers) == 1

        # It must not be read before the order's outcome is unknown.
        run_listening(harness, scenario, at_once=False)

    def test_products_can_be_watched_where_changes_are_pushed(self, harness: SourcingHarness) -> None:
        """And the vendor told where to push; or its facts say that it pushes nothing."""

        async def scenario(providers: Providers) -> None:
            sourcing = providers.sourcing
            refs = [item.ref for item in (await search(harness, providers, page_size=5)).items]
            if not await refused(providers, ("watch",), lambda: sourcing.watch(refs)):
                await sourcing.watch(refs)
                await sourcing.watch([])
            url = "https://shop.example.com/hooks/sourcing"
            if not await refused(providers, ("ensure_webhook",), lambda: sourcing.ensure_webhook(url)):
                endpoint = await sourcing.ensure_webhook(url)
                assert endpoint.ref.vendor == facts(providers).vendor
                assert (await sourcing.ensure_webhook(url)).ref == endpoint.ref

        run(harness, scenario)

    # The account.

    def test_an_account_s_owner_can_agree_where_that_is_the_way(self, harness: SourcingHarness) -> None:
        """The page leads back with a code, the code gives what is to be stored."""

        async def scenario(providers: Providers) -> None:
            sourcing, about = providers.sourcing, facts(providers)
            back = "https://shop.example.com/connected"

            async def page() -> str:
                return await sourcing.authorize_url(redirect_uri=back, state="s-1 &")

            if await refused(providers, ("authorize_url",), page):
                assert await refused(providers, ("exchange_code",), lambda: sourcing.exchange_code("x"))
                return
            link = await page()
            assert urlsplit(link).scheme in {"http", "https"}
            assert parse_qs(urlsplit(link).query)["state"] == ["s-1 &"]
            assert "shop.example.com" in link
            code = needed(harness.code, "code: what the page of consent gives")
            grant = await sourcing.exchange_code(code())
            assert grant.values
            if not about.demo:
                assert grant.values.keys() <= {variable.name for variable in about.variables}
            assert grant.expires_at is not None
            assert grant.expires_at.timestamp() > harness.clock.time()
            shown = repr(grant) + grant.model_dump_json()
            assert not any(secret.get_secret_value() in shown for secret in grant.values.values())

        run(harness, scenario)

    def test_tenants_share_no_orders(self, harness: SourcingHarness) -> None:
        """The same key is another order, with another number, though they may share the platform's account."""

        async def scenario(providers: Providers) -> None:
            tenant = providers.scoped("merchant-42")
            request = await an_order(harness, providers)
            first = await providers.sourcing.place_order(request)
            second = await tenant.sourcing.place_order(request)
            assert first.refs != second.refs
            assert first.parts[0].number != second.parts[0].number
            assert await placed(harness, providers) + await placed(harness, tenant) >= 2

        run(harness, scenario)

    def test_check_proves_the_credential_and_orders_nothing(self, harness: SourcingHarness) -> None:
        """For all vendors in use, or one."""

        async def scenario(providers: Providers) -> None:
            await proven(providers.sourcing)
            assert await placed(harness, providers) == 0

        run(harness, scenario)

    def test_its_facts_name_what_the_interface_goes_by(self, harness: SourcingHarness) -> None:
        """And what it cannot do is named as the interface names it."""

        async def scenario(providers: Providers) -> None:
            about = facts(providers)
            assert {"page_size", "trackings", "lines_per_quote"} <= about.limits.keys()
            assert ("watch" in about.limits) == ("watch" not in about.unsupported)
            assert ("image_bytes" in about.limits) == ("search_by_image" not in about.unsupported)
            assert all(number > 0 for number in about.limits.values())
            sorts = {f"sort_{one.value}" for one in Sort}
            assert set(about.unsupported) <= {*OPERATIONS, *FEATURES, *sorts}
            assert all(about.unsupported.values()), "say why"
            assert about.title
            assert about.adapter or not about.demo
            assert isinstance(adapter(providers).affiliate, str)

        run(harness, scenario)

    def test_a_cancelled_call_ends_at_once_and_leaves_all_well(self, harness: SourcingHarness) -> None:
        """The next one works."""
        stalled = needed(harness.stalled, "stalled: a way to keep the vendor from answering")

        async def scenario(providers: Providers) -> None:
            await providers.sourcing.check()
            await cut_off(harness.clock, stalled, providers.sourcing.search("lamp", country="US"))
            harness.clock.advance(60)
            assert (await search(harness, providers)).items

        run(harness, scenario)


OPERATIONS = (
    "find",
    "search_by_image",
    "categories",
    "affiliate_links",
    "pay",
    "cancel_order",
    "watch",
    "webhook",
    "ensure_webhook",
    "authorize_url",
    "exchange_code",
)
FEATURES = ("price_min", "price_max", "category", "other_currencies")
"""What an adapter's facts may declare as unsupported besides operations: parts of a search, sorts, all but USD."""


class Ear:
    """Verifies and reads what comes in, as it comes: a signature may be good for minutes only."""

    def __init__(self, providers: Providers, inbox: Inbox) -> None:
        self.inbox = inbox
        self.events: list[SourcingEvent] = []
        self._providers = providers
        self._read = 0
        self._arrived = asyncio.Condition()

    async def listen(self) -> None:
        """Until it is cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                request = await self.inbox.received(self._read + 1)
                result = await self._providers.sourcing.webhook(request)
                async with self._arrived:
                    self._read += 1
                    # Vendors repeat what they are not sure of.
                    seen = {one.event_id for one in self.events}
                    self.events += [one for one in result.events if one.event_id not in seen]
                    self._arrived.notify_all()

    async def until(self, enough: Callable[[Sequence[SourcingEvent]], bool] = bool) -> list[SourcingEvent]:
        """All messages so far, once there are enough. Raises `TimeoutError` when they do not come."""
        async with asyncio.timeout(PATIENCE / 3), self._arrived:
            await self._arrived.wait_for(lambda: enough(self.events))
        return list(self.events)

    async def quiet(self) -> None:
        """Wait until nothing is on its way, so that time may pass."""
        times = 0
        while times < 5:
            before = len(self.inbox.requests)
            await asyncio.sleep(0.01)
            times = times + 1 if self._read == len(self.inbox.requests) == before else 0


def run_listening(
    harness: SourcingHarness,
    scenario: Callable[[Providers, Ear], Coroutine[object, object, None]],
    *,
    at_once: bool = True,
) -> None:
    """`run`, with the vendor's messages coming in; read `at_once`, or by the scenario."""

    async def main() -> None:
        async with (
            asyncio.timeout(PATIENCE),
            Inbox() as inbox,
            harness.open(clock=harness.clock, webhook_url=inbox.url) as providers,
        ):
            ear = Ear(providers, inbox)
            listening = asyncio.create_task(ear.listen() if at_once else asyncio.sleep(0))
            try:
                await scenario(providers, ear)
            finally:
                listening.cancel()
                await asyncio.wait({listening})

    asyncio.run(main())


def adapter(providers: Scope) -> SourcingAdapter:
    """The adapter under test."""
    return cast("SourcingAdapter", providers.sourcing.unwrap(object))


def facts(providers: Scope) -> VendorFacts:
    """Its facts."""
    return adapter(providers).facts


def source_of(harness: SourcingHarness, providers: Scope) -> str:
    """The platform that is asked."""
    return harness.source or facts(providers).vendor


def named(harness: SourcingHarness, providers: Scope, id_: str) -> Ref:
    """A product by its id."""
    return Ref(vendor=source_of(harness, providers), id=id_)


async def search(harness: SourcingHarness, providers: Providers, **options: Any) -> ProductPage:  # noqa: ANN401 (as its)
    """A search at the source that is asked."""
    asked: dict[str, Any] = {"source": source_of(harness, providers), "country": "US", "page_size": 10, **options}
    return await providers.sourcing.search(QUERY, **asked)


async def placed(harness: SourcingHarness, providers: Scope) -> int:
    """How many orders the vendor has made. Skips the rest of the test where nobody can tell."""
    return await needed(harness.placed, "placed: how many orders the vendor has made")(cast("Providers", providers))


def address(**changes: str) -> Address:
    """Where it goes, with changes."""
    return Address(**{**ANA, **changes})


def order(ref: Ref, **changes: Any) -> OrderRequest:  # noqa: ANN401 (fields of the item)
    """An order of one product."""
    item = OrderItem(ref=ref, **changes)
    return OrderRequest(items=(item,), address=address(), idempotency_key="order-1001")


async def an_order(harness: SourcingHarness, providers: Providers, **changes: Any) -> OrderRequest:  # noqa: ANN401 (as above)
    """An order that is in order: of something that was found, and is in stock."""
    for item in (await search(harness, providers)).items:
        product = await providers.sourcing.product(item.ref, country="US")
        if any(one.stock is None or one.stock >= 10 for one in product.variants):
            return order(item.ref, **changes)
    pytest.fail("nothing that was found is in stock")


async def a_paid_order(harness: SourcingHarness, providers: Providers, key: str = "order-1001") -> Ref:
    """An order that is paid, one way or another."""
    sourcing = providers.sourcing
    request = (await an_order(harness, providers)).model_copy(update={"idempotency_key": key})
    (ref,) = (await sourcing.place_order(request)).refs
    if harness.paid is not None:
        await harness.paid(providers, ref)
    else:
        await sourcing.pay(ref)
    assert (await sourcing.order(ref, fresh=True)).paid
    return ref


def dollars(amount: Decimal) -> Money:
    """In USD."""
    return Money(amount=amount, currency="USD")


def assert_taxed(total: Money | None, quoted: Money | None) -> None:
    """What is to be paid is what was quoted, or a little more."""
    assert total is not None
    assert quoted is not None
    assert total.currency == quoted.currency
    assert quoted.amount <= total.amount <= quoted.amount * Decimal("1.3")


def price_of(product: Product) -> Decimal:
    """Its price, which it has."""
    assert product.price is not None
    return product.price.amount


def on_a_site(product: Product) -> bool:
    """Whether its address is at a supplier's site, and not the shop's own."""
    return not (urlsplit(product.url).hostname or "").endswith("example.com")


def a_product(harness: SourcingHarness, providers: Providers, product: Product, currency: str) -> None:
    """It is plausible, and of this source."""
    about = facts(providers)
    assert product.source == source_of(harness, providers)
    assert product.ref.vendor == about.vendor
    assert product.ref.id.endswith(product.source_id)
    assert product.title
    assert urlsplit(product.url).scheme == "https"
    if on_a_site(product):
        assert providers.sourcing.ref(product.url) == Ref(vendor=product.source, id=product.source_id)
    assert product.price is not None
    assert product.price.amount > 0
    for money in (product.price, product.price_max, product.list_price):
        assert money is None or money.currency == currency
    assert all(urlsplit(image).scheme in {"https", "http"} for image in product.images)
    assert product.rating is None or 0 <= product.rating <= 5
    assert product.order_count is None or product.order_count >= 0
    assert product.fetched_at.utcoffset() == timedelta(0)
    if "affiliate_links" in about.unsupported:
        assert product.affiliate_url is None


def a_way(quote: ShippingQuote, currency: str) -> None:
    """It is plausible."""
    assert quote.code
    assert quote.method
    assert quote.cost.currency == currency
    assert quote.cost.amount >= 0
    low, high = quote.days_min, quote.days_max
    assert low is None or high is None or 0 <= low <= high
    check_model(quote)


async def refused(providers: Providers, names: Sequence[str], call: Callable[[], Awaitable[object]]) -> bool:
    """Whether the facts say that the vendor cannot do one of these; then it is asserted that it refuses."""
    return await declared(facts(providers), names, call)


async def unable(providers: Providers, operation: str) -> bool:
    """Whether the vendor pushes nothing; then it is asserted that what comes in its name is refused."""
    if operation not in facts(providers).unsupported:
        return False
    with pytest.raises((UnsupportedOperationError, WebhookVerificationError)):
        await providers.sourcing.webhook(RawRequest(body=b"{}", headers={"sign": "x"}))
    return True


async def unknown(providers: Providers, call: Awaitable[object]) -> None:
    """The call says that nobody knows whether it was ordered, and that repeating it is not safe."""
    with pytest.raises(ProviderError) as caught:
        await call
    error = caught.value
    assert error.may_have_applied
    assert not error.retryable
    assert error.vendor == facts(providers).vendor
    assert pickles(error)


async def a_webhook(harness: SourcingHarness, providers: Providers, ear: Ear) -> RawRequest:
    """A genuine request of the vendor's, the last one so far."""
    await a_shipped_order(harness, providers, ear)
    await ear.until()
    await ear.quiet()
    return ear.inbox.requests[-1]


async def a_shipped_order(harness: SourcingHarness, providers: Providers, ear: Ear) -> Ref:
    """An order that is under way, and looked at since."""
    ship = needed(harness.ship, "ship: a vendor that hands orders over")
    ref = await a_paid_order(harness, providers)
    await ear.quiet()
    await ship(providers, ref)
    await providers.sourcing.order(ref, fresh=True)
    return ref


__all__ = ["SourcingConformance", "SourcingHarness"]
