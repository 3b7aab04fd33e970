"""What a `Providers` and all its tenant views have in common."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING
from weakref import WeakSet

import providers
from providers.core.errors import ConfigurationError
from providers.core.operation import Per
from providers.core.redact import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from providers.core.clock import Clock
    from providers.core.operation import VendorFacts
    from providers.core.pipeline import Adapter, Guards
    from providers.core.store import Store
    from providers.core.telemetry import Hook
    from providers.core.threads import Clients, Threads
    from providers.core.transport import Transport
    from providers.demo.webhooks import Deliveries
    from providers.settings import Settings

ACCOUNTS = 10_000
"""Accounts whose limits and breaker are remembered in the process."""


class Shared:
    """Connections, state, limits: one of each for a `Providers`, however many views it has."""

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
        from providers.core.threads import Clients
        from providers.core.writes import Writes

        self.settings = settings
        self.user_agent = " ".join(
            filter(None, (settings.text("PROVIDER_SERVICE"), f"providers/{providers.__version__}"))
        )
        self.clock: Clock = clock or SystemClock()
        self.store: Store = store or open_store(settings.state_url, self.clock)
        self.redact = Redactor()
        self.writes: Writes = Writes(self.store, self.clock)
        self.faults: Faults = Faults()
        self.clients: Clients = Clients()
        self._threads: dict[str, Threads] = {}
        self.pipeline: Pipeline = Pipeline(
            self.clock,
            self.store,
            self.writes,
            Cache(self.store, self.clock),
            tuple(default_hooks() if hooks is None else hooks),
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

    def http_of(self, facts: VendorFacts, account: str) -> Callable[[], Transport]:
        """The transport of one account: where the vendor counts requests, they keep to its rate."""
        limiter = self.guards(facts, account).limiter if facts.rate_per is Per.REQUEST else None
        if limiter is None:
            return self.http
        from providers.core.limits import RatedTransport

        return lambda: RatedTransport(self.http(), limiter)

    def threads(self, facts: VendorFacts) -> Threads:
        """Where a vendor's blocking library runs; its threads are started by its first calls."""
        threads = self._threads.get(facts.vendor)
        if threads is None:
            from providers.core.threads import Threads

            threads = self._threads[facts.vendor] = Threads(facts.concurrency)
        return threads

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
            from providers.core.health import Health
            from providers.core.limits import Limiter
            from providers.core.pipeline import Guards

            health = Health(account, self.store, self.clock)
            limiter: Limiter | None = None
            if not facts.demo:
                limiter = Limiter(
                    account,
                    rate=self.settings.rate(facts),
                    per=facts.rate_per,
                    points=self.settings.points(facts),
                    concurrency=facts.concurrency,
                    health=health,
                    store=self.store,
                    clock=self.clock,
                )
            guards = self._guards[account] = Guards(limiter, Breaker(health, self.clock), health)
            if len(self._guards) > ACCOUNTS:
                self._guards.popitem(last=False)
        return guards

    async def aclose(self) -> None:
        """Let adapters finish, then close connections and state."""
        adapters, self.adapters = list(self.adapters), WeakSet()
        # Last in, first out; one that fails does not keep the others open.
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.store.aclose)
            stack.callback(self.clients.close)
            for threads in self._threads.values():
                stack.callback(threads.shutdown)
            stack.push_async_callback(self._close_transport)
            for adapter in adapters:
                stack.push_async_callback(adapter.aclose)
            if self._deliveries is not None:
                stack.push_async_callback(self._deliveries.drain)

    async def _close_transport(self) -> None:
        """Asked last: a delivery that ends with the others may have opened it."""
        if self._transport is not None:
            await self._transport.aclose()
