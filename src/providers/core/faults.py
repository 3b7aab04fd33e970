"""Failures on purpose, for demos and tests: staged per operation, or chosen by the input."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from providers.core.errors import (
    AuthenticationError,
    InvalidRequestError,
    Outcome,
    PermissionDeniedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    QuotaExceededError,
    RateLimitedError,
    RejectedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from providers.core.errors import ProviderError

BY_WORD: dict[str, Callable[[], ProviderError]] = {
    "invalid": lambda: InvalidRequestError("the demo refuses this address", field="to", code="demo_invalid"),
    "rejected": lambda: RejectedError("the demo rejects this as spam", code="demo_spam"),
    "unauthorized": lambda: AuthenticationError("the demo refuses the credential", status=401),
    "denied": lambda: PermissionDeniedError("the demo's credential may not do this", status=403),
    "quota": lambda: QuotaExceededError("the demo's plan is used up"),
    "ratelimited": lambda: RateLimitedError("too many calls for the demo", status=429, retry_after=30),
    "unavailable": lambda: ProviderUnavailableError("the demo is down", status=503, outcome=Outcome.NOT_APPLIED),
    "timeout": lambda: ProviderTimeoutError("the demo did not answer", outcome=Outcome.UNKNOWN),
}
"""Word in the input (an address before @, a SKU) -> the error it provokes. The table of `docs/demo.md`."""


class Faults:
    """Errors waiting for the next calls of an operation."""

    def __init__(self) -> None:
        self._staged: dict[str, deque[ProviderError]] = {}

    def stage(self, operation: str, error: ProviderError, *, times: int = 1) -> None:
        """Let the next `times` calls of `operation` (e.g. `"email.send"`) at the demo fail with this error."""
        self._staged.setdefault(operation, deque()).extend([error] * times)

    def clear(self) -> None:
        """Forget what is staged."""
        self._staged.clear()

    def strike(self, operation: str, word: str = "") -> None:
        """Raise what is staged for the operation, or what the word of the input provokes."""
        staged = self._staged.get(operation)
        if staged:
            raise staged.popleft()
        provoked = BY_WORD.get(word)
        if provoked is not None:
            raise provoked()
