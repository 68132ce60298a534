"""Risk windows: of each merchant, category and device, its traffic and known frauds of late.

A table holds for one day. Its windows end a delay before that day's midnight, so that labels had
time to become known, and count frauds by the labels known at that midnight. Tables are made outside
the workers (`streamapp.lifecycle.risk_ledger`); here they are only looked up.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamapp.features.columns import Columns

#: Fields of a transaction whose values have a risk. Not the user: who was robbed once is, if
#: anything, safer than others, and simulators that rob everybody once make it look otherwise.
RISK_KINDS: Final = ("merchant", "category", "device")

#: Lengths of the windows in days.
RISK_WINDOWS: Final = (1, 7, 30)
LONGEST_RISK_WINDOW: Final = max(RISK_WINDOWS)

#: What a table knows of a name. Traffic is payments per thousand of all in the window, not their
#: number: that follows the season, and a model that took it for a merchant's mark would be lost
#: when it turns. Days since the first and last known fraud of the longest window, 0 where it has
#: none, tell a compromise that goes on from one that is over.
RISK_COLUMNS: Final = (
    *(f"{what}_{days}d" for what in ("traffic", "fraud_share") for days in RISK_WINDOWS),
    "first_fraud_days",
    "last_fraud_days",
)
_WIDTH: Final = len(RISK_COLUMNS)

#: Columns of a table's values, kind by kind; 0 where the name is unknown or none is given.
RISK_NAMES: Final = tuple(f"{kind}_{column}" for kind in RISK_KINDS for column in RISK_COLUMNS)


@dataclass(frozen=True, slots=True)
class RiskTable:
    """The risk windows that hold on one day (days since 1970, UTC).

    names: of each kind, the hashes (`name_hash`) it knows, rising, without 0. values: beside them
    (k, len(RISK_COLUMNS)) float64.
    """

    day: int
    names: tuple[NDArray[np.uint32], ...]
    values: tuple[NDArray[np.float64], ...]

    def __post_init__(self) -> None:
        """Raise ValueError where the arrays don't fit."""
        if not len(self.names) == len(self.values) == len(RISK_KINDS):
            raise ValueError(f"a risk table has {RISK_KINDS}")
        for names, values in zip(self.names, self.values, strict=True):
            if names.dtype != np.uint32 or values.dtype != np.float64:
                raise ValueError("names must be uint32 and values float64")
            if names.ndim != 1 or values.shape != (len(names), _WIDTH):
                raise ValueError(f"values are {values.shape}, must be {(len(names), _WIDTH)}")
            if len(names) and (names[0] == 0 or (np.diff(names.astype(np.int64)) <= 0).any()):
                raise ValueError("names must rise and none may be 0")
            if not np.isfinite(values).all():
                raise ValueError("values must be finite")

    @classmethod
    def empty(cls, day: int = 0) -> "RiskTable":
        """A table that knows no name."""
        kinds = len(RISK_KINDS)
        return cls(day, (np.zeros(0, np.uint32),) * kinds, (np.zeros((0, _WIDTH)),) * kinds)

    def look_up(self, hashes: NDArray[np.uint32]) -> NDArray[np.float64]:
        """The windows (n, len(RISK_NAMES)) of events whose names are hashes (n, kinds)."""
        found = np.zeros((len(hashes), len(RISK_NAMES)))
        for kind, (names, values) in enumerate(zip(self.names, self.values, strict=True)):
            if len(names) == 0:
                continue
            wanted = hashes[:, kind]
            at = np.minimum(np.searchsorted(names, wanted), len(names) - 1)
            known = names[at] == wanted
            found[known, kind * _WIDTH : (kind + 1) * _WIDTH] = values[at[known]]
        return found


def risk_hashes(columns: Columns) -> NDArray[np.uint32]:
    """The hashes (n, kinds) that a batch is looked up by."""
    return np.stack([columns.records[kind] for kind in RISK_KINDS], axis=1)
