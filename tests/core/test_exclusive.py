"""One at a time: what looks whether something is there, and makes it if not."""

import asyncio
import logging

import pytest

from providers.core.lock import LEASE, locked
from providers.core.operation import Effect, Operation
from providers.core.sqlite import SqliteStore
from providers.core.store import MemoryStore
from providers.email import MessageRef
from providers.errors import ConflictError, Outcome, ProviderUnavailableError

ENSURE = Operation(name="email.ensure", effect=Effect.IDEMPOTENT, result=MessageRef, exclusive=True)
LONG = Operation(
    name="email.sync", effect=Effect.IDEMPOTENT, result=MessageRef, exclusive=True, timeout=300, attempt_timeout=200
)


@pytest.fixture
def alpha(vendor):
    return vendor("alpha")


@pytest.fixture
def ensure(clock):
    """Look, take a while, make: through a view, as a capability would do it."""
    there = {}

    def ensure(view, name, *, operation=ENSURE, timeout=None, seconds=2.0):
        async def step(adapter):
            key = adapter.account.get("ALPHA_KEY"), name
            seen = key in there
            await clock.sleep(seconds)
            await adapter.play(name)
            if not seen:
                there.setdefault(key, []).append(name)
            return MessageRef(vendor="alpha", id=name)

        return view.email._route.one(operation, None, step, payload=name, timeout=timeout)

    ensure.there = there
    return ensure


def test_equal_ones_are_made_one_after_another_so_that_one_thing_is_made(alpha, live, ensure, clock):
    async def scenario():
        async with live() as p:
            return await asyncio.gather(*(ensure(p, "ann") for _ in range(3)))

    assert len(set(asyncio.run(scenario()))) == 1
    assert [len(made) for made in ensure.there.values()] == [1]
    assert clock.monotonic() >= 6


def test_others_and_those_of_other_accounts_do_not_wait(alpha, live, ensure, clock):
    async def scenario():
        async with live() as p:
            tenant = p.scoped("m-1", credentials={"ALPHA_KEY": "key-of-m-1"})
            calls = [ensure(p, "ann"), ensure(p, "ben"), ensure(tenant, "ann")]
            tasks = [asyncio.create_task(call) for call in calls]
            clock.auto = False
            for _ in range(50):
                await asyncio.sleep(0)
            clock.advance(2)
            return await asyncio.gather(*tasks)

    assert len(asyncio.run(scenario())) == 3
    # The account's own calls may wait for a place, never for each other.
    assert clock.monotonic() == 2


def test_two_views_of_one_account_wait_for_each_other(alpha, live, ensure, clock):
    async def scenario():
        async with live() as p:
            await asyncio.gather(ensure(p, "ann"), ensure(p.scoped("m-1"), "ann"))

    asyncio.run(scenario())
    assert [len(made) for made in ensure.there.values()] == [1]


def test_two_processes_wait_for_each_other(alpha, live, ensure, clock, tmp_path):
    path = str(tmp_path / "state.db")

    async def scenario():
        async with live(store=SqliteStore(path, clock)) as one, live(store=SqliteStore(path, clock)) as two:
            await asyncio.gather(ensure(one, "ann"), ensure(two, "ann"))

    asyncio.run(scenario())
    assert [len(made) for made in ensure.there.values()] == [1]


def test_who_waits_longer_than_the_deadline_is_told_so(alpha, live, ensure, clock):
    gate = asyncio.Event()
    alpha.script.append(gate.wait)

    async def scenario():
        async with live() as p:
            first = asyncio.create_task(ensure(p, "ann", timeout=100))
            await alpha.called()
            with pytest.raises(ConflictError) as caught:
                await ensure(p, "ann", timeout=3)
            gate.set()
            await first
            return caught.value

    error = asyncio.run(scenario())
    assert (error.code, error.retryable, error.outcome) == ("in_flight", True, Outcome.NOT_APPLIED)
    assert len(alpha.calls) == 1


def test_a_call_longer_than_the_usual_lease_is_not_overtaken(alpha, live, ensure, clock):
    gate = asyncio.Event()
    alpha.script.append(gate.wait)

    async def scenario():
        async with live() as p:
            first = asyncio.create_task(ensure(p, "ann", operation=LONG))
            await alpha.called()
            clock.advance(LEASE + 1)
            with pytest.raises(ConflictError):
                await ensure(p, "ann", operation=LONG, timeout=3)
            gate.set()
            await first

    asyncio.run(scenario())
    assert len(alpha.calls) == 1


def test_a_failure_frees_the_next(alpha, live, ensure):
    alpha.script.append(ProviderUnavailableError("down", retry_after=1e6, outcome=Outcome.NOT_APPLIED))

    async def scenario():
        async with live() as p:
            with pytest.raises(ProviderUnavailableError):
                await ensure(p, "ann")
            await ensure(p, "ann")
            return [key async for key, _ in p.store.scan("lock/")]

    assert asyncio.run(scenario()) == []


class StuckStore(MemoryStore):
    """Takes no lock back."""

    async def swap(self, key, old, new, *, ttl=None):
        if new is None:
            raise ProviderUnavailableError("the state store failed", code="store", outcome=Outcome.NOT_APPLIED)
        return await super().swap(key, old, new, ttl=ttl)


def test_a_lock_that_cannot_be_released_is_logged_and_does_not_hide_the_result(alpha, live, ensure, clock, caplog):
    async def scenario():
        async with live(store=StuckStore(clock)) as p:
            return await ensure(p, "ann")

    assert asyncio.run(scenario()).id == "ann"
    assert "could not be released" in caplog.text
    assert caplog.records[-1].levelno == logging.ERROR


def test_nor_does_it_hide_the_error_and_the_lease_frees_it(clock):
    async def scenario():
        store = StuckStore(clock)
        with pytest.raises(KeyError):
            async with locked("token", store=store, clock=clock, deadline=10):
                raise KeyError
        clock.advance(LEASE)
        async with locked("token", store=store, clock=clock, deadline=clock.monotonic() + 10):
            return True

    assert asyncio.run(scenario())
