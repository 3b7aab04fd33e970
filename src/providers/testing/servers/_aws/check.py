"""The vendor's own service models (botocore: sesv2 2019-09-27, sns 2010-03-31), which every request and reply must fit.

Values stay JSON: blobs are base64 text, timestamps are seconds since the epoch.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Final, cast

import botocore.session

from providers.testing.servers._host import Json, JsonObject

if TYPE_CHECKING:
    from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StringShape, StructureShape

Check = Callable[[Json, str, list[str]], None]
Find = Callable[[str], Check]

_NUMBERS: Final = {"integer", "long", "float", "double"}


class InvalidError(Exception):
    """A request that does not fit the model; the text is as the vendor words it."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(f"{len(problems)} validation error{'s' * (len(problems) > 1)} detected: {'; '.join(problems)}")


def text(source: JsonObject, name: str) -> str:
    """A text member, ``""`` when absent."""
    value = source.get(name)
    return value if isinstance(value, str) else ""


def texts(source: JsonObject, name: str) -> list[str]:
    """A list of texts."""
    value = source.get(name)
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def sub(source: JsonObject, name: str) -> JsonObject:
    """A structure, empty when absent."""
    value = source.get(name)
    return value if isinstance(value, dict) else {}


def subs(source: JsonObject, name: str) -> list[JsonObject]:
    """A list of structures."""
    value = source.get(name)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def failed(path: str, constraint: str) -> str:
    """A problem, as the vendor words it."""
    return f"Value at '{path}' failed to satisfy constraint: {constraint}"


def _sizes(shape: Shape, what: str) -> Callable[[float, str, list[str]], None] | None:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if least is None and most is None:
        return None

    def check(size: float, path: str, problems: list[str]) -> None:
        if least is not None and size < least:
            problems.append(failed(path, f"Member must have {what} greater than or equal to {least}"))
        if most is not None and size > most:
            problems.append(failed(path, f"Member must have {what} less than or equal to {most}"))

    return check


def _structure(shape: StructureShape, find: Find, *, strict: bool) -> Check:
    members = {name: (member, name[:1].lower() + name[1:]) for name, member in shape.members.items()}
    checks = {name: find(member.name) for name, (member, _) in members.items()}
    required = tuple(shape.required_members)
    union = bool(shape.metadata.get("union"))

    def check(value: Json, path: str, problems: list[str]) -> None:
        if not isinstance(value, dict):
            problems.append(failed(path, "Member must be a structure"))
            return
        before = f"{path}." if path else ""
        for name, inner in value.items():
            known = members.get(name)
            if known is None:
                if strict:
                    problems.append(failed(before + name, "Member is not known"))
            elif inner is not None:
                checks[name](inner, before + known[1], problems)
        for name in required:
            if value.get(name) is None:
                problems.append(failed(before + members[name][1], "Member must not be null"))  # noqa: PERF401 - hot
        if union and len([inner for inner in value.values() if inner is not None]) != 1:
            problems.append(failed(path, "Exactly one member must be set"))

    return check


def _list(shape: ListShape, find: Find) -> Check:
    inner, sizes = find(shape.member.name), _sizes(shape, "length")

    def check(value: Json, path: str, problems: list[str]) -> None:
        if not isinstance(value, list):
            problems.append(failed(path, "Member must be a list"))
            return
        if sizes is not None:
            sizes(len(value), path, problems)
        for index, each in enumerate(value, 1):
            inner(each, f"{path}.{index}.member", problems)

    return check


def _map(shape: MapShape, find: Find) -> Check:
    key, inner = find(shape.key.name), find(shape.value.name)
    sizes = _sizes(shape, "length")
    options = frozenset(cast("Sequence[str]", shape.metadata.get("enum", ())))  # the model has those of keys here

    def check(value: Json, path: str, problems: list[str]) -> None:
        if not isinstance(value, dict):
            problems.append(failed(path, "Member must be a map"))
            return
        if sizes is not None:
            sizes(len(value), path, problems)
        for name, each in value.items():
            key(name, f"{path}.key", problems)
            if options and name not in options:
                problems.append(failed(f"{path}.key", f"Member must satisfy enum value set: {sorted(options)}"))
            inner(each, f"{path}.{name}.member", problems)

    return check


def _string(shape: StringShape) -> Check:
    pattern, options = shape.metadata.get("pattern"), frozenset(shape.enum)
    fits = re.compile(pattern) if isinstance(pattern, str) else None
    sizes = _sizes(shape, "length")

    def check(value: Json, path: str, problems: list[str]) -> None:
        if not isinstance(value, str):
            problems.append(failed(path, "Member must be a string"))
            return
        if sizes is not None:
            sizes(len(value), path, problems)
        if fits is not None and fits.fullmatch(value) is None:
            problems.append(failed(path, f"Member must satisfy regular expression pattern: {pattern}"))
        if options and value not in options:
            problems.append(failed(path, f"Member must satisfy enum value set: [{', '.join(sorted(options))}]"))

    return check


def _scalar(shape: Shape) -> Check:
    kind = shape.type_name
    sizes = _sizes(shape, "value") if kind in _NUMBERS else None

    def check(value: Json, path: str, problems: list[str]) -> None:
        if kind == "boolean":
            fits = isinstance(value, bool)
        elif kind == "blob":
            fits = isinstance(value, str) and _is_base64(value)
        elif kind in ("integer", "long"):
            fits = isinstance(value, int) and not isinstance(value, bool)
        else:
            fits = isinstance(value, int | float) and not isinstance(value, bool)
        if not fits:
            problems.append(failed(path, f"Member must be a {kind}"))
        elif sizes is not None and isinstance(value, int | float):
            sizes(value, path, problems)

    return check


def _is_base64(value: str) -> bool:
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


class Model:
    """One service: what its operations take and give. ``strict``: members the model does not have are refused."""

    def __init__(self, service: str, *, strict: bool = True) -> None:
        self.service: ServiceModel = _service(service)
        self._strict = strict
        self._checks: dict[tuple[str, bool], Check] = {}

    def operation(self, name: str) -> OperationModel:
        """An operation; ``KeyError`` when there is none."""
        return _operation(self.service, name)

    def errors(self, name: str) -> frozenset[str]:
        """The codes of the errors that an operation declares."""
        return frozenset(_code(shape) for shape in self.operation(name).error_shapes)

    def check(self, shape: Shape, value: Json, *, strict: bool) -> list[str]:
        """What does not fit."""
        problems: list[str] = []
        self._find(shape.name, strict=strict)(value, "", problems)
        return problems

    def check_reply(self, name: str, value: JsonObject) -> list[str]:
        """What of a reply does not fit; a reply that has no shape must be empty."""
        shape = self.operation(name).output_shape
        if shape is None:
            return ["there is no reply"] if value else []
        return self.check(shape, value, strict=True)

    def accept(self, name: str, value: JsonObject) -> JsonObject:
        """The parameters, without nulls; raises `InvalidError`."""
        shape = self.operation(name).input_shape
        problems = self.check(shape, value, strict=self._strict) if shape is not None else []
        if problems:
            raise InvalidError(problems)
        return value

    def _find(self, name: str, *, strict: bool) -> Check:
        if (name, strict) in self._checks:
            return self._checks[name, strict]
        # A shape may contain itself, so what is being built is reached by its name.
        self._checks[name, strict] = partial(self._later, name, strict)
        built = self._build(self.service.shape_for(name), strict=strict)
        self._checks[name, strict] = built
        return built

    def _later(self, name: str, strict: bool, value: Json, path: str, problems: list[str]) -> None:  # noqa: FBT001
        self._checks[name, strict](value, path, problems)

    def _build(self, shape: Shape, *, strict: bool) -> Check:
        def find(name: str) -> Check:
            return self._find(name, strict=strict)

        if shape.type_name == "structure":
            return _structure(cast("StructureShape", shape), find, strict=strict)
        if shape.type_name == "list":
            return _list(cast("ListShape", shape), find)
        if shape.type_name == "map":
            return _map(cast("MapShape", shape), find)
        return _string(cast("StringShape", shape)) if shape.type_name == "string" else _scalar(shape)


def _code(shape: Shape) -> str:
    error = cast("Mapping[str, object]", shape.metadata.get("error", {}))
    return str(error.get("code", shape.name))


@cache
def _service(name: str) -> ServiceModel:
    return botocore.session.get_session().get_service_model(name)


@cache
def _operation(service: ServiceModel, name: str) -> OperationModel:
    if name not in service.operation_names:
        raise KeyError(name)
    return service.operation_model(name)
