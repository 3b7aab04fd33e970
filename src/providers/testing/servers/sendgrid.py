"""A local SendGrid: mail send, suppressions, activity, domains, webhooks with signed events, kept in memory.

This server proves our reading of the vendor's documents, not the vendor. Read: the MIT-licensed OpenAPI documents
of twilio/sendgrid-oai (2026-01), the mail send errors page, the Event Webhook reference.
"""

from __future__ import annotations

import argparse
import calendar
import json
import secrets
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import ClassVar, Final, Self

from aiohttp import web

from providers.testing.servers._base import LocalServer, listing, read_json
from providers.testing.servers._host import Json, JsonObject
from providers.testing.servers._sendgrid.account import Account
from providers.testing.servers._sendgrid.activity import DEFAULT_LIMIT, MAX_LIMIT, brief, full, matcher
from providers.testing.servers._sendgrid.call import Answer, Call, RefusalError, Route, bad_request, refused, reply
from providers.testing.servers._sendgrid.check import MAX_BYTES, MalformedError, check_mail, items, objects, switched_on
from providers.testing.servers._sendgrid.events import DEFAULTS, Event, Signer, encode
from providers.testing.servers._sendgrid.hooks import Webhooks
from providers.testing.servers._sendgrid.lists import Suppressions
from providers.testing.servers._sendgrid.mail import Attachment, Mail, Message, Template

__all__ = ["LOCAL_KEY", "Attachment", "Mail", "SendGridServer", "Template"]

LOCAL_KEY: Final = f"SG.{'local' * 4}00.{'not-a-secret-' * 3}0000"
"""The key a server takes unless told otherwise; of the vendor's form, worth nothing."""

_STATES: Final[Mapping[str, str]] = {
    "delivered": "delivered",
    "bounce": "bounced",
    "dropped": "dropped",
    "deferred": "deferred",
}


class SendGridServer(LocalServer):
    """SendGrid on loopback.

    ``keys`` maps further API keys to their scopes. ``verified_domains``/``verified_senders`` may appear in From.
    ``plan_limit`` is the number of mails the plan has (``None``: no end). ``rate_limit`` requests per
    ``rate_window`` seconds and key. ``webhook_url`` gets every event, signed with ``private_key`` (PEM, else a new
    one). ``outcomes`` maps an address to what becomes of its mail (``bounce``, ``blocked``, ``deferred``, ``none``)
    instead of ``delivered``. ``strict`` refuses unknown fields. ``drop_blocked``: whether the blocks list drops
    mail. ``gzip_enabled``: whether the account may send compressed bodies.
    """

    vendor: ClassVar[str] = "sendgrid"

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.time,
        keep: int = 100_000,
        api_key: str = LOCAL_KEY,
        keys: Mapping[str, Iterable[str]] | None = None,
        from_email: str = "noreply@shop.example.com",
        verified_domains: Iterable[str] = ("shop.example.com", "example.com"),
        verified_senders: Iterable[str] = (),
        webhook_url: str | None = None,
        private_key: str | bytes | None = None,
        plan_limit: int | None = None,
        rate_limit: int = 1_000_000,
        rate_window: int = 60,
        outcomes: Mapping[str, str] | None = None,
        strict: bool = True,
        drop_blocked: bool = False,
        gzip_enabled: bool = False,
        new_id: Callable[[], str] = lambda: secrets.token_urlsafe(16),
    ) -> None:
        super().__init__(host=host, port=port, ssl_context=ssl_context, clock=clock, keep=keep)
        self.api_key = api_key
        self.from_email = from_email
        self.plan_limit = plan_limit
        self.rate_limit = rate_limit
        self.rate_window = rate_window
        self.outcomes = {address.lower(): outcome for address, outcome in (outcomes or {}).items()}
        self._strict, self._gzip, self._new_id = strict, gzip_enabled, new_id
        self._senders = frozenset(address.lower() for address in verified_senders)
        self._signer = Signer(private_key)
        self._webhook_url = webhook_url
        self._lock = threading.RLock()
        self._lists = Suppressions(clock, drop_blocked=drop_blocked)
        self._account = Account(verified_domains)
        self._hooks = Webhooks(self._signer, clock)
        self._routes: tuple[Route, ...] = (
            ("POST", "/v3/mail/send", "mail.send", self._send),
            ("GET", "/v3/scopes", None, self._scopes),
            ("GET", "/v3/user/credits", "user.credits.read", self._credits),
            ("GET", "/v3/messages", "email_activity.read", self._messages),
            ("GET", "/v3/messages/{id}", "email_activity.read", self._message),
            *self._lists.routes(),
            *self._account.routes(),
            *self._hooks.routes(),
        )
        self.scopes: frozenset[str] = frozenset(scope for _, _, scope, _ in self._routes if scope)
        self._keys = {api_key: self.scopes, **{key: frozenset(scopes) for key, scopes in (keys or {}).items()}}
        self._forget()

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """Options of the command."""
        parser.add_argument("--webhook-url", help="where signed events go")
        parser.add_argument("--private-key", type=Path, help="PEM file of the P-256 key that signs them")
        parser.add_argument("--api-key", default=LOCAL_KEY)
        parser.add_argument("--from-email", default="noreply@shop.example.com")
        parser.add_argument("--verified-domain", action="append", help="may be given more than once")
        parser.add_argument("--plan-limit", type=int, help="mails the plan has")
        parser.add_argument("--rate-limit", type=int, default=1_000_000, help="requests a minute")

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> Self:
        """A server as the command line asks for it."""
        return cls(
            host=options.host,
            port=options.port,
            webhook_url=options.webhook_url,
            private_key=options.private_key.read_bytes() if options.private_key else None,
            api_key=options.api_key,
            from_email=options.from_email,
            verified_domains=options.verified_domain or ("shop.example.com", "example.com"),
            plan_limit=options.plan_limit,
            rate_limit=options.rate_limit,
        )

    def _forget(self) -> None:
        self._all: list[Mail] = []
        self._sent: list[Mail] = []
        self._scheduled: list[Mail] = []
        self._by_address: dict[str, Mail] = {}
        self._events: list[Event] = []
        self._used = 0
        self._windows: dict[str, list[int]] = {}
        self._due = False

    # What tests and the command read.

    @property
    def env(self) -> dict[str, str]:
        """The variables that point at this server."""
        return {
            "PROVIDER_SENDGRID_BASE_URL": self.url,
            "SENDGRID_API_KEY": self.api_key,
            "SENDGRID_FROM_EMAIL": self.from_email,
            "SENDGRID_WEBHOOK_PUBLIC_KEY": self.public_key,
        }

    @property
    def public_key(self) -> str:
        """The key that verifies deliveries: base64 of the SPKI DER."""
        return self._signer.public_key

    @property
    def mails(self) -> tuple[Mail, ...]:
        """One per recipient that was sent to: neither dropped nor still scheduled."""
        with self._lock:
            self._settle()
            return tuple(self._sent)

    @property
    def scheduled(self) -> tuple[Mail, ...]:
        """Mails whose ``send_at`` is to come, or that are paused."""
        with self._lock:
            self._settle()
            return tuple(self._scheduled)

    @property
    def events(self) -> tuple[JsonObject, ...]:
        """Every event so far, as the webhook carries it."""
        with self._lock:
            self._settle()
            return tuple(event.payload() for event in self._events)

    @property
    def pending_events(self) -> int:
        """Events that wait for a webhook."""
        return self._hooks.pending()

    def mails_to(self, address: str) -> tuple[Mail, ...]:
        """``mails`` of one address."""
        return tuple(mail for mail in self.mails if mail.to.lower() == address.lower())

    @staticmethod
    def mails_of(method: str, path: str, body: bytes) -> list[Mail]:
        """The mails of one mail send that was played before, one per recipient; none of any other request.

        For outboxes that are rebuilt from recordings: what is sent later counts, a sandbox's does not. Raises
        `ValueError` for one with a template, whose text nobody can know.
        """
        if method != "POST" or path.partition("?")[0] != "/v3/mail/send":
            return []
        given: JsonObject = json.loads(body)
        if switched_on(objects(given, "mail_settings"), "sandbox_mode"):
            return []
        if given.get("template_id"):
            raise ValueError(f"the text of the template {given['template_id']} is not in the request")
        message = Message("", given, 0.0, None, None)
        return [
            Mail(message, each, kind, str(who["email"]), (outer, place), "processed", None)
            for outer, each in enumerate(items(given, "personalizations"))
            for kind in ("to", "cc", "bcc")
            for place, who in enumerate(items(each, kind))
        ]

    # What tests make happen.

    def suppress(self, name: str, address: str) -> None:
        """Put an address on bounces, blocks, invalid_emails, spam_reports or unsubscribes."""
        with self._lock:
            self._lists.add(name, address)

    def publish_dns(self, domain: str) -> None:
        """Let the validation of a domain succeed from now on."""
        with self._lock:
            self._account.publish(domain)

    def add_template(self, template: Template) -> None:
        """Make a template known; from then on unknown ids are refused."""
        with self._lock:
            self._account.templates[template.id] = template

    def emit(self, kind: str, *, email: str = "", message_id: str | None = None, **extra: Json) -> JsonObject:
        """Make an event happen to the latest mail of an address (or of that message), with its consequences.

        ``kind`` is an event name or ``blocked`` (a bounce of type blocked). Returns the event.
        """
        if kind not in DEFAULTS:
            raise ValueError(f"no event is called {kind!r}")
        with self._lock:
            mail = self._by_address.get(email.lower())
            if message_id is not None:
                named = [each for each in self._all if each.message_id == message_id.partition(".")[0]]
                mail = next((each for each in named if not email or each.to.lower() == email.lower()), None)
            event = self._happen(kind, mail.to if mail else email, mail, extra)
            self._wake()
            return event.payload()

    def deliver_events(self) -> int:
        """Post what waits to the webhooks now; how many events they took. Blocks: call it from a thread in async."""
        with self._lock:
            self._settle()
        return self._call(self._hooks.deliver())

    def signed_request(
        self, events: Sequence[Mapping[str, object]], *, timestamp: int | None = None
    ) -> tuple[dict[str, str], bytes]:
        """Headers and body of a delivery, to be sent by hand."""
        body = encode(events)
        signed = self._signer.headers(body, str(int(self.clock()) if timestamp is None else timestamp))
        return {"Content-Type": "application/json;charset=utf-8", **signed}, body

    def reset(self) -> None:
        """Back to the state after start: no mails, events, suppressions, faults; webhooks as constructed."""
        super().reset()
        with self._lock:
            self._forget()
            self._lists.clear()
            self._account.clear()
            self._hooks.hooks.clear()
            if self._webhook_url:
                self._hooks.register(self._webhook_url)

    # How it runs.

    async def opened(self) -> None:
        """Start delivering events."""
        if self._webhook_url and not self._hooks.hooks:
            self._hooks.register(self._webhook_url)
        await self._hooks.open()

    async def closing(self) -> None:
        """Deliver what waits."""
        with self._lock:
            self._settle()
        await self._hooks.close()

    def problem(self, status: int, message: str) -> web.Response:
        """The vendor's error shape."""
        response = refused(status, message.lower()).response()
        with self._lock:
            response.headers.update(self._meter("")[0])
        return response

    def routes(self) -> Iterable[web.RouteDef]:
        """All endpoints, guarded, and the control routes."""
        for method, path, scope, answer in self._routes:
            yield web.route(method, path, self._guard(scope, answer))
        yield web.get("/_control/mails", self._control_mails)
        yield web.get("/_control/events", self._control_events)
        yield web.post("/_control/events", self._control_emit)
        yield web.post("/_control/deliver", self._control_deliver)
        yield web.post("/_control/dns", self._control_dns)
        yield web.post("/_control/suppressions", self._control_suppress)

    def _guard(self, scope: str | None, answer: Answer) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def guarded(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            with self._lock:
                self._settle()
                key = request.headers.get("Authorization", "").removeprefix("Bearer ")
                scopes = self._keys.get(key)
                headers, exceeded = self._meter(key if scopes is not None else "")
                try:
                    if scopes is None:
                        raise _unauthorized(key)
                    if exceeded:
                        raise refused(HTTPStatus.TOO_MANY_REQUESTS, "too many requests")
                    if scope is not None and scope not in scopes:
                        raise refused(HTTPStatus.FORBIDDEN, "access forbidden")
                    response = answer(Call(request, body, key, scopes))
                except RefusalError as refusal:
                    response = refusal.response()
                response.headers.update(headers)
                self._wake()
            return response

        return guarded

    def _meter(self, key: str) -> tuple[dict[str, str], bool]:
        now = int(self.clock())
        start = now - now % self.rate_window
        window = self._windows.get(key)
        if window is None or window[0] != start:
            window = self._windows[key] = [start, 0]
        window[1] += 1
        return {
            "X-RateLimit-Limit": str(self.rate_limit),
            "X-RateLimit-Remaining": str(max(self.rate_limit - window[1], 0)),
            "X-RateLimit-Reset": str(start + self.rate_window),
        }, window[1] > self.rate_limit

    def _wake(self) -> None:
        if self._due:
            self._due = False
            self._soon(self._hooks.wake)

    # Mail.

    def _send(self, call: Call) -> web.Response:
        if len(call.body) > MAX_BYTES:
            raise refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "content too large")
        if call.request.content_type != "application/json":
            raise refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Type should be application/json.")
        if "Content-Encoding" in call.request.headers and not self._gzip:
            raise refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Encoding is not enabled for this account.")
        body = call.object()
        try:
            problems = check_mail(body, now=self.clock(), templates=self._account.templates, strict=self._strict)
        except MalformedError:
            raise bad_request() from None
        if problems:
            raise RefusalError(HTTPStatus.BAD_REQUEST, *problems)
        self._check_senders(body)
        if switched_on(objects(body, "mail_settings"), "sandbox_mode"):
            return web.Response(status=HTTPStatus.OK)
        if self.plan_limit is not None and self._used >= self.plan_limit:
            raise refused(HTTPStatus.UNAUTHORIZED, "Maximum credits exceeded")
        template = self._account.templates.get(str(body.get("template_id")))
        message = Message(self._new_id(), body, self.clock(), call.subuser, template)
        self._accept(message)
        return web.Response(status=HTTPStatus.ACCEPTED, headers={"X-Message-Id": message.id})

    def _check_senders(self, body: JsonObject) -> None:
        senders = [("from", objects(body, "from"))]
        for index, each in enumerate(items(body, "personalizations")):
            if each.get("from") is not None:
                senders.append((f"personalizations.{index}.from", objects(each, "from")))
        for field, sender in senders:
            address = str(sender.get("email")).lower()
            if address not in self._senders and not self._account.may_send_from(address):
                message = "The from address does not match a verified Sender Identity."
                raise refused(HTTPStatus.FORBIDDEN, message, field)

    def _accept(self, message: Message) -> None:
        body, now = message.body, int(message.accepted_at)
        asm = objects(body, "asm").get("group_id")
        group = asm if isinstance(asm, int) else None
        settings = objects(body, "mail_settings")
        for outer, each in enumerate(items(body, "personalizations")):
            send_at = each.get("send_at") or body.get("send_at")
            at = send_at if isinstance(send_at, int) else None
            place = -1
            for kind in ("to", "cc", "bcc"):
                if kind not in each:
                    continue
                for who in items(each, kind):
                    place += 1
                    address = str(who["email"])
                    mail = Mail(message, each, kind, address, (outer, place), "processed", at, changed_at=now)
                    self._all.append(mail)
                    self._by_address[address.lower()] = mail
                    self._route(mail, group, settings, now)

    def _route(self, mail: Mail, group: int | None, settings: JsonObject, now: int) -> None:
        reason = self._lists.drop_reason(mail.to, group, settings)
        if reason is None and self.plan_limit is not None and self._used >= self.plan_limit:
            reason = "Recipient List over Package Quota"
        if reason is not None:
            extra: JsonObject = {"reason": reason}
            if reason == "Bounced Address":
                extra["status"] = "5.0.0"
            self._happen("dropped", mail.to, mail, extra, plain=True)
            return
        self._used += 1
        if mail.send_at is not None and mail.send_at > now:
            mail.state = "scheduled"
            self._scheduled.append(mail)
            self._happen("processed", mail.to, mail, {"send_at": mail.send_at})
        else:
            self._happen("processed", mail.to, mail)
            self._hand_on(mail)

    def _hand_on(self, mail: Mail) -> None:
        self._sent.append(mail)
        outcome = self.outcomes.get(mail.to.lower(), "delivered") if self.outcomes else "delivered"
        if outcome != "none":
            self._happen(outcome, mail.to, mail)

    def _settle(self) -> None:
        if not self._scheduled:
            return
        now, waiting = self.clock(), list[Mail]()
        for mail in self._scheduled:
            due, status = mail.send_at or 0, self._account.sends.get(mail.batch_id or "")
            if due > now or (status == "pause" and due + 72 * 3600 > now):
                waiting.append(mail)
            elif status is not None:  # cancelled, or paused for so long that it expired
                mail.state = "canceled"
            else:
                mail.state = "processed"
                self._hand_on(mail)
        self._scheduled = waiting
        self._wake()

    def _happen(
        self, kind: str, email: str, mail: Mail | None, extra: JsonObject | None = None, *, plain: bool = False
    ) -> Event:
        name = "bounce" if kind == "blocked" else kind
        details = (extra if plain else {**DEFAULTS[kind], **extra}) if extra else DEFAULTS[kind]
        now = int(self.clock())
        event = Event(len(self._events) + 1, name, email, now, mail, details)
        self._events.append(event)
        if mail is not None:
            mail.state = _STATES.get(name, mail.state)
            mail.opens += name == "open"
            mail.clicks += name == "click"
            mail.changed_at = now
        if name not in ("processed", "delivered"):
            self._lists.note(name, email, details)
        if self._hooks.hooks and self._hooks.offer(event):
            self._due = True
        return event

    # The small endpoints.

    def _scopes(self, call: Call) -> web.Response:
        return reply({"scopes": [*sorted(call.scopes)]})

    def _credits(self, call: Call) -> web.Response:
        today = datetime.fromtimestamp(self.clock(), UTC).date()
        days = calendar.monthrange(today.year, today.month)[1]
        first = today.replace(day=1)
        total = self.plan_limit if self.plan_limit is not None else 1_000_000
        return reply(
            {
                "remain": max(total - self._used, 0),
                "total": total,
                "overage": max(self._used - total, 0),
                "used": self._used,
                "last_reset": first.isoformat(),
                "next_reset": (first + timedelta(days=days)).isoformat(),
                "reset_frequency": "monthly",
            }
        )

    def _messages(self, call: Call) -> web.Response:
        fits = matcher(call.request.query.get("query", ""))
        limit = call.number("limit", DEFAULT_LIMIT, least=1, most=MAX_LIMIT)
        found: list[Json] = []
        for mail in reversed(self._all):
            if fits(mail):
                found.append(brief(mail))
                if len(found) == limit:
                    break
        return reply({"messages": found})

    def _message(self, call: Call) -> web.Response:
        wanted = call.path("id")
        for mail in reversed(self._all):
            if mail.sg_message_id == wanted:
                return reply(full(mail, [event for event in self._events if event.mail is mail]))
        raise refused(HTTPStatus.NOT_FOUND, "not found")

    # Control routes.

    async def _control_mails(self, request: web.Request) -> web.StreamResponse:
        with self._lock:
            self._settle()
            state = request.query.get("state", "sent")
            held = {"sent": self._sent, "scheduled": self._scheduled}.get(state, self._all)
            snapshot = tuple(held)
        return await listing(request, "mails", snapshot, Mail.as_dict)

    async def _control_events(self, request: web.Request) -> web.StreamResponse:
        with self._lock:
            self._settle()
            snapshot = tuple(self._events)
        return await listing(request, "events", snapshot, Event.payload)

    async def _control_emit(self, request: web.Request) -> web.StreamResponse:
        body = await read_json(request)
        if not isinstance(body, dict) or not isinstance(kind := body.pop("type", None), str):
            raise ValueError('an object with "type" is needed')  # noqa: TRY004 - it came over the wire
        email, message_id = body.pop("email", ""), body.pop("message_id", None)
        extra = objects(body, "extra") or body
        wanted = message_id if isinstance(message_id, str) else None
        event = self.emit(kind, email=str(email), message_id=wanted, **extra)
        return web.json_response(event, status=HTTPStatus.CREATED)

    async def _control_deliver(self, request: web.Request) -> web.StreamResponse:
        with self._lock:
            self._settle()
        taken = await self._hooks.deliver()
        return web.json_response({"delivered": taken, "pending": self._hooks.pending()})

    async def _control_dns(self, request: web.Request) -> web.StreamResponse:
        body = await read_json(request)
        self.publish_dns(str(body.get("domain")) if isinstance(body, dict) else "")
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def _control_suppress(self, request: web.Request) -> web.StreamResponse:
        body = await read_json(request)
        if not isinstance(body, dict) or body.get("list") not in self._lists.lists:
            raise ValueError("no such list")
        self.suppress(str(body["list"]), str(body.get("email")))
        return web.Response(status=HTTPStatus.NO_CONTENT)


def _unauthorized(key: str) -> RefusalError:
    if not key:
        return refused(HTTPStatus.UNAUTHORIZED, "authorization required")
    return refused(HTTPStatus.UNAUTHORIZED, "The provided authorization grant is invalid, expired, or revoked")
