"""From payments with labels to a supervised model that is calibrated and compared.

What a model says of the rows it was trained on flatters it. So for the curve the labelled rows are
parted by user into folds, and each fold is scored by a model grown on the others. And with the
ensemble it is compared as it will be used: grown on older rows, on newer ones.
"""

from dataclasses import asdict, dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from streamapp.features.risk_windows import RiskTable
from streamapp.lifecycle.boosting import BoostSettings, boost
from streamapp.scoring.boosted_trees import BoostedTreesArrays
from streamapp.scoring.calibration import TailCurve
from streamapp.scoring.supervised import SUPERVISED_INPUTS, LabelTraining, Supervised


@dataclass(frozen=True, slots=True)
class SupervisedSettings:
    """frauds_min: with fewer labelled frauds there is no supervised model. newest_share: of the
    labelled rows of the reference, those the model is compared on.
    """

    boost: BoostSettings = field(default_factory=BoostSettings)
    frauds_min: int = 50
    folds: int = 3
    newest_share: float = 0.25


DEFAULT_SETTINGS: Final = SupervisedSettings()


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Payments as training needs them, n rows.

    inputs (n, k): features and risk windows, each as of its own time. known (n): 1 fraud, 0
    genuine, -1 nothing is known yet. users (n): a hash of each row's user. time_ms (n): of events.
    is_reference (n): rows of the recent traffic whose alerts are budgeted, labelled or not;
    ensemble (n): of those, the risk by the ensemble.
    """

    inputs: NDArray[np.float64]
    known: NDArray[np.int8]
    users: NDArray[np.uint32]
    time_ms: NDArray[np.int64]
    is_reference: NDArray[np.bool_]
    ensemble: NDArray[np.float64]


def train_supervised(
    rows: LabelledRows,
    *,
    table: RiskTable,
    windows_delay_days: int,
    seed: int,
    settings: SupervisedSettings = DEFAULT_SETTINGS,
) -> Supervised | None:
    """The model of these rows; None where the labels are too few for one.

    table: the risk windows the model begins to serve with. The same arguments give the same model.
    """
    assert rows.inputs.shape[1] == len(SUPERVISED_INPUTS)
    labelled = np.flatnonzero(rows.known >= 0)
    is_fraud = rows.known[labelled] == 1
    fold = rows.users[labelled] % settings.folds
    least = min(_rarer(is_fraud[fold != number]) for number in range(settings.folds))
    if _rarer(is_fraud) < settings.frauds_min or least == 0:
        return None
    trees = boost(rows.inputs[labelled], is_fraud, seed, settings.boost)
    reference = np.flatnonzero(rows.is_reference)
    raw = _unflattered(rows, trees, reference, seed, settings)
    ours, theirs = _compared(rows, seed, settings)
    return Supervised(
        trees=trees,
        curve=TailCurve.fit(raw),
        leads=ours > theirs,
        table=table,
        training=LabelTraining(
            rows=len(labelled),
            frauds=int(is_fraud.sum()),
            windows_delay_days=windows_delay_days,
            supervised_average_precision=ours,
            ensemble_average_precision=theirs,
            hyperparameters={**asdict(settings.boost), "folds": settings.folds},
        ),
    )


def _compared(rows: LabelledRows, seed: int, settings: SupervisedSettings) -> tuple[float, float]:
    """Average precision of the supervised model and of the ensemble on the newest labelled rows.

    The first by a model grown on the labelled rows before them.
    """
    labelled = rows.known >= 0
    judged = labelled & rows.is_reference
    if not judged.any():
        return 0.0, 0.0
    from_ms = np.quantile(rows.time_ms[judged], 1.0 - settings.newest_share, method="lower")
    older = np.flatnonzero(labelled & (rows.time_ms < from_ms))
    newest = np.flatnonzero(judged & (rows.time_ms >= from_ms))
    truth, is_fraud = rows.known[newest] == 1, rows.known[older] == 1
    if not truth.any() or _rarer(is_fraud) == 0:
        return 0.0, 0.0
    trees = boost(rows.inputs[older], is_fraud, seed, settings.boost)
    scores = trees.score(rows.inputs[newest]), rows.ensemble[newest]
    ours, theirs = (float(average_precision_score(truth, score)) for score in scores)
    return ours, theirs


def _unflattered(
    rows: LabelledRows,
    trees: BoostedTreesArrays,
    reference: NDArray[np.int64],
    seed: int,
    settings: SupervisedSettings,
) -> NDArray[np.float64]:
    """Raw scores of the reference, of labelled rows by a model that was not grown on their user."""
    raw = trees.score(rows.inputs[reference])
    labelled = rows.known >= 0
    fold = rows.users % settings.folds
    for number in range(settings.folds):
        judged = labelled[reference] & (fold[reference] == number)
        if judged.any():
            grown = np.flatnonzero(labelled & (fold != number))
            other = boost(rows.inputs[grown], rows.known[grown] == 1, seed, settings.boost)
            raw[judged] = other.score(rows.inputs[reference[judged]])
    return raw


def _rarer(is_fraud: NDArray[np.bool_]) -> int:
    return int(min(is_fraud.sum(), (~is_fraud).sum()))
