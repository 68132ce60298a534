"""Half-space trees told row by row what to learn: no guard but the mask."""

import numpy as np
from numpy.typing import NDArray

from streamapp.scoring.half_space_trees import (
    HalfSpaceScores,
    HalfSpaceState,
    HalfSpaceTreesArrays,
    score_and_learn,
)


def learn_as_told(
    trees: HalfSpaceTreesArrays,
    state: HalfSpaceState,
    rows: NDArray[np.float64],
    learn: NDArray[np.bool_],
) -> HalfSpaceScores:
    """Score each row, learn it where `learn` says so; nobody sends more than one of a window."""
    users = np.arange(len(rows), dtype=np.uint32)
    batch = score_and_learn(trees, state, rows, users, lambda at, _scores, _warm: ~learn[at])
    state.taught[:] = 0
    return batch
