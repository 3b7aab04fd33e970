"""Receiving webhooks: the one configured adapter that knows the request verifies it, then parses it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from providers.core.errors import WebhookVerificationError
from providers.core.pipeline import Adapter

if TYPE_CHECKING:
    from providers.core.models import RawRequest, WebhookResult
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


def receiver(route: Route[A], request: RawRequest, vendor: str | None) -> A:
    """The adapter this webhook is for. Raises `WebhookVerificationError` unless exactly one recognises it."""
    targets = route.targets if vendor is None else (route.target(vendor),)
    adapters = [target.ready_now() for target in targets]
    receivers = [adapter for adapter in adapters if adapter.recognises(request)]
    if len(receivers) == 1:
        return receivers[0]
    who = "more than one" if receivers else "none"
    names = ", ".join(target.facts.vendor for target in targets)
    msg = f"{who} of the vendors in use ({names}) recognises this webhook"
    raise WebhookVerificationError(msg)
