"""CJ's tokens: got by the key, kept, refreshed, renewed once when refused, and handed back."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from providers import Providers, Settings
from providers.core.errors import (
    AuthenticationError,
    BadResponseError,
    ConfigurationError,
    CredentialRevokedError,
    ProviderError,
    RateLimitedError,
)
from providers.core.store import MemoryStore
from providers.core.transport import HttpResponse
from providers.sourcing import CjSourcing
from providers.testing.clock import ManualClock
from providers.testing.servers.cjdropshipping import CjServer

DATA = Path(__file__).parent.parent / "data" / "cjdropshipping"
START = datetime(2026, 11, 22, 12, tzinfo=UTC)
KEY, EMAIL = "CJ0000001@api@canary-key-0000", "owner@example.com"
DAY = 86_400.0
GET, REFRESH, READ = "authentication/getAccessToken", "authentication/refreshAccessToken", "product/getCategory"


def sample(name):
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


class Cj:
    """Answers each path with what it has for it, in order; keeps what was asked."""

    def __init__(self, **answers):
        self.answers = {
            GET: answers.get("get", sample("get_access_token")),
            REFRESH: answers.get("refresh", sample("refresh_access_token")),
            READ: answers.get("read", sample("get_category")),
        }
        self.asked = []

    async def send(self, request):
        path = urlsplit(request.url).path.removeprefix("/api2.0/v1/")
        self.asked.append((path, request))
        found = self.answers[path]
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        return HttpResponse(200, {"content-type": "application/json"}, json.dumps(found).encode())

    async def aclose(self):
        return

    @property
    def paths(self):
        return [path for path, _ in self.asked]

    @property
    def used(self):
        """The token of each call but those for tokens."""
        return [request.headers["CJ-Access-Token"] for path, request in self.asked if path == READ]


def opened(vendor, clock, *, store=None, credentials=None):
    given = Settings(
        mode="live",
        vendors={"sourcing": "cjdropshipping"},
        credentials={"CJDROPSHIP_API_KEY": KEY} if credentials is None else credentials,
        environ={},
        env_file=None,
    )
    return Providers(given, clock=clock, transport=vendor, store=store or MemoryStore(clock))


def read(providers):
    return providers.sourcing.categories("cjdropshipping", fresh=True)


def times(vendor, moments=(0.0,), **more):
    """Read once at each moment, in seconds since the start; what failed at the last one."""
    clock = ManualClock(START.timestamp())

    async def scenario():
        failure = None
        async with opened(vendor, clock, **more) as providers:
            for moment in moments:
                clock.advance(max(START.timestamp() + moment - clock.time(), 0.0))
                try:
                    failure = None
                    await read(providers)
                except ProviderError as error:
                    failure = error
        return failure

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    ("credentials", "body"),
    [
        ({"CJDROPSHIP_API_KEY": KEY}, {"apiKey": KEY}),
        # The e-mail is a label beside a key of the new form.
        ({"CJDROPSHIP_API_KEY": KEY, "CJDROPSHIP_EMAIL": EMAIL}, {"apiKey": KEY}),
        ({"CJDROPSHIP_API_KEY": "0a1b2c3d", "CJDROPSHIP_EMAIL": EMAIL}, {"email": EMAIL, "password": "0a1b2c3d"}),
    ],
)
def test_a_token_is_got_by_the_key_once(credentials, body):
    vendor = Cj()
    assert times(vendor, (0, 10, 20), credentials=credentials) is None
    assert vendor.paths == [GET, READ, READ, READ]
    _, request = vendor.asked[0]
    assert (request.method, json.loads(request.content)) == ("POST", body)
    assert "CJ-Access-Token" not in request.headers
    assert vendor.used == ["demo-access-token-0001"] * 3


def test_a_key_of_the_old_form_needs_the_email():
    vendor = Cj()
    error = times(vendor, credentials={"CJDROPSHIP_API_KEY": "0a1b2c3d"})
    assert type(error) is ConfigurationError
    assert error.field == "CJDROPSHIP_EMAIL"
    assert vendor.asked == []


def test_a_token_is_refreshed_a_day_before_it_ends():
    vendor = Cj()
    # 15 days.
    assert times(vendor, (0, 13.9 * DAY, 14.1 * DAY, 14.2 * DAY)) is None
    assert vendor.paths == [GET, READ, READ, REFRESH, READ, READ]
    assert json.loads(vendor.asked[3][1].content) == {"refreshToken": "demo-refresh-token-0001"}
    assert vendor.used == [*["demo-access-token-0001"] * 2, *["demo-access-token-0002"] * 2]


def test_a_date_that_cannot_be_read_is_no_end():
    for date in ("soon", "2026-12-07T20:00:00", None, 5):
        got = sample("get_access_token")
        got["data"]["accessTokenExpiryDate"] = date
        vendor = Cj(get=got)
        assert times(vendor, (0, 100 * DAY)) is None
        assert vendor.paths == [GET, READ, READ]


def test_a_refresh_token_that_is_refused_is_replaced_by_means_of_the_key():
    second = sample("get_access_token")
    second["data"] |= {"accessToken": "demo-access-token-0009", "accessTokenExpiryDate": "2026-12-22T20:00:00+08:00"}
    vendor = Cj(get=[sample("get_access_token"), second], refresh=sample("error_refresh_token"))
    # The token before is good for half a day: who asks meanwhile need not wait.
    assert times(vendor, (0, 14.5 * DAY, 14.5 * DAY + 10)) is None
    assert vendor.paths == [GET, READ, REFRESH, GET, READ, READ]
    assert vendor.used[-1] == "demo-access-token-0009"


def test_a_token_that_is_refused_is_renewed_once_and_the_call_sent_again():
    vendor = Cj(read=[sample("error_invalid_token"), sample("get_category")])
    assert times(vendor) is None
    assert vendor.paths == [GET, READ, REFRESH, READ]
    assert vendor.used == ["demo-access-token-0001", "demo-access-token-0002"]


def test_a_token_that_is_refused_again_is_an_error():
    vendor = Cj(read=sample("error_invalid_token"))
    error = times(vendor)
    assert type(error) is AuthenticationError
    assert error.code == "1600001"
    assert vendor.paths == [GET, READ, REFRESH, READ]


def test_cj_is_not_asked_for_a_token_more_than_once_in_five_minutes():
    vendor = Cj(get=sample("error_qps"))
    error = times(vendor, (0, 200))
    assert type(error) is RateLimitedError
    assert 0 < error.retry_after <= 300
    assert vendor.paths.count(GET) == 1
    vendor = Cj(get=[sample("error_qps"), sample("get_access_token")])
    assert times(vendor, (0, 400)) is None
    assert vendor.paths == [GET, GET, READ]


def test_a_reply_without_a_token_is_not_as_documented():
    for name in ("accessToken", "refreshToken", "openId"):
        got = sample("get_access_token")
        del got["data"][name]
        error = times(Cj(get=got))
        assert type(error) is BadResponseError


def test_tokens_that_are_given_are_used_until_they_are_refused():
    given = {
        "CJDROPSHIP_API_KEY": KEY,
        "CJDROPSHIP_ACCESS_TOKEN": "given-access-0000",
        "CJDROPSHIP_REFRESH_TOKEN": "given-refresh-0000",
    }
    vendor = Cj(read=[sample("get_category"), sample("error_invalid_token"), sample("get_category")])
    assert times(vendor, (0, 10), credentials=given) is None
    assert vendor.paths == [READ, READ, REFRESH, READ]
    assert json.loads(vendor.asked[2][1].content) == {"refreshToken": "given-refresh-0000"}
    assert vendor.used == ["given-access-0000", "given-access-0000", "demo-access-token-0002"]


class Row:
    """A tenant's credentials in a service."""

    def __init__(self, **values):
        self.values = values
        self.put_back = []

    async def get(self, vendor):
        return self.values

    async def put(self, vendor, values):
        self.put_back.append((vendor, dict(values)))
        self.values = {**self.values, **values}


def test_new_tokens_go_back_to_the_tenant_and_its_next_process_uses_them():
    clock, vendor = ManualClock(START.timestamp()), Cj()
    row = Row(CJDROPSHIP_API_KEY="CJ7@api@canary-tenant-0000")

    async def scenario():
        async with opened(vendor, clock) as providers:
            await read(providers.scoped("m-7", credentials=row))
        # Another state: nothing is known there but what the tenant has.
        async with opened(vendor, clock) as providers:
            await read(providers.scoped("m-7", credentials=row))

    asyncio.run(scenario())
    kept = {
        "CJDROPSHIP_ACCESS_TOKEN": "demo-access-token-0001",
        "CJDROPSHIP_REFRESH_TOKEN": "demo-refresh-token-0001",
        "CJDROPSHIP_OPEN_ID": "12312",
    }
    assert row.put_back == [("cjdropshipping", kept)]
    assert vendor.paths == [GET, READ, READ]


def test_a_refresh_keeps_the_open_id_that_came_first():
    clock, vendor = ManualClock(START.timestamp()), Cj()

    async def scenario():
        async with opened(vendor, clock) as providers:
            await read(providers)
            clock.advance(14.5 * DAY)
            return await providers.sourcing.unwrap(CjSourcing).client.open_id()

    assert asyncio.run(scenario()) == "12312"
    assert vendor.paths == [GET, READ, REFRESH]


def test_processes_share_a_token():
    clock, vendor = ManualClock(START.timestamp()), Cj()
    store = MemoryStore(clock)

    async def scenario():
        for _ in range(2):
            async with opened(vendor, clock, store=store) as providers:
                await asyncio.gather(*(read(providers) for _ in range(3)))

    asyncio.run(scenario())
    assert vendor.paths.count(GET) == 1


def test_the_whole_life_of_a_connection_at_the_local_cj():
    clock = ManualClock()
    with CjServer(clock=clock.time) as server:
        environ = {"PROVIDER_MODE": "live", "PROVIDER_SOURCING": "cjdropshipping", **server.env}

        async def scenario():
            async with Providers(Settings(environ=environ, env_file=None), clock=clock) as providers:
                await asyncio.gather(*(read(providers) for _ in range(5)))
                server.expire_token()
                await asyncio.gather(*(read(providers) for _ in range(5)))
                assert (server.issued, server.refreshes) == (1, 1)
                clock.advance(timedelta(days=200).total_seconds())
                await read(providers)
                assert (server.issued, server.refreshes) == (2, 1)
                clock.advance(301)
                server.revoke()
                with pytest.raises(CredentialRevokedError) as caught:
                    await read(providers)
                # Known by now: nobody is asked.
                with pytest.raises(CredentialRevokedError):
                    await read(providers)
                return caught.value

        error = asyncio.run(scenario())
    assert "create a new API key" in str(error)
    assert server.api_key not in str(error)
