"""Reading fetched records: as aiokafka does, and also where a header's name is no text."""

import struct
from itertools import chain
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from streamapp.engine.fetched_records import Batches, FetchResult, PartitionRecords, records
from streamapp.engine.record_batch import Messages, RecordBatch, sized_field, varint
from streamapp.engine.record_columns import FetchedRecord
from streamapp.scoring.byte_column import ByteColumn
from tests.engine.test_record_batch import HEADERS, MESSAGES, NULLABLE, TIME_MS

PLACE = TopicPartition("transactions", 2)
RAW_HEADERS = st.lists(st.tuples(st.binary(max_size=20), NULLABLE), max_size=4)
RAW_MESSAGES = st.lists(st.tuples(NULLABLE, NULLABLE, RAW_HEADERS), min_size=1, max_size=20)
CODECS = st.integers(DefaultRecordBatch.CODEC_NONE, DefaultRecordBatch.CODEC_ZSTD)


def block_of(messages: list[Any]) -> Messages:
    """Messages whose headers have names of any bytes."""
    headers = [
        varint(len(found)) + b"".join(sized_field(one) for pair in found for one in pair)
        for _, _, found in messages
    ]
    return Messages(
        ByteColumn.of([key for key, _, _ in messages]),
        ByteColumn.of([value for _, value, _ in messages]),
        ByteColumn.of(headers),
    )


def batch_of(messages: list[Any]) -> bytes:
    """A record batch of them."""
    return RecordBatch([block_of(messages)], TIME_MS, is_transactional=False)._build()


def fetched(content: bytes, start: int = 0) -> list[FetchedRecord]:
    """What the engine gets of a fetched partition, from offset `start` on."""
    return list(chain.from_iterable(reader(content, start)))


def reader(content: bytes, start: int = 0) -> PartitionRecords:
    """What reads a fetched partition from offset `start` on."""
    return PartitionRecords(PLACE, Batches(content), None, start, None, None, True, 1)


@given(RAW_MESSAGES, st.integers(0, 19))
def test_no_name_of_a_header_stops_a_partition(messages: list[Any], start: int) -> None:
    """Key, value, offset and every header's value are there; odd bytes of a name are escaped."""
    expected = [
        FetchedRecord(
            *PLACE,
            offset,
            TIME_MS,
            key,
            value,
            tuple((name.decode(errors="backslashreplace"), content) for name, content in headers),
        )
        for offset, (key, value, headers) in enumerate(messages)
    ]
    assert expected[start:] == fetched(batch_of(messages), start)


@given(MESSAGES, CODECS, st.integers(0, 10**6))
def test_records_are_read_as_by_aiokafka(messages: list[Any], codec: int, step: int) -> None:
    """Whatever they were compressed with; times differ from record to record."""
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 10**6)
    for offset, (key, value, headers) in enumerate(messages):
        builder.append(offset, TIME_MS + offset * step, key, value, list(headers))
    content = bytes(builder.build())
    expected = [
        (one.offset, one.timestamp, one.key, one.value, list(one.headers))
        for one in DefaultRecordBatch(content)
    ]
    found = records(memoryview(content))
    assert expected == [
        (one.offset, one.timestamp, one.key, one.value, list(one.headers)) for one in found
    ]


@given(st.lists(st.tuples(NULLABLE, NULLABLE, HEADERS), min_size=1, max_size=3))
def test_batches_follow_one_another_up_to_one_that_is_cut_off(messages: list[Any]) -> None:
    """A fetch ends anywhere; the rest is fetched again."""
    one = RecordBatch([Messages.of(messages)], TIME_MS, is_transactional=False)._build()
    odd = batch_of([(b"key", b"value", [(b"\xff", b"")])])
    batches = Batches(odd + one + odd[:-1])
    found = []
    while batches.has_next():
        [block] = batches.next_batch()
        found.append([record.value for record in block.columns])
    assert [[b"value"], [value for _, value, _ in messages]] == found
    assert batches.next_batch() is None
    assert len(odd + one + odd) - 1 == batches.size_in_bytes()


class Assignment:
    """An assignment with one partition, which is not paused; knows where it stands."""

    active, paused = True, False

    def __init__(self, position: int) -> None:
        self.position = position

    def state_value(self, _place: TopicPartition) -> "Assignment":
        """Its own."""
        return self

    def consumed_to(self, position: int) -> None:
        """Go on from there."""
        self.position = position


@given(RAW_MESSAGES, st.integers(0, 19), st.lists(st.integers(1, 30), min_size=1))
def test_a_fetch_is_given_up_to_a_bound(messages: list[Any], start: int, bounds: list[int]) -> None:
    """Bound by bound it comes to all there is, and the position stands behind what was given."""
    content = batch_of(messages) + RecordBatch(
        [block_of(messages)], TIME_MS, is_transactional=False
    )._build().replace(b"\0" * 8, struct.pack(">q", len(messages)), 1)
    here = Assignment(start)
    result = FetchResult(
        PLACE, assignment=here, partition_records=reader(content, start), backoff=0
    )
    found: list[FetchedRecord] = []
    for bound in [*bounds, None]:
        if not result.has_more():
            break
        given_now = result.getall(bound)
        assert bound is None or len(given_now) <= bound
        found += given_now
        if result.has_more():
            assert found[-1].offset + 1 == here.position
    assert not result.has_more()
    assert fetched(content, start) == found
    assert 2 * len(messages) == here.position


def test_messages_of_old_brokers_are_read() -> None:
    """Magic 1: no batches, no headers."""
    builder = LegacyRecordBatchBuilder(1, 0, 1000)
    builder.append(0, TIME_MS, b"key", b"value")
    assert [(b"key", b"value", ())] == [
        (one.key, one.value, one.headers) for one in fetched(bytes(builder.build()))
    ]


@given(RAW_MESSAGES, st.data())
def test_damage_is_no_record(messages: list[Any], data: st.DataObject) -> None:
    """What does not keep to the format is refused in the consumer's own way."""
    odd = [*messages, (b"key", b"value", [(b"\xff", b"")])]
    content = bytearray(batch_of(odd))
    count = struct.pack(">i", len(odd) + data.draw(st.integers(1, 9)))
    content[57:61] = count
    with pytest.raises(CorruptRecordException):
        records(memoryview(bytes(content)))
