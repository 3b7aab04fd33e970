"""What all capabilities have in common for those who hold one."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from providers.core.errors import (
    AuthenticationError,
    ConfigurationError,
    Outcome,
    PermissionDeniedError,
    ProviderError,
    ProviderTimeoutError,
)
from providers.core.models import CheckResult, CheckState, Ref
from providers.core.operation import Effect, Operation
from providers.core.pipeline import Adapter
from providers.core.writes import scope

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from providers.core.clock import Clock
    from providers.core.route import Route
    from providers.core.store import Store

A = TypeVar("A", bound=Adapter)
K = TypeVar("K")

NO_DEADLINE = nullcontext()

REFUSED = (AuthenticationError, PermissionDeniedError, ConfigurationError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a capability gets besides its vendors: state, time, settings, the tenant and service it works for."""

    store: Store
    clock: Clock
    options: Mapping[str, str]
    tenant: str = ""
    demo: bool = False
    service: str = ""

    @property
    def scope(self) -> str:
        """Where keys are unique, for what keeps a journal of its own."""
        return scope(self.tenant, demo=self.demo)


class Capability(Generic[A]):
    """Base of `Email` and its siblings. Safe to share between tasks."""

    name: ClassVar[str]

    def __init__(self, route: Route[A], context: Context) -> None:
        self._route = route
        self._context = context

    @property
    def route(self) -> Route[A]:
        """The vendors behind it, for what is built on a capability."""
        return self._route

    @property
    def context(self) -> Context:
        """Shared state, time and settings, for what is built on a capability."""
        return self._context

    @property
    def vendors(self) -> tuple[str, ...]:
        """The vendors in use, in the order they are asked."""
        return self._route.vendors

    def unwrap(self, kind: type[K]) -> K:
        """The adapter of this class, for what only this vendor can do. Raises `ConfigurationError` if not in use."""
        for target in self._route.targets:
            adapter = target.ready_now()
            if isinstance(adapter, kind):
                return adapter
        msg = f"{self.name}: no {kind.__name__} is in use; vendors: {', '.join(self.vendors)}"
        raise ConfigurationError(msg)

    def _within(self, timeout: float | None, operation: str) -> AbstractContextManager[None]:
        """The caller's deadline for what no vendor is asked for: the journal, a webhook."""
        return NO_DEADLINE if timeout is None else self._deadline(timeout, operation)

    @contextmanager
    def _deadline(self, timeout: float, operation: str) -> Generator[None]:
        try:
            with self._context.clock.timeout(timeout):
                yield
        except TimeoutError as error:
            msg = f"not done within {timeout:g} seconds"
            raise ProviderTimeoutError(msg, operation=operation, code="timeout", outcome=Outcome.NOT_APPLIED) from error

    async def check(self, vendor: str | None = None, *, timeout: float | None = None) -> list[CheckResult]:
        """Ask each vendor in use, or one, whether our credential works. Free; a refusal is a result."""
        operation = Operation(name=f"{self.name}.check", effect=Effect.READ, result=CheckResult, attempts=2)
        targets = self._route.targets if vendor is None else (self._route.target(vendor),)
        results: list[CheckResult] = []
        for target in targets:
            try:
                results.append(
                    await self._route.one(
                        operation, target.facts.vendor, lambda adapter: adapter.check(), timeout=timeout
                    )
                )
            except ProviderError as error:
                state = CheckState.REFUSED if isinstance(error, REFUSED) else CheckState.UNREACHABLE
                results.append(CheckResult(vendor=target.facts.vendor, state=state, detail=str(error)))
        return results


def as_ref(ref: Ref | str) -> Ref:
    """A reference given as such or as its text."""
    return Ref.parse(ref) if isinstance(ref, str) else ref
