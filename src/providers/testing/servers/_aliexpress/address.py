"""Addresses: the vendor's lists, and what it refuses an order for."""

from __future__ import annotations

import json
import re
from typing import Final

from providers.testing.servers._aliexpress.call import FailureError, Params
from providers.testing.servers._aliexpress.countries import CODES, PROVINCES, cities
from providers.testing.servers._host import Json, JsonObject

INVALID: Final = "B_DROPSHIPPER_DELIVERY_ADDRESS_VALIDATE_FAIL"

_TAX: Final = {"BR": ("cpf", "Please enter your CPF"), "CL": ("rut_no", "Please enter your RUT")}
_KNOWN: Final = (
    *("country", "province", "city", "address", "address2", "zip", "contact_person", "full_name", "phone_country"),
    *("mobile_no", "locale", "cpf", "rut_no", "tax_number", "vat_no", "tax_company", "passport_no"),
    *("passport_no_date", "passport_organization", "is_foreigner", "foreigner_passport_no", "location_tree_address_id"),
)


def tree(country: str) -> JsonObject:
    """``data`` of address.get; ``children`` is JSON text."""
    provinces: list[Json] = [
        {
            "name": province,
            "type": "PROVINCE",
            "hasChildren": True,
            "children": [{"name": city, "type": "CITY", "hasChildren": False} for city in cities(country, province)],
        }
        for province in PROVINCES.get(country, ())
    ]
    return {"country": country, "type": "country", "children": json.dumps(provinces, separators=(",", ":"))}


def check(given: Params, *, listed_cities: bool) -> str:
    """The country of an address that an order can go to; ``FailureError`` in the vendor's words for any other.

    A province has to be one of its country's list, by name; with ``listed_cities`` a city has to be one of the
    province's, too, or ``Other``.
    """
    given.only(*_KNOWN)
    country = given.need("country")
    if country not in CODES:
        raise FailureError("A005_INVALID_COUNTRIES")
    legal, province = PROVINCES.get(country), given.get("province")
    if legal is not None and province not in legal:
        raise FailureError(INVALID, "Please select a State/Province/County")
    city = given.get("city")
    if not city or (listed_cities and legal is not None and city not in cities(country, province)):
        raise FailureError(INVALID, "Please enter a City")
    if not given.get("address"):
        raise FailureError(INVALID, "Please enter an Address")
    if re.fullmatch(r"\d{5,15}", given.get("mobile_no"), re.ASCII) is None or not re.fullmatch(
        r"\+?\d{1,4}", given.get("phone_country"), re.ASCII
    ):
        words = "Please enter the country code and phone number without any spaces or special characters"
        raise FailureError(INVALID, words)
    names = given.get("contact_person") or given.get("full_name")
    if not names or (country == "US" and not all(2 <= len(part) <= 32 for part in names.split())):
        raise FailureError(INVALID, "Please enter between 2 - 32 characters")
    if country == "US" and re.fullmatch(r"\d{5}(-\d{4})?", given.get("zip"), re.ASCII) is None:
        raise FailureError(INVALID, "Please enter a valid ZIP code")
    if country in _TAX and not given.get(_TAX[country][0]):
        raise FailureError(INVALID, _TAX[country][1])
    return country
