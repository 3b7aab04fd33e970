"""Whose accounts are used: a tenant's credentials, and the adapters made with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from pydantic import SecretStr

from providers import catalog
from providers.core.account import Account
from providers.core.errors import ConfigurationError
from providers.core.pipeline import Target
from providers.core.redact import Redactor

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from providers.core.budget import Budget
    from providers.core.models import CredentialSource
    from providers.core.operation import Variable, VendorFacts
    from providers.core.pipeline import Adapter
    from providers.shared import Shared


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


class Accounts:
    """Makes what a capability is sent to, for one tenant."""

    def __init__(self, shared: Shared, tenant: Tenant) -> None:
        self._shared = shared
        self._tenant = tenant
        # A tenant's secrets are forgotten with its view.
        self._redact = Redactor() if tenant.has_accounts else shared.redact

    def lacks(self, facts: VendorFacts) -> tuple[Variable, ...]:
        """What the tenant's own credentials lack; those of a source are known when they are fetched."""
        if self._tenant.source is not None:
            return ()
        own = self._tenant.own or {}
        return tuple(
            variable
            for variable in facts.variables
            if variable.required
            and not any(own.get(name) for name in (variable.name, *variable.aliases))
            and (not _inherits(facts, variable, own) or self._shared.settings.value(variable) is None)
        )

    def target(self, facts: VendorFacts) -> Target[Adapter]:
        """The vendor's account that serves this tenant; its adapter is built at the first call."""
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
            # Ids that tenants give are theirs: they must not meet those of others, or the platform's.
            whose = f"tenant:{self._tenant.name}/{(self._tenant.own or {}).get(facts.account, '')}"
        else:
            platform = self._shared.settings.credentials(facts).get(facts.account)
            whose = platform.get_secret_value() if platform else "platform"
        return f"{facts.capability}.{facts.vendor}/{whose}"

    def _budget(self, facts: VendorFacts, account: str) -> Budget | None:
        """What holds for the account, for the capability over all its vendors, and for the tenant."""
        settings, tenant = self._shared.settings, self._tenant
        limits = [(account, facts.vendor, settings.budget(facts.vendor))]
        if not tenant.has_accounts:
            # Of the platform's money only.
            limits.append((facts.capability, facts.capability, settings.budget(facts.capability)))
        limits.append((f"{account}/{tenant.name}", facts.vendor, tenant.budgets.get(facts.vendor, "")))
        limits.append((f"{facts.capability}/{tenant.name}", facts.capability, tenant.budgets.get(facts.capability, "")))
        if not any(text for *_, text in limits):
            return None
        from providers.core.budget import Budget, BudgetSpec, Cap, Whose

        caps: list[Cap] = []
        for key, name, text in limits:
            field = f"PROVIDER_BUDGET_{name.upper()}"
            for spec in BudgetSpec.parse_all(text, field) if text else ():
                spec.check(facts, field)
                if spec.whose is Whose.ALL:
                    caps.append(Cap(spec, key))
                elif spec.whose is Whose.SERVICE:
                    caps.append(Cap(spec, f"{key}/service"))
                elif tenant.name:
                    caps.append(Cap(spec, f"{key}/tenant/{tenant.name}"))
        service = settings.text("PROVIDER_SERVICE")
        return Budget(caps, facts=facts, store=self._shared.store, clock=self._shared.clock, service=service)

    def _build(self, facts: VendorFacts) -> Adapter | Awaitable[Adapter]:
        source = self._tenant.source if facts.variables else None
        if source is None and not (facts.slow_import and not catalog.is_loaded(facts)):
            return self._adapter(facts, self._tenant.own or {})
        return self._build_waiting(facts, source)

    async def _build_waiting(self, facts: VendorFacts, source: CredentialSource | None) -> Adapter:
        own = (self._tenant.own or {}) if source is None else await source.get(facts.vendor)
        if facts.slow_import:
            import asyncio

            await asyncio.to_thread(catalog.adapter_class, facts)
        return self._adapter(facts, own)

    def _adapter(self, facts: VendorFacts, own: Mapping[str, str]) -> Adapter:
        shared = self._shared
        values = self._values(facts, own)
        secret = [values[v.name].get_secret_value() for v in facts.variables if v.secret and v.name in values]
        self._redact.add(secret)
        account = Account(
            facts=facts,
            credentials=values,
            base_url=shared.settings.base_url(facts),
            http=shared.http_of(facts, self._account_id(facts)),
            threads=shared.threads(facts),
            clients=shared.clients,
            store=shared.store,
            clock=shared.clock,
            faults=shared.faults,
            deliver=shared.deliver,
            user_agent=shared.user_agent,
            id=self._account_id(facts),
            conceal=self._redact.add,
            hand_back=partial(self._hand_back, facts),
            tenant=self._tenant.name,
            webhook_url=shared.settings.webhook_url(facts.capability, facts.vendor),
        )
        adapter = catalog.adapter_class(facts)(account)
        shared.adapters.add(adapter)
        return adapter

    async def _hand_back(self, facts: VendorFacts, values: Mapping[str, str]) -> None:
        if self._tenant.source is not None:
            await self._tenant.source.put(facts.vendor, values)

    def _values(self, facts: VendorFacts, own: Mapping[str, str]) -> dict[str, SecretStr]:
        values = self._shared.settings.credentials(facts)
        if self._tenant.has_accounts:
            inherited = {v.name for v in facts.variables if _inherits(facts, v, own)}
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


def _inherits(facts: VendorFacts, variable: Variable, own: Mapping[str, str]) -> bool:
    """Whether a tenant with these credentials gets the platform's value."""
    if not variable.account:
        return True
    if not variable.inherited_with or not own.get(variable.inherited_with):
        return False
    # With a key of its own it is nobody's connected account: nothing of the platform's belongs to it.
    keys = (each for each in facts.variables if each.required and each.inherited_with == variable.inherited_with)
    return not any(own.get(name) for key in keys for name in (key.name, *key.aliases))
