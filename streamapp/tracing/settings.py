"""Settings of tracing."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class TracingSettings(BaseModel):
    """OpenTelemetry. Where spans go to, and which are sampled, is said by its own variables."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: none; otlp sends spans by OTLP over HTTP (needs `pip install 'streamapp[otel]'`); console
    #: writes them to standard output.
    exporter: Literal["none", "otlp", "console"] = "none"
