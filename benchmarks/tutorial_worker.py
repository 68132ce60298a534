"""The tutorial way: what one writes from the documentation of Faust, scikit-learn and River.

An agent takes one event at a time, keeps the user's profile in a Faust table on RocksDB, asks an
`IsolationForest` for the score of one row and River's half-space trees for another, and awaits the
sending of the verdict. Nothing is made slow on purpose, and what its authors would not do (a
transport of one's own, compiled trees) is not done. Run by `benchmarks.throughput`.
"""

import os
from pathlib import Path
from typing import Any

import faust
import numpy as np
from faust.types import StreamT
from river import anomaly, compose, preprocessing
from sklearn.ensemble import IsolationForest

from benchmarks.tutorial_features import (
    FEATURE_NAMES,
    Profile,
    Transaction,
    features_of,
    learn,
    new_profile,
)
from streamapp.replay.reader import recorded
from streamapp.replay.sample import sample

PREFIX = os.environ["BENCHMARK_PREFIX"]
REFERENCE_ROWS = 5_000
SEED = 42


class Verdict(faust.Record, serializer="json"):
    """The answer to one transaction."""

    tx_id: str
    user_id: str
    timestamp: str
    risk_score: float
    severity: str
    scores: dict[str, float]
    features: dict[str, float]


app = faust.App(
    f"{PREFIX}tutorial",
    broker=f"kafka://{os.environ['BENCHMARK_BOOTSTRAP']}",
    store="rocksdb://",
    datadir=Path(os.environ["BENCHMARK_STATE_DIR"]),
    topic_partitions=int(os.environ["BENCHMARK_PARTITIONS"]),
    web_enabled=False,
)
transactions_topic = app.topic(f"{PREFIX}transactions", key_type=str, value_type=Transaction)
verdicts_topic = app.topic(f"{PREFIX}verdicts", key_type=str, value_type=Verdict)
anomalies_topic = app.topic(f"{PREFIX}anomalies", key_type=str, value_type=Verdict)
profiles = app.Table("profiles", default=new_profile, key_type=str, value_type=Profile)


def trained_forest() -> IsolationForest:
    """A forest trained on recorded traffic before the worker starts."""
    earlier: dict[str, Profile] = {}
    rows = []
    for batch in recorded(sample(), limit=REFERENCE_ROWS):
        for value in batch.values:
            transaction = Transaction.loads(value)
            profile = earlier.setdefault(transaction.user_id, new_profile())
            rows.append([*features_of(transaction, profile).values()])
            learn(transaction, profile)
    return IsolationForest(n_estimators=100, random_state=SEED).fit(np.array(rows))


forest = trained_forest()
half_space_trees = compose.Pipeline(
    preprocessing.MinMaxScaler(),
    anomaly.HalfSpaceTrees(n_trees=25, height=8, window_size=250, seed=SEED),
)


def severity_of(risk_score: float) -> str:
    """The name of a risk score's range."""
    for severity, least in (("CRITICAL", 90), ("HIGH", 70), ("MEDIUM", 50)):
        if risk_score >= least:
            return severity
    return "LOW"


def score_one(transaction: Transaction, features: dict[str, float]) -> Verdict:
    """Ask both models about one event; the half-space trees learn it."""
    row = np.array([[features[name] for name in FEATURE_NAMES]])
    isolation = -float(forest.score_samples(row)[0])
    half_space = float(half_space_trees.score_one(features))
    half_space_trees.learn_one(features)
    risk_score = round(100 * (isolation + half_space) / 2, 2)
    return Verdict(
        tx_id=transaction.tx_id,
        user_id=transaction.user_id,
        timestamp=transaction.timestamp.isoformat(),
        risk_score=risk_score,
        severity=severity_of(risk_score),
        scores={"isolation_forest": isolation, "half_space_trees": half_space},
        features=features,
    )


@app.agent(transactions_topic)
async def score(transactions: StreamT[Any]) -> None:
    """Score each transaction as it comes."""
    async for transaction in transactions:
        profile = profiles[transaction.user_id]
        features = features_of(transaction, profile)
        learn(transaction, profile)
        profiles[transaction.user_id] = profile
        verdict = score_one(transaction, features)
        await verdicts_topic.send(key=transaction.user_id, value=verdict)
        if verdict.severity != "LOW":
            await anomalies_topic.send(key=transaction.user_id, value=verdict)


if __name__ == "__main__":
    app.main()
