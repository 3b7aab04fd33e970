"""SMS through Amazon SNS.

The official library, in threads, as for SES. Sources: botocore's service model `sns` (2010-03-31); Amazon SNS developer
guide, "Mobile text messaging with Amazon SNS".
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, cast

from pydantic import Field

from providers.core.errors import (
    BadResponseError,
    ConfigurationError,
    InvalidRequestError,
    PermissionDeniedError,
    ProviderError,
    RejectedError,
    UnsupportedOperationError,
)
from providers.core.models import CheckResult, CheckState, Quota, RawRequest, Ref, Reply, WebhookResult
from providers.sms.events import SmsEvent
from providers.sms.facts import SNS
from providers.sms.models import SERVICE, SHORT_CODE, SentSms, SmsKind, SmsMessage, SmsState, SmsStatus, sender
from providers.sms.opt_outs import CODE
from providers.sms.segments import count
from providers.sms.sns_logs import number, parse_notification
from providers.vendors import sns
from providers.vendors.aws import Aws, ClientError, check_parameters, code_of, translate

if TYPE_CHECKING:
    from types_boto3_sns import SNSClient

    from providers.core.account import Account

Request: TypeAlias = dict[str, Any]

SMS_TYPE, MAX_PRICE = "AWS.SNS.SMS.SMSType", "AWS.SNS.SMS.MaxPrice"
SENDER_ID, ORIGINATION = "AWS.SNS.SMS.SenderID", "AWS.MM.SMS.OriginationNumber"

TYPES = {SmsKind.TRANSACTIONAL: "Transactional", SmsKind.PROMOTIONAL: "Promotional"}
NAME = re.compile(r"(?=[A-Za-z0-9]*[A-Za-z])[A-Za-z0-9]{1,11}", re.ASCII)
NUMBER = re.compile(r"\+?\d+", re.ASCII)
NO_NAMES = "+1"
"""North America, where a text comes from a number and never from a name."""

FIXED = frozenset({"PhoneNumber", "TargetArn", "TopicArn", "Message"})
"""Who gets which text: opt-outs and redirects have been looked at for those of the message."""

DENIED = frozenset({"AuthorizationError", "AuthorizationErrorException", "AccessDenied", "AccessDeniedException"})

PARTS = (
    (SENDER_ID, "sender"),
    (ORIGINATION, "sender"),
    ("senderid", "sender"),
    ("originationnumber", "sender"),
    (MAX_PRICE, "max_price"),
    (SMS_TYPE, "kind"),
    ("phonenumber", "to"),
    ("phone number", "to"),
    ("message", "body"),
)
"""What a refusal names, and the part of a text that it is; the first that is in it."""


class SnsSms:
    """Texts of one account in one region, its opt-outs, and events through a topic that relays the delivery logs.

    A name goes as the sender id and a number as the origination number; where both have defaults, texts to North
    America have the number and all others the name. SNS splits between words, so `segments` is what there are at least,
    and holds `max_price` against the whole text. Options of `vendor_options["sns"]` are parameters of `Publish`; its
    `MessageAttributes` come on top of ours.
    """

    facts = SNS
    correlates = False

    def __init__(self, account: Account) -> None:
        self._account = account
        self._clock = account.clock
        self._aws = Aws(
            account,
            service="sns",
            access_key=account.get("SNS_ACCESS_KEY_ID"),
            secret_key=account.get("SNS_SECRET_ACCESS_KEY"),
            region=account.get("SNS_REGION"),
        )
        self._number = _default(account, "SNS_ORIGINATION_NUMBER", NUMBER, "a number or a short code of ours")
        self._name = _default(account, "SNS_SENDER_ID", NAME, "a name of up to 11 letters and digits")
        self._max_price = _default_price(account)
        self._topics = sns.topics_of(account.get("SNS_TOPIC_ARN"), "SNS_TOPIC_ARN")
        require_v2 = account.flag("SNS_REQUIRE_V2")
        self._sns = sns.SnsReceiver(account, self._aws, topics=self._topics, require_v2=require_v2)

    @property
    def client(self) -> SNSClient:
        """The library's own client. Blocking, and slow to make: for use on a thread."""
        return self._aws.sns(self._aws.region)

    def translate(self, error: Exception) -> ProviderError | None:
        """By Amazon's common errors, and those that mean something of their own for texts."""
        named = translate(error, self.facts, self._clock)
        if named is None or named.status is None or named.status >= 500:
            return named
        code, text = named.code or "", named.message.lower()
        if code in {"OptedOut", "OptedOutException"}:
            return RejectedError(named.message, code=CODE, status=named.status, request_id=named.request_id, field="to")
        if code.startswith("KMS"):
            return PermissionDeniedError(
                named.message, code=code, status=named.status, request_id=named.request_id, field="SNS_TOPIC_ARN"
            )
        if type(named) is InvalidRequestError:
            named.field = next((field for part, field in PARTS if part.lower() in text), None)
        return named

    async def send(self, message: SmsMessage, tracking_id: str) -> SentSms:
        """`Publish`. Accepted, whatever becomes of it: opt-outs, prices and the month's limit show in the logs only."""
        attributes = {SMS_TYPE: _text(TYPES[message.kind]), **self._sender(message)}
        price = _price(message) or self._max_price
        if price:
            attributes[MAX_PRICE] = {"DataType": "Number", "StringValue": price}
        request: Request = {"PhoneNumber": message.to, "Message": message.body, "MessageAttributes": attributes}
        answer = await self._aws.run(lambda: self._prepared(request, message).publish(**request))
        return SentSms(
            ref=Ref(vendor="sns", id=_Sent.model_validate(answer).message_id),
            recipient=message.to,
            segments=count(message.body).segments,
            status=SmsState.QUEUED,
        )

    async def find(self, message: SmsMessage, since: float) -> list[SentSms]:
        """Not at SNS."""
        raise UnsupportedOperationError(f"find: {SNS.unsupported['find']}", vendor="sns")

    async def status(self, ref: Ref) -> SmsStatus:
        """Not at SNS."""
        raise UnsupportedOperationError(f"status: {SNS.unsupported['status']}", vendor="sns")

    async def opt_outs(self, cursor: str) -> tuple[list[str], str]:
        """`ListPhoneNumbersOptedOut`, of the region; a cursor is the vendor's `nextToken`."""
        token = {"nextToken": cursor} if cursor else {}
        answer = await self._aws.run(lambda: self.client.list_phone_numbers_opted_out(**cast("Any", token)))
        found = _OptedOut.model_validate(answer)
        if cursor and found.next_token == cursor:
            msg = "the list of opt-outs goes round in circles"
            raise BadResponseError(msg, code="reply")
        return [number(one) for one in found.numbers], found.next_token or ""

    async def opt_in(self, number: str) -> None:
        """`OptInPhoneNumber`: once in 30 days for a number, `InvalidRequestError` before."""
        await self._aws.run(lambda: self.client.opt_in_phone_number(phoneNumber=number))

    def recognises(self, request: RawRequest) -> bool:
        """By the header that SNS sends."""
        return sns.recognises(request)

    async def webhook(self, request: RawRequest) -> WebhookResult[SmsEvent]:
        """RSA over the envelope's fields, from a topic of `SNS_TOPIC_ARN`; then the delivery logs in it."""
        if not self._topics:
            msg = "SNS_TOPIC_ARN is not set; without it no event can be trusted"
            raise ConfigurationError(msg, field="SNS_TOPIC_ARN")
        message = await self._sns.receive(request)
        events: tuple[SmsEvent, ...] = ()
        if message.type is sns.SnsType.NOTIFICATION:
            events = parse_notification(message.text, self._clock.time())
        return WebhookResult[SmsEvent](events=events)

    async def check(self) -> CheckResult:
        """`GetSMSAttributes`: the month's limit; then whether the account is in the sandbox, where it may be asked."""
        try:
            answer = await self._aws.run(lambda: self.client.get_sms_attributes())  # noqa: PLW0108 (the client is made on the thread too)
        except ClientError as error:
            if code_of(error) not in DENIED:
                raise
            # Signed well enough to be told so: keys that may only send are the best ones.
            msg = "the key is valid; sns:GetSMSAttributes is not allowed, so limit and sandbox are not known"
            return CheckResult(vendor="sns", state=CheckState.OK, detail=msg)
        settings = _Settings.model_validate(answer).attributes
        limit = _amount(settings.get("MonthlySpendLimit", ""))
        notes = [f"{limit} USD a month"] if limit is not None else []
        sandbox = await self._in_sandbox()
        if sandbox:
            notes.append("only verified numbers get texts until AWS grants production access")
        if sandbox is None:
            notes.append("whether this is the sandbox is not known")
        if not settings.get("DeliveryStatusIAMRole"):
            notes.append("SNS writes no delivery logs (DeliveryStatusIAMRole is not set)")
        elif settings.get("DeliveryStatusSuccessSamplingRate", "0") == "0":
            notes.append("SNS logs failures only (DeliveryStatusSuccessSamplingRate is 0)")
        return CheckResult(
            vendor="sns",
            state=CheckState.OK,
            detail="; ".join(notes),
            permissions=("sns:GetSMSAttributes", *(() if sandbox is None else ("sns:GetSMSSandboxAccountStatus",))),
            quota=Quota(unit="USD", limit=limit) if limit is not None else None,
            sandbox=sandbox,
        )

    async def aclose(self) -> None:
        """Nothing of its own."""

    async def _in_sandbox(self) -> bool | None:
        """None where it cannot be asked: older policies do not allow it, and emulators do not have it."""
        try:
            answer = await self._aws.run(lambda: self.client.get_sms_sandbox_account_status())  # noqa: PLW0108 (as above)
        except (ClientError, BadResponseError):
            return None
        return _Sandbox.model_validate(answer).inside

    def _sender(self, message: SmsMessage) -> Request:
        """The attribute that says whom a text is from; none where nothing is set, and SNS chooses."""
        name = message.sender
        if name is None:
            both = self._number and self._name
            plain = self._number if both and message.to.startswith(NO_NAMES) else self._name or self._number
            return _from(plain) if plain else {}
        if SERVICE.fullmatch(name):
            msg = "sender: SNS has no messaging services; give a number, a short code or a name"
            raise UnsupportedOperationError(msg, vendor="sns", field="sender")
        if not (NUMBER.fullmatch(name) or NAME.fullmatch(name)):
            msg = f"sender: {name!r}: at SNS a name is up to 11 letters and digits, without spaces"
            raise InvalidRequestError(msg, field="sender")
        return _from(name)

    def _prepared(self, request: Request, message: SmsMessage) -> SNSClient:
        """The client, for a request that has got the caller's options and passes as the vendor's."""
        client = self.client
        if options := message.vendor_options.get("sns"):
            if taken := sorted(FIXED.intersection(options)):
                msg = f"vendor_options: {taken[0]} is the text's own"
                raise InvalidRequestError(msg, field=f"vendor_options.sns.{taken[0]}")
            ours, theirs = request["MessageAttributes"], options.get("MessageAttributes", {})
            request.update(options)
            if isinstance(theirs, dict):
                request["MessageAttributes"] = {**ours, **theirs}
            check_parameters(client, "Publish", request)
        return client


def _from(name: str) -> Request:
    return {(ORIGINATION if NUMBER.fullmatch(name) else SENDER_ID): _text(name)}


def _text(value: str) -> Request:
    return {"DataType": "String", "StringValue": value}


def _default(account: Account, variable: str, form: re.Pattern[str], what: str) -> str:
    """A default sender. Raises `ConfigurationError` for what is none."""
    value = account.get(variable).strip()
    if not value:
        return ""
    try:
        name = sender(value)
    except ValueError:
        name = ""
    if not form.fullmatch(name) or (form is NAME and SHORT_CODE.fullmatch(name)):
        msg = f"{variable}: {value[:40]!r} is not {what}"
        raise ConfigurationError(msg, vendor=SNS.vendor, field=variable)
    return name


def _default_price(account: Account) -> str:
    value = account.get("SNS_MAX_PRICE").strip()
    amount = _amount(value)
    if value and not amount:
        msg = f"SNS_MAX_PRICE: {value[:40]!r} is not an amount of USD; write for example 0.05"
        raise ConfigurationError(msg, vendor=SNS.vendor, field="SNS_MAX_PRICE")
    return f"{amount:f}" if amount else ""


def _price(message: SmsMessage) -> str:
    """The exact digits of what a text may cost."""
    price = message.max_price
    if price is None:
        return ""
    if price.currency != "USD":
        msg = f"max_price: SNS counts in USD, not in {price.currency}"
        raise InvalidRequestError(msg, field="max_price")
    amount = _amount(str(price.amount))
    if not amount:
        msg = f"max_price: {price.amount} USD is nothing that a text can cost"
        raise InvalidRequestError(msg, field="max_price")
    return f"{amount:f}"


def _amount(text: str) -> Decimal | None:
    """A sum of money, at least 0; None for anything else."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and 0 <= amount < 10**9 and abs(amount.adjusted()) < 20 else None


class _Sent(Reply):
    message_id: Annotated[str, Field(alias="MessageId", pattern=r"^[!-~]{1,200}$")]


class _OptedOut(Reply):
    numbers: list[str] = Field(default_factory=list[str], alias="phoneNumbers")
    next_token: str | None = Field(None, alias="nextToken")


class _Settings(Reply):
    attributes: dict[str, str] = Field(default_factory=dict[str, str])


class _Sandbox(Reply):
    inside: bool = Field(alias="IsInSandbox")
