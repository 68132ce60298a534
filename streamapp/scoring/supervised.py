"""The supervised model: boosted trees over features and context, calibrated like the others.

Its raw score is the log-odds of fraud; one curve for all modes turns it into a tail share, since
log-odds mean the same whoever pays. The verdict's risk is of what it and the ensemble say.
"""

from dataclasses import dataclass, fields
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamapp.features.context import CONTEXT_NAMES
from streamapp.features.contract import FEATURE_NAMES
from streamapp.features.risk_windows import RISK_KINDS, RiskTable
from streamapp.scoring.boosted_trees import BoostedTreesArrays
from streamapp.scoring.calibration import TailCurve
from streamapp.scoring.joined_surprise import CAUTION_MAX, join_surprise

#: Columns of the matrix the trees look at.
SUPERVISED_INPUTS: Final = (*FEATURE_NAMES, *CONTEXT_NAMES)

#: Files of an artifact that has a supervised model, with kind and number of dimensions.
SUPERVISED_FILES: Final[dict[str, tuple[str, int]]] = {
    "supervised_features.npy": ("|u1", 2),
    "supervised_thresholds.npy": ("<f8", 2),
    "supervised_leaves.npy": ("<f8", 2),
    "supervised_covers.npy": ("<f8", 2),
    "curve_supervised.npy": ("<f8", 2),
    "curve_verdict.npy": ("<f8", 2),
    **{f"risk_{kind}_names.npy": ("<u4", 1) for kind in RISK_KINDS},
    **{f"risk_{kind}_values.npy": ("<f8", 2) for kind in RISK_KINDS},
}


class LabelTraining(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the supervised model was made.

    rows, frauds: labelled payments it was trained on. average_precision: on the newest of them, of
    a supervised model trained on the older ones, of the ensemble, and of the verdict.
    """

    rows: int
    frauds: int
    windows_delay_days: int
    supervised_average_precision: float
    ensemble_average_precision: float
    verdict_average_precision: float
    hyperparameters: dict[str, int | float]


class SupervisedManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the manifest says of a supervised model beside its arrays."""

    inputs: tuple[str, ...]
    base: float
    curve_slope: float
    caution: float
    verdict_slope: float
    risk_day: int
    training: LabelTraining


@dataclass(frozen=True)
class Supervised:
    """A trained supervised model.

    curve: of its own raw score. caution: how much less the ensemble counts, in nats; verdict_curve:
    of the surprise to either. table: the risk windows of the day it was made.
    """

    trees: BoostedTreesArrays
    curve: TailCurve
    caution: float
    verdict_curve: TailCurve
    table: RiskTable
    training: LabelTraining

    def __post_init__(self) -> None:
        """Raise ValueError where the trees look beyond the inputs or the ensemble is not heard."""
        if self.trees.column_max >= len(SUPERVISED_INPUTS):
            raise ValueError("the supervised model looks at columns that are not inputs")
        if not -CAUTION_MAX <= self.caution <= CAUTION_MAX:
            raise ValueError(f"caution is {self.caution}, must be within {CAUTION_MAX} of 0")

    def opinions(
        self,
        values: NDArray[np.float64],
        context: NDArray[np.float64],
        ensemble_log_p: NDArray[np.float64],
    ) -> "SupervisedOpinions":
        """What it says of events with features values (n, d) and context (n, c).

        ensemble_log_p (n): log p by the ensemble.
        """
        inputs = np.hstack([values, context])
        assert inputs.shape[1] == len(SUPERVISED_INPUTS), "values or context are of another width"
        raw = self.trees.score(inputs)
        log_p = self.curve.log_tail(raw)
        joined, known_share = join_surprise(log_p, ensemble_log_p, self.caution)
        return SupervisedOpinions(
            inputs=inputs,
            raw=raw,
            log_p=log_p,
            verdict_log_p=self.verdict_curve.log_tail(joined),
            known_share=known_share,
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What is stored, by file."""
        trees = {f"supervised_{name}.npy": getattr(self.trees, name) for name in _TREES}
        table = self.table
        return {
            **trees,
            "curve_supervised.npy": _knots(self.curve),
            "curve_verdict.npy": _knots(self.verdict_curve),
            **{f"risk_{kind}_names.npy": table.names[i] for i, kind in enumerate(RISK_KINDS)},
            **{f"risk_{kind}_values.npy": table.values[i] for i, kind in enumerate(RISK_KINDS)},
        }

    def manifest(self) -> SupervisedManifest:
        """What is stored beside the arrays."""
        return SupervisedManifest(
            inputs=SUPERVISED_INPUTS,
            base=self.trees.base,
            curve_slope=self.curve.slope,
            caution=self.caution,
            verdict_slope=self.verdict_curve.slope,
            risk_day=self.table.day,
            training=self.training,
        )

    @classmethod
    def stored(cls, manifest: SupervisedManifest, arrays: dict[str, NDArray[Any]]) -> "Supervised":
        """Read back what was stored. Raises ValueError where it does not fit."""
        if manifest.inputs != SUPERVISED_INPUTS:
            raise ValueError("the supervised model was trained on other inputs")
        trees = {name: arrays[f"supervised_{name}.npy"] for name in _TREES}
        return cls(
            trees=BoostedTreesArrays(**trees, base=manifest.base),
            curve=_curve(arrays, "curve_supervised.npy", manifest.curve_slope),
            caution=manifest.caution,
            verdict_curve=_curve(arrays, "curve_verdict.npy", manifest.verdict_slope),
            table=RiskTable(
                manifest.risk_day,
                tuple(arrays[f"risk_{kind}_names.npy"] for kind in RISK_KINDS),
                tuple(arrays[f"risk_{kind}_values.npy"] for kind in RISK_KINDS),
            ),
            training=manifest.training,
        )


@dataclass(frozen=True, slots=True)
class SupervisedOpinions:
    """Of n events: inputs (n, k) as the trees saw them, raw log-odds (n) and log p (n).

    verdict_log_p (n): of this and the ensemble; known_share (n): how much of it is this model's.
    """

    inputs: NDArray[np.float64]
    raw: NDArray[np.float64]
    log_p: NDArray[np.float64]
    verdict_log_p: NDArray[np.float64]
    known_share: NDArray[np.float64]


def _knots(curve: TailCurve) -> NDArray[np.float64]:
    return np.stack([curve.raw, curve.log_p])


def _curve(arrays: dict[str, NDArray[Any]], name: str, slope: float) -> TailCurve:
    """Raises ValueError where the file does not hold one."""
    knots = arrays[name]
    if knots.shape[0] != 2:
        raise ValueError(f"{name} must hold two rows")
    return TailCurve(knots[0].copy(), knots[1].copy(), slope)


_TREES: Final = tuple(one.name for one in fields(BoostedTreesArrays) if one.name != "base")
