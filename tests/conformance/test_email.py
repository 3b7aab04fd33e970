"""The one e-mail suite, unchanged: the demo, SendGrid over both transports, somebody else's adapter."""

import asyncio
import contextlib
import hashlib
import hmac
import inspect
import json
from dataclasses import dataclass, replace
from urllib.parse import unquote

import pytest
from pydantic import SecretStr

from providers import Providers, Settings, catalog
from providers.core.attempt import ATTEMPT
from providers.core.clock import utc
from providers.core.errors import (
    InvalidRequestError,
    NotFoundError,
    UnsupportedOperationError,
    WebhookVerificationError,
)
from providers.core.models import CheckResult, CheckState, RawRequest, Ref, WebhookEndpoint, WebhookResult
from providers.core.operation import Variable, VendorFacts
from providers.core.transport import HttpRequest
from providers.core.transport_aiohttp import AiohttpTransport
from providers.core.transport_httpx import HttpxTransport
from providers.demo import webhooks
from providers.email.address import split
from providers.email.demo import DemoEmail
from providers.email.events import EmailEvent, EmailEventType
from providers.email.models import MessageRef, MessageStatus, Suppression, SuppressionReason
from providers.email.sendgrid import SendGridEmail
from providers.email.template import escape_html, fill
from providers.testing.clock import ManualClock
from providers.testing.conformance.email import EmailConformance, EmailHarness, SentMail
from providers.testing.servers import Fault, SendGridServer

# The demo.


async def demo_mails(providers):
    kept = [mail async for mail in providers.email.unwrap(DemoEmail).mails()]
    kept.sort(key=lambda mail: int(mail.id.split("-")[1], 16))
    return [SentMail(mail.to, mail.subject, mail.text, mail.html) for mail in kept]


def demo_event(clock):
    event = {"type": "teleported", "event_id": "1", "message_id": "mail-1", "recipient": "ana@example.com",
             "occurred_at": utc(clock.time()).isoformat(), "vendor": "demo"}  # fmt: skip
    body = json.dumps([event]).encode()
    return RawRequest(body=body, headers=webhooks.sign(body, clock.time()))


def demo_harness(clock, **parts):
    settings = Settings(mode="demo", environ={}, env_file=None)
    return EmailHarness(
        open=lambda **more: Providers(settings, **parts, **more),
        clock=clock,
        outbox=demo_mails,
        unknown_event=lambda: demo_event(clock),
        stalled=getattr(parts.get("store"), "stalled", None),
    )


class TestDemo(EmailConformance):
    @pytest.fixture
    def harness(self, stalling_store):
        clock = ManualClock()
        return demo_harness(clock, store=stalling_store(clock))


class TestDemoOnSqlite(EmailConformance):
    @pytest.fixture
    def harness(self, tmp_path):
        clock = ManualClock()
        settings = Settings(mode="demo", state_url=f"sqlite:///{tmp_path}/state.db", environ={}, env_file=None)

        @contextlib.contextmanager
        def stalled():
            # The demo waits for its state; no other way to stop it.
            with pytest.MonkeyPatch.context() as patch:
                waiting = asyncio.Event()
                patch.setattr(DemoEmail, "_keep", lambda *_: waiting.wait())
                yield

        return replace(demo_harness(clock), open=lambda **more: Providers(settings, **more), stalled=stalled)


# SendGrid, on the server in this package.


@contextlib.contextmanager
def sendgrid_harness(transport):
    clock = ManualClock()
    with SendGridServer(clock=clock.time) as server:
        settings = Settings(mode="live", vendors={"email": "sendgrid"}, environ=server.env, env_file=None)

        async def outbox(providers):
            return [SentMail(mail.to, mail.subject, mail.text, mail.html) for mail in server.mails]

        @contextlib.contextmanager
        def stalled():
            server.stage(Fault.SLOW_HEADERS, match=("POST", "/v3/mail/send"))
            try:
                yield
            finally:
                server.release()

        def unknown_event():
            headers, body = server.signed_request(
                [{"event": "teleported", "email": "ana@example.com", "sg_event_id": "1"}]
            )
            return RawRequest(body=body, headers=headers)

        yield EmailHarness(
            open=lambda **parts: Providers(settings, transport=transport(), **parts),
            clock=clock,
            outbox=outbox,
            stalled=stalled,
            unknown_event=unknown_event,
        )


class TestSendGrid(EmailConformance):
    @pytest.fixture
    def harness(self):
        with sendgrid_harness(AiohttpTransport) as harness:
            yield harness


class TestSendGridOverHttpx(EmailConformance):
    @pytest.fixture
    def harness(self):
        with sendgrid_harness(HttpxTransport) as harness:
            yield harness


# Somebody else's adapter, as another package would bring it.

PIGEON = VendorFacts(
    vendor="pigeon",
    capability="email",
    title="Pigeon Post",
    adapter="pigeon:PigeonEmail",
    variables=(Variable(name="PIGEON_TOKEN", purpose="opens the loft", secret=True),),
    limits={"recipients": 20, "batch": 3, "message_bytes": 10_000, "tags": 2, "schedule_seconds": 3600},
    unsupported={
        "domain": "pigeons know no DNS",
        "template": "pigeons carry what they are given",
        "send_at": "pigeons fly at once",
        "attachments": "pigeons carry letters only",
    },
)


@dataclass
class Loft:
    """The made-up vendor itself: what it took, whom it spares, where it reports."""

    mails: list
    suppressed: dict
    hook: str = ""
    asleep: asyncio.Event | None = None


class PigeonEmail:
    facts = PIGEON
    loft: Loft

    def __init__(self, account):
        self._clock = account.clock
        self._http = account.http
        self._token = account.get("PIGEON_TOKEN")

    def translate(self, error):
        return None

    async def send(self, message, tracking_id):
        readers = [split(person)[1] for person in (*message.to, *message.cc, *message.bcc)]
        letters = [SentMail(reader, message.subject, message.text, message.html) for reader in readers]
        return await self._fly(letters, message, dict(message.metadata), tracking_id)

    async def send_batch(self, message, recipients):
        refs = []
        for one in recipients:
            text = message.text and fill(message.text, one.values)
            html = message.html and fill(message.html, one.values, escape_html)
            letter = SentMail(one.email, fill(message.subject, one.values), text, html)
            metadata = {**message.metadata, **one.metadata}
            refs.append(await self._fly([letter], message, metadata, one.tracking_id))
        return refs

    async def status(self, ref):
        number = ref.id.removeprefix("letter-")
        if not (ref.id.startswith("letter-") and number.isascii() and number.isdigit()):
            raise NotFoundError(f"ref: no letter {ref.id[:20]!r}", field="ref")
        if int(number[:9]) > len(self.loft.mails):
            raise NotFoundError(f"ref: no letter {ref.id[:20]!r}", field="ref")
        return MessageStatus(ref=ref, recipient=self.loft.mails[int(number) - 1].to, state="delivered")

    async def suppressions(self, cursor):
        return list(self.loft.suppressed.values()), ""

    async def suppress(self, email):
        self.loft.suppressed[email] = Suppression(email=email, reason=SuppressionReason.UNSUBSCRIBED, vendor="pigeon")

    async def unsuppress(self, email):
        self.loft.suppressed.pop(email, None)

    async def domain(self, name):
        raise UnsupportedOperationError(PIGEON.unsupported["domain"])

    async def ensure_webhook(self, url):
        self.loft.hook = url
        return WebhookEndpoint(ref=Ref(vendor="pigeon", id="hook"), secret=SecretStr(self._token))

    def recognises(self, request):
        return "x-pigeon-signature" in request.headers

    async def webhook(self, request):
        given = request.headers["x-pigeon-signature"]
        if not hmac.compare_digest(given.encode(), self._sign(request.body).encode()):
            raise WebhookVerificationError("not our ring", vendor="pigeon")
        events = []
        for item in json.loads(request.body):
            known = item["type"] in set(EmailEventType)
            events.append(EmailEvent(**{**item, "type": item["type"] if known else "unknown"}))
        return WebhookResult[EmailEvent](events=tuple(events))

    async def check(self):
        return CheckResult(vendor="pigeon", state=CheckState.OK)

    async def aclose(self):
        pass

    def _sign(self, body):
        return hmac.new(self._token.encode(), body, hashlib.sha256).hexdigest()

    async def _fly(self, letters, message, metadata, tracking_id):
        if self.loft.asleep is not None:
            await self.loft.asleep.wait()
        self.loft.mails += letters
        ref = MessageRef(vendor="pigeon", id=f"letter-{len(self.loft.mails)}")
        if self.loft.hook:
            event = {"type": "delivered", "event_id": f"{ref.id}-1", "message_id": ref.id, "recipient": letters[0].to,
                     "occurred_at": utc(self._clock.time()).isoformat(), "vendor": "pigeon", "tags": message.tags,
                     "metadata": {**metadata, "pm_id": tracking_id}}  # fmt: skip
            body = json.dumps([event]).encode()
            headers = {"x-pigeon-signature": self._sign(body)}
            await self._http().send(HttpRequest("POST", self.loft.hook, headers, body))
        return ref


class EntryPoint:
    """What `importlib.metadata` would find of an installed package."""

    def __init__(self, kind):
        self._kind = kind

    def load(self):
        return self._kind


@pytest.fixture
def installed(monkeypatch):
    """`installed(kind)`: an adapter class registered under `email.pigeon`."""

    def install(kind):
        monkeypatch.setattr(catalog, "_plugins", lambda: {"email.pigeon": EntryPoint(kind)})

    return install


def pigeon_harness(loft):
    clock = ManualClock()
    settings = Settings(
        mode="live", vendors={"email": "pigeon"}, credentials={"PIGEON_TOKEN": "coo-coo-coo"}, environ={}, env_file=None
    )

    @contextlib.contextmanager
    def stalled():
        loft.asleep = asyncio.Event()
        try:
            yield
        finally:
            loft.asleep.set()
            loft.asleep = None

    async def outbox(providers):
        return loft.mails

    def unknown_event():
        event = {"type": "moulted", "event_id": "1", "message_id": "letter-1", "recipient": "ana@example.com",
                 "occurred_at": utc(clock.time()).isoformat(), "vendor": "pigeon"}  # fmt: skip
        body = json.dumps([event]).encode()
        signature = hmac.new(b"coo-coo-coo", body, hashlib.sha256).hexdigest()
        return RawRequest(body=body, headers={"X-Pigeon-Signature": signature})

    return EmailHarness(
        open=lambda **parts: Providers(settings, **parts),
        clock=clock,
        outbox=outbox,
        stalled=stalled,
        unknown_event=unknown_event,
    )


class TestThirdParty(EmailConformance):
    """An adapter of another package: it was written for no test of ours, and passes by subclassing."""

    @pytest.fixture
    def harness(self, installed):
        kind = type("PigeonEmail", (PigeonEmail,), {"loft": Loft([], {})})
        installed(kind)
        return pigeon_harness(kind.loft)


# A suite that cannot fail proves nothing.


class SendsTwice(PigeonEmail):
    async def send(self, message, tracking_id):
        await super().send(message, tracking_id)
        return await super().send(message, tracking_id)


class ForgetsTheSubject(PigeonEmail):
    async def send(self, message, tracking_id):
        return await super().send(message.model_copy(update={"subject": ""}), tracking_id)


class DoesNotEscape(PigeonEmail):
    async def send_batch(self, message, recipients):
        plain = message.model_copy(update={"html": None})
        refs = await super().send_batch(plain, recipients)
        for place, one in enumerate(recipients, len(self.loft.mails) - len(recipients)):
            self.loft.mails[place] = replace(self.loft.mails[place], html=fill(message.html, one.values))
        return refs


class TrustsAnybody(PigeonEmail):
    async def webhook(self, request):
        return WebhookResult[EmailEvent](events=())


class NeverGivesUp(PigeonEmail):
    async def _fly(self, letters, message, metadata, tracking_id):
        while True:
            try:
                return await super()._fly(letters, message, metadata, tracking_id)
            except asyncio.CancelledError:
                continue


class NamesNoVendor(PigeonEmail):
    async def send(self, message, tracking_id):
        ref = await super().send(message, tracking_id)
        return ref.model_copy(update={"vendor": "dove"})


class RaisesItsOwn(PigeonEmail):
    async def status(self, ref):
        raise KeyError(unquote(ref.id))


@pytest.mark.parametrize(
    ("kind", "test"),
    [
        (SendsTwice, "test_a_repeat_with_the_same_key_returns_the_first_answer_and_sends_nothing"),
        (SendsTwice, "test_a_plain_mail_is_accepted"),
        (ForgetsTheSubject, "test_names_and_all_scripts_are_accepted"),
        (DoesNotEscape, "test_a_campaign_is_personal_escaped_and_in_order"),
        (TrustsAnybody, "test_a_forged_webhook_is_refused_before_it_is_read"),
        (NeverGivesUp, "test_the_caller_s_timeout_is_kept"),
        (NamesNoVendor, "test_a_plain_mail_is_accepted"),
        (RaisesItsOwn, "test_status_answers_for_a_mail_it_sent"),
    ],
)
def test_the_suite_catches_a_faulty_adapter(installed, monkeypatch, kind, test):
    monkeypatch.setattr("providers.testing.conformance._suite.PATIENCE", 1.0)
    monkeypatch.setattr("providers.testing.conformance._inbox.PATIENCE", 1.0)
    faulty = type(kind.__name__, (kind,), {"loft": Loft([], {})})
    installed(faulty)
    with pytest.raises((AssertionError, pytest.fail.Exception, TimeoutError, KeyError)):
        getattr(EmailConformance(), test)(pigeon_harness(faulty.loft))


def test_the_suite_names_no_vendor():
    from providers.testing.conformance import _inbox, email

    source = (inspect.getsource(email) + inspect.getsource(_inbox)).lower()
    assert not [word for word in ("sendgrid", "twilio", "amazon", "pigeon") if word in source]


def test_without_a_harness_the_suite_says_what_is_missing(pytester):
    pytester.makepyfile("""
        from providers.testing.conformance import EmailConformance

        class TestMine(EmailConformance):
            pass
    """)
    result = pytester.runpytest_subprocess("-k", "plain_mail")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*TestMine must give a fixture `harness`*"])


def test_what_a_harness_cannot_show_is_skipped_with_its_reason(installed):
    kind = type("PigeonEmail", (PigeonEmail,), {"loft": Loft([], {})})
    installed(kind)
    blind = replace(pigeon_harness(kind.loft), outbox=None)
    with pytest.raises(pytest.skip.Exception, match="outbox"):
        EmailConformance().test_a_plain_mail_is_accepted(blind)


def test_an_adapter_of_another_package_is_opened_by_its_name(installed):
    kind = type("PigeonEmail", (PigeonEmail,), {"loft": Loft([], {})})
    installed(kind)
    providers = pigeon_harness(kind.loft).open()
    assert providers.email.unwrap(PigeonEmail).facts is PIGEON
    assert ATTEMPT.get() is None
    with pytest.raises(InvalidRequestError):
        asyncio.run(providers.email.check("sendgrid"))
    assert SendGridEmail.facts.vendor not in providers.email.vendors
