"""One call to the local AliExpress gateway: signature, parameters, and the shapes in which a call is refused."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from enum import StrEnum
from typing import Final, TypeGuard

from providers.testing.servers._aliexpress.countries import CODES
from providers.testing.servers._aliexpress.money import Currency, currency
from providers.testing.servers._host import Json, JsonObject, parse_query

ILLEGAL_ACCESS_TOKEN: Final = "IllegalAccessToken"  # noqa: S105 - the name of an error
ILLEGAL_REFRESH_TOKEN: Final = "IllegalRefreshToken"  # noqa: S105 - same

ERRORS: Final[Mapping[str, tuple[str, str, str]]] = {
    "ApiCallLimit": ("ISV", "Api access frequency exceeds the limit. this ban will last 1 seconds", ""),
    ILLEGAL_ACCESS_TOKEN: ("ISV", "The specified access token is invalid or expired", ""),
    ILLEGAL_REFRESH_TOKEN: ("ISV", "The specified refresh token is invalid or expired", ""),
    "IncompleteSignature": ("ISV", "The request signature does not conform to platform standards", ""),
    "InvalidAppKey": ("ISV", "The specified App Key is invalid", ""),
    "InsufficientPermission": ("ISV", "The application has no permission to call this API", ""),
    "MissingParameter": ("ISV", "A mandatory input parameter is not supplied", ""),
    "InvalidParameter": ("ISV", "An input parameter is not valid", ""),
    "InvalidApiPath": ("ISV", "The specified API path is invalid", ""),
    "7": ("ISV", "App Call Limited", "accesscontrol.limited-by-api-access-count"),
    "11": ("ISV", "Insufficient isv permissions", "isv.permission-api-package-limit"),
    "12": ("ISV", "Insufficient user permissions", "isv.permission-user-limit"),
    "15": ("ISP", "Remote service error", "isp.remote-service-error"),
    "25": ("ISV", "Invalid signature", ""),
    "27": ("ISV", "Invalid session", ""),
    "29": ("ISV", "Invalid app Key", ""),
    "40": ("ISV", "Missing required arguments", ""),
    "41": ("ISV", "Invalid arguments", ""),
}
"""Code: type, words, sub code. Where the sheet and samples have none, they are ours."""


class Shape(StrEnum):
    """The envelope of a refusal; HTTP says 200 around each."""

    WRAPPED = "error_response"
    ROOT = "root"
    TOP = "top"
    """The old style: a numeric code with ``sub_code`` and ``sub_msg``."""


class RefusalError(Exception):
    """The gateway does not pass the call on."""

    def __init__(
        self, code: str, message: str = "", *, sub_code: str = "", sub_msg: str = "", shape: Shape | None = None
    ) -> None:
        super().__init__(code)
        self.code = code
        self.type, words, usual = ERRORS.get(code, ("ISV", code, ""))
        self.message = message or words
        self.sub_code = sub_code or usual
        self.sub_msg = sub_msg or ("Backend service did not answer" if self.sub_code == ERRORS["15"][2] else "")
        self.shape = shape or (Shape.TOP if code.isdecimal() else Shape.WRAPPED)

    def body(self, request_id: str, trace_id: str) -> JsonObject:
        """As the wire has it."""
        if self.shape is Shape.ROOT:
            return {"type": self.type, "code": self.code, "message": self.message, "request_id": request_id}
        shown: JsonObject = {} if self.shape is Shape.TOP else {"type": self.type}
        shown |= {"code": self.code, "msg": self.message}
        if self.sub_code:
            shown |= {"sub_code": self.sub_code, "sub_msg": self.sub_msg or self.sub_code}
        return {"error_response": {**shown, "request_id": request_id, "_trace_id_": trace_id}}


class FailureError(Exception):
    """A method's own failure: the gateway answers, the payload says no, each method in its own words."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.message = message or code


def missing(name: str) -> RefusalError:
    """A parameter that is needed."""
    words = f'The input parameter "{name}" that is mandatory for processing this request is not supplied'
    return RefusalError("MissingParameter", words)


def wrong(name: str, why: str) -> RefusalError:
    """A parameter that is no good."""
    return RefusalError("InvalidParameter", f'The input parameter "{name}" is not valid: {why}')


def sign(secret: str, pairs: Iterable[tuple[str, str]], path: str = "") -> str:
    """Upper-case hex of HMAC-SHA256 over ``path`` and the pairs, sorted by name, joined without anything between.

    ``path`` is empty for /sync. ``sign`` itself is left out.
    """
    ordered = sorted(
        ((name.encode(), value.encode()) for name, value in pairs if name != "sign"), key=lambda pair: pair[0]
    )
    text = path.encode() + b"".join(name + value for name, value in ordered)
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest().upper()


class Params:
    """Named values: of a form, or of a JSON object in one. ``prefix`` is put before a name in complaints.

    Every reader raises ``RefusalError``: MissingParameter for what is needed, InvalidParameter for what is wrong.
    """

    def __init__(self, values: Mapping[str, Json], prefix: str = "", *, strict: bool = True) -> None:
        self.values = values
        self.strict = strict
        self._prefix = prefix

    def name(self, name: str) -> str:
        """The name as complaints have it."""
        return self._prefix + name

    def only(self, *names: str) -> None:
        """Refuse every other name, if ``strict``."""
        for name in self.values:
            if self.strict and name not in names:
                raise wrong(self.name(name), "unknown parameter")

    def get(self, name: str, default: str = "") -> str:
        """A text; numbers will do."""
        value = self.values.get(name)
        if value is None or value == "":
            return default
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise wrong(self.name(name), "a text")
        return str(value)

    def need(self, name: str) -> str:
        """A text that is there."""
        value = self.get(name)
        if not value:
            raise missing(self.name(name))
        return value

    def need_text(self, name: str) -> str:
        """A text that is there, and really one."""
        value = self.need(name)
        if not isinstance(self.values[name], str):
            raise wrong(self.name(name), "a string")
        return value

    def number(self, name: str, default: int | None = None, *, least: int = 1, most: int = 2**63) -> int:
        """A whole number; needed without a default."""
        text = self.need(name) if default is None else self.get(name, str(default))
        if not (text.isascii() and text.isdecimal() and least <= int(text) <= most):
            raise wrong(self.name(name), f"a whole number from {least} to {most}")
        return int(text)

    def word(self, name: str, *words: str, default: str | None = None) -> str:
        """One of some words; needed without a default."""
        text = self.need(name) if default is None else self.get(name, default)
        if text not in words:
            raise wrong(self.name(name), f"one of {' '.join(words)}")
        return text

    def country(self, name: str) -> str:
        """An ISO 3166 code of two capital letters."""
        code = self.need(name)
        if code not in CODES:
            raise wrong(self.name(name), "a country's two letters")
        return code

    def currency(self, name: str, default: str | None = None) -> Currency:
        """A currency that prices can be had in."""
        code = self.need(name) if default is None else self.get(name, default)
        found = currency(code)
        if found is None:
            raise wrong(self.name(name), "a currency")
        return found

    def language(self, name: str, default: str | None = None) -> str:
        """``en`` or ``en_US``."""
        text = self.need(name) if default is None else self.get(name, default)
        short, _, country = text.partition("_")
        if len(short) != 2 or not short.isalpha() or not text.isascii() or (country and country not in CODES):
            raise wrong(self.name(name), "a language such as en_US")
        return text

    def inner(self, name: str) -> Params:
        """The JSON object that a text holds."""
        text = self.need(name)
        try:
            value: Json = json.loads(text)
        except ValueError:
            value = None
        if not is_object(value):
            raise wrong(self.name(name), "a JSON object")
        return Params(value, f"{self.name(name)}.", strict=self.strict)

    def child(self, name: str) -> Params:
        """A member that is an object; empty when it is absent."""
        value = self.values.get(name)
        if value is not None and not is_object(value):
            raise wrong(self.name(name), "an object")
        return Params(value or {}, f"{self.name(name)}.", strict=self.strict)

    def children(self, name: str) -> list[Params]:
        """A member that is a list of objects, at least one."""
        value = self.values.get(name)
        if not value:
            raise missing(self.name(name))
        if not isinstance(value, list):
            raise wrong(self.name(name), "a list")
        found: list[Params] = []
        for place, each in enumerate(value):
            if not is_object(each):
                raise wrong(f"{self.name(name)}[{place}]", "an object")
            found.append(Params(each, f"{self.name(name)}[{place}].", strict=self.strict))
        return found


@dataclass(frozen=True, slots=True)
class Call:
    """A call that was let in: what it asks, the files it brings."""

    params: Params
    files: Mapping[str, bytes]


Answer = Callable[[Call], JsonObject]
"""What a method does; the body of its answer."""


def is_object(value: object) -> TypeGuard[JsonObject]:
    """Whether JSON has members here."""
    return isinstance(value, dict)


def read_form(kind: str, query: str, body: bytes) -> tuple[list[tuple[str, str]], dict[str, bytes]]:
    """All parameters, from the query and the body, and the files of a multipart body, by name."""
    pairs = list(parse_query(query).pairs)
    if kind.startswith("application/x-www-form-urlencoded"):
        pairs += parse_query(body.decode(errors="replace")).pairs
        return pairs, {}
    files: dict[str, bytes] = {}
    if kind.startswith("multipart/form-data"):
        for name, filename, content in _parts(kind, body):
            if filename is None:
                pairs.append((name, content.decode(errors="replace")))
            else:
                files[name] = content
    return pairs, files


def _parts(kind: str, body: bytes) -> Iterable[tuple[str, str | None, bytes]]:
    boundary = BytesHeaderParser().parsebytes(b"Content-Type: " + kind.encode()).get_boundary("")
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary.encode())[1:]:
        head, found, content = part.partition(b"\r\n\r\n")
        if found:
            headers = BytesHeaderParser().parsebytes(head.lstrip(b"\r\n") + b"\r\n\r\n")
            name = headers.get_param("name", header="content-disposition")
            yield (name if isinstance(name, str) else ""), headers.get_filename(), content
