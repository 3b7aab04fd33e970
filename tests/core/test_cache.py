"""Answers to reads: kept for a while, and one flight for equal questions."""

import asyncio

import pytest

from providers.core.operation import Effect, Operation
from providers.core.sqlite import SqliteStore
from providers.core.store import MemoryStore
from providers.email import Suppression
from providers.errors import NotFoundError, Outcome, ProviderError, ProviderUnavailableError, RateLimitedError

LOOK = Operation(name="email.look", effect=Effect.READ, result=Suppression, cache=60)
ANSWER = Suppression(email="a@example.com", reason="bounced", vendor="alpha")


@pytest.fixture
def alpha(vendor):
    return vendor("alpha")


@pytest.fixture
def look():
    """Ask a cached question through a view, as a capability would."""

    async def answer(adapter):
        await adapter.play("look")
        return ANSWER

    def look(view, question="q", **options):
        return view.email._route.first(options.pop("operation", LOOK), answer, payload=question, **options)

    return look


async def settle():
    for _ in range(10):
        await asyncio.sleep(0)


def test_an_equal_question_is_answered_from_the_cache_until_its_time_is_over(alpha, live, look, clock):
    async def scenario():
        async with live() as p:
            answers = [await look(p), await look(p)]
            clock.advance(59)
            answers.append(await look(p))
            assert len(alpha.calls) == 1
            clock.advance(1)
            return [*answers, await look(p)]

    assert asyncio.run(scenario()) == [ANSWER] * 4
    assert len(alpha.calls) == 2


def test_fresh_asks_again_and_renews_the_cache(alpha, live, look, clock):
    async def scenario():
        async with live() as p:
            await look(p)
            clock.advance(50)
            await look(p, fresh=True)
            clock.advance(50)
            await look(p)

    asyncio.run(scenario())
    assert len(alpha.calls) == 2


def test_other_questions_tenants_and_accounts_have_their_own_answers(alpha, live, look):
    async def scenario():
        async with live() as p:
            await look(p)
            await look(p, "other")
            await look(p.scoped("m-1"))
            await look(p.scoped("m-1", credentials={"ALPHA_KEY": "key-of-m-1"}))

    asyncio.run(scenario())
    assert len(alpha.calls) == 4


@pytest.mark.parametrize("changed", [{"cache": 0}, {"effect": Effect.IDEMPOTENT}, {"effect": Effect.ONCE}])
def test_writes_and_reads_without_a_lifetime_are_never_cached(alpha, live, look, changed):
    fields = {"name": "email.look", "effect": Effect.READ, "result": Suppression, "cache": 60.0} | changed

    async def scenario():
        async with live() as p:
            for _ in range(3):
                await look(p, operation=Operation(**fields))

    asyncio.run(scenario())
    assert len(alpha.calls) == 3


def test_questions_asked_at_once_share_one_flight(alpha, live, look):
    done = asyncio.Event()
    alpha.script.append(done.wait)

    async def scenario():
        async with live() as p:
            asked = [asyncio.create_task(look(p)) for _ in range(20)]
            await settle()
            done.set()
            return await asyncio.gather(*asked)

    assert asyncio.run(scenario()) == [ANSWER] * 20
    assert len(alpha.calls) == 1


def test_an_error_is_shared_by_those_who_asked_and_not_kept(alpha, live, look):
    async def failing():
        await settle()
        raise NotFoundError("none")

    alpha.script.append(failing)

    async def scenario():
        async with live() as p:
            failures = await asyncio.gather(*(look(p) for _ in range(3)), return_exceptions=True)
            return failures, await look(p)

    failures, answer = asyncio.run(scenario())
    assert {type(failure) for failure in failures} == {NotFoundError}
    assert answer == ANSWER
    assert len(alpha.calls) == 2


def test_a_follower_survives_a_cancelled_leader(alpha, live, look):
    alpha.script.extend([asyncio.Event().wait, settle])

    async def scenario():
        async with live() as p:
            leader, *followers = (asyncio.create_task(look(p)) for _ in range(3))
            await settle()
            leader.cancel()
            answers = await asyncio.gather(*followers)
            assert leader.cancelled()
            return answers

    assert asyncio.run(scenario()) == [ANSWER] * 2
    assert len(alpha.calls) == 2


def test_a_cancelled_follower_leaves_the_flight_alone(alpha, live, look):
    done = asyncio.Event()
    alpha.script.append(done.wait)

    async def scenario():
        async with live() as p:
            leader, follower = (asyncio.create_task(look(p)) for _ in range(2))
            await settle()
            follower.cancel()
            await settle()
            assert follower.cancelled()
            done.set()
            return await leader

    assert asyncio.run(scenario()) == ANSWER


def test_a_follower_has_its_own_deadline(alpha, live, look, clock):
    clock.auto = False
    done = asyncio.Event()
    alpha.script.append(done.wait)

    async def scenario():
        async with live() as p:
            leader = asyncio.create_task(look(p, timeout=9))
            await settle()
            follower = asyncio.create_task(look(p, timeout=2))
            await settle()
            clock.advance(3)
            await settle()
            assert follower.done()
            with pytest.raises(ProviderError):
                await follower
            done.set()
            return await leader

    assert asyncio.run(scenario()) == ANSWER


def test_answers_outlive_the_instance_in_a_shared_store(alpha, live, look, clock, tmp_path):
    async def scenario():
        for _ in range(2):
            async with live(store=SqliteStore(str(tmp_path / "state.db"), clock)) as p:
                assert await look(p) == ANSWER

    asyncio.run(scenario())
    assert len(alpha.calls) == 1


def test_an_answer_that_another_version_wrote_is_asked_for_again(alpha, live, look, clock):
    store = MemoryStore(clock)

    async def scenario():
        async with live(store=store) as p:
            await look(p)
            ((key, _),) = [item async for item in store.scan("cache/")]
            await store.put([(key, b'{"of": "another version"}')])
            return await look(p)

    assert asyncio.run(scenario()) == ANSWER
    assert len(alpha.calls) == 2


class BrokenStore(MemoryStore):
    async def get(self, key):
        raise ProviderUnavailableError("the state store failed", outcome=Outcome.NOT_APPLIED)

    async def put(self, items, *, ttl=None):
        raise ProviderUnavailableError("the state store failed", outcome=Outcome.NOT_APPLIED)


def test_a_cache_that_fails_does_not_stand_between_a_question_and_its_answer(alpha, live, look, clock):
    async def scenario():
        async with live(store=BrokenStore(clock)) as p:
            return await look(p)

    assert asyncio.run(scenario()) == ANSWER


def test_a_read_is_repeated_and_its_outcome_is_never_unknown(alpha, live, look, clock):
    alpha.script.extend([ProviderUnavailableError("down"), RateLimitedError("slow", retry_after=3), None])

    async def scenario():
        async with live() as p:
            assert await look(p) == ANSWER
            alpha.script.extend([ProviderUnavailableError("down")] * 3)
            with pytest.raises(ProviderUnavailableError) as caught:
                await look(p, "other")
            return caught.value

    error = asyncio.run(scenario())
    assert error.outcome is Outcome.NOT_APPLIED
    assert error.retryable
