"""Phone numbers: one spelling for each, E.164."""

from __future__ import annotations

import re

E164 = re.compile(r"\+[1-9]\d{6,14}", re.ASCII)
FORMATTING = str.maketrans("", "", " -().\u00a0\u2011\u202f")
"""What people write between digits; nothing else is taken out."""

TRUNK = "(0)"
"""As in `+44 (0)7700 900123`: dialled within the country only."""

SHOWN = 40


def normalise(text: str) -> str:
    """The number as `+15551234567`. Raises `ValueError` saying what is wrong, in words that can be shown.

    A number without its country code is refused: nobody knows the country.
    """
    number = text.strip().replace(TRUNK, "").translate(FORMATTING)
    if E164.fullmatch(number):
        return number
    shown = text if len(text) <= SHOWN else text[:SHOWN] + "..."
    if not number.startswith("+"):
        msg = f"{shown!r}: not an international number; write +, country code and number, e.g. +15551234567"
        raise ValueError(msg)
    msg = f"{shown!r}: not a phone number; 7 to 15 digits after the +, the first not 0"
    raise ValueError(msg)
