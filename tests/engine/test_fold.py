"""Folding cuts a partition's records into batches and loses none."""

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamapp.engine.gathering import gather_ms, gather_ms_max
from streamapp.engine.transport import fold
from tests.engine.records import record

#: Offsets rise but may jump, as in compacted and in transactional topics.
OFFSETS = st.lists(st.integers(1, 50), max_size=60).map(
    lambda steps: [sum(steps[: i + 1]) for i in range(len(steps))]
)


@given(OFFSETS, st.integers(1, 70))
def test_folding_keeps_every_record_in_order(offsets: list[int], records_max: int) -> None:
    """The batches one after another are the records; each is full but the last."""
    found = [record(offset) for offset in offsets]
    batches = fold(found, records_max)
    assert found == list(chain.from_iterable(batch.value.records for batch in batches))
    sizes = [len(batch.value.records) for batch in batches]
    assert all(size == records_max for size in sizes[:-1])
    assert all(1 <= size <= records_max for size in sizes)


@given(OFFSETS, st.integers(1, 70))
def test_a_batch_stands_where_its_last_record_stands(offsets: list[int], records_max: int) -> None:
    """Offset, time and place are the last record's, so that nothing is taken for done too early."""
    for batch in fold([record(offset) for offset in offsets], records_max):
        last = batch.value.records[-1]
        expected = (last.topic, last.partition, last.offset, last.timestamp)
        assert expected == (batch.topic, batch.partition, batch.offset, batch.timestamp)


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (1, [1]), (7, [7]), (8, [7, 1])])
def test_batches_are_as_few_as_the_bound_allows(count: int, sizes: list[int]) -> None:
    """At the bound there is one batch, one record more begins another."""
    batches = fold([record(offset) for offset in range(count)], 7)
    assert sizes == [len(batch.value.records) for batch in batches]


@given(OFFSETS, st.integers(1, 70))
def test_each_batch_says_what_it_follows(offsets: list[int], records_max: int) -> None:
    """The first where the consumer stood, each other one the batch before: so a loss shows."""
    batches = fold([record(offset) for offset in offsets], records_max, 7)
    follows = [batch.value.follows for batch in batches]
    assert [7, *(batch.offset + 1 for batch in batches)][: len(batches)] == follows


@given(st.floats(0, 10))
def test_gathering_takes_as_long_as_scoring_does_and_is_bounded(spent_s: float) -> None:
    """Half of the time is left to others, and no record waits for long."""
    assert 1 <= gather_ms(spent_s, 24) <= 24
    assert [1, 2, 24] == [gather_ms(spent_s, 24) for spent_s in (0.0, 0.001, 0.1)]


def test_records_are_gathered_for_longer_where_each_fetch_costs_transactions() -> None:
    """Nor does a wish that is not settled yet count as at-least-once."""
    assert gather_ms_max("at_least_once") < gather_ms_max("exactly_once") == gather_ms_max("auto")
