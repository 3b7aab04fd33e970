"""Requests a second and points a day of one account (pages on limits and points of CJ's documents)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from providers.testing.servers._cjdropshipping.call import NO_POINTS, TOO_MANY, RefusalError

DAY: Final = 86_400.0


class Limits:
    """``qps`` requests within any second, ``points`` a day; None: no limit.

    Points refill evenly, ``points`` in a day, and are full again at 00:00 UTC. A call that was let in costs, whatever
    becomes of it; one that was refused here does not.
    """

    def __init__(self, clock: Callable[[], float], *, qps: int | None, points: int | None) -> None:
        self._clock = clock
        self.qps, self.points = qps, points
        self.clear()

    def clear(self) -> None:
        """As on the first morning."""
        self._recent: deque[float] = deque()
        self._left = float(self.points or 0)
        self._used = 0
        self._seen = self._clock()

    def admit(self, cost: int) -> None:
        """Let a call in, or refuse it."""
        now = self._clock()
        if self.qps is not None:
            while self._recent and self._recent[0] <= now - 1.0:
                self._recent.popleft()
            if len(self._recent) >= self.qps:
                raise RefusalError(TOO_MANY, f"Too Many Requests, QPS limit is {self.qps} time/1second")
            self._recent.append(now)
        if self.points is None or not cost:
            return
        self._refill(now, self.points)
        if self._left < cost:
            words = f"Used today: {self._used}, Remaining: {int(self._left)}, Required: {cost}"
            raise RefusalError(NO_POINTS, f"Insufficient API points. {words}")
        self._left -= cost
        self._used += cost

    def shown(self) -> Mapping[str, int] | None:
        """``pointsInfo``; None without points."""
        if self.points is None:
            return None
        return {"usedToday": self._used, "remaining": int(self._left), "total": self.points}

    def _refill(self, now: float, points: int) -> None:
        if datetime.fromtimestamp(now, UTC).date() != datetime.fromtimestamp(self._seen, UTC).date():
            self._left, self._used = float(points), 0
        else:
            self._left = min(float(points), self._left + (now - self._seen) * points / DAY)
        self._seen = now
