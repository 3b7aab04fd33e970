"""Billing periods by the calendar: the day of the anchor, or the last of a shorter month."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta

DAY = 86_400


def period_end(anchor: int, start: int, interval: str, count: int) -> int:
    """When the period that begins at ``start`` ends: the first moment of the anchor's cycle after it."""
    if interval in {"day", "week"}:
        length = count * DAY * (7 if interval == "week" else 1)
        return anchor + ((start - anchor) // length + 1) * length
    months = count * (12 if interval == "year" else 1)
    first, begin = _moment(anchor), _moment(start)
    steps = ((begin.year - first.year) * 12 + begin.month - first.month) // months
    end = shifted(anchor, steps * months)
    while end <= start:
        steps += 1
        end = shifted(anchor, steps * months)
    return end


def shifted(moment: int, months: int) -> int:
    """The same day and time some months on; the last day where a month has no such day."""
    at = _moment(moment)
    index = at.year * 12 + at.month - 1 + months
    year, month = divmod(index, 12)
    day = min(at.day, calendar.monthrange(year, month + 1)[1])
    return int(at.replace(year=year, month=month + 1, day=day).timestamp())


def day_name(moment: int) -> str:
    """As invoices write it: ``22 Nov 2026``."""
    at = _moment(moment)
    return f"{at.day} {calendar.month_abbr[at.month]} {at.year}"


def _moment(moment: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(seconds=moment)
