"""Which vendor serves a call: the first that works, every one, or one by name."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from providers.core.errors import Fault, InvalidRequestError, ProviderError, UnsupportedOperationError
from providers.core.operation import Effect
from providers.core.pipeline import Adapter, Call, Pipeline, Target
from providers.core.retry import may_fail_over
from providers.core.telemetry import CallEnd, CallStart, digest, logger
from providers.core.writes import payload_digest, scope

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from providers.core.operation import Operation

A = TypeVar("A", bound=Adapter)
T = TypeVar("T")


class Route(Generic[A]):
    """The vendors of one capability for one tenant, in configured order."""

    __slots__ = ("_pipeline", "_scope", "demo", "targets", "tenant")

    def __init__(self, pipeline: Pipeline, targets: Sequence[Target[A]], *, tenant: str = "") -> None:
        self._pipeline = pipeline
        self.targets = tuple(targets)
        self.tenant = tenant
        self.demo = all(target.facts.demo for target in self.targets)
        self._scope = scope(tenant, demo=self.demo)

    @property
    def vendors(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(target.facts.vendor for target in self.targets)

    def target(self, vendor: str | None) -> Target[A]:
        """The one of that name, or the first. Raises `InvalidRequestError` for one that is not in use."""
        if vendor is None:
            return self.targets[0]
        for target in self.targets:
            if target.facts.vendor == vendor:
                return target
        used = ", ".join(self.vendors)
        if vendor == "demo":
            msg = f"vendor: 'demo' made this, but live vendors are in use here: {used}"
        else:
            msg = f"vendor: {vendor!r} is not in use here; in use: {used}"
        raise InvalidRequestError(msg, field="vendor", vendor=vendor)

    async def first(
        self,
        operation: Operation,
        step: Callable[[A], Awaitable[T]],
        *,
        key: str | None = None,
        payload: object = None,
        units: int = 1,
        timeout: float | None = None,
        fresh: bool = False,
    ) -> T:
        """The answer of the first vendor that gives one, by the rule of repetition."""
        return await self._call(operation, self.targets, step, key, payload, units, timeout, fresh=fresh)

    async def one(
        self,
        operation: Operation,
        vendor: str | None,
        step: Callable[[A], Awaitable[T]],
        *,
        key: str | None = None,
        payload: object = None,
        units: int = 1,
        timeout: float | None = None,
        fresh: bool = False,
    ) -> T:
        """The answer of the vendor named, or of the first configured."""
        target = self.target(vendor)
        return await self._call(operation, (target,), step, key, payload, units, timeout, fresh=fresh)

    async def every(
        self,
        operation: Operation,
        step: Callable[[A], Awaitable[T]],
        *,
        payload: object = None,
        timeout: float | None = None,
        fresh: bool = False,
    ) -> dict[str, T | ProviderError]:
        """Each vendor's answer or error, asked at the same time. Raises the first error when all failed."""

        async def ask(target: Target[A]) -> T | ProviderError:
            try:
                return await self._call(operation, (target,), step, None, payload, 1, timeout, fresh=fresh)
            except ProviderError as error:
                return error

        answers = await asyncio.gather(*(ask(target) for target in self.targets))
        failures = [answer for answer in answers if isinstance(answer, ProviderError)]
        if len(failures) == len(answers):
            raise failures[0]
        return dict(zip(self.vendors, answers, strict=True))

    async def _call(
        self,
        operation: Operation,
        targets: tuple[Target[A], ...],
        step: Callable[[A], Awaitable[T]],
        key: str | None,
        payload: object,
        units: int,
        timeout: float | None,
        *,
        fresh: bool,
    ) -> T:
        seconds = operation.timeout if timeout is None else timeout
        call = Call(operation, self._pipeline.clock.monotonic() + seconds, key, units)
        if self._pipeline.hooks:
            return await self._watched(call, lambda: self._recorded(call, targets, step, payload, fresh=fresh))
        return await self._recorded(call, targets, step, payload, fresh=fresh)

    async def carry_out(self, call: Call, step: Callable[[A], Awaitable[T]]) -> T:
        """As `first`, for who keeps the record of the call: a write with a journal of its own."""
        if self._pipeline.hooks:
            return await self._watched(call, lambda: self._in_order(call, self.targets, step))
        return await self._in_order(call, self.targets, step)

    async def _recorded(
        self,
        call: Call,
        targets: tuple[Target[A], ...],
        step: Callable[[A], Awaitable[T]],
        payload: object,
        *,
        fresh: bool,
    ) -> T:
        """Under the call's idempotency key, or through the cache, as the operation says."""
        operation = call.operation
        if operation.effect is Effect.ONCE:
            if call.key is not None:
                return await self._pipeline.writes.once(
                    call,
                    call.key,
                    payload_digest(payload),
                    lambda: self._in_order(call, targets, step),
                    scope=self._scope,
                    limiter=targets[0].guards.limiter,
                )
            try:
                return await self._in_order(call, targets, step)
            except BaseException as error:
                if call.unknown:
                    await self._pipeline.writes.note_unknown(
                        operation, error, scope=self._scope, payload=payload_digest(payload)
                    )
                raise
        if operation.exclusive:
            from providers.core.lock import locked

            name = f"{operation.name}/{targets[0].account}"
            pipeline = self._pipeline
            async with locked(name, store=pipeline.store, clock=pipeline.clock, deadline=call.deadline):
                return await self._in_order(call, targets, step)
        if operation.cache and operation.effect is Effect.READ:
            accounts = "+".join(target.account for target in targets)
            question = f"{self.tenant}/{accounts}/{payload_digest(payload)}"
            clock = self._pipeline.clock
            return await self._pipeline.cache.through(
                operation,
                question,
                lambda: self._in_order(call, targets, step),
                fresh=fresh,
                deadline=lambda: clock.timeout(call.deadline - clock.monotonic()),
            )
        return await self._in_order(call, targets, step)

    async def _in_order(self, call: Call, targets: tuple[Target[A], ...], step: Callable[[A], Awaitable[T]]) -> T:
        last = len(targets) - 1
        for position, target in enumerate(targets):
            try:
                return await self._pipeline.run(call, target, step)
            except ProviderError as error:
                error.tenant = error.tenant or self.tenant or None
                if position == last or not may_fail_over(call.operation, error, unknown=call.unknown):
                    raise
                level = logger.error if error.fault is Fault.ACCOUNT else logger.warning
                level("%s at %s failed, asking the next vendor: %r", call.operation.name, target.facts.vendor, error)
        msg = f"{call.operation.name}: no vendor is configured"
        raise UnsupportedOperationError(msg)

    async def _watched(self, call: Call, run: Callable[[], Awaitable[T]]) -> T:
        clock = self._pipeline.clock
        begun = clock.monotonic()
        start = CallStart(call.operation.name, digest(self.tenant), digest(call.key or ""))
        ends = [hook(start) for hook in self._pipeline.hooks]
        failure: BaseException | None = None
        try:
            return await run()
        except BaseException as error:
            failure = error
            raise
        finally:
            end = CallEnd(call.vendor, call.attempts, clock.monotonic() - begun, failure)
            for finish in reversed(ends):
                finish(end)
