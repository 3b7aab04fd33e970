"""Answers that come item by item: guarded as any call until the first, never repeated after it, settled at the end."""

import asyncio
import gc
from contextlib import aclosing
from contextvars import ContextVar
from decimal import Decimal

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from providers.core import telemetry
from providers.core.operation import Effect, Operation, Rate
from providers.core.otel import OpenTelemetryHook
from providers.core.pipeline import Metering
from providers.core.store import MemoryStore
from providers.errors import (
    AuthenticationError,
    BadResponseError,
    BudgetExceededError,
    InvalidRequestError,
    Outcome,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
    UnsupportedOperationError,
)

FACTS = {"timeout": 100.0, "attempt_timeout": 10.0, "item_timeout": 5.0, "unit": "request", "streams": True}
SAY = Operation(name="llm.say", effect=Effect.IDEMPOTENT, **FACTS)
READ = Operation(name="llm.read", effect=Effect.READ, **FACTS)
WORDS = ["one", "two", "three", ""]


def spent(event):
    return Decimal(event.usage.output_tokens) / 100_000


def say(view, operation=SAY, step=lambda adapter: adapter.stream(None), **options):
    """What a capability does with its route."""
    metering = Metering(lambda adapter: adapter.at_most(None), spent, service="shop")
    return view.llm.route.stream(operation, step, metering=metering, **options)


async def heard(stream):
    return [event.text async for event in stream]


def refused(**more):
    return ProviderUnavailableError("down", outcome=Outcome.NOT_APPLIED, **more)


def lost():
    return ProviderTimeoutError("no answer")


@pytest.fixture
def store(clock):
    return MemoryStore(clock)


@pytest.fixture
def words(live, store):
    def opened(vendors="alpha", **more):
        return live(vendors, capability="llm", **{"store": store, **more})

    return opened


@pytest.fixture
def alpha(vendor):
    return vendor("alpha", "llm")


def run(words, vendors="alpha", operation=SAY, *, tenant="", budgets=None, **options):
    """One stream, to its end: what was heard, and the error that ended it."""

    async def scenario():
        async with words(vendors, budgets=budgets) as p:
            said = []
            try:
                async for event in say(p.scoped(tenant) if tenant else p, operation, **options):
                    said.append(event.text)  # noqa: PERF401 (kept on failure)
            except ProviderError as error:
                return said, error
            return said, None

    return asyncio.run(scenario())


# Until the first item.


def test_a_stream_is_the_vendor_s_items_in_order(alpha, words):
    assert run(words) == (WORDS, None)
    assert alpha.calls == ["one", "two", "three", "end"]
    assert alpha.open == 0


def test_a_stream_that_nobody_reads_is_not_begun(alpha, words):
    async def scenario():
        async with words() as p, aclosing(say(p)):
            pass

    asyncio.run(scenario())
    assert alpha.calls == []


@pytest.mark.parametrize("failure", [refused, lost, lambda: RateLimitedError("slow down", retry_after=1)])
def test_until_its_first_item_it_is_begun_again(alpha, words, failure):
    alpha.script.extend([failure(), failure()])

    assert run(words) == (WORDS, None)
    assert alpha.calls == ["one", "one", "one", "two", "three", "end"]
    assert alpha.open == 0


@pytest.mark.parametrize("failures", [[refused(), refused(), refused()], [AuthenticationError("no")], [lost()] * 3])
def test_until_its_first_item_the_next_vendor_is_asked(alpha, vendor, words, failures):
    beta = vendor("beta", "llm")
    alpha.script.extend(failures)

    assert run(words, "alpha,beta") == (WORDS, None)
    assert alpha.calls == ["one"] * len(failures)
    assert beta.calls == ["one", "two", "three", "end"]


def test_the_request_s_fault_stops_at_once(alpha, vendor, words):
    beta = vendor("beta", "llm")
    alpha.script.append(InvalidRequestError("no"))

    said, error = run(words, "alpha,beta")

    assert said == []
    assert isinstance(error, InvalidRequestError)
    assert (error.vendor, error.operation) == ("alpha", "llm.say")
    assert (len(alpha.calls), beta.calls) == (1, [])


def test_what_is_refused_before_it_is_begun_goes_to_the_next_vendor(alpha, vendor, words):
    vendor("beta", "llm")

    def step(adapter):
        if adapter.facts.vendor == "alpha":
            raise UnsupportedOperationError("it has no streams")
        return adapter.stream(None)

    assert run(words, "alpha,beta", step=step) == (WORDS, None)
    assert alpha.calls == []


def test_the_vendor_that_is_named_is_asked_and_no_other(alpha, vendor, words):
    beta = vendor("beta", "llm")
    beta.script.extend([refused()] * 3)

    said, error = run(words, "alpha,beta", vendor="beta")

    assert (said, error.vendor) == ([], "beta")
    assert (alpha.calls, len(beta.calls)) == ([], 3)


def test_a_stream_that_ends_before_its_first_item_is_no_answer(alpha, words):
    begun = []

    async def step(_):
        begun.append(1)
        for word in ():
            yield word

    said, error = run(words, step=step)

    assert said == []
    assert isinstance(error, BadResponseError)
    assert (error.code, error.vendor, error.operation) == ("truncated", "alpha", "llm.say")
    assert len(begun) == 3


def test_a_first_item_that_does_not_come_has_the_time_of_an_attempt(alpha, words, clock):
    clock.auto = False
    alpha.script.append(asyncio.Event().wait)

    async def scenario():
        async with words() as p:
            task = asyncio.create_task(heard(say(p)))
            await alpha.called()
            assert alpha.open == 1
            clock.auto = True
            clock.advance(10)
            return await task

    assert asyncio.run(scenario()) == WORDS
    assert alpha.calls == ["one", "one", "two", "three", "end"]
    assert alpha.open == 0


def test_a_first_item_that_does_not_come_before_the_deadline_never_does(alpha, words, clock):
    clock.auto = False
    alpha.script.append(asyncio.Event().wait)

    async def scenario():
        async with words() as p:
            task = asyncio.create_task(heard(say(p, timeout=3)))
            await alpha.called()
            clock.advance(3)
            with pytest.raises(ProviderTimeoutError, match="no answer within 3 seconds"):
                await task

    asyncio.run(scenario())
    assert len(alpha.calls) == 1


def test_a_rate_holds_for_streams_and_counts_each_once(vendor, words, clock):
    vendor("alpha", "llm", rate=Rate(per_second=0.5))

    async def scenario():
        async with words() as p:
            for _ in range(3):
                await heard(say(p))

    asyncio.run(scenario())
    assert clock.slept == [pytest.approx(2), pytest.approx(2)]


def test_a_vendor_that_keeps_failing_is_left_alone(alpha, vendor, words):
    vendor("beta", "llm")
    alpha.script.extend([lost()] * 6)

    async def scenario():
        async with words("alpha,beta") as p:
            for _ in range(3):
                assert await heard(say(p)) == WORDS

    asyncio.run(scenario())
    assert len(alpha.calls) == 6


# From the first item on.


@pytest.mark.parametrize("failure", [refused, lost, lambda: RateLimitedError("no", retry_after=1)])
@pytest.mark.parametrize("after", [1, 2, 3])
def test_after_its_first_item_nothing_is_repeated_and_nobody_else_is_asked(alpha, vendor, words, failure, after):
    beta = vendor("beta", "llm")
    alpha.script.extend([None] * after + [failure()])

    said, error = run(words, "alpha,beta", tenant="m-1")

    assert said == WORDS[:after]
    assert type(error) is type(failure())
    assert (error.vendor, error.operation, error.tenant) == ("alpha", "llm.say", "m-1")
    assert len(alpha.calls) == after + 1
    assert beta.calls == []
    assert alpha.open == 0


@pytest.mark.parametrize(
    ("operation", "outcome"), [(SAY, Outcome.UNKNOWN), (READ, Outcome.NOT_APPLIED)], ids=["write", "read"]
)
def test_a_stream_that_broke_off_may_be_asked_for_again_by_the_caller(alpha, words, operation, outcome):
    alpha.script.extend([None, lost()])

    said, error = run(words, operation=operation)

    assert said == ["one"]
    assert error.outcome is outcome
    assert error.retryable


def test_what_an_error_in_mid_stream_says_holds_no_secret(alpha, words):
    alpha.script.extend([None, ProviderUnavailableError("bad key alpha-key-value", code="alpha-key-value")])

    _, error = run(words)

    assert "alpha-key-value" not in repr(error) + repr(vars(error))


class VendorError(Exception):
    """As a vendor's library has them."""


def test_a_vendor_s_exception_in_mid_stream_is_named_by_its_adapter(alpha, words, monkeypatch):
    def translate(_, error):
        return ProviderUnavailableError("overloaded") if isinstance(error, VendorError) else None

    monkeypatch.setattr(alpha, "translate", translate)
    cause = VendorError()
    alpha.script.extend([None, cause])

    said, error = run(words)

    assert said == ["one"]
    assert str(error) == "overloaded (alpha, llm.say)"
    assert error.__cause__ is cause


def test_a_bug_in_mid_stream_passes_as_it_is(alpha, words):
    alpha.script.extend([None, KeyError("a bug")])

    with pytest.raises(KeyError, match="a bug"):
        run(words)
    assert alpha.open == 0


def test_an_item_that_does_not_come_ends_the_stream(alpha, words, clock):
    clock.auto = False
    alpha.script.extend([None, None, asyncio.Event().wait])

    async def scenario():
        async with words() as p:
            said = []

            async def listen():
                async for event in say(p):
                    said.append(event.text)  # noqa: PERF401 (kept on failure)

            task = asyncio.create_task(listen())
            await alpha.called(3)
            clock.advance(5)
            with pytest.raises(ProviderTimeoutError, match="no answer within 5 seconds") as caught:
                await task
            return said, caught.value

    said, error = asyncio.run(scenario())
    assert said == ["one", "two"]
    assert (error.vendor, error.code) == ("alpha", "timeout")
    assert alpha.open == 0


def test_the_whole_of_a_stream_has_its_deadline_however_steadily_it_comes(alpha, words, clock):
    async def slow():
        await clock.sleep(4)

    alpha.script.extend([slow] * 4)

    said, error = run(words, timeout=10)

    assert said == ["one", "two"]
    assert isinstance(error, ProviderTimeoutError)
    assert clock.monotonic() == 10


def test_a_reader_may_take_its_time_within_the_deadline(alpha, words, clock):
    async def scenario():
        async with words() as p:
            said = []
            async for event in say(p):
                said.append(event.text)
                clock.advance(20)
            return said

    assert asyncio.run(scenario()) == WORDS


def test_a_vendor_whose_streams_break_off_every_time_is_left_alone(alpha, vendor, words):
    vendor("beta", "llm")

    async def scenario():
        async with words("alpha,beta") as p:
            for _ in range(5):
                alpha.script.extend([None, lost()])
                with pytest.raises(ProviderTimeoutError):
                    await heard(say(p))
            assert await heard(say(p)) == WORDS

    asyncio.run(scenario())
    assert len(alpha.calls) == 10


def test_after_a_while_one_stream_tries_and_its_first_item_lets_the_others_in(alpha, words, clock):
    alpha.script.extend([lost()] * 6)

    async def scenario():
        async with words() as p:
            for _ in range(2):
                with pytest.raises(ProviderError):
                    await heard(say(p))
            with pytest.raises(ProviderUnavailableError, match="not asked"):
                await heard(say(p))
            clock.advance(30)
            async with aclosing(say(p)) as stream:
                assert (await anext(stream)).text == "one"
                assert await heard(say(p)) == WORDS

    asyncio.run(scenario())


# However it ends.


async def to_its_end(stream):
    await heard(stream)


async def with_an_error(stream):
    with pytest.raises(ProviderTimeoutError):
        await heard(stream)


async def closed(stream):
    await anext(stream)
    await stream.aclose()


async def left(stream):
    async for _ in stream:
        break
    del stream
    gc.collect()
    for _ in range(5):
        await asyncio.sleep(0)


async def cancelled_while_waiting(stream):
    task = asyncio.create_task(heard(stream))
    for _ in range(20):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def cancelled_while_reading(stream):
    async def read():
        async with aclosing(stream) as items:
            async for _ in items:
                await asyncio.Event().wait()

    task = asyncio.create_task(read())
    for _ in range(20):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def failed_by_its_reader(stream):
    async def read():
        async with aclosing(stream) as items:
            async for _ in items:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await read()


def never():
    return asyncio.Event().wait()


ENDS = {
    # How, what the vendor does after the first item, how many cents were spent, what hooks are told.
    "to its end": (to_its_end, None, 3, None),
    "with an error": (with_an_error, lost(), 1, ProviderTimeoutError),
    "closed": (closed, None, 1, None),
    "left": (left, None, 1, None),
    "cancelled while waiting": (cancelled_while_waiting, never, 1, asyncio.CancelledError),
    "cancelled while reading": (cancelled_while_reading, None, 1, None),
    "failed by its reader": (failed_by_its_reader, None, 1, None),
}


@pytest.fixture(params=ENDS)
def end(request):
    return ENDS[request.param]


def test_its_place_in_flight_is_held_until_it_ends_and_free_then(vendor, words, end):
    alpha = vendor("alpha", "llm", concurrency=1)
    finish, then, *_ = end
    alpha.script.extend([None, then])
    checked = []

    async def scenario():
        async with words() as p:

            async def nobody_else(event):
                with pytest.raises(RateLimitedError, match="in flight"):
                    await p.llm.complete("Hello", timeout=0)
                checked.append(event)

            async def watched():
                async with aclosing(say(p)) as events:
                    async for event in events:
                        await nobody_else(event)
                        yield event

            await finish(watched())
            assert alpha.open == 0
            alpha.script.clear()
            async with asyncio.timeout(10):
                assert (await p.llm.complete("Hello")).text == "Hello"

    asyncio.run(scenario())
    assert checked


@pytest.mark.parametrize("failures", [[refused()], [lost(), lost(), lost()]])
def test_attempts_that_failed_hold_no_place(vendor, words, failures):
    alpha = vendor("alpha", "llm", concurrency=1)
    alpha.script.extend(failures)

    async def scenario():
        async with words() as p:
            if len(failures) == 3:
                with pytest.raises(ProviderError):
                    await heard(say(p))
            async with asyncio.timeout(10):
                assert await heard(say(p)) == WORDS

    asyncio.run(scenario())


def counted(store):
    return {Decimal(total) / 1_000_000 for total, _ in store._counters.values()}


def test_it_is_settled_by_its_last_item_and_reserved_until_then(alpha, words, store, end):
    finish, then, cents, _ = end
    alpha.script.extend([None, then])

    async def scenario():
        async with words(budgets={"llm": "1 USD/day"}) as p:

            async def watched():
                async with aclosing(say(p)) as events:
                    async for event in events:
                        assert counted(store) == {Decimal("0.10")}
                        yield event

            await finish(watched())
            assert counted(store) == {Decimal(cents) / 100}

    asyncio.run(scenario())


def test_attempts_that_may_have_been_billed_stay_counted_beside_the_stream(alpha, words, store):
    alpha.script.extend([lost(), refused()])

    assert run(words, budgets={"llm": "1 USD/day"}) == (WORDS, None)
    assert counted(store) == {Decimal("0.13")}


def test_streams_at_once_never_pass_a_limit(alpha, words, store):
    async def scenario():
        async with words(budgets={"llm": "0.25 USD/day"}) as p:
            streams = [say(p) for _ in range(8)]
            first = await asyncio.gather(*(anext(stream) for stream in streams), return_exceptions=True)
            refusals = [event for event in first if isinstance(event, BudgetExceededError)]
            assert len(refusals) == 6
            assert counted(store) == {Decimal("0.20")}
            for stream in streams:
                await stream.aclose()

    asyncio.run(scenario())
    assert counted(store) == {Decimal("0.02")}
    assert alpha.calls == ["one", "one"]


class Recorder:
    def __init__(self):
        self.calls = []

    def __call__(self, start):
        return lambda end: self.calls.append((start, end))


def test_hooks_are_told_once_when_it_ends_and_what_it_cost(alpha, words, clock, end):
    recorder = Recorder()
    finish, then, cents, failure = end
    alpha.script.extend([None, then])

    async def scenario():
        async with words(hooks=[recorder]) as p:

            async def watched():
                async with aclosing(say(p.scoped("m-1"))) as events:
                    async for event in events:
                        assert recorder.calls == []
                        clock.advance(1)
                        yield event

            await finish(watched())

    asyncio.run(scenario())
    ((start, end_),) = recorder.calls
    assert (start.operation, start.tenant) == ("llm.say", telemetry.digest("m-1"))
    assert (end_.vendor, end_.attempts, end_.cost) == ("alpha", 1, Decimal(cents) / 100)
    assert end_.seconds >= 1
    assert type(end_.error) is (failure or type(None))


def test_a_stream_that_never_began_is_told_as_a_failed_call(alpha, words):
    recorder = Recorder()
    alpha.script.extend([lost()] * 3)

    async def scenario():
        async with words(hooks=[recorder]) as p:
            with pytest.raises(ProviderTimeoutError):
                await heard(say(p))

    asyncio.run(scenario())
    ((_, end),) = recorder.calls
    assert (end.vendor, end.attempts, end.cost) == ("alpha", 3, None)
    assert isinstance(end.error, ProviderTimeoutError)


@pytest.fixture
def spans():
    exporter = InMemorySpanExporter()
    tracing = TracerProvider()
    tracing.add_span_processor(SimpleSpanProcessor(exporter))
    hook = OpenTelemetryHook()
    hook._tracer = tracing.get_tracer("providers")
    yield hook, exporter.get_finished_spans, tracing.get_tracer("service")
    tracing.shutdown()


def test_a_span_is_not_the_reader_s_between_items_and_ends_with_the_stream(alpha, words, spans, end, caplog):
    hook, finished, tracer = spans
    finish, then, cents, _ = end
    alpha.script.extend([None, then])

    async def scenario():
        async with words(hooks=[hook]) as p:
            with tracer.start_as_current_span("a request") as own:

                async def watched():
                    async with aclosing(say(p)) as events:
                        async for event in events:
                            assert trace.get_current_span() is own
                            assert finished() == ()
                            yield event

                await finish(watched())
                assert trace.get_current_span() is own

    asyncio.run(scenario())
    (span, outer) = finished()
    assert (span.name, outer.name) == ("llm.say", "a request")
    assert span.parent.span_id == outer.context.span_id
    assert span.attributes["providers.cost"] == pytest.approx(cents / 100)
    # OpenTelemetry only logs what it could not undo.
    assert caplog.text == "" or "detach" not in caplog.text


def test_what_a_hook_sets_does_not_reach_the_reader_and_what_the_reader_sets_stays(alpha, words):
    of_the_hook, of_the_reader = ContextVar("of_the_hook", default=""), ContextVar("of_the_reader", default="")
    seen = []

    def hook(_):
        of_the_hook.set("set")
        return lambda _: seen.append(of_the_hook.get())

    async def scenario():
        async with words(hooks=[hook]) as p:
            async for event in say(p):
                assert of_the_hook.get() == ""
                assert of_the_reader.get() == ("" if event.text == "one" else "mine")
                of_the_reader.set("mine")
            return of_the_reader.get()

    assert asyncio.run(scenario()) == "mine"
    assert seen == ["set"]


class SlowShared(MemoryStore):
    """State that others share, and that takes for ever to be told something."""

    shared = True
    slow = False

    async def put(self, items, *, ttl=None):
        if self.slow:
            await asyncio.Event().wait()
        await super().put(items, ttl=ttl)


def test_one_that_is_cancelled_while_the_others_are_told_that_the_vendor_works_holds_no_place(vendor, words, clock):
    alpha = vendor("alpha", "llm", concurrency=1)
    alpha.script.extend([lost()] * 6)
    store = SlowShared(clock)

    async def scenario():
        async with words(store=store) as p:
            for _ in range(2):
                with pytest.raises(ProviderError):
                    await heard(say(p))
            clock.advance(30)
            store.slow = True
            task = asyncio.create_task(heard(say(p)))
            await alpha.called(7)
            for _ in range(10):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert alpha.open == 0
            store.slow = False
            assert await heard(say(p)) == WORDS

    asyncio.run(scenario())
