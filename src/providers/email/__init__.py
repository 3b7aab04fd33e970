"""E-mail: transactional and campaigns. Vendors: demo, sendgrid, ses."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from providers.core.sending import SendState
    from providers.email.api import Email, EmailAdapter
    from providers.email.demo import DemoEmail
    from providers.email.events import EmailEvent, EmailEventType
    from providers.email.journal import CampaignStatus, UnknownMail
    from providers.email.models import (
        Attachment,
        DnsRecord,
        EmailMessage,
        MessageRef,
        MessageStatus,
        Recipient,
        SendingDomain,
        SendOutcome,
        Suppression,
        SuppressionReason,
    )
    from providers.email.sendgrid import SendGridEmail
    from providers.email.ses import SesEmail

__all__ = [
    "Attachment",
    "CampaignStatus",
    "DemoEmail",
    "DnsRecord",
    "Email",
    "EmailAdapter",
    "EmailEvent",
    "EmailEventType",
    "EmailMessage",
    "MessageRef",
    "MessageStatus",
    "Recipient",
    "SendGridEmail",
    "SendOutcome",
    "SendState",
    "SendingDomain",
    "SesEmail",
    "Suppression",
    "SuppressionReason",
    "UnknownMail",
]

_HOMES = {
    "Email": "api",
    "EmailAdapter": "api",
    "CampaignStatus": "journal",
    "UnknownMail": "journal",
    "DemoEmail": "demo",
    "EmailEvent": "events",
    "EmailEventType": "events",
    "SendGridEmail": "sendgrid",
    "SesEmail": "ses",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    if name == "SendState":
        from providers.core.sending import SendState

        return SendState
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'models')}"), name)
