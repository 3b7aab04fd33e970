"""The one SMS suite, unchanged: the demo, Twilio over both transports, SNS, somebody else's adapter."""

import asyncio
import contextlib
import json

import boto3
import pytest

from providers import Providers, Settings
from providers.core.clock import utc
from providers.core.errors import Outcome, ProviderTimeoutError
from providers.core.models import RawRequest
from providers.core.store import MemoryStore
from providers.core.transport_aiohttp import AiohttpTransport
from providers.core.transport_httpx import HttpxTransport
from providers.demo import webhooks
from providers.sms.demo import DemoSms
from providers.testing.clock import ManualClock
from providers.testing.conformance.sms import SentText, SmsConformance, SmsHarness
from providers.testing.servers import Fault
from providers.testing.servers.sns import SnsServer
from providers.testing.servers.twilio import TwilioServer

# The demo.


class StallingStore(MemoryStore):
    """State that can stop answering, which is how a made-up vendor is slow."""

    def __init__(self, clock):
        super().__init__(clock)
        self.open = None

    async def add(self, key, amount, *, ceiling=None, ttl=None):
        if self.open is not None:
            await self.open.wait()
        return await super().add(key, amount, ceiling=ceiling, ttl=ttl)

    @contextlib.contextmanager
    def stalled(self):
        self.open = asyncio.Event()
        try:
            yield
        finally:
            self.open.set()
            self.open = None


async def demo_texts(providers):
    kept = [text async for text in providers.sms.unwrap(DemoSms).texts()]
    kept.sort(key=lambda text: int(text.id.split("-")[1], 16))
    return [SentText(text.to, text.body) for text in kept]


def demo_event(clock):
    event = {"type": "teleported", "event_id": "1", "message_id": "text-1", "recipient": "+12025550123",
             "occurred_at": utc(clock.time()).isoformat(), "vendor": "demo"}  # fmt: skip
    body = json.dumps([event]).encode()
    return RawRequest(body=body, headers=webhooks.sign(body, clock.time()))


def demo_lost(providers):
    """The next text is kept and its answer gets lost."""
    demo = providers.sms.unwrap(DemoSms)
    send = demo.send

    async def once(message, tracking_id):
        demo.send = send
        await send(message, tracking_id)
        raise ProviderTimeoutError("lost", outcome=Outcome.UNKNOWN)

    demo.send = once


def demo_harness(clock, *, stalled, **options):
    def open_demo(*, webhook_url=None, **parts):
        settings = Settings(mode="demo", webhook_url=webhook_url, environ={}, env_file=None, **options.get("also", {}))
        return Providers(settings, **{**options.get("parts", {}), **parts})

    return SmsHarness(
        open=open_demo,
        clock=clock,
        outbox=demo_texts,
        stalled=stalled,
        cut=lambda providers: providers.faults.stage(
            "sms.send", ProviderTimeoutError("cut off", outcome=Outcome.UNKNOWN)
        ),
        lost=demo_lost,
        stop=lambda providers, number: providers.sms.unwrap(DemoSms).receive(number, "STOP"),
        incoming=lambda providers, number, body: providers.sms.unwrap(DemoSms).receive(number, body),
        unknown_event=lambda: demo_event(clock),
    )


class TestDemo(SmsConformance):
    @pytest.fixture
    def harness(self):
        clock = ManualClock()
        store = StallingStore(clock)
        return demo_harness(clock, stalled=store.stalled, parts={"store": store})


class TestDemoOnSqlite(SmsConformance):
    @pytest.fixture
    def harness(self, tmp_path):
        @contextlib.contextmanager
        def stalled():
            # The demo waits for its state; no other way to stop it.
            with pytest.MonkeyPatch.context() as patch:
                waiting = asyncio.Event()
                patch.setattr(DemoSms, "_keep", lambda *_: waiting.wait())
                yield

        state = {"state_url": f"sqlite:///{tmp_path}/state.db"}
        return demo_harness(ManualClock(), stalled=stalled, also=state)


# Twilio, on the server in this package.

MESSAGES = ("POST", "/2010-04-01/Accounts/AC00000000000000000000000000000000/Messages.json")


@contextlib.contextmanager
def twilio_harness(transport):
    clock = ManualClock()
    # Twilio schedules only through a messaging service.
    with TwilioServer(clock=clock.time, messaging_service_sid="MG" + "0" * 32) as server:

        def open_twilio(*, webhook_url=None, **parts):
            server.callback_url = server.inbound_url = webhook_url
            settings = Settings(mode="live", vendors={"sms": "twilio"}, environ=server.env, env_file=None)
            return Providers(settings, transport=transport(), **parts)

        async def outbox(providers):
            return [SentText(text.to, text.body) for text in server.messages]

        async def incoming(providers, number, body):
            server.receive(number, body)

        @contextlib.contextmanager
        def stalled():
            server.stage(Fault.SLOW_HEADERS, match=MESSAGES)
            try:
                yield
            finally:
                server.release()

        def unknown_event():
            fields = {"MessageSid": "SM" + "0" * 32, "MessageStatus": "teleported", "To": "+12025550123",
                      "From": server.phone_number, "AccountSid": server.account_sid}  # fmt: skip
            url, headers, body = server.signed_request("https://shop.example.com/hooks/sms", fields)
            return RawRequest(url=url, headers=headers, body=body)

        yield SmsHarness(
            open=open_twilio,
            clock=clock,
            outbox=outbox,
            stalled=stalled,
            cut=lambda _: server.stage(Fault.RESET_BEFORE, match=MESSAGES),
            lost=lambda _: server.stage(Fault.RESET_AFTER, match=MESSAGES),
            stop=lambda providers, number: incoming(providers, number, "STOP"),
            incoming=incoming,
            unknown_event=unknown_event,
        )


class TestTwilio(SmsConformance):
    @pytest.fixture
    def harness(self):
        with twilio_harness(AiohttpTransport) as harness:
            yield harness


class TestTwilioOverHttpx(SmsConformance):
    @pytest.fixture
    def harness(self):
        with twilio_harness(HttpxTransport) as harness:
            yield harness


# Amazon SNS, on the server in this package.


def subscribe(server, url):
    """As somebody does once, at the console."""
    client = boto3.client(
        "sns",
        endpoint_url=server.url,
        region_name=server.region,
        aws_access_key_id=server.access_key_id,
        aws_secret_access_key=server.secret_access_key,
    )
    client.subscribe(TopicArn=server.topic_arn, Protocol="http", Endpoint=url)
    client.close()


class TestSns(SmsConformance):
    @pytest.fixture
    def harness(self):
        clock = ManualClock()
        # The suite sends first and reads its post later: nobody would confirm in time.
        with SnsServer(clock=clock.time, confirms=True, refuses_opted_out=True) as server:
            settings = Settings(mode="live", vendors={"sms": "sns"}, environ=server.env, env_file=None)

            def open_sns(*, webhook_url=None, **parts):
                if webhook_url:
                    subscribe(server, webhook_url)
                return Providers(settings, **parts)

            async def outbox(providers):
                return [SentText(text.number, text.body) for text in server.texts]

            async def stop(providers, number):
                server.opted_out.add(number)

            @contextlib.contextmanager
            def stalled():
                server.stage(Fault.SLOW_HEADERS, match=("POST", "/"))
                try:
                    yield
                finally:
                    server.release()

            def unknown_event():
                log = {"notification": {"messageId": "1", "timestamp": "2026-11-22 12:00:00.217"},
                       "delivery": {"destination": "+12025550123"}, "status": "TELEPORTED"}  # fmt: skip
                headers, body = server.signed_request(log)
                return RawRequest(body=body, headers=headers)

            yield SmsHarness(
                open=open_sns,
                clock=clock,
                outbox=outbox,
                stalled=stalled,
                cut=lambda _: server.stage(Fault.RESET_BEFORE, match=("POST", "/")),
                lost=lambda _: server.stage(Fault.RESET_AFTER, match=("POST", "/")),
                stop=stop,
                unknown_event=unknown_event,
            )
            assert server.violations == ()
