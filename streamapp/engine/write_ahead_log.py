"""Whether RocksDB's write-ahead logs go on where its tables end.

RocksDB verifies the records of a log, but not that none is missing before it: where its manifest
has lost its end, or a log has, it opens with a hole, and newer writes hide the loss. The sequence
numbers of the records tell. Format: 32 KiB blocks of records (CRC-32 4, length 2, type 1, data);
the data of a write begin with its first sequence number (8) and its number of entries (4).
"""

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_BLOCK_BYTES: Final = 32 * 1024
_RECORD: Final = struct.Struct("<IHB")
_WRITE: Final = struct.Struct("<QI")
_FULL: Final = 1
_FIRST: Final = 2

#: In RocksDB's own journal, which begins anew with each opening.
_RECOVERED: Final = re.compile(r"last_sequence is (\d+)")

Range = tuple[int, int]
"""First sequence number of a write, and the one after its last."""


def written(directory: Path) -> list[Range]:
    """The writes that stand in the logs, in order. To be read before the database is opened."""
    logs = sorted(directory.glob("*.log"), key=lambda file: int(file.stem))
    return [found for file in logs for found in _writes(file.read_bytes())]


def has_hole(directory: Path, writes: list[Range]) -> bool:
    """Whether anything is missing before one of the writes. To be asked once it is open."""
    if not writes:
        return False
    journal = (directory / "LOG").read_text("utf-8", errors="replace")
    recovered = _RECOVERED.search(journal)
    upcoming = int(recovered[1]) + 1 if recovered else 0
    for first, after in writes:
        if first > upcoming:
            return True
        upcoming = max(upcoming, after)
    return False


def _writes(log: bytes) -> Iterator[Range]:
    begun: bytes | None = None  # what there is of a write's first bytes: a block may end in them
    for kind, data in _records(log):
        if kind in (_FULL, _FIRST):
            begun = b""
        if begun is None:
            continue
        begun += data
        if len(begun) >= _WRITE.size:
            first, entries = _WRITE.unpack_from(begun)
            yield first, first + entries
            begun = None


def _records(log: bytes) -> Iterator[tuple[int, bytes]]:
    """Type of each physical record and the first bytes of its data."""
    for block in range(0, len(log), _BLOCK_BYTES):
        at, end = block, min(block + _BLOCK_BYTES, len(log))
        while at + _RECORD.size <= end:
            _, length, kind = _RECORD.unpack_from(log, at)
            if kind == 0 and length == 0:  # the rest of the block is padding
                break
            at += _RECORD.size
            yield kind, log[at : at + min(length, _WRITE.size)]
            at += length
