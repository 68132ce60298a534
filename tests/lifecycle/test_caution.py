"""Both opinions are joined so that neither drowns the other."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from streamapp.lifecycle.caution import USUAL_CAUTION, Judgement, best_caution
from streamapp.scoring.calibration import TailCurve
from streamapp.scoring.joined_surprise import CAUTION_MAX, join_surprise

ROWS = 40_000
LOG_P = st.floats(-14.0, 0.0)


@dataclass(frozen=True)
class World:
    """How surprising frauds are on average, to the model and to the ensemble; 1: not at all.

    noise: how surprising genuine payments have become to the ensemble since it was calibrated.
    """

    frauds: int = 300
    known: float = 8.0
    ensemble: float = 3.0
    noise: float = 1.0


def payments(world: World, seed: int) -> Judgement:
    """Payments and what both opinions are of them, calibrated on them all but for the noise."""
    rng = np.random.default_rng(seed)
    is_fraud = np.arange(ROWS) < world.frauds

    def log_p(surprise: float, noise: float) -> NDArray[np.float64]:
        raw = rng.exponential(np.where(is_fraud, surprise, 1.0))
        return TailCurve.fit(raw).log_tail(np.where(is_fraud, raw, raw * noise))

    return Judgement(log_p(world.known, 1.0), log_p(world.ensemble, world.noise), is_fraud)


def best_member(judged: Judgement) -> float:
    """Average precision of the better opinion."""
    return max(judged.precision(-one) for one in (judged.known_log_p, judged.ensemble_log_p))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    "world",
    [
        World(),
        World(ensemble=1.0),
        World(ensemble=0.5),
        World(known=2.0, ensemble=6.0),
        World(known=1.0, ensemble=6.0),
    ],
    ids=["both see", "only labels see", "upside down", "labels see less", "labels see nothing"],
)
def test_as_fraud_was_it_is_no_worse_than_either(world: World, seed: int) -> None:
    """Whichever of both is the better one, on payments it was not learned from."""
    caution = best_caution(payments(world, seed))
    later = payments(world, 100 + seed)
    assert later.precision(later.joined(caution)) >= best_member(later) - 0.005


@pytest.mark.parametrize("frauds", [1, 5, 20])
@pytest.mark.parametrize("noise", [1.0, 1.3])
def test_few_frauds_are_enough(frauds: int, noise: float) -> None:
    """What few of them can't tell is not taken for told, even if the ensemble cries wolf later."""
    caution = best_caution(payments(World(frauds), seed=1))
    later = payments(World(noise=noise), seed=2)
    assert later.precision(later.joined(caution)) >= best_member(later) - 0.01


def test_a_model_that_labels_prove_worthless_does_not_lead() -> None:
    """Sixty frauds tell that of it, and that caution is nearer to what others have needed."""
    judged = payments(World(60, known=1.0, ensemble=6.0), seed=1)
    later = payments(World(known=1.0, ensemble=6.0), seed=2)
    assert best_caution(judged) < 0.0 < USUAL_CAUTION
    assert later.precision(later.joined(best_caution(judged))) >= best_member(later) - 0.03


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1), st.integers(0, 3))
def test_precision_is_that_of_the_library(rows: list[tuple[int, bool]], fraud: int) -> None:
    """Ties and all."""
    score, is_fraud = (np.array(one) for one in zip(*rows, (fraud, True), strict=True))
    judged = Judgement(score, score, is_fraud)
    assert average_precision_score(is_fraud, score) == pytest.approx(judged.precision(score))


def test_wrong_labels_do_no_harm() -> None:
    """A third of fraud called genuine."""
    judged = payments(World(), seed=1)
    is_right = np.random.default_rng(1).random(ROWS) >= 1 / 3
    told = Judgement(judged.known_log_p, judged.ensemble_log_p, judged.is_fraud & is_right)
    later = payments(World(), seed=2)
    assert later.precision(later.joined(best_caution(told))) >= best_member(later) - 0.005


def test_labels_of_a_new_kind_make_the_ensemble_count_more() -> None:
    """Once they tell that the model does not know it."""
    known, new = (payments(World(known=one, ensemble=6.0), seed=1) for one in (9.0, 1.0))
    assert best_caution(new) < best_caution(known) <= CAUTION_MAX


@given(LOG_P, LOG_P, st.floats(-CAUTION_MAX, CAUTION_MAX))
def test_the_joined_surprise_is_bounded_by_both(known: float, ensemble: float, by: float) -> None:
    """At least either's, at most log 2 above the larger; and the shares are those of 1 / p."""
    joined, share = join_surprise(np.array([known]), np.array([ensemble]), by)
    larger = max(-known, -ensemble - by)
    assert larger <= joined[0] <= larger + np.log(2.0) + 1e-12
    weights = np.exp([-known, -ensemble - by])
    assert weights[0] / weights.sum() == pytest.approx(share[0], abs=1e-9)


@given(LOG_P, LOG_P, LOG_P)
def test_more_surprise_is_never_less_suspicious(
    known: float, ensemble: float, other: float
) -> None:
    """Of the ensemble, whatever the model says."""
    pair = np.sort([ensemble, other])
    joined, _ = join_surprise(np.array([known, known]), pair, 1.0)
    assert joined[0] >= joined[1]
