"""A shop's day through every capability there is, on whatever mode is set.

In demo nothing leaves this machine. In live the mails and texts are real: they go to the address given by --to and the
number given by --phone, and to nobody else; language models are asked, which costs cents; suppliers are asked, but
nothing is ordered; no other money is moved.
What cannot be shown without bothering anybody is skipped, and said so.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

from providers import catalog
from providers.cli.output import emit, note, say
from providers.cli.tour import billing, email, llm, sms, sourcing
from providers.cli.tour.step import Step, Tour
from providers.core.errors import ConfigurationError, ProviderError
from providers.runtime import Providers
from providers.settings import Settings

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Callable

DEMO_DOMAIN = "shop.example.com"

WHO = {"email": ("--to", "gets the mails", "you@your.domain"), "sms": ("--phone", "gets the texts", "+15551234567")}
"""Whom a live part writes to: the option that says it, and how to ask for it."""

PARTS: dict[str, Callable[[Tour], AsyncIterator[Step]]] = {
    "sourcing": sourcing.show,
    "llm": llm.show,
    "billing": billing.show,
    "email": email.show,
    "sms": sms.show,
}
"""The tour's part for each capability, in the order of the day."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Whom to write to in live."""
    parser.add_argument("--to", metavar="ADDRESS", help="live: the one who gets the mails; needed there")
    parser.add_argument("--phone", metavar="NUMBER", help="live: the one who gets the texts; needed there")
    parser.add_argument("--domain", metavar="NAME", help="live: show this sending domain (registers it if unknown)")


def run(options: argparse.Namespace) -> int:
    """0 when every step went as it should."""
    return asyncio.run(_tour(options))


async def _tour(options: argparse.Namespace) -> int:
    documents: list[dict[str, object]] = []
    failed = False
    async with Providers(Settings(), capabilities=tuple(PARTS)) as p:
        selections = {name: p.selection(name) for name in PARTS}
        live = [name for name, selection in selections.items() if selection.live]
        for name in live:
            option, who, example = WHO.get(name, ("", "", ""))
            if option and not getattr(options, option.lstrip("-")):
                msg = f"{name} is live: say who {who}, {option} {example} (nobody else gets any)"
                raise ConfigurationError(msg, field=option)
        if not options.json:
            reach = f"live: {', '.join(live)}" if live else "demo: everything is made up, nothing leaves this machine"
            say(f"A shop's day, {reach}")
        for name, part in PARTS.items():
            vendors = [facts.vendor for facts in selections[name].vendors]
            if not options.json:
                say("", f"{name}: {catalog.capability(name).summary}, through {', '.join(vendors)}")
            is_live = selections[name].live
            tour = Tour(
                p=p,
                live=is_live,
                to=options.to if is_live else "",
                phone=options.phone if is_live else "",
                domain=options.domain or "" if is_live else DEMO_DOMAIN,
                run=secrets.token_hex(4),
            )
            steps: list[Step] = []
            document: dict[str, object] = {"capability": name, "vendors": vendors, "live": is_live, "steps": steps}
            documents.append(document)
            try:
                async for step in part(tour):
                    steps.append(step)
                    if not options.json:
                        _print(len(steps), step)
            except ProviderError as error:
                failed = True
                document["error"] = str(error)
                note(f"providers: {name}: step {len(steps) + 1} failed: {error}")
    if options.json:
        emit({"ok": not failed, "capabilities": documents})
    elif not failed:
        say("", "Every step went as it should.")
    return 1 if failed else 0


def _print(number: int, step: Step) -> None:
    say("", f"  {number}. {step.title}")
    say(*(f"     {line}" for line in step.lines))
    if step.skipped:
        say(f"     skipped: {step.skipped}")
