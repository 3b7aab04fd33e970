"""SES and SendGrid in either order: when the second one sends, when it must never, and what goes to both."""

import asyncio
import contextlib
import json
import socket

import pytest

from providers import Providers, RawRequest, Settings
from providers.core.errors import (
    InvalidRequestError,
    Outcome,
    ProviderTimeoutError,
    ProviderUnavailableError,
    WebhookVerificationError,
)
from providers.email import MessageRef, Recipient, SendState
from providers.testing.servers import Fault, SendGridServer, SesServer

ORDERS = ["ses,sendgrid", "sendgrid,ses"]


class Pair:
    """Both vendors' servers, which misbehave when told to."""

    def __init__(self, clock, ses, sendgrid):
        self.clock, self.vendors = clock, {"ses": ses, "sendgrid": sendgrid}
        self.base_urls = {name: server.url for name, server in self.vendors.items()}

    def open(self, order, **more):
        settings = Settings(
            mode="live",
            vendors={"email": order},
            base_urls=self.base_urls,
            environ={**self.vendors["ses"].env, **self.vendors["sendgrid"].env, **more},
            env_file=None,
        )
        return Providers(settings, clock=self.clock)

    def sides(self, order):
        return [self.vendors[name] for name in order.split(",")]

    @property
    def accepted(self):
        return {name: len(vendor.mails) for name, vendor in self.vendors.items()}


@pytest.fixture
def pair(clock):
    with SesServer(clock=clock.time) as ses, SendGridServer(clock=clock.time) as sendgrid:
        yield Pair(clock, ses, sendgrid)
        ses.release()
        sendgrid.release()


def refusal(name, status, code, text="no"):
    if name == "ses":
        return Fault.json(status, {"message": text}, {"x-amzn-errortype": code})
    return Fault.json(status, {"errors": [{"message": text, "field": None}]})


def sends(name):
    """Whether a request sends mail there."""
    return ("POST", "/v2/email/outbound" if name == "ses" else "/v3/mail/send")


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("status", "code", "tries"),
    [(401, "", 1), (403, "AccessDeniedException", 1), (429, "TooManyRequestsException", 3), (503, "", 3)],
)
def test_what_was_not_applied_goes_to_the_second_vendor(pair, mail, order, status, code, tries):
    first, second = pair.sides(order)
    first.stage(refusal(first.vendor, status, code), times=None)

    async def scenario():
        async with pair.open(order) as providers:
            ref = await providers.email.send(mail(), idempotency_key="order-1001")
            assert ref.vendor == second.vendor
            assert await providers.email.send(mail(), idempotency_key="order-1001") == ref

    asyncio.run(scenario())
    assert pair.accepted == {first.vendor: 0, second.vendor: 1}
    assert (first.request_count, second.request_count) == (tries, 1)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("MessageRejected", "Email address is not verified. The following identities failed the check"),
        ("AccountSuspendedException", "suspended"),
        ("SendingPausedException", "paused"),
        ("TooManyRequestsException", "Daily message quota exceeded."),
        ("NotFoundException", "Configuration set <shop-events> does not exist."),
    ],
)
def test_what_is_the_account_s_fault_at_ses_goes_to_the_second_vendor_at_once(pair, mail, code, text):
    pair.vendors["ses"].stage(refusal("ses", 400, code, text))

    async def scenario():
        async with pair.open("ses,sendgrid") as providers:
            assert (await providers.email.send(mail())).vendor == "sendgrid"

    asyncio.run(scenario())
    assert pair.vendors["ses"].request_count == 1


@pytest.mark.parametrize("order", ORDERS)
def test_nobody_listening_goes_to_the_second_vendor(pair, mail, order, closed_port):
    first, second = pair.sides(order)
    pair.base_urls[first.vendor] = f"http://127.0.0.1:{closed_port}"

    async def scenario():
        async with pair.open(order) as providers:
            assert (await providers.email.send(mail())).vendor == second.vendor

    asyncio.run(scenario())


@pytest.fixture
def closed_port():
    """A port on which nobody listens."""
    with contextlib.closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    "fault",
    [Fault.RESET_BEFORE, Fault.RESET_AFTER, Fault.GARBAGE, Fault.NON_JSON.after(), Fault.json(500, {}),
     Fault.json(502, {})],
    ids=["reset", "reset after", "garbage", "not JSON", "500", "502"],
)  # fmt: skip
def test_an_unknown_outcome_never_reaches_the_second_vendor(pair, mail, order, fault):
    first, second = pair.sides(order)
    first.stage(fault)

    async def scenario():
        async with pair.open(order) as providers:
            with pytest.raises(Exception) as caught:  # noqa: PT011 (the matrix has the classes)
                await providers.email.send(mail(), idempotency_key="order-1001")
            assert caught.value.may_have_applied
            assert caught.value.vendor == first.vendor
            with pytest.raises(ProviderUnavailableError):
                await providers.email.send(mail(), idempotency_key="order-1001")
            (unknown,) = [one async for one in providers.unknowns.unknown()]
            assert (unknown.vendor, unknown.key) == (first.vendor, "order-1001")

    asyncio.run(scenario())
    assert (first.request_count, second.request_count) == (1, 0)


@pytest.mark.parametrize("order", ORDERS)
def test_a_timeout_after_sending_never_reaches_the_second_vendor(pair, mail, order):
    first, second = pair.sides(order)
    first.stage(Fault.SLOW_HEADERS)

    async def scenario():
        async with pair.open(order) as providers:
            task = asyncio.create_task(providers.email.send(mail()))
            await first.received(1)
            pair.clock.advance(10)
            with pytest.raises(ProviderTimeoutError) as caught:
                await task
            assert caught.value.outcome is Outcome.UNKNOWN
            first.release()

    asyncio.run(scenario())
    assert second.request_count == 0


def test_unknown_then_throttled_at_ses_is_unknown_still(pair, mail):
    pair.vendors["ses"].stage(refusal("ses", 429, "TooManyRequestsException"))
    pair.vendors["ses"].stage(Fault.RESET_AFTER)

    async def scenario():
        async with pair.open("ses,sendgrid") as providers:
            with pytest.raises(ProviderUnavailableError) as caught:
                await providers.email.send(mail())
            assert caught.value.may_have_applied

    asyncio.run(scenario())
    assert pair.accepted == {"ses": 1, "sendgrid": 0}


@pytest.mark.parametrize("order", ORDERS)
def test_a_wrong_request_is_not_tried_at_the_second_vendor(pair, mail, order):
    first, second = pair.sides(order)
    first.stage(refusal(first.vendor, 400, "BadRequestException"))

    async def scenario():
        async with pair.open(order) as providers:
            with pytest.raises(InvalidRequestError):
                await providers.email.send(mail())

    asyncio.run(scenario())
    assert (first.request_count, second.request_count) == (1, 0)


READERS = [Recipient(email=f"reader{n}@example.com", name=f"Reader {n}") for n in range(7)]


async def outcomes_of(providers, message, readers=READERS):
    return [one async for one in providers.email.send_campaign(message, readers, idempotency_key="spring")]


@pytest.mark.parametrize("order", ORDERS)
def test_a_campaign_fails_over_and_everybody_has_one_mail(pair, mail, order):
    first, second = pair.sides(order)
    first.stage(refusal(first.vendor, 403, "AccessDeniedException"), times=None, match=sends(first.vendor))

    async def scenario():
        async with pair.open(order) as providers:
            # The smaller batch of the two is what both can take.
            assert providers.email.batch_size == 50
            outcomes = await outcomes_of(providers, mail(to=(), subject="News", text="Hello {{name}}"))
            assert [one.state for one in outcomes] == [SendState.SENT] * 7
            assert {one.ref.vendor for one in outcomes} == {second.vendor}

    asyncio.run(scenario())
    assert pair.accepted == {first.vendor: 0, second.vendor: 7}


def test_a_batch_of_which_ses_took_nothing_goes_to_the_second_vendor(pair, mail):
    pair.vendors["ses"].statuses.update({one.email: "ACCOUNT_SENDING_PAUSED" for one in READERS})

    async def scenario():
        async with pair.open("ses,sendgrid") as providers:
            outcomes = await outcomes_of(providers, mail(to=(), subject="News", text="Hello {{name}}"))
            assert {(one.state, one.ref.vendor) for one in outcomes} == {(SendState.SENT, "sendgrid")}

    asyncio.run(scenario())
    assert pair.accepted == {"ses": 0, "sendgrid": 7}


def test_a_batch_whose_reply_is_lost_goes_to_nobody_twice(pair, mail):
    pair.vendors["ses"].stage(Fault.RESET_AFTER, match=sends("ses"))

    async def scenario():
        async with pair.open("ses,sendgrid") as providers:
            message = mail(to=(), subject="News", text="Hello {{name}}")
            for _ in range(2):
                assert {one.state for one in await outcomes_of(providers, message)} == {SendState.UNKNOWN}

    asyncio.run(scenario())
    assert pair.accepted == {"ses": 7, "sendgrid": 0}


@pytest.mark.parametrize("order", ORDERS)
def test_an_address_is_suppressed_and_freed_at_both(pair, mail, order):
    async def scenario():
        async with pair.open(order) as providers:
            email = providers.email
            await email.suppress("ana@example.com")
            for vendor in ("ses", "sendgrid"):
                assert [one.email async for one in email.suppressions(vendor=vendor)] == ["ana@example.com"]
            outcomes = await outcomes_of(providers, mail(to=(), text="Hi"), [Recipient(email="ana@example.com")])
            assert [one.state for one in outcomes] == [SendState.SUPPRESSED]
            await email.unsuppress("ana@example.com")
            for vendor in ("ses", "sendgrid"):
                assert [one async for one in email.suppressions(vendor=vendor)] == []

    asyncio.run(scenario())
    assert sum(pair.accepted.values()) == 0


@pytest.mark.parametrize("order", ORDERS)
def test_a_webhook_finds_the_adapter_that_knows_it_and_status_asks_who_sent_it(pair, mail, order):
    first, _ = pair.sides(order)

    async def scenario():
        async with pair.open(order) as providers:
            ref = await providers.email.send(mail())
            assert isinstance(ref, MessageRef)
            assert ref.vendor == first.vendor
            assert (await providers.email.status(ref)).recipient == "ana@example.com"
            ses = pair.vendors["ses"]
            event = {"eventType": "Delivery", "mail": {"messageId": "m-1", "destination": ["ana@example.com"]}}
            headers, body = ses.signed_request(event)
            (found,) = (await providers.email.webhook(RawRequest(body=body, headers=headers))).events
            assert (found.vendor, found.message_id) == ("ses", "m-1")
            headers, body = pair.vendors["sendgrid"].signed_request(
                [{"event": "delivered", "email": "ana@example.com", "sg_event_id": "1", "sg_message_id": "m-2"}]
            )
            (found,) = (await providers.email.webhook(RawRequest(body=body, headers=headers))).events
            assert (found.vendor, found.message_id) == ("sendgrid", "m-2")
            with pytest.raises(WebhookVerificationError):
                await providers.email.webhook(RawRequest(body=json.dumps([]).encode()))

    asyncio.run(scenario())
