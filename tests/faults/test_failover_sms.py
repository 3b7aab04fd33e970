"""Texts with two vendors in failover order: what Twilio did not take goes to SNS, what it may have taken never does."""

import asyncio
import contextlib
import dataclasses
from decimal import Decimal
from types import SimpleNamespace

import pytest

from providers import Money, Providers, Settings
from providers.core.errors import (
    InvalidRequestError,
    Outcome,
    ProviderError,
    ProviderTimeoutError,
    RejectedError,
)
from providers.core.writes import Resolution
from providers.sms import OptOutSource, SmsMessage
from providers.testing import servers
from providers.testing.servers import Fault, FaultServer

PERSON = "+15551230001"


def refusal(status, code=99999, headers=None):
    return Fault.json(status, {"code": code, "message": "no", "more_info": "", "status": status}, headers)


@dataclasses.dataclass
class Pair:
    twilio: SimpleNamespace
    sns: SimpleNamespace
    clock: object
    transport: object
    base_url: str = ""

    def open(self):
        settings = Settings(
            mode="live",
            vendors={"sms": "twilio,sns"},
            base_urls={"twilio": self.base_url or self.twilio.faults.url, "sns": self.sns.faults.url},
            environ={**self.twilio.vendor.env, **self.sns.vendor.env},
            env_file=None,
        )
        return Providers(settings, clock=self.clock, transport=self.transport())

    @property
    def wire(self):
        """Texts that were posted to either; Twilio's other requests are look-ups."""
        posted = [request for request in self.twilio.faults.requests if request.method == "POST"]
        return len(posted), len(self.sns.faults.requests)

    @property
    def looked(self):
        return len([request for request in self.twilio.faults.requests if request.method == "GET"])

    @property
    def accepted(self):
        return len(self.twilio.vendor.messages), len(self.sns.vendor.texts)


@pytest.fixture
def pair(clock, transport):
    with contextlib.ExitStack() as stack:
        sides = []
        for kind in (servers.TwilioServer, servers.SnsServer):
            vendor = stack.enter_context(kind(clock=clock.time))
            faults = stack.enter_context(FaultServer(vendor.url))
            stack.callback(faults.release)
            sides.append(SimpleNamespace(vendor=vendor, faults=faults))
        yield Pair(*sides, clock, transport)


@pytest.fixture
def text():
    def build(body="Your order has shipped.", **changes):
        return SmsMessage(**{"to": PERSON, "body": body} | changes)

    return build


def run(scenario):
    return asyncio.run(scenario())


async def unknowns(providers):
    return [one async for one in providers.unknowns.unknown()]


# Where SNS is asked: nothing was applied, and it is not the request's fault.


def sent_by_sns(pair, text, first_wire):
    async def scenario():
        async with pair.open() as providers:
            sent = await providers.sms.send(text(), idempotency_key="order-1001")
            assert sent.ref.vendor == "sns"
            assert await providers.sms.send(text(), idempotency_key="order-1001") == sent
            assert await unknowns(providers) == []

    run(scenario)
    assert pair.wire == (first_wire, 1)
    assert pair.accepted == (0, 1)
    assert pair.looked == 0


@pytest.mark.parametrize(
    ("fault", "wire"),
    [
        (refusal(401, 20003), 1),
        (refusal(403, 20005), 1),
        (refusal(429, 20429, {"Retry-After": "3600"}), 1),
        (refusal(429, 20429, {"Retry-After": "1"}), 3),
        (refusal(503), 3),
    ],
    ids=["401", "403", "long 429", "429", "503"],
)
def test_what_twilio_did_not_take_sns_sends_once(pair, text, fault, wire):
    pair.twilio.faults.stage(fault, times=None)
    sent_by_sns(pair, text, wire)


def test_sns_sends_it_once_when_twilio_does_not_listen(pair, text, closed_port):
    pair.base_url = f"http://127.0.0.1:{closed_port}"
    sent_by_sns(pair, text, 0)


def test_what_twilio_cannot_express_sns_sends(pair, text):
    # A price limit has no effect at Twilio.
    async def scenario():
        async with pair.open() as providers:
            limited = text(max_price=Money(amount=Decimal("0.05"), currency="USD"))
            assert (await providers.sms.send(limited)).ref.vendor == "sns"

    run(scenario)
    assert pair.wire == (0, 1)


# Where SNS is never asked.

UNKNOWN = {
    "reset before": (Fault.RESET_BEFORE, 0),
    "truncated": (Fault.TRUNCATED_BODY, 1),
    "garbage": (Fault.GARBAGE, 0),
    "not JSON": (Fault.NON_JSON.after(), 1),
    "500": (refusal(500), 0),
    "502": (refusal(502), 0),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_twilio_may_have_taken_never_reaches_sns(pair, text, name):
    fault, taken = UNKNOWN[name]
    pair.twilio.faults.stage(fault, times=None)

    async def scenario():
        async with pair.open() as providers:
            for _ in range(2):
                with pytest.raises(ProviderError) as caught:
                    await providers.sms.send(text(), idempotency_key="order-1001")
                assert caught.value.outcome is Outcome.UNKNOWN
                assert caught.value.vendor == "twilio"
            (unknown,) = await unknowns(providers)
            assert (unknown.key, unknown.vendor, unknown.operation) == ("order-1001", "twilio", "sms.send")

    run(scenario)
    assert pair.wire == (1, 0)
    assert pair.accepted == (taken, 0)


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_twilio_took_is_found_there_and_what_it_did_not_take_stays_unknown(pair, text, name):
    fault, taken = UNKNOWN[name]
    pair.twilio.faults.stage(fault)

    async def scenario():
        async with pair.open() as providers:
            if taken:
                sent = await providers.sms.send(text(), idempotency_key="order-1001")
                assert sent.ref.id == pair.twilio.vendor.messages[0].sid
                assert await unknowns(providers) == []
                return
            with pytest.raises(ProviderError) as caught:
                await providers.sms.send(text(), idempotency_key="order-1001")
            assert caught.value.may_have_applied
            (unknown,) = await unknowns(providers)
            await providers.unknowns.resolve(unknown.id, Resolution.REPEAT)
            assert (await providers.sms.send(text(), idempotency_key="order-1001")).ref.vendor == "twilio"

    run(scenario)
    assert pair.wire == (1 if taken else 2, 0)
    assert pair.accepted == (1, 0)
    # One GET, and nothing is posted again for it.
    assert pair.looked == 1


def test_a_timeout_after_sending_never_reaches_sns(pair, text):
    pair.twilio.faults.stage(Fault.SLOW_HEADERS, times=None)

    async def scenario():
        async with pair.open() as providers:
            task = asyncio.create_task(providers.sms.send(text(), timeout=10))
            await pair.twilio.faults.received(1)
            pair.clock.advance(10)
            with pytest.raises(ProviderTimeoutError) as caught:
                await task
            assert caught.value.outcome is Outcome.UNKNOWN
            pair.twilio.faults.release()

    run(scenario)
    assert pair.wire == (1, 0)


def test_a_text_of_the_same_words_that_was_sent_before_does_not_stand_for_one_that_was_lost(pair, text):
    """Two customers' orders, or one customer's two, may well get the same words within a second."""

    async def scenario():
        async with pair.open() as providers:
            first = await providers.sms.send(text(), idempotency_key="order-1001")
            pair.twilio.faults.stage(Fault.RESET_BEFORE)
            with pytest.raises(ProviderError) as caught:
                await providers.sms.send(text(), idempotency_key="order-1002")
            assert caught.value.may_have_applied
            assert [one.key for one in await unknowns(providers)] == ["order-1002"]
            again = await providers.sms.send(text(), idempotency_key="order-1001")
            assert again.ref == first.ref

    run(scenario)
    assert pair.accepted == (1, 0)


def test_two_lost_texts_of_the_same_words_are_not_found_as_one(pair, text):
    pair.twilio.faults.stage(Fault.RESET_AFTER)
    pair.twilio.faults.stage(Fault.PASS)
    pair.twilio.faults.stage(Fault.RESET_BEFORE)

    async def scenario():
        async with pair.open() as providers:
            await providers.sms.send(text(), idempotency_key="order-1001")
            with pytest.raises(ProviderError):
                await providers.sms.send(text(), idempotency_key="order-1002")
            assert [one.key for one in await unknowns(providers)] == ["order-1002"]

    run(scenario)
    assert pair.accepted == (1, 0)


def test_a_wrong_number_is_not_tried_at_sns(pair, text):
    pair.twilio.faults.stage(refusal(400, 21211))

    async def scenario():
        async with pair.open() as providers:
            with pytest.raises(InvalidRequestError):
                await providers.sms.send(text())

    run(scenario)
    assert pair.wire == (1, 0)


@pytest.mark.parametrize("told", ["twilio", "here"])
def test_who_opted_out_gets_no_text_through_sns_either(pair, text, told):
    pair.twilio.faults.stage(refusal(400, 21610))

    async def scenario():
        async with pair.open() as providers:
            if told == "here":
                await providers.sms.opt_out(PERSON)
            for _ in range(2):
                with pytest.raises(RejectedError) as caught:
                    await providers.sms.send(text())
                assert (caught.value.code, caught.value.outcome) == ("opted_out", Outcome.NOT_APPLIED)
            listed = [one async for one in providers.sms.opt_outs()]
            source = OptOutSource.CALLER if told == "here" else OptOutSource.REFUSED
            assert [(one.number, one.source) for one in listed] == [(PERSON, source)]

    run(scenario)
    # From the second time on nobody is asked at all; the list of SNS was read once.
    assert pair.wire == (0 if told == "here" else 1, 1)
    assert pair.accepted == (0, 0)


def test_who_stands_on_the_list_of_sns_gets_no_text_through_twilio_once_that_was_read(pair, text):
    pair.sns.vendor.opted_out.add(PERSON)

    async def scenario():
        async with pair.open() as providers:
            assert [one.number async for one in providers.sms.opt_outs()] == [PERSON]
            with pytest.raises(RejectedError):
                await providers.sms.send(text())

    run(scenario)
    assert pair.accepted == (0, 0)
    assert pair.wire == (0, 1)
