"""What a model reads between the lines: limits told in descriptions, and schemas told in the prompt."""

from __future__ import annotations

import ast
import json
import re
from typing import Final, cast

from providers.testing.servers._host import Json, JsonObject

_HINT: Final = re.compile(r"\{(\w+: .*)\}\s*\Z", re.DOTALL)
"""At the end of a description: ``{minimum: 1, maximum: 5}``, as the anthropic library writes it."""
_NEXT: Final = re.compile(r", (?=\w+: )")
_OPEN: Final = "[({"
_CLOSE: Final = "])}"
_ASKED: Final = "JSON Schema"

_NUMBERS: Final = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
_COUNTS: Final = frozenset({"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"})
_WORDS: Final = frozenset({"pattern", "format"})


def informed(schema: Json) -> Json:
    """A schema with the limits that its descriptions tell, which it may not have itself."""
    if isinstance(schema, list):
        return [informed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found: JsonObject = {name: informed(value) for name, value in schema.items()}
    told = _HINT.search(description) if isinstance(description := schema.get("description"), str) else None
    return {**_limits(told[1]), **found} if told is not None else found


def _limits(told: str) -> JsonObject:
    """``a: 1, b: [1, 2]`` as values."""
    limits: JsonObject = {}
    start = 0
    for end in [*(match.start() for match in _NEXT.finditer(told)), len(told)]:
        part = told[start:end]
        if _depth(part) and end < len(told):
            continue  # the comma is inside of a value
        name, _, value = part.partition(": ")
        if (limit := _limit(name, value)) is not None:
            limits[name] = limit
        start = end + len(", ")
    return limits


def _depth(part: str) -> int:
    return sum(part.count(each) for each in _OPEN) - sum(part.count(each) for each in _CLOSE)


def _limit(name: str, told: str) -> Json:
    """The value of a limit; None for what is none."""
    if name in _WORDS:
        return told
    if name not in _NUMBERS | _COUNTS | {"uniqueItems", "prefixItems"}:
        return None
    try:
        value = cast("Json", ast.literal_eval(told))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if isinstance(value, bool):
        return value if name == "uniqueItems" else None
    if name == "prefixItems":
        return informed(value) if isinstance(value, list) and all(isinstance(each, dict) for each in value) else None
    if name in _COUNTS:
        return value if isinstance(value, int) and value >= 0 else None
    return value if isinstance(value, int | float) and name in _NUMBERS else None


def schema_in(words: str) -> JsonObject | None:
    """The schema in a text that asks for JSON by it; the last one."""
    _, asked, rest = words.rpartition(_ASKED)
    start = rest.find("{")
    if not asked or start < 0:
        return None
    try:
        value: Json
        value, _ = json.JSONDecoder().raw_decode(rest, start)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
