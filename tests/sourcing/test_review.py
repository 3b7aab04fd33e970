"""What an adversary tried on orders: held back, of unknown price, repeated after the world has changed."""

import asyncio
import json
from contextlib import suppress
from decimal import Decimal

import pytest

from providers import Money, Providers, RawRequest, Ref, Settings
from providers.core.store import MemoryStore
from providers.errors import (
    AuthenticationError,
    BadResponseError,
    BudgetExceededError,
    ConflictError,
    InvalidRequestError,
    Outcome,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RejectedError,
)
from providers.sourcing import (
    OrderDraft,
    OrderedItem,
    OrderItem,
    OrderLine,
    OrderPart,
    OrderState,
    Placed,
    ShippingQuote,
    Variant,
)
from providers.sourcing.cjdropshipping_events import parse
from providers.sourcing.cjdropshipping_orders import new_order


def usd(amount):
    return Money(amount=Decimal(amount), currency="USD")


async def losing():
    """It was done, but the answer does not come."""
    msg = "no answer"
    raise ProviderTimeoutError(msg, outcome=Outcome.UNKNOWN)


async def unknowns(p):
    return [one async for one in p.unknowns.unknown()]


def test_an_order_that_is_held_back_is_not_paid_though_its_price_had_to_be_asked_for(
    supplier, live, order, monkeypatch
):
    alpha = supplier("alpha")
    alpha.tells_total = False
    place = alpha.place

    async def held_back(self, draft):
        (part,) = (await place(self, draft)).orders
        fields = {"error": ConflictError("no carrier takes it"), "pay_url": "https://alpha.example.com/pay"}
        return Placed(orders=(part.model_copy(update=fields),))

    monkeypatch.setattr(alpha, "place", held_back)

    async def main():
        async with live() as p:
            (part,) = (await p.sourcing.place_order(order("alpha:1", pay=True))).parts
            assert (part.total, part.paid, part.pay_url) == (usd("12.00"), False, "https://alpha.example.com/pay")
            assert isinstance(part.error, ConflictError)
            assert "no carrier takes it" in part.reason
            assert not alpha.count("confirm")
            assert not alpha.count("pay")

    asyncio.run(main())


def test_parts_whose_price_nobody_says_are_not_each_paid_up_to_the_cap_of_all(supplier, live, order):
    kinds = supplier("alpha"), supplier("beta")
    for kind in kinds:
        kind.tells_total, kind.surcharge = False, Decimal(8)
        kind.script["order"].append(AuthenticationError("no"))

    async def main():
        async with live("alpha,beta") as p:
            # Quoted at 24, they are 40 when they are made.
            found = await p.sourcing.place_order(order("alpha:1", "beta:1", pay=True, max_total=usd("30.00")))
            assert [type(part.error) for part in found.parts] == [BudgetExceededError] * 2
            assert not any(kind.count("pay") for kind in kinds)

    asyncio.run(main())


@pytest.mark.parametrize(("surcharge", "paid"), [("16.00", True), ("16.01", False)])
def test_a_part_whose_price_nobody_says_is_paid_from_what_the_others_leave_of_the_cap(
    supplier, live, order, surcharge, paid
):
    supplier("alpha")
    beta = supplier("beta")
    beta.tells_total, beta.surcharge = False, Decimal(surcharge)
    beta.script["order"].append(AuthenticationError("no"))

    async def main():
        async with live("alpha,beta") as p:
            found = await p.sourcing.place_order(order("alpha:1", "beta:1", pay=True, max_total=usd("40.00")))
            assert [part.paid is True for part in found.parts] == [True, paid]
            assert isinstance(found.parts[1].error, BudgetExceededError) is not paid
            assert beta.count("pay") == int(paid)

    asyncio.run(main())


@pytest.mark.parametrize("sold_out", [False, True])
def test_what_may_have_been_ordered_before_counts_though_it_cannot_be_ordered_any_more(
    supplier, live, order, clock, sold_out
):
    """The last piece is ours: its supplier has none to quote when the order is repeated."""
    alpha, beta = supplier("alpha"), supplier("beta")
    alpha.after["place"].append(losing)
    alpha.script["find"].extend([AuthenticationError("no")] * (1 if sold_out else 2))
    beta.script["place"].append(RejectedError("not now", code="no"))
    request = order("alpha:1", "beta:1", max_total=usd("25.00"))

    async def main():
        async with live("alpha,beta") as p:
            with pytest.raises(ProviderTimeoutError):
                await p.sourcing.place_order(request)
            clock.advance(300)
            alpha.goods = {"1": {"stock": 0}}
            beta.goods = {"1": {"price": "12.00"}}
            if sold_out:
                found = await p.sourcing.place_order(request)
                assert [part.state for part in found.parts] == [OrderState.UNPAID, OrderState.FAILED]
                assert isinstance(found.parts[1].error, BudgetExceededError)
            else:
                with pytest.raises(ProviderUnavailableError, match="resolve it first"):
                    await p.sourcing.place_order(request)
            assert (alpha.count("place"), beta.count("place")) == (1, 1)
            assert [one.state for one in alpha.made] == [OrderState.UNPAID]

    asyncio.run(main())


def test_what_was_paid_meanwhile_is_not_cancelled_because_another_part_is_dearer_than_it_was_quoted(
    supplier, live, order
):
    alpha, beta = supplier("alpha"), supplier("beta")
    beta.script["place"].append(RejectedError("not now", code="no"))
    request = order("alpha:1", "beta:1", max_total=usd("25.00"))

    async def main():
        async with live("alpha,beta") as p:
            (ref,) = (await p.sourcing.place_order(request)).refs
            await p.sourcing.pay(ref)
            beta.surcharge = Decimal(5)
            found = await p.sourcing.place_order(request)
            assert [part.state for part in found.parts] == [OrderState.PROCESSING, OrderState.CANCELLED]
            assert [part.paid for part in found.parts] == [True, False]
            assert [alpha.count("cancel"), beta.count("cancel")] == [0, 1]

    asyncio.run(main())


def test_a_repeat_with_a_lower_limit_cancels_nothing_that_was_ordered_before(supplier, live, order):
    alpha = supplier("alpha")

    async def main():
        async with live() as p:
            first = await p.sourcing.place_order(order("alpha:1", max_total=usd("25.00")))
            again = await p.sourcing.place_order(order("alpha:1", max_total=usd("5.00")))
            assert (again.refs, again.parts[0].state) == (first.refs, OrderState.UNPAID)
            assert isinstance(again.parts[0].error, BudgetExceededError)
            assert alpha.count("cancel") == 0

    asyncio.run(main())


@pytest.mark.parametrize("ways", [("fast", "std"), ("fast", "")])
def test_each_parcel_goes_the_way_that_was_asked_for_its_own_item(supplier, live, order, ways):
    alpha = supplier("alpha", limits={"lines_per_quote": 1})
    prices = {"v1": "10.00", "v2": "11.00"}
    variants = tuple(Variant(id=id_, price=usd(price), stock=5) for id_, price in prices.items())
    alpha.goods = {"1": {"variants": variants}}
    items = [OrderItem(ref="alpha:1", variant=id_, shipping=way) for id_, way in zip(prices, ways, strict=True)]

    async def main():
        async with live() as p:
            quote = await p.sourcing.quote_order(order(*items))
            assert [line.shipping.code for line in quote.parts[0].lines] == ["fast", "std"]
            assert quote.total == usd("32.00")

    asyncio.run(main())


def test_an_order_of_the_cheapest_variant_is_found_though_another_is_the_cheapest_now(
    supplier, live, order, monkeypatch
):
    alpha = supplier("alpha")
    find = alpha.find

    async def picky(self, draft, since):
        """As CJ's: an order of other variants is somebody else's."""
        found = await find(self, draft, since)
        return found if {line.variant for line in draft.lines} <= {"v1"} else None

    monkeypatch.setattr(alpha, "find", picky)
    alpha.after["place"].append(losing)
    alpha.script["find"].append(AuthenticationError("no"))

    async def main():
        async with live() as p:
            with pytest.raises(ProviderTimeoutError):
                await p.sourcing.place_order(order("alpha:1"))
            one, two = Variant(id="v1", price=usd("10.00"), stock=0), Variant(id="v2", price=usd("9.00"), stock=5)
            alpha.goods = {"1": {"variants": (one, two)}}
            found = await p.sourcing.place_order(order("alpha:1"))
            assert [str(ref) for ref in found.refs] == ["alpha:alpha-1"]
            assert not await unknowns(p)
            assert alpha.count("place") == 1

    asyncio.run(main())


def test_a_payment_of_unknown_outcome_is_settled_when_the_order_turns_out_to_be_paid(supplier, live, order):
    alpha = supplier("alpha")

    async def main():
        async with live() as p:
            (ref,) = (await p.sourcing.place_order(order("alpha:1"))).refs
            alpha.after["pay"].append(losing)
            alpha.script["order"].append(AuthenticationError("no"))
            with pytest.raises(ProviderTimeoutError):
                await p.sourcing.pay(ref)
            assert [one.operation for one in await unknowns(p)] == ["sourcing.pay"]
            assert (await p.sourcing.pay(ref)).paid
            assert not await unknowns(p)
            assert alpha.count("pay") == 1

    asyncio.run(main())


def test_a_quote_that_is_to_be_fresh_is_for_the_variant_that_is_the_cheapest_now(supplier, live):
    alpha = supplier("alpha")

    async def main():
        async with live() as p:
            await p.sourcing.shipping_quotes("alpha:1", country="US")
            alpha.goods = {"1": {"variants": (Variant(id="v9", price=usd("1.00"), stock=5),)}}
            await p.sourcing.shipping_quotes("alpha:1", country="US", fresh=True)
            assert [line.variant for (line,) in alpha.asked("shipping_quotes")] == ["v1", "v9"]

    asyncio.run(main())


@pytest.mark.parametrize(("variant", "quantity", "ours"), [("V1", 2, True), ("v1", 1, False), ("v2", 2, False)])
def test_a_message_about_another_order_of_the_same_number_settles_nothing(
    supplier, live, order, variant, quantity, ours
):
    """Who else orders on the account may use our numbers: that order must not be taken for ours, and paid."""
    alpha = supplier("alpha")
    alpha.script["place"].append(ProviderTimeoutError("no answer", outcome=Outcome.UNKNOWN))
    items = (OrderedItem(variant=variant, quantity=quantity),)
    ref = Ref(vendor="alpha", id="other-1")
    other = OrderPart(source="alpha", state=OrderState.UNPAID, ref=ref, items=items, total=usd("5.00"), paid=False)
    request = order(OrderItem(ref="alpha:1", quantity=2), pay=True)
    body = json.dumps({"order": str(ref), "number": "order-1"}).encode()

    async def main():
        async with live() as p:
            with pytest.raises(ProviderTimeoutError):
                await p.sourcing.place_order(request)
            alpha.made.append(other)
            await p.sourcing.webhook(RawRequest(body=body, headers={"x-from": "alpha"}))
            assert bool(await unknowns(p)) is not ours
            if ours:
                assert (await p.sourcing.place_order(request)).paid
            else:
                with pytest.raises(ProviderUnavailableError, match="resolve it first"):
                    await p.sourcing.place_order(request)
            assert (alpha.count("place"), alpha.count("pay")) == (1, int(ours))

    asyncio.run(main())


class Faltering(MemoryStore):
    """Fails at one write, the `ahead`th from now."""

    ahead = 0

    async def _fail(self):
        self.ahead -= 1
        if not self.ahead:
            msg = "no store"
            raise ProviderUnavailableError(msg, code="store", outcome=Outcome.NOT_APPLIED)

    async def begin(self, items, **options):
        await self._fail()
        return await super().begin(items, **options)

    async def claim(self, items, **options):
        await self._fail()
        return await super().claim(items, **options)

    async def put(self, items, **options):
        await self._fail()
        await super().put(items, **options)


# The record, the number for messages, the order, what waits for it. The first two are of caches.
@pytest.mark.parametrize("ahead", [3, 4, 5, 6])
def test_an_order_of_the_demo_is_there_or_not_wherever_its_store_fails(order, clock, ahead):
    store = Faltering(clock)

    async def main():
        settings = Settings(mode="demo", environ={}, env_file=None)
        async with Providers(settings, clock=clock, store=store, hooks=()) as p:
            found = await p.sourcing.search("lamp", country="US", source="cjdropshipping")
            request = order(found.items[0].ref)
            await p.sourcing.quote_order(request)
            store.ahead = ahead
            with suppress(ProviderUnavailableError):
                await p.sourcing.place_order(request)
            assert store.ahead <= 0
            placed = await p.sourcing.place_order(request)
            assert len(placed.refs) == 1
            assert (await p.sourcing.place_order(request)).refs == placed.refs

    asyncio.run(main())


def test_the_name_by_which_an_order_is_found_again_cannot_be_replaced(order):
    item = {"product": ("cjdropshipping", "1795000000000000001"), "variant": "1795000000000000101"}
    way = {"code": "CJPacket", "method": "CJPacket", "cost": usd("4.00")}
    draft = OrderDraft(
        source="cjdropshipping",
        number="order-1",
        lines=(OrderLine(**item, shipping=ShippingQuote(**way)),),
        address=order("cjdropshipping:1").address,
        currency="USD",
        options={"shippingCustomerName": "Somebody Else"},
    )
    with pytest.raises(InvalidRequestError, match="address"):
        new_order(draft, sandbox=False)


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        ("ORDER", {"cjOrderId": "x" * 300}),
        ("VARIANT", {"vid": "1", "pid": "x" * 300}),
        ("PRODUCT", {"pid": "x" * 300}),
        ("LOGISTIC", {"orderId": "x" * 300}),
        ("ORDERSPLIT", {"originalOrderId": "1", "splitOrderList": [{"orderId": "x" * 300}]}),
    ],
)
def test_a_message_about_something_of_an_endless_name_is_not_as_documented(kind, params):
    message = {"messageId": "m-1", "type": kind, "messageType": "UPDATE", "params": params}
    with pytest.raises(BadResponseError):
        parse(json.dumps(message).encode())
