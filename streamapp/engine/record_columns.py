"""Fetched records of one partition as columns over the bytes they came in.

A Python object for each record costs more than reading it; most records are only ever looked at by
compiled loops. One that is asked for is made then.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, overload

import msgspec
import numpy as np
from aiokafka.errors import CorruptRecordException
from aiokafka.record.util import decode_varint
from numpy.typing import NDArray

from streamapp.engine.record_batch import Header, encoded_headers
from streamapp.features.compiled import copy_bytes, kernel
from streamapp.scoring.byte_column import ByteColumn

#: Columns of `spans`: where a record begins, key, value and headers (their number, then each), and
#: where it ends. What there is none of begins and ends at -1.
_BEGIN: Final = 0
_KEY: Final = 1
_VALUE: Final = 3
_HEADERS: Final = 5
_END: Final = 6
_SPANS: Final = 7

_NO_HEADERS: Final = 0

_CARRIED_MAX: Final = 8
#: So many headers are counted in one byte.
_COUNT_MAX: Final = 63


class FetchedRecord(msgspec.Struct, gc=False):
    """A record with what the engine reads of aiokafka's `ConsumerRecord`."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, eq=False)
class RecordColumns(Sequence[FetchedRecord]):
    """n records in offset order. spans (n, 7) int64: where their parts stand in `data`."""

    topic: str
    partition: int
    offsets: NDArray[np.int64]
    times_ms: NDArray[np.int64]
    data: bytes
    spans: NDArray[np.int64]

    @classmethod
    def read(cls, data: bytes, count: int, base_offset: int, first_ms: int) -> "RecordColumns":
        """So many records (Kafka protocol guide, "Record", magic 2); of no topic as yet.

        Raises CorruptRecordException.
        """
        rows = count if 0 <= count <= len(data) else 0
        offsets, times_ms = np.empty(rows, np.int64), np.empty(rows, np.int64)
        spans = np.empty((rows, _SPANS), np.int64)
        content = np.frombuffer(data, np.uint8)
        is_read = _read_records(content, base_offset, first_ms, offsets, times_ms, spans)
        if not is_read or rows != count:
            raise CorruptRecordException("Found invalid record structure")
        return cls("", -1, offsets, times_ms, data, spans)

    @classmethod
    def of(cls, records: Sequence[Any]) -> "RecordColumns":
        """Of records one by one, of one partition."""
        if isinstance(records, RecordColumns):
            return records
        parts = [(one.key, one.value, encoded_headers(one.headers)) for one in records]
        spans = np.full((len(parts), _SPANS), -1, np.int64)
        at = 0
        for row, (key, value, headers) in enumerate(parts):
            spans[row, _BEGIN] = at
            for place, part in ((_KEY, key), (_VALUE, value), (_HEADERS, headers)):
                if part is not None:
                    spans[row, place : place + 2] = at, at + len(part)
                    at += len(part)
        return cls(
            getattr(records[0], "topic", "") if records else "",
            getattr(records[0], "partition", -1) if records else -1,
            np.array([one.offset for one in records], np.int64),
            np.array([one.timestamp for one in records], np.int64),
            b"".join(part for three in parts for part in three if part is not None),
            spans,
        )

    @classmethod
    def joined(cls, parts: Sequence["RecordColumns"]) -> "RecordColumns":
        """Records that follow one another; there is one part at least."""
        if len(parts) == 1:
            return parts[0]
        moved, at = [], 0
        for part in parts:
            moved.append(_moved(part.spans, at))
            at += len(part.data)
        return cls(
            parts[0].topic,
            parts[0].partition,
            np.concatenate([part.offsets for part in parts]),
            np.concatenate([part.times_ms for part in parts]),
            b"".join([part.data for part in parts]),
            np.concatenate(moved),
        )

    def of_place(self, topic: str, partition: int) -> "RecordColumns":
        """The same, of this topic and partition."""
        return replace(self, topic=topic, partition=partition)

    def from_offset(self, offset: int) -> "RecordColumns":
        """Those at this offset and after it."""
        first = int(np.searchsorted(self.offsets, offset))
        return self[first:] if first else self

    @property
    def keys(self) -> ByteColumn:
        """Each one's key."""
        return self._column(_KEY)

    @property
    def values(self) -> ByteColumn:
        """Each one's value."""
        return self._column(_VALUE)

    @property
    def headers(self) -> ByteColumn:
        """Each one's headers, as `encoded_headers` says."""
        return self._column(_HEADERS)

    def _column(self, place: int) -> ByteColumn:
        spans = self.spans
        return ByteColumn(
            self.data,
            np.ascontiguousarray(spans[:, place]),
            np.ascontiguousarray(spans[:, place + 1]),
        )

    @cached_property
    def has_headers(self) -> bool:
        """Whether any record has one."""
        data = np.frombuffer(self.data, np.uint8)
        return bool((data[self.spans[:, _HEADERS]] != _NO_HEADERS).any())

    def __len__(self) -> int:
        return len(self.offsets)

    @overload
    def __getitem__(self, at: int) -> FetchedRecord: ...
    @overload
    def __getitem__(self, at: "slice[Any, Any, Any]") -> "RecordColumns": ...
    def __getitem__(self, at: Any) -> Any:
        """One record; of a slice in steps of one the records, with no bytes but their own."""
        if isinstance(at, slice):
            start, stop, _ = at.indices(len(self))
            return self if stop - start == len(self) else self._part(start, stop)
        row = range(len(self))[at]
        return self._record(self.offsets[row], self.times_ms[row], *self.spans[row].tolist())

    def _part(self, start: int, stop: int) -> "RecordColumns":
        spans = self.spans[start:stop]
        if start >= stop:
            return replace(self, offsets=self.offsets[:0], times_ms=self.times_ms[:0], spans=spans)
        begin, end = int(spans[0, _BEGIN]), int(spans[-1, _END])
        return RecordColumns(
            self.topic,
            self.partition,
            self.offsets[start:stop],
            self.times_ms[start:stop],
            self.data[begin:end],
            _moved(spans, -begin),
        )

    def __iter__(self) -> Iterator[FetchedRecord]:
        rows = self.offsets.tolist(), self.times_ms.tolist(), self.spans.tolist()
        for offset, time_ms, spans in zip(*rows, strict=True):
            yield self._record(offset, time_ms, *spans)

    def _record(self, offset: int, time_ms: int, _begin: int, *spans: int) -> FetchedRecord:
        key, key_end, value, value_end, headers, end = spans
        data = self.data
        return FetchedRecord(
            self.topic,
            self.partition,
            int(offset),
            int(time_ms),
            None if key < 0 else data[key:key_end],
            None if value < 0 else data[value:value_end],
            tuple(_headers(data, headers)) if end - headers > 1 else (),
        )


def _moved(spans: NDArray[np.int64], by: int) -> NDArray[np.int64]:
    return np.where(spans < 0, -1, spans + by)


def _headers(data: bytes, at: int) -> Iterator[Header]:
    """Bytes of a name that are no UTF-8 are written as escapes."""
    count, at = decode_varint(data, at)
    for _ in range(count):
        size, at = decode_varint(data, at)
        name, at = data[at : at + size].decode(errors="backslashreplace"), at + size
        size, at = decode_varint(data, at)
        yield name, None if size < 0 else data[at : at + size]
        at += max(size, 0)


@kernel
def _read_records(
    data: Any, base_offset: int, first_ms: int, offsets: Any, times_ms: Any, spans: Any
) -> bool:
    """Whether the bytes hold as many records as there are rows."""
    end, at = data.size, 0
    for row in range(offsets.size):
        length, at = _number(data, at, end)
        if at < 0 or length < 1 or length > end - at:
            return False
        spans[row, 0] = at
        stop = at + length
        delta, at = _number(data, at + 1, stop)  # after the attributes, of which none is defined
        times_ms[row] = first_ms + delta
        delta, at = _number(data, at, stop)
        offsets[row] = base_offset + delta
        for place in (1, 3):
            start, at = _field(data, at, stop)
            spans[row, place] = start
            spans[row, place + 1] = at if start >= 0 else -1
        spans[row, 5], spans[row, 6] = at, stop
        at = _headers_end(data, at, stop)
        if at != stop:
            return False
    return True


class CarriedHeaders:
    """Which headers of a record go on to what is made of it, each once at most.

    The first of its name that has a value, of `bytes_max` at most.
    """

    def __init__(self, names: Sequence[str], bytes_max: int) -> None:
        assert len(names) <= _CARRIED_MAX
        self._names = ByteColumn.of([name.encode() for name in names]).arrays
        self._bytes_max = bytes_max

    def behind(self, own: ByteColumn, own_count: int, headers: ByteColumn) -> ByteColumn:
        """Headers (n,) of new records: `own_count` encoded ones of `own`, and those carried on."""
        assert own_count + _CARRIED_MAX <= _COUNT_MAX
        size = len(own) + int(own.sizes.sum() + headers.sizes.sum())
        out, ends = np.empty(size, np.uint8), np.empty(len(own), np.int64)
        _carry(own.arrays, own_count, headers.arrays, self._names, self._bytes_max, out, ends)
        return ByteColumn.adjacent(out[: ends[-1] if len(ends) else 0].tobytes(), ends)


@kernel
def _carry(
    own: Any, own_count: int, headers: Any, names: Any, bytes_max: int, out: Any, ends: Any
) -> None:
    data = headers[0]
    kept, to = np.empty((_CARRIED_MAX, 2), np.int64), 0
    for row in range(ends.size):
        count = _kept(headers, row, names, bytes_max, kept)
        out[to] = (own_count + count) << 1
        size = own[2][row] - own[1][row]
        copy_bytes(own[0], own[1][row], size, out, to + 1)
        to += 1 + size
        for i in range(count):
            size = kept[i, 1] - kept[i, 0]
            copy_bytes(data, kept[i, 0], size, out, to)
            to += size
        ends[row] = to


@kernel
def _kept(headers: Any, row: int, names: Any, bytes_max: int, kept: Any) -> int:
    """How many are carried on; where each begins and ends, in their order."""
    data, end = headers[0], headers[2][row]
    count, at = _number(data, headers[1][row], end)
    seen, found = 0, 0
    for _ in range(count):
        begin = at
        name, at = _field(data, at, end)
        which = _which(data, name, at, names)
        value, at = _field(data, at, end)
        if which >= 0 and value >= 0 and at - value <= bytes_max and not seen >> which & 1:
            seen |= 1 << which
            kept[found, 0], kept[found, 1] = begin, at
            found += 1
    return found


@kernel
def _which(data: Any, start: int, end: int, names: Any) -> int:
    """Which of the names it is; -1 for none."""
    for i in range(names[1].size):
        if names[2][i] - names[1][i] == end - start:
            is_same = True
            for j in range(end - start):
                is_same = is_same and data[start + j] == names[0][names[1][i] + j]
            if is_same:
                return i
    return -1


@kernel
def _headers_end(data: Any, at: int, end: int) -> int:
    """Where the headers end; -1 where they are none."""
    count, at = _number(data, at, end)
    for _ in range(count):
        name, at = _field(data, at, end)
        if name < 0:
            return -1
        _, at = _field(data, at, end)
    return at if count >= 0 else -1


@kernel
def _field(data: Any, at: int, end: int) -> Any:
    """Where the bytes begin, -1 for none, and where they end; the latter -1 where they don't."""
    size, at = _number(data, at, end)
    if at < 0 or size > end - at:
        return -1, -1
    if size < 0:
        return -1, at
    return at, at + size


@kernel
def _number(data: Any, at: int, end: int) -> Any:
    """A number in zigzag form of variable length, and where it ends; the latter -1 at damage."""
    raw, shift = np.int64(0), 0
    while 0 <= at < end and shift < 64:
        byte = np.int64(data[at])
        raw |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return ((raw >> 1) & 0x7FFFFFFFFFFFFFFF) ^ -(raw & 1), at
        shift += 7
    return 0, -1
