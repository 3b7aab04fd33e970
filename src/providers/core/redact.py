"""Secrets kept out of every text that leaves the package."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

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


ESCAPE = re.compile("%[0-9A-F]{2}")


class Redactor:
    """Masks known secret values, also where they stand encoded, and anything shaped like a credential."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: set[str] = set()
        self._forms: list[str] | None = None
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        """Also mask these values from now on."""
        new = {secret for secret in secrets if len(secret) >= SHORTEST} - self._secrets
        if new:
            self._secrets |= new
            # Worked out when the next error is shown: a tenant's view is made for every request.
            self._forms = None

    def __call__(self, text: str) -> str:
        """The text without them."""
        if self._forms is None:
            found = {form for secret in self._secrets for form in forms(secret)}
            self._forms = sorted(found, key=len, reverse=True)
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        return SHAPES.sub(MASK, text)


def forms(secret: str) -> tuple[str, ...]:
    """A value as it stands in text, URLs and forms, JSON, base64 (either alphabet, with or without its end, and with
    something before it) and hex.
    """  # noqa: D205
    raw = secret.encode()
    in_url = (quote(secret, safe=""), quote(secret), quote_plus(secret))
    in_lower = tuple(ESCAPE.sub(lambda match: match[0].lower(), text) for text in in_url)
    in_json = (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1])
    in_base64 = (base64.b64encode(raw).decode().rstrip("="), *map(_base64_after, (raw, raw), (1, 2)))
    in_urls_base64 = tuple(text.replace("+", "-").replace("/", "_") for text in in_base64)
    return (secret, *in_json, *in_url, *in_lower, *in_base64, *in_urls_base64, raw.hex(), raw.hex().upper())


def _base64_after(raw: bytes, before: int) -> str:
    """The part of its base64 that does not depend on what stands around it, after so many bytes of something else."""
    encoded = base64.b64encode(bytes(before) + raw).decode()
    last = len(encoded) if (before + len(raw)) % 3 == 0 else len(encoded.rstrip("=")) - 1
    return encoded[before + 1 : last]


class SecretText(str):
    """A string for header values: sent as it is, masked where a traceback or a log prints it by `repr`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(MASK)


class SecretBytes(bytes):
    """Likewise for a body that holds a secret."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(MASK)
