"""Training sees what serving sees, keeps populations apart, and repeats to the byte."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from streamapp.domain.verdict import decode_verdict
from streamapp.features.contract import FEATURE_INDEX, FEATURE_NAMES
from streamapp.lifecycle import training
from streamapp.lifecycle.training import (
    Reference,
    TrainingError,
    read_reference,
    reference_severities,
    train,
)
from streamapp.replay.brokerless import records_of, score_recorded
from streamapp.replay.reader import recorded
from streamapp.replay.sample import sample
from streamapp.scoring.artifact import ModelArtifact, save
from streamapp.scoring.process import Records

ROWS = 12_000


def source(name: str, rows: int = ROWS, batch_rows: int = 2_048) -> Iterator[Records]:
    """The first rows of a sample as records of a topic with two partitions."""
    return records_of(recorded(sample(name), limit=rows, batch_rows=batch_rows), name, 2)


@pytest.fixture(scope="module")
def reference() -> Reference:
    """The beginning of a sample."""
    return read_reference([source("sparkov")])


@pytest.fixture(scope="module")
def model(reference: Reference) -> ModelArtifact:
    """A model of that reference."""
    return train(reference, seed=7, description="a test")


def contents(directory: Path) -> dict[str, bytes]:
    """Every file of a directory."""
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def test_training_sees_the_features_that_serving_computes(
    reference: Reference, model: ModelArtifact
) -> None:
    """The row of each reference transaction is the vector in its verdict, the flag included."""
    served = score_recorded(recorded(sample("sparkov"), limit=ROWS), model, partitions=2)
    vectors = [
        [*decode_verdict(payload).features.values()]
        for outcome in served
        for payload in outcome.payloads
    ]
    order = np.argsort(np.concatenate(_input_order()))
    assert np.allclose(np.round(reference.rows[order], 6), vectors, rtol=0, atol=0)
    assert 0 < reference.rows[:, FEATURE_INDEX["global_amount_flag"]].sum() < ROWS / 500


def _input_order() -> list[np.ndarray]:
    """Row in the input of each row of the reference, which keeps the order of records."""
    from streamapp.replay.brokerless import RecordedTopic

    topic, start, rows = RecordedTopic("sparkov", 2), 0, []
    for batch in recorded(sample("sparkov"), limit=ROWS):
        rows += [start + at for at, _ in topic.place(batch)]
        start += len(batch)
    return rows


def test_the_same_traffic_and_seed_give_the_same_bytes(
    reference: Reference, model: ModelArtifact, tmp_path: Path
) -> None:
    """Whatever the batches it is read in."""
    save(model, tmp_path / "first")
    whole = read_reference([source("sparkov", batch_rows=ROWS)])
    again = train(read_reference([source("sparkov")]), seed=7, description="a test")
    save(again, tmp_path / "again")
    assert contents(tmp_path / "first") == contents(tmp_path / "again")
    assert sorted(map(bytes, reference.rows)) == sorted(map(bytes, _flagged(whole, model)))
    assert model.version != train(reference, seed=8, description="a test").version


def _flagged(reference: Reference, model: ModelArtifact) -> np.ndarray:
    flags = reference.amounts > model.global_amount_limit
    reference.rows[:, FEATURE_INDEX["global_amount_flag"]] = flags
    return reference.rows


def test_users_of_two_sources_never_meet() -> None:
    """The same recording twice gives the same rows twice, as if the ids were others."""
    once = read_reference([source("handbook", 2_000)])
    twice = read_reference([source("handbook", 2_000), source("handbook", 2_000)])
    assert np.concatenate([once.rows, once.rows]).tobytes() == twice.rows.tobytes()
    assert 4 == len(twice.partitions)
    assert list(range(4_000)) == sorted(np.concatenate(twice.partitions).tolist())
    assert [p.tolist() for p in once.partitions] == [p.tolist() for p in twice.partitions[:2]]
    assert [(p + 2_000).tolist() for p in once.partitions] == [
        p.tolist() for p in twice.partitions[2:]
    ]


def test_the_global_limit_leaves_one_in_a_thousand_above(
    reference: Reference, model: ModelArtifact
) -> None:
    """It is the quantile of the reference amounts."""
    above = (reference.amounts > model.global_amount_limit).mean()
    assert 0.0005 <= above <= 0.001


def test_severities_of_the_reference_keep_the_alert_budget(
    reference: Reference, model: ModelArtifact
) -> None:
    """About 2 % are MEDIUM or worse; all rows are counted."""
    severities = reference_severities(model, reference)
    assert ROWS == sum(severities)
    assert 0.01 < sum(severities[1:]) / ROWS < 0.03


def test_labels_change_nothing(reference: Reference) -> None:
    """What could hold a label is not among the features."""
    assert "is_fraud" not in FEATURE_NAMES
    assert len(FEATURE_NAMES) == reference.rows.shape[1]


def test_messages_that_are_no_transactions_are_left_out() -> None:
    """They are counted, and the others are trained on."""
    batch = next(recorded(sample("handbook"), limit=10))
    batch.values[3] = b"{"
    reference = read_reference([records_of([batch], "t", 1)])
    assert (9, 1) == (len(reference.rows), reference.refused)


def test_too_little_traffic_is_refused() -> None:
    """The error says what would do."""
    with pytest.raises(TrainingError, match="train on more traffic"):
        train(read_reference([source("sparkov", 500)]), seed=1, description="")
    with pytest.raises(TrainingError, match="not one transaction"):
        read_reference([iter(())])


def test_too_much_traffic_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded; the error names the bound and the way out."""
    monkeypatch.setattr(training, "REFERENCE_ROWS_MAX", 1_000)
    with pytest.raises(TrainingError, match=r"more than 1,000 transactions .* limit the rows"):
        read_reference([source("sparkov", 3_000)])


def test_inputs_that_are_no_features_are_refused(reference: Reference) -> None:
    """The error names them."""
    with pytest.raises(TrainingError, match=r"\['luck'\] are not features"):
        train(reference, seed=1, description="", inputs=["log_amount", "luck"])


def test_a_model_looks_at_its_inputs_only(reference: Reference) -> None:
    """Other columns may hold anything."""
    inputs = ["log_amount", "sum_24h"]
    model = train(reference, seed=1, description="", inputs=inputs)
    other = dataclasses.replace(reference, rows=reference.rows.copy())
    unseen = [i for name, i in FEATURE_INDEX.items() if name not in inputs]
    other.rows[:, unseen] = 1.0
    assert reference_severities(model, reference) == reference_severities(model, other)
