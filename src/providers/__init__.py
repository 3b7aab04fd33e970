"""One typed way for every service to the outside world: demo and live behind the same interface."""

from __future__ import annotations

# Importing `typing` for its constant would cost more than all the rest of this package's start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from providers import errors, sync
    from providers.core.models import (
        CheckResult,
        CheckState,
        CredentialSource,
        Money,
        Page,
        Quota,
        RawRequest,
        Ref,
        WebhookEndpoint,
        WebhookReply,
        WebhookResult,
    )
    from providers.core.writes import Resolution, UnknownWrite
    from providers.runtime import Providers, Scope, aclose, current, reset, use
    from providers.settings import Mode, Settings

__version__ = "0.1.0"

__all__ = [
    "CheckResult",
    "CheckState",
    "CredentialSource",
    "Mode",
    "Money",
    "Page",
    "Providers",
    "Quota",
    "RawRequest",
    "Ref",
    "Resolution",
    "Scope",
    "Settings",
    "UnknownWrite",
    "WebhookEndpoint",
    "WebhookReply",
    "WebhookResult",
    "__version__",
    "aclose",
    "current",
    "errors",
    "reset",
    "sync",
    "use",
]

_HOMES = {
    "Providers": "runtime",
    "Scope": "runtime",
    "aclose": "runtime",
    "current": "runtime",
    "reset": "runtime",
    "use": "runtime",
    "Resolution": "core.writes",
    "UnknownWrite": "core.writes",
    "Mode": "settings",
    "Settings": "settings",
}


def __getattr__(name: str) -> object:
    # Importing the package is free; what is used is loaded when it is used.
    from importlib import import_module

    if name in {"errors", "sync"}:
        return import_module(f"{__name__}.{name}")
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'core.models')}"), name)
