"""Countries by their two letters (ISO 3166), and the provinces that AliExpress asks for by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_CODES: Final = (
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ "
    "BL BM BN BO BQ BR BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR "
    "CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR "  # codespell:ignore fo
    "GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU "
    "ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ "
    "LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ "
    "MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF "
    "PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI "
    "SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR "
    "TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW"
)
CODES: Final = frozenset(_CODES.split())

OTHER: Final = "Other"

_US: Final = (
    "Alabama|Alaska|Arizona|Arkansas|California|Colorado|Connecticut|Delaware|District of Columbia|Florida|Georgia|"
    "Hawaii|Idaho|Illinois|Indiana|Iowa|Kansas|Kentucky|Louisiana|Maine|Maryland|Massachusetts|Michigan|Minnesota|"
    "Mississippi|Missouri|Montana|Nebraska|Nevada|New Hampshire|New Jersey|New Mexico|New York|North Carolina|"
    "North Dakota|Ohio|Oklahoma|Oregon|Pennsylvania|Rhode Island|South Carolina|South Dakota|Tennessee|Texas|Utah|"
    "Vermont|Virginia|Washington|West Virginia|Wisconsin|Wyoming"
)
_CA: Final = (
    "Alberta|British Columbia|Manitoba|New Brunswick|Newfoundland and Labrador|Northwest Territories|Nova Scotia|"
    "Nunavut|Ontario|Prince Edward Island|Quebec|Saskatchewan|Yukon"
)
_AU: Final = (
    "Australian Capital Territory|New South Wales|Northern Territory|Queensland|South Australia|Tasmania|Victoria|"
    "Western Australia"
)
_BR: Final = (
    "Acre|Alagoas|Amapa|Amazonas|Bahia|Ceara|Distrito Federal|Espirito Santo|Goias|Maranhao|Mato Grosso|"
    "Mato Grosso do Sul|Minas Gerais|Para|Paraiba|Parana|Pernambuco|"  # codespell:ignore parana
    "Piaui|Rio de Janeiro|Rio Grande do Norte|"
    "Rio Grande do Sul|Rondonia|Roraima|Santa Catarina|Sao Paulo|Sergipe|Tocantins"
)
_DE: Final = (
    "Baden-Wuerttemberg|Bayern|Berlin|Brandenburg|Bremen|Hamburg|Hessen|Mecklenburg-Vorpommern|Niedersachsen|"
    "Nordrhein-Westfalen|Rheinland-Pfalz|Saarland|Sachsen|Sachsen-Anhalt|Schleswig-Holstein|Thueringen"
)

PROVINCES: Final[Mapping[str, tuple[str, ...]]] = {
    "US": (*_US.split("|"), OTHER),
    "CA": (*_CA.split("|"), OTHER),
    "AU": (*_AU.split("|"), OTHER),
    "BR": (*_BR.split("|"), OTHER),
    "DE": (*_DE.split("|"), OTHER),
}
"""Elsewhere any province will do, or none."""

CITIES: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("US", "California"): ("Los Angeles", "Sacramento", "San Diego", "San Francisco", "San Jose"),
    ("US", "Illinois"): ("Chicago", "Springfield"),
    ("US", "New Jersey"): ("Newark", "Vineland"),
    ("US", "New York"): ("Albany", "Buffalo", "New York"),
    ("US", "Oregon"): ("Portland", "Salem"),
    ("US", "Texas"): ("Austin", "Dallas", "Houston"),
    ("US", "Washington"): ("Seattle", "Spokane"),
    ("CA", "Ontario"): ("Ottawa", "Toronto"),
    ("BR", "Sao Paulo"): ("Campinas", "Sao Paulo"),
    ("DE", "Berlin"): ("Berlin",),
    ("DE", "Nordrhein-Westfalen"): ("Dortmund", "Duesseldorf", "Koeln"),
}
"""Elsewhere the list of a province's cities holds ``Other`` alone."""


def cities(country: str, province: str) -> tuple[str, ...]:
    """The cities of a province, as the vendor's list would have them."""
    return (*CITIES.get((country, province), ()), OTHER)
