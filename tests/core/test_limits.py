"""Waiting for a place: rate, concurrency, and pauses that a vendor asks for."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers import Providers, Settings
from providers.core.attempt import ATTEMPT, Attempt
from providers.core.health import Health
from providers.core.limits import Limiter
from providers.core.operation import Effect, Operation, Per, Points, Rate
from providers.core.redis import RedisStore
from providers.core.sqlite import SqliteStore
from providers.core.store import MemoryStore, Meter
from providers.core.transport import HttpRequest, HttpResponse, HttpStream
from providers.email import MessageRef, Suppression
from providers.errors import (
    InvalidRequestError,
    Outcome,
    ProviderUnavailableError,
    QuotaExceededError,
    RateLimitedError,
)
from providers.testing.clock import ManualClock

SLOW = Rate(per_second=1)
LOOK = Operation(name="email.look", effect=Effect.READ, result=Suppression, cache=60.0)
SEARCH = Operation(name="email.search", effect=Effect.READ)
REQUEST = HttpRequest("GET", "https://alpha.example.com/", {})


def limiter(clock, *, rate=None, concurrency=None, store=None, points=None, per=Per.CALL):
    store = store or MemoryStore(clock)
    health = Health("account", store, clock)
    return Limiter(
        "account", rate=rate, per=per, points=points, concurrency=concurrency, health=health, store=store, clock=clock
    )


async def settle():
    for _ in range(10):
        await asyncio.sleep(0)


async def passing(clock, *calls, seconds=0.25):
    """What the calls give, time passing in steps."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    await settle()
    while not all(task.done() for task in tasks):
        clock.advance(seconds)
        await settle()
    return await asyncio.gather(*tasks, return_exceptions=True)


class Wire:
    """A transport that writes down when it was asked; `answer` is awaited first."""

    def __init__(self, clock):
        self.clock = clock
        self.moments = []
        self.answer = None

    async def send(self, request):
        self.moments.append(self.clock.monotonic())
        if (attempt := ATTEMPT.get()) is not None:
            attempt.sent = True
        await asyncio.sleep(0)
        if self.answer is not None:
            await self.answer()
        return HttpResponse(200, {}, b"")

    async def stream(self, request):
        await self.send(request)
        return HttpStream(200, {}, None, None)

    async def aclose(self):
        pass


@pytest.fixture
def wire(clock):
    return Wire(clock)


@pytest.fixture
def counted(vendor):
    """A vendor that counts requests, one a second, of which each mail takes three."""

    def install(name="alpha", *, requests=3, **facts):
        kind = vendor(name, **{"rate": SLOW, "rate_per": Per.REQUEST} | facts)

        async def send(self, message, tracking_id):
            await self.play(message)
            for _ in range(requests):
                await self.account.http().send(REQUEST)
            return MessageRef(vendor=name, id=f"m{len(self.calls)}")

        kind.send = send
        return kind

    return install


@pytest.fixture
def served(wire, clock):
    """`live`, over the wire."""

    def opened(vendors="alpha", *, store=None, environ=None):
        keys = {name.upper() + "_KEY": f"{name}-key-value" for name in vendors.split(",")}
        settings = Settings(mode="live", vendors={"email": vendors}, environ=keys | (environ or {}), env_file=None)
        return Providers(settings, clock=clock, store=store or MemoryStore(clock), transport=wire, hooks=())

    return opened


PLACES = ("memory", "sqlite", "valkey")


@pytest.fixture(params=PLACES)
def stores(request, tmp_path, clock):
    """Makes stores that see the same, as those of several processes do."""
    if request.param == "memory":
        one = MemoryStore(clock)
        return lambda: one
    if request.param == "sqlite":
        return lambda: SqliteStore(str(tmp_path / "state.db"), clock)
    url = request.getfixturevalue("valkey").url
    return lambda: RedisStore(url)


def test_calls_wait_for_the_rate_of_their_account(vendor, live, mail, clock):
    vendor("alpha", rate=Rate(per_second=2, burst=2))

    async def scenario():
        async with live() as p:
            for _ in range(5):
                await p.email.send(mail())

    asyncio.run(scenario())
    assert clock.slept == pytest.approx([0.5, 0.5, 0.5], abs=1e-5)


def test_a_deadline_shorter_than_the_wait_fails_at_once(vendor, live, mail, clock):
    alpha = vendor("alpha", rate=SLOW)

    async def scenario():
        async with live() as p:
            await p.email.send(mail())
            with pytest.raises(RateLimitedError, match="our own limit") as caught:
                await p.email.send(mail(), timeout=0.5)
            return caught.value

    error = asyncio.run(scenario())
    assert clock.slept == []
    assert error.retry_after == pytest.approx(1, abs=1e-5)
    assert not error.may_have_applied
    assert error.code == "limit"
    assert len(alpha.calls) == 1


def test_those_that_waited_out_a_pause_take_their_places_one_after_another_only_then(clock):
    async def scenario():
        one = limiter(clock, rate=SLOW)
        await one._health.pause(61)
        await asyncio.gather(*(one.enter(clock.monotonic() + 100) for _ in range(4)))

    asyncio.run(scenario())
    assert clock.slept == pytest.approx([61, 1, 1, 1], abs=1e-5)


def test_calls_that_give_up_take_no_place_from_those_that_wait(vendor, live, mail, clock):
    alpha = vendor("alpha", rate=SLOW)

    async def scenario():
        async with live() as p:
            await p.email.send(mail())
            for _ in range(50):
                with pytest.raises(RateLimitedError):
                    await p.email.send(mail(), timeout=0.5)
            await p.email.send(mail(), timeout=5)

    asyncio.run(scenario())
    assert len(alpha.calls) == 2


def test_a_pause_that_the_vendor_asks_for_holds_for_every_call_on_the_account(vendor, live, mail, clock):
    alpha = vendor("alpha")
    alpha.script.append(RateLimitedError("slow down", retry_after=5))

    async def scenario():
        async with live() as p:
            with pytest.raises(RateLimitedError):
                await p.email.send(mail(), timeout=1)
            await p.scoped("m-1").email.send(mail())
            await p.email.send(mail())

    asyncio.run(scenario())
    assert clock.slept == [5]


def test_no_more_calls_are_in_flight_than_the_account_allows(vendor, live, mail):
    alpha = vendor("alpha", concurrency=2)
    in_flight = most = 0

    async def busy():
        nonlocal in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        await settle()
        in_flight -= 1

    alpha.script.extend([busy] * 9)

    async def scenario():
        async with live() as p:
            await asyncio.gather(*(p.email.send(mail()) for _ in range(9)))

    asyncio.run(scenario())
    assert most == 2
    assert len(alpha.calls) == 9


def test_waiting_for_a_place_in_flight_counts_against_the_deadline(vendor, live, mail, clock):
    alpha = vendor("alpha", concurrency=1)
    clock.auto = False
    done = asyncio.Event()
    alpha.script.append(done.wait)

    async def scenario():
        async with live() as p:
            first = asyncio.create_task(p.email.send(mail(), timeout=100))
            await settle()
            second = asyncio.create_task(p.email.send(mail(), timeout=3))
            await settle()
            clock.advance(3)
            with pytest.raises(RateLimitedError, match="too many calls in flight") as caught:
                await second
            done.set()
            await first
            return caught.value

    error = asyncio.run(scenario())
    assert error.code == "concurrency"
    assert len(alpha.calls) == 1


def test_failed_and_cancelled_calls_free_their_place(vendor, live, mail):
    alpha = vendor("alpha", concurrency=1)
    alpha.script.extend([InvalidRequestError("no"), asyncio.Event().wait, None])

    async def scenario():
        async with live() as p:
            with pytest.raises(InvalidRequestError):
                await p.email.send(mail())
            hanging = asyncio.create_task(p.email.send(mail()))
            await settle()
            waiting = asyncio.create_task(p.email.send(mail()))
            last = asyncio.create_task(p.email.send(mail()))
            await settle()
            waiting.cancel()
            hanging.cancel()
            await asyncio.gather(hanging, waiting, return_exceptions=True)
            return await last

    assert str(asyncio.run(scenario())) == "alpha:m3"


def test_a_place_given_to_a_call_that_is_cancelled_goes_to_the_next(clock):
    limits = limiter(clock, concurrency=1)

    async def scenario():
        await limits.enter(100)
        waiting = [asyncio.create_task(limits.enter(100)) for _ in range(3)]
        await settle()
        limits.leave()
        waiting[0].cancel()
        await settle()
        assert waiting[1].done()
        limits.leave()
        await asyncio.wait_for(waiting[2], 1)

    asyncio.run(scenario())


def test_limits_serve_one_event_loop_after_the_other(clock):
    limits = limiter(clock, concurrency=1)

    async def crowd():
        async def one():
            await limits.enter(100)
            await settle()
            limits.leave()

        await asyncio.gather(*(one() for _ in range(4)))

    asyncio.run(crowd())
    asyncio.run(crowd())


def test_limits_hold_across_all_who_share_the_store(clock):
    store = MemoryStore(clock)
    ours, theirs = limiter(clock, rate=SLOW, store=store), limiter(clock, rate=SLOW, store=store)

    async def scenario():
        await ours.enter(1e9)
        await theirs.enter(1e9)
        await ours.enter(1e9)

    asyncio.run(scenario())
    assert clock.slept == pytest.approx([1, 1], abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    rate=st.floats(0.1, 100),
    burst=st.integers(1, 20),
    arrivals=st.lists(st.tuples(st.floats(0, 10), st.floats(0.01, 30)), min_size=1, max_size=40),
)
def test_no_schedule_gets_more_through_than_rate_times_time_plus_burst(rate, burst, arrivals):
    clock = ManualClock()
    limits = limiter(clock, rate=Rate(per_second=rate, burst=burst))
    starts = []

    async def scenario():
        for pause, patience in arrivals:
            clock.advance(pause)
            asked = clock.monotonic()
            try:
                await limits.enter(asked + patience)
            except RateLimitedError as error:
                assert clock.monotonic() == asked
                assert error.retry_after >= patience  # noqa: PT017 (one of two good answers)
            else:
                assert clock.monotonic() < asked + patience
                starts.append(clock.monotonic())
                limits.leave()

    asyncio.run(scenario())
    for first, begin in enumerate(starts):
        for last in range(first, len(starts)):
            # Wall time of today has 2e-7 s to a float.
            assert last - first + 1 <= (starts[last] - begin) * rate + burst + rate * 1e-5


# Vendors that count requests


def test_an_operation_of_three_requests_takes_three_places(counted, served, mail, clock, wire):
    counted()

    async def scenario():
        async with served() as p:
            await p.email.send(mail())
            assert clock.slept == pytest.approx([1, 1], abs=1e-5)
            await p.email.send(mail())

    asyncio.run(scenario())
    assert wire.moments == pytest.approx([0, 1, 2, 3, 4, 5], abs=1e-5)


def test_requests_of_calls_side_by_side_keep_their_distance(counted, served, mail, clock, wire):
    counted(concurrency=3)
    clock.auto = False

    async def scenario():
        async with served() as p:
            return await passing(clock, *(p.email.send(mail(), timeout=1000) for _ in range(10)))

    assert [type(ref) for ref in asyncio.run(scenario())] == [MessageRef] * 10
    assert wire.moments == pytest.approx(range(30), abs=0.3)


@pytest.mark.parametrize("call", [{}, {"idempotency_key": "a-mail"}])
def test_calls_that_wait_for_those_in_flight_hold_no_place(counted, served, mail, clock, wire, call):
    alpha = counted(concurrency=1)
    clock.auto = False

    async def scenario():
        async with served() as p:
            first = asyncio.create_task(p.email.send(mail(), timeout=1000))
            await settle()
            keys = [{key: f"{value}-{number}" for key, value in call.items()} for number in range(20)]
            rest = [asyncio.create_task(p.email.send(mail(), timeout=1000, **key)) for key in keys]
            await passing(clock, first)
            # Twenty places would have been more than an attempt has time for.
            assert clock.monotonic() == pytest.approx(2, abs=0.3)
            for one in rest:
                one.cancel()
            await asyncio.gather(*rest, return_exceptions=True)

    asyncio.run(scenario())
    assert len(alpha.calls) <= 2


def test_requests_of_all_processes_take_from_one_rate(counted, served, mail, wire, stores):
    counted(rate=Rate(per_second=0.01, burst=3))

    async def scenario():
        async with served(store=stores()) as ours, served(store=stores()) as theirs:
            await ours.email.send(mail())
            with pytest.raises(RateLimitedError) as caught:
                await theirs.email.send(mail(), timeout=50)
            return caught.value

    error = asyncio.run(scenario())
    assert error.retry_after == pytest.approx(100, abs=1)
    assert len(wire.moments) == 3


def test_a_request_that_gets_no_place_in_the_time_of_its_attempt_is_not_sent(counted, served, mail, clock, wire):
    counted(rate=Rate(per_second=0.05))

    async def scenario():
        async with served() as p:
            with pytest.raises(RateLimitedError, match="our own limit") as caught:
                await p.email.send(mail(), timeout=19)
            return caught.value

    error = asyncio.run(scenario())
    assert (error.code, error.outcome, error.vendor) == ("limit", Outcome.NOT_APPLIED, "alpha")
    assert error.retry_after == pytest.approx(20, abs=1e-5)
    assert error.retryable
    assert wire.moments == [0]


def test_a_limit_of_ours_in_the_middle_of_a_call_is_no_pause_the_vendor_asked_for(counted, served, mail, clock, wire):
    counted(rate=Rate(per_second=0.05))

    async def scenario():
        async with served() as p:
            with pytest.raises(RateLimitedError):
                await p.email.send(mail(), timeout=19)
            return next(iter(p._shared._guards.values())).health.paused_until

    assert asyncio.run(scenario()) == 0


def test_a_failed_place_is_waited_for_before_the_call_is_repeated(counted, served, mail, clock, wire):
    counted(requests=2, rate=Rate(per_second=1 / 12))

    async def scenario():
        async with served() as p:
            with pytest.raises(RateLimitedError):
                await p.email.send(mail(), timeout=100)

    asyncio.run(scenario())
    # An attempt has ten seconds: no second request ever gets in, and the rate is kept all the same.
    assert wire.moments == pytest.approx([0, 12, 24], abs=1e-5)


def test_one_who_is_cancelled_while_its_request_waits_holds_nobody_up(counted, served, mail, clock, wire):
    counted(concurrency=1)
    clock.auto = False

    async def scenario():
        async with served() as p:
            first = asyncio.create_task(p.email.send(mail()))
            second = asyncio.create_task(p.email.send(mail()))
            await settle()
            assert len(wire.moments) == 1
            first.cancel()
            (ref,) = await passing(clock, second)
            assert first.cancelled()
            return ref

    assert asyncio.run(scenario()).id == "m2"
    # The place that was waited for is gone, no more.
    assert wire.moments == pytest.approx([0, 2, 3, 4], abs=0.3)


def test_a_write_whose_next_request_waits_counts_as_not_sent(counted, served, mail, clock, wire):
    counted()
    clock.auto = False

    async def scenario():
        async with served() as p:
            first = asyncio.create_task(p.email.send(mail(), idempotency_key="a-mail"))
            await settle()
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            return [write async for write in p.unknowns.unknown()]

    assert asyncio.run(scenario()) == []


def test_a_pause_the_vendor_asks_for_holds_for_further_requests(counted, served, mail, clock, wire):
    alpha = counted(requests=2)

    async def paused():
        wire.answer = None
        await next(iter(alpha.shared._guards.values())).health.pause(5)

    async def scenario():
        async with served() as p:
            alpha.shared = p._shared
            wire.answer = paused
            await p.email.send(mail())

    asyncio.run(scenario())
    assert wire.moments == pytest.approx([0, 5], abs=1e-5)


def test_a_pause_that_another_process_was_asked_for_holds_for_further_requests(clock, tmp_path):
    ours, theirs = (limiter(clock, per=Per.REQUEST, store=SqliteStore(str(tmp_path / "db"), clock)) for _ in range(2))

    async def scenario():
        await theirs._health.pause(5)
        await ours.another()
        await asyncio.gather(ours._store.aclose(), theirs._store.aclose())

    asyncio.run(scenario())
    assert clock.slept == pytest.approx([5], abs=1e-5)


def test_calls_that_get_no_place_are_not_in_flight(counted, served, mail):
    counted(requests=1, concurrency=1)

    async def scenario():
        async with served() as p:
            await p.email.send(mail())
            for _ in range(3):
                with pytest.raises(RateLimitedError) as caught:
                    await p.email.send(mail(), timeout=0.5)
                assert caught.value.code == "limit"
            await p.email.send(mail())

    asyncio.run(scenario())


def test_requests_outside_a_call_take_a_place_each(counted, served, mail, clock, wire):
    alpha = counted(requests=1)

    async def scenario():
        async with served() as p:
            await p.email.send(mail())
            http = alpha.made[0].account.http()
            await http.send(REQUEST)
            await http.stream(REQUEST)

    asyncio.run(scenario())
    assert wire.moments == pytest.approx([0, 1, 2], abs=1e-5)


def test_an_attempt_of_its_own_inside_a_call_takes_a_place_and_the_call_keeps_its_distance(
    counted, served, clock, wire
):
    counted()

    async def renewed(adapter):
        token = ATTEMPT.set(Attempt())
        try:
            await adapter.account.http().send(REQUEST)
        finally:
            ATTEMPT.reset(token)
        await adapter.account.http().send(REQUEST)
        return Suppression(email="a@example.com", reason="bounced", vendor="alpha")

    async def scenario():
        async with served() as p:
            await p.email._route.first(LOOK, renewed, payload="q")

    asyncio.run(scenario())
    # The call's own place was free at 0: at 1 it would be the renewal's moment.
    assert wire.moments == pytest.approx([1, 2], abs=1e-5)


def test_others_have_the_transport_as_it_is(vendor, counted, served, mail, wire):
    alpha, beta = vendor("alpha", rate=SLOW), counted("beta", rate=None, requests=4)

    async def scenario():
        async with served() as p:
            await p.email.send(mail())
        async with served("beta") as p:
            await p.email.send(mail())

    asyncio.run(scenario())
    assert alpha.made[0].account.http() is wire
    assert len(beta.calls) == 1
    assert wire.moments == [0] * 4


# Points


@pytest.fixture
def pointed(vendor):
    """A vendor whose mails cost ten points, and its searches fifty."""

    def install(name="alpha", *, per_day=50_000, **facts):
        costs = {"send": 10, "search": 50, "look": 10}
        return vendor(name, **{"points": Points(per_day=per_day, costs=costs)} | facts)

    return install


def test_points_are_there_at_once_and_come_back_evenly(pointed, live, mail, clock):
    pointed(per_day=50)

    async def scenario():
        async with live() as p:
            for _ in range(7):
                await p.email.send(mail(), timeout=100_000)

    asyncio.run(scenario())
    # A fifth of the day for a fifth of the points.
    assert clock.slept == pytest.approx([17_280, 17_280], abs=1e-3)


def test_ten_of_fifty_thousand_points_a_day_are_back_in_seventeen_seconds(stores, clock):
    points = Points(per_day=50_000, costs={"search": 50, "details": 10})
    ours, theirs = (limiter(clock, points=points, store=stores()) for _ in range(2))

    async def scenario():
        await ours._store.take(Meter("points/account", 50_000 / 86_400, 50_000, 50_000))
        with pytest.raises(QuotaExceededError) as caught:
            await theirs.enter(clock.monotonic() + 10, operation="sourcing.details")
        with pytest.raises(QuotaExceededError) as longer:
            await theirs.enter(clock.monotonic() + 10, operation="sourcing.search")
        # Nothing was taken by those who were refused, and what costs nothing is free.
        await theirs.enter(clock.monotonic() + 10, operation="sourcing.get_order")
        await theirs.enter(clock.monotonic() + 1000, operation="sourcing.details")
        for one in {ours._store, theirs._store}:
            await one.aclose()
        return caught.value, longer.value

    error, longer = asyncio.run(scenario())
    assert clock.slept == pytest.approx([17.28], abs=0.5)
    assert error.retry_after == pytest.approx(17.28, abs=0.5)
    assert longer.retry_after == pytest.approx(86.4, abs=0.5)
    assert (error.code, error.outcome, error.retryable) == ("points", Outcome.NOT_APPLIED, True)


def test_a_call_that_costs_more_than_there_is_leaves_it_to_those_that_cost_less(pointed, live, mail, clock):
    alpha = pointed(per_day=60)

    async def searched(adapter):
        pytest.fail("it was asked")

    async def scenario():
        async with live() as p:
            await p.email.send(mail())
            await p.email.send(mail())
            with pytest.raises(QuotaExceededError, match="the 50 it costs are there in 14400") as caught:
                await p.email._route.first(SEARCH, searched)
            for _ in range(4):
                await p.email.send(mail())
            return caught.value

    error = asyncio.run(scenario())
    assert (error.code, error.vendor, error.operation) == ("points", "alpha", "email.search")
    assert error.retry_after == pytest.approx(14_400, abs=1e-3)
    assert clock.slept == []
    assert len(alpha.calls) == 6


def test_one_process_spends_what_the_others_then_lack(pointed, live, mail, stores):
    alpha = pointed(per_day=50)

    async def scenario():
        async with live(store=stores()) as ours, live(store=stores()) as theirs:
            sent = await asyncio.gather(*(p.email.send(mail()) for p in [ours, theirs] * 5), return_exceptions=True)
            return [type(one) for one in sent]

    kinds = asyncio.run(scenario())
    assert (kinds.count(MessageRef), kinds.count(QuotaExceededError)) == (5, 5)
    assert len(alpha.calls) == 5


def test_another_vendor_is_asked_where_points_take_long(pointed, vendor, live, mail, clock):
    pointed(per_day=10)
    vendor("beta")

    async def scenario():
        async with live("alpha,beta") as p:
            return [(await p.email.send(mail(), timeout=100_000)).vendor for _ in range(2)]

    assert asyncio.run(scenario()) == ["alpha", "beta"]
    assert clock.slept == []


def test_how_many_points_there_are_can_be_set(pointed, live, mail):
    alpha = pointed()

    async def scenario():
        async with live(environ={"PROVIDER_POINTS_ALPHA": "20/day"}) as p:
            await p.email.send(mail())
            await p.email.send(mail())
            with pytest.raises(QuotaExceededError):
                await p.email.send(mail())

    asyncio.run(scenario())
    assert len(alpha.calls) == 2


def test_every_attempt_costs(pointed, live, mail):
    alpha = pointed(per_day=20)
    alpha.script.extend(ProviderUnavailableError("down", outcome=Outcome.NOT_APPLIED) for _ in range(3))

    async def scenario():
        async with live() as p:
            with pytest.raises(QuotaExceededError):
                await p.email.send(mail())

    asyncio.run(scenario())
    assert len(alpha.calls) == 2


def test_who_is_refused_for_another_reason_pays_no_points(pointed, live, mail, clock):
    alpha = pointed(per_day=20, rate=SLOW)

    async def scenario():
        async with live() as p:
            await p.email.send(mail())
            for _ in range(5):
                with pytest.raises(RateLimitedError):
                    await p.email.send(mail(), timeout=0.5)
            await p.email.send(mail())

    asyncio.run(scenario())
    assert len(alpha.calls) == 2


def test_those_that_are_cancelled_while_they_wait_pay_nothing(pointed, live, mail, clock):
    pointed(per_day=86_400)
    clock.auto = False

    async def scenario():
        async with live() as p:
            await p.email.send(mail())
            limits = next(iter(p._shared._guards.values())).limiter
            await limits._store.take(Meter(limits._purse, 1, 86_400, 86_400))
            waiting = [asyncio.create_task(p.email.send(mail(), timeout=1000)) for _ in range(5)]
            await settle()
            for one in waiting[1:]:
                one.cancel()
            await asyncio.gather(*waiting[1:], return_exceptions=True)
            begun = clock.monotonic()
            await passing(clock, waiting[0], p.email.send(mail(), timeout=1000), seconds=1)
            return clock.monotonic() - begun

    # Ten seconds each for the one that waited and the one that came after, and for what the first had cost.
    assert asyncio.run(scenario()) == pytest.approx(30, abs=1)


def test_what_is_answered_from_the_cache_costs_nothing(pointed, live):
    alpha = pointed(per_day=10)

    async def answer(adapter):
        await adapter.play("look")
        return Suppression(email="a@example.com", reason="bounced", vendor="alpha")

    async def scenario():
        async with live() as p:
            for _ in range(5):
                await p.email._route.first(LOOK, answer, payload="q")
            with pytest.raises(QuotaExceededError):
                await p.email._route.first(LOOK, answer, payload="another")

    asyncio.run(scenario())
    assert len(alpha.calls) == 1


def test_tenants_with_accounts_of_their_own_have_their_own_points(pointed, live, mail):
    alpha = pointed(per_day=10)

    async def scenario():
        async with live() as p:
            await p.email.send(mail())
            with pytest.raises(QuotaExceededError):
                await p.scoped("m-1").email.send(mail())
            for tenant in ("m-2", "m-3"):
                own = p.scoped(tenant, credentials={"ALPHA_KEY": f"key-of-{tenant}"})
                await own.email.send(mail())
                with pytest.raises(QuotaExceededError):
                    await own.email.send(mail())

    asyncio.run(scenario())
    assert len(alpha.calls) == 3


def test_a_vendor_that_says_its_points_are_used_up_is_not_paused(pointed, live, mail, clock):
    alpha = pointed()
    alpha.script.append(QuotaExceededError("no points left", code="16900500", retry_after=80))

    async def scenario():
        async with live() as p:
            with pytest.raises(QuotaExceededError, match="no points left"):
                await p.email.send(mail())
            await p.email.send(mail())

    asyncio.run(scenario())
    assert len(alpha.calls) == 2
    assert clock.slept == []
