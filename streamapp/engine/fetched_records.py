"""Records of the source as they are fetched: whatever stands in their headers, and at less cost.

aiokafka reads a header's name as UTF-8 and gives the partition up where it is none, though brokers
and other clients take any bytes. And it makes eleven fields of each record, of which we need six.
"""

import struct
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from aiokafka import codec
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint

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


class FetchedRecord(msgspec.Struct, gc=False):
    """A record with what the engine reads of aiokafka's `ConsumerRecord`."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


class _Record(msgspec.Struct, gc=False):
    """What aiokafka's reader of partitions asks of a record."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


class _Batch:
    """aiokafka's record batch, read by ourselves where it can't."""

    def __init__(self, batch: Any, content: memoryview) -> None:
        self._batch = batch
        self._content = content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        try:
            return iter(list(self._batch))
        except (UnicodeDecodeError, CorruptRecordException):
            return iter(records(self._content))


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
        is_old = not isinstance(batch, DefaultRecordBatch)  # of before Kafka 0.11: no headers
        return batch if is_old else _Batch(batch, self._content[start : self._at])


class PartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka has no types
    """Gives `FetchedRecord`s; what is aborted and what are markers stays aiokafka's to know."""

    def _consumer_record(self, tp: Any, record: Any) -> FetchedRecord:
        return FetchedRecord(
            tp.topic,
            tp.partition,
            record.offset,
            record.timestamp,
            record.key,
            record.value,
            tuple(record.headers),
        )


def records(content: memoryview) -> list[_Record]:
    """The records of a batch (Kafka protocol guide, "Record", magic 2).

    Bytes of a header's name that are no UTF-8 are written as escapes. Raises
    CorruptRecordException.
    """
    batch = DefaultRecordBatch(content)
    decode = _DECODERS[batch.compression_type]
    reader = _Reader(bytes(decode(bytes(content[_BATCH_HEADER_BYTES:]))))
    try:
        found = [reader.record(batch.base_offset, batch.first_timestamp) for _ in _count(content)]
    except (ValueError, IndexError) as error:
        raise CorruptRecordException(f"Found invalid record structure: {error!r}") from error
    if batch.timestamp_type:  # the broker's: one time for the whole batch
        for record in found:
            record.timestamp = batch.max_timestamp
    return found


def _count(content: memoryview) -> range:
    return range(int.from_bytes(content[_BATCH_HEADER_BYTES - 4 : _BATCH_HEADER_BYTES], "big"))


class _Reader:
    """Reads records off the bytes of an uncompressed batch."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def record(self, base_offset: int, first_timestamp: int) -> _Record:
        """The next one."""
        length = self._number()
        end = self._at + length
        self._at += 1  # attributes, of which none is defined
        timestamp, offset = first_timestamp + self._number(), base_offset + self._number()
        key, value = self._field(), self._field()
        headers = [(self._name(), self._field()) for _ in range(self._number())]
        if self._at != end:
            raise ValueError(f"a record of {length} bytes ends after {self._at - end + length}")
        return _Record(offset, timestamp, key, value, headers)

    def _number(self) -> int:
        value, self._at = decode_varint(self._content, self._at)
        return int(value)

    def _field(self) -> bytes | None:
        size = self._number()
        if size < 0:
            return None
        start, self._at = self._at, self._at + size
        if self._at > len(self._content):
            raise ValueError("a field reaches beyond the batch")
        return self._content[start : self._at]

    def _name(self) -> str:
        name = self._field()
        if name is None:
            raise ValueError("a header without a name")
        return name.decode(errors="backslashreplace")


def install() -> None:
    """Have aiokafka's consumers of this process read records this way."""
    fetcher.MemoryRecords = Batches
    fetcher.PartitionRecords = PartitionRecords
