"""Spans: of requests in their caller's trace, of batches with links, none naming anybody."""

import json
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from streamapp.api.access import Scope
from streamapp.domain.trace_context import TraceContext
from streamapp.tracing.settings import TracingSettings
from streamapp.tracing.start import started_tracer
from streamapp.tracing.tracer import LINKS_MAX, Tracer
from tests.api.conftest import api
from tests.api.parts import Api
from tests.api.verdicts import arrived
from tests.sinks.verdicts import verdict

__all__ = ["api"]  # a fixture

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GIVEN = TraceContext.of(f"00-{TRACE}-{SPAN}-01", "vendor=1")


def _traced(parent: str, number: int = 0) -> TraceContext:
    return TraceContext.of(f"00-{number + 1:032x}-{number + 1:016x}-{parent}", None)


def test_a_request_continues_its_callers_trace(
    api: Api, tracer: Tracer, spans: InMemorySpanExporter
) -> None:
    """The span is the caller's child, the transaction's trace context the span's."""
    api.app.state.tracer = tracer
    payment = {
        "tx_id": "t1",
        "user_id": "payer-1",
        "amount": 1.2307,
        "timestamp": 1_546_300_800_000,
    }
    api.publisher.on_publish = lambda: api.live.take(
        arrived(verdict(1, tx_id="t1", user_id="payer-1"))
    )
    answer = api.ask(
        "POST", "/v1/score", api.key(Scope.SCORE), json=payment, headers=GIVEN.headers()
    )
    assert 200 == answer.status_code
    [span] = spans.get_finished_spans()
    assert ("POST /v1/score", SpanKind.SERVER) == (span.name, span.kind)
    assert span.parent is not None
    assert (TRACE, SPAN) == (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}")
    carried = TraceContext.of_headers(api.publisher.records[0][3])
    ours = f"00-{TRACE}-{span.context.span_id:016x}-01"
    assert {"traceparent": ours, "tracestate": "vendor=1"} == carried.headers()
    assert {
        "http.request.method": "POST",
        "http.route": "/v1/score",
        "http.response.status_code": 200,
    } == dict(span.attributes or {})


def test_spans_name_nobody(api: Api, tracer: Tracer, spans: InMemorySpanExporter) -> None:
    """Neither what stands in a path, nor a query, nor a token, nor an error's text."""
    api.app.state.tracer = tracer
    key = api.key(Scope.READ)
    api.live.take(arrived(verdict(1, tx_id="tx-1", user_id="payer-1")))
    for path in ("/v1/verdicts/tx-1?user_id=payer-1", "/v1/users/payer-1/verdicts", "/v1/keys"):
        api.ask("GET", path, key)
    found = [json.loads(span.to_json()) for span in spans.get_finished_spans()]
    assert [200, 200, 403] == [one["attributes"]["http.response.status_code"] for one in found]
    assert "tx-1" not in json.dumps(found)
    assert key not in json.dumps(found)


def test_an_error_of_ours_is_an_error_of_the_span(
    tracer: Tracer, spans: InMemorySpanExporter
) -> None:
    """A refusal is not; and no exception's text is kept."""
    for status in (404, 500):
        with tracer.request("GET", "/v1/x", TraceContext()) as request:
            request.answered(status)
    with pytest.raises(ValueError, match="payer-1"), tracer.request("GET", "/v1/x", GIVEN):
        raise ValueError("payer-1")
    refused, failed, raised = spans.get_finished_spans()
    assert (StatusCode.UNSET, StatusCode.ERROR) == (
        refused.status.status_code,
        failed.status.status_code,
    )
    assert () == raised.events


def test_a_batch_is_linked_to_its_sampled_traces(
    tracer: Tracer, spans: InMemorySpanExporter
) -> None:
    """Each once; those that are not sampled, or none at all, cost no span."""
    times = 1_700_000_000_000_000_000, 1_700_000_000_005_000_000
    tracer.batch("transactions", 3, 500, [], times)
    tracer.batch("transactions", 3, 500, [_traced("00"), TraceContext()], times)
    assert () == spans.get_finished_spans()
    tracer.batch("transactions", 3, 500, [GIVEN, GIVEN, _traced("00"), _traced("01")], times)
    [span] = spans.get_finished_spans()
    assert [TRACE, f"{1:032x}"] == [f"{link.context.trace_id:032x}" for link in span.links]
    assert times == (span.start_time, span.end_time)
    assert "3" == (span.attributes or {})["messaging.destination.partition.id"]


def test_links_are_bounded(tracer: Tracer, spans: InMemorySpanExporter) -> None:
    """A batch of a thousand sampled transactions has as many as OpenTelemetry keeps."""
    tracer.batch("transactions", 0, 1_000, [_traced("01", n) for n in range(1_000)], (1, 2))
    [span] = spans.get_finished_spans()
    assert LINKS_MAX == len(span.links)


@pytest.mark.parametrize(("exporter", "is_on"), [("none", False), ("console", True)])
def test_off_unless_told(exporter: Any, is_on: bool) -> None:
    """Without the setting nothing is made, and nothing of OpenTelemetry's SDK is loaded."""
    made = started_tracer(TracingSettings(exporter=exporter), "streamapp-test")
    assert is_on == (made is not None)
    if made is not None:
        made.close()
