"""Campaigns: recipients per CPU second, and memory for very long ones."""

import asyncio
import gc
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import setup
from benchmarks.report import Report, best
from providers.core.pipeline import Call
from providers.email import EmailMessage, Recipient
from providers.email.api import SEND_BATCH, Personal
from providers.email.campaign import deliver
from providers.email.template import Names

TEXT = EmailMessage(subject="Hello {{name}}", html="<p>Dear {{name}}, " + "x" * 1300 + "</p>")
BATCH, BATCHES, MANY = 1000, 20, 1_000_000


def recipients(count: int) -> Iterator[Recipient]:
    for number in range(count):
        yield Recipient(email=f"reader{number}@example.com", name=f"Reader {number}")


def built_and_sent(url: str) -> float:
    """Recipients per CPU second through batches of a thousand: personalise, serialize, post, read the answer."""

    async def main() -> float:
        names = Names(TEXT)
        async with setup.live(url=url) as p:
            people = [(f"reader{n}@example.com", f"Reader {n}") for n in range(BATCH)]
            begun = 0.0
            for round_ in range(BATCHES + 1):
                if round_ == 1:
                    begun = time.process_time()
                batch = [
                    Personal(
                        email=email,
                        name=name,
                        tracking_id=f"{n:032x}",
                        values=names.values({"name": name}),
                        variables={},
                        metadata={},
                    )
                    for n, (email, name) in enumerate(people)
                ]
                await deliver(p.email, TEXT, batch, Call(SEND_BATCH, time.monotonic() + 60, units=BATCH))
            return BATCHES * BATCH / (time.process_time() - begun)

    return asyncio.run(main())


def journalled(url: str, count: int) -> float:
    """Recipients per CPU second through `send_campaign` with a SQLite journal, all threads counted."""

    async def main(state: str) -> float:
        async with setup.live(url=url, state=state) as p:
            begun = time.process_time()
            sent = 0
            async for outcome in p.email.send_campaign(TEXT, recipients(count), idempotency_key="benchmark"):
                sent += outcome.ref is not None
            assert sent == count
            return count / (time.process_time() - begun)

    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(main(f"sqlite:///{folder}/state.sqlite"))


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def flat(report: Report) -> None:
    """100,000 sends one by one: what the second half adds."""

    async def main() -> float:
        message = setup.message()
        async with setup.live(setup.NoNetwork()) as p:
            for _ in range(50_000):
                await p.email.send(message)
            half = resident_mib()
            for _ in range(50_000):
                await p.email.send(message)
            return resident_mib() - half

    report.at_most("memory added by sends 50,001 to 100,000", asyncio.run(main()), 1, "MiB")


def run(report: Report) -> None:
    report.section("Bulk (recipients per CPU second)")
    flat(report)
    with setup.vendor() as url:
        built = best(100, lambda: 1 / built_and_sent(url), enough=1 / 210_000)
        report.at_least("batches, built and sent", 1 / built, 200_000, "/s")
        journalled(url, BATCH)
        # As `providers campaign` does: what has been loaded is not looked at again with every batch.
        gc.collect()
        gc.freeze()
        written = best(20, lambda: 1 / journalled(url, 50_000), enough=1 / 52_000)
        report.at_least("with a journal", 1 / written, 50_000, "/s")
        before = peak_mib()
        rate = journalled(url, MANY)
    report.note("a campaign of 1,000,000 with a journal", f"{rate:,.0f} /s")
    report.note("peak memory before it", f"{before:.0f} MiB")
    report.at_most("peak memory of the process after it", peak_mib(), 150, "MiB")
