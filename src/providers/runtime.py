"""`Providers`: settings to capabilities. Opens nothing before it is used; closes everything it opened."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator, Mapping
from contextlib import AsyncExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Self, cast
from weakref import WeakSet

from providers import catalog
from providers.core.errors import ConfigurationError
from providers.core.redact import Redactor
from providers.selection import Selection, chosen, require, vendor_names
from providers.settings import Settings, words

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from types import TracebackType

    from pydantic import SecretStr

    from providers.core.budget import Budget
    from providers.core.capability import Capability, Context
    from providers.core.clock import Clock
    from providers.core.faults import Faults
    from providers.core.models import CredentialSource
    from providers.core.operation import Variable, VendorFacts
    from providers.core.pipeline import Adapter, Guards, Target
    from providers.core.route import Route
    from providers.core.store import Store
    from providers.core.telemetry import Hook
    from providers.core.transport import Transport
    from providers.core.writes import Writes
    from providers.demo.webhooks import Deliveries
    from providers.email.api import Email

LONGEST_TENANT = 200
ACCOUNTS = 10_000
"""Accounts whose limits and breaker are remembered in the process."""


class Shared:
    """What a `Providers` and all its tenant views have in common: connections, state, limits."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None,
        store: Store | None,
        transport: Transport | None,
        hooks: Sequence[Hook] | None,
    ) -> None:
        from providers.core.cache import Cache
        from providers.core.clock import SystemClock
        from providers.core.faults import Faults
        from providers.core.pipeline import Pipeline
        from providers.core.store import open_store
        from providers.core.telemetry import default_hooks
        from providers.core.writes import Writes

        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        self.store: Store = store or open_store(settings.state_url, self.clock)
        self.redact = Redactor()
        self.writes: Writes = Writes(self.store, self.clock)
        self.faults: Faults = Faults()
        self.pipeline: Pipeline = Pipeline(
            self.clock, self.writes, Cache(self.store), tuple(default_hooks() if hooks is None else hooks)
        )
        self._transport = transport
        self._guards: OrderedDict[str, Guards] = OrderedDict()
        self._deliveries: Deliveries | None = None
        # Those of tenants' views come and go with the views.
        self.adapters: WeakSet[Adapter] = WeakSet()

    def http(self) -> Transport:
        """The one HTTP transport, made at first use."""
        if self._transport is None:
            try:
                from providers.core.transport_aiohttp import AiohttpTransport
            except ModuleNotFoundError as error:
                msg = "calls over HTTP need aiohttp: pip install 'providers[http]'"
                raise ConfigurationError(msg) from error
            self._transport = AiohttpTransport()
        return self._transport

    def deliver(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Post a made-up vendor's webhook in the background; `aclose` waits for it."""
        if self._deliveries is None:
            from providers.demo.webhooks import Deliveries

            self._deliveries = Deliveries(self.http)
        self._deliveries.post(url, body, headers)

    def guards(self, facts: VendorFacts, account: str) -> Guards:
        """Breaker and limits of one account, the same for every view."""
        guards = self._guards.get(account)
        if guards is not None:
            self._guards.move_to_end(account)
        else:
            from providers.core.breaker import Breaker
            from providers.core.limits import Limiter
            from providers.core.pipeline import Guards

            limiter = Limiter(
                account, rate=facts.rate, concurrency=facts.concurrency, store=self.store, clock=self.clock
            )
            guards = self._guards[account] = Guards(limiter if not facts.demo else None, Breaker(self.clock))
            if len(self._guards) > ACCOUNTS:
                self._guards.popitem(last=False)
        return guards

    async def aclose(self) -> None:
        """Let adapters finish, then close connections and state."""
        adapters, self.adapters = list(self.adapters), WeakSet()
        # Last in, first out; one that fails does not keep the others open.
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.store.aclose)
            if self._transport is not None:
                stack.push_async_callback(self._transport.aclose)
            for adapter in adapters:
                stack.push_async_callback(adapter.aclose)
            if self._deliveries is not None:
                stack.push_async_callback(self._deliveries.drain)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """Whose view it is: `""` is the platform itself. `own` or `source` are its credentials, if it brings any."""

    name: str = ""
    own: Mapping[str, str] | None = field(default=None, repr=False)
    source: CredentialSource | None = None
    budgets: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def has_accounts(self) -> bool:
        """Whether it uses accounts of its own rather than the platform's."""
        return self.own is not None or self.source is not None


class Scope:
    """Every way to the outside world for one tenant, one attribute each. See `Providers`."""

    def __init__(self, shared: Shared, tenant: Tenant, selections: dict[str, Selection]) -> None:
        self._shared = shared
        self._tenant = tenant
        self._selections = selections
        # A tenant's secrets are forgotten with its view.
        self._redact = Redactor() if tenant.has_accounts else shared.redact
        self._made: dict[str, Capability[Adapter]] = {}

    def __repr__(self) -> str:
        tenant = f", tenant={self._tenant.name!r}" if self._tenant.name else ""
        return f"{type(self).__name__}({self._shared.settings!r}{tenant})"

    @property
    def email(self) -> Email:
        """E-mail."""
        return cast("Email", self._made.get("email") or self.capability("email"))

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
            lacks = self._tenant_lacks if self._tenant.has_accounts else None
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
            known = vendor_names(settings).union(*(words(names) for names in (vendors or {}).values()))
            strange = [name for name in budgets if name not in known]
            if strange:
                msg = f"budgets: there is no vendor {strange[0][:40]!r}; valid: {', '.join(sorted(known))}"
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
        targets = [self._target(facts) for facts in self.selection(name).vendors]
        route = Route(shared.pipeline, targets, tenant=self._tenant.name)
        options = shared.settings.options(name)
        context = Context(store=shared.store, clock=shared.clock, options=options, tenant=self._tenant.name)
        kind = cast("Callable[[Route[Adapter], Context], Capability[Adapter]]", catalog.load(entry.api))
        return kind(route, context)

    def _tenant_lacks(self, facts: VendorFacts) -> tuple[Variable, ...]:
        """What the tenant's own credentials lack; those of a source are known when they are fetched."""
        if self._tenant.source is not None:
            return ()
        own = self._tenant.own or {}
        return tuple(
            variable
            for variable in facts.variables
            if variable.required
            and not any(own.get(name) for name in (variable.name, *variable.aliases))
            and (variable.account or self._shared.settings.value(variable) is None)
        )

    def _target(self, facts: VendorFacts) -> Target[Adapter]:
        from providers.core.pipeline import Target

        account = self._account_id(facts)
        return Target(
            facts,
            lambda: self._build(facts),
            account=account,
            redact=self._redact,
            guards=self._shared.guards(facts, account),
            budget=self._budget(facts, account),
        )

    def _account_id(self, facts: VendorFacts) -> str:
        """A name of the account that survives rotated keys: the vendor's own id of it, or whose it is."""
        if self._tenant.has_accounts:
            whose = (self._tenant.own or {}).get(facts.account) or "tenant:" + self._tenant.name
        else:
            platform = self._shared.settings.credentials(facts).get(facts.account)
            whose = platform.get_secret_value() if platform else "platform"
        return f"{facts.capability}.{facts.vendor}/{whose}"

    def _budget(self, facts: VendorFacts, account: str) -> Budget | None:
        """The account's budget, and within it the tenant's own."""
        shared = self._shared
        limits = (
            (account, shared.settings.budget(facts.vendor)),
            (f"{account}/{self._tenant.name}", self._tenant.budgets.get(facts.vendor)),
        )
        budget: Budget | None = None
        for key, text in limits:
            if text:
                from providers.core.budget import Budget, BudgetSpec

                spec = BudgetSpec.parse(text, f"PROVIDER_BUDGET_{facts.vendor.upper()}")
                budget = Budget(spec, key, facts=facts, store=shared.store, clock=shared.clock, within=budget)
        return budget

    def _build(self, facts: VendorFacts) -> Adapter | Awaitable[Adapter]:
        if self._tenant.source is not None and facts.variables:
            return self._build_from(self._tenant.source, facts)
        return self._adapter(facts, self._tenant.own or {})

    async def _build_from(self, source: CredentialSource, facts: VendorFacts) -> Adapter:
        return self._adapter(facts, await source.get(facts.vendor))

    def _adapter(self, facts: VendorFacts, own: Mapping[str, str]) -> Adapter:
        from providers.core.account import Account

        shared = self._shared
        values = self._values(facts, own)
        secret = [values[v.name].get_secret_value() for v in facts.variables if v.secret and v.name in values]
        self._redact.add(secret)
        account = Account(
            facts=facts,
            credentials=values,
            base_url=shared.settings.base_url(facts),
            http=shared.http,
            store=shared.store,
            clock=shared.clock,
            faults=shared.faults,
            deliver=shared.deliver,
            tenant=self._tenant.name,
            webhook_url=shared.settings.webhook_url(facts.capability, facts.vendor),
        )
        adapter = catalog.adapter_class(facts)(account)
        shared.adapters.add(adapter)
        return adapter

    def _values(self, facts: VendorFacts, own: Mapping[str, str]) -> dict[str, SecretStr]:
        from pydantic import SecretStr

        values = self._shared.settings.credentials(facts)
        if self._tenant.has_accounts:
            inherited = {v.name for v in facts.variables if not v.account}
            values = {name: value for name, value in values.items() if name in inherited}
            for variable in facts.variables:
                given = next((own[name] for name in (variable.name, *variable.aliases) if own.get(name)), None)
                if given is not None:
                    values[variable.name] = SecretStr(given)
        missing = [v.name for v in facts.variables if v.required and v.name not in values]
        if missing:
            tenant = self._tenant.name or None
            whose = f"among the credentials of tenant {tenant!r}" if tenant else "in the settings"
            msg = f"{facts.title}: {', '.join(missing)} missing {whose}"
            raise ConfigurationError(msg, vendor=facts.vendor, tenant=tenant)
        return values


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


_ambient: Providers | None = None
_override: ContextVar[Scope | None] = ContextVar("providers_current", default=None)


def current() -> Scope:
    """What `use` set in this context, else one `Providers` for this process, opened from the environment.

    For code that is handed no instance. This package never calls it.
    """
    global _ambient  # noqa: PLW0603 (one per process is the point)
    override = _override.get()
    if override is not None:
        return override
    if _ambient is None:
        _ambient = Providers()
    return _ambient


@contextmanager
def use(scope: Scope) -> Generator[Scope]:
    """Make `scope` the current one inside a `with` block: a test, a request, a tenant."""
    token = _override.set(scope)
    try:
        yield scope
    finally:
        _override.reset(token)


async def aclose() -> None:
    """Close the process-wide instance, if `current` opened one; the next `current()` reads the environment again."""
    global _ambient
    ambient, _ambient = _ambient, None
    if ambient is not None:
        await ambient.aclose()


def reset() -> None:
    """Forget the process-wide instance without closing it, so that the next `current()` reads the environment again."""
    global _ambient  # noqa: PLW0603
    _ambient = None
