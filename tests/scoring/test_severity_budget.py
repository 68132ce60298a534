"""A week's shares of severities keep to their budgets, within bounds, from whatever was counted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamapp.features.contract import HOUR_MS
from streamapp.scoring.calibration import DEFAULT_CUTOFFS, risk_score, risk_tail_share
from streamapp.scoring.severity_budget import (
    REACH,
    WEEK_HOURS,
    Cutoffs,
    CutoffsError,
    Steering,
    Tally,
)

BUDGETS = np.array([0.02, 0.005, 0.001])
FIRST_HOUR = 474_000
DAY_PAYMENTS = 20_000

counts = st.lists(
    st.tuples(st.integers(0, 200), st.tuples(*[st.integers(0, 5_000)] * 4)), max_size=60
)


@given(counts, st.integers(0, 220))
@settings(max_examples=200, deadline=None)
def test_cutoffs_stay_within_reach_whatever_was_counted(
    found: list[tuple[int, tuple[int, int, int, int]]], hour: int
) -> None:
    """They rise by severity, and a tail share moves by e² at most, but for the rounded score."""
    tally = Tally()
    for at, severities in found:
        tally.count(at, np.array(severities), DEFAULT_CUTOFFS)
    cutoffs = tally.cutoffs(hour)
    assert sorted(cutoffs.risks) == list(cutoffs.risks)
    assert cutoffs == Cutoffs.named(cutoffs.name)
    shares = risk_tail_share(np.array(cutoffs.risks))
    assert (shares <= BUDGETS * REACH * 1.01).all()
    assert (shares >= BUDGETS / REACH * 0.99).all()
    again = Tally(tally.hours())
    for at, _ in reversed(found):
        again.count(at, np.zeros(4, np.int64), DEFAULT_CUTOFFS)
    assert cutoffs == again.cutoffs(hour)


@given(st.floats(0.3, 3.0), st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_a_week_keeps_its_budgets_where_shares_are_off(factor: float, seed: int) -> None:
    """Where alerts come so much oftener than calibrated, from the second week on."""
    draw = np.random.default_rng(seed)
    size = 28 * DAY_PAYMENTS
    time_ms = FIRST_HOUR * HOUR_MS + np.sort(draw.integers(0, 28 * 24 * HOUR_MS, size))
    risk = risk_score(np.log(np.clip(draw.random(size) / factor, 1e-6, 1.0)))
    steering = Steering()
    parts = zip(np.array_split(time_ms, 5), np.array_split(risk, 5), strict=True)
    codes = np.concatenate([steering.severities(*part) for part in parts])
    week = (time_ms - time_ms[0]) // (WEEK_HOURS * HOUR_MS)
    for code, budget in enumerate(BUDGETS, start=1):
        shares = np.array([(codes[week == one] >= code).mean() for one in (1, 2, 3)])
        assert (shares <= 1.5 * budget).all()
        assert (shares >= budget / 1.5).all()


def test_a_first_day_is_judged_as_calibrated_and_a_calm_week_too() -> None:
    """There is no steering without a day of counts, nor where the counts are within."""
    tally = Tally()
    assert (0, DEFAULT_CUTOFFS) == tally.cutoffs(0)
    for hour in range(WEEK_HOURS):
        expected = DEFAULT_CUTOFFS
        assert expected == tally.cutoffs(hour).risks
        tally.count(hour, np.array([9_800, 150, 40, 10]), DEFAULT_CUTOFFS)


def test_a_wrong_clock_or_two_move_no_time_on() -> None:
    """A partition believes its very first payment; the budgets of all partitions don't."""
    tally = Tally()
    assert tally.newest is None
    tally.count(100, np.array([9_800, 150, 40, 10]), DEFAULT_CUTOFFS)
    tally.count(900_000, np.array([16, 0, 0, 0]), DEFAULT_CUTOFFS)
    assert 100 == tally.newest
    tally.forget(100)
    tally.count(900_000, np.array([0, 0, 0, 1]), DEFAULT_CUTOFFS)
    assert 900_000 == tally.newest


def test_a_wave_raises_cutoffs_and_a_quiet_week_lowers_them() -> None:
    """By what was counted before the hour alone, in parts or at once."""
    found = {}
    for name, criticals in (("wave", 60), ("quiet", 0)):
        tally = Tally()
        for hour in range(100):
            tally.count(hour, np.array([9_900 - criticals, 100, 0, 0]), DEFAULT_CUTOFFS)
            tally.count(hour, np.array([0, 0, 0, criticals]), DEFAULT_CUTOFFS)
        before = tally.cutoffs(100)
        tally.count(100, np.array([0, 0, 0, 900]), DEFAULT_CUTOFFS)
        assert before == tally.cutoffs(100)
        found[name] = before.risks[2]
    assert found["quiet"] < DEFAULT_CUTOFFS[2] < found["wave"]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "2024-03-01T09/50.00/70.00",
        "2024-03-01T09/70.00/50.00/90.00",
        "2024-13-01T09/1.00/2.00/3.00",
    ],
)
def test_what_names_no_cutoffs(name: str) -> None:
    """Too few, falling, and of no day."""
    with pytest.raises(CutoffsError):
        Cutoffs.named(name)
