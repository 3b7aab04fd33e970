"""How requests become parameters, and values replies: the rest-json and the query protocol, by the vendor's models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, cast
from urllib.parse import parse_qsl, unquote
from xml.sax.saxutils import escape

from providers.testing.servers._aws.check import InvalidError, Model, failed
from providers.testing.servers._host import Json, JsonObject

if TYPE_CHECKING:
    from botocore.model import ListShape, MapShape, ServiceModel, Shape, StructureShape


def _typed(shape: Shape, value: str) -> Json:
    """A text of a path, query or form as its type; as it is when that fails, for the check to refuse."""
    kind = shape.type_name
    try:
        if kind in ("integer", "long"):
            return int(value)
        if kind in ("float", "double"):
            return float(value)
        if kind == "boolean":
            return {"true": True, "false": False}.get(value.lower(), value)
        if kind == "timestamp":
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except ValueError:
        pass
    return value


class RestModel(Model):
    """A rest-json service: operations are found by method and path."""

    def __init__(self, service: str, *, strict: bool = True) -> None:
        super().__init__(service, strict=strict)
        self._paths = _paths(self.service)

    def find(self, method: str, path: str) -> tuple[str, dict[str, str]] | None:
        """The operation of a request, and the decoded parts of its (still encoded) path."""
        segments = path.split("/")
        for wanted, name in self._paths.get((method, len(segments)), ()):
            found: dict[str, str] = {}
            for pattern, segment in zip(wanted, segments, strict=True):
                if pattern.startswith("{") and segment:
                    found[pattern[1:-1]] = unquote(segment)
                elif pattern != segment:
                    break
            else:
                return name, found
        return None

    def read(self, name: str, parts: Mapping[str, str], query: str, body: bytes) -> JsonObject:
        """The parameters of a request; raises `InvalidError`."""
        shape = self.operation(name).input_shape
        members = shape.members if shape is not None else {}
        given: dict[str, list[str]] = {}
        for key, value in parse_qsl(query, keep_blank_values=True):
            given.setdefault(key, []).append(value)
        params: JsonObject = {}
        if body and any("location" not in member.serialization for member in members.values()):
            params = self._body(body)
        for member_name, member in members.items():
            where, wire = member.serialization.get("location"), str(member.serialization.get("name", member_name))
            if where == "uri":
                params[member_name] = _typed(member, parts[wire])
            elif where == "querystring" and wire in given:
                values = given.pop(wire)
                if member.type_name == "list":
                    inner = cast("ListShape", member).member
                    params[member_name] = [_typed(inner, value) for value in values]
                else:
                    params[member_name] = _typed(member, values[-1])
        if given and self._strict:
            raise InvalidError([failed(key, "Member is not known") for key in given])
        return self.accept(name, params)

    def _body(self, body: bytes) -> JsonObject:
        try:
            value: Json = json.loads(body)
        except ValueError:
            raise InvalidError(["Could not parse the request body as JSON"]) from None
        if not isinstance(value, dict):
            raise InvalidError(["The request body must be a JSON object"])
        return _without_nulls(value) if b"null" in body else value


def _without_nulls(value: JsonObject) -> JsonObject:
    """A member that is null is absent."""
    return {name: _each_without_nulls(inner) for name, inner in value.items() if inner is not None}


def _each_without_nulls(value: Json) -> Json:
    if isinstance(value, list):
        return [_each_without_nulls(each) for each in value]
    return _without_nulls(value) if isinstance(value, dict) else value


@cache
def _paths(service: ServiceModel) -> dict[tuple[str, int], list[tuple[tuple[str, ...], str]]]:
    paths: dict[tuple[str, int], list[tuple[tuple[str, ...], str]]] = {}
    for name in service.operation_names:
        http = service.operation_model(name).http
        segments = tuple(str(http["requestUri"]).split("/"))
        paths.setdefault((str(http["method"]), len(segments)), []).append((segments, name))
    for routes in paths.values():  # what is spelled out goes before what is a parameter
        routes.sort(key=lambda route: sum(segment.startswith("{") for segment in route[0]))
    return paths


class QueryModel(Model):
    """A query service: parameters are a form, replies are XML."""

    def read(self, name: str, form: Mapping[str, str]) -> JsonObject:
        """The parameters of a form; raises `InvalidError`."""
        shape = self.operation(name).input_shape
        used = {"Action", "Version"}
        value = _gather(shape, "", form, used) if shape is not None else {}
        left = [key for key in form if key not in used]
        if left and self._strict:
            raise InvalidError([failed(key, "Member is not known") for key in left])
        return self.accept(name, value if isinstance(value, dict) else {})

    def write(self, name: str, value: JsonObject, request_id: str) -> bytes:
        """A reply as XML."""
        shape = self.operation(name).output_shape
        space = self.service.metadata.get("xmlNamespace", "")
        result = ""
        if shape is not None:
            wrapper = str(shape.serialization.get("resultWrapper", f"{name}Result"))
            result = f"<{wrapper}>{_xml(shape, value)}</{wrapper}>"
        meta = f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
        return f'<{name}Response xmlns="{space}">{result}{meta}</{name}Response>'.encode()


def _gather(shape: Shape, prefix: str, form: Mapping[str, str], used: set[str]) -> Json:
    before = f"{prefix}." if prefix else ""
    if shape.type_name == "structure":
        members = cast("StructureShape", shape).members
        found = {name: _gather(member, before + name, form, used) for name, member in members.items()}
        return {name: value for name, value in found.items() if value is not None} or (None if prefix else {})
    if shape.type_name == "list":
        member, several = cast("ListShape", shape).member, list[Json]()
        while (each := _gather(member, f"{before}member.{len(several) + 1}", form, used)) is not None:
            several.append(each)
        return several or None
    if shape.type_name == "map":
        mapped = cast("MapShape", shape)
        key_name = str(mapped.key.serialization.get("name", "key"))
        value_name = str(mapped.value.serialization.get("name", "value"))
        entries: JsonObject = {}
        while (key := f"{before}entry.{len(entries) + 1}.{key_name}") in form:
            used.add(key)
            where = f"{before}entry.{len(entries) + 1}.{value_name}"
            entries[form[key]] = _gather(mapped.value, where, form, used)
        return entries or None
    used.add(prefix)
    return _typed(shape, form[prefix]) if prefix in form else None


def _xml(shape: Shape, value: Json) -> str:
    if shape.type_name == "structure" and isinstance(value, dict):
        members = cast("StructureShape", shape).members
        return "".join(f"<{name}>{_xml(members[name], inner)}</{name}>" for name, inner in value.items())
    if shape.type_name == "list" and isinstance(value, list):
        member = cast("ListShape", shape).member
        return "".join(f"<member>{_xml(member, each)}</member>" for each in value)
    if shape.type_name == "map" and isinstance(value, dict):
        inner = cast("MapShape", shape).value
        entries = ((escape(key), _xml(inner, each)) for key, each in value.items())
        return "".join(f"<entry><key>{key}</key><value>{each}</value></entry>" for key, each in entries)
    if isinstance(value, bool):
        return str(value).lower()
    return escape(str(value))
