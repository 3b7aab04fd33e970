"""The one SMS suite, unchanged, on a server that somebody else wrote: moto's SNS, where it can judge.

It takes texts to anybody and writes no delivery logs: refusals and events are judged by the server in this package.
"""

import asyncio
import contextlib

import pytest
from moto.server import ThreadedMotoServer
from moto.sns.models import sns_backends

from providers import Providers, Settings
from providers.core.models import CheckState
from providers.sms import SmsMessage, SnsSms
from providers.testing.clock import ManualClock
from providers.testing.conformance.sms import SentText, SmsConformance, SmsHarness
from providers.testing.servers import Fault, FaultServer

REGION = "eu-central-1"
PUBLISH = ("POST", "/")


@pytest.fixture(scope="module")
def moto():
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.fixture
def vendor():
    """What moto keeps of the account; nothing at first."""
    account = sns_backends["123456789012"][REGION]
    account.reset()
    account.opt_out_numbers.clear()
    return account


@pytest.fixture
def harness(moto, vendor):
    with FaultServer(moto) as server:
        settings = Settings(
            mode="live",
            vendors={"sms": "sns"},
            credentials={"SNS_ACCESS_KEY_ID": "AKIAMOTO", "SNS_SECRET_ACCESS_KEY": "moto", "SNS_REGION": REGION},
            base_urls={"sns": server.url},
            environ={},
            env_file=None,
        )

        async def outbox(providers):
            return [SentText(number, body) for number, body in vendor.sms_messages.values()]

        async def stop(providers, number):
            vendor.opt_out_numbers.append(number)

        @contextlib.contextmanager
        def stalled():
            server.stage(Fault.SLOW_HEADERS, match=PUBLISH)
            try:
                yield
            finally:
                server.release()

        def cut(providers):
            server.stage(Fault.RESET_BEFORE, match=PUBLISH)

        def lost(providers):
            server.stage(Fault.RESET_AFTER, match=PUBLISH)

        yield SmsHarness(
            open=lambda **parts: Providers(settings, **parts),
            clock=ManualClock(),
            outbox=outbox,
            stalled=stalled,
            cut=cut,
            lost=lost,
            stop=stop,
            delivers=False,
        )


class TestSnsOnMoto(SmsConformance):
    @pytest.fixture
    def harness(self, harness):
        return harness

    # SNS tells nothing of texts that people send us.
    test_stop_and_start_are_learnt_from_incoming_texts = None
    # Not moto's to judge.
    test_who_told_the_vendor_to_stop_is_refused_and_remembered = None
    test_events_come_back_with_tags_and_metadata = None
    test_a_webhook_delivered_twice_has_the_same_event_ids = None
    test_a_forged_webhook_is_refused_before_it_is_read = None
    test_an_event_of_an_unknown_type_is_unknown_not_an_error = None
    test_an_event_tells_of_a_text_of_unknown_outcome = None


def test_moto_takes_every_sender_and_option_of_ours(harness, vendor):
    messages = [
        SmsMessage(to="+15005550010", body="1", sender="DemoShop"),
        SmsMessage(to="+15005550010", body="2", sender="+15005550006"),
        SmsMessage(to="+15005550010", body="3", vendor_options={"sns": {"MessageAttributes": {
            "AWS.MM.SMS.EntityId": {"DataType": "String", "StringValue": "1"}}}}),
    ]  # fmt: skip

    async def scenario():
        async with harness.open(clock=harness.clock) as providers:
            return [await providers.sms.send(message) for message in messages]

    sent = asyncio.run(scenario())
    assert vendor.sms_messages == {
        one.ref.id: (message.to, message.body) for one, message in zip(sent, messages, strict=True)
    }


def test_settings_that_moto_keeps_are_told_and_its_sandbox_is_not_known(harness, vendor):
    async def scenario():
        async with harness.open(clock=harness.clock) as providers:
            client = providers.sms.unwrap(SnsSms).client
            client.set_sms_attributes(attributes={"MonthlySpendLimit": "25", "DefaultSMSType": "Transactional"})
            (result,) = await providers.sms.check()
            return result

    result = asyncio.run(scenario())
    assert (result.state, result.sandbox, result.quota.limit) == (CheckState.OK, None, 25)
    assert vendor.sms_attributes["MonthlySpendLimit"] == "25"
