"""What an import costs, asked of fresh interpreters: mostly by what is loaded, which does not depend on the load."""

import importlib
import json
import statistics
import subprocess
import sys

import pytest

HTTP = {"aiohttp", "httpx", "httpx2", "requests", "urllib3", "http.client", "httpcore"}
VENDORS = {"sendgrid", "stripe", "twilio", "boto3", "botocore", "anthropic", "openai", "praw", "apify_client", "vcr"}
HEAVY = {"cryptography", "opentelemetry", "pytest", "tenacity", "sqlite3", "dotenv", "yarl", "multidict"}

SETTINGS = "Settings(mode='demo', environ={}, env_file=None)"
DEMO_MAIL = f"""
import asyncio
from providers import Providers, Settings
from providers.email import EmailMessage

async def main():
    async with Providers({SETTINGS}) as p:
        await p.email.send(EmailMessage(to=("a@example.com",), subject="Hi", text="Hello"))

asyncio.run(main())
"""


DEMO_TEXT = f"""
import asyncio
from providers import Providers, Settings
from providers.sms import SmsMessage

async def main():
    async with Providers({SETTINGS}) as p:
        await p.sms.send(SmsMessage(to="+15551230001", body="Hi"))

asyncio.run(main())
"""
DEMO_CHECKOUT = f"""
import asyncio
from decimal import Decimal
from providers import Money, Providers, Settings
from providers.billing import CheckoutLine

async def main():
    async with Providers({SETTINGS}) as p:
        mug = CheckoutLine(title="Mug", unit_price=Money(amount=Decimal(9), currency="USD"))
        urls = {{"success_url": "https://shop.example.com/a", "cancel_url": "https://shop.example.com/b"}}
        await p.billing.payment_checkout([mug], **urls)

asyncio.run(main())
"""
DEMO_WORDS = f"""
import asyncio
from providers import Providers, Settings
from providers.llm import Message

async def main():
    async with Providers({SETTINGS}) as p:
        await p.llm.complete(Message.user("Hi"))
        [event async for event in p.llm.stream("Hi")]
        await p.llm.complete_json("Hi", list[str])

asyncio.run(main())
"""


def fresh(code: str) -> tuple[set[str], float]:
    """The modules that `code` loads in a new interpreter, and the CPU seconds it takes."""
    program = f"""
import sys, time
from_start = set(sys.modules)
begun = time.process_time()
{code}
took = time.process_time() - begun
loaded = sorted(set(sys.modules) - from_start)
import json
print(json.dumps([loaded, took]))
"""
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    loaded, took = json.loads(done.stdout)
    return set(loaded), took


def test_importing_the_package_loads_nothing_else() -> None:
    loaded, _ = fresh("import providers")

    assert loaded <= {"providers", "__future__"}


def test_importing_the_package_takes_at_most_ten_milliseconds() -> None:
    # It takes half a millisecond. The bar is for a machine that does other things too: the median of five tries.
    assert statistics.median(fresh("import providers")[1] for _ in range(5)) <= 0.010


def test_opening_loads_no_http_no_vendor_and_nothing_heavy() -> None:
    capabilities = "('email', 'sms', 'billing', 'llm', 'sourcing')"
    loaded, _ = fresh(f"from providers import Providers, Settings\nProviders({SETTINGS}, capabilities={capabilities})")

    assert "providers.runtime" in loaded
    assert not loaded & (HTTP | VENDORS | HEAVY)


def test_naming_what_one_needs_to_open_loads_no_event_loop() -> None:
    loaded, _ = fresh("from providers import Providers, Settings")

    assert not loaded & {"asyncio", "ssl", "dotenv"}
    assert not loaded & (HTTP | VENDORS | HEAVY)


DEMO_SEARCH = f"""
import asyncio
from providers import Providers, Settings

async def main():
    async with Providers({SETTINGS}) as p:
        await p.sourcing.search("yoga mat", country="US")

asyncio.run(main())
"""

DEMO = {
    "email": DEMO_MAIL,
    "sms": DEMO_TEXT,
    "billing": DEMO_CHECKOUT,
    "llm": DEMO_WORDS,
    "sourcing": DEMO_SEARCH,
}


@pytest.mark.parametrize("capability", DEMO)
def test_demo_loads_no_http_library_no_vendor_no_other_capability_and_nothing_heavy(capability: str) -> None:
    loaded, _ = fresh(DEMO[capability])

    assert f"providers.{capability}.demo" in loaded
    assert not loaded & (HTTP | VENDORS | HEAVY)
    others = tuple(f"providers.{name}.api" for name in DEMO if name != capability)
    assert not {name for name in loaded if name.startswith(("providers.testing", "providers.vendors", *others))}
    live = ("email.sendgrid", "sms.twilio", "sms.sns", "billing.stripe", "llm.gateway", "llm.anthropic")
    live += ("sourcing.aliexpress", "sourcing.cjdropshipping")
    assert not {f"providers.{path}" for path in live} & loaded


def test_listing_capabilities_and_vendors_loads_no_adapter() -> None:
    code = f"""
from providers import Settings, catalog
from providers.selection import select
for name in catalog.CAPABILITIES:
    catalog.built_in(name)
    select({SETTINGS}, name)
"""
    loaded, _ = fresh(code)

    assert not loaded & (HTTP | VENDORS | HEAVY | {"asyncio"})
    assert not {name for name in loaded if name.endswith((".demo", ".sendgrid", ".twilio", ".stripe", ".sns", ".api"))}
    assert not {name for name in loaded if name.endswith((".gateway", ".anthropic", ".aliexpress", ".cjdropshipping"))}


LIVE = {
    # The vendor's credentials, its adapter, and what that may load of vendors' libraries.
    "sendgrid": ("email", "SendGridEmail", {"SENDGRID_API_KEY": "SG.k", "SENDGRID_FROM_EMAIL": "a@example.com"}, set()),
    "twilio": (
        "sms",
        "TwilioSms",
        {"TWILIO_ACCOUNT_SID": "AC" + "0" * 32, "TWILIO_AUTH_TOKEN": "t", "TWILIO_PHONE_NUMBER": "+15005550006"},
        set(),
    ),
    "sns": (
        "sms",
        "SnsSms",
        {"SNS_ACCESS_KEY_ID": "AKIA", "SNS_SECRET_ACCESS_KEY": "s", "SNS_REGION": "eu-central-1"},
        {"boto3", "botocore"},
    ),
    "stripe": ("billing", "StripeBilling", {"STRIPE_SECRET_KEY": "sk_test_k"}, {"stripe"}),
    "gateway": ("llm", "GatewayLlm", {"LLM_GATEWAY_SERVICE_KEY": "k"}, set()),
    "aliexpress": (
        "sourcing",
        "AliExpressSourcing",
        {"ALIEXPRESS_APP_KEY": "1", "ALIEXPRESS_APP_SECRET": "s", "ALIEXPRESS_ACCESS_TOKEN": "t"},
        set(),
    ),
    "cjdropshipping": ("sourcing", "CjSourcing", {"CJDROPSHIP_API_KEY": "CJ1@api@k"}, set()),
    "anthropic": ("llm", "AnthropicLlm", {"ANTHROPIC_API_KEY": "sk-ant-k", "PROVIDER_LLM": "anthropic"}, {"anthropic"}),
}


@pytest.mark.parametrize("vendor", LIVE)
def test_a_live_vendor_loads_no_other_vendors_library(vendor: str) -> None:
    capability, adapter, environ, own = LIVE[vendor]
    code = f"""
from providers import Providers, Settings
p = Providers(Settings(mode="live", environ={environ!r}, env_file=None))
assert p.{capability}.vendors == ({vendor!r},)
from providers.{capability} import {adapter}
p.{capability}.unwrap({adapter})
"""
    loaded, _ = fresh(code)

    assert loaded & VENDORS <= own
    # Vendors' libraries bring the HTTP library of their choice; Stripe's loads every one that is installed.
    assert own or not {name for name in loaded if name.split(".")[0] in {"httpx", "requests", "urllib3"}}


PACKAGES = [
    "providers",
    "providers.errors",
    "providers.email",
    "providers.sms",
    "providers.billing",
    "providers.llm",
    "providers.sourcing",
    "providers.testing",
    "providers.testing.servers",
]


@pytest.mark.parametrize("name", PACKAGES)
def test_every_public_name_resolves(name: str) -> None:
    package = importlib.import_module(name)
    names = getattr(package, "__all__", [])

    assert len(set(names)) == len(names)
    for public in names:
        assert getattr(package, public) is not None


LAZY = ["providers", *(f"providers.{capability}" for capability in DEMO)]


@pytest.mark.parametrize("name", LAZY)
def test_lazy_packages_are_honest_about_names_that_do_not_exist(name: str) -> None:
    package = importlib.import_module(name)

    with pytest.raises(AttributeError, match="nonsense"):
        _ = package.nonsense
    assert not hasattr(package, "import_string")


def test_a_star_import_gives_all_public_names() -> None:
    names = {"email": "EmailMessage", "sms": "SmsMessage", "billing": "CheckoutLine", "llm": "Message"}
    names["sourcing"] = "Product"
    stars = "\n".join(f"from providers.{capability} import *" for capability in names)
    loaded, _ = fresh(f"from providers import *\n{stars}\nProviders, errors, {', '.join(names.values())}")

    assert {f"providers.{capability}.models" for capability in names} <= loaded
