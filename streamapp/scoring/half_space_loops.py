"""The loops of half-space trees: which leaf, what it scores, what is learned.

Which leaf a row falls into depends on the trees alone, so rows are walked once, whatever becomes of
the masses meanwhile.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamapp.features.compiled import kernel
from streamapp.scoring.perfect_trees import BLOCK_ROWS


@kernel
def scale_rows(
    rows: NDArray[np.float64],
    start: int,
    count: int,
    columns: NDArray[np.int64],
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    scaled: NDArray[np.float64],
) -> None:
    """Limits mapped to 0 and 1, what lies outside clipped."""
    for r in range(count):
        for k in range(len(columns)):
            value = (rows[start + r, columns[k]] - lower[k]) / (upper[k] - lower[k])
            scaled[r, k] = min(max(value, 0.0), 1.0)


@kernel
def walk_rows(
    features: NDArray[np.uint8],
    thresholds: NDArray[np.float64],
    columns: NDArray[np.int64],
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    rows: NDArray[np.float64],
    leaves: NDArray[np.uint16],
) -> None:
    """The leaf of each tree and row: (T, n)."""
    trees, inner = features.shape
    at = np.empty(BLOCK_ROWS, np.uint32)
    scaled = np.empty((BLOCK_ROWS, len(columns)), np.float64)
    for start in range(0, len(rows), BLOCK_ROWS):
        count = min(BLOCK_ROWS, len(rows) - start)
        scale_rows(rows, start, count, columns, lower, upper, scaled)
        for tree in range(trees):
            at[:count] = 0
            level_end = 1
            while level_end <= inner:
                for r in range(count):
                    node = at[r]
                    left = scaled[r, features[tree, node]] < thresholds[tree, node]
                    at[r] = 2 * node + 2 - left
                level_end = 2 * level_end
            for r in range(count):
                leaves[tree, start + r] = at[r] - inner


@kernel
def score_leaves(
    leaves: NDArray[np.uint16],
    start: int,
    leaf_scores: NDArray[np.int32],
    score_max: float,
    scores: NDArray[np.float64],
) -> None:
    """Scores (m) of the rows from `start` on; score_max 0 means not warm yet.

    Sums are integers, exact in any order. Masses held above what was learned may add up to more
    than score_max.
    """
    trees, count = leaves.shape[0], len(scores)
    sums = np.zeros(count, np.int64)
    for tree in range(trees):
        for r in range(count):
            sums[r] += leaf_scores[tree, leaves[tree, start + r]]
    for r in range(count):
        scores[r] = max(1.0 - sums[r] / score_max, 0.0) if score_max > 0.0 else 0.0


@kernel
def learn_rows(
    leaves: NDArray[np.uint16],
    start: int,
    is_flagged: NDArray[np.bool_],
    users: NDArray[np.uint32],
    room: int,
    quota: int,
    window: int,
    seen: int,
    taught: NDArray[np.uint16],
    latest: NDArray[np.uint16],
) -> tuple[int, int, int, int]:
    """Learn the rows from `start` on, until `room` of them have been learned.

    Returns how many rows were taken, how many learned, how many passed over for their user's quota,
    and `seen` as it is then. taught: what each user has taught of the last `window` rows.
    """
    chosen, learned, crowding, taken = np.empty(len(is_flagged), np.int64), 0, 0, 0
    while taken < len(is_flagged) and learned < room:
        if seen == window:
            taught[:] = 0
            seen = 0
        seen += 1
        place = users[start + taken] % len(taught)
        if not is_flagged[taken] and taught[place] < quota:
            taught[place] += 1
            chosen[learned] = start + taken
            learned += 1
        elif not is_flagged[taken]:
            crowding += 1
        taken += 1
    for tree in range(len(leaves)):
        for i in range(learned):
            latest[tree, leaves[tree, chosen[i]]] += 1
    return taken, learned, crowding, seen


@kernel
def sum_paths(reference: NDArray[np.uint16], size_limit: float, scores: NDArray[Any]) -> None:
    """Sum mass * 2**depth from the root to each leaf, ending at the first mass below the limit."""
    trees, leaves = reference.shape
    masses = np.empty(2 * leaves - 1, np.int64)
    sums = np.empty(2 * leaves - 1, np.int64)
    ended = np.empty(2 * leaves - 1, np.bool_)
    for tree in range(trees):
        for leaf in range(leaves):
            masses[leaves - 1 + leaf] = reference[tree, leaf]
        for node in range(leaves - 2, -1, -1):
            masses[node] = masses[2 * node + 1] + masses[2 * node + 2]
        sums[0] = masses[0]
        ended[0] = masses[0] < size_limit
        weight, level_end = 2, 2
        for node in range(1, 2 * leaves - 1):
            if node == 2 * level_end - 1:
                weight, level_end = 2 * weight, 2 * level_end
            above = (node - 1) // 2
            sums[node] = sums[above] if ended[above] else sums[above] + weight * masses[node]
            ended[node] = ended[above] or masses[node] < size_limit
        for leaf in range(leaves):
            scores[tree, leaf] = sums[leaves - 1 + leaf]
