"""Replaying one e-mail here, against vcrpy as it comes under a plain httpx client; and opening a large cassette."""

import asyncio
import contextlib
import tempfile
import time
from pathlib import Path

import httpx
import vcr

from benchmarks import setup
from benchmarks.report import Report, best
from providers.testing.cassettes import Cassette, use_cassette

CALLS, ROUNDS, LARGE, KILOBYTES = 30, 15, 30, 270
ENOUGH = 1e-6


def body(number: int, html: str) -> dict[str, object]:
    """What the adapter sends, near enough."""
    return {
        "personalizations": [{"to": [{"email": "ana@example.com"}], "custom_args": {"pm_id": f"{number:032x}"}}],
        "from": {"email": "shop@example.com"},
        "subject": "Your order",
        "content": [{"type": "text/html", "value": html}],
    }


def ours(path: Path, url: str, *, record: bool, html: str, calls: int) -> float:
    environ = {"SENDGRID_API_KEY": setup.KEY, "SENDGRID_FROM_EMAIL": "shop@example.com"}
    environ |= {"PROVIDER_SENDGRID_BASE_URL": url}

    async def main(cassette: Cassette) -> float:
        mails = [setup.message().model_copy(update={"html": html}) for _ in range(calls)]
        async with cassette.providers(hooks=()) as p:
            await p.email.send(mails.pop())  # opens what there is to open
            begun = time.perf_counter()
            for mail in mails:
                await p.email.send(mail)
            return (time.perf_counter() - begun) / len(mails) * 1e6

    with use_cassette(
        path, vendor="sendgrid", capability="email", record=record, origin="emulator", environ=environ
    ) as cassette:
        return asyncio.run(main(cassette))


def theirs(path: Path, url: str, *, html: str, calls: int) -> float:
    async def main() -> float:
        with vcr.use_cassette(str(path)):
            async with httpx.AsyncClient(headers={"Authorization": f"Bearer {setup.KEY}"}) as client:
                await client.post(url + "/v3/mail/send", json=body(0, html))
                begun = time.perf_counter()
                for number in range(1, calls):
                    await client.post(url + "/v3/mail/send", json=body(number, html))
                return (time.perf_counter() - begun) / (calls - 1) * 1e6

    return asyncio.run(main())


def opened(path: Path) -> float:
    begun = time.perf_counter()
    with contextlib.ExitStack() as stack:
        cassette = stack.enter_context(use_cassette(path, vendor="sendgrid", capability="email"))
        took = (time.perf_counter() - begun) * 1e3
        cassette.abandon()  # nothing is played
    return took


def run(report: Report) -> None:
    report.section("Replaying e-mails (wall-clock us a mail)")
    with tempfile.TemporaryDirectory() as name, setup.vendor() as url:
        folder = Path(name)
        for calls in (2, CALLS):
            our_tape, their_tape = folder / f"ours-{calls}.json", folder / f"theirs-{calls}.yaml"
            ours(our_tape, url, record=True, html=setup.HTML, calls=calls)
            theirs(their_tape, url, html=setup.HTML, calls=calls)
            our, their = float("inf"), float("inf")
            for _ in range(ROUNDS):
                # In turns: a busy moment of the machine must not fall on one of them only.
                our = min(our, ours(our_tape, url, record=False, html=setup.HTML, calls=calls))
                their = min(their, theirs(their_tape, url, html=setup.HTML, calls=calls))
            report.note(f"{calls} in it: this package, whole pipeline", f"{our:,.0f} us")
            report.note(f"{calls} in it: vcrpy as it comes, under httpx.AsyncClient", f"{their:,.0f} us")
            report.at_most(f"{calls} in it: ratio", our / their, 0.6, "x")
        large = folder / "large.json"
        ours(large, url, record=True, html="<p>" + "x" * (KILOBYTES * 1000 // LARGE - 1100) + "</p>", calls=LARGE)
        report.note("a large cassette", f"{large.stat().st_size / 1000:,.0f} KB")
        report.at_most("opening it", best(ROUNDS * 3, lambda: opened(large), enough=ENOUGH), 2, "ms")
