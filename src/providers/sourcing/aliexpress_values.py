"""AliExpress' JSON, which gives a number as a number or as text, and a list with or without something around it."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

from providers.core.clock import utc
from providers.core.errors import BadResponseError
from providers.core.json import from_json
from providers.core.models import Money

if TYPE_CHECKING:
    from datetime import datetime

    from pydantic import JsonValue

Object = dict[str, "JsonValue"]

LARGEST = 10**30
LATEST = 253_402_300_799.0
"""The end of the year 9999, the last that a date can name."""

_plain = re.compile(r"\d{1,15}(?:\.\d{1,10})?", re.ASCII).fullmatch
_figures = re.compile(r"\d{1,24}", re.ASCII).fullmatch
_whole = re.compile(r"\d{1,18}", re.ASCII).fullmatch
_at_least = re.compile(r"(\d{1,3}(?:,\d{3}){1,5}|\d{1,18})\+?", re.ASCII).fullmatch


def bad(where: str, what: str) -> BadResponseError:
    """The reply is not as documented."""
    return BadResponseError(f"the reply is not as documented: {where}: {what}", code="reply")


def as_object(value: JsonValue, where: str) -> Object:
    """An object. Raises `BadResponseError`."""
    if not isinstance(value, dict):
        raise bad(where, "no object")
    return value


def as_list(node: JsonValue, inner: str) -> list[JsonValue]:
    """What a list holds, in each of its forms: an array, an object around it (`inner`), a single element without it."""
    if isinstance(node, dict):
        if inner in node:
            node = node[inner]
        elif len(node) == 1:
            (only,) = node.values()
            node = only if isinstance(only, list) else [node]
    if isinstance(node, list):
        return node
    return [] if node is None or node in ({}, "") else [node]


def as_objects(node: JsonValue, inner: str) -> list[Object]:
    """As `as_list`, of objects only. Raises `BadResponseError`."""
    return [as_object(one, inner) for one in as_list(node, inner)]


def text(value: JsonValue) -> str:
    """A text, or a whole number as text; `""` for anything else."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int) and not isinstance(value, bool) and -LARGEST < value < LARGEST:
        return str(value)
    return ""


def as_id(value: JsonValue, where: str) -> str:
    """An id: all of AliExpress' are figures. Raises `BadResponseError` for anything else."""
    found = text(value)
    if not _figures(found):
        raise bad(where, "no id")
    return found


def decimal(value: JsonValue) -> Decimal | None:
    """A number, not below zero."""
    if isinstance(value, float):
        # The shortest text that is this number: what the vendor wrote.
        value = repr(value)
    found = text(value)
    return Decimal(found) if _plain(found) else None


def whole(value: JsonValue) -> int | None:
    """A whole number, not below zero."""
    found = text(value)
    return int(found) if _whole(found) else None


def at_least(value: JsonValue) -> int | None:
    """A count that may be cut off: `3,000+`."""
    found = _at_least(text(value))
    return None if found is None else int(found[1].replace(",", ""))


def yes(value: JsonValue) -> bool | None:
    """A yes or no, also as text."""
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value.strip().lower())
    return value if isinstance(value, bool) else None


def price(value: JsonValue, currency: str) -> Money | None:
    """A price of something: none where the vendor gives none, or zero."""
    found = decimal(value)
    return Money(amount=found, currency=currency) if found else None


def amount(value: JsonValue) -> Money | None:
    """`{"amount": "1.99", "currency_code": "USD"}`."""
    if not isinstance(value, dict):
        return None
    found, currency = decimal(value.get("amount")), text(value.get("currency_code"))
    if found is None or not re.fullmatch("[A-Z]{3}", currency):
        return None
    return Money(amount=found, currency=currency)


def moment(value: JsonValue) -> datetime | None:
    """Milliseconds since the epoch."""
    found = whole(value)
    return None if not found or found / 1000 > LATEST else utc(found / 1000)


def url(value: JsonValue) -> str | None:
    """An address, with `https:` where its site leaves that out."""
    found = text(value)
    if found.startswith("//"):
        return "https:" + found
    return found if found.startswith(("https://", "http://")) else None


def inside(value: JsonValue) -> Object:
    """An object that is given as text; empty when there is none."""
    if isinstance(value, str):
        try:
            value = from_json(value.encode())
        except ValueError:
            return {}
    return value if isinstance(value, dict) else {}
