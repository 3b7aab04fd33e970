"""What the suites of all capabilities ask in the same words."""

from __future__ import annotations

import asyncio
import pickle
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar, cast

import pytest

from providers.core.errors import (
    ConfigurationError,
    InvalidRequestError,
    Outcome,
    ProviderTimeoutError,
    UnsupportedOperationError,
    WebhookVerificationError,
)
from providers.core.models import CheckState, RawRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
    from contextlib import AbstractContextManager

    from providers.core.capability import Capability
    from providers.core.errors import ProviderError
    from providers.core.models import Model, WebhookResult
    from providers.core.operation import VendorFacts
    from providers.core.pipeline import Adapter
    from providers.runtime import Providers
    from providers.testing.clock import ManualClock

    Call = Coroutine[object, object, object]
    SlowCalls = AsyncIterator[tuple[str | None, Call]]

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


async def cut_off(clock: ManualClock, stalled: Callable[[], AbstractContextManager[object]], call: Call) -> None:
    """The call is cancelled while the vendor does not answer, and ends at once."""
    with stalled():
        task = asyncio.create_task(call)
        await in_flight(clock)
        task.cancel()
        await ended(task, PATIENCE / 2)
        assert task.cancelled()


async def ended(task: asyncio.Task[object], within: float) -> None:
    """Wait for a call that must end by itself; an adapter that swallows its cancellation fails here."""
    done, _ = await asyncio.wait({task}, timeout=within)
    assert done, "the call does not end"


def pickles(error: ProviderError) -> bool:
    """Whether it says the same in another process."""
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 (our own)
    return type(again) is type(error) and str(again) == str(error) and vars(again) == vars(error)


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

    @property
    def stalled(self) -> Callable[[], AbstractContextManager[object]] | None:
        """While the context is open, the vendor does not answer."""
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


class Receiver(Protocol):
    """A capability that hears from its vendors."""

    async def webhook(self, request: RawRequest, *, vendor: str | None = None) -> WebhookResult[Any]:
        """Its events."""
        ...


async def only_what_was_signed(receiver: Receiver, request: RawRequest, *bodies: bytes) -> None:
    """A request is taken; with another body (these too), no signature, another one's, it is refused before it is read.

    As `WebhookVerificationError`, which is a `ValueError`, and pickles.
    """
    body, middle = request.body, len(request.body) // 2
    flipped = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
    others = (b"", body[:-1], body + b" ", flipped, *bodies)
    forged = [request.model_copy(update={"body": other}) for other in others]
    forged.append(request.model_copy(update={"headers": {"content-type": "application/json"}}))
    for name, value in request.headers.items():
        if "sign" in name or "stamp" in name or name == "authorization":
            last = "AAA" if value[-3:] != "AAA" else "BBB"
            values = ("", "x", "t=1,v1=x", value[:-3] + last, value + "0", "é")
            forged += [request.model_copy(update={"headers": {**request.headers, name: other}}) for other in values]
    for one in forged:
        with pytest.raises(WebhookVerificationError) as caught:
            await receiver.webhook(one)
        assert isinstance(caught.value, ValueError)
        assert pickles(caught.value)
    assert (await receiver.webhook(request)).events


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

    def slow_calls(self, harness: H, providers: Providers, within: float) -> SlowCalls:
        """Calls with a timeout of so many seconds, one by one, and the operation that each fails at; None for any."""
        raise NotImplementedError

    def given_up(self, harness: H, providers: Providers, error: ProviderError) -> None:
        """What the error of such a call says besides who failed at what: never "again" where that may do it twice."""
        assert not (error.may_have_applied and error.retryable)

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

    def test_the_caller_s_timeout_is_kept(self, harness: H) -> None:
        """A vendor that does not answer costs `timeout` seconds, not more."""
        stalled = needed(harness.stalled, "stalled: a way to keep the vendor from answering")
        clock = harness.clock

        async def scenario(providers: Providers) -> None:
            async for operation, call in self.slow_calls(harness, providers, 5):
                with stalled():
                    due = clock.monotonic() + 5
                    task = asyncio.create_task(call)
                    await in_flight(clock)
                    # It may have waited for its turn.
                    clock.advance(due - 0.1 - clock.monotonic())
                    await asyncio.sleep(0.01)
                    assert not task.done()
                    clock.advance(due - clock.monotonic())
                    await ended(task, PATIENCE / 2)
                    with pytest.raises(ProviderTimeoutError) as caught:
                        await task
                error = caught.value
                assert operation in {None, error.operation}
                assert error.vendor == providers.capability(self.capability).vendors[0]
                assert pickles(error)
                self.given_up(harness, providers, error)

        run(harness, scenario)


class ReceivingConformance(CapabilityConformance[H]):
    """What is promised of those that hear from their vendors, too."""

    unsigned: ClassVar[tuple[bytes, ...]] = ()
    """Requests that a vendor might send, and did not sign."""

    async def receives(self, providers: Providers) -> bool:
        """Whether the vendor sends any; else it is asserted that what comes in its name is refused."""
        return True

    def test_a_request_nobody_knows_is_no_webhook(self, harness: H) -> None:
        """Not signed at all, and at a vendor that is not in use."""

        async def scenario(providers: Providers) -> None:
            if not await self.receives(providers):
                return
            receiver = cast("Receiver", providers.capability(self.capability))
            for body in (b"", b"[]", b"{}", b"\xff\x00", b"[" * 10_000, *self.unsigned):
                with pytest.raises(WebhookVerificationError):
                    await receiver.webhook(RawRequest(body=body))
            await invalid("vendor", receiver.webhook(RawRequest(body=b"[]"), vendor="nobody"))

        run(harness, scenario)
