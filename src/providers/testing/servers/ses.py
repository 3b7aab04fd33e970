"""A local Amazon SES (API v2) with the SNS that carries its events, kept in memory.

This server proves our reading of the vendor's documents, not the vendor. Read: botocore's service models of sesv2
2019-09-27 and sns 2010-03-31, by which every request and every reply is checked; the SES developer guide (event
publishing, mailbox simulator, personalised mail), the SNS developer guide (message signatures, HTTP endpoints), the AWS
General Reference (Signature Version 4).

SES is at the root of ``url``, SNS at ``/sns.<region>.amazonaws.com/`` below it, as is the certificate it signs with.
"""

from __future__ import annotations

import argparse
import json
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from itertools import chain
from typing import ClassVar, Final, Self

from aiohttp import web

from providers.testing.servers._aws.auth import Key, Keyring
from providers.testing.servers._aws.call import RefusalError
from providers.testing.servers._aws.check import sub
from providers.testing.servers._aws.envelope import NOTIFICATION, SUBSCRIPTION, UNSUBSCRIPTION, Signer, local_signer
from providers.testing.servers._aws.front import Reply, SnsFront, Wire
from providers.testing.servers._aws.model import QueryModel, RestModel
from providers.testing.servers._aws.origin import Origin
from providers.testing.servers._aws.sns import SnsOperations
from providers.testing.servers._aws.topics import Sns
from providers.testing.servers._base import LocalServer, listing, read_json
from providers.testing.servers._host import Headers, Json, JsonObject
from providers.testing.servers._ses.account import Account
from providers.testing.servers._ses.events import Event
from providers.testing.servers._ses.front import SesFront
from providers.testing.servers._ses.identities import Identities
from providers.testing.servers._ses.mail import Attachment, Mail
from providers.testing.servers._ses.post import Post
from providers.testing.servers._ses.read import mails_of
from providers.testing.servers._ses.send import Sending, is_plain
from providers.testing.servers._ses.sets import Sets, Templates
from providers.testing.servers._ses.upstream import Upstream, UpstreamReply

__all__ = ["LOCAL_KEY_ID", "LOCAL_SECRET", "Attachment", "Mail", "SesServer", "Signer", "local_signer"]

LOCAL_KEY_ID: Final = "AKIA" + "LOCALNOTASECRET0"
LOCAL_SECRET: Final = f"{'local/not-a-secret/' * 2}00"
"""The keys a server takes unless told otherwise; of the vendor's form, worth nothing."""

ACCOUNT_ID: Final = "123456789012"
UNLIMITED: Final = 1_000_000.0


class SesServer(LocalServer):
    """SES on loopback.

    ``keys`` maps further access key ids to their secret and the actions they may take (``ses:SendEmail``, ``ses:*``).
    ``check_clock``: whether signatures must be of the last five minutes; None: only by the machine's own clock.
    ``verified_domains``/``verified_senders`` may appear in From; new identities are verified after ``verify_after``
    seconds (None: never). ``sandbox``: recipients must be verified too, and the quotas are the sandbox's unless given:
    ``daily_quota`` recipients in 24 hours (-1: no end), ``max_send_rate`` a second. ``webhook_url`` is a confirmed
    subscription of the default topic, which the default configuration set tells of every event. ``confirms``: new
    subscriptions are confirmed without being asked. ``notifications``: the topic also gets the feedback notifications
    of the identity. ``outcomes`` maps an address to what becomes of its mail (``bounce``, ``transient``,
    ``undetermined``, ``complaint``, ``reject``, ``delay``, ``ooto``, ``suppressed``, ``none``) instead of
    ``delivery``; ``statuses`` an address to the status of its entry in ``SendBulkEmail``.
    ``strict`` refuses members that the model does not have. ``signer`` signs SNS messages (default: one per process);
    ``signature_version`` is that of the default topic. ``upstream``: the URL of a server of the same protocol (moto)
    that gets ``SendEmail`` without template and ``CreateEmailIdentity`` too; what it says is what is answered.
    """

    vendor: ClassVar[str] = "ses"
    mails_of = staticmethod(mails_of)

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.time,
        keep: int = 100_000,
        access_key_id: str = LOCAL_KEY_ID,
        secret_access_key: str = LOCAL_SECRET,
        keys: Mapping[str, tuple[str, Iterable[str]]] | None = None,
        check_clock: bool | None = None,
        region: str = "eu-central-1",
        from_email: str = "noreply@shop.example.com",
        configuration_set: str = "shop-events",
        topic: str = "ses-events",
        verified_domains: Iterable[str] = ("shop.example.com", "example.com"),
        verified_senders: Iterable[str] = (),
        verify_after: float | None = 60.0,
        sandbox: bool = False,
        daily_quota: float | None = None,
        max_send_rate: float | None = None,
        webhook_url: str | None = None,
        confirms: bool = False,
        notifications: bool = False,
        outcomes: Mapping[str, str] | None = None,
        statuses: Mapping[str, str] | None = None,
        strict: bool = True,
        signer: Signer | None = None,
        signature_version: str = "1",
        upstream: str | None = None,
        new_id: Callable[[], str] | None = None,
    ) -> None:
        super().__init__(host=host, port=port, ssl_context=ssl_context, clock=clock, keep=keep)
        self.access_key_id, self.secret_access_key, self.region = access_key_id, secret_access_key, region
        self.from_email, self.configuration_set = from_email, configuration_set
        self.origin = Origin(ACCOUNT_ID, region)
        self.topic_arn = self.origin.arn("sns", topic)
        self._webhook_url, self._version = webhook_url, signature_version
        self._lock = threading.RLock()
        self._due = False
        self._sns = Sns(self.origin, signer or local_signer(), clock, self._changed)
        self._sns.trusting = confirms
        self._account = Account(
            clock,
            sandbox=sandbox,
            daily_quota=(200 if sandbox else -1) if daily_quota is None else daily_quota,
            max_send_rate=(1 if sandbox else UNLIMITED) if max_send_rate is None else max_send_rate,
        )
        verified = tuple(chain(verified_domains, verified_senders))
        self._identities = Identities(clock, region=region, verified=verified, verify_after=verify_after)
        self._sets, self._templates = Sets(self._announce), Templates(clock)
        self._post = Post(
            self.origin,
            clock,
            self._account,
            self._sets,
            self._sns.publish,
            outcomes=outcomes,
            notifications=self.topic_arn if notifications else None,
        )
        self._sending = Sending(
            self._account,
            self._identities,
            self._sets,
            self._templates,
            self._post,
            clock=clock,
            new_id=new_id or self._new_id,
            statuses=statuses or {},
            judged_elsewhere=upstream is not None,
        )
        self._upstream = Upstream(upstream, region) if upstream is not None else None
        known = {access_key_id: Key(secret_access_key)}
        known |= {name: Key(secret, frozenset(actions)) for name, (secret, actions) in (keys or {}).items()}
        skew = clock is time.time if check_clock is None else check_clock
        keyring = Keyring(known, region=region, account_id=ACCOUNT_ID, clock=clock, skew=skew)
        parts = (self._account, self._identities, self._sets, self._templates, self._post, self._sending)
        answers = chain.from_iterable(part.operations() for part in parts)
        self._ses = SesFront(RestModel("sesv2", strict=strict), keyring, answers)
        self._sns_front = SnsFront(QueryModel("sns", strict=strict), keyring, SnsOperations(self._sns).operations())
        self._forget()

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """Options of the command."""
        parser.add_argument("--webhook-url", help="where signed SNS messages with events go")
        parser.add_argument("--from-email", default="noreply@shop.example.com")
        parser.add_argument("--verified-domain", action="append", help="may be given more than once")
        parser.add_argument("--region", default="eu-central-1")
        parser.add_argument("--sandbox", action="store_true", help="recipients must be verified too")
        parser.add_argument("--max-send-rate", type=float, help="recipients a second")
        parser.add_argument("--daily-quota", type=float, help="recipients in 24 hours")
        parser.add_argument("--signature-version", choices=("1", "2"), default="1", help="of the SNS messages")
        parser.add_argument("--upstream", help="URL of a moto server that judges mail too")

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> Self:
        """A server as the command line asks for it."""
        return cls(
            host=options.host,
            port=options.port,
            webhook_url=options.webhook_url,
            from_email=options.from_email,
            verified_domains=options.verified_domain or ("shop.example.com", "example.com"),
            region=options.region,
            sandbox=options.sandbox,
            max_send_rate=options.max_send_rate,
            daily_quota=options.daily_quota,
            signature_version=options.signature_version,
            upstream=options.upstream,
        )

    def _forget(self) -> None:
        self._sns.preset(self.topic_arn, self._version, self._webhook_url)
        self._sets.preset(self.configuration_set, self.topic_arn)
        self._templates.known.clear()
        self._identities.clear()
        self._account.clear()
        self._post.clear()

    def _new_id(self) -> str:
        return f"0100{int(self.clock() * 1000):012x}-{uuid.uuid4()}-000000"

    # What tests and the command read.

    @property
    def env(self) -> dict[str, str]:
        """The variables that point at this server."""
        return {
            "PROVIDER_SES_BASE_URL": self.url,
            "SES_ACCESS_KEY_ID": self.access_key_id,
            "SES_SECRET_ACCESS_KEY": self.secret_access_key,
            "SES_REGION": self.region,
            "SES_FROM_EMAIL": self.from_email,
            "SES_CONFIGURATION_SET": self.configuration_set,
            "SES_SNS_TOPIC_ARN": self.topic_arn,
        }

    @property
    def sns_url(self) -> str:
        """The endpoint of SNS, with a trailing slash."""
        return f"{self.url}/{self._sns.host}/"

    @property
    def certificate_url(self) -> str:
        """Where the certificate that SNS messages name can be had: their ``SigningCertURL``, below ``url``."""
        return self.sns_url + self._sns.signer.file

    @property
    def certificate_pem(self) -> bytes:
        """The certificate and its issuer's."""
        return self._sns.signer.chain

    @property
    def violations(self) -> tuple[AssertionError, ...]:
        """Replies that would not have fitted the vendor's model: mistakes of this server, answered with 500."""
        return (*self._ses.violations, *self._sns_front.violations)

    @property
    def mails(self) -> tuple[Mail, ...]:
        """One per recipient that was sent to, oldest first: neither suppressed, rejected nor failed to render."""
        with self._lock:
            return tuple(self._post.sent)

    @property
    def events(self) -> tuple[JsonObject, ...]:
        """Every event so far, as event publishing has it, whether or not a topic was told."""
        with self._lock:
            return tuple(event.payload(self.origin) for event in self._post.events)

    @property
    def pending_events(self) -> int:
        """SNS messages that wait for an endpoint."""
        return self._sns.pending()

    @property
    def lost_events(self) -> int:
        """SNS messages that an endpoint refused for good (4xx)."""
        return self._sns.lost

    @property
    def statuses(self) -> dict[str, str]:
        """What bulk entries to an address (lower case) end in; may be changed."""
        return self._sending.statuses

    @property
    def outcomes(self) -> dict[str, str]:
        """What becomes of mail to an address (lower case); may be changed."""
        return self._post.outcomes

    def mails_to(self, address: str) -> tuple[Mail, ...]:
        """``mails`` of one address."""
        return tuple(mail for mail in self.mails if mail.to.lower() == address.lower())

    # What tests make happen.

    def suppress(self, address: str, reason: str = "BOUNCE") -> None:
        """Put an address on the account's suppression list."""
        if reason not in ("BOUNCE", "COMPLAINT"):
            raise ValueError(f"no reason is called {reason!r}")
        with self._lock:
            self._account.suppress(address, reason)

    def verify(self, identity: str, *, verified: bool = True) -> None:
        """Make a domain or an address verified, or not, from now on."""
        with self._lock:
            self._identities.verify(identity, verified=verified)

    def suspend(self, *, suspended: bool = True) -> None:
        """Whether the account is suspended."""
        self._account.suspended = suspended

    def pause(self, *, paused: bool = True) -> None:
        """Whether sending is paused for the account."""
        self._account.paused = paused

    def emit(self, kind: str, *, email: str = "", message_id: str | None = None, **extra: Json) -> JsonObject:
        """Make an event happen to the latest mail of an address (or of that message), with its consequences.

        ``kind`` is ``delivery``, ``bounce``, ``transient``, ``undetermined``, ``complaint``, ``reject``, ``delay``,
        ``open``, ``click``, ``ooto``, ``suppressed``, ``subscription``, ``rendering_failure`` or ``send``; ``extra``
        goes over its detail object. Returns the event.
        """
        with self._lock:
            event = self._post.emit(kind, email=email, message_id=message_id, extra=extra)
            self._wake()
            return event

    def deliver_events(self) -> int:
        """Post what waits to the endpoints now; how many messages they took. Blocks: call it from a thread in async."""
        return self._call(self._sns.deliver())

    def signed_request(
        self,
        event: Mapping[str, object] | str = "",
        *,
        kind: str = NOTIFICATION,
        version: str | None = None,
        topic_arn: str | None = None,
        subject: str | None = None,
        timestamp: float | None = None,
        message_id: str | None = None,
        token: str | None = None,
    ) -> tuple[dict[str, str], bytes]:
        """Headers and body of an SNS delivery, to be sent by hand.

        ``event`` is the message of a ``Notification``, the only type with a ``subject``. A ``SubscriptionConfirmation``
        or ``UnsubscribeConfirmation`` of a known topic carries a token that ``ConfirmSubscription`` takes, unless one
        is given.
        """
        if kind not in (NOTIFICATION, SUBSCRIPTION, UNSUBSCRIPTION):
            raise ValueError(f"no message is of type {kind!r}")
        arn = topic_arn or self.topic_arn
        with self._lock:
            known = self._sns.topics.get(arn)
            version = version or (known.version if known is not None else "1")
            message, extra = event if isinstance(event, str) else json.dumps(event), None
            if kind != NOTIFICATION:
                message, extra = self._sns.confirmation(kind, arn, token or self._sns.expect(arn))
            envelope = self._sns.envelope(
                kind,
                arn,
                message,
                subject=subject if kind == NOTIFICATION else None,
                version=version,
                extra=extra,
                timestamp=timestamp,
                message_id=message_id,
            )
        return envelope.request(f"{arn}:{uuid.uuid4()}")

    def reset(self) -> None:
        """Back to the state after start: no mails, events, suppressions, faults; topics and sets as constructed."""
        super().reset()
        with self._lock:
            self._forget()

    # How it runs.

    async def opened(self) -> None:
        """Start delivering events; make the verified identities known upstream."""
        await self._sns.open()
        if self._upstream is not None:
            await self._upstream.open()
            for name in self._identities.known:
                await self._upstream.post("/v2/email/identities", json.dumps({"EmailIdentity": name}).encode())

    async def closing(self) -> None:
        """Deliver what waits."""
        await self._sns.close()
        if self._upstream is not None:
            await self._upstream.close()

    def problem(self, status: int, message: str) -> web.Response:
        """The vendor's error shape."""
        codes = {HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "RequestEntityTooLarge"}
        code = codes.get(HTTPStatus(status), "UnknownOperationException")
        return _response(self._ses.refuse(RefusalError(code, message, status)))

    def routes(self) -> Iterable[web.RouteDef]:
        """The control routes and everything else."""
        yield web.get("/_control/mails", self._control_mails)
        yield web.get("/_control/events", self._control_events)
        yield web.post("/_control/events", self._control_emit)
        yield web.post("/_control/deliver", self._control_deliver)
        yield web.post("/_control/verify", self._control_verify)
        yield web.post("/_control/suppressions", self._control_suppress)
        yield web.route("*", "/{rest:(?!_control/).*}", self._dispatch)

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        headers, body = Headers(tuple(request.headers.items())), await request.read()
        wire = Wire(request.method, path, query, headers, body, request.remote or "127.0.0.1")
        if path.startswith(f"/{self._sns.host}/"):
            return _response(self.answer_sns(wire))
        if self._upstream is None:
            return _response(self.answer(wire))
        return _response(await self._with_upstream(self._upstream, wire))

    def answer(self, wire: Wire) -> Reply:
        """What SES answers; no socket is needed."""
        with self._lock:
            try:
                call = self._ses.read(wire)
            except RefusalError as refusal:
                return self._ses.refuse(refusal)
            reply = self._ses.answer(call)
            self._wake()
            return reply

    def answer_sns(self, wire: Wire) -> Reply:
        """What SNS answers; the certificate is there too."""
        file = wire.path.removeprefix(f"/{self._sns.host}/")
        if wire.method == "GET" and file == self._sns.signer.file:
            return Reply(HTTPStatus.OK, self._sns.signer.chain, {"Content-Type": "application/x-pem-file"})
        with self._lock:
            try:
                if file:
                    raise RefusalError("InvalidAction", f"Nothing is at {wire.path}", HTTPStatus.NOT_FOUND)
                call = self._sns_front.read(wire)
            except RefusalError as refusal:
                return self._sns_front.refuse(refusal)
            reply = self._sns_front.answer(call)
            self._wake()
            return reply

    async def _with_upstream(self, upstream: Upstream, wire: Wire) -> Reply:
        try:
            with self._lock:
                call = self._ses.read(wire)
                message = self._sending.check(call) if is_plain(call) else None
        except RefusalError as refusal:
            return self._ses.refuse(refusal)
        if message is None and call.operation != "CreateEmailIdentity":
            return self.answer(wire)
        said = await upstream.post(wire.path, wire.body)
        if not said.ok:
            return _passed_on(said, self._ses)
        if message is None:
            return self.answer(wire)
        with self._lock:
            message_id = self._sending.accept(message, call, said.message_id)
            self._wake()
        return self._ses.write(call.operation, {"MessageId": message_id})

    def _announce(self, topic: str, message: str) -> bool:
        return bool(self._sns.publish(topic, message, "Amazon SES Email Event Notification"))

    def _changed(self) -> None:
        self._due = True

    def _wake(self) -> None:
        if self._due:
            self._due = False
            self._soon(self._sns.wake)

    # Control routes.

    async def _control_mails(self, request: web.Request) -> web.StreamResponse:
        with self._lock:
            held = self._post.sent if request.query.get("state", "sent") == "sent" else self._post.all
            snapshot = tuple(held)
        return await listing(request, "mails", snapshot, Mail.as_dict)

    async def _control_events(self, request: web.Request) -> web.StreamResponse:
        def show(event: Event) -> JsonObject:
            return event.payload(self.origin)

        with self._lock:
            snapshot = tuple(self._post.events)
        return await listing(request, "events", snapshot, show)

    async def _control_emit(self, request: web.Request) -> web.StreamResponse:
        body = await _object(request)
        kind, email, message_id = body.pop("type", None), body.pop("email", ""), body.pop("message_id", None)
        if not isinstance(kind, str):
            raise ValueError('an object with "type" is needed')  # noqa: TRY004 - it came over the wire
        wanted = message_id if isinstance(message_id, str) else None
        event = self.emit(kind, email=str(email), message_id=wanted, **(sub(body, "extra") or body))
        return web.json_response(event, status=HTTPStatus.CREATED)

    async def _control_deliver(self, request: web.Request) -> web.StreamResponse:
        taken = await self._sns.deliver()
        return web.json_response({"delivered": taken, "pending": self._sns.pending()})

    async def _control_verify(self, request: web.Request) -> web.StreamResponse:
        body = await _object(request)
        self.verify(str(body.get("identity")), verified=body.get("verified") is not False)
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def _control_suppress(self, request: web.Request) -> web.StreamResponse:
        body = await _object(request)
        self.suppress(str(body.get("email")), str(body.get("reason", "BOUNCE")))
        return web.Response(status=HTTPStatus.NO_CONTENT)


async def _object(request: web.Request) -> JsonObject:
    body = await read_json(request)
    if not isinstance(body, dict):
        raise ValueError("an object is needed")  # noqa: TRY004 - it came over the wire
    return body


def _response(reply: Reply) -> web.Response:
    return web.Response(status=reply.status, body=reply.body, headers=reply.headers)


def _passed_on(said: UpstreamReply, front: SesFront) -> Reply:
    headers = dict(front.refuse(RefusalError("", "", said.status)).headers)
    if said.error_type is None:
        del headers["x-amzn-errortype"]
    else:
        headers["x-amzn-errortype"] = said.error_type
    return Reply(said.status, said.body, headers)
