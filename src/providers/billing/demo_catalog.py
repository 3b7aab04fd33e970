"""What the demo sells: the platform's plans from the start, and whatever was synced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel

from providers.billing.catalog import Catalog, Product, changes
from providers.billing.demo_book import ref
from providers.billing.models import (
    CatalogAction,
    CatalogChange,
    CatalogKind,
    CatalogPlan,
    Interval,
    Plan,
    Price,
    TaxBehavior,
)
from providers.billing.platform import PLATFORM_PLANS
from providers.core.errors import NotFoundError
from providers.core.money import from_minor, to_minor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from providers.core.models import Money
    from providers.core.store import Store


class _Product(BaseModel):
    name: str
    tax_code: str | None = None


class _Offer(BaseModel):
    """A price that was synced, and what our `Price` does not tell."""

    price: Price
    tax_behavior: TaxBehavior


class DemoCatalog:
    """Products, prices and meters in the store."""

    def __init__(self, store: Store, prefix: str) -> None:
        self._store = store
        self._prefix = prefix

    async def price(self, id_: str) -> Price:
        """By its id; one that the demo never made is plausible, and has no lookup key."""
        found = await self._offer(id_)
        if found is not None:
            return found.price
        plan = _PLANS.get(id_.removeprefix("price-"))
        return imagined_price(id_) if plan is None else _price(plan, id_)

    async def by_key(self, lookup_key: str) -> Price:
        """The one that is sold under this key. Raises `NotFoundError`."""
        found = await self._current(lookup_key)
        if found is not None:
            return found.price
        plan = _PLANS.get(lookup_key)
        if plan is None:
            msg = f"price: no active price has the lookup key {lookup_key[:80]!r}"
            raise NotFoundError(msg, field="price", code="resource_missing")
        return _price(plan, f"price-{lookup_key}")

    async def has_meter(self, name: str) -> bool:
        """Whether usage can be counted under this name."""
        return await self._store.get(f"{self._prefix}meter/{name}") is not None

    async def sync(self, plans: Sequence[Plan], *, dry_run: bool) -> CatalogPlan:
        """Make it agree with the plans, or say what would be done. The platform's plans count once they were synced."""
        for index, plan in enumerate(plans):
            to_minor(plan.amount, field=f"plans.{index}.amount")
        known = await self._known(plans)
        lines = changes(plans, known)
        if not dry_run:
            by_key = {plan.lookup_key: plan for plan in plans}
            by_service = {plan.service: plan for plan in plans}
            lines = [await self._apply(line, by_key, by_service) for line in lines]
        return CatalogPlan(changes=tuple(lines), dry_run=dry_run)

    async def _apply(self, line: CatalogChange, by_key: dict[str, Plan], by_service: dict[str, Plan]) -> CatalogChange:
        if line.action is CatalogAction.KEEP:
            return line
        if line.kind is CatalogKind.METER:
            await self._store.put([(f"{self._prefix}meter/{line.key}", b"{}")])
            return line.model_copy(update={"ref": ref(f"meter-{line.key}")})
        if line.kind is CatalogKind.PRODUCT:
            plan = by_service[line.key]
            product = _Product(name=plan.title, tax_code=plan.tax_code)
            await self._store.put([(f"{self._prefix}product/{line.key}", product.model_dump_json().encode())])
            return line.model_copy(update={"ref": ref(f"prod-{line.key}")})
        plan = by_key[line.key]
        id_ = await self._free_id(plan)
        offer = _Offer(price=_price(plan, id_), tax_behavior=plan.tax_behavior)
        items: list[tuple[str, bytes | None]] = [(self._key(id_), offer.model_dump_json().encode())]
        before = await self._current(line.key)
        if before is not None:
            archived = before.price.model_copy(update={"active": False, "lookup_key": None})
            old = before.model_copy(update={"price": archived})
            items.append((self._key(archived.ref.id), old.model_dump_json().encode()))
        items.append((f"{self._prefix}lookup/{line.key}", id_.encode()))
        await self._store.put(items)
        return line.model_copy(update={"ref": ref(id_)})

    async def _free_id(self, plan: Plan) -> str:
        """A name for a price, which never names another amount."""
        id_, number = f"price-{plan.lookup_key}", 1
        while True:
            taken = await self._offer(id_)
            offered = _PLANS.get(plan.lookup_key) if number == 1 else None
            if taken is None and (offered is None or offered.amount == plan.amount):
                return id_
            number += 1
            id_ = f"price-{plan.lookup_key}-{number}"

    async def _known(self, plans: Sequence[Plan]) -> Catalog:
        products: dict[str, Product] = {}
        prices: dict[str, Price] = {}
        behaviors: dict[str, TaxBehavior] = {}
        for service in dict.fromkeys(plan.service for plan in plans):
            stored = await self._store.get(f"{self._prefix}product/{service}")
            if stored is not None:
                one = _Product.model_validate_json(stored)
                products[service] = Product(id=service, name=one.name, active=True, tax_code=one.tax_code)
        for key in (plan.lookup_key for plan in plans):
            offer = await self._current(key)
            if offer is not None:
                prices[key], behaviors[key] = offer.price, offer.tax_behavior
        meters = {
            name: ref(f"meter-{name}")
            for name in dict.fromkeys(plan.meter for plan in plans if plan.meter is not None)
            if await self.has_meter(name)
        }
        return Catalog(products=products, prices=prices, meters=meters, tax_behaviors=behaviors)

    async def _current(self, lookup_key: str) -> _Offer | None:
        id_ = await self._store.get(f"{self._prefix}lookup/{lookup_key}")
        return None if id_ is None else await self._offer(id_.decode())

    async def _offer(self, id_: str) -> _Offer | None:
        stored = await self._store.get(self._key(id_))
        return None if stored is None else _Offer.model_validate_json(stored)

    def _key(self, id_: str) -> str:
        return f"{self._prefix}price/{id_}"


def _price(plan: Plan, id_: str) -> Price:
    return Price(
        ref=ref(id_),
        product=plan.service,
        amount=_exact(plan.amount),
        active=True,
        lookup_key=plan.lookup_key,
        interval=plan.interval,
        interval_count=plan.interval_count,
        meter=plan.meter,
        metadata=plan.metadata,
    )


def imagined_price(id_: str) -> Price:
    """One that the demo never made."""
    amount = from_minor(2900, "USD")
    return Price(ref=ref(id_), product="demo", amount=amount, active=True, interval=Interval.MONTH, interval_count=1)


def _exact(amount: Money) -> Money:
    return from_minor(to_minor(amount), amount.currency)


_PLANS = {plan.lookup_key: plan for plan in PLATFORM_PLANS}
