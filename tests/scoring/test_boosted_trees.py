"""Boosted trees score as the library does, and their contributions are Shapley's."""

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import shap

from streamapp.lifecycle.boosting import BoostSettings, Grown, boost, grow, trees_from_sklearn
from streamapp.scoring.boosted_trees import BoostedTreesArrays

SETTINGS = BoostSettings(trees=30, height=5, leaf_rows=5)
TOLERANCE = 1e-9


def drawn(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows with ties, a constant column, heavy tails, and classes that follow two columns."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, 7))
    rows[:, 1] = rng.integers(0, 4, count)
    rows[:, 2] = 3.0
    rows[:, 3] = np.exp(3 * rows[:, 3])
    odds = rows[:, 0] + (rows[:, 1] == 2) * rows[:, 4] - 2.0
    return rows, rng.random(count) < 1 / (1 + np.exp(-2 * odds))


@pytest.fixture(scope="module")
def library() -> Grown:
    """A model as the library fits it."""
    return grow(*drawn(4_000, 1), 3, SETTINGS)


@pytest.fixture(scope="module")
def trees(library: Grown) -> BoostedTreesArrays:
    """The same, read out."""
    return trees_from_sklearn(library, SETTINGS.height)


def test_scores_are_the_librarys(library: Grown, trees: BoostedTreesArrays) -> None:
    """To 1e-9 over many rows, rows on thresholds among them."""
    rows, _ = drawn(100_000, 2)
    rows[: trees.thresholds.shape[0], trees.features[0, 0]] = trees.thresholds[0, 0]
    expected = library.model.decision_function(library.codes(rows))
    assert expected == pytest.approx(trees.score(rows), abs=TOLERANCE)


def test_a_batch_cut_anywhere_scores_the_same(trees: BoostedTreesArrays) -> None:
    """To the bit."""
    rows, _ = drawn(300, 4)
    whole = trees.score(rows)
    parts = [trees.score(rows[:1]), trees.score(rows[1:130]), trees.score(rows[130:])]
    assert whole.tobytes() == np.concatenate(parts).tobytes()


def test_contributions_are_those_of_shap(library: Grown, trees: BoostedTreesArrays) -> None:
    """The slow reference, and what it expects of a row nothing is known of."""
    rows, _ = drawn(200, 5)
    explainer = shap.TreeExplainer(library.model, feature_perturbation="tree_path_dependent")
    expected = explainer.shap_values(library.codes(rows), check_additivity=False)
    assert expected == pytest.approx(trees.contributions(rows), abs=1e-6)
    assert float(np.ravel(explainer.expected_value)[0]) == pytest.approx(trees.expected, abs=1e-6)


def test_contributions_add_up_to_the_score(trees: BoostedTreesArrays) -> None:
    """Within 1e-9; and what no tree asks about adds nothing."""
    rows, _ = drawn(5_000, 6)
    found = trees.contributions(rows)
    assert trees.score(rows) == pytest.approx(trees.expected + found.sum(axis=1), abs=TOLERANCE)
    assert not found[:, 2].any()


def test_contributions_are_shapleys_by_their_definition(trees: BoostedTreesArrays) -> None:
    """Of one tree, over all sets of known features."""
    one = BoostedTreesArrays(
        trees.features[:1], trees.thresholds[:1], trees.leaves[:1], trees.covers[:1], 0.5
    )
    rows, _ = drawn(3, 7)
    columns = range(rows.shape[1])
    for row, found in zip(rows, one.contributions(rows), strict=True):
        for column in columns:
            others = [other for other in columns if other != column]
            share = 0.0
            for size in range(len(others) + 1):
                weight = math.factorial(size) * math.factorial(len(others) - size)
                weight /= math.factorial(len(others) + 1)
                for known in combinations(others, size):
                    gain = expectation(one, row, {*known, column}) - expectation(one, row, {*known})
                    share += weight * gain
            assert share == pytest.approx(found[column], abs=TOLERANCE)


def expectation(
    trees: BoostedTreesArrays, row: np.ndarray, known: set[int], node: int = 0
) -> float:
    """What the first tree gives where only some features are known."""
    inner = trees.features.shape[1]
    if node >= inner:
        return float(trees.leaves[0, node - inner])
    left, right = 2 * node + 1, 2 * node + 2
    column = int(trees.features[0, node])
    if trees.thresholds[0, node] == math.inf:
        return expectation(trees, row, known, left)
    if column in known:
        goes_left = row[column] <= trees.thresholds[0, node]
        return expectation(trees, row, known, left if goes_left else right)
    masses = [mass_below(trees, child) for child in (left, right)]
    below = [expectation(trees, row, known, child) for child in (left, right)]
    return (masses[0] * below[0] + masses[1] * below[1]) / sum(masses)


def mass_below(trees: BoostedTreesArrays, node: int) -> float:
    """Training rows below a node of the first tree."""
    inner = trees.features.shape[1]
    if node >= inner:
        return float(trees.covers[0, node - inner])
    return mass_below(trees, 2 * node + 1) + mass_below(trees, 2 * node + 2)


def test_the_same_rows_and_seed_grow_the_same_trees(trees: BoostedTreesArrays) -> None:
    """To the bit."""
    again = boost(*drawn(4_000, 1), 3, SETTINGS)
    for name in ("features", "thresholds", "leaves", "covers"):
        assert getattr(trees, name).tobytes() == getattr(again, name).tobytes()
    assert trees.base == again.base


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"leaves": np.zeros((30, 31))}, "perfect trees"),
        ({"features": np.zeros((30, 31), np.int64)}, "features is int64"),
        ({"thresholds": np.full((30, 31), np.nan)}, "no number"),
        ({"leaves": np.full((30, 32), np.inf)}, "not finite"),
        ({"covers": np.full((30, 32), -1.0)}, "covers"),
        ({"base": math.nan}, "not finite"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    trees: BoostedTreesArrays, change: dict[str, object], complaint: str
) -> None:
    """Before a kernel reads beyond their ends."""
    with pytest.raises(ValueError, match=complaint):
        replace(trees, **change)
