"""How much less than a supervised model the ensemble counts beside it.

Labels can't say how likely fraud is that is like none of them, so that is not estimated. But what
it costs to listen for it can be measured: on labelled payments that are newer than those a model
was grown on. A few frauds rank well by chance with almost any caution, so it stays as it has proved
right on other data until labels bear out that another ranks them better.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamapp.scoring.joined_surprise import CAUTION_MAX, join_surprise

#: The least caution that kept the verdict within 0.005 of its best member where fraud was rare and
#: stayed as it was: docs/decisions/0019-caution-stays-until-labels-tell.md.
USUAL_CAUTION: Final = 4.0

#: A difference is borne out when it is above so many of its standard errors.
_ERRORS: Final = 2.0

_CANDIDATES: Final = np.linspace(-CAUTION_MAX, CAUTION_MAX, 21)


@dataclass(frozen=True, slots=True)
class Judgement:
    """n payments: log p by a model they are new to, and by the ensemble."""

    known_log_p: NDArray[np.float64]
    ensemble_log_p: NDArray[np.float64]
    is_fraud: NDArray[np.bool_]

    def at(self, rows: NDArray[np.bool_]) -> "Judgement":
        """Of some of the payments."""
        return Judgement(self.known_log_p[rows], self.ensemble_log_p[rows], self.is_fraud[rows])

    def precision(self, score: NDArray[np.float64]) -> float:
        """Average precision of a score (n)."""
        return float(self.precision_at_frauds(score).mean())

    def precision_at_frauds(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of each fraud, the share of fraud among the payments that a score (n) ranks no lower."""
        rising, frauds = np.sort(score), np.sort(score[self.is_fraud])
        at = score[self.is_fraud]
        above = len(rising) - np.searchsorted(rising, at)
        return (len(frauds) - np.searchsorted(frauds, at)) / above

    def joined(self, caution: float) -> NDArray[np.float64]:
        """The surprise to either (n)."""
        return join_surprise(self.known_log_p, self.ensemble_log_p, caution)[0]


def best_caution(judged: Judgement) -> float:
    """The usual caution, or the nearest to it that labelled payments don't speak against.

    judged: fraud and genuine payments.
    """
    found = np.array([judged.precision_at_frauds(judged.joined(one)) for one in _CANDIDATES])
    best = found[found.mean(axis=1).argmax()]
    left = _CANDIDATES[~_is_worse(best - found)]
    return float(left[np.abs(left - USUAL_CAUTION).argmin()])


def _is_worse(lost: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Of candidates: what is lost at frauds (candidates, frauds) is more than chance would take.

    By its mean, or by how many more frauds lose than gain: with few frauds one alone can make the
    error of the mean so large that it tells nothing.
    """
    frauds = lost.shape[1]
    error = lost.std(axis=1, ddof=1) / np.sqrt(frauds) if frauds > 1 else np.inf
    more = (lost > 0).sum(axis=1) - (lost < 0).sum(axis=1)
    changed = (lost != 0).sum(axis=1)
    by_mean, by_count = lost.mean(axis=1) > _ERRORS * error, more > _ERRORS * np.sqrt(changed)
    is_worse: NDArray[np.bool_] = by_mean | by_count
    return is_worse
