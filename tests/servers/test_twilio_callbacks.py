"""Webhooks: bodies as the samples, the SDK as judge of the signature, scheduled texts, inbound texts."""

import json
from pathlib import Path
from urllib.parse import parse_qs, parse_qsl, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twilio.base.exceptions import TwilioRestException
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from providers.testing.servers.twilio import LOCAL_ACCOUNT, LOCAL_NUMBER, LOCAL_TOKEN, TwilioServer, signature

SAMPLES = Path(__file__).parent.parent / "data" / "twilio"
SERVICE = "MG" + "0" * 32
ANA = "+15005550010"


def samples(name):
    return json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))


CLIENTS: list[Client] = []


@pytest.fixture(autouse=True)
def closed_clients():
    """The SDK closes nothing."""
    yield
    while CLIENTS:
        CLIENTS.pop().http_client.session.close()


def sdk(server) -> Client:
    client = Client(server.account_sid, server.auth_token)
    client.api.base_url = server.url
    CLIENTS.append(client)
    return client


@pytest.fixture
def start(clock, receiver):
    """Starts servers, and closes them before the receiver, which they may be posting to."""
    started = []

    def start(**options):
        options = {"clock": clock, "messaging_service_sid": SERVICE} | options
        started.append(TwilioServer(**options).start())
        return started[-1]

    yield start
    for server in started:
        server.close()


def send(server, receiver, **changes):
    given = {"to": ANA, "from_": LOCAL_NUMBER, "body": "Hi", "status_callback": receiver.hook} | changes
    return sdk(server).messages.create(**{key: value for key, value in given.items() if value is not None})


def drain(server) -> None:
    server.flush()
    assert server.pending_callbacks == 0


def forms(receiver):
    return [dict(parse_qsl(request.body.decode(), keep_blank_values=True)) for request in receiver.requests]


def accepted(request, url, token=LOCAL_TOKEN):
    """Whether the vendor's own validator accepts a form."""
    fields = dict(parse_qsl(request.body.decode(), keep_blank_values=True))
    return RequestValidator(token).validate(url, fields, request.headers["X-Twilio-Signature"])


# The signature.


@pytest.mark.parametrize("vector", [each for each in samples("signature_vectors") if "form" in each])
def test_signatures_of_forms_are_the_vendors(vector):
    pairs = [
        (name, value)
        for name, values in vector["form"].items()
        for value in (values if isinstance(values, list) else [values])
    ]
    assert signature(vector["auth_token"], vector["url"], pairs) == vector["signature"]


def test_the_signature_of_a_json_body_is_the_vendors():
    (vector,) = [each for each in samples("signature_vectors") if "raw_body" in each]
    assert signature(vector["auth_token"], vector["url"]) == vector["signature"]


WORDS = st.text(max_size=9)


@settings(deadline=None)
@given(WORDS, st.text("abz09%/=&?", max_size=9), st.dictionaries(WORDS, WORDS, max_size=5))
def test_the_sdk_computes_the_same_signature(token, path, fields):
    url = f"https://shop.example.com/{path}"
    assert signature(token, url, fields.items()) == RequestValidator(token).compute_signature(url, fields)


# Status callbacks.


@pytest.mark.parametrize("end", ["delivered", "undelivered:30003", "failed:30007"])
def test_callbacks_have_the_fields_of_the_samples(start, receiver, end):
    server = start(outcomes={ANA: end})
    sent = send(server, receiver)
    drain(server)
    wanted = {each["MessageStatus"]: each for each in samples("status_callbacks")}
    final = end.partition(":")[0]
    got = {form["MessageStatus"]: form for form in forms(receiver)}
    assert list(got) == (["failed"] if final == "failed" else ["sent", final])
    for status, form in got.items():
        changed = {"MessageSid": sent.sid, "SmsSid": sent.sid}
        if status == "delivered":
            changed["RawDlrDoneDate"] = "2611221500"
        assert form == wanted[status] | changed


def test_the_sdk_accepts_callbacks_and_nothing_that_was_changed(start, receiver):
    server = start()
    url = receiver.hook + "?message=42&who=a%2Fb%20c"
    send(server, receiver, status_callback=url + "#rc=3&rp=all")
    drain(server)
    for request in receiver.requests:
        assert request.query.pairs == (("message", "42"), ("who", "a/b c"))
        assert request.headers["Content-Type"].startswith("application/x-www-form-urlencoded")
        assert request.headers["I-Twilio-Idempotency-Token"]
        assert accepted(request, url)
        assert not accepted(request, url + "1")
        assert not accepted(request, url, token="another")
    assert len(receiver.requests) == 2


def test_a_service_gives_its_sid_and_the_sender_it_chose(start, receiver):
    server = start(sending=True)
    send(server, receiver, from_=None, messaging_service_sid=SERVICE)
    drain(server)
    assert [form["MessageStatus"] for form in forms(receiver)] == ["queued", "sending", "sent", "delivered"]
    assert {(form["From"], form["MessagingServiceSid"]) for form in forms(receiver)} == {(LOCAL_NUMBER, SERVICE)}


def test_callbacks_come_by_themselves_and_in_order(start, receiver):
    server = start()
    sids = [send(server, receiver, body=f"Hi {number}").sid for number in range(10)]
    receiver.wait_for_requests(20)
    assert [(form["MessageSid"], form["MessageStatus"]) for form in forms(receiver)] == [
        (sid, status) for sid in sids for status in ("sent", "delivered")
    ]


def test_without_a_callback_url_nothing_is_posted(start, receiver):
    server = start(callback_url=receiver.hook)
    send(server, receiver, status_callback=None)
    assert server.flush() == 0
    assert receiver.requests == ()


def test_a_failed_callback_is_not_posted_again(start, receiver):
    server = start()
    receiver.status = 500
    send(server, receiver)
    receiver.wait_for_requests(2)
    receiver.status = 204
    drain(server)
    server.close()
    assert receiver.request_count == 2


def test_callbacks_twice(start, receiver):
    server = start(duplicated=True)
    send(server, receiver)
    receiver.wait_for_requests(4)
    drain(server)
    assert [form["MessageStatus"] for form in forms(receiver)] == ["sent", "sent", "delivered", "delivered"]
    tokens = [request.headers["I-Twilio-Idempotency-Token"] for request in receiver.requests]
    assert tokens[0] == tokens[1] != tokens[2] == tokens[3]


def test_callbacks_out_of_order(start, receiver, clock):
    server = start(shuffled=True)
    sids = []
    for number in range(20):  # they leave together when the clock passes their time
        later = {"from_": None, "messaging_service_sid": SERVICE, "schedule_type": "fixed"}
        sids.append(send(server, receiver, body=str(number), send_at="2026-11-22T16:00:00Z", **later).sid)
    clock.now += 3600
    drain(server)
    receiver.wait_for_requests(60)
    posted = [(form["MessageSid"], form["MessageStatus"]) for form in forms(receiver)]
    in_order = [(sid, status) for sid in sids for status in ("queued", "sent", "delivered")]
    assert posted != in_order
    assert sorted(posted) == sorted(in_order)


def test_callbacks_as_json(start, receiver):
    server = start(json_callbacks=True)
    url = receiver.hook + "?message=42"
    send(server, receiver, status_callback=url)
    drain(server)
    request = receiver.requests[0]
    assert request.json()["MessageStatus"] == "sent"
    digest = request.query["bodySHA256"]
    signed = f"{url}&bodySHA256={digest}"
    judge = RequestValidator(LOCAL_TOKEN)
    given, body = request.headers["X-Twilio-Signature"], request.body.decode()
    assert judge.validate(signed, body, given)
    assert not judge.validate(signed, body + " ", given)


def test_a_callback_made_by_hand(start):
    server = start()
    url, headers, body = server.signed_request(
        "https://shop.example.com/hook?a=1", {"MessageStatus": "sent", "Empty": ""}
    )
    fields = {name: values[0] for name, values in parse_qs(body.decode(), keep_blank_values=True).items()}
    assert RequestValidator(LOCAL_TOKEN).validate(url, fields, headers["X-Twilio-Signature"])


# Scheduled texts.


def scheduled(server, receiver):
    return send(
        server,
        receiver,
        from_=None,
        messaging_service_sid=SERVICE,
        schedule_type="fixed",
        send_at="2026-11-22T16:00:00Z",
    )


def test_a_scheduled_text_leaves_when_its_time_comes(start, receiver, clock):
    server = start()
    sent = scheduled(server, receiver)
    assert (sent.status, sent.num_segments, sent.from_, sent.date_sent) == ("scheduled", "0", None, None)
    clock.now += 3599
    assert sent.fetch().status == "scheduled"
    assert server.flush() == 0
    clock.now += 1
    assert sent.fetch().status == "delivered"
    drain(server)
    receiver.wait_for_requests(3)
    assert [form["MessageStatus"] for form in forms(receiver)] == ["queued", "sent", "delivered"]


def test_a_scheduled_text_can_be_canceled_once(start, receiver, clock):
    server = start()
    sent = scheduled(server, receiver)
    assert sent.update(status="canceled").status == "canceled"
    with pytest.raises(TwilioRestException) as refused:
        sent.update(status="canceled")
    assert (refused.value.status, refused.value.code) == (400, 30409)
    clock.now += 7200
    assert sent.fetch().status == "canceled"
    drain(server)
    receiver.wait_for_requests(1)
    assert [form["MessageStatus"] for form in forms(receiver)] == ["canceled"]


def test_a_scheduled_text_to_one_who_said_stop_meanwhile_fails(start, receiver, clock):
    server = start()
    sent = scheduled(server, receiver)
    server.receive(ANA, "STOP")
    clock.now += 3600
    fetched = sent.fetch()
    assert (fetched.status, fetched.error_code) == ("failed", 21610)


# Inbound texts.


def test_an_inbound_text_is_posted_and_accepted_by_the_sdk(start, receiver):
    server = start(callback_url="http://127.0.0.1:1/nowhere", inbound_url=receiver.hook)
    text = server.receive(ANA, "Where is it? 👍")
    (request,) = receiver.wait_for_requests(1)
    assert accepted(request, receiver.hook)
    assert forms(receiver) == [
        {
            "MessageSid": text.sid,
            "SmsMessageSid": text.sid,
            "SmsSid": text.sid,
            "SmsStatus": "received",
            "To": LOCAL_NUMBER,
            "From": ANA,
            "Body": "Where is it? 👍",
            "NumSegments": "1",
            "NumMedia": "0",
            "AccountSid": LOCAL_ACCOUNT,
            "ApiVersion": "2010-04-01",
            "MessagingServiceSid": SERVICE,
        }
    ]
    assert server.messages == ()
    assert server.inbound == (text,)
    listed = sdk(server).messages.list(from_=ANA)
    assert [(each.direction, each.status) for each in listed] == [("inbound", "received")]


@pytest.mark.parametrize(("body", "word"), [("Stop", "STOP"), ("yes", "START"), ("help", "HELP"), ("stop it", None)])
def test_the_kind_of_keyword_is_told_by_option(start, receiver, body, word):
    start(inbound_url=receiver.hook, opt_out_type=True).receive(ANA, body)
    receiver.wait_for_requests(1)
    start(inbound_url=receiver.hook).receive(ANA, body)
    receiver.wait_for_requests(2)
    assert [form.get("OptOutType") for form in forms(receiver)] == [word, None]


def test_nobody_can_text_a_number_that_is_not_ours(start):
    server = start()
    for person, to in ((ANA, "+15005559999"), ("Ana", None)):
        with pytest.raises(ValueError, match="cannot text"):
            server.receive(person, "Hi", to)


# From another process.


def test_the_control_routes(start, receiver, call):
    server = start(inbound_url=receiver.hook)
    sent = send(server, receiver)
    listed = call(server, "GET", "/_control/messages").json
    assert [(each["sid"], each["status"]) for each in listed["messages"]] == [(sent.sid, "delivered")]
    got = call(server, "POST", "/_control/receive", {"from": ANA, "body": "STOP"})
    assert (got.status, got.json["status"], got.json["to"]) == (201, "received", LOCAL_NUMBER)
    inbound = call(server, "GET", "/_control/messages?direction=inbound").json
    assert [each["body"] for each in inbound["messages"]] == ["STOP"]
    flushed = call(server, "POST", "/_control/flush").json
    assert flushed["pending"] == 0
    receiver.wait_for_requests(3)
    with pytest.raises(TwilioRestException, match="unsubscribed"):
        send(server, receiver)
    assert call(server, "POST", "/_control/receive", {"body": "STOP"}).status == 400
    assert call(server, "POST", "/_control/receive", {"from": "Ana"}).status == 400
    assert call(server, "POST", "/_control/reset").status == 204
    assert (server.messages, server.inbound, server.pending_callbacks) == ((), (), 0)
    assert send(server, receiver).status == "queued"


def test_a_text_is_read_back_from_a_recorded_request():
    form = {
        "To": ANA,
        "MessagingServiceSid": SERVICE,
        "Body": "Hi",
        "SendAt": "2020-01-01T00:00:00Z",
        "ScheduleType": "fixed",
    }
    path = f"/2010-04-01/Accounts/{LOCAL_ACCOUNT}/Messages.json"
    (text,) = TwilioServer.messages_of("POST", path, urlencode(form).encode())
    assert (text.to, text.service, text.body, text.status) == (ANA, SERVICE, "Hi", "scheduled")
    assert TwilioServer.messages_of("GET", path, b"") == []
    assert TwilioServer.messages_of("POST", path.replace("Messages", "Messages/SM1"), b"Status=canceled") == []
