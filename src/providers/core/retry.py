"""When a failed call may be repeated, and when another vendor may be asked (`architecture.md` 2.7, one place)."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from providers.core.errors import Fault, ProviderError
from providers.core.operation import Effect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tenacity import RetryCallState

    from providers.core.clock import Clock
    from providers.core.operation import Operation

T = TypeVar("T")

FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0
"""Seconds of backoff when the vendor names none: random, doubling, up to the longest."""


def may_repeat(operation: Operation, error: ProviderError, *, unknown: bool, deduplicated: bool) -> bool:
    """Whether the same vendor may be asked again.

    `unknown`: some attempt of this call may have been applied. `deduplicated`: the vendor does a key only once.
    """
    if not error.repeatable:
        return False
    return operation.effect is not Effect.ONCE or deduplicated or not unknown


def may_fail_over(operation: Operation, error: ProviderError, *, unknown: bool) -> bool:
    """Whether another vendor may be asked. Never after an unknown outcome of a write that must happen once."""
    if operation.effect is Effect.ONCE and unknown:
        return False
    return error.fault is not Fault.REQUEST


async def repeat(
    first: ProviderError,
    attempt: Callable[[], Awaitable[T]],
    *,
    attempts: int,
    deadline: float,
    patience: float,
    clock: Clock,
    may: Callable[[ProviderError], bool],
) -> T:
    """Go on after a first failure: wait, try again, up to `attempts` in all and never past `deadline`.

    A wait longer than `patience` is not begun.
    """
    # Only failures pay for importing and running the engine.
    from tenacity import AsyncRetrying, retry_if_exception, wait_random_exponential

    backoff = wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT)

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, ProviderError) and error.retry_after is not None:
            return error.retry_after
        return backoff(state)

    def stop(state: RetryCallState) -> bool:
        wait = state.upcoming_sleep
        return state.attempt_number >= attempts or wait > patience or clock.monotonic() + wait >= deadline

    retrying = AsyncRetrying(
        stop=stop,
        wait=wait,
        sleep=clock.sleep,
        reraise=True,
        retry=retry_if_exception(lambda error: isinstance(error, ProviderError) and may(error)),
    )
    failures = [first]

    async def step() -> T:
        if failures:
            raise failures.pop()
        return await attempt()

    return await retrying(step)
