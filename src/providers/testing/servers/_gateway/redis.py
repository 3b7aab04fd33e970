"""What the gateway keeps in Redis: the limiter's counters and the cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

KEPT: Final = 10_000


class Limiter:
    """Calls per provider, for everybody together. Each call, also a refused one, lets the minute begin anew."""

    def __init__(self, limit: int, window: float) -> None:
        self.limit, self.window = limit, window
        self._counts: dict[str, tuple[int, float]] = {}

    def admit(self, provider: str, now: float) -> bool:
        """Count a call; whether it may go on."""
        count, ends = self._counts.get(provider, (0, now))
        count = count + 1 if now < ends else 1
        self._counts[provider] = (count, now + self.window)
        return count <= self.limit

    def clear(self) -> None:
        """Forget all."""
        self._counts.clear()


@dataclass(frozen=True, slots=True)
class Key:
    """What a cached text is found by. Neither ``max_tokens`` nor the user is part of it."""

    provider: str
    model: str
    prompt: str
    system: str
    temperature: float
    json_mode: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """A finished call; a hit repeats all of it, the cost too."""

    content: str
    input_tokens: int
    output_tokens: int
    cost_usd: float


class Cache:
    """Finished calls for ``ttl`` seconds from when they were made; none with 0."""

    def __init__(self, ttl: float) -> None:
        self.ttl = ttl
        self._kept: dict[Key, tuple[Kept, float]] = {}

    def get(self, key: Key, now: float) -> Kept | None:
        """What is kept, if it is not over. A hit does not prolong it."""
        kept, ends = self._kept.get(key, (None, 0.0))
        return kept if now < ends else None

    def put(self, key: Key, kept: Kept, now: float) -> None:
        """Keep a call; the oldest go when there are very many."""
        if self.ttl > 0:
            self._kept.pop(key, None)
            self._kept[key] = (kept, now + self.ttl)
            if len(self._kept) > KEPT:
                del self._kept[next(iter(self._kept))]

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()
