"""The trace a request belongs to: its caller's, or a span of ours in it where tracing is on."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Final, cast

from fastapi import Request

from streamapp.api.metrics import Measured
from streamapp.domain.trace_context import TraceContext

if TYPE_CHECKING:
    from streamapp.tracing.tracer import Tracer

_UNTRACED: Final = nullcontext()


def traced(request: Request, route: str, measured: Measured) -> AbstractContextManager[None]:
    """A span of the request while the block runs; nothing where tracing is off."""
    tracer = cast("Tracer | None", request.app.state.tracer)
    return _UNTRACED if tracer is None else _span(tracer, request, route, measured)


@contextmanager
def _span(tracer: "Tracer", request: Request, route: str, measured: Measured) -> Iterator[None]:
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
