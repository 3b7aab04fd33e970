"""E-mail through Amazon SES, API version 2.

The official library, in threads: its async twins pin a version of it that is not the current one. Sources: botocore's
service models `sesv2` (2019-09-27) and `sns`; Amazon SES developer guide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeAlias, cast

from pydantic import AwareDatetime, BaseModel, Field, JsonValue, SecretStr

from providers.core.errors import (
    BadResponseError,
    ConfigurationError,
    Fault,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    PermissionDeniedError,
    ProviderError,
    ProviderUnavailableError,
    QuotaExceededError,
    RateLimitedError,
)
from providers.core.models import (
    CheckResult,
    CheckState,
    Quota,
    RawRequest,
    Ref,
    Reply,
    WebhookEndpoint,
    WebhookResult,
)
from providers.email.events import EmailEvent, EmailEventType
from providers.email.facts import SES
from providers.email.models import (
    DnsRecord,
    EmailMessage,
    MessageRef,
    MessageStatus,
    SendingDomain,
    Suppression,
    SuppressionReason,
)
from providers.email.ses_events import bare, parse_events
from providers.email.ses_mail import (
    HEADER_ID,
    TEMPLATE_DATA,
    Payload,
    attachment_list,
    batch_entry,
    header_list,
    inline_template,
    message_tags,
    person,
    refuse,
    stored_template,
    template_data,
    text_part,
    unsubscribe_headers,
)
from providers.email.template import Names
from providers.vendors import sns
from providers.vendors.aws import Aws, ClientError, check_parameters, code_of, translate

if TYPE_CHECKING:
    from types_boto3_sesv2 import SESV2Client
    from types_boto3_sesv2.literals import EventTypeType
    from types_boto3_sesv2.type_defs import EventDestinationDefinitionTypeDef
    from types_boto3_sns import SNSClient

    from providers.core.account import Account
    from providers.email.api import Personal

Request: TypeAlias = dict[str, Any]

LONGEST_ID = 224
ID = re.compile(r"[A-Za-z0-9._-]{1,200}")
PAGE, LONGEST_LIST = 1000, 100

TOPIC, CONFIGURATION_SET, DESTINATION = "providers-ses-events", "providers-events", "providers-sns"
"""What `ensure_webhook` makes where the settings name nothing."""

EVENTS: tuple[EventTypeType, ...] = (
    "SEND", "REJECT", "BOUNCE", "COMPLAINT", "DELIVERY", "OPEN", "CLICK", "RENDERING_FAILURE", "DELIVERY_DELAY",
    "SUBSCRIPTION",
)  # fmt: skip
STATES = {
    "SEND": EmailEventType.SENT,
    "DELIVERY": EmailEventType.DELIVERED,
    "DELIVERY_DELAY": EmailEventType.DEFERRED,
    "BOUNCE": EmailEventType.BOUNCED,
    "REJECT": EmailEventType.REJECTED,
    "RENDERING_FAILURE": EmailEventType.FAILED,
    "COMPLAINT": EmailEventType.COMPLAINED,
    "OPEN": EmailEventType.OPENED,
    "CLICK": EmailEventType.CLICKED,
    "SUBSCRIPTION": EmailEventType.UNSUBSCRIBED,
}
REASONS = {"BOUNCE": SuppressionReason.BOUNCED, "COMPLAINT": SuppressionReason.COMPLAINED}

REFUSALS: Mapping[str, type[ProviderError]] = {
    "MessageRejected": InvalidRequestError,
    "MailFromDomainNotVerifiedException": PermissionDeniedError,
    "AccountSuspendedException": PermissionDeniedError,
    "SendingPausedException": PermissionDeniedError,
}
STATUSES: Mapping[str, type[ProviderError]] = {
    "MESSAGE_REJECTED": InvalidRequestError,
    "INVALID_PARAMETER": InvalidRequestError,
    "TEMPLATE_NOT_FOUND": NotFoundError,
    "CONFIGURATION_SET_NOT_FOUND": ConfigurationError,
    "INVALID_SENDING_POOL_NAME": ConfigurationError,
    "MAIL_FROM_DOMAIN_NOT_VERIFIED": PermissionDeniedError,
    "ACCOUNT_SUSPENDED": PermissionDeniedError,
    "ACCOUNT_SENDING_PAUSED": PermissionDeniedError,
    "CONFIGURATION_SET_SENDING_PAUSED": PermissionDeniedError,
    "ACCOUNT_THROTTLED": RateLimitedError,
    "ACCOUNT_DAILY_QUOTA_EXCEEDED": QuotaExceededError,
    "TRANSIENT_FAILURE": ProviderUnavailableError,
}
"""What became of one mail of a batch. `FAILED` and words that are not known are in `_entry_error`."""

TEMPORARY = frozenset({"ACCOUNT_THROTTLED", "TRANSIENT_FAILURE"})


class SesEmail:
    """Sending, suppression list, identities and events (through SNS) of one SES account in one region.

    Metadata and tags come back in events as message tags. Those that SES would not take as such (letters, digits, `_`
    and `-` only) share the tags `pm_data_0` and so on, 256 characters each, at most 50 tags in all.
    """

    facts = SES

    def __init__(self, account: Account) -> None:
        self._account = account
        self._clock = account.clock
        self._aws = Aws(
            account,
            service="sesv2",
            access_key=account.get("SES_ACCESS_KEY_ID"),
            secret_key=account.get("SES_SECRET_ACCESS_KEY"),
            region=account.get("SES_REGION"),
        )
        name, sender = account.get("SES_FROM_NAME"), account.get("SES_FROM_EMAIL")
        self._from = f"{name} <{sender}>" if name else sender
        self._configuration_set = account.get("SES_CONFIGURATION_SET")
        topics = sns.topics_of(account.get("SES_SNS_TOPIC_ARN"), "SES_SNS_TOPIC_ARN")
        self._topics = topics
        self._sns = sns.SnsReceiver(account, self._aws, topics=topics, require_v2=account.flag("SES_SNS_REQUIRE_V2"))

    @property
    def client(self) -> SESV2Client:
        """The library's own client. Blocking, and slow to make: for use on a thread."""
        return self._aws.sesv2()

    def translate(self, error: Exception) -> ProviderError | None:
        """By Amazon's common errors, and those that mean something of their own in SES."""
        named = translate(error, self.facts, self._clock)
        if named is None or named.status is None or named.status >= 500:
            return named
        text = named.message.lower()
        kind = REFUSALS.get(named.code or "")
        field = named.field
        if "configuration set" in text and "not exist" in text:
            kind, field = ConfigurationError, "SES_CONFIGURATION_SET"
        elif "daily message quota" in text:
            kind = QuotaExceededError
        elif "maximum sending rate" in text:
            kind = RateLimitedError
        elif kind is InvalidRequestError and "not verified" in text:
            # Either the sender, or in the sandbox anybody: no mail's fault, and true of the next one as well.
            kind = PermissionDeniedError
        elif isinstance(named, NotFoundError) and "template" in text:
            field = "template"
        if kind is None:
            named.field = field
            return named
        return kind(
            named.message,
            code=named.code,
            status=named.status,
            request_id=named.request_id,
            retry_after=named.retry_after,
            field=field,
        )

    async def send(self, message: EmailMessage, tracking_id: str) -> MessageRef:
        """`SendEmail`; a stored template by its name or ARN."""
        headers = {**message.headers, **unsubscribe_headers(message.unsubscribe_url), HEADER_ID: tracking_id}
        content: Payload
        if message.template is not None:
            data = template_data(message.variables, "variables", TEMPLATE_DATA)
            content = {**stored_template(message.template), "TemplateData": data}
        else:
            parts = (("Text", message.text), ("Html", message.html))
            body = {name: text_part(part) for name, part in parts if part}
            content = {"Subject": text_part(message.subject), "Body": body}
        content["Headers"] = header_list(headers)
        if message.attachments:
            content["Attachments"] = attachment_list(message)
        people = (("ToAddresses", message.to), ("CcAddresses", message.cc), ("BccAddresses", message.bcc))
        request = self._request(message)
        request |= {
            "Destination": {name: [person(one) for one in some] for name, some in people if some},
            "Content": {"Simple" if message.template is None else "Template": content},
            "EmailTags": message_tags(message.metadata, message.tags, tracking_id),
        }
        answer = await self._aws.run(lambda: self._prepared("SendEmail", request, message).send_email(**request))
        return MessageRef(vendor="ses", id=_Sent.model_validate(answer).message_id)

    async def send_batch(
        self, message: EmailMessage, recipients: Sequence[Personal]
    ) -> list[MessageRef | ProviderError]:
        """`SendBulkEmail` with the text in the request, or a stored template; tokens become the vendor's variables.

        When no mail was taken, for the account's fault or because SES takes none for now, that is raised.
        """
        names = Names(message)
        guards: dict[str, str] = {}
        template: Payload
        if message.template is not None:
            template = stored_template(message.template)
        else:
            template = {"TemplateContent": inline_template(message, guards)}
        template["TemplateData"] = "{}"
        headers = dict(message.headers)
        if not names.url:
            headers |= unsubscribe_headers(message.unsubscribe_url)
        elif message.unsubscribe_url and not message.unsubscribe_url.isascii():
            refuse("unsubscribe_url", "letters outside ASCII have to be percent-encoded")
        template["Headers"] = header_list(headers)
        if message.attachments:
            template["Attachments"] = attachment_list(message)
        message_tags(message.metadata, message.tags, "")
        request = self._request(message)
        request |= {
            "DefaultContent": {"Template": template},
            "BulkEmailEntries": [
                batch_entry(message, names, guards, len(headers), i, one) for i, one in enumerate(recipients)
            ],
        }
        answer = await self._aws.run(
            lambda: self._prepared("SendBulkEmail", request, message).send_bulk_email(**request)
        )
        results = _Bulk.model_validate(answer).results
        if len(results) != len(recipients):
            msg = f"{len(results)} results for {len(recipients)} mails"
            raise BadResponseError(msg, code="reply")
        outcomes = [_outcome(result, one) for result, one in zip(results, recipients, strict=True)]
        _raise_if_none_was_taken(outcomes)
        return outcomes

    async def status(self, ref: Ref) -> MessageStatus:
        """`GetMessageInsights`, once a second at most; the first recipient's state.

        Only where the account has Virtual Deliverability Manager (a paid add-on): `InvalidRequestError`,
        `PermissionDeniedError` or `NotFoundError` without it.
        """
        if not ID.fullmatch(ref.id):
            raise _no_such(ref)
        try:
            answer = await self._aws.run(lambda: self.client.get_message_insights(MessageId=ref.id))
        except ClientError as error:
            if code_of(error) == "NotFoundException":
                raise _no_such(ref) from error
            raise
        found = _Insights.model_validate(answer)
        if not found.insights:
            return MessageStatus(ref=ref, recipient="", state=EmailEventType.UNKNOWN, raw=_plain(found))
        first = found.insights[0]
        events = [(STATES.get(event.type, EmailEventType.UNKNOWN), event.timestamp) for event in first.events]
        kinds = [kind for kind, _ in events]
        last = max(kinds, key=lambda kind: kind.rank, default=EmailEventType.UNKNOWN)
        return MessageStatus(
            ref=ref,
            recipient=bare(first.destination),
            state=last,
            opens=kinds.count(EmailEventType.OPENED),
            clicks=kinds.count(EmailEventType.CLICKED),
            updated_at=max((at for _, at in events if at is not None), default=None),
            raw=_plain(found),
        )

    async def suppressions(self, cursor: str) -> tuple[list[Suppression], str]:
        """The account's suppression list; a cursor is the vendor's `NextToken`."""
        token = {"NextToken": cursor} if cursor else {}
        answer = await self._aws.run(
            lambda: self.client.list_suppressed_destinations(PageSize=PAGE, **cast("Any", token))
        )
        found = _SuppressedPage.model_validate(answer)
        page = [
            Suppression(
                email=one.email_address,
                # SES blocks it either way; a word that is new is no reason to write again.
                reason=REASONS.get(one.reason, SuppressionReason.BOUNCED),
                detail=one.reason,
                since=one.last_update_time and one.last_update_time.astimezone(UTC),
                vendor="ses",
            )
            for one in found.summaries
        ]
        return page, found.next_token or ""

    async def suppress(self, email: str) -> None:
        """Put on the account's suppression list as a complaint: of the two reasons there, the one that is a wish."""
        await self._aws.run(lambda: self.client.put_suppressed_destination(EmailAddress=email, Reason="COMPLAINT"))

    async def unsuppress(self, email: str) -> None:
        """Delete from the account's suppression list; Amazon's own, over all accounts, stays."""
        try:
            await self._aws.run(lambda: self.client.delete_suppressed_destination(EmailAddress=email))
        except ClientError as error:
            if code_of(error) != "NotFoundException":
                raise

    async def domain(self, name: str) -> SendingDomain:
        """The identity and its DKIM records, made if SES does not know it. With keys of one's own: no records."""
        answer = await self._aws.run(lambda: _identity(self.client, name))
        found = _Identity.model_validate(answer)
        dkim = found.dkim
        zone = dkim.zone or "dkim.amazonses.com"
        records = tuple(
            DnsRecord(
                type="CNAME",
                name=f"{token}._domainkey.{name}",
                value=f"{token}.{zone}",
                verified=dkim.status == "SUCCESS",
            )
            for token in (dkim.tokens if dkim.origin != "EXTERNAL" else ())
        )
        return SendingDomain(name=name, verified=found.verified, records=records, vendor="ses", raw=_plain(found))

    async def ensure_webhook(self, url: str) -> WebhookEndpoint:
        """All events of the configuration set to an SNS topic, and that to `url`; what is missing is made.

        The secret is the topic's ARN: it has to be in `SES_SNS_TOPIC_ARN`, and the configuration set
        (`providers-events` unless named) in `SES_CONFIGURATION_SET`. SNS sends nothing until its first request to
        `url` has been through `webhook`. Opens and clicks are among the events: SES then rewrites links.
        """
        name = self._configuration_set or CONFIGURATION_SET
        topic, destination = await self._aws.run(lambda: self._connected(url, name))
        return WebhookEndpoint(ref=Ref(vendor="ses", id=f"{name}/{destination}"), secret=SecretStr(topic))

    def recognises(self, request: RawRequest) -> bool:
        """By the header that SNS sends."""
        return sns.recognises(request)

    async def webhook(self, request: RawRequest) -> WebhookResult[EmailEvent]:
        """RSA over the envelope's fields, from a topic of `SES_SNS_TOPIC_ARN`; then the events in it.

        The end of a subscription is answered and has no events: `ensure_webhook` begins a new one.
        """
        if not self._topics:
            msg = "SES_SNS_TOPIC_ARN is not set; without it no event can be trusted"
            raise ConfigurationError(msg, field="SES_SNS_TOPIC_ARN")
        message = await self._sns.receive(request)
        events: tuple[EmailEvent, ...] = ()
        if message.type is sns.SnsType.NOTIFICATION:
            events = parse_events(message.text, message.id, self._clock.time())
        return WebhookResult[EmailEvent](events=events)

    async def check(self) -> CheckResult:
        """`GetAccount`: the quota of 24 hours, the rate, the sandbox."""
        try:
            answer = await self._aws.run(lambda: self.client.get_account())  # noqa: PLW0108 (the client is made on the thread too)
        except ClientError as error:
            if code_of(error) not in {"AccessDenied", "AccessDeniedException"}:
                raise
            # Signed well enough to be told so: keys that may only send are the best ones.
            msg = "the key is valid; ses:GetAccount is not allowed, so quota and sandbox are not known"
            return CheckResult(vendor="ses", state=CheckState.OK, detail=msg)
        found = _Account.model_validate(answer)
        quota = found.quota
        notes = [f"{quota.rate:,.10g} mails a second"] if quota else []
        if not found.production:
            notes.append("only verified addresses get mail until AWS grants production access")
        able = found.sending_enabled and found.enforcement != "SHUTDOWN"
        if not able:
            notes.insert(0, f"the account may not send (status {found.enforcement or 'unknown'})")
        elif found.enforcement not in {"", "HEALTHY"}:
            notes.insert(0, f"the account may send, but is under review (status {found.enforcement})")
        return CheckResult(
            vendor="ses",
            state=CheckState.OK if able else CheckState.REFUSED,
            detail="; ".join(notes),
            permissions=("ses:GetAccount",),
            quota=_quota(quota) if quota else None,
            sandbox=not found.production,
        )

    async def aclose(self) -> None:
        """Nothing of its own."""

    def _prepared(self, operation: str, request: Request, message: EmailMessage) -> SESV2Client:
        """The client, for a request that has got the caller's options and passes as the vendor's."""
        client = self.client
        if options := message.vendor_options.get("ses"):
            request.update(options)
            check_parameters(client, operation, request)
        return client

    def _request(self, message: EmailMessage) -> Request:
        """What single mails and batches have in common."""
        request: Request = {"FromEmailAddress": person(message.sender or self._from)}
        if message.reply_to:
            request["ReplyToAddresses"] = [person(message.reply_to)]
        if self._configuration_set:
            request["ConfigurationSetName"] = self._configuration_set
        return request

    def _connected(self, url: str, name: str) -> tuple[str, str]:
        """The topic, subscribed by `url`, and the configuration set's event destination that feeds it. Blocks."""
        topic = self._topics[0] if self._topics else ""
        client = self._aws.sns(sns.region_of(topic) if topic else self._aws.region)
        if not topic:
            topic = _Topic.model_validate(client.create_topic(Name=TOPIC)).arn
        client.set_topic_attributes(TopicArn=topic, AttributeName="SignatureVersion", AttributeValue="2")
        if not _is_subscribed(client, topic, url):
            protocol = url.partition(":")[0]
            # One that is not confirmed yet is asked again, and no second one made.
            client.subscribe(TopicArn=topic, Protocol=protocol, Endpoint=url, ReturnSubscriptionArn=True)
        ses = self.client
        with _Known():
            ses.create_configuration_set(ConfigurationSetName=name)
        found = ses.get_configuration_set_event_destinations(ConfigurationSetName=name)
        there = {one.name: one.to.topic if one.to else "" for one in _Destinations.model_validate(found).destinations}
        # A second one to the same topic would have everything told twice.
        destination = next((one for one, told in there.items() if told == topic), DESTINATION)
        wanted: EventDestinationDefinitionTypeDef = {
            "Enabled": True,
            "MatchingEventTypes": EVENTS,
            "SnsDestination": {"TopicArn": topic},
        }
        tell = (
            ses.update_configuration_set_event_destination
            if destination in there
            else ses.create_configuration_set_event_destination
        )
        tell(ConfigurationSetName=name, EventDestinationName=destination, EventDestination=wanted)
        return topic, destination


class _Known:
    """A block that makes something; `there` when it had been made before."""

    def __init__(self) -> None:
        self.there = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        self.there = isinstance(error, ClientError) and code_of(error) == "AlreadyExistsException"
        return self.there


def _is_subscribed(client: SNSClient, topic: str, url: str) -> bool:
    token = ""
    # A list that does not end must not hold a thread for ever.
    for _ in range(LONGEST_LIST):
        some = {"NextToken": token} if token else {}
        page = _Subscriptions.model_validate(client.list_subscriptions_by_topic(TopicArn=topic, **cast("Any", some)))
        if any(one.endpoint == url and one.arn.startswith("arn:") for one in page.subscriptions):
            return True
        token = page.next_token or ""
        if not token:
            break
    return False


def _identity(client: SESV2Client, name: str) -> object:
    """What SES knows of a domain, after telling it of it if need be. Blocks."""
    try:
        return client.get_email_identity(EmailIdentity=name)
    except ClientError as error:
        if code_of(error) != "NotFoundException":
            raise
    with _Known() as known:
        return client.create_email_identity(EmailIdentity=name)
    return client.get_email_identity(EmailIdentity=name) if known.there else None


def _quota(quota: _Quota) -> Quota:
    limit = quota.limit if quota.limit >= 0 else None
    remaining = None if limit is None else max(limit - quota.used, 0.0)
    return Quota.model_validate({"unit": "email", "used": quota.used, "limit": limit, "remaining": remaining})


def _outcome(result: _Result, personal: Personal) -> MessageRef | ProviderError:
    if result.status == "SUCCESS":
        # Taken, whatever else is missing: our own id stands in.
        given = result.message_id or ""
        return MessageRef(vendor="ses", id=given if 0 < len(given) <= LONGEST_ID else personal.tracking_id)
    return _entry_error(result)


def _entry_error(result: _Result) -> ProviderError:
    """`Error` is "an error that prevented a message being sent": with one, even `FAILED` is known not to be."""
    kind = STATUSES.get(result.status, ProviderUnavailableError)
    known = result.status in STATUSES or (result.status == "FAILED" and bool(result.error))
    text = result.error or f"not sent: {result.status}" if known else f"unknown outcome: {result.status[:80]}"
    fields = {"TEMPLATE_NOT_FOUND": "template", "CONFIGURATION_SET_NOT_FOUND": "SES_CONFIGURATION_SET"}
    return kind(
        text,
        vendor="ses",
        operation="email.send_campaign",
        code=result.status[:100] or None,
        outcome=Outcome.NOT_APPLIED if known else Outcome.UNKNOWN,
        # Another try helps where the vendor says that it is a matter of time.
        retryable=result.status in TEMPORARY,
        field=fields.get(result.status),
    )


def _raise_if_none_was_taken(outcomes: Sequence[MessageRef | ProviderError]) -> None:
    """One reason that holds for the account, or for the moment, is the whole call's: others can then step in."""
    errors = [one for one in outcomes if isinstance(one, ProviderError)]
    first = errors[0] if errors else None
    if first is None or len(errors) < len(outcomes) or any(error.code != first.code for error in errors):
        return
    if first.fault is Fault.ACCOUNT or first.code in TEMPORARY:
        raise first


def _no_such(ref: Ref) -> NotFoundError:
    return NotFoundError(f"ref: SES's message insights have no mail {ref.id[:80]!r}", vendor="ses", field="ref")


def _plain(model: BaseModel) -> JsonValue:
    plain: JsonValue = model.model_dump(mode="json")
    return plain


class _Sent(Reply):
    message_id: Annotated[str, Field(alias="MessageId", min_length=1, max_length=LONGEST_ID)]


class _Result(Reply):
    status: str = Field("", alias="Status")
    error: str | None = Field(None, alias="Error")
    message_id: str | None = Field(None, alias="MessageId")


class _Bulk(Reply):
    results: list[_Result] = Field(alias="BulkEmailEntryResults")


class _InsightsEvent(Reply):
    type: str = Field("", alias="Type")
    timestamp: AwareDatetime | None = Field(None, alias="Timestamp")


class _Insight(Reply):
    destination: str = Field("", alias="Destination")
    events: list[_InsightsEvent] = Field(default_factory=list[_InsightsEvent], alias="Events")


class _Insights(Reply):
    insights: list[_Insight] = Field(default_factory=list[_Insight], alias="Insights")


class _Suppressed(Reply):
    email_address: str = Field(alias="EmailAddress")
    reason: str = Field("", alias="Reason")
    last_update_time: AwareDatetime | None = Field(None, alias="LastUpdateTime")


class _SuppressedPage(Reply):
    summaries: list[_Suppressed] = Field(default_factory=list[_Suppressed], alias="SuppressedDestinationSummaries")
    next_token: str | None = Field(None, alias="NextToken")


class _Dkim(Reply):
    tokens: list[str] = Field(default_factory=list[str], alias="Tokens")
    status: str = Field("", alias="Status")
    origin: str = Field("", alias="SigningAttributesOrigin")
    zone: str = Field("", alias="SigningHostedZone")


class _Identity(Reply):
    verified: bool = Field(alias="VerifiedForSendingStatus")
    dkim: _Dkim = Field(alias="DkimAttributes")


class _Topic(Reply):
    arn: Annotated[str, Field(alias="TopicArn", pattern=sns.ARN.pattern)]


class _Subscription(Reply):
    arn: str = Field("", alias="SubscriptionArn")
    endpoint: str = Field("", alias="Endpoint")


class _Subscriptions(Reply):
    subscriptions: list[_Subscription] = Field(default_factory=list[_Subscription], alias="Subscriptions")
    next_token: str | None = Field(None, alias="NextToken")


class _SnsDestination(Reply):
    topic: str = Field("", alias="TopicArn")


class _Destination(Reply):
    name: str = Field("", alias="Name")
    to: _SnsDestination | None = Field(None, alias="SnsDestination")


class _Destinations(Reply):
    destinations: list[_Destination] = Field(default_factory=list[_Destination], alias="EventDestinations")


Finite: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]


class _Quota(Reply):
    limit: Finite = Field(alias="Max24HourSend")
    rate: Finite = Field(alias="MaxSendRate")
    used: Finite = Field(alias="SentLast24Hours")


class _Account(Reply):
    production: bool = Field(alias="ProductionAccessEnabled")
    sending_enabled: bool = Field(alias="SendingEnabled")
    enforcement: str = Field("", alias="EnforcementStatus")
    quota: _Quota | None = Field(None, alias="SendQuota")
