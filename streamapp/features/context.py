"""What the supervised model is told beside the features: no profile is needed for any of it."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamapp.features.contract import DAY_MS, HOUR_MS
from streamapp.features.risk_windows import RISK_NAMES, RiskTable

#: Columns of a context. `utc_hour` is the hour of the day, 0 to 24 with decimals, in UTC whatever
#: the time zone of the features: trees find by themselves which hours are night.
CONTEXT_NAMES: Final = (*RISK_NAMES, "utc_hour")


def context(
    table: RiskTable, time_ms: NDArray[np.int64], hashes: NDArray[np.uint32]
) -> NDArray[np.float64]:
    """The context (n, len(CONTEXT_NAMES)) of events at times (n) with names (n, kinds)."""
    hours = (time_ms % DAY_MS) / HOUR_MS
    return np.column_stack([table.look_up(hashes), hours])
