"""Byte strings of many rows in one: what kernels read and write instead of Python's objects."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ByteColumn:
    """Row i is `data[starts[i]:ends[i]]`, or None where its start is -1.

    data: a view where a copy of what a loop has written would cost.
    """

    data: bytes | memoryview
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, rows: "Sequence[bytes | None] | ByteColumn") -> "ByteColumn":
        """The rows as they stand in a list; a column is itself."""
        if isinstance(rows, ByteColumn):
            return rows
        has_none = None in rows
        given: Sequence[bytes] = [row or b"" for row in rows] if has_none else rows  # type: ignore[assignment]
        sizes = np.fromiter(map(len, given), np.int64, len(given))
        ends = np.cumsum(sizes)
        starts = ends - sizes
        if has_none:
            starts[[row is None for row in rows]] = -1
        return cls(b"".join(given), starts, ends)

    @classmethod
    def adjacent(cls, data: bytes | memoryview, ends: NDArray[np.int64]) -> "ByteColumn":
        """Rows that follow one another."""
        starts = np.zeros_like(ends)
        starts[1:] = ends[:-1]
        return cls(data, starts, ends)

    def take(self, rows: NDArray[np.integer[Any]] | slice) -> "ByteColumn":
        """Some of the rows, in this order."""
        return ByteColumn(self.data, self.starts[rows], self.ends[rows])

    @property
    def arrays(self) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
        """Bytes, starts and ends, as kernels take them."""
        return np.frombuffer(self.data, np.uint8), self.starts, self.ends

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Bytes of each row (n,); None has none."""
        return np.where(self.starts < 0, 0, self.ends - self.starts)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, row: int) -> bytes | None:
        """One row."""
        start = self.starts[row]
        return None if start < 0 else bytes(self.data[start : self.ends[row]])

    def __iter__(self) -> Iterator[bytes]:
        """All rows, none of which may be None."""
        assert (self.starts >= 0).all()
        for start, end in zip(self.starts.tolist(), self.ends.tolist(), strict=True):
            yield bytes(self.data[start:end])
