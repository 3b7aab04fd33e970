"""Tenants side by side: with keys of their own they share connections only; without, they have the platform's."""

import asyncio
from contextlib import ExitStack, aclosing
from decimal import Decimal

import pytest

from providers import Providers, Settings
from providers.core.store import MemoryStore
from providers.core.transport_aiohttp import AiohttpTransport
from providers.errors import BudgetExceededError, ConfigurationError, ProviderError, RateLimitedError
from providers.llm import CompletionRequest, Message
from providers.testing.clock import ManualClock
from providers.testing.servers import AnthropicServer, Fault, GatewayServer

ANTHROPIC = "https://api.anthropic.com"
MESSAGES = ("POST", "/v1/messages")


class Switchboard(AiohttpTransport):
    """One host for all accounts, as the vendor is: what is asked with a key goes to that account's server."""

    def __init__(self, servers):
        super().__init__()
        self.servers = servers

    def _placed(self, request):
        if request.url.startswith(ANTHROPIC):
            key = request.headers["Authorization"].removeprefix("Bearer ")
            (server,) = [each for each in self.servers if each.api_key == key]
            request.url = server.url + request.url.removeprefix(ANTHROPIC)
        return request

    async def send(self, request):
        return await super().send(self._placed(request))

    async def stream(self, request):
        return await super().stream(self._placed(request))


class Accounts:
    """The platform's gateway; and three accounts at Anthropic: the platform's, and one of each of two tenants."""

    def __init__(self, gateway, servers, clock):
        self.gateway = gateway
        self.platform, self.one, self.two = self.servers = servers
        self.clock = clock
        self.store = MemoryStore(clock)
        self.transport = Switchboard(servers)

    def open(self, vendors="anthropic", **settings):
        environ = {**self.gateway.env, "ANTHROPIC_API_KEY": self.platform.api_key}
        settings = Settings(mode="live", vendors={"llm": vendors}, environ=environ, env_file=None, **settings)
        return Providers(settings, clock=self.clock, store=self.store, transport=self.transport)

    def views(self, p):
        return [p, self.scoped(p, "m-1", self.one), self.scoped(p, "m-2", self.two)]

    @staticmethod
    def scoped(p, name, server, **more):
        return p.scoped(name, credentials={"ANTHROPIC_API_KEY": server.api_key}, **more)

    @property
    def asked(self):
        return [len(server.messages) for server in self.servers]


@pytest.fixture
def accounts():
    clock = ManualClock()
    with ExitStack() as stack:
        gateway = stack.enter_context(GatewayServer(clock=clock.time))
        servers = [
            stack.enter_context(AnthropicServer(clock=clock.time, api_key=f"sk-ant-of-account-{number}"))
            for number in range(3)
        ]
        yield Accounts(gateway, servers, clock)


# With keys of their own.


def test_each_asks_with_its_own_key_also_at_once(accounts):
    for number, server in enumerate(accounts.servers):
        server.script(*[f"I am number {number}."] * 2)

    async def streamed(view):
        return [event async for event in view.llm.stream("Who are you?")][-1].completion

    async def scenario():
        async with accounts.open() as p:
            views = accounts.views(p)
            whole = [view.llm.complete("Who are you?") for view in views]
            return await asyncio.gather(*whole, *map(streamed, views))

    answers = asyncio.run(scenario())
    assert [answer.text for answer in answers] == [f"I am number {number}." for number in range(3)] * 2
    assert accounts.asked == [2, 2, 2]


def test_each_has_limits_and_a_breaker_of_its_own(accounts):
    async def scenario():
        async with accounts.open() as p:
            for view in accounts.views(p):
                await view.llm.complete("Hello")
            targets = [view.llm.route.targets[0] for view in accounts.views(p)]
            return len({target.account for target in targets}), len({id(target.guards) for target in targets})

    assert asyncio.run(scenario()) == (3, 3)


def test_what_one_reads_is_not_kept_for_another(accounts):
    async def scenario():
        async with accounts.open() as p:
            for _ in range(2):
                for view in accounts.views(p):
                    assert await view.llm.models()

    asyncio.run(scenario())
    assert [[request.path for request in server.requests] for server in accounts.servers] == [["/v1/models"]] * 3


def test_a_key_of_one_is_not_a_key_of_another(accounts):
    requests = {"one": CompletionRequest(messages=(Message.user("Hello"),))}

    async def scenario():
        async with accounts.open() as p:
            views = accounts.views(p)
            first = [await view.llm.create_batch(requests, idempotency_key="night-1") for view in views]
            again = [await view.llm.create_batch(requests, idempotency_key="night-1") for view in views]
            return [batch.ref for batch in first], [batch.ref for batch in again]

    first, again = asyncio.run(scenario())
    assert first == again
    assert len(set(first)) == 3
    assert [len(server.requests) for server in accounts.servers] == [1, 1, 1]


def test_a_limit_of_one_holds_up_nobody_else(accounts):
    refused = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}
    accounts.one.stage(Fault.json(429, refused, {"Retry-After": "3600"}), times=None)

    async def scenario():
        async with accounts.open() as p:
            platform, one, two = accounts.views(p)
            for _ in range(2):
                with pytest.raises(RateLimitedError):
                    await one.llm.complete("Hello")
            for view in (platform, two):
                await view.llm.complete("Hello")

    asyncio.run(scenario())
    assert accounts.clock.slept == []
    assert accounts.asked == [1, 0, 1]
    assert len(accounts.one.requests) == 1


def test_an_account_that_is_down_is_left_alone_and_the_others_are_not(accounts):
    accounts.one.stage(Fault.json(503, {}), times=None)

    async def scenario():
        async with accounts.open() as p:
            _, one, two = accounts.views(p)
            for _ in range(3):
                with pytest.raises(ProviderError) as caught:
                    await one.llm.complete("Hello")
            assert (caught.value.code, caught.value.tenant) == ("breaker", "m-1")
            await two.llm.complete("Hello")

    asyncio.run(scenario())
    assert accounts.asked == [0, 0, 1]


def test_a_stream_of_one_that_breaks_off_is_its_own(accounts):
    accounts.one.break_after(5)

    async def scenario():
        async with accounts.open() as p:
            _, one, two = accounts.views(p)
            streams = [view.llm.stream("Count.", effort="low") for view in (one, two)]
            return [[event async for event in stream][-1] for stream in streams]

    broken, whole = asyncio.run(scenario())
    assert (broken.type, broken.error.tenant) == ("error", "m-1")
    assert whole.type == "end"


def test_what_one_spends_of_its_own_is_not_the_platform_s_budget(accounts):
    async def scenario():
        async with accounts.open(budgets={"llm": "0.01 USD/month"}) as p:
            _, one, _ = accounts.views(p)
            with pytest.raises(BudgetExceededError):
                await p.llm.complete("Hello", max_tokens=1000)
            for _ in range(5):
                await one.llm.complete("Hello", max_tokens=1000)

    asyncio.run(scenario())
    assert accounts.asked == [0, 5, 0]


def test_one_with_a_limit_on_its_own_account_stops_there_and_the_others_go_on(accounts):
    async def scenario():
        async with accounts.open() as p:
            one = accounts.scoped(p, "m-1", accounts.one, budgets={"anthropic": "2/day"})
            two = accounts.scoped(p, "m-2", accounts.two)
            for _ in range(2):
                await one.llm.complete("Hello")
            with pytest.raises(BudgetExceededError) as caught:
                await one.llm.complete("Hello")
            for _ in range(3):
                await two.llm.complete("Hello")
            return caught.value

    assert asyncio.run(scenario()).tenant == "m-1"
    assert accounts.asked == [0, 2, 3]


@pytest.mark.parametrize("credentials", [{}, {"ANTHROPIC_MODEL": "claude-sonnet-5-5"}])
def test_one_without_a_key_among_its_own_never_asks_with_the_platform_s(accounts, credentials):
    async def scenario():
        async with accounts.open() as p:
            with pytest.raises(ConfigurationError, match="ANTHROPIC_API_KEY"):
                await p.scoped("m-1", credentials=credentials).llm.complete("Hello")

    asyncio.run(scenario())
    assert accounts.asked == [0, 0, 0]


def test_one_may_ask_directly_while_everyone_else_goes_through_the_gateway(accounts):
    async def scenario():
        async with accounts.open("gateway") as p:
            own = accounts.scoped(p, "m-1", accounts.one, vendors={"llm": "anthropic"})
            return [(await view.llm.complete("Hello")).vendor for view in (own, p, p.scoped("m-2"))]

    assert asyncio.run(scenario()) == ["anthropic", "gateway", "gateway"]
    assert accounts.asked == [0, 1, 0]


# Without.


def test_the_platform_s_gateway_serves_tenants_in_their_names(accounts):
    async def scenario():
        async with accounts.open("gateway", service="shop") as p:
            for view in (p.scoped("m-1"), p.scoped("m-2"), p):
                await view.llm.complete(f"Hello from {view!r}")
            await p.scoped("m-1").llm.complete("A customer's", user_id="customer-7", service="blog", task="copy")
            await p.scoped("m-2").llm.complete_json("A number", int)

    asyncio.run(scenario())
    assert [(use.user_id, use.service, use.task_type) for use in accounts.gateway.usage] == [
        ("m-1", "shop", "general"),
        ("m-2", "shop", "general"),
        ("system", "shop", "general"),
        ("customer-7", "blog", "copy"),
        ("m-2", "shop", "general"),
    ]
    assert {request.headers["X-Service-Key"] for request in accounts.gateway.requests} == {accounts.gateway.service_key}


def test_tenants_of_the_platform_s_account_share_its_pause(accounts):
    accounts.gateway.stage(Fault.json(429, {"detail": "Rate limit exceeded for provider 'claude'"}))

    async def scenario():
        async with accounts.open("gateway") as p:
            with pytest.raises(RateLimitedError):
                await p.scoped("m-1").llm.complete("Hello", timeout=30)
            with pytest.raises(RateLimitedError) as caught:
                await p.scoped("m-2").llm.complete("Hello", timeout=30)
            return caught.value.retry_after

    # A call would only make it longer.
    assert asyncio.run(scenario()) == 61
    assert len(accounts.gateway.requests) == 1


async def spend(llm, name):
    """Ask until a budget stops it: what it cost."""
    spent = Decimal(0)
    for number in range(1000):
        try:
            spent += (await llm.complete(f"Plum jam, number {number} of {name}", max_tokens=1000)).cost.amount
        except BudgetExceededError:
            return spent
    return pytest.fail("no budget stopped it")


def test_each_tenant_has_its_own_share_of_the_platform_s_money(accounts):
    accounts.gateway.answer("word " * 900, times=None)
    share = Decimal("0.2")

    async def scenario():
        async with accounts.open("gateway", budgets={"llm": "0.50 USD/month, 0.20 USD/day per tenant"}) as p:
            first, second = [await spend(p.scoped(name).llm, name) for name in ("m-1", "m-2")]
            again = await spend(p.scoped("m-1").llm, "m-1 again")
            third = await spend(p.scoped("m-3").llm, "m-3")
            accounts.clock.advance(9 * 86_400)
            return first, second, again, third, await spend(p.scoped("m-1").llm, "m-1 in December")

    first, second, again, third, december = asyncio.run(scenario())
    assert 0 < first <= share
    assert 0 < second <= share
    assert again == 0
    # What is left of the month is less than a share.
    assert third < share
    assert first + second + third <= Decimal("0.5")
    assert 0 < december <= share


def test_a_tenant_that_leaves_a_stream_early_pays_for_what_came(accounts):
    accounts.platform.script("one two three four five six seven eight nine ten")

    async def scenario():
        async with accounts.open(budgets={"llm": "0.02 USD/day per tenant"}) as p:
            llm = p.scoped("m-1").llm
            for _ in range(3):
                # Each might cost half of a day's money.
                async with aclosing(llm.stream("Count.", max_tokens=900, effort="low")) as events:
                    async for _ in events:
                        break

    asyncio.run(scenario())
    (counted,) = [total for total, _ in accounts.store._counters.values()]
    assert 0 < counted < 6000
