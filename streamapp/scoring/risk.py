"""Features to risk: each member's raw score, its tail share, the ensemble's risk and severity."""

from dataclasses import dataclass
from typing import Final, get_args

import numpy as np
from numpy.typing import NDArray

from streamapp.scoring.artifact import CalibratedMode, ModelArtifact
from streamapp.scoring.attribution import (
    forest_contributions,
    half_space_contributions,
    surprise_shares,
)
from streamapp.scoring.calibration import (
    DEFAULT_CUTOFFS,
    risk_score,
    severity_codes,
    tail_share,
)
from streamapp.scoring.half_space_trees import HalfSpaceScores, HalfSpaceState, score_and_learn
from streamapp.scoring.supervised import SupervisedOpinions

#: A risk from here on, the top 2 % of reference traffic, teaches the half-space trees nothing.
FLAGGED_RISK: Final = DEFAULT_CUTOFFS[0]

#: Verdict modes that have curves of their own; a row's mode is its index here.
MODES: Final = get_args(CalibratedMode)
FOREST, HALF_SPACE = 0, 1


@dataclass(frozen=True, slots=True)
class RiskBlock:
    """Opinions on n events. raw, log_p, share: (n, 2), columns forest and half-space trees.

    is_warm (n): the half-space trees have an opinion. mode (n): index into MODES. risk (n): 0 to
    100. severity (n): 0 LOW to 3 CRITICAL. half_space: what attribution needs of the trees.
    ensemble_log_p (n): by the ensemble alone. supervised: None where there is no such model or no
    context for it.
    """

    values: NDArray[np.float64]
    raw: NDArray[np.float64]
    log_p: NDArray[np.float64]
    share: NDArray[np.float64]
    is_warm: NDArray[np.bool_]
    mode: NDArray[np.uint8]
    risk: NDArray[np.float64]
    severity: NDArray[np.int8]
    half_space: HalfSpaceScores
    ensemble_log_p: NDArray[np.float64]
    supervised: SupervisedOpinions | None = None

    @property
    def inputs(self) -> NDArray[np.float64]:
        """All that was looked at (n, k): the features, then the context if there is one."""
        return self.values if self.supervised is None else self.supervised.inputs


def assess(
    values: NDArray[np.float64],
    users: NDArray[np.uint32],
    mode: NDArray[np.uint8],
    half_space: HalfSpaceState,
    model: ModelArtifact,
    cutoffs: tuple[float, float, float],
    flagged_risk: float = FLAGGED_RISK,
    context: NDArray[np.float64] | None = None,
) -> RiskBlock:
    """Score feature rows (n, d) of users (n, by hash) and modes (n) in order.

    The half-space trees learn the rows whose risk by the ensemble stays below flagged_risk: what a
    supervised model knows of old fraud must not open them to new. context: of the rows
    (n, c); None where there is none, and no supervised opinion then.
    """
    assert np.isfinite(values).all(), "a feature is not finite"
    opinions = _Opinions(values, mode, model, flagged_risk)
    trees = score_and_learn(
        model.half_space_trees, half_space, values, np.ascontiguousarray(users), opinions.judge
    )
    log_p, risk, supervised = opinions.log_p, opinions.risk, None
    if model.supervised is not None and context is not None:
        supervised = model.supervised.opinions(values, context, opinions.ensemble_log_p)
        risk = risk_score(supervised.verdict_log_p)
    return RiskBlock(
        values=values,
        raw=opinions.raw,
        log_p=log_p,
        share=tail_share(log_p.ravel()).reshape(log_p.shape),
        is_warm=trees.warm,
        mode=mode,
        risk=risk,
        severity=severity_codes(risk, cutoffs),
        half_space=trees,
        ensemble_log_p=opinions.ensemble_log_p,
        supervised=supervised,
    )


class _Opinions:
    """What is thought of a batch: by the forest at once, by the trees window by window."""

    def __init__(
        self,
        values: NDArray[np.float64],
        mode: NDArray[np.uint8],
        model: ModelArtifact,
        flagged_risk: float,
    ) -> None:
        self._curves = model.packed_curves
        self._mode = mode
        self._flagged_risk = flagged_risk
        self.raw = np.zeros((len(values), 2))
        self.log_p = np.zeros((len(values), 2))
        self.ensemble_log_p = np.zeros(len(values))
        self.risk = np.zeros(len(values))
        self.raw[:, FOREST] = model.forest.score(values.astype(np.float32))

    def judge(
        self, at: slice, scores: NDArray[np.float64], warm: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Which rows are flagged, now that the half-space trees have scored them."""
        self.raw[at, HALF_SPACE] = scores
        into = self.log_p[at], self.ensemble_log_p[at], self.risk[at]
        return self._curves.judge(self._mode[at], self.raw[at], warm, self._flagged_risk, into)


def contributions(
    block: RiskBlock, chosen: NDArray[np.int64], model: ModelArtifact
) -> NDArray[np.float64]:
    """How much each input pushed the chosen events (m, k) up, in nats, by those whose risk it is.

    The ensemble's contributions; with a supervised model both's, by their share in the odds, and
    those that pushed up add up to the verdict's -log p.
    """
    ensemble, fed = _ensemble_contributions(block, chosen, model), block.supervised
    if fed is None or model.supervised is None:
        return ensemble
    known = model.supervised.trees.contributions(fed.inputs[chosen])
    novel = np.zeros(known.shape)
    novel[:, : ensemble.shape[1]] = ensemble
    log_p, share = fed.verdict_log_p[chosen], fed.known_share[chosen, None]
    mixed = share * surprise_shares(known, log_p) + (1.0 - share) * surprise_shares(novel, log_p)
    return surprise_shares(mixed, log_p)


def _ensemble_contributions(
    block: RiskBlock, chosen: NDArray[np.int64], model: ModelArtifact
) -> NDArray[np.float64]:
    """Those of forest and half-space trees (m, d)."""
    rows = block.values[chosen].astype(np.float32)
    forest = surprise_shares(forest_contributions(model.forest, rows), block.log_p[chosen, FOREST])
    trees, _bases = half_space_contributions(
        model.half_space_trees, block.half_space, block.values, chosen
    )
    weighed = np.where(block.is_warm[chosen], block.log_p[chosen, HALF_SPACE], 0.0)
    return forest + surprise_shares(trees, weighed)


@dataclass(frozen=True, slots=True)
class Reassessment:
    """Opinions on one event whose half-space trees' raw score is known. share: tail shares."""

    forest_raw: float
    forest_share: float
    risk: float
    supervised: SupervisedOpinions | None


def reassess(
    values: NDArray[np.float64],
    mode: int,
    trees_raw: float | None,
    model: ModelArtifact,
    context: NDArray[np.float64] | None = None,
) -> Reassessment:
    """The opinions on features (1, d), given what the trees said; None: they had no opinion."""
    opinions = _Opinions(values, np.array([mode], np.uint8), model, FLAGGED_RISK)
    opinions.judge(slice(0, 1), np.array([trees_raw or 0.0]), np.array([trees_raw is not None]))
    risk, supervised = opinions.risk, None
    if model.supervised is not None and context is not None:
        supervised = model.supervised.opinions(values, context, opinions.ensemble_log_p)
        risk = risk_score(supervised.verdict_log_p)
    return Reassessment(
        float(opinions.raw[0, FOREST]),
        float(tail_share(opinions.log_p[:, FOREST])[0]),
        float(risk[0]),
        supervised,
    )
