"""A local Twilio: messages, their life cycle with signed callbacks, inbound texts and STOP, kept in memory.

This server proves our reading of the vendor's documents, not the vendor. Read: twilio/twilio-oai (2026-04), Twilio's
pages on test credentials, webhook security, outbound message status and error codes. Checked and not acted on:
retention of content and addresses, ``ValidityPeriod``, content templates, link shortening.
"""

from __future__ import annotations

import argparse
import base64
import json
import secrets
import ssl
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from decimal import Decimal
from typing import Final, Self

from aiohttp import web
from aiohttp.typedefs import Middleware

from providers.testing.servers._base import CONTROL, Handler, LocalServer, listing, read_json
from providers.testing.servers._host import Fields, Json, JsonObject, parse_query
from providers.testing.servers._twilio.call import ERRORS, RefusalError
from providers.testing.servers._twilio.callbacks import Callback, Callbacks, signature, signed
from providers.testing.servers._twilio.check import E164, NAME, Draft, check_create, check_known, wrong
from providers.testing.servers._twilio.pages import page
from providers.testing.servers._twilio.stops import Stops, keyword
from providers.testing.servers._twilio.texts import API_VERSION, UNFINISHED, Status, Text

__all__ = ["LOCAL_ACCOUNT", "LOCAL_NUMBER", "LOCAL_TOKEN", "Status", "Text", "TwilioServer", "signature"]

LOCAL_ACCOUNT: Final = "AC00000000000000000000000000000000"
LOCAL_TOKEN: Final = "local-not-a-secret-auth-token-00"  # noqa: S105 - worth nothing
LOCAL_NUMBER: Final = "+15005550006"

BASE: Final = f"/{API_VERSION}/Accounts/{{account}}"
PRICE: Final = Decimal("0.0079")

MAGIC_FROM: Final[Mapping[str, int]] = {"+15005550001": 21212, "+15005550007": 21606, "+15005550008": 21611}
MAGIC_TO: Final[Mapping[str, int]] = {
    "+15005550001": 21211,
    "+15005550002": 21612,
    "+15005550003": 21408,
    "+15005550004": 21610,
    "+15005550009": 21614,
}
"""Numbers of the test credentials; any other ``From`` than ``LOCAL_NUMBER`` is 21606 there."""

_FIELD_OF: Final[Mapping[int, str]] = {21212: "From", 21606: "From", 21611: "From"}
_ENDS: Final[Mapping[str, tuple[Status, int | None]]] = {
    "queued": (Status.QUEUED, None),
    "sent": (Status.SENT, None),
    "delivered": (Status.DELIVERED, None),
    "undelivered": (Status.UNDELIVERED, 30003),
    "failed": (Status.FAILED, 30008),
}

Answer = Callable[["TwilioServer", web.Request, Fields], web.Response]


class TwilioServer(LocalServer):
    """Twilio Programmable Messaging on loopback.

    ``keys`` maps API keys (``SK...``) to their secrets. ``phone_number`` is ours, and what ``messaging_service_sid``
    sends from; ``numbers`` are further senders of ours, in no service. ``callback_url`` goes into ``env``;
    ``inbound_url`` (default: the same) gets inbound texts. ``outcomes`` maps a number to what becomes of its texts:
    ``delivered`` (default), ``sent``, ``queued``, ``undelivered:<code>``, ``failed:<code>``, or the code of a refusal
    (``21408``, ``21610``, ``21611``, ``21612``, ``21614``...).

    A text goes through its statuses at once, right after the 201; a scheduled one when ``clock`` passes its time. It
    has a price ``price_after`` seconds after it was sent. ``sending`` puts that status, and a callback for it, before
    ``sent``. Callbacks are posted in the background and never again: in order, or ``shuffled``, or ``duplicated``, or
    as JSON (``json_callbacks``). ``opt_out_type``: inbound texts say which keyword they are.

    ``test_credentials`` makes it an account's test half: magic numbers, nothing delivered, the rest 403. ``verified``
    makes it a trial account that may text these numbers only. ``status`` other than ``active`` refuses sending.
    ``rate_limit`` requests per ``rate_window`` seconds, ``concurrency`` requests at once, else 429 with
    ``retry_after``, if given. ``strict`` refuses unknown fields, and
    more (``check_create``). ``problem_details``: errors as RFC 9457.
    """

    vendor = "twilio"
    max_body = 1024 * 1024

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.time,
        keep: int = 100_000,
        account_sid: str = LOCAL_ACCOUNT,
        auth_token: str = LOCAL_TOKEN,
        keys: Mapping[str, str] | None = None,
        phone_number: str = LOCAL_NUMBER,
        numbers: Iterable[str] = (),
        messaging_service_sid: str | None = None,
        callback_url: str | None = None,
        inbound_url: str | None = None,
        outcomes: Mapping[str, str] | None = None,
        test_credentials: bool = False,
        verified: Iterable[str] | None = None,
        status: str = "active",
        balance: str = "14.20",
        price_after: float = 60.0,
        sending: bool = False,
        shuffled: bool = False,
        duplicated: bool = False,
        json_callbacks: bool = False,
        opt_out_type: bool = False,
        rate_limit: int | None = None,
        rate_window: float = 1.0,
        concurrency: int | None = None,
        retry_after: int | None = None,
        strict: bool = True,
        problem_details: bool = False,
        new_id: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        super().__init__(host=host, port=port, ssl_context=ssl_context, clock=clock, keep=keep)
        self.account_sid, self.auth_token = account_sid, auth_token
        self.phone_number, self.numbers = phone_number, frozenset((phone_number, *numbers))
        self.messaging_service_sid = messaging_service_sid
        self.callback_url, self.inbound_url = callback_url, inbound_url or callback_url
        self.outcomes = dict(outcomes or {})
        for outcome in self.outcomes.values():
            _read_outcome(outcome)
        self.status = status
        self.rate_limit, self.rate_window = rate_limit, rate_window
        self.concurrency, self.retry_after = concurrency, retry_after
        self._test, self._strict, self._problem_details = test_credentials, strict, problem_details
        self._verified = None if verified is None else frozenset(verified)
        self._opening_balance, self._price_after = Decimal(balance), price_after
        self._sending, self._opt_out_type, self._new_id = sending, opt_out_type, new_id
        self._json_callbacks = json_callbacks
        self._credentials = {_basic(account_sid, auth_token): True}
        self._credentials |= {_basic(key, secret): False for key, secret in (keys or {}).items()}
        self._lock = threading.RLock()
        self._running = 0
        self._stops = Stops()
        self._callbacks = Callbacks(auth_token, as_json=json_callbacks, shuffled=shuffled, duplicated=duplicated)
        self._forget()

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """Options of the command."""
        parser.add_argument("--account-sid", default=LOCAL_ACCOUNT)
        parser.add_argument("--auth-token", default=LOCAL_TOKEN)
        parser.add_argument("--phone-number", default=LOCAL_NUMBER)
        parser.add_argument("--number", action="append", default=[], help="a further sender; may be given often")
        parser.add_argument("--messaging-service-sid")
        parser.add_argument("--callback-url", help="TWILIO_STATUS_CALLBACK_URL of the variables it prints")
        parser.add_argument("--inbound-url", help="where inbound texts go (default: the callback URL)")
        parser.add_argument(
            "--outcome", action="append", default=[], metavar="NUMBER=OUTCOME", help="may be given often"
        )
        parser.add_argument("--test-credentials", action="store_true", help="magic numbers, nothing is delivered")
        parser.add_argument("--rate-limit", type=int, help="requests a second")
        parser.add_argument("--concurrency", type=int, help="requests at once")

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> Self:
        """A server as the command line asks for it."""
        return cls(
            host=options.host,
            port=options.port,
            account_sid=options.account_sid,
            auth_token=options.auth_token,
            phone_number=options.phone_number,
            numbers=options.number,
            messaging_service_sid=options.messaging_service_sid,
            callback_url=options.callback_url,
            inbound_url=options.inbound_url,
            outcomes=dict(each.split("=", 1) for each in options.outcome),
            test_credentials=options.test_credentials,
            rate_limit=options.rate_limit,
            concurrency=options.concurrency,
        )

    def _forget(self) -> None:
        self._texts: list[Text] = []
        self._by_sid: dict[str, Text] = {}
        self._scheduled: list[Text] = []
        self._spent = Decimal(0)
        self._window: deque[float] = deque()
        self._due = False

    # What tests and the command read.

    @property
    def env(self) -> dict[str, str]:
        """The variables that point at this server."""
        given = {
            "PROVIDER_TWILIO_BASE_URL": self.url,
            "TWILIO_ACCOUNT_SID": self.account_sid,
            "TWILIO_AUTH_TOKEN": self.auth_token,
            "TWILIO_PHONE_NUMBER": self.phone_number,
        }
        if self.messaging_service_sid is not None:
            given["TWILIO_MESSAGING_SERVICE_SID"] = self.messaging_service_sid
        if self.callback_url is not None:
            given["TWILIO_STATUS_CALLBACK_URL"] = self.callback_url
        return given

    @property
    def messages(self) -> tuple[Text, ...]:
        """What we sent or scheduled, oldest first; without what was deleted."""
        return self._kept(inbound=False)

    @property
    def inbound(self) -> tuple[Text, ...]:
        """What people sent us, oldest first."""
        return self._kept(inbound=True)

    def _kept(self, *, inbound: bool) -> tuple[Text, ...]:
        with self._lock:
            self._settle()
            return tuple(text for text in self._texts if (text.direction == "inbound") is inbound and not text.deleted)

    @property
    def pending_callbacks(self) -> int:
        """Callbacks that wait to be posted."""
        return self._callbacks.pending()

    def messages_to(self, number: str) -> tuple[Text, ...]:
        """``messages`` to one number."""
        return tuple(text for text in self.messages if text.to == number)

    @staticmethod
    def messages_of(method: str, path: str, body: bytes) -> list[Text]:
        """The text of one creation that was played before; none of any other request.

        For outboxes that are rebuilt from recordings.
        """
        if method != "POST" or not path.partition("?")[0].endswith("/Messages.json"):
            return []
        draft = check_create(parse_query(body.decode()), now=None, strict=False)
        return [_text(draft, "", LOCAL_ACCOUNT, 0.0)]

    # What tests make happen.

    def receive(self, from_number: str, body: str, to: str | None = None) -> Text:
        """A person texts us (``to``: the default number): STOP and START are noted, the webhook is posted."""
        receiver = to or self.phone_number
        if E164.fullmatch(from_number) is None or receiver not in self.numbers:
            raise ValueError(f"{from_number} cannot text {receiver}")
        with self._lock:
            self._settle()
            service = self._service_of(receiver)
            now = self.clock()
            text = Text(
                "SM" + self._new_id(),
                self.account_sid,
                receiver,
                from_number,
                body,
                Status.RECEIVED,
                now,
                service=service,
                direction="inbound",
                sent_at=now,
            )
            self._keep(text)
            word = keyword(body)
            self._stops.note(from_number, word, receiver, service)
            if self.inbound_url is not None:
                self._queue(self.inbound_url, self._inbound_fields(text, word))
            self._wake()
            return text

    def flush(self) -> int:
        """Post what waits now; how many callbacks were taken with 2xx. Blocks: call it from a thread in async."""
        with self._lock:
            self._settle()
        return self._call(self._callbacks.deliver())

    def signed_request(self, url: str, fields: Mapping[str, str]) -> tuple[str, dict[str, str], bytes]:
        """URL, headers and body of a callback, to be posted by hand."""
        return signed(Callback(url, fields, self._new_id()), self.auth_token, as_json=self._json_callbacks)

    def reset(self) -> None:
        """Back to the state after start: no texts, opt-outs, waiting callbacks, faults."""
        super().reset()
        with self._lock:
            self._forget()
            self._stops.clear()
            self._callbacks.queue.clear()

    # How it runs.

    async def opened(self) -> None:
        """Start posting callbacks."""
        await self._callbacks.open()

    async def closing(self) -> None:
        """Post what waits."""
        with self._lock:
            self._settle()
        await self._callbacks.close()

    def problem(self, status: int, message: str) -> web.Response:
        """The vendor's error shape."""
        codes = {404: 20404, 405: 20004}
        refusal = RefusalError(codes.get(status, 20001), message if status not in codes else "")
        refusal.status = status
        return self._stamped(refusal.response(problem_details=self._problem_details))

    def routes(self) -> Iterable[web.RouteDef]:
        """All endpoints, guarded, and the control routes."""
        yield web.post(BASE + "/Messages.json", self._guard(TwilioServer._create, tested=True))
        yield web.get(BASE + "/Messages.json", self._guard(TwilioServer._list))
        yield web.get(BASE + "/Messages/{sid}.json", self._guard(TwilioServer._fetch))
        yield web.post(BASE + "/Messages/{sid}.json", self._guard(TwilioServer._update))
        yield web.delete(BASE + "/Messages/{sid}.json", self._guard(TwilioServer._delete))
        yield web.get(BASE + "/Balance.json", self._guard(TwilioServer._balance, main=True))
        yield web.get(BASE + ".json", self._guard(TwilioServer._account, main=True))
        yield web.get("/_control/messages", self._control_messages)
        yield web.post("/_control/receive", self._control_receive)
        yield web.post("/_control/flush", self._control_flush)

    def _wire(self) -> Middleware:
        inner = super()._wire()

        @web.middleware
        async def counted(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.path.startswith(CONTROL):
                return await inner(request, handler)
            self._running += 1  # on the loop only; a reply that is held still counts
            try:
                return await inner(request, handler)
            finally:
                self._running -= 1

        return counted

    def _guard(
        self, answer: Answer, *, main: bool = False, tested: bool = False
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def guarded(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            with self._lock:
                self._settle()
                try:
                    self._admit(request, main=main, tested=tested)
                    raw = (
                        body.decode(errors="replace")
                        if request.method == "POST"
                        else request.raw_path.partition("?")[2]
                    )
                    form = request.content_type == "application/x-www-form-urlencoded" or request.method != "POST"
                    response = answer(self, request, parse_query(raw) if form else Fields())
                except RefusalError as refusal:
                    response = refusal.response(problem_details=self._problem_details)
                    if refusal.code == 20429 and self.retry_after is not None:
                        response.headers["Retry-After"] = str(self.retry_after)
                self._wake()
            return self._stamped(response)

        return guarded

    def _admit(self, request: web.Request, *, main: bool, tested: bool) -> None:
        with_token = self._credentials.get(request.headers.get("Authorization", ""))
        if with_token is None or (main and not with_token):
            raise RefusalError(20003)
        if self.rate_limit is not None:
            now, window = self.clock(), self._window
            while window and window[0] <= now - self.rate_window:
                window.popleft()
            window.append(now)
            if len(window) > self.rate_limit:
                raise RefusalError(20429)
        if self.concurrency is not None and self._running > self.concurrency:
            raise RefusalError(20429)
        if request.match_info["account"] != self.account_sid:
            raise _absent(request)
        if self._test and not tested:
            raise RefusalError(20008)

    def _stamped(self, response: web.Response) -> web.Response:
        response.headers["Twilio-Request-Id"] = "RQ" + secrets.token_hex(16)
        response.headers["Twilio-Concurrent-Requests"] = str(max(self._running, 1))
        return response

    def _wake(self) -> None:
        if self._due:
            self._due = False
            self._soon(self._callbacks.wake)

    # Sending.

    def _create(self, _: web.Request, form: Fields) -> web.Response:
        now = self.clock()
        draft = check_create(form, now=now, strict=self._strict)
        if self.status != "active":
            raise RefusalError(20005)
        if self._test:
            self._check_magic(draft)
        else:
            self._check_account(draft)
        text = _text(draft, ("MM" if draft.media else "SM") + self._new_id(), self.account_sid, now)
        self._keep(text)
        response = _reply(self._shown(text), 201)
        if text.status is Status.SCHEDULED:
            self._scheduled.append(text)
        elif not self._test:
            self._go(text)
        return response

    def _check_magic(self, draft: Draft) -> None:
        code = MAGIC_FROM.get(draft.sender or "")
        if code is None and draft.sender is not None and draft.sender != LOCAL_NUMBER:
            code = 21606
        if code is None:
            code = MAGIC_TO.get(draft.to)
        if code is not None:
            raise RefusalError(code, field=_FIELD_OF.get(code, "To"))

    def _check_account(self, draft: Draft) -> None:
        if draft.service is not None and draft.service != self.messaging_service_sid:
            raise RefusalError(21704, field="MessagingServiceSid")
        if draft.sender is not None and draft.sender not in self.numbers:
            if NAME.fullmatch(draft.sender) is None:
                raise RefusalError(21606, field="From")
            if draft.to.startswith("+1"):  # names are not taken in North America
                raise RefusalError(21612, field="To")
        if self._verified is not None and draft.to not in self._verified:
            raise RefusalError(21608, field="To")
        if self._stops.holds(draft.service or draft.sender or "", draft.to):
            raise RefusalError(21610, field="To")
        refused = _read_outcome(self.outcomes.get(draft.to, "delivered"))
        if isinstance(refused, int):
            raise RefusalError(refused, field=_FIELD_OF.get(refused, "To"))

    def _keep(self, text: Text) -> None:
        text.place = len(self._texts)
        self._texts.append(text)
        self._by_sid[text.sid] = text

    def _go(self, text: Text) -> None:
        """Take a text through the rest of its statuses."""
        now = self.clock()
        outcome = _read_outcome(self.outcomes.get(text.to, "delivered"))
        end, code = outcome if not isinstance(outcome, int) else (Status.FAILED, outcome)
        if text.service is not None:
            text.sender = text.sender or self.phone_number
            self._turn(text, Status.QUEUED, now)
        if end is Status.QUEUED:
            return
        if end is not Status.FAILED and self._sending:
            self._turn(text, Status.SENDING, now)
        text.sent_at = now
        if end is Status.FAILED:
            text.error_code = code
            self._turn(text, end, now)
            return
        self._spent += text.cost(PRICE)
        self._turn(text, Status.SENT, now)
        if end is not Status.SENT:
            text.error_code = code
            self._turn(text, end, now)

    def _turn(self, text: Text, status: Status, now: float) -> None:
        text.turn(status, now)
        if text.callback is not None:
            self._queue(text.callback, self._status_fields(text, now))

    def _settle(self) -> None:
        if not self._scheduled:
            return
        now, waiting = self.clock(), list[Text]()
        for text in self._scheduled:
            if text.status is Status.SCHEDULED and (text.send_at or 0.0) > now:
                waiting.append(text)
            elif text.status is Status.SCHEDULED:
                if self._stops.holds(text.service or "", text.to):
                    text.sent_at, text.error_code = now, 21610
                    self._turn(text, Status.FAILED, now)
                else:
                    self._go(text)
        self._scheduled = waiting
        self._wake()

    # Webhooks.

    def _queue(self, url: str, fields: Mapping[str, str]) -> None:
        self._callbacks.queue.append(Callback(url, fields, self._new_id()))
        self._due = True

    def _status_fields(self, text: Text, now: float) -> dict[str, str]:
        fields = {
            "MessageSid": text.sid,
            "SmsSid": text.sid,
            "MessageStatus": text.status.value,
            "SmsStatus": text.status.value,
            "To": text.to,
            "From": text.sender or "",
            "AccountSid": text.account,
            "ApiVersion": API_VERSION,
        }
        if text.service is not None:
            fields["MessagingServiceSid"] = text.service
        if text.error_code is not None:
            fields["ErrorCode"] = str(text.error_code)
        if text.status is Status.DELIVERED:
            fields["RawDlrDoneDate"] = time.strftime("%y%m%d%H%M", time.gmtime(now))
        return fields

    def _inbound_fields(self, text: Text, word: str | None) -> dict[str, str]:
        fields = {
            "MessageSid": text.sid,
            "SmsMessageSid": text.sid,
            "SmsSid": text.sid,
            "SmsStatus": "received",
            "To": text.to,
            "From": text.sender or "",
            "Body": text.body,
            "NumSegments": str(text.segments),
            "NumMedia": "0",
            "AccountSid": text.account,
            "ApiVersion": API_VERSION,
        }
        if text.service is not None:
            fields["MessagingServiceSid"] = text.service
        if word is not None and self._opt_out_type:
            fields["OptOutType"] = word
        return fields

    def _service_of(self, number: str) -> str | None:
        return self.messaging_service_sid if number == self.phone_number else None

    # The other endpoints.

    def _shown(self, text: Text) -> JsonObject:
        billed = (
            text.sent_at is not None
            and text.status in (Status.SENT, Status.DELIVERED, Status.UNDELIVERED)
            and self.clock() >= text.sent_at + self._price_after
        )
        return text.shown(PRICE if billed else None)

    def _list(self, request: web.Request, query: Fields) -> web.Response:
        return _reply(page(self._texts, query, path=request.path, strict=self._strict, show=self._shown))

    def _found(self, request: web.Request) -> Text:
        text = self._by_sid.get(request.match_info["sid"])
        if text is None:
            raise _absent(request)
        return text

    def _fetch(self, request: web.Request, _: Fields) -> web.Response:
        return _reply(self._shown(self._found(request)))

    def _update(self, request: web.Request, form: Fields) -> web.Response:
        text = self._found(request)
        if self._strict:
            check_known(form, frozenset(("Status", "Body")))
        status, body = form.get("Status"), form.get("Body")
        if status is None and body is None:
            raise wrong("Status", "Status or Body is needed")
        if status is not None and status != Status.CANCELED:
            raise wrong("Status", "canceled")
        if body:
            raise wrong("Body", "may only be emptied")
        if status is not None:
            if text.status is not Status.SCHEDULED:
                raise RefusalError(30409, field="Status")
            self._turn(text, Status.CANCELED, self.clock())
        if body is not None:
            text.body, text.updated_at = "", self.clock()
        return _reply(self._shown(text))

    def _delete(self, request: web.Request, _: Fields) -> web.Response:
        text = self._found(request)
        if text.status in UNFINISHED:
            raise RefusalError(20009)
        text.deleted = True
        del self._by_sid[text.sid]
        return web.Response(status=204)

    def _balance(self, _: web.Request, __: Fields) -> web.Response:
        left = self._opening_balance - self._spent
        return _reply({"account_sid": self.account_sid, "balance": str(left), "currency": "USD"})

    def _account(self, _: web.Request, __: Fields) -> web.Response:
        uri = f"/{API_VERSION}/Accounts/{self.account_sid}"
        return _reply(
            {
                "sid": self.account_sid,
                "owner_account_sid": self.account_sid,
                "friendly_name": "Local",
                "status": self.status,
                "type": "Full" if self._verified is None else "Trial",
                "auth_token": self.auth_token,
                "date_created": "Sun, 22 Nov 2026 12:00:00 +0000",
                "date_updated": "Sun, 22 Nov 2026 12:00:00 +0000",
                "uri": f"{uri}.json",
                "subresource_uris": {"messages": f"{uri}/Messages.json", "balance": f"{uri}/Balance.json"},
            }
        )

    # Control routes.

    async def _control_messages(self, request: web.Request) -> web.StreamResponse:
        inbound = request.query.get("direction") == "inbound"
        return await listing(request, "messages", self.inbound if inbound else self.messages, Text.as_dict)

    async def _control_receive(self, request: web.Request) -> web.StreamResponse:
        given = await read_json(request)
        if not isinstance(given, dict) or not isinstance(person := given.get("from"), str):
            raise ValueError('an object with "from" is needed')  # noqa: TRY004 - it came over the wire
        to = given.get("to")
        text = self.receive(person, str(given.get("body", "")), to if isinstance(to, str) else None)
        return web.json_response(text.as_dict(), status=201)

    async def _control_flush(self, request: web.Request) -> web.StreamResponse:
        with self._lock:
            self._settle()
        taken = await self._callbacks.deliver()
        return web.json_response({"delivered": taken, "pending": self._callbacks.pending()})


def _basic(user: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()


def _reply(value: Json, status: int = 200) -> web.Response:
    return web.Response(status=status, text=json.dumps(value), content_type="application/json")


def _absent(request: web.Request) -> RefusalError:
    return RefusalError(20404, f"The requested resource {request.path} was not found")


def _text(draft: Draft, sid: str, account: str, now: float) -> Text:
    started = Status.QUEUED if draft.service is None else Status.ACCEPTED
    return Text(
        sid,
        account,
        draft.to,
        draft.sender,
        draft.body,
        started if draft.send_at is None else Status.SCHEDULED,
        now,
        service=draft.service,
        media=draft.media,
        callback=draft.callback,
        send_at=draft.send_at,
        smart=draft.smart,
    )


def _read_outcome(outcome: str) -> tuple[Status, int | None] | int:
    """Final status and error code, or the code of a refusal. Raises ``ValueError`` for what is neither."""
    name, _, code = outcome.partition(":")
    if outcome.isdecimal() and int(outcome) in ERRORS:
        return int(outcome)
    if name not in _ENDS or (code and not code.isdecimal()):
        raise ValueError(f"no outcome is called {outcome!r}")
    end, usual = _ENDS[name]
    return end, int(code) if code else usual
