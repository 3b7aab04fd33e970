"""Tokens of real suppliers' servers: got, refreshed early, given back, and what is left when there are none."""

import asyncio
import pickle
from urllib.parse import parse_qs, urlsplit

import pytest

from providers import Providers, Settings
from providers.core.store import MemoryStore
from providers.errors import (
    CredentialRevokedError,
    Outcome,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
)
from providers.sourcing import OrderRequest
from providers.testing import servers
from providers.testing.servers import Fault

DAY = 86_400
AE_TOKENS = ("ALIEXPRESS_ACCESS_TOKEN", "ALIEXPRESS_REFRESH_TOKEN")
AE_REFRESH, AE_CALL = "/rest/auth/token/refresh", "/sync"
CJ = "/api2.0/v1/"
CJ_GET, CJ_REFRESH = CJ + "authentication/getAccessToken", CJ + "authentication/refreshAccessToken"


class Source:
    """A service's own row with a tenant's credentials."""

    def __init__(self, **values):
        self.values = values
        self.put_back = []

    async def get(self, vendor):
        return dict(self.values)

    async def put(self, vendor, values):
        self.put_back.append((vendor, dict(values)))
        self.values |= values


class Shop:
    """A supplier's server; `providers` use it, with the state that they are given."""

    def __init__(self, server, clock, prefix):
        self.server, self.clock, self.prefix = server, clock, prefix
        self.vendor = server.vendor
        self.number = 0

    def open(self, store=None, **credentials):
        environ = {**self.server.env, **credentials, f"PROVIDER_RATE_{self.vendor.upper()}": "1000/second"}
        settings = Settings(mode="live", vendors={"sourcing": self.vendor}, environ=environ, env_file=None)
        return Providers(settings, clock=self.clock, store=store or MemoryStore(self.clock), hooks=())

    @property
    def credentials(self):
        return {name: value for name, value in self.server.env.items() if name.startswith(self.prefix)}

    async def look(self, view):
        """A call that was never made before."""
        self.number += 1
        first = 1005001234500000 if self.vendor == "aliexpress" else 1400000000000020000
        ref = f"{self.vendor}:{first + self.number}"
        return await view.sourcing.product(ref, country="US", shipping=False, fresh=True)

    def asked(self, path):
        return sum(request.path == path for request in self.server.requests)


@pytest.fixture
def aliexpress(clock):
    """With tokens that live a day, as those of an app in test do."""
    with servers.AliExpressServer(clock=clock.time, tracking_id=None, token_lifetime=DAY) as server:
        yield Shop(server, clock, "ALIEXPRESS_")


@pytest.fixture
def cj(clock):
    with servers.CjServer(clock=clock.time) as server:
        yield Shop(server, clock, "CJDROPSHIP_")


# AliExpress: what the account's owner has agreed to.


def test_a_token_that_is_refused_is_refreshed_and_the_call_made_again(aliexpress):
    async def scenario():
        async with aliexpress.open() as p:
            await aliexpress.look(p)
            aliexpress.server.expire_token()
            await aliexpress.look(p)
            await aliexpress.look(p)

    asyncio.run(scenario())
    assert aliexpress.server.refreshes == 1
    assert (aliexpress.asked(AE_CALL), aliexpress.asked(AE_REFRESH)) == (4, 1)


def test_a_token_whose_end_is_known_is_refreshed_before_it_and_no_call_is_refused(aliexpress, clock):
    async def scenario():
        async with aliexpress.open() as p:
            aliexpress.server.expire_token()
            await aliexpress.look(p)
            for _ in range(5):
                # A fifth of its life is left of it: 4.8 hours.
                clock.advance(0.8 * DAY + 1)
                await aliexpress.look(p)

    asyncio.run(scenario())
    assert aliexpress.server.refreshes == 6
    # The first was refused once: what it was given says nothing of its end.
    assert aliexpress.asked(AE_CALL) == 7


def test_what_a_refresh_brought_goes_back_to_the_tenant_and_a_later_process_works_with_it(aliexpress):
    source, server = Source(**aliexpress.credentials), aliexpress.server
    first = dict(source.values)

    async def scenario():
        async with aliexpress.open() as p:
            server.expire_token()
            await aliexpress.look(p.scoped("m-1", credentials=source))
        ((vendor, values),) = source.put_back
        assert (vendor, tuple(values)) == ("aliexpress", AE_TOKENS)
        assert tuple(values.values()) == (server.access_token, server.refresh_token)
        assert not {first[name] for name in AE_TOKENS} & set(values.values())
        # Another machine, with nothing but the tenant's row.
        async with aliexpress.open() as p:
            await aliexpress.look(p.scoped("m-1", credentials=source))
            server.expire_token()
            await aliexpress.look(p.scoped("m-1", credentials=source))
        # And the row as it was then: the refresh token in it is worth nothing any more.
        async with aliexpress.open() as p:
            with pytest.raises(CredentialRevokedError):
                await aliexpress.look(p.scoped("m-1", credentials=first))

    asyncio.run(scenario())
    assert server.refreshes == 2


def test_a_process_with_the_old_credentials_finds_the_new_ones_in_the_state(aliexpress, clock):
    store = MemoryStore(clock)
    old = aliexpress.credentials

    async def scenario():
        aliexpress.server.expire_token()
        for _ in range(3):
            async with aliexpress.open(store, **old) as p:
                await aliexpress.look(p)

    asyncio.run(scenario())
    assert aliexpress.server.refreshes == 1
    assert aliexpress.asked(AE_CALL) == 4


def test_a_grant_that_was_withdrawn_says_where_to_connect_again_and_the_vendor_is_left_alone(aliexpress, clock):
    store, server, errors = MemoryStore(clock), aliexpress.server, []

    async def scenario():
        for _ in range(3):
            # Process after process, and time passes.
            clock.advance(DAY)
            async with aliexpress.open(store) as p:
                for _ in range(5):
                    with pytest.raises(CredentialRevokedError) as caught:
                        await aliexpress.look(p)
                    errors.append(caught.value)

    server.revoke()
    asyncio.run(scenario())
    # Of each process the first call may be sent to be refused; the refresh token is tried once.
    assert aliexpress.asked(AE_REFRESH) == 1
    assert aliexpress.asked(AE_CALL) <= 3
    for error in [*errors, pickle.loads(pickle.dumps(errors[0]))]:  # noqa: S301 (our own)
        page = urlsplit(error.reconnect_url)
        assert f"{page.scheme}://{page.netloc}{page.path}" == server.url + "/oauth/authorize"
        assert parse_qs(page.query)["client_id"] == [server.app_key]
        assert (error.vendor, error.operation) == ("aliexpress", "sourcing.product")
        assert (error.outcome, error.retryable) == (Outcome.NOT_APPLIED, False)
        assert "exchange_code" in str(error)


def test_who_agrees_again_is_connected_again(aliexpress):
    source, server = Source(**aliexpress.credentials), aliexpress.server

    async def scenario():
        async with aliexpress.open() as p:
            server.revoke()
            with pytest.raises(CredentialRevokedError):
                await aliexpress.look(p.scoped("m-1", credentials=source))
            grant = await p.sourcing.exchange_code(server.authorise())
            assert grant.expires_at.timestamp() == pytest.approx(aliexpress.clock.time() + DAY)
            source.values |= {name: value.get_secret_value() for name, value in grant.values.items()}
            # A view is made for each request; its credentials are those of now.
            await aliexpress.look(p.scoped("m-1", credentials=source))
            assert server.access_token not in repr(grant) + grant.model_dump_json()
            assert set(grant.values) == set(AE_TOKENS)

    asyncio.run(scenario())
    assert server.refreshes == 0


def test_a_token_without_a_refresh_token_ends_with_what_would_have_helped(aliexpress):
    alone = {name: value for name, value in aliexpress.credentials.items() if name != "ALIEXPRESS_REFRESH_TOKEN"}

    async def scenario():
        async with aliexpress.open() as p:
            shop = p.scoped("m-1", credentials=alone)
            await aliexpress.look(shop)
            aliexpress.server.expire_token()
            for _ in range(5):
                with pytest.raises(CredentialRevokedError, match="ALIEXPRESS_REFRESH_TOKEN") as caught:
                    await aliexpress.look(shop)
            assert caught.value.reconnect_url is not None
            # The platform's own is not its.
            await aliexpress.look(p)

    asyncio.run(scenario())
    assert aliexpress.asked(AE_REFRESH) == 1


def test_a_refresh_that_fails_in_passing_is_tried_again_with_the_call(aliexpress):
    aliexpress.server.stage(Fault.json(503, {}), match=("POST", AE_REFRESH))

    async def scenario():
        async with aliexpress.open() as p:
            aliexpress.server.expire_token()
            await aliexpress.look(p)

    asyncio.run(scenario())
    assert aliexpress.server.refreshes == 1
    assert aliexpress.asked(AE_REFRESH) == 2


def test_a_refresh_that_fails_for_long_fails_the_call_and_not_the_grant(aliexpress, clock):
    aliexpress.server.stage(Fault.json(503, {}), match=("POST", AE_REFRESH), times=6)

    async def scenario():
        async with aliexpress.open() as p:
            aliexpress.server.expire_token()
            with pytest.raises(ProviderUnavailableError) as caught:
                await aliexpress.look(p)
            assert (caught.value.outcome, caught.value.retryable) == (Outcome.NOT_APPLIED, True)
            clock.advance(60)
            with pytest.raises(ProviderUnavailableError):
                await aliexpress.look(p)
            clock.advance(60)
            await aliexpress.look(p)

    asyncio.run(scenario())
    assert aliexpress.server.refreshes == 1


# Orders: what is refused at the door was not made.

ADDRESS = {
    "name": "Ana Silva",
    "line1": "1 Main Street",
    "city": "Austin",
    "region": "Texas",
    "postal_code": "78701",
    "country": "US",
    "phone": "+15125550123",
}


def ordered(shop):
    ref = {"aliexpress": "aliexpress:1005001234567890", "cjdropshipping": "cjdropshipping:1400000000000000001"}
    return OrderRequest(items=({"ref": ref[shop.vendor]},), address=ADDRESS, idempotency_key="order-7")


def refuse_token_of_order(shop, times):
    """As if it had ended just before."""
    if shop.vendor == "aliexpress":
        shop.server.refuse("IllegalAccessToken", method="aliexpress.ds.order.create", times=times)
    else:
        refused = Fault.json(200, {"code": 1600001, "result": False, "message": "Invalid API key or access token"})
        shop.server.stage(refused, match=("POST", CJ + "shopping/order/createOrderV2"), times=times)


@pytest.fixture(params=["aliexpress", "cj"])
def shop(request):
    return request.getfixturevalue(request.param)


def test_an_order_whose_token_is_refused_is_sent_again_with_the_next_one_and_is_one(shop):
    refuse_token_of_order(shop, 1)

    async def scenario():
        async with shop.open() as p:
            placed = await p.sourcing.place_order(ordered(shop))
            assert [one async for one in p.unknowns.unknown()] == []
            return placed

    placed = asyncio.run(scenario())
    assert len(placed.refs) == len(shop.server.orders) == shop.server.refreshes == 1


def test_an_order_whose_token_cannot_be_renewed_was_not_made_and_may_be_repeated(shop):
    refresh = {"aliexpress": AE_REFRESH, "cjdropshipping": CJ_REFRESH}[shop.vendor]

    async def scenario():
        async with shop.open() as p:
            await shop.look(p)
            refuse_token_of_order(shop, 9)
            shop.server.stage(Fault.RESET_BEFORE, match=("POST", refresh), times=None)
            with pytest.raises(ProviderError) as caught:
                await p.sourcing.place_order(ordered(shop))
            assert caught.value.outcome is Outcome.NOT_APPLIED
            assert [one async for one in p.unknowns.unknown()] == []

    asyncio.run(scenario())
    assert len(shop.server.orders) == 0


# CJ: what the key gives.


def test_one_access_token_is_got_for_all_processes_and_refreshed_early(cj, clock):
    store = MemoryStore(clock)

    async def scenario():
        for _ in range(4):
            async with cj.open(store) as p:
                await cj.look(p)
        # A day before its end.
        clock.advance(14 * DAY + 1)
        for _ in range(4):
            async with cj.open(store) as p:
                await cj.look(p)

    asyncio.run(scenario())
    assert (cj.server.issued, cj.server.refreshes) == (1, 1)
    assert (cj.asked(CJ_GET), cj.asked(CJ_REFRESH)) == (1, 1)


def test_an_access_token_that_cj_refuses_is_refreshed_and_the_call_made_again(cj):
    async def scenario():
        async with cj.open() as p:
            await cj.look(p)
            cj.server.expire_token()
            await asyncio.gather(*(cj.look(p) for _ in range(20)))

    asyncio.run(scenario())
    assert (cj.server.issued, cj.server.refreshes) == (1, 1)


def test_a_key_that_cj_takes_no_more_is_told_and_cj_is_asked_again_in_five_minutes(cj, clock):
    store, errors = MemoryStore(clock), []

    async def tried():
        async with cj.open(store) as p:
            for _ in range(5):
                with pytest.raises(CredentialRevokedError, match="CJDROPSHIP_API_KEY") as caught:
                    await cj.look(p)
                errors.append(caught.value)

    async def scenario():
        async with cj.open(store) as p:
            await cj.look(p)
        clock.advance(301)
        cj.server.revoke()
        for _ in range(3):
            await tried()
        assert (cj.asked(CJ_GET), cj.asked(CJ_REFRESH)) == (2, 1)
        # Beside those two and the first one: of each process the call that was refused.
        assert cj.server.request_count <= 2 + 2 + 3
        clock.advance(301)
        await tried()
        assert cj.asked(CJ_GET) == 3

    asyncio.run(scenario())
    for error in errors:
        assert (error.vendor, error.operation) == ("cjdropshipping", "sourcing.product")
        assert (error.outcome, error.retryable) == (Outcome.NOT_APPLIED, False)
        assert error.reconnect_url is None


def test_another_key_works_at_once_when_the_one_before_was_refused(cj, clock):
    store = MemoryStore(clock)

    async def scenario():
        async with cj.open(store, CJDROPSHIP_API_KEY="CJ0000001@api@withdrawn") as p:
            with pytest.raises(CredentialRevokedError):
                await cj.look(p)
        clock.advance(300)
        async with cj.open(store) as p:
            await cj.look(p)

    asyncio.run(scenario())
    assert cj.server.issued == 1


def test_what_cj_gave_goes_back_to_the_tenant_and_a_later_process_asks_for_none(cj, clock):
    source = Source(**cj.credentials)

    async def scenario():
        async with cj.open() as p:
            await cj.look(p.scoped("m-1", credentials=source))
        ((vendor, values),) = source.put_back
        assert vendor == "cjdropshipping"
        assert set(values) == {
            "CJDROPSHIP_ACCESS_TOKEN",
            "CJDROPSHIP_REFRESH_TOKEN",
            "CJDROPSHIP_OPEN_ID",
        }
        assert values["CJDROPSHIP_OPEN_ID"] == str(cj.server.open_id)
        async with cj.open() as p:
            await cj.look(p.scoped("m-1", credentials=source))
            cj.server.expire_token()
            await cj.look(p.scoped("m-1", credentials=source))
        assert source.values["CJDROPSHIP_ACCESS_TOKEN"] != values["CJDROPSHIP_ACCESS_TOKEN"]

    asyncio.run(scenario())
    assert (cj.server.issued, cj.server.refreshes) == (1, 1)


def test_a_token_call_that_cj_finds_too_early_is_not_repeated_before_its_time(cj, clock):
    async def scenario():
        async with cj.open() as p:
            await cj.look(p)
        # Somebody who shares neither our state nor what we were given.
        async with cj.open() as p:
            for _ in range(5):
                with pytest.raises(RateLimitedError) as caught:
                    await cj.look(p)
            assert 0 < caught.value.retry_after <= 300
            clock.advance(301)
            await cj.look(p)

    asyncio.run(scenario())
    assert cj.server.issued == 2
    assert cj.asked(CJ_GET) == 3


def test_a_token_whose_answer_was_lost_counts_and_is_not_asked_for_before_its_time(cj, clock):
    cj.server.stage(Fault.RESET_AFTER, match=("POST", CJ_GET))

    async def scenario():
        async with cj.open() as p:
            for _ in range(3):
                with pytest.raises(RateLimitedError) as caught:
                    await cj.look(p)
                assert caught.value.retry_after == pytest.approx(300, abs=2)
            assert cj.asked(CJ_GET) == 1
            clock.advance(301)
            await cj.look(p)

    asyncio.run(scenario())
    assert cj.server.issued == cj.asked(CJ_GET) == 2


def test_a_refresh_token_that_cj_takes_no_more_is_replaced_by_the_key(cj, clock):
    async def scenario():
        async with cj.open() as p:
            await cj.look(p)
            clock.advance(301)
            cj.server.stage(
                Fault.json(200, {"code": 1600003, "result": False, "message": "Invalid Refresh token"}),
                match=("POST", CJ_REFRESH),
            )
            cj.server.expire_token()
            await cj.look(p)

    asyncio.run(scenario())
    assert (cj.server.issued, cj.server.refreshes) == (2, 0)
