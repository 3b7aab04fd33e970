"""A chat of 2,000 tokens: broken off, failed and left at every tenth event in turn, and handed on as it comes."""

import asyncio
import statistics
import time
from contextlib import aclosing
from dataclasses import replace
from decimal import ROUND_CEILING

import pytest

from providers import Providers, Settings, catalog
from providers.core.transport_aiohttp import AiohttpTransport
from providers.errors import BadResponseError, ProviderError, ProviderTimeoutError, ProviderUnavailableError
from providers.llm import DemoLlm, StopReason, StreamEventType, Text, model_facts
from providers.llm.facts import DEMO
from providers.llm.tokens import reckon
from providers.testing.servers import Fault
from providers.testing.servers.anthropic import refusal, thinking, tool_use
from providers.testing.servers.anthropic import text as says

TOKENS = 2_000
WORDS = [f" word{number}" for number in range(TOKENS)]
CHAT = "".join(WORDS).strip()
PIECES = [WORDS[0].strip(), *WORDS[1:]]
PROMPT = "Tell me all about the bamboo yoga mat."

FIRST = 3
"""Events before the first piece: the message starts, its block starts, a ping."""

LEAVES_ENOUGH = 1_800
"""Events after which there is so much left that the server cannot but see that nobody reads it."""

EVERY_TENTH = range(10, TOKENS + 10, 10)
PATIENCE = 120.0
"""Seconds after which something must be wrong: places that do not come free, say."""

QUIET = 300.0
"""Seconds after which a vendor that failed often is asked again."""

MODEL = "claude-sonnet-5-5"
HELD = {"llm": "100 USD/month"}


def micros(money):
    return int((money.amount * 1_000_000).to_integral_value(ROUND_CEILING))


def cost(usage):
    return micros(model_facts.cost(MODEL, usage))


async def collect(llm, prompt=PROMPT, **options):
    return [event async for event in llm.stream(prompt, max_tokens=2_500, **options)]


async def read_into(came, llm):
    async for event in llm.stream(PROMPT, max_tokens=2_500):
        came.append(event)


def pieces(events):
    return [event.text for event in events if event.type is StreamEventType.TEXT]


class SecondLlm(DemoLlm):
    """Another vendor that could go on, if anybody asked it."""

    facts = replace(DEMO, vendor="second", title="Second")
    asked = 0

    async def stream(self, request):
        type(self).asked += 1
        async with aclosing(super().stream(request)) as events:
            async for event in events:
                yield event


@pytest.fixture
def two(anthropic, monkeypatch):
    """Anthropic, and a second vendor that is named after it."""

    class Entry:
        def load(self):
            return SecondLlm

    monkeypatch.setattr(catalog, "_plugins", lambda: {"llm.second": Entry()})
    monkeypatch.setattr(SecondLlm, "asked", 0)
    anthropic.env["PROVIDER_LLM"] = "anthropic,second"
    return anthropic


class Books:
    """What one call after another adds to a budget."""

    def __init__(self, side):
        self.side, self.before, self.asked = side, 0, 0

    def check(self, events, *, prompt_tokens):
        """After a call: what is counted is what came, at least, and at most what was set aside. Once, by one vendor."""
        last = events[-1]
        spent, aside = self.side.store.money() - self.before, self.side.store.set_aside
        assert 0 < cost(last.usage) == spent <= aside
        self.before += spent
        self.asked += 1
        assert self.side.asked == self.asked
        assert last.usage.prompt_tokens == prompt_tokens


def test_a_chat_broken_off_at_every_tenth_event_ends_in_one_error_that_says_what_came(two):
    async def scenario():
        books = Books(two)
        async with two.open(budgets=HELD) as p:
            prompt_tokens = await p.llm.count_tokens(PROMPT)
            two.calls.clear()
            for after in EVERY_TENTH:
                two.says(CHAT)
                two.server.break_after(after)
                *before, last = await collect(p.llm)
                assert pieces(before) == PIECES[: after - FIRST]
                assert len(before) == after - FIRST
                assert last.type is StreamEventType.ERROR
                assert isinstance(last.error, ProviderError)
                assert last.error.may_have_applied
                assert (last.error.vendor, last.error.operation) == ("anthropic", "llm.stream")
                assert not last.usage.exact
                assert after - FIRST <= last.usage.output_tokens <= 2_500
                partial = last.completion
                assert partial.text == "".join(PIECES[: after - FIRST])
                assert (partial.usage, partial.stop_reason, partial.model) == (last.usage, None, MODEL)
                books.check([*before, last], prompt_tokens=prompt_tokens)
                two.clock.advance(QUIET)

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE))
    assert len(two.calls) == len(EVERY_TENTH) == 200
    assert two.asked == 200
    assert SecondLlm.asked == 0


def test_an_error_in_the_middle_at_every_tenth_event_ends_it_as_well(two):
    async def scenario():
        books = Books(two)
        async with two.open(budgets=HELD) as p:
            prompt_tokens = await p.llm.count_tokens(PROMPT)
            two.calls.clear()
            for after in EVERY_TENTH:
                two.says(CHAT)
                two.server.error_after(after)
                *before, last = await collect(p.llm)
                assert pieces(before) == PIECES[: after - FIRST]
                assert len(before) == after - FIRST
                assert last.type is StreamEventType.ERROR
                assert isinstance(last.error, ProviderUnavailableError)
                assert (last.error.code, last.error.may_have_applied) == ("overloaded_error", True)
                assert last.completion.text == "".join(PIECES[: after - FIRST])
                books.check([*before, last], prompt_tokens=prompt_tokens)
                two.clock.advance(QUIET)

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE))
    assert len(two.calls) == 200
    assert SecondLlm.asked == 0


def test_a_chat_left_at_every_tenth_event_is_ended_at_the_vendor_and_settled(two):
    two.server.pace = 1e-6  # between two writes it sees who has left

    async def scenario():
        books = Books(two)
        async with two.open(budgets=HELD) as p:
            prompt_tokens = await p.llm.count_tokens(PROMPT)
            two.calls.clear()
            for number, after in enumerate(EVERY_TENTH, 1):
                two.says(CHAT)
                # What comes after is written once we have gone.
                two.server.hold_after(after)
                events = []
                async with aclosing(p.llm.stream(PROMPT, max_tokens=2_500)) as stream:
                    async for event in stream:
                        events.append(event)
                        if len(events) == after - FIRST:
                            break
                await asyncio.sleep(0.01)  # so long a goodbye may take
                two.server.release()
                assert pieces(events) == PIECES[: after - FIRST]
                assert not events[-1].usage.exact
                books.check(events, prompt_tokens=prompt_tokens)
                if after <= LEAVES_ENOUGH:
                    await two.until(lambda number=number: two.server.left == number)

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE))
    assert len(two.calls) == 200
    assert {type(call.error) for call in two.calls} == {type(None)}
    assert SecondLlm.asked == 0


def test_a_chat_that_is_not_disturbed_comes_word_by_word_and_is_exact(anthropic):
    async def scenario():
        async with anthropic.open(budgets=HELD) as p:
            anthropic.says(CHAT)
            return await collect(p.llm)

    *before, end = asyncio.run(scenario())
    assert pieces(before) == PIECES
    assert end.type is StreamEventType.END
    assert end.completion.text == CHAT
    assert end.completion.stop_reason is StopReason.END_TURN
    assert (end.usage.output_tokens, end.usage.exact) == (TOKENS, True)
    assert end.usage == end.completion.usage
    assert end.completion.message.parts == (Text(text=CHAT),)
    assert anthropic.store.money() == micros(end.completion.cost)
    counts = [event.usage.output_tokens for event in before]
    assert counts == sorted(counts)


@pytest.mark.parametrize("after", [10, 100, 1_000])
def test_who_reads_slowly_gets_all_that_came_before_the_break(anthropic, after):
    """The break may be there before the first piece is read."""

    async def scenario():
        came = []
        async with anthropic.open() as p:
            anthropic.says(CHAT)
            anthropic.server.break_after(after)
            async for event in p.llm.stream(PROMPT, max_tokens=2_500):
                await asyncio.sleep(0.05 if not came else 0)
                came.append(event)
        return came

    *before, last = asyncio.run(scenario())
    assert pieces(before) == PIECES[: after - FIRST]
    assert last.type is StreamEventType.ERROR
    assert last.completion.text == "".join(pieces(before))


def test_before_the_first_piece_it_is_asked_again_and_then_the_next_vendor(two):
    """Nothing has come yet: whoever answers begins at the beginning."""

    async def scenario():
        async with two.open(budgets=HELD) as p:
            two.says(CHAT, CHAT, CHAT)
            two.server.break_after(FIRST, times=3)
            return await collect(p.llm)

    events = asyncio.run(scenario())
    assert two.asked_now() == 3
    assert SecondLlm.asked == 1
    assert {event.vendor for event in events} == {"demo"}
    assert events[-1].type is StreamEventType.END


def test_the_gateway_which_cannot_stream_is_not_asked(anthropic, sides):
    with sides("gateway") as gateway:
        anthropic.env |= gateway.env | {"PROVIDER_LLM": "gateway,anthropic"}

        async def scenario():
            async with anthropic.open() as p:
                anthropic.says("Hello there.")
                return await collect(p.llm)

        events = asyncio.run(scenario())
        assert events[-1].completion.text == "Hello there."
        assert gateway.asked_now() == 0


def test_places_are_free_again_after_streams_that_broke_or_were_left(anthropic):
    """64 at once are allowed: 15 break, 15 are left, and 64 go on."""

    async def scenario():
        async with anthropic.open() as p:
            for _ in range(15):
                anthropic.server.break_after(20)
                await collect(p.llm)
                anthropic.clock.advance(QUIET)
                events = p.llm.stream(PROMPT, max_tokens=2_500)
                await anext(events)
                await events.aclose()
            anthropic.server.hold_after(5, times=64)
            asked = anthropic.asked_now()
            calls = [asyncio.create_task(collect(p.llm)) for _ in range(64)]
            await anthropic.until(lambda: anthropic.asked_now() == asked + 64)
            # The 65th has to wait.
            late = asyncio.create_task(collect(p.llm))
            await asyncio.sleep(0.05)
            assert anthropic.asked_now() == asked + 64
            anthropic.server.release()
            done = await asyncio.gather(*calls, late)
            assert {events[-1].type for events in done} == {StreamEventType.END}

    asyncio.run(scenario())


def test_a_reader_that_is_cancelled_ends_the_stream_too(anthropic):
    async def scenario():
        async with anthropic.open(budgets=HELD) as p:
            anthropic.says(CHAT)
            anthropic.server.hold_after(100)
            came = []
            reader = asyncio.create_task(read_into(came, p.llm))
            await anthropic.until(lambda: len(came) == 100 - FIRST)
            reader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reader
            anthropic.server.release()
            await anthropic.until(lambda: anthropic.server.left == 1)
            return came

    came = asyncio.run(scenario())
    assert anthropic.store.money() == cost(came[-1].usage) < anthropic.store.set_aside


def test_a_stream_that_stops_coming_is_ended_after_a_minute(anthropic):
    anthropic.clock.auto = False

    async def scenario():
        async with anthropic.open() as p:
            anthropic.says(CHAT)
            anthropic.server.hold_after(100)
            came = []
            reader = asyncio.create_task(read_into(came, p.llm))
            await anthropic.until(lambda: len(came) == 100 - FIRST)
            anthropic.clock.advance(59)
            await asyncio.sleep(0.02)
            assert not reader.done()
            anthropic.clock.advance(1)
            await reader
            anthropic.server.release()
            return came

    *before, last = asyncio.run(scenario())
    assert last.type is StreamEventType.ERROR
    assert isinstance(last.error, ProviderTimeoutError)
    assert last.completion.text == "".join(pieces(before)) == "".join(PIECES[: 100 - FIRST])
    assert anthropic.asked == 1


def test_the_deadline_is_for_all_of_a_stream(anthropic):
    anthropic.clock.auto = False

    async def scenario():
        async with anthropic.open() as p:
            anthropic.says(CHAT)
            anthropic.server.hold_after(10)
            events = p.llm.stream(PROMPT, max_tokens=2_500, timeout=30)
            came = [await anext(events) for _ in range(10 - FIRST)]
            waiting = asyncio.create_task(anext(events))
            await asyncio.sleep(0.02)
            anthropic.clock.advance(30)
            last = await waiting
            anthropic.server.release()
            assert [event async for event in events] == []
            return came, last

    _, last = asyncio.run(scenario())
    assert isinstance(last.error, ProviderTimeoutError)


def test_a_refusal_in_the_middle_is_an_end_and_no_error(anthropic):
    async def scenario():
        async with anthropic.open() as p:
            anthropic.server.script(refusal("cyber", "No more of this.", after="Well, first"))
            return await collect(p.llm)

    *before, end = asyncio.run(scenario())
    assert "".join(pieces(before)) == "Well, first"
    assert end.type is StreamEventType.END
    assert end.completion.stop_reason is StopReason.REFUSAL
    assert end.completion.refusal.explanation == "No more of this."


def test_thinking_words_and_tools_come_in_their_order(anthropic):
    async def scenario():
        async with anthropic.open() as p:
            anthropic.server.script(
                thinking("Which mat?", hidden=False) + says("Let me look.") + tool_use("get_stock", {"sku": "A1"})
            )
            return await collect(p.llm)

    *before, end = asyncio.run(scenario())
    kinds = list(dict.fromkeys(event.type for event in before))
    assert kinds == [StreamEventType.THINKING, StreamEventType.TEXT, StreamEventType.TOOL_CALL]
    assert before[-1].tool_call == end.completion.tool_calls[0]
    assert before[-1].tool_call.input == {"sku": "A1"}
    assert end.completion.text == "Let me look."
    assert end.completion.stop_reason is StopReason.TOOL_USE


def test_a_tool_call_that_is_cut_off_is_not_handed_on(anthropic):
    async def scenario():
        async with anthropic.open() as p:
            anthropic.server.script(says("Let me look.") + tool_use("get_stock", {"skus": ["A1", "A2", "A3"]}))
            anthropic.server.break_after(12)
            return await collect(p.llm)

    *before, last = asyncio.run(scenario())
    assert {event.type for event in before} == {StreamEventType.TEXT}
    assert last.type is StreamEventType.ERROR
    assert last.completion.tool_calls == ()
    assert last.usage.output_tokens >= reckon("Let me look.")


def test_an_answer_that_is_not_a_stream_at_all_is_an_error_before_the_first_event(anthropic):
    anthropic.server.stage(Fault.json(200, {"hello": "there"}), times=None)

    async def scenario():
        async with anthropic.open() as p:
            with pytest.raises(BadResponseError):
                await collect(p.llm)

    asyncio.run(scenario())


# The demo breaks off and is left in the same way.


def test_the_demo_broken_off_in_the_middle_says_what_came(demo):
    async def scenario():
        async with demo.open(budgets=HELD) as p:
            whole = await collect(p.llm, f"{PROMPT} In 200 words.")
            settled = demo.store.money()
            broken = await collect(p.llm, f"{PROMPT} In 200 words. demo:breakoff")
            return whole, settled, broken, demo.store.money() - settled

    whole, settled, (*before, last), spent = asyncio.run(scenario())
    assert settled == micros(whole[-1].completion.cost)
    assert last.type is StreamEventType.ERROR
    assert isinstance(last.error, ProviderUnavailableError)
    assert 0 < len(before) < len(whole)
    assert last.completion.text == "".join(pieces(before))
    assert spent == micros(last.completion.cost) > 0


def test_the_demo_left_at_every_tenth_event_is_settled(demo):
    prompt = f"{PROMPT} In 300 words."

    async def scenario():
        async with demo.open(budgets=HELD) as p:
            whole = await collect(p.llm, prompt)
            counted = demo.store.money()
            for after in range(10, len(whole), 10):
                async with aclosing(p.llm.stream(prompt, max_tokens=2_500)) as stream:
                    events = [await anext(stream) for _ in range(after)]
                assert events == whole[:after]
                spent = demo.store.money() - counted
                assert 0 < micros(model_facts.cost("demo-1", events[-1].usage)) == spent <= demo.store.set_aside
                counted += spent

    asyncio.run(scenario())


# How soon.


class Watched(AiohttpTransport):
    """Notes when bytes of a reply have come in, and when more are asked for."""

    def __init__(self):
        super().__init__()
        self.notes = []

    async def stream(self, request):
        reply = await super().stream(request)
        reply.chunks = self._watched(reply.chunks)
        return reply

    async def _watched(self, chunks):
        async for chunk in chunks:
            self.notes.append((chunk.count(b"text_delta"), time.perf_counter()))
            yield chunk


def test_a_token_is_handed_on_within_a_millisecond_and_before_the_next_is_waited_for(anthropic):
    anthropic.server.chunk, anthropic.server.pace = 1, 0.002
    words = "".join(WORDS[:300]).strip()
    transport = Watched()

    async def scenario():
        settings = Settings(environ=anthropic.env, env_file=None)
        async with Providers(settings, clock=anthropic.clock, transport=transport) as p:
            anthropic.says(words)
            handed = 0
            took = []
            async for event in p.llm.stream(PROMPT, max_tokens=1_000):
                now = time.perf_counter()
                if event.type is StreamEventType.TEXT:
                    handed += 1
                    # Several that came at once are handed on one after another.
                    came = sum(count for count, _ in transport.notes)
                    last, at = transport.notes[-1]
                    assert came - last < handed <= came
                    took.append((now - at) / (handed - (came - last)))
            return took

    took = asyncio.run(scenario())
    assert len(took) == 300
    assert statistics.median(took) < 0.001
