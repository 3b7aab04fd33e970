"""What the model says: blocks, put together by hand (``text("Yes") + tool_use("get_stock", {"sku": "A1"})``)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from providers.testing.servers._anthropic.call import RefusalError, new_id
from providers.testing.servers._host import Json, JsonObject

PIECE: Final = re.compile(r"\s*\S+(?:\s+\Z)?|\s+")
"""One token: a word with the space before it."""

CATEGORIES: Final = ("cyber", "bio", "frontier_llm", "reasoning_extraction", "general_harms")

_SIGNING: Final = b"local anthropic, not a secret"
_NONCE: Final = 6


def tokens(text: str) -> int:
    """How many tokens a text has."""
    return len(PIECE.findall(text))


@dataclass(frozen=True, slots=True)
class Words:
    """A text block."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """A tool use block."""

    name: str
    input: JsonObject
    id: str

    @property
    def json(self) -> str:
        """The input as it is streamed."""
        return json.dumps(self.input)


@dataclass(frozen=True, slots=True)
class Thought:
    """A thinking block. What is thought is counted, and shown only when it is not ``hidden``."""

    text: str
    hidden: bool = True

    @property
    def shown(self) -> str:
        """What the block has."""
        return "" if self.hidden else self.text


Block: TypeAlias = "Words | Call | Thought"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: blocks, and why it ends (None: as its blocks, ``max_tokens`` and ``stop_sequences`` make it)."""

    blocks: tuple[Block, ...] = ()
    stop_reason: str | None = None
    stop_details: JsonObject | None = None

    def __add__(self, other: Reply) -> Reply:
        """One after the other; the end is the second's."""
        details = other.stop_details or self.stop_details
        return Reply((*self.blocks, *other.blocks), other.stop_reason or self.stop_reason, details)


@dataclass(frozen=True, slots=True)
class Failure:
    """An error in place of an answer."""

    error: RefusalError


Script: TypeAlias = "Reply | Failure"


def text(words: str, *, stop_reason: str | None = None) -> Reply:
    """Words. ``stop_reason`` claims another end than theirs, such as ``pause_turn``."""
    return Reply((Words(words),), stop_reason)


def tool_use(name: str, input: Mapping[str, Json] | None = None, *, id: str = "") -> Reply:  # noqa: A002
    """The model wants a tool called."""
    return Reply((Call(name, dict(input or {}), id or new_id("toolu")),))


def thinking(words: str = "The question is short; so is the answer.", *, hidden: bool = True) -> Reply:
    """The model thinks; goes before what it says. ``hidden``: the block is empty and has a signature only."""
    return Reply((Thought(words, hidden),))


def refusal(category: str | None = "general_harms", explanation: str | None = None, *, after: str = "") -> Reply:
    """The model, or what watches over it, will not answer; ``after`` is what was said until then."""
    if category is not None and category not in CATEGORIES:
        raise ValueError(f"category is None or one of {', '.join(CATEGORIES)}")
    details: JsonObject = {"type": "refusal", "category": category, "explanation": explanation}
    return Reply((Words(after),) if after else (), "refusal", details)


def failure(
    kind: str = "api_error",
    message: str = "",
    *,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    details: JsonObject | None = None,
) -> Failure:
    """An error in the vendor's shape; the status is the one of its type unless given."""
    return Failure(RefusalError(kind, message, status=status, headers=headers, details=details))


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply cut to what was asked for."""

    blocks: tuple[Block, ...]
    stop_reason: str
    stop_sequence: str | None
    stop_details: JsonObject | None
    output_tokens: int
    thinking_tokens: int


def cut(given: Reply, max_tokens: int, stops: Sequence[str]) -> Answer:
    """What comes of a reply within ``max_tokens``, up to the first of the stop sequences."""
    left, thought = max_tokens, 0
    blocks: list[Block] = []
    end: tuple[str, str | None] | None = None
    for block in given.blocks:
        kept, used = _within(block, left)
        if isinstance(kept, Words) and (stop := _first(kept.text, stops)) is not None:
            kept = Words(kept.text.partition(stop)[0])
            end, used = ("stop_sequence", stop), tokens(kept.text)
        elif kept != block:
            end = "max_tokens", None
        if isinstance(block, Thought):
            thought += used
        left -= used
        if kept is not None and not (isinstance(kept, Words) and not kept.text):
            blocks.append(kept)
        if end is not None:
            break
    used = max_tokens - left
    if not max_tokens:
        blocks, end = [], ("max_tokens", None)
    elif not used:
        used = 1  # the vendor counts something for an empty answer too
    if end is None:
        calls = any(isinstance(block, Call) for block in blocks)
        end = given.stop_reason or ("tool_use" if calls else "end_turn"), None
    return Answer(tuple(blocks), *end, given.stop_details if end[0] == "refusal" else None, used, thought)


def _within(block: Block, left: int) -> tuple[Block | None, int]:
    """As much of a block as fits, and how many tokens that is. A call that does not fit is not made."""
    if isinstance(block, Call):
        needed = tokens(block.json)
        return (block, needed) if needed <= left else (None, left)
    pieces = PIECE.findall(block.text)
    if len(pieces) <= left:
        return block, len(pieces)
    return (replace(block, text="".join(pieces[:left])) if left else None), left


def _first(words: str, stops: Sequence[str]) -> str | None:
    found = [(words.index(stop), stop) for stop in stops if stop in words]
    return min(found)[1] if found else None


def show(block: Block) -> JsonObject:
    """A block as the API shows it."""
    if isinstance(block, Words):
        return {"type": "text", "text": block.text}
    if isinstance(block, Call):
        return {"type": "tool_use", "id": block.id, "name": block.name, "input": block.input}
    return {"type": "thinking", "thinking": block.shown, "signature": sign(block.shown)}


def sign(thought: str) -> str:
    """The signature of a thinking block: no two are the same."""
    nonce = secrets.token_bytes(_NONCE)
    return base64.b64encode(nonce + _mac(nonce, thought)).decode()


def signed(thought: str, signature: str) -> bool:
    """Whether the block came from here, as it is."""
    try:
        raw = base64.b64decode(signature, validate=True)
    except ValueError:
        return False
    return hmac.compare_digest(raw[_NONCE:], _mac(raw[:_NONCE], thought))


def _mac(nonce: bytes, thought: str) -> bytes:
    return hmac.digest(_SIGNING, nonce + thought.encode(), hashlib.sha256)
