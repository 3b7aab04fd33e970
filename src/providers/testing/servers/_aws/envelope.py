"""SNS messages as HTTP endpoints get them, and their signatures ("Verifying the signatures", SNS developer guide)."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID

from providers.testing.servers._host import Json, JsonObject

NOTIFICATION: Final = "Notification"
SUBSCRIPTION: Final = "SubscriptionConfirmation"
UNSUBSCRIPTION: Final = "UnsubscribeConfirmation"
_SIGNED: Final = {
    NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    SUBSCRIPTION: ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    UNSUBSCRIPTION: ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
_HASHES: Final = {"1": hashes.SHA1, "2": hashes.SHA256}


class Signer:
    """Signs messages; ``chain`` is what the certificate's address serves: the leaf, then its issuer."""

    def __init__(self, private_key: bytes | rsa.RSAPrivateKey, chain: bytes) -> None:
        key = load_pem_private_key(private_key, password=None) if isinstance(private_key, bytes) else private_key
        if not isinstance(key, rsa.RSAPrivateKey):
            raise TypeError("SNS signs with an RSA key")
        self._key, self.chain = key, chain

    @property
    def file(self) -> str:
        """The last part of the certificate's address."""
        return f"SimpleNotificationService-{hashlib.sha256(self.chain).hexdigest()[:32]}.pem"

    def sign(self, body: Mapping[str, object]) -> str:
        """The signature of a message under its own version: base64."""
        signed = to_sign(body).encode()
        digest = _HASHES[str(body["SignatureVersion"])]()
        return base64.b64encode(self._key.sign(signed, padding.PKCS1v15(), digest)).decode()


def to_sign(body: Mapping[str, object]) -> str:
    """What the signature of a message covers: names and values, each with a line end."""
    return "".join(f"{name}\n{body[name]}\n" for name in _SIGNED[str(body["Type"])] if body.get(name) is not None)


@cache
def local_signer(*, expired: bool = False) -> Signer:
    """The signer of this process, with a certificate of its own making; valid at the time of any clock in a test."""
    ca_key, key = _rsa(), _rsa()
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Local test CA, worth nothing")])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    ca = _certificate(ca_name, ca_name, ca_key, ca_key, authority=True, until=2060)
    leaf = _certificate(name, ca_name, key, ca_key, authority=False, until=2020 if expired else 2060)
    return Signer(key, leaf.public_bytes(Encoding.PEM) + ca.public_bytes(Encoding.PEM))


def _rsa() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _certificate(
    name: x509.Name,
    issuer: x509.Name,
    key: rsa.RSAPrivateKey,
    issuer_key: rsa.RSAPrivateKey,
    *,
    authority: bool,
    until: int,
) -> x509.Certificate:
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2015, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(until, 1, 1, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)
    )
    if not authority:
        names = x509.SubjectAlternativeName([x509.DNSName("sns.amazonaws.com")])
        built = built.add_extension(names, critical=False)
    return built.sign(issuer_key, hashes.SHA256())


@dataclass(slots=True, eq=False)
class Envelope:
    """One SNS message. Signed when it is first asked for: once, however many endpoints get it.

    ``text`` may be worked out then too. ``extra`` is what its type adds: Token and SubscribeURL, or MessageAttributes.
    """

    type: str
    topic_arn: str
    message_id: str
    text: str | Callable[[], str]
    timestamp: str
    version: str
    host: str
    signer: Signer
    subject: str | None = None
    extra: JsonObject = field(default_factory=dict[str, Json])
    _signature: str = ""

    @property
    def message(self) -> str:
        """What it says."""
        if not isinstance(self.text, str):
            self.text = self.text()
        return self.text

    def body(self, subscription_arn: str) -> JsonObject:
        """As one subscription gets it."""
        built: JsonObject = {"Type": self.type, "MessageId": self.message_id}
        if "Token" in self.extra:
            built["Token"] = self.extra["Token"]
        built["TopicArn"] = self.topic_arn
        if self.subject is not None:
            built["Subject"] = self.subject
        built |= {"Message": self.message, "Timestamp": self.timestamp, "SignatureVersion": self.version}
        built |= {key: value for key, value in self.extra.items() if key != "Token"}
        self._signature = self._signature or self.signer.sign(built)
        built["Signature"] = self._signature
        built["SigningCertURL"] = f"https://{self.host}/{self.signer.file}"
        if self.type == NOTIFICATION:
            built["UnsubscribeURL"] = f"https://{self.host}/?Action=Unsubscribe&SubscriptionArn={subscription_arn}"
        return built

    def request(self, subscription_arn: str, *, raw: bool = False) -> tuple[dict[str, str], bytes]:
        """Headers and body of the POST; ``raw`` is the message alone, unsigned."""
        headers = {
            "x-amz-sns-message-type": self.type,
            "x-amz-sns-message-id": self.message_id,
            "x-amz-sns-topic-arn": self.topic_arn,
        }
        if self.type != SUBSCRIPTION:
            headers["x-amz-sns-subscription-arn"] = subscription_arn
        headers |= {
            "Content-Type": "text/plain; charset=UTF-8",
            "User-Agent": "Amazon Simple Notification Service Agent",
        }
        if raw and self.type == NOTIFICATION:
            return {**headers, "x-amz-sns-rawdelivery": "true"}, self.message.encode()
        body = json.dumps(self.body(subscription_arn), indent=2, separators=(",", " : "), ensure_ascii=False)
        return headers, body.encode()
