"""Which vendors serve which capability. The only place that asks for the mode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from providers import catalog
from providers.core.errors import ConfigurationError
from providers.settings import GENERAL, Mode, words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from providers.core.operation import Variable, VendorFacts
    from providers.settings import Settings

    Lacks: TypeAlias = Callable[[VendorFacts], tuple[Variable, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The vendors of one capability in order, and the variables they lack. Usable when `missing` is empty."""

    capability: str
    vendors: tuple[VendorFacts, ...]
    missing: tuple[tuple[VendorFacts, tuple[Variable, ...]], ...] = ()
    problem: str = ""

    @property
    def live(self) -> bool:
        """Whether any of it is real."""
        return any(not facts.demo for facts in self.vendors)


def plugins(settings: Settings) -> tuple[str, ...] | None:
    """The third-party adapters that may be loaded; None for all."""
    allowed = settings.text("PROVIDER_PLUGINS")
    return words(allowed) if allowed else None


def select(settings: Settings, capability: str, lacks: Lacks | None = None) -> Selection:
    """The vendors of one capability, and what they lack. Raises `ConfigurationError` for unknown names.

    `lacks` says what is missing where the credentials are not those of the settings.
    """
    lacks = lacks or settings.missing
    entry = catalog.capability(capability)
    names = settings.vendors(capability)
    if names:
        return chosen(settings, capability, names, lacks)
    known = catalog.built_in(capability)
    if settings.mode is Mode.LIVE:
        candidates = [known[vendor] for vendor in entry.default if vendor in known]
        complete = [facts for facts in candidates if not lacks(facts)]
        if complete:
            vendors = tuple(complete) if entry.merged else (complete[0],)
            return Selection(capability=capability, vendors=vendors)
        lacking = tuple((facts, lacks(facts)) for facts in candidates)
        return Selection(capability=capability, vendors=(), missing=lacking)
    return Selection(capability=capability, vendors=(known["demo"],), problem=_demo_problem(settings, capability))


def chosen(settings: Settings, capability: str, names: str | Sequence[str], lacks: Lacks | None = None) -> Selection:
    """The vendors of these names, and what they lack. Raises `ConfigurationError` for unknown ones."""
    lacks = lacks or settings.missing
    catalog.capability(capability)
    allowed = plugins(settings)
    vendors = tuple(catalog.facts_of(capability, vendor, plugins=allowed) for vendor in dict.fromkeys(words(names)))
    problem = ""
    if len(vendors) > 1 and any(facts.demo for facts in vendors):
        problem = f"PROVIDER_{capability.upper()}: demo cannot be mixed with live vendors"
    lacking = tuple((facts, gaps) for facts in vendors if (gaps := lacks(facts)))
    return Selection(capability=capability, vendors=vendors, missing=lacking, problem=problem)


def _demo_problem(settings: Settings, capability: str) -> str:
    """Why demo by default is not acceptable here; a capability set to demo by name needs no permission."""
    if settings.mode is None:
        present = [
            variable.name
            for facts in catalog.built_in(capability).values()
            for variable in facts.variables
            if variable.secret and settings.value(variable) is not None
        ]
        if present:
            return f"{', '.join(present)} is set, but PROVIDER_MODE is not: choose PROVIDER_MODE=live or demo"
    if settings.production and not settings.allow_demo:
        return (
            f"{capability} would run on demo, but {settings.production} says this is production:"
            " set PROVIDER_MODE=live, or PROVIDER_ALLOW_DEMO=1 if that is meant"
        )
    return ""


def require(settings: Settings, capabilities: Iterable[str], lacks: Lacks | None = None) -> dict[str, Selection]:
    """The selections of several capabilities. Raises one `ConfigurationError` with everything that is wrong."""
    selections: dict[str, Selection] = {}
    problems = unknown_settings(settings)
    for capability in capabilities:
        try:
            selections[capability] = selection = select(settings, capability, lacks)
        except ConfigurationError as error:
            problems.append(error.message)
            continue
        if selection.problem:
            problems.append(selection.problem)
        problems += _explain(selection)
    if problems:
        raise ConfigurationError("\n".join(["the settings are not complete:", *(f"- {p}" for p in problems)]))
    return selections


def _explain(selection: Selection) -> list[str]:
    lines: list[str] = []
    alternatives = not selection.vendors and len(selection.missing) > 1
    for facts, gaps in selection.missing:
        for variable in gaps:
            where = f" ({variable.where})" if variable.where else ""
            choice = " [any one vendor is enough]" if alternatives else ""
            what = f"{variable.name} is missing for {selection.capability} through {facts.title}"
            lines.append(f"{what}: {variable.purpose}{where}{choice}")
    return lines


def vendor_names(settings: Settings) -> set[str]:
    """All vendors that settings may speak of."""
    names: set[str] = set()
    for name, entry in catalog.CAPABILITIES.items():
        names |= {*catalog.built_in(name), *entry.default, *settings.vendors(name)}
    return names


def unknown_settings(settings: Settings) -> list[str]:
    """Names of ours that mean nothing: a misspelt switch must not be ignored."""
    known = set(GENERAL)
    for capability in catalog.CAPABILITIES:
        known |= {f"PROVIDER_{capability.upper()}", f"PROVIDER_BUDGET_{capability.upper()}"}
    for vendor in vendor_names(settings):
        name = vendor.upper()
        known |= {f"PROVIDER_{name}_BASE_URL"}
        known |= {f"PROVIDER_{setting}_{name}" for setting in ("BUDGET", "RATE", "POINTS")}
    wrong = [name for name in settings.provider_names() if name.removesuffix("_FILE") not in known]
    capabilities = ", ".join(catalog.CAPABILITIES)
    strange = [name for name in settings.chosen_for() if name not in catalog.CAPABILITIES]
    return [f"{name} is not a setting; {_nearest(name, known)}" for name in wrong] + [
        f"vendors: there is no capability {name[:40]!r}; valid: {capabilities}" for name in strange
    ]


def _nearest(name: str, known: set[str]) -> str:
    """What may have been meant: there are too many to list them all."""
    from difflib import get_close_matches

    near = get_close_matches(name.removesuffix("_FILE"), sorted(known), n=2, cutoff=0.8)
    return f"did you mean {' or '.join(near)}?" if near else "providers env lists them all"
