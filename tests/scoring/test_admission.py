"""Admission: one wrong clock is refused, a partition that was quiet is believed."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streamapp.features.contract import DAY_MS
from streamapp.scoring.admission import AHEAD_MS_MAX, AHEAD_RUN_MAX, StreamClock

NOW = 1_770_033_600_000
AHEAD = NOW + AHEAD_MS_MAX + 1


def admitted(clock: StreamClock, *times: int) -> list[bool]:
    """What the clock says of each event, in one batch."""
    return list(clock.admit(np.array(times, dtype=np.int64)).tolist())


def test_the_first_event_sets_the_clock() -> None:
    """There is nothing to be ahead of."""
    clock = StreamClock()
    assert [True] == admitted(clock, NOW)
    assert NOW == clock.time_ms


def test_a_day_ahead_is_admitted_and_more_is_not() -> None:
    """The limit itself is still in; what is refused does not move the clock."""
    clock = StreamClock(NOW)
    assert [False, True] == admitted(clock, AHEAD, AHEAD - 1)
    assert AHEAD - 1 == clock.time_ms


def test_stream_time_never_goes_back() -> None:
    """However old an event, it is admitted, and the clock stays."""
    clock = StreamClock(NOW)
    assert [True, True] == admitted(clock, 0, NOW - 400 * DAY_MS)
    assert NOW == clock.time_ms


def test_a_run_of_refusals_ends_in_belief() -> None:
    """16 in a row are refused; the 17th says that the partition had been quiet."""
    clock = StreamClock(NOW)
    outcomes = admitted(clock, *[AHEAD] * (AHEAD_RUN_MAX + 2))
    assert 16 == AHEAD_RUN_MAX
    assert [False] * 16 + [True, True] == outcomes
    assert (AHEAD, 0) == (clock.time_ms, clock.ahead_run)


def test_an_honest_event_ends_the_run() -> None:
    """A wrong clock among honest ones is never believed, however long it goes on."""
    clock = StreamClock(NOW)
    for _ in range(20):
        assert [False] * 16 + [True] == admitted(clock, *[AHEAD] * 16, NOW)
    assert NOW == clock.time_ms


def test_a_quiet_partition_recovers() -> None:
    """After a month of silence traffic flows again, at the cost of 16 dead letters."""
    clock = StreamClock(NOW)
    month_later = [NOW + 30 * DAY_MS + i * 1_000 for i in range(200)]
    assert 200 - AHEAD_RUN_MAX == sum(admitted(clock, *month_later))
    assert month_later[-1] == clock.time_ms


def test_an_empty_batch_changes_nothing() -> None:
    """No event, no time."""
    clock = StreamClock(NOW, 3)
    assert [] == admitted(clock)
    assert StreamClock(NOW, 3) == clock


TIMES = st.lists(
    st.tuples(st.integers(-2, 3), st.integers(-1, 1)).map(lambda t: NOW + t[0] * DAY_MS + t[1]),
    max_size=60,
)


@given(TIMES, st.lists(st.integers(0, 60), max_size=5))
@settings(max_examples=150)
def test_batches_may_be_cut_anywhere(times: list[int], cuts: list[int]) -> None:
    """The same events are admitted, and the clock ends the same, however the stream is cut."""
    whole, parts = StreamClock(), StreamClock()
    expected = admitted(whole, *times)
    edges = [0, *sorted(cuts), len(times)]
    pieces = [times[start:stop] for start, stop in pairwise(edges)]
    found = [outcome for piece in pieces for outcome in admitted(parts, *piece)]
    assert expected == found[: len(expected)]
    assert whole == parts
