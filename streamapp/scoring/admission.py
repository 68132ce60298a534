"""Admission: refuses event times too far ahead of the partition's stream time.

One wrong clock must not push a partition's stream time into the future, where every honest event
would be late. But a partition may also have been quiet for longer than the limit; so when a long
run of records agrees that time has moved on, the next one is believed.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamapp.domain.dead_letter import Reason, Rejected
from streamapp.features.compiled import kernel
from streamapp.features.contract import DAY_MS

#: How far ahead of its partition's stream time an event may be.
AHEAD_MS_MAX: Final = DAY_MS

#: Refused in a row before the next is believed: more than any burst of one wrong clock is likely
#: to place between two honest records, few enough to redrive by hand.
AHEAD_RUN_MAX: Final = 16

TIME_AHEAD: Final = Rejected(
    Reason.TIME_AHEAD,
    "timestamp",
    "admit",
    f"more than {AHEAD_MS_MAX // 3_600_000} h ahead of the partition's stream time",
)


@dataclass(slots=True)
class StreamClock:
    """A partition's stream time (epoch ms; -1 before the first event) and its run of refusals."""

    time_ms: int = -1
    ahead_run: int = 0

    def admit(self, time_ms: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which events (n,) are admitted, in record order; moves the clock on."""
        admitted = np.ones(len(time_ms), dtype=np.bool_)
        found = _admit(time_ms, self.time_ms, self.ahead_run, admitted)
        self.time_ms, self.ahead_run = map(int, found)
        return admitted


@kernel
def _admit(
    time_ms: NDArray[np.int64], clock_ms: int, ahead_run: int, admitted: NDArray[np.bool_]
) -> tuple[int, int]:
    """Admit row by row; time and run of refusals after the last."""
    for row in range(len(time_ms)):
        is_ahead = clock_ms >= 0 and time_ms[row] > clock_ms + AHEAD_MS_MAX
        if is_ahead and ahead_run < AHEAD_RUN_MAX:
            ahead_run += 1
            admitted[row] = False
        else:
            ahead_run = 0
            clock_ms = max(clock_ms, time_ms[row])
    return clock_ms, ahead_run
