"""The demo beyond the common suite: outcomes by marker, what it talks about, values for schemas, batches."""

import asyncio
import json
import re
import struct
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from ipaddress import IPv4Address, IPv6Network
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AwareDatetime,
    Base64Bytes,
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    Json,
    JsonValue,
    SecretStr,
    StringConstraints,
    TypeAdapter,
    create_model,
)
from typing_extensions import TypedDict

from providers import Providers, Settings
from providers.core.errors import (
    AuthenticationError,
    BadResponseError,
    ConflictError,
    NotFoundError,
    Outcome,
    PermissionDeniedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    QuotaExceededError,
    RateLimitedError,
    RejectedError,
)
from providers.core.faults import BY_WORD
from providers.core.store import MemoryStore
from providers.llm import (
    BatchOutcomeState,
    BatchState,
    CompletionRequest,
    DemoLlm,
    Image,
    Lifecycle,
    Message,
    StopReason,
    StreamEventType,
    Tool,
    ToolCall,
    ToolResult,
    model_facts,
)
from providers.llm.demo import BATCH_KEPT, MIDDLE, OUTCOMES
from providers.llm.demo_pictures import size
from providers.llm.demo_values import example
from providers.llm.demo_words import NOTHING_IN_PARTICULAR, product, sentences

MAT = "Write a description of 40 words for a yoga mat."


def demo(clock, scenario, **parts):
    """Run a scenario on a demo."""

    async def main():
        settings = Settings(mode="demo", environ={}, env_file=None)
        async with Providers(settings, clock=clock, **parts) as providers:
            await scenario(providers)

    asyncio.run(main())


async def all_of(items):
    return [item async for item in items]


def ask(prompt=MAT, **changes):
    return CompletionRequest(messages=(Message.user(prompt),), **changes)


class Ad(BaseModel):
    headline: str
    keywords: list[str]


# Outcomes.


@pytest.mark.parametrize(
    ("word", "kind", "outcome"),
    [
        ("breakoff", ProviderUnavailableError, Outcome.UNKNOWN),
        ("overload", ProviderUnavailableError, Outcome.NOT_APPLIED),
        ("unauthorized", AuthenticationError, Outcome.NOT_APPLIED),
        ("denied", PermissionDeniedError, Outcome.NOT_APPLIED),
        ("quota", QuotaExceededError, Outcome.NOT_APPLIED),
        ("ratelimited", RateLimitedError, Outcome.NOT_APPLIED),
        ("unavailable", ProviderUnavailableError, Outcome.NOT_APPLIED),
        ("timeout", ProviderTimeoutError, Outcome.UNKNOWN),
    ],
)
def test_a_marker_provokes_an_error_of_the_real_tree(providers_clock, word, kind, outcome):
    calls = {
        "llm.complete": lambda llm: llm.complete(f"{MAT} demo:{word}", timeout=20),
        "llm.complete_json": lambda llm: llm.complete_json(f"demo:{word} {MAT}", Ad, timeout=20),
        "llm.stream": lambda llm: all_of(llm.stream(f"{MAT}\ndemo:{word}!", timeout=20)),
    }
    if word == "breakoff":
        del calls["llm.stream"]
    for operation, call in calls.items():

        async def scenario(providers, operation=operation, call=call):
            with pytest.raises(kind) as caught:
                await call(providers.llm)
            error = caught.value
            assert (type(error), error.outcome) == (kind, outcome)
            assert (error.vendor, error.operation) == ("demo", operation.removesuffix("_json"))

        # Each on a new one: who fails often is not asked for a while.
        demo(providers_clock, scenario)


def test_a_refusal_has_no_text_and_no_value(providers_clock):
    async def scenario(providers):
        answer = await providers.llm.complete(f"{MAT} demo:refuse")
        assert (answer.text, answer.stop_reason) == ("", StopReason.REFUSAL)
        assert (answer.refusal.category, answer.usage.output_tokens) == ("general_harms", 0)
        (end,) = await all_of(providers.llm.stream(f"{MAT} demo:refuse"))
        assert (end.type, end.completion.stop_reason) == (StreamEventType.END, StopReason.REFUSAL)
        with pytest.raises(RejectedError) as caught:
            await providers.llm.complete_json(f"{MAT} demo:refuse", Ad)
        assert caught.value.code == "refusal"

    demo(providers_clock, scenario)


def test_a_truncated_answer_is_the_first_half(providers_clock):
    async def scenario(providers):
        whole = await providers.llm.complete(MAT)
        half = await providers.llm.complete(f"{MAT} demo:truncate")
        assert half.truncated
        assert whole.text.startswith(half.text)
        assert half.usage.output_tokens == whole.usage.output_tokens // 2
        with pytest.raises(BadResponseError) as caught:
            await providers.llm.complete_json(f"{MAT} demo:truncate", Ad)
        assert caught.value.code == "max_tokens"

    demo(providers_clock, scenario)


def test_a_stream_breaks_off_half_way(providers_clock):
    async def scenario(providers):
        *whole, _ = await all_of(providers.llm.stream(MAT))
        *texts, last = await all_of(providers.llm.stream(f"{MAT} demo:breakoff"))
        assert [event.text for event in texts] == [event.text for event in whole[: len(whole) // 2]]
        assert last.type is StreamEventType.ERROR
        assert isinstance(last.error, ProviderUnavailableError)
        assert (last.error.vendor, last.error.operation) == ("demo", "llm.stream")
        assert last.completion.text == "".join(event.text for event in texts)

    demo(providers_clock, scenario)


@pytest.mark.parametrize("kind", [Ad, list[str], dict[str, int], int, Literal["a", "b"]])
def test_json_misfits_once_or_always(providers_clock, kind):
    async def scenario(providers):
        plain = await providers.llm.complete_json(MAT, kind)
        again = await providers.llm.complete_json(f"{MAT} demo:misfit", kind)
        assert (plain.asked, again.asked) == (1, 2)
        assert again.usage.prompt_tokens > 2 * plain.usage.prompt_tokens
        with pytest.raises(BadResponseError) as caught:
            await providers.llm.complete_json(f"{MAT} demo:misfits", kind)
        assert caught.value.code == "schema"

    demo(providers_clock, scenario)


def test_every_marker_of_the_table_is_tried_here_and_told_in_words():
    (errors,) = (
        {word for word, *_ in mark.args[1]}
        for mark in test_a_marker_provokes_an_error_of_the_real_tree.pytestmark
        if mark.name == "parametrize"
    )
    assert set(OUTCOMES) == errors | {"refuse", "truncate", "misfit", "misfits"}
    assert all(OUTCOMES.values())
    assert errors - {"breakoff", "overload"} < set(BY_WORD)


def test_only_the_last_turn_s_marker_counts_and_only_one_that_is_known(providers_clock):
    async def scenario(providers):
        turns = [Message.user("demo:refuse"), Message.assistant("demo:refuse"), Message.user(MAT)]
        assert (await providers.llm.complete(turns)).stop_reason is StopReason.END_TURN
        for words in ("demo:nothing", "demo: refuse", "democracy:refuse", "a demo", "demo:rejected"):
            assert (await providers.llm.complete(f"{MAT} {words}")).text
        answer = await providers.llm.complete(MAT, system="demo:refuse")
        assert answer.stop_reason is StopReason.END_TURN

    demo(providers_clock, scenario)


@pytest.mark.parametrize("operation", ["complete", "stream", "count_tokens", "models", "create_batch", "batch",
                                       "batches", "batch_results", "cancel_batch"])  # fmt: skip
def test_every_operation_s_failures_can_be_staged_and_pass(providers_clock, operation):
    async def scenario(providers):
        llm = providers.llm
        made = (await llm.create_batch({"a": ask()})).ref
        providers_clock.advance(60)
        calls = {
            "complete": lambda: llm.complete(MAT),
            "stream": lambda: all_of(llm.stream(MAT)),
            "count_tokens": lambda: llm.count_tokens(MAT),
            "models": lambda: llm.models(fresh=True),
            "create_batch": lambda: llm.create_batch({"a": ask()}),
            "batch": lambda: llm.batch(made),
            "batches": lambda: all_of(llm.batches()),
            "batch_results": lambda: all_of(llm.batch_results(made)),
            "cancel_batch": lambda: llm.cancel_batch(made),
        }
        providers.faults.stage(f"llm.{operation}", AuthenticationError("revoked"))
        with pytest.raises(AuthenticationError):
            await calls[operation]()
        assert await calls[operation]()

    demo(providers_clock, scenario)


def test_a_failure_can_be_staged_for_the_middle_of_a_stream(providers_clock):
    async def scenario(providers):
        providers.faults.stage(MIDDLE, RateLimitedError("too much", retry_after=1))
        events = await all_of(providers.llm.stream(MAT))
        assert isinstance(events[-1].error, RateLimitedError)
        assert events[-1].completion.text
        assert (await all_of(providers.llm.stream(MAT)))[-1].type is StreamEventType.END

    demo(providers_clock, scenario)


# What it says.


def test_the_same_question_has_the_same_answer_and_fresh_ones_have_others(providers_clock):
    async def scenario(providers):
        llm = providers.llm
        first = await llm.complete(MAT, temperature=1)
        assert (await llm.complete(MAT, temperature=1)).text == first.text
        assert (await llm.complete_json(MAT, Ad)).value == (await llm.complete_json(MAT, Ad)).value
        fresh = {(await llm.complete(MAT, fresh=True)).text for _ in range(5)}
        assert len(fresh | {first.text}) == 6
        values = {(await llm.complete_json(MAT, Ad, fresh=True)).text for _ in range(5)}
        assert len(values) > 3
        streamed = await all_of(llm.stream(MAT))
        assert streamed[-1].completion.text == first.text

    demo(providers_clock, scenario)


@pytest.mark.parametrize(
    ("prompt", "about"),
    [
        ("Write a headline for a yoga mat.", "yoga mat"),
        ("Write a headline for our new espresso machine, please.", "espresso machine"),
        ("Generate 5 hashtags about eco water bottles that people love", "eco water bottles"),
        ('Describe "Glow Lamp 3" in 20 words', "Glow Lamp 3"),
        ("Product: Bamboo toothbrush, price 4", "Bamboo toothbrush"),
        ('{"title": "Cat tree", "price": 4}', "Cat tree"),
        ("Ad copy: insulated lunch box", "insulated lunch box"),
        ("yoga mat", "yoga mat"),
        ("demo:truncate yoga mat", "yoga mat"),
        ("Schreibe über Fahrräder", "Schreibe über Fahrräder"),
        ("Hello, how are you?", NOTHING_IN_PARTICULAR),
        ("Write a description of 40 words for a desk lamp", "desk lamp"),
        ("Write 3 headlines", NOTHING_IN_PARTICULAR),
        ("", NOTHING_IN_PARTICULAR),
        ("🎈 -- !!", NOTHING_IN_PARTICULAR),
    ],
)
def test_it_finds_out_what_a_prompt_is_about(prompt, about):
    assert product(prompt) == about
    assert product(about) == about
    assert about.lower() in sentences(prompt, seed=1, words=200).lower()


@given(st.text(), st.integers(0, 10**9), st.integers(1, 400))
def test_there_are_about_as_many_words_as_asked_for_whatever_the_prompt(prompt, seed, words):
    text = sentences(prompt, seed=seed, words=words)
    assert text == sentences(prompt, seed=seed, words=words)
    assert text == text.strip()
    assert abs(len(text.split()) - words) <= 12
    assert len(product(prompt)) <= 48


def test_answers_are_about_the_product_and_as_long_as_asked_for(providers_clock):
    async def scenario(providers):
        for words in (10, 40, 150):
            text = (await providers.llm.complete(f"Write {words} words about walnut desks.")).text
            assert "walnut desks" in text.lower()
            assert abs(len(text.split()) - words) <= 8
        headline = await providers.llm.complete("Write a headline for walnut desks.")
        article = await providers.llm.complete("Write an article on walnut desks.")
        assert len(headline.text.split()) < 8
        assert len(article.text.split()) > 120
        turns = [Message.user("Write about walnut desks."), Message.assistant("Fine."), Message.user("Longer, please.")]
        assert "walnut desks" in (await providers.llm.complete(turns)).text.lower()

    demo(providers_clock, scenario)


def test_streams_come_word_by_word_with_what_was_used_so_far(providers_clock):
    async def scenario(providers):
        *texts, end = await all_of(providers.llm.stream(MAT))
        assert len(texts) == len(end.completion.text.split())
        assert "".join(event.text for event in texts) == end.completion.text
        used = [event.usage.output_tokens for event in texts]
        assert used == sorted(used)
        assert used[-1] == end.usage.output_tokens
        assert all(event.usage.input_tokens == end.usage.input_tokens for event in texts)
        assert not any(event.usage.exact for event in texts)

    demo(providers_clock, scenario)


@given(st.integers(1, 80), st.booleans())
def test_no_answer_is_longer_than_max_tokens(most, streamed):
    async def main():
        async with Providers(Settings(mode="demo", environ={}, env_file=None)) as providers:
            whole = await providers.llm.complete(MAT)
            if streamed:
                cut = (await all_of(providers.llm.stream(MAT, max_tokens=most)))[-1].completion
            else:
                cut = await providers.llm.complete(MAT, max_tokens=most)
            assert cut.usage.output_tokens == min(most, whole.usage.output_tokens)
            assert cut.truncated == (most < whole.usage.output_tokens)
            assert whole.text.startswith(cut.text)
            assert await providers.llm.count_tokens(MAT) == cut.usage.input_tokens

    asyncio.run(main())


def test_a_word_has_a_bit_more_than_a_token(providers_clock):
    async def scenario(providers):
        answer = await providers.llm.complete("Write 400 words about walnut desks.")
        assert 1.1 < answer.usage.output_tokens / len(answer.text.split()) < 1.5

    demo(providers_clock, scenario)


class Stock(BaseModel):
    """How many pieces of a product are left."""

    sku: str


class Weather(BaseModel):
    """How warm or cold the weather in a city is."""

    city: str


def test_the_tool_that_fits_is_called_and_what_it_gave_is_told(providers_clock):
    async def scenario(providers):
        tools = [Tool.of(Stock), Tool.of(Weather)]
        for prompt, name in (("How many pieces of the mat are left?", "stock"), ("Is the weather cold?", "weather")):
            answer = await providers.llm.complete(prompt, tools=tools)
            (call,) = answer.tool_calls
            assert (call.name, answer.stop_reason) == (name, StopReason.TOOL_USE)
            for result, told in (
                (ToolResult(call=call.id, content="17 or so"), f"{name} says: 17 or so"),
                (ToolResult(call=call.id, content="offline", is_error=True), f"{name} failed: offline"),
            ):
                turns = [Message.user(prompt), answer.message, Message.user(result)]
                after = await providers.llm.complete(turns, tools=tools)
                assert told in after.text
                assert (after.tool_calls, after.stop_reason) == ((), StopReason.END_TURN)
        strange = [Message.user("Hello."), Message.assistant(ToolCall(id="1", name="gone"))]
        after = await providers.llm.complete([*strange, Message.user(ToolResult(call="2", content="x"))], tools=tools)
        assert "the tool says: x" in after.text

    demo(providers_clock, scenario)


PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 640, 480)
GIF = b"GIF89a" + struct.pack("<HH", 640, 480)
JPEG = b"\xff\xd8\xff\xe0" + struct.pack(">H", 16) + bytes(14) + b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, 480, 640, 3)
LOSSY = b"RIFF" + bytes(4) + b"WEBPVP8 " + bytes(10) + struct.pack("<HH", 640, 480)
LOSSLESS = b"RIFF" + bytes(4) + b"WEBPVP8L" + bytes(5) + struct.pack("<I", 639 | 479 << 14)
LARGE = b"RIFF" + bytes(4) + b"WEBPVP8X" + bytes(8) + struct.pack("<I", 639)[:3] + struct.pack("<I", 479)[:3]


@pytest.mark.parametrize(
    ("data", "kind"),
    [(PNG, "png"), (GIF, "gif"), (JPEG, "jpeg"), (LOSSY, "webp"), (LOSSLESS, "webp"), (LARGE, "webp")],
)
def test_of_a_picture_kind_and_size_are_told(providers_clock, data, kind):
    async def scenario(providers):
        shown = Message.user("What is this?", Image(data=data, media_type=f"image/{kind}"))
        text = (await providers.llm.complete(shown)).text
        assert f"a {kind.upper()}, 640 x 480 pixels, {len(data)} bytes" in text

    demo(providers_clock, scenario)


HEADS = (b"", PNG[:8], GIF[:6], JPEG[:2], LOSSY[:16], LOSSLESS[:16], LARGE[:16])


@given(st.sampled_from(HEADS), st.binary())
def test_a_damaged_picture_has_a_size_or_none(head, more):
    found = size(head + more)
    assert found is None or all(number >= 0 for number in found)


def test_of_a_picture_elsewhere_the_host_is_told(providers_clock):
    async def scenario(providers):
        shown = Message.user("What is this?", Image(url="https://shop.example.com/a.jpg?key=secret"))
        text = (await providers.llm.complete(shown)).text
        assert "shop.example.com" in text
        assert "secret" not in text

    demo(providers_clock, scenario)


def test_models_cost_what_they_cost_and_unknown_ones_are_not_there(providers_clock):
    async def scenario(providers):
        for model in ("claude-haiku-5-5", "claude-haiku-4-5-20251001", None):
            answer = await providers.llm.complete(MAT, model=model)
            assert answer.model == (model or "demo-1")
            assert answer.cost == model_facts.cost(answer.model, answer.usage)
        for call in (providers.llm.complete(MAT, model="gpt-7"), providers.llm.count_tokens(MAT, model="gpt-7"),
                     all_of(providers.llm.stream(MAT, model="gpt-7"))):  # fmt: skip
            with pytest.raises(NotFoundError, match="gpt-7") as caught:
                await call
            assert caught.value.field == "model"

    demo(providers_clock, scenario)


def test_models_retire_by_the_clock(providers_clock):
    async def scenario(providers):
        first, *others = await providers.llm.models()
        assert (first.id, first.lifecycle, first.input_price) == ("demo-1", Lifecycle.ACTIVE, Decimal(2))
        going = next(info for info in others if info.retires_at is not None)
        assert going.lifecycle is Lifecycle.DEPRECATED
        providers_clock.advance(
            (going.retires_at - datetime.fromtimestamp(providers_clock.time(), UTC)).total_seconds()
        )
        gone = next(info for info in await providers.llm.models(fresh=True) if info.id == going.id)
        assert gone.lifecycle is Lifecycle.RETIRED

    demo(providers_clock, scenario)


# Batches and state.


def test_a_batch_ends_after_a_minute(providers_clock):
    async def scenario(providers):
        llm = providers.llm
        asked = {"good": ask(), "no": ask(f"{MAT} demo:refuse"), "bad": ask(f"{MAT} demo:quota"),
                 "lost": ask(f"{MAT} demo:breakoff"), "who": ask(model="gpt-7"), "cut": ask(max_tokens=2),
                 "shown": ask(model="claude-opus-5-5", json_schema=Ad.model_json_schema())}  # fmt: skip
        made = await llm.create_batch(asked)
        providers_clock.advance(59.9)
        assert (await llm.batch(made.ref)).state is BatchState.IN_PROGRESS
        with pytest.raises(ConflictError):
            await all_of(llm.batch_results(made.ref))
        providers_clock.advance(0.1)
        over = await llm.batch(made.ref)
        assert (over.state, over.ended_at - over.created_at) == (BatchState.ENDED, timedelta(minutes=1))
        assert (over.counts.succeeded, over.counts.errored, over.counts.processing) == (4, 3, 0)
        assert over.expires_at - over.created_at == timedelta(days=1)
        outcomes = {one.key: one async for one in llm.batch_results(made.ref)}
        assert list(outcomes) == list(asked)
        for key, kind in (("bad", QuotaExceededError), ("lost", ProviderUnavailableError), ("who", NotFoundError)):
            assert outcomes[key].state is BatchOutcomeState.ERRORED
            assert isinstance(outcomes[key].error, kind)
            assert outcomes[key].error.vendor == "demo"
        assert outcomes["no"].completion.stop_reason is StopReason.REFUSAL
        assert outcomes["cut"].completion.truncated
        Ad.model_validate_json(outcomes["shown"].completion.text)
        single = await llm.complete(MAT)
        assert outcomes["good"].completion.text == single.text
        assert outcomes["good"].completion.cost.amount == single.cost.amount / 2

    demo(providers_clock, scenario)


def test_a_canceled_batch_takes_a_moment_and_has_no_answers(providers_clock):
    async def scenario(providers):
        llm = providers.llm
        made = await llm.create_batch({"a": ask(), "b": ask()})
        assert (await llm.cancel_batch(made.ref)).state is BatchState.CANCELING
        with pytest.raises(ConflictError):
            await all_of(llm.batch_results(made.ref))
        providers_clock.advance(10)
        over = await llm.batch(made.ref)
        assert (over.state, over.counts.canceled, over.counts.succeeded) == (BatchState.ENDED, 2, 0)
        assert [one.state async for one in llm.batch_results(made.ref)] == [BatchOutcomeState.CANCELED] * 2
        ended = await llm.create_batch({"a": ask()})
        providers_clock.advance(60)
        assert (await llm.cancel_batch(ended.ref)).counts.succeeded == 1

    demo(providers_clock, scenario)


def test_batches_are_kept_four_weeks_in_the_shared_state_of_one_tenant(providers_clock):
    store = MemoryStore(providers_clock)

    async def scenario(providers):
        made = await providers.llm.create_batch({"a": ask()})
        picture = Message.user("What?", Image(data=PNG, media_type="image/png"))
        tenant = providers.scoped("t1")
        own = await tenant.llm.create_batch({"x": CompletionRequest(messages=(picture,), tools=(Tool.of(Stock),))})
        await tenant.llm.complete(MAT, fresh=True)
        with pytest.raises(NotFoundError):
            await providers.llm.batch(own.ref)
        keys = [key async for key, _ in store.scan("demo/") if made.ref.id in key or own.ref.id in key]
        assert {key.rpartition("/llm/")[0] for key in keys} == {"demo/", "demo/t1"}
        async with Providers(
            Settings(mode="demo", environ={}, env_file=None), clock=providers_clock, store=store
        ) as other:
            providers_clock.advance(60)
            (one,) = await all_of(other.llm.batch_results(made.ref))
            assert one.completion.text
            (one,) = await all_of(other.scoped("t1").llm.batch_results(own.ref))
            assert one.completion.tool_calls[0].name == "stock"
        providers_clock.advance(BATCH_KEPT)
        with pytest.raises(NotFoundError):
            await providers.llm.batch(made.ref)
        assert await all_of(providers.llm.batches()) == []

    demo(providers_clock, scenario, store=store)


def test_it_is_always_well_and_says_that_it_is_made_up(providers_clock):
    async def scenario(providers):
        (result,) = await providers.llm.check()
        assert (result.ok, result.sandbox) == (True, True)
        assert providers.llm.unwrap(DemoLlm).translate(ValueError("x")) is None

    demo(providers_clock, scenario)


def test_the_first_answer_loads_no_library_of_a_vendor_and_none_for_http():
    code = """
import asyncio, sys
from providers import Providers, Settings
async def main():
    async with Providers(Settings(mode="demo", environ={}, env_file=None)) as providers:
        assert (await providers.llm.complete("Write a slogan for a mug.")).text
        assert (await providers.llm.complete_json("Write a slogan for a mug.", list[str])).value
asyncio.run(main())
print([name for name in ("anthropic", "httpx", "httpx2", "aiohttp", "boto3", "stripe") if name in sys.modules])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# Values that fit a schema.


class Shade(Enum):
    LIGHT = "light"
    DARK = "dark"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Node(BaseModel):
    value: int
    children: list["Node"] = []
    twin: "Node | None" = None


class Leaf(BaseModel):
    kind: Literal["leaf"] = "leaf"
    size: float


class Fork(BaseModel):
    kind: Literal["fork"] = "fork"
    left: "Fork | Leaf" = Field(discriminator="kind")
    right: "Fork | Leaf" = Field(discriminator="kind")


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    count: int
    at: datetime
    day: date
    hour: time
    span: timedelta
    id: UUID
    shade: Shade
    amount: Decimal
    some: frozenset[str]
    pair: tuple[int, str]
    raw: bytes


class Extra(BaseModel):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, int]

    x: int


class Called(BaseModel):
    name: str = Field(alias="theName")


class Python(BaseModel):
    model_config = ConfigDict(regex_engine="python-re")

    password: str = Field(pattern=r"^(?=.*\d)(?=.*[A-Z])[A-Za-z\d]{8,12}$")
    twice: str = Field(pattern=r"^(ab|cd)-\1$")


class Fields(TypedDict, total=False):
    title: str
    size: float


@dataclass
class Plain:
    title: str
    shades: list[Shade]
    inner: "Plain | None" = None


class Pair(NamedTuple):
    x: int
    y: str = "z"


A = Annotated
KINDS = [
    int, float, str, bool, None, Any, bytes, object, JsonValue, date, datetime, time, timedelta, UUID, Decimal, Shade,
    Level, AwareDatetime, HttpUrl, IPv4Address, IPv6Network, Base64Bytes, SecretStr, Json[list[int]], re.Pattern,
    Node, Fork, Strict, Extra, Called, Python, Fields, Plain, Pair, Literal[1, "a", True] | None, Leaf | Fork | int,
    list[int], list[Any], list[list[list[int]]], set[str], set[Shade], set[bool], frozenset[Level], tuple[int, ...],
    tuple[()], tuple[Shade, list[Level], str], dict[str, int], dict[int, str], dict[Shade, int], dict[date, float],
    dict[UUID, Leaf], dict[str, Node], dict[A[str, Field(pattern=r"^[a-z]{3}_\d+$")], int],
    dict[A[str, Field(min_length=4, max_length=5)], int], A[dict[str, int], Field(min_length=5, max_length=6)],
    int | None, list[int] | None, str | int, A[int | str, Field(description="either")],
    A[set[str], Field(min_length=40)], A[set[int], Field(min_length=200)], A[set[float], Field(min_length=150)],
    A[set[A[int, Field(ge=3, le=12)]], Field(min_length=10)], A[set[A[str, Field(max_length=2)]], Field(min_length=30)],
    A[list[str], Field(min_length=7, max_length=7)], A[list[Node], Field(min_length=2)],
    A[int, Field(gt=5, lt=7)], A[int, Field(multiple_of=7, ge=100)], A[int, Field(le=-5)], A[int, Field(ge=10**18)],
    A[float, Field(gt=0, lt=0.0001)], A[float, Field(gt=1e-300, lt=1e-299)], A[float, Field(multiple_of=0.1)],
    A[float, Field(multiple_of=0.25, gt=3, lt=3.6)], A[float, Field(ge=1, le=1)], A[float, Field(ge=1e300)],
    A[Decimal, Field(gt=0, decimal_places=2)], A[Decimal, Field(gt=0, lt=1)], A[Decimal, Field(gt=100, le=101)],
    A[Decimal, Field(multiple_of=Decimal("0.05"), ge=1)], A[Decimal, Field(ge=Decimal("0.001"), le=Decimal("0.002"))],
    A[str, Field(max_length=0)], A[str, Field(max_length=1)], A[str, Field(min_length=500)],
    A[str, Field(min_length=90, max_length=92)], A[str, Field(pattern=r"^[A-Z]{3}-\d{4}$")],
    A[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")], A[str, Field(pattern="[0-9]", min_length=5)],
    A[str, Field(pattern=r"^\+?[1-9]\d{1,14}$")], A[str, Field(pattern=r"^(foo|bar)(-\w+)*$", max_length=12)],
    A[str, Field(pattern=r"^[^\s@]+@[^\s@]+\.[a-z]{2,}$")], A[str, Field(pattern=r"^\p{Lu}\p{L}+$")],
    A[str, Field(pattern=r"^[a-z]+$", min_length=20, max_length=22)], A[str, Field(pattern=r"^[^a-z]\W\D\S.$")],
    A[str, StringConstraints(strip_whitespace=True, to_upper=True, min_length=2)],
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind)[:60])
def test_a_made_up_value_fits_its_schema(kind):
    reading = TypeAdapter(kind)
    schema = reading.json_schema()
    for seed in range(8):
        for about in ("yoga mat", "Zażółć gęślą", "x"):
            value = example(schema, about=about, seed=seed)
            reading.validate_json(json.dumps(value))
            assert example(schema, about=about, seed=seed) == value


NUMBERS = st.integers(-(10**6), 10**6)
LEAVES = st.one_of(
    st.sampled_from(
        [int, float, str, bool, date, datetime, UUID, Decimal, Shade, Level, Leaf, Literal["a", 1], type(None)]
    ),
    st.tuples(NUMBERS, st.integers(0, 1000)).map(lambda two: A[int, Field(ge=two[0], le=two[0] + two[1])]),
    st.tuples(NUMBERS, st.floats(1e-6, 1e6)).map(lambda two: A[float, Field(gt=two[0] / 7, le=two[0] / 7 + two[1])]),
    st.tuples(NUMBERS, st.integers(1, 50)).map(lambda two: A[int, Field(gt=two[0], multiple_of=two[1])]),
    st.tuples(st.integers(0, 300), st.integers(0, 60)).map(
        lambda two: A[str, Field(min_length=two[0], max_length=two[0] + two[1])]
    ),
)
NAMES = st.sampled_from(["title", "price", "score", "rating", "tags", "sku", "url", "when", "count", "x", "first_name"])


def models(inner):
    fields = st.dictionaries(NAMES, st.tuples(inner, st.booleans()), min_size=1, max_size=5)
    return fields.map(
        lambda found: create_model(
            "Made", **{name: (kind, ...) if needed else (kind | None, None) for name, (kind, needed) in found.items()}
        )
    )


TYPES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        inner.map(lambda kind: list[kind]),
        inner.map(lambda kind: dict[str, kind]),
        st.tuples(inner, inner).map(lambda two: tuple[two]),
        st.tuples(inner, inner).map(lambda two: two[0] | two[1]),
        st.tuples(inner, st.integers(0, 5), st.integers(0, 3)).map(
            lambda three: A[list[three[0]], Field(min_length=three[1], max_length=three[1] + three[2])]
        ),
        models(inner),
    ),
    max_leaves=8,
)


@given(TYPES, st.integers(0, 10**9), st.text(max_size=20))
def test_whatever_the_type_a_made_up_value_fits(kind, seed, about):
    reading = TypeAdapter(kind)
    value = example(reading.json_schema(), about=about, seed=seed)
    reading.validate_json(json.dumps(value))


@pytest.mark.parametrize(
    ("pattern", "bounds"),
    [
        (r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$", {}),
        (r"^(?!^[-+.]*$)[+-]?0*(?:\d{0,1}|(?=[\d.]{1,4}0*$)\d{0,1}\.\d{0,2}0*$)", {}),
        (r"^(?!^[-+.]*$)[+-]?0*(?:\d{0,3}|(?=[\d.]{1,4}0*$)\d{0,3}\.\d{0,1}0*$)", {"exclusiveMinimum": 100}),
        (r"^(?!^[-+.]*$)[+-]?0*\d*$", {"minimum": 0.5, "maximum": 7.5}),
    ],
)
def test_a_decimal_has_the_digits_that_its_pattern_allows(pattern, bounds):
    schema = {"anyOf": [{"type": "number", **bounds}, {"type": "string", "pattern": pattern}]}
    for seed in range(30):
        value = example(schema, seed=seed)
        assert isinstance(value, int | float)
        assert re.search(pattern, str(value))
        assert bounds.get("exclusiveMinimum", bounds.get("minimum", -1)) <= value <= bounds.get("maximum", 10**6)


def test_what_nothing_can_fit_is_said():
    for schema in (
        {"type": "object", "properties": {"x": False}, "required": ["x"]},
        {"type": "integer", "minimum": 5, "maximum": 4},
        {"type": "string", "pattern": "^(a$"},
        {"type": "string", "pattern": "^a{5}$", "maxLength": 3},
        {"$ref": "#/$defs/Gone"},
    ):
        with pytest.raises(ValueError, match="schema"):
            example(schema)


def test_what_holds_itself_comes_to_an_end():
    again = {"$ref": "#/$defs/N"}
    inner = {"anyOf": [again, {"type": "array", "items": again}, {"type": "null"}]}
    endless = {**again, "$defs": {"N": {"type": "object", "required": ["n"], "properties": {"n": inner}}}}
    for seed in range(50):
        assert len(json.dumps(example(endless, seed=seed))) < 20_000


class Listing(BaseModel):
    headline: str
    meta_description: str
    price: float
    relevance_score: float
    rating: int
    hashtags: list[str]
    keywords: list[str]
    sku: str
    product_url: str
    contact_email: str
    color: str
    discount_percent: int
    customerName: str  # noqa: N815 (as other languages write it)


@pytest.mark.parametrize("seed", range(20))
def test_fields_hold_what_their_names_say(seed):
    made = Listing.model_validate(
        example(Listing.model_json_schema(), about="Write a listing for a yoga mat", seed=seed)
    )
    assert 3 < len(made.headline) < 60
    assert len(made.meta_description.split()) > 20
    assert "yoga mat" in json.dumps(made.model_dump()).lower()
    assert 9 <= made.price <= 60
    assert 0 <= made.relevance_score <= 1
    assert 1 <= made.rating <= 5
    assert 5 <= made.discount_percent <= 40
    assert all(re.fullmatch(r"#[a-z]+", each) for each in made.hashtags)
    assert all(re.fullmatch(r"[a-z ]+", each) for each in made.keywords)
    assert re.fullmatch(r"YOGA-\d+", made.sku)
    assert made.product_url.startswith("https://shop.example.com/")
    assert re.fullmatch(r"\w+@example\.com", made.contact_email)
    assert made.color.islower()
    assert made.customerName.istitle()


def test_two_products_two_seeds_and_two_fields_have_different_words():
    schema = Listing.model_json_schema()
    made = [example(schema, about=about, seed=seed) for about in ("mug", "lamp") for seed in range(5)]
    assert len({each["meta_description"] for each in made}) == len(made)
