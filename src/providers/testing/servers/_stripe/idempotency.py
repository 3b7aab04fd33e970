"""Idempotency keys: the first answer, again, for 24 hours."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from providers.testing.servers._stripe.call import RefusalError, refused
from providers.testing.servers._stripe.dates import DAY

LONGEST: Final = 255


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer as it was given."""

    what: str
    status: int
    body: bytes
    until: float
    request_id: str


class Keys:
    """The keys of all accounts."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str | None, str], Kept] = OrderedDict()
        self.busy: set[str] = set()

    def find(self, account: str | None, key: str, what: str, now: float) -> Kept | None:
        """The answer to replay. Refuses a key that is in use, or was used for something else."""
        if not 0 < len(key) <= LONGEST:
            message = "Idempotency keys must be between 1 and 255 characters long."
            raise refused(message, kind="idempotency_error", kept=False)
        if key in self.busy:
            message = (
                f"There is currently another in-progress request using this Stripe-Idempotent-Key ({key}). Please wait."
            )
            raise refused(message, None, "idempotency_key_in_use", status=409, kind="idempotency_error", kept=False)
        while self._kept and (oldest := next(iter(self._kept.items())))[1].until <= now:
            del self._kept[oldest[0]]
        kept = self._kept.get((account, key))
        if kept is None or kept.until <= now:
            return None
        if kept.what != what:
            raise _other(key)
        return kept

    def keep(
        self, account: str | None, key: str, what: str, answer: tuple[int, bytes], now: float, request: str
    ) -> None:
        """Remember an answer."""
        self._kept[account, key] = Kept(what, *answer, now + DAY, request)
        self._kept.move_to_end((account, key))

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()
        self.busy.clear()


def _other(key: str) -> RefusalError:
    message = (
        "Keys for idempotent requests can only be used with the same parameters they were first used with. Try using a "
        f"key other than '{key}' if you meant to execute a different request."
    )
    return refused(message, kind="idempotency_error", kept=False)
