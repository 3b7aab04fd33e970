"""The local SNS for texts, asked by the vendor's own library: what it takes, refuses, remembers and relays."""

import contextlib
import json
import subprocess
import sys
from decimal import Decimal

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from providers.testing.servers import Fault, SnsServer
from providers.testing.servers._sns.parts import parts_of

ANA, BEN = "+15005550010", "+4915123456789"
DAY = 86_400


@contextlib.contextmanager
def library(server, **changes):
    """The vendor's library, as anybody would use it."""
    options = {
        "region_name": server.region,
        "endpoint_url": server.url,
        "aws_access_key_id": server.access_key_id,
        "aws_secret_access_key": server.secret_access_key,
        "config": Config(retries={"mode": "standard", "total_max_attempts": 1}),
    } | changes
    client = boto3.client("sns", **options)
    try:
        yield client
    finally:
        client.close()


@pytest.fixture
def make(clock):
    """`make(**options)`: a server and the library in front of it."""
    with contextlib.ExitStack() as stack:

        def build(**options):
            server = stack.enter_context(SnsServer(clock=clock, **options))
            return server, stack.enter_context(library(server))

        yield build


def attribute(value, kind="String"):
    return {"DataType": kind, "StringValue": value}


def refused(step, code, *words, status=400):
    with pytest.raises(ClientError) as caught:
        step()
    error = caught.value.response["Error"]
    assert (error["Code"], caught.value.response["ResponseMetadata"]["HTTPStatusCode"]) == (code, status)
    for word in words:
        assert word in error["Message"]


# Texts.


def test_a_text_is_taken_remembered_and_answered_with_a_uuid(make, clock):
    server, sns = make()
    attributes = {"AWS.SNS.SMS.SMSType": attribute("Promotional"), "AWS.SNS.SMS.MaxPrice": attribute("0.05", "Number")}
    reply = sns.publish(PhoneNumber=ANA, Message="Hi", MessageAttributes=attributes)
    (kept,) = server.texts
    assert len(kept.message_id) == 36
    assert (kept.message_id, kept.number, kept.body, kept.at) == (reply["MessageId"], ANA, "Hi", clock.now)
    assert kept.attributes == {"AWS.SNS.SMS.SMSType": "Promotional", "AWS.SNS.SMS.MaxPrice": "0.05"}
    assert (kept.kind, kept.parts, kept.price) == ("Promotional", 1, 0.00645)
    assert server.texts_to(ANA) == (kept,)
    assert server.texts_to(BEN) == ()
    assert server.violations == ()


@pytest.mark.parametrize("number", ["12", "0123456789", "+0123456789", "ana", "+1500555001O", "+1234567890123456"])
def test_a_number_that_is_none_is_named(make, number):
    server, sns = make()
    refused(lambda: sns.publish(PhoneNumber=number, Message="Hi"), "InvalidParameter", "PhoneNumber", number)
    assert server.texts == ()


@pytest.mark.parametrize(("body", "word"), [("", "Empty"), (" \n", "Empty"), ("x" * 1601, "1600")])
def test_a_text_is_neither_empty_nor_too_long(make, body, word):
    server, sns = make()
    refused(lambda: sns.publish(PhoneNumber=ANA, Message=body), "InvalidParameter", word)
    sns.publish(PhoneNumber=ANA, Message="x" * 1600)
    assert len(server.texts) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS.SNS.SMS.SMSType", attribute("Urgent")),
        ("AWS.SNS.SMS.SMSType", attribute("1", "Number")),
        ("AWS.SNS.SMS.SenderID", attribute("123456")),
        ("AWS.SNS.SMS.SenderID", attribute("Demo Shop")),
        ("AWS.SNS.SMS.SenderID", attribute("TwelveLetter")),
        ("AWS.SNS.SMS.SenderID", attribute("-shop")),
        ("AWS.SNS.SMS.SenderID", attribute("Söhne")),
        ("AWS.SNS.SMS.MaxPrice", attribute("0.05")),
        ("AWS.SNS.SMS.MaxPrice", attribute("cheap", "Number")),
        ("AWS.SNS.SMS.MaxPrice", attribute("0", "Number")),
        ("AWS.MM.SMS.OriginationNumber", attribute("+15005550007")),
        ("AWS.SNS.SMS.Colour", attribute("red")),
        ("colour", attribute("red", "Paint")),
        ("colour", {"DataType": "String"}),
    ],
)
def test_an_attribute_has_its_own_form(make, name, value):
    server, sns = make()
    refused(
        lambda: sns.publish(PhoneNumber=ANA, Message="Hi", MessageAttributes={name: value}),
        "ParameterValueInvalid",
        name,
    )
    assert server.texts == ()


def test_attributes_that_are_in_order_are_taken(make):
    server, sns = make()
    good = {
        "AWS.SNS.SMS.SMSType": attribute("Transactional"),
        "AWS.SNS.SMS.SenderID": attribute("Shop-24"),
        "AWS.SNS.SMS.MaxPrice": attribute("0.05", "Number"),
        "AWS.MM.SMS.OriginationNumber": attribute("+15005550006"),
        "AWS.MM.SMS.EntityId": attribute("1101000000000000000"),
        "colour": attribute("red"),
    }
    sns.publish(PhoneNumber=ANA, Message="Hi", MessageAttributes=good)
    assert server.texts[0].attributes == {name: value["StringValue"] for name, value in good.items()}


def test_a_text_goes_to_a_phone_or_to_a_topic(make):
    server, sns = make()
    both = {"PhoneNumber": ANA, "TopicArn": server.topic_arn, "Message": "Hi"}
    refused(lambda: sns.publish(**both), "InvalidParameter", "only one")
    assert sns.publish(TopicArn=server.topic_arn, Message="Hi")["MessageId"]
    assert server.texts == ()


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("ж" * 70, 1),
        ("ж" * 71, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        (f"{'a' * 100} {'b' * 100}", 2),
        # Whole words need a part more than their letters do.
        (f"{'a' * 100} {'b' * 100} {'c' * 100}", 3),
        ("👍" * 36, 2),
    ],
)
def test_parts_are_whole_words(body, parts):
    assert parts_of(body) == parts


def test_a_rate_throttles_and_takes_texts_again_a_second_later(make, clock):
    server, sns = make(rate=2)
    for _ in range(2):
        sns.publish(PhoneNumber=ANA, Message="Hi")
    refused(lambda: sns.publish(PhoneNumber=ANA, Message="Hi"), "Throttling", "Rate exceeded")
    clock.now += 1
    sns.publish(PhoneNumber=ANA, Message="Hi")
    assert len(server.texts) == 3
    assert server.violations == ()


# Who may ask.


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"aws_access_key_id": "AKIANOBODY"}, "InvalidClientTokenId"),
        ({"aws_secret_access_key": "wrong"}, "SignatureDoesNotMatch"),
        ({"region_name": "us-east-1"}, "SignatureDoesNotMatch"),
    ],
)
def test_a_wrong_signature_is_refused(make, changes, code):
    server, _ = make()
    with library(server, **changes) as sns:
        refused(lambda: sns.publish(PhoneNumber=ANA, Message="Hi"), code, status=403)
    assert server.texts == ()


def test_a_key_does_only_what_it_may(make):
    server, _ = make(keys={"AKIASEND": ("sends", ["sns:Publish"])})
    with library(server, aws_access_key_id="AKIASEND", aws_secret_access_key="sends") as sns:
        sns.publish(PhoneNumber=ANA, Message="Hi")
        refused(sns.get_sms_attributes, "AuthorizationError", "sns:GetSMSAttributes", status=403)


# Settings, opt-outs, sandbox.


def test_settings_are_kept_and_only_those_that_are_set_are_told(make):
    server, sns = make(spend_limit=25)
    assert "DefaultSenderID" not in sns.get_sms_attributes()["attributes"]
    sns.set_sms_attributes(
        attributes={"DefaultSenderID": "Shop", "MonthlySpendLimit": "5", "DefaultSMSType": "Promotional"}
    )
    assert sns.get_sms_attributes(attributes=["DefaultSenderID", "MonthlySpendLimit"])["attributes"] == {
        "DefaultSenderID": "Shop",
        "MonthlySpendLimit": "5",
    }
    sns.publish(PhoneNumber=ANA, Message="Hi")
    assert server.texts[0].kind == "Promotional"
    assert server.texts[0].attributes == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MonthlySpendLimit", "26"),
        ("MonthlySpendLimit", "much"),
        ("DeliveryStatusSuccessSamplingRate", "101"),
        ("DeliveryStatusSuccessSamplingRate", "half"),
        ("DefaultSMSType", "Urgent"),
        ("DefaultSenderID", "12345"),
        ("Colour", "red"),
    ],
)
def test_a_setting_that_is_none_is_refused(make, name, value):
    _, sns = make(spend_limit=25)
    before = sns.get_sms_attributes()["attributes"]
    refused(lambda: sns.set_sms_attributes(attributes={name: value}), "InvalidParameter", name)
    assert sns.get_sms_attributes()["attributes"] == before


def test_an_opted_out_number_is_taken_and_the_log_says_what_became_of_it(make):
    server, sns = make(opted_out=[ANA])
    assert sns.check_if_phone_number_is_opted_out(phoneNumber=ANA)["isOptedOut"]
    assert not sns.check_if_phone_number_is_opted_out(phoneNumber=BEN)["isOptedOut"]
    sns.publish(PhoneNumber=ANA, Message="Hi")
    assert server.logs[0]["status"] == "FAILURE"
    assert server.logs[0]["delivery"]["providerResponse"] == "Phone number is opted out"
    assert server.logs[0]["delivery"]["priceInUSD"] == 0


def test_an_opted_out_number_can_be_refused_too(make):
    server, sns = make(opted_out=[ANA], refuses_opted_out=True)
    refused(lambda: sns.publish(PhoneNumber=ANA, Message="Hi"), "OptedOut")
    sns.publish(PhoneNumber=BEN, Message="Hi")
    assert [each.number for each in server.texts] == [BEN]
    assert server.violations == ()


def test_a_number_is_opted_in_once_in_thirty_days(make, clock):
    server, sns = make(opted_out=[ANA])
    sns.opt_in_phone_number(phoneNumber=ANA)
    assert server.opted_out == set()
    sns.opt_in_phone_number(phoneNumber=ANA)
    server.opted_out.add(ANA)
    refused(lambda: sns.opt_in_phone_number(phoneNumber=ANA), "InvalidParameter", "30 days")
    clock.now += 30 * DAY
    sns.opt_in_phone_number(phoneNumber=ANA)
    assert not sns.check_if_phone_number_is_opted_out(phoneNumber=ANA)["isOptedOut"]


def test_opt_outs_come_in_pages_of_a_hundred(make):
    numbers = [f"+1500555{n:04}" for n in range(201)]
    _, sns = make(opted_out=numbers)
    pages = list(sns.get_paginator("list_phone_numbers_opted_out").paginate())
    assert [len(page["phoneNumbers"]) for page in pages] == [100, 100, 1]
    assert [one for page in pages for one in page["phoneNumbers"]] == numbers
    refused(lambda: sns.list_phone_numbers_opted_out(nextToken="x"), "InvalidParameter")


def test_in_the_sandbox_verified_numbers_only_get_texts(make):
    server, sns = make(sandbox=True, verified_numbers=[BEN])
    assert sns.get_sms_sandbox_account_status()["IsInSandbox"]
    sns.publish(PhoneNumber=ANA, Message="Hi")
    sns.publish(PhoneNumber=BEN, Message="Hi")
    assert [log["status"] for log in server.logs] == ["FAILURE", "SUCCESS"]
    server.verified_numbers.add(ANA)
    sns.publish(PhoneNumber=ANA, Message="Hi")
    assert server.logs[-1]["status"] == "SUCCESS"
    _, other = make()
    assert not other.get_sms_sandbox_account_status()["IsInSandbox"]


def test_origination_numbers_come_in_pages(make):
    numbers = [f"+1500555{n:04}" for n in range(35)]
    _, sns = make(origination_numbers=numbers)
    pages = list(sns.get_paginator("list_origination_numbers").paginate())
    assert [one["PhoneNumber"] for page in pages for one in page["PhoneNumbers"]] == numbers
    assert len(pages) == 2
    assert len(sns.list_origination_numbers(MaxResults=3)["PhoneNumbers"]) == 3


def test_a_price_or_a_month_s_limit_shows_in_the_log_only(make, clock):
    server, sns = make(spend_limit=Decimal("0.0195"))
    dear = {"AWS.SNS.SMS.MaxPrice": attribute("0.006", "Number")}
    sns.publish(PhoneNumber=ANA, Message="Hi", MessageAttributes=dear)
    for _ in range(4):
        sns.publish(PhoneNumber=ANA, Message="Hi")
    said = [log["delivery"]["providerResponse"] for log in server.logs]
    assert said[0] == "This delivery would exceed max price"
    assert said[4] == "No quota left for account"
    assert [log["status"] for log in server.logs[1:4]] == ["SUCCESS"] * 3
    assert [each.price for each in server.texts] == [0, 0.00645, 0.00645, 0.00645, 0]
    clock.now += 31 * DAY
    sns.publish(PhoneNumber=ANA, Message="Hi")
    assert server.logs[-1]["status"] == "SUCCESS"


# Logs.


def test_logs_are_relayed_as_signed_messages_of_the_topic(make, receiver):
    server, sns = make(webhook_url=receiver.hook, outcomes={BEN: "invalid_number", "+447700900456": "none"})
    for number in (ANA, BEN, "+447700900456"):
        sns.publish(PhoneNumber=number, Message="Hi")
    server.flush()
    envelopes = receiver.batches
    assert [json.loads(each["Message"]) for each in envelopes] == [*server.logs]
    assert {each["TopicArn"] for each in envelopes} == {server.topic_arn} == {server.env["SNS_TOPIC_ARN"]}
    assert {request.headers["x-amz-sns-message-type"] for request in receiver.requests} == {"Notification"}
    first, second = server.logs
    assert (first["status"], first["delivery"]["destination"]) == ("SUCCESS", ANA)
    assert first["notification"]["messageId"] == server.texts[0].message_id
    assert second["delivery"]["providerResponse"] == "Invalid phone number"
    assert (server.pending_events, server.lost_events) == (0, 0)


def test_logs_are_told_as_the_settings_have_it(make, receiver):
    server, sns = make(webhook_url=receiver.hook, outcomes={BEN: "unreachable"})
    sns.set_sms_attributes(attributes={"DeliveryStatusSuccessSamplingRate": "50"})
    for number in [ANA] * 4 + [BEN]:
        sns.publish(PhoneNumber=number, Message="Hi")
    server.flush()
    told = [json.loads(each["Message"])["status"] for each in receiver.batches]
    assert sorted(told) == ["FAILURE", "SUCCESS", "SUCCESS"]
    sns.set_sms_attributes(attributes={"DeliveryStatusIAMRole": ""})
    sns.publish(PhoneNumber=BEN, Message="Hi")
    server.flush()
    assert len(receiver.batches) == 3


def test_a_log_can_be_made_to_happen(make, receiver):
    server, sns = make(webhook_url=receiver.hook, outcomes={ANA: "none"})
    sent = sns.publish(PhoneNumber=ANA, Message="Hi")["MessageId"]
    log = server.log(sent, "The moon is in the way", dwellTimeMs=7)
    assert (log["status"], log["delivery"]["providerResponse"]) == ("FAILURE", "The moon is in the way")
    assert log["delivery"]["dwellTimeMs"] == 7
    server.flush()
    assert [json.loads(each["Message"]) for each in receiver.batches] == [log]
    with pytest.raises(ValueError, match="no text"):
        server.log("nobody")


def test_an_endpoint_that_fails_gets_its_logs_later(make, receiver):
    server, sns = make(webhook_url=receiver.hook)
    receiver.status = 500
    sns.publish(PhoneNumber=ANA, Message="Hi")
    assert server.flush() == 0
    assert server.pending_events == 1
    receiver.status = 204
    assert server.flush() == 1
    assert server.pending_events == 0


# The server itself.


def test_reset_forgets_what_happened_and_keeps_what_it_was_made_with(make):
    server, sns = make(opted_out=[BEN], outcomes={ANA: "sent"})
    sns.publish(PhoneNumber=ANA, Message="Hi")
    sns.opt_in_phone_number(phoneNumber=BEN)
    sns.set_sms_attributes(attributes={"DefaultSMSType": "Promotional"})
    server.outcomes.clear()
    server.reset()
    assert (server.texts, server.logs, server.request_count) == ((), (), 0)
    assert (server.opted_out, server.outcomes) == ({BEN}, {ANA: "sent"})
    assert sns.get_sms_attributes()["attributes"]["DefaultSMSType"] == "Transactional"


def test_staged_faults_come_before_the_vendor(make):
    server, sns = make()
    server.stage(Fault.status(503, body="<html>busy</html>"))
    refused(lambda: sns.publish(PhoneNumber=ANA, Message="Hi"), "503", status=503)
    sns.publish(PhoneNumber=ANA, Message="Hi")
    assert len(server.texts) == 1


def test_control_routes_show_and_make_things_happen(make, call):
    server, sns = make(sandbox=True, verified_numbers=[ANA])
    sent = sns.publish(PhoneNumber=ANA, Message="Hi")["MessageId"]
    (shown,) = call(server, "GET", "/_control/texts").json["texts"]
    assert (shown["message_id"], shown["number"], shown["parts"]) == (sent, ANA, 1)
    made = call(server, "POST", "/_control/logs", {"message_id": sent, "outcome": "spam", "delivery": {"mcc": 1}})
    assert (made.status, made.json["status"], made.json["delivery"]["mcc"]) == (201, "FAILURE", 1)
    assert len(call(server, "GET", "/_control/logs").json["logs"]) == 2
    assert call(server, "POST", "/_control/logs", {"message_id": "nobody"}).status == 400
    assert call(server, "POST", "/_control/opt-outs", {"number": ANA}).status == 204
    assert call(server, "POST", "/_control/verify", {"number": BEN}).status == 204
    assert (server.opted_out, server.verified_numbers) == ({ANA}, {ANA, BEN})
    assert call(server, "POST", "/_control/deliver").json == {"delivered": 0, "pending": 0}
    assert call(server, "POST", "/_control/opt-outs", []).status == 400


@pytest.mark.parametrize("path", ["/elsewhere", "/sns.eu-central-1.amazonaws.com/"])
def test_sns_is_at_the_root_and_nowhere_else(make, call, path):
    server, _ = make()
    answer = call(server, "POST", path, data=b"Action=Publish")
    assert answer.status == 404
    assert b"<Code>InvalidAction</Code>" in answer.body


def test_the_command_serves_with_its_options():
    command = [sys.executable, "-m", "providers.testing.servers", "sns", "--sandbox", "--verified-number", ANA,
               "--opted-out", BEN, "--region", "us-west-2", "--spend-limit", "3", "--packed-logs"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            told = json.loads(process.stdout.readline())
            env = told["env"]
            assert set(env) == {"PROVIDER_SNS_BASE_URL", "SNS_ACCESS_KEY_ID", "SNS_SECRET_ACCESS_KEY", "SNS_REGION",
                                "SNS_TOPIC_ARN"}  # fmt: skip
            client = boto3.client(
                "sns",
                region_name=env["SNS_REGION"],
                endpoint_url=env["PROVIDER_SNS_BASE_URL"],
                aws_access_key_id=env["SNS_ACCESS_KEY_ID"],
                aws_secret_access_key=env["SNS_SECRET_ACCESS_KEY"],
            )
            assert client.get_sms_sandbox_account_status()["IsInSandbox"]
            assert client.list_phone_numbers_opted_out()["phoneNumbers"] == [BEN]
            assert client.get_sms_attributes()["attributes"]["MonthlySpendLimit"] == "3"
            client.close()
        finally:
            process.terminate()
        assert process.wait(10) == 0
