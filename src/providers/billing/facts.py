"""What is true of each billing vendor. Data only."""

from __future__ import annotations

from providers.core.operation import Rate, Variable, VendorFacts

ONCE_FOR_A_KEY = frozenset(
    [
        "billing.subscription_checkout",
        "billing.payment_checkout",
        "billing.change_plan",
        "billing.refund",
        "billing.record_usage",
    ]
)

DEMO = VendorFacts(
    vendor="demo",
    capability="billing",
    title="Demo",
    adapter="providers.billing.demo:DemoBilling",
    deduplicates=ONCE_FOR_A_KEY,
)

STRIPE = VendorFacts(
    vendor="stripe",
    capability="billing",
    title="Stripe",
    adapter="providers.billing.stripe:StripeBilling",
    extra="stripe",
    variables=(
        Variable(
            name="STRIPE_SECRET_KEY",
            purpose="secret or restricted key; sk_test_... works on made-up money",
            where="Stripe dashboard, Developers > API keys (test mode: instant, live: 1 to 3 days)",
            secret=True,
            inherited_with="STRIPE_ACCOUNT",
            example="sk_test_xxxxxxxxxxxxxxxxxxxxxxxx",
        ),
        Variable(
            name="STRIPE_WEBHOOK_SECRET",
            purpose="signing secrets of webhook endpoints, comma-separated while one is rolled (needed for events)",
            where="Stripe dashboard, Developers > Webhooks, or billing.ensure_webhook()",
            required=False,
            secret=True,
            inherited_with="STRIPE_ACCOUNT",
            example="whsec_xxxxxxxxxxxxxxxxxxxxxxxx",
        ),
        Variable(
            name="STRIPE_WEBHOOK_TOLERANCE",
            purpose="seconds after which a signed event is too old",
            required=False,
            account=False,
            example="300",
        ),
        Variable(
            name="STRIPE_PUBLISHABLE_KEY",
            purpose="for browsers; handed on by services, not used here",
            where="Stripe dashboard, Developers > API keys",
            required=False,
            example="pk_test_xxxxxxxxxxxxxxxxxxxxxxxx",
        ),
        Variable(
            name="STRIPE_ACCOUNT",
            purpose="connected account to act for (Stripe-Account); a tenant's own, with the platform's key",
            where="Stripe dashboard, Connect > Connected accounts",
            required=False,
            example="acct_0000000000000000",
        ),
    ),
    base_url="https://api.stripe.com",
    account="STRIPE_ACCOUNT",
    rate=Rate(per_second=100, burst=100),
    deduplicates=ONCE_FOR_A_KEY,
    api_version="2026-10-28.endive",
    checked="2026-11-22",
    source="stripe 16.1.0 (Stripe's own library); docs.stripe.com: API reference, webhooks, currencies",
)

FACTS = {facts.vendor: facts for facts in (DEMO, STRIPE)}
