"""Contributions add up to what they explain, and point at the feature that is odd."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamapp.lifecycle.fitting import FitSettings, grow_forest, plant_half_space_trees
from streamapp.scoring.attribution import (
    forest_base,
    forest_contributions,
    half_space_contributions,
    surprise_shares,
)
from streamapp.scoring.forest import IsolationForestArrays
from streamapp.scoring.half_space_trees import (
    HalfSpaceScores,
    HalfSpaceState,
    HalfSpaceTreesArrays,
)
from tests.scoring.learning import learn_as_told

WIDTH, UNUSED = 7, 3
COLUMNS = np.array([0, 1, 2, 4, 5, 6])
SETTINGS = FitSettings(half_space_trees=15, half_space_height=6, half_space_window=100)


def rows_of(seed: int, count: int) -> NDArray[np.float64]:
    """Normal rows whose last column is a rare flag."""
    rows = np.random.default_rng(seed).normal(size=(count, WIDTH))
    rows[:, 6] = rows[:, 6] > 1.8
    return rows


@pytest.fixture(scope="module")
def forest() -> IsolationForestArrays:
    return grow_forest(rows_of(1, 3_000), COLUMNS, 5, SETTINGS)


@pytest.fixture(scope="module")
def trees() -> HalfSpaceTreesArrays:
    return plant_half_space_trees(rows_of(1, 3_000), COLUMNS, 5, SETTINGS)


def scored(trees: HalfSpaceTreesArrays, rows: NDArray[np.float64]) -> HalfSpaceScores:
    return learn_as_told(trees, HalfSpaceState.empty(trees), rows, np.ones(len(rows), bool))


@given(st.integers(0, 100), st.sampled_from([0.1, 1.0, 30.0]))
@settings(max_examples=25, deadline=None)
def test_forest_contributions_add_up_to_the_path_length(
    forest: IsolationForestArrays, seed: int, spread: float
) -> None:
    """Base minus contributions is the row's mean path length; unused columns get nothing."""
    rows = (spread * rows_of(seed, 40)).astype(np.float32)
    contributions = forest_contributions(forest, rows)
    expected = forest.path_lengths(rows)
    got = forest_base(forest) - contributions.sum(axis=1)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)
    assert not contributions[:, UNUSED].any()


@given(st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_half_space_contributions_add_up_to_the_score(
    trees: HalfSpaceTreesArrays, seed: int
) -> None:
    """Base plus contributions is the row's score, by the window that scored it."""
    rows = rows_of(seed, 450)
    batch, chosen = scored(trees, rows), np.arange(449, 50, -7)
    contributions, bases = half_space_contributions(trees, batch, rows, chosen)
    got = bases + contributions.sum(axis=1)
    np.testing.assert_allclose(got, batch.scores[chosen], rtol=0, atol=1e-9)
    assert not contributions[:, UNUSED].any()


def test_rows_before_the_first_window_have_no_contributions(trees: HalfSpaceTreesArrays) -> None:
    """What was not scored is not explained."""
    rows = rows_of(2, 150)
    contributions, bases = half_space_contributions(
        trees, scored(trees, rows), rows, np.array([3, 99, 100])
    )
    assert [False, False, True] == (bases > 0).tolist()
    assert [False, False, True] == contributions.any(axis=1).tolist()


@pytest.mark.parametrize("column", COLUMNS[:-1])
def test_the_odd_feature_contributes_most(
    forest: IsolationForestArrays, trees: HalfSpaceTreesArrays, column: int
) -> None:
    """A row that is typical but for one feature is explained by that feature."""
    rows = rows_of(3, 500)
    rows[450] = 0.0
    rows[450, column] = 8.0
    by_forest = forest_contributions(forest, rows[450:451].astype(np.float32))
    by_trees, _ = half_space_contributions(trees, scored(trees, rows), rows, np.array([450]))
    assert column == by_forest[0].argmax()
    assert by_forest[0, column] > 0
    assert column == (surprise_shares(by_forest, np.array([-5.0])) + by_trees)[0].argmax()


@given(st.lists(st.integers(0, 449), max_size=8))
@settings(max_examples=25, deadline=None)
def test_contributions_do_not_depend_on_the_batch(
    forest: IsolationForestArrays, trees: HalfSpaceTreesArrays, cuts: list[int]
) -> None:
    """A row is explained by the same bytes wherever its batch began and ended."""
    rows = rows_of(4, 450)
    whole, _ = half_space_contributions(trees, scored(trees, rows), rows, np.arange(450))
    state, parts = HalfSpaceState.empty(trees), []
    for part in np.split(rows, sorted(cuts)):
        batch = learn_as_told(trees, state, part, np.ones(len(part), bool))
        contributions, _ = half_space_contributions(trees, batch, part, np.arange(len(part)))
        parts.append(contributions)
    assert whole.tobytes() == np.concatenate(parts).tobytes()
    narrow = rows.astype(np.float32)
    cut = [forest_contributions(forest, part) for part in np.split(narrow, sorted(cuts))]
    assert forest_contributions(forest, narrow).tobytes() == np.concatenate(cut).tobytes()


def test_surprise_is_shared_out_among_what_speaks_for_it() -> None:
    """Positive contributions add up to -log p; a row without any gets none."""
    contributions = np.array([[3.0, 1.0, -2.0], [-1.0, 0.0, -1.0], [0.0, 5.0, 0.0]])
    shares = surprise_shares(contributions, np.array([-8.0, -2.0, 0.0]))
    assert [[6.0, 2.0, -4.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]] == shares.tolist()
