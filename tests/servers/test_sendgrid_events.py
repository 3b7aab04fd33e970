"""Events: their bodies, the SDK as judge of the signature, deliveries, webhook settings."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sendgrid.helpers.eventwebhook import EventWebhook, EventWebhookHeader

from providers.testing.servers.sendgrid import SendGridServer

SETTINGS = "/v3/user/webhooks/event/settings"
KINDS = [
    *("processed", "deferred", "delivered", "bounce", "dropped", "open", "click", "spamreport"),
    *("unsubscribe", "group_unsubscribe", "group_resubscribe"),
]


def pem(key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def verified(server, headers, body: bytes) -> bool:
    judge = EventWebhook(server.public_key)
    signature, timestamp = headers[EventWebhookHeader.SIGNATURE], headers[EventWebhookHeader.TIMESTAMP]
    return judge.verify_signature(body.decode(), signature, timestamp)


@pytest.fixture
def hooked(receiver, clock):
    with SendGridServer(clock=clock, webhook_url=receiver.hook) as started:
        yield started


def drain(server: SendGridServer) -> None:
    server.deliver_events()
    assert server.pending_events == 0


# Bodies.


@pytest.mark.parametrize("kind", KINDS)
def test_events_have_the_keys_of_the_samples(server, send, sample, kind):
    send(categories=["campaign"], custom_args={"pm_id": "1"})
    event = server.emit(kind, email="ana@example.com")
    expected = next(each for each in sample("events") if each["event"] == kind)
    assert set(event) == set(expected) - {"send_at"}
    assert {key: type(value) for key, value in event.items()} == {
        key: type(value) for key, value in expected.items() if key != "send_at"
    }
    assert event["sg_message_id"].startswith(server.mails[0].message_id + ".recvd-")
    assert event["smtp-id"].startswith(f"<{server.mails[0].message_id}@")
    assert event["pm_id"] == "1"
    assert event in server.events


def test_a_blocked_bounce(server, send, sample):
    send()
    event = server.emit("blocked", email="ana@example.com")
    expected = next(each for each in sample("events") if each.get("type") == "blocked")
    assert (event["event"], event["type"], event["status"]) == ("bounce", "blocked", expected["status"])


def test_custom_args_do_not_replace_what_is_the_vendors(server, send):
    send(custom_args={"event": "x", "email": "x", "sg_event_id": "x", "own": "y"})
    event = server.events[0]
    assert (event["event"], event["email"], event["own"]) == ("processed", "ana@example.com", "y")
    assert event["sg_event_id"] != "x"


def test_emit_picks_a_message_and_takes_more_keys(server, send, clock):
    first = send(custom_args={"n": "1"}).headers["X-Message-Id"]
    send(custom_args={"n": "2"})
    clock.now += 5
    assert server.emit("open", email="ANA@example.com")["n"] == "2"
    event = server.emit("click", email="ana@example.com", message_id=first, url="https://x.example/", category="c")
    assert (event["n"], event["url"], event["category"]) == ("1", "https://x.example/", "c")
    assert event["timestamp"] == int(clock.now)
    assert server.emit("open", message_id=first + ".recvd-1")["email"] == "ana@example.com"
    assert "sg_message_id" not in server.emit("open", email="nobody@example.com")
    assert "email" not in server.emit("account_status_change")
    with pytest.raises(ValueError, match="nonsense"):
        server.emit("nonsense", email="ana@example.com")


@pytest.mark.parametrize(
    ("kind", "extra", "path"),
    [
        ("bounce", {}, "/v3/suppression/bounces"),
        ("bounce", {"type": "blocked"}, "/v3/suppression/blocks"),
        ("blocked", {}, "/v3/suppression/blocks"),
        ("spamreport", {}, "/v3/suppression/spam_reports"),
        ("unsubscribe", {}, "/v3/suppression/unsubscribes"),
    ],
)
def test_events_fill_the_lists(server, send, call, kind, extra, path):
    send()
    server.emit(kind, email="ana@example.com", **extra)
    assert [entry["email"] for entry in call(server, "GET", path).json] == ["ana@example.com"]
    send()
    # Mail to a blocked address goes out again; all other lists drop it.
    assert server.events[-1]["event"] == ("delivered" if path.endswith("blocks") else "dropped")


def test_group_events_change_the_group(server, send, call):
    server.emit("group_unsubscribe", email="ana@example.com", asm_group_id=7)
    assert call(server, "GET", "/v3/asm/groups/7/suppressions").json == ["ana@example.com"]
    send(asm={"group_id": 7})
    assert server.mails == ()
    server.emit("group_resubscribe", email="ana@example.com", asm_group_id=7)
    send(asm={"group_id": 7})
    assert len(server.mails) == 1


def test_outcomes(call, mail):
    outcomes = {"Bad@example.com": "bounce", "later@example.com": "deferred", "quiet@example.com": "none"}
    with SendGridServer(outcomes=outcomes) as server:
        call(server, "POST", "/v3/mail/send", mail("bad@example.com", "later@example.com", "quiet@example.com"))
        assert [event["event"] for event in server.events] == [
            *("processed", "bounce", "processed", "deferred", "processed")
        ]
        assert [mail.state for mail in server.mails] == ["bounced", "deferred", "processed"]


def test_events_from_another_process(server, send, call):
    send()
    made = call(server, "POST", "/_control/events", {"type": "bounce", "email": "ana@example.com", "reason": "full"})
    assert (made.status, made.json["reason"]) == (201, "full")
    listed = call(server, "GET", "/_control/events?after=1").json
    assert [event["event"] for event in listed["events"]] == ["delivered", "bounce"]
    for body in ([], {}, {"type": "nonsense"}):
        assert call(server, "POST", "/_control/events", body).status == 400
    assert call(server, "POST", "/_control/suppressions", {"list": "blocks", "email": "x@example.com"}).status == 204
    assert call(server, "POST", "/_control/suppressions", {"list": "x"}).status == 400


# Signatures.


def test_the_sdk_verifies_our_signature(server):
    headers, body = server.signed_request([{"event": "open", "email": "jürgen@example.com"}], timestamp=1)
    assert headers[EventWebhookHeader.TIMESTAMP] == "1"
    assert body.endswith(b"]\r\n")
    assert verified(server, headers, body)
    assert not verified(server, headers, body[:-2])
    assert not verified(server, {**headers, EventWebhookHeader.TIMESTAMP: "2"}, body)


def test_our_key_has_the_form_of_the_vendors(server, sample):
    vendor = sample("signature_vectors")["valid"][0]["public_key"]
    assert len(server.public_key) == len(vendor)
    assert server.public_key[:36] == vendor[:36]  # the same algorithm identifier
    assert server.env["SENDGRID_WEBHOOK_PUBLIC_KEY"] == server.public_key


def test_the_key_can_be_given():
    key = pem(ec.generate_private_key(ec.SECP256R1()))
    assert SendGridServer(private_key=key).public_key == SendGridServer(private_key=key.decode()).public_key
    assert SendGridServer().public_key != SendGridServer().public_key
    for wrong in (ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)):
        with pytest.raises(ValueError, match="P-256"):
            SendGridServer(private_key=pem(wrong))


# Deliveries.


def test_events_are_delivered_signed_by_themselves(hooked, receiver, call, mail):
    call(hooked, "POST", "/v3/mail/send", mail())
    receiver.wait_for_requests(1)
    drain(hooked)
    assert [event for batch in receiver.batches for event in batch] == list(hooked.events)
    for request in receiver.requests:
        assert verified(hooked, request.headers, request.body)
        assert request.body.endswith(b"\r\n")
        assert request.headers["Content-Type"].startswith("application/json")


def test_one_request_makes_one_batch(hooked, receiver, call, mail):
    call(hooked, "POST", "/v3/mail/send", mail(*(f"a{i}@example.com" for i in range(50))))
    receiver.wait_for_requests(1)
    drain(hooked)
    assert [len(batch) for batch in receiver.batches] == [100]


def test_batches_end_at_the_size_of_the_vendor(hooked, receiver, call, mail):
    body = mail(*(f"a{i}@example.com" for i in range(100)), custom_args={"pad": "x" * 9_000})
    call(hooked, "POST", "/v3/mail/send", body)
    receiver.wait_for_requests(3)
    drain(hooked)
    assert sum(map(len, receiver.batches)) == 200
    assert max(len(request.body) for request in receiver.requests) <= 768_000


def test_what_is_not_taken_is_kept_and_sent_again(hooked, receiver, call, mail):
    receiver.status = 500
    call(hooked, "POST", "/v3/mail/send", mail())
    receiver.wait_for_requests(1)
    assert hooked.deliver_events() == 0
    assert hooked.pending_events == 2
    call(hooked, "POST", "/v3/mail/send", mail())
    assert receiver.request_count == 2  # a stalled hook waits for the next deliver
    receiver.status = 200
    assert hooked.deliver_events() == 4
    first, *_, last = receiver.requests
    assert first.json() == last.json()[:2]
    assert [event["sg_event_id"] for event in last.json()] == [event["sg_event_id"] for event in hooked.events]
    assert call(hooked, "POST", "/_control/deliver").json == {"delivered": 0, "pending": 0}


def test_close_delivers_what_waits(receiver, call, mail):
    receiver.status = 500
    with SendGridServer(webhook_url=receiver.hook) as server:
        call(server, "POST", "/v3/mail/send", mail())
        receiver.wait_for_requests(1)
        receiver.status = 204
    assert server.pending_events == 0


def test_a_webhook_that_is_not_there(call, mail):
    with SendGridServer(webhook_url="http://127.0.0.1:1/hook") as server:
        call(server, "POST", "/v3/mail/send", mail())
        assert server.deliver_events() == 0
        assert server.pending_events == 2
    with pytest.raises(RuntimeError, match="not running"):
        server.deliver_events()


def test_a_due_mail_is_reported(hooked, receiver, call, mail, clock):
    call(hooked, "POST", "/v3/mail/send", mail(send_at=int(clock.now) + 60))
    clock.now += 60
    drain(hooked)
    assert [event["event"] for batch in receiver.batches for event in batch] == ["processed", "delivered"]


def test_emitted_events_are_delivered(hooked, receiver):
    hooked.emit("unsubscribe", email="ana@example.com")
    receiver.wait_for_requests(1)
    drain(hooked)
    assert receiver.batches[0][0]["event"] == "unsubscribe"


# Settings.


def test_settings(server, receiver, call, mail):
    made = call(
        server, "POST", SETTINGS, {"url": receiver.hook, "enabled": True, "delivered": True, "friendly_name": "n"}
    )
    assert made.status == 201
    hook = made.json
    assert (hook["delivered"], hook["bounce"], hook["spam_report"], hook["friendly_name"]) == (True, False, False, "n")
    assert "public_key" not in hook
    assert hook["created_date"] == "2026-11-22T15:00:00Z"
    again = call(server, "POST", SETTINGS, {"url": receiver.hook})
    assert again.status == 400
    assert again.error == {
        "id": hook["id"],
        "message": f"Webhook at '{receiver.hook}' already exists. Please provide a unique URL.",
        "url": receiver.hook,
    }
    call(server, "POST", "/v3/mail/send", mail())
    receiver.wait_for_requests(1)
    drain(server)
    assert [event["event"] for event in receiver.batches[0]] == ["delivered"]
    assert EventWebhookHeader.SIGNATURE not in receiver.requests[0].headers

    signed = f"{SETTINGS}/signed/{hook['id']}"
    assert call(server, "GET", signed).json == {"id": hook["id"], "public_key": ""}
    assert call(server, "PATCH", signed, {"enabled": True}).json["public_key"] == server.public_key
    assert call(server, "GET", signed).json["public_key"] == server.public_key
    assert call(server, "PATCH", signed, {"enabled": "yes"}).status == 400
    changed = call(server, "PATCH", f"{SETTINGS}/{hook['id']}", {"processed": True, "delivered": False})
    assert (changed.json["processed"], changed.json["public_key"]) == (True, server.public_key)
    call(server, "POST", "/v3/mail/send", mail())
    receiver.wait_for_requests(2)
    drain(server)
    assert [event["event"] for event in receiver.batches[1]] == ["processed"]
    assert verified(server, receiver.requests[1].headers, receiver.requests[1].body)

    assert call(server, "GET", f"{SETTINGS}/{hook['id']}").json["url"] == receiver.hook
    listed = call(server, "GET", f"{SETTINGS}/all").json
    assert (listed["max_allowed"], [each["id"] for each in listed["webhooks"]]) == (5, [hook["id"]])
    assert call(server, "PATCH", f"{SETTINGS}/{hook['id']}", {"enabled": False}).status == 200
    call(server, "POST", "/v3/mail/send", mail())
    assert server.pending_events == 0
    assert call(server, "DELETE", f"{SETTINGS}/{hook['id']}").status == 204
    for method, path in [("GET", hook["id"]), ("DELETE", hook["id"]), ("GET", "signed/none"), ("PATCH", "none")]:
        answer = call(server, method, f"{SETTINGS}/{path}", {})
        assert (answer.status, answer.error["message"]) == (404, "Invalid id provided.")


def test_settings_refusals(server, call):
    for url in ("nonsense", "ftp://a.example", None, "https://"):
        answer = call(server, "POST", SETTINGS, {"url": url})
        assert (answer.status, answer.error["message"]) == (400, f"'{url}' is not a valid url")
    assert call(server, "POST", SETTINGS, {"url": "https://a.example", "open": "yes"}).error["field"] == "open"
    for number in range(5):
        assert call(server, "POST", SETTINGS, {"url": f"https://a{number}.example"}).status == 201
    answer = call(server, "POST", SETTINGS, {"url": "https://b.example"})
    assert "maximum number of webhooks" in answer.error["message"]
    first, second = call(server, "GET", f"{SETTINGS}/all").json["webhooks"][:2]
    answer = call(server, "PATCH", f"{SETTINGS}/{first['id']}", {"url": second["url"]})
    assert answer.error["id"] == second["id"]


def test_the_test_post(server, receiver, call):
    assert call(server, "POST", "/v3/user/webhooks/event/test", {}).error["field"] == "url"
    assert call(server, "POST", "/v3/user/webhooks/event/test", {"url": receiver.hook}).status == 204
    (request,) = receiver.wait_for_requests(1)
    assert {event["event"] for event in json.loads(request.body)} == set(KINDS)
    assert server.events == ()
