"""Tail shares mean what they say, the risk map is the contract's, and no row sees its batch."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamapp.scoring.calibration import (
    DEFAULT_CUTOFFS,
    KNOTS_MAX,
    TAIL_SHARE_MIN,
    TailCurve,
    combine,
    combined_log_tail,
    risk_score,
    severity_codes,
    tail_share,
)

FLOOR = math.log(TAIL_SHARE_MIN)
finite = st.floats(-1e6, 1e6)


def inclusive_share(reference: NDArray[np.float64], raw: float) -> float:
    """The plain definition: the share of reference scores at or above raw."""
    return float(np.mean(reference >= raw))


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=200))
@settings(deadline=None)
def test_reference_scores_get_the_share_at_or_above_them(scores: list[int]) -> None:
    """With few distinct scores every one is a knot, and ties count in full."""
    reference = np.array(scores, np.float64)
    expected = [inclusive_share(reference, raw) for raw in reference]
    got = tail_share(TailCurve.fit(reference).log_tail(reference))
    np.testing.assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.parametrize("share", [0.5, 0.02, 0.005, 0.001, 0.0002])
@pytest.mark.parametrize("kind", ["smooth", "heavy", "tied"])
def test_an_alert_budget_holds_on_the_reference(kind: str, share: float) -> None:
    """No more than a share a of the reference has p <= a, and hardly less where it can."""
    rng = np.random.default_rng(3)
    reference = {
        "smooth": rng.normal(size=200_000),
        "heavy": np.exp(3 * rng.normal(size=200_000)),
        "tied": np.floor(40 * rng.exponential(size=200_000)) / 10,
    }[kind]
    flagged = float(np.mean(tail_share(TailCurve.fit(reference).log_tail(reference)) <= share))
    assert flagged <= 1.06 * share
    if kind != "tied":
        assert flagged >= 0.94 * share


def test_between_knots_the_share_is_close() -> None:
    """Where there are more scores than knots, log p errs by less than its step."""
    rng = np.random.default_rng(4)
    reference = np.concatenate([rng.gamma(2.0, size=50_000), np.full(3_000, 2.5)])
    curve = TailCurve.fit(reference)
    assert len(curve.raw) <= KNOTS_MAX
    expected = np.log([inclusive_share(reference, raw) for raw in reference[::50]])
    assert np.abs(expected - curve.log_tail(reference[::50])).max() < 0.06


@given(st.lists(finite, min_size=1, max_size=60), st.lists(st.floats(), min_size=1, max_size=40))
@settings(deadline=None)
def test_a_curve_never_rises_and_stays_in_bounds(scores: list[float], raws: list[float]) -> None:
    """For any float, NaN and infinities included, p lies in [TAIL_SHARE_MIN, 1] and falls."""
    log_p = TailCurve.fit(np.array(scores)).log_tail(np.sort(np.array(raws)))
    numbers = log_p[: int(np.sum(~np.isnan(raws)))]
    assert ((FLOOR <= log_p) & (log_p <= 0)).all()
    assert (np.diff(numbers) <= 0).all()
    assert not log_p[len(numbers) :].any()


def test_beyond_the_largest_score_the_tail_goes_on() -> None:
    """An exponential tail is continued with its own slope, down to the floor."""
    rng = np.random.default_rng(5)
    curve = TailCurve.fit(rng.exponential(size=20_000))
    edge = curve.raw[-1]
    got = curve.log_tail(np.array([edge, edge + 0.5, edge + 100, math.inf]))
    assert math.log(1 / 20_000) == pytest.approx(got[0])
    assert -0.5 == pytest.approx(got[1] - got[0], abs=0.2)
    assert [FLOOR, FLOOR] == got[2:].tolist()


def test_a_reference_of_one_score_tells_nothing() -> None:
    """Without any spread no score is surprising."""
    curve = TailCurve.fit(np.full(100, 0.25))
    assert [0.0, 0.0, 0.0] == curve.log_tail(np.array([0.1, 0.25, 9.0])).tolist()


@pytest.mark.parametrize("reference", [np.array([]), np.array([1.0, math.nan])])
def test_a_curve_needs_finite_scores(reference: NDArray[np.float64]) -> None:
    """An empty or broken reference is an error, not a flat curve."""
    with pytest.raises(ValueError, match="finite"):
        TailCurve.fit(reference)


@pytest.mark.parametrize(
    ("raw", "log_p", "slope"),
    [
        ([0.0, 0.0], [0.0, -1.0], 0.0),
        ([0.0, 1.0], [-1.0, 0.0], 0.0),
        ([0.0, 1.0], [0.5, 0.0], 0.0),
        ([0.0, 1.0], [0.0, -1.0], 1.0),
        ([0.0, math.inf], [0.0, -1.0], 0.0),
        ([0.0], [0.0, -1.0], 0.0),
    ],
)
def test_knots_that_are_no_falling_curve_are_refused(
    raw: list[float], log_p: list[float], slope: float
) -> None:
    """A curve read from a file holds what the kernels rely on."""
    with pytest.raises(ValueError, match="must"):
        TailCurve(np.array(raw), np.array(log_p), slope)


@pytest.mark.parametrize(
    ("share", "risk"),
    [(1.0, 0.0), (0.02, 50.0), (0.005, 70.0), (0.001, 90.0), (1e-6, 100.0), (0.1, 29.43)],
)
def test_the_risk_score_is_the_contracts(share: float, risk: float) -> None:
    """The contract's points, and one between: 50 * ln(0.1) / ln(0.02)."""
    assert risk == risk_score(np.array([math.log(share)]))[0]


@given(st.lists(st.floats(FLOOR - 5, 0), min_size=2, max_size=50))
@settings(deadline=None)
def test_risk_falls_as_the_share_rises(values: list[float]) -> None:
    """The map is monotone, within 0 to 100, and prints with two decimals."""
    risk = risk_score(np.sort(np.array(values)))
    assert (np.diff(risk) <= 0).all()
    assert ((risk >= 0) & (risk <= 100)).all()
    assert [round(score, 2) for score in risk.tolist()] == risk.tolist()


def test_severity_starts_at_its_cutoff() -> None:
    """A score at a cut-off has the higher severity."""
    risk = np.array([0.0, 49.99, 50.0, 69.99, 70.0, 89.99, 90.0, 100.0])
    assert [0, 0, 1, 1, 2, 2, 3, 3] == severity_codes(risk, DEFAULT_CUTOFFS).tolist()


def test_combining_counts_agreement_and_extremes() -> None:
    """Half the mean and half the largest -log p of the available members."""
    log_p = np.array([[-2.0, -4.0], [-2.0, -4.0], [-2.0, -4.0], [-3.0, -3.0]])
    available = np.array([[True, True], [True, False], [False, False], [True, True]])
    assert [3.5, 2.0, 0.0, 3.0] == combine(log_p, available).tolist()


def test_a_single_member_keeps_its_own_share() -> None:
    """While the half-space trees warm up, the forest's share is the ensemble's."""
    log_p = np.array([[-2.0, -4.0], [-2.0, math.nan]])
    available = np.array([[True, True], [True, False]])
    curve = TailCurve(np.array([0.0, 7.0]), np.array([0.0, -7.0]), -1.0)
    assert [-3.5, -2.0] == combined_log_tail(curve, log_p, available).tolist()


@given(st.lists(st.integers(0, 300), max_size=10))
@settings(max_examples=30, deadline=None)
def test_a_row_is_calibrated_to_the_same_bits_in_any_batch(cuts: list[int]) -> None:
    """From raw scores to risk, cutting the rows anywhere changes no byte."""
    rng = np.random.default_rng(6)
    curves = [TailCurve.fit(rng.normal(size=5_000)) for _ in range(2)]
    final = TailCurve.fit(rng.exponential(size=5_000))
    raw, available = rng.normal(size=(300, 2)), rng.random((300, 2)) < 0.8

    def calibrate(rows: NDArray[np.float64], mask: NDArray[np.bool_]) -> bytes:
        log_p = np.stack([c.log_tail(rows[:, m]) for m, c in enumerate(curves)], axis=1)
        ensemble = combined_log_tail(final, log_p, mask)
        return np.stack([tail_share(ensemble), risk_score(ensemble)], axis=1).tobytes()

    parts = zip(np.split(raw, sorted(cuts)), np.split(available, sorted(cuts)), strict=True)
    assert calibrate(raw, available) == b"".join(calibrate(*part) for part in parts)
