"""Labels count from when they became known, and never before."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamapp.features.contract import DAY_MS
from streamapp.lifecycle.labels import UNKNOWN, LabelCounts, Labels, join, payment_keys

PAYMENTS = 6
HORIZON = 50 * DAY_MS
MATURITY = 10 * DAY_MS

KEYS = np.array([70, 10, 60, 20, 50, 30], np.uint64)
times = st.lists(st.integers(0, HORIZON), min_size=PAYMENTS, max_size=PAYMENTS).map(
    lambda values: np.array(values, np.int64)
)
#: Of each label: key (some of no payment), opinion, time it became known.
label_rows = st.lists(
    st.tuples(st.sampled_from([*KEYS.tolist(), 1, 65, 99]), st.booleans(), st.integers(0, HORIZON)),
    max_size=20,
)


def labels_of(rows: list[tuple[int, bool, int]]) -> Labels:
    """Labels as columns."""
    return Labels(
        np.array([key for key, *_ in rows], np.uint64),
        np.array([is_fraud for _, is_fraud, _ in rows], np.bool_),
        np.array([known for *_, known in rows], np.int64),
    )


def oracle(rows: list[tuple[int, bool, int]], time_ms: np.ndarray, moment_ms: int) -> list[int]:
    """What is known of each payment, one by one."""
    known = []
    for key, paid_ms in zip(KEYS.tolist(), time_ms.tolist(), strict=True):
        mine = [
            (max(when, paid_ms), number, is_fraud)
            for number, (of, is_fraud, when) in enumerate(rows)
            if of == key and max(when, paid_ms) <= moment_ms
        ]
        if mine:
            known.append(int(max(mine)[2]))
        else:
            known.append(0 if paid_ms + MATURITY <= moment_ms else UNKNOWN)
    return known


@given(label_rows, times, st.integers(0, HORIZON + MATURITY))
def test_what_is_known_at_any_moment(
    rows: list[tuple[int, bool, int]], time_ms: np.ndarray, moment_ms: int
) -> None:
    """The opinion known last by then; without one genuine when mature, else unknown."""
    opinions = join(labels_of(rows), KEYS, time_ms, MATURITY)
    assert oracle(rows, time_ms, moment_ms) == opinions.at(moment_ms, MATURITY).tolist()


@given(label_rows, times, st.data())
def test_a_label_moved_later_changes_nothing_before(
    rows: list[tuple[int, bool, int]], time_ms: np.ndarray, data: st.DataObject
) -> None:
    """Up to the time it was known, all is as it was."""
    rows = [*rows, (int(KEYS[2]), True, 5 * DAY_MS)]
    labels = labels_of(rows)
    moved = data.draw(st.integers(0, len(rows) - 1))
    later = labels.known_ms.copy()
    later[moved] += data.draw(st.integers(0, HORIZON))
    moment_ms = data.draw(st.integers(0, HORIZON))
    before = join(labels, KEYS, time_ms, MATURITY)
    after = join(replace(labels, known_ms=later), KEYS, time_ms, MATURITY)
    payment = np.flatnonzero(labels.key[moved] == KEYS)
    since = max(labels.known_ms[moved], *time_ms[payment], 0) if len(payment) else HORIZON
    moment_ms = min(moment_ms, int(since) - 1)
    assert before.at(moment_ms, MATURITY).tolist() == after.at(moment_ms, MATURITY).tolist()


@given(label_rows, times, st.integers(0, HORIZON))
def test_changes_add_up_to_the_frauds_known(
    rows: list[tuple[int, bool, int]], time_ms: np.ndarray, moment_ms: int
) -> None:
    """Of each payment, at every moment: 1 where it counts as fraud, else 0."""
    opinions = join(labels_of(rows), KEYS, time_ms, MATURITY)
    payment, known_ms, change = opinions.fraud_changes()
    so_far = known_ms <= moment_ms
    sums = np.zeros(PAYMENTS, np.int64)
    np.add.at(sums, payment[so_far], change[so_far])
    assert (opinions.at(moment_ms, MATURITY) == 1).astype(int).tolist() == sums.tolist()


def test_what_becomes_of_labels_is_counted() -> None:
    """One of each kind, and one that is none of them."""
    time_ms = np.full(PAYMENTS, DAY_MS, np.int64)
    rows = [
        (10, True, 3 * DAY_MS),
        (10, True, 4 * DAY_MS),  # repeated
        (10, False, 5 * DAY_MS),  # contradicting
        (20, True, 0),  # early
        (30, True, 40 * DAY_MS),  # late
        (99, True, 2 * DAY_MS),  # unknown
    ]
    expected = LabelCounts(labels=6, unknown=1, early=1, repeated=1, contradicting=1, late=1)
    assert expected == join(labels_of(rows), KEYS, time_ms).counts


def test_no_labels_are_no_opinions() -> None:
    """Everything is unknown, then genuine."""
    opinions = join(labels_of([]), KEYS, np.zeros(PAYMENTS, np.int64))
    assert [UNKNOWN] * PAYMENTS == opinions.at(0).tolist()
    assert [0] * PAYMENTS == opinions.at(HORIZON).tolist()


def test_the_same_tx_id_of_another_user_is_another_payment() -> None:
    """Both are in the key."""
    keys = payment_keys(np.array([5, 5, 6], np.uint64), np.array([1, 2, 1], np.uint32))
    assert 3 == len(np.unique(keys))
