"""What others may watch of a call."""

import asyncio
import sys
import traceback
from decimal import Decimal

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from providers import Providers, Settings
from providers.core import route, telemetry
from providers.core.otel import OpenTelemetryHook
from providers.core.telemetry import CallStart
from providers.errors import Outcome, ProviderTimeoutError, ProviderUnavailableError, RejectedError


class Recorder:
    def __init__(self) -> None:
        self.calls = []

    def __call__(self, start):
        return lambda end: self.calls.append((start, end))


@pytest.fixture
def recorder():
    return Recorder()


def test_a_call_is_recorded_with_who_served_it_how_often_and_how_long(vendor, live, mail, clock, recorder):
    down = ProviderUnavailableError("down", outcome=Outcome.NOT_APPLIED, retry_after=4)
    vendor("alpha").script.append(down)

    async def scenario():
        async with live(hooks=[recorder]) as p:
            await p.email.send(mail())

    asyncio.run(scenario())
    ((start, end),) = recorder.calls
    assert start == CallStart("email.send", "", "")
    assert (end.vendor, end.attempts, end.seconds, end.error) == ("alpha", 2, 4, None)


def test_failover_counts_attempts_over_all_vendors(vendor, live, mail, recorder):
    vendor("alpha").script.append(ProviderUnavailableError("down", outcome=Outcome.NOT_APPLIED, retry_after=1e6))
    vendor("beta")

    async def scenario():
        async with live("alpha,beta", hooks=[recorder]) as p:
            await p.email.send(mail())

    asyncio.run(scenario())
    ((_, end),) = recorder.calls
    assert (end.vendor, end.attempts) == ("beta", 2)


def test_tenant_and_key_are_recorded_as_digests_and_nothing_of_the_mail_is(vendor, live, mail, recorder):
    vendor("alpha").script.append(RejectedError("spam"))

    async def scenario():
        async with live(hooks=[recorder]) as p:
            with pytest.raises(RejectedError):
                await p.scoped("merchant-42").email.send(mail(), idempotency_key="order-7")

    asyncio.run(scenario())
    ((start, end),) = recorder.calls
    assert start.tenant == telemetry.digest("merchant-42")
    assert start.key == telemetry.digest("order-7")
    assert type(end.error) is RejectedError
    for text in ("merchant-42", "order-7", "ann@example.com", "Hello", "alpha-key-value"):
        assert text not in repr(start)
        assert text not in repr(end).replace(repr(end.error), "")


def test_what_a_call_cost_is_recorded_where_calls_differ_in_that(vendor, live, mail, recorder):
    vendor("alpha", "llm").cost = Decimal("0.04")
    vendor("beta")

    async def scenario():
        async with live(capability="llm", hooks=[recorder]) as p:
            await p.llm.complete("Hello")
        async with live("beta", hooks=[recorder]) as p:
            await p.email.send(mail())

    asyncio.run(scenario())
    assert [end.cost for _, end in recorder.calls] == [Decimal("0.04"), None]


def test_a_call_that_failed_has_no_known_cost(vendor, live, recorder):
    vendor("alpha", "llm").script.extend([ProviderTimeoutError("no answer")] * 3)

    async def scenario():
        async with live(capability="llm", hooks=[recorder]) as p:
            with pytest.raises(ProviderTimeoutError):
                await p.llm.complete("Hello")

    asyncio.run(scenario())
    ((_, end),) = recorder.calls
    assert (end.attempts, end.cost) == (3, None)


def test_a_span_has_the_cost_and_nothing_of_the_words(vendor, live, spans):
    hook, finished = spans
    vendor("alpha", "llm")

    async def scenario():
        async with live(capability="llm", hooks=[hook]) as p:
            await p.llm.complete("hunter2", system="hunter3", user_id="hunter4")
            async for _ in p.llm.stream("hunter5"):
                pass

    asyncio.run(scenario())
    first, second = finished()
    assert dict(first.attributes) == {"providers.vendor": "alpha", "providers.attempts": 1, "providers.cost": 0.04}
    assert (second.name, second.attributes["providers.cost"]) == ("llm.stream", 0.03)
    assert "hunter" not in first.to_json() + second.to_json()


def test_a_cancelled_call_is_not_recorded_as_a_success(vendor, live, mail, recorder):
    alpha = vendor("alpha")
    alpha.script.append(asyncio.Event().wait)

    async def scenario():
        async with live(hooks=[recorder]) as p:
            task = asyncio.create_task(p.email.send(mail()))
            await alpha.called()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())
    ((_, end),) = recorder.calls
    assert isinstance(end.error, asyncio.CancelledError)


def test_hooks_end_in_the_opposite_order(vendor, live, mail):
    vendor("alpha")
    seen = []

    def hook(name):
        def begin(_):
            seen.append(f"{name} begins")
            return lambda _: seen.append(f"{name} ends")

        return begin

    async def scenario():
        async with live(hooks=[hook("a"), hook("b")]) as p:
            await p.email.send(mail())

    asyncio.run(scenario())
    assert seen == ["a begins", "b begins", "b ends", "a ends"]


def test_without_hooks_no_record_is_made(vendor, live, mail, monkeypatch):
    vendor("alpha")

    def refuse(*_):
        pytest.fail("a record was made for nobody")

    monkeypatch.setattr(route, "CallStart", refuse)
    monkeypatch.setattr(route, "CallEnd", refuse)

    async def scenario():
        async with live(hooks=[]) as p:
            await p.email.send(mail())

    asyncio.run(scenario())


def test_opentelemetry_is_watched_only_in_a_process_that_uses_it(monkeypatch):
    assert [type(hook) for hook in telemetry.default_hooks()] == [OpenTelemetryHook]
    monkeypatch.delitem(sys.modules, "opentelemetry.trace")
    assert telemetry.default_hooks() == ()


@pytest.fixture
def spans():
    """A hook into an exporter of its own, and what it exported."""
    exporter = InMemorySpanExporter()
    tracing = TracerProvider()
    tracing.add_span_processor(SimpleSpanProcessor(exporter))
    hook = OpenTelemetryHook()
    hook._tracer = tracing.get_tracer("providers")
    yield hook, exporter.get_finished_spans
    tracing.shutdown()


def test_a_call_is_a_client_span_and_is_current_while_it_runs(vendor, live, mail, spans):
    hook, finished = spans
    inside = []

    async def look():
        inside.append(trace.get_current_span())

    vendor("alpha").script.append(look)

    async def scenario():
        async with live(hooks=[hook]) as p:
            await p.email.send(mail())
        return trace.get_current_span()

    after = asyncio.run(scenario())
    (span,) = finished()
    assert span.name == "email.send"
    assert span.kind is trace.SpanKind.CLIENT
    assert dict(span.attributes) == {"providers.vendor": "alpha", "providers.attempts": 1}
    assert inside[0].get_span_context() == span.context
    assert after is trace.INVALID_SPAN


def test_a_failed_call_is_a_failed_span_with_its_outcome(vendor, live, mail, spans):
    hook, finished = spans
    vendor("alpha").script.append(ProviderTimeoutError("no answer to alpha-key-value"))

    async def scenario():
        async with live(hooks=[hook]) as p:
            with pytest.raises(ProviderTimeoutError):
                await p.scoped("m-1").email.send(mail())

    asyncio.run(scenario())
    (span,) = finished()
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.attributes["error.type"] == "ProviderTimeoutError"
    assert span.attributes["providers.outcome"] == "unknown"
    assert span.attributes["providers.tenant"] == telemetry.digest("m-1")
    assert "alpha-key-value" not in span.to_json()


def test_no_attempt_of_a_call_shows_the_key_in_its_traceback(vendor, live, mail):
    down = [
        ProviderUnavailableError(f"{number}: bad key alpha-key-value", outcome=Outcome.NOT_APPLIED) for number in "12"
    ]
    vendor("alpha").script.extend([*down, RejectedError("3: bad key alpha-key-value")])

    async def scenario():
        async with live() as p:
            with pytest.raises(RejectedError) as caught:
                await p.email.send(mail())
            return caught.value

    shown = "".join(traceback.format_exception(asyncio.run(scenario())))
    assert "1: bad key ***" in shown
    assert "3: bad key ***" in shown
    assert "alpha-key-value" not in shown


def test_the_log_never_speaks_of_the_mail(vendor, live, mail, caplog):
    caplog.set_level("DEBUG", logger="providers")
    vendor("alpha").script.append(ProviderUnavailableError("down", outcome=Outcome.NOT_APPLIED))

    async def scenario():
        async with live() as p:
            await p.email.send(mail())

    asyncio.run(scenario())
    assert "email.send at alpha failed" in caplog.text
    for text in ("ann@example.com", "Hello", "alpha-key-value"):
        assert text not in caplog.text


def test_hooks_are_given_by_the_caller_or_by_the_process():
    settings = Settings(mode="demo", environ={}, env_file=None)
    hook = Recorder()

    assert Providers(settings, hooks=[hook])._shared.pipeline.hooks == (hook,)
    assert Providers(settings, hooks=[])._shared.pipeline.hooks == ()
