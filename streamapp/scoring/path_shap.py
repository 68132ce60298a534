"""Path-dependent TreeSHAP (Lundberg et al., 2018) in one walk down each tree and one up.

Shapley's mean over the orders in which features become known is an integral over t from 0 to 1,
in which every other feature is known with probability t (Owen, 1972). To a leaf a feature is then
a factor S + (z - S) t, where S is the share of training rows that its nodes on the path let pass,
and z is 1 if the row passes them, else 0; a feature's own part is (z - S) times the factors of the
others. Trees of height 8 ask about 8 features at most, so that is a polynomial of degree 7, which
four points of Gauss and Legendre integrate exactly.

Going down, the factors multiply; going up, the leaves' products add up, and each edge credits its
feature with the leaves below it, in place of what the feature's edge before it on the path credited
(Yu et al., "Linear TreeShap", 2022). So an edge costs a few products of four numbers, whatever the
depth.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamapp.features.compiled import kernel

#: The points integrate degree 7, so no path may ask about more than 8 features.
HEIGHT_MAX: Final = 8

_POINTS: Final = 4
_nodes, _weights = np.polynomial.legendre.leggauss(_POINTS)
_T: Final[NDArray[np.float64]] = (_nodes + 1.0) / 2.0
_W: Final[NDArray[np.float64]] = _weights / 2.0


@dataclass(frozen=True, slots=True)
class TreeEdges:
    """N nodes that training rows reached, tree by tree, each after its parent.

    starts (T + 1): the first node of each tree, its root. parents (N) uint32, counted from the
    root, which is its own: unsigned, for an index that may be negative takes longer. columns (N)
    uint8, thresholds (N), is_left (N): the question that leads to the node, and the answer. earlier
    (N) as parents: the node that the same column's question before this one led to, the root if
    there is none.
    shares (N): of training rows that come to the column's questions on the path, those that pass
    them; 1 for the root. values (N): what a leaf adds, 0 for others.
    """

    starts: NDArray[np.int64]
    parents: NDArray[np.uint32]
    columns: NDArray[np.uint8]
    thresholds: NDArray[np.float64]
    is_left: NDArray[np.bool_]
    earlier: NDArray[np.uint32]
    shares: NDArray[np.float64]
    values: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        features: NDArray[np.uint8],
        thresholds: NDArray[np.float64],
        leaves: NDArray[np.float64],
        covers: NDArray[np.float64],
    ) -> "TreeEdges":
        """Of perfect trees in breadth-first order, as `BoostedTreesArrays` has them."""
        builder = _Builder()
        for tree in range(len(leaves)):
            builder.add(features[tree], thresholds[tree], leaves[tree], covers[tree])
        return builder.edges()

    def contributions(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """What each feature added: (n, d) for rows (n, d)."""
        out = np.zeros(rows.shape, np.float64)
        _credit_rows(
            self.starts,
            self.parents,
            self.columns,
            self.thresholds,
            self.is_left,
            self.earlier,
            self.shares,
            self.values,
            rows,
            out,
        )
        return out


class _Builder:
    """Nodes one by one, in lists."""

    def __init__(self) -> None:
        self._starts = [0]
        self._parents: list[int] = []
        self._questions: list[tuple[int, float, bool]] = []
        self._earlier: list[int] = []
        self._shares: list[float] = []
        self._values: list[float] = []

    def add(
        self,
        features: NDArray[np.uint8],
        thresholds: NDArray[np.float64],
        leaves: NDArray[np.float64],
        covers: NDArray[np.float64],
    ) -> None:
        """One tree. A leaf above the last level is continued to the left, asking nothing."""
        inner, masses = len(features), _node_masses(covers)
        root = len(self._parents)
        pending = [(0, self._append(root, root, (0, np.inf, True), 1.0))]
        for place, node in pending:
            at = place
            while at < inner and thresholds[at] == np.inf:
                at = 2 * at + 1
            if at >= inner:
                self._values[node] = float(leaves[at - inner])
                continue
            for child in (2 * at + 1, 2 * at + 2):
                if masses[child] > 0:
                    question = (int(features[at]), float(thresholds[at]), child == 2 * at + 1)
                    share = float(masses[child] / masses[at])
                    pending.append((child, self._append(root, node, question, share)))
        self._starts.append(len(self._parents))

    def _append(
        self, root: int, parent: int, question: tuple[int, float, bool], share: float
    ) -> int:
        """A node; its share is that of all of its column's questions on the path."""
        earlier = parent
        while earlier != root and self._questions[earlier][0] != question[0]:
            earlier = self._parents[earlier]
        if self._shares[root:]:
            share *= self._shares[earlier]
        self._parents.append(parent)
        self._questions.append(question)
        self._earlier.append(earlier)
        self._shares.append(share)
        self._values.append(0.0)
        return len(self._parents) - 1

    def edges(self) -> TreeEdges:
        """What was added, as arrays."""
        columns, thresholds, is_left = zip(*self._questions, strict=True)
        starts = np.array(self._starts, np.int64)
        roots = np.repeat(starts[:-1], np.diff(starts))
        return TreeEdges(
            starts=starts,
            parents=(np.array(self._parents) - roots).astype(np.uint32),
            columns=np.array(columns, np.uint8),
            thresholds=np.array(thresholds, np.float64),
            is_left=np.array(is_left, np.bool_),
            earlier=(np.array(self._earlier) - roots).astype(np.uint32),
            shares=np.array(self._shares),
            values=np.array(self._values),
        )


def _node_masses(covers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Training rows below every node (2 * leaves - 1)."""
    leaves = len(covers)
    masses = np.zeros(2 * leaves - 1)
    masses[leaves - 1 :] = covers
    for node in range(leaves - 2, -1, -1):
        masses[node] = masses[2 * node + 1] + masses[2 * node + 2]
    return masses


@kernel
def _credit_rows(
    starts: NDArray[np.int64],
    parents: NDArray[np.uint32],
    columns: NDArray[np.uint8],
    thresholds: NDArray[np.float64],
    is_left: NDArray[np.bool_],
    earlier: NDArray[np.uint32],
    shares: NDArray[np.float64],
    values: NDArray[np.float64],
    rows: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Trees outermost, so that a tree's edges stay near while the rows go by.

    Of each node, at each point: the product of the factors on the path; the inverse of its own
    feature's factor; that feature's part over its factor; the sum of the products of leaves below.
    """
    shape = (np.max(np.diff(starts)), _POINTS)
    products, inverses = np.ones(shape), np.ones(shape)
    parts, below = np.zeros(shape), np.zeros(shape)
    passed = np.ones(shape[0])
    for tree in range(len(starts) - 1):
        first = np.uint64(starts[tree])
        count = np.uint64(starts[tree + 1]) - first
        for r in range(len(rows)):
            row, credited = rows[r], out[r]
            node = np.uint64(1)
            while node < count:
                edge = first + node
                parent, before = parents[edge], earlier[edge]
                passes = (row[columns[edge]] <= thresholds[edge]) == is_left[edge]
                z, share, value = passed[before] * passes, shares[edge], values[edge]
                passed[node] = z
                for q in range(_POINTS):
                    point = np.uint64(q)
                    factor = share + (z - share) * _T[point]
                    inverse = 1.0 / factor
                    product = products[parent, point] * factor * inverses[before, point]
                    products[node, point] = product
                    inverses[node, point] = inverse
                    parts[node, point] = (z - share) * inverse
                    below[node, point] = product * value
                node += np.uint64(1)
            while node > np.uint64(1):
                node -= np.uint64(1)
                edge = first + node
                parent, before = parents[edge], earlier[edge]
                credit = 0.0
                for q in range(_POINTS):
                    point = np.uint64(q)
                    part = parts[node, point] - parts[before, point]
                    credit += _W[point] * below[node, point] * part
                    below[parent, point] += below[node, point]
                credited[columns[edge]] += credit
