"""Lists, page by page: after or before an id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from providers.testing.servers._anthropic.call import invalid
from providers.testing.servers._host import JsonObject

DEFAULT: Final = 20
MOST: Final = 1_000
_KNOWN: Final = frozenset({"limit", "after_id", "before_id", "beta"})


def page(items: Sequence[JsonObject], query: Mapping[str, str]) -> JsonObject:
    """One page of a list."""
    for name in query:
        if name not in _KNOWN:
            raise invalid(f"{name}: Extra inputs are not permitted")
    limit = _limit(query.get("limit"))
    after, before = query.get("after_id"), query.get("before_id")
    if after is not None and before is not None:
        raise invalid("after_id and before_id cannot both be given")
    names = [item["id"] for item in items]
    for field, wanted in (("after_id", after), ("before_id", before)):
        if wanted is not None and wanted not in names:
            raise invalid(f"{field}: no such object: {wanted}")
    start, end = 0, len(items)
    if after is not None:
        start = names.index(after) + 1
    if before is not None:
        end = names.index(before)
        start = max(end - limit, 0)
        more = start > 0
    else:
        more = end - start > limit
        end = min(start + limit, end)
    shown = [*items[start:end]]
    return {
        "data": [*shown],
        "has_more": more,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
    }


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT
    if not text.isdecimal():
        raise invalid("limit: Input should be a valid integer, unable to parse string as an integer")
    if not 1 <= int(text) <= MOST:
        raise invalid(f"limit: Input should be between 1 and {MOST}")
    return int(text)
