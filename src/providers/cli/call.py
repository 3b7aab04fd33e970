"""Call one operation by hand: the input's keys are the operation's parameters."""

from __future__ import annotations

import asyncio
import collections.abc
import inspect
import json
import sys
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, cast, get_args, get_origin, get_type_hints

from pydantic import AfterValidator, ConfigDict, JsonValue, TypeAdapter, ValidationError

from providers import catalog
from providers.cli.output import dump, emit, emit_line, note, say
from providers.core.errors import ConfigurationError, InvalidRequestError
from providers.core.models import Money, invalid_request
from providers.runtime import Providers
from providers.selection import select
from providers.settings import Settings

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping


EXAMPLES = """\
examples:
  providers call email.domain --input '{"name": "shop.example.com"}'
  providers call email.send --input '{"message": {"to": ["a@example.com"], "subject": "Hi", "text": "Hello"}}'
  providers call email.suppressions --json        one line of JSON for each item of a list
  providers call llm.complete_json --input '{"prompt": "A title for a yoga mat", "schema": "shop.texts:Listing"}'
  providers call email.send --input @order.json   from a file, or from standard input with --input -
"""

NOT_BY_HAND = frozenset({"unwrap"})
"""Public methods that are no operations: it hands out an object."""

LISTS = (collections.abc.Iterable, collections.abc.Sequence, collections.abc.Collection)
NAMES: dict[str, Any] = {
    **{name: value for name, value in vars(collections.abc).items() if isinstance(value, type)},
    "JsonValue": JsonValue,
    "Money": Money,
    "Decimal": Decimal,
    "datetime": datetime,
}
"""What annotations name that their module imports for type checkers only."""


def configure(parser: argparse.ArgumentParser) -> None:
    """What to call, with what."""
    parser.add_argument("operation", metavar="CAPABILITY.OPERATION", help="e.g. email.send")
    parser.add_argument("--input", metavar="JSON", default="{}", help="an object, @FILE, or - for standard input")
    parser.add_argument("--vendor", metavar="V", help="only this one of the vendors in use")
    parser.add_argument("--show-secrets", action="store_true", help="print secrets of the result instead of masking")


def run(options: argparse.Namespace) -> int:
    """Call it and print what comes back."""
    capability, method = _operation(options.operation)
    settings = Settings()
    if options.vendor:
        settings = Settings(vendors={capability: _in_use(settings, capability, options.vendor)})
    arguments = _arguments(options.operation, method, _input(options.input))
    asyncio.run(_call(settings, options, capability, method.__name__, arguments))
    return 0


def operations(capability: str) -> dict[str, Callable[..., object]]:
    """The operations of a capability by name."""
    kind = catalog.load(catalog.capability(capability).api)
    methods = inspect.getmembers(kind, inspect.isfunction)
    return {name: method for name, method in methods if not name.startswith("_") and name not in NOT_BY_HAND}


def _operation(text: str) -> tuple[str, Callable[..., object]]:
    capability, dot, name = text.partition(".")
    if not dot or capability not in catalog.CAPABILITIES:
        everything = [f"{c}.{o}" for c in catalog.CAPABILITIES for o in operations(c)]
        msg = f"there is no operation {text[:60]!r}; valid: {', '.join(everything)}"
        raise ConfigurationError(msg)
    known = operations(capability)
    if name not in known:
        msg = f"{capability} has no operation {name[:60]!r}; valid: {', '.join(known)}"
        raise ConfigurationError(msg)
    return capability, known[name]


def _in_use(settings: Settings, capability: str, vendor: str) -> str:
    used = [facts.vendor for facts in select(settings, capability).vendors]
    if vendor not in used:
        msg = (
            f"--vendor: {vendor[:40]!r} is not in use for {capability}; in use: {', '.join(used) or 'none'}"
            f" (PROVIDER_{capability.upper()} chooses)"
        )
        raise ConfigurationError(msg)
    return vendor


def _input(text: str) -> dict[str, JsonValue]:
    what = "--input"
    try:
        if text == "-":
            what, text = "standard input", sys.stdin.read()
        elif text.startswith("@"):
            what = text[1:]
            text = Path(what).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{what}: cannot be read ({type(error).__name__})"
        raise ConfigurationError(msg) from None
    try:
        value = json.loads(text)
    except ValueError as error:
        msg = f"{what}: not JSON: {error}"
        raise ConfigurationError(msg) from None
    if not isinstance(value, dict):
        msg = f"{what}: a JSON object is needed, its keys the operation's parameters"
        raise ConfigurationError(msg)
    return cast("dict[str, JsonValue]", value)


def _arguments(operation: str, method: Callable[..., object], given: Mapping[str, JsonValue]) -> dict[str, object]:
    """The input, checked and turned into what the operation's annotations ask for."""
    parameters = {k: v for k, v in inspect.signature(method).parameters.items() if k != "self"}
    needed = [name for name, parameter in parameters.items() if parameter.default is inspect.Parameter.empty]
    names = ", ".join(f"{name} (required)" if name in needed else name for name in parameters)
    valid = f"valid: {names or 'none'}"
    for name in given:
        if name not in parameters:
            msg = f"{operation} has no parameter {name[:60]!r}; {valid}"
            raise ConfigurationError(msg)
    lacking = [name for name in needed if name not in given]
    if lacking:
        msg = f"{operation} needs {', '.join(lacking)}; {valid}"
        raise ConfigurationError(msg)
    # Read one by one: an annotation that is not asked for may name what only type checkers can see.
    asked = {name: parameters[name].annotation for name in given}
    holder = type("Arguments", (), {"__annotations__": asked})
    known = _Names(method.__module__.rpartition(".")[0])
    hints = get_type_hints(holder, vars(sys.modules[method.__module__]), known, include_extras=True)
    return {name: _validated(name, hints[name], value) for name, value in given.items()}


class _Names(dict[str, Any]):
    """`NAMES`, and what the capability's package is known to export; that is loaded when it is asked for."""

    def __init__(self, package: str) -> None:
        super().__init__(NAMES)
        self._package = package

    def __missing__(self, name: str) -> object:
        package = sys.modules[self._package]
        if name not in getattr(package, "__all__", ()):
            raise KeyError(name)
        return getattr(package, name)


def _validated(name: str, hint: object, value: JsonValue) -> object:
    try:
        # As JSON: what JSON cannot hold (bytes, moments, tuples) is read from its text.
        config = ConfigDict(val_json_bytes="base64") if hint is bytes else None
        return TypeAdapter(_json_type(hint), config=config).validate_json(json.dumps(value))
    except ValidationError as error:
        problem = invalid_request(error)
    except InvalidRequestError as error:
        problem = error
    text = problem.message
    msg = text if text.startswith(name) else f"{name}.{text}" if problem.field else f"{name}: {text}"
    raise ConfigurationError(msg, field=name)


def _json_type(hint: object) -> Any:  # noqa: ANN401 (an annotation)
    """The type to read from JSON: a list where any (async) iterable will do."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        parts = [part for part in get_args(hint) if get_origin(part) is not collections.abc.AsyncIterable]
        return Union[tuple(_json_type(part) for part in parts)]  # noqa: UP007 (the parts are known here only)
    if origin is type:
        return Annotated[str, AfterValidator(_class)]
    if origin in LISTS:
        (item,) = get_args(hint)
        return list[_json_type(item)]  # type: ignore[misc]
    return hint


def _class(path: str) -> type:
    """What `"package.module:Class"` names. Raises `ValueError`."""
    try:
        found = catalog.load(path)
    except (AttributeError, ImportError, ValueError) as error:
        raise ValueError(f"there is no {path[:80]!r}; write package.module:Class") from error
    if not isinstance(found, type):
        raise ValueError(f"{path[:80]!r} is not a class")  # noqa: TRY004 (pydantic's validators raise this)
    return found


async def _call(
    settings: Settings, options: argparse.Namespace, capability: str, name: str, arguments: dict[str, object]
) -> None:
    async with Providers(settings, capabilities=(capability,)) as p:
        method: Callable[..., object] = getattr(p.capability(capability), name)
        result = method(**arguments)
        if hasattr(result, "__aiter__"):
            await _print_items(options, cast("AsyncIterator[object]", result))
        else:
            if inspect.isawaitable(result):
                result = await cast("Awaitable[object]", result)
            _print_result(options, result)


async def _print_items(options: argparse.Namespace, items: AsyncIterator[object]) -> None:
    count = 0
    async for item in items:
        count += 1
        shown = dump(item, secrets=options.show_secrets)
        if options.json:
            emit_line(shown)
        else:
            emit(shown)
    if not options.json:
        note(f"{count} item{'' if count == 1 else 's'}")


def _print_result(options: argparse.Namespace, result: object) -> None:
    if result is None and not options.json:
        say("done")
        return
    emit(dump(result, secrets=options.show_secrets))
