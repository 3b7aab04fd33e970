"""``python -m providers.testing.servers sendgrid --port 8101``: a local vendor server in its own process.

Prints one JSON line (vendor, url, env), serves until SIGTERM or SIGINT, ends with 0. ``--list`` names the vendors.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

from providers.testing.servers import SERVERS, load_server


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    parser = argparse.ArgumentParser(prog="providers.testing.servers", description="Run a local vendor server.")
    parser.add_argument("vendor", nargs="?", choices=sorted(SERVERS))
    parser.add_argument("--list", action="store_true", help="name the vendors and stop")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    known, _ = parser.parse_known_args(argv)
    if known.list or known.vendor is None:
        sys.stdout.write("\n".join(sorted(SERVERS)) + "\n")
        return 0 if known.list else 2
    kind = load_server(known.vendor)
    kind.add_options(parser)
    options = parser.parse_args(argv)
    stop = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    with kind.from_options(options) as server:
        sys.stdout.write(json.dumps({"vendor": server.vendor, "url": server.url, "env": server.env}) + "\n")
        sys.stdout.flush()
        stop.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
