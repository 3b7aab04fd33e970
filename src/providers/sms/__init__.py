"""SMS: texts, opt-outs and what became of them. Vendors: demo, twilio, sns."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from providers.core.sending import SendState
    from providers.sms.api import Sms, SmsAdapter
    from providers.sms.demo import DemoSms
    from providers.sms.events import SmsEvent, SmsEventType
    from providers.sms.models import (
        OptOut,
        OptOutSource,
        SendOutcome,
        SentSms,
        SmsKind,
        SmsMessage,
        SmsState,
        SmsStatus,
    )
    from providers.sms.segments import Encoding, Segments
    from providers.sms.sns import SnsSms
    from providers.sms.sns_logs import parse_delivery_log
    from providers.sms.twilio import TwilioSms

__all__ = [
    "DemoSms",
    "Encoding",
    "OptOut",
    "OptOutSource",
    "Segments",
    "SendOutcome",
    "SendState",
    "SentSms",
    "Sms",
    "SmsAdapter",
    "SmsEvent",
    "SmsEventType",
    "SmsKind",
    "SmsMessage",
    "SmsState",
    "SmsStatus",
    "SnsSms",
    "TwilioSms",
    "parse_delivery_log",
]

_HOMES = {
    "DemoSms": "sms.demo",
    "Encoding": "sms.segments",
    "Segments": "sms.segments",
    "SendState": "core.sending",
    "Sms": "sms.api",
    "SmsAdapter": "sms.api",
    "SmsEvent": "sms.events",
    "SmsEventType": "sms.events",
    "SnsSms": "sms.sns",
    "TwilioSms": "sms.twilio",
    "parse_delivery_log": "sms.sns_logs",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"providers.{_HOMES.get(name, 'sms.models')}"), name)
