"""Gradient-boosted trees as flat perfect trees: the log-odds of fraud and where they come from.

Scored like the isolation forest: trees outermost in blocks of 64 rows, no branches. Contributions
are path-dependent TreeSHAP (Lundberg et al., 2018), exact: for every leaf, the few features its
path asks about, and of each the interval that leads there and the share of the training rows that
passed. What a feature adds is Shapley's mean over the orders in which features become known.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamapp.features.compiled import kernel
from streamapp.scoring.perfect_trees import add_leaves, check_array, check_rows, perfect_shape

#: 2**8 leaves a tree; what a boosted tree gains by more, another tree gains as well.
HEIGHT_MAX: Final = 8

#: Shapley's weight of a set of k features beside one more, of d: k! (d - 1 - k)! / d!.
_WEIGHTS: Final = np.array(
    [
        [
            math.factorial(k) * math.factorial(d - 1 - k) / math.factorial(d) if k < d else 0.0
            for k in range(HEIGHT_MAX)
        ]
        for d in range(HEIGHT_MAX + 1)
    ]
)


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
        out = np.zeros(rows.shape, np.float64)
        boxes = self.boxes
        _shapley(
            boxes.features,
            boxes.lows,
            boxes.highs,
            boxes.shares,
            boxes.used,
            boxes.values,
            rows,
            out,
        )
        return out

    @cached_property
    def expected(self) -> float:
        """The mean log-odds of the training rows: what contributions are added to."""
        means = (self.leaves * self.covers).sum(axis=1) / self.covers.sum(axis=1)
        return float(self.base + means.sum())

    @cached_property
    def boxes(self) -> "Boxes":
        """The leaves as boxes, for contributions."""
        return Boxes.of(self)


@dataclass(frozen=True, slots=True)
class Boxes:
    """L leaves that training rows reached; each asks about up to h different features.

    features (L, h) uint8, lows, highs (L, h) float64: a row passes where low < x <= high. shares
    (L, h): of the training rows that come to the feature's nodes, those that pass. used (L): how
    many of the h places are taken. values (L): what the leaf adds.
    """

    features: NDArray[np.uint8]
    lows: NDArray[np.float64]
    highs: NDArray[np.float64]
    shares: NDArray[np.float64]
    used: NDArray[np.int64]
    values: NDArray[np.float64]

    @classmethod
    def of(cls, trees: BoostedTreesArrays) -> "Boxes":
        """The boxes of all trees."""
        reached = np.argwhere(trees.covers > 0)
        count, height = len(reached), int(math.log2(trees.leaves.shape[1]))
        boxes = cls(
            features=np.zeros((count, height), np.uint8),
            lows=np.full((count, height), -np.inf),
            highs=np.full((count, height), np.inf),
            shares=np.ones((count, height)),
            used=np.zeros(count, np.int64),
            values=trees.leaves[reached[:, 0], reached[:, 1]],
        )
        masses = _node_masses(trees.covers)
        for box, (tree, leaf) in enumerate(reached.tolist()):
            boxes._read_path(box, trees, masses[tree], tree, leaf)
        return boxes

    def _read_path(
        self, box: int, trees: BoostedTreesArrays, masses: NDArray[np.float64], tree: int, leaf: int
    ) -> None:
        place: dict[int, int] = {}
        node = leaf + trees.features.shape[1]
        while node > 0:
            parent, is_left = (node - 1) // 2, node % 2 == 1
            threshold = float(trees.thresholds[tree, parent])
            if threshold < math.inf:
                feature = int(trees.features[tree, parent])
                at = place.setdefault(feature, len(place))
                self.features[box, at] = feature
                if is_left:
                    self.highs[box, at] = min(self.highs[box, at], threshold)
                else:
                    self.lows[box, at] = max(self.lows[box, at], threshold)
                self.shares[box, at] *= masses[node] / masses[parent]
            node = parent
        self.used[box] = len(place)


def _node_masses(covers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Training rows below every node (T, 2 * leaves - 1)."""
    leaves = covers.shape[1]
    masses = np.zeros((len(covers), 2 * leaves - 1))
    masses[:, leaves - 1 :] = covers
    for node in range(leaves - 2, -1, -1):
        masses[:, node] = masses[:, 2 * node + 1] + masses[:, 2 * node + 2]
    return masses


@kernel
def _shapley(
    features: NDArray[np.uint8],
    lows: NDArray[np.float64],
    highs: NDArray[np.float64],
    shares: NDArray[np.float64],
    used: NDArray[np.int64],
    values: NDArray[np.float64],
    rows: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Shapley values of every leaf's game, in which an unknown feature lets its share pass.

    Features that the row fails are alike: a set that knows one of them is worth nothing. Those it
    passes differ by their shares; `sizes[k]`, summed over the sets of k of them, are coefficients
    of the product of (share + x), and taking one out is a division by its factor.
    """
    passes = np.empty(HEIGHT_MAX, np.bool_)
    sizes = np.empty(HEIGHT_MAX + 1, np.float64)
    for r in range(len(rows)):
        for box in range(len(used)):
            d, passing, failing = used[box], 0, values[box]
            sizes[0] = 1.0
            for i in range(d):
                x, share = rows[r, features[box, i]], shares[box, i]
                passes[i] = lows[box, i] < x <= highs[box, i]
                if not passes[i]:
                    failing *= share
                    continue
                passing += 1
                sizes[passing] = 1.0
                for k in range(passing - 1, 0, -1):
                    sizes[k] = sizes[k] * share + sizes[k - 1]
                sizes[0] *= share
            loss = 0.0
            if passing < d:
                for k in range(passing + 1):
                    loss += _WEIGHTS[d, k] * sizes[k]
            for i in range(d):
                column, share = features[box, i], shares[box, i]
                if not passes[i]:
                    out[r, column] -= failing * loss
                    continue
                mean, quotient = 0.0, 0.0
                for k in range(passing, 0, -1):
                    quotient = sizes[k] - share * quotient
                    mean += _WEIGHTS[d, k - 1] * quotient
                out[r, column] += failing * (1.0 - share) * mean
