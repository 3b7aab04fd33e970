"""Texts, refunds, orders of many processes that share a Valkey: each key once, and what a killed process leaves."""

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
AE_PRODUCT, CJ_PRODUCT = "aliexpress:1005001234567890", "cjdropshipping:1400000000000000001"
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
        environ = self.server.env | self.vendors
        return Providers(Settings(mode="live", state_url=self.url, environ=environ, env_file=None))

    def stage(self, fault):
        """For the next write."""
        self.server.stage(fault, match=self._post)

    def killed(self, job, *args):
        """A process that was killed while the vendor, which took its write, had not answered yet."""
        self.stage(Fault.SLOW_HEADERS)
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


class AliExpress(Shop):
    """All calls go to one path: orders are told by their method."""

    def stage(self, fault):
        # Before an order its product is asked for, and the ways to ship it.
        self.server.stage(Fault.PASS, match=self._post, times=2)
        super().stage(fault)

    def posts(self):
        return [request for request in super().posts() if b"method=aliexpress.ds.order.create" in request.body]


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
def aliexpress(valkey, worker, opened):
    shop = AliExpress(opened(servers.AliExpressServer(tracking_id=None)), valkey, worker, ("POST", "/sync"))
    shop.vendors = {"PROVIDER_SOURCING": "aliexpress", "PROVIDER_RATE_ALIEXPRESS": "1000/second"}
    return shop


@pytest.fixture
def cj(valkey, worker, opened):
    post = ("POST", "/api2.0/v1/shopping/order/createOrderV2")
    shop = Shop(opened(servers.CjServer()), valkey, worker, post)
    shop.vendors = {"PROVIDER_SOURCING": "cjdropshipping", "PROVIDER_RATE_CJDROPSHIPPING": "1000/second"}
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


def test_eight_processes_with_one_key_order_once_at_aliexpress(aliexpress):
    answers = together([aliexpress.worker("order", AE_PRODUCT, "order-7") for _ in range(PROCESSES)])

    (made,) = aliexpress.server.orders
    assert answers == [f"aliexpress:{made.order_id}"] * PROCESSES
    assert made.out_order_id == "order-7"
    assert len(aliexpress.posts()) == 1


def test_eight_processes_with_one_key_order_once_at_cj_with_one_access_token(cj):
    answers = together([cj.worker("order", CJ_PRODUCT, "order-7") for _ in range(PROCESSES)])

    (made,) = cj.server.orders
    assert answers == [f"cjdropshipping:{made.id}"] * PROCESSES
    assert made.number == "order-7"
    assert len(cj.posts()) == 1
    assert cj.server.issued == 1


def test_an_order_of_a_killed_process_is_listed_and_looked_up_at_cj_by_the_next_one(cj):
    cj.killed("order", CJ_PRODUCT, "order-7")

    async def scenario():
        async with cj.open() as p:
            (write,) = await unknowns(p)
            assert (write.operation, write.key) == ("sourcing.place_order", "order-7/cjdropshipping")
            assert write.vendor == "cjdropshipping"
            assert write.reason == "the process that sent it ended"

    asyncio.run(scenario())
    answers = together([cj.worker("order", CJ_PRODUCT, "order-7") for _ in range(3)])

    (made,) = cj.server.orders
    assert answers == [f"cjdropshipping:{made.id}"] * 3
    assert len(cj.posts()) == 1


def test_an_order_of_a_killed_process_that_cj_does_not_have_stays_unknown_until_somebody_says_so(cj):
    cj.killed("order", CJ_PRODUCT, "order-7")
    # As if it had never got there.
    cj.server._shop.orders.clear()
    cj.server._shop.numbers.clear()
    answers = together([cj.worker("order", CJ_PRODUCT, "order-7") for _ in range(3)])
    assert answers == ["ProviderUnavailableError unknown_outcome"] * 3

    async def resolved():
        async with cj.open() as p:
            (write,) = await unknowns(p)
            await p.unknowns.resolve(write.id, Resolution.REPEAT)

    assert len(cj.posts()) == 1
    asyncio.run(resolved())
    (answer,) = together([cj.worker("order", CJ_PRODUCT, "order-7")])

    (made,) = cj.server.orders
    assert answer == f"cjdropshipping:{made.id}"


def test_an_order_of_a_killed_process_stays_unknown_at_aliexpress_and_is_never_sent_again(aliexpress):
    aliexpress.killed("order", AE_PRODUCT, "order-7")

    answers = together([aliexpress.worker("order", AE_PRODUCT, "order-7") for _ in range(3)])

    assert answers == ["ProviderUnavailableError unknown_outcome"] * 3
    assert len(aliexpress.posts()) == len(aliexpress.server.orders) == 1

    async def left():
        async with aliexpress.open() as p:
            return [(write.key, write.vendor) for write in await unknowns(p)]

    assert asyncio.run(left()) == [("order-7/aliexpress", "aliexpress")]


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
