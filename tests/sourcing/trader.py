"""Run by the tests in processes of their own: `python trader.py JOB ARGUMENTS`. Says a line, waits for a line."""

import asyncio
import json
import sys
from collections import Counter

from providers import Providers, Settings
from providers.errors import ProviderError


def say(what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def opened(job: dict) -> Providers:
    settings = Settings(mode="live", state_url=job["state"], environ=job["environ"], env_file=None)
    return Providers(settings, hooks=())


async def look(job: dict) -> object:
    """Ask for many products at once, each by itself; how many calls ended how."""
    ended = Counter()

    async def one(ref: str) -> None:
        try:
            await p.sourcing.product(ref, country="US", shipping=False, fresh=True, timeout=60)
        except ProviderError as error:
            ended[f"{type(error).__name__} {error.code}"] += 1
        else:
            ended["good"] += 1

    async with opened(job) as p:
        await asyncio.gather(*map(one, job["refs"]))
    return ended


async def spend(job: dict) -> object:
    """Ask for one product after the other until the account's points are used up; how many were got."""
    got = 0
    async with opened(job) as p:
        for ref in job["refs"]:
            try:
                await p.sourcing.product(ref, country="US", shipping=False, fresh=True, timeout=job["timeout"])
            except ProviderError as error:
                return [got, type(error).__name__, error.code]
            got += 1
    return [got, "", ""]


JOBS = {"look": look, "spend": spend}

if __name__ == "__main__":
    name, text = sys.argv[1:]
    say("ready")
    sys.stdin.readline()
    say(asyncio.run(JOBS[name](json.loads(text))))
