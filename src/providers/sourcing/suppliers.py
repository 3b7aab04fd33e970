"""Which supplier a product is of, and what several operations ask of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from providers.core.errors import InvalidRequestError, NotFoundError, UnsupportedOperationError
from providers.core.models import Ref
from providers.core.operation import Effect, Operation
from providers.sourcing.facts import NO_API, SOURCES
from providers.sourcing.models import NO_WAY, Product, ProductName, ShippingQuote, demo_ref, source_name
from providers.sourcing.urls import looks_like_url, ref_of

if TYPE_CHECKING:
    from providers.core.capability import Context
    from providers.core.pipeline import Target
    from providers.core.route import Route
    from providers.sourcing.api import SourcingAdapter
    from providers.sourcing.models import Market
    from providers.sourcing.orders import OrderLine

DAY = 86_400.0

PRODUCT = Operation(name="sourcing.product", effect=Effect.READ, result=Product, unit="call", cache=900.0, stale=DAY)
SHIPPING_QUOTES = Operation(
    name="sourcing.shipping_quotes",
    effect=Effect.READ,
    result=list[ShippingQuote],
    unit="call",
    cache=3_600.0,
    stale=DAY,
)


class Suppliers:
    """The supplier platforms that can be asked, by name. The demo serves them all."""

    def __init__(self, route: Route[SourcingAdapter], context: Context) -> None:
        self.route = route
        self.context = context
        self._targets: dict[str, Target[SourcingAdapter]] = {}
        for target in route.targets:
            self._targets |= dict.fromkeys(SOURCES if target.facts.demo else (target.facts.vendor,), target)

    @property
    def names(self) -> tuple[str, ...]:
        """Those that can be asked here."""
        return tuple(self._targets)

    def known(self, source: str) -> str:
        """A source that can be asked here. Raises `UnsupportedOperationError`, or `InvalidRequestError`."""
        name = source_name(source)
        if name in self._targets:
            return name
        if name in NO_API:
            raise UnsupportedOperationError(NO_API[name], field="source")
        if name == "demo":
            # Says that what the demo made is of no use here.
            self.route.target("demo")
        msg = f"source: {source[:40]!r} is not in use here; in use: {', '.join(self._targets)}"
        raise InvalidRequestError(msg, field="source")

    def target(self, source: str) -> Target[SourcingAdapter]:
        """Who serves a supplier platform."""
        return self._targets[source]

    def name_of(self, ref: Ref | str) -> ProductName:
        """The product that a reference, its text or a URL names."""
        if isinstance(ref, str):
            ref = ref_of(ref) if looks_like_url(ref) else Ref.parse(ref)
        if ref.vendor == "demo":
            self.route.target("demo")
            source, dash, id_ = ref.id.partition("-")
            if not dash or source not in SOURCES:
                msg = f"ref: {str(ref)[:80]!r} is not a product of the demo"
                raise NotFoundError(msg, field="ref")
            return ProductName(source, id_)
        return ProductName(self.known(ref.vendor), ref.id)

    def ref(self, name: ProductName) -> Ref:
        """What we call a product of theirs."""
        return demo_ref(name) if self.route.demo else Ref(vendor=name.source, id=name.id)

    async def details(
        self, name: ProductName, market: Market, *, timeout: float | None = None, fresh: bool = False
    ) -> Product:
        """A product as its supplier has it."""
        return await self.route.one(
            PRODUCT,
            self.target(name.source).facts.vendor,
            lambda adapter: adapter.product(name, market),
            payload=(name, market),
            timeout=timeout,
            fresh=fresh,
        )

    async def quotes(
        self,
        lines: tuple[OrderLine, ...],
        market: Market,
        postal_code: str = "",
        *,
        timeout: float | None = None,
        fresh: bool = False,
    ) -> list[ShippingQuote]:
        """Ways to ship these lines of one supplier together, the cheapest first; empty for none."""
        asked = tuple(
            line.model_copy(update={"price": None, "shipping": None, "sku": "", "order_id": None}) for line in lines
        )
        try:
            found = await self.route.one(
                SHIPPING_QUOTES,
                self.target(lines[0].product.source).facts.vendor,
                lambda adapter: adapter.shipping_quotes(asked, market, postal_code),
                payload=(asked, market, postal_code),
                timeout=timeout,
                fresh=fresh,
            )
        except NotFoundError as error:
            if error.code == NO_WAY:
                return []
            raise
        return sorted(found, key=lambda quote: quote.cost.amount)

    def deadline(self, timeout: float | None) -> float | None:
        """When a call with this timeout has to be done (monotonic)."""
        return None if timeout is None else self.context.clock.monotonic() + timeout

    def left(self, deadline: float | None) -> float | None:
        """Seconds to a deadline (monotonic) that spans several calls."""
        return None if deadline is None else deadline - self.context.clock.monotonic()
