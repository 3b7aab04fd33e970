"""Prices: what a dollar is in other currencies, what a country pays, how the vendor writes an amount."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from providers.testing.servers._aliexpress.traits import number


@dataclass(frozen=True, slots=True)
class Currency:
    """``rate`` units are one dollar; ``digits`` after the point."""

    code: str
    rate: Decimal
    symbol: str
    digits: int = 2

    def round(self, amount: Decimal) -> Decimal:
        """To what can be paid."""
        return amount.quantize(Decimal(1).scaleb(-self.digits), ROUND_HALF_UP)

    def of(self, dollars: Decimal) -> Decimal:
        """So many dollars in this currency."""
        return self.round(dollars * self.rate)

    def shown(self, amount: Decimal) -> str:
        """As a shopper sees it."""
        return f"{self.symbol}{self.round(amount):,}"


_CURRENCIES: Final[Mapping[str, Currency]] = {
    code: Currency(code, Decimal(rate), symbol, digits)
    for code, rate, symbol, digits in (
        ("USD", "1", "US $", 2),
        ("EUR", "0.92", "\u20ac", 2),
        ("GBP", "0.79", "\u00a3", 2),
        ("CNY", "7.13", "CN\u00a5", 2),
        ("CAD", "1.37", "C$", 2),
        ("AUD", "1.52", "AU $", 2),
        ("NZD", "1.66", "NZ$", 2),
        ("CHF", "0.88", "CHF", 2),
        ("SEK", "10.5", "SEK", 2),
        ("NOK", "10.9", "NOK", 2),
        ("DKK", "6.86", "DKK", 2),
        ("PLN", "3.95", "PLN", 2),
        ("CZK", "23.2", "CZK", 2),
        ("TRY", "41.5", "TRY", 2),
        ("ILS", "3.7", "\u20aa", 2),
        ("AED", "3.67", "AED", 2),
        ("SAR", "3.75", "SAR", 2),
        ("MAD", "9.9", "MAD", 2),
        ("ZAR", "17.9", "R ", 2),  # codespell:ignore zar
        ("NGN", "1450", "NGN", 2),
        ("BRL", "5.4", "R$", 2),
        ("MXN", "18.4", "MX$", 2),
        ("CLP", "940", "CLP", 0),
        ("JPY", "150", "JP\u00a5", 0),
        ("KRW", "1390", "\u20a9", 0),
        ("INR", "88", "\u20b9", 2),
        ("SGD", "1.3", "S$", 2),
        ("THB", "32.5", "\u0e3f", 2),
        ("UAH", "41.6", "UAH", 2),
        ("RUB", "92", "RUB", 2),
    )
}

USD: Final = _CURRENCIES["USD"]
CNY: Final = _CURRENCIES["CNY"]
"""The sellers' currency."""


def currency(code: str) -> Currency | None:
    """A currency by its code."""
    return _CURRENCIES.get(code)


def factor(product_id: int, country: str) -> Decimal:
    """What a country pays for a product, times the dollar price: 1 in the US, never 1 elsewhere."""
    if country == "US":
        return Decimal(1)
    step = 90 + number("country", product_id, country) % 40
    return Decimal(step + (step >= 100)) / 100


def origin_min_price(unit: Currency, amount: Decimal, country: str) -> str:
    """The JSON text beside a search result's price; ``cent`` in the smallest unit."""
    paid = unit.round(amount)
    whole, _, decimals = f"{paid}".partition(".")
    shown = {
        "thousandsChar": ",",
        "shipToCountry": country,
        "decimalPointChar": ".",
        "cent": int(paid.scaleb(unit.digits)),
        "currencySymbolPosition": "front",
        "currencySymbol": unit.symbol,
        "showDecimal": bool(unit.digits),
        "decimalStr": decimals,
        "currencyCode": unit.code,
        "version": "V1",
        "formatPrice": unit.shown(paid),
        "integerStr": f"{int(whole):,}",
    }
    return json.dumps(shown, separators=(",", ":"), ensure_ascii=False)
