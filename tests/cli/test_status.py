"""`providers status` and `providers doctor`: what is in use, what is missing, what works."""

import pytest

from providers import catalog
from providers.cli.env import SERVICES


@pytest.fixture
def setenv(monkeypatch):
    def set_all(**values):
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return set_all


KEYS = {
    "PROVIDER_MODE": "live",
    "SENDGRID_API_KEY": "SG.xxxxxxxxxxxxxxxxxxxxxx.xxxxxxxx",
    "SENDGRID_FROM_EMAIL": "noreply@shop.example.com",
}


def test_demo_unless_told_otherwise(cli):
    shown, machine = cli("status"), cli("status", "--json").json

    assert shown.code == 0
    assert shown.out.splitlines()[1].split()[:4] == ["email", "demo", "demo", "yes"]
    email = machine["capabilities"]["email"]
    assert (email["mode"], email["vendors"], email["configured"], email["missing"]) == ("demo", ["demo"], True, [])
    assert machine["warnings"] == machine["problems"] == []


def test_live_names_every_missing_variable_with_its_purpose_and_where_to_get_it(cli, setenv):
    setenv(PROVIDER_MODE="live")
    shown, machine = cli("status"), cli("status", "--json")

    assert (shown.code, machine.code) == (0, 0)
    email = machine.json["capabilities"]["email"]
    assert (email["mode"], email["configured"]) == ("live", False)
    assert {"SENDGRID_API_KEY", "SENDGRID_FROM_EMAIL"} <= {each["variable"] for each in email["missing"]}
    for each in email["missing"]:
        assert each["purpose"]
        for text in (each["variable"], each["purpose"], each["where"], *each["aliases"]):
            assert text in shown.out


def test_live_writes_in_memory_are_warned_of(cli, setenv):
    setenv(**KEYS)
    assert "live writes (email)" in cli("status").out
    assert "live writes (email)" in cli("status", "--json").json["warnings"][0]

    setenv(PROVIDER_STATE_URL="sqlite:///state.sqlite")
    assert "Warning" not in cli("status").out


def test_demo_in_production_is_a_problem_or_at_least_a_warning(cli, setenv):
    setenv(ENV="production")
    assert "PROVIDER_ALLOW_DEMO" in cli("status", "--json").json["capabilities"]["email"]["problem"]
    assert "cannot start" in cli("status").out
    assert cli("doctor").code == 1

    setenv(PROVIDER_ALLOW_DEMO="1")
    assert "demo in production (ENV=production)" in cli("status").out
    assert "demo in production (ENV=production)" in cli("doctor").out


def test_credentials_without_a_mode_ask_to_choose(cli, setenv):
    setenv(SENDGRID_API_KEY=KEYS["SENDGRID_API_KEY"])

    assert "choose PROVIDER_MODE" in cli("status").out


def test_a_misspelt_setting_is_shown_with_everything_else_and_fails(cli, setenv):
    setenv(PROVIDER_EMIAL="demo")
    shown, machine = cli("status"), cli("status", "--json")

    assert (shown.code, machine.code) == (2, 2)
    assert "email" in shown.out
    assert "PROVIDER_EMIAL is not a setting" in shown.err
    assert "PROVIDER_EMIAL is not a setting" in machine.json["problems"][0]


def test_what_this_service_does_not_use_is_said(cli, setenv):
    setenv(PROVIDER_MODE="live", PROVIDER_CAPABILITIES="email")
    assert cli("status", "--json").json["capabilities"]["email"]["enabled"]


def test_a_state_url_is_shown_without_its_password(cli, setenv):
    setenv(PROVIDER_STATE_URL="redis://user:hunter2-hunter2@cache:6379/0")
    shown = cli("status", "--json")

    assert shown.json["state"] == "redis://cache:6379/0"


def test_doctor_in_demo_is_well(cli):
    shown, machine = cli("doctor"), cli("doctor", "--json").json

    assert shown.code == 0
    assert machine["ok"]
    assert [check["capability"] for check in machine["checks"]] == list(catalog.CAPABILITIES)
    assert {(check["vendor"], check["state"], check["ok"]) for check in machine["checks"]} == {("demo", "ok", True)}


def test_doctor_fails_for_missing_variables(cli, setenv):
    setenv(PROVIDER_MODE="live")
    shown, machine = cli("doctor"), cli("doctor", "--json")

    assert (shown.code, machine.code) == (1, 1)
    assert "MISSING" in shown.out
    assert "SENDGRID_API_KEY" in shown.out
    assert {check["state"] for check in machine.json["checks"]} == {"missing"}


def test_doctor_asks_the_vendor(cli, setenv, sendgrid):
    setenv(**sendgrid.env | {"PROVIDER_SMS": "demo", "PROVIDER_BILLING": "demo"})
    good = cli("doctor")
    assert good.code == 0
    assert "1,000,000 of 1,000,000 email left" in good.out
    assert "live writes" in good.out
    assert sendgrid.readers() == []

    setenv(SENDGRID_API_KEY="SG.wrong-wrong-wrong-wr.wrong")
    refused = cli("doctor", "--json")
    assert refused.code == 1
    assert refused.json["checks"][0]["state"] == "refused"

    setenv(PROVIDER_SENDGRID_BASE_URL="http://127.0.0.1:9")
    unreachable = cli("doctor")
    assert unreachable.code == 1
    assert "UNREACHABLE" in unreachable.out


def test_a_capability_with_bad_settings_of_its_own_is_refused(cli, setenv):
    setenv(PROVIDER_EMAIL_REDIRECT_TO="nobody")
    shown = cli("doctor")

    assert shown.code == 1
    assert "PROVIDER_EMAIL_REDIRECT_TO" in shown.out


def test_every_service_is_known():
    assert len(SERVICES) == 12
