"""Columns of a recorded table as lists ready to encode, checked by name and by row.

Ids become text, times become UTC milliseconds (a time without a zone is taken as UTC), numbers
become finite float64. What a table cannot say in JSON (a missing id, NaN) is an error of the file;
what it can say, however odd (a negative amount), is sent, for the worker to judge.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from streamapp.domain.transaction import Transaction, epoch_ms
from streamapp.replay.encode import FIELDS
from streamapp.replay.errors import RecordedError

REQUIRED = ("tx_id", "user_id", "amount", "timestamp")

#: Columns of public data sets that mean a field under another name.
ALIASES = {"category": "merchant_category"}

#: Kept beside the transactions for evaluation, never sent.
LABEL = "is_fraud"

#: When a label became known, in files of labels.
LABEL_TIME = "label_time"

#: The kind of fraud, where a simulator names it: likewise, for tables of figures only.
SCENARIO = "scenario"

#: The label of a row that has none, and its scenario.
LABEL_UNKNOWN = -1


def _is_number(kind: msgspec.inspect.Type) -> bool:
    if isinstance(kind, msgspec.inspect.Metadata):
        return _is_number(kind.type)
    if isinstance(kind, msgspec.inspect.UnionType):
        return any(_is_number(member) for member in kind.types)
    return isinstance(kind, msgspec.inspect.FloatType)


_KIND = msgspec.inspect.type_info(Transaction)
assert isinstance(_KIND, msgspec.inspect.StructType)
#: Fields that hold a number; the others, but for the timestamp, hold text.
NUMBERS = frozenset(field.name for field in _KIND.fields if _is_number(field.type))


def wanted_columns(found: Sequence[str]) -> dict[str, str]:
    """Field name → column name, for the columns that are read; the others are never sent."""
    for name in found:
        if found.count(name) > 1:
            raise RecordedError(f"column {name} is there {found.count(name)} times, expected once")
    missing = [name for name in REQUIRED if name not in found]
    if missing:
        raise RecordedError(
            f"column {missing[0]} is missing, expected {', '.join(REQUIRED)};"
            f" found {', '.join(found) or 'none'}"
        )
    wanted = {ALIASES[name]: name for name in found if name in ALIASES}
    return wanted | {name: name for name in (*FIELDS, LABEL, SCENARIO) if name in found}


def text_column(name: str, column: pa.Array, first_row: int) -> list[str | None]:
    """Ids and other text; whole numbers become their decimal digits."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not (pa.types.is_integer(column.type) or _is_text(column.type)):
        raise _wrong_type(name, column, "text or whole numbers")
    texts: list[str | None] = _complete(name, column, first_row).cast(pa.string()).to_pylist()
    return texts


def number_column(name: str, column: pa.Array, first_row: int) -> list[float | None]:
    """Finite float64; in an optional column NaN means absent."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    numbers = _floats(name, _complete(name, column, first_row), first_row)
    if name not in REQUIRED:
        numbers = pc.if_else(pc.is_nan(numbers), None, numbers)
    finite = pc.is_finite(numbers).fill_null(True).to_numpy(zero_copy_only=False)
    odd = np.flatnonzero(~finite)
    if len(odd):
        raise _wrong_value(name, first_row + odd[0], numbers[odd[0]].as_py(), "a finite number")
    values: list[float | None] = numbers.to_pylist()
    return values


def time_column(column: pa.Array, first_row: int, name: str = "timestamp") -> NDArray[np.int64]:
    """Times in epoch milliseconds, rounded down, from times, whole milliseconds or text."""
    column = _complete(name, column, first_row)
    if _is_text(column.type):
        return _times_of_text(column, first_row, name)
    if pa.types.is_integer(column.type):
        times: NDArray[np.int64] = column.cast(pa.int64()).to_numpy()
        return times
    if not pa.types.is_timestamp(column.type):
        raise _wrong_type(name, column, "a time, epoch milliseconds or RFC 3339 text")
    ticks: NDArray[np.int64] = column.cast(pa.int64()).to_numpy()
    if column.type.unit == "s":
        return ticks * 1_000
    return ticks // {"ms": 1, "us": 1_000, "ns": 1_000_000}[column.type.unit]


def label_column(column: pa.Array, first_row: int) -> NDArray[np.int8]:
    """1 fraud, 0 genuine, `LABEL_UNKNOWN` where the row has none."""
    texts = pc.utf8_lower(column.cast(pa.string()))
    marks = pc.index_in(texts, pa.array(["0", "false", "1", "true"]))
    odd = np.flatnonzero(marks.is_null().to_numpy(zero_copy_only=False) & _present(column))
    if len(odd):
        raise _wrong_value(LABEL, first_row + odd[0], column[odd[0]].as_py(), "0 or 1")
    labels: NDArray[np.int8] = (marks.fill_null(0).to_numpy() // 2).astype(np.int8)
    labels[~_present(column)] = LABEL_UNKNOWN
    return labels


def scenario_column(column: pa.Array, first_row: int) -> NDArray[np.int16]:
    """The number of each row's scenario, `LABEL_UNKNOWN` where the row has none."""
    try:
        numbers: NDArray[np.int16] = (
            column.cast(pa.int16()).fill_null(LABEL_UNKNOWN).to_numpy(zero_copy_only=False)
        )
    except pa.ArrowInvalid as error:
        expected = "whole numbers under 32768"
        raise RecordedError(
            f"column {SCENARIO} from row {first_row}: expected {expected}"
        ) from error
    return numbers


def _present(column: pa.Array) -> NDArray[np.bool_]:
    present: NDArray[np.bool_] = column.is_valid().to_numpy(zero_copy_only=False)
    return present


def _times_of_text(column: pa.Array, first_row: int, name: str) -> NDArray[np.int64]:
    """The compiled parsers take a whole column of one form; a mixed one is read row by row."""
    for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.int64()):
        try:
            return time_column(column.cast(kind), first_row, name)
        except pa.ArrowInvalid:
            continue
    times = _each(name, column, first_row, _time_of_text, "RFC 3339 or epoch milliseconds")
    return np.array(times, dtype=np.int64)


def _time_of_text(text: str) -> int:
    if text.isdigit():
        return int(text)
    moment = datetime.fromisoformat(text)
    return epoch_ms(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _floats(name: str, column: pa.Array, first_row: int) -> pa.Array:
    if not (_is_text(column.type) or _is_numeric(column.type)):
        raise _wrong_type(name, column, "numbers")
    try:
        return column.cast(pa.float64())
    except pa.ArrowInvalid:
        return pa.array(_each(name, column, first_row, float, "a number"), pa.float64())


def _each(
    name: str, column: pa.Array, first_row: int, parse: Callable[[Any], Any], expected: str
) -> list[Any]:
    """Parse value by value: slow, for what the compiled parsers refuse, and to name the row."""
    parsed = []
    for row, value in enumerate(column.to_pylist()):
        try:
            parsed.append(None if value is None else parse(value))
        except (ValueError, OverflowError) as error:
            raise _wrong_value(name, first_row + row, value, expected) from error
    return parsed


def _complete(name: str, column: pa.Array, first_row: int) -> pa.Array:
    """The column itself; an error where a required value is absent."""
    if name in (*REQUIRED, LABEL_TIME) and column.null_count:
        row = int(np.argmin(_present(column)))
        raise _wrong_value(name, first_row + row, None, "a value in every row")
    return column


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_numeric(kind: pa.DataType) -> bool:
    kinds = pa.types
    return bool(kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_decimal(kind))


def _wrong_type(name: str, column: pa.Array, expected: str) -> RecordedError:
    return RecordedError(f"column {name} is {column.type}, expected {expected}")


def _wrong_value(name: str, row: int, value: object, expected: str) -> RecordedError:
    shown = "empty" if value is None else repr(value)[:80]
    return RecordedError(f"column {name}, row {row}: is {shown}, expected {expected}")
