"""SMS through Twilio's Programmable Messaging, API version 2010-04-01.

Plain HTTP: three endpoints, and a library whose async client ignores its own timeout (docs/adr/0012). Sources:
twilio/twilio-oai 2.6.7, `twilio_api_v2010`; Twilio's error dictionary; its pages on message scheduling and test
credentials.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

from pydantic import BeforeValidator, Field, JsonValue

from providers.core.errors import (
    AuthenticationError,
    BadResponseError,
    ConfigurationError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    ProviderError,
    QuotaExceededError,
    RateLimitedError,
    Refusal,
    RejectedError,
    UnsupportedOperationError,
)
from providers.core.json import to_json
from providers.core.models import CheckResult, CheckState, Money, Quota, RawRequest, Ref, Reply, WebhookResult
from providers.core.redact import SecretText
from providers.core.transport import HttpResponse, JsonApi, StatusError, from_status
from providers.sms.facts import TWILIO
from providers.sms.models import SERVICE, SentSms, SmsMessage, SmsState, SmsStatus
from providers.sms.models import sender as one_spelling
from providers.sms.opt_outs import CODE
from providers.sms.segments import count
from providers.sms.twilio_events import CODES, EVENT_TYPES, SIGNATURE, TRACKING_ID, Callback, parse, verified

if TYPE_CHECKING:
    from providers.core.account import Account
    from providers.sms.events import SmsEvent

MESSAGE_SID = re.compile(r"(?:SM|MM)[0-9a-fA-F]{32}")
LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")

LONGEST_CALLBACK = 4000
"""Characters of a StatusCallback; Twilio's page on error 21609."""

CLOCKS = 5.0
"""Seconds that Twilio's clock may differ from ours, its whole seconds included."""

PAGE, PAGES = 100, 10
"""Texts a page, and pages, that a look-up reads; newest first."""

TRIAL = "Sent from your Twilio trial account - "
"""What Twilio puts before every text of a trial account."""

OWN_FIELDS = {"To": "to", "Body": "body"}
"""What opt-outs, segments and look-ups go by: not to be replaced behind their back."""

STATES = {word: SmsState(kind) for word, kind in EVENT_TYPES.items()}

OUR_FIELDS = {
    "To": "to",
    "From": "sender",
    "MessagingServiceSid": "sender",
    "Body": "body",
    "SendAt": "send_at",
    "ScheduleType": "send_at",
    "ValidityPeriod": "valid_for",
    "StatusCallback": "TWILIO_STATUS_CALLBACK_URL",
}


REFUSALS: Mapping[int, Refusal] = {
    20003: Refusal(AuthenticationError),
    20005: Refusal(PermissionDeniedError),
    30002: Refusal(PermissionDeniedError),
    20404: Refusal(NotFoundError),
    20429: Refusal(RateLimitedError),
    14107: Refusal(RateLimitedError),
    21611: Refusal(RateLimitedError, "sender"),
    63038: Refusal(QuotaExceededError),
    21408: Refusal(PermissionDeniedError, "to"),
    21608: Refusal(PermissionDeniedError, "to"),
    21609: Refusal(ConfigurationError, "TWILIO_STATUS_CALLBACK_URL"),
    21610: Refusal(RejectedError, "to", CODE),
    **dict.fromkeys((21211, 21217, 21265, 21266, 21604, 21612, 21614, 21635), Refusal(InvalidRequestError, "to")),
    **dict.fromkeys((21212, 21603, 21606, 21659), Refusal(InvalidRequestError, "sender")),
    **dict.fromkeys((21703, 21704, 21705), Refusal(InvalidRequestError, "sender")),
    **dict.fromkeys((21602, 21605, 21617, 21619, 21658), Refusal(InvalidRequestError, "body")),
    **dict.fromkeys((35111, 35114, 35117, 35118), Refusal(InvalidRequestError, "send_at")),
}

TEST_CREDENTIALS = 20008
"""All but sending and buying is closed to them."""


class TwilioSms:
    """Messages, balance and webhooks of one Twilio account."""

    facts = TWILIO

    def __init__(self, account: Account) -> None:
        self._account = account
        self._clock = account.clock
        self._sid = account.get("TWILIO_ACCOUNT_SID")
        self._path = f"/2010-04-01/Accounts/{quote(self._sid, safe='')}"
        self._messages = self._path + "/Messages.json"
        self._number, self._service = _senders(account)
        callback = account.get("TWILIO_STATUS_CALLBACK_URL")
        self._callback = Callback.parse(callback) if callback else None
        key, secret = account.get("TWILIO_API_KEY_SID"), account.get("TWILIO_API_KEY_SECRET")
        if bool(key) is not bool(secret):
            name = "TWILIO_API_KEY_SECRET" if key else "TWILIO_API_KEY_SID"
            msg = f"{name} is not set: an API key is both, its SID and its secret"
            raise ConfigurationError(msg, field=name)
        self._has_key = bool(key)
        login = f"{key}:{secret}" if key else f"{self._sid}:{account.get('TWILIO_AUTH_TOKEN')}"
        headers: dict[str, str] = {
            "Authorization": SecretText("Basic " + b64encode(login.encode()).decode()),
            "Accept": "application/json",
            "User-Agent": account.user_agent,
        }
        self.client = JsonApi(_base_url(account), transport=account.http(), headers=headers)

    @property
    def correlates(self) -> bool:
        """Only what is sent with a callback URL comes back with the text's own data, in that URL."""
        return self._callback is not None

    def translate(self, error: Exception) -> ProviderError | None:
        """By Twilio's error code, of either form of body; else by the status."""
        if not isinstance(error, StatusError):
            return None
        response = error.response
        told = _told(response)
        code = None if told.code is None else str(told.code)
        named = from_status(response, self.facts, message=told.text(response.status), clock=self._clock, code=code)
        known = REFUSALS.get(told.code) if told.code is not None and 400 <= response.status < 500 else None
        if known is not None:
            named = known.kind(
                named.message, status=response.status, code=known.code or code, retry_after=named.retry_after
            )
        named.field = told.field or (known and known.field)
        named.request_id = response.headers.get("twilio-request-id") or named.request_id
        return named

    async def send(self, message: SmsMessage, tracking_id: str) -> SentSms:
        """`POST Messages.json`. Twilio knows no idempotency key.

        A `StatusCallback` among the vendor options replaces ours: its events bring nothing of the text back.
        """
        callback = "" if self._callback is None else _callback_url(self._callback, message, tracking_id)
        form = self._form(message, callback)
        response = await self.client.request("POST", self._messages, form=form)
        raw = response.json_object()
        return _sent(_Created.model_validate(raw), raw, message)

    async def find(self, message: SmsMessage, since: float) -> list[SentSms]:
        """`GET Messages.json?To=`, made no more than five seconds (`CLOCKS`) before that moment.

        Not by `DateSent`: what still waits to be sent has none.
        """
        form = self._form(message, "")
        path = self._messages
        params: dict[str, str | int] = {"To": message.to, "PageSize": PAGE}
        found: list[tuple[datetime, SentSms]] = []
        for _ in range(PAGES):
            response = await self.client.request("GET", path, params=params)
            page = _Page.model_validate(response.json_object())
            read = [(_Message.model_validate(raw), raw) for raw in page.messages]
            recent = [(one, raw) for one, raw in read if one.date_created.timestamp() >= since - CLOCKS]
            found += [(one.date_created, _sent(one, raw, message)) for one, raw in recent if _same_text(one, form)]
            if not recent or not page.next_page_uri:
                break
            path, params = self._following(page.next_page_uri), {}
        return [sent for _, sent in sorted(found, key=lambda one: one[0])]

    async def status(self, ref: Ref) -> SmsStatus:
        """`GET Messages/{sid}.json`. The price comes minutes after the text."""
        if not MESSAGE_SID.fullmatch(ref.id):
            msg = f"ref: {ref.id[:80]!r} is not the SID of a message"
            raise NotFoundError(msg, vendor="twilio", field="ref")
        response = await self.client.request("GET", f"{self._path}/Messages/{ref.id}.json")
        raw = response.json_object()
        found = _Message.model_validate(raw)
        code = str(found.error_code or "")
        permanent, reason = CODES.get(code, (None, ""))
        return SmsStatus(
            ref=ref,
            recipient=found.to,
            state=STATES.get(found.status, SmsState.UNKNOWN),
            segments=found.num_segments or None,
            price=found.asked,
            code=code,
            reason=found.error_message or reason,
            permanent=permanent,
            updated_at=found.date_updated,
            raw=raw,
        )

    async def opt_outs(self, cursor: str) -> tuple[list[str], str]:
        """Unsupported: see the facts."""
        raise UnsupportedOperationError(self.facts.unsupported["opt_outs"])

    async def opt_in(self, number: str) -> None:
        """Unsupported: see the facts."""
        raise UnsupportedOperationError(self.facts.unsupported["opt_in"])

    def recognises(self, request: RawRequest) -> bool:
        """By the signature header."""
        return SIGNATURE in request.headers

    async def webhook(self, request: RawRequest) -> WebhookResult[SmsEvent]:
        """HMAC-SHA1 with the primary auth token, over the URL and the form. It names no time: drop repeats by
        `event_id`.
        """  # noqa: D205
        form = verified(
            request,
            token=SecretText(self._account.get("TWILIO_AUTH_TOKEN")),
            account_sid=self._sid,
            public="" if self._callback is None else self._callback.origin,
        )
        return parse(form, request.url, self._clock.time())

    async def check(self) -> CheckResult:
        """`GET Balance.json`; where that is not for these credentials, one text of `Messages.json`.

        Never the account itself: its reply holds the auth token.
        """
        try:
            response = await self.client.request("GET", self._path + "/Balance.json")
        except StatusError as error:
            return await self._check_without_balance(error)
        balance = _Balance.model_validate(response.json_object())
        quota = Quota(unit=balance.currency, remaining=balance.balance)
        return CheckResult(vendor="twilio", state=CheckState.OK, quota=quota, sandbox=False)

    async def aclose(self) -> None:
        """Nothing of its own."""

    async def _check_without_balance(self, error: StatusError) -> CheckResult:
        """Test credentials, a key without the right, or a subaccount, which has no balance of its own."""
        told, status = _told(error.response), error.response.status
        if status == 403 and (told.code == TEST_CREDENTIALS or "test account credentials" in told.text(status).lower()):
            detail = "test credentials: nothing is sent or charged, and no events come"
            return CheckResult(vendor="twilio", state=CheckState.OK, detail=detail, sandbox=True)
        if status != 404 and not (self._has_key and status in {401, 403}):
            raise error
        response = await self.client.request("GET", self._messages, params={"PageSize": 1})
        _Page.model_validate(response.json_object())
        detail = "these credentials may not see the balance"
        return CheckResult(vendor="twilio", state=CheckState.OK, detail=detail, sandbox=False)

    def _form(self, message: SmsMessage, callback: str) -> dict[str, str | Sequence[str]]:
        """The text as Twilio's form. Raises for what cannot be sent so."""
        form: dict[str, str | Sequence[str]] = {"To": message.to, "Body": message.body}
        sender = message.sender or self._service or self._number
        form["MessagingServiceSid" if SERVICE.fullmatch(sender) else "From"] = sender
        if callback:
            form["StatusCallback"] = callback
        if message.valid_for is not None:
            form["ValidityPeriod"] = str(message.valid_for)
        if message.send_at is not None:
            if self._service:
                form.setdefault("MessagingServiceSid", self._service)
            form["SendAt"] = message.send_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            form["ScheduleType"] = "fixed"
        if options := message.vendor_options.get("twilio"):
            _merge(form, options)
        if "SendAt" in form and "MessagingServiceSid" not in form:
            msg = "send_at: Twilio schedules only through a messaging service; set TWILIO_MESSAGING_SERVICE_SID"
            raise UnsupportedOperationError(msg, vendor="twilio", field="send_at")
        return form

    def _following(self, uri: str) -> str:
        """The next page's path, if it is one of ours."""
        if not uri.startswith(self._messages + "?") or not uri.isascii() or not uri.isprintable() or " " in uri:
            msg = "next_page_uri: not a page of the account's messages"
            raise BadResponseError(msg, code="next_page_uri", vendor="twilio")
        return uri


def _senders(account: Account) -> tuple[str, str]:
    """Default number and messaging service; one of them at least."""
    number, service = account.get("TWILIO_PHONE_NUMBER"), account.get("TWILIO_MESSAGING_SERVICE_SID")
    if not number and not service:
        msg = "TWILIO_PHONE_NUMBER or TWILIO_MESSAGING_SERVICE_SID: set one of them, or no text has a sender"
        raise ConfigurationError(msg, field="TWILIO_PHONE_NUMBER")
    if service and not SERVICE.fullmatch(service):
        msg = "TWILIO_MESSAGING_SERVICE_SID: not of the form MG and 32 hexadecimal digits"
        raise ConfigurationError(msg, field="TWILIO_MESSAGING_SERVICE_SID")
    try:
        return number and one_spelling(number), service
    except ValueError as error:
        msg = f"TWILIO_PHONE_NUMBER: {error}"
        raise ConfigurationError(msg, field="TWILIO_PHONE_NUMBER") from None


def _base_url(account: Account) -> str:
    """`https://api.<edge>.<region>.twilio.com`, as the vendor's library has it: an edge alone is in `us1`."""
    region, edge = account.get("TWILIO_REGION"), account.get("TWILIO_EDGE")
    for name, value in (("TWILIO_REGION", region), ("TWILIO_EDGE", edge)):
        if value and not LABEL.fullmatch(value):
            msg = f"{name}: {value[:40]!r} is not a part of a host name"
            raise ConfigurationError(msg, field=name)
    if account.base_url != TWILIO.base_url or not (region or edge):
        return account.base_url
    parts = ("https://api", edge, region or "us1", "twilio.com")
    return ".".join(part for part in parts if part)


def _callback_url(callback: Callback, message: SmsMessage, tracking_id: str) -> str:
    if TRACKING_ID in message.metadata:
        field = f"metadata.{TRACKING_ID}"
        msg = f"{field}: the name is ours; use another"
        raise InvalidRequestError(msg, field=field, vendor="twilio")
    url = callback.url(tracking_id, message.metadata, message.tags)
    if len(url) > LONGEST_CALLBACK:
        msg = (
            f"metadata: with the tags it makes the callback URL {len(url):,} characters long; "
            f"Twilio takes {LONGEST_CALLBACK:,}"
        )
        raise InvalidRequestError(msg, field="metadata", code="too_long", vendor="twilio")
    return url


def _merge(form: dict[str, str | Sequence[str]], options: Mapping[str, JsonValue]) -> None:
    """Options as the form has them: yes and no in words, lists as repeated keys, null to leave a key out."""
    for name, value in options.items():
        if name in OWN_FIELDS:
            field = f"vendor_options.twilio.{name}"
            msg = f"{field}: set the message's own {OWN_FIELDS[name]!r}"
            raise InvalidRequestError(msg, field=field, vendor="twilio")
        if value is None:
            form.pop(name, None)
        else:
            form[name] = [_word(one) for one in value] if isinstance(value, list) else _word(value)


def _word(value: JsonValue) -> str:
    if isinstance(value, str):
        return value
    return to_json(value).decode()


def _same_text(found: _Message, form: Mapping[str, str | Sequence[str]]) -> bool:
    """Whether a text of the list is the one that this form made. A service picks its number only later."""
    if found.body not in {form["Body"], TRIAL + str(form["Body"])}:
        return False
    service, number = form.get("MessagingServiceSid"), form.get("From")
    if service is not None and found.messaging_service_sid != service:
        return False
    return number is None or found.sender == number


def _sent(found: _Created, raw: JsonValue, message: SmsMessage) -> SentSms:
    return SentSms(
        ref=Ref(vendor="twilio", id=found.sid),
        recipient=message.to,
        # A service counts only when it has picked the sender.
        segments=found.num_segments or count(message.body).segments,
        status=STATES.get(found.status, SmsState.UNKNOWN),
        price=found.asked,
        raw=raw,
    )


def _told(response: HttpResponse) -> _Refused:
    try:
        return _Refused.model_validate_json(response.content)
    except ValueError:
        return _Refused()


def _date(value: object) -> object:
    """RFC 2822, as this version of the API writes times."""
    if not isinstance(value, str):
        return value
    moment = parsedate_to_datetime(value)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


Date = Annotated[datetime, BeforeValidator(_date)]


class _Problem(Reply):
    detail: str | None = None
    pointer: str | None = None


class _Refused(Reply):
    """`{code, message}`, or RFC 9457."""

    code: int | None = None
    message: str | None = None
    title: str | None = None
    detail: str | None = None
    errors: list[_Problem] | None = None

    def text(self, status: int) -> str:
        """What it says, in its own words."""
        parts = [self.message or self.detail or self.title, *(one.detail for one in (self.errors or [])[:5])]
        return "; ".join(part for part in parts if part) or f"refused with HTTP {status}, without the documented reason"

    @property
    def field(self) -> str | None:
        """The part of our message that the first pointer names."""
        pointers = [one.pointer for one in self.errors or [] if one.pointer]
        if not pointers:
            return None
        name = pointers[0].rpartition("/")[2]
        return OUR_FIELDS.get(name, f"vendor_options.twilio.{name[:80]}")


class _Created(Reply):
    sid: Annotated[str, Field(min_length=1, max_length=200)]
    status: str = ""
    num_segments: int | None = None
    price: Annotated[Decimal | None, Field(gt=-1_000_000, lt=1_000_000)] = None
    price_unit: str | None = None

    @property
    def asked(self) -> Money | None:
        """What the text costs; Twilio writes it as a change of the balance, negative."""
        unit = (self.price_unit or "").upper()
        if self.price is None or len(unit) != 3 or not unit.isascii() or not unit.isalpha():
            return None
        return Money(amount=-self.price, currency=unit)


class _Message(_Created):
    to: str
    sender: Annotated[str | None, Field(alias="from")] = None
    body: str | None = None
    messaging_service_sid: str | None = None
    error_code: int | None = None
    error_message: str | None = None
    date_created: Date
    date_updated: Date | None = None


class _Page(Reply):
    messages: list[JsonValue]
    next_page_uri: str | None = None


class _Balance(Reply):
    balance: Decimal
    currency: str
