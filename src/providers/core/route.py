"""Which vendor serves a call: the first that works, every one, or one by name."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from providers.core.breaker import NOT_ASKED
from providers.core.errors import BadResponseError, Fault, InvalidRequestError, ProviderError, UnsupportedOperationError
from providers.core.operation import Effect
from providers.core.pipeline import Adapter, Call, Pipeline, Target
from providers.core.retry import LONGEST_WAIT, may_fail_over
from providers.core.telemetry import CallEnd, CallStart, digest, logger
from providers.core.writes import payload_digest, scope

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Sequence

    from providers.core.operation import Operation
    from providers.core.pipeline import Metering

A = TypeVar("A", bound=Adapter)
A_contra = TypeVar("A_contra", bound=Adapter, contravariant=True)
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True, eq=False)
class Safeguards(Generic[A_contra, T_co]):
    """What stands round a write that must happen once.

    Attributes:
        before: raises when nothing may be sent. Asked once, after an earlier result of the same key.
        look_up: how to find out what became of a write whose outcome is unknown, as a READ of its own.
        find: what the vendor has made by this very request since a moment (unix time); None proves nothing.

    """

    before: Callable[[], Awaitable[None]] | None = None
    look_up: Operation | None = None
    find: Callable[[A_contra, float], Awaitable[T_co | None]] | None = None


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
        safeguards: Safeguards[A, T] | None = None,
        metering: Metering[A, T] | None = None,
    ) -> T:
        """The answer of the first vendor that gives one, by the rule of repetition."""
        return await self._call(
            operation,
            self.targets,
            step,
            key,
            payload,
            units,
            timeout,
            fresh=fresh,
            guards=safeguards,
            metering=metering,
        )

    async def stream(
        self,
        operation: Operation,
        step: Callable[[A], AsyncGenerator[T]],
        *,
        vendor: str | None = None,
        timeout: float | None = None,
        metering: Metering[A, T] | None = None,
    ) -> AsyncGenerator[T]:
        """The items of the first vendor that gives one. From then on nothing is repeated, and nobody else asked.

        With `vendor` only that one is asked. `timeout` is for all of it. Closing it early ends the vendor's stream and
        settles what it cost.
        """
        pipeline = self._pipeline
        targets = self.targets if vendor is None else (self.target(vendor),)
        seconds = operation.timeout if timeout is None else timeout
        call = Call(operation, pipeline.clock.monotonic() + seconds, metering=metering)

        async def begin(adapter: A) -> tuple[A, T, AsyncGenerator[T]]:
            source = step(adapter)
            try:
                first = await anext(source, None)
                if first is None:
                    raise BadResponseError("the stream ended before it began", code="truncated")
            except BaseException:
                await source.aclose()
                raise
            call.streaming = True
            return adapter, first, source

        with self._watching(call):
            adapter, first, source = await self._in_order(call, targets, begin)
            target = self.target(call.vendor)
            async with aclosing(pipeline.follow(call, target, adapter, first, source)) as items:
                try:
                    async for item in items:
                        yield item
                except ProviderError as error:
                    error.tenant = error.tenant or self.tenant or None
                    raise

    async def one(
        self,
        operation: Operation,
        vendor: str | None,
        step: Callable[[A], Awaitable[T]],
        *,
        key: str | None = None,
        generated: bool = False,
        payload: object = None,
        units: int = 1,
        timeout: float | None = None,
        fresh: bool = False,
        safeguards: Safeguards[A, T] | None = None,
    ) -> T:
        """The answer of the vendor named, or of the first configured.

        `generated`: the key is of our own making, and a repeat of the caller's would have another.
        """
        targets = (self.target(vendor),)
        return await self._call(
            operation,
            targets,
            step,
            key,
            payload,
            units,
            timeout,
            fresh=fresh,
            guards=safeguards,
            generated=generated,
        )

    async def composed(
        self,
        operation: Operation,
        compose: Callable[[], Awaitable[T]],
        *,
        payload: object,
        fresh: bool = False,
        whole: Callable[[T], bool],
    ) -> T:
        """What `compose` makes of several cached answers, kept as it is in this process for `operation.cache` seconds.

        That is added to the age of its parts. Only what is `whole` is kept. It must not be changed by who gets it.
        """
        cache = self._pipeline.cache
        question = f"{self.tenant}/{'+'.join([target.account for target in self.targets])}/{payload_digest(payload)}"
        found = None if fresh else cache.composed(operation, question)
        if found is None:
            found = await compose()
            if whole(found):
                cache.compose(operation, question, found)
        return cast("T", found)

    async def pages(
        self,
        operation: Operation,
        vendor: str | None,
        step: Callable[[A, str], Awaitable[tuple[list[T], str]]],
        *,
        payload: object = None,
        timeout: float | None = None,
        fresh: bool = False,
    ) -> AsyncIterator[T]:
        """What is on all pages of a vendor's list, read as they are needed. `timeout` is for each page.

        `step` reads one page, from the cursor `""`, and gives that of the next, `""` at the end.
        """
        cursor = ""
        while True:
            items, cursor = await self.one(
                operation, vendor, _page(step, cursor), payload=[payload, cursor], timeout=timeout, fresh=fresh
            )
            for item in items:
                yield item
            if not cursor:
                return

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
        guards: Safeguards[A, T] | None = None,
        generated: bool = False,
        metering: Metering[A, T] | None = None,
    ) -> T:
        seconds = operation.timeout if timeout is None else timeout
        call = Call(
            operation, self._pipeline.clock.monotonic() + seconds, key, units, generated=generated, metering=metering
        )
        if self._pipeline.hooks:
            with self._watching(call):
                return await self._run(call, targets, step, payload, guards, fresh=fresh)
        return await self._run(call, targets, step, payload, guards, fresh=fresh)

    async def carry_out(self, call: Call, step: Callable[[A], Awaitable[T]]) -> T:
        """As `first`, for who keeps the record of the call: a write with a journal of its own."""
        with self._watching(call):
            return await self._in_order(call, self.targets, step)

    async def settled(self, operation: Operation, key: str, kind: type[T]) -> T | None:
        """The result of the write of this key, if it was done and is still remembered."""
        found = await self._pipeline.writes.settled(operation, f"{self._scope}/{operation.name}/{key}")
        return found if isinstance(found, kind) else None

    async def settle(self, operation: Operation, key: str, result: object) -> None:
        """Evidence came that the write of this key happened, if its outcome is unknown: `result` answers repeats."""
        await self._pipeline.writes.settle(f"{self._scope}/{operation.name}/{key}", result)

    async def _run(
        self,
        call: Call,
        targets: tuple[Target[A], ...],
        step: Callable[[A], Awaitable[T]],
        payload: object,
        guards: Safeguards[A, T] | None,
        *,
        fresh: bool,
    ) -> T:
        """Under the call's idempotency key, its lock, or through the cache, as the operation says."""
        operation = call.operation
        if operation.effect is Effect.ONCE:
            return await self._once(call, targets, step, payload, guards)
        if operation.exclusive:
            from providers.core.lock import LEASE, locked

            name = f"{operation.name}/{targets[0].account}/{payload_digest(payload)}"
            pipeline = self._pipeline
            # Nobody else gets it while this call may last.
            lease = max(LEASE, call.deadline - pipeline.clock.monotonic())
            async with locked(name, store=pipeline.store, clock=pipeline.clock, deadline=call.deadline, lease=lease):
                return await self._in_order(call, targets, step)
        if operation.cache and operation.effect is Effect.READ:
            return await self._cached(call, targets, step, payload, fresh=fresh)
        return await self._in_order(call, targets, step)

    async def _cached(
        self,
        call: Call,
        targets: tuple[Target[A], ...],
        step: Callable[[A], Awaitable[T]],
        payload: object,
        *,
        fresh: bool,
    ) -> T:
        operation = call.operation
        asker = f"{self.tenant}/{'+'.join([target.account for target in targets])}"
        whose = asker
        name = operation.name.partition(".")[2]
        if all(name in target.facts.shared for target in targets):
            # Of the vendors, not of an account: with fewer slashes than any asker has.
            whose = "+".join([target.facts.vendor for target in targets])
        try:
            return await self._pipeline.cache.through(
                operation,
                f"{whose}/{payload_digest(payload)}",
                lambda: self._in_order(call, targets, step),
                asker=asker,
                fresh=fresh,
                until=call.deadline,
            )
        except ProviderError as error:
            error.tenant = error.tenant or self.tenant or None
            raise

    async def _once(
        self,
        call: Call,
        targets: tuple[Target[A], ...],
        step: Callable[[A], Awaitable[T]],
        payload: object,
        guards: Safeguards[A, T] | None,
    ) -> T:
        operation, pipeline = call.operation, self._pipeline

        async def run(began: float) -> T:
            if guards is None:
                return await self._in_order(call, targets, step)
            if guards.before is not None:
                await guards.before()
            try:
                return await self._in_order(call, targets, step)
            except ProviderError:
                found = await find(call.vendor, began) if call.unknown else None
                if found is None:
                    raise
                return found

        async def find(vendor: str, since: float) -> T | None:
            return None if guards is None else await self._find(call, targets, guards, vendor, since)

        if call.key is not None:
            facts, alone = targets[0].facts, len(targets) == 1
            return await pipeline.writes.once(
                call,
                call.key,
                payload_digest(payload),
                run,
                scope=self._scope,
                limiter=targets[0].guards.limiter,
                find=find,
                vendor=facts.vendor if alone else "",
                deduplicated_for=facts.deduplicates_for if alone and operation.name in facts.deduplicates else 0.0,
            )
        try:
            return await run(pipeline.clock.time())
        except BaseException as error:
            if call.unknown:
                await pipeline.writes.note_unknown(operation, error, scope=self._scope, payload=payload_digest(payload))
            raise

    async def _find(
        self, call: Call, targets: tuple[Target[A], ...], guards: Safeguards[A, T], vendor: str, since: float
    ) -> T | None:
        """What became of a write: from the vendor that was asked, or from each where that is not known."""
        find, operation = guards.find, guards.look_up
        if find is None or operation is None:
            return None
        for target in targets:
            if vendor in {"", target.facts.vendor}:
                try:
                    looking = Call(operation, call.deadline)
                    found = await self._pipeline.run(looking, target, lambda adapter: find(adapter, since))
                except ProviderError as error:
                    logger.info("%s at %s found nothing out: %r", operation.name, target.facts.vendor, error)
                    continue
                if found is not None:
                    return found
        return None

    async def _in_order(self, call: Call, targets: tuple[Target[A], ...], step: Callable[[A], Awaitable[T]]) -> T:
        last = len(targets) - 1
        failed: ProviderError | None = None
        for position, target in enumerate(targets):
            # Who has to wait long for one vendor asks the next.
            call.patience = inf if position == last else LONGEST_WAIT
            try:
                return await self._pipeline.run(call, target, step)
            except ProviderError as error:
                error.tenant = error.tenant or self.tenant or None
                late = call.deadline <= self._pipeline.clock.monotonic()
                if position == last and failed is not None and isinstance(error, UnsupportedOperationError):
                    # Why the one failed that can do it says more.
                    raise failed from failed.__cause__
                if position == last or late or not may_fail_over(call.operation, error, unknown=call.unknown):
                    raise
                failed = failed if isinstance(error, UnsupportedOperationError) else error
                level = logger.error if error.fault is Fault.ACCOUNT else logger.warning
                if error.code == NOT_ASKED or isinstance(error, UnsupportedOperationError):
                    # Said when it opened, and by its facts; not again for every call.
                    level = logger.info
                level("%s at %s failed, asking the next vendor: %r", call.operation.name, target.facts.vendor, error)
        msg = f"{call.operation.name}: no vendor is configured"
        raise UnsupportedOperationError(msg)

    @contextmanager
    def _watching(self, call: Call) -> Generator[None]:
        clock = self._pipeline.clock
        begun = clock.monotonic()
        start = CallStart(call.operation.name, digest(self.tenant), digest(call.key or ""))
        # What a hook sets for the calls within must not stay with who reads a stream, between its items.
        context = copy_context() if call.operation.streams else None
        ends = [hook(start) if context is None else context.run(hook, start) for hook in self._pipeline.hooks]
        failure: BaseException | None = None
        try:
            yield
        except GeneratorExit:
            raise  # left early, as one may
        except BaseException as error:
            failure = error
            raise
        finally:
            end = CallEnd(call.vendor, call.attempts, clock.monotonic() - begun, failure, call.cost)
            for finish in reversed(ends):
                if context is None:
                    finish(end)
                else:
                    context.run(finish, end)


def _page(
    step: Callable[[A, str], Awaitable[tuple[list[T], str]]], cursor: str
) -> Callable[[A], Awaitable[tuple[list[T], str]]]:
    return lambda adapter: step(adapter, cursor)
