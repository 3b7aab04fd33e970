"""The entry point: which commands there are, and how every one of them ends."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import TYPE_CHECKING

from providers import __version__
from providers.cli import call, campaign, doctor, env, serve, status, tour, unknowns
from providers.cli.output import complain, plain
from providers.core.errors import ConfigurationError, ProviderError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

FAILED, USAGE, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141

COMMANDS = (tour, status, doctor, env, call, campaign, unknowns, serve)
"""Each has NAME, HELP, perhaps EXAMPLES, `configure(parser)` and `run(options)`; its docstring describes it."""


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
    try:
        options = parser().parse_args(argv)
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


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="providers",
        description="One typed way to the outside world: demo unless told otherwise (PROVIDER_MODE=live).",
        epilog="providers COMMAND --help says more about a command. Exit codes: 0 well, 1 a failure, 2 bad usage or "
        "configuration, 130 interrupted.",
    )
    top.add_argument("--version", action="version", version=f"providers {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        one = commands.add_parser(
            command.NAME,
            help=command.HELP,
            description=command.__doc__,
            epilog=getattr(command, "EXAMPLES", None),
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
