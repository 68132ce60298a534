"""Raw scores of one event to its risk: `streamapp.scoring.risk` for a batch of one.

A call of numpy costs more than the arithmetic of one event, so knots are lists here.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

from streamapp.scoring.calibration import (
    _EXTREME_WEIGHT,
    _RISK,
    _RISK_LOG_P,
    DEFAULT_CUTOFFS,
    TAIL_SHARE_MIN,
    EnsembleCurves,
    TailCurve,
)

Pair = tuple[float, float]

_FLOOR: Final = math.log(TAIL_SHARE_MIN)


@dataclass(frozen=True, slots=True)
class ScalarCurve:
    """A falling or rising curve of knots, read at one place at a time."""

    xs: list[float]
    ys: list[float]
    slope: float

    @classmethod
    def of(cls, curve: TailCurve) -> "ScalarCurve":
        """The same curve."""
        return cls(curve.raw.tolist(), curve.log_p.tolist(), curve.slope)

    def at(self, value: float) -> float:
        """As the batch's interpolation."""
        xs, ys = self.xs, self.ys
        if not value > xs[0]:
            return ys[0]
        if value >= xs[-1]:
            beyond = self.slope * (value - xs[-1]) if self.slope < 0.0 else 0.0
            return max(ys[-1] + beyond, _FLOOR)
        low = bisect_right(xs, value) - 1
        share = (value - xs[low]) / (xs[low + 1] - xs[low])
        return ys[low] + share * (ys[low + 1] - ys[low])


_RISK_CURVE: Final = ScalarCurve(_RISK_LOG_P.tolist(), _RISK.tolist(), 0.0)


@dataclass(frozen=True, slots=True)
class ScalarCurves:
    """The curves of one mode."""

    forest: ScalarCurve
    half_space: ScalarCurve
    combined: ScalarCurve

    @classmethod
    def of(cls, curves: EnsembleCurves) -> "ScalarCurves":
        """The same curves."""
        return cls(
            ScalarCurve.of(curves.isolation_forest),
            ScalarCurve.of(curves.half_space_trees),
            ScalarCurve.of(curves.combined),
        )


def risk_of(curves: ScalarCurves, raw: Pair, is_warm: bool) -> tuple[Pair, Pair, float, int]:
    """log p and share of both members, risk score and severity (0 to 3)."""
    forest, half_space = curves.forest.at(raw[0]), curves.half_space.at(raw[1])
    combined = forest
    if is_warm:
        mean = (-forest - half_space) / 2
        largest = max(-forest, -half_space, 0.0)
        combined = curves.combined.at(_EXTREME_WEIGHT * largest + (1.0 - _EXTREME_WEIGHT) * mean)
    risk = math.floor(_RISK_CURVE.at(combined) * 100.0 + 0.5) / 100.0
    severity = sum(risk >= cutoff for cutoff in DEFAULT_CUTOFFS)
    return (forest, half_space), (math.exp(forest), math.exp(half_space)), risk, severity
