"""Amounts: whole numbers of the smallest unit, and what a currency asks of them (docs.stripe.com/currencies)."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

from providers.testing.servers._stripe.call import invalid

_ZERO_DECIMAL = "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf"
_THREE_DECIMAL = "bhd jod kwd omr tnd"
_OTHERS = (
    "usd aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bmd bnd bob brl bsd bwp byn bzd cad cdf chf cny cop "
    "crc cve czk dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gtq gyd hkd hnl htg huf idr ils inr jmd kes kgs khr "
    "kyd kzt lak lbp lkr lrd lsl mad mdl mkd mmk mnt mop mur mvr mwk mxn myr mzn nad ngn nio nok npr nzd pab pen pgk "
    "php pkr pln qar ron rsd rub sar sbd scr sek sgd shp sle sos srd std szl thb tjs top try ttd twd tzs uah uyu uzs "
    "wst xcd yer zar zmw"  # codespell:ignore
)
ZERO_DECIMAL = frozenset(_ZERO_DECIMAL.split())
THREE_DECIMAL = frozenset(_THREE_DECIMAL.split())
WHOLE_HUNDREDS = frozenset({"isk", "ugx"})
"""Have no smaller unit, and are written as if they had one, of 00."""
CURRENCIES = ZERO_DECIMAL | THREE_DECIMAL | WHOLE_HUNDREDS | frozenset(_OTHERS.split())
LEAST = {
    **dict.fromkeys(("usd", "aud", "brl", "cad", "chf", "eur", "inr", "nzd", "sgd", "jpy"), 50),
    "aed": 200,
    "bgn": 100,
    "czk": 1500,
    "dkk": 250,
    "gbp": 30,
    "hkd": 400,
    "huf": 17500,
    "mxn": 1000,
    "myr": 200,
    "nok": 300,
    "pln": 200,
    "ron": 200,
    "sek": 300,
    "thb": 1000,
}
MOST = 99_999_999


def checked_currency(text: str, param: str = "currency") -> str:
    """The currency in lower case; refuses unknown ones."""
    currency = text.lower()
    if currency not in CURRENCIES:
        known = ", ".join(sorted(CURRENCIES))
        raise invalid(f"Invalid currency: {currency}. Stripe currently supports these currencies: {known}", param)
    return currency


def checked_amount(amount: int, currency: str, param: str) -> int:
    """The amount; refuses what the currency does not have."""
    if amount < 0:
        raise invalid(f"Invalid non-negative integer: {amount}", param, "parameter_invalid_integer")
    if amount > MOST * (10 if currency in THREE_DECIMAL else 1):
        raise invalid("Amount must be no more than $999,999.99", param, "amount_too_large")
    if currency in THREE_DECIMAL and amount % 10:
        message = f"Invalid amount: {amount}. In {currency.upper()} the last digit must be 0."
        raise invalid(message, param, "invalid_charge_amount")
    if currency in WHOLE_HUNDREDS and amount % 100:
        message = f"Invalid amount: {amount}. In {currency.upper()} the last two digits must be 00."
        raise invalid(message, param, "invalid_charge_amount")
    return amount


def rounded(amount: Decimal, currency: str) -> int:
    """The nearest amount that the currency has."""
    step = 10 if currency in THREE_DECIMAL else 100 if currency in WHOLE_HUNDREDS else 1
    return int((amount / step).quantize(Decimal(1), ROUND_HALF_UP)) * step


def decimal_text(amount: Decimal) -> str:
    """A decimal as the API writes it: no exponent, no trailing zeros."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
