"""Vendors that other packages bring, by entry point."""

import asyncio
import importlib
import sys
import textwrap

import pytest

from providers import Providers, Settings, catalog
from providers.email import DemoEmail, SendGridEmail
from providers.errors import ConfigurationError

MODULE = """
    from providers.core.operation import Variable, VendorFacts
    from providers.email import MessageRef

    class PostmarkEmail:
        facts = VendorFacts(
            vendor="{vendor}", capability="{capability}", title="Postmark", adapter="made_up_postmark:PostmarkEmail",
            extra="postmark",
            variables=(Variable(name="POSTMARK_TOKEN", purpose="server token", where="postmark", secret=True),),
            limits=dict(recipients=50, batch=500, message_bytes=10**7, tags=1, schedule_seconds=0),
        )

        def __init__(self, account):
            self.token = account.get("POSTMARK_TOKEN")

        def translate(self, error):
            return None

        async def send(self, message, tracking_id):
            return MessageRef(vendor="postmark", id=self.token)

        async def aclose(self):
            pass
"""
ENVIRON = {"PROVIDER_EMAIL": "postmark", "POSTMARK_TOKEN": "token-1"}


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a distribution with these entry points, as pip would."""

    def install(*entries, vendor="postmark", capability="email"):
        (tmp_path / "made_up_postmark.py").write_text(
            textwrap.dedent(MODULE.replace("{vendor}", vendor).replace("{capability}", capability)), encoding="utf-8"
        )
        info = tmp_path / "made_up_postmark-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: made-up-postmark\nVersion: 1.0\n", "utf-8")
        lines = "".join(f"{entry} = made_up_postmark:PostmarkEmail\n" for entry in entries)
        (info / "entry_points.txt").write_text(f"[providers.adapters]\n{lines}", encoding="utf-8")
        monkeypatch.syspath_prepend(str(tmp_path))
        importlib.invalidate_caches()
        catalog._plugins.cache_clear()

    yield install
    catalog._plugins.cache_clear()
    sys.modules.pop("made_up_postmark", None)


def providers(environ):
    return Providers(Settings(environ=environ, env_file=None), capabilities=("email",))


def test_an_installed_vendor_is_used_by_its_name(installed, mail):
    installed("email.postmark")

    async def scenario():
        async with providers(ENVIRON) as p:
            return str(await p.email.send(mail()))

    assert asyncio.run(scenario()) == "postmark:token-1"


def test_its_missing_credentials_are_listed_like_ours(installed):
    installed("email.postmark")
    with pytest.raises(ConfigurationError, match="POSTMARK_TOKEN is missing for email through Postmark"):
        providers({"PROVIDER_EMAIL": "postmark"})


def test_its_settings_are_known(installed):
    installed("email.postmark")
    p = providers({**ENVIRON, "PROVIDER_POSTMARK_BASE_URL": "http://localhost:1", "PROVIDER_BUDGET_POSTMARK": "1/day"})

    assert p.email.vendors == ("postmark",)


def test_it_is_never_chosen_unless_it_is_named(installed):
    installed("email.postmark")
    with pytest.raises(ConfigurationError, match="SENDGRID_API_KEY"):
        providers({"PROVIDER_MODE": "live", "POSTMARK_TOKEN": "token-1"})


def test_an_unknown_vendor_is_answered_with_the_installed_ones_too(installed):
    installed("email.postmark")
    with pytest.raises(ConfigurationError, match="valid: demo, sendgrid, ses, postmark"):
        providers({"PROVIDER_EMAIL": "postmrak"})


@pytest.mark.parametrize("name", ["demo", "sendgrid"])
def test_a_vendor_of_ours_cannot_be_replaced(installed, name):
    installed(f"email.{name}", vendor=name)
    credentials = {"SENDGRID_API_KEY": "SG.k", "SENDGRID_FROM_EMAIL": "a@example.com"}
    email = providers({"PROVIDER_EMAIL": name, **credentials}).email

    assert type(email.unwrap(object)) is {"demo": DemoEmail, "sendgrid": SendGridEmail}[name]


@pytest.mark.parametrize(("vendor", "capability"), [("sendgrid", "email"), ("demo", "email"), ("postmark", "sms")])
def test_a_plugin_cannot_pass_for_another_vendor(installed, vendor, capability):
    installed("email.postmark", vendor=vendor, capability=capability)
    with pytest.raises(ConfigurationError, match=f"the plugin email.postmark has the facts of {capability}.{vendor}"):
        providers(ENVIRON)


@pytest.mark.parametrize("allowed", ["email.postmark", "email.other, email.postmark", ""])
def test_a_list_of_allowed_plugins_lets_through_what_it_names(installed, allowed):
    installed("email.postmark")

    assert providers({**ENVIRON, "PROVIDER_PLUGINS": allowed}).email.vendors == ("postmark",)


def test_a_list_of_allowed_plugins_keeps_the_others_out(installed):
    installed("email.postmark")
    with pytest.raises(ConfigurationError, match=r"no vendor 'postmark' for email; valid: demo, sendgrid, ses$"):
        providers({**ENVIRON, "PROVIDER_PLUGINS": "email.other"})


def test_entry_points_are_looked_up_only_for_names_that_are_not_ours(monkeypatch):
    def refuse():
        pytest.fail("entry points were read")

    monkeypatch.setattr(catalog, "_plugins", refuse)
    assert providers({"PROVIDER_EMAIL": "demo"}).email.vendors == ("demo",)
    assert providers({}).email.vendors == ("demo",)
