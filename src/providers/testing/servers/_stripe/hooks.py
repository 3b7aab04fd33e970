"""Webhook endpoints, and the deliveries of events to them: signed, in the background, never retried by themselves.

An endpoint that does not answer 2xx keeps its events until the next ``flush``.
"""

from __future__ import annotations

import hashlib
import hmac
import random
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from providers.testing.servers._deliveries import Deliveries
from providers.testing.servers._stripe.books import API_VERSION, Books, Event
from providers.testing.servers._stripe.call import Call, Obj, Route, invalid, refused
from providers.testing.servers._stripe.lists import page
from providers.testing.servers._stripe.shapes import Shape, listing, merged, shape

_CREATE: Final = shape("api_version connect:b description? enabled_events![] metadata:m url!")
_UPDATE: Final = shape("description? disabled:b enabled_events[] metadata:m url")
SHAPES: Final[dict[str, Shape]] = {"WebhookEndpointCreateParams": _CREATE, "WebhookEndpointUpdateParams": _UPDATE}
MOST: Final = 16
LONGEST_URL: Final = 500


def signature(secrets_: Iterable[str], moment: int, body: bytes) -> str:
    """``Stripe-Signature``: one ``v1`` a secret."""
    signed = f"{moment}.".encode() + body
    marks = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets_]
    return ",".join([f"t={moment}", *(f"v1={mark}" for mark in marks)])


@dataclass(slots=True, eq=False)
class Hook:
    """Where events go; ``stalled`` after a failed delivery."""

    url: str
    secrets: list[str]
    shown: Obj | None = None
    account: str | None = None
    connect: bool = False
    stalled: bool = False
    queue: deque[Event] = field(default_factory=deque[Event])

    @property
    def api_version(self) -> str:
        """The version it gets events in."""
        return str((self.shown or {}).get("api_version") or API_VERSION)

    def wants(self, event: Event) -> bool:
        """Whether it is on and asks for this event. The server's own hook takes all."""
        if self.shown is None:
            return True
        concerned = event.account is not None if self.connect else event.account == self.account
        if self.shown["status"] != "enabled" or not concerned:
            return False
        asked = self.shown["enabled_events"]
        return event.type in asked or "*" in asked


class Webhooks(Deliveries):
    """All endpoints and what waits for them."""

    def __init__(self, clock: Callable[[], float], *, shuffle: bool = False, duplicate: bool = False) -> None:
        super().__init__()
        self._clock, self._shuffle, self._duplicate = clock, shuffle, duplicate
        self._random = random.Random(0)  # noqa: S311 - the same order every time
        self.hooks: dict[str, Hook] = {}

    def offer(self, event: Event) -> bool:
        """Queue an event where it is wanted; whether anything is now to be sent."""
        waiting = False
        for hook in self.hooks.values():
            if hook.wants(event):
                hook.queue.extend([event, event] if self._duplicate else [event])
                waiting = waiting or not hook.stalled
        return waiting

    def pending(self) -> int:
        """Events that wait for delivery."""
        return sum(len(hook.queue) for hook in tuple(self.hooks.values()))

    async def flush(self, *, stalled: bool) -> int:
        """Send what waits; how many events were taken."""
        taken = 0
        for hook in tuple(self.hooks.values()):
            if stalled or not hook.stalled:
                taken += await self._flush(hook)
        return taken

    async def _flush(self, hook: Hook) -> int:
        taken = 0
        while hook.queue:
            if self._shuffle:
                hook.queue.rotate(self._random.randrange(len(hook.queue)))
            event = hook.queue[0]
            hook.stalled = not await self._post(hook, event)
            if hook.stalled:
                break
            hook.queue.remove(event)
            taken += 1
        return taken

    async def _post(self, hook: Hook, event: Event) -> bool:
        body = event.text(api_version=hook.api_version, pending=1).encode()
        headers: Mapping[str, str] = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            "Stripe-Signature": signature(hook.secrets, int(self._clock()), body),
        }
        return HTTPStatus.OK <= await self.post(hook.url, body, headers) < HTTPStatus.MULTIPLE_CHOICES

    def routes(self) -> Iterable[Route]:
        """Endpoints."""
        base = "/v1/webhook_endpoints"
        yield Route("POST", base, _CREATE, self._create)
        yield Route("GET", base, listing(), lambda books, call: page(call, books.newest("webhook_endpoint")))
        yield Route("GET", base + "/{id}", shape(""), lambda books, call: books.get("webhook_endpoint", call.id))
        yield Route("POST", base + "/{id}", _UPDATE, self._update)
        yield Route("DELETE", base + "/{id}", shape(""), self._delete)

    def _create(self, books: Books, call: Call) -> Obj:
        given = call.given
        _check(books, given)
        if len(books.tables["webhook_endpoint"]) >= MOST:
            message = f"You have reached the maximum of {MOST} test webhook endpoints."
            raise refused(message)
        one: Obj = {
            "id": books.new_id("we"),
            "object": "webhook_endpoint",
            "api_version": given.get("api_version"),
            "application": None,
            "created": books.now,
            "description": given.get("description") or None,
            "enabled_events": given["enabled_events"],
            "livemode": books.livemode,
            "metadata": merged({}, given.get("metadata")),
            "status": "enabled",
            "url": given["url"],
        }
        secret = f"whsec_{secrets.token_hex(16)}"
        books.add(one)
        connect = given.get("connect", False)
        self.hooks[one["id"]] = Hook(one["url"], [secret], one, books.account, connect)
        return {**one, "secret": secret}

    def _update(self, books: Books, call: Call) -> Obj:
        one, given = books.get("webhook_endpoint", call.id), call.given
        _check(books, given)
        for name in ("url", "enabled_events"):
            if name in given:
                one[name] = given[name]
        if "description" in given:
            one["description"] = given["description"] or None
        if "disabled" in given:
            one["status"] = "disabled" if given["disabled"] else "enabled"
        one["metadata"] = merged(one["metadata"], given.get("metadata"))
        self.hooks[one["id"]].url = one["url"]
        return one

    def _delete(self, books: Books, call: Call) -> Obj:
        books.get("webhook_endpoint", call.id)
        del books.tables["webhook_endpoint"][call.id]
        self.hooks.pop(call.id, None)
        return {"id": call.id, "object": "webhook_endpoint", "deleted": True}


def _check(books: Books, given: Obj) -> None:
    url = given.get("url")
    if url is not None and (not url.startswith(("http://", "https://")) or len(url) > LONGEST_URL):
        raise invalid("Invalid URL: An explicit scheme (such as https) must be provided.", "url", "url_invalid")
    if url is not None and books.livemode and not url.startswith("https://"):
        raise invalid("Invalid URL: live endpoints need https.", "url", "url_invalid")
    events = given.get("enabled_events")
    if events is not None and not events:
        raise invalid("You must specify at least one event.", "enabled_events", "parameter_invalid_empty")
    for index, name in enumerate(events or ()):
        if name != "*" and "." not in name:
            raise invalid(f"Invalid enabled_events[{index}]: {name}", f"enabled_events[{index}]")
