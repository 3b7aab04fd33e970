"""Answers that fit a schema: what the model is told, and how its JSON is read."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from providers.core.errors import BadResponseError, InvalidRequestError
from providers.core.json import from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from pydantic import JsonValue

T = TypeVar("T")

FENCE = re.compile(r"```[a-zA-Z]*[ \t]*\r?\n(.*?)```", re.DOTALL)
WRAPPED = "value"
"""Vendors hold models to objects only: what is none is asked for as the one field of one."""

LONGEST_QUOTE = 4_000
PROBLEMS = 10
NOT_JSON = "it is not JSON"


class UnfitError(ValueError):
    """An answer that is not JSON, or does not fit. Its text says where, and quotes nothing of the answer."""


class Shape(Generic[T]):
    """A type that answers are read as, and the JSON Schema of it."""

    def __init__(self, kind: type[T]) -> None:
        try:
            self._adapter: TypeAdapter[T] = TypeAdapter(kind)
            schema: dict[str, JsonValue] = self._adapter.json_schema()
        except PydanticUserError as error:
            msg = f"schema: pydantic cannot describe it as JSON Schema: {error.message}"
            raise InvalidRequestError(msg, field="schema") from error
        # What refers to itself is described under its name.
        named = cast("dict[str, dict[str, JsonValue]]", schema.get("$defs", {}))
        self.wrapped = named.get(str(schema.get("$ref")).rpartition("/")[2], schema).get("type") != "object"
        if self.wrapped:
            definitions = schema.pop("$defs", None)
            schema = {"type": "object", "properties": {WRAPPED: schema}, "required": [WRAPPED]}
            if definitions is not None:
                schema["$defs"] = definitions
        self.json_schema: Mapping[str, JsonValue] = schema

    def read(self, text: str) -> T:
        """The value in an answer. Raises `UnfitError`."""
        last: UnfitError | None = None
        for candidate in _candidates(text):
            try:
                return self._read(candidate)
            except UnfitError as error:
                # That it is not JSON says the least: there may be some in a fence.
                last = error if last is None or str(last) == NOT_JSON else last
        raise last or UnfitError("there is no JSON in it")

    def _read(self, text: str) -> T:
        try:
            value = from_json(text.encode())
        except ValueError:
            raise UnfitError(NOT_JSON) from None
        if self.wrapped:
            if not isinstance(value, dict) or WRAPPED not in value:
                raise UnfitError(f"it must be an object with the field {WRAPPED!r}")
            value = value[WRAPPED]
        try:
            # As JSON: strict types take dates and the like from text then.
            return self._adapter.validate_json(to_json(value))
        except ValidationError as error:
            raise UnfitError(_problems(error)) from None


@lru_cache(maxsize=256)
def _shape(kind: Any) -> Shape[Any]:  # noqa: ANN401 (any type at all)
    return Shape(kind)


def shape_of(kind: type[T]) -> Shape[T]:
    """The shape of a type, made once: a pydantic model, or whatever pydantic can read."""
    return cast("Shape[T]", _shape(cast("Hashable", kind)))


def instruction(schema: Mapping[str, JsonValue]) -> str:
    """What a model is told that cannot be held to a schema."""
    return f"Answer with one JSON value only, without any other text, that fits this JSON Schema:\n{_text(schema)}"


def correction(answer: str, problem: UnfitError) -> str:
    """What is added to a question whose first answer did not fit."""
    return (
        f"Your last answer was:\n{answer[:LONGEST_QUOTE]}\n\n"
        f"It cannot be used: {problem}. Answer again, with all of the JSON and nothing else."
    )


def unusable(problem: str, code: str) -> BadResponseError:
    """The error for an answer that cannot be used; asking a third time does not help."""
    return BadResponseError(f"the answer cannot be used: {problem}", code=code, repeatable=False)


def _text(schema: Mapping[str, JsonValue]) -> str:
    return to_json(schema).decode()


def _candidates(text: str) -> list[str]:
    """What of an answer may be the JSON: all of it, what stands in a fence, from the first bracket to the last."""
    found = [text.strip()]
    found += [match.group(1).strip() for match in FENCE.finditer(text)]
    for opening, closing in ("{}", "[]"):
        start, end = text.find(opening), text.rfind(closing)
        if 0 <= start < end:
            found.append(text[start : end + 1])
    return [each for each in dict.fromkeys(found) if each]


def _problems(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    texts = [f"{'.'.join(map(str, each['loc'])) or 'it'}: {each['msg']}" for each in found[:PROBLEMS]]
    more = [f"and {len(found) - PROBLEMS} more"] if len(found) > PROBLEMS else []
    return "; ".join(texts + more)
