"""Tokens, the header, the envelope, limits, points, wrong calls: every reply as in the sheet's samples."""

import json
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.testing.servers._cjdropshipping.call import RefusalError
from providers.testing.servers._cjdropshipping.limits import Limits
from providers.testing.servers.cjdropshipping import LOCAL_EMAIL, LOCAL_KEY, LOCAL_OPEN_ID, CjServer

SAMPLES = Path(__file__).parent.parent / "data" / "cjdropshipping"
BASE = "/api2.0/v1/"
PID = "1795000000000000001"
DAY = 86_400


def sample(name):
    return json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))


def shape(value):
    """Names and JSON types; what is null or empty in a sample has no type."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    if isinstance(value, bool) or value is None:
        return type(value).__name__
    return "number" if isinstance(value, int | float) else type(value).__name__


@pytest.fixture
def start(clock):
    started = []

    def start(**options):
        started.append(CjServer(**{"clock": clock, "token_interval": 0} | options).start())
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture
def post(call):
    def post(server, path, body, token=None):
        headers = {} if token is None else {"CJ-Access-Token": token}
        return call(server, "POST", BASE + path, body, key="", headers=headers).json

    return post


@pytest.fixture
def issue(post):
    return lambda server: post(server, "authentication/getAccessToken", {"apiKey": server.api_key})


@pytest.fixture
def get(call, issue):
    """A GET with a token, got once a server."""
    tokens = {}

    def get(server, path, token=None, status=200):
        if token is None:
            token = tokens.get(server) or tokens.setdefault(server, issue(server)["data"]["accessToken"])
        answer = call(server, "GET", BASE + path, key="", headers={"CJ-Access-Token": token})
        assert answer.status == status
        assert answer.headers["Content-Type"].startswith("application/json")
        return answer.json

    return get


# Tokens.


def test_a_key_gives_a_pair_as_in_the_sample(start, issue, clock):
    server = start()
    reply = issue(server)
    assert shape(reply) == shape(sample("get_access_token"))
    assert (reply["code"], reply["message"], reply["data"]["openId"]) == (200, "Success", LOCAL_OPEN_ID)
    made, access, refresh = (
        datetime.fromisoformat(reply["data"][name])
        for name in ("createDate", "accessTokenExpiryDate", "refreshTokenExpiryDate")
    )
    assert made.utcoffset() == timedelta(hours=8)
    assert made.timestamp() == clock.now
    assert (access - made, refresh - made) == (timedelta(days=15), timedelta(days=180))
    assert server.issued == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"apiKey": LOCAL_KEY, "email": "anything"}, 200),
        ({"email": LOCAL_EMAIL, "password": LOCAL_KEY}, 200),
        ({"email": "other@example.com", "password": LOCAL_KEY}, 1600005),
        ({"email": LOCAL_EMAIL, "password": "other"}, 1600005),
        ({"apiKey": "CJ0000001@api@other"}, 1600005),
        ({"email": LOCAL_EMAIL}, 1600300),
        ({}, 1600300),
    ],
)
def test_both_forms_of_the_token_call(start, post, body, code):
    assert post(start(), "authentication/getAccessToken", body)["code"] == code


def test_a_wrong_key_answers_as_the_sample(start, post):
    reply = post(start(), "authentication/getAccessToken", {"apiKey": "wrong"})
    assert reply | {"requestId": ""} == sample("error_api_key_wrong") | {"requestId": ""}


def test_a_second_pair_has_to_wait(start, issue, clock):
    server = start(token_interval=300)
    assert issue(server)["code"] == 200
    clock.now += 299
    assert issue(server)["code"] == 1600200
    clock.now += 1
    assert issue(server)["code"] == 200
    assert server.issued == 2


def test_a_refresh_gives_another_access_token_and_no_open_id(start, issue, post, get, clock):
    server = start()
    first = issue(server)["data"]
    clock.now += DAY
    reply = post(server, "authentication/refreshAccessToken", {"refreshToken": first["refreshToken"]})
    assert shape(reply) == shape(sample("refresh_access_token"))
    second = reply["data"]
    assert second["refreshToken"] == first["refreshToken"]
    assert second["refreshTokenExpiryDate"] == first["refreshTokenExpiryDate"]
    assert second["accessToken"] != first["accessToken"]
    assert {get(server, "setting/get", pair["accessToken"])["code"] for pair in (first, second)} == {200}
    assert (server.issued, server.refreshes) == (1, 1)


def test_an_unknown_or_old_refresh_token_answers_as_the_sample(start, issue, post, clock):
    server = start(refresh_lifetime=DAY)
    token = issue(server)["data"]["refreshToken"]
    clock.now += DAY
    for each in (token, "unknown"):
        reply = post(server, "authentication/refreshAccessToken", {"refreshToken": each})
        assert reply | {"requestId": ""} == sample("error_refresh_token") | {"requestId": ""}
    assert post(server, "authentication/refreshAccessToken", {})["code"] == 1600300
    assert server.refreshes == 0


def test_refreshes_are_few_a_minute(start, issue, post, clock):
    server = start(refreshes_a_minute=2)
    token = issue(server)["data"]["refreshToken"]
    codes = [post(server, "authentication/refreshAccessToken", {"refreshToken": token})["code"] for _ in range(3)]
    clock.now += 60
    codes.append(post(server, "authentication/refreshAccessToken", {"refreshToken": token})["code"])
    assert codes == [200, 200, 1600200, 200]


def test_a_token_ends_at_its_date(start, issue, get, clock):
    server = start(token_lifetime=100)
    token = issue(server)["data"]["accessToken"]
    clock.now += 99
    assert get(server, "setting/get", token)["code"] == 200
    clock.now += 1
    assert get(server, "setting/get", token)["code"] == 1600001


def test_logging_out_ends_both_tokens(start, issue, post, get):
    server = start()
    pair = issue(server)["data"]
    assert post(server, "authentication/logout", {}, pair["accessToken"])["data"] is True
    assert get(server, "setting/get", pair["accessToken"])["code"] == 1600001
    assert post(server, "authentication/refreshAccessToken", {"refreshToken": pair["refreshToken"]})["code"] == 1600003


def test_an_expired_token_leaves_the_refresh_token_a_revoked_key_nothing(start, issue, post, get):
    server = start()
    pair = issue(server)["data"]
    refresh = {"refreshToken": pair["refreshToken"]}
    server.expire_token()
    assert get(server, "setting/get", pair["accessToken"])["code"] == 1600001
    again = post(server, "authentication/refreshAccessToken", refresh)["data"]["accessToken"]
    assert get(server, "setting/get", again)["code"] == 200
    server.revoke()
    assert get(server, "setting/get", again)["code"] == 1600001
    assert post(server, "authentication/refreshAccessToken", refresh)["code"] == 1600003
    assert issue(server)["code"] == 1600005
    server.reset()
    assert issue(server)["code"] == 200


@pytest.mark.parametrize("statuses", [False, True])
@pytest.mark.parametrize("headers", [{}, {"CJ-Access-Token": LOCAL_KEY}, {"CJ-Access-Token": "guessed"}])
def test_no_call_without_a_token(start, call, headers, statuses):
    answer = call(start(http_statuses=statuses), "GET", BASE + "setting/get", key="", headers=headers)
    assert answer.status == (401 if statuses else 200)
    assert answer.json | {"requestId": ""} == sample("error_invalid_token") | {"requestId": ""}


# Wrong calls.


def test_unknown_interfaces_and_wrong_verbs_are_told_in_the_envelope(start, call, get):
    server = start()
    get(server, "setting/get")
    for method, path, code in (
        ("GET", "product/nothing", 1600101),
        ("GET", "logistic/getTrackInfo?trackNumber=1", 1600101),
        ("POST", "setting/get", 16900202),
        ("GET", "shopping/order/createOrderV2", 16900202),
        ("POST", "shopping/order/confirmOrder", 16900202),
    ):
        answer = call(server, method, BASE + path, key="")
        assert (answer.status, answer.json["code"], answer.json["result"]) == (200, code, False)


@pytest.mark.parametrize(
    ("data", "kind", "code"),
    [
        (b"apiKey=1", "application/x-www-form-urlencoded", 16900203),
        (b"{", "application/json", 16900204),
        (b"[]", "application/json", 16900204),
        (b"", "application/json", 16900204),
        (b"\xff", "application/json", 16900204),
        (b'{"apiKey": 1}', "application/json; charset=utf-8", 1600005),
    ],
)
def test_bodies_are_json_objects(start, call, data, kind, code):
    path = BASE + "authentication/getAccessToken"
    assert call(start(), "POST", path, key="", data=data, headers={"Content-Type": kind}).json["code"] == code


def test_a_body_that_is_too_large_is_told(start, call):
    answer = call(start(), "POST", BASE + "authentication/getAccessToken", key="", data=b" " * (1024 * 1024 + 1))
    assert (answer.status, answer.json["code"]) == (413, 16900204)


def test_parameters_that_no_page_names_are_refused_unless_told_otherwise(start, get):
    reply = get(start(), "product/listV2?keyword=lamp")
    assert reply["code"] == 1600300
    assert reply["message"].startswith(sample("error_param")["message"])
    assert "keyword" in reply["message"]
    assert get(start(strict=False), "product/listV2?keyword=lamp")["code"] == 200


# Requests a second.


@pytest.mark.parametrize("statuses", [False, True])
def test_more_than_a_request_a_second_answers_as_the_sample(start, issue, get, clock, statuses):
    server = start(qps=1, http_statuses=statuses)
    token = issue(server)["data"]["accessToken"]
    assert get(server, "setting/get", token)["data"]["setting"]["qpsLimit"] == 1
    clock.now += 0.9
    reply = get(server, "setting/get", token, status=429 if statuses else 200)
    assert reply | {"requestId": ""} == sample("error_qps") | {"requestId": ""}
    clock.now += 0.1
    assert get(server, "setting/get", token)["code"] == 200


@given(st.integers(1, 6), st.lists(st.floats(0, 0.7), max_size=40))
def test_no_second_has_more_requests_than_allowed(qps, gaps):
    now, admitted = 0.0, []
    limits = Limits(lambda: now, qps=qps, points=None)
    for gap in gaps:
        now += gap
        if sum(moment > now - 1.0 for moment in admitted) >= qps:
            with pytest.raises(RefusalError, match="1600200"):
                limits.admit(0)
        else:
            limits.admit(0)
            admitted.append(now)


# Points.

COSTS = {
    "product/listV2": 50,
    "product/list": 50,
    f"product/query?pid={PID}": 10,
    f"product/variant/query?pid={PID}": 10,
    f"product/stock/getInventoryByPid?pid={PID}": 10,
    "product/getCategory": 0,
    "shopping/pay/getBalance": 0,
    "setting/get": 0,
    "shopping/order/list?status=CREATED": 0,
    "logistic/trackInfo?trackNumber=1": 0,
}


def test_calls_cost_what_the_sheet_says_and_tell_what_is_left(start, get):
    server, used = start(points=50_000), 0
    for path, cost in COSTS.items():
        reply = get(server, path)
        assert reply["code"] == 200
        used += cost
        wanted = {"usedToday": used, "remaining": 50_000 - used, "total": 50_000}
        assert reply.get("pointsInfo") == (wanted if cost else None)


def test_points_that_are_used_up_answer_as_the_sample(start, get):
    server = start(points=120)
    assert [get(server, "product/listV2")["code"] for _ in range(2)] == [200, 200]
    reply, wanted = get(server, "product/listV2"), sample("error_points_exhausted")
    assert shape(reply) == shape(wanted)
    assert reply["code"] == 16900500
    assert reply["message"] == "Insufficient API points. Used today: 100, Remaining: 20, Required: 50"
    assert get(server, f"product/query?pid={PID}")["code"] == 200
    assert get(server, "setting/get")["code"] == 200


def test_points_come_back_evenly_and_all_at_midnight(start, get, clock):
    clock.now -= clock.now % DAY
    server = start(points=50_000)
    for _ in range(1_000):
        server._shop.limits.admit(50)
    assert get(server, "product/listV2")["code"] == 16900500
    clock.now += 86  # the sheet: 86 s for a search, at 34.7 a minute
    assert get(server, "product/listV2")["code"] == 16900500
    clock.now += 1
    assert get(server, "product/listV2")["code"] == 200
    assert get(server, "product/listV2")["code"] == 16900500
    clock.now += DAY - 87
    assert get(server, "product/listV2")["pointsInfo"] == {"usedToday": 50, "remaining": 49_950, "total": 50_000}


@given(st.integers(100, 90_000), st.lists(st.tuples(st.integers(0, 9_000), st.sampled_from([0, 10, 50])), max_size=30))
def test_a_call_is_let_in_exactly_when_there_are_points_for_it(total, steps):
    now, seen, left = 0, 0, Fraction(total)
    limits = Limits(lambda: float(now), qps=None, points=total)
    for gap, cost in steps:
        now += gap
        if cost:
            left = Fraction(total) if now // DAY > seen // DAY else left + Fraction((now - seen) * total, DAY)
            left, seen = min(left, Fraction(total)), now
            if abs(left - cost) < Fraction(1, 1_000_000):
                return  # too near for binary fractions
        if left < cost:
            with pytest.raises(RefusalError, match="16900500"):
                limits.admit(cost)
        else:
            limits.admit(cost)
            left -= cost
        assert 0 <= limits.shown()["remaining"] <= total


# Settings.


def test_settings_as_in_the_sample(start, get):
    reply = get(start(sandbox=True, qps=2, root="NO_PERMISSION"), "setting/get")
    assert shape(reply) == shape(sample("setting_get"))
    data = reply["data"]
    assert (data["openId"], data["openEmail"], data["root"]) == (LOCAL_OPEN_ID, LOCAL_EMAIL, "NO_PERMISSION")
    assert (data["isSandbox"], data["setting"]["qpsLimit"]) == (True, 2)


def test_balance_as_in_the_sample(start, get):
    reply = get(start(), "shopping/pay/getBalance")
    assert reply | {"requestId": ""} == sample("get_balance") | {"requestId": ""}


def test_every_reply_has_its_own_request_id(start, get):
    server = start()
    assert len({get(server, "setting/get")["requestId"] for _ in range(5)}) == 5


def test_what_points_at_it(start):
    server = start()
    assert server.env == {
        "PROVIDER_CJDROPSHIPPING_BASE_URL": server.url,
        "CJDROPSHIP_API_KEY": LOCAL_KEY,
        "CJDROPSHIP_EMAIL": LOCAL_EMAIL,
    }


@pytest.mark.parametrize("outcome", ["", "lost", "logisticsmiss", ":no code"])
def test_an_outcome_that_is_none_is_refused(outcome):
    with pytest.raises(ValueError, match="outcome"):
        CjServer(outcomes={"1": outcome})
