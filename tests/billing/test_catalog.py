"""The platform's catalogue, and what a list of plans makes of one."""

import asyncio
from decimal import Decimal

import pytest

from providers import Money
from providers.billing import Plan, plan_of
from providers.billing.catalog import Catalog, Product, changes, checked
from providers.billing.models import CatalogAction, CatalogKind, Interval, Price, Subscription, TaxBehavior
from providers.billing.platform import PLATFORM_PLANS, TRIAL_DAYS
from providers.core.clock import utc
from providers.core.errors import InvalidRequestError, NotFoundError
from providers.core.models import Ref

KINDS = (CatalogKind.PRODUCT, CatalogKind.PRICE)


def usd(amount):
    return Money(amount=Decimal(amount), currency="USD")


def test_all_products_and_prices_of_the_platform_are_made_once(side):
    async def scenario(one):
        async with one.open() as providers:
            billing = providers.billing
            planned = await billing.sync_catalog(PLATFORM_PLANS, dry_run=True)
            kinds = [change.kind for change in planned.changed]
            assert [kinds.count(kind) for kind in KINDS] == [10, 21]
            made = await billing.sync_catalog(PLATFORM_PLANS)
            kinds = [change.kind for change in made.changed]
            assert [kinds.count(kind) for kind in KINDS] == [10, 21]
            assert {change.action for change in made.changes} == {CatalogAction.CREATE}
            assert (await billing.sync_catalog(PLATFORM_PLANS)).changed == ()
            for plan in PLATFORM_PLANS:
                price = await billing.price(plan.lookup_key)
                assert (price.amount, price.product, price.interval) == (plan.amount, plan.service, Interval.MONTH)
                assert price.metadata == {"service": plan.service, "plan": plan.plan}
            if one.name == "stripe":
                assert [len(one.server.objects(kind)) for kind in ("product", "price")] == [10, 21]

    with side() as one:
        asyncio.run(scenario(one))


def test_a_catalogue_is_put_right_where_it_differs_and_left_alone_elsewhere(side):
    async def scenario(one):
        async with one.open() as providers:
            billing = providers.billing
            await billing.sync_catalog(PLATFORM_PLANS)
            dearer = [
                plan.model_copy(update={"amount": usd(39)}) if plan.lookup_key == "trendscout_pro_monthly" else plan
                for plan in PLATFORM_PLANS
            ]
            old = await billing.price("trendscout_pro_monthly")
            (line,) = (await billing.sync_catalog(dearer)).changed
            assert (line.action, line.key) == (CatalogAction.REPLACE, "trendscout_pro_monthly")
            new = await billing.price("trendscout_pro_monthly")
            assert new.ref != old.ref
            assert line.ref == new.ref
            assert (new.amount, (await billing.price(old.ref)).active) == (usd(39), False)
            # A shorter list takes nothing away.
            assert (await billing.sync_catalog(PLATFORM_PLANS[-3:])).changed == ()
            assert (await billing.price("rankpilot_pro_monthly")).active
            # And back: the amount of before is a price of its own.
            assert len((await billing.sync_catalog(PLATFORM_PLANS)).changed) == 1
            assert (await billing.price("trendscout_pro_monthly")).amount == usd(29)

    with side() as one:
        asyncio.run(scenario(one))


def test_the_platform_s_tiers_are_those_of_its_table():
    amounts = {plan.lookup_key: plan.amount for plan in PLATFORM_PLANS}
    assert len(amounts) == 21
    assert amounts["adscale_enterprise_monthly"] == usd(149)
    assert amounts["dropshipping_starter_monthly"] == usd(29)
    assert amounts["contentforge_pro_monthly"] == usd(19)
    trials = {plan.service: plan.trial_days for plan in PLATFORM_PLANS if plan.plan == "pro"}
    assert {service for service, days in trials.items() if days == TRIAL_DAYS} == set(trials) - {"dropshipping"}


def price_of(plan, **changes):
    known = Price(
        ref=Ref(vendor="demo", id="price-1"), product=plan.service, amount=plan.amount, active=True,
        lookup_key=plan.lookup_key, interval=plan.interval, interval_count=plan.interval_count, meter=plan.meter,
    )  # fmt: skip
    return known.model_copy(update=changes)


PLAN = Plan(service="acme", plan="pro", amount=usd(10), tax_code="txcd_1", meter="calls")
KNOWN = Product(id="acme", name="Acme", active=True, tax_code="txcd_1")


@pytest.mark.parametrize(
    ("changed", "action"),
    [
        ({}, CatalogAction.KEEP),
        ({"amount": usd("10.00")}, CatalogAction.KEEP),
        ({"amount": usd(11)}, CatalogAction.REPLACE),
        ({"amount": Money(amount=Decimal(10), currency="EUR")}, CatalogAction.REPLACE),
        ({"amount": None}, CatalogAction.REPLACE),
        ({"active": False}, CatalogAction.REPLACE),
        ({"product": "other"}, CatalogAction.REPLACE),
        ({"interval": Interval.YEAR}, CatalogAction.REPLACE),
        ({"interval_count": 3}, CatalogAction.REPLACE),
        ({"meter": None}, CatalogAction.REPLACE),
    ],
)
def test_a_price_is_kept_only_where_all_of_it_agrees(changed, action):
    known = Catalog(
        products={"acme": KNOWN},
        prices={PLAN.lookup_key: price_of(PLAN, **changed)},
        meters={"calls": Ref(vendor="demo", id="m")},
    )
    meter, product, price = changes([PLAN], known)
    assert (meter.action, product.action) == (CatalogAction.KEEP, CatalogAction.KEEP)
    assert (price.action, price.ref) == (action, Ref(vendor="demo", id="price-1"))


@pytest.mark.parametrize(
    ("product", "text"),
    [
        (Product(id="acme", name="Acne", active=True, tax_code="txcd_1"), "name 'Acne' to 'Acme'"),
        (Product(id="acme", name="Acme", active=False, tax_code="txcd_1"), "was archived"),
        (Product(id="acme", name="Acme", active=True, tax_code="txcd_2"), "tax code to 'txcd_1'"),
    ],
)
def test_a_product_is_brought_up_to_date_and_says_where(product, text):
    line = changes([PLAN], Catalog(products={"acme": product}, prices={}, meters={}))[1]
    assert (line.action, line.detail) == (CatalogAction.UPDATE, text)


def test_the_tax_behavior_counts_only_where_the_plan_names_one():
    known = Catalog(
        products={}, prices={PLAN.lookup_key: price_of(PLAN)}, meters={},
        tax_behaviors={PLAN.lookup_key: TaxBehavior.INCLUSIVE},
    )  # fmt: skip
    named = PLAN.model_copy(update={"tax_behavior": TaxBehavior.EXCLUSIVE})
    assert changes([PLAN], known)[-1].action is CatalogAction.KEEP
    assert changes([named], known)[-1].action is CatalogAction.REPLACE


def test_plans_that_contradict_each_other_are_refused():
    for index, twin in ((1, PLAN), (1, PLAN.model_copy(update={"lookup_key": "x", "title": "Other"}))):
        with pytest.raises(InvalidRequestError) as caught:
            checked([PLAN, twin])
        assert str(caught.value.field).startswith(f"plans.{index}.")


def test_an_unknown_price_is_nobody_s_upgrade():
    now = utc(0)
    one = Subscription(
        ref=Ref(vendor="demo", id="s"), customer=Ref(vendor="demo", id="c"), status="active",
        price=Ref(vendor="demo", id="p"), lookup_key=None, quantity=1, period_start=now, period_end=now,
        cancel_at_period_end=False,
    )  # fmt: skip
    for key in (None, "acme_gold_monthly"):
        with pytest.raises(NotFoundError) as caught:
            plan_of(one.model_copy(update={"lookup_key": key}), [PLAN])
        assert caught.value.code == "unknown_price"
    assert plan_of(one.model_copy(update={"lookup_key": PLAN.lookup_key}), [PLAN]) is PLAN
