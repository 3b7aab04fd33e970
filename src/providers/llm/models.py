"""What a language model is asked, and what it answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Generic, Literal, Self, TypeAlias, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from providers.core.errors import ProviderError
from providers.core.models import Json, Model, Money, OpenVocabulary, Raw, Ref, RequestModel

T = TypeVar("T")

MOST_TOKENS = 128_000
"""Of one answer, at any model."""

IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
TOOL_NAME = r"^[a-zA-Z0-9_-]{1,64}$"


class Role(StrEnum):
    """Who says it."""

    USER = "user"
    ASSISTANT = "assistant"


class CacheFor(StrEnum):
    """How long the vendor keeps a prompt up to here, so that the next call with the same beginning reads it cheaper."""

    MINUTES = "5m"
    HOUR = "1h"


class Effort(StrEnum):
    """How long a model that thinks may think; thinking counts into `max_tokens` and is paid as output."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    XHIGH = "xhigh"
    MAX = "max"


class ToolChoice(StrEnum):
    """Whether a tool is to be called; to force one, give its name instead."""

    AUTO = "auto"
    ANY = "any"
    NONE = "none"


class Text(RequestModel):
    """Words. `cache`: the prompt up to their end is kept by the vendor."""

    type: Literal["text"] = "text"
    text: Annotated[str, Field(min_length=1)]
    cache: CacheFor | None = None


class Image(RequestModel):
    """A picture, as bytes with their media type (JPEG, PNG, GIF, WebP; at most 5 MB) or as an https URL."""

    type: Literal["image"] = "image"
    data: bytes | None = Field(default=None, repr=False, max_length=5_000_000)
    media_type: str = ""
    url: str | None = None
    cache: CacheFor | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.data is None) == (self.url is None):
            raise ValueError("give either data or url")
        if self.data is not None and self.media_type not in IMAGE_TYPES:
            raise ValueError(f"media_type must be one of {', '.join(sorted(IMAGE_TYPES))}")
        if self.url is not None and not self.url.startswith("https://"):
            raise ValueError("url must start with https://")
        return self


class ToolCall(RequestModel):
    """The model wants a tool called. Answer with a `ToolResult` of the same `id`."""

    type: Literal["tool_call"] = "tool_call"
    id: str
    name: str
    input: Mapping[str, JsonValue] = Field(default_factory=dict)


class ToolResult(RequestModel):
    """What a tool gave: text, often JSON. `call` is the id of the `ToolCall`."""

    type: Literal["tool_result"] = "tool_result"
    call: str
    content: str = ""
    is_error: bool = False


class Opaque(RequestModel):
    """A part of an answer that only its vendor understands, and wants back as it was; others do not get it."""

    type: Literal["opaque"] = "opaque"
    vendor: str
    block: Json = Field(repr=False)


Part: TypeAlias = Annotated[Text | Image | ToolCall | ToolResult | Opaque, Field(discriminator="type")]


class Message(RequestModel):
    """One turn of a conversation. `content` is text, or parts."""

    role: Role
    content: Annotated[str, Field(min_length=1)] | tuple[Part, ...]

    @classmethod
    def user(cls, *content: str | Part) -> Message:
        """What we say: words, pictures, results of tools."""
        return cls(role=Role.USER, content=_content(content))

    @classmethod
    def assistant(cls, *content: str | Part) -> Message:
        """What the model said; `Completion.message` is the same, with all its parts."""
        return cls(role=Role.ASSISTANT, content=_content(content))

    @property
    def parts(self) -> tuple[Part, ...]:
        """The content as parts."""
        return (Text(text=self.content),) if isinstance(self.content, str) else self.content


def _content(content: tuple[str | Part, ...]) -> str | tuple[Part, ...]:
    if len(content) == 1 and isinstance(content[0], str):
        return content[0]
    return tuple(Text(text=part) if isinstance(part, str) else part for part in content)


class Tool(RequestModel):
    """Something the model may ask for. `input_schema` is the JSON Schema of its input, an object."""

    name: Annotated[str, Field(pattern=TOOL_NAME)]
    description: str = ""
    input_schema: Mapping[str, JsonValue]
    cache: CacheFor | None = None

    @classmethod
    def of(cls, model: type[BaseModel], *, name: str = "", description: str = "") -> Tool:
        """A tool whose input is a pydantic model; named and described after it unless told otherwise."""
        snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", model.__name__).lower()
        # Of a model without one pydantic's own would be found.
        doc = model.__dict__.get("__doc__") or ""
        return cls(name=name or snake, description=description or doc.strip(), input_schema=model.model_json_schema())


Prompt: TypeAlias = str | Message | tuple[Message, ...] | list[Message]


class CompletionRequest(RequestModel):
    """One question to a model, as adapters get it and as batches are made of it.

    `max_tokens` bounds the answer, thinking included. `temperature` (0 to 2) is left out where the vendor takes none.
    `json_schema`: the answer is JSON that fits it. `task`, `user_id` and `service` say for what, for whom and by whom,
    in the gateway's ledger. `fresh`: an answer that was kept from an earlier call will not do.
    """

    messages: Annotated[tuple[Message, ...], Field(min_length=1)]
    system: str | tuple[Text, ...] = ""
    max_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] = 1000
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    model: Annotated[str | None, Field(min_length=1)] = None
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | str = ToolChoice.AUTO
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    effort: Effort | None = None
    cache: CacheFor | None = None
    json_schema: Mapping[str, JsonValue] | None = None
    task: str = "general"
    user_id: str = ""
    service: str = ""
    fresh: bool = False

    @field_validator("messages")
    @classmethod
    def _ours_last(cls, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        if messages[0].role is not Role.USER or messages[-1].role is not Role.USER:
            raise ValueError("the first and the last message must be the user's")
        if not messages[-1].content:
            raise ValueError("there is nothing in the last message")
        return messages

    @model_validator(mode="after")
    def _choice(self) -> Self:
        if not self.tools and self.tool_choice is ToolChoice.AUTO:
            return self
        names = [tool.name for tool in self.tools]
        if len(set(names)) != len(names):
            raise ValueError("tools: two have the same name")
        if self.tool_choice not in {*ToolChoice, *names}:
            raise ValueError("tool_choice: neither auto, any or none nor the name of a tool")
        return self

    @property
    def plain(self) -> bool:
        """Whether it is one question in words, and nothing more that not every vendor can express."""
        return (
            len(self.messages) == 1
            and isinstance(self.messages[0].content, str)
            and isinstance(self.system, str)
            and not (self.tools or self.stop or self.model or self.effort or self.cache)
        )

    @property
    def conversation(self) -> bool:
        """Whether it is more than one turn."""
        return len(self.messages) > 1

    @property
    def images(self) -> bool:
        """Whether there are pictures in it."""
        return any(isinstance(part, Image) for part in self._parts())

    @property
    def text(self) -> str:
        """The words of all turns."""
        if len(self.messages) == 1 and isinstance(self.messages[0].content, str):
            return self.messages[0].content
        parts = (part for message in self.messages for part in message.parts)
        return "\n\n".join(part.text for part in parts if isinstance(part, Text))

    @property
    def system_text(self) -> str:
        """The words of the system prompt."""
        return self.system if isinstance(self.system, str) else "\n\n".join(part.text for part in self.system)

    @property
    def caches(self) -> bool:
        """Whether any of it is to be kept by the vendor."""
        marked = (part.cache for part in self._parts() if isinstance(part, Text | Image))
        system = () if isinstance(self.system, str) else (part.cache for part in self.system)
        return any((self.cache, *marked, *system, *(tool.cache for tool in self.tools)))

    def _parts(self) -> list[Part]:
        """Of what is more than plain text."""
        return [part for message in self.messages if not isinstance(message.content, str) for part in message.content]


class StopReason(OpenVocabulary):
    """Why an answer ended."""

    END_TURN = "end_turn"
    MAX_TOKENS = "max_tokens"
    """It is cut short."""
    STOP_SEQUENCE = "stop_sequence"
    TOOL_USE = "tool_use"
    """Tools are to be called."""
    REFUSAL = "refusal"
    """The model, or what watches over it, would not answer."""
    PAUSE_TURN = "pause_turn"
    """The vendor stopped a long turn of its own tools."""
    CONTEXT_FULL = "model_context_window_exceeded"
    UNKNOWN = "unknown"


class Refusal(Model):
    """What a refusal was about, in the vendor's words."""

    category: str = ""
    explanation: str = ""


class Usage(Model):
    """Tokens. The prompt has `input_tokens + cache_read_tokens + cache_write_tokens + cache_write_hour_tokens`.

    `exact` is False while, or after, a stream was broken off: then `output_tokens` is reckoned from the text.
    """

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_hour_tokens: int = 0
    exact: bool = True

    @property
    def prompt_tokens(self) -> int:
        """All that was read."""
        written = self.cache_write_tokens + self.cache_write_hour_tokens
        return self.input_tokens + self.cache_read_tokens + written

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cache_read_tokens=self.cache_read_tokens + other.cache_read_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            cache_write_hour_tokens=self.cache_write_hour_tokens + other.cache_write_hour_tokens,
            exact=self.exact and other.exact,
        )


class Completion(Model):
    """An answer.

    `provider` is who ran the model (the gateway's word, or the vendor itself). `cost` is what this call cost by the
    dated list of prices, else as the vendor books it, None where neither knows; 0 for an answer that was `cached` at
    the vendor. `stop_reason` is None where the vendor does not tell. `message` is the answer as a turn, to go on with.
    """

    text: str
    vendor: str
    provider: str
    model: str
    usage: Usage
    cost: Money | None = None
    cached: bool = False
    stop_reason: StopReason | None = None
    stop_sequence: str | None = None
    refusal: Refusal | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    message: Message | None = None
    request_id: str | None = None
    raw: Raw = None

    @property
    def truncated(self) -> bool:
        """Whether it was cut at `max_tokens` or where the model can read no further."""
        return self.stop_reason in {StopReason.MAX_TOKENS, StopReason.CONTEXT_FULL}


class Parsed(Completion, Generic[T]):
    """An answer that fits a schema: `value`. `asked` is 2 when the first answer did not; usage and cost are of both."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    value: T
    asked: int = 1


class StreamEventType(StrEnum):
    """What a step of a stream is."""

    TEXT = "text"
    """A piece of the answer: `text`."""
    THINKING = "thinking"
    """The model thinks; `text` is what it shows of that, often nothing."""
    TOOL_CALL = "tool_call"
    """A tool is to be called: `tool_call`, complete."""
    END = "end"
    """The answer is complete: `completion`. The last event."""
    ERROR = "error"
    """The answer broke off: `error`, and in `completion` what came before. The last event."""


class StreamEvent(Model):
    """One step of an answer. `usage` is what was used so far; it is final at the end."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    type: StreamEventType
    text: str = ""
    tool_call: ToolCall | None = None
    vendor: str = ""
    model: str = ""
    usage: Usage
    completion: Completion | None = None
    error: Annotated[ProviderError | None, Field(exclude=True)] = None


class Lifecycle(OpenVocabulary):
    """Whether a model is to be used."""

    ACTIVE = "active"
    DEPRECATED = "deprecated"
    RETIRED = "retired"
    UNKNOWN = "unknown"


class ModelInfo(Model):
    """A model on offer. Prices are USD per million tokens of a short prompt; None for not known."""

    id: str
    vendor: str
    provider: str
    title: str = ""
    lifecycle: Lifecycle = Lifecycle.UNKNOWN
    created_at: AwareDatetime | None = None
    deprecated_at: AwareDatetime | None = None
    retires_at: AwareDatetime | None = None
    context_tokens: int | None = None
    output_tokens: int | None = None
    input_price: Decimal | None = None
    output_price: Decimal | None = None
    raw: Raw = None


class BatchState(OpenVocabulary):
    """How far a batch is."""

    IN_PROGRESS = "in_progress"
    CANCELING = "canceling"
    ENDED = "ended"
    """Results can be read."""
    UNKNOWN = "unknown"


class BatchCounts(Model):
    """The requests of a batch by what became of them."""

    processing: int = 0
    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0


class Batch(Model):
    """Many requests that are answered within 24 hours, at half the price."""

    ref: Ref
    state: BatchState
    counts: BatchCounts
    created_at: AwareDatetime
    expires_at: AwareDatetime | None = None
    ended_at: AwareDatetime | None = None
    raw: Raw = None


class BatchOutcomeState(OpenVocabulary):
    """What became of one request of a batch."""

    SUCCEEDED = "succeeded"
    ERRORED = "errored"
    CANCELED = "canceled"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


class BatchOutcome(Model):
    """One request of a batch, by the key it was given."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    key: str
    state: BatchOutcomeState
    completion: Completion | None = None
    error: Annotated[ProviderError | None, Field(exclude=True)] = None
