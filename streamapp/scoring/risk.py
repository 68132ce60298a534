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
    combined_log_tail,
    risk_score,
    severity_codes,
    tail_share,
)
from streamapp.scoring.half_space_trees import HalfSpaceScores, HalfSpaceState, score_and_learn

#: Verdict modes that have curves of their own; a row's mode is its index here.
MODES: Final = get_args(CalibratedMode)
FOREST, HALF_SPACE = 0, 1


@dataclass(frozen=True, slots=True)
class RiskBlock:
    """Opinions on n events. raw, log_p, share: (n, 2), columns forest and half-space trees.

    is_warm (n): the half-space trees have an opinion. mode (n): index into MODES. risk (n): 0 to
    100. severity (n): 0 LOW to 3 CRITICAL. half_space: what attribution needs of the trees.
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


def assess(
    values: NDArray[np.float64],
    mode: NDArray[np.uint8],
    half_space: HalfSpaceState,
    model: ModelArtifact,
    cutoffs: tuple[float, float, float],
) -> RiskBlock:
    """Score feature rows (n, d) of modes (n) in order; the half-space trees learn them."""
    assert np.isfinite(values).all(), "a feature is not finite"
    everyone = np.ones(len(values), dtype=np.bool_)
    trees = score_and_learn(model.half_space_trees, half_space, values, everyone)
    raw = np.stack([model.forest.score(values.astype(np.float32)), trees.scores], axis=1)
    available = np.stack([everyone, trees.warm], axis=1)
    log_p, combined = _calibrate(raw, available, mode, model)
    risk = risk_score(combined)
    return RiskBlock(
        values=values,
        raw=raw,
        log_p=log_p,
        share=tail_share(log_p.ravel()).reshape(log_p.shape),
        is_warm=trees.warm,
        mode=mode,
        risk=risk,
        severity=severity_codes(risk, cutoffs),
        half_space=trees,
    )


def _calibrate(
    raw: NDArray[np.float64],
    available: NDArray[np.bool_],
    mode: NDArray[np.uint8],
    model: ModelArtifact,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """log p of each member (n, 2) and of the ensemble (n), each row by its mode's curves."""
    log_p = np.zeros(raw.shape)
    combined = np.zeros(len(raw))
    for index, name in enumerate(MODES):
        at = np.flatnonzero(mode == index)
        if len(at) == 0:
            continue
        curves = model.curves[name]
        log_p[at, FOREST] = curves.isolation_forest.log_tail(raw[at, FOREST])
        log_p[at, HALF_SPACE] = curves.half_space_trees.log_tail(raw[at, HALF_SPACE])
        combined[at] = combined_log_tail(curves.combined, log_p[at], available[at])
    return log_p, combined


def contributions(
    block: RiskBlock, chosen: NDArray[np.int64], model: ModelArtifact
) -> NDArray[np.float64]:
    """How much each feature pushed the chosen events (m, d) up, in nats over all members."""
    rows = block.values[chosen].astype(np.float32)
    forest = surprise_shares(forest_contributions(model.forest, rows), block.log_p[chosen, FOREST])
    trees, _bases = half_space_contributions(
        model.half_space_trees, block.half_space, block.values, chosen
    )
    weighed = np.where(block.is_warm[chosen], block.log_p[chosen, HALF_SPACE], 0.0)
    return forest + surprise_shares(trees, weighed)
