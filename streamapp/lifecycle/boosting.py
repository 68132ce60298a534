"""Grow boosted trees on labelled rows and bring them into the arrays that scoring runs."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from streamapp.scoring.boosted_trees import BoostedTreesArrays

#: Where edges lie among all values: every eightieth, and closer and closer in both tails.
_TAIL: Final = np.geomspace(1e-5, 0.0125, 30)
_SHARES: Final = np.concatenate([_TAIL, np.arange(1, 80) / 80, 1.0 - _TAIL])

#: And among the values of frauds. In all, no more than the library has bins for, which is 255.
_FRAUD_SHARES: Final = np.linspace(0.005, 0.995, 100)
assert len(_SHARES) + len(_FRAUD_SHARES) < 255


@dataclass(frozen=True, slots=True)
class BoostSettings:
    """Hyperparameters; docs/decisions/0020-ages-of-known-fraud.md says how the defaults were found.

    height: levels of a tree below its root. leaf_rows: training rows a leaf has at least.
    inputs_share: of the inputs, drawn anew for each split, those it may use.
    genuine_max: of more genuine rows as many are drawn, and count for all; frauds are all kept.
    """

    trees: int = 300
    learning_rate: float = 0.05
    leaves: int = 31
    height: int = 6
    leaf_rows: int = 50
    inputs_share: float = 0.3
    l2: float = 1.0
    genuine_max: int = 150_000


@dataclass(frozen=True, slots=True)
class Grown:
    """The library's own model and the edges its input is binned by.

    The library bins by quantiles, so what is rare in a column, as known fraud is, falls into one
    bin with what is not. Edges of our own are close where frauds are and in the tails; a row's
    code is how many edges lie below its value.
    """

    model: HistGradientBoostingClassifier
    edges: list[NDArray[np.float64]]

    def codes(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """The library's input (n, d) for rows (n, d)."""
        columns = [np.searchsorted(edges, rows[:, at]) for at, edges in enumerate(self.edges)]
        return np.stack(columns, axis=1).astype(np.float64)


def boost(
    rows: NDArray[np.float64], is_fraud: NDArray[np.bool_], seed: int, settings: BoostSettings
) -> BoostedTreesArrays:
    """Fit scikit-learn's histogram gradient boosting on rows (n, d), finite, of both classes."""
    return trees_from_sklearn(grow(rows, is_fraud, seed, settings), settings.height)


def grow(
    rows: NDArray[np.float64], is_fraud: NDArray[np.bool_], seed: int, settings: BoostSettings
) -> Grown:
    """The library's model of the rows."""
    chosen, weight = _drawn(is_fraud, seed, settings.genuine_max)
    rows, is_fraud = rows[chosen], is_fraud[chosen]
    model = HistGradientBoostingClassifier(
        max_iter=settings.trees,
        learning_rate=settings.learning_rate,
        max_leaf_nodes=settings.leaves,
        max_depth=settings.height,
        min_samples_leaf=settings.leaf_rows,
        l2_regularization=settings.l2,
        max_features=settings.inputs_share,
        early_stopping=False,
        random_state=seed,
    )
    grown = Grown(model, [_edges(column, column[is_fraud]) for column in rows.T])
    # The same trees however many cores there are; and threads that meet several times a leaf wait
    # for each other ten times longer than they work where another program has one of the cores.
    with threadpool_limits(1, user_api="openmp"):
        model.fit(grown.codes(rows), is_fraud, sample_weight=weight)
    return grown


def _edges(values: NDArray[np.float64], of_frauds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values that part a column well, rising."""
    everywhere = np.quantile(values, _SHARES, method="lower")
    among_frauds = np.quantile(of_frauds, _FRAUD_SHARES, method="lower")
    return np.unique(np.concatenate([everywhere, among_frauds]))


def _drawn(
    is_fraud: NDArray[np.bool_], seed: int, genuine_max: int
) -> tuple[NDArray[np.int64], NDArray[np.float64] | None]:
    """Rows to grow on and their weights; all, and None, where there are not too many."""
    genuine = np.flatnonzero(~is_fraud)
    if len(genuine) <= genuine_max:
        return np.arange(len(is_fraud)), None
    kept = np.random.default_rng(seed).choice(genuine, genuine_max, replace=False)
    chosen = np.sort(np.concatenate([np.flatnonzero(is_fraud), kept]))
    return chosen, np.where(is_fraud[chosen], 1.0, len(genuine) / genuine_max)


def trees_from_sklearn(grown: Grown, height: int) -> BoostedTreesArrays:
    """Read out a model whose trees are at most height levels deep."""
    read: list[Any] = [one[0].nodes for one in grown.model._predictors]
    inner = 2**height - 1
    trees = BoostedTreesArrays(
        features=np.zeros((len(read), inner), np.uint8),
        thresholds=np.full((len(read), inner), np.inf),
        leaves=np.zeros((len(read), inner + 1)),
        covers=np.zeros((len(read), inner + 1)),
        base=float(np.ravel(grown.model._baseline_prediction)[0]),
    )
    for index, nodes in enumerate(read):
        _read_tree(nodes, grown.edges, trees, index)
    return trees


def _read_tree(
    nodes: Any, edges: list[NDArray[np.float64]], trees: BoostedTreesArrays, index: int
) -> None:
    """Lay a tree out as a perfect one: below a leaf that lies higher, all rows go left."""
    inner = trees.features.shape[1]
    pending = [(0, 0)]
    while pending:
        source, node = pending.pop()
        read = nodes[source]
        while read["is_leaf"] and node < inner:
            node = 2 * node + 1
        if read["is_leaf"]:
            trees.leaves[index, node - inner] = read["value"]
            trees.covers[index, node - inner] = read["count"]
            continue
        column = int(read["feature_idx"])
        trees.features[index, node] = column
        # A code is at most k where the value is at most the edge numbered k.
        trees.thresholds[index, node] = edges[column][int(read["num_threshold"])]
        pending += [(int(read["left"]), 2 * node + 1), (int(read["right"]), 2 * node + 2)]
