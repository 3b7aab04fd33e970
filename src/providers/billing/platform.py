"""The plans of the platform's ten services: ten products, 21 monthly prices in USD; free tiers have no price."""

from __future__ import annotations

from decimal import Decimal

from providers.billing.models import Plan
from providers.core.models import Money

TRIAL_DAYS = 14

# Whole dollars a month; the second number is the enterprise tier's.
_TITLES = {
    "trendscout": ("TrendScout", 29, 99),
    "contentforge": ("ContentForge", 19, 79),
    "rankpilot": ("RankPilot", 29, 99),
    "flowsend": ("FlowSend", 39, 149),
    "spydrop": ("SpyDrop", 29, 99),
    "postpilot": ("PostPilot", 29, 99),
    "adscale": ("AdScale", 49, 149),
    "shopchat": ("ShopChat", 19, 79),
    "sourcepilot": ("SourcePilot", 29, 99),
}
_CORE = {"starter": 29, "growth": 79, "pro": 199}


def _plan(service: str, plan: str, title: str, dollars: int, trial_days: int | None) -> Plan:
    amount = Money(amount=Decimal(dollars), currency="USD")
    metadata = {"service": service, "plan": plan}
    return Plan(service=service, plan=plan, title=title, amount=amount, trial_days=trial_days, metadata=metadata)


PLATFORM_PLANS: tuple[Plan, ...] = (
    *(
        _plan(service, plan, title, dollars, trial)
        for service, (title, pro, enterprise) in _TITLES.items()
        for plan, dollars, trial in (("pro", pro, TRIAL_DAYS), ("enterprise", enterprise, None))
    ),
    *(_plan("dropshipping", plan, "Dropshipping", dollars, None) for plan, dollars in _CORE.items()),
)
