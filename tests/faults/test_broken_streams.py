"""Answers that break off on the way, at a vendor's server that ends them on purpose: told, settled, never repeated."""

import asyncio
from contextlib import ExitStack
from decimal import Decimal

import pytest

from providers import Providers, Settings, catalog
from providers.core.errors import (
    BadResponseError,
    Outcome,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from providers.core.store import MemoryStore
from providers.llm import model_facts
from providers.llm.facts import ANTHROPIC
from providers.testing.servers import AnthropicServer, GatewayServer

MESSAGES = ("POST", "/v1/messages")
WORDS = "one two three four five six"


class Line:
    """Both vendors, the one with streams first."""

    def __init__(self, anthropic, gateway, clock, transport):
        self.anthropic, self.gateway, self.clock, self.transport = anthropic, gateway, clock, transport
        self.store = MemoryStore(clock)

    def open(self, **more):
        settings = Settings(
            mode="live",
            vendors={"llm": "anthropic,gateway"},
            environ=self.anthropic.env | self.gateway.env,
            env_file=None,
            **more,
        )
        return Providers(settings, clock=self.clock, transport=self.transport(), store=self.store)

    def said(self, **more):
        """The events of one answer, or the error instead of any; the requests that it took."""
        self.anthropic.script(*[WORDS] * 3)

        async def scenario():
            async with self.open(**more) as p:
                events = []
                try:
                    async for event in p.llm.stream("Count to six."):
                        events.append(event)  # noqa: PERF401 (kept on failure)
                except ProviderError as error:
                    return error
                return events

        outcome = asyncio.run(scenario())
        assert self.gateway.requests == () or outcome.operation == "llm.stream"
        assert {(request.method, request.path) for request in self.anthropic.requests} == {MESSAGES}
        return outcome, len(self.anthropic.requests)

    @property
    def counted(self):
        return [Decimal(total) / 1_000_000 for total, _ in self.store._counters.values()]


@pytest.fixture
def line(clock, transport):
    catalog.adapter_class(ANTHROPIC)
    with ExitStack() as stack:
        # Every event of a stream is written by itself.
        anthropic = stack.enter_context(AnthropicServer(clock=clock.time, chunk=1))
        gateway = stack.enter_context(GatewayServer(clock=clock.time))
        yield Line(anthropic, gateway, clock, transport)


def broken(line, after):
    line.anthropic.break_after(after, times=3)


def overloaded(line, after):
    line.anthropic.error_after(after, times=3)


@pytest.mark.parametrize(
    ("breaks", "kinds"),
    [(broken, {BadResponseError, ProviderUnavailableError}), (overloaded, {ProviderUnavailableError})],
)
def test_wherever_it_breaks_off_it_is_begun_again_before_its_first_event_and_never_after(line, breaks, kinds):
    begun, never_begun = [], []
    for after in range(9):
        line.anthropic.reset()
        breaks(line, after)
        outcome, requests = line.said()
        if isinstance(outcome, ProviderError):
            # The next vendor answers in one piece: why this one failed says more.
            assert outcome.vendor == "anthropic"
            assert requests == 3
            never_begun.append(after)
            continue
        begun.append(after)
        *before, last = outcome
        assert requests == 1
        assert last.type == "error"
        assert type(last.error) in kinds
        assert (last.error.vendor, last.error.operation) == ("anthropic", "llm.stream")
        assert last.error.outcome is Outcome.UNKNOWN
        # What came is there: the words, the tokens so far and what they cost.
        heard = "".join(event.text for event in before if event.type == "text")
        assert WORDS.startswith(heard)
        assert last.completion.text == heard
        assert last.completion.usage == last.usage == before[-1].usage
        assert last.usage.prompt_tokens > 0
        assert last.completion.cost == model_facts.cost(last.model, last.usage)
        assert last.completion.cost.amount > 0
    # A message, a block and a ping come before the first word.
    assert never_begun == [0, 1, 2, 3]
    assert begun == [4, 5, 6, 7, 8]


@pytest.mark.parametrize("breaks", [broken, overloaded])
def test_what_a_broken_stream_cost_is_counted_and_what_was_set_aside_for_it_is_not(line, breaks):
    breaks(line, 5)

    (*_, last), _ = line.said(budgets={"llm": "1 USD/day"})

    assert last.type == "error"
    assert line.counted == [last.completion.cost.amount]


def test_a_stream_that_says_nothing_any_more_ends_by_itself(line):
    line.anthropic.script(WORDS)
    line.anthropic.hold_after(5)

    async def scenario():
        async with line.open() as p:
            events = []

            async def listen():
                async for event in p.llm.stream("Count to six."):
                    events.append(event)  # noqa: PERF401 (it never ends)

            task = asyncio.create_task(listen())
            for _ in range(2000):
                if len(events) == 2:
                    break
                await asyncio.sleep(0.002)
            line.clock.advance(60)
            await task
            line.anthropic.release()
            return events

    *before, last = asyncio.run(scenario())
    assert [event.text for event in before] == ["one", " two"]
    assert type(last.error) is ProviderTimeoutError
    assert last.completion.text == "one two"
    assert len(line.anthropic.requests) == 1
    assert line.gateway.requests == ()


def test_who_leaves_early_ends_it_at_the_vendor_too(line):
    line.anthropic.script(f"{WORDS} " * 1500)
    line.anthropic.hold_after(4)

    async def scenario():
        async with line.open(budgets={"llm": "1 USD/day"}) as p:
            events = p.llm.stream("Count to six.", max_tokens=9000)
            first = await anext(events)
            await events.aclose()
            # It shows when the rest is written, once the end of the connection has come through.
            await asyncio.sleep(0.1)
            line.anthropic.release()
            for _ in range(2000):
                if line.anthropic.left:
                    break
                await asyncio.sleep(0.002)
            return first

    first = asyncio.run(scenario())
    assert line.anthropic.left == 1
    assert line.counted == [pytest.approx(model_facts.cost(first.model, first.usage).amount)]
    assert len(line.anthropic.requests) == 1
