"""Payments of any number of users, with any skew, made from the shipped sample.

A user is a copy of one of the sample's 160: each of their payments takes amount, merchant,
category and label of one of that user's, drawn at random. Who pays next is drawn by Zipf's law over
the users (exponent 0: all alike), or, for a share of the payments, is always the same one. Event
time advances so that a user makes 2.5 payments a day on average, as in the sample, or where some
pay far more than others, so that the busiest makes 8 or all make 400, whichever is more. The same
crowd and seed give the same bytes.

Sketch: 1.5 to 2.5 µs a payment, so they are made before a measurement, see `recording`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from streamapp.features.contract import DAY_MS
from streamapp.replay.encode import encode_columns, rfc3339_column
from streamapp.replay.reader import RecordedBatch
from streamapp.replay.sample import sample

PAYMENTS_PER_USER_AND_DAY = 2.5
#: Of the busiest user: where each payment comes minutes after the last, all are suspicious,
#: and explaining them costs more than anything that is to be measured.
PAYMENTS_A_DAY_MAX = 8.0
#: Of all users: a partition that has none for a day refuses the next as too far ahead. With 20 a
#: day in each of four, and four fifths of them by one user, that doesn't come about.
PAYMENTS_A_DAY_MIN = 400.0
FIRST_TIME_MS = 1_735_689_600_000  # 2025-01-01T00:00:00Z
BATCH_ROWS = 2_048


class Crowd(msgspec.Struct, frozen=True, kw_only=True):
    """Who pays: `users` of them, by Zipf's law with exponent `skew`; user 0 for `hot_share`.

    first_day: when the payments begin, in days. A jump of more than one is refused by a worker.
    """

    users: int = 160
    skew: float = 0.0
    hot_share: float = 0.0
    first_day: float = 0.0
    seed: int = 1

    def shares(self) -> NDArray[np.float64]:
        """Each user's share of the payments (users,), but for the hot key's."""
        weights: NDArray[np.float64] = np.arange(1, self.users + 1, dtype=np.float64) ** -self.skew
        weights /= weights.sum()
        return weights

    @property
    def payments_per_day(self) -> float:
        """Of all users, in event time."""
        busiest = self.hot_share + (1 - self.hot_share) * float(self.shares()[0])
        slow = max(PAYMENTS_A_DAY_MAX / busiest, PAYMENTS_A_DAY_MIN)
        return min(PAYMENTS_PER_USER_AND_DAY * self.users, slow)

    def after(self, payments: int) -> "Crowd":
        """The same crowd from when it has made so many payments."""
        days = payments / self.payments_per_day
        return msgspec.structs.replace(self, first_day=self.first_day + days)


def user_name(number: int) -> str:
    """The `user_id` of a user of the crowd, always of the same length."""
    return f"c{number:07d}"


def transaction_name(seed: int, number: int) -> str:
    """The `tx_id` of a payment, always of the same length; crowds of different seeds share none."""
    return f"t{seed:03d}{number:09d}"


def payments(crowd: Crowd, first: int = 0) -> Iterator[RecordedBatch]:
    """The crowd's payments from number `first` (a multiple of BATCH_ROWS) on, without end."""
    assert first % BATCH_ROWS == 0, "a batch draws from a seed of its own"
    content, names = _Content.of_sample(), list(map(user_name, range(crowd.users)))
    shares, gap_ms = np.cumsum(crowd.shares()), DAY_MS / crowd.payments_per_day
    while True:
        rng = np.random.default_rng((crowd.seed, first))
        users = np.searchsorted(shares[:-1], rng.random(BATCH_ROWS), side="right")
        users[rng.random(BATCH_ROWS) < crowd.hot_share] = 0
        yield _batch(crowd, content, names, first, users, rng, gap_ms)
        first += BATCH_ROWS


@dataclass(frozen=True, slots=True)
class _Content:
    """What the sample's users pay, user by user."""

    amounts: NDArray[np.float64]
    merchants: list[str]
    categories: list[str]
    is_fraud: NDArray[np.int8]
    first_rows: NDArray[np.int64]
    row_counts: NDArray[np.int64]

    @classmethod
    def of_sample(cls) -> "_Content":
        table = pq.read_table(sample()).sort_by("user_id")
        _, first_rows, row_counts = np.unique(
            table["user_id"].to_numpy(), return_index=True, return_counts=True
        )
        return cls(
            table["amount"].to_numpy(),
            list(map(str, table["merchant_id"].to_pylist())),
            table["category"].to_pylist(),
            table["is_fraud"].to_numpy(),
            first_rows,
            row_counts,
        )

    def rows(self, users: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """For each user a row of the one they copy."""
        copied = users % len(self.first_rows)
        drawn = (rng.random(len(users)) * self.row_counts[copied]).astype(np.int64)
        return self.first_rows[copied] + drawn


def _batch(
    crowd: Crowd,
    content: _Content,
    names: list[str],
    first: int,
    users: NDArray[np.int64],
    rng: np.random.Generator,
    gap_ms: float,
) -> RecordedBatch:
    numbers = range(first, first + len(users))
    # Whole seconds, as in the sample.
    since_ms = (np.array(numbers) * gap_ms).astype(np.int64) // 1000 * 1000
    time_ms = FIRST_TIME_MS + int(crowd.first_day * DAY_MS) // 1000 * 1000 + since_ms
    rows = content.rows(users, rng)
    chosen, taken = rows.tolist(), [names[user] for user in users.tolist()]
    values = encode_columns(
        {
            "tx_id": [transaction_name(crowd.seed, number) for number in numbers],
            "user_id": taken,
            "amount": content.amounts[rows].tolist(),
            "timestamp": rfc3339_column(time_ms),
            "merchant_id": [content.merchants[row] for row in chosen],
            "merchant_category": [content.categories[row] for row in chosen],
        }
    )
    keys = [name.encode() for name in taken]
    return RecordedBatch(keys, values, time_ms, content.is_fraud[rows])
