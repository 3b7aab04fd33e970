"""Prices of many products at once: an outcome for each, as fast as each supplier allows and never faster."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from providers import Ref
from providers.core.operation import Per, Rate
from providers.core.store import MemoryStore
from providers.errors import (
    AuthenticationError,
    BadResponseError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from providers.testing.clock import ManualClock

URL = "https://www.aliexpress.com/item/1005006123456789.html?spm=x"


class Turning(ManualClock):
    """Time moves by itself to the next thing that is waited for, once nothing else is left to do.

    So calls that run side by side wait side by side, as they do on a real clock.
    """

    def __init__(self):
        super().__init__(auto=False)

    async def run(self, coroutine):
        task = asyncio.ensure_future(coroutine)
        while not task.done():
            for _ in range(30):
                await asyncio.sleep(0)
            due = min((wait.due for wait in self._waits), default=None)
            if not task.done() and due is not None:
                self.advance(max(due - self.monotonic(), 0.0))
        return await task


def amounts(outcomes):
    return [one.price and str(one.price.amount) for one in outcomes]


def test_each_gets_its_outcome_in_the_order_given(supplier, live):
    alpha, beta, ali = supplier("alpha"), supplier("beta"), supplier("aliexpress")
    alpha.goods = {"1": {"price": "1.50"}, "2": {"gone": True}, "3": {"price": None}}
    asked = [
        "beta:7",
        Ref(vendor="alpha", id="1"),
        "alpha:2",
        "https://evil.example/item/1005006123456789.html",
        "alpha:3",
        URL,
        "nonsense",
        "omega:1",
        "alpha:1",
    ]

    async def main():
        async with live("alpha,beta,aliexpress") as p:
            found = await p.sourcing.prices(asked, country="US")
            assert [one.index for one in found] == list(range(len(asked)))
            assert amounts(found) == ["10.00", "1.50", None, None, None, "10.00", None, None, "1.50"]
            kinds = [type(one.error) for one in found if one.error is not None]
            assert kinds == [
                NotFoundError,
                InvalidRequestError,
                BadResponseError,
                InvalidRequestError,
                InvalidRequestError,
            ]
            assert all(bool(one.reason) == (one.price is None) == (one.error is not None) for one in found)
            known = ["beta:7", "alpha:1", "alpha:2", None, "alpha:3", "aliexpress:1005006123456789", None, None]
            assert [one.ref and str(one.ref) for one in found] == [*known, "alpha:1"]
            assert found[0].stock == 100
            assert all(one.checked_at.tzinfo for one in found)
            assert (found[2].error.vendor, found[2].error.operation) == ("alpha", "sourcing.price")
            # Twice in the list is one question; what names no product is none.
            assert (alpha.count("product"), beta.count("product"), ali.count("product")) == (3, 1, 1)
            assert all('"error"' not in one.model_dump_json() for one in found)

    asyncio.run(main())


def test_none_at_all_is_an_empty_list(supplier, live):
    supplier("alpha")

    async def main():
        async with live() as p:
            assert await p.sourcing.prices([], country="US") == []
            assert await p.sourcing.prices(iter(()), country="US") == []

    asyncio.run(main())


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["alpha", "beta", "bad"]), st.integers(0, 6)), max_size=30))
def test_any_list_gives_as_many_outcomes_each_of_its_own_product(supplier, live, asked):
    kinds = {name: supplier(name, concurrency=2) for name in ("alpha", "beta")}
    for kind in kinds.values():
        kind.goods = {str(number): {"price": f"{number}.25"} for number in range(5)} | {"5": {"gone": True}}

    async def main():
        async with live("alpha,beta") as p:
            found = await p.sourcing.prices([f"{vendor}:{number}" for vendor, number in asked], country="US")
            for (vendor, number), one in zip(asked, found, strict=True):
                if vendor == "bad":
                    assert isinstance(one.error, InvalidRequestError)
                elif number == 5:
                    assert isinstance(one.error, NotFoundError)
                else:
                    assert str(one.price.amount) == (f"{number}.25" if number < 5 else "10.00")
                    assert str(one.ref) == f"{vendor}:{number}"

    asyncio.run(main())
    for name, kind in kinds.items():
        assert kind.count("product") == len({number for vendor, number in asked if vendor == name})


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError("bad key"),
        ProviderUnavailableError("down", repeatable=False),
        InvalidRequestError("not to this country"),
        ProviderTimeoutError("slow", repeatable=False),
    ],
)
def test_one_that_fails_fails_alone(supplier, live, error):
    alpha = supplier("alpha")
    alpha.script["product"].extend([None, error])

    async def main():
        async with live() as p:
            found = await p.sourcing.prices(["alpha:1", "alpha:2", "alpha:3"], country="US")
            assert [one.error is None for one in found] == [True, False, True]
            assert type(found[1].error) is type(error)
            assert str(found[1].error) == found[1].reason

    asyncio.run(main())


def test_a_bug_in_an_adapter_is_not_swallowed_and_ends_the_batch(supplier, live):
    alpha = supplier("alpha", concurrency=2)
    alpha.script["product"].extend([None, ZeroDivisionError("a bug"), *[lambda: asyncio.sleep(0)] * 100])

    async def main():
        async with live() as p:
            with pytest.raises(ZeroDivisionError):
                await p.sourcing.prices([f"alpha:{number}" for number in range(100)], country="US")
            asked = alpha.count("product")
            for _ in range(200):
                await asyncio.sleep(0)
            assert alpha.count("product") == asked < 10

    asyncio.run(main())


def test_who_gives_up_asks_no_more(supplier, live):
    clock = ManualClock(auto=False)
    alpha = supplier("alpha", concurrency=2)
    alpha.script["product"].extend([lambda: clock.sleep(5)] * 4)

    async def main():
        async with live(at=clock) as p:
            task = asyncio.create_task(p.sourcing.prices([f"alpha:{number}" for number in range(100)], country="US"))
            await alpha.called("product", 2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            for _ in range(200):
                await asyncio.sleep(0)
            assert (alpha.count("product"), alpha.in_flight) == (2, 0)

    asyncio.run(main())


@pytest.mark.parametrize(("allowed", "most"), [(3, 3), (1, 1), (None, 8)])
def test_no_more_are_in_flight_than_a_supplier_allows(supplier, live, allowed, most):
    clock = Turning()
    alpha, beta = supplier("alpha", concurrency=allowed), supplier("beta", concurrency=2)
    for kind in (alpha, beta):
        kind.script["product"].extend([lambda: clock.sleep(1)] * 24)

    async def main():
        async with live("alpha,beta", at=clock) as p:
            asked = [f"{vendor}:{number}" for vendor in ("alpha", "beta") for number in range(24)]
            found = await clock.run(p.sourcing.prices(asked, country="US"))
            assert all(one.error is None for one in found)
            assert (alpha.most_in_flight, beta.most_in_flight) == (most, 2)
            # All suppliers at once: the slowest alone says how long it takes.
            assert clock.monotonic() == max(24 / most, 24 / 2)

    asyncio.run(main())


@pytest.mark.parametrize("per", [Per.CALL, Per.REQUEST])
def test_the_rates_are_kept_to_and_nothing_is_slower_than_they_are(supplier, live, per):
    clock = Turning()
    alpha = supplier("alpha", rate=Rate(per_second=5.0, burst=5), rate_per=per, concurrency=5)
    beta = supplier("beta", rate=Rate(per_second=1 / 1.1), rate_per=per, concurrency=3)
    moments = {"alpha": [], "beta": []}

    async def note(name):
        moments[name].append(clock.monotonic())
        await clock.sleep(0.3)

    for kind, name in ((alpha, "alpha"), (beta, "beta")):
        kind.script["product"].extend([lambda name=name: note(name)] * 1000)

    async def main():
        async with live("alpha,beta", at=clock) as p:
            asked = [f"alpha:{number}" for number in range(1000)] + [f"beta:{number}" for number in range(180)]
            found = await clock.run(p.sourcing.prices(asked, country="US"))
            assert all(one.error is None for one in found)

    asyncio.run(main())
    # After the burst of 5: one each fifth of a second; the other one each 1.1 seconds.
    assert moments["alpha"][-1] == pytest.approx((1000 - 5) / 5, rel=0.02)
    assert moments["beta"][-1] == pytest.approx(179 * 1.1, rel=0.02)
    for name, window, most in (("alpha", 1.0, 10), ("beta", 1.0, 1)):
        times = moments[name]
        assert all(later - earlier >= window - 1e-6 for earlier, later in zip(times, times[most:], strict=False))


def test_what_the_time_does_not_suffice_for_says_so(supplier, live):
    clock = Turning()
    alpha = supplier("alpha", rate=Rate(per_second=1.0), concurrency=3)
    beta = supplier("beta", concurrency=2)
    alpha.script["product"].extend([lambda: clock.sleep(0.1)] * 50)
    beta.script["product"].extend([lambda: clock.sleep(2)] * 50)

    async def main():
        async with live("alpha,beta", at=clock) as p:
            asked = [f"{vendor}:{number}" for number in range(50) for vendor in ("alpha", "beta")]
            found = await clock.run(p.sourcing.prices(asked, country="US", timeout=5))
            assert clock.monotonic() == pytest.approx(5, abs=1e-6)
            assert {type(one.error) for one in found} == {type(None), ProviderTimeoutError}
            assert all(one.error.outcome is Outcome.NOT_APPLIED for one in found if one.error is not None)
            done = {"alpha": [], "beta": []}
            for one in found:
                done[one.ref.vendor] += [one] if one.price else []
            assert (len(done["alpha"]), len(done["beta"])) == (5, 4)
            # Those that were not known in time can be asked again; the others are cached.
            counted = alpha.count("product")
            again = await clock.run(p.sourcing.prices([one.ref for one in done["alpha"]], country="US"))
            assert all(one.price for one in again)
            assert alpha.count("product") == counted

    asyncio.run(main())


def test_a_watched_price_is_cached_for_minutes_shared_by_tenants_and_fresh_when_asked(supplier, live, clock):
    alpha = supplier("alpha")

    async def main():
        async with live() as p:
            other = p.scoped("m-1", credentials={"ALPHA_KEY": "key-of-another"})
            for view in (p, other):
                await view.sourcing.prices(["alpha:1"], country="US")
            assert alpha.count("product") == 1
            alpha.goods = {"1": {"price": "12.00"}}
            assert amounts(await other.sourcing.prices(["alpha:1"], country="US")) == ["10.00"]
            assert amounts(await p.sourcing.prices(["alpha:1"], country="US", fresh=True)) == ["12.00"]
            assert amounts(await other.sourcing.prices(["alpha:1"], country="US")) == ["12.00"]
            # Another country, or currency, is another price.
            await p.sourcing.prices(["alpha:1"], country="DE")
            (euros,) = await p.sourcing.prices(["alpha:1"], country="US", currency="EUR")
            assert euros.price.currency == "EUR"
            assert alpha.count("product") == 4
            clock.advance(301)
            # An old price is no price: none stands in for a supplier that is down.
            alpha.script["product"].extend([ProviderUnavailableError("down", repeatable=False)])
            (late,) = await p.sourcing.prices(["alpha:1"], country="US")
            assert isinstance(late.error, ProviderUnavailableError)

    asyncio.run(main())


def test_two_batches_at_once_share_their_questions(supplier, live):
    alpha = supplier("alpha", concurrency=4)
    alpha.script["product"].extend([lambda: asyncio.sleep(0)] * 20)

    async def main():
        async with live(store=MemoryStore(ManualClock())) as p:
            asked = [f"alpha:{number}" for number in range(20)]
            both = await asyncio.gather(*(p.sourcing.prices(asked, country="US") for _ in range(2)))
            assert all(one.price for batch in both for one in batch)
            assert alpha.count("product") == 20

    asyncio.run(main())


def test_a_market_that_is_none_is_refused_before_anything_is_asked(supplier, live):
    alpha = supplier("alpha")

    async def main():
        async with live() as p:
            for options in ({"country": "U"}, {"country": "US", "currency": "dollars"}):
                with pytest.raises(InvalidRequestError):
                    await p.sourcing.prices(["alpha:1"], **options)
            assert not alpha.calls

    asyncio.run(main())


def test_outcomes_are_plain_data_and_errors_are_of_the_tree(supplier, live):
    alpha = supplier("alpha")
    alpha.goods = {"2": {"gone": True}}

    async def main():
        async with live() as p:
            found = await p.scoped("m-1").sourcing.prices(["alpha:1", "alpha:2"], country="US")
            good, bad = (one.model_dump(mode="json") for one in found)
            assert good["price"] == {"amount": "10.00", "currency": "USD"}
            assert "no such product" in bad["reason"]
            assert isinstance(found[1].error, ProviderError)
            assert found[1].error.tenant == "m-1"

    asyncio.run(main())
