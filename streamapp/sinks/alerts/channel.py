"""What carries an alert."""

from typing import Protocol

from streamapp.domain.trace_context import NO_TRACE, TraceContext
from streamapp.sinks.alerts.alert import Alert
from streamapp.sinks.protocol import SinkError


class Refused(SinkError):
    """The receiver will never take this alert; the next one may pass."""


class Channel(Protocol):
    """Carries one alert at a time."""

    def send(self, alert: Alert, trace: TraceContext = NO_TRACE) -> None:
        """Deliver, in that trace. Raises Retryable, Fatal, or Refused for this alert only."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
