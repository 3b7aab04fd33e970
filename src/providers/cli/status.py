"""Say of each capability whether it is demo or live, through which vendors, and what is missing.

Asks no vendor anything: `providers doctor` does that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from providers import catalog
from providers.cli import cassettes
from providers.cli.output import emit, note, say, table
from providers.selection import Selection, select, unknown_settings
from providers.settings import Settings

if TYPE_CHECKING:
    import argparse

    from providers.core.operation import Variable, VendorFacts


def configure(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""
    del parser


def run(options: argparse.Namespace) -> int:
    """0 also when something is missing; 2 when the settings cannot be read."""
    settings = Settings()
    wrong = unknown_settings(settings)
    selections = {name: select(settings, name) for name in catalog.CAPABILITIES}
    warned = warnings(settings, selections)
    if options.json:
        emit(
            {
                "capabilities": {name: _report(settings, one) for name, one in selections.items()},
                "state": state_name(settings),
                "warnings": warned,
                "problems": wrong,
            }
        )
    else:
        _print(settings, selections, warned)
    if wrong:
        note(*(f"providers: {line}" for line in wrong))
        return 2
    return 0


def state_name(settings: Settings) -> str:
    """Where state is kept, without a password that the URL may hold."""
    scheme, _, rest = settings.state_url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def enabled(settings: Settings) -> tuple[str, ...]:
    """What this service uses: `PROVIDER_CAPABILITIES`, or all there is."""
    return settings.capabilities or tuple(catalog.CAPABILITIES)


def warnings(settings: Settings, selections: dict[str, Selection]) -> list[str]:
    """What works and is still likely to be a mistake."""
    found: list[str] = []
    live = [name for name, one in selections.items() if one.live]
    if live and settings.state_url.startswith("memory:"):
        found.append(
            f"live writes ({', '.join(live)}) with state in memory: idempotency keys, journals and budgets are gone"
            " with the process; set PROVIDER_STATE_URL=redis://host:6379/0 or sqlite:///path"
        )
    if settings.production:
        demo = [name for name, one in selections.items() if one.vendors and not one.live and not one.problem]
        if demo:
            found.append(f"demo in production ({settings.production}): {', '.join(demo)} sends nothing")
    return found


def mode_of(selection: Selection) -> str:
    """`demo` or `live`."""
    return "live" if selection.live or not selection.vendors else "demo"


def _report(settings: Settings, selection: Selection) -> dict[str, object]:
    return {
        "summary": catalog.capability(selection.capability).summary,
        "enabled": selection.capability in enabled(settings),
        "mode": mode_of(selection),
        "vendors": [facts.vendor for facts in selection.vendors],
        "configured": ready(selection),
        "missing": [
            {
                "vendor": facts.vendor,
                "variable": variable.name,
                "aliases": list(variable.aliases),
                "purpose": variable.purpose,
                "where": variable.where,
            }
            for facts, variable in gaps(selection)
        ],
        "any_one_vendor_is_enough": not selection.vendors and len(selection.missing) > 1,
        "problem": selection.problem,
    }


def ready(selection: Selection) -> bool:
    """Whether it can be used."""
    return bool(selection.vendors) and not selection.missing and not selection.problem


def gaps(selection: Selection) -> list[tuple[VendorFacts, Variable]]:
    """The variables that are missing, with the vendor that wants them."""
    return [(facts, variable) for facts, variables in selection.missing for variable in variables]


def _print(settings: Settings, selections: dict[str, Selection], warned: list[str]) -> None:
    rows = [("CAPABILITY", "MODE", "VENDORS", "CONFIGURED", "FOR")]
    for name, one in selections.items():
        vendors = ", ".join(facts.vendor for facts in one.vendors) or "(none)"
        summary = catalog.capability(name).summary
        unused = "" if name in enabled(settings) else " (not in PROVIDER_CAPABILITIES)"
        rows.append((name, mode_of(one), vendors, "yes" if ready(one) else "no", summary + unused))
    say(*table(rows))
    for name, one in selections.items():
        if one.problem:
            say("", f"{name} cannot start: {one.problem}")
        if one.missing:
            choice = " (any one vendor is enough)" if not one.vendors and len(one.missing) > 1 else ""
            say("", f"{name} needs{choice}:")
            for facts, variables in one.missing:
                say(f"  for {facts.title}")
                say(*table([line for variable in variables for line in _lines(variable)], indent="    "))
    kept = "" if not settings.state_url.startswith("memory:") else " (gone with the process)"
    say("", f"State: {state_name(settings)}{kept}")
    if recorded := cassettes.summary():
        say(recorded)
    if warned:
        say("", *(f"Warning: {line}" for line in warned))


def _lines(variable: Variable) -> list[tuple[str, str]]:
    lines = [(variable.name, variable.purpose)]
    if variable.where:
        lines.append(("", f"get it: {variable.where}"))
    if variable.aliases:
        lines.append(("", f"also read as {', '.join(variable.aliases)}"))
    return lines
