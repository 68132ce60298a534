"""A small model and the recorded traffic it was trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from streamapp.features.contract import DAY_MS
from streamapp.lifecycle.boosting import BoostSettings
from streamapp.lifecycle.fitting import FitSettings
from streamapp.lifecycle.labelled_training import learn_labels
from streamapp.lifecycle.labels import Labels, payment_keys
from streamapp.lifecycle.supervised_training import SupervisedSettings
from streamapp.lifecycle.training import read_reference, train
from streamapp.replay.reader import recorded
from streamapp.replay.sample import sample
from streamapp.scoring.artifact import ModelArtifact
from streamapp.scoring.process import Records
from streamapp.scoring.verdicts import SourcePartition

SOURCE = SourcePartition("transactions", 2)
ROWS = 5_000


@dataclass(frozen=True, slots=True)
class Traffic:
    """Keys and values as a topic holds them."""

    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]

    def records(self, start: int = 0, stop: int | None = None) -> Records:
        """The records from offset `start` to before `stop`."""
        stop = len(self.values) if stop is None else min(stop, len(self.values))
        return Records(SOURCE, self.keys[start:stop], self.values[start:stop], range(start, stop))


@pytest.fixture(scope="session")
def traffic() -> Traffic:
    """The first payments of the sample, as they would stand in one partition."""
    batches = list(recorded(sample(), limit=ROWS))
    keys = [key for batch in batches for key in batch.keys]
    return Traffic(keys, [value for batch in batches for value in batch.values])


@pytest.fixture(scope="session")
def model(traffic: Traffic) -> ModelArtifact:
    """A small ensemble, trained on the traffic in a second or two."""
    settings = FitSettings(
        forest_trees=25,
        half_space_trees=10,
        half_space_height=6,
        half_space_window=100,
        mode_rows_min=500,
    )
    reference = read_reference([[traffic.records()]])
    return train(reference, seed=1, description="for tests", settings=settings)


@pytest.fixture(scope="session")
def fed(traffic: Traffic, model: ModelArtifact) -> ModelArtifact:
    """The small ensemble with a supervised part: one merchant in thirty is bad."""
    reference = read_reference([[traffic.records()]])
    keys = payment_keys(reference.tx, reference.users)
    labels = Labels(keys, reference.names[:, 0] % 30 == 0, reference.time_ms + 3_600_000)
    settings = SupervisedSettings(BoostSettings(trees=20, leaf_rows=10), frauds_min=20)
    learned = learn_labels(
        model, reference, labels, delay_ms=DAY_MS // 2, seed=1, settings=settings
    )
    return learned.model
