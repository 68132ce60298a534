"""A Prometheus histogram that takes many values at once: one by one they would cost a µs each."""

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Histogram


class BatchHistogram(Histogram):
    """Of values in arrays."""

    def observe_all(self, values: NDArray[np.float64]) -> None:
        """Count values (n,)."""
        places = np.searchsorted(self._upper_bounds, values)
        for place, count in enumerate(np.bincount(places).tolist()):
            self._buckets[place].inc(count)
        self._sum.inc(float(values.sum()))
