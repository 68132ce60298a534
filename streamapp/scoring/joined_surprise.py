"""How surprising a payment is to either of two opinions, in nats of -log p.

The supervised model speaks for fraud of the kinds that labels taught it, the ensemble for any
other. Fraud is what either says, so their 1 / p add up: where both agree the surprise grows, and
where one is silent the other's counts by itself. The ensemble's p counts e**`caution` times itself.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamapp.features.compiled import kernel

#: Whatever labels say, neither opinion's tail share counts more than e**5, 150, times itself.
CAUTION_MAX: Final = 5.0


def join_surprise(
    known_log_p: NDArray[np.float64], ensemble_log_p: NDArray[np.float64], caution: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The surprise to either (n), and the share that the known have in it, from log p of both."""
    joined, share = np.empty(len(known_log_p)), np.empty(len(known_log_p))
    _join_rows(known_log_p, ensemble_log_p, caution, joined, share)
    return joined, share


@kernel
def _join_rows(
    known_log_p: NDArray[np.float64],
    ensemble_log_p: NDArray[np.float64],
    caution: float,
    joined: NDArray[np.float64],
    share: NDArray[np.float64],
) -> None:
    for r in range(len(known_log_p)):
        known, novel = -known_log_p[r], -ensemble_log_p[r] - caution
        lesser = math.exp(-abs(known - novel))
        joined[r] = max(known, novel) + math.log1p(lesser)
        larger_share = 1.0 / (1.0 + lesser)
        share[r] = larger_share if known >= novel else 1.0 - larger_share
