"""Figures of a score: scikit-learn's where it has them, worked by hand where it has not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from streamapp.features.contract import DAY_MS
from streamapp.lifecycle.evaluation.ranking import FIGURES, VALUE_FIGURES, Ranked, _Order


def ranked(
    score: list[float],
    label: list[int],
    amount: list[float] | None = None,
    user: list[int] | None = None,
    day: list[int] | None = None,
) -> Ranked:
    """A ranking; each row a user of its own and on the first day unless told."""
    n = len(score)
    return Ranked(
        np.array(score, np.float64),
        np.array(label, np.int8),
        np.array(amount or [1.0] * n, np.float64),
        np.array(user or range(n), np.int64),
        np.array(day or [0] * n, np.int64) * DAY_MS,
    )


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 1), st.integers(0, 3)),
        min_size=2,
        max_size=60,
    )
)
def test_weighted_areas_are_those_of_scikit_learn(rows: list[tuple[int, int, int]]) -> None:
    """With ties and with rows that count several times or not at all."""
    score, label, weight = (np.array(column, np.float64) for column in zip(*rows, strict=True))
    if not ((weight * label).any() and (weight * (1 - label)).any()):
        return
    one = Ranked(score, label.astype(np.int8), score, np.arange(len(rows)), np.zeros(len(rows)))
    areas = _Order.of(one).areas(weight)
    expected = average_precision_score(label, score, sample_weight=weight)
    assert pytest.approx(expected) == areas["average_precision"]
    assert pytest.approx(roc_auc_score(label, score, sample_weight=weight)) == areas["auc_roc"]


def test_recall_and_precision_at_an_alert_share() -> None:
    """One percent of 200 are two alerts: one of them fraud, of four, with half of the amount."""
    label = [1, 0, 1, 1, 1, *[0] * 195]
    amount = [30.0, 5.0, 10.0, 10.0, 10.0, *[1.0] * 195]
    figures = ranked(list(range(200, 0, -1)), label, amount).figures
    assert 0.25 == figures["recall_at_1pct"]
    assert 0.5 == figures["precision_at_1pct"]
    assert 0.5 == figures["value_recall_at_1pct"]
    assert 0.25 == figures["recall_at_0.1pct"]
    assert 1.0 == figures["precision_at_0.1pct"]


def test_equal_scores_on_the_border_share_it() -> None:
    """Of four equal rows, two of them fraud, one alert finds half a fraud, in any order."""
    for label in ([1, 1, 0, 0], [0, 1, 0, 1]):
        figures = ranked([5.0] * 4, label).figures
        assert 0.5 == figures["precision_at_1pct"]
        assert 0.25 == figures["recall_at_1pct"]


def test_card_precision_counts_cards_once_and_blocks_those_found() -> None:
    """Day one finds card 0 by its highest payment; on day two it is no longer looked at."""
    one = ranked(
        score=[9.0, 1.0, 8.0, 9.0, 7.0, 6.0],
        label=[1, 1, 0, 1, 1, 0],
        user=[0, 0, 1, 0, 2, 1],
        day=[0, 0, 0, 1, 1, 1],
    )
    assert [0.01, 0.01] == one.card_precisions()


def test_card_precision_looks_at_a_hundred_cards() -> None:
    """The hundred-and-first is not seen."""
    label = [0] * 99 + [1, 1]
    assert [0.01] == ranked([float(-i) for i in range(101)], label).card_precisions()


@pytest.mark.parametrize("label", [[0, 0, 0], [1, 1, 1]])
def test_without_fraud_or_without_other_traffic_nothing_is_claimed(label: list[int]) -> None:
    """Every figure is None, and there are no intervals."""
    one = ranked([1.0, 2.0, 3.0], label)
    assert dict.fromkeys((*FIGURES, *VALUE_FIGURES)) == one.figures
    assert {} == one.intervals(10, 0)


def traffic(seed: int, n: int = 4_000) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """Scores that rank fraud higher, but not always."""
    rng = np.random.default_rng(seed)
    label = (rng.random(n) < 0.05).astype(np.int8)
    return rng.normal(size=n) + 1.5 * label, label


def test_intervals_hold_the_figure_and_repeat() -> None:
    """Every figure of the ranking has one, the same for the same seed."""
    score, label = traffic(1)
    one = ranked(score.tolist(), label.tolist(), day=[i // 500 for i in range(len(score))])
    intervals = one.intervals(60, 3)
    assert {*FIGURES, *VALUE_FIGURES} == {*intervals}
    assert intervals == one.intervals(60, 3)
    low, high = intervals["average_precision"]
    figure = one.figures["average_precision"]
    assert figure is not None
    assert low < figure < high
    assert high - low < 0.3


def test_frauds_on_one_card_make_intervals_wider() -> None:
    """Twenty frauds on one card are less evidence than on twenty."""
    score, label = traffic(2)
    many = ranked(score.tolist(), label.tolist())
    few = ranked(score.tolist(), label.tolist(), user=[i % 40 for i in range(len(score))])
    widths = [
        high - low
        for low, high in (
            one.intervals(80, 1)["average_precision"]
            for one in (many, Ranked(few.score, few.label, few.amount, few.label * 1, few.time_ms))
        )
    ]
    assert widths[0] < widths[1]


def test_a_curve_ends_with_everything() -> None:
    """All alerts: recall one, precision the share of fraud."""
    score, label = traffic(4)
    curve = ranked(score.tolist(), label.tolist()).curve(20)
    assert 1.0 == curve.recall[-1]
    assert pytest.approx(label.mean()) == curve.precision[-1]
    assert (np.diff(curve.recall) >= 0).all()
