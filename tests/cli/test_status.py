"""`providers status` and `providers doctor`: what is in use, what is missing, what works."""

import json

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


@pytest.mark.parametrize("name", ["email", "sourcing"])
def test_demo_unless_told_otherwise(cli, name):
    shown, machine = cli("status"), cli("status", "--json").json

    assert shown.code == 0
    lines = [line.split()[:4] for line in shown.out.splitlines()[1:]]
    assert [name, "demo", "demo", "yes"] in lines
    one = machine["capabilities"][name]
    assert (one["mode"], one["vendors"], one["configured"], one["missing"]) == ("demo", ["demo"], True, [])
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
    assert {check["vendor"]: check["state"] for check in refused.json["checks"]}["sendgrid"] == "refused"

    setenv(PROVIDER_SENDGRID_BASE_URL="http://127.0.0.1:9")
    unreachable = cli("doctor")
    assert unreachable.code == 1
    assert "UNREACHABLE" in unreachable.out


def asked(vendor):
    return [f"{one['method']} {one['path']}" for one in json.loads(vendor.get("/_control/requests"))["requests"]]


def own(vendor):
    """Its variables and where it is, without what `serve` chooses."""
    chosen = ("ALIEXPRESS_", "CJDROPSHIP_", "PROVIDER_ALIEXPRESS_", "PROVIDER_CJDROPSHIPPING_")
    return {name: value for name, value in vendor.env.items() if name.startswith(chosen)}


ONLY_SOURCING = {"PROVIDER_MODE": "live", "PROVIDER_CAPABILITIES": "sourcing", "PROVIDER_STATE_URL": "sqlite:///s.db"}


def test_doctor_asks_both_suppliers_and_it_costs_nothing(cli, setenv, aliexpress, cjdropshipping):
    chosen = {**ONLY_SOURCING, "PROVIDER_SOURCING": "aliexpress,cjdropshipping"}
    setenv(**{**aliexpress.env, **cjdropshipping.env, **chosen})
    good = cli("doctor", "--json")
    again = cli("doctor")

    assert (good.code, again.code) == (0, 0), again.out
    checks = {check["vendor"]: check for check in good.json["checks"]}
    assert {name: check["state"] for name, check in checks.items()} == {"aliexpress": "ok", "cjdropshipping": "ok"}
    assert "250.0 USD left" in again.out
    # A product that there is not; settings and balance: no points, no order, and one access token for both times.
    assert set(asked(aliexpress)) == {"POST /sync"}
    base = "/api2.0/v1/"
    assert set(asked(cjdropshipping)) == {
        f"POST {base}authentication/getAccessToken",
        f"GET {base}setting/get",
        f"GET {base}shopping/pay/getBalance",
    }
    assert sum("getAccessToken" in line for line in asked(cjdropshipping)) == 1
    for vendor in (aliexpress, cjdropshipping):
        assert json.loads(vendor.get("/_control/orders"))["orders"] == []


@pytest.mark.parametrize(
    ("vendor", "wrong", "state"),
    [
        ("aliexpress", {"ALIEXPRESS_APP_SECRET": "another-secret"}, "refused"),
        ("aliexpress", {"ALIEXPRESS_APP_KEY": "500002"}, "refused"),
        ("aliexpress", {"ALIEXPRESS_ACCESS_TOKEN": "50000000wrong", "ALIEXPRESS_REFRESH_TOKEN": "5000"}, "refused"),
        ("cjdropshipping", {"CJDROPSHIP_API_KEY": "CJ0000001@api@wrong-wrong"}, "refused"),
    ],
)
def test_doctor_says_what_a_supplier_refuses(cli, setenv, request, vendor, wrong, state):
    server = request.getfixturevalue(vendor)
    setenv(**{**server.env, **ONLY_SOURCING, "PROVIDER_SOURCING": vendor, **wrong})
    refused = cli("doctor", "--json")

    assert refused.code == 1
    (check,) = refused.json["checks"]
    assert (check["vendor"], check["state"], check["ok"]) == (vendor, state, False)
    for value in wrong.values():
        assert value not in refused.out + refused.err
    # What to do about it: connect again, or make a new key.
    if "ALIEXPRESS_ACCESS_TOKEN" in wrong:
        assert "authorize_url()" in refused.out
    if "CJDROPSHIP_API_KEY" in wrong:
        assert "CJDROPSHIP_API_KEY" in refused.out


def test_a_supplier_s_missing_variables_are_named_and_the_other_one_serves(cli, setenv, cjdropshipping):
    setenv(**ONLY_SOURCING)
    missing = {each["variable"] for each in cli("status", "--json").json["capabilities"]["sourcing"]["missing"]}
    assert {"ALIEXPRESS_APP_KEY", "ALIEXPRESS_APP_SECRET", "ALIEXPRESS_ACCESS_TOKEN"} <= missing
    assert not {"ALIEXPRESS_TRACKING_ID", "ALIEXPRESS_REFRESH_TOKEN", "CJDROPSHIP_EMAIL"} & missing

    setenv(**own(cjdropshipping))
    sourcing = cli("status", "--json").json["capabilities"]["sourcing"]
    assert (sourcing["mode"], sourcing["vendors"], sourcing["configured"]) == ("live", ["cjdropshipping"], True)


def test_both_suppliers_serve_when_both_are_configured(cli, setenv, aliexpress, cjdropshipping):
    setenv(**own(aliexpress), **own(cjdropshipping), **ONLY_SOURCING)

    assert cli("status", "--json").json["capabilities"]["sourcing"]["vendors"] == ["aliexpress", "cjdropshipping"]


@pytest.mark.parametrize("name", ["spocket", "manual"])
def test_a_platform_without_an_api_cannot_be_chosen_in_live(cli, setenv, name):
    setenv(**ONLY_SOURCING, PROVIDER_SOURCING=name)
    shown = cli("status")

    assert name in shown.out + shown.err
    assert cli("doctor").code != 0


def test_a_capability_with_bad_settings_of_its_own_is_refused(cli, setenv):
    setenv(PROVIDER_EMAIL_REDIRECT_TO="nobody")
    shown = cli("doctor")

    assert shown.code == 1
    assert "PROVIDER_EMAIL_REDIRECT_TO" in shown.out


def test_every_service_is_known():
    assert len(SERVICES) == 12
