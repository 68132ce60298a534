"""Isolation Forest (Liu, Ting, Zhou, ICDM 2008) as flat perfect trees."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamapp.features.compiled import kernel
from streamapp.scoring.perfect_trees import add_leaves, check_array, check_rows, perfect_shape

#: 2**12 leaves a tree. Isolation trees are cut at log2(max_samples), 8 for the usual 256.
HEIGHT_MAX: Final = 12

#: Columns a tree may name: one byte a node is a fifth faster than two.
COLUMNS_MAX: Final = 256


@dataclass(frozen=True)
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
        trees, leaves = perfect_shape(self.leaves, HEIGHT_MAX)
        for name, dtype in (
            ("features", np.uint8),
            ("thresholds", np.float32),
            ("expected", np.float32),
        ):
            check_array(name, getattr(self, name), dtype, (trees, leaves - 1))
        check_array("leaves", self.leaves, np.float64, (trees, leaves))
        if not np.isfinite(self.leaves).all() or not np.isfinite(self.expected).all():
            raise ValueError("path lengths are not finite")
        if not (math.isfinite(self.normaliser) and self.normaliser > 0):
            raise ValueError(f"normaliser is {self.normaliser}, must be above 0")

    @cached_property
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
        add_leaves(self.features, self.thresholds, self.leaves, rows, sums)
        return sums


@kernel
def _scores_of_sums(sums: NDArray[np.float64], denominator: float) -> None:
    for r in range(len(sums)):
        sums[r] = 2.0 ** -(sums[r] / denominator)
