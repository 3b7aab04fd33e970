"""What the local SendGrid remembers: suppressions, groups, schedules, activity, domains, templates."""

import pytest

from providers.testing.servers.sendgrid import SendGridServer, Template

LISTS = ["bounces", "blocks", "invalid_emails", "spam_reports"]


@pytest.fixture
def ask(server, call):
    return lambda method, path, body=None: call(server, method, path, body)


# Suppressions.


@pytest.mark.parametrize(
    ("name", "reason", "bypass"),
    [
        ("bounces", "Bounced Address", "bypass_bounce_management"),
        ("invalid_emails", "Invalid", "bypass_bounce_management"),
        ("spam_reports", "Spam Reporting Address", "bypass_spam_management"),
        ("unsubscribes", "Unsubscribed Address", "bypass_unsubscribe_management"),
    ],
)
def test_a_suppressed_address_is_accepted_and_dropped(server, send, name, reason, bypass):
    server.suppress(name, "Ana@example.com")
    assert send("ana@example.com", "bo@example.com").status == 202
    assert [mail.to for mail in server.mails] == ["bo@example.com"]
    (dropped,) = [event for event in server.events if event["event"] == "dropped"]
    assert (dropped["email"], dropped["reason"]) == ("ana@example.com", reason)
    assert dropped["sg_message_id"].startswith(server.mails[0].message_id)
    for setting in (bypass, "bypass_list_management"):
        send(mail_settings={setting: {"enable": True}})
    assert len(server.mails_to("ana@example.com")) == 2


@pytest.mark.parametrize(("drop", "mails"), [(False, 1), (True, 0)])
def test_blocks_drop_mail_only_when_told_so(call, mail, drop, mails):
    with SendGridServer(drop_blocked=drop) as server:
        server.suppress("blocks", "ana@example.com")
        call(server, "POST", "/v3/mail/send", mail())
        assert len(server.mails) == mails


@pytest.mark.parametrize("name", LISTS)
def test_lists(server, ask, clock, name):
    path = f"/v3/suppression/{name}"
    for number in range(3):
        clock.now += 10
        server.suppress(name, f"a+{number}@example.com")
    entries = ask("GET", path).json
    assert [entry["email"] for entry in entries] == [f"a+{number}@example.com" for number in range(3)]
    first, second, third = (entry["created"] for entry in entries)
    assert ask("GET", f"{path}?start_time={second}").json == entries[1:]
    assert ask("GET", f"{path}?end_time={second}").json == entries[:2]
    assert ask("GET", f"{path}?start_time={first}&end_time={third}&limit=1&offset=1").json == entries[1:2]
    assert ask("GET", f"{path}?email=a%2B1").json == entries[1:2]
    assert ask("GET", f"{path}?email=%25example%25").json == entries
    assert ask("GET", f"{path}/a%2B1%40example.com").json == entries[1:2]
    assert ask("GET", f"{path}/nobody%40example.com").json == []
    assert ask("DELETE", f"{path}/a%2B0%40example.com").status == 204
    assert ask("DELETE", path, {"emails": ["a+1@example.com"]}).status == 204
    assert ask("GET", path).json == entries[2:]
    for body in (None, {}, {"delete_all": True, "emails": ["x"]}, {"emails": "x"}):
        assert ask("DELETE", path, body).status == 400
    assert ask("DELETE", path, {"delete_all": True}).status == 204
    assert ask("GET", path).json == []
    keys = {"spam_reports": {"created", "email", "ip"}, "invalid_emails": {"created", "email", "reason"}}
    assert set(entries[0]) == keys.get(name, {"created", "email", "reason", "status"})


def test_paging_stops_at_a_short_page(server, ask):
    for number in range(501):
        server.suppress("unsubscribes", f"a{number}@example.com")
    path = "/v3/suppression/unsubscribes"
    assert len(ask("GET", path).json) == 500
    assert len(ask("GET", f"{path}?limit=500&offset=500").json) == 1
    for query in ("limit=501", "limit=0", "limit=x", "offset=-1"):
        answer = ask("GET", f"{path}?{query}")
        assert (answer.status, answer.error["field"]) == (400, query.partition("=")[0])


def test_global_unsubscribes(server, ask, send):
    path = "/v3/asm/suppressions/global"
    added = ask("POST", path, {"recipient_emails": ["ana@example.com"]})
    assert (added.status, added.json) == (201, {"recipient_emails": ["ana@example.com"]})
    assert ask("GET", path + "/ana%40example.com").json == {"recipient_email": "ana@example.com"}
    assert ask("GET", path + "/bo%40example.com").json == {}
    assert [set(entry) for entry in ask("GET", "/v3/suppression/unsubscribes").json] == [{"created", "email"}]
    send()
    assert server.mails == ()
    assert ask("DELETE", path + "/ana%40example.com").status == 204
    send()
    assert len(server.mails) == 1
    assert ask("POST", path, {}).error["field"] == "recipient_emails"


def test_groups(server, ask, send):
    made = ask("POST", "/v3/asm/groups", {"name": "News", "description": "Weekly", "is_default": True})
    assert made.status == 201
    assert made.json == {"id": made.json["id"], "name": "News", "description": "Weekly", "is_default": True}
    number = made.json["id"]
    path = f"/v3/asm/groups/{number}"
    for body in ({"name": "News", "description": "x"}, {"name": "x" * 31, "description": "x"}, {"name": "x"}):
        assert ask("POST", "/v3/asm/groups", body).status == 400
    assert ask("PATCH", path, {"name": "Letters", "description": "d", "is_default": False}).json["name"] == "Letters"
    added = ask("POST", path + "/suppressions", {"recipient_emails": ["ana@example.com", "bo@example.com"]})
    assert added.status == 201
    assert ask("GET", path).json["unsubscribes"] == 2
    assert ask("GET", "/v3/asm/groups").json[0]["unsubscribes"] == 2
    assert ask("GET", "/v3/asm/groups?id=1").json == []
    assert ask("GET", path + "/suppressions").json == ["ana@example.com", "bo@example.com"]
    found = ask("POST", path + "/suppressions/search", {"recipient_emails": ["cy@example.com", "bo@example.com"]})
    assert found.json == ["bo@example.com"]
    assert ask("GET", "/v3/asm/suppressions").json[0]["group_name"] == "Letters"
    assert ask("GET", "/v3/asm/suppressions/ana%40example.com").json["suppressions"][0]["suppressed"] is True
    send(asm={"group_id": number})
    assert server.events[-1]["reason"] == "Unsubscribed Address"
    send()
    send(asm={"group_id": number}, mail_settings={"bypass_list_management": {"enable": True}})
    assert len(server.mails) == 2
    assert ask("DELETE", path + "/suppressions/ana%40example.com").status == 204
    send(asm={"group_id": number})
    assert len(server.mails) == 3
    assert ask("DELETE", path).status == 204
    for gone in (path, path + "/suppressions", "/v3/asm/groups/x"):
        assert ask("GET", gone).status == 404
    ask("POST", path + "/suppressions", {"recipient_emails": ["cy@example.com"]})
    assert ask("GET", "/v3/suppression/unsubscribes").json[0]["email"] == "cy@example.com"


# Schedules.


def test_scheduled_mail_waits_for_its_time(server, send, clock):
    at = int(clock.now) + 100
    send(send_at=at)
    send("bo@example.com", send_at=at, personalizations=[{"to": [{"email": "bo@example.com"}], "send_at": at + 100}])
    assert server.mails == ()
    assert [mail.send_at for mail in server.scheduled] == [at, at + 100]
    assert [event["event"] for event in server.events] == ["processed", "processed"]
    assert server.events[0]["send_at"] == at
    clock.now = at
    assert [mail.to for mail in server.mails] == ["ana@example.com"]
    clock.now = at + 100
    assert [event["event"] for event in server.events][2:] == ["delivered", "delivered"]
    assert server.scheduled == ()


def test_batches_pause_cancel_and_resume(server, ask, send, clock):
    batch = ask("POST", "/v3/mail/batch").json["batch_id"]
    assert ask("GET", f"/v3/mail/batch/{batch}").json == {"batch_id": batch}
    assert ask("GET", "/v3/mail/batch/unknown").error["message"] == "invalid batch id"
    at = int(clock.now) + 100
    send(send_at=at, batch_id=batch)
    send("bo@example.com", send_at=at, batch_id="doomed")
    sends = "/v3/user/scheduled_sends"
    assert ask("POST", sends, {"batch_id": batch, "status": "pause"}).status == 201
    assert ask("POST", sends, {"batch_id": batch, "status": "cancel"}).status == 400
    assert ask("POST", sends, {"batch_id": batch, "status": "stop"}).status == 400
    assert ask("POST", sends, {"status": "pause"}).error["field"] == "batch_id"
    assert ask("POST", sends, {"batch_id": "doomed", "status": "pause"}).status == 201
    assert ask("PATCH", f"{sends}/doomed", {"status": "cancel"}).status == 204
    assert ask("PATCH", f"{sends}/none", {"status": "cancel"}).status == 404
    assert [each["status"] for each in ask("GET", sends).json] == ["pause", "cancel"]
    assert ask("GET", f"{sends}/none").json == []
    clock.now = at + 1
    assert server.mails == ()
    assert [mail.to for mail in server.scheduled] == ["ana@example.com"]
    assert ask("GET", f"{sends}/{batch}").json == [{"batch_id": batch, "status": "pause"}]
    assert ask("DELETE", f"{sends}/{batch}").status == 204
    assert ask("DELETE", f"{sends}/{batch}").status == 404
    assert [mail.to for mail in server.mails] == ["ana@example.com"]
    assert [mail["state"] for mail in ask("GET", "/_control/mails?state=all").json["mails"]] == [
        "delivered",
        "canceled",
    ]


def test_what_stays_paused_expires(server, ask, send, clock):
    send(send_at=int(clock.now) + 1, batch_id="b")
    ask("POST", "/v3/user/scheduled_sends", {"batch_id": "b", "status": "pause"})
    clock.now += 73 * 3600
    assert server.scheduled == ()
    assert server.mails == ()


# Activity.


def find(ask, query: str, limit: int = 10):
    answer = ask("GET", f"/v3/messages?limit={limit}&query={query}")
    assert answer.status == 200, answer.body
    return [message["to_email"].partition("@")[0] for message in answer.json["messages"]]


def test_activity_finds_by_message_recipient_and_own_id(server, ask, send):
    first = send("ana@example.com", custom_args={"pm_id": "one"}).headers["X-Message-Id"]
    send("bo@example.com", "cy@example.com", custom_args={"pm_id": "two"}, subject="Other")
    assert find(ask, f"msg_id%20LIKE%20%22{first}%25%22") == ["ana"]
    assert find(ask, f"msg_id%3D%22{server.mails[0].sg_message_id}%22") == ["ana"]
    assert find(ask, f"msg_id%3D%22{first}%22") == []
    assert find(ask, "to_email%3D%22BO%40example.com%22") == ["bo"]
    assert find(ask, "(unique_args%5B%27pm_id%27%5D%3D%22two%22)") == ["cy", "bo"]
    assert find(ask, "unique_args%5B%22pm_id%22%5D!%3D%22two%22") == ["ana"]
    assert find(ask, "subject%3D%22Other%22%20AND%20to_email%20NOT%20LIKE%20%22b%25%22") == ["cy"]
    assert find(ask, "to_email%3D'ana%40example.com'%20or%20to_email%3D'bo%40example.com'") == ["bo", "ana"]
    assert find(ask, "status%3D%22delivered%22", limit=2) == ["cy", "bo"]
    assert find(ask, "") == ["cy", "bo", "ana"]
    assert len(ask("GET", "/v3/messages").json["messages"]) == 3


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("bad_field%3D%22x%22", "invalid syntax: 'bad_field' is not a known field"),
        ("subject%5B'a'%5D%3D%22x%22", "invalid syntax: 'subject' is not a known field"),
        ("nonsense", "invalid syntax at position 0"),
        ("subject%3D%22a%22%20XOR%20subject%3D%22b%22", "invalid syntax at position 12"),
        ("subject%3D%22a%22%20AND", "invalid syntax at position 15"),
        ("subject%3D'a'%20AND%20subject%3D'b'%20OR%20subject%3D'c'", "AND and OR together"),
    ],
)
def test_activity_refuses_what_it_does_not_know(ask, query, message):
    answer = ask("GET", f"/v3/messages?query={query}")
    assert answer.status == 400
    assert message in answer.error["message"]


def test_activity_limits(ask):
    for limit in ("0", "1001", "x"):
        assert ask("GET", f"/v3/messages?limit={limit}").status == 400


def test_activity_follows_events(server, ask, send):
    send(categories=["c"], asm={"group_id": 7}, custom_args={"pm_id": "1"})
    server.emit("open", email="ana@example.com")
    server.emit("click", email="ana@example.com")
    (message,) = ask("GET", "/v3/messages").json["messages"]
    assert (message["status"], message["opens_count"], message["clicks_count"]) == ("delivered", 1, 1)
    assert message["last_event_time"] == "2026-11-22T15:00:00Z"
    server.emit("deferred", email="ana@example.com", attempt="2")
    assert ask("GET", "/v3/messages").json["messages"][0]["status"] == "processed"
    server.emit("bounce", email="ana@example.com")
    detail = ask("GET", f"/v3/messages/{message['msg_id']}").json
    assert detail["status"] == "not_delivered"
    assert [event["event_name"] for event in detail["events"]] == [
        *("processed", "delivered", "opened", "clicked", "deferred", "bounced")
    ]
    assert detail["events"][-1]["bounce_type"] == "hard"
    assert detail["events"][4]["attempt_num"] == 2
    assert (detail["categories"], detail["asm_group_id"], detail["unique_args"]) == (["c"], 7, '{"pm_id": "1"}')
    assert ask("GET", "/v3/messages/none").status == 404


def test_activity_is_a_paid_extra(call):
    with SendGridServer(keys={"SG.cheap": ["mail.send"]}) as server:
        assert call(server, "GET", "/v3/messages", key="SG.cheap").status == 403


# Domains and templates.


def test_domain_authentication(server, ask, send):
    assert send(**{"from": {"email": "a@new.example"}}).status == 403
    made = ask("POST", "/v3/whitelabel/domains", {"domain": "New.example", "subdomain": "em", "default": True})
    assert made.status == 201
    domain = made.json
    assert (domain["domain"], domain["valid"], domain["default"]) == ("new.example", False, True)
    assert domain["dns"]["mail_cname"]["host"] == "em.new.example"
    assert {record["type"] for record in domain["dns"].values()} == {"cname"}
    path = f"/v3/whitelabel/domains/{domain['id']}"
    failed = ask("POST", path + "/validate").json
    assert (failed["id"], failed["valid"]) == (domain["id"], False)
    assert all(result["reason"] for result in failed["validation_results"].values())
    server.publish_dns("new.example")
    passed = ask("POST", path + "/validate").json
    assert passed["valid"] is True
    assert passed["validation_results"]["dkim1"] == {"valid": True, "reason": None}
    assert send(**{"from": {"email": "a@new.example"}}).status == 202
    assert ask("GET", path).json["dns"]["dkim2"]["valid"] is True
    assert [each["id"] for each in ask("GET", "/v3/whitelabel/domains?domain=new.example").json] == [domain["id"]]
    assert len(ask("GET", "/v3/whitelabel/domains?limit=2&offset=1").json) == 2
    assert ask("POST", "/v3/whitelabel/domains", {"domain": "new.example"}).status == 400
    assert ask("POST", "/v3/whitelabel/domains", {"domain": "example"}).status == 400
    manual = ask("POST", "/v3/whitelabel/domains", {"domain": "two.example", "automatic_security": False}).json
    assert set(manual["dns"]) == {"mail_server", "subdomain_spf", "dkim"}
    assert ask("DELETE", path).status == 204
    assert ask("GET", path).status == 404
    assert ask("GET", "/v3/whitelabel/domains/x").status == 404


def test_dns_can_be_published_from_another_process(ask):
    number = ask("POST", "/v3/whitelabel/domains", {"domain": "new.example"}).json["id"]
    assert ask("POST", "/_control/dns", {"domain": "new.example"}).status == 204
    assert ask("POST", f"/v3/whitelabel/domains/{number}/validate").json["valid"] is True


def test_templates_are_paged(server, ask):
    for number in range(3):
        server.add_template(Template(f"d-{number}", name=f"T{number}", subject="s"))
    server.add_template(Template("old"))
    path = "/v3/templates"
    first = ask("GET", f"{path}?generations=dynamic&page_size=2").json
    assert [each["name"] for each in first["result"]] == ["T0", "T1"]
    assert first["_metadata"]["count"] == 3
    rest = first["_metadata"]["next"].removeprefix(server.url)
    second = ask("GET", rest).json
    assert [each["id"] for each in second["result"]] == ["d-2"]
    assert "next" not in second["_metadata"]
    assert [each["id"] for each in ask("GET", f"{path}?page_size=9").json["result"]] == ["old"]
    assert ask("GET", path).error["field"] == "page_size"
    assert ask("GET", f"{path}?page_size=201").status == 400
    assert ask("GET", f"{path}/d-0").json["versions"][0]["subject"] == "s"
    assert ask("GET", f"{path}/none").status == 404


def test_reset(server, ask, send):
    server.suppress("bounces", "bo@example.com")
    server.add_template(Template("d-1"))
    server.publish_dns("new.example")
    ask("POST", "/v3/asm/groups", {"name": "News", "description": "x"})
    ask("POST", "/v3/user/webhooks/event/settings", {"url": "https://a.example/"})
    send("ana@example.com", "bo@example.com")
    assert ask("POST", "/_control/reset").status == 204
    assert (server.mails, server.events, server.requests) == ((), (), ())
    assert ask("GET", "/v3/asm/groups").json == []
    assert ask("GET", "/v3/user/webhooks/event/settings/all").json["webhooks"] == []
    assert send("bo@example.com", template_id="d-any").status == 202
    assert len(server.mails) == 1
