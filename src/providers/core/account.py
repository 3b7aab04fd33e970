"""One account at one vendor: what the runtime hands to an adapter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from providers.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from pydantic import SecretStr

    from providers.core.clock import Clock
    from providers.core.faults import Faults
    from providers.core.operation import VendorFacts
    from providers.core.store import Store
    from providers.core.threads import Clients, Threads
    from providers.core.transport import Transport


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Account:
    """Credentials and surroundings of one adapter.

    Attributes:
        facts: the vendor's entry.
        credentials: the values of its variables, by documented name.
        base_url: where requests go.
        tenant: whose account it is; `""` for the platform's own.
        id: the stable name of the account that limits and tokens go by.
        conceal: mask these values, too, in everything that leaves.
        hand_back: give refreshed values (by variable) to the tenant's credential source, if it has one.
        http: the shared HTTP transport, opened at first use.
        threads, clients: where blocking libraries run, and their clients.
        store, clock: shared state and time.
        faults: failures staged for made-up vendors.
        user_agent: what requests say they come from.
        deliver: posts a made-up vendor's webhook in the background.
        webhook_url: where made-up vendors deliver their webhooks; `""` for nowhere.

    """

    facts: VendorFacts
    credentials: Mapping[str, SecretStr]
    base_url: str
    http: Callable[[], Transport]
    threads: Threads
    clients: Clients
    store: Store
    clock: Clock
    faults: Faults
    deliver: Callable[[str, bytes, Mapping[str, str]], None]
    user_agent: str
    id: str
    conceal: Callable[[Iterable[str]], None]
    hand_back: Callable[[Mapping[str, str]], Awaitable[None]]
    tenant: str = ""
    webhook_url: str = ""

    def get(self, name: str) -> str:
        """The value of a variable, `""` when it is not set."""
        value = self.credentials.get(name)
        return value.get_secret_value() if value is not None else ""

    def flag(self, name: str) -> bool:
        """Whether a variable says yes. Raises `ConfigurationError` for anything but 1/0, true/false, yes/no, on/off."""
        return as_flag(name, self.get(name))


def as_flag(name: str, text: str) -> bool:
    """Read a yes or no from the environment; `""` is no. Raises `ConfigurationError`."""
    word = text.strip().lower()
    if word in {"1", "true", "yes", "on"}:
        return True
    if word in {"", "0", "false", "no", "off"}:
        return False
    msg = f"{name}: {text!r} is neither yes nor no; use 1 or 0"
    raise ConfigurationError(msg, field=name)
