"""Canonical bytes of a transaction: decoding them gives the transaction back."""

from datetime import UTC, datetime, timedelta, timezone

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamapp.domain.decode import decode
from streamapp.domain.transaction import TIME_MS_MAX, Transaction, epoch_ms
from streamapp.replay.encode import encode_columns, encode_transaction, rfc3339_column

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=128)
_IDENTIFIER = _TEXT.filter(bool)
_TIMES = st.integers(0, TIME_MS_MAX) | st.datetimes(
    datetime(1970, 1, 2),  # noqa: DTZ001 - the strategy adds the zone
    datetime(9999, 12, 30),  # noqa: DTZ001
    timezones=st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m))),
)
_TRANSACTIONS = st.builds(
    Transaction,
    tx_id=_IDENTIFIER,
    user_id=_IDENTIFIER,
    amount=st.floats(0, 1e12),
    timestamp=_TIMES,
    currency=st.none() | st.from_regex(r"\A[A-Z]{3}\Z"),
    merchant_id=st.none() | _TEXT,
    merchant_category=st.none() | _TEXT,
    transaction_type=st.none() | _TEXT,
    country=st.none() | st.from_regex(r"\A[A-Z]{2}\Z"),
    device_id=st.none() | _TEXT,
    ip_address=st.none() | _TEXT,
    latitude=st.none() | st.floats(-90, 90),
    longitude=st.none() | st.floats(-180, 180),
    channel=st.none() | _TEXT,
    account_age_days=st.none() | st.floats(0, 100_000),
    device_risk_score=st.none() | st.floats(0, 1),
    ip_risk_score=st.none() | st.floats(0, 1),
)


def _in_utc_ms(transaction: Transaction) -> Transaction:
    """The same transaction with its time as the bytes carry it."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
        milliseconds=epoch_ms(transaction.timestamp)
    )
    return msgspec.structs.replace(transaction, timestamp=moment)


@given(_TRANSACTIONS)
def test_decode_undoes_encode(transaction: Transaction) -> None:
    """decode(encode(t)) is t, its time in UTC to the millisecond."""
    key = transaction.user_id.encode()
    assert _in_utc_ms(transaction) == decode(key, encode_transaction(transaction))


@given(_TRANSACTIONS)
def test_encoding_is_canonical(transaction: Transaction) -> None:
    """Encoding what was decoded gives the same bytes."""
    encoded = encode_transaction(transaction)
    decoded = decode(transaction.user_id.encode(), encoded)
    assert isinstance(decoded, Transaction)
    assert encoded == encode_transaction(decoded)


@given(st.lists(_TRANSACTIONS, min_size=1, max_size=20))
def test_batches_do_not_change_bytes(transactions: list[Transaction]) -> None:
    """A batch encodes to what its transactions encode to one by one."""
    names = [name for name in Transaction.__struct_fields__ if name != "timestamp"]
    columns: dict[str, list[object]] = {
        name: [getattr(transaction, name) for transaction in transactions] for name in names
    }
    times = np.array([epoch_ms(transaction.timestamp) for transaction in transactions])
    expected = [encode_transaction(transaction) for transaction in transactions]
    assert expected == encode_columns(columns | {"timestamp": rfc3339_column(times)})


def test_fields_keep_their_order_and_absent_ones_are_left_out() -> None:
    """Order is that of the contract, whatever the order of the columns."""
    columns = {"merchant_id": [None], "amount": [1.5], "timestamp": ["x"], "tx_id": ["t"]}
    expected = [b'{"tx_id":"t","amount":1.5,"timestamp":"x"}']
    assert expected == encode_columns(columns)


@pytest.mark.parametrize(
    ("time_ms", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.001Z"),
        (1_546_300_843_000, "2019-01-01T00:00:43Z"),
        (1_546_300_843_120, "2019-01-01T00:00:43.120Z"),
        (TIME_MS_MAX, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_times(time_ms: int, text: str) -> None:
    """RFC 3339 in UTC, milliseconds only where they are not zero."""
    assert [text] == rfc3339_column(np.array([time_ms]))
