"""A worker whose model has learned from labels: what it logs is what training would see."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from streamapp.cli.train import SEED
from streamapp.domain.verdict import decode_verdict
from streamapp.features.columns import name_hash
from streamapp.features.context import context
from streamapp.features.contract import DAY_MS
from streamapp.lifecycle.labelled_training import learn_labels
from streamapp.lifecycle.labels import Labels, payment_keys
from streamapp.lifecycle.training import Reference, flag_amounts, read_reference, train
from streamapp.replay.brokerless import records_of
from streamapp.replay.label_file import read_labels
from streamapp.replay.reader import recorded
from streamapp.scoring.artifact import ModelArtifact, load, save
from streamapp.scoring.json_rows import DECIMALS
from tests.engine.deployment import Deployment, assert_undisturbed
from tests.leaks.marks import payments

pytestmark = pytest.mark.integration

ROWS = 8_000


def test_what_is_logged_is_what_training_sees(
    deployment: Deployment, fed: ModelArtifact, tmp_path: Path
) -> None:
    """Vectors are those computed again from the recording alone, by the code that trains; bytes
    those of an undisturbed pipeline; and a model trained from the topics, that of the files."""
    save(fed, tmp_path / "model")
    deployment.make_topics()
    deployment.replay(ROWS)
    worker = deployment.worker(model_dir=tmp_path / "model")
    found = deployment.found(ROWS)
    assert 0 == worker.terminate()[0]
    assert_undisturbed(deployment, deployment.expected(fed), found)
    verdicts = [decode_verdict(payload) for [payload] in found.verdicts.values()]
    logged = {
        (one.source.partition, one.source.offset): [*one.features.values()] for one in verdicts
    }
    assert ROWS == len(logged)
    assert recomputed(fed, deployment) == logged
    labels = write_labels(tmp_path / "labels.parquet")
    assert (0, True) == said(deployment.command("labels", "import", str(labels)), f"{ROWS:,} sent")
    trained = deployment.command(
        *("train", "--from-topics", "--labels-topic", "--label-delay", "1d"),
        *("--output", str(tmp_path / "trained")),
    )
    assert (0, True) == said(trained, f"{ROWS:,} labels: 0 of no payment read")
    description = f"all vectors logged in {deployment.topics.name('verdicts')}"
    expected = trained_on_files(deployment, labels, description)
    assert expected.supervised is not None
    assert expected.version == load(tmp_path / "trained").version


def said(outcome: tuple[int, str], words: str) -> tuple[int, bool]:
    """Exit code, and whether the words were among what was said."""
    code, text = outcome
    assert words in text, text
    return code, words in text


def read_files(deployment: Deployment) -> Reference:
    """The reference of the recording."""
    topic, partitions = deployment.topics.name("transactions"), deployment.topics.partitions
    return read_reference([records_of(recorded(payments(), limit=ROWS), topic, partitions)])


def recomputed(fed: ModelArtifact, deployment: Deployment) -> dict[tuple[int, int], list[float]]:
    """By partition and offset: features and context, rounded as verdicts are."""
    reference = read_files(deployment)
    flag_amounts(reference.rows, reference.amounts, fed.global_amount_limit)
    assert fed.supervised is not None
    told = context(fed.supervised.table, reference.time_ms, reference.names)
    vectors = np.round(np.hstack([reference.rows, told]), DECIMALS) + 0.0
    return {
        (partition, offset): vectors[row].tolist()
        for partition, rows in enumerate(reference.partitions)
        for offset, row in enumerate(rows.tolist())
    }


def write_labels(path: Path) -> Path:
    """A label for each payment, known an hour later: one merchant in thirty is bad."""
    table = pq.read_table(payments(), columns=["tx_id", "user_id", "merchant_id", "timestamp"])
    table = table.slice(0, ROWS)
    bad = [name_hash(str(one)) % 30 == 0 for one in table["merchant_id"].to_pylist()]
    known = pc.add(table["timestamp"], pa.scalar(3_600_000, pa.duration("ms")))
    pq.write_table(table.append_column("is_fraud", [bad]).append_column("label_time", known), path)
    return path


def trained_on_files(deployment: Deployment, path: Path, description: str) -> ModelArtifact:
    """The model of recording and label file, vectors rounded and ordered as topics have them."""
    reference = by_place(read_files(deployment))
    np.round(reference.rows, DECIMALS, out=reference.rows)
    reference.rows[:] += 0.0
    model = train(reference, seed=SEED, description=description)
    read = read_labels(path)
    labels = Labels(payment_keys(read.tx, read.user), read.is_fraud, read.known_ms)
    return learn_labels(model, reference, labels, delay_ms=DAY_MS, seed=SEED).model


def by_place(reference: Reference) -> Reference:
    """The same rows in the order of time, partition and offset."""
    place = np.zeros((2, len(reference.rows)), np.int64)
    for partition, rows in enumerate(reference.partitions):
        place[:, rows] = np.full(len(rows), partition), np.arange(len(rows))
    order = np.lexsort((place[1], place[0], reference.time_ms))
    now_at = np.argsort(order)
    return replace(
        reference,
        **{
            name: getattr(reference, name)[order]
            for name in ("rows", "amounts", "users", "tx", "names", "time_ms", "is_cold")
        },
        partitions=[now_at[rows] for rows in reference.partitions],
    )
