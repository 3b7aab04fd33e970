"""JSON of plain values: what goes to vendors and into journals. Models have their own way (`codec`)."""

from __future__ import annotations

from collections.abc import Callable

import pydantic_core
from pydantic import JsonValue

_dumps: Callable[[object], bytes]
try:
    # A fifth of the time of pydantic's own, where a vendor's extra brought it.
    from orjson import dumps as _dumps
except ImportError:
    _dumps = pydantic_core.to_json


def to_json(value: object) -> bytes:
    """The value as JSON."""
    try:
        return _dumps(value)
    except TypeError:
        # Integers of more than 64 bits, which JSON allows and the quick encoder does not.
        return pydantic_core.to_json(value, inf_nan_mode="null")


def from_json(data: bytes) -> JsonValue:
    """The value again. Raises `ValueError` for what is not JSON."""
    value: JsonValue = pydantic_core.from_json(data)
    return value
