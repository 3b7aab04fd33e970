"""Receiving webhooks: the one configured adapter that knows the request verifies it, then parses it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from providers.core.errors import ProviderError, WebhookVerificationError
from providers.core.pipeline import Adapter, sign

if TYPE_CHECKING:
    from providers.core.models import RawRequest, WebhookResult
    from providers.core.pipeline import Target
    from providers.core.route import Route

E = TypeVar("E")


class ReceivingAdapter(Adapter, Protocol[E]):
    """An adapter that receives webhooks with events of type `E`."""

    def recognises(self, request: RawRequest) -> bool:
        """Whether the request has this vendor's form; says nothing about its signature."""
        ...

    async def webhook(self, request: RawRequest) -> WebhookResult[E]:
        """Verify on the raw bytes, then parse. Raises `WebhookVerificationError` before anything is parsed."""
        ...


A = TypeVar("A", bound="ReceivingAdapter[Any]")


async def receive(route: Route[A], request: RawRequest, vendor: str | None, *, operation: str) -> WebhookResult[Any]:
    """What the adapter this webhook is for makes of it.

    Raises `WebhookVerificationError` unless exactly one recognises it. No pipeline stands around this: errors that
    leave are named and cleaned here.
    """
    target = _receiver(route, request, vendor)
    adapter = target.ready_now()
    try:
        return await adapter.webhook(request)
    except ProviderError as error:
        sign(error, target, operation)
        raise
    except Exception as error:
        named = adapter.translate(error)
        if named is None:
            raise
        sign(named, target, operation)
        raise named from error


def _receiver(route: Route[A], request: RawRequest, vendor: str | None) -> Target[A]:
    targets = route.targets if vendor is None else (route.target(vendor),)
    receivers = [target for target in targets if target.ready_now().recognises(request)]
    if len(receivers) == 1:
        return receivers[0]
    who = "more than one" if receivers else "none"
    names = ", ".join(target.facts.vendor for target in targets)
    msg = f"{who} of the vendors in use ({names}) recognises this webhook"
    raise WebhookVerificationError(msg)
