"""The shipped sample as traffic of any length."""

from collections.abc import Iterator

import msgspec
import numpy as np

from streamapp.domain.transaction import Transaction
from streamapp.features.contract import DAY_MS
from streamapp.replay.encode import FIELDS, encode_columns, rfc3339_column
from streamapp.replay.reader import RecordedBatch, recorded, row_count
from streamapp.replay.sample import sample

_decoder = msgspec.json.Decoder(Transaction)


def sample_rows() -> int:
    """Rows of the sample."""
    rows = row_count(sample())
    assert rows is not None
    return rows


def traffic(rows: int) -> Iterator[RecordedBatch]:
    """`rows` transactions: the sample, then again with new ids and later times, and so on."""
    length = sample_rows()
    whole_days = 0
    if rows > length:
        whole_days = _days_of_sample()
    for turn, start in enumerate(range(0, rows, length)):
        for batch in recorded(sample(), limit=min(length, rows - start)):
            yield _later(batch, turn, turn * whole_days * DAY_MS) if turn else batch


def _days_of_sample() -> int:
    """How far apart repeats stand: more than the sample lasts, by less than a day."""
    times = [batch.time_ms for batch in recorded(sample())]
    first, last = min(int(t.min()) for t in times), max(int(t.max()) for t in times)
    return (last - first) // DAY_MS + 1


def _later(batch: RecordedBatch, turn: int, shift_ms: int) -> RecordedBatch:
    transactions = [_decoder.decode(value) for value in batch.values]
    time_ms = batch.time_ms + np.int64(shift_ms)
    columns = {name: [getattr(one, name) for one in transactions] for name in FIELDS}
    columns["tx_id"] = [f"{tx_id}-{turn}" for tx_id in columns["tx_id"]]
    columns["timestamp"] = rfc3339_column(time_ms)
    return RecordedBatch(batch.keys, encode_columns(columns), time_ms, batch.labels)
