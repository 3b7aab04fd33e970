"""Who texted STOP to whom: Twilio's default keywords, kept per sender, and per service when the sender is in one."""

from __future__ import annotations

from typing import Final

STOP: Final = frozenset(("STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "OPTOUT", "REVOKE"))
START: Final = frozenset(("START", "YES", "UNSTOP"))
HELP: Final = frozenset(("HELP", "INFO"))


def keyword(body: str) -> str | None:
    """``STOP``, ``START`` or ``HELP`` when the whole text is such a word."""
    word = body.strip().upper()
    for name, words in (("STOP", STOP), ("START", START), ("HELP", HELP)):
        if word in words:
            return name
    return None


class Stops:
    """The opt-outs of an account."""

    def __init__(self) -> None:
        self._held: set[tuple[str, str]] = set()

    def note(self, person: str, word: str | None, *senders: str | None) -> None:
        """Act on a keyword that a person texted; ``senders`` are the number and its service."""
        pairs = {(sender, person) for sender in senders if sender is not None}
        if word == "STOP":
            self._held |= pairs
        elif word == "START":
            self._held -= pairs

    def holds(self, sender: str, person: str) -> bool:
        """Whether this sender, or service, may not text the person."""
        return (sender, person) in self._held

    def clear(self) -> None:
        """Forget all."""
        self._held.clear()
