"""Records that say a user was erased, and how old the erasure is.

On the topic of verdicts: key, no value, and the place of the erasure in the source. In the
changelog: key, no value, and the source offset of the state it was committed with; a tombstone
without one is an operator's (`streamapp state repair`) and begins anew.
"""

from collections.abc import Iterable
from typing import Final

from aiokafka.structs import ConsumerRecord

from streamapp.domain.erasure import SCHEMA
from streamapp.engine.record_batch import Header, Message

_TOPIC: Final = "erasure.topic"
_PARTITION: Final = "erasure.partition"
_OFFSET: Final = "erasure.offset"
#: Of a tombstone in the changelog.
_STATE_OFFSET: Final = "source_offset"


def tombstone(erasure: ConsumerRecord) -> Message:
    """What readers of verdicts are told of an erasure."""
    headers: list[Header] = [
        SCHEMA,
        (_TOPIC, erasure.topic.encode()),
        (_PARTITION, str(erasure.partition).encode()),
        (_OFFSET, str(erasure.offset).encode()),
    ]
    return erasure.key, None, headers


def erased_at(headers: Iterable[tuple[str, bytes]]) -> tuple[str, int] | None:
    """Topic and offset of the erasure that a record of verdicts is about; None of any other.

    Raises ValueError where they can't be read.
    """
    found = dict(headers)
    if _OFFSET not in found:
        return None
    return found[_TOPIC].decode(), int(found[_OFFSET])


def state_headers(source_offset: int) -> list[Header]:
    """Headers of a tombstone in the changelog."""
    return [(_STATE_OFFSET, str(source_offset).encode())]


def state_offset(headers: Iterable[tuple[str, bytes]]) -> int | None:
    """Source offset of the state that a changelog's tombstone belongs to; None of an operator's."""
    found = dict(headers).get(_STATE_OFFSET, b"")
    return int(found) if found.isdigit() else None
