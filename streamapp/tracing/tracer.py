"""Spans by OpenTelemetry's SDK. No attribute holds a user, an amount or an id of a payment."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace.span import TraceState

import streamapp
from streamapp.domain.trace_context import NO_TRACE, TraceContext

#: Links of a batch's span; OpenTelemetry drops those beyond 128 by default.
LINKS_MAX: Final = 128
_SERVER_ERROR: Final = 500
_STOP_MS: Final = 5_000


class Request:
    """A request under way; `trace` is what its transactions carry on."""

    def __init__(self, span: Span, given: TraceContext) -> None:
        self._span = span
        context = span.get_span_context()
        parent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
        self.trace = TraceContext.of(parent, given.state)

    def answered(self, status: int) -> None:
        """Note the answer's status."""
        self._span.set_attribute("http.response.status_code", status)
        if status >= _SERVER_ERROR:
            self._span.set_status(Status(StatusCode.ERROR))


class Tracer:
    """Makes the spans of one process."""

    def __init__(self, service: str, processor: SpanProcessor) -> None:
        resource = Resource.create(
            {"service.name": service, "service.version": streamapp.__version__}
        )
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("streamapp", streamapp.__version__)

    @contextmanager
    def request(self, method: str, route: str, given: TraceContext) -> Iterator[Request]:
        """A span of a request to a route, named by its template, in the caller's trace."""
        parent = _context(given)
        with self._tracer.start_as_current_span(
            f"{method} {route}",
            context=set_span_in_context(NonRecordingSpan(parent)) if parent else None,
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method, "http.route": route},
            record_exception=False,  # its text may hold anything
            set_status_on_exception=False,
        ) as span:
            yield Request(span, given)

    def batch(
        self,
        topic: str,
        partition: int,
        records: int,
        traces: Iterable[TraceContext],
        times_ns: tuple[int, int],
    ) -> None:
        """A span of a batch that was scored, linked to the sampled traces in it; none without.

        times_ns: its beginning and end, epoch nanoseconds.
        """
        links = list(islice(_links(traces), LINKS_MAX))
        if not links:
            return
        attributes: dict[str, str | int] = {
            "messaging.system": "kafka",
            "messaging.operation.type": "process",
            "messaging.destination.name": topic,
            "messaging.destination.partition.id": str(partition),
            "messaging.batch.message_count": records,
        }
        span = self._tracer.start_span(
            f"process {topic}",
            kind=SpanKind.CONSUMER,
            attributes=attributes,
            links=links,
            start_time=times_ns[0],
        )
        span.end(times_ns[1])

    def close(self) -> None:
        """Send what waits, for a few seconds at most."""
        self._provider.force_flush(_STOP_MS)
        self._provider.shutdown()


def _links(traces: Iterable[TraceContext]) -> Iterator[Link]:
    """To each sampled one, once."""
    seen: set[TraceContext] = set()
    for trace in traces:
        if trace not in seen and (context := _context(trace, sampled=True)):
            seen.add(trace)
            yield Link(context)


def _context(trace: TraceContext, *, sampled: bool = False) -> SpanContext | None:
    """Of a trace of another process; None where there is none, or it is not sampled but has to."""
    if trace == NO_TRACE or (ids := trace.ids) is None:
        return None
    trace_id, span_id, is_sampled = ids
    if sampled and not is_sampled:
        return None
    flags = TraceFlags(TraceFlags.SAMPLED if is_sampled else TraceFlags.DEFAULT)
    state = TraceState.from_header([trace.state]) if trace.state else None
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=flags, trace_state=state)
