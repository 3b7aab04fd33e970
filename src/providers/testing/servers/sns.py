"""A local Amazon SNS for texts: phones, opt-outs, delivery logs, and the topic that relays them, kept in memory.

This server proves our reading of the vendor's documents, not the vendor. Read: botocore's service model of sns
2010-03-31, by which every request and every reply is checked; the SNS developer guide (mobile text messaging, SMS
sandbox, delivery status, message signatures); the AWS General Reference (Signature Version 4). Not documented, and so
guessed: what a log says of a number that is not verified in the sandbox, the refusal of a number that is not ours.

SNS is at the root of ``url``, as is the certificate it signs with.
"""

from __future__ import annotations

import argparse
import json
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from http import HTTPStatus
from itertools import chain
from typing import ClassVar, Final, Self

from aiohttp import web

from providers.testing.servers._aws.auth import Key, Keyring
from providers.testing.servers._aws.call import RefusalError
from providers.testing.servers._aws.check import sub
from providers.testing.servers._aws.envelope import NOTIFICATION, Signer, local_signer
from providers.testing.servers._aws.front import Reply, SnsFront, Wire
from providers.testing.servers._aws.model import QueryModel
from providers.testing.servers._aws.origin import Origin
from providers.testing.servers._aws.sns import SnsOperations
from providers.testing.servers._aws.topics import Sns
from providers.testing.servers._base import LocalServer, listing, read_json
from providers.testing.servers._host import Headers, Json, JsonObject
from providers.testing.servers._sns.logs import Log, Text, packed
from providers.testing.servers._sns.phones import Phones

__all__ = ["SnsServer", "Text"]

LOCAL_KEY_ID: Final = "AKIA" + "LOCALNOTASECRET1"
LOCAL_SECRET: Final = f"{'local/not-a-secret/' * 2}01"
"""The keys a server takes unless told otherwise; of the vendor's form, worth nothing."""

ACCOUNT_ID: Final = "123456789012"


class SnsServer(LocalServer):
    """SNS on loopback.

    ``keys`` maps further access key ids to their secret and the actions they may take (``sns:Publish``, ``sns:*``).
    ``check_clock``: whether signatures must be of the last five minutes; None: only by the machine's own clock.
    ``webhook_url`` is a confirmed subscription of the topic that gets the delivery logs, each when its text is taken;
    ``raw_logs`` False relays them as CloudWatch Logs hands them on, packed. ``confirms``: new subscriptions are
    confirmed without being asked. ``outcomes`` maps a number to what its log says instead of ``delivered``: ``sent``,
    ``unreachable``, ``carrier_unreachable``, ``unknown_error``, ``invalid_number``, ``invalid_body``, ``blocked_list``,
    ``spam``, ``blocked``, any other text of a failure, or ``none`` for no log. ``opted_out`` numbers get nothing: the
    log says so, or with ``refuses_opted_out`` the call is refused. ``sandbox``: numbers other than ``verified_numbers``
    get nothing. ``origination_numbers`` are the account's own. ``rate``: texts a second, more are throttled.
    ``spend_limit`` (USD a month): nothing is delivered beyond it. ``price_per_part`` in USD. ``signer`` signs SNS
    messages (default: one per process); ``signature_version`` is that of the topic.
    """

    vendor: ClassVar[str] = "sns"

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
        topic: str = "sms-logs",
        webhook_url: str | None = None,
        confirms: bool = False,
        raw_logs: bool = True,
        outcomes: Mapping[str, str] | None = None,
        opted_out: Iterable[str] = (),
        refuses_opted_out: bool = False,
        sandbox: bool = False,
        verified_numbers: Iterable[str] = (),
        origination_numbers: Iterable[str] = ("+15005550006",),
        rate: float | None = None,
        spend_limit: Decimal | int = 1_000_000,
        price_per_part: Decimal | str = "0.00645",
        strict: bool = True,
        signer: Signer | None = None,
        signature_version: str = "2",
        new_id: Callable[[], str] | None = None,
    ) -> None:
        super().__init__(host=host, port=port, ssl_context=ssl_context, clock=clock, keep=keep)
        self.access_key_id, self.secret_access_key, self.region = access_key_id, secret_access_key, region
        self._origin = Origin(ACCOUNT_ID, region)
        self.topic_arn = self._origin.arn("sns", topic)
        self._webhook_url, self._version, self._raw_logs = webhook_url, signature_version, raw_logs
        self._lock = threading.RLock()
        self._due = False
        self._sns = Sns(self._origin, signer or local_signer(), clock, self._changed)
        self._sns.trusting = confirms
        topics = dict(SnsOperations(self._sns).operations())
        self._phones = Phones(
            clock,
            new_id or (lambda: str(uuid.uuid4())),
            self._relay,
            topics["Publish"],
            keep=keep,
            sandbox=sandbox,
            verified=verified_numbers,
            owned=origination_numbers,
            opted_out=opted_out,
            refuses_opted_out=refuses_opted_out,
            outcomes=outcomes,
            rate=rate,
            spend_limit=Decimal(spend_limit),
            price=Decimal(price_per_part),
        )
        known = {access_key_id: Key(secret_access_key)}
        known |= {name: Key(secret, frozenset(actions)) for name, (secret, actions) in (keys or {}).items()}
        skew = clock is time.time if check_clock is None else check_clock
        keyring = Keyring(known, region=region, account_id=ACCOUNT_ID, clock=clock, skew=skew)
        answers = chain(topics.items(), self._phones.operations())
        self._front = SnsFront(QueryModel("sns", strict=strict), keyring, answers)
        self._forget()

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """Options of the command."""
        parser.add_argument("--webhook-url", help="where signed SNS messages with delivery logs go")
        parser.add_argument("--region", default="eu-central-1")
        parser.add_argument("--sandbox", action="store_true", help="verified numbers only get texts")
        parser.add_argument("--verified-number", action="append", help="may be given more than once")
        parser.add_argument("--origination-number", action="append", help="may be given more than once")
        parser.add_argument("--opted-out", action="append", help="a number; may be given more than once")
        parser.add_argument("--refuses-opted-out", action="store_true", help="instead of a log that says so")
        parser.add_argument("--rate", type=float, help="texts a second")
        parser.add_argument("--spend-limit", type=Decimal, default=Decimal(1_000_000), help="USD a month")
        parser.add_argument("--packed-logs", action="store_true", help="relayed as CloudWatch Logs hands them on")
        parser.add_argument("--signature-version", choices=("1", "2"), default="2", help="of the SNS messages")

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> Self:
        """A server as the command line asks for it."""
        return cls(
            host=options.host,
            port=options.port,
            webhook_url=options.webhook_url,
            region=options.region,
            sandbox=options.sandbox,
            verified_numbers=options.verified_number or (),
            origination_numbers=options.origination_number or ("+15005550006",),
            opted_out=options.opted_out or (),
            refuses_opted_out=options.refuses_opted_out,
            rate=options.rate,
            spend_limit=options.spend_limit,
            raw_logs=not options.packed_logs,
            signature_version=options.signature_version,
        )

    def _forget(self) -> None:
        self._sns.preset(self.topic_arn, self._version, self._webhook_url)
        self._phones.clear()

    # What tests and the command read.

    @property
    def env(self) -> dict[str, str]:
        """The variables that point at this server."""
        return {
            "PROVIDER_SNS_BASE_URL": self.url,
            "SNS_ACCESS_KEY_ID": self.access_key_id,
            "SNS_SECRET_ACCESS_KEY": self.secret_access_key,
            "SNS_REGION": self.region,
            "SNS_TOPIC_ARN": self.topic_arn,
        }

    @property
    def certificate_url(self) -> str:
        """Where the certificate that SNS messages name can be had: their ``SigningCertURL``, below ``url``."""
        return f"{self.url}/{self._sns.signer.file}"

    @property
    def violations(self) -> tuple[AssertionError, ...]:
        """Replies that would not have fitted the vendor's model: mistakes of this server, answered with 500."""
        return tuple(self._front.violations)

    @property
    def texts(self) -> tuple[Text, ...]:
        """What was taken, oldest first, whatever became of it."""
        with self._lock:
            return tuple(self._phones.texts)

    @property
    def logs(self) -> tuple[JsonObject, ...]:
        """Every delivery log so far, relayed or not."""
        with self._lock:
            return tuple(log.payload() for log in self._phones.logs)

    @property
    def pending_events(self) -> int:
        """SNS messages that wait for an endpoint."""
        return self._sns.pending()

    @property
    def lost_events(self) -> int:
        """SNS messages that an endpoint refused for good (4xx)."""
        return self._sns.lost

    @property
    def outcomes(self) -> dict[str, str]:
        """What becomes of texts to a number; may be changed."""
        return self._phones.outcomes

    @property
    def opted_out(self) -> set[str]:
        """The numbers that get nothing; may be changed, as a person does who texts STOP."""
        return self._phones.opted_out

    @property
    def verified_numbers(self) -> set[str]:
        """The numbers that get texts in the sandbox; may be changed."""
        return self._phones.verified

    def texts_to(self, number: str) -> tuple[Text, ...]:
        """``texts`` of one number."""
        return tuple(each for each in self.texts if each.number == number)

    # What tests make happen.

    def log(self, message_id: str, outcome: str = "delivered", **delivery: Json) -> JsonObject:
        """Write a delivery log of a text, and relay it. ``delivery`` goes over its part of that name."""
        with self._lock:
            found = next((each for each in self._phones.texts if each.message_id == message_id), None)
            if found is None:
                raise ValueError(f"no text has the id {message_id!r}")
            written = self._phones.log(found, outcome, delivery)
            self._wake()
            return written.payload()

    def flush(self) -> int:
        """Post what waits to the endpoints now; how many messages they took. Blocks: call it from a thread in async."""
        return self._call(self._sns.deliver())

    def signed_request(
        self,
        log: Mapping[str, object] | list[object] | str = "",
        *,
        kind: str = NOTIFICATION,
        version: str | None = None,
        topic_arn: str | None = None,
        timestamp: float | None = None,
        message_id: str | None = None,
        token: str | None = None,
    ) -> tuple[dict[str, str], bytes]:
        """Headers and body of an SNS delivery, to be sent by hand; ``log`` is the message of a ``Notification``.

        A ``SubscriptionConfirmation`` or ``UnsubscribeConfirmation`` of a known topic carries a token that
        ``ConfirmSubscription`` takes, unless one is given.
        """
        arn = topic_arn or self.topic_arn
        with self._lock:
            known = self._sns.topics.get(arn)
            message, extra = log if isinstance(log, str) else json.dumps(log), None
            if kind != NOTIFICATION:
                message, extra = self._sns.confirmation(kind, arn, token or self._sns.expect(arn))
            envelope = self._sns.envelope(
                kind,
                arn,
                message,
                version=version or (known.version if known is not None else "1"),
                extra=extra,
                timestamp=timestamp,
                message_id=message_id,
            )
        return envelope.request(f"{arn}:{uuid.uuid4()}")

    def reset(self) -> None:
        """Back to the state after start: no texts, logs, faults; settings, opt-outs and topics as constructed."""
        super().reset()
        with self._lock:
            self._forget()

    # How it runs.

    async def opened(self) -> None:
        """Start relaying logs."""
        await self._sns.open()

    async def closing(self) -> None:
        """Relay what waits."""
        await self._sns.close()

    def problem(self, status: int, message: str) -> web.Response:
        """The vendor's error shape."""
        codes = {HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "RequestEntityTooLarge"}
        code = codes.get(HTTPStatus(status), "InvalidAction")
        return _response(self._front.refuse(RefusalError(code, message, status)))

    def routes(self) -> Iterable[web.RouteDef]:
        """The control routes and everything else."""
        yield web.get("/_control/texts", self._control_texts)
        yield web.get("/_control/logs", self._control_logs)
        yield web.post("/_control/logs", self._control_log)
        yield web.post("/_control/deliver", self._control_deliver)
        yield web.post("/_control/opt-outs", self._control_opt_out)
        yield web.post("/_control/verify", self._control_verify)
        yield web.route("*", "/{rest:(?!_control/).*}", self._dispatch)

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        headers, body = Headers(tuple(request.headers.items())), await request.read()
        return _response(self.answer(Wire(request.method, path, query, headers, body, request.remote or "127.0.0.1")))

    def answer(self, wire: Wire) -> Reply:
        """What SNS answers; the certificate is there too. No socket is needed."""
        file = wire.path.removeprefix("/")
        if wire.method == "GET" and file == self._sns.signer.file:
            return Reply(HTTPStatus.OK, self._sns.signer.chain, {"Content-Type": "application/x-pem-file"})
        with self._lock:
            try:
                if file:
                    raise RefusalError("InvalidAction", f"Nothing is at {wire.path}", HTTPStatus.NOT_FOUND)
                call = self._front.read(wire)
            except RefusalError as refusal:
                return self._front.refuse(refusal)
            reply = self._front.answer(call)
            self._wake()
            return reply

    def _relay(self, log: Log) -> None:
        payload = log.payload()
        if not self._raw_logs:
            payload = packed(payload, region=self.region, account_id=ACCOUNT_ID, at=log.at)
        self._sns.publish(self.topic_arn, json.dumps(payload))

    def _changed(self) -> None:
        self._due = True

    def _wake(self) -> None:
        if self._due:
            self._due = False
            self._soon(self._sns.wake)

    # Control routes.

    async def _control_texts(self, request: web.Request) -> web.StreamResponse:
        return await listing(request, "texts", self.texts, Text.as_dict)

    async def _control_logs(self, request: web.Request) -> web.StreamResponse:
        return await listing(request, "logs", self.logs, dict)

    async def _control_log(self, request: web.Request) -> web.StreamResponse:
        body = await _object(request)
        written = self.log(str(body.get("message_id")), str(body.get("outcome", "delivered")), **sub(body, "delivery"))
        return web.json_response(written, status=HTTPStatus.CREATED)

    async def _control_deliver(self, request: web.Request) -> web.StreamResponse:
        taken = await self._sns.deliver()
        return web.json_response({"delivered": taken, "pending": self._sns.pending()})

    async def _control_opt_out(self, request: web.Request) -> web.StreamResponse:
        body = await _object(request)
        with self._lock:
            self.opted_out.add(str(body.get("number")))
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def _control_verify(self, request: web.Request) -> web.StreamResponse:
        body = await _object(request)
        with self._lock:
            self.verified_numbers.add(str(body.get("number")))
        return web.Response(status=HTTPStatus.NO_CONTENT)


async def _object(request: web.Request) -> JsonObject:
    body = await read_json(request)
    if not isinstance(body, dict):
        raise ValueError("an object is needed")  # noqa: TRY004 - it came over the wire
    return body


def _response(reply: Reply) -> web.Response:
    return web.Response(status=reply.status, body=reply.body, headers=reply.headers)
