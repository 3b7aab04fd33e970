"""What the commands print: JSON for machines, aligned text for people. Nothing from outside reaches a terminal raw."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TextIO, cast

from pydantic import BaseModel, SecretStr
from pydantic_core import PydanticSerializationError, to_jsonable_python

from providers.core.redact import Redactor

if TYPE_CHECKING:
    from providers.core.errors import ProviderError

_redact = Redactor()


def plain(text: str) -> str:
    """The text with control characters spelled out: an address or a vendor's message must not steer a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def say(*lines: str) -> None:
    """Lines for people, on stdout."""
    for line in lines:
        sys.stdout.write(plain(line).rstrip() + "\n")


def note(*lines: str) -> None:
    """Lines for people, on stderr: progress, warnings, what went wrong."""
    for line in lines:
        sys.stderr.write(plain(line).rstrip() + "\n")
    sys.stderr.flush()


def emit(value: object) -> None:
    """One JSON document on stdout, indented."""
    write_json(value, sys.stdout, indent=2)


def emit_line(value: object) -> None:
    """One line of NDJSON on stdout, at once."""
    write_json(value, sys.stdout)
    sys.stdout.flush()


def write_json(value: object, to: TextIO, *, indent: int | None = None) -> None:
    """A JSON document and a line end. ASCII where the stream is not known to take more."""
    ascii_only = (to.encoding or "").lower().replace("-", "") != "utf8"
    to.write(json.dumps(dump(value), ensure_ascii=ascii_only, indent=indent) + "\n")


def dump(value: object, *, secrets: bool = False) -> object:
    """Plain JSON values of a result. Secrets are masked, unless asked for; `.raw` is left out, as in every dump."""
    if isinstance(value, SecretStr):
        return value.get_secret_value() if secrets else str(value)
    if isinstance(value, BaseModel):
        if secrets:
            dumped = cast("dict[str, object]", value.model_dump(mode="json"))
            fields = type(value).model_fields
            return {k: dump(getattr(value, k), secrets=True) if k in fields else v for k, v in dumped.items()}
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # What is not shown in `repr` is no data: a way back to the store, say.
        names = [field.name for field in dataclasses.fields(value) if field.repr]
        return {name: dump(getattr(value, name), secrets=secrets) for name in names}
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        return {str(key): dump(item, secrets=secrets) for key, item in items}
    if isinstance(value, list | tuple | set | frozenset):
        return [dump(item, secrets=secrets) for item in cast("Iterable[object]", value)]
    try:
        return cast("object", to_jsonable_python(value))
    except PydanticSerializationError:
        return str(value)


def table(rows: Iterable[Sequence[str]], *, indent: str = "") -> list[str]:
    """The rows with their columns aligned; the last column runs free."""
    kept = [tuple(plain(cell) for cell in row) for row in rows]
    if not kept:
        return []
    widths = [max(len(row[place]) for row in kept if place < len(row)) for place in range(max(map(len, kept)))]
    lines: list[str] = []
    for row in kept:
        cells = [cell.ljust(widths[place]) for place, cell in enumerate(row[:-1])]
        lines.append((indent + "  ".join([*cells, row[-1]])).rstrip())
    return lines


def shortened(text: str, width: int = 100) -> str:
    """The text on one line, cut where it is too long to read at a glance."""
    one = " ".join(text.split())
    return one if len(one) <= width else one[: width - 3] + "..."


def describe(error: ProviderError) -> dict[str, object]:
    """An error as JSON, with all that helps a machine to go on."""
    return {
        "type": type(error).__name__,
        "message": _redact(str(error)),
        "vendor": error.vendor,
        "operation": error.operation,
        "code": error.code,
        "status": error.status,
        "field": error.field,
        "outcome": error.outcome.value,
        "retryable": error.retryable,
        "retry_after": error.retry_after,
    }


def complain(error: ProviderError, *, as_json: bool) -> None:
    """Say what went wrong: a message on stderr, and with `--json` the error on stdout too."""
    if as_json:
        emit({"error": describe(error)})
    sys.stdout.flush()
    note(f"providers: {_redact(str(error))}")
