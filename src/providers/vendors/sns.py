"""Webhooks that Amazon SNS posts: who really sent one, and the answer to its first.

Amazon SNS developer guide, "Verifying the signatures of Amazon SNS messages". What the topic's messages say is the
business of whoever asked for them.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from providers.core.errors import (
    ConfigurationError,
    Outcome,
    ProviderTimeoutError,
    ProviderUnavailableError,
    WebhookVerificationError,
)
from providers.core.json import from_json
from providers.core.signatures import Digest, RsaCertificate
from providers.core.transport import SERVER_ERROR, HttpRequest
from providers.vendors.aws import host

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from providers.core.account import Account
    from providers.core.models import RawRequest
    from providers.vendors.aws import Aws

TYPE_HEADER, RAW_HEADER = "x-amz-sns-message-type", "x-amz-sns-rawdelivery"

ARN = re.compile(r"arn:aws[a-z-]*:sns:(?P<region>[a-z0-9-]{3,}):\d{12}:(?P<name>[A-Za-z0-9_.-]{1,256})")
PATH = re.compile(r"/[A-Za-z0-9_./-]*\.pem")
DIGESTS = {"1": Digest.SHA1, "2": Digest.SHA256}

CERTIFICATES = 8
"""Certificates kept; a topic uses one for months."""

ANSWER_SECONDS = 12.0
"""SNS gives up after 15."""


class SnsType(StrEnum):
    """The kinds of messages."""

    NOTIFICATION = "Notification"
    SUBSCRIPTION = "SubscriptionConfirmation"
    UNSUBSCRIPTION = "UnsubscribeConfirmation"


# In this order; Subject only where there is one.
SIGNED = {
    SnsType.NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    SnsType.SUBSCRIPTION: ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    SnsType.UNSUBSCRIPTION: ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}


@dataclass(frozen=True, slots=True)
class SnsMessage:
    """A message whose signature is good, of a topic that is trusted."""

    type: SnsType
    id: str
    topic: str
    text: str
    token: str


def topics_of(text: str, variable: str) -> tuple[str, ...]:
    """The topics of a setting, comma-separated. Raises `ConfigurationError` for what is no topic's ARN."""
    topics = tuple(filter(None, (part.strip() for part in text.split(","))))
    for topic in topics:
        if not ARN.fullmatch(topic):
            msg = f"{variable}: {topic[:80]!r} is not the ARN of an SNS topic"
            raise ConfigurationError(msg, field=variable)
    return topics


def region_of(topic: str) -> str:
    """The region in a topic's ARN."""
    return topic.split(":")[3]


def recognises(request: RawRequest) -> bool:
    """By the header that names the message's type."""
    return TYPE_HEADER in request.headers


class SnsReceiver:
    """Verifies what SNS posts for some topics, and confirms their subscriptions.

    A signature only proves that some AWS account made the message: which topics are trusted has to be said.
    """

    def __init__(self, account: Account, aws: Aws, *, topics: Collection[str], require_v2: bool) -> None:
        self._account = account
        self._aws = aws
        self._topics = topics
        self._require_v2 = require_v2
        self._certificates: OrderedDict[str, RsaCertificate] = OrderedDict()

    async def receive(self, request: RawRequest) -> SnsMessage:
        """The message, verified; a subscription is confirmed by then.

        Raises `WebhookVerificationError`, or what kept us from asking Amazon: SNS posts it again then. There is no
        limit to a message's age, since SNS goes on for hours and signs once: drop repeats by their id.
        """
        try:
            with self._account.clock.timeout(ANSWER_SECONDS):
                message = await self._verified(request)
                if message.type is SnsType.SUBSCRIPTION:
                    await self._confirm(message)
                return message
        except TimeoutError as error:
            msg = f"Amazon did not answer within {ANSWER_SECONDS:g} seconds"
            raise ProviderTimeoutError(msg, code="timeout", outcome=Outcome.NOT_APPLIED) from error

    async def _verified(self, request: RawRequest) -> SnsMessage:
        if request.headers.get(RAW_HEADER, "").lower() == "true":
            raise WebhookVerificationError("raw delivery is on: such messages are not signed", code="raw_delivery")
        fields = _fields(request.body)
        try:
            kind = SnsType(request.headers.get(TYPE_HEADER, ""))
        except ValueError:
            raise WebhookVerificationError("SNS sends no messages of this type") from None
        if fields.get("Type") != kind:
            raise WebhookVerificationError("the header and the message do not agree on its type")
        topic = fields.get("TopicArn", "")
        if topic not in self._topics:
            raise WebhookVerificationError(f"the topic {topic[:300]!r} is not one of those trusted", code="topic")
        digest = DIGESTS.get(fields.get("SignatureVersion", ""))
        if digest is None:
            raise WebhookVerificationError("the version of the signature is unknown")
        if self._require_v2 and digest is not Digest.SHA256:
            raise WebhookVerificationError("signed with SHA-1, and version 2 is required", code="version")
        certificate = await self._certificate(fields.get("SigningCertURL", ""), region_of(topic))
        if not certificate.valid_at(self._account.clock.time()):
            raise WebhookVerificationError("the certificate is not in force", code="certificate")
        if not certificate.verifies(fields.get("Signature", ""), _signed(fields, kind), digest):
            raise WebhookVerificationError("the signature does not fit the message")
        return SnsMessage(kind, fields["MessageId"], topic, fields["Message"], fields.get("Token", ""))

    async def _certificate(self, url: str, region: str) -> RsaCertificate:
        """The certificate at a URL, which must be on the topic's own SNS host: anybody can sign with their own."""
        name = host("sns", region)
        path = next((url.removeprefix(start) for start in _roots(name) if url.startswith(start + "/")), "")
        if not PATH.fullmatch(path):
            raise WebhookVerificationError("the certificate is not Amazon's: its URL is elsewhere", code="certificate")
        key = name + path
        kept = self._certificates.get(key)
        if kept is not None:
            self._certificates.move_to_end(key)
            return kept
        headers = {"User-Agent": self._account.user_agent}
        response = await self._account.http().send(HttpRequest("GET", self._aws.url(name, path), headers))
        if response.status >= SERVER_ERROR:
            msg = f"the signing certificate could not be fetched: HTTP {response.status}"
            raise ProviderUnavailableError(msg, status=response.status, outcome=Outcome.NOT_APPLIED)
        if response.status != 200:
            raise WebhookVerificationError("there is no certificate at its URL", code="certificate")
        try:
            certificate = RsaCertificate(response.content)
        except ValueError:
            raise WebhookVerificationError("what is at the certificate's URL is none", code="certificate") from None
        self._certificates[key] = certificate
        if len(self._certificates) > CERTIFICATES:
            self._certificates.popitem(last=False)
        return certificate

    async def _confirm(self, message: SnsMessage) -> None:
        """Only the account's owner may end the subscription again."""

        def confirm() -> None:
            self._aws.sns(region_of(message.topic)).confirm_subscription(
                TopicArn=message.topic, Token=message.token, AuthenticateOnUnsubscribe="true"
            )

        await self._aws.run(confirm)


def _roots(name: str) -> tuple[str, str]:
    return f"https://{name}", f"https://{name}:443"


def _fields(body: bytes) -> dict[str, str]:
    """The texts of the envelope. Raises `WebhookVerificationError` for anything but one JSON object."""
    # The signature is over the fields: what stands around the object would be nobody's.
    if not (body.startswith(b"{") and body.rstrip(b"\r\n").endswith(b"}")):
        raise WebhookVerificationError("the body is not an SNS message")
    try:
        value = from_json(body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise WebhookVerificationError("the body is not an SNS message")
    return {name: text for name, text in value.items() if isinstance(text, str)}


def _signed(fields: Mapping[str, str], kind: SnsType) -> bytes:
    """The text that was signed. Raises `WebhookVerificationError` when a part of it is missing."""
    names = [name for name in SIGNED[kind] if name in fields or name != "Subject"]
    missing = [name for name in names if name not in fields]
    if missing:
        raise WebhookVerificationError(f"the message has no {missing[0]}")
    try:
        return "".join(f"{name}\n{fields[name]}\n" for name in names).encode()
    except UnicodeEncodeError:
        raise WebhookVerificationError("the message is not text") from None
