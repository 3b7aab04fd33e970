"""One live text through Twilio at 64 in flight, against the vendor's own library: CPU us of the client's process.

Run alone, this file is the vendor.
"""

import asyncio
import json
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

from twilio.http.async_http_client import AsyncTwilioHttpClient
from twilio.http.http_client import TwilioHttpClient
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from benchmarks import server, setup
from benchmarks.report import Report, best
from providers import Providers, RawRequest, Settings
from providers.sms import SmsMessage

TEXTS, IN_FLIGHT, THREADS, ROUNDS = 3200, 64, 32, 8
SID, TOKEN, SENDER, READER = "AC" + "0" * 32, "benchmark-not-a-token", "+15005550006", "+15005550010"
BODY = "Your order 1001 has shipped."
ANSWER = {
    "account_sid": SID, "api_version": "2010-04-01", "body": BODY, "date_created": "Sun, 22 Nov 2026 12:00:00 +0000",
    "date_sent": None, "date_updated": "Sun, 22 Nov 2026 12:00:00 +0000", "direction": "outbound-api",
    "error_code": None, "error_message": None, "from": SENDER, "messaging_service_sid": None, "num_media": "0",
    "num_segments": "1", "price": None, "price_unit": "USD", "sid": "SM" + "0" * 31 + "1", "status": "queued",
    "subresource_uris": {"media": f"/2010-04-01/Accounts/{SID}/Messages/SM1/Media.json"}, "to": READER,
    "uri": f"/2010-04-01/Accounts/{SID}/Messages/SM1.json",
}  # fmt: skip


def ours(url: str) -> float:
    environ = {"TWILIO_ACCOUNT_SID": SID, "TWILIO_AUTH_TOKEN": TOKEN, "TWILIO_PHONE_NUMBER": SENDER}
    settings = Settings(mode="live", base_urls={"twilio": url}, environ=environ, env_file=None)

    async def main() -> float:
        async with Providers(settings, hooks=()) as p:

            async def worker(count: int) -> None:
                for _ in range(count):
                    await p.sms.send(SmsMessage(to=READER, body=BODY))

            await asyncio.gather(*(worker(3) for _ in range(IN_FLIGHT)))
            begun = time.process_time()
            await asyncio.gather(*(worker(TEXTS // IN_FLIGHT) for _ in range(IN_FLIGHT)))
            return (time.process_time() - begun) / TEXTS * 1e6

    return asyncio.run(main())


def theirs(url: str) -> float:
    async def main() -> float:
        http = AsyncTwilioHttpClient()
        client = Client(SID, TOKEN, http_client=http)
        client.api.base_url = url

        async def worker(count: int) -> None:
            for _ in range(count):
                await client.messages.create_async(to=READER, from_=SENDER, body=BODY)

        try:
            await asyncio.gather(*(worker(3) for _ in range(IN_FLIGHT)))
            begun = time.process_time()
            await asyncio.gather(*(worker(TEXTS // IN_FLIGHT) for _ in range(IN_FLIGHT)))
            return (time.process_time() - begun) / TEXTS * 1e6
        finally:
            await http.close()

    return asyncio.run(main())


def in_threads(url: str) -> float:
    client = Client(SID, TOKEN, http_client=TwilioHttpClient(timeout=30))
    client.api.base_url = url

    def send(_: int) -> None:
        client.messages.create(to=READER, from_=SENDER, body=BODY)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(send, range(THREADS * 2)))
        begun = time.process_time()
        list(pool.map(send, range(TEXTS // 4)))
        return (time.process_time() - begun) / (TEXTS // 4) * 1e6


def webhook() -> tuple[float, float]:
    """A status callback verified and read: by us, to an event; by the vendor's library, only verified."""
    hook = "https://shop.example.com/hooks/sms"
    environ = {
        "TWILIO_ACCOUNT_SID": SID,
        "TWILIO_AUTH_TOKEN": TOKEN,
        "TWILIO_PHONE_NUMBER": SENDER,
        "TWILIO_STATUS_CALLBACK_URL": hook,
    }
    form = {
        "MessageSid": "SM" + "0" * 32, "SmsSid": "SM" + "0" * 32, "MessageStatus": "delivered",
        "SmsStatus": "delivered", "To": READER, "From": SENDER, "AccountSid": SID, "ApiVersion": "2010-04-01",
        "RawDlrDoneDate": "2611221200",
    }  # fmt: skip
    url = hook + "?pm_id=" + "0" * 32
    validator = RequestValidator(TOKEN)
    headers = {
        "X-Twilio-Signature": validator.compute_signature(url, form),
        "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
    }
    request = RawRequest(url=url, headers=headers, body=urlencode(form).encode())

    async def main() -> float:
        async with Providers(Settings(mode="live", environ=environ, env_file=None), hooks=()) as p:
            smallest = float("inf")
            for _ in range(30):
                begun = time.process_time()
                for _ in range(200):
                    await p.sms.webhook(request)
                smallest = min(smallest, time.process_time() - begun)
            return smallest / 200 * 1e6

    def library() -> float:
        begun = time.process_time()
        for _ in range(500):
            validator.validate(url, form, headers["X-Twilio-Signature"])
        return (time.process_time() - begun) / 500 * 1e6

    return best(10, lambda: asyncio.run(main()), enough=28), best(3, library)


def run(report: Report) -> None:
    report.section(f"One live text through Twilio, {IN_FLIGHT} in flight (CPU us a text)")
    warnings.simplefilter("ignore", DeprecationWarning)
    with setup.vendor(module="benchmarks.sms") as url:
        our = their = float("inf")
        for _ in range(ROUNDS):
            our, their = min(our, ours(url)), min(their, theirs(url))
        threads = best(2, lambda: in_threads(url))
    report.note("this package", f"{our:,.0f} us")
    report.note("the twilio library, asynchronous", f"{their:,.0f} us")
    report.note(f"the twilio library, {THREADS} threads", f"{threads:,.0f} us")
    report.at_most("times the CPU of the asynchronous library", our / their, 1.2, "x")
    report.at_least("times less CPU than the blocking one", threads / our, 4, "x")
    report.section("A webhook of Twilio, 0.3 kB, verified and read (CPU us)")
    our, their = webhook()
    report.at_most("this package, to a typed event", our, 30, "us")
    report.note("the twilio library, verified only", f"{their:,.0f} us")


if __name__ == "__main__":
    server.REPLY = server.json_reply(201, json.dumps(ANSWER).encode())
    asyncio.run(server.main())
