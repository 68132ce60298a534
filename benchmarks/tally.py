"""Counts that generator, readers and the benchmark share while they run: a mapped file."""

from pathlib import Path
from typing import Literal

import numpy as np

Slot = Literal["sent", "read_committed", "read_uncommitted"]
_SLOTS: tuple[Slot, ...] = ("sent", "read_committed", "read_uncommitted")


class Tally:
    """One integer for each slot; each is written by one process and read by all."""

    def __init__(self, path: Path, *, is_new: bool = False) -> None:
        if is_new:
            path.write_bytes(bytes(8 * len(_SLOTS)))
        self._counts = np.memmap(path, dtype=np.int64, mode="r+", shape=len(_SLOTS))

    def __getitem__(self, slot: Slot) -> int:
        """The count so far."""
        return int(self._counts[_SLOTS.index(slot)])

    def __setitem__(self, slot: Slot, count: int) -> None:
        """Write the count so far."""
        self._counts[_SLOTS.index(slot)] = count
