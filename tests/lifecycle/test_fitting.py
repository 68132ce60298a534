"""Both kinds of trees are grown on one side: only more than usual is suspicious."""

import numpy as np
import pytest
from numpy.typing import NDArray

from streamapp.lifecycle.fitting import (
    FitSettings,
    grow_forest,
    plant_half_space_trees,
    robust_limits,
)

SETTINGS = FitSettings(forest_trees=40, half_space_trees=10, half_space_height=6)
COLUMNS = np.array([0, 2])


def reference(count: int = 4_000) -> NDArray[np.float64]:
    """Three columns of which the models look at two."""
    return np.random.default_rng(3).normal(size=(count, 3))


def test_the_forest_tells_no_calm_values_apart() -> None:
    """Far below the median is the median; far above is not."""
    rows = reference()
    forest = grow_forest(rows, COLUMNS, 1, SETTINGS)
    middle = np.quantile(rows, SETTINGS.calm_share, axis=0)
    usual, calm, odd = forest.score(np.array([middle, middle - 50, middle + 5], np.float32))
    assert usual == calm < odd


def test_half_space_trees_have_no_room_for_calm_values() -> None:
    """Their lower limit is the median, the upper one leaves a thousandth out."""
    rows = reference()
    trees = plant_half_space_trees(rows, COLUMNS, 1, SETTINGS)
    middle = np.quantile(rows[:, COLUMNS], SETTINGS.calm_share, axis=0)
    np.testing.assert_array_equal(middle, trees.lower)
    assert pytest.approx(0.001, abs=3e-4) == (rows[:, COLUMNS] > trees.upper).mean()
    below = np.zeros((1, 3))
    below[0, COLUMNS] = middle - 50
    np.testing.assert_array_equal([[0.0, 0.0]], trees.scale(below))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 1.0, 2.0, 3.0, 4.0], (2.0, 4.0)),
        ([0.0] * 99_999 + [7.0], (0.0, 7.0)),
        ([5.0, 5.0, 5.0], (4.5, 5.5)),
    ],
)
def test_limits_always_leave_room(values: list[float], expected: tuple[float, float]) -> None:
    """Where both quantiles meet, the extremes; where these meet, half a unit on each side."""
    lower, upper = robust_limits(np.array(values)[:, None], 0.5, 0.001)
    assert expected == (lower[0], pytest.approx(upper[0], abs=0.01))
