"""The list of messages: filters, and pages that are followed by ``next_page_uri``, newest first."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Final
from urllib.parse import urlencode

from providers.testing.servers._host import Fields, JsonObject
from providers.testing.servers._twilio.call import RefusalError
from providers.testing.servers._twilio.check import check_known, read_time, wrong
from providers.testing.servers._twilio.texts import Text

DEFAULT_SIZE: Final = 50
LARGEST_SIZE: Final = 1_000

_FILTERS: Final = ("To", "From", "DateSent", "DateSent<", "DateSent>")
_KNOWN: Final = frozenset((*_FILTERS, "PageSize", "Page", "PageToken"))
_TOKEN: Final = re.compile(r"PA(?P<place>[0-9a-f]{32})", re.ASCII)
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)

Test = Callable[[Text], bool]


def page(
    texts: Sequence[Text], query: Fields, *, path: str, strict: bool, show: Callable[[Text], JsonObject]
) -> JsonObject:
    """One page of an account's texts, which are given oldest first. A token stands for the last text shown."""
    if strict:
        check_known(query, _KNOWN)
    size = _number(query, "PageSize", DEFAULT_SIZE, least=1)
    if size > LARGEST_SIZE:
        raise RefusalError(20007, field="PageSize")
    number, token = _number(query, "Page", 0, least=0), query.get("PageToken", "")
    if number and not token:
        raise wrong("Page", "pages are reached by next_page_uri")
    tests = [_test(name, query[name]) for name in _FILTERS if query.get(name)]
    before = _before(token, len(texts)) if number else len(texts)

    def fits(text: Text) -> bool:
        return not text.deleted and all(test(text) for test in tests)

    older = (texts[place] for place in range(before - 1, -1, -1))
    found = list(islice(filter(fits, older), size + 1))
    shown, more = found[:size], len(found) > size
    filters = [(name, query[name]) for name in _FILTERS if query.get(name)]

    def uri(number: int, token: str | None) -> str:
        pairs = [*filters, ("PageSize", str(size)), ("Page", str(number))]
        return f"{path}?{urlencode([*pairs, ('PageToken', token)] if token else pairs)}"

    start = number * size
    return {
        "messages": [show(text) for text in shown],
        "first_page_uri": uri(0, None),
        "next_page_uri": uri(number + 1, f"PA{shown[-1].place:032x}") if more else None,
        "previous_page_uri": _previous(filter(fits, texts[before:]), size, number, uri),
        "page": number,
        "page_size": size,
        "start": start,
        "end": max(start + len(shown) - 1, 0),
        "uri": uri(number, token or None),
    }


def _previous(newer: Iterable[Text], size: int, number: int, uri: Callable[[int, str | None], str]) -> str | None:
    if not number:
        return None
    if number == 1:
        return uri(0, None)
    edge = next(islice(newer, size, None), None)  # the last text of the page before that one
    return uri(0, None) if edge is None else uri(number - 1, f"PA{edge.place:032x}")


def _before(token: str, count: int) -> int:
    found = _TOKEN.fullmatch(token)
    place = count if found is None else int(found["place"], 16)
    if place >= count:
        raise wrong("PageToken", "not a token of this list")
    return place


def _number(query: Fields, name: str, default: int, *, least: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not text.isdecimal() or int(text) < least:
        raise wrong(name, f"a whole number from {least}")
    return int(text)


def _test(name: str, value: str) -> Test:
    if name == "To":
        return lambda text: text.to == value
    if name == "From":
        return lambda text: text.sender == value
    moment = read_time(value)
    if moment is None:
        raise wrong(name, "YYYY-MM-DD or an ISO 8601 time, GMT")
    by_day = _DAY.fullmatch(value) is not None
    wanted = moment.timestamp()

    def sent(text: Text) -> float | None:
        if text.sent_at is None:
            return None
        return _midnight(text.sent_at) if by_day else float(int(text.sent_at))

    if name == "DateSent<":
        return lambda text: (at := sent(text)) is not None and at <= wanted
    if name == "DateSent>":
        return lambda text: (at := sent(text)) is not None and at >= wanted
    return lambda text: sent(text) == wanted


def _midnight(moment: float) -> float:
    return datetime.fromtimestamp(moment, UTC).replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
