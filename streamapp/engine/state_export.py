"""Profiles as rows that analysts read: JSON lines or Parquet."""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from streamapp.domain.transaction import rfc3339
from streamapp.engine.store import USER_PREFIX, StateStore
from streamapp.features.profile import PROFILE, unseal

_ROWS_PER_WRITE: Final = 5_000
#: Of no use outside the engine.
_INNER: Final = frozenset({"layout_version", "checksum", "reserved"})

SUFFIXES: Final = (".jsonl", ".parquet")

Row = dict[str, Any]


def rows(store: StateStore, partition: int, *, everything: bool) -> Iterator[Row]:
    """One row for each user, in the order of their ids as bytes. Raises ProfileError."""
    for key, value in store.items():
        if not key.startswith(USER_PREFIX):
            continue
        record = np.frombuffer(unseal(value), dtype=PROFILE)[0]
        row = _row(key[len(USER_PREFIX) :].decode(), partition, record)
        yield row | _stored(record) if everything else row


def _row(user: str, partition: int, record: np.void) -> Row:
    count = int(record["event_count"])
    variance = max(float(record["amount_m2"]), 0.0) / count if count else 0.0
    return {
        "user_id": user,
        "partition": partition,
        "transactions": count,
        "first_transaction": rfc3339(int(record["first_time_ms"])) if count else None,
        "last_transaction": rfc3339(int(record["last_time_ms"])) if count else None,
        "amount_mean": float(record["amount_mean"]),
        "amount_deviation": math.sqrt(variance),
        "typical_gap_s": float(record["typical_gap_s"]),
        "transactions_by_weekday": record["weekdays"].tolist(),
        "last_source_offset": int(record["source_offset"]),
    }


def _stored(record: np.void) -> Row:
    names = [name for name in PROFILE.names or () if name not in _INNER]
    return {f"stored_{name}": record[name].tolist() for name in names}


def write(found: Iterator[Row], target: Path) -> int:
    """Write the rows in the format of the file's name; how many. It is readable by its owner."""
    target.touch(mode=0o600)
    return _write_parquet(found, target) if target.suffix == ".parquet" else _jsonl(found, target)


def _jsonl(found: Iterator[Row], target: Path) -> int:
    encoder = msgspec.json.Encoder()
    count = 0
    with target.open("wb") as file:
        for count, row in enumerate(found, start=1):  # noqa: B007 - the last number is the count
            file.write(encoder.encode(row) + b"\n")
    return count


def _write_parquet(found: Iterator[Row], target: Path) -> int:
    import pyarrow as pa  # noqa: PLC0415 - start-up time
    import pyarrow.parquet as pq  # noqa: PLC0415

    count, writer = 0, None
    while block := list(itertools.islice(found, _ROWS_PER_WRITE)):
        table = pa.Table.from_pylist(block, schema=writer.schema if writer else None)
        writer = writer or pq.ParquetWriter(target, table.schema, compression="zstd")
        writer.write_table(table)
        count += len(block)
    if writer:
        writer.close()
    return count
