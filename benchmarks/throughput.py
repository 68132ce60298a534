"""Sustained throughput of a streamapp worker against the tutorial way, in one run on one broker.

    python -m benchmarks.throughput [--broker kafka|noida] [--runs 3] [--rows N]

Each run loads fresh topics with recorded traffic, starts one worker process on them and reads its
verdicts as they come. The clock and the CPU account run from the first verdict in the topic to the
last one read, so start-up (imports, training, joining the group) is in neither contender's figures.
docs/performance.md says more.
"""

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.contender import (
    STREAMAPP,
    TUTORIAL,
    BenchmarkError,
    Contender,
    Run,
    Setup,
    check,
    measure,
)
from benchmarks.machine import machine, versions
from benchmarks.traffic import sample_rows
from streamapp.broker.local import LocalBroker
from streamapp.scoring.artifact import load
from streamapp.scoring.default_model import default_model_dir

PARTITIONS = 4
CHECK_ROWS = 500
RESULTS = Path(__file__).parent / "results" / "throughput.json"

_FIGURES = ("events_per_s", "cpu_us_per_event", "cores", "cores_others", "peak_memory_mib")
_console = Console()


def main(
    broker: Annotated[str, typer.Option(help="kafka or noida.")] = "kafka",
    runs: Annotated[int, typer.Option(min=1, max=20, help="Runs of each, alternating.")] = 3,
    rows: Annotated[
        int | None, typer.Option(min=10_000, help="Transactions for streamapp; all of the sample.")
    ] = None,
    tutorial_rows: Annotated[
        int, typer.Option(min=500, help="Transactions for the tutorial way, the first of the same.")
    ] = 3_000,
    populations: Annotated[
        int, typer.Option(min=1, max=1_000, help="Copies of the sample's 160 users.")
    ] = 1,
    model_dir: Annotated[Path | None, typer.Option(help="Instead of the shipped model.")] = None,
    output: Annotated[Path, typer.Option(help="Where the raw figures go.")] = RESULTS,
) -> None:
    """Measure both, print the ratio, write the raw figures."""
    sizes = {TUTORIAL: tutorial_rows, STREAMAPP: rows or sample_rows()}
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as directory,
        LocalBroker.start(broker) as server,
    ):
        setup = Setup(server.bootstrap_servers, PARTITIONS, Path(directory), populations, model_dir)
        found = _measure_all(setup, sizes, runs)
        serving = {"kind": str(server.kind), "version": server.version}
    report = _report(found, serving, sizes, setup)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    _console.print(_table(report))


def _measure_all(
    setup: Setup, sizes: dict[Contender, int], runs: int
) -> dict[Contender, list[Run]]:
    for contender in sizes:
        check(contender, setup, CHECK_ROWS)
        _console.print(f"{contender.title}: {CHECK_ROWS} transactions, a verdict for each")
    found: dict[Contender, list[Run]] = {contender: [] for contender in sizes}
    for number in range(1, runs + 1):
        for contender, rows in sizes.items():
            run = measure(contender, setup, number, rows)
            found[contender].append(run)
            _console.print(
                f"run {number}, {contender.title}: {run.events_per_s:,.0f} events/s, "
                f"{run.cpu_us_per_event:,.1f} µs CPU/event"
            )
    return found


def _report(
    found: dict[Contender, list[Run]],
    broker: dict[str, str],
    sizes: dict[Contender, int],
    setup: Setup,
) -> dict[str, Any]:
    medians = {
        contender.name: {
            figure: statistics.median(getattr(run, figure) for run in runs) for figure in _FIGURES
        }
        for contender, runs in found.items()
    }
    slow, fast = medians[TUTORIAL.name], medians[STREAMAPP.name]
    return {
        "ratio": {
            "events_per_s": round(fast["events_per_s"] / slow["events_per_s"], 1),
            "cpu_per_event": round(slow["cpu_us_per_event"] / fast["cpu_us_per_event"], 1),
        },
        "medians": medians,
        "runs": {contender.name: runs for contender, runs in found.items()},
        "settings": {
            "partitions": setup.partitions,
            "workers": 1,
            "traffic": "sample:sparkov",
            "users": 160 * setup.populations,
            "rows": {contender.name: rows for contender, rows in sizes.items()},
            "tutorial_store": "rocksdb:// (rocksdict)",
            "model": load(setup.model_dir or default_model_dir()).version,
        },
        "broker": broker,
        "machine": machine(),
        "versions": versions(),
    }


def _table(report: dict[str, Any]) -> Table:
    ratio, machine_ = report["ratio"], report["machine"]
    table = Table(
        title=f"streamapp: {ratio['events_per_s']:,.0f}× the events/s of the tutorial way, "
        f"{ratio['cpu_per_event']:,.0f}× the events for the same CPU",
        caption=f"medians of {len(report['runs'][STREAMAPP.name])} runs; "
        f"{report['broker']['kind']} {report['broker']['version']}, {PARTITIONS} partitions; "
        f"{machine_['cpu']}, {machine_['cores']} cores, {machine_['memory_gib']} GiB",
    )
    for heading in ("", "events/s", "CPU µs/event", "cores", "others", "MiB"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=not heading)
    for contender in (STREAMAPP, TUTORIAL):
        median = report["medians"][contender.name]
        table.add_row(
            contender.title,
            f"{median['events_per_s']:,.0f}",
            f"{median['cpu_us_per_event']:,.1f}",
            f"{median['cores']:.2f}",
            f"{median['cores_others']:.2f}",
            f"{median['peak_memory_mib']:,.0f}",
        )
    return table


if __name__ == "__main__":
    try:
        typer.run(main)
    except BenchmarkError as error:
        sys.exit(f"benchmarks.throughput: {error}")
