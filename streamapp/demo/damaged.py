"""Damaged messages, one of each kind, mixed into the demo's traffic to fill the dead letters."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from streamapp.replay.columns import LABEL_UNKNOWN
from streamapp.replay.reader import TIME_UNKNOWN, RecordedBatch

_GOOD: Final = b'{"tx_id":"d0","user_id":"damaged","amount":1.5,"timestamp":"2020-01-01T00:00:00Z"}'

#: Key and value of each; the last claims a time far ahead of its partition's stream time.
DAMAGED: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b"damaged", b""),
    (b"damaged", b"not json"),
    (b"damaged", b"[1, 2, 3]"),
    (b"damaged", _GOOD.replace(b"damaged", b"dam\xffged")),
    (b"damaged", _GOOD.replace(b'"amount":1.5,', b"")),
    (b"damaged", _GOOD.replace(b"1.5", b'"1.5"')),
    (b"damaged", _GOOD.replace(b"1.5", b"-1.5")),
    (b"damaged", _GOOD.replace(b"1.5", b"NaN")),
    (b"damaged", _GOOD.replace(b"Z", b"")),
    (b"somebody else", _GOOD),
    (b"damaged", _GOOD.replace(b"}", b',"note":"' + b"x" * 70_000 + b'"}')),
    (b"damaged", _GOOD.replace(b"2020", b"2120")),
)


def with_damaged(batches: Iterator[RecordedBatch], after: int) -> Iterator[RecordedBatch]:
    """The batches, with every damaged message once behind the first `after` of them."""
    for number, batch in enumerate(batches, start=1):
        yield batch
        if number == after:
            yield RecordedBatch(
                [key for key, _ in DAMAGED],
                [value for _, value in DAMAGED],
                np.full(len(DAMAGED), TIME_UNKNOWN, dtype=np.int64),
                np.full(len(DAMAGED), LABEL_UNKNOWN, dtype=np.int8),
            )
