"""From payments with labels to a supervised model that is calibrated and joined with the ensemble.

What a model says of the rows it was trained on flatters it. So a first model is grown on the older
labelled payments alone and judged on the newer ones, as models will be used. That shows what it
costs to listen to the ensemble as well, and which scores recent traffic gets. The model that serves
is grown on all.
"""

from dataclasses import asdict, dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamapp.features.contract import DAY_MS
from streamapp.features.risk_windows import RiskTable
from streamapp.lifecycle.boosting import BoostSettings, boost
from streamapp.lifecycle.caution import Judgement, best_caution
from streamapp.scoring.boosted_trees import BoostedTreesArrays
from streamapp.scoring.calibration import TailCurve
from streamapp.scoring.supervised import SUPERVISED_INPUTS, LabelTraining, Supervised

#: Rows without a label that show how scores of the two models differ; with fewer, chance would.
_COMPARED_MIN: Final = 2_000


@dataclass(frozen=True, slots=True)
class SupervisedSettings:
    """frauds_min: with fewer labelled frauds there is no supervised model. newer_share, newer_ms:
    of the labelled payments, those the first model is judged on: so many, and no longer.
    """

    boost: BoostSettings = field(default_factory=BoostSettings)
    frauds_min: int = 50
    newer_share: float = 0.25
    newer_ms: int = 14 * DAY_MS


DEFAULT_SETTINGS: Final = SupervisedSettings()


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Payments as training needs them, n rows.

    inputs (n, k): features and risk windows, each as of its own time. known (n): 1 fraud, 0
    genuine, -1 nothing is known yet. time_ms (n): of events. is_reference (n): rows of the recent
    traffic whose alerts are budgeted, labelled or not; ensemble_log_p (n): of those, by the
    ensemble.
    """

    inputs: NDArray[np.float64]
    known: NDArray[np.int8]
    time_ms: NDArray[np.int64]
    is_reference: NDArray[np.bool_]
    ensemble_log_p: NDArray[np.float64]


def train_supervised(
    rows: LabelledRows,
    *,
    table: RiskTable,
    windows_delay_days: int,
    seed: int,
    settings: SupervisedSettings = DEFAULT_SETTINGS,
) -> Supervised | None:
    """The model of these rows; None where the labels are too few for one and to judge it.

    table: the risk windows the model begins to serve with. The same arguments give the same model.
    """
    assert rows.inputs.shape[1] == len(SUPERVISED_INPUTS)
    known = rows.known
    split_ms = _split_ms(rows, settings)
    older = np.flatnonzero((known >= 0) & (rows.time_ms < split_ms))
    newer = np.flatnonzero(rows.is_reference & (rows.time_ms >= split_ms))
    is_judged = _is_judged(rows, newer)
    if int((known == 1).sum()) < settings.frauds_min:
        return None
    if not _has_both(known, older, newer[is_judged]):
        return None
    first = boost(rows.inputs[older], known[older] == 1, seed, settings.boost)
    labelled = np.flatnonzero(known >= 0)
    trees = boost(rows.inputs[labelled], known[labelled] == 1, seed, settings.boost)
    raw = _unflattered(rows, trees, first, newer)
    curve, ensemble_log_p = TailCurve.fit(raw), rows.ensemble_log_p[newer]
    everything = Judgement(curve.log_tail(raw), ensemble_log_p, known[newer] == 1)
    judged = everything.at(is_judged)
    caution = best_caution(judged)
    return Supervised(
        trees=trees,
        curve=curve,
        caution=caution,
        verdict_curve=TailCurve.fit(everything.joined(caution)),
        table=table,
        training=LabelTraining(
            rows=len(labelled),
            frauds=int((known == 1).sum()),
            windows_delay_days=windows_delay_days,
            supervised_average_precision=judged.precision(-judged.known_log_p),
            ensemble_average_precision=judged.precision(-judged.ensemble_log_p),
            verdict_average_precision=judged.precision(judged.joined(caution)),
            hyperparameters=asdict(settings.boost),
        ),
    )


def _split_ms(rows: LabelledRows, settings: SupervisedSettings) -> int:
    """Where the newer labelled payments begin.

    By genuine ones: where only fraud is reported, the newest labels are all of fraud.
    """
    genuine_ms = rows.time_ms[rows.known == 0]
    if len(genuine_ms) == 0:
        return 0
    split_ms = float(np.quantile(genuine_ms, 1.0 - settings.newer_share, method="lower"))
    return int(max(split_ms, genuine_ms.max() - settings.newer_ms))


def _is_judged(rows: LabelledRows, newer: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Of the newer rows those with labels, up to the last that is known as genuine."""
    until_ms = rows.time_ms[rows.known == 0].max(initial=0)
    is_judged: NDArray[np.bool_] = (rows.known[newer] >= 0) & (rows.time_ms[newer] <= until_ms)
    return is_judged


def _has_both(known: NDArray[np.int8], *parts: NDArray[np.int64]) -> bool:
    """Both fraud and genuine payments are in each of the parts."""
    return all({0, 1} <= {*np.unique(known[part]).tolist()} for part in parts)


def _unflattered(
    rows: LabelledRows,
    trees: BoostedTreesArrays,
    first: BoostedTreesArrays,
    newer: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Raw scores of the newer rows as the model gives them to rows that are new to it.

    Of rows without a label by the model; of the others by the first, mapped so that the rows
    without one would be scored as the model scores them.
    """
    inputs, is_new = rows.inputs[newer], rows.known[newer] < 0
    by_first = first.score(inputs)
    if is_new.sum() < _COMPARED_MIN:
        return by_first
    by_last = trees.score(inputs[is_new])
    mapped = _mapped(by_first, np.sort(by_first[is_new]), np.sort(by_last))
    mapped[is_new] = by_last
    return mapped


def _mapped(
    values: NDArray[np.float64], from_: NDArray[np.float64], to: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Values (n) by the line that takes from_ (m, rising) to to; moved alike beyond its ends."""
    inside = np.clip(values, from_[0], from_[-1])
    mapped: NDArray[np.float64] = np.interp(inside, from_, to) + (values - inside)
    return mapped
