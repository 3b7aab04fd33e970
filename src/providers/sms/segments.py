"""How many parts a text is sent and billed as (GSM 03.38, 3GPP TS 23.038)."""

from __future__ import annotations

from enum import StrEnum

from providers.core.models import Model

BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà\x1b"
)
EXTENSION = frozenset("\f^{}\\[~]|€")
"""Two units each: an escape goes before them."""

GSM_SINGLE, GSM_PART = 160, 153
UCS_SINGLE, UCS_PART = 70, 67


class Encoding(StrEnum):
    """What a text is sent as; one character that is not in GSM-7 turns all of it into UCS-2."""

    GSM7 = "GSM-7"
    UCS2 = "UCS-2"


class Segments(Model):
    """A text's encoding, its length in that encoding's units, and the parts it is sent and billed as."""

    encoding: Encoding
    units: int
    segments: int


def count(body: str) -> Segments:
    """Count the parts of a text. A vendor that splits between words may need more (SNS)."""
    if BASIC.issuperset(body):
        units = len(body)
        parts = 1 if units <= GSM_SINGLE else -(-units // GSM_PART)
        return Segments(encoding=Encoding.GSM7, units=units, segments=parts if units else 0)
    if all(character in BASIC or character in EXTENSION for character in body):
        widths = [2 if character in EXTENSION else 1 for character in body]
        return _measured(Encoding.GSM7, widths, GSM_SINGLE, GSM_PART)
    widths = [2 if ord(character) > 0xFFFF else 1 for character in body]
    return _measured(Encoding.UCS2, widths, UCS_SINGLE, UCS_PART)


def _measured(encoding: Encoding, widths: list[int], single: int, part: int) -> Segments:
    """Filled part by part: a character of two units is never torn apart."""
    units = sum(widths)
    if units <= single:
        return Segments(encoding=encoding, units=units, segments=1)
    parts, used = 1, 0
    for width in widths:
        if used + width > part:
            parts, used = parts + 1, 0
        used += width
    return Segments(encoding=encoding, units=units, segments=parts)
