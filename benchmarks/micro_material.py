"""What the stages work on: recorded traffic, its features, and models of both kinds grown on it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from river.anomaly import HalfSpaceTrees
from sklearn.ensemble import IsolationForest

from benchmarks.traffic import traffic
from streamapp.domain.decode import decode
from streamapp.domain.transaction import Transaction, epoch_ms
from streamapp.features.columns import Columns, columns_of
from streamapp.features.contract import FeatureParameters
from streamapp.features.kernel import FeatureBlock, compute
from streamapp.features.profile import ProfileBlock, empty_profiles
from streamapp.lifecycle.fitting import forest_from_sklearn, half_space_trees_from_river
from streamapp.scoring.artifact import ModelArtifact, load
from streamapp.scoring.default_model import default_model_dir
from streamapp.scoring.forest import IsolationForestArrays
from streamapp.scoring.half_space_trees import HalfSpaceTreesArrays
from streamapp.scoring.payments import Payments, read_payments
from streamapp.scoring.profiles import MemoryProfiles
from tests.features.oracle import Event

SEED = 42
_TRAINING_ROWS = 20_000
_HEIGHT, _TREES, _WINDOW = 8, 25, 250


@dataclass(frozen=True, slots=True)
class Material:
    """One partition's worth of events in order, and what every stage makes of them.

    narrow (n, 36): the features as the forest takes them; rows (n): 0 to n - 1. forest and trees
    are ours, made of `scikit` and of a River model of `river_model`'s settings.
    """

    keys: list[bytes | None]
    values: list[bytes | None]
    transactions: list[Transaction]
    columns: Columns
    slots: NDArray[np.int64]
    users: int
    features: FeatureBlock
    narrow: NDArray[np.float32]
    rows: NDArray[np.int64]
    profiles: ProfileBlock
    parameters: FeatureParameters
    model: ModelArtifact
    scikit: IsolationForest
    forest: IsolationForestArrays
    trees: HalfSpaceTreesArrays

    @classmethod
    def of(cls, events: int) -> "Material":
        """The first `events` of the sample."""
        batches = list(traffic(events))
        keys: list[bytes | None] = [key for batch in batches for key in batch.keys]
        values: list[bytes | None] = [value for batch in batches for value in batch.values]
        decoded = [decode(*one) for one in zip(keys, values, strict=True)]
        transactions = [one for one in decoded if isinstance(one, Transaction)]
        assert len(transactions) == len(values)
        model = load(default_model_dir())
        parameters = FeatureParameters(model.global_amount_limit)
        columns = columns_of(transactions, range(events))
        profiles = MemoryProfiles()
        slots = profiles.slots([one.user_id.encode() for one in transactions])
        features, _ = compute(columns, slots, profiles.block, -1, parameters)
        narrow = features.values.astype(np.float32)
        scikit = IsolationForest(random_state=SEED).fit(narrow[:_TRAINING_ROWS])
        return cls(
            keys=keys,
            values=values,
            transactions=transactions,
            columns=columns,
            slots=slots,
            users=len(profiles),
            features=features,
            narrow=narrow,
            rows=np.arange(events),
            profiles=profiles.block,
            parameters=parameters,
            model=model,
            scikit=scikit,
            forest=forest_from_sklearn(scikit, np.arange(features.values.shape[1])),
            trees=_planted(features.values),
        )

    def new_profiles(self) -> ProfileBlock:
        """Profiles of as many users as there are, none of them seen yet."""
        return empty_profiles(self.users)

    def payments(self, start: int, stop: int) -> Payments:
        """Some of the events as they are read for scoring."""
        found, refused = read_payments(
            self.keys[start:stop], self.values[start:stop], range(start, stop)
        )
        assert not refused
        return found

    def oracle_event(self, row: int) -> Event:
        """An event as the oracle of the tests takes it."""
        one = self.transactions[row]
        return Event(
            offset=row,
            user=one.user_id,
            tx_id=one.tx_id,
            time_ms=epoch_ms(one.timestamp),
            amount=one.amount,
            merchant=one.merchant_id,
            category=one.merchant_category,
            country=one.country,
            device=one.device_id,
            latitude=one.latitude,
            longitude=one.longitude,
        )

    def river_events(self, count: int) -> list[dict[int, float]]:
        """The inputs of the trees as River takes them: scaled, by name."""
        scaled = self.trees.scale(self.features.values[:count])
        return [dict(enumerate(row)) for row in scaled.tolist()]


def river_model() -> HalfSpaceTrees:
    """River's own trees, unlearned."""
    return HalfSpaceTrees(n_trees=_TREES, height=_HEIGHT, window_size=_WINDOW, seed=SEED)


def _planted(values: NDArray[np.float64]) -> HalfSpaceTreesArrays:
    model, width = river_model(), values.shape[1]
    model.learn_one(dict.fromkeys(range(width), 0.5))
    lower, upper = np.quantile(values, (0.001, 0.999), axis=0)
    return half_space_trees_from_river(
        model, np.arange(width), lower, np.maximum(upper, lower + 1.0)
    )
