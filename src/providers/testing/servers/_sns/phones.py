"""Texts of the local SNS: what it takes, what it answers, what becomes of them (model sns 2010-03-31)."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from http import HTTPStatus
from typing import Final

from providers.testing.servers._aws.call import Answer, Call, RefusalError
from providers.testing.servers._aws.check import sub, text, texts
from providers.testing.servers._host import JsonObject
from providers.testing.servers._sns.logs import NONE, Log, Text
from providers.testing.servers._sns.parts import parts_of

LONGEST: Final = 1600
PAGE: Final = 100
OPT_IN_SECONDS: Final = 30 * 24 * 3600
ROLE: Final = "arn:aws:iam::123456789012:role/sns-sms-logs"

_NUMBER: Final = re.compile(r"\+?[1-9]\d{6,14}", re.ASCII)
_NAME: Final = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9](?:[A-Za-z0-9-]{0,9}[A-Za-z0-9])?", re.ASCII)
_KINDS: Final = ("Promotional", "Transactional")
_TYPE, _PRICE = "AWS.SNS.SMS.SMSType", "AWS.SNS.SMS.MaxPrice"
_SENDER, _ORIGINATION = "AWS.SNS.SMS.SenderID", "AWS.MM.SMS.OriginationNumber"
_KNOWN: Final = (_TYPE, _PRICE, _SENDER, _ORIGINATION, "AWS.MM.SMS.EntityId", "AWS.MM.SMS.TemplateId")
_SETTINGS: Final = (
    *("MonthlySpendLimit", "DeliveryStatusIAMRole", "DeliveryStatusSuccessSamplingRate", "DefaultSenderID"),
    *("DefaultSMSType", "UsageReportS3Bucket"),
)


def _invalid(message: str) -> RefusalError:
    return RefusalError("InvalidParameter", f"Invalid parameter: {message}")


def _wrong_value(message: str) -> RefusalError:
    return RefusalError("ParameterValueInvalid", message)


class Phones:
    """The account's settings, opt-outs and texts. ``tell`` gets every delivery log; ``topics`` publishes to topics."""

    def __init__(
        self,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        tell: Callable[[Log], None],
        topics: Answer,
        *,
        keep: int,
        sandbox: bool,
        verified: Iterable[str],
        owned: Iterable[str],
        opted_out: Iterable[str],
        refuses_opted_out: bool,
        outcomes: Mapping[str, str] | None,
        rate: float | None,
        spend_limit: Decimal,
        price: Decimal,
    ) -> None:
        self._clock, self._new_id, self._tell, self._topics = clock, new_id, tell, topics
        self.sandbox = sandbox
        self.refuses_opted_out, self.rate = refuses_opted_out, rate
        self._spend_limit, self._price = spend_limit, price
        self._owned = tuple(owned)
        self._first = (frozenset(verified), frozenset(opted_out), dict(outcomes or {}))
        self.verified, self.opted_out, self.outcomes = set(self._first[0]), set(self._first[1]), dict(self._first[2])
        self.texts: deque[Text] = deque(maxlen=keep)
        self.logs: deque[Log] = deque(maxlen=keep)
        self.settings: dict[str, str] = {}
        self._opted_in: dict[str, float] = {}
        self._recent: deque[float] = deque()
        self._successes = 0
        self.clear()

    def clear(self) -> None:
        """Back to the start."""
        self.verified, self.opted_out, self.outcomes = set(self._first[0]), set(self._first[1]), dict(self._first[2])
        self.texts.clear()
        self.logs.clear()
        self._opted_in.clear()
        self._recent.clear()
        self._successes = 0
        self.settings = {
            "MonthlySpendLimit": str(self._spend_limit),
            "DeliveryStatusIAMRole": ROLE,
            "DeliveryStatusSuccessSamplingRate": "100",
            "DefaultSMSType": "Transactional",
        }

    def operations(self) -> Iterable[tuple[str, Answer]]:
        """What it answers; ``Publish`` to topics too."""
        yield "Publish", self._publish
        yield "GetSMSAttributes", self._get_settings
        yield "SetSMSAttributes", self._set_settings
        yield "CheckIfPhoneNumberIsOptedOut", self._check
        yield "ListPhoneNumbersOptedOut", self._list
        yield "OptInPhoneNumber", self._opt_in
        yield "GetSMSSandboxAccountStatus", self._status
        yield "ListOriginationNumbers", self._numbers

    def log(self, found: Text, outcome: str, extra: JsonObject | None = None) -> Log:
        """Write a log, and tell of it if the account's settings have it so."""
        log = Log(found, outcome, self._clock(), extra or {})
        self.logs.append(log)
        if not self.settings.get("DeliveryStatusIAMRole"):
            return log
        if log.succeeded:
            self._successes += 1
            rate = int(self.settings.get("DeliveryStatusSuccessSamplingRate", "0"))
            if self._successes * rate // 100 == (self._successes - 1) * rate // 100:
                return log
        self._tell(log)
        return log

    # Operations.

    def _publish(self, call: Call) -> JsonObject:
        if "PhoneNumber" not in call.params:
            return self._topics(call)
        if "TopicArn" in call.params or "TargetArn" in call.params:
            raise _invalid("PhoneNumber Reason: only one of TopicArn, TargetArn and PhoneNumber can be given")
        number, body = text(call.params, "PhoneNumber"), text(call.params, "Message")
        if _NUMBER.fullmatch(number) is None:
            raise _invalid(f"PhoneNumber Reason: {number} is not valid to publish to")
        if not body.strip():
            raise _invalid("Empty message")
        if len(body) > LONGEST:
            raise _invalid("Message Reason: SMS message must be less than 1600 characters long")
        attributes = self._attributes(call)
        number = "+" + number.removeprefix("+")
        self._throttle()
        if self.refuses_opted_out and number in self.opted_out:
            raise RefusalError("OptedOut", f"Phone number {number} is opted out")
        parts = parts_of(body)
        price = self._price * parts
        outcome = self._outcome(number, attributes, price)
        charged = outcome not in ("max_price", "opted_out", "spend_limit", "not_verified")
        taken = Text(
            self._new_id(),
            number,
            body,
            attributes,
            attributes.get(_TYPE, self.settings.get("DefaultSMSType", _KINDS[0])),
            self._clock(),
            parts,
            float(price) if charged else 0.0,
        )
        self.texts.append(taken)
        if outcome != NONE:
            self.log(taken, outcome)
        return {"MessageId": taken.message_id}

    def _attributes(self, call: Call) -> dict[str, str]:
        given = sub(call.params, "MessageAttributes")
        found = {name: self._attribute(name, value if isinstance(value, dict) else {}) for name, value in given.items()}
        if found.get(_TYPE, _KINDS[0]) not in _KINDS:
            raise _wrong_value(f"Invalid value for {_TYPE}: it is either Promotional or Transactional")
        if _SENDER in found and (len(found[_SENDER]) > 11 or _NAME.fullmatch(found[_SENDER]) is None):
            raise _wrong_value(f"Invalid value for {_SENDER}: 1 to 11 letters, digits and hyphens, one letter at least")
        if _ORIGINATION in found and found[_ORIGINATION] not in self._owned:
            raise _wrong_value(f"Invalid value for {_ORIGINATION}: the number is not one of this account")
        return found

    def _attribute(self, name: str, given: JsonObject) -> str:
        kind, value = text(given, "DataType"), text(given, "StringValue")
        if name.startswith("AWS.") and name not in _KNOWN:
            raise _wrong_value(f"The message attribute '{name}' is not known")
        if kind.partition(".")[0] not in ("String", "Number", "Binary"):
            raise _wrong_value(f"The message attribute '{name}' has an invalid message attribute type")
        if not value and "BinaryValue" not in given:
            raise _wrong_value(f"The message attribute '{name}' must contain a non-empty value of type '{kind}'")
        if name in _KNOWN and kind != ("Number" if name == _PRICE else "String"):
            raise _wrong_value(f"The message attribute '{name}' must not be of type '{kind}'")
        if kind == "Number":
            amount = _decimal(value)
            if amount is None or (name == _PRICE and amount <= 0):
                raise _wrong_value(f"Could not cast message attribute '{name}' value to number")
        return value

    def _throttle(self) -> None:
        now = self._clock()
        while self._recent and self._recent[0] <= now - 1:
            self._recent.popleft()
        if self.rate is not None and len(self._recent) >= self.rate:
            raise RefusalError("Throttling", "Rate exceeded", HTTPStatus.BAD_REQUEST)
        self._recent.append(now)

    def _outcome(self, number: str, attributes: Mapping[str, str], price: Decimal) -> str:
        """What SNS itself has against it comes first, then what the test has in mind."""
        if number in self.opted_out:
            return "opted_out"
        if self.sandbox and number not in self.verified:
            return "not_verified"
        most = _decimal(attributes.get(_PRICE, ""))
        if most is not None and price > most:
            return "max_price"
        if self.spent() + price > Decimal(self.settings["MonthlySpendLimit"]):
            return "spend_limit"
        return self.outcomes.get(number, "delivered")

    def spent(self) -> Decimal:
        """USD of this month."""
        month = datetime.fromtimestamp(self._clock(), UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        since = month.timestamp()
        return sum((self._price * each.parts for each in self.texts if each.price and each.at >= since), Decimal(0))

    def _get_settings(self, call: Call) -> JsonObject:
        wanted = texts(call.params, "attributes") or list(_SETTINGS)
        if unknown := [name for name in wanted if name not in _SETTINGS]:
            raise _invalid(f"attributes Reason: {unknown[0]} is not known")
        return {"attributes": {name: self.settings[name] for name in wanted if self.settings.get(name)}}

    def _set_settings(self, call: Call) -> JsonObject:
        given = {name: str(value) for name, value in sub(call.params, "attributes").items()}
        for name, value in given.items():
            self._check_setting(name, value)
        self.settings.update(given)
        return {}

    def _check_setting(self, name: str, value: str) -> None:
        amount = _decimal(value)
        if name not in _SETTINGS:
            raise _invalid(f"attributes Reason: {name} is not known")
        if name == "MonthlySpendLimit" and (amount is None or not 0 <= amount <= self._spend_limit):
            raise _invalid(f"MonthlySpendLimit Reason: it cannot be more than {self._spend_limit}")
        if name == "DeliveryStatusSuccessSamplingRate" and not (value.isdecimal() and int(value) <= 100):
            raise _invalid("DeliveryStatusSuccessSamplingRate Reason: a whole number from 0 to 100")
        if name == "DefaultSMSType" and value not in _KINDS:
            raise _invalid("DefaultSMSType Reason: either Promotional or Transactional")
        if name == "DefaultSenderID" and value and (len(value) > 11 or _NAME.fullmatch(value) is None):
            raise _invalid("DefaultSenderID")

    def _check(self, call: Call) -> JsonObject:
        return {"isOptedOut": self._given(call) in self.opted_out}

    def _list(self, call: Call) -> JsonObject:
        token, found = text(call.params, "nextToken"), sorted(self.opted_out)
        if token and not token.isdecimal():
            raise _invalid("nextToken")
        start = int(token or 0)
        more: JsonObject = {"nextToken": str(start + PAGE)} if start + PAGE < len(found) else {}
        return {"phoneNumbers": [*found[start : start + PAGE]], **more}

    def _opt_in(self, call: Call) -> JsonObject:
        number = self._given(call)
        if number not in self.opted_out:
            return {}
        if self._clock() - self._opted_in.get(number, -OPT_IN_SECONDS) < OPT_IN_SECONDS:
            raise _invalid(f"phoneNumber Reason: {number} was opted in less than 30 days ago")
        self.opted_out.discard(number)
        self._opted_in[number] = self._clock()
        return {}

    def _given(self, call: Call) -> str:
        number = text(call.params, "phoneNumber")
        if _NUMBER.fullmatch(number) is None:
            raise _invalid(f"phoneNumber Reason: {number} is not a phone number")
        return "+" + number.removeprefix("+")

    def _status(self, call: Call) -> JsonObject:
        return {"IsInSandbox": self.sandbox}

    def _numbers(self, call: Call) -> JsonObject:
        size, token = call.params.get("MaxResults"), text(call.params, "NextToken")
        if token and not token.isdecimal():
            raise _invalid("NextToken")
        start, count = int(token or 0), size if isinstance(size, int) else 30
        found: JsonObject = {
            "PhoneNumbers": [
                {
                    "PhoneNumber": number,
                    "Status": "ACTIVE",
                    "Iso2CountryCode": "US",
                    "RouteType": "Transactional",
                    "NumberCapabilities": ["SMS"],
                }
                for number in self._owned[start : start + count]
            ]
        }
        return {**found, "NextToken": str(start + count)} if start + count < len(self._owned) else found


def _decimal(value: str) -> Decimal | None:
    try:
        amount = Decimal(value)
    except InvalidOperation:
        return None
    return amount if amount.is_finite() else None
