"""Labels from a Parquet or CSV file: what was fraud, and when that became known.

Columns `tx_id, user_id, is_fraud, label_time`; others are not read, so a recording of `streamapp
generate` is a label file too. Rows whose `is_fraud` is empty are no labels.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from streamapp.features.columns import name_hash, tx_hash
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
    with label_table(path, LABEL_COLUMNS) as table:
        return _columns(table)


@contextmanager
def label_table(
    path: Path, required: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[pa.Table]:
    """Columns of a file, its rows that have a label; CSV's are all text.

    Raises RecordedError, which names the file whatever is wrong with it while it is in use.
    """
    try:
        table = _table(path, required, optional)
        yield table.filter(pc.is_valid(table[LABEL])).combine_chunks()
    except (RecordedError, pa.ArrowException, OSError) as error:
        raise RecordedError(f"{path}: {str(error).splitlines()[0]}") from error


def _table(path: Path, required: Sequence[str], optional: Sequence[str]) -> pa.Table:
    if path.suffix == ".parquet":
        columns = _wanted(pq.read_schema(path).names, required, optional)
        return pq.read_table(path, columns=columns)
    if path.suffix != ".csv":
        raise RecordedError(f"suffix is {path.suffix or 'missing'}, expected .parquet or .csv")
    with pa.csv.open_csv(path) as reader:
        columns = _wanted(reader.schema.names, required, optional)
    convert = pa.csv.ConvertOptions(
        include_columns=columns,
        column_types=dict.fromkeys(columns, pa.string()),
        strings_can_be_null=True,
        null_values=[""],
    )
    return pa.csv.read_csv(path, convert_options=convert)


def _wanted(found: list[str], required: Sequence[str], optional: Sequence[str]) -> list[str]:
    missing = [name for name in required if name not in found]
    if missing:
        raise RecordedError(
            f"column {missing[0]} is missing, expected {', '.join(required)};"
            f" found {', '.join(found) or 'none'}"
        )
    return [*required, *(name for name in optional if name in found)]


def _columns(table: pa.Table) -> LabelColumns:
    columns = {name: table[name].combine_chunks() for name in LABEL_COLUMNS}
    tx, user = (text_column(name, columns[name], 0) for name in ("tx_id", "user_id"))
    return LabelColumns(
        tx=np.array([tx_hash(str(one)) for one in tx], np.uint64),
        user=np.array([name_hash(one) for one in user], np.uint32),
        is_fraud=label_column(columns[LABEL], 0) == 1,
        known_ms=time_column(columns[LABEL_TIME], 0, LABEL_TIME),
    )
