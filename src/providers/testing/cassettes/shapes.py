"""The shape of replies, which fields there are and of which types: what a recording is held against a new one by."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from providers.testing.cassettes.files import Body, line_values
from providers.testing.cassettes.match import url_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from providers.testing.cassettes.files import Json, JsonObject, Recording


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which the reply to a request is not what it was.

    Attributes:
        request: `"GET https://..."`.
        path: where in the body, e.g. `"messages[].status"`, of an event `"message_start[].message.id"`; `"status"` and
            `"body"` for the reply itself.
        was, now: the types (or the status); `""` for a field that is not there.

    """

    request: str
    path: str
    was: str
    now: str

    @property
    def kind(self) -> str:
        """`added`, `removed` or `changed`."""
        return "changed" if self.was and self.now else "removed" if self.was else "added"


def compare(old: Recording, new: Recording) -> tuple[list[Difference], int]:
    """The differences, and how many replies were compared: the same requests, in order."""
    waiting: dict[tuple[str, str], deque[JsonObject]] = {}
    for request, response in _pairs(new):
        waiting.setdefault(_key(request), deque()).append(response)
    found: list[Difference] = []
    compared = 0
    for request, response in _pairs(old):
        answers = waiting.get(_key(request))
        if answers:
            compared += 1
            found += _differences(" ".join(_key(request)), response, answers.popleft())
    return list(dict.fromkeys(found)), compared


def _pairs(tape: Recording) -> Iterator[tuple[JsonObject, JsonObject]]:
    for one in tape.interactions:
        yield cast("JsonObject", one["request"]), cast("JsonObject", one["response"])


def _key(request: JsonObject) -> tuple[str, str]:
    return str(request["method"]), url_key(str(request["url"]))


def _differences(request: str, old: JsonObject, new: JsonObject) -> Iterator[Difference]:
    if old["status"] != new["status"]:
        yield Difference(request, "status", str(old["status"]), str(new["status"]))
        return  # another answer altogether
    one, other = Body.of(old), Body.of(new)
    if one.kind != other.kind:
        yield Difference(request, "body", one.kind or "none", other.kind or "none")
    elif one.kind in {"json", "lines"}:
        was, now = shape(_value(one)), shape(_value(other))
        for path in [*was, *(path for path in now if path not in was)]:
            if was.get(path) != now.get(path) and not _unseen(path, was, now):
                yield Difference(request, path or "body", _types(was, path), _types(now, path))


def _value(body: Body) -> Json:
    """What has a shape: of many lines, those of each type, which is what events say of themselves."""
    if body.kind != "lines" or not isinstance(body.value, list):
        return body.value
    found: dict[str, Json] = {}
    for value in line_values(body.value):
        kind = str(value["type"]) if isinstance(value, dict) and "type" in value else "lines"
        cast("list[Json]", found.setdefault(kind, [])).append(value)
    return found


def shape(value: Json) -> dict[str, set[str]]:
    """Path to types; the items of an array count as one."""
    found: dict[str, set[str]] = {}
    todo: list[tuple[str, Json]] = [("", value)]
    while todo:
        path, one = todo.pop(0)
        found.setdefault(path, set()).add(_type(one))
        if isinstance(one, dict):
            todo += [(f"{path}.{name}".removeprefix("."), inner) for name, inner in one.items()]
        elif isinstance(one, list):
            todo += [(f"{path}[]", inner) for inner in one]
    return found


def _unseen(path: str, was: dict[str, set[str]], now: dict[str, set[str]]) -> bool:
    """Whether one side says nothing of a field: the array is empty there, or what holds it is reported itself."""
    for end in range(len(path) - 1, -1, -1):
        parent = path[:end]
        item = path[end:].startswith("[]")
        if (item or path[end] == ".") and (parent in was) != (parent in now):
            return True
        if item and parent in was and parent in now and (path[: end + 2] not in was or path[: end + 2] not in now):
            return True
    return False


def _types(seen: dict[str, set[str]], path: str) -> str:
    return " or ".join(sorted(seen.get(path, ())))


def _type(value: Json) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "text"
    return "array" if isinstance(value, list) else "object"
