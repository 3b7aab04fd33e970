"""A cassette on disk: one JSON document that people can read and compare.

Bodies stand there as what they are: `json` parsed, `form` by field, `multipart` (of requests) by field with its files,
`lines` of what comes by the line (event streams, JSON lines), `text`, and everything else as `base64`; `gzip` says that
it was compressed. A value that JSON would not give back exactly (a long number, a field twice) stays `text`.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from email.parser import HeaderParser
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias, cast
from urllib.parse import parse_qsl, urlencode

from providers.core.json import to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from email.message import Message
    from pathlib import Path

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = "dict[str, Json]"

_loads: Callable[[bytes], object]
try:
    # A third of the time of the standard library's.
    from orjson import loads as _loads
except ImportError:
    _loads = json.loads

FORMAT = 1
KINDS = ("json", "form", "multipart", "lines", "text", "base64")
LINED = re.compile(r"event-stream|jsonl|ndjson")
"""What is in the content type of a body that comes line by line."""
FIELD = re.compile(r"(?:data|event|id): ?")
"""What begins a line of a server-sent event."""
GZIP = b"\x1f\x8b"
LARGEST_INT = 2**63


class Origin(StrEnum):
    """Who answered when a cassette was recorded: what it can prove."""

    LIVE = "live"
    """The vendor itself."""
    EMULATOR = "emulator"
    """Somebody else's imitation of the vendor."""
    SPEC = "spec"
    """Made from the vendor's documents, our own local servers included: it proves our reading of them."""


class CassetteFormatError(ValueError):
    """A file is no cassette of this format."""


@dataclass(frozen=True, slots=True)
class Body:
    """A body by what it is; `kind` is one of `KINDS`, or `""` where there is none."""

    kind: str
    value: Json = None
    gzipped: bool = False

    def stored(self) -> JsonObject:
        """As the file has it."""
        if not self.kind:
            return {}
        return {**({"gzip": True} if self.gzipped else {}), self.kind: self.value}

    @classmethod
    def of(cls, message: Mapping[str, Json]) -> Body:
        """From a request or response of the file."""
        for kind in KINDS:
            if kind in message:
                return cls(kind, message[kind], message.get("gzip") is True)
        return cls("")

    def content(self) -> bytes:
        """As it goes over the wire. JSON is written anew: the same values, perhaps other spaces.

        `multipart` is not for that: requests are compared, and not sent again.
        """
        value = self.value
        if self.kind == "json":
            data = to_json(value)
        elif self.kind == "form" and isinstance(value, dict):
            data = urlencode(value, doseq=True).encode()
        elif self.kind == "lines" and isinstance(value, list):
            data = "\n".join(map(str, value)).encode()
        elif self.kind == "base64":
            data = base64.b64decode(str(value))
        else:
            data = str(value).encode() if self.kind else b""
        return gzip.compress(data, mtime=0) if self.gzipped else data


def quick_body(data: bytes) -> Body | None:
    """JSON that is probably meant; `read_body` is exact."""
    if data[:1] not in (b"{", b"["):
        return None
    try:
        return Body("json", cast("Json", _loads(data)))
    except ValueError:
        return None


def read_body(content_type: str, data: bytes) -> Body:
    """What a body is, by its content, and by its declared type where the content leaves that open."""
    if not data:
        return Body("")
    if data.startswith(GZIP):
        try:
            inner = read_body(content_type, gzip.decompress(data))
        except (OSError, EOFError, zlib.error):
            return Body("base64", base64.b64encode(data).decode())
        return Body(inner.kind, inner.value, gzipped=True) if inner.kind and not inner.gzipped else _binary(data)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return _binary(data)
    if LINED.search(content_type) and _readable(text):
        return Body("lines", [*text.split("\n")])
    if "json" in content_type or data[:1] in b"{[":
        try:
            return Body("json", exact_json(text))
        except (ValueError, RecursionError):
            pass
    if "x-www-form-urlencoded" in content_type:
        fields = form_fields(text)
        if fields is not None:
            return Body("form", fields)
    return _plain(data)


def read_sent(content_type: str, data: bytes) -> Body:
    """What a request's body is: also a form in parts, without its boundary, which may be another one every time."""
    if content_type.startswith("multipart/form-data"):
        fields = part_fields(content_type, data)
        if fields is not None:
            return Body("multipart", fields)
    return read_body(content_type, data)


def _readable(text: str) -> bool:
    return all(character.isprintable() or character in "\t\r\n" for character in text)


def _binary(data: bytes) -> Body:
    return Body("base64", base64.b64encode(data).decode())


def line_values(lines: Iterable[Json]) -> Iterator[Json]:
    """What those of the lines are that are JSON, or an event's."""
    for line in map(str, lines):
        try:
            value: Json = json.loads(FIELD.sub("", line, count=1))
        except (ValueError, RecursionError):
            continue
        yield value


def form_fields(text: str) -> JsonObject | None:
    """Names to values (a list where a name comes more than once); None for what is no form."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError:
        return None
    return _by_name(pairs)


def part_fields(content_type: str, data: bytes) -> JsonObject | None:
    """Names to values as `form_fields` has them; a file is an object. None for what is no form in parts."""
    boundary = _headers(f"Content-Type: {content_type}").get_boundary("")
    first, *parts = (b"\r\n" + data).split(b"\r\n--" + boundary.encode())
    if not boundary or first or not parts or parts.pop().strip() != b"--":
        return None
    pairs: list[tuple[str, Json]] = []
    for part in parts:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        headers = _headers(head.decode(errors="replace"))
        name, file = headers.get_param("name", header="content-disposition"), headers.get_filename()
        if not isinstance(name, str):
            return None
        value = _plain(content)
        if file is not None:
            pairs.append((name, {"filename": file, "type": str(headers.get("content-type", "")), **value.stored()}))
        else:
            pairs.append((name, value.value if value.kind == "text" else {**value.stored()}))
    return _by_name(pairs)


def _headers(text: str) -> Message:
    return HeaderParser().parsestr(text)


def _plain(data: bytes) -> Body:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return _binary(data)
    return Body("text", text) if _readable(text) else _binary(data)


def _by_name(pairs: Iterable[tuple[str, Json]]) -> JsonObject:
    fields: dict[str, Json] = {}
    for name, value in pairs:
        earlier = fields.get(name)
        if earlier is None:
            fields[name] = value
        elif isinstance(earlier, list):
            earlier.append(value)
        else:
            fields[name] = [earlier, value]
    return fields


def exact_json(text: str) -> Json:
    """The value of a JSON text that can be written again without loss. Raises `ValueError` for any other."""
    value = cast(
        "Json",
        json.loads(
            text,
            parse_float=_exact_float,
            parse_int=_exact_int,
            parse_constant=_no_constant,
            object_pairs_hook=_once_each,
        ),
    )
    try:
        to_json(value)  # half a surrogate pair is no text
    except (TypeError, UnicodeEncodeError) as error:
        msg = "not writable again"
        raise ValueError(msg) from error
    return value


def _exact_float(text: str) -> float:
    value = float(text)
    if Decimal(text) != Decimal(repr(value)):
        msg = "more digits than a float keeps"
        raise ValueError(msg)
    return value


def _exact_int(text: str) -> int:
    if len(text) > 20 or abs(value := int(text)) >= LARGEST_INT:
        msg = "more than 64 bits"
        raise ValueError(msg)
    return value


def _no_constant(text: str) -> Json:
    msg = f"{text} is not JSON"
    raise ValueError(msg)


def _once_each(pairs: list[tuple[str, Json]]) -> JsonObject:
    found = dict(pairs)
    if len(found) != len(pairs):
        msg = "a name twice"
        raise ValueError(msg)
    return found


@dataclass(slots=True)
class Recording:
    """A cassette's contents.

    Attributes:
        origin: who answered.
        recorded: when; replays take this for now.
        vendor, capability, api_version: of what.
        variables: what the vendor's variables were; `"***"` for secrets.
        note: anything a reader should know.
        interactions: `{"request": ..., "response": ...}`, in the order in which requests began.
        webhooks: what the vendor posted meanwhile, byte for byte.

    """

    origin: Origin
    recorded: datetime
    vendor: str
    capability: str
    api_version: str = ""
    variables: dict[str, str] = field(default_factory=dict[str, str])
    note: str = ""
    interactions: list[JsonObject] = field(default_factory=list[JsonObject])
    webhooks: list[JsonObject] = field(default_factory=list[JsonObject])

    def document(self) -> JsonObject:
        """As JSON."""
        document: JsonObject = {
            "format": FORMAT,
            "origin": self.origin.value,
            "recorded": self.recorded.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "vendor": self.vendor,
            "capability": self.capability,
            "api_version": self.api_version,
            "variables": {**self.variables},
            "note": self.note,
            "interactions": [*self.interactions],
        }
        if self.webhooks:
            document["webhooks"] = [*self.webhooks]
        return document

    def text(self) -> str:
        """The file. By the standard library, whatever else is installed: the same everywhere."""
        return json.dumps(self.document(), ensure_ascii=False, indent=2) + "\n"


def read(path: Path) -> Recording:
    """A cassette. Raises `OSError`, and `CassetteFormatError` for a file that is none."""
    data = path.read_bytes()
    try:
        document = cast("dict[str, Json]", _loads(data))
        if document["format"] != FORMAT:
            msg = f"{path}: format {document['format']!r}; this version reads {FORMAT}"
            raise CassetteFormatError(msg)
        return Recording(
            origin=Origin(str(document["origin"])),
            recorded=_moment(str(document["recorded"])),
            vendor=str(document["vendor"]),
            capability=str(document["capability"]),
            api_version=str(document.get("api_version", "")),
            variables=cast("dict[str, str]", document.get("variables", {})),
            note=str(document.get("note", "")),
            interactions=_messages(document["interactions"]),
            webhooks=_messages(document.get("webhooks", [])),
        )
    except CassetteFormatError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        msg = f"{path}: not a cassette ({type(error).__name__}: {error})"
        raise CassetteFormatError(msg) from error


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _messages(found: Json) -> list[JsonObject]:
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        msg = "a list of objects is needed"
        raise TypeError(msg)
    return cast("list[JsonObject]", found)


def find(root: Path) -> list[Path]:
    """The JSON files of a folder, sorted; the file itself where `root` is one."""
    return [root] if root.is_file() else sorted(root.rglob("*.json"))
