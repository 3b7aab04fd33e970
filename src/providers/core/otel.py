"""Calls as OpenTelemetry spans (the extra `otel`). Without an SDK configured they are no-ops."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import context, trace

from providers.core.errors import ProviderError

if TYPE_CHECKING:
    from collections.abc import Callable

    from providers.core.telemetry import CallEnd, CallStart


class OpenTelemetryHook:
    """A client span per call, current while it runs, so that spans of HTTP libraries become its children."""

    def __init__(self) -> None:
        self._tracer = trace.get_tracer("providers")

    def __call__(self, start: CallStart, /) -> Callable[[CallEnd], None]:
        """See `Hook`."""
        span = self._tracer.start_span(start.operation, kind=trace.SpanKind.CLIENT)
        token = context.attach(trace.set_span_in_context(span))

        def end(call: CallEnd) -> None:
            context.detach(token)
            if span.is_recording():
                span.set_attribute("providers.vendor", call.vendor)
                span.set_attribute("providers.attempts", call.attempts)
                if call.cost is not None:
                    span.set_attribute("providers.cost", float(call.cost))
                if start.tenant:
                    span.set_attribute("providers.tenant", start.tenant)
                if call.error is not None:
                    span.set_attribute("error.type", type(call.error).__name__)
                    text: str | None = None
                    if isinstance(call.error, ProviderError):
                        # Of other exceptions nobody knows whether their text may be shown.
                        text = str(call.error)
                        span.set_attribute("providers.outcome", call.error.outcome.value)
                    span.set_status(trace.StatusCode.ERROR, text)
            span.end()

        return end
