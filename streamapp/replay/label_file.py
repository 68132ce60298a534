"""Labels from a Parquet or CSV file: what was fraud, and when that became known.

Columns `tx_id, user_id, is_fraud, label_time`; others are not read, so a recording of `streamapp
generate` is a label file too. Rows whose `is_fraud` is empty are no labels.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray

from streamapp.features.columns import name_hash
from streamapp.replay.columns import (
    LABEL,
    LABEL_TIME,
    label_column,
    text_column,
    time_column,
)
from streamapp.replay.errors import RecordedError

LABEL_COLUMNS: Final = ("tx_id", "user_id", LABEL, LABEL_TIME)


@dataclass(frozen=True, slots=True)
class LabelColumns:
    """n labels in file order: hashes of tx_id and user_id, the label, when it became known."""

    tx: NDArray[np.uint64]
    user: NDArray[np.uint32]
    is_fraud: NDArray[np.bool_]
    known_ms: NDArray[np.int64]


def read_labels(path: Path) -> LabelColumns:
    """The labels of a file. Raises RecordedError, naming file, column and row."""
    try:
        return _columns(_table(path))
    except (RecordedError, pa.ArrowException, OSError) as error:
        raise RecordedError(f"{path}: {str(error).splitlines()[0]}") from error


def _table(path: Path) -> pa.Table:
    if path.suffix == ".parquet":
        _check_names(pq.read_schema(path).names)
        return pq.read_table(path, columns=[*LABEL_COLUMNS])
    if path.suffix != ".csv":
        raise RecordedError(f"suffix is {path.suffix or 'missing'}, expected .parquet or .csv")
    with pa.csv.open_csv(path) as reader:
        _check_names(reader.schema.names)
    convert = pa.csv.ConvertOptions(
        include_columns=[*LABEL_COLUMNS],
        column_types=dict.fromkeys(LABEL_COLUMNS, pa.string()),
        strings_can_be_null=True,
        null_values=[""],
    )
    return pa.csv.read_csv(path, convert_options=convert)


def _check_names(found: list[str]) -> None:
    missing = [name for name in LABEL_COLUMNS if name not in found]
    if missing:
        raise RecordedError(
            f"column {missing[0]} is missing, expected {', '.join(LABEL_COLUMNS)};"
            f" found {', '.join(found) or 'none'}"
        )


def _columns(table: pa.Table) -> LabelColumns:
    table = table.filter(pc.is_valid(table[LABEL]))
    columns = {name: table[name].combine_chunks() for name in LABEL_COLUMNS}
    tx, user = (text_column(name, columns[name], 0) for name in ("tx_id", "user_id"))
    return LabelColumns(
        tx=np.array([xxhash.xxh3_64_intdigest(str(one).encode()) for one in tx], np.uint64),
        user=np.array([name_hash(one) for one in user], np.uint32),
        is_fraud=label_column(columns[LABEL], 0) == 1,
        known_ms=time_column(columns[LABEL_TIME], 0, LABEL_TIME),
    )
