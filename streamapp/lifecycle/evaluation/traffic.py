"""Recorded transactions as evaluation needs them: features once computed, in columns."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamapp.scoring.process import Records


@dataclass(frozen=True, slots=True)
class Piece:
    """Records of one partition, with what only evaluation may know.

    labels, scenarios: -1 where there is none; as long as `records`.
    """

    records: Records
    labels: NDArray[np.int8]
    scenarios: NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Traffic:
    """Transactions, n rows in the order they were read.

    values (n, d) float64: the feature matrix, context (n, c); both empty in an
    outcome. names (n, kinds): hashes risk windows are looked up by. user: a number for each user.
    label, scenario: -1 where unknown.
    """

    values: NDArray[np.float64]
    context: NDArray[np.float64]
    names: NDArray[np.uint32]
    time_ms: NDArray[np.int64]
    user: NDArray[np.int64]
    user_hash: NDArray[np.uint32]
    amount: NDArray[np.float64]
    label: NDArray[np.int8]
    scenario: NDArray[np.int16]
    partition: NDArray[np.int32]
    is_cold: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.time_ms)

    def by_partition(self) -> "Traffic":
        """The rows partition by partition, each in record order: wherever batches were cut."""
        return self.at(np.argsort(self.partition, kind="stable"))

    def at(self, rows: NDArray[np.int64] | slice) -> "Traffic":
        """Some of the rows."""
        return Traffic(*(getattr(self, name)[rows] for name in _COLUMNS))

    @classmethod
    def joined(cls, parts: "list[Traffic]") -> "Traffic":
        """One after the other."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS))


_COLUMNS: Final = tuple(Traffic.__dataclass_fields__)
