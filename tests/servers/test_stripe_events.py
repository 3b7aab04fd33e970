"""Events: the library as judge of the signature, endpoints, deliveries that stall, repeat and come out of order."""

import json
from pathlib import Path

import pytest
import stripe

from providers.testing.servers.stripe import API_VERSION, StripeServer

SAMPLES = Path(__file__).parent.parent / "data" / "stripe"
ALL = ["*"]


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setattr(stripe, "enable_telemetry", False)


@pytest.fixture
def server(clock):
    with StripeServer(clock=clock) as started:
        yield started


@pytest.fixture
def hooked(receiver, clock):
    with StripeServer(clock=clock, webhook_url=receiver.hook, webhook_secret="whsec_own") as started:
        yield started


def services(server):
    http = stripe.RequestsClient()
    return stripe.StripeClient(server.secret_key, base_addresses={"api": server.url}, http_client=http).v1


@pytest.fixture
def api(server):
    return services(server)


def opened(request, secret):
    header = request.headers["Stripe-Signature"]
    return stripe.Webhook.construct_event(request.body, header, secret, tolerance=None)


def test_the_library_takes_what_is_posted(hooked, receiver, clock):
    made = services(hooked).customers.create({"email": "a@example.com"}, {"idempotency_key": "key-1"})
    hooked.flush()
    (request,) = receiver.requests
    event = opened(request, "whsec_own")
    assert (event.type, event.data.object.id) == ("customer.created", made.id)
    assert (event.api_version, event.livemode) == (API_VERSION, False)
    assert (event.created, event.request.idempotency_key) == (int(clock.now), "key-1")
    assert request.headers["Stripe-Signature"].startswith(f"t={int(clock.now)},v1=")
    with pytest.raises(stripe.SignatureVerificationError):
        opened(request, "whsec_other")


def test_events_have_the_members_of_the_sample(hooked, receiver):
    services(hooked).customers.create({})
    hooked.flush()
    wanted = json.loads((SAMPLES / "event_invoice_paid.json").read_text(encoding="utf-8"))
    assert set(receiver.requests[0].json()) == set(wanted)


def test_updates_say_what_was_before(server, api):
    made = api.customers.create({"name": "A", "metadata": {"a": "1", "b": "2"}})
    api.customers.update(made.id, {"name": "B", "metadata": {"b": "3", "c": "4"}})
    api.customers.update(made.id, {"name": "B"})
    assert [event["type"] for event in server.events] == ["customer.created", "customer.updated"]
    data = server.events[-1]["data"]
    assert data["previous_attributes"] == {"name": "A", "metadata": {"b": "2", "c": None}}
    assert data["object"]["metadata"] == {"a": "1", "b": "3", "c": "4"}
    assert "previous_attributes" not in server.events[0]["data"]


def test_a_rolled_secret_signs_twice(hooked, receiver):
    hooked.roll_secret("whsec_new")
    services(hooked).customers.create({})
    hooked.flush()
    (request,) = receiver.requests
    assert request.headers["Stripe-Signature"].count("v1=") == 2
    assert opened(request, "whsec_own").id == opened(request, "whsec_new").id
    assert hooked.env["STRIPE_WEBHOOK_SECRET"] == "whsec_new"


def test_what_is_signed_by_hand_is_taken_too(hooked):
    headers, body = hooked.signed_request({"id": "evt_1", "object": "event", "type": "x.y"}, timestamp=5)
    event = stripe.Webhook.construct_event(body, headers["Stripe-Signature"], "whsec_own", tolerance=None)
    assert event.id == "evt_1"


def test_endpoints_show_their_secret_once(server, api, receiver):
    given = {"url": receiver.hook, "enabled_events": ["product.created"], "api_version": "2025-03-31.basil"}
    made = api.webhook_endpoints.create({**given, "description": "shop", "metadata": {"a": "b"}})
    sample = json.loads((SAMPLES / "webhook_endpoint_created.json").read_text(encoding="utf-8"))
    assert sample.keys() <= made.to_dict().keys()
    assert made.secret.startswith("whsec_")
    (listed,) = api.webhook_endpoints.list().data
    assert "secret" not in listed.to_dict()
    assert "secret" not in api.webhook_endpoints.retrieve(made.id).to_dict()
    api.customers.create({})
    api.products.create({"name": "Mug"})
    server.flush()
    (request,) = receiver.requests
    event = opened(request, made.secret)
    assert (event.type, event.api_version) == ("product.created", "2025-03-31.basil")


def test_endpoints_change_and_go(server, api, receiver):
    made = api.webhook_endpoints.create({"url": receiver.hook, "enabled_events": ALL})
    assert api.webhook_endpoints.update(made.id, {"disabled": True}).status == "disabled"
    api.customers.create({})
    assert api.webhook_endpoints.update(made.id, {"disabled": False, "enabled_events": ["customer.deleted"]}).id
    customer = api.customers.create({})
    api.customers.delete(customer.id)
    server.flush()
    assert [request.json()["type"] for request in receiver.requests] == ["customer.deleted"]
    assert api.webhook_endpoints.delete(made.id).deleted is True
    api.customers.delete(api.customers.create({}).id)
    server.flush()
    assert receiver.request_count == 1
    with pytest.raises(stripe.InvalidRequestError):
        api.webhook_endpoints.retrieve(made.id)


def test_there_are_at_most_sixteen_endpoints(api):
    for number in range(16):
        api.webhook_endpoints.create({"url": f"https://x.example/{number}", "enabled_events": ALL})
    with pytest.raises(stripe.InvalidRequestError, match="maximum of 16"):
        api.webhook_endpoints.create({"url": "https://x.example/16", "enabled_events": ALL})


@pytest.mark.parametrize("change", [{"url": "x.example"}, {"enabled_events": ["nonsense"]}, {"enabled_events": []}])
def test_endpoints_that_cannot_be_are_refused(api, change):
    with pytest.raises(stripe.InvalidRequestError):
        api.webhook_endpoints.create({"url": "https://x.example", "enabled_events": ALL, **change})


def test_events_of_connected_accounts_go_to_connect_endpoints(server, api, receiver):
    api.webhook_endpoints.create({"url": receiver.hook + "?own", "enabled_events": ALL})
    api.webhook_endpoints.create({"url": receiver.hook + "?connect", "enabled_events": ALL, "connect": True})
    api.customers.create({})
    api.customers.create({}, {"stripe_account": "acct_1"})
    server.flush()
    found = [
        (request.path.partition("?")[0], *request.query, request.json().get("account")) for request in receiver.requests
    ]
    assert len(receiver.requests) == 2
    assert sorted(each[1:] for each in found) == [("connect", "acct_1"), ("own", None)]


def test_events_stay_until_they_are_taken(hooked, receiver):
    receiver.status = 500
    services(hooked).customers.create({})
    hooked.flush()
    assert (hooked.pending_events, receiver.request_count > 0) == (1, True)
    receiver.status = 204
    assert hooked.flush() == 1
    assert len({request.body for request in receiver.requests}) == 1
    assert hooked.pending_events == 0


def test_events_go_out_by_themselves(hooked, receiver):
    services(hooked).customers.create({})
    (request,) = receiver.wait_for_requests(1)
    assert opened(request, "whsec_own").type == "customer.created"


def test_events_may_come_twice_and_out_of_order(receiver, clock):
    receiver.status = 500  # so that they gather
    with StripeServer(clock=clock, webhook_url=receiver.hook, shuffle=True, duplicate=True) as server:
        api = services(server)
        for number in range(10):
            api.customers.create({"name": str(number)})
        server.flush()
        receiver.status = 204
        receiver.reset()
        assert server.flush() == 20
        names = [request.json()["data"]["object"]["name"] for request in receiver.requests]
        assert sorted(names) == sorted([str(number) for number in range(10)] * 2)
        assert names != sorted(names)
        ids = {request.json()["id"] for request in receiver.requests}
        assert ids == {event["id"] for event in server.events}


def test_events_are_listed_newest_first(server, api):
    customer = api.customers.create({"name": "A"})
    api.products.create({"name": "Mug"})
    api.customers.update(customer.id, {"name": "B"})
    found = api.events.list().data
    assert [one.type for one in found] == ["customer.updated", "product.created", "customer.created"]
    assert [one.type for one in api.events.list({"type": "customer.*"}).data] == [
        "customer.updated",
        "customer.created",
    ]
    assert [one.type for one in api.events.list({"types": ["product.created"]}).data] == ["product.created"]
    assert api.events.retrieve(found[0].id).data.object.name == "B"
    with pytest.raises(stripe.InvalidRequestError):
        api.events.retrieve("evt_x")


def test_an_event_keeps_what_was_then(server, api):
    customer = api.customers.create({"name": "A"})
    api.customers.update(customer.id, {"name": "B"})
    assert server.events[0]["data"]["object"]["name"] == "A"
