"""Answers to reads: kept for a while, one flight for equal questions, and an old answer rather than none."""

import asyncio
import gc
import logging
import weakref
from dataclasses import replace
from functools import partial
from itertools import count

import pytest

from providers.core.cache import NEAR
from providers.core.models import Model, Raw
from providers.core.operation import Effect, Operation
from providers.core.sqlite import SqliteStore
from providers.core.store import MemoryStore
from providers.email import Suppression
from providers.email.facts import FACTS
from providers.errors import (
    AuthenticationError,
    BadResponseError,
    BudgetExceededError,
    ConfigurationError,
    ConflictError,
    CredentialRevokedError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    PermissionDeniedError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    QuotaExceededError,
    RateLimitedError,
    RejectedError,
    UnsupportedOperationError,
)

LOOK = Operation(name="email.look", effect=Effect.READ, result=Suppression, cache=60)
ANSWER = Suppression(email="a@example.com", reason="bounced", vendor="alpha")


class Answer(Model):
    """Tells one asking from the next, and has the vendor's reply with it."""

    number: int
    raw: Raw = None


OLD = Operation(name="email.old", effect=Effect.READ, result=Answer, cache=60, stale=240, attempts=1)
COUNTED = replace(OLD, unit="email")


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


def test_a_follower_with_more_time_than_the_leader_asks_when_that_gives_up(alpha, live, ask, clock):
    clock.auto = False
    alpha.script.append(asyncio.Event().wait)

    async def scenario():
        async with live() as p:
            leader, *followers = (asyncio.create_task(ask(p, timeout=seconds)) for seconds in (2, 9, 9))
            await settle()
            clock.advance(2)
            return await asyncio.gather(leader, *followers, return_exceptions=True)

    late, *answers = asyncio.run(scenario())
    assert isinstance(late, ProviderTimeoutError)
    assert [answer.number for answer in answers] == [1, 1]
    assert len(alpha.calls) == 2


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
        for text in (b'{"of": "another version"}', b'1795359600.0\n{"of": "another version"}'):
            ((key, _),) = [item async for item in store.scan("cache/")]
            await store.put([(key, text)])
            async with live(store=store) as p:
                answer = await look(p)
        return answer

    assert asyncio.run(scenario()) == ANSWER
    assert len(alpha.calls) == 3


@pytest.fixture
def ask():
    """Ask a question whose answers are numbered, over all views and vendors; `asked.numbers` of them were given."""
    numbers = count(1)

    async def answer(adapter):
        if hasattr(adapter, "play"):
            await adapter.play("ask")
        return Answer(number=next(numbers), raw={"vendor": adapter.facts.vendor})

    def ask(view, question="q", *, operation=OLD, vendor=None, **options):
        return view.email._route.one(operation, vendor, answer, payload=question, **options)

    return ask


class CountingStore(MemoryStore):
    """Knows how often it was asked for a cached answer."""

    def __init__(self, clock):
        super().__init__(clock)
        self.reads = 0

    async def get(self, key):
        self.reads += key.startswith("cache/")
        return await super().get(key)


def test_a_process_answers_from_its_own_copy_with_the_vendors_reply(alpha, live, ask, clock):
    store = CountingStore(clock)

    async def scenario():
        async with live(store=store) as p:
            return [await ask(p) for _ in range(3)]

    first, second, third = asyncio.run(scenario())
    assert second is first
    assert third.raw == {"vendor": "alpha"}
    assert store.reads == 1


def test_what_one_caller_does_to_a_list_is_not_seen_by_the_next(alpha, live):
    listed = Operation(name="email.listed", effect=Effect.READ, result=list[int], cache=60)

    async def answer(adapter):
        await settle()
        return [1, 2, 3]

    async def scenario():
        async with live() as p:
            seen = []
            for _ in range(3):
                both = await asyncio.gather(*(p.email._route.one(listed, None, answer) for _ in range(2)))
                seen.extend([*each] for each in both)
                for each in both:
                    each.clear()
            return seen

    assert asyncio.run(scenario()) == [[1, 2, 3]] * 6


def test_pages_of_a_list_are_questions_of_their_own(alpha, live):
    paged = Operation(name="email.paged", effect=Effect.READ, result=tuple[list[str], str], cache=60)
    next_pages = {"": "b", "b": "c", "c": ""}

    async def step(adapter, cursor, *, prefix):
        await adapter.play(cursor)
        return [prefix + cursor], next_pages[cursor]

    async def read(p, prefix):
        pages = p.email._route.pages(paged, None, partial(step, prefix=prefix), payload=prefix)
        return [item async for item in pages]

    async def scenario():
        async with live() as p:
            return [await read(p, prefix) for prefix in "xyx"]

    assert asyncio.run(scenario()) == [["x", "xb", "xc"], ["y", "yb", "yc"], ["x", "xb", "xc"]]
    assert len(alpha.calls) == 6


def test_the_copies_of_a_process_are_bounded_and_those_used_last_stay(alpha, live, clock):
    store, held = CountingStore(clock), []

    async def answer(adapter):
        made = Answer(number=1, raw="x")
        held.append(weakref.ref(made))
        return made

    async def ask(p, question):
        await p.email._route.one(OLD, None, answer, payload=question)

    async def scenario():
        async with live(store=store) as p:
            for number in range(3 * NEAR):
                await ask(p, "often")
                await ask(p, number)
            gc.collect()
            assert sum(each() is not None for each in held) == NEAR
            store.reads = 0
            await ask(p, "often")
            await ask(p, 3 * NEAR - 1)
            assert store.reads == 0
            await ask(p, 0)
            assert store.reads == 1

    asyncio.run(scenario())
    assert len(held) == 3 * NEAR + 1


def test_a_renewed_copy_stays_as_one_used_last(alpha, live, ask, clock):
    store = CountingStore(clock)

    async def scenario():
        async with live(store=store) as p:
            await ask(p, "first")
            for number in range(NEAR - 1):
                await ask(p, number)
            await ask(p, "first", fresh=True)
            await ask(p, "another")
            store.reads = 0
            await ask(p, "first")
            return store.reads

    assert asyncio.run(scenario()) == 0


def test_processes_take_each_others_newer_answers(alpha, live, ask, clock, tmp_path):
    async def scenario():
        stores = [SqliteStore(str(tmp_path / "state.db"), clock) for _ in range(2)]
        async with live(store=stores[0]) as one, live(store=stores[1]) as two:
            seen = [await ask(one), await ask(two)]
            clock.advance(60)
            seen += [await ask(two), await ask(one)]
            clock.advance(59)
            seen += [await ask(one), await ask(two)]
            clock.advance(1)
            # The age of an answer counts from when it was fetched, not from when this process first saw it.
            return [*seen, await ask(one)]

    assert [answer.number for answer in asyncio.run(scenario())] == [1, 1, 2, 2, 2, 2, 3]
    assert len(alpha.calls) == 3


def test_an_answer_read_late_from_the_store_does_not_live_longer(alpha, live, ask, clock, tmp_path):
    async def scenario():
        stores = [SqliteStore(str(tmp_path / "state.db"), clock) for _ in range(2)]
        async with live(store=stores[0]) as one, live(store=stores[1]) as two:
            await ask(one)
            clock.advance(59.5)
            seen = [await ask(two)]
            clock.advance(0.5)
            return [*seen, await ask(two)]

    assert [answer.number for answer in asyncio.run(scenario())] == [1, 2]


FAILURES = [
    ProviderUnavailableError("down", status=503),
    ProviderTimeoutError("late"),
    RateLimitedError("slow"),
    BadResponseError("not JSON"),
    QuotaExceededError("no credits"),
    BudgetExceededError("spent"),
]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
@pytest.mark.parametrize("near", [True, False], ids=["own copy", "from the store"])
def test_an_old_answer_stands_in_when_the_vendor_fails(alpha, live, ask, clock, caplog, failure, near):
    store = MemoryStore(clock)

    async def scenario():
        async with live(store=store) as p:
            await ask(p)
            if near:
                return await again(p)
        async with live(store=store) as p:
            return await again(p)

    async def again(p):
        clock.advance(60)
        alpha.script.append(failure)
        old = await ask(p)
        # The vendor is asked each time, until it answers.
        return old, await ask(p)

    with caplog.at_level(logging.WARNING, "providers"):
        old, new = asyncio.run(scenario())
    assert (old.number, new.number) == (1, 2)
    (record,) = caplog.records
    assert "email.old: an answer 60 seconds old stands in" in record.getMessage()
    assert type(failure).__name__ in record.getMessage()
    assert len(alpha.calls) == 3


ANSWERS = [
    AuthenticationError("no"),
    CredentialRevokedError("gone"),
    PermissionDeniedError("no"),
    ConfigurationError("no"),
    UnsupportedOperationError("no"),
]
REFUSALS = [NotFoundError("none"), InvalidRequestError("bad"), ConflictError("no"), RejectedError("no")]


@pytest.mark.parametrize("failure", ANSWERS + REFUSALS, ids=lambda failure: type(failure).__name__)
def test_what_is_no_passing_failure_is_raised_and_a_refusal_ends_the_old_answer(alpha, live, ask, clock, failure):
    store = MemoryStore(clock)

    async def scenario():
        async with live(store=store) as p:
            await ask(p)
            clock.advance(60)
            alpha.script.extend([failure, ProviderUnavailableError("down"), ProviderUnavailableError("down")])
            with pytest.raises(type(failure)):
                await ask(p)
            here = await outcome(p)
        async with live(store=store) as p:
            return here, await outcome(p)

    async def outcome(p):
        try:
            return (await ask(p)).number
        except ProviderUnavailableError:
            return None

    kept = None if failure in REFUSALS else 1
    assert asyncio.run(scenario()) == (kept, kept)


def test_a_refusal_of_a_fresh_question_ends_the_answer_that_was_kept(alpha, live, ask):
    async def scenario():
        async with live() as p:
            await ask(p)
            alpha.script.append(NotFoundError("none"))
            with pytest.raises(NotFoundError):
                await ask(p, fresh=True)
            return await ask(p)

    assert asyncio.run(scenario()).number == 2


def test_an_error_of_a_bug_is_not_covered_up(alpha, live, ask, clock):
    async def scenario():
        async with live() as p:
            await ask(p)
            clock.advance(60)
            alpha.script.append(ZeroDivisionError())
            with pytest.raises(ZeroDivisionError):
                await ask(p)

    asyncio.run(scenario())


def test_an_old_answer_stands_in_for_so_long_and_no_longer(alpha, live, ask, clock):
    async def scenario():
        async with live() as p:
            await ask(p)
            clock.advance(299)
            alpha.script.extend([ProviderUnavailableError("down"), ProviderUnavailableError("down")])
            assert (await ask(p)).number == 1
            clock.advance(1)
            with pytest.raises(ProviderUnavailableError):
                await ask(p)

    asyncio.run(scenario())


def test_without_a_time_for_it_no_old_answer_stands_in(alpha, live, look, clock):
    async def scenario():
        async with live() as p:
            await look(p)
            clock.advance(60)
            alpha.script.extend([ProviderUnavailableError("down")] * 3)
            with pytest.raises(ProviderUnavailableError):
                await look(p)

    asyncio.run(scenario())


@pytest.mark.parametrize("failure", [ProviderUnavailableError("down"), BudgetExceededError("spent")])
def test_who_wants_a_fresh_answer_is_never_given_an_old_one(alpha, live, ask, failure):
    down = asyncio.Event()

    async def failing():
        await down.wait()
        raise failure

    alpha.script.extend([None, failing, failing])

    async def scenario():
        async with live() as p:
            await ask(p)
            asked = [asyncio.create_task(ask(p, fresh=True)) for _ in range(3)]
            await settle()
            # Who does not mind is not kept waiting.
            assert (await ask(p)).number == 1
            down.set()
            failures = await asyncio.gather(*asked, return_exceptions=True)
            assert {type(each) for each in failures} == {type(failure)}
            return await ask(p)

    assert asyncio.run(scenario()).number == 1
    assert len(alpha.calls) == 2


def test_a_fresh_question_does_not_wait_for_one_that_may_be_given_an_old_answer(alpha, live, ask, clock):
    down = asyncio.Event()

    async def failing():
        await down.wait()
        raise ProviderUnavailableError("down")

    async def scenario():
        async with live() as p:
            await ask(p)
            clock.advance(60)
            alpha.script.append(failing)
            any_age = asyncio.create_task(ask(p))
            await settle()
            fresh = await ask(p, fresh=True)
            down.set()
            return (await any_age).number, fresh.number

    assert asyncio.run(scenario()) == (1, 2)


def test_followers_are_given_the_old_answer_too(alpha, live, ask, clock):
    async def failing():
        await settle()
        raise ProviderUnavailableError("down")

    async def scenario():
        async with live() as p:
            await ask(p)
            clock.advance(60)
            alpha.script.append(failing)
            return await asyncio.gather(*(ask(p) for _ in range(20)))

    assert {answer.number for answer in asyncio.run(scenario())} == {1}
    assert len(alpha.calls) == 2


def test_a_follower_whose_time_is_over_is_given_the_old_answer(alpha, live, ask, clock):
    clock.auto = False
    done = asyncio.Event()

    async def scenario():
        async with live() as p:
            await ask(p)
            clock.advance(60)
            alpha.script.append(done.wait)
            leader = asyncio.create_task(ask(p, timeout=9))
            await settle()
            follower = asyncio.create_task(ask(p, timeout=2))
            await settle()
            clock.advance(3)
            old = await follower
            done.set()
            return old.number, (await leader).number

    assert asyncio.run(scenario()) == (1, 2)


def test_an_old_answer_stands_in_while_the_vendor_is_left_alone(alpha, live, ask, clock, caplog):
    async def scenario():
        async with live() as p:
            await ask(p)
            clock.advance(60)
            alpha.script.extend([ProviderUnavailableError("down")] * 5)
            return [(await ask(p)).number for _ in range(9)]

    with caplog.at_level(logging.WARNING, "providers"):
        assert asyncio.run(scenario()) == [1] * 9
    assert len(alpha.calls) == 1 + 5
    assert sum("stands in" in record.getMessage() for record in caplog.records) == 5


def test_a_warning_of_an_old_answer_shows_no_secret(alpha, live, ask, clock, caplog):
    async def scenario():
        async with live() as p:
            await ask(p)
            clock.advance(60)
            alpha.script.append(ProviderUnavailableError("alpha-key-value is down"))
            await ask(p)

    with caplog.at_level(logging.DEBUG, "providers"):
        asyncio.run(scenario())
    assert "stands in" in caplog.text
    assert "alpha-key-value" not in caplog.text


def test_hits_followers_and_old_answers_cost_nothing(alpha, live, ask, clock):
    async def failing():
        await settle()
        raise ProviderUnavailableError("down")

    ask = partial(ask, operation=COUNTED)

    async def scenario():
        async with live(budgets={"alpha": "3/day"}) as p:
            await asyncio.gather(*(ask(p) for _ in range(20)))  # one
            for _ in range(20):
                await ask(p)
            clock.advance(60)
            alpha.script.append(failing)
            assert {answer.number for answer in await asyncio.gather(*(ask(p) for _ in range(20)))} == {1}
            assert (await ask(p)).number == 2  # two
            assert (await ask(p, fresh=True)).number == 3  # three
            with pytest.raises(BudgetExceededError):
                await ask(p, fresh=True)
            with pytest.raises(BudgetExceededError):
                await ask(p, "another")
            assert (await ask(p)).number == 3
            clock.advance(60)
            assert (await ask(p)).number == 3  # old, since no more may be asked
            clock.advance(86_400)
            assert (await ask(p)).number == 4

    asyncio.run(scenario())


SHARING = {"shared": frozenset({"old"})}


@pytest.fixture
def sharing(vendor):
    """A vendor whose answer is the same whichever account asks."""
    return vendor("alpha", **SHARING)


def test_tenants_share_answers_that_do_not_depend_on_the_account(sharing, live, ask, clock):
    store = MemoryStore(clock)

    async def scenario():
        async with live(store=store) as p:
            own = p.scoped("m-1", credentials={"ALPHA_KEY": "key-of-m-1"})
            views = [p, p.scoped("m-2"), own]
            here = [await ask(view) for view in views]
        async with live(store=store) as p:
            own = p.scoped("m-3", credentials={"ALPHA_KEY": "key-of-m-3"})
            return [*here, await ask(own)]

    assert {answer.number for answer in asyncio.run(scenario())} == {1}
    assert len(sharing.calls) == 1


def test_tenants_who_ask_at_once_share_one_flight(sharing, live, ask):
    done = asyncio.Event()
    sharing.script.append(done.wait)

    async def scenario():
        async with live() as p:
            views = [p.scoped(f"m-{n}", credentials={"ALPHA_KEY": f"key-of-m-{n}"}) for n in range(20)]
            asked = [asyncio.create_task(ask(view)) for view in views]
            await settle()
            done.set()
            return await asyncio.gather(*asked)

    assert {answer.number for answer in asyncio.run(scenario())} == {1}
    assert len(sharing.calls) == 1


@pytest.mark.parametrize(
    "failure",
    [
        AuthenticationError("no"),
        QuotaExceededError("no credits"),
        RateLimitedError("slow"),
        ProviderUnavailableError("not asked", code="breaker"),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_a_failure_of_one_tenants_account_is_not_anothers(sharing, live, ask, failure):
    async def failing():
        await settle()
        raise failure

    sharing.script.append(failing)

    async def scenario():
        async with live() as p:
            views = [p.scoped(f"m-{n}", credentials={"ALPHA_KEY": f"key-of-m-{n}"}) for n in (1, 1, 2, 3)]
            return await asyncio.gather(*(ask(view) for view in views), return_exceptions=True)

    leader, twin, *others = asyncio.run(scenario())
    assert type(leader) is type(twin) is type(failure)
    assert [answer.number for answer in others] == [1, 1]
    assert len(sharing.calls) == 2


@pytest.mark.parametrize("failure", [NotFoundError("none", code="404"), ProviderUnavailableError("down")])
def test_a_failure_of_the_vendor_is_shared_under_each_tenants_name(sharing, live, ask, failure):
    async def failing():
        await settle()
        raise failure

    sharing.script.append(failing)

    async def scenario():
        async with live() as p:
            views = [p.scoped("m-1"), p.scoped("m-2"), p]
            return await asyncio.gather(*(ask(view) for view in views), return_exceptions=True)

    errors = asyncio.run(scenario())
    assert [(type(error), error.tenant, error.code) for error in errors] == [
        (type(failure), tenant, failure.code) for tenant in ("m-1", "m-2", None)
    ]
    assert len(sharing.calls) == 1


def test_only_what_every_vendor_of_the_call_shares_is_shared(sharing, live, vendor):
    beta = vendor("beta")

    async def answer(adapter):
        await adapter.play("ask")
        return Answer(number=1)

    async def scenario():
        async with live("alpha,beta") as p:
            for view in (p, p.scoped("m-1")):
                # Either may answer: one of them depends on the account.
                await view.email._route.first(OLD, answer)
            assert len(sharing.calls) == 2
            for view in (p, p.scoped("m-1")):
                await view.email._route.every(OLD, answer)
            return len(sharing.calls), len(beta.calls)

    # `every` puts each vendor's question by itself.
    assert asyncio.run(scenario()) == (3, 2)


def test_other_operations_of_a_vendor_that_shares_some_are_not_shared(sharing, live, ask):
    async def scenario():
        async with live() as p:
            for view in (p, p.scoped("m-1")):
                await ask(view, operation=replace(OLD, name="email.older"))

    asyncio.run(scenario())
    assert len(sharing.calls) == 2


def test_vendors_do_not_share_with_each_other(sharing, live, ask, vendor):
    beta = vendor("beta", **SHARING)

    async def scenario():
        async with live("alpha,beta") as p:
            return [
                (await ask(view, vendor=name)).raw["vendor"] for view in (p, p.scoped("m")) for name in p.email.vendors
            ]

    assert asyncio.run(scenario()) == ["alpha", "beta"] * 2
    assert (len(sharing.calls), len(beta.calls)) == (1, 1)


@pytest.mark.parametrize("shared", [True, False])
def test_live_and_demo_never_share_and_demos_do_where_their_facts_say_so(sharing, live, ask, monkeypatch, shared):
    if shared:
        monkeypatch.setitem(FACTS, "demo", replace(FACTS["demo"], **SHARING))

    async def scenario():
        async with live() as p:
            views = [p, *(p.scoped(name, vendors={"email": "demo"}) for name in ("m-1", "m-2")), p.scoped("m-3")]
            return [await ask(view) for view in views]

    answers = asyncio.run(scenario())
    assert [answer.raw["vendor"] for answer in answers] == ["alpha", "demo", "demo", "alpha"]
    assert [answer.number for answer in answers] == ([1, 2, 2, 1] if shared else [1, 2, 3, 1])


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


def test_while_the_store_fails_a_process_answers_from_its_own_copy(alpha, live, ask, clock):
    async def scenario():
        async with live(store=BrokenStore(clock)) as p:
            seen = [await ask(p), await ask(p)]
            clock.advance(60)
            alpha.script.append(ProviderUnavailableError("down"))
            return [*seen, await ask(p)]

    assert [answer.number for answer in asyncio.run(scenario())] == [1, 1, 1]
    assert len(alpha.calls) == 2


def test_the_newest_copy_stands_in_wherever_it_is(alpha, live, ask, clock):
    class FullStore(MemoryStore):
        full = False

        async def put(self, items, *, ttl=None):
            if self.full:
                raise ProviderUnavailableError("the state store failed", outcome=Outcome.NOT_APPLIED)
            await super().put(items, ttl=ttl)

    store = FullStore(clock)

    async def scenario():
        async with live(store=store) as p:
            await ask(p)
            clock.advance(60)
            store.full = True
            await ask(p)
            clock.advance(60)
            alpha.script.append(ProviderUnavailableError("down"))
            return await ask(p)

    assert asyncio.run(scenario()).number == 2


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


WHOLE = Operation(name="email.whole", effect=Effect.READ, cache=60)


def test_what_is_made_of_several_answers_is_kept_for_its_time_in_this_process_only(alpha, live, clock):
    made = []

    def compose(view, answer=ANSWER, payload="q", **options):
        async def compose():
            made.append(view)
            return answer

        options = {"whole": lambda found: found is ANSWER, **options}
        return view.email._route.composed(WHOLE, compose, payload=payload, **options)

    async def scenario():
        async with live() as p, live() as other:
            assert await compose(p) is await compose(p) is ANSWER
            assert len(made) == 1
            await compose(p, payload="another question")
            await compose(p.scoped("m-1"))
            await compose(other)
            assert len(made) == 4
            await compose(p, fresh=True)
            clock.advance(59)
            await compose(p)
            assert len(made) == 5
            clock.advance(1)
            await compose(p)
            assert len(made) == 6
            # What is not whole is made anew each time.
            other_answer = ANSWER.model_copy(update={"reason": "half"})
            await compose(p, other_answer, payload="half")
            await compose(p, other_answer, payload="half")
            assert len(made) == 8

    asyncio.run(scenario())
