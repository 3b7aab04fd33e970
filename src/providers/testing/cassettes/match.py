"""Which recorded request is the one that was sent; and if none is, how far off the nearest is."""

from __future__ import annotations

import json
from difflib import SequenceMatcher
from functools import lru_cache, partial
from typing import TYPE_CHECKING, TypeAlias, cast
from urllib.parse import parse_qsl, urlencode, urlsplit

from providers.testing.cassettes.files import Body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from providers.testing.cassettes.files import Json, JsonObject

Key: TypeAlias = tuple[str, str, str, bytes]
"""Method, URL, kind of body, body; equal for requests that ask for the same."""

LINES = 12
"""Differences that are shown."""
LONGEST = 100

_sorted: Callable[[Json], bytes]
try:
    import orjson
except ImportError:
    _encoder = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
    _sorted = lambda value: _encoder.encode(value).encode()  # noqa: E731
else:
    _sorted = partial(orjson.dumps, option=orjson.OPT_SORT_KEYS)


def key_of(method: str, url: str, body: Body) -> Key:
    """The key of a request."""
    if body.kind == "json":
        return method, url_key(url), "json", _sorted(body.value)
    if body.kind in {"form", "multipart"}:
        return method, url_key(url), body.kind, _sorted(body.value)
    return method, url_key(url), body.kind, str(body.value).encode() if body.kind else b""


@lru_cache(4096)
def url_key(url: str) -> str:
    """The URL with its query in order."""
    address, mark, query = url.partition("?")
    return address + mark + urlencode(sorted(parse_qsl(query, keep_blank_values=True))) if mark else address


def nearest(sent: JsonObject, recorded: Sequence[JsonObject]) -> tuple[int, list[str]] | None:
    """The place of the recorded request most like the one that was sent, and the differences."""
    best: tuple[tuple[bool, bool, float, int], int, list[str]] | None = None
    for place, request in enumerate(recorded):
        found = list(differences(request, sent))
        score = (
            request["method"] == sent["method"],
            _path(request) == _path(sent),
            SequenceMatcher(None, str(request["url"]), str(sent["url"])).ratio(),
            -len(found),
        )
        if best is None or score > best[0]:
            best = (score, place, found)
    return None if best is None else (best[1], best[2])


def differences(recorded: JsonObject, sent: JsonObject) -> Iterator[str]:
    """One line each."""
    if recorded["method"] != sent["method"]:
        yield _line("method", recorded["method"], sent["method"])
    there, here = urlsplit(str(recorded["url"])), urlsplit(str(sent["url"]))
    for part, old, new in (
        ("host", f"{there.scheme}://{there.netloc}", f"{here.scheme}://{here.netloc}"),
        ("path", there.path, here.path),
    ):
        if old != new:
            yield _line(part, old, new)
    yield from _compared("query", _fields(there.query), _fields(here.query))
    one, other = Body.of(recorded), Body.of(sent)
    if one.kind != other.kind:
        yield f"body: recorded {one.kind or 'none'}, sent {other.kind or 'none'}"
    else:
        yield from _compared("body", one.value, other.value)
    if one.gzipped != other.gzipped:
        yield f"body: {'recorded' if one.gzipped else 'sent'} compressed"


def shown(lines: list[str]) -> list[str]:
    """As many as one can read."""
    more = len(lines) - LINES
    return [*lines[:LINES], f"and {more} more"] if more > 0 else lines


def _compared(place: str, old: Json, new: Json) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(name for name in new if name not in old)]:
            if name not in new:
                yield f"{place}.{name}: recorded {_short(old[name])}, not sent"
            elif name not in old:
                yield f"{place}.{name}: sent {_short(new[name])}, not recorded"
            else:
                yield from _compared(f"{place}.{name}", old[name], new[name])
    elif isinstance(old, list) and isinstance(new, list):
        for number, (one, other) in enumerate(zip(old, new, strict=False)):
            yield from _compared(f"{place}[{number}]", one, other)
        if len(old) != len(new):
            yield f"{place}: recorded {len(old)} items, sent {len(new)}"
    elif old != new or type(old) is not type(new):
        yield _line(place, old, new)


def _line(place: str, old: Json, new: Json) -> str:
    if isinstance(old, str) and isinstance(new, str) and min(len(old), len(new)) > LONGEST:
        start = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
        start = max(start - 20, 0)
        return f"{place}, from character {start}: recorded {_short(old[start:])}, sent {_short(new[start:])}"
    return f"{place}: recorded {_short(old)}, sent {_short(new)}"


def _short(value: Json) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _path(request: JsonObject) -> str:
    return str(request["url"]).partition("?")[0]


def _fields(query: str) -> JsonObject:
    fields: dict[str, list[Json]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        fields.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else cast("Json", values) for name, values in fields.items()}
