"""Events of the local SES: their bodies, SNS envelopes and signatures, topics, subscriptions, deliveries."""

import base64
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from hypothesis import given
from hypothesis import strategies as st

from providers.testing.servers._aws.envelope import to_sign
from providers.testing.servers.ses import SesServer, Signer, local_signer

SESSION = boto3.Session()
SAMPLES = Path(__file__).parent.parent / "data" / "ses"
KINDS = {
    "Send": "send",
    "Delivery": "delivery",
    "Complaint": "complaint",
    "Reject": "reject",
    "Open": "open",
    "Click": "click",
    "Rendering Failure": "rendering_failure",
    "DeliveryDelay": "delay",
    "Subscription": "subscription",
}
NOTE = "Notification"


def connect(server, service):
    return SESSION.client(
        service,
        region_name=server.region,
        aws_access_key_id=server.access_key_id,
        aws_secret_access_key=server.secret_access_key,
        endpoint_url=server.sns_url if service == "sns" else server.url,
        config=Config(retries={"mode": "standard", "total_max_attempts": 1}),
    )


def send(server, *to, **changes):
    arguments = {
        "FromEmailAddress": "Shop <noreply@shop.example.com>",
        "Destination": {"ToAddresses": list(to or ("ana@example.com",))},
        "Content": {"Simple": {"Subject": {"Data": "Hello"}, "Body": {"Text": {"Data": "Hi"}}}},
        "ConfigurationSetName": server.configuration_set,
    }
    return connect(server, "sesv2").send_email(**{**arguments, **changes})["MessageId"]


def verified(certificate_pem, body):
    """As the developer guide has it, without any code of ours."""
    names = ["Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    if body["Type"] == NOTE:
        names = [name for name in names if name not in {"SubscribeURL", "Token"}]
    signed = "".join(f"{name}\n{body[name]}\n" for name in names if name in body)
    key = x509.load_pem_x509_certificate(certificate_pem).public_key()
    digest = {"1": hashes.SHA1, "2": hashes.SHA256}[body["SignatureVersion"]]()
    try:
        key.verify(base64.b64decode(body["Signature"]), signed.encode(), padding.PKCS1v15(), digest)
    except InvalidSignature:
        return False
    return True


@pytest.fixture
def server(clock):
    with SesServer(clock=clock) as started:
        yield started
        assert started.violations == ()


@pytest.fixture
def hooked(receiver, clock):
    with SesServer(clock=clock, webhook_url=receiver.hook) as started:
        yield started
        assert started.violations == ()


@pytest.fixture
def sns(server):
    return connect(server, "sns")


def drain(server):
    server.deliver_events()
    assert server.pending_events == 0


def samples():
    return json.loads((SAMPLES / "events.json").read_text(encoding="utf-8"))


# Bodies.


@pytest.mark.parametrize("sample", samples()[:-1], ids=lambda sample: sample["eventType"])
def test_events_have_the_keys_of_the_samples(server, sample):
    send(server, EmailTags=[{"Name": "pm_id", "Value": "0f8c2c1e-0001"}])
    name = (
        KINDS.get(sample["eventType"])
        or {"General": "bounce", "MailboxFull": "transient", "OnAccountSuppressionList": "on_bounce_list"}[
            sample["bounce"]["bounceSubType"]
        ]
    )
    event = server.emit(name, email="ana@example.com")
    assert event["eventType"] == sample["eventType"]
    assert set(event) == set(sample)
    for key in set(sample) - {"eventType", "mail"}:
        assert set(sample[key]) <= set(event[key])
        assert {inner: type(value) for inner, value in sample[key].items()} == {
            inner: type(event[key][inner]) for inner in sample[key]
        }
    assert set(sample["mail"]) <= set(event["mail"])
    assert set(sample["mail"]["tags"]) <= set(event["mail"]["tags"])
    assert event["mail"]["tags"]["pm_id"] == ["0f8c2c1e-0001"]
    assert all(isinstance(values, list) for values in event["mail"]["tags"].values())
    assert set(sample["mail"]["commonHeaders"]) <= set(event["mail"]["commonHeaders"])


def test_the_samples_of_bounces_are_what_happens(server):
    send(server)
    for index, kind in ((2, "bounce"), (3, "transient")):
        theirs = samples()[index]["bounce"]
        ours = server.emit(kind, email="ana@example.com")["bounce"]
        assert ours["bouncedRecipients"] == theirs["bouncedRecipients"]
        assert (ours["bounceType"], ours["bounceSubType"]) == (theirs["bounceType"], theirs["bounceSubType"])


def test_the_mail_object_tells_the_message(server, clock):
    message_id = send(
        server,
        "Ana <ana@example.com>",
        ReplyToAddresses=["help@example.com"],
        Content={
            "Simple": {
                "Subject": {"Data": "Hello"},
                "Body": {"Text": {"Data": "Hi"}},
                "Headers": [{"Name": "X-PM-Id", "Value": "7"}],
            }
        },
    )
    mail = server.events[0]["mail"]
    assert (mail["messageId"], mail["timestamp"]) == (message_id, "2026-11-22T15:00:00.000Z")
    assert (mail["source"], mail["destination"]) == ("Shop <noreply@shop.example.com>", ["ana@example.com"])
    assert {"name": "X-PM-Id", "value": "7"} in mail["headers"]
    assert mail["commonHeaders"] == {
        "from": ["Shop <noreply@shop.example.com>"],
        "to": ["Ana <ana@example.com>"],
        "replyTo": ["help@example.com"],
        "messageId": message_id,
        "subject": "Hello",
    }
    assert mail["tags"]["ses:configuration-set"] == ["shop-events"]
    assert mail["tags"]["ses:from-domain"] == ["shop.example.com"]
    clock.now += 3
    opened = server.emit("open", message_id=message_id, userAgent="Mine/1.0")
    assert opened["open"]["timestamp"] == "2026-11-22T15:00:03.000Z"
    assert opened["open"]["userAgent"] == "Mine/1.0"


def test_emit_needs_a_mail_and_a_known_kind(server):
    first, _ = send(server), send(server)
    assert server.emit("open", email="ANA@example.com", message_id=first)["mail"]["messageId"] == first
    for arguments in ({"kind": "explode", "email": "ana@example.com"}, {"kind": "open", "email": "x@example.com"}):
        with pytest.raises(ValueError, match=r"called|sent"):
            server.emit(**arguments)


def test_emitted_bounces_and_complaints_suppress(server):
    send(server, "a@example.com", "b@example.com", "c@example.com")
    server.emit("bounce", email="a@example.com", bounceType="Transient")
    server.emit("complaint", email="b@example.com")
    server.emit("bounce", email="c@example.com")
    listed = connect(server, "sesv2").list_suppressed_destinations()["SuppressedDestinationSummaries"]
    assert [(each["EmailAddress"], each["Reason"]) for each in listed] == [
        *(("b@example.com", "COMPLAINT"), ("c@example.com", "BOUNCE")),
    ]
    assert [mail.state for mail in server.mails] == ["bounced", "complained", "bounced"]


# Signatures.


@pytest.mark.parametrize("name", ["v1_Notification", "v2_Notification", "v1_SubscriptionConfirmation"])
def test_what_is_signed_is_what_the_vectors_signed(name):
    vectors = json.loads((SAMPLES / "sns_signature_vectors.json").read_text())
    body = vectors["messages"][name]
    assert verified(vectors["certificate_pem"].encode(), body)
    key = x509.load_pem_x509_certificate(vectors["certificate_pem"].encode()).public_key()
    digest = {"1": hashes.SHA1, "2": hashes.SHA256}[body["SignatureVersion"]]()
    key.verify(base64.b64decode(body["Signature"]), to_sign(body).encode(), padding.PKCS1v15(), digest)


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("kind", [NOTE, "SubscriptionConfirmation", "UnsubscribeConfirmation"])
def test_a_request_made_by_hand_is_signed(server, kind, version):
    headers, body = server.signed_request({"eventType": "Open"}, kind=kind, version=version, subject="Sü")
    message = json.loads(body)
    assert verified(server.certificate_pem, message)
    assert not verified(server.certificate_pem, {**message, "Message": "x"})
    assert headers["x-amz-sns-message-type"] == message["Type"] == kind
    assert headers["x-amz-sns-message-id"] == message["MessageId"]
    assert headers["x-amz-sns-topic-arn"] == message["TopicArn"] == server.topic_arn
    assert headers["Content-Type"] == "text/plain; charset=UTF-8"
    assert ("SubscribeURL" in message, "UnsubscribeURL" in message) == (kind != NOTE, kind == NOTE)
    url = urlsplit(message["SigningCertURL"])
    assert url.hostname == f"sns.{server.region}.amazonaws.com"
    assert re.fullmatch(r"/SimpleNotificationService-[0-9a-f]{32}\.pem", url.path)


def test_all_of_a_request_made_by_hand_can_be_told(server):
    _, body = server.signed_request(
        "text",
        topic_arn="arn:aws:sns:us-east-1:1:x",
        timestamp=0,
        message_id="m",
        kind="SubscriptionConfirmation",
        token="t",
    )
    message = json.loads(body)
    assert (message["Timestamp"], message["MessageId"], message["Token"]) == ("1970-01-01T00:00:00.000Z", "m", "t")
    assert message["SubscribeURL"].endswith("&TopicArn=arn:aws:sns:us-east-1:1:x&Token=t")
    assert verified(server.certificate_pem, message)
    with pytest.raises(ValueError, match="Nonsense"):
        server.signed_request("text", kind="Nonsense")


_texts = st.text(st.characters(codec="utf-8"), max_size=50)


@given(message=_texts, subject=st.none() | _texts, version=st.sampled_from("12"))
def test_any_text_is_signed_as_it_is(message, subject, version):
    server = SesServer()
    _, body = server.signed_request(message, subject=subject, version=version)
    told = json.loads(body)
    assert (told["Message"], told.get("Subject")) == (message, subject)
    assert verified(server.certificate_pem, told)


def test_the_certificate_is_a_leaf_of_its_own_authority(server, call):
    answer = call(server, "GET", urlsplit(server.certificate_url).path)
    assert answer.body == server.certificate_pem
    leaf, authority = x509.load_pem_x509_certificates(answer.body)
    leaf.verify_directly_issued_by(authority)
    assert leaf.subject.rfc4514_string() == "CN=sns.amazonaws.com"
    assert leaf.not_valid_before_utc < datetime.now(UTC) < leaf.not_valid_after_utc
    assert leaf.public_key().key_size == 2048
    missing = call(server, "GET", f"/sns.{server.region}.amazonaws.com/other.pem")
    assert (missing.status, b"InvalidAction" in missing.body) == (404, True)


def test_the_signer_can_be_given():
    expired = local_signer(expired=True)
    server = SesServer(signer=expired)
    leaf = x509.load_pem_x509_certificate(server.certificate_pem)
    assert leaf.not_valid_after_utc < datetime(2021, 1, 1, tzinfo=UTC)
    assert verified(server.certificate_pem, json.loads(server.signed_request("x")[1]))
    assert SesServer().certificate_pem == SesServer().certificate_pem != server.certificate_pem
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(TypeError, match="RSA"):
        Signer(pem, b"")


# Deliveries.


def test_events_are_delivered_signed_by_themselves(hooked, receiver):
    send(hooked)
    receiver.wait_for_requests(2)
    drain(hooked)
    assert [json.loads(batch["Message"]) for batch in receiver.batches] == list(hooked.events)
    for request in receiver.requests:
        body = request.json()
        assert verified(hooked.certificate_pem, body)
        assert (body["SignatureVersion"], body["Subject"]) == ("1", "Amazon SES Email Event Notification")
        assert request.headers["x-amz-sns-message-type"] == NOTE
        assert request.headers["x-amz-sns-subscription-arn"].startswith(hooked.topic_arn + ":")
        assert request.headers["User-Agent"] == "Amazon Simple Notification Service Agent"
    assert len({batch["MessageId"] for batch in receiver.batches}) == 2


def test_without_a_configuration_set_nobody_is_told(hooked, receiver):
    send(hooked, ConfigurationSetName="")
    drain(hooked)
    assert (len(hooked.events), receiver.request_count) == (2, 0)


def test_a_destination_gets_the_events_it_asked_for(hooked, receiver):
    client = connect(hooked, "sesv2")
    client.create_configuration_set(ConfigurationSetName="own")
    destination = {"MatchingEventTypes": ["BOUNCE"], "SnsDestination": {"TopicArn": hooked.topic_arn}, "Enabled": True}
    names = {"ConfigurationSetName": "own", "EventDestinationName": "d"}
    client.create_configuration_set_event_destination(**names, EventDestination=destination)
    send(hooked, "bounce@simulator.amazonses.com", ConfigurationSetName="own")
    drain(hooked)
    first, second = receiver.batches
    assert first["Message"] == "Successfully validated SNS topic for Amazon SES event publishing."
    assert json.loads(second["Message"])["eventType"] == "Bounce"
    client.update_configuration_set_event_destination(**names, EventDestination={**destination, "Enabled": False})
    send(hooked, "bounce@simulator.amazonses.com", ConfigurationSetName="own")
    drain(hooked)
    assert len(receiver.batches) == 3  # the second validation only


def test_feedback_notifications_have_no_tags(receiver, clock):
    with SesServer(clock=clock, webhook_url=receiver.hook, notifications=True) as server:
        send(server, "complaint@simulator.amazonses.com", ConfigurationSetName="")
        drain(server)
    delivery, complaint = (json.loads(batch["Message"]) for batch in receiver.batches)
    assert (delivery["notificationType"], complaint["notificationType"]) == ("Delivery", "Complaint")
    sample = samples()[-1]
    assert set(sample["mail"]) <= set(complaint["mail"])
    assert "tags" not in complaint["mail"]
    assert "Subject" not in receiver.batches[0]


def test_what_is_not_taken_is_kept_and_sent_again(hooked, receiver):
    receiver.status = 503
    send(hooked)
    receiver.wait_for_requests(1)
    assert hooked.deliver_events() == 0
    assert hooked.pending_events == 2
    receiver.status = 200
    assert hooked.deliver_events() == 2
    ids = [batch["MessageId"] for batch in receiver.batches]
    assert ids[0] == ids[-2]  # a delivery that is repeated keeps its id


def test_what_is_refused_for_good_is_lost(hooked, receiver, call):
    receiver.status = 403
    send(hooked)
    drain(hooked)
    assert hooked.lost_events == 2
    assert call(hooked, "POST", "/_control/deliver").json == {"delivered": 0, "pending": 0}


def test_close_delivers_what_waits(receiver, clock):
    receiver.status = 500
    with SesServer(clock=clock, webhook_url=receiver.hook) as server:
        send(server)
        receiver.wait_for_requests(1)
        receiver.status = 204
    assert server.pending_events == 0


# Topics and subscriptions.


def test_a_topic_lives_and_dies(server, sns):
    arn = sns.create_topic(Name="own", Attributes={"DisplayName": "Own"}, Tags=[{"Key": "a", "Value": "b"}])["TopicArn"]
    assert arn == f"arn:aws:sns:{server.region}:123456789012:own"
    assert sns.create_topic(Name="own")["TopicArn"] == arn
    assert [each["TopicArn"] for each in sns.list_topics()["Topics"]] == [arn, server.topic_arn]
    sns.set_topic_attributes(TopicArn=arn, AttributeName="SignatureVersion", AttributeValue="2")
    attributes = sns.get_topic_attributes(TopicArn=arn)["Attributes"]
    assert (attributes["DisplayName"], attributes["SignatureVersion"], attributes["SubscriptionsPending"]) == (
        "Own",
        "2",
        "0",
    )
    for name, value in (("SignatureVersion", "3"), ("Colour", "blue")):
        with pytest.raises(sns.exceptions.InvalidParameterException):
            sns.set_topic_attributes(TopicArn=arn, AttributeName=name, AttributeValue=value)
    with pytest.raises(sns.exceptions.InvalidParameterException, match="different attributes"):
        sns.create_topic(Name="own", Attributes={"DisplayName": "Other"})
    sns.delete_topic(TopicArn=arn)
    sns.delete_topic(TopicArn=arn)
    with pytest.raises(sns.exceptions.NotFoundException, match="Topic does not exist"):
        sns.get_topic_attributes(TopicArn=arn)
    for wrong in ("a b", "x" * 257):
        with pytest.raises(sns.exceptions.InvalidParameterException):
            sns.create_topic(Name=wrong)


def test_lists_come_in_pages(sns):
    for number in range(120):
        sns.create_topic(Name=f"t{number}")
    pages = [page["Topics"] for page in sns.get_paginator("list_topics").paginate()]
    assert [len(page) for page in pages] == [100, 21]
    with pytest.raises(sns.exceptions.InvalidParameterException):
        sns.list_topics(NextToken="x")


def test_an_endpoint_confirms_its_subscription(server, sns, receiver):
    asked = sns.subscribe(TopicArn=server.topic_arn, Protocol="http", Endpoint=receiver.hook)
    assert asked["SubscriptionArn"] == "pending confirmation"
    send(server)
    (request,) = receiver.wait_for_requests(1)
    drain(server)
    assert receiver.request_count == 1  # nothing before it is confirmed
    body = request.json()
    assert request.headers["x-amz-sns-message-type"] == body["Type"] == "SubscriptionConfirmation"
    assert verified(server.certificate_pem, body)
    (listed,) = sns.list_subscriptions_by_topic(TopicArn=server.topic_arn)["Subscriptions"]
    assert (listed["SubscriptionArn"], listed["Endpoint"], listed["Protocol"]) == (
        "PendingConfirmation",
        receiver.hook,
        "http",
    )
    with pytest.raises(sns.exceptions.InvalidParameterException, match="Token"):
        sns.confirm_subscription(TopicArn=server.topic_arn, Token="wrong")
    token = {"TopicArn": server.topic_arn, "Token": body["Token"]}
    arn = sns.confirm_subscription(**token, AuthenticateOnUnsubscribe="true")["SubscriptionArn"]
    assert sns.confirm_subscription(**token)["SubscriptionArn"] == arn
    assert sns.subscribe(TopicArn=server.topic_arn, Protocol="http", Endpoint=receiver.hook)["SubscriptionArn"] == arn
    attributes = sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]
    assert (attributes["PendingConfirmation"], attributes["ConfirmationWasAuthenticated"]) == ("false", "true")
    send(server)
    drain(server)
    assert [batch["Type"] for batch in receiver.batches[1:]] == [NOTE, NOTE]
    sns.unsubscribe(SubscriptionArn=arn)
    send(server)
    drain(server)
    assert receiver.request_count == 3
    with pytest.raises(sns.exceptions.NotFoundException):
        sns.unsubscribe(SubscriptionArn=arn)


def test_the_links_of_a_message_work_below_the_server(server, sns, receiver, call):
    sns.subscribe(TopicArn=server.topic_arn, Protocol="http", Endpoint=receiver.hook)
    receiver.wait_for_requests(1)

    def follow(name):
        drain(server)
        link = urlsplit(receiver.batches[-1][name])
        return call(server, "GET", f"/{link.hostname}{link.path}?{link.query}")

    assert follow("SubscribeURL").status == 200
    send(server)
    assert follow("UnsubscribeURL").status == 200
    drain(server)
    last = receiver.batches[-1]
    assert (last["Type"], verified(server.certificate_pem, last)) == ("UnsubscribeConfirmation", True)
    assert sns.list_subscriptions_by_topic(TopicArn=server.topic_arn)["Subscriptions"] == []


def test_who_left_by_accident_may_come_back(server, sns, receiver, call):
    sns.subscribe(TopicArn=server.topic_arn, Protocol="http", Endpoint=receiver.hook)
    (request,) = receiver.wait_for_requests(1)
    arn = sns.confirm_subscription(TopicArn=server.topic_arn, Token=request.json()["Token"])["SubscriptionArn"]
    receiver.status = 503  # the message that lets it come back waits
    assert (
        call(server, "GET", f"/sns.{server.region}.amazonaws.com/?Action=Unsubscribe&SubscriptionArn={arn}").status
        == 200
    )
    receiver.wait_for_requests(2)
    receiver.status = 200
    token = receiver.batches[-1]["Token"]
    assert sns.confirm_subscription(TopicArn=server.topic_arn, Token=token)["SubscriptionArn"] == arn
    attributes = sns.get_topic_attributes(TopicArn=server.topic_arn)["Attributes"]
    assert attributes["SubscriptionsConfirmed"] == "1"


def test_a_subscription_confirmed_by_its_owner_is_ended_by_its_owner_only(server, sns, receiver, call):
    sns.subscribe(TopicArn=server.topic_arn, Protocol="http", Endpoint=receiver.hook)
    (request,) = receiver.wait_for_requests(1)
    token = request.json()["Token"]
    arn = sns.confirm_subscription(TopicArn=server.topic_arn, Token=token, AuthenticateOnUnsubscribe="true")[
        "SubscriptionArn"
    ]
    refused = call(server, "GET", f"/sns.{server.region}.amazonaws.com/?Action=Unsubscribe&SubscriptionArn={arn}")
    assert (refused.status, b"<Code>AuthorizationError</Code>" in refused.body) == (403, True)


def test_a_token_lasts_two_days(server, sns, receiver, clock):
    sns.subscribe(TopicArn=server.topic_arn, Protocol="http", Endpoint=receiver.hook)
    (request,) = receiver.wait_for_requests(1)
    clock.now += 2 * 24 * 3600 + 1
    with pytest.raises(sns.exceptions.InvalidParameterException, match="Token"):
        sns.confirm_subscription(TopicArn=server.topic_arn, Token=request.json()["Token"])


def test_a_confirmation_made_by_hand_can_be_confirmed(server, sns):
    _, body = server.signed_request(kind="SubscriptionConfirmation")
    arn = sns.confirm_subscription(TopicArn=server.topic_arn, Token=json.loads(body)["Token"])["SubscriptionArn"]
    (listed,) = sns.list_subscriptions_by_topic(TopicArn=server.topic_arn)["Subscriptions"]
    assert listed["SubscriptionArn"] == arn


def test_raw_deliveries_have_no_envelope(hooked, receiver):
    sns = connect(hooked, "sns")
    (listed,) = sns.list_subscriptions_by_topic(TopicArn=hooked.topic_arn)["Subscriptions"]
    raw = {"SubscriptionArn": listed["SubscriptionArn"], "AttributeName": "RawMessageDelivery"}
    sns.set_subscription_attributes(**raw, AttributeValue="true")
    send(hooked)
    drain(hooked)
    assert receiver.batches == list(hooked.events)
    assert receiver.requests[0].headers["x-amz-sns-rawdelivery"] == "true"
    with pytest.raises(sns.exceptions.InvalidParameterException):
        sns.set_subscription_attributes(**raw, AttributeValue="maybe")


def test_the_version_of_the_topic_signs(hooked, receiver):
    sns = connect(hooked, "sns")
    sns.set_topic_attributes(TopicArn=hooked.topic_arn, AttributeName="SignatureVersion", AttributeValue="2")
    send(hooked)
    drain(hooked)
    assert {batch["SignatureVersion"] for batch in receiver.batches} == {"2"}
    assert all(verified(hooked.certificate_pem, batch) for batch in receiver.batches)


def test_anything_can_be_published(hooked, receiver):
    sns = connect(hooked, "sns")
    attributes = {"k": {"DataType": "String", "StringValue": "v"}}
    made = sns.publish(TopicArn=hooked.topic_arn, Message="Grüße & <x>", Subject="S", MessageAttributes=attributes)
    sns.publish(TopicArn=hooked.topic_arn, Message='{"default": "d", "http": "h"}', MessageStructure="json")
    drain(hooked)
    first, second = receiver.batches
    assert (first["MessageId"], first["Message"], first["Subject"]) == (made["MessageId"], "Grüße & <x>", "S")
    assert first["MessageAttributes"] == {"k": {"Type": "String", "Value": "v"}}
    assert verified(hooked.certificate_pem, first)
    assert (second["Message"], "Subject" in second) == ("h", False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"PhoneNumber": "+15551234567", "Message": "x"},
        {"Message": ""},
        {"Message": "x" * 262_145},
        {"Message": "x", "MessageStructure": "xml"},
        {"Message": "{}", "MessageStructure": "json"},
    ],
)
def test_what_cannot_be_published_is_refused(server, sns, wrong):
    where = {} if "PhoneNumber" in wrong else {"TopicArn": server.topic_arn}
    with pytest.raises(sns.exceptions.InvalidParameterException):
        sns.publish(**where, **wrong)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"Protocol": "email", "Endpoint": "a@example.com"}, "InvalidParameter"),
        ({"Protocol": "https", "Endpoint": "http://example.com/"}, "InvalidParameter"),
        ({"Endpoint": "nonsense"}, "InvalidParameter"),
        ({"TopicArn": "arn:aws:sns:eu-central-1:123456789012:none"}, "NotFound"),
        ({"TopicArn": "nonsense"}, "InvalidParameter"),
        ({"Attributes": {"FilterPolicy": "{}"}}, "InvalidParameter"),
    ],
)
def test_what_cannot_be_subscribed_is_refused(server, sns, changes, error):
    arguments = {"TopicArn": server.topic_arn, "Protocol": "http", "Endpoint": "http://127.0.0.1:1/", **changes}
    with pytest.raises(ClientError) as refused:
        sns.subscribe(**arguments)
    assert refused.value.response["Error"]["Code"] == error
    assert refused.value.response["Error"]["Type"] == "Sender"


def test_an_action_that_is_not_here_says_so(server, sns, call):
    with pytest.raises(ClientError, match="does not have ListPlatformApplications") as refused:
        sns.list_platform_applications()
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
    unknown = call(server, "POST", f"/sns.{server.region}.amazonaws.com/", data=b"Action=Nothing")
    assert (unknown.status, b"<Code>InvalidAction</Code>" in unknown.body) == (400, True)
    extra = b"Action=ConfirmSubscription&TopicArn=x&Token=y&Colour=blue"
    refused = call(server, "POST", f"/sns.{server.region}.amazonaws.com/", data=extra)
    assert (refused.status, b"Colour" in refused.body) == (400, True)
