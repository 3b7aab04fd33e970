"""The account of the local SES: whether and how fast it may send, and its suppression list."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from providers.testing.servers._aws.call import Answer, Call, RefusalError, bad_request, not_found, page
from providers.testing.servers._aws.check import text, texts
from providers.testing.servers._host import JsonObject
from providers.testing.servers._ses.address import Address, parse

DAY = 24 * 3600.0
REASONS = ("BOUNCE", "COMPLAINT")
RATE = "Maximum sending rate exceeded."
QUOTA = "Daily message quota exceeded."


@dataclass(frozen=True, slots=True)
class Suppressed:
    """An entry of the suppression list."""

    email: str
    reason: str
    updated_at: float
    message_id: str = ""
    feedback_id: str = ""

    def shown(self) -> JsonObject:
        """As a list has it."""
        return {"EmailAddress": self.email, "Reason": self.reason, "LastUpdateTime": self.updated_at}


class Account:
    """Quotas count recipients, by the server's clock.

    ``daily_quota`` -1 has no end. A call goes through while anything of a quota is left, and may overdraw it: the rate
    is then refused until it has been made up for (answer of Amazon in the SES blog, 2012).
    """

    def __init__(self, clock: Callable[[], float], *, sandbox: bool, daily_quota: float, max_send_rate: float) -> None:
        self._clock = clock
        self.sandbox, self.daily_quota, self.max_send_rate = sandbox, daily_quota, max_send_rate
        self.suspended = self.paused = False
        self.clear()

    def clear(self) -> None:
        """As after the start; suspension and pause stay as they are."""
        self.reasons: tuple[str, ...] = REASONS
        self.suppressed: dict[str, Suppressed] = {}
        self._sent: deque[tuple[float, int]] = deque()
        self._today = 0
        self._credit, self._credited_at = max(self.max_send_rate, 1.0), self._clock()

    def exceeded(self) -> str | None:
        """Which quota is used up: `RATE`, `QUOTA` or None."""
        self._forget_yesterday()
        if 0 <= self.daily_quota <= self._today:
            return QUOTA
        now = self._clock()
        earned = max(now - self._credited_at, 0.0) * self.max_send_rate
        self._credit, self._credited_at = min(self._credit + earned, max(self.max_send_rate, 1.0)), now
        return RATE if self._credit < 1 - 1e-9 else None

    def count(self, recipients: int) -> None:
        """So many mails were accepted."""
        self._credit -= recipients
        self._sent.append((self._clock(), recipients))
        self._today += recipients

    def _forget_yesterday(self) -> None:
        until = self._clock() - DAY
        while self._sent and self._sent[0][0] <= until:
            self._today -= self._sent.popleft()[1]

    def suppress(self, email: str, reason: str, message_id: str = "", feedback_id: str = "") -> None:
        """Put an address on the list."""
        entry = Suppressed(email, reason, self._clock(), message_id, feedback_id)
        self.suppressed[email.lower()] = entry

    def suppression(self, address: Address, reasons: tuple[str, ...] | None) -> str | None:
        """Why an address gets no mail; ``reasons`` are those that the configuration set looks at, if it says so."""
        entry = self.suppressed.get(address.email.lower())
        looked_at = self.reasons if reasons is None else reasons
        return entry.reason if entry is not None and entry.reason in looked_at else None

    def operations(self) -> Iterable[tuple[str, Answer]]:
        """What it answers."""
        yield "GetAccount", self._get
        yield "PutAccountSendingAttributes", self._put_sending
        yield "PutAccountSuppressionAttributes", self._put_suppression
        yield "PutSuppressedDestination", self._put
        yield "GetSuppressedDestination", self._get_one
        yield "DeleteSuppressedDestination", self._delete
        yield "ListSuppressedDestinations", self._list

    def _get(self, call: Call) -> JsonObject:
        self._forget_yesterday()
        return {
            "DedicatedIpAutoWarmupEnabled": False,
            "EnforcementStatus": "SHUTDOWN" if self.suspended else "HEALTHY",
            "ProductionAccessEnabled": not self.sandbox,
            "SendQuota": {
                "Max24HourSend": float(self.daily_quota),
                "MaxSendRate": float(self.max_send_rate),
                "SentLast24Hours": float(self._today),
            },
            "SendingEnabled": not (self.suspended or self.paused),
            "SuppressionAttributes": {"SuppressedReasons": [*self.reasons]},
        }

    def _put_sending(self, call: Call) -> JsonObject:
        self.paused = call.params.get("SendingEnabled") is not True
        return {}

    def _put_suppression(self, call: Call) -> JsonObject:
        self.reasons = tuple(texts(call.params, "SuppressedReasons"))
        return {}

    def _put(self, call: Call) -> JsonObject:
        email = _bare(text(call.params, "EmailAddress"))
        self.suppress(email, text(call.params, "Reason"))
        return {}

    def _found(self, call: Call) -> Suppressed:
        email = _bare(text(call.params, "EmailAddress"))
        entry = self.suppressed.get(email.lower())
        if entry is None:
            raise not_found(f"Email address {email} does not exist on your suppression list.")
        return entry

    def _get_one(self, call: Call) -> JsonObject:
        entry = self._found(call)
        shown = entry.shown()
        if entry.message_id:
            shown["Attributes"] = {"MessageId": entry.message_id, "FeedbackId": entry.feedback_id}
        return {"SuppressedDestination": shown}

    def _delete(self, call: Call) -> JsonObject:
        del self.suppressed[self._found(call).email.lower()]
        return {}

    def _list(self, call: Call) -> JsonObject:
        reasons, start, end = texts(call.params, "Reasons"), call.params.get("StartDate"), call.params.get("EndDate")
        found = [
            entry
            for entry in sorted(self.suppressed.values(), key=lambda entry: (entry.updated_at, entry.email))
            if (not reasons or entry.reason in reasons)
            and (not isinstance(start, int | float) or entry.updated_at >= start)
            and (not isinstance(end, int | float) or entry.updated_at <= end)
        ]
        shown, more = page(call, found, refusal="InvalidNextTokenException")
        return {"SuppressedDestinationSummaries": [entry.shown() for entry in shown], **more}


def _bare(given: str) -> str:
    address = parse(given)
    if address.email != given:
        raise bad_request("Invalid email address")
    return address.email


def throttled(exceeded: str) -> RefusalError:
    """The 429 of a quota."""
    return RefusalError("TooManyRequestsException", exceeded)
