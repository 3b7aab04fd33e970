"""What a blocking call costs over the awaited one: us of `email.send` on the demo, best of many rounds, same run."""

import asyncio
import time
from collections.abc import Callable

from benchmarks import setup
from benchmarks.report import Report
from providers import Settings
from providers.sync import Providers

CALLS, ROUNDS = 500, 30


def cost(many: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU us of one call."""
    wall = cpu = float("inf")
    for _ in range(ROUNDS):
        begun, worked = time.perf_counter(), time.process_time()
        many()
        wall, cpu = min(wall, time.perf_counter() - begun), min(cpu, time.process_time() - worked)
    return wall / CALLS * 1e6, cpu / CALLS * 1e6


def awaited() -> tuple[float, float]:
    message, providers = setup.message(), setup.demo()

    async def many() -> None:
        for _ in range(CALLS):
            await providers.email.send(message)

    with asyncio.Runner() as runner:
        return cost(lambda: runner.run(many()))


def blocking() -> tuple[float, float]:
    message = setup.message()

    with Providers(Settings(mode="demo", environ={}, env_file=None), hooks=()) as providers:

        def many() -> None:
            for _ in range(CALLS):
                providers.email.send(message)

        return cost(many)


def run(report: Report) -> None:
    report.section("The blocking face (us a call over the awaited one, demo)")
    (wall, cpu), (blocking_wall, blocking_cpu) = awaited(), blocking()
    report.note("for scale: the awaited call", f"{wall:.1f} us")
    report.at_most("a blocking call: time", blocking_wall - wall, 100, "us")
    report.at_most("a blocking call: CPU", blocking_cpu - cpu, 100, "us")
