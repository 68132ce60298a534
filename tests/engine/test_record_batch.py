"""Record batches built from columns: readers see what went in, as from aiokafka's own builder."""

from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from streamapp.engine.record_batch import Message, Messages, RecordBatch, batched
from tests.engine.unpacking import unpacked

TIME_MS = 1_700_000_000_000

NULLABLE = st.none() | st.binary(max_size=300)
HEADERS = st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"])), NULLABLE))
MESSAGES = st.lists(st.tuples(NULLABLE, NULLABLE, HEADERS), min_size=1, max_size=30)


def read(built: bytes) -> tuple[DefaultRecordBatch, list[Message]]:
    """The one batch of a buffer, verified, and its messages."""
    records = MemoryRecords(built)
    batch = records.next_batch()
    assert batch.validate_crc()
    assert not records.has_next()
    return batch, [(one.key, one.value, list(one.headers)) for one in batch]


@given(MESSAGES, st.booleans())
def test_a_batch_reads_as_it_was_written(messages: list[Message], is_transactional: bool) -> None:
    """Nulls, headers, offsets, times and the producer's marks, whether compression pays or not."""
    half = len(messages) // 2
    blocks = [Messages.of(messages[:half]), Messages.of(messages[half:])]
    batch = RecordBatch(blocks, TIME_MS, is_transactional=is_transactional)
    batch._set_producer_state(4711, 3, 99)
    found, read_messages = read(batch._build())
    assert messages == read_messages == unpacked(blocks)
    assert len(messages) == batch.record_count() == found.next_offset - found.base_offset
    assert (4711, 3, 99) == (found.producer_id, found.producer_epoch, found.base_sequence)
    assert is_transactional == found.is_transactional
    assert TIME_MS == found.max_timestamp == found.first_timestamp
    assert batch.size() >= len(batch._build())


@given(MESSAGES)
def test_records_are_those_of_the_common_builder(messages: list[Message]) -> None:
    """Uncompressed, the same bytes but for the leader epoch, which no reader minds."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 10**6)
    for offset, (key, value, headers) in enumerate(messages):
        builder.append(offset, TIME_MS, key, value, list(headers))
    batch = RecordBatch([Messages.of(messages)], TIME_MS, is_transactional=False)
    header_bytes = 61
    assert bytes(builder.build())[header_bytes:] == batch._records().tobytes()


@given(st.lists(MESSAGES, max_size=5), st.integers(50, 2000))
def test_batches_keep_to_their_limit(lists: list[list[Message]], bytes_max: int) -> None:
    """All messages in order; over the limit only what is larger alone."""
    batches = list(batched([Messages.of(messages) for messages in lists], bytes_max))
    assert [m for messages in lists for m in messages] == [
        m for one in batches for m in unpacked(one)
    ]
    for batch in batches:
        size = sum(int(block.sizes.sum()) for block in batch)
        assert size <= bytes_max or sum(map(len, batch)) == 1


def test_many_records_have_their_offsets() -> None:
    """Offsets of more than one byte, sizes of more than two."""
    messages: list[Message] = [(b"%d" % i, b"v" * (i * 7), []) for i in range(3000)]
    found, read_messages = read(
        RecordBatch([Messages.of(messages)], TIME_MS, is_transactional=False)._build()
    )
    assert messages == read_messages
    assert 3000 == found.next_offset
