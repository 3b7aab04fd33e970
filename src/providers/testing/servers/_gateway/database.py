"""What the gateway keeps in its database: providers, overrides, usage. Times are seconds since the epoch."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Final

from providers.testing.servers._gateway.call import RefusalError
from providers.testing.servers._gateway.shapes import NewOverride, NewProvider, ProviderChange
from providers.testing.servers._host import Json, JsonObject

USABLE: Final = frozenset(("claude", "openai", "gemini", "llama", "mistral", "custom"))
"""Any name can be stored; with these the gateway can do something."""

DAY: Final = 86_400


@dataclass(slots=True, eq=False)
class Provider:
    """One row. The limits in it are stored and shown; nothing heeds them."""

    id: str
    given: NewProvider
    created_at: float
    updated_at: float
    place: int

    @property
    def ready(self) -> bool:
        """Whether calls can go there."""
        return self.given.is_enabled and self.given.name in USABLE

    def shown(self) -> JsonObject:
        """As the API has it, without the key."""
        fields: JsonObject = self.given.model_dump(mode="json", exclude={"api_key"})
        stamps: JsonObject = {"created_at": _iso(self.created_at), "updated_at": _iso(self.updated_at)}
        return {"id": self.id, **fields, **stamps}


@dataclass(frozen=True, slots=True)
class Override:
    """Where the calls of a user go, for one service or for all."""

    id: str
    given: NewOverride
    created_at: float

    def shown(self) -> JsonObject:
        """As the API has it."""
        fields: JsonObject = self.given.model_dump(mode="json")
        return {"id": self.id, **fields, "created_at": _iso(self.created_at)}


@dataclass(frozen=True, slots=True)
class Use:
    """One call that was answered. ``cost_usd`` of a hit is that of the call it repeats."""

    user_id: str
    service: str
    task_type: str
    provider: str
    model: str
    input_tokens: int
    output_tokens: int
    cost_usd: float
    cached: bool
    latency_ms: int
    created_at: float

    @property
    def tokens(self) -> int:
        """Of prompt and answer."""
        return self.input_tokens + self.output_tokens

    def as_dict(self) -> JsonObject:
        """For the control route."""
        return asdict(self)


class Database:
    """The three tables."""

    def __init__(self) -> None:
        self._providers: dict[str, Provider] = {}
        self._overrides: dict[str, Override] = {}
        self._places = count()
        self.uses: list[Use] = []

    # Providers.

    def providers(self) -> list[Provider]:
        """By priority, then as they were made."""
        return sorted(self._providers.values(), key=lambda each: (each.given.priority, each.place))

    def ready(self, name: str) -> bool:
        """Whether calls can go to a provider of this name."""
        return any(each.ready for each in self._providers.values() if each.given.name == name)

    def provider(self, id_: str) -> Provider:
        """One of them. Raises `RefusalError`."""
        found = self._providers.get(id_)
        if found is None:
            raise RefusalError(404, "Provider not found")
        return found

    def add_provider(self, given: NewProvider, now: float) -> Provider:
        """A new one. Raises `RefusalError` for a name that is taken."""
        if any(each.given.name == given.name for each in self._providers.values()):
            raise RefusalError(409, f"Provider '{given.name}' already exists")
        made = Provider(str(uuid.uuid4()), given, now, now, next(self._places))
        self._providers[made.id] = made
        return made

    def change_provider(self, id_: str, change: ProviderChange, now: float) -> Provider:
        """Change what was given. Raises `RefusalError`."""
        found = self.provider(id_)
        found.given = found.given.model_copy(update=change.model_dump(exclude_none=True))
        found.updated_at = now
        return found

    def remove_provider(self, id_: str) -> None:
        """Remove one; overrides that name it stay. Raises `RefusalError`."""
        del self._providers[self.provider(id_).id]

    # Overrides.

    def overrides(self, user_id: str | None = None) -> list[Override]:
        """All of them, or a user's, oldest first."""
        return [each for each in self._overrides.values() if user_id in (None, each.given.user_id)]

    def add_override(self, given: NewOverride, now: float) -> Override:
        """A new one; there may be several for the same pair."""
        made = Override(str(uuid.uuid4()), given, now)
        self._overrides[made.id] = made
        return made

    def remove_override(self, id_: str) -> None:
        """Remove one. Raises `RefusalError`."""
        if self._overrides.pop(id_, None) is None:
            raise RefusalError(404, "Override not found")

    def route(self, user_id: str, service: str) -> tuple[str, str] | None:
        """Provider and model for a call: of user and service, else of the user; the first that was made."""
        own = self.overrides(user_id)
        for wanted in (service, None):
            for each in own:
                if each.given.service_name == wanted:
                    return each.given.provider_name, each.given.model_name
        return None

    # Usage.

    def summary(self, days: int, now: float) -> JsonObject:
        """Of all calls of so many days. Calls that failed are not among them, and never were."""
        uses = self._recent(days, now)
        hits = sum(use.cached for use in uses)
        return {
            "period_days": days,
            "total_requests": len(uses),
            "total_cost_usd": _cost(uses),
            "total_tokens": sum(use.tokens for use in uses),
            "cached_requests": hits,
            "error_requests": 0,
            "cache_hit_rate": round(100 * hits / len(uses), 2) if uses else 0.0,
        }

    def by_provider(self, days: int, now: float) -> Json:
        """Calls, cost, tokens, time per provider."""
        return [
            {
                "provider_name": name,
                "request_count": len(uses),
                "total_cost_usd": _cost(uses),
                "total_tokens": sum(use.tokens for use in uses),
                "avg_latency_ms": round(sum(use.latency_ms for use in uses) / len(uses), 2),
            }
            for name, uses in self._by(lambda use: use.provider, days, now)
        ]

    def by_service(self, days: int, now: float) -> Json:
        """Calls, cost, tokens per service."""
        return [
            {
                "service_name": name,
                "request_count": len(uses),
                "total_cost_usd": _cost(uses),
                "total_tokens": sum(use.tokens for use in uses),
            }
            for name, uses in self._by(lambda use: use.service, days, now)
        ]

    def by_customer(self, days: int, limit: int, now: float) -> Json:
        """Calls and cost of the customers with the most of it."""
        return [
            {"user_id": name, "request_count": len(uses), "total_cost_usd": _cost(uses)}
            for name, uses in self._by(lambda use: use.user_id, days, now)[:limit]
        ]

    def _recent(self, days: int, now: float) -> list[Use]:
        return [use for use in self.uses if use.created_at >= now - days * DAY]

    def _by(self, name_of: Callable[[Use], str], days: int, now: float) -> list[tuple[str, list[Use]]]:
        groups: dict[str, list[Use]] = {}
        for use in self._recent(days, now):
            groups.setdefault(name_of(use), []).append(use)
        return sorted(groups.items(), key=lambda group: -sum(use.cost_usd for use in group[1]))


def _cost(uses: Iterable[Use]) -> float:
    return round(sum(use.cost_usd for use in uses), 4)


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")
