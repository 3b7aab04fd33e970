"""One test class per capability that every adapter passes unchanged: demo, live, and those of other packages.

Subclass it in a test module and say, in one fixture, how the adapter is opened:

    class TestPostmark(EmailConformance):
        @pytest.fixture
        def harness(self):
            with PostmarkServer() as server:
                yield EmailHarness(open=lambda **parts: Providers(settings(server), **parts))

What the adapter's facts declare as unsupported is asserted to raise `UnsupportedOperationError`. A promise that the
harness gives no means to test shows as a skip that says what is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from providers.testing.conformance.billing import BillingConformance as BillingConformance
    from providers.testing.conformance.billing import BillingHarness as BillingHarness
    from providers.testing.conformance.email import EmailConformance as EmailConformance
    from providers.testing.conformance.email import EmailHarness as EmailHarness
    from providers.testing.conformance.email import SentMail as SentMail
    from providers.testing.conformance.llm import LlmConformance as LlmConformance
    from providers.testing.conformance.llm import LlmHarness as LlmHarness
    from providers.testing.conformance.sms import SentText as SentText
    from providers.testing.conformance.sms import SmsConformance as SmsConformance
    from providers.testing.conformance.sms import SmsHarness as SmsHarness
    from providers.testing.conformance.sourcing import SourcingConformance as SourcingConformance
    from providers.testing.conformance.sourcing import SourcingHarness as SourcingHarness

__all__ = [
    "BillingConformance",
    "BillingHarness",
    "EmailConformance",
    "EmailHarness",
    "LlmConformance",
    "LlmHarness",
    "SentMail",
    "SentText",
    "SmsConformance",
    "SmsHarness",
    "SourcingConformance",
    "SourcingHarness",
]

_HOMES = {
    "BillingConformance": "billing",
    "BillingHarness": "billing",
    "EmailConformance": "email",
    "EmailHarness": "email",
    "LlmConformance": "llm",
    "LlmHarness": "llm",
    "SentMail": "email",
    "SentText": "sms",
    "SmsConformance": "sms",
    "SmsHarness": "sms",
    "SourcingConformance": "sourcing",
    "SourcingHarness": "sourcing",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
