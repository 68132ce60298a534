"""Who can teach the half-space trees, and how far: whatever the batches."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamapp.lifecycle.fitting import FitSettings, plant_half_space_trees, usual_masses
from streamapp.scoring.half_space_trees import (
    BOUND,
    HalfSpaceState,
    HalfSpaceTreesArrays,
    score_and_learn,
)
from tests.scoring.learning import learn_as_told

WIDTH, WINDOW = 3, 100
QUOTA = 5
SETTINGS = FitSettings(half_space_trees=8, half_space_height=5, half_space_window=WINDOW)


def rows_of(seed: int, count: int) -> NDArray[np.float64]:
    return np.abs(np.random.default_rng(seed).normal(size=(count, WIDTH)))


@pytest.fixture(scope="module")
def trees() -> HalfSpaceTreesArrays:
    """Trees that know what is usual."""
    rows = rows_of(1, 3_000)
    planted = plant_half_space_trees(rows, np.arange(WIDTH), 5, SETTINGS)
    return replace(planted, usual=usual_masses(planted, rows))


@given(st.lists(st.integers(0, 700), max_size=12), st.integers(2, 60))
@settings(max_examples=40, deadline=None)
def test_guards_do_not_depend_on_the_batch(
    trees: HalfSpaceTreesArrays, cuts: list[int], user_count: int
) -> None:
    """Scores, orders, state: the same bytes for any cuts, though scores decide who teaches."""
    rows = rows_of(2, 700)
    rows[300:450] *= 4
    users = np.random.default_rng(3).integers(0, user_count, 700).astype(np.uint32)

    def run(places: list[int]) -> tuple[bytes, list[float], int, bytes]:
        state, scores, orders, crowding = HalfSpaceState.empty(trees), [], [], 0
        for start, stop in pairwise([0, *sorted(places), 700]):
            batch = score_and_learn(
                trees,
                state,
                rows[start:stop],
                users[start:stop],
                lambda _at, scores, warm: warm & (scores > 0.9),
            )
            scores.append(batch.scores)
            orders += batch.orders
            crowding += batch.crowding
            state = HalfSpaceState.from_bytes(trees, state.to_bytes(trees))
        return np.concatenate(scores).tobytes(), orders, crowding, state.to_bytes(trees)

    assert run([]) == run(cuts)


def test_one_user_teaches_at_most_a_share(trees: HalfSpaceTreesArrays) -> None:
    """Five of every hundred events; others are learned on."""
    state, rows = HalfSpaceState.empty(trees), rows_of(4, 250)
    users = np.full(250, 7, np.uint32)
    users[200:] = np.arange(50)
    batch = score_and_learn(
        trees, state, rows, users, lambda at, _s, _w: np.zeros(len(rows[at]), bool)
    )
    assert 2 * QUOTA + 50 == state.learned
    assert 250 - state.learned == batch.crowding
    assert 50 == state.seen


def test_masses_stay_near_usual_ones(trees: HalfSpaceTreesArrays) -> None:
    """A window of the one same event: no leaf gains or loses more than the bound."""
    assert trees.usual is not None
    state = HalfSpaceState.empty(trees)
    learn_as_told(trees, state, np.full((WINDOW, WIDTH), 9.0), np.ones(WINDOW, bool))
    usual = trees.usual.astype(int)
    assert state.is_warm
    assert (state.reference >= usual // BOUND).all()
    assert (state.reference <= usual * BOUND + 1).all()
    assert (state.reference.sum(axis=1) < WINDOW).all()


def test_the_order_tells_usual_from_inverted(trees: HalfSpaceTreesArrays) -> None:
    """Near 1 for traffic like the reference, below 0 where only what is rare came."""
    usual = learn_as_told(
        trees, HalfSpaceState.empty(trees), rows_of(5, 5 * WINDOW), np.ones(5 * WINDOW, bool)
    )
    assert 5 == len(usual.orders)
    assert min(usual.orders) > 0.8
    odd = np.full((WINDOW, WIDTH), 9.0)
    [inverted] = learn_as_told(
        trees, HalfSpaceState.empty(trees), odd, np.ones(WINDOW, bool)
    ).orders
    assert inverted < 0.0


def test_usual_masses_are_those_of_one_window(trees: HalfSpaceTreesArrays) -> None:
    """Each tree's leaves hold a window of events, but for rounding."""
    assert trees.usual is not None
    np.testing.assert_allclose(trees.usual.sum(axis=1), WINDOW, atol=trees.usual.shape[1] / 2)
