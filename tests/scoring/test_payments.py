"""Batches of records are read by a compiled loop; what it leaves is decoded. Both find the same."""

import random
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamapp.domain.dead_letter import Reason
from streamapp.features.columns import EVENT
from streamapp.features.plain_json import CARRIED, read_plain
from streamapp.scoring.byte_column import ByteColumn
from streamapp.scoring.payments import read_payments
from tests.domain.messages import KEY, message
from tests.domain.promise import settled
from tests.scoring.conftest import Traffic
from tests.stress.mutations import mutated

MUTANTS = 2_000
#: What senders write, and what must not cost them the compiled loop.
PLAIN = [
    message(),
    message().replace(b":", b": ").replace(b",", b",\n "),
    message(currency=None, merchant_id=None, country="null", latitude="null"),
    message(amount="0", latitude="-0.0"),
    message(amount="999999999999.99"),
    message(timestamp='"2026-01-05T09:00:00Z"'),
    message(timestamp='"2026-01-05T09:00:00.250Z"'),
    message(timestamp='"2026-01-05T09:00:00.250125+00:00"'),
    message(timestamp='"2024-02-29T23:59:59-11:30"'),
    message(note='"of no interest"', number="1"),
]
SECONDS = st.integers(0, int(timedelta(days=2_900_000).total_seconds()))
MARKS = st.text("0123456789-:.TZ+", max_size=30)


def test_good_and_bad_are_kept_apart() -> None:
    """Payments with their rows, refusals with theirs; neighbours don't matter."""
    values = [message(), b"{", None, message(tx_id='"t2"'), message(tx_id='"\\u0074"')]
    payments, refused = read_payments([KEY] * 5, values, range(10, 15))
    assert [0, 3, 4] == payments.rows.tolist()
    assert [10, 13, 14] == payments.columns.records["offset"].tolist()
    assert [b'"t1"', b'"t2"', b'"t"'] == list(payments.texts[0])
    assert [(1, Reason.NOT_JSON), (2, Reason.EMPTY)] == [(row, why.reason) for row, why in refused]


@pytest.mark.parametrize("value", PLAIN)
def test_what_senders_write_is_plain(value: bytes) -> None:
    """Read by the loop, as the decoder reads it."""
    assert [True] == are_plain([KEY], [value])
    settled(KEY, value)


@pytest.mark.parametrize("field", ["amount", "latitude", "longitude", "timestamp"])
def test_an_integer_that_is_minus_nothing_is_nothing(field: str) -> None:
    """It has no sign, as a decimal -0.0 has."""
    settled(KEY, message(**{field: "-0"}))


def test_recorded_traffic_is_plain(traffic: Traffic) -> None:
    """All of it, and read as the decoder reads it."""
    good = [pair for pair in zip(traffic.keys, traffic.values, strict=True) if pair[1]][:500]
    assert [True] * len(good) == are_plain([key for key, _ in good], [value for _, value in good])
    for key, value in good:
        settled(key, value)


def test_no_mutation_is_read_otherwise() -> None:
    """Of plain messages, by what careless and hostile senders do."""
    rng = random.Random(1)
    for number in range(MUTANTS):
        mutant = mutated(rng, KEY, PLAIN[number % 4])
        settled(mutant.key, mutant.value)


@given(SECONDS, st.integers(0, 999_999), st.integers(-1_439, 1_439), st.booleans())
@settings(deadline=None)
def test_times_are_read_as_the_decoder_reads_them(
    seconds: int, micros: int, minutes: int, is_utc: bool
) -> None:
    """In every zone, with and without fractions, to the calendar's ends."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    zone = UTC if is_utc else timezone(timedelta(minutes=minutes))
    if 1 < moment.year < 9999:
        moment = moment.astimezone(zone)
    for precision in ("seconds", "milliseconds", "microseconds"):
        text = moment.replace(microsecond=micros).isoformat(timespec=precision)
        settled(KEY, message(timestamp=f'"{text}"'))
        settled(KEY, message(timestamp=f'"{text.replace("+00:00", "Z")}"'))


@given(st.integers(0, 32), st.integers(0, 4), MARKS)
@settings(max_examples=300, deadline=None)
def test_what_is_nearly_a_time_is_read_as_the_decoder_reads_it(
    at: int, removed: int, added: str
) -> None:
    """Marks lost, changed or put in."""
    text = "2026-01-05T09:00:00.250125+01:00"
    settled(KEY, message(timestamp=f'"{text[:at] + added + text[at + removed :]}"'))


@given(
    st.dictionaries(
        st.sampled_from(["amount", "timestamp", "latitude", "ip_risk_score", "note"]),
        st.from_regex(r"\A-?[0-9]{0,20}(\.[0-9]{0,20})?([eE][-+]?[0-9]{0,3})?\Z"),
    )
)
@settings(max_examples=300, deadline=None)
def test_numbers_are_read_as_the_decoder_reads_them(fields: dict[str, str]) -> None:
    """To the last bit, of any length."""
    settled(KEY, message(**fields))


@given(st.text(max_size=130), st.sampled_from(["tx_id", "merchant_id", "device_id", "country"]))
@settings(max_examples=300, deadline=None)
def test_texts_are_read_as_the_decoder_reads_them(text: str, field: str) -> None:
    """Of any length and characters, as they stand and escaped."""
    settled(KEY, message(**{field: f'"{text}"'}))


def are_plain(keys: list[bytes | None], values: list[bytes | None] | list[bytes]) -> list[bool]:
    """Which are read by the compiled loop."""
    spans = np.empty((len(values), len(CARRIED), 2), np.int64)
    events = np.empty(len(values), EVENT)
    columns = ByteColumn.of(keys).arrays, ByteColumn.of(values).arrays
    return read_plain(*columns, events, spans).tolist()  # type: ignore[no-any-return]
