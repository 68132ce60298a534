"""Records to payments: columns for kernels, texts for verdicts; what is refused, with its reason.

Plain ones are read by a compiled loop, the others by `domain.decode`; which way is not to be seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamapp.domain.dead_letter import Rejected
from streamapp.domain.decode import decode
from streamapp.domain.transaction import Transaction
from streamapp.features.columns import EVENT, Columns, columns_of, set_local_times
from streamapp.features.plain_json import CARRIED, read_plain
from streamapp.scoring.byte_column import ByteColumn
from streamapp.scoring.json_rows import json_values

Refused = list[tuple[int, Rejected]]

_NULL: Final = b"null"


@dataclass(frozen=True, slots=True)
class Payments:
    """Payments of a batch in record order, n of them.

    rows (n,): index of each one's record. texts: of each of CARRIED (n,) the JSON that a verdict
    carries on. keys, values: of all records.
    """

    rows: NDArray[np.int64]
    columns: Columns
    texts: tuple[ByteColumn, ...]
    keys: ByteColumn
    values: ByteColumn

    def users(self) -> list[bytes]:
        """Each one's `user_id`, which is its record's key."""
        return list(self.keys.take(self.rows))  # none is None: it were refused

    def full(self, at: int) -> Transaction:
        """One with all its fields, decoded again."""
        row = int(self.rows[at])
        found = decode(self.keys[row], self.values[row])
        assert isinstance(found, Transaction)
        return found

    def take(self, chosen: NDArray[np.int64]) -> "Payments":
        """Some of them, in this order."""
        if len(chosen) == len(self.rows):
            return self
        return Payments(
            self.rows[chosen],
            Columns(self.columns.records[chosen]),
            tuple(text.take(chosen) for text in self.texts),
            self.keys,
            self.values,
        )


def read_payments(
    key_rows: Sequence[bytes | None] | ByteColumn,
    value_rows: Sequence[bytes | None] | ByteColumn,
    offsets: Sequence[int] | NDArray[np.int64],
    time_zone: str = "UTC",
) -> tuple[Payments, Refused]:
    """The payments among records, and the rows of the others with the reasons."""
    keys, values = ByteColumn.of(key_rows), ByteColumn.of(value_rows)
    records = np.empty(len(values), EVENT)
    spans = np.empty((len(values), len(CARRIED), 2), np.int64)
    is_read = read_plain(keys.arrays, values.arrays, records, spans)
    data = bytes(values.data) + _NULL
    refused: Refused = []
    is_plain = bool(is_read.all())
    if not is_plain:
        others = np.flatnonzero(~is_read).tolist()
        decoded = [(row, decode(keys[row], values[row])) for row in others]
        refused = [(row, one) for row, one in decoded if isinstance(one, Rejected)]
        found = {row: one for row, one in decoded if isinstance(one, Transaction)}
        data += _place(found, records, spans, len(data))
        is_read[list(found)] = True
    records["offset"] = offsets
    texts = tuple(ByteColumn(data, spans[:, i, 0], spans[:, i, 1]) for i in range(len(CARRIED)))
    payments = Payments(np.arange(len(values)), Columns(records), texts, keys, values)
    if not is_plain:
        payments = payments.take(np.flatnonzero(is_read))
    set_local_times(payments.columns.records, time_zone)
    return payments, refused


def _place(
    found: dict[int, Transaction], records: NDArray[Any], spans: NDArray[np.int64], at: int
) -> bytes:
    """Put decoded transactions in their rows; the texts, which `spans` finds from `at` on."""
    rows, transactions, data = list(found), list(found.values()), b""
    records[rows] = columns_of(transactions, rows).records
    for place, name in enumerate(CARRIED):
        texts = json_values([getattr(one, name) for one in transactions])
        spans[rows, place, 0] = texts.starts + at + len(data)
        spans[rows, place, 1] = texts.ends + at + len(data)
        data += bytes(texts.data)
    return data
