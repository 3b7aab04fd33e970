"""How JSON is found in what a model says, and read by the type that was asked for."""

import dataclasses
import enum
import json
import time
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic_core import to_json
from typing_extensions import TypeAliasType, TypedDict

from providers.errors import BadResponseError
from providers.llm.structured import PROBLEMS, UnfitError, correction, instruction, shape_of, unusable


class Tone(enum.Enum):
    PLAYFUL = "playful"
    PLAIN = "plain"


class Line(BaseModel):
    title: str
    words: int
    tone: Tone


class Page(BaseModel):
    model_config = ConfigDict(frozen=True)

    headline: str
    lines: list[Line] = []
    price: Decimal | None = None
    by: dict[str, float] = {}


class Branch(BaseModel):
    name: str
    branches: "list[Branch]" = []


@dataclasses.dataclass
class Point:
    x: int
    y: int | None = None


class Row(TypedDict):
    sku: str
    day: date


Tree = TypeAliasType("Tree", "list[Tree]")
Score = Annotated[int, Field(ge=0, le=10)]

KINDS = [
    Page,
    Branch,
    Point,
    Row,
    Tree,
    list[Page],
    list[str],
    tuple[int, str],
    dict[str, int],
    Page | Point,
    Page | None,
    Tone,
    Literal["yes", "no"],
    Score,
    Decimal,
    datetime,
    str,
    bool,
]

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
numbers = st.integers(-(2**70), 2**70)
amounts = st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**9), max_value=10**9)
floats = st.floats(allow_nan=False, allow_infinity=False)
lines = st.builds(Line, title=words, words=numbers, tone=st.sampled_from(Tone))
pages = st.builds(
    Page,
    headline=words,
    lines=st.lists(lines, max_size=3),
    price=st.none() | amounts,
    by=st.dictionaries(words, floats, max_size=3),
)
trees = st.recursive(st.builds(list), lambda inner: st.lists(inner, max_size=3), max_leaves=6)
branches = st.recursive(
    st.builds(Branch, name=words),
    lambda inner: st.builds(Branch, name=words, branches=st.lists(inner, max_size=3)),
    max_leaves=5,
)
moments = st.datetimes(timezones=st.just(UTC))
values = st.one_of(
    st.tuples(st.just(Page), pages),
    st.tuples(st.just(Branch), branches),
    st.tuples(st.just(Tree), trees),
    st.tuples(st.just(Point), st.builds(Point, x=numbers, y=st.none() | numbers)),
    st.tuples(st.just(Row), st.fixed_dictionaries({"sku": words, "day": st.dates()})),
    st.tuples(st.just(list[Page]), st.lists(pages, max_size=2)),
    st.tuples(st.just(Page | Point), pages),
    st.tuples(st.just(Page | None), st.none() | pages),
    st.tuples(st.just(Tone), st.sampled_from(Tone)),
    st.tuples(st.just(Decimal), amounts),
    st.tuples(st.just(datetime), moments),
    st.tuples(st.just(str), words),
    st.tuples(st.just(dict[str, int]), st.dictionaries(words, numbers, max_size=4)),
)

plain = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="`{}[]"), max_size=60)
"""What models say around their JSON."""
chatter = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="`"), max_size=60)
fences = st.sampled_from(["```json\n%s\n```", "```\n%s\n```", "```JSON  \r\n%s\r\n  ```", "~~~\n%s\n~~~", "%s"])


def written(kind, value, *, indent=None):
    """The value as a model that knows the schema would write it."""
    made = json.loads(to_json(TypeAdapter(kind).dump_python(value, mode="json")))
    wrapped = {"value": made} if shape_of(kind).wrapped else made
    return json.dumps(wrapped, indent=indent, ensure_ascii=False)


@given(given=values, before=plain, after=plain, fence=fences, indent=st.sampled_from([None, 2]))
def test_a_value_is_found_whatever_is_said_around_it(given, before, after, fence, indent):
    kind, value = given
    text = f"{before}\n{fence % written(kind, value, indent=indent)}\n{after}"

    assert shape_of(kind).read(text) == value


@given(page=pages, before=chatter, after=chatter)
def test_brackets_in_the_talk_do_not_matter_where_the_value_stands_in_a_fence(page, before, after):
    body = written(Page, page).replace("```", "'''")

    assert shape_of(Page).read(f"{before}\n```json\n{body}\n```\n{after}") == Page.model_validate_json(body)


@given(page=pages)
def test_of_several_fences_the_one_that_fits_is_read(page):
    body = written(Page, page).replace("```", "'''")
    text = f'For example:\n```json\n{{"headlines": []}}\n```\nbut really:\n```json\n{body}\n```'

    assert shape_of(Page).read(text) == Page.model_validate_json(body)


@given(kind=st.sampled_from(KINDS), text=st.one_of(st.text(max_size=200), chatter.map("```json\n{}\n```".format)))
def test_any_text_gives_a_value_or_says_why_not(kind, text):
    try:
        value = shape_of(kind).read(text)
    except UnfitError as error:
        assert str(error)  # noqa: PT017 (one of two good answers)
    else:
        assert TypeAdapter(kind).validate_python(value) == value


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["value", "headline", "lines", "x", "name", "branches", "sku", "day", "by"]), inner
        )
    ),
    max_leaves=10,
)


@given(kind=st.sampled_from(KINDS), answer=json_values)
def test_any_json_gives_a_value_or_says_why_not(kind, answer):
    text = json.dumps(answer)
    try:
        value = shape_of(kind).read(text)
    except UnfitError as error:
        assert len(str(error)) < 2_000  # noqa: PT017 (one of two good answers)
    else:
        assert TypeAdapter(kind).validate_python(value) == value


SECRET = "zq7-nobody-says-this"


@given(
    answer=st.sampled_from(
        [
            SECRET,
            {"headline": [SECRET]},
            {"headline": "x", "lines": [{"title": "x", "words": SECRET, "tone": SECRET}]},
            {"headline": "x", "price": SECRET},
            {"headline": "x", "lines": SECRET},
            [SECRET],
        ]
    ),
    kind=st.sampled_from([Page, list[Page], Point, Score, Tone, datetime, Literal["yes", "no"]]),
)
def test_a_problem_quotes_nothing_of_the_answer(answer, kind):
    for text in (json.dumps(answer), f"```json\n{json.dumps({'value': answer})}\n```", SECRET):
        with pytest.raises(UnfitError) as caught:
            shape_of(kind).read(text)
        assert SECRET not in str(caught.value)


def test_a_problem_names_the_places_and_counts_the_rest():
    bad = {"headline": "x", "lines": [{"title": 1, "words": "many", "tone": "loud"} for _ in range(8)]}

    with pytest.raises(UnfitError) as caught:
        shape_of(Page).read(json.dumps(bad))

    text = str(caught.value)
    assert "lines.0.title: Input should be a valid string" in text
    assert "lines.0.tone: Input should be 'playful' or 'plain'" in text
    assert text.count(";") == PROBLEMS
    assert text.endswith(f"and {24 - PROBLEMS} more")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "there is no JSON in it"),
        ("   \n\t", "there is no JSON in it"),
        ("Sorry, I cannot do that.", "it is not JSON"),
        ('{"headline": "cut he', "it is not JSON"),
        ('["headline"]', "it: Input should be an object"),
        ("null", "it: Input should be an object"),
    ],
)
def test_what_cannot_be_used_is_said_in_a_few_words(text, why):
    with pytest.raises(UnfitError) as caught:
        shape_of(Page).read(text)

    assert str(caught.value) == why


@pytest.mark.parametrize(
    "text",
    [
        '{"title": "Mat", "lines": [{"headline": 1}]}',
        'Here you are:\n```json\n{"title": "Mat"}\n```\nEnjoy!',
        'Here you are: {"title": "Mat"} Enjoy!',
        'Not {this}:\n```\n{"title": "Mat"}\n```',
    ],
)
def test_the_problem_told_is_that_of_the_json_and_not_of_what_is_said_around_it(text):
    with pytest.raises(UnfitError, match=r"^headline: Field required"):
        shape_of(Page).read(text)


@pytest.mark.parametrize("filler", [" ", "\t", "\n", "`", "{", "[", "```", "```json\n", "```\n{", "\\", '"'])
def test_endless_filling_is_read_in_no_time(filler):
    """A model held to JSON that has lost its thread fills its answer with blanks."""
    text = '```json\n{"headline": "x' + filler * 300_000
    began = time.process_time()

    with pytest.raises(UnfitError):
        shape_of(Page).read(text)

    assert time.process_time() - began < 1


@pytest.mark.parametrize("depth", [100, 10_000, 1_000_000])
def test_deep_nesting_is_a_value_or_unfit_and_nothing_worse(depth):
    for deep in ("[" * depth + "]" * depth, '{"value":' * depth + "1" + "}" * depth, "[" * depth, '{"a":' * depth):
        for kind in (Tree, Branch, list[str]):
            for text in (deep, f'{{"value": {deep}, "name": "x", "branches": {deep}}}'):
                with suppress(UnfitError):
                    shape_of(kind).read(text)


def test_strict_types_take_dates_and_amounts_from_text():
    class Strict(BaseModel):
        model_config = ConfigDict(strict=True)

        day: date
        lasts: timedelta
        price: Decimal
        tone: Tone

    value = shape_of(Strict).read('{"day": "2026-11-23", "lasts": "PT5M", "price": "9.90", "tone": "plain"}')

    assert value == Strict(day=date(2026, 11, 23), lasts=timedelta(minutes=5), price=Decimal("9.90"), tone=Tone.PLAIN)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_object_is_asked_for_as_the_field_of_one(kind):
    shape = shape_of(kind)
    schema = dict(shape.json_schema)
    root = schema
    if "$ref" in schema:
        root = schema["$defs"][schema["$ref"].removeprefix("#/$defs/")]

    assert root["type"] == "object"
    if shape.wrapped:
        assert root["required"] == ["value"]
    assert not shape.wrapped or kind not in {Page, Branch, Point, Row}


@pytest.mark.parametrize("kind", KINDS)
def test_every_reference_in_a_schema_leads_somewhere(kind):
    schema = shape_of(kind).json_schema

    def references(value):
        if isinstance(value, dict):
            yield from ([value["$ref"]] if isinstance(value.get("$ref"), str) else [])
            for each in value.values():
                yield from references(each)
        elif isinstance(value, list):
            for each in value:
                yield from references(each)

    assert all(ref.removeprefix("#/$defs/") in schema["$defs"] for ref in references(schema))


def test_a_shape_is_made_once():
    assert shape_of(Page) is shape_of(Page)
    assert shape_of(list[Page]) is shape_of(list[Page])
    assert shape_of(Page) is not shape_of(Branch)


def test_an_instruction_holds_the_whole_schema():
    text = instruction(shape_of(Page).json_schema)

    assert json.loads(text.partition("\n")[2]) == shape_of(Page).json_schema


def test_a_correction_shows_the_answer_and_the_problem_and_ends_somewhere():
    problem = UnfitError("headline: Field required")

    assert '{"title": "Mat"}' in correction('{"title": "Mat"}', problem)
    assert "headline: Field required" in correction("{}", problem)
    assert len(correction("x" * 100_000, problem)) < 5_000


def test_what_cannot_be_used_is_a_bad_response_that_nobody_repeats():
    error = unusable("it was cut at max_tokens", "max_tokens")

    assert isinstance(error, BadResponseError)
    assert (error.code, error.repeatable, error.retryable) == ("max_tokens", False, False)
