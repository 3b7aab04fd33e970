"""What our layer costs a call, without network: CPU us, best of many rounds."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from benchmarks import setup
from benchmarks.report import Report
from providers.core.otel import OpenTelemetryHook

CALLS, ROUNDS = 1000, 40


async def cpu(step: Callable[[], Awaitable[object]]) -> float:
    """CPU us of one call."""
    await step()
    best = float("inf")
    for _ in range(ROUNDS):
        begun = time.process_time()
        for _ in range(CALLS):
            await step()
        best = min(best, time.process_time() - begun)
    return best / CALLS * 1e6


async def measure(report: Report) -> None:
    message = setup.message()
    plain, demo = setup.live(setup.NoNetwork()), setup.demo()
    watched = setup.live(setup.NoNetwork(), hooks=(OpenTelemetryHook(),))

    async def bare() -> None:
        async with asyncio.timeout(10):  # noqa: ASYNC100 (nothing in it is the point)
            pass

    report.note("for scale: one empty asyncio.timeout block", f"{await cpu(bare):.1f} us")
    report.at_most("send a message through SendGrid", await cpu(lambda: plain.email.send(message)), 15, "us")
    report.note("make and send a message", f"{await cpu(lambda: plain.email.send(setup.message())):.1f} us")
    report.at_most(
        "make and send a message, with limits and a span",
        await cpu(lambda: watched.email.send(setup.message())),
        25,
        "us",
    )
    report.at_most("demo: make and send a message", await cpu(lambda: demo.email.send(setup.message())), 30, "us")
    report.at_most("cache hit", await cpu(demo.llm.models), 30, "us")


def run(report: Report) -> None:
    report.section("Our layer (CPU us a call, no network, best of many rounds)")
    asyncio.run(measure(report))
