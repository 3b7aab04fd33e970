"""How CJ writes what its replies hold: ids, amounts, counts.

Ids are 19 digits or UUIDs: text always. Amounts stand there as numbers, as text, or as a range "1.20 -- 2.35".
"""

from __future__ import annotations

import re
from decimal import Decimal, DecimalException
from typing import Annotated, NamedTuple, TypeAlias

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from providers.core.models import Json, Money, Reply
from providers.sourcing.urls import CJ_ID

VENDOR = "cjdropshipping"
DOLLARS = "USD"
"""What all amounts are in unless a search asked for another currency."""

ON_SALE = {"3": True, "2": False, "5": False}
"""What the states of a product mean; of others it is not known."""

LARGEST, MOST = Decimal(10) ** 9, 10**12
RANGE = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)(?:\s*--?\s*(\d{1,12}(?:\.\d{1,12})?))?", re.ASCII)


class PriceRange(NamedTuple):
    """The lowest and the highest price of a product's variants."""

    low: Decimal
    high: Decimal


def _text(value: object) -> object:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _decimal(value: object) -> object:
    """The exact number that was written; None for none."""
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        msg = "not an amount"
        raise ValueError(msg)  # noqa: TRY004 (what pydantic takes for a finding)
    try:
        found = Decimal(str(value).strip())
    except (DecimalException, ValueError):
        found = Decimal("NaN")
    if not found.is_finite() or not 0 <= found <= LARGEST:
        msg = "not an amount"
        raise ValueError(msg)
    return found


def _range(value: object) -> object:
    if value is None or value == "":
        return None
    if isinstance(value, str):
        match = RANGE.fullmatch(value.strip())
        if match is None:
            msg = "not a price"
            raise ValueError(msg)
        low, high = Decimal(match[1]), Decimal(match[2] or match[1])
        return PriceRange(min(low, high), max(low, high))
    found = _decimal(value)
    return PriceRange(found, found) if isinstance(found, Decimal) else found


def _count(value: object) -> object:
    """Pieces; less than none is none."""
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,12}", value.strip(), re.ASCII):
        value = int(value)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MOST:
        msg = "not a number of pieces"
        raise ValueError(msg)
    return max(int(value), 0)


def _product_id(value: object) -> object:
    value = _text(value)
    if not isinstance(value, str) or not is_product_id(value):
        msg = "not an id of a product"
        raise ValueError(msg)
    return value


def listed(value: object) -> object:
    """A list, empty for null."""
    return () if value is None else value


Text: TypeAlias = Annotated[str, BeforeValidator(_text)]
Id: TypeAlias = Annotated[str, Field(min_length=1, max_length=200), BeforeValidator(_text)]
MaybeId: TypeAlias = Annotated[str, Field(max_length=200), BeforeValidator(_text)]
ProductId: TypeAlias = Annotated[str, BeforeValidator(_product_id)]
Amount: TypeAlias = Annotated[Decimal | None, BeforeValidator(_decimal)]
Prices: TypeAlias = Annotated[PriceRange | None, BeforeValidator(_range)]
Count: TypeAlias = Annotated[int | None, BeforeValidator(_count)]
Objects: TypeAlias = Annotated[tuple[dict[str, Json], ...], BeforeValidator(listed)]


class CjReply(Reply):
    """Base of what CJ's replies are read through: `categoryId` is `category_id`."""

    # By name as well: the types of required fields are not checked otherwise.
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


def is_product_id(text: str) -> bool:
    """Whether it has the form of a product's id."""
    return text.isascii() and CJ_ID.fullmatch(text) is not None


def dollars(amount: Decimal) -> Money:
    """An amount of CJ's own currency."""
    return Money(amount=amount, currency=DOLLARS)
