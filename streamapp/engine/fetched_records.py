"""Records as they are fetched: as columns, whatever stands in their headers.

aiokafka makes an object of each record, which costs more than all the rest of reading it, and gives
a partition up where a header's name is no UTF-8, though brokers and other clients take any bytes.
What is committed, aborted or a marker stays aiokafka's to know.
"""

import struct
from collections.abc import Iterator, Sequence
from io import UnsupportedOperation
from typing import Any, Final

from aiokafka import codec
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords

from streamapp.engine.record_columns import FetchedRecord, RecordColumns

#: Up to and with the length, which counts what follows it.
_LENGTH: Final = struct.Struct(">8xi")
_BATCH_HEADER_BYTES: Final = 61
_DECODERS: Final = {
    DefaultRecordBatch.CODEC_NONE: bytes,
    DefaultRecordBatch.CODEC_GZIP: codec.gzip_decode,
    DefaultRecordBatch.CODEC_SNAPPY: codec.snappy_decode,
    DefaultRecordBatch.CODEC_LZ4: codec.lz4_decode,
    DefaultRecordBatch.CODEC_ZSTD: codec.zstd_decode,
}


class _Block:
    """All records of a batch, where aiokafka's reader of partitions expects one."""

    def __init__(self, columns: RecordColumns) -> None:
        self.columns = columns
        self.offset = int(columns.offsets[-1])


class _Batch:
    """aiokafka's record batch, whose records come in one block."""

    def __init__(self, batch: Any, content: memoryview) -> None:
        self._batch = batch
        self._content = content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[_Block]:
        is_old = not isinstance(self._batch, DefaultRecordBatch)  # of before Kafka 0.11
        columns = RecordColumns.of(list(self._batch)) if is_old else records(self._content)
        if len(columns):
            yield _Block(columns)


class Batches:
    """The record batches of a fetched partition, in the manner of aiokafka's `MemoryRecords`."""

    def __init__(self, content: bytes) -> None:
        self._known = MemoryRecords(content)
        self._content = memoryview(content)
        self._at = 0

    def size_in_bytes(self) -> int:
        """Of all, a last one that was cut off included."""
        return int(self._known.size_in_bytes())

    def has_next(self) -> bool:
        """Whether another whole one follows."""
        return bool(self._known.has_next())

    def next_batch(self) -> Any:
        """The next one, or None."""
        batch = self._known.next_batch()
        start = self._at
        if batch is None:
            return None
        self._at += _LENGTH.size + _LENGTH.unpack_from(self._content, start)[0]
        return _Batch(batch, self._content[start : self._at])


class PartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka has no types
    """Gives `RecordColumns`, one for each batch, of what follows the position."""

    def _consumer_record(self, tp: Any, block: _Block) -> RecordColumns:
        return block.columns.from_offset(self.next_fetch_offset).of_place(*tp)


class FetchResult(fetcher.FetchResult):  # type: ignore[misc]
    """What was fetched of a partition, given in columns."""

    _partition_records: Any
    _rest: RecordColumns | None = None

    def getall(self, max_records: int | None = None) -> Sequence[FetchedRecord]:
        """Records up to the bound, or all; the position moves behind them."""
        if not self.check_assignment(self._topic_partition) or not self.has_more():
            return []
        found: list[RecordColumns] = []
        room = max_records
        while room is None or room > 0:
            block = self._rest or next(self._partition_records, None)
            self._rest = None
            if block is None:
                self._update_position()
                self._partition_records = None
                break
            if room is not None:
                block, self._rest = block[:room], block[room:] or None
                room -= len(block)
            found.append(block)
            self._partition_records.next_fetch_offset = int(block.offsets[-1]) + 1
            self._update_position()
        return RecordColumns.joined(found) if found else []

    def getone(self) -> Any:
        """Refused: records are read in columns."""
        raise UnsupportedOperation("records are read in columns: use getmany")


def records(content: memoryview) -> RecordColumns:
    """The records of a batch (Kafka protocol guide, "Record Batch", magic 2).

    Raises CorruptRecordException.
    """
    batch = DefaultRecordBatch(content)
    decode = _DECODERS[batch.compression_type]
    data = bytes(decode(bytes(content[_BATCH_HEADER_BYTES:])))
    count = int.from_bytes(content[_BATCH_HEADER_BYTES - 4 : _BATCH_HEADER_BYTES], "big")
    found = RecordColumns.read(data, count, batch.base_offset, batch.first_timestamp)
    if batch.timestamp_type:  # the broker's: one time for the whole batch
        found.times_ms[:] = batch.max_timestamp
    return found


def install() -> None:
    """Have aiokafka's consumers of this process read records this way."""
    fetcher.MemoryRecords = Batches
    fetcher.PartitionRecords = PartitionRecords
    fetcher.FetchResult = FetchResult
