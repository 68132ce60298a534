"""When each recorded message is meant to be sent: open loop, so a slow broker moves no deadline."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamapp.replay.reader import RecordedBatch

#: A message further ahead than this of the one after it has a wrong clock and moves no schedule.
_STRAY_MS = 24 * 3_600_000


class Schedule(Protocol):
    """Intended sending times of the batches, asked for in file order."""

    def due_s(self, batch: RecordedBatch) -> NDArray[np.float64] | None:
        """Seconds after the start, one a message, never falling; None: as fast as it goes."""


class AtOnce:
    """No schedule: each message as soon as there is room for it."""

    def due_s(self, batch: RecordedBatch) -> None:  # noqa: ARG002 - the protocol's argument
        """Nothing is ever due later than now."""
        return


class FixedRate:
    """`per_s` messages a second, evenly spaced, whatever their event times."""

    def __init__(self, per_s: float) -> None:
        if not 0 < per_s < float("inf"):
            raise ValueError(f"rate is {per_s}, expected more than 0 a second")
        self._per_s = per_s
        self._sent = 0

    def due_s(self, batch: RecordedBatch) -> NDArray[np.float64]:
        """Message number i is due i / rate seconds after the start."""
        due = np.arange(self._sent, self._sent + len(batch)) / self._per_s
        self._sent += len(batch)
        return due


class EventTime:
    """As the events happened, `speedup` times as fast; a late event is due at once."""

    def __init__(self, speedup: float) -> None:
        if not 0 < speedup < float("inf"):
            raise ValueError(f"speedup is {speedup}, expected more than 0")
        self._speedup = speedup
        self._first_ms: int | None = None
        self._stream_ms = 0

    def due_s(self, batch: RecordedBatch) -> NDArray[np.float64]:
        """Stream time since the first event, divided by the speed-up."""
        known = batch.time_ms[_trusted(batch.time_ms)]
        if self._first_ms is None:
            if not len(known):
                return np.zeros(len(batch))
            self._first_ms = self._stream_ms = int(known[0])
        times = np.where(_trusted(batch.time_ms), batch.time_ms, self._first_ms)
        stream = np.maximum(np.maximum.accumulate(times), self._stream_ms)
        self._stream_ms = int(stream[-1])
        return (stream - self._first_ms) / 1_000 / self._speedup


def _trusted(time_ms: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Known times that their neighbour does not belie: one wild clock must not stop a replay."""
    if len(time_ms) == 1:
        return time_ms >= 0
    neighbour = np.append(time_ms[1:], time_ms[-2])
    near: NDArray[np.bool_] = (neighbour < 0) | (time_ms - neighbour <= _STRAY_MS)
    return near & (time_ms >= 0)
