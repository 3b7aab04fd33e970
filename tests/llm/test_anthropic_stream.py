"""Answers of Anthropic's as they come, chopped and broken off anywhere; its own library reads the same as a judge."""

import asyncio
import json
import time
from contextlib import aclosing
from decimal import Decimal
from pathlib import Path

import anthropic
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import Providers, Settings
from providers.core.errors import (
    BadResponseError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
)
from providers.core.operation import Effect, Operation
from providers.core.transport import HttpResponse, HttpStream
from providers.llm import BatchOutcomeState, CompletionRequest, Message, StopReason, StreamEventType
from providers.testing.clock import ManualClock
from providers.testing.servers import Fault, FaultServer

DATA = Path(__file__).parent.parent / "data" / "anthropic"
TEXT, THINKING, TOOL_CALL, END = (
    StreamEventType.TEXT,
    StreamEventType.THINKING,
    StreamEventType.TOOL_CALL,
    StreamEventType.END,
)
REQUEST = CompletionRequest(messages=(Message.user("Hi"),))


def sample(name):
    return json.loads((DATA / f"{name}.json").read_text())


def start(index, **block):
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index, kind, **more):
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **more}}


def stop(index):
    return {"type": "content_block_stop", "index": index}


BEGIN = {
    "type": "message_start",
    "message": sample("message_text")
    | {
        "content": [],
        "stop_reason": None,
        "usage": {"input_tokens": 21, "output_tokens": 1, "cache_read_input_tokens": 100},
    },
}
PING = {"type": "ping"}
OVER = [
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"input_tokens": 22, "output_tokens": 40, "cache_read_input_tokens": None},
    },
    {"type": "message_stop"},
]
CITATION = {
    "type": "char_location",
    "cited_text": "x",
    "document_index": 0,
    "document_title": None,
    "start_char_index": 0,
    "end_char_index": 1,
    "file_id": None,
}
WHOLE = [
    BEGIN,
    start(0, type="thinking", thinking="", signature=""),
    PING,
    delta(0, "thinking_delta", thinking="Let me "),
    delta(0, "thinking_delta", thinking="see."),
    delta(0, "signature_delta", signature="b3du"),
    stop(0),
    start(1, type="text", text=""),
    PING,
    delta(1, "text_delta", text="Größe "),
    delta(1, "text_delta", text="\N{ROCKET}\u2028 "),
    delta(1, "citations_delta", citation=CITATION),
    delta(1, "text_delta", text="\r\nis 5."),
    stop(1),
    start(2, type="tool_use", id="toolu_1", name="get_stock", input={}),
    delta(2, "input_json_delta", partial_json=""),
    delta(2, "input_json_delta", partial_json='{"sku": "A'),
    delta(2, "input_json_delta", partial_json='1", "n": [1, 2]}'),
    stop(2),
    start(3, type="tool_use", id="toolu_2", name="now", input={}),
    stop(3),
    *OVER,
]


def sse(events):
    """As the vendor writes it."""
    return b"".join(
        f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode() for event in events
    )


class Wire:
    """Answers with these pieces, one after another; a piece that is an error is raised. Counts what is closed."""

    def __init__(self, pieces, status=200, headers=(), before=b""):
        self.pieces, self.status = pieces, status
        self.headers = {"content-type": "text/event-stream", "request-id": "req_1", **dict(headers)}
        self.before = before
        self.closed = self.given = 0
        self.requests = []

    async def send(self, request):
        self.requests.append(request)
        await asyncio.sleep(0)
        return HttpResponse(200, {}, self.before)

    async def stream(self, request):
        self.requests.append(request)
        await asyncio.sleep(0)
        return HttpStream(self.status, self.headers, self.chunks(), self.close)

    async def chunks(self):
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            await asyncio.sleep(0)
            self.given += 1
            yield piece

    async def close(self):
        self.closed += 1

    async def aclose(self):
        pass


def opened(wire, clock=None):
    settings = Settings(
        mode="live",
        vendors={"llm": "anthropic"},
        credentials={"ANTHROPIC_API_KEY": "sk-ant-canary0123456789"},
        environ={},
        env_file=None,
    )
    return Providers(settings, clock=clock or ManualClock(), transport=wire)


ONE_STREAM = Operation(name="llm.anything", effect=Effect.IDEMPOTENT, attempts=1, streams=True)


def told(wire, limit=None):
    """The adapter's events, and the error that ends them if one does, as the pipeline names it."""

    async def scenario():
        events = []
        async with opened(wire) as providers:
            source = providers.llm._route.stream(ONE_STREAM, lambda adapter: adapter.stream(REQUEST))
            try:
                async with aclosing(source) as stream:
                    async for event in stream:
                        events.append(event)
                        if len(events) == limit:
                            break
            except ProviderError as error:
                return events, error
        return events, None

    return asyncio.run(scenario())


def judged(content):
    """What the library makes of the same bytes."""

    def answer(request):
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=content)

    async def scenario():
        http = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
        async with anthropic.AsyncAnthropic(api_key="k", http_client=http, max_retries=0) as client:
            ask = {"model": "claude-sonnet-5-5", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
            async with client.messages.stream(**ask) as stream:
                return await stream.get_final_message()

    return asyncio.run(scenario())


def test_each_part_comes_as_what_it_is():
    events, error = told(Wire([sse(WHOLE)]))
    assert error is None
    assert [(event.type, event.text) for event in events] == [
        (THINKING, ""),
        (THINKING, ""),
        (THINKING, "Let me "),
        (THINKING, "see."),
        (TEXT, "Größe "),
        (TEXT, "\N{ROCKET}\u2028 "),
        (TEXT, "\r\nis 5."),
        (TOOL_CALL, ""),
        (TOOL_CALL, ""),
        (END, ""),
    ]
    assert [(event.tool_call.id, event.tool_call.input) for event in events if event.tool_call] == [
        ("toolu_1", {"sku": "A1", "n": [1, 2]}),
        ("toolu_2", {}),
    ]
    assert {(event.vendor, event.model) for event in events} == {("anthropic", "claude-sonnet-5-5")}


def without_nulls(value):
    if isinstance(value, list):
        return [without_nulls(each) for each in value]
    if isinstance(value, dict):
        return {key: without_nulls(each) for key, each in value.items() if each is not None}
    return value


def test_the_end_is_what_the_library_makes_of_it():
    content = sse(WHOLE)
    events, _ = told(Wire([content]))
    found, judge = events[-1].completion, judged(content)
    assert without_nulls(found.raw["content"]) == without_nulls([block.model_dump() for block in judge.content])
    assert found.text == "".join(block.text for block in judge.content if block.type == "text")
    assert found.stop_reason == StopReason(judge.stop_reason)
    assert found.usage.output_tokens == judge.usage.output_tokens == 40
    assert found.usage.input_tokens == judge.usage.input_tokens == 22
    assert found.usage.cache_read_tokens == 100
    assert found.request_id == "req_1"
    assert found.usage.exact
    # 22 x 2 + 100 x 0.10 + 40 x 10 millionths.
    assert str(found.cost) == "0.000454 USD"


def test_the_sample_of_the_vendor_sheet():
    events, error = told(Wire([(DATA / "stream_text.sse").read_bytes()]))
    assert error is None
    assert [(event.type, event.text) for event in events] == [(TEXT, "Carry your "), (TEXT, "whole day."), (END, "")]
    assert (events[-1].usage.output_tokens, events[-1].completion.text) == (7, "Carry your whole day.")


def test_what_was_used_is_told_with_every_event_and_is_final_at_the_end_only():
    events, _ = told(Wire([sse(WHOLE)]))
    *before, end = [event.usage for event in events]
    assert {usage.input_tokens + usage.cache_read_tokens for usage in before} == {121}
    outputs = [usage.output_tokens for usage in before]
    assert outputs == sorted(outputs)
    assert outputs[0] == 1
    # Bytes by three, of thinking, text and input.
    assert outputs[-1] == -(-len("Let me see.Größe \N{ROCKET}\u2028 \r\nis 5.{'sku': 'A1', 'n': [1, 2]}".encode()) // 3)
    assert not any(usage.exact for usage in before)
    assert end.exact


@given(st.data())
def test_where_the_bytes_are_cut_makes_no_difference(data):
    content = sse(WHOLE)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=12)))
    pieces = [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True)]
    events, error = told(Wire(pieces))
    assert error is None
    assert events == EXPECTED


EXPECTED, _ = told(Wire([sse(WHOLE)]))


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"])
def test_lines_may_end_as_they_like(ends):
    content = sse([event for event in WHOLE if "\\r" not in json.dumps(event)]).replace(b"\n", ends)
    events, error = told(Wire([bytes([each]) for each in content]))
    assert error is None
    assert events[-1].type is END


def test_what_nobody_knows_is_passed_over():
    odd = [
        BEGIN,
        {"type": "message_dream", "delta": 5},
        start(0, type="server_tool_use", id="srv_1", name="web_search", input={}),
        delta(0, "input_json_delta", partial_json='{"query": "x"}'),
        stop(0),
        start(1, type="hologram", data="x"),
        delta(1, "light_delta", light="red"),
        stop(1),
        start(2, type="text", text=""),
        delta(2, "text_delta", text="Hi"),
        delta(2, "compaction_delta", content="x"),
        stop(2),
        *OVER,
    ]
    events, error = told(Wire([b": a comment\n\nid: 7\nretry: 5\n\n" + sse(odd)]))
    assert error is None
    assert [(event.type, event.text) for event in events] == [(TEXT, "Hi"), (END, "")]
    kinds = [part.type for part in events[-1].completion.message.content]
    assert kinds == ["opaque", "opaque", "text"]


BROKEN = {
    "input that is no JSON": (
        [
            BEGIN,
            start(0, type="tool_use", id="t", name="n", input={}),
            delta(0, "input_json_delta", partial_json="{"),
            stop(0),
        ],
        "tool_input",
    ),
    "input that is no object": (
        [
            BEGIN,
            start(0, type="tool_use", id="t", name="n", input={}),
            delta(0, "input_json_delta", partial_json="[1]"),
            stop(0),
        ],
        "tool_input",
    ),
    "a piece of nothing": ([BEGIN, delta(0, "text_delta", text="x")], "reply"),
    "the end of nothing": ([BEGIN, stop(0)], "reply"),
    "no beginning": ([{"type": "message_stop"}], "reply"),
    "an end before the beginning": ([OVER[0]], "reply"),
    "a block without an end": ([BEGIN, start(0, type="text", text=""), *OVER], "reply"),
    "no end": ([BEGIN], "truncated"),
    "nothing": ([], "truncated"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_not_as_documented_is_a_bad_response(case):
    events, code = BROKEN[case]
    wire = Wire([sse(events)])
    _, error = told(wire)
    assert isinstance(error, BadResponseError)
    assert error.code == code
    assert wire.closed


@pytest.mark.parametrize(
    "content", [b"data: {\n\n", b"data: 5\n\n", b"data: \xff\n\n", b"<html>\n\n", b'{"type": "error"}']
)
def test_what_is_no_stream_is_a_bad_response(content):
    _, error = told(Wire([content]))
    assert isinstance(error, BadResponseError)


@pytest.mark.parametrize("after", range(len(WHOLE)))
def test_a_stream_that_ends_too_early_never_passes_for_an_answer(after):
    wire = Wire([sse(WHOLE[:after])])
    events, error = told(wire)
    assert isinstance(error, BadResponseError)
    assert error.code == "truncated"
    assert error.may_have_applied
    assert END not in {event.type for event in events}
    assert wire.closed


ERRORS = {
    "overloaded_error": ProviderUnavailableError,
    "api_error": ProviderUnavailableError,
    "rate_limit_error": RateLimitedError,
    "invalid_request_error": InvalidRequestError,
    "not_found_error": NotFoundError,
    "an_error_of_tomorrow": ProviderUnavailableError,
}


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_event_is_the_error_of_its_type(kind, begun):
    failure = {"type": "error", "error": {"type": kind, "message": "Sorry."}, "request_id": "req_2"}
    wire = Wire([sse([*(WHOLE[:12] if begun else []), failure])])
    events, error = told(wire)
    assert type(error) is ERRORS[kind]
    assert (error.code, error.status, error.request_id) == (kind, None, "req_2")
    # What has begun is read and may be charged.
    assert error.outcome is (Outcome.UNKNOWN if begun else Outcome.NOT_APPLIED)
    assert bool(events) is begun
    assert wire.closed


def test_through_the_public_surface_it_ends_in_an_error_event_and_nothing_is_asked_again():
    failure = {"type": "error", "error": {"type": "overloaded_error", "message": "Sorry."}}
    wire = Wire([sse([*WHOLE[:12], failure])])

    async def scenario():
        async with opened(wire) as providers:
            return [event async for event in providers.llm.stream("Hi")]

    events = asyncio.run(scenario())
    assert events[-1].type is StreamEventType.ERROR
    assert isinstance(events[-1].error, ProviderUnavailableError)
    assert events[-1].completion.text == "Größe \N{ROCKET}\u2028 "
    assert len(wire.requests) == 1


def test_an_overloaded_vendor_is_asked_again_while_nothing_was_said():
    wire = Wire([sse([{"type": "error", "error": {"type": "overloaded_error"}}])])

    async def scenario():
        async with opened(wire) as providers:
            return [event async for event in providers.llm.stream("Hi")]

    with pytest.raises(ProviderUnavailableError):
        asyncio.run(scenario())
    assert len(wire.requests) == wire.closed == 3


def test_a_refusal_of_a_stream_is_read_whole_and_named():
    body = json.dumps({"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}).encode()
    wire = Wire([body[:10], body[10:]], 429, {"content-type": "application/json", "retry-after": "7"})

    async def scenario():
        async with opened(wire, ManualClock()) as providers:
            return [event async for event in providers.llm.stream("Hi", timeout=5)]

    with pytest.raises(RateLimitedError) as error:
        asyncio.run(scenario())
    assert (error.value.code, error.value.status, error.value.retry_after) == ("rate_limit_error", 429, 7.0)
    assert wire.closed == len(wire.requests)


def test_a_connection_that_is_lost_is_what_our_transport_says():
    lost = ProviderUnavailableError("the connection was lost before the reply", code="connection_lost")
    wire = Wire([sse(WHOLE[:10]), lost])
    events, error = told(wire)
    assert error is lost
    assert events[-1].type is TEXT
    assert wire.closed


@pytest.mark.parametrize("limit", range(1, 10))
def test_who_leaves_early_closes_the_reply(limit):
    wire = Wire([sse([event]) for event in WHOLE])
    events, error = told(wire, limit)
    assert (len(events), error) == (limit, None)
    assert wire.closed
    assert wire.given < len(WHOLE)


def test_a_reply_is_read_to_its_end_so_that_its_connection_can_be_used_again():
    wire = Wire([sse(WHOLE), b"", b"\n\n"])
    told(wire)
    assert wire.given == 3
    with FaultServer() as server:
        server.stage(Fault.status(200, {"Content-Type": "text/event-stream"}, sse(WHOLE)), times=None)

        async def scenario():
            settings = Settings(
                mode="live",
                vendors={"llm": "anthropic"},
                credentials={"ANTHROPIC_API_KEY": "sk-ant-canary0123456789"},
                base_urls={"anthropic": server.url},
                environ={},
                env_file=None,
            )
            async with Providers(settings) as providers:
                for _ in range(3):
                    assert [event.type async for event in providers.llm.stream("Hi")][-1] is END

        asyncio.run(scenario())
        assert (len(server.requests), server.connections) == (3, 1)


def test_what_comes_after_the_end_can_spoil_nothing():
    lost = ProviderUnavailableError("the connection was lost", code="connection_lost")
    events, error = told(Wire([sse(WHOLE), lost]))
    assert error is None
    assert events[-1].type is END


def test_an_end_that_does_not_come_is_waited_for_one_second():
    async def never():
        yield sse(WHOLE)
        await asyncio.Event().wait()

    wire, clock = Wire([]), ManualClock(auto=False)
    wire.chunks = never

    async def scenario():
        async with opened(wire, clock) as providers:
            events = []
            async for event in providers.llm.stream("Hi"):
                events.append(event.type)
                if event.type is END:
                    asyncio.get_running_loop().call_later(0.01, clock.advance, 1.0)
            return events

    assert asyncio.run(scenario())[-1] is END
    assert wire.closed


def test_an_event_is_handed_on_at_once():
    """From the bytes' arrival to the event in the caller's hands, through all of it; the middle of two hundred."""
    pieces = [sse([delta(0, "text_delta", text=f"{n} ")]) for n in range(200)]
    waits = []

    async def scenario():
        queue = asyncio.Queue()

        async def chunks():
            while True:
                yield await queue.get()

        wire = Wire([])
        wire.chunks = chunks
        queue.put_nowait(sse([BEGIN, start(0, type="text", text="")]))
        async with opened(wire) as providers, aclosing(providers.llm.stream("Hi")) as stream:
            for piece in pieces:
                arrived = time.perf_counter()
                queue.put_nowait(piece)
                await anext(stream)
                waits.append(time.perf_counter() - arrived)

    asyncio.run(scenario())
    assert sorted(waits[1:])[len(waits) // 2] < 0.001


def results(events, *, chop=None):
    """What is read of the results of a batch, and the error that ends them."""
    content = b"".join(json.dumps(event).encode() + b"\n" for event in events)
    pieces = [content] if chop is None else chop(content)
    ended = sample("batch_in_progress") | {"processing_status": "ended"}
    wire = Wire(pieces, before=json.dumps(ended).encode())

    async def scenario():
        async with opened(wire) as providers:
            return [one async for one in providers.llm.batch_results("anthropic:msgbatch_own1")]

    try:
        return asyncio.run(scenario()), None
    except ProviderError as error:
        return None, error
    finally:
        assert wire.closed == sum(request.url.endswith("/results") for request in wire.requests)


RESULTS = [
    {"custom_id": "a", "result": {"type": "succeeded", "message": sample("message_text")}},
    {
        "custom_id": "b",
        "result": {
            "type": "errored",
            "error": {
                "type": "error",
                "error": {"type": "invalid_request_error", "message": "max_tokens: too many"},
                "request_id": "req_b",
            },
        },
    },
    {"custom_id": "c", "result": {"type": "errored", "error": {"error": {"type": "overloaded_error"}}}},
    {"custom_id": "d", "result": {"type": "canceled"}},
    {"custom_id": "e", "result": {"type": "expired"}},
    {"custom_id": "f", "result": {"type": "lost"}},
]


def test_results_of_a_batch():
    found, _ = results(RESULTS)
    assert [(one.key, one.state) for one in found] == [
        ("a", BatchOutcomeState.SUCCEEDED),
        ("b", BatchOutcomeState.ERRORED),
        ("c", BatchOutcomeState.ERRORED),
        ("d", BatchOutcomeState.CANCELED),
        ("e", BatchOutcomeState.EXPIRED),
        ("f", BatchOutcomeState.UNKNOWN),
    ]
    done, refused, overloaded, *rest = found
    # Half of 21 x 2 + 14 x 10 millionths.
    assert done.completion.cost.amount == Decimal("0.000091")
    assert (type(refused.error), refused.error.code, refused.error.request_id, refused.error.status) == (
        *(InvalidRequestError, "invalid_request_error"),
        *("req_b", None),
    )
    assert refused.error.field == "max_tokens"
    assert isinstance(overloaded.error, ProviderUnavailableError)
    assert not overloaded.error.may_have_applied
    assert all(one.completion is None and one.error is None for one in rest)


@given(st.data())
def test_results_of_a_batch_are_the_same_wherever_they_are_cut(data):
    def chop(content):
        cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=8)))
        return [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True)]

    found, error = results(RESULTS, chop=chop)
    assert error is None
    assert [one.key for one in found] == list("abcdef")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
odd_values = json_values | st.sampled_from([10**30, -1, float("inf"), "", {"type": "text"}, True, "tool_use", "\ud800"])


@given(st.data())
def test_any_events_give_events_or_an_error_of_ours(data):
    events = json.loads(json.dumps(WHOLE))
    for _ in range(data.draw(st.integers(1, 3))):
        event = data.draw(st.sampled_from(events))
        inner = [each for each in event.values() if isinstance(each, dict)]
        place = data.draw(st.sampled_from([event, *inner, *(each["usage"] for each in inner if "usage" in each)]))
        name = data.draw(st.sampled_from(sorted(place))) if place else "type"
        if data.draw(st.booleans()):
            place[name] = data.draw(odd_values)
        else:
            place.pop(name, None)
        if data.draw(st.booleans()):
            events.remove(event)
    content = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    found, error = told(Wire([content]))
    assert error is not None or found[-1].type is END


@given(
    st.lists(st.binary(max_size=30) | st.sampled_from([b"data: ", b"\n", b"\r", b"{}", b"event: error\n"]), max_size=8)
)
def test_any_bytes_give_events_or_an_error_of_ours(pieces):
    found, error = told(Wire(pieces))
    assert error is not None
    assert not found


@given(st.lists(st.binary(max_size=30) | json_values.map(lambda value: json.dumps(value).encode()), max_size=4))
def test_any_lines_of_results_are_outcomes_or_an_error_of_ours(lines):
    found, error = results([], chop=lambda _: [b"\n".join(lines)])
    assert isinstance(error, BadResponseError) or found == []
