"""One of many processes that share limits through one store: run by `worker.py`, which says what it is told to do.

The vendor is a file: every mail, or every request of one, is a line with the moment it got there.
"""

import asyncio
import json
import os
import random
import sys
import time
from pathlib import Path

from providers import Providers, Settings, catalog
from providers.core.account import Account
from providers.core.clock import SystemClock
from providers.core.operation import Per, Points, Variable, VendorFacts
from providers.core.redis import RedisStore
from providers.core.store import Meter
from providers.core.transport import HttpRequest, HttpResponse
from providers.email import EmailMessage, MessageRef
from providers.errors import QuotaExceededError
from providers.testing.clock import START

AT_ONCE = 20


class Clock(SystemClock):
    """Real time, but of a day that does not end during a test; knows how late the machine woke who slept."""

    def __init__(self, begun: float) -> None:
        super().__init__()
        self.late = 0.0
        self._begun = begun

    def time(self) -> float:
        return START + super().time() - self._begun

    async def sleep(self, seconds: float) -> None:
        due = self.monotonic() + seconds
        await super().sleep(seconds)
        self.late = max(self.late, self.monotonic() - due)


class Store(RedisStore):
    """Knows how long an answer was under way."""

    late = 0.0

    async def take(self, meter: Meter) -> float:
        asked = time.monotonic()
        wait = await super().take(meter)
        self.late = max(self.late, time.monotonic() - asked)
        return wait


class Wire:
    """A transport that writes to the file."""

    def __init__(self, path: Path) -> None:
        self.file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def send(self, request: HttpRequest) -> HttpResponse:
        os.write(self.file, f"{time.monotonic()} {request.url}\n".encode())
        await asyncio.sleep(0)
        return HttpResponse(200, {}, b"")

    async def aclose(self) -> None:
        os.close(self.file)


def install(name: str, requests: int, points: Points | None) -> None:
    """A vendor of e-mail called `name` that asks so often for each mail."""

    class Vendor:
        facts = VendorFacts(
            vendor=name,
            capability="email",
            title=name.title(),
            adapter="",
            variables=(Variable(name=f"{name.upper()}_KEY", purpose="API key", where="nowhere", secret=True),),
            rate_per=Per.CALL if requests == 1 else Per.REQUEST,
            points=points,
            concurrency=None if requests == 1 else 2,
        )

        def __init__(self, account: Account) -> None:
            self.account = account

        def translate(self, error: Exception) -> None:
            return None

        async def send(self, message: EmailMessage, tracking_id: str) -> MessageRef:
            for _ in range(requests):
                await self.account.http().send(HttpRequest("POST", message.subject, {}))
            return MessageRef(vendor=name, id=tracking_id)

        async def aclose(self) -> None:
            return None

    class Entry:
        @staticmethod
        def load() -> type[Vendor]:
            return Vendor

    plugins = {f"email.{name}": Entry}
    catalog._plugins = lambda: plugins


async def share(url: str, folder: str, begun: str) -> None:
    """Answer lines as `Crowd.do` says them until there are none."""
    while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
        job = json.loads(line)
        name, clock, store = job["vendor"], Clock(float(begun)), Store(url)
        points = f"PROVIDER_POINTS_{name.upper()}" in job["environ"]
        install(name, job["requests"], Points(per_day=1, costs={"send": 10}) if points else None)
        environ = {f"{name.upper()}_KEY": "a key", **job["environ"]}
        settings = Settings(mode="live", vendors={"email": name}, environ=environ, env_file=None)
        async with Providers(settings, clock=clock, store=store, transport=Wire(Path(folder, name)), hooks=()) as p:
            answer = await sends(p, job["mails"], keys=job["keys"])
        sys.stdout.write(json.dumps(answer | {"late": clock.late + store.late}) + "\n")
        sys.stdout.flush()


async def sends(p: Providers, mails: int, *, keys: bool) -> dict[str, object]:
    sent: dict[str, str] = {}
    refused = 0
    left = random.sample(range(mails), mails)

    async def sending() -> None:
        nonlocal refused
        while left:
            name = f"mail-{left.pop()}"
            mail = EmailMessage(to=("ann@example.com",), subject=name, text="Hello", sender="shop@example.com")
            try:
                ref = await p.email.send(mail, idempotency_key=name if keys else None, timeout=60)
            except QuotaExceededError:
                refused += 1
            else:
                sent[name] = str(ref)

    await asyncio.gather(*(sending() for _ in range(AT_ONCE)))
    return {"sent": sent, "refused": refused}
