"""One live e-mail at 64 in flight, against the vendor's own library in 32 threads: CPU us of the client's process."""

import asyncio
import os
import ssl
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import sendgrid
import trustme
from sendgrid.helpers.mail import Mail

from benchmarks import setup
from benchmarks.report import Report, best
from providers.core.transport_aiohttp import AiohttpTransport
from providers.core.transport_httpx import HttpxTransport

MAILS, IN_FLIGHT, THREADS, ROUNDS = 3200, 64, 32, 3


def ours(url: str, transport: AiohttpTransport | HttpxTransport) -> float:
    async def main() -> float:
        async with setup.live(transport, url=url) as p:

            async def worker(count: int) -> None:
                for _ in range(count):
                    await p.email.send(setup.message())

            await asyncio.gather(*(worker(3) for _ in range(IN_FLIGHT)))
            begun = time.process_time()
            await asyncio.gather(*(worker(MAILS // IN_FLIGHT) for _ in range(IN_FLIGHT)))
            return (time.process_time() - begun) / MAILS * 1e6

    return asyncio.run(main())


def theirs(url: str) -> float:
    client = sendgrid.SendGridAPIClient(setup.KEY, host=url)

    def send(_: int) -> None:
        client.send(Mail("shop@example.com", "ana@example.com", "Your order", html_content=setup.HTML))

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(send, range(THREADS * 2)))
        begun = time.process_time()
        list(pool.map(send, range(MAILS // 4)))
        return (time.process_time() - begun) / (MAILS // 4) * 1e6


def compare(report: Report, kind: str, url: str, context: ssl.SSLContext | None, bar: float) -> None:
    our = best(ROUNDS, lambda: ours(url, AiohttpTransport(ssl_context=context)))
    their = best(ROUNDS, lambda: theirs(url))
    report.note(f"{kind}: this package", f"{our:,.0f} us")
    report.note(
        f"{kind}: this package over HttpxTransport", f"{ours(url, HttpxTransport(ssl_context=context)):,.0f} us"
    )
    report.note(f"{kind}: the sendgrid library, {THREADS} threads", f"{their:,.0f} us")
    report.at_least(f"{kind}: times less CPU", their / our, bar, "x")


def run(report: Report) -> None:
    report.section(f"One live e-mail, {IN_FLIGHT} in flight (CPU us a mail)")
    with setup.vendor() as url:
        compare(report, "without TLS", url, None, 2.5)
    with tempfile.TemporaryDirectory() as folder:
        authority = trustme.CA()
        certificate, root = Path(folder, "server.pem"), Path(folder, "root.pem")
        authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(str(certificate))
        authority.cert_pem.write_to_path(str(root))
        os.environ["SSL_CERT_FILE"] = str(root)
        with setup.vendor(str(certificate)) as url:
            compare(report, "with TLS", url, ssl.create_default_context(cafile=str(root)), 10)
