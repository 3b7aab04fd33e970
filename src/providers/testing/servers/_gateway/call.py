"""How the gateway's framework (FastAPI, Starlette, pydantic) reads a request and refuses one, byte for byte."""

from __future__ import annotations

import json
import secrets
import uuid
from typing import Final, TypeVar
from urllib.parse import parse_qsl

from aiohttp import web
from pydantic import BaseModel, ValidationError

from providers.testing.servers._gateway.shapes import Body
from providers.testing.servers._host import Json, JsonObject

KEY_HEADER: Final = "X-Service-Key"

M = TypeVar("M", bound=BaseModel)


class RefusalError(Exception):
    """An error reply: ``{"detail": ...}``, words or the list of what is wrong."""

    def __init__(self, status: int, detail: str | list[Json]) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail

    def response(self) -> web.Response:
        """The reply; a plain 500 where the list quotes what JSON cannot hold (NaN, half a character)."""
        return reply({"detail": self.detail}, self.status)


class CrashError(Exception):
    """What the gateway does not catch: Redis or the database is down, or cannot take it."""

    @staticmethod
    def response() -> web.Response:
        """The reply, which is not JSON."""
        return stamped(web.Response(status=500, text="Internal Server Error", content_type="text/plain"))


def reply(value: Json, status: int = 200) -> web.Response:
    """JSON as Starlette writes it, or the 500 when it cannot."""
    try:
        body = _encoded(value)
    except (ValueError, RecursionError):
        return CrashError.response()
    return stamped(web.Response(status=status, body=body, content_type="application/json"))


def _encoded(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def stamped(response: web.Response) -> web.Response:
    """With the id that every reply has."""
    response.headers["x-request-id"] = str(uuid.uuid4())
    return response


def read(request: web.Request, body: bytes, model: type[M], *, key: str | None) -> M:
    """What a route asks for, from the body or the query. ``key=None`` for routes that need none.

    Broken JSON is refused before the key is looked at, a wrong key before the fields; a missing key together with
    them. Raises `RefusalError`, and `CrashError` for half a character or NaN, which the checks let pass.
    """
    value = (
        _parsed(request, body)
        if issubclass(model, Body)
        else dict(parse_qsl(request.query_string, keep_blank_values=True))
    )
    problems = [] if key is None else _check_key(request, key)
    place = "body" if issubclass(model, Body) else "query"
    if place == "body" and not body:
        raise RefusalError(422, [*problems, _missing(None, "body")])
    try:
        found = model.model_validate(value, from_attributes=True)
    except ValidationError as error:
        raise RefusalError(422, [*problems, *_listed(error, place)]) from None
    if problems:
        raise RefusalError(422, problems)
    try:
        _encoded(found.model_dump())
    except ValueError:  # passes as text or number, and neither the database nor the vendor's client takes it
        raise CrashError from None
    return found


def _parsed(request: web.Request, body: bytes) -> Json:
    kind = request.content_type
    try:
        if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
            return body.decode()
        value: Json = json.loads(body) if body else None
    except json.JSONDecodeError as error:
        shown: JsonObject = {
            "type": "json_invalid",
            "loc": ["body", error.pos],
            "msg": "JSON decode error",
            "input": {},
            "ctx": {"error": error.msg},
        }
        raise RefusalError(422, [shown]) from None
    except (ValueError, RecursionError):
        raise RefusalError(400, "There was an error parsing the body") from None
    return value


def _check_key(request: web.Request, key: str) -> list[Json]:
    given = request.headers.get(KEY_HEADER)
    if given is None:
        return [_missing(None, "header", KEY_HEADER.lower())]
    if not secrets.compare_digest(given.encode("utf-8", "surrogateescape"), key.encode()):
        raise RefusalError(401, "Invalid service key")
    return []


def _missing(value: Json, *loc: str) -> JsonObject:
    return {"type": "missing", "loc": [*loc], "msg": "Field required", "input": value}


def _listed(error: ValidationError, place: str) -> list[Json]:
    return [
        {**problem, "loc": [place, *problem["loc"]]}  # type: ignore[dict-item]  # what came as JSON goes as JSON
        for problem in error.errors(include_url=False)
    ]
