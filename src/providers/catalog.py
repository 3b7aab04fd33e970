"""Which capabilities and vendors there are. Strings and facts: listing imports no adapter and no library."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, cast

from providers.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from importlib.metadata import EntryPoint

    from providers.core.account import Account
    from providers.core.operation import VendorFacts
    from providers.core.pipeline import Adapter

GROUP = "providers.adapters"
"""Entry points of third-party adapters: `email.postmark = "package.module:PostmarkEmail"`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CapabilityEntry:
    """One capability: its class, its vendors' facts, and who serves it live unless settings say otherwise."""

    name: str
    summary: str
    api: str
    facts: str
    default: tuple[str, ...]
    merged: bool = False
    """Whether answers of several vendors are merged, so that all with credentials are used."""


CAPABILITIES: Mapping[str, CapabilityEntry] = {
    entry.name: entry
    for entry in (
        CapabilityEntry(
            name="sourcing",
            summary="products of suppliers: search, prices, orders, parcels",
            api="providers.sourcing.api:Sourcing",
            facts="providers.sourcing.facts:FACTS",
            default=("aliexpress", "cjdropshipping"),
            merged=True,
        ),
        CapabilityEntry(
            name="email",
            summary="transactional mail and campaigns",
            api="providers.email.api:Email",
            facts="providers.email.facts:FACTS",
            default=("sendgrid", "ses"),
        ),
        CapabilityEntry(
            name="sms",
            summary="texts to phones",
            api="providers.sms.api:Sms",
            facts="providers.sms.facts:FACTS",
            default=("twilio", "sns"),
        ),
        CapabilityEntry(
            name="billing",
            summary="checkouts, subscriptions, refunds",
            api="providers.billing.api:Billing",
            facts="providers.billing.facts:FACTS",
            default=("stripe",),
        ),
        CapabilityEntry(
            name="llm",
            summary="words: answers, streams, JSON that fits a schema",
            api="providers.llm.api:Llm",
            facts="providers.llm.facts:FACTS",
            # Others bypass the gateway's ledger: they have to be named.
            default=("gateway",),
        ),
    )
}

ALIASES = {"cjdropship": "cjdropshipping"}


def load(path: str) -> object:
    """The object that `"module:name"` names."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def capability(name: str) -> CapabilityEntry:
    """Its entry. Raises `ConfigurationError` listing the valid names."""
    entry = CAPABILITIES.get(name)
    if entry is None:
        msg = f"there is no capability {name[:40]!r}; valid: {', '.join(CAPABILITIES)}"
        raise ConfigurationError(msg)
    return entry


def built_in(name: str) -> Mapping[str, VendorFacts]:
    """The facts of the vendors of a capability that this package brings."""
    return cast("Mapping[str, VendorFacts]", load(capability(name).facts))


def facts_of(name: str, vendor: str, *, plugins: Collection[str] | None = None) -> VendorFacts:
    """A vendor's facts, built in or from a plugin. Raises `ConfigurationError` listing the valid names.

    `plugins` limits the third-party ones that may be loaded; None allows all.
    """
    known = built_in(name)
    vendor = ALIASES.get(vendor, vendor)
    if vendor in known:
        return known[vendor]
    entry = _plugins().get(f"{name}.{vendor}")
    if entry is not None and (plugins is None or f"{name}.{vendor}" in plugins):
        facts: VendorFacts = getattr(entry.load(), "facts")  # noqa: B009 (a class we know nothing of)
        if (facts.capability, facts.vendor) != (name, vendor):
            # Another name would let it pass for a vendor of ours, with that one's credentials.
            msg = f"the plugin {name}.{vendor} has the facts of {facts.capability}.{facts.vendor}"
            raise ConfigurationError(msg)
        return facts
    allowed = [key for key in _plugins() if plugins is None or key in plugins]
    names = [*known, *(key.partition(".")[2] for key in allowed if key.startswith(name + "."))]
    msg = f"PROVIDER_{name.upper()}: there is no vendor {vendor[:40]!r} for {name}; valid: {', '.join(names)}"
    raise ConfigurationError(msg, field=f"PROVIDER_{name.upper()}")


def is_loaded(facts: VendorFacts) -> bool:
    """Whether the adapter's module, and so its library, is there already."""
    module = sys.modules.get(facts.adapter.partition(":")[0])
    # While another thread is at it, asking for it would wait.
    return module is not None and not getattr(module.__spec__, "_initializing", False)


def adapter_class(facts: VendorFacts) -> Callable[[Account], Adapter]:
    """The adapter; its libraries are imported here. Raises `ConfigurationError` naming the extra to install."""
    try:
        if facts.vendor in built_in(facts.capability):
            return cast("Callable[[Account], Adapter]", load(facts.adapter))
        return cast("Callable[[Account], Adapter]", _plugins()[f"{facts.capability}.{facts.vendor}"].load())
    except ModuleNotFoundError as error:
        if not facts.extra or (error.name or "").startswith("providers"):
            raise
        msg = f"{facts.title} needs {error.name}: pip install 'providers[{facts.extra}]'"
        raise ConfigurationError(msg, vendor=facts.vendor) from error


@cache
def _plugins() -> Mapping[str, EntryPoint]:
    """Third-party adapters by name. Looked up only when a name is not built in."""
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=GROUP)}
