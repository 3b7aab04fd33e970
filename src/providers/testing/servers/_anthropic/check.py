"""What Anthropic refuses in a request of the right shape: turns, tools, caching, what its model does not take."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

from providers.testing.servers._anthropic.call import RefusalError, invalid
from providers.testing.servers._anthropic.models import Model
from providers.testing.servers._anthropic.replies import signed, tokens
from providers.testing.servers._anthropic.schema import check_schema
from providers.testing.servers._anthropic.shapes import (
    NEWEST,
    Adaptive,
    AnyBlock,
    AnyChoice,
    CacheControl,
    Disabled,
    Enabled,
    ImageBlock,
    Marked,
    OlderRequest,
    Prompt,
    RedactedThinkingBlock,
    Request,
    TextBlock,
    ThinkingBlock,
    ToolChoice,
    ToolResultBlock,
    ToolShape,
    ToolUseBlock,
    Turn,
)

MOST_MARKS: Final = 4
IMAGE_TOKENS: Final = 1_000
"""Every picture is as many; the vendor counts by its size."""

LARGEST_IMAGE: Final = 5 * 1024 * 1024

_SENT: Final = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
}


def check(prompt: Prompt, model: Model, version: str) -> None:
    """Raise `RefusalError` for a prompt that cannot be answered."""
    if not prompt.messages:
        raise invalid("messages: at least one message is required")
    if prompt.messages[0].role != "user":
        raise invalid('messages: first message must use the "user" role')
    _check_system(prompt)
    _check_blocks(prompt, version)
    _check_pairs(prompt.messages)
    if prompt.messages[-1].role == "assistant" and not model.prefill:
        message = (
            "This model does not support assistant message prefill. The conversation must end with a user message."
        )
        raise invalid(message)
    _check_tools(prompt, model)
    _check_marks(prompt)
    _check_thinking(prompt, model)
    if prompt.effort is not None and not model.effort:
        raise invalid("This model does not support the effort parameter.")
    if (schema := prompt.schema_given) is not None:
        if not model.structured:
            raise invalid(f"output_config.format: '{model.id}' does not support output format.")
        check_schema(schema, "output_config.format.schema")
    if isinstance(prompt, Request):
        _check_request(prompt, model)
    if (given := input_tokens(prompt)) > model.context:
        raise invalid(f"prompt is too long: {given} tokens > {model.context} maximum")


def _check_request(request: Request, model: Model) -> None:
    if request.max_tokens > model.output:
        raise invalid(
            f"max_tokens: {request.max_tokens} > {model.output}, which is the maximum allowed number of output tokens "
            f"for {model.id}"
        )
    if not request.max_tokens and request.stream:
        raise invalid("max_tokens: 0 is not taken with stream")
    for place, stop in enumerate(request.stop_sequences):
        if not stop.strip():
            raise invalid(f"stop_sequences.{place}: each stop sequence must contain non-whitespace")
    if isinstance(request.thinking, Enabled) and request.thinking.budget_tokens >= request.max_tokens:
        raise invalid("`max_tokens` must be greater than `thinking.budget_tokens`.")
    if isinstance(request, OlderRequest):
        _check_sampling(request, model)


def _check_sampling(request: OlderRequest, model: Model) -> None:
    if not model.sampling:
        usual = request.temperature in (None, 1.0) and request.top_p is None and request.top_k is None
        if not usual:
            name = next(name for name in ("temperature", "top_p", "top_k") if getattr(request, name) is not None)
            raise invalid(f"{name}: `{name}` is not supported by {model.id}")
    elif request.temperature is not None and request.top_p is not None:
        raise invalid("`temperature` and `top_p` cannot both be specified for this model. Please use only one.")
    if isinstance(request.thinking, Enabled) and request.temperature not in (None, 1.0):
        raise invalid("`temperature` may only be set to 1 when thinking is enabled.")


def _check_system(prompt: Prompt) -> None:
    for place, block in enumerate(() if isinstance(prompt.system, str) else prompt.system):
        if not block.text:
            raise invalid(f"system.{place}: text content blocks must be non-empty")


def _check_blocks(prompt: Prompt, version: str) -> None:
    last = len(prompt.messages) - 1
    for number, turn in enumerate(prompt.messages):
        if not turn.content and not (turn.role == "assistant" and number == last):
            raise invalid(
                f"messages.{number}: all messages must have non-empty content except for the optional final assistant "
                "message"
            )
        for place, block in enumerate(() if isinstance(turn.content, str) else turn.content):
            where = f"messages.{number}.content.{place}"
            _check_role(turn.role, block, where)
            _check_block(block, where)
            cites = isinstance(block, TextBlock) and bool(block.citations)
            if cites and turn.role == "user" and version == NEWEST:
                raise invalid(f"{where}.text.citations: Extra inputs are not permitted")


def _check_role(role: str, block: AnyBlock, where: str) -> None:
    if role == "user" and isinstance(block, ToolUseBlock | ThinkingBlock | RedactedThinkingBlock):
        raise invalid(f"{where}: `{block.type}` blocks can only be in `assistant` messages")
    if role == "assistant" and isinstance(block, ToolResultBlock | ImageBlock):
        raise invalid(f"{where}: `{block.type}` blocks can only be in `user` messages")


def _check_block(block: AnyBlock, where: str) -> None:
    if isinstance(block, TextBlock) and not block.text:
        raise invalid("messages: text content blocks must be non-empty")
    if isinstance(block, TextBlock) and not block.text.strip():
        raise invalid("messages: text content blocks must contain non-whitespace text")
    if isinstance(block, ImageBlock):
        _check_image(block, where)
    if isinstance(block, ToolResultBlock) and not isinstance(block.content, str):
        for place, inner in enumerate(block.content):
            _check_block(inner, f"{where}.tool_result.content.{place}")
    if isinstance(block, ThinkingBlock) and not signed(block.thinking, block.signature):
        raise invalid(f"{where}: Invalid `signature` in `thinking` block")


def _check_image(block: ImageBlock, where: str) -> None:
    source = block.source
    if source.type == "url":
        if not source.url.startswith("https://"):
            raise invalid(f"{where}.image.source.url.url: Only HTTPS URLs are supported")
        return
    try:
        data = base64.b64decode(source.data, validate=True)
    except (binascii.Error, ValueError):
        raise invalid(f"{where}.image.source.base64.data: Invalid base64 data") from None
    if not data:
        raise invalid(f"{where}.image.source.base64: image cannot be empty")
    if len(data) > LARGEST_IMAGE:
        message = f"image exceeds 5 MB maximum: {len(data)} bytes > {LARGEST_IMAGE} bytes"
        raise invalid(f"{where}.image.source.base64: {message}")
    found = next((kind for start, kind in _SENT.items() if data.startswith(start)), None)
    if found is None:
        raise invalid(f"{where}.image.source.base64.data: Could not process image")
    if found != source.media_type:
        raise invalid(
            f"{where}.image.source.base64.data: Image does not match the provided media type {source.media_type}"
        )


def _check_pairs(messages: list[Turn]) -> None:
    """Each call is followed by its result, in the next turn and before anything else there."""
    asked: set[str] = set()
    asked_in = 0
    for role, turn in groupby(enumerate(messages), key=lambda each: each[1].role):
        placed = [
            (number, place, block)
            for number, message in turn
            for place, block in enumerate(() if isinstance(message.content, str) else message.content)
        ]
        if role == "assistant":
            calls = [(number, block.id) for number, _, block in placed if isinstance(block, ToolUseBlock)]
            asked, asked_in = {name for _, name in calls}, calls[0][0] if calls else 0
            if len(asked) < len(calls):
                raise invalid("messages: `tool_use` ids must be unique")
            continue
        answered, others = set[str](), False
        for number, place, block in placed:
            if not isinstance(block, ToolResultBlock):
                others = True
                continue
            name = block.tool_use_id
            if name not in asked:
                raise invalid(
                    f"messages.{number}.content.{place}: unexpected `tool_use_id` found in `tool_result` blocks: "
                    f"{name}. Each `tool_result` block must have a corresponding `tool_use` block in the previous "
                    "message."
                )
            if name in answered:
                raise invalid(
                    f"messages.{number}.content.{place}: each tool_use must have a single result. Found multiple "
                    f"`tool_result` blocks with id: {name}"
                )
            if not others:
                answered.add(name)
        if missing := asked - answered:
            raise invalid(
                f"messages.{asked_in}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                f"{', '.join(sorted(missing))}. Each `tool_use` block must have a corresponding `tool_result` block in "
                "the next message."
            )
        asked = set()


def _check_tools(prompt: Prompt, model: Model) -> None:
    names = [tool.name for tool in prompt.tools]
    if len(set(names)) < len(names):
        raise invalid("tools: Tool names must be unique.")
    for place, tool in enumerate(prompt.tools):
        if tool.input_schema.get("type") != "object":
            raise invalid(f"tools.{place}.custom.input_schema.type: Input should be 'object'")
        if tool.strict:
            check_schema(tool.input_schema, f"tools.{place}.custom")
    choice = prompt.tool_choice
    if choice is None:
        return
    if not names:
        raise invalid("tool_choice: tool_choice may only be specified while providing tools.")
    if isinstance(choice, ToolChoice) and choice.name not in names:
        raise invalid(f"Tool '{choice.name}' not found in provided tools")
    if isinstance(choice, ToolChoice | AnyChoice):
        if not model.forced_tools:
            raise invalid(f"tool_choice: forced tool use (`{choice.type}`) is not supported by {model.id}")
        if isinstance(prompt.thinking, Enabled):
            raise invalid("Thinking may not be enabled when tool_choice forces tool use.")


def _check_thinking(prompt: Prompt, model: Model) -> None:
    wanted = prompt.thinking
    if isinstance(wanted, Adaptive) and not model.adaptive:
        raise invalid("adaptive thinking is not supported on this model")
    if isinstance(wanted, Disabled) and model.always:
        raise invalid(f"thinking.type: `disabled` is not supported by {model.id}")
    if isinstance(wanted, Enabled) and model.thinks:
        raise invalid(f"thinking.type: `enabled` is not supported by {model.id}; use `adaptive`")
    if wanted is not None and wanted.type == "between_tools" and (model.always or not model.adaptive):
        raise invalid(f"thinking.type: `between_tools` is not supported by {model.id}")


def _check_marks(prompt: Prompt) -> None:
    marks = [(where, mark) for where, part in parts(prompt) if (mark := mark_of(part)) is not None]
    if prompt.cache_control is not None:
        marks.append(("cache_control", prompt.cache_control))
    if len(marks) > MOST_MARKS:
        raise invalid(f"A maximum of 4 blocks with cache_control may be provided. Found {len(marks)}.")
    short = False
    for where, mark in marks:
        if mark.ttl == "1h" and short:
            raise invalid(
                f"{where}.cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' "
                "cache_control block. Note that blocks are processed in the following order: `tools`, `system`, "
                "`messages`."
            )
        short = short or mark.ttl == "5m"


Piece = ToolShape | AnyBlock | str


def parts(prompt: Prompt) -> Iterator[tuple[str, Piece]]:
    """All of a prompt in the order it is read, with its places: tools, system, messages."""
    for place, tool in enumerate(prompt.tools):
        yield f"tools.{place}.custom", tool
    yield from _parts("system", prompt.system)
    for number, turn in enumerate(prompt.messages):
        yield from _parts(f"messages.{number}.content", turn.content)


def _parts(where: str, content: str | Iterable[AnyBlock]) -> Iterator[tuple[str, Piece]]:
    if isinstance(content, str):
        if content:
            yield where, content
        return
    for place, block in enumerate(content):
        yield f"{where}.{place}", block


def mark_of(part: Piece) -> CacheControl | None:
    """Whether the prompt is kept up to the end of this part."""
    return part.cache_control if isinstance(part, Marked) else None


def count(part: Piece) -> int:
    """How many tokens a part has: one a word, of calls and schemas as they are written in JSON."""
    if isinstance(part, str):
        return tokens(part)
    if isinstance(part, TextBlock):
        return tokens(part.text)
    if isinstance(part, ImageBlock):
        return IMAGE_TOKENS
    if isinstance(part, ToolUseBlock):
        return tokens(json.dumps(part.input))
    if isinstance(part, ToolResultBlock):
        return tokens(part.content) if isinstance(part.content, str) else sum(count(each) for each in part.content)
    if isinstance(part, ToolShape):
        return 1 + tokens(part.description) + tokens(json.dumps(part.input_schema))
    return tokens(part.thinking) if isinstance(part, ThinkingBlock) else 1


def input_tokens(prompt: Prompt) -> int:
    """How many tokens a prompt has, the schema of its answer included."""
    schema = prompt.schema_given
    return sum(count(part) for _, part in parts(prompt)) + (tokens(json.dumps(schema)) if schema is not None else 0)


def refused_model(name: str) -> RefusalError:
    """The model is not for this account."""
    return RefusalError("permission_error", f"no access to model: {name}")
