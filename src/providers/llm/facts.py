"""What is true of each way to a language model. Data only; of the models themselves see `model_facts`."""

from __future__ import annotations

from decimal import Decimal

from providers.core.operation import Rate, Variable, VendorFacts

PRICES = {
    "million input tokens of claude-sonnet-5-5": Decimal(2),
    "million output tokens of claude-sonnet-5-5": Decimal(10),
}
"""Of the usual model, for reading: a call counts as a request, and costs what the model costs that answered."""

DEMO = VendorFacts(
    vendor="demo",
    capability="llm",
    title="Demo",
    adapter="providers.llm.demo:DemoLlm",
    prices=PRICES,
)

GATEWAY = VendorFacts(
    vendor="gateway",
    capability="llm",
    title="LLM gateway",
    adapter="providers.llm.gateway:GatewayLlm",
    extra="gateway",
    variables=(
        Variable(
            name="LLM_GATEWAY_SERVICE_KEY",
            purpose="the secret that the services share with the gateway",
            where="the gateway's own setting of that name",
            aliases=("LLM_GATEWAY_KEY",),
            secret=True,
            example="xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        ),
        Variable(
            name="LLM_GATEWAY_URL",
            purpose="where the gateway is",
            required=False,
            account=False,
            example="http://llm-gateway:8200",
        ),
        Variable(
            name="LLM_GATEWAY_DEFAULT_PROVIDER",
            purpose="the provider that the gateway uses unless told otherwise, as it is set there (default: claude)",
            required=False,
            account=False,
            example="claude",
        ),
        Variable(
            name="LLM_GATEWAY_DEFAULT_MODEL",
            purpose="the model that the gateway uses unless told otherwise, as it is set there",
            required=False,
            account=False,
            example="claude-sonnet-5-5",
        ),
    ),
    base_url="http://localhost:8200",
    base_url_variable="LLM_GATEWAY_URL",
    prices=PRICES,
    # It counts 60 a minute for everybody, and starts its minute anew with every call.
    rate=Rate(per_second=50 / 60, burst=20),
    concurrency=100,
    limits={"max_tokens": 8000},
    unsupported={
        "stream": "the gateway answers in one piece",
        "count_tokens": "the gateway counts when it has answered",
        "create_batch": "the gateway has no batches",
        "batch": "the gateway has no batches",
        "batches": "the gateway has no batches",
        "batch_results": "the gateway has no batches",
        "cancel_batch": "the gateway has no batches",
        "conversation": "the gateway takes one question at a time",
        "images": "the gateway takes text only",
        "tools": "the gateway knows no tools",
        "stop": "the gateway has no stop sequences",
        "model": "the gateway chooses the model",
        "effort": "the gateway says nothing of effort",
        "caches": "the gateway marks no part of a prompt to be kept",
    },
    api_version="v1",
    checked="2026-11-22",
    source="the platform's public code, llm-gateway/backend; runs of it",
)

ANTHROPIC = VendorFacts(
    vendor="anthropic",
    capability="llm",
    title="Anthropic",
    adapter="providers.llm.anthropic:AnthropicLlm",
    extra="anthropic",
    variables=(
        Variable(
            name="ANTHROPIC_API_KEY",
            purpose="API key of the workspace",
            where="platform.claude.com, Settings > API keys (instant, prepaid credit)",
            secret=True,
            example="sk-ant-xxxxxxxxxxxxxxxxxxxxxxxx",
        ),
        Variable(
            name="ANTHROPIC_MODEL",
            purpose="the model where the caller names none (default: claude-sonnet-5-5)",
            required=False,
            account=False,
            example="claude-sonnet-5-5",
        ),
    ),
    slow_import=True,
    base_url="https://api.anthropic.com",
    prices=PRICES,
    concurrency=64,
    limits={"max_tokens": 128_000, "batch": 100_000},
    not_applied_statuses=frozenset({529}),
    api_version="2026-10-21",
    checked="2026-11-22",
    source="anthropic 2.10 (installed), platform.claude.com: models, versioning, migration to 2026-10-21",
)

FACTS = {facts.vendor: facts for facts in (DEMO, GATEWAY, ANTHROPIC)}
