"""A worker whose model has learned from labels: what it logs is what training would see."""

from pathlib import Path

import numpy as np
import pytest

from streamapp.domain.verdict import decode_verdict
from streamapp.lifecycle.training import flag_amounts, read_reference
from streamapp.replay.brokerless import records_of
from streamapp.replay.reader import recorded
from streamapp.replay.sample import sample
from streamapp.scoring.artifact import ModelArtifact, save
from streamapp.scoring.json_rows import DECIMALS
from tests.engine.deployment import Deployment, assert_undisturbed

pytestmark = pytest.mark.integration

ROWS = 3_000


def test_logged_vectors_are_those_of_the_raw_transactions(
    deployment: Deployment, fed: ModelArtifact, tmp_path: Path
) -> None:
    """Computed again from the recording alone, by the code that trains; and the bytes are those
    of an undisturbed pipeline."""
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


def recomputed(fed: ModelArtifact, deployment: Deployment) -> dict[tuple[int, int], list[float]]:
    """By partition and offset: features and risk windows, rounded as verdicts are."""
    topic, partitions = deployment.topics.name("transactions"), deployment.topics.partitions
    records = records_of(recorded(sample(), limit=ROWS), topic, partitions)
    reference = read_reference([records])
    flag_amounts(reference.rows, reference.amounts, fed.global_amount_limit)
    assert fed.supervised is not None
    windows = fed.supervised.table.look_up(reference.names)
    vectors = np.round(np.hstack([reference.rows, windows]), DECIMALS) + 0.0
    return {
        (partition, offset): vectors[row].tolist()
        for partition, rows in enumerate(reference.partitions)
        for offset, row in enumerate(rows.tolist())
    }
