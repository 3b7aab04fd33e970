"""Which vendors serve a capability: by choice or by default, and never a silent fall to demo."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import Providers, Settings, catalog
from providers.core.operation import Variable, VendorFacts
from providers.errors import ConfigurationError
from providers.selection import require, select

LIVE = {"SENDGRID_API_KEY": "SG.key", "SENDGRID_FROM_EMAIL": "shop@example.com"}


def settings(environ=None, **given):
    return Settings(environ=environ or {}, env_file=None, **given)


def chosen(environ=None, **given):
    return [facts.vendor for facts in require(settings(environ, **given), ["email"])["email"].vendors]


def refusal(environ=None, capabilities=("email",), **given):
    with pytest.raises(ConfigurationError) as caught:
        require(settings(environ, **given), capabilities)
    return str(caught.value)


@pytest.fixture
def chat(monkeypatch):
    """A second capability, with two vendors."""
    facts = {
        "demo": VendorFacts(vendor="demo", capability="chat", title="Demo", adapter=""),
        "one": VendorFacts(
            vendor="one",
            capability="chat",
            title="One Inc",
            adapter="",
            variables=(
                Variable(name="ONE_KEY", purpose="the key", where="one.example.com/keys", secret=True),
                Variable(name="ONE_ROOM", purpose="the room", where="one.example.com/rooms"),
                Variable(name="ONE_COLOUR", purpose="a colour", required=False),
            ),
        ),
        "two": VendorFacts(
            vendor="two",
            capability="chat",
            title="Two Ltd",
            adapter="",
            variables=(Variable(name="TWO_KEY", purpose="the key", where="two.example.com", secret=True),),
        ),
    }
    monkeypatch.setattr(catalog, "chat_facts", facts, raising=False)

    def install(*, merged=False):
        entry = catalog.CapabilityEntry(
            name="chat",
            summary="",
            api="",
            facts="providers.catalog:chat_facts",
            default=("one", "two", "three-not-built-yet"),
            merged=merged,
        )
        monkeypatch.setattr(catalog, "CAPABILITIES", {**catalog.CAPABILITIES, "chat": entry})

    install()
    return install


def test_nothing_set_is_demo():
    assert chosen() == ["demo"]


def test_live_takes_the_first_default_whose_credentials_are_complete(chat):
    complete = {"TWO_KEY": "k", "ONE_KEY": "k"}
    (selection,) = require(settings(complete, mode="live"), ["chat"]).values()
    assert [facts.vendor for facts in selection.vendors] == ["two"]
    assert selection.live


def test_where_answers_are_merged_all_complete_vendors_are_taken(chat):
    chat(merged=True)
    complete = {"TWO_KEY": "k", "ONE_KEY": "k", "ONE_ROOM": "r"}
    (selection,) = require(settings(complete, mode="live"), ["chat"]).values()
    assert [facts.vendor for facts in selection.vendors] == ["one", "two"]


def test_live_with_missing_credentials_lists_every_one_of_every_capability_with_where_to_get_it(chat):
    text = refusal({"ONE_KEY": "k"}, ("email", "chat"), mode="live")

    for name, where in {
        "SENDGRID_API_KEY": "SendGrid, Settings > API Keys",
        "SENDGRID_FROM_EMAIL": "Sender Authentication",
        "SES_FROM_EMAIL": "SES > Identities",
        "ONE_ROOM": "one.example.com/rooms",
        "TWO_KEY": "two.example.com",
    }.items():
        (line,) = [line for line in text.splitlines() if f"{name} is missing" in line]
        assert where in line
    assert "ONE_KEY is missing" not in text
    assert "ONE_COLOUR" not in text
    assert text.count("any one vendor is enough") == 8


def test_every_problem_of_every_capability_is_told_at_once(chat):
    text = refusal(
        {"PROVIDER_MODE": "live", "PROVIDER_EMIAL": "ses", "PROVIDER_CHAT": "three", **LIVE},
        ("email", "chat", "telepathy"),
    )

    assert "PROVIDER_EMIAL is not a setting" in text
    assert "there is no vendor 'three' for chat; valid: demo, one, two" in text
    assert "there is no capability 'telepathy'; valid: sourcing, email, sms, billing, llm, chat" in text


def test_a_named_vendor_with_missing_credentials_is_refused_even_beside_a_complete_one(chat):
    text = refusal({"ONE_KEY": "k", "TWO_KEY": "k", "PROVIDER_CHAT": "two,one"}, ("chat",), mode="live")

    assert "ONE_ROOM is missing for chat through One Inc" in text


def test_a_choice_by_name_needs_no_mode():
    assert chosen({"PROVIDER_EMAIL": "sendgrid", **LIVE}) == ["sendgrid"]
    assert chosen({"PROVIDER_EMAIL": "sendgrid", "PROVIDER_MODE": "demo", **LIVE}) == ["sendgrid"]


TWILIO = {"TWILIO_ACCOUNT_SID": "AC1", "TWILIO_AUTH_TOKEN": "t"}
SNS = {"SNS_ACCESS_KEY_ID": "AKIA", "SNS_SECRET_ACCESS_KEY": "s", "SNS_REGION": "eu-central-1"}
STRIPE = {"STRIPE_SECRET_KEY": "sk_test_1"}


@pytest.mark.parametrize(
    ("capability", "environ", "vendors"),
    [
        ("sms", TWILIO, ["twilio"]),
        ("sms", SNS, ["sns"]),
        ("sms", {**SNS, **TWILIO}, ["twilio"]),
        ("sms", {**SNS, **TWILIO, "PROVIDER_SMS": "sns,twilio"}, ["sns", "twilio"]),
        ("sms", {"PROVIDER_SMS": "demo"}, ["demo"]),
        ("billing", STRIPE, ["stripe"]),
        ("billing", {"PROVIDER_BILLING": "demo"}, ["demo"]),
    ],
)
def test_each_capability_is_served_by_its_own_vendors(capability, environ, vendors):
    (selection,) = require(settings(environ, mode="live"), [capability]).values()
    assert [facts.vendor for facts in selection.vendors] == vendors


def test_everything_that_is_missing_of_three_capabilities_is_listed_at_once():
    text = refusal(TWILIO, ("email", "sms", "billing"), mode="live")

    missing = {line.split()[1] for line in text.splitlines() if " is missing" in line}
    assert {"SENDGRID_API_KEY", "SES_REGION", "STRIPE_SECRET_KEY"} <= missing
    assert not {name for name in missing if name.startswith(("TWILIO_", "SNS_"))}


@pytest.mark.parametrize("name", ["TWILIO_AUTH_TOKEN", "SNS_SECRET_ACCESS_KEY"])
def test_live_credentials_of_another_capability_do_not_ask_to_choose(name):
    assert chosen({name: "secret"}) == ["demo"]
    assert f"{name} is set, but PROVIDER_MODE is not" in refusal({name: "secret"}, ("sms",))


@pytest.mark.parametrize("vendor", ["TWILIO", "SNS", "STRIPE"])
def test_settings_of_every_vendor_are_known(vendor):
    environ = {
        f"PROVIDER_{vendor}_BASE_URL": "http://127.0.0.1:1",
        f"PROVIDER_BUDGET_{vendor}": "10/day",
        f"PROVIDER_RATE_{vendor}": "5/second",
        f"PROVIDER_POINTS_{vendor}": "50000/day",
    }
    assert chosen(environ) == ["demo"]


def test_a_vendor_named_twice_is_one():
    assert chosen({"PROVIDER_EMAIL": "sendgrid,sendgrid", **LIVE}) == ["sendgrid"]


def test_an_unknown_vendor_lists_the_valid_ones():
    text = refusal({"PROVIDER_EMAIL": "sendgird"})

    assert "PROVIDER_EMAIL: there is no vendor 'sendgird' for email; valid: demo, sendgrid" in text


def test_an_unknown_capability_lists_the_valid_ones():
    assert "there is no capability 'emial'; valid: sourcing" in refusal(capabilities=("emial",))
    with pytest.raises(ConfigurationError, match="valid: sourcing"):
        Providers(settings({"PROVIDER_CAPABILITIES": "emial"}))
    with pytest.raises(ConfigurationError, match="valid: sourcing"):
        Providers(settings()).capability("emial")


def test_vendors_given_for_a_capability_that_does_not_exist_are_refused():
    assert "there is no capability 'emial'" in refusal(vendors={"emial": "demo"})


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("PROVIDER_MOED", "did you mean PROVIDER_MODE or "),
        ("PROVIDER_EMAILS", "did you mean PROVIDER_EMAIL?"),
        ("PROVIDER_SENDGIRD_BASE_URL", "did you mean PROVIDER_SENDGRID_BASE_URL"),
        ("PROVIDER_MOED_FILE", "did you mean PROVIDER_MODE or "),
        ("PROVIDER_", "did you mean PROVIDER_"),
        ("PROVIDER_QUUX", "providers env lists them all"),
    ],
)
def test_a_misspelt_setting_is_refused_with_what_may_have_been_meant(name, hint):
    text = refusal({name: "x"})

    assert f"{name} is not a setting; {hint}" in text


def test_live_credentials_without_a_mode_ask_to_choose():
    text = refusal({"SENDGRID_API_KEY": "SG.key"})

    assert "SENDGRID_API_KEY is set, but PROVIDER_MODE is not: choose PROVIDER_MODE=live or demo" in text
    assert "SG.key" not in text


def test_a_sender_alone_is_no_credential():
    assert chosen({"EMAIL_FROM_ADDRESS": "shop@example.com"}) == ["demo"]


@pytest.mark.parametrize("mode", [{}, {"PROVIDER_MODE": "demo"}])
@pytest.mark.parametrize(
    "production", [{"ENV": "production"}, {"ENVIRONMENT": "prod"}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}]
)
def test_demo_in_production_needs_permission(mode, production):
    text = refusal({**mode, **production})

    assert "email would run on demo" in text
    assert "PROVIDER_ALLOW_DEMO=1" in text
    assert chosen({**mode, **production, "PROVIDER_ALLOW_DEMO": "1"}) == ["demo"]


def test_demo_by_name_needs_no_permission():
    assert chosen({"PROVIDER_EMAIL": "demo", "ENV": "production"}) == ["demo"]
    assert chosen({"PROVIDER_EMAIL": "demo", "PROVIDER_MODE": "live", **LIVE}) == ["demo"]


def test_demo_is_not_mixed_with_live_vendors():
    text = refusal({"PROVIDER_EMAIL": "sendgrid,demo", **LIVE})

    assert "demo cannot be mixed with live vendors" in text


def test_a_tenant_cannot_mix_demo_with_live_vendors_either():
    p = Providers(settings(LIVE, mode="live"))
    with pytest.raises(ConfigurationError, match="demo cannot be mixed"):
        p.scoped("m-1", vendors={"email": "demo,sendgrid"})


def test_only_capabilities_in_use_are_checked():
    Providers(settings(mode="live"))
    Providers(settings(mode="live"), capabilities=())
    with pytest.raises(ConfigurationError, match="SENDGRID_API_KEY"):
        Providers(settings(mode="live"), capabilities=("email",))
    with pytest.raises(ConfigurationError, match="SENDGRID_API_KEY"):
        Providers(settings({"PROVIDER_CAPABILITIES": "email"}, mode="live"))


def test_what_was_not_checked_at_start_is_checked_at_first_touch():
    p = Providers(settings(mode="live"))
    with pytest.raises(ConfigurationError, match="SENDGRID_API_KEY"):
        _ = p.email


def test_selecting_says_what_is_missing_without_raising():
    selection = select(settings(mode="live"), "email")

    missing = {facts.vendor: [variable.name for variable in gaps] for facts, gaps in selection.missing}
    assert missing == {
        "sendgrid": ["SENDGRID_API_KEY", "SENDGRID_FROM_EMAIL"],
        "ses": ["SES_ACCESS_KEY_ID", "SES_SECRET_ACCESS_KEY", "SES_REGION", "SES_FROM_EMAIL"],
    }
    assert not selection.live


NAMES = [
    "PROVIDER_EMAIL",
    "PROVIDER_ALLOW_DEMO",
    "PROVIDER_CAPABILITIES",
    "PROVIDER_SENDGRID_BASE_URL",
    "ENV",
    "ENVIRONMENT",
    "KUBERNETES_SERVICE_HOST",
    *LIVE,
    "EMAIL_FROM_ADDRESS",
    "SENDGRID_SUBUSER",
]
VALUES = st.sampled_from(
    ["", "1", "0", "production", "sendgrid", "ses", "email", "a@example.com", "http://localhost:1"]
)


@given(st.dictionaries(st.sampled_from(NAMES), VALUES))
def test_in_live_mode_no_environment_falls_to_demo_in_silence(environ):
    try:
        selection = require(settings({**environ, "PROVIDER_MODE": "live"}), ["email"])["email"]
    except ConfigurationError:
        return
    assert selection.vendors
    assert not any(facts.demo for facts in selection.vendors)
    assert not selection.missing


@given(st.dictionaries(st.sampled_from([*NAMES, "PROVIDER_MODE"]), VALUES))
def test_any_environment_selects_or_explains(environ):
    try:
        selection = require(settings(environ), ["email"])["email"]
    except ConfigurationError as error:
        assert str(error)  # noqa: PT017 (one of two good answers)
        return
    assert selection.vendors
    read = settings(environ)
    if read.production and read.text("PROVIDER_ALLOW_DEMO") != "1" and not selection.live:
        assert settings(environ).vendors("email") == ("demo",)
