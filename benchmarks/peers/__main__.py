"""streamapp beside the ways a Python team could take, in one run on one real Kafka.

    python -m benchmarks.peers [--runs 5] [--only quix --only faust]

Each run of each engine: fresh topics with recorded traffic, one worker on them, its verdicts read
as they come; clock and CPU account from the first verdict in the topic to the last one read. The
engines take turns. docs/peers.md says how each is written.
"""

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.contender import TUTORIAL, BenchmarkError, Contender, Setup, measure
from benchmarks.peers.agreement import Agreement, agreement
from benchmarks.peers.alone import BATCH, AloneRun, measure_alone, measure_kernels
from benchmarks.peers.contenders import OURS, peers
from benchmarks.peers.report import Figures, report_of
from benchmarks.report import console, table, write_json
from benchmarks.tables import peers as tables
from benchmarks.traffic import sample_rows
from streamapp.broker.local import LocalBroker

PARTITIONS = 4
#: Of so many verdicts of an engine's first run each is held against ours, picked evenly.
COMPARED_ROWS = 8_000
#: An engine gets as many transactions as it takes some 3 s for, but no more than there are.
ROWS = {"streamapp": 150_000, "quix": 30_000, "flink": 12_000, "faust": 6_000}
TUTORIAL_ROWS = 500
RESULTS = Path(__file__).parents[1] / "results" / "peers.json"


def main(
    runs: Annotated[int, typer.Option(min=1, max=20, help="Runs of each, in turns.")] = 5,
    only: Annotated[
        list[str] | None, typer.Option(help="Engines beside streamapp: faust, quix, flink.")
    ] = None,
    rows_max: Annotated[int, typer.Option(min=4_000, help="For every engine.")] = sample_rows(),
    output: Annotated[Path, typer.Option(help="Where the raw figures go.")] = RESULTS,
) -> None:
    """Measure and compare in turns, print ratios and figures, write all of it down."""
    chosen = [peer for peer in peers() if not only or peer.engine in (OURS, *only)]
    missing = sorted({peer.engine for peer in chosen if not peer.is_installed})
    if missing:
        raise BenchmarkError(f"{', '.join(missing)} not installed: run `make bench-peers`")
    found = Figures()
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as directory,
        LocalBroker.start("kafka") as server,
    ):
        setup = Setup(server.bootstrap_servers, PARTITIONS, Path(directory))
        for number in range(1, runs + 1):
            for peer in [one for one in chosen if one.name not in found.failures]:
                _measure(found, peer, setup, number, min(ROWS[peer.engine], rows_max))
            _measure(found, TUTORIAL, setup, number, TUTORIAL_ROWS)
        serving = {"kind": str(server.kind), "version": server.version}
    _measure_alone(found, runs)
    written = write_json(report_of(found, chosen, serving, PARTITIONS), output)
    title = "streamapp beside its peers: ×, how often each fits into ours of the same guarantee"
    table(title, f"medians; {' '.join(serving.values())}", tables.peers(written))


def _words(agreed: Agreement) -> str:
    return (
        f"{agreed.agree} of {agreed.events} verdicts agree with ours, {agreed.identical} are "
        f"identical; apart at most: risk {agreed.risk_score:.2g}, features {agreed.features:.2g}, "
        f"forest {agreed.isolation_forest:.2g}, trees {agreed.half_space_trees:.2g}"
    )


def _measure(found: Figures, contender: Contender, setup: Setup, number: int, rows: int) -> None:
    """One run; an engine that fails is left out from then on, with the reason."""
    try:
        run, verdicts = measure(contender, setup, number, rows)
    except BenchmarkError as error:
        found.fail(contender, error)
        console.print(f"run {number}, {contender.title}: left out, {error}")
        return
    found.runs.setdefault(contender.name, []).append(run)
    console.print(
        f"run {number}, {contender.title}: {run.events_per_s:,.0f} events/s, "
        f"{run.cpu_us_per_event:,.1f} µs CPU/event, {run.cores:.2f} cores, "
        f"others {run.cores_others:.2f}"
    )
    if number == 1 and contender is not TUTORIAL:
        ours, theirs = found.ours or verdicts, verdicts[:: len(verdicts) // COMPARED_ROWS + 1]
        found.ours, found.agreements[contender.name] = ours, agreement(ours, theirs)
        console.print(f"{contender.title}: {_words(found.agreements[contender.name])}")


def _measure_alone(found: Figures, runs: int) -> None:
    for _ in range(runs):
        for name, run in _alone().items():
            found.alone.setdefault(name, []).append(run)


def _alone() -> dict[str, AloneRun]:
    return {
        "scikit-learn and River, an event at a time": measure_alone(1, 300),
        f"scikit-learn and River, batches of {BATCH}": measure_alone(BATCH, 20 * BATCH),
        "our kernels, an event at a time": measure_kernels(10_000),
    }


if __name__ == "__main__":
    try:
        typer.run(main)
    except BenchmarkError as error:
        sys.exit(f"benchmarks.peers: {error}")
