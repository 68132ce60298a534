"""A tracer whose spans are kept, and looked at for what must not be in them."""

import json
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from streamapp.tracing.tracer import Tracer
from tests.leaks.marks import leaks_of_span


@pytest.fixture
def spans() -> InMemorySpanExporter:
    """What was exported."""
    return InMemorySpanExporter()


@pytest.fixture
def tracer(spans: InMemorySpanExporter) -> Iterator[Tracer]:
    """Exports at once; no span of the test may name a user, an amount or a secret."""
    made = Tracer("streamapp-test", SimpleSpanProcessor(spans))
    yield made
    made.close()
    found = [json.loads(span.to_json()) for span in spans.get_finished_spans()]
    assert [] == [leak for one in found for leak in leaks_of_span(one)]
