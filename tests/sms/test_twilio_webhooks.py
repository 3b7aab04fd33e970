"""Signatures and events of the vendor's webhooks, against the vendor's own verifier, vectors and samples."""

import asyncio
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from multidict import MultiDict
from twilio.request_validator import RequestValidator

from providers import Providers, RawRequest, Settings
from providers.core.clock import utc
from providers.core.errors import BadResponseError, WebhookVerificationError
from providers.core.signatures import hmac_sha1
from providers.core.transport import HttpResponse
from providers.sms import SmsEventType, SmsMessage
from providers.sms.twilio_events import FORM, Callback, told, verified
from providers.testing.clock import START, ManualClock

DATA = Path(__file__).parent.parent / "data" / "twilio"
VECTORS = json.loads((DATA / "signature_vectors.json").read_text(encoding="utf-8"))
SAMPLES = json.loads((DATA / "status_callbacks.json").read_text(encoding="utf-8"))
SID, TOKEN = "AC00000000000000000000000000000000", "canary-token-000000000000000000"
TEXT, PERSON, OURS = "SM00000000000000000000000000000001", "+15005550010", "+15005550006"
CALLBACK = "https://flowsend.example.com/webhooks/twilio"
CREDENTIALS = {"TWILIO_ACCOUNT_SID": SID, "TWILIO_AUTH_TOKEN": TOKEN, "TWILIO_PHONE_NUMBER": OURS}
INCOMING = {
    "MessageSid": TEXT, "SmsSid": TEXT, "SmsMessageSid": TEXT, "AccountSid": SID, "From": PERSON, "To": OURS,
    "Body": "Hi there", "SmsStatus": "received", "NumSegments": "1", "NumMedia": "0", "ApiVersion": "2010-04-01",
}  # fmt: skip


def opened(transport=None, callback=CALLBACK, **credentials):
    own = {"TWILIO_STATUS_CALLBACK_URL": callback} if callback else {}
    return Providers(
        Settings(
            mode="live",
            vendors={"sms": "twilio"},
            credentials=CREDENTIALS | own | credentials,
            environ={},
            env_file=None,
        ),
        clock=ManualClock(),
        transport=transport,
    )


def signature(url, form, token=TOKEN):
    """The vendor's library."""
    return RequestValidator(token).compute_signature(url, MultiDict(form))


def request(form, url=CALLBACK, *, signed_for=None, token=TOKEN, **changes):
    """A form that Twilio signed for `signed_for`, as it comes in at `url`."""
    pairs = list(form.items()) if isinstance(form, dict) else form
    headers = {"X-Twilio-Signature": signature(signed_for or url, pairs, token), "Content-Type": FORM}
    return RawRequest(**{"body": urlencode(pairs).encode(), "headers": headers, "url": url} | changes)


def received(raw, callback=CALLBACK, **credentials):
    async def scenario():
        async with opened(callback=callback, **credentials) as providers:
            return await providers.sms.webhook(raw)

    return asyncio.run(scenario())


def event_of(form, url=CALLBACK):
    (event,) = received(request(form, url)).events
    return event


def checks(raw, *, token=TOKEN, public="", account=SID):
    try:
        verified(raw, token=token, account_sid=account, public=public)
    except WebhookVerificationError:
        return False
    return True


# Signatures.


def pairs_of(vector):
    return [
        (key, one) for key, value in vector["form"].items() for one in (value if isinstance(value, list) else [value])
    ]


@pytest.mark.parametrize("vector", [v for v in VECTORS if "form" in v], ids=lambda v: v["source"][-30:])
def test_the_vendors_vectors_of_forms(vector):
    pairs = pairs_of(vector)
    url, token = vector["url"], vector["auth_token"]
    assert hmac_sha1(token, url + "".join(k + v for k, v in sorted(set(pairs)))) == vector["signature"]
    assert RequestValidator(token).validate(url, MultiDict(pairs), vector["signature"])
    # Its form names no account; the account is checked only of what is signed.
    headers = {"x-twilio-signature": vector["signature"], "content-type": FORM}
    raw = RawRequest(body=urlencode(pairs).encode(), headers=headers, url=url)
    account = dict(pairs).get("AccountSid")
    with pytest.raises(WebhookVerificationError) as caught:
        verified(raw, token=token, account_sid="AC-another", public="")
    assert "not about this account" in str(caught.value)
    assert checks(raw, token=token, account=account)
    assert not checks(raw, token=token + "x", account=account)


def test_the_vendors_vector_of_a_plain_url_with_its_default_port():
    form = pairs_of(VECTORS[0])
    assert hmac_sha1("12345", "http://mycompany.com:80/myapp.php?foo=1&bar=2" + "".join(
        k + v for k, v in sorted(form)
    )) == "0ZXoZLH/DfblKGATFgpif+LLRf4="  # fmt: skip


def test_the_vendors_vector_of_a_json_body():
    vector = next(v for v in VECTORS if "raw_body" in v)
    assert RequestValidator(vector["auth_token"]).validate(vector["url"], vector["raw_body"], vector["signature"])
    raw = RawRequest(
        body=vector["raw_body"].encode(),
        headers={"x-twilio-signature": vector["signature"], "content-type": "application/json"},
        url=vector["url"],
    )
    assert checks(raw, token=vector["auth_token"], account=None)
    assert not checks(raw.model_copy(update={"body": raw.body + b" "}), token=vector["auth_token"], account=None)


def as_json(body, url, *, hashed=True):
    if hashed:
        url += ("&" if "?" in url else "?") + "bodySHA256=" + hashlib.sha256(body).hexdigest()
    headers = {"X-Twilio-Signature": signature(url, {}), "Content-Type": "application/json"}
    return RawRequest(body=body, headers=headers, url=url)


def test_a_json_body_whose_hash_is_signed_is_read_and_one_without_is_refused():
    body = json.dumps({**SAMPLES[1], "Extra": {"a": 1}}).encode()
    (event,) = received(as_json(body, CALLBACK)).events
    assert (event.type, event.message_id) == (SmsEventType.DELIVERED, TEXT)
    unhashed = as_json(body, CALLBACK, hashed=False)
    # The vendor's own check lets this one pass.
    assert RequestValidator(TOKEN).validate(unhashed.url, {}, unhashed.headers["x-twilio-signature"])
    for bad in (unhashed, as_json(body, CALLBACK).model_copy(update={"body": body + b" "})):
        with pytest.raises(WebhookVerificationError):
            received(bad)
    for plain in ({}, {"content-type": "text/plain"}):
        headers = {"x-twilio-signature": unhashed.headers["x-twilio-signature"], **plain}
        with pytest.raises(WebhookVerificationError):
            received(RawRequest(body=body, headers=headers, url=CALLBACK))


def test_a_get_is_signed_by_its_url():
    url = CALLBACK + "?" + urlencode(INCOMING)
    raw = RawRequest(method="GET", body=b"", url=url, headers={"X-Twilio-Signature": signature(url, {})})
    assert received(raw).events[0].body == "Hi there"
    for other in (url + "&x=1", url.replace("Hi", "Ho")):
        with pytest.raises(WebhookVerificationError):
            received(raw.model_copy(update={"url": other}))


HOSTS = st.sampled_from(["flowsend.example.com", "localhost", "10.0.0.7"])
PORTS = st.sampled_from(["", ":443", ":80", ":8443"])
TARGETS = st.sampled_from(["", "/", "/hooks", "/hooks?a=1&b=%20+ä", "/hooks?a=%C3%A4&pm_id=1", "/a:1/b?c=:2"])
URLS = st.builds(lambda s, h, p, t: f"{s}://{h}{p}{t}", st.sampled_from(["http", "https"]), HOSTS, PORTS, TARGETS)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
FORMS = st.lists(st.tuples(WORDS | st.sampled_from(["A", "a", "AB", "Body"]), WORDS), max_size=8)


@settings(max_examples=300, deadline=None)
@given(url=URLS, other=URLS, form=FORMS, token=WORDS, tamper=st.booleans())
@example(url="http://localhost/", other="http://localhost:80/", form=[], token="t", tamper=False)
@example(url="http://localhost/", other="http://localhost:443/", form=[], token="t", tamper=False)
@example(url="https://localhost/", other="https://localhost:443/", form=[], token="t", tamper=False)
@example(
    url="https://localhost:8443/",
    other="https://localhost/",
    form=[("A", ""), ("A", "1"), ("A", "")],
    token="t",
    tamper=False,
)
def test_forms_are_judged_as_the_vendors_library_judges_them(url, other, form, token, tamper):
    pairs = [*form, ("AccountSid", SID)]
    assume(len({key for key, _ in pairs if key == "AccountSid"}) == len([1 for key, _ in pairs if key == "AccountSid"]))
    given_signature = signature(other, pairs, token)
    sent = [*pairs, ("Extra", "1")] if tamper else pairs
    raw = RawRequest(
        body=urlencode(sent).encode(),
        headers={"x-twilio-signature": given_signature, "content-type": FORM + "; charset=UTF-8"},
        url=url,
    )
    judged = RequestValidator(token).validate(url, MultiDict(sent), given_signature)
    assert checks(raw, token=token) is judged
    if not tamper and url == other:
        assert judged


@settings(max_examples=150, deadline=None)
@given(given_signature=st.text(max_size=40), url=st.text(max_size=60), body=st.binary(max_size=80))
def test_no_signature_that_was_made_up_passes_or_crashes(given_signature, url, body):
    headers = {"x-twilio-signature": given_signature, "content-type": FORM}
    assert not checks(RawRequest(body=body, headers=headers, url=url), public="https://flowsend.example.com")


def test_a_repeated_key_and_a_blank_value_are_signed_too():
    form = [*SAMPLES[0].items(), ("Tag", "b"), ("Tag", "a"), ("Tag", "b"), ("Empty", "")]
    assert received(request(form)).events[0].type is SmsEventType.SENT
    body = urlencode([pair for pair in form if pair[0] != "Empty"]).encode()
    with pytest.raises(WebhookVerificationError):
        received(request(form).model_copy(update={"body": body.replace(b"Tag=a", b"Tag=c")}))


@pytest.mark.parametrize(
    "seen",
    [
        "http://flowsend.example.com/webhooks/twilio?pm_id=7",
        "https://flowsend.example.com:443/webhooks/twilio?pm_id=7",
        "http://flowsend.example.com:8080/webhooks/twilio?pm_id=7",
        "http://flowsend-api.default.svc.cluster.local:8104/webhooks/twilio?pm_id=7",
        "http://10.0.0.7/webhooks/twilio?pm_id=7",
        "/webhooks/twilio?pm_id=7",
        "https://flowsend.example.com/webhooks/twilio?pm_id=7#fragment",
    ],
)
@pytest.mark.parametrize("port", ["", ":443"])
def test_behind_a_proxy_the_configured_url_says_who_we_are(seen, port):
    signed_for = f"https://flowsend.example.com{port}/webhooks/twilio?pm_id=7"
    raw = request(SAMPLES[1], seen, signed_for=signed_for)
    assert received(raw).events[0].metadata == {"pm_id": "7"}
    if not seen.startswith("https://flowsend.example.com"):
        with pytest.raises(WebhookVerificationError):
            received(raw, callback="https://another.example.com/webhooks/twilio")


def test_an_inner_host_without_a_configured_url_is_refused_whatever_the_headers_claim():
    inner = "http://10.0.0.7:8104/webhooks/twilio"
    raw = request(SAMPLES[1], inner, signed_for=CALLBACK)
    claims = {"x-forwarded-host": "flowsend.example.com", "x-forwarded-proto": "https", "host": "flowsend.example.com"}
    raw = raw.model_copy(update={"headers": {**raw.headers, **claims}})
    with pytest.raises(WebhookVerificationError):
        received(raw, callback="")
    assert received(raw).events


def test_the_path_and_the_query_are_never_the_configured_ones():
    raw = request(SAMPLES[1], "https://flowsend.example.com/elsewhere", signed_for=CALLBACK)
    with pytest.raises(WebhookVerificationError):
        received(raw)


def test_another_form_url_token_or_account_is_refused():
    good = request(SAMPLES[1])
    assert received(good).events
    bad = [
        good.model_copy(update={"body": good.body.replace(b"delivered", b"failed")}),
        good.model_copy(update={"body": b""}),
        good.model_copy(update={"url": CALLBACK + "?x=1"}),
        good.model_copy(update={"headers": {**good.headers, "x-twilio-signature": "AAAA"}}),
        good.model_copy(update={"headers": {**good.headers, "x-twilio-signature": ""}}),
        good.model_copy(update={"headers": {**good.headers, "x-twilio-signature": "ü" * 28}}),
        request(SAMPLES[1], token="another-token-0000000000000000000"),
        request(SAMPLES[1] | {"AccountSid": "AC" + "1" * 32}),
        request({k: v for k, v in SAMPLES[1].items() if k != "AccountSid"}),
        RawRequest(body=b"Body=%FF", headers=good.headers, url=CALLBACK),
        RawRequest(body=b"\xff", headers=good.headers, url=CALLBACK),
        RawRequest(body=b"a=1&" * 1100, headers=good.headers, url=CALLBACK),
    ]
    for raw in bad:
        with pytest.raises(WebhookVerificationError) as caught:
            received(raw)
        assert (caught.value.vendor, caught.value.operation) == ("twilio", "sms.webhook")
        assert TOKEN not in str(caught.value)


def test_a_form_that_is_not_utf_8_is_refused_even_where_its_replacement_is_signed():
    good = request({**INCOMING, "Body": "\ufffd"})
    assert received(good).events
    body = good.body.replace(b"%EF%BF%BD", b"%FF")
    assert body != good.body
    with pytest.raises(WebhookVerificationError) as caught:
        received(good.model_copy(update={"body": body}))
    assert "cannot be read" in str(caught.value)


def test_a_signature_that_is_missing_is_told_from_one_that_is_wrong():
    for given_signature, why in (("", "missing"), ("AAAA", "does not fit")):
        headers = {"x-twilio-signature": given_signature, "content-type": FORM}
        with pytest.raises(WebhookVerificationError) as caught:
            received(request(SAMPLES[1]).model_copy(update={"headers": headers}))
        assert why in str(caught.value)


def test_a_request_without_the_header_is_nobodys():
    with pytest.raises(WebhookVerificationError) as caught:
        received(RawRequest(body=b"", headers={"content-type": FORM}, url=CALLBACK))
    assert "recognises" in str(caught.value)


def test_the_token_signs_even_where_an_api_key_calls():
    key = {"TWILIO_API_KEY_SID": "SK" + "0" * 32, "TWILIO_API_KEY_SECRET": "key-secret-0000"}
    assert received(request(SAMPLES[1]), **key).events
    with pytest.raises(WebhookVerificationError):
        received(request(SAMPLES[1], token="key-secret-0000"), **key)


# What becomes of a text.


def test_the_vendors_sample_callbacks_become_events():
    expected = [
        (SmsEventType.SENT, "", None, START),
        (SmsEventType.DELIVERED, "", None, datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()),
        (SmsEventType.UNDELIVERED, "30003", False, START),
        (SmsEventType.FAILED, "30007", None, START),
    ]
    for form, (kind, code, permanent, moment) in zip(SAMPLES, expected, strict=True):
        result = received(request(form, CALLBACK + "?pm_id=abc"))
        (event,) = result.events
        assert (event.type, event.code, event.permanent) == (kind, code, permanent)
        assert event.occurred_at == utc(moment)
        assert event.event_id == f"{TEXT}:{form['MessageStatus']}"
        assert (event.message_id, event.recipient, event.sender) == (TEXT, PERSON, OURS)
        assert (event.body, event.vendor, event.raw) == (None, "twilio", form)
        assert event.metadata == {"pm_id": "abc"}
        assert bool(event.reason) is bool(code)
        assert (result.reply.status, result.reply.body) == (204, b"")


@pytest.mark.parametrize(("code", "permanent"), [
    ("30001", False), ("30003", False), ("30004", True), ("30005", True), ("30006", True), ("30007", None),
    ("30008", False), ("30022", False), ("30023", False), ("30034", None), ("30036", None), ("30450", None),
    ("39999", None), ("", None),
])  # fmt: skip
def test_a_dead_number_is_told_from_one_to_try_again(code, permanent):
    event = event_of(SAMPLES[2] | {"ErrorCode": code})
    assert (event.type, event.code, event.permanent) == (SmsEventType.UNDELIVERED, code, permanent)


def test_a_refusal_for_an_opt_out_is_one_and_the_number_gets_no_more(scripted):
    posted = scripted(HttpResponse(500, {}, b""))

    async def scenario():
        async with opened(posted) as providers:
            result = await providers.sms.webhook(request(SAMPLES[3] | {"ErrorCode": "21610"}))
            return result.events[0], [one async for one in providers.sms.opt_outs()]

    event, (entry,) = asyncio.run(scenario())
    assert (event.type, event.permanent, event.recipient) == (SmsEventType.OPTED_OUT, True, PERSON)
    assert (entry.number, entry.source, entry.vendor) == (PERSON, "refused", "twilio")


@pytest.mark.parametrize(("status", "kind"), [
    ("accepted", "queued"), ("queued", "queued"), ("sending", "queued"), ("scheduled", "scheduled"), ("sent", "sent"),
    ("read", "delivered"), ("partially_delivered", "sent"), ("canceled", "canceled"), ("teleported", "unknown"),
])  # fmt: skip
def test_the_vendors_words_are_ours(status, kind):
    event = event_of(SAMPLES[0] | {"MessageStatus": status, "SmsStatus": status})
    assert (event.type, event.event_id) == (kind, f"{TEXT}:{status}")


@pytest.mark.parametrize(
    "text",
    [
        "2613221200",
        "2602301200",
        "261122120",
        "x",
        "\uff12\uff16\uff11\uff11\uff12\uff12\uff11\uff12\uff10\uff10",
        "-6-1-2-2-1",
    ],
)
def test_a_date_that_is_none_is_now(text):
    assert event_of(SAMPLES[1] | {"RawDlrDoneDate": text}).occurred_at == utc(START)


def test_a_service_is_the_sender_until_it_has_picked_a_number():
    form = {k: v for k, v in SAMPLES[0].items() if k != "From"} | {"MessagingServiceSid": "MG" + "0" * 32}
    assert event_of(form).sender == "MG" + "0" * 32


def test_a_message_without_a_name_is_a_bad_response():
    with pytest.raises(BadResponseError) as caught:
        received(request({"AccountSid": SID, "CallSid": "CA1"}))
    assert caught.value.vendor == "twilio"


# What comes back of the text's own data.

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(lambda name: name != "pm_id")
OWN_URLS = st.sampled_from(
    [CALLBACK, CALLBACK + "?", CALLBACK + "?pm_id=mine&pm_data=W10", CALLBACK + "?x=1&y#rc=3", CALLBACK + "?a&",
     "https://flowsend.example.com", "http://127.0.0.1:8104/?q=%20"]
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(OWN_URLS, NAMES, st.dictionaries(NAMES, NAMES, max_size=4), st.lists(NAMES, max_size=4))
def test_metadata_and_tags_survive_any_characters_and_any_query(url, tracking_id, metadata, tags):
    callback = Callback.parse(url)
    made = callback.url(tracking_id, metadata, tags)
    assert told(made.partition("#")[0]) == ({**metadata, "pm_id": tracking_id}, tags)
    assert url.startswith(callback.origin)
    assert made.isascii()
    assert " " not in made


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=80) | st.from_regex(r"\?pm_id=[a-z]*&pm_data=[A-Za-z0-9_=-]{0,40}", fullmatch=True))
@example("?pm_id=1&pm_data=W10")
@example("?pm_id=1&pm_data=W3sieCI6MX0sWzFdXQ")
@example("?pm_id=1&pm_data=bnVsbA")
@example("?pm_id=1&pm_data=" + "W1tb" * 300)
@example("?pm_id=%FF&pm_data=A")
def test_any_query_is_read_or_left_alone(url):
    metadata, tags = told(url)
    assert all(isinstance(word, str) for word in [*metadata, *metadata.values(), *tags])


def test_what_was_sent_with_a_text_is_in_its_events(scripted):
    replies = json.loads((DATA / "responses.json").read_text(encoding="utf-8"))
    transport = scripted(HttpResponse(201, {}, json.dumps(replies["created"]["body"]).encode()))
    metadata, tags = {"order id": "1001&2=3", "name": "Zoë 👍🏽", "": "x"}, ("läden", "spring,2026")

    async def scenario():
        async with opened(transport, CALLBACK + "?shop=7#rc=2") as providers:
            sent = await providers.sms.send(SmsMessage(to=PERSON, body="Hi", metadata=metadata, tags=tags))
            form = dict(parse_qsl(transport.requests[0].content.decode()))
            result = await providers.sms.webhook(request(SAMPLES[1], form["StatusCallback"].partition("#")[0]))
            return sent, result.events[0]

    sent, event = asyncio.run(scenario())
    assert event.message_id == sent.ref.id
    assert {name: event.metadata[name] for name in metadata} == metadata
    assert len(event.metadata["pm_id"]) == 32
    assert event.tags == tags


# What people text us.


def test_a_text_from_somebody_is_received_and_nothing_is_answered():
    result = received(request(INCOMING))
    (event,) = result.events
    assert (event.type, event.body, event.segments) == (SmsEventType.RECEIVED, "Hi there", 1)
    assert (event.recipient, event.sender) == (PERSON, OURS)
    assert (event.message_id, event.event_id) == (TEXT, f"{TEXT}:received")
    assert result.reply.status == 200
    assert result.reply.headers == {"Content-Type": "text/xml"}
    assert result.reply.body == b"<Response/>"


@pytest.mark.parametrize(("body", "kind"), [
    ("STOP", "opted_out"), (" stop\n", "opted_out"), ("StopAll", "opted_out"), ("UNSUBSCRIBE", "opted_out"),
    ("cancel", "opted_out"), ("End", "opted_out"), ("quit", "opted_out"), ("OptOut", "opted_out"),
    ("revoke", "opted_out"), ("START", "opted_in"), ("unstop", "opted_in"), ("YES", "received"), ("HELP", "received"),
    ("STOP please", "received"), ("don't stop", "received"), ("", "received"), ("\uff33\uff34\uff2f\uff30", "received"),
])  # fmt: skip
def test_the_words_by_which_people_opt_out_and_in(body, kind):
    event = event_of(INCOMING | {"Body": body})
    assert (event.type, event.body) == (kind, body)


@pytest.mark.parametrize(("told_type", "body", "kind"), [
    ("STOP", "Arrêt", "opted_out"), ("START", "YES", "opted_in"), ("HELP", "Stop", "received"),
    ("", "STOP", "opted_out"),
    ("SOMETHING", "STOP", "opted_out"), ("SOMETHING", "Hi", "received"),
])  # fmt: skip
def test_what_the_vendor_took_a_word_for_counts_first(told_type, body, kind):
    assert event_of(INCOMING | {"Body": body, "OptOutType": told_type}).type == kind


def test_who_texts_stop_gets_no_texts_until_start(scripted):
    transport = scripted(HttpResponse(500, {}, b""))

    async def scenario():
        async with opened(transport) as providers:
            listed = []
            for body in ("STOP", "Hi", "START"):
                await providers.sms.webhook(request(INCOMING | {"Body": body}))
                listed.append([(one.number, one.source) async for one in providers.sms.opt_outs()])
            return listed

    stop, later, start = asyncio.run(scenario())
    assert stop == later == [(PERSON, "reply")]
    assert start == []


@pytest.mark.parametrize("segments", ["", "0", "x", "²", "9" * 5000])
def test_a_count_of_parts_that_is_none_is_left_out(segments):
    assert event_of(INCOMING | {"NumSegments": segments}).segments is None
