"""The one suite of language models, unchanged: the demo, two vendors over both transports, somebody else's adapter."""

import asyncio
import contextlib
import inspect
import json
from collections import deque
from dataclasses import dataclass, field, replace
from decimal import Decimal

import pytest

from providers import Providers, Settings, catalog, sync
from providers.core.attempt import ATTEMPT
from providers.core.errors import (
    Outcome,
    ProviderUnavailableError,
    RejectedError,
    UnsupportedOperationError,
)
from providers.core.models import CheckResult, CheckState, Money
from providers.core.operation import Variable, VendorFacts
from providers.core.transport_aiohttp import AiohttpTransport
from providers.core.transport_httpx import HttpxTransport
from providers.llm import demo, model_facts
from providers.llm.demo import DemoLlm
from providers.llm.demo_values import example
from providers.llm.demo_words import sentences
from providers.llm.models import (
    Completion,
    Message,
    ModelInfo,
    Refusal,
    StopReason,
    StreamEvent,
    StreamEventType,
    Usage,
)
from providers.llm.tokens import most_input_tokens
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
        try:
            yield
        finally:
            self._stalled = None

    @contextlib.contextmanager
    def held(self):
        self._held = asyncio.Event()
        try:
            yield
        finally:
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


# Somebody else's adapter, as another package would bring it.

PARROT = VendorFacts(
    vendor="parrot",
    capability="llm",
    title="Parrot",
    adapter="parrot:ParrotLlm",
    variables=(Variable(name="PARROT_SEED", purpose="what it is paid in", secret=True),),
    prices={"million output tokens": Decimal("0.5")},
    limits={"max_tokens": 5000},
    unsupported={
        "conversation": "parrots forget",
        "images": "parrots look away",
        "tools": "parrots have no hands",
        "model": "there is one parrot",
        "effort": "parrots do not think",
        "caches": "parrots forget",
    }
    | dict.fromkeys(("create_batch", "batch", "batches", "batch_results", "cancel_batch"), "one at a time"),
)
TALKS = "claude-haiku-5-5"


@dataclass
class Cage:
    """The made-up vendor itself: what it was asked, what it will say, how it behaves."""

    asked: list = field(default_factory=list)
    texts: deque = field(default_factory=deque)
    refuses: bool = False
    breaks: bool = False
    busy: int = 0
    asleep: asyncio.Event | None = None
    quiet: asyncio.Event | None = None


class ParrotLlm:
    facts = PARROT
    cage: Cage

    def __init__(self, account):
        self._seed = account.get("PARROT_SEED")

    def translate(self, error):
        return ProviderUnavailableError("flew away", outcome=Outcome.UNKNOWN) if isinstance(error, OSError) else None

    def at_most(self, request):
        return model_facts.at_most(model_facts.MODELS[TALKS].price, most_input_tokens(request), request.max_tokens)

    async def complete(self, request):
        return self.answered(request, await self.said(request))

    async def stream(self, request):
        words, breaks = await self.said(request), self.cage.breaks
        self.cage.breaks = False
        end = self.answered(request, words)
        pieces = end.text.split(" ")
        for number, piece in enumerate(pieces):
            if breaks and number == len(pieces) // 2:
                raise ConnectionError
            if self.cage.quiet is not None and number == 3:
                await self.cage.quiet.wait()
            usage = end.usage.model_copy(update={"output_tokens": number + 1, "exact": False})
            yield self.event(StreamEventType.TEXT, usage, text=piece if number == 0 else f" {piece}")
        yield self.event(StreamEventType.END, end.usage, completion=end)

    async def count_tokens(self, request):
        return len(f"{request.system_text} {request.text}".split())

    async def models(self):
        price = model_facts.MODELS[TALKS].price
        prices = {"input_price": price.input, "output_price": price.output}
        return [ModelInfo(id=TALKS, vendor="parrot", provider="jungle", **prices)]

    async def create_batch(self, requests):
        raise UnsupportedOperationError("one at a time")

    batch = batches = batch_results = cancel_batch = create_batch

    async def check(self):
        return CheckResult(vendor="parrot", state=CheckState.OK)

    async def aclose(self):
        pass

    async def said(self, request):
        cage = self.cage
        if cage.asleep is not None:
            ATTEMPT.get().sent = True
            await cage.asleep.wait()
        if cage.busy:
            cage.busy -= 1
            raise ProviderUnavailableError("busy", outcome=Outcome.NOT_APPLIED)
        cage.asked.append(request.text)
        if cage.texts:
            return cage.texts.popleft()
        if request.json_schema is not None:
            return json.dumps(example(request.json_schema, about=request.text))
        return sentences(request.text, seed=len(cage.asked), words=60)

    def answered(self, request, words):
        stop, sequence = StopReason.END_TURN, None
        found = [(words.find(each), each) for each in request.stop if each in words]
        if self.cage.refuses:
            self.cage.refuses, words, stop = False, "", StopReason.REFUSAL
        elif found:
            place, sequence = min(found)
            words, stop = words[:place], StopReason.STOP_SEQUENCE
        elif len(words.split()) > request.max_tokens:
            words, stop = " ".join(words.split()[: request.max_tokens]), StopReason.MAX_TOKENS
        read = len(f"{request.system_text} {request.text}".split())
        usage = Usage(input_tokens=read, output_tokens=len(words.split()))
        return Completion(
            text=words,
            vendor="parrot",
            provider="jungle",
            model=TALKS,
            usage=usage,
            cost=model_facts.cost(TALKS, usage),
            stop_reason=stop,
            stop_sequence=sequence,
            refusal=Refusal() if stop is StopReason.REFUSAL else None,
            message=Message.assistant(*[words] if words else []),
        )

    def event(self, kind, usage, **more):
        return StreamEvent(type=kind, vendor="parrot", model=TALKS, usage=usage, **more)


class EntryPoint:
    """What `importlib.metadata` would find of an installed package."""

    def __init__(self, kind):
        self._kind = kind

    def load(self):
        return self._kind


@pytest.fixture
def parrot(monkeypatch):
    """`parrot(kind)`: the harness of an adapter class, with a cage of its own, registered under `llm.parrot`."""

    def install(kind):
        own = type(kind.__name__, (kind,), {"cage": Cage()})
        monkeypatch.setattr(catalog, "_plugins", lambda: {"llm.parrot": EntryPoint(own)})
        return parrot_harness(own.cage)

    return install


def parrot_harness(cage):
    credentials = {"PARROT_SEED": "sunflower-and-millet"}
    settings = Settings(mode="live", vendors={"llm": "parrot"}, credentials=credentials, environ={}, env_file=None)

    def doing(name, value):
        def do(prompt):
            setattr(cage, name, value)
            return prompt

        return do

    @contextlib.contextmanager
    def during(name):
        over = asyncio.Event()
        setattr(cage, name, over)
        try:
            yield
        finally:
            over.set()
            setattr(cage, name, None)

    return LlmHarness(
        open=lambda **parts: Providers(settings, **parts),
        open_sync=lambda **parts: sync.Providers(settings, **parts),
        sent=lambda: cage.asked,
        say=lambda *texts: cage.texts.extend(texts),
        refuse=doing("refuses", True),
        break_off=[doing("breaks", True)],
        unavailable=lambda _, times: setattr(cage, "busy", times),
        stalled=lambda: during("asleep"),
        held=lambda: during("quiet"),
        finish_batches=lambda: None,
        secrets=["sunflower-and-millet"],
    )


class TestSomebodyElsesAdapter(LlmConformance):
    @pytest.fixture
    def harness(self, parrot):
        return parrot(ParrotLlm)


# The suite itself: what a faulty adapter does is found.


class AsksTwice(ParrotLlm):
    async def complete(self, request):
        await super().complete(request)
        return await super().complete(request)


class GuessesPrices(ParrotLlm):
    def answered(self, request, words):
        answer = super().answered(request, words)
        return answer.model_copy(update={"cost": Money(amount=Decimal("0.01"), currency="USD")})


class RaisesRefusals(ParrotLlm):
    def answered(self, request, words):
        if self.cage.refuses:
            raise RejectedError("no", code="refusal")
        return super().answered(request, words)


class HidesThatItWasCut(ParrotLlm):
    def answered(self, request, words):
        return super().answered(request, words).model_copy(update={"stop_reason": StopReason.END_TURN})


class TrimsWords(ParrotLlm):
    async def said(self, request):
        return " ".join((await super().said(request)).split())


class EndsSilently(ParrotLlm):
    async def stream(self, request):
        with contextlib.suppress(ConnectionError):
            async for event in super().stream(request):
                yield event


class BeginsAgain(ParrotLlm):
    async def stream(self, request):
        try:
            async for event in super().stream(request):
                yield event
        except ConnectionError:
            async for event in super().stream(request):
                yield event


class WaitsForAllOfIt(ParrotLlm):
    async def stream(self, request):
        end = await self.complete(request)
        yield self.event(StreamEventType.TEXT, end.usage, text=end.text)
        yield self.event(StreamEventType.END, end.usage, completion=end)


class PromisesTooLittle(ParrotLlm):
    def at_most(self, request):
        return Decimal("0.00000001")


class NeverGivesUp(ParrotLlm):
    async def complete(self, request):
        while True:
            try:
                return await super().complete(request)
            except asyncio.CancelledError:
                continue


class TellsItsSecret(ParrotLlm):
    def translate(self, error):
        return ProviderUnavailableError(f"{self._seed} flew away", outcome=Outcome.UNKNOWN, code=self._seed)


class CallsItNotApplied(ParrotLlm):
    def translate(self, error):
        return ProviderUnavailableError("flew away", outcome=Outcome.NOT_APPLIED)


class RaisesItsOwn(ParrotLlm):
    async def models(self):
        raise KeyError("models")


@pytest.mark.parametrize(
    ("kind", "test", "values"),
    [
        (AsksTwice, "what_does_not_fit_is_asked_for_once_more_with_the_reason", ("{}",)),
        (AsksTwice, "many_calls_at_once_get_their_own_answers", ()),
        (GuessesPrices, "a_prompt_is_answered", ()),
        (GuessesPrices, "a_budget_counts_what_a_call_cost", ()),
        (RaisesRefusals, "a_refusal_is_a_stop_reason_not_an_error", ()),
        (HidesThatItWasCut, "an_answer_is_cut_at_max_tokens_and_says_so", ()),
        (HidesThatItWasCut, "json_that_was_cut_is_not_asked_for_again", ()),
        (TrimsWords, "words_arrive_as_they_were_written_both_ways", ()),
        (EndsSilently, "a_stream_that_breaks_off_says_so", ()),
        (BeginsAgain, "a_stream_that_breaks_off_says_so", ()),
        (WaitsForAllOfIt, "a_stream_gives_the_answer_piece_by_piece", ()),
        (PromisesTooLittle, "a_budget_refuses_before_anything_is_sent", ()),
        (PromisesTooLittle, "its_facts_name_what_the_interface_goes_by", ()),
        (NeverGivesUp, "the_caller_s_timeout_is_kept", ()),
        (CallsItNotApplied, "a_stream_that_breaks_off_says_so", ()),
        (RaisesItsOwn, "the_models_are_listed_with_prices_and_their_end", ()),
    ],
)
def test_the_suite_catches_a_faulty_adapter(parrot, monkeypatch, kind, test, values):
    monkeypatch.setattr("providers.testing.conformance._suite.PATIENCE", 1.0)
    monkeypatch.setattr("providers.testing.conformance.llm.PATIENCE", 1.0)
    with pytest.raises((AssertionError, pytest.fail.Exception, TimeoutError, KeyError, RejectedError)):
        getattr(LlmConformance(), f"test_{test}")(parrot(kind), *values)


def test_an_adapter_that_tells_its_secret_is_silenced(parrot):
    LlmConformance().test_a_stream_that_breaks_off_says_so(parrot(TellsItsSecret))


def test_the_suite_names_no_vendor():
    from providers.testing.conformance import _suite, llm

    source = "".join(inspect.getsource(module) for module in (_suite, llm)).lower()
    assert not [word for word in ("anthropic", "claude", "gateway", "openai", "parrot") if word in source]


def test_what_a_harness_cannot_show_is_skipped_with_its_reason(parrot):
    blind = replace(parrot(ParrotLlm), sent=None)
    with pytest.raises(pytest.skip.Exception, match="sent"):
        LlmConformance().test_a_conversation_goes_on(blind)
