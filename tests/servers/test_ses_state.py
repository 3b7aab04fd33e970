"""What the local SES keeps: templates, suppressions, identities, configuration sets, message insights."""

import json
from datetime import UTC, datetime, timedelta

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from providers.testing.servers.ses import SesServer

SESSION = boto3.Session()
NOW = datetime(2026, 11, 22, 15, tzinfo=UTC)


@pytest.fixture
def server(clock):
    with SesServer(clock=clock) as started:
        yield started
        assert started.violations == ()


@pytest.fixture
def client(server):
    return SESSION.client(
        "sesv2",
        region_name=server.region,
        aws_access_key_id=server.access_key_id,
        aws_secret_access_key=server.secret_access_key,
        endpoint_url=server.url,
        config=Config(retries={"mode": "standard", "total_max_attempts": 1}),
    )


def paged(client, operation, key, **arguments):
    pages, token = [], {}
    while True:
        page = getattr(client, operation)(**arguments, **token)
        pages.append(page[key])
        if "NextToken" not in page:
            return pages
        token = {"NextToken": page["NextToken"]}


# Templates.


def test_a_template_lives_and_dies(client, clock):
    content = {"Subject": "Hi {{name}}", "Text": "T {{name}}", "Html": "<p>{{name}}</p>"}
    client.create_email_template(TemplateName="t", TemplateContent=content, Tags=[{"Key": "k", "Value": "v"}])
    found = client.get_email_template(TemplateName="t")
    assert (found["TemplateContent"], found["Tags"]) == (content, [{"Key": "k", "Value": "v"}])
    with pytest.raises(client.exceptions.AlreadyExistsException):
        client.create_email_template(TemplateName="t", TemplateContent=content)
    client.update_email_template(TemplateName="t", TemplateContent={"Subject": "S", "Text": "{{#if a}}A{{/if}}"})
    assert "Html" not in client.get_email_template(TemplateName="t")["TemplateContent"]
    listed = client.list_email_templates()["TemplatesMetadata"]
    assert [(each["TemplateName"], each["CreatedTimestamp"]) for each in listed] == [("t", NOW)]
    client.delete_email_template(TemplateName="t")
    for call in (client.get_email_template, client.delete_email_template):
        with pytest.raises(client.exceptions.NotFoundException, match="Template t does not exist"):
            call(TemplateName="t")
    with pytest.raises(client.exceptions.NotFoundException):
        client.update_email_template(TemplateName="t", TemplateContent=content)


@pytest.mark.parametrize("content", [{}, {"Subject": "x"}, {"Text": "x"}, {"Subject": "{{#if}}", "Text": "x"}])
def test_a_template_must_be_one(client, content):
    with pytest.raises(client.exceptions.BadRequestException):
        client.create_email_template(TemplateName="t", TemplateContent=content)


def test_a_template_may_have_500_kilobytes(client):
    with pytest.raises(client.exceptions.BadRequestException, match="512000"):
        client.create_email_template(TemplateName="t", TemplateContent={"Subject": "x", "Text": "x" * 512_001})


def test_a_template_can_be_tried(client):
    client.create_email_template(
        TemplateName="a b", TemplateContent={"Subject": "S {{x}}", "Text": "T", "Html": "H {{x}}"}
    )
    rendered = client.test_render_email_template(TemplateName="a b", TemplateData='{"x": "1"}')["RenderedTemplate"]
    assert "Subject: S 1" in rendered
    assert "H 1" in rendered
    with pytest.raises(client.exceptions.BadRequestException, match="Attribute 'x' is not present"):
        client.test_render_email_template(TemplateName="a b", TemplateData="{}")
    with pytest.raises(client.exceptions.NotFoundException):
        client.test_render_email_template(TemplateName="b", TemplateData="{}")


def test_templates_come_in_pages(client):
    for number in range(12):
        client.create_email_template(TemplateName=f"t{number:02}", TemplateContent={"Subject": "x", "Text": "x"})
    pages = paged(client, "list_email_templates", "TemplatesMetadata", PageSize=5)
    assert [len(page) for page in pages] == [5, 5, 2]
    assert [len(page) for page in paged(client, "list_email_templates", "TemplatesMetadata")] == [10, 2]
    for wrong in ({"PageSize": 101}, {"NextToken": "nonsense"}, {"NextToken": "bm9uc2Vuc2U="}):
        with pytest.raises(client.exceptions.BadRequestException):
            client.list_email_templates(**wrong)


# Suppressions.


def test_a_suppression_lives_and_dies(client):
    client.put_suppressed_destination(EmailAddress="Ana@example.com", Reason="COMPLAINT")
    found = client.get_suppressed_destination(EmailAddress="ana@example.com")["SuppressedDestination"]
    assert found == {"EmailAddress": "Ana@example.com", "Reason": "COMPLAINT", "LastUpdateTime": NOW}
    client.put_suppressed_destination(EmailAddress="ana@example.com", Reason="BOUNCE")
    assert (
        client.get_suppressed_destination(EmailAddress="ana@example.com")["SuppressedDestination"]["Reason"] == "BOUNCE"
    )
    client.delete_suppressed_destination(EmailAddress="ANA@example.com")
    for call in (client.get_suppressed_destination, client.delete_suppressed_destination):
        with pytest.raises(client.exceptions.NotFoundException, match="does not exist on your suppression list"):
            call(EmailAddress="ana@example.com")
    with pytest.raises(client.exceptions.BadRequestException):
        client.put_suppressed_destination(EmailAddress="Ana <ana@example.com>", Reason="BOUNCE")


def test_an_address_with_odd_letters_survives_the_path(client):
    address = "a+b/c=d%e'f@example.com"
    client.put_suppressed_destination(EmailAddress=address, Reason="BOUNCE")
    assert client.get_suppressed_destination(EmailAddress=address)["SuppressedDestination"]["EmailAddress"] == address


def test_suppressions_are_listed_by_reason_and_day_in_pages(client, clock):
    for number in range(7):
        clock.now += 3600
        reason = "BOUNCE" if number % 2 else "COMPLAINT"
        client.put_suppressed_destination(EmailAddress=f"a{number}@example.com", Reason=reason)
    key = "SuppressedDestinationSummaries"
    pages = paged(client, "list_suppressed_destinations", key, PageSize=3)
    assert [[each["EmailAddress"][:2] for each in page] for page in pages] == [
        *(["a0", "a1", "a2"], ["a3", "a4", "a5"], ["a6"]),
    ]
    bounces = client.list_suppressed_destinations(Reasons=["BOUNCE"])[key]
    assert [each["EmailAddress"][:2] for each in bounces] == ["a1", "a3", "a5"]
    both = client.list_suppressed_destinations(Reasons=["BOUNCE", "COMPLAINT"])[key]
    assert len(both) == 7
    window = {"StartDate": NOW + timedelta(hours=2), "EndDate": NOW + timedelta(hours=4)}
    found = client.list_suppressed_destinations(**window)[key]
    assert [each["EmailAddress"][:2] for each in found] == ["a1", "a2", "a3"]
    with pytest.raises(client.exceptions.InvalidNextTokenException):
        client.list_suppressed_destinations(NextToken="nonsense")


# Identities.


def test_a_domain_is_verified_after_a_while(client, clock):
    made = client.create_email_identity(EmailIdentity="New.example.org", Tags=[{"Key": "a", "Value": "b"}])
    tokens = made["DkimAttributes"]["Tokens"]
    assert (made["IdentityType"], made["VerifiedForSendingStatus"], len(set(tokens))) == ("DOMAIN", False, 3)
    found = client.get_email_identity(EmailIdentity="new.example.org")
    assert (found["VerificationStatus"], found["DkimAttributes"]["Status"]) == ("PENDING", "PENDING")
    assert found["DkimAttributes"]["Tokens"] == tokens
    clock.now += 60
    found = client.get_email_identity(EmailIdentity="new.example.org")
    assert (found["VerifiedForSendingStatus"], found["DkimAttributes"]["Status"]) == (True, "SUCCESS")
    assert found["VerificationInfo"]["LastSuccessTimestamp"] == NOW + timedelta(minutes=1)
    with pytest.raises(client.exceptions.AlreadyExistsException):
        client.create_email_identity(EmailIdentity="new.example.org")
    client.delete_email_identity(EmailIdentity="new.example.org")
    with pytest.raises(client.exceptions.NotFoundException):
        client.get_email_identity(EmailIdentity="new.example.org")


def test_an_address_is_an_identity_too(server, client):
    made = client.create_email_identity(EmailIdentity="me@friend.test", ConfigurationSetName="shop-events")
    assert (made["IdentityType"], made["DkimAttributes"]["Status"]) == ("EMAIL_ADDRESS", "NOT_STARTED")
    server.verify("me@friend.test")
    found = client.get_email_identity(EmailIdentity="me@friend.test")
    assert (found["VerificationStatus"], found["ConfigurationSetName"]) == ("SUCCESS", "shop-events")
    server.verify("me@friend.test", verified=False)
    assert client.get_email_identity(EmailIdentity="me@friend.test")["VerificationStatus"] == "PENDING"


def test_a_domain_may_bring_its_own_key(client):
    signing = {"DomainSigningSelector": "s1", "DomainSigningPrivateKey": "QUJD"}
    made = client.create_email_identity(EmailIdentity="own.example.org", DkimSigningAttributes=signing)
    assert (made["DkimAttributes"]["SigningAttributesOrigin"], made["DkimAttributes"]["Tokens"]) == ("EXTERNAL", ["s1"])
    with pytest.raises(client.exceptions.BadRequestException, match="domain only"):
        client.create_email_identity(EmailIdentity="a@own.example.org", DkimSigningAttributes=signing)


@pytest.mark.parametrize("name", ["nodots", "a b.example", "x@", "@example.com"])
def test_an_identity_must_be_a_domain_or_an_address(client, name):
    with pytest.raises(client.exceptions.BadRequestException):
        client.create_email_identity(EmailIdentity=name)


def test_identities_are_listed_and_filtered(client):
    client.create_email_identity(EmailIdentity="me@friend.test")

    def names(**filters):
        found = client.list_email_identities(**({"Filter": filters} if filters else {}))["EmailIdentities"]
        return [each["IdentityName"] for each in found]

    assert names() == ["example.com", "me@friend.test", "shop.example.com"]
    assert names(IDENTITY_TYPE="EMAIL_ADDRESS") == ["me@friend.test"]
    assert names(VERIFICATION_STATUS="SUCCESS", IDENTITY_NAME_CONTAINS="shop") == ["shop.example.com"]
    with pytest.raises(client.exceptions.BadRequestException, match="enum"):
        names(COLOUR="blue")
    pages = paged(client, "list_email_identities", "EmailIdentities", PageSize=2)
    assert [len(page) for page in pages] == [2, 1]


# Configuration sets.


def test_a_configuration_set_lives_and_dies(client):
    client.create_configuration_set(ConfigurationSetName="x", DeliveryOptions={"TlsPolicy": "REQUIRE"})
    found = client.get_configuration_set(ConfigurationSetName="x")
    assert (found["DeliveryOptions"]["TlsPolicy"], found["SendingOptions"]["SendingEnabled"]) == ("REQUIRE", True)
    assert client.list_configuration_sets()["ConfigurationSets"] == ["shop-events", "x"]
    with pytest.raises(client.exceptions.AlreadyExistsException):
        client.create_configuration_set(ConfigurationSetName="x")
    with pytest.raises(client.exceptions.BadRequestException, match="at most 64"):
        client.create_configuration_set(ConfigurationSetName="x" * 65)
    client.delete_configuration_set(ConfigurationSetName="x")
    for call in (client.get_configuration_set, client.delete_configuration_set):
        with pytest.raises(client.exceptions.NotFoundException, match="<x> does not exist"):
            call(ConfigurationSetName="x")


def test_an_event_destination_lives_and_dies(server, client):
    where = {"ConfigurationSetName": "shop-events", "EventDestinationName": "own"}
    wanted = {"Enabled": True, "MatchingEventTypes": ["BOUNCE"], "SnsDestination": {"TopicArn": server.topic_arn}}
    client.create_configuration_set_event_destination(**where, EventDestination=wanted)
    with pytest.raises(client.exceptions.AlreadyExistsException):
        client.create_configuration_set_event_destination(**where, EventDestination=wanted)
    changed = {**wanted, "Enabled": False}
    client.update_configuration_set_event_destination(**where, EventDestination=changed)
    found = client.get_configuration_set_event_destinations(ConfigurationSetName="shop-events")["EventDestinations"]
    assert [each["Name"] for each in found] == ["events", "own"]
    assert found[1] == {"Name": "own", **changed}
    assert len(found[0]["MatchingEventTypes"]) == 10
    client.delete_configuration_set_event_destination(**where)
    with pytest.raises(client.exceptions.NotFoundException, match="<own>"):
        client.delete_configuration_set_event_destination(**where)
    with pytest.raises(client.exceptions.NotFoundException, match="<own>"):
        client.update_configuration_set_event_destination(**where, EventDestination=wanted)


@pytest.mark.parametrize(
    "wrong",
    [
        {"SnsDestination": {"TopicArn": "arn:aws:sns:eu-central-1:123456789012:none"}},
        {"SnsDestination": {"TopicArn": "arn:aws:sns:us-east-1:123456789012:ses-events"}},
        {"EventBridgeDestination": {"EventBusArn": "arn:aws:events:eu-central-1:1:b"}},
        {},
        {"MatchingEventTypes": [], "SnsDestination": {"TopicArn": "arn:aws:sns:eu-central-1:123456789012:ses-events"}},
    ],
)
def test_an_event_destination_must_be_a_topic_that_exists(client, wrong):
    destination = {"Enabled": True, "MatchingEventTypes": ["SEND"], **wrong}
    with pytest.raises(client.exceptions.BadRequestException):
        client.create_configuration_set_event_destination(
            ConfigurationSetName="shop-events", EventDestinationName="own", EventDestination=destination
        )


# Insights, the account, a fresh start.


def mail(client, *to, **changes):
    content = {"Simple": {"Subject": {"Data": "Hello"}, "Body": {"Text": {"Data": "Hi"}}}}
    arguments = {"FromEmailAddress": "noreply@shop.example.com", "Destination": {"ToAddresses": list(to)}}
    return client.send_email(**{**arguments, "Content": content, **changes})["MessageId"]


def test_a_message_can_be_asked_about(server, client):
    boxes = ("bounce@simulator.amazonses.com", "complaint@simulator.amazonses.com")
    message_id = mail(client, *boxes, EmailTags=[{"Name": "pm_id", "Value": "1"}])
    found = client.get_message_insights(MessageId=message_id)
    assert (found["Subject"], found["EmailTags"]) == ("Hello", [{"Name": "pm_id", "Value": "1"}])
    bounced, complained = found["Insights"]
    assert [event["Type"] for event in bounced["Events"]] == ["SEND", "BOUNCE"]
    assert bounced["Events"][1]["Details"]["Bounce"]["BounceType"] == "PERMANENT"
    assert [event["Type"] for event in complained["Events"]] == ["SEND", "DELIVERY", "COMPLAINT"]
    assert complained["Events"][2]["Details"]["Complaint"] == {"ComplaintFeedbackType": "abuse"}
    with pytest.raises(client.exceptions.NotFoundException):
        client.get_message_insights(MessageId="unknown")


def test_the_account_has_the_shape_of_the_sample(client):
    account = client.get_account()
    assert (account["ProductionAccessEnabled"], account["SendingEnabled"]) == (True, True)
    assert account["SendQuota"]["Max24HourSend"] == -1
    assert account["SuppressionAttributes"]["SuppressedReasons"] == ["BOUNCE", "COMPLAINT"]


def test_reset_goes_back_to_the_start(server, client):
    client.create_configuration_set(ConfigurationSetName="x")
    client.create_email_identity(EmailIdentity="friend.test")
    client.put_suppressed_destination(EmailAddress="a@example.com", Reason="BOUNCE")
    mail(client, "ana@example.com")
    server.reset()
    assert (server.mails, server.events, server.requests) == ((), (), ())
    assert client.list_configuration_sets()["ConfigurationSets"] == ["shop-events"]
    assert len(client.list_email_identities()["EmailIdentities"]) == 2
    assert client.list_suppressed_destinations()["SuppressedDestinationSummaries"] == []
    assert client.get_account()["SendQuota"]["SentLast24Hours"] == 0


def test_another_process_sees_and_steers(server, client, call):
    mail(client, "ana@example.com")
    mails = call(server, "GET", "/_control/mails").json["mails"]
    assert [(each["to"], each["subject"], each["state"]) for each in mails] == [
        ("ana@example.com", "Hello", "delivered")
    ]
    assert json.loads(call(server, "GET", "/_control/mails?format=ndjson").body)["text"] == "Hi"
    made = call(server, "POST", "/_control/events", {"type": "bounce", "email": "ana@example.com"})
    assert (made.status, made.json["eventType"]) == (201, "Bounce")
    names = [event["eventType"] for event in call(server, "GET", "/_control/events?after=1").json["events"]]
    assert names == ["Delivery", "Bounce"]
    assert call(server, "POST", "/_control/verify", {"identity": "friend.test"}).status == 204
    mail(client, "ana@example.com", FromEmailAddress="x@friend.test")
    assert server.events[-1]["bounce"]["bounceSubType"] == "OnAccountSuppressionList"
    assert (
        call(server, "POST", "/_control/suppressions", {"email": "b@example.com", "reason": "COMPLAINT"}).status == 204
    )
    assert len(client.list_suppressed_destinations()["SuppressedDestinationSummaries"]) == 2
    wrong = {
        "/_control/events": [[], {}, {"type": "x", "email": "ana@example.com"}, {"type": "open", "email": "x@y.z"}],
        "/_control/suppressions": [{"email": "a@example.com", "reason": "x"}],
        "/_control/verify": [[]],
    }
    for path, bodies in wrong.items():
        for body in bodies:
            assert call(server, "POST", path, body).status == 400
    assert call(server, "GET", "/_control/mails?state=all").json["next"] == 2


def test_an_operation_that_is_not_here_says_so(client):
    with pytest.raises(ClientError, match="does not have ListContactLists") as refused:
        client.list_contact_lists()
    assert refused.value.response["Error"]["Code"] == "UnknownOperationException"
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
