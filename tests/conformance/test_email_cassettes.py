"""The one e-mail suite, unchanged, on recorded conversations: no server runs, no socket is opened.

`pytest --record tests/conformance/test_email_cassettes.py` records them anew from the servers in this package, which it
starts itself. They are of origin `spec`: they prove that what was agreed with our reading of the documents still holds,
not what the vendor does.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import random
import re
import secrets
import time
import types
import uuid
from concurrent.futures import Executor, Future
from functools import cache
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from providers import Providers, Settings
from providers.core.attempt import ATTEMPT
from providers.core.models import RawRequest
from providers.core.threads import EXECUTOR
from providers.core.transport_aiohttp import AiohttpTransport
from providers.testing.clock import ManualClock
from providers.testing.conformance._inbox import Inbox
from providers.testing.conformance.email import EmailConformance, EmailHarness, SentMail
from providers.testing.plugin import recording
from providers.testing.servers import SendGridServer, SesServer
from providers.testing.servers._aws import envelope as _ses_envelope
from providers.testing.servers._sendgrid import events as _sendgrid_events
from providers.testing.servers.ses import Signer, local_signer

if TYPE_CHECKING:
    from providers.testing.cassettes import Cassette, Exchange
    from providers.testing.servers._sendgrid.mail import Mail
    from providers.testing.servers._ses.mail import Mail as SesMail

HOOKS = "http://hooks.shop.example.com"
"""Stands in the cassettes for the port on which a recording heard the webhooks."""

# Webhooks in the cassettes are signed with it, so that a replay really verifies them. Worth nothing.
KEY = ec.derive_private_key(1001, ec.SECP256R1())
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
NOTE = "Recorded from the local server in providers.testing.servers."

NOON = time.time() // 86_400 * 86_400 + 43_200
"""When recordings take place: the same file all day."""


class Repeatable(ec.ECDSA):
    """RFC 6979: the same signature for the same message."""

    def __init__(self, algorithm):
        super().__init__(algorithm, deterministic_signing=True)


@pytest.fixture
def no_chance(monkeypatch):
    """What a server makes up is counted, so that two recordings are the same file."""
    numbers = itertools.count(1)
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=next(numbers)))
    monkeypatch.setattr(secrets, "token_urlsafe", lambda size=16: f"made-up-{next(numbers):0{size}d}")
    monkeypatch.setattr(secrets, "token_hex", lambda size=16: f"{next(numbers):0{2 * size}x}")
    monkeypatch.setattr(_sendgrid_events, "ec", types.SimpleNamespace(**(vars(ec) | {"ECDSA": Repeatable})))


@cache
def repeatable_signer() -> Signer:
    """Signs as SNS does, with keys that are the same in every process. Worth nothing."""
    keys = [rsa_key(seed) for seed in (1, 2)]
    serials = itertools.count(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_ses_envelope, "_rsa", keys.pop)
        patch.setattr(x509, "random_serial_number", lambda: next(serials))
        return local_signer.__wrapped__()


def rsa_key(seed):
    numbers = random.Random(seed)
    found = []
    while len(found) < 2:
        candidate = numbers.getrandbits(1024) | 3 << 1022 | 1
        if pow(2, candidate - 1, candidate) == 1 and (candidate - 1) % 65537:
            found.append(candidate)
    p, q = found
    d = pow(65537, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(65537, p * q)
    private = rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public)
    return private.private_key()


@pytest.fixture
def stored(request) -> str:
    """The cassette's name: the test's, where it can be one."""
    name = request.node.name
    plain = re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")[:80]
    if plain != name:
        plain += "-" + hashlib.sha256(name.encode()).hexdigest()[:6]
    return plain


class Silent(AiohttpTransport):
    """A vendor that can stop answering: requests leave, nothing comes back."""

    gate: asyncio.Event | None = None

    async def send(self, request):
        if self.gate is not None:
            if attempt := ATTEMPT.get():
                attempt.sent = True
            await self.gate.wait()
        return await super().send(request)

    @contextlib.contextmanager
    def stalled(self):
        self.gate = asyncio.Event()
        try:
            yield
        finally:
            self.gate = None


def inbox_of(cassette: Cassette) -> type[Inbox]:
    """The service's end of a webhook: keeps what a recording brings, and brings it again in a replay."""

    class Recorder(Inbox):
        async def __aenter__(self):
            await super().__aenter__()
            cassette.replace(self.url.removesuffix("/hooks/email"), HOOKS)
            return self

        async def __aexit__(self, *exc):
            await super().__aexit__(*exc)
            for request in self.requests:
                cassette.keep_webhook(request)

    class Player(Inbox):
        async def __aenter__(self):
            self.url = f"{HOOKS}/hooks/email"
            self.requests = list(cassette.webhooks)
            return self

        async def __aexit__(self, *exc):
            pass

        async def received(self, count):
            if count > len(self.requests):
                raise TimeoutError
            return self.requests[count - 1]

    return Recorder if cassette.recording else Player


def outbox_of(cassette, mails_of, server):
    """What the vendor took, read from the requests it answered; while recording, the server must agree."""

    async def outbox(providers):
        mails = [shown(mail) for exchange in cassette.exchanges for mail in mails_of(exchange)]
        assert not cassette.recording or mails == [shown(mail) for mail in server.mails]
        return mails

    return outbox


def shown(mail: Mail | SesMail) -> SentMail:
    return SentMail(mail.to, mail.subject, mail.text, mail.html)


# SendGrid.


def sendgrid_mails(exchange: Exchange) -> list[Mail]:
    """What a send request brings its readers, as the local server reads it, but for templates."""
    if exchange.status != 202 or b'"template_id"' in exchange.body:
        return []
    return SendGridServer.mails_of(exchange.method, exchange.path, exchange.body)


class TestSendGridCassettes(EmailConformance):
    @pytest.fixture
    def harness(self, request, monkeypatch, no_chance, stored, providers_use_cassette):
        at = [ManualClock(NOON)]
        server = SendGridServer(clock=lambda: at[0].time(), private_key=PEM)  # noqa: PLW0108 (made later)
        credentials = {
            "SENDGRID_API_KEY": server.api_key,
            "SENDGRID_FROM_EMAIL": server.from_email,
            "SENDGRID_WEBHOOK_PUBLIC_KEY": server.public_key,
        }
        with contextlib.ExitStack() as running:
            if recording(request.config):
                running.enter_context(server)
                credentials["PROVIDER_SENDGRID_BASE_URL"] = server.url
            settings = Settings(mode="live", vendors={"email": "sendgrid"}, environ=credentials, env_file=None)
            cassette = providers_use_cassette(
                f"email/sendgrid/conformance/{stored}",
                vendor="sendgrid",
                capability="email",
                origin="spec",
                note=NOTE,
                settings=settings,
                keep=("SENDGRID_WEBHOOK_PUBLIC_KEY",),
                optional=True,
                now=NOON,
            )
            clock = ManualClock(cassette.recorded.timestamp())
            at[0] = clock
            monkeypatch.setattr("providers.testing.conformance.email.Inbox", inbox_of(cassette))
            transport = Silent()

            def unknown_event():
                headers, body = server.signed_request(
                    [{"event": "teleported", "email": "ana@example.com", "sg_event_id": "1"}]
                )
                return RawRequest(body=body, headers=headers)

            yield EmailHarness(
                open=lambda **parts: Providers(settings, transport=transport, **parts),
                clock=clock,
                outbox=outbox_of(cassette, sendgrid_mails, server),
                stalled=transport.stalled,
                unknown_event=unknown_event,
            )


# Amazon SES.


class Stuck(Executor):
    """One that can stop: what it is given then begins and never ends."""

    stopped = False

    def __init__(self, inner):
        self.inner = inner

    def submit(self, work, *args, **options):
        if not self.stopped:
            return self.inner.submit(work, *args, **options)
        never = Future()
        never.set_running_or_notify_cancel()
        return never

    @contextlib.contextmanager
    def stalled(self):
        self.stopped = True
        try:
            yield
        finally:
            self.stopped = False


def ses_mails(exchange: Exchange) -> list[SesMail]:
    """What a send request brings its readers, as the local server reads it, but for stored templates."""
    if exchange.status != 200 or b'"TemplateName"' in exchange.body:
        return []
    return SesServer.mails_of(exchange.method, exchange.path, exchange.body, exchange.reply)


class TestSesCassettes(EmailConformance):
    @pytest.fixture
    def harness(self, request, monkeypatch, no_chance, stored, providers_use_cassette):
        at = [ManualClock(NOON)]
        # A replay signs nothing: what was signed is in the cassette, and the certificate with it.
        signer = repeatable_signer() if recording(request.config) else local_signer()
        server = SesServer(confirms=True, clock=lambda: at[0].time(), signer=signer)  # noqa: PLW0108 (made later)
        credentials = {
            "SES_ACCESS_KEY_ID": server.access_key_id,
            "SES_SECRET_ACCESS_KEY": server.secret_access_key,
            "SES_REGION": server.region,
            "SES_FROM_EMAIL": server.from_email,
            "SES_CONFIGURATION_SET": server.configuration_set,
            "SES_SNS_TOPIC_ARN": server.topic_arn,
        }
        hosts = {}
        with contextlib.ExitStack() as running:
            if recording(request.config):
                running.enter_context(server)
                credentials["PROVIDER_SES_BASE_URL"] = server.url
                sns = f"sns.{server.region}.amazonaws.com"
                hosts = {
                    server.url: f"https://email.{server.region}.amazonaws.com",
                    f"{server.url}/{sns}": f"https://{sns}",
                }
            settings = Settings(mode="live", vendors={"email": "ses"}, environ=credentials, env_file=None)
            cassette = providers_use_cassette(
                f"email/ses/conformance/{stored}",
                vendor="ses",
                capability="email",
                origin="spec",
                note=NOTE,
                settings=settings,
                hosts=hosts,
                keep=("SES_SNS_TOPIC_ARN", "SES_CONFIGURATION_SET"),
                optional=True,
                now=NOON,
            )
            clock = ManualClock(cassette.recorded.timestamp())
            at[0] = clock
            monkeypatch.setattr("providers.testing.conformance.email.Inbox", inbox_of(cassette))
            executor = Stuck(EXECUTOR.get())
            running.callback(EXECUTOR.reset, EXECUTOR.set(executor))

            def unknown_event():
                # Its certificate is in the cassette, so that it has to be as well.
                if cassette.recording:
                    event = {"eventType": "Teleported", "mail": {"messageId": "1", "destination": ["ana@example.com"]}}
                    headers, body = server.signed_request(event)
                    headers = {name.lower(): value for name, value in headers.items()}
                    cassette.keep_webhook(RawRequest(method="POST", url=HOOKS, body=body, headers=headers))
                return cassette.webhooks[0]

            yield EmailHarness(
                open=lambda **parts: Providers(settings, **parts),
                clock=clock,
                outbox=outbox_of(cassette, ses_mails, server),
                stalled=executor.stalled,
                unknown_event=unknown_event,
            )
            assert server.violations == ()
