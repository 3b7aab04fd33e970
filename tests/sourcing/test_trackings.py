"""Parcels of many orders at once: as many a call as a supplier takes, an outcome for each."""

import asyncio
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from providers import Ref
from providers.errors import (
    InvalidRequestError,
    NotFoundError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    UnsupportedOperationError,
)
from providers.sourcing import Tracking, TrackingEvent, TrackingState
from providers.testing.clock import ManualClock


def test_a_parcel_is_where_its_supplier_says(supplier, live):
    alpha = supplier("alpha")

    async def main():
        async with live() as p:
            found = await p.sourcing.tracking("alpha:7")
            assert found == await p.sourcing.tracking(Ref(vendor="alpha", id="7"))
            assert (found.number, found.state) == ("T7", TrackingState.IN_TRANSIT)
            with pytest.raises(NotFoundError):
                await p.sourcing.tracking("alpha:none")
            # Never from a cache: it is asked when somebody wants to know.
            assert alpha.count("trackings") == 3

    asyncio.run(main())


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    asked=st.lists(st.sampled_from(["alpha:1", "alpha:none2", "beta:3", "beta:none4", "omega:5", "word"]), max_size=20),
    sizes=st.tuples(st.integers(1, 7), st.integers(1, 7)),
)
def test_outcomes_stand_in_order_and_calls_are_as_few_as_can_be(supplier, live, asked, sizes):
    kinds = {
        name: supplier(name, limits={"trackings": size}) for name, size in zip(("alpha", "beta"), sizes, strict=True)
    }

    async def main():
        async with live("alpha,beta") as p:
            found = await p.sourcing.trackings(asked)
            assert [one.index for one in found] == list(range(len(asked)))
            for text, one in zip(asked, found, strict=True):
                if text in {"omega:5", "word"}:
                    assert isinstance(one.error, InvalidRequestError)
                    continue
                assert str(one.ref) == text
                if "none" in text:
                    assert isinstance(one.error, NotFoundError)
                    assert one.reason
                else:
                    assert (one.tracking.number, one.error) == ("T" + text.partition(":")[2], None)

    asyncio.run(main())
    for (name, kind), size in zip(kinds.items(), sizes, strict=True):
        count = sum(text.startswith(name) for text in asked)
        assert [len(refs) for refs in kind.asked("trackings")].count(size) >= count // size
        assert kind.count("trackings") == -(-count // size)


def test_a_call_that_fails_fails_for_its_parcels_alone(supplier, live):
    alpha, beta = supplier("alpha", limits={"trackings": 2}, concurrency=1), supplier("beta")
    alpha.script["trackings"].extend([None, ProviderUnavailableError("down", repeatable=False)])

    async def main():
        async with live("alpha,beta") as p:
            asked = [f"alpha:{number}" for number in range(6)] + ["beta:1"]
            found = await p.sourcing.trackings(asked)
            assert [one.error is None for one in found] == [True, True, False, False, True, True, True]
            assert [one.ref and str(one.ref) for one in found] == asked
            assert {type(one.error) for one in found[2:4]} == {ProviderUnavailableError}
            assert "down" in found[2].model_dump()["reason"]
            assert beta.count("trackings") == 1

    asyncio.run(main())


def test_what_the_time_does_not_suffice_for_says_so_and_of_which_order(supplier, live):
    clock = ManualClock(auto=False)
    alpha = supplier("alpha", limits={"trackings": 1}, concurrency=1)
    alpha.script["trackings"].extend([None, lambda: clock.sleep(100)])

    async def main():
        async with live(at=clock) as p:
            task = asyncio.create_task(p.sourcing.trackings(["alpha:1", "alpha:2", "alpha:3"], timeout=5))
            await alpha.called("trackings", 2)
            clock.advance(5)
            found = await task
            assert found[0].tracking is not None
            assert {type(one.error) for one in found[1:]} == {ProviderTimeoutError}
            assert [str(one.ref) for one in found] == ["alpha:1", "alpha:2", "alpha:3"]
            assert alpha.count("trackings") == 2

    asyncio.run(main())


def test_a_supplier_that_does_not_track_says_so_for_each(supplier, live):
    alpha = supplier("alpha", unsupported={"trackings": "it does not say"})

    async def main():
        async with live() as p:
            found = await p.sourcing.trackings(["alpha:1"] * 5)
            assert {type(one.error) for one in found} == {UnsupportedOperationError}
            assert not alpha.calls

    asyncio.run(main())


def test_an_outcome_dumps_to_json_with_the_parcels_way(supplier, live):
    at = datetime(2026, 11, 20, 8, tzinfo=UTC)
    event = TrackingEvent(at=at, description="Left the country", state=TrackingState.IN_TRANSIT)
    alpha = supplier("alpha")

    async def trackings(self, refs):
        return [Tracking(ref=ref, state=TrackingState.IN_TRANSIT, events=(event,), raw={"x": 1}) for ref in refs]

    alpha.trackings = trackings

    async def main():
        async with live() as p:
            (found,) = await p.sourcing.trackings(["alpha:1"])
            told = found.model_dump(mode="json")
            assert told["tracking"]["events"][0]["at"] == "2026-11-20T08:00:00Z"
            assert "raw" not in told["tracking"]

    asyncio.run(main())
