"""The gateway: signatures against the published vectors and a second computation, tokens, refusals, limits."""

import asyncio
import hmac
import json
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.testing.servers import Fault, load_server
from providers.testing.servers.aliexpress import (
    LOCAL_KEY,
    LOCAL_REFRESH_TOKEN,
    LOCAL_SECRET,
    AliExpressServer,
    Shape,
    sign,
)

SAMPLES = Path(__file__).parent.parent / "data" / "aliexpress"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
SEARCH = {"keyWord": "night light", "countryCode": "US", "currency": "USD", "local": "en_US", "pageSize": "2"}
PRODUCT = {"product_id": "1005001234567890", "ship_to_country": "US"}


def sample(name):
    return json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))


VECTORS = sample("signature_vectors")["vectors"]


def signed(secret, form, path=""):
    """The signature, computed for this test alone."""
    text = path + "".join(f"{name}{form[name]}" for name in sorted(form, key=str.encode) if name != "sign")
    return hmac.new(secret.encode(), text.encode(), "sha256").digest().hex().upper()


@pytest.fixture
def server(clock):
    with AliExpressServer(clock=clock) as started:
        yield started


@pytest.fixture
def ask(call, clock):
    """One signed call of a method, or of a path below /rest; None leaves a parameter out."""

    def send(server, name, form=None, /, *, good=True, **changes):
        system = {"app_key": server.app_key, "sign_method": "sha256", "timestamp": str(int(clock.now * 1000))}
        path = name if name.startswith("/") else ""
        if not path:
            system |= {"method": name, "format": "json", "session": server.access_token}
        sent = {name: value for name, value in {**system, **(form or {}), **changes}.items() if value is not None}
        if good:
            sent.setdefault("sign", signed(server.app_secret, sent, path))
        where = "/rest" + path if path else "/sync"
        return call(server, "POST", where, data=urlencode(sent).encode(), headers=FORM).json

    return send


@pytest.fixture
def search(server, ask):
    return lambda **changes: ask(server, "aliexpress.ds.text.search", SEARCH, **changes)


def code(answer):
    return answer["error_response"]["code"]


def accepted(answer):
    return answer["aliexpress_ds_text_search_response"]["code"] == "00"


# Signatures.


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_signatures_are_the_published_ones(vector):
    assert sign(vector["app_secret"], vector["params"].items(), vector["path_prefix"]) == vector["sign"]


@pytest.mark.parametrize("vector", VECTORS[1:], ids=lambda vector: vector["name"])
def test_a_published_request_is_let_in_as_it_is_and_not_with_another_secret(clock, call, vector):
    params = vector["params"]
    clock.now = int(params["timestamp"]) / 1000
    options = {"clock": clock, "access_token": "50000000a1b2c3d4", "refresh_token": "50001000r1r2r3r4"}
    path = "/rest" + vector["path_prefix"] if vector["path_prefix"] else "/sync"
    data = urlencode({**params, "sign": vector["sign"]}).encode()
    with AliExpressServer(app_secret="another", **options) as server:
        assert code(call(server, "POST", path, data=data, headers=FORM).json) == "IncompleteSignature"
    with AliExpressServer(app_secret=vector["app_secret"], **options) as server:
        answer = call(server, "POST", path, data=data, headers=FORM)
    assert answer.status == 200
    refused = answer.json.get("error_response", {})
    # The code of the published request was never given out; everything else about it is in order.
    assert refused.get("msg", "").startswith('The input parameter "code"') or not refused


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@settings(deadline=None)
@given(st.text(max_size=9), st.dictionaries(NAMES, NAMES, max_size=8), st.sampled_from(["", "/auth/token/create"]))
def test_a_second_computation_agrees_whatever_is_signed(secret, form, path):
    secret = secret.encode(errors="ignore").decode()
    assert sign(secret, form.items(), path) == signed(secret, form, path)


def test_what_clients_send_verifies_whatever_the_letters(clock, ask):
    with AliExpressServer(clock=clock) as server:

        @settings(deadline=None, max_examples=30)
        @given(NAMES.filter(str.strip))
        def check(words):
            answer = ask(server, "aliexpress.ds.text.search", SEARCH, keyWord=words)
            assert accepted(answer)

        check()


@pytest.mark.parametrize("name", ["app_key", "timestamp", "session", "method", "keyWord", "pageSize"])
def test_a_parameter_that_was_changed_after_signing_is_noticed(server, call, clock, name):
    form = {
        "app_key": LOCAL_KEY,
        "sign_method": "sha256",
        "timestamp": str(int(clock.now * 1000)),
        "format": "json",
        "method": "aliexpress.ds.text.search",
        "session": server.access_token,
        **SEARCH,
    }
    given_sign = signed(LOCAL_SECRET, form)
    form[name] += "1"
    answer = call(server, "POST", "/sync", data=urlencode({**form, "sign": given_sign}).encode(), headers=FORM)
    assert answer.status == 200
    assert code(answer.json) == ("InvalidAppKey" if name == "app_key" else "IncompleteSignature")


def test_a_wrong_signature_gets_the_samples_envelope(search):
    answer = search(sign="0" * 64)["error_response"]
    wanted = sample("error_incomplete_signature")["error_response"]
    assert answer.keys() == wanted.keys()
    assert {name: answer[name] for name in ("type", "code", "msg")} == {
        name: wanted[name] for name in ("type", "code", "msg")
    }


def test_signatures_in_small_letters_or_with_md5_are_refused(server, search, clock):
    good = search()
    assert accepted(good)
    form = dict(
        pair.split("=", 1) for pair in server.requests[-1].body.decode().split("&")
    )  # nothing in it needs decoding but spaces
    assert code(search(sign=form["sign"].lower())) == "IncompleteSignature"
    assert "sign_method" in search(sign_method="md5")["error_response"]["msg"]


def test_parameters_may_come_in_the_query(server, call, clock):
    form = {"app_key": LOCAL_KEY, "sign_method": "sha256", "timestamp": str(int(clock.now * 1000)), **SEARCH}
    form |= {"method": "aliexpress.ds.text.search", "access_token": server.access_token}
    form["sign"] = signed(LOCAL_SECRET, form)
    assert accepted(call(server, "POST", "/sync?" + urlencode(form)).json)


# Parameters of the gateway.


@pytest.mark.parametrize("name", ["app_key", "sign_method", "timestamp", "method", "session", "keyWord", "local"])
def test_what_is_missing_is_named(search, name):
    refused = search(**{name: None})["error_response"]
    words = sample("error_missing_parameter")["error_response"]["msg"].replace("product_id", name)
    assert (refused["type"], refused["code"], refused["msg"]) == ("ISV", "MissingParameter", words)


def test_a_missing_signature_is_named(search):
    assert '"sign"' in search(good=False)["error_response"]["msg"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"format": "xml"},
        {"simplify": "true"},
        {"currency": "XXX"},
        {"countryCode": "usa"},
        {"local": "english"},
        {"pageIndex": "0"},
        {"pageSize": "51"},
        {"sortBy": "cheap"},
        {"keyword": "small k"},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_what_is_wrong_is_named(search, wrong):
    refused = search(**wrong)["error_response"]
    assert refused["code"] == "InvalidParameter"
    assert f'"{next(iter(wrong))}"' in refused["msg"]


def test_empty_and_unknown_parameters_are_refused_only_when_strict(clock, ask):
    loose = {**SEARCH, "sortBy": "", "colour": "red"}
    with AliExpressServer(clock=clock) as server:
        assert code(ask(server, "aliexpress.ds.text.search", loose)) == "InvalidParameter"
    with AliExpressServer(clock=clock, strict=False) as server:
        assert accepted(ask(server, "aliexpress.ds.text.search", loose))


def test_a_parameter_given_twice_is_refused(server, call, clock):
    form = {"app_key": LOCAL_KEY, "sign_method": "sha256", "timestamp": str(int(clock.now * 1000)), **SEARCH}
    form |= {"method": "aliexpress.ds.text.search", "session": server.access_token}
    form["sign"] = signed(LOCAL_SECRET, form)
    body = urlencode(form) + "&pageSize=50"
    refused = call(server, "POST", "/sync", data=body.encode(), headers=FORM).json["error_response"]
    assert (refused["code"], '"pageSize"' in refused["msg"]) == ("InvalidParameter", True)


@pytest.mark.parametrize(("seconds", "good"), [(-601, False), (-599, True), (599, True), (601, False)])
def test_clocks_may_differ_by_ten_minutes(search, clock, seconds, good):
    answer = search(timestamp=str(int((clock.now + seconds) * 1000)))
    assert accepted(answer) if good else '"timestamp"' in answer["error_response"]["msg"]


def test_unknown_keys_methods_and_paths_have_their_own_codes(server, ask, search, call):
    assert code(search(app_key="1")) == "InvalidAppKey"
    assert code(ask(server, "aliexpress.ds.order.get")) == "InvalidApiPath"
    assert code(ask(server, "/auth/token/other")) == "InvalidApiPath"
    nowhere = call(server, "GET", "/nowhere")
    assert nowhere.status == 404
    assert nowhere.json.keys() == sample("error_root_level").keys()


# Tokens.


def test_a_refresh_answers_as_the_sample_and_ends_both_old_tokens(server, ask, search):
    old = server.access_token
    answer = ask(server, "/auth/token/refresh", {"refresh_token": server.refresh_token})
    wanted = sample("token_refresh")
    assert {name: type(value) for name, value in wanted.items()} == {
        name: type(value) for name, value in answer.items()
    }
    assert (answer["access_token"], answer["refresh_token"]) == (server.access_token, server.refresh_token)
    assert answer["access_token"].startswith("5000")
    assert (answer["expires_in"], answer["refresh_expires_in"]) == (2_592_000, 15_552_000)
    assert server.refreshes == 1
    assert accepted(search())
    assert search(session=old)["error_response"]["msg"] == sample("error_illegal_access_token")["error_response"]["msg"]
    again = ask(server, "/auth/token/refresh", {"refresh_token": LOCAL_REFRESH_TOKEN})["error_response"]
    wanted = sample("error_illegal_refresh_token")["error_response"]
    assert (again["code"], again["msg"]) == (wanted["code"], wanted["msg"])
    assert server.refreshes == 1


def test_without_rotation_old_tokens_stay_until_their_time(clock, ask):
    with AliExpressServer(clock=clock, rotate=False, token_lifetime=100) as server:
        old = server.access_token
        for _ in range(2):
            answer = ask(server, "/auth/token/refresh", {"refresh_token": server.refresh_token})
            assert answer["refresh_token"] == LOCAL_REFRESH_TOKEN
        assert answer["access_token"] != old
        assert accepted(ask(server, "aliexpress.ds.text.search", SEARCH, session=old))
        clock.now += 100
        assert code(ask(server, "aliexpress.ds.text.search", SEARCH, session=old)) == "IllegalAccessToken"
        assert server.refreshes == 2


def test_tokens_die_when_their_time_is_over_and_a_refresh_does_not_move_the_end_of_the_grant(clock, ask):
    with AliExpressServer(clock=clock, token_lifetime=60, refresh_lifetime=100) as server:
        began = clock.now
        clock.now += 59
        assert accepted(ask(server, "aliexpress.ds.text.search", SEARCH))
        clock.now += 1
        assert code(ask(server, "aliexpress.ds.text.search", SEARCH)) == "IllegalAccessToken"
        answer = ask(server, "/auth/token/refresh", {"refresh_token": server.refresh_token})
        assert answer["expire_time"] == int((clock.now + 60) * 1000)
        assert answer["refresh_token_valid_time"] == int((began + 100) * 1000)
        assert answer["refresh_expires_in"] == 40
        clock.now += 40
        refused = ask(server, "/auth/token/refresh", {"refresh_token": server.refresh_token})
        assert code(refused) == "IllegalRefreshToken"


def test_a_token_that_was_expired_is_helped_by_a_refresh_and_a_revoked_grant_is_not(server, ask, search):
    server.expire_token()
    assert code(search()) == "IllegalAccessToken"
    ask(server, "/auth/token/refresh", {"refresh_token": server.refresh_token})
    assert accepted(search())
    server.revoke()
    assert code(search()) == "IllegalAccessToken"
    assert code(ask(server, "/auth/token/refresh", {"refresh_token": server.refresh_token})) == "IllegalRefreshToken"
    answer = ask(server, "/auth/token/create", {"code": server.authorise()})
    assert answer.keys() == sample("token_create").keys()
    assert accepted(search())


@pytest.mark.parametrize("late", [False, True])
def test_a_code_is_good_once_and_for_three_minutes(server, ask, clock, late):
    given_code = server.authorise()
    clock.now += 180 if late else 179
    first = ask(server, "/auth/token/create", {"code": given_code})
    assert ("access_token" in first) is not late
    second = ask(server, "/auth/token/create", {"code": given_code})["error_response"]
    assert (second["code"], '"code"' in second["msg"]) == ("InvalidParameter", True)


def test_the_human_step_goes_back_to_the_callback_with_a_code(clock, ask):
    back = "https://shop.example.com/callback"
    asked = {"response_type": "code", "force_auth": "true", "client_id": LOCAL_KEY, "redirect_uri": back, "state": "s1"}
    with AliExpressServer(clock=clock, callback_url=back) as server:

        async def open_page(query):
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"{server.url}/oauth/authorize", params=query, allow_redirects=False) as answer,
            ):
                return answer.status, answer.headers.get("Location", "")

        assert asyncio.run(open_page({**asked, "redirect_uri": "https://evil.example.com/"}))[0] == 400
        status, location = asyncio.run(open_page(asked))
        query = parse_qs(urlsplit(location).query)
        assert (status, location.startswith(back + "?"), query["state"]) == (302, True, ["s1"])
        assert "access_token" in ask(server, "/auth/token/create", {"code": query["code"][0]})


def test_categories_may_come_without_a_token(clock, ask):
    with AliExpressServer(clock=clock, category_token=False) as server:
        server.revoke()
        assert "aliexpress_ds_category_get_response" in ask(server, "aliexpress.ds.category.get")
        assert code(ask(server, "aliexpress.ds.text.search", SEARCH)) == "IllegalAccessToken"


# Limits.


def test_too_many_calls_are_banned_for_as_long_as_the_words_say(clock, ask):
    with AliExpressServer(clock=clock, rate_limit=2, rate_window=3.0) as server:

        def search():
            return ask(server, "aliexpress.ds.text.search", SEARCH)

        assert accepted(search())
        clock.now += 0.5
        assert accepted(search())
        refused = search()["error_response"]
        wanted = sample("error_api_call_limit")["error_response"]
        assert (refused["type"], refused["code"]) == (wanted["type"], wanted["code"])
        assert refused["msg"] == wanted["msg"].replace("1 seconds", "3 seconds")
        clock.now += 2.5
        assert "1 seconds" in search()["error_response"]["msg"]
        clock.now += 0.5
        assert accepted(search())
        assert "access_token" in ask(server, "/auth/token/refresh", {"refresh_token": server.refresh_token})


# Staged errors.


@pytest.mark.parametrize(
    ("given_code", "shape", "name"),
    [
        ("ApiCallLimit", None, "error_api_call_limit"),
        ("IllegalAccessToken", None, "error_illegal_access_token"),
        ("15", None, "error_top_style"),
        ("15", Shape.ROOT, "error_root_level"),
    ],
)
def test_staged_refusals_have_the_samples_shape_and_words(server, search, given_code, shape, name):
    server.refuse(given_code, shape=shape)
    answer, wanted = search(), sample(name)
    assert answer.keys() == wanted.keys()
    answer, wanted = (each.get("error_response", each) for each in (answer, wanted))
    assert answer.keys() == wanted.keys()
    passing = {"request_id", "_trace_id_"}
    assert {key: answer[key] for key in answer.keys() - passing} == {
        key: wanted[key] for key in answer.keys() - passing
    }
    assert accepted(search())


def test_a_staged_refusal_waits_for_its_method_and_may_have_words_of_its_own(server, ask, search):
    words = "The daily quota of this app is used up"
    server.refuse("ApiCallLimit", words, method="aliexpress.ds.product.get", times=2)
    assert accepted(search())
    for _ in range(2):
        assert ask(server, "aliexpress.ds.product.get", PRODUCT)["error_response"]["msg"] == words
    assert "aliexpress_ds_product_get_response" in ask(server, "aliexpress.ds.product.get", PRODUCT)


@pytest.mark.parametrize("root", [False, True])
def test_system_calls_can_be_refused_at_the_root_of_the_body(clock, ask, root):
    with AliExpressServer(clock=clock, root_errors=root) as server:
        answer = ask(server, "/auth/token/refresh", {"refresh_token": "none"})
    assert ("error_response" in answer) is not root
    assert answer.get("error_response", answer)["code"] == "IllegalRefreshToken"


def test_a_refusal_can_come_after_the_work_was_done(server, ask, search):
    old = server.refresh_token
    server.refuse("15", method="/auth/token/refresh", after=True)
    assert code(ask(server, "/auth/token/refresh", {"refresh_token": old})) == "15"
    assert server.refreshes == 1
    assert server.refresh_token != old


@pytest.mark.parametrize(
    ("method", "form", "path", "value"),
    [
        ("aliexpress.ds.text.search", SEARCH, ["code"], "404"),
        ("aliexpress.ds.product.get", PRODUCT, ["rsp_code"], 404),
        ("aliexpress.ds.category.get", {}, ["resp_result", "resp_code"], 404),
        ("aliexpress.ds.address.get", {"countryCode": "US"}, ["result", "code"], "404"),
    ],
)
def test_a_method_fails_in_its_own_payload(server, ask, method, form, path, value):
    server.fail(method, "404", "System Error")
    (answer,) = ask(server, method, form).values()
    for name in path:
        answer = answer[name]
    assert answer == value
    assert "System Error" not in json.dumps(ask(server, method, form))


def test_searches_fail_as_often_as_they_are_told(server, search):
    server.flaky(2)
    for _ in range(2):
        answer = search()["aliexpress_ds_text_search_response"]
        wanted = sample("text_search_flaky_error")["aliexpress_ds_text_search_response"]
        assert (answer.keys(), answer["code"], answer["msg"]) == (wanted.keys(), wanted["code"], wanted["msg"])
    assert accepted(search())


def test_an_error_cannot_be_staged_for_no_call_or_in_no_shape(server):
    for wrong in ({"times": 0}, {"shape": "round"}):
        with pytest.raises(ValueError, match=r"times is|not a valid"):
            server.refuse("7", **wrong)


def test_the_human_step_needs_an_answer_to_give(server, call):
    assert call(server, "GET", "/oauth/authorize?response_type=code&client_id=1&redirect_uri=x").status == 400


def test_faults_of_the_wire_act_here_too(server, search):
    server.stage(Fault.status(502, body="<html>"))
    with pytest.raises(ValueError, match="Expecting value"):
        search()
    assert accepted(search())


# Control routes, the variables, the command.


def test_control_routes_do_what_the_methods_do(server, ask, search, call):
    assert call(server, "POST", "/_control/expire-token").status == 204
    assert code(search()) == "IllegalAccessToken"
    assert call(server, "POST", "/_control/revoke").status == 204
    assert code(ask(server, "/auth/token/refresh", {"refresh_token": server.refresh_token})) == "IllegalRefreshToken"
    given_code = call(server, "POST", "/_control/authorise").json["code"]
    assert "access_token" in ask(server, "/auth/token/create", {"code": given_code})
    staged = {"code": "7", "method": "aliexpress.ds.text.search", "times": 1}
    assert call(server, "POST", "/_control/refuse", staged).status == 204
    assert code(search()) == "7"
    staged = {"method": "aliexpress.ds.text.search", "code": "NGSELECTION_SEARCH_ERROR"}
    assert call(server, "POST", "/_control/fail", staged).status == 204
    assert not accepted(search())
    assert accepted(search())


@pytest.mark.parametrize(
    ("path", "body"),
    [("refuse", []), ("refuse", {}), ("refuse", {"code": "7", "shape": "round"}), ("price", {"product_id": "1"})],
)
def test_control_routes_say_what_is_wrong(server, call, path, body):
    answer = call(server, "POST", f"/_control/{path}", body)
    assert (answer.status, "error" in answer.json) == (400, True)


def test_reset_goes_back_to_the_first_tokens_and_forgets(server, ask, search):
    first = server.access_token, server.refresh_token
    ask(server, "/auth/token/refresh", {"refresh_token": server.refresh_token})
    server.revoke()
    server.flaky(5)
    server.reset()
    assert (server.access_token, server.refresh_token) == first
    assert (server.refreshes, server.request_count) == (0, 0)
    assert accepted(search())


def test_the_variables_point_at_the_server_and_follow_its_tokens(server, ask):
    assert load_server("aliexpress") is AliExpressServer
    env = server.env
    assert env["PROVIDER_ALIEXPRESS_BASE_URL"] == server.url
    assert (env["ALIEXPRESS_APP_KEY"], env["ALIEXPRESS_APP_SECRET"]) == (LOCAL_KEY, LOCAL_SECRET)
    ask(server, "/auth/token/refresh", {"refresh_token": server.refresh_token})
    assert server.env["ALIEXPRESS_ACCESS_TOKEN"] == server.access_token != env["ALIEXPRESS_ACCESS_TOKEN"]
    assert server.env["ALIEXPRESS_TRACKING_ID"] == server.tracking_id


def test_the_command_serves_with_the_options_it_is_given():
    command = [
        sys.executable,
        "-m",
        "providers.testing.servers",
        "aliexpress",
        "--app-key",
        "77",
        "--tracking-id",
        "t9",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert line["vendor"] == "aliexpress"
    assert line["env"]["ALIEXPRESS_APP_KEY"] == "77"
    assert line["env"]["ALIEXPRESS_TRACKING_ID"] == "t9"
    assert line["env"]["PROVIDER_ALIEXPRESS_BASE_URL"] == line["url"]
