"""Our requests as Anthropic's JSON, and its JSON as our answers."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, cast

from pydantic import AwareDatetime, Field, JsonValue

from providers.core.errors import UnsupportedOperationError
from providers.core.models import Json, Ref, Reply
from providers.llm import model_facts
from providers.llm.anthropic_client import strict
from providers.llm.models import (
    Batch,
    BatchCounts,
    BatchState,
    CacheFor,
    Completion,
    CompletionRequest,
    Effort,
    Image,
    Lifecycle,
    Message,
    ModelInfo,
    Opaque,
    Part,
    Refusal,
    Role,
    StopReason,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Usage,
)
from providers.llm.structured import instruction

if TYPE_CHECKING:
    from anthropic.types import (
        CacheControlEphemeralParam,
        ContentBlockParam,
        ImageBlockParam,
        MessageCountTokensParams,
        MessageParam,
        OutputConfigParam,
        TextBlockParam,
        ToolChoiceParam,
        ToolParam,
        ToolResultBlockParam,
    )
    from anthropic.types.message_create_params import MessageCreateParamsNonStreaming

    from providers.core.models import Money
    from providers.llm.model_facts import ModelFacts

VENDOR = "anthropic"

READ = ("model", "messages", "system", "tools", "tool_choice")
"""What of a request the model reads."""

LIST_PRICED = frozenset({None, "", "global", "not_available"})
"""Regions that cost what the list says; others cost more, by factors that are not in it."""

Tokens = Annotated[int, Field(ge=0)]
Block = dict[str, Json]


def params(request: CompletionRequest, model: str) -> MessageCreateParamsNonStreaming:
    """The body of `POST /v1/messages`. Raises `UnsupportedOperationError` for what the model is known not to take.

    `temperature` is left out: this version of the API takes none. The user's id goes as a digest: addresses and names
    must not be sent, and whether it is one cannot be told from it.
    """
    facts = model_facts.known(model)
    wanted = request.json_schema
    schema = None if wanted is None else _schema(wanted, facts)
    made: MessageCreateParamsNonStreaming = {
        "model": model,
        "max_tokens": request.max_tokens,
        "messages": _messages(request, wanted if schema is None else None),
    }
    if request.system:
        system = request.system
        made["system"] = system if isinstance(system, str) else [_text(part) for part in system]
    if request.tools:
        made["tools"] = [_tool(tool) for tool in request.tools]
    if (choice := _choice(request, facts)) is not None:
        made["tool_choice"] = choice
    if request.stop:
        made["stop_sequences"] = list(request.stop)
    output: OutputConfigParam = {}
    if (effort := _effort(request, facts)) is not None:
        output["effort"] = effort.value
    if schema is not None:
        output["format"] = {"type": "json_schema", "schema": schema}
    if output:
        made["output_config"] = output
    if request.cache is not None:
        made["cache_control"] = _kept(request.cache)
    if request.user_id:
        made["metadata"] = {"user_id": hashlib.sha256(request.user_id.encode()).hexdigest()}
    return made


def counted(request: CompletionRequest, model: str) -> MessageCountTokensParams:
    """The body of `POST /v1/messages/count_tokens`."""
    made = params(request, model)
    return cast("MessageCountTokensParams", {key: value for key, value in made.items() if key in READ})


def _effort(request: CompletionRequest, facts: ModelFacts | None) -> Effort | None:
    """As asked; else low where it is taken: thinking counts into `max_tokens`, and could use all of it up."""
    takes = facts is not None and facts.effort
    if request.effort is None:
        return Effort.LOW if takes else None
    if facts is not None and not takes:
        raise UnsupportedOperationError(f"effort: {facts.title} takes none", field="effort")
    return request.effort


def _choice(request: CompletionRequest, facts: ModelFacts | None) -> ToolChoiceParam | None:
    wanted = request.tool_choice
    if wanted == ToolChoice.AUTO:
        return None
    if wanted == ToolChoice.NONE:
        return {"type": "none"} if request.tools else None
    if facts is not None and not facts.forced_tools:
        raise UnsupportedOperationError(f"tool_choice: {facts.title} chooses by itself", field="tool_choice")
    return {"type": "any"} if wanted == ToolChoice.ANY else {"type": "tool", "name": wanted}


def _messages(request: CompletionRequest, schema: Mapping[str, JsonValue] | None) -> list[MessageParam]:
    """The turns. The last one ends with the schema, where the model cannot be held to it and has to be told."""
    messages = request.messages
    if schema is not None:
        *before, last = messages
        messages = (*before, Message.user(*last.parts, Text(text=instruction(schema))))
    made: list[MessageParam] = []
    for message in messages:
        content = message.content
        blocks = content if isinstance(content, str) else [block for part in content if (block := _block(part))]
        if blocks:
            made.append(cast("MessageParam", {"role": message.role.value, "content": blocks}))
    return made


def _block(part: Part) -> ContentBlockParam | None:
    """A part; None for what another vendor alone understands."""
    if isinstance(part, Text):
        return _text(part)
    if isinstance(part, Image):
        return _image(part)
    if isinstance(part, ToolCall):
        return {"type": "tool_use", "id": part.id, "name": part.name, "input": dict(part.input)}
    if isinstance(part, ToolResult):
        result: ToolResultBlockParam = {"type": "tool_result", "tool_use_id": part.call}
        if part.content:
            result["content"] = part.content
        if part.is_error:
            result["is_error"] = True
        return result
    return cast("ContentBlockParam", part.block) if part.vendor == VENDOR else None


def _text(part: Text) -> TextBlockParam:
    block: TextBlockParam = {"type": "text", "text": part.text}
    if part.cache is not None:
        block["cache_control"] = _kept(part.cache)
    return block


def _image(part: Image) -> ImageBlockParam:
    block: ImageBlockParam
    if part.data is not None:
        source = {"type": "base64", "media_type": part.media_type, "data": b64encode(part.data).decode()}
        block = cast("ImageBlockParam", {"type": "image", "source": source})
    else:
        block = {"type": "image", "source": {"type": "url", "url": part.url or ""}}
    if part.cache is not None:
        block["cache_control"] = _kept(part.cache)
    return block


def _tool(tool: Tool) -> ToolParam:
    made: ToolParam = {"name": tool.name, "input_schema": dict(tool.input_schema)}
    if tool.description:
        made["description"] = tool.description
    if tool.cache is not None:
        made["cache_control"] = _kept(tool.cache)
    return made


def _kept(cache: CacheFor) -> CacheControlEphemeralParam:
    return {"type": "ephemeral", "ttl": cache.value}


def _schema(schema: Mapping[str, JsonValue], facts: ModelFacts | None) -> dict[str, object] | None:
    """The schema as the model can be held to it; None where it cannot, and has to be told."""
    if facts is not None and not facts.structured:
        return None
    return strict(schema) if _is_closed(schema) and not _holds_itself(schema) else None


def _is_closed(schema: JsonValue | Mapping[str, JsonValue]) -> bool:
    """Whether every object in it names its fields, and every list says what is in it."""
    if isinstance(schema, list):
        return all(_is_closed(each) for each in schema)
    if not isinstance(schema, Mapping):
        return True
    kind = schema.get("type")
    more = schema.get("additionalProperties", False)
    if kind == "object" and ("properties" not in schema or isinstance(more, Mapping) or "patternProperties" in schema):
        return False
    if kind == "array" and not schema.get("items"):
        return False
    return all(
        _is_closed(value) for key, value in schema.items() if key not in {"enum", "const", "default", "examples"}
    )


def _holds_itself(schema: Mapping[str, JsonValue]) -> bool:
    """Whether a definition leads back to itself: such a schema is refused."""
    definitions = schema.get("$defs")
    named = definitions if isinstance(definitions, dict) else {}
    leads = {f"#/$defs/{name}": _refs(each) for name, each in named.items()}
    return "#" in _refs(schema) or any(name in _reached(ahead, leads) for name, ahead in leads.items())


def _reached(ahead: set[str], leads: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    while ahead:
        seen |= ahead
        ahead = {further for each in ahead for further in leads.get(each, set())} - seen
    return seen


def _refs(schema: JsonValue | Mapping[str, JsonValue]) -> set[str]:
    if isinstance(schema, list):
        return {ref for each in schema for ref in _refs(each)}
    if not isinstance(schema, Mapping):
        return set()
    ref = schema.get("$ref")
    own: set[str] = {ref} if isinstance(ref, str) else set()
    return own.union(*(_refs(each) for each in schema.values()))


class _CacheCreation(Reply):
    ephemeral_1h_input_tokens: Tokens = 0


class UsageReply(Reply):
    """What a reply says of tokens; in a stream the counts of the prompt may come with its end again."""

    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    cache_read_input_tokens: Tokens | None = None
    cache_creation_input_tokens: Tokens | None = None
    cache_creation: _CacheCreation | None = None
    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None

    def usage(self) -> Usage:
        """As ours. Without a split by time what was written is kept for minutes."""
        written = self.cache_creation_input_tokens or 0
        hour = min(self.cache_creation.ephemeral_1h_input_tokens, written) if self.cache_creation else 0
        return Usage(
            input_tokens=self.input_tokens or 0,
            output_tokens=self.output_tokens or 0,
            cache_read_tokens=self.cache_read_input_tokens or 0,
            cache_write_tokens=written - hour,
            cache_write_hour_tokens=hour,
        )

    @property
    def usual(self) -> bool:
        """Whether it costs what the list of prices says."""
        return self.speed != "fast" and self.service_tier != "priority" and self.inference_geo in LIST_PRICED


class _StopDetails(Reply):
    category: str | None = None
    explanation: str | None = None


class MessageReply(Reply):
    """An answer."""

    model: str
    content: list[Block]
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: _StopDetails | None = None
    usage: UsageReply


class _TextReply(Reply):
    text: str


class ToolUseReply(Reply):
    """A call of a tool."""

    id: str
    name: str
    input: dict[str, Json]


def completion(
    raw: dict[str, Json], *, request_id: str | None = None, batch: bool = False, exact: bool = True
) -> Completion:
    """The answer in a message object. `batch`: it costs half; `exact`: its usage is final."""
    read = MessageReply.model_validate(raw)
    parts = [part for block in read.content if (part := _part(block)) is not None]
    stop = None if read.stop_reason is None else StopReason(read.stop_reason)
    details, usage = read.stop_details, read.usage.usage()
    if not exact:
        usage = usage.model_copy(update={"exact": False})
    refusal = None
    if stop is StopReason.REFUSAL and details is not None:
        refusal = Refusal(category=details.category or "", explanation=details.explanation or "")
    return Completion(
        text="".join(part.text for part in parts if isinstance(part, Text)),
        vendor=VENDOR,
        provider=VENDOR,
        model=read.model,
        usage=usage,
        cost=_cost(read, usage, batch=batch),
        stop_reason=stop,
        stop_sequence=read.stop_sequence,
        refusal=refusal,
        tool_calls=tuple(part for part in parts if isinstance(part, ToolCall)),
        message=Message(role=Role.ASSISTANT, content=tuple(parts)) if parts else None,
        request_id=request_id,
        raw=raw,
    )


def _part(block: Block) -> Part | None:
    """A block of an answer; None for words that are none."""
    kind = block.get("type")
    if kind == "text":
        text = _TextReply.model_validate(block).text
        return Text(text=text) if text else None
    if kind == "tool_use":
        call = ToolUseReply.model_validate(block)
        return ToolCall(id=call.id, name=call.name, input=call.input)
    return Opaque(vendor=VENDOR, block=block)


def _cost(read: MessageReply, usage: Usage, *, batch: bool) -> Money | None:
    return model_facts.cost(read.model, usage, batch=batch) if read.usage.usual else None


class _ModelReply(Reply):
    id: str
    display_name: str = ""
    lifecycle: str = "unknown"
    created_at: AwareDatetime | None = None
    deprecated_at: AwareDatetime | None = None
    retires_at: AwareDatetime | None = None
    max_input_tokens: int | None = None
    max_tokens: int | None = None


class ListReply(Reply):
    """A page of a list."""

    data: list[Block]
    has_more: bool = False
    last_id: str | None = None


def model_info(raw: Block) -> ModelInfo:
    """A model, with what we know of it besides: its price, and its end where the API names none."""
    read = _ModelReply.model_validate(raw)
    facts = model_facts.known(read.id)
    price = facts.price if facts is not None else None
    return ModelInfo(
        id=read.id,
        vendor=VENDOR,
        provider=VENDOR,
        title=read.display_name or (facts.title if facts is not None else ""),
        lifecycle=Lifecycle(read.lifecycle),
        created_at=read.created_at,
        deprecated_at=read.deprecated_at,
        retires_at=read.retires_at or (facts.ends if facts is not None else None),
        context_tokens=read.max_input_tokens or (facts.context if facts is not None else None),
        output_tokens=read.max_tokens or (facts.output if facts is not None else None),
        input_price=price.input if price is not None else None,
        output_price=price.output if price is not None else None,
        raw=raw,
    )


class _CountsReply(Reply):
    processing: Tokens = 0
    succeeded: Tokens = 0
    errored: Tokens = 0
    canceled: Tokens = 0
    expired: Tokens = 0


class _BatchReply(Reply):
    id: Annotated[str, Field(min_length=1, max_length=224)]
    processing_status: str
    request_counts: _CountsReply
    created_at: AwareDatetime
    expires_at: AwareDatetime | None = None
    ended_at: AwareDatetime | None = None


def batch(raw: Block) -> Batch:
    """A batch."""
    read = _BatchReply.model_validate(raw)
    return Batch(
        ref=Ref(vendor=VENDOR, id=read.id),
        state=BatchState(read.processing_status),
        counts=BatchCounts(**dict(read.request_counts)),
        created_at=read.created_at,
        expires_at=read.expires_at,
        ended_at=read.ended_at,
        raw=raw,
    )
