"""`providers`, blocking: for Celery tasks and scripts. The same names, the same arguments, no `await`.

One event loop on one thread per process does the work, whoever calls. Safe across fork: what was made before it works
after it, over connections of the new process. In a thread that runs an event loop it refuses (`BlockingCallError`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, Self, cast

from providers import catalog, runtime
from providers.core.ambient import Ambient
from providers.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType

    from providers.billing._sync import Billing
    from providers.core import models
    from providers.core._sync import Capability, Writes
    from providers.core.clock import Clock
    from providers.core.faults import Faults
    from providers.core.portal import BlockingCallError, iterate, run
    from providers.core.store import Store
    from providers.core.telemetry import Hook
    from providers.core.transport import Transport
    from providers.email._sync import CampaignStatus, Email
    from providers.llm._sync import Llm
    from providers.selection import Selection
    from providers.sms._sync import Sms
    from providers.sourcing._sync import Sourcing

__all__ = [
    "Billing",
    "BlockingCallError",
    "CampaignStatus",
    "CredentialSource",
    "Email",
    "Llm",
    "Providers",
    "Scope",
    "Sms",
    "Writes",
    "close",
    "current",
    "iterate",
    "reset",
    "run",
    "use",
]

_HOMES = {
    "BlockingCallError": "core.portal",
    "iterate": "core.portal",
    "run": "core.portal",
    "Writes": "core._sync",
    "Billing": "billing._sync",
    "Email": "email._sync",
    "Llm": "llm._sync",
    "Sms": "sms._sync",
    "Sourcing": "sourcing._sync",
    "CampaignStatus": "email._sync",
}


def __getattr__(name: str) -> object:
    # As in `providers`: what is used is loaded when it is used.
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"providers.{_HOMES[name]}"), name)


class CredentialSource(Protocol):
    """`providers.CredentialSource`, blocking: asked on a thread of its own, where it may block and call anything."""

    def get(self, vendor: str) -> Mapping[str, str]:
        """The variables of this vendor, by their documented names."""
        ...

    def put(self, vendor: str, values: Mapping[str, str]) -> None:
        """Store values that were refreshed."""
        ...


class Scope:
    """Every way to the outside world for one tenant, one attribute each. See `Providers`."""

    def __init__(self, twin: Callable[[], runtime.Scope]) -> None:
        self._twin = twin
        self._made: dict[str, Capability[Any]] = {}

    def __repr__(self) -> str:
        return f"sync.{self._twin()!r}"

    @property
    def sourcing(self) -> Sourcing:
        """Suppliers."""
        return cast("Sourcing", self._made.get("sourcing") or self.capability("sourcing"))

    @property
    def email(self) -> Email:
        """E-mail."""
        return cast("Email", self._made.get("email") or self.capability("email"))

    @property
    def sms(self) -> Sms:
        """SMS."""
        return cast("Sms", self._made.get("sms") or self.capability("sms"))

    @property
    def billing(self) -> Billing:
        """Billing."""
        return cast("Billing", self._made.get("billing") or self.capability("billing"))

    @property
    def llm(self) -> Llm:
        """Language models."""
        return cast("Llm", self._made.get("llm") or self.capability("llm"))

    @property
    def unknowns(self) -> Writes:
        """Writes whose outcome nobody knows, and the way to settle them."""
        from providers.core._sync import Writes

        return Writes(lambda: self._twin().unknowns)

    @property
    def faults(self) -> Faults:
        """Failures to stage at demo vendors. Those of this process: a fork forgets them."""
        return self._twin().faults

    def capability(self, name: str) -> Capability[Any]:
        """The capability of that name, as the attribute of that name gives it."""
        made = self._made.get(name)
        if made is None:
            from providers.core.portal import Twin

            outer = self._twin  # not self: what is made here must not keep its maker
            twin = Twin(lambda: outer().capability(name))
            twin()  # what is missing shows here, as it does there
            made = self._made[name] = _blocking(name)(twin)
        return made

    def selection(self, name: str) -> Selection:
        """Which vendors serve a capability here. Raises `ConfigurationError` when something is missing."""
        return self._twin().selection(name)

    def scoped(
        self,
        tenant: str,
        *,
        credentials: Mapping[str, str] | CredentialSource | models.CredentialSource | None = None,
        vendors: Mapping[str, str | Sequence[str]] | None = None,
        budgets: Mapping[str, str] | None = None,
    ) -> Scope:
        """A view for one tenant over the same connections: its own accounts, vendors and budgets, its own state.

        With `credentials` (values by variable name, or a `CredentialSource`) only application-level variables are
        inherited, never those of the platform's accounts. Without, the platform's accounts serve the tenant. A view
        has nothing to close.
        """
        from providers.core.portal import Twin

        given: Mapping[str, str] | models.CredentialSource | None
        given = credentials if credentials is None or isinstance(credentials, Mapping) else _OnThread(credentials)
        outer = self._twin
        twin = Twin(lambda: outer().scoped(tenant, credentials=given, vendors=vendors, budgets=budgets))
        twin()
        return Scope(twin)


class Providers(Scope):
    """Every way to the outside world that is configured, one attribute each, blocking.

    The arguments are those of `providers.Providers`. May be made before a fork: every process opens its own
    connections at its first call there. Use `with`, or `close`; what is open at exit is closed.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        capabilities: Sequence[str] | None = None,
        clock: Clock | None = None,
        store: Store | None = None,
        transport: Transport | None = None,
        hooks: Sequence[Hook] | None = None,
    ) -> None:
        from providers.core.portal import Twin

        given = settings or Settings()

        def make() -> runtime.Providers:
            return runtime.Providers(
                given, capabilities=capabilities, clock=clock, store=store, transport=transport, hooks=hooks
            )

        self._root = Twin(make, closes=True)
        self._root()
        super().__init__(self._root)

    def __enter__(self) -> Self:
        from providers.core.portal import refuse_in_loop

        refuse_in_loop(type(self).__enter__)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let deliveries under way finish and close every connection. The next call opens them again."""
        from providers.core.portal import run

        run(self._root().aclose)


class _OnThread:
    """A `CredentialSource` of either kind as code on the loop asks it."""

    def __init__(self, source: CredentialSource | models.CredentialSource) -> None:
        self._source = source

    async def get(self, vendor: str) -> Mapping[str, str]:
        from providers.core.portal import in_thread

        found = await in_thread(lambda: self._source.get(vendor))
        return found if isinstance(found, Mapping) else await found

    async def put(self, vendor: str, values: Mapping[str, str]) -> None:
        from providers.core.portal import in_thread

        # Of one kind a coroutine comes back, of the other nothing.
        stored: Awaitable[None] | None = await in_thread(lambda: self._source.put(vendor, values))
        if stored is not None:
            await stored


def _blocking(name: str) -> Callable[[Callable[[], object]], Capability[Any]]:
    """The blocking twin of a capability's class: beside it, in `_sync`."""
    module, _, kind = catalog.capability(name).api.partition(":")
    twin = f"{module.rpartition('.')[0]}._sync:{kind}"
    return cast("Callable[[Callable[[], object]], Capability[Any]]", catalog.load(twin))


_ambient: Ambient[Scope, Providers] = Ambient("providers_sync_current", lambda: Providers())  # noqa: PLW0108


def current() -> Scope:
    """What `use` set in this context, else one `Providers` for this process, opened from the environment.

    For code that is handed no instance. This package never calls it.
    """
    return _ambient.get()


def use(scope: Scope) -> AbstractContextManager[Scope]:
    """Make `scope` the current one inside a `with` block: a test, a task, a tenant."""
    return _ambient.use(scope)


def close() -> None:
    """Close the process-wide instance, if `current` opened one; the next `current()` reads the environment again."""
    ambient = _ambient.forget()
    if ambient is not None:
        ambient.close()


def reset() -> None:
    """Forget the process-wide instance without closing it, so that the next `current()` reads the environment again."""
    _ambient.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=reset)
