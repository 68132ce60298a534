"""A supervised model knows what labels said by then, and nothing later."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamapp.features.context import CONTEXT_NAMES
from streamapp.features.contract import DAY_MS
from streamapp.lifecycle.boosting import BoostSettings
from streamapp.lifecycle.labelled_training import LabelledModel, learn_labels
from streamapp.lifecycle.labels import Labels, payment_keys
from streamapp.lifecycle.supervised_training import SupervisedSettings
from streamapp.lifecycle.training import Reference, TrainingError, read_reference, train
from streamapp.replay.brokerless import records_of
from streamapp.replay.reader import recorded
from streamapp.replay.sample import sample
from streamapp.scoring.artifact import ModelArtifact, load, save

DELAY_MS = DAY_MS
SETTINGS = SupervisedSettings(BoostSettings(trees=20, leaf_rows=20), frauds_min=20)


@pytest.fixture(scope="module")
def reference() -> Reference:
    """The beginning of a sample."""
    return read_reference([records_of(recorded(sample("sparkov"), limit=8_000), "t", 2)])


@pytest.fixture(scope="module")
def unaided(reference: Reference) -> ModelArtifact:
    """A model without labels."""
    return train(reference, seed=7, description="a test")


def labels_of(reference: Reference, delay_ms: int = DELAY_MS) -> Labels:
    """Every payment at one merchant in thirty is fraud, known a delay later."""
    keys = payment_keys(reference.tx, reference.users)
    is_fraud = reference.names[:, 0] % 30 == 0
    return Labels(keys, is_fraud, reference.time_ms + delay_ms)


def learned(reference: Reference, unaided: ModelArtifact, labels: Labels) -> LabelledModel:
    """The model with what the labels teach."""
    return learn_labels(unaided, reference, labels, delay_ms=DELAY_MS, seed=3, settings=SETTINGS)


@pytest.fixture(scope="module")
def fed(reference: Reference, unaided: ModelArtifact) -> LabelledModel:
    """Of the labels above."""
    return learned(reference, unaided, labels_of(reference))


def contents(directory: Path) -> dict[str, bytes]:
    """Every file of a directory."""
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def test_the_same_labels_give_the_same_bytes_and_come_back(
    reference: Reference, unaided: ModelArtifact, fed: LabelledModel, tmp_path: Path
) -> None:
    """In whatever order they come; and loading and saving again changes nothing."""
    labels = labels_of(reference)
    turned = Labels(labels.key[::-1], labels.is_fraud[::-1], labels.known_ms[::-1])
    save(fed.model, tmp_path / "first")
    save(learned(reference, unaided, turned).model, tmp_path / "again")
    save(load(tmp_path / "first"), tmp_path / "copy")
    assert contents(tmp_path / "first") == contents(tmp_path / "again")
    assert contents(tmp_path / "first") == contents(tmp_path / "copy")
    assert fed.model.version != unaided.version


def test_a_model_without_labels_leaves_none_behind(
    unaided: ModelArtifact, fed: LabelledModel, tmp_path: Path
) -> None:
    """Saved over one that had them, it loads as itself."""
    save(fed.model, tmp_path)
    save(unaided, tmp_path)
    assert unaided.version == load(tmp_path).version
    assert load(tmp_path).supervised is None


def test_what_becomes_known_after_the_end_teaches_nothing(
    reference: Reference, unaided: ModelArtifact, fed: LabelledModel
) -> None:
    """Labels known later may say anything."""
    labels = labels_of(reference)
    is_later = labels.known_ms > reference.time_ms.max()
    assert 100 < is_later.sum()
    turned = replace(labels, is_fraud=labels.is_fraud ^ is_later)
    assert fed.model.version == learned(reference, unaided, turned).model.version


def test_what_is_known_decides(
    reference: Reference, unaided: ModelArtifact, fed: LabelledModel
) -> None:
    """Other labels, another model."""
    labels = labels_of(reference)
    others = replace(labels, is_fraud=reference.names[:, 0] % 30 == 1)
    assert fed.model.version != learned(reference, unaided, others).model.version


def test_it_finds_what_labels_taught_it(reference: Reference, fed: LabelledModel) -> None:
    """Fraud that is told by the merchant's past alone, which no ensemble can see."""
    supervised = fed.model.supervised
    assert supervised is not None
    made = supervised.training
    assert 2 * made.ensemble_average_precision < made.supervised_average_precision
    assert 0.9 < made.verdict_average_precision
    now_ms = reference.time_ms.max()
    is_known = reference.time_ms + DELAY_MS <= now_ms
    assert int(is_known.sum()) == made.rows
    assert int((is_known & (reference.names[:, 0] % 30 == 0)).sum()) == made.frauds
    assert now_ms // DAY_MS == supervised.table.day


def test_labels_that_teach_nothing_do_no_harm(reference: Reference, unaided: ModelArtifact) -> None:
    """Where the ensemble is better, the verdict ranks as the ensemble does."""
    amount = reference.rows[:, 0]
    chance = np.random.default_rng(5).random(len(amount))
    # Known fraud follows the amount closely; in so few rows boosted trees can't be better.
    is_fraud = amount + 1e-6 * chance >= np.sort(amount)[-60]
    labels = replace(labels_of(reference), is_fraud=is_fraud)
    tiny = SupervisedSettings(BoostSettings(trees=1, leaves=2, leaf_rows=2_500), frauds_min=20)
    fed = learn_labels(unaided, reference, labels, delay_ms=DELAY_MS, seed=3, settings=tiny)
    assert fed.model.supervised is not None
    made = fed.model.supervised.training
    assert made.supervised_average_precision < made.ensemble_average_precision
    assert made.ensemble_average_precision - 0.005 <= made.verdict_average_precision


def test_windows_are_as_of_each_payments_day(reference: Reference, fed: LabelledModel) -> None:
    """On the first two days nothing is known yet; then there are known frauds."""
    day = reference.time_ms // DAY_MS - reference.time_ms.min() // DAY_MS
    shares = fed.context[:, CONTEXT_NAMES.index("merchant_fraud_share_30d")]
    assert not shares[day < 2].any()
    assert {0} == set(np.flatnonzero(shares[day >= 2] > 0) * 0)
    at_known = shares > 0
    assert (reference.names[at_known, 0] % 30 == 0).all()


def test_too_few_frauds_are_refused(reference: Reference, unaided: ModelArtifact) -> None:
    """The error says what would do."""
    none = replace(labels_of(reference), is_fraud=np.zeros(len(reference.rows), np.bool_))
    with pytest.raises(TrainingError, match="fewer than 20 payments are known as fraud"):
        learned(reference, unaided, none)
