"""The wire: keys, form bodies, refusals, pages, idempotency keys, limits, connected accounts. The SDK is the client."""

import argparse
import asyncio
from urllib.parse import urlencode

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st

from providers.testing.servers._stripe.call import decode
from providers.testing.servers.stripe import LOCAL_KEY, StripeServer

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setattr(stripe, "enable_telemetry", False)


@pytest.fixture
def server(clock):
    with StripeServer(clock=clock, rate_limit=50) as started:
        yield started


def client_of(server, key=None, **options):
    http = stripe.RequestsClient()
    return stripe.StripeClient(
        key or server.secret_key, base_addresses={"api": server.url}, http_client=http, **options
    )


@pytest.fixture
def client(server):
    return client_of(server)


@pytest.fixture
def post(server, call):
    def send(path, body="", **headers):
        data = body if isinstance(body, str) else urlencode(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return call(server, "POST", path, data=data.encode(), key=LOCAL_KEY, headers={**FORM, **named})

    return send


def customers(server):
    return server.objects("customer")


# Keys.


def test_a_wrong_key_is_refused_and_named_only_by_its_beginning(server):
    with pytest.raises(stripe.AuthenticationError) as caught:
        client_of(server, "sk_test_somebody_else").v1.balance.retrieve()
    assert caught.value.http_status == 401
    assert caught.value.json_body["error"] == {
        "type": "invalid_request_error",
        "message": "Invalid API Key provided: sk_test_***",
    }


def test_no_key_is_refused_and_basic_auth_is_taken(server, call):
    assert call(server, "GET", "/v1/balance").json["error"]["message"].startswith("You did not provide an API key")
    basic = {"Authorization": "Basic c2tfdGVzdF9sb2NhbGxvY2FsbG9jYWxsb2NhbDAwOg=="}
    assert call(server, "GET", "/v1/balance", headers=basic).status == 200


def test_every_answer_has_a_request_id(server, post, call):
    made, wrong = post("/v1/customers"), call(server, "GET", "/v1/customers/cus_x", key=LOCAL_KEY)
    assert made.headers["Request-Id"].startswith("req_")
    assert wrong.headers["Request-Id"].startswith("req_")
    assert made.headers["Request-Id"] != wrong.headers["Request-Id"]


# Refusals.


def test_an_unknown_parameter_is_refused(client):
    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.customers.create({"e_mail": "a@example.com"})
    assert (caught.value.code, caught.value.param) == ("parameter_unknown", "e_mail")


@pytest.mark.parametrize(
    ("path", "body", "code", "param"),
    [
        ("/v1/products", {}, "parameter_missing", "name"),
        ("/v1/prices", {"product": "p"}, "parameter_missing", "currency"),
        ("/v1/prices", {"currency": "usd", "unit_amount": "1.5"}, "parameter_invalid_integer", "unit_amount"),
        ("/v1/customers", {"name": ["x"], "address[zip]": "1"}, "parameter_unknown", "address[zip]"),
        ("/v1/webhook_endpoints", {"url": "https://x.example"}, "parameter_missing", "enabled_events"),
        ("/v1/customers", {"email": "nonsense"}, "email_invalid", "email"),
        ("/v1/checkout/sessions", {"mode": "nonsense"}, None, "mode"),
        ("/v1/customers", {"metadata": "text"}, None, "metadata"),
        ("/v1/customers", {f"metadata[{'k' * 41}]": "v"}, None, f"metadata[{'k' * 41}]"),
        ("/v1/customers", {"metadata[k]": "v" * 501}, None, "metadata[k]"),
        ("/v1/customers", {f"metadata[{n}]": "v" for n in range(51)}, None, "metadata"),
        ("/v1/customers", {"invoice_prefix": ""}, "parameter_invalid_empty", "invoice_prefix"),
    ],
)
def test_bad_parameters_are_named(post, server, path, body, code, param):
    answer = post(path, body)
    error = answer.json["error"]
    assert (answer.status, error["type"]) == (400, "invalid_request_error")
    assert (error.get("code"), error["param"]) == (code, param)
    assert customers(server) == []


def test_what_is_not_there_is_404_in_the_path_and_400_in_the_body(client):
    with pytest.raises(stripe.InvalidRequestError) as path:
        client.v1.subscriptions.retrieve("sub_x")
    assert (path.value.http_status, path.value.code) == (404, "resource_missing")
    assert path.value.json_body["error"]["message"] == "No such subscription: 'sub_x'"
    with pytest.raises(stripe.InvalidRequestError) as body:
        client.v1.prices.create({"product": "none", "currency": "usd", "unit_amount": 100})
    assert (body.value.http_status, body.value.code, body.value.param) == (400, "resource_missing", "product")


def test_an_unknown_path_is_a_stripe_error(server, call):
    answer = call(server, "GET", "/v1/nonsense", key=LOCAL_KEY)
    assert (answer.status, answer.json["error"]["type"]) == (404, "invalid_request_error")
    assert "Unrecognized request URL (GET: /v1/nonsense)" in answer.json["error"]["message"]


def test_json_bodies_are_refused(server, call):
    assert call(server, "POST", "/v1/customers", {"email": "a@example.com"}, key=LOCAL_KEY).status == 400
    assert customers(server) == []


def test_requests_over_the_limit_get_429_with_the_reason(server, call, clock):
    statuses = [call(server, "GET", "/v1/balance", key=LOCAL_KEY).status for _ in range(51)]
    assert statuses == [200] * 50 + [429]
    limited = call(server, "GET", "/v1/balance", key=LOCAL_KEY)
    assert limited.headers["Stripe-Rate-Limited-Reason"] == "global-rate"
    assert limited.json["error"]["code"] == "rate_limit"
    clock.now += 1
    assert call(server, "GET", "/v1/balance", key=LOCAL_KEY).status == 200


# Form bodies.

NAMES = st.text("abcdef_", min_size=1, max_size=5)
VALUES = st.recursive(st.text(max_size=5), lambda inner: st.dictionaries(NAMES, inner, min_size=1, max_size=3))


def pairs(value, prefix=""):
    for name, each in value.items():
        path = f"{prefix}[{name}]" if prefix else name
        if isinstance(each, dict):
            yield from pairs(each, path)
        else:
            yield path, each


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_brackets_give_back_what_was_nested(value):
    assert decode(pairs(value)) == value


def test_lists_come_with_and_without_numbers():
    assert decode([("a[]", "1"), ("a[]", "2")]) == {"a": ["1", "2"]}
    assert decode([("a[][x]", "1"), ("a[][y]", "2"), ("a[][x]", "3")]) == {"a": [{"x": "1", "y": "2"}, {"x": "3"}]}
    assert decode([("a[1][x]", "b"), ("a[0][x]", "a")]) == {"a": {"1": {"x": "b"}, "0": {"x": "a"}}}


def test_metadata_is_merged_and_unset(client):
    made = client.v1.customers.create({"metadata": {"a": "1", "b": "2"}})
    kept = client.v1.customers.update(made.id, {"metadata": {"a": "", "c": "3"}})
    assert kept.metadata.to_dict() == {"b": "2", "c": "3"}
    assert client.v1.customers.update(made.id, {"metadata": ""}).metadata.to_dict() == {}


# Pages.


def test_pages_are_newest_first_and_follow_on(client, clock):
    made = []
    for _ in range(7):
        made.append(client.v1.customers.create({}).id)
        clock.now += 10
    first = client.v1.customers.list({"limit": 3})
    assert ([one.id for one in first.data], first.has_more, first.url) == (made[:3:-1], True, "/v1/customers")
    assert [one.id for one in first.auto_paging_iter()] == made[::-1]
    last = client.v1.customers.list({"limit": 3, "starting_after": made[1]})
    assert ([one.id for one in last.data], last.has_more) == ([made[0]], False)
    back = client.v1.customers.list({"limit": 2, "ending_before": made[0]})
    assert ([one.id for one in back.data], back.has_more) == ([made[2], made[1]], True)
    when = int(clock.now)
    found = client.v1.customers.list({"created": {"gte": when - 40, "lt": when - 10}})
    assert [one.id for one in found.data] == made[5:2:-1]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "starting_after=cus_x", "created[x]=1"])
def test_bad_pages_are_refused(server, call, query):
    assert call(server, "GET", f"/v1/customers?{query}", key=LOCAL_KEY).status == 400


def test_customers_are_found_by_email_to_the_letter(client):
    made = client.v1.customers.create({"email": "Ada@example.com"})
    assert client.v1.customers.list({"email": "ada@example.com"}).data == []
    client.v1.customers.update(made.id, {"email": "ada@example.com"})
    assert [one.id for one in client.v1.customers.list({"email": "ada@example.com"}).data] == [made.id]
    assert client.v1.customers.list({"email": "Ada@example.com"}).data == []
    client.v1.customers.delete(made.id)
    assert client.v1.customers.list({"email": "ada@example.com"}).data == []
    assert client.v1.customers.retrieve(made.id).deleted is True
    with pytest.raises(stripe.InvalidRequestError, match="No such customer"):
        client.v1.customers.update(made.id, {"name": "x"})


def test_search_by_metadata(client):
    made = client.v1.customers.create({"metadata": {"user_id": "u1"}, "name": "Ada"})
    client.v1.customers.create({"metadata": {"user_id": "u2"}})
    found = client.v1.customers.search({"query": "metadata['user_id']:'u1' AND name:'Ada'"})
    assert [one.id for one in found.data] == [made.id]
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.customers.search({"query": "nonsense"})


def test_expand_puts_the_object_where_its_id_stood_and_refuses_what_cannot_be(client):
    client.v1.products.create({"id": "books", "name": "Books"})
    price = client.v1.prices.create({"product": "books", "currency": "usd", "unit_amount": 500})
    assert price.product == "books"
    assert client.v1.prices.retrieve(price.id, {"expand": ["product"]}).product.name == "Books"
    assert client.v1.prices.list({"expand": ["data.product"]}).data[0].product.name == "Books"
    for path in ("nonsense", "currency", "a.b.c.d.e"):
        with pytest.raises(stripe.InvalidRequestError):
            client.v1.prices.retrieve(price.id, {"expand": [path]})


# Idempotency keys.


def test_the_same_key_and_parameters_replay_the_answer(server, post, clock):
    first = post("/v1/customers", {"email": "a@example.com", "name": "A"}, Idempotency_Key="k1")
    again = post("/v1/customers", {"email": "a@example.com", "name": "A"}, Idempotency_Key="k1")
    assert (again.status, again.body) == (200, first.body)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert len(customers(server)) == 1
    clock.now += 24 * 3600 + 1
    later = post("/v1/customers", {"email": "a@example.com", "name": "A"}, Idempotency_Key="k1")
    assert later.json["id"] != first.json["id"]


def test_a_key_used_for_something_else_is_an_idempotency_error(server, client):
    options = {"idempotency_key": "k1"}
    client.v1.customers.create({"email": "a@example.com"}, options)
    with pytest.raises(stripe.IdempotencyError):
        client.v1.customers.create({"email": "b@example.com"}, options)
    with pytest.raises(stripe.IdempotencyError):
        client.v1.products.create({"name": "a"}, options)
    assert len(customers(server)) == 1


def test_a_key_in_use_is_a_conflict(server, client):
    server.hold_key("k1")
    with pytest.raises(stripe.APIError) as caught:
        client.v1.customers.create({}, {"idempotency_key": "k1", "max_network_retries": 0})
    assert (caught.value.http_status, caught.value.error.code) == (409, "idempotency_key_in_use")
    server.release_key("k1")
    assert client.v1.customers.create({}, {"idempotency_key": "k1"}).id


def test_a_refusal_is_replayed_but_not_one_of_the_parameters(server, post):
    body = {"currency": "usd", "unit_amount": "5", "product": "late"}
    assert post("/v1/prices", body, Idempotency_Key="k1").json["error"]["code"] == "resource_missing"
    post("/v1/products", {"id": "late", "name": "Late"})
    replayed = post("/v1/prices", body, Idempotency_Key="k1")
    assert (replayed.status, replayed.headers["Idempotent-Replayed"]) == (400, "true")
    assert post("/v1/customers", {"nonsense": "1"}, Idempotency_Key="k2").status == 400
    assert post("/v1/customers", {"email": "a@example.com"}, Idempotency_Key="k2").status == 200


def test_keys_are_kept_for_each_account(post, server):
    mine = post("/v1/customers", {"name": "x"}, Idempotency_Key="k")
    theirs = post("/v1/customers", {"name": "x"}, Idempotency_Key="k", Stripe_Account="acct_1")
    assert mine.json["id"] != theirs.json["id"]


def test_sixty_four_at_once_with_one_key_make_one(clock):
    async def run(server):
        http = stripe.AIOHTTPClient()
        api = stripe.StripeClient(server.secret_key, base_addresses={"api": server.url}, http_client=http).v1
        options = {"idempotency_key": "k"}
        try:
            made = [api.customers.create_async({"email": "a@example.com"}, options) for _ in range(64)]
            return {one.id for one in await asyncio.gather(*made)}
        finally:
            await http.close_async()

    with StripeServer(clock=clock) as server:
        assert len(asyncio.run(run(server))) == 1
        assert len(customers(server)) == 1
        assert server.request_count == 64


# Connected accounts.


def test_each_connected_account_has_its_own_books(server, client):
    made = client.v1.customers.create({"email": "a@example.com"}, {"stripe_account": "acct_1"})
    assert client.v1.customers.list().data == []
    assert client.v1.customers.list({}, {"stripe_account": "acct_1"}).data[0].id == made.id
    assert [one["id"] for one in server.objects("customer", account="acct_1")] == [made.id]
    (event,) = server.events
    assert event["account"] == "acct_1"


def test_accounts_that_are_not_connected_are_refused(clock):
    with StripeServer(clock=clock, accounts=["acct_1"]) as server:
        client = client_of(server)
        client.v1.balance.retrieve({}, {"stripe_account": "acct_1"})
        with pytest.raises(stripe.PermissionError):
            client.v1.balance.retrieve({}, {"stripe_account": "acct_2"})


# The rest of the server.


def test_env_points_at_it_and_reset_forgets(server, client):
    assert server.env == {
        "PROVIDER_STRIPE_BASE_URL": server.url,
        "STRIPE_SECRET_KEY": server.secret_key,
        "STRIPE_WEBHOOK_SECRET": server.webhook_secret,
    }
    client.v1.customers.create({}, {"idempotency_key": "k"})
    server.reset()
    assert (customers(server), server.events, server.request_count) == ([], (), 0)
    assert client.v1.customers.create({"name": "other"}, {"idempotency_key": "k"}).name == "other"


def test_the_command_makes_a_server_as_asked():
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    StripeServer.add_options(parser)
    given_ = ["--secret-key", "sk_test_other", "--webhook-url", "http://127.0.0.1:9/x", "--rate-limit", "7"]
    made = StripeServer.from_options(parser.parse_args(given_))
    assert (made.secret_key, made.webhook_url, made.rate_limit) == ("sk_test_other", "http://127.0.0.1:9/x", 7)
    with pytest.raises(ValueError, match="after_retries"):
        StripeServer(after_retries="nonsense")


def test_control_routes(server, client, call):
    customer = client.v1.customers.create({"email": "a@example.com"})
    listed = call(server, "GET", "/_control/objects?kind=customer").json
    assert [one["id"] for one in listed["objects"]] == [customer.id]
    changed = call(server, "POST", "/_control/set_card", {"customer": customer.id, "card": "pm_card_visa"})
    assert changed.status == 204
    assert client.v1.customers.retrieve(customer.id).invoice_settings.default_payment_method.startswith("pm_")
    assert call(server, "POST", "/_control/set_card", {"customer": "cus_x", "card": None}).status == 400
    assert call(server, "POST", "/_control/pay", {"session": "cs_x"}).status == 400
    assert call(server, "POST", "/_control/advance").status == 204
    assert call(server, "POST", "/_control/flush").json == {"delivered": 0, "pending": 0}
    kinds = [event["type"] for event in call(server, "GET", "/_control/events").json["events"]]
    assert kinds == ["customer.created", "payment_method.attached", "customer.updated"]
