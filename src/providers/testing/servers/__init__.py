"""Local vendor servers for tests and demos. Each proves our reading of the vendor's documents, not the vendor.

``SERVERS`` maps a vendor to ``"module:Class"``; ``load_server`` imports the class.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from providers.testing.servers._base import LocalServer as LocalServer
    from providers.testing.servers._fault import Fault as Fault
    from providers.testing.servers._host import RecordedRequest as RecordedRequest
    from providers.testing.servers.aliexpress import AliExpressServer as AliExpressServer
    from providers.testing.servers.anthropic import AnthropicServer as AnthropicServer
    from providers.testing.servers.cjdropshipping import CjServer as CjServer
    from providers.testing.servers.faults import FaultServer as FaultServer
    from providers.testing.servers.gateway import GatewayServer as GatewayServer
    from providers.testing.servers.sendgrid import SendGridServer as SendGridServer
    from providers.testing.servers.ses import SesServer as SesServer
    from providers.testing.servers.sns import SnsServer as SnsServer
    from providers.testing.servers.stripe import StripeServer as StripeServer
    from providers.testing.servers.twilio import TwilioServer as TwilioServer

__all__ = [
    "SERVERS",
    "AliExpressServer",
    "AnthropicServer",
    "CjServer",
    "Fault",
    "FaultServer",
    "GatewayServer",
    "LocalServer",
    "RecordedRequest",
    "SendGridServer",
    "SesServer",
    "SnsServer",
    "StripeServer",
    "TwilioServer",
    "load_server",
]

SERVERS: dict[str, str] = {
    "sendgrid": "providers.testing.servers.sendgrid:SendGridServer",
    "ses": "providers.testing.servers.ses:SesServer",
    "twilio": "providers.testing.servers.twilio:TwilioServer",
    "sns": "providers.testing.servers.sns:SnsServer",
    "stripe": "providers.testing.servers.stripe:StripeServer",
    "anthropic": "providers.testing.servers.anthropic:AnthropicServer",
    "gateway": "providers.testing.servers.gateway:GatewayServer",
    "aliexpress": "providers.testing.servers.aliexpress:AliExpressServer",
    "cjdropshipping": "providers.testing.servers.cjdropshipping:CjServer",
}

_LAZY = {
    "AliExpressServer": "providers.testing.servers.aliexpress",
    "AnthropicServer": "providers.testing.servers.anthropic",
    "CjServer": "providers.testing.servers.cjdropshipping",
    "Fault": "providers.testing.servers._fault",
    "FaultServer": "providers.testing.servers.faults",
    "GatewayServer": "providers.testing.servers.gateway",
    "LocalServer": "providers.testing.servers._base",
    "RecordedRequest": "providers.testing.servers._host",
    "SendGridServer": "providers.testing.servers.sendgrid",
    "SesServer": "providers.testing.servers.ses",
    "SnsServer": "providers.testing.servers.sns",
    "StripeServer": "providers.testing.servers.stripe",
    "TwilioServer": "providers.testing.servers.twilio",
}


def load_server(vendor: str) -> type[LocalServer]:
    """The server class of a vendor; ``KeyError`` when there is none."""
    module, _, name = SERVERS[vendor].partition(":")
    found: type[LocalServer] = getattr(import_module(module), name)
    return found


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
