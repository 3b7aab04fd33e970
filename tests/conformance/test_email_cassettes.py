"""The one e-mail suite, unchanged, on recorded conversations: no server runs, no socket is opened.

`pytest --record tests/conformance/test_email_cassettes.py` records them anew from the servers in this package, which it
starts itself. They are of origin `spec`: they prove that what was agreed with our reading of the documents still holds,
not what the vendor does.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from providers.core.models import RawRequest
from providers.testing.conformance.email import EmailConformance, EmailHarness, SentMail
from providers.testing.servers import SendGridServer, SesServer
from providers.testing.servers._sendgrid import events as _sendgrid_events

if TYPE_CHECKING:
    from providers.testing.cassettes import Exchange
    from providers.testing.servers._sendgrid.mail import Mail
    from providers.testing.servers._ses.mail import Mail as SesMail

# Webhooks in the cassettes are signed with it, so that a replay really verifies them. Worth nothing.
KEY = ec.derive_private_key(1001, ec.SECP256R1())
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class Repeatable(ec.ECDSA):
    """RFC 6979: the same signature for the same message."""

    def __init__(self, algorithm):
        super().__init__(algorithm, deterministic_signing=True)


def shown(mail: Mail | SesMail) -> SentMail:
    return SentMail(mail.to, mail.subject, mail.text, mail.html)


# SendGrid.


def sendgrid_mails(exchange: Exchange) -> list[SentMail]:
    """What a send request brings its readers, as the local server reads it, but for templates."""
    if exchange.status != 202 or b'"template_id"' in exchange.body:
        return []
    return [shown(mail) for mail in SendGridServer.mails_of(exchange.method, exchange.path, exchange.body)]


class TestSendGridCassettes(EmailConformance):
    @pytest.fixture
    def harness(self, stage, monkeypatch):
        monkeypatch.setattr(_sendgrid_events, "ec", types.SimpleNamespace(**(vars(ec) | {"ECDSA": Repeatable})))
        server = SendGridServer(clock=stage.time, private_key=PEM)
        credentials = {
            "SENDGRID_API_KEY": server.api_key,
            "SENDGRID_FROM_EMAIL": server.from_email,
            "SENDGRID_WEBHOOK_PUBLIC_KEY": server.public_key,
        }
        keep = ("SENDGRID_WEBHOOK_PUBLIC_KEY",)
        stage.show(server, credentials=credentials, keep=keep, flush=server.deliver_events)

        def unknown_event():
            headers, body = server.signed_request(
                [{"event": "teleported", "email": "ana@example.com", "sg_event_id": "1"}]
            )
            return RawRequest(body=body, headers=headers)

        return EmailHarness(
            open=stage.open,
            clock=stage.clock,
            outbox=stage.outbox(sendgrid_mails, lambda: [shown(mail) for mail in server.mails]),
            stalled=stage.line.stalled,
            unknown_event=unknown_event,
        )


# Amazon SES.


def ses_mails(exchange: Exchange) -> list[SentMail]:
    """What a send request brings its readers, as the local server reads it, but for stored templates."""
    if exchange.status != 200 or b'"TemplateName"' in exchange.body:
        return []
    mails = SesServer.mails_of(exchange.method, exchange.path, exchange.body, exchange.reply)
    return [shown(mail) for mail in mails]


class TestSesCassettes(EmailConformance):
    @pytest.fixture
    def harness(self, stage, aws_signer):
        server = SesServer(confirms=True, clock=stage.time, signer=aws_signer)
        credentials = {
            "SES_ACCESS_KEY_ID": server.access_key_id,
            "SES_SECRET_ACCESS_KEY": server.secret_access_key,
            "SES_REGION": server.region,
            "SES_FROM_EMAIL": server.from_email,
            "SES_CONFIGURATION_SET": server.configuration_set,
            "SES_SNS_TOPIC_ARN": server.topic_arn,
        }
        sns = f"sns.{server.region}.amazonaws.com"
        stage.show(
            server,
            credentials=credentials,
            hosts={"": f"https://email.{server.region}.amazonaws.com", f"/{sns}": f"https://{sns}"},
            keep=("SES_SNS_TOPIC_ARN", "SES_CONFIGURATION_SET"),
            flush=server.deliver_events,
        )
        executor = stage.executor()

        def unknown_event():
            event = {"eventType": "Teleported", "mail": {"messageId": "1", "destination": ["ana@example.com"]}}
            return stage.signed(lambda: server.signed_request(event))

        yield EmailHarness(
            open=stage.open,
            clock=stage.clock,
            outbox=stage.outbox(ses_mails, lambda: [shown(mail) for mail in server.mails]),
            stalled=executor.stalled,
            unknown_event=unknown_event,
        )
        assert server.violations == ()
