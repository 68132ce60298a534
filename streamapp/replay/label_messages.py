"""Labels of a file as messages of the topic `labels`: the same file gives the same bytes."""

from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from streamapp.domain.dead_letter import Rejected
from streamapp.domain.decode import decode_label
from streamapp.replay.columns import LABEL, LABEL_TIME, label_column, text_column, time_column
from streamapp.replay.encode import rfc3339_column
from streamapp.replay.errors import RecordedError
from streamapp.replay.label_file import LABEL_COLUMNS, label_table
from streamapp.replay.reader import BATCH_ROWS, RecordedBatch

_REQUIRED: Final = (*LABEL_COLUMNS, "timestamp")
_OPTIONAL: Final = ("merchant_id",)

_encode: Final = msgspec.json.Encoder().encode


def label_messages(path: Path) -> list[RecordedBatch]:
    """All labels of a Parquet or CSV file, in its order.

    Columns `tx_id, user_id, is_fraud, timestamp, label_time` and, if there, `merchant_id`; rows
    whose `is_fraud` is empty are no labels. Raises RecordedError where one could not be a label.
    """
    with label_table(path, _REQUIRED, _OPTIONAL) as table:
        starts = range(0, table.num_rows, BATCH_ROWS)
        return [_batch(table.slice(start, BATCH_ROWS), start) for start in starts]


def _batch(table: pa.Table, first: int) -> RecordedBatch:
    """first: the number of its first label."""
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    texts: dict[str, list[Any]] = {
        name: text_column(name, columns[name], first)
        for name in ("tx_id", "user_id", *_OPTIONAL)
        if name in columns
    }
    labels = label_column(columns[LABEL], first)
    times = {name: time_column(columns[name], first, name) for name in ("timestamp", LABEL_TIME)}
    fields = {
        "tx_id": texts["tx_id"],
        "user_id": texts["user_id"],
        LABEL: (labels == 1).tolist(),
        **{name: rfc3339_column(values) for name, values in times.items()},
        **{name: texts[name] for name in _OPTIONAL if name in texts},
    }
    rows = zip(*fields.values(), strict=True)
    values = [_encode(dict(zip(fields, row, strict=True))) for row in rows]
    keys = [user.encode() for user in texts["user_id"]]
    for number, (key, value) in enumerate(zip(keys, values, strict=True), first):
        label = decode_label(key, value)
        if isinstance(label, Rejected):
            raise RecordedError(f"column {label.field}, label {number}: {label.detail}")
    return RecordedBatch(keys, values, np.asarray(times["timestamp"]), labels)
