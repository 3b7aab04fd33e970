"""Secrets kept out of every text that leaves the package."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable

MASK = "***"
SHORTEST = 6
"""Shorter values are not masked by value: they would blot out ordinary words."""

# Shapes of credentials, for those that a vendor quotes back or that belong to somebody else.
SHAPES = re.compile(
    r"SG\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"
    r"|(?i:bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"
    r"|(?:sk|rk|whsec)_[A-Za-z0-9_]{10,}|sk-ant-[A-Za-z0-9_-]{10,}"
    r"|(?<![A-Z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Z0-9])"
)


class Redactor:
    """Masks known secret values, also where they stand encoded, and anything shaped like a credential."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._values: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        """Also mask these values from now on."""
        for secret in secrets:
            if len(secret) >= SHORTEST:
                raw = secret.encode()
                self._values |= {secret, quote(secret, safe=""), base64.b64encode(raw).decode(), raw.hex()}
        longest_first = sorted(self._values, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def __call__(self, text: str) -> str:
        """The text without them."""
        if self._pattern is not None:
            text = self._pattern.sub(MASK, text)
        return SHAPES.sub(MASK, text)


class SecretText(str):
    """A string for header values: sent as it is, masked where a traceback or a log prints it by `repr`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(MASK)
