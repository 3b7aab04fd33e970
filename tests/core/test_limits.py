"""Waiting for a place: rate, concurrency, and pauses that a vendor asks for."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.core.health import Health
from providers.core.limits import Limiter
from providers.core.operation import Rate
from providers.core.store import MemoryStore
from providers.errors import InvalidRequestError, RateLimitedError
from providers.testing.clock import ManualClock

SLOW = Rate(per_second=1)


def limiter(clock, *, rate=None, concurrency=None, store=None):
    store = store or MemoryStore(clock)
    health = Health("account", store, clock)
    return Limiter("account", rate=rate, concurrency=concurrency, health=health, store=store, clock=clock)


async def settle():
    for _ in range(10):
        await asyncio.sleep(0)


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
