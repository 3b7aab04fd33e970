"""What one process finds out about a vendor, all that share the store know; and one at a time means one."""

import asyncio

import pytest

from providers.core.breaker import FAILURES, OPEN_SECONDS
from providers.core.health import LOOK_SECONDS, Health
from providers.core.lock import LEASE, locked
from providers.core.sqlite import SqliteStore
from providers.core.store import MemoryStore
from providers.errors import (
    ConflictError,
    Outcome,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
)


@pytest.fixture
def stores(tmp_path, clock):
    """`stores()`: the same file, opened as another process would."""
    return lambda: SqliteStore(str(tmp_path / "state.db"), clock)


async def fail(email, mail, times):
    for _ in range(times):
        with pytest.raises(ProviderTimeoutError):
            await email.send(mail())


def test_a_breaker_that_opened_in_one_process_is_open_in_the_others_within_a_second(vendor, live, mail, stores, clock):
    alpha = vendor("alpha")

    async def scenario():
        async with live(store=stores()) as one, live(store=stores()) as two:
            await two.email.send(mail())
            alpha.script.extend(ProviderTimeoutError("no answer") for _ in range(FAILURES))
            await fail(one.email, mail, FAILURES)
            clock.advance(LOOK_SECONDS)
            with pytest.raises(ProviderUnavailableError, match="not asked") as caught:
                await two.email.send(mail())
            return caught.value

    error = asyncio.run(scenario())
    assert error.code == "breaker"
    assert error.retry_after == pytest.approx(OPEN_SECONDS - LOOK_SECONDS)
    assert len(alpha.calls) == 1 + FAILURES


def test_of_all_processes_one_tries_again_and_its_success_lets_the_others_in(vendor, live, mail, stores, clock):
    alpha = vendor("alpha")

    async def scenario():
        async with live(store=stores()) as one, live(store=stores()) as two, live(store=stores()) as three:
            alpha.script.extend(ProviderTimeoutError("no answer") for _ in range(FAILURES))
            await fail(one.email, mail, FAILURES)
            clock.advance(OPEN_SECONDS + 1)
            asked, answer = asyncio.Event(), asyncio.Event()

            async def probing():
                asked.set()
                await answer.wait()

            alpha.script.append(probing)
            probe = asyncio.create_task(two.email.send(mail()))
            await asked.wait()
            for other in (one, three):
                with pytest.raises(ProviderUnavailableError, match="not asked"):
                    await other.email.send(mail())
            answer.set()
            await probe
            clock.advance(LOOK_SECONDS)
            for each in (one, two, three):
                await each.email.send(mail())

    asyncio.run(scenario())
    assert len(alpha.calls) == FAILURES + 1 + 3


def test_a_pause_that_one_process_was_told_holds_for_the_others(vendor, live, mail, stores, clock):
    alpha = vendor("alpha")
    alpha.script.append(RateLimitedError("slow down", retry_after=20))

    async def scenario():
        async with live(store=stores()) as one, live(store=stores()) as two:
            with pytest.raises(RateLimitedError):
                await one.email.send(mail(), timeout=5)
            asked = clock.monotonic()
            await two.email.send(mail())
            return clock.monotonic() - asked

    assert asyncio.run(scenario()) == pytest.approx(20, abs=0.01)


def test_a_store_that_is_away_costs_the_experience_of_others_and_no_call(vendor, live, mail, clock, caplog):
    alpha = vendor("alpha")

    class Away(MemoryStore):
        shared = True

        async def get(self, key):
            raise ProviderUnavailableError("the state store is away", outcome=Outcome.NOT_APPLIED)

        async def put(self, items, *, ttl=None):
            raise ProviderUnavailableError("the state store is away", outcome=Outcome.NOT_APPLIED)

    alpha.script.append(RateLimitedError("slow down", retry_after=2))

    async def scenario():
        async with live(store=Away(clock)) as p:
            return await p.email.send(mail())

    assert str(asyncio.run(scenario())) == "alpha:m2"
    assert "cannot be read" in caplog.text
    assert "cannot be told" in caplog.text


@pytest.mark.parametrize("kept", [b"", b"null", b"[1]", b"{}", b"not json", b'["a", 0]', b"[1, 2, 3]"])
def test_a_record_of_another_version_says_nothing(stores, clock, kept):
    async def scenario():
        store = stores()
        await store.put([("health/account", kept)])
        health = Health("account", store, clock)
        await health.look()
        await store.aclose()
        return health.open_until, health.paused_until

    assert asyncio.run(scenario()) == (0, 0)


def test_a_lock_is_held_by_one_at_a_time_and_passed_on(stores, clock):
    inside, most, order = 0, 0, []

    async def work(name):
        nonlocal inside, most
        store = stores()
        async with locked("token/shop", store=store, clock=clock, deadline=clock.monotonic() + 1000):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            order.append(name)
            inside -= 1
        await store.aclose()

    async def scenario():
        await asyncio.gather(*(work(name) for name in range(6)))

    asyncio.run(scenario())
    assert most == 1
    assert sorted(order) == list(range(6))


def test_who_waits_too_long_for_a_lock_is_told_and_leaves_it_alone(stores, clock):
    async def scenario():
        ours, theirs = stores(), stores()
        async with locked("token", store=ours, clock=clock, deadline=10):
            with pytest.raises(ConflictError) as caught:
                async with locked("token", store=theirs, clock=clock, deadline=clock.monotonic() + 3):
                    pytest.fail("held twice")
            still = await theirs.get("lock/token")
        after = await theirs.get("lock/token")
        await ours.aclose()
        await theirs.aclose()
        return caught.value, still, after

    error, still, after = asyncio.run(scenario())
    assert (error.code, error.outcome) == ("in_flight", Outcome.NOT_APPLIED)
    assert still is not None
    assert after is None


def test_a_lock_of_a_dead_process_comes_free_and_its_late_release_frees_nobody_else_s(stores, clock):
    async def scenario():
        store = stores()
        dead = locked("token", store=store, clock=clock, deadline=10)
        await dead.__aenter__()
        clock.advance(LEASE + 1)
        async with locked("token", store=store, clock=clock, deadline=clock.monotonic() + 1):
            mine = await store.get("lock/token")
            await dead.__aexit__(None, None, None)
            kept = await store.get("lock/token")
        await store.aclose()
        return mine, kept

    mine, kept = asyncio.run(scenario())
    assert mine == kept


def test_an_operation_that_looks_before_it_makes_runs_once_at_a_time(vendor, live, stores):
    alpha = vendor("alpha")
    inside, most = 0, 0

    async def domain(self, name):
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0)
        inside -= 1
        return name

    alpha.domain = domain

    async def scenario():
        async with live(store=stores()) as one, live(store=stores()) as two:
            return await asyncio.gather(*(p.email.domain("shop.example.com") for p in (one, two) * 3))

    assert asyncio.run(scenario()) == ["shop.example.com"] * 6
    assert most == 1
