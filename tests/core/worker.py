"""Run by the tests in processes of their own: `python worker.py WHAT PATH ...`. Says a line, waits for a line."""

import asyncio
import gc
import json
import os
import selectors
import sys

from providers import Providers, Settings
from providers.core.clock import SystemClock
from providers.core.lock import locked
from providers.core.redis import RedisStore
from providers.core.sqlite import SqliteStore
from providers.core.store import Meter, Store, open_store
from providers.email import DemoEmail, EmailMessage
from providers.errors import ProviderError
from providers.llm import CompletionRequest, Message
from providers.sms import SmsMessage
from providers.sourcing import OrderRequest

MAIL = EmailMessage(to=("ann@example.com",), subject="Hi", text="Hello")


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def wait() -> None:
    sys.stdin.readline()


def opened(where: str) -> Store:
    """The store at a path or a URL."""
    clock = SystemClock()
    return open_store(where, clock) if "://" in where else SqliteStore(where, clock)


async def add(path: str, ceiling: str) -> None:
    store = opened(path)
    count = 0
    while await store.add("shared", 1, ceiling=int(ceiling)) is not None:
        count += 1
    await store.aclose()
    say(count)


async def claim(path: str, count: str) -> None:
    store = opened(path)
    found = await store.claim([(f"key{number}", str(os.getpid()).encode()) for number in range(int(count))])
    mine = [await store.claim([(f"one{number}", b"")]) for number in range(20)]
    await store.aclose()
    say(found.count(None), mine.count([None]))


async def take(path: str, count: str) -> None:
    store = opened(path)
    waits = [await store.take(Meter("shared", 0.5)) for _ in range(int(count))]
    await store.aclose()
    say(*waits)


async def count_locked(where: str, times: str) -> None:
    """Count in the way that loses counts, unless one at a time does it."""
    store, clock = opened(where), SystemClock()
    for _ in range(int(times)):
        async with locked("token/shop", store=store, clock=clock, deadline=clock.monotonic() + 60):
            count = int(await store.get("count") or 0)
            await asyncio.sleep(0)
            await store.put([("count", str(count + 1).encode())])
    await store.aclose()
    say("counted")


async def put(path: str) -> None:
    store = opened(path)
    for number in range(1_000_000):
        value = str(number).encode()
        await store.put([("left", value), ("right", value)])
        say(number)


def fork_between(path: str) -> None:
    """The pattern of prefork workers: state used in the parent, then in the child, then in the parent again."""
    store = opened(path)
    asyncio.run(store.put([("parent", b"before")]))
    pid = os.fork()
    if pid == 0:
        try:
            seen = asyncio.run(store.get("parent"))
            asyncio.run(store.put([("child", seen or b"nothing")]))
            asyncio.run(store.aclose())
        except BaseException:  # noqa: BLE001 (the exit code is all the parent sees)
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    asyncio.run(store.put([("parent", b"after")]))
    child, parent = asyncio.run(store.get("child")), asyncio.run(store.get("parent"))
    asyncio.run(store.aclose())
    say(os.waitstatus_to_exitcode(status), (child or b"none").decode(), (parent or b"none").decode())


async def fork_inside(where: str) -> None:
    """A fork while the parent's event loop runs, its connection open and a reply still to come."""
    store = opened(where)
    await store.put([("parent", b"before")])
    pending = asyncio.create_task(store.get("parent"))
    await asyncio.sleep(0)
    pid = os.fork()
    if pid == 0:
        try:
            asyncio.run(store.put([("child", b"written")]))
            asyncio.run(store.aclose())
            gc.collect()
        except BaseException:  # noqa: BLE001 (the exit code is all the parent sees)
            os._exit(1)
        os._exit(0)
    _, status = await asyncio.to_thread(os.waitpid, pid, 0)
    seen = [await pending, await store.get("child")]
    await store.aclose()
    say(os.waitstatus_to_exitcode(status), *((value or b"none").decode() for value in seen))


def fork_same_loop(url: str) -> None:
    """Which connection a child, its parent, and the parent before had, all with one event loop."""
    store = RedisStore(url)
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())  # one that shares nothing with its copy

    def connection() -> object:
        return loop.run_until_complete(store._ask(b"CLIENT", b"ID"))

    before = connection()
    if os.fork() == 0:
        sys.stdout.write(f"{connection()} ")
        sys.stdout.flush()
        os._exit(0)
    os.wait()
    say(connection(), before)
    loop.run_until_complete(store.aclose())
    loop.close()


def demo(path: str) -> Providers:
    return Providers(Settings(mode="demo", state_url=f"sqlite:///{path}", environ={}, env_file=None))


async def send(path: str, key: str) -> None:
    async with demo(path) as p:
        say(await p.email.send(MAIL, idempotency_key=key))


async def send_and_hang(path: str, key: str) -> None:
    """Stop inside the vendor's send, until told to go on."""
    original = DemoEmail.send

    async def hanging(self: DemoEmail, message: EmailMessage, tracking_id: str) -> object:
        say("sending")
        await asyncio.to_thread(wait)
        return await original(self, message, tracking_id)

    DemoEmail.send = hanging
    async with demo(path) as p:
        say(await p.email.send(MAIL, idempotency_key=key))


async def spend(path: str, budget: str) -> None:
    from providers.errors import BudgetExceededError

    settings = Settings(mode="demo", state_url=f"sqlite:///{path}", budgets={"demo": budget}, environ={}, env_file=None)
    count = 0
    async with Providers(settings) as p:
        try:
            while True:
                await p.email.send(MAIL)
                count += 1
        except BudgetExceededError:
            say(count)


async def pay(where: str, budget: str, at_once: str) -> None:
    """Ask, so many at once, until the budget is spent. Says what was paid, in cents, and the most that was counted."""
    from paying import pay

    say(*await pay(opened(where), budget, int(at_once)))


def live(url: str, environ: str) -> Providers:
    """The vendor that `environ` points at, with the state that all processes share."""
    return Providers(Settings(mode="live", state_url=url, environ=json.loads(environ), env_file=None))


async def text(url: str, environ: str, number: str, key: str) -> None:
    async with live(url, environ) as p:
        try:
            say((await p.sms.send(SmsMessage(to=number, body="It has shipped."), idempotency_key=key)).ref)
        except ProviderError as error:
            say(type(error).__name__, error.code)


async def refund(url: str, environ: str, checkout: str, key: str) -> None:
    async with live(url, environ) as p:
        try:
            say((await p.billing.refund(checkout, idempotency_key=key)).ref)
        except ProviderError as error:
            say(type(error).__name__, error.code)


async def batch(url: str, environ: str, key: str) -> None:
    requests = {"one": CompletionRequest(messages=(Message.user("A title for a mat."),))}
    async with live(url, environ) as p:
        try:
            say((await p.llm.create_batch(requests, idempotency_key=key)).ref)
        except ProviderError as error:
            say(type(error).__name__, error.code)


async def order(url: str, environ: str, ref: str, key: str) -> None:
    address = {
        "name": "Ana Silva",
        "line1": "1 Main Street",
        "city": "Austin",
        "region": "Texas",
        "postal_code": "78701",
        "country": "US",
        "phone": "+15125550123",
    }
    async with live(url, environ) as p:
        try:
            placed = await p.sourcing.place_order(
                OrderRequest(items=({"ref": ref},), address=address, idempotency_key=key)
            )
            say(*placed.refs)
        except ProviderError as error:
            say(type(error).__name__, error.code)


async def share(*args: str) -> None:
    import sharing

    await sharing.share(*args)


async def renew(*args: str) -> None:
    import token_worker

    say(await token_worker.renew(*args))


JOBS = {
    "add": add,
    "claim": claim,
    "take": take,
    "count_locked": count_locked,
    "put": put,
    "fork": fork_between,
    "fork_inside": fork_inside,
    "fork_same_loop": fork_same_loop,
    "send": send,
    "send_and_hang": send_and_hang,
    "spend": spend,
    "pay": pay,
    "share": share,
    "text": text,
    "refund": refund,
    "batch": batch,
    "order": order,
    "renew": renew,
}

if __name__ == "__main__":
    job = JOBS[sys.argv[1]]
    say("ready")
    wait()
    outcome = job(*sys.argv[2:])
    if asyncio.iscoroutine(outcome):
        asyncio.run(outcome)
