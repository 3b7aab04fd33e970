"""Run local vendor servers in this process until Ctrl-C, and print the variables that point at them.

They prove our reading of the vendors' documents, not the vendors; they listen on this machine only.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import threading
from contextlib import ExitStack
from importlib import import_module
from typing import TYPE_CHECKING

from providers import catalog
from providers.cli.output import emit_line, note, say
from providers.core.errors import ConfigurationError
from providers.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType

    from providers.testing.servers import LocalServer


EXAMPLES = """\
examples:
  providers serve                      all of them, on free ports
  providers serve sendgrid --port 8101
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Which, where."""
    parser.add_argument("vendors", nargs="*", metavar="VENDOR", help="default: all there are")
    parser.add_argument("--port", type=int, default=0, help="of the first; the next ones follow (default: free ports)")
    parser.add_argument("--webhook-url", help="where signed webhooks go; {capability} and {vendor} are filled in")


def run(options: argparse.Namespace) -> int:
    """0 when it was told to stop."""
    stop = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with ExitStack() as running:
            servers = [running.enter_context(server) for server in _servers(options)]
            _announce(options, servers)
            stop.wait()
    except OSError as error:
        note(f"providers: the server cannot start: {error.strerror or error}")
        return 1
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def _servers(options: argparse.Namespace) -> list[LocalServer]:
    # Loaded by name: the package itself never imports its test kit, and services install it without.
    kit = import_module("providers.testing.servers")
    known: Mapping[str, str] = kit.SERVERS
    load_server: Callable[[str], type[LocalServer]] = kit.load_server
    names: list[str] = list(dict.fromkeys(options.vendors)) or sorted(known)
    for name in names:
        if name not in known:
            msg = f"there is no local server of {name[:40]!r}; valid: {', '.join(sorted(known))}"
            raise ConfigurationError(msg)
    template = options.webhook_url
    settings = Settings(webhook_url=template)
    servers: list[LocalServer] = []
    for place, name in enumerate(names):
        try:
            kind = load_server(name)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("providers"):
                raise
            msg = f"the local server of {name} needs {error.name}: pip install 'providers[testing,{name}]'"
            raise ConfigurationError(msg) from error
        parser = argparse.ArgumentParser()
        kind.add_options(parser)
        chosen = parser.parse_args([])
        chosen.host = "127.0.0.1"
        chosen.port = options.port + place if options.port else 0
        if hasattr(chosen, "webhook_url"):
            chosen.webhook_url = settings.webhook_url(_capability(name), name) or None
        servers.append(kind.from_options(chosen))
    return servers


def _capability(vendor: str) -> str:
    """The capability a vendor's webhooks are for."""
    return next((name for name in catalog.CAPABILITIES if vendor in catalog.built_in(name)), vendor)


def _announce(options: argparse.Namespace, servers: list[LocalServer]) -> None:
    env = {"PROVIDER_MODE": "live"}
    running = {server.vendor for server in servers}
    for name, capability in catalog.CAPABILITIES.items():
        served = [vendor for vendor in catalog.built_in(name) if vendor in running]
        if served != [*capability.default[:1]]:
            # What would not be chosen by itself is named: several of one capability, or one that must be.
            env[f"PROVIDER_{name.upper()}"] = ",".join(served) or "demo"
    for server in servers:
        env |= server.env
    if options.json:
        shown = [{"vendor": server.vendor, "url": server.url, "env": server.env} for server in servers]
        emit_line({"servers": shown, "env": env})
        return
    for server in servers:
        say(f"# {server.vendor}: {server.url} (requests seen: {server.url}/_control/requests)")
    say("# In the shell that is to use them:")
    say(*(f"export {name}={shlex.quote(value)}" for name, value in env.items()))
    say("# Ctrl-C stops.")
    sys.stdout.flush()
