"""Risk windows hold what was known by their day, and nothing later."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamapp.features.contract import DAY_MS
from streamapp.features.risk_windows import (
    RISK_COLUMNS,
    RISK_KINDS,
    RISK_NAMES,
    RISK_WINDOWS,
    RiskTable,
)
from streamapp.lifecycle.risk_ledger import RiskLedger, days_of

DAYS = 45


@dataclass(frozen=True)
class Payment:
    """A payment with the changes of what is known of it: (known_ms, 1 or -1)."""

    time_ms: int
    hashes: tuple[int, ...]
    changes: tuple[tuple[int, int], ...]


@st.composite
def payments(draw: st.DrawFn) -> Payment:
    """One payment; perhaps called fraud later, perhaps called genuine again."""
    time_ms = draw(st.integers(0, DAYS * DAY_MS))
    hashes = tuple(draw(st.integers(0, 3)) for _ in RISK_KINDS)
    known, changes = time_ms, []
    for change in (1, -1)[: draw(st.integers(0, 2))]:
        known += draw(st.sampled_from([0, 1, DAY_MS, 7 * DAY_MS, 30 * DAY_MS]))
        changes.append((known, change))
    return Payment(time_ms, hashes, tuple(changes))


histories = st.lists(payments(), max_size=25)
delays = st.sampled_from([0, 1, 7])
days = st.integers(0, DAYS + 5)


def entered(history: list[Payment], delay_days: int) -> RiskLedger:
    """A ledger of it all."""
    ledger = RiskLedger(delay_days)
    times = np.array([one.time_ms for one in history], np.int64)
    hashes = np.array([one.hashes for one in history], np.uint32).reshape(-1, len(RISK_KINDS))
    ledger.add_payments(times, hashes)
    for at, one in enumerate(history):
        for known, change in one.changes:
            rows = slice(at, at + 1)
            ledger.add_fraud_changes(
                times[rows], hashes[rows], np.array([known]), np.array([change])
            )
    return ledger


def oracle(history: list[Payment], delay_days: int, day: int, hashes: list[int]) -> list[float]:
    """The windows of one event, payment by payment."""
    midnight = day * DAY_MS
    stop = midnight - delay_days * DAY_MS
    row: list[float] = []
    for kind, name in enumerate(hashes):
        totals, shares = [], []
        for window in RISK_WINDOWS:
            inside = [
                one
                for one in history
                if name and one.hashes[kind] == name
                if stop - window * DAY_MS <= one.time_ms < stop
            ]
            known = [sum(c for k, c in one.changes if k <= midnight) for one in inside]
            everywhere = [one for one in history if stop - window * DAY_MS <= one.time_ms < stop]
            totals.append(len(inside) * 1_000.0 / max(len(everywhere), 1))
            shares.append(sum(known) / max(len(inside), 1))
        by_day: Counter[int] = Counter()
        for one, changes in zip(inside, known, strict=True):
            by_day[one.time_ms // DAY_MS] += changes
        ages = [day - at for at, frauds in by_day.items() if frauds > 0]
        row += [*totals, *shares, max(ages, default=0), min(ages, default=0)]
    return row


EVENTS = np.array([[1, 2, 3], [0, 0, 0], [3, 3, 9], [2, 1, 0]], np.uint32)


@given(histories, delays, days)
def test_windows_equal_those_counted_one_by_one(
    history: list[Payment], delay_days: int, day: int
) -> None:
    """Traffic and known frauds of each name; 0 for the unknown and for none."""
    found = entered(history, delay_days).table(day).look_up(EVENTS)
    assert [oracle(history, delay_days, day, row) for row in EVENTS.tolist()] == found.tolist()


@given(histories, delays, st.lists(days, min_size=1, max_size=5).map(sorted))
@settings(max_examples=50)
def test_a_ledger_that_is_asked_every_day_says_the_same(
    history: list[Payment], delay_days: int, asked: list[int]
) -> None:
    """Entering payments and changes as they come gives the tables of a ledger that had all."""
    ledger = RiskLedger(delay_days)
    times = np.array([one.time_ms for one in history], np.int64)
    hashes = np.array([one.hashes for one in history], np.uint32).reshape(-1, len(RISK_KINDS))
    start = 0
    for day in asked:
        now = (times >= start * DAY_MS) & (times < day * DAY_MS)
        ledger.add_payments(times[now], hashes[now])
        for at in np.flatnonzero(now).tolist():
            for known, change in history[at].changes:
                one = slice(at, at + 1)
                ledger.add_fraud_changes(
                    times[one], hashes[one], np.array([known]), np.array([change])
                )
        start = max(start, day)
        expected = [oracle(history, delay_days, day, row) for row in EVENTS.tolist()]
        assert expected == ledger.table(day).look_up(EVENTS).tolist()


@given(histories, delays, days, st.data())
@settings(max_examples=50)
def test_a_label_moved_later_changes_no_earlier_table(
    history: list[Payment], delay_days: int, day: int, data: st.DataObject
) -> None:
    """Known after the day's midnight or a year later: the table is the same."""
    later = [
        Payment(
            one.time_ms,
            one.hashes,
            tuple(
                (known + data.draw(st.integers(0, 400)) * DAY_MS, change)
                if known > day * DAY_MS
                else (known, change)
                for known, change in one.changes
            ),
        )
        for one in history
    ]
    before, after = (entered(h, delay_days).table(day).look_up(EVENTS) for h in (history, later))
    assert before.tolist() == after.tolist()


def test_names_of_windows_say_what_they_are() -> None:
    """In the order of the columns."""
    assert 24 == len(RISK_NAMES)
    assert ("merchant_traffic_1d", "merchant_fraud_share_30d") == (RISK_NAMES[0], RISK_NAMES[5])
    assert ("merchant_first_fraud_days", "merchant_last_fraud_days") == RISK_NAMES[6:8]
    assert "device_traffic_1d" == RISK_NAMES[16]


def test_a_delay_is_rounded_up_to_days() -> None:
    """A window never ends later than the delay says."""
    assert [0, 1, 7, 8] == [days_of(ms) for ms in (0, 1, 7 * DAY_MS, 7 * DAY_MS + 1)]


WIDTH = len(RISK_COLUMNS)
NONE = np.zeros(0, np.uint32), np.zeros((0, WIDTH))


@pytest.mark.parametrize(
    ("names", "values", "complaint"),
    [
        (np.array([2, 1], np.uint32), np.zeros((2, WIDTH)), "must rise"),
        (np.array([0], np.uint32), np.zeros((1, WIDTH)), "none may be 0"),
        (np.array([1], np.uint32), np.zeros((1, 5)), "must be"),
        (np.array([1], np.int64), np.zeros((1, WIDTH)), "uint32"),
        (np.array([1], np.uint32), np.full((1, WIDTH), np.nan), "finite"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(
    names: np.ndarray, values: np.ndarray, complaint: str
) -> None:
    """Before it can give a wrong answer."""
    with pytest.raises(ValueError, match=complaint):
        RiskTable(1, (names, NONE[0], NONE[0]), (values, NONE[1], NONE[1]))
