"""Language models as a caller types them. Checked, never run."""

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import aclosing
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal, assert_type

from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from providers import CheckResult, Money, Providers, Ref, sync
from providers.errors import ProviderError
from providers.llm import (
    AnthropicLlm,
    Batch,
    BatchCounts,
    BatchOutcome,
    BatchOutcomeState,
    BatchState,
    CacheFor,
    Completion,
    CompletionRequest,
    DemoLlm,
    Effort,
    GatewayLlm,
    Image,
    Lifecycle,
    Llm,
    Message,
    ModelInfo,
    Parsed,
    Refusal,
    StopReason,
    StreamEvent,
    StreamEventType,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Usage,
)
from providers.sync import Llm as BlockingLlm


class Caption(BaseModel):
    """Words under a picture."""

    text: str
    hashtags: list[str] = Field(default_factory=list)


class Supplier(TypedDict):
    """Who sells it."""

    name: str
    score: Annotated[int, Field(ge=0, le=100)]


async def answers(p: Providers) -> None:
    answer = await p.llm.complete(
        "Two lines about a yoga mat.", system="Be brief.", max_tokens=200, task="ad_copy", user_id="7", timeout=10
    )
    assert_type(answer, Completion)
    assert_type(answer.text, str)
    assert_type(answer.cost, Money | None)
    assert_type(answer.usage, Usage)
    assert_type(answer.usage.output_tokens, int)
    assert_type(answer.stop_reason, StopReason | None)
    assert_type(answer.refusal, Refusal | None)
    assert_type(answer.tool_calls, tuple[ToolCall, ...])
    assert_type(answer.message, Message | None)
    assert_type(answer.truncated, bool)
    assert_type(answer.usage + answer.usage, Usage)


async def prompts(llm: Llm, picture: bytes) -> None:
    seen = Message.user("What is this?", Image(data=picture, media_type="image/png"))
    system = (Text(text="You know every product.", cache=CacheFor.HOUR),)
    assert_type(await llm.complete(seen, system=system, cache=CacheFor.MINUTES), Completion)
    assert_type(await llm.complete([seen, Message.assistant("A mat."), Message.user("Sure?")]), Completion)
    assert_type(await llm.complete((seen,), effort=Effort.LOW, stop=["END"], fresh=True), Completion)
    assert_type(await llm.count_tokens(seen, model="claude-sonnet-5-5"), int)


async def values(llm: Llm) -> None:
    caption = await llm.complete_json("A caption for a yoga mat.", Caption, max_tokens=300)
    assert_type(caption, Parsed[Caption])
    assert_type(caption.value, Caption)
    assert_type(caption.value.hashtags, list[str])
    assert_type(caption.asked, int)
    assert_type(caption.cost, Money | None)
    assert_type((await llm.complete_json("Three captions.", list[Caption])).value, list[Caption])
    supplier = await llm.complete_json("Who sells it?", Supplier)
    assert_type(supplier.value["score"], int)
    assert_type((await llm.complete_json("How many words?", int)).value, int)
    assert_type((await llm.complete_json("By topic.", dict[str, Decimal])).value, dict[str, Decimal])


async def streams(llm: Llm) -> str:
    events = llm.stream("Tell me about it.", max_tokens=2000)
    assert_type(events, AsyncGenerator[StreamEvent, None])
    said = ""
    async for event in events:
        assert_type(event.type, StreamEventType)
        assert_type(event.usage, Usage)
        assert_type(event.tool_call, ToolCall | None)
        assert_type(event.completion, Completion | None)
        assert_type(event.error, ProviderError | None)
        said += event.text
    return said


async def leaving_early(llm: Llm) -> None:
    async with aclosing(llm.stream("Tell me about it.")) as events:
        async for event in events:
            assert_type(event, StreamEvent)
            break


async def tools(llm: Llm) -> None:
    find = Tool.of(Caption, name="find_caption")
    asked = Message.user("Find one.")
    answer = await llm.complete(asked, tools=[find], tool_choice=ToolChoice.ANY)
    assert_type(answer.tool_calls[0].id, str)
    results = [ToolResult(call=call.id, content="[]", is_error=False) for call in answer.tool_calls]
    if answer.message is not None:
        await llm.complete([asked, answer.message, Message.user(*results)], tools=(find,), tool_choice="find_caption")


async def listing(llm: Llm) -> None:
    (model, *_) = await llm.models(vendor="anthropic", fresh=True)
    assert_type(model, ModelInfo)
    assert_type(model.lifecycle, Lifecycle)
    assert_type(model.retires_at, datetime | None)
    assert_type(model.input_price, Decimal | None)


async def batches(llm: Llm, request: CompletionRequest) -> None:
    batch = await llm.create_batch({"mat": request}, idempotency_key="night-7")
    assert_type(batch, Batch)
    assert_type(batch.ref, Ref)
    assert_type(batch.state, BatchState)
    assert_type(batch.counts, BatchCounts)
    assert_type(await llm.batch(str(batch.ref)), Batch)
    assert_type(llm.batches(vendor="anthropic"), AsyncIterator[Batch])
    async for outcome in llm.batch_results(batch.ref):
        assert_type(outcome, BatchOutcome)
        assert_type(outcome.state, BatchOutcomeState)
        assert_type(outcome.completion, Completion | None)
    assert_type(await llm.cancel_batch(batch.ref), Batch)


async def reaching(llm: Llm) -> None:
    assert_type(llm.unwrap(DemoLlm), DemoLlm)
    assert_type(llm.unwrap(GatewayLlm), GatewayLlm)
    assert_type(llm.unwrap(AnthropicLlm), AnthropicLlm)
    assert_type(llm.vendors, tuple[str, ...])
    assert_type(await llm.check(), list[CheckResult])


def blocking(p: sync.Providers, request: CompletionRequest) -> None:
    assert_type(p.llm, BlockingLlm)
    assert_type(p.llm.complete("Hi", timeout=5), Completion)
    caption = p.llm.complete_json("A caption.", Caption)
    assert_type(caption, Parsed[Caption])
    assert_type(caption.value.text, str)
    assert_type(p.llm.stream("Hi"), Generator[StreamEvent])
    assert_type("".join(event.text for event in p.llm.stream("Hi")), str)
    assert_type(p.llm.count_tokens("Hi"), int)
    assert_type(p.llm.models(), list[ModelInfo])
    batch = p.llm.create_batch({"mat": request})
    assert_type(batch, Batch)
    assert_type(p.llm.batch(batch.ref), Batch)
    assert_type(p.llm.batches(), Iterator[Batch])
    assert_type(p.llm.batch_results(batch.ref), Generator[BatchOutcome])
    assert_type(p.llm.cancel_batch(batch.ref), Batch)
    assert_type(p.llm.unwrap(AnthropicLlm), AnthropicLlm)


def wrong_reading(event: StreamEvent, answer: Completion) -> tuple[str, Decimal]:
    text = event.completion.text  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
    price = answer.cost.amount  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
    return text, price


async def mistakes(p: Providers, answer: Completion, kind: Literal["ask"]) -> None:
    await p.llm.complete("Hi", "Be brief.")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await p.llm.complete(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await p.llm.complete("Hi", max_tokens="200")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await p.llm.complete("Hi", tools=[Caption])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    await p.llm.complete("Hi", effort="low")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await p.llm.complete("Hi", prompt_id=kind)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await p.llm.complete_json("Hi")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await p.llm.complete_json("Hi", Caption(text="x"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await p.llm.complete_json("Hi", Caption, tools=())  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await p.llm.stream("Hi")  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    await p.llm.create_batch([])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await p.llm.batch(answer)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    answer.text = "better"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    Message.user(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Image(file=b"")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    _ = Usage(input_tokens=1, output_tokens=1) + 1  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]


async def awaiting_what_is_no_promise(p: sync.Providers) -> None:
    await p.llm.complete("Hi")  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
