"""What is true of each SMS vendor. Data only."""

from __future__ import annotations

from decimal import Decimal

from providers.core.operation import Per, Rate, Variable, VendorFacts

DEMO = VendorFacts(
    vendor="demo",
    capability="sms",
    title="Demo",
    adapter="providers.sms.demo:DemoSms",
    prices={"segment": Decimal("0.0079")},
    limits={"schedule_soonest": 900, "schedule_latest": 3_024_000},
)

TWILIO = VendorFacts(
    vendor="twilio",
    capability="sms",
    title="Twilio",
    adapter="providers.sms.twilio:TwilioSms",
    extra="twilio",
    variables=(
        Variable(
            name="TWILIO_ACCOUNT_SID",
            purpose="the account",
            where="Twilio console, Account > Account Info (instant; 15 USD of trial credit)",
            example="AC00000000000000000000000000000000",
        ),
        Variable(
            name="TWILIO_AUTH_TOKEN",
            purpose="primary auth token; also signs webhooks",
            where="Twilio console, Account > Account Info",
            secret=True,
            example="xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        ),
        Variable(
            name="TWILIO_PHONE_NUMBER",
            purpose="default sender: a number, short code or name of ours (or TWILIO_MESSAGING_SERVICE_SID)",
            where="Twilio console, Phone Numbers > Buy a number (1 USD a month; US: A2P 10DLC takes 1 to 3 days)",
            aliases=("TWILIO_FROM_NUMBER",),
            required=False,
            example="+15005550006",
        ),
        Variable(
            name="TWILIO_MESSAGING_SERVICE_SID",
            purpose="default sender, before the number: a messaging service, needed for send_at",
            where="Twilio console, Messaging > Services",
            required=False,
            example="MG00000000000000000000000000000000",
        ),
        Variable(
            name="TWILIO_STATUS_CALLBACK_URL",
            purpose="where events go, as the outside world sees it (needed to receive events)",
            required=False,
            example="https://flowsend.example.com/webhooks/twilio",
        ),
        Variable(
            name="TWILIO_API_KEY_SID",
            purpose="revocable key to call with instead of the auth token",
            where="Twilio console, Account > API keys",
            required=False,
            example="SK00000000000000000000000000000000",
        ),
        Variable(
            name="TWILIO_API_KEY_SECRET",
            purpose="secret of that key",
            required=False,
            secret=True,
            example="xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        ),
        Variable(
            name="TWILIO_REGION",
            purpose="region that processes the texts; credentials differ per region",
            required=False,
            example="ie1",
        ),
        Variable(
            name="TWILIO_EDGE",
            purpose="where the network is entered (alone: of region us1)",
            required=False,
            account=False,
            example="dublin",
        ),
    ),
    base_url="https://api.twilio.com",
    account="TWILIO_ACCOUNT_SID",
    prices={"segment": Decimal("0.0079")},
    concurrency=100,
    not_applied_statuses=frozenset({503}),
    unsupported={
        "opt_outs": "Twilio has no list to read; it refuses texts to those who texted STOP",
        "opt_in": "at Twilio only the person can opt in again, by texting START",
        "max_price": "Twilio's MaxPrice has had no effect since June 2024",
    },
    limits={"schedule_soonest": 900, "schedule_latest": 3_024_000},
    api_version="2010-04-01",
    checked="2026-11-22",
    source="twilio/twilio-oai 2.6.7, twilio_api_v2010; Twilio's pages on webhook security and error codes",
)

SNS = VendorFacts(
    vendor="sns",
    capability="sms",
    title="Amazon SNS",
    adapter="providers.sms.sns:SnsSms",
    extra="sns",
    variables=(
        Variable(
            name="SNS_ACCESS_KEY_ID",
            purpose="access key of an IAM user who may call sns:Publish on *, and the opt-out and attribute calls",
            where="AWS console, IAM > Users > Security credentials (instant)",
            secret=True,
            example="AKIA0EXAMPLE00000000",
        ),
        Variable(
            name="SNS_SECRET_ACCESS_KEY",
            purpose="secret of that access key",
            where="shown once, when the key is created",
            secret=True,
            example="xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        ),
        Variable(
            name="SNS_REGION",
            purpose="AWS region; sandbox, spend limit, numbers and opt-outs are per region",
            where="AWS console, SNS > Text messaging (leaving the sandbox is a support case)",
            example="eu-central-1",
        ),
        Variable(
            name="SNS_ORIGINATION_NUMBER",
            purpose="default sender: a number of ours in that region (US texts need one)",
            where="AWS console, End User Messaging > Phone numbers",
            required=False,
            example="+15005550006",
        ),
        Variable(
            name="SNS_SENDER_ID",
            purpose="default sender: a name, where the country allows it",
            required=False,
            example="DemoShop",
        ),
        Variable(
            name="SNS_MAX_PRICE",
            purpose="USD a text may cost at most; dearer ones are not sent",
            required=False,
            example="0.05",
        ),
        Variable(
            name="SNS_TOPIC_ARN",
            purpose="SNS topics that relay delivery logs and are trusted, comma-separated (needed to receive events)",
            where="a subscription filter on the CloudWatch log groups, a Lambda function that publishes to the topic",
            required=False,
            example="arn:aws:sns:eu-central-1:123456789012:sms-logs",
        ),
        Variable(
            name="SNS_REQUIRE_V2",
            purpose="1: refuse webhooks signed with SHA-1 (signature version 1)",
            required=False,
            account=False,
            example="1",
        ),
    ),
    account="SNS_REGION",
    prices={"segment": Decimal("0.00645")},
    rate=Rate(per_second=20, burst=20),
    rate_per=Per.UNIT,
    concurrency=32,
    not_applied_statuses=frozenset({503}),
    unsupported={
        "find": "SNS tells nothing about texts it has taken",
        "status": "SNS tells what became of a text only in delivery logs",
        "send_at": "SNS sends at once",
        "valid_for": "SNS has no such setting",
    },
    api_version="2010-03-31",
    checked="2026-11-22",
    source="botocore service model sns 2010-03-31; Amazon SNS developer guide, mobile text messaging",
)

FACTS = {facts.vendor: facts for facts in (DEMO, TWILIO, SNS)}
