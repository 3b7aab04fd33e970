"""Values by the types that services of the platform would ask for: at the demo, through the gateway, and directly."""

import asyncio
import dataclasses
import enum
import json
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Literal, NamedTuple, NotRequired
from uuid import UUID

import pytest
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, HttpUrl, RootModel, TypeAdapter, field_validator
from typing_extensions import TypedDict

from providers.errors import BadResponseError, ProviderTimeoutError, RejectedError
from providers.llm import Image, Message, Parsed, StopReason, Text
from providers.llm.demo_values import example
from providers.llm.structured import shape_of
from providers.testing.servers import Fault
from providers.testing.servers.anthropic import refusal, text, thinking

# What is asked for.


class Verdict(enum.StrEnum):
    WINNER = "winner"
    STEADY = "steady"
    LOSER = "loser"


class Priority(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Audience(BaseModel):
    age_from: Annotated[int, Field(ge=13, le=99)]
    age_to: Annotated[int, Field(ge=13, le=99)]
    interests: Annotated[list[str], Field(min_length=1, max_length=5)]


class ProductAnalysis(BaseModel):
    """What a product is worth to a shop."""

    summary: str
    verdict: Verdict
    score: Annotated[float, Field(ge=0, le=100)]
    price_low: Decimal
    price_high: Decimal | None = None
    audience: Audience
    strengths: list[str]
    risks: dict[str, Verdict] = {}


class AdCopy(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    headline: Annotated[str, Field(min_length=3, max_length=30)]
    description: Annotated[str, Field(max_length=90)]
    call_to_action: Literal["shop_now", "learn_more", "sign_up"]
    keywords: Annotated[list[str], Field(min_length=2, max_length=10)]


class AdVariants(BaseModel):
    control: AdCopy
    variants: Annotated[list[AdCopy], Field(min_length=2, max_length=3)]


class Caption(BaseModel):
    text: Annotated[str, Field(max_length=280)]
    hashtags: Annotated[list[Annotated[str, Field(pattern=r"^#\w{2,30}$")]], Field(max_length=5)]
    platform: Literal["instagram", "facebook"]


class Section(BaseModel):
    heading: str
    points: list[str] = []
    sections: "list[Section]" = []


class BlogOutline(BaseModel):
    title: str
    slug: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    words: Annotated[int, Field(gt=0, multiple_of=100)]
    sections: Annotated[list[Section], Field(min_length=1)]


@dataclasses.dataclass
class SupplierScore:
    supplier: str
    score: Annotated[int, Field(ge=0, le=100)]
    reliable: bool
    reasons: list[str] = dataclasses.field(default_factory=list)
    warehouse: str | None = None


class SeoSuggestion(TypedDict):
    keyword: str
    difficulty: Annotated[int, Field(ge=0, le=100)]
    intent: Literal["informational", "commercial", "transactional"]
    url: NotRequired[str]


class Refund(BaseModel):
    intent: Literal["refund"]
    order: str
    amount: Decimal


class Question(BaseModel):
    intent: Literal["question"]
    topic: str
    confidence: Annotated[float, Field(ge=0, le=1)]


class Other(BaseModel):
    intent: Literal["other"]


ChatIntent = Annotated[Refund | Question | Other, Field(discriminator="intent")]


class LaunchPlan(BaseModel):
    starts_at: AwareDatetime
    ends_on: date
    review_every: timedelta
    budget: Annotated[Decimal, Field(gt=0, decimal_places=2)]
    priority: Priority
    milestones: list[tuple[date, str]]


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)

    id: UUID
    link: HttpUrl
    opened: datetime
    tags: set[str]


class Renamed(BaseModel):
    product_name: str = Field(alias="productName")
    unit_price: Decimal = Field(alias="unitPrice")


class Headline(NamedTuple):
    text: str
    score: float


class Tree(BaseModel):
    name: str
    children: "dict[str, Tree]" = {}


class Tags(RootModel[list[str]]):
    pass


class Campaign(BaseModel):
    subject: Annotated[str, Field(max_length=60)]
    preview: str | None
    blocks: list[ChatIntent | Caption]
    send: LaunchPlan | Literal["now"]
    meta: dict[str, str | int | bool | None]


KINDS = {
    "product analysis": ProductAnalysis,
    "ad copy": AdCopy,
    "ad variants": AdVariants,
    "captions": list[Caption],
    "blog outline": BlogOutline,
    "supplier score": SupplierScore,
    "supplier scores": list[SupplierScore],
    "seo suggestion": SeoSuggestion,
    "seo suggestions": Annotated[list[SeoSuggestion], Field(min_length=1)],
    "chat intent": ChatIntent,
    "launch plan": LaunchPlan,
    "strict": Strict,
    "renamed": Renamed,
    "headline": Headline,
    "category tree": Tree,
    "tags": Tags,
    "campaign": Campaign,
    "bids by keyword": dict[str, Decimal],
    "ideas by channel": dict[Literal["email", "sms"], list[str]],
    "one or none": Audience | None,
    "one of two": Audience | Caption,
    "pair": tuple[str, Annotated[int, Field(ge=1, le=5)]],
    "verdict": Verdict,
    "yes or no": Literal["yes", "no"],
    "stars": Annotated[int, Field(ge=1, le=5)],
    "price": Decimal,
    "true or false": bool,
    "day": date,
    "one word": str,
}


def fitting(kind):
    """The answer of a model that minds all of the schema, also what it cannot be held to."""
    return json.dumps(example(shape_of(kind).json_schema, about="bamboo yoga mat"))


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_value_of_any_type_is_answered_at_the_first_ask(side, kind):
    if side.name == "anthropic":
        side.says(fitting(kind))

    async def scenario():
        async with side.open() as p:
            return await p.llm.complete_json("Think of a bamboo yoga mat.", kind, max_tokens=4000)

    answer = asyncio.run(scenario())
    assert isinstance(answer, Parsed)
    assert TypeAdapter(kind).validate_python(answer.value) == answer.value
    assert answer.asked == 1
    assert side.asked == 1
    assert answer.cost.amount > 0
    assert answer.usage.exact
    assert (answer.vendor, answer.truncated) == (side.name, False)
    assert json.loads(answer.model_dump_json())["value"] == json.loads(
        TypeAdapter(kind).dump_json(answer.value, by_alias=False)
    )


def test_what_comes_is_about_the_product_in_the_prompt(demo):
    async def scenario():
        async with demo.open() as p:
            analysis = await p.llm.complete_json("Analyse this product: bamboo yoga mat", ProductAnalysis)
            captions = await p.llm.complete_json("Captions for our product: steel water bottle", list[Caption])
            return analysis, captions

    analysis, captions = asyncio.run(scenario())
    assert "yoga mat" in analysis.value.model_dump_json().lower()
    assert "bottle" in " ".join(caption.text for caption in captions.value).lower()


def test_a_model_is_held_to_the_schema_where_it_can_be_and_told_where_it_cannot(anthropic):
    anthropic.says(fitting(AdVariants), fitting(dict[str, Decimal]))

    async def scenario():
        async with anthropic.open() as p:
            await p.llm.complete_json("A yoga mat.", AdVariants)
            await p.llm.complete_json("A yoga mat.", dict[str, Decimal])

    asyncio.run(scenario())
    held, told = anthropic.server.messages
    schema = held["output_config"]["format"]["schema"]
    assert schema["additionalProperties"] is False
    assert "JSON Schema" not in json.dumps(held["messages"])
    assert "format" not in told.get("output_config", {})
    assert "JSON Schema" in json.dumps(told["messages"])


# How it is said.

MAT = '{"headline": "Roll out calm", "description": "Bamboo.", "call_to_action": "shop_now", "keywords": ["a", "b"]}'
ROLL = AdCopy(headline="Roll out calm", description="Bamboo.", call_to_action="shop_now", keywords=["a", "b"])


@pytest.fixture(params=["gateway", "anthropic"])
def live(request, sides):
    with sides(request.param) as side:
        yield side


def ask(side, prompt="Ad copy for a yoga mat.", kind=AdCopy, **options):
    async def scenario():
        async with side.open() as p:
            return await p.llm.complete_json(prompt, kind, **options)

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    "said",
    [
        MAT,
        f"\n\n  {MAT}  \n",
        f"```json\n{MAT}\n```",
        f"```\n{MAT}\n```",
        f"```JSON\r\n{MAT}\r\n```\r\n",
        f"```json {MAT} ```",
        f"Sure! Here is your ad:\n\n```json\n{MAT}\n```\n\nShall I write another?",
        f"Sure! Here it is: {MAT} Have fun!",
        f"First idea:\n```json\n{{}}\n```\nNo, better:\n```json\n{MAT}\n```",
        json.dumps(json.loads(MAT), indent=4),
        MAT.replace("Bamboo.", "Bamboo. \\u0060\\u0060\\u0060 {a} [b]"),
    ],
)
def test_json_is_found_in_fences_and_talk(live, said):
    live.says(said)

    answer = ask(live)

    assert answer.value.headline == ROLL.headline
    assert answer.text == said
    assert answer.asked == live.asked == 1


def test_what_the_model_thought_is_not_taken_for_the_answer(anthropic):
    anthropic.server.script(thinking("{}", hidden=False) + text(MAT))

    assert ask(anthropic).value == ROLL


# When it does not fit.

BAD = '{"headline": "Roll out calm", "description": "zq7", "call_to_action": "buy", "keywords": ["a"]}'


def test_what_does_not_fit_is_asked_for_once_more_with_what_is_wrong(live):
    live.says(f"```json\n{BAD}\n```", MAT)

    answer = ask(live, system="Be brief.", task="ad_copy", user_id="7", service="adscale")

    assert answer.value == ROLL
    assert answer.asked == live.asked == 2
    first, second = (json.loads(request.body) for request in live.server.requests)
    again = json.dumps(second)
    assert "Ad copy for a yoga mat." in again
    assert "zq7" in again
    assert "call_to_action: Input should be" in again
    assert "keywords: List should have at least 2 items" in again
    for field in ("system", "max_tokens", "user_id", "service", "task_type", "metadata", "output_config", "model"):
        assert first.get(field) == second.get(field)


def test_usage_and_cost_are_of_both_asks(side):
    side.says("I would rather talk.", MAT)

    answer = ask(side, "Ad copy for a yoga mat. demo:misfit")

    first, second = side.calls
    assert answer.asked == 2
    assert answer.cost.amount == first.cost + second.cost
    assert first.cost > 0
    assert second.cost > 0
    if side.server is not None:
        words = len(["I", "would", "rather", "talk."]) + len(MAT.split())
        assert answer.usage.output_tokens == words
        assert answer.usage.input_tokens > 2 * len(["Ad", "copy", "for", "a", "yoga", "mat."])


def test_the_pictures_and_turns_of_the_question_are_asked_again_too(anthropic):
    anthropic.says("No.", MAT)
    picture = Image(data=b"\x89PNG\r\n\x1a\n", media_type="image/png")
    turns = [Message.user("Hi"), Message.assistant("Hello"), Message.user(picture, Text(text="An ad for this."))]

    assert ask(anthropic, turns).asked == 2

    first, second = (body["messages"] for body in anthropic.server.messages)
    assert second[:-1] == first[:-1]
    assert second[-1]["role"] == "user"
    assert second[-1]["content"][: len(first[-1]["content"])] == first[-1]["content"]
    assert "it is not JSON" in second[-1]["content"][-1]["text"]


def test_what_does_not_fit_twice_is_an_error_that_says_where_and_quotes_nothing(side):
    side.says(BAD, BAD, MAT)

    with pytest.raises(BadResponseError) as caught:
        ask(side, "Ad copy for a yoga mat. demo:misfits")

    error = caught.value
    assert (error.code, error.vendor, error.operation) == ("schema", side.name, "llm.complete_json")
    assert (error.retryable, error.may_have_applied) == (False, True)
    assert side.asked == 2
    assert all(call.cost > 0 for call in side.calls)
    assert "zq7" not in str(error)
    if side.server is not None:
        assert "call_to_action" in str(error)
        assert error.request_id


def test_what_a_validator_of_the_service_s_own_refuses_is_asked_for_again(live):
    class Slogan(BaseModel):
        words: str

        @field_validator("words")
        @classmethod
        def _short(cls, words):
            if len(words.split()) > 2:
                raise ValueError("at most two words")
            return words

    live.says('{"words": "Roll it all out"}', '{"words": "Roll out"}')

    answer = ask(live, "A slogan.", Slogan)

    assert (answer.value.words, answer.asked) == ("Roll out", 2)
    assert "at most two words" in live.server.requests[1].body.decode()


def test_an_answer_that_is_cut_short_is_not_asked_for_again(side):
    with pytest.raises(BadResponseError) as caught:
        ask(side, "A long analysis of a yoga mat. demo:truncate", ProductAnalysis, max_tokens=5)

    assert (caught.value.code, caught.value.retryable) == ("max_tokens", False)
    assert "max_tokens" in str(caught.value)
    assert side.asked == 1
    assert side.calls[0].cost > 0


def test_a_second_answer_that_is_cut_short_is_said_to_be(anthropic):
    anthropic.says("No.", "word " * 300)

    with pytest.raises(BadResponseError) as caught:
        ask(anthropic, max_tokens=50)

    assert caught.value.code == "max_tokens"
    assert anthropic.asked == 2


@pytest.mark.parametrize("name", ["demo", "anthropic"])
def test_a_refusal_is_an_error_of_its_own_and_not_asked_again(sides, name):
    with sides(name) as side:
        if side.server is not None:
            side.server.script(refusal("general_harms", "Mats are dangerous."))

        with pytest.raises(RejectedError) as caught:
            ask(side, "Ad copy for a yoga mat. demo:refuse")

        assert (caught.value.code, caught.value.retryable) == ("refusal", False)
        assert side.asked == 1
        assert side.calls[0].cost is not None
        if side.server is not None:
            assert "Mats are dangerous." in str(caught.value)


def test_a_refusal_of_the_second_ask_is_one_too(anthropic):
    anthropic.server.script(text("No."), refusal("cyber", after="Well,"))

    with pytest.raises(RejectedError, match="cyber"):
        ask(anthropic)

    assert anthropic.asked == 2


# How long it takes.


def test_the_deadline_is_for_both_asks(live):
    """The first takes 8 of 10 seconds; the second is given up after 2."""
    live.clock.auto = False
    live.says("No.", MAT)

    async def scenario():
        async with live.open() as p:
            await p.llm.check()
            live.server.stage(Fault.SLOW_HEADERS, times=2)
            asked = live.asked_now()
            call = asyncio.create_task(p.llm.complete_json("A yoga mat.", AdCopy, timeout=10))
            await live.until(lambda: live.asked_now() == asked + 1)
            live.clock.advance(8)
            live.server.release()
            await live.until(lambda: live.asked_now() == asked + 2)
            live.clock.advance(1.9)
            await asyncio.sleep(0.05)
            assert not call.done()
            live.clock.advance(0.2)
            with pytest.raises(ProviderTimeoutError):
                await call

    asyncio.run(scenario())


def test_when_the_first_ask_took_all_the_time_nobody_is_asked_again(live):
    live.says("No.", MAT)

    async def scenario():
        async with live.open() as p:
            live.late = 11
            with pytest.raises(ProviderTimeoutError):
                await p.llm.complete_json("A yoga mat.", AdCopy, timeout=10)

    asyncio.run(scenario())
    assert live.asked_now() == 1


def test_what_the_gateway_kept_costs_nothing_the_second_time(gateway):
    async def scenario():
        async with gateway.open() as p:
            return [await p.llm.complete_json("A yoga mat.", AdCopy) for _ in range(2)]

    first, second = asyncio.run(scenario())
    assert first.value == second.value
    assert (first.cached, second.cached) == (False, True)
    assert (first.cost.amount > 0, second.cost.amount) == (True, 0)
    assert second.stop_reason is not StopReason.MAX_TOKENS
