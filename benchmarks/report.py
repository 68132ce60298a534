"""What a benchmark writes down: figures with machine, versions and settings beside them."""

import statistics
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine, versions
from benchmarks.stand import Stand
from streamapp.scoring.artifact import load
from streamapp.scoring.default_model import default_model_dir

RESULTS = Path(__file__).parent / "results"
#: Of a host on which everything took longer, within `RESULTS`.
SLOWER_HOST = "slower_host"
PLOTS = Path(__file__).parents[1] / "docs" / "plots"

#: Wide enough for the tables where the output is no terminal.
console = Console(width=None if sys.stdout.isatty() else 150)


def write(
    name: str, figures: dict[str, Any], settings: dict[str, Any], stand: Stand, output: Path | None
) -> dict[str, Any]:
    """Write the figures to `output`, or where the committed ones of this benchmark are.

    Returned is what stands there.
    """
    report = {
        **figures,
        "settings": {"partitions": stand.partitions, "model": load(default_model_dir()).version}
        | settings,
        "broker": stand.broker,
        "machine": machine(),
        "versions": versions(),
    }
    return write_json(report, output or RESULTS / f"{name}.json")


def write_json(report: dict[str, Any], path: Path) -> dict[str, Any]:
    """Write a report; returned is what stands there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = msgspec.json.encode(report)
    path.write_bytes(msgspec.json.format(content, indent=2) + b"\n")
    written: dict[str, Any] = msgspec.json.decode(content)
    return written


def median_of(runs: Sequence[Any], figure: Callable[[Any], float]) -> float:
    """The median of a figure over runs."""
    return round(statistics.median(map(figure, runs)), 3)


def conditions(stand: Stand, runs: int | str) -> str:
    """The line under a table: how often, on what."""
    on = machine()
    return (
        f"medians of {runs}; {stand.broker['kind']} {stand.broker['version']}, "
        f"{stand.partitions} partitions; {on['cpu']}, {on['cores']} cores, {on['memory_gib']} GiB"
    )


def table(
    title: str, caption: str, rows: Sequence[Sequence[str]], left: Collection[int] = (0,)
) -> None:
    """Print a table whose first row is its heading; columns but `left` are aligned to the right."""
    shown = Table(title=title, caption=caption)
    headings, *lines = rows
    for number, heading in enumerate(headings):
        shown.add_column(heading, justify="left" if number in left else "right", no_wrap=True)
    for line in lines:
        shown.add_row(*line)
    console.print(shown)
