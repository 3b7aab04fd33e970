"""Two vendors in failover order: when the second is asked, and when it must never be."""

import asyncio
import contextlib
import dataclasses
from types import SimpleNamespace

import pytest

from providers import Providers, Settings, catalog
from providers.core.errors import (
    AuthenticationError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
)
from providers.core.writes import Resolution
from providers.email import MessageRef, Recipient, SendState
from providers.email.facts import SENDGRID
from providers.email.sendgrid import SendGridEmail
from providers.testing.servers import Fault, FaultServer, SendGridServer

POSTBOX = dataclasses.replace(SENDGRID, vendor="postbox", title="Postbox", adapter="postbox:PostboxEmail")


class PostboxEmail(SendGridEmail):
    """A second vendor with its own account, servers and limits, and the first one's API."""

    facts = POSTBOX


TOO_MANY = Fault.json(429, {"errors": [{"message": "too many requests", "field": None}]}, {"Retry-After": "1"})


@dataclasses.dataclass
class Pair:
    first: SimpleNamespace
    second: SimpleNamespace
    clock: object
    transport: object
    base_url: str = ""

    def open(self, order="sendgrid,postbox"):
        settings = Settings(
            mode="live",
            vendors={"email": order},
            base_urls={"sendgrid": self.base_url or self.first.faults.url, "postbox": self.second.faults.url},
            environ=self.first.vendor.env,
            env_file=None,
        )
        return Providers(settings, clock=self.clock, transport=self.transport())

    @property
    def wire(self):
        return len(self.first.faults.requests), len(self.second.faults.requests)

    @property
    def accepted(self):
        return len(self.first.vendor.mails), len(self.second.vendor.mails)


@pytest.fixture
def pair(clock, transport, monkeypatch):
    entry = SimpleNamespace(load=lambda: PostboxEmail)
    monkeypatch.setattr(catalog, "_plugins", lambda: {"email.postbox": entry})
    with contextlib.ExitStack() as stack:
        sides = []
        for _ in range(2):
            vendor = stack.enter_context(SendGridServer(clock=clock.time))
            faults = stack.enter_context(FaultServer(vendor.url))
            stack.callback(faults.release)
            sides.append(SimpleNamespace(vendor=vendor, faults=faults))
        yield Pair(*sides, clock, transport)


def run(scenario):
    return asyncio.run(scenario())


async def unknowns(providers):
    return [one async for one in providers.unknowns.unknown()]


def test_a_reply_lost_after_acceptance_then_429s_is_never_sent_again_by_any_vendor(pair, mail):
    pair.first.faults.stage(Fault.RESET_AFTER)
    pair.first.faults.stage(TOO_MANY, times=None)

    async def scenario():
        async with pair.open() as providers:
            with pytest.raises(ProviderUnavailableError) as caught:
                await providers.email.send(mail())
            error = caught.value
            assert error.outcome is Outcome.UNKNOWN
            assert error.may_have_applied
            assert not error.retryable
            assert error.vendor == "sendgrid"
            # Without a key it is listed all the same.
            (unknown,) = await unknowns(providers)
            assert (unknown.key, unknown.vendor, unknown.operation) == ("", "sendgrid", "email.send")

    run(scenario)
    assert pair.wire == (1, 0)
    assert pair.accepted == (1, 0)


def test_unknown_stays_unknown_when_a_vendor_that_knows_the_key_answers_429_to_the_repeats(pair, mail, monkeypatch):
    """The same rule where the first vendor may be asked again: what came later does not make it known."""

    class Knowing(SendGridEmail):
        facts = dataclasses.replace(POSTBOX, deduplicates=frozenset({"email.send"}))

    monkeypatch.setattr(catalog, "_plugins", lambda: {"email.postbox": SimpleNamespace(load=lambda: Knowing)})
    pair.second.faults.stage(Fault.RESET_AFTER)
    pair.second.faults.stage(TOO_MANY, times=None)

    async def scenario():
        async with pair.open("postbox,sendgrid") as providers:
            with pytest.raises(RateLimitedError) as caught:
                await providers.email.send(mail(), idempotency_key="order-1001")
            assert caught.value.outcome is Outcome.UNKNOWN
            assert caught.value.may_have_applied
            assert [one.key for one in await unknowns(providers)] == ["order-1001"]
            # Without a key nothing tells the vendor that it is the same mail.
            pair.second.faults.reset()
            pair.second.faults.stage(Fault.RESET_AFTER)
            with pytest.raises(ProviderUnavailableError):
                await providers.email.send(mail())

    run(scenario)
    assert pair.wire == (0, 1)
    assert pair.accepted == (0, 2)


@pytest.mark.parametrize("resolution", [None, Resolution.APPLIED, Resolution.REPEAT])
def test_with_a_key_the_unknown_is_kept_until_somebody_resolves_it(pair, mail, resolution):
    pair.first.faults.stage(Fault.RESET_AFTER)

    async def scenario():
        async with pair.open() as providers:
            for _ in range(3):
                with pytest.raises(ProviderUnavailableError) as caught:
                    await providers.email.send(mail(), idempotency_key="order-1001")
                assert caught.value.outcome is Outcome.UNKNOWN
                assert not caught.value.retryable
            assert caught.value.code == "unknown_outcome"
            with pytest.raises(ConflictError):
                await providers.email.send(mail(text="Another."), idempotency_key="order-1001")
            (unknown,) = await unknowns(providers)
            assert (unknown.key, unknown.vendor, unknown.tenant) == ("order-1001", "sendgrid", "")
            assert unknown.reason
            if resolution is None:
                return
            await providers.unknowns.resolve(unknown.id, resolution)
            assert await unknowns(providers) == []
            with pytest.raises(NotFoundError):
                await providers.unknowns.resolve(unknown.id, resolution)
            if resolution is Resolution.APPLIED:
                with pytest.raises(ConflictError) as caught:
                    await providers.email.send(mail(), idempotency_key="order-1001")
                assert caught.value.code == "already_applied"
            else:
                ref = await providers.email.send(mail(), idempotency_key="order-1001")
                assert await providers.email.send(mail(), idempotency_key="order-1001") == ref

    run(scenario)
    assert pair.accepted == (2 if resolution is Resolution.REPEAT else 1, 0)
    assert pair.wire == pair.accepted


def test_a_429_first_and_a_lost_reply_after_it_is_unknown_too(pair, mail):
    pair.first.faults.stage(TOO_MANY)
    pair.first.faults.stage(Fault.RESET_AFTER)

    async def scenario():
        async with pair.open() as providers:
            with pytest.raises(ProviderUnavailableError) as caught:
                await providers.email.send(mail())
            assert caught.value.outcome is Outcome.UNKNOWN

    run(scenario)
    assert pair.wire == (2, 0)
    assert pair.accepted == (1, 0)


@pytest.mark.parametrize(
    "fault",
    [
        Fault.RESET_BEFORE,
        Fault.TRUNCATED_BODY,
        Fault.GARBAGE,
        Fault.NON_JSON.after(),
        Fault.json(500, {}),
        Fault.json(502, {}),
    ],
    ids=["reset", "truncated", "garbage", "not JSON", "500", "502"],
)
def test_an_unknown_outcome_never_reaches_the_second_vendor(pair, mail, fault):
    pair.first.faults.stage(fault)

    async def scenario():
        async with pair.open() as providers:
            with pytest.raises(Exception) as caught:  # noqa: PT011 (the matrix has the classes)
                await providers.email.send(mail())
            assert caught.value.may_have_applied

    run(scenario)
    assert pair.wire == (1, 0)


def test_a_timeout_after_sending_never_reaches_the_second_vendor(pair, mail):
    pair.first.faults.stage(Fault.SLOW_HEADERS)

    async def scenario():
        async with pair.open() as providers:
            task = asyncio.create_task(providers.email.send(mail()))
            await pair.first.faults.received(1)
            pair.clock.advance(10)
            with pytest.raises(ProviderTimeoutError) as caught:
                await task
            assert caught.value.outcome is Outcome.UNKNOWN
            pair.first.faults.release()

    run(scenario)
    assert pair.wire == (1, 0)


def test_a_wrong_request_is_not_tried_at_the_second_vendor(pair, mail):
    pair.first.faults.stage(Fault.json(400, {"errors": [{"message": "Bad Request", "field": None}]}))

    async def scenario():
        async with pair.open() as providers:
            with pytest.raises(InvalidRequestError):
                await providers.email.send(mail())

    run(scenario)
    assert pair.wire == (1, 0)


# Where the second vendor is asked: nothing was applied, and it is not the request's fault.


def sent_by_the_second(pair, mail, first_wire):
    async def scenario():
        async with pair.open() as providers:
            ref = await providers.email.send(mail(), idempotency_key="order-1001")
            assert isinstance(ref, MessageRef)
            assert await providers.email.send(mail(), idempotency_key="order-1001") == ref
            assert await unknowns(providers) == []

    run(scenario)
    assert pair.wire == (first_wire, 1)
    assert pair.accepted == (0, 1)


@pytest.mark.parametrize(
    ("fault", "wire"),
    [
        (Fault.json(401, {"errors": [{"message": "revoked", "field": None}]}), 1),
        (Fault.json(401, {"errors": [{"message": "Maximum credits exceeded", "field": None}]}), 1),
        (Fault.json(403, {"errors": [{"message": "access forbidden", "field": None}]}), 1),
        (Fault.json(429, {}, {"Retry-After": "3600"}), 1),
        (TOO_MANY, 3),
        (Fault.json(503, {}), 3),
    ],
    ids=["401", "credits", "403", "long 429", "429", "503"],
)
def test_the_second_vendor_sends_it_once_when_the_first_refused(pair, mail, fault, wire):
    pair.first.faults.stage(fault, times=None)
    sent_by_the_second(pair, mail, wire)


def test_the_second_vendor_sends_it_once_when_the_first_does_not_listen(pair, mail, closed_port):
    pair.base_url = f"http://127.0.0.1:{closed_port}"
    sent_by_the_second(pair, mail, 0)


def test_the_second_vendor_sends_it_once_when_the_first_has_no_name(pair, mail):
    pair.base_url = "http://api.sendgrid.invalid"
    sent_by_the_second(pair, mail, 0)


def test_when_both_refuse_the_last_error_is_raised(pair, mail):
    pair.first.faults.stage(Fault.json(401, {}))
    pair.second.faults.stage(Fault.json(401, {}))

    async def scenario():
        async with pair.open() as providers:
            with pytest.raises(AuthenticationError) as caught:
                await providers.email.send(mail())
            assert caught.value.vendor == "postbox"
            assert caught.value.outcome is Outcome.NOT_APPLIED

    run(scenario)
    assert pair.wire == (1, 1)


def test_a_lost_reply_at_the_second_vendor_is_unknown_as_well(pair, mail):
    pair.first.faults.stage(Fault.json(401, {}))
    pair.second.faults.stage(Fault.RESET_AFTER)

    async def scenario():
        async with pair.open() as providers:
            with pytest.raises(ProviderUnavailableError) as caught:
                await providers.email.send(mail(), idempotency_key="order-1001")
            assert (caught.value.vendor, caught.value.outcome) == ("postbox", Outcome.UNKNOWN)
            (unknown,) = await unknowns(providers)
            assert unknown.vendor == "postbox"

    run(scenario)
    assert pair.accepted == (0, 1)


def test_a_campaign_fails_over_batch_by_batch_and_sends_each_mail_once(pair):
    pair.first.faults.stage(Fault.json(401, {}), times=None)

    async def scenario():
        async with pair.open() as providers:
            text = recipients_text()
            readers = [Recipient(email=f"reader{n}@example.com") for n in range(5)]
            outcomes = [one async for one in providers.email.send_campaign(text, readers, idempotency_key="spring")]
            assert [one.state for one in outcomes] == [SendState.SENT] * 5

    run(scenario)
    assert pair.accepted == (0, 5)


def test_a_campaign_whose_reply_is_lost_goes_to_nobody_twice(pair):
    pair.first.faults.stage(Fault.RESET_AFTER, match=("POST", "/v3/mail/send"))

    async def scenario():
        async with pair.open() as providers:
            text = recipients_text()
            readers = [Recipient(email=f"reader{n}@example.com") for n in range(5)]
            for _ in range(2):
                outcomes = [one async for one in providers.email.send_campaign(text, readers, idempotency_key="spring")]
                assert [one.state for one in outcomes] == [SendState.UNKNOWN] * 5
            status = await providers.email.campaign("spring")
            assert status.unknown == 5
            found = [one async for one in status.unknowns()]
            assert {one.recipient for one in found} == {one.email for one in readers}
            await status.resolve("reader0@example.com", "sent")
            await status.resolve("reader1@example.com", "resend")
            outcomes = [one async for one in providers.email.send_campaign(text, readers, idempotency_key="spring")]
            assert [one.state for one in outcomes[:3]] == [SendState.EARLIER, SendState.SENT, SendState.UNKNOWN]
            assert (await providers.email.campaign("spring")).unknown == 3

    run(scenario)
    assert pair.accepted == (6, 0)


def recipients_text():
    from providers.email import EmailMessage

    return EmailMessage(subject="News", text="Hello {{email}}")


# A vendor that is down is not waited for every time.


def test_the_breaker_opens_after_five_failures_and_lets_one_call_probe(pair, mail):
    pair.first.faults.stage(Fault.json(503, {}), times=None)

    async def scenario():
        async with pair.open() as providers:
            for _ in range(4):
                assert isinstance(await providers.email.send(mail()), MessageRef)
            # Three attempts, then two: the fifth failure opened it.
            assert len(pair.first.faults.requests) <= 6
            asked = len(pair.first.faults.requests)
            await providers.email.send(mail())
            assert len(pair.first.faults.requests) == asked
            pair.clock.advance(31)
            await asyncio.gather(*(providers.email.send(mail()) for _ in range(4)))
            assert asked < len(pair.first.faults.requests) <= asked + 3
            pair.first.faults.reset()
            pair.clock.advance(31)
            await providers.email.send(mail())
            await providers.email.send(mail())
            assert len(pair.first.faults.requests) == 2

    run(scenario)
    assert pair.accepted == (2, 9)


def test_the_breaker_alone_names_itself_and_when_to_come_back(rig):
    rig.faults.stage(Fault.json(503, {}), times=None)

    async def scenario():
        async with rig.open() as providers:
            # A call is one failure or three of them.
            for _ in range(6):
                # What is asked before an order and answered is no failure: there a read alone fails in a row.
                call = rig.call(providers, "read") if rig.kind.before else rig.send(providers)
                with pytest.raises(ProviderUnavailableError) as caught:
                    await call
            error = caught.value
            assert error.code == "breaker"
            assert 0 < error.retry_after == pytest.approx(30, abs=1)
            assert (error.outcome, error.retryable) == (Outcome.NOT_APPLIED, True)

    asyncio.run(scenario())
    assert len(rig.wire) <= 6


def test_limits_and_refusals_do_not_open_the_breaker(rig):
    rig.faults.stage(Fault.json(429, {}, {"Retry-After": "3600"}), times=4)
    rig.faults.stage(Fault.json(400, {}), times=6)

    async def scenario():
        async with rig.open() as providers:
            for _ in range(4):
                with pytest.raises(RateLimitedError):
                    await rig.send(providers)
                rig.clock.advance(4000)
            for _ in range(6):
                with pytest.raises(InvalidRequestError):
                    await rig.send(providers)
            assert isinstance(await rig.send(providers), rig.kind.write.result)

    asyncio.run(scenario())


def test_retries_cost_no_real_time(rig):
    import time

    rig.faults.stage(Fault.json(429, {}, {"Retry-After": "8"}), times=2)
    begun = time.perf_counter()

    async def scenario():
        async with rig.open() as providers:
            await rig.send(providers)

    asyncio.run(scenario())
    assert rig.clock.monotonic() == pytest.approx(16)
    assert time.perf_counter() - begun < 5
