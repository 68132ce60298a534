"""Verdicts to feed sinks with."""

from collections.abc import Sequence
from typing import Any

import msgspec

from streamapp.domain.transaction import rfc3339
from streamapp.domain.verdict import (
    MemberScore,
    Reason,
    Scores,
    Severity,
    Source,
    Verdict,
    Versions,
    verdict_id,
)
from streamapp.sinks.protocol import StoredVerdict

START_MS = 1_546_300_800_000
FEATURES = [f"feature_{number:02d}" for number in range(30)]


def verdict(offset: int, partition: int = 0, **changes: Any) -> Verdict:
    """A verdict on the transaction at this source offset, one minute after the one before."""
    source = Source("transactions", partition, offset)
    values: dict[str, Any] = {
        "verdict_id": verdict_id(source.topic, partition, offset),
        "tx_id": f"tx-{partition}-{offset}",
        "user_id": f"user-{offset % 100}",
        "timestamp": rfc3339(START_MS + 60_000 * offset),
        "risk_score": 71.5,
        "severity": Severity.HIGH,
        "is_anomaly": True,
        "recommended_action": "review",
        "mode": "model",
        "scores": Scores(MemberScore(0.61, 0.004), MemberScore(0.93, 0.01)),
        "reasons": [
            Reason("log_amount", 5.2, 1.6, 0.7, "amount 37× this user's usual"),
            Reason("velocity_ratio", 9.0, None, 0.2, "9 payments in 5 min, usually 1"),
        ],
        "features": dict.fromkeys(FEATURES, offset + 0.25),
        "versions": Versions("m1", "r1", "c1", "f1"),
        "source": source,
        "amount": 1234.5,
        "currency": "EUR",
        "merchant_id": "m-7",
    }
    return Verdict(**{**values, **changes})


def stored(answer: Verdict, offset: int | None = None) -> StoredVerdict:
    """The verdict as read from its topic, by default at the offset of its transaction."""
    place = answer.source.offset if offset is None else offset
    return StoredVerdict(answer, msgspec.json.encode(answer), answer.source.partition, place)


def run_of(count: int, first: int = 0, partition: int = 0) -> Sequence[StoredVerdict]:
    """That many verdicts in a row, each at the offset of its transaction."""
    return [stored(verdict(offset, partition)) for offset in range(first, first + count)]
