"""What can be read back and changed, through the official library where it has a call: pages, filters, deletion."""

import json
import logging
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

from providers.testing.servers import load_server
from providers.testing.servers.twilio import LOCAL_ACCOUNT, LOCAL_NUMBER, LOCAL_TOKEN, TwilioServer

SAMPLES = Path(__file__).parent.parent / "data" / "twilio"
SERVICE = "MG" + "0" * 32
ANA, BO = "+15005550010", "+15005550011"
DAY = 86_400


@pytest.fixture
def server(clock):
    with TwilioServer(clock=clock, messaging_service_sid=SERVICE) as started:
        yield started


CLIENTS: list[Client] = []


@pytest.fixture(autouse=True)
def closed_clients():
    """The SDK closes nothing."""
    yield
    while CLIENTS:
        CLIENTS.pop().http_client.session.close()


def sdk(url, account=LOCAL_ACCOUNT, token=LOCAL_TOKEN) -> Client:
    client = Client(account, token)
    client.api.base_url = url
    CLIENTS.append(client)
    return client


@pytest.fixture
def client(server):
    return sdk(server.url)


def text(client, to=ANA, body="Hi", **more):
    return client.messages.create(to=to, body=body, **({"from_": LOCAL_NUMBER} | more))


def later(client, **more):
    more |= {"messaging_service_sid": SERVICE, "schedule_type": "fixed", "send_at": datetime(2026, 11, 23, tzinfo=UTC)}
    return client.messages.create(to=ANA, body="Hi", **more)


def refused(call):
    with pytest.raises(TwilioRestException) as caught:
        call()
    return caught.value.status, caught.value.code


# One message.


def test_the_sdk_creates_and_reads(client, server, caplog):
    caplog.set_level(logging.WARNING, "twilio")
    sent = text(client, body="Žluťoučký kůň", validity_period=60, smart_encoded=True)
    assert (sent.status, sent.to, sent.from_, sent.num_segments) == ("queued", ANA, LOCAL_NUMBER, "1")
    assert sent.date_created == datetime(2026, 11, 22, 15, tzinfo=UTC)
    fetched = client.messages(sent.sid).fetch()
    assert (fetched.status, fetched.body, fetched.error_code) == ("delivered", "Žluťoučký kůň", None)
    assert [(each.sid, each.sender) for each in server.messages] == [(sent.sid, LOCAL_NUMBER)]
    assert server.messages_to(BO) == ()


def test_the_sdk_reads_our_errors(client):
    with pytest.raises(TwilioRestException) as caught:
        text(client, to="+1500555")
    assert (caught.value.status, caught.value.code) == (400, 21211)
    assert "Invalid 'To' Phone Number: +1500555" in caught.value.msg


def test_a_message_nobody_sent(client):
    missing = client.messages("SM" + "0" * 32)
    for call in (missing.fetch, missing.delete, lambda: missing.update(body="")):
        assert refused(call) == (404, 20404)


def test_a_body_is_emptied_and_not_rewritten(client, server):
    sent = text(client)
    assert sent.update(body="").body == ""
    assert server.messages[0].body == ""
    assert refused(lambda: sent.update(body="Other")) == (400, 20001)
    assert refused(lambda: sent.update(status="sent")) == (400, 20001)
    assert refused(sent.update) == (400, 20001)


def test_only_a_scheduled_text_is_canceled(client):
    assert refused(lambda: text(client).update(status="canceled")) == (400, 30409)
    assert later(client).update(status="canceled").fetch().status == "canceled"


def test_a_text_is_deleted_when_it_is_finished(client, server):
    sent, kept, waiting = text(client), text(client), later(client)
    assert refused(waiting.delete) == (409, 20009)
    assert sent.delete()
    assert refused(sent.fetch) == (404, 20404)
    assert [each.sid for each in client.messages.list()] == [waiting.sid, kept.sid]
    assert [each.sid for each in server.messages] == [kept.sid, waiting.sid]


# The list.


def test_filters(client, clock):
    first = text(client)
    clock.now += DAY
    second = text(client, to=BO)
    clock.now += DAY
    third = text(client, to=BO)
    waiting = client.messages.create(
        to=BO,
        body="Hi",
        messaging_service_sid=SERVICE,
        schedule_type="fixed",
        send_at=datetime(2026, 11, 25, tzinfo=UTC),
    )

    def found(**by):
        return [each.sid for each in client.messages.list(**by)]

    assert found() == [waiting.sid, third.sid, second.sid, first.sid]
    assert found(to=ANA) == [first.sid]
    assert found(to=BO, from_=LOCAL_NUMBER) == [third.sid, second.sid]
    assert found(to="+15005550012") == []
    assert found(date_sent=datetime(2026, 11, 23, 15, tzinfo=UTC)) == [second.sid]
    assert found(date_sent="2026-11-23") == [second.sid]
    assert found(date_sent_after="2026-11-23") == [third.sid, second.sid]
    assert found(date_sent_before="2026-11-23") == [second.sid, first.sid]
    assert found(date_sent_after=datetime(2026, 11, 23, 15, 0, 1, tzinfo=UTC)) == [third.sid]
    assert found(date_sent_before=datetime(2026, 11, 23, 14, 59, tzinfo=UTC)) == [first.sid]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"page_size": 1001}, 20007),
        ({"page_size": 0}, 20001),
        ({"page_size": "many"}, 20001),
        ({"page_number": 1}, 20001),
        ({"page_number": 1, "page_token": "PA1"}, 20001),
        ({"page_number": 1, "page_token": "PA" + "f" * 32}, 20001),
        ({"date_sent": "yesterday"}, 20001),
    ],
)
def test_queries_that_are_refused(client, query, code):
    text(client)
    with pytest.raises(Exception, match=str(code)):
        client.messages.page(**query)


def test_an_unknown_filter_is_refused(client, server):
    path = f"{server.url}/2010-04-01/Accounts/{LOCAL_ACCOUNT}/Messages.json"
    assert json.loads(client.request("GET", path, params={"Status": "sent"}).text)["code"] == 20001


def test_pages_stay_where_they_are_while_texts_arrive_and_go(client):
    sent = [text(client, body=str(number)) for number in range(7)]
    first = client.messages.page(page_size=3)
    assert [each.body for each in first] == ["6", "5", "4"]
    assert first.previous_page_url is None
    text(client, body="new")
    sent[4].delete()
    sent[3].delete()
    second = first.next_page()
    assert [each.body for each in second] == ["2", "1", "0"]
    assert second.next_page_url is None
    assert [each.body for each in second.previous_page()] == ["new", "6", "5"]


def test_a_page_says_where_it_is(client, server):
    for number in range(5):
        text(client, body=str(number))
    pages = [client.messages.page(to=ANA, page_size=2)]
    while pages[-1].next_page_url:
        pages.append(pages[-1].next_page())
    shown = [page._payload for page in pages]
    assert [(each["page"], each["page_size"], each["start"], each["end"]) for each in shown] == [
        (0, 2, 0, 1),
        (1, 2, 2, 3),
        (2, 2, 4, 4),
    ]
    path = f"/2010-04-01/Accounts/{LOCAL_ACCOUNT}/Messages.json?To=%2B15005550010&PageSize=2&Page="
    assert all(each["first_page_uri"] == path + "0" for each in shown)
    assert shown[0]["next_page_uri"].startswith(path + "1&PageToken=PA")
    assert shown[2]["next_page_uri"] is None
    assert [each.body for each in pages[2].previous_page()] == ["2", "1"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([ANA, BO]), max_size=23), st.integers(1, 9))
def test_the_sdk_walks_all_pages_once_whatever_their_size(client, server, numbers, size):
    server.reset()
    sids = [text(client, to=number).sid for number in numbers]
    assert [each.sid for each in client.messages.list(page_size=size)] == sids[::-1]
    to_bo = [sid for sid, number in zip(sids, numbers, strict=True) if number == BO]
    assert [each.sid for each in client.messages.list(to=BO, page_size=size)] == to_bo[::-1]
    assert len(client.messages.list(page_size=size, limit=2)) == min(2, len(sids))


# The account.


def test_the_balance_goes_down_by_what_is_sent(client, server):
    sample = json.loads((SAMPLES / "responses.json").read_text(encoding="utf-8"))["balance"]["body"]
    balance = client.balance.fetch()
    assert {"account_sid": balance.account_sid, "balance": balance.balance, "currency": balance.currency} == sample
    server.outcomes[BO] = "failed:30007"
    text(client, body="a" * 161)
    text(client, to=BO)
    assert client.balance.fetch().balance == "14.1842"


def test_the_account_shows_its_token_as_the_real_one_does(client, server):
    account = client.api.accounts(LOCAL_ACCOUNT).fetch()
    assert (account.status, account.type, account.auth_token) == ("active", "Full", server.auth_token)


# How it runs.


def test_the_variables_that_point_at_it(server):
    assert server.env == {
        "PROVIDER_TWILIO_BASE_URL": server.url,
        "TWILIO_ACCOUNT_SID": LOCAL_ACCOUNT,
        "TWILIO_AUTH_TOKEN": server.auth_token,
        "TWILIO_PHONE_NUMBER": LOCAL_NUMBER,
        "TWILIO_MESSAGING_SERVICE_SID": SERVICE,
    }
    with TwilioServer(callback_url="https://flowsend.example.com/hook") as other:
        assert "TWILIO_MESSAGING_SERVICE_SID" not in other.env
        assert other.env["TWILIO_STATUS_CALLBACK_URL"] == "https://flowsend.example.com/hook"


def test_reset_forgets_texts_opt_outs_and_spending(client, server):
    text(client)
    server.receive(ANA, "STOP")
    server.reset()
    assert (server.messages, server.inbound, server.requests) == ((), (), ())
    assert client.balance.fetch().balance == "14.20"
    assert text(client).status == "queued"


def test_many_threads_write_and_read_at_once(server):
    problems = []

    def work(number):
        try:
            own, client = f"+1500555{number:04}", sdk(server.url)
            for count in range(20):
                text(client, to=own, body=str(count))
                assert len(server.messages_to(own)) == count + 1
                server.receive(own, "Hi")
        except Exception as error:  # noqa: BLE001 - told below
            problems.append(error)

    threads = [threading.Thread(target=work, args=(1000 + number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert (len(server.messages), len(server.inbound)) == (120, 120)
    assert len({each.sid for each in (*server.messages, *server.inbound)}) == 240


def test_the_command(receiver):
    assert load_server("twilio") is TwilioServer
    command = [sys.executable, "-m", "providers.testing.servers", "twilio", "--messaging-service-sid", SERVICE]
    command += ["--outcome", f"{ANA}=failed:30007", "--inbound-url", receiver.hook, "--number", "12345"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            told = json.loads(process.stdout.readline())
            env = told["env"]
            client = sdk(env["PROVIDER_TWILIO_BASE_URL"], env["TWILIO_ACCOUNT_SID"], env["TWILIO_AUTH_TOKEN"])
            assert text(client, from_="12345").fetch().error_code == 30007
            assert client.messages.create(to=BO, body="Hi", messaging_service_sid=SERVICE).status == "accepted"
        finally:
            process.send_signal(signal.SIGTERM)
    assert process.returncode == 0
