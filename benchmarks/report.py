"""What a benchmark writes down: figures with machine, versions and settings beside them."""

import statistics
from collections.abc import Callable, Sequence
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

console = Console(width=120)


def write(
    name: str, figures: dict[str, Any], settings: dict[str, Any], stand: Stand, output: Path | None
) -> None:
    """Write the figures to `output`, or where the committed ones of this benchmark are."""
    path = output or RESULTS / f"{name}.json"
    report = {
        **figures,
        "settings": {"partitions": stand.partitions, "model": load(default_model_dir()).version}
        | settings,
        "broker": stand.broker,
        "machine": machine(),
        "versions": versions(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")


def median_of(runs: Sequence[Any], figure: Callable[[Any], float]) -> float:
    """The median of a figure over runs."""
    return round(statistics.median(map(figure, runs)), 3)


def conditions(stand: Stand, runs: int) -> str:
    """The line under a table: how often, on what."""
    on = machine()
    return (
        f"medians of {runs}; {stand.broker['kind']} {stand.broker['version']}, "
        f"{stand.partitions} partitions; {on['cpu']}, {on['cores']} cores, {on['memory_gib']} GiB"
    )


def table(title: str, caption: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, first column to the left, figures to the right."""
    shown = Table(title=title, caption=caption)
    for number, heading in enumerate(headings):
        shown.add_column(heading, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        shown.add_row(*row)
    console.print(shown)
