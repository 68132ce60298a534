"""Erasure v1: a record among a user's transactions that has the stream forget the user.

Readers of verdicts are told by a tombstone: the user's key, no value, and headers.
"""

from collections.abc import Iterable
from typing import Final, Literal, Protocol

import msgspec

from streamapp.domain.transaction import Identifier

#: Every erasure begins so; no other record is looked at twice.
PREFIX: Final = b'{"erase":'

#: Header of a tombstone among verdicts.
SCHEMA: Final = ("schema", b"erasure/1")


class Rows(Protocol):
    """Byte strings or None."""

    def __len__(self) -> int: ...
    def __getitem__(self, row: int, /) -> bytes | None: ...


class Erasure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Forget the profile of the user whose key the record has."""

    erase: Literal["profile"]
    user_id: Identifier


_decode: Final = msgspec.json.Decoder(Erasure).decode


def erasure(user_id: str) -> bytes:
    """The record's value; its key is the user_id in UTF-8, as of any transaction."""
    return msgspec.json.encode(Erasure("profile", user_id))


def erasure_rows(keys: Rows, values: Rows) -> list[int]:
    """Which records are erasures; what only looks like one is refused as any bad transaction."""
    return [row for row in range(len(values)) if _is_erasure(keys[row], values[row])]


def is_erasure(headers: Iterable[tuple[str, object]]) -> bool:
    """Whether a record without a value says that its user was erased."""
    return any(header == SCHEMA for header in headers)


def _is_erasure(key: bytes | None, value: bytes | None) -> bool:
    if value is None or not value.startswith(PREFIX):
        return False
    try:
        return _decode(value).user_id.encode() == key
    except (msgspec.DecodeError, UnicodeError):
        return False
