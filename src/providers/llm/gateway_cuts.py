"""What is known of the texts that the gateway keeps: under which limit each was made.

The gateway answers a prompt that it has answered before with the text it kept for it, whatever `max_tokens` says: a
text that was cut short is served later to who allows more. Nothing in its reply tells.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from providers.core.errors import ProviderError
from providers.core.json import from_json, to_json
from providers.core.telemetry import logger

if TYPE_CHECKING:
    from providers.core.store import Store

REMEMBERED = 7200.0
"""Seconds. The gateway keeps a text for one hour unless told otherwise; what is not known is asked for again."""

AWAITED = 600.0
"""Seconds that a text under a key is taken for the answer to a call of ours whose reply was lost."""


class Kept(NamedTuple):
    """The text kept for a prompt: the limit it was made under, and its tokens.

    No `limit`: somebody made it of whom nothing is known. No `tokens`: it was asked for, and no answer has come.
    """

    limit: int | None
    tokens: int | None

    def may_lack(self, wanted: int) -> bool:
        """Whether it is cut, or may be, below what is wanted."""
        tokens = self.tokens
        return tokens is not None and tokens < wanted and (self.limit is None or tokens >= self.limit)

    def seen(self, tokens: int) -> Kept:
        """With the tokens of the text that was served: of another one than was known nothing is known."""
        return Kept(self.limit if self.tokens in {None, tokens} else None, tokens)


class Cuts:
    """The record of one gateway's texts, in the store. A store that fails costs this record, not the answer.

    It goes by what the gateway's own cache goes by and we know: provider and model are the gateway's to choose, and
    where they differ the number of tokens does.
    """

    def __init__(self, store: Store, gateway: str) -> None:
        self._store = store
        self._gateway = gateway

    def key(self, *question: object) -> str:
        """Where the text that answers this is remembered."""
        return f"llm/cuts/{blake2b(to_json([self._gateway, *question]), digest_size=16).hexdigest()}"

    async def expect(self, key: str, limit: int) -> Kept | None:
        """What is known of the text; if nothing is, remember that it is asked for: its answer may get lost."""
        try:
            (there,) = await self._store.claim([(key, to_json([limit, None]))], ttl=AWAITED)
        except ProviderError as error:
            logger.warning("whether the gateway keeps a text that is cut cannot be looked up: %s", error)
            return None
        return None if there is None else _read(there)

    async def remember(self, key: str, kept: Kept | None) -> None:
        """Know this from now on; None for nothing any more."""
        try:
            await self._store.put([(key, None if kept is None else to_json(kept))], ttl=REMEMBERED)
        except ProviderError as error:
            logger.warning("what the gateway keeps cannot be remembered: %s", error)


def _read(there: bytes) -> Kept | None:
    try:
        limit, tokens = (None if part is None else int(str(part)) for part in _list(there))
    except ValueError:
        return None  # of another version
    return Kept(limit, tokens)


def _list(there: bytes) -> list[object]:
    value = from_json(there)
    return [*value] if isinstance(value, list) else []
