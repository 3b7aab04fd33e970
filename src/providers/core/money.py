"""Amounts in a currency's smallest unit, exactly: nothing is rounded, nothing is cut off."""

from __future__ import annotations

from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation, Overflow
from types import MappingProxyType
from typing import TYPE_CHECKING

from providers.core.errors import InvalidRequestError
from providers.core.models import Money

if TYPE_CHECKING:
    from collections.abc import Mapping

TWO = 2

_EXACT = Context(prec=40, Emax=40, Emin=-40, traps=[Inexact, InvalidOperation, Overflow])
"""Refuses what the default context would round."""

_NONE = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE = "BHD IQD JOD KWD LYD OMR TND"
_FOUR = "CLF UYW"

DECIMALS: Mapping[str, int] = MappingProxyType(
    {
        currency: places
        for places, currencies in ((0, _NONE), (3, _THREE), (4, _FOUR))
        for currency in currencies.split(" ")
    }
)
"""ISO 4217: how many decimals an amount of a currency has; two where nothing is said."""


def to_minor(money: Money, *, decimals: Mapping[str, int] = DECIMALS, field: str = "amount") -> int:
    """The amount as a whole number of smallest units: 1999 for 19.99 USD, 500 for 500 JPY, 1500 for 1.500 KWD.

    `decimals` says what a vendor counts differently. Raises `InvalidRequestError` naming `field` for an amount that has
    more decimals than that, is no number at all, or beyond all money.
    """
    places = decimals.get(money.currency, TWO)
    try:
        shifted = money.amount.scaleb(places, context=_EXACT)
    except DecimalException:
        shifted = Decimal("NaN")
    if not shifted.is_finite():
        msg = f"{field}: {str(money)[:60]} is not an amount"
        raise InvalidRequestError(msg, field=field, code="decimals")
    if shifted != shifted.to_integral_value():
        msg = f"{field}: {money} has more than {places} decimals, the most that {money.currency} has here"
        raise InvalidRequestError(msg, field=field, code="decimals")
    return int(shifted)


def from_minor(amount: int, currency: str, *, decimals: Mapping[str, int] = DECIMALS) -> Money:
    """The money of a whole number of smallest units; `currency` in any case."""
    code = currency.upper()
    # As text: arithmetic on decimals rounds what is long.
    return Money(amount=Decimal(f"{amount}E-{decimals.get(code, TWO)}"), currency=code)
