"""Texts and refunds of many processes that share a Valkey: each key once, and what a killed process leaves behind."""

import asyncio
import json
import time
from contextlib import ExitStack
from decimal import Decimal

import pytest

from providers import Money, Providers, Settings
from providers.billing import CheckoutLine
from providers.cli.app import main
from providers.core.writes import Resolution
from providers.errors import ConflictError, Outcome, ProviderUnavailableError
from providers.sms import SmsMessage
from providers.testing import servers
from providers.testing.servers import Fault

PROCESSES = 8
NUMBER = "+15551230001"
TEXT = SmsMessage(to=NUMBER, body="It has shipped.")
URLS = {"success_url": "https://shop.example.com/thanks", "cancel_url": "https://shop.example.com/cart"}


class Shop:
    """A vendor's server, and processes that write to it through one Valkey."""

    def __init__(self, server, valkey, worker, post):
        self.server, self.url, self._worker = server, valkey.url, worker
        self._post = post
        self.vendors = {}

    def worker(self, job, *args):
        """A process that is about to do it."""
        one = self._worker(job, self.url, json.dumps(self.server.env | self.vendors), *args)
        assert one.hear() == "ready"
        return one

    def open(self):
        return Providers(Settings(mode="live", state_url=self.url, environ=self.server.env, env_file=None))

    def killed(self, job, *args):
        """A process that was killed while the vendor, which took its write, had not answered yet."""
        self.server.stage(Fault.SLOW_HEADERS, match=self._post)
        one = self.worker(job, *args)
        one.say()
        self.until(self.posts)
        one.kill()
        self.server.release()

    def posts(self):
        """The writes that came."""
        return [request for request in self.server.requests if (request.method, request.path) == self._post]

    @staticmethod
    def until(what):
        end = time.monotonic() + 20
        while not what():
            assert time.monotonic() < end
            time.sleep(0.005)


@pytest.fixture
def opened():
    with ExitStack() as stack:
        yield stack.enter_context


@pytest.fixture
def twilio(valkey, worker, opened):
    server = opened(servers.TwilioServer())
    return Shop(server, valkey, worker, ("POST", f"/2010-04-01/Accounts/{server.account_sid}/Messages.json"))


@pytest.fixture
def stripe(valkey, worker, opened):
    return Shop(opened(servers.StripeServer()), valkey, worker, ("POST", "/v1/refunds"))


@pytest.fixture
def anthropic(valkey, worker, opened):
    shop = Shop(opened(servers.AnthropicServer()), valkey, worker, ("POST", "/v1/messages/batches"))
    shop.vendors = {"PROVIDER_LLM": "anthropic"}
    return shop


@pytest.fixture
def paid(stripe):
    """A checkout that was paid."""

    async def buy():
        line = CheckoutLine(title="Mug", unit_price=Money(amount=Decimal("19.99"), currency="USD"))
        async with stripe.open() as p:
            return (await p.billing.payment_checkout([line], idempotency_key="cart-1", **URLS)).ref

    ref = asyncio.run(buy())
    stripe.server.pay(ref.id)
    return ref


async def unknowns(p):
    return [write async for write in p.unknowns.unknown()]


def together(workers):
    for one in workers:
        one.say()
    return [one.end() for one in workers]


def test_eight_processes_with_one_key_send_one_text(twilio):
    answers = together([twilio.worker("text", NUMBER, "order-7") for _ in range(PROCESSES)])

    (message,) = twilio.server.messages
    assert answers == [f"twilio:{message.sid}"] * PROCESSES
    assert len(twilio.posts()) == 1


def test_eight_processes_with_one_key_give_back_once(stripe, paid):
    answers = together([stripe.worker("refund", str(paid), "return-7") for _ in range(PROCESSES)])

    (refund,) = stripe.server.objects("refund")
    assert answers == [f"stripe:{refund['id']}"] * PROCESSES
    assert len(stripe.posts()) == 1


def test_eight_processes_with_one_key_hand_in_one_batch(anthropic):
    answers = together([anthropic.worker("batch", "titles-7") for _ in range(PROCESSES)])

    assert len(set(answers)) == 1
    assert answers[0].startswith("anthropic:msgbatch_")
    assert len(anthropic.posts()) == 1


def test_a_batch_of_a_killed_process_stays_unknown_and_is_never_handed_in_again(anthropic):
    anthropic.killed("batch", "titles-7")

    (answer,) = together([anthropic.worker("batch", "titles-7")])

    assert answer == "ProviderUnavailableError unknown_outcome"
    assert len(anthropic.posts()) == 1


def test_a_text_of_a_killed_process_is_listed_and_found_by_the_next_one(twilio):
    twilio.killed("text", NUMBER, "order-7")

    async def scenario():
        async with twilio.open() as p:
            (write,) = await unknowns(p)
            assert (write.operation, write.key, write.vendor) == ("sms.send", "order-7", "twilio")
            assert write.reason == "the process that sent it ended"
            sent = await p.sms.send(TEXT, idempotency_key="order-7")
            return sent, await unknowns(p)

    sent, left = asyncio.run(scenario())
    (message,) = twilio.server.messages
    assert (sent.ref.id, left) == (message.sid, [])
    assert len(twilio.posts()) == 1


def test_a_text_of_a_killed_process_that_is_not_found_stays_unknown_for_everybody(twilio):
    twilio.killed("text", NUMBER, "order-7")
    # As if it had never got there.
    twilio.server.reset()
    answers = together([twilio.worker("text", NUMBER, "order-7") for _ in range(3)])
    assert answers == ["ProviderUnavailableError unknown_outcome"] * 3

    async def scenario():
        async with twilio.open() as p:
            with pytest.raises(ProviderUnavailableError) as caught:
                await p.sms.send(TEXT, idempotency_key="order-7")
            assert caught.value.outcome is Outcome.UNKNOWN
            (write,) = await unknowns(p)
            assert twilio.posts() == []
            await p.unknowns.resolve(write.id, Resolution.REPEAT)
            return await p.sms.send(TEXT, idempotency_key="order-7")

    sent = asyncio.run(scenario())
    (message,) = twilio.server.messages
    assert sent.ref.id == message.sid


def test_a_refund_of_a_killed_process_is_listed_and_repeated_with_the_same_key_it_is_one(stripe, paid):
    stripe.killed("refund", str(paid), "return-7")

    async def scenario():
        async with stripe.open() as p:
            (write,) = await unknowns(p)
            assert (write.operation, write.key, write.vendor) == ("billing.refund", "return-7", "stripe")
            refund = await p.billing.refund(paid, idempotency_key="return-7")
            return refund, await unknowns(p)

    refund, left = asyncio.run(scenario())
    (made,) = stripe.server.objects("refund")
    assert (refund.ref.id, left) == (made["id"], [])
    posts = stripe.posts()
    assert len(posts) == 2
    assert len({request.headers["Idempotency-Key"] for request in posts}) == 1


def test_eight_processes_repeat_the_refund_of_a_killed_one_and_it_is_one(stripe, paid):
    stripe.killed("refund", str(paid), "return-7")

    answers = together([stripe.worker("refund", str(paid), "return-7") for _ in range(PROCESSES)])

    (made,) = stripe.server.objects("refund")
    # One repeats it; of the others those that came at the same moment are told so, and may come again.
    assert set(answers) <= {f"stripe:{made['id']}", "ConflictError in_flight"}
    assert f"stripe:{made['id']}" in answers
    assert len({request.headers["Idempotency-Key"] for request in stripe.posts()}) == 1


@pytest.fixture
def command(capsys, monkeypatch, tmp_path):
    """`providers` in this process, with the settings of the shops."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROVIDER_MODE", "live")

    def run(*argv):
        capsys.readouterr()
        code = main([*argv])
        return code, capsys.readouterr().out

    def prepared(*shops):
        for shop in shops:
            for name, value in shop.server.env.items():
                monkeypatch.setenv(name, value)
            monkeypatch.setenv("PROVIDER_STATE_URL", shop.url)
        return run

    return prepared


def test_the_command_lists_and_settles_what_killed_processes_left(twilio, stripe, paid, command):
    twilio.killed("text", NUMBER, "order-7")
    stripe.killed("refund", str(paid), "return-7")
    run = command(twilio, stripe)

    _, out = run("unknowns", "--json")
    listed = {write["operation"]: write for write in json.loads(out)["writes"]}
    assert {name: write["key"] for name, write in listed.items()} == {
        "sms.send": "order-7",
        "billing.refund": "return-7",
    }
    for name, way in (("sms.send", "--applied"), ("billing.refund", "--repeat")):
        code, _ = run("unknowns", "resolve", listed[name]["id"], way)
        assert code == 0
    _, out = run("unknowns", "--json")
    assert json.loads(out)["writes"] == []

    async def scenario():
        async with twilio.open() as p:
            with pytest.raises(ConflictError) as caught:
                await p.sms.send(TEXT, idempotency_key="order-7")
            assert caught.value.code == "already_applied"
        async with stripe.open() as p:
            # Resolved to be repeated; the vendor still knows the key.
            return await p.billing.refund(paid, idempotency_key="return-7")

    refund = asyncio.run(scenario())
    assert [made["id"] for made in stripe.server.objects("refund")] == [refund.ref.id]
    assert len(twilio.server.messages) == 1
