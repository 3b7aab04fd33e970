"""What is particular to Redis: the URL, the connection and its losses, refusals, order after a cancellation."""

import asyncio
import gc
import socket
import ssl
import threading
import time
from contextlib import asynccontextmanager, contextmanager, suppress

import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from providers.core import redis
from providers.core.errors import ConfigurationError, Outcome, ProviderUnavailableError
from providers.core.redis import RedisStore
from providers.core.store import MemoryStore, Meter, open_store
from providers.testing.clock import ManualClock

SECRET = "p@ss/w#rd?%2F:"
ESCAPED = "p%40ss%2Fw%23rd%3F%252F%3A"


@pytest.fixture
def store(valkey):
    return RedisStore(valkey.url)


def run(store, coroutine):
    async def closing():
        try:
            return await coroutine
        finally:
            await store.aclose()

    return asyncio.run(closing())


def connections(valkey):
    return valkey.ask("CLIENT", "LIST").count(b"name=providers ")


def keys(valkey, database=0):
    with suppress(Exception):
        return sorted(valkey.ask("EVAL", f"redis.call('SELECT', {database}) return redis.call('KEYS', '*')", 0))


@contextmanager
def configured(valkey, **options):
    before = {name: valkey.ask("CONFIG", "GET", name.replace("_", "-"))[1] for name in options}
    try:
        for name, value in options.items():
            valkey.ask("CONFIG", "SET", name.replace("_", "-"), value)
        yield
    finally:
        for name, value in before.items():
            valkey.ask("CONFIG", "SET", name.replace("_", "-"), value)
        # It would not be stopped before its file is whole again.
        while b"aof_rewrite_in_progress:1" in valkey.ask("INFO", "persistence"):
            time.sleep(0.01)


@pytest.fixture
def user(valkey):
    """A user of the server, with rights to choose."""

    def made(*rights):
        valkey.ask("ACL", "SETUSER", "shop", "reset", "on", ">" + SECRET, *rights)
        return f"redis://shop:{ESCAPED}@127.0.0.1:{valkey.port}"

    yield made
    valkey.ask("ACL", "DELUSER", "shop")


async def failing(awaitable, match):
    with pytest.raises(ProviderUnavailableError, match=match) as caught:
        await awaitable
    assert caught.value.code == "store"
    assert caught.value.outcome is Outcome.NOT_APPLIED
    assert caught.value.retryable
    return caught.value


@asynccontextmanager
async def pretending(*replies):
    """Something that says this, one after the other, to whatever it hears; its port."""
    left = list(replies)

    class Answering(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(left.pop(0))

    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.sleep(0.01)


# The URL


@pytest.mark.parametrize(
    ("url", "name", "tls", "greeting"),
    [
        ("redis://example.com", "example.com:6379", False, ()),
        ("valkey://example.com:7000/", "example.com:7000", False, ()),
        ("rediss://example.com/0", "example.com:6379", True, ()),
        ("valkeys://[::1]:7/12", "[::1]:7", True, ((b"SELECT", 12),)),
        ("redis://example.com/3?db=4", "example.com:6379", False, ((b"SELECT", 4),)),
        (f"redis://:{ESCAPED}@h", "h:6379", False, ((b"AUTH", SECRET.encode()),)),
        (f"redis://sh%6Fp:{ESCAPED}@h/0", "h:6379", False, ((b"AUTH", b"shop", SECRET.encode()),)),
        ("unix:///run/a%20b.sock?db=2", "/run/a b.sock", False, ((b"SELECT", 2),)),
        ("unix://:pw@/run/redis.sock", "/run/redis.sock", False, ((b"AUTH", b"pw"),)),
    ],
)
def test_urls_name_server_user_and_database(url, name, tls, greeting, clock):
    server = open_store(url, clock)._server

    assert (server.name, server.tls) == (name, tls)
    assert server.greeting == tuple(
        sorted([*greeting, (b"CLIENT", b"SETNAME", b"providers")], key=lambda c: (b"AUTH", b"CLIENT").count(c[0]) * -1)
    )


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis:///0",
        "redis://:hunter2#secret@host/0",
        "redis://:hunter2/secret@host/0",
        "redis://user:12/hunter2@host",
        "redis://:hunter2?secret@host",
        "redis://:hunter2@host:port/0",
        "redis://:hunter2@host/zero",
        "redis://:hunter2@host/-1",
        "redis://:hunter2@host/²",
        "redis://host/0?password=hunter2",
        "redis://host/0?hunter2",
        "redis://[hunter2/0",
        "unix://",
        "unix://?db=hunter2",
        "unix:///run/redis.sock?db=hunter2",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_showing_what_it_holds(url, clock):
    with pytest.raises(ConfigurationError, match="PROVIDER_STATE_URL") as caught:
        open_store(url, clock)
    shown = f"{caught.value} {caught.value.__cause__}"
    assert caught.value.field == "PROVIDER_STATE_URL"
    assert "hunter2" not in shown
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_everything_lives_under_one_prefix(store, valkey):
    async def scenario():
        await store.put([("a", b"1")])
        await store.add("a", 1)
        await store.begin([("b", b"1")], meter=Meter("a", 0.01))

    run(store, scenario())
    assert keys(valkey) == [b"providers:m:a", b"providers:n:a", b"providers:v:a", b"providers:v:b"]


def test_databases_are_apart(store, valkey):
    other = RedisStore(valkey.url.removesuffix("0") + "5")

    async def scenario():
        await store.put([("a", b"1")])
        seen = await other.get("a")
        await other.put([("a", b"2")])
        await other.aclose()
        return seen, await store.get("a")

    assert run(store, scenario()) == (None, b"1")


def test_a_unix_socket_serves_as_well(valkey, store):
    near = RedisStore(f"unix://{valkey.socket}")
    run(near, near.put([("a", b"1")]))

    assert run(store, store.get("a")) == b"1"


def test_a_user_needs_no_more_than_our_prefix_and_these_commands(user):
    rights = "+get +set +del +mget +incrby +pttl +pexpire +scan +time +evalsha +eval +select"
    store = RedisStore(user("~providers:*", *rights.split()))

    async def scenario():
        await store.put([("a", b"1"), ("b", None)], ttl=5)
        await store.swap("a", b"1", b"2")
        await store.begin([("c", b"1")], meter=Meter("m", 1))
        await store.add("n", 1, ceiling=1, ttl=5)
        return [item async for item in store.scan("")], await store.shortcomings()

    assert run(store, scenario()) == ([("a", b"2"), ("c", b"1")], ())


# Refusals


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda url: url.replace(ESCAPED, "hunter2"), "WRONGPASS"),
        (lambda url: url.replace("shop", "shopp"), "WRONGPASS"),
        (lambda url: url.replace("shop:", ":"), "refused"),
        (lambda url: url + "/99", "out of range"),
    ],
)
def test_a_refused_password_or_database_is_a_configuration_error(user, change, text):
    store = RedisStore(change(user("~*", "+@all")))

    with pytest.raises(ConfigurationError, match=text) as caught:
        run(store, store.get("a"))
    assert caught.value.field == "PROVIDER_STATE_URL"
    assert not any(secret in str(caught.value) for secret in ("hunter2", SECRET, ESCAPED))


def test_a_server_that_wants_a_password_is_a_configuration_error(valkey, store):
    valkey.ask("ACL", "SETUSER", "keeper", "on", "nopass", "~*", "+@all")
    valkey.ask("CONFIG", "SET", "requirepass", "hunter2")
    try:
        with pytest.raises(ConfigurationError, match="NOAUTH"):
            run(store, store.get("a"))
        welcome = RedisStore(f"redis://:hunter2@127.0.0.1:{valkey.port}")
        assert run(welcome, welcome.get("a")) is None
    finally:
        keeper = RedisStore(f"redis://keeper:x@127.0.0.1:{valkey.port}")
        run(keeper, keeper._ask(b"CONFIG", b"SET", b"requirepass", b""))
        valkey.ask("ACL", "DELUSER", "keeper")


def test_a_user_who_may_not_is_a_configuration_error(user):
    store = RedisStore(user("~other:*", "+@all"))

    with pytest.raises(ConfigurationError, match="NOPERM") as caught:
        run(store, store.put([("a", b"hunter2")]))
    assert "hunter2" not in str(caught.value)


def test_a_full_server_is_unavailable_and_can_still_be_read(valkey, store):
    async def scenario():
        await store.put([("a", b"1")])
        with configured(valkey, maxmemory="1"):
            await failing(store.put([("a", b"2"), ("b", b"2")]), f"127.0.0.1:{valkey.port} failed: OOM")
            await failing(store.begin([("b", b"2")]), "OOM")
            seen = await store.get("a"), await store.get("b")
        await store.put([("a", b"3")])
        return *seen, await store.get("a")

    assert run(store, scenario()) == (b"1", None, b"3")


def test_after_a_failover_the_name_is_looked_up_again(valkey, store):
    async def scenario():
        await store.put([("a", b"1")])
        valkey.ask("REPLICAOF", "127.0.0.1", "1")
        try:
            before = valkey.ask("CLIENT", "LIST", "TYPE", "normal")
            await failing(store.put([("a", b"2")]), "READONLY")
            await failing(store.put([("a", b"2")]), "READONLY")
        finally:
            valkey.ask("REPLICAOF", "NO", "ONE")
        await store.put([("a", b"3")])
        after = valkey.ask("CLIENT", "LIST", "TYPE", "normal")
        return [client.split()[0] for client in (before, after) if b"name=providers " in client]

    before, after = run(store, scenario())
    assert before != after


def test_what_a_server_repeats_of_a_command_is_not_shown(valkey):
    async def scenario(*replies):
        async with pretending(*replies) as port:
            store = RedisStore(f"redis://:hunter2@127.0.0.1:{port}")
            try:
                await store.put([("a", b"hunter2")])
            finally:
                await store.aclose()

    unknown = b"-ERR unknown command 'X', with args beginning with: 'hunter2'\r\n"
    for replies in ([unknown * 2], [b"+OK\r\n" * 2, unknown]):
        with pytest.raises((ConfigurationError, ProviderUnavailableError)) as caught:
            asyncio.run(scenario(*replies))
        assert "ERR" in str(caught.value)
        assert "hunter2" not in str(caught.value)
        assert caught.value.__cause__ is None


@pytest.mark.parametrize("reply", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+OK\r\n" * 9, b"\x15\x03\x03"])
def test_what_is_not_redis_is_unavailable(reply):
    async def scenario():
        async with pretending(reply) as port:
            store = RedisStore(f"redis://127.0.0.1:{port}")
            await failing(store.get("a"), "not Redis's protocol")
            await store.aclose()

    asyncio.run(scenario())


# Losses


def test_a_server_that_is_not_there_is_unavailable_until_it_is(valkey, store):
    async def scenario():
        valkey.stop()
        await failing(store.get("a"), f"127.0.0.1:{valkey.port} cannot be reached: connection refused")
        errors = await asyncio.gather(*(store.get("a") for _ in range(20)), return_exceptions=True)
        valkey.start()
        await store.put([("a", b"1")])
        return errors, await store.get("a")

    errors, seen = run(store, scenario())
    assert seen == b"1"
    # Everyone has an error of their own: a shared one would collect everybody's traceback.
    assert len({id(error) for error in errors}) == 20


def test_a_restart_between_two_commands_is_not_noticed(valkey, store):
    async def scenario():
        await store.put([("a", b"1")])
        valkey.stop()
        valkey.start()
        await asyncio.sleep(0.01)
        return await store.get("a")

    assert run(store, scenario()) == b"1"


def test_a_connection_killed_between_commands_is_opened_again(valkey, store):
    async def scenario():
        for _ in range(5):
            await store.put([("a", b"1")])
            assert valkey.ask("CLIENT", "KILL", "TYPE", "normal") == 1
            await asyncio.sleep(0.01)
        return await store.get("a")

    assert run(store, scenario()) == b"1"


def test_a_connection_killed_during_commands_fails_all_that_wait_and_repeats_none(valkey, store):
    async def scenario():
        await store.get("a")
        valkey.ask("CLIENT", "PAUSE", 60_000, "WRITE")
        try:
            adding = [asyncio.create_task(store.add("n", 1)) for _ in range(10)]
            await asyncio.sleep(0.05)
            valkey.ask("CLIENT", "KILL", "TYPE", "normal")
            for one in adding:
                await failing(one, "the connection was lost")
        finally:
            valkey.ask("CLIENT", "UNPAUSE")
        return await store.add("n", 1)

    assert run(store, scenario()) == 1


def test_a_server_that_dies_during_a_command_fails_it(valkey, store):
    async def scenario():
        await store.get("a")
        with valkey.frozen():
            waiting = asyncio.create_task(store.get("a"))
            await asyncio.sleep(0.01)
            valkey.kill()
            await failing(waiting, "the connection was lost")

    run(store, scenario())


def test_a_reply_that_does_not_come_ends_the_connection_for_all_that_wait(valkey):
    store = RedisStore(valkey.url, reply_seconds=0.3)

    async def scenario():
        await store.put([("a", b"1")])
        with valkey.frozen():
            waiting = [asyncio.create_task(store.get("a")) for _ in range(5)]
            for one in waiting:
                await failing(one, r"no reply within 0\.3 seconds")
        return await store.get("a"), connections(valkey)

    assert run(store, scenario()) == (b"1", 1)


def test_a_slow_server_that_keeps_answering_is_waited_for(valkey):
    store = RedisStore(valkey.url, reply_seconds=0.6)

    async def scenario():
        await store.get("a")
        for _ in range(2):
            valkey.ask("CLIENT", "PAUSE", 350, "ALL")
            await store.get("a")

    run(store, scenario())


def test_a_server_that_takes_connections_and_says_nothing_is_given_up(valkey, store, monkeypatch):
    monkeypatch.setattr(redis, "CONNECT_SECONDS", 0.05)

    async def scenario():
        with valkey.frozen():
            await asyncio.gather(*(failing(store.get("a"), r"no connection within 0\.05 seconds") for _ in range(3)))
        return await store.get("a")

    assert run(store, scenario()) is None


def test_a_server_that_has_forgotten_the_scripts_gets_them_again(valkey, store):
    async def scenario():
        results = []
        for _ in range(2):
            valkey.ask("SCRIPT", "FLUSH")
            results.append(await asyncio.gather(*(store.add("n", 1) for _ in range(3)), store.claim([("a", b"1")])))
        return results

    first, second = run(store, scenario())
    assert (sorted(first[:3]), first[3]) == ([1, 2, 3], [None])
    assert (sorted(second[:3]), second[3]) == ([4, 5, 6], [b"1"])


# Order and cancellation


def test_what_a_cancelled_caller_wrote_is_there_for_its_clean_up(valkey, store):
    async def scenario():
        await store.get("a")
        cleaned = []
        for number in range(50):
            key = f"k{number}"
            claim = asyncio.create_task(store.claim([(key, b"mine")]))
            other = asyncio.create_task(store.get(key))
            await asyncio.sleep(0)
            claim.cancel()
            with pytest.raises(asyncio.CancelledError):
                await claim
            cleaned.append(await store.swap(key, b"mine", None))
            await other
        return cleaned, [key async for key, _ in store.scan("")]

    assert run(store, scenario()) == ([True] * 50, [])


def test_a_claim_cancelled_before_there_was_a_connection_is_not_written(valkey, store):
    async def scenario():
        claim = asyncio.create_task(store.claim([("a", b"mine")]))
        other = asyncio.create_task(store.get("b"))
        await asyncio.sleep(0)
        claim.cancel()
        with pytest.raises(asyncio.CancelledError):
            await claim
        return await other, await store.get("a")

    assert run(store, scenario()) == (None, None)


def test_after_a_loss_the_clean_up_still_comes_last(valkey, store):
    """The claim sits in the buffers of a server that hangs when the connection is given up and opened anew."""

    async def scenario():
        for number in range(20):
            key = f"k{number}"
            await store.get(key)
            with valkey.frozen():
                claiming = asyncio.create_task(store.claim([(key, b"mine")]))
                await asyncio.sleep(0.005)
                store._lines[asyncio.get_running_loop()].link.lose("nobody waits any more")
                await failing(claiming, "nobody waits")
                cleaning = asyncio.create_task(store.swap(key, b"mine", None))
                await asyncio.sleep(0.005)
            await cleaning
        await asyncio.sleep(0.05)
        return [key async for key, _ in store.scan("")]

    assert run(store, scenario()) == []


def test_a_connection_that_is_given_up_is_reset():
    """Not closed in order: then the kernel would go on sending what it still has, after what comes next."""
    seen = []

    def serve(listening):
        connection, _ = listening.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"+OK\r\n")
            try:
                while data := connection.recv(1000):
                    seen.append(data)
            except ConnectionResetError:
                seen.append("reset")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        store = RedisStore(f"redis://127.0.0.1:{listening.getsockname()[1]}", reply_seconds=0.05)
        run(store, failing(store.claim([("a", b"mine")]), "no reply"))
        thread.join()

    assert b"EVALSHA" in seen[0]
    assert seen[1:] == ["reset"]


def test_replies_go_to_their_callers_when_others_are_cancelled(store):
    async def scenario():
        await store.put([(f"k{number}", str(number).encode()) for number in range(200)])
        asking = [asyncio.create_task(store.get(f"k{number}")) for number in range(200)]
        await asyncio.sleep(0)
        for one in asking[::3]:
            one.cancel()
        return await asyncio.gather(*asking, return_exceptions=True)

    answers = run(store, scenario())
    for number, answer in enumerate(answers):
        assert isinstance(answer, asyncio.CancelledError) if number % 3 == 0 else answer == str(number).encode()


# One connection per event loop


def test_a_thousand_commands_at_once_share_one_connection(valkey, store):
    async def scenario():
        added = await asyncio.gather(*(store.add("n", 1) for _ in range(1000)))
        return added, connections(valkey)

    assert run(store, scenario()) == (list(range(1, 1001)), 1)
    assert connections(valkey) == 0


def test_an_event_loop_that_ends_without_closing_leaves_no_connection(valkey, store):
    for number in range(5):
        asyncio.run(store.put([("a", str(number).encode())]))
    gc.collect()

    assert connections(valkey) == 0
    assert len(store._lines) == 1
    asyncio.run(store.aclose())


def test_generators_cut_off_by_the_end_of_their_loop_can_still_tidy_up(valkey, store):
    async def claimed(key):
        await store.claim([(key, b"mine")])
        try:
            yield key
        finally:
            for _ in range(3):
                await asyncio.sleep(0)
                await store.swap(key, b"mine", b"mine")
            await store.put([(key, None)])

    left = []

    async def scenario():
        for number in range(5):
            left.append(claimed(f"k{number}"))
            await anext(left[-1])

    asyncio.run(scenario())
    assert keys(valkey) == []
    assert connections(valkey) == 0
    asyncio.run(store.aclose())


def test_a_store_may_be_closed_while_its_loop_ends(valkey, store):
    async def service():
        try:
            await store.put([("a", b"1")])
            yield
        finally:
            await store.put([("a", b"2")])
            await store.aclose()
            left.append("closed")

    left = []

    async def scenario():
        left.append(service())
        await anext(left[0])

    asyncio.run(scenario())
    assert left[1:] == ["closed"]
    assert connections(valkey) == 0
    assert run(store, store.get("a")) == b"2"


def test_threads_with_a_loop_each_have_a_connection_each(valkey, store):
    counts = {}
    together = threading.Barrier(4)

    def work(name):
        async def scenario():
            await store.add("n", 1)
            together.wait()
            counts[name] = connections(valkey)
            together.wait()
            for _ in range(50):
                await asyncio.gather(*(store.add("n", 1) for _ in range(5)))

        asyncio.run(scenario())

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert counts == dict.fromkeys(range(4), 4)
    assert run(store, store.add("n", 0)) == 4 * 251


def test_closing_ends_the_connections_of_other_loops_too(valkey, store):
    used, closed = threading.Event(), threading.Event()
    seen = []

    def work():
        async def scenario():
            await store.put([("a", b"1")])
            used.set()
            await asyncio.to_thread(closed.wait)
            await asyncio.sleep(0.01)
            seen.append(connections(valkey))
            seen.append(await store.get("a"))

        asyncio.run(scenario())

    thread = threading.Thread(target=work)
    thread.start()
    used.wait()
    asyncio.run(store.aclose())
    closed.set()
    thread.join()
    asyncio.run(store.aclose())

    assert seen == [0, b"1"]


def test_closing_while_commands_are_under_way_fails_them(valkey, store):
    async def scenario():
        opening = asyncio.create_task(store.get("a"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await store.aclose()
        first = await asyncio.gather(opening, return_exceptions=True)
        await store.get("a")
        with valkey.frozen():
            waiting = asyncio.create_task(store.get("a"))
            await asyncio.sleep(0.01)
            await store.aclose()
            await failing(waiting, "it was closed")
        return first

    (first,) = run(store, scenario())
    assert first is None or "it was closed" in str(first)


def test_a_fork_inside_a_running_loop_leaves_the_parents_connection_alone(worker, valkey):
    forking = worker("fork_inside", valkey.url)
    forking.hear()
    forking.say()

    assert forking.end() == "0 before written"
    assert connections(valkey) == 0


def test_a_fork_that_goes_on_with_the_parents_loop_has_a_connection_of_its_own(worker, valkey):
    forking = worker("fork_same_loop", valkey.url)
    forking.hear()
    forking.say()

    child, parent, before = forking.end().split()
    assert parent == before != child


# TLS


@contextmanager
def tls_in_front(valkey, authority, tmp_path):
    """A proxy that ends TLS, in a thread of its own; its port."""
    certificate = tmp_path / "server.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    started, stop = threading.Event(), None
    port = 0

    async def copy(reader, writer):
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader, writer):
        near, far = await asyncio.open_connection("127.0.0.1", valkey.port)
        await asyncio.gather(copy(reader, far), copy(near, writer))

    async def main():
        nonlocal port, stop
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        stop = lambda: loop.call_soon_threadsafe(over.set)  # noqa: E731 (set once the loop runs)
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        started.set()
        await over.wait()
        server.close()
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    started.wait()
    try:
        yield port
    finally:
        stop()
        thread.join()


def test_over_tls_it_does_the_same(valkey, tmp_path, monkeypatch):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "root.pem"))
    with tls_in_front(valkey, authority, tmp_path) as port:
        store = RedisStore(f"rediss://localhost:{port}/0")

        async def scenario():
            await store.put([("a", bytes(range(256)) * 4096)])
            added = await asyncio.gather(*(store.add("n", 1) for _ in range(100)))
            valkey.ask("CLIENT", "KILL", "TYPE", "normal")
            await asyncio.sleep(0.02)
            return added, await store.get("a")

        with pytest.raises(ProviderUnavailableError, match=r"cannot be reached: .*certificate"):
            run(store, store.get("a"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "root.pem"))
        assert run(store, scenario()) == (list(range(1, 101)), bytes(range(256)) * 4096)
        asyncio.run(store.put([("left", b"to the end of the loop")]))
        monkeypatch.setattr(redis, "CONNECT_SECONDS", 0.1)
        with pytest.raises(ProviderUnavailableError, match="cannot be reached"):
            run(plain := RedisStore(f"rediss://127.0.0.1:{valkey.port}"), plain.get("a"))


# Values, numbers, sizes


def test_large_values_are_kept_to_the_byte(store):
    values = {f"k{number}": bytes([number]) + b"\r\n$-1\r\n\0" * 110_000 for number in range(10)}

    async def scenario():
        await asyncio.gather(*(store.put([item]) for item in values.items()))
        one_by_one = {key: await store.get(key) for key in values}
        return one_by_one, {key: value async for key, value in store.scan("k")}

    assert run(store, scenario()) == (values, values)


def test_claims_of_four_thousand_are_one_step(store):
    items = [(f"c/{number}", str(number).encode()) for number in range(4000)]

    async def scenario():
        found = await asyncio.gather(*(store.claim(items, ttl=100) for _ in range(3)))
        await store.put([(key, None) for key, _ in items])
        return found, await store.claim(items[:1])

    (first, *others), after = run(store, scenario())
    assert first == [None] * 4000
    assert others == [[value for _, value in items]] * 2
    assert after == [None]


def test_nothing_to_write_is_nothing_written(store, valkey):
    async def scenario():
        await store.put([])
        return await store.claim([])

    assert run(store, scenario()) == []
    assert keys(valkey) == []


def test_keys_may_hold_any_text(store):
    names = ["", " ", "\n", "\0", "\udc80", "😀", "a" * 5000, "*", "\\"]

    async def scenario():
        await store.put([(name, name.encode("utf-8", "surrogatepass")) for name in names])
        return [key async for key, _ in store.scan("")]

    assert run(store, scenario()) == sorted(names)


@pytest.mark.parametrize("ttl", [1e-9, 0.0004, 0.0, -5.0])
def test_a_very_short_life_is_over_at_once(store, ttl):
    async def scenario():
        await store.put([("a", b"1")], ttl=ttl)
        await store.claim([("b", b"1")], ttl=ttl)
        await store.add("n", 5, ttl=ttl)
        await asyncio.sleep(0.01)
        return await store.get("a"), await store.get("b"), await store.add("n", 1)

    assert run(store, scenario()) == (None, None, 1)


def test_a_very_long_life_is_kept(store):
    async def scenario():
        await store.put([("a", b"1")], ttl=1e300)
        await store.add("n", 5, ttl=1e30)
        return await store.get("a"), await store.add("n", 1), await store.take(Meter("m", 1e-12))

    assert run(store, scenario()) == (b"1", 6, 0)


def test_what_a_meter_keeps_is_gone_when_it_means_nothing(store, valkey):
    async def scenario():
        for _ in range(4):
            await store.take(Meter("m", 2, 3))

    run(store, scenario())
    assert 1500 < valkey.ask("PTTL", "providers:m:m") <= 2001
    valkey.advance(2.1)
    assert keys(valkey) == []


def test_a_meter_is_exact_to_the_microsecond(store, valkey):
    async def scenario():
        waits = [await store.take(Meter("m", 1 / 3, 1, 1)) for _ in range(200)]
        seconds, micros = map(int, valkey.ask("TIME"))
        return waits, seconds + micros / 1e6

    waits, now = run(store, scenario())
    due = float(valkey.ask("GET", "providers:m:m"))
    first = due - 600
    assert now - 1 < first < now
    # What was waited for and when it was asked add up to multiples of three seconds.
    assert waits[0] == 0
    assert all(3 * place - (now - first) - 1e-5 <= wait <= 3 * place + 1e-5 for place, wait in enumerate(waits))


def test_counters_count_far(store):
    async def scenario():
        return [
            await store.add("n", 2**53 - 2, ceiling=2**53 - 1),
            await store.add("n", 1, ceiling=2**53 - 1),
            await store.add("n", 1, ceiling=2**53 - 1),
            await store.add("n", -(2**53)),
        ]

    assert run(store, scenario()) == [2**53 - 2, 2**53 - 1, None, -1]


KEYS = st.sampled_from(["a", "b", "a/b", "é", "*"])
SOME = st.sampled_from([b"", b"0", b"1", b"\x00\xff\r\n"])
TTL = st.sampled_from([None, 1000.0, 5000.0])
METERS = st.builds(
    Meter,
    st.sampled_from(["m", "a"]),
    st.sampled_from([0.001, 0.003]),
    st.integers(1, 3),
    st.integers(-3, 4),
    # Never near a sum of those below: a millisecond must not decide.
    st.sampled_from([float("inf"), 1600.0, 50.0]),
)
STEPS = st.one_of(
    st.tuples(st.just("get"), KEYS),
    st.tuples(st.just("swap"), KEYS, st.none() | SOME, st.none() | SOME, TTL),
    st.tuples(st.just("claim"), st.lists(st.tuples(KEYS, SOME), max_size=4), TTL),
    st.tuples(st.just("put"), st.lists(st.tuples(KEYS, st.none() | SOME), max_size=4), TTL),
    st.tuples(st.just("add"), KEYS, st.integers(-3, 5), st.none() | st.integers(0, 8), TTL),
    st.tuples(st.just("take"), METERS),
    st.tuples(st.just("begin"), st.lists(st.tuples(KEYS, SOME), min_size=1, max_size=3), st.none() | METERS, TTL),
    st.tuples(st.just("scan"), st.sampled_from(["", "a", "a/", "*", "x"])),
    st.tuples(st.just("advance"), st.sampled_from([500.0, 1000.0, 2500.0])),
)


async def play(store, clock, step):
    match step:
        case ("advance", seconds):
            return clock.advance(seconds)
        case ("scan", prefix):
            return [item async for item in store.scan(prefix)]
        case ("swap", key, old, new, ttl):
            return await store.swap(key, old, new, ttl=ttl)
        case ("claim" | "put" as name, items, ttl):
            return await getattr(store, name)(items, ttl=ttl)
        case ("add", key, amount, ceiling, ttl):
            return await store.add(key, amount, ceiling=ceiling, ttl=ttl)
        case ("begin", items, meter, ttl):
            return await store.begin(items, meter=meter, ttl=ttl)
        case (name, argument):
            return await getattr(store, name)(argument)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, min_size=1, max_size=25))
def test_it_answers_as_the_memory_does(valkey, steps):
    valkey.ask("FLUSHALL")
    clock = ManualClock()
    here, there = MemoryStore(clock), RedisStore(valkey.url)

    async def scenario():
        for step in steps:
            expected, answer = await play(here, clock, step), await play(there, valkey, step)
            if step[0] == "take":
                assert answer == pytest.approx(expected, abs=5), step
            elif step[0] == "begin":
                assert answer == (expected[0], pytest.approx(expected[1], abs=5)), step
            else:
                assert answer == expected, step

    run(there, scenario())


# What the server itself may lose


def test_a_server_that_writes_every_command_down_has_no_shortcoming(valkey, store):
    with configured(valkey, appendfsync="always"):
        assert run(store, store.shortcomings()) == ()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"appendonly": "no"}, ["appendonly is off: what was written since the last snapshot is lost"]),
        ({}, ["appendfsync is everysec: the last second of writes is lost when its machine fails"]),
        ({"appendfsync": "no"}, ["appendfsync is no: the last half minute"]),
        (
            {"appendfsync": "always", "maxmemory": "1gb", "maxmemory_policy": "volatile-lru"},
            ["maxmemory-policy is volatile-lru: records are dropped"],
        ),
        ({"appendfsync": "always", "maxmemory_policy": "allkeys-lru"}, []),
    ],
)
def test_what_a_server_may_lose_is_said(valkey, store, options, said):
    with configured(valkey, **options):
        shown = run(store, store.shortcomings())
    assert len(shown) == len(said)
    assert all(begin in text and "a mail may go twice" in text for begin, text in zip(said, shown, strict=True))


def test_a_server_that_is_down_does_not_pass_for_one_without_shortcomings(valkey, store):
    valkey.stop()
    with pytest.raises(ProviderUnavailableError, match="cannot be reached"):
        run(store, store.shortcomings())
