"""A process's tracer, as its settings say."""

from typing import TYPE_CHECKING

from streamapp.tracing.settings import TracingSettings

if TYPE_CHECKING:
    from streamapp.tracing.tracer import Tracer


class TracingError(Exception):
    """Spans can't be made; the message says what is missing."""


def started_tracer(settings: TracingSettings, service: str) -> "Tracer | None":
    """The tracer; None where tracing is off. Raises TracingError where packages are missing."""
    if settings.exporter == "none":
        return None
    try:
        from opentelemetry.sdk.trace import SpanProcessor  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.trace.export import (  # noqa: PLC0415
            BatchSpanProcessor,
            ConsoleSpanExporter,
            SimpleSpanProcessor,
        )

        from streamapp.tracing.tracer import Tracer  # noqa: PLC0415

        processor: SpanProcessor
        if settings.exporter == "console":
            processor = SimpleSpanProcessor(
                ConsoleSpanExporter(formatter=lambda span: span.to_json(indent=None) + "\n")
            )
        else:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
                OTLPSpanExporter,
            )

            processor = BatchSpanProcessor(OTLPSpanExporter())
    except ImportError as error:
        raise TracingError(
            f"STREAMAPP_TRACING__EXPORTER={settings.exporter} needs OpenTelemetry's SDK: "
            f"pip install 'streamapp[otel]' ({error.name} is missing)"
        ) from error
    return Tracer(service, processor)
