"""Batches reach the engine in the order they were fetched, whatever a rebalance does between."""

from types import SimpleNamespace

import pytest
from faust.types import TP

from streamapp.engine.transport import Consumer, Fetched, GapError, NoReadOffsets, fold
from tests.engine.records import record

PLACE = TP("transactions", 3)


@pytest.fixture
def consumer() -> Consumer:
    """As it stands after its second seek, to offset 5."""
    one = Consumer.__new__(Consumer)
    one._expected, one._seeks = {PLACE: 5}, 2
    return one


def fetched(first: int, last: int, follows: int | None, seeks: int = 2) -> Fetched:
    """Records of these offsets."""
    found = [record(offset) for offset in range(first, last + 1)]
    return fold(found, 100, follows, seeks)[0].value


def test_batches_follow_one_another(consumer: Consumer) -> None:
    """Offsets may jump inside a batch or between two, as behind markers of transactions."""
    assert consumer.is_next(PLACE, fetched(5, 7, follows=5))
    assert consumer.is_next(PLACE, fetched(9, 12, follows=8))


def test_what_was_fetched_before_the_last_seek_is_passed_over(consumer: Consumer) -> None:
    """It will be read again; scored now, what stands before it would be lost."""
    assert not consumer.is_next(PLACE, fetched(9, 12, follows=9, seeks=1))
    assert consumer.is_next(PLACE, fetched(5, 12, follows=5))


@pytest.mark.parametrize("follows", [None, 6])
def test_a_batch_that_never_arrived_is_noticed(consumer: Consumer, follows: int | None) -> None:
    """Instead of going on behind it."""
    with pytest.raises(GapError, match=r"transactions\[3\] goes on at"):
        consumer.is_next(PLACE, fetched(6, 7, follows=follows))


def test_the_same_records_twice_are_no_gap(consumer: Consumer) -> None:
    """The engine knows what it has done."""
    assert consumer.is_next(PLACE, fetched(5, 9, follows=5))
    assert consumer.is_next(PLACE, fetched(5, 7, follows=5))
    assert consumer.is_next(PLACE, fetched(10, 11, follows=10))


def test_faust_remembers_no_offset() -> None:
    """It would drop what is read again after a seek back."""
    offsets = NoReadOffsets()
    offsets[PLACE] = 7
    assert offsets[PLACE] is None


def test_a_full_buffer_leaves_no_partition_out(consumer: Consumer) -> None:
    """Were all left out, nothing would be fetched for a second, however soon there is room."""
    consumer.app = SimpleNamespace(in_recovery=False)
    consumer._active_partitions, consumer._buffered_partitions = {PLACE}, set()
    consumer.on_buffer_full(PLACE)
    assert {PLACE} == consumer._get_active_partitions()
