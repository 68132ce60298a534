"""`streamapp demo`: everything on this machine, on recorded traffic, for a minute."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from streamapp.broker import BrokerError, BrokerKind
from streamapp.cli.api import require_extra
from streamapp.cli.errors import UsageError
from streamapp.cli.signals import stop_on_signals
from streamapp.demo.processes import DemoError
from streamapp.kafka.metadata import TopicError
from streamapp.replay.errors import RecordedError
from streamapp.replay.sample import TRAINING_ROWS, sample

if TYPE_CHECKING:
    from streamapp.demo.run import DemoState

#: Transactions a second: to see what it can do, and to see what it does.
_RATE: Final = 5_000.0
_CONSOLE_RATE: Final = 150.0


def demo(
    report: Annotated[Path | None, typer.Option(help="Write the figures here as JSON.")] = None,
    broker: Annotated[
        BrokerKind, typer.Option(help="Which local broker to start.")
    ] = BrokerKind.NOIDA,
    limit: Annotated[int, typer.Option(min=1, help="Transactions to replay.")] = 120_000,
    rate: Annotated[
        float | None, typer.Option(min=0, help="Transactions a second; 0 is as fast as it goes.")
    ] = None,
    with_console: Annotated[
        bool, typer.Option("--console", help="Open the live console beside it, at a slower rate.")
    ] = False,
) -> None:
    """Start a broker, a worker and sinks, replay recorded traffic, show what came out, stop all."""
    from streamapp.demo.run import DemoPlan, run_demo  # noqa: PLC0415 - start-up time

    # Rows the shipped model was trained on are left out.
    if rate is None:
        rate = _CONSOLE_RATE if with_console else _RATE
    plan = DemoPlan(sample(), TRAINING_ROWS, limit, rate or None, broker, with_console)
    if with_console:
        require_extra()
    console = Console()
    try:
        with stop_on_signals() as stop, _live(console, limit) as show:
            figures = run_demo(plan, stop, show)
    except (BrokerError, TopicError, RecordedError) as error:
        raise UsageError(str(error)) from error
    except DemoError as error:
        console.print(f"[red]demo failed:[/red] {error}")
        raise typer.Exit(1) from error
    if figures is None:
        console.print("stopped")
        return
    console.print(_table(figures))
    if report is not None:
        report.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


@contextmanager
def _live(console: Console, total: int) -> Iterator[Callable[["DemoState"], None]]:
    """A table that is redrawn as things move; a line a step where nobody looks on."""
    lock = threading.Lock()
    steps: list[str] = []
    with Live(console=console, refresh_per_second=8, transient=True) as live:

        def show(state: "DemoState") -> None:
            with lock:
                if state.step not in steps:
                    steps.append(state.step)
                    console.print(f"[dim]{state.step}[/dim]", soft_wrap=True)
                live.update(_progress(state, total))

        yield show


def _progress(state: "DemoState", total: int) -> Table:
    table = Table.grid(padding=(0, 2))
    sent, outputs = state.sent, state.outputs
    if sent is not None:
        table.add_row("sent", f"{sent.acknowledged:,} of {total:,}", f"{sent.per_s:,.0f}/s")
    if outputs is not None:
        table.add_row("verdicts", f"{outputs.verdicts:,}", f"{outputs.dead_letters} dead letters")
        table.add_row("anomalies", f"{outputs.anomalies:,}", "")
    return table


def _table(figures: dict[str, Any]) -> Table:
    broker = figures["broker"]
    table = Table(title=f"simulated payments on {broker['kind']} {broker['version']}")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name in ("transactions", "verdicts", "dead_letters", "duplicates", "anomalies", "alerts"):
        table.add_row(name.replace("_", " "), f"{figures[name]:,}")
    table.add_row("rows stored", f"{figures['rows_stored']:,}")
    for severity in ("LOW", "MEDIUM", "HIGH", "CRITICAL"):
        count = figures["severity"].get(severity, 0)
        share = count / figures["verdicts"] if figures["verdicts"] else 0
        table.add_row(severity, f"{count:,} ({share:.2%})")
    table.add_row("wall time", f"{figures['wall_s']:.1f} s")
    table.add_row("events a second", f"{figures['events_per_s']:,.0f}")
    for name, value in figures["latency_ms"].items():
        table.add_row(f"latency {name}", f"{value:.1f} ms")
    return table
