"""Sending through the local SES, driven by the vendor's own client."""

import base64
import json
from email.message import EmailMessage
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.testing.servers.ses import SesServer

SESSION = boto3.Session()
SAMPLES = Path(__file__).parent.parent / "data" / "ses"
SENDER = "Shop <noreply@shop.example.com>"
ONCE = Config(retries={"mode": "standard", "total_max_attempts": 1})


def ses(server):
    return SESSION.client(
        "sesv2",
        region_name=server.region,
        aws_access_key_id=server.access_key_id,
        aws_secret_access_key=server.secret_access_key,
        endpoint_url=server.url,
        config=ONCE,
    )


def simple(subject="Hello", text="Hi", html=None, **more):
    utf8 = {"Charset": "UTF-8"}
    body = {"Text": {"Data": text, **utf8}} if text is not None else {}
    if html is not None:
        body["Html"] = {"Data": html, **utf8}
    return {"Simple": {"Subject": {"Data": subject, **utf8}, "Body": body, **more}}


def to(*addresses, **more):
    return {"ToAddresses": list(addresses), **more}


def entry(address, data=None, **more):
    replacement = {"ReplacementTemplate": {"ReplacementTemplateData": json.dumps(data or {})}}
    return {"Destination": to(address), "ReplacementEmailContent": replacement, **more}


INLINE = {"Template": {"TemplateContent": {"Subject": "Hi {{name}}", "Text": "T {{name}}", "Html": "<p>{{name}}</p>"}}}


@pytest.fixture
def server(clock):
    with SesServer(clock=clock) as started:
        yield started
        assert started.violations == ()


@pytest.fixture
def client(server):
    return ses(server)


@pytest.fixture
def send(client):
    def call(*addresses, content=None, **more):
        arguments = {"FromEmailAddress": SENDER, "Destination": to(*addresses or ("ana@example.com",))}
        return client.send_email(**{**arguments, "Content": simple() if content is None else content, **more})

    return call


@pytest.fixture
def bulk(client):
    def call(*entries, content=None, **more):
        arguments = {"FromEmailAddress": SENDER, "DefaultContent": content or INLINE, "BulkEmailEntries": list(entries)}
        return client.send_bulk_email(**{**arguments, **more})["BulkEmailEntryResults"]

    return call


def kinds(server):
    return [event["eventType"] for event in server.events]


# What readers see.


def test_the_sample_of_a_simple_mail_arrives(server, client):
    sample = json.loads((SAMPLES / "send_email_kwargs.json").read_text())
    client.create_configuration_set(ConfigurationSetName="transactional")
    message_id = client.send_email(**sample)["MessageId"]
    (mail,) = server.mails
    assert (mail.to, mail.subject, mail.text) == (
        *("ana@example.com", "Order 1001 has shipped", "Your order 1001 has shipped."),
    )
    assert mail.html == "<p>Your order <b>1001</b> has shipped.</p>"
    assert (mail.from_email, mail.from_name, mail.reply_to) == (
        *("noreply@shop.example.com", "Demo Shop", ("help@shop.example.com",)),
    )
    assert (mail.headers, mail.tags) == ({"X-PM-Id": "0f8c2c1e-0001"}, {"pm_id": "0f8c2c1e-0001"})
    assert (mail.message_id, mail.configuration_set, mail.state) == (message_id, "transactional", "delivered")


def test_every_recipient_has_a_mail_of_the_same_message(server, send):
    send(Destination={"ToAddresses": ["a@x.com", "b@x.com"], "CcAddresses": ["c@x.com"], "BccAddresses": ["d@x.com"]})
    assert [(mail.to, mail.kind) for mail in server.mails] == [
        *(("a@x.com", "to"), ("b@x.com", "to"), ("c@x.com", "cc"), ("d@x.com", "bcc")),
    ]
    assert len({mail.message_id for mail in server.mails}) == 1
    assert server.mails[3].to_line == ("a@x.com", "b@x.com")


def test_names_are_decoded_as_rfc_2047_says(server, send):
    send("=?utf-8?q?J=C3=BCrgen?= <j@example.com>", FromEmailAddress='"Shop, Inc." <noreply@shop.example.com>')
    (mail,) = server.mails
    assert (mail.to_name, mail.sender) == ("Jürgen", "Shop, Inc. <noreply@shop.example.com>")


def test_text_outside_ascii_is_lost_without_a_charset(server, send):
    body = {"Text": {"Data": "Größe 🎈"}, "Html": {"Data": "Größe", "Charset": "ISO-8859-1"}}
    send(content={"Simple": {"Subject": {"Data": "Größe", "Charset": "UTF-8"}, "Body": body}})
    (mail,) = server.mails
    assert (mail.subject, mail.text, mail.html) == ("Größe", "Gr??e ?", "Größe")


def test_attachments_arrive(server, send):
    files = [
        {"RawContent": b"\x00\xff", "FileName": "a.pdf"},
        {
            "RawContent": b"x",
            "FileName": "b",
            "ContentType": "image/png",
            "ContentId": "b1",
            "ContentDisposition": "INLINE",
        },
    ]
    send(content=simple(Attachments=files))
    pdf, png = server.mails[0].attachments
    assert (pdf.filename, pdf.type, pdf.disposition, pdf.content) == (
        "a.pdf",
        "application/pdf",
        "attachment",
        b"\x00\xff",
    )
    assert (png.type, png.disposition, png.content_id) == ("image/png", "inline", "b1")


def raw(**headers):
    message = EmailMessage()
    for name, value in {"From": SENDER, "To": "Ana <ana@example.com>", "Subject": "Grüße", **headers}.items():
        message[name.replace("_", "-")] = value
    message.set_content("Hi Söhne\n")
    message.add_alternative("<p>Hi</p>", subtype="html")
    message.add_attachment(b"\x00", maintype="application", subtype="pdf", filename="a.pdf")
    return message


def test_a_raw_message_is_parsed(server, client):
    message = raw(Cc="cc@example.com", Bcc="bcc@example.com", X_PM_Id="7", X_SES_MESSAGE_TAGS="a=1, b=2")
    client.send_email(Content={"Raw": {"Data": message.as_bytes()}})
    mail = server.mails[0]
    assert [each.to for each in server.mails] == ["ana@example.com", "cc@example.com", "bcc@example.com"]
    assert (mail.subject, mail.text, mail.html, mail.to_name) == ("Grüße", "Hi Söhne", "<p>Hi</p>", "Ana")
    assert (mail.headers, mail.tags) == ({"X-PM-Id": "7"}, {"a": "1", "b": "2"})
    assert [(file.filename, file.content) for file in mail.attachments] == [("a.pdf", b"\x00")]


def test_the_sender_of_a_raw_message_must_be_verified_wherever_it_stands(client):
    for sender, header in (("x@elsewhere.test", SENDER), (SENDER, "x@elsewhere.test")):
        with pytest.raises(client.exceptions.MessageRejected, match="elsewhere"):
            client.send_email(FromEmailAddress=sender, Content={"Raw": {"Data": raw(From=header).as_bytes()}})


def test_a_raw_message_may_name_its_configuration_set(server, client):
    data = raw(X_SES_CONFIGURATION_SET="shop-events").as_bytes()
    client.send_email(FromEmailAddress=SENDER, Content={"Raw": {"Data": data}})
    assert server.mails[0].configuration_set == "shop-events"
    with pytest.raises(client.exceptions.NotFoundException, match="<none>"):
        client.send_email(Content={"Raw": {"Data": raw(X_SES_CONFIGURATION_SET="none").as_bytes()}})


def test_the_destination_of_a_raw_message_counts_before_its_headers(server, client):
    client.send_email(
        FromEmailAddress=SENDER, Destination=to("x@example.com"), Content={"Raw": {"Data": raw().as_bytes()}}
    )
    assert [mail.to for mail in server.mails] == ["x@example.com"]


@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\r"), min_size=1, max_size=60))
def test_what_is_sent_is_what_is_read(text):
    subject = "".join(character for character in text if character.isprintable())
    body = json.dumps(
        {
            "FromEmailAddress": SENDER,
            "Destination": to("ana@example.com"),
            "Content": simple(subject, text, text),
        }
    )
    (mail,) = SesServer.mails_of("POST", "/v2/email/outbound-emails", body.encode())
    assert (mail.subject, mail.text, mail.html) == (subject, text, text)


@settings(deadline=None)
@given(
    parts=st.lists(
        st.sampled_from(
            [
                *(
                    "From: ",
                    "To: ",
                    "Subject: ",
                    "Content-Type: ",
                    "multipart/mixed; boundary=x",
                    "--x",
                    "\r\n",
                    "\r\n\r\n",
                ),
                *(
                    "a@b.c",
                    "<",
                    ">",
                    "@",
                    ",",
                    ";",
                    ":",
                    "=?utf-8?q?=C3?=",
                    "=?",
                    '"',
                    "(",
                    "\\",
                    "\xff",
                    "text/plain; charset=",
                ),
            ]
        ),
        max_size=20,
    )
)
def test_any_raw_message_is_read_or_refused(parts):
    data = ("From: a@example.com\r\nTo: b@example.com\r\n" + "".join(parts)).encode("latin-1")
    body = {"Content": {"Raw": {"Data": base64.b64encode(data).decode()}}}
    try:
        mails = SesServer.mails_of("POST", "/v2/email/outbound-emails", json.dumps(body).encode())
    except ValueError:
        return
    assert mails
    assert all(isinstance(mail.as_dict(), dict) for mail in mails)


# Templates.


def test_an_inline_template_is_filled_and_nothing_is_escaped(server, send):
    data = json.dumps({"name": "<b>O'Neill</b>"})
    send(content={"Template": {**INLINE["Template"], "TemplateData": data}})
    (mail,) = server.mails
    assert (mail.subject, mail.text, mail.html) == (
        *("Hi <b>O'Neill</b>", "T <b>O'Neill</b>", "<p><b>O'Neill</b></p>"),
    )


def test_a_missing_variable_is_an_event_and_no_mail(server, send):
    message_id = send(content={"Template": {**INLINE["Template"], "TemplateData": "{}"}})["MessageId"]
    assert server.mails == ()
    (event,) = server.events
    assert (event["eventType"], event["mail"]["messageId"]) == ("Rendering Failure", message_id)
    assert event["failure"]["errorMessage"] == "Attribute 'name' is not present in the rendering data."


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ({"TemplateName": "nothing"}, "does not exist"),
        ({"TemplateContent": {"Text": "x"}}, "subject"),
        ({"TemplateContent": {"Subject": "x"}}, "text or an HTML"),
        ({"TemplateContent": {"Subject": "x", "Text": "{{#if a}}x{{/if}}"}}, "simple substitutions"),
        ({"TemplateContent": {"Subject": "x", "Text": "{{a.b}}"}}, "simple substitutions"),
        ({"TemplateContent": {"Subject": "x", "Text": "{{a"}}, "not closed"),
        ({"TemplateContent": {"Subject": "x", "Text": "x" * 1_048_577}}, "longer than 1048576"),
        ({"TemplateArn": "arn:aws:ses:eu-central-1:123456789012:template/gone"}, "Template gone does not exist"),
        ({"TemplateContent": {"Subject": "x", "Text": "x"}, "TemplateData": "[]"}, "JSON object"),
        ({"TemplateContent": {"Subject": "x", "Text": "x"}, "TemplateName": "y"}, "Exactly one"),
        ({}, "Exactly one"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused(client, send, template, message):
    with pytest.raises((client.exceptions.BadRequestException, client.exceptions.NotFoundException), match=message):
        send(content={"Template": template})


# Bulk.


def test_bulk_entries_are_filled_over_the_defaults_and_answered_in_order(server, client, bulk):
    client.create_email_template(
        TemplateName="t", TemplateContent={"Subject": "{{a}} {{b}}", "Html": "{{#if vip}}VIP{{else}}-{{/if}}"}
    )
    default = {"TemplateName": "t", "TemplateData": '{"a": "A", "b": "B"}'}
    default["Headers"] = [{"Name": "X-A", "Value": "1"}, {"Name": "X-B", "Value": "1"}]
    results = bulk(
        entry("one@example.com", {"b": "2", "vip": True}, ReplacementTags=[{"Name": "k", "Value": "own"}]),
        entry("two@example.com", ReplacementHeaders=[{"Name": "x-b", "Value": "2"}, {"Name": "X-C", "Value": "2"}]),
        content={"Template": default},
        DefaultEmailTags=[{"Name": "k", "Value": "all"}, {"Name": "l", "Value": "all"}],
        ReplyToAddresses=["help@example.com"],
    )
    one, two = server.mails
    assert [result["MessageId"] for result in results] == [one.message_id, two.message_id]
    assert {result["Status"] for result in results} == {"SUCCESS"}
    assert (one.subject, one.html, one.text, one.tags) == ("A 2", "VIP", None, {"k": "own", "l": "all"})
    assert (two.subject, two.html, two.tags) == ("A B", "-", {"k": "all", "l": "all"})
    assert one.headers == {"X-A": "1", "X-B": "1"}
    assert two.headers == {"X-A": "1", "x-b": "2", "X-C": "2"}
    assert two.reply_to == ("help@example.com",)


def test_the_sample_of_a_bulk_call_names_a_template_that_is_not_there(client):
    sample = json.loads((SAMPLES / "send_bulk_email_kwargs.json").read_text())
    (result,) = client.send_bulk_email(**sample)["BulkEmailEntryResults"]
    assert result == {"Status": "TEMPLATE_NOT_FOUND", "Error": "Template welcome does not exist"}


def test_each_bulk_entry_has_its_own_status(server, bulk):
    server.statuses["later@example.com"] = "TRANSIENT_FAILURE"
    broken = {"ReplacementTemplate": {"ReplacementTemplateData": "{"}}
    results = bulk(
        entry("ana@example.com", {"name": "A"}),
        entry("Later@example.com", {"name": "B"}),
        entry("ben@example.com", {"name": "C"}, ReplacementTags=[{"Name": "a b", "Value": "x"}]),
        {"Destination": to("cay@example.com"), "ReplacementEmailContent": broken},
        entry("dan@example.com"),
    )
    assert [result["Status"] for result in results] == [
        *("SUCCESS", "TRANSIENT_FAILURE", "INVALID_PARAMETER", "INVALID_PARAMETER", "SUCCESS"),
    ]
    assert [mail.to for mail in server.mails] == ["ana@example.com"]  # the last one lacks a name
    assert kinds(server) == ["Send", "Delivery", "Rendering Failure"]


def test_bulk_entries_wait_for_their_configuration_set(client, bulk):
    one = entry("a@example.com", {"name": "A"})
    assert bulk(one, ConfigurationSetName="none")[0]["Status"] == "CONFIGURATION_SET_NOT_FOUND"
    client.create_configuration_set(ConfigurationSetName="off", SendingOptions={"SendingEnabled": False})
    assert bulk(one, ConfigurationSetName="off")[0]["Status"] == "CONFIGURATION_SET_SENDING_PAUSED"


def test_what_is_wrong_for_all_entries_refuses_the_call(server, client, bulk):
    refused = client.exceptions.BadRequestException
    good = entry("ana@example.com", {"name": "A"})
    with pytest.raises(refused, match="between 1 and 50"):
        bulk(*[good] * 51)
    with pytest.raises(refused, match="between 1 and 50"):
        bulk()
    with pytest.raises(refused, match="Missing final '@domain'"):
        bulk(good, entry("nobody"))
    with pytest.raises(refused, match="at least one recipient"):
        bulk(good, {"Destination": {}})
    with pytest.raises(client.exceptions.MessageRejected, match="not verified"):
        bulk(good, FromEmailAddress="x@elsewhere.test")
    assert server.mails == ()


def test_a_suspended_or_paused_account_sends_nothing(server, client, send, bulk):
    one = entry("a@example.com", {"name": "A"})
    server.pause()
    with pytest.raises(client.exceptions.SendingPausedException):
        send()
    assert bulk(one)[0]["Status"] == "ACCOUNT_SENDING_PAUSED"
    client.put_account_sending_attributes(SendingEnabled=True)
    send()
    server.suspend()
    with pytest.raises(client.exceptions.AccountSuspendedException):
        send()
    assert bulk(one)[0]["Status"] == "ACCOUNT_SUSPENDED"
    assert client.get_account()["EnforcementStatus"] == "SHUTDOWN"
    assert len(server.mails) == 1


# Rules.


def test_the_sender_must_be_verified(server, client, send):
    with pytest.raises(client.exceptions.MessageRejected) as refused:
        send(FromEmailAddress="X <x@elsewhere.test>")
    assert refused.value.response["Error"]["Message"] == (
        "Email address is not verified. The following identities failed the check in region "
        "EU-CENTRAL-1: X <x@elsewhere.test>"
    )
    send(FromEmailAddress="a@mail.shop.example.com")  # a domain covers those below it
    server.verify("X@elsewhere.test")
    send(FromEmailAddress="x@elsewhere.test")
    server.verify("x@elsewhere.test", verified=False)
    with pytest.raises(client.exceptions.MessageRejected):
        send(FromEmailAddress="x@elsewhere.test")


def test_in_the_sandbox_recipients_must_be_verified_too(clock):
    with SesServer(clock=clock, sandbox=True, max_send_rate=100, verified_senders=("me@friend.test",)) as server:
        client = ses(server)
        arguments = {"FromEmailAddress": SENDER, "Content": simple()}
        client.send_email(Destination=to("me@friend.test", "success@simulator.amazonses.com"), **arguments)
        with pytest.raises(client.exceptions.MessageRejected, match=r"EU-CENTRAL-1: you@friend.test$"):
            client.send_email(Destination=to("me@friend.test", "you@friend.test"), **arguments)
        results = client.send_bulk_email(
            FromEmailAddress=SENDER,
            DefaultContent=INLINE,
            BulkEmailEntries=[entry("me@friend.test", {"name": "a"}), entry("you@friend.test", {"name": "b"})],
        )["BulkEmailEntryResults"]
        assert [result["Status"] for result in results] == ["SUCCESS", "MESSAGE_REJECTED"]
        account = client.get_account()
    assert account["ProductionAccessEnabled"] is False
    assert account["SendQuota"] == {"Max24HourSend": 200.0, "MaxSendRate": 100.0, "SentLast24Hours": 3.0}


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("nobody", "Missing final '@domain'"),
        ("a <b@example.com", "Illegal address"),
        ("=?nope?q?x?= <a@example.com>", "encoded word"),
        ("a: b <a@example.com>", "Illegal character"),
        ("Doe, Jane <j@example.com>", "Missing final '@domain'"),
        ("@example.com", "Missing local name"),
        ("ana@", "Missing domain"),
        ("ana@localhost", "Missing final '@domain'"),
        ("jürgen@example.com", "non-ASCII"),
        ("ana@bücher.example", "RFC 3492"),
        ("Jürgen <j@example.com>", "RFC 2047"),
        ("a b@example.com", "whitespace"),
        ("ana@exa mple.com", "whitespace"),
        ("A\r\nBcc: x@example.com <j@example.com>", "whitespace"),
        ("a..b@example.com", "dot-dot"),
        ("ana@example..com", "dot-dot"),
        ("ana@.example.com", "starts with dot"),
        ("ana@example.com.", "ends with dot"),
        ("ana@-example.com", "illegal character"),
        ("a" * 65 + "@example.com", "too long"),
        ("", "Empty address"),
    ],
)
def test_one_bad_address_refuses_the_whole_call(server, client, send, address, message):
    with pytest.raises(client.exceptions.BadRequestException, match=message):
        send("ana@example.com", address)
    assert server.mails == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Destination": to(*(f"a{i}@example.com" for i in range(51)))}, "Recipient count exceeds 50"),
        ({"Destination": {}}, "no recipients"),
        ({"FeedbackForwardingEmailAddress": "nobody"}, "Missing final"),
        ({"ReplyToAddresses": ["nobody"]}, "Missing final"),
        ({"FromEmailAddress": ""}, "'From'"),
        ({"content": {}}, "Exactly one of Simple"),
        ({"content": {**simple(), **INLINE}}, "Exactly one of Simple"),
        ({"content": simple(text=None)}, "text or an HTML"),
        ({"content": simple("a\nBcc: b")}, "control characters"),
        ({"content": simple(Attachments=[{"FileName": "x.EXE", "RawContent": b""}])}, "Illegal filename"),
        ({"content": simple(Headers=[{"Name": "X-A", "Value": "x" * 995}])}, "996"),
        ({"content": simple(Headers=[{"Name": "X-A", "Value": "ä"}])}, r"headers.1.member.value.*pattern"),
        ({"content": simple(Headers=[{"Name": "X A", "Value": "a"}])}, r"headers.1.member.name.*pattern"),
        ({"content": simple(Headers=[{"Name": "X", "Value": "a"}] * 16)}, "less than or equal to 15"),
        ({"EmailTags": [{"Name": "pm id", "Value": "x"}]}, "Invalid tag name <pm id>"),
        ({"EmailTags": [{"Name": "a", "Value": "x@y.z"}]}, "Invalid tag value"),
        ({"EmailTags": [{"Name": "a", "Value": "x"}] * 2}, "Duplicate tag name"),
        ({"content": {"Raw": {"Data": b"no header"}}}, "header"),
        ({"content": {"Raw": {"Data": b"Subject: x\r\n\r\n" + b"x" * 1001}}}, "1000"),
    ],
)
def test_what_breaks_a_rule_is_refused(server, client, send, changes, message):
    with pytest.raises(client.exceptions.BadRequestException, match=message):
        send(**changes)
    assert server.mails == ()


def test_an_unknown_charset_and_configuration_set_are_refused(client, send):
    with pytest.raises(client.exceptions.BadRequestException, match="Unsupported charset"):
        send(content={"Simple": {"Subject": {"Data": "ä", "Charset": "nope"}, "Body": {"Text": {"Data": "x"}}}})
    with pytest.raises(client.exceptions.NotFoundException, match="<none> does not exist"):
        send(ConfigurationSetName="none")
    client.create_configuration_set(ConfigurationSetName="off", SendingOptions={"SendingEnabled": False})
    with pytest.raises(client.exceptions.SendingPausedException, match="<off>"):
        send(ConfigurationSetName="off")


def test_more_than_40_megabytes_are_refused(server, client, send):
    with pytest.raises(client.exceptions.BadRequestException, match="41943040"):
        send(content=simple(Attachments=[{"FileName": "a.bin", "RawContent": bytes(32 * 1024 * 1024)}]))
    assert server.mails == ()


# Quotas.


def test_the_rate_counts_recipients_and_must_be_made_up_for(clock):
    with SesServer(clock=clock, max_send_rate=2) as server:
        client = ses(server)

        def send(count):
            destination = to(*(f"a{i}@example.com" for i in range(count)))
            client.send_email(FromEmailAddress=SENDER, Destination=destination, Content=simple())

        send(5)  # whoever has something left may overdraw
        for wait in (0, 1.9):
            clock.now += wait
            with pytest.raises(client.exceptions.TooManyRequestsException) as refused:
                send(1)
            assert refused.value.response["Error"]["Message"] == "Maximum sending rate exceeded."
            assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
        clock.now += 0.1
        send(1)
        clock.now += 60
        entries = [entry(f"b{i}@example.com", {"name": "x"}) for i in range(4)]
        results = client.send_bulk_email(FromEmailAddress=SENDER, DefaultContent=INLINE, BulkEmailEntries=entries)
        assert [result["Status"] for result in results["BulkEmailEntryResults"]] == [
            *("SUCCESS", "SUCCESS", "ACCOUNT_THROTTLED", "ACCOUNT_THROTTLED"),
        ]


def test_the_daily_quota_is_of_the_last_24_hours(clock):
    with SesServer(clock=clock, daily_quota=2) as server:
        client = ses(server)
        arguments = {"FromEmailAddress": SENDER, "Destination": to("ana@example.com"), "Content": simple()}
        client.send_email(**arguments)
        clock.now += 3600
        client.send_email(**arguments)
        with pytest.raises(client.exceptions.TooManyRequestsException, match="Daily message quota exceeded"):
            client.send_email(**arguments)
        bulk = {
            "FromEmailAddress": SENDER,
            "DefaultContent": INLINE,
            "BulkEmailEntries": [entry("a@x.com", {"name": "x"})],
        }
        assert client.send_bulk_email(**bulk)["BulkEmailEntryResults"][0]["Status"] == "ACCOUNT_DAILY_QUOTA_EXCEEDED"
        clock.now += 23 * 3600
        assert client.get_account()["SendQuota"]["SentLast24Hours"] == 1
        client.send_email(**arguments)


# What becomes of mail.


@pytest.mark.parametrize(
    ("box", "events", "state"),
    [
        ("success", ["Send", "Delivery"], "delivered"),
        ("bounce", ["Send", "Bounce"], "bounced"),
        ("complaint", ["Send", "Delivery", "Complaint"], "complained"),
        ("suppressionlist", ["Send", "Bounce"], None),
        ("ooto", ["Send", "Delivery", "Bounce"], "bounced"),
    ],
)
def test_the_mailbox_simulator(server, send, box, events, state):
    send(f"{box}+label1@simulator.amazonses.com")
    assert kinds(server) == events
    assert [mail.state for mail in server.mails] == ([state] if state else [])
    send("ana@example.com")
    assert ses(server).list_suppressed_destinations()["SuppressedDestinationSummaries"] == []


def test_outcomes_group_the_recipients_of_a_message(clock):
    outcomes = {"Bad@example.com": "bounce", "full@example.com": "transient", "slow@example.com": "delay"}
    with SesServer(clock=clock, outcomes={**outcomes, "quiet@example.com": "none"}) as server:
        ses(server).send_email(
            FromEmailAddress=SENDER,
            Destination=to("a@example.com", "bad@example.com", "b@example.com", "full@example.com", "slow@example.com"),
            Content=simple(),
        )
        sent, delivery, bounce, transient, delay = server.events
        assert len(sent["mail"]["destination"]) == 5
        assert delivery["delivery"]["recipients"] == ["a@example.com", "b@example.com"]
        assert (bounce["bounce"]["bounceType"], transient["bounce"]["bounceType"]) == ("Permanent", "Transient")
        assert delay["deliveryDelay"]["delayedRecipients"][0]["emailAddress"] == "slow@example.com"
        assert [mail.state for mail in server.mails] == ["delivered", "bounced", "delivered", "bounced", "delayed"]
        assert [mail.to for mail in server.mails_to("BAD@example.com")] == ["bad@example.com"]


def test_a_rejected_message_is_not_tried(clock):
    with SesServer(clock=clock, outcomes={"virus@example.com": "reject"}) as server:
        arguments = {"FromEmailAddress": SENDER, "Content": simple()}
        ses(server).send_email(Destination=to("virus@example.com", "ana@example.com"), **arguments)
        assert (kinds(server), server.mails) == (["Reject"], ())
    with pytest.raises(ValueError, match="explode"):
        SesServer(outcomes={"a@example.com": "explode"})


def test_mail_to_a_suppressed_address_is_taken_and_bounces(server, client, send):
    server.suppress("Gone@example.com")
    server.suppress("angry@example.com", "COMPLAINT")
    send("gone@example.com", "angry@example.com", "ana@example.com")
    assert [mail.to for mail in server.mails] == ["ana@example.com"]
    assert kinds(server) == ["Send", "Bounce", "Complaint", "Delivery"]
    assert server.events[1]["bounce"]["bounceSubType"] == "OnAccountSuppressionList"
    assert server.events[2]["complaint"]["complaintSubType"] == "OnAccountSuppressionList"
    assert client.get_account()["SendQuota"]["SentLast24Hours"] == 3
    client.create_configuration_set(
        ConfigurationSetName="bypass", SuppressionOptions={"SuppressedReasons": ["COMPLAINT"]}
    )
    send("gone@example.com", ConfigurationSetName="bypass")
    assert server.mails[-1].to == "gone@example.com"


def test_hard_bounces_and_complaints_are_suppressed_from_then_on(clock):
    outcomes = {"bad@example.com": "bounce", "mad@example.com": "complaint", "full@example.com": "transient"}
    with SesServer(clock=clock, outcomes=outcomes) as server:
        client = ses(server)
        for address in outcomes:
            client.send_email(FromEmailAddress=SENDER, Destination=to(address), Content=simple())
        listed = client.list_suppressed_destinations()["SuppressedDestinationSummaries"]
        assert [(each["EmailAddress"], each["Reason"]) for each in listed] == [
            *(("bad@example.com", "BOUNCE"), ("mad@example.com", "COMPLAINT")),
        ]
        detail = client.get_suppressed_destination(EmailAddress="bad@example.com")["SuppressedDestination"]
        assert detail["Attributes"]["MessageId"] == server.mails[0].message_id
        server.outcomes.clear()
        client.put_account_suppression_attributes(SuppressedReasons=[])
        client.send_email(FromEmailAddress=SENDER, Destination=to("bad@example.com"), Content=simple())
        assert server.mails[-1].state == "delivered"


# Without a server.


def test_a_played_request_tells_what_readers_saw(server, client, bulk):
    server.statuses["ben@example.com"] = "FAILED"
    bulk(entry("ana@example.com", {"name": "A"}), entry("ben@example.com", {"name": "B"}), entry("cay@example.com"))
    played = server.requests[-1]
    reply = {
        "BulkEmailEntryResults": [
            {"Status": "SUCCESS", "MessageId": "1"},
            {"Status": "FAILED", "Error": "x"},
            {"Status": "SUCCESS", "MessageId": "3"},
        ]
    }
    mails = SesServer.mails_of(played.method, played.path, played.body, json.dumps(reply).encode())
    assert [(mail.to, mail.subject, mail.message_id) for mail in mails] == [("ana@example.com", "Hi A", "1")]
    assert [mail.to for mail in SesServer.mails_of("POST", played.path, played.body)] == [
        *("ana@example.com", "ben@example.com"),
    ]
    assert SesServer.mails_of("GET", "/v2/email/account", b"") == []


def test_a_played_request_that_cannot_be_read_is_an_error():
    path = "/v2/email/outbound-emails"
    body = {"FromEmailAddress": SENDER, "Destination": to("ana@example.com")}
    with pytest.raises(ValueError, match="stored template t"):
        SesServer.mails_of("POST", path, json.dumps({**body, "Content": {"Template": {"TemplateName": "t"}}}).encode())
    with pytest.raises(ValueError, match="content"):
        SesServer.mails_of("POST", path, json.dumps(body).encode())
    raw_data = base64.b64encode(raw().as_bytes()).decode()
    (mail,) = SesServer.mails_of("POST", path, json.dumps({**body, "Content": {"Raw": {"Data": raw_data}}}).encode())
    assert (mail.to, mail.text) == ("ana@example.com", "Hi Söhne")


def test_a_played_mail_to_sendgrid_tells_what_readers_saw(mail):
    from providers.testing.servers.sendgrid import SendGridServer

    path, body = "/v3/mail/send", mail("ana@example.com", "ben@example.com")
    found = SendGridServer.mails_of("POST", path, json.dumps(body).encode())
    assert [(each.to, each.subject, each.text, each.html) for each in found] == [
        *(("ana@example.com", "Hello", "Hi", None), ("ben@example.com", "Hello", "Hi", None)),
    ]
    assert SendGridServer.mails_of("GET", path, b"") == []
    assert (
        SendGridServer.mails_of(
            "POST", path, json.dumps(mail(mail_settings={"sandbox_mode": {"enable": True}})).encode()
        )
        == []
    )
    with pytest.raises(ValueError, match="d-1"):
        SendGridServer.mails_of("POST", path, json.dumps(mail(template_id="d-1")).encode())
