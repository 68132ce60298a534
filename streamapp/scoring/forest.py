"""Isolation Forest (Liu, Ting, Zhou, ICDM 2008) as flat perfect trees.

Sketch: 100 trees of height 8 are 800 comparisons a row; a tree is 3.3 KB, so all of them stay in
the L2 cache and one tree with 64 rows in L1. With trees outermost inside a block of 64 rows, and
the rows of a block moving down level by level, the comparisons of different rows overlap: 1.3 µs
a row.

Leaves of the fitted trees that lie above the last level are continued downwards with thresholds
of +inf and equal leaves, so that every walk has the same length and no branch.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamapp.features.compiled import kernel

#: Rows that move down a tree together: 64 float32 rows of 40 features are 10 KB, a third of L1.
BLOCK_ROWS: Final = 64

#: 2**12 leaves a tree. Isolation trees are cut at log2(max_samples), 8 for the usual 256.
HEIGHT_MAX: Final = 12

#: Columns a tree may name: one byte a node is a fifth faster than two.
COLUMNS_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class IsolationForestArrays:
    """A fitted forest: T perfect trees of height h, nodes in breadth-first order.

    features (T, 2**h - 1) uint8: the column each node looks at; goes left where x <= threshold.
    thresholds (T, 2**h - 1) float32: rounded down from float64, which changes no comparison.
    leaves (T, 2**h) float64: depth of the leaf + c(samples in it), the path length.
    expected (T, 2**h - 1) float32: mean path length of the training samples below each inner
    node; only attribution reads it.
    normaliser: the mean path length c(max_samples) that gives a score of one half.
    """

    features: NDArray[np.uint8]
    thresholds: NDArray[np.float32]
    leaves: NDArray[np.float64]
    expected: NDArray[np.float32]
    normaliser: float

    def __post_init__(self) -> None:
        """Raise ValueError where the arrays don't fit: kernels don't check their indices."""
        trees, leaves = _two_dimensions(self.leaves)
        if trees < 1 or not 2 <= leaves <= 2**HEIGHT_MAX or leaves & (leaves - 1):
            raise ValueError(f"leaves have shape {self.leaves.shape}: not perfect trees")
        for name, dtype in (
            ("features", np.uint8),
            ("thresholds", np.float32),
            ("expected", np.float32),
        ):
            _check_array(name, getattr(self, name), dtype, (trees, leaves - 1))
        _check_array("leaves", self.leaves, np.float64, (trees, leaves))
        if not np.isfinite(self.leaves).all() or not np.isfinite(self.expected).all():
            raise ValueError("path lengths are not finite")
        if not (math.isfinite(self.normaliser) and self.normaliser > 0):
            raise ValueError(f"normaliser is {self.normaliser}, must be above 0")

    @property
    def column_max(self) -> int:
        """The highest column any node looks at."""
        return int(self.features.max())

    def path_lengths(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Mean path length of each row, over all trees. rows: (n, d), finite."""
        return self._path_sums(rows) / len(self.leaves)

    def score(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Anomaly score of each row in (0, 1], higher = more anomalous. rows: (n, d), finite.

        Equal to scikit-learn's `-IsolationForest.score_samples` up to the last bit of 2**x.
        """
        scores = self._path_sums(rows)
        _scores_of_sums(scores, len(self.leaves) * self.normaliser)
        return scores

    def _path_sums(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        check_rows(rows, np.float32, self.column_max)
        sums = np.zeros(len(rows), np.float64)
        _add_path_lengths(self.features, self.thresholds, self.leaves, rows, sums)
        return sums


def check_rows(rows: NDArray[Any], dtype: type[np.generic], column_max: int) -> None:
    """Assert what a kernel can't check for itself: kind, order and width of its input."""
    assert rows.dtype == dtype, f"rows are {rows.dtype}, must be {np.dtype(dtype)}"
    assert rows.ndim == 2, "rows must be a matrix"
    assert rows.flags.c_contiguous, "rows must be in C order"
    assert rows.shape[1] > column_max, f"rows have {rows.shape[1]} columns, need {column_max + 1}"


def _two_dimensions(array: NDArray[Any]) -> tuple[int, int]:
    if array.ndim != 2:
        raise ValueError(f"leaves have {array.ndim} dimensions, must have 2")
    return array.shape[0], array.shape[1]


def _check_array(
    name: str, array: NDArray[Any], dtype: type[np.generic], shape: tuple[int, ...]
) -> None:
    if array.dtype != dtype or array.shape != shape or not array.flags.c_contiguous:
        raise ValueError(
            f"{name} is {array.dtype}{array.shape}, must be {np.dtype(dtype)}{shape} in C order"
        )


@kernel
def _add_path_lengths(
    features: NDArray[np.uint8],
    thresholds: NDArray[np.float32],
    leaves: NDArray[np.float64],
    rows: NDArray[np.float32],
    sums: NDArray[np.float64],
) -> None:
    """Add each row's path lengths to sums in the order of the trees."""
    trees, inner = features.shape
    at = np.empty(BLOCK_ROWS, np.uint32)
    for start in range(0, len(rows), BLOCK_ROWS):
        count = min(BLOCK_ROWS, len(rows) - start)
        for tree in range(trees):
            for r in range(count):
                at[r] = 0
            level_end = 1
            while level_end <= inner:
                for r in range(count):
                    node = at[r]
                    right = rows[start + r, features[tree, node]] > thresholds[tree, node]
                    at[r] = 2 * node + 1 + right
                level_end = 2 * level_end
            for r in range(count):
                sums[start + r] += leaves[tree, at[r] - inner]


@kernel
def _scores_of_sums(sums: NDArray[np.float64], denominator: float) -> None:
    for r in range(len(sums)):
        sums[r] = 2.0 ** -(sums[r] / denominator)
