"""A verdict as the columns of its row, in text that PostgreSQL accepts."""

from typing import Any, Final

import msgspec

from streamapp.domain.verdict import Verdict
from streamapp.sinks.protocol import StoredVerdict

COLUMNS: Final = (
    "verdict_id",
    "tx_id",
    "user_id",
    "event_time",
    "amount",
    "merchant_id",
    "risk_score",
    "severity",
    "is_anomaly",
    "recommended_action",
    "mode",
    "duplicate_of",
    "source_topic",
    "source_partition",
    "source_offset",
    "verdict",
    "verdict_exact",
)

#: PostgreSQL has no U+0000 in text or jsonb; this one stands in for it.
_REPLACEMENT = "\ufffd"


def row_of(stored: StoredVerdict) -> tuple[Any, ...]:
    """The values of COLUMNS. Where U+0000 occurs the published bytes go along unchanged."""
    # In JSON U+0000 can only stand as this escape; a false alarm (an escaped backslash before
    # "u0000") costs a copy, not correctness.
    if b"\\u0000" not in stored.payload:
        return _columns(stored.verdict, stored.payload.decode(), None)
    plain = _without_nul(msgspec.json.decode(stored.payload))
    verdict = msgspec.convert(plain, Verdict)
    return _columns(verdict, msgspec.json.encode(plain).decode(), stored.payload)


def stored_text(text: str) -> str:
    """A text as a column holds it."""
    return text.replace("\0", _REPLACEMENT)


def _columns(verdict: Verdict, text: str, exact: bytes | None) -> tuple[Any, ...]:
    return (
        verdict.verdict_id,
        verdict.tx_id,
        verdict.user_id,
        verdict.timestamp,
        verdict.amount,
        verdict.merchant_id,
        verdict.risk_score,
        verdict.severity.value,
        verdict.is_anomaly,
        verdict.recommended_action,
        verdict.mode,
        verdict.duplicate_of,
        verdict.source.topic,
        verdict.source.partition,
        verdict.source.offset,
        text,
        exact,
    )


def _without_nul(value: Any) -> Any:
    """The same JSON value with U+0000 replaced in every string and key."""
    if isinstance(value, str):
        return stored_text(value)
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(item) for key, item in value.items()}
    return value
