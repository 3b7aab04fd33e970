"""One authenticated call to the local SendGrid, and the shapes of its answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar

from aiohttp import web

from providers.testing.servers._host import Json, JsonObject
from providers.testing.servers._sendgrid.check import problem

T = TypeVar("T")


class RefusalError(Exception):
    """An error reply: ``{"errors": [...]}`` with a status."""

    def __init__(self, status: int, *errors: JsonObject) -> None:
        super().__init__(status)
        self.status = status
        self.errors = errors

    def response(self) -> web.Response:
        """As the wire has it."""
        return web.json_response({"errors": list(self.errors)}, status=self.status)


def refused(status: int, message: str, field: str | None = None) -> RefusalError:
    """A refusal with one error."""
    return RefusalError(status, problem(message, field))


def bad_request() -> RefusalError:
    """The bare 400 that names no field."""
    return refused(HTTPStatus.BAD_REQUEST, "Bad Request")


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose key was accepted."""

    request: web.Request
    body: bytes
    key: str
    scopes: frozenset[str]

    @property
    def subuser(self) -> str | None:
        """The account it acts for (``On-Behalf-Of``)."""
        return self.request.headers.get("On-Behalf-Of")

    def path(self, name: str) -> str:
        """A decoded part of the path."""
        return self.request.match_info[name]

    def json(self) -> Json:
        """The body; a bare 400 when it is no JSON."""
        try:
            value: Json = json.loads(self.body)
        except ValueError:
            raise bad_request() from None
        return value

    def object(self) -> JsonObject:
        """The body as an object."""
        value = self.json()
        if not isinstance(value, dict):
            raise bad_request()
        return value

    def number(self, name: str, default: int, *, least: int = 0, most: int | None = None) -> int:
        """A whole number of the query, within bounds."""
        text = self.request.query.get(name)
        if text is None:
            return default
        if not text.isdecimal() or int(text) < least or (most is not None and int(text) > most):
            raise refused(HTTPStatus.BAD_REQUEST, f"{name} must be a number from {least} to {most}", name)
        return int(text)

    def page(self, found: Sequence[T], default: int, most: int) -> Sequence[T]:
        """The page that ``limit`` and ``offset`` ask for."""
        limit = self.number("limit", default, least=1, most=most)
        offset = self.number("offset", 0)
        return found[offset : offset + limit]


Answer = Callable[[Call], web.Response]
Route = tuple[str, str, str | None, Answer]
"""Method, path, the scope it needs, what answers it."""


def emails(body: JsonObject, name: str) -> list[str]:
    """A required list of addresses."""
    value = body.get(name)
    if not isinstance(value, list):
        raise refused(HTTPStatus.BAD_REQUEST, f"{name} is required", name)
    return [each for each in value if isinstance(each, str)]


def done() -> web.Response:
    """204."""
    return web.Response(status=HTTPStatus.NO_CONTENT)


def reply(value: Json, status: int = HTTPStatus.OK) -> web.Response:
    """A JSON reply."""
    return web.json_response(value, status=status)
