"""What the suites of all capabilities ask in the same words."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

import pytest

from providers.core.errors import InvalidRequestError, Outcome, UnsupportedOperationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from providers.core.errors import ProviderError
    from providers.core.models import Model
    from providers.core.operation import VendorFacts
    from providers.testing.clock import ManualClock

T = TypeVar("T")


def needs(condition: bool, what: str) -> None:  # noqa: FBT001 (read as "needs this")
    """Skip the rest of the test, and say what the harness lacks."""
    if not condition:
        pytest.skip(f"the harness gives no {what}")


def needed(value: T | None, what: str) -> T:
    """The value; where the harness has none, the rest of the test is skipped and says so."""
    if value is None:
        pytest.skip(f"the harness gives no {what}")
    return value


async def invalid(field: str, call: Awaitable[object]) -> None:
    """The call is refused, and names the field."""
    with pytest.raises(InvalidRequestError) as caught:
        await call
    assert caught.value.field == field
    assert caught.value.outcome is Outcome.NOT_APPLIED
    assert not caught.value.retryable


async def either(field: str, call: Awaitable[object]) -> None:
    """The call is refused: too much of it, or none of it is supported."""
    with pytest.raises((InvalidRequestError, UnsupportedOperationError)) as caught:
        await call
    assert isinstance(caught.value, UnsupportedOperationError) or caught.value.field == field


async def declared(facts: VendorFacts, names: Sequence[str], call: Callable[[], Awaitable[object]]) -> bool:
    """Whether the facts say that the vendor cannot do one of these; then it is asserted that the call is refused."""
    if not any(name in facts.unsupported for name in names):
        return False
    with pytest.raises(UnsupportedOperationError) as caught:
        await call()
    assert caught.value.outcome is Outcome.NOT_APPLIED
    assert not caught.value.retryable
    return True


async def collect(items: AsyncIterator[T]) -> list[T]:
    """All of an async iterator."""
    return [item async for item in items]


async def in_flight(clock: ManualClock) -> None:
    """Wait until a call is under way: its deadline runs."""
    while not clock.waiting:  # noqa: ASYNC110 (nobody could set an event)
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)


async def ended(task: asyncio.Task[object], within: float) -> None:
    """Wait for a call that must end by itself; an adapter that swallows its cancellation fails here."""
    done, _ = await asyncio.wait({task}, timeout=within)
    assert done, "the call does not end"


def check_model(model: Model) -> None:
    """It reads back from its own JSON, and shows nothing of the vendor's raw reply."""
    dumped = model.model_dump_json()
    again = type(model).model_validate_json(dumped)
    assert again.model_dump() == model.model_dump()
    assert "raw" not in model.model_dump()
    assert "raw=" not in repr(model)
    with pytest.raises(ValueError, match="frozen"):
        setattr(model, next(iter(type(model).model_fields)), None)


def same_error(left: ProviderError, right: ProviderError) -> bool:
    """Whether two errors say the same."""
    return type(left) is type(right) and str(left) == str(right) and vars(left) == vars(right)
