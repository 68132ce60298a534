"""Recorded traffic: three formats, the same messages; bad files name what is wrong."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamapp.replay.errors import RecordedError
from streamapp.replay.reader import RecordedBatch, recorded

_ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "tx_id": st.integers(0, 10**9),
            "user_id": st.integers(0, 10**6),
            "amount": st.floats(0, 1e12),
            "timestamp": st.integers(0, 4_000_000_000_000),
            "category": st.none() | st.text("abc_ ,\"é'", min_size=1, max_size=9),
            "latitude": st.none() | st.floats(-90, 90),
            "is_fraud": st.none() | st.integers(0, 1),
            "scenario": st.integers(0, 3),
        }
    ),
    min_size=1,
    max_size=30,
)
_SCHEMA = pa.schema(
    {
        "tx_id": pa.int64(),
        "user_id": pa.int32(),
        "amount": pa.float64(),
        "timestamp": pa.timestamp("ms"),
        "category": pa.string(),
        "latitude": pa.float64(),
        "is_fraud": pa.int8(),
        "scenario": pa.int8(),
    }
)


def _flat(batches: Iterator[RecordedBatch]) -> tuple[list[bytes], list[bytes], list[int]]:
    keys, values, times = [], [], []
    for batch in batches:
        keys += batch.keys
        values += batch.values
        times += batch.time_ms.tolist()
    return keys, values, times


def _labels(path: Path) -> list[int]:
    return np.concatenate([batch.labels for batch in recorded(path)]).tolist()


def _csv(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=_ROWS, batch_rows=st.integers(1, 40))
def test_formats_are_equal(tmp_path: Path, rows: list[dict[str, object]], batch_rows: int) -> None:
    """Parquet, CSV and the JSON Lines of the same rows give the same keys, bytes and times."""
    table = pa.Table.from_pylist(rows, _SCHEMA)
    parquet, csv, lines = (tmp_path / name for name in ("t.parquet", "t.csv", "t.jsonl"))
    pq.write_table(table, parquet)
    pyarrow.csv.write_csv(table, csv)
    expected = _flat(recorded(parquet))
    lines.write_bytes(b"\n".join(expected[1]))
    assert expected == _flat(recorded(csv, batch_rows=batch_rows))
    assert expected == _flat(recorded(lines, batch_rows=batch_rows))
    assert _labels(parquet) == _labels(csv)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.integers(1, 60), skip=st.integers(0, 70), limit=st.none() | st.integers(0, 70))
@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_skip_and_limit_are_a_slice(
    tmp_path: Path, suffix: str, rows: int, skip: int, limit: int | None
) -> None:
    """skip and limit cut the messages as a slice does, across batches."""
    moments = pa.array([1_000 * row for row in range(rows)], pa.timestamp("ms"))
    ids = pa.array(range(rows))
    table = pa.table({"tx_id": ids, "user_id": ids, "amount": ids, "timestamp": moments})
    path = tmp_path / f"t.{suffix}"
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=7)
    every = _flat(recorded(tmp_path / "t.parquet"))[1]
    pyarrow.csv.write_csv(table, tmp_path / "t.csv")
    (tmp_path / "t.jsonl").write_bytes(b"\n".join(every))
    stop = None if limit is None else skip + limit
    assert every[skip:stop] == _flat(recorded(path, skip=skip, limit=limit, batch_rows=5))[1]


def test_columns_that_are_no_field_are_never_sent(tmp_path: Path) -> None:
    """A label is kept beside the message; an unknown column is not read; category is renamed."""
    header = "tx_id,user_id,amount,timestamp,category,is_fraud,scenario"
    path = _csv(tmp_path / "t.csv", header, "1,007,2.5,2019-01-01T00:00:43,food,1,3")
    [batch] = recorded(path)
    expected = {
        "tx_id": "1",
        "user_id": "007",
        "amount": 2.5,
        "timestamp": "2019-01-01T00:00:43Z",
        "merchant_category": "food",
    }
    assert expected == json.loads(batch.values[0])
    assert [1] == batch.labels.tolist()
    assert [b"007"] == batch.keys


@pytest.mark.parametrize(
    "text",
    [
        "2019-01-01 00:00:43",
        "2019-01-01T00:00:43.000Z",
        "2019-01-01T02:00:43+02:00",
        "1546300843000",
    ],
)
def test_times_of_every_form_are_utc(tmp_path: Path, text: str) -> None:
    """A time without zone is UTC; offsets are honoured; whole numbers are epoch milliseconds."""
    path = _csv(tmp_path / "t.csv", "tx_id,user_id,amount,timestamp", f"1,2,3,{text}")
    [batch] = recorded(path)
    assert [1_546_300_843_000] == batch.time_ms.tolist()


def test_times_of_mixed_forms(tmp_path: Path) -> None:
    """One column may mix the forms; each row is read by its own."""
    lines = ("1,2,3,1546300843000", "1,2,3,2019-01-01T00:00:43", "1,2,3,2019-01-01T00:00:43Z")
    path = _csv(tmp_path / "t.csv", "tx_id,user_id,amount,timestamp", *lines)
    [batch] = recorded(path)
    assert [1_546_300_843_000] * 3 == batch.time_ms.tolist()


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_parquet_times_of_every_unit(tmp_path: Path, unit: str) -> None:
    """The unit of a Parquet time does not matter; below a millisecond it is rounded down."""
    moments = pa.array([1_546_300_843], pa.timestamp("s")).cast(pa.timestamp(unit))
    one = pa.array([1])
    table = pa.table({"tx_id": one, "user_id": one, "amount": one, "timestamp": moments})
    pq.write_table(table, tmp_path / "t.parquet")
    [batch] = recorded(tmp_path / "t.parquet")
    assert [1_546_300_843_000] == batch.time_ms.tolist()


BAD_TABLES = {
    "missing column": (
        ["tx_id,user_id,timestamp", "1,2,3"],
        "column amount is missing, expected tx_id, user_id, amount, timestamp;"
        " found tx_id, user_id, timestamp",
    ),
    "double column": (
        ["tx_id,user_id,amount,timestamp,amount", "1,2,3,4,5"],
        "column amount is there 2 times, expected once",
    ),
    "bad number": (
        ["tx_id,user_id,amount,timestamp", "1,2,3,4", "1,2,lots,4"],
        "column amount, row 1: is 'lots', expected a number",
    ),
    "not a number": (
        ["tx_id,user_id,amount,timestamp", "1,2,3,4", "1,2,nan,4"],
        "column amount, row 1: is nan, expected a finite number",
    ),
    "bad time": (
        ["tx_id,user_id,amount,timestamp", "1,2,3,yesterday"],
        "column timestamp, row 0: is 'yesterday', expected RFC 3339 or epoch milliseconds",
    ),
    "empty required": (
        ["tx_id,user_id,amount,timestamp", "1,2,3,4", "1,,3,4"],
        "column user_id, row 1: is empty, expected a value in every row",
    ),
    "bad label": (
        ["tx_id,user_id,amount,timestamp,is_fraud", "1,2,3,4,perhaps"],
        "column is_fraud, row 0: is 'perhaps', expected 0 or 1",
    ),
    "infinite option": (
        ["tx_id,user_id,amount,timestamp,latitude", "1,2,3,4,inf"],
        "column latitude, row 0: is inf, expected a finite number",
    ),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_tables_name_the_place(tmp_path: Path, case: str) -> None:
    """An error says which file, column and row, what it was, what was expected."""
    lines, message = BAD_TABLES[case]
    path = _csv(tmp_path / "bad.csv", *lines)
    with pytest.raises(RecordedError) as caught:
        list(recorded(path))
    assert f"{path}: {message}" == str(caught.value)


def test_row_numbers_count_from_the_start_of_the_file(tmp_path: Path) -> None:
    """The row in an error is the file's, not the batch's."""
    lines = ["1,2,3,4"] * 25 + ["1,2,x,4"]
    path = _csv(tmp_path / "bad.csv", "tx_id,user_id,amount,timestamp", *lines)
    with pytest.raises(RecordedError, match="column amount, row 25: is 'x'"):
        list(recorded(path, batch_rows=10))


def test_wrong_column_type_is_named(tmp_path: Path) -> None:
    """A Parquet column of a kind that has no meaning here is an error of the file."""
    one = pa.array([1])
    table = pa.table({"tx_id": one, "user_id": pa.array([1.5]), "amount": one, "timestamp": one})
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(RecordedError, match="column user_id is double, expected text or whole"):
        list(recorded(tmp_path / "t.parquet"))


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.jsonl", "t.xlsx", "t"])
def test_a_file_that_is_not_there_or_of_another_kind(tmp_path: Path, name: str) -> None:
    """The error names the file; it is one line."""
    with pytest.raises(RecordedError, match=f"/{name}: .+") as caught:
        list(recorded(tmp_path / name))
    assert 1 == len(str(caught.value).splitlines())


def test_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    """Text under the name of a Parquet file is an error of the file."""
    path = _csv(tmp_path / "t.parquet", "tx_id")
    with pytest.raises(RecordedError, match=r"t\.parquet: "):
        list(recorded(path))


def test_json_lines_are_sent_as_they_are(tmp_path: Path) -> None:
    """Every line goes out byte for byte; key, time and label are read where they can be."""
    good = b'{"user_id":"u","timestamp":"2019-01-01T00:00:43Z","is_fraud":1,"x":[ 1 ]}'
    bad = [b"{not json", b"\xff\xfe", b'{"user_id":7}', b'{"user_id":"v","timestamp":"soon"}']
    path = tmp_path / "t.jsonl"
    path.write_bytes(b"\n".join([good, b"", *bad]) + b"\r\n")
    [batch] = recorded(path)
    assert [good, *bad] == batch.values
    assert [b"u", b"", b"", b"", b"v"] == batch.keys
    assert [1_546_300_843_000, -1, -1, -1, -1] == batch.time_ms.tolist()
    assert [1, -1, -1, -1, -1] == batch.labels.tolist()


def test_compressed_files(tmp_path: Path) -> None:
    """A compressed file is read as the plain one is."""
    message = b'{"user_id":"u","timestamp":0}\n'
    for suffix in ("gz", "zst"):
        path = tmp_path / f"t.jsonl.{suffix}"
        with pa.output_stream(str(path), compression="detect") as stream:
            stream.write(message)
        assert [message.strip()] == _flat(recorded(path))[1]
