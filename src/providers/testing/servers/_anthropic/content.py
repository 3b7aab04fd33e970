"""What the model says of itself: plausible, about the prompt, the same for the same prompt."""

from __future__ import annotations

import hashlib
import json
from typing import Final

from providers.llm.demo_values import example
from providers.llm.demo_words import sentences
from providers.testing.servers._anthropic.hints import informed, schema_in
from providers.testing.servers._anthropic.models import Model
from providers.testing.servers._anthropic.replies import Reply, text, thinking, tool_use
from providers.testing.servers._anthropic.shapes import (
    Adaptive,
    AnyBlock,
    Disabled,
    Enabled,
    NoChoice,
    Prompt,
    Request,
    TextBlock,
    ToolChoice,
    ToolResultBlock,
    ToolShape,
)
from providers.testing.servers._host import Json, JsonObject

WORDS: Final = 60
THOUGHTS: Final = {"low": 0, "medium": 16, "high": 32, "xhigh": 64, "max": 128}
"""Words that are thought, by effort; never more than half of what may be said."""


def answer(request: Request, model: Model) -> Reply:
    """The answer where none is scripted: a tool call, JSON that fits the schema, or words."""
    said = _said(request, model)
    thoughts = min(_thoughts(request, model), request.max_tokens // 2)
    if not thoughts:
        return said
    hidden = not (isinstance(request.thinking, Adaptive | Enabled) and request.thinking.display == "summarized")
    about = f"Let me think about this. {_about(request)}"
    words = " ".join(sentences(about, seed=_seed(about), words=2 * thoughts).split()[:thoughts])
    return thinking(words, hidden=hidden) + said


def _said(request: Request, model: Model) -> Reply:
    about = _about(request)
    seed = _seed(f"{model.id} {about}")
    tool = _wanted(request)
    if tool is not None:
        return tool_use(tool.name, _object(tool, about, seed))
    schema = request.schema_given or schema_in(_all(request))
    if schema is not None:
        return text(json.dumps(_example(schema, about, seed), ensure_ascii=False))
    return text(sentences(about, seed=seed, words=WORDS))


def _object(tool: ToolShape, about: str, seed: int) -> JsonObject:
    value = _example(tool.input_schema, about, seed)
    return value if isinstance(value, dict) else {}


def _example(schema: JsonObject, about: str, seed: int) -> Json:
    told = informed(schema)
    try:
        return example(told if isinstance(told, dict) else schema, about=about, seed=seed)
    except ValueError:  # what descriptions tell is not always to be had
        return example(schema, about=about, seed=seed)


def _wanted(request: Request) -> ToolShape | None:
    """The tool that is called, unless the last message brings the results of one."""
    if not request.tools or isinstance(request.tool_choice, NoChoice):
        return None
    if any(isinstance(block, ToolResultBlock) for block in _blocks(request.messages[-1].content)):
        return None
    if isinstance(request.tool_choice, ToolChoice):
        name = request.tool_choice.name
        return next(tool for tool in request.tools if tool.name == name)
    return request.tools[0]


def _thoughts(request: Request, model: Model) -> int:
    wanted = request.thinking
    on = model.thinks if wanted is None else isinstance(wanted, Adaptive | Enabled)
    if wanted is not None and not isinstance(wanted, Adaptive | Enabled | Disabled):
        on = False
    return THOUGHTS[request.effort or "medium"] if on else 0


def _about(prompt: Prompt) -> str:
    """The last words of the user."""
    for turn in reversed(prompt.messages):
        if turn.role == "user":
            if isinstance(turn.content, str):
                return turn.content
            words = [block.text for block in turn.content if isinstance(block, TextBlock)]
            if words:
                return "\n\n".join(words)
    return ""


def _all(prompt: Prompt) -> str:
    """The system prompt and the words of the user."""
    system = [prompt.system] if isinstance(prompt.system, str) else [block.text for block in prompt.system]
    words = [
        block.text if isinstance(block, TextBlock) else ""
        for turn in prompt.messages
        if turn.role == "user" and not isinstance(turn.content, str)
        for block in turn.content
    ]
    plain = [turn.content for turn in prompt.messages if turn.role == "user" and isinstance(turn.content, str)]
    return "\n".join([*plain, *words, *system])


def _blocks(content: str | list[AnyBlock]) -> list[AnyBlock]:
    return [] if isinstance(content, str) else content


def _seed(words: str) -> int:
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:4])
