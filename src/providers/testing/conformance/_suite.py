"""What the suites of all capabilities ask in the same words."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, TypeVar, cast

import pytest

from providers.core.errors import ConfigurationError, InvalidRequestError, Outcome, UnsupportedOperationError
from providers.core.models import CheckState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence

    from providers.core.capability import Capability
    from providers.core.errors import ProviderError
    from providers.core.models import Model
    from providers.core.operation import VendorFacts
    from providers.core.pipeline import Adapter
    from providers.runtime import Providers
    from providers.testing.clock import ManualClock

PATIENCE = 60.0
"""Real seconds after which a test counts as hanging."""

T = TypeVar("T")
A = TypeVar("A", bound="Adapter")


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


class Harness(Protocol):
    """What every suite is told of an adapter: how it is opened, and its time."""

    @property
    def clock(self) -> ManualClock:
        """Which the test moves."""
        ...

    @property
    def open(self) -> Callable[..., Providers]:
        """A new `Providers` on it."""
        ...


H = TypeVar("H", bound=Harness)


def run(harness: Harness, scenario: Callable[[Providers], Coroutine[object, object, None]]) -> None:
    """One scenario on one new `Providers`, which is closed after it."""

    async def main() -> None:
        async with asyncio.timeout(PATIENCE), harness.open(clock=harness.clock) as providers:
            await scenario(providers)

    asyncio.run(main())


async def loaded(capability: Capability[A]) -> None:
    """A library that takes long to load comes with the first call."""
    try:
        capability.unwrap(object)
    except ConfigurationError:
        await capability.check()


async def proven(capability: Capability[A]) -> None:
    """The credential is, for all vendors in use, or one."""
    (result,) = await capability.check()
    assert result.vendor == capability.vendors[0]
    assert result.state is CheckState.OK
    assert result.ok
    check_model(result)
    assert await capability.check(result.vendor)
    await invalid("vendor", capability.check("nobody"))


class CapabilityConformance(Generic[H]):
    """What is promised of every capability."""

    capability: ClassVar[str]

    @pytest.fixture
    def harness(self) -> H:
        """How the adapter under test is opened."""
        msg = f"{type(self).__name__} must give a fixture `harness`"
        raise NotImplementedError(msg)

    async def simplest(self, providers: Providers) -> object:
        """The simplest call there is."""
        return await providers.capability(self.capability).check()

    def test_vendors_and_unwrap_lead_to_the_adapter(self, harness: H) -> None:
        """And to no other."""

        async def scenario(providers: Providers) -> None:
            capability = providers.capability(self.capability)
            await loaded(capability)
            adapter = cast("Adapter", capability.unwrap(object))
            assert capability.vendors == (adapter.facts.vendor,)
            assert capability.unwrap(type(adapter)) is adapter
            assert adapter.facts.capability == self.capability
            with pytest.raises(ConfigurationError):
                capability.unwrap(CapabilityConformance)

        run(harness, scenario)

    def test_closing_twice_is_no_error(self, harness: H) -> None:
        """Nor is closing what was never used."""

        async def scenario(providers: Providers) -> None:
            await self.simplest(providers)
            await providers.aclose()
            await harness.open(clock=harness.clock).aclose()

        run(harness, scenario)


def same_error(left: ProviderError, right: ProviderError) -> bool:
    """Whether two errors say the same."""
    return type(left) is type(right) and str(left) == str(right) and vars(left) == vars(right)
