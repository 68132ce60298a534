"""The finished files of one partition: what they hold, and how a new one joins them.

    <directory>/partition-0003/00000000000000081250.parquet
                               offset of its first verdict in the topic

A file appears under its name complete and durable, or not at all, and only if no file of that name
is there. Its footer says the last offset and the range of source offsets it holds, so the files
themselves are the record of what is stored: no second bookkeeping can disagree with them.
"""

import errno
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from streamapp.domain.verdict import Verdict
from streamapp.sinks.parquet.settings import ParquetSettings
from streamapp.sinks.protocol import Fatal, Retryable

#: Topic and partition of the transactions that verdicts answer.
SourceKey = tuple[str, int]

_FOOTER_KEY: Final = b"streamapp.sink"
_PARTIAL: Final = ".partial"
#: A full disk or a network file system out of reach passes; a refused permission does not.
_PASSING: Final = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EIO,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.EAGAIN,
    errno.EMFILE,
    errno.ENFILE,
}


class Range(msgspec.Struct, frozen=True):
    """Lowest and highest source offset of one source partition in a file."""

    topic: str
    partition: int
    low: int
    high: int


class Footer(msgspec.Struct, frozen=True):
    """What a file says of itself."""

    first: int
    last: int
    sources: list[Range]


def source_key(verdict: Verdict) -> SourceKey:
    """Where the verdict's transaction comes from, without its offset."""
    return verdict.source.topic, verdict.source.partition


def divided(error: OSError) -> Retryable | Fatal:
    """The sink's error for a failed file operation."""
    reason = f"writing Parquet files: {error.strerror or error}"
    return Retryable(reason) if error.errno in _PASSING else Fatal(reason)


class Shelf:
    """Finished files of one partition, oldest first."""

    def __init__(self, settings: ParquetSettings, partition: int) -> None:
        """Read the footers of all files; remove what a crash left half written."""
        self._settings = settings
        self._folder = settings.directory / f"partition-{partition:04d}"
        self._folder.mkdir(parents=True, exist_ok=True)
        for leftover in self._folder.glob(f"*{_PARTIAL}"):
            leftover.unlink(missing_ok=True)
        self._files = [(path, _footer(path)) for path in sorted(self._folder.glob("*.parquet"))]

    @property
    def last(self) -> int:
        """The highest topic offset that a file holds; -1 without files."""
        return max((footer.last for _, footer in self._files), default=-1)

    def high_water(self) -> dict[SourceKey, int]:
        """The highest source offset stored, per source partition."""
        highest: dict[SourceKey, int] = {}
        for _, footer in self._files:
            for span in footer.sources:
                key = (span.topic, span.partition)
                highest[key] = max(span.high, highest.get(key, -1))
        return highest

    def stored(self, key: SourceKey, offsets: Collection[int]) -> set[int]:
        """Those of the source offsets that some file holds."""
        low, high = min(offsets), max(offsets)
        found: set[int] = set()
        for path, footer in reversed(self._files):
            spans = [s for s in footer.sources if (s.topic, s.partition) == key]
            if any(s.low <= high and low <= s.high for s in spans):
                found |= _source_offsets(path, key, low, high).intersection(offsets)
            if len(found) == len(offsets):
                break
        return found

    def add(self, table: Any, footer: Footer) -> None:
        """Put a table on the shelf as one durable file.

        Raises Retryable if the disk is full, Fatal if another process wrote the same place first.
        """
        final = self._folder / f"{footer.first:020d}.parquet"
        partial = self._folder / f".{final.name}.{os.getpid()}{_PARTIAL}"
        try:
            self._write(table, footer, partial)
            # A hard link fails where rename would silently replace another process's file.
            os.link(partial, final)
            _sync(self._folder)
        except FileExistsError:
            raise Fatal(f"{final.name}: another process stores the same partition") from None
        except OSError as error:
            raise divided(error) from error
        finally:
            partial.unlink(missing_ok=True)
        self._files.append((final, footer))

    def _write(self, table: Any, footer: Footer, partial: Path) -> None:
        schema = table.schema.with_metadata({_FOOTER_KEY: msgspec.json.encode(footer)})
        writer = pq.ParquetWriter(
            partial,
            schema,
            compression="zstd",
            compression_level=self._settings.compression_level,
        )
        with writer:
            writer.write_table(table.cast(schema), row_group_size=self._settings.row_group_rows)
        _sync(partial)


def _footer(path: Path) -> Footer:
    try:
        metadata = pq.read_schema(path).metadata or {}
        return msgspec.json.decode(metadata[_FOOTER_KEY], type=Footer)
    except (pa.ArrowException, KeyError, msgspec.DecodeError, OSError) as error:
        raise Fatal(f"{path} is not a file of this sink; move it out of the directory") from error


def _source_offsets(path: Path, key: SourceKey, low: int, high: int) -> set[int]:
    wanted = (
        (pc.field("source_topic") == key[0])
        & (pc.field("source_partition") == key[1])
        & (pc.field("source_offset") >= low)
        & (pc.field("source_offset") <= high)
    )
    table = pq.read_table(path, columns=["source_offset"], filters=wanted, partitioning=None)
    return set(table["source_offset"].to_pylist())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
