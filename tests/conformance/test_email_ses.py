"""The one e-mail suite, unchanged, on SES: on the server in this package, and with moto behind it judging mail too."""

import contextlib

import pytest
from moto.server import ThreadedMotoServer

from providers import Providers, Settings
from providers.core.models import RawRequest
from providers.testing.clock import ManualClock
from providers.testing.conformance.email import EmailConformance, EmailHarness, SentMail
from providers.testing.servers import Fault, SesServer


@contextlib.contextmanager
def ses_harness(**options):
    clock = ManualClock()
    # The suite sends first and reads its post later: nobody would confirm in time.
    with SesServer(clock=clock.time, confirms=True, **options) as server:
        settings = Settings(mode="live", vendors={"email": "ses"}, environ=server.env, env_file=None)

        async def outbox(providers):
            return [SentMail(mail.to, mail.subject, mail.text, mail.html) for mail in server.mails]

        @contextlib.contextmanager
        def stalled():
            server.stage(Fault.SLOW_HEADERS, match=("POST", "/v2/email/outbound-emails"))
            try:
                yield
            finally:
                server.release()

        def unknown_event():
            event = {"eventType": "Teleported", "mail": {"messageId": "1", "destination": ["ana@example.com"]}}
            headers, body = server.signed_request(event)
            return RawRequest(body=body, headers=headers)

        yield EmailHarness(
            open=lambda **parts: Providers(settings, **parts),
            clock=clock,
            outbox=outbox,
            stalled=stalled,
            unknown_event=unknown_event,
        )
        assert server.violations == ()


class TestSes(EmailConformance):
    @pytest.fixture
    def harness(self):
        with ses_harness() as harness:
            yield harness


@pytest.fixture(scope="module")
def moto():
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


class TestSesOnMoto(EmailConformance):
    @pytest.fixture
    def harness(self, moto):
        with ses_harness(upstream=moto) as harness:
            yield harness
