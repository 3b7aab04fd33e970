"""Delivery logs of texts, as SNS writes them to CloudWatch (SNS developer guide, "SMS delivery status logs")."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from providers.testing.servers._host import Json, JsonObject

OUTCOMES: Final[Mapping[str, tuple[str, str]]] = {
    "delivered": ("SUCCESS", "Message has been accepted by phone"),
    "sent": ("SUCCESS", "Message has been accepted by phone carrier"),
    "unreachable": ("FAILURE", "Phone is currently unreachable/unavailable"),
    "carrier_unreachable": ("FAILURE", "Phone carrier is currently unreachable/unavailable"),
    "unknown_error": ("FAILURE", "Unknown error attempting to reach phone"),
    "invalid_number": ("FAILURE", "Invalid phone number"),
    "invalid_body": ("FAILURE", "Message body is invalid"),
    "blocked_list": ("FAILURE", "Phone is on a blocked list"),
    "spam": ("FAILURE", "Blocked as spam by phone carrier"),
    "blocked": ("FAILURE", "Phone carrier has blocked this message"),
    "opted_out": ("FAILURE", "Phone number is opted out"),
    "max_price": ("FAILURE", "This delivery would exceed max price"),
    "spend_limit": ("FAILURE", "No quota left for account"),
    "not_verified": ("FAILURE", "Phone number is not verified in the SMS sandbox"),
}
"""What may become of a text: the log's status, and what it says. Anything else is a failure's own text."""

NONE: Final = "none"
"""No log."""
_AMERICAN: Final = (310, 270)


@dataclass(frozen=True, slots=True)
class Text:
    """A text that was taken. ``attributes`` as they were sent, by name, without their types.

    ``kind`` is ``Transactional`` or ``Promotional``, the account's default where none was sent; ``price`` in USD, for
    all parts.
    """

    message_id: str
    number: str
    body: str
    attributes: Mapping[str, str]
    kind: str
    at: float
    parts: int
    price: float

    def as_dict(self) -> JsonObject:
        """For the control routes."""
        return {
            "message_id": self.message_id,
            "number": self.number,
            "body": self.body,
            "attributes": dict(self.attributes),
            "kind": self.kind,
            "at": self.at,
            "parts": self.parts,
            "price": self.price,
        }


@dataclass(frozen=True, slots=True)
class Log:
    """What was written about a text. ``extra`` goes over its ``delivery``."""

    text: Text
    outcome: str
    at: float
    extra: JsonObject = field(default_factory=dict[str, Json])

    @property
    def succeeded(self) -> bool:
        """Whether it says so."""
        return self.outcome in OUTCOMES and OUTCOMES[self.outcome][0] == "SUCCESS"

    def payload(self) -> JsonObject:
        """As SNS writes it."""
        status, response = OUTCOMES.get(self.outcome, ("FAILURE", self.outcome))
        mcc, mnc = _AMERICAN if self.text.number.startswith("+1") and self.succeeded else (0, 0)
        taken = datetime.fromtimestamp(self.text.at, UTC).isoformat(sep=" ", timespec="milliseconds")
        dwell = max(int((self.at - self.text.at) * 1000), 0) + 412
        delivery: JsonObject = {
            "mnc": mnc,
            "numberOfMessageParts": self.text.parts,
            "destination": self.text.number,
            "priceInUSD": self.text.price,
            "smsType": self.text.kind,
            "mcc": mcc,
            "providerResponse": response,
            "dwellTimeMs": dwell,
        }
        if self.succeeded:
            delivery["phoneCarrier"] = "Example Mobile"
        if self.outcome == "delivered":
            delivery["dwellTimeMsUntilDeviceAck"] = dwell + 791
        return {
            "notification": {"messageId": self.text.message_id, "timestamp": taken.removesuffix("+00:00")},
            "delivery": {**delivery, **self.extra},
            "status": status,
        }


def packed(log: JsonObject, *, region: str, account_id: str, at: float) -> JsonObject:
    """A log as a subscription of CloudWatch Logs hands it to a function: compressed, in base64."""
    group = f"sns/{region}/{account_id}/DirectPublishToPhoneNumber"
    payload: JsonObject = {
        "messageType": "DATA_MESSAGE",
        "owner": account_id,
        "logGroup": group if log["status"] == "SUCCESS" else f"{group}/Failure",
        "logStream": "local",
        "subscriptionFilters": ["relay"],
        "logEvents": [{"id": f"{int(at * 1000):056d}", "timestamp": int(at * 1000), "message": json.dumps(log)}],
    }
    return {"awslogs": {"data": base64.b64encode(gzip.compress(json.dumps(payload).encode())).decode()}}
