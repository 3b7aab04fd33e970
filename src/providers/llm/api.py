"""Language models, as services hold them, and what a vendor has to provide."""

from __future__ import annotations

from contextlib import aclosing
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from providers.core.budget import read_reservation
from providers.core.capability import Capability, as_ref
from providers.core.errors import InvalidRequestError, Outcome, ProviderError, RejectedError
from providers.core.json import from_json, to_json
from providers.core.models import Money, Ref
from providers.core.operation import Effect, Operation
from providers.core.pipeline import Adapter, Metering, refuse_features
from providers.core.telemetry import logger
from providers.llm import model_facts
from providers.llm.models import (
    Batch,
    BatchOutcome,
    Completion,
    CompletionRequest,
    Message,
    ModelInfo,
    Parsed,
    Role,
    StopReason,
    StreamEvent,
    StreamEventType,
    Text,
    ToolChoice,
)
from providers.llm.structured import Shape, UnfitError, correction, shape_of, unusable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence

    from providers.core.budget import Reservation
    from providers.llm.models import CacheFor, Effort, Prompt, Tool

T = TypeVar("T")

# Asked twice it costs twice, and does nothing else: it may be repeated, and what it may have cost stays counted.
COMPLETE = Operation(
    name="llm.complete",
    effect=Effect.IDEMPOTENT,
    result=Completion,
    timeout=140.0,
    attempt_timeout=130.0,
    unit="request",
)
STREAM = Operation(
    name="llm.stream",
    effect=Effect.IDEMPOTENT,
    timeout=600.0,
    attempt_timeout=60.0,
    item_timeout=60.0,
    unit="request",
    streams=True,
)
COUNT_TOKENS = Operation(name="llm.count_tokens", effect=Effect.READ, result=int)
MODELS = Operation(name="llm.models", effect=Effect.READ, result=list[ModelInfo], cache=3600.0)
CREATE_BATCH = Operation(
    name="llm.create_batch", effect=Effect.ONCE, result=Batch, timeout=120.0, attempt_timeout=60.0, unit="request"
)
BATCH = Operation(name="llm.batch", effect=Effect.READ, result=Batch)
BATCHES = Operation(name="llm.batches", effect=Effect.READ)
BATCH_RESULTS = Operation(
    name="llm.batch_results", effect=Effect.READ, timeout=3600.0, attempt_timeout=60.0, streams=True
)
CANCEL_BATCH = Operation(name="llm.cancel_batch", effect=Effect.IDEMPOTENT, result=Batch)

OPERATIONS = (
    COMPLETE,
    STREAM,
    COUNT_TOKENS,
    MODELS,
    CREATE_BATCH,
    BATCH,
    BATCHES,
    BATCH_RESULTS,
    CANCEL_BATCH,
)

BATCH_REMEMBERED = 32 * 86_400.0
"""Seconds that what a batch may cost is remembered; vendors keep results 29 days."""


class LlmAdapter(Adapter, Protocol):
    """What a vendor of language models provides. Let vendor exceptions escape; do not retry, cache or log.

    A refusal to answer is a `StopReason`, not an error. Where the model cannot be held to `json_schema`, tell it
    (`structured.instruction`). A part of the request that the facts declare as unsupported does not get here.
    """

    def at_most(self, request: CompletionRequest) -> Decimal | None:
        """What the request may cost at the most, in USD; None when the model's price is not known."""
        ...

    async def complete(self, request: CompletionRequest) -> Completion:
        """Ask, and wait for all of the answer."""
        ...

    def stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent]:
        """Ask, and hand on the answer as it comes. Ends with an `END` event, or raises."""
        ...

    async def count_tokens(self, request: CompletionRequest) -> int:
        """How many tokens the prompt has."""
        ...

    async def models(self) -> list[ModelInfo]:
        """The models on offer."""
        ...

    async def create_batch(self, requests: Mapping[str, CompletionRequest]) -> Batch:
        """Hand in many requests by their keys."""
        ...

    async def batch(self, ref: Ref) -> Batch:
        """How far it is."""
        ...

    async def batches(self, cursor: str) -> tuple[list[Batch], str]:
        """One page of all batches, from `""`; with the cursor of the next, `""` at the end."""
        ...

    def batch_results(self, ref: Ref) -> AsyncGenerator[BatchOutcome]:
        """What became of each request, in any order. Raises `ConflictError` while the batch is under way."""
        ...

    async def cancel_batch(self, ref: Ref) -> Batch:
        """Stop it; what is answered already stays, and is paid."""
        ...


class Llm(Capability[LlmAdapter]):
    """Asks language models. Safe to share between tasks.

    Every operation takes `timeout=` (seconds, the whole call) and raises the errors of `providers.errors`.
    """

    name = "llm"

    async def complete(
        self,
        prompt: Prompt,
        *,
        system: str | tuple[Text, ...] = "",
        max_tokens: int = 1000,
        temperature: float | None = None,
        model: str | None = None,
        tools: Sequence[Tool] = (),
        tool_choice: ToolChoice | str = ToolChoice.AUTO,
        stop: Sequence[str] = (),
        effort: Effort | None = None,
        cache: CacheFor | None = None,
        task: str = "general",
        user_id: str = "",
        service: str | None = None,
        fresh: bool = False,
        timeout: float | None = None,
    ) -> Completion:
        """Answer a prompt (text, or messages), with the first vendor that does. See `CompletionRequest`.

        A refusal, or an answer cut at `max_tokens`, is told by `stop_reason`. `temperature` is left out where the
        vendor takes none any more. `cache` keeps the whole prompt at the vendor for cheaper repeats; mark single parts
        for more. `fresh` wants an answer that no earlier call got. `user_id` defaults to the tenant, `service` to
        `PROVIDER_SERVICE`. Waits 140 seconds unless told otherwise: give `timeout=` where a person waits.
        """
        request = self._request(
            prompt,
            user_id,
            service,
            system=system,
            max_tokens=max_tokens,
            temperature=temperature,
            model=model,
            tools=tuple(tools),
            tool_choice=tool_choice,
            stop=tuple(stop),
            effort=effort,
            cache=cache,
            task=task,
            fresh=fresh,
        )
        return await self._complete(request, timeout)

    async def complete_json(
        self,
        prompt: Prompt,
        schema: type[T],
        *,
        system: str | tuple[Text, ...] = "",
        max_tokens: int = 1000,
        temperature: float | None = None,
        model: str | None = None,
        effort: Effort | None = None,
        cache: CacheFor | None = None,
        task: str = "general",
        user_id: str = "",
        service: str | None = None,
        fresh: bool = False,
        timeout: float | None = None,
    ) -> Parsed[T]:
        """Answer with a value of the type `schema`: a pydantic model, or whatever pydantic reads. See `complete`.

        An answer that does not fit is asked for once more, with what is wrong. Raises `BadResponseError` with the code
        `schema` when that does not fit either, `max_tokens` for an answer that was cut short; `RejectedError` with the
        code `refusal` when the model would not answer. What they cost is counted all the same.
        """
        shape = shape_of(schema)
        request = self._request(
            prompt,
            user_id,
            service,
            system=system,
            max_tokens=max_tokens,
            temperature=temperature,
            model=model,
            effort=effort,
            cache=cache,
            task=task,
            fresh=fresh,
            json_schema=shape.json_schema,
        )
        clock = self._context.clock
        deadline = clock.monotonic() + (COMPLETE.timeout if timeout is None else timeout)
        first = await self._complete(request, timeout)
        try:
            return _parsed(first, shape)
        except UnfitError as problem:
            again = _asked_again(request, first.text, problem)
        second = await self._complete(again, deadline - clock.monotonic())
        try:
            return _parsed(second, shape, first)
        except UnfitError as problem:
            raise _placed(unusable(str(problem), "schema"), second) from None

    async def stream(
        self,
        prompt: Prompt,
        *,
        system: str | tuple[Text, ...] = "",
        max_tokens: int = 1000,
        temperature: float | None = None,
        model: str | None = None,
        tools: Sequence[Tool] = (),
        tool_choice: ToolChoice | str = ToolChoice.AUTO,
        stop: Sequence[str] = (),
        effort: Effort | None = None,
        cache: CacheFor | None = None,
        task: str = "general",
        user_id: str = "",
        service: str | None = None,
        fresh: bool = False,
        timeout: float | None = None,
    ) -> AsyncGenerator[StreamEvent]:
        """Answer piece by piece; the last event is `END` with the whole answer, or `ERROR` with what came before.

        Raises only before the first event; until then other vendors are asked as in `complete`, afterwards nothing is
        repeated. Every event tells the usage so far, for who leaves early: close the iterator then
        (`contextlib.aclosing`). `timeout` is for all of it, 600 seconds unless told otherwise; 60 seconds without an
        event end it too.
        """
        request = self._request(
            prompt,
            user_id,
            service,
            system=system,
            max_tokens=max_tokens,
            temperature=temperature,
            model=model,
            tools=tuple(tools),
            tool_choice=tool_choice,
            stop=tuple(stop),
            effort=effort,
            cache=cache,
            task=task,
            fresh=fresh,
        )
        metering = self._metering(request, _spent_so_far)
        said: list[str] = []
        last: StreamEvent | None = None
        async with aclosing(
            self._route.stream(STREAM, lambda adapter: _stream(adapter, request), timeout=timeout, metering=metering)
        ) as events:
            try:
                async for event in events:
                    if event.type is StreamEventType.TEXT:
                        said.append(event.text)
                    last = event
                    yield event
            except ProviderError as error:
                if last is None:
                    raise
                yield _broken_off(error, last, said)
            else:
                if last is not None:
                    model_facts.warn_of_end(last.model, self._context.clock.time())

    async def count_tokens(
        self,
        prompt: Prompt,
        *,
        system: str | tuple[Text, ...] = "",
        model: str | None = None,
        tools: Sequence[Tool] = (),
        timeout: float | None = None,
        fresh: bool = False,
    ) -> int:
        """How many tokens a prompt has at the vendor's model. Free."""
        request = self._request(prompt, system=system, model=model, tools=tuple(tools))
        return await self._route.first(
            COUNT_TOKENS, lambda adapter: adapter.count_tokens(request), timeout=timeout, fresh=fresh
        )

    async def models(
        self, *, vendor: str | None = None, timeout: float | None = None, fresh: bool = False
    ) -> list[ModelInfo]:
        """The models that a vendor offers, with their prices and the day they retire. Kept for an hour."""
        return await self._route.one(
            MODELS, vendor, lambda adapter: adapter.models(), payload=vendor, timeout=timeout, fresh=fresh
        )

    async def create_batch(
        self,
        requests: Mapping[str, CompletionRequest],
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> Batch:
        """Hand in up to 100,000 requests, each by a key of its own, to be answered within 24 hours at half the price.

        Budgets count what they may cost at most until `batch_results` has been read to its end. With an idempotency
        key a repeat returns the first result and hands in nothing; an unknown outcome stays unknown.
        """
        if not requests:
            raise InvalidRequestError("requests: there are none", field="requests")
        ready = {key: self._attributed(request) for key, request in requests.items()}
        metering = Metering[LlmAdapter, Batch](
            lambda adapter: _batch_at_most(adapter, ready), lambda _: None, later=self._remember
        )
        return await self._route.first(
            CREATE_BATCH,
            lambda adapter: _create_batch(adapter, ready),
            key=idempotency_key,
            payload=[[key, request.model_dump(mode="json")] for key, request in ready.items()],
            units=len(ready),
            timeout=timeout,
            metering=metering,
        )

    async def batch(self, ref: Ref | str, *, timeout: float | None = None, fresh: bool = False) -> Batch:
        """How far a batch is. Raises `NotFoundError`."""
        name = as_ref(ref)
        return await self._route.one(
            BATCH, name.vendor, lambda adapter: adapter.batch(name), payload=str(name), timeout=timeout, fresh=fresh
        )

    async def batches(
        self, *, vendor: str | None = None, timeout: float | None = None, fresh: bool = False
    ) -> AsyncIterator[Batch]:
        """All batches, newest first. `timeout` is for each page."""
        pages = self._route.pages(
            BATCHES, vendor, lambda adapter, cursor: adapter.batches(cursor), timeout=timeout, fresh=fresh
        )
        async for batch in pages:
            yield batch

    async def batch_results(
        self, ref: Ref | str, *, timeout: float | None = None, fresh: bool = False
    ) -> AsyncGenerator[BatchOutcome]:
        """What became of each request of a batch, in any order. Raises `ConflictError` while it is under way."""
        name = as_ref(ref)
        cost: Decimal | None = Decimal(0)
        async with aclosing(
            self._route.stream(
                BATCH_RESULTS, lambda adapter: adapter.batch_results(name), vendor=name.vendor, timeout=timeout
            )
        ) as outcomes:
            async for outcome in outcomes:
                if outcome.completion is not None:
                    spent = _spent(outcome.completion)
                    cost = None if cost is None or spent is None else cost + spent
                yield outcome
        try:
            await self._settle(name, cost)
        except ProviderError:
            # They have all been handed on; what is counted is too much.
            logger.exception("what the batch %s cost could not be counted", name)

    async def cancel_batch(self, ref: Ref | str, *, timeout: float | None = None) -> Batch:
        """Stop a batch; what is answered already can be read, and is paid. Raises `NotFoundError`."""
        name = as_ref(ref)
        return await self._route.one(
            CANCEL_BATCH, name.vendor, lambda adapter: adapter.cancel_batch(name), timeout=timeout
        )

    def _request(
        self,
        prompt: Prompt,
        user_id: str = "",
        service: str | None = None,
        **fields: Any,  # noqa: ANN401 (those of the request)
    ) -> CompletionRequest:
        turns = (prompt,) if isinstance(prompt, str | Message) else prompt
        return CompletionRequest(
            messages=tuple(
                [Message(role=Role.USER, content=turn) if isinstance(turn, str) else turn for turn in turns]
            ),
            user_id=user_id or self._context.tenant,
            service=self._service(service),
            **fields,
        )

    def _service(self, named: str | None) -> str:
        return (self._context.service or "unnamed") if named is None else named

    def _attributed(self, request: CompletionRequest) -> CompletionRequest:
        """A request that the caller made, with what it leaves open."""
        user_id, service = request.user_id or self._context.tenant, request.service or self._service(None)
        return request.model_copy(update={"user_id": user_id, "service": service})

    async def _complete(self, request: CompletionRequest, timeout: float | None) -> Completion:
        completion = await self._route.first(
            COMPLETE,
            lambda adapter: _complete(adapter, request),
            timeout=timeout,
            metering=self._metering(request, _spent),
        )
        model_facts.warn_of_end(completion.model, self._context.clock.time())
        return completion

    def _metering(self, request: CompletionRequest, spent: Callable[[T], Decimal | None]) -> Metering[LlmAdapter, T]:
        return Metering(lambda adapter: adapter.at_most(request), spent, service=request.service)

    async def _remember(self, batch: Batch, reserved: Reservation) -> None:
        """What is set aside for a batch, until it is known what it cost."""
        parts = to_json([list(part) for part in reserved])
        await self._context.store.put([(self._set_aside(batch.ref), parts)], ttl=BATCH_REMEMBERED)

    async def _settle(self, ref: Ref, cost: Decimal | None) -> None:
        """Count what a batch cost instead, once."""
        budget, key = self._route.target(ref.vendor).budget, self._set_aside(ref)
        kept = await self._context.store.get(key) if budget is not None else None
        if budget is None or kept is None or cost is None or not await self._context.store.swap(key, kept, None):
            return
        await budget.settle(read_reservation(from_json(kept)), cost)

    def _set_aside(self, ref: Ref) -> str:
        return f"llm/batch/{self._context.scope}/{ref}"


async def _complete(adapter: LlmAdapter, request: CompletionRequest) -> Completion:
    refuse(adapter, request)
    return await adapter.complete(request)


def _stream(adapter: LlmAdapter, request: CompletionRequest) -> AsyncGenerator[StreamEvent]:
    refuse(adapter, request)
    return adapter.stream(request)


async def _create_batch(adapter: LlmAdapter, requests: Mapping[str, CompletionRequest]) -> Batch:
    most = adapter.facts.limits.get("batch")
    if most is not None and len(requests) > most:
        raise InvalidRequestError(f"requests: {adapter.facts.title} takes {most} at once", field="requests")
    for request in requests.values():
        refuse(adapter, request)
    return await adapter.create_batch(requests)


def refuse(adapter: LlmAdapter, request: CompletionRequest) -> None:
    """Raise for what this vendor is known to refuse or cannot express, before anything is sent."""
    facts = adapter.facts
    if not request.plain:
        refuse_features(facts, request)
    most = facts.limits.get("max_tokens")
    if most is not None and request.max_tokens > most:
        raise InvalidRequestError(f"max_tokens: {facts.title} gives {most} at most", field="max_tokens")


def _spent(completion: Completion) -> Decimal | None:
    return None if completion.cost is None else completion.cost.amount


def _spent_so_far(event: StreamEvent) -> Decimal | None:
    if event.completion is not None:
        return _spent(event.completion)
    cost = model_facts.cost(event.model, event.usage)
    return None if cost is None else cost.amount


def _batch_at_most(adapter: LlmAdapter, requests: Mapping[str, CompletionRequest]) -> Decimal | None:
    total = Decimal(0)
    for request in requests.values():
        most = adapter.at_most(request)
        if most is None:
            return None
        total += most * model_facts.BATCH
    return total


def _asked_again(request: CompletionRequest, answer: str, problem: UnfitError) -> CompletionRequest:
    """The question with what was wrong, as one turn: not every vendor takes more."""
    *before, last = request.messages
    more = Message.user(*last.parts, Text(text=correction(answer, problem)))
    if isinstance(last.content, str):
        more = Message.user(f"{last.content}\n\n{correction(answer, problem)}")
    return request.model_copy(update={"messages": (*before, more)})


def _parsed(completion: Completion, shape: Shape[T], first: Completion | None = None) -> Parsed[T]:
    """The answer with its value. Raises `UnfitError`; for what asking again does not help, the error of the call."""
    if completion.stop_reason is StopReason.REFUSAL:
        why = completion.refusal.explanation or completion.refusal.category if completion.refusal else ""
        raise _placed(
            RejectedError(f"the model would not answer{f': {why}' if why else ''}", code="refusal"), completion
        )
    try:
        value = shape.read(completion.text)
    except UnfitError:
        if completion.truncated:
            raise _placed(unusable("it was cut at max_tokens; allow more", "max_tokens"), completion) from None
        raise
    fields: dict[str, Any] = {**dict(completion), "value": value}
    if first is not None:
        fields |= {"asked": 2, "usage": first.usage + completion.usage, "cost": _sum(first.cost, completion.cost)}
    # Read by its own type already.
    return cast("Parsed[T]", Parsed.model_construct(**fields))


def _sum(first: Money | None, second: Money | None) -> Money | None:
    if first is None or second is None:
        return None
    return Money(amount=first.amount + second.amount, currency=first.currency)


def _placed(error: ProviderError, completion: Completion) -> ProviderError:
    """An error about an answer, with who gave it."""
    error.vendor, error.operation, error.request_id = completion.vendor, "llm.complete_json", completion.request_id
    error.outcome = Outcome.UNKNOWN
    error.retryable = False
    return error


def _broken_off(error: ProviderError, last: StreamEvent, said: list[str]) -> StreamEvent:
    """The last event of a stream that failed, with what came of the answer."""
    text = "".join(said)
    partial = Completion(
        text=text,
        vendor=last.vendor,
        provider=last.vendor,
        model=last.model,
        usage=last.usage,
        cost=model_facts.cost(last.model, last.usage),
    )
    return StreamEvent(
        type=StreamEventType.ERROR,
        vendor=last.vendor,
        model=last.model,
        usage=last.usage,
        completion=partial,
        error=error,
    )
