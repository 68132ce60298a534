"""The supervised model: boosted trees over features and risk windows, calibrated like the others.

Its raw score is the log-odds of fraud; one curve for all modes turns it into a tail share, since
log-odds mean the same whoever pays.
"""

from dataclasses import dataclass, fields
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamapp.features.contract import FEATURE_NAMES
from streamapp.features.risk_windows import RISK_KINDS, RISK_NAMES, RiskTable
from streamapp.scoring.boosted_trees import BoostedTreesArrays
from streamapp.scoring.calibration import TailCurve

#: Columns of the matrix the trees look at.
SUPERVISED_INPUTS: Final = (*FEATURE_NAMES, *RISK_NAMES)

#: Files of an artifact that has a supervised model, with kind and number of dimensions.
SUPERVISED_FILES: Final[dict[str, tuple[str, int]]] = {
    "supervised_features.npy": ("|u1", 2),
    "supervised_thresholds.npy": ("<f8", 2),
    "supervised_leaves.npy": ("<f8", 2),
    "supervised_covers.npy": ("<f8", 2),
    "curve_supervised.npy": ("<f8", 2),
    **{f"risk_{kind}_names.npy": ("<u4", 1) for kind in RISK_KINDS},
    **{f"risk_{kind}_values.npy": ("<f8", 2) for kind in RISK_KINDS},
}


class LabelTraining(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the supervised model was made.

    rows, frauds: labelled payments it was trained on. average_precision: of a supervised model
    trained on the older of them, and of the ensemble, on the newest.
    """

    rows: int
    frauds: int
    windows_delay_days: int
    supervised_average_precision: float
    ensemble_average_precision: float
    hyperparameters: dict[str, int | float]


class SupervisedManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the manifest says of a supervised model beside its arrays."""

    inputs: tuple[str, ...]
    base: float
    curve_slope: float
    leads: bool
    risk_day: int
    training: LabelTraining


@dataclass(frozen=True)
class Supervised:
    """A trained supervised model.

    leads: its opinion is the verdict's, the ensemble's is not. table: the risk windows of the day
    it was made.
    """

    trees: BoostedTreesArrays
    curve: TailCurve
    leads: bool
    table: RiskTable
    training: LabelTraining

    def __post_init__(self) -> None:
        """Raise ValueError where the trees look beyond the inputs."""
        if self.trees.column_max >= len(SUPERVISED_INPUTS):
            raise ValueError("the supervised model looks at columns that are not inputs")

    def opinions(
        self, values: NDArray[np.float64], windows: NDArray[np.float64]
    ) -> "SupervisedOpinions":
        """What it says of events with features values (n, d) and risk windows (n, w)."""
        inputs = np.hstack([values, windows])
        assert inputs.shape[1] == len(SUPERVISED_INPUTS), "values or windows are of another width"
        raw = self.trees.score(inputs)
        return SupervisedOpinions(inputs, raw, self.curve.log_tail(raw), self.leads)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What is stored, by file."""
        trees = {f"supervised_{name}.npy": getattr(self.trees, name) for name in _TREES}
        table = self.table
        return {
            **trees,
            "curve_supervised.npy": np.stack([self.curve.raw, self.curve.log_p]),
            **{f"risk_{kind}_names.npy": table.names[i] for i, kind in enumerate(RISK_KINDS)},
            **{f"risk_{kind}_values.npy": table.values[i] for i, kind in enumerate(RISK_KINDS)},
        }

    def manifest(self) -> SupervisedManifest:
        """What is stored beside the arrays."""
        return SupervisedManifest(
            inputs=SUPERVISED_INPUTS,
            base=self.trees.base,
            curve_slope=self.curve.slope,
            leads=self.leads,
            risk_day=self.table.day,
            training=self.training,
        )

    @classmethod
    def stored(cls, manifest: SupervisedManifest, arrays: dict[str, NDArray[Any]]) -> "Supervised":
        """Read back what was stored. Raises ValueError where it does not fit."""
        if manifest.inputs != SUPERVISED_INPUTS:
            raise ValueError("the supervised model was trained on other inputs")
        knots = arrays["curve_supervised.npy"]
        if knots.shape[0] != 2:
            raise ValueError("curve_supervised.npy must hold two rows")
        trees = {name: arrays[f"supervised_{name}.npy"] for name in _TREES}
        return cls(
            trees=BoostedTreesArrays(**trees, base=manifest.base),
            curve=TailCurve(knots[0].copy(), knots[1].copy(), manifest.curve_slope),
            leads=manifest.leads,
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

    leads: these opinions are the verdict's.
    """

    inputs: NDArray[np.float64]
    raw: NDArray[np.float64]
    log_p: NDArray[np.float64]
    leads: bool


_TREES: Final = tuple(one.name for one in fields(BoostedTreesArrays) if one.name != "base")
