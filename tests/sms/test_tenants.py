"""Two accounts side by side: nothing is shared but connections."""

import asyncio
from contextlib import ExitStack

import pytest

from providers import Providers, RawRequest, Settings
from providers.core.store import MemoryStore
from providers.core.transport_aiohttp import AiohttpTransport
from providers.errors import ProviderError, RateLimitedError, RejectedError, WebhookVerificationError
from providers.sms import SmsEventType, SmsMessage
from providers.testing.clock import ManualClock
from providers.testing.servers import Fault, TwilioServer

PERSON = "+15551230001"
CALLBACK = "https://shop.example.com/hooks/twilio"
TEXT = SmsMessage(to=PERSON, body="Your order has shipped.")


class Switchboard(AiohttpTransport):
    """One host for all accounts, as the vendor is: what is said to an account goes to its server."""

    def __init__(self, servers):
        super().__init__()
        self.servers = servers

    async def send(self, request):
        (server,) = [each for each in self.servers if each.account_sid in request.url]
        request.url = server.url + request.url.removeprefix("https://api.twilio.com")
        return await super().send(request)


class Accounts:
    """Three accounts: the platform's, and one of each of two tenants."""

    def __init__(self, servers, clock):
        self.platform, self.one, self.two = self.servers = servers
        self.clock = clock
        self.store = MemoryStore(clock)

    @staticmethod
    def credentials(server):
        return {name: value for name, value in server.env.items() if name.startswith("TWILIO_")}

    def open(self):
        settings = Settings(mode="live", credentials=self.credentials(self.platform), environ={}, env_file=None)
        return Providers(settings, clock=self.clock, store=self.store, transport=Switchboard(self.servers))

    def views(self, p):
        return [
            p,
            p.scoped("m-1", credentials=self.credentials(self.one)),
            p.scoped("m-2", credentials=self.credentials(self.two)),
        ]

    @property
    def sent(self):
        return [len(server.messages) for server in self.servers]


@pytest.fixture
def accounts():
    clock = ManualClock()
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                TwilioServer(
                    clock=clock.time,
                    account_sid=f"AC{number:032x}",
                    auth_token=f"token-of-account-{number}",
                    phone_number=f"+1500555{number:04}",
                    callback_url=CALLBACK,
                )
            )
            for number in (1, 2, 3)
        ]
        yield Accounts(servers, clock)


def webhook(server, fields=None):
    """A text that somebody sent to the account, as it comes to us."""
    fields = {
        "MessageSid": "SM" + "1" * 32,
        "SmsSid": "SM" + "1" * 32,
        "AccountSid": server.account_sid,
        "From": PERSON,
        "To": server.phone_number,
        "Body": "STOP",
        "NumSegments": "1",
        "SmsStatus": "received",
        "ApiVersion": "2010-04-01",
        **(fields or {}),
    }
    url, headers, body = server.signed_request(CALLBACK, fields)
    return RawRequest(url=url, headers=headers, body=body)


async def unknowns(p):
    return [write async for write in p.unknowns.unknown()]


def test_each_sends_from_its_own_account_and_number(accounts):
    async def scenario():
        async with accounts.open() as p:
            return [await view.sms.send(TEXT) for view in accounts.views(p)]

    sent = asyncio.run(scenario())
    for server, text in zip(accounts.servers, sent, strict=True):
        (message,) = server.messages
        assert (message.sid, message.sender) == (text.ref.id, server.phone_number)


def test_a_key_of_one_is_not_a_key_of_another(accounts):
    async def scenario():
        async with accounts.open() as p:
            views = accounts.views(p)
            first = [await view.sms.send(TEXT, idempotency_key="order-1") for view in views]
            again = [await view.sms.send(TEXT, idempotency_key="order-1") for view in views]
            return [text.ref for text in first], [text.ref for text in again]

    first, again = asyncio.run(scenario())
    assert first == again
    assert len(set(first)) == 3
    assert accounts.sent == [1, 1, 1]


def test_who_opted_out_of_one_gets_texts_of_the_others(accounts):
    async def scenario():
        async with accounts.open() as p:
            platform, one, two = accounts.views(p)
            await one.sms.opt_out(PERSON)
            with pytest.raises(RejectedError):
                await one.sms.send(TEXT)
            for view in (platform, two):
                await view.sms.send(TEXT)
            return [[entry.number async for entry in view.sms.opt_outs()] for view in (platform, one, two)]

    assert asyncio.run(scenario()) == [[], [PERSON], []]
    assert accounts.sent == [1, 0, 1]


def test_a_vendor_s_refusal_is_learned_for_that_account_only(accounts):
    accounts.one.outcomes[PERSON] = "21610"

    async def scenario():
        async with accounts.open() as p:
            _, one, two = accounts.views(p)
            for _ in range(2):
                with pytest.raises(RejectedError):
                    await one.sms.send(TEXT)
            await two.sms.send(TEXT)

    asyncio.run(scenario())
    assert accounts.sent == [0, 0, 1]
    assert len(accounts.one.requests) == 1


def test_a_webhook_is_its_own_account_s_and_nobody_else_s(accounts):
    async def scenario():
        async with accounts.open() as p:
            platform, one, two = accounts.views(p)
            request = webhook(accounts.one)
            for view in (platform, two):
                with pytest.raises(WebhookVerificationError):
                    await view.sms.webhook(request)
            result = await one.sms.webhook(request)
            assert [event.type for event in result.events] == [SmsEventType.OPTED_OUT]
            with pytest.raises(RejectedError):
                await one.sms.send(TEXT)
            await two.sms.send(TEXT)

    asyncio.run(scenario())
    assert accounts.sent == [0, 0, 1]


def test_a_webhook_that_one_account_signed_about_another_is_refused(accounts):
    async def scenario():
        async with accounts.open() as p:
            _, one, two = accounts.views(p)
            request = webhook(accounts.one, {"AccountSid": accounts.two.account_sid})
            for view in (one, two):
                with pytest.raises(WebhookVerificationError):
                    await view.sms.webhook(request)

    asyncio.run(scenario())


def test_what_is_unknown_of_one_is_looked_for_in_its_own_account_and_nobody_else_s(accounts):
    accounts.one.stage(
        Fault.RESET_BEFORE, match=("POST", f"/2010-04-01/Accounts/{accounts.one.account_sid}/Messages.json")
    )

    async def scenario():
        async with accounts.open() as p:
            platform, one, two = accounts.views(p)
            # The same words to the same number, a moment before, from others.
            for view in (platform, two):
                await view.sms.send(TEXT, idempotency_key="order-1")
            with pytest.raises(ProviderError) as caught:
                await one.sms.send(TEXT, idempotency_key="order-1")
            assert caught.value.may_have_applied
            assert caught.value.tenant == "m-1"
            (write,) = await unknowns(p)
            assert (write.tenant, write.key, write.vendor) == ("m-1", "order-1", "twilio")

    asyncio.run(scenario())
    assert accounts.sent == [1, 0, 1]
    assert [[request.method for request in server.requests] for server in accounts.servers] == [
        ["POST"],
        ["POST", "GET"],
        ["POST"],
    ]


def test_tenants_of_one_account_do_not_find_each_other_s_texts(accounts):
    """Without accounts of their own they share the platform's, and its list of texts."""
    post = ("POST", f"/2010-04-01/Accounts/{accounts.platform.account_sid}/Messages.json")

    async def scenario():
        async with accounts.open() as p:
            one, two = p.scoped("m-1"), p.scoped("m-2")
            accounts.platform.stage(Fault.RESET_AFTER, match=post)
            first = await one.sms.send(TEXT, idempotency_key="order-1")
            accounts.platform.stage(Fault.RESET_BEFORE, match=post)
            with pytest.raises(ProviderError) as caught:
                await two.sms.send(TEXT, idempotency_key="order-1")
            assert caught.value.may_have_applied
            return first, [write.tenant for write in await unknowns(p)]

    first, listed = asyncio.run(scenario())
    assert first.ref.id == accounts.platform.messages[0].sid
    assert listed == ["m-2"]
    assert accounts.sent == [1, 0, 0]


def test_a_limit_of_one_holds_up_nobody_else(accounts):
    refused = Fault.json(429, {"code": 20429, "message": "too fast", "status": 429}, {"Retry-After": "3600"})
    accounts.one.stage(refused, times=None)

    async def scenario():
        async with accounts.open() as p:
            platform, one, two = accounts.views(p)
            for _ in range(2):
                with pytest.raises(RateLimitedError):
                    await one.sms.send(TEXT)
            for view in (platform, two):
                await view.sms.send(TEXT)

    asyncio.run(scenario())
    assert accounts.clock.slept == []
    assert accounts.sent == [1, 0, 1]


def test_an_account_that_is_down_is_left_alone_and_the_others_are_not(accounts):
    accounts.one.stage(Fault.json(503, {}), times=None)

    async def scenario():
        async with accounts.open() as p:
            _, one, two = accounts.views(p)
            for _ in range(3):
                with pytest.raises(ProviderError) as caught:
                    await one.sms.send(TEXT)
            assert caught.value.code == "breaker"
            await two.sms.send(TEXT)

    asyncio.run(scenario())
    assert accounts.sent == [0, 0, 1]


def test_a_tenant_with_an_incomplete_account_never_sends_from_the_platform_s(accounts):
    async def scenario():
        async with accounts.open() as p:
            for credentials in ({"TWILIO_ACCOUNT_SID": accounts.one.account_sid}, {"TWILIO_AUTH_TOKEN": "x"}):
                with pytest.raises(ProviderError, match="TWILIO_"):
                    await p.scoped("m-1", credentials=credentials).sms.send(TEXT)

    asyncio.run(scenario())
    assert accounts.sent == [0, 0, 0]
