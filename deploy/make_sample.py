"""Cuts the shipped samples out of the full recordings, the same bytes each time.

    python deploy/make_sample.py sparkov SPARKOV.parquet
    python deploy/make_sample.py handbook HANDBOOK.parquet

Users are kept whole: a seeded draw of card holders, with every payment of theirs in the recording,
in its order, so that histories, bursts and pauses are those of the full data.
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from streamapp.replay.sample import NAMES, sample

SEED = 20_260
#: Card holders drawn: enough for more than 200,000 and 120,000 payments in less than 5 MB.
USERS = {"sparkov": 160, "handbook": 540}
#: Column → type in the sample; what only serves analysis is left out.
COLUMNS = {
    "tx_id": pa.int32(),
    "user_id": pa.int32(),
    "merchant_id": pa.int32(),
    "category": pa.dictionary(pa.int8(), pa.string()),
    "amount": pa.float64(),
    "timestamp": pa.timestamp("ms"),
    "is_fraud": pa.int8(),
}


def cut(recording: pa.Table, users: int) -> pa.Table:
    """All payments of `users` card holders drawn with `SEED`, in the recording's order."""
    everyone = np.sort(recording["user_id"].unique().to_numpy())
    drawn = np.random.default_rng(SEED).choice(everyone, users, replace=False)
    rows = recording.filter(pc.is_in(recording["user_id"], pa.array(drawn)))
    columns = {
        name: rows[name].cast(kind) for name, kind in COLUMNS.items() if name in rows.column_names
    }
    return pa.table(columns)


def write(table: pa.Table, path: Path) -> None:
    """Zstandard Parquet: dictionaries for ids and amounts, deltas for what only rises."""
    rising = {"tx_id": "DELTA_BINARY_PACKED", "timestamp": "DELTA_BINARY_PACKED"}
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=19,
        use_dictionary=[name for name in table.column_names if name not in rising],
        column_encoding=rising,
        row_group_size=65_536,
    )


def main(arguments: list[str]) -> None:
    """Cut one sample; the arguments are its name and the path of the full recording."""
    if len(arguments) != 2 or arguments[0] not in NAMES:
        sys.exit(f"usage: python deploy/make_sample.py {'|'.join(NAMES)} RECORDING")
    name, recording = arguments
    write(cut(pq.read_table(recording), USERS[name]), sample(name))


if __name__ == "__main__":
    main(sys.argv[1:])
