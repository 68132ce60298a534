"""Records of a topic as verdicts that every sink can take."""

from datetime import datetime
from typing import cast

import msgspec
from confluent_kafka import Message

from streamapp.domain.erasure import is_erasure
from streamapp.domain.verdict import decode_verdict
from streamapp.sinks.protocol import Erased, Headers, StoredVerdict


def stored_record(message: Message, partition: int, offset: int) -> StoredVerdict | Erased | None:
    """A verdict, or a user to forget; None of what is neither."""
    payload, headers = message.value(), cast(Headers, message.headers() or ())
    if payload is None and is_erasure(headers):
        return Erased((message.key() or b"").decode("utf-8", "replace"), partition)
    return stored_verdict(payload, partition, offset, headers)


def stored_verdict(
    payload: bytes | None, partition: int, offset: int, headers: Headers
) -> StoredVerdict | None:
    """The verdict, or None where the record is not verdict v1 with an event time in RFC 3339."""
    if payload is None:
        return None
    try:
        verdict = decode_verdict(payload)
        zone = datetime.fromisoformat(verdict.timestamp).tzinfo
    except (msgspec.DecodeError, ValueError):
        return None
    if zone is None:
        return None
    return StoredVerdict(verdict, payload, partition, offset, headers)
