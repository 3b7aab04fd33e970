"""Topics of the local SNS, the HTTP endpoints that subscribe to them, signed deliveries.

A delivery that is answered 5xx, 429 or not at all waits for the next ``deliver``; one that is answered with another 4xx
is lost, as the delivery policy of SNS has it.
"""

from __future__ import annotations

import secrets
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import quote, urlsplit

from providers.testing.servers._aws.envelope import NOTIFICATION, SUBSCRIPTION, UNSUBSCRIPTION, Envelope, Signer
from providers.testing.servers._aws.origin import Origin, stamp
from providers.testing.servers._deliveries import Deliveries
from providers.testing.servers._host import JsonObject

TOKEN_SECONDS = 2 * 24 * 3600


@dataclass(slots=True, eq=False)
class Subscription:
    """An endpoint of a topic; ``stalled`` after a failed delivery."""

    arn: str
    topic: Topic
    endpoint: str
    confirmed: bool = False
    strict: bool = False
    token: str = ""
    token_until: float = 0.0
    attributes: dict[str, str] = field(default_factory=dict[str, str])
    queue: deque[Envelope] = field(default_factory=deque[Envelope])
    stalled: bool = False

    @property
    def protocol(self) -> str:
        """``http`` or ``https``."""
        return urlsplit(self.endpoint).scheme

    @property
    def raw(self) -> bool:
        """Whether messages come without envelope and signature."""
        return self.attributes.get("RawMessageDelivery") == "true"


@dataclass(slots=True, eq=False)
class Topic:
    """A topic with its attributes and subscriptions (by endpoint)."""

    arn: str
    attributes: dict[str, str] = field(default_factory=dict[str, str])
    subscriptions: dict[str, Subscription] = field(default_factory=dict[str, Subscription])
    deleted: int = 0

    @property
    def version(self) -> str:
        """The version it signs with."""
        return self.attributes.get("SignatureVersion", "1")


class Sns(Deliveries):
    """All topics of an account. ``changed`` is called when there is something to deliver."""

    def __init__(self, origin: Origin, signer: Signer, clock: Callable[[], float], changed: Callable[[], None]) -> None:
        super().__init__()
        self.origin, self.clock, self._changed = origin, clock, changed
        self.signer = signer
        self.trusting = False
        self.host = f"sns.{origin.region}.amazonaws.com"
        self.topics: dict[str, Topic] = {}
        self.leaving: list[Subscription] = []
        self.lost = 0

    # What the server does.

    def preset(self, arn: str, version: str, webhook_url: str | None) -> None:
        """One topic, with a confirmed subscription if there is an endpoint; all else is forgotten."""
        topic = Topic(arn, {"SignatureVersion": version})
        self.topics, self.leaving, self.lost = {arn: topic}, [], 0
        if webhook_url is not None:
            subscription = self.subscribe(topic, webhook_url)
            subscription.confirmed = True

    def publish(
        self,
        arn: str,
        message: str | Callable[[], str],
        subject: str | None = None,
        attributes: JsonObject | None = None,
    ) -> str:
        """Hand a message to every confirmed subscription; its id, ``""`` when there is no such topic."""
        topic = self.topics.get(arn)
        if topic is None:
            return ""
        extra: JsonObject = {"MessageAttributes": attributes} if attributes else {}
        confirmed = [each for each in topic.subscriptions.values() if each.confirmed]
        if not confirmed:
            return str(uuid.uuid4())
        envelope = self.envelope(NOTIFICATION, topic.arn, message, subject=subject, version=topic.version, extra=extra)
        for subscription in confirmed:
            subscription.queue.append(envelope)
        self._changed()
        return envelope.message_id

    def envelope(
        self,
        kind: str,
        arn: str,
        message: str | Callable[[], str],
        *,
        subject: str | None = None,
        version: str = "1",
        extra: JsonObject | None = None,
        timestamp: float | None = None,
        message_id: str | None = None,
    ) -> Envelope:
        """A message of a topic, signed by us."""
        at = stamp(self.clock() if timestamp is None else timestamp)
        identity = message_id or str(uuid.uuid4())
        return Envelope(kind, arn, identity, message, at, version, self.host, self.signer, subject, extra or {})

    def confirmation(self, kind: str, arn: str, token: str) -> tuple[str, JsonObject]:
        """Text and extra of a `SUBSCRIPTION` or `UNSUBSCRIPTION`."""
        verb = "to subscribe to the topic" if kind == SUBSCRIPTION else "to deactivate subscription"
        what = "confirm the subscription" if kind == SUBSCRIPTION else "cancel this operation and restore it"
        message = f"You have chosen {verb} {arn}.\nTo {what}, visit the SubscribeURL included in this message."
        url = f"https://{self.host}/?Action=ConfirmSubscription&TopicArn={quote(arn, safe=':')}&Token={token}"
        return message, {"Token": token, "SubscribeURL": url}

    def expect(self, arn: str) -> str:
        """A token that confirms a new subscription of a topic, if there is such a topic."""
        token = secrets.token_hex(128)
        if (topic := self.topics.get(arn)) is not None:
            waiting = self.subscribe(topic, f"https://shop.example.com/hooks/{uuid.uuid4()}")
            waiting.token, waiting.token_until = token, self.clock() + TOKEN_SECONDS
        return token

    def subscribe(self, topic: Topic, endpoint: str) -> Subscription:
        """The subscription of an endpoint, made when there is none; as a rule it is not confirmed yet."""
        known = topic.subscriptions.get(endpoint)
        if known is None:
            known = Subscription(f"{topic.arn}:{uuid.uuid4()}", topic, endpoint, confirmed=self.trusting)
            topic.subscriptions[endpoint] = known
        return known

    def ask(self, subscription: Subscription, kind: str) -> None:
        """Send an endpoint the message that asks for its confirmation."""
        subscription.token = secrets.token_hex(128)
        subscription.token_until = self.clock() + TOKEN_SECONDS
        topic = subscription.topic
        message, extra = self.confirmation(kind, topic.arn, subscription.token)
        subscription.queue.append(self.envelope(kind, topic.arn, message, version=topic.version, extra=extra))
        subscription.stalled = False
        self._changed()

    def leave(self, subscription: Subscription) -> None:
        """End a subscription that somebody ended who was not its owner: the endpoint may take it back."""
        subscription.confirmed = False
        self.leaving.append(subscription)
        self.ask(subscription, UNSUBSCRIPTION)

    # Deliveries.

    def everyone(self) -> list[Subscription]:
        """All subscriptions, those that are being left too."""
        return [*(each for topic in self.topics.values() for each in topic.subscriptions.values()), *self.leaving]

    def pending(self) -> int:
        """Messages that wait for delivery."""
        return sum(len(each.queue) for each in self.everyone())

    async def flush(self, *, stalled: bool) -> int:
        """Post what waits; how many messages were taken."""
        taken = 0
        for subscription in self.everyone():
            if stalled or not subscription.stalled:
                taken += await self._flush(subscription)
        self.leaving = [each for each in self.leaving if each.queue]
        return taken

    async def _flush(self, subscription: Subscription) -> int:
        taken = 0
        while subscription.queue:
            envelope = subscription.queue[0]
            headers, body = envelope.request(subscription.arn, raw=subscription.raw)
            status = await self.post(subscription.endpoint, body, headers)
            took = HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES
            final = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status != 429
            subscription.stalled = not (took or final)
            if subscription.stalled:
                break
            if subscription.queue and subscription.queue[0] is envelope:
                subscription.queue.popleft()
            taken += took
            self.lost += final
        return taken
