"""A model from recorded traffic and the labels that are known of it."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from streamapp.features.contract import DAY_MS
from streamapp.lifecycle.labels import LabelCounts, Labels, join, payment_keys
from streamapp.lifecycle.risk_ledger import RiskLedger, contexts_of, days_of
from streamapp.lifecycle.supervised_training import (
    DEFAULT_SETTINGS,
    LabelledRows,
    SupervisedSettings,
    train_supervised,
)
from streamapp.lifecycle.training import Reference, TrainingError, reference_opinions
from streamapp.scoring.artifact import ModelArtifact


@dataclass(frozen=True, slots=True)
class LabelledModel:
    """The model, what became of the labels, and the context (n, c) of the reference."""

    model: ModelArtifact
    counts: LabelCounts
    context: NDArray[np.float64]


def learn_labels(
    model: ModelArtifact,
    reference: Reference,
    labels: Labels,
    *,
    delay_ms: int,
    seed: int,
    settings: SupervisedSettings = DEFAULT_SETTINGS,
) -> LabelledModel:
    """Give a model trained on the reference a supervised part, by what is known at its end.

    delay_ms: how long before a day risk windows end. Raises TrainingError where too little is
    known.
    """
    now_ms = int(reference.time_ms.max())
    keys = payment_keys(reference.tx, reference.users)
    opinions = join(labels, keys, reference.time_ms)
    ledger = RiskLedger(days_of(delay_ms))
    payment, known_ms, change = opinions.fraud_changes()
    ledger.add_fraud_changes(reference.time_ms[payment], reference.names[payment], known_ms, change)
    context = contexts_of(ledger, reference.time_ms, reference.names)
    supervised = train_supervised(
        LabelledRows(
            inputs=np.hstack([reference.rows, context]),
            known=opinions.at(now_ms),
            time_ms=reference.time_ms,
            is_reference=np.ones(len(reference.rows), np.bool_),
            ensemble_log_p=reference_opinions(model, reference).ensemble_log_p,
        ),
        table=ledger.table(now_ms // DAY_MS),
        windows_delay_days=days_of(delay_ms),
        seed=seed,
        settings=settings,
    )
    if supervised is None:
        raise TrainingError(
            f"fewer than {settings.frauds_min} payments are known as fraud by the end of the"
            " traffic: give more traffic with labels, or train without --labels"
        )
    return LabelledModel(replace(model, supervised=supervised), opinions.counts, context)
