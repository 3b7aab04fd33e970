"""Ids that we make up: random, or counted where a recording has to show the same ones again."""

from __future__ import annotations

from contextvars import ContextVar
from random import getrandbits
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

IDS: ContextVar[Callable[[], str] | None] = ContextVar("providers_ids", default=None)
"""What makes ids in this context instead of chance; for recordings."""


def new_id() -> str:
    """32 hexadecimal digits."""
    source = IDS.get()
    return f"{getrandbits(128):032x}" if source is None else source()
