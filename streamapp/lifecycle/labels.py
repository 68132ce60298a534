"""Labels joined to payments: what was known of each payment, and since when.

A label counts from the time it became known and never before. Where labels of one payment
contradict each other, the one known last holds, from then on. A payment nobody has called fraud
counts as genuine once it is mature; before that nothing is known of it.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamapp.features.contract import DAY_MS

#: Age from which a payment without a label counts as genuine.
MATURITY_MS: Final = 30 * DAY_MS

#: What is known of a payment where nothing is.
UNKNOWN: Final = -1

_GOLDEN: Final = np.uint64(0x9E37_79B9_7F4A_7C15)


def payment_keys(tx: NDArray[np.uint64], user: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """What labels and payments are joined by (n): the hashes of tx_id and user_id in one number."""
    keys: NDArray[np.uint64] = tx + user.astype(np.uint64) * _GOLDEN
    return keys


@dataclass(frozen=True, slots=True)
class Labels:
    """n labels in the order they came. key: of the payment; known_ms: when it became known."""

    key: NDArray[np.uint64]
    is_fraud: NDArray[np.bool_]
    known_ms: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.key)


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """What became of labels.

    unknown: of no payment that is there. early: known before their payment, and taken as known
    with it. repeated: say what was known already. contradicting: say the opposite of an earlier
    label. late: call a payment fraud after it was mature.
    """

    labels: int
    unknown: int
    early: int
    repeated: int
    contradicting: int
    late: int


@dataclass(frozen=True, slots=True)
class Opinions:
    """What labels say of n payments, as a history.

    time_ms (n): of the payments. payment, known_ms, is_fraud (c): the opinions that changed what
    was known, each payment's in the order they became known.
    """

    time_ms: NDArray[np.int64]
    payment: NDArray[np.int64]
    known_ms: NDArray[np.int64]
    is_fraud: NDArray[np.bool_]
    counts: LabelCounts

    def at(self, moment_ms: int, maturity_ms: int = MATURITY_MS) -> NDArray[np.int8]:
        """What is known of each payment at a moment: 1 fraud, 0 genuine, UNKNOWN."""
        known = np.where(self.time_ms + maturity_ms <= moment_ms, 0, UNKNOWN).astype(np.int8)
        so_far = self.known_ms <= moment_ms
        # Of several opinions on one payment the last one written stays.
        known[self.payment[so_far]] = self.is_fraud[so_far]
        return known

    def fraud_changes(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """How many frauds more (1) or less (-1) a payment is, and since when.

        Three vectors: payment, known_ms, change. Until its first label a payment is no fraud.
        """
        before = np.zeros(len(self.payment), np.int64)
        again = np.flatnonzero(np.diff(self.payment) == 0) + 1
        before[again] = self.is_fraud[again - 1]
        change = self.is_fraud.astype(np.int64) - before
        moved = change != 0
        return self.payment[moved], self.known_ms[moved], change[moved]


def join(
    labels: Labels,
    keys: NDArray[np.uint64],
    time_ms: NDArray[np.int64],
    maturity_ms: int = MATURITY_MS,
) -> Opinions:
    """Join labels to the payments with these keys (n, distinct) and times (n)."""
    order = np.argsort(keys, kind="stable")
    at = np.searchsorted(keys[order], labels.key)
    found = np.zeros(len(labels), np.bool_)
    inside = at < len(keys)
    found[inside] = keys[order[at[inside]]] == labels.key[inside]
    payment, known_ms = order[at[found]], labels.known_ms[found]
    is_early = known_ms < time_ms[payment]
    known_ms = np.maximum(known_ms, time_ms[payment])
    # lexsort is stable: labels known at one time stay in the order they came.
    history = np.lexsort((known_ms, payment))
    payment, known_ms = payment[history], known_ms[history]
    is_fraud = labels.is_fraud[found][history]
    is_first = np.ones(len(payment), np.bool_)
    is_first[1:] = payment[1:] != payment[:-1]
    is_same = ~is_first & np.append(False, is_fraud[1:] == is_fraud[:-1])
    is_late = is_first & is_fraud & (known_ms >= time_ms[payment] + maturity_ms)
    changed = ~is_same
    counts = LabelCounts(
        labels=len(labels),
        unknown=int((~found).sum()),
        early=int(is_early.sum()),
        repeated=int(is_same.sum()),
        contradicting=int((changed & ~is_first).sum()),
        late=int(is_late.sum()),
    )
    return Opinions(time_ms, payment[changed], known_ms[changed], is_fraud[changed], counts)
