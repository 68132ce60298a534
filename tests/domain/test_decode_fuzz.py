"""Whatever bytes arrive, decoding ends in a transaction within bounds or in a refusal."""

import json
import math
from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamapp.domain.transaction import TIME_MS_MAX, Transaction, epoch_ms, rfc3339
from tests.domain.messages import GOOD, KEY, message
from tests.domain.promise import FIELDS, settled

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TEXTS = st.text(max_size=140)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    TEXTS,
    st.sampled_from(["EUR", "BE", "2026-02-02T12:00:00Z", "ann", 0, 0.5, 12.5]),
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3)
)


@given(st.one_of(st.none(), st.binary(max_size=60)), st.one_of(st.none(), st.binary(max_size=300)))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_settled(key: bytes | None, value: bytes | None) -> None:
    """No bytes break the decoder."""
    settled(key, value)


@given(st.dictionaries(st.one_of(st.sampled_from(FIELDS), TEXTS), JSON, max_size=8))
@settings(max_examples=300, deadline=None)
@example({"\ud800": math.nan})
def test_any_object_is_settled(fields: dict[str, object]) -> None:
    """Good fields replaced by anything that Python calls JSON, NaN and surrogates included."""
    good = json.loads(message())
    settled(KEY, json.dumps({**good, **fields}).encode())


@given(
    st.integers(0, len(message()) - 1),
    st.integers(0, 8),
    st.one_of(st.binary(max_size=8), st.sampled_from([b"\\u", b"e9999", b'"', b"NaN", b"{{"])),
)
@settings(max_examples=300, deadline=None)
def test_a_good_message_may_be_damaged_anywhere(at: int, removed: int, added: bytes) -> None:
    """Bytes lost, changed or put in."""
    good = message()
    settled(KEY, good[:at] + added + good[at + removed :])


@given(st.sampled_from([*GOOD]), st.text("0123456789.-+eE", max_size=12))
@settings(max_examples=200, deadline=None)
def test_any_number_is_settled(field: str, raw: str) -> None:
    """Numbers, and what nearly is one."""
    settled(KEY, message(**{field: raw}))


@given(
    st.fixed_dictionaries(
        {
            "tx_id": st.text(min_size=1, max_size=128),
            "user_id": st.text(min_size=1, max_size=128),
            "amount": st.floats(0, 1e12),
            "timestamp": st.integers(0, TIME_MS_MAX),
        },
        optional={
            "currency": st.from_regex(r"\A[A-Z]{3}\Z"),
            "country": st.from_regex(r"\A[A-Z]{2}\Z"),
            "merchant_id": st.text(max_size=128),
            "latitude": st.floats(-90, 90),
            "longitude": st.floats(-180, 180),
            "ip_risk_score": st.floats(0, 1),
        },
    )
)
@settings(max_examples=150, deadline=None)
def test_every_good_message_is_accepted(fields: dict[str, object]) -> None:
    """What keeps the contract is read back as it was sent, whoever wrote the JSON."""
    expected = msgspec.convert(fields, Transaction)
    key = str(fields["user_id"]).encode()
    assert expected == settled(key, json.dumps(fields).encode())
    assert expected == settled(key, msgspec.json.encode(fields))


@given(st.integers(0, TIME_MS_MAX))
def test_event_times_survive_rfc_3339(time_ms: int) -> None:
    """What a verdict carries is read back to the same millisecond."""
    text = rfc3339(time_ms)
    assert time_ms == epoch_ms(datetime.fromisoformat(text))
    assert time_ms == epoch_ms(msgspec.convert(text, datetime))


@given(st.timedeltas(timedelta(0), timedelta(days=2_900_000)).map(EPOCH.__add__))
def test_event_times_are_rounded_down(moment: datetime) -> None:
    """A time is never read as later than it was, and off by less than a millisecond."""
    read = datetime.fromisoformat(rfc3339(epoch_ms(moment)))
    assert 0 <= (moment - read).total_seconds() < 0.001
