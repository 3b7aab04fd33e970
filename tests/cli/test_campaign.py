"""`providers campaign` in this process: the report, the options, and what is refused before anything is sent."""

import csv
import json
import re
import sqlite3

import pytest

from providers import errors
from providers.cli import campaign as module
from providers.email import SendOutcome, SendState

PEOPLE = """Email,Name,City
ada@example.com,Ada,Bonn
bob@example..com,Bob,Bonn

ada@EXAMPLE.com,Ada,Bonn
bounce@example.com,Gone,Rome
"""


@pytest.fixture
def people(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text(PEOPLE, encoding="utf-8")
    return path


@pytest.fixture
def texts(tmp_path):
    html, text = tmp_path / "mail.html", tmp_path / "mail.txt"
    html.write_text("<p>Hello {{name}} of {{city}}</p>", encoding="utf-8")
    text.write_text("Hello {{name}} of {{city}}", encoding="utf-8")
    return ["--subject", "Hello {{name}}", "--html", html, "--text", text]


@pytest.fixture
def live(monkeypatch, sendgrid):
    for name, value in sendgrid.env.items():
        monkeypatch.setenv(name, value)
    return sendgrid


def totals(**numbers):
    names = ("rows", "blank", "unusable", "recipients", "sent", "earlier", "suppressed", "invalid", "failed", "unknown")
    return dict.fromkeys(names, 0) | numbers


ALL_WELL = totals(rows=5, blank=1, unusable=1, recipients=3, sent=2, earlier=1)


def test_the_report_for_people(cli, people, texts):
    result = cli("campaign", people, *texts)

    assert result.code == 0
    assert "line 3: 'bob@example..com': not an address" in result.err
    assert "3 of 3 (100 %): 2 sent, 1 earlier" in result.err
    numbers = dict(re.findall(r"^ *(\w+) +([\d,]+)(?: |$)", result.out, re.MULTILINE))
    assert {name.lower(): int(number) for name, number in numbers.items()} == ALL_WELL
    assert "Email = email, Name = name, City = {{city}}" in result.out
    assert f"sqlite:///{people}.journal.sqlite" in result.out
    assert "Done" in result.out


def test_the_report_for_machines(cli, people, texts):
    result = cli("campaign", people, *texts, "--json")

    assert (result.code, result.err) == (0, "")
    assert result.json["totals"] == ALL_WELL
    assert result.json["unusable"] == [{"line": 3, "last_line": 3, "reason": "'bob@example..com': not an address"}]
    assert result.json["complete"]
    assert result.json["vendors"] == ["demo"]
    assert result.json["error"] is result.json["stopped_by"] is None


def test_the_same_again_sends_nothing_and_another_text_is_another_campaign(cli, people, texts):
    first = cli("campaign", people, *texts, "--json").json
    second = cli("campaign", people, *texts, "--json").json
    other = cli("campaign", people, "--subject", "News", *texts[2:])

    assert second["campaign"] == first["campaign"] == f"people-{first['campaign'][-8:]}"
    assert (second["totals"]["sent"], second["totals"]["earlier"]) == (0, 3)
    assert f"this file had another text as campaign {first['campaign']}" in other.err


@pytest.mark.parametrize("key", [(), ("--key", "spring")])
def test_a_rehearsal_in_demo_does_not_count(cli, people, texts, monkeypatch, sendgrid, key):
    assert cli("campaign", people, *texts, *key).code == 0
    for name, value in sendgrid.env.items():
        monkeypatch.setenv(name, value)
    assert cli("campaign", people, *texts, *key).code == 0

    assert sorted(sendgrid.readers()) == ["ada@example.com", "bounce@example.com"]


def test_a_dry_run_opens_and_sends_nothing(cli, people, texts):
    shown, machine = (
        cli("campaign", people, *texts, "--dry-run"),
        cli("campaign", people, *texts, "--dry-run", "--json"),
    )

    assert (shown.code, machine.code) == (0, 0)
    assert "nothing was sent" in shown.out
    assert machine.json["totals"] == {"rows": 5, "blank": 1, "unusable": 1, "recipients": 3}
    assert not people.with_name("people.csv.journal.sqlite").exists()


def test_the_mail_is_what_was_asked_for(cli, people, texts, live):
    options = ["--from", "Shop <news@shop.example.com>", "--reply-to", "help@shop.example.com", "--tag", "spring"]
    options += ["--tag", "vip", "--unsubscribe-url", "https://shop.example.com/out?who={{email}}", "--limit", "1"]
    result = cli("campaign", people, *texts, *options)

    assert result.code == 0, result.err
    requests = json.loads(live.get("/_control/requests"))["requests"]
    (sent,) = [json.loads(request["body"]) for request in requests if request["path"] == "/v3/mail/send"]
    assert sent["from"] == {"email": "news@shop.example.com", "name": "Shop"}
    assert sent["reply_to"]["email"] == "help@shop.example.com"
    assert sent["categories"] == ["spring", "vip"]
    (mail,) = json.loads(live.get("/_control/mails"))["mails"]
    assert mail["to"] == "ada@example.com"
    assert "Hello Ada of Bonn" in json.dumps(mail)
    assert "who=ada%40example.com" in json.dumps(mail)


def test_the_journal_is_where_it_is_asked_for(cli, people, texts, monkeypatch, tmp_path):
    cli("campaign", people, *texts, "--journal", tmp_path / "own.sqlite")
    assert (tmp_path / "own.sqlite").exists()

    monkeypatch.setenv("PROVIDER_STATE_URL", f"sqlite:///{tmp_path}/shared.sqlite")
    cli("campaign", people, *texts)
    assert (tmp_path / "shared.sqlite").exists()
    assert not people.with_name("people.csv.journal.sqlite").exists()


@pytest.mark.parametrize("name", ["report.csv", "report.ndjson"])
def test_every_outcome_is_in_the_report_file(cli, people, texts, tmp_path, name):
    path = tmp_path / name
    cli("campaign", people, *texts, "--report", path)

    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file)) if name.endswith("csv") else [json.loads(line) for line in file]
    assert [(int(row["line"]), row["state"]) for row in rows] == [
        (3, "unusable"),
        (2, "sent"),
        (5, "earlier"),
        (6, "sent"),
    ]
    assert rows[1]["recipient"] == "ada@example.com"
    assert rows[1]["ref"].startswith("demo:")


def test_mails_that_fail_or_are_unknown_are_listed_and_fail_the_run(cli, tmp_path, texts):
    path = tmp_path / "people.csv"
    path.write_text("Email,Name,City\nunavailable@example.com,A,B\ntimeout@example.com,A,B\nc@example.com,A\n")
    result = cli("campaign", path, *texts)

    assert result.code == 1
    assert "failed: the demo is down" in result.out
    assert "line 2 unavailable@example.com" in result.out
    assert "'city' is missing" in result.out
    assert "line 4 c@example.com" in result.out
    assert "1 mail may have been sent" in result.out
    assert "  timeout@example.com" in result.out
    listing = next(line for line in result.out.splitlines() if line.startswith("List them:"))
    assert "timeout@example.com" in cli(*listing.partition("providers ")[2].split()).out


def test_many_bad_outcomes_do_not_flood_the_terminal(cli, tmp_path, texts):
    path = tmp_path / "people.csv"
    path.write_text("Email,Name,City\n" + "".join(f"a{number}@example.com,A\n" for number in range(50)))
    result = cli("campaign", path, *texts)

    assert result.out.count("@example.com") == module.ALIKE
    assert f"and {50 - module.ALIKE} more" in result.out
    assert len(cli("campaign", path, *texts, "--json").json["invalid"]) == 50


def test_a_refused_credential_ends_it_with_the_way_on(cli, people, texts, live, monkeypatch):
    monkeypatch.setenv("SENDGRID_API_KEY", "SG.wrong-wrong-wrong-wr.wrong")
    result = cli("campaign", people, *texts)

    assert result.code == 1
    assert "run the same command again" in result.out
    assert "Stopped" in result.out
    assert "HTTP 401" in result.err
    assert "Traceback" not in result.err
    machine = cli("campaign", people, *texts, "--json").json
    assert machine["error"]["type"] == "AuthenticationError"
    assert not machine["complete"]
    counts = machine["totals"]
    assert counts["recipients"] == sum(
        v for k, v in counts.items() if k not in {"rows", "blank", "unusable", "recipients"}
    )

    monkeypatch.setenv("SENDGRID_API_KEY", live.env["SENDGRID_API_KEY"])
    assert cli("campaign", people, *texts).code == 0
    assert sorted(live.readers()) == ["ada@example.com", "bounce@example.com"]


def test_another_text_under_a_used_key_is_refused(cli, people, texts):
    assert cli("campaign", people, *texts, "--key", "spring").code == 0
    result = cli("campaign", people, "--subject", "News", *texts[2:], "--key", "spring")

    assert result.code == 2
    assert "another text" in result.err


def test_a_state_that_does_not_last_is_refused_before_anything_is_sent(cli, tmp_path, texts, monkeypatch):
    monkeypatch.setenv("PROVIDER_STATE_URL", "memory://")
    path = tmp_path / "people.csv"
    path.write_text("Email,Name,City\n" + "".join(f"a{number}@example.com,A,B\n" for number in range(1001)))
    result = cli("campaign", path, *texts)

    assert result.code == 2
    assert "1,001 recipients" in result.err
    assert cli("campaign", path, *texts, "--limit", "1000").code == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--subject", "Hello {{town}}"], ["{{town}}", "{{city}}"]),
        (["--from", "nobody"], ["--from", "'nobody'"]),
        (["--reply-to", "a@b\nBcc: c@d.example"], ["--reply-to"]),
        (["--html", "nothing.html"], ["--html", "nothing.html"]),
        (["--map", "Email"], ["--map"]),
        (["--map", "email=Contact"], ["'Contact'", "Email, Name, City"]),
        (["--delimiter", "::"], ["--delimiter"]),
        (["--encoding", "bogus"], ["--encoding"]),
        (["--report", "nowhere/report.csv"], ["--report"]),
        (["--limit", "0"], ["--limit"]),
        (["--key", "k" * 300], ["key"]),
    ],
)
def test_what_cannot_work_is_refused_by_the_name_of_its_option(cli, people, texts, change, words):
    result = cli("campaign", people, *texts, *change)

    assert result.code in {1, 2}
    for word in words:
        assert word in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--subject", "Hello"], ["--html", "--text", "--template"]),
        (["--text", "mail.txt"], ["--subject"]),
    ],
)
def test_a_mail_without_subject_or_text(cli, people, texts, argv, words):
    result = cli("campaign", people, *argv)

    assert result.code == 2
    for word in words:
        assert word in result.err


def test_totals_that_do_not_add_up_fail_loudly(cli, people, texts, monkeypatch):
    """An outcome that gets lost on the way is noticed."""

    async def lossy(self, message, recipients, *, idempotency_key):
        for index, recipient in enumerate(recipients):
            if index:
                yield SendOutcome(index=index, key="", recipient=recipient.email, state=SendState.SENT)

    monkeypatch.setattr("providers.email.api.Email.send_campaign", lossy)
    result = cli("campaign", people, *texts)

    assert result.code == 1
    assert "do not add up" in result.err


def test_an_error_of_the_store_is_one_message(cli, people, texts):
    people.with_name("people.csv.journal.sqlite").write_bytes(b"this is no database" * 100)
    result = cli("campaign", people, *texts)

    assert result.code == 2
    assert "people.csv.journal.sqlite" in result.err
    assert "Traceback" not in result.err


def test_nobody_else_can_read_the_journal(cli, people, texts):
    cli("campaign", people, *texts)
    journal = people.with_name("people.csv.journal.sqlite")

    assert journal.stat().st_mode & 0o077 == 0
    with sqlite3.connect(journal) as db:
        assert db.execute("SELECT count(*) FROM entries").fetchone()[0]
    db.close()


def test_usage_errors_are_of_one_kind():
    assert issubclass(errors.ConfigurationError, errors.ProviderError)
