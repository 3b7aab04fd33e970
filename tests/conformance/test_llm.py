"""The one suite of language models, unchanged: the demo, the gateway and Anthropic over both transports."""

import asyncio
import contextlib
from collections import deque

import pytest

from providers import Providers, Settings, sync
from providers.core.errors import Outcome, ProviderUnavailableError
from providers.core.transport_aiohttp import AiohttpTransport
from providers.core.transport_httpx import HttpxTransport
from providers.llm import demo
from providers.llm.demo import DemoLlm
from providers.testing.clock import ManualClock
from providers.testing.conformance.llm import LlmConformance, LlmHarness
from providers.testing.servers import Fault
from providers.testing.servers.anthropic import AnthropicServer, refusal
from providers.testing.servers.gateway import GatewayServer

# The demo.


class Listener:
    """Hears what the demo is asked, says what it is told to, and can hold it up."""

    def __init__(self, patch):
        self.prompts = []
        self.texts = deque()
        self._stalled = self._held = None
        for name in ("complete", "stream"):
            patch.setattr(DemoLlm, name, getattr(self, name)(getattr(DemoLlm, name)))
        for name in ("sentences", "_json"):
            patch.setattr(demo, name, self._saying(getattr(demo, name)))
        self._breathe = demo._breathe
        patch.setattr(demo, "_breathe", self._pause)

    def complete(self, original):
        async def complete(adapter, request):
            await self._hear(request)
            return await original(adapter, request)

        return complete

    def stream(self, original):
        async def stream(adapter, request):
            await self._hear(request)
            async with contextlib.aclosing(original(adapter, request)) as events:
                async for event in events:
                    yield event

        return stream

    @contextlib.contextmanager
    def stalled(self):
        self._stalled = asyncio.Event()
        yield
        self._stalled = None

    @contextlib.contextmanager
    def held(self):
        self._held = asyncio.Event()
        yield
        self._held = None

    async def _hear(self, request):
        if self._stalled is not None:
            await self._stalled.wait()
        self.prompts.append(request.text)

    async def _pause(self):
        await self._breathe()
        if self._held is not None:
            await self._held.wait()

    def _saying(self, original):
        return lambda *args, **options: self.texts.popleft() if self.texts else original(*args, **options)


def overloaded(providers, times):
    error = ProviderUnavailableError("overloaded", outcome=Outcome.NOT_APPLIED)
    providers.faults.clear()
    for operation in ("llm.complete", "llm.stream"):
        providers.faults.stage(operation, error, times=times)


class TestDemo(LlmConformance):
    @pytest.fixture
    def harness(self, monkeypatch):
        listener, clock = Listener(monkeypatch), ManualClock()
        settings = Settings(mode="demo", environ={}, env_file=None)
        return LlmHarness(
            open=lambda **parts: Providers(settings, **parts),
            open_sync=lambda **parts: sync.Providers(settings, **parts),
            clock=clock,
            sent=lambda: listener.prompts,
            say=lambda *texts: listener.texts.extend(texts),
            refuse=lambda prompt: f"{prompt} demo:refuse",
            break_off=[lambda prompt: f"{prompt} demo:breakoff"],
            unavailable=overloaded,
            stalled=listener.stalled,
            held=listener.held,
            finish_batches=lambda: clock.advance(60),
        )


# What the servers in this package have in common.


@contextlib.contextmanager
def stalling(server, path):
    server.stage(Fault.SLOW_HEADERS, match=("POST", path))
    try:
        yield
    finally:
        server.release()


def opening(server, vendor, transport):
    settings = Settings(mode="live", vendors={"llm": vendor}, environ=server.env, env_file=None)
    return {
        "open": lambda **parts: Providers(settings, transport=transport(), **parts),
        "open_sync": lambda **parts: sync.Providers(settings, transport=transport(), **parts),
    }


# The gateway.


@contextlib.contextmanager
def gateway_harness(transport):
    clock = ManualClock()
    with GatewayServer(clock=clock.time) as server:

        def refuse(prompt):
            server.answer("I cannot help with that.")
            return prompt

        def unavailable(_, times):
            server.upstream(529, '{"type":"error","error":{"type":"overloaded_error"}}', times=times)

        yield LlmHarness(
            **opening(server, "gateway", transport),
            clock=clock,
            sent=lambda: [call.prompt for call in server.calls],
            say=lambda *texts: [server.answer(text) for text in texts],
            refuse=refuse,
            break_off=(),
            unavailable=unavailable,
            stalled=lambda: stalling(server, "/api/v1/generate"),
            held=contextlib.nullcontext,
            finish_batches=lambda: None,
            secrets=[server.service_key],
        )


class TestGateway(LlmConformance):
    @pytest.fixture
    def harness(self):
        with gateway_harness(AiohttpTransport) as harness:
            yield harness


class TestGatewayOverHttpx(LlmConformance):
    @pytest.fixture
    def harness(self):
        with gateway_harness(HttpxTransport) as harness:
            yield harness


# Anthropic.


def words(content):
    if isinstance(content, str):
        return content
    return "\n\n".join(block["text"] for block in content if block["type"] == "text")


@contextlib.contextmanager
def anthropic_harness(transport):
    clock = ManualClock()
    with AnthropicServer(clock=clock.time) as server:

        def refuse(prompt):
            server.script(refusal(explanation="not this one"))
            return prompt

        def cut_off(prompt):
            server.break_after(8)
            return prompt

        def fail(prompt):
            server.error_after(8)
            return prompt

        @contextlib.contextmanager
        def held(events):
            server.hold_after(events)
            try:
                yield
            finally:
                server.release()

        @contextlib.contextmanager
        def stalled():
            # A stream has its headers before anything can hold them.
            with stalling(server, "/v1/messages"), held(0):
                yield

        yield LlmHarness(
            **opening(server, "anthropic", transport),
            clock=clock,
            sent=lambda: ["\n\n".join(words(turn["content"]) for turn in body["messages"]) for body in server.messages],
            say=server.script,
            refuse=refuse,
            break_off=[cut_off, fail],
            unavailable=lambda _, times: server.overload(times),
            stalled=stalled,
            held=lambda: held(8),
            finish_batches=server.finish_batches,
            secrets=[server.api_key],
        )


class TestAnthropic(LlmConformance):
    @pytest.fixture
    def harness(self):
        with anthropic_harness(AiohttpTransport) as harness:
            yield harness


class TestAnthropicOverHttpx(LlmConformance):
    @pytest.fixture
    def harness(self):
        with anthropic_harness(HttpxTransport) as harness:
            yield harness
