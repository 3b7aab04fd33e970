"""What becomes of the messages that the local SES accepted: mails, events, the suppression list."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping

from providers.testing.servers._aws.call import Answer, Call, not_found
from providers.testing.servers._aws.check import text
from providers.testing.servers._aws.origin import Origin
from providers.testing.servers._host import Json, JsonObject
from providers.testing.servers._ses.account import Account
from providers.testing.servers._ses.events import FEEDBACK, KINDS, MATCHING, OUTCOMES, SIMULATED, Event
from providers.testing.servers._ses.mail import Mail, Message
from providers.testing.servers._ses.sets import Sets

_KEPT = {"delivered", "bounced", "complained", "delayed", "processed"}


class Post:
    """Keeps messages and makes things happen to them. ``publish`` gets a topic and what makes its message."""

    def __init__(
        self,
        origin: Origin,
        clock: Callable[[], float],
        account: Account,
        sets: Sets,
        publish: Callable[[str, Callable[[], str], str | None], object],
        *,
        outcomes: Mapping[str, str] | None,
        notifications: str | None,
    ) -> None:
        self.origin, self._clock, self._account, self._sets = origin, clock, account, sets
        self._publish, self._notifications = publish, notifications
        self.outcomes = {address.lower(): outcome for address, outcome in (outcomes or {}).items()}
        if unknown := set(self.outcomes.values()) - set(OUTCOMES):
            raise ValueError(f"no outcome is called {', '.join(sorted(unknown))}")
        self.clear()

    def clear(self) -> None:
        """Forget all messages and events."""
        self.all: list[Mail] = []
        self.sent: list[Mail] = []
        self.events: list[Event] = []
        self._by_id: dict[str, list[Mail]] = {}
        self._by_address: dict[str, Mail] = {}

    def accept(self, message: Message) -> None:
        """Take a message that has its id, and decide what becomes of it."""
        mails = list(message.mails())
        self.all.extend(mails)
        self._by_id[message.id] = mails
        self._by_address.update((mail.to.lower(), mail) for mail in mails)
        if message.failure is not None:
            self._happen("rendering_failure", message, mails)
            return
        groups: dict[str, list[Mail]] = {}
        for mail in mails:
            groups.setdefault(self._outcome(mail), []).append(mail)
        if "reject" in groups:  # the message was not even tried
            self._happen("reject", message, mails)
            return
        self._happen("send", message, mails)
        for outcome, group in groups.items():
            for kind in OUTCOMES.get(outcome, (outcome,)):
                self._happen(kind, message, group)
        self.sent.extend(mail for mail in mails if mail.state in _KEPT and mail.address.simulated != "suppressionlist")

    def _outcome(self, mail: Mail) -> str:
        box = mail.address.simulated
        if box is not None:
            return SIMULATED.get(box, "bounce")
        used = self._sets.known.get(mail.configuration_set or "")
        reason = self._account.suppression(mail.address, used.suppressed_reasons if used else None)
        if reason is not None:
            return "on_bounce_list" if reason == "BOUNCE" else "on_complaint_list"
        return self.outcomes.get(mail.to.lower(), "delivery")

    def emit(self, kind: str, *, email: str, message_id: str | None, extra: JsonObject) -> JsonObject:
        """Make something of `KINDS` happen to a mail that was accepted; the event."""
        if kind not in KINDS:
            raise ValueError(f"no event is called {kind!r}")
        if message_id is None:
            found = [self._by_address[email.lower()]] if email.lower() in self._by_address else []
        else:
            found = [each for each in self._by_id.get(message_id, ()) if not email or each.to.lower() == email.lower()]
        if not found:
            raise ValueError(f"no mail was sent to {email or message_id!r}")
        return self._happen(kind, found[0].message, found, extra).payload(self.origin)

    def _happen(self, name: str, message: Message, mails: list[Mail], extra: JsonObject | None = None) -> Event:
        kind = KINDS[name]
        recipients = [mail.to for mail in mails]
        event = Event(len(self.events) + 1, kind, self._clock(), message, recipients, extra or {})
        self.events.append(event)
        for mail in mails:
            mail.state = "dropped" if name.startswith("on_") else kind.state or mail.state
        self._note(name, event, mails)
        self._tell(event)
        return event

    def _note(self, name: str, event: Event, mails: list[Mail]) -> None:
        if name == "bounce":
            reason = "BOUNCE" if event.detail().get("bounceType") == "Permanent" else ""
        else:
            reason = "COMPLAINT" if name == "complaint" else ""
        if reason in self._account.reasons:
            for mail in mails:
                if mail.address.simulated is None:
                    self._account.suppress(mail.to, reason, mail.message_id, f"{mail.message_id}-fb{event.number}")

    def _tell(self, event: Event) -> None:
        used = self._sets.known.get(event.message.configuration_set or "")
        for topic in used.topics(event.name) if used is not None else ():
            self._publish(topic, lambda: json.dumps(event.payload(self.origin)), "Amazon SES Email Event Notification")
        if self._notifications is not None and event.name in FEEDBACK:
            self._publish(self._notifications, lambda: json.dumps(event.notification(self.origin)), None)

    def operations(self) -> Iterable[tuple[str, Answer]]:
        """What it answers."""
        yield "GetMessageInsights", self._insights

    def _insights(self, call: Call) -> JsonObject:
        message_id = text(call.params, "MessageId")
        mails = self._by_id.get(message_id)
        if not mails:
            raise not_found(f"Message {message_id} does not exist.")
        message = mails[0].message
        shown: JsonObject = {
            "MessageId": message_id,
            "FromEmailAddress": message.sender.email,
            "EmailTags": [{"Name": name, "Value": value} for name, value in message.tags.items()],
            "Insights": [self._insight(mail) for mail in mails],
        }
        return {**shown, "Subject": message.subject[:998]} if message.subject else shown

    def _insight(self, mail: Mail) -> JsonObject:
        events: list[Json] = []
        for event in self.events:
            if event.message is not mail.message or mail.to not in event.recipients:
                continue
            shown: JsonObject = {"Timestamp": event.timestamp, "Type": MATCHING[event.name]}
            detail = event.detail()
            if event.name == "Bounce":
                code = str(event.kind.recipient.get("diagnosticCode", ""))
                kinds = {"BounceType": str(detail["bounceType"]).upper(), "BounceSubType": detail["bounceSubType"]}
                shown["Details"] = {"Bounce": {**kinds, "DiagnosticCode": code}}
            elif event.name == "Complaint":
                names = {"ComplaintSubType": "complaintSubType", "ComplaintFeedbackType": "complaintFeedbackType"}
                given = {name: detail[key] for name, key in names.items() if detail.get(key) is not None}
                shown["Details"] = {"Complaint": given}
            events.append(shown)
        return {"Destination": mail.to, "Isp": mail.address.domain, "Events": events}
