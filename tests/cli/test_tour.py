"""`providers tour`: every capability shown, nobody bothered."""

import json
import subprocess
import sys

import pytest

from providers import catalog
from providers.cli.tour import PARTS


def test_every_capability_has_its_part():
    assert set(PARTS) == set(catalog.CAPABILITIES)


def test_in_demo_everything_is_shown(cli):
    shown, machine = cli("tour"), cli("tour", "--json")

    assert (shown.code, shown.err) == (0, "")
    assert (machine.code, machine.err) == (0, "")
    (email,) = machine.json["capabilities"]
    assert (email["capability"], email["vendors"], email["live"]) == ("email", ["demo"], False)
    steps = email["steps"]
    assert not any(step["skipped"] for step in steps)
    first, again, bad, campaign, domain, status, suppressions, events = [step["data"] for step in steps]
    assert first == again
    assert bad["field"].startswith("to")
    assert [outcome["state"] for outcome in campaign] == ["sent", "invalid", "earlier", "sent"]
    assert domain["records"]
    assert status["state"] == "delivered"
    assert [entry["email"] for entry in suppressions] == ["bounce@example.com"]
    assert [event["type"] for event in events] == ["delivered", "opened", "clicked"]
    for step in steps:
        assert step["title"] in shown.out


def test_it_can_be_taken_twice_on_the_same_state(cli, monkeypatch, tmp_path):
    monkeypatch.setenv("PROVIDER_STATE_URL", f"sqlite:///{tmp_path}/state.sqlite")

    assert [cli("tour").code, cli("tour").code] == [0, 0]
    assert cli("call", "email.suppressions", "--json").out == ""


def test_as_a_process(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "providers.cli.app", "tour"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "Every step went as it should." in done.stdout


class TestLive:
    @pytest.fixture(autouse=True)
    def _live(self, monkeypatch, sendgrid):
        for name, value in sendgrid.env.items():
            monkeypatch.setenv(name, value)

    def test_it_asks_whom_to_write_to_before_anything_is_sent(self, cli, sendgrid):
        result = cli("tour")

        assert result.code == 2
        assert "--to" in result.err
        assert sendgrid.readers() == []

    def test_nobody_else_gets_a_mail_and_what_is_skipped_is_said(self, cli, sendgrid):
        result = cli("tour", "--to", "me@example.com", "--json")

        assert result.code == 0, result.err
        assert set(sendgrid.readers()) == {"me@example.com"}
        (email,) = result.json["capabilities"]
        assert email["live"]
        skipped = [step for step in email["steps"] if step["skipped"]]
        assert {"domain" in step["title"] or "webhook" in step["title"] for step in skipped} == {True}
        requests = json.loads(sendgrid.get("/_control/requests"))["requests"]
        writes = [request["path"] for request in requests if request["method"] != "GET"]
        assert set(writes) == {"/v3/mail/send"}
        assert "skipped: " in cli("tour", "--to", "me@example.com").out

    def test_a_domain_is_shown_when_it_is_named(self, cli):
        shown = cli("tour", "--to", "me@example.com", "--domain", "shop.example.com")

        assert "CNAME" in shown.out

    def test_a_failure_is_one_message_and_the_exit_code(self, cli, monkeypatch):
        monkeypatch.setenv("SENDGRID_API_KEY", "SG.wrong-wrong-wrong-wr.wrong")
        shown, machine = cli("tour", "--to", "me@example.com"), cli("tour", "--to", "me@example.com", "--json")

        assert (shown.code, machine.code) == (1, 1)
        assert "step 1 failed" in shown.err
        assert "Traceback" not in shown.err
        assert not machine.json["ok"]
        assert machine.json["capabilities"][0]["error"]
