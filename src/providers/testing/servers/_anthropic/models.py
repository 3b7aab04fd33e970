"""The models on offer: what each takes, and its life by the clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from providers.llm import model_facts
from providers.testing.servers._anthropic.call import RefusalError
from providers.testing.servers._host import JsonObject

NOTICE: Final = timedelta(days=90)
"""From when a model that will retire is deprecated."""

EPOCH: Final = datetime.fromtimestamp(0, UTC)
"""When a model was released of which that is not known; the vendor does the same."""

NAMES: Final = {
    "claude-sonnet-4-5": "claude-sonnet-4-5-20250929",
    "claude-haiku-4-5": "claude-haiku-4-5-20251001",
    "claude-opus-4-5": "claude-opus-4-5-20251101",
}
"""Names without a date, and what they stand for."""

EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")

_THINK: Final = frozenset({"claude-sonnet-5-5", "claude-haiku-5-5", "claude-opus-5-5", "claude-fable-5-1"})
_ALWAYS: Final = frozenset({"claude-opus-5-5", "claude-fable-5-1"})
_RELEASED: Final = {
    "claude-haiku-5-5": datetime(2026, 10, 7, tzinfo=UTC),
    "claude-sonnet-5-5": datetime(2026, 9, 28, tzinfo=UTC),
    "claude-opus-4-5": datetime(2025, 11, 1, tzinfo=UTC),
    "claude-haiku-4-5": datetime(2025, 10, 1, tzinfo=UTC),
    "claude-sonnet-4-5": datetime(2025, 9, 29, tzinfo=UTC),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model. ``alias`` is its name without a date; ``retires_at`` the moment from which requests fail.

    ``sampling``: it takes a temperature where the version does. ``prefill``: the last message may be the model's own.
    ``adaptive``: it decides how much it thinks; ``thinks`` unless told otherwise; ``always``: it cannot be told.
    """

    id: str
    title: str
    alias: str = ""
    created_at: datetime = EPOCH
    retires_at: datetime | None = None
    context: int = 1_000_000
    output: int = 128_000
    sampling: bool = False
    prefill: bool = False
    effort: bool = True
    structured: bool = True
    forced_tools: bool = True
    adaptive: bool = True
    thinks: bool = False
    always: bool = False

    @property
    def line(self) -> str | None:
        """The line it belongs to."""
        return next((line for line in ("haiku", "sonnet", "opus", "fable", "mythos") if f"-{line}-" in self.id), None)

    def lifecycle(self, now: float) -> str:
        """Whether it is to be used."""
        if self.retires_at is None or now < (self.retires_at - NOTICE).timestamp():
            return "active"
        return "deprecated" if now < self.retires_at.timestamp() else "retired"

    def shown(self, now: float) -> JsonObject:
        """As the API shows it."""
        lifecycle = self.lifecycle(now)
        retiring = self.retires_at if lifecycle != "active" else None
        return {
            "type": "model",
            "id": self.id,
            "display_name": self.title,
            "created_at": _text(self.created_at),
            "lifecycle": lifecycle,
            "deprecated_at": None if retiring is None else _text(retiring - NOTICE),
            "retires_at": None if retiring is None else _text(retiring),
            "max_input_tokens": self.context,
            "max_tokens": self.output,
            "line": self.line,
            "capabilities": self._capabilities(),
        }

    def _capabilities(self) -> JsonObject:
        efforts: dict[str, bool] = dict.fromkeys(EFFORTS, self.effort)
        kinds = {
            "adaptive": self.adaptive,
            "between_tools": self.adaptive and not self.always,
            "disabled": not self.always,
            "enabled": not self.thinks,
        }
        flat = {
            "batch": True,
            "citations": False,
            "code_execution": False,
            "context_management": False,
            "image_input": True,
            "pdf_input": False,
            "structured_outputs": self.structured,
        }
        return {
            **_supported(flat),
            "effort": {"supported": self.effort, **_supported(efforts)},
            "server_tools": {"supported": False, **_supported({"code_execution": False, "web_search": False})},
            "thinking": {"supported": True, "types": _supported(kinds)},
        }


def _supported(what: Mapping[str, bool]) -> JsonObject:
    return {name: {"supported": yes} for name, yes in what.items()}


def _model(facts: model_facts.ModelFacts) -> Model:
    name = NAMES.get(facts.id, facts.id)
    old = name != facts.id  # the models of 4.5
    return Model(
        id=name,
        title=facts.title,
        alias=facts.id if old else "",
        created_at=_RELEASED.get(facts.id, EPOCH),
        retires_at=facts.ends,
        context=facts.context,
        output=facts.output,
        sampling=facts.sampling,
        prefill=old,
        effort=facts.effort,
        structured=facts.structured,
        forced_tools=facts.forced_tools,
        adaptive=not old,
        thinks=facts.id in _THINK,
        always=facts.id in _ALWAYS,
    )


MODELS: Final = tuple(_model(facts) for facts in model_facts.MODELS.values() if facts.id.startswith("claude-"))
"""The models there are unless told otherwise, the best known first."""


def find(models: Sequence[Model], name: str) -> Model:
    """A model by its name; 404 for an unknown one."""
    for model in models:
        if name in (model.id, model.alias):
            return model
    raise RefusalError("not_found_error", f"model: {name}")


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
