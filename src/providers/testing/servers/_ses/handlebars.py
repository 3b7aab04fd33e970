"""Templates as SES renders them, which is nearly Handlebars ("Advanced email personalization", SES developer guide).

Values are **not** HTML-escaped, in ``{{name}}`` no more than in ``{{{name}}}``; that page says: "SES doesn't escape
HTML content when rendering the HTML template for a message." A variable that the data does not have fails the
rendering, except as the argument of a block. Templates given inside a request know "only simple substitutions" (model
of ``Template.TemplateContent``): ``simple=True`` refuses all but ``{{name}}``. Known here: nested paths, ``this``,
``../``, ``@index @key @first @last @root``, ``if unless each with``, ``else``, comments, inline partials, ``~``.
Lines that hold nothing but a block's tag stay as empty lines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from providers.testing.servers._host import Json, JsonObject

_TAG: Final = re.compile(
    r"\{\{(?P<left>~?)(?:!--.*?--(?P<r1>~?)\}\}|(?P<raw>\{)(?P<three>[^{}]*?)\}(?P<r2>~?)\}\}"
    r"|(?P<two>[^{}]*?)(?P<r3>~?)\}\})",
    re.DOTALL,
)
_PATH: Final = re.compile(
    r"(?:\.\./)*(?:@?[^\s!\"#%&'()*+,./;<=>@\[\\\]^`{|}~]+(?:[./][^\s!\"#%&'()*+,./;<=>@\[\\\]^`{|}~]+)*|\.)?"
)
_BLOCKS: Final = ("if", "unless", "each", "with")


class TemplateError(Exception):
    """A template that cannot be read."""


class MissingError(Exception):
    """The data lacks what the template asks for."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Attribute '{name}' is not present in the rendering data.")


@dataclass(slots=True)
class _Scope:
    """Where a name is looked up."""

    this: Json
    parent: _Scope | None = None
    special: JsonObject = field(default_factory=dict[str, Json])
    partials: dict[str, list[_Node]] = field(default_factory=dict[str, "list[_Node]"])

    def inner(self, this: Json, **special: Json) -> _Scope:
        return _Scope(this, self, special, self.partials)


_Node = str | Callable[[_Scope], str]


@dataclass(slots=True)
class _Open:
    """A block that is being read."""

    name: str
    argument: str
    body: list[_Node] = field(default_factory=list[_Node])
    other: list[_Node] | None = None

    @property
    def nodes(self) -> list[_Node]:
        return self.body if self.other is None else self.other


def render(template: str, data: JsonObject, *, simple: bool = False) -> str:
    """The template with the data; raises `TemplateError` or `MissingError`."""
    nodes = parse(template, simple=simple)
    return _run(nodes, _Scope(data))


@lru_cache(maxsize=256)
def parse(template: str, *, simple: bool = False) -> list[_Node]:
    """The template, read; raises `TemplateError`."""
    blocks = [_Open("", "")]
    strip, end = False, 0
    for found in _TAG.finditer(template):
        before = template[end : found.start()]
        before = before.lstrip() if strip else before
        blocks[-1].nodes.append(before.rstrip() if found["left"] else before)
        end, strip = found.end(), bool(found["r1"] or found["r2"] or found["r3"])
        if found["three"] is not None:
            blocks[-1].nodes.append(_variable(found["three"].strip(), simple=simple))
        elif found["two"] is not None:
            _tag(found["two"].strip(), blocks, simple=simple)
    if len(blocks) > 1:
        raise TemplateError(f"the block {blocks[-1].name} is not closed")
    rest = template[end:].lstrip() if strip else template[end:]
    if "{{" in rest:
        raise TemplateError("a tag is not closed")
    return [*blocks[0].body, rest]


def _tag(tag: str, blocks: list[_Open], *, simple: bool) -> None:
    if tag.startswith("!"):
        return
    if simple and tag[:1] in {"#", "/", "^", ">", "&"}:
        raise TemplateError("only simple substitutions are supported in a template given with the request")
    if tag.startswith("#"):
        name, _, argument = tag[1:].strip().partition(" ")
        if name not in _BLOCKS and name != "*inline":
            raise TemplateError(f"the helper {name} is not known")
        if not argument.strip():
            raise TemplateError(f"the helper {name} needs an argument")
        blocks.append(_Open(name, argument.strip()))
    elif tag in {"else", "^"}:
        if len(blocks) == 1 or blocks[-1].other is not None or simple:
            raise TemplateError("else without a block")
        blocks[-1].other = []
    elif tag.startswith("/"):
        block = blocks.pop() if len(blocks) > 1 else _Open("", "")
        if tag[1:].strip() != block.name.removeprefix("*"):
            raise TemplateError(f"{tag} does not close {block.name or 'a block'}")
        blocks[-1].nodes.append(_block(block))
    elif tag.startswith(">"):
        blocks[-1].nodes.append(_partial(tag[1:].strip()))
    else:
        blocks[-1].nodes.append(_variable(tag.removeprefix("&").strip(), simple=simple))


def _partial(name: str) -> _Node:
    def run(scope: _Scope) -> str:
        if name not in scope.partials:
            raise MissingError(name)
        return _run(scope.partials[name], scope)

    return run


def _variable(path: str, *, simple: bool) -> _Node:
    if not path or _PATH.fullmatch(path) is None:
        raise TemplateError(f"{path!r} is not the name of a variable")
    if simple and not re.fullmatch(r"[^./@]+", path):
        raise TemplateError("only simple substitutions are supported in a template given with the request")

    def run(scope: _Scope) -> str:
        known, value = _look_up(path, scope)
        if not known:
            raise MissingError(path)
        return _shown(value)

    return run


def _block(block: _Open) -> _Node:
    if block.name == "*inline":
        name = block.argument.strip("\"'")

        def define(scope: _Scope) -> str:
            scope.partials[name] = block.body
            return ""

        return define
    if _PATH.fullmatch(block.argument) is None:
        raise TemplateError(f"{block.argument!r} is not the name of a variable")

    def run(scope: _Scope) -> str:
        value = _look_up(block.argument, scope)[1]
        if block.name == "each":
            parts = [_run(block.body, inner) for inner in _each(value, scope)]
            return "".join(parts) if parts else _run(block.other or [], scope)
        full = value not in (None, False, 0, "", [])
        if full != (block.name == "unless"):
            return _run(block.body, scope.inner(value) if block.name == "with" else scope)
        return _run(block.other or [], scope)

    return run


def _each(value: Json, scope: _Scope) -> Iterator[_Scope]:
    pairs: list[tuple[str | int, Json]] = []
    if isinstance(value, dict):
        pairs.extend(value.items())
    elif isinstance(value, list):
        pairs.extend(enumerate(value))
    for index, (key, item) in enumerate(pairs):
        special: JsonObject = {"index": index, "key": key, "first": index == 0, "last": index == len(pairs) - 1}
        yield scope.inner(item, **special)


def _run(nodes: list[_Node], scope: _Scope) -> str:
    return "".join([node if isinstance(node, str) else node(scope) for node in nodes])


def _look_up(path: str, scope: _Scope) -> tuple[bool, Json]:
    while path.startswith("../"):
        path, scope = path[3:], scope.parent or scope
    if path.startswith("@"):
        return _special(path[1:], scope)
    value = scope.this
    for step in re.split(r"[./]", path) if path not in {"", "."} else ():
        if step == "this":
            continue
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return False, None
    return True, value


def _special(path: str, scope: _Scope) -> tuple[bool, Json]:
    name, _, rest = path.partition(".")
    current: _Scope | None = scope
    while current is not None:
        if name == "root" and current.parent is None:
            return _look_up(rest, current)
        if name in current.special:
            return True, current.special[name]
        current = current.parent
    return False, None


def _shown(value: Json) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list):
        return ",".join(_shown(each) for each in value)
    return json.dumps(value, ensure_ascii=False)
