"""Run by the tests in processes of their own: `python worker.py WHAT PATH ...`. Says a line, waits for a line."""

import asyncio
import os
import sys

from providers import Providers, Settings
from providers.core.clock import SystemClock
from providers.core.sqlite import SqliteStore
from providers.email import DemoEmail, EmailMessage

MAIL = EmailMessage(to=("ann@example.com",), subject="Hi", text="Hello")


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def wait() -> None:
    sys.stdin.readline()


async def add(path: str, ceiling: str) -> None:
    store = SqliteStore(path, SystemClock())
    count = 0
    while await store.add("shared", 1, ceiling=int(ceiling)) is not None:
        count += 1
    await store.aclose()
    say(count)


async def claim(path: str, count: str) -> None:
    store = SqliteStore(path, SystemClock())
    found = await store.claim([(f"key{number}", str(os.getpid()).encode()) for number in range(int(count))])
    mine = [await store.claim([(f"one{number}", b"")]) for number in range(20)]
    await store.aclose()
    say(found.count(None), mine.count([None]))


async def put(path: str) -> None:
    store = SqliteStore(path, SystemClock())
    for number in range(1_000_000):
        value = str(number).encode()
        await store.put([("left", value), ("right", value)])
        say(number)


def fork_between(path: str) -> None:
    """The pattern of prefork workers: state used in the parent, then in the child, then in the parent again."""
    store = SqliteStore(path, SystemClock())
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


JOBS = {
    "add": add,
    "claim": claim,
    "put": put,
    "fork": fork_between,
    "send": send,
    "send_and_hang": send_and_hang,
    "spend": spend,
}

if __name__ == "__main__":
    job = JOBS[sys.argv[1]]
    say("ready")
    wait()
    outcome = job(*sys.argv[2:])
    if asyncio.iscoroutine(outcome):
        asyncio.run(outcome)
