"""Records of a topic as verdicts that every sink can take."""

from datetime import datetime
from typing import cast

import msgspec
from confluent_kafka import Message

from streamapp.domain.erasure import is_erasure
from streamapp.domain.verdict import decode_verdict
from streamapp.sinks.protocol import Erased, StoredVerdict

Headers = list[tuple[str, object]]


def stored_record(message: Message, partition: int, offset: int) -> StoredVerdict | Erased | None:
    """A verdict, or a user to forget; None of what is neither."""
    payload = message.value()
    if payload is None and is_erasure(cast(Headers, message.headers() or [])):
        return Erased((message.key() or b"").decode("utf-8", "replace"), partition)
    return stored_verdict(payload, partition, offset)


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
