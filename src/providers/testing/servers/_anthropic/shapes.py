"""What a request may have (typed parameters of the anthropic library 2.12), read by pydantic as the vendor does."""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Discriminator, Field, JsonValue, Tag, ValidationError

from providers.testing.servers._anthropic.call import RefusalError, invalid
from providers.testing.servers._host import JsonObject

NEWEST: Final = "2026-10-21"
OLDER: Final = "2023-06-01"
VERSIONS: Final = (NEWEST, OLDER)

NAME: Final = r"^[a-zA-Z0-9_-]{1,128}$"
CUSTOM_ID: Final = r"^[a-zA-Z0-9_-]{1,64}$"
MOST_MESSAGES: Final = 100_000
MOST_REQUESTS: Final = 100_000

_UNTOLD: Final = frozenset({"str", "list"})
"""Tags of unions that the vendor's messages do not have."""


class Shape(BaseModel):
    """A part of a request; nothing else may be in it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class CacheControl(Shape):
    """The prompt is kept up to here."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] = "5m"


class Marked(Shape):
    """A part that may end what is kept."""

    cache_control: CacheControl | None = None


class TextBlock(Marked):
    """Words."""

    type: Literal["text"]
    text: str
    citations: list[JsonValue] | None = None


class Base64Source(Shape):
    """A picture by its bytes."""

    type: Literal["base64"]
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: str


class UrlSource(Shape):
    """A picture by its address."""

    type: Literal["url"]
    url: str


class ImageBlock(Marked):
    """A picture."""

    type: Literal["image"]
    source: Annotated[Base64Source | UrlSource, Field(discriminator="type")]
    transformations: dict[str, JsonValue] | None = None


class ToolUseBlock(Marked):
    """A tool that the model wanted called."""

    type: Literal["tool_use"]
    id: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]+$")]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    input: dict[str, JsonValue]
    caller: dict[str, JsonValue] | None = None
    toolset_name: str | None = None


class ThinkingBlock(Shape):
    """What the model thought, as it gave it."""

    type: Literal["thinking"]
    thinking: str
    signature: str


class RedactedThinkingBlock(Shape):
    """What the model thought, unreadable."""

    type: Literal["redacted_thinking"]
    data: str


def _kind(value: object) -> str:
    return "str" if isinstance(value, str) else "list"


Inner: TypeAlias = Annotated[TextBlock | ImageBlock, Field(discriminator="type")]


class ToolResultBlock(Marked):
    """What a tool gave."""

    type: Literal["tool_result"]
    tool_use_id: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]+$")]
    content: Annotated[Annotated[str, Tag("str")] | Annotated[list[Inner], Tag("list")], Discriminator(_kind)] = ""
    is_error: bool = False
    toolset_name: str | None = None


AnyBlock: TypeAlias = Annotated[
    TextBlock | ImageBlock | ToolUseBlock | ToolResultBlock | ThinkingBlock | RedactedThinkingBlock,
    Field(discriminator="type"),
]
Content: TypeAlias = Annotated[
    Annotated[str, Tag("str")] | Annotated[list[AnyBlock], Tag("list")], Discriminator(_kind)
]


class Turn(Shape):
    """A message."""

    role: Literal["user", "assistant"]
    content: Content


class ToolShape(Marked):
    """A tool of ours."""

    type: Literal["custom"] | None = None
    name: Annotated[str, Field(pattern=NAME)]
    description: str = ""
    input_schema: dict[str, JsonValue]
    strict: bool | None = None
    allowed_callers: list[str] | None = None
    defer_loading: bool | None = None
    eager_input_streaming: bool | None = None
    input_examples: list[dict[str, JsonValue]] | None = None


class AutoChoice(Shape):
    """The model decides."""

    type: Literal["auto"]
    disable_parallel_tool_use: bool = False


class AnyChoice(Shape):
    """Some tool."""

    type: Literal["any"]
    disable_parallel_tool_use: bool = False


class ToolChoice(Shape):
    """This tool."""

    type: Literal["tool"]
    name: str
    disable_parallel_tool_use: bool = False


class NoChoice(Shape):
    """No tool."""

    type: Literal["none"]


Choice: TypeAlias = Annotated[AutoChoice | AnyChoice | ToolChoice | NoChoice, Field(discriminator="type")]


class Format(Shape):
    """The schema that the answer is held to."""

    type: Literal["json_schema"]
    schema_: Annotated[dict[str, JsonValue], Field(alias="schema")]


class OutputConfig(Shape):
    """How the answer is made."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: Format | None = None


Display: TypeAlias = Literal["summarized", "omitted"]


class Adaptive(Shape):
    """The model decides how much it thinks."""

    type: Literal["adaptive"]
    display: Display | None = None


class Enabled(Shape):
    """It thinks up to a budget."""

    type: Literal["enabled"]
    budget_tokens: Annotated[int, Field(ge=1024)]
    display: Display | None = None


class Disabled(Shape):
    """It does not think."""

    type: Literal["disabled"]


class BetweenTools(Shape):
    """It does not think."""

    type: Literal["between_tools"]


Thinking: TypeAlias = Annotated[Adaptive | Enabled | Disabled | BetweenTools, Field(discriminator="type")]
System: TypeAlias = Annotated[
    Annotated[str, Tag("str")] | Annotated[list[TextBlock], Tag("list")], Discriminator(_kind)
]


class Metadata(Shape):
    """For whom it is asked."""

    user_id: Annotated[str, Field(max_length=512)] | None = None


class Prompt(Shape):
    """What is read, the same for an answer and for a count (`POST /v1/messages/count_tokens`)."""

    model: Annotated[str, Field(min_length=1, max_length=256)]
    messages: Annotated[list[Turn], Field(max_length=MOST_MESSAGES)]
    system: System = ""
    tools: list[ToolShape] = []
    tool_choice: Choice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    cache_control: CacheControl | None = None
    speed: Literal["standard", "fast"] | None = None

    @property
    def schema_given(self) -> dict[str, JsonValue] | None:
        """The schema that the answer is held to."""
        wanted = self.output_config.format if self.output_config is not None else None
        return wanted.schema_ if wanted is not None else None

    @property
    def effort(self) -> str | None:
        """How much is put into the answer."""
        return self.output_config.effort if self.output_config is not None else None


class Request(Prompt):
    """`POST /v1/messages` of the newest version."""

    max_tokens: Annotated[int, Field(ge=0)]
    stop_sequences: list[str] = []
    stream: bool = False
    metadata: Metadata | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    inference_geo: str | None = None
    container: JsonValue = None
    diagnostics: JsonValue = None


class OlderRequest(Request):
    """`POST /v1/messages` of 2023-06-01: sampling is taken."""

    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None


class BatchRequest(Shape):
    """One request of a batch. Its parameters are read when its turn comes."""

    custom_id: Annotated[str, Field(pattern=CUSTOM_ID)]
    params: dict[str, JsonValue]


class NewBatch(Shape):
    """`POST /v1/messages/batches`."""

    requests: Annotated[list[BatchRequest], Field(min_length=1, max_length=MOST_REQUESTS)]


def request_of(body: JsonObject, version: str) -> Request:
    """The body of `POST /v1/messages`. Raises `RefusalError`, as all of these."""
    kind = OlderRequest if version == OLDER else Request
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        raise _refusal(error) from None


def prompt_of(body: JsonObject) -> Prompt:
    """The body of `POST /v1/messages/count_tokens`."""
    try:
        return Prompt.model_validate(body)
    except ValidationError as error:
        raise _refusal(error) from None


def batch_of(body: JsonObject) -> NewBatch:
    """The body of `POST /v1/messages/batches`."""
    try:
        return NewBatch.model_validate(body)
    except ValidationError as error:
        raise _refusal(error) from None


def _refusal(error: ValidationError) -> RefusalError:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"] if part not in _UNTOLD)
    return invalid(f"{place}: {first['msg']}")
