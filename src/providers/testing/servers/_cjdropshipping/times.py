"""The three ways in which CJ writes a moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Final

CHINA: Final = timezone(timedelta(hours=8))


def token_date(moment: float) -> str:
    """ISO 8601 with +08:00, as the token calls have it."""
    return datetime.fromtimestamp(int(moment), CHINA).isoformat()


def utc_text(moment: float) -> str:
    """``YYYY-MM-DD HH:MM:SS`` in UTC, as orders have it."""
    return datetime.fromtimestamp(int(moment), UTC).strftime("%Y-%m-%d %H:%M:%S")


def utc_iso(moment: float) -> str:
    """``YYYY-MM-DDTHH:MM:SS.000+00:00``, as products have it."""
    return datetime.fromtimestamp(int(moment), UTC).strftime("%Y-%m-%dT%H:%M:%S.000+00:00")
