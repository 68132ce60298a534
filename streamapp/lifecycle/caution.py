"""How much less than a supervised model the ensemble counts beside it.

Labels can't say how likely fraud is that is like none of them, so that is not estimated. But what
it costs to listen for it can be measured: on labelled payments that are newer than those a model
was grown on. Caution, above 0 or below, is what ranks these best, and never so far from 0 that one
of both would not be heard.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from streamapp.scoring.joined_surprise import CAUTION_MAX, join_surprise

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
        return float(average_precision_score(self.is_fraud, score))

    def joined(self, caution: float) -> NDArray[np.float64]:
        """The surprise to either (n)."""
        return join_surprise(self.known_log_p, self.ensemble_log_p, caution)[0]


def best_caution(judged: Judgement) -> float:
    """The caution that ranks labelled payments best, the least of equal ones.

    judged: fraud and genuine payments.
    """
    candidates: list[float] = _CANDIDATES.tolist()
    return max(candidates, key=lambda one: judged.precision(judged.joined(one)))
