"""The trace a request belongs to: its caller's, or a span of ours in it where tracing is on."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from fastapi import Request

from streamapp.api.metrics import Measured
from streamapp.domain.trace_context import TraceContext

if TYPE_CHECKING:
    from streamapp.tracing.tracer import Tracer


@contextmanager
def traced(request: Request, route: str, measured: Measured) -> Iterator[None]:
    """A span of the request while the block runs; nothing where tracing is off."""
    tracer = cast("Tracer | None", request.app.state.tracer)
    if tracer is None:
        yield
        return
    with tracer.request(request.method, route, _given(request)) as span:
        request.state.trace = span.trace
        try:
            yield
        finally:
            span.answered(measured.status)


def trace_of(request: Request) -> TraceContext:
    """What the request's transactions carry on."""
    ours: TraceContext | None = getattr(request.state, "trace", None)
    return ours or _given(request)


def _given(request: Request) -> TraceContext:
    headers = request.headers
    return TraceContext.of(headers.get("traceparent"), headers.get("tracestate"))
