"""Access tokens that expire: one renewal at a time, none lost, and what is left when there is none to be had."""

import asyncio
import gc
import json
import logging
import pickle
import time
import traceback
import weakref
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import Settings, sync
from providers.core.account import Account
from providers.core.attempt import ATTEMPT, Attempt
from providers.core.operation import Variable
from providers.core.store import MemoryStore
from providers.core.tokens import (
    AGAIN,
    DEAD,
    HAND_BACK_SECONDS,
    KNOWN,
    PATIENCE,
    SECONDS,
    Token,
    TokenRefusedError,
    Tokens,
)
from providers.email import MessageRef
from providers.errors import (
    AuthenticationError,
    BadResponseError,
    CredentialRevokedError,
    Outcome,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
)
from providers.testing.clock import ManualClock

DAY = 86_400.0
LIFE = 30 * DAY
PROCESSES = 4
RECORD = "token/sourcing.shop/platform"
PAGE = "https://shop.example.com/authorise"


class Shop:
    """A vendor whose refresh tokens are good once, and which knows one access token at a time."""

    def __init__(self, clock, *, life=LIFE, rotate=True):
        self.clock = clock
        self.life, self.rotate = life, rotate
        self.number = 0
        self.access, self.refresh = "access-token-0", "refresh-token-0"
        self.revoked = False
        self.script = []
        self.refreshed, self.obtained, self.sent = [], [], []

    def token(self, **more):
        expires = None if self.life is None else self.clock.time() + self.life
        return Token(access=self.access, refresh=self.refresh, expires_at=expires, **more)

    async def _next(self):
        if self.script:
            step = self.script.pop(0)
            if isinstance(step, BaseException):
                raise step
            await step()
        self.number += 1
        self.access = f"access-token-{self.number}"
        if self.rotate:
            self.refresh = f"refresh-token-{self.number}"

    async def refreshing(self, token):
        self.refreshed.append(token.refresh)
        await asyncio.sleep(0)
        if self.revoked or token.refresh != self.refresh:
            raise CredentialRevokedError("the grant is gone", code="invalid_grant", status=400)
        await self._next()
        return self.token()

    async def obtaining(self):
        self.obtained.append(self.clock.time())
        if self.revoked:
            raise AuthenticationError("no such key", code="1600005")
        await self._next()
        return self.token(extra={"open_id": "open-id-12312"})

    async def send(self, access):
        self.sent.append(access)
        await asyncio.sleep(0)
        if access != self.access:
            raise TokenRefusedError(AuthenticationError(f"{access} is not valid"))
        return access


class Flaky(MemoryStore):
    """A store that may be down, altogether or for writes of tokens."""

    down = False
    full = False

    async def get(self, key):
        if self.down:
            raise ProviderUnavailableError("the store is down", code="store", outcome=Outcome.NOT_APPLIED)
        return await super().get(key)

    async def swap(self, key, old, new, *, ttl=None):
        if self.down:
            raise ProviderUnavailableError("the store is down", code="store", outcome=Outcome.NOT_APPLIED)
        return await super().swap(key, old, new, ttl=ttl)

    async def put(self, items, *, ttl=None):
        if self.down or self.full:
            raise ProviderUnavailableError("the store is down", code="store", outcome=Outcome.NOT_APPLIED)
        await super().put(items, ttl=ttl)


async def nobody(values):
    """No source to hand back to."""


def account(store, clock, **more):
    """One that knows no vendor."""
    nothing = dict.fromkeys(("credentials", "base_url", "http", "threads", "clients", "faults", "deliver"))
    given = {"facts": SimpleNamespace(vendor="shop"), "user_agent": "", "id": "sourcing.shop/platform"}
    given |= {"store": store, "clock": clock, "conceal": list, "hand_back": nobody}
    return Account(**nothing | given | more)


@pytest.fixture
def store(clock):
    return Flaky(clock)


@pytest.fixture
def shop(clock):
    return Shop(clock)


def lost():
    return CredentialRevokedError("the shop has to be connected again", reconnect_url=PAGE)


@pytest.fixture
def process(store, clock, shop):
    """The tokens of the account as a process has them that is started with these credentials."""

    def started(credentials=None, *, vendor=shop, seed=None, obtain=False, refresh=True, variables=None, **more):
        own = {name: more.pop(name) for name in ("store", "conceal", "hand_back", "id") if name in more}
        token = None if obtain and credentials is None else credentials or vendor.token()
        return Tokens(
            account(own.pop("store", store), clock, **own),
            given=token,
            seed=seed or ("key" if token is None else f"{token.access} {token.refresh}"),
            refresh=vendor.refreshing if refresh else None,
            obtain=vendor.obtaining if obtain else None,
            variables=variables,
            reconnect=lost,
            **more,
        )

    return started


async def settle(times=50):
    for _ in range(times):
        await asyncio.sleep(0)


def test_a_good_token_is_at_hand_and_nothing_is_asked(process, shop, store):
    tokens = process()

    async def scenario():
        token = await tokens.get()
        store.down = True
        return [token.access] + [(await tokens.get()).access for _ in range(3)]

    assert asyncio.run(scenario()) == ["access-token-0"] * 4
    assert shop.refreshed == []


def test_a_token_at_hand_costs_less_than_a_microsecond(process):
    tokens = process()

    async def scenario():
        await tokens.get()
        best = 1.0
        for _ in range(20):
            begun = time.perf_counter()
            for _ in range(1000):
                await tokens.get()
            best = min(best, (time.perf_counter() - begun) / 1000)
        return best

    # Five times as much, for machines that do other things too.
    assert asyncio.run(scenario()) < 5e-6


@pytest.mark.parametrize(("life", "early"), [(30 * DAY, DAY), (DAY, 0.2 * DAY), (100.0, 20.0)])
def test_a_token_is_refreshed_a_day_or_a_fifth_of_its_life_before_its_end(clock, process, life, early):
    shop = Shop(clock, life=life)
    tokens = process(vendor=shop)

    async def scenario():
        await tokens.get()
        clock.advance(life - early - 1)
        before = (await tokens.get()).access
        clock.advance(2)
        return before, (await tokens.get()).access

    assert asyncio.run(scenario()) == ("access-token-0", "access-token-1")
    assert shop.refreshed == ["refresh-token-0"]


def test_a_token_whose_end_is_not_known_is_used_until_it_is_refused(clock, process):
    shop = Shop(clock, life=None)
    tokens = process(vendor=shop)

    async def scenario():
        clock.advance(1000 * DAY)
        assert await tokens.authorised(shop.send) == "access-token-0"
        assert shop.refreshed == []
        shop.access = "something else"
        return await tokens.authorised(shop.send)

    assert asyncio.run(scenario()) == "access-token-1"
    assert shop.sent == ["access-token-0", "access-token-0", "access-token-1"]


def test_a_token_that_has_ended_by_the_vendors_clock_when_it_comes_is_used(clock, process):
    shop = Shop(clock, life=-DAY)
    tokens = process(vendor=shop)

    async def scenario():
        return [(await tokens.get()).access for _ in range(3)]

    assert asyncio.run(scenario()) == ["access-token-1"] * 3


def test_a_refresh_token_alone_is_enough(process, shop):
    tokens = process(Token(access="", refresh="refresh-token-0"))

    assert asyncio.run(tokens.get()).access == "access-token-1"


def test_two_hundred_calls_at_once_refresh_once(clock, process, shop):
    tokens = process()
    clock.advance(LIFE)

    async def scenario():
        return await asyncio.gather(*(tokens.get() for _ in range(200)))

    assert {token.access for token in asyncio.run(scenario())} == {"access-token-1"}
    assert shop.refreshed == ["refresh-token-0"]


def test_two_hundred_calls_that_are_refused_at_once_refresh_once(process, shop):
    tokens = process()
    shop.access = "something else"

    async def scenario():
        return await asyncio.gather(*(tokens.authorised(shop.send) for _ in range(200)))

    assert set(asyncio.run(scenario())) == {"access-token-1"}
    assert shop.refreshed == ["refresh-token-0"]


@pytest.mark.parametrize("where", ["sqlite", "valkey"])
def test_four_processes_refresh_once_when_it_is_time_and_once_when_they_are_refused(where, request, worker, tmp_path):
    url = f"sqlite:///{tmp_path / 'state.db'}" if where == "sqlite" else request.getfixturevalue("valkey").url
    lines = tmp_path / "refreshes"
    lines.write_text("")
    workers = [worker("renew", url, lines, time.time() + 60) for _ in range(PROCESSES)]
    assert [one.hear() for one in workers] == ["ready"] * PROCESSES
    for one in workers:
        one.say()

    # Some come when the first new token has been refused already.
    assert {one.end() for one in workers} <= {"access-1 access-2", "access-2 access-2"}
    asked = [line.split()[0] for line in lines.read_text().splitlines()]
    assert asked == ["refresh-token-0", "refresh-token-1"]


def test_two_views_of_one_process_refresh_once(clock, process, shop):
    one, two = process(), process()
    clock.advance(LIFE)

    async def scenario():
        return await asyncio.gather(one.get(), two.get())

    assert {token.access for token in asyncio.run(scenario())} == {"access-token-1"}
    assert shop.refreshed == ["refresh-token-0"]


def test_what_another_process_got_is_used(clock, process, shop):
    one, two = process(), process()

    async def scenario():
        await two.get()
        clock.advance(LIFE)
        await one.get()
        early = (await two.get()).access
        shop.access = "something else"
        await one.authorised(shop.send)
        return early, await two.authorised(shop.send)

    assert asyncio.run(scenario()) == ("access-token-1", "access-token-2")
    assert len(shop.refreshed) == 2


def test_a_caller_who_is_cancelled_does_not_lose_the_token_that_comes(clock, process, shop):
    tokens, gate = process(), asyncio.Event()
    clock.advance(LIFE)
    shop.script.append(gate.wait)

    async def scenario():
        leader = asyncio.create_task(tokens.get())
        await settle()
        follower = asyncio.create_task(tokens.get())
        await settle()
        leader.cancel()
        await settle()
        gate.set()
        assert (await follower).access == "access-token-1"
        with pytest.raises(asyncio.CancelledError):
            await leader
        return (await process(shop.token(), seed="new").get()).access

    assert asyncio.run(scenario()) == "access-token-1"
    assert shop.refreshed == ["refresh-token-0"]


def test_closing_waits_for_a_renewal_under_way(clock, process, shop):
    given, gate = shop.token(), asyncio.Event()
    clock.advance(LIFE)
    shop.script.append(gate.wait)

    async def scenario():
        tokens = process(given)
        caller = asyncio.create_task(tokens.get())
        await settle()
        caller.cancel()
        closing = asyncio.create_task(tokens.aclose())
        await settle()
        assert not closing.done()
        gate.set()
        await closing
        await tokens.aclose()

    asyncio.run(scenario())
    assert asyncio.run(process(given).get()).access == "access-token-1"
    assert len(shop.refreshed) == 1


def test_a_renewal_that_nobody_holds_any_more_goes_on(clock, process, shop, store):
    given, answers, put = shop.token(), [], store.put
    clock.advance(LIFE)

    async def slowly(items, *, ttl=None):
        coming = asyncio.get_running_loop().create_future()
        answers.append(weakref.ref(coming))
        await coming
        await put(items, ttl=ttl)

    store.put = slowly

    async def scenario():
        caller = asyncio.create_task(process(given).get())
        await settle()
        caller.cancel()
        await settle()
        del caller
        gc.collect()
        answers[0]().set_result(None)
        await settle()

    asyncio.run(scenario())
    assert asyncio.run(process(given).get()).access == "access-token-1"
    assert len(shop.refreshed) == 1


def test_a_token_that_came_when_the_loop_ended_is_not_lost(clock, process, shop, store):
    tokens, given = process(), shop.token()
    clock.advance(LIFE)
    put = store.put

    async def never(items, *, ttl=None):
        await asyncio.Event().wait()

    async def cut_off():
        store.put = never
        caller = asyncio.create_task(tokens.get())
        await settle()
        assert not caller.done()

    asyncio.run(cut_off())
    store.put = put
    assert asyncio.run(tokens.get()).access == "access-token-1"
    assert asyncio.run(process(given).get()).access == "access-token-1"
    assert len(shop.refreshed) == 1


def test_a_renewal_that_fails_when_nobody_waits_any_more_is_quiet(clock, process, shop, caplog):
    tokens, gate = process(), asyncio.Event()
    clock.advance(LIFE)

    async def broken():
        await gate.wait()
        raise BadResponseError("nonsense")

    shop.script.append(broken)

    async def scenario():
        caller = asyncio.create_task(tokens.get())
        await settle()
        caller.cancel()
        await settle()
        gate.set()
        await tokens.aclose()
        await settle()
        gc.collect()

    asyncio.run(scenario())
    assert shop.refreshed == ["refresh-token-0"]
    assert caplog.text == ""


def test_a_good_token_is_used_while_the_next_one_takes_long(clock, process, shop):
    tokens, gate = process(), asyncio.Event()
    shop.script.append(gate.wait)

    async def scenario():
        await tokens.get()
        clock.advance(LIFE - DAY / 2)
        attempt = Attempt()
        ATTEMPT.set(attempt)
        caller = asyncio.create_task(tokens.get())
        await settle()
        assert not attempt.sent
        clock.advance(PATIENCE)
        first = (await caller).access
        assert attempt.sent
        second = (await tokens.get()).access
        gate.set()
        await settle()
        return first, second, (await tokens.get()).access

    assert asyncio.run(scenario()) == ("access-token-0", "access-token-0", "access-token-1")
    assert len(shop.refreshed) == 1


def test_after_a_renewal_what_the_caller_sends_counts_again(clock, process):
    tokens, attempt = process(), Attempt()
    clock.advance(LIFE)

    async def scenario():
        ATTEMPT.set(attempt)
        await tokens.get()

    asyncio.run(scenario())
    assert attempt.sent


def test_the_end_of_an_event_loop_does_not_leave_others_waiting(clock, process, shop):
    tokens, gate = process(), asyncio.Event()
    clock.advance(LIFE)
    shop.script.append(gate.wait)

    async def abandoned():
        asyncio.get_running_loop().call_soon(asyncio.current_task().cancel)
        await tokens.get()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(abandoned())
    # The lock of the one that was cut off is free again, and its refresh token was not used up.
    assert asyncio.run(tokens.get()).access == "access-token-1"


def test_another_event_loop_waits_for_the_lock_and_not_for_the_first_loop(clock, process, shop):
    tokens, gate = process(), asyncio.Event()
    clock.advance(LIFE)
    clock.auto = False
    shop.script.append(gate.wait)
    first = asyncio.new_event_loop()
    waiting = first.create_task(tokens.get())
    first.run_until_complete(settle())
    assert len(shop.refreshed) == 1

    async def elsewhere():
        caller = asyncio.create_task(tokens.get())
        await settle()
        assert not caller.done()
        gate.set()
        await asyncio.to_thread(first.run_until_complete, waiting)
        clock.advance(1)
        return (await caller).access

    assert asyncio.run(elsewhere()) == waiting.result().access == "access-token-1"
    first.close()
    assert len(shop.refreshed) == 1


def test_a_renewal_elsewhere_that_takes_too_long_is_an_unavailable_vendor(clock, process, shop, store):
    tokens = process()
    clock.advance(LIFE)

    async def scenario():
        await store.put([(f"lock/{RECORD}", b"somebody")])
        begun = clock.monotonic()
        with pytest.raises(ProviderUnavailableError) as caught:
            await tokens.get()
        assert SECONDS - 1 < clock.monotonic() - begun <= SECONDS
        return caught.value

    error = asyncio.run(scenario())
    assert (error.outcome, error.code, error.retryable) == (Outcome.NOT_APPLIED, "token", True)
    assert shop.refreshed == []


def test_credentials_that_were_given_are_older_than_what_came_of_them(clock, process, shop):
    given_at_first = shop.token()

    async def scenario():
        for _ in range(3):
            clock.advance(LIFE)
            await process(given_at_first).get()
        return (await process(given_at_first).get()).access

    assert asyncio.run(scenario()) == "access-token-3"
    assert shop.refreshed == ["refresh-token-0", "refresh-token-1", "refresh-token-2"]


def test_credentials_read_just_before_a_newer_refresh_are_not_used(clock, process, shop):
    async def scenario():
        first = process()
        clock.advance(LIFE)
        read = await first.get()
        clock.advance(LIFE)
        await first.get()
        late = process(read)
        assert (await late.get()).access == "access-token-2"
        shop.access = "something else"
        return await late.authorised(shop.send)

    assert asyncio.run(scenario()) == "access-token-3"
    assert len(shop.refreshed) == 3


def test_other_credentials_are_a_new_grant_and_the_old_one_goes_on_beside_it(clock, process, shop):
    async def scenario():
        old = process()
        clock.advance(LIFE)
        await old.get()
        elsewhere = Shop(clock)
        elsewhere.access, elsewhere.refresh = "other-access", "other-refresh"
        new = process(vendor=elsewhere)
        assert (await new.get()).access == "other-access"
        clock.advance(LIFE)
        elsewhere.number = 10
        assert (await new.get()).access == "access-token-11"
        assert (await old.get()).access == "access-token-2"
        clock.advance(LIFE)
        return (await old.get()).access, (await new.get()).access

    assert asyncio.run(scenario()) == ("access-token-3", "access-token-12")


def test_an_operator_may_go_back_to_the_credentials_before(clock, process, shop):
    before = shop.token()

    async def scenario():
        clock.advance(LIFE)
        await process(before).get()
        for number in range(3):
            elsewhere = Shop(clock)
            elsewhere.access, elsewhere.refresh = f"other-access-{number}", f"other-refresh-{number}"
            read = elsewhere.token()
            clock.advance(LIFE)
            await process(read, vendor=elsewhere).get()
        return (await process(before).get()).access

    assert asyncio.run(scenario()) == "access-token-2"


def test_the_credentials_of_long_ago_are_still_known(clock, process, shop, store):
    first = shop.token()

    async def scenario():
        for _ in range(3 * KNOWN):
            read = shop.token()
            clock.advance(LIFE)
            await process(read).get()
        return (await process(first).get()).access

    assert asyncio.run(scenario()) == f"access-token-{3 * KNOWN}"
    (grant,) = json.loads(asyncio.run(store.get(RECORD)))
    assert len(grant["lineage"]) <= KNOWN + 3


@given(data=st.data())
def test_whatever_is_read_when_and_by_whom_no_refresh_token_is_used_twice(data):
    clock = ManualClock()
    store, shop = MemoryStore(clock), Shop(clock)
    handed = [shop.token()]

    async def put(values):
        handed.append(values["token"])

    def started(read):
        return Tokens(
            account(store, clock, hand_back=put),
            given=read,
            seed=read.refresh,
            refresh=shop.refreshing,
            variables=lambda token: {"token": token},
            reconnect=lost,
        )

    running = [started(handed[0])]

    async def scenario():
        for _ in range(data.draw(st.integers(1, 40))):
            step = data.draw(st.sampled_from(["start", "pass", "refuse", "call"]))
            clock.advance(1)
            if step == "start":
                running.append(started(data.draw(st.sampled_from(handed))))
            elif step == "pass":
                clock.advance(data.draw(st.sampled_from([DAY, LIFE - DAY + 1, 2 * LIFE])))
            elif step == "refuse":
                shop.access = "something else"
            else:
                assert await data.draw(st.sampled_from(running)).authorised(shop.send) == shop.access

    asyncio.run(scenario())
    assert len(set(shop.refreshed)) == len(shop.refreshed)


def test_a_refresh_that_brings_no_refresh_token_leaves_the_one_there_was(clock, process, shop):
    shop.rotate = False
    asked = []

    async def refresh(token):
        asked.append((token.refresh, token.refresh_expires_at, dict(token.extra)))
        return Token(access=f"access-{len(asked)}", expires_at=clock.time() + LIFE)

    given = Token(
        access="access-0",
        refresh="refresh-0",
        expires_at=clock.time(),
        refresh_expires_at=clock.time() + 9 * LIFE,
        extra={"open_id": "open-id-1"},
    )

    async def scenario():
        tokens = Tokens(
            account(MemoryStore(clock), clock), given=given, seed="refresh-0", refresh=refresh, reconnect=lost
        )
        await tokens.get()
        clock.advance(LIFE)
        return await tokens.get()

    token = asyncio.run(scenario())
    assert (token.access, token.extra) == ("access-2", {"open_id": "open-id-1"})
    assert asked == [("refresh-0", given.refresh_expires_at, {"open_id": "open-id-1"})] * 2


def test_a_dead_grant_says_how_to_connect_again_and_the_vendor_is_not_asked_twice(clock, process, shop, store):
    tokens = process()
    shop.revoked, shop.access = True, "something else"

    async def scenario():
        async def call(tokens):
            with pytest.raises(CredentialRevokedError) as caught:
                await tokens.authorised(shop.send)
            return caught.value

        errors = await asyncio.gather(*(call(tokens) for _ in range(10)))
        sent = len(shop.sent)
        errors.append(await call(tokens))
        assert len(shop.sent) == sent
        clock.advance(100 * DAY)
        # So does another process, though the lock is held.
        await store.put([(f"lock/{RECORD}", b"somebody")])
        errors.append(await call(process(Token(access="access-token-0", refresh="refresh-token-0"))))
        return errors

    errors = asyncio.run(scenario())
    assert clock.slept == []
    assert {error.reconnect_url for error in errors} == {PAGE}
    assert {error.outcome for error in errors} == {Outcome.NOT_APPLIED}
    assert (errors[0].code, errors[0].status) == ("invalid_grant", 400)
    assert len(set(map(id, errors))) == len(errors)
    assert len(shop.refreshed) == 1


def test_other_credentials_bring_a_dead_account_back(process, shop):
    dead = process()
    shop.revoked, shop.access = True, "something else"

    async def scenario():
        with pytest.raises(CredentialRevokedError):
            await dead.authorised(shop.send)
        shop.revoked, shop.access, shop.refresh = False, "connected-again", "refresh-again"
        again = process()
        assert await again.authorised(shop.send) == "connected-again"
        shop.access = "something else"
        return await again.authorised(shop.send)

    assert asyncio.run(scenario()) == "access-token-1"


def test_a_refusal_that_need_not_be_for_good_is_forgotten_after_a_while_and_with_another_secret(clock, process, shop):
    given = Token(access="", refresh="refresh-token-0")
    shop.script += [AuthenticationError("bad signature", code="IncompleteSignature")] * 2

    async def scenario():
        with pytest.raises(CredentialRevokedError) as caught:
            await process(given, seed="wrong secret").get()
        assert caught.value.code == "IncompleteSignature"
        with pytest.raises(CredentialRevokedError):
            await process(given, seed="wrong secret").get()
        assert len(shop.refreshed) == 1
        with pytest.raises(CredentialRevokedError):
            await process(given, seed="another secret").get()
        clock.advance(DEAD)
        return (await process(given, seed="another secret").get()).access

    assert asyncio.run(scenario()) == "access-token-1"


def test_what_works_again_with_another_secret_works_for_all(clock, process, shop):
    shop.rotate = False
    given = Token(access="", refresh="refresh-token-0")

    async def scenario():
        shop.revoked = True
        with pytest.raises(CredentialRevokedError):
            await process(given, seed="of another application").get()
        shop.revoked = False
        await process(given, seed="right").get()
        clock.advance(LIFE)
        return (await process(given, seed="of another application").get()).access

    assert asyncio.run(scenario()) == "access-token-2"


def test_a_token_that_is_good_is_used_to_its_end_though_the_grant_is_dead(clock, process, shop, caplog):
    tokens = process()
    shop.revoked = True

    async def scenario():
        clock.advance(LIFE - DAY / 2)
        for _ in range(3):
            assert await tokens.authorised(shop.send) == "access-token-0"
            clock.advance(AGAIN)
        clock.advance(DAY / 2)
        with pytest.raises(CredentialRevokedError):
            await tokens.get()

    asyncio.run(scenario())
    assert len(shop.refreshed) == 1
    assert [record.message for record in caplog.records] == [
        "the token of sourcing.shop/platform could not be renewed: CredentialRevokedError"
    ]


def test_a_refresh_token_that_has_ended_is_not_tried(clock, process, shop):
    tokens = process(Token(access="access-token-0", refresh="refresh-token-0", refresh_expires_at=clock.time()))
    shop.access = "something else"

    with pytest.raises(CredentialRevokedError):
        asyncio.run(tokens.authorised(shop.send))
    assert shop.refreshed == []


def test_an_access_token_alone_is_used_until_it_is_refused(process, shop):
    tokens = process(Token(access="access-token-0"), refresh=False)

    async def scenario():
        assert await tokens.authorised(shop.send) == "access-token-0"
        shop.access = "something else"
        for _ in range(2):
            with pytest.raises(CredentialRevokedError):
                await tokens.authorised(shop.send)

    asyncio.run(scenario())
    assert shop.sent == ["access-token-0"] * 2


def test_no_credentials_at_all_are_a_call_to_connect(process, shop):
    tokens = process(Token(access="", refresh=""))

    with pytest.raises(CredentialRevokedError):
        asyncio.run(tokens.get())
    assert shop.refreshed == []


def test_a_second_refusal_is_the_callers_and_more_tokens_are_not_got(clock, process, shop):
    tokens = process()

    async def send(access):
        shop.sent.append(access)
        raise TokenRefusedError(AuthenticationError(f"refused {len(shop.sent)}"))

    async def scenario():
        for number in (2, 3, 4):
            with pytest.raises(AuthenticationError, match=f"refused {number}"):
                await tokens.authorised(send)
        clock.advance(AGAIN)
        with pytest.raises(AuthenticationError, match="refused 6"):
            await tokens.authorised(send)

    asyncio.run(scenario())
    assert len(shop.refreshed) == 2


@pytest.mark.parametrize(
    "failure",
    [
        ProviderUnavailableError("down"),
        ProviderTimeoutError("slow"),
        RateLimitedError("slowly", retry_after=5),
        BadResponseError("nonsense"),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_what_fails_for_a_while_is_tried_again_later_and_a_good_token_used_meanwhile(
    clock, process, shop, caplog, failure
):
    tokens = process()
    shop.script += [failure, failure]

    async def scenario():
        await tokens.get()
        clock.advance(LIFE - DAY / 2)
        seen = [(await tokens.get()).access for _ in range(3)]
        clock.advance(AGAIN)
        seen.append((await tokens.get()).access)
        clock.advance(AGAIN)
        return [*seen, (await tokens.get()).access]

    assert asyncio.run(scenario()) == ["access-token-0"] * 4 + ["access-token-1"]
    assert len(shop.refreshed) == 3
    assert len(caplog.records) == 1
    # The next time it is said again.
    clock.advance(LIFE - DAY / 2)
    shop.script.append(failure)
    assert asyncio.run(tokens.get()).access == "access-token-1"
    assert len(caplog.records) == 2


def test_without_a_good_token_the_failure_is_raised_and_nothing_was_applied(clock, process, shop):
    tokens = process()
    clock.advance(LIFE)
    shop.script.append(ProviderUnavailableError("down", status=503))

    async def scenario():
        with pytest.raises(ProviderUnavailableError) as caught:
            await tokens.get()
        return caught.value, (await tokens.get()).access

    error, access = asyncio.run(scenario())
    assert (error.outcome, error.status, error.retryable) == (Outcome.NOT_APPLIED, 503, True)
    assert access == "access-token-1"


def test_a_vendor_that_does_not_answer_is_not_waited_for_longer_than_the_renewal_has(clock, process, shop):
    tokens, gate = process(), asyncio.Event()
    clock.advance(LIFE)
    shop.script.append(gate.wait)

    async def scenario():
        caller = asyncio.create_task(tokens.get())
        await settle()
        clock.advance(SECONDS)
        with pytest.raises(ProviderTimeoutError) as caught:
            await caller
        return caught.value, (await tokens.get()).access

    error, access = asyncio.run(scenario())
    assert (error.outcome, error.retryable) == (Outcome.NOT_APPLIED, True)
    assert access == "access-token-1"


def test_what_the_adapter_would_name_is_named(clock, process, shop):
    tokens = process(translate=lambda error: AuthenticationError("no") if isinstance(error, KeyError) else None)
    clock.advance(LIFE)
    shop.script += [KeyError("field"), RuntimeError("a bug")]

    async def model():
        Token.model_validate({"access": ["secret-in-a-reply"]})

    async def scenario():
        with pytest.raises(CredentialRevokedError):
            await tokens.get()
        clock.advance(DEAD)
        with pytest.raises(RuntimeError, match="a bug"):
            await tokens.get()
        shop.script.append(model)
        with pytest.raises(BadResponseError) as caught:
            await tokens.get()
        return caught.value

    error = asyncio.run(scenario())
    assert error.outcome is Outcome.NOT_APPLIED
    assert "secret-in-a-reply" not in str(error)


def test_a_key_gets_a_token_and_what_comes_with_it_stays(clock, process, shop):
    tokens = process(obtain=True, apart=300)

    async def scenario():
        first = await tokens.get()
        clock.advance(LIFE)
        return first, await tokens.get()

    first, second = asyncio.run(scenario())
    assert (first.access, second.access) == ("access-token-1", "access-token-2")
    assert first.extra == second.extra == {"open_id": "open-id-12312"}
    assert (len(shop.obtained), len(shop.refreshed)) == (1, 1)


def test_a_key_gets_another_token_when_the_refresh_token_is_dead(clock, process, shop):
    tokens = process(obtain=True, apart=300)

    async def scenario():
        await tokens.get()
        clock.advance(LIFE)
        shop.refresh = "something else"
        return (await tokens.get()).access

    assert asyncio.run(scenario()) == "access-token-2"
    assert (len(shop.obtained), len(shop.refreshed)) == (2, 1)


def test_a_key_is_not_used_again_too_soon_by_any_process(clock, process, shop):
    async def scenario():
        await process(obtain=True, apart=300).get()
        clock.advance(100)
        shop.access = shop.refresh = "something else"
        another = process(obtain=True, apart=300)
        with pytest.raises(RateLimitedError) as caught:
            await another.authorised(shop.send)
        assert len(shop.obtained) == 1
        clock.advance(200)
        return caught.value, await another.authorised(shop.send)

    error, access = asyncio.run(scenario())
    assert (error.retry_after, error.outcome, error.retryable) == (200, Outcome.NOT_APPLIED, True)
    assert access == "access-token-2"


def test_a_token_that_another_process_has_got_is_used_though_a_new_one_may_not_be_asked_for(clock, process, shop):
    async def scenario():
        one, two = process(obtain=True, apart=300), process(obtain=True, apart=300)
        await one.get()
        await two.get()
        clock.advance(300)
        shop.access = shop.refresh = "something else"
        await one.authorised(shop.send)
        return await two.authorised(shop.send)

    assert asyncio.run(scenario()) == "access-token-2"
    assert len(shop.obtained) == 2


def test_what_never_left_is_not_counted_as_asked(clock, process, shop):
    tokens = process(obtain=True, apart=300)

    async def unreachable():
        ATTEMPT.get().sent = False
        raise ProviderUnavailableError("no connection", outcome=Outcome.NOT_APPLIED)

    shop.script.append(unreachable)

    async def scenario():
        with pytest.raises(ProviderUnavailableError):
            await tokens.get()
        shop.script.append(ProviderUnavailableError("no answer"))
        with pytest.raises(ProviderUnavailableError):
            await tokens.get()
        with pytest.raises(RateLimitedError):
            await tokens.get()

    asyncio.run(scenario())
    assert len(shop.obtained) == 2


def test_a_key_that_is_refused_is_tried_again_after_a_while(clock, process, shop):
    tokens = process(obtain=True, apart=300)
    shop.revoked = True

    async def scenario():
        for _ in range(3):
            with pytest.raises(CredentialRevokedError):
                await tokens.get()
        assert len(shop.obtained) == 1
        other = process(obtain=True, apart=300, seed="another key")
        with pytest.raises(CredentialRevokedError):
            await other.get()
        assert len(shop.obtained) == 2
        shop.revoked = False
        clock.advance(DEAD)
        return (await tokens.get()).access

    assert asyncio.run(scenario()) == "access-token-1"


def test_a_key_goes_on_with_the_tokens_that_were_handed_back(clock, process, shop, store):
    async def scenario():
        read = await process(obtain=True).get()
        assert (await process(read, obtain=True, seed="key").get()).access == "access-token-1"
        # Also when the store has lost what it knew.
        await store.put([(RECORD, None)])
        return (await process(read, obtain=True, seed="key").get()).access

    assert asyncio.run(scenario()) == "access-token-1"
    assert len(shop.obtained) == 1


def test_another_key_does_not_go_on_with_the_tokens_of_the_one_before(clock, process, shop):
    async def scenario():
        first = process(obtain=True, seed="key")
        read = await first.get()
        clock.advance(LIFE)
        await first.get()
        shop.access, shop.refresh = "other-access", "other-refresh"
        return (await process(read, obtain=True, seed="another key").get()).access

    assert asyncio.run(scenario()) == "access-token-3"
    assert (len(shop.obtained), len(shop.refreshed)) == (2, 1)


def test_a_refused_key_counts_as_asked_for(clock, process, shop):
    tokens = process(obtain=True, apart=2 * DEAD)
    shop.revoked = True

    async def scenario():
        with pytest.raises(CredentialRevokedError):
            await tokens.get()
        clock.advance(DEAD)
        with pytest.raises(RateLimitedError):
            await tokens.get()

    asyncio.run(scenario())
    assert len(shop.obtained) == 1


def test_a_vendor_that_gives_the_same_token_again_is_believed_once(process, clock):
    class Same(Shop):
        async def _next(self):
            """The pair of today."""

    shop = Same(clock)
    tokens = process(vendor=shop, obtain=True)

    async def scenario():
        await tokens.get()

        async def send(access):
            raise TokenRefusedError(AuthenticationError(f"{access} is refused"))

        with pytest.raises(AuthenticationError, match="is refused"):
            await tokens.authorised(send)

    asyncio.run(scenario())
    assert len(shop.obtained) + len(shop.refreshed) == 2


class Row:
    """A service's own row of the tenant's credentials."""

    def __init__(self, access, refresh):
        self.values = {"SHOP_ACCESS": access, "SHOP_REFRESH": refresh}
        self.failure = None
        self.put_at = []

    async def put(self, values):
        self.put_at.append(dict(values))
        if self.failure is not None:
            raise self.failure
        self.values |= values

    def token(self):
        return Token(access=self.values["SHOP_ACCESS"], refresh=self.values["SHOP_REFRESH"])


def variables(token):
    return {"SHOP_ACCESS": token.access, "SHOP_REFRESH": token.refresh}


def test_new_tokens_are_handed_back_and_a_process_that_reads_them_goes_on(process, shop):
    row = Row("access-token-0", "refresh-token-0")

    async def scenario():
        one = process(row.token(), hand_back=row.put, variables=variables)
        shop.access = "something else"
        await one.authorised(shop.send)
        two = process(row.token(), hand_back=row.put, variables=variables)
        assert await two.authorised(shop.send) == "access-token-1"
        shop.access = "something else"
        await two.authorised(shop.send)
        return await one.authorised(shop.send)

    assert asyncio.run(scenario()) == "access-token-2"
    assert row.values == {"SHOP_ACCESS": "access-token-2", "SHOP_REFRESH": "refresh-token-2"}
    assert len(row.put_at) == 2


def test_a_source_that_fails_fails_no_call_and_no_secret_is_logged(process, shop, caplog):
    caplog.set_level(logging.DEBUG)
    row = Row("access-token-0", "refresh-token-0")
    row.failure = RuntimeError("UPDATE accounts SET token = 'access-token-1'")
    shop.access = "something else"

    tokens = process(row.token(), hand_back=row.put, variables=variables)

    assert asyncio.run(tokens.authorised(shop.send)) == "access-token-1"
    assert "could not be handed back: RuntimeError" in caplog.text
    assert "access-token" not in caplog.text


def test_a_source_that_hangs_is_not_waited_for(process, shop, clock, caplog):
    async def hang(values):
        await asyncio.Event().wait()

    tokens = process(hand_back=hang, variables=variables)
    clock.advance(LIFE)

    async def scenario():
        caller = asyncio.create_task(tokens.get())
        await settle()
        # Whoever comes now does not wait at all.
        assert (await tokens.get()).access == "access-token-1"
        clock.advance(HAND_BACK_SECONDS)
        return (await caller).access

    assert asyncio.run(scenario()) == "access-token-1"
    assert "could not be handed back: TimeoutError" in caplog.text


def test_it_is_stored_before_it_is_handed_back(process, shop, clock):
    seen = []

    async def put(values):
        seen.append((await process(Token(access="access-token-0", refresh="refresh-token-0")).get()).access)

    tokens = process(hand_back=put, variables=variables)
    clock.advance(LIFE)

    asyncio.run(tokens.get())
    assert seen == ["access-token-1"]


def test_without_a_store_a_good_token_is_used_and_none_is_renewed(clock, process, shop, store):
    tokens = process()
    store.down = True

    async def scenario():
        first = (await tokens.get()).access
        clock.advance(LIFE - DAY / 2)
        second = (await tokens.get()).access
        clock.advance(DAY / 2)
        with pytest.raises(ProviderUnavailableError) as caught:
            await tokens.get()
        store.down = False
        return first, second, caught.value.outcome, (await tokens.get()).access

    assert asyncio.run(scenario()) == ("access-token-0", "access-token-0", Outcome.NOT_APPLIED, "access-token-1")
    assert shop.refreshed == ["refresh-token-0"]


def test_a_token_that_could_not_be_stored_is_used_and_stored_later(clock, process, shop, store, caplog):
    given = shop.token()
    tokens = process(given)
    clock.advance(LIFE)
    store.full = True

    async def scenario():
        assert (await tokens.get()).access == "access-token-1"
        clock.advance(AGAIN)
        assert (await tokens.get()).access == "access-token-1"
        store.full = False
        clock.advance(AGAIN)
        assert (await tokens.get()).access == "access-token-1"
        return (await process(given).get()).access

    assert asyncio.run(scenario()) == "access-token-1"
    assert shop.refreshed == ["refresh-token-0"]
    assert "could not be stored: ProviderUnavailableError" in caplog.text


def test_a_store_that_has_lost_everything_is_told_again(clock, process, shop, store):
    given = shop.token()
    tokens = process(given)

    async def scenario():
        clock.advance(LIFE)
        await tokens.get()
        await store.put([(RECORD, None)])
        shop.access = "something else"
        assert await tokens.authorised(shop.send) == "access-token-2"
        return (await process(given).get()).access

    assert asyncio.run(scenario()) == "access-token-2"
    assert shop.refreshed == ["refresh-token-0", "refresh-token-1"]


def test_a_record_of_another_version_is_no_obstacle(process, shop, store, caplog):
    async def scenario():
        await store.put([(RECORD, b'{"strange": 1}')])
        return (await process().get()).access

    assert asyncio.run(scenario()) == "access-token-0"
    assert "of another version" in caplog.text


def test_what_is_kept_goes_when_the_refresh_token_ends(clock, shop):
    store = MemoryStore(clock)
    kept = []

    async def refresh(token):
        now = clock.time()
        return Token(access="a" * 8, refresh="r" * 8, expires_at=now + DAY, refresh_expires_at=now + 2 * DAY)

    async def scenario():
        given = Token(access="", refresh="refresh-token-0")
        await Tokens(account(store, clock), given=given, seed="", refresh=refresh, reconnect=lost).get()
        for seconds in (2 * DAY - 1, 2):
            clock.advance(seconds)
            kept.append(await store.get(RECORD) is not None)

    asyncio.run(scenario())
    assert kept == [True, False]


def test_no_secret_shows_in_keys_or_where_tokens_are_printed(clock, process, shop, store):
    token = shop.token(extra={"open_id": "open-id-12312"})
    concealed = []

    async def scenario():
        tokens = process(conceal=concealed.extend)
        clock.advance(LIFE)
        await tokens.get()
        return [key async for key, _ in store.scan("")], vars(await tokens.get())

    keys, found = asyncio.run(scenario())
    assert keys == [RECORD]
    for text in (repr(token), str(token), repr(found), repr([token.access, token.refresh])):
        assert "-token-" not in text
        assert "open-id" not in text
    assert {"access-token-0", "refresh-token-0", "access-token-1", "refresh-token-1"} <= set(concealed)


def test_no_secret_is_in_the_frames_of_an_error(clock, process, shop, store):
    tokens = process(obtain=True, apart=300)

    async def scenario():
        await tokens.get()
        clock.advance(LIFE)
        shop.refresh, store.full = "something else", True
        with pytest.raises(ProviderUnavailableError) as caught:
            await tokens.get()
        return caught.value

    error = asyncio.run(scenario())
    assert error.code == "store"
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if "test_tokens" not in frame.f_code.co_filename or frame.f_code.co_name == "put":
                assert "-token-" not in repr(frame.f_locals)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_what_a_renewal_sends_is_not_the_callers_request(clock, process, shop):
    tokens = process()
    clock.advance(LIFE)
    mine, theirs = Attempt(), []

    async def sends():
        attempt = ATTEMPT.get()
        theirs.append(attempt)
        attempt.sent = True
        await asyncio.sleep(0)
        raise ProviderUnavailableError("it broke")

    shop.script.append(sends)

    async def scenario():
        ATTEMPT.set(mine)
        with pytest.raises(ProviderUnavailableError):
            await tokens.get()
        return mine.sent

    assert asyncio.run(scenario()) is False
    assert theirs[0] is not mine
    assert theirs[0].deadline == clock.monotonic() + SECONDS


SHOP = (
    Variable(name="SHOP_ACCESS", purpose="access token", secret=True),
    Variable(name="SHOP_REFRESH", purpose="refresh token", secret=True),
)


@pytest.fixture
def mails(vendor, clock, shop):
    """A vendor of e-mail whose tokens expire."""
    kind = vendor("alpha", variables=SHOP)

    def build(self, account):
        self.tokens = Tokens(
            account,
            given=Token(access=account.get("SHOP_ACCESS"), refresh=account.get("SHOP_REFRESH")),
            seed=f"{account.get('SHOP_ACCESS')} {account.get('SHOP_REFRESH')}",
            refresh=shop.refreshing,
            variables=variables,
            reconnect=lambda: CredentialRevokedError(
                f"connect again: {shop.refresh}", reconnect_url=f"{PAGE}?{shop.refresh}"
            ),
        )

    async def send(self, message, tracking_id):
        async def post(access):
            self.calls.append(access)
            if access != shop.access:
                raise TokenRefusedError(AuthenticationError(f"not {access}"))
            return access

        await self.tokens.authorised(post)
        return MessageRef(vendor="alpha", id="m1")

    kind.__init__, kind.send = build, send
    return kind


class Vault:
    """A tenant's `CredentialSource`."""

    def __init__(self):
        self.values = {"SHOP_ACCESS": "access-token-0", "SHOP_REFRESH": "refresh-token-0"}

    async def get(self, vendor):
        return dict(self.values)

    async def put(self, vendor, values):
        assert vendor == "alpha"
        self.values |= values


def test_a_tenants_source_gets_what_was_refreshed_and_other_tenants_see_nothing_of_it(mails, live, mail, shop, store):
    vault, other = Vault(), Vault()
    shop.access = "something else"

    async def scenario():
        async with live(store=store, environ={"SHOP_ACCESS": "a", "SHOP_REFRESH": "b"}) as p:
            await p.scoped("m-1", credentials=vault).email.send(mail())
            await p.scoped("m-1", credentials=vault).email.send(mail())
            assert mails.calls == ["access-token-0", "access-token-1", "access-token-1"]
            with pytest.raises(CredentialRevokedError):
                await p.scoped("m-2", credentials=other).email.send(mail())
        return [key async for key, _ in store.scan("token/")]

    keys = asyncio.run(scenario())
    assert vault.values == {"SHOP_ACCESS": "access-token-1", "SHOP_REFRESH": "refresh-token-1"}
    assert other.values["SHOP_ACCESS"] == "access-token-0"
    assert keys == ["token/email.alpha/tenant:m-1/", "token/email.alpha/tenant:m-2/"]


class Blocking:
    """A tenant's source for code that blocks."""

    def __init__(self):
        self.values = {"SHOP_ACCESS": "access-token-0", "SHOP_REFRESH": "refresh-token-0"}

    def get(self, vendor):
        return dict(self.values)

    def put(self, vendor, values):
        self.values |= values


def test_a_source_that_blocks_gets_what_was_refreshed(mails, mail, shop, clock, store):
    row = Blocking()
    shop.access = "something else"
    environ = {"SHOP_ACCESS": "a", "SHOP_REFRESH": "b"}
    settings = Settings(mode="live", vendors={"email": "alpha"}, environ=environ, env_file=None)

    with sync.Providers(settings, clock=clock, store=store, hooks=()) as p:
        for _ in range(2):
            p.scoped("m-1", credentials=row).email.send(mail())

    assert row.values == {"SHOP_ACCESS": "access-token-1", "SHOP_REFRESH": "refresh-token-1"}
    assert mails.calls == ["access-token-0", "access-token-1", "access-token-1"]


def test_tokens_that_came_later_are_masked_in_errors_and_where_to_connect_again(mails, live, mail, shop):
    vault = Vault()
    shop.access = "something else"

    async def scenario():
        async with live(environ={"SHOP_ACCESS": "a", "SHOP_REFRESH": "b"}) as p:
            view = p.scoped("m-1", credentials=vault)
            await view.email.send(mail())
            assert shop.refresh == "refresh-token-1"
            shop.revoked, shop.access = True, "something else"
            with pytest.raises(CredentialRevokedError) as caught:
                await view.email.send(mail())
            return caught.value

    error = asyncio.run(scenario())
    assert (error.message, error.reconnect_url) == ("connect again: ***", f"{PAGE}?***")
    assert (error.vendor, error.operation) == ("alpha", "email.send")


def test_the_error_that_says_where_to_connect_again_pickles():
    error = CredentialRevokedError("gone", reconnect_url=PAGE, code="x", vendor="shop")

    again = pickle.loads(pickle.dumps(error))  # noqa: S301 (our own)

    assert (again.reconnect_url, again.code, str(again)) == (PAGE, "x", "gone (shop)")
    assert CredentialRevokedError("gone").reconnect_url is None


def test_a_call_whose_time_is_over_before_it_has_a_token_was_not_applied_and_the_token_is_kept(
    mails, live, mail, shop, clock
):
    gate = asyncio.Event()
    shop.access = "something else"
    shop.script.append(gate.wait)

    async def scenario():
        async with live(environ={"SHOP_ACCESS": "access-token-0", "SHOP_REFRESH": "refresh-token-0"}) as p:
            call = asyncio.create_task(p.email.send(mail(), timeout=5))
            await settle()
            clock.advance(5)
            with pytest.raises(ProviderTimeoutError) as caught:
                await call
            gate.set()
            await settle()
            await p.email.send(mail())
            return caught.value

    error = asyncio.run(scenario())
    assert (error.outcome, error.retryable) == (Outcome.NOT_APPLIED, True)
    assert mails.calls == ["access-token-0", "access-token-1"]
    assert shop.refreshed == ["refresh-token-0"]


def test_a_token_that_was_refused_late_is_not_renewed_again(process, shop):
    tokens = process()
    shop.access = "something else"

    async def scenario():
        await tokens.authorised(shop.send)
        return (await tokens.renew("access-token-0")).access

    assert asyncio.run(scenario()) == "access-token-1"
    assert shop.refreshed == ["refresh-token-0"]


def test_a_renewal_that_ends_with_what_was_refused_meanwhile_is_followed_by_another(clock, process, shop, store):
    one, two, gate, freed = process(), process(), asyncio.Event(), []
    swap = store.swap

    async def slowly(key, old, new, *, ttl=None):
        if new is None:
            freed.append(key)
            if len(freed) == 2:
                await gate.wait()
        return await swap(key, old, new, ttl=ttl)

    store.swap = slowly
    clock.advance(LIFE)

    async def scenario():
        first = asyncio.gather(one.get(), two.get())
        await settle()
        assert (len(freed), shop.refreshed) == (2, ["refresh-token-0"])
        renewed = asyncio.create_task(two.renew("access-token-1"))
        await settle()
        gate.set()
        return [token.access for token in await first], (await renewed).access

    _, after = asyncio.run(scenario())
    assert after == "access-token-2"
    assert shop.refreshed == ["refresh-token-0", "refresh-token-1"]


def test_a_refusal_that_cannot_be_stored_is_a_refusal(clock, process, shop, store):
    tokens = process()
    clock.advance(LIFE)
    shop.revoked = store.full = True

    async def scenario():
        for _ in range(2):
            with pytest.raises(CredentialRevokedError):
                await tokens.get()

    asyncio.run(scenario())
    assert len(shop.refreshed) == 2
