"""What the tests of the core share: a clock by hand, scripted vendors, processes that stop where they are told."""

import asyncio
import subprocess
import sys
from collections import deque
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import pytest

from providers import Money, Providers, Settings, catalog
from providers.core.models import CheckResult, CheckState
from providers.core.operation import Variable, VendorFacts
from providers.core.store import MemoryStore
from providers.email import EmailMessage, MessageRef
from providers.llm import Completion, StreamEvent, StreamEventType, Usage
from providers.testing.clock import ManualClock

HERE = Path(__file__).parent


class Entry:
    """An installed entry point, as `importlib.metadata` would give it."""

    def __init__(self, kind: object) -> None:
        self._kind = kind

    def load(self) -> object:
        return self._kind


class Scripted:
    """A vendor whose next answers are in `script`: an error to raise, or what to await first."""

    facts: VendorFacts
    script: deque
    calls: list
    made: list

    def __init__(self, account) -> None:
        self.account = account
        self.made.append(self)

    @classmethod
    async def called(cls, times: int = 1) -> None:
        """Let others run until it has been called so often."""
        for _ in range(1000):
            if len(cls.calls) >= times:
                return
            await asyncio.sleep(0)
        pytest.fail("the vendor was not called")

    def translate(self, error):
        return None

    async def play(self, what: object) -> None:
        self.calls.append(what)
        if self.script:
            step = self.script.popleft()
            if isinstance(step, BaseException):
                raise step
            if step is not None:
                await step()

    async def check(self):
        await self.play("check")
        return CheckResult(vendor=self.facts.vendor, state=CheckState.OK)

    async def aclose(self):
        return None


class ScriptedMail(Scripted):
    """Of e-mail."""

    async def send(self, message, tracking_id):
        await self.play(message)
        return MessageRef(vendor=self.facts.vendor, id=f"m{len(self.calls)}")

    async def send_batch(self, message, recipients):
        await self.play(message)
        return [MessageRef(vendor=self.facts.vendor, id=f"b{index}") for index, _ in enumerate(recipients)]

    async def suppressions(self, cursor):
        await self.play(cursor)
        return [], ""

    async def suppress(self, email):
        await self.play(email)


class ScriptedWords(Scripted):
    """Of words: `most` is what an answer may cost, `cost` what it does; a stream has the `words`, a cent each.

    `open` counts the streams that were begun and not closed.
    """

    most = Decimal("0.10")
    cost = Decimal("0.04")
    words = ("one", "two", "three")
    open = 0

    def at_most(self, request):
        return self.most

    async def complete(self, request):
        await self.play(request)
        return self._completion(request.text, self.cost)

    async def stream(self, request):
        kind = type(self)
        kind.open += 1
        try:
            for number, word in enumerate(self.words, 1):
                await self.play(word)
                yield StreamEvent(type=StreamEventType.TEXT, text=word, **self._so_far(number))
            await self.play("end")
            done = self._completion(" ".join(self.words), CENT * len(self.words))
            yield StreamEvent(type=StreamEventType.END, completion=done, **self._so_far(len(self.words)))
        finally:
            kind.open -= 1

    def _so_far(self, cents):
        return {"vendor": self.facts.vendor, "model": "demo-1", "usage": usage(cents)}

    def _completion(self, text, cost):
        name, money = self.facts.vendor, None if cost is None else Money(amount=cost, currency="USD")
        used = usage(0 if cost is None else int(cost / CENT))
        return Completion(text=text, vendor=name, provider=name, model="demo-1", usage=used, cost=money)


CENT = Decimal("0.01")
CAPABILITIES = {"email": ("Email", ScriptedMail), "llm": ("Llm", ScriptedWords)}


def usage(cents):
    """What costs so much at the demo's model: 10 USD for a million tokens."""
    return Usage(input_tokens=0, output_tokens=1000 * cents)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def vendor(monkeypatch):
    """Install a scripted vendor by name, of e-mail unless told otherwise; what else it is given are facts."""
    installed = {}
    monkeypatch.setattr(catalog, "_plugins", lambda: installed)

    def install(name: str, capability: str = "email", **facts):
        key = name.upper() + "_KEY"
        given = {
            "title": name.title(),
            "adapter": "",
            "variables": (Variable(name=key, purpose="API key", where=f"{name}.example.com", secret=True),),
            "prices": {"email": Decimal("0.5"), "request": Decimal("0.01")},
            "limits": {"recipients": 10, "batch": 10, "message_bytes": 1000, "tags": 3, "schedule_seconds": 100},
        } | facts
        suffix, base = CAPABILITIES[capability]
        entry = VendorFacts(vendor=name, capability=capability, **given)
        kind = type(name.title() + suffix, (base,), {"facts": entry, "script": deque(), "calls": [], "made": []})
        installed[f"{capability}.{name}"] = Entry(kind)
        monkeypatch.setenv(key, f"{name}-key-value")
        return kind

    return install


@pytest.fixture
def live(clock):
    """Open `Providers` on scripted vendors, in order, with time by hand and nothing from this machine."""

    def opened(vendors="alpha", *, capability="email", store=None, hooks=(), environ=None, **settings):
        names = [name.strip() for name in vendors.split(",")]
        keys = {name.upper() + "_KEY": f"{name}-key-value" for name in names}
        settings = Settings(
            mode="live", vendors={capability: vendors}, environ=keys | (environ or {}), env_file=None, **settings
        )
        return Providers(settings, clock=clock, store=store or MemoryStore(clock), hooks=hooks)

    return opened


@pytest.fixture
def mail():
    def made(*to, **fields):
        return EmailMessage(**{"to": to or ("ann@example.com",), "subject": "Hi", "text": "Hello"} | fields)

    return made


class Worker:
    """`worker.py` in its own process; talks in lines."""

    def __init__(self, *args: object) -> None:
        command = [sys.executable, str(HERE / "worker.py"), *map(str, args)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def say(self, line: str = "go") -> None:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> str:
        out, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0
        return out.strip()


@pytest.fixture
def worker():
    started = []

    def start(*args):
        started.append(Worker(*args))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.kill()
        with suppress(BrokenPipeError):
            one.process.stdin.close()
        one.process.stdout.close()
