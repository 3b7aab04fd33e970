"""Events of the local SES ("Contents of event data that Amazon SES publishes to Amazon SNS", SES developer guide)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from providers.testing.servers._aws.origin import Origin, stamp
from providers.testing.servers._host import Json, JsonObject
from providers.testing.servers._ses.mail import Message

_READER: Final[JsonObject] = {"ipAddress": "198.51.100.7", "userAgent": "ExampleBrowser/1.0"}
_MTA: Final = "a8-1.smtp-out.local.amazonses.com"
_ACCOUNT_LIST: Final = (
    "Amazon SES did not send the message to this address because it is on the suppression list for your account."
)


@dataclass(frozen=True, slots=True)
class Kind:
    """What happens: the event, its detail object, what each recipient of it carries, the state of the mail after it."""

    event: str
    detail: JsonObject
    recipient: JsonObject
    state: str | None = None


def _bounce(bounce_type: str, sub_type: str, *recipient: str, mta: bool = True) -> Kind:
    named = dict(zip(("action", "status", "diagnosticCode"), recipient, strict=False))
    detail: JsonObject = {"bounceType": bounce_type, "bounceSubType": sub_type}
    return Kind("Bounce", {**detail, "reportingMTA": f"dsn; {_MTA}"} if mta else detail, {**named}, "bounced")


_COMPLAINT: Final[JsonObject] = {"userAgent": "ExampleFBL/1.0", "complaintFeedbackType": "abuse"}

KINDS: Final[Mapping[str, Kind]] = {
    "send": Kind("Send", {}, {}),
    "delivery": Kind(
        "Delivery",
        {"processingTimeMillis": 812, "smtpResponse": "250 2.6.0 Message received", "reportingMTA": _MTA},
        {},
        "delivered",
    ),
    "bounce": _bounce("Permanent", "General", "failed", "5.1.1", "smtp; 550 5.1.1 user unknown"),
    "transient": _bounce("Transient", "MailboxFull", "failed", "4.2.2", "smtp; 452 4.2.2 mailbox full"),
    "undetermined": _bounce("Undetermined", "Undetermined", mta=False),
    "ooto": _bounce("Transient", "General", mta=False),
    "suppressed": _bounce(
        "Permanent",
        "Suppressed",
        "failed",
        "5.1.1",
        "Amazon SES has suppressed sending to this address because it has a recent history of bouncing "
        "as an invalid address.",
        mta=False,
    ),
    "on_bounce_list": _bounce("Permanent", "OnAccountSuppressionList", "failed", "5.1.1", _ACCOUNT_LIST, mta=False),
    "on_complaint_list": Kind("Complaint", {"complaintSubType": "OnAccountSuppressionList"}, {}, "dropped"),
    "complaint": Kind("Complaint", {"complaintSubType": None, **_COMPLAINT}, {}, "complained"),
    "reject": Kind("Reject", {"reason": "Bad content"}, {}, "rejected"),
    "delay": Kind(
        "DeliveryDelay",
        {"delayType": "MailboxFull", "reportingMTA": _MTA},
        {"status": "4.2.2", "diagnosticCode": "smtp; 452 4.2.2 mailbox full"},
        "delayed",
    ),
    "open": Kind("Open", _READER, {}),
    "click": Kind("Click", {**_READER, "link": "https://shop.example.com/p/1", "linkTags": None}, {}),
    "rendering_failure": Kind("Rendering Failure", {}, {}, "failed"),
    "subscription": Kind(
        "Subscription",
        {
            "contactList": "customers",
            "source": "UnsubscribeHeader",
            "newTopicPreferences": {"unsubscribeAll": True, "topicSubscriptionStatus": []},
            "oldTopicPreferences": {"unsubscribeAll": False, "topicSubscriptionStatus": []},
        },
        {},
    ),
}
"""What can happen, by our own short names; ``emit`` and ``outcomes`` use them."""

OUTCOMES: Final[Mapping[str, tuple[str, ...]]] = {
    "none": (),
    "delivery": ("delivery",),
    "bounce": ("bounce",),
    "transient": ("transient",),
    "undetermined": ("undetermined",),
    "delay": ("delay",),
    "complaint": ("delivery", "complaint"),
    "ooto": ("delivery", "ooto"),
    "suppressed": ("suppressed",),
    "reject": ("reject",),
}
"""What may become of a mail, and the events it makes after ``Send`` (a rejected message has no ``Send``)."""

SIMULATED: Final[Mapping[str, str]] = {
    "success": "delivery",
    "bounce": "bounce",
    "complaint": "complaint",
    "suppressionlist": "suppressed",
    "ooto": "ooto",
}
"""Mailboxes of the simulator."""

MATCHING: Final[Mapping[str, str]] = {
    "Send": "SEND",
    "Reject": "REJECT",
    "Bounce": "BOUNCE",
    "Complaint": "COMPLAINT",
    "Delivery": "DELIVERY",
    "Open": "OPEN",
    "Click": "CLICK",
    "Rendering Failure": "RENDERING_FAILURE",
    "DeliveryDelay": "DELIVERY_DELAY",
    "Subscription": "SUBSCRIPTION",
}
"""Events by the name that event destinations and message insights have for them."""

_DETAILS: Final = {"Rendering Failure": "failure", "DeliveryDelay": "deliveryDelay"}
_RECIPIENTS: Final = {
    "Bounce": "bouncedRecipients",
    "Complaint": "complainedRecipients",
    "DeliveryDelay": "delayedRecipients",
}
_TIMELESS: Final = ("Send", "Reject", "Rendering Failure")
FEEDBACK: Final = ("Bounce", "Complaint", "Delivery")
"""What an identity's feedback notifications tell."""


@dataclass(slots=True, eq=False)
class Event:
    """One event; its body is made when asked for. ``extra`` goes over the detail object."""

    number: int
    kind: Kind
    timestamp: float
    message: Message
    recipients: Sequence[str]
    extra: JsonObject

    @property
    def name(self) -> str:
        """``eventType``."""
        return self.kind.event

    def detail(self) -> JsonObject:
        """The object that is named after the event."""
        name, at, when = self.name, stamp(self.timestamp), _TIMELESS
        detail: JsonObject = {} if name in when else {"timestamp": at}
        detail.update(self.kind.detail)
        if name in _RECIPIENTS:
            detail[_RECIPIENTS[name]] = [{"emailAddress": each, **self.kind.recipient} for each in self.recipients]
        if name == "Delivery":
            detail["recipients"] = [*self.recipients]
        elif name in ("Bounce", "Complaint"):
            detail["feedbackId"] = f"{self.message.id}-fb{self.number}"
            if name == "Complaint":
                detail["arrivalDate"] = at
        elif name == "DeliveryDelay":
            detail["expirationTime"] = stamp(self.timestamp + 14 * 3600)
        elif name == "Rendering Failure":
            detail = {"errorMessage": self.message.failure or "", "templateName": self.message.template or ""}
        return {**detail, **self.extra}

    def payload(self, origin: Origin) -> JsonObject:
        """As event publishing has it: ``eventType``, with tags."""
        mail: JsonObject = {**_mail(self.message, origin), "tags": _tags(self.message, self.name)}
        return {"eventType": self.name, "mail": mail, _DETAILS.get(self.name, self.name.lower()): self.detail()}

    def notification(self, origin: Origin) -> JsonObject:
        """As an identity's feedback has it: ``notificationType``, without tags."""
        return {"notificationType": self.name, "mail": _mail(self.message, origin), self.name.lower(): self.detail()}


def _mail(message: Message, origin: Origin) -> JsonObject:
    addressed = {
        "From": [message.sender.given],
        "To": [each.given for each in message.to],
        "Cc": [each.given for each in message.cc],
        "Reply-To": [each.given for each in message.reply_to],
    }
    headers: list[Json] = [{"name": name, "value": ", ".join(values)} for name, values in addressed.items() if values]
    headers.append({"name": "Subject", "value": message.subject})
    headers.append({"name": "MIME-Version", "value": "1.0"})
    headers.extend({"name": name, "value": value} for name, value in message.headers)
    common: JsonObject = {"from": [message.sender.given], "to": [each.given for each in message.to]}
    if message.cc:
        common["cc"] = [each.given for each in message.cc]
    if message.reply_to:
        common["replyTo"] = [each.given for each in message.reply_to]
    return {
        "timestamp": stamp(message.accepted_at),
        "source": message.sender.given,
        "sourceArn": origin.arn("ses", f"identity/{message.sender.domain}"),
        "sendingAccountId": origin.account_id,
        "messageId": message.id,
        "destination": [each.email for each in message.recipients],
        "headersTruncated": False,
        "headers": headers,
        "commonHeaders": {**common, "messageId": message.id, "subject": message.subject},
    }


def _tags(message: Message, event: str) -> JsonObject:
    tags: JsonObject = {
        "ses:operation": [message.operation],
        "ses:source-ip": [message.source_ip],
        "ses:from-domain": [message.sender.domain],
        "ses:caller-identity": [message.key_id.lower()],
    }
    if message.configuration_set:
        tags["ses:configuration-set"] = [message.configuration_set]
    if event == "Delivery":
        tags["ses:outgoing-ip"] = ["192.0.2.10"]
    return {**tags, **{name: [value] for name, value in message.tags.items()}}
