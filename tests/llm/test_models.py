"""What may be asked, and what is known of models: limits, prices, ends, tokens."""

import asyncio
import json
import logging
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from providers import Money, Providers, Settings
from providers.errors import ConfigurationError, InvalidRequestError, ProviderUnavailableError
from providers.llm import (
    BatchState,
    CacheFor,
    Completion,
    CompletionRequest,
    Effort,
    Image,
    Lifecycle,
    Message,
    Opaque,
    Parsed,
    Role,
    StopReason,
    StreamEvent,
    StreamEventType,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Usage,
    model_facts,
    tokens,
)
from providers.testing.clock import ManualClock

HI = Message.user("Hi")
SEARCH = Tool(name="search", input_schema={"type": "object", "properties": {}})
PNG = b"\x89PNG\r\n"


def ask(**fields):
    return CompletionRequest(**{"messages": (HI,), **fields})


# What may be asked.


@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("messages", lambda: ask(messages=())),
        ("messages", lambda: ask(messages=(Message.assistant("Hi"),))),
        ("messages", lambda: ask(messages=(HI, Message.assistant("Hello")))),
        ("messages", lambda: ask(messages=(Message.assistant("Hello"), HI))),
        ("max_tokens", lambda: ask(max_tokens=0)),
        ("max_tokens", lambda: ask(max_tokens=-5)),
        ("max_tokens", lambda: ask(max_tokens=128_001)),
        ("temperature", lambda: ask(temperature=-0.1)),
        ("temperature", lambda: ask(temperature=2.1)),
        ("temperature", lambda: ask(temperature=float("nan"))),
        ("model", lambda: ask(model="")),
        ("stop.1", lambda: ask(stop=("END", ""))),
        ("effort", lambda: ask(effort="enormous")),
        ("cache", lambda: ask(cache="2h")),
        ("tempo", lambda: ask(tempo=1)),
        ("content", lambda: Message.user("")),
        ("text", lambda: Text(text="")),
        ("role", lambda: Message(role="system", content="Be brief.")),
        ("name", lambda: Tool(name="", input_schema={})),
        ("name", lambda: Tool(name="find product", input_schema={})),
        ("name", lambda: Tool(name="x" * 65, input_schema={})),
        ("input_schema", lambda: Tool(name="search")),
        ("data", lambda: Image(data=b"x" * 5_000_001, media_type="image/png")),
        ("id", lambda: ToolCall(name="search")),
        ("call", lambda: ToolResult(content="7")),
    ],
)
def test_what_cannot_be_asked_is_refused_by_the_name_of_the_field(field, make):
    with pytest.raises(InvalidRequestError) as caught:
        make()

    # Of a field that takes several kinds of things the kind may follow.
    assert f"{caught.value.field}.".startswith(f"{field}.")
    assert str(caught.value).startswith(f"{caught.value.field}: ")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (Image, "give either data or url"),
        (lambda: Image(data=PNG, media_type="image/png", url="https://a.example.com/a.png"), "give either data or url"),
        (lambda: Image(data=PNG), "media_type must be one of"),
        (lambda: Image(data=PNG, media_type="image/bmp"), "media_type must be one of"),
        (lambda: Image(url="http://a.example.com/a.png"), "must start with https://"),
        (lambda: Image(url="file:///etc/passwd"), "must start with https://"),
        (lambda: ask(tools=(SEARCH, SEARCH)), "two have the same name"),
        (lambda: ask(tools=(SEARCH,), tool_choice="find"), "tool_choice"),
        (lambda: ask(tool_choice="search"), "tool_choice"),
    ],
)
def test_what_does_not_go_together_is_refused(make, why):
    with pytest.raises(InvalidRequestError, match=why):
        make()


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"tools": (SEARCH, SEARCH)}, "tools"),
        ({"tool_choice": "nobody"}, "tool_choice"),
        ({"stop": ("",)}, "stop"),
        ({"model": ""}, "model"),
    ],
)
@pytest.mark.parametrize("operation", ["complete", "stream"])
def test_a_call_with_bad_input_asks_nobody(operation, options, field):
    started = []

    def hook(start):
        started.append(start.operation)
        return lambda _: None

    async def scenario():
        async with Providers(Settings(mode="demo", environ={}, env_file=None), hooks=[hook]) as p:
            events = p.llm.stream("Hi", **options)
            call = p.llm.complete("Hi", **options) if operation == "complete" else anext(events)
            with pytest.raises(InvalidRequestError, match=field):
                await call

    asyncio.run(scenario())
    assert started == []


@pytest.mark.parametrize("prompt", ["", [], (), [""], [Message.assistant("Hi")], [HI, Message.assistant("Hello")]])
def test_a_prompt_that_is_none_is_refused(prompt):
    async def scenario():
        async with Providers(Settings(mode="demo", environ={}, env_file=None)) as p:
            with pytest.raises(InvalidRequestError):
                await p.llm.complete(prompt)

    asyncio.run(scenario())


def test_turns_are_written_as_text_or_as_parts():
    picture = Image(data=PNG, media_type="image/png")

    assert Message.user("Hi").parts == (Text(text="Hi"),)
    assert Message.user("See", picture).parts == (Text(text="See"), picture)
    assert Message.user("Hi") == Message(role=Role.USER, content="Hi")
    assert Message.assistant(Text(text="Hi")).content == (Text(text="Hi"),)


def test_a_request_says_what_is_in_it():
    plain = ask(messages=(Message.user("One", "Two"),), system=(Text(text="Be"), Text(text="brief")))

    assert (plain.text, plain.system_text) == ("One\n\nTwo", "Be\n\nbrief")
    assert (plain.conversation, plain.images, plain.caches) == (False, False, False)
    assert ask(messages=(HI, Message.assistant("Hello"), HI)).conversation
    assert ask(messages=(Message.user("See", Image(url="https://a.example.com/a.png")),)).images


@pytest.mark.parametrize(
    "fields",
    [
        {"cache": CacheFor.HOUR},
        {"messages": (Message.user(Text(text="Hi", cache=CacheFor.MINUTES)),)},
        {"messages": (Message.user(Image(url="https://a.example.com/a.png", cache=CacheFor.MINUTES)),)},
        {"system": (Text(text="Be brief", cache=CacheFor.HOUR),)},
        {"tools": (Tool(name="search", input_schema={}, cache=CacheFor.MINUTES),)},
    ],
)
def test_a_request_of_which_any_part_is_to_be_kept_says_so(fields):
    assert ask(**fields).caches


def test_a_tool_is_made_of_a_model():
    class FindProduct(BaseModel):
        """Find products by their name."""

        name: str = Field(description="or a part of it")
        limit: int = 5

    class Nameless(BaseModel):
        name: str

    tool = Tool.of(FindProduct)
    assert (tool.name, tool.description) == ("find_product", "Find products by their name.")
    assert tool.input_schema["required"] == ["name"]
    other = Tool.of(FindProduct, name="search", description="Search.")
    assert (other.name, other.description) == ("search", "Search.")
    assert Tool.of(Nameless).description == ""


texts = st.text(min_size=1, max_size=30)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
objects = st.dictionaries(st.text(max_size=5), json_values, max_size=3)
parts = st.one_of(
    st.builds(Text, text=texts, cache=st.none() | st.sampled_from(CacheFor)),
    st.builds(Image, data=st.binary(max_size=20), media_type=st.just("image/png")),
    st.builds(Image, url=st.just("https://a.example.com/a.png")),
    st.builds(ToolCall, id=texts, name=texts, input=objects),
    st.builds(ToolResult, call=texts, content=st.text(max_size=20), is_error=st.booleans()),
    st.builds(Opaque, vendor=st.just("anthropic"), block=objects),
)
turns = st.lists(parts, min_size=1, max_size=4).map(tuple) | texts
messages = st.builds(Message, role=st.just(Role.USER), content=turns)
tools = st.lists(
    st.builds(
        Tool, name=st.from_regex(r"[a-zA-Z0-9_-]{1,12}", fullmatch=True), description=texts, input_schema=objects
    ),
    max_size=3,
    unique_by=lambda tool: tool.name,
).map(tuple)
requests = st.builds(
    CompletionRequest,
    messages=st.lists(messages, min_size=1, max_size=3).map(tuple),
    system=texts | st.lists(st.builds(Text, text=texts), max_size=2).map(tuple),
    max_tokens=st.integers(1, 128_000),
    temperature=st.none() | st.floats(0, 2),
    tools=tools,
    tool_choice=st.sampled_from(ToolChoice),
    effort=st.none() | st.sampled_from(Effort),
    json_schema=st.none() | objects,
)


@given(request=requests)
def test_a_request_survives_json(request):
    assert CompletionRequest.model_validate_json(request.model_dump_json()) == request


# What is answered.


def test_words_of_vendors_that_nobody_knows_are_unknown():
    assert StopReason("out_of_ideas") is StopReason.UNKNOWN
    assert Lifecycle("resting") is Lifecycle.UNKNOWN
    assert BatchState("thinking") is BatchState.UNKNOWN


@pytest.mark.parametrize(
    ("reason", "cut"),
    [(StopReason.MAX_TOKENS, True), (StopReason.CONTEXT_FULL, True), (StopReason.END_TURN, False), (None, False)],
)
def test_an_answer_says_whether_it_is_cut_short(reason, cut):
    usage = Usage(input_tokens=1, output_tokens=1)
    answer = Completion(text="x", vendor="demo", provider="demo", model="demo-1", usage=usage, stop_reason=reason)

    assert answer.truncated is cut


def test_usage_adds_up():
    first = Usage(input_tokens=1, output_tokens=2, cache_read_tokens=3, cache_write_tokens=4, cache_write_hour_tokens=5)
    second = Usage(input_tokens=10, output_tokens=20, exact=False)

    assert first.prompt_tokens == 13
    assert first + second == Usage(
        input_tokens=11,
        output_tokens=22,
        cache_read_tokens=3,
        cache_write_tokens=4,
        cache_write_hour_tokens=5,
        exact=False,
    )


def test_answers_and_events_dump_to_json_without_the_vendor_s_reply_and_errors():
    usage = Usage(input_tokens=1, output_tokens=1)
    answer = Completion(
        text="Hi",
        vendor="demo",
        provider="demo",
        model="demo-1",
        usage=usage,
        cost=Money(amount=Decimal("0.000012"), currency="USD"),
        message=Message.assistant(Opaque(vendor="demo", block={"type": "thinking", "signature": "x"}), "Hi"),
        raw={"secret": 1},
    )
    event = StreamEvent(
        type=StreamEventType.ERROR, usage=usage, completion=answer, error=ProviderUnavailableError("down")
    )
    parsed = Parsed[Decimal](**dict(answer), value=Decimal("9.90"))

    assert Completion.model_validate_json(answer.model_dump_json()) == answer.model_copy(update={"raw": None})
    shown = json.loads(event.model_dump_json())
    assert "error" not in shown
    assert "raw" not in shown["completion"]
    assert json.loads(parsed.model_dump_json())["value"] == "9.90"
    assert "secret" not in repr(answer) + repr(event) + repr(parsed)


# Prices, by hand.


@pytest.mark.parametrize(
    ("model", "usage", "dollars"),
    [
        # 1,000 x $2 + 500 x $10 per million.
        ("claude-sonnet-5-5", {"input_tokens": 1_000, "output_tokens": 500}, "0.007"),
        # 3 x 15 per million.
        ("claude-sonnet-4-5-20250929", {"input_tokens": 6, "output_tokens": 12}, "0.000198"),
        # Written for five minutes: 1.25 x $2; for an hour: 2 x $2; read: $0.10.
        (
            "claude-sonnet-5-5",
            {"input_tokens": 100, "output_tokens": 10, "cache_write_tokens": 2_000},
            "0.0053",  # 0.0002 + 0.0001 + 0.005
        ),
        (
            "claude-sonnet-5-5",
            {"input_tokens": 100, "output_tokens": 10, "cache_write_hour_tokens": 2_000},
            "0.0083",  # 0.0002 + 0.0001 + 0.008
        ),
        (
            "claude-sonnet-5-5",
            {"input_tokens": 100, "output_tokens": 10, "cache_read_tokens": 2_000},
            "0.0005",  # 0.0002 + 0.0001 + 0.0002
        ),
        # A tenth for what is read elsewhere.
        ("claude-opus-5-5", {"input_tokens": 0, "output_tokens": 0, "cache_read_tokens": 1_000_000}, "0.4"),
        ("claude-opus-5-5", {"input_tokens": 0, "output_tokens": 0, "cache_write_tokens": 1_000_000}, "5"),
        # Haiku 5.5: cheap up to 100,000 tokens of prompt, five times that for all of a longer one.
        ("claude-haiku-5-5", {"input_tokens": 100_000, "output_tokens": 1_000}, "0.0105"),
        ("claude-haiku-5-5", {"input_tokens": 100_001, "output_tokens": 1_000}, "0.0525005"),
        (
            "claude-haiku-5-5",
            {"input_tokens": 1, "output_tokens": 1_000, "cache_read_tokens": 60_000, "cache_write_tokens": 40_000},
            "0.0305005",  # 0.0000005 + 0.0025 + 0.003 + 0.025
        ),
        ("demo-1", {"input_tokens": 50, "output_tokens": 10}, "0.0002"),
    ],
)
def test_a_call_costs_what_the_list_says(model, usage, dollars):
    assert model_facts.cost(model, Usage(**usage)) == Money(amount=Decimal(dollars), currency="USD")


def test_a_batch_costs_half():
    usage = Usage(input_tokens=1_000, output_tokens=500)

    assert model_facts.cost("claude-sonnet-5-5", usage, batch=True) == Money(amount=Decimal("0.0035"), currency="USD")


@pytest.mark.parametrize("model", ["claude-sonnet-9", "gpt-7", "", "claude-sonnet-5-5-beta", "claude-sonnet-5-5-2026"])
def test_what_an_unknown_model_costs_is_unknown(model):
    assert model_facts.known(model) is None
    assert model_facts.cost(model, Usage(input_tokens=1, output_tokens=1)) is None


def test_a_dated_name_is_the_same_model():
    assert model_facts.known("claude-haiku-4-5-20251001") is model_facts.known("claude-haiku-4-5")


counts = st.integers(0, 300_000)


@given(
    model=st.sampled_from(sorted(model_facts.MODELS)),
    usage=st.builds(Usage, input_tokens=counts, output_tokens=counts, cache_read_tokens=counts),
    written=st.tuples(counts, counts) | st.just((0, 0)),
    spare=st.tuples(counts, counts),
)
def test_nothing_costs_more_than_what_was_set_aside_for_it(model, usage, written, spare):
    price = model_facts.MODELS[model].price
    usage = usage.model_copy(update={"cache_write_tokens": written[0], "cache_write_hour_tokens": written[1]})
    most = model_facts.at_most(
        price, usage.prompt_tokens + spare[0], usage.output_tokens + spare[1], caches=any(written)
    )

    assert model_facts.cost(model, usage).amount <= most


# The end of a model.

ENDS = datetime(2026, 11, 30, tzinfo=UTC).timestamp()
DAY = 86_400.0


@pytest.fixture
def warned(monkeypatch, caplog):
    monkeypatch.setattr(model_facts, "_warned", set())
    caplog.set_level(logging.INFO, logger="providers")
    return lambda: [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_model_near_its_end_is_warned_of_once(warned):
    for _ in range(3):
        model_facts.warn_of_end("claude-sonnet-4-5", ENDS - 7 * DAY)

    assert warned() == ["the model claude-sonnet-4-5 retires on 2026-11-30"]


def test_by_its_dated_name_too(warned):
    model_facts.warn_of_end("claude-sonnet-4-5-20250929", ENDS - 7 * DAY)

    assert warned() == ["the model claude-sonnet-4-5-20250929 retires on 2026-11-30"]


def test_long_before_nobody_is_warned_and_later_they_are(warned):
    model_facts.warn_of_end("claude-sonnet-4-5", ENDS - 100 * DAY)
    assert warned() == []
    model_facts.warn_of_end("claude-sonnet-4-5", ENDS - 59 * DAY)
    assert len(warned()) == 1


def test_after_its_end_it_is_said_that_it_was_to_end(warned):
    model_facts.warn_of_end("claude-sonnet-4-5", ENDS + DAY)

    assert warned() == ["the model claude-sonnet-4-5 was to retire on 2026-11-30"]


@pytest.mark.parametrize("model", ["claude-sonnet-5-5", "nobody-knows-it", ""])
def test_what_has_no_known_end_is_not_warned_of(warned, model):
    model_facts.warn_of_end(model, ENDS)

    assert warned() == []


@pytest.mark.parametrize(("days", "count"), [(100, 0), (7, 1), (-1, 1)])
def test_who_asks_a_model_near_its_end_is_told_in_the_log(warned, days, count):
    async def scenario():
        settings = Settings(mode="demo", environ={}, env_file=None)
        async with Providers(settings, clock=ManualClock(ENDS - days * DAY)) as p:
            for _ in range(2):
                await p.llm.complete("Hi", model="claude-sonnet-4-5")
                _ = [event async for event in p.llm.stream("Hi", model="claude-sonnet-4-5")]
            await p.llm.complete("Hi")

    asyncio.run(scenario())
    assert len(warned()) == count


# Tokens.


@given(request=requests)
def test_a_prompt_has_no_more_tokens_than_are_reckoned_with(request):
    """No token is shorter than a byte; a picture has fewer than 5,000."""
    said = [request.system_text, *(tool.description + tool.name for tool in request.tools)]
    pictures = 0
    for part in (part for message in request.messages for part in message.parts):
        if isinstance(part, Image):
            pictures += 1
        elif isinstance(part, Text):
            said.append(part.text)
        elif isinstance(part, ToolCall):
            said += [part.id, part.name, json.dumps(dict(part.input), ensure_ascii=False, separators=(",", ":"))]
        elif isinstance(part, ToolResult):
            said += [part.call, part.content]
        else:
            said.append(json.dumps(part.block, ensure_ascii=False, separators=(",", ":")))
    said += [
        json.dumps(dict(schema), ensure_ascii=False, separators=(",", ":"))
        for schema in (*(tool.input_schema for tool in request.tools), request.json_schema)
        if schema
    ]
    longest = sum(len(text.encode(errors="surrogatepass")) for text in said) + pictures * 4_800

    assert tokens.most_input_tokens(request) - tokens.ROUND_IT >= longest


def test_a_prompt_of_parts_counts_as_the_same_in_one_piece():
    for text in ("plain words", "żółć", "素敵なマット", "🧘‍♀️" * 50):
        parts, piece = ask(messages=(Message.user(Text(text=text)),)), ask(messages=(Message.user(text),))
        assert tokens.most_input_tokens(parts) >= tokens.most_input_tokens(piece)


@given(text=st.text(max_size=200), more=st.text(max_size=50))
def test_a_reckoning_grows_with_the_text_and_is_of_thirds_of_bytes(text, more):
    assert tokens.reckon("") == 0
    assert tokens.reckon(text) * 3 >= len(text.encode())
    assert tokens.reckon(text) * 3 < len(text.encode()) + 3
    assert tokens.reckon(text + more) >= tokens.reckon(text)


# A budget in money cannot count what has no price.


def test_a_model_without_a_price_is_not_asked_where_money_is_limited():
    async def scenario():
        settings = Settings(mode="demo", budgets={"llm": "1 USD/month"}, environ={}, env_file=None)
        async with Providers(settings, clock=ManualClock()) as p:
            with pytest.raises(ConfigurationError) as caught:
                await p.llm.complete("Hi", model="nobody-knows-it")
            assert caught.value.code == "price"
            assert (await p.llm.complete("Hi")).cost is not None

    asyncio.run(scenario())
