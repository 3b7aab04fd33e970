"""Files that scripts write: brought up to date, or with --check compared with what they should be."""

import argparse
import difflib
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main(description: str | None, files: Iterable[tuple[Path, Callable[[], str]]], remedy: str) -> int:
    """Each file and what makes its text; 1 when one is out of date and `--check` was asked for."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 when a file is out of date")
    check = parser.parse_args().check
    stale = False
    for path, make in files:
        name, text = path.relative_to(ROOT).as_posix(), make()
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        if old == text:
            continue
        stale = True
        if check:
            lines = (old.splitlines(keepends=True), text.splitlines(keepends=True))
            sys.stdout.writelines(difflib.unified_diff(*lines, name, "as generated"))
            print(f"{name} is out of date: run {remedy}")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"{name} written")
    return int(stale and check)
