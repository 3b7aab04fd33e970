"""The tour's part for language models."""

from __future__ import annotations

from contextlib import aclosing
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, Field

from providers.cli.tour.step import Step, Tour
from providers.core.errors import ProviderError, UnsupportedOperationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from providers.core.models import Money
    from providers.llm.api import Llm
    from providers.llm.models import Completion

PRODUCT = "a yoga mat of natural cork"
LONGEST_LINE = 76


class Audience(StrEnum):
    """Whom a listing speaks to."""

    BEGINNERS = "beginners"
    ATHLETES = "athletes"
    EVERYBODY = "everybody"


class Listing(BaseModel):
    """What a shop page needs."""

    title: Annotated[str, Field(max_length=70)]
    bullet_points: Annotated[list[str], Field(min_length=3, max_length=3)]
    tags: list[str]
    audience: Audience


class Stock(BaseModel):
    """How many of a product are in the warehouse."""

    sku: str


async def show(tour: Tour) -> AsyncIterator[Step]:
    """Words: copy, a listing that fits a schema, a stream, a tool, what it costs and which models there are."""
    llm = tour.p.llm
    copy = await llm.complete(f"Two sentences of copy for {PRODUCT}.", max_tokens=300, task="ad_copy_generation")
    yield Step(
        title="The product needs words",
        lines=(*_wrapped(copy.text), f"{copy.model}: {_used(copy)}, {_price(copy.cost)}"),
        data=copy,
    )
    parsed = await llm.complete_json(f"A shop listing for {PRODUCT}.", Listing, task="content_generation")
    listing = parsed.value
    yield Step(
        title="The shop page needs JSON: an answer that fits a pydantic model",
        lines=(listing.title, *(f"- {point}" for point in listing.bullet_points), f"for {listing.audience}"),
        data=parsed,
    )
    yield await _stream(llm)
    yield await _tool(llm)
    yield await _tokens(llm)
    yield await _models(llm)


async def _stream(llm: Llm) -> Step:
    from providers.llm.models import StreamEventType

    title = "A person waits: words as they come"
    pieces, completion = 0, None
    try:
        async with aclosing(llm.stream(f"A caption for a photo of {PRODUCT}.", max_tokens=300)) as events:
            async for event in events:
                pieces += event.type is StreamEventType.TEXT
                completion = event.completion
                if event.error is not None:
                    raise event.error
    except UnsupportedOperationError as error:
        return Step(title=title, skipped=str(error))
    if completion is None:
        msg = "the stream ended without its end"
        raise ProviderError(msg)
    lines = (*_wrapped(completion.text), f"{pieces} pieces, {_used(completion)}, {_price(completion.cost)}")
    return Step(title=title, lines=lines, data=completion)


async def _tool(llm: Llm) -> Step:
    from providers.llm.models import Message, Tool, ToolResult

    title = "The model asks for what it does not know: a tool"
    stock = Tool.of(Stock, name="stock")
    asked = Message.user("How many of SKU CORK-1 are in stock? Look it up.")
    try:
        first = await llm.complete([asked], tools=[stock], max_tokens=500)
    except UnsupportedOperationError as error:
        return Step(title=title, skipped=str(error))
    if not first.tool_calls or first.message is None:
        return Step(title=title, skipped="the model answered without it", data=first)
    results = [ToolResult(call=call.id, content='{"in_stock": 41}') for call in first.tool_calls]
    last = await llm.complete([asked, first.message, Message.user(*results)], tools=[stock], max_tokens=500)
    calls = [f"{call.name}({', '.join(f'{k}={v!r}' for k, v in call.input.items())})" for call in first.tool_calls]
    return Step(title=title, lines=(*calls, *_wrapped(last.text)), data=last)


async def _tokens(llm: Llm) -> Step:
    title = "Before asking: how long a prompt is"
    try:
        count = await llm.count_tokens(f"Two sentences of copy for {PRODUCT}.")
    except UnsupportedOperationError as error:
        return Step(title=title, skipped=str(error))
    return Step(title=title, lines=(f"{count} tokens",), data=count)


async def _models(llm: Llm) -> Step:
    found = await llm.models()
    lines: list[str] = []
    for model in found[:8]:
        price = "price not known"
        if model.input_price is not None and model.output_price is not None:
            price = f"{model.input_price} / {model.output_price} USD per million tokens"
        end = f", retires {model.retires_at:%Y-%m-%d}" if model.retires_at else ""
        lines.append(f"{model.id}: {price}{end}")
    return Step(title="Which models there are", lines=tuple(lines), data=found)


def _wrapped(text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, LONGEST_LINE)


def _used(completion: Completion) -> str:
    return f"{completion.usage.prompt_tokens} tokens in, {completion.usage.output_tokens} out"


def _price(cost: Money | None) -> str:
    return "price not known" if cost is None else f"{cost.amount:.6f} {cost.currency}"
