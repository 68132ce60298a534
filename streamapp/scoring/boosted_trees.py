"""Gradient-boosted trees as flat perfect trees: the log-odds of fraud and where they come from.

Scored like the isolation forest: trees outermost in blocks of 64 rows, no branches. Contributions
are path-dependent TreeSHAP (Lundberg et al., 2018), exact: `path_shap` has the arithmetic.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from streamapp.scoring.path_shap import HEIGHT_MAX, TreeEdges
from streamapp.scoring.perfect_trees import add_leaves, check_array, check_rows, perfect_shape


@dataclass(frozen=True)
class BoostedTreesArrays:
    """T perfect trees of height h, nodes in breadth-first order.

    features (T, 2**h - 1) uint8: the column each node looks at; goes left where x <= threshold.
    thresholds (T, 2**h - 1) float64: +inf below a leaf that lies above the last level.
    leaves (T, 2**h) float64: what a leaf adds to the log-odds.
    covers (T, 2**h) float64: training rows in each leaf; 0 where no row can come.
    base: the log-odds before any tree.
    """

    features: NDArray[np.uint8]
    thresholds: NDArray[np.float64]
    leaves: NDArray[np.float64]
    covers: NDArray[np.float64]
    base: float

    def __post_init__(self) -> None:
        """Raise ValueError where the arrays don't fit: kernels don't check their indices."""
        trees, leaves = perfect_shape(self.leaves, HEIGHT_MAX)
        check_array("features", self.features, np.uint8, (trees, leaves - 1))
        check_array("thresholds", self.thresholds, np.float64, (trees, leaves - 1))
        check_array("leaves", self.leaves, np.float64, (trees, leaves))
        check_array("covers", self.covers, np.float64, (trees, leaves))
        if not (np.isfinite(self.leaves).all() and math.isfinite(self.base)):
            raise ValueError("log-odds are not finite")
        if not (np.isfinite(self.covers).all() and (self.covers >= 0).all()):
            raise ValueError("covers must be finite and not below 0")
        if np.isnan(self.thresholds).any():
            raise ValueError("a threshold is no number")

    @cached_property
    def column_max(self) -> int:
        """The highest column any node looks at."""
        return int(self.features.max())

    def score(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """The log-odds of fraud (n) of rows (n, d), finite."""
        check_rows(rows, np.float64, self.column_max)
        sums = np.full(len(rows), self.base)
        add_leaves(self.features, self.thresholds, self.leaves, rows, sums)
        return sums

    def contributions(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """What each feature added to the log-odds: (n, d) float64.

        `score(rows) == expected + contributions.sum(axis=1)`, within 1e-9.
        """
        check_rows(rows, np.float64, self.column_max)
        return self.edges.contributions(rows)

    @cached_property
    def expected(self) -> float:
        """The mean log-odds of the training rows: what contributions are added to."""
        means = (self.leaves * self.covers).sum(axis=1) / self.covers.sum(axis=1)
        return float(self.base + means.sum())

    @cached_property
    def edges(self) -> TreeEdges:
        """The trees as contributions walk them."""
        return TreeEdges.of(self.features, self.thresholds, self.leaves, self.covers)
