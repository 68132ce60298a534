"""Raw scores become tail shares, tail shares one risk score, and the risk score a severity.

Everything runs on log p, the natural logarithm of the tail share p (the share of reference
traffic that scores at least as high): it is what risk is linear in, and small p stay exact.

Ties: p of a raw score counts the reference scores equal to it. So at most a share a of reference
traffic has p <= a however many scores are equal, and an alert budget is never overrun by a tie.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamapp.features.compiled import kernel

#: No tail share below this is told apart: one in a million, far beyond any reference we fit on.
TAIL_SHARE_MIN: Final = 1e-6
_LOG_TAIL_MIN: Final = math.log(TAIL_SHARE_MIN)

#: Bound on the knots of a curve: log p is then within 0.06 of the reference (see `fit`).
KNOTS_MAX: Final = 512

#: Beyond the largest reference score the curve goes on with the slope of this many scores.
_TAIL_SCORES: Final = 50

#: contracts.md, "The risk score". Between 0.1 % and TAIL_SHARE_MIN risk is linear as well.
_RISK_KNOTS: Final = ((1.0, 0.0), (0.02, 50.0), (0.005, 70.0), (0.001, 90.0), (1e-6, 100.0))
_RISK_LOG_P: Final = np.array([math.log(share) for share, _ in reversed(_RISK_KNOTS)])
_RISK: Final = np.array([risk for _, risk in reversed(_RISK_KNOTS)])

#: Lowest risk score of MEDIUM, HIGH and CRITICAL: 2 %, 0.5 % and 0.1 % of reference traffic.
DEFAULT_CUTOFFS: Final = (50.0, 70.0, 90.0)

#: How much of the combined statistic is the most surprised member alone, the rest being the mean.
#: One half lets an extreme member count without making the others silent.
_EXTREME_WEIGHT: Final = 0.5


@dataclass(frozen=True, slots=True)
class TailCurve:
    """Maps a raw score (higher = more anomalous) to log p, never increasing.

    raw (k) float64: knots, strictly increasing. log_p (k) float64: never increasing, <= 0; linear
    between knots. Below the first knot p is 1; beyond the last it falls by `slope` (<= 0) for each
    unit of raw score, down to TAIL_SHARE_MIN.
    """

    raw: NDArray[np.float64]
    log_p: NDArray[np.float64]
    slope: float

    def __post_init__(self) -> None:
        """Raise ValueError where the knots are not a falling curve."""
        if self.raw.dtype != np.float64 or self.log_p.dtype != np.float64:
            raise ValueError("knots must be float64")
        if self.raw.ndim != 1 or self.raw.shape != self.log_p.shape:
            raise ValueError("knots must be two vectors of one length")
        if not 1 <= len(self.raw) <= KNOTS_MAX:
            raise ValueError(f"curve has {len(self.raw)} knots, must have 1 to {KNOTS_MAX}")
        if not (np.isfinite(self.raw).all() and np.isfinite(self.log_p).all()):
            raise ValueError("knots must be finite")
        if (np.diff(self.raw) <= 0).any() or (np.diff(self.log_p) > 0).any():
            raise ValueError("raw scores must rise and tail shares must not")
        if self.log_p[0] > 0 or not (math.isfinite(self.slope) and self.slope <= 0):
            raise ValueError("tail shares must stay within 1 and fall beyond the last knot")

    @classmethod
    def fit(cls, reference: NDArray[np.float64]) -> "TailCurve":
        """The curve of these reference scores (n >= 1, finite).

        A knot is kept where log p has fallen by a step since the last one, together with the score
        before it; so between knots log p errs by less than a step, and steep ties stay steep.
        """
        if len(reference) == 0 or not np.isfinite(reference).all():
            raise ValueError("a tail curve needs finite reference scores, at least one")
        scores, counts = np.unique(reference.astype(np.float64), return_counts=True)
        at_least = np.cumsum(counts[::-1])[::-1]
        log_p = np.maximum(np.log(at_least / len(reference)), _LOG_TAIL_MIN)
        kept = _keep_knots(log_p, -float(log_p[-1]) / (KNOTS_MAX // 2 - 2))
        return cls(scores[kept], log_p[kept], _tail_slope(scores, log_p, at_least))

    def log_tail(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """log p of each raw score (n), from log(TAIL_SHARE_MIN) to 0; NaN tells nothing: 0."""
        out = np.empty(len(raw), np.float64)
        _interpolate(raw, self.raw, self.log_p, self.slope, _LOG_TAIL_MIN, out)
        return out


@dataclass(frozen=True, slots=True)
class EnsembleCurves:
    """The curves of one mode: one for each member and one for what `combine` makes of them."""

    isolation_forest: TailCurve
    half_space_trees: TailCurve
    combined: TailCurve


@dataclass(frozen=True, slots=True)
class PackedCurves:
    """The curves of all modes in arrays, for a loop over rows of different modes.

    knots (modes, 3, 2, k) float64: raw scores and log p of each curve, in the order of the fields
    of `EnsembleCurves`; sizes (modes, 3): how many of the k it has; slopes (modes, 3).
    """

    knots: NDArray[np.float64]
    sizes: NDArray[np.int64]
    slopes: NDArray[np.float64]

    @classmethod
    def of(cls, modes: Sequence[EnsembleCurves]) -> "PackedCurves":
        """The curves of modes in this order."""
        curves = [(one.isolation_forest, one.half_space_trees, one.combined) for one in modes]
        shape = (len(modes), 3)
        sizes = np.array([[len(one.raw) for one in three] for three in curves], np.int64)
        knots = np.zeros((*shape, 2, int(sizes.max())))
        for mode, three in enumerate(curves):
            for at, one in enumerate(three):
                knots[mode, at, :, : len(one.raw)] = one.raw, one.log_p
        slopes = np.array([[one.slope for one in three] for three in curves])
        return cls(knots, sizes, slopes)

    def judge(
        self,
        mode: NDArray[np.uint8],
        raw: NDArray[np.float64],
        is_warm: NDArray[np.bool_],
        flagged_risk: float,
        into: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    ) -> NDArray[np.bool_]:
        """Which rows (n) of raw scores (n, 2) by forest and half-space trees are flagged.

        into: the members' log p (n, 2), the ensemble's (n) and the risk (n) are written there.
        is_warm (n): the half-space trees have an opinion.
        """
        flagged = np.empty(len(mode), np.bool_)
        arrays = (self.knots, self.sizes, self.slopes)
        _judge_rows(arrays, mode, raw, is_warm, flagged_risk, into, flagged)
        return flagged


def combine(log_p: NDArray[np.float64], available: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The ensemble's raw score (n): how surprised its available members are, in nats.

    Half the mean of -log p (Fisher's method) and half the largest (Tippett's): members that agree
    add up, and one extreme member counts alone. log_p, available: (n, members). 0 where no member
    is available.
    """
    assert log_p.shape == available.shape
    out = np.empty(len(log_p), np.float64)
    _combine_rows(log_p, available, out)
    return out


def combined_log_tail(
    curve: TailCurve, log_p: NDArray[np.float64], available: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """log p of the ensemble (n), by the curve of `combine` over the reference.

    A row with one available member keeps that member's log p: the curve was fitted on all of them.
    """
    out = curve.log_tail(combine(log_p, available))
    _keep_single_members(log_p, available, out)
    return out


def tail_share(log_p: NDArray[np.float64]) -> NDArray[np.float64]:
    """p = exp(log p), for people to read."""
    out = np.empty(len(log_p), np.float64)
    _exponentials(log_p, out)
    return out


def risk_score(log_p: NDArray[np.float64]) -> NDArray[np.float64]:
    """The risk score (n), 0 to 100 with two decimals, of each log p.

    p = 1 gives 0, 2 % 50, 0.5 % 70, 0.1 % 90, TAIL_SHARE_MIN 100; linear in log p between.
    """
    out = np.empty(len(log_p), np.float64)
    _interpolate(log_p, _RISK_LOG_P, _RISK, 0.0, 0.0, out)
    _round_hundredths(out)
    return out


def risk_tail_share(risk: NDArray[np.float64]) -> NDArray[np.float64]:
    """The tail share p (n) at which `risk_score` gives each risk score."""
    share: NDArray[np.float64] = np.exp(np.interp(risk, _RISK[::-1], _RISK_LOG_P[::-1]))
    return share


def severity_codes(
    risk: NDArray[np.float64], cutoffs: tuple[float, float, float] = DEFAULT_CUTOFFS
) -> NDArray[np.int8]:
    """Severity of each risk score (n): 0 LOW, 1 MEDIUM, 2 HIGH, 3 CRITICAL.

    cutoffs: the lowest risk score of MEDIUM, HIGH and CRITICAL, rising.
    """
    medium, high, critical = cutoffs
    assert medium <= high <= critical, "cut-offs must rise"
    out = np.empty(len(risk), np.int8)
    _count_cutoffs(risk, medium, high, critical, out)
    return out


def _keep_knots(log_p: NDArray[np.float64], step: float) -> NDArray[np.int64]:
    kept = [0]
    for index in range(1, len(log_p)):
        if log_p[index] <= log_p[kept[-1]] - step:
            kept += [index - 1, index] if kept[-1] < index - 1 else [index]
    if kept[-1] != len(log_p) - 1:
        kept.append(len(log_p) - 1)
    return np.array(kept, np.int64)


def _tail_slope(
    scores: NDArray[np.float64], log_p: NDArray[np.float64], at_least: NDArray[np.int64]
) -> float:
    """Fall of log p for each unit of raw score over the last _TAIL_SCORES reference scores."""
    if len(scores) == 1:
        return 0.0
    first = min(int(np.searchsorted(-at_least, -_TAIL_SCORES)), len(scores) - 2)
    slope = float(log_p[-1] - log_p[first]) / float(scores[-1] - scores[first])
    # Scores that are all but equal would give infinity.
    return max(slope, -float(np.finfo(np.float64).max))


@kernel
def _interpolate(
    values: NDArray[np.float64],
    xs: NDArray[np.float64],
    ys: NDArray[np.float64],
    slope: float,
    floor: float,
    out: NDArray[np.float64],
) -> None:
    for r in range(len(values)):
        out[r] = _interpolated(values[r], xs, ys, slope, floor)


@kernel
def _interpolated(
    value: float,
    xs: NDArray[np.float64],
    ys: NDArray[np.float64],
    slope: float,
    floor: float,
) -> float:
    """Piecewise linear with knots (xs, ys); ys[0] below them, `slope` down to `floor` beyond."""
    last = len(xs) - 1
    found: float = ys[0]
    if value >= xs[last] and value > xs[0]:
        beyond = slope * (value - xs[last]) if slope < 0.0 else 0.0
        found = max(ys[last] + beyond, floor)
    elif value > xs[0]:
        low, high = 0, last
        while high - low > 1:
            middle = (low + high) // 2
            if value >= xs[middle]:
                low = middle
            else:
                high = middle
        share = (value - xs[low]) / (xs[high] - xs[low])
        found = ys[low] + share * (ys[high] - ys[low])
    return found


@kernel
def _combine_rows(
    log_p: NDArray[np.float64], available: NDArray[np.bool_], out: NDArray[np.float64]
) -> None:
    for r in range(len(log_p)):
        out[r] = _combined(log_p[r], available[r])


@kernel
def _combined(log_p: NDArray[np.float64], available: NDArray[np.bool_]) -> float:
    members, total, largest = 0, 0.0, 0.0
    for m in range(len(log_p)):
        if available[m]:
            members += 1
            total -= log_p[m]
            largest = max(largest, -log_p[m])
    mean = total / members if members else 0.0
    return _EXTREME_WEIGHT * largest + (1.0 - _EXTREME_WEIGHT) * mean


@kernel
def _keep_single_members(
    log_p: NDArray[np.float64], available: NDArray[np.bool_], out: NDArray[np.float64]
) -> None:
    for r in range(len(log_p)):
        out[r] = _unless_single(out[r], log_p[r], available[r])


@kernel
def _unless_single(
    combined: float, log_p: NDArray[np.float64], available: NDArray[np.bool_]
) -> float:
    members, single = 0, 0
    for m in range(len(log_p)):
        if available[m]:
            members += 1
            single = m
    return log_p[single] if members == 1 else combined


@kernel
def _exponentials(log_p: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    for r in range(len(log_p)):
        out[r] = math.exp(log_p[r])


@kernel
def _round_hundredths(values: NDArray[np.float64]) -> None:
    for r in range(len(values)):
        values[r] = _hundredths(values[r])


@kernel
def _hundredths(value: float) -> float:
    """Half up: the same decimal everywhere, and a number prints with two decimals at most."""
    return math.floor(value * 100.0 + 0.5) / 100.0


@kernel
def _count_cutoffs(
    risk: NDArray[np.float64], medium: float, high: float, critical: float, out: NDArray[np.int8]
) -> None:
    for r in range(len(risk)):
        out[r] = (risk[r] >= medium) + (risk[r] >= high) + (risk[r] >= critical)


@kernel
def _judge_rows(
    curves: Any,
    mode: NDArray[np.uint8],
    raw: NDArray[np.float64],
    is_warm: NDArray[np.bool_],
    flagged_risk: float,
    into: Any,
    flagged: NDArray[np.bool_],
) -> None:
    log_p, ensemble_log_p, risk = into
    available = np.ones(2, np.bool_)
    for r in range(len(mode)):
        for member in range(2):
            log_p[r, member] = _log_tail(curves, mode[r], member, raw[r, member])
        available[1] = is_warm[r]
        combined = _log_tail(curves, mode[r], 2, _combined(log_p[r], available))
        ensemble_log_p[r] = _unless_single(combined, log_p[r], available)
        risk[r] = _hundredths(_interpolated(ensemble_log_p[r], _RISK_LOG_P, _RISK, 0.0, 0.0))
        flagged[r] = risk[r] >= flagged_risk


@kernel
def _log_tail(curves: Any, mode: int, which: int, raw: float) -> float:
    knots, sizes, slopes = curves
    own = knots[mode, which, :, : sizes[mode, which]]
    return _interpolated(raw, own[0], own[1], slopes[mode, which], _LOG_TAIL_MIN)
