"""Event webhooks of the local SendGrid: settings (Webhooks OpenAPI document) and signed deliveries.

A hook that does not answer 2xx keeps its events until the next ``deliver``; nothing sleeps or retries by itself.
"""

from __future__ import annotations

import json
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import urlsplit

from aiohttp import web

from providers.testing.servers._deliveries import Deliveries
from providers.testing.servers._host import JsonObject
from providers.testing.servers._sendgrid.call import Call, RefusalError, Route, done, refused, reply
from providers.testing.servers._sendgrid.events import DEFAULTS, FLAGS, Event, Signer, encode

MAX_HOOKS = 5
BATCH_BYTES = 768_000


@dataclass(slots=True, eq=False)
class Hook:
    """One webhook; ``stalled`` after a failed delivery."""

    id: str
    settings: JsonObject
    created: str
    updated: str
    signed: bool = False
    stalled: bool = False
    queue: deque[Event] = field(default_factory=deque[Event])

    @property
    def url(self) -> str:
        """Where it delivers."""
        return str(self.settings["url"])

    def wants(self, event: str) -> bool:
        """Whether it is on and asks for this event."""
        return self.settings["enabled"] is True and self.settings[FLAGS[event]] is True

    def shown(self, public_key: str) -> JsonObject:
        """As the API has it."""
        body: JsonObject = {**self.settings, "id": self.id}
        if self.signed:
            body["public_key"] = public_key
        return {**body, "created_date": self.created, "updated_date": self.updated}


class Webhooks(Deliveries):
    """All webhooks of an account and what waits for them."""

    def __init__(self, signer: Signer, clock: Callable[[], float]) -> None:
        super().__init__()
        self._signer = signer
        self._clock = clock
        self.hooks: dict[str, Hook] = {}
        self._tests: deque[tuple[str, bytes, bool]] = deque()

    def register(self, url: str, *, signed: bool = True) -> Hook:
        """A webhook that asks for everything."""
        hook = self._create({"url": url, "enabled": True, **dict.fromkeys(FLAGS.values(), True)})
        hook.signed = signed
        return hook

    def offer(self, event: Event) -> bool:
        """Queue an event where it is wanted; whether anything is now to be sent."""
        waiting = False
        for hook in self.hooks.values():
            if hook.wants(event.name):
                hook.queue.append(event)
                waiting = waiting or not hook.stalled
        return waiting

    def pending(self) -> int:
        """Events that wait for delivery."""
        return sum(len(hook.queue) for hook in self.hooks.values())

    async def flush(self, *, stalled: bool) -> int:
        """Send what waits; how many events were taken."""
        taken = 0
        while self._tests:
            url, body, signed = self._tests.popleft()
            await self._post(url, body, signed=signed)
        for hook in tuple(self.hooks.values()):
            if stalled or not hook.stalled:
                taken += await self._flush(hook)
        return taken

    async def _flush(self, hook: Hook) -> int:
        taken = 0
        while hook.queue:
            batch: list[str] = []
            size = 0
            for event in tuple(hook.queue):
                line = json.dumps(event.payload(), separators=(",", ":"))
                size += len(line)
                if batch and size > BATCH_BYTES:
                    break
                batch.append(line)
            body = f"[{','.join(batch)}]\r\n".encode()
            hook.stalled = not await self._post(hook.url, body, signed=hook.signed)
            if hook.stalled:
                break
            for _ in batch:
                hook.queue.popleft()
            taken += len(batch)
        return taken

    async def _post(self, url: str, body: bytes, *, signed: bool = False) -> bool:
        headers = {"Content-Type": "application/json;charset=utf-8", "User-Agent": "SendGrid Event API"}
        if signed:
            headers |= self._signer.headers(body, str(int(self._clock())))
        return HTTPStatus.OK <= await self.post(url, body, headers) < HTTPStatus.MULTIPLE_CHOICES

    def routes(self) -> Iterable[Route]:
        """Settings endpoints."""
        base, area = "/v3/user/webhooks/event/settings", "user.webhooks.event.settings"
        yield "POST", base, f"{area}.create", self._post_settings
        yield "GET", base + "/all", f"{area}.read", self._all
        yield "GET", base + "/signed/{id}", f"{area}.read", self._get_signed
        yield "PATCH", base + "/signed/{id}", f"{area}.update", self._set_signed
        yield "GET", base + "/{id}", f"{area}.read", self._get
        yield "PATCH", base + "/{id}", f"{area}.update", self._update
        yield "DELETE", base + "/{id}", f"{area}.delete", self._delete
        yield "POST", "/v3/user/webhooks/event/test", "user.webhooks.event.test.create", self._test

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _create(self, body: JsonObject) -> Hook:
        settings: JsonObject = {"enabled": False, **dict.fromkeys(FLAGS.values(), False), "friendly_name": None}
        hook = Hook(str(uuid.uuid4()), settings, self._now(), self._now())
        self._apply(hook, body)
        self.hooks[hook.id] = hook
        return hook

    def _apply(self, hook: Hook, body: JsonObject) -> None:
        url = body.get("url", hook.settings.get("url"))
        parts = urlsplit(url) if isinstance(url, str) else None
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
            raise RefusalError(HTTPStatus.BAD_REQUEST, {"message": f"'{url}' is not a valid url"})
        for other in self.hooks.values():
            if other is not hook and other.url == url:
                message = f"Webhook at '{url}' already exists. Please provide a unique URL."
                raise RefusalError(HTTPStatus.BAD_REQUEST, {"id": other.id, "message": message, "url": url})
        known = {"url", "enabled", "friendly_name", "oauth_client_id", "oauth_token_url", *FLAGS.values()}
        switches = {"enabled", *FLAGS.values()}
        for name, value in body.items():
            if name in switches and not isinstance(value, bool):
                raise refused(HTTPStatus.BAD_REQUEST, f"{name} must be true or false", name)
            if name in known:
                hook.settings[name] = value

    def _found(self, call: Call) -> Hook:
        hook = self.hooks.get(call.path("id"))
        if hook is None:
            raise RefusalError(HTTPStatus.NOT_FOUND, {"message": "Invalid id provided."})
        return hook

    def _post_settings(self, call: Call) -> web.Response:
        if len(self.hooks) >= MAX_HOOKS:
            message = "You have reached the maximum number of webhooks per your current billing plan."
            raise RefusalError(HTTPStatus.BAD_REQUEST, {"message": message})
        return reply(self._create(call.object()).shown(self._signer.public_key), HTTPStatus.CREATED)

    def _all(self, call: Call) -> web.Response:
        shown = [hook.shown(self._signer.public_key) for hook in self.hooks.values()]
        return reply({"max_allowed": MAX_HOOKS, "webhooks": [*shown]})

    def _get(self, call: Call) -> web.Response:
        return reply(self._found(call).shown(self._signer.public_key))

    def _update(self, call: Call) -> web.Response:
        hook = self._found(call)
        self._apply(hook, call.object())
        hook.updated = self._now()
        return reply(hook.shown(self._signer.public_key))

    def _delete(self, call: Call) -> web.Response:
        del self.hooks[self._found(call).id]
        return done()

    def _key(self, hook: Hook) -> web.Response:
        return reply({"id": hook.id, "public_key": self._signer.public_key if hook.signed else ""})

    def _get_signed(self, call: Call) -> web.Response:
        return self._key(self._found(call))

    def _set_signed(self, call: Call) -> web.Response:
        hook, enabled = self._found(call), call.object().get("enabled")
        if not isinstance(enabled, bool):
            raise refused(HTTPStatus.BAD_REQUEST, "enabled must be true or false", "enabled")
        hook.signed = enabled
        return self._key(hook)

    def _test(self, call: Call) -> web.Response:
        body = call.object()
        url = body.get("url")
        if not isinstance(url, str):
            raise refused(HTTPStatus.BAD_REQUEST, "url is required", "url")
        now = int(self._clock())
        examples: list[Mapping[str, object]] = [
            {
                "email": "example@test.com",
                "timestamp": now,
                "smtp-id": "<14c5d75ce93.dfd.64b469@ismtpd-555>",
                "event": name,
                "category": ["cat facts"],
                "sg_event_id": f"test-{name}-{now}",
                "sg_message_id": "14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0",
                **extra,
            }
            for name, extra in DEFAULTS.items()
            if name not in ("blocked", "account_status_change")
        ]
        hook = self.hooks.get(str(body.get("id")))
        self._tests.append((url, encode(examples), hook is not None and hook.signed))
        self.wake()
        return done()
