"""The compiled isolation forest is scikit-learn's, whatever the batch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest

from streamapp.lifecycle.fitting import forest_from_sklearn
from streamapp.scoring.forest import IsolationForestArrays

WIDTH = 12


def traffic(seed: int, count: int) -> NDArray[np.float32]:
    """Rows with a constant column, a flag, whole numbers and a heavy tail."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, WIDTH))
    rows[:, 0] = 3.5
    rows[:, 1] = rows[:, 1] > 2
    rows[:, 2] = np.floor(3 * rows[:, 2])
    rows[:, 3] = np.exp(4 * rows[:, 3])
    return rows.astype(np.float32)


def grown(rows: NDArray[np.float32], **options: object) -> IsolationForest:
    return IsolationForest(**({"n_estimators": 100, "random_state": 7} | options)).fit(rows)


@pytest.fixture(scope="module")
def forest() -> IsolationForestArrays:
    return forest_from_sklearn(grown(traffic(1, 5_000)), np.arange(WIDTH))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_features": 0.4},
        {"max_samples": 700},
        {"max_samples": 3},
        {"max_samples": 2, "n_estimators": 1},
        {"bootstrap": True, "n_estimators": 31},
    ],
)
def test_scores_are_those_of_scikit_learn(options: dict[str, object]) -> None:
    """Scores differ from -score_samples by no more than the last bit of 2**x."""
    model = grown(traffic(1, 5_000), **options)
    rows = np.concatenate([traffic(2, 5_000), 100 * traffic(3, 500)])
    scores = forest_from_sklearn(model, np.arange(WIDTH)).score(rows)
    assert np.abs(-model.score_samples(rows) - scores).max() <= 2.3e-16


def test_rows_at_and_beside_a_threshold_go_where_scikit_learn_sends_them() -> None:
    """Rounding a threshold down to float32 moves no float32 value across it."""
    model = grown(traffic(1, 2_000), n_estimators=40)
    probes = traffic(4, 1)
    for tree in model.estimators_:
        inner = tree.tree_.feature >= 0
        at = np.repeat(traffic(5, 1), inner.sum(), axis=0)
        at[np.arange(len(at)), tree.tree_.feature[inner]] = tree.tree_.threshold[inner]
        probes = np.concatenate(
            [probes, at, np.nextafter(at, np.float32(-9)), np.nextafter(at, np.float32(9))]
        )
    scores = forest_from_sklearn(model, np.arange(WIDTH)).score(probes)
    assert np.abs(-model.score_samples(probes) - scores).max() <= 2.3e-16


def test_constant_training_data_scores_like_scikit_learn() -> None:
    """Trees without any split are laid out too."""
    rows = np.ones((300, WIDTH), np.float32)
    model = grown(rows)
    scores = forest_from_sklearn(model, np.arange(WIDTH)).score(traffic(6, 50))
    np.testing.assert_allclose(scores, -model.score_samples(traffic(6, 50)), rtol=0, atol=2.3e-16)


def test_nodes_look_at_the_columns_of_the_whole_matrix() -> None:
    """A forest grown on some columns scores the whole feature matrix."""
    columns = np.array([9, 2, 4])
    rows = traffic(1, 1_000)
    model = grown(np.ascontiguousarray(rows[:, columns]))
    expected = -model.score_samples(rows[:, columns])
    scores = forest_from_sklearn(model, columns).score(rows)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=2.3e-16)


@given(st.lists(st.integers(0, 500), max_size=12))
@settings(max_examples=40, deadline=None)
def test_a_row_scores_the_same_bits_in_any_batch(
    forest: IsolationForestArrays, cuts: list[int]
) -> None:
    """Cutting the rows into batches anywhere changes no byte."""
    rows = traffic(8, 500)
    parts = [forest.score(part) for part in np.split(rows, sorted(cuts))]
    assert forest.score(rows).tobytes() == np.concatenate(parts).tobytes()


def test_the_score_is_two_to_the_relative_path_length(forest: IsolationForestArrays) -> None:
    """path_lengths are the mean depths that score turns into (0, 1]."""
    rows = traffic(9, 200)
    expected = 2.0 ** -(forest.path_lengths(rows) / forest.normaliser)
    np.testing.assert_allclose(forest.score(rows), expected, rtol=1e-15)


def test_no_rows_have_no_scores(forest: IsolationForestArrays) -> None:
    """An empty batch is a batch."""
    assert forest.score(np.empty((0, WIDTH), np.float32)).shape == (0,)


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        (np.zeros((3, WIDTH)), "float64"),
        (np.zeros((3, 2), np.float32), "columns"),
        (np.zeros((3, 2 * WIDTH), np.float32)[:, ::2], "C order"),
    ],
)
def test_rows_a_kernel_would_misread_are_refused(
    forest: IsolationForestArrays, rows: NDArray[np.float32], complaint: str
) -> None:
    """Kind, width and order are asserted before the kernel, which does not check."""
    with pytest.raises(AssertionError, match=complaint):
        forest.score(rows)


def test_arrays_that_do_not_fit_are_refused(forest: IsolationForestArrays) -> None:
    """Shapes that would read outside an array never become a forest."""
    with pytest.raises(ValueError, match="thresholds is"):
        IsolationForestArrays(
            forest.features,
            np.ascontiguousarray(forest.thresholds[:, :-1]),
            forest.leaves,
            forest.expected,
            forest.normaliser,
        )
    with pytest.raises(ValueError, match="perfect trees"):
        IsolationForestArrays(
            forest.features,
            forest.thresholds,
            np.ascontiguousarray(forest.leaves[:, :-1]),
            forest.expected,
            forest.normaliser,
        )
