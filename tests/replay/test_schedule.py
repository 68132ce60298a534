"""Intended sending times: known beforehand, whatever the broker does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamapp.replay.reader import RecordedBatch
from streamapp.replay.schedule import EventTime, FixedRate

_DAY_MS = 24 * 3_600_000


def _batch(*time_ms: int) -> RecordedBatch:
    count = len(time_ms)
    labels = np.zeros(count, dtype=np.int8)
    return RecordedBatch([b"u"] * count, [b"v"] * count, np.array(time_ms, np.int64), labels)


def test_fixed_rate_is_even_across_batches() -> None:
    """Message i is due i / rate seconds after the start, whichever batch it is in."""
    schedule = FixedRate(10)
    due = [*schedule.due_s(_batch(0, 0, 0)), *schedule.due_s(_batch(0, 0))]
    assert pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4]) == due


def test_event_time_is_divided_by_the_speedup() -> None:
    """Two seconds between events are one at speed-up 2; the first is due at once."""
    assert [0.0, 1.0, 1.5] == EventTime(2).due_s(_batch(5_000, 7_000, 8_000)).tolist()


def test_a_late_event_is_due_at_once() -> None:
    """Stream time does not go back, nor do intended times."""
    assert [0.0, 2.0, 2.0, 3.0] == EventTime(1).due_s(_batch(5_000, 7_000, 6_000, 8_000)).tolist()


def test_unknown_times_wait_for_nothing() -> None:
    """A message whose time cannot be read goes with the one before it."""
    assert [0.0, 0.0, 2.0, 2.0] == EventTime(1).due_s(_batch(-1, 5_000, 7_000, -1)).tolist()


def test_one_wild_clock_does_not_stop_the_replay() -> None:
    """An event a century ahead of its neighbours moves no schedule; a true pause is kept."""
    century = 36_500 * _DAY_MS
    pause = 3 * _DAY_MS
    due = EventTime(1).due_s(_batch(0, century, 1_000, pause, pause + 1_000)).tolist()
    assert [0.0, 0.0, 1.0, pause / 1_000, pause / 1_000 + 1] == due


@given(
    st.lists(st.lists(st.integers(-1, 10 * _DAY_MS), min_size=1, max_size=20), min_size=1),
    st.floats(0.001, 1e6),
)
def test_intended_times_never_fall(batches: list[list[int]], speedup: float) -> None:
    """Over any batches, known or unknown times, intended times start at 0 or later and rise."""
    schedule = EventTime(speedup)
    due = np.concatenate([schedule.due_s(_batch(*times)) for times in batches])
    assert 0 <= due[0]
    assert bool((np.diff(due) >= 0).all())


@pytest.mark.parametrize("speed", [0, -1, float("inf"), float("nan")])
def test_impossible_speeds_are_refused(speed: float) -> None:
    """A rate or speed-up must be more than zero, and finite."""
    with pytest.raises(ValueError, match="expected more than 0"):
        FixedRate(speed)
    with pytest.raises(ValueError, match="expected more than 0"):
        EventTime(speed)
