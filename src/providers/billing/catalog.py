"""What is sold: from a list of plans to the changes that make a vendor's catalogue agree with it.

What is in the vendor's catalogue and not in the plans is left alone: somebody may still pay for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from providers.billing.models import (
    CatalogAction,
    CatalogChange,
    CatalogKind,
    Plan,
    Price,
    Subscription,
    TaxBehavior,
)
from providers.core.errors import InvalidRequestError, NotFoundError
from providers.core.models import Money, Ref


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A product as the vendor has it."""

    id: str
    name: str
    active: bool
    tax_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """What the vendor has of the plans' products, prices (by lookup key) and meters (by event name).

    `tax_behaviors` are the prices', by lookup key.
    """

    products: Mapping[str, Product]
    prices: Mapping[str, Price]
    meters: Mapping[str, Ref]
    tax_behaviors: Mapping[str, TaxBehavior] = field(default_factory=dict[str, TaxBehavior])


def checked(plans: Sequence[Plan]) -> tuple[Plan, ...]:
    """The plans. Raises `InvalidRequestError` for two that would be one: a lookup key, a product of two names."""
    titles: dict[str, Plan] = {}
    keys: set[str] = set()
    for index, plan in enumerate(plans):
        if plan.lookup_key in keys:
            msg = f"plans.{index}.lookup_key: {plan.lookup_key!r} stands twice"
            raise InvalidRequestError(msg, field=f"plans.{index}.lookup_key")
        keys.add(plan.lookup_key)
        first = titles.setdefault(plan.service, plan)
        if (first.title, first.tax_code) != (plan.title, plan.tax_code):
            msg = f"plans.{index}.title: {plan.service!r} has another title or tax code in another plan"
            raise InvalidRequestError(msg, field=f"plans.{index}.title")
    return tuple(plans)


def changes(plans: Sequence[Plan], catalog: Catalog) -> list[CatalogChange]:
    """Line by line what to do: meters first, then each product with its prices; `KEEP` for what is right already."""
    lines: list[CatalogChange] = []
    for meter in dict.fromkeys(plan.meter for plan in plans if plan.meter is not None):
        known = catalog.meters.get(meter)
        action = CatalogAction.CREATE if known is None else CatalogAction.KEEP
        lines.append(CatalogChange(action=action, kind=CatalogKind.METER, key=meter, ref=known))
    seen: set[str] = set()
    for plan in plans:
        if plan.service not in seen:
            seen.add(plan.service)
            lines.append(_product(plan, catalog.products.get(plan.service)))
        lines.append(_price(plan, catalog))
    return lines


def _product(plan: Plan, known: Product | None) -> CatalogChange:
    if known is None:
        return CatalogChange(action=CatalogAction.CREATE, kind=CatalogKind.PRODUCT, key=plan.service, detail=plan.title)
    wrong = [
        text
        for text, differs in (
            (f"name {known.name!r} to {plan.title!r}", known.name != plan.title),
            ("was archived", not known.active),
            (f"tax code to {plan.tax_code!r}", plan.tax_code is not None and known.tax_code != plan.tax_code),
        )
        if differs
    ]
    action = CatalogAction.UPDATE if wrong else CatalogAction.KEEP
    return CatalogChange(action=action, kind=CatalogKind.PRODUCT, key=plan.service, detail=", ".join(wrong))


def _price(plan: Plan, catalog: Catalog) -> CatalogChange:
    known = catalog.prices.get(plan.lookup_key)
    every = plan.interval if plan.interval_count == 1 else f"{plan.interval_count} {plan.interval}s"
    wanted = f"{plan.amount} a {every}" if plan.meter is None else f"{plan.amount} a unit of {plan.meter}"
    if known is None:
        return CatalogChange(action=CatalogAction.CREATE, kind=CatalogKind.PRICE, key=plan.lookup_key, detail=wanted)
    behavior = catalog.tax_behaviors.get(plan.lookup_key, TaxBehavior.UNSPECIFIED)
    same = (
        known.active
        and known.product == plan.service
        and known.amount is not None
        and _equal(known.amount, plan.amount)
        and (known.interval, known.interval_count) == (plan.interval, plan.interval_count)
        and known.meter == plan.meter
        and behavior in {plan.tax_behavior, *([behavior] if plan.tax_behavior is TaxBehavior.UNSPECIFIED else [])}
    )
    if same:
        return CatalogChange(action=CatalogAction.KEEP, kind=CatalogKind.PRICE, key=plan.lookup_key, ref=known.ref)
    before = "archived" if not known.active else str(known.amount or "tiered")
    return CatalogChange(
        action=CatalogAction.REPLACE,
        kind=CatalogKind.PRICE,
        key=plan.lookup_key,
        detail=f"{before} to {wanted}",
        ref=known.ref,
    )


def _equal(left: Money, right: Money) -> bool:
    return left.currency == right.currency and left.amount == right.amount


def plan_of(subscription: Subscription, plans: Sequence[Plan]) -> Plan:
    """The plan that a subscription pays for, by the lookup key of its price.

    Raises `NotFoundError` for a price that is in none: an unknown price is nobody's upgrade.
    """
    for plan in plans:
        if subscription.lookup_key == plan.lookup_key:
            return plan
    msg = f"price: {subscription.price} (lookup key {subscription.lookup_key!r}) belongs to no plan"
    raise NotFoundError(msg, field="price", code="unknown_price")
