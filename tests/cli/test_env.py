"""`providers env`: templates that can be read back, and hold nobody's secrets."""

import pytest
import yaml
from dotenv import dotenv_values

from providers import Settings, catalog
from providers.cli.env import SERVICES
from providers.selection import require, unknown_settings
from providers.settings import GENERAL

VARIABLES = {v for name in catalog.CAPABILITIES for f in catalog.built_in(name).values() for v in f.variables}


def test_every_variable_stands_there_with_its_purpose_origin_and_aliases(cli):
    for form in ("dotenv", "kubernetes"):
        text = cli("env", "--format", form).out
        for variable in VARIABLES:
            assert variable.name in text
            assert variable.purpose in text
            assert variable.where in text
            for alias in variable.aliases:
                assert alias in text
        for name, purpose in GENERAL.items():
            assert name in text
            assert purpose in text


def test_the_dotenv_template_starts_as_it_is_and_asks_for_what_is_required(cli, tmp_path):
    path = tmp_path / "template.env"
    path.write_text(cli("env").out, encoding="utf-8")
    values = dotenv_values(path)

    settings = Settings(environ={}, env_file=path)
    require(settings, ["email"])
    assert unknown_settings(settings) == []
    assert values["PROVIDER_MODE"] == "demo"
    for variable in VARIABLES:
        assert (variable.name in values) is variable.required
        assert not values.get(variable.name)


def test_the_commented_examples_are_settings_that_work(cli, tmp_path):
    """Somebody will take the # away and keep the example."""
    lines = cli("env").out.splitlines()
    names = tuple(f"# {name}=" for name in (*GENERAL, "PROVIDER_EMAIL", "PROVIDER_SENDGRID_", "PROVIDER_BUDGET_"))
    path = tmp_path / "template.env"
    path.write_text("\n".join(line[2:] if line.startswith(names) else line for line in lines), encoding="utf-8")

    assert unknown_settings(Settings(environ={}, env_file=path)) == []


def test_the_manifests_are_a_secret_and_a_config_map(cli):
    secret, config = yaml.safe_load_all(cli("env", "--service", "flowsend", "--format", "kubernetes").out)

    assert (secret["kind"], config["kind"]) == ("Secret", "ConfigMap")
    assert secret["metadata"] == config["metadata"] == {"name": "flowsend-providers"}
    used = [catalog.built_in(name) for name in SERVICES["flowsend"] if name in catalog.CAPABILITIES]
    variables = {v for vendors in used for facts in vendors.values() for v in facts.variables}
    secrets = {variable.name for variable in variables if variable.secret and variable.required}
    assert secrets
    assert set(secret["stringData"]) == secrets
    assert not any(secret["stringData"].values())
    assert config["data"]["PROVIDER_MODE"] == "demo"
    assert config["data"]["PROVIDER_SERVICE"] == "flowsend"
    assert not secrets & set(config["data"])
    assert all(isinstance(value, str) for value in config["data"].values())


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_gets_what_it_uses(cli, service):
    machine = cli("env", "--service", service, "--format", "json").json

    assert machine["capabilities"] == [name for name in SERVICES[service] if name in catalog.CAPABILITIES]
    names = {entry["name"] for group in machine["groups"] for entry in group["entries"]}
    assert ("SENDGRID_API_KEY" in names) is ("email" in SERVICES[service])
    assert ("PROVIDER_EMAIL_REDIRECT_TO" in names) is ("email" in SERVICES[service])
    list(yaml.safe_load_all(cli("env", "--service", service, "--format", "kubernetes").out))


def test_the_sourcing_service_gets_the_names_it_reads(cli):
    machine = cli("env", "--service", "sourcepilot", "--format", "json").json
    entries = {entry["name"]: entry for group in machine["groups"] for entry in group["entries"]}

    required = {"ALIEXPRESS_APP_KEY", "ALIEXPRESS_APP_SECRET", "ALIEXPRESS_ACCESS_TOKEN", "CJDROPSHIP_API_KEY"}
    optional = {"ALIEXPRESS_REFRESH_TOKEN", "ALIEXPRESS_TRACKING_ID", "CJDROPSHIP_EMAIL", "CJDROPSHIP_SANDBOX"}
    assert required | optional <= set(entries)
    assert {f"PROVIDER_{name}" for name in ("SOURCING", "RATE_CJDROPSHIPPING", "POINTS_CJDROPSHIPPING")} <= set(entries)
    text = cli("env", "--service", "sourcepilot").out
    for name in required:
        assert f"\n{name}=" in text
    for name in optional:
        assert f"\n# {name}=" in text


def test_json_is_json_in_every_format(cli):
    assert cli("env", "--json").json["groups"] == cli("env", "--format", "json").json["groups"]
    assert "SENDGRID_API_KEY=" in cli("env", "--format", "dotenv", "--json").json["text"]


def test_an_unknown_service_lists_the_valid_ones(cli):
    result = cli("env", "--service", "bogus")

    assert result.code == 2
    for service in SERVICES:
        assert service in result.err


def test_values_of_this_environment_stay_out(cli, monkeypatch):
    monkeypatch.setenv("SENDGRID_FROM_EMAIL", "me@my-own.example")
    monkeypatch.setenv("PROVIDER_SERVICE", "my-own")

    for form in ("dotenv", "kubernetes", "json"):
        assert "my-own" not in cli("env", "--format", form).out
