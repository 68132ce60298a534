"""Records of a topic as verdicts that every sink can take."""

from datetime import datetime

import msgspec

from streamapp.domain.verdict import decode_verdict
from streamapp.sinks.protocol import StoredVerdict


def stored_verdict(payload: bytes | None, partition: int, offset: int) -> StoredVerdict | None:
    """The verdict, or None where the record is not verdict v1 with an event time in RFC 3339."""
    if payload is None:
        return None
    try:
        verdict = decode_verdict(payload)
        zone = datetime.fromisoformat(verdict.timestamp).tzinfo
    except (msgspec.DecodeError, ValueError):
        return None
    return StoredVerdict(verdict, payload, partition, offset) if zone is not None else None
