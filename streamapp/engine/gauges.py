"""What a worker shows of its partitions now; people and alerts look at it, no verdict does."""

import os
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from streamapp.engine import metrics

_MS: Final = 1_000


class Gauges:
    """Sets the gauges of partitions.

    Lag in seconds is by the times that records bear, of their senders' clocks or the broker's.
    Records that wait came after the partition was last seen without any, so a quiet hour before
    them is no lag. Without a record scored since the assignment, it is counted from there.
    """

    def __init__(self, clock_s: Callable[[], float] = time.time) -> None:
        self._clock_s = clock_s
        self._first_look: dict[int, float] = {}
        self._caught_up: dict[int, float] = {}

    def show_owned(self, owned: Collection[int], stopped: Mapping[int, str]) -> None:
        """Which partitions there are, and which are stopped for what reason."""
        metrics.PARTITIONS.set(len(owned))
        metrics.PARTITION_STOPPED.clear()
        for partition, reason in stopped.items():
            metrics.PARTITION_STOPPED.labels(partition, reason).set(1)

    def show_lag(self, waiting: Mapping[int, int], newest_ms: Mapping[int, int | None]) -> None:
        """Records that wait, and the time that the newest scored one bears, by partition."""
        now = self._clock_s()
        for partition, records in waiting.items():
            first_look = self._first_look.setdefault(partition, now)
            if not records:
                self._caught_up[partition] = now
            newest = newest_ms.get(partition) or 0
            scored = newest / _MS if newest > 0 else first_look
            since = max(scored, self._caught_up.get(partition, 0.0))
            metrics.LAG_RECORDS.labels(partition).set(records)
            metrics.LAG_SECONDS.labels(partition).set(max(0.0, now - since) if records else 0)

    def show_state(self, directories: Mapping[int, Path]) -> None:
        """How much of the disk the partitions' state takes."""
        for partition, directory in directories.items():
            metrics.STATE_BYTES.labels(partition).set(_bytes_on_disk(directory))

    def forget(self) -> None:
        """Partitions are given back: nothing is said of them until they are set again."""
        self._first_look.clear()
        self._caught_up.clear()
        metrics.forget_partitions()


def _bytes_on_disk(directory: Path) -> int:
    """Size of the files; one that goes while this looks is left out."""
    size = 0
    with suppress(FileNotFoundError), os.scandir(directory) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                size += entry.stat().st_size
    return size
