"""Hold recorded replies against fresh ones: which fields came, went, or changed their type.

Without --fresh, the tests here that use cassettes are recorded anew (by pytest, into a temporary folder), with the
keys of the environment; the cassettes themselves stay as they are. Values are not compared, only shapes. Exits with 1
when something drifted, 2 when nothing could be compared.
"""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, cast

from providers.cli.cassettes import FOLDER, read_all
from providers.cli.output import emit, note, say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from providers.testing.cassettes.files import Recording
    from providers.testing.cassettes.shapes import Difference

    Compare = Callable[[Recording, Recording], tuple[list[Difference], int]]

DRIFTED, NOTHING = 1, 2
TAIL = 15
EXAMPLES = """\
examples:
  providers drift                                all cassettes, recorded anew
  providers drift cassettes/email/sendgrid
  providers drift --fresh /path/to/recordings    held against these, made earlier with pytest --record-to=DIR
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """What is compared with what."""
    parser.add_argument("path", nargs="?", type=Path, default=Path(FOLDER), help=f"file or folder (default: {FOLDER})")
    parser.add_argument("--fresh", type=Path, metavar="DIR", help="compare with these recordings")


def run(options: argparse.Namespace) -> int:
    """0 when nothing drifted."""
    path: Path = options.path
    old, broken = read_all(path)
    if options.fresh is not None:
        fresh, more = read_all(options.fresh)
        return _report(options, old, _below(fresh, path), broken + more)
    with TemporaryDirectory(prefix="providers-drift-") as folder:
        problem = _record(Path(folder))
        fresh, more = read_all(Path(folder))
        code = _report(options, old, _below(fresh, path), broken + more)
    if problem:
        note(*problem)
    return code


def _record(folder: Path) -> list[str]:
    """Record everything there; what went wrong, if something did."""
    # With "=": the folder alone would pass for one of tests, and pytest would look for its settings there.
    command = [sys.executable, "-m", "pytest", f"--record-to={folder}", "-q", "--tb=line", "-p", "no:cacheprovider"]
    done = subprocess.run(  # noqa: S603 (our own words)
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode == 0:
        return []
    lines = [line for line in done.stdout.splitlines() if line.strip()][-TAIL:]
    return ["", "providers: not everything could be recorded; pytest says:", *(f"  {line}" for line in lines)]


def _below(fresh: dict[str, Recording], path: Path) -> dict[str, Recording]:
    """Recordings are named from the folder of all cassettes: give those of `path` the names they have below it."""
    parts = path.with_suffix("").parts if path.is_file() else path.parts
    for start in range(len(parts) + 1):
        prefix = "/".join(parts[start:])
        if path.is_file():
            tape = fresh.get(f"{prefix}.json")
            found = {path.name: tape} if tape is not None else {}
        else:
            begin = f"{prefix}/" if prefix else ""
            found = {name.removeprefix(begin): tape for name, tape in fresh.items() if name.startswith(begin)}
        if found:
            return found
    return {}


def _report(
    options: argparse.Namespace, old: dict[str, Recording], fresh: dict[str, Recording], broken: list[str]
) -> int:
    compare = cast("Compare", import_module("providers.testing.cassettes.shapes").compare)
    drifted: dict[str, list[Difference]] = {}
    replies = 0
    same: list[str] = []
    alone: list[str] = []
    for name, tape in old.items():
        other = fresh.get(name)
        found, compared = compare(tape, other) if other is not None else ([], 0)
        replies += compared
        if found:
            drifted[name] = found
        else:
            (same if compared else alone).append(name)
    compared_with = sorted({fresh[name].origin.value for name in (*drifted, *same)})
    if options.json:
        emit(
            {
                "compared": {"cassettes": len(drifted) + len(same), "replies": replies, "fresh_origins": compared_with},
                "drifted": [
                    {"cassette": name, "kind": one.kind, "request": one.request, "path": one.path, "was": one.was,
                     "now": one.now}
                    for name, found in drifted.items() for one in found
                ],
                "not_compared": alone,
                "unreadable": broken,
            }
        )  # fmt: skip
    else:
        _print(drifted, replies, len(drifted) + len(same), alone, compared_with)
    if broken:
        note(*(f"providers: {line}" for line in broken))
    if not drifted and not same:
        return NOTHING
    return DRIFTED if drifted else 0


def _print(
    drifted: dict[str, list[Difference]], replies: int, compared: int, alone: list[str], origins: list[str]
) -> None:
    for name, found in drifted.items():
        say(name)
        request = ""
        for one in found:
            if one.request != request:
                request = one.request
                say(f"  {request}")
            say(f"    {_line(one)}")
        say("")
    if not compared:
        say("Nothing could be compared.")
    else:
        differences = _count(sum(map(len, drifted.values())), "difference")
        verdict = f"{differences} in {_count(len(drifted), 'cassette')}" if drifted else "no drift"
        what = f"{_count(replies, 'reply', 'replies')} of {_count(compared, 'cassette')}"
        say(f"Compared {what} with fresh ones ({', '.join(origins)}): {verdict}.")
    if alone:
        say(f"Not compared, for want of a fresh recording of the same requests: {len(alone)}")
        say(*(f"  {name}" for name in alone[:TAIL]))
        if len(alone) > TAIL:
            say(f"  and {len(alone) - TAIL} more")


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _line(one: Difference) -> str:
    if one.kind == "added":
        return f"added    {one.path}: {one.now}"
    if one.kind == "removed":
        return f"removed  {one.path} (was {one.was})"
    return f"changed  {one.path}: {one.was} -> {one.now}"
