"""Configuration sets, their event destinations, and stored templates of the local SES."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from email.message import EmailMessage

from providers.testing.servers._aws.call import Answer, Call, RefusalError, bad_request, not_found, page
from providers.testing.servers._aws.check import sub, subs, text, texts
from providers.testing.servers._host import Json, JsonObject
from providers.testing.servers._ses.address import Address
from providers.testing.servers._ses.compose import Template, template_data
from providers.testing.servers._ses.events import MATCHING
from providers.testing.servers._ses.mail import Message

MAX_TEMPLATE = 500 * 1024
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_OPTIONS = (
    *("TrackingOptions", "DeliveryOptions", "ReputationOptions", "SendingOptions", "SuppressionOptions"),
    *("VdmOptions", "ArchivingOptions", "MessageSecurityOptions", "Tags"),
)


@dataclass(slots=True)
class ConfigurationSet:
    """A set with its options, as they were given, and its event destinations by name."""

    name: str
    options: JsonObject = field(default_factory=dict[str, Json])
    destinations: dict[str, JsonObject] = field(default_factory=dict[str, JsonObject])

    @property
    def paused(self) -> bool:
        """Whether it may not be sent with."""
        return sub(self.options, "SendingOptions").get("SendingEnabled") is False

    @property
    def suppressed_reasons(self) -> tuple[str, ...] | None:
        """Which entries of the suppression list count; None leaves it to the account."""
        given = sub(self.options, "SuppressionOptions")
        return tuple(texts(given, "SuppressedReasons")) if "SuppressedReasons" in given else None

    def topics(self, event: str) -> list[str]:
        """The topics that want an event."""
        return [
            text(sub(each, "SnsDestination"), "TopicArn")
            for each in self.destinations.values()
            if each.get("Enabled") is True and MATCHING[event] in texts(each, "MatchingEventTypes")
        ]


class Sets:
    """All configuration sets. ``announce`` publishes on a topic, False when there is no such topic."""

    def __init__(self, announce: Callable[[str, str], bool]) -> None:
        self._announce = announce
        self.known: dict[str, ConfigurationSet] = {}

    def preset(self, name: str, topic: str) -> None:
        """A set that tells a topic of everything."""
        destination: JsonObject = {
            "Enabled": True,
            "MatchingEventTypes": [*MATCHING.values()],
            "SnsDestination": {"TopicArn": topic},
        }
        self.known = {name: ConfigurationSet(name, destinations={"events": destination})}

    def operations(self) -> Iterable[tuple[str, Answer]]:
        """What it answers."""
        yield "CreateConfigurationSet", self._create
        yield "GetConfigurationSet", self._get
        yield "DeleteConfigurationSet", self._delete
        yield "ListConfigurationSets", self._list
        yield "CreateConfigurationSetEventDestination", self._create_destination
        yield "GetConfigurationSetEventDestinations", self._destinations
        yield "UpdateConfigurationSetEventDestination", self._update_destination
        yield "DeleteConfigurationSetEventDestination", self._delete_destination

    def _found(self, call: Call) -> ConfigurationSet:
        name = text(call.params, "ConfigurationSetName")
        if name not in self.known:
            raise not_found(f"Configuration set <{name}> does not exist.")
        return self.known[name]

    def _create(self, call: Call) -> JsonObject:
        name = text(call.params, "ConfigurationSetName")
        if _NAME.fullmatch(name) is None:
            raise bad_request(f"Invalid configuration set name <{name}>: letters, numbers, '_' and '-', at most 64.")
        if name in self.known:
            raise RefusalError("AlreadyExistsException", f"Configuration set <{name}> already exists.")
        options = {key: call.params[key] for key in _OPTIONS if key in call.params}
        self.known[name] = ConfigurationSet(name, options)
        return {}

    def _get(self, call: Call) -> JsonObject:
        found = self._found(call)
        return {
            "ConfigurationSetName": found.name,
            "DeliveryOptions": {"TlsPolicy": "OPTIONAL"},
            "ReputationOptions": {"ReputationMetricsEnabled": False},
            "SendingOptions": {"SendingEnabled": True},
            "Tags": [],
            **found.options,
        }

    def _delete(self, call: Call) -> JsonObject:
        del self.known[self._found(call).name]
        return {}

    def _list(self, call: Call) -> JsonObject:
        part = text(sub(call.params, "Filter"), "CONFIGURATION_SET_NAME_CONTAINS")
        shown, more = page(call, [name for name in sorted(self.known) if part in name])
        return {"ConfigurationSets": [*shown], **more}

    def _checked(self, call: Call) -> JsonObject:
        given = sub(call.params, "EventDestination")
        kinds = [key for key in given if key.endswith("Destination")]
        if len(kinds) != 1:
            raise bad_request("Exactly one destination must be given.")
        if kinds != ["SnsDestination"]:
            raise bad_request(f"The local server has no {kinds[0]}: use an SnsDestination.")
        if not texts(given, "MatchingEventTypes"):
            raise bad_request("MatchingEventTypes must not be empty.")
        topic = text(sub(given, "SnsDestination"), "TopicArn")
        if not self._announce(topic, "Successfully validated SNS topic for Amazon SES event publishing."):
            raise bad_request(f"Could not publish to the SNS topic <{topic}>.")
        return {"Enabled": False, **given}

    def _create_destination(self, call: Call) -> JsonObject:
        found, name = self._found(call), text(call.params, "EventDestinationName")
        if _NAME.fullmatch(name) is None:
            raise bad_request(f"Invalid event destination name <{name}>.")
        if name in found.destinations:
            raise RefusalError("AlreadyExistsException", f"Event destination <{name}> already exists.")
        found.destinations[name] = self._checked(call)
        return {}

    def _destinations(self, call: Call) -> JsonObject:
        found = self._found(call)
        return {"EventDestinations": [{"Name": name, **given} for name, given in found.destinations.items()]}

    def _destination(self, call: Call) -> tuple[ConfigurationSet, str]:
        found, name = self._found(call), text(call.params, "EventDestinationName")
        if name not in found.destinations:
            raise not_found(f"Event destination <{name}> does not exist.")
        return found, name

    def _update_destination(self, call: Call) -> JsonObject:
        found, name = self._destination(call)
        found.destinations[name] = self._checked(call)
        return {}

    def _delete_destination(self, call: Call) -> JsonObject:
        found, name = self._destination(call)
        del found.destinations[name]
        return {}


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored template."""

    template: Template
    content: JsonObject
    tags: list[JsonObject]
    created_at: float


class Templates:
    """Stored templates by name."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.known: dict[str, Stored] = {}

    def find(self, name: str) -> Template | None:
        """A template."""
        stored = self.known.get(name)
        return stored.template if stored is not None else None

    def operations(self) -> Iterable[tuple[str, Answer]]:
        """What it answers."""
        yield "CreateEmailTemplate", self._create
        yield "GetEmailTemplate", self._get
        yield "UpdateEmailTemplate", self._update
        yield "DeleteEmailTemplate", self._delete
        yield "ListEmailTemplates", self._list
        yield "TestRenderEmailTemplate", self._render

    def _found(self, call: Call) -> Stored:
        name = text(call.params, "TemplateName")
        if name not in self.known:
            raise not_found(f"Template {name} does not exist")
        return self.known[name]

    def _checked(self, name: str, content: JsonObject, tags: list[JsonObject], created_at: float) -> Stored:
        template = Template.of(name, content)
        template.check()
        if sum(len(part.encode()) for part in (template.text or "", template.html or "")) > MAX_TEMPLATE:
            raise bad_request(f"The template is longer than {MAX_TEMPLATE} bytes.")
        return Stored(template, content, tags, created_at)

    def _create(self, call: Call) -> JsonObject:
        name = text(call.params, "TemplateName")
        if name in self.known:
            raise RefusalError("AlreadyExistsException", f"Template {name} already exists")
        content, tags = sub(call.params, "TemplateContent"), subs(call.params, "Tags")
        self.known[name] = self._checked(name, content, tags, self._clock())
        return {}

    def _get(self, call: Call) -> JsonObject:
        found = self._found(call)
        return {"TemplateName": found.template.name, "TemplateContent": found.content, "Tags": [*found.tags]}

    def _update(self, call: Call) -> JsonObject:
        found, content = self._found(call), sub(call.params, "TemplateContent")
        self.known[found.template.name] = self._checked(found.template.name, content, found.tags, found.created_at)
        return {}

    def _delete(self, call: Call) -> JsonObject:
        del self.known[self._found(call).template.name]
        return {}

    def _list(self, call: Call) -> JsonObject:
        found = sorted(self.known.values(), key=lambda stored: (stored.created_at, stored.template.name))
        shown, more = page(call, found, default=10, most=100)
        listed: list[Json] = [
            {"TemplateName": each.template.name, "CreatedTimestamp": each.created_at} for each in shown
        ]
        return {"TemplatesMetadata": listed, **more}

    def _render(self, call: Call) -> JsonObject:
        message = Message(Address("", "", ""))
        self._found(call).template.fill(message, template_data(text(call.params, "TemplateData")))
        if message.failure is not None:
            raise bad_request(message.failure)
        mime = EmailMessage()
        mime["Subject"] = " ".join(message.subject.splitlines())
        if message.text is not None:
            mime.set_content(message.text)
        if message.html is not None:
            (mime.set_content if message.text is None else mime.add_alternative)(message.html, subtype="html")
        return {"RenderedTemplate": mime.as_string()}
