"""What labels and reasons cost a worker: throughput with everything on, and without each, in turn.

    python -m benchmarks.labels_throughput [--quick] [--runs 3] [--seconds 30]

The same worker, broker and payments as `benchmarks.throughput`, exactly-once. The model is trained
on 100,000 payments of such a crowd, so that severities keep their shares; without its supervised
part it is the same ensemble. The share of verdicts that have reasons stands beside each rate, for
it decides what they cost.
"""

import sys
import tempfile
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from benchmarks.contender import BenchmarkError
from benchmarks.crowd import BATCH_ROWS, Crowd, payments
from benchmarks.labels import model_with_labels
from benchmarks.report import conditions, console, median_of, table, write
from benchmarks.stand import Stand
from benchmarks.tables import performance
from benchmarks.throughput import WORKERS, Run, measure
from streamapp.scoring.artifact import ModelArtifact, save

TRAINING_ROWS: Final = 100_000

_EVERYTHING: Final = "everything on"


def main(
    broker: Annotated[str, typer.Option(help="kafka or noida.")] = "kafka",
    runs: Annotated[int, typer.Option(min=1, max=20, help="Of each way, in turn.")] = 5,
    seconds: Annotated[float, typer.Option(min=1, help="Of each run.")] = 20.0,
    users: Annotated[int, typer.Option(min=160, help="Who pay.")] = 10_000,
    quick: Annotated[bool, typer.Option("--quick", help="One run of 6 s.")] = False,
    output: Annotated[Path | None, typer.Option(help="Where the raw figures go.")] = None,
) -> None:
    """Measure each way, print rates and CPU per event, write the raw figures."""
    if quick:
        runs, seconds = 1, 6.0
    crowd = Crowd(users=users, skew=0.8)
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as directory,
        Stand.started(broker, Path(directory)) as stand,
    ):
        others = payments(msgspec.structs.replace(crowd, seed=2))
        fed = model_with_labels(islice(others, TRAINING_ROWS // BATCH_ROWS))
        ways = _ways(fed, Path(directory))
        found: dict[str, list[Run]] = {way: [] for way in ways}
        for number in range(1, runs + 1):
            for way in list(ways)[:: 1 if number % 2 else -1]:
                prefix = f"run{number}.{list(ways).index(way)}"
                run = measure(stand, prefix, ways[way], crowd, 0.0, seconds)
                found[way].append(run)
                console.print(
                    f"run {number}, {way}: {run.events_per_s:,.0f} events/s; {run.worker}"
                )
    medians = {way: _medians(of_way) for way, of_way in found.items()}
    settings = {"runs": runs, "seconds": seconds, "crowd": crowd, "model": fed.version}
    each = [
        {"way": way, **msgspec.to_builtins(run)} for way, of_way in found.items() for run in of_way
    ]
    write("labels_throughput", {"medians": medians, "runs": each}, settings, stand, output)
    rows = performance.labels_throughput({"medians": medians})
    table("Throughput with and without labels and reasons", conditions(stand, runs), rows)


def _ways(fed: ModelArtifact, directory: Path) -> dict[str, dict[str, str]]:
    """Settings of the worker for each way."""
    places = {"fed": fed, "free": replace(fed, supervised=None)}
    for name, model in places.items():
        save(model, directory / name)

    def worker(model: str, explain: str) -> dict[str, str]:
        model_dir = str(directory / model)
        return {"guarantee": "exactly_once", "model_dir": model_dir, "explain_severity": explain}

    return {
        _EVERYTHING: worker("fed", "MEDIUM"),
        "without reasons": worker("fed", "null"),
        "without the supervised model": worker("free", "MEDIUM"),
        "without both": worker("free", "null"),
    }


def _medians(runs: list[Run]) -> dict[str, Any]:
    return {
        "events_per_s": median_of(runs, lambda run: run.events_per_s),
        "worker_us_per_event": median_of(runs, lambda run: run.cpu_us_per_event[WORKERS]),
        "anomaly_share": median_of(runs, lambda run: run.worker.anomaly_share),
        "batch_records": median_of(runs, lambda run: run.worker.batch_records),
    }


if __name__ == "__main__":
    try:
        typer.run(main)
    except BenchmarkError as error:
        sys.exit(f"benchmarks.labels_throughput: {error}")
