"""`Providers`: settings to capabilities. Opens nothing before it is used; closes everything it opened."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Self, TypeVar, cast

from providers import catalog
from providers.core.errors import ConfigurationError
from providers.selection import Selection, require
from providers.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType

    from pydantic import SecretStr

    from providers.core.account import Account
    from providers.core.budget import Budget
    from providers.core.capability import Capability
    from providers.core.clock import Clock
    from providers.core.faults import Faults
    from providers.core.models import CredentialSource
    from providers.core.operation import VendorFacts
    from providers.core.pipeline import Adapter, Guards, Pipeline, Target
    from providers.core.redact import Redactor
    from providers.core.store import Store
    from providers.core.telemetry import Hook
    from providers.core.transport import Transport
    from providers.core.writes import Writes
    from providers.email.api import Email

C = TypeVar("C")


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
        from providers.core.redact import Redactor
        from providers.core.store import open_store
        from providers.core.telemetry import default_hooks
        from providers.core.writes import Writes

        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        self.store: Store = store or open_store(settings.state_url, self.clock)
        self.redact: Redactor = Redactor()
        self.writes: Writes = Writes(self.store, self.clock)
        self.faults: Faults = Faults()
        self.pipeline: Pipeline = Pipeline(
            self.clock, self.redact, self.writes, Cache(self.store), tuple(default_hooks() if hooks is None else hooks)
        )
        self._transport = transport
        self._guards: dict[str, Guards] = {}
        self.adapters: list[Adapter] = []

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

    def guards(self, facts: VendorFacts, account: str) -> Guards:
        """Breaker and limits of one account, the same for every view."""
        guards = self._guards.get(account)
        if guards is None:
            from providers.core.breaker import Breaker
            from providers.core.limits import Limiter
            from providers.core.pipeline import Guards

            limiter = Limiter(
                account, rate=facts.rate, concurrency=facts.concurrency, store=self.store, clock=self.clock
            )
            guards = self._guards[account] = Guards(limiter if not facts.demo else None, Breaker(self.clock))
        return guards

    async def aclose(self) -> None:
        """Let adapters finish, then close connections and state."""
        adapters, self.adapters = self.adapters, []
        for adapter in adapters:
            await adapter.aclose()
        if self._transport is not None:
            await self._transport.aclose()
        await self.store.aclose()


class Providers:
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
        self._settings = settings = settings or Settings()
        wanted = tuple(capabilities) if capabilities is not None else settings.capabilities
        self._selections: dict[str, Selection] = require(settings, wanted)
        self._shared = Shared(settings, clock=clock, store=store, transport=transport, hooks=hooks)
        self._tenant = ""
        self._source: CredentialSource | None = None
        self._own: Mapping[str, str] = {}
        self._budgets: Mapping[str, str] = {}
        self._made: dict[str, object] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        tenant = f", tenant={self._tenant!r}" if self._tenant else ""
        return f"Providers({self._settings!r}{tenant})"

    @property
    def email(self) -> Email:
        """E-mail."""
        return cast("Email", self.capability("email"))

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
        return cast("Capability[Adapter]", made)

    def selection(self, name: str) -> Selection:
        """Which vendors serve a capability here. Raises `ConfigurationError` when something is missing."""
        selection = self._selections.get(name)
        if selection is None:
            selection = self._selections[name] = require(self._settings, [name])[name]
        return selection

    def scoped(
        self,
        tenant: str,
        *,
        credentials: Mapping[str, str] | CredentialSource | None = None,
        vendors: Mapping[str, str | Sequence[str]] | None = None,
        budgets: Mapping[str, str] | None = None,
    ) -> Providers:
        """A view for one tenant over the same connections: its own accounts, vendors and budgets, its own state.

        With `credentials` (values by variable name, or a `CredentialSource`) only application-level variables are
        inherited, never those of the platform's accounts. Without, the platform's accounts serve the tenant.
        """
        if not tenant or "/" in tenant or len(tenant) > 200:  # noqa: PLR2004
            msg = "tenant: a name of 1 to 200 characters without '/'"
            raise ConfigurationError(msg, field="tenant")
        view = Providers.__new__(type(self))
        view._settings = self._settings
        view._shared = self._shared
        view._tenant = tenant
        view._source = None
        view._own = {}
        view._budgets = budgets or {}
        view._made = {}
        view._selections = {}
        if credentials is not None:
            if hasattr(credentials, "put"):
                view._source = cast("CredentialSource", credentials)
            else:
                view._own = cast("Mapping[str, str]", credentials)
                self._shared.redact.add(view._own.values())
        if vendors:
            # Their variables may be the tenant's own: what is missing shows when the adapter is built.
            from providers.selection import chosen

            view._selections = {name: chosen(self._settings, name, value) for name, value in vendors.items()}
        return view

    async def aclose(self) -> None:
        """Close every connection. A tenant's view has none of its own: closing it changes nothing."""
        if not self._tenant:
            self._made.clear()
            await self._shared.aclose()

    def _make(self, name: str) -> object:
        from providers.core.capability import Context
        from providers.core.route import Route

        catalog.capability(name)
        selection = self._selections.get(name) or self.selection(name)
        shared = self._shared
        targets = [self._target(facts) for facts in selection.vendors]
        route = Route(shared.pipeline, targets, tenant=self._tenant)
        context = Context(
            store=shared.store, clock=shared.clock, options=self._settings.options(name), tenant=self._tenant
        )
        kind = cast("Callable[[object, object], object]", catalog.load(catalog.capability(name).api))
        return kind(route, context)

    def _target(self, facts: VendorFacts) -> Target[Adapter]:
        from providers.core.pipeline import Target

        account = self._account_id(facts)
        return Target(
            facts,
            lambda: self._build(facts),
            account=account,
            guards=self._shared.guards(facts, account),
            budget=self._budget(facts, account),
        )

    def _account_id(self, facts: VendorFacts) -> str:
        """A name of the account that survives rotated keys: the vendor's own id of it, or whose it is."""
        own = self._own.get(facts.account) if facts.account else None
        platform = self._settings.credentials(facts).get(facts.account)
        if self._own or self._source is not None:
            return f"{facts.capability}.{facts.vendor}/{own or 'tenant:' + self._tenant}"
        return f"{facts.capability}.{facts.vendor}/{platform.get_secret_value() if platform else 'platform'}"

    def _budget(self, facts: VendorFacts, account: str) -> Budget | None:
        own = self._budgets.get(facts.vendor)
        text = own or self._settings.budget(facts.vendor)
        if not text:
            return None
        from providers.core.budget import Budget, BudgetSpec

        spec = BudgetSpec.parse(text, f"PROVIDER_BUDGET_{facts.vendor.upper()}")
        key = f"{account}/{self._tenant}" if own else account
        return Budget(spec, key, facts=facts, store=self._shared.store, clock=self._shared.clock)

    def _build(self, facts: VendorFacts) -> Adapter | Awaitable[Adapter]:
        if self._source is not None and facts.variables:
            return self._build_from(self._source, facts)
        return self._adapter(facts, self._own)

    async def _build_from(self, source: CredentialSource, facts: VendorFacts) -> Adapter:
        return self._adapter(facts, await source.get(facts.vendor))

    def _adapter(self, facts: VendorFacts, own: Mapping[str, str]) -> Adapter:
        shared = self._shared
        values = self._values(facts, own)
        shared.redact.add(
            values[v.name].get_secret_value() for v in facts.variables if v.secret and v.name in values
        )
        account: Account = _account(
            facts=facts,
            credentials=values,
            base_url=self._settings.base_url(facts),
            http=shared.http,
            store=shared.store,
            clock=shared.clock,
            faults=shared.faults,
            tenant=self._tenant,
            webhook_url=self._settings.webhook_url(facts.capability, facts.vendor),
        )
        kind = cast("Callable[[Account], Adapter]", catalog.adapter_class(facts))
        adapter = kind(account)
        shared.adapters.append(adapter)
        return adapter

    def _values(self, facts: VendorFacts, own: Mapping[str, str]) -> dict[str, SecretStr]:
        from pydantic import SecretStr

        values = self._settings.credentials(facts)
        if self._own or self._source is not None:
            inherited = {v.name for v in facts.variables if not v.account}
            values = {name: value for name, value in values.items() if name in inherited}
            for variable in facts.variables:
                for name in (variable.name, *variable.aliases):
                    if own.get(name):
                        values[variable.name] = SecretStr(own[name])
        missing = [v.name for v in facts.variables if v.required and v.name not in values]
        if missing:
            msg = f"{facts.title}: {', '.join(missing)} missing among the credentials of tenant {self._tenant!r}"
            raise ConfigurationError(msg, vendor=facts.vendor, tenant=self._tenant or None)
        return values


def _account(**parts: object) -> Account:
    from providers.core.account import Account

    return Account(**parts)  # type: ignore[arg-type]


_ambient: Providers | None = None
_override: ContextVar[Providers | None] = ContextVar("providers_current", default=None)


def current() -> Providers:
    """The `Providers` of this context: what `use` set, else one for this process, opened from the environment.

    For code that is handed no instance. This package never calls it.
    """
    global _ambient  # noqa: PLW0603 (one per process is the point)
    override = _override.get()
    if override is not None:
        return override
    if _ambient is None:
        _ambient = Providers()
    return _ambient


def use(providers: Providers) -> AbstractContextManager[Providers]:
    """`with use(p):` makes `p` the current one in this context: a test, a request."""
    from contextlib import contextmanager

    @contextmanager
    def override() -> Iterator[Providers]:
        token = _override.set(providers)
        try:
            yield providers
        finally:
            _override.reset(token)

    return override()


def reset() -> None:
    """Forget the process-wide instance, so that the next `current()` reads the environment again.

    Close it first (`await current().aclose()`) if it has been used.
    """
    global _ambient  # noqa: PLW0603
    _ambient = None
