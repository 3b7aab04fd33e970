"""The demo beyond the common suite: outcomes by product, four platforms, life by the clock, staged failures."""

import asyncio
from decimal import Decimal

import pytest

from providers import Money, Providers, RawRequest, Ref, Settings
from providers.demo import webhooks, world
from providers.errors import (
    AuthenticationError,
    BadResponseError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
    RejectedError,
    WebhookVerificationError,
)
from providers.sourcing import DemoSourcing, OrderItem, OrderState, SourcingEventType, TrackingState
from providers.sourcing.demo import OUTCOMES, WATCHED, WORDS_KEPT
from providers.sourcing.demo_book import BALANCE, KEPT
from providers.sourcing.demo_life import DAY, DISPATCHED, HOUR, LAPSES, OWNER_PAYS
from providers.sourcing.facts import SOURCES
from providers.testing.conformance._inbox import Inbox


def demo(clock, scenario, *, hooked=False, **settings):
    """Run a scenario on a demo whose webhooks, if it is `hooked`, reach an inbox."""

    async def main():
        async with Inbox() as inbox:
            url = inbox.url if hooked else None
            chosen = Settings(mode="demo", webhook_url=url, environ={}, env_file=None, **settings)
            async with Providers(chosen, clock=clock) as providers:
                await scenario(providers, inbox)

    asyncio.run(main())


def product(ending, source="cjdropshipping"):
    return Ref(vendor="demo", id=f"{source}-174620360412301{ending}")


async def events_of(providers, inbox, number):
    return (await providers.sourcing.webhook(await inbox.received(number))).events


async def ordered(providers, order, *items, **fields):
    (ref,) = (await providers.sourcing.place_order(order(*items, **fields))).refs
    return ref


# Outcomes.


@pytest.mark.parametrize(
    ("ending", "kind", "code"),
    [
        ("0401", AuthenticationError, None),
        ("0403", PermissionDeniedError, None),
        ("0404", NotFoundError, "no_such_product"),
        ("0410", NotFoundError, "off_shelf"),
        ("0429", RateLimitedError, None),
        ("0503", ProviderUnavailableError, None),
    ],
)
def test_some_products_cannot_be_read_or_ordered(providers_clock, order, ending, kind, code):
    async def scenario(providers, inbox):
        sourcing, ref = providers.sourcing, product(ending)
        calls = (
            lambda: sourcing.product(ref, country="US"),
            lambda: sourcing.stock(ref, country="US"),
            lambda: sourcing.place_order(order(ref)),
        )
        for call in calls:
            with pytest.raises(kind) as caught:
                await call()
            assert (type(caught.value), caught.value.code) == (kind, code)
            assert not caught.value.may_have_applied
            assert caught.value.vendor == "demo"
            providers_clock.advance(60)  # a vendor that keeps failing is left alone for a while
        (outcome,) = await sourcing.prices([ref], country="US")
        assert isinstance(outcome.error, kind)
        assert [one async for one in sourcing.unwrap(DemoSourcing).orders()] == []

    demo(providers_clock, scenario)


@pytest.mark.parametrize(
    ("ending", "kind", "unknown"),
    [("0409", ConflictError, False), ("0504", ProviderTimeoutError, True)],
)
def test_some_products_are_shown_and_cannot_be_ordered(providers_clock, order, ending, kind, unknown):
    async def scenario(providers, inbox):
        found = await providers.sourcing.product(product(ending), country="US")
        assert found.variants[0].stock > 0
        with pytest.raises(kind) as caught:
            await providers.sourcing.place_order(order(product(ending)))
        assert caught.value.may_have_applied == unknown
        assert len([one async for one in providers.unknowns.unknown()]) == unknown
        assert [one async for one in providers.sourcing.unwrap(DemoSourcing).orders()] == []

    demo(providers_clock, scenario)


def test_an_answer_that_got_lost_is_found_by_look_up(providers_clock, order):
    async def scenario(providers, inbox):
        answer = await providers.sourcing.place_order(order(product("0408")))
        assert answer.state is OrderState.UNPAID
        (kept,) = [one async for one in providers.sourcing.unwrap(DemoSourcing).orders()]
        assert [one.id for one in answer.refs] == [kept.id]
        assert (await providers.sourcing.place_order(order(product("0408")))).refs == answer.refs
        assert [one async for one in providers.unknowns.unknown()] == []

    demo(providers_clock, scenario)


@pytest.mark.parametrize("source", SOURCES)
def test_some_orders_cannot_be_paid(providers_clock, order, source):
    async def scenario(providers, inbox):
        ref = await ordered(providers, order, product("0402", source))
        with pytest.raises(RejectedError) as caught:
            await providers.sourcing.pay(ref)
        assert (caught.value.code, caught.value.vendor) == ("insufficient_funds", "demo")
        assert not (await providers.sourcing.order(ref, fresh=True)).paid

    demo(providers_clock, scenario)


def test_every_ending_of_the_table_is_tried_here():
    tried = {
        ending
        for test in (
            test_some_products_cannot_be_read_or_ordered,
            test_some_products_are_shown_and_cannot_be_ordered,
        )
        for mark in test.pytestmark
        for ending, *_ in mark.args[1]
    }
    assert set(OUTCOMES) == tried | {"0402", "0408"}
    assert all(fate.what for fate in OUTCOMES.values())


def test_an_order_of_three_suppliers_with_one_failing(providers_clock, order):
    async def scenario(providers, inbox):
        items = product("1111", "aliexpress"), product("0409", "cjdropshipping"), product("1111", "spocket")
        answer = await providers.sourcing.place_order(order(*items))
        states = {part.source: part.state for part in answer.parts}
        assert states == {
            "aliexpress": OrderState.UNPAID,
            "cjdropshipping": OrderState.FAILED,
            "spocket": OrderState.UNPAID,
        }
        (failed,) = [part for part in answer.parts if part.ref is None]
        assert isinstance(failed.error, ConflictError)
        assert len(answer.refs) == 2
        assert (await providers.sourcing.place_order(order(*items))).refs == answer.refs

    demo(providers_clock, scenario)


# What it sells.


@pytest.mark.parametrize("words", ["yoga mat", "vinyl record cleaner", "lamp", "瑜伽垫"])
def test_all_platforms_find_what_was_searched_and_offer_it_by_its_id_later(providers_clock, words):
    async def scenario(providers, inbox):
        sourcing = providers.sourcing
        page = await sourcing.search(words, country="US", page_size=40)
        assert {one.source for one in page.items} == set(SOURCES) == set(page.totals)
        assert page.total == sum(page.totals.values())
        assert not page.errors
        for item in page.items:
            assert all(word in item.title.lower() for word in words.split())
            later = await sourcing.product(item.ref, country="US")
            assert (later.title, later.price, later.images) == (item.title, item.price, item.images)
            assert later.description
        # What two of them have is not the same at the same place.
        first = [item.title for item in page.items[: len(SOURCES)]]
        assert len(set(first)) == len(first)

    demo(providers_clock, scenario)


def test_any_word_has_its_products_remembered_by_all_processes_that_share_the_state(providers_clock, tmp_path):
    settings = Settings(mode="demo", environ={}, env_file=None, state_url=f"sqlite:///{tmp_path}/state.db")

    async def main():
        async with Providers(settings, clock=providers_clock) as one:
            found = (await one.sourcing.search("vinyl record cleaner", country="US")).items[3]
        async with Providers(settings, clock=providers_clock) as other:
            later = await other.sourcing.product(found.ref, country="US")
            assert later.title == found.title
            tenant = other.scoped("t1").sourcing
            assert (await tenant.product(found.ref, country="US", fresh=True)).title == found.title

    asyncio.run(main())


def test_what_is_remembered_of_searches_is_bounded(providers_clock):
    async def scenario(providers, inbox):
        adapter = providers.sourcing.unwrap(DemoSourcing)
        for number in range(0, WORDS_KEPT * 2, 10):
            await providers.sourcing.search(f"gadget {number}", country="US", page_size=1, source="manual")
        kept = [one async for one in adapter._store.scan("demo/sourcing/words/")]
        assert 0 < len(kept) <= WORDS_KEPT

    demo(providers_clock, scenario)


@pytest.mark.parametrize(
    ("source", "id_", "good"),
    [
        ("aliexpress", "1005006123456789", True),
        ("aliexpress", "12", False),
        ("aliexpress", "0F8A3F42-1C6E-4F0A-9B7E-111111111111", False),
        ("cjdropshipping", "1747502609012871168", True),
        ("cjdropshipping", "0F8A3F42-1C6E-4F0A-9B7E-111111111111", True),
        ("cjdropshipping", "x", False),
        ("spocket", "green-lamp-1", True),
        ("spocket", "/", False),
        ("manual", "SKU.1", True),
        ("manual", " ", False),
    ],
)
def test_any_well_formed_id_is_a_product(providers_clock, source, id_, good):
    async def scenario(providers, inbox):
        ref = Ref(vendor=source, id=id_)
        if not good:
            with pytest.raises(NotFoundError) as caught:
                await providers.sourcing.product(ref, country="US")
            assert caught.value.field == "ref"
            return
        found = await providers.sourcing.product(ref, country="US")
        assert (found.source, found.source_id) == (source, id_)
        assert found.ref == Ref(vendor="demo", id=f"{source}-{id_}")
        assert await providers.sourcing.product(str(found.ref), country="US") == found

    demo(providers_clock, scenario)


def test_prices_drift_by_the_hour(providers_clock):
    async def scenario(providers, inbox):
        ref, seen = product("1111"), []
        for _ in range(48):
            (outcome,) = await providers.sourcing.prices([ref], country="US", fresh=True)
            (again,) = await providers.sourcing.prices([ref], country="US", fresh=True)
            assert outcome.price == again.price
            seen.append(outcome.price.amount)
            providers_clock.advance(HOUR)
        assert len(set(seen)) > 10
        assert max(seen) / min(seen) < Decimal("1.1")

    demo(providers_clock, scenario)


def test_platforms_take_different_prices_for_the_same(providers_clock):
    async def scenario(providers, inbox):
        number = world.SHOP[0].number
        ids = {"aliexpress": f"1005{number}", "cjdropshipping": f"1746203{number}", "spocket": str(number)}
        found = {
            source: await providers.sourcing.product(Ref(vendor=source, id=id_), country="US")
            for source, id_ in ids.items()
        }
        assert {one.title for one in found.values()} == {world.SHOP[0].title}
        prices = [found[source].price.amount for source in ids]
        assert prices == sorted(prices)
        assert len(set(prices)) == 3

    demo(providers_clock, scenario)


def test_a_currency_without_a_rate_is_refused(providers_clock):
    async def scenario(providers, inbox):
        with pytest.raises(InvalidRequestError) as caught:
            await providers.sourcing.product(product("1111"), country="US", currency="XAU")
        assert caught.value.field == "currency"
        found = await providers.sourcing.product(product("1111"), country="JP", currency="JPY")
        assert found.price.amount == found.price.amount.to_integral_value()

    demo(providers_clock, scenario)


def test_nothing_is_sold_where_nothing_is_shipped(providers_clock, order):
    async def scenario(providers, inbox):
        with pytest.raises(NotFoundError) as caught:
            await providers.sourcing.product(product("1111"), country="KP")
        assert (caught.value.field, caught.value.code) == ("country", "not_sold")

    demo(providers_clock, scenario)


def test_what_aliexpress_sells_has_a_link_that_earns(providers_clock):
    async def scenario(providers, inbox):
        page = await providers.sourcing.search("lamp", country="US", page_size=40)
        for item in page.items:
            assert (item.affiliate_url is not None) == (item.source == "aliexpress")
        links = [item.affiliate_url for item in page.items if item.affiliate_url]
        assert len(set(links)) == len(links)

    demo(providers_clock, scenario)


def test_what_is_no_picture_is_refused(providers_clock):
    async def scenario(providers, inbox):
        with pytest.raises(InvalidRequestError) as caught:
            await providers.sourcing.search_by_image(b"GIF89a", country="US")
        assert caught.value.field == "image"
        page = await providers.sourcing.search_by_image(b"\xff\xd8\xff", country="US", limit=8)
        assert {one.source for one in page.items} == set(SOURCES)

    demo(providers_clock, scenario)


# How orders live.


def test_an_order_is_shipped_a_day_after_it_is_paid_and_arrives(providers_clock, order):
    async def scenario(providers, inbox):
        sourcing, start = providers.sourcing, providers_clock.time()
        (way,) = [one for one in await sourcing.shipping_quotes(product("1111"), country="US") if one.code == "express"]
        ref = await ordered(providers, order, OrderItem(ref=product("1111"), shipping="express"))
        providers_clock.advance(DAY)
        assert (await sourcing.order(ref)).state is OrderState.UNPAID
        paid = await sourcing.pay(ref)
        assert (paid.state, paid.parts[0].paid_at.timestamp()) == (OrderState.PROCESSING, start + DAY)
        providers_clock.advance(DISPATCHED - 1)
        assert (await sourcing.order(ref)).state is OrderState.PROCESSING
        assert (await sourcing.tracking(ref)).state is TrackingState.PENDING
        providers_clock.advance(1)
        (part,) = (await sourcing.order(ref)).parts
        assert (part.state, part.carrier) == (OrderState.SHIPPED, "DHL")
        assert part.shipped_at.timestamp() == start + DAY + DISPATCHED
        states, events = [], 0
        for _ in range(way.days_max * 8):
            tracking = await sourcing.tracking(ref)
            assert (tracking.number, tracking.carrier) == (part.tracking_number, "DHL")
            assert tracking.url.endswith(tracking.number)
            assert len(tracking.events) >= events
            events = len(tracking.events)
            states.append(tracking.state)
            providers_clock.advance(DAY / 8)
        order_of = [
            TrackingState.IN_TRANSIT,
            TrackingState.ARRIVED,
            TrackingState.OUT_FOR_DELIVERY,
            TrackingState.DELIVERED,
        ]
        assert list(dict.fromkeys(states)) == order_of
        done = await sourcing.tracking(ref)
        days = (done.delivered_at.timestamp() - start - DAY - DISPATCHED) / DAY
        assert way.days_min <= days <= way.days_max
        assert [one.location for one in done.events][:: len(done.events) - 1] == ["CN", "US"]
        assert (await sourcing.order(ref)).state is OrderState.DELIVERED

    demo(providers_clock, scenario)


def test_a_way_that_is_not_tracked_tells_only_where_it_begins(providers_clock, order):
    async def scenario(providers, inbox):
        sourcing = providers.sourcing
        found = (await sourcing.search("necklace", source="cjdropshipping", country="US")).items
        for item in found:
            if any(one.code == "economy" for one in await sourcing.shipping_quotes(item.ref, country="US")):
                break
        ref = await ordered(providers, order, OrderItem(ref=item.ref, shipping="economy"), pay=True)
        providers_clock.advance(DISPATCHED + 60 * DAY)
        tracking = await sourcing.tracking(ref)
        assert (tracking.state, len(tracking.events)) == (TrackingState.DELIVERED, 1)

    demo(providers_clock, scenario)


def test_an_order_that_nobody_pays_lapses_where_the_balance_pays(providers_clock, order):
    async def scenario(providers, inbox):
        ref = await ordered(providers, order, product("1111"))
        providers_clock.advance(LAPSES)
        assert (await providers.sourcing.order(ref)).state is OrderState.CANCELLED
        with pytest.raises(ConflictError):
            await providers.sourcing.pay(ref)

    demo(providers_clock, scenario)


@pytest.mark.parametrize("source", [one for one in SOURCES if one != "cjdropshipping"])
def test_elsewhere_somebody_pays_by_hand_within_the_hour(providers_clock, order, source):
    async def scenario(providers, inbox):
        ref = await ordered(providers, order, product("1111", source))
        before = (await providers.sourcing.check())[0].quota
        providers_clock.advance(OWNER_PAYS)
        found = await providers.sourcing.order(ref)
        assert (found.state, found.paid) == (OrderState.PROCESSING, True)
        assert (await providers.sourcing.check())[0].quota == before

    demo(providers_clock, scenario)


def test_the_balance_pays_and_gets_back_what_is_cancelled(providers_clock, order):
    async def scenario(providers, inbox):
        async def left():
            (result,) = await providers.sourcing.check()
            return result.quota.remaining

        full = await left()
        assert full == Decimal(BALANCE) / 100
        answer = await providers.sourcing.place_order(order(product("1111"), pay=True))
        assert answer.paid
        assert await left() == full - answer.total.amount
        await providers.sourcing.pay(answer.refs[0])
        assert await left() == full - answer.total.amount
        await providers.sourcing.cancel_order(answer.refs[0])
        assert await left() == full

    demo(providers_clock, scenario)


def test_the_balance_is_there_again_the_next_day(providers_clock, order):
    async def scenario(providers, inbox):
        sourcing = providers.sourcing
        keys = (f"order-{number}" for number in range(1000))
        item = OrderItem(ref=product("1111"), quantity=100)
        cap = (await sourcing.quote_order(order(item))).total.amount
        for _ in range(int(Decimal(BALANCE) / 100 / cap)):
            await sourcing.pay(await ordered(providers, order, item, key=next(keys)))
        ref = await ordered(providers, order, item, key=next(keys))
        with pytest.raises(RejectedError) as caught:
            await sourcing.pay(ref)
        assert caught.value.code == "insufficient_funds"
        providers_clock.advance(DAY)
        assert (await sourcing.pay(ref)).paid

    demo(providers_clock, scenario)


def test_an_order_in_another_currency_is_paid_in_dollars(providers_clock, order):
    async def scenario(providers, inbox):
        dollars = (await providers.sourcing.quote_order(order(product("1111")))).total
        answer = await providers.sourcing.place_order(order(product("1111"), currency="JPY", pay=True))
        assert answer.total.currency == "JPY"
        (result,) = await providers.sourcing.check()
        assert result.quota.used == dollars.amount

    demo(providers_clock, scenario)


def test_aliexpress_makes_an_order_for_each_store(providers_clock, order):
    async def scenario(providers, inbox):
        sourcing = providers.sourcing
        found = (await sourcing.search("yoga mat", source="aliexpress", country="US")).items
        stores = {item.supplier: item for item in found}
        items = [OrderItem(ref=item.ref) for item in list(stores.values())[:3]]
        answer = await sourcing.place_order(order(*items))
        assert len(answer.refs) == len({*answer.refs}) == 3
        assert len({part.number for part in answer.parts}) == 1
        assert answer.total == (await sourcing.quote_order(order(*items))).total
        assert (await sourcing.place_order(order(*items))).refs == answer.refs

    demo(providers_clock, scenario)


def test_the_last_orders_are_kept_and_what_was_forgotten_arrived(providers_clock, order):
    async def scenario(providers, inbox):
        sourcing, adapter = providers.sourcing, providers.sourcing.unwrap(DemoSourcing)
        first = await ordered(providers, order, product("1111"))
        draft = None
        place = adapter.place

        async def seen(given):
            nonlocal draft
            draft = given
            return await place(given)

        adapter.place = seen
        await ordered(providers, order, product("1111"), key="again")
        for number in range(KEPT):
            await place(draft.model_copy(update={"number": f"n-{number}"}))
        assert len([one async for one in adapter.orders()]) == KEPT
        assert len([one async for one in adapter._store.scan(adapter._prefix + "number/")]) == KEPT
        gone = await sourcing.order(first)
        assert (gone.state, gone.paid) == (OrderState.DELIVERED, True)
        assert (await sourcing.tracking(first)).state is TrackingState.DELIVERED
        with pytest.raises(ConflictError):
            await sourcing.cancel_order(first)

    demo(providers_clock, scenario)


def test_tenants_have_orders_and_balances_of_their_own(providers_clock, order):
    async def scenario(providers, inbox):
        tenant = providers.scoped("t1")
        answer = await tenant.sourcing.place_order(order(product("1111"), pay=True))
        assert answer.paid
        assert [one async for one in providers.sourcing.unwrap(DemoSourcing).orders()] == []
        assert (await providers.sourcing.check())[0].quota.used == 0
        assert (await tenant.sourcing.check())[0].quota.used == answer.total.amount

    demo(providers_clock, scenario)


# What it tells.


def test_every_step_of_an_order_is_told_once_and_in_order(providers_clock, order):
    async def scenario(providers, inbox):
        sourcing = providers.sourcing
        ref = await ordered(providers, order, product("1111"))
        await sourcing.pay(ref)
        told = [*await events_of(providers, inbox, 1), *await events_of(providers, inbox, 2)]
        providers_clock.advance(80 * DAY)
        # Nothing happens until it is called.
        assert len(inbox.requests) == 2
        await sourcing.order(ref)
        told += await events_of(providers, inbox, 3)
        assert [(one.type.value, one.state.value) for one in told] == [
            ("order", "unpaid"),
            ("order", "processing"),
            ("order", "shipped"),
            ("tracking", "shipped"),
            ("order", "delivered"),
            ("tracking", "delivered"),
        ]
        assert {(one.order, one.number, one.source) for one in told} == {(ref, "order-1", "cjdropshipping")}
        assert len({one.event_id for one in told}) == len(told)
        moments = [one.occurred_at for one in told]
        assert moments == sorted(moments)
        assert told[-1].tracking == await sourcing.tracking(ref)
        await sourcing.order(ref, fresh=True)
        await providers.aclose()
        assert len(inbox.requests) == 3

    demo(providers_clock, scenario, hooked=True)


def test_what_was_cancelled_or_paid_in_time_does_not_lapse(providers_clock, order):
    async def scenario(providers, inbox):
        cancelled = await ordered(providers, order, product("1111"))
        paid = await ordered(providers, order, product("1111"), key="order-2")
        await providers.sourcing.cancel_order(cancelled)
        await providers.sourcing.pay(paid)
        read = [one for number in range(1, 5) for one in await events_of(providers, inbox, number)]
        providers_clock.advance(LAPSES)
        await providers.sourcing.order(paid)
        read += await events_of(providers, inbox, 5)
        of_cancelled = [one.state.value for one in read if one.order == cancelled]
        assert of_cancelled == ["unpaid", "cancelled"]
        assert OrderState.CANCELLED not in {one.state for one in read if one.order == paid}
        await providers.aclose()

    demo(providers_clock, scenario, hooked=True)


def test_prices_that_are_watched_are_pushed_by_the_hour(providers_clock):
    async def scenario(providers, inbox):
        sourcing, ref = providers.sourcing, product("1111")
        await sourcing.watch([ref, product("0404", "spocket").model_copy(update={"id": "spocket-lamp-1"})])
        prices = []
        for number in range(1, 6):
            providers_clock.advance(4 * HOUR)
            await sourcing.tracking("demo:order-1")
            (event,) = [one for one in await events_of(providers, inbox, number) if one.product == ref]
            assert (event.type, event.changed) == (SourcingEventType.PRODUCT, ("price",))
            (outcome,) = await sourcing.prices([ref], country="US", fresh=True)
            assert event.price == outcome.price
            prices.append(event.price)
        assert len(set(map(str, prices))) > 1

    demo(providers_clock, scenario, hooked=True)


def test_what_is_watched_is_bounded_and_must_be_there(providers_clock):
    async def scenario(providers, inbox):
        adapter = providers.sourcing.unwrap(DemoSourcing)
        await providers.sourcing.watch([product(str(number)) for number in range(2000, 2000 + 2 * WATCHED)])
        assert 0 < len([one async for one in adapter._store.scan(adapter._prefix + "watched/")]) <= WATCHED
        with pytest.raises(NotFoundError):
            await providers.sourcing.watch([product("0404")])

    demo(providers_clock, scenario)


def test_a_webhook_can_be_registered_and_its_secret_is_shown_once(providers_clock, order):
    async def scenario(providers, inbox):
        first = await providers.sourcing.ensure_webhook(inbox.url)
        assert first.secret.get_secret_value() == webhooks.SECRET
        assert (await providers.sourcing.ensure_webhook(inbox.url)).secret is None
        ref = await ordered(providers, order, product("1111"))
        assert [one.order for one in await events_of(providers, inbox, 1)] == [ref]

    demo(providers_clock, scenario)


@pytest.mark.parametrize(("age", "good"), [(0, True), (299, True), (301, False), (-301, False)])
def test_a_message_of_the_demo_is_good_for_five_minutes(providers_clock, age, good):
    request = RawRequest(body=b"[]", headers=webhooks.sign(b"[]", providers_clock.time() - age))

    async def scenario(providers, inbox):
        if good:
            assert (await providers.sourcing.webhook(request)).events == ()
        else:
            with pytest.raises(WebhookVerificationError):
                await providers.sourcing.webhook(request)

    demo(providers_clock, scenario)


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b'[{"type": "order"}]', b"\xff", b"[" * 10_000])
def test_what_is_signed_and_is_no_list_of_messages_is_a_bad_response(providers_clock, body):
    async def scenario(providers, inbox):
        with pytest.raises(BadResponseError) as caught:
            await providers.sourcing.webhook(RawRequest(body=body, headers=webhooks.sign(body, providers_clock.time())))
        assert (caught.value.vendor, caught.value.operation) == ("demo", "sourcing.webhook")

    demo(providers_clock, scenario)


# Failures on purpose.


@pytest.mark.parametrize(
    ("operation", "call"),
    [
        ("search", lambda sourcing: sourcing.search("lamp", country="US", source="spocket")),
        ("product", lambda sourcing: sourcing.product(product("1111"), country="US")),
        ("stock", lambda sourcing: sourcing.stock(product("1111"), country="US")),
        ("shipping_quotes", lambda sourcing: sourcing.shipping_quotes(product("1111"), country="US")),
        ("search_by_image", lambda sourcing: sourcing.search_by_image(b"\xff\xd8\xff", country="US", source="manual")),
        ("categories", lambda sourcing: sourcing.categories()),
        ("order", lambda sourcing: sourcing.order("demo:order-1")),
        ("trackings", lambda sourcing: sourcing.tracking("demo:order-1")),
        ("confirm", lambda sourcing: sourcing.pay("demo:order-1")),
        ("cancel_order", lambda sourcing: sourcing.cancel_order("demo:order-1")),
        ("watch", lambda sourcing: sourcing.watch([product("1111")])),
        ("ensure_webhook", lambda sourcing: sourcing.ensure_webhook("https://shop.example.com/hooks")),
        ("exchange_code", lambda sourcing: sourcing.exchange_code("code")),
    ],
)
def test_failures_can_be_staged_for_every_operation(providers_clock, operation, call):
    async def scenario(providers, inbox):
        providers.faults.stage(f"sourcing.{operation}", AuthenticationError("revoked"))
        with pytest.raises(AuthenticationError):
            await call(providers.sourcing)

    demo(providers_clock, scenario)


def test_failures_of_orders_and_payments_can_be_staged(providers_clock, order):
    async def scenario(providers, inbox):
        providers.faults.stage("sourcing.place_order", AuthenticationError("revoked"))
        with pytest.raises(AuthenticationError):
            await providers.sourcing.place_order(order(product("1111")))
        ref = await ordered(providers, order, product("1111"))
        providers.faults.stage("sourcing.pay", AuthenticationError("revoked"))
        with pytest.raises(AuthenticationError):
            await providers.sourcing.pay(ref)
        assert (await providers.sourcing.pay(ref)).paid

    demo(providers_clock, scenario)


def test_one_platform_s_failure_is_told_and_the_others_answer(providers_clock):
    async def scenario(providers, inbox):
        providers.faults.stage("sourcing.search", AuthenticationError("revoked"))
        page = await providers.sourcing.search("lamp", country="US")
        assert len(page.errors) == 1
        assert len({item.source for item in page.items}) == len(SOURCES) - 1

    demo(providers_clock, scenario)


def test_money_adds_up_over_all_parts(providers_clock, order):
    async def scenario(providers, inbox):
        items = [OrderItem(ref=product("1111", source), quantity=2) for source in SOURCES]
        request = order(*items, max_total=Money(amount=Decimal(10_000), currency="USD"), pay=True)
        answer = await providers.sourcing.place_order(request)
        assert answer.paid
        assert answer.state is OrderState.PROCESSING
        assert answer.total.amount == sum(part.total.amount for part in answer.parts)
        assert {part.source for part in answer.parts} == set(SOURCES)

    demo(providers_clock, scenario)
