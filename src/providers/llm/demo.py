"""A made-up language model: words about the product in the prompt, and what a marker in the prompt asks for."""

from __future__ import annotations

import re
import secrets
from decimal import Decimal
from types import coroutine
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from providers.core.clock import utc
from providers.core.errors import ConflictError, NotFoundError, Outcome, ProviderError, ProviderUnavailableError
from providers.core.faults import BY_WORD
from providers.core.json import from_json, to_json
from providers.core.models import CheckResult, CheckState, Model, Ref
from providers.llm import model_facts, tokens
from providers.llm.demo_pictures import described
from providers.llm.demo_values import example
from providers.llm.demo_words import MARKER, named, product, sentences
from providers.llm.facts import DEMO
from providers.llm.models import (
    Batch,
    BatchCounts,
    BatchOutcome,
    BatchOutcomeState,
    BatchState,
    Completion,
    CompletionRequest,
    Image,
    Lifecycle,
    Message,
    ModelInfo,
    Refusal,
    Role,
    StopReason,
    StreamEvent,
    StreamEventType,
    Text,
    ToolCall,
    ToolChoice,
    ToolResult,
    Usage,
)
from providers.llm.structured import UnfitError, correction

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping

    from pydantic import JsonValue

    from providers.core.account import Account
    from providers.llm.models import Part, Tool

MODEL = "demo-1"
"""Where the caller names none."""

MIDDLE = "llm.stream.middle"
"""What is staged for it (`providers.faults`) strikes in the middle of the next stream."""

BATCH_TAKES = 60.0
CANCELING_TAKES = 10.0
BATCH_LIVES = 86_400.0
BATCH_KEPT = 29 * 86_400.0
"""Seconds."""

OUTCOMES: dict[str, str] = {
    "refuse": "the model will not answer: `stop_reason` is `refusal`, without text",
    "truncate": "the answer is cut in half: `stop_reason` is `max_tokens`",
    "breakoff": "a stream breaks off half-way; otherwise the connection is lost: `ProviderUnavailableError`",
    "overload": "the model is overloaded, nothing is used: `ProviderUnavailableError`",
    "misfit": "the first JSON does not fit the schema, the second does",
    "misfits": "no JSON fits the schema: `BadResponseError`",
    "unauthorized": "wrong credential: `AuthenticationError`",
    "denied": "not allowed: `PermissionDeniedError`",
    "quota": "nothing left of the plan: `QuotaExceededError`",
    "ratelimited": "too many calls, repeat after 30 seconds: `RateLimitedError`",
    "unavailable": "down, nothing is used: `ProviderUnavailableError`",
    "timeout": "no answer: `ProviderTimeoutError`",
}
"""Word after `demo:` in the last message -> what becomes of the answer."""

_ERRORS: dict[str, Callable[[], ProviderError]] = {
    **{word: BY_WORD[word] for word in OUTCOMES if word in BY_WORD},
    "overload": lambda: ProviderUnavailableError(
        "the demo is overloaded", status=529, code="overloaded_error", outcome=Outcome.NOT_APPLIED
    ),
}

_TOKEN = re.compile(r"\s*\S{1,5}|\s+")
"""A token of the demo: one of a short word, 1.3 of an average one."""

_WORD = re.compile(r"\s*\S+\s*$|\s*\S+")
_LENGTH = re.compile(r"\b(\d{1,4})[ -]words?\b", re.IGNORECASE)
_LENGTHS = (
    (re.compile(r"\b(?:article|blog|essay|guide|script|newsletter)\b", re.IGNORECASE), 180),
    (re.compile(r"\b(?:descriptions?|paragraph|email|e-mail|story|review)\b", re.IGNORECASE), 60),
    (re.compile(r"\b(?:captions?|tweet|post|ad|sms|reply|sentence)\b", re.IGNORECASE), 20),
    (re.compile(r"\b(?:headlines?|titles?|subject|taglines?|slogans?|names?)\b", re.IGNORECASE), 5),
)
USUAL_LENGTH = 40
_CODE = re.compile(r"\b[A-Z][A-Z0-9]*(?:-[A-Z0-9]+)*-?\d[A-Z0-9-]*\b")
_CODED = re.compile(r"(?:^|_)(?:sku|id|code|number|ref|reference)$", re.IGNORECASE)
IMAGE_TOKENS = 1_000

_SECOND_TRY = correction("", UnfitError()).partition("\n")[0]
"""How a question begins to be asked again, after an answer that did not fit."""


class DemoBatch(Model):
    """A batch as the demo keeps it; what it was asked is beside it. `number` counts up."""

    id: str
    number: int
    size: int
    errors: int
    created: float
    canceled: float | None = None


class _Answer(NamedTuple):
    """What the model says to one question."""

    text: str
    stop: StopReason = StopReason.END_TURN
    sequence: str | None = None
    calls: tuple[ToolCall, ...] = ()
    tokens: int = 0


class DemoLlm:
    """A language model that makes things up. Batches are in the store, so that all processes that share it see them."""

    facts = DEMO

    def __init__(self, account: Account) -> None:
        self._store = account.store
        self._clock = account.clock
        self._faults = account.faults
        self._prefix = f"demo/{account.tenant}/llm/"

    def translate(self, error: Exception) -> ProviderError | None:
        """The demo raises our errors itself."""
        del error
        return None

    def at_most(self, request: CompletionRequest) -> Decimal | None:
        """By the list of prices."""
        return tokens.most_cost(request, request.model or MODEL)

    async def complete(self, request: CompletionRequest) -> Completion:
        """Words, JSON that fits the schema, or calls of the tools; the same for the same request unless `fresh`."""
        self._faults.strike("llm.complete")
        return _completed(request, await self._variant(request))

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent]:
        """The answer of `complete`, word by word."""
        self._faults.strike("llm.stream")
        word = _provoked(request)
        answer = _answer(request, word, await self._variant(request))
        model, read = request.model or MODEL, _input_tokens(request)
        pieces = _WORD.findall(answer.text)
        middle, used = len(pieces) // 2, 0
        for number, piece in enumerate(pieces):
            if number == middle:
                self._faults.strike(MIDDLE)
                if word == "breakoff":
                    raise _lost()
            used += _count(piece)
            usage = Usage(input_tokens=read, output_tokens=used, exact=False)
            yield StreamEvent(type=StreamEventType.TEXT, text=piece, vendor="demo", model=model, usage=usage)
            await _breathe()
        completion = _completion(request, answer)
        end = StreamEvent(
            type=StreamEventType.END, vendor="demo", model=model, usage=completion.usage, completion=completion
        )
        for call in answer.calls:
            yield end.model_copy(update={"type": StreamEventType.TOOL_CALL, "tool_call": call, "completion": None})
        yield end

    async def count_tokens(self, request: CompletionRequest) -> int:
        """As `complete` counts them."""
        self._faults.strike("llm.count_tokens")
        _provoked(request)
        return _input_tokens(request)

    async def models(self) -> list[ModelInfo]:
        """All whose prices are known: the demo speaks for each."""
        self._faults.strike("llm.models")
        now = utc(self._clock.time())
        own_first = sorted(model_facts.MODELS.values(), key=lambda facts: facts.id != MODEL)
        return [_info(facts, retired=facts.ends is not None and facts.ends <= now) for facts in own_first]

    async def create_batch(self, requests: Mapping[str, CompletionRequest]) -> Batch:
        """Keep them; they are answered when they are asked for."""
        self._faults.strike("llm.create_batch")
        number = await self._store.add(self._prefix + "batches", 1) or 0
        batch = DemoBatch(
            id=f"batch-{number:x}-{secrets.token_hex(3)}",
            number=number,
            size=len(requests),
            errors=sum(_outcome(key, request).error is not None for key, request in requests.items()),
            created=self._clock.time(),
        )
        kept = to_json([[key, request.model_dump(mode="json")] for key, request in requests.items()])
        await self._store.put([(self._key("requests", batch.id), kept)], ttl=BATCH_KEPT)
        await self._keep(batch)
        return self._batch(batch)

    async def batch(self, ref: Ref) -> Batch:
        """It ends after a minute."""
        self._faults.strike("llm.batch")
        return self._batch(await self._kept(ref))

    async def batches(self, cursor: str) -> tuple[list[Batch], str]:
        """All on one page."""
        self._faults.strike("llm.batches")
        del cursor
        kept = [DemoBatch.model_validate_json(value) async for _, value in self._store.scan(self._key("batch", ""))]
        return [self._batch(batch) for batch in sorted(kept, key=lambda batch: -batch.number)], ""

    async def batch_results(self, ref: Ref) -> AsyncGenerator[BatchOutcome]:
        """The answers of `complete`, at half the price."""
        self._faults.strike("llm.batch_results")
        batch = await self._kept(ref)
        if self._batch(batch).state is not BatchState.ENDED:
            msg = f"ref: the batch {ref} is under way"
            raise ConflictError(msg, field="ref")
        async for key, request in self._requests(batch.id):
            yield _outcome(key, request) if batch.canceled is None else _canceled(key)
            await _breathe()

    async def cancel_batch(self, ref: Ref) -> Batch:
        """None of it is answered, unless all of it was."""
        self._faults.strike("llm.cancel_batch")
        batch = await self._kept(ref)
        if self._batch(batch).state is BatchState.IN_PROGRESS:
            batch = batch.model_copy(update={"canceled": self._clock.time()})
            await self._keep(batch)
        return self._batch(batch)

    async def check(self) -> CheckResult:
        """Always well."""
        return CheckResult(vendor="demo", state=CheckState.OK, detail="made up: nobody is asked", sandbox=True)

    async def aclose(self) -> None:
        """Nothing of its own."""

    async def _variant(self, request: CompletionRequest) -> int:
        """Which of the possible answers: another one for each `fresh` request."""
        return (await self._store.add(self._prefix + "fresh", 1) or 0) if request.fresh else 0

    def _key(self, kind: str, id_: str) -> str:
        return f"{self._prefix}{kind}/{id_}"

    async def _keep(self, batch: DemoBatch) -> None:
        await self._store.put([(self._key("batch", batch.id), to_json(batch))], ttl=BATCH_KEPT)

    async def _kept(self, ref: Ref) -> DemoBatch:
        kept = await self._store.get(self._key("batch", ref.id))
        if kept is None:
            msg = f"ref: there is no batch {ref.id[:80]!r}"
            raise NotFoundError(msg, field="ref")
        return DemoBatch.model_validate_json(kept)

    async def _requests(self, id_: str) -> AsyncIterator[tuple[str, CompletionRequest]]:
        rows = from_json(await self._store.get(self._key("requests", id_)) or b"[]")
        for row in rows if isinstance(rows, list) else []:
            if isinstance(row, list):
                yield str(row[0]), CompletionRequest.model_validate_json(to_json(row[1]))

    def _batch(self, kept: DemoBatch) -> Batch:
        now = self._clock.time()
        ends = kept.created + BATCH_TAKES if kept.canceled is None else kept.canceled + CANCELING_TAKES
        counts = BatchCounts(processing=kept.size)
        state = BatchState.IN_PROGRESS if kept.canceled is None else BatchState.CANCELING
        if now >= ends:
            state, counts = BatchState.ENDED, BatchCounts(succeeded=kept.size - kept.errors, errored=kept.errors)
            if kept.canceled is not None:
                counts = BatchCounts(canceled=kept.size)
        return Batch(
            ref=Ref(vendor="demo", id=kept.id),
            state=state,
            counts=counts,
            created_at=utc(kept.created),
            expires_at=utc(kept.created + BATCH_LIVES),
            ended_at=utc(ends) if state is BatchState.ENDED else None,
        )


@coroutine
def _breathe() -> Generator[None]:
    """Let others run between two words."""
    yield


# What is asked.


def _provoked(request: CompletionRequest) -> str:
    """The marker's word, if there is one. Raises what it asks for, or that nobody has the model."""
    word = _marker(request)
    make = _ERRORS.get(word)
    if make is not None:
        raise make()
    if model_facts.known(request.model or MODEL) is None:
        msg = f"model: the demo knows no {(request.model or '')[:80]!r}"
        raise NotFoundError(msg, field="model", code="not_found_error", status=404)
    return word


def _marker(request: CompletionRequest) -> str:
    found = MARKER.search(_said(request.messages[-1]))
    return found.group(1) if found is not None and found.group(1) in OUTCOMES else ""


def _lost() -> ProviderUnavailableError:
    return ProviderUnavailableError("the connection to the demo was lost", outcome=Outcome.UNKNOWN)


def _said(message: Message) -> str:
    if isinstance(message.content, str):
        return message.content
    return "\n".join(part.text for part in message.content if isinstance(part, Text))


def _about(request: CompletionRequest) -> str:
    """What the question is about; of a conversation, what was named last, or what it began with."""
    if len(request.messages) == 1:
        return product(_said(request.messages[0]))
    ours = [_said(message) for message in request.messages if message.role is Role.USER]
    return next((found for found in map(named, reversed(ours)) if found), "") or product(ours[0])


# What is answered.


def _answer(request: CompletionRequest, word: str, variant: int) -> _Answer:
    if word == "refuse":
        return _Answer("", StopReason.REFUSAL)
    it, last = _about(request), request.messages[-1].parts
    seed = _seed(request, variant)
    results = [part for part in last if isinstance(part, ToolResult)]
    choice = request.tool_choice
    forced = choice not in {ToolChoice.AUTO, ToolChoice.NONE}
    calls: tuple[ToolCall, ...] = ()
    if request.json_schema is not None:
        text = _json(request.json_schema, it, seed, fits=not _misfits(request, word))
    elif request.tools and (forced or (choice is not ToolChoice.NONE and not results)):
        text, calls = "Let me look that up.", (_call(request, it, seed),)
    else:
        shown = [described(part) for part in last if isinstance(part, Image)]
        heard = [_heard(request, result) for result in results]
        # What a tool gave is the answer; otherwise there is something to write.
        text = " ".join(heard or [*shown, sentences(it, seed=seed, words=_wanted(request))])
    return _ended(text, calls, request, in_half=word == "truncate")


def _ended(text: str, calls: tuple[ToolCall, ...], request: CompletionRequest, *, in_half: bool) -> _Answer:
    """As far as the stop sequences and the most tokens allow."""
    stop, sequence = (StopReason.TOOL_USE if calls else StopReason.END_TURN), None
    ends = [(place, each) for each in request.stop if (place := text.find(each)) >= 0]
    if ends:
        place, sequence = min(ends)
        text, calls, stop = text[:place], (), StopReason.STOP_SEQUENCE
    pieces = _TOKEN.findall(text)
    most = len(pieces) // 2 if in_half else request.max_tokens
    count = len(pieces) + sum(_count(_written(call)) for call in calls)
    if count > most:
        return _Answer("".join(pieces[:most]), StopReason.MAX_TOKENS, tokens=most)
    return _Answer(text, stop, sequence, calls, count)


def _seed(request: CompletionRequest, variant: int) -> int:
    """The same for the same question, whatever it is made to provoke."""
    words = "\n".join([request.system_text, *map(_said, request.messages)])
    return crc32(MARKER.sub("", words).strip().encode("utf-8", "replace")) + variant


def _wanted(request: CompletionRequest) -> int:
    """How many words are asked for, or usual for what is."""
    said = _said(request.messages[-1])
    number = _LENGTH.search(said)
    if number is not None:
        return max(1, int(number.group(1)))
    return next((words for pattern, words in _LENGTHS if pattern.search(said)), USUAL_LENGTH)


def _misfits(request: CompletionRequest, word: str) -> bool:
    return word == "misfits" or (word == "misfit" and _SECOND_TRY not in _said(request.messages[-1]))


def _json(schema: Mapping[str, JsonValue], it: str, seed: int, *, fits: bool) -> str:
    value = example(schema, about=it, seed=seed)
    if not fits:
        required = schema.get("required")
        if isinstance(value, dict) and isinstance(required, list) and required:
            value.pop(str(required[0]), None)
        else:
            value = []
    return to_json(value).decode()


def _call(request: CompletionRequest, it: str, seed: int) -> ToolCall:
    """Of the tool that was asked for, or shares most words with the question."""
    said = set(re.findall(r"[a-z]{3,}", _said(request.messages[-1]).lower()))

    def shared(tool: Tool) -> int:
        return len(said & set(re.findall(r"[a-z]{3,}", f"{tool.name} {tool.description}".lower())))

    tool = next((tool for tool in request.tools if tool.name == request.tool_choice), None)
    tool = tool or max(request.tools, key=shared)
    made = example(tool.input_schema, about=it, seed=seed)
    given = _with_codes(tool.input_schema, made, _said(request.messages[-1])) if isinstance(made, dict) else {}
    return ToolCall(id=f"call-{secrets.token_hex(6)}", name=tool.name, input=given)


def _with_codes(schema: Mapping[str, JsonValue], made: dict[str, JsonValue], said: str) -> dict[str, JsonValue]:
    """With the codes that are in the question, for fields of any text that is one: `CORK-1` for `sku`."""
    codes = _CODE.findall(said)
    fields = schema.get("properties")
    for name, field in fields.items() if codes and isinstance(fields, dict) else ():
        free = (
            isinstance(field, dict)
            and field.get("type") == "string"
            and field.keys() <= {"title", "type", "description"}
        )
        if free and name in made and _CODED.search(name):
            made[name] = codes.pop(0) if len(codes) > 1 else codes[0]
    return made


def _heard(request: CompletionRequest, result: ToolResult) -> str:
    """What a tool gave, in a sentence."""
    calls = [part for message in request.messages for part in message.parts if isinstance(part, ToolCall)]
    name = next((call.name for call in calls if call.id == result.call), "the tool")
    return f"{name} {'failed' if result.is_error else 'says'}: {result.content}".strip()


def _completion(request: CompletionRequest, answer: _Answer, *, batch: bool = False) -> Completion:
    model = request.model or MODEL
    usage = Usage(input_tokens=_input_tokens(request), output_tokens=answer.tokens)
    refused = answer.stop is StopReason.REFUSAL
    return Completion(
        text=answer.text,
        vendor="demo",
        provider="demo",
        model=model,
        usage=usage,
        cost=model_facts.cost(model, usage, batch=batch),
        stop_reason=answer.stop,
        stop_sequence=answer.sequence,
        refusal=Refusal(category="general_harms", explanation="the demo was asked to refuse") if refused else None,
        tool_calls=answer.calls,
        message=_turn(answer),
        request_id=f"req-{secrets.token_hex(6)}",
    )


def _turn(answer: _Answer) -> Message:
    if answer.text and not answer.calls:
        return Message(role=Role.ASSISTANT, content=answer.text)
    return Message(role=Role.ASSISTANT, content=(*([Text(text=answer.text)] if answer.text else ()), *answer.calls))


def _completed(request: CompletionRequest, variant: int = 0, *, batch: bool = False) -> Completion:
    word = _provoked(request)
    if word == "breakoff":
        raise _lost()
    return _completion(request, _answer(request, word, variant), batch=batch)


def _outcome(key: str, request: CompletionRequest) -> BatchOutcome:
    try:
        completion = _completed(request, batch=True)
    except ProviderError as failure:
        failure.vendor, failure.operation = "demo", "llm.batch_results"
        return BatchOutcome(key=key, state=BatchOutcomeState.ERRORED, error=failure)
    return BatchOutcome(key=key, state=BatchOutcomeState.SUCCEEDED, completion=completion)


def _canceled(key: str) -> BatchOutcome:
    return BatchOutcome(key=key, state=BatchOutcomeState.CANCELED)


def _info(facts: model_facts.ModelFacts, *, retired: bool) -> ModelInfo:
    going = Lifecycle.DEPRECATED if facts.ends is not None else Lifecycle.ACTIVE
    return ModelInfo(
        id=facts.id,
        vendor="demo",
        provider="demo",
        title=facts.title,
        lifecycle=Lifecycle.RETIRED if retired else going,
        retires_at=facts.ends,
        context_tokens=facts.context,
        output_tokens=facts.output,
        input_price=facts.price.input if facts.price is not None else None,
        output_price=facts.price.output if facts.price is not None else None,
    )


# Tokens.


def _count(text: str) -> int:
    return len(_TOKEN.findall(text))


def _written(call: ToolCall) -> str:
    return f"{call.name} {to_json(call.input).decode()}"


def _input_tokens(request: CompletionRequest) -> int:
    count = _count(request.system_text)
    for message in request.messages:
        if isinstance(message.content, str):
            count += _count(message.content)
        else:
            count += sum(map(_part_tokens, message.content))
    for tool in request.tools:
        count += _count(f"{tool.name} {tool.description} {to_json(tool.input_schema).decode()}")
    if request.json_schema is not None:
        count += _count(to_json(request.json_schema).decode())
    return max(count, 1)


def _part_tokens(part: Part) -> int:
    match part:
        case Text():
            return _count(part.text)
        case Image():
            return IMAGE_TOKENS
        case ToolCall():
            return _count(_written(part))
        case ToolResult():
            return _count(part.content)
        case _:
            return 0
