"""Recorded traffic from Parquet, CSV or JSON Lines, in bounded batches of messages to send.

Parquet and CSV are tables: columns `tx_id, user_id, amount, timestamp`, any optional field of
transaction v1 (`category` is taken as `merchant_category`), and `is_fraud` and `scenario` (a number
for the kind of fraud), which are kept for evaluation and never sent. Other columns are not read.
JSON Lines are messages: each line is sent byte for byte, so that bad messages can be replayed too;
blank lines are no messages.

Files are streamed, by record batch or line, and may be compressed (`.csv.gz`, `.jsonl.zst`, …).
"""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from streamapp.domain.transaction import EventTime, epoch_ms
from streamapp.replay.columns import (
    LABEL,
    LABEL_UNKNOWN,
    NUMBERS,
    SCENARIO,
    label_column,
    number_column,
    scenario_column,
    text_column,
    time_column,
    wanted_columns,
)
from streamapp.replay.encode import encode_columns, rfc3339_column
from streamapp.replay.errors import RecordedError

#: Rows encoded at a time: 2,048 take about 1.5 ms, so a paced replay is held up no longer.
BATCH_ROWS = 2_048

#: The event time of a message in which none could be read.
TIME_UNKNOWN = -1

#: Longest line of JSON Lines, in bytes: more than a broker takes by default (1 MB).
LINE_BYTES_MAX = 4 * 1024 * 1024

_CSV_BLOCK_BYTES = 1024 * 1024
_COMPRESSIONS = (".gz", ".zst", ".bz2")


@dataclass(frozen=True, slots=True)
class RecordedBatch:
    """Messages in file order; the four columns are of equal length.

    `time_ms` is `TIME_UNKNOWN` and a key is empty where a message could not be read;
    `labels` is 1 fraud, 0 genuine, `LABEL_UNKNOWN` (-1) where the file does not say; `scenarios`
    likewise, None where the file has no such column.
    """

    keys: list[bytes]
    values: list[bytes]
    time_ms: NDArray[np.int64]
    labels: NDArray[np.int8]
    scenarios: NDArray[np.int16] | None = None

    def __len__(self) -> int:
        return len(self.keys)


def recorded(
    path: Path, *, limit: int | None = None, skip: int = 0, batch_rows: int = BATCH_ROWS
) -> Iterator[RecordedBatch]:
    """Read a file's messages from row `skip` on, `limit` at most, in batches of `batch_rows`.

    The kind follows the suffix: .parquet, .csv, .jsonl or .ndjson.
    Raises RecordedError, naming file, column and row, where the file is not recorded traffic.
    """
    stop = None if limit is None else skip + limit
    try:
        if _kind(path) == "lines":
            yield from _messages(islice(_lines(path), skip, stop), batch_rows)
            return
        tables = _parquet(path, batch_rows) if _kind(path) == "parquet" else _csv(path, batch_rows)
        for first_row, table in _window(tables, skip, stop):
            yield _encoded(table, first_row)
    except (RecordedError, pa.ArrowException, OSError) as error:
        raise RecordedError(f"{path}: {str(error).splitlines()[0]}") from error


def row_count(path: Path) -> int | None:
    """How many rows the file has, where that is cheap to know (Parquet); else None."""
    if _kind(path) != "parquet":
        return None
    try:
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowException, OSError) as error:
        raise RecordedError(f"{path}: {str(error).splitlines()[0]}") from error


def _kind(path: Path) -> str:
    plain = path.with_suffix("") if path.suffix in _COMPRESSIONS else path
    kinds = {".csv": "csv", ".jsonl": "lines", ".ndjson": "lines"}
    kind = "parquet" if path.suffix == ".parquet" else kinds.get(plain.suffix)
    if kind is None:
        raise RecordedError(
            f"{path}: suffix is {path.suffix or 'missing'}, expected .parquet, .csv or .jsonl"
        )
    return kind


def _parquet(path: Path, batch_rows: int) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path) as file:
        wanted = wanted_columns(file.schema_arrow.names)
        yield from file.iter_batches(batch_rows, columns=[*wanted.values()])


def _csv(path: Path, batch_rows: int) -> Iterator[pa.RecordBatch]:
    """Every column as text: the same checks as for Parquet then say what is wrong, and where."""
    with _csv_reader(path) as reader:
        wanted = wanted_columns(reader.schema.names)
    convert = pa.csv.ConvertOptions(
        include_columns=[*wanted.values()],
        column_types={name: pa.string() for name in wanted.values()},
        strings_can_be_null=True,
        null_values=[""],
    )
    with _csv_reader(path, convert) as reader:
        for block in reader:
            for start in range(0, block.num_rows, batch_rows):
                yield block.slice(start, batch_rows)


def _csv_reader(path: Path, convert: pa.csv.ConvertOptions | None = None) -> Any:
    return pa.csv.open_csv(
        pa.input_stream(str(path), compression="detect"),
        read_options=pa.csv.ReadOptions(block_size=_CSV_BLOCK_BYTES),
        convert_options=convert,
    )


def _window(
    tables: Iterable[pa.RecordBatch], skip: int, stop: int | None
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The rows from `skip` up to `stop`, each batch with the number of its first row."""
    first_row = 0
    for table in tables:
        start = max(skip - first_row, 0)
        end = table.num_rows if stop is None else min(stop - first_row, table.num_rows)
        if start < end:
            yield first_row + start, table.slice(start, end - start)
        first_row += table.num_rows
        if stop is not None and first_row >= stop:
            return


def _encoded(table: pa.RecordBatch, first_row: int) -> RecordedBatch:
    wanted = wanted_columns(table.schema.names)
    time_ms = time_column(table[wanted["timestamp"]], first_row)
    labels = (
        label_column(table[LABEL], first_row)
        if LABEL in wanted
        else np.full(len(time_ms), LABEL_UNKNOWN, dtype=np.int8)
    )
    columns: dict[str, list[str] | list[str | None] | list[float | None]] = {}
    for field, name in wanted.items():
        if field not in ("timestamp", LABEL, SCENARIO):
            read = number_column if field in NUMBERS else text_column
            columns[field] = read(name, table[name], first_row)
    columns["timestamp"] = rfc3339_column(time_ms)
    keys = [user.encode() for user in columns["user_id"]]  # type: ignore[union-attr]
    scenarios = scenario_column(table[SCENARIO], first_row) if SCENARIO in wanted else None
    return RecordedBatch(keys, encode_columns(columns), time_ms, labels, scenarios)


def _lines(path: Path) -> Iterator[bytes]:
    with io.BufferedReader(pa.input_stream(str(path), compression="detect")) as stream:
        while line := stream.readline(LINE_BYTES_MAX + 1):
            if len(line) > LINE_BYTES_MAX:
                raise RecordedError(f"a line is longer than {LINE_BYTES_MAX} bytes")
            if message := line.strip(b"\r\n"):
                yield message


class _Peek(msgspec.Struct, gc=False):
    """What the sender needs to know of a message; the rest is not looked at."""

    user_id: str
    timestamp: EventTime
    is_fraud: bool | Annotated[int, msgspec.Meta(ge=0, le=1)] | None = None


class _PeekUser(msgspec.Struct, gc=False):
    user_id: str


_peek = msgspec.json.Decoder(_Peek).decode
_peek_user = msgspec.json.Decoder(_PeekUser).decode


def _messages(lines: Iterator[bytes], batch_rows: int) -> Iterator[RecordedBatch]:
    while values := list(islice(lines, batch_rows)):
        keys, times, labels = zip(*map(_looked_at, values), strict=True)
        yield RecordedBatch(
            list(keys), values, np.array(times, dtype=np.int64), np.array(labels, dtype=np.int8)
        )


def _looked_at(message: bytes) -> tuple[bytes, int, int]:
    """Key, event time and label of one message, as far as they can be read."""
    try:
        peek = _peek(message)
        label = LABEL_UNKNOWN if peek.is_fraud is None else int(peek.is_fraud)
        return peek.user_id.encode(), epoch_ms(peek.timestamp), label
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _key_of(message), TIME_UNKNOWN, LABEL_UNKNOWN


def _key_of(message: bytes) -> bytes:
    try:
        return _peek_user(message).user_id.encode()
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return b""
