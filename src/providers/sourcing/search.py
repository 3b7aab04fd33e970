"""One search over several suppliers, page by page."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from providers.core.errors import (
    InvalidRequestError,
    Outcome,
    ProviderError,
    ProviderUnavailableError,
    UnsupportedOperationError,
)
from providers.core.json import from_json, to_json
from providers.core.operation import Effect, Operation
from providers.core.pipeline import refuse_features
from providers.core.telemetry import logger
from providers.core.writes import payload_digest
from providers.sourcing import merge
from providers.sourcing.models import Listing, ProductPage, Sort
from providers.sourcing.suppliers import DAY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from providers.core.operation import VendorFacts
    from providers.sourcing.models import Product, SearchQuery
    from providers.sourcing.suppliers import Suppliers

T = TypeVar("T")

SEARCH = Operation(
    name="sourcing.search",
    effect=Effect.READ,
    result=Listing,
    timeout=12.0,
    attempts=2,
    unit="call",
    cache=900.0,
    stale=DAY,
)

DEEPEST = 5_000
"""Position in a merged list sorted by price that can be reached: all before it have to be read."""

UNBOUNDED = 10**9
"""What counts as the total of a supplier that does not say."""

PRICES = (Sort.PRICE_UP, Sort.PRICE_DOWN)


async def gathered(
    sources: Sequence[str], ask: Callable[[str], Awaitable[T]]
) -> tuple[dict[str, T], dict[str, ProviderError]]:
    """What each supplier answers, and why those fail that do. Raises the first error when all do."""

    async def one(source: str) -> T | ProviderError:
        try:
            return await ask(source)
        except ProviderError as error:
            return error

    found = dict(zip(sources, await asyncio.gather(*map(one, sources)), strict=True))
    errors = {source: answer for source, answer in found.items() if isinstance(answer, ProviderError)}
    if sources and len(errors) == len(found):
        raise errors[sources[0]]
    return {source: answer for source, answer in found.items() if not isinstance(answer, ProviderError)}, errors


class Search:
    """One page of a merged list. What is read of each supplier is read by pages of one size, so that it is cached."""

    def __init__(
        self, suppliers: Suppliers, query: SearchQuery, sources: Sequence[str], *, deadline: float | None, fresh: bool
    ) -> None:
        self._suppliers = suppliers
        self._query = query
        self._sources = tuple(sources)
        self._deadline = deadline
        self._fresh = fresh
        self._first: dict[str, Listing] = {}

    async def page(self) -> ProductPage:
        """Ask as many of the suppliers' pages as it needs."""
        query = self._query
        stop = query.page * query.page_size
        start = stop - query.page_size
        # One supplier's list is sorted already.
        by_price = query.sort in PRICES and len(self._sources) > 1
        down = query.sort is Sort.PRICE_DOWN
        if by_price and stop > DEEPEST:
            msg = f"page: a list sorted by price is merged up to position {DEEPEST}; narrow the search or name a source"
            raise InvalidRequestError(msg, field="page")
        totals, errors = await self._totals()
        bounds = {source: UNBOUNDED if total is None else total for source, total in totals.items()}
        if by_price:
            wanted = {source: (0, min(total, stop)) for source, total in bounds.items()}
        else:
            first, last = merge.counts(bounds, start), merge.counts(bounds, stop)
            wanted = {source: (first[source], last[source]) for source in bounds}
        found = await self._items(wanted, errors)
        if by_price:
            lists = [list(items.values()) for items in found.values()]
            products = merge.by_price(lists, down=down)[start:stop]
        else:
            turns = merge.turns(bounds, start, stop)
            products = [found[source][place] for source, place in turns if place in found.get(source, {})]
        if query.sort in PRICES:
            products.sort(key=lambda product: merge.price_key(product, down=down))
        known = [total for total in totals.values() if total is not None]
        return ProductPage(
            items=tuple(products),
            total=sum(known) if len(known) == len(totals) else None,
            page=query.page,
            page_size=query.page_size,
            errors=errors,
            totals=totals,
        )

    async def _totals(self) -> tuple[dict[str, int | None], dict[str, ProviderError]]:
        """How many each supplier has: as page 1 found it, so that the pages after it fit."""
        first = self._query.page == 1
        kept = None if first or len(self._sources) == 1 else await self._layout()
        if kept is not None:
            return kept, {source: self._left_out(source) for source in self._sources if source not in kept}
        # Pages that follow take it from the cache.
        self._first, errors = await gathered(
            self._sources, lambda source: self._read(source, 1, fresh=self._fresh and first)
        )
        totals = {source: listing.total for source, listing in self._first.items()}
        if len(self._sources) > 1:
            await self._keep(totals)
        return totals, errors

    def _left_out(self, source: str) -> ProviderError:
        """Why a supplier that is not in the answer to page 1 is not in the others either."""
        try:
            refuse(self._suppliers.target(source).facts, self._query)
        except UnsupportedOperationError as error:
            return error
        msg = f"{source} did not answer when page 1 was read; it is back when that is read again"
        return ProviderUnavailableError(
            msg, vendor=source, operation=SEARCH.name, code="layout", outcome=Outcome.NOT_APPLIED
        )

    async def _items(
        self, wanted: Mapping[str, tuple[int, int]], errors: dict[str, ProviderError]
    ) -> dict[str, dict[int, Product]]:
        """Items of each supplier by their place in its list; one that fails from here on is in `errors`."""
        sources = [source for source, (start, stop) in wanted.items() if stop > start]

        async def page(source: str, number: int) -> Listing:
            # What has just been read is not read again, also where it could not be cached.
            if number == 1 and source in self._first:
                return self._first[source]
            return await self._read(source, number, fresh=self._fresh and number > 1)

        async def read(source: str) -> dict[int, Product]:
            size = self._size(source)
            start, stop = wanted[source]
            numbers = range(start // size + 1, (stop - 1) // size + 2)
            listings = await asyncio.gather(*(page(source, number) for number in numbers))
            return {
                (number - 1) * size + place: item
                for number, listing in zip(numbers, listings, strict=True)
                for place, item in enumerate(listing.items[:size])
                if start <= (number - 1) * size + place < stop
            }

        if not sources:
            return {}
        found, failed = await gathered(sources, read)
        errors |= failed
        return found

    async def _read(self, source: str, number: int, *, fresh: bool) -> Listing:
        suppliers = self._suppliers
        target = suppliers.target(source)
        query = self._query.model_copy(update={"source": source, "page": number, "page_size": self._size(source)})
        refuse(target.facts, query)
        return await suppliers.route.one(
            SEARCH,
            target.facts.vendor,
            lambda adapter: adapter.search(query),
            payload=query,
            timeout=suppliers.left(self._deadline),
            fresh=fresh,
        )

    def _size(self, source: str) -> int:
        size = self._query.page_size
        return min(size, self._suppliers.target(source).facts.limits.get("page_size", size))

    @property
    def _key(self) -> str:
        asked = self._query.model_copy(update={"page": 1})
        return f"sourcing/pages/{self._suppliers.context.scope}/{payload_digest((asked, self._sources))}"

    async def _layout(self) -> dict[str, int | None] | None:
        try:
            kept = await self._suppliers.context.store.get(self._key)
        except ProviderError as error:
            logger.warning("the layout of a search could not be read: %s", error)
            return None
        told = None if kept is None else from_json(kept)
        if not isinstance(told, dict):
            return None
        return {source: None if total is None else int(str(total)) for source, total in told.items()}

    async def _keep(self, totals: Mapping[str, int | None]) -> None:
        try:
            await self._suppliers.context.store.put([(self._key, to_json(totals))], ttl=SEARCH.cache)
        except ProviderError as error:
            logger.warning("the layout of a search could not be kept: %s", error)


def refuse(facts: VendorFacts, query: SearchQuery) -> None:
    """Raise `UnsupportedOperationError` for what this supplier's search cannot express."""
    try:
        refuse_features(facts, query)
    except UnsupportedOperationError as error:
        error.vendor, error.operation = facts.vendor, SEARCH.name
        raise
    why = facts.unsupported.get(f"sort_{query.sort.value}")
    if why is not None:
        raise UnsupportedOperationError(f"sort: {why}", field="sort", vendor=facts.vendor, operation=SEARCH.name)
