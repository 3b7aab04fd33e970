"""What is true of each e-mail vendor. Data only."""

from __future__ import annotations

from decimal import Decimal

from providers.core.operation import Per, Variable, VendorFacts

DEMO = VendorFacts(
    vendor="demo",
    capability="email",
    title="Demo",
    adapter="providers.email.demo:DemoEmail",
    prices={"email": Decimal("0.0004")},
    limits={"recipients": 1000, "batch": 1000, "message_bytes": 30_000_000, "tags": 10, "schedule_seconds": 259_200},
)

SENDGRID = VendorFacts(
    vendor="sendgrid",
    capability="email",
    title="Twilio SendGrid",
    adapter="providers.email.sendgrid:SendGridEmail",
    extra="sendgrid",
    variables=(
        Variable(
            name="SENDGRID_API_KEY",
            purpose="API key with the scope mail.send",
            where="SendGrid, Settings > API Keys > Create API Key (instant)",
            secret=True,
            example="SG.xxxxxxxxxxxxxxxxxxxxxx.xxxxxxxx",
        ),
        Variable(
            name="SENDGRID_FROM_EMAIL",
            purpose="default sender, of a verified sender or domain",
            where="SendGrid, Settings > Sender Authentication (DNS: 24 to 48 hours)",
            aliases=("EMAIL_FROM_ADDRESS",),
            example="noreply@shop.example.com",
        ),
        Variable(
            name="SENDGRID_FROM_NAME",
            purpose="name beside the default sender",
            aliases=("EMAIL_FROM_NAME",),
            required=False,
            example="Example Shop",
        ),
        Variable(
            name="SENDGRID_WEBHOOK_PUBLIC_KEY",
            purpose="verification key of the signed event webhook (needed to receive events)",
            where="SendGrid, Settings > Mail Settings > Event Webhook, or email.ensure_webhook()",
            required=False,
            example="MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE...",
        ),
        Variable(
            name="SENDGRID_SUBUSER",
            purpose="subuser to act for (On-Behalf-Of)",
            required=False,
            example="shop-42",
        ),
        Variable(
            name="SENDGRID_SANDBOX",
            purpose="1: the vendor checks every mail and sends none (dry run)",
            required=False,
            account=False,
            example="0",
        ),
    ),
    base_url="https://api.sendgrid.com",
    account="SENDGRID_SUBUSER",
    # Essentials: 19.95 USD for 50,000 a month.
    prices={"email": Decimal("0.0004")},
    concurrency=200,
    not_applied_statuses=frozenset({503}),
    limits={"recipients": 1000, "batch": 1000, "message_bytes": 30_000_000, "tags": 10, "schedule_seconds": 259_200},
    api_version="v3",
    checked="2026-11-22",
    source="twilio/sendgrid-oai, Mail Send v3",
)

SES = VendorFacts(
    vendor="ses",
    capability="email",
    title="Amazon SES",
    adapter="providers.email.ses:SesEmail",
    extra="ses",
    variables=(
        Variable(
            name="SES_ACCESS_KEY_ID",
            purpose="access key of an IAM user who may call ses:Send*, ses:GetAccount and the suppression list",
            where="AWS console, IAM > Users > Security credentials (instant)",
            secret=True,
            example="AKIA0EXAMPLE00000000",
        ),
        Variable(
            name="SES_SECRET_ACCESS_KEY",
            purpose="secret of that access key",
            where="shown once, when the key is created",
            secret=True,
            example="xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        ),
        Variable(
            name="SES_REGION",
            purpose="AWS region; sandbox, quota and identities are per region",
            where="AWS console, SES > Account dashboard (production access: 24 to 48 hours)",
            example="eu-central-1",
        ),
        Variable(
            name="SES_FROM_EMAIL",
            purpose="default sender, of a verified identity",
            where="AWS console, SES > Identities (DNS: up to 72 hours)",
            aliases=("EMAIL_FROM_ADDRESS",),
            example="noreply@shop.example.com",
        ),
        Variable(
            name="SES_FROM_NAME",
            purpose="name beside the default sender",
            aliases=("EMAIL_FROM_NAME",),
            required=False,
            example="Example Shop",
        ),
        Variable(
            name="SES_CONFIGURATION_SET",
            purpose="configuration set of every mail (needed to receive events)",
            where="AWS console, SES > Configuration sets, or email.ensure_webhook()",
            required=False,
            example="shop-events",
        ),
        Variable(
            name="SES_SNS_TOPIC_ARN",
            purpose="SNS topics whose webhooks are trusted, comma-separated (needed to receive events)",
            where="AWS console, SNS > Topics, or email.ensure_webhook()",
            required=False,
            example="arn:aws:sns:eu-central-1:123456789012:ses-events",
        ),
        Variable(
            name="SES_SNS_REQUIRE_V2",
            purpose="1: refuse webhooks signed with SHA-1 (signature version 1)",
            required=False,
            account=False,
            example="1",
        ),
    ),
    account="SES_REGION",
    prices={"email": Decimal("0.0001")},
    # The rate is the account's own (`check` shows it); PROVIDER_RATE_SES keeps to it.
    rate_per=Per.UNIT,
    concurrency=32,
    not_applied_statuses=frozenset({503}),
    unsupported={"send_at": "SES sends at once"},
    limits={"recipients": 50, "batch": 50, "message_bytes": 40_000_000, "tags": 10},
    api_version="2019-09-27",
    checked="2026-11-22",
    source="botocore service model sesv2 2019-09-27; Amazon SES and SNS developer guides",
)

FACTS = {facts.vendor: facts for facts in (DEMO, SENDGRID, SES)}
