"""One call to the local Stripe: what it carries, how it is refused, form bodies with brackets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

if TYPE_CHECKING:
    from providers.testing.servers._stripe.books import Books
    from providers.testing.servers._stripe.shapes import Shape

Obj: TypeAlias = "dict[str, Any]"
"""An object as the API shows it."""

_PARTS = re.compile(r"\[([^\[\]]*)\]")


def is_object(value: object) -> TypeGuard[Obj]:
    """Whether it has members."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Whether it is a list."""
    return isinstance(value, list)


def within(one: object, *path: str) -> Any:  # noqa: ANN401 - any part of an object
    """The member at the end of a path of names; None where there is nothing on the way."""
    for name in path:
        one = one.get(name) if is_object(one) else None
    return one


class RefusalError(Exception):
    """An error reply. With ``kept`` an idempotency key replays it."""

    def __init__(self, status: int, error: Obj, *, headers: dict[str, str] | None = None, kept: bool = True) -> None:
        super().__init__(error.get("message"))
        self.status = status
        self.error = error
        self.headers = headers or {}
        self.kept = kept


def refused(
    message: str,
    param: str | None = None,
    code: str | None = None,
    *,
    status: int = 400,
    kind: str = "invalid_request_error",
    kept: bool = True,
    **more: object,
) -> RefusalError:
    """A refusal in the vendor's words: ``{"error": {"type", "code", "param", "message"}}``."""
    error: Obj = {"type": kind, "message": message, **more}
    if code is not None:
        error["code"] = code
        error["doc_url"] = "https://stripe.com/docs/error-codes/" + code.replace("_", "-")
    if param is not None:
        error["param"] = param
    return RefusalError(status, error, kept=kept)


def invalid(message: str, param: str | None = None, code: str | None = None) -> RefusalError:
    """A refusal of the parameters: nothing was begun, so no idempotency key remembers it."""
    return refused(message, param, code, kept=False)


def absent(param: str) -> RefusalError:
    """A parameter that is needed."""
    return invalid(f"Missing required param: {param}.", param, "parameter_missing")


def unknown_object(kind: str, name: str, param: str = "id", *, status: int = 404) -> RefusalError:
    """No such object: 404 for the one in the path, 400 for one in the body."""
    return refused(f"No such {kind}: '{name}'", param, "resource_missing", status=status)


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose key was accepted: ``given`` are its parameters, checked and typed."""

    given: Obj
    path: dict[str, str]
    request_id: str
    idempotency_key: str | None = None
    url: str = ""

    @property
    def id(self) -> str:
        """The id in the path."""
        return self.path["id"]


Answer = Callable[["Books", Call], Obj]


@dataclass(frozen=True, slots=True)
class Route:
    """Method, path, what it takes, what answers it."""

    method: str
    path: str
    shape: Shape
    answer: Answer


def decode(pairs: Iterable[tuple[str, str]]) -> Obj:
    """Form pairs as nested values: ``a[b][0]=1`` gives ``{"a": {"b": {"0": "1"}}}``, ``a[]=1`` a list."""
    found: Obj = {}
    for name, value in pairs:
        if "[" not in name:
            found[name] = value
            continue
        head, _, _ = name.partition("[")
        path = [head, *_PARTS.findall(name[len(head) :])]
        _put(found, path, value)
    return found


def _put(into: Obj, path: list[str], value: str) -> None:
    key, rest = path[0], path[1:]
    if not rest:
        into[key] = value
    elif rest[0] == "":
        members = into.setdefault(key, [])
        if not is_list(members):
            raise invalid(f"Invalid array: {key}", key)
        if len(rest) == 1:
            members.append(value)
        else:
            if not members or not is_object(members[-1]) or rest[1] in members[-1]:
                members.append({})
            _put(members[-1], rest[1:], value)
    else:
        inner = into.setdefault(key, {})
        if not is_object(inner):
            raise invalid(f"Invalid object: {key}", key)
        _put(inner, rest, value)
