"""POST /v3/mail/send: the SDK and the samples are accepted, every rule of the sheet is enforced by field."""

import base64
import gzip
import json

import pytest
import sendgrid
from python_http_client import exceptions
from sendgrid.helpers.mail import (
    Asm,
    Attachment,
    BatchId,
    Category,
    ClickTracking,
    Content,
    CustomArg,
    Header,
    Mail,
    MailSettings,
    SandBoxMode,
    SendAt,
    Substitution,
    To,
    TrackingSettings,
)

from providers.testing.servers.sendgrid import LOCAL_KEY, SendGridServer, Template

PATH = "/v3/mail/send"


def client(server: SendGridServer, key: str = LOCAL_KEY) -> sendgrid.SendGridAPIClient:
    return sendgrid.SendGridAPIClient(key, host=server.url)


# The SDK and the samples as judges.


def test_a_mail_of_the_sdk(server):
    mail = Mail(
        ("noreply@shop.example.com", "Shop"),
        [
            To("ana@example.com", "Ana", substitutions=[Substitution("-name-", "Ana")], p=0),
            To("bo@example.com", "Bo", substitutions=[Substitution("-name-", "Bo")], p=1),
        ],
        subject="Hi -name-",
        is_multiple=True,
    )
    mail.add_content(Content("text/html", "<b>-name-</b>"))
    mail.add_content(Content("text/plain", "Dear -name-"))
    mail.add_category(Category("campaign"))
    mail.add_custom_arg(CustomArg("pm_id", "1"))
    mail.add_header(Header("X-One", "1"))
    mail.asm = Asm(7, [7, 8])
    mail.batch_id = BatchId("abc")
    mail.send_at = SendAt(int(server.clock()))
    tracking = TrackingSettings()
    tracking.click_tracking = ClickTracking(enable=False, enable_text=False)
    mail.tracking_settings = tracking
    mail.add_attachment(Attachment(base64.b64encode(b"\x00\x01").decode(), "a.bin", "application/octet-stream"))
    answer = client(server).send(mail)
    assert answer.status_code == 202
    ana, bo = sorted(server.mails, key=lambda mail: mail.to)
    assert answer.headers["X-Message-Id"] == ana.message_id == bo.message_id
    assert (ana.subject, ana.text, ana.html) == ("Hi Ana", "Dear Ana", "<b>Ana</b>")
    assert (bo.subject, bo.text, bo.html) == ("Hi Bo", "Dear Bo", "<b>Bo</b>")
    assert ana.custom_args == {"pm_id": "1"}
    assert ana.headers == {"X-One": "1"}
    assert ana.categories == ("campaign",)
    assert (ana.asm_group_id, ana.batch_id) == (7, "abc")
    (attachment,) = ana.attachments
    assert (attachment.filename, attachment.content) == ("a.bin", b"\x00\x01")
    assert server.requests[0].headers["User-Agent"].startswith("sendgrid/")


def test_the_sdk_helper_that_mixes_recipients_up(server):
    mail = Mail("noreply@shop.example.com", ["ana@example.com", "bo@example.com"], "Hi", "text")
    client(server).send(mail)
    assert {mail.to_line for mail in server.mails} == {("ana@example.com", "bo@example.com")}


def test_the_sdk_reads_our_errors(server):
    mail = Mail("noreply@shop.example.com", "ana@localhost", "Hi", "text")
    with pytest.raises(exceptions.BadRequestsError) as refused:
        client(server).send(mail)
    assert refused.value.to_dict["errors"][0]["field"] == "personalizations.0.to.0.email"
    with pytest.raises(exceptions.UnauthorizedError):
        client(server, "SG.wrong").send(mail)


def test_sandbox_validates_and_sends_nothing(server):
    mail = Mail("noreply@shop.example.com", "ana@example.com", "Hi", "text")
    settings = MailSettings()
    settings.sandbox_mode = SandBoxMode(enable=True)
    mail.mail_settings = settings
    answer = client(server).send(mail)
    assert answer.status_code == 200
    assert "X-Message-Id" not in answer.headers
    assert server.mails == ()
    assert server.events == ()


def test_the_samples_are_accepted(server, call, sample):
    body = sample("mail_send_request")
    assert call(server, "POST", PATH, body).status == 200  # the sample asks for the sandbox
    del body["mail_settings"]
    assert call(server, "POST", PATH, body).status == 202
    (mail,) = server.mails
    assert (mail.to, mail.to_name, mail.from_name) == ("ana@example.com", "Ana", "Demo Shop")
    assert mail.reply_to == ("help@shop.example.com",)
    assert mail.headers == {"X-Entity-Ref-ID": "1001"}
    assert mail.custom_args["order_id"] == "1001"
    assert call(server, "POST", PATH, sample("mail_send_campaign_request")).status == 202
    ana, bo = server.mails[1:]
    assert (ana.template_data["first_name"], bo.template_data["discount"]) == ("Ana", 10)
    assert ana.custom_args["pm_id"] != bo.custom_args["pm_id"]
    assert ana.template_id == "d-00000000000000000000000000000001"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("bad_request", {"personalizations": [{"to": [{"email": "nobody"}]}]}),
        ("forbidden_from", {"from": {"email": "a@elsewhere.example"}}),
        ("unauthorized", {}),
        ("rate_limited", {}),
        ("too_large", {"subject": "x" * (30 * 1024 * 1024)}),
    ],
)
def test_refusals_look_like_the_samples(server, call, mail, sample, name, change):
    expected = sample("responses")[name]
    if name == "rate_limited":
        server.rate_limit = 0
    answer = call(server, "POST", PATH, mail(**change), key="SG.wrong" if name == "unauthorized" else None)
    assert answer.status == expected["status"]
    (error,) = answer.json["errors"]
    assert {**error, "help": None} == expected["body"]["errors"][0]
    if name == "rate_limited":
        assert answer.headers["X-RateLimit-Remaining"] == "0"
        assert answer.headers["X-RateLimit-Reset"] == expected["headers"]["X-RateLimit-Reset"]


# Rules, one by one: a change to a mail that is in order, and the fields that are complained about.

TO = {"email": "ana@example.com"}
SENDER = {"from": {"email": "noreply@shop.example.com"}}
TEXT = {"type": "text/plain", "value": "t"}
HTML = {"type": "text/html", "value": "h"}
FILE = {"content": "AAE=", "filename": "a"}
NOW = 1_795_359_600
LATE = NOW + 72 * 3600 + 1


def people(**changes):
    return {"personalizations": [{"to": [TO], **changes}]}


REFUSED = [
    ({"personalizations": ...}, ["personalizations"]),
    ({"personalizations": []}, ["personalizations"]),
    ({"personalizations": [{"to": [{"email": f"a{i}@example.com"}]} for i in range(1001)]}, ["personalizations"]),
    ({"personalizations": [{"to": [{"email": f"a{i}@example.com"} for i in range(1001)]}]}, ["personalizations"]),
    (
        {
            "personalizations": [
                {"to": [{"email": f"a{i}@example.com"} for i in range(500)], "cc": [{"email": "c@example.com"}]},
                {"to": [TO], "bcc": [{"email": f"b{i}@example.com"} for i in range(499)]},
            ]
        },
        ["personalizations"],
    ),
    (people(to=[]), ["personalizations.0.to"]),
    ({"personalizations": [{"cc": [TO]}]}, ["personalizations.0.to"]),
    (people(to=[{"name": "Ana"}]), ["personalizations.0.to.0.email"]),
    (people(cc=[TO]), ["personalizations.0"]),
    (people(to=[TO, {"email": "ANA@Example.com"}]), ["personalizations.0"]),
    (people(cc=[{"email": "b@example.com"}], bcc=[{"email": "b@example.com"}]), ["personalizations.0"]),
    (people(cc=[{"email": "b@example.com"}, {"email": "?"}]), ["personalizations.0.cc.1.email"]),
    (people(subject=""), ["personalizations.0.subject"]),
    (people(send_at=LATE), ["personalizations.0.send_at"]),
    (people(headers={"Reply-To": "x"}), ["personalizations.0.headers.Reply-To"]),
    (people(custom_args={"a": "x" * 10_000}), ["personalizations.0.custom_args"]),
    (people(custom_args={"a": "é" * 5_000}), ["personalizations.0.custom_args"]),
    ({**people(custom_args={"a": "x" * 6_000}), "custom_args": {"b": "x" * 6_000}}, ["personalizations.0.custom_args"]),
    (people(substitutions={"-a-": "x" * 10_000}), ["personalizations.0.substitutions"]),
    (
        {**people(substitutions={"-a-": "x"}), "template_id": "d-1"},
        ["personalizations.0.substitutions"],
    ),
    (people(nonsense=1), ["personalizations.0.nonsense"]),
    (people(**{"from": {"email": "?"}}), ["personalizations.0.from.email"]),
    ({"from": ...}, ["from.email"]),
    ({"from": {"name": "Shop"}}, ["from.email"]),
    ({"from": {"email": "shop"}}, ["from.email"]),
    ({"reply_to": {"email": "shop"}}, ["reply_to.email"]),
    ({"reply_to": TO, "reply_to_list": [TO]}, ["reply_to_list"]),
    ({"reply_to_list": [TO, TO]}, ["reply_to_list"]),
    ({"reply_to_list": [{"email": f"a{i}@example.com"} for i in range(1001)]}, ["reply_to_list"]),
    ({"reply_to_list": [{"email": "?"}]}, ["reply_to_list.0.email"]),
    ({"subject": ...}, ["subject"]),
    ({"subject": ""}, ["subject"]),
    ({"subject": "", "template_id": "d-1"}, ["subject"]),
    ({"content": ...}, ["content"]),
    ({"content": []}, ["content"]),
    ({"content": [{"type": "text/plain", "value": ""}]}, ["content.0.value"]),
    ({"content": [{"type": "", "value": "x"}]}, ["content.0.type"]),
    ({"content": [{"type": "text/plain; charset=x", "value": "x"}]}, ["content.0.type"]),
    ({"content": [HTML, TEXT]}, ["content"]),
    ({"content": [TEXT, TEXT]}, ["content"]),
    ({"content": [TEXT, HTML, {"type": "text/x-amp-html", "value": "x"}]}, ["content"]),
    ({"content": [{"type": "text/calendar", "value": "x"}, HTML]}, ["content"]),
    ({"attachments": [{**FILE, "content": "no base64!"}]}, ["attachments.0.content"]),
    ({"attachments": [{**FILE, "content": ""}]}, ["attachments.0.content"]),
    ({"attachments": [FILE, {"content": "AAE="}]}, ["attachments.1.filename"]),
    ({"attachments": [{**FILE, "disposition": "nailed"}]}, ["attachments.0.disposition"]),
    ({"attachments": [{**FILE, "type": ""}]}, ["attachments.0.type"]),
    *(
        ({"headers": {name: "x"}}, [f"headers.{name}"])
        for name in (
            *("x-sg-id", "X-SG-EID", "received", "dkim-signature", "Content-Type", "Content-Transfer-Encoding"),
            *("To", "from", "Subject", "Reply-To", "CC", "BCC"),
        )
    ),
    ({"headers": {"Na me": "x"}}, ["headers"]),
    ({"categories": [str(i) for i in range(11)]}, ["categories"]),
    ({"categories": ["x" * 256]}, ["categories.0"]),
    ({"categories": ["a", "a"]}, ["categories"]),
    ({"custom_args": {"a": "x" * 10_000}}, ["custom_args"]),
    ({"send_at": LATE}, ["send_at"]),
    ({"asm": {"groups_to_display": [1]}}, ["asm.group_id"]),
    ({"asm": {"group_id": 1, "groups_to_display": list(range(26))}}, ["asm.groups_to_display"]),
    ({"ip_pool_name": "x"}, ["ip_pool_name"]),
    ({"ip_pool_name": "x" * 65}, ["ip_pool_name"]),
    (
        {"mail_settings": {"bypass_list_management": {"enable": True}, "bypass_spam_management": {"enable": True}}},
        ["mail_settings.bypass_list_management"],
    ),
    ({"nonsense": 1}, ["nonsense"]),
    ({"subject": ..., "content": ..., "from": ...}, ["from.email", "subject", "content"]),
]


@pytest.mark.parametrize(("change", "fields"), REFUSED)
def test_a_broken_rule_names_its_field(server, send, change, fields):
    answer = send(**change)
    assert answer.status == 400, answer.body
    assert [error["field"] for error in answer.json["errors"]] == fields
    assert all(set(error) == {"message", "field", "help"} for error in answer.json["errors"])
    assert server.mails == ()


ADDRESSES = [
    *(
        "",
        "nobody",
        "@example.com",
        "a@",
        "a@b",
        "a@b@example.com",
        "a b@example.com",
        ".a@example.com",
        "a.@example.com",
    ),
    *("a..b@example.com", '"a b"@example.com', "a@-b.example", "a@b-.example", "a@example..com", "a@[192.0.2.1]"),
    *("jürgen@example.com", "a@exämple.com", "x" * 65 + "@example.com", "a@example.com\n", "Ana <a@example.com>"),
    f"a@{'x' * 64}.com",
    "a@" + "x." * 130 + "com",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses_that_are_refused(send, address):
    answer = send(address)
    assert answer.status == 400
    assert answer.error["field"] == "personalizations.0.to.0.email"
    assert answer.error["message"] == "Does not contain a valid address."


@pytest.mark.parametrize(
    "address", ["a@b.co", "O'Neil+tag_x@Mail.Example.com", "x" * 64 + "@example.com", "a@xn--exmple-cua.com"]
)
def test_addresses_that_are_taken(send, address):
    assert send(address).status == 202


@pytest.mark.parametrize(
    "change",
    [
        people(custom_args={"a": 1}),
        people(custom_args={"a": None}),
        people(substitutions={"a": 1}),
        people(headers={"a": 1}),
        people(to="ana@example.com"),
        people(to=["ana@example.com"]),
        people(to=[None]),
        people(to=[{"email": 1}]),
        people(send_at="soon"),
        people(dynamic_template_data="x"),
        {"custom_args": {"a": True}},
        {"custom_args": "a"},
        {"headers": ["a"]},
        {"personalizations": {}},
        {"personalizations": [1]},
        {"from": "noreply@shop.example.com"},
        {"subject": 1},
        {"content": "text"},
        {"categories": "a"},
        {"send_at": 1.5},
        {"send_at": True},
        {"asm": {"group_id": "7"}},
        {"mail_settings": {"sandbox_mode": {"enable": "true"}}},
        {"mail_settings": {"sandbox_mode": True}},
        {"attachments": [{"content": 1, "filename": "a"}]},
    ],
)
def test_a_wrong_type_gives_the_cryptic_answer(send, change):
    answer = send(**change)
    assert answer.status == 400
    assert answer.json == {"errors": [{"message": "Bad Request", "field": None, "help": None}]}


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff"])
def test_what_is_no_mail_gives_the_cryptic_answer(server, call, data):
    answer = call(server, "POST", PATH, data=data, headers={"Content-Type": "application/json"})
    assert (answer.status, answer.error["message"]) == (400, "Bad Request")


ACCEPTED = [
    {"subject": ..., **people(subject="own")},
    {"subject": ..., "content": ..., "template_id": "d-1"},
    {"subject": ..., "content": ..., "template_id": "legacy"},
    {"subject": None, "template_id": "d-1"},
    {"content": [TEXT, {"type": "text/x-amp-html", "value": "a"}, HTML, {"type": "text/calendar", "value": "c"}]},
    {"content": [HTML]},
    {"send_at": LATE - 1},
    {"send_at": 1},
    {"categories": ["x" * 255, *map(str, range(9))]},
    {"custom_args": {"a": "x" * 9_999}},
    people(custom_args={"a": "x" * 9_999}),
    people(substitutions={"a": "x" * 9_999}),
    people(dynamic_template_data={"a": [1, None, {"b": 2.5}]}),
    people(**{"from": {"email": "other@example.com"}}),
    {"personalizations": [{"to": [{"email": f"a{i}@example.com"}]} for i in range(1000)]},
    {"personalizations": [{"to": [TO]}, {"to": [TO]}]},
    {"reply_to_list": [TO, {"email": "b@example.com"}]},
    {"asm": {"group_id": 1, "groups_to_display": list(range(25))}},
    {"ip_pool_name": "xx"},
    {"attachments": [{**FILE, "disposition": "inline", "content_id": "c", "type": "image/png"}]},
    {"mail_settings": {"bypass_spam_management": {"enable": True}, "bypass_bounce_management": {"enable": True}}},
    {"tracking_settings": {"ganalytics": {"enable": True, "utm_source": "x"}, "open_tracking": {"enable": False}}},
]


@pytest.mark.parametrize("change", ACCEPTED)
def test_at_the_edge_of_what_is_allowed(send, change):
    answer = send(**change)
    assert answer.status == 202, answer.body
    assert answer.body == b""


def test_unknown_fields_can_be_let_through(call, mail):
    with SendGridServer(strict=False) as server:
        body = mail(nonsense=1)
        body["personalizations"][0]["nonsense"] = 1
        assert call(server, "POST", PATH, body).status == 202


def test_media_type_and_compression(server, call, mail):
    data = json.dumps(mail())
    assert call(server, "POST", PATH, data=data, headers={"Content-Type": "text/plain"}).status == 415
    assert call(server, "POST", PATH, data=data).status == 415
    packed = gzip.compress(data.encode())
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert call(server, "POST", PATH, data=packed, headers=headers).status == 415
    with SendGridServer(gzip_enabled=True) as enabled:
        assert call(enabled, "POST", PATH, data=packed, headers=headers).status == 202


def test_beyond_every_limit_it_is_too_large(server, call):
    data = b"x" * (65 * 1024 * 1024)
    answer = call(server, "POST", PATH, data=data, headers={"Content-Type": "application/json"})
    assert (answer.status, answer.error["message"]) == (413, "content too large")


# Keys, senders, limits, credits.


def test_keys_and_scopes(call, mail):
    with SendGridServer(api_key="SG.main", keys={"SG.read": ["templates.read"]}) as server:
        assert call(server, "POST", PATH, mail(), key="SG.main").status == 202
        assert call(server, "POST", PATH, mail(), key="SG.read").error["message"] == "access forbidden"
        assert call(server, "POST", PATH, mail(), key="SG.read").status == 403
        assert call(server, "GET", "/v3/scopes", key="SG.read").json == {"scopes": ["templates.read"]}
        assert "mail.send" in call(server, "GET", "/v3/scopes", key="SG.main").json["scopes"]
        missing = call(server, "GET", "/v3/scopes", key="")
        assert (missing.status, missing.error["message"]) == (401, "authorization required")


def test_every_endpoint_wants_a_key_and_its_scope(call):
    with SendGridServer(keys={"SG.bare": []}) as server:
        for method, path, scope, _ in server._routes:
            filled = path.replace("{", "").replace("}", "")
            assert call(server, method, filled, key="").status == 401
            if scope is not None:
                assert call(server, method, filled, key="SG.bare").status == 403, filled


def test_unknown_paths_and_methods(server, call):
    for method, path, status in (("GET", "/v3/nothing", 404), ("GET", PATH, 405)):
        answer = call(server, method, path)
        assert answer.status == status
        assert answer.error["field"] is None
        assert "X-RateLimit-Limit" in answer.headers


def test_subuser(server, call, mail):
    call(server, "POST", PATH, mail(), headers={"On-Behalf-Of": "shop-7"})
    assert server.mails[0].message.subuser == "shop-7"


def test_senders(call, mail):
    with SendGridServer(verified_domains=["a.example"], verified_senders=["me@mail.example"]) as server:
        for address, status in [
            ("x@a.example", 202),
            ("x@A.EXAMPLE", 202),
            ("Me@mail.example", 202),
            ("you@mail.example", 403),
            ("x@sub.a.example", 403),
        ]:
            assert call(server, "POST", PATH, mail(**{"from": {"email": address}})).status == status
        body = mail(**{"from": {"email": "x@a.example"}})
        body["personalizations"][0]["from"] = {"email": "x@b.example"}
        assert call(server, "POST", PATH, body).error["field"] == "personalizations.0.from"


def test_rate_limit(call, mail, clock):
    with SendGridServer(rate_limit=2, keys={"SG.other": ["mail.send"]}, clock=clock) as server:
        answers = [call(server, "POST", PATH, mail()) for _ in range(3)]
        assert [answer.status for answer in answers] == [202, 202, 429]
        assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["1", "0", "0"]
        assert answers[2].headers["X-RateLimit-Limit"] == "2"
        reset = int(answers[2].headers["X-RateLimit-Reset"])
        assert clock.now < reset <= clock.now + 60
        assert answers[2].error["message"] == "too many requests"
        assert call(server, "POST", PATH, mail(), key="SG.other").status == 202
        clock.now = reset
        assert call(server, "POST", PATH, mail()).status == 202
        assert len(server.mails) == 4


def test_credits(call, mail, clock):
    with SendGridServer(plan_limit=3, clock=clock) as server:
        assert call(server, "GET", "/v3/user/credits").json == {
            "remain": 3,
            "total": 3,
            "overage": 0,
            "used": 0,
            "last_reset": "2026-11-01",
            "next_reset": "2026-12-01",
            "reset_frequency": "monthly",
        }
        assert call(server, "POST", PATH, mail("a@example.com", "b@example.com")).status == 202
        assert call(server, "POST", PATH, mail("c@example.com", "d@example.com")).status == 202
        assert [mail.to[0] for mail in server.mails] == ["a", "b", "c"]
        assert server.events[-1]["reason"] == "Recipient List over Package Quota"
        answer = call(server, "POST", PATH, mail())
        assert (answer.status, answer.error["message"]) == (401, "Maximum credits exceeded")
        assert call(server, "GET", "/v3/user/credits").json["remain"] == 0
        sandbox = mail(mail_settings={"sandbox_mode": {"enable": True}})
        assert call(server, "POST", PATH, sandbox).status == 200


# What a recipient gets.


def test_templates(server, send):
    server.add_template(
        Template("d-1", subject="Hi {{name}}", text="{{ shop.city }} {{n}}{{none}}", html="{{name}}|{{{name}}}")
    )
    server.add_template(Template("old", subject="[<%subject%>]", html="<i><%body%></i>"))
    data = {"name": "A & B", "shop": {"city": "Rome"}, "n": 5}
    assert send(template_id="d-1", content=..., **people(dynamic_template_data=data)).status == 202
    assert send(template_id="old", subject="-s-", content=[HTML], **people(substitutions={"-s-": "S"})).status == 202
    dynamic, legacy = server.mails
    assert (dynamic.subject, dynamic.text) == ("Hi A & B", "Rome 5")
    assert dynamic.html == "A &amp; B|A & B"
    assert (legacy.subject, legacy.text, legacy.html) == ("[S]", None, "<i>h</i>")
    answer = send(template_id="d-2", content=...)
    assert (answer.status, answer.error["field"]) == (400, "template_id")


def test_personal_overrides(server, send):
    send(
        headers={"X-A": "shared", "X-B": "shared"},
        custom_args={"a": "shared", "b": "shared"},
        sections={"-greeting-": "Dear -name-"},
        content=[{"type": "text/plain", "value": "-greeting-!"}],
        personalizations=[
            {
                "to": [TO],
                "cc": [{"email": "c@example.com", "name": "C"}],
                "bcc": [{"email": "b@example.com"}],
                "subject": "own -name-",
                "headers": {"X-B": "own"},
                "custom_args": {"b": "own"},
                "substitutions": {"-name-": "Ana"},
                "from": {"email": "else@example.com", "name": "Else"},
            }
        ],
    )
    to, cc, bcc = server.mails
    assert (to.kind, cc.kind, bcc.kind) == ("to", "cc", "bcc")
    assert cc.to_name == "C"
    assert to.subject == bcc.subject == "own Ana"
    assert to.text == "Dear Ana!"
    assert to.headers == {"X-A": "shared", "X-B": "own"}
    assert to.custom_args == {"a": "shared", "b": "own"}
    assert (to.from_email, to.from_name) == ("else@example.com", "Else")
    assert len({mail.sg_message_id for mail in server.mails}) == 3
    assert all(mail.sg_message_id.partition(".")[0] == mail.message_id for mail in server.mails)
    assert server.mails_to("C@example.com") == (cc,)


def test_a_thousand_recipients(server, send, call):
    assert send(*(f"a{i}@example.com" for i in range(1000))).status == 202
    assert len({mail.sg_message_id for mail in server.mails}) == 1000
    assert len({event["sg_event_id"] for event in server.events}) == 2000
    page = call(server, "GET", "/_control/mails?limit=10&after=985").json
    assert [each["to"] for each in page["mails"]] == [f"a{i}@example.com" for i in range(985, 995)]
    assert page["next"] == 995
    lines = call(server, "GET", "/_control/mails?format=ndjson").body.splitlines()
    assert len(lines) == 1000
    assert json.loads(lines[-1])["to"] == "a999@example.com"
