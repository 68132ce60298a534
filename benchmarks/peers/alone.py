"""scikit-learn and River alone, without Kafka, state store or process boundary.

The tutorial's features and models on recorded traffic, bytes in and bytes out: an event at a time,
and in batches of 256 as far as the libraries have them (River's trees take an event at a time).
So what a stream engine costs can be told from what the models cost.
"""

import time
from collections.abc import Callable

import msgspec
import numpy as np
from river import anomaly, compose, preprocessing
from sklearn.ensemble import IsolationForest

from benchmarks.peers.event_scorer import EventScorer
from benchmarks.traffic import traffic
from benchmarks.tutorial_features import (
    FEATURE_NAMES,
    Profile,
    Transaction,
    features_of,
    learn,
    new_profile,
)
from streamapp.scoring.artifact import load
from streamapp.scoring.default_model import default_model_dir

REFERENCE_ROWS = 5_000
SEED = 42
BATCH = 256


class Alone:
    """Models, profiles of the users met so far, and verdicts."""

    def __init__(self) -> None:
        self._profiles: dict[str, Profile] = {}
        reference = [value for batch in traffic(REFERENCE_ROWS) for value in batch.values]
        rows = [[*features.values()] for _, features in self._featured(reference)]
        self._forest = IsolationForest(n_estimators=100, random_state=SEED).fit(np.array(rows))
        self._trees = compose.Pipeline(
            preprocessing.MinMaxScaler(),
            anomaly.HalfSpaceTrees(n_trees=25, height=8, window_size=250, seed=SEED),
        )
        self._profiles.clear()

    def score(self, values: list[bytes]) -> list[bytes]:
        """Verdicts on a batch, of one event or more."""
        featured = self._featured(values)
        rows = np.array([[features[name] for name in FEATURE_NAMES] for _, features in featured])
        forest = (-self._forest.score_samples(rows)).tolist()
        return [
            self._verdict(transaction, features, isolation)
            for (transaction, features), isolation in zip(featured, forest, strict=True)
        ]

    def _featured(self, values: list[bytes]) -> list[tuple[Transaction, dict[str, float]]]:
        found = []
        for value in values:
            transaction = Transaction.loads(value)
            profile = self._profiles.setdefault(transaction.user_id, new_profile())
            found.append((transaction, features_of(transaction, profile)))
            learn(transaction, profile)
        return found

    def _verdict(
        self, transaction: Transaction, features: dict[str, float], isolation: float
    ) -> bytes:
        half_space = float(self._trees.score_one(features))
        self._trees.learn_one(features)
        return msgspec.json.encode(
            {
                "tx_id": transaction.tx_id,
                "user_id": transaction.user_id,
                "timestamp": transaction.timestamp,
                "risk_score": round(100 * (isolation + half_space) / 2, 2),
                "scores": {"isolation_forest": isolation, "half_space_trees": half_space},
                "features": features,
            }
        )


class AloneRun(msgspec.Struct, frozen=True):
    """One measurement without Kafka."""

    events: int
    seconds: float
    events_per_s: float
    cpu_us_per_event: float


def measure_alone(batch: int, rows: int) -> AloneRun:
    """Score `rows` transactions with the libraries in batches of `batch`, warmed up."""
    alone, values = Alone(), _values(rows)
    alone.score(values[:1])

    def score_all() -> None:
        for start in range(0, rows, batch):
            alone.score(values[start : start + batch])

    return _timed(score_all, rows)


def measure_kernels(rows: int) -> AloneRun:
    """Score `rows` transactions an event at a time with what the other peers score with."""
    scorer = EventScorer(load(default_model_dir()), "transactions", 0)
    batches = list(traffic(rows))
    keys, values = [key for one in batches for key in one.keys], _values(rows)
    profiles: dict[bytes, bytes] = {}

    def score_all() -> None:
        for offset, (key, value) in enumerate(zip(keys, values, strict=True), start=1):
            scored = scorer.score(key, value, offset, profiles.get(key))
            if scored is not None:
                profiles[key] = scored.profile

    scorer.score(keys[0], values[0], 0, None)
    return _timed(score_all, rows)


def _values(rows: int) -> list[bytes]:
    return [value for one in traffic(rows) for value in one.values]


def _timed(score_all: Callable[[], None], rows: int) -> AloneRun:
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    score_all()
    seconds, cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
    return AloneRun(rows, round(seconds, 3), round(rows / seconds, 1), round(cpu_s / rows * 1e6, 2))
