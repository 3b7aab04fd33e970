"""What starting costs: CPU of a fresh interpreter, over one that does nothing of the kind."""

import os
import subprocess
import sys

import providers
from benchmarks.report import Report

RUNS = 15
FIRST_CALL = """
import asyncio
from providers import Providers, Settings
from providers.email import EmailMessage
async def main():
    async with Providers(Settings(mode="demo", environ={}, env_file=None)) as p:
        await p.email.send(EmailMessage(to=("a@example.com",), subject="Hi", text="Hi"))
asyncio.run(main())
"""
BASE = """
import asyncio, pydantic
import providers.email.models, providers.email.events
async def main(): pass
asyncio.run(main())
"""


def cpu(code: str) -> float:
    """CPU milliseconds of a fresh interpreter running `code`."""
    process = subprocess.Popen([sys.executable, "-c", code])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, code
    return (usage.ru_utime + usage.ru_stime) * 1000


def over(base: str, code: str) -> float:
    """What `code` costs more than `base`: run in turn, the best of each, so that a busy machine counts for neither."""
    pairs = [(cpu(base), cpu(code)) for _ in range(RUNS)]
    return min(pair[1] for pair in pairs) - min(pair[0] for pair in pairs)


def run(report: Report) -> None:
    # As installed: an editable tree may not be compiled yet.
    subprocess.run([sys.executable, "-m", "compileall", "-q", *providers.__path__], check=True)
    report.section("Start (CPU ms over the baseline, best of fresh interpreters)")
    report.at_most("import providers, over a bare interpreter", over("pass", "import providers"), 10, "ms")
    cost = over("pass", "from providers import Providers, Settings")
    report.note("from providers import Providers, Settings (pydantic in it)", f"{cost:.1f} ms")
    report.at_most("first demo capability, over asyncio, pydantic and its models", over(BASE, FIRST_CALL), 40, "ms")
