"""Benchmarks. Each part runs in an interpreter of its own.

`python -m benchmarks [imports layer live ses sms billing llm sourcing sync bulk state replay]`

Compare ratios, not microseconds: machines differ, and so does one machine from minute to minute.
"""

import subprocess
import sys
from importlib import import_module

from benchmarks.report import Report

PARTS = ("imports", "layer", "live", "ses", "sms", "billing", "llm", "sourcing", "sync", "bulk", "state", "replay")


def main(parts: list[str]) -> int:
    if len(parts) == 1:
        report = Report()
        import_module(f"benchmarks.{parts[0]}").run(report)
        return int(bool(report.missed))
    command = [sys.executable, "-m", "benchmarks"]
    failed = [part for part in parts or PARTS if subprocess.run([*command, part], check=False).returncode]
    print("\nall bars met" if not failed else f"\nbars missed in: {', '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
