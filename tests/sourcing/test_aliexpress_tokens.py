"""Tokens of AliExpress: agreed to, exchanged, renewed by themselves, and what is said when that is over."""

import asyncio
import traceback
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic_core import to_json

from providers import Providers, Settings
from providers.core.clock import utc
from providers.core.models import CheckState
from providers.core.store import MemoryStore
from providers.core.transport import HttpResponse
from providers.errors import (
    AuthenticationError,
    BadResponseError,
    CredentialRevokedError,
    InvalidRequestError,
    Outcome,
    ProviderError,
)
from providers.sourcing import Grant
from providers.testing.clock import START, ManualClock
from providers.testing.servers.aliexpress import AliExpressServer

PRODUCT = "aliexpress:1005000000000001"
CREDENTIALS = {
    "ALIEXPRESS_APP_KEY": "500001",
    "ALIEXPRESS_APP_SECRET": "canary-app-secret-0001",
    "ALIEXPRESS_ACCESS_TOKEN": "50000000canaryaccess0001",
    "ALIEXPRESS_REFRESH_TOKEN": "50001000canaryrefresh0001",
}
SECRETS = [value for name, value in CREDENTIALS.items() if name != "ALIEXPRESS_APP_KEY"]


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def server(clock):
    with AliExpressServer(clock=clock.time) as running:
        yield running


def opened(server, clock, *, store=None, environ=None, without=()):
    environ = {name: value for name, value in (environ or server.env).items() if name not in without}
    settings = Settings(mode="live", vendors={"sourcing": "aliexpress"}, environ=environ, env_file=None)
    return Providers(settings, clock=clock, store=store)


def run(step, *args, **options):
    async def scenario():
        async with opened(*args, **options) as p:
            return await step(p)

    return asyncio.run(scenario())


def ask(p):
    return p.sourcing.product(PRODUCT, country="DE", fresh=True)


def scripted_call(transport, step, *, clock=None, **credentials):
    async def scenario():
        settings = Settings(
            mode="live",
            vendors={"sourcing": "aliexpress"},
            credentials=CREDENTIALS | credentials,
            environ={},
            env_file=None,
        )
        async with Providers(settings, clock=clock or ManualClock(), transport=transport) as p:
            return await step(p)

    return asyncio.run(scenario())


def test_the_owner_agrees_and_the_code_becomes_tokens_that_work(server, clock):
    code = server.authorise()
    grant = run(lambda p: p.sourcing.exchange_code(code), server, clock)
    assert grant.values.keys() == {"ALIEXPRESS_ACCESS_TOKEN", "ALIEXPRESS_REFRESH_TOKEN"}
    assert grant.expires_at == utc(START) + timedelta(days=30)
    assert grant.refresh_expires_at == utc(START) + timedelta(days=180)
    values = {name: secret.get_secret_value() for name, secret in grant.values.items()}
    assert values["ALIEXPRESS_ACCESS_TOKEN"] not in f"{grant} {grant!r} {grant.model_dump_json()}"
    assert run(ask, server, clock, environ=server.env | values).source_id == "1005000000000001"
    # A code is good once.
    with pytest.raises(InvalidRequestError):
        run(lambda p: p.sourcing.exchange_code(code), server, clock)


def test_the_page_where_the_owner_agrees(server, clock):
    url = run(
        lambda p: p.sourcing.authorize_url(redirect_uri="https://shop.example.com/cb?x=1&y=ä", state="s t&"),
        server,
        clock,
    )
    parts = urlsplit(url)
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{server.url}/oauth/authorize"
    assert parse_qs(parts.query, strict_parsing=True) == {
        "response_type": ["code"],
        "force_auth": ["true"],
        "client_id": ["500001"],
        "redirect_uri": ["https://shop.example.com/cb?x=1&y=ä"],
        "state": ["s t&"],
    }
    assert url.isascii()
    assert " " not in url


@pytest.mark.parametrize("code", ["", "a\nb", "kö", "\ud800"])
def test_what_is_no_code_is_not_sent(scripted, code):
    transport = scripted(HttpResponse(200, {}, b"{}"))
    with pytest.raises(InvalidRequestError) as caught:
        scripted_call(transport, lambda p: p.sourcing.exchange_code(code))
    assert caught.value.field == "code"
    assert transport.requests == []


def test_a_token_that_is_refused_is_renewed_once_for_all_who_wait(server, clock):
    server.expire_token()

    async def many(p):
        return await asyncio.gather(*(ask(p) for _ in range(4)))

    assert len(run(many, server, clock)) == 4
    assert server.refreshes == 1


def test_a_renewed_token_is_there_for_the_next_process(server, clock):
    store, first = MemoryStore(clock), dict(server.env)
    server.expire_token()
    for _ in range(3):
        # Each is started with the variables as they were: both tokens in them are worth nothing any more.
        assert run(ask, server, clock, store=store, environ=first).price is not None
    assert server.refreshes == 1


def test_a_token_is_renewed_before_it_ends(server, clock):
    store, environ = MemoryStore(clock), dict(server.env)
    server.expire_token()
    run(ask, server, clock, store=store, environ=environ)
    clock.advance(28 * 86_400)
    assert run(ask, server, clock, store=store, environ=environ).price is not None
    assert server.refreshes == 1
    clock.advance(1.5 * 86_400)
    assert run(ask, server, clock, store=store, environ=environ).price is not None
    assert server.refreshes == 2


class Row:
    """A service's own row of a tenant."""

    def __init__(self, values):
        self.values = dict(values)

    async def get(self, vendor):
        return self.values

    async def put(self, vendor, values):
        self.values.update(values)


def test_what_was_renewed_goes_back_to_the_tenants_own_row(server, clock):
    row = Row({name: value for name, value in server.env.items() if name.startswith("ALIEXPRESS_")})
    before = dict(row.values)
    server.expire_token()

    async def step(p):
        merchant = p.scoped("m-1", credentials=row)
        return await merchant.sourcing.product(PRODUCT, country="DE", fresh=True)

    assert run(step, server, clock).price is not None
    assert {name for name in before if before[name] != row.values[name]} == {
        "ALIEXPRESS_ACCESS_TOKEN",
        "ALIEXPRESS_REFRESH_TOKEN",
    }
    assert row.values["ALIEXPRESS_ACCESS_TOKEN"] == server.access_token
    assert row.values["ALIEXPRESS_REFRESH_TOKEN"] == server.refresh_token


def test_when_nothing_can_be_renewed_somebody_is_told_where_to_agree_again(server, clock):
    server.expire_token()
    server.revoke()

    async def twice(p):
        raised = []
        for _ in range(2):
            with pytest.raises(CredentialRevokedError) as caught:
                await ask(p)
            raised.append(caught.value)
        return raised

    first, second = run(twice, server, clock)
    for error in (first, second):
        assert "authorize_url" in error.message
        assert "ALIEXPRESS_ACCESS_TOKEN" in error.message
        assert "ALIEXPRESS_REFRESH_TOKEN" not in error.message
        assert error.reconnect_url == (
            f"{server.url}/oauth/authorize?response_type=code&force_auth=true&client_id=500001"
        )
        assert (error.outcome, error.retryable) == (Outcome.NOT_APPLIED, False)
    assert first.code == "IllegalRefreshToken"
    asked = [request for request in server.requests if "refresh" in request.path]
    assert len(asked) == 1


def test_without_a_refresh_token_it_says_what_would_help(server, clock):
    server.expire_token()
    with pytest.raises(CredentialRevokedError, match="with ALIEXPRESS_REFRESH_TOKEN it would be renewed") as caught:
        run(ask, server, clock, without=["ALIEXPRESS_REFRESH_TOKEN"])
    assert caught.value.reconnect_url.startswith(f"{server.url}/oauth/authorize?")
    assert server.refreshes == 0


def test_the_cheapest_question_proves_the_credential_and_buys_nothing(server, clock):
    (found,) = run(lambda p: p.sourcing.check(), server, clock)
    assert (found.vendor, found.state, found.sandbox, found.expires_at) == ("aliexpress", CheckState.OK, False, None)
    assert server.orders == ()


def test_a_check_says_until_when_a_renewed_token_holds(server, clock):
    server.expire_token()
    (found,) = run(lambda p: p.sourcing.check(), server, clock)
    assert found.expires_at == utc(START) + timedelta(days=30)


@pytest.mark.parametrize(
    ("body", "state"),
    [
        ({"rsp_code": 200, "result": {}}, CheckState.OK),
        ({"rsp_code": "605", "rsp_msg": "ITEM_ID_NOT_FOUND"}, CheckState.OK),
        ({"rsp_code": 602}, CheckState.OK),
    ],
)
def test_what_proves_a_credential(scripted, body, state):
    transport = scripted(HttpResponse(200, {}, to_json({"aliexpress_ds_product_get_response": body})))
    (found,) = scripted_call(transport, lambda p: p.sourcing.check())
    assert found.state is state


def test_a_check_with_a_wrong_secret_is_refused(server, clock):
    environ = server.env | {"ALIEXPRESS_APP_SECRET": "another-secret"}
    (found,) = run(lambda p: p.sourcing.check(), server, clock, environ=environ)
    assert found.state is CheckState.REFUSED
    assert "signature" in found.detail


GRANT = {
    "access_token": "50000000granted0001",
    "refresh_token": "50001000granted0001",
    "expires_in": 2_592_000,
    "refresh_expires_in": 15_552_000,
    "user_id": "700000001",
}


@pytest.mark.parametrize(
    ("changes", "expires_at", "account"),
    [
        ({}, utc(START + 2_592_000), "700000001"),
        ({"expires_in": "86400"}, utc(START + 86_400), "700000001"),
        ({"expires_in": None}, None, "700000001"),
        ({"user_id": 700000001}, utc(START + 2_592_000), "700000001"),
        ({"user_id": None, "account_id": "8"}, utc(START + 2_592_000), "8"),
        ({"user_id": None}, utc(START + 2_592_000), ""),
    ],
)
def test_how_long_a_token_holds_is_what_the_reply_says(scripted, changes, expires_at, account):
    transport = scripted(HttpResponse(200, {}, to_json(GRANT | changes | {"code": "0"})))
    grant = scripted_call(transport, lambda p: p.sourcing.exchange_code("0_500001_code"))
    assert isinstance(grant, Grant)
    assert (grant.expires_at, grant.account) == (expires_at, account)


@pytest.mark.parametrize(
    "body",
    [{}, GRANT | {"access_token": ""}, GRANT | {"access_token": 7}, GRANT | {"expires_in": -1},
     GRANT | {"expires_in": 10**12}, {"code": "0"}],
    ids=range(6),
)  # fmt: skip
def test_a_reply_without_a_usable_token_is_no_grant(scripted, body):
    transport = scripted(HttpResponse(200, {}, to_json(body)))
    with pytest.raises(BadResponseError) as caught:
        scripted_call(transport, lambda p: p.sourcing.exchange_code("0_500001_code"))
    assert "granted0001" not in f"{caught.value!r}"


def test_a_code_for_an_app_whose_session_is_refused_says_so(scripted):
    refusal = {"error_response": {"type": "ISV", "code": "IllegalAccessToken", "msg": "No.", "request_id": "2101"}}
    transport = scripted(HttpResponse(200, {}, to_json(refusal)))
    with pytest.raises(AuthenticationError) as caught:
        scripted_call(transport, lambda p: p.sourcing.exchange_code("0_500001_code"))
    assert (caught.value.code, caught.value.request_id) == ("IllegalAccessToken", "2101")
    assert len(transport.requests) == 1


@pytest.mark.parametrize("times", [1, 3])
def test_a_renewal_that_fails_for_a_moment_is_not_taken_for_a_revocation(server, clock, times):
    server.expire_token()
    server.refuse("15", method="/auth/token/refresh", times=times)

    async def step(p):
        try:
            return await ask(p)
        except ProviderError as error:
            return error

    found = run(step, server, clock)
    assert not isinstance(found, CredentialRevokedError)
    if isinstance(found, ProviderError):
        assert found.retryable
        server.reset()
        server.expire_token()
    assert run(ask, server, clock).price is not None


def test_no_traceback_with_its_variables_shows_a_secret(scripted):
    transport = scripted(HttpResponse(200, {}, b"<html>"))
    for step in (
        lambda p: p.sourcing.order("aliexpress:1"),
        lambda p: p.sourcing.search_by_image(b"x", country="US"),
        lambda p: p.sourcing.exchange_code("0_canary-code-000001"),
    ):
        with pytest.raises(ProviderError) as caught:
            scripted_call(transport, step)
        for error in (caught.value, caught.value.__cause__, caught.value.__context__):
            if error is None:
                continue
            shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
            ours = [line for line in shown.splitlines() if "credentials" not in line and "CREDENTIALS" not in line]
            found = [line for line in ours for secret in SECRETS if secret in line]
            assert found == []
