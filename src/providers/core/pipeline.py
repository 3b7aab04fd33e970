"""One guarded call to one vendor: breaker, budget, limits, deadline, attempts. The order of steps is this file."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from pydantic import ValidationError

from providers.core.attempt import ATTEMPT, NO_PLACE, Attempt
from providers.core.breaker import Breaker
from providers.core.errors import (
    BadResponseError,
    BudgetExceededError,
    ConfigurationError,
    CredentialRevokedError,
    Outcome,
    ProviderError,
    ProviderTimeoutError,
    RateLimitedError,
    UnsupportedOperationError,
)
from providers.core.models import invalid_request
from providers.core.operation import Effect
from providers.core.retry import may_repeat, repeat
from providers.core.telemetry import logger

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, Callable
    from decimal import Decimal

    from providers.core.budget import Budget, Reservation
    from providers.core.cache import Cache
    from providers.core.clock import Clock
    from providers.core.health import Health
    from providers.core.limits import Limiter, Place
    from providers.core.models import CheckResult
    from providers.core.operation import Operation, VendorFacts
    from providers.core.redact import Redactor
    from providers.core.store import Store
    from providers.core.telemetry import Hook
    from providers.core.writes import Writes

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


class Adapter(Protocol):
    """What every adapter has, whatever its capability. It translates: no retry, cache, log or catch-all."""

    @property
    def facts(self) -> VendorFacts:
        """The vendor's entry in the catalog."""
        ...

    def translate(self, error: Exception) -> ProviderError | None:
        """Our error for a vendor's exception; None when it is not the vendor's failure."""
        ...

    async def check(self) -> CheckResult:
        """Prove the credential by the cheapest read; raise what the vendor answers otherwise."""
        ...

    async def aclose(self) -> None:
        """Release what the adapter alone holds; connections are shared and not its own."""
        ...


A = TypeVar("A", bound=Adapter)
A_contra = TypeVar("A_contra", bound=Adapter, contravariant=True)


class Guards:
    """What stands between us and one account: shared by all operations and views that use it."""

    __slots__ = ("breaker", "health", "limiter")

    def __init__(self, limiter: Limiter | None, breaker: Breaker, health: Health) -> None:
        self.limiter = limiter
        self.breaker = breaker
        self.health = health


class Target(Generic[A]):
    """One vendor account that a capability can be sent to."""

    __slots__ = ("_build", "_building", "account", "adapter", "budget", "facts", "guards", "redact")

    def __init__(
        self,
        facts: VendorFacts,
        build: Callable[[], A | Awaitable[A]],
        *,
        account: str,
        redact: Redactor,
        guards: Guards,
        budget: Budget | None,
    ) -> None:
        self.facts = facts
        self.account = account
        self.redact = redact
        self.guards = guards
        self.budget = budget
        self.adapter: A | None = None
        self._build = build
        self._building: asyncio.Future[A] | None = None

    async def ready(self) -> A:
        """The adapter, built at its first use; two first uses at once build one."""
        import asyncio

        if self.adapter is not None:
            return self.adapter
        building = self._building
        if building is None or building.get_loop() is not asyncio.get_running_loop():
            built = self._build()
            if not isinstance(built, Awaitable):
                self.adapter = built
                return built
            building = self._building = asyncio.ensure_future(built)
            building.add_done_callback(self._built)
        # Shielded: one caller's deadline is not the others'.
        return await asyncio.shield(building)

    def _built(self, building: asyncio.Future[A]) -> None:
        if self._building is building:
            self._building = None
        if not building.cancelled() and building.exception() is None:
            self.adapter = building.result()

    def ready_now(self) -> A:
        """The adapter, for callers that cannot wait. Raises `ConfigurationError` if that takes time."""
        adapter = self.adapter or self._build()
        if isinstance(adapter, Coroutine):
            adapter.close()
        if isinstance(adapter, Awaitable):
            msg = f"{self.facts.vendor}: its credentials or its library come with the first call; make one first"
            raise ConfigurationError(msg, vendor=self.facts.vendor)
        self.adapter = adapter
        return adapter


class Metering(Generic[A_contra, T_contra]):
    """For operations whose price is known when they are done: what a call may cost at most, and what it did cost.

    Both in the currency of the vendor's prices; None for not known. `later` gets what is set aside for a result whose
    price is known some other time.
    """

    __slots__ = ("at_most", "later", "service", "spent")

    def __init__(
        self,
        at_most: Callable[[A_contra], Decimal | None],
        spent: Callable[[T_contra], Decimal | None],
        *,
        service: str = "",
        later: Callable[[T_contra, Reservation], Awaitable[None]] | None = None,
    ) -> None:
        self.at_most = at_most
        self.spent = spent
        self.service = service
        self.later = later


@dataclass(slots=True, eq=False)
class Call:
    """One call of a caller's, over all attempts and vendors. `unknown` is sticky; `place` is for the first attempt.

    `generated`: the key is of our own making, so that the caller cannot give it again. `patience`: seconds that one
    vendor may make us wait when another can be asked. `streaming`: it goes on after its first item, and holds its
    place and what is reserved until it ends. `cost` is what it is known to have cost.
    """

    operation: Operation
    deadline: float
    key: str | None = None
    units: int = 1
    vendor: str = ""
    attempts: int = 0
    unknown: bool = False
    place: Place | None = None
    generated: bool = False
    metering: Metering[Any, Any] | None = None
    reserved: Reservation | None = None
    patience: float = inf
    streaming: bool = False
    cost: Decimal | None = None

    @property
    def counted(self) -> int | None:
        """How many units it is to budgets and rates; None when it is none."""
        return self.units if self.operation.unit is not None else None


@dataclass(slots=True, frozen=True, eq=False)
class Pipeline:
    """What all calls of one `Providers` share."""

    clock: Clock
    store: Store
    writes: Writes
    cache: Cache
    hooks: tuple[Hook, ...] = ()

    async def run(self, call: Call, target: Target[A], step: Callable[[A], Awaitable[T]]) -> T:
        """Do `step` with the target's adapter. Raises only `ProviderError`, cancellation, or a bug as it is."""
        breaker = target.guards.breaker
        call.vendor, call.reserved = target.facts.vendor, None
        try:
            if target.facts.unsupported:
                refuse_unsupported(call.operation, target.facts)
            if target.guards.health.stale:
                await target.guards.health.look()
            if breaker.open:
                await breaker.check()
            if target.budget is not None and call.operation.unit is not None:
                call.reserved = await self._reserve(call, target, target.budget)
            try:
                result = await self._attempt(call, target, step)
            except ProviderError as error:
                result = await self._again(error, call, target, step)
        except BaseException as error:
            # What one of several metered attempts may have cost is not in the reservation any more.
            refused = not call.unknown or (call.metering is not None and isinstance(error, ProviderError))
            if call.reserved is not None and target.budget is not None and refused:
                await target.budget.release(call.reserved)
            if isinstance(error, ProviderError):
                self._finish(error, call, target)
            raise
        if call.streaming:
            return result
        if call.metering is not None:
            await self._settle(call, target, call.metering, result)
        await breaker.succeeded()
        return result

    async def follow(
        self, call: Call, target: Target[A], adapter: A, first: T, source: AsyncGenerator[T]
    ) -> AsyncGenerator[T]:
        """All of a stream that has begun. Nothing is repeated from here on; it is settled however it ends."""
        limiter, clock, breaker = target.guards.limiter, self.clock, target.guards.breaker
        last = first
        try:
            if breaker.open:
                await breaker.succeeded()
            yield first
            while True:
                seconds = min(call.operation.item_timeout, call.deadline - clock.monotonic())
                try:
                    with clock.timeout(seconds):
                        item = await anext(source, None)
                except Exception as error:
                    failure = _named(error, adapter, seconds, sent=True)
                    if failure is None:
                        raise
                    call.unknown |= call.operation.effect is not Effect.READ
                    await self._failed(failure, call, target)
                    self._finish(failure, call, target)
                    raise failure from (None if failure is error else error)
                if item is None:
                    # Not before: one whose streams break off every time is to be left alone.
                    await breaker.succeeded()
                    return
                last = item
                yield item
        finally:
            if limiter is not None:
                limiter.leave()
            await source.aclose()
            if call.metering is not None:
                await self._settle(call, target, call.metering, last)

    async def _reserve(self, call: Call, target: Target[A], budget: Budget) -> Reservation:
        unit, metering = call.operation.unit or "", call.metering
        if metering is None:
            return await budget.reserve(unit, call.units)
        at_most = metering.at_most(target.adapter or await self._ready(call, target))
        if at_most is None and budget.counts_money:
            msg = "its price is not known, and there is a budget in money"
            raise ConfigurationError(msg, code="price")
        return await budget.reserve(unit, call.units, cost=at_most, service=metering.service)

    async def _settle(self, call: Call, target: Target[A], metering: Metering[A, T], result: T) -> None:
        """Count what it cost instead of what it might have. Not known: that stays counted."""
        call.cost = cost = metering.spent(result)
        if call.reserved is not None and target.budget is not None:
            try:
                if cost is not None:
                    await target.budget.settle(call.reserved, cost)
                elif metering.later is not None:
                    await metering.later(result, call.reserved)
            except ProviderError:
                # The result is there, and must not pass for a failure; what is counted is too much.
                logger.exception("what %s cost could not be counted", call.operation.name)

    async def _again(self, error: ProviderError, call: Call, target: Target[A], step: Callable[[A], Awaitable[T]]) -> T:
        operation = call.operation
        deduplicated = call.key is not None and operation.name in target.facts.deduplicates
        last = error

        def may(failure: ProviderError) -> bool:
            nonlocal last
            last = failure
            again = may_repeat(operation, failure, unknown=call.unknown, deduplicated=deduplicated)
            if again:
                logger.info(
                    "%s at %s failed (%s); may be repeated", operation.name, target.facts.vendor, type(failure).__name__
                )
            return again

        async def attempt() -> T:
            if call.metering is not None and call.reserved is None and target.budget is not None:
                # The one before may have cost something.
                try:
                    call.reserved = await self._reserve(call, target, target.budget)
                except BudgetExceededError:
                    raise last from None
            return await self._attempt(call, target, step)

        return await repeat(
            error,
            attempt,
            attempts=operation.attempts,
            deadline=call.deadline,
            patience=call.patience,
            clock=self.clock,
            may=may,
        )

    async def _ready(self, call: Call, target: Target[A]) -> A:
        """The adapter. Credentials that have to be fetched, and libraries, count against the deadline."""
        try:
            with self.clock.timeout(call.deadline - self.clock.monotonic()):
                return await target.ready()
        except TimeoutError as error:
            msg = "the credentials, or the vendor's library, did not come in time"
            raise ProviderTimeoutError(msg, code="credentials", outcome=Outcome.NOT_APPLIED) from error

    async def _attempt(self, call: Call, target: Target[A], step: Callable[[A], Awaitable[T]]) -> T:
        clock = self.clock
        limiter = target.guards.limiter
        adapter = target.adapter or await self._ready(call, target)
        if limiter is not None and not limiter.try_enter():
            place, call.place = call.place, None
            deadline = min(call.deadline, clock.monotonic() + call.patience)
            await limiter.enter(deadline, operation=call.operation.name, units=call.counted, place=place)
        call.attempts += 1
        now = clock.monotonic()
        seconds = min(call.operation.attempt_timeout, call.deadline - now)
        attempt = Attempt(now + seconds, placed=now)
        token = ATTEMPT.set(attempt)
        try:
            try:
                if seconds <= 0:
                    attempt.sent = False
                    raise TimeoutError
                with clock.timeout(seconds):
                    return await step(adapter)
            except ProviderError:
                raise
            except Exception as error:
                named = _named(error, adapter, seconds, sent=attempt.sent)
                if named is None:
                    raise
                raise named from error
        except ProviderError as error:
            await self._failed(error, call, target)
            if call.metering is not None and error.may_have_applied:
                # It stays counted; a next attempt has to have its own.
                call.reserved = None
            raise
        except BaseException:
            # Cancelled, or a bug: what has left may have been applied.
            call.unknown |= attempt.sent and call.operation.effect is not Effect.READ
            raise
        finally:
            ATTEMPT.reset(token)
            if limiter is not None and not call.streaming:
                limiter.leave()

    async def _failed(self, error: ProviderError, call: Call, target: Target[A]) -> None:
        """After each failed attempt."""
        # Also of one that is repeated: it stands in the traceback of the last.
        sign(error, target, call.operation.name)
        if call.operation.effect is Effect.READ:
            error.outcome = Outcome.NOT_APPLIED
            error.retryable = error.repeatable
        elif error.may_have_applied:
            call.unknown = True
        if isinstance(error, RateLimitedError) and error.code == NO_PLACE:
            return  # our own limit: the vendor said nothing
        await target.guards.breaker.failed(error)
        if isinstance(error, RateLimitedError) and error.retry_after and target.guards.limiter is not None:
            await target.guards.health.pause(error.retry_after)

    def _finish(self, error: ProviderError, call: Call, target: Target[A]) -> None:
        """Once, before the error leaves: who, what, nothing secret, and the worst outcome of all attempts."""
        sign(error, target, call.operation.name)
        if call.operation.effect is Effect.IDEMPOTENT:
            error.retryable = error.repeatable
        elif call.unknown:
            error.outcome = Outcome.UNKNOWN
            again = call.key is not None and not call.generated
            error.retryable = again and call.operation.name in target.facts.deduplicates


def _named(error: Exception, adapter: Adapter, seconds: float, *, sent: bool) -> ProviderError | None:
    """Our error for what an attempt ended in; None for a bug."""
    if isinstance(error, ProviderError):
        return error
    if isinstance(error, TimeoutError):
        outcome = Outcome.UNKNOWN if sent else Outcome.NOT_APPLIED
        return ProviderTimeoutError(f"no answer within {max(seconds, 0):g} seconds", code="timeout", outcome=outcome)
    if isinstance(error, ValidationError):
        # Adapters read replies through models: what does not fit them is not what is documented.
        msg = f"the reply is not as documented: {invalid_request(error).message}"
        return BadResponseError(msg, code="reply")
    return adapter.translate(error)


def sign(error: ProviderError, target: Target[A], operation: str) -> None:
    """Say in an error that leaves who failed at what, and nothing secret; also in those that it comes of."""
    cause = error.__cause__ or error.__context__
    if isinstance(cause, ProviderError):
        sign(cause, target, operation)
    error.vendor = error.vendor or target.facts.vendor
    error.operation = error.operation or operation
    error.message = target.redact(error.message)
    error.args = (error.message,)
    if error.code is not None:
        error.code = target.redact(error.code)[:100]
    if error.field is not None:
        error.field = target.redact(error.field)
    if error.request_id is not None:
        error.request_id = target.redact(error.request_id)[:200]
    if isinstance(error, CredentialRevokedError) and error.reconnect_url is not None:
        error.reconnect_url = target.redact(error.reconnect_url)


def refuse_unsupported(operation: Operation, facts: VendorFacts) -> None:
    """Raise `UnsupportedOperationError` for an operation that the vendor's facts say it cannot do."""
    why = facts.unsupported.get(operation.name.partition(".")[2])
    if why is not None:
        raise UnsupportedOperationError(why)


_attributes: dict[type, frozenset[str]] = {}


def _attributes_of(kind: type) -> frozenset[str]:
    found = _attributes.get(kind)
    if found is None:
        fields = (getattr(kind, name, {}) for name in ("model_fields", "__dataclass_fields__"))
        found = _attributes[kind] = frozenset(dir(kind)).union(*fields)
    return found


def refuse_features(facts: VendorFacts, request: object) -> None:
    """Raise `UnsupportedOperationError` for a part of a request that is set and that the vendor cannot express."""
    named = _attributes_of(type(request))
    for feature, why in facts.unsupported.items():
        # Looked up before it is asked for: models take long to say that they have no such attribute.
        if feature in named and getattr(request, feature):
            raise UnsupportedOperationError(f"{feature}: {why}", field=feature)
