"""What is wrong with a plan, a line, an amount or a reference is said where it is built."""

from decimal import Decimal

import pytest

from providers import Money
from providers.billing import BillingEventType, CheckoutLine, Interval, Plan
from providers.billing.models import (
    CatalogAction,
    CatalogChange,
    CatalogKind,
    CatalogPlan,
    SubscriptionStatus,
    checked_metadata,
)
from providers.core.errors import InvalidRequestError

TEN = Money(amount=Decimal(10), currency="USD")


def test_a_plan_is_named_by_service_plan_and_interval():
    plan = Plan(service="trend_scout", plan="pro", amount=TEN, interval=Interval.YEAR)
    assert (plan.lookup_key, plan.title, plan.nickname) == ("trend_scout_pro_yearly", "Trend Scout", "Trend Scout Pro")
    own = Plan(service="acme", plan="pro", amount=TEN, lookup_key="acme.v2", title="ACME")
    assert (own.lookup_key, own.title) == ("acme.v2", "ACME")
    assert Interval.DAY.adverb == "daily"
    assert Plan.model_validate_json(plan.model_dump_json()) == plan


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("service", {"service": "Trend Scout"}),
        ("plan", {"plan": ""}),
        ("amount", {"amount": Money(amount=Decimal(-1), currency="USD")}),
        ("interval", {"interval": "fortnight"}),
        ("interval_count", {"interval_count": 0}),
        ("trial_days", {"trial_days": 731}),
        ("lookup_key", {"lookup_key": "a b"}),
        ("meter", {"meter": "a b"}),
        ("metadata", {"metadata": {"a[b]": "c"}}),
        ("nonsense", {"nonsense": 1}),
    ],
)
def test_a_plan_that_is_wrong_names_its_field(field, changes):
    with pytest.raises(InvalidRequestError) as caught:
        Plan(**{"service": "acme", "plan": "pro", "amount": TEN, **changes})
    assert caught.value.field == field
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("title", {"title": ""}),
        ("title", {"title": "x" * 251}),
        ("quantity", {"quantity": 0}),
    ],
)
def test_a_line_that_is_wrong_names_its_field(field, changes):
    with pytest.raises(InvalidRequestError) as caught:
        CheckoutLine(**{"title": "A book", "unit_price": TEN, **changes})
    assert caught.value.field == field


@pytest.mark.parametrize(
    "metadata",
    [{"": "x"}, {"x" * 41: ""}, {"a": "x" * 501}, {"a]": ""}, {str(number): "" for number in range(41)}],
)
def test_metadata_that_vendors_refuse_is_refused(metadata):
    with pytest.raises(ValueError, match=r"keys|names"):
        checked_metadata(metadata)


def test_metadata_at_its_limits_is_taken():
    told = {f"{number:040}": "x" * 500 for number in range(40)}
    assert checked_metadata(told) == told


def test_a_status_that_nobody_knows_is_an_error_and_an_event_is_not():
    with pytest.raises(ValueError, match="dormant"):
        SubscriptionStatus("dormant")
    assert BillingEventType("customer.teleported") is BillingEventType.UNKNOWN
    assert {status for status in SubscriptionStatus if status.over} == {"canceled", "incomplete_expired"}


def test_an_end_ranks_after_all_that_happens_in_the_same_second():
    ranks = {kind: kind.rank for kind in BillingEventType}
    assert all(0 <= rank <= 9 for rank in ranks.values())
    assert ranks["subscription.created"] < ranks["subscription.updated"] < ranks["subscription.ended"]
    assert ranks["invoice.payment_failed"] < ranks["invoice.paid"]


def test_a_catalogue_plan_tells_what_was_not_right():
    lines = [
        CatalogChange(action=action, kind=CatalogKind.PRICE, key=action.value)
        for action in (CatalogAction.KEEP, CatalogAction.CREATE, CatalogAction.REPLACE)
    ]
    plan = CatalogPlan(changes=tuple(lines), dry_run=True)
    assert [line.key for line in plan.changed] == ["create", "replace"]
