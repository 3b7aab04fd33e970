"""Print the environment a deployment needs: every variable with its purpose and where to get it.

A template: it never holds a value of the present environment.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from providers import catalog
from providers.cli.output import emit, say
from providers.core.errors import ConfigurationError
from providers.settings import GENERAL

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from providers.core.operation import Variable, VendorFacts


SERVICES = {
    "core": ("sourcing", "email", "sms", "billing", "llm", "storage", "monitoring", "dns"),
    "trendscout": ("sourcing", "trends", "billing", "llm", "monitoring"),
    "contentforge": ("sourcing", "billing", "llm", "storage", "monitoring"),
    "rankpilot": ("seo", "billing", "llm", "storage", "monitoring"),
    "flowsend": ("email", "sms", "billing", "llm", "storage", "monitoring", "dns"),
    "spydrop": ("sourcing", "email", "billing", "llm", "monitoring"),
    "postpilot": ("social", "billing", "llm", "storage", "monitoring"),
    "adscale": ("ads", "billing", "llm", "storage", "monitoring"),
    "shopchat": ("billing", "llm", "monitoring"),
    "sourcepilot": ("sourcing", "billing", "llm", "storage", "monitoring"),
    "llm-gateway": ("llm", "monitoring"),
    "admin": ("llm", "monitoring"),
}
"""The platform's services, and the capabilities each will use live."""

DEFAULTS = {"PROVIDER_MODE": "demo", "PROVIDER_STATE_URL": "sqlite:///providers.sqlite"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One variable of the template."""

    name: str
    purpose: str
    where: str = ""
    aliases: tuple[str, ...] = ()
    secret: bool = False
    required: bool = False
    value: str = ""
    example: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Variables that belong together."""

    title: str
    capability: str = ""
    vendor: str = ""
    entries: tuple[Entry, ...]


def configure(parser: argparse.ArgumentParser) -> None:
    """Which service, which form."""
    parser.add_argument("--service", metavar="NAME", help=f"only what it uses: {', '.join(SERVICES)}")
    parser.add_argument("--format", choices=("dotenv", "kubernetes", "json"), default=None, help="default: dotenv")


def run(options: argparse.Namespace) -> int:
    """Print the template."""
    service: str | None = options.service
    form = options.format or ("json" if options.json else "dotenv")
    names = _capabilities(service)
    found = tuple(groups(names, service))
    if form == "json":
        emit({"service": service, "capabilities": names, "groups": found})
    elif options.json:
        emit({"service": service, "capabilities": names, "text": "\n".join(_text(form, service, names, found)) + "\n"})
    else:
        say(*_text(form, service, names, found))
    return 0


def _text(form: str, service: str | None, names: list[str], found: tuple[Group, ...]) -> list[str]:
    return [*(_kubernetes if form == "kubernetes" else _dotenv)(service, names, found)]


def _capabilities(service: str | None) -> list[str]:
    if service is None:
        return list(catalog.CAPABILITIES)
    uses = SERVICES.get(service.lower())
    if uses is None:
        msg = f"there is no service {service[:40]!r}; valid: {', '.join(SERVICES)}"
        raise ConfigurationError(msg, field="--service")
    return [name for name in uses if name in catalog.CAPABILITIES]


def groups(capabilities: list[str], service: str | None = None) -> Iterator[Group]:
    """The variables of these capabilities: ours, then each vendor's."""
    others = tuple(f"PROVIDER_{name.upper()}_" for name in catalog.CAPABILITIES if name not in capabilities)
    defaults = DEFAULTS | ({"PROVIDER_SERVICE": service.lower()} if service else {})
    if service and capabilities:
        defaults["PROVIDER_CAPABILITIES"] = ",".join(capabilities)
    yield Group(
        title="providers: settings of the package",
        entries=tuple(
            Entry(name=name, purpose=purpose, required=name == "PROVIDER_MODE", value=defaults.get(name, ""))
            for name, purpose in GENERAL.items()
            if not name.startswith(others)
        ),
    )
    for name in capabilities:
        capability = catalog.capability(name)
        vendors = [facts for facts in catalog.built_in(name).values() if not facts.demo]
        usual = ",".join(v for v in capability.default if v in {facts.vendor for facts in vendors})
        choice = Entry(
            name=f"PROVIDER_{name.upper()}",
            purpose="demo, or vendors in order; unset in live: the first whose credentials are complete",
            example=usual,
        )
        budget = Entry(
            name=f"PROVIDER_BUDGET_{name.upper()}",
            purpose="a hard limit before the call over all its vendors; several, separated by commas, all hold",
            example="500/month, 20/day per tenant",
        )
        yield Group(title=f"{name}: {capability.summary}", capability=name, entries=(choice, budget))
        for facts in vendors:
            entries = tuple(_entry(variable) for variable in facts.variables)
            title = f"{name} through {facts.title}"
            yield Group(title=title, capability=name, vendor=facts.vendor, entries=(*entries, *_ours(facts)))


def _entry(variable: Variable) -> Entry:
    return Entry(
        name=variable.name,
        purpose=variable.purpose,
        where=variable.where,
        aliases=variable.aliases,
        secret=variable.secret,
        required=variable.required,
        example=variable.example,
    )


def _ours(facts: VendorFacts) -> Iterator[Entry]:
    if facts.base_url:
        name = f"PROVIDER_{facts.vendor.upper()}_BASE_URL"
        yield Entry(name=name, purpose="another host: emulator, proxy, region", example=facts.base_url)
    if not facts.demo:
        name = f"PROVIDER_RATE_{facts.vendor.upper()}"
        yield Entry(name=name, purpose="how fast this account may be asked, over all processes", example="14/second")
    if facts.points is not None:
        name = f"PROVIDER_POINTS_{facts.vendor.upper()}"
        yield Entry(name=name, purpose="how many points a day the account has", example=f"{facts.points.per_day}/day")
    if facts.prices:
        name = f"PROVIDER_BUDGET_{facts.vendor.upper()}"
        purpose = "a hard limit before the call: 1000/day of what is counted, or money"
        yield Entry(name=name, purpose=purpose, example=f"50 {facts.currency}/month")


def _comment(entry: Entry) -> Iterator[str]:
    need = "" if entry.name.startswith("PROVIDER_") else " (required)" if entry.required else " (optional)"
    yield f"# {entry.purpose}{need}"
    if entry.where:
        yield f"# where: {entry.where}"
    if entry.aliases:
        yield f"# also read as: {', '.join(entry.aliases)}"


def _heading(service: str | None, names: list[str]) -> Iterator[str]:
    for_whom = f" for {service.lower()}" if service else ""
    yield f"# Environment{for_whom}. Every NAME can be given as NAME_FILE instead: the path of a file with the value."
    if service and not names:
        yield "# This version has none of the capabilities that this service uses."


def _dotenv(service: str | None, names: list[str], found: tuple[Group, ...]) -> Iterator[str]:
    yield from _heading(service, names)
    for group in found:
        yield from ("", f"# --- {group.title} ---")
        for entry in group.entries:
            yield ""
            yield from _comment(entry)
            if entry.value:
                yield f"{entry.name}={entry.value}"
            elif entry.required:
                if entry.example:
                    yield f"# e.g. {entry.example}"
                yield f"{entry.name}="
            else:
                yield f"# {entry.name}={_quoted(entry.example)}"


def _quoted(text: str) -> str:
    return f'"{text}"' if " " in text else text


def _kubernetes(service: str | None, names: list[str], found: tuple[Group, ...]) -> Iterator[str]:
    """A Secret and a ConfigMap, to be loaded whole with `envFrom`."""
    base = f"{service.lower()}-providers" if service else "providers"
    yield from _heading(service, names)
    yield "# In the container: envFrom: [{secretRef: {name: %s}}, {configMapRef: {name: %s}}]" % (base, base)  # noqa: UP031
    yield "# Values are empty on purpose; an empty one counts as not set."
    yield from _manifest("Secret", base, found, secret=True)
    yield "---"
    yield from _manifest("ConfigMap", base, found, secret=False)


def _manifest(kind: str, name: str, found: tuple[Group, ...], *, secret: bool) -> Iterator[str]:
    yield "apiVersion: v1"
    yield f"kind: {kind}"
    yield f"metadata: {{name: {name}}}"
    if secret:
        yield "type: Opaque"
    lines: list[str] = []
    empty = True
    for group in found:
        entries = [entry for entry in group.entries if entry.secret is secret]
        if entries:
            lines.append(f"  # --- {group.title} ---")
        for entry in entries:
            lines += [f"  {line}" for line in _comment(entry)]
            hint = f"  # e.g. {entry.example}" if entry.example and not entry.value else ""
            if entry.value or entry.required:
                empty = False
                lines.append(f"  {entry.name}: {json.dumps(entry.value)}{hint}")
            else:
                lines.append(f'  # {entry.name}: ""{hint}')
    yield ("stringData:" if secret else "data:") + (" {}" if empty else "")
    yield from lines
