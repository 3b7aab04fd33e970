"""Results as bytes for the store, and back by the type their operation declares."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pydantic_core
from pydantic import TypeAdapter


@lru_cache(maxsize=256)
def _adapter(kind: Any) -> TypeAdapter[Any]:  # noqa: ANN401 (any type at all)
    return TypeAdapter(kind)


def encode(value: object) -> bytes:
    """JSON of a model or plain value. `.raw` is left out, as in every dump."""
    return pydantic_core.to_json(value)


def decode(kind: object, data: bytes) -> object:
    """The value again, of the type `kind`."""
    return _adapter(kind).validate_json(data)
