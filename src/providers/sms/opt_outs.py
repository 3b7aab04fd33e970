"""The list of numbers that get no texts, kept in the state store, one per tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from providers.core.clock import utc
from providers.core.errors import RejectedError
from providers.sms.models import OptOut, OptOutSource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from providers.core.capability import Context

CODE = "opted_out"
"""The code of the `RejectedError` of a text to a number that opted out, whoever noticed it."""


class OptOuts:
    """Kept until they opt in again: `sms/opted-out/<scope>/<number>`."""

    def __init__(self, context: Context) -> None:
        self._store = context.store
        self._clock = context.clock
        self._prefix = f"sms/opted-out/{context.scope}/"

    async def refuse(self, number: str) -> None:
        """Raise `RejectedError` if the number is on the list."""
        if await self._store.get(self._prefix + number) is not None:
            msg = "to: this number opted out of texts; nothing was sent"
            raise RejectedError(msg, code=CODE, field="to")

    async def add(self, number: str, source: OptOutSource, vendor: str = "") -> OptOut:
        """Put a number on the list; what stands there already stays."""
        entry = OptOut(number=number, source=source, since=utc(self._clock.time()), vendor=vendor)
        (there,) = await self._store.claim([(self._prefix + number, entry.model_dump_json().encode())])
        return entry if there is None else OptOut.model_validate_json(there)

    async def remove(self, number: str) -> None:
        """Take it off; no error if it is not there."""
        await self._store.put([(self._prefix + number, None)])

    async def all(self) -> AsyncIterator[OptOut]:
        """In the order of their numbers."""
        async for _, value in self._store.scan(self._prefix):
            yield OptOut.model_validate_json(value)
