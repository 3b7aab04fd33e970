"""What is known of an account's health: until when to leave it alone. All processes that share the store know it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from providers.core.errors import ProviderError
from providers.core.json import from_json, to_json
from providers.core.telemetry import logger

if TYPE_CHECKING:
    from providers.core.clock import Clock
    from providers.core.store import Store

LOOK_SECONDS = 1.0
"""How old the knowledge of other processes' experience may be."""


class Health:
    """Pause (the vendor said when to come back) and opened breaker of one account, as moments of the steady clock.

    0.0 stands for none. Kept at `health/<account>`, in wall time. A store that fails costs the others' experience
    only, never a call.
    """

    __slots__ = ("_account", "_clock", "_kept", "_key", "_next_look", "_store", "open_until", "paused_until")

    def __init__(self, account: str, store: Store, clock: Clock) -> None:
        self._account = account
        self._key = f"health/{account}"
        self._store = store
        self._clock = clock
        self._kept: bytes | None = None
        self._next_look = 0.0
        self.paused_until = 0.0
        self.open_until = 0.0

    @property
    def stale(self) -> bool:
        """Whether to `look` before relying on it."""
        return self._store.shared and self._clock.monotonic() >= self._next_look

    async def look(self) -> None:
        """Learn what other processes found out."""
        self._next_look = self._clock.monotonic() + LOOK_SECONDS
        try:
            kept = await self._store.get(self._key)
        except ProviderError as error:
            logger.warning("what other processes know of %s cannot be read: %s", self._account, error)
            return
        if kept != self._kept:
            self._kept = kept
            self._learn(kept)

    async def pause(self, seconds: float) -> None:
        """The vendor said when to come back: nobody asks until then."""
        self.paused_until = max(self.paused_until, self._clock.monotonic() + seconds)
        await self._tell()

    async def open(self, seconds: float) -> None:
        """It keeps failing: nobody asks for a while."""
        self.open_until = self._clock.monotonic() + seconds
        await self._tell()

    async def close(self) -> None:
        """It works again."""
        self.open_until = 0.0
        await self._tell()

    async def probe(self, seconds: float) -> bool:
        """Whether this process may be the one that tries again; the others wait `seconds` for what it finds."""
        before = self._kept
        self.open_until = self._clock.monotonic() + seconds
        if not self._store.shared:
            return True
        try:
            self._kept = self._dump()
            if await self._store.swap(self._key, before, self._kept, ttl=self._ttl()):
                return True
        except ProviderError as error:
            logger.warning("the probe of %s cannot be announced: %s", self._account, error)
            return True
        await self.look()
        return False

    async def _tell(self) -> None:
        if not self._store.shared:
            return
        self._kept = self._dump()
        try:
            await self._store.put([(self._key, self._kept)], ttl=self._ttl())
        except ProviderError as error:
            logger.warning("other processes cannot be told of %s: %s", self._account, error)

    def _dump(self) -> bytes | None:
        """Wall times; None when there is nothing to say."""
        now, wall = self._clock.monotonic(), self._clock.time()
        paused = self.paused_until - now + wall if self.paused_until > now else 0.0
        opened = self.open_until - now + wall if self.open_until else 0.0
        return to_json([paused, opened]) if paused or opened else None

    def _learn(self, kept: bytes | None) -> None:
        now, wall = self._clock.monotonic(), self._clock.time()
        try:
            moments = from_json(kept) if kept else [0.0, 0.0]
            paused, opened = map(float, map(str, moments if isinstance(moments, list) else []))
        except ValueError:
            return  # of another version
        self.paused_until = paused - wall + now if paused > wall else 0.0
        # A breaker whose time is over stays open for the one that probes.
        self.open_until = max(opened - wall + now, now) if opened else 0.0

    def _ttl(self) -> float:
        now = self._clock.monotonic()
        return max(self.paused_until - now, self.open_until - now, 0.0) + 60.0
