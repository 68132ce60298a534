"""Transactions as columns: what the kernel reads of each event, one packed record a row."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import xxhash
from numpy.typing import NDArray

from streamapp.domain.transaction import TIME_MS_MAX, Transaction, epoch_ms
from streamapp.features.contract import DAY_MS

EVENT: Final = np.dtype(
    [
        ("offset", "<i8"),
        ("time_ms", "<i8"),
        ("local_ms", "<i8"),
        ("tx", "<u8"),
        ("amount", "<f8"),
        ("latitude", "<f8"),
        ("longitude", "<f8"),
        ("merchant", "<u4"),
        ("category", "<u4"),
        ("country", "<u4"),
        ("device", "<u4"),
        ("user", "<u4"),
    ]
)

#: Offsets of time zones change on whole minutes (since 1972), so one look-up serves each minute.
_MINUTE_MS: Final = 60_000
#: The last minute whose local time is in year 9999, the end of the calendar, in every zone.
_LAST_MINUTE: Final = (TIME_MS_MAX - DAY_MS) // _MINUTE_MS


@dataclass(frozen=True, slots=True)
class Columns:
    """A batch of one partition, in record order. `records` has dtype EVENT, shape (n,)."""

    records: NDArray[Any]

    @property
    def time_ms(self) -> NDArray[np.int64]:
        """Event times, epoch milliseconds."""
        times: NDArray[np.int64] = self.records["time_ms"]
        return times


def columns_of(
    transactions: Sequence[Transaction], offsets: Sequence[int], time_zone: str = "UTC"
) -> Columns:
    """Pack transactions with their source offsets."""
    records = np.empty(len(transactions), dtype=EVENT)
    records["offset"] = offsets
    records["time_ms"] = [epoch_ms(one.timestamp) for one in transactions]
    set_local_times(records, time_zone)
    records["tx"] = [tx_hash(one.tx_id) for one in transactions]
    records["amount"] = [one.amount for one in transactions]
    np.abs(records["amount"], out=records["amount"])  # -0.0 is accepted and is 0
    # None becomes NaN
    records["latitude"] = np.array([one.latitude for one in transactions], dtype=np.float64)
    records["longitude"] = np.array([one.longitude for one in transactions], dtype=np.float64)
    records["merchant"] = [name_hash(one.merchant_id) for one in transactions]
    records["category"] = [name_hash(one.merchant_category) for one in transactions]
    records["country"] = [name_hash(one.country) for one in transactions]
    records["device"] = [name_hash(one.device_id) for one in transactions]
    records["user"] = [name_hash(one.user_id) for one in transactions]
    return Columns(records)


def set_local_times(records: NDArray[Any], time_zone: str) -> None:
    """Set `local_ms` of events (n, of dtype EVENT) by their `time_ms`."""
    records["local_ms"] = records["time_ms"]
    if time_zone != "UTC":
        minutes = (records["time_ms"] // _MINUTE_MS).tolist()
        records["local_ms"] += [_utc_offset_ms(minute, time_zone) for minute in minutes]


def tx_hash(tx_id: str) -> int:
    """64-bit hash of a tx_id."""
    digest: int = xxhash.xxh3_64_intdigest(tx_id.encode())
    return digest


@lru_cache(maxsize=65_536)
def name_hash(name: str | None) -> int:
    """32-bit hash of a name; 0 is kept for «none given»."""
    return 0 if not name else xxhash.xxh3_64_intdigest(name.encode()) % 0xFFFFFFFF + 1


@lru_cache(maxsize=65_536)
def _utc_offset_ms(minute: int, time_zone: str) -> int:
    moment = datetime.fromtimestamp(min(minute, _LAST_MINUTE) * 60, ZoneInfo(time_zone))
    offset = moment.utcoffset()
    assert offset is not None
    return round(offset.total_seconds() * 1000)
