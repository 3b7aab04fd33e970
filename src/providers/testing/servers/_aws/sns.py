"""Operations of the local SNS (model sns 2010-03-31)."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable
from urllib.parse import urlsplit

from providers.testing.servers._aws.call import Answer, Call, RefusalError
from providers.testing.servers._aws.check import sub, text
from providers.testing.servers._aws.envelope import SUBSCRIPTION
from providers.testing.servers._aws.topics import Sns, Subscription, Topic
from providers.testing.servers._host import Json, JsonObject

MAX_BYTES = 262_144
PAGE = 100
_SETTABLE = ("DisplayName", "Policy", "DeliveryPolicy", "SignatureVersion", "TracingConfig", "KmsMasterKeyId")
_SUBSCRIPTION_SETTABLE = ("RawMessageDelivery", "DeliveryPolicy")


def _invalid(message: str) -> RefusalError:
    return RefusalError("InvalidParameter", f"Invalid parameter: {message}")


class SnsOperations:
    """What SNS answers about the topics of an account."""

    def __init__(self, sns: Sns) -> None:
        self._sns = sns

    def operations(self) -> Iterable[tuple[str, Answer]]:
        """What it answers."""
        yield "CreateTopic", self._create_topic
        yield "DeleteTopic", self._delete_topic
        yield "ListTopics", self._list_topics
        yield "GetTopicAttributes", self._topic_attributes
        yield "SetTopicAttributes", self._set_topic_attributes
        yield "Subscribe", self._subscribe
        yield "ConfirmSubscription", self._confirm
        yield "Unsubscribe", self._unsubscribe
        yield "ListSubscriptionsByTopic", self._list_subscriptions
        yield "GetSubscriptionAttributes", self._subscription_attributes
        yield "SetSubscriptionAttributes", self._set_subscription_attributes
        yield "Publish", self._publish

    def _topic(self, call: Call) -> Topic:
        arn = text(call.params, "TopicArn")
        prefix = self._sns.origin.arn("sns", "")
        if not arn.startswith("arn:aws:sns:"):
            raise _invalid("TopicArn")
        if arn not in self._sns.topics or not arn.startswith(prefix):
            raise RefusalError("NotFound", "Topic does not exist")
        return self._sns.topics[arn]

    def _create_topic(self, call: Call) -> JsonObject:
        name, attributes = text(call.params, "Name"), sub(call.params, "Attributes")
        if re.fullmatch(r"[A-Za-z0-9_-]{1,256}", name) is None:
            raise _invalid("Topic Name")
        for key, value in attributes.items():
            _check_topic_attribute(key, str(value))
        arn = self._sns.origin.arn("sns", name)
        given = {key: str(value) for key, value in attributes.items()}
        known = self._sns.topics.setdefault(arn, Topic(arn, given))
        if any(known.attributes.get(key) != value for key, value in given.items()):
            raise _invalid("Attributes Reason: Topic already exists with different attributes")
        return {"TopicArn": arn}

    def _delete_topic(self, call: Call) -> JsonObject:
        self._sns.topics.pop(text(call.params, "TopicArn"), None)
        return {}

    def _list_topics(self, call: Call) -> JsonObject:
        arns, more = _page(call, sorted(self._sns.topics))
        return {"Topics": [{"TopicArn": arn} for arn in arns], **more}

    def _topic_attributes(self, call: Call) -> JsonObject:
        topic = self._topic(call)
        confirmed = sum(each.confirmed for each in topic.subscriptions.values())
        attributes: JsonObject = {
            "TopicArn": topic.arn,
            "Owner": self._sns.origin.account_id,
            "DisplayName": "",
            "SubscriptionsConfirmed": str(confirmed),
            "SubscriptionsPending": str(len(topic.subscriptions) - confirmed),
            "SubscriptionsDeleted": str(topic.deleted),
        }
        return {"Attributes": {**attributes, **topic.attributes}}

    def _set_topic_attributes(self, call: Call) -> JsonObject:
        topic, name, value = self._topic(call), text(call.params, "AttributeName"), text(call.params, "AttributeValue")
        _check_topic_attribute(name, value)
        topic.attributes[name] = value
        return {}

    def _subscribe(self, call: Call) -> JsonObject:
        topic, protocol, endpoint = self._topic(call), text(call.params, "Protocol"), text(call.params, "Endpoint")
        if protocol not in ("http", "https"):
            raise _invalid(f"Protocol Reason: the local server delivers to http and https only, not to {protocol}")
        parts = urlsplit(endpoint)
        if parts.scheme != protocol or not parts.hostname:
            raise _invalid("Endpoint must match the specified protocol")
        attributes = {key: str(value) for key, value in sub(call.params, "Attributes").items()}
        for key, value in attributes.items():
            _check_subscription_attribute(key, value)
        subscription = self._sns.subscribe(topic, endpoint)
        subscription.attributes.update(attributes)
        if not subscription.confirmed:
            self._sns.ask(subscription, SUBSCRIPTION)
        shown = subscription.confirmed or call.params.get("ReturnSubscriptionArn") is True
        return {"SubscriptionArn": subscription.arn if shown else "pending confirmation"}

    def _confirm(self, call: Call) -> JsonObject:
        topic, token = self._topic(call), text(call.params, "Token")
        strict = text(call.params, "AuthenticateOnUnsubscribe").lower() == "true"
        gone = {each.endpoint: each for each in self._sns.leaving if each.topic is topic}
        for subscription in (*topic.subscriptions.values(), *gone.values()):
            if secrets.compare_digest(subscription.token.encode(), token.encode()) and token:
                if subscription.token_until < self._sns.clock():
                    break
                topic.subscriptions[subscription.endpoint] = subscription
                self._sns.leaving = [each for each in self._sns.leaving if each is not subscription]
                subscription.confirmed = True
                subscription.strict = subscription.strict or (strict and bool(call.key_id))
                return {"SubscriptionArn": subscription.arn}
        raise _invalid("Token")

    def _found(self, call: Call) -> Subscription:
        arn = text(call.params, "SubscriptionArn")
        found = next(
            (each for each in self._sns.everyone() if each.arn == arn and each.topic.arn in self._sns.topics), None
        )
        if found is None or found in self._sns.leaving:
            raise RefusalError("NotFound", "Subscription does not exist")
        return found

    def _unsubscribe(self, call: Call) -> JsonObject:
        subscription = self._found(call)
        if subscription.strict and not call.key_id:
            raise RefusalError("AuthorizationError", "This subscription can be ended by its owner only.")
        topic = subscription.topic
        del topic.subscriptions[subscription.endpoint]
        topic.deleted += 1
        if not call.key_id and subscription.confirmed:  # somebody had the link: the endpoint may take it back
            self._sns.leave(subscription)
        return {}

    def _list_subscriptions(self, call: Call) -> JsonObject:
        shown, more = _page(call, [*self._topic(call).subscriptions])
        listed = [self._topic(call).subscriptions[endpoint] for endpoint in shown]
        return {
            "Subscriptions": [
                {
                    "SubscriptionArn": each.arn if each.confirmed else "PendingConfirmation",
                    "Owner": self._sns.origin.account_id,
                    "Protocol": each.protocol,
                    "Endpoint": each.endpoint,
                    "TopicArn": each.topic.arn,
                }
                for each in listed
            ],
            **more,
        }

    def _subscription_attributes(self, call: Call) -> JsonObject:
        found = self._found(call)
        attributes: JsonObject = {
            "SubscriptionArn": found.arn,
            "TopicArn": found.topic.arn,
            "Owner": self._sns.origin.account_id,
            "Protocol": found.protocol,
            "Endpoint": found.endpoint,
            "PendingConfirmation": str(not found.confirmed).lower(),
            "ConfirmationWasAuthenticated": str(found.strict).lower(),
            "RawMessageDelivery": "false",
        }
        return {"Attributes": {**attributes, **found.attributes}}

    def _set_subscription_attributes(self, call: Call) -> JsonObject:
        found, name, value = self._found(call), text(call.params, "AttributeName"), text(call.params, "AttributeValue")
        _check_subscription_attribute(name, value)
        found.attributes[name] = value
        return {}

    def _publish(self, call: Call) -> JsonObject:
        if "TopicArn" not in call.params:
            raise _invalid("TopicArn Reason: the local server publishes to topics only")
        topic, message = self._topic(call), text(call.params, "Message")
        if not message:
            raise _invalid("Empty message")
        if len(message.encode()) > MAX_BYTES:
            raise _invalid("Message too long")
        if (structure := text(call.params, "MessageStructure")) and structure != "json":
            raise _invalid("MessageStructure")
        if structure:
            try:
                parts: Json = json.loads(message)
            except ValueError:
                parts = None
            if not isinstance(parts, dict) or "default" not in parts:
                raise _invalid("Message Structure - No default entry in JSON message body")
            message = str(parts.get("https", parts.get("http", parts["default"])))
        attributes: JsonObject = {
            name: {"Type": given.get("DataType"), "Value": given.get("StringValue", given.get("BinaryValue"))}
            for name, given in sub(call.params, "MessageAttributes").items()
            if isinstance(given, dict)
        }
        return {"MessageId": self._sns.publish(topic.arn, message, text(call.params, "Subject") or None, attributes)}


def _check_topic_attribute(name: str, value: str) -> None:
    if name not in _SETTABLE:
        raise _invalid("AttributeName")
    if name == "SignatureVersion" and value not in ("1", "2"):
        raise _invalid("SignatureVersion")


def _check_subscription_attribute(name: str, value: str) -> None:
    if name not in _SUBSCRIPTION_SETTABLE:
        raise _invalid(f"AttributeName Reason: the local server does not know {name}")
    if name == "RawMessageDelivery" and value not in ("true", "false"):
        raise _invalid("Attributes Reason: RawMessageDelivery: Invalid value. Must be true or false.")


def _page(call: Call, found: list[str]) -> tuple[list[str], JsonObject]:
    token = text(call.params, "NextToken")
    if token and not token.isdecimal():
        raise _invalid("NextToken")
    start = int(token or 0)
    more: JsonObject = {"NextToken": str(start + PAGE)} if start + PAGE < len(found) else {}
    return found[start : start + PAGE], more
