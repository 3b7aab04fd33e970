"""What is true of an operation whoever serves it, and what is true of a vendor whatever it is asked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from providers.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping


RATE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*/\s*(?P<period>second|minute|hour)")


class Effect(StrEnum):
    """What a call does; decides what may be repeated."""

    READ = "read"
    IDEMPOTENT = "idempotent"
    """A write that may be repeated freely: the second time changes nothing."""
    ONCE = "once"
    """A write that must not happen twice: a mail, a charge, an order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation of a capability.

    Attributes:
        name: `"email.send"`.
        effect: see `Effect`.
        result: the type of the answer, by which caches and idempotency records are read back.
        timeout: seconds for the whole call unless the caller says otherwise, all attempts and waiting included.
        attempt_timeout: seconds for one attempt.
        item_timeout: seconds between two items of a stream; the first has `attempt_timeout`.
        attempts: how often one vendor is tried at most.
        unit: what is counted against prices and budgets, e.g. `"email"`.
        cache: seconds a READ may be answered from the cache; 0 never.
        stale: seconds beyond that for which a cached answer stands in when the vendor fails.
        streams: it answers with items one after another.
        exclusive: one at a time per account and payload, over all processes: it looks whether something is there, then
            makes it.

    """

    name: str
    effect: Effect
    result: object = None
    timeout: float = 30.0
    attempt_timeout: float = 10.0
    item_timeout: float = 60.0
    attempts: int = 3
    unit: str | None = None
    cache: float = 0.0
    stale: float = 0.0
    streams: bool = False
    exclusive: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """An environment variable that a vendor reads.

    Attributes:
        name, aliases: the documented name, and others that are accepted.
        purpose: what it is, in a few words.
        where: where to get it.
        secret: masked everywhere.
        required: live cannot start without it.
        account: belongs to one account (never inherited by a tenant's view) rather than to the application.
        inherited_with: a variable by whose value a tenant names an account of its own that the platform's value of
            this one acts for; a tenant that gives it inherits this one.
        example: a value of the right form for templates.

    """

    name: str
    purpose: str
    where: str = ""
    aliases: tuple[str, ...] = ()
    secret: bool = False
    required: bool = True
    account: bool = True
    inherited_with: str = ""
    example: str = ""


class Per(StrEnum):
    """What a rate counts."""

    CALL = "call"
    UNIT = "unit"
    """What the operation counts: mails, texts; calls that count nothing are not limited."""
    REQUEST = "request"
    """Each request: an operation that makes several takes a place for each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """At most `per_second` places, `burst` of them at once. What takes a place is `VendorFacts.rate_per`."""

    per_second: float
    burst: int = 1

    @classmethod
    def parse(cls, text: str, field: str) -> Rate:
        """Read `14/second` or `600/minute`, evenly spaced. Raises `ConfigurationError` naming `field`."""
        match = RATE.fullmatch(text.strip())
        if match is None or not float(match["number"]):
            msg = f"{field}: {text[:40]!r} is not a rate; write 14/second or 600/minute"
            raise ConfigurationError(msg, field=field)
        return cls(per_second=float(match["number"]) / {"second": 1, "minute": 60, "hour": 3600}[match["period"]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """What a vendor gives an account to spend on its calls: so many a day, refilled evenly, never more than that.

    `costs` are by operation without its capability, e.g. `"search"`; others cost nothing. Each attempt is charged.
    """

    per_day: int
    costs: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorFacts:
    """What is true of one vendor of one capability. Data only: loads without the adapter or its libraries.

    Attributes:
        vendor, capability, title: names.
        adapter: `"module:Class"`.
        extra: the extra to install, `""` for none.
        variables: what it reads.
        slow_import: its library takes so long to load that it is done in a thread, beside the event loop.
        base_url: where it lives; `PROVIDER_<VENDOR>_BASE_URL` overrides it...
        base_url_variable: ...and so does this one of its variables, where it is usual.
        account: the variable whose value is the stable id of the account, if there is one.
        prices: per unit, in `currency`.
        rate, concurrency: what the vendor allows one account; `PROVIDER_RATE_<VENDOR>` overrides the rate.
        rate_per: what the rate counts.
        points: what its calls draw on besides; `PROVIDER_POINTS_<VENDOR>` overrides how many there are a day.
        shared: operations whose answer is the same whichever account asks: tenants share what is cached of them.
        deduplicates: operations which the vendor itself does only once for one key...
        deduplicates_for: ...used again within this many seconds.
        unsupported: operation or feature -> why the vendor cannot express it.
        limits: named numbers, e.g. recipients of one message.
        not_applied_statuses: HTTP statuses >= 500 after which the vendor documents that nothing was done.
        api_version, checked, source: which API, when it was read, and where.

    """

    vendor: str
    capability: str
    title: str
    adapter: str
    extra: str = ""
    variables: tuple[Variable, ...] = ()
    slow_import: bool = False
    base_url: str = ""
    base_url_variable: str = ""
    account: str = ""
    prices: Mapping[str, Decimal] = field(default_factory=lambda: MappingProxyType({}))
    currency: str = "USD"
    rate: Rate | None = None
    rate_per: Per = Per.CALL
    points: Points | None = None
    shared: frozenset[str] = frozenset()
    concurrency: int | None = None
    deduplicates: frozenset[str] = frozenset()
    deduplicates_for: float = 86_400.0
    unsupported: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    limits: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    not_applied_statuses: frozenset[int] = frozenset()
    api_version: str = ""
    checked: str = ""
    source: str = ""

    @property
    def demo(self) -> bool:
        """Whether this is the made-up vendor."""
        return self.vendor == "demo"
