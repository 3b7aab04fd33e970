"""Orders over several suppliers: priced, capped, placed once each, found again, paid once."""

from __future__ import annotations

import asyncio
import hashlib
import re
from typing import TYPE_CHECKING

from providers.core.codec import encode
from providers.core.errors import (
    BudgetExceededError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    ProviderError,
)
from providers.core.models import Model, Money
from providers.core.operation import Effect, Operation
from providers.core.pipeline import refuse_unsupported, sign
from providers.core.route import Safeguards
from providers.core.telemetry import logger
from providers.core.writes import ALREADY_APPLIED
from providers.sourcing.models import NO_WAY, Market, ProductName
from providers.sourcing.orders import (
    OrderDraft,
    OrderLine,
    OrderPart,
    OrderQuote,
    OrderState,
    Placed,
    QuotedPart,
    SupplierOrder,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from providers.core.models import Ref
    from providers.core.pipeline import Target
    from providers.sourcing.api import SourcingAdapter
    from providers.sourcing.events import SourcingEvent
    from providers.sourcing.models import ShippingQuote
    from providers.sourcing.orders import OrderItem, OrderRequest
    from providers.sourcing.suppliers import Suppliers

PLACE = Operation(
    name="sourcing.place_order",
    effect=Effect.ONCE,
    result=Placed,
    unit="order",
    timeout=90.0,
    attempt_timeout=40.0,
)
FIND = Operation(name="sourcing.find", effect=Effect.READ, attempts=2)
ORDER = Operation(name="sourcing.order", effect=Effect.READ, result=OrderPart, unit="call")
CONFIRM = Operation(name="sourcing.confirm", effect=Effect.IDEMPOTENT, result=OrderPart, attempt_timeout=25.0)
PAY = Operation(name="sourcing.pay", effect=Effect.ONCE, result=OrderPart, attempt_timeout=25.0, timeout=60.0)
CANCEL = Operation(name="sourcing.cancel_order", effect=Effect.IDEMPOTENT, result=OrderPart, attempt_timeout=25.0)

OPERATIONS = (PLACE, FIND, ORDER, CONFIRM, PAY, CANCEL)

IN_FLIGHT = "in_flight"
"""The code of the error of a repeat whose first call is not done yet."""

LONGEST_NUMBER = 50
PLAIN_NUMBER = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_-]{{0,{LONGEST_NUMBER - 1}}}")

PROGRESS = (
    OrderState.UNKNOWN,
    OrderState.PARTIAL,
    OrderState.FAILED,
    OrderState.UNPAID,
    OrderState.PROCESSING,
    OrderState.SHIPPED,
    OrderState.DELIVERED,
    OrderState.CANCELLED,
)
"""An order is as far as the part of it that is least far."""

LOOK = 2.0
"""Seconds for looking at the order that a message is about: CJ wants its answer within three."""

REMEMBERED = 180 * 86_400.0
"""Seconds that the key of an order is remembered for a supplier's message about it."""


class Sent(Model):
    """What is remembered of an order before it is sent, by its number: its key, and how many of which variants."""

    key: str
    pieces: dict[str, int]


class Ordering:
    """What `Sourcing` does about orders."""

    def __init__(self, suppliers: Suppliers) -> None:
        self._suppliers = suppliers

    async def quote(self, request: OrderRequest, deadline: float | None) -> OrderQuote:
        """See `Sourcing.quote_order`."""
        groups = self._groups(request)
        parts = await asyncio.gather(
            *(self._quoted(source, request, items, deadline) for source, items in groups.items())
        )
        return OrderQuote(parts=tuple(parts), total=_sum([part.total for part in parts]))

    async def place(self, request: OrderRequest, deadline: float | None) -> SupplierOrder:
        """See `Sourcing.place_order`."""
        _check_cap(request)
        groups = self._groups(request)
        earlier = {source: await self._earlier(request, source) for source in groups}
        waiting = [source for source, placed in earlier.items() if placed is None]
        quoted = await asyncio.gather(*(self._quoted(source, request, groups[source], deadline) for source in waiting))
        quotes = {quote.source: quote for quote in quoted}

        async def ordered(sources: Sequence[str]) -> dict[str, list[OrderPart]]:
            calls = (self._place(source, request, groups[source], quotes.get(source), deadline) for source in sources)
            return dict(zip(sources, await asyncio.gather(*calls), strict=True))

        # What has been ordered, and what cannot be: nothing is sent for these, but an earlier call may have done so.
        first = [source for source in groups if source not in quotes or quotes[source].error is not None]
        placed = await ordered(first)
        before = [part for some in placed.values() for part in some if part.state is not OrderState.FAILED]
        refused = _too_dear(request, before, quoted)
        if refused is not None:
            quotes = {source: quote if quote.error else _refused(quote, refused) for source, quote in quotes.items()}
        placed |= await ordered([source for source in groups if source not in placed])
        parts = [part for source in groups for part in placed[source]]
        parts = await self._capped(parts, request, frozenset(waiting), deadline)
        if request.pay:
            parts = list(await asyncio.gather(*(self._paid(part, parts, request, deadline) for part in parts)))
        return _assembled(parts, request.idempotency_key, refused)

    async def pay(self, ref: Ref, max_total: Money | None, deadline: float | None) -> SupplierOrder:
        """See `Sourcing.pay`."""
        return _assembled([await self._pay(ref, max_total, deadline)])

    async def order(self, ref: Ref, *, timeout: float | None, fresh: bool) -> SupplierOrder:
        """See `Sourcing.order`."""
        part = await self._suppliers.route.one(
            ORDER, ref.vendor, lambda adapter: adapter.order(ref), payload=str(ref), timeout=timeout, fresh=fresh
        )
        return _assembled([part])

    async def cancel(self, ref: Ref, *, timeout: float | None) -> SupplierOrder:
        """See `Sourcing.cancel_order`."""
        part = await self._suppliers.route.one(
            CANCEL, ref.vendor, lambda adapter: adapter.cancel(ref), payload=str(ref), timeout=timeout
        )
        return _assembled([part])

    async def learn(self, event: SourcingEvent) -> None:
        """An order of which nobody knew whether it was made: it was, if it is of what was ordered.

        Its number alone proves nothing: who else orders on the account may have used it.
        """
        if event.order is None or not event.number:
            return
        route = self._suppliers.route
        sent = await self._remembered(event.source, event.number)
        if sent is None or await route.settled(PLACE, sent.key, Placed) is not None:
            return
        try:
            (found,) = (await self.order(event.order, timeout=LOOK, fresh=True)).parts
        except ProviderError as error:
            logger.warning("whether %s is ours is not known: %r", event.order, error)
            return
        there = _pieces((item.variant.lower(), item.quantity) for item in found.items if item.variant)
        if there and there != _pieces((variant.lower(), count) for variant, count in sent.pieces.items()):
            logger.warning("%s has a number of ours, but is another order", event.order)
            return
        part = found.model_copy(update={"source": event.source, "number": event.number})
        await route.settle(PLACE, sent.key, Placed(orders=(part,)))

    def number(self, request: OrderRequest, source: str) -> str:
        """What the order is called at a supplier: its key where that will do, else made of it.

        Tenants that order on the platform's account must not meet there.
        """
        key, context = request.idempotency_key, self._suppliers.context
        if not context.tenant and PLAIN_NUMBER.fullmatch(key):
            return key
        digest = hashlib.sha256(f"{context.tenant}/{source}/{key}".encode()).hexdigest()[:24]
        start = re.sub("[^A-Za-z0-9_-]", "", key)[: LONGEST_NUMBER - len(digest) - 1]
        return f"{start}-{digest}" if start else digest

    def _groups(self, request: OrderRequest) -> dict[str, list[OrderItem]]:
        """The items by supplier."""
        groups: dict[str, list[OrderItem]] = {}
        for item in request.items:
            groups.setdefault(self._suppliers.name_of(item.ref).source, []).append(item)
        return groups

    async def _earlier(self, request: OrderRequest, source: str) -> Placed | None:
        """What was placed under this key at this supplier before."""
        return await self._suppliers.route.settled(PLACE, _key(request, source), Placed)

    async def _quoted(
        self, source: str, request: OrderRequest, items: Sequence[OrderItem], deadline: float | None
    ) -> QuotedPart:
        """What one supplier asks for its items now."""
        try:
            lines = await asyncio.gather(*(self._line(item, request, deadline) for item in items))
            together = self._suppliers.target(source).facts.limits.get("lines_per_quote", 1) > 1
            asked = tuple(zip(items, lines, strict=True))
            parcels = [asked] if together else [(one,) for one in asked]
            shipped = await asyncio.gather(*(self._shipped(parcel, request, deadline) for parcel in parcels))
        except ProviderError as error:
            error.vendor = error.vendor or self._suppliers.target(source).facts.vendor
            error.operation = error.operation or PLACE.name
            return QuotedPart(source=source, error=error, reason=str(error))
        goods = _sum([_times(line.price, line.quantity) for line in lines])
        shipping = _sum([quote.cost for _, quote in shipped])
        return QuotedPart(
            source=source,
            lines=tuple(line for parcel, _ in shipped for line in parcel),
            goods=goods,
            shipping=shipping,
            total=_sum([goods, shipping]),
        )

    async def _line(self, item: OrderItem, request: OrderRequest, deadline: float | None) -> OrderLine:
        suppliers = self._suppliers
        name = suppliers.name_of(item.ref)
        market = Market(country=request.address.country, currency=request.currency)
        product = await suppliers.details(name, market, timeout=suppliers.left(deadline), fresh=True)
        variant = product.variant(item.variant)
        if variant is None:
            msg = f"variant: {item.ref} has no {str(item.variant)[:80]!r}"
            raise NotFoundError(msg, field="variant")
        if variant.price is None:
            msg = f"variant: what {item.ref} costs is not known"
            raise ConflictError(msg, field="variant", code="price")
        if variant.stock is not None and variant.stock < item.quantity:
            msg = f"quantity: {variant.stock} of {item.ref} {variant.name} are left".replace("  ", " ")
            raise ConflictError(msg, field="quantity", code="out_of_stock")
        return OrderLine(
            product=name,
            order_id=product.order_id,
            variant=variant.id,
            sku=variant.sku,
            quantity=item.quantity,
            price=variant.price,
        )

    async def _shipped(
        self, parcel: tuple[tuple[OrderItem, OrderLine], ...], request: OrderRequest, deadline: float | None
    ) -> tuple[list[OrderLine], ShippingQuote]:
        """The lines of one parcel with the way they are shipped: the one asked for, else the cheapest."""
        suppliers, address = self._suppliers, request.address
        market = Market(country=address.country, currency=request.currency)
        lines = tuple(line for _, line in parcel)
        found = await suppliers.quotes(lines, market, address.postal_code, timeout=suppliers.left(deadline), fresh=True)
        wanted = {item.shipping for item, _ in parcel if item.shipping}
        if len(wanted) > 1:
            msg = f"shipping: one parcel cannot go by {' and '.join(sorted(wanted))[:120]}"
            raise InvalidRequestError(msg, field="shipping")
        code = next(iter(wanted), "")
        quote = next((one for one in found if not code or one.code == code), None)
        if quote is None:
            msg = (
                f"shipping: no way {code[:60]!r} to {address.country}" if code else f"nothing goes to {address.country}"
            )
            raise NotFoundError(msg, field="shipping", code=NO_WAY)
        return [line.model_copy(update={"shipping": quote}) for line in lines], quote

    async def _place(
        self,
        source: str,
        request: OrderRequest,
        items: Sequence[OrderItem],
        quote: QuotedPart | None,
        deadline: float | None,
    ) -> list[OrderPart]:
        """One supplier's part: what it made of it, or the failure."""
        suppliers, number, key = self._suppliers, self.number(request, source), _key(request, source)
        target = suppliers.target(source)
        draft = OrderDraft(
            source=source,
            number=number,
            lines=() if quote is None else quote.lines,
            address=request.address,
            currency=request.currency,
            # What is paid while it is made has its taxes added first: a cap could not be kept.
            pay=request.pay and request.max_total is None,
            note=request.note,
            options=request.vendor_options.get(target.facts.vendor, {}),
        )

        async def quoted() -> None:
            if quote is not None and quote.error is not None:
                raise quote.error
            # Before it is sent: this process may not live to see that nobody knows what became of it.
            await self._remember(draft, key)

        async def find(adapter: SourcingAdapter, since: float) -> Placed | None:
            return await adapter.find(await self._as_sent(draft), since)

        async def place(adapter: SourcingAdapter) -> Placed:
            made = await adapter.place(draft)
            return Placed(orders=tuple(_signed(part, target) for part in made.orders))

        try:
            placed = await suppliers.route.one(
                PLACE,
                target.facts.vendor,
                place,
                key=key,
                # What it costs may be another the next time: it is the same order.
                payload=(items, request.address, request.currency, request.note),
                timeout=suppliers.left(deadline),
                safeguards=Safeguards(before=quoted, look_up=FIND, find=find),
            )
        except ProviderError as error:
            unknown = error.may_have_applied or error.code in {ALREADY_APPLIED, IN_FLIGHT}
            state = OrderState.UNKNOWN if unknown else OrderState.FAILED
            return [OrderPart(source=source, state=state, number=number, error=error, reason=str(error))]
        return [await self._priced(part, deadline) for part in placed.orders]

    async def _priced(self, part: OrderPart, deadline: float | None) -> OrderPart:
        """As it stands now, with what is to be paid, where the supplier did not say that in the first place."""
        if part.ref is None or (part.total is not None and part.state is not OrderState.UNKNOWN):
            return part
        try:
            (found,) = (await self.order(part.ref, timeout=self._suppliers.left(deadline), fresh=True)).parts
        except ProviderError as error:
            # It is ordered: not knowing what it costs must not pass for a failure.
            logger.warning("what %s costs is not known: %r", part.ref, error)
            return part
        # What is wrong with it was said when it was made, and only then.
        kept = {
            "number": part.number or found.number,
            "pay_url": found.pay_url or part.pay_url,
            "error": part.error,
            "reason": part.reason,
        }
        return found.model_copy(update=kept)

    async def _capped(
        self, parts: list[OrderPart], request: OrderRequest, new: frozenset[str], deadline: float | None
    ) -> list[OrderPart]:
        """Orders that turned out to cost more than was quoted are not kept, where they can be cancelled.

        Those of `new` suppliers only: what was ordered by an earlier call stays.
        """
        total = _sum([part.total for part in parts if part.ref is not None])
        try:
            if total is not None:
                within(request.max_total, total, "not kept where it can be cancelled")
        except ProviderError as error:
            calls = (self._undone(part, error, deadline, cancel=part.source in new) for part in parts)
            return list(await asyncio.gather(*calls))
        return parts

    async def _undone(self, part: OrderPart, why: ProviderError, deadline: float | None, *, cancel: bool) -> OrderPart:
        if part.ref is None:
            return part
        undone = part.model_copy(update={"error": why, "reason": str(why)})
        unable = "cancel_order" in self._suppliers.route.target(part.ref.vendor).facts.unsupported
        if part.paid or unable:
            return undone
        try:
            # What an earlier call placed may have been paid since.
            (found,) = (await self.order(part.ref, timeout=self._suppliers.left(deadline), fresh=True)).parts
            if cancel and not found.paid:
                (found,) = (await self.cancel(part.ref, timeout=self._suppliers.left(deadline))).parts
        except ProviderError as error:
            logger.warning("%s costs more than is allowed and could not be cancelled: %r", part.ref, error)
            return undone
        return undone.model_copy(update={"state": found.state, "paid": found.paid})

    async def _paid(
        self, part: OrderPart, parts: Sequence[OrderPart], request: OrderRequest, deadline: float | None
    ) -> OrderPart:
        if part.ref is None or part.paid or part.error is not None:
            return part
        cap = request.max_total
        try:
            if cap is None and "pay" in self._suppliers.route.target(part.ref.vendor).facts.unsupported:
                return part
            paid = await self._pay(part.ref, cap and _share(part, parts, cap), deadline)
        except ProviderError as error:
            return part.model_copy(update={"error": error, "reason": str(error)})
        return paid.model_copy(update={"number": part.number or paid.number})

    async def _pay(self, ref: Ref, max_total: Money | None, deadline: float | None) -> OrderPart:
        route, left = self._suppliers.route, self._suppliers.left
        # Before it is made payable.
        refuse_unsupported(PAY, route.target(ref.vendor).facts)
        part = await route.one(
            CONFIRM, ref.vendor, lambda adapter: adapter.confirm(ref), payload=str(ref), timeout=left(deadline)
        )
        if part.paid:
            try:
                await route.settle(PAY, str(ref), part)
            except ProviderError as error:
                logger.warning("that %s is paid could not be noted: %r", ref, error)
            return part
        within(max_total, part.total, "nothing was paid")

        async def paid(adapter: SourcingAdapter, since: float) -> OrderPart | None:
            del since  # paid is paid
            found = await adapter.order(ref)
            return found if found.paid else None

        return await route.one(
            PAY,
            ref.vendor,
            lambda adapter: adapter.pay(ref),
            key=str(ref),
            payload=str(ref),
            timeout=left(deadline),
            safeguards=Safeguards(look_up=FIND, find=paid),
        )

    async def _remember(self, draft: OrderDraft, key: str) -> None:
        sent = Sent(key=key, pieces=_pieces((line.variant, line.quantity) for line in draft.lines))
        waiting = self._waiting(draft.source, draft.number)
        await self._suppliers.context.store.put([(waiting, encode(sent))], ttl=REMEMBERED)

    async def _remembered(self, source: str, number: str) -> Sent | None:
        kept = await self._suppliers.context.store.get(self._waiting(source, number))
        return None if kept is None else Sent.model_validate_json(kept)

    async def _as_sent(self, draft: OrderDraft) -> OrderDraft:
        """Of what was ordered: where no variant was named it need not be what would be ordered now."""
        sent = await self._remembered(draft.source, draft.number)
        if sent is None:
            return draft
        product = ProductName(draft.source, "")
        pieces = sent.pieces.items()
        lines = tuple(OrderLine(product=product, variant=variant, quantity=count) for variant, count in pieces)
        return draft.model_copy(update={"lines": lines})

    def _waiting(self, source: str, number: str) -> str:
        return f"sourcing/numbers/{self._suppliers.context.scope}/{source}/{number}"


def _signed(part: OrderPart, target: Target[SourcingAdapter]) -> OrderPart:
    """What is wrong with an order that was made, said as every failure is."""
    if part.error is None:
        return part
    sign(part.error, target, PLACE.name)
    return part.model_copy(update={"reason": str(part.error)})


def within(max_total: Money | None, total: Money | None, so: str) -> None:
    """Raise `BudgetExceededError` when it costs more than is allowed, or nobody says how much; `so` is the upshot."""
    if max_total is None:
        return
    if total is None:
        msg = f"max_total: nobody says what it costs in {max_total.currency}; {so}"
        raise BudgetExceededError(msg, field="max_total", code="max_total")
    if total.currency != max_total.currency:
        msg = f"max_total: in {max_total.currency}, but it costs {total}; {so}"
        raise InvalidRequestError(msg, field="max_total", code="currency")
    if total.amount > max_total.amount:
        msg = f"max_total: it costs {total}, more than {max_total}; {so}"
        raise BudgetExceededError(msg, field="max_total", code="max_total")


def _too_dear(request: OrderRequest, before: Sequence[OrderPart], quoted: Sequence[QuotedPart]) -> ProviderError | None:
    """Why what is still to be ordered may not be, together with what was, or may have been, ordered before."""
    cap, asked = request.max_total, [quote.total for quote in quoted if quote.error is None]
    if cap is None or not asked:
        return None
    try:
        within(cap, _sum([*(part.total for part in before), *asked]), "nothing was sent")
    except ProviderError as error:
        return error
    return None


def _share(part: OrderPart, parts: Sequence[OrderPart], cap: Money) -> Money:
    """What a part may cost when it is paid: as much as before, or else what the others leave of the cap."""
    others = [one.total for one in parts if one is not part and one.ref is not None]
    if part.total is not None or not others:
        return part.total or cap
    total = _sum(others)
    within(cap, total, "nothing was paid")
    return cap if total is None else cap.model_copy(update={"amount": cap.amount - total.amount})


def _refused(quote: QuotedPart, why: ProviderError) -> QuotedPart:
    return quote.model_copy(update={"error": why, "reason": str(why)})


def _check_cap(request: OrderRequest) -> None:
    cap = request.max_total
    if cap is not None and cap.currency != request.currency:
        msg = f"max_total: in {cap.currency}, but the order is in {request.currency}"
        raise InvalidRequestError(msg, field="max_total", code="currency")


def _pieces(lines: Iterable[tuple[str, int]]) -> dict[str, int]:
    """How many of each variant."""
    found: dict[str, int] = {}
    for variant, quantity in lines:
        found[variant] = found.get(variant, 0) + quantity
    return found


def _key(request: OrderRequest, source: str) -> str:
    return f"{request.idempotency_key}/{source}"


def _times(price: Money | None, quantity: int) -> Money | None:
    return None if price is None else Money(amount=price.amount * quantity, currency=price.currency)


def _sum(amounts: Iterable[Money | None]) -> Money | None:
    """All together; None where one is not known, there is none, or they are not of one currency."""
    known = list(amounts)
    currencies = {None if money is None else money.currency for money in known}
    if len(currencies) != 1 or None in currencies:
        return None
    found = [money for money in known if money is not None]
    total = found[0].amount
    for money in found[1:]:
        total += money.amount
    return Money(amount=total, currency=found[0].currency)


def _assembled(parts: Sequence[OrderPart], key: str = "", refused: ProviderError | None = None) -> SupplierOrder:
    """The parts as one order. Raises what went wrong when nothing was ordered: `refused` before others' failures."""
    placed = [part for part in parts if part.ref is not None]
    if not placed:
        errors = dict.fromkeys(part.error for part in parts if part.error is not None)
        # What may have been ordered all the same is said first.
        first, *others = sorted(errors, key=lambda one: (not one.may_have_applied, one is not refused))
        for other in others:
            first.add_note(f"and: {other}")
        raise first
    missing = len(placed) < len(parts)
    moments = [part.placed_at for part in placed if part.placed_at is not None]
    return SupplierOrder(
        key=key,
        refs=tuple(part.ref for part in placed if part.ref is not None),
        state=OrderState.PARTIAL if missing else min((part.state for part in placed), key=PROGRESS.index),
        total=_sum([part.total for part in placed]),
        paid=all(part.paid is True for part in placed),
        placed_at=min(moments, default=None),
        parts=tuple(parts),
    )
