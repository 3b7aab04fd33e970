"""One list out of several suppliers' answers: pages that fit, each supplier's failure its own, few calls."""

import asyncio
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from providers import Providers, Ref, Settings
from providers.core.store import MemoryStore
from providers.errors import (
    AuthenticationError,
    BudgetExceededError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    ProviderTimeoutError,
    ProviderUnavailableError,
    UnsupportedOperationError,
)
from providers.sourcing import Sort
from providers.sourcing.api import PAGE
from providers.sourcing.search import DEEPEST, SEARCH
from providers.testing.clock import ManualClock

NAMES = ("alpha", "beta", "gamma")
EACH = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def down():
    return ProviderUnavailableError("down", outcome=Outcome.NOT_APPLIED, repeatable=False)


def refs(page):
    return [str(item.ref) for item in page.items]


async def read(p, **options):
    """Every page, to the first empty one."""
    pages = []
    while not pages or pages[-1].items:
        pages.append(await p.sourcing.search("mat", country="US", page=len(pages) + 1, **options))
    return pages


@EACH
@given(
    totals=st.lists(st.integers(0, 40), min_size=1, max_size=3),
    limits=st.lists(st.integers(1, 15), min_size=3, max_size=3),
    size=st.integers(1, 20),
)
def test_pages_hold_everything_once_whatever_a_suppliers_own_page_holds(supplier, live, totals, limits, size):
    kinds = [supplier(name, limits={"page_size": limit}) for name, limit, _ in zip(NAMES, limits, totals, strict=False)]
    for kind, total in zip(kinds, totals, strict=True):
        kind.found = ["1.00"] * total

    async def main():
        async with live(",".join(NAMES[: len(kinds)])) as p:
            pages = await read(p, page_size=size)
            everything = [one for page in pages for one in refs(page)]
            assert sorted(everything) == sorted(
                f"{n}:{i}" for n, t in zip(NAMES, totals, strict=False) for i in range(t)
            )
            assert all(len(page.items) == size for page in pages[:-2])
            assert all(page.total == sum(totals) for page in pages)
            assert all(page.totals == dict(zip(NAMES, totals, strict=False)) for page in pages)
            # A supplier's own order is kept.
            for name in NAMES:
                own = [int(one.partition(":")[2]) for one in everything if one.startswith(name)]
                assert own == sorted(own)

    asyncio.run(main())
    for kind in kinds:
        assert all(query.page_size <= kind.facts.limits["page_size"] for query in kind.asked("search"))
        questions = [(query.page, query.page_size) for query in kind.asked("search")]
        assert len(questions) == len(set(questions))  # nothing is asked twice


@EACH
@given(
    lists=st.lists(st.lists(st.one_of(st.none(), st.integers(0, 30)), max_size=25), min_size=1, max_size=3),
    size=st.integers(1, 12),
    sort=st.sampled_from([Sort.PRICE_UP, Sort.PRICE_DOWN]),
)
def test_lists_sorted_by_price_are_one_list_sorted_by_price_over_all_pages(supplier, live, lists, size, sort):
    for name, prices in zip(NAMES, lists, strict=False):
        supplier(name, limits={"page_size": 5}).found = prices

    async def main():
        async with live(",".join(NAMES[: len(lists)])) as p:
            pages = await read(p, page_size=size, sort=sort)
            items = [item for page in pages for item in page.items]
            assert len({item.ref for item in items}) == len(items) == sum(map(len, lists))
            prices = [item.price.amount for item in items if item.price is not None]
            assert prices == sorted(prices, reverse=sort is Sort.PRICE_DOWN)
            assert [item.price for item in items[len(prices) :]] == [None] * (len(items) - len(prices))

    asyncio.run(main())


@EACH
@given(
    lists=st.lists(st.lists(st.one_of(st.none(), st.integers(0, 30)), max_size=25), min_size=2, max_size=3),
    size=st.integers(1, 12),
    sort=st.sampled_from([Sort.PRICE_UP, Sort.PRICE_DOWN]),
)
def test_suppliers_that_sort_badly_do_not_make_pages_overlap(supplier, live, lists, size, sort):
    for name, prices in zip(NAMES, lists, strict=False):
        kind = supplier(name)
        kind.found, kind.exact = prices, False

    async def main():
        async with live(",".join(NAMES[: len(lists)])) as p:
            pages = await read(p, page_size=size, sort=sort)
            items = [item for page in pages for item in page.items]
            assert len({item.ref for item in items}) == len(items) == sum(map(len, lists))
            for page in pages:
                prices = [item.price.amount for item in page.items if item.price is not None]
                assert prices == sorted(prices, reverse=sort is Sort.PRICE_DOWN)

    asyncio.run(main())


def test_the_second_page_costs_only_what_the_first_did_not_read(supplier, live):
    alpha, beta = supplier("alpha"), supplier("beta", limits={"page_size": 10})
    alpha.found, beta.found = ["1.00"] * 100, ["1.00"] * 100

    async def main():
        async with live("alpha,beta") as p:
            await p.sourcing.search("mat", country="US")
            # Ten items of each are shown; a supplier's page is twenty, or what it gives at most.
            assert (alpha.count("search"), beta.count("search")) == (1, 1)
            await p.sourcing.search("mat", country="US", page=2)
            assert (alpha.count("search"), beta.count("search")) == (1, 2)
            await p.sourcing.search("mat", country="US", page=2)
            await p.sourcing.search("mat", country="US")
            assert (alpha.count("search"), beta.count("search")) == (1, 2)

    asyncio.run(main())


def test_a_fresh_first_page_asks_each_supplier_once_again(supplier, live):
    alpha, beta = supplier("alpha"), supplier("beta")
    alpha.found, beta.found = ["1.00"] * 3, ["1.00"] * 3

    async def main():
        async with live("alpha,beta") as p:
            await p.sourcing.search("mat", country="US")
            alpha.found = ["2.00"] * 4
            assert (await p.sourcing.search("mat", country="US")).total == 6
            page = await p.sourcing.search("mat", country="US", fresh=True)
            assert page.total == 7
            assert (alpha.count("search"), beta.count("search")) == (2, 2)
            assert await p.sourcing.search("mat", country="US") == page  # the cache is renewed

    asyncio.run(main())


def test_a_fresh_later_page_goes_on_from_the_page_one_that_is_known(supplier, live):
    alpha, beta = supplier("alpha"), supplier("beta")
    alpha.found, beta.found = ["1.00"] * 9, ["1.00"] * 9

    async def main():
        async with live("alpha,beta") as p:
            asked = {"country": "US", "page_size": 4}
            first = await p.sourcing.search("mat", **asked)
            alpha.found = ["1.00"] * 8
            # The second half of each supplier's first page.
            second = await p.sourcing.search("mat", **asked, page=2, fresh=True)
            assert refs(first) + refs(second) == [f"{name}:{n}" for n in range(4) for name in ("alpha", "beta")]
            assert (second.total, alpha.count("search")) == (18, 1)
            # Also of who sees it for the first time.
            other = await p.scoped("m-1").sourcing.search("mat", **asked, page=2, fresh=True)
            assert (refs(other), alpha.count("search")) == (refs(second), 1)

    asyncio.run(main())


def test_another_process_reads_the_pages_that_fit_those_of_the_first(supplier, live, clock):
    alpha, beta = supplier("alpha"), supplier("beta")
    alpha.found, beta.found = ["1.00"] * 8, ["1.00"] * 2
    store = MemoryStore(clock)

    async def main():
        async with live("alpha,beta", store=store) as one, live("alpha,beta", store=store) as two:
            first = await one.sourcing.search("mat", country="US", page_size=5)
            beta.found = ["1.00"] * 7
            second = await two.sourcing.search("mat", country="US", page_size=5, page=2)
            assert sorted(refs(first) + refs(second)) == sorted(
                [f"alpha:{number}" for number in range(8)] + [f"beta:{number}" for number in range(2)]
            )
            assert (alpha.count("search"), beta.count("search")) == (2, 1)

    asyncio.run(main())


def test_pages_that_follow_keep_to_the_totals_of_page_one(supplier, live, clock):
    alpha, beta = supplier("alpha"), supplier("beta")
    alpha.found, beta.found = ["1.00"] * 30, ["1.00"] * 30

    async def main():
        async with live("alpha,beta") as p:
            first = await p.sourcing.search("mat", country="US", page_size=10)
            clock.advance(SEARCH.cache - 1)
            alpha.found = ["1.00"] * 33
            pages = [first] + [
                await p.sourcing.search("mat", country="US", page_size=10, page=page) for page in range(2, 7)
            ]
            assert [page.total for page in pages] == [60] * 6
            assert len({one for page in pages for one in refs(page)}) == 60
            clock.advance(PAGE.cache + 1)
            assert (await p.sourcing.search("mat", country="US", page_size=10, page=2)).total == 63

    asyncio.run(main())


def test_a_supplier_that_fails_is_said_and_left_out_of_the_pages_that_follow(supplier, live):
    alpha, beta = supplier("alpha"), supplier("beta")
    alpha.found, beta.found = ["1.00"] * 6, ["1.00"] * 6
    alpha.script["search"].append(down())

    async def main():
        async with live("alpha,beta") as p:
            first = await p.sourcing.search("mat", country="US", page_size=4)
            second = await p.sourcing.search("mat", country="US", page_size=4, page=2)
            assert refs(first) + refs(second) == [f"beta:{number}" for number in range(6)]
            assert set(first.errors) == set(second.errors) == {"alpha"}
            assert first.totals == second.totals == {"beta": 6}
            assert (first.errors["alpha"].vendor, first.errors["alpha"].operation) == ("alpha", "sourcing.search")
            assert "did not answer when page 1 was read" in str(second.errors["alpha"])
            assert second.errors["alpha"].code == "layout"
            assert alpha.count("search") == 1
            # Told again as part of the page's JSON.
            assert "alpha" in second.model_dump(mode="json")["errors"]
            again = await p.sourcing.search("mat", country="US", page_size=4)
            assert refs(again) == ["alpha:0", "beta:0", "alpha:1", "beta:1"]
            assert not again.errors

    asyncio.run(main())


def test_a_supplier_that_fails_at_a_later_page_leaves_a_gap_that_a_repeat_fills(supplier, live):
    alpha, beta = supplier("alpha"), supplier("beta")
    alpha.found, beta.found = ["1.00"] * 12, ["1.00"] * 12

    async def main():
        async with live("alpha,beta") as p:
            await p.sourcing.search("mat", country="US", page_size=4)
            alpha.script["search"].append(down())
            holed = await p.sourcing.search("mat", country="US", page_size=4, page=3)
            assert refs(holed) == ["beta:4", "beta:5"]
            assert set(holed.errors) == {"alpha"}
            assert holed.total == 24
            whole = await p.sourcing.search("mat", country="US", page_size=4, page=3)
            assert refs(whole) == ["alpha:4", "beta:4", "alpha:5", "beta:5"]

    asyncio.run(main())


def test_it_raises_only_when_all_fail(supplier, live):
    alpha, beta = supplier("alpha"), supplier("beta")

    async def main():
        async with live("alpha,beta") as p:
            alpha.script["search"].append(AuthenticationError("bad key"))
            beta.script["search"].append(down())
            with pytest.raises(AuthenticationError) as caught:
                await p.sourcing.search("mat", country="US")
            assert caught.value.vendor == "alpha"
            # Nothing of it is remembered.
            beta.found = ["1.00"]
            assert refs(await p.sourcing.search("mat", country="US")) == ["beta:0"]

    asyncio.run(main())


def test_a_bug_in_an_adapter_is_not_swallowed(supplier, live):
    alpha, beta = supplier("alpha"), supplier("beta")
    beta.found = ["1.00"]
    alpha.script["search"].append(ZeroDivisionError("a bug"))

    async def main():
        async with live("alpha,beta") as p:
            with pytest.raises(ZeroDivisionError):
                await p.sourcing.search("mat", country="US")

    asyncio.run(main())


def test_a_deep_page_of_a_merged_list_by_price_is_refused_and_one_of_a_single_source_is_not(supplier, live):
    alpha, beta = supplier("alpha"), supplier("beta")
    alpha.found = ["1.00"] * (DEEPEST + 100)
    beta.found = ["2.00"] * 10

    async def main():
        async with live("alpha,beta") as p:
            deep = {"country": "US", "page_size": 100, "page": DEEPEST // 100 + 1}
            with pytest.raises(InvalidRequestError, match=r"up to position 5000") as caught:
                await p.sourcing.search("mat", sort="price_asc", **deep)
            assert caught.value.field == "page"
            assert not alpha.calls
            page = await p.sourcing.search("mat", sort="price_asc", source="alpha", **deep)
            assert refs(page)[0] == f"alpha:{DEEPEST}"
            assert alpha.count("search") <= 2  # not all the pages before it
            assert len((await p.sourcing.search("mat", **deep)).items) == 100

    asyncio.run(main())


@pytest.mark.parametrize(
    ("unsupported", "asked", "field"),
    [
        ({"sort_newest": "it does not sort by age"}, {"sort": Sort.NEWEST}, "sort"),
        ({"price_min": "it takes no range"}, {"price_min": Decimal(5)}, "price_min"),
        ({"price_max": "it takes no range"}, {"price_max": Decimal(5)}, "price_max"),
    ],
)
def test_what_one_supplier_cannot_express_is_its_error_alone_on_every_page(supplier, live, unsupported, asked, field):
    alpha, beta = supplier("alpha", unsupported=unsupported), supplier("beta")
    beta.found = ["7.00"] * 5

    async def main():
        async with live("alpha,beta") as p:
            for number in (1, 2):
                page = await p.sourcing.search("mat", country="US", page_size=3, page=number, **asked)
                assert {item.source for item in page.items} == {"beta"}
                error = page.errors["alpha"]
                assert isinstance(error, UnsupportedOperationError)
                assert (error.field, page.totals) == (field, {"beta": 5})
            assert not alpha.calls
            with pytest.raises(UnsupportedOperationError):
                await p.sourcing.search("mat", country="US", source="alpha", **asked)

    asyncio.run(main())


@pytest.mark.parametrize("name", ["cjdropshipping", "cjdropship", "CJ", " CJdropshipping "])
def test_one_source_goes_by_all_its_names(supplier, live, name):
    alpha, cj = supplier("alpha"), supplier("cjdropshipping")
    cj.found = ["1.00"]

    async def main():
        async with live("alpha,cjdropshipping") as p:
            assert refs(await p.sourcing.search("mat", country="US", source=name)) == ["cjdropshipping:0"]
            assert not alpha.calls
            assert p.sourcing.sources == ("alpha", "cjdropshipping")

    asyncio.run(main())


@pytest.mark.parametrize("source", ["spocket", "manual"])
def test_platforms_without_an_api_say_so(supplier, live, source):
    alpha = supplier("alpha")

    async def main():
        async with live() as p:
            for call in (
                p.sourcing.search("mat", country="US", source=source),
                p.sourcing.product(Ref(vendor=source, id="1"), country="US"),
                p.sourcing.categories(source),
            ):
                with pytest.raises(UnsupportedOperationError, match="demo only"):
                    await call
            (outcome,) = await p.sourcing.prices([f"{source}:1"], country="US")
            assert isinstance(outcome.error, UnsupportedOperationError)
            assert not alpha.calls

    asyncio.run(main())


def test_what_the_demo_made_is_refused_in_live_by_an_error_that_says_so(supplier, live):
    alpha = supplier("alpha")
    ref = Ref(vendor="demo", id="aliexpress-1005006123456789")

    async def main():
        async with live() as p:
            for call in (
                p.sourcing.product(ref, country="US"),
                p.sourcing.stock(str(ref), country="US"),
                p.sourcing.shipping_quotes(ref, country="US"),
                p.sourcing.order(ref),
                p.sourcing.pay(ref),
                p.sourcing.cancel_order(ref),
                p.sourcing.tracking(ref),
                p.sourcing.search("mat", country="US", source="demo"),
            ):
                with pytest.raises(InvalidRequestError, match="'demo' made this, but live vendors are in use here"):
                    await call
            (price,) = await p.sourcing.prices([ref], country="US")
            (tracking,) = await p.sourcing.trackings([ref])
            assert isinstance(price.error, InvalidRequestError)
            assert isinstance(tracking.error, InvalidRequestError)
            assert not alpha.calls

    asyncio.run(main())


def test_wrong_questions_are_refused_before_anybody_is_asked(supplier, live):
    alpha = supplier("alpha")

    async def main():
        async with live() as p:
            for field, options in {
                "text": {"query": "  "},
                "page": {"page": 0},
                "page_size": {"page_size": 101},
                "market.country": {"country": "USA"},
                "price_min": {"price_min": Decimal(-1)},
                "sort": {"sort": "cheap"},
                "category": {"category": "12"},
                "source": {"source": "omega"},
            }.items():
                with pytest.raises(InvalidRequestError) as caught:
                    await p.sourcing.search(**{"query": "mat", "country": "US", **options})
                assert caught.value.field.rpartition(".")[2] == field.rpartition(".")[2]
            with pytest.raises(InvalidRequestError, match="more than price_max"):
                await p.sourcing.search("mat", country="US", price_min=Decimal(2), price_max=Decimal(1))
            assert not alpha.calls

    asyncio.run(main())


def test_an_old_answer_stands_in_for_a_supplier_that_is_down(supplier, live, clock):
    alpha, beta = supplier("alpha"), supplier("beta")
    alpha.found, beta.found = ["1.00"] * 2, ["1.00"] * 2

    async def main():
        async with live("alpha,beta") as p:
            before = await p.sourcing.search("mat", country="US")
            clock.advance(SEARCH.cache + 1)
            alpha.script["search"].extend([down(), down()])
            asked = alpha.count("search")
            page = await p.sourcing.search("mat", country="US")
            assert (refs(page), page.errors) == (refs(before), {})
            assert alpha.count("search") == asked + 1
            fresh = await p.sourcing.search("mat", country="US", fresh=True)
            assert (refs(fresh), set(fresh.errors)) == (["beta:0", "beta:1"], {"alpha"})

    asyncio.run(main())


def test_a_supplier_whose_budget_is_spent_is_left_out_and_what_is_cached_costs_nothing(supplier, live):
    alpha, beta = supplier("alpha"), supplier("beta")
    alpha.found, beta.found = ["1.00"], ["1.00"]

    async def main():
        async with live("alpha,beta", environ={"PROVIDER_BUDGET_ALPHA": "1/month"}) as p:
            for _ in range(3):
                assert not (await p.sourcing.search("mat", country="US")).errors
            page = await p.sourcing.search("rug", country="US")
            assert refs(page) == ["beta:0"]
            assert isinstance(page.errors["alpha"], BudgetExceededError)
            assert alpha.count("search") == 1

    asyncio.run(main())


def test_suppliers_are_asked_at_the_same_time(supplier, live):
    clock = ManualClock(auto=False)
    alpha, beta = supplier("alpha"), supplier("beta")
    alpha.found, beta.found = ["1.00"], ["1.00"]

    async def main():
        async with live("alpha,beta", at=clock) as p:
            for kind in (alpha, beta):
                kind.script["search"].append(lambda: clock.sleep(4))
            task = asyncio.create_task(p.sourcing.search("mat", country="US"))
            await alpha.called("search")
            await beta.called("search")
            clock.advance(4)
            assert refs(await task) == ["alpha:0", "beta:0"]
            assert clock.monotonic() == 4

    asyncio.run(main())


@pytest.mark.parametrize("seconds", [3, None])
def test_a_search_as_a_whole_has_so_long_and_gives_what_is_there_by_then(supplier, live, seconds):
    clock = ManualClock(auto=False)
    alpha, beta = supplier("alpha"), supplier("beta")
    alpha.found, beta.found = ["1.00"] * 9, ["1.00"] * 9
    most = seconds or SEARCH.timeout

    async def main():
        async with live("alpha,beta", at=clock, environ={"BETA_TRACKING": "me"}) as p:
            # The first page of each takes a part of the time, the second of one all that is left and more.
            alpha.script["search"].extend([lambda: clock.sleep(most / 2)] * 2)
            beta.script["search"].extend([lambda: clock.sleep(most / 2), lambda: clock.sleep(100)])
            beta.script["affiliate_links"].append(lambda: clock.sleep(100))
            task = asyncio.create_task(p.sourcing.search("mat", country="US", page_size=4, page=3, timeout=seconds))
            await alpha.called("search")
            await beta.called("search")
            clock.advance(most / 2)
            await alpha.called("search", 2)
            await beta.called("search", 2)
            clock.advance(most / 2)
            with pytest.raises(ProviderTimeoutError) as caught:
                await asyncio.wait_for(task, 5)
            assert caught.value.outcome is Outcome.NOT_APPLIED

    asyncio.run(main())


def test_a_slow_supplier_is_an_error_of_its_own_when_the_time_is_over(supplier, live):
    clock = ManualClock(auto=False)
    alpha, beta = supplier("alpha"), supplier("beta")
    alpha.found, beta.found = ["1.00"], ["1.00"]

    async def main():
        async with live("alpha,beta", at=clock, environ={"ALPHA_TRACKING": "me"}) as p:
            beta.script["search"].append(lambda: clock.sleep(100))
            alpha.script["affiliate_links"].append(lambda: clock.sleep(100))
            task = asyncio.create_task(p.sourcing.search("mat", country="US", timeout=3))
            await beta.called("search")
            clock.advance(3)
            # Links have what is left: nothing.
            page = await asyncio.wait_for(task, 5)
            assert refs(page) == ["alpha:0"]
            assert isinstance(page.errors["beta"], ProviderTimeoutError)
            assert clock.monotonic() == 3

    asyncio.run(main())


def test_tenants_share_what_was_found_but_not_the_links_that_earn(supplier, live):
    alpha = supplier("alpha")
    alpha.found = ["1.00"] * 2

    async def main():
        async with live(environ={"ALPHA_TRACKING": "platform"}) as p:
            one = p.scoped("m-1", credentials={"ALPHA_KEY": "key-of-one", "ALPHA_TRACKING": "one"})
            two = p.scoped("m-2", credentials={"ALPHA_KEY": "key-of-two"})
            for view, tail in ((p, "?aff=platform"), (one, "?aff=one"), (two, None)):
                for _ in range(2):
                    page = await view.sourcing.search("mat", country="US")
                    expected = [tail and item.url + tail for item in page.items]
                    assert [item.affiliate_url for item in page.items] == expected
                    product = await view.sourcing.product("alpha:1", country="US")
                    assert product.affiliate_url == (tail and product.url + tail)
            assert (alpha.count("search"), alpha.count("product")) == (1, 1)
            # A page's and a product's, once for each who has a tracking id.
            assert alpha.count("affiliate_links") == 4
            assert "aff=" not in "".join([repr(kept) async for kept in p.store.scan("cache/sourcing.search")])

    asyncio.run(main())


@pytest.mark.parametrize("error", [down(), AuthenticationError("no"), NotFoundError("no")])
def test_links_that_cannot_be_had_leave_the_products_alone(supplier, live, error):
    alpha = supplier("alpha")
    alpha.found = ["1.00"]
    alpha.script["affiliate_links"].extend([error] * 4)

    async def main():
        async with live(environ={"ALPHA_TRACKING": "me"}) as p:
            page = await p.sourcing.search("mat", country="US")
            assert [item.affiliate_url for item in page.items] == [None]
            assert not page.errors
            assert (await p.sourcing.product("alpha:1", country="US")).affiliate_url is None

    asyncio.run(main())


def test_a_supplier_that_pays_no_commission_is_not_asked_for_links(supplier, live):
    alpha = supplier("alpha", unsupported={"affiliate_links": "it pays none"})
    alpha.found = ["1.00"]

    async def main():
        async with live(environ={"ALPHA_TRACKING": "me"}) as p:
            await p.sourcing.search("mat", country="US")
            await p.sourcing.product("alpha:1", country="US")
            assert not alpha.count("affiliate_links")

    asyncio.run(main())


def test_what_is_not_the_same_for_all_accounts_is_asked_for_each(supplier, live):
    alpha = supplier("alpha", shared=frozenset({"search"}))
    alpha.found = ["1.00"]

    async def main():
        async with live() as p:
            views = [p, p.scoped("m-1"), p.scoped("m-2", credentials={"ALPHA_KEY": "key-of-two"})]
            for view in views * 2:
                await view.sourcing.search("mat", country="US")
                await view.sourcing.product("alpha:1", country="US")
            assert (alpha.count("search"), alpha.count("product")) == (1, 3)

    asyncio.run(main())


def test_live_and_demo_never_answer_for_each_other(supplier, live, clock):
    store = MemoryStore(clock)
    ali = supplier("aliexpress")
    ali.found = ["1.00"]
    url = "https://www.aliexpress.com/item/1005006123456789.html"

    async def main():
        demo = Providers(Settings(mode="demo", environ={}, env_file=None), clock=clock, store=store, hooks=())
        async with demo, live("aliexpress", store=store) as p:
            made_up = await demo.sourcing.product(url, country="US")
            real = await p.sourcing.product(url, country="US")
            assert (made_up.ref.vendor, real.ref.vendor) == ("demo", "aliexpress")
            page = await p.sourcing.search("mat", country="US", source="aliexpress")
            assert {item.ref.vendor for item in page.items} == {"aliexpress"}
            page = await demo.sourcing.search("mat", country="US", source="aliexpress")
            assert {item.ref.vendor for item in page.items} == {"demo"}
            assert (ali.count("product"), ali.count("search")) == (1, 1)

    asyncio.run(main())


def test_a_total_that_a_supplier_does_not_say_is_none_and_its_pages_go_on(supplier, live):
    alpha, beta = supplier("alpha"), supplier("beta")
    alpha.found, beta.found, alpha.says_total = ["1.00"] * 7, ["1.00"] * 3, False

    async def main():
        async with live("alpha,beta") as p:
            page = await p.sourcing.search("mat", country="US", page_size=4)
            assert (page.total, page.totals) == (None, {"alpha": None, "beta": 3})
            pages = await read(p, page_size=4)
            assert len({one for page in pages for one in refs(page)}) == 10

    asyncio.run(main())


def test_pictures_are_looked_for_at_all_that_can_and_only_in_sizes_they_take(supplier, live):
    alpha = supplier("alpha", limits={"image_bytes": 4})
    beta = supplier("beta", unsupported={"search_by_image": "it has none"})
    gamma = supplier("gamma")
    alpha.found, gamma.found = ["1.00"] * 3, ["1.00"] * 3

    async def main():
        async with live("alpha,beta,gamma") as p:
            page = await p.sourcing.search_by_image(b"tiny", country="US", limit=4)
            assert refs(page) == ["alpha:0", "gamma:0", "alpha:1", "gamma:1"]
            assert isinstance(page.errors["beta"], UnsupportedOperationError)
            page = await p.sourcing.search_by_image(b"large", country="US", limit=4)
            assert page.errors["alpha"].code == "too_long"
            assert {item.source for item in page.items} == {"gamma"}
            assert not beta.calls
            with pytest.raises(InvalidRequestError, match="empty"):
                await p.sourcing.search_by_image(b"", country="US")

    asyncio.run(main())


def test_a_product_has_the_cheapest_way_to_ship_where_it_can_be_had(supplier, live):
    alpha = supplier("alpha")

    async def main():
        async with live() as p:
            assert (await p.sourcing.product("alpha:1", country="US")).shipping.code == "std"
            alpha.script["shipping_quotes"].append(AuthenticationError("no"))
            assert (await p.sourcing.product("alpha:2", country="US")).shipping is None
            alpha.ways = []
            assert (await p.sourcing.product("alpha:3", country="US")).shipping is None
            assert await p.sourcing.shipping_quotes("alpha:3", country="US") == []
            assert (await p.sourcing.product("alpha:4", country="US", shipping=False)).shipping is None
            assert alpha.count("shipping_quotes") == 4

    asyncio.run(main())
