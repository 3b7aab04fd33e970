"""The one SMS suite, unchanged: the demo, Twilio over both transports, SNS, somebody else's adapter."""

import asyncio
import contextlib
import hashlib
import hmac
import inspect
import json
from dataclasses import dataclass, field, replace
from decimal import Decimal

import boto3
import pytest

from providers import Money, Providers, Settings, catalog
from providers.core.attempt import ATTEMPT
from providers.core.clock import utc
from providers.core.errors import (
    NotFoundError,
    Outcome,
    ProviderTimeoutError,
    RejectedError,
    UnsupportedOperationError,
    WebhookVerificationError,
)
from providers.core.models import CheckResult, CheckState, RawRequest, Ref, WebhookResult
from providers.core.operation import Variable, VendorFacts
from providers.core.transport import HttpRequest
from providers.core.transport_aiohttp import AiohttpTransport
from providers.core.transport_httpx import HttpxTransport
from providers.demo import webhooks
from providers.sms.demo import DemoSms
from providers.sms.events import SmsEvent, SmsEventType
from providers.sms.models import SentSms, SmsState, SmsStatus
from providers.sms.segments import count
from providers.testing.clock import ManualClock
from providers.testing.conformance.sms import SentText, SmsConformance, SmsHarness
from providers.testing.servers import Fault
from providers.testing.servers.sns import SnsServer
from providers.testing.servers.twilio import TwilioServer

# The demo.


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
    def harness(self, stalling_store):
        clock = ManualClock()
        store = stalling_store(clock)
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
    # SNS tells nothing of texts that people send us.
    test_stop_and_start_are_learnt_from_incoming_texts = None

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


# Somebody else's adapter, as another package would bring it.

PAGER = VendorFacts(
    vendor="pager",
    capability="sms",
    title="Pager",
    adapter="pager:PagerSms",
    variables=(
        Variable(name="PAGER_TOKEN", purpose="opens the tower", secret=True),
        Variable(name="PAGER_HOOK", purpose="where it reports", required=False),
    ),
    prices={"segment": Decimal("0.01")},
    unsupported={
        "send_at": "pagers beep at once",
        "valid_for": "pagers beep once",
        "max_price": "one price for all",
        "opt_outs": "the tower shows its list to nobody",
    },
)


@dataclass
class Tower:
    """The made-up vendor itself: what it took, who wants nothing, what happens to the next text."""

    texts: list = field(default_factory=list)
    stopped: set = field(default_factory=set)
    broken: str = ""
    asleep: asyncio.Event | None = None


class PagerSms:
    facts = PAGER
    correlates = True
    tower: Tower

    def __init__(self, account):
        self._clock, self._http = account.clock, account.http
        self._token, self._hook = account.get("PAGER_TOKEN"), account.get("PAGER_HOOK")

    def translate(self, error):
        return ProviderTimeoutError("broken", outcome=Outcome.UNKNOWN) if isinstance(error, ConnectionError) else None

    async def send(self, message, tracking_id):
        tower = self.tower
        if tower.asleep is not None:
            ATTEMPT.get().sent = True
            await tower.asleep.wait()
        broken, tower.broken = tower.broken, ""
        if broken == "cut":
            raise ConnectionError
        if message.to in tower.stopped:
            raise RejectedError("stopped", code="opted_out", field="to")
        tower.texts.append((message, self._clock.time()))
        sent = self._sent(len(tower.texts))
        if broken == "lost":
            raise ConnectionError
        told = {**message.metadata, "pm_id": tracking_id}
        await self.tell(sent.ref.id, "delivered", message.to, metadata=told, tags=message.tags)
        return sent

    async def find(self, message, since):
        places = enumerate(self.tower.texts, 1)
        same = [
            place for place, (text, at) in places if at >= since and (text.to, text.body) == (message.to, message.body)
        ]
        return [self._sent(place) for place in same]

    async def status(self, ref):
        number = ref.id.removeprefix("beep-")
        known = ref.id.startswith("beep-") and number.isascii() and number.isdigit()
        if not known or not 0 < int(number[:9]) <= len(self.tower.texts):
            raise NotFoundError(f"ref: no text {ref.id[:20]!r}", field="ref")
        return SmsStatus(ref=ref, recipient=self.tower.texts[int(number) - 1][0].to, state=SmsState.DELIVERED)

    async def opt_outs(self, cursor):
        raise UnsupportedOperationError(PAGER.unsupported["opt_outs"])

    async def opt_in(self, number):
        self.tower.stopped.discard(number)

    def recognises(self, request):
        return "x-pager-signature" in request.headers

    async def webhook(self, request):
        given = request.headers["x-pager-signature"]
        if not hmac.compare_digest(given.encode(), self.sign(request.body).encode()):
            raise WebhookVerificationError("not our tower", vendor="pager")
        return WebhookResult[SmsEvent](events=(SmsEvent.model_validate_json(request.body),))

    async def check(self):
        return CheckResult(vendor="pager", state=CheckState.OK)

    async def aclose(self):
        pass

    async def receive(self, number, body):
        word = body.strip().upper()
        if word == "STOP":
            self.tower.stopped.add(number)
        elif word == "START":
            self.tower.stopped.discard(number)
        kinds = {"STOP": SmsEventType.OPTED_OUT, "START": SmsEventType.OPTED_IN}
        name = f"in-{hashlib.sha256(body.encode()).hexdigest()[:8]}"
        await self.tell(name, kinds.get(word, SmsEventType.RECEIVED), number, body=body)

    async def tell(self, name, kind, number, **more):
        if not self._hook:
            return
        body = pager_event(self._clock, name, kind, number, **more)
        await self._http().send(HttpRequest("POST", self._hook, {"x-pager-signature": self.sign(body)}, body))

    def sign(self, body):
        return hmac.new(self._token.encode(), body, hashlib.sha256).hexdigest()

    def _sent(self, place):
        text, _ = self.tower.texts[place - 1]
        segments = count(text.body).segments
        price = Money(amount=PAGER.prices["segment"] * segments, currency="USD")
        ref = Ref(vendor="pager", id=f"beep-{place}")
        return SentSms(ref=ref, recipient=text.to, segments=segments, status=SmsState.SENT, price=price)


def pager_event(clock, name, kind, number, **more):
    event = {"type": kind, "event_id": f"{name}-{kind}", "message_id": name, "recipient": number, "sender": "12345",
             "occurred_at": utc(clock.time()).isoformat(), "vendor": "pager", **more}  # fmt: skip
    return json.dumps(event).encode()


class EntryPoint:
    """What `importlib.metadata` would find of an installed package."""

    def __init__(self, kind):
        self._kind = kind

    def load(self):
        return self._kind


@pytest.fixture
def pager(monkeypatch):
    """`pager(kind)`: the harness of an adapter class, with a tower of its own, registered under `sms.pager`."""

    def install(kind):
        own = type(kind.__name__, (kind,), {"tower": Tower()})
        monkeypatch.setattr(catalog, "_plugins", lambda: {"sms.pager": EntryPoint(own)})
        return pager_harness(own.tower)

    return install


def pager_harness(tower):
    clock = ManualClock()

    def open_pager(*, webhook_url="", **parts):
        credentials = {"PAGER_TOKEN": "beep-beep-beep", "PAGER_HOOK": webhook_url}
        settings = Settings(mode="live", vendors={"sms": "pager"}, credentials=credentials, environ={}, env_file=None)
        return Providers(settings, **parts)

    @contextlib.contextmanager
    def stalled():
        tower.asleep = asyncio.Event()
        try:
            yield
        finally:
            tower.asleep.set()
            tower.asleep = None

    async def outbox(providers):
        return [SentText(text.to, text.body) for text, _ in tower.texts]

    def unknown_event():
        body = pager_event(clock, "beep-1", "teleported", "+12025550123")
        signature = hmac.new(b"beep-beep-beep", body, hashlib.sha256).hexdigest()
        return RawRequest(body=body, headers={"X-Pager-Signature": signature})

    async def incoming(providers, number, body):
        await providers.sms.unwrap(PagerSms).receive(number, body)

    return SmsHarness(
        open=open_pager,
        clock=clock,
        outbox=outbox,
        stalled=stalled,
        cut=lambda _: setattr(tower, "broken", "cut"),
        lost=lambda _: setattr(tower, "broken", "lost"),
        stop=lambda providers, number: incoming(providers, number, "STOP"),
        incoming=incoming,
        unknown_event=unknown_event,
    )


class TestThirdParty(SmsConformance):
    """An adapter of another package: it was written for no test of ours, and passes by subclassing."""

    @pytest.fixture
    def harness(self, pager):
        return pager(PagerSms)


# A suite that cannot fail proves nothing.


class SendsTwice(PagerSms):
    async def send(self, message, tracking_id):
        await super().send(message, tracking_id)
        return await super().send(message, tracking_id)


class TriesAgain(PagerSms):
    async def send(self, message, tracking_id):
        try:
            return await super().send(message, tracking_id)
        except ConnectionError:
            return await super().send(message, tracking_id)


class HidesThatItMayHaveBeenSent(PagerSms):
    def translate(self, error):
        return ProviderTimeoutError("broken", outcome=Outcome.NOT_APPLIED)


class FindsAnything(PagerSms):
    async def find(self, message, since):
        return [self._sent(place) for place in range(1, len(self.tower.texts) + 1)]


class CutsTextsShort(PagerSms):
    async def send(self, message, tracking_id):
        return await super().send(message.model_copy(update={"body": message.body[:160].strip()}), tracking_id)


class CallsAnOptOutSomethingElse(PagerSms):
    async def send(self, message, tracking_id):
        try:
            return await super().send(message, tracking_id)
        except RejectedError as error:
            raise NotFoundError("nobody there") from error


class TrustsAnybody(PagerSms):
    async def webhook(self, request):
        return WebhookResult[SmsEvent](events=())


class ForgetsTheCampaign(PagerSms):
    async def tell(self, name, kind, number, **more):
        await super().tell(name, kind, number, **{**more, "metadata": {}, "tags": ["other"]})


class TakesStopForAWord(PagerSms):
    async def receive(self, number, body):
        await super().receive(number, body + "!")


class NeverGivesUp(PagerSms):
    async def send(self, message, tracking_id):
        while True:
            try:
                return await super().send(message, tracking_id)
            except asyncio.CancelledError:
                continue


class NamesNoVendor(PagerSms):
    async def send(self, message, tracking_id):
        sent = await super().send(message, tracking_id)
        return sent.model_copy(update={"ref": Ref(vendor="dove", id=sent.ref.id)})


class RaisesItsOwn(PagerSms):
    async def status(self, ref):
        raise KeyError(ref.id)


@pytest.mark.parametrize(
    ("kind", "test", "values"),
    [
        (SendsTwice, "a_plain_text_is_accepted", ()),
        (SendsTwice, "a_repeat_with_the_same_key_returns_the_first_answer_and_sends_nothing", ()),
        (SendsTwice, "processes_that_share_their_state_send_once", ()),
        (TriesAgain, "a_text_of_unknown_outcome_is_never_sent_again", ()),
        (TriesAgain, "without_a_key_an_unknown_outcome_is_listed_too", ()),
        (TriesAgain, "a_text_whose_answer_was_lost_is_looked_up", ("order-1001",)),
        (HidesThatItMayHaveBeenSent, "a_text_of_unknown_outcome_is_never_sent_again", ()),
        (FindsAnything, "only_a_text_of_this_very_call_is_found", ()),
        (CutsTextsShort, "bodies_arrive_as_written_and_are_counted", ("a" * 161, 2)),
        (CutsTextsShort, "bodies_arrive_as_written_and_are_counted", (" two  spaces ", 1)),
        (CallsAnOptOutSomethingElse, "who_told_the_vendor_to_stop_is_refused_and_remembered", ()),
        (TrustsAnybody, "a_forged_webhook_is_refused_before_it_is_read", ()),
        (ForgetsTheCampaign, "events_come_back_with_tags_and_metadata", ()),
        (TakesStopForAWord, "stop_and_start_are_learnt_from_incoming_texts", ()),
        (NeverGivesUp, "the_caller_s_timeout_is_kept", ()),
        (NamesNoVendor, "a_plain_text_is_accepted", ()),
        (RaisesItsOwn, "status_answers_for_a_text_it_sent", ()),
    ],
)
def test_the_suite_catches_a_faulty_adapter(pager, monkeypatch, kind, test, values):
    monkeypatch.setattr("providers.testing.conformance._suite.PATIENCE", 1.0)
    monkeypatch.setattr("providers.testing.conformance.sms.PATIENCE", 1.0)
    monkeypatch.setattr("providers.testing.conformance._inbox.PATIENCE", 1.0)
    with pytest.raises((AssertionError, pytest.fail.Exception, TimeoutError, KeyError, NotFoundError)):
        getattr(SmsConformance(), f"test_{test}")(pager(kind), *values)


def test_the_suite_names_no_vendor():
    from providers.testing.conformance import _inbox, _suite, sms

    source = "".join(inspect.getsource(module) for module in (_inbox, _suite, sms)).lower()
    assert not [word for word in ("sendgrid", "twilio", "amazon", "stripe", "beep") if word in source]


def test_what_a_harness_cannot_show_is_skipped_with_its_reason(pager):
    blind = replace(pager(PagerSms), outbox=None)
    with pytest.raises(pytest.skip.Exception, match="outbox"):
        SmsConformance().test_a_plain_text_is_accepted(blind)
