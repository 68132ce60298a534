"""The shipped sample as traffic of any length and any number of users."""

from collections.abc import Iterator

import msgspec
import numpy as np

from streamapp.domain.transaction import Transaction
from streamapp.features.contract import DAY_MS
from streamapp.replay.encode import FIELDS, encode_columns, rfc3339_column
from streamapp.replay.reader import BATCH_ROWS, RecordedBatch, recorded, row_count
from streamapp.replay.sample import sample

#: Rows of one population before the next one's turn.
_TURN_ROWS = 64

_decoder = msgspec.json.Decoder(Transaction)


def sample_rows() -> int:
    """Rows of the sample."""
    rows = row_count(sample())
    assert rows is not None
    return rows


def traffic(rows: int, populations: int = 1) -> Iterator[RecordedBatch]:
    """`rows` transactions of the sample's 160 users, times `populations`.

    Each population is a copy of the sample with users of its own; they take turns. Where
    the sample ends before `rows`, it comes again with new ids and later times.
    """
    left = rows
    for batch in _endless(populations):
        if len(batch) >= left:
            yield _first(batch, left)
            return
        left -= len(batch)
        yield batch


def _endless(populations: int) -> Iterator[RecordedBatch]:
    turn, days = 0, _days_of_sample()
    batch_rows = _TURN_ROWS if populations > 1 else BATCH_ROWS
    while True:
        for batch in recorded(sample(), batch_rows=batch_rows):
            for population in range(populations):
                yield _copy(batch, turn, turn * days * DAY_MS, population)
        turn += 1


def _days_of_sample() -> int:
    """How far apart repeats stand: more than the sample lasts, by less than a day."""
    times = [batch.time_ms for batch in recorded(sample())]
    first, last = min(int(t.min()) for t in times), max(int(t.max()) for t in times)
    return (last - first) // DAY_MS + 1


def _first(batch: RecordedBatch, rows: int) -> RecordedBatch:
    return RecordedBatch(
        batch.keys[:rows], batch.values[:rows], batch.time_ms[:rows], batch.labels[:rows]
    )


def _copy(batch: RecordedBatch, turn: int, shift_ms: int, population: int) -> RecordedBatch:
    """The batch with later times and other ids, or as it is."""
    if turn == population == 0:
        return batch
    transactions = [_decoder.decode(value) for value in batch.values]
    time_ms = batch.time_ms + np.int64(shift_ms)
    columns = {name: [getattr(one, name) for one in transactions] for name in FIELDS}
    columns["tx_id"] = [f"{one.tx_id}-{turn}-{population}" for one in transactions]
    columns["timestamp"] = rfc3339_column(time_ms)
    keys = batch.keys
    if population:
        columns["user_id"] = [f"{one.user_id}-{population}" for one in transactions]
        keys = [user.encode() for user in columns["user_id"]]
    return RecordedBatch(keys, encode_columns(columns), time_ms, batch.labels)
