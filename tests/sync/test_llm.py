"""Language models from threads that block: answers, values, streams that are left early, tools, batches."""

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from pydantic import BaseModel

from providers import Settings, sync
from providers.core.store import MemoryStore
from providers.errors import BudgetExceededError, InvalidRequestError, ProviderError, RejectedError
from providers.llm import (
    BatchOutcomeState,
    CompletionRequest,
    Message,
    StopReason,
    StreamEventType,
    Tool,
    ToolResult,
    model_facts,
)
from providers.testing.clock import ManualClock
from providers.testing.servers.anthropic import AnthropicServer

MAT = "Two lines about a bamboo yoga mat."
CHAT = " ".join(f"word{number}" for number in range(500))


class Copy(BaseModel):
    """What is written about a product."""

    headline: str
    price: Decimal


class FindStock(BaseModel):
    """How many are in stock."""

    sku: str


@pytest.fixture
def server():
    with AnthropicServer() as one:
        yield one


@pytest.fixture
def anthropic(server):
    settings = Settings(mode="live", vendors={"llm": "anthropic"}, environ=server.env, env_file=None)
    with sync.Providers(settings) as p:
        yield p


class Ledger(MemoryStore):
    """Knows what budgets hold now, in millionths."""

    spent = 0

    async def add(self, key, amount, *, ceiling=None, ttl=None):
        total = await super().add(key, amount, ceiling=ceiling, ttl=ttl)
        if key.startswith("budget/") and total is not None:
            self.spent = total
        return total


@pytest.fixture
def ledger():
    return Ledger(ManualClock())


@pytest.fixture
def limited(server, ledger):
    settings = Settings(
        mode="live", vendors={"llm": "anthropic"}, budgets={"llm": "1 USD/month"}, environ=server.env, env_file=None
    )
    with sync.Providers(settings, store=ledger) as p:
        yield p


def test_an_answer_and_a_value(demo):
    answer = demo.llm.complete(MAT, max_tokens=200, task="ad_copy")
    value = demo.llm.complete_json("Copy for a yoga mat.", Copy)

    assert answer.text
    assert answer.stop_reason is StopReason.END_TURN
    assert isinstance(value.value, Copy)
    assert demo.llm.count_tokens(MAT) > 0
    assert {info.vendor for info in demo.llm.models()} == {"demo"}


def test_errors_are_the_same(demo):
    with pytest.raises(InvalidRequestError, match="max_tokens"):
        demo.llm.complete(MAT, max_tokens=0)
    with pytest.raises(RejectedError):
        demo.llm.complete_json(f"{MAT} demo:refuse", Copy)
    with pytest.raises(ProviderError):
        list(demo.llm.stream(f"{MAT} demo:unavailable", timeout=1))


def test_a_stream_says_what_the_whole_answer_says(demo):
    whole = demo.llm.complete(MAT)
    *pieces, end = demo.llm.stream(MAT)

    assert "".join(event.text for event in pieces) == whole.text == end.completion.text
    assert (end.type, end.usage) == (StreamEventType.END, whole.usage)


def test_a_stream_that_breaks_off_ends_in_an_error_event(server, anthropic):
    server.script(CHAT)
    server.break_after(103)

    *pieces, last = anthropic.llm.stream(MAT)

    assert "".join(event.text for event in pieces) == " ".join(CHAT.split()[:100])
    assert (last.type, last.error.may_have_applied) == (StreamEventType.ERROR, True)
    assert len(server.messages) == 1


def test_a_stream_that_is_left_is_closed_at_the_vendor_and_settled(server, limited, ledger):
    server.script(CHAT)
    server.hold_after(103)

    with contextlib.closing(limited.llm.stream(MAT, max_tokens=1000)) as events:
        came = [next(events) for _ in range(100)]
        aside = ledger.spent
    after = ledger.spent

    assert after == model_facts.cost("claude-sonnet-5-5", came[-1].usage).amount * 1_000_000
    assert 0 < after < aside
    server.release()


def test_a_loop_that_is_broken_out_of_leaves_the_stream_too(server, limited, ledger):
    server.script(CHAT)
    server.hold_after(103)

    for event in limited.llm.stream(MAT, max_tokens=1000):
        if event.text:
            break

    assert ledger.spent == model_facts.cost("claude-sonnet-5-5", event.usage).amount * 1_000_000
    server.release()


def test_several_threads_stream_at_once(server, anthropic):
    def read(number):
        return "".join(event.text for event in anthropic.llm.stream(f"{MAT} No. {number}"))

    with ThreadPoolExecutor(16) as threads:
        streamed = list(threads.map(read, range(32)))
    assert streamed == [anthropic.llm.complete(f"{MAT} No. {number}").text for number in range(32)]


def test_threads_do_not_pass_a_budget_together(server):
    settings = Settings(
        mode="live", vendors={"llm": "anthropic"}, budgets={"llm": "20/month"}, environ=server.env, env_file=None
    )

    def ask(number):
        try:
            return p.llm.complete(f"{MAT} No. {number}")
        except BudgetExceededError:
            return None

    with sync.Providers(settings) as p, ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(ask, range(64)))
    assert sum(answer is not None for answer in answers) == 20
    assert len(server.messages) == 20


def test_the_loop_of_tools_without_an_await(demo):
    turns = [Message.user("Is CORK-1 in stock?")]
    while True:
        answer = demo.llm.complete(turns, tools=[Tool.of(FindStock)])
        if not answer.tool_calls:
            break
        turns += [
            answer.message,
            Message.user(*(ToolResult(call=call.id, content="41") for call in answer.tool_calls)),
        ]

    assert len(turns) == 3
    assert "41" in answer.text


def test_a_batch_from_its_making_to_its_results():
    clock = ManualClock()
    with sync.Providers(Settings(mode="demo", environ={}, env_file=None), clock=clock) as p:
        request = CompletionRequest(messages=(Message.user(MAT),))
        batch = p.llm.create_batch({"mat": request, "block": request}, idempotency_key="night-7")
        assert [each.ref for each in p.llm.batches()] == [batch.ref]
        clock.advance(86_400)
        outcomes = {outcome.key: outcome for outcome in p.llm.batch_results(batch.ref)}

    assert set(outcomes) == {"mat", "block"}
    assert {outcome.state for outcome in outcomes.values()} == {BatchOutcomeState.SUCCEEDED}


def test_in_a_running_loop_it_says_what_to_use_instead(demo):
    async def main():
        with pytest.raises(RuntimeError, match="await"):
            demo.llm.complete(MAT)
        with pytest.raises(RuntimeError, match="await"):
            next(demo.llm.stream(MAT))

    asyncio.run(main())
