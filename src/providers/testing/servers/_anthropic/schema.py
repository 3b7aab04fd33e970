"""The part of JSON Schema that answers can be held to (what the anthropic library's own schemas keep to)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from providers.testing.servers._anthropic.call import RefusalError, invalid
from providers.testing.servers._host import Json, JsonObject

FORMATS: Final = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
_REFUSED: Final = (
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minLength", "maxLength", "maxItems", "uniqueItems", "prefixItems", "oneOf", "not", "if", "patternProperties"),
    *("minProperties", "maxProperties"),
)
_POINTER: Final = "#/$defs/"


def check_schema(schema: JsonObject, where: str) -> None:
    """Refuse a schema that no answer can be held to."""
    definitions = schema.get("$defs")
    _Check(where, definitions if isinstance(definitions, dict) else {}).look(schema, ())


class _Check:
    def __init__(self, where: str, definitions: Mapping[str, Json]) -> None:
        self._where = where
        self._definitions = definitions
        self._seen: set[str] = set()

    def _wrong(self, problem: str) -> RefusalError:
        return invalid(f"{self._where}: {problem}")

    def look(self, schema: Json, names: tuple[str, ...]) -> None:
        """Check a schema; ``names`` are the definitions it is in."""
        if not isinstance(schema, dict):
            raise self._wrong("a schema must be an object")
        kind = schema.get("type")
        for word in _REFUSED:
            if word in schema:
                raise self._wrong(f"For '{kind or 'any'}' type, property '{word}' is not supported")
        if isinstance(reference := schema.get("$ref"), str):
            self._follow(reference, names)
        if kind == "object" or "properties" in schema:
            self._object(schema, names)
        if kind == "array" and schema.get("minItems", 0) not in (0, 1):
            raise self._wrong("For 'array' type, 'minItems' values other than 0 or 1 are not supported")
        if kind == "string" and schema.get("format", "date") not in FORMATS:
            raise self._wrong(f"For 'string' type, format '{schema['format']}' is not supported")
        if "items" in schema:
            self.look(schema["items"], names)
        for word in ("anyOf", "allOf"):
            for each in _list(schema.get(word)):
                self.look(each, names)
        if not names and not {"type", "$ref", "anyOf", "allOf", "enum", "const"} & schema.keys():
            raise self._wrong("a schema must have a type")

    def _object(self, schema: Mapping[str, Json], names: tuple[str, ...]) -> None:
        if schema.get("additionalProperties") is not False:
            raise self._wrong("For 'object' type, 'additionalProperties' must be explicitly set to false")
        properties = schema.get("properties", {})
        if not isinstance(properties, dict):
            raise self._wrong("'properties' must be an object")
        for each in properties.values():
            self.look(each, names)

    def _follow(self, reference: str, names: tuple[str, ...]) -> None:
        name = reference.removeprefix(_POINTER)
        if not reference.startswith(_POINTER) or name not in self._definitions:
            raise self._wrong(f"the reference '{reference}' leads nowhere")
        if name in names:
            raise self._wrong(f"Circular reference detected: '{reference}'")
        if name not in self._seen:
            self.look(self._definitions[name], (*names, name))
            self._seen.add(name)


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []
