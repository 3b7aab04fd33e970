"""The one SMS suite, unchanged, on recorded conversations: no server runs, no socket is opened.

`pytest --record tests/conformance/test_sms_cassettes.py` records them anew from the servers in this package, which it
starts itself. They are of origin `spec`: they prove that what was agreed with our reading of the documents still holds,
not what the vendor does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import pytest
from botocore.exceptions import ConnectionClosedError

from providers import Settings
from providers.core.models import RawRequest
from providers.testing.conformance.sms import SentText, SmsConformance, SmsHarness
from providers.testing.servers.sns import SnsServer
from providers.testing.servers.twilio import TwilioServer

if TYPE_CHECKING:
    from providers.testing.cassettes import Exchange

# Twilio.


def twilio_texts(exchange: Exchange) -> list[SentText]:
    """The text of a request that was taken, as the local server reads it."""
    if exchange.status != 201:
        return []
    texts = TwilioServer.messages_of(exchange.method, exchange.path, exchange.body)
    return [SentText(text.to, text.body) for text in texts]


class TestTwilioCassettes(SmsConformance):
    @pytest.fixture
    def harness(self, stage):
        service = "MG" + "0" * 32
        server = TwilioServer(clock=stage.time, messaging_service_sid=service, inbound_url=stage.hooks)
        credentials = {
            "TWILIO_ACCOUNT_SID": server.account_sid,
            "TWILIO_AUTH_TOKEN": server.auth_token,
            "TWILIO_PHONE_NUMBER": server.phone_number,
            "TWILIO_MESSAGING_SERVICE_SID": service,
        }
        stage.show(server, credentials=credentials)
        # Twilio can be asked what became of a text that it took without answering.
        stage.line.takes = True

        def open_twilio(*, webhook_url=None, **parts):
            if webhook_url is None:
                return stage.open(**parts)
            environ = {**stage.environ, "TWILIO_STATUS_CALLBACK_URL": webhook_url}
            settings = Settings(mode="live", vendors={"sms": "twilio"}, environ=environ, env_file=None)
            return stage.open(settings=settings, **parts)

        async def incoming(providers, number, body):
            if stage.recording:
                server.receive(number, body)

        def unknown_event():
            fields = {"MessageSid": "SM" + "0" * 32, "MessageStatus": "teleported", "To": "+12025550123",
                      "From": server.phone_number, "AccountSid": server.account_sid}  # fmt: skip
            url, headers, body = server.signed_request("https://shop.example.com/hooks/sms", fields)
            return RawRequest(url=url, headers=headers, body=body)

        return SmsHarness(
            open=open_twilio,
            clock=stage.clock,
            outbox=stage.outbox(twilio_texts, lambda: [SentText(text.to, text.body) for text in server.messages]),
            stalled=stage.line.stalled,
            cut=stage.line.cut,
            lost=stage.line.lost,
            stop=lambda providers, number: incoming(providers, number, "STOP"),
            incoming=incoming,
            unknown_event=unknown_event,
        )


# Amazon SNS.


def sns_texts(exchange: Exchange) -> list[SentText]:
    """The text of a `Publish` that was taken."""
    form = parse_qs(exchange.body.decode(), keep_blank_values=True)
    if exchange.status != 200 or form.get("Action") != ["Publish"]:
        return []
    return [SentText(form["PhoneNumber"][0], form["Message"][0])]


class TestSnsCassettes(SmsConformance):
    # SNS tells nothing of texts that people send us.
    test_stop_and_start_are_learnt_from_incoming_texts = None

    @pytest.fixture
    def harness(self, stage, aws_signer):
        server = SnsServer(clock=stage.time, webhook_url=stage.hooks, refuses_opted_out=True, signer=aws_signer)
        credentials = {
            "SNS_ACCESS_KEY_ID": server.access_key_id,
            "SNS_SECRET_ACCESS_KEY": server.secret_access_key,
            "SNS_REGION": server.region,
            "SNS_TOPIC_ARN": server.topic_arn,
        }
        host = f"https://sns.{server.region}.amazonaws.com"
        stage.show(server, credentials=credentials, hosts={"": host}, keep=("SNS_TOPIC_ARN",))
        executor = stage.executor()
        broken = ConnectionClosedError(endpoint_url=host)

        async def stop(providers, number):
            server.opted_out.add(number)

        def unknown_event():
            log = {"notification": {"messageId": "1", "timestamp": "2026-11-22 12:00:00.217"},
                   "delivery": {"destination": "+12025550123"}, "status": "TELEPORTED"}  # fmt: skip
            return stage.signed(lambda: server.signed_request(log))

        yield SmsHarness(
            open=stage.open,
            clock=stage.clock,
            outbox=stage.outbox(sns_texts, lambda: [SentText(text.number, text.body) for text in server.texts]),
            stalled=executor.stalled,
            cut=lambda _: executor.breaks(broken, taken=False),
            lost=lambda _: executor.breaks(broken, taken=True),
            stop=stop,
            unknown_event=unknown_event,
        )
        assert server.violations == ()
