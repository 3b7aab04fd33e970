"""What SNS posts: whose it is, what it asks for, and SES's events in it; against vectors and the vendor's samples."""

import asyncio
import base64
import copy
import json
import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from providers import Providers, RawRequest, Settings
from providers.core.errors import (
    BadResponseError,
    ConfigurationError,
    InvalidRequestError,
    Outcome,
    ProviderTimeoutError,
    ProviderUnavailableError,
    WebhookVerificationError,
)
from providers.core.signatures import Digest, RsaCertificate
from providers.core.transport import HttpResponse
from providers.email import EmailEventType
from providers.email.ses_events import parse_events
from providers.testing.clock import START
from providers.testing.servers import Fault, SesServer

DATA = Path(__file__).parent.parent / "data" / "ses"
VECTORS = json.loads((DATA / "sns_signature_vectors.json").read_text(encoding="utf-8"))
PEM, MESSAGES = VECTORS["certificate_pem"].encode(), VECTORS["messages"]
EVENTS = json.loads((DATA / "events.json").read_text(encoding="utf-8"))
TOPIC = "arn:aws:sns:us-east-1:123456789012:ses-events"
URL = MESSAGES["v1_Notification"]["SigningCertURL"]
CREDENTIALS = {
    "SES_ACCESS_KEY_ID": "AKIACANARY0123456789",
    "SES_SECRET_ACCESS_KEY": "canary/secret+key/0123456789abcdefghijkl",
    "SES_REGION": "us-east-1",
    "SES_FROM_EMAIL": "noreply@shop.example.com",
    "SES_SNS_TOPIC_ARN": TOPIC,
}


def request(message, **headers):
    named = {"X-Amz-Sns-Message-Type": message["Type"], "Content-Type": "text/plain; charset=UTF-8", **headers}
    return RawRequest(body=json.dumps(message).encode(), headers=named)


@pytest.fixture
def vectors(scripted, clock):
    """`vectors(request, ...)`: the result of the webhook where the certificate's URL has `reply`."""

    class Receiver:
        def __init__(self):
            self.transport = scripted(lambda _: self.reply)
            self.reply = HttpResponse(200, {}, PEM)

        @property
        def fetched(self):
            return [one.url for one in self.transport.requests]

        def open(self, **changes):
            settings = Settings(
                mode="live", vendors={"email": "ses"}, credentials=CREDENTIALS | changes, environ={}, env_file=None
            )
            return Providers(settings, clock=clock, transport=self.transport)

        def __call__(self, *requests, **changes):
            async def scenario():
                async with self.open(**changes) as providers:
                    return [await providers.email.webhook(one) for one in requests]

            return asyncio.run(scenario())

        def refuses(self, wrong, **changes):
            with pytest.raises(WebhookVerificationError) as caught:
                self(wrong, **changes)
            error = caught.value
            assert (error.vendor, error.operation) == ("ses", "email.webhook")
            assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 (our own)
            return error

    return Receiver()


NOTIFICATIONS = [message for message in MESSAGES.values() if message["Type"] == "Notification"]
CONFIRMATIONS = [message for message in MESSAGES.values() if message["Type"] == "SubscriptionConfirmation"]


@pytest.mark.parametrize("message", NOTIFICATIONS, ids=["1", "2"])
def test_a_notification_is_verified_in_both_versions(vectors, message):
    ((event,),) = [result.events for result in vectors(request(message))]
    assert event.type is EmailEventType.DELIVERED
    assert vectors.fetched == [URL]


@pytest.mark.parametrize(
    ("message", "name"),
    [(message, name) for message in MESSAGES.values() for name in message if name != "UnsubscribeURL"],
)
def test_a_field_that_somebody_changed_is_noticed(vectors, message, name):
    for value in (message[name] + "x", "x" + message[name], "", None, 7, {}):
        vectors.refuses(request({**message, name: value}, **{"X-Amz-Sns-Message-Type": message["Type"]}))
    without = {key: value for key, value in message.items() if key != name}
    vectors.refuses(request({"Type": "", **without}, **{"X-Amz-Sns-Message-Type": message["Type"]}))


def test_a_field_that_was_not_signed_may_not_join_those_that_are(vectors):
    message = {key: value for key, value in NOTIFICATIONS[0].items() if key != "Subject"}
    vectors.refuses(request(message))
    vectors.refuses(request({**message, "Subject": None}))
    swapped = copy.copy(NOTIFICATIONS[0])
    swapped["Subject"], swapped["Message"] = swapped["Message"], swapped["Subject"]
    vectors.refuses(request(swapped))


@pytest.mark.parametrize(
    "url",
    [
        "http://sns.us-east-1.amazonaws.com/a.pem",
        "https://sns.us-east-1.amazonaws.com.evil.example/a.pem",
        "https://evil.example/sns.us-east-1.amazonaws.com/a.pem",
        "https://sns.us-east-1.amazonaws.com@evil.example/a.pem",
        "https://user@sns.us-east-1.amazonaws.com/a.pem",
        "https://sns.us-east-1.amazonaws.com:8443/a.pem",
        "https://sns.us-east-1.amazonaws.com:443@evil.example/a.pem",
        "https://evilsns.us-east-1.amazonaws.com/a.pem",
        "https://bucket.s3.amazonaws.com/a.pem",
        "https://sns.us-east-1.s3.amazonaws.com/a.pem",
        "https://sns.us-east-1.amazonaws.com.cn/a.pem",
        "https://sns.eu-west-1.amazonaws.com/a.pem",
        "https://sns.us-east-1.amazonaws.com/a.pem?x=/b.pem",
        "https://sns.us-east-1.amazonaws.com/?x=.pem",
        "https://sns.us-east-1.amazonaws.com/a.pem#.pem",
        "https://sns.us-east-1.amazonaws.com/a.crt",
        "https://sns.us-east-1.amazonaws.com\\@evil.example/a.pem",
        "https://sns.us-east-1.amazonaws.com/a\n.pem",
        "https://sns.us-east-1.amazonaws.com/%2e%2e/a.pem",
        "//sns.us-east-1.amazonaws.com/a.pem",
        "HTTPS://SNS.us-east-1.amazonaws.com/a.pem",
        "",
    ],
)
def test_a_certificate_that_is_not_at_the_topics_own_host_is_not_even_fetched(vectors, url):
    error = vectors.refuses(request({**NOTIFICATIONS[0], "SigningCertURL": url}))
    assert error.code == "certificate"
    assert vectors.fetched == []


def test_the_port_may_be_named_and_china_has_a_domain_of_its_own(vectors, signed):
    topic = "arn:aws-cn:sns:cn-north-1:123456789012:ses-events"
    url = "https://sns.cn-north-1.amazonaws.com.cn:443/a.pem"
    message = signed(TopicArn=topic, SigningCertURL=url)
    vectors.reply = HttpResponse(200, {}, signed.pem)
    vectors(request(message), SES_SNS_TOPIC_ARN=topic, SES_REGION="cn-north-1")
    assert vectors.fetched == ["https://sns.cn-north-1.amazonaws.com.cn/a.pem"]


@pytest.mark.parametrize(
    "reply",
    [
        HttpResponse(302, {"location": URL}, PEM),
        HttpResponse(404, {}, b""),
        HttpResponse(203, {}, PEM),
        HttpResponse(200, {}, b""),
        HttpResponse(200, {}, b"not a certificate"),
        HttpResponse(200, {}, PEM[:300]),
    ],
)
def test_what_is_no_certificate_refuses_the_message(vectors, reply):
    vectors.reply = reply
    assert vectors.refuses(request(NOTIFICATIONS[0])).code == "certificate"
    assert len(vectors.fetched) == 1


def test_a_certificate_that_cannot_be_had_for_now_makes_sns_come_again(vectors):
    vectors.reply = HttpResponse(503, {}, b"")
    with pytest.raises(ProviderUnavailableError) as caught:
        vectors(request(NOTIFICATIONS[0]))
    assert (caught.value.vendor, caught.value.outcome) == ("ses", Outcome.NOT_APPLIED)
    assert not isinstance(caught.value, ValueError)


def test_the_certificate_is_fetched_once_and_given_up_when_its_time_is_over(vectors, clock):
    async def scenario():
        async with vectors.open() as providers:
            for _ in range(3):
                for message in NOTIFICATIONS:
                    await providers.email.webhook(request(message))
            assert len(vectors.fetched) == 1
            clock.advance(timedelta(days=3700).total_seconds())
            with pytest.raises(WebhookVerificationError) as caught:
                await providers.email.webhook(request(NOTIFICATIONS[0]))
            assert caught.value.code == "certificate"

    asyncio.run(scenario())


def test_only_so_many_certificates_are_kept(vectors, signed):
    vectors.reply = HttpResponse(200, {}, signed.pem)
    urls = [f"https://sns.us-east-1.amazonaws.com/{number}.pem" for number in range(9)]
    vectors(*[request(signed(SigningCertURL=url)) for url in [*urls, urls[8], urls[0]]])
    assert vectors.fetched == [*urls, urls[0]]


@pytest.fixture
def signed():
    """`signed(**fields)`: a notification that a key of ours signed; `signed.pem` is its certificate."""

    class Signer:
        def __init__(self, key=None):
            self.key = key or rsa.generate_private_key(65537, 2048)
            self.pem = certificate(self.key)

        def __call__(self, version="2", **fields):
            message = {**NOTIFICATIONS[0], "SignatureVersion": version, **fields}
            names = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
            text = "".join(f"{name}\n{message[name]}\n" for name in names if message.get(name) is not None)
            digest = hashes.SHA1() if version == "1" else hashes.SHA256()  # noqa: S303 (SNS does)
            signature = self.key.sign(text.encode(), padding.PKCS1v15(), digest)
            return {**message, "Signature": base64.b64encode(signature).decode()}

    return Signer()


def certificate(key, *, days=30):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    now = datetime.fromtimestamp(START, UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(now - timedelta(days=60))
    return builder.not_valid_after(now + timedelta(days=days)).sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def test_another_ones_certificate_does_not_fit_and_an_expired_one_is_not_used(vectors, signed):
    vectors.reply = HttpResponse(200, {}, signed.pem)
    vectors.refuses(request(NOTIFICATIONS[0]))
    vectors.reply = HttpResponse(200, {}, certificate(signed.key, days=-1))
    assert vectors.refuses(request(signed())).code == "certificate"


def test_rsa_certificates_only():
    with pytest.raises(ValueError, match="RSA"):
        RsaCertificate(certificate(ec.generate_private_key(ec.SECP256R1())))
    good = RsaCertificate(PEM)
    for signature in ("", "x", "é", "AAAA", "A" * 344):
        assert not good.verifies(signature, b"", Digest.SHA256)
    assert (good.valid_at(START), good.valid_at(0), good.valid_at(1e11)) == (True, False, False)


def test_version_1_is_refused_where_version_2_is_required(vectors):
    first, second = NOTIFICATIONS
    assert vectors.refuses(request(first), SES_SNS_REQUIRE_V2="1").code == "version"
    vectors(request(second), SES_SNS_REQUIRE_V2="1")
    for version in ("3", "0", "01", "1.0", "²"):
        vectors.refuses(request({**first, "SignatureVersion": version}))
    # A signature of one version is none of the other.
    vectors.refuses(request({**first, "SignatureVersion": "2"}))


def test_the_type_in_the_header_is_the_one_in_the_message(vectors):
    for message in MESSAGES.values():
        for kind in ("Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation", "notification", "", "x"):
            if kind != message["Type"]:
                vectors.refuses(request(message, **{"X-Amz-Sns-Message-Type": kind}))


def test_a_topic_that_is_not_ours_is_refused_however_well_it_is_signed(vectors, signed):
    vectors.reply = HttpResponse(200, {}, signed.pem)
    theirs = "arn:aws:sns:us-east-1:999999999999:ses-events"
    assert vectors.refuses(request(signed(TopicArn=theirs))).code == "topic"
    assert vectors.fetched == []
    vectors(request(signed(TopicArn=theirs)), SES_SNS_TOPIC_ARN=f" {TOPIC} , {theirs},")


def test_without_topics_or_with_nonsense_the_settings_are_to_blame(vectors):
    for topics in ("", "ses-events", "arn:aws:sqs:us-east-1:123456789012:x", TOPIC + ",x"):
        with pytest.raises(ConfigurationError) as caught:
            vectors(request(NOTIFICATIONS[0]), SES_SNS_TOPIC_ARN=topics)
        assert caught.value.field == "SES_SNS_TOPIC_ARN"


def test_raw_delivery_is_refused_since_nobody_signs_it(vectors):
    raw = RawRequest(body=NOTIFICATIONS[0]["Message"].encode(), headers={"X-Amz-Sns-Message-Type": "Notification"})
    vectors.refuses(raw)
    assert vectors.refuses(request(NOTIFICATIONS[0], **{"X-Amz-Sns-Rawdelivery": "true"})).code == "raw_delivery"


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b'"x"', b"{", b"\xff{}", b"{}", b"{}x", b"[" * 100_000, b'{"a":' * 5_000,
     b'{"Type": "\\ud800"}', b"\xef\xbb\xbf{}"],
    ids=range(12),
)  # fmt: skip
def test_a_body_that_is_no_envelope_is_refused(vectors, body):
    vectors.refuses(RawRequest(body=body, headers={"X-Amz-Sns-Message-Type": "Notification"}))


def test_only_the_envelope_is_vouched_for(vectors):
    good = request(NOTIFICATIONS[0])
    for body in (good.body + b" ", b" " + good.body, good.body + b"{}", b"\n" + good.body):
        vectors.refuses(good.model_copy(update={"body": body}))
    assert vectors(good.model_copy(update={"body": good.body + b"\r\n"}))


# Confirming.


def served(clock, server, **more):
    settings = Settings(mode="live", vendors={"email": "ses"}, environ={**server.env, **more}, env_file=None)
    return Providers(settings, clock=clock)


@pytest.fixture
def ses(clock):
    with SesServer(clock=clock.time) as server:
        yield server
        assert server.violations == ()


def raw(pair):
    headers, body = pair
    return RawRequest(body=body, headers=headers)


def confirmations(server):
    return [one for one in server.requests if b"Action=ConfirmSubscription" in one.body]


def test_a_subscription_is_confirmed_so_that_only_the_owner_ends_it(ses, clock):
    async def scenario():
        async with served(clock, ses) as providers:
            result = await providers.email.webhook(raw(ses.signed_request(kind="SubscriptionConfirmation")))
            assert (result.events, result.reply.status) == ((), 200)

    asyncio.run(scenario())
    (confirmed,) = confirmations(ses)
    assert b"AuthenticateOnUnsubscribe=true" in confirmed.body
    assert confirmed.path == "/sns.eu-central-1.amazonaws.com/"


def test_a_subscription_of_somebody_else_or_badly_signed_is_never_confirmed(ses, clock):
    async def scenario():
        async with served(clock, ses, SES_SNS_TOPIC_ARN=TOPIC) as providers:
            with pytest.raises(WebhookVerificationError):
                await providers.email.webhook(raw(ses.signed_request(kind="SubscriptionConfirmation")))
        async with served(clock, ses) as providers:
            headers, body = ses.signed_request(kind="SubscriptionConfirmation")
            other = json.loads(body) | {"Token": "another"}
            with pytest.raises(WebhookVerificationError):
                await providers.email.webhook(RawRequest(body=json.dumps(other).encode(), headers=headers))

    asyncio.run(scenario())
    assert confirmations(ses) == []


def test_what_keeps_us_from_confirming_is_an_error_so_that_sns_comes_again(ses, clock):
    path = ("POST", "/sns.eu-central-1.amazonaws.com/")

    async def scenario():
        async with served(clock, ses) as providers:
            message = raw(ses.signed_request(kind="SubscriptionConfirmation"))
            ses.stage(Fault.status(500, {"Content-Type": "text/xml"}, "<x/>"), match=path)
            with pytest.raises(ProviderUnavailableError) as caught:
                await providers.email.webhook(message)
            assert (caught.value.vendor, caught.value.operation) == ("ses", "email.webhook")
            await providers.email.webhook(message)
            wrong = raw(ses.signed_request(kind="SubscriptionConfirmation", token="never given out"))
            with pytest.raises(InvalidRequestError) as caught:
                await providers.email.webhook(wrong)
            assert not isinstance(caught.value, WebhookVerificationError)
            ses.stage(Fault.SLOW_HEADERS, match=path)
            seen = ses.request_count
            task = asyncio.create_task(providers.email.webhook(message))
            await ses.received(seen + 1)
            clock.advance(12)
            with pytest.raises(ProviderTimeoutError):
                await task
            ses.release()

    asyncio.run(scenario())


def test_the_end_of_a_subscription_is_answered_and_changes_nothing(ses, clock):
    async def scenario():
        async with served(clock, ses) as providers:
            result = await providers.email.webhook(raw(ses.signed_request(kind="UnsubscribeConfirmation")))
            assert (result.events, result.reply.status) == ((), 200)

    asyncio.run(scenario())
    assert confirmations(ses) == []


def test_the_plain_text_that_ses_begins_with_has_no_events(ses, clock):
    async def scenario():
        async with served(clock, ses) as providers:
            text = "Successfully validated SNS topic for Amazon SES event publishing."
            assert (await providers.email.webhook(raw(ses.signed_request(text)))).events == ()
            with pytest.raises(BadResponseError) as caught:
                await providers.email.webhook(raw(ses.signed_request("hello")))
            assert (caught.value.vendor, caught.value.operation) == ("ses", "email.webhook")

    asyncio.run(scenario())


# Registering.


def test_a_webhook_is_made_of_topic_subscription_and_event_destination(ses, clock):
    async def scenario():
        async with served(clock, ses) as providers:
            first = await providers.email.ensure_webhook("https://shop.example.com/hooks/email/ses")
            assert first.secret.get_secret_value() == ses.topic_arn
            # The set tells the topic already: a second destination would have everything told twice.
            assert str(first.ref) == "ses:shop-events/events"
            assert await providers.email.ensure_webhook("https://shop.example.com/hooks/email/ses") == first

    asyncio.run(scenario())
    topic = ses._sns.topics[ses.topic_arn]
    assert topic.attributes["SignatureVersion"] == "2"
    assert list(topic.subscriptions) == ["https://shop.example.com/hooks/email/ses"]
    assert not any(b"RawMessageDelivery" in one.body for one in ses.requests)


def test_what_the_settings_do_not_name_gets_names_of_ours(ses, clock):
    async def scenario():
        async with served(clock, ses, SES_SNS_TOPIC_ARN="", SES_CONFIGURATION_SET="") as providers:
            made = await providers.email.ensure_webhook("https://shop.example.com/hooks/email/ses")
            assert made.secret.get_secret_value().endswith(":providers-ses-events")
            assert str(made.ref) == "ses:providers-events/providers-sns"
            assert await providers.email.ensure_webhook("https://shop.example.com/hooks/email/ses") == made

    asyncio.run(scenario())


# Events.

EXPECTED = [
    # type, code, reason, permanent
    ("sent", "", "", None),
    ("delivered", "", "250 2.6.0 Message received", None),
    ("bounced", "5.1.1", "smtp; 550 5.1.1 user unknown", True),
    ("bounced", "4.2.2", "smtp; 452 4.2.2 mailbox full", False),
    ("rejected", "OnAccountSuppressionList", "Permanent: OnAccountSuppressionList", True),
    ("complained", "abuse", "", None),
    ("rejected", "", "Bad content", None),
    ("opened", "", "", None),
    ("clicked", "", "", None),
    ("failed", "", "Attribute 'first_name' is not present in the rendering data.", None),
    ("deferred", "4.2.2", "smtp; 452", None),
    ("unsubscribed", "", "", None),
    ("bounced", "General", "Permanent: General", True),
]


def parsed(event, notification="n-1"):
    return parse_events(json.dumps(event), notification, START)


@pytest.mark.parametrize(("raw_event", "expected"), list(zip(EVENTS, EXPECTED, strict=True)), ids=range(len(EVENTS)))
def test_the_vendors_sample_events_become_ours(raw_event, expected):
    (event,) = parsed(raw_event)
    assert (event.type, event.code, event.reason, event.permanent) == expected
    assert event.recipient == "ana@example.com"
    assert event.message_id == raw_event["mail"]["messageId"]
    # Those of an identity have no tags: the header tells.
    assert event.metadata == {"pm_id": "0f8c2c1e-0001"}
    assert event.tags == ()
    assert event.vendor == "ses"
    assert event.raw == raw_event
    word = raw_event.get("eventType") or raw_event.get("notificationType")
    detail = raw_event[{"Rendering Failure": "failure", "DeliveryDelay": "deliveryDelay"}.get(word, word.lower())]
    moment = detail.get("timestamp") or raw_event["mail"]["timestamp"]
    assert event.occurred_at == datetime.fromisoformat(moment)
    assert event.occurred_at.tzinfo is UTC
    assert event.event_id == f"{detail.get('feedbackId', 'n-1')}:0"
    assert event.click_url == detail.get("link")
    assert event.user_agent == detail.get("userAgent")


def sample(word):
    return copy.deepcopy(next(event for event in EVENTS if event.get("eventType") == word))


def test_several_recipients_are_several_events_with_ids_of_their_own():
    bounce = sample("Bounce")
    bounce["bounce"]["bouncedRecipients"] = [
        {"emailAddress": "ana@example.com", "status": "5.1.1"},
        {"emailAddress": "Ben <ben@example.com>", "diagnosticCode": "smtp; 550"},
    ]
    first, second = parsed(bounce)
    assert (first.recipient, second.recipient) == ("ana@example.com", "ben@example.com")
    assert (first.code, second.code, second.reason) == ("5.1.1", "General", "smtp; 550")
    assert first.event_id != second.event_id
    assert [one.event_id for one in parsed(bounce, "another delivery")] == [first.event_id, second.event_id]
    delivery = sample("Delivery")
    delivery["delivery"]["recipients"] = ["a@example.com", "b@example.com"]
    assert [one.event_id for one in parsed(delivery)] == ["n-1:0", "n-1:1"]
    send = sample("Send")
    send["mail"]["destination"] = ["a@example.com", "b@example.com"]
    assert [one.recipient for one in parsed(send)] == ["a@example.com", "b@example.com"]


def test_who_of_several_opened_a_mail_is_not_known():
    opened = sample("Open")
    opened["mail"]["destination"] = ["a@example.com", "b@example.com"]
    (event,) = parsed(opened)
    assert (event.type, event.recipient) == ("opened", "")


def test_both_families_are_read():
    bounce = sample("Bounce")
    bounce["notificationType"] = bounce.pop("eventType")
    assert [one.type for one in parsed(bounce)] == ["bounced"]


@pytest.mark.parametrize(
    ("detail", "kind"),
    [
        ({"newTopicPreferences": {"unsubscribeAll": True}}, "unsubscribed"),
        ({"newTopicPreferences": {"unsubscribeAll": False}}, "subscribed"),
        (
            {
                "newTopicPreferences": {
                    "unsubscribeAll": False,
                    "topicSubscriptionStatus": [{"topicName": "news", "subscriptionStatus": "OptOut"}],
                }
            },
            "unsubscribed",
        ),
        (
            {
                "newTopicPreferences": {
                    "topicSubscriptionStatus": [
                        {"topicName": "news", "subscriptionStatus": "OptIn"},  # codespell:ignore optin
                        {"topicName": "old", "subscriptionStatus": "OptOut"},
                    ]
                },
                "oldTopicPreferences": {
                    "topicSubscriptionStatus": [
                        {"topicName": "news", "subscriptionStatus": "OptOut"},
                        {"topicName": "old", "subscriptionStatus": "OptOut"},
                    ]
                },
            },
            "subscribed",
        ),
        ({}, "unknown"),
    ],
)
def test_a_change_of_topics_is_leaving_or_coming(detail, kind):
    (event,) = parsed({"eventType": "Subscription", "mail": {"destination": ["a@example.com"]}, "subscription": detail})
    assert event.type == kind


def test_a_bounce_that_is_undetermined_is_neither_for_good_nor_for_a_while():
    bounce = sample("Bounce")
    bounce["bounce"]["bounceType"] = "Undetermined"
    (event,) = parsed(bounce)
    assert (event.type, event.permanent) == ("bounced", None)


def test_tags_of_others_are_metadata_and_the_vendors_own_are_dropped():
    send = sample("Send")
    send["mail"]["tags"] = {"ses:caller-identity": ["x"], "campaign": ["spring", "summer"], "empty": [], "odd": 7}
    (event,) = parsed(send)
    assert event.metadata == {"campaign": "spring", "pm_id": "0f8c2c1e-0001"}
    send["mail"]["tags"]["pm_data_0"] = ["not base64!"]
    (event,) = parsed(send)
    assert (event.metadata["campaign"], event.tags) == ("spring", ())


def test_something_else_in_the_topic_is_an_unknown_event():
    (event,) = parsed({"AlarmName": "disk full"})
    assert (event.type, event.message_id, event.recipient, event.event_id) == ("unknown", "", "", "n-1:0")
    assert event.occurred_at.timestamp() == START


def test_events_of_the_local_server_go_all_the_way(ses, clock, mail):
    async def scenario():
        async with served(clock, ses) as providers:
            message = mail(metadata={"order_id": "1001", "shop": "Söhne"}, tags=("orders",))
            ref = await providers.email.send(message)
            for kind, expected in (("bounce", "bounced"), ("transient", "bounced"), ("complaint", "complained"),
                                   ("open", "opened"), ("click", "clicked"), ("delay", "deferred"),
                                   ("reject", "rejected"), ("suppressed", "rejected"), ("subscription", "unsubscribed"),
                                   ("rendering_failure", "failed")):  # fmt: skip
                happened = ses.emit(kind, email="ana@example.com")
                (event,) = (await providers.email.webhook(raw(ses.signed_request(happened)))).events
                assert (event.type, event.message_id, event.recipient) == (expected, ref.id, "ana@example.com")
                assert {"order_id": "1001", "shop": "Söhne"}.items() <= event.metadata.items()
                assert event.tags == ("orders",)

    asyncio.run(scenario())
