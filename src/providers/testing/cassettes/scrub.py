"""What may stand in a cassette: headers by allow-list, no secret in any encoding; and a last look at the result."""

from __future__ import annotations

import base64
import binascii
import contextlib
import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from providers.core.redact import MASK, SHAPES, SHORTEST, Redactor, forms
from providers.testing.cassettes.files import FIELD, GZIP, Body, line_values

if TYPE_CHECKING:
    from providers.testing.cassettes.files import Json

REQUEST_HEADERS = frozenset(
    {
        "accept",
        "anthropic-beta",
        "anthropic-version",
        "content-encoding",
        "content-type",
        "idempotency-key",
        "prefer",
        "x-amz-target",
    }
)
RESPONSE_HEADERS = frozenset(
    {
        "content-language",
        "content-type",
        "date",
        "etag",
        "last-modified",
        "link",
        "location",
        "request-id",
        "retry-after",
        "stripe-should-retry",
        "twilio-request-id",
        "x-amzn-errortype",
        "x-amzn-requestid",
        "x-message-id",
        "x-request-id",
    }
)
RATE_HEADERS = re.compile(r"x-rate-?limit-[a-z-]+|ratelimit(-[a-z]+)?")

SECRET_FIELDS = frozenset(
    """accesskey accesstoken apikey appkey appsecret appsecretproof assertion authorization authtoken bearertoken
    clientassertion clientsecret credential credentials idtoken openid passphrase passwd password privatekey pwd
    refreshtoken secret secretaccesskey secretkey securitytoken session sessiontoken sharedsecret sig sign signature
    signingkey signingsecret
    token webhooksecret xamzcredential xamzsecuritytoken xamzsignature""".split()  # noqa: SIM905 (thirty lines otherwise)
)
"""Names of fields and of query parameters whose value never stands in a cassette; letters and digits only."""

FORM_FIELDS = frozenset({"code"})
"""Likewise in forms: there it is what an account's owner agreed with."""

SIGNATURES = frozenset({"sig", "sign", "signature"})
MOMENTS = frozenset({"timestamp"})
"""Likewise in forms that are signed: the moment is another one every time."""

QUERY = re.compile(
    # What a vendor will fill in, `{SESSION_ID}`, is nobody's.
    r"([?&;])([A-Za-z0-9_.%\[\]-]+)=(?!\{[A-Z_]+\}(?:[&;#\s\"'<>]|$))([^&;#\s\"'<>]+)"
)
BASE64 = re.compile(r"[A-Za-z0-9+/_-]{12,}={0,2}")
HEX = re.compile(r"(?:[0-9a-fA-F]{2}){8,}")
ALL_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{16,}|[A-Za-z0-9_-]{16,})={0,2}")
DEPTH = 5
"""Encodings inside encodings that are looked into."""


def secret_name(name: str) -> bool:
    """Whether a field of this name holds a secret; of a form's `a[b][c]`, any part."""
    return any(_plain(part) in SECRET_FIELDS for part in unquote(name).split("["))


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name)).lower()


@dataclass(slots=True)
class Scrubber:
    """Takes secrets out, puts placeholders in for an account's own values, and vendors' hosts for those used instead.

    The same for what is written and for what is looked up: a request with other credentials finds what was recorded.

    Attributes:
        secrets: values that must not be written.
        names: an account's values to placeholders.
        hosts: beginnings of URLs to those of the vendor.

    """

    secrets: set[str] = field(default_factory=set[str])
    names: dict[str, str] = field(default_factory=dict[str, str])
    hosts: dict[str, str] = field(default_factory=dict[str, str])
    _redact: Redactor = field(default_factory=Redactor)
    _pattern: re.Pattern[str] | None = None
    _places: dict[str, str] = field(default_factory=dict[str, str])

    def add(
        self,
        secrets: Iterable[str] = (),
        names: Mapping[str, str] | None = None,
        hosts: Mapping[str, str] | None = None,
    ) -> None:
        """More of them."""
        self.secrets |= {secret for secret in secrets if len(secret) >= SHORTEST}
        self._redact.add(self.secrets)
        self.names |= {old: new for old, new in (names or {}).items() if len(old) >= SHORTEST and old != new}
        # The longer of two that begin alike comes first.
        self.hosts = dict(sorted((self.hosts | dict(hosts or {})).items(), reverse=True))
        for old, new in (self.names | self.hosts).items():
            self._places |= {quote(old, safe=""): quote(new, safe=""), quote_plus(old): quote_plus(new), old: new}
        # All at once, the longest first: what one puts in, another must not replace again.
        longest = sorted(self._places, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest))) if longest else None

    def url(self, url: str) -> str:
        """A URL as the file has it."""
        address, mark, query = self.at_vendor(url).partition("?")
        return self.text(address + mark + "&".join(map(self._pair, query.split("&"))))

    def at_vendor(self, url: str) -> str:
        """The URL at the vendor's own host."""
        for used, real in self.hosts.items():
            if url.startswith(used) and url[len(used) : len(used) + 1] in {"", "/", "?"}:
                return real + url[len(used) :]
        return url

    def text(self, text: str) -> str:
        """A piece of text."""
        if self._pattern is not None:
            text = self._pattern.sub(lambda match: self._places[match[0]], text)
        text = QUERY.sub(lambda match: f"{match[1]}{match[2]}={MASK}" if secret_name(match[2]) else match[0], text)
        return self._redact(text)

    def value(self, value: Json, depth: int = 0) -> Json:
        """A value of JSON: fields by name, texts also where something is encoded in them."""
        if isinstance(value, dict):
            return {
                self.text(name): self._hidden(one, depth) if secret_name(name) else self.value(one, depth)
                for name, one in value.items()
            }
        if isinstance(value, list):
            return [self.value(one, depth) for one in value]
        return self._cleaned(value, depth) if isinstance(value, str) else value

    def data(self, data: bytes, depth: int = 0) -> bytes:
        """Bytes: what is compressed, JSON or text is cleaned as such; in anything else the values themselves."""
        if depth < DEPTH and data.startswith(GZIP):
            try:
                inner = gzip.decompress(data)
            except (OSError, EOFError, zlib.error):
                return data
            clean = self.data(inner, depth + 1)
            return data if clean == inner else gzip.compress(clean, mtime=0)
        try:
            text = data.decode()
        except UnicodeDecodeError:
            for secret in self.secrets:
                for form in forms(secret):
                    data = data.replace(form.encode(), MASK.encode())
            return data
        return self._cleaned(text, depth).encode()

    def body(self, body: Body) -> Body:
        """A body."""
        if body.kind == "base64":
            clean = self.data(base64.b64decode(str(body.value)))
            return Body("base64", base64.b64encode(clean).decode(), body.gzipped)
        if body.kind == "text":
            return Body("text", self._cleaned(str(body.value)), body.gzipped)
        if body.kind == "lines" and isinstance(body.value, list):
            # What goes over several of them first.
            text = self.text("\n".join(map(str, body.value)))
            return Body("lines", [self._line(line) for line in text.split("\n")], body.gzipped)
        value = self.value(body.value)
        if body.kind in {"form", "multipart"} and isinstance(value, dict):
            signed = any(_plain(name) in SIGNATURES for name in value)
            hidden = FORM_FIELDS | MOMENTS if signed else FORM_FIELDS
            value |= {
                name: MASK for name, one in value.items() if one != "" and (secret_name(name) or _plain(name) in hidden)
            }
        return Body(body.kind, value, body.gzipped)

    def request_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Those that may be kept."""
        kept = {name.lower(): value for name, value in headers.items()}
        return {name: self.text(kept[name]) for name in sorted(kept) if name in REQUEST_HEADERS}

    def response_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Those that may be kept."""
        kept = {name.lower(): value for name, value in headers.items()}
        return {
            name: self.text(kept[name])
            for name in sorted(kept)  # libraries hand them over in any order
            if name in RESPONSE_HEADERS or RATE_HEADERS.fullmatch(name)
        }

    def _hidden(self, value: Json, depth: int) -> Json:
        """The value of a secret's field; a number stays one, or a replay could not read it."""
        if isinstance(value, bool) or value == "" or not isinstance(value, str | int | float):
            return self.value(value, depth)
        return MASK if isinstance(value, str) else 0

    def _line(self, line: str) -> str:
        """JSON, or a field of an event that may be some."""
        name = match[0] if (match := FIELD.match(line)) else ""
        return name + self._cleaned(line[len(name) :])

    def _pair(self, pair: str) -> str:
        """A part of a query, in which something may be encoded."""
        name, mark, value = pair.partition("=")
        text = unquote_plus(value)
        clean = self._cleaned(text)
        return pair if clean == text else f"{name}{mark}{quote(clean, safe='*')}"

    def _cleaned(self, text: str, depth: int = 0) -> str:
        """Text that may be, as a whole, JSON or an encoding of something."""
        if depth < DEPTH and text.lstrip()[:1] in {"{", "["}:
            try:
                value: Json = json.loads(text)
            except (ValueError, RecursionError):
                return self.text(text)
            clean = self.value(value, depth + 1)
            return text if clean == value else json.dumps(clean, ensure_ascii=False)
        if depth < DEPTH and ALL_BASE64.fullmatch(text):
            ours = not {"-", "_"} & set(text)
            try:
                data = base64.b64decode(text + "=" * (-len(text) % 4), None if ours else b"-_")
            except (ValueError, binascii.Error):
                return self.text(text)
            if (seen := self.data(data, depth + 1)) != data:
                return (base64.b64encode(seen) if ours else base64.urlsafe_b64encode(seen)).decode()
        return self.text(text)


def leaks(document: Json, secrets: Iterable[str]) -> list[str]:
    """Where a finished cassette still shows a secret, or something shaped like one; never the value itself.

    Looks into URLs, base64, hex, gzip and JSON inside texts, and at what the events of a stream spell together.
    """
    known = {form for secret in secrets if len(secret) >= SHORTEST for form in forms(secret)}
    found: list[str] = []
    for place, text in _texts(document, ""):
        if any(form in text for form in known):
            found.append(f"{place}: a secret of the settings")
        elif SHAPES.search(text):
            found.append(f"{place}: something shaped like a credential")
        else:
            inside = _inside(text, known, 0)
            if inside:
                found.append(f"{place}: {inside}")
    for place, text in _spelled(document, ""):
        if any(form in text for form in known):
            found.append(f"{place}: a secret of the settings, in pieces")
    return found


def _texts(value: Json, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, one in value.items():
            yield f"{place}, a name", name
            yield from _texts(one, f"{place}.{name}".removeprefix("."))
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _texts(one, f"{place}[{number}]")
    elif value is not None:
        yield place, str(value)


def _spelled(value: Json, place: str) -> Iterator[tuple[str, str]]:
    """What bodies of many lines bring piece by piece: each field of their JSON, put together."""
    if isinstance(value, list):
        for number, one in enumerate(value):
            yield from _spelled(one, f"{place}[{number}]")
    elif isinstance(value, dict):
        for name, one in value.items():
            if name != "lines" or not isinstance(one, list):
                yield from _spelled(one, f"{place}.{name}".removeprefix("."))
                continue
            pieces: dict[str, list[str]] = {}
            for line in line_values(one):
                for where, text in _texts(line, ""):
                    pieces.setdefault(where, []).append(text)
            yield from ((f"{place}.lines, {where}", "".join(texts)) for where, texts in pieces.items())


def _inside(text: str, known: set[str], depth: int) -> str:
    """What is found in whatever is encoded in a text; `""` for nothing."""
    for how, data in _decoded(text):
        seen = data
        if data.startswith(GZIP):
            try:
                seen = gzip.decompress(data)
            except (OSError, EOFError, zlib.error):
                continue
        shown = seen.decode(errors="replace")
        if any(form in shown for form in known):
            return f"a secret of the settings, in {how}"
        if SHAPES.search(shown):
            return f"something shaped like a credential, in {how}"
        readable = sum(map(str.isprintable, shown[:200])) >= 0.9 * len(shown[:200])
        if depth < DEPTH and readable and (deeper := _inside(shown, known, depth + 1)):
            return f"{deeper}, in {how}"
    return ""


def _decoded(text: str) -> Iterator[tuple[str, bytes]]:
    if "%" in text:
        yield "a URL", unquote_plus(text).encode("utf-8", "surrogateescape")
    if "\\" in text:
        with contextlib.suppress(ValueError):
            yield "JSON", json.dumps(json.loads(text), ensure_ascii=False).encode("utf-8", "surrogatepass")
    for match in BASE64.finditer(text):
        run = match[0].rstrip("=").replace("-", "+").replace("_", "/")
        # Something may be glued to its front: one of four starts is the right one.
        for start in range(4):
            part = run[start:]
            part = part[: len(part) - (len(part) % 4 == 1)]
            yield "base64", base64.b64decode(part + "=" * (-len(part) % 4))
    for match in HEX.finditer(text):
        yield "hex", bytes.fromhex(match[0])
        yield "hex", bytes.fromhex(match[0][1:-1])
