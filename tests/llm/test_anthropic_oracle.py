"""Anthropic's own library as a judge: what reaches the wire is what it sends by itself, for the same arguments.

Then a server that we did not write, and that the library's habits stay at home.
"""

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import socket
import subprocess
import sys
import textwrap
import time
from base64 import b64encode
from decimal import Decimal
from pathlib import Path
from typing import Literal

import anthropic
import pytest
from anthropic.types.messages import MessageBatchIndividualResponse
from pydantic import BaseModel, Field

from providers import Providers, Settings
from providers.core.errors import (
    BadResponseError,
    InvalidRequestError,
    ProviderUnavailableError,
    RateLimitedError,
    UnsupportedOperationError,
)
from providers.llm import (
    AnthropicLlm,
    CacheFor,
    CompletionRequest,
    Effort,
    Image,
    Message,
    Opaque,
    StopReason,
    StreamEventType,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from providers.llm.facts import ANTHROPIC
from providers.testing.clock import ManualClock
from providers.testing.servers import Fault, FaultServer

KEY = "sk-ant-canary0123456789abcdef"
MODEL = "claude-sonnet-5-5"
HAIKU = "claude-haiku-4-5"
USER = hashlib.sha256(b"ana@example.com").hexdigest()
LOW = {"effort": "low"}
MINUTES, HOUR = {"type": "ephemeral", "ttl": "5m"}, {"type": "ephemeral", "ttl": "1h"}
PIXEL = b"\x89PNG\r\n\x1a\n not much of a picture"

ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": MODEL,
    "content": [{"type": "text", "text": '{"title": "Pack", "price": 2, "size": "S", "tags": []}'}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 21, "output_tokens": 14},
}
BATCH = {
    "id": "msgbatch_1",
    "type": "message_batch",
    "processing_status": "ended",
    "request_counts": {"processing": 0, "succeeded": 1, "errored": 0, "canceled": 0, "expired": 0},
    "created_at": "2026-11-22T10:00:00Z",
    "expires_at": "2026-11-23T10:00:00Z",
    "ended_at": "2026-11-22T11:00:00Z",
    "archived_at": None,
    "cancel_initiated_at": None,
}
MODEL_INFO = {
    "type": "model",
    "id": MODEL,
    "display_name": "Claude Sonnet 5.5",
    "created_at": "2026-09-28T00:00:00Z",
    "lifecycle": "active",
}
RESULT = {"custom_id": "a", "result": {"type": "succeeded", "message": ANSWER}}
EVENTS = [
    {"type": "message_start", "message": ANSWER | {"content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 2},
    },
    {"type": "message_stop"},
]
STREAM = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in EVENTS)


def listed(*entries):
    return {"data": list(entries), "has_more": False, "first_id": None, "last_id": None}


def serve(server, *, streaming=False):
    """Answers everything as an account does that has one of each."""
    sse = Fault.status(200, {"Content-Type": "text/event-stream"}, STREAM)
    batch = BATCH | {"results_url": f"{server.url}/v1/messages/batches/msgbatch_1/results"}
    server.reset()
    for path, fault in {
        "/v1/messages/count_tokens": Fault.json(200, {"input_tokens": 21}),
        "/v1/messages/batches/msgbatch_1/results": Fault.status(200, {}, json.dumps(RESULT) + "\n"),
        "/v1/messages/batches/": Fault.json(200, batch),
        "/v1/messages": sse if streaming else Fault.json(200, ANSWER),
        "/v1/models/": Fault.json(200, MODEL_INFO),
        "/v1/models": Fault.json(200, listed(MODEL_INFO)),
    }.items():
        if path == "/v1/messages":
            server.stage(Fault.json(200, listed(batch)), match=("GET", "/v1/messages/batches"), times=None)
            server.stage(Fault.json(200, batch), match=("POST", "/v1/messages/batches"), times=None)
        server.stage(fault, match=(None, path), times=None)


@pytest.fixture(scope="module")
def server():
    with FaultServer() as one:
        yield one


def settings(base_url, **credentials):
    return Settings(
        mode="live",
        vendors={"llm": "anthropic"},
        credentials={"ANTHROPIC_API_KEY": KEY} | credentials,
        base_urls={"anthropic": base_url},
        environ={},
        env_file=None,
    )


def ours(base_url, step, **credentials):
    async def scenario():
        async with Providers(settings(base_url, **credentials), clock=ManualClock()) as providers:
            return await step(providers.llm)

    return asyncio.run(scenario())


def theirs(base_url, step):
    async def scenario():
        async with anthropic.AsyncAnthropic(api_key=KEY, base_url=base_url, max_retries=0) as client:
            return await step(client)

    return asyncio.run(scenario())


async def all_of(things):
    return [one async for one in things]


class Product(BaseModel):
    """A product."""

    title: str = Field(max_length=40)
    price: Decimal = Field(ge=0)
    size: Literal["S", "M"]
    tags: list[str] = []


class GetStock(BaseModel):
    """How many are left."""

    sku: str


STOCK = Tool.of(GetStock)
STOCK_PARAM = {
    "name": "get_stock",
    "description": "How many are left.",
    "input_schema": GetStock.model_json_schema(),
}
SIGNED = {"type": "thinking", "thinking": "", "signature": "b3du"}
LOOP = (
    Message.user("How many of A1?"),
    Message.assistant(
        Opaque(vendor="anthropic", block=SIGNED),
        Opaque(vendor="demo", block={"type": "secret"}),
        ToolCall(id="toolu_1", name="get_stock", input={"sku": "A1"}),
    ),
    Message.user(ToolResult(call="toolu_1", content='{"left": 3}'), ToolResult(call="toolu_2", is_error=True)),
)
LOOP_PARAM = [
    {"role": "user", "content": "How many of A1?"},
    {
        "role": "assistant",
        "content": [SIGNED, {"type": "tool_use", "id": "toolu_1", "name": "get_stock", "input": {"sku": "A1"}}],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": '{"left": 3}'},
            {"type": "tool_result", "tool_use_id": "toolu_2", "is_error": True},
        ],
    },
]
PICTURES = Message.user(
    Image(data=PIXEL, media_type="image/png", cache=CacheFor.HOUR),
    Image(url="https://shop.example/a.png"),
    "What is it?",
)
PICTURES_PARAM = [
    {
        "role": "user",
        "content": [
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": b64encode(PIXEL).decode()},
                "cache_control": HOUR,
            },
            {"type": "image", "source": {"type": "url", "url": "https://shop.example/a.png"}},
            {"type": "text", "text": "What is it?"},
        ],
    }
]


def said(text):
    return [{"role": "user", "content": text}]


def request(text="Hi", **more):
    return CompletionRequest(messages=(Message.user(text),), **more)


PLAIN = {"model": MODEL, "max_tokens": 1000, "messages": said("Hi"), "output_config": LOW}
WIRE = {
    # our call; the library's
    "a question": (lambda llm: llm.complete("Hi"), lambda c: c.messages.create(**PLAIN)),
    "everything in words": (
        lambda llm: llm.complete(
            "Größe? \N{ROCKET}",
            system="Be brief.",
            max_tokens=50,
            temperature=0.2,
            model="claude-opus-5-5",
            stop=("END", "\n\n"),
            effort=Effort.HIGH,
            cache=CacheFor.MINUTES,
            user_id="ana@example.com",
        ),
        lambda c: c.messages.create(
            model="claude-opus-5-5",
            max_tokens=50,
            messages=said("Größe? \N{ROCKET}"),
            system="Be brief.",
            stop_sequences=["END", "\n\n"],
            output_config={"effort": "high"},
            cache_control=MINUTES,
            metadata={"user_id": USER},
        ),
    ),
    "a system prompt that is kept": (
        lambda llm: llm.complete(
            Message.user(Text(text="Hi", cache=CacheFor.MINUTES)),
            system=(Text(text="Long."), Text(text="Longer.", cache=CacheFor.HOUR)),
        ),
        lambda c: c.messages.create(
            **PLAIN
            | {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": MINUTES}]}]},
            system=[{"type": "text", "text": "Long."}, {"type": "text", "text": "Longer.", "cache_control": HOUR}],
        ),
    ),
    "pictures": (
        lambda llm: llm.complete(PICTURES),
        lambda c: c.messages.create(**PLAIN | {"messages": PICTURES_PARAM}),
    ),
    "tools": (
        lambda llm: llm.complete(
            LOOP, tools=[STOCK, STOCK.model_copy(update={"name": "other", "cache": CacheFor.HOUR})]
        ),
        lambda c: c.messages.create(
            **PLAIN | {"messages": LOOP_PARAM},
            tools=[STOCK_PARAM, STOCK_PARAM | {"name": "other", "cache_control": HOUR}],
        ),
    ),
    "no tool": (
        lambda llm: llm.complete("Hi", tools=[STOCK], tool_choice=ToolChoice.NONE),
        lambda c: c.messages.create(**PLAIN, tools=[STOCK_PARAM], tool_choice={"type": "none"}),
    ),
    "any tool": (
        lambda llm: llm.complete("Hi", tools=[STOCK], tool_choice=ToolChoice.ANY, model=HAIKU),
        lambda c: c.messages.create(
            model=HAIKU, max_tokens=1000, messages=said("Hi"), tools=[STOCK_PARAM], tool_choice={"type": "any"}
        ),
    ),
    "this tool": (
        lambda llm: llm.complete("Hi", tools=[STOCK], tool_choice="get_stock", model="claude-of-tomorrow"),
        lambda c: c.messages.create(
            model="claude-of-tomorrow",
            max_tokens=1000,
            messages=said("Hi"),
            tools=[STOCK_PARAM],
            tool_choice={"type": "tool", "name": "get_stock"},
        ),
    ),
    "JSON": (
        lambda llm: llm.complete_json("A product", Product),
        lambda c: c.messages.parse(**PLAIN | {"messages": said("A product")}, output_format=Product),
    ),
    "a stream": (lambda llm: all_of(llm.stream("Hi")), lambda c: c.messages.create(**PLAIN, stream=True)),
    "tokens": (
        lambda llm: llm.count_tokens(LOOP, system="Be brief.", tools=[STOCK]),
        lambda c: c.messages.count_tokens(model=MODEL, messages=LOOP_PARAM, system="Be brief.", tools=[STOCK_PARAM]),
    ),
    "models": (lambda llm: llm.models(), lambda c: c.models.list(limit=100)),
    "check": (lambda llm: llm.check(), lambda c: c.models.retrieve(MODEL)),
    "a batch handed in": (
        lambda llm: llm.create_batch({"a": request(max_tokens=9), "order 7/ü": request("Ho", service="shop")}),
        lambda c: c.messages.batches.create(
            requests=[
                {"custom_id": "a", "params": PLAIN | {"max_tokens": 9}},
                {"custom_id": "b64_b3JkZXIgNy_DvA", "params": PLAIN | {"messages": said("Ho")}},
            ]
        ),
    ),
    "a batch": (
        lambda llm: llm.batch("anthropic:msgbatch_1"),
        lambda c: c.messages.batches.retrieve("msgbatch_1"),
    ),
    "batches": (lambda llm: all_of(llm.batches()), lambda c: c.messages.batches.list(limit=100)),
    "results": (
        lambda llm: all_of(llm.batch_results("anthropic:msgbatch_1")),
        lambda c: c.messages.batches.results("msgbatch_1"),
    ),
    "cancelled": (
        lambda llm: llm.cancel_batch("anthropic:msgbatch_1"),
        lambda c: c.messages.batches.cancel("msgbatch_1"),
    ),
}
COMPARED = ("accept", "authorization", "content-type", "anthropic-version", "anthropic-beta")


def content(body):
    return json.loads(body) if body else None


@pytest.mark.filterwarnings("ignore:The model:DeprecationWarning")  # the library's own calls warn
@pytest.mark.parametrize("case", WIRE)
def test_what_is_sent_is_what_the_library_sends_by_itself(case, server):
    mine, own = WIRE[case]
    serve(server, streaming=case == "a stream")
    ours(server.url, mine)
    sent = server.requests[-1]
    serve(server, streaming=case == "a stream")
    theirs(server.url, own)
    judge = server.requests[-1]

    assert (sent.method, sent.path, sorted(sent.query)) == (judge.method, judge.path, sorted(judge.query))
    assert content(sent.body) == content(judge.body)
    for name in COMPARED:
        assert sent.headers.get(name) == judge.headers.get(name), name


def test_nothing_but_what_is_needed_is_told(server):
    serve(server)
    ours(server.url, lambda llm: llm.complete("Hi"))
    headers = {name.lower(): value for name, value in dict(server.requests[-1].headers).items()}
    told = {"accept", "authorization", "content-type", "anthropic-version", "user-agent"}
    assert set(headers) - told <= {"host", "content-length", "accept-encoding"}
    assert f"anthropic-python/{anthropic.__version__}" in headers["user-agent"]
    assert headers["user-agent"].startswith("providers/")


def test_the_version_is_the_librarys():
    assert ANTHROPIC.api_version == anthropic._constants.ANTHROPIC_API_VERSION


REFUSED = {
    "tool_choice": lambda llm: llm.complete("Hi", tools=[STOCK], tool_choice=ToolChoice.ANY),
    "effort": lambda llm: llm.complete("Hi", model=HAIKU, effort=Effort.LOW),
}


@pytest.mark.parametrize("field", REFUSED)
def test_what_a_model_is_known_not_to_take_is_refused_before_anything_is_sent(field, server):
    serve(server)
    with pytest.raises(UnsupportedOperationError) as error:
        ours(server.url, REFUSED[field])
    assert error.value.field == field
    assert not server.requests


class Tree(BaseModel):
    name: str
    leaves: "list[Tree]" = []


TOLD = {
    "names of its own choosing": dict[str, int],
    "within another": list[dict[str, Product]],
    "anything": list[object],
    "itself": Tree,
    "a pair": tuple[int, str],
}


@pytest.mark.parametrize("case", TOLD)
def test_what_a_model_cannot_be_held_to_it_is_told(case, server):
    """The library's own helper would make an object of no fields of the first, and the API refuses the others."""
    serve(server)
    with pytest.raises(BadResponseError, match="the answer cannot be used"):
        ours(server.url, lambda llm: llm.complete_json("Some", TOLD[case]))
    sent = server.requests[0].json()
    assert sent["output_config"] == LOW
    words, told = sent["messages"][-1]["content"]
    assert words["text"] == "Some"
    assert told["text"].startswith("Answer with one JSON value only")


HELD = {
    "a model": Product,
    "a list": list[Product],
    "an enum": Literal["a", "b"],
    "one of two": Product | GetStock,
    "nothing or something": Product | None,
}


@pytest.mark.parametrize("case", HELD)
def test_what_a_model_can_be_held_to_it_is(case, server):
    serve(server)
    with contextlib.suppress(BadResponseError):  # the one answer does not fit all of them
        ours(server.url, lambda llm: llm.complete_json("Some", HELD[case]))
    sent = server.requests[0].json()
    assert sent["messages"] == said("Some")
    schema = sent["output_config"]["format"]["schema"]
    objects = [each for each in walk(schema) if each.get("type") == "object"]
    assert objects
    assert all(each["additionalProperties"] is False for each in objects)


def walk(value):
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from walk(each)
    elif isinstance(value, list):
        for each in value:
            yield from walk(each)


KEYS = ["a", "x" * 64, "b64_", "b64_YQ", "order 7/ü", "", "x" * 45 + "", "\N{ROCKET}" * 11, "customer:17"]


def test_keys_of_a_batch_come_back_as_they_were(server):
    requests = {key: request() for key in KEYS}
    serve(server)
    ours(server.url, lambda llm: llm.create_batch(requests))
    ids = [one["custom_id"] for one in server.requests[-1].json()["requests"]]
    assert len(set(ids)) == len(KEYS)
    assert all(1 <= len(one) <= 64 and set(one) <= ALLOWED for one in ids)
    lines = "\n".join(json.dumps(RESULT | {"custom_id": one}) for one in reversed(ids))
    results = "/v1/messages/batches/msgbatch_1/results"
    server.reset()
    server.stage(Fault.status(200, {}, lines), match=("GET", results), times=None)
    server.stage(Fault.json(200, BATCH), times=None)
    found = ours(server.url, lambda llm: all_of(llm.batch_results("anthropic:msgbatch_1")))
    assert [one.key for one in found] == KEYS[::-1]


ALLOWED = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


def test_a_key_of_a_batch_that_cannot_be_sent_is_refused(server):
    serve(server)
    with pytest.raises(InvalidRequestError) as error:
        ours(server.url, lambda llm: llm.create_batch({"ü" * 23: request()}))
    assert error.value.field == "requests"
    assert not server.requests


def test_results_are_read_where_we_are_and_not_where_a_reply_says(server):
    serve(server)
    foreign = BATCH | {"results_url": "https://elsewhere.example/v1/results"}
    server.reset()
    server.stage(Fault.status(200, {}, json.dumps(RESULT)), match=("GET", "/v1/messages/batches/msgbatch_1/results"))
    server.stage(Fault.json(200, foreign))
    (outcome,) = ours(server.url, lambda llm: all_of(llm.batch_results("anthropic:msgbatch_1")))
    assert outcome.key == "a"
    judge = MessageBatchIndividualResponse.model_validate(RESULT).result.message
    assert outcome.completion.text == judge.content[0].text
    # Half of 21 x 2 + 14 x 10 millionths.
    assert outcome.completion.cost.amount == Decimal("0.000091")


ENVIRONMENT = {
    "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",
    "ANTHROPIC_AUTH_TOKEN": "another-token",
    "ANTHROPIC_API_KEY": "another-key",
    "ANTHROPIC_PROFILE": "nobody",
    "ANTHROPIC_CONFIG_DIR": "/nonexistent",
    "ANTHROPIC_CUSTOM_HEADERS": (
        "x-evil: 1\nanthropic-version: 2023-06-01\nAnthropic-Version: 2023-01-01\nanthropic-beta: evil\n"
        "Anthropic-Beta: evil\naccept: text/html\ncontent-type: text/plain\nAuthorization: Bearer evil\n"
        "x-api-key: evil\ncookie: evil"
    ),
    "ANTHROPIC_WEBHOOK_SIGNING_KEY": "whsec_another",
    "ANTHROPIC_FEDERATION_RULE_ID": "rule",
    "ANTHROPIC_ORGANIZATION_ID": "org",
    "ANTHROPIC_IDENTITY_TOKEN": "token",
    "ANTHROPIC_OPEN_TELEMETRY_TRACES_CONTENT_MODE": "content",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
    "ALL_PROXY": "http://127.0.0.1:9",
}


def test_no_variable_of_the_librarys_changes_anything(server, monkeypatch):
    def sent():
        serve(server)
        ours(server.url, lambda llm: llm.complete("Hi"))
        (request,) = server.requests
        headers = sorted((name.lower(), value) for name, value in dict(request.headers).items())
        return request.method, request.path, headers, request.body

    plain = sent()
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    assert sent() == plain


QUIET = """
    import asyncio, logging, sys
    from providers import Providers, Settings
    async def main():
        settings = Settings(mode="live", vendors={"llm": "anthropic"}, credentials={"ANTHROPIC_API_KEY": "sk-ant-x"},
                            base_urls={"anthropic": sys.argv[1]}, environ={}, env_file=None)
        async with Providers(settings) as providers:
            print((await providers.llm.complete("a prompt to be seen nowhere")).text)
    asyncio.run(main())
    assert not logging.root.handlers, logging.root.handlers
    assert logging.getLogger("anthropic").level == logging.WARNING
    assert logging.getLogger("httpx2").level == logging.NOTSET
"""


def run(program, *arguments, **environ):
    known = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program), *arguments],
        env=known | environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_its_log_variable_makes_it_say_nothing(server):
    serve(server)
    done = run(QUIET, server.url, ANTHROPIC_LOG="debug")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Pack" in done.stdout


def test_who_asks_for_the_librarys_log_gets_it_and_the_key_is_not_in_it(server, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("anthropic"), "level", logging.DEBUG)
    serve(server)
    with caplog.at_level(logging.DEBUG, "anthropic"):
        ours(server.url, lambda llm: llm.complete("Hi"))
    assert "Sending HTTP Request" in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize("status", [408, 409, 429, 500, 529])
def test_the_library_repeats_nothing(status, server):
    server.reset()
    server.stage(Fault.json(status, {"error": {"type": "x"}}, {"x-should-retry": "true"}), times=None)

    async def step(llm):
        adapter = llm.unwrap(AnthropicLlm)
        with pytest.raises(Exception, match=f"HTTP {status}"):
            await adapter.complete(request())

    ours(server.url, step)
    assert len(server.requests) == 1


def test_a_deprecated_model_and_a_long_answer_raise_no_warning_and_no_error(server):
    """The library's `create` warns of the one, which is an error where warnings are, and refuses the other."""
    serve(server)
    ours(server.url, lambda llm: llm.complete("Hi", model="claude-sonnet-4-5", max_tokens=60_000))
    assert server.requests[-1].json()["max_tokens"] == 60_000


def test_the_librarys_own_client_is_at_hand_and_sends_by_our_transport(server):
    serve(server, streaming=True)

    async def step(llm):
        async with llm.unwrap(AnthropicLlm).client.messages.stream(**PLAIN) as stream:
            return "".join([text async for text in stream.text_stream]), await stream.get_final_message()

    text, final = ours(server.url, step)
    assert (text, final.usage.output_tokens) == ("Hi", 2)
    assert server.requests[-1].headers.get("authorization") == f"Bearer {KEY}"


GAPS = """
    import asyncio, sys, time
    from providers import Providers, Settings
    assert "anthropic" not in sys.modules
    async def main():
        settings = Settings(mode="live", vendors={"llm": "anthropic"}, credentials={"ANTHROPIC_API_KEY": "sk-ant-x"},
                            base_urls={"anthropic": sys.argv[1]}, environ={}, env_file=None)
        gaps, done = [], asyncio.Event()
        async def tick():
            last = time.perf_counter()
            while not done.is_set():
                await asyncio.sleep(0.005)
                now = time.perf_counter()
                gaps.append(now - last)
                last = now
        async with Providers(settings) as providers:
            providers.llm
            assert "anthropic" not in sys.modules
            ticking = asyncio.create_task(tick())
            await asyncio.sleep(0.05)
            begun = time.perf_counter()
            await providers.llm.complete("Hi")
            took = time.perf_counter() - begun
            done.set()
            await ticking
        print(max(gaps), took)
    asyncio.run(main())
"""


def test_the_loop_goes_on_while_the_library_loads(server):
    """It takes one to three seconds, beside the loop: on the loop that would be one gap. What is left is Python's lock,
    which compiled code holds while it builds a large type: 75 to 150 milliseconds here, a twelfth of it all.
    """
    serve(server)
    done = run(GAPS, server.url)
    assert done.returncode == 0, done.stderr
    longest, took = map(float, done.stdout.split())
    assert longest < took / 3


def test_importing_the_capability_loads_no_library():
    program = """
        import sys
        from providers.llm import Llm, CompletionRequest, Message, GatewayLlm, DemoLlm
        from providers.llm.facts import FACTS
        print(*(name for name in ("anthropic", "httpx2", "aiohttp") if name in sys.modules))
    """
    done = run(program)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


CONFIG = """
rules:
  - {name: limited, when: {messages_contain: "force 429"}, respond: {status: 429, error: "rate limited"}}
  - {name: overloaded, when: {messages_contain: "force 529"}, respond: {status: 529, error: "overloaded"}}
  - {name: tool, when: {messages_contain: "weather"}, respond: {tool_calls: [{name: get_stock, arguments: {sku: A1}}]}}
  - {name: default, when: {}, respond: {content: "A short product blurb."}}
"""


@pytest.fixture(scope="module")
def fakellm(tmp_path_factory):
    """A server that somebody else wrote, in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    home = tmp_path_factory.mktemp("fakellm")
    (home / "fakellm.yaml").write_text(CONFIG)
    process = subprocess.Popen(
        [
            *(str(Path(sys.executable).parent / "fakellm"), "serve"),
            *("--host", "127.0.0.1", "--port", str(port), "--config", str(home / "fakellm.yaml")),
        ],
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        cwd=home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(400):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(10)


class TestOnFakellm:
    def test_an_answer(self, fakellm):
        found = ours(fakellm, lambda llm: llm.complete("A blurb, please"))
        assert (found.text, found.stop_reason) == ("A short product blurb.", StopReason.END_TURN)
        assert found.usage.output_tokens > 0

    def test_a_stream(self, fakellm):
        events = ours(fakellm, lambda llm: all_of(llm.stream("A blurb, please")))
        assert "".join(each.text for each in events) == "A short product blurb."
        assert [each.type for each in events][-1] is StreamEventType.END
        assert len(events) > 2
        assert events[-1].completion.text == "A short product blurb."
        assert events[-1].usage.exact

    def test_tools(self, fakellm):
        found = ours(fakellm, lambda llm: llm.complete("The weather?", tools=[STOCK]))
        assert [(call.name, call.input) for call in found.tool_calls] == [("get_stock", {"sku": "A1"})]
        assert found.stop_reason is StopReason.TOOL_USE
        events = ours(fakellm, lambda llm: all_of(llm.stream("The weather?", tools=[STOCK])))
        assert [each.tool_call.input for each in events if each.tool_call] == [{"sku": "A1"}]

    @pytest.mark.parametrize(("words", "kind"), [("429", RateLimitedError), ("529", ProviderUnavailableError)])
    def test_refusals(self, fakellm, words, kind):
        """Of streams it refuses none."""
        with pytest.raises(kind) as error:
            ours(fakellm, lambda llm: llm.complete(f"force {words}"))
        assert (error.value.status, error.value.code) == (int(words), "mock_error")
        assert not error.value.may_have_applied
