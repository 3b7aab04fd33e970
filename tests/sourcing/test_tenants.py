"""Accounts side by side at real suppliers' servers: shared are connections, and answers that are the same for all."""

import asyncio
import json
from contextlib import ExitStack
from decimal import Decimal
from urllib.parse import parse_qs

import pytest

from providers import Providers, RawRequest, Settings
from providers.core.store import MemoryStore
from providers.core.transport_aiohttp import AiohttpTransport
from providers.errors import (
    ConfigurationError,
    CredentialRevokedError,
    NotFoundError,
    ProviderError,
    ProviderUnavailableError,
    QuotaExceededError,
    RateLimitedError,
    WebhookVerificationError,
)
from providers.sourcing import OrderRequest
from providers.testing import servers
from providers.testing.servers import Fault

AE_PRODUCT, CJ_PRODUCT = "aliexpress:1005001234567890", "cjdropshipping:1400000000000000001"
AE_CREATE = "aliexpress.ds.order.create"
CJ = "/api2.0/v1/"
CJ_CREATE = ("POST", CJ + "shopping/order/createOrderV2")
ADDRESS = {
    "name": "Ana Silva",
    "line1": "1 Main Street",
    "city": "Austin",
    "region": "Texas",
    "postal_code": "78701",
    "country": "US",
    "phone": "+15125550123",
}
LOOK = {"country": "US", "shipping": False}


def order(ref, key="order-7"):
    return OrderRequest(items=({"ref": ref},), address=ADDRESS, idempotency_key=key)


class AliExpressHost(AiohttpTransport):
    """One host for all accounts, as the vendor is: who is meant is told by the tokens in the form."""

    def __init__(self, accounts):
        super().__init__()
        self.accounts = accounts

    async def send(self, request):
        form = {name: values[0] for name, values in parse_qs(request.content.decode()).items()}
        token = form.get("session") or form.get("refresh_token")
        (server,) = [one for one in self.accounts if token in {one.access_token, one.refresh_token, *one.old}]
        request.url = server.url + request.url.removeprefix("https://api-sg.aliexpress.com")
        return await super().send(request)


class CjHost(AiohttpTransport):
    """Likewise, by the key, and by the access tokens that were given for it."""

    def __init__(self, accounts):
        super().__init__()
        self.accounts = {one.api_key: one for one in accounts}

    async def send(self, request):
        told = json.loads(request.content) if request.content else {}
        token = request.headers.get("CJ-Access-Token") or told.get("apiKey") or told.get("refreshToken")
        server = self.accounts[token]
        request.url = server.url + request.url.removeprefix("https://developers.cjdropshipping.com")
        response = await super().send(request)
        given = json.loads(response.content).get("data")
        if "/authentication/" in request.url and given:
            self.accounts |= dict.fromkeys((given["accessToken"], given["refreshToken"]), server)
        return response


class Accounts:
    """Three accounts: the platform's, and one of each of two tenants."""

    def __init__(self, accounts, clock, host, prefix, shared=()):
        self.platform, self.one, self.two = self.servers = accounts
        self.vendor, self.clock = self.platform.vendor, clock
        self._host, self._prefix, self._shared = host, prefix, shared
        self.store = MemoryStore(clock)

    def credentials(self, server):
        """What a tenant brings: nothing of the application's."""
        return {
            name: value
            for name, value in server.env.items()
            if name.startswith(self._prefix) and (name not in self._shared or server is self.platform)
        }

    def open(self, **environ):
        settings = Settings(
            mode="live",
            vendors={"sourcing": self.vendor},
            credentials=self.credentials(self.platform),
            environ={f"PROVIDER_RATE_{self.vendor.upper()}": "1000000000/second", **environ},
            env_file=None,
        )
        host = self._host(self.servers)
        return Providers(settings, clock=self.clock, store=self.store, transport=host, hooks=())

    def views(self, p):
        return [
            p,
            p.scoped("m-1", credentials=self.credentials(self.one)),
            p.scoped("m-2", credentials=self.credentials(self.two)),
        ]

    @property
    def ordered(self):
        return [len(server.orders) for server in self.servers]

    def asked(self, what):
        """How often each was asked: a method of AliExpress', a path of CJ's."""
        return [
            sum(request.path == what or f"method={what}&".encode() in request.body for request in server.requests)
            for server in self.servers
        ]


@pytest.fixture
def aliexpress(clock):
    with ExitStack() as stack:
        accounts = [
            stack.enter_context(
                servers.AliExpressServer(
                    clock=clock.time,
                    access_token=f"50000000access-of-account-{number}",
                    refresh_token=f"50001000refresh-of-account-{number}",
                    tracking_id=tracking,
                )
            )
            for number, tracking in ((1, "platform_links"), (2, "tenant_links"), (3, None))
        ]
        for one in accounts:
            one.old = {one.access_token, one.refresh_token}
        shared = ("ALIEXPRESS_APP_KEY", "ALIEXPRESS_APP_SECRET")
        yield Accounts(accounts, clock, AliExpressHost, "ALIEXPRESS_", shared)


@pytest.fixture
def cj(clock):
    with ExitStack() as stack:
        accounts = [
            stack.enter_context(
                servers.CjServer(
                    clock=clock.time,
                    api_key=f"CJ000000{number}@api@key-of-account-{number}",
                    email=f"owner{number}@example.com",
                    open_id=1_000_000 + number,
                )
            )
            for number in (1, 2, 3)
        ]
        yield Accounts(accounts, clock, CjHost, "CJDROPSHIP_")


@pytest.fixture(params=["aliexpress", "cj"])
def accounts(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def product(accounts):
    return AE_PRODUCT if accounts.vendor == "aliexpress" else CJ_PRODUCT


async def failed(call):
    with pytest.raises(ProviderError) as caught:
        await call
    return caught.value


async def unknowns(p):
    return [(write.tenant, write.key) async for write in p.unknowns.unknown()]


# Both.


def test_each_orders_from_its_own_account_and_a_key_of_one_is_not_a_key_of_another(accounts, product):
    async def scenario():
        async with accounts.open() as p:
            views = accounts.views(p)
            first = [await view.sourcing.place_order(order(product)) for view in views]
            again = [await view.sourcing.place_order(order(product)) for view in views]
            return [placed.refs for placed in first], [placed.refs for placed in again]

    first, again = asyncio.run(scenario())
    assert first == again
    assert accounts.ordered == [1, 1, 1]
    for server, refs in zip(accounts.servers, first, strict=True):
        (made,) = server.orders
        assert [ref.id for ref in refs] == [made.order_id if accounts.vendor == "aliexpress" else made.id]


def test_tenants_that_order_on_the_platform_s_account_do_not_meet_there(accounts, product):
    """Without accounts of their own: the same key, three orders, three numbers at the supplier."""

    async def scenario():
        async with accounts.open() as p:
            views = [p, p.scoped("m-1"), p.scoped("m-2")]
            for _ in range(2):
                for view in views:
                    await view.sourcing.place_order(order(product, "order/7"))
                    await view.sourcing.place_order(order(product, "order-7"))

    asyncio.run(scenario())
    assert accounts.ordered == [6, 0, 0]
    made = accounts.platform.orders
    numbers = [one.out_order_id if accounts.vendor == "aliexpress" else one.number for one in made]
    assert len(set(numbers)) == 6
    # Of its own orders the platform keeps the key where that will do.
    assert numbers.count("order-7") == 1
    assert all(len(number) <= 50 for number in numbers)


def test_a_tenant_with_an_incomplete_account_never_uses_the_platform_s(accounts, product):
    given = {"ALIEXPRESS_TRACKING_ID": "tenant_links", "CJDROPSHIP_EMAIL": "owner2@example.com"}
    missing = {"aliexpress": "ALIEXPRESS_ACCESS_TOKEN", "cjdropshipping": "CJDROPSHIP_API_KEY"}[accounts.vendor]

    async def scenario():
        async with accounts.open() as p:
            with pytest.raises(ConfigurationError, match=missing):
                await p.scoped("m-1", credentials=given).sourcing.place_order(order(product))

    asyncio.run(scenario())
    assert [server.request_count for server in accounts.servers] == [0, 0, 0]


def test_what_a_source_gives_is_used_and_gets_only_its_own_tokens_back(accounts):
    """Fresh credentials of two tenants that are kept in a service's rows."""

    class Row:
        def __init__(self, values):
            self.values, self.back = values, {}

        async def get(self, vendor):
            return self.values

        async def put(self, vendor, values):
            self.back |= values

    rows = [Row(accounts.credentials(server)) for server in (accounts.one, accounts.two)]

    async def scenario():
        for server in accounts.servers:
            server.expire_token()
        async with accounts.open() as p:
            for name, row in zip(("m-1", "m-2"), rows, strict=True):
                await p.scoped(name, credentials=row).sourcing.search(f"yoga mat {name}", country="US")

    asyncio.run(scenario())
    assert accounts.platform.request_count == 0
    for server, row in zip((accounts.one, accounts.two), rows, strict=True):
        if accounts.vendor == "aliexpress":
            assert row.back == {
                "ALIEXPRESS_ACCESS_TOKEN": server.access_token,
                "ALIEXPRESS_REFRESH_TOKEN": server.refresh_token,
            }
        else:
            assert row.back["CJDROPSHIP_OPEN_ID"] == str(server.open_id)
            assert (server.issued, server.refreshes) == (1, 0)
    assert not set(rows[0].back.values()) & set(rows[1].back.values())


def test_an_account_that_is_down_is_left_alone_and_the_others_are_not(accounts, product):
    async def scenario():
        async with accounts.open() as p:
            views = accounts.views(p)
            for view in views:
                await view.sourcing.search("warm up", country="US", fresh=True)
            accounts.one.stage(Fault.json(503, {}), times=None)
            for _ in range(4):
                error = await failed(views[1].sourcing.product(product, **LOOK, fresh=True))
            assert (type(error), error.code) == (ProviderUnavailableError, "breaker")
            for view in (views[0], views[2]):
                await view.sourcing.product(product, **LOOK, fresh=True)

    asyncio.run(scenario())


# AliExpress.


def test_tokens_are_refreshed_and_lost_for_one_account_alone(aliexpress):
    async def scenario():
        async with aliexpress.open() as p:
            platform, one, two = aliexpress.views(p)
            aliexpress.one.expire_token()
            for view in (platform, one, two):
                await view.sourcing.product(AE_PRODUCT, **LOOK, fresh=True)
            assert [server.refreshes for server in aliexpress.servers] == [0, 1, 0]
            aliexpress.two.revoke()
            error = await failed(two.sourcing.product(AE_PRODUCT, **LOOK, fresh=True))
            assert (type(error), error.tenant) == (CredentialRevokedError, "m-2")
            for view in (platform, one):
                await view.sourcing.product(AE_PRODUCT, **LOOK, fresh=True)

    asyncio.run(scenario())
    assert [server.refreshes for server in aliexpress.servers] == [0, 1, 0]


def test_what_everybody_may_know_is_asked_once_and_links_are_each_account_s_own(aliexpress):
    async def scenario():
        async with aliexpress.open() as p:
            views = aliexpress.views(p)
            products = [await view.sourcing.product(AE_PRODUCT, **LOOK) for view in views]
            pages = [await view.sourcing.search("yoga mat", country="US") for view in views]
            again = [await view.sourcing.product(AE_PRODUCT, **LOOK) for view in reversed(views)]
            return products, pages, again[::-1]

    products, pages, again = asyncio.run(scenario())
    assert aliexpress.asked("aliexpress.ds.product.get") == [1, 0, 0]
    assert aliexpress.asked("aliexpress.ds.text.search") == [1, 0, 0]
    platform, one, two = [found.affiliate_url for found in products]
    assert platform.startswith("https://s.click.aliexpress.com/")
    assert one.startswith("https://s.click.aliexpress.com/")
    # An account without a tracking id has none, and nobody else's.
    assert (platform != one, two) == (True, None)
    assert [found.affiliate_url for found in again] == [platform, one, two]
    assert aliexpress.asked("aliexpress.affiliate.link.generate") == [2, 2, 0]
    links = [[item.affiliate_url for item in page.items] for page in pages]
    assert all(links[0])
    assert all(links[1])
    assert not set(links[0]) & set(links[1])
    assert links[2] == [None] * len(links[2])


def test_a_ban_of_one_account_holds_up_nobody_else(aliexpress):
    words = "Api access frequency exceeds the limit. this ban will last 900 seconds"
    aliexpress.one.refuse("ApiCallLimit", words, times=9)

    async def scenario():
        async with aliexpress.open() as p:
            platform, one, two = aliexpress.views(p)
            for _ in range(2):
                error = await failed(one.sourcing.product(AE_PRODUCT, **LOOK, fresh=True))
                assert type(error) is RateLimitedError
            for view in (platform, two):
                await view.sourcing.product(AE_PRODUCT, **LOOK, fresh=True)

    asyncio.run(scenario())
    assert aliexpress.clock.slept == []
    assert aliexpress.asked("aliexpress.ds.product.get") == [1, 1, 1]


def test_an_order_of_one_that_is_unknown_is_nobody_else_s(aliexpress):
    aliexpress.one.refuse("15", method=AE_CREATE, after=True)

    async def scenario():
        async with aliexpress.open() as p:
            platform, one, two = aliexpress.views(p)
            error = await failed(one.sourcing.place_order(order(AE_PRODUCT)))
            assert (error.may_have_applied, error.tenant) == (True, "m-1")
            for view in (platform, two):
                await view.sourcing.place_order(order(AE_PRODUCT))
            return await unknowns(p)

    assert asyncio.run(scenario()) == [("m-1", "order-7/aliexpress")]
    assert aliexpress.ordered == [1, 1, 1]


# CJ.


def test_each_account_has_a_token_of_its_own_and_tenants_without_one_use_the_platform_s(cj):
    async def scenario():
        async with cj.open() as p:
            for view in (*cj.views(p), p.scoped("m-3"), p.scoped("m-4")):
                await view.sourcing.product(CJ_PRODUCT, **LOOK, fresh=True)

    asyncio.run(scenario())
    assert [server.issued for server in cj.servers] == [1, 1, 1]
    assert cj.asked(CJ + "product/query") == [3, 1, 1]


def test_prices_are_each_account_s_own_and_searches_are_shared(cj):
    pid = CJ_PRODUCT.partition(":")[2]
    for server, price in zip(cj.servers, ("10.00", "20.00", "30.00"), strict=True):
        server.set_price(pid, price)

    async def scenario():
        async with cj.open() as p:
            views = cj.views(p)
            found = [await view.sourcing.product(CJ_PRODUCT, **LOOK) for view in views]
            for view in views:
                await view.sourcing.search("yoga mat", country="US")
            return [product.price.amount for product in found]

    assert asyncio.run(scenario()) == [Decimal(10), Decimal(20), Decimal(30)]
    assert cj.asked(CJ + "product/listV2") == [1, 0, 0]


def test_points_of_one_account_are_not_another_s(cj):
    async def scenario():
        async with cj.open(PROVIDER_POINTS_CJDROPSHIPPING="20/day") as p:
            _, one, two = cj.views(p)
            for _ in range(2):
                await one.sourcing.product(CJ_PRODUCT, **LOOK, fresh=True)
            assert type(await failed(one.sourcing.product(CJ_PRODUCT, **LOOK, fresh=True))) is QuotaExceededError
            await two.sourcing.product(CJ_PRODUCT, **LOOK, fresh=True)
            # Of the platform's account its tenants have what is left.
            await p.scoped("m-3").sourcing.product(CJ_PRODUCT, **LOOK, fresh=True)
            await p.scoped("m-4").sourcing.product(CJ_PRODUCT, **LOOK, fresh=True)
            assert type(await failed(p.sourcing.product(CJ_PRODUCT, **LOOK, fresh=True))) is QuotaExceededError

    asyncio.run(scenario())
    assert cj.asked(CJ + "product/query") == [2, 2, 1]


def test_what_is_unknown_of_one_is_looked_up_in_its_own_account(cj):
    cj.one.stage(Fault.RESET_BEFORE, match=CJ_CREATE)

    async def scenario():
        async with cj.open() as p:
            platform, one, two = cj.views(p)
            # Others have an order of that number.
            for view in (platform, two):
                await view.sourcing.place_order(order(CJ_PRODUCT))
            error = await failed(one.sourcing.place_order(order(CJ_PRODUCT)))
            assert error.may_have_applied
            return await unknowns(p)

    assert asyncio.run(scenario()) == [("m-1", "order-7/cjdropshipping")]
    assert cj.ordered == [1, 0, 1]
    assert cj.asked(CJ + "shopping/order/getOrderDetail") == [0, 1, 0]


def test_an_order_of_one_account_is_not_there_for_another(cj):
    async def scenario():
        async with cj.open() as p:
            _, one, two = cj.views(p)
            placed = await one.sourcing.place_order(order(CJ_PRODUCT))
            assert (await one.sourcing.order(placed.refs[0])).refs == placed.refs
            return await failed(two.sourcing.order(placed.refs[0]))

    assert type(asyncio.run(scenario())) is NotFoundError


def test_a_message_is_its_own_account_s_and_nobody_else_s(cj):
    message = {
        "messageId": "m-1",
        "type": "PRODUCT",
        "messageType": "UPDATE",
        "params": {"pid": "1400000000000000001", "productStatus": 3, "fields": ["productStatus"]},
    }
    headers, body = cj.one.signed_request(message)

    async def scenario():
        async with cj.open() as p:
            platform, one, two = cj.views(p)
            request = RawRequest(body=body, headers=headers)
            for view in (platform, two):
                with pytest.raises(WebhookVerificationError):
                    await view.sourcing.webhook(request)
            return (await one.sourcing.webhook(request)).events

    (event,) = asyncio.run(scenario())
    assert str(event.product) == "cjdropshipping:1400000000000000001"
