"""Which features a score comes from: what each split on a row's path changed in the expectation.

Both kinds of trees are read the same way (Saabas, "Interpreting random forests", 2014): every
node has the value expected of traffic that reaches it, a row's path starts at the root's
expectation and ends at its leaf's value, and each split's change is credited to the feature it
looked at. So a row's contributions and the base add up to its value. Positive contributions made
the row more anomalous. For the few rows worth explaining: some 10 µs a row.
"""

import numpy as np
from numpy.typing import NDArray

from streamapp.features.compiled import kernel
from streamapp.scoring.forest import IsolationForestArrays
from streamapp.scoring.half_space_trees import HalfSpaceScores, HalfSpaceTreesArrays
from streamapp.scoring.perfect_trees import check_rows


def forest_base(forest: IsolationForestArrays) -> float:
    """Mean path length expected before anything is known of a row."""
    return float(np.mean(forest.expected[:, 0].astype(np.float64)))


def forest_contributions(
    forest: IsolationForestArrays, rows: NDArray[np.float32]
) -> NDArray[np.float64]:
    """How much shorter each feature made the path: (n, d) float64, in units of path length.

    `forest.path_lengths(rows) == forest_base(forest) - contributions.sum(axis=1)`, within 1e-9.
    """
    check_rows(rows, np.float32, forest.column_max)
    out = np.zeros(rows.shape, np.float64)
    _credit_forest(forest.features, forest.thresholds, forest.leaves, forest.expected, rows, out)
    return out


def half_space_contributions(
    trees: HalfSpaceTreesArrays,
    batch: HalfSpaceScores,
    rows: NDArray[np.float64],
    chosen: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What each feature added to the score of the chosen rows, and the base it was added to.

    rows (n, d) is the batch that `batch` came of, chosen (m) row numbers of it. Returns (m, d)
    and (m): `batch.scores[chosen] == base + contributions.sum(axis=1)`, within 1e-9. The base is
    the score expected of the reference window's own events. Rows that were not warm get zeros.
    """
    scaled = trees.scale(rows[chosen])
    out = np.zeros((len(chosen), rows.shape[1]), np.float64)
    bases = np.zeros(len(chosen), np.float64)
    windows = np.where(batch.warm[chosen], batch.windows[chosen], -1)
    for window in sorted({*windows.tolist()} - {-1}):
        _credit_half_spaces(
            (trees.features, trees.thresholds, trees.columns),
            batch.references[window],
            trees.score_max,
            scaled,
            np.flatnonzero(windows == window),
            out,
            bases,
        )
    return out, bases


def surprise_shares(
    contributions: NDArray[np.float64], log_p: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Contributions (m, d) on the scale all members share: nats of the member's -log p.

    The contributions that made a row more anomalous add up to its -log p (m), those against it are
    scaled alike. So members may be summed, and the more surprised one weighs more.
    """
    assert len(contributions) == len(log_p)
    out = np.zeros(contributions.shape, np.float64)
    _scale_to_surprise(contributions, log_p, out)
    return out


@kernel
def _credit_forest(
    features: NDArray[np.uint8],
    thresholds: NDArray[np.float32],
    leaves: NDArray[np.float64],
    expected: NDArray[np.float32],
    rows: NDArray[np.float32],
    out: NDArray[np.float64],
) -> None:
    trees, inner = features.shape[0], np.uint32(features.shape[1])
    for tree in range(trees):  # all rows through one, which stays in the cache meanwhile
        columns, limits, means, ends = (
            features[tree],
            thresholds[tree],
            expected[tree],
            leaves[tree],
        )
        for r in range(len(rows)):
            row, credited = rows[r], out[r]
            node = np.uint32(0)
            before = np.float64(means[node])
            while node < inner:
                column = columns[node]
                node = np.uint32(2) * node + np.uint32(1) + np.uint32(row[column] > limits[node])
                after = np.float64(means[node]) if node < inner else ends[node - inner]
                credited[column] += before - after
                before = after
    for r in range(len(rows)):
        for column in range(rows.shape[1]):
            out[r, column] /= trees


@kernel
def _average_upwards(
    reference: NDArray[np.uint16],
    scores: NDArray[np.int32],
    masses: NDArray[np.int64],
    expected: NDArray[np.float64],
) -> None:
    """Of one tree: mean of the children by mass; plain mean where the window never came."""
    leaves = len(reference)
    for leaf in range(leaves):
        masses[leaves - 1 + leaf] = reference[leaf]
        expected[leaves - 1 + leaf] = scores[leaf]
    for node in range(leaves - 2, -1, -1):
        left, right = 2 * node + 1, 2 * node + 2
        mass = masses[left] + masses[right]
        share = masses[left] / mass if mass > 0 else 0.5
        masses[node] = mass
        expected[node] = share * expected[left] + (1 - share) * expected[right]


@kernel
def _credit_half_spaces(
    arrays: tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.int64]],
    reference: tuple[NDArray[np.uint16], NDArray[np.int32]],
    score_max: int,
    scaled: NDArray[np.float64],
    chosen: NDArray[np.int64],
    out: NDArray[np.float64],
    bases: NDArray[np.float64],
) -> None:
    """Of the chosen rows, all of which this reference scored."""
    features, thresholds, columns = arrays
    trees, inner = features.shape
    masses, expected = np.empty(2 * inner + 1, np.int64), np.empty(2 * inner + 1, np.float64)
    total = 0.0
    for tree in range(trees):
        _average_upwards(reference[0][tree], reference[1][tree], masses, expected)
        total += expected[0]
        for r in chosen:
            node = 0
            while node < inner:
                feature = features[tree, node]
                child = 2 * node + 2 - (scaled[r, feature] < thresholds[tree, node])
                out[r, columns[feature]] += (expected[node] - expected[child]) / score_max
                node = child
    for r in chosen:
        bases[r] = 1.0 - total / score_max


@kernel
def _scale_to_surprise(
    contributions: NDArray[np.float64], log_p: NDArray[np.float64], out: NDArray[np.float64]
) -> None:
    for r in range(len(contributions)):
        positive = 0.0
        for column in range(contributions.shape[1]):
            positive += max(contributions[r, column], 0.0)
        if positive > 0.0:
            for column in range(contributions.shape[1]):
                out[r, column] = contributions[r, column] * (-log_p[r] / positive)
