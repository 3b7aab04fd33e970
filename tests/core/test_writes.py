"""Writes that must happen once: keys, twins, unknown outcomes and how they are settled (decision 12)."""

import asyncio
import os
from pathlib import Path

import pytest

from providers import Providers, Settings
from providers.core.sqlite import SqliteStore
from providers.core.store import MemoryStore
from providers.core.writes import KEPT, LEASE, Resolution, alive, owner
from providers.email import DemoEmail, MessageRef
from providers.email.api import SEND
from providers.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
)


def refused(**fields):
    return ProviderUnavailableError("down", outcome=Outcome.NOT_APPLIED, **fields)


def lost(**fields):
    return ProviderTimeoutError("no answer", **fields)


async def unknowns(p):
    return [write async for write in p.unknowns.unknown()]


async def left_unknown(p, message):
    """A write under the key "k" whose answer is lost."""
    with pytest.raises(ProviderTimeoutError):
        await p.email.send(message, idempotency_key="k")
    (write,) = await unknowns(p)
    return write


async def keys(store, prefix=""):
    return [key async for key, _ in store.scan(prefix)]


@pytest.fixture
def alpha(vendor):
    return vendor("alpha")


def test_a_repeat_with_the_same_key_returns_the_first_result_and_sends_nothing(alpha, live, mail):
    async def scenario():
        async with live() as p:
            return await p.email.send(mail(), idempotency_key="k"), await p.email.send(mail(), idempotency_key="k")

    first, second = asyncio.run(scenario())
    assert first == second
    assert len(alpha.calls) == 1


def test_the_key_in_the_message_and_the_key_beside_it_are_the_same_key(alpha, live, mail):
    async def scenario():
        async with live() as p:
            await p.email.send(mail(idempotency_key="k"))
            await p.email.send(mail(idempotency_key="k"))
            await p.email.send(mail(), idempotency_key="k")

    asyncio.run(scenario())
    assert len(alpha.calls) == 1


def test_a_key_used_in_a_rehearsal_does_not_answer_for_the_real_thing(alpha, live, mail, clock):
    store = MemoryStore(clock)
    rehearsal = Providers(Settings(mode="demo", environ={}, env_file=None), clock=clock, store=store)

    async def scenario():
        async with rehearsal, live(store=store) as p:
            return [str(await view.email.send(mail(), idempotency_key="k")) for view in (rehearsal, p)]

    demo, real = asyncio.run(scenario())
    assert demo.startswith("demo:")
    assert real == "alpha:m1"


def test_what_the_vendor_only_checked_is_sent_when_it_is_meant(alpha, live, mail, monkeypatch):
    original = alpha.send

    async def dry(self, message, tracking_id):
        ref = await original(self, message, tracking_id)
        return ref.model_copy(update={"dry_run": True})

    async def scenario():
        async with live() as p:
            monkeypatch.setattr(alpha, "send", dry)
            first = await p.email.send(mail(), idempotency_key="k")
            monkeypatch.setattr(alpha, "send", original)
            return first, await p.email.send(mail(), idempotency_key="k")

    first, second = asyncio.run(scenario())
    assert (first.dry_run, second.dry_run) == (True, False)
    assert len(alpha.calls) == 2


def test_without_a_key_every_call_sends(alpha, live, mail):
    async def scenario():
        async with live() as p:
            await p.email.send(mail())
            await p.email.send(mail())

    asyncio.run(scenario())
    assert len(alpha.calls) == 2


def test_the_same_key_for_another_payload_is_a_conflict(alpha, live, mail):
    async def scenario():
        async with live() as p:
            await p.email.send(mail(), idempotency_key="k")
            with pytest.raises(ConflictError, match="used for another request") as caught:
                await p.email.send(mail(subject="Other"), idempotency_key="k")
            return caught.value

    error = asyncio.run(scenario())
    assert (error.code, error.field) == ("key_reused", "idempotency_key")
    assert len(alpha.calls) == 1


def test_the_same_key_of_two_tenants_are_two_keys(alpha, live, mail):
    async def scenario():
        async with live() as p:
            await p.email.send(mail(), idempotency_key="k")
            await p.scoped("m-1").email.send(mail(), idempotency_key="k")
            await p.scoped("m-2").email.send(mail(subject="Other"), idempotency_key="k")
            await p.scoped("m-2").email.send(mail(subject="Other"), idempotency_key="k")

    asyncio.run(scenario())
    assert len(alpha.calls) == 3


def test_a_twin_waits_for_the_first_and_gets_its_result(alpha, live, mail, clock):
    async def slow():
        await clock.sleep(2)

    alpha.script.append(slow)

    async def scenario():
        async with live() as p:
            return await asyncio.gather(*(p.email.send(mail(), idempotency_key="k") for _ in range(3)))

    refs = asyncio.run(scenario())
    assert len(set(refs)) == 1
    assert len(alpha.calls) == 1


def test_a_twin_whose_deadline_comes_first_is_told_that_the_first_still_runs(alpha, live, mail, clock):
    done = asyncio.Event()
    alpha.script.append(done.wait)

    async def scenario():
        async with live() as p:
            first = asyncio.create_task(p.email.send(mail(), idempotency_key="k", timeout=100))
            await alpha.called()
            with pytest.raises(ConflictError, match="still running") as caught:
                await p.email.send(mail(), idempotency_key="k", timeout=1)
            done.set()
            await first
            return caught.value

    error = asyncio.run(scenario())
    assert error.code == "in_flight"
    assert not error.may_have_applied
    assert len(alpha.calls) == 1


def test_a_twin_takes_over_when_the_first_was_refused(alpha, live, mail, clock):
    async def slow_refusal():
        await clock.sleep(2)
        raise InvalidRequestError("refused")

    alpha.script.append(slow_refusal)

    async def scenario():
        async with live() as p:
            return await asyncio.gather(
                *(p.email.send(mail(), idempotency_key="k") for _ in range(2)), return_exceptions=True
            )

    first, second = asyncio.run(scenario())
    assert isinstance(first, InvalidRequestError)
    assert str(second) == "alpha:m2"


def test_what_was_not_applied_is_not_stored(alpha, live, mail):
    alpha.script.extend([refused(retry_after=1e6), None])

    async def scenario():
        async with live() as p:
            with pytest.raises(ProviderUnavailableError):
                await p.email.send(mail(), idempotency_key="k")
            left = await keys(p.store)
            return left, await p.email.send(mail(), idempotency_key="k")

    left, ref = asyncio.run(scenario())
    assert left == []
    assert str(ref) == "alpha:m2"


def test_an_unknown_outcome_is_stored_and_never_sent_again(alpha, live, mail):
    alpha.script.append(lost())

    async def scenario():
        async with live() as p:
            for _ in range(3):
                with pytest.raises((ProviderTimeoutError, ProviderUnavailableError)) as caught:
                    await p.email.send(mail(), idempotency_key="order-7")
                assert caught.value.may_have_applied
                assert not caught.value.retryable
            return caught.value, await unknowns(p)

    error, (write,) = asyncio.run(scenario())
    assert len(alpha.calls) == 1
    assert error.code == "unknown_outcome"
    assert (write.operation, write.key, write.vendor, write.tenant) == ("email.send", "order-7", "alpha", "")
    assert "no answer" in write.reason


def test_an_unknown_outcome_without_a_key_is_listed_too(alpha, live, mail):
    alpha.script.extend([lost(), lost()])

    async def scenario():
        async with live() as p:
            for view in (p, p.scoped("m-1")):
                with pytest.raises(ProviderTimeoutError):
                    await view.email.send(mail())
            return await unknowns(p)

    listed = asyncio.run(scenario())
    assert sorted((write.tenant, write.key) for write in listed) == [("", ""), ("m-1", "")]
    assert len({write.id for write in listed}) == 2


@pytest.mark.parametrize("resolution", [Resolution.REPEAT, "repeat"])
def test_resolving_as_repeat_lets_the_next_call_send(alpha, live, mail, resolution):
    alpha.script.append(lost())

    async def scenario():
        async with live() as p:
            write = await left_unknown(p, mail())
            await p.unknowns.resolve(write.id, resolution)
            return await p.email.send(mail(), idempotency_key="k"), await unknowns(p)

    ref, left = asyncio.run(scenario())
    assert str(ref) == "alpha:m2"
    assert left == []


@pytest.mark.parametrize("resolution", [Resolution.APPLIED, "applied"])
def test_resolving_as_applied_refuses_the_next_call(alpha, live, mail, resolution):
    alpha.script.append(lost())

    async def scenario():
        async with live() as p:
            write = await left_unknown(p, mail())
            await p.unknowns.resolve(write.id, resolution)
            with pytest.raises(ConflictError, match="resolved by hand"):
                await p.email.send(mail(), idempotency_key="k")
            return await unknowns(p)

    assert asyncio.run(scenario()) == []
    assert len(alpha.calls) == 1


def test_resolving_by_another_word_changes_nothing(alpha, live, mail):
    alpha.script.append(lost())

    async def scenario():
        async with live() as p:
            write = await left_unknown(p, mail())
            with pytest.raises(ValueError, match="maybe"):
                await p.unknowns.resolve(write.id, "maybe")
            return await unknowns(p)

    assert len(asyncio.run(scenario())) == 1


def test_only_unknown_writes_can_be_resolved(alpha, live, mail):
    async def scenario():
        async with live() as p:
            await p.email.send(mail(), idempotency_key="k")
            for name in ("live//email.send/k", "live//email.send/nothing", "nonsense"):
                with pytest.raises(NotFoundError):
                    await p.unknowns.resolve(name, Resolution.REPEAT)
            return await p.email.send(mail(), idempotency_key="k")

    asyncio.run(scenario())
    assert len(alpha.calls) == 1


def test_a_result_is_kept_seven_days(alpha, live, mail, clock):
    async def scenario():
        async with live() as p:
            await p.email.send(mail(), idempotency_key="k")
            clock.advance(KEPT - 1)
            await p.email.send(mail(), idempotency_key="k")
            assert len(alpha.calls) == 1
            clock.advance(1)
            await p.email.send(mail(), idempotency_key="k")

    asyncio.run(scenario())
    assert KEPT == 7 * 24 * 3600
    assert len(alpha.calls) == 2


def test_an_unknown_outcome_is_kept_until_somebody_resolves_it(alpha, live, mail, clock):
    alpha.script.append(lost())

    async def scenario():
        async with live() as p:
            with pytest.raises(ProviderTimeoutError):
                await p.email.send(mail(), idempotency_key="k")
            clock.advance(KEPT * 50)
            return await unknowns(p)

    assert len(asyncio.run(scenario())) == 1


def test_repeats_leave_nothing_behind_but_the_record(alpha, live, mail):
    async def scenario():
        async with live() as p:
            for _ in range(3):
                await p.email.send(mail(), idempotency_key="k")
            with pytest.raises(ConflictError):
                await p.email.send(mail(subject="Other"), idempotency_key="k")
            return await keys(p.store)

    (left,) = asyncio.run(scenario())
    assert left.startswith("write/")


def test_cancelled_while_the_vendor_works_the_outcome_is_unknown(alpha, live, mail):
    alpha.script.append(asyncio.Event().wait)

    async def scenario():
        async with live() as p:
            task = asyncio.create_task(p.email.send(mail(), idempotency_key="k"))
            await alpha.called()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(ProviderUnavailableError) as caught:
                await p.email.send(mail(), idempotency_key="k")
            return caught.value, await unknowns(p)

    error, (write,) = asyncio.run(scenario())
    assert error.may_have_applied
    assert write.reason == "CancelledError"
    assert len(alpha.calls) == 1


def test_cancelled_before_anything_left_the_key_is_free(alpha, live, mail, clock):
    alpha.script.append(RateLimitedError("slow down", retry_after=5))
    clock.auto = False

    async def scenario():
        async with live() as p:
            task = asyncio.create_task(p.email.send(mail(), idempotency_key="k"))
            for _ in range(10):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            left = await keys(p.store)
            clock.auto = True
            return left, await p.email.send(mail(), idempotency_key="k")

    left, ref = asyncio.run(scenario())
    assert left == []
    assert str(ref) == "alpha:m2"


@pytest.mark.parametrize("turns", range(12))
def test_cancelled_at_any_moment_a_key_is_never_left_in_flight(alpha, live, mail, turns, tmp_path, clock):
    store = SqliteStore(str(tmp_path / "state.db"), clock)

    async def scenario():
        async with live(store=store) as p:
            await store.get("opened")
            task = asyncio.create_task(p.email.send(mail(), idempotency_key="k"))
            for _ in range(turns):
                await asyncio.sleep(0.0003)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            # A second call is answered at once: sent now, sent before, or unknown; never "still running".
            begun = clock.monotonic()
            try:
                await p.email.send(mail(), idempotency_key="k")
            except ProviderUnavailableError as error:
                assert error.may_have_applied  # noqa: PT017 (one of three good answers)
            assert clock.monotonic() == begun

    asyncio.run(scenario())
    assert len(alpha.calls) <= 1


class FailingStore(MemoryStore):
    """Fails the writes after the first `good` ones."""

    good = 10**9

    async def put(self, items, *, ttl=None):
        self.good -= 1
        if self.good < 0:
            raise ProviderUnavailableError("the state store failed", code="store", outcome=Outcome.NOT_APPLIED)
        await super().put(items, ttl=ttl)


def test_a_store_that_fails_after_the_send_does_not_hide_the_result(alpha, live, mail, clock, caplog):
    store = FailingStore(clock)
    store.good = 0

    async def scenario():
        async with live(store=store) as p:
            return await p.email.send(mail(), idempotency_key="k")

    assert str(asyncio.run(scenario())) == "alpha:m1"
    assert "could not be recorded" in caplog.text


def test_a_store_that_fails_after_a_failed_send_does_not_hide_its_error(alpha, live, mail, clock):
    store = FailingStore(clock)
    store.good = 0
    alpha.script.extend([lost(), lost()])

    async def scenario():
        async with live(store=store) as p:
            for key in ("k", None):
                with pytest.raises(ProviderTimeoutError, match="no answer"):
                    await p.email.send(mail(), idempotency_key=key)

    asyncio.run(scenario())


def test_a_store_that_fails_before_the_send_stops_it(alpha, live, mail, clock):
    store = MemoryStore(clock)

    async def broken(items, *, meter=None, ttl=None):
        raise ProviderUnavailableError("the state store failed", code="store", outcome=Outcome.NOT_APPLIED)

    store.begin = broken

    async def scenario():
        async with live(store=store) as p:
            with pytest.raises(ProviderUnavailableError, match="state store") as caught:
                await p.email.send(mail(), idempotency_key="k")
            return caught.value

    assert not asyncio.run(scenario()).may_have_applied
    assert alpha.calls == []


def test_an_owner_is_alive_while_its_process_is(clock):
    now = clock.time()
    host, _, process = owner().rpartition("/")
    gone = 2**22 + 12345  # above every process id

    assert alive(owner() + "#3", now, now)
    assert alive(owner() + "#3", now - LEASE * 10, now)
    assert not alive(f"{host}/{gone}.1#1", now, now)
    assert not alive(f"{host}/{2**70}.1#1", now, now)
    assert not alive(f"{host}/not-a-number#1", now, now)
    assert int(process.partition(".")[0]) == os.getpid()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system does not say when a process began")
def test_a_process_that_has_only_the_number_of_the_owner_is_not_the_owner(clock):
    # A restarted container: same host name, same process ids.
    host, _, process = owner().rpartition("/")
    earlier = f"{host}/{process.partition('.')[0]}.1#1"

    assert not alive(earlier, clock.time(), clock.time())


def test_an_owner_on_another_machine_is_alive_for_its_lease(clock):
    now = clock.time()

    assert alive("elsewhere/1#1", now - LEASE + 1, now)
    assert not alive("elsewhere/1#1", now - LEASE, now)


def test_an_intent_of_a_dead_process_becomes_unknown(worker, tmp_path, clock, mail):
    path = tmp_path / "state.db"
    sending = worker("send_and_hang", path, "order-7")
    sending.hear()
    sending.say()
    assert sending.hear() == "sending"
    sending.kill()
    settings = Settings(mode="demo", state_url=f"sqlite:///{path}", environ={}, env_file=None)

    async def scenario():
        async with Providers(settings) as p:
            listed = await unknowns(p)
            with pytest.raises(ProviderUnavailableError, match="unknown") as caught:
                await p.email.send(mail(text="Hello"), idempotency_key="order-7")
            await p.unknowns.resolve(listed[0].id, Resolution.REPEAT)
            await p.email.send(mail(text="Hello"), idempotency_key="order-7")
            sent = [one async for one in p.email.unwrap(DemoEmail).mails()]
            return listed, caught.value, sent

    listed, error, sent = asyncio.run(scenario())
    assert [(write.key, write.reason) for write in listed] == [("order-7", "the process that sent it ended")]
    assert error.may_have_applied
    assert len(sent) == 1


def test_evidence_settles_what_a_dead_process_had_begun_and_nothing_that_runs(worker, tmp_path):
    path = tmp_path / "state.db"
    sending = worker("send_and_hang", path, "order-7")
    sending.hear()
    sending.say()
    assert sending.hear() == "sending"
    settings = Settings(mode="demo", state_url=f"sqlite:///{path}", environ={}, env_file=None)
    there = MessageRef(vendor="demo", id="mail-there")

    async def settle():
        async with Providers(settings) as p:
            await p.email.route.settle(SEND, "order-7", there)
            return await p.email.route.settled(SEND, "order-7", MessageRef)

    assert asyncio.run(settle()) is None
    sending.kill()
    assert asyncio.run(settle()) == there


def test_two_processes_with_one_key_send_one_mail(worker, tmp_path):
    path = tmp_path / "state.db"
    first, second = worker("send_and_hang", path, "order-7"), worker("send", path, "order-7")
    for one in (first, second):
        one.hear()
    first.say()
    assert first.hear() == "sending"
    second.say()
    first.say("go on")
    refs = {first.end(), second.end()}
    settings = Settings(mode="demo", state_url=f"sqlite:///{path}", environ={}, env_file=None)

    async def sent():
        async with Providers(settings) as p:
            return [one.id async for one in p.email.unwrap(DemoEmail).mails()]

    assert len(refs) == 1
    assert [f"demo:{mail_id}" for mail_id in asyncio.run(sent())] == list(refs)
