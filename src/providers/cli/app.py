"""The entry point: which commands there are, and how every one of them ends."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from io import TextIOWrapper
from typing import TYPE_CHECKING, Protocol, cast

from providers import __version__
from providers.cli.output import complain, plain
from providers.core.errors import ConfigurationError, ProviderError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

FAILED, USAGE, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141

COMMANDS = {
    "tour": "a shop's day across every capability, on whatever mode is set",
    "status": "per capability: mode, vendors, configured, what is missing",
    "doctor": "read-only calls that prove each credential; exit 1 if any enabled one fails",
    "env": "the environment template, per service",
    "call": "one operation by hand",
    "campaign": "send a campaign from a CSV file; run it again to resume",
    "unknowns": "list and resolve writes whose outcome is unknown",
    "cassettes": "what the recorded conversations prove: live, emulator, spec",
    "drift": "recorded replies against fresh ones; exit 1 if their shape changed",
    "serve": "local vendor servers, with the variables that point at them",
}
"""Each is a module of that name with `configure(parser)` and `run(options)`; its docstring describes it, and its
EXAMPLES, if it has any, are printed below. Only the one that was asked for is imported."""


class Command(Protocol):
    """What such a module has."""

    def configure(self, parser: argparse.ArgumentParser, /) -> None:
        """Declare its options."""
        ...

    def run(self, options: argparse.Namespace, /) -> int:
        """Do it; the exit code."""
        ...


def main(argv: list[str] | None = None) -> int:
    """Run the command line; the exit code: 0 well, 1 a failure, 2 bad usage or configuration, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a letter gets its number, not an exception.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    with _log_to_stderr():
        try:
            return _run(argv)
        except BrokenPipeError:
            # Whoever read our output has enough; the interpreter must not find that out again when it ends.
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return BROKEN_PIPE
        except KeyboardInterrupt:
            return INTERRUPTED


def _run(argv: list[str] | None) -> int:
    words = sys.argv[1:] if argv is None else argv
    asked = next((word for word in words if word in COMMANDS), None)
    try:
        options = parser(asked).parse_args(words)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else USAGE
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        code = run(options)
    except ProviderError as error:
        complain(error, as_json=options.json)
        code = USAGE if isinstance(error, ConfigurationError) else FAILED
    sys.stdout.flush()
    return code


def parser(asked: str | None = None) -> argparse.ArgumentParser:
    """The command line; complete for the command that is asked for, or for all."""
    top = argparse.ArgumentParser(
        prog="providers",
        formatter_class=partial(argparse.HelpFormatter, max_help_position=16),
        description="One typed way to the outside world: demo unless told otherwise (PROVIDER_MODE=live).",
        epilog="providers COMMAND --help says more about a command. Exit codes: 0 well, 1 a failure, 2 bad usage or "
        "configuration, 130 interrupted.",
    )
    top.add_argument("-V", "--version", action="version", version=f"providers {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        if asked not in {None, name}:
            commands.add_parser(name, help=summary)
            continue
        module = import_module(f"providers.cli.{name}")
        command = cast("Command", module)
        one = commands.add_parser(
            name,
            help=summary,
            description=module.__doc__,
            epilog=getattr(module, "EXAMPLES", None),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        one.add_argument("--json", action="store_true", help="machine-readable JSON on stdout")
        command.configure(one)
        one.set_defaults(run=command.run)
    return top


class _OneLine(logging.Formatter):
    """The message alone: a failure that is handled needs no traceback."""

    def format(self, record: logging.LogRecord) -> str:
        return plain(f"providers: {record.getMessage()}")


@contextmanager
def _log_to_stderr() -> Generator[None]:
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(_OneLine())
    logger = logging.getLogger("providers")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


if __name__ == "__main__":
    sys.exit(main())
