"""Prove every credential in use by the cheapest call that only reads.

Exits with 1 when one is refused, cannot be reached or is missing. What counts is PROVIDER_CAPABILITIES, or everything.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from providers import catalog
from providers.cli.output import emit, say, shortened, table
from providers.cli.status import enabled, gaps, mode_of, ready, state_name, warnings
from providers.core.errors import ProviderError
from providers.core.models import CheckResult, CheckState
from providers.runtime import Providers
from providers.selection import Selection, select
from providers.settings import Settings

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """How long to wait."""
    parser.add_argument("--timeout", type=float, default=30.0, metavar="SECONDS", help="for each vendor (default 30)")


def run(options: argparse.Namespace) -> int:
    """0 when every enabled capability works."""
    settings = Settings()
    names = [catalog.capability(name).name for name in enabled(settings)]
    selections = {name: select(settings, name) for name in names}
    results, state = asyncio.run(_check(settings, selections, options.timeout))
    good = all(result.ok for found in results.values() for result in found)
    good = good and not isinstance(state, ProviderError)
    warned = warnings(settings, selections) + _about_state(settings, selections, state)
    if options.json:
        emit(
            {
                "ok": good,
                "checks": [
                    {"capability": name, **_dumped(result)} for name, found in results.items() for result in found
                ],
                "state": state_name(settings),
                "warnings": warned,
            }
        )
    else:
        _print(selections, results, warned, good=good)
    return 0 if good else 1


async def _check(
    settings: Settings, selections: dict[str, Selection], timeout: float
) -> tuple[dict[str, list[CheckResult]], tuple[str, ...] | ProviderError]:
    """What the vendors answer; and what speaks against the state store, or why it cannot be asked."""
    results: dict[str, list[CheckResult]] = {}
    async with Providers(settings, capabilities=()) as p:
        for name, selection in selections.items():
            if not ready(selection):
                results[name] = _missing(selection)
                continue
            try:
                results[name] = await p.capability(name).check(timeout=timeout)
            except ProviderError as error:
                # A capability's own settings are read when it is made.
                vendors = [facts.vendor for facts in selection.vendors]
                detail = str(error)
                results[name] = [CheckResult(vendor=v, state=CheckState.REFUSED, detail=detail) for v in vendors]
        try:
            return results, await p.store.shortcomings()
        except ProviderError as error:
            return results, error


def _about_state(
    settings: Settings, selections: dict[str, Selection], state: tuple[str, ...] | ProviderError
) -> list[str]:
    name = state_name(settings)
    if isinstance(state, ProviderError):
        return [f"the state store {name} does not work, so nothing is sent: {state}"]
    # What memory lacks is told by every command.
    if settings.state_url.startswith("memory:") or not any(one.live for one in selections.values()):
        return []
    return [f"the state store {name}: {line}" for line in state]


def _missing(selection: Selection) -> list[CheckResult]:
    wanting: dict[str, list[str]] = {}
    for facts, variable in gaps(selection):
        wanting.setdefault(facts.vendor, []).append(variable.name)
    found = [
        CheckResult(vendor=vendor, state=CheckState.MISSING, detail="not set: " + ", ".join(names))
        for vendor, names in wanting.items()
    ]
    if selection.problem:
        vendors = [facts.vendor for facts in selection.vendors]
        found += [CheckResult(vendor=v, state=CheckState.MISSING, detail=selection.problem) for v in vendors]
    return found


def _dumped(result: CheckResult) -> dict[str, object]:
    return {"ok": result.ok, **result.model_dump(mode="json")}


def _print(
    selections: dict[str, Selection], results: dict[str, list[CheckResult]], warned: list[str], *, good: bool
) -> None:
    rows = [("CAPABILITY", "MODE", "VENDOR", "STATE", "DETAIL")]
    for name, found in results.items():
        for result in found:
            state = result.state.value if result.ok else result.state.value.upper()
            rows.append((name, mode_of(selections[name]), result.vendor, state, _detail(result)))
    say(*table(rows))
    if warned:
        say("", *(f"Warning: {line}" for line in warned))
    if not good:
        say("", "What is missing and where to get it: providers status")


def _detail(result: CheckResult) -> str:
    parts = [result.detail] if result.detail else []
    if result.sandbox and result.vendor != "demo":
        parts.append("sandbox")
    if result.permissions:
        parts.append(f"{len(result.permissions)} permissions")
    quota = result.quota
    if quota is not None and quota.remaining is not None:
        most = f" of {quota.limit:,}" if quota.limit is not None else ""
        parts.append(f"{quota.remaining:,}{most} {quota.unit} left")
    if result.expires_at is not None:
        parts.append(f"expires {result.expires_at:%Y-%m-%d}")
    return shortened("; ".join(parts) or "answers", 160)
