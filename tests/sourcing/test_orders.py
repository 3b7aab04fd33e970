"""One order at several suppliers: each part once, never beyond the cap, nothing lost that may have been ordered."""

import asyncio
from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from providers import Money, RawRequest, Ref
from providers.core.store import MemoryStore
from providers.core.writes import Resolution
from providers.errors import (
    AuthenticationError,
    BudgetExceededError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RejectedError,
    UnsupportedOperationError,
)
from providers.sourcing import OrderItem, OrderState, Placed, Variant
from providers.testing.clock import ManualClock


def usd(amount):
    return Money(amount=Decimal(amount), currency="USD")


def lost():
    """The answer does not come."""
    return ProviderTimeoutError("no answer", outcome=Outcome.UNKNOWN)


def refused():
    return RejectedError("not to this address", code="address")


async def unknowns(p):
    return [one async for one in p.unknowns.unknown()]


def states(order):
    return {part.source: part.state for part in order.parts}


def test_three_suppliers_of_which_one_fails(supplier, live, order):
    alpha, beta, gamma = supplier("alpha"), supplier("beta"), supplier("gamma")
    beta.script["place"].append(refused())
    beta.ways = [("std", "3.50")]
    request = order("alpha:1", "beta:2", OrderItem(ref="gamma:3", quantity=4))

    async def main():
        async with live("alpha,beta,gamma") as p:
            found = await p.sourcing.place_order(request)
            assert found.state is OrderState.PARTIAL
            assert states(found) == {"alpha": "unpaid", "beta": "failed", "gamma": "unpaid"}
            assert [str(ref) for ref in found.refs] == ["alpha:alpha-1", "gamma:gamma-1"]
            assert (found.total, found.paid, found.key) == (usd("54.00"), False, "order-1")
            failed = found.parts[1]
            assert (type(failed.error), failed.error.code, failed.ref) == (RejectedError, "address", None)
            assert (failed.error.vendor, failed.error.operation) == ("beta", "sourcing.place_order")
            assert "not to this address" in failed.model_dump(mode="json")["reason"]
            (draft,) = gamma.asked("place")
            assert (draft.number, draft.pay, draft.currency) == ("order-1", False, "USD")
            (line,) = draft.lines
            assert (line.quantity, line.variant, line.price, line.shipping.code) == (4, "v1", usd("10.00"), "std")

            # A repeat orders what is missing, and only that.
            again = await p.sourcing.place_order(request)
            assert again.state is OrderState.UNPAID
            assert states(again) == {"alpha": "unpaid", "beta": "unpaid", "gamma": "unpaid"}
            assert again.total == usd("67.50")
            assert [kind.count("place") for kind in (alpha, beta, gamma)] == [1, 2, 1]
            assert [len(kind.made) for kind in (alpha, beta, gamma)] == [1, 1, 1]

    asyncio.run(main())


def test_the_same_key_twice_orders_nothing_twice_and_asks_for_no_price_again(supplier, live, order):
    alpha = supplier("alpha")

    async def main():
        async with live() as p:
            first = await p.sourcing.place_order(order("alpha:1"))
            alpha.goods = {"1": {"price": "99.00"}}
            assert await p.sourcing.place_order(order("alpha:1")) == first
            # Also with another cap, or if it shall be paid now: it is the same order.
            paid = await p.sourcing.place_order(order("alpha:1", pay=True, max_total=usd(50)))
            assert paid.refs == first.refs
            assert paid.paid
            assert (alpha.count("place"), alpha.count("product"), len(alpha.made)) == (1, 1, 1)

    asyncio.run(main())


def test_twins_order_once(supplier, live, order):
    clock = ManualClock(auto=False)
    alpha = supplier("alpha")
    alpha.script["place"].append(lambda: clock.sleep(3))

    async def main():
        async with live(at=clock) as p:
            twins = [asyncio.create_task(p.sourcing.place_order(order("alpha:1"))) for _ in range(5)]
            await alpha.called("place")
            for _ in range(60):
                clock.advance(0.1)
                for _ in range(20):
                    await asyncio.sleep(0)
            found = await asyncio.gather(*twins)
            assert {one.refs for one in found} == {(Ref(vendor="alpha", id="alpha-1"),)}
            assert len(alpha.made) == 1

    asyncio.run(main())


def test_two_processes_on_one_store_order_once(supplier, live, order, tmp_path):
    alpha, beta = supplier("alpha"), supplier("beta")
    beta.script["place"].append(refused())
    url = f"sqlite:///{tmp_path}/state.db"

    def opened():
        from providers.core.store import open_store

        clock = ManualClock()
        return live("alpha,beta", store=open_store(url, clock), at=clock)

    async def main():
        async with opened() as one, opened() as two:
            first, second = await asyncio.gather(
                *(p.sourcing.place_order(order("alpha:1", "beta:1")) for p in (one, two))
            )
            third = await two.sourcing.place_order(order("alpha:1", "beta:1"))
            assert third.state is OrderState.UNPAID
            assert first.refs[0] == second.refs[0] == third.refs[0]
            assert (len(alpha.made), len(beta.made)) == (1, 1)

    asyncio.run(main())


@pytest.mark.parametrize(
    "change",
    [
        {"items": (OrderItem(ref="alpha:2"), OrderItem(ref="beta:1"))},
        {"items": (OrderItem(ref="alpha:1", quantity=2), OrderItem(ref="beta:1"))},
        {"items": (OrderItem(ref="alpha:1", shipping="fast"), OrderItem(ref="beta:1"))},
    ],
)
def test_a_key_that_was_used_for_something_else_is_an_error_of_that_part(supplier, live, order, change):
    alpha, beta = supplier("alpha"), supplier("beta")
    beta.script["place"].append(refused())

    async def main():
        async with live("alpha,beta") as p:
            await p.sourcing.place_order(order("alpha:1", "beta:1"))
            found = await p.sourcing.place_order(order("alpha:1", "beta:1", **change))
            assert states(found) == {"alpha": "failed", "beta": "unpaid"}
            error = found.parts[0].error
            assert (type(error), error.code, error.field) == (ConflictError, "key_reused", "idempotency_key")
            assert (len(alpha.made), len(beta.made)) == (1, 1)

    asyncio.run(main())


def test_a_key_that_was_used_for_another_address_is_refused(supplier, live, order):
    alpha = supplier("alpha")

    async def main():
        async with live() as p:
            request = order("alpha:1")
            await p.sourcing.place_order(request)
            elsewhere = request.address.model_copy(update={"line1": "2 Main St"})
            with pytest.raises(ConflictError):
                await p.sourcing.place_order(order("alpha:1", address=elsewhere))
            assert len(alpha.made) == 1

    asyncio.run(main())


def test_nothing_is_sent_beyond_the_cap(supplier, live, order):
    alpha, beta = supplier("alpha"), supplier("beta")

    async def main():
        async with live("alpha,beta") as p:
            request = order("alpha:1", "beta:1", max_total=usd("23.99"), pay=True)
            with pytest.raises(BudgetExceededError) as caught:
                await p.sourcing.place_order(request)
            assert (caught.value.code, caught.value.field) == ("max_total", "max_total")
            assert "24.00 USD, more than 23.99 USD; nothing was sent" in str(caught.value)
            assert not alpha.count("place") + beta.count("place")
            assert not await unknowns(p)
            # Nor does another part's failure hide it, or get lost.
            alpha.ways = []
            with pytest.raises(BudgetExceededError) as caught:
                await p.sourcing.place_order(order("alpha:1", "beta:1", max_total=usd("9.00")))
            (note,) = caught.value.__notes__
            assert "nothing goes to US" in note
            alpha.ways = beta.ways
            # What it costs exactly is enough.
            assert (await p.sourcing.place_order(order("alpha:1", "beta:1", max_total=usd("24.00")))).refs

    asyncio.run(main())


def test_the_cap_is_over_all_parts_also_those_ordered_before(supplier, live, order):
    alpha, beta = supplier("alpha"), supplier("beta")
    # Who does not say at once what an order costs is asked.
    alpha.tells_total = False
    beta.script["place"].append(refused())

    async def main():
        async with live("alpha,beta") as p:
            request = order("alpha:1", "beta:1", max_total=usd("25.00"))
            assert (await p.sourcing.place_order(request)).state is OrderState.PARTIAL
            beta.goods = {"1": {"price": "12.00"}}
            found = await p.sourcing.place_order(request)
            # What is ordered is not lost for that.
            assert states(found) == {"alpha": "unpaid", "beta": "failed"}
            assert isinstance(found.parts[1].error, BudgetExceededError)
            assert alpha.made[0].state is OrderState.UNPAID
            assert beta.count("place") == 1
            # Nor is the cap forgotten where nobody says what was spent.
            beta.goods = {}
            alpha.script["order"].append(AuthenticationError("no"))
            found = await p.sourcing.place_order(request)
            assert isinstance(found.parts[1].error, BudgetExceededError)
            assert "nobody says what it costs" in found.parts[1].reason
            assert beta.count("place") == 1
            assert (await p.sourcing.place_order(request)).total == usd("24.00")

    asyncio.run(main())


def test_an_order_that_turns_out_dearer_than_the_cap_is_cancelled_not_paid_and_says_so(supplier, live, order):
    alpha = supplier("alpha")
    beta = supplier("beta", unsupported={"cancel_order": "by hand"})
    gamma = supplier("gamma")
    for kind in (alpha, beta, gamma):
        kind.surcharge = Decimal("1.00")
    gamma.script["cancel"].append(ConflictError("too late"))

    async def main():
        async with live("alpha,beta,gamma") as p:
            request = order("alpha:1", "beta:1", "gamma:1", max_total=usd("36.00"), pay=True)
            found = await p.sourcing.place_order(request)
            assert states(found) == {"alpha": "cancelled", "beta": "unpaid", "gamma": "unpaid"}
            assert len(found.refs) == 3
            for part in found.parts:
                assert isinstance(part.error, BudgetExceededError)
                assert "39.00 USD, more than 36.00 USD" in part.reason
                assert "nothing was sent" not in part.reason
            assert (alpha.count("cancel"), beta.count("cancel"), gamma.count("cancel")) == (1, 0, 1)
            # Nor does a repeat pay for it.
            await p.sourcing.place_order(request)
            assert not any(kind.count("pay") for kind in (alpha, beta, gamma))
            assert not any(part.paid for kind in (alpha, beta, gamma) for part in kind.made)
            assert not await unknowns(p)

    asyncio.run(main())


def test_a_cap_in_another_currency_is_no_cap_and_refused(supplier, live, order):
    alpha = supplier("alpha")

    async def main():
        async with live() as p:
            euros = Money(amount=Decimal(100), currency="EUR")
            with pytest.raises(InvalidRequestError, match="in EUR, but the order is in USD"):
                await p.sourcing.place_order(order("alpha:1", max_total=euros))
            assert not alpha.calls
            # A supplier that asks another currency than the one it was asked for.
            alpha.goods = {"1": {"currency": "EUR"}, "2": {}}
            with pytest.raises(BudgetExceededError, match="nobody says what it costs in USD"):
                await p.sourcing.place_order(order("alpha:1", "alpha:2", max_total=usd(1000)))
            assert not alpha.count("place")
            found = await p.sourcing.place_order(order("alpha:2"))
            with pytest.raises(InvalidRequestError, match="nothing was paid"):
                await p.sourcing.pay(found.refs[0], max_total=euros)
            assert not alpha.count("pay")

    asyncio.run(main())


def test_a_lost_answer_is_looked_up_at_once(supplier, live, order):
    alpha = supplier("alpha")
    alpha.after["place"].append(lost())

    async def main():
        async with live() as p:
            found = await p.sourcing.place_order(order("alpha:1"))
            assert found.refs == (Ref(vendor="alpha", id="alpha-1"),)
            assert found.state is OrderState.UNPAID
            assert (alpha.count("place"), alpha.count("find")) == (1, 1)
            assert await p.sourcing.place_order(order("alpha:1")) == found
            assert (alpha.count("place"), alpha.count("find")) == (1, 1)
            assert not await unknowns(p)

    asyncio.run(main())


def test_what_a_look_up_does_not_find_stays_unknown_and_is_never_placed_again(supplier, live, order, clock):
    alpha, beta = supplier("alpha"), supplier("beta")
    alpha.script["place"].append(lost())

    async def main():
        async with live("alpha,beta") as p:
            request = order("alpha:1", "beta:1")
            found = await p.sourcing.place_order(request)
            assert found.state is OrderState.PARTIAL
            assert states(found) == {"alpha": "unknown", "beta": "unpaid"}
            error = found.parts[0].error
            assert (type(error), error.may_have_applied, error.retryable) == (ProviderTimeoutError, True, False)
            (unknown,) = await unknowns(p)
            assert (unknown.operation, unknown.key, unknown.vendor) == (
                "sourcing.place_order",
                "order-1/alpha",
                "alpha",
            )
            for times in range(2, 5):
                clock.advance(3_600)
                again = await p.sourcing.place_order(request)
                assert states(again) == {"alpha": "unknown", "beta": "unpaid"}
                assert again.parts[0].error.code == "unknown_outcome"
                assert (alpha.count("place"), alpha.count("find")) == (1, times)
            assert len(await unknowns(p)) == 1
            # The supplier had it after all.
            place = alpha.asked("place")[0]
            late = alpha.made
            await type(alpha.adapters[0]).place(alpha.adapters[0], place)
            assert len(late) == 1
            again = await p.sourcing.place_order(request)
            assert states(again) == {"alpha": "unpaid", "beta": "unpaid"}
            assert not await unknowns(p)
            assert len(beta.made) == 1

    asyncio.run(main())


def test_unknown_alone_raises_and_says_that_it_may_have_been_ordered(supplier, live, order):
    alpha, beta = supplier("alpha"), supplier("beta")
    beta.script["place"].append(lost())
    alpha.script["place"].extend([refused()] * 2)

    async def main():
        async with live("alpha,beta") as p:
            for _ in range(2):
                # That of the first part is not the one that matters.
                with pytest.raises((ProviderTimeoutError, ProviderUnavailableError)) as caught:
                    await p.sourcing.place_order(order("alpha:1", "beta:1"))
                assert caught.value.may_have_applied
                assert "not to this address" in caught.value.__notes__[0]
            assert beta.count("place") == 1

    asyncio.run(main())


def test_a_look_up_that_fails_proves_nothing(supplier, live, order):
    alpha = supplier("alpha")
    alpha.after["place"].append(lost())
    alpha.script["find"].extend([AuthenticationError("no"), ProviderUnavailableError("down", repeatable=False)])

    async def main():
        async with live() as p:
            for _ in range(2):
                with pytest.raises((ProviderTimeoutError, ProviderUnavailableError)) as caught:
                    await p.sourcing.place_order(order("alpha:1"))
                assert caught.value.may_have_applied
            found = await p.sourcing.place_order(order("alpha:1"))
            assert found.refs
            assert len(alpha.made) == 1

    asyncio.run(main())


def test_a_supplier_that_cannot_look_up_leaves_it_to_people(supplier, live, order):
    alpha = supplier("alpha", unsupported={"find": "not by our number"})
    alpha.after["place"].append(lost())

    async def main():
        async with live() as p:
            for _ in range(2):
                with pytest.raises((ProviderTimeoutError, ProviderUnavailableError)):
                    await p.sourcing.place_order(order("alpha:1"))
            assert (alpha.count("place"), alpha.count("find")) == (1, 0)
            (unknown,) = await unknowns(p)
            await p.unknowns.resolve(unknown.id, Resolution.APPLIED)
            with pytest.raises(ConflictError) as caught:
                await p.sourcing.place_order(order("alpha:1"))
            assert caught.value.code == "already_applied"
            found = await p.sourcing.place_order(order("alpha:2", key="order-2"))
            assert found.refs
            assert alpha.count("place") == 2

    asyncio.run(main())


@pytest.mark.parametrize("resolution", Resolution)
def test_people_settle_a_part_either_way(supplier, live, order, resolution):
    alpha, beta = supplier("alpha"), supplier("beta")
    alpha.script["place"].append(lost())

    async def main():
        async with live("alpha,beta") as p:
            request = order("alpha:1", "beta:1")
            await p.sourcing.place_order(request)
            (unknown,) = await unknowns(p)
            await p.unknowns.resolve(unknown.id, resolution)
            found = await p.sourcing.place_order(request)
            if resolution is Resolution.APPLIED:
                # It is there, somewhere: nobody knows its reference, and nothing orders it again.
                assert states(found) == {"alpha": "unknown", "beta": "unpaid"}
                assert found.parts[0].error.code == "already_applied"
                assert alpha.count("place") == 1
            else:
                assert states(found) == {"alpha": "unpaid", "beta": "unpaid"}
                assert alpha.count("place") == 2
            assert not await unknowns(p)
            assert len(beta.made) == 1

    asyncio.run(main())


def message(ref, number, sender="alpha"):
    body = f'{{"order": "{ref}", "number": "{number}"}}'.encode()
    return RawRequest(body=body, headers={"X-From": sender})


def test_a_suppliers_message_settles_what_nobody_knew(supplier, live, order):
    alpha = supplier("alpha")
    supplier("beta")
    alpha.after["place"].append(lost())
    alpha.script["find"].append(AuthenticationError("no"))

    async def main():
        async with live("alpha,beta") as p:
            with pytest.raises(ProviderTimeoutError):
                await p.sourcing.place_order(order("alpha:1"))
            await p.sourcing.webhook(message("alpha:other", "order-2"))
            await p.sourcing.webhook(message("beta:other", "order-1", "beta"))
            assert len(await unknowns(p)) == 1
            for _ in range(2):  # messages come twice
                result = await p.sourcing.webhook(message("alpha:alpha-1", "order-1"))
                assert result.events[0].order == Ref(vendor="alpha", id="alpha-1")
                assert not await unknowns(p)
            found = await p.sourcing.place_order(order("alpha:1"))
            assert (found.refs, found.total) == ((Ref(vendor="alpha", id="alpha-1"),), usd("12.00"))
            assert (alpha.count("place"), alpha.count("find")) == (1, 1)

    asyncio.run(main())


def test_a_suppliers_message_settles_an_order_whose_caller_had_left(supplier, live, order):
    alpha = supplier("alpha")

    async def main():
        reached = asyncio.Event()

        async def forever():
            reached.set()
            await asyncio.Event().wait()

        alpha.after["place"].append(forever)
        async with live() as p:
            call = asyncio.ensure_future(p.sourcing.place_order(order("alpha:1")))
            await reached.wait()
            call.cancel()
            with suppress(asyncio.CancelledError):
                await call
            assert len(await unknowns(p)) == 1
            await p.sourcing.webhook(message("alpha:alpha-1", "order-1"))
            assert not await unknowns(p)
            found = await p.sourcing.place_order(order("alpha:1"))
            assert (found.refs, alpha.count("place"), alpha.count("find")) == (
                (Ref(vendor="alpha", id="alpha-1"),),
                1,
                0,
            )

    asyncio.run(main())


def down():
    return ProviderUnavailableError("down", outcome=Outcome.NOT_APPLIED)


FAILURES = {
    "fine": ("place", []),
    "refused": ("place", [refused]),
    "down": ("place", [down] * 3),
    "gone": ("product", [lambda: NotFoundError("gone")]),
    "lost": ("place", [lost]),
    "made": ("after", [lost]),
    "paid": ("pay", [lost]),
    "poor": ("pay", [lambda: RejectedError("too low", code="insufficient_funds")]),
}


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(*[st.sampled_from(sorted(FAILURES))] * 2, st.booleans(), st.booleans()), min_size=1, max_size=5)
)
def test_whatever_fails_and_however_often_it_is_repeated_nothing_is_ordered_or_paid_twice(
    supplier, live, order, attempts
):
    clock = ManualClock()
    kinds = {name: supplier(name) for name in ("alpha", "beta")}

    async def main():
        async with live("alpha,beta", at=clock) as p:
            for *failures, blind, pay in [*attempts, ("fine", "fine", False, True)]:
                clock.advance(300)  # no breaker is open any more
                for kind, failure in zip(kinds.values(), failures, strict=True):
                    kind.script.clear()
                    kind.after.clear()
                    where, errors = FAILURES[failure]
                    script = kind.after["place"] if where == "after" else kind.script[where]
                    script.extend(error() for error in errors)
                    kind.script["find"].extend([AuthenticationError("no")] if blind else [])
                parts, unknown = (), False
                try:
                    found = await p.sourcing.place_order(order("alpha:1", "beta:1", pay=pay, max_total=usd(24)))
                    parts = found.parts
                except (RejectedError, NotFoundError, ProviderUnavailableError, ProviderTimeoutError) as error:
                    unknown = error.may_have_applied
                # When it says that there is nothing, there is nothing.
                assert parts or unknown or not any(kind.made for kind in kinds.values())
                for part in parts:
                    made = kinds[part.source].made
                    assert len(made) <= 1
                    if part.state is OrderState.FAILED:
                        assert not made
                        assert not part.error.may_have_applied
                    elif part.state is OrderState.UNKNOWN:
                        assert part.error.may_have_applied
                    else:
                        assert part.ref == made[0].ref
                        assert not part.paid or made[0].paid
            for name, kind in kinds.items():
                assert len(kind.made) <= 1
                assert kind.balance in {Decimal(1000), Decimal(988)}
                lost_ones = [one.key for one in await unknowns(p)]
                # All is ordered and paid, or somebody has to look.
                settled = kind.made and kind.made[0].paid
                assert settled or {f"order-1/{name}", f"{name}:{name}-1"} & set(lost_ones)

    asyncio.run(main())


def test_an_order_that_a_supplier_splits_has_a_part_for_each(supplier, live, order):
    alpha, beta = supplier("alpha"), supplier("beta")
    alpha.split = 2
    beta.script["place"].append(refused())

    async def main():
        async with live("alpha,beta") as p:
            request = order("alpha:1", "beta:1", pay=True, max_total=usd("24.00"))
            found = await p.sourcing.place_order(request)
            assert [str(ref) for ref in found.refs] == ["alpha:alpha-1", "alpha:alpha-2"]
            assert [part.state for part in found.parts] == ["processing", "processing", "failed"]
            assert (found.state, found.total, found.paid) == (OrderState.PARTIAL, usd("12.00"), True)
            again = await p.sourcing.place_order(request)
            assert (len(again.parts), again.total, again.paid) == (3, usd("24.00"), True)
            assert (len(alpha.made), alpha.count("pay")) == (2, 2)

    asyncio.run(main())


def test_what_was_made_is_priced_where_the_supplier_does_not_say_it_at_once(supplier, live, order):
    alpha = supplier("alpha")
    alpha.tells_total = False

    async def main():
        async with live() as p:
            found = await p.sourcing.place_order(order("alpha:1"))
            assert (found.total, found.parts[0].number) == (usd("12.00"), "order-1")
            alpha.script["order"].append(AuthenticationError("no"))
            found = await p.sourcing.place_order(order("alpha:1", key="order-2"))
            # It is ordered, whatever it costs.
            assert str(found.refs[0]) == "alpha:alpha-2"
            assert (found.total, found.state) == (None, OrderState.UNPAID)
            # Nor is it cancelled for that: what was quoted is within the cap.
            alpha.script["order"].append(AuthenticationError("no"))
            found = await p.sourcing.place_order(order("alpha:1", key="order-3", max_total=usd(20)))
            assert (found.total, found.state, found.parts[0].error) == (None, OrderState.UNPAID, None)
            assert not alpha.count("cancel")

    asyncio.run(main())


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    keys=st.lists(st.text(min_size=1, max_size=200), min_size=2, max_size=2, unique=True),
    tenants=st.lists(st.sampled_from(["", "m-1", "m-2"]), min_size=2, max_size=2),
)
def test_numbers_are_short_the_same_for_the_same_order_and_no_others(supplier, live, order, keys, tenants):
    alpha = supplier("alpha")
    alpha.script["place"].extend([refused()] * 8)

    async def number(p, tenant, key):
        view = p.scoped(tenant) if tenant else p
        with suppress(RejectedError):
            await view.sourcing.place_order(order("alpha:1", key=key))
        return alpha.asked("place")[-1].number

    async def main():
        found = {}
        for _ in range(2):  # as two processes
            async with live() as p:
                for tenant in tenants:
                    for key in keys:
                        name = await number(p, tenant, key)
                        assert found.setdefault((tenant, key), name) == name
                        assert 1 <= len(name) <= 50
                        assert name.isascii()
                        assert name.replace("-", "").replace("_", "").isalnum()
        assert len(set(found.values())) == len(found)

    asyncio.run(main())


def test_tenants_on_the_platforms_account_do_not_find_each_others_orders(supplier, live, order):
    alpha = supplier("alpha")

    async def main():
        async with live() as p:
            views = [p, p.scoped("m-1"), p.scoped("m-2")]
            for view in views:
                await view.sourcing.place_order(order("alpha:1", key="1001"))
            assert len({one.number for one in alpha.made}) == 3
            # The same key is another order's elsewhere, and its lost answer is looked up by its own number.
            alpha.script["place"].append(lost())
            with pytest.raises(ProviderTimeoutError):
                await p.scoped("m-3").sourcing.place_order(order("alpha:1", key="1001"))
            assert alpha.asked("find")[0].number not in {one.number for one in alpha.made}

    asyncio.run(main())


BLACK = Variant(id="black", sku="S-B", price=usd("10.00"), stock=2)
WHITE = Variant(id="white", sku="S-W", price=usd("8.00"), stock=0)
RED = Variant(id="red", price=usd("11.00"))
GREY = Variant(id="grey", stock=5)


@pytest.mark.parametrize(
    ("item", "kind", "code"),
    [
        ({"variant": "blue"}, NotFoundError, None),
        ({"variant": "white"}, ConflictError, "out_of_stock"),
        ({"variant": "black", "quantity": 3}, ConflictError, "out_of_stock"),
        ({"variant": "grey"}, ConflictError, "price"),
        ({"shipping": "drone"}, NotFoundError, "no_way"),
    ],
)
def test_what_cannot_be_ordered_is_an_error_of_its_part_and_nothing_is_sent_for_it(
    supplier, live, order, item, kind, code
):
    alpha = supplier("alpha")
    supplier("beta")
    alpha.goods = {"1": {"variants": (WHITE, BLACK, RED, GREY)}}

    async def main():
        async with live("alpha,beta") as p:
            request = order(OrderItem(ref="alpha:1", **item), "beta:1")
            quote = await p.sourcing.quote_order(request)
            assert (type(quote.parts[0].error), quote.total) == (kind, None)
            found = await p.sourcing.place_order(request)
            assert states(found) == {"alpha": "failed", "beta": "unpaid"}
            error = found.parts[0].error
            assert (type(error), error.code, error.outcome) == (kind, code, Outcome.NOT_APPLIED)
            assert error.vendor == "alpha"
            assert not alpha.count("place")
            with pytest.raises(kind):
                await p.sourcing.place_order(order(OrderItem(ref="alpha:1", **item), key="order-2"))

    asyncio.run(main())


@pytest.mark.parametrize(
    ("item", "variant", "code"),
    [
        ({}, "black", "std"),
        ({"variant": "S-B", "quantity": 2}, "black", "std"),
        ({"variant": "red", "quantity": 900}, "red", "std"),
        ({"shipping": "fast"}, "black", "fast"),
    ],
)
def test_the_cheapest_that_is_there_is_ordered_by_the_cheapest_way_unless_another_is_asked_for(
    supplier, live, order, item, variant, code
):
    alpha = supplier("alpha")
    alpha.goods = {"1": {"variants": (WHITE, BLACK, RED, GREY)}}
    alpha.ways = [("fast", "9.00"), ("std", "2.00"), ("slow", "2.50")]

    async def main():
        async with live() as p:
            request = order(OrderItem(ref="alpha:1", **item))
            quote = await p.sourcing.quote_order(request)
            found = await p.sourcing.place_order(request)
            (line,) = alpha.asked("place")[0].lines
            assert (line.variant, line.shipping.code) == (variant, code)
            assert quote.parts[0].lines == (line,)
            assert quote.total == found.total

    asyncio.run(main())


def test_nothing_goes_there(supplier, live, order):
    alpha = supplier("alpha")
    alpha.ways = []

    async def main():
        async with live() as p:
            with pytest.raises(NotFoundError, match="nothing goes to US") as caught:
                await p.sourcing.place_order(order("alpha:1"))
            assert caught.value.code == "no_way"

    asyncio.run(main())


@pytest.mark.parametrize(("together", "parcels"), [(50, 1), (1, 2)])
def test_parcels_are_quoted_together_where_the_supplier_packs_them_so(supplier, live, order, together, parcels):
    alpha = supplier("alpha", limits={"lines_per_quote": together})

    async def main():
        async with live() as p:
            quote = await p.sourcing.quote_order(order("alpha:1", "alpha:2"))
            assert alpha.count("shipping_quotes") == parcels
            assert (quote.parts[0].goods, quote.parts[0].shipping) == (usd("20.00"), usd(f"{2 * parcels}.00"))
            mixed = order(OrderItem(ref="alpha:1", shipping="std"), OrderItem(ref="alpha:2", shipping="fast"))
            quote = await p.sourcing.quote_order(mixed)
            if together > 1:
                assert quote.parts[0].error.field == "shipping"
            else:
                assert quote.total == usd("31.00")
            assert not alpha.count("place")

    asyncio.run(main())


def test_what_is_quoted_is_never_an_old_price(supplier, live, order, clock):
    alpha = supplier("alpha")

    async def main():
        async with live() as p:
            await p.sourcing.product("alpha:1", country="US")
            alpha.goods = {"1": {"price": "30.00"}}
            with pytest.raises(BudgetExceededError):
                await p.sourcing.place_order(order("alpha:1", max_total=usd(20)))
            # Nor one from before a supplier went down.
            alpha.script["product"].extend([ProviderUnavailableError("down", repeatable=False)])
            with pytest.raises(ProviderUnavailableError):
                await p.sourcing.place_order(order("alpha:1", max_total=usd(50)))
            assert not alpha.count("place")

    asyncio.run(main())


def test_orders_are_paid_where_the_supplier_takes_payment(supplier, live, order):
    alpha, beta, gamma = supplier("alpha"), supplier("beta"), supplier("gamma", unsupported={"pay": "by hand"})
    beta.balance = Decimal("11.99")

    async def main():
        async with live("alpha,beta,gamma") as p:
            request = order("alpha:1", "beta:1", "gamma:1", pay=True, max_total=usd(36))
            found = await p.sourcing.place_order(request)
            assert states(found) == {"alpha": "processing", "beta": "unpaid", "gamma": "unpaid"}
            assert [part.paid for part in found.parts] == [True, False, False]
            assert (found.paid, found.state) == (False, OrderState.UNPAID)
            errors = [part.error for part in found.parts]
            assert [type(error) for error in errors] == [type(None), RejectedError, UnsupportedOperationError]
            assert (errors[1].code, errors[1].operation) == ("insufficient_funds", "sourcing.pay")
            # What gamma adds while it is paid would not be within the limit.
            assert not any(kind.asked("place")[0].pay for kind in (alpha, beta, gamma))
            assert alpha.balance == Decimal("988.00")
            # Topped up: a repeat pays what is not paid, and nothing twice.
            beta.balance = Decimal(100)
            again = await p.sourcing.place_order(request)
            assert [part.paid for part in again.parts] == [True, True, False]
            assert (alpha.count("pay"), beta.count("pay"), gamma.count("pay")) == (1, 2, 0)
            assert (alpha.balance, beta.balance) == (Decimal("988.00"), Decimal("88.00"))
            with pytest.raises(UnsupportedOperationError, match="by hand"):
                await p.sourcing.pay(found.refs[2])
            assert not gamma.count("confirm")
            free = await p.sourcing.place_order(order("gamma:1", pay=True, key="order-8"))
            assert (gamma.asked("place")[-1].pay, free.parts[0].error) == (True, None)

    asyncio.run(main())


def test_an_order_is_paid_once_however_often_and_by_how_many_it_is_asked(supplier, live, order):
    alpha = supplier("alpha")

    async def main():
        async with live() as p:
            (ref,) = (await p.sourcing.place_order(order("alpha:1"))).refs
            alpha.script["pay"].append(lambda: asyncio.sleep(0))
            paid = await asyncio.gather(*(p.sourcing.pay(ref) for _ in range(4)))
            assert all(one.paid and one.refs == (ref,) for one in paid)
            assert (await p.sourcing.pay(str(ref))).state is OrderState.PROCESSING
            assert (alpha.count("pay"), alpha.balance) == (1, Decimal("988.00"))

    asyncio.run(main())


def test_what_is_paid_already_is_fine(supplier, live, order):
    alpha = supplier("alpha")

    async def main():
        async with live() as p:
            (ref,) = (await p.sourcing.place_order(order("alpha:1"))).refs
            alpha.made[0] = alpha.made[0].model_copy(update={"paid": True, "state": OrderState.SHIPPED})
            found = await p.sourcing.pay(ref, max_total=usd(1))
            assert (found.paid, found.state, alpha.count("pay")) == (True, OrderState.SHIPPED, 0)

    asyncio.run(main())


def test_a_payment_whose_answer_is_lost_is_looked_up(supplier, live, order):
    alpha = supplier("alpha")
    alpha.after["pay"].append(lost())
    alpha.script["pay"].extend([None, lost()])

    async def main():
        async with live() as p:
            (ref,) = (await p.sourcing.place_order(order("alpha:1"))).refs
            assert (await p.sourcing.pay(ref)).paid
            assert (alpha.count("pay"), alpha.balance) == (1, Decimal("988.00"))
            # One that the order does not show is unknown, and not repeated.
            (ref,) = (await p.sourcing.place_order(order("alpha:1", key="order-2"))).refs
            for _ in range(2):
                with pytest.raises((ProviderTimeoutError, ProviderUnavailableError)) as caught:
                    await p.sourcing.pay(ref)
                assert caught.value.may_have_applied
            assert alpha.count("pay") == 2
            (unknown,) = await unknowns(p)
            assert (unknown.operation, unknown.key) == ("sourcing.pay", "alpha:alpha-2")
            await p.unknowns.resolve(unknown.id, Resolution.REPEAT)
            assert (await p.sourcing.pay(ref)).paid
            assert alpha.balance == Decimal("976.00")

    asyncio.run(main())


def test_nothing_is_paid_beyond_the_cap_or_blindly(supplier, live, order):
    alpha = supplier("alpha")

    async def main():
        async with live() as p:
            (ref,) = (await p.sourcing.place_order(order("alpha:1"))).refs
            with pytest.raises(BudgetExceededError, match="nothing was paid"):
                await p.sourcing.pay(ref, max_total=usd("11.99"))
            alpha.made[0] = alpha.made[0].model_copy(update={"total": None})
            with pytest.raises(BudgetExceededError, match="nobody says what it costs"):
                await p.sourcing.pay(ref, max_total=usd(1000))
            assert not alpha.count("pay")
            # What it costs may have changed since it was ordered.
            alpha.made[0] = alpha.made[0].model_copy(update={"total": usd("15.00")})
            found = await p.sourcing.place_order(order("alpha:1", pay=True, max_total=usd("14.00")))
            assert isinstance(found.parts[0].error, BudgetExceededError)
            assert not alpha.count("pay")
            assert (await p.sourcing.pay(ref, max_total=usd("15.00"))).paid

    asyncio.run(main())


def test_a_part_is_paid_no_more_than_it_was_ordered_for_when_all_together_are_capped(supplier, live, order):
    alpha = supplier("alpha")
    supplier("beta")

    async def main():
        async with live("alpha,beta") as p:
            request = order("alpha:1", "beta:1", pay=True, max_total=usd("25.00"))

            async def dearer():
                alpha.made[0] = alpha.made[0].model_copy(update={"total": usd("14.00")})

            alpha.script["confirm"].append(dearer)
            found = await p.sourcing.place_order(request)
            assert [part.paid for part in found.parts] == [False, True]
            assert isinstance(found.parts[0].error, BudgetExceededError)
            assert not alpha.count("pay")

    asyncio.run(main())


def test_a_supplier_that_is_not_answering_is_tried_again_only_where_nothing_was_made(supplier, live, order):
    alpha = supplier("alpha")
    alpha.script["place"].extend([ProviderUnavailableError("down", status=503, outcome=Outcome.NOT_APPLIED)] * 2)

    async def main():
        async with live() as p:
            assert (await p.sourcing.place_order(order("alpha:1"))).refs
            assert (alpha.count("place"), len(alpha.made)) == (3, 1)
            # What cannot be ordered is not asked for three times, nor does anybody wait for it.
            alpha.goods = {"2": {"gone": True}}
            with pytest.raises(NotFoundError):
                await p.sourcing.place_order(order("alpha:2", key="order-2"))
            assert (alpha.count("place"), alpha.count("product")) == (3, 2)

    asyncio.run(main())


def test_an_order_has_so_long_and_what_came_too_late_is_unknown(supplier, live, order):
    clock = ManualClock(auto=False)
    alpha, beta = supplier("alpha"), supplier("beta")
    beta.script["place"].append(lambda: clock.sleep(100))

    async def main():
        async with live("alpha,beta", at=clock) as p:
            task = asyncio.create_task(p.sourcing.place_order(order("alpha:1", "beta:1"), timeout=8))
            await beta.called("place")
            clock.advance(8)
            found = await asyncio.wait_for(task, 5)
            assert states(found) == {"alpha": "unpaid", "beta": "unknown"}
            assert (len(alpha.made), len(beta.made)) == (1, 0)
            (unknown,) = await unknowns(p)
            assert unknown.key == "order-1/beta"

    asyncio.run(main())


def test_an_order_whose_prices_come_too_late_is_not_sent(supplier, live, order):
    clock = ManualClock(auto=False)
    alpha = supplier("alpha")
    alpha.script["product"].append(lambda: clock.sleep(100))

    async def main():
        async with live(at=clock) as p:
            task = asyncio.create_task(p.sourcing.place_order(order("alpha:1"), timeout=3))
            await alpha.called("product")
            clock.advance(3)
            with pytest.raises(ProviderTimeoutError) as caught:
                await asyncio.wait_for(task, 5)
            assert not caught.value.may_have_applied
            assert not alpha.count("place")
            assert not await unknowns(p)
            assert (await p.sourcing.place_order(order("alpha:1"))).refs

    asyncio.run(main())


def test_a_twin_that_is_still_busy_is_not_called_a_failure(supplier, live, order):
    clock = ManualClock(auto=False)
    alpha = supplier("alpha")
    supplier("beta")
    alpha.script["place"].append(lambda: clock.sleep(20))

    async def main():
        async with live("alpha,beta", at=clock) as p:
            slow = asyncio.create_task(p.sourcing.place_order(order("alpha:1", "beta:1")))
            await alpha.called("place")
            hasty = asyncio.create_task(p.sourcing.place_order(order("alpha:1", "beta:1"), timeout=2))
            for _ in range(25):
                for _ in range(30):
                    await asyncio.sleep(0)
                clock.advance(0.1)
            found = await asyncio.wait_for(hasty, 5)
            assert states(found) == {"alpha": "unknown", "beta": "unpaid"}
            assert (type(found.parts[0].error), found.parts[0].error.code) == (ConflictError, "in_flight")
            clock.advance(20)
            assert (await slow).state is OrderState.UNPAID
            assert len(alpha.made) == 1

    asyncio.run(main())


def test_an_order_cut_off_by_its_caller_is_not_sent_again(supplier, live, order):
    clock = ManualClock(auto=False)
    alpha = supplier("alpha")

    async def main():
        async with live(at=clock) as p:
            alpha.after["place"].append(lambda: clock.sleep(5))
            task = asyncio.create_task(p.sourcing.place_order(order("alpha:1")))
            await alpha.called("place")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert len(await unknowns(p)) == 1
            found = await p.sourcing.place_order(order("alpha:1"))
            assert found.refs == (Ref(vendor="alpha", id="alpha-1"),)
            assert (alpha.count("place"), alpha.count("find")) == (1, 1)

    asyncio.run(main())


def test_a_bug_in_an_adapter_is_not_swallowed_and_what_it_may_have_sent_is_not_repeated(supplier, live, order):
    alpha = supplier("alpha")
    alpha.after["place"].append(ZeroDivisionError("a bug"))

    async def main():
        async with live() as p:
            with pytest.raises(ZeroDivisionError):
                await p.sourcing.place_order(order("alpha:1"))
            assert len(await unknowns(p)) == 1
            assert (await p.sourcing.place_order(order("alpha:1"))).refs
            assert len(alpha.made) == 1

    asyncio.run(main())


def test_an_order_is_read_and_cancelled_where_it_was_made(supplier, live, order):
    supplier("alpha")
    supplier("beta", unsupported={"cancel_order": "by hand"})

    async def main():
        async with live("alpha,beta") as p:
            found = await p.sourcing.place_order(order("alpha:1", "beta:1"))
            one, two = found.refs
            assert (await p.sourcing.order(str(one))).state is OrderState.UNPAID
            assert (await p.sourcing.cancel_order(one)).state is OrderState.CANCELLED
            assert (await p.sourcing.cancel_order(one)).state is OrderState.CANCELLED
            assert (await p.sourcing.order(one)).state is OrderState.CANCELLED
            with pytest.raises(UnsupportedOperationError, match="by hand"):
                await p.sourcing.cancel_order(two)
            with pytest.raises(NotFoundError):
                await p.sourcing.order("alpha:none")
            with pytest.raises(InvalidRequestError):
                await p.sourcing.order("omega:1")

    asyncio.run(main())


def test_a_budget_of_orders_is_an_error_of_the_part_it_stops(supplier, live, order):
    supplier("alpha")
    beta = supplier("beta", prices={"order": Decimal("0.10")})

    async def main():
        async with live("alpha,beta", environ={"PROVIDER_BUDGET_BETA": "0.05 USD/month"}) as p:
            found = await p.sourcing.place_order(order("alpha:1", "beta:1"))
            assert states(found) == {"alpha": "unpaid", "beta": "failed"}
            assert (type(found.parts[1].error), found.parts[1].error.code) == (BudgetExceededError, "budget")
            assert not beta.count("place")

    asyncio.run(main())


@pytest.mark.parametrize("ref", ["spocket:1", "manual:1", "demo:aliexpress-1", "omega:1"])
def test_an_item_that_nobody_here_sells_is_refused_before_anything_is_sent(supplier, live, order, ref):
    alpha = supplier("alpha")

    async def main():
        async with live() as p:
            with pytest.raises((UnsupportedOperationError, InvalidRequestError)):
                await p.sourcing.place_order(order("alpha:1", ref))
            assert not alpha.calls

    asyncio.run(main())


def test_what_was_placed_is_read_back_exactly_as_it_was(supplier, live, order, clock):
    alpha = supplier("alpha")
    alpha.split = 2
    store = MemoryStore(clock)

    async def main():
        async with live(store=store) as p:
            first = await p.sourcing.place_order(order("alpha:1"))
        async with live(store=store) as p:
            again = await p.sourcing.place_order(order("alpha:1"))
            assert again == first
            dumped = first.model_dump(mode="json")
            assert dumped["parts"][0]["total"] == {"amount": "6", "currency": "USD"} | dumped["parts"][0]["total"]
            assert Placed.model_validate({"orders": dumped["parts"]}).orders == first.parts

    asyncio.run(main())


def test_a_product_that_is_ordered_by_another_id_keeps_its_name(supplier, live, order):
    alpha = supplier("alpha")
    alpha.goods = {"1": {"order_id": "3256-1"}}

    async def main():
        async with live() as p:
            assert (await p.sourcing.place_order(order("alpha:1"))).refs
            (line,) = alpha.asked("place")[0].lines
            assert (line.product.id, line.order_id) == ("1", "3256-1")
            assert all(line.order_id is None for lines in alpha.asked("shipping_quotes") for line in lines)

    asyncio.run(main())
