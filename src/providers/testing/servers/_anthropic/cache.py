"""Prompts that are kept: by their beginning, for five minutes or an hour of the clock."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from providers.testing.servers._anthropic.check import Piece, count, input_tokens, mark_of, parts
from providers.testing.servers._anthropic.shapes import Prompt
from providers.testing.servers._host import JsonObject

LEAST: Final = 1_024
"""Tokens of a beginning that is worth keeping; less is not kept, and nobody is told."""

BACK: Final = 20
"""How many parts before a mark are looked at for what was kept earlier."""

SECONDS: Final = {"5m": 300.0, "1h": 3600.0}


@dataclass(frozen=True, slots=True)
class Usage:
    """How the tokens of a prompt were read."""

    fresh: int
    read: int = 0
    written: int = 0
    written_hour: int = 0

    def shown(self) -> JsonObject:
        """As `usage` has it, without the output."""
        return {
            "input_tokens": self.fresh,
            "cache_creation_input_tokens": self.written + self.written_hour,
            "cache_read_input_tokens": self.read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": self.written,
                "ephemeral_1h_input_tokens": self.written_hour,
            },
        }


@dataclass(slots=True)
class _Kept:
    until: float
    seconds: float


@dataclass(slots=True)
class Cache:
    """What is kept now."""

    _kept: dict[bytes, _Kept] = field(default_factory=dict[bytes, _Kept])

    def read(self, prompt: Prompt, model: str, now: float) -> Usage:
        """How this prompt is read; keeps what it marks."""
        total = input_tokens(prompt)
        every = [part for _, part in parts(prompt)]
        marks = {place: mark.ttl for place, part in enumerate(every) if (mark := mark_of(part)) is not None}
        if prompt.cache_control is not None and every:
            marks.setdefault(len(every) - 1, prompt.cache_control.ttl)
        if not marks:
            return Usage(total)
        names, sizes = _beginnings(model, every[: max(marks) + 1])
        marks = {place: ttl for place, ttl in marks.items() if sizes[place] >= LEAST}
        if not marks:
            return Usage(total)
        found = self._longest(names, marks, now)
        read = sizes[found] if found is not None else 0
        written = {"5m": 0, "1h": 0}
        at = read
        for place in sorted(marks):
            if sizes[place] > at:
                written[marks[place]] += sizes[place] - at
                at = sizes[place]
            seconds = SECONDS[marks[place]]
            self._kept[names[place]] = _Kept(now + seconds, seconds)
        return Usage(total - at, read, written["5m"], written["1h"])

    def _longest(self, names: list[bytes], marks: Mapping[int, str], now: float) -> int | None:
        looked = {place for mark in marks for place in range(max(mark - BACK, 0), mark + 1)}
        for place in sorted(looked, reverse=True):
            kept = self._kept.get(names[place])
            if kept is not None and kept.until > now:
                kept.until = now + kept.seconds  # what is read is kept longer
                return place
        return None

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()


def _beginnings(model: str, every: list[Piece]) -> tuple[list[bytes], list[int]]:
    """For each part the name of the prompt up to it, and how many tokens that has."""
    digest, size = hashlib.sha256(model.encode()), 0
    names: list[bytes] = []
    sizes: list[int] = []
    for part in every:
        digest.update(b"\0" + _bare(part))
        size += count(part)
        names.append(digest.digest())
        sizes.append(size)
    return names, sizes


def _bare(part: Piece) -> bytes:
    """A part without its mark; a text is the same as its block."""
    if isinstance(part, str):
        return json.dumps({"type": "text", "text": part}).encode()
    return json.dumps(part.model_dump(exclude={"cache_control"}, exclude_none=True)).encode()
