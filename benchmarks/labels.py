"""What the supervised model costs: records to verdicts without it, with it, and without reasons.

    python -m benchmarks.labels [--rounds 9]

One process, one partition, no broker: `process` over recorded traffic in batches of 256, ways in
turn. The model is trained on the beginning of the Sparkov sample with its labels a week late, and
timed on what follows. CPU µs an event, medians of rounds.
"""

import statistics
import time
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.machine import machine, versions
from benchmarks.report import write_json
from streamapp.features.contract import DAY_MS
from streamapp.lifecycle.labelled_training import learn_labels
from streamapp.lifecycle.labels import Labels, payment_keys
from streamapp.lifecycle.training import read_reference, train
from streamapp.replay.brokerless import RecordedTopic
from streamapp.replay.reader import RecordedBatch, recorded
from streamapp.replay.sample import sample
from streamapp.scoring.artifact import ModelArtifact
from streamapp.scoring.partition_state import PartitionState
from streamapp.scoring.policy import Policy
from streamapp.scoring.process import Records, process
from streamapp.scoring.profiles import MemoryProfiles

RESULTS = Path(__file__).parent / "results" / "labels.json"
TRAINING_ROWS = 60_000
BATCH = 256

_BARE = Policy(explain_severity=None)


def main(
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Timed rounds of each way.")] = 9,
    events: Annotated[int, typer.Option(min=5_000, help="Events of a round.")] = 20_000,
    output: Annotated[Path, typer.Option(help="Where the raw figures go.")] = RESULTS,
) -> None:
    """Time every way, print medians, write the raw figures."""
    fed = model_with_labels(recorded(sample("sparkov"), limit=TRAINING_ROWS))
    free = replace(fed, supervised=None)
    ways = {
        "without labels": (free, Policy()),
        "without labels, without reasons": (free, _BARE),
        "with the supervised model": (fed, Policy()),
        "with the supervised model, without reasons": (fed, _BARE),
    }
    records = _records(events)
    raw: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, (model, policy) in ways.items():
            took_us = _timed(records, model, policy, events)
            if number:  # the first round compiles and warms up
                raw[name].append(took_us)
    medians = {name: statistics.median(times) for name, times in raw.items()}
    report: dict[str, Any] = {
        "unit": "CPU µs an event of process(), batches of 256",
        "events": events,
        "trees": len(fed.supervised.trees.leaves) if fed.supervised else 0,
        "median_us": medians,
        "raw_us": raw,
        "machine": machine(),
        "versions": versions(),
    }
    write_json(report, output)
    for name, median in medians.items():
        print(f"{name:<44} {median:6.2f} µs  {median / medians['without labels']:.2f}×")


def model_with_labels(batches: Iterable[RecordedBatch]) -> ModelArtifact:
    """Trained on these payments, labels a week late."""
    topic, labels = RecordedTopic("t", 1), []

    def read(batch: RecordedBatch) -> Records:
        [(rows, records)] = topic.place(batch)
        labels.append(batch.labels[rows])
        return records

    reference = read_reference([map(read, batches)])
    model = train(reference, seed=1, description="a benchmark")
    known = Labels(
        payment_keys(reference.tx, reference.users),
        np.concatenate(labels) == 1,
        reference.time_ms + 7 * DAY_MS,
    )
    return learn_labels(model, reference, known, delay_ms=7 * DAY_MS, seed=1).model


def _records(events: int) -> list[Records]:
    topic = RecordedTopic("t", 1)
    batches = recorded(sample("sparkov"), skip=TRAINING_ROWS, limit=events, batch_rows=BATCH)
    return [topic.place(batch)[0][1] for batch in islice(batches, events // BATCH + 1)]


def _timed(records: list[Records], model: ModelArtifact, policy: Policy, events: int) -> float:
    profiles = MemoryProfiles()
    state = PartitionState.initial(model.version, model.half_space_trees)
    start_s = time.process_time()
    for batch in records:
        process(batch, profiles, state, model, policy)
    return round((time.process_time() - start_s) / events * 1e6, 3)


if __name__ == "__main__":
    typer.run(main)
