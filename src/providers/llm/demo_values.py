"""Made-up values that fit a JSON Schema, plausible by the names of their fields."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor, inf
from typing import TYPE_CHECKING, TypeAlias, cast

from providers.core.json import to_json
from providers.llm import demo_text
from providers.llm.demo_pattern import matching
from providers.llm.demo_words import Dice, product

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydantic import JsonValue

Schema: TypeAlias = "Mapping[str, JsonValue]"

DEEP = 6
MANY = 400
"""References inside references, and values, after which only what must be there is made."""

ITEMS = 3
TRIES = 60
STEPS = tuple(Fraction(1, 10**places) for places in (2, 3, 6, 12))
FEW_PLACES = tuple(Fraction(1, 10**places) for places in (0, 1, 2, 3, 6))
"""For decimals, whose schema does not tell how many digits they may have."""
BOUNDS = frozenset({"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"})
AS_TEXT = "asText"
"""Of a decimal: the pattern of its text."""
TOLD = frozenset({"title", "description", "examples", "default", "deprecated", "$defs"})
LOWER = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"})
UPPER = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"})


def example(schema: Mapping[str, JsonValue], *, about: str = "", seed: int = 0) -> JsonValue:
    """A value that fits a JSON Schema, about what `about` (a product, or a prompt) names; the same for the same.

    For what pydantic makes of types. Raises `ValueError` where nothing can fit.
    """
    it = product(about)
    return _Maker(schema, it, Dice(it, seed)).make(schema, "")


class _Maker:
    """The making of one value."""

    def __init__(self, root: Schema, it: str, dice: Dice) -> None:
        self._root = root
        self._it = it
        self._dice = dice
        self._open: list[str] = []
        self._inside = 0
        self._made = 0
        self._heights: dict[str, float] | None = None

    def make(self, schema: JsonValue | Schema, name: str) -> JsonValue:
        self._made += 1
        if schema is True:
            schema = {}
        if not isinstance(schema, Mapping):
            msg = "no value fits the schema"
            raise ValueError(msg)  # noqa: TRY004 (it is the schema that is wrong)
        if "$ref" in schema:
            return self._referred(schema, name)
        if "allOf" in schema:
            return self.make(self._merged(schema), name)
        if "const" in schema:
            return schema["const"]
        options = _list(schema.get("enum"))
        if options:
            return self._dice.pick(options)
        for word in ("anyOf", "oneOf"):
            if word in schema:
                return self._one_of(schema, word, name)
        return self._of_type(schema, name)

    def _of_type(self, schema: Schema, name: str) -> JsonValue:
        kinds = schema.get("type") or _kind(schema)
        match next((each for each in kinds if each != "null"), "null") if isinstance(kinds, list) else kinds:
            case "object":
                return self._object(schema, name)
            case "array":
                return self._array(schema, name)
            case "string":
                return self._string(schema, name)
            case "integer":
                return self._number(schema, name, whole=True)
            case "number":
                as_text = schema.get(AS_TEXT)
                if as_text is not None:
                    return self._decimal(schema, name, str(as_text))
                return self._number(schema, name, whole=False)
            case "boolean":
                return self._dice.below(3) > 0
            case "null":
                return None
            case _:
                return demo_text.about(name, self._it, self._dice)

    def _referred(self, schema: Schema, name: str) -> JsonValue:
        ref = str(schema["$ref"])
        inner = ref in self._open
        self._open.append(ref)
        self._inside += inner
        try:
            return self.make(self._resolved(schema), name)
        finally:
            self._open.pop()
            self._inside -= inner

    # What is one of several.

    def _one_of(self, schema: Schema, word: str, name: str) -> JsonValue:
        around = {key: value for key, value in schema.items() if key not in {word, "discriminator", "default"}}
        options = _decimals([each for each in _list(schema[word]) if each is not False])
        filled = [each for each in options if not (isinstance(each, Mapping) and each.get("type") == "null")] or options
        # With null where little is made: it may be what ends the recursion.
        chosen = min(options, key=self._height) if self._sparing else self._dice.pick(filled)
        return self.make(_join(around, chosen) if isinstance(chosen, Mapping) else around, name)

    def _decimal(self, schema: Schema, name: str, pattern: str) -> JsonValue:
        """A number that its text form, which may know of digits and places, takes too."""
        for number in self._numbers(schema, name, STEPS if pattern else FEW_PLACES):
            plain = _plain(number)
            if re.search(pattern, f"{Decimal(str(plain)):f}"):
                return plain
        msg = "no number fits the schema"
        raise ValueError(msg)

    @property
    def _sparing(self) -> bool:
        """Whether only what must be there is made: inside of its own kind, or in something big."""
        return self._inside > 0 or len(self._open) > DEEP or self._made > MANY

    # References, and where they end.

    def _resolved(self, schema: Schema) -> Schema:
        found = self._target(str(schema["$ref"]))
        return _join({key: value for key, value in schema.items() if key not in {"$ref", "default"}}, found)

    def _target(self, ref: str) -> Schema:
        found: JsonValue | Schema = self._root
        for step in ref.removeprefix("#").split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, Mapping) or key not in found:
                msg = f"the schema has no {ref}"
                raise ValueError(msg)
            found = found[key]
        return found if isinstance(found, Mapping) else {}

    def _merged(self, schema: Schema) -> Schema:
        merged: dict[str, JsonValue] = {key: value for key, value in schema.items() if key != "allOf"}
        for each in _list(schema["allOf"]):
            while isinstance(each, Mapping) and "$ref" in each:
                each = cast("dict[str, JsonValue]", self._resolved(each))  # noqa: PLW2901
            if isinstance(each, Mapping):
                merged = _both(merged, self._merged(each) if "allOf" in each else each)
        return merged

    def _height(self, schema: JsonValue | Schema) -> float:
        """How many steps the smallest value has at least."""
        if self._heights is None:
            heights: dict[str, float] = {}
            self._heights = heights
            self._measure(self._root, heights)
        return self._low(schema, self._heights)

    def _measure(self, root: Schema, heights: dict[str, float]) -> None:
        refs = set(cast("list[str]", re.findall(r'"\$ref":"([^"]+)"', to_json(root).decode())))
        heights.update(dict.fromkeys(refs, inf))
        changed = True
        while changed:
            changed = False
            for ref in refs:
                low = self._low(self._target(ref), heights)
                if low < heights[ref]:
                    heights[ref] = low
                    changed = True

    def _low(self, schema: JsonValue | Schema, heights: dict[str, float]) -> float:
        if not isinstance(schema, Mapping):
            return 0
        low: float = 0
        if "$ref" in schema:
            low = 1 + heights.get(str(schema["$ref"]), inf)
        for word in ("anyOf", "oneOf"):
            options = _list(schema.get(word))
            if options:
                low = max(low, min(self._low(each, heights) for each in options))
        needed = [*_list(schema.get("allOf")), *_list(schema.get("prefixItems"))]
        properties = _mapping(schema.get("properties"))
        needed += [properties.get(str(key)) for key in _list(schema.get("required"))]
        if _int(schema.get("minItems")):
            needed.append(schema.get("items"))
        if _int(schema.get("minProperties")):
            needed.append(schema.get("additionalProperties"))
        return max([low, *(1 + self._low(each, heights) for each in needed)])

    # Objects and lists.

    def _object(self, schema: Schema, name: str) -> JsonValue:
        properties = _mapping(schema.get("properties"))
        required = {str(key) for key in _list(schema.get("required"))}
        made: dict[str, JsonValue] = {}
        for key, each in properties.items():
            if key in required or not self._sparing or _tag(each):
                made[key] = self.make(each, key)
        for key in sorted(required - made.keys()):
            made[key] = self.make(schema.get("additionalProperties") or {}, key)
        self._fill(schema, name, made, bool(properties))
        return made

    def _fill(self, schema: Schema, name: str, made: dict[str, JsonValue], fixed: bool) -> None:  # noqa: FBT001
        """Entries under names of our choice: those of a mapping, or as many as there must be."""
        least = _int(schema.get("minProperties")) or 0
        most = _int(schema.get("maxProperties"))
        patterns = _mapping(schema.get("patternProperties"))
        others = schema.get("additionalProperties")
        if others is False and not patterns:
            return
        wanted = least if self._sparing or (fixed and not patterns) or others in (None, True) else max(ITEMS - 1, least)
        if patterns and not self._sparing:
            wanted = max(wanted, ITEMS - 1)
        wanted = wanted if most is None else min(wanted, most)
        pattern, value = next(iter(patterns.items()), ("", others))
        names: Schema = _mapping(schema.get("propertyNames"))
        if pattern:
            names = {"type": "string", "pattern": pattern, **names}
        for number in range(wanted * 4 + TRIES if wanted else 0):
            if len(made) >= wanted:
                break
            key = self.make(names, "key") if names else demo_text.key(name, number)
            if str(key) not in made:
                made[str(key)] = self.make(value if value is not None else {}, str(key) if not names else name)

    def _array(self, schema: Schema, name: str) -> JsonValue:
        first = _list(schema.get("prefixItems"))
        items = schema.get("items", {})
        least = _int(schema.get("minItems")) or 0
        most = _int(schema.get("maxItems"))
        made = [self.make(each, _single(name)) for each in first]
        wanted = least if self._sparing or (first and "items" not in schema) else max(least, len(first) + ITEMS)
        wanted = wanted if most is None else min(wanted, most)
        if items is False:
            wanted = len(first)
        unique = schema.get("uniqueItems") is True
        seen = {_key(each) for each in made} if unique else set[str]()
        for number in range(wanted * 4 + TRIES):
            if len(made) >= wanted:
                break
            value = self.make(items, _single(name))
            if unique and _key(value) in seen:
                value = self._another(items, value, number)
            if not unique or _key(value) not in seen:
                made.append(value)
                seen.add(_key(value)) if unique else None
        return made

    def _another(self, schema: JsonValue, value: JsonValue, number: int) -> JsonValue:
        """A value that is not in a set yet, where chance does not find one."""
        if isinstance(schema, Mapping) and "$ref" in schema:
            schema = cast("dict[str, JsonValue]", self._resolved(schema))
        if not isinstance(schema, Mapping) or "enum" in schema or isinstance(value, bool):
            return value
        if isinstance(value, str) and not {"pattern", "format", "anyOf", "oneOf"} & schema.keys():
            most = _int(schema.get("maxLength"))
            end = str(number + 2)
            base = value if most is None else value[: max(0, most - len(end) - 1)].rstrip()
            return f"{base} {end}" if most is None or len(end) < most else demo_text.letters(number, most)
        if isinstance(value, int | float) and "type" in schema:
            own = schema.get("multipleOf")
            step = Fraction(str(own)) if isinstance(own, int | float) else Fraction(1)
            first, last = _grid(schema, step)
            start = first if first > -inf else (last - MANY if last < inf else 0)
            return _plain((int(start) + number) * step) if start + number <= last else value
        return value

    # Words and numbers.

    def _string(self, schema: Schema, name: str) -> JsonValue:
        least, most = _int(schema.get("minLength")) or 0, _int(schema.get("maxLength"))
        pattern, form = schema.get("pattern"), schema.get("format")
        if isinstance(pattern, str):
            return matching(pattern, least, most, self._dice, demo_text.about(name, self._it, self._dice))
        if schema.get("contentMediaType") == "application/json":
            return to_json(self.make(schema.get("contentSchema") or {}, name)).decode()
        if isinstance(form, str):
            formatted = demo_text.formatted(form, name, self._it, self._dice)
            if formatted is not None:
                return formatted
        text = demo_text.about(name, self._it, self._dice)
        if form == "binary":
            text = text.encode("ascii", "ignore").decode()
        return demo_text.fitted(text, least, most)

    def _number(self, schema: Schema, name: str, *, whole: bool) -> JsonValue:
        for number in self._numbers(schema, name, [Fraction(1)] if whole else STEPS, whole=whole):
            return _plain(number)
        msg = "no number fits the schema"
        raise ValueError(msg)

    def _numbers(
        self, schema: Schema, name: str, steps: Sequence[Fraction], *, whole: bool = False
    ) -> Iterator[Fraction]:
        """Numbers that fit, the most plausible first."""
        own = schema.get("multipleOf")
        if isinstance(own, int | float):
            steps = [Fraction(str(own)) * (Fraction(str(own)).denominator if whole else 1)]
        low, high = demo_text.usual(name, whole=whole)
        for step in steps:
            first, last = _grid(schema, step)
            if first > last:
                continue
            start, end = max(first, ceil(low / step)), min(last, floor(high / step))
            if start > end:
                # What is usual is out of bounds: close to the bound.
                start, end = (first, min(last, first + 9)) if first > -inf else (last - 9, last)
            for around in ((start, end), (max(first, -9), min(last, 9)), (first, first), (last, last)):
                if -inf < around[0] <= around[1] < inf:
                    number = int(around[0]) + self._dice.below(int(around[1]) - int(around[0]) + 1)
                    yield number * step
        bounds = [Fraction(str(value)) for word, value in schema.items() if word in BOUNDS and isinstance(value, float)]
        if len(bounds) == len(("least", "most")) and own is None and not whole:
            yield sum(bounds, Fraction(0)) / 2


def _grid(schema: Schema, step: Fraction) -> tuple[float, float]:
    """The first and the last multiple of a step that is within the bounds."""
    first, last = -inf, inf
    for word, value in schema.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        steps = Fraction(str(value)) / step
        match word:
            case "minimum":
                first = max(first, ceil(steps))
            case "exclusiveMinimum":
                first = max(first, floor(steps) + 1)
            case "maximum":
                last = min(last, floor(steps))
            case "exclusiveMaximum":
                last = min(last, ceil(steps) - 1)
            case _:
                pass
    return first, last


def _plain(number: Fraction) -> int | float:
    return number.numerator if number.denominator == 1 else float(number)


def _list(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []


def _mapping(value: JsonValue) -> Mapping[str, JsonValue]:
    return value if isinstance(value, Mapping) else {}


def _int(value: JsonValue) -> int | None:
    return value if isinstance(value, int) else None


def _key(value: JsonValue) -> str:
    return to_json(value).decode()


def _single(name: str) -> str:
    """What one of many is called."""
    return name[:-3] + "y" if name.endswith("ies") else name.removesuffix("s")


def _kind(schema: Schema) -> str:
    """What a schema is of that says no type."""
    for kind, words in (
        ("object", {"properties", "required", "additionalProperties", "patternProperties"}),
        ("array", {"items", "prefixItems", "minItems"}),
        ("string", {"pattern", "format", "minLength", "maxLength"}),
        ("number", {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}),
    ):
        if words & schema.keys():
            return kind
    return ""


def _tag(schema: JsonValue) -> bool:
    """Whether it is what tells the members of a union apart."""
    return isinstance(schema, Mapping) and ("const" in schema or "enum" in schema)


def _decimals(options: Sequence[JsonValue]) -> list[JsonValue]:
    """What may be a number, or then a text, is a decimal: as text it may be anything but words."""
    found: list[JsonValue] = []
    for each in options:
        before = found[-1] if found else None
        if isinstance(before, dict) and before.get("type") == "number" and _any_text(each):
            found[-1] = {**before, AS_TEXT: _mapping(each).get("pattern", "")}
        else:
            found.append(each)
    return found


def _any_text(schema: JsonValue) -> bool:
    return isinstance(schema, Mapping) and schema.get("type") == "string" and schema.keys() <= {"type", "pattern"}


def _join(around: Schema, inner: Schema) -> Schema:
    """What stands beside a reference or a choice holds as well."""
    around = {key: value for key, value in around.items() if key not in TOLD}
    return _both(around, inner) if around else inner


def _both(left: Schema, right: Schema) -> dict[str, JsonValue]:
    """What both say."""
    merged = dict(left)
    for key, value in right.items():
        mine = merged.get(key)
        if key not in merged:
            merged[key] = value
        elif key in {"properties", "$defs", "patternProperties"}:
            merged[key] = {**_mapping(mine), **_mapping(value)}
        elif key == "required":
            merged[key] = [*_list(mine), *(each for each in _list(value) if each not in _list(mine))]
        elif key == "enum":
            merged[key] = [each for each in _list(mine) if each in _list(value)]
        elif isinstance(mine, int | float) and isinstance(value, int | float) and key in LOWER | UPPER:
            merged[key] = max(mine, value) if key in LOWER else min(mine, value)
        else:
            merged[key] = value
    return merged
