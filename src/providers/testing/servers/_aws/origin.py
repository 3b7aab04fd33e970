"""The account that things belong to, and times as Amazon writes them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Origin:
    """An account in one region."""

    account_id: str
    region: str

    def arn(self, service: str, name: str) -> str:
        """An ARN of this account."""
        return f"arn:aws:{service}:{self.region}:{self.account_id}:{name}"


def stamp(moment: float) -> str:
    """ISO 8601 with milliseconds."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
