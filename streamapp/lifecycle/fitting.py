"""Train the ensemble on a reference and bring it into the arrays that scoring runs.

scikit-learn grows the isolation forest and River plants the half-space trees; both are read out
here, so that scoring needs neither. The reference is then scored by the scoring kernels, in the
order of its partitions, and the tail curves are fitted on those scores.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from river.anomaly import HalfSpaceTrees
from sklearn.ensemble import IsolationForest

from streamapp.scoring.artifact import ModelArtifact, Training
from streamapp.scoring.calibration import EnsembleCurves, TailCurve, combine
from streamapp.scoring.forest import COLUMNS_MAX, IsolationForestArrays
from streamapp.scoring.half_space_trees import (
    HalfSpaceState,
    HalfSpaceTreesArrays,
    Judge,
    score_and_learn,
)

#: Share of the reference that teaches the half-space trees nothing, as risks do that are flagged.
FLAGGED_SHARE: Final = 0.02

#: Rows whose leaves are counted at once; 400 KB of leaves.
_COUNTED_ROWS: Final = 4_096

_LIBRARIES: Final = ("scikit-learn", "river", "numpy")


@dataclass(frozen=True, slots=True)
class FitSettings:
    """Hyperparameters; docs/decisions/0010-one-sided-ensemble.md says how the defaults were found.

    mode_rows_min: a mode with fewer reference rows than this has too thin a tail for curves of its
    own. calm_share: values below this quantile of the reference are told apart by no model, since
    less than usual is not suspicious. limit_share: the share of reference values above the upper
    limits of the half-space trees.
    """

    forest_trees: int = 100
    forest_samples: int = 256
    half_space_trees: int = 50
    half_space_height: int = 5
    half_space_window: int = 250
    calm_share: float = 0.5
    limit_share: float = 0.001
    mode_rows_min: int = 2_000


def fit(
    rows: NDArray[np.float64],
    feature_names: Sequence[str],
    users: NDArray[np.uint32],
    is_cold: NDArray[np.bool_],
    partitions: Sequence[NDArray[np.int64]],
    inputs: Sequence[str],
    *,
    feature_contract: str,
    global_amount_limit: float,
    seed: int,
    description: str,
    settings: FitSettings | None = None,
) -> ModelArtifact:
    """Train and calibrate on a reference; the same arguments give the same artifact.

    rows (n, d): the features of the reference, finite, named by feature_names. users (n): a hash of
    each row's user. is_cold (n): rows scored in cold-start mode. partitions: row numbers of each
    partition in record order, for the half-space trees learn per partition. inputs: the features
    the models look at. Raises ValueError where the reference is too small or not finite.
    """
    settings = settings or FitSettings()
    _check_reference(rows, feature_names, inputs, is_cold)
    columns = np.array([list(feature_names).index(name) for name in inputs], np.int64)
    forest = grow_forest(rows, columns, seed, settings)
    trees = plant_half_space_trees(rows, columns, seed, settings)
    trees = replace(trees, usual=usual_masses(trees, rows))
    forest_raw = forest.score(rows.astype(np.float32))
    # There is no risk to flag by before there are curves; the forest's own comes near.
    is_flagged = forest_raw >= np.quantile(forest_raw, 1 - FLAGGED_SHARE)
    half_space_raw, is_warm = _score_partitions(trees, rows, users, is_flagged, partitions)
    raw = np.stack([forest_raw, half_space_raw], axis=1)
    known = _fit_curves(raw, is_warm, ~is_cold, settings.mode_rows_min)
    if known is None:
        raise ValueError(
            f"the reference has fewer than {settings.mode_rows_min} rows of known users after the "
            f"first window of {settings.half_space_window} events: train on more traffic"
        )
    cold = _fit_curves(raw, is_warm, is_cold, settings.mode_rows_min)
    return ModelArtifact(
        feature_contract=feature_contract,
        feature_names=tuple(feature_names),
        inputs=tuple(inputs),
        forest=forest,
        half_space_trees=trees,
        curves={"model": known, "cold_start": cold or known},
        typical=np.median(rows[~is_cold], axis=0),
        global_amount_limit=global_amount_limit,
        training=_describe(len(rows), seed, description, settings),
    )


def grow_forest(
    rows: NDArray[np.float64], columns: NDArray[np.int64], seed: int, settings: FitSettings
) -> IsolationForestArrays:
    """Fit scikit-learn's isolation forest on the columns of rows (n, d).

    Calm values are trained on as if equal; so no split falls among them, and rows are scored as
    they are.
    """
    inputs = rows[:, columns]
    inputs = np.maximum(inputs, np.quantile(inputs, settings.calm_share, axis=0))
    model = IsolationForest(
        n_estimators=settings.forest_trees,
        max_samples=min(settings.forest_samples, len(rows)),
        random_state=seed,
    )
    model.fit(inputs.astype(np.float32))
    return forest_from_sklearn(model, columns)


def forest_from_sklearn(
    model: IsolationForest, columns: NDArray[np.int64]
) -> IsolationForestArrays:
    """Read out a fitted forest whose i-th feature stands in columns[i] of the feature matrix."""
    height = max(1, *(tree.tree_.max_depth for tree in model.estimators_))
    count, inner = len(model.estimators_), 2**height - 1
    forest = IsolationForestArrays(
        features=np.zeros((count, inner), np.uint8),
        thresholds=np.full((count, inner), np.inf, np.float32),
        leaves=np.zeros((count, inner + 1), np.float64),
        expected=np.zeros((count, inner), np.float32),
        normaliser=float(_average_path_lengths(np.array([model.max_samples_]))[0]),
    )
    for index, (tree, chosen) in enumerate(
        zip(model.estimators_, model.estimators_features_, strict=True)
    ):
        _read_isolation_tree(tree.tree_, columns[chosen], forest, index)
    return forest


def plant_half_space_trees(
    rows: NDArray[np.float64], columns: NDArray[np.int64], seed: int, settings: FitSettings
) -> HalfSpaceTreesArrays:
    """Plant River's half-space trees over the columns of rows (n, d), scaled to robust limits."""
    lower, upper = robust_limits(rows[:, columns], settings.calm_share, settings.limit_share)
    model: Any = HalfSpaceTrees(
        n_trees=settings.half_space_trees,
        height=settings.half_space_height,
        window_size=settings.half_space_window,
        seed=seed,
    )
    # River plants its trees when the first event comes; which values it has does not matter.
    model.learn_one(dict.fromkeys(range(len(columns)), 0.5))
    return half_space_trees_from_river(model, columns, lower, upper)


def half_space_trees_from_river(
    model: HalfSpaceTrees,
    columns: NDArray[np.int64],
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
) -> HalfSpaceTreesArrays:
    """Read out the planted trees of a model whose features are named 0 to k - 1."""
    inner = 2**model.height - 1
    features = np.zeros((len(model.trees), inner), np.uint8)
    thresholds = np.zeros((len(model.trees), inner), np.float64)
    roots: list[Any] = model.trees
    for index, root in enumerate(roots):
        for node, branch in zip(range(inner), root.iter_bfs(), strict=False):
            features[index, node] = branch.feature
            thresholds[index, node] = branch.threshold
    return HalfSpaceTreesArrays(features, thresholds, columns, lower, upper, model.window_size)


def usual_masses(trees: HalfSpaceTreesArrays, rows: NDArray[np.float64]) -> NDArray[np.uint16]:
    """The masses (T, leaves) of a window whose events are spread over the leaves as rows are."""
    counts = np.zeros(trees.masses_shape, np.int64)
    for start in range(0, len(rows), _COUNTED_ROWS):
        for tree, leaves in enumerate(trees.leaves(rows[start : start + _COUNTED_ROWS])):
            counts[tree] += np.bincount(leaves, minlength=counts.shape[1])
    return np.round(counts * (trees.window / len(rows))).astype(np.uint16)


def robust_limits(
    values: NDArray[np.float64], calm_share: float, limit_share: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Quantiles calm_share and 1 - limit_share of each column.

    Where they meet: the extremes, so that a feature that is nearly always the same has room to
    differ in; and where these meet too, half a unit on each side.
    """
    lower, upper = np.quantile(values, [calm_share, 1 - limit_share], axis=0)
    flat = upper <= lower
    lower = np.where(flat, values.min(axis=0), lower)
    upper = np.where(flat, values.max(axis=0), upper)
    constant = upper <= lower
    return np.where(constant, lower - 0.5, lower), np.where(constant, upper + 0.5, upper)


def _check_reference(
    rows: NDArray[np.float64],
    feature_names: Sequence[str],
    inputs: Sequence[str],
    is_cold: NDArray[np.bool_],
) -> None:
    if rows.ndim != 2 or rows.shape[1] != len(feature_names) or is_cold.shape != (len(rows),):
        raise ValueError("rows, feature names and cold-start flags don't match")
    if not np.isfinite(rows).all():
        raise ValueError("the reference has features that are not finite")
    unknown = set(inputs) - set(feature_names)
    if unknown or not inputs:
        raise ValueError(f"inputs {sorted(unknown)} are not features; give at least one that is")
    if len(feature_names) > COLUMNS_MAX:
        raise ValueError(f"{len(feature_names)} features are more than {COLUMNS_MAX}")


def _read_isolation_tree(
    tree: Any, columns: NDArray[np.int64], forest: IsolationForestArrays, index: int
) -> None:
    """Lay scikit-learn's tree out as a perfect one; leaves above the last level are continued."""
    inner = forest.features.shape[1]
    lengths = tree.compute_node_depths() + _average_path_lengths(tree.n_node_samples) - 1.0
    expected = _expected_lengths(tree, lengths)
    pending = [(0, 0)]
    while pending:
        source, node = pending.pop()
        left, right = tree.children_left[source], tree.children_right[source]
        if node >= inner:
            forest.leaves[index, node - inner] = lengths[source]
            continue
        forest.expected[index, node] = expected[source]
        if left < 0:
            left = right = source
            forest.features[index, node] = columns[0]
        else:
            forest.features[index, node] = columns[tree.feature[source]]
            forest.thresholds[index, node] = _round_down(tree.threshold[source])
        pending += [(left, 2 * node + 1), (right, 2 * node + 2)]


def _expected_lengths(tree: Any, lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean path length of the training samples below each node; children follow their parent."""
    expected = lengths.copy()
    samples = tree.n_node_samples.astype(np.float64)
    for node in range(tree.node_count - 1, -1, -1):
        left, right = tree.children_left[node], tree.children_right[node]
        if left >= 0:
            total = samples[left] * expected[left] + samples[right] * expected[right]
            expected[node] = total / (samples[left] + samples[right])
    return expected


def _average_path_lengths(samples: NDArray[Any]) -> NDArray[np.float64]:
    """c(n): mean path length of an unsuccessful search in a tree of n samples (Liu et al., 2008).

    The terms are joined in scikit-learn's order, for equal bits.
    """
    many = np.maximum(samples, 3).astype(np.float64)
    lengths = 2.0 * (np.log(many - 1.0) + np.euler_gamma) - 2.0 * (many - 1.0) / many
    result: NDArray[np.float64] = np.where(samples <= 1, 0.0, np.where(samples == 2, 1.0, lengths))
    return result


def _round_down(threshold: float) -> np.float32:
    """The largest float32 not above: for a float32 x, x <= threshold stays what it was."""
    rounded = np.float32(threshold)
    return np.nextafter(rounded, np.float32(-np.inf)) if rounded > threshold else rounded


def _score_partitions(
    trees: HalfSpaceTreesArrays,
    rows: NDArray[np.float64],
    users: NDArray[np.uint32],
    is_flagged: NDArray[np.bool_],
    partitions: Sequence[NDArray[np.int64]],
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    scores, is_warm = np.zeros(len(rows), np.float64), np.zeros(len(rows), np.bool_)
    for numbers in partitions:
        state, judge = HalfSpaceState.empty(trees), _as_flagged(is_flagged[numbers])
        batch = score_and_learn(trees, state, rows[numbers], users[numbers], judge)
        scores[numbers], is_warm[numbers] = batch.scores, batch.warm
    return scores, is_warm


def _as_flagged(is_flagged: NDArray[np.bool_]) -> Judge:
    return lambda at, _scores, _warm: is_flagged[at]


def _fit_curves(
    raw: NDArray[np.float64],
    is_warm: NDArray[np.bool_],
    in_mode: NDArray[np.bool_],
    rows_min: int,
) -> EnsembleCurves | None:
    """Curves over the rows of one mode; None where they are too few."""
    both = in_mode & is_warm
    if both.sum() < rows_min:
        return None
    forest, half_spaces = TailCurve.fit(raw[in_mode, 0]), TailCurve.fit(raw[both, 1])
    log_p = np.stack([forest.log_tail(raw[both, 0]), half_spaces.log_tail(raw[both, 1])], axis=1)
    combined = combine(log_p, np.ones(log_p.shape, np.bool_))
    return EnsembleCurves(forest, half_spaces, TailCurve.fit(combined))


def _describe(rows: int, seed: int, description: str, settings: FitSettings) -> Training:
    return Training(
        description=description,
        rows=rows,
        seed=seed,
        hyperparameters=asdict(settings),
        libraries={name: version(name) for name in _LIBRARIES},
    )
