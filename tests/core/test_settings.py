"""What is read from the environment: once, typed, and with one order of precedence."""

import os
import sys
from dataclasses import replace

import pytest
from pydantic import SecretStr

from providers import Mode, Settings
from providers.core.operation import Points, Variable
from providers.email.facts import SENDGRID
from providers.errors import ConfigurationError
from providers.llm.facts import GATEWAY

KEY = next(variable for variable in SENDGRID.variables if variable.name == "SENDGRID_API_KEY")
SENDER = next(variable for variable in SENDGRID.variables if variable.name == "SENDGRID_FROM_EMAIL")


@pytest.fixture
def env_file(tmp_path):
    def write(**values):
        path = tmp_path / ".env"
        path.write_text("".join(f"{name}={value}\n" for name, value in values.items()), encoding="utf-8")
        return path

    return write


def test_the_environment_wins_over_the_file_and_arguments_over_both(env_file):
    path = env_file(SENDGRID_API_KEY="file", SENDGRID_FROM_EMAIL="file", PROVIDER_SERVICE="file", PROVIDER_MODE="demo")
    environ = {"SENDGRID_API_KEY": "environ", "SENDGRID_FROM_EMAIL": "environ", "PROVIDER_MODE": "demo"}
    settings = Settings(mode="live", credentials={"SENDGRID_API_KEY": "argument"}, environ=environ, env_file=path)

    assert settings.mode is Mode.LIVE
    assert settings.value(KEY) == "argument"
    assert settings.value(SENDER) == "environ"
    assert settings.text("PROVIDER_SERVICE") == "file"


def test_the_process_environment_and_the_file_of_the_working_directory_are_read_by_default(monkeypatch, env_file):
    monkeypatch.chdir(env_file(PROVIDER_SERVICE="file").parent)
    monkeypatch.setenv("PROVIDER_MODE", "live")
    settings = Settings()

    assert settings.mode is Mode.LIVE
    assert settings.text("PROVIDER_SERVICE") == "file"


def test_a_file_that_is_not_there_is_no_error(tmp_path):
    assert Settings(environ={}, env_file=tmp_path / "none").mode is None


def test_values_of_the_file_are_taken_as_they_are(env_file):
    path = env_file(SENDGRID_API_KEY="'a $HOME ${HOME} #b'")

    assert Settings(environ={}, env_file=path).value(KEY) == "a $HOME ${HOME} #b"


def test_nothing_is_read_later(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    settings = Settings()
    monkeypatch.setenv("PROVIDER_MODE", "live")
    (tmp_path / ".env").write_text("SENDGRID_API_KEY=late\n", encoding="utf-8")

    assert settings.mode is None
    assert settings.value(KEY) is None


@pytest.mark.parametrize("empty", ["", "  ", "\n"])
def test_an_empty_value_counts_as_not_set(empty):
    settings = Settings(environ={"SENDGRID_API_KEY": empty, "PROVIDER_MODE": empty, "PROVIDER_EMAIL": empty})

    assert settings.mode is None
    assert settings.vendors("email") == ()
    assert KEY in settings.missing(SENDGRID)


def test_values_are_trimmed():
    assert Settings(environ={"SENDGRID_API_KEY": " key\n"}, env_file=None).value(KEY) == "key"


def test_a_mounted_secret_is_read_from_its_file(tmp_path):
    (tmp_path / "key").write_text("mounted\n", encoding="utf-8")
    settings = Settings(environ={"SENDGRID_API_KEY_FILE": str(tmp_path / "key")}, env_file=None)

    assert settings.value(KEY) == "mounted"
    assert settings.credentials(SENDGRID) == {"SENDGRID_API_KEY": SecretStr("mounted")}


def test_settings_of_ours_may_be_mounted_too(tmp_path):
    (tmp_path / "url").write_text("sqlite:////state.db\n", encoding="utf-8")

    assert Settings(environ={"PROVIDER_STATE_URL_FILE": str(tmp_path / "url")}).state_url == "sqlite:////state.db"


def test_a_capabilitys_own_settings_may_be_mounted_too(tmp_path):
    (tmp_path / "to").write_text("staging@example.com\n", encoding="utf-8")
    settings = Settings(environ={"PROVIDER_EMAIL_REDIRECT_TO_FILE": str(tmp_path / "to")}, env_file=None)

    assert settings.options("email") == {"PROVIDER_EMAIL_REDIRECT_TO": "staging@example.com"}


def test_a_secret_mounted_by_the_environment_wins_over_the_file(tmp_path, env_file):
    (tmp_path / "key").write_text("mounted", encoding="utf-8")
    settings = Settings(
        environ={"SENDGRID_API_KEY_FILE": str(tmp_path / "key")}, env_file=env_file(SENDGRID_API_KEY="stray")
    )

    assert settings.value(KEY) == "mounted"


def test_an_empty_mounted_secret_is_missing(tmp_path):
    (tmp_path / "key").write_text(" \n", encoding="utf-8")
    settings = Settings(environ={"SENDGRID_API_KEY_FILE": str(tmp_path / "key")}, env_file=None)

    assert KEY in settings.missing(SENDGRID)


def test_a_mounted_secret_that_cannot_be_read_names_the_variable(tmp_path):
    settings = Settings(environ={"SENDGRID_API_KEY_FILE": str(tmp_path / "none")}, env_file=None)
    with pytest.raises(ConfigurationError, match="SENDGRID_API_KEY_FILE") as caught:
        settings.value(KEY)
    assert caught.value.field == "SENDGRID_API_KEY_FILE"


def test_a_variable_is_found_under_its_other_names_and_its_own_comes_first():
    assert Settings(environ={"EMAIL_FROM_ADDRESS": "a@example.com"}).credentials(SENDGRID) == {
        "SENDGRID_FROM_EMAIL": SecretStr("a@example.com")
    }
    both = {"EMAIL_FROM_ADDRESS": "a@example.com", "SENDGRID_FROM_EMAIL": "b@example.com"}
    assert Settings(environ=both).value(SENDER) == "b@example.com"


def test_only_required_variables_are_missing():
    missing = [variable.name for variable in Settings(environ={}, env_file=None).missing(SENDGRID)]

    assert missing == ["SENDGRID_API_KEY", "SENDGRID_FROM_EMAIL"]


@pytest.mark.parametrize("text", ["production", "Demo-ish", "1"])
def test_a_mode_that_does_not_exist_is_refused(text):
    with pytest.raises(ConfigurationError, match="neither demo nor live") as caught:
        Settings(environ={"PROVIDER_MODE": text})
    assert caught.value.field == "PROVIDER_MODE"


@pytest.mark.parametrize("text", ["live", "LIVE", " live "])
def test_a_mode_may_be_written_in_any_case(text):
    assert Settings(environ={"PROVIDER_MODE": text}).mode is Mode.LIVE
    assert Settings(mode=Mode.LIVE, environ={}).mode is Mode.LIVE


def test_vendors_are_read_in_order_from_text_or_sequence():
    assert Settings(environ={"PROVIDER_EMAIL": "SES, sendgrid,"}).vendors("email") == ("ses", "sendgrid")
    assert Settings(vendors={"email": ["ses", "sendgrid"]}, environ={}).vendors("email") == ("ses", "sendgrid")
    assert Settings(vendors={"email": "demo"}, environ={"PROVIDER_EMAIL": "ses"}).vendors("email") == ("demo",)


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({}, ""),
        ({"ENV": "staging"}, ""),
        ({"ENV": "Production"}, "ENV=Production"),
        ({"ENVIRONMENT": "prod"}, "ENVIRONMENT=prod"),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "a Kubernetes pod"),
    ],
)
def test_what_says_that_this_is_production(environ, says):
    assert Settings(environ=environ, env_file=None).production == says


@pytest.mark.parametrize(("text", "allowed"), [("1", True), ("yes", True), ("0", False), ("", False)])
def test_demo_may_be_allowed(text, allowed):
    assert Settings(environ={"PROVIDER_ALLOW_DEMO": text}, env_file=None).allow_demo is allowed
    assert Settings(allow_demo=allowed, environ={}, env_file=None).allow_demo is allowed


def test_a_flag_that_is_neither_yes_nor_no_is_refused():
    with pytest.raises(ConfigurationError, match="PROVIDER_ALLOW_DEMO"):
        _ = Settings(environ={"PROVIDER_ALLOW_DEMO": "maybe"}, env_file=None).allow_demo


def test_a_base_url_is_the_vendors_unless_given():
    assert Settings(environ={}, env_file=None).base_url(SENDGRID) == "https://api.sendgrid.com"
    local = Settings(base_urls={"sendgrid": "http://localhost:1"}, environ={}, env_file=None)
    assert local.base_url(SENDGRID) == "http://localhost:1"


def test_a_base_url_that_is_none_is_refused():
    with pytest.raises(ConfigurationError, match="PROVIDER_SENDGRID_BASE_URL"):
        Settings(environ={"PROVIDER_SENDGRID_BASE_URL": "localhost:1"}, env_file=None).base_url(SENDGRID)


def test_a_base_url_may_stand_in_a_variable_that_is_usual_and_ours_comes_first():
    usual = {"LLM_GATEWAY_URL": "http://llm-gateway:8200"}
    ours = {"PROVIDER_GATEWAY_BASE_URL": "http://localhost:1"}

    urls = [Settings(environ=environ, env_file=None).base_url(GATEWAY) for environ in ({}, usual, ours, usual | ours)]

    assert urls == ["http://localhost:8200", "http://llm-gateway:8200", "http://localhost:1", "http://localhost:1"]


@pytest.mark.parametrize("name", ["LLM_GATEWAY_URL", "PROVIDER_GATEWAY_BASE_URL"])
def test_a_base_url_that_is_none_is_refused_by_the_name_it_was_given(name):
    with pytest.raises(ConfigurationError, match=name) as caught:
        Settings(environ={name: "llm-gateway:8200"}, env_file=None).base_url(GATEWAY)
    assert caught.value.field == name


def test_where_webhooks_go_may_hold_the_capability_and_the_vendor():
    settings = Settings(webhook_url="http://localhost/{capability}/{vendor}", environ={}, env_file=None)

    assert settings.webhook_url("email", "demo") == "http://localhost/email/demo"


def test_no_value_shows_in_repr():
    environ = {"SENDGRID_API_KEY": "hunter2hunter2", "PROVIDER_STATE_URL": "sqlite:///secret-place"}
    settings = Settings(credentials={"X_KEY": SecretStr("hunter3hunter3")}, environ=environ, env_file=None)

    for text in (repr(settings), str(settings), repr(settings.credentials(SENDGRID))):
        assert "hunter" not in text
        assert "secret-place" not in text
    assert "PROVIDER_STATE_URL" in repr(settings)


def test_the_environment_is_not_changed(monkeypatch, env_file):
    monkeypatch.chdir(env_file(PROVIDER_SERVICE="file").parent)
    before = dict(os.environ)
    Settings(mode="live", credentials={"SENDGRID_API_KEY": "x"})

    assert dict(os.environ) == before


def test_without_a_file_the_library_that_reads_it_is_not_loaded(monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "dotenv", raising=False)
    Settings(environ={}, env_file=tmp_path / "none")

    assert "dotenv" not in sys.modules


def test_a_variable_without_aliases_has_one_name():
    assert Settings(environ={"A_B": "1"}, env_file=None).value(Variable(name="A_B", purpose="")) == "1"


POINTED = replace(SENDGRID, points=Points(per_day=50_000, costs={"search": 50}))


@pytest.mark.parametrize(("text", "number"), [("80000/day", 80_000), (" 1 / day ", 1)])
def test_how_many_points_an_account_has_can_be_set(text, number):
    settings = Settings(environ={"PROVIDER_POINTS_SENDGRID": text}, env_file=None)
    assert settings.points(POINTED) == Points(per_day=number, costs={"search": 50})


def test_without_the_setting_points_are_what_the_vendor_is_known_to_give():
    settings = Settings(environ={}, env_file=None)
    assert settings.points(POINTED) is POINTED.points
    assert settings.points(SENDGRID) is None


@pytest.mark.parametrize("text", ["80000", "0/day", "-1/day", "1.5/day", "80,000/day", "80000/hour", "unlimited"])
def test_points_that_cannot_be_read_are_refused_by_name(text):
    settings = Settings(environ={"PROVIDER_POINTS_SENDGRID": text}, env_file=None)
    with pytest.raises(ConfigurationError, match="write 50000/day") as caught:
        settings.points(POINTED)
    assert caught.value.field == "PROVIDER_POINTS_SENDGRID"


def test_points_for_a_vendor_that_has_none_are_refused():
    settings = Settings(environ={"PROVIDER_POINTS_SENDGRID": "5/day"}, env_file=None)
    with pytest.raises(ConfigurationError, match="SendGrid cost no points") as caught:
        settings.points(SENDGRID)
    assert caught.value.field == "PROVIDER_POINTS_SENDGRID"
