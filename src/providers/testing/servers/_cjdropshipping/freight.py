"""Carriers, and what they ask (logistic page of CJ's documents; the carriers' terms are ours)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from providers.testing.servers._cjdropshipping.call import (
    BAD_COUNTRY,
    Call,
    Obj,
    RefusalError,
    Route,
    needed,
    objects,
    quantity,
)
from providers.testing.servers._cjdropshipping.shelf import CENT

if TYPE_CHECKING:
    from providers.testing.servers._cjdropshipping.shop import Shop

_CODES: Final = (
    "ADAEAFAGAIALAMAOAQARASATAUAWAXAZBABBBDBEBFBGBHBIBJBLBMBNBOBQBRBSBTBVBWBYBZCACCCDCFCGCHCICKCLCMCNCOCR"
    "CUCVCWCXCYCZDEDJDKDMDODZECEEEGEHERESETFIFJFKFMFOFRGAGBGDGEGFGGGHGIGLGMGNGPGQGRGSGTGUGWGYHKHMHNHRHTHU"
    "IDIEILIMINIOIQIRISITJEJMJOJPKEKGKHKIKMKNKPKRKWKYKZLALBLCLILKLRLSLTLULVLYMAMCMDMEMFMGMHMKMLMMMNMOMPMQ"
    "MRMSMTMUMVMWMXMYMZNANCNENFNGNINLNONPNRNUNZOMPAPEPFPGPHPKPLPMPNPRPSPTPWPYQARERORSRURWSASBSCSDSESGSHSI"
    "SJSKSLSMSNSOSRSSSTSVSXSYSZTCTDTFTGTHTJTKTLTMTNTOTRTTTVTWTZUAUGUMUSUYUZVAVCVEVGVIVNVUWFWSYEYTZAZMZW"
)
COUNTRIES: Final = frozenset(_CODES[at : at + 2] for at in range(0, len(_CODES), 2))
"""ISO 3166-1, two letters."""
NOWHERE: Final = frozenset(("KP", "CU", "IR", "SY", "AQ"))
"""Countries that nothing is sent to: their list of options is empty."""

_UNION: Final = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK"
_EU: Final = frozenset(_UNION.split())
_FAR: Final = frozenset(("AR", "AU", "BR", "CL", "CO", "MX", "NZ", "PE", "ZA"))
_CNY: Final = Decimal("7.12")


@dataclass(frozen=True, slots=True)
class Carrier:
    """A way to ship. ``base`` and ``kilo`` (each kilogram) are USD.

    ``summed``: it says ``totalPostageFee``. ``taxed``: it says what taxes are; within the EU there are some.
    ``needs`` are fields of an order that it does not go without.
    """

    name: str
    origin: str
    days: str
    base: Decimal
    kilo: Decimal
    only: frozenset[str] | None = None
    summed: bool = True
    taxed: bool = False
    needs: tuple[str, ...] = ()


CARRIERS: Final = (
    Carrier("CJPacket Ordinary", "CN", "7-12", Decimal("2.90"), Decimal("12.50"), taxed=True),
    Carrier("USPS+", "CN", "2-5", Decimal("4.10"), Decimal("13.20"), frozenset(("US",)), needs=("shippingZip",)),
    Carrier("USPS+", "US", "2-5", Decimal("3.60"), Decimal("8.00"), frozenset(("US",)), needs=("shippingZip",)),
    Carrier(*("DHL Official", "CN", "3-7", Decimal("18.00"), Decimal("22.00")), summed=False, needs=("shippingPhone",)),
)


@dataclass(frozen=True, slots=True)
class Quote:
    """What a carrier asks in USD; ``total`` is what is to be paid."""

    carrier: Carrier
    price: Decimal
    taxes: Decimal
    clearance: Decimal

    @property
    def total(self) -> Decimal:
        """Postage with taxes and clearance."""
        return self.price + self.taxes + self.clearance

    def shown(self) -> Obj:
        """As freightCalculate has it."""
        taxed = self.carrier.taxed
        return {
            "logisticName": self.carrier.name,
            "logisticPrice": float(self.price),
            "logisticPriceCn": float((self.price * _CNY).quantize(CENT)),
            "logisticAging": self.carrier.days,
            "taxesFee": float(self.taxes) if taxed else None,
            "clearanceOperationFee": float(self.clearance) if taxed else None,
            "totalPostageFee": float(self.total) if self.carrier.summed else None,
        }


def quotes(origin: str, destination: str, grams: int) -> Iterator[Quote]:
    """What may be chosen for a parcel."""
    if destination in NOWHERE:
        return
    for carrier in CARRIERS:
        if carrier.origin == origin and (carrier.only is None or destination in carrier.only):
            price = carrier.base + carrier.kilo * grams / 1000
            if destination in _FAR:
                price *= Decimal("1.5")
            european = carrier.taxed and destination in _EU
            taxes = price * Decimal("0.2") if european else Decimal(0)
            clearance = Decimal("0.35") if european else Decimal(0)
            yield Quote(carrier, price.quantize(CENT), taxes.quantize(CENT), clearance)


def routes() -> Iterable[Route]:
    """The quote: 10 points."""
    takes = "startCountryCode endCountryCode zip taxId houseNumber iossNumber products"
    yield Route("POST", "logistic/freightCalculate", takes, _calculate, 10)


def country(one: Obj, name: str) -> str:
    """A country's code that has to be there."""
    code = needed(one, name)
    if code not in COUNTRIES:
        raise RefusalError(BAD_COUNTRY, detail=f"{name} {code[:8]}")
    return code


def _calculate(shop: Shop, call: Call) -> list[Obj]:
    origin, destination = country(call.body, "startCountryCode"), country(call.body, "endCountryCode")
    grams = 0
    for line in objects(call.body, "products"):
        _, variant = shop.shelf.variant(needed(line, "vid", where="products[]."))
        grams += variant.weight * quantity(line, "products[].")
    return [quote.shown() for quote in quotes(origin, destination, grams)]
