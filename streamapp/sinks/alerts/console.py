"""Alerts as one line each on the terminal."""

from rich.console import Console
from rich.text import Text

from streamapp.domain.trace_context import NO_TRACE, TraceContext
from streamapp.sinks.alerts.alert import Alert

_STYLES = {"LOW": "dim", "MEDIUM": "yellow", "HIGH": "red", "CRITICAL": "bold white on red"}


class ConsoleChannel:
    """Prints alerts. Text from outside is never read as markup or terminal control."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def send(self, alert: Alert, trace: TraceContext = NO_TRACE) -> None:  # noqa: ARG002
        """Print one line; people follow no trace."""
        self._console.print(line_of(alert), soft_wrap=True)

    def close(self) -> None:
        """Nothing to let go of."""


def line_of(alert: Alert) -> Text:
    """The alert as a styled line without control characters."""
    money = f"{alert.amount:,.2f} {alert.currency or ''}".rstrip()
    why = "; ".join(reason.text for reason in alert.reasons)
    more = f" (+{alert.suppressed} similar suppressed)" if alert.suppressed else ""
    rest = f" {alert.risk_score:5.1f} {alert.timestamp} user {alert.user_id} {money}: {why}{more}"
    line = Text(f"{alert.severity:<8}", style=_STYLES.get(alert.severity, ""))
    return line.append(_printable(rest), style="default")


def _printable(text: str) -> str:
    """Control, format and line-break characters replaced, so that no text can move the cursor."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)
