"""Records as columns: the same as one by one."""

from typing import Any

from aiokafka.structs import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

from streamapp.engine.record_batch import encoded_headers
from streamapp.engine.record_columns import CarriedHeaders, FetchedRecord, RecordColumns
from streamapp.scoring.byte_column import ByteColumn
from tests.engine.records import record

NAMES = st.sampled_from(["traceparent", "tracestate", "sent_at", "own", "", "ünlich"])
VALUES = st.none() | st.binary(max_size=4)
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=6)
MESSAGES = st.lists(st.tuples(VALUES, VALUES, HEADERS), max_size=12)
CARRIED = ("traceparent", "tracestate", "sent_at")


def records(messages: list[Any]) -> list[ConsumerRecord]:
    """With offsets that jump."""
    return [record(3 * i, *one) for i, one in enumerate(messages)]


def plain(found: list[ConsumerRecord]) -> list[FetchedRecord]:
    """With the fields that columns keep."""
    return [
        FetchedRecord(
            one.topic, one.partition, one.offset, one.timestamp, one.key, one.value, one.headers
        )
        for one in found
    ]


@given(MESSAGES, st.data())
def test_a_part_and_parts_together_are_the_same_records(
    messages: list[Any], data: st.DataObject
) -> None:
    """Cut anywhere and joined again; each one by its place, too."""
    found = records(messages)
    cut = data.draw(st.integers(0, len(found)))
    columns = RecordColumns.of(found)
    parts = columns[:cut], columns[cut:]
    assert plain(found[:cut]) == list(parts[0])
    assert plain(found[cut:]) == list(parts[1])
    joined = RecordColumns.joined(parts)
    assert plain(found) == list(joined) == [joined[i] for i in range(len(found))]
    assert [one.key for one in found] == [joined.keys[i] for i in range(len(found))]
    assert [one.value for one in found] == [joined.values[i] for i in range(len(found))]


@given(MESSAGES, st.integers(0, 40))
def test_those_from_an_offset_on_are_found(messages: list[Any], offset: int) -> None:
    """Whether a record stands there or not."""
    found = records(messages)
    expected = plain([one for one in found if one.offset >= offset])
    assert expected == list(RecordColumns.of(found).from_offset(offset))


@given(MESSAGES, st.integers(0, 4))
def test_headers_are_carried_once_each(messages: list[Any], bytes_max: int) -> None:
    """The first of a name that has a value of no more than the bound; in the sender's order."""
    columns = RecordColumns.of(records(messages))
    own = [("schema", b"verdict/1"), ("severity", b"LOW")]
    expected = []
    for _, _, headers in messages:
        carried: dict[str, bytes] = {}
        for name, value in headers:
            if name in CARRIED and value is not None and len(value) <= bytes_max:
                carried.setdefault(name, value)
        expected.append(encoded_headers([*own, *carried.items()]))
    encoded = ByteColumn.of([encoded_headers(own)[1:]] * len(messages))
    found = CarriedHeaders(CARRIED, bytes_max).behind(encoded, len(own), columns.headers)
    assert expected == list(found)
    assert any(headers for _, _, headers in messages) == columns.has_headers
