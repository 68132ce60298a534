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
        if len(time_ms) == 0:
            return admitted
        if self.time_ms >= 0 and int(time_ms.max()) <= self.time_ms + AHEAD_MS_MAX:
            self.time_ms = max(self.time_ms, int(time_ms.max()))
            self.ahead_run = 0
            return admitted
        for row, moment in enumerate(time_ms.tolist()):
            admitted[row] = self._admit_one(moment)
        return admitted

    def _admit_one(self, moment: int) -> bool:
        is_ahead = self.time_ms >= 0 and moment > self.time_ms + AHEAD_MS_MAX
        if is_ahead and self.ahead_run < AHEAD_RUN_MAX:
            self.ahead_run += 1
            return False
        self.ahead_run = 0
        self.time_ms = max(self.time_ms, moment)
        return True
