"""A batch's span is linked to what its records' headers say."""

import time

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from streamapp.engine.batch_trace import trace_batch
from streamapp.engine.record_columns import RecordColumns
from streamapp.tracing.tracer import Tracer
from tests.engine.records import Headers, record

SENT_AT = ("sent_at", b"1")


def _parent(number: int, flags: str = "01") -> tuple[str, bytes]:
    return "traceparent", f"00-{number:032x}-{number:016x}-{flags}".encode()


def _traced(tracer: Tracer, headers: list[Headers]) -> None:
    found = [record(offset, headers=one) for offset, one in enumerate(headers)]
    trace_batch(tracer, RecordColumns.of(found), time.perf_counter() - 1.0)


def test_records_with_a_sampled_trace_are_linked(
    tracer: Tracer, spans: InMemorySpanExporter
) -> None:
    """Whatever stands between them; the span says where they are from and how many they were."""
    damaged = ("traceparent", b"00-\xff")
    _traced(tracer, [[_parent(1)], [], [SENT_AT, _parent(2)], [damaged], [_parent(3, "00")]])
    [span] = spans.get_finished_spans()
    assert [1, 2] == [link.context.trace_id for link in span.links]
    assert {
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.destination.name": "transactions",
        "messaging.destination.partition.id": "2",
        "messaging.batch.message_count": 5,
    } == dict(span.attributes or {})
    assert span.start_time is not None
    assert span.end_time is not None
    assert 1_000_000_000 <= span.end_time - span.start_time


def test_records_without_a_sampled_trace_have_no_span(
    tracer: Tracer, spans: InMemorySpanExporter
) -> None:
    """Other headers, a trace that is not sampled, none at all."""
    _traced(tracer, [[SENT_AT], [_parent(1, "00")], []])
    assert () == spans.get_finished_spans()
