"""Smallest units: what a vendor is told is exactly what was meant."""

from decimal import Decimal, localcontext

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from providers import Money
from providers.core.money import DECIMALS, from_minor, to_minor
from providers.errors import InvalidRequestError

CURRENCIES = st.sampled_from(["USD", "EUR", "JPY", "KRW", "KWD", "BHD", "CLF", "UYW"])


def money(amount, currency="USD"):
    return Money(amount=Decimal(amount), currency=currency)


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ("19.99", "USD", 1999),
        ("19.9", "USD", 1990),
        ("19.990", "USD", 1999),
        ("0", "USD", 0),
        ("-0", "USD", 0),
        ("-3.50", "EUR", -350),
        ("1E+2", "USD", 10_000),
        ("500", "JPY", 500),
        ("500.0", "JPY", 500),
        ("1.500", "KWD", 1500),
        ("1.0001", "CLF", 10_001),
        ("12", "XTS", 1200),
    ],
)
def test_an_amount_is_so_many_smallest_units_of_its_currency(amount, currency, minor):
    assert to_minor(money(amount, currency)) == minor


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (1999, "usd", "19.99 USD"),
        (0, "USD", "0.00 USD"),
        (-350, "Eur", "-3.50 EUR"),
        (500, "jpy", "500 JPY"),
        (1500, "kwd", "1.500 KWD"),
        (10_001, "clf", "1.0001 CLF"),
    ],
)
def test_smallest_units_are_read_with_the_decimals_of_their_currency(minor, currency, text):
    assert str(from_minor(minor, currency)) == text


@given(minor=st.integers(-(10**45), 10**45), currency=CURRENCIES)
def test_smallest_units_come_back_as_they_were_however_many(minor, currency):
    made = from_minor(minor, currency)
    assert made.amount * 10 ** DECIMALS.get(currency, 2) == minor or abs(minor) >= 10**28
    if abs(minor) < 10**36:
        assert to_minor(made) == minor


@given(amount=st.decimals(allow_nan=False, allow_infinity=False, places=2), currency=CURRENCIES)
def test_an_amount_comes_back_as_it_was_or_is_refused(amount, currency):
    assume(abs(amount) < 10**30)
    try:
        minor = to_minor(money(amount, currency))
    except InvalidRequestError:
        with localcontext(prec=100):
            assert amount != round(amount, DECIMALS.get(currency, 2))
    else:
        assert from_minor(minor, currency).amount == amount


@given(st.decimals())
def test_any_number_is_smallest_units_or_an_invalid_request(amount):
    try:
        minor = to_minor(Money.model_construct(amount=amount, currency="USD"), field="lines.0.unit_price")
    except InvalidRequestError as error:
        assert error.field == "lines.0.unit_price"  # noqa: PT017 (one of two good answers)
    else:
        assert str(minor)
        assert from_minor(minor, "USD").amount == amount


@pytest.mark.parametrize(
    ("amount", "currency"),
    [
        ("19.999", "USD"),
        ("0.001", "USD"),
        ("500.5", "JPY"),
        ("1.5005", "KWD"),
        ("1.00005", "CLF"),
        # Longer than what decimals calculate with by default.
        ("1.0000000000000000000000000000000000000001", "USD"),
        ("1E-999999", "USD"),
    ],
)
def test_decimals_that_a_currency_has_not_are_never_rounded_away(amount, currency):
    with pytest.raises(InvalidRequestError, match=r"^amount: ") as caught:
        to_minor(money(amount, currency))
    assert (caught.value.field, caught.value.code) == ("amount", "decimals")


@pytest.mark.parametrize("amount", ["NaN", "-NaN", "sNaN", "Infinity", "-Infinity", "1E+999999", "1E+400000"])
def test_what_is_no_amount_is_refused(amount):
    with pytest.raises(InvalidRequestError, match="is not an amount"):
        to_minor(Money.model_construct(amount=Decimal(amount), currency="USD"))


def test_more_digits_than_decimals_calculate_with_are_kept():
    assert to_minor(money("123456789012345678901234567890.12")) == 12345678901234567890123456789012
    assert str(from_minor(12345678901234567890123456789012, "USD").amount) == "123456789012345678901234567890.12"


def test_a_vendor_may_count_a_currency_in_its_own_way():
    assert to_minor(money("5.00", "ISK"), decimals={"ISK": 2}) == 500
    assert from_minor(500, "isk", decimals={"ISK": 2}) == money("5.00", "ISK")
    with pytest.raises(InvalidRequestError):
        to_minor(money("5.01", "ISK"))


def test_every_currency_with_other_than_two_decimals_is_listed_once():
    assert {DECIMALS[code] for code in DECIMALS} == {0, 3, 4}
    assert all(len(code) == 3 and code.isupper() for code in DECIMALS)
    assert not {"USD", "EUR", "GBP", "HUF", "TWD"} & set(DECIMALS)
