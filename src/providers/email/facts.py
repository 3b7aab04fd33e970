"""What is true of each e-mail vendor. Data only."""

from __future__ import annotations

from decimal import Decimal

from providers.core.operation import Variable, VendorFacts

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

FACTS = {facts.vendor: facts for facts in (DEMO, SENDGRID)}
