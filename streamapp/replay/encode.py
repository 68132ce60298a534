"""The one canonical mapping from columns to the bytes of transaction v1.

The streamed run and the brokerless run both take their bytes from here, so they see the same.
Canonical: fields in the order of `Transaction`, absent ones left out, shortest float that reads
back equal, time as RFC 3339 in UTC with `Z`, milliseconds only where they are not zero.

Sketch: 0.6 µs a row on one core (213 ns time, 186 ns JSON, 62 ns rows, the rest columns), so
columns are zipped into structs by `map` and encoded in one call a batch.
"""

from collections.abc import Mapping, Sequence
from functools import cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamapp.domain.transaction import Transaction, epoch_ms

#: Names of the transaction's fields, in canonical order.
FIELDS = tuple(field.name for field in msgspec.structs.fields(Transaction))

_encoder = msgspec.json.Encoder()


def encode_columns(columns: Mapping[str, Sequence[object]]) -> list[bytes]:
    """Encode one batch of columns of equal length; None where a row has no value.

    `timestamp` must already be text (see `rfc3339_column`); every name must be in `FIELDS`.
    """
    assert columns.keys() <= set(FIELDS), f"not fields of a transaction: {[*columns]}"
    names = tuple(name for name in FIELDS if name in columns)
    assert len({len(values) for values in columns.values()}) == 1, "columns differ in length"
    rows = list(map(_row_type(names), *(columns[name] for name in names)))
    # A newline inside a JSON string is escaped, so a bare one only ends a row.
    return _encoder.encode_lines(rows).split(b"\n")[:-1]


def encode_transaction(transaction: Transaction) -> bytes:
    """Encode one transaction; decoding gives it back with its time in UTC, whole milliseconds."""
    columns = {name: [getattr(transaction, name)] for name in FIELDS}
    time_ms = np.array([epoch_ms(transaction.timestamp)], dtype=np.int64)
    return encode_columns(columns | {"timestamp": rfc3339_column(time_ms)})[0]


def rfc3339_column(time_ms: NDArray[np.int64]) -> list[str]:
    """Epoch milliseconds as RFC 3339 in UTC; milliseconds are written only where not zero."""
    moments = time_ms.astype("datetime64[ms]")
    texts: list[str] = np.datetime_as_string(moments, unit="s", timezone="UTC").tolist()
    for row in np.flatnonzero(time_ms % 1000):
        texts[row] = str(np.datetime_as_string(moments[row], unit="ms", timezone="UTC"))
    return texts


@cache
def _row_type(names: tuple[str, ...]) -> type[msgspec.Struct]:
    """A struct of just these fields, so that a row is made by position at C speed."""
    return msgspec.defstruct(
        "Row", [(name, object, None) for name in names], omit_defaults=True, gc=False
    )
