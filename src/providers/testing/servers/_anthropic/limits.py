"""How many requests a minute are taken, for each line of models: a bucket that fills all the time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

from providers.testing.servers._anthropic.call import RefusalError

MINUTE = 60.0


@dataclass(slots=True)
class _Bucket:
    left: float
    moment: float


class Limits:
    """Requests a minute; None: as many as come."""

    def __init__(self, per_minute: int | None) -> None:
        self.per_minute = per_minute
        self._buckets: dict[str, _Bucket] = {}

    def take(self, line: str, now: float) -> dict[str, str]:
        """Count a request; the headers that tell. Raises `RefusalError` when there were too many."""
        most = self.per_minute
        if most is None:
            return {}
        bucket = self._buckets.setdefault(line, _Bucket(float(most), now))
        bucket.left = min(float(most), bucket.left + max(now - bucket.moment, 0.0) * most / MINUTE)
        bucket.moment = now
        taken = bucket.left >= 1 - 1e-9
        if taken:
            bucket.left -= 1
        full = datetime.fromtimestamp(now + (most - bucket.left) * MINUTE / most, UTC)
        headers = {
            "anthropic-ratelimit-requests-limit": str(most),
            "anthropic-ratelimit-requests-remaining": str(max(int(bucket.left + 1e-9), 0)),
            "anthropic-ratelimit-requests-reset": full.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        if taken:
            return headers
        wait = max(math.ceil((1 - bucket.left) * MINUTE / most - 1e-9), 1)
        message = f"This request would exceed the rate limit for your organization of {most} requests per minute."
        raise RefusalError("rate_limit_error", message, headers={**headers, "retry-after": str(wait)})

    def clear(self) -> None:
        """Full again."""
        self._buckets.clear()
