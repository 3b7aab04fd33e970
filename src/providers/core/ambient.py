"""One instance per process for code that is handed none, and what stands in for it in a context."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

S = TypeVar("S")
P = TypeVar("P")


class Ambient(Generic[S, P]):
    """A `P`, made at the first `get`; or the `S` that `use` has set in this context."""

    def __init__(self, name: str, make: Callable[[], P]) -> None:
        self._make = make
        self._made: P | None = None
        self._override: ContextVar[S | None] = ContextVar(name, default=None)

    def get(self) -> S | P:
        """What is current here."""
        override = self._override.get()
        if override is not None:
            return override
        if self._made is None:
            self._made = self._make()
        return self._made

    @contextmanager
    def use(self, scope: S) -> Generator[S]:
        """Make `scope` the current one inside a `with` block."""
        token = self._override.set(scope)
        try:
            yield scope
        finally:
            self._override.reset(token)

    def forget(self) -> P | None:
        """The instance, if one was made; the next `get` makes another."""
        made, self._made = self._made, None
        return made
