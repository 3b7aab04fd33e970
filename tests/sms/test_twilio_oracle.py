"""The vendor's own library as a judge: the same call, made by both, is the same request on the wire.

Taken out on purpose is our part of the callback URL, which the library is then given to send; and the headers by which
each says what it is.
"""

import asyncio
import json
import logging
from base64 import b64decode
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic_core import to_json
from twilio.http import AsyncHttpClient, HttpClient
from twilio.rest import Client

from providers import Providers, Ref, Settings
from providers.core.clock import utc
from providers.core.errors import (
    BadResponseError,
    ConfigurationError,
    InvalidRequestError,
    NotFoundError,
    ProviderError,
    ProviderUnavailableError,
    UnsupportedOperationError,
)
from providers.core.transport import HttpResponse
from providers.sms import SmsMessage, SmsState
from providers.sms.twilio import TwilioSms
from providers.testing.clock import START, ManualClock

DATA = Path(__file__).parent.parent / "data" / "twilio"
REPLIES = json.loads((DATA / "responses.json").read_text(encoding="utf-8"))
SID, TOKEN = "AC00000000000000000000000000000000", "canary-token-000000000000000000"
NUMBER, SERVICE = "+15005550006", "MG00000000000000000000000000000000"
TEXT = "SM00000000000000000000000000000001"
CALLBACK = "https://flowsend.example.com/webhooks/twilio"
CREDENTIALS = {"TWILIO_ACCOUNT_SID": SID, "TWILIO_AUTH_TOKEN": TOKEN, "TWILIO_PHONE_NUMBER": NUMBER}


def reply(name):
    return HttpResponse(REPLIES[name]["status"], {}, to_json(REPLIES[name]["body"]))


def opened(transport=None, *, base_url=None, **credentials):
    settings = Settings(
        mode="live",
        vendors={"sms": "twilio"},
        credentials={name: value for name, value in (CREDENTIALS | credentials).items() if value},
        base_urls={"twilio": base_url} if base_url else {},
        environ={},
        env_file=None,
    )
    return Providers(settings, clock=ManualClock(), transport=transport)


def text(to="+15005550010", body="Your order 1001 has shipped.", **changes):
    return SmsMessage(to=to, body=body, **changes)


def call(transport, step, **credentials):
    async def scenario():
        async with opened(transport, **credentials) as providers:
            return await step(providers)

    return asyncio.run(scenario())


class Captured(Exception):  # noqa: N818 (it is no error)
    """What the library was about to send."""


class Capturing(HttpClient):
    def request(self, method, url, params=None, data=None, headers=None, auth=None, timeout=None, **others):
        raise Captured(requests.Request(method, url, headers, data=data, params=params, auth=auth).prepare())


class CapturingAsync(AsyncHttpClient):
    async def request(self, method, url, params=None, data=None, headers=None, auth=None, timeout=None, **others):
        raise Captured(requests.Request(method, url, headers, data=data, params=params, auth=auth).prepare())


def wire(request):
    """Method, URL without its query, query, form and login of a request of either side."""
    content = getattr(request, "content", None) or getattr(request, "body", None) or b""
    url = urlsplit(request.url)
    headers = {name.lower(): value for name, value in request.headers.items()}
    if content:
        assert headers["content-type"] == "application/x-www-form-urlencoded"
    form = content.decode() if isinstance(content, bytes) else content
    return (
        request.method,
        url._replace(query="").geturl(),
        sorted(parse_qsl(url.query, keep_blank_values=True, strict_parsing=bool(url.query))),
        sorted(parse_qsl(form, keep_blank_values=True, strict_parsing=bool(form))),
        b64decode(headers["authorization"].removeprefix("Basic ")).decode(),
    )


def theirs(step, *login, **options):
    client = Client(
        *(login or (SID, TOKEN)),
        http_client=Capturing(logging.getLogger(__name__), is_async=False),
        environment={"none": ""},
        **options,
    )
    with pytest.raises(Captured) as caught:
        step(client)
    return wire(caught.value.args[0])


@pytest.fixture
def created(scripted):
    return scripted(reply("created"))


@pytest.fixture
def ours(created):
    """Our request for a message."""

    def sent(message, **credentials):
        result = call(created, lambda p: p.sms.send(message), **credentials)
        assert result.ref == Ref(vendor="twilio", id=TEXT)
        return wire(created.requests[-1])

    return sent


def callback_of(request):
    return dict(request[3])["StatusCallback"]


BODIES = [
    "Your order 1001 has shipped.",
    "a=b&c=d+e%20f;g?#~*'()!,/:@$",
    "Zażółć gęślą jaźń — “кот” 👍🏽 中文 \u200d",
    "line one\nline two\r\n\ttab\f€^{}\\[~]|",
    " spaces around ",
    "x" * 1600,
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_a_text_from_a_number(ours, body):
    expected = theirs(lambda c: c.messages.create(to="+15005550010", from_=NUMBER, body=body))
    assert ours(text(body=body)) == expected


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300).filter(str.strip))
def test_any_text_at_all(ours, body):
    assert ours(text(body=body)) == theirs(lambda c: c.messages.create(to="+15005550010", from_=NUMBER, body=body))


@pytest.mark.parametrize("sender", ["+15005550007", "12345", "Demo Shop"])
def test_a_text_from_another_sender(ours, sender):
    expected = theirs(lambda c: c.messages.create(to="+4915112345678", from_=sender, body="Hi"))
    assert ours(text("+49 (151) 123-45678", "Hi", sender=sender)) == expected


def test_a_text_through_a_messaging_service(ours):
    expected = theirs(lambda c: c.messages.create(to="+15005550010", messaging_service_sid=SERVICE, body="Hi"))
    assert ours(text(body="Hi", sender=SERVICE)) == expected
    assert ours(text(body="Hi"), TWILIO_MESSAGING_SERVICE_SID=SERVICE) == expected
    assert ours(text(body="Hi"), TWILIO_MESSAGING_SERVICE_SID=SERVICE, TWILIO_PHONE_NUMBER="") == expected


def test_the_documented_form(ours):
    form = json.loads((DATA / "create_message_form.json").read_text(encoding="utf-8"))
    message = text(
        form["To"],
        form["Body"],
        sender=form["From"],
        valid_for=int(form["ValidityPeriod"]),
        vendor_options={"twilio": {"SmartEncoded": True, "StatusCallback": form["StatusCallback"]}},
    )
    expected = theirs(
        lambda c: c.messages.create(
            to=form["To"],
            from_=form["From"],
            body=form["Body"],
            validity_period=14_400,
            smart_encoded=True,
            status_callback=form["StatusCallback"],
        )
    )
    assert ours(message) == expected
    assert dict(expected[3]) == form


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=-5, minutes=-30)), timezone(timedelta(hours=14))])
def test_a_scheduled_text(ours, zone):
    moment = utc(START + 86_400)
    expected = theirs(
        lambda c: c.messages.create(
            to="+15005550010", messaging_service_sid=SERVICE, body="Hi", send_at=moment, schedule_type="fixed"
        )
    )
    message = text(body="Hi", send_at=moment.astimezone(zone))
    assert ours(message, TWILIO_MESSAGING_SERVICE_SID=SERVICE) == expected
    assert ours(message.model_copy(update={"sender": SERVICE})) == expected


def test_a_scheduled_text_from_a_number_goes_through_the_configured_service(ours):
    moment = utc(START + 86_400)
    expected = theirs(
        lambda c: c.messages.create(
            to="+15005550010",
            from_=NUMBER,
            messaging_service_sid=SERVICE,
            body="Hi",
            send_at=moment,
            schedule_type="fixed",
        )
    )
    message = text(body="Hi", send_at=moment, sender=NUMBER)
    assert ours(message, TWILIO_MESSAGING_SERVICE_SID=SERVICE) == expected


def test_vendor_options_as_the_library_writes_them(ours):
    media = ["https://shop.example.com/a.png?x=1&y=2", "https://shop.example.com/b.png"]
    variables = json.dumps({"1": "Ana & Ben"}, separators=(",", ":"))
    options = {
        "MediaUrl": media,
        "SmartEncoded": True,
        "ShortenUrls": False,
        "SendAsMms": True,
        "Attempt": 2,
        "ContentVariables": {"1": "Ana & Ben"},
        "RiskCheck": "disable",
        "PersistentAction": ["geo:1,2|here"],
        "ApplicationSid": None,
    }
    expected = theirs(
        lambda c: c.messages.create(
            to="+15005550010",
            from_=NUMBER,
            body="Hi",
            media_url=media,
            smart_encoded=True,
            shorten_urls=False,
            send_as_mms=True,
            attempt=2,
            content_variables=variables,
            risk_check="disable",
            persistent_action=["geo:1,2|here"],
        )
    )
    assert ours(text(body="Hi", vendor_options={"twilio": options, "sns": {"Ignored": "1"}})) == expected


@pytest.mark.parametrize("url", [CALLBACK, CALLBACK + "?shop=7&x=%20", CALLBACK + "?", CALLBACK + "?a&#rc=3&rp=all"])
def test_a_callback_url_with_ours_in_its_query(ours, url):
    request = ours(text(metadata={"a&b": "Zoë=1+👍"}, tags=("x", "y")), TWILIO_STATUS_CALLBACK_URL=url)
    callback = callback_of(request)
    assert request == theirs(
        lambda c: c.messages.create(
            to="+15005550010", from_=NUMBER, body="Your order 1001 has shipped.", status_callback=callback
        )
    )
    before, after = urlsplit(url), urlsplit(callback)
    assert after._replace(query="") == before._replace(query="")
    own = parse_qsl(before.query, keep_blank_values=True)
    added = parse_qsl(after.query, keep_blank_values=True)
    assert added[: len(own)] == own
    assert [name for name, _ in added[len(own) :]] == ["pm_id", "pm_data"]


def test_the_library_sends_the_same_over_asyncio(ours):
    async def scenario():
        client = Client(
            SID, TOKEN, http_client=CapturingAsync(logging.getLogger(__name__), is_async=True), environment={"none": ""}
        )
        await client.messages.create_async(to="+15005550010", from_=NUMBER, body="Zoë")

    with pytest.raises(Captured) as caught:
        asyncio.run(scenario())
    assert ours(text(body="Zoë")) == wire(caught.value.args[0])


def test_an_api_key_logs_in_instead_of_the_token(ours):
    expected = theirs(
        lambda c: c.messages.create(to="+15005550010", from_=NUMBER, body="Hi"), "SKkey", "key-secret", SID
    )
    assert ours(text(body="Hi"), TWILIO_API_KEY_SID="SKkey", TWILIO_API_KEY_SECRET="key-secret") == expected
    assert expected[-1] == "SKkey:key-secret"


@pytest.mark.parametrize(
    ("places", "host"),
    [
        ({"region": "ie1", "edge": "dublin"}, "api.dublin.ie1.twilio.com"),
        ({"region": "ie1"}, "api.ie1.twilio.com"),
        ({"edge": "sydney"}, "api.sydney.us1.twilio.com"),
        ({}, "api.twilio.com"),
    ],
)
def test_the_host_of_a_region_and_an_edge(ours, places, host):
    expected = theirs(lambda c: c.messages.create(to="+15005550010", from_=NUMBER, body="Hi"), **places)
    assert ours(text(body="Hi"), **{f"TWILIO_{name.upper()}": value for name, value in places.items()}) == expected
    assert urlsplit(expected[1]).hostname == host


def test_a_base_url_of_ones_own_wins_over_the_region(created):
    credentials = {"TWILIO_REGION": "ie1", "base_url": "http://127.0.0.1:9/"}
    call(created, lambda p: p.sms.send(text()), **credentials)
    assert created.requests[0].url == f"http://127.0.0.1:9/2010-04-01/Accounts/{SID}/Messages.json"


def test_the_status_of_a_text(scripted):
    transport = scripted(reply("fetched_undelivered"))
    status = call(transport, lambda p: p.sms.status(f"twilio:{TEXT}"))
    assert wire(transport.requests[0]) == theirs(lambda c: c.messages(TEXT).fetch())
    assert (status.state, status.code, status.permanent, status.segments) == (SmsState.UNDELIVERED, "30003", False, 1)
    assert status.updated_at == datetime(2026, 11, 22, 12, tzinfo=UTC)
    assert status.reason
    assert status.price is None
    assert status.raw == REPLIES["fetched_undelivered"]["body"]


def test_what_a_text_cost_is_positive(scripted):
    body = REPLIES["created"]["body"] | {"price": "-0.01580", "price_unit": "usd", "status": "delivered"}
    status = call(scripted(HttpResponse(200, {}, to_json(body))), lambda p: p.sms.status(f"twilio:{TEXT}"))
    assert str(status.price) == "0.01580 USD"


@pytest.mark.parametrize(
    "name", ["x", "SM1", "../Balance", "MG" + "0" * 32, "SM" + "g" * 32, TEXT + "/Media", TEXT + "?a"]
)
def test_a_ref_that_is_no_message_is_not_found_and_nothing_is_asked(created, name):
    with pytest.raises(NotFoundError) as caught:
        call(created, lambda p: p.sms.status(Ref(vendor="twilio", id=name)))
    assert caught.value.field == "ref"
    assert not created.requests


@pytest.mark.parametrize(("status", "expected"), [
    ("accepted", "queued"), ("queued", "queued"), ("sending", "queued"), ("scheduled", "scheduled"), ("sent", "sent"),
    ("delivered", "delivered"), ("undelivered", "undelivered"), ("failed", "failed"), ("canceled", "canceled"),
    ("read", "delivered"), ("partially_delivered", "sent"), ("teleported", "unknown"), ("", "unknown"),
])  # fmt: skip
def test_the_vendors_states_are_ours(scripted, status, expected):
    answer = HttpResponse(201, {}, to_json(REPLIES["created"]["body"] | {"status": status}))
    assert call(scripted(answer), lambda p: p.sms.send(text())).status == expected
    assert call(scripted(answer), lambda p: p.sms.status(f"twilio:{TEXT}")).state == expected


def test_a_service_that_has_not_counted_yet_leaves_the_counting_to_us(scripted):
    long = "ж" * 71
    assert call(scripted(reply("created_via_service")), lambda p: p.sms.send(text(body=long))).segments == 2
    answer = HttpResponse(201, {}, to_json(REPLIES["created"]["body"] | {"num_segments": "3"}))
    assert call(scripted(answer), lambda p: p.sms.send(text(body=long))).segments == 3


# What cannot be sent is refused before anything is.


def refused(created, message, **credentials):
    with pytest.raises(ProviderError) as caught:
        call(created, lambda p: p.sms.send(message), **credentials)
    assert not created.requests
    assert not caught.value.may_have_applied
    return caught.value


@pytest.mark.parametrize("name", ["To", "Body"])
def test_options_replace_neither_the_number_nor_the_text(created, name):
    error = refused(created, text(vendor_options={"twilio": {name: "x"}}))
    assert isinstance(error, InvalidRequestError)
    assert error.field == f"vendor_options.twilio.{name}"


def test_a_time_to_send_at_needs_a_service(created):
    error = refused(created, text(send_at=utc(START + 86_400)))
    assert isinstance(error, UnsupportedOperationError)
    assert (error.field, "TWILIO_MESSAGING_SERVICE_SID" in str(error)) == ("send_at", True)


def test_metadata_that_no_callback_url_can_hold_is_refused(created):
    error = refused(created, text(metadata={"a": "👍" * 900}), TWILIO_STATUS_CALLBACK_URL=CALLBACK)
    assert isinstance(error, InvalidRequestError)
    assert error.field == "metadata"


def test_metadata_of_the_name_of_our_id_is_refused(created):
    error = refused(created, text(metadata={"pm_id": "x"}), TWILIO_STATUS_CALLBACK_URL=CALLBACK)
    assert isinstance(error, InvalidRequestError)
    assert error.field == "metadata.pm_id"


@pytest.mark.parametrize(
    ("credentials", "field", "names"),
    [
        ({"TWILIO_PHONE_NUMBER": ""}, "TWILIO_PHONE_NUMBER", ["TWILIO_PHONE_NUMBER", "TWILIO_MESSAGING_SERVICE_SID"]),
        ({"TWILIO_PHONE_NUMBER": "call me!"}, "TWILIO_PHONE_NUMBER", ["TWILIO_PHONE_NUMBER"]),
        ({"TWILIO_MESSAGING_SERVICE_SID": "MG1"}, "TWILIO_MESSAGING_SERVICE_SID", ["TWILIO_MESSAGING_SERVICE_SID"]),
        ({"TWILIO_API_KEY_SID": "SK1"}, "TWILIO_API_KEY_SECRET", ["TWILIO_API_KEY_SECRET"]),
        ({"TWILIO_API_KEY_SECRET": "s3cr3t-s3cr3t"}, "TWILIO_API_KEY_SID", ["TWILIO_API_KEY_SID"]),
        ({"TWILIO_REGION": "evil.example.com/"}, "TWILIO_REGION", ["TWILIO_REGION"]),
        ({"TWILIO_EDGE": "a.b"}, "TWILIO_EDGE", ["TWILIO_EDGE"]),
        ({"TWILIO_STATUS_CALLBACK_URL": "flowsend.example.com"}, "TWILIO_STATUS_CALLBACK_URL", ["http"]),
        ({"TWILIO_STATUS_CALLBACK_URL": "ftp://x.example.com"}, "TWILIO_STATUS_CALLBACK_URL", ["http"]),
        (
            {"TWILIO_STATUS_CALLBACK_URL": "https://flow_send.example.com/"},
            "TWILIO_STATUS_CALLBACK_URL",
            ["underscore"],
        ),
        ({"TWILIO_STATUS_CALLBACK_URL": "https:///path"}, "TWILIO_STATUS_CALLBACK_URL", ["host"]),
        ({"TWILIO_STATUS_CALLBACK_URL": "https://x.example.com/ä"}, "TWILIO_STATUS_CALLBACK_URL", ["encoded"]),
        ({"TWILIO_STATUS_CALLBACK_URL": "https://[::1/"}, "TWILIO_STATUS_CALLBACK_URL", ["URL"]),
    ],
)
def test_settings_that_cannot_work_are_named(created, credentials, field, names):
    error = refused(created, text(), **credentials)
    assert isinstance(error, ConfigurationError)
    assert error.field == field
    assert all(name in str(error) for name in names)
    assert "s3cr3t" not in str(error)


def test_without_a_callback_url_none_is_sent_and_nothing_correlates(ours, created):
    assert "StatusCallback" not in dict(ours(text(metadata={"a": "1"}))[3])

    async def correlates(providers, expected):
        assert providers.sms.unwrap(TwilioSms).correlates is expected

    call(created, lambda p: correlates(p, expected=False))
    call(created, lambda p: correlates(p, expected=True), TWILIO_STATUS_CALLBACK_URL=CALLBACK)


# Looking up a text whose outcome is unknown.


def listed(**changes):
    return REPLIES["created"]["body"] | changes


def page(*messages, following=None):
    return HttpResponse(200, {}, to_json({"messages": list(messages), "next_page_uri": following, "page": 0}))


def stamp(seconds):
    return utc(START + seconds).strftime("%a, %d %b %Y %H:%M:%S +0000")


def sid(number):
    return f"SM{number:032x}"


def found(scripted, message, pages, **credentials):
    """What is found of a message sent at `START`, and the requests it took."""
    left = list(pages)
    transport = scripted(lambda _: left.pop(0))

    async def step(providers):
        return await providers.sms.unwrap(TwilioSms).find(message, START)

    return call(transport, step, **credentials), transport.requests


def test_a_look_up_reads_the_texts_to_the_number_as_the_library_lists_them(scripted):
    sent, (request,) = found(scripted, text(), [page(listed(date_created=stamp(1)))])
    assert [str(one.ref) for one in sent] == [f"twilio:{TEXT}"]
    assert sent[0].raw == listed(date_created=stamp(1))
    assert wire(request) == theirs(lambda c: c.messages.page(to="+15005550010", page_size=100))


def test_a_look_up_takes_only_the_same_words_from_the_same_sender_since_then_oldest_first(scripted):
    message = text()
    others = [
        listed(sid=sid(1), date_created=stamp(9)),
        listed(sid=sid(2), date_created=stamp(8), body="Something else"),
        listed(sid=sid(3), date_created=stamp(7), **{"from": "+15005550007"}),
        listed(sid=sid(4), date_created=stamp(6), body=None),
        listed(sid=sid(5), date_created=stamp(5), body="Sent from your Twilio trial account - " + message.body),
        listed(sid=sid(6), date_created=stamp(-5)),
        listed(sid=sid(7), date_created=stamp(-6)),
    ]
    sent, _ = found(scripted, message, [page(*others)])
    assert [one.ref.id for one in sent] == [sid(6), sid(5), sid(1)]


def test_a_look_up_of_a_text_of_a_service_goes_by_the_service(scripted):
    messages = [
        listed(sid=sid(1), date_created=stamp(3), messaging_service_sid=SERVICE, **{"from": None}),
        listed(sid=sid(2), date_created=stamp(2), messaging_service_sid=SERVICE, **{"from": "+15005550008"}),
        listed(sid=sid(3), date_created=stamp(1), messaging_service_sid="MG" + "1" * 32),
        listed(sid=sid(4), date_created=stamp(1)),
    ]
    sent, _ = found(scripted, text(sender=SERVICE), [page(*messages)])
    assert [one.ref.id for one in sent] == [sid(2), sid(1)]


def test_a_look_up_follows_the_vendors_own_links_until_the_texts_are_too_old(scripted):
    path = f"/2010-04-01/Accounts/{SID}/Messages.json"
    links = [f"{path}?To=%2B15005550010&PageSize=100&Page={n}&PageToken=PASM{n}" for n in (1, 2, 3)]
    pages = [
        page(listed(sid=sid(3), date_created=stamp(3)), following=links[0]),
        page(listed(sid=sid(2), date_created=stamp(2)), following=links[1]),
        page(listed(sid=sid(1), date_created=stamp(-60)), following=links[2]),
    ]
    sent, requests_made = found(scripted, text(), pages)
    assert [one.ref.id for one in sent] == [sid(2), sid(3)]
    assert [request.url for request in requests_made[1:]] == ["https://api.twilio.com" + link for link in links[:2]]
    assert len({request.headers["Authorization"] for request in requests_made}) == 1


def test_a_look_up_ends_after_ten_pages(scripted):
    link = f"/2010-04-01/Accounts/{SID}/Messages.json?Page=1"
    endless = [page(listed(sid=sid(n), date_created=stamp(1)), following=link) for n in range(30)]
    sent, requests_made = found(scripted, text(), endless)
    assert len(sent) == len(requests_made) == 10


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example.com/2010-04-01/Messages.json?x",
        "//evil.example.com/x",
        "@evil.example.com/x",
        ".evil.example.com/x",
        f"/2010-04-01/Accounts/AC{'1' * 32}/Messages.json?x",
        f"/2010-04-01/Accounts/{SID}/Messages.json?x y",
        f"/2010-04-01/Accounts/{SID}/Messages.json?x\r\nHost: evil.example.com",
        f"/2010-04-01/Accounts/{SID}.json",
    ],
)
def test_a_link_that_leads_elsewhere_is_not_followed(scripted, link):
    requests_made = []
    with pytest.raises(BadResponseError):
        found(
            lambda answer: keep(scripted(answer), requests_made),
            text(),
            [page(listed(date_created=stamp(1)), following=link)],
        )
    assert len(requests_made[0].requests) == 1


def keep(transport, kept):
    kept.append(transport)
    return transport


def test_a_text_of_unknown_outcome_is_found_and_not_sent_again(scripted):
    def answer(request):
        if request.method == "POST":
            return ProviderUnavailableError("the connection was lost before the reply", code="connection_lost")
        return page(listed(date_created=stamp(0)))

    transport = scripted(answer)

    async def twice(providers):
        return [await providers.sms.send(text(), idempotency_key="order-1001") for _ in range(2)]

    first, second = call(transport, twice)
    assert str(first.ref) == str(second.ref) == f"twilio:{TEXT}"
    assert [request.method for request in transport.requests] == ["POST", "GET"]


# Whether the credentials work.

TEST_MODE = HttpResponse(
    403, {}, b'{"code": 20008, "message": "Resource not accessible with Test Account Credentials", "status": 403}'
)
KEY = {"TWILIO_API_KEY_SID": "SK" + "0" * 32, "TWILIO_API_KEY_SECRET": "key-secret-0000"}


def test_the_balance_proves_the_credentials(scripted):
    transport = scripted(reply("balance"))
    (result,) = call(transport, lambda p: p.sms.check())
    assert wire(transport.requests[0]) == theirs(lambda c: c.balance.fetch())
    assert (result.ok, result.sandbox, str(result.quota.remaining), result.quota.unit) == (True, False, "14.20", "USD")


def test_test_credentials_are_a_sandbox(scripted):
    (result,) = call(scripted(TEST_MODE), lambda p: p.sms.check())
    assert (result.ok, result.sandbox) == (True, True)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (reply("auth"), "Authenticate"),
        (HttpResponse(403, {}, b'{"code": 20005, "message": "Account suspended", "status": 403}'), "Account suspended"),
        (HttpResponse(403, {}, b"<html>blocked by a proxy</html>"), "HTTP 403"),
    ],
)
def test_credentials_that_are_refused(scripted, answer, told):
    transport = scripted(answer)
    (result,) = call(transport, lambda p: p.sms.check())
    assert result.state == "refused"
    assert told in result.detail
    assert len(transport.requests) == 1


@pytest.mark.parametrize(("credentials", "status"), [(KEY, 401), (KEY, 403), ({}, 404)])
def test_who_may_not_see_the_balance_is_asked_for_a_text_instead_and_never_for_the_account(
    scripted, credentials, status
):
    def answer(request):
        if request.url.endswith("/Balance.json"):
            return HttpResponse(status, {}, b'{"code": 20003, "message": "Authenticate"}')
        return page()

    transport = scripted(answer)
    (result,) = call(transport, lambda p: p.sms.check(), **credentials)
    assert (result.ok, result.quota) == (True, None)
    assert wire(transport.requests[1])[:4] == theirs(lambda c: c.messages.page(page_size=1))[:4]
    assert len(transport.requests) == 2


def test_a_key_that_may_not_even_read_texts_is_refused(scripted):
    (result,) = call(scripted(reply("auth")), lambda p: p.sms.check(), **KEY)
    assert result.state == "refused"


def test_what_the_vendor_has_no_call_for_is_unsupported_and_nothing_is_sent(created):
    with pytest.raises(UnsupportedOperationError):
        call(created, lambda p: p.sms.unwrap(TwilioSms).opt_outs(""))
    with pytest.raises(UnsupportedOperationError):
        call(created, lambda p: p.sms.unwrap(TwilioSms).opt_in("+15005550010"))
    assert not created.requests
