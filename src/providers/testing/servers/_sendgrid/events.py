"""Events of the local SendGrid: their bodies, and the signature of a delivery (Event Webhook reference)."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from providers.testing.servers._host import JsonObject
from providers.testing.servers._sendgrid.mail import Mail

SIGNATURE: Final = "X-Twilio-Email-Event-Webhook-Signature"
TIMESTAMP: Final = "X-Twilio-Email-Event-Webhook-Timestamp"

_BROWSER: Final[JsonObject] = {"useragent": "ExampleBrowser/1.0", "ip": "198.51.100.7"}
_GROUP: Final[JsonObject] = {"asm_group_id": 1, "url": "https://example.com/u", **_BROWSER}

DEFAULTS: Final[Mapping[str, JsonObject]] = {
    "processed": {},
    "deferred": {"response": "451 4.7.1 try again later", "attempt": "1", "tls": 1},
    "delivered": {"response": "250 2.0.0 OK", "ip": "192.0.2.10", "tls": 1},
    "bounce": {
        "reason": "550 5.1.1 user unknown",
        "status": "5.1.1",
        "type": "bounce",
        "bounce_classification": "Invalid Address",
    },
    "blocked": {
        "reason": "554 5.7.1 message refused by policy",
        "status": "5.7.1",
        "type": "blocked",
        "bounce_classification": "Reputation",
    },
    "dropped": {"reason": "Bounced Address", "status": "5.0.0"},
    "open": {**_BROWSER, "sg_machine_open": False},
    "click": {**_BROWSER, "url": "https://shop.example.com/p/1", "url_offset": {"index": 0, "type": "html"}},
    "spamreport": {},
    "unsubscribe": {},
    "group_unsubscribe": _GROUP,
    "group_resubscribe": _GROUP,
    "account_status_change": {"type": "compliance_suspend"},
}
"""What an event carries unless told otherwise. ``blocked`` is a bounce of type blocked."""

FLAGS: Final[Mapping[str, str]] = {
    **{name: name for name in DEFAULTS if name not in ("blocked", "spamreport")},
    "spamreport": "spam_report",
}
"""The webhook setting that asks for an event."""


@dataclass(slots=True, eq=False)
class Event:
    """One event; its body is made when asked for. Not frozen: that triples the price of making one."""

    number: int
    name: str
    email: str
    timestamp: int
    mail: Mail | None
    extra: JsonObject

    @property
    def id(self) -> str:
        """``sg_event_id``."""
        about = self.mail.message_id if self.mail else "none"
        return base64.urlsafe_b64encode(f"{self.name[:4]}-{self.number}-{about}-0".encode()).decode().rstrip("=")

    def payload(self) -> JsonObject:
        """As the webhook carries it; custom arguments are top-level keys."""
        body: JsonObject = {}
        if self.email:
            body["email"] = self.email
        body["timestamp"] = self.timestamp
        if mail := self.mail:
            body["smtp-id"] = f"<{mail.message_id}@geopod-ismtpd-1>"
            body["sg_message_id"] = mail.sg_message_id
            if mail.categories:
                body["category"] = list(mail.categories)
            for key, value in mail.custom_args.items():
                body.setdefault(key, value)
        return {**body, "event": self.name, "sg_event_id": self.id, **self.extra}


class Signer:
    """Signs deliveries: ECDSA P-256, SHA-256, over timestamp and raw body."""

    def __init__(self, private_key_pem: str | bytes | None = None) -> None:
        if private_key_pem is None:
            self._key = ec.generate_private_key(ec.SECP256R1())
        else:
            pem = private_key_pem.encode() if isinstance(private_key_pem, str) else private_key_pem
            key = load_pem_private_key(pem, password=None)
            if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
                raise ValueError("the webhook key must be an EC key on P-256")
            self._key = key

    @property
    def public_key(self) -> str:
        """Base64 of the SubjectPublicKeyInfo DER, as the vendor shows it."""
        der = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(der).decode()

    def headers(self, body: bytes, timestamp: str) -> dict[str, str]:
        """The two signature headers of a delivery."""
        signature = self._key.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
        return {SIGNATURE: base64.b64encode(signature).decode(), TIMESTAMP: timestamp}


def encode(events: Sequence[Mapping[str, object]]) -> bytes:
    """A delivery: a JSON array that ends with CRLF."""
    return json.dumps(events, separators=(",", ":")).encode() + b"\r\n"
