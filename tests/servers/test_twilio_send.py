"""POST Messages.json: replies as the samples have them, every rule by its code, magic numbers, limits."""

import asyncio
import base64
import json
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
import pytest

from providers.testing.servers import Fault
from providers.testing.servers.twilio import LOCAL_ACCOUNT, LOCAL_NUMBER, LOCAL_TOKEN, TwilioServer

SAMPLES = Path(__file__).parent.parent / "data" / "twilio"
SERVICE = "MG" + "0" * 32
BASE = f"/2010-04-01/Accounts/{LOCAL_ACCOUNT}"
PATH = f"{BASE}/Messages.json"
ANA = "+15005550010"
FORM = "application/x-www-form-urlencoded"
WITH_SERVICE = {"From": ..., "MessagingServiceSid": SERVICE}
SOON = "2026-11-22T16:00:00Z"  # the clock says 15:00


def samples(name):
    return json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def server(clock):
    with TwilioServer(clock=clock, messaging_service_sid=SERVICE, numbers=["+15005550055", "12345"]) as started:
        yield started


@pytest.fixture
def ask(call):
    """One request with Basic auth."""

    def ask(server, method, path, form=None, *, user=LOCAL_ACCOUNT, password=LOCAL_TOKEN, kind=FORM):
        headers = {"Authorization": basic(user, password)} if user else {}
        data = None
        if form is not None:
            headers["Content-Type"] = kind
            data = urlencode(form, doseq=True).encode()
        return call(server, method, path, data=data, headers=headers, key="")

    return ask


@pytest.fixture
def send(server, ask):
    """Sends a text that is in order, with changes (``...`` takes a field out)."""

    def send(on=server, **changes):
        form = {"To": ANA, "From": LOCAL_NUMBER, "Body": "Your order 1001 has shipped."} | changes
        return ask(on, "POST", PATH, {key: value for key, value in form.items() if value is not ...})

    return send


def error(answer):
    body = answer.json
    assert body["status"] == answer.status
    assert body["more_info"] == f"https://www.twilio.com/docs/errors/{body['code']}"
    return answer.status, body["code"]


# Replies.


def like(body, sample):
    changing = {"sid", "date_created", "date_updated", "date_sent", "uri", "subresource_uris"}
    assert list(body) == list(sample)
    assert {key: value for key, value in body.items() if key not in changing} == {
        key: value for key, value in sample.items() if key not in changing
    }


def test_the_sample_form_gives_the_sample_reply(server, ask):
    answer = ask(server, "POST", PATH, samples("create_message_form"))
    sample = samples("responses")["created"]
    assert answer.status == sample["status"]
    like(answer.json, sample["body"])
    sid = answer.json["sid"]
    assert len(sid) == 34
    assert answer.json["uri"] == f"{BASE}/Messages/{sid}.json"
    assert answer.json["subresource_uris"] == {"media": f"{BASE}/Messages/{sid}/Media.json"}
    assert answer.json["date_created"] == "Sun, 22 Nov 2026 15:00:00 +0000"
    assert answer.headers["Twilio-Request-Id"].startswith("RQ")


def test_a_text_through_a_service_has_no_sender_and_no_parts_yet(server, send):
    like(send(**WITH_SERVICE).json, samples("responses")["created_via_service"]["body"])
    (text,) = server.messages
    assert (text.sender, text.segments, text.service) == (LOCAL_NUMBER, 1, SERVICE)
    assert text.history == ["accepted", "queued", "sent", "delivered"]


def test_a_text_is_delivered_after_the_reply_and_priced_later(server, send, ask, clock):
    sent = send(Body="a" * 161).json
    assert (sent["status"], sent["num_segments"], sent["price"], sent["date_sent"]) == ("queued", "2", None, None)
    shown = ask(server, "GET", sent["uri"]).json
    assert (shown["status"], shown["price"]) == ("delivered", None)
    assert shown["date_sent"] == "Sun, 22 Nov 2026 15:00:00 +0000"
    clock.now += 60
    assert ask(server, "GET", sent["uri"]).json["price"] == "-0.01580"


def test_an_undelivered_text_reads_as_the_sample(server, send, ask):
    server.outcomes[ANA] = "undelivered:30003"
    like(ask(server, "GET", send().json["uri"]).json, samples("responses")["fetched_undelivered"]["body"])


@pytest.mark.parametrize(
    ("outcome", "statuses", "code"),
    [
        ("delivered", ["queued", "sent", "delivered"], None),
        ("sent", ["queued", "sent"], None),
        ("queued", ["queued"], None),
        ("undelivered:30005", ["queued", "sent", "undelivered"], 30005),
        ("failed:30007", ["queued", "failed"], 30007),
        ("failed", ["queued", "failed"], 30008),
    ],
)
def test_outcomes(server, send, ask, outcome, statuses, code, clock):
    server.outcomes[ANA] = outcome
    uri = send().json["uri"]
    (text,) = server.messages
    assert text.history == statuses
    clock.now += 3600
    shown = ask(server, "GET", uri).json
    assert (shown["status"], shown["error_code"]) == (statuses[-1], code)
    assert (shown["price"] is None) is (statuses[-1] in {"queued", "failed"})


def test_an_outcome_nobody_knows_is_refused_at_once():
    for outcome in ("lost", "failed:soon", "99999"):
        with pytest.raises(ValueError, match="no outcome"):
            TwilioServer(outcomes={ANA: outcome})


def test_media_make_it_an_mms(server, send):
    answer = send(MediaUrl=["https://example.com/a.png", "https://example.com/b.png"]).json
    assert (answer["sid"][:2], answer["num_media"], answer["num_segments"]) == ("MM", "2", "1")
    assert server.messages[0].media == ("https://example.com/a.png", "https://example.com/b.png")
    assert send(Body=..., MediaUrl="https://example.com/a.png").status == 201


def test_smart_encoding_counts_the_plain_characters(send):
    body = "It\u2019s here " + "a" * 80
    assert send(Body=body).json["num_segments"] == "2"
    assert send(Body=body, SmartEncoded="true").json["num_segments"] == "1"


def test_all_fields_of_the_spec_are_taken(send):
    answer = send(
        StatusCallback="https://flowsend.example.com/hook?message=42",
        ApplicationSid="AP" + "0" * 32,
        ProvideFeedback="true",
        Attempt="1",
        ValidityPeriod="36000",
        ForceDelivery="false",
        ContentRetention="discard",
        AddressRetention="obfuscate",
        PersistentAction=["geo:1,2", "geo:3,4"],
        TrafficType="free",
        SendAsMms="false",
        ContentSid="HX" + "0" * 32,
        ContentVariables='{"1": "Ana"}',
        RiskCheck="disable",
        MaxPrice="0.05",
    )
    assert answer.status == 201


# What the form may not be.


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"To": ...}, 21604),
        ({"To": ""}, 21604),
        ({"To": "+1500555"}, 21211),
        ({"To": "15005550010"}, 21211),
        ({"To": "+05005550010"}, 21211),
        ({"To": "+150055500101"}, 21211),
        ({"To": "+49" + "1" * 14}, 21211),
        ({"To": ANA + "\n"}, 21211),
        ({"To": LOCAL_NUMBER}, 21266),
        ({"From": ...}, 21603),
        ({"From": "+1 500"}, 21212),
        ({"From": "TwelveLetters"}, 21212),
        ({"From": "+15005559999"}, 21606),
        ({"From": "Shop"}, 21612),
        ({"MessagingServiceSid": SERVICE}, 20001),
        ({**WITH_SERVICE, "MessagingServiceSid": "MG1"}, 21705),
        ({**WITH_SERVICE, "MessagingServiceSid": "MG" + "1" * 32}, 21704),
        ({"Body": ...}, 21602),
        ({"Body": ""}, 21602),
        ({"Body": "a" * 1601}, 21617),
        ({"MediaUrl": ["https://example.com/a.png"] * 11}, 21623),
        ({"MediaUrl": "a.png"}, 21620),
        ({"ContentSid": "HX1"}, 21655),
        ({"ContentVariables": "{}"}, 21656),
        ({"ContentSid": "HX" + "0" * 32, "ContentVariables": "[]"}, 21656),
        ({"ContentSid": "HX" + "0" * 32, "ContentVariables": "{"}, 21656),
        ({"StatusCallback": "/hook"}, 21609),
        ({"StatusCallback": "ftp://example.com/hook"}, 21609),
        ({"StatusCallback": "https://flow_send.example.com/hook"}, 21609),
        ({"StatusCallback": "https://example.com/a hook"}, 21609),
        ({"StatusCallback": "https://example.com:port/hook"}, 21609),
        ({"StatusCallback": "https://example.com/" + "a" * 4000}, 21609),
        ({"ValidityPeriod": "0"}, 20001),
        ({"ValidityPeriod": "36001"}, 20001),
        ({"ValidityPeriod": "1.5"}, 20001),
        ({"Attempt": "no"}, 20001),
        ({"SmartEncoded": "yes"}, 20001),
        ({"RiskCheck": "maybe"}, 20001),
        ({"MaxPrice": "cheap"}, 20001),
        ({"ApplicationSid": "AP1"}, 20001),
        ({"ShortenUrls": "true"}, 20001),
        ({"Metadata": "1"}, 20001),
        ({"body": "lower case"}, 20001),
        ({"Body": ["one", "two"]}, 20001),
        ({**WITH_SERVICE, "SendAt": SOON}, 35117),
        ({**WITH_SERVICE, "ScheduleType": "fixed"}, 35111),
        ({"SendAt": SOON, "ScheduleType": "fixed"}, 35118),
        ({**WITH_SERVICE, "SendAt": SOON, "ScheduleType": "daily"}, 20001),
        ({**WITH_SERVICE, "SendAt": "tomorrow", "ScheduleType": "fixed"}, 35114),
        ({**WITH_SERVICE, "SendAt": "2026-11-22T15:14:59Z", "ScheduleType": "fixed"}, 35114),
        ({**WITH_SERVICE, "SendAt": "2026-12-27T15:00:01Z", "ScheduleType": "fixed"}, 35114),
    ],
)
def test_what_is_refused(server, send, changes, code):
    assert error(send(**changes)) == (400, code)
    assert server.messages == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"Body": "a" * 1600},
        {"Body": "👍" * 1600},
        {"From": "+15005550055"},
        {"From": "12345"},
        {"From": "Shop", "To": "+4915112345678"},
        {"MediaUrl": ["https://example.com/a.png"] * 10},
        {"StatusCallback": "https://flowsend.example.com/my_hook?a_b=1"},
        {"ValidityPeriod": "1"},
        {**WITH_SERVICE, "ShortenUrls": "true"},
        {**WITH_SERVICE, "SendAt": "2026-11-22T15:15:00Z", "ScheduleType": "fixed"},
        {**WITH_SERVICE, "SendAt": "2026-12-27T15:00:00Z", "ScheduleType": "fixed"},
        {**WITH_SERVICE, "SendAt": "2026-11-22T17:00:00+01:00", "ScheduleType": "fixed"},
    ],
)
def test_what_is_just_within_the_rules(send, changes):
    assert send(**changes).status == 201


def test_a_form_that_is_none_has_no_recipient(server, ask):
    assert error(ask(server, "POST", PATH, {"To": ANA}, kind="application/json")) == (400, 21604)


def test_without_strictness_the_vendor_takes_more(clock, send):
    with TwilioServer(clock=clock, messaging_service_sid=SERVICE, strict=False, numbers=["12345"]) as server:
        assert send(server, Metadata="1").status == 201
        assert send(server, MessagingServiceSid=SERVICE, From="12345").status == 201
        at_once = send(server, SendAt=SOON, ScheduleType="fixed").json
    assert at_once["status"] == "queued"
    assert [text.status for text in server.messages] == ["delivered"] * 3
    assert server.messages[1].sender == "12345"


@pytest.mark.parametrize("code", [21211, 21408, 21608, 21610, 21611, 21612, 21614, 21635])
def test_a_refusal_by_outcome(server, send, code):
    server.outcomes[ANA] = str(code)
    assert error(send()) == (400, code)
    assert send(To="+15005550011").status == 201


@pytest.mark.parametrize(
    ("name", "act"),
    [
        ("bad_to", lambda _, send: send(To="+1500555")),
        ("unsubscribed", lambda server, send: server.receive(ANA, "STOP") and send()),
        ("not_mobile", lambda server, send: server.outcomes.update({ANA: "21614"}) or send()),
        ("rate", lambda server, send: setattr(server, "rate_limit", 0) or send()),
    ],
)
def test_error_bodies_are_the_samples(server, send, name, act):
    answer, sample = act(server, send), samples("responses")[name]
    assert (answer.status, answer.json) == (sample["status"], sample["body"])


def test_errors_as_problem_details(clock, send):
    with TwilioServer(clock=clock, problem_details=True) as server:
        answer = send(server, To="+1500555")
        empty = send(server, Body="").json
    sample = samples("responses")["problem_json"]["body"]
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert list(answer.json) == list(sample)
    assert (answer.json["code"], answer.json["type"]) == (sample["code"], sample["type"])
    assert answer.json["errors"][0]["pointer"] == "#/To"
    assert empty["errors"][0]["pointer"] == "#/Body"


# Who may send.


def test_credentials(clock, ask):
    sample = samples("responses")["auth"]
    key = "SK" + "0" * 32
    with TwilioServer(clock=clock, keys={key: "secret"}) as server:
        for user, password in ((LOCAL_ACCOUNT, "wrong"), (key, "wrong"), ("AC1", LOCAL_TOKEN), ("", "")):
            answer = ask(server, "GET", PATH, user=user, password=password)
            assert (answer.status, answer.json) == (sample["status"], sample["body"])
            assert answer.headers["WWW-Authenticate"].startswith("Basic")
        assert ask(server, "GET", PATH, user=key, password="secret").status == 200
        for path in (f"{BASE}/Balance.json", f"{BASE}.json"):
            assert error(ask(server, "GET", path, user=key, password="secret")) == (401, 20003)
            assert ask(server, "GET", path).status == 200


def test_the_account_of_another_is_not_found(server, ask):
    other = PATH.replace(LOCAL_ACCOUNT, "AC" + "1" * 32)
    answer = ask(server, "POST", other, {"To": ANA})
    assert error(answer) == (404, 20404)
    assert other in answer.json["message"]


def test_paths_and_methods_nobody_has(server, ask):
    assert error(ask(server, "GET", "/2010-04-01/Nothing.json")) == (404, 20404)
    assert error(ask(server, "PUT", PATH)) == (405, 20004)


def test_an_account_that_is_suspended(clock, send):
    with TwilioServer(clock=clock, status="suspended") as server:
        assert error(send(server)) == (403, 20005)


def test_a_trial_account_texts_verified_numbers_only(clock, send, ask):
    with TwilioServer(clock=clock, verified=[ANA]) as server:
        assert send(server).status == 201
        assert error(send(server, To="+15005550011")) == (400, 21608)
        assert ask(server, "GET", f"{BASE}.json").json["type"] == "Trial"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"From": "+15005550001"}, 21212),
        ({"From": "+15005550007"}, 21606),
        ({"From": "+15005550008"}, 21611),
        ({"From": "+15005550055"}, 21606),
        ({"To": "+15005550001"}, 21211),
        ({"To": "+15005550002"}, 21612),
        ({"To": "+15005550003"}, 21408),
        ({"To": "+15005550004"}, 21610),
        ({"To": "+15005550009"}, 21614),
    ],
)
def test_magic_numbers(clock, send, changes, code):
    with TwilioServer(clock=clock, test_credentials=True, numbers=["+15005550055"]) as server:
        assert error(send(server, **changes)) == (400, code)


def test_test_credentials_deliver_nothing_and_read_nothing(clock, receiver, send, ask):
    with TwilioServer(clock=clock, test_credentials=True) as server:
        sent = send(server, StatusCallback=receiver.hook).json
        assert sent["status"] == "queued"
        for path in (sent["uri"], PATH, f"{BASE}/Balance.json", f"{BASE}.json"):
            assert error(ask(server, "GET", path)) == (403, 20008)
        assert server.flush() == 0
    assert [text.history for text in server.messages] == [["queued"]]
    assert receiver.requests == ()


def test_stop_counts_for_the_sender_and_its_service(server, send):
    assert server.receive(ANA, " stop\n").status == "received"
    assert error(send()) == (400, 21610)
    assert error(send(**WITH_SERVICE)) == (400, 21610)
    assert send(From="+15005550055").status == 201
    assert send(To="+15005550011").status == 201
    server.receive(ANA, "please start")
    assert error(send()) == (400, 21610)
    server.receive(ANA, "START")
    assert send().status == 201
    assert send(**WITH_SERVICE).status == 201


def test_stop_to_a_number_in_no_service_counts_for_that_number(server, send):
    server.receive(ANA, "UNSUBSCRIBE", to="+15005550055")
    assert error(send(From="+15005550055")) == (400, 21610)
    assert send().status == 201
    assert send(**WITH_SERVICE).status == 201


# Limits.


def test_the_rate_limit_counts_refused_calls_too(clock, send):
    with TwilioServer(clock=clock, rate_limit=2, retry_after=3) as server:
        assert send(server).status == 201
        assert error(send(server, Body="")) == (400, 21602)
        answer = send(server)
        assert error(answer) == (429, 20429)
        assert answer.headers["Retry-After"] == "3"
        clock.now += 1
        assert send(server).status == 201
        assert len(server.messages) == 2


def test_requests_at_once_are_limited(clock, send, ask):
    with TwilioServer(clock=clock, concurrency=1) as server:
        server.stage(Fault.SLOW_HEADERS)

        async def hold():
            headers = {"Authorization": basic(LOCAL_ACCOUNT, LOCAL_TOKEN)}
            async with aiohttp.ClientSession(headers=headers) as session:
                held = asyncio.create_task(session.get(server.url + PATH))
                await server.received(1)
                refused = await session.get(server.url + PATH)
                server.release()
                return refused.status, (await held).status

        assert asyncio.run(hold()) == (429, 200)
        assert send(server).status == 201
