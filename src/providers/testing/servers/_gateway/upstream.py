"""The made-up vendor behind the gateway: what it is asked, what it answers, and how it fails."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final, TypeAlias, cast
from zlib import crc32

from pydantic import JsonValue

from providers.llm.demo_values import example
from providers.llm.demo_words import sentences
from providers.llm.structured import instruction
from providers.testing.servers._gateway.call import RefusalError
from providers.testing.servers._host import JsonObject

NO_NAME: Final = "[Errno -2] Name or service not known"
JSON_ONLY: Final = "Respond with valid JSON only."

WORDS: Final = 60
_WORD: Final = re.compile(r"\S+")
_SENTENCE: Final = instruction({}).partition("{}")[0]
_VERSION: Final = re.compile(r"claude-([a-z]+)-(\d+)(?:-(\d{1,2}))?(?![0-9])")


@dataclass(frozen=True, slots=True)
class UpstreamCall:
    """What the gateway asked the vendor; ``system`` as it was sent, with what ``json_mode`` adds."""

    provider: str
    model: str
    prompt: str
    system: str
    max_tokens: int
    temperature: float
    json_mode: bool

    def as_dict(self) -> JsonObject:
        """For the control route."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Said:
    """What the vendor answered; one word is one token."""

    text: str
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Answers:
    """The next text."""

    text: str


@dataclass(frozen=True, slots=True)
class Thinks:
    """All of ``max_tokens`` goes into thinking, which the gateway does not read."""


@dataclass(frozen=True, slots=True)
class Fails:
    """The vendor's API answers with this status."""

    status: int
    body: str


@dataclass(frozen=True, slots=True)
class Unreachable:
    """No answer at all; ``error`` is what the HTTP client says."""

    error: str


Outcome: TypeAlias = Answers | Thinks | Fails | Unreachable


class Upstream:
    """Queued outcomes first, then plausible texts. Models in ``retired`` are not there any more."""

    def __init__(self, retired: frozenset[str], keep: int) -> None:
        self._always_retired = retired
        self.retired = set(retired)
        self.calls: deque[UpstreamCall] = deque(maxlen=keep)
        self._staged: deque[tuple[Outcome, int | None]] = deque()

    def stage(self, outcome: Outcome, times: int | None) -> None:
        """Queue an outcome; ``times=None`` until reset."""
        if times is not None and times < 1:
            raise ValueError("times is at least 1")
        self._staged.append((outcome, times))

    def clear(self) -> None:
        """Forget calls and what is queued."""
        self.calls.clear()
        self._staged.clear()
        self.retired = set(self._always_retired)

    def ask(self, call: UpstreamCall) -> Said:
        """One call. Raises `RefusalError` with the gateway's words for what went wrong."""
        self.calls.append(call)
        outcome = self._next(_refused(call, self.retired))
        if isinstance(outcome, Fails):
            raise RefusalError(502, f"[{call.provider}] API returned {outcome.status}: {outcome.body}")
        if isinstance(outcome, Unreachable):
            raise RefusalError(502, f"[{call.provider}] HTTP error: {outcome.error}")
        asked = _count(call.system) + _count(call.prompt)
        if isinstance(outcome, Thinks):
            return Said("", asked, call.max_tokens)
        text = _cut(outcome.text if outcome is not None else made_up(call), call.max_tokens)
        return Said(text, asked, _count(text))

    def _next(self, refused: Fails | None) -> Outcome | None:
        """What is queued; a call that is refused anyway takes no text from the queue."""
        outcome, times = self._staged[0] if self._staged else (None, 1)
        if outcome is None or (refused is not None and isinstance(outcome, Answers | Thinks)):
            return refused
        if times is not None:
            self._staged.popleft()
            if times > 1:
                self._staged.appendleft((outcome, times - 1))
        return outcome


def made_up(call: UpstreamCall) -> str:
    """Copy about the prompt; JSON where a schema stands in it, or ``json_mode`` asks for some, and fenced then."""
    seed = crc32(f"{call.system}\n{call.prompt}\n{call.temperature}".encode("utf-8", "replace"))
    about = call.prompt.partition(_SENTENCE)[0].strip()
    schema = _schema(call.prompt) or _schema(call.system)
    copy = sentences(about, seed=seed, words=WORDS)
    if schema is None and not call.json_mode:
        return copy
    try:
        value = {"text": copy} if schema is None else example(schema, about=about, seed=seed)
    except (ValueError, RecursionError):  # nothing fits it, and a model says something all the same
        return copy
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return f"```json\n{text}\n```" if call.json_mode else text


def _schema(text: str) -> Mapping[str, JsonValue] | None:
    """The JSON Schema after the sentence that asks for it."""
    found = text.rpartition(_SENTENCE)[2] if _SENTENCE in text else ""
    try:
        value, _ = json.JSONDecoder().raw_decode(found)
    except (ValueError, RecursionError):
        return None
    return cast("Mapping[str, JsonValue]", value) if isinstance(value, dict) else None


def _refused(call: UpstreamCall, retired: set[str]) -> Fails | None:
    if call.model in retired:
        return _error(404, "not_found_error", f"model: {call.model}")
    if call.provider == "claude" and call.temperature != 1.0 and _takes_no_temperature(call.model):
        return _error(400, "invalid_request_error", "temperature: only the default of 1.0 is accepted by this model")
    return None


def _takes_no_temperature(model: str) -> bool:
    found = _VERSION.match(model)
    if found is None:
        return False
    version = (int(found[2]), int(found[3] or 0))
    return version >= ((4, 7) if found[1] == "opus" else (5, 0))


def _error(status: int, kind: str, message: str) -> Fails:
    return Fails(status, json.dumps({"type": "error", "error": {"type": kind, "message": message}}))


def _count(text: str) -> int:
    return sum(1 for _ in _WORD.finditer(text))


def _cut(text: str, words: int) -> str:
    for place, found in enumerate(_WORD.finditer(text), 1):
        if place == words:
            return text[: found.end()] if text[found.end() :].strip() else text
    return text
