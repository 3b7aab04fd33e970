"""Streams as they go over the wire: the order of events, where they are held, broken off, or end in an error."""

import asyncio
import json
import time
from pathlib import Path

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.testing.servers.anthropic import LOCAL_KEY, AnthropicServer, failure, refusal, text, thinking, tool_use

SAMPLES = Path(__file__).parent.parent / "data" / "anthropic"
HEADERS = {"anthropic-version": "2026-10-21"}
BODY = {
    "model": "claude-sonnet-5-5",
    "max_tokens": 5000,
    "stream": True,
    "messages": [{"role": "user", "content": "Describe the weatherproof pack."}],
}
DELTAS = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}


@pytest.fixture
def server(clock):
    with AnthropicServer(clock=clock) as started:
        yield started


def read(raw):
    """Events and their data."""
    found = []
    for block in raw.decode().split("\n\n")[:-1]:
        first, second = block.split("\n")
        name, data = first.removeprefix("event: "), json.loads(second.removeprefix("data: "))
        assert data["type"] == name
        found.append(data)
    return found


@pytest.fixture
def stream(call, server):
    def stream(on=server, **changes):
        answer = call(on, "POST", "/v1/messages", BODY | changes, headers=HEADERS)
        assert answer.status == 200, answer.body
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        return read(answer.body)

    return stream


def names(events):
    return [event["type"] for event in events]


def put_together(events):
    """The message of a complete stream."""
    message = events[0]["message"]
    for event in events[1:]:
        if event["type"] == "content_block_start":
            assert event["index"] == len(message["content"])
            message["content"].append(event["content_block"] | {"json": ""})
        elif event["type"] == "content_block_delta":
            block, delta = message["content"][event["index"]], event["delta"]
            if delta["type"] == "signature_delta":
                block["signature"] = delta["signature"]
            else:
                field = DELTAS[delta["type"]]
                into = "json" if field == "partial_json" else field
                block[into] += delta[field]
        elif event["type"] == "content_block_stop":
            block = message["content"][event["index"]]
            given = block.pop("json")
            if block["type"] == "tool_use":
                block["input"] = json.loads(given)
        elif event["type"] == "message_delta":
            message |= event["delta"]
            message["usage"] |= event["usage"]
    return message


def test_events_come_in_the_order_of_the_sample(server, stream):
    server.script("Carry day.")
    events = stream()
    sample = [each["data"] for each in json.loads((SAMPLES / "stream_events.json").read_text(encoding="utf-8"))]
    assert names(events) == names(sample)
    start, like = events[0]["message"], sample[0]["message"]
    assert start.keys() == like.keys()
    assert start["usage"].keys() >= like["usage"].keys()
    assert start["usage"]["output_tokens"] == 1
    assert events[1] == sample[1]
    assert [event["delta"]["text"] for event in events[3:5]] == ["Carry", " day."]
    assert events[6] == {**sample[6], "usage": {"output_tokens": 2}}


def test_the_wire_has_the_form_of_the_sample(call, server):
    server.script("Carry day.")
    raw = call(server, "POST", "/v1/messages", BODY, headers=HEADERS).body.decode()
    sample = (SAMPLES / "stream_text.sse").read_text(encoding="utf-8")
    assert [line.partition(": ")[0] for line in raw.split("\n")] == [
        line.partition(": ")[0] for line in sample.rstrip("\n").split("\n")
    ] + ["", ""]


@pytest.mark.parametrize(
    "reply",
    [
        text("A light pack.\n\nWith   straps. "),
        thinking("One thought.", hidden=False) + text("Then words.") + tool_use("get_stock", {"sku": "A 1", "n": [1]}),
        thinking() + tool_use("get_stock"),
        text("M\u00fcnchen \U0001f392 \u2028 end"),
        refusal("bio", "No.", after="It is"),
        refusal(None),
    ],
)
def test_a_stream_put_together_is_the_message(server, stream, reply):
    server.script(reply)
    assert put_together(stream()) == server.answers[0]


@settings(max_examples=30, deadline=None)
@given(words=st.text(st.characters(exclude_categories=["Cs"]), max_size=60), most=st.integers(1, 12))
def test_any_text_is_streamed_as_it_is(words, most):
    with AnthropicServer() as server:
        server.script(words, words)

        async def run():
            async with aiohttp.ClientSession(headers={**HEADERS, "x-api-key": LOCAL_KEY}) as session:
                bodies = []
                for streamed in (True, False):
                    body = BODY | {"stream": streamed, "max_tokens": most}
                    async with session.post(server.url + "/v1/messages", json=body) as response:
                        bodies.append(await response.read())
                return bodies

        streamed, whole = asyncio.run(run())
    message, other = put_together(read(streamed)), json.loads(whole)
    changing = {"id": None}
    assert message | changing == other | changing
    assert message["usage"]["output_tokens"] <= most


def test_a_stream_that_is_cut_says_so(server, stream):
    server.script("one two three")
    events = stream(max_tokens=2)
    assert events[-2]["delta"] == {"stop_reason": "max_tokens", "stop_sequence": None}
    assert events[-2]["usage"] == {"output_tokens": 2}


def test_what_was_kept_is_told_at_the_start(stream):
    marked = {"type": "text", "text": "word " * 2000, "cache_control": {"type": "ephemeral"}}
    prompt = [{"role": "user", "content": [marked]}]
    assert stream(messages=prompt)[0]["message"]["usage"]["cache_creation_input_tokens"] == 2000
    assert stream(messages=prompt)[0]["message"]["usage"]["cache_read_input_tokens"] == 2000


def test_what_is_refused_is_refused_before_the_stream(call, server):
    server.script(failure("overloaded_error"))
    for changes, status in (({}, 529), ({"max_tokens": "a"}, 400), ({"model": "x"}, 404)):
        answer = call(server, "POST", "/v1/messages", BODY | changes, headers=HEADERS)
        assert (answer.status, answer.json["type"]) == (status, "error")


def lost(server, **changes):
    """What came of a stream that breaks off."""

    async def run():
        raw = b""
        async with (
            aiohttp.ClientSession(headers={**HEADERS, "x-api-key": LOCAL_KEY}) as session,
            session.post(server.url + "/v1/messages", json=BODY | changes) as response,
        ):
            try:
                async for chunk in response.content.iter_any():
                    raw += chunk
            except aiohttp.ClientPayloadError:
                return read(raw), True
        return read(raw), False

    return asyncio.run(run())


@pytest.mark.parametrize("after", [0, 1, 2, 3, 7, 20, 62])
def test_a_stream_breaks_off_after_so_many_events(server, stream, after):
    whole = stream()
    server.break_after(after)
    events, broken = lost(server)
    assert (names(events), broken) == (names(whole)[:after], True)
    assert names(stream()) == names(whole)
    assert len(server.messages) == 3


def test_a_stream_ends_in_an_error_after_so_many_events(server, stream):
    whole = stream()
    server.error_after(4, times=2)
    server.error_after(9, "api_error")
    for after, kind in ((4, "overloaded_error"), (4, "overloaded_error"), (9, "api_error")):
        events, broken = lost(server)
        assert (names(events), broken) == ([*names(whole)[:after], "error"], False)
        assert events[-1]["error"]["type"] == kind
    assert names(stream())[-1] == "message_stop"


def test_a_stream_that_is_held_has_come_so_far_and_goes_on_when_released(server, stream):
    server.script("one two three four", "one two three four")
    server.hold_after(5)

    async def run():
        async with (
            aiohttp.ClientSession(headers={**HEADERS, "x-api-key": LOCAL_KEY}) as session,
            session.post(server.url + "/v1/messages", json=BODY) as response,
        ):
            raw = b""
            while raw.count(b"\n\n") < 5:
                raw += await response.content.readany()
            first = read(raw)
            server.release()
            return first, read(raw + await response.read())

    first, whole = asyncio.run(run())
    assert names(first) == names(whole)[:5]
    assert names(whole) == names(stream())


def test_a_stream_may_be_held_and_then_broken_off(server):
    server.hold_after(3)
    server.break_after(6)

    async def run():
        waiting = asyncio.create_task(asyncio.to_thread(lost, server))
        await server.received(1)
        while not server.messages:  # noqa: ASYNC110 - a thread fills it
            await asyncio.sleep(0.001)
        server.release()
        return await waiting

    events, broken = asyncio.run(run())
    assert (len(events), broken) == (6, True)


def test_a_client_that_leaves_is_noticed(server):
    server.chunk = 1
    server.script(" ".join(["word"] * 2000))
    server.hold_after(3)

    async def run():
        async with aiohttp.ClientSession(headers={**HEADERS, "x-api-key": LOCAL_KEY}) as session:
            response = await session.post(server.url + "/v1/messages", json=BODY)
            await response.content.readany()
            response.close()
        deadline = time.monotonic() + 5
        while not server.left and time.monotonic() < deadline:
            server.release()
            await asyncio.sleep(0.005)

    asyncio.run(run())
    assert server.left == 1


def test_staging_forgets_on_reset_and_takes_no_nonsense(server, stream):
    server.break_after(1)
    server.error_after(1)
    server.hold_after(1)
    server.script("scripted")
    server.overload()
    server.reset()
    assert names(stream())[-1] == "message_stop"
    with pytest.raises(ValueError, match="times"):
        server.break_after(1, times=0)


def test_a_long_stream_is_the_same_in_any_chunks(clock, stream):
    words = " ".join(f"w{number}" for number in range(2000))
    seen = []
    for chunk in (1, 7, 5000):
        with AnthropicServer(clock=clock, chunk=chunk) as server:
            server.script(words)
            seen.append(put_together(stream(server)))
    assert {message["content"][0]["text"] for message in seen} == {words}
    assert {message["usage"]["output_tokens"] for message in seen} == {2000}


def test_two_thousand_tokens_two_hundred_times_take_seconds(server):
    words = " ".join(f"w{number}" for number in range(2000))
    server.script(*[words] * 200)

    async def run():
        async with aiohttp.ClientSession(headers={**HEADERS, "x-api-key": LOCAL_KEY}) as session:
            sizes = set()
            for _ in range(200):
                async with session.post(server.url + "/v1/messages", json=BODY) as response:
                    sizes.add((await response.read()).count(b"text_delta"))
            return sizes

    started = time.process_time()
    assert asyncio.run(run()) == {2000}
    assert time.process_time() - started < 5
