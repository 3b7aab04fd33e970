"""One call to the local CJ: what it carries, how it is refused, the envelope of a reply."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeGuard

from providers.testing.servers._host import Fields

if TYPE_CHECKING:
    from providers.testing.servers._cjdropshipping.shop import Shop

Obj: TypeAlias = "dict[str, Any]"
"""An object as the wire has it."""

SUCCESS: Final = 200
BUSY: Final = 1600000
BAD_TOKEN: Final = 1600001
BAD_REFRESH: Final = 1600003
BAD_KEY: Final = 1600005
NO_INTERFACE: Final = 1600101
TOO_MANY: Final = 1600200
BAD_PARAMETER: Final = 1600300
NO_VARIANT: Final = 1602000
NO_PRODUCT: Final = 1602001
OFF_SHELF: Final = 1602002
CONFIRM_FAILED: Final = 1603001
DELETE_FAILED: Final = 1603002
ORDER_EXISTS: Final = 1603003
NO_ORDER: Final = 1603100
PAY_FAILED: Final = 1603101
NO_STOCK: Final = 1603102
NO_BALANCE: Final = 1604000
BAD_CARRIER: Final = 1605000
BAD_COUNTRY: Final = 1605001
BAD_WEBHOOK: Final = 1606000
BAD_VERB: Final = 16900202
BAD_TYPE: Final = 16900203
BAD_BODY: Final = 16900204
NO_POINTS: Final = 16900500

WORDS: Final[Mapping[int, str]] = {
    BUSY: "System is busy, please try again later",
    BAD_TOKEN: "Invalid API key or access token. How to get access token: see the developer portal",
    BAD_REFRESH: "Invalid Refresh token",
    BAD_KEY: "APIkey is wrong, please check and try again",
    NO_INTERFACE: "Interface not found",
    BAD_PARAMETER: "Param error",
    NO_VARIANT: "Variant not found",
    NO_PRODUCT: "Product not found",
    OFF_SHELF: "Product has been removed from shelves",
    CONFIRM_FAILED: "order confirm fail",
    DELETE_FAILED: "order delete fail",
    ORDER_EXISTS: "Order exist, please do not duplicate create",
    NO_ORDER: "Order not found",
    PAY_FAILED: "order pay fail",
    NO_STOCK: "Inventory deduction fail",
    NO_BALANCE: "Balance is insufficient",
    BAD_CARRIER: "Logistic not found",
    BAD_COUNTRY: "Country not found",
    BAD_WEBHOOK: "Webhook callback URL is not valid",
    BAD_VERB: "Request method not supported",
    BAD_TYPE: "Content type not supported",
    BAD_BODY: "Request body is not readable",
}
"""What each code says; where the sheet and its samples have no words, they are ours."""

STATUS: Final[Mapping[int, int]] = {BAD_TOKEN: 401, TOO_MANY: 429}
"""HTTP statuses that were seen live, beside the usual 200."""


class RefusalError(Exception):
    """An error reply; ``detail`` is ours, to say what was wrong."""

    def __init__(self, code: int, message: str = "", *, detail: str = "") -> None:
        super().__init__(code)
        self.code = code
        words = message or WORDS[code]
        self.message = f"{words}: {detail}" if detail else words


def wrong(detail: str) -> RefusalError:
    """A parameter is missing or not in order."""
    return RefusalError(BAD_PARAMETER, detail=detail)


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was let in: ``query`` of GET and DELETE, ``body`` of the others."""

    query: Fields
    body: Obj
    token: str = ""

    def text(self, name: str) -> str | None:
        """A text of the query; None where it is missing or empty."""
        return self.query.get(name) or None

    def need(self, name: str) -> str:
        """A text of the query that has to be there."""
        found = self.text(name)
        if found is None:
            raise wrong(f"{name} is required")
        return found

    def whole(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number of the query."""
        found = self.text(name)
        if found is None:
            return default
        if not found.isdecimal() or not least <= int(found) <= most:
            raise wrong(f"{name} is a whole number from {least} to {most}")
        return int(found)

    def word(self, name: str) -> str:
        """A text of the body that has to be there."""
        return needed(self.body, name)


Answer = Callable[["Shop", Call], object]


@dataclass(frozen=True, slots=True)
class Route:
    """One interface.

    ``takes`` are the names it knows, ``cost`` its points. ``guarded``: with a token. ``alternative``: the envelope has
    ``success`` instead of ``result``, and no ``requestId``.
    """

    method: str
    path: str
    takes: str
    answer: Answer
    cost: int = 0
    guarded: bool = True
    alternative: bool = False


def envelope(
    code: int, message: str, data: object, *, alternative: bool = False, points: Mapping[str, int] | None = None
) -> Obj:
    """The body of a reply."""
    good = code == SUCCESS
    if alternative:
        return {
            "success": good,
            "code": code,
            "message": "Congratulation! Well done!" if good else message,
            "data": data,
        }
    shown: Obj = {"code": code, "result": good, "message": message, "data": data, "requestId": str(uuid.uuid4())}
    if points is not None:
        shown["pointsInfo"] = dict(points)
    return shown


def is_object(value: object) -> TypeGuard[Obj]:
    """Whether it has members."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Whether it is a list."""
    return isinstance(value, list)


def needed(one: Obj, name: str, *, where: str = "", most: int | None = None) -> str:
    """A text member that has to be there, not longer than ``most``."""
    value = one.get(name)
    if not isinstance(value, str) or not value.strip():
        raise wrong(f"{where}{name} is required, as text")
    if most is not None and len(value) > most:
        raise wrong(f"{where}{name} is longer than {most}")
    return value


def objects(one: Obj, name: str) -> list[Obj]:
    """A list of objects that has to be there, and not to be empty."""
    value = one.get(name)
    if not is_list(value) or not value or not all(is_object(each) for each in value):
        raise wrong(f"{name} is a list of objects, and required")
    return value


def texts(one: Obj, name: str) -> list[str]:
    """A list of texts that has to be there, and not to be empty."""
    value = one.get(name)
    if not is_list(value) or not value or not all(isinstance(each, str) and each for each in value):
        raise wrong(f"{name} is a list of texts, and required")
    return value


def quantity(one: Obj, where: str) -> int:
    """How many; one at least."""
    value = one.get("quantity")
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise wrong(f"{where}quantity is a whole number from 1 on")
    return value
