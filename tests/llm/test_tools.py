"""A shop assistant that looks things up: the loop as one writes it, at the demo and directly."""

import asyncio
import json
from decimal import Decimal

import pytest
from pydantic import BaseModel, Field, ValidationError

from providers.errors import InvalidRequestError, UnsupportedOperationError
from providers.llm import (
    Completion,
    Message,
    Opaque,
    Role,
    StopReason,
    StreamEventType,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from providers.testing.servers.anthropic import text, thinking, tool_use

# What the service has.


class FindProduct(BaseModel):
    """Find products by words in their title."""

    query: str
    limit: int = Field(default=3, ge=1, le=10)


class GetStock(BaseModel):
    """How many of a product are in stock."""

    sku: str = Field(pattern=r"^[A-Z]\d+$")


class GetPrice(BaseModel):
    """The price of a product."""

    sku: str = Field(pattern=r"^[A-Z]\d+$")
    currency: str = "USD"


SHELF = {"A1": ("Bamboo yoga mat", 12, Decimal("39.90")), "B2": ("Cork yoga block", 0, Decimal("9.50"))}


def find_product(asked):
    found = [sku for sku, (title, *_) in SHELF.items() if asked.query.lower() in title.lower()]
    return json.dumps(found[: asked.limit])


def get_stock(asked):
    return str(SHELF[asked.sku][1])


def get_price(asked):
    return f"{SHELF[asked.sku][2]} {asked.currency}"


SHOP = {
    "find_product": (FindProduct, find_product),
    "get_stock": (GetStock, get_stock),
    "get_price": (GetPrice, get_price),
}
TOOLS = [Tool.of(model) for model, _ in SHOP.values()]


def run_tool(call: ToolCall) -> ToolResult:
    model, work = SHOP[call.name]
    try:
        return ToolResult(call=call.id, content=work(model.model_validate(call.input)))
    except (KeyError, ValidationError) as error:
        return ToolResult(call=call.id, content=f"{type(error).__name__}: {error}", is_error=True)


async def assist(llm, question, *, rounds=6, **options):
    """The answer, and the whole conversation."""
    turns = [Message.user(question)]
    for _ in range(rounds):
        answer = await llm.complete(turns, tools=TOOLS, **options)
        if not answer.tool_calls:
            return answer, turns
        turns += [answer.message, Message.user(*(run_tool(call) for call in answer.tool_calls))]
    raise AssertionError("it never came to an end")


async def assist_streamed(llm, question, **options):
    """The same, with the words as they come."""
    turns, said = [Message.user(question)], []
    while True:
        results = []
        async for event in llm.stream(turns, tools=TOOLS, **options):
            if event.type is StreamEventType.TEXT:
                said.append(event.text)
            elif event.type is StreamEventType.TOOL_CALL:
                results.append(run_tool(event.tool_call))
            elif event.type is StreamEventType.END:
                answer = event.completion
        if not results:
            return answer, turns, "".join(said)
        turns += [answer.message, Message.user(*results)]


@pytest.fixture(params=["demo", "anthropic"])
def clerk(request, sides):
    with sides(request.param) as side:
        yield side


def in_stock():
    """What a model says that finds the mat, looks at its stock and price at once, and answers."""
    return (
        thinking() + text("Let me look.") + tool_use("find_product", {"query": "yoga mat"}),
        thinking() + tool_use("get_stock", {"sku": "A1"}) + tool_use("get_price", {"sku": "A1"}),
        text("We have 12 bamboo yoga mats at 39.90 USD."),
    )


def run(side, scenario):
    async def main():
        async with side.open() as p:
            return await scenario(p.llm)

    return asyncio.run(main())


# The loop.


def test_a_question_is_answered_with_what_the_tools_gave(anthropic):
    anthropic.server.script(*in_stock())

    answer, turns = run(anthropic, lambda llm: assist(llm, "Do you have yoga mats?"))

    assert answer.text == "We have 12 bamboo yoga mats at 39.90 USD."
    assert answer.stop_reason is StopReason.END_TURN
    assert anthropic.asked == 3
    assert [turn.role for turn in turns] == [Role.USER, Role.ASSISTANT, Role.USER, Role.ASSISTANT, Role.USER]
    found, (stock, price) = turns[2].parts[0], turns[4].parts
    assert (found.content, stock.content, price.content) == ('["A1"]', "12", "39.90 USD")


def test_the_vendor_gets_the_conversation_as_it_was(anthropic):
    """Its thoughts too: it refuses them when a letter of them is changed."""
    anthropic.server.script(*in_stock())

    run(anthropic, lambda llm: assist(llm, "Do you have yoga mats?"))

    first, second, third = (body["messages"] for body in anthropic.server.messages)
    thought, words, call = anthropic.server.answers[0]["content"]
    assert (thought["type"], words["text"], call["name"]) == ("thinking", "Let me look.", "find_product")
    assert second == [
        *first,
        {"role": "assistant", "content": [thought, words, call]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call["id"], "content": '["A1"]'}]},
    ]
    assert third[:3] == second
    again, stock, price = anthropic.server.answers[1]["content"]
    assert third[3] == {"role": "assistant", "content": [again, stock, price]}
    assert [block["tool_use_id"] for block in third[4]["content"]] == [stock["id"], price["id"]]


def test_what_only_the_vendor_understands_is_kept_and_shown_to_nobody(anthropic):
    anthropic.server.script(thinking("I wonder.", hidden=False) + text("Hello."))

    answer = run(anthropic, lambda llm: llm.complete("Hi"))

    thought, words = answer.message.parts
    assert isinstance(thought, Opaque)
    assert thought.vendor == "anthropic"
    assert thought.block == anthropic.server.answers[0]["content"][0]
    assert words == Text(text="Hello.")
    assert answer.text == "Hello."
    assert "I wonder" not in repr(answer)


def test_a_conversation_that_was_kept_as_json_goes_on(anthropic):
    """A service that keeps chats in its database."""
    anthropic.server.script(*in_stock())

    async def scenario(llm):
        turns = [Message.user("Do you have yoga mats?")]
        while True:
            turns = [Message.model_validate_json(turn.model_dump_json()) for turn in turns]
            answer = await llm.complete(turns, tools=TOOLS)
            if not answer.tool_calls:
                return answer
            turns += [answer.message, Message.user(*map(run_tool, answer.tool_calls))]

    assert run(anthropic, scenario).text.startswith("We have 12")


def test_the_streamed_loop_says_the_same_as_it_goes(anthropic):
    anthropic.server.script(*in_stock())

    answer, turns, said = run(anthropic, lambda llm: assist_streamed(llm, "Do you have yoga mats?"))

    assert said == "Let me look." + answer.text
    assert [part.content for part in turns[4].parts] == ["12", "39.90 USD"]
    assert anthropic.asked == 3


@pytest.mark.parametrize("loop", [assist, assist_streamed])
def test_the_loop_comes_to_an_end_with_nothing_scripted(clerk, loop):
    answer, turns, *_ = run(clerk, lambda llm: loop(llm, "Do you have any yoga mat in stock?"))

    assert isinstance(answer, Completion)
    assert answer.text
    assert answer.tool_calls == ()
    (call,) = [part for part in turns[1].parts if isinstance(part, ToolCall)]
    model, _ = SHOP[call.name]
    assert model.model_validate(call.input)
    assert turns[2].parts[0].call == call.id


def test_the_demo_calls_what_the_question_is_about_and_says_what_came(demo):
    answer, turns = run(demo, lambda llm: assist(llm, "What is the price of the bamboo yoga mat?"))

    assert turns[1].parts[-1].name == "get_price"
    assert turns[2].parts[0].content in answer.text


def test_a_tool_that_failed_is_told_as_that_and_the_model_goes_on(anthropic):
    anthropic.server.script(
        tool_use("get_stock", {"sku": "Z9"}) + tool_use("get_stock", {"sku": "not one"}),
        text("I do not know that one."),
    )

    answer, turns = run(anthropic, lambda llm: assist(llm, "Is Z9 in stock?"))

    assert [(result.is_error, result.content.split(":")[0]) for result in turns[2].parts] == [
        (True, "KeyError"),
        (True, "ValidationError"),
    ]
    sent = anthropic.server.messages[1]["messages"][2]["content"]
    assert [block["is_error"] for block in sent] == [True, True]
    assert answer.text == "I do not know that one."


def test_the_demo_hears_that_a_tool_failed(demo):
    async def scenario(llm):
        asked = Message.user("How many yoga mats are in stock?")
        first = await llm.complete(asked, tools=TOOLS)
        (call,) = first.tool_calls
        result = ToolResult(call=call.id, content="the warehouse is closed", is_error=True)
        return await llm.complete([asked, first.message, Message.user(result)], tools=TOOLS)

    assert "failed: the warehouse is closed" in run(demo, scenario).text


# Who chooses.


def test_a_tool_can_be_forced_where_the_model_takes_that(clerk):
    async def scenario(llm):
        by_name = await llm.complete("Hello!", tools=TOOLS, tool_choice="get_price", model="claude-opus-5-5")
        any_ = await llm.complete("Hello!", tools=TOOLS, tool_choice=ToolChoice.ANY, model="claude-opus-5-5")
        return by_name, any_

    by_name, any_ = run(clerk, scenario)
    assert [call.name for call in by_name.tool_calls] == ["get_price"]
    assert GetPrice.model_validate(by_name.tool_calls[0].input)
    assert len(any_.tool_calls) == 1
    assert by_name.stop_reason is any_.stop_reason is StopReason.TOOL_USE


@pytest.mark.parametrize("choice", ["get_price", ToolChoice.ANY])
def test_a_model_that_cannot_be_forced_is_not_asked(anthropic, choice):
    async def scenario(llm):
        with pytest.raises(UnsupportedOperationError) as caught:
            await llm.complete("Hello!", tools=TOOLS, tool_choice=choice, model="claude-sonnet-5-5")
        assert caught.value.field == "tool_choice"

    run(anthropic, scenario)
    assert anthropic.asked_now() == 0


def test_no_tool_is_called_where_none_is_wanted(clerk):
    answer = run(clerk, lambda llm: llm.complete("What is the price?", tools=TOOLS, tool_choice=ToolChoice.NONE))

    assert answer.tool_calls == ()
    assert answer.text
    if clerk.server is not None:
        assert clerk.server.messages[0]["tool_choice"] == {"type": "none"}


def test_several_turns_of_one_chat_each_look_things_up(anthropic):
    anthropic.server.script(
        tool_use("get_stock", {"sku": "A1"}), text("12."), tool_use("get_price", {"sku": "B2"}), text("9.50 USD.")
    )

    async def scenario(llm):
        turns = []
        for question in ("How many A1?", "And what is B2?"):
            turns.append(Message.user(question))
            while (answer := await llm.complete(turns, tools=TOOLS)).tool_calls:
                turns += [answer.message, Message.user(*map(run_tool, answer.tool_calls))]
            turns.append(answer.message)
        return turns

    turns = run(anthropic, scenario)
    assert [part.content for turn in turns for part in turn.parts if isinstance(part, ToolResult)] == ["12", "9.50 USD"]
    assert turns[-1].parts == (Text(text="9.50 USD."),)
    assert anthropic.asked == 4


def test_a_model_that_says_nothing_after_its_tools_is_no_error(anthropic):
    """It happens: an empty answer that ends as usual."""
    anthropic.server.script(tool_use("get_stock", {"sku": "A1"}), text(""))

    answer, _ = run(anthropic, lambda llm: assist(llm, "How many A1?"))

    assert (answer.text, answer.stop_reason) == ("", StopReason.END_TURN)


def test_what_tools_are_described_as_reaches_the_model(anthropic):
    run(anthropic, lambda llm: llm.complete("Hi", tools=TOOLS, tool_choice=ToolChoice.NONE))

    (body,) = anthropic.server.messages
    assert [tool["name"] for tool in body["tools"]] == list(SHOP)
    assert body["tools"][0]["description"] == "Find products by words in their title."
    assert body["tools"][1]["input_schema"]["properties"]["sku"]["pattern"] == r"^[A-Z]\d+$"


def test_two_tools_of_one_name_are_refused_before_anything_is_sent(clerk):
    async def scenario(llm):
        with pytest.raises(InvalidRequestError, match="the same name"):
            await llm.complete("Hi", tools=[*TOOLS, TOOLS[0]])

    run(clerk, scenario)
    assert clerk.calls == []


@pytest.mark.parametrize(
    ("options", "field"), [({"tools": TOOLS}, "tools"), ({"turns": True}, "conversation")], ids=["tools", "turns"]
)
def test_the_gateway_has_neither_tools_nor_turns_and_says_so(gateway, options, field):
    turns = [Message.user("Hi"), Message.assistant("Hello"), Message.user("Hi")] if options.pop("turns", None) else "Hi"

    async def scenario(llm):
        with pytest.raises(UnsupportedOperationError) as caught:
            await llm.complete(turns, **options)
        assert caught.value.field == field

    run(gateway, scenario)
    assert gateway.asked_now() == 0
