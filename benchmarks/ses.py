"""One e-mail of 2.5 kB through SES, against bare boto3 with the same mail: CPU us of the client's process.

Ours is the whole pipeline: limits, deadline, a thread for the blocking library. Run alone, this file is the vendor.

The bars are measured on one core, for both: where a call goes from one core to another and back, as any asyncio program
that uses boto3 must let it, cold caches cost more than all our code (the last two lines show it).
"""

import asyncio
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

from benchmarks import server, setup
from benchmarks.report import Report
from providers import Providers, Settings
from providers.email import EmailMessage

if TYPE_CHECKING:
    from types_boto3_sesv2 import SESV2Client

IN_FLIGHT, LEAST, ROUNDS, ENOUGH = 32, 3, 20, 1.15
MAILS = {1: 300, IN_FLIGHT: 640}
BAR = 1.2

REGION, KEY, SECRET = "eu-central-1", "AKIA" + "BENCHMARKNOTAKEY", "benchmark/not-a-secret/0000000000000000"
SENDER, READER, SUBJECT = "shop@example.com", "ana@example.com", "Your order"
HTML = "<p>" + "x" * 2500 + "</p>"
BODY = b'{"MessageId":"0100019abcdef012-00000000-0000-4000-8000-000000000001-000000"}'


def bare_client(url: str) -> "SESV2Client":
    return boto3.Session().client(
        "sesv2",
        region_name=REGION,
        endpoint_url=url,
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        config=Config(max_pool_connections=IN_FLIGHT, retries={"mode": "standard", "total_max_attempts": 1}),
    )


def theirs_once(client: "SESV2Client", _: int = 0) -> None:
    client.send_email(
        FromEmailAddress=SENDER,
        Destination={"ToAddresses": [READER]},
        Content={
            "Simple": {
                "Subject": {"Data": SUBJECT, "Charset": "UTF-8"},
                "Body": {"Html": {"Data": HTML, "Charset": "UTF-8"}},
                "Headers": [{"Name": "X-PM-Id", "Value": "0" * 32}],
            }
        },
        EmailTags=[{"Name": "pm_id", "Value": "0" * 32}, {"Name": "order_id", "Value": "1001"}],
    )


def theirs(client: "SESV2Client", in_flight: int) -> float:
    if in_flight == 1:
        theirs_once(client)
        begun = time.process_time()
        for _ in range(MAILS[1]):
            theirs_once(client)
        return (time.process_time() - begun) / MAILS[1] * 1e6
    with ThreadPoolExecutor(in_flight) as pool:
        send = partial(theirs_once, client)
        list(pool.map(send, range(in_flight * 2)))
        begun = time.process_time()
        list(pool.map(send, range(MAILS[in_flight])))
        return (time.process_time() - begun) / MAILS[in_flight] * 1e6


async def ours(providers: Providers, in_flight: int) -> float:
    async def worker(count: int) -> None:
        for _ in range(count):
            message = EmailMessage(to=(READER,), subject=SUBJECT, html=HTML, metadata={"order_id": "1001"})
            await providers.email.send(message)

    await asyncio.gather(*(worker(2) for _ in range(in_flight)))
    begun = time.process_time()
    await asyncio.gather(*(worker(MAILS[in_flight] // in_flight) for _ in range(in_flight)))
    return (time.process_time() - begun) / MAILS[in_flight] * 1e6


@contextmanager
def one_core() -> Iterator[None]:
    """This process on one core meanwhile, where the system can do that."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


async def handed_over(client: "SESV2Client") -> float:
    """Bare boto3 as an asyncio program uses it, one mail after the other."""
    begun = time.process_time()
    for _ in range(MAILS[1]):
        await asyncio.to_thread(theirs_once, client)
    return (time.process_time() - begun) / MAILS[1] * 1e6


def compare(report: Report, url: str, in_flight: int) -> None:
    """Best against best, in turns: on a shared machine quiet moments have to be waited for."""
    client = bare_client(url)
    our = their = float("inf")

    async def main() -> None:
        nonlocal our, their
        async with opened(url) as providers:
            for number in range(ROUNDS):
                their = min(their, await asyncio.to_thread(theirs, client, in_flight))
                our = min(our, await ours(providers, in_flight))
                if number >= LEAST and our / their < ENOUGH:
                    break

    with one_core():
        asyncio.run(main())
    client.close()
    report.note(f"{in_flight} in flight: bare boto3", f"{their:,.0f} us")
    report.note(f"{in_flight} in flight: this package", f"{our:,.0f} us")
    report.at_most(f"{in_flight} in flight: times the CPU of bare boto3", our / their, BAR, "x")


def on_all_cores(report: Report, url: str) -> None:
    client = bare_client(url)

    async def main() -> tuple[float, float]:
        async with opened(url) as providers:
            rounds = [(await handed_over(client), await ours(providers, 1)) for _ in range(6)]
        return min(their for their, _ in rounds), min(our for _, our in rounds)

    their, our = asyncio.run(main())
    client.close()
    report.note("on all cores, 1 in flight: bare boto3, awaited in a thread", f"{their:,.0f} us")
    report.note("on all cores, 1 in flight: this package", f"{our:,.0f} us")


def opened(url: str) -> Providers:
    environ = {
        "SES_ACCESS_KEY_ID": KEY,
        "SES_SECRET_ACCESS_KEY": SECRET,
        "SES_REGION": REGION,
        "SES_FROM_EMAIL": SENDER,
    }
    settings = Settings(mode="live", vendors={"email": "ses"}, base_urls={"ses": url}, environ=environ, env_file=None)
    return Providers(settings, hooks=())


def run(report: Report) -> None:
    report.section("One live e-mail through SES, 2.5 kB (CPU us a mail)")
    with setup.vendor(module="benchmarks.ses") as url:
        for in_flight in MAILS:
            compare(report, url, in_flight)
        on_all_cores(report, url)


if __name__ == "__main__":
    server.REPLY = server.json_reply(200, BODY)
    asyncio.run(server.main())
