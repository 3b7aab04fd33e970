"""The same scenario at the demo, through the gateway, and directly: nothing but variables tells them apart."""

import asyncio
import contextlib

import pytest

from providers import Providers, Settings
from providers.core.store import MemoryStore
from providers.testing.clock import ManualClock


class Ledger(MemoryStore):
    """A store that remembers how high each budget ever stood, and what was set aside last."""

    def __init__(self, clock):
        super().__init__(clock)
        self.highest = {}
        self.now = {}
        self.set_aside = 0

    async def add(self, key, amount, *, ceiling=None, ttl=None):
        total = await super().add(key, amount, ceiling=ceiling, ttl=ttl)
        if key.startswith("budget/") and total is not None:
            self.highest[key] = max(total, self.highest.get(key, 0))
            self.now[key] = total
            if amount > 0 and ceiling is not None:
                self.set_aside = amount
        return total

    def money(self, part=""):
        """What is counted now, in millionths of a dollar, by the one budget whose key has this part."""
        return self._one(part, "/USD/")

    def units(self, part=""):
        """How many requests are counted now."""
        return self._one(part, "/units/")

    def _one(self, part, kind):
        (total,) = [total for key, total in self.now.items() if kind in key and part in key]
        return total


class Side:
    """A way to a model, by its variables. `server` is None for the demo.

    `calls` are those that have ended; each takes `late` seconds.
    """

    def __init__(self, name, clock, server, env):
        self.name, self.clock, self.server, self.env = name, clock, server, env
        self.store = Ledger(clock)
        self.calls = []
        self.late = 0.0

    def open(self, **settings):
        return Providers(
            Settings(environ=self.env, env_file=None, **settings),
            clock=self.clock,
            store=self.store,
            hooks=[lambda _: self._ended],
        )

    def _ended(self, call):
        self.calls.append(call)
        if self.late:
            self.clock.advance(self.late)

    def says(self, *texts):
        """What the model answers next; of the demo the words of the prompt ask for that."""
        if self.name == "gateway":
            for text in texts:
                self.server.answer(text)
        elif self.name == "anthropic":
            self.server.script(*texts)

    @property
    def asked(self):
        """How many questions were sent by the calls that have ended; at a server, as many came."""
        sent = sum(call.attempts for call in self.calls)
        if self.server is not None:
            assert self.asked_now() == sent
        return sent

    def asked_now(self):
        """How many questions came to the server."""
        paths = ("/api/v1/generate", "/v1/messages")
        return sum(request.method == "POST" and request.path in paths for request in self.server.requests)

    async def until(self, holds):
        """Wait for what happens in the server's thread."""
        for _ in range(1000):
            if holds():
                return
            # Whoever waits for a place in a rate gets it.
            self.clock.advance(0.0001)
            await asyncio.sleep(0.001)
        pytest.fail("it did not happen")


@contextlib.contextmanager
def opened(name, clock):
    if name == "demo":
        yield Side(name, clock, None, {"PROVIDER_MODE": "demo"})
        return
    from providers.testing.servers.anthropic import AnthropicServer
    from providers.testing.servers.gateway import GatewayServer

    kind = {"gateway": GatewayServer, "anthropic": AnthropicServer}[name]
    # The gateway's own limit is not what these tests are about.
    more = {"rate_limit": 1_000_000} if name == "gateway" else {}
    with kind(clock=clock.time, **more) as server:
        env = {"PROVIDER_MODE": "live", "PROVIDER_LLM": name, **server.env}
        if name == "gateway":
            env["PROVIDER_RATE_GATEWAY"] = "100000/second"
        yield Side(name, clock, server, env)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def sides(clock):
    """`with sides("gateway") as one:`"""
    return lambda name: opened(name, clock)


@pytest.fixture(params=["demo", "gateway", "anthropic"])
def side(request, clock):
    with opened(request.param, clock) as one:
        yield one


@pytest.fixture
def anthropic(clock):
    with opened("anthropic", clock) as one:
        yield one


@pytest.fixture
def gateway(clock):
    with opened("gateway", clock) as one:
        yield one


@pytest.fixture
def demo(clock):
    with opened("demo", clock) as one:
        yield one
