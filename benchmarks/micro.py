"""Each stage alone, at batches of 1 to 1,024, beside the library it replaces.

    python -m benchmarks.micro [--rounds 5] [--events 100000]

Before anything is timed, the same run holds our results to the library's: the forest within 1e-12
of scikit-learn, the half-space trees bit for bit River's, over all events; and the others as
`benchmarks.micro_equality` says. Figures are CPU µs an event of this process, medians of rounds in
which ours and the libraries take turns.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.machine import machine, versions
from benchmarks.micro_equality import Difference, verify
from benchmarks.micro_material import Material
from benchmarks.micro_output import output_stages
from benchmarks.micro_stages import OURS, Stage, scoring_stages
from benchmarks.report import console, table, write_json
from benchmarks.tables import peers as tables

BATCHES = (1, 16, 64, 256, 1024)
RESULTS = Path(__file__).parent / "results" / "micro.json"

#: A way takes part in a round for about this long; at least one batch.
ROUND_S = 0.06
_EVENTS_MAX = 20_000


def main(
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Timed rounds of each cell.")] = 5,
    events: Annotated[
        int, typer.Option(min=20_000, help="Events over which equality is checked.")
    ] = 100_000,
    output: Annotated[Path, typer.Option(help="Where the raw figures go.")] = RESULTS,
) -> None:
    """Check equality, time every stage, print the table, write the raw figures."""
    material = Material.of(events)
    equality = verify(material)
    for line in equality:
        console.print(f"equal: {line}")
    with tempfile.TemporaryDirectory(prefix="micro-") as directory:
        stages = [*scoring_stages(material), *output_stages(material, Path(directory))]
        found = {stage.name: _measure(stage, rounds) for stage in stages}
    report = {
        "equality": equality,
        "batches": BATCHES,
        "rounds": rounds,
        "unit": "CPU µs an event, median of rounds; raw holds each round",
        "stages": found,
        "machine": machine(),
        "versions": versions(),
    }
    written = write_json(report, output)
    title = "CPU µs an event by batch; in brackets: times ours"
    table(title, f"medians of {rounds} rounds", tables.micro(written), (0, 1))


def _measure(stage: Stage, rounds: int) -> dict[str, Any]:
    """Of each way: raw rounds and medians by batch; of each library: how often ours fits in it."""
    raw: dict[str, dict[int, list[float]]] = {
        way: {batch: [] for batch in BATCHES} for way in stage.ways
    }
    for batch in BATCHES:
        sizes = {way: _events_of_a_round(stage, way, batch) for way in stage.ways}
        for _ in range(rounds):
            for way, events in sizes.items():
                raw[way][batch].append(_timed(stage, way, batch, events))
    medians = {
        way: {batch: statistics.median(times) for batch, times in by_batch.items()}
        for way, by_batch in raw.items()
    }
    ratios = {
        way: {batch: round(medians[way][batch] / medians[OURS][batch], 2) for batch in BATCHES}
        for way in stage.ways
        if way != OURS
    }
    return {"median_us": medians, "ratio_to_ours": ratios, "raw_us": raw}


def _events_of_a_round(stage: Stage, way: str, batch: int) -> int:
    """As many events as ROUND_S lasts for, found on a first run that also warms up."""
    _timed(stage, way, batch, batch)
    took_us = _timed(stage, way, batch, batch)
    wanted = int(ROUND_S * 1e6 / max(took_us, 0.05))
    return max(min(wanted, _EVENTS_MAX) // batch, 1) * batch


def _timed(stage: Stage, way: str, batch: int, events: int) -> float:
    run = stage.ways[way](batch, events)
    start_s = time.process_time()
    run()
    return round((time.process_time() - start_s) / events * 1e6, 3)


if __name__ == "__main__":
    try:
        typer.run(main)
    except Difference as difference:
        sys.exit(f"benchmarks.micro: {difference}")
