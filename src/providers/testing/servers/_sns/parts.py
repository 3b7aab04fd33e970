"""How many parts a text is sent in: whole words, as SNS splits ("Publishing SMS messages", SNS developer guide)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_GSM: Final = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_ESCAPED: Final = frozenset("\f^{}\\[~]|€")
_GSM_SIZES, _UCS_SIZES = (160, 153), (70, 67)


def _gsm(text: str) -> int:
    return sum(2 if character in _ESCAPED else 1 for character in text)


def _ucs(text: str) -> int:
    return len(text.encode("utf-16-be")) // 2


def parts_of(text: str) -> int:
    """The number of parts; a word that is longer than one is cut."""
    gsm = _GSM.union(_ESCAPED).issuperset(text)
    size: Callable[[str], int] = _gsm if gsm else _ucs
    single, room = _GSM_SIZES if gsm else _UCS_SIZES
    if size(text) <= single:
        return 1
    parts, used = 1, 0
    for word in re.findall(r"\s*\S+|\s+$", text):
        if used and used + size(word) > room:
            parts, used = parts + 1, 0
        for character in word:
            if used + size(character) > room:
                parts, used = parts + 1, 0
            used += size(character)
    return parts
