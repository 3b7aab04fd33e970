"""List writes whose outcome nobody knows, and settle them by hand."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from providers.cli.output import emit, say, shortened, table
from providers.cli.status import state_name
from providers.core.clock import SystemClock
from providers.core.errors import ConfigurationError, NotFoundError
from providers.core.writes import Resolution, UnknownWrite
from providers.email.address import normalise
from providers.email.campaign import CampaignStatus, UnknownMail, campaigns
from providers.runtime import Providers
from providers.settings import Settings

EXAMPLES = """\
examples:
  providers unknowns                                       everything in PROVIDER_STATE_URL
  providers unknowns --state sqlite:///customers.csv.journal.sqlite
  providers unknowns resolve ID --applied                  it happened: a repeat with its key is refused
  providers unknowns resolve ID --repeat                   a repeat with its key goes out, if need be a second time
  providers unknowns resolve --campaign KEY ADDRESS --sent
  providers unknowns resolve --campaign KEY --all --resend the next run of the campaign sends them, perhaps again
"""

PROMISES = {
    "applied": "counted as done: a repeat with the same key is refused.",
    "repeat": "forgotten: a repeat with the same key goes out, even if the first did.",
    "sent": "counted as sent: no run of this campaign sends them.",
    "resend": "to be sent: the next run of this campaign sends them. Whoever had the mail already gets it twice.",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """List by default; `resolve` settles."""
    parser.add_argument("--state", metavar="URL", help="default: PROVIDER_STATE_URL")
    parser.add_argument("--campaign", metavar="KEY", help="only the mails of this campaign")
    parser.add_argument("--tenant", default="", help="whose campaign (default: the platform's own)")
    parser.set_defaults(action=None)
    actions = parser.add_subparsers(metavar="resolve", help="settle one; see the examples above")
    resolve = actions.add_parser("resolve", help="settle one")
    for option in ("--state", "--campaign", "--tenant"):
        # Without a default of its own: what stands before `resolve` counts too.
        resolve.add_argument(option, default=argparse.SUPPRESS)
    resolve.add_argument("--json", action="store_true", default=argparse.SUPPRESS)
    resolve.add_argument("which", nargs="?", metavar="ID|ADDRESS")
    resolve.add_argument("--all", action="store_true", help="every unknown mail of the campaign")
    way = resolve.add_mutually_exclusive_group(required=True)
    for word, promise in PROMISES.items():
        way.add_argument(f"--{word}", dest="way", action="store_const", const=word, help=promise)
    resolve.set_defaults(action="resolve")


def run(options: argparse.Namespace) -> int:
    """0 when it could be listed or settled."""
    settings = _settings(options)
    if options.action == "resolve":
        return asyncio.run(_resolve(settings, options))
    return asyncio.run(_list(settings, options))


def _settings(options: argparse.Namespace) -> Settings:
    # A journal is read without any credential: no vendor is asked.
    settings = Settings(state_url=options.state, vendors={"email": "demo"})
    scheme, _, path = settings.state_url.partition(":///")
    if scheme == "sqlite" and not Path(path).is_file():
        msg = f"there is no state at {path}"
        raise ConfigurationError(msg, field="--state")
    if settings.state_url.startswith("memory:"):
        msg = "there is no lasting state to look into: set PROVIDER_STATE_URL, or say --state sqlite:///path"
        raise ConfigurationError(msg, field="--state")
    return settings


async def _list(settings: Settings, options: argparse.Namespace) -> int:
    writes: list[UnknownWrite] = []
    found: list[tuple[str, str, list[UnknownMail]]] = []
    async with Providers(settings, capabilities=()) as p:
        if options.campaign is None:
            writes = [write async for write in p.unknowns.unknown()]
        for status in await _campaigns(p, options):
            if status.unknown:
                mails = sorted([mail async for mail in status.unknowns()], key=lambda mail: mail.recipient)
                found.append((status.tenant, status.key, mails))
    if options.json:
        emit(
            {
                "state": state_name(settings),
                "writes": writes,
                "campaigns": [{"tenant": tenant, "campaign": key, "mails": mails} for tenant, key, mails in found],
            }
        )
    else:
        _print(settings, writes, found)
    return 0


async def _campaigns(p: Providers, options: argparse.Namespace) -> list[CampaignStatus]:
    """All, or those of the key that was asked for: a live one, and a rehearsal of it on demo."""
    found = [status async for status in campaigns(p.store, SystemClock())]
    if options.campaign is not None:
        found = [each for each in found if (each.tenant, each.key) == (options.tenant, options.campaign)]
        if not found:
            msg = f"key: no campaign is called {options.campaign[:80]!r}"
            raise NotFoundError(msg, field="key")
    return sorted(found, key=lambda status: (status.tenant, status.key))


def _print(settings: Settings, writes: list[UnknownWrite], found: list[tuple[str, str, list[UnknownMail]]]) -> None:
    mails = sum(len(each) for _, _, each in found)
    if not writes and not mails:
        say(f"Nothing is unknown in {state_name(settings)}.")
        return
    if writes:
        say(f"{len(writes):,} write{'s' if len(writes) != 1 else ''} with an unknown outcome:")
        rows = [("ID", "VENDOR", "WHEN (UTC)", "REASON")]
        rows += [(w.id, w.vendor or "-", f"{w.at:%Y-%m-%d %H:%M:%S}", shortened(w.reason)) for w in writes]
        say(*table(rows, indent="  "), "  Settle one: providers unknowns resolve ID --applied | --repeat", "")
    for tenant, key, each in found:
        whose = f" of tenant {tenant}" if tenant else ""
        say(f"{len(each):,} mail{'s' if len(each) != 1 else ''} of campaign {key}{whose} may have been sent:")
        say(*table([(mail.recipient, shortened(mail.reason)) for mail in each], indent="  "))
        option = f" --tenant {tenant}" if tenant else ""
        say(f"  Settle: providers unknowns resolve --campaign {key}{option} ADDRESS | --all --sent | --resend", "")


async def _resolve(settings: Settings, options: argparse.Namespace) -> int:
    if options.campaign is None:
        settled = await _resolve_write(settings, options)
    else:
        settled = await _resolve_mails(settings, options)
    if options.json:
        emit({"resolution": options.way, "settled": settled})
    else:
        count = f"{len(settled):,} mails" if len(settled) > 1 else settled[0] if settled else "nothing"
        say(f"{count}: {PROMISES[options.way]}" if settled else "Nothing was unknown.")
    return 0


async def _resolve_write(settings: Settings, options: argparse.Namespace) -> list[str]:
    if options.way not in {"applied", "repeat"} or options.all or not options.which:
        msg = "resolve needs an ID with --applied or --repeat, or --campaign KEY with --sent or --resend"
        raise ConfigurationError(msg)
    async with Providers(settings, capabilities=()) as p:
        await p.unknowns.resolve(options.which, Resolution(options.way))
    return [options.which]


async def _resolve_mails(settings: Settings, options: argparse.Namespace) -> list[str]:
    if options.way not in {"sent", "resend"} or options.all == bool(options.which):
        msg = "resolve --campaign KEY needs one ADDRESS or --all, and --sent or --resend"
        raise ConfigurationError(msg)
    async with Providers(settings, capabilities=()) as p:
        wanted = _spelled(options.which or "")
        settled: list[str] = []
        for status in await _campaigns(p, options):
            mails = [mail async for mail in status.unknowns()]
            if options.all:
                settled += [mail.recipient for mail in mails]
                await status.resolve_all(options.way)
            elif any(wanted in {mail.key, mail.recipient} for mail in mails):
                settled.append(wanted)
                await status.resolve(wanted, options.way)
        if not settled and not options.all:
            msg = f"key: no mail with an unknown outcome has the key {wanted[:80]!r}"
            raise NotFoundError(msg, field="key")
    return sorted(settled)


def _spelled(text: str) -> str:
    """An address in the journal's spelling; a key as it is."""
    try:
        return normalise(text)
    except ValueError:
        return text
