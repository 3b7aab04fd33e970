"""`Providers`: settings to capabilities. Opens nothing before it is used; closes everything it opened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Self, cast

from providers import catalog
from providers.core.ambient import Ambient
from providers.core.errors import ConfigurationError
from providers.selection import Selection, chosen, require, vendor_names
from providers.settings import Settings, words
from providers.shared import Shared
from providers.tenancy import Accounts, Tenant

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType

    from providers.billing.api import Billing
    from providers.core.capability import Capability, Context
    from providers.core.clock import Clock
    from providers.core.faults import Faults
    from providers.core.models import CredentialSource
    from providers.core.pipeline import Adapter
    from providers.core.route import Route
    from providers.core.store import Store
    from providers.core.telemetry import Hook
    from providers.core.transport import Transport
    from providers.core.writes import Writes
    from providers.email.api import Email
    from providers.llm.api import Llm
    from providers.sms.api import Sms
    from providers.sourcing.api import Sourcing

LONGEST_TENANT = 200


class Scope:
    """Every way to the outside world for one tenant, one attribute each. See `Providers`."""

    def __init__(self, shared: Shared, tenant: Tenant, selections: dict[str, Selection]) -> None:
        self._shared = shared
        self._tenant = tenant
        self._selections = selections
        self._accounts = Accounts(shared, tenant)
        self._made: dict[str, Capability[Adapter]] = {}

    def __repr__(self) -> str:
        tenant = f", tenant={self._tenant.name!r}" if self._tenant.name else ""
        return f"{type(self).__name__}({self._shared.settings!r}{tenant})"

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
        return self._shared.writes

    @property
    def faults(self) -> Faults:
        """Failures to stage at demo vendors."""
        return self._shared.faults

    @property
    def store(self) -> Store:
        """The shared state."""
        return self._shared.store

    def capability(self, name: str) -> Capability[Adapter]:
        """The capability of that name, as the attribute of that name gives it."""
        made = self._made.get(name)
        if made is None:
            made = self._made[name] = self._make(name)
        return made

    def selection(self, name: str) -> Selection:
        """Which vendors serve a capability here. Raises `ConfigurationError` when something is missing."""
        selection = self._selections.get(name)
        if selection is None:
            lacks = self._accounts.lacks if self._tenant.has_accounts else None
            selection = self._selections[name] = require(self._shared.settings, [name], lacks)[name]
        return selection

    def scoped(
        self,
        tenant: str,
        *,
        credentials: Mapping[str, str] | CredentialSource | None = None,
        vendors: Mapping[str, str | Sequence[str]] | None = None,
        budgets: Mapping[str, str] | None = None,
    ) -> Scope:
        """A view for one tenant over the same connections: its own accounts, vendors and budgets, its own state.

        With `credentials` (values by variable name, or a `CredentialSource`) only application-level variables are
        inherited, never those of the platform's accounts. Without, the platform's accounts serve the tenant. A view
        has nothing to close.
        """
        if not tenant or "/" in tenant or len(tenant) > LONGEST_TENANT:
            msg = f"tenant: a name of 1 to {LONGEST_TENANT} characters without '/'"
            raise ConfigurationError(msg, field="tenant")
        settings = self._shared.settings
        own: Mapping[str, str] | None = None
        source: CredentialSource | None = None
        if isinstance(credentials, Mapping):
            own = credentials
        else:
            source = credentials
        if budgets:
            known = vendor_names(settings).union(catalog.CAPABILITIES, *(map(words, (vendors or {}).values())))
            strange = [name for name in budgets if name not in known]
            if strange:
                valid = ", ".join(sorted(known))
                msg = f"budgets: there is no vendor or capability {strange[0][:40]!r}; valid: {valid}"
                raise ConfigurationError(msg, field="budgets")
        # What they lack may be the tenant's own: it shows when the adapter is built.
        selections = {name: chosen(settings, name, value) for name, value in (vendors or {}).items()}
        problems = [selection.problem for selection in selections.values() if selection.problem]
        if problems:
            raise ConfigurationError("; ".join(problems), tenant=tenant)
        view = Tenant(name=tenant, own=own, source=source, budgets=budgets or {})
        return Scope(self._shared, view, selections)

    def _make(self, name: str) -> Capability[Adapter]:
        from providers.core.capability import Context
        from providers.core.route import Route

        entry = catalog.capability(name)
        shared = self._shared
        targets = [self._accounts.target(facts) for facts in self.selection(name).vendors]
        route = Route(shared.pipeline, targets, tenant=self._tenant.name)
        options = shared.settings.options(name)
        context = Context(
            store=shared.store,
            clock=shared.clock,
            options=options,
            tenant=self._tenant.name,
            demo=route.demo,
            service=shared.settings.text("PROVIDER_SERVICE"),
        )
        kind = cast("Callable[[Route[Adapter], Context], Capability[Adapter]]", catalog.load(entry.api))
        return kind(route, context)


class Providers(Scope):
    """Every way to the outside world that is configured, one attribute each.

    Made from the environment and `.env` unless `settings` are given; demo unless told otherwise. `capabilities` are
    checked here and now: a `ConfigurationError` lists everything that is missing. Others are checked at first touch.
    Opens connections at the first call; use `async with`, or call `aclose`, to close them.

    `clock`, `store`, `transport` and `hooks` replace the standard parts, for tests and special deployments.
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
        settings = settings or Settings()
        selections = require(settings, settings.capabilities if capabilities is None else capabilities)
        shared = Shared(settings, clock=clock, store=store, transport=transport, hooks=hooks)
        super().__init__(shared, Tenant(), selections)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Let deliveries under way finish and close every connection. The next call opens them again."""
        await self._shared.aclose()


_ambient: Ambient[Scope, Providers] = Ambient("providers_current", lambda: Providers())  # noqa: PLW0108 (tests replace it)


def current() -> Scope:
    """What `use` set in this context, else one `Providers` for this process, opened from the environment.

    For code that is handed no instance. This package never calls it.
    """
    return _ambient.get()


def use(scope: Scope) -> AbstractContextManager[Scope]:
    """Make `scope` the current one inside a `with` block: a test, a request, a tenant."""
    return _ambient.use(scope)


async def aclose() -> None:
    """Close the process-wide instance, if `current` opened one; the next `current()` reads the environment again."""
    ambient = _ambient.forget()
    if ambient is not None:
        await ambient.aclose()


def reset() -> None:
    """Forget the process-wide instance without closing it, so that the next `current()` reads the environment again."""
    _ambient.forget()
