"""The promises of `Store`, on every store there is."""

import asyncio
import sqlite3
import stat
import time
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.core.errors import ConfigurationError, Outcome, ProviderUnavailableError
from providers.core.redis import RedisStore
from providers.core.sqlite import SqliteStore
from providers.core.store import SCAN_PAGE, MemoryStore, Meter, metered, open_store

PROCESSES = 8


class StoreConformance:
    """What every store promises. Subclasses give `store`, and `clock` where its time is not ours."""

    drift = 1e-5
    """Seconds that may pass while a test runs."""

    @pytest.fixture
    def run(self, store):
        def run(coroutine):
            async def closing():
                try:
                    return await coroutine
                finally:
                    await store.aclose()

            return asyncio.run(closing())

        return run

    def test_get_of_an_absent_key_is_none(self, store, run):
        assert run(store.get("nothing")) is None

    def test_put_writes_all_and_none_deletes(self, store, run):
        async def scenario():
            await store.put([("a", b"1"), ("b", b"2")])
            await store.put([("a", None), ("b", b"3"), ("absent", None)])
            return await store.get("a"), await store.get("b")

        assert run(scenario()) == (None, b"3")

    def test_an_empty_value_is_a_value(self, store, run):
        async def scenario():
            await store.put([("a", b"")])
            return await store.get("a"), await store.claim([("a", b"mine")])

        assert run(scenario()) == (b"", [b""])

    def test_values_and_keys_are_kept_to_the_byte(self, store, run):
        value = bytes(range(256))

        async def scenario():
            await store.put([("clé/ключ/\u0001%_'\"", value)])
            return await store.get("clé/ключ/\u0001%_'\"")

        assert run(scenario()) == value

    def test_claim_writes_what_is_absent_and_shows_what_is_there(self, store, run):
        async def scenario():
            await store.put([("b", b"theirs")])
            first = await store.claim([("a", b"mine"), ("b", b"mine"), ("a", b"again")])
            return first, await store.get("a"), await store.get("b")

        assert run(scenario()) == ([None, b"theirs", b"mine"], b"mine", b"theirs")

    def test_claims_of_more_keys_than_one_statement_takes_are_whole(self, store, run):
        items = [(f"key{number}", b"x") for number in range(1700)]

        async def scenario():
            return await store.claim(items), await store.claim(items)

        first, second = run(scenario())
        assert first == [None] * 1700
        assert second == [b"x"] * 1700

    def test_of_many_claims_at_once_one_wins(self, store, run):
        async def scenario():
            return await asyncio.gather(*(store.claim([("k", str(n).encode())]) for n in range(50)))

        answers = run(scenario())
        assert [answer for answer in answers if answer == [None]] == [[None]]
        assert len({answer[0] for answer in answers} - {None}) == 1

    def test_swap_needs_the_value_that_was_there(self, store, run):
        async def scenario():
            return [
                await store.swap("a", b"no", b"1"),
                await store.swap("a", None, b"1"),
                await store.swap("a", None, b"2"),
                await store.swap("a", b"1", b"2"),
                await store.swap("a", b"1", None),
                await store.swap("a", b"2", None),
                await store.get("a"),
            ]

        assert run(scenario()) == [False, True, False, True, False, True, None]

    def test_values_end_with_their_time_to_live(self, store, run, clock):
        async def scenario():
            await store.put([("a", b"1")], ttl=10)
            await store.claim([("b", b"1")], ttl=20)
            await store.swap("c", None, b"1", ttl=30)
            await store.put([("d", b"1")])
            seen = []
            for _ in range(4):
                seen.append([key async for key, _ in store.scan("")])
                clock.advance(10)
            return seen

        assert run(scenario()) == [["a", "b", "c", "d"], ["b", "c", "d"], ["c", "d"], ["d"]]

    def test_an_expired_value_is_absent_for_claim_and_swap(self, store, run, clock):
        async def scenario():
            await store.put([("a", b"old"), ("b", b"old")], ttl=10)
            clock.advance(10)
            return await store.claim([("a", b"new")]), await store.swap("b", None, b"new"), await store.get("a")

        assert run(scenario()) == ([None], True, b"new")

    def test_writing_again_without_a_time_to_live_keeps_for_ever(self, store, run, clock):
        async def scenario():
            await store.put([("a", b"1")], ttl=10)
            await store.put([("a", b"2")])
            clock.advance(1e9)
            return await store.get("a")

        assert run(scenario()) == b"2"

    def test_a_counter_never_passes_its_ceiling(self, store, run):
        async def scenario():
            return [
                await store.add("n", 3, ceiling=5),
                await store.add("n", 3, ceiling=5),
                await store.add("n", 2, ceiling=5),
                await store.add("n", 1, ceiling=5),
                await store.add("n", -4, ceiling=5),
                await store.add("n", 0),
            ]

        assert run(scenario()) == [3, None, 5, None, 1, 1]

    def test_a_counter_may_always_be_lowered(self, store, run):
        async def scenario():
            await store.add("n", 9)
            return await store.add("n", -2, ceiling=5)

        assert run(scenario()) == 7

    def test_a_counter_ends_by_the_clock_of_its_first_use(self, store, run, clock):
        async def scenario():
            await store.add("n", 1, ttl=10)
            clock.advance(6)
            kept = await store.add("n", 1, ttl=10)
            clock.advance(6)
            return kept, await store.add("n", 1, ttl=10)

        assert run(scenario()) == (2, 1)

    def test_counters_and_meters_are_not_values(self, store, run):
        async def scenario():
            await store.add("n", 1)
            await store.take(Meter("m", 1))
            return await store.get("n"), await store.get("m"), [key async for key, _ in store.scan("")]

        assert run(scenario()) == (None, None, [])

    def test_begin_writes_all_and_takes_a_place_only_when_its_first_key_is_free(self, store, run):
        meter = Meter("m", 2, 1)

        async def scenario():
            first = await store.begin([("k", b"mine"), ("beside", b"1")], meter=meter)
            repeat = await store.begin([("k", b"yours"), ("other", b"2")], meter=meter)
            second = await store.begin([("k2", b"mine")], meter=meter)
            third = await store.begin([("k3", b"mine")])
            kept = [await store.get(key) for key in ("k", "beside", "other", "k2", "k3")]
            return first, repeat, second, third, kept

        first, repeat, second, third, kept = run(scenario())
        assert (first, repeat, third) == ((None, 0), (b"mine", 0), (None, 0))
        assert second == (None, pytest.approx(0.5, abs=self.drift))
        assert kept == [b"mine", b"1", None, b"mine", b"mine"]

    def test_begin_claims_the_key_even_where_the_place_is_too_far_away(self, store, run):
        async def scenario():
            await store.take(Meter("m", 0.01))
            there, wait = await store.begin([("k", b"mine")], meter=Meter("m", 0.01, patience=1))
            return there, wait, await store.get("k"), await store.take(Meter("m", 0.01))

        there, wait, kept, after = run(scenario())
        assert (there, kept) == (None, b"mine")
        assert wait == pytest.approx(100, abs=self.drift)
        assert after == pytest.approx(100, abs=self.drift)

    def test_several_places_at_once_hold_up_the_next(self, store, run):
        async def scenario():
            return [await store.take(Meter("m", 10, 1, count)) for count in (50, 10, 1)]

        assert run(scenario()) == pytest.approx([0, 5, 6], abs=self.drift)

    def test_several_places_are_ours_when_all_are_there(self, store, run):
        async def scenario():
            return [await store.take(Meter("m", 1, 10, count)) for count in (8, 2, 5, 1)]

        assert run(scenario()) == pytest.approx([0, 0, 5, 6], abs=self.drift)

    def test_places_too_far_away_are_left_to_those_who_need_fewer(self, store, run):
        async def scenario():
            await store.take(Meter("m", 1, 10, 8))
            refused = await store.take(Meter("m", 1, 10, 5, patience=2))
            return refused, await store.take(Meter("m", 1, 10, 2, patience=2))

        assert run(scenario()) == pytest.approx((3, 0), abs=self.drift)

    def test_more_places_than_a_meter_holds_are_ours_when_it_is_full_and_the_next_wait_for_the_rest(self, store, run):
        async def scenario():
            return [await store.take(Meter("m", 1, 10, count)) for count in (25, 25, 1)]

        assert run(scenario()) == pytest.approx([0, 25, 41], abs=self.drift)

    def test_places_can_be_given_back_but_never_fill_a_meter_beyond_its_burst(self, store, run):
        async def scenario():
            await store.take(Meter("m", 1, 10, 10))
            await store.take(Meter("m", 1, 10, -4))
            waits = [await store.take(Meter("m", 1, 10, count)) for count in (4, 1)]
            await store.take(Meter("m", 1, 10, -1000))
            return waits + [await store.take(Meter("m", 1, 10, count)) for count in (10, 1)]

        assert run(scenario()) == pytest.approx([0, 1, 0, 1], abs=self.drift)

    def test_a_meter_gives_its_burst_at_once_and_then_its_rate(self, store, run, clock):
        async def scenario():
            waits = [await store.take(Meter("m", 2, 3)) for _ in range(5)]
            clock.advance(100)
            return [*waits, await store.take(Meter("m", 2, 3))]

        assert run(scenario()) == pytest.approx([0, 0, 0, 0.5, 1.0, 0], abs=self.drift)

    def test_scan_is_in_order_across_its_pages(self, store, run):
        names = [f"p/{number:05}" for number in range(SCAN_PAGE * 2 + 7)]

        async def scenario():
            await store.put([("o", b""), ("p", b""), ("p0", b""), *((name, name.encode()) for name in reversed(names))])
            return [item async for item in store.scan("p/")]

        assert run(scenario()) == [(name, name.encode()) for name in names]

    @pytest.mark.parametrize("count", [SCAN_PAGE - 1, SCAN_PAGE, SCAN_PAGE + 1])
    def test_scan_ends_at_the_edge_of_a_page(self, store, run, count):
        async def scenario():
            await store.put([(f"p/{number:05}", b"") for number in range(count)])
            return len([key async for key, _ in store.scan("p/")])

        assert run(scenario()) == count

    def test_scan_survives_writes_between_its_steps(self, store, run):
        async def scenario():
            await store.put([(f"p/{number:05}", b"") for number in range(SCAN_PAGE + 100)])
            seen = []
            async for key, _ in store.scan("p/"):
                seen.append(key)
                await store.put([(key, None), ("p/zzz", b"late")])
            return seen

        seen = run(scenario())
        assert len(seen) == len(set(seen))
        # What is written meanwhile may be seen or not.
        assert set(seen) - {"p/zzz"} == {f"p/{number:05}" for number in range(SCAN_PAGE + 100)}

    @pytest.mark.parametrize("prefix", ["a_", "a%", "a*", "a?", "a[x]", "a[^y]", "a\\", "a\\x", "aé", 'a"', "A"])
    def test_prefixes_are_literal(self, store, run, prefix):
        async def scenario():
            await store.put([(f"{prefix}/1", b"1"), ("axb/1", b""), ("ax", b""), ("a", b"")])
            return [item async for item in store.scan(prefix)]

        assert run(scenario()) == [(f"{prefix}/1", b"1")]

    def test_serves_one_event_loop_after_the_other(self, store):
        asyncio.run(store.put([("a", b"1")]))
        assert asyncio.run(store.get("a")) == b"1"
        asyncio.run(store.aclose())

    def test_closing_twice_and_using_it_again_is_harmless(self, store):
        async def scenario():
            await store.put([("a", b"1")])
            await store.aclose()
            await store.aclose()
            return await store.get("a")

        assert asyncio.run(scenario()) == b"1"
        asyncio.run(store.aclose())


class TestMemoryStore(StoreConformance):
    @pytest.fixture
    def store(self, clock):
        return MemoryStore(clock)

    def test_says_that_it_is_not_durable(self, store):
        assert not store.durable


class TestSqliteStore(StoreConformance):
    @pytest.fixture
    def store(self, clock, tmp_path):
        return SqliteStore(str(tmp_path / "new" / "state.db"), clock)

    def test_says_that_it_is_durable_and_is(self, store, run, clock, tmp_path):
        run(store.put([("a", b"1")]))
        again = SqliteStore(str(tmp_path / "new" / "state.db"), clock)

        async def read():
            try:
                return await again.get("a")
            finally:
                await again.aclose()

        assert store.durable
        assert asyncio.run(read()) == b"1"

    def test_no_other_user_may_read_any_of_its_files(self, store, run, tmp_path):
        async def scenario():
            await store.put([("a", b"1")])
            return {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").iterdir()}

        assert run(scenario()) == {"state.db": 0o600, "state.db-wal": 0o600, "state.db-shm": 0o600}

    def test_a_file_that_cannot_be_opened_is_a_configuration_error(self, clock, tmp_path):
        store = SqliteStore(str(tmp_path), clock)
        with pytest.raises(ConfigurationError, match="PROVIDER_STATE_URL") as caught:
            asyncio.run(store.get("a"))
        asyncio.run(store.aclose())
        assert caught.value.field == "PROVIDER_STATE_URL"

    def test_a_file_that_is_no_database_is_a_configuration_error(self, clock, tmp_path):
        (tmp_path / "state.db").write_text("not a database, but long enough to look like one" * 40)
        store = SqliteStore(str(tmp_path / "state.db"), clock)
        with pytest.raises(ConfigurationError, match=r"state\.db"):
            asyncio.run(store.get("a"))
        asyncio.run(store.aclose())

    def test_a_failing_file_is_an_error_of_ours_that_says_nothing_was_written(self, store, run, tmp_path):
        async def scenario():
            await store.get("a")
            with closing(sqlite3.connect(tmp_path / "new" / "state.db")) as other:
                other.execute("DROP TABLE entries")
            return await store.get("a")

        with pytest.raises(ProviderUnavailableError, match=r"state store state\.db failed") as caught:
            run(scenario())
        assert caught.value.code == "store"
        assert caught.value.outcome is Outcome.NOT_APPLIED

    def test_a_cancelled_write_is_over_before_the_cancellation_is(self, store, run):
        async def scenario():
            await store.get("a")
            task = asyncio.create_task(store.put([("a", b"1")]))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return await store.get("a")

        assert run(scenario()) == b"1"


class TestRedisStore(StoreConformance):
    drift = 0.25

    @pytest.fixture
    def store(self, valkey):
        return RedisStore(valkey.url)

    @pytest.fixture
    def clock(self, valkey):
        """Time goes by where the state is."""
        return valkey

    def test_says_that_it_is_durable_and_is(self, store, valkey):
        asyncio.run(store.put([("a", b"1")], ttl=1000))
        valkey.kill()
        valkey.start()

        assert store.durable
        assert asyncio.run(store.get("a")) == b"1"


@pytest.fixture(params=["sqlite", "redis"])
def place(request, tmp_path):
    """Where processes share their state."""
    return tmp_path / "state.db" if request.param == "sqlite" else request.getfixturevalue("valkey").url


def together(workers):
    """Let processes that are ready begin at the same moment; what each said at its end."""
    for worker in workers:
        assert worker.hear() == "ready"
    for worker in workers:
        worker.say()
    return [worker.end() for worker in workers]


def test_eight_processes_never_pass_a_ceiling(worker, place):
    counts = together([worker("add", place, 60) for _ in range(PROCESSES)])

    assert sum(map(int, counts)) == 60


def test_of_eight_processes_exactly_one_wins_each_claim(worker, place):
    answers = together([worker("claim", place, 200) for _ in range(PROCESSES)])

    whole, single = zip(*(map(int, answer.split()) for answer in answers), strict=True)
    assert sorted(whole) == [0] * (PROCESSES - 1) + [200]
    assert sum(single) == 20


def test_a_lock_lets_one_of_eight_processes_in_at_a_time(worker, place, clock):
    together([worker("count_locked", place, 5) for _ in range(PROCESSES)])

    async def read():
        store = open_store(place, clock) if isinstance(place, str) else SqliteStore(str(place), clock)
        kept = [await store.get("count"), await store.get("lock/token/shop")]
        await store.aclose()
        return kept

    assert asyncio.run(read()) == [b"40", None]


def test_eight_processes_get_each_place_of_a_meter_once(worker, place):
    begun = time.time()
    answers = together([worker("take", place, 10) for _ in range(PROCESSES)])
    took = time.time() - begun

    waits = sorted(float(wait) for answer in answers for wait in answer.split())
    assert len(waits) == 80
    # Two seconds apart, less what had passed when they were asked for.
    assert all(2 * place - took <= wait <= 2 * place + 1e-5 for place, wait in enumerate(waits))


def test_a_killed_process_leaves_whole_writes(worker, place, clock):
    writing = worker("put", place)
    assert writing.hear() == "ready"
    writing.say()
    while int(seen := writing.hear()) < 20:
        pass
    writing.kill()
    store = RedisStore(place) if isinstance(place, str) else SqliteStore(str(place), clock)

    async def read():
        left, right = await store.get("left"), await store.get("right")
        await store.put([("left", b"and goes on")])
        await store.aclose()
        return left, right

    left, right = asyncio.run(read())
    assert left == right
    assert int(left) >= int(seen)


def test_a_forked_process_opens_its_own_connection(worker, place):
    forking = worker("fork", place)
    forking.hear()
    forking.say()

    assert forking.end() == "0 before after"


@pytest.mark.parametrize(
    ("url", "path"),
    [("sqlite:///state.db", "state.db"), ("sqlite:////var/lib/state.db", "/var/lib/state.db")],
)
def test_sqlite_urls_are_read_as_sqlalchemy_writes_them(url, path, clock):
    assert str(open_store(url, clock)._path) == path


@pytest.mark.parametrize("url", ["", "memory", "sqlite://", "sqlite:///", "mysql://:hunter2secret@host/0"])
def test_other_urls_are_refused_without_showing_what_they_hold(url, clock):
    if url == "memory":
        assert isinstance(open_store(url, clock), MemoryStore)
        return
    with pytest.raises(ConfigurationError, match="use memory://, sqlite:///path or redis://host") as caught:
        open_store(url, clock)
    assert "hunter2secret" not in str(caught.value)


@given(
    rate=st.floats(0.01, 1000),
    burst=st.integers(1, 50),
    arrivals=st.lists(
        st.tuples(st.one_of(st.just(0.0), st.floats(0, 100)), st.one_of(st.just(1), st.integers(1, 50))), max_size=60
    ),
)
def test_a_meter_never_lets_more_through_than_rate_times_time_plus_burst(rate, burst, arrivals):
    due, now, starts = 0.0, 1000.0, []
    for pause, wanted in arrivals:
        now += pause
        places = min(wanted, burst)
        due, wait = metered(due, now, Meter("m", rate, burst, places))
        starts.append((now + wait, places))
    for first, (begin, _) in enumerate(starts):
        for last in range(first, len(starts)):
            end, _ = starts[last]
            allowed = (end - begin) * rate + burst
            taken = sum(places for _, places in starts[first : last + 1])
            assert taken <= allowed + 1e-6 * max(1.0, rate * end)


@given(rate=st.floats(0.01, 1000), burst=st.integers(1, 50), idle=st.floats(0, 1e6))
def test_an_idle_meter_never_makes_the_first_wait(rate, burst, idle):
    due, wait = metered(0.0, 1000.0, Meter("m", rate, burst))
    assert wait == 0
    assert metered(due, 1000.0 + 1 / rate + idle + 1e-6, Meter("m", rate, burst))[1] == 0
