"""E-mail addresses: what is usable, and one spelling for each."""

from __future__ import annotations

import re

LOCAL = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# The last label is a name, not a number: "a@1.2.3.4" is no address to write to.
ADDRESS = re.compile(rf"(?P<local>{LOCAL})@(?P<domain>(?:{LABEL}\.)+(?=[A-Za-z0-9-]*[A-Za-z]){LABEL})")
NAMED = re.compile(r'\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^<>"]*?))\s*<(?P<address>[^<>]*)>\s*')
CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")

LONGEST_LOCAL, LONGEST = 64, 254
SHOWN = 80


def normalise(text: str) -> str:
    """The one spelling of a bare address: trimmed, domain in lower-case ASCII (IDNA), local part as it is.

    Raises `ValueError` saying what is wrong, in words that can be shown.
    """
    address = text.strip(" \t")
    match = ADDRESS.fullmatch(address)
    if match is None:
        match = _international(address)
    if match.end("local") > LONGEST_LOCAL:
        raise ValueError(_problem(address, f"the part before @ is longer than {LONGEST_LOCAL} characters"))
    if len(match.string) > LONGEST:
        raise ValueError(_problem(address, f"longer than {LONGEST} characters"))
    return f"{match['local']}@{match['domain'].lower()}"


def normalise_named(text: str) -> str:
    """`normalise` for `"a@b.c"` or `"Name <a@b.c>"`; the name stays in front."""
    if "<" not in text:
        return normalise(text)
    if CONTROL.search(text):
        raise ValueError(_problem(text, "line breaks and control characters are not allowed"))
    match = NAMED.fullmatch(text)
    name = match and (match["quoted"] or match["plain"])
    if match is None or not name:
        raise ValueError(_problem(text, 'write "Name <address>" or the address alone'))
    return f"{name} <{normalise(match['address'])}>"


def split(text: str) -> tuple[str, str]:
    """Name (or `""`) and address of a text that `normalise_named` made."""
    if text.endswith(">"):
        name, _, address = text.rpartition(" <")
        return name, address[:-1]
    return "", text


def has_control(text: str) -> bool:
    """Whether a header with this text could smuggle in another one."""
    return CONTROL.search(text) is not None


def _international(address: str) -> re.Match[str]:
    """The match of an address whose domain is written in another script; raises `ValueError` for all else."""
    if CONTROL.search(address):
        raise ValueError(_problem(address, "line breaks and control characters are not allowed"))
    if not address:
        msg = "empty"
        raise ValueError(msg)
    local, at, domain = address.rpartition("@")
    if at and domain and not domain.isascii():
        import idna

        try:
            match = ADDRESS.fullmatch(f"{local}@{idna.encode(domain, uts46=True).decode()}")
        except idna.IDNAError:
            match = None
        if match is not None:
            return match
    if at and not local.isascii():
        raise ValueError(_problem(address, "letters outside ASCII before @ are not deliverable everywhere"))
    raise ValueError(_problem(address, "not an address"))


def _problem(address: str, what: str) -> str:
    shown = address if len(address) <= SHOWN else address[:SHOWN] + "..."
    return f"{shown!r}: {what}"
