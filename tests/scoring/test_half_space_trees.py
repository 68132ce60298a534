"""The compiled half-space trees are River's, bit for bit, however the stream is cut."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from river.anomaly import HalfSpaceTrees

from streamapp.lifecycle.fitting import half_space_trees_from_river
from streamapp.scoring.half_space_trees import (
    HalfSpaceState,
    HalfSpaceTreesArrays,
    state_bytes,
)
from tests.scoring.learning import learn_as_told


def river(**options: Any) -> HalfSpaceTrees:
    return HalfSpaceTrees(**({"seed": 11} | options))


def planted(width: int, **options: Any) -> HalfSpaceTreesArrays:
    """The same trees as arrays; limits -3 and 3, inputs in the last columns of the matrix."""
    model = river(**options)
    model.learn_one(dict.fromkeys(range(width), 0.5))
    columns = np.arange(2, 2 + width)
    return half_space_trees_from_river(model, columns, np.full(width, -3.0), np.full(width, 3.0))


def rows_of(rng: np.random.Generator, count: int, width: int) -> NDArray[np.float64]:
    """A drifting stream, some of it beyond the limits, some rows equal to others."""
    rows = rng.normal(scale=1.5, size=(count, 2 + width))
    rows[:, 2] += np.linspace(0, 2, count)
    rows[rng.random(count) < 0.1] = rows[0]
    return rows


def scores_of_river(
    model: HalfSpaceTrees, inputs: NDArray[np.float64], learn: NDArray[np.bool_]
) -> NDArray[np.float64]:
    scores = np.empty(len(inputs))
    for row, values in enumerate(inputs):
        event = dict(enumerate(values.tolist()))
        scores[row] = model.score_one(event)
        if learn[row]:
            model.learn_one(event)
    return scores


def scores_in_batches(
    trees: HalfSpaceTreesArrays,
    rows: NDArray[np.float64],
    learn: NDArray[np.bool_],
    cuts: list[int],
) -> tuple[NDArray[np.float64], HalfSpaceState]:
    """Scores of the stream cut at `cuts`, the state stored and read back at every cut."""
    state, scores = HalfSpaceState.empty(trees), []
    for part, mask in zip(np.split(rows, cuts), np.split(learn, cuts), strict=True):
        scores.append(learn_as_told(trees, state, part, mask).scores)
        state = HalfSpaceState.from_bytes(trees, state.to_bytes(trees))
    return np.concatenate(scores), state


@pytest.mark.parametrize(("tree_count", "events"), [(10, 100_000), (25, 10_000)])
def test_scores_are_rivers_bit_for_bit(tree_count: int, events: int) -> None:
    """A long stream in batches of 1 to 1,024 scores as River does event by event."""
    rng = np.random.default_rng(tree_count)
    options = {"n_trees": tree_count, "height": 8, "window_size": 250}
    trees, rows = planted(9, **options), rows_of(rng, events, 9)
    learn = rng.random(events) < 0.95
    cuts = np.cumsum(rng.integers(1, 1_025, size=events // 200))
    cuts = cuts[cuts < events].tolist()
    expected = scores_of_river(river(**options), trees.scale(rows), learn)
    scores, state = scores_in_batches(trees, rows, learn, cuts)
    assert expected.tobytes() == scores.tobytes()
    assert int(learn.sum()) == state.learned
    assert len(np.unique(scores)) > events // 20


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_trees_and_any_cuts_agree_with_river(data: st.DataObject) -> None:
    """Height, window, learning mask and cuts are free; the bits are River's."""
    width = data.draw(st.integers(1, 4))
    options = {
        "n_trees": data.draw(st.integers(1, 4)),
        "height": data.draw(st.integers(1, 6)),
        "window_size": data.draw(st.integers(1, 40)),
    }
    rng = np.random.default_rng(data.draw(st.integers(0, 1_000)))
    count = data.draw(st.integers(0, 200))
    cuts = sorted(data.draw(st.lists(st.integers(0, count), max_size=20)))
    learn = rng.random(count) < data.draw(st.sampled_from([0.0, 0.5, 1.0]))
    trees = planted(width, **options)
    rows = rows_of(rng, max(count, 1), width)[:count]
    expected = scores_of_river(river(**options), trees.scale(rows), learn)
    scores, _ = scores_in_batches(trees, rows, learn, cuts)
    assert expected.tobytes() == scores.tobytes()


def test_a_value_at_a_threshold_goes_right_as_in_river() -> None:
    """Rows made of the trees' own thresholds, under limits that scale to themselves."""
    options = {"n_trees": 5, "height": 6, "window_size": 64}
    model = river(**options)
    model.learn_one({0: 0.5})
    unit = (np.zeros(1), np.ones(1))
    trees = half_space_trees_from_river(model, np.zeros(1, np.int64), *unit)
    rows = np.random.default_rng(6).permutation(trees.thresholds.reshape(-1, 1))
    learn = np.ones(len(rows), bool)
    expected = scores_of_river(river(**options), rows, learn)
    scores, _ = scores_in_batches(trees, rows, learn, [100])
    assert expected.tobytes() == scores.tobytes()


@pytest.fixture(scope="module")
def trees() -> HalfSpaceTreesArrays:
    return planted(5, n_trees=6, height=5, window_size=50)


@given(st.lists(st.integers(0, 333), max_size=15))
@settings(max_examples=30, deadline=None)
def test_the_state_does_not_depend_on_the_cuts(
    trees: HalfSpaceTreesArrays, cuts: list[int]
) -> None:
    """The bytes of the state after a stream are the same for any batches."""
    rows, learn = rows_of(np.random.default_rng(1), 333, 5), np.ones(333, bool)
    _, whole = scores_in_batches(trees, rows, learn, [])
    _, cut = scores_in_batches(trees, rows, learn, sorted(cuts))
    assert whole.to_bytes(trees) == cut.to_bytes(trees)


def test_rows_are_warm_from_the_first_full_window_on(trees: HalfSpaceTreesArrays) -> None:
    """Until 50 events are learned the score is 0 and not warm; the 51st is scored."""
    rows = rows_of(np.random.default_rng(2), 120, 5)
    batch = learn_as_told(trees, HalfSpaceState.empty(trees), rows, np.ones(120, bool))
    assert [False] * 50 + [True] * 70 == batch.warm.tolist()
    assert not batch.scores[:50].any()
    assert (batch.scores[50:] > 0).all()
    assert [0] * 50 + [1] * 50 + [2] * 20 == batch.windows.tolist()
    assert len(batch.references) == 3


def test_an_event_that_is_not_learned_leaves_the_state_as_it_was(
    trees: HalfSpaceTreesArrays,
) -> None:
    """Scoring alone changes no mass; that the event was seen is counted."""
    rows = rows_of(np.random.default_rng(3), 80, 5)
    _, state = scores_in_batches(trees, rows, np.ones(80, bool), [])
    before, state.seen = state.to_bytes(trees), 0
    learn_as_told(trees, state, rows, np.zeros(80, bool))
    assert 30 == state.seen
    assert before == replace(state, seen=30).to_bytes(trees)


def test_what_lies_outside_the_limits_scores_as_the_limit(trees: HalfSpaceTreesArrays) -> None:
    """Limits are fixed: values beyond them are clipped, not rescaled."""
    inside = np.array([[0.0, 0.0, -3.0, 3.0, 0.0, 3.0, -3.0]])
    outside = np.array([[9.0, 9.0, -1e12, 3.1, 0.0, 1e300, -4.0]])
    assert [0.0, 1.0, 0.5, 1.0, 0.0] == trees.scale(inside)[0].tolist()
    assert trees.scale(inside).tobytes() == trees.scale(outside).tobytes()


def test_a_copy_goes_its_own_way(trees: HalfSpaceTreesArrays) -> None:
    """Learning on a copy does not touch the original, across window turns too."""
    rows = rows_of(np.random.default_rng(4), 130, 5)
    _, state = scores_in_batches(trees, rows, np.ones(130, bool), [])
    before, copied = state.to_bytes(trees), state.copy()
    assert state == copied
    learn_as_told(trees, copied, rows, np.ones(130, bool))
    assert before == state.to_bytes(trees)
    assert state != copied


def test_a_state_is_read_back_as_it_was(trees: HalfSpaceTreesArrays) -> None:
    """Decoding inverts encoding, at the stated size."""
    rows = rows_of(np.random.default_rng(5), 77, 5)
    _, state = scores_in_batches(trees, rows, np.ones(77, bool), [])
    payload = state.to_bytes(trees)
    restored = HalfSpaceState.from_bytes(trees, payload)
    assert state_bytes(trees) == len(payload)
    assert state == restored
    assert state.leaf_scores.tobytes() == restored.leaf_scores.tobytes()


def test_a_state_of_other_trees_is_refused(trees: HalfSpaceTreesArrays) -> None:
    """Masses mean nothing under other trees; the fingerprint tells."""
    other = planted(5, n_trees=6, height=5, window_size=50, seed=12)
    payload = HalfSpaceState.empty(other).to_bytes(other)
    with pytest.raises(ValueError, match="other trees"):
        HalfSpaceState.from_bytes(trees, payload)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda payload: payload[:-1], "bytes"),
        (lambda payload: b"\xff\xff" + payload[2:], "layout"),
        (lambda payload: payload[:12] + b"\xff\xff\xff\xff" + payload[16:], "damaged"),
    ],
)
def test_a_damaged_state_is_refused(
    trees: HalfSpaceTreesArrays, damage: Any, complaint: str
) -> None:
    """A wrong length, layout or position never becomes a state."""
    payload = HalfSpaceState.empty(trees).to_bytes(trees)
    with pytest.raises(ValueError, match=complaint):
        HalfSpaceState.from_bytes(trees, damage(payload))


def test_trees_that_do_not_fit_are_refused(trees: HalfSpaceTreesArrays) -> None:
    """A node that looks at an input that isn't there never reaches the kernel."""
    with pytest.raises(ValueError, match="outside the feature matrix"):
        HalfSpaceTreesArrays(
            trees.features + np.uint8(5),
            trees.thresholds,
            trees.columns,
            trees.lower,
            trees.upper,
            50,
        )
    with pytest.raises(ValueError, match="upper limit"):
        HalfSpaceTreesArrays(
            trees.features, trees.thresholds, trees.columns, trees.lower, trees.lower, 50
        )
