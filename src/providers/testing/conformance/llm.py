"""What every adapter to language models must do, whatever the vendor: the demo, live vendors, those of other packages.

    class TestOracle(LlmConformance):
        @pytest.fixture
        def harness(self) -> Iterator[LlmHarness]:
            with OracleServer() as server:
                yield LlmHarness(
                    open=lambda **parts: Providers(settings(server), **parts),
                    sent=lambda: [call.prompt for call in server.calls],
                )

Each test opens its own `Providers` and goes through `providers.llm`, never to the adapter directly. What the vendor's
facts declare as unsupported is asserted to be refused before anything is sent.
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, NamedTuple, TypeVar, cast
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict

from providers.core.errors import (
    BadResponseError,
    BudgetExceededError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RejectedError,
    UnsupportedOperationError,
)
from providers.core.models import Money, Ref
from providers.core.store import MemoryStore
from providers.llm import model_facts
from providers.llm.models import (
    BatchOutcomeState,
    BatchState,
    CacheFor,
    Completion,
    CompletionRequest,
    Effort,
    Image,
    Message,
    Parsed,
    Role,
    StopReason,
    StreamEvent,
    StreamEventType,
    Text,
    Tool,
    ToolChoice,
    ToolResult,
)
from providers.testing.clock import ManualClock
from providers.testing.conformance._suite import (
    PATIENCE,
    CapabilityConformance,
    check_model,
    collect,
    cut_off,
    declared,
    either,
    ended,
    in_flight,
    invalid,
    loaded,
    needed,
    pickles,
    proven,
)

if TYPE_CHECKING:
    from providers import sync
    from providers.core.operation import VendorFacts
    from providers.llm.api import LlmAdapter
    from providers.llm.models import Prompt
    from providers.runtime import Providers, Scope
    from providers.testing.conformance._suite import SlowCalls

T = TypeVar("T")

PROMPT = "Write a description of 40 words for a yoga mat."
FEATURES = ("conversation", "images", "tools", "stop", "model", "effort", "caches")
"""What an adapter's facts may declare as unsupported besides whole operations: parts of the request."""

OPERATIONS = (
    "stream",
    "count_tokens",
    "models",
    "create_batch",
    "batch",
    "batches",
    "batch_results",
    "cancel_batch",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmHarness:
    """An adapter under test, and what the suite needs from the world around it.

    Attributes:
        open: a new `Providers` whose `llm` has this adapter as its only vendor. Called several times in one test: all
            share the vendor's account. The keywords go to `Providers(...)` (`clock=`, `store=`).
        open_sync: the same of `providers.sync`.
        clock: the clock that the suite passes to `open`; a local server should go by it too.
        sent: the prompts that the vendor was asked to answer so far (the words of all turns), oldest first. None where
            nobody can see them: then no test can tell what was sent.
        say: the texts of the vendor's next answers, in order.
        refuse: the model will not answer the next question; gets a prompt, and gives the one to ask then.
        break_off: ways in which the next stream ends in its middle, after a word at least; each gets a prompt, and
            gives the one to ask then.
        unavailable: the vendor is overloaded for so many calls, before it answers anything.
        stalled: while the context is open, the vendor answers no question.
        held: while the context is open, the vendor sends a word at least of the next stream, and then nothing.
        finish_batches: the vendor comes to the end of its batches.
        secrets: what must not be in any error.

    """

    open: Callable[..., Providers]
    open_sync: Callable[..., sync.Providers] | None = None
    clock: ManualClock = field(default_factory=ManualClock)
    sent: Callable[[], Sequence[str]] | None = None
    say: Callable[..., object] | None = None
    refuse: Callable[[str], str] | None = None
    break_off: Sequence[Callable[[str], str]] | None = None
    unavailable: Callable[[Providers, int], object] | None = None
    stalled: Callable[[], AbstractContextManager[object]] | None = None
    held: Callable[[], AbstractContextManager[object]] | None = None
    finish_batches: Callable[[], object] | None = None
    secrets: Sequence[str] = ()


# What answers are read as.


class Mood(StrEnum):
    """How it sounds."""

    WARM = "warm"
    DRY = "dry"


class Ad(BaseModel):
    """One advertisement."""

    headline: str
    body: str
    keywords: list[str]
    mood: Mood


class Campaign(BaseModel):
    """Several, and when."""

    name: str
    starts: date
    budget: Decimal
    ads: list[Ad]
    note: str | None = None


class Branch(BaseModel):
    """A category with those below it."""

    title: str
    children: list[Branch] = []


class Percent(BaseModel):
    """So much less."""

    kind: Literal["percent"]
    percent: float


class Gift(BaseModel):
    """Something extra."""

    kind: Literal["gift"]
    sku: str


class Offers(BaseModel):
    """One of two kinds each."""

    offers: list[Annotated[Percent | Gift, Field(discriminator="kind")]]


class Exact(BaseModel):
    """Nothing else, and nothing converted."""

    model_config = ConfigDict(extra="forbid", strict=True)

    at: datetime
    id: UUID
    count: int
    share: float
    mood: Mood


class Named(BaseModel):
    """Called otherwise on the wire."""

    meta_title: Annotated[str, Field(alias="metaTitle")]
    is_new: Annotated[bool, Field(alias="isNew")] = False


class Bounded(BaseModel):
    """Within limits."""

    rating: Annotated[int, Field(ge=1, le=5)]
    title: Annotated[str, Field(min_length=3, max_length=40)]
    share: Annotated[float, Field(gt=0, lt=1)]
    tags: Annotated[list[str], Field(min_length=1, max_length=3)]
    slug: Annotated[str, Field(pattern=r"^[a-z]+(-[a-z]+)*$")]


class Listing(BaseModel, Generic[T]):
    """Items, and how many."""

    items: list[T]
    total: int


@dataclass
class Variant:
    """Of a product."""

    sku: str
    price: Decimal
    sizes: list[str]


class Dimensions(TypedDict):
    """In centimetres."""

    width: float
    height: float


class Size(NamedTuple):
    """As a pair."""

    width: int
    unit: str


SCHEMAS: dict[str, object] = {
    "a model": Ad,
    "a nested model": Campaign,
    "a tree": Branch,
    "a tagged union": Offers,
    "a strict model": Exact,
    "a model with aliases": Named,
    "a model with bounds": Bounded,
    "a generic model": Listing[Ad],
    "a dataclass": Variant,
    "a typed dict": Dimensions,
    "a named tuple": Size,
    "an enum": Mood,
    "a literal": Literal["yes", "no"],
    "a text": str,
    "a number": float,
    "a truth": bool,
    "a list of texts": list[str],
    "a list of models": list[Ad],
    "a set of enums": set[Mood],
    "a tuple": tuple[int, str, bool],
    "a mapping": dict[str, float],
    "a mapping of models": dict[str, Ad],
    "a union": int | list[str],
    "an optional model": Ad | None,
    "a list of lists": list[list[int]],
}
"""Types that answers are asked for in, by what they are."""


class Weather(BaseModel):
    """How the weather is in a city."""

    city: str
    days: int = 1


class Stock(BaseModel):
    """How many pieces of a product are in stock."""

    sku: str


TOOLS = (Tool.of(Stock, name="get_stock"), Tool.of(Weather, name="get_weather"))
SHAPES: Mapping[str, type[BaseModel]] = {"get_stock": Stock, "get_weather": Weather}


def png(width: int = 4, height: int = 2) -> bytes:
    """A small picture."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = zlib.compress((b"\0" + b"\x80\x20\x60" * width) * height)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


class LlmConformance(CapabilityConformance["LlmHarness"]):
    """The promises of `providers.llm`. Subclasses give the fixture `harness`."""

    capability = "llm"

    async def simplest(self, providers: Providers) -> object:
        """See `CapabilityConformance`."""
        return await providers.llm.complete(PROMPT)

    async def slow_calls(self, harness: LlmHarness, providers: Providers, within: float) -> SlowCalls:
        """Both questions for JSON together have this time."""
        await providers.llm.check()
        yield "llm.complete", providers.llm.complete(PROMPT, timeout=within)
        yield "llm.complete", providers.llm.complete_json(PROMPT, Ad, timeout=within)

    def given_up(self, harness: LlmHarness, providers: Providers, error: ProviderError) -> None:
        """And no secret."""
        failed(harness, providers, error, "llm.complete")

    # Asking.

    def test_a_prompt_is_answered(self, harness: LlmHarness) -> None:
        """With the text, who gave it, what it used and what it cost; and as a turn, to go on with."""

        async def scenario(providers: Providers) -> None:
            answer = await providers.llm.complete(PROMPT, system="You write for a shop.", max_tokens=500)
            assert isinstance(answer, Completion)
            assert answer.text.strip()
            assert answer.vendor == facts(providers).vendor
            assert answer.provider
            assert answer.model
            assert answer.stop_reason in {None, StopReason.END_TURN}
            assert not answer.truncated
            assert not answer.cached
            assert answer.refusal is None
            assert answer.tool_calls == ()
            assert answer.request_id != ""
            assert answer.message is not None
            assert answer.message.role is Role.ASSISTANT
            assert "".join(part.text for part in answer.message.parts if isinstance(part, Text)) == answer.text
            accounted(answer)
            check_model(answer)

        run(harness, scenario)

    def test_words_arrive_as_they_were_written_both_ways(self, harness: LlmHarness) -> None:
        """Of any language, with quotes, breaks and signs."""
        say = needed(harness.say, "say: what the vendor answers")
        words = 'Zażółć "gęślą" jaźń 🧘\u200d♀️ <b>50%</b> & {more}\n\n- eins\n- zwei \\ drei'

        async def scenario(providers: Providers) -> None:
            say(words)
            answer = await providers.llm.complete(f"{words} What is this?", system=words)
            assert answer.text == words
            (asked,) = sent(harness)
            assert f"{words} What is this?" in asked

        run(harness, scenario)

    def test_a_prompt_may_be_text_a_message_or_messages(self, harness: LlmHarness) -> None:
        """Of text, or of parts; so may the system prompt."""

        async def scenario(providers: Providers) -> None:
            llm = providers.llm
            prompts: tuple[Prompt, ...] = (
                "Say hello to Ana.",
                Message.user("Say hello to Ana."),
                (Message.user("Say hello to Ana."),),
                [Message.user(Text(text="Say hello"), Text(text="to Ana."))],
            )
            for number, prompt in enumerate(prompts):
                system = "Be kind." if number % 2 else (Text(text="Be kind."), Text(text="Be short."))
                assert (await llm.complete(prompt, system=system)).text
            assert all("Ana" in asked for asked in sent(harness))

        run(harness, scenario)

    def test_a_conversation_goes_on(self, harness: LlmHarness) -> None:
        """The answer goes back as the turn that it was."""

        async def scenario(providers: Providers) -> None:
            turns = [Message.user(PROMPT), Message.assistant("A mat."), Message.user("Longer, please.")]
            if await refused(harness, providers, "conversation", lambda: providers.llm.complete(turns)):
                return
            first = await providers.llm.complete(PROMPT)
            assert first.message is not None
            second = await providers.llm.complete([turns[0], first.message, turns[2]])
            assert second.text
            assert second.usage.prompt_tokens > first.usage.prompt_tokens
            accounted(second)
            assert "Longer, please." in sent(harness)[-1]

        run(harness, scenario)

    def test_an_answer_is_cut_at_max_tokens_and_says_so(self, harness: LlmHarness) -> None:
        """With what there is of it; asked with more room it is whole."""

        async def scenario(providers: Providers) -> None:
            cut = await providers.llm.complete(PROMPT, max_tokens=8)
            assert cut.stop_reason is StopReason.MAX_TOKENS
            assert cut.truncated
            assert 0 < cut.usage.output_tokens <= 8
            accounted(cut)
            whole = await providers.llm.complete(PROMPT, max_tokens=500)
            assert not whole.truncated
            assert len(whole.text) > len(cut.text) > 0

        run(harness, scenario)

    def test_a_refusal_is_a_stop_reason_not_an_error(self, harness: LlmHarness) -> None:
        """Where the vendor tells it; it costs what it costs. There is no value in it, and asking again is no use."""
        refuse = needed(harness.refuse, "refuse: a model that will not answer")

        async def scenario(providers: Providers) -> None:
            tells = (await providers.llm.complete(PROMPT)).stop_reason is not None
            answer = await providers.llm.complete(refuse("Write a slogan for a mug."))
            accounted(answer)
            check_model(answer)
            if not tells:
                assert answer.stop_reason is None
                assert answer.text
                return
            assert answer.stop_reason is StopReason.REFUSAL
            assert answer.refusal is not None
            asked = len(sent(harness))
            with pytest.raises(RejectedError) as caught:
                await providers.llm.complete_json(refuse("Write a slogan for a cup."), Ad)
            assert caught.value.code == "refusal"
            failed(harness, providers, caught.value, "llm.complete_json")
            assert len(sent(harness)) == asked + 1

        run(harness, scenario)

    def test_a_stop_sequence_ends_an_answer(self, harness: LlmHarness) -> None:
        """It is named, and not in the text."""
        say = needed(harness.say, "say: what the vendor answers")

        async def scenario(providers: Providers) -> None:
            def ask() -> Awaitable[Completion]:
                return providers.llm.complete(PROMPT, stop=("DONE", "END"))

            if await refused(harness, providers, "stop", ask):
                return
            say("One two END three DONE.", "One two three.")
            answer = await ask()
            assert (answer.stop_reason, answer.stop_sequence) == (StopReason.STOP_SEQUENCE, "END")
            assert answer.text.strip() == "One two"
            accounted(answer)
            other = await providers.llm.complete("Count.", stop=("DONE",))
            assert (other.stop_reason, other.stop_sequence) == (StopReason.END_TURN, None)

        run(harness, scenario)

    @pytest.mark.parametrize("temperature", [0, 0.3, 1.0, 2.0])
    def test_a_temperature_is_taken_or_left_out_never_an_error(self, harness: LlmHarness, temperature: float) -> None:
        """Newer versions of vendors' APIs refuse it."""

        async def scenario(providers: Providers) -> None:
            assert (await providers.llm.complete(PROMPT, temperature=temperature)).text

        run(harness, scenario)

    def test_the_model_is_the_caller_s_choice(self, harness: LlmHarness) -> None:
        """Each costs what it costs; one that is not there is not found."""

        async def scenario(providers: Providers) -> None:
            llm = providers.llm
            if await refused(harness, providers, "model", lambda: llm.complete(PROMPT, model="another-one")):
                return
            asked = [info.id for info in await llm.models() if info.retires_at is None][:3]
            assert asked
            for model in asked:
                answer = await llm.complete(PROMPT, model=model)
                assert model_facts.DATED.sub("", answer.model) == model_facts.DATED.sub("", model)
                accounted(answer)
            with pytest.raises(NotFoundError) as caught:
                await llm.complete(PROMPT, model="no-such-model")
            failed(harness, providers, caught.value, "llm.complete")

        run(harness, scenario)

    def test_pictures_can_be_shown(self, harness: LlmHarness) -> None:
        """As bytes, or where they are; they are counted."""

        async def scenario(providers: Providers) -> None:
            llm = providers.llm
            shown = Image(data=png(), media_type="image/png")
            question = Message.user("What is in this picture?", shown)
            if await refused(harness, providers, "images", lambda: llm.complete(question)):
                return
            words = await llm.complete("What is in this picture?")
            for picture in (shown, Image(url="https://shop.example.com/mat.jpg")):
                answer = await llm.complete(Message.user("What is in this picture?", picture))
                assert answer.text
                assert answer.usage.prompt_tokens > words.usage.prompt_tokens
                accounted(answer)

        run(harness, scenario)

    @pytest.mark.parametrize("effort", list(Effort))
    def test_effort_is_taken_or_refused_never_dropped(self, harness: LlmHarness, effort: Effort) -> None:
        """As the facts say."""

        async def scenario(providers: Providers) -> None:
            def ask() -> Awaitable[Completion]:
                return providers.llm.complete(PROMPT, effort=effort, max_tokens=2000)

            if await refused(harness, providers, "effort", ask):
                return
            answer = await ask()
            assert answer.text
            accounted(answer)

        run(harness, scenario)

    def test_parts_of_a_prompt_can_be_marked_to_be_kept(self, harness: LlmHarness) -> None:
        """What is read from what the vendor kept is counted apart, and cheaper; the prompt is as long as before."""

        async def scenario(providers: Providers) -> None:
            llm = providers.llm
            long = " ".join(["Our mats are made of cork and last for years."] * 400)
            kept = (Text(text=long, cache=CacheFor.HOUR), Text(text="Be short."))
            if await refused(harness, providers, "caches", lambda: llm.complete(PROMPT, system=kept)):
                await refused(harness, providers, "caches", lambda: llm.complete(PROMPT, cache=CacheFor.MINUTES))
                return
            plain = await llm.complete(PROMPT, system=(Text(text=long), Text(text="Be short.")))
            for marked in (await llm.complete(PROMPT, system=kept), await llm.complete(PROMPT, system=kept)):
                assert marked.usage.prompt_tokens == plain.usage.prompt_tokens
                accounted(marked)
            assert (await llm.complete(PROMPT, system=long, cache=CacheFor.MINUTES)).text
            tool = TOOLS[0].model_copy(update={"cache": CacheFor.MINUTES})
            accounted(await llm.complete(PROMPT, tools=[tool]))

        run(harness, scenario)

    def test_an_answer_that_was_kept_costs_nothing(self, harness: LlmHarness) -> None:
        """Where the vendor keeps answers; a fresh one is one that no call got before, and is paid."""

        async def scenario(providers: Providers) -> None:
            first = await providers.llm.complete(PROMPT)
            second = await providers.llm.complete(PROMPT)
            accounted(first)
            accounted(second)
            assert not first.cached
            if second.cached:
                assert second.text == first.text
            for _ in range(2):
                fresh = await providers.llm.complete(PROMPT, fresh=True)
                assert not fresh.cached
                assert fresh.text
                accounted(fresh)

        run(harness, scenario)

    @pytest.mark.parametrize(
        ("field", "options"),
        [
            ("messages", {"prompt": ()}),
            ("messages", {"prompt": [Message.assistant("Hello.")]}),
            ("messages", {"prompt": [Message.user("Hello."), Message.assistant("Hello.")]}),
            ("max_tokens", {"max_tokens": 0}),
            ("max_tokens", {"max_tokens": 10_000_000}),
            ("temperature", {"temperature": -0.1}),
            ("temperature", {"temperature": 2.1}),
            ("stop.0", {"stop": ("",)}),
            ("model", {"model": ""}),
            ("effort", {"effort": "extreme"}),
            ("cache", {"cache": "forever"}),
            (None, {"tool_choice": "nobody"}),
            (None, {"tools": [TOOLS[0], TOOLS[0]]}),
        ],
    )
    def test_a_bad_request_is_refused_before_it_is_sent(
        self, harness: LlmHarness, field: str | None, options: dict[str, Any]
    ) -> None:
        """And names its field."""

        async def scenario(providers: Providers) -> None:
            with pytest.raises(InvalidRequestError) as caught:
                await providers.llm.complete(**cast("dict[str, Any]", {"prompt": PROMPT, **options}))
            error = caught.value
            assert isinstance(error, ValueError)
            assert (error.outcome, error.field) == (Outcome.NOT_APPLIED, field)
            assert pickles(error)
            assert sent(harness) == []

        run(harness, scenario)

    def test_more_than_the_vendor_gives_is_refused_before_it_is_sent(self, harness: LlmHarness) -> None:
        """As the facts say how much that is."""

        async def scenario(providers: Providers) -> None:
            most = facts(providers).limits.get("max_tokens")
            if most is None:
                assert (await providers.llm.complete(PROMPT, max_tokens=128_000)).text
                return
            await either("max_tokens", providers.llm.complete(PROMPT, max_tokens=most + 1))
            assert sent(harness) == []

        run(harness, scenario)

    # JSON.

    @pytest.mark.parametrize("kind", SCHEMAS.values(), ids=SCHEMAS)
    def test_an_answer_is_a_value_of_the_type_asked_for(self, harness: LlmHarness, kind: Any) -> None:  # noqa: ANN401
        """Whatever pydantic can read, with all that a completion tells."""

        async def scenario(providers: Providers) -> None:
            answer = await providers.llm.complete_json("Plan an advertisement for a yoga mat.", kind)
            assert isinstance(answer, Parsed)
            assert answer.asked == 1
            reading: TypeAdapter[Any] = TypeAdapter(kind)
            strictly = reading.dump_json(answer.value, by_alias=True)
            assert reading.validate_json(strictly) == answer.value
            assert answer.vendor == facts(providers).vendor
            accounted(answer)
            assert "raw" not in answer.model_dump()

        run(harness, scenario)

    @pytest.mark.parametrize(
        "form",
        [
            "{}",
            "```json\n{}\n```",
            "```\n{}\n```",
            "Here it is:\n```json\n{}\n```\nIs that all right?",
            "Here it is: {} - is that all right?",
            "  \n{}\n",
        ],
    )
    def test_what_stands_around_json_does_not_matter(self, harness: LlmHarness, form: str) -> None:
        """Models put it into fences, or between words."""
        say = needed(harness.say, "say: what the vendor answers")

        async def scenario(providers: Providers) -> None:
            say(form.replace("{}", fitting(Ad, GOOD)))
            answer = await providers.llm.complete_json(PROMPT, Ad)
            assert answer.value == Ad.model_validate(GOOD)
            assert answer.asked == 1

        run(harness, scenario)

    @pytest.mark.parametrize("bad", ["I would rather not.", "{}", '{"headline": 1', "null", '[{"headline": "Mat"}]'])
    def test_what_does_not_fit_is_asked_for_once_more_with_the_reason(self, harness: LlmHarness, bad: str) -> None:
        """Usage and cost are of both."""
        say = needed(harness.say, "say: what the vendor answers")

        async def scenario(providers: Providers) -> None:
            say("Something else.", bad, fitting(Ad, GOOD))
            single = await providers.llm.complete("Say something.")
            answer = await providers.llm.complete_json(PROMPT, Ad)
            assert answer.value == Ad.model_validate(GOOD)
            assert answer.asked == 2
            _, first, second = sent(harness)
            assert PROMPT in first
            assert PROMPT in second
            assert len(second) > len(first)
            assert answer.usage.prompt_tokens > 2 * single.usage.prompt_tokens
            accounted(answer)

        run(harness, scenario)

    def test_nothing_is_asked_a_third_time(self, harness: LlmHarness) -> None:
        """The error says what was wrong, and that asking again is no use."""
        say = needed(harness.say, "say: what the vendor answers")

        async def scenario(providers: Providers) -> None:
            say('{"headline": "Only this"}', '{"headline": "Only that"}', fitting(Ad, GOOD))
            with pytest.raises(BadResponseError, match="body") as caught:
                await providers.llm.complete_json(PROMPT, Ad)
            assert caught.value.code == "schema"
            assert not caught.value.retryable
            assert "Only th" not in str(caught.value)
            failed(harness, providers, caught.value, "llm.complete_json")
            assert len(sent(harness)) == 2

        run(harness, scenario)

    def test_json_that_was_cut_is_not_asked_for_again(self, harness: LlmHarness) -> None:
        """It would be cut again: the error says that there must be more room."""
        say = needed(harness.say, "say: what the vendor answers")

        async def scenario(providers: Providers) -> None:
            say(fitting(Ad, {**GOOD, "body": "word " * 200}))
            with pytest.raises(BadResponseError, match="max_tokens") as caught:
                await providers.llm.complete_json(PROMPT, Ad, max_tokens=20)
            assert caught.value.code == "max_tokens"
            failed(harness, providers, caught.value, "llm.complete_json")
            assert len(sent(harness)) == 1

        run(harness, scenario)

    # Tools.

    def test_tools_are_called_until_there_is_an_answer(self, harness: LlmHarness) -> None:
        """Each call has an input that fits, and an id that its result goes back with."""

        async def scenario(providers: Providers) -> None:
            llm = providers.llm
            talk = [Message.user("How many yoga mats are in stock?")]
            if await refused(harness, providers, "tools", lambda: llm.complete(talk, tools=TOOLS)):
                return
            answer = await llm.complete(talk, tools=TOOLS)
            while answer.stop_reason is StopReason.TOOL_USE:
                accounted(answer)
                check_model(answer)
                assert answer.tool_calls
                assert len({call.id for call in answer.tool_calls}) == len(answer.tool_calls)
                assert answer.message is not None
                talk.append(answer.message)
                for call in answer.tool_calls:
                    SHAPES[call.name].model_validate(call.input)
                talk.append(Message.user(*(ToolResult(call=each.id, content="7") for each in answer.tool_calls)))
                assert len(talk) < 12
                answer = await llm.complete(talk, tools=TOOLS)
            assert answer.stop_reason is StopReason.END_TURN
            assert answer.text
            assert answer.tool_calls == ()
            assert len(talk) >= 3

        run(harness, scenario)

    def test_a_tool_that_failed_is_an_answer_too(self, harness: LlmHarness) -> None:
        """So is one that gave nothing."""

        async def scenario(providers: Providers) -> None:
            llm = providers.llm
            question = Message.user("How many yoga mats are in stock?")
            if await refused(harness, providers, "tools", lambda: llm.complete(question, tools=TOOLS)):
                return
            first = await llm.complete(question, tools=TOOLS)
            assert first.message is not None
            for content, is_error in (("no such sku", True), ("", False)):
                results = [ToolResult(call=one.id, content=content, is_error=is_error) for one in first.tool_calls]
                accounted(await llm.complete([question, first.message, Message.user(*results)], tools=TOOLS))

        run(harness, scenario)

    def test_a_tool_can_be_forced_or_forbidden(self, harness: LlmHarness) -> None:
        """A model that chooses by itself is not asked."""

        async def scenario(providers: Providers) -> None:
            llm = providers.llm

            def ask(choice: str, model: str | None = None) -> Awaitable[Completion]:
                return llm.complete("How is the weather?", tools=TOOLS, tool_choice=choice, model=model)

            if await refused(harness, providers, "tools", lambda: ask(ToolChoice.NONE)):
                return
            none = await ask(ToolChoice.NONE)
            assert none.tool_calls == ()
            assert none.stop_reason is StopReason.END_TURN
            willing = await forced_by(providers)
            for choice in ("get_stock", "get_weather"):
                answer = await ask(choice, willing)
                assert [call.name for call in answer.tool_calls] == [choice]
            assert (await ask(ToolChoice.ANY, willing)).tool_calls

        run(harness, scenario)

    # Streams.

    def test_a_stream_gives_the_answer_piece_by_piece(self, harness: LlmHarness) -> None:
        """In order; the pieces are the text, and the last event has all that `complete` has."""
        say = needed(harness.say, "say: what the vendor answers")
        words = " ".join(f"word{number}" for number in range(300)) + "\n\n🧘\u200d♀️ Zażółć  \n- end"

        async def scenario(providers: Providers) -> None:
            if await no_streams(harness, providers):
                return
            say(words)
            events = await collect(providers.llm.stream(PROMPT, max_tokens=2000))
            last = checked(events)
            assert last.text == words
            assert last.stop_reason is StopReason.END_TURN
            assert last.vendor == facts(providers).vendor
            assert last.message is not None
            assert len([event for event in events if event.type is StreamEventType.TEXT]) > 10
            assert len(sent(harness)) == 1

        run(harness, scenario)

    def test_a_stream_tells_how_it_ended(self, harness: LlmHarness) -> None:
        """Cut, refused, at a stop sequence, or for a tool."""
        refuse = needed(harness.refuse, "refuse: a model that will not answer")
        say = needed(harness.say, "say: what the vendor answers")

        async def scenario(providers: Providers) -> None:
            if await no_streams(harness, providers):
                return
            llm = providers.llm
            cut = checked(await collect(llm.stream(PROMPT, max_tokens=8)))
            assert cut.truncated
            assert cut.text
            no = checked(await collect(llm.stream(refuse(PROMPT))))
            assert no.stop_reason is StopReason.REFUSAL
            assert no.refusal is not None
            if "stop" not in facts(providers).unsupported:
                say("One two END three.")
                stopped = checked(await collect(llm.stream(PROMPT, stop=("END",))))
                assert (stopped.stop_reason, stopped.stop_sequence) == (StopReason.STOP_SEQUENCE, "END")
            if "tools" not in facts(providers).unsupported:
                events = await collect(llm.stream("How many yoga mats are in stock?", tools=TOOLS))
                called = checked(events)
                assert called.stop_reason is StopReason.TOOL_USE
                calls = [event.tool_call for event in events if event.type is StreamEventType.TOOL_CALL]
                assert tuple(calls) == called.tool_calls
                assert called.tool_calls
                for call in called.tool_calls:
                    SHAPES[call.name].model_validate(call.input)

        run(harness, scenario)

    def test_a_stream_can_be_left_at_any_time(self, harness: LlmHarness) -> None:
        """What was used by then is known; nothing is in the way of the next call."""

        async def scenario(providers: Providers) -> None:
            if await no_streams(harness, providers):
                return
            for many in (1, 2, 5):
                async with streaming(providers, PROMPT) as events:
                    seen = [await anext(events) for _ in range(many)]
                assert seen[-1].usage.prompt_tokens > 0
                assert all(event.type is not StreamEventType.ERROR for event in seen)
            await providers.llm.stream(PROMPT).aclose()
            checked(await collect(providers.llm.stream(PROMPT)))
            assert (await providers.llm.complete(PROMPT)).text

        run(harness, scenario)

    def test_a_stream_that_breaks_off_says_so(self, harness: LlmHarness) -> None:
        """By a last event with the error, what came and what it used; nothing is asked again."""
        ways = needed(harness.break_off, "break_off: a stream that ends in its middle")

        async def scenario(providers: Providers) -> None:
            if await no_streams(harness, providers):
                return
            for way in ways:
                asked = len(sent(harness))
                events = await collect(providers.llm.stream(way(PROMPT)))
                *before, last = events
                assert before
                assert last.type is StreamEventType.ERROR
                assert all(event.type is not StreamEventType.ERROR for event in before)
                assert last.completion is not None
                said = "".join(event.text for event in before if event.type is StreamEventType.TEXT)
                assert last.completion.text == said
                assert said
                assert last.completion.stop_reason is None
                assert not last.usage.exact
                assert last.usage.output_tokens > 0
                assert last.usage.prompt_tokens > 0
                assert last.completion.usage == last.usage
                accounted(last.completion)
                assert last.error is not None
                assert isinstance(last.error, ProviderUnavailableError | BadResponseError)
                assert last.error.may_have_applied
                failed(harness, providers, last.error, "llm.stream")
                assert len(sent(harness)) == asked + 1
                assert last.model_dump_json()

        run(harness, scenario)

    def test_before_its_first_event_a_stream_is_repeated_and_then_raises(self, harness: LlmHarness) -> None:
        """As any other call: nothing has been handed on yet."""
        unavailable = needed(harness.unavailable, "unavailable: a vendor that is overloaded")

        async def scenario(providers: Providers) -> None:
            if await no_streams(harness, providers):
                return
            unavailable(providers, 1)
            checked(await collect(providers.llm.stream(PROMPT)))
            unavailable(providers, 20)
            async with streaming(providers, PROMPT) as events:
                with pytest.raises(ProviderUnavailableError) as caught:
                    await anext(events)
            failed(harness, providers, caught.value, "llm.stream")

        run(harness, scenario)

    @pytest.mark.parametrize(("timeout", "after"), [(None, 60.0), (5.0, 5.0)])
    def test_a_stream_that_goes_quiet_ends(self, harness: LlmHarness, timeout: float | None, after: float) -> None:
        """After a minute without an event, or at the caller's deadline: by an event with the error."""
        held = needed(harness.held, "held: a stream that goes quiet")

        async def scenario(providers: Providers) -> None:
            if await no_streams(harness, providers):
                return
            await providers.llm.check()
            with held():
                seen: list[StreamEvent] = []
                async with streaming(providers, PROMPT, timeout=timeout) as events:
                    task = asyncio.create_task(read_into(seen, events))
                    await quiet(seen)
                    harness.clock.advance(after - 0.1)
                    await asyncio.sleep(0.02)
                    assert not task.done()
                    harness.clock.advance(0.1)
                    await ended(task, PATIENCE / 2)
                    task.result()
            last = seen[-1]
            assert last.type is StreamEventType.ERROR
            assert isinstance(last.error, ProviderTimeoutError)
            assert last.error.may_have_applied
            failed(harness, providers, last.error, "llm.stream")
            assert last.completion is not None
            assert last.completion.text

        run(harness, scenario)

    def test_a_stream_that_does_not_begin_raises_at_the_caller_s_deadline(self, harness: LlmHarness) -> None:
        """There is no event that could tell."""
        stalled = needed(harness.stalled, "stalled: a way to keep the vendor from answering")

        async def scenario(providers: Providers) -> None:
            if await no_streams(harness, providers):
                return
            await providers.llm.check()
            with stalled():
                task = asyncio.create_task(collect(providers.llm.stream(PROMPT, timeout=5)))
                await in_flight(harness.clock)
                harness.clock.advance(5)
                await ended(cast("asyncio.Task[object]", task), PATIENCE / 2)
                with pytest.raises(ProviderTimeoutError) as caught:
                    await task
            failed(harness, providers, caught.value, "llm.stream")

        run(harness, scenario)

    # Tokens and models.

    def test_tokens_are_counted_before_they_are_paid(self, harness: LlmHarness) -> None:
        """About as many as the answer's usage tells then."""

        async def scenario(providers: Providers) -> None:
            llm = providers.llm
            if await refused(harness, providers, "count_tokens", lambda: llm.count_tokens(PROMPT)):
                return
            count = await llm.count_tokens(PROMPT, system="Be short.")
            used = (await llm.complete(PROMPT, system="Be short.")).usage.prompt_tokens
            assert abs(count - used) <= max(10, used // 5)
            assert await llm.count_tokens(PROMPT * 20) > 5 * count
            if "tools" not in facts(providers).unsupported:
                assert await llm.count_tokens(PROMPT, tools=TOOLS) > count
            if "images" not in facts(providers).unsupported:
                shown = Message.user(PROMPT, Image(data=png(), media_type="image/png"))
                assert await llm.count_tokens(shown) > count

        run(harness, scenario)

    def test_the_models_are_listed_with_prices_and_their_end(self, harness: LlmHarness) -> None:
        """As they are known here; of others nothing is made up."""

        async def scenario(providers: Providers) -> None:
            llm = providers.llm
            if await refused(harness, providers, "models", llm.models):
                return
            listed = await llm.models()
            assert listed
            assert len({info.id for info in listed}) == len(listed)
            for info in listed:
                known = model_facts.known(info.id)
                price = known.price if known else None
                assert info.vendor == facts(providers).vendor
                assert info.provider
                assert info.input_price == (price.input if price else None)
                assert info.output_price == (price.output if price else None)
                assert info.retires_at is None or info.retires_at.utcoffset() is not None
                if known is not None and known.ends is not None:
                    assert info.retires_at == known.ends
                check_model(info)
            assert await llm.models(vendor=facts(providers).vendor) == listed
            assert await llm.models(fresh=True) == listed
            await invalid("vendor", llm.models(vendor="nobody"))
            assert sent(harness) == []

        run(harness, scenario)

    # Batches.

    def test_a_batch_is_answered_at_half_the_price(self, harness: LlmHarness) -> None:
        """Each request by its key, whatever the key looks like."""

        async def scenario(providers: Providers) -> None:
            llm = providers.llm
            asked = {key: question(f"Write a slogan for {key!r}.") for key in ("mat", "a b/c", "ü🎈", "x" * 40, "7")}
            asked["short"] = question(PROMPT, max_tokens=3)
            if await no_batches(harness, providers, asked):
                return
            finish = needed(harness.finish_batches, "finish_batches: an end of the vendor's batches")
            made = await llm.create_batch(asked)
            assert made.ref.vendor == facts(providers).vendor
            assert made.state is BatchState.IN_PROGRESS
            assert made.counts.processing == len(asked)
            assert made.created_at.utcoffset() is not None
            check_model(made)
            with pytest.raises(ConflictError) as caught:
                await collect(llm.batch_results(made.ref))
            failed(harness, providers, caught.value, "llm.batch_results")
            finish()
            over = await llm.batch(str(made.ref))
            assert over.ref == made.ref
            assert over.state is BatchState.ENDED
            assert over.ended_at is not None
            assert (over.counts.processing, over.counts.succeeded) == (0, len(asked))
            outcomes = await collect(llm.batch_results(str(made.ref)))
            assert {one.key for one in outcomes} == set(asked)
            assert len(outcomes) == len(asked)
            for one in outcomes:
                assert one.state is BatchOutcomeState.SUCCEEDED
                assert one.error is None
                assert one.completion is not None
                assert one.completion.text
                assert one.completion.truncated == (one.key == "short")
                accounted(one.completion, batch=True)
                check_model(one)

        run(harness, scenario)

    def test_batches_are_listed_newest_first(self, harness: LlmHarness) -> None:
        """All of them."""

        async def scenario(providers: Providers) -> None:
            if await no_batches(harness, providers, {"a": question(PROMPT)}):
                return
            made: list[Ref] = []
            for number in range(3):
                harness.clock.advance(1)
                made.insert(0, (await providers.llm.create_batch({str(number): question(PROMPT)})).ref)
            listed = [batch.ref async for batch in providers.llm.batches()]
            assert [ref for ref in listed if ref in made] == made
            await invalid("vendor", collect(providers.llm.batches(vendor="nobody")))

        run(harness, scenario)

    def test_a_batch_can_be_canceled(self, harness: LlmHarness) -> None:
        """What was not answered by then says so."""

        async def scenario(providers: Providers) -> None:
            llm = providers.llm
            asked = {"a": question(PROMPT), "b": question(PROMPT)}
            if await no_batches(harness, providers, asked):
                return
            finish = needed(harness.finish_batches, "finish_batches: an end of the vendor's batches")
            made = await llm.create_batch(asked)
            canceled = await llm.cancel_batch(made.ref)
            assert canceled.ref == made.ref
            assert canceled.state in {BatchState.CANCELING, BatchState.ENDED}
            assert (await llm.cancel_batch(str(made.ref))).ref == made.ref
            finish()
            assert (await llm.batch(made.ref)).state is BatchState.ENDED
            outcomes = await collect(llm.batch_results(made.ref))
            assert {one.key for one in outcomes} == {"a", "b"}
            for one in outcomes:
                assert one.state in {BatchOutcomeState.CANCELED, BatchOutcomeState.SUCCEEDED}
                assert (one.completion is None) == (one.state is BatchOutcomeState.CANCELED)

        run(harness, scenario)

    def test_a_batch_with_a_key_is_handed_in_once(self, harness: LlmHarness) -> None:
        """A repeat gets the first answer; other requests under the key are a conflict; tenants share none."""

        async def scenario(providers: Providers) -> None:
            llm = providers.llm
            asked = {"a": question(PROMPT)}
            if await no_batches(harness, providers, asked):
                return
            first = await llm.create_batch(asked, idempotency_key="nightly")
            again = await llm.create_batch(asked, idempotency_key="nightly")
            assert again.model_dump() == first.model_dump()
            with pytest.raises(ConflictError):
                await llm.create_batch({"b": question(PROMPT)}, idempotency_key="nightly")
            assert len([batch async for batch in llm.batches()]) == 1
            other = providers.scoped("merchant-42").llm
            assert (await other.create_batch(asked, idempotency_key="nightly")).ref != first.ref

        run(harness, scenario)

    @pytest.mark.parametrize(
        "id_", ["0123456789abcdef", "a", "x" * 200, "%", 'x" OR 1=1', "ünïcödé 🎈", "a/b?c#d", ".."]
    )
    def test_a_batch_of_an_unknown_id_is_not_found(self, harness: LlmHarness, id_: str) -> None:
        """Never another error, whatever the id looks like."""

        async def scenario(providers: Providers) -> None:
            llm = providers.llm
            if await no_batches(harness, providers, {"a": question(PROMPT)}):
                return
            ref = Ref(vendor=facts(providers).vendor, id=id_)
            for operation, call in (
                ("llm.batch", llm.batch(ref)),
                ("llm.batch_results", collect(llm.batch_results(ref))),
                ("llm.cancel_batch", llm.cancel_batch(ref)),
            ):
                with pytest.raises(NotFoundError) as caught:
                    await call
                assert isinstance(caught.value, ValueError)
                failed(harness, providers, caught.value, operation)

        run(harness, scenario)

    def test_a_reference_of_somebody_else_is_refused_and_says_so(self, harness: LlmHarness) -> None:
        """A reference of the demo at a live vendor above all."""

        async def scenario(providers: Providers) -> None:
            stranger = "nobody" if facts(providers).demo else "demo"
            for wrong in (f"{stranger}:batch-1", Ref(vendor=stranger, id="batch-1")):
                with pytest.raises(InvalidRequestError, match=stranger):
                    await providers.llm.batch(wrong)
                with pytest.raises(InvalidRequestError, match=stranger):
                    await collect(providers.llm.batch_results(wrong))
            for nonsense in ("", "batch-1", ":x", f"{facts(providers).vendor}:"):
                await invalid("ref", providers.llm.batch(nonsense))
            await invalid("requests", providers.llm.create_batch({}))

        run(harness, scenario)

    # Budgets.

    def test_a_budget_counts_what_a_call_cost(self, harness: LlmHarness) -> None:
        """To the millionth, and nothing for what was not paid."""

        async def scenario(providers: Providers, store: Ledger) -> None:
            spender = budgeted(providers, "5 USD/month")
            total = 0
            for number in range(3):
                answer = await spender.llm.complete(f"{PROMPT} Number {number // 2}.", max_tokens=200)
                accounted(answer)
                assert answer.cost is not None
                total += micros(answer.cost.amount)
                assert store.spent == total
            parsed = await spender.llm.complete_json(PROMPT, Ad)
            assert parsed.cost is not None
            assert store.spent == total + micros(parsed.cost.amount)

        run_with_store(harness, scenario)

    def test_a_budget_refuses_before_anything_is_sent(self, harness: LlmHarness) -> None:
        """What a call may cost at the most has to fit in."""

        async def scenario(providers: Providers, store: Ledger) -> None:
            poor = budgeted(providers, "0.0001 USD/month")
            with pytest.raises(BudgetExceededError) as caught:
                await poor.llm.complete(PROMPT, max_tokens=1000)
            assert caught.value.outcome is Outcome.NOT_APPLIED
            failed(harness, providers, caught.value, "llm.complete")
            if "stream" not in facts(providers).unsupported:
                with pytest.raises(BudgetExceededError):
                    await collect(poor.llm.stream(PROMPT))
            if "create_batch" not in facts(providers).unsupported:
                with pytest.raises(BudgetExceededError):
                    await poor.llm.create_batch({"a": question(PROMPT)})
            assert sent(harness) == []
            assert store.spent == 0
            assert (await providers.llm.complete(PROMPT)).text

        run_with_store(harness, scenario)

    def test_calls_at_once_do_not_pass_a_budget(self, harness: LlmHarness) -> None:
        """Not by a millionth, however many there are."""

        async def scenario(providers: Providers, store: Ledger) -> None:
            most = adapter(providers).at_most(question(f"{PROMPT} Number 00.", max_tokens=100))
            assert most is not None
            limit = (most * Decimal("7.5")).quantize(Decimal("0.000001"))
            spender = budgeted(providers, f"{limit} USD/month")

            async def ask(number: int) -> Completion | BudgetExceededError:
                try:
                    return await spender.llm.complete(f"{PROMPT} Number {number:02}.", max_tokens=100)
                except BudgetExceededError as error:
                    return error

            answers = await asyncio.gather(*map(ask, range(64)))
            paid = [answer.cost.amount for answer in answers if isinstance(answer, Completion) and answer.cost]
            assert 7 <= len(paid) < 64
            assert len(sent(harness)) == len(paid)
            assert store.spent == sum(map(micros, paid)) <= micros(limit)

        run_with_store(harness, scenario)

    def test_each_service_can_have_a_budget_of_its_own(self, harness: LlmHarness) -> None:
        """What one has used up is not missing to another."""

        async def scenario(providers: Providers, store: Ledger) -> None:
            most = adapter(providers).at_most(question(PROMPT, max_tokens=100))
            assert most is not None
            limit = (most * Decimal("1.05")).quantize(Decimal("0.000001"))
            llm = budgeted(providers, f"{limit} USD/month per service").llm
            paid = 0
            with pytest.raises(BudgetExceededError):
                while paid < 10_000:
                    await llm.complete(PROMPT, max_tokens=100, service="shopchat", fresh=True)
                    paid += 1
            assert paid > 0
            before = store.spent
            answer = await llm.complete(PROMPT, max_tokens=100, service="adscale", fresh=True)
            assert answer.cost is not None
            assert store.spent == before + micros(answer.cost.amount)

        run_with_store(harness, scenario)

    def test_a_budget_counts_streams_however_they_end(self, harness: LlmHarness) -> None:
        """Read to their end, left early, or broken off."""
        ways = needed(harness.break_off, "break_off: a stream that ends in its middle")

        async def scenario(providers: Providers, store: Ledger) -> None:
            if await no_streams(harness, providers):
                return
            spender = budgeted(providers, "5 USD/month")
            whole = checked(await collect(spender.llm.stream(PROMPT)))
            assert whole.cost is not None
            total = micros(whole.cost.amount)
            assert store.spent == total
            for way in ways:
                broken = (await collect(spender.llm.stream(way(PROMPT))))[-1].completion
                assert broken is not None
                assert broken.cost is not None
                assert 0 < broken.cost.amount < whole.cost.amount
                total += micros(broken.cost.amount)
                assert store.spent == total
            async with streaming(spender, PROMPT) as events:
                seen = [await anext(events) for _ in range(3)]
            left = model_facts.cost(seen[-1].model, seen[-1].usage)
            assert left is not None
            assert store.spent == total + micros(left.amount)

        run_with_store(harness, scenario)

    def test_a_budget_counts_a_batch_when_its_results_are_read(self, harness: LlmHarness) -> None:
        """Until then what it may cost at the most; once, however often they are read."""

        async def scenario(providers: Providers, store: Ledger) -> None:
            asked = {str(number): question(f"{PROMPT} Number {number}.") for number in range(3)}
            if await no_batches(harness, providers, asked):
                return
            finish = needed(harness.finish_batches, "finish_batches: an end of the vendor's batches")
            spender = budgeted(providers, "5 USD/month")
            made = await spender.llm.create_batch(asked)
            reserved = store.spent
            finish()
            for _ in range(2):
                outcomes = await collect(spender.llm.batch_results(made.ref))
                costs = [one.completion.cost.amount for one in outcomes if one.completion and one.completion.cost]
                assert store.spent == micros(sum(costs, Decimal(0))) < reserved

        run_with_store(harness, scenario)

    # All capabilities.

    def test_an_overloaded_vendor_is_asked_again_and_then_given_up(self, harness: LlmHarness) -> None:
        """As an error that says who, and that it may work later."""
        unavailable = needed(harness.unavailable, "unavailable: a vendor that is overloaded")

        async def scenario(providers: Providers) -> None:
            unavailable(providers, 1)
            assert (await providers.llm.complete(PROMPT)).text
            unavailable(providers, 20)
            with pytest.raises(ProviderUnavailableError) as caught:
                await providers.llm.complete("Write a slogan for a mug.", timeout=30)
            assert caught.value.retryable
            failed(harness, providers, caught.value, "llm.complete")

        run(harness, scenario)

    def test_a_cancelled_call_ends_at_once_and_leaves_all_well(self, harness: LlmHarness) -> None:
        """The next one works."""
        stalled = needed(harness.stalled, "stalled: a way to keep the vendor from answering")

        async def scenario(providers: Providers) -> None:
            await providers.llm.check()
            await cut_off(harness.clock, stalled, providers.llm.complete(PROMPT))
            assert (await providers.llm.complete("Write a slogan for a mug.")).text

        run(harness, scenario)

    def test_many_calls_at_once_get_their_own_answers(self, harness: LlmHarness) -> None:
        """Nothing is mixed up."""

        async def scenario(providers: Providers) -> None:
            nouns = [f"lamp{number:02}" for number in range(30)]
            prompts = [f"Write a description of 60 words for the {noun}." for noun in nouns]
            answers = await asyncio.gather(*map(providers.llm.complete, prompts))
            assert len(answers) == len(prompts)
            for noun, answer in zip(nouns, answers, strict=True):
                others = [other for other in nouns if other != noun and other in answer.text]
                assert others == []
                accounted(answer)
            assert sorted(sent(harness)) == sorted(prompts)

        run(harness, scenario)

    def test_blocking_code_gets_the_same(self, harness: LlmHarness) -> None:
        """Answers, values, streams, errors."""
        open_sync = needed(harness.open_sync, "open_sync: the blocking face")

        with open_sync(clock=harness.clock) as providers:
            answer = providers.llm.complete(PROMPT)
            assert answer.text
            accounted(answer)
            assert isinstance(providers.llm.complete_json(PROMPT, Ad).value, Ad)
            with pytest.raises(InvalidRequestError):
                providers.llm.complete("", max_tokens=10)
            try:
                events = list(providers.llm.stream(PROMPT))
            except UnsupportedOperationError:
                return
            checked(events)

    def test_check_proves_the_credential_and_asks_nothing(self, harness: LlmHarness) -> None:
        """For all vendors in use, or one."""

        async def scenario(providers: Providers) -> None:
            await proven(providers.llm)
            assert sent(harness) == []

        run(harness, scenario)

    def test_its_facts_name_what_the_interface_goes_by(self, harness: LlmHarness) -> None:
        """And what it cannot do is named as the interface names it."""

        async def scenario(providers: Providers) -> None:
            about = facts(providers)
            assert set(about.unsupported) <= {*OPERATIONS, *FEATURES}
            assert all(about.unsupported.values()), "say why"
            assert all(number > 0 for number in about.limits.values())
            assert about.currency == model_facts.CURRENCY
            assert about.title
            most = adapter(providers).at_most(question(PROMPT))
            answer = await providers.llm.complete(PROMPT)
            assert most is not None
            assert answer.cost is not None
            assert answer.cost.amount <= most

        run(harness, scenario)


GOOD: dict[str, object] = {"headline": "A mat", "body": "For yoga.", "keywords": ["mat", "yoga"], "mood": "warm"}


def fitting(kind: type[BaseModel], value: object) -> str:
    """The text of an answer that fits."""
    return kind.model_validate(value).model_dump_json()


def question(prompt: str, *, max_tokens: int = 300) -> CompletionRequest:
    """A request as batches are made of."""
    return CompletionRequest(messages=(Message.user(prompt),), max_tokens=max_tokens)


def run(harness: LlmHarness, scenario: Callable[[Providers], Coroutine[object, object, None]]) -> None:
    """One scenario on one new `Providers`, which is closed after it."""

    async def main() -> None:
        async with asyncio.timeout(PATIENCE), harness.open(clock=harness.clock) as providers:
            await loaded(providers.llm)
            await scenario(providers)

    asyncio.run(main())


def run_with_store(
    harness: LlmHarness, scenario: Callable[[Providers, Ledger], Coroutine[object, object, None]]
) -> None:
    """`run`, with a look at the state."""

    async def main() -> None:
        store = Ledger(harness.clock)
        async with asyncio.timeout(PATIENCE), harness.open(clock=harness.clock, store=store) as providers:
            await loaded(providers.llm)
            await scenario(providers, store)

    asyncio.run(main())


def adapter(providers: Scope) -> LlmAdapter:
    """The adapter under test."""
    return cast("LlmAdapter", providers.llm.unwrap(object))


def facts(providers: Scope) -> VendorFacts:
    """Its facts."""
    return adapter(providers).facts


def sent(harness: LlmHarness) -> list[str]:
    """The prompts that the vendor got. Skips the rest of the test where nobody can tell."""
    return list(needed(harness.sent, "sent: what the vendor was asked")())


async def refused(harness: LlmHarness, providers: Providers, name: str, call: Callable[[], Awaitable[object]]) -> bool:
    """Whether the facts say that the vendor cannot do it; then it is asserted that it refuses, and sends nothing."""
    before = len(sent(harness))
    if not await declared(facts(providers), (name,), call):
        return False
    assert len(sent(harness)) == before
    return True


async def no_streams(harness: LlmHarness, providers: Providers) -> bool:
    """Whether the vendor has none."""
    return await refused(harness, providers, "stream", lambda: collect(providers.llm.stream(PROMPT)))


async def no_batches(harness: LlmHarness, providers: Providers, asked: Mapping[str, CompletionRequest]) -> bool:
    """Whether the vendor has none."""
    llm, ref = providers.llm, Ref(vendor=facts(providers).vendor, id="batch-1")
    if not await refused(harness, providers, "create_batch", lambda: llm.create_batch(asked)):
        return False
    assert await refused(harness, providers, "batch", lambda: llm.batch(ref))
    assert await refused(harness, providers, "batches", lambda: collect(llm.batches()))
    assert await refused(harness, providers, "batch_results", lambda: collect(llm.batch_results(ref)))
    assert await refused(harness, providers, "cancel_batch", lambda: llm.cancel_batch(ref))
    return True


async def forced_by(providers: Providers) -> str | None:
    """A model that can be made to call a tool; None for the usual one."""
    usual = (await providers.llm.complete(PROMPT)).model
    known = model_facts.known(usual)
    if known is None or known.forced_tools:
        return None
    with pytest.raises(UnsupportedOperationError) as caught:
        await providers.llm.complete(PROMPT, tools=TOOLS, tool_choice=ToolChoice.ANY)
    assert caught.value.outcome is Outcome.NOT_APPLIED
    for info in await providers.llm.models():
        other = model_facts.known(info.id)
        if other is not None and other.forced_tools and other.ends is None:
            return info.id
    pytest.fail("no model on offer can be made to call a tool")


def accounted(answer: Completion, *, batch: bool = False) -> None:
    """What it used is told, and costs what the list of prices says; nothing where the vendor had kept the answer."""
    usage = answer.usage
    assert usage.prompt_tokens > 0
    assert min(usage.model_dump(exclude={"exact"}).values()) >= 0
    listed = model_facts.cost(answer.model, usage, batch=batch)
    if answer.cached:
        assert answer.cost == Money(amount=Decimal(0), currency=model_facts.CURRENCY)
    elif listed is not None:
        assert answer.cost == listed
        assert listed.amount > 0


def checked(events: Sequence[StreamEvent]) -> Completion:
    """The answer of a stream that is in order: typed, the end last, usage that only grows, final at the end."""
    *before, last = events
    assert last.type is StreamEventType.END
    assert last.completion is not None
    used = 0
    for event in before:
        assert event.type in {StreamEventType.TEXT, StreamEventType.THINKING, StreamEventType.TOOL_CALL}
        assert (event.type is StreamEventType.TOOL_CALL) == (event.tool_call is not None)
        assert event.completion is None
        assert event.error is None
        assert event.usage.prompt_tokens > 0
        assert event.usage.output_tokens >= 0
        assert (event.vendor, event.model) == (last.vendor, last.model)
        if not event.usage.exact:
            assert event.usage.output_tokens >= used
            used = event.usage.output_tokens
    for event in events:
        again = StreamEvent.model_validate_json(event.model_dump_json())
        assert again.model_dump() == event.model_dump()
    assert last.usage.exact
    assert last.usage == last.completion.usage
    assert last.error is None
    said = "".join(event.text for event in before if event.type is StreamEventType.TEXT)
    assert said == last.completion.text
    assert last.completion.vendor == last.vendor
    accounted(last.completion)
    check_model(last.completion)
    return last.completion


def failed(harness: LlmHarness, providers: Providers, error: ProviderError, operation: str) -> None:
    """It says who failed at what, and no secret; it pickles."""
    assert error.vendor == facts(providers).vendor
    assert error.operation == operation
    told = f"{error!s} {error!r} {vars(error)}"
    assert not [secret for secret in harness.secrets if secret in told]
    assert pickles(error)


def streaming(providers: Scope, prompt: str, *, timeout: float | None = None) -> aclosing[AsyncGenerator[StreamEvent]]:
    """A stream that is closed at the end of the block."""
    return aclosing(providers.llm.stream(prompt, timeout=timeout))


async def read_into(seen: list[StreamEvent], events: AsyncIterator[StreamEvent]) -> None:
    """All of a stream, as it comes."""
    async for event in events:
        seen.append(event)  # noqa: PERF401 (others look at it meanwhile)


async def quiet(seen: list[StreamEvent]) -> None:
    """Wait until something has come of a stream, and then no more."""
    before = -1
    while not seen or len(seen) != before or not any(event.text for event in seen):
        before = len(seen)
        await asyncio.sleep(0.05)


class Ledger(MemoryStore):
    """State, and what all budgets in money have counted so far: `spent`, in millionths."""

    spent = 0

    async def add(self, key: str, amount: int, *, ceiling: int | None = None, ttl: float | None = None) -> int | None:
        """As it is; a budget that refuses counts nothing."""
        total = await super().add(key, amount, ceiling=ceiling, ttl=ttl)
        if total is not None and key.startswith("budget/") and f"/{model_facts.CURRENCY}/" in key:
            self.spent += amount
        return total


def budgeted(providers: Providers, limit: str) -> Scope:
    """A view whose calls are counted."""
    return providers.scoped("merchant-42", budgets={facts(providers).vendor: limit})


def micros(amount: Decimal) -> int:
    """Millionths, as budgets count them."""
    return int((amount * 1_000_000).to_integral_value(ROUND_CEILING))


__all__ = ["LlmConformance", "LlmHarness", "question"]
