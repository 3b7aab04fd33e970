"""What stands round a write that must happen once: asked before, looked up after, repeated where the vendor counts."""

import asyncio

import pytest

from providers.core.operation import Effect, Operation
from providers.core.route import Safeguards
from providers.core.sqlite import SqliteStore
from providers.core.store import MemoryStore
from providers.core.writes import LEASE, Record, Resolution, State, _dump, payload_digest
from providers.email import MessageRef
from providers.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
    RejectedError,
)

PAY = Operation(name="email.pay", effect=Effect.ONCE, result=MessageRef, attempts=1)
FIND = Operation(name="email.find", effect=Effect.READ, attempts=2)
WINDOW = 3600.0


def lost(**fields):
    return ProviderTimeoutError("no answer", **fields)


def refused(**fields):
    return ProviderUnavailableError("down", outcome=Outcome.NOT_APPLIED, **fields)


async def unknowns(p):
    return [write async for write in p.unknowns.unknown()]


async def keys(store, prefix=""):
    return [key async for key, _ in store.scan(prefix)]


class Books:
    """What the vendors have made, and what was asked for it."""

    def __init__(self) -> None:
        self.made = {}
        self.asked = []
        self.fails = None
        self.before = []
        self.refuses = None

    async def find(self, adapter, since):
        self.asked.append((adapter.facts.vendor, since))
        if self.fails is not None:
            if isinstance(self.fails, BaseException):
                raise self.fails
            await self.fails()
        return self.made.get(adapter.facts.vendor)

    async def look_before(self):
        self.before.append(1)
        if self.refuses is not None:
            raise self.refuses


@pytest.fixture
def books():
    return Books()


@pytest.fixture
def pay(books):
    """A write with all safeguards, through a view, as a capability would do it."""

    async def step(adapter):
        await adapter.play("pay")
        return MessageRef(vendor=adapter.facts.vendor, id=f"m{len(adapter.calls)}")

    def pay(view, key="k", *, operation=PAY, payload="p", timeout=None, find=True, one=False, **more):
        guards = Safeguards(before=books.look_before, look_up=FIND if find else None, find=books.find if find else None)
        route = view.email._route
        options = {"key": key, "payload": payload, "timeout": timeout, "safeguards": guards, **more}
        return route.one(operation, None, step, **options) if one else route.first(operation, step, **options)

    return pay


@pytest.fixture
def alpha(vendor):
    return vendor("alpha")


@pytest.fixture
def counting(vendor):
    """A vendor that does a key only once, for an hour."""
    return vendor("alpha", deduplicates=frozenset({"email.pay"}), deduplicates_for=WINDOW)


FOUND = MessageRef(vendor="alpha", id="found")


# Before.


def test_what_stands_before_is_asked_after_an_earlier_result_of_the_key_and_not_again(alpha, live, pay, books):
    async def scenario():
        async with live() as p:
            first = await pay(p)
            books.refuses = RejectedError("opted out", code="opted_out")
            return first, await pay(p)

    first, second = asyncio.run(scenario())
    assert first == second
    assert len(books.before) == 1
    assert len(alpha.calls) == 1


@pytest.mark.parametrize("key", ["k", None])
def test_what_stands_before_refuses_and_nothing_is_sent_recorded_or_counted(alpha, live, pay, books, key):
    async def scenario():
        async with live() as p:
            books.refuses = RejectedError("opted out", code="opted_out")
            # More often than a breaker bears.
            for _ in range(7):
                with pytest.raises(RejectedError) as caught:
                    await pay(p, key)
                assert not caught.value.may_have_applied
            left = await keys(p.store)
            books.refuses = None
            return left, await pay(p, key)

    left, ref = asyncio.run(scenario())
    assert left == []
    assert str(ref) == "alpha:m1"
    assert books.asked == []


def test_a_failing_question_before_does_not_open_the_breaker(alpha, live, pay, books):
    async def scenario():
        async with live() as p:
            books.refuses = refused(code="store")
            for _ in range(7):
                with pytest.raises(ProviderUnavailableError, match="down"):
                    await pay(p)
            books.refuses = None
            return await pay(p)

    assert str(asyncio.run(scenario())) == "alpha:m1"


def test_what_stands_before_is_asked_once_however_many_vendors_and_attempts_there_are(vendor, live, pay, books):
    alpha, beta = vendor("alpha"), vendor("beta")
    alpha.script.extend([refused(retry_after=0)] * 3)
    many = Operation(name="email.pay", effect=Effect.ONCE, result=MessageRef, attempts=3)

    async def scenario():
        async with live("alpha,beta") as p:
            return await pay(p, operation=many)

    assert str(asyncio.run(scenario())) == "beta:m1"
    assert (len(alpha.calls), len(beta.calls), len(books.before)) == (3, 1, 1)


# Found.


@pytest.mark.parametrize("key", ["k", None])
def test_an_unknown_write_that_is_found_at_once_is_answered_with_what_was_found(alpha, live, pay, books, clock, key):
    alpha.script.append(lost())
    books.made["alpha"] = FOUND
    begun = clock.time()

    async def scenario():
        async with live() as p:
            answers = [await pay(p, key)]
            if key:
                answers.append(await pay(p, key))
            return answers, await unknowns(p), await keys(p.store, "open/")

    answers, unknown, opened = asyncio.run(scenario())
    assert set(answers) == {FOUND}
    assert (unknown, opened) == ([], [])
    assert len(alpha.calls) == 1
    assert books.asked == [("alpha", begun)]


def test_an_unknown_write_is_looked_up_again_at_every_repeat_and_done_once_it_is_found(alpha, live, pay, books, clock):
    alpha.script.append(lost())
    begun = clock.time()

    async def scenario():
        async with live() as p:
            with pytest.raises(ProviderTimeoutError):
                await pay(p)
            clock.advance(86_400 * 30)
            with pytest.raises(ProviderUnavailableError) as caught:
                await pay(p)
            assert (caught.value.code, caught.value.outcome) == ("unknown_outcome", Outcome.UNKNOWN)
            assert len(await unknowns(p)) == 1
            books.made["alpha"] = FOUND
            answers = [await pay(p), await pay(p)]
            return answers, await unknowns(p)

    answers, left = asyncio.run(scenario())
    assert answers == [FOUND, FOUND]
    assert left == []
    assert len(alpha.calls) == 1
    # From the first use of the key on; not asked any more when it is done.
    assert books.asked == [("alpha", begun)] * 3


def test_nothing_found_proves_nothing(alpha, live, pay, books):
    alpha.script.append(lost())

    async def scenario():
        async with live() as p:
            for _ in range(3):
                with pytest.raises(ProviderError) as caught:
                    await pay(p)
                assert caught.value.outcome is Outcome.UNKNOWN
                assert not caught.value.retryable
            return await unknowns(p)

    (write,) = asyncio.run(scenario())
    assert (write.key, write.vendor) == ("k", "alpha")
    assert len(alpha.calls) == 1


@pytest.mark.parametrize(
    "failure",
    [refused(), NotFoundError("no such thing"), lost(), RateLimitedError("slow down", retry_after=1e6)],
    ids=["down", "not found", "lost", "limited"],
)
def test_a_look_up_that_fails_leaves_the_write_as_unknown_as_it_was(alpha, live, pay, books, failure):
    alpha.script.append(lost())
    books.fails = failure

    async def scenario():
        async with live() as p:
            with pytest.raises(ProviderTimeoutError, match="no answer") as caught:
                await pay(p)
            assert caught.value.operation == "email.pay"
            with pytest.raises(ProviderUnavailableError) as caught:
                await pay(p)
            assert caught.value.code == "unknown_outcome"
            return await unknowns(p)

    assert len(asyncio.run(scenario())) == 1
    assert len(alpha.calls) == 1


def test_a_look_up_ends_with_the_caller_s_deadline(alpha, live, pay, books, clock):
    alpha.script.append(lost())
    books.fails = asyncio.Event().wait
    begun = clock.monotonic()

    async def scenario():
        async with live() as p:
            task = asyncio.create_task(pay(p, timeout=7))
            for _ in range(200):
                await asyncio.sleep(0)
                if books.asked:
                    break
            clock.advance(7)
            with pytest.raises(ProviderTimeoutError, match="no answer"):
                await task
            return await unknowns(p)

    assert len(asyncio.run(scenario())) == 1
    assert clock.monotonic() - begun == 7
    assert len(books.asked) == 1


def test_a_cancelled_look_up_leaves_the_write_unknown(alpha, live, pay, books):
    alpha.script.append(lost())
    books.fails = asyncio.Event().wait

    async def scenario():
        async with live() as p:
            task = asyncio.create_task(pay(p))
            for _ in range(200):
                await asyncio.sleep(0)
                if books.asked:
                    break
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            books.fails, books.made["alpha"] = None, FOUND
            listed = await unknowns(p)
            return listed, await pay(p), await unknowns(p)

    listed, ref, left = asyncio.run(scenario())
    assert (len(listed), ref, left) == (1, FOUND, [])
    assert len(alpha.calls) == 1


def test_a_definite_refusal_is_not_looked_up(alpha, live, pay, books):
    alpha.script.append(InvalidRequestError("wrong"))

    async def scenario():
        async with live() as p:
            with pytest.raises(InvalidRequestError):
                await pay(p)
            return await keys(p.store)

    assert asyncio.run(scenario()) == []
    assert books.asked == []


@pytest.mark.parametrize("effect", [Effect.READ, Effect.IDEMPOTENT])
def test_only_a_write_that_must_happen_once_is_looked_up(alpha, live, pay, books, effect):
    alpha.script.append(lost())
    books.made["alpha"] = FOUND
    operation = Operation(name="email.pay", effect=effect, result=MessageRef, attempts=1)

    async def scenario():
        async with live() as p:
            with pytest.raises(ProviderTimeoutError):
                await pay(p, None, operation=operation)

    asyncio.run(scenario())
    assert books.asked == books.before == []


def test_only_the_vendor_that_was_asked_is_looked_up_at(vendor, live, pay, books):
    alpha, beta = vendor("alpha"), vendor("beta")
    alpha.script.append(refused())
    beta.script.append(lost())
    books.made["alpha"] = FOUND

    async def scenario():
        async with live("alpha,beta") as p:
            for _ in range(2):
                with pytest.raises(ProviderError) as caught:
                    await pay(p)
                assert caught.value.vendor == "beta"
                assert caught.value.may_have_applied

    asyncio.run(scenario())
    assert {name for name, _ in books.asked} == {"beta"}
    assert (len(alpha.calls), len(beta.calls)) == (1, 1)


def test_another_process_finds_it_too(alpha, live, pay, books, clock, tmp_path):
    alpha.script.append(lost())
    path = str(tmp_path / "state.db")

    async def first():
        async with live(store=SqliteStore(path, clock)) as p:
            with pytest.raises(ProviderTimeoutError):
                await pay(p)

    async def second():
        books.made["alpha"] = FOUND
        async with live(store=SqliteStore(path, clock)) as p:
            return await pay(p), await unknowns(p)

    asyncio.run(first())
    assert asyncio.run(second()) == (FOUND, [])
    assert len(alpha.calls) == 1


@pytest.mark.parametrize("vendors", ["alpha", "beta,alpha"])
def test_what_a_dead_process_has_made_is_found_at_whichever_vendor_made_it(vendor, live, pay, books, clock, vendors):
    kinds = {name: vendor(name) for name in vendors.split(",")}
    store = MemoryStore(clock)
    began = clock.time()

    async def scenario():
        async with live(vendors, store=store) as p:
            route = p.email._route
            name = "live//email.pay/k"
            # As a process on another machine leaves it that dies in the middle.
            vendor_name = vendors if len(route.targets) == 1 else ""
            record = Record(State.STARTED, payload_digest("p"), "elsewhere/1.1#1", began, vendor_name)
            await store.put([("write/" + name, _dump(record)), ("open/" + name, b"")])
            clock.advance(LEASE)
            (write,) = await unknowns(p)
            assert write.vendor == vendor_name
            with pytest.raises(ProviderUnavailableError, match="the process that sent it ended"):
                await pay(p)
            books.made["alpha"] = FOUND
            return await pay(p), await unknowns(p)

    assert asyncio.run(scenario()) == (FOUND, [])
    assert books.asked == [(name, began) for name in vendors.split(",")] * 2
    assert all(kind.calls == [] for kind in kinds.values())


def test_without_a_way_to_look_the_write_stays_unknown(alpha, live, pay, books):
    alpha.script.append(lost())
    books.made["alpha"] = FOUND

    async def scenario():
        async with live() as p:
            for _ in range(2):
                with pytest.raises(ProviderError):
                    await pay(p, find=False)
            return await unknowns(p)

    assert len(asyncio.run(scenario())) == 1
    assert books.asked == []


def test_a_vendor_that_cannot_look_is_not_asked_and_another_process_s_write_stays_unknown(vendor, live, pay, books):
    alpha = vendor("alpha", unsupported={"find": "alpha tells nothing"})
    alpha.script.append(lost())

    async def scenario():
        async with live() as p:
            for _ in range(2):
                with pytest.raises(ProviderError) as caught:
                    await pay(p)
                assert caught.value.may_have_applied

    asyncio.run(scenario())
    assert books.asked == []
    assert len(alpha.calls) == 1


# Repeated where the vendor itself does a key only once.


def test_within_the_window_an_unknown_write_is_repeated_with_the_same_key(counting, live, pay, books, clock):
    counting.script.append(lost())

    async def scenario():
        async with live() as p:
            with pytest.raises(ProviderTimeoutError) as caught:
                await pay(p)
            assert caught.value.retryable
            clock.advance(WINDOW - 1)
            answers = [await pay(p), await pay(p)]
            return answers, await unknowns(p), await keys(p.store, "open/")

    answers, left, opened = asyncio.run(scenario())
    assert [str(ref) for ref in answers] == ["alpha:m2"] * 2
    assert (left, opened) == ([], [])
    assert len(counting.calls) == 2


def test_an_unknown_write_under_a_key_of_our_own_is_not_called_repeatable(counting, live, pay):
    """The caller's repeat would have another key, and happen twice."""
    counting.script.extend([lost(), lost()])

    async def scenario():
        async with live() as p:
            for generated in (False, True):
                with pytest.raises(ProviderTimeoutError) as caught:
                    await pay(p, f"k{generated}", one=True, generated=generated)
                assert caught.value.may_have_applied
                assert caught.value.retryable is not generated

    asyncio.run(scenario())


def test_the_window_counts_from_the_first_use_of_the_key(counting, live, pay, books, clock):
    counting.script.extend([lost(), lost()])
    begun = clock.time()

    async def scenario():
        async with live() as p:
            with pytest.raises(ProviderTimeoutError):
                await pay(p)
            clock.advance(WINDOW - 100)
            with pytest.raises(ProviderTimeoutError):
                await pay(p)
            clock.advance(100)
            with pytest.raises(ProviderUnavailableError) as caught:
                await pay(p)
            assert caught.value.code == "unknown_outcome"
            (write,) = await unknowns(p)
            assert write.at.timestamp() == begun
            # What cannot be repeated any more can still be found: from the first use on.
            books.made["alpha"] = FOUND
            return await pay(p)

    assert asyncio.run(scenario()) == FOUND
    assert len(counting.calls) == 2
    assert books.asked == [("alpha", begun)] * 4


def test_a_repeat_that_is_refused_does_not_make_the_first_call_known(counting, live, pay, clock):
    counting.script.extend(
        [lost(), refused(), RateLimitedError("slow down", retry_after=1e6), InvalidRequestError("x")]
    )

    async def scenario():
        async with live() as p:
            with pytest.raises(ProviderTimeoutError):
                await pay(p)
            for kind in (ProviderUnavailableError, RateLimitedError, InvalidRequestError):
                clock.advance(1)
                p._shared.guards(counting.facts, p.email._route.targets[0].account).health.paused_until = 0
                with pytest.raises(kind) as caught:
                    await pay(p)
                assert caught.value.outcome is Outcome.UNKNOWN
                (write,) = await unknowns(p)
                assert write.vendor == "alpha"
            clock.advance(WINDOW)
            with pytest.raises(ProviderUnavailableError) as caught:
                await pay(p)
            return caught.value.code

    assert asyncio.run(scenario()) == "unknown_outcome"
    assert len(counting.calls) == 4


def test_of_two_repeats_at_once_one_runs_and_the_other_is_told_so(counting, live, pay, clock):
    counting.script.append(lost())
    gate = asyncio.Event()

    async def scenario():
        store = Meeting(clock)
        async with live(store=store) as p:
            with pytest.raises(ProviderTimeoutError):
                await pay(p)
            store.together = asyncio.Barrier(2)
            counting.script.append(gate.wait)
            tasks = [asyncio.create_task(pay(p)) for _ in range(2)]
            await counting.called(2)
            done, running = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            gate.set()
            (refusal,) = (task.exception() for task in done)
            (ref,) = await asyncio.gather(*running)
            return refusal, ref

    refusal, ref = asyncio.run(scenario())
    assert isinstance(refusal, ConflictError)
    assert (refusal.code, refusal.retryable, refusal.retry_after) == ("in_flight", True, 1.0)
    assert str(ref) == "alpha:m2"
    assert len(counting.calls) == 2


class Meeting(MemoryStore):
    """Two that read the same record before either swaps it."""

    together = None

    async def swap(self, key, old, new, *, ttl=None):
        if self.together and key.startswith("write/") and old is not None and new is not None:
            await self.together.wait()
        return await super().swap(key, old, new, ttl=ttl)


def test_a_repeat_that_comes_while_one_runs_waits_for_its_result(counting, live, pay, clock):
    counting.script.append(lost())

    async def slow():
        await clock.sleep(2)

    async def scenario():
        async with live() as p:
            with pytest.raises(ProviderTimeoutError):
                await pay(p)
            counting.script.append(slow)
            first = asyncio.create_task(pay(p))
            await counting.called(2)
            return await first, await pay(p)

    first, second = asyncio.run(scenario())
    assert first == second
    assert len(counting.calls) == 2


def test_a_repeat_is_not_taken_for_dead_because_the_first_call_is_long_ago(counting, live, pay, clock, monkeypatch):
    """On another machine only the time of an intent tells whether its process lives."""
    monkeypatch.setattr("providers.core.writes.alive", lambda _, at, now: now - at < LEASE)
    counting.script.append(lost())
    gate = asyncio.Event()

    async def scenario():
        async with live() as p:
            with pytest.raises(ProviderTimeoutError):
                await pay(p)
            clock.advance(LEASE * 2)
            counting.script.append(gate.wait)
            running = asyncio.create_task(pay(p))
            await counting.called(2)
            assert await unknowns(p) == []
            with pytest.raises(ConflictError, match="still running"):
                await pay(p, timeout=1)
            gate.set()
            return await running

    assert str(asyncio.run(scenario())) == "alpha:m2"
    assert len(counting.calls) == 2


def test_a_process_that_dies_in_the_repeat_leaves_the_window_where_it_was(counting, live, pay, clock, monkeypatch):
    monkeypatch.setattr("providers.core.writes.alive", lambda _, at, now: now - at < LEASE)
    counting.script.append(lost())

    class Gone(BaseException):
        """A process ends so: nothing after it runs."""

    async def scenario():
        store = MemoryStore(clock)
        async with live(store=store) as p:
            with pytest.raises(ProviderTimeoutError):
                await pay(p)
            clock.advance(WINDOW - LEASE - 10)
            put = store.put

            async def nothing(items, *, ttl=None):
                return None

            store.put = nothing
            counting.script.append(Gone())
            with pytest.raises(Gone):
                await pay(p)
            store.put = put
            clock.advance(LEASE)
            assert len(await unknowns(p)) == 1
            ref = await pay(p)
            return ref, await unknowns(p)

    ref, left = asyncio.run(scenario())
    assert (str(ref), left) == ("alpha:m3", [])


def test_after_the_window_the_vendor_is_not_asked_again(counting, live, pay, clock):
    counting.script.append(lost())

    async def scenario():
        async with live() as p:
            with pytest.raises(ProviderTimeoutError):
                await pay(p)
            clock.advance(WINDOW)
            for _ in range(2):
                with pytest.raises(ProviderUnavailableError) as caught:
                    await pay(p)
                assert (caught.value.code, caught.value.retryable) == ("unknown_outcome", False)
            (write,) = await unknowns(p)
            await p.unknowns.resolve(write.id, Resolution.REPEAT)
            return await pay(p)

    assert str(asyncio.run(scenario())) == "alpha:m2"


def test_with_two_vendors_an_unknown_write_is_not_repeated(vendor, live, pay):
    knows = {"deduplicates": frozenset({"email.pay"}), "deduplicates_for": WINDOW}
    alpha, beta = vendor("alpha", **knows), vendor("beta", **knows)
    alpha.script.append(lost())

    async def scenario():
        async with live("alpha,beta") as p:
            for _ in range(2):
                with pytest.raises(ProviderError) as caught:
                    await pay(p)
            return caught.value.code

    assert asyncio.run(scenario()) == "unknown_outcome"
    assert (len(alpha.calls), len(beta.calls)) == (1, 0)


def test_after_a_change_of_vendors_an_unknown_write_is_not_repeated_at_the_new_one(vendor, live, pay, clock):
    knows = {"deduplicates": frozenset({"email.pay"}), "deduplicates_for": WINDOW}
    alpha, beta = vendor("alpha", **knows), vendor("beta", **knows)
    alpha.script.append(lost())
    store = MemoryStore(clock)

    async def scenario():
        async with live("alpha", store=store) as p:
            with pytest.raises(ProviderTimeoutError):
                await pay(p, one=True)
        async with live("beta", store=store) as p:
            with pytest.raises(ProviderUnavailableError) as caught:
                await pay(p, one=True)
            return caught.value

    error = asyncio.run(scenario())
    assert (error.code, error.vendor) == ("unknown_outcome", "alpha")
    assert (len(alpha.calls), len(beta.calls)) == (1, 0)


def test_a_vendor_that_knows_other_operations_keys_only_is_not_asked_again(vendor, live, pay):
    alpha = vendor("alpha", deduplicates=frozenset({"email.other"}), deduplicates_for=WINDOW)
    alpha.script.append(lost())

    async def scenario():
        async with live() as p:
            for _ in range(2):
                with pytest.raises(ProviderError):
                    await pay(p)

    asyncio.run(scenario())
    assert len(alpha.calls) == 1


@pytest.mark.parametrize("turns", range(12))
def test_a_repeat_cancelled_at_any_moment_leaves_no_key_in_flight(counting, live, pay, turns, tmp_path, clock):
    store = SqliteStore(str(tmp_path / "state.db"), clock)
    counting.script.append(lost())

    async def scenario():
        async with live(store=store) as p:
            with pytest.raises(ProviderTimeoutError):
                await pay(p)
            task = asyncio.create_task(pay(p))
            for _ in range(turns):
                await asyncio.sleep(0.0003)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            begun = clock.monotonic()
            ref = await pay(p)
            assert clock.monotonic() == begun
            return ref

    assert asyncio.run(scenario()).vendor == "alpha"


def test_a_claim_that_was_cancelled_after_it_was_made_is_taken_back(counting, live, pay, clock):
    counting.script.append(lost())
    store = MemoryStore(clock)

    async def scenario():
        async with live(store=store) as p:
            with pytest.raises(ProviderTimeoutError):
                await pay(p)
            swap = store.swap

            async def cut_off(key, old, new, *, ttl=None):
                store.swap = swap
                await swap(key, old, new, ttl=ttl)
                raise asyncio.CancelledError

            store.swap = cut_off
            with pytest.raises(asyncio.CancelledError):
                await pay(p)
            assert len(await unknowns(p)) == 1
            return await pay(p)

    assert str(asyncio.run(scenario())) == "alpha:m2"
