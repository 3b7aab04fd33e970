"""Addresses as SES takes them: one per text, 7-bit, names encoded by RFC 2047 (model of ``Destination``)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from functools import lru_cache
from typing import Final

from providers.testing.servers._aws.call import bad_request

SIMULATOR: Final = "simulator.amazonses.com"
_NAMED: Final = re.compile(r'\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^<>"]*?))\s*<(?P<address>[^<>]*)>\s*')
_LOCAL: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+|\"(?:[^\"\\]|\\.)+\"")
_BLANK: Final = re.compile(r"[\x00-\x20\x7f]")
_LABEL: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Address:
    """``email``, the decoded ``name`` and the text as it was given."""

    email: str
    name: str
    given: str

    @property
    def local(self) -> str:
        """What is before the @, without a label (``+...``), in lower case."""
        return self.email.rpartition("@")[0].partition("+")[0].lower()

    @property
    def domain(self) -> str:
        """What is after the @, in lower case."""
        return self.email.rpartition("@")[2].lower()

    @property
    def simulated(self) -> str | None:
        """Which mailbox of the simulator this is."""
        return self.local if self.domain == SIMULATOR else None


@lru_cache(maxsize=4096)
def parse(given: str) -> Address:
    """One address; raises the refusal of the vendor."""
    found = _NAMED.fullmatch(given)
    if found is None:
        if "<" in given or ">" in given:
            raise bad_request("Illegal address")
        return Address(_checked(given.strip()), "", given)
    quoted, plain = found["quoted"], found["plain"]
    name = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
    if not given.isascii():
        if not name.isascii():
            raise bad_request("Display name contains non-ASCII characters: encode it as in RFC 2047")
        _checked(found["address"])
    if any(character < " " or character == "\x7f" for character in given):
        raise bad_request("Local address contains control or whitespace")
    if plain and re.search(r"[,;:@()\[\]\\]", plain):
        raise bad_request("Missing final '@domain'" if "," in plain else "Illegal character in display name")
    return Address(_checked(found["address"].strip()), _decoded(name), given)


def _decoded(name: str) -> str:
    if "=?" not in name:
        return name
    try:
        return str(make_header(decode_header(name)))
    except (HeaderParseError, LookupError, UnicodeDecodeError, ValueError):
        raise bad_request("Display name is not a valid encoded word") from None


def _checked(address: str) -> str:
    local, at, domain = address.rpartition("@")
    labels = domain.split(".")
    quoted = local.startswith('"')
    problems = (
        (not address, "Empty address"),
        (not at, "Missing final '@domain'"),
        (not local, "Missing local name"),
        (not domain, "Missing domain"),
        (not local.isascii(), "Local part of the address contains non-ASCII characters"),
        (_BLANK.search(local) is not None and not quoted, "Local address contains control or whitespace"),
        (_BLANK.search(domain) is not None, "Domain contains control or whitespace"),
        (not domain.isascii(), "Domain contains non-ASCII characters: encode it as in RFC 3492"),
        (_LOCAL.fullmatch(local) is None, "Local address contains illegal character"),
        (not quoted and (".." in local or local[:1] == "." or local[-1:] == "."), "Local address contains dot-dot"),
        (len(local) > 64 or len(address) > 320, "Address is too long"),
        (domain.startswith("."), "Domain starts with dot"),
        (domain.endswith("."), "Domain ends with dot"),
        ("" in labels, "Domain contains dot-dot"),
        (any(_LABEL.fullmatch(label) is None for label in labels), "Domain contains illegal character"),
        (len(labels) < 2, "Missing final '@domain'"),
    )
    for wrong, message in problems:
        if wrong:
            raise bad_request(message)
    return address
