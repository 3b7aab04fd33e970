"""The clock of tests: sleeps and deadlines by its own time, without waiting."""

import asyncio
import threading
import time

import pytest

from providers.testing.clock import START, ManualClock


def test_time_stands_still_until_it_is_advanced():
    clock = ManualClock()
    assert (clock.time(), clock.monotonic()) == (START, 0.0)
    clock.advance(2.5)
    assert (clock.time(), clock.monotonic()) == (START + 2.5, 2.5)
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1)


def test_a_sleep_moves_the_clock_and_is_recorded():
    clock = ManualClock()
    begun = time.perf_counter()
    asyncio.run(clock.sleep(3600))
    assert clock.slept == [3600]
    assert clock.monotonic() == 3600
    assert time.perf_counter() - begun < 5


def test_without_auto_a_sleep_ends_when_the_clock_is_moved_past_it():
    async def scenario():
        clock = ManualClock(auto=False)
        task = asyncio.create_task(clock.sleep(10))
        await asyncio.sleep(0)
        clock.advance(9.9)
        await asyncio.sleep(0.001)
        assert not task.done()
        assert clock.waiting == 1
        clock.advance(0.1)
        await task
        assert clock.waiting == 0

    asyncio.run(scenario())


def test_another_thread_may_advance_it():
    async def scenario():
        clock = ManualClock(auto=False)
        task = asyncio.create_task(clock.sleep(10))
        await asyncio.sleep(0)
        threading.Thread(target=clock.advance, args=(10,)).start()
        await asyncio.wait_for(task, 5)

    asyncio.run(scenario())


def test_a_deadline_cancels_its_body_when_the_clock_passes_it():
    async def scenario():
        clock = ManualClock()
        cleaned = []

        async def body():
            with clock.timeout(30):
                try:
                    await asyncio.Event().wait()
                finally:
                    cleaned.append(clock.monotonic())

        task = asyncio.create_task(body())
        await asyncio.sleep(0)
        clock.advance(29)
        await asyncio.sleep(0.001)
        assert not task.done()
        clock.advance(1)
        with pytest.raises(TimeoutError):
            await task
        assert cleaned == [30]
        assert clock.waiting == 0

    asyncio.run(scenario())


def test_a_body_that_ends_in_time_is_left_alone():
    async def scenario():
        clock = ManualClock()
        with clock.timeout(1):
            await asyncio.sleep(0)
        clock.advance(5)
        await asyncio.sleep(0.001)

    asyncio.run(scenario())


@pytest.mark.parametrize("seconds", [0, -1])
def test_a_deadline_that_is_over_already_cancels_at_the_first_wait(seconds):
    async def scenario():
        clock = ManualClock()
        with pytest.raises(TimeoutError), clock.timeout(seconds):
            await asyncio.Event().wait()

    asyncio.run(scenario())


def test_a_sleep_past_the_deadline_ends_at_the_deadline():
    async def scenario():
        clock = ManualClock()
        with pytest.raises(TimeoutError), clock.timeout(5):
            await clock.sleep(60)
        assert clock.monotonic() == 5

    asyncio.run(scenario())


def test_the_inner_of_two_deadlines_leaves_the_outer_one():
    async def scenario():
        clock = ManualClock()
        with clock.timeout(10):
            with pytest.raises(TimeoutError), clock.timeout(5):
                await clock.sleep(6)
            assert clock.monotonic() == 5
            with pytest.raises(TimeoutError), clock.timeout(1):
                await clock.sleep(2)
        assert clock.monotonic() == 6

    asyncio.run(scenario())


def test_a_cancellation_from_outside_stays_one():
    async def scenario():
        clock = ManualClock()

        async def body():
            with clock.timeout(5):
                await asyncio.Event().wait()

        task = asyncio.create_task(body())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
