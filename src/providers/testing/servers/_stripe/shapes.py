"""What an endpoint takes, written short, and the check that refuses everything else.

``name`` is a string; ``!`` it is required; ``?`` an empty string unsets it. After a colon: ``i`` an integer, ``b`` a
boolean, ``d`` a decimal, ``m`` metadata, ``r`` a time or a range of times, ``x`` anything, ``now`` an integer or the
word, ``a|b`` one of these words. ``[]`` is a list of strings, ``{...}`` an object, ``[{...}]`` a list of objects.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, TypeAlias

from providers.testing.servers._stripe.call import Obj, absent, invalid, is_list, is_object

Shape: TypeAlias = "dict[str, Field]"

_TOKEN = re.compile(
    r"(?P<name>\w+)(?P<need>!?)(?P<unset>\??)(?::(?P<kind>[\w|.]+)|(?P<open>\[\{|\{)|(?P<many>\[\]))?|(?P<close>\}\]?)"
)
_INTEGER = re.compile(r"-?\d{1,18}")
MOST_METADATA, LONGEST_NAME, LONGEST_VALUE = 50, 40, 500


@dataclass(slots=True)
class Field:
    """One parameter."""

    kind: str
    required: bool = False
    unset: bool = False
    inner: Shape | None = None
    many: bool = False


def shape(text: str) -> Shape:
    """Read the short notation."""
    top: Shape = {}
    stack: list[Shape] = [top]
    for token in _TOKEN.finditer(text):
        if token["close"]:
            stack.pop()
            continue
        one = Field(token["kind"] or "s", bool(token["need"]), bool(token["unset"]))
        stack[-1][token["name"]] = one
        if token["many"]:
            one.many = True
        elif token["open"]:
            one.kind, one.inner, one.many = "o", {}, token["open"] == "[{"
            stack.append(one.inner)
    return top


def listing(filters: str = "") -> Shape:
    """What a list takes."""
    return shape(f"limit:i starting_after ending_before created:r {filters}")


def read(given: Obj, wanted: Shape, prefix: str = "") -> Obj:
    """The parameters with their types. Refuses unknown, missing and ill-typed ones."""
    found: Obj = {}
    for name, value in given.items():
        param = f"{prefix}[{name}]" if prefix else name
        one = wanted.get(name)
        if one is None:
            raise invalid(f"Received unknown parameter: {param}", param, "parameter_unknown")
        found[name] = _typed(value, one, param)
    for name, one in wanted.items():
        if one.required and found.get(name) is None:
            raise absent(f"{prefix}[{name}]" if prefix else name)
    return found


def _typed(value: Any, one: Field, param: str) -> Any:  # noqa: ANN401 - whatever a form holds
    if value == "" and (one.unset or one.kind == "m"):
        return {} if one.kind == "m" else [] if one.many else ""
    if one.many:
        return [
            read(each, one.inner, f"{param}[{index}]") if one.inner is not None else _text(each, f"{param}[{index}]")
            for index, each in enumerate(_members(value, param, objects=one.inner is not None))
        ]
    if one.inner is not None:
        if not is_object(value):
            raise invalid("Invalid object", param)
        return read(value, one.inner, param)
    if one.kind == "x":
        return value
    if one.kind == "m":
        return _metadata(value, param)
    if one.kind == "r" and is_object(value):
        if not value.keys() <= {"gt", "gte", "lt", "lte"}:
            raise invalid(f"Received unknown parameter: {param}", param, "parameter_unknown")
        return {name: _integer(_text(each, param), param) for name, each in value.items()}
    return _scalar(_text(value, param), one.kind, param)


def _scalar(text: str, kind: str, param: str) -> object:
    if kind == "s":
        if text == "":
            message = (
                f"You passed an empty string for '{param}'. We assume empty values are an attempt to unset a "
                f"parameter; however '{param}' cannot be unset. You should remove '{param}' from your request or "
                "supply a non-empty value."
            )
            raise invalid(message, param, "parameter_invalid_empty")
        if len(text) > 5000:
            raise invalid(f"Invalid string: {text[:20]}...; must be at most 5000 characters", param)
        return text
    if kind in {"i", "r"}:
        return _integer(text, param)
    if kind == "now":
        return text if text == "now" else _integer(text, param)
    if kind == "b":
        if text not in {"true", "false"}:
            raise invalid(f"Invalid boolean: {text}", param)
        return text == "true"
    if kind == "d":
        return _decimal(text, param)
    words = kind.split("|")
    if text not in words:
        raise invalid(f"Invalid {param}: must be one of {', '.join(words[:-1])}, or {words[-1]}", param)
    return text


def _members(value: object, param: str, *, objects: bool) -> list[Any]:
    if is_list(value):
        members = value
    elif is_object(value) and all(key.isdecimal() for key in value):
        members = [value[key] for key in sorted(value, key=int)]
    else:
        raise invalid("Invalid array", param)
    if objects and not all(is_object(each) for each in members):
        raise invalid("Invalid object", param)
    return members


def _text(value: object, param: str) -> str:
    if not isinstance(value, str):
        raise invalid("Invalid string: {}", param)
    return value


def _integer(text: str, param: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise invalid(f"Invalid integer: {text}", param, "parameter_invalid_integer")
    return int(text)


def _decimal(text: str, param: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -12:
        raise invalid(f"Invalid decimal: {text}; must contain at maximum 12 decimal places.", param)
    return number


def _metadata(value: object, param: str) -> dict[str, str]:
    if not is_object(value):
        raise invalid("Invalid object", param)
    for name, text in value.items():
        if len(name) > LONGEST_NAME:
            message = f"Metadata keys can be at most 40 characters: '{name}' has {len(name)}."
            raise invalid(message, f"{param}[{name}]")
        if len(_text(text, f"{param}[{name}]")) > LONGEST_VALUE:
            message = f"Metadata values can have up to 500 characters, but you passed in a value of {len(text)}."
            raise invalid(message, f"{param}[{name}]")
    if len(value) > MOST_METADATA:
        raise invalid("Metadata can have up to 50 keys.", param)
    return value


def merged(before: dict[str, str], change: dict[str, str] | None) -> dict[str, str]:
    """Metadata after a change: an empty value unsets a key, an empty object all of them."""
    if change is None:
        return before
    if not change:
        return {}
    after = {name: text for name, text in {**before, **change}.items() if text != ""}
    if len(after) > MOST_METADATA:
        raise invalid("Metadata can have up to 50 keys.", "metadata")
    return after
