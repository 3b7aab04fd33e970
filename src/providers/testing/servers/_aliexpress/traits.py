"""Choices that are the same in every run: numbers made of names."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")


def number(*names: object) -> int:
    """A number of 64 bits that stands for these names."""
    text = "\0".join(str(name) for name in names)
    return int.from_bytes(blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest())


def pick(items: Sequence[T], *names: object) -> T:
    """The item that stands for these names."""
    return items[number(*names) % len(items)]
