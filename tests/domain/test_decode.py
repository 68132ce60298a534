"""Every kind of bad message is refused by its reason and field; good ones are read exactly."""

import json

import pytest

from streamapp.domain.dead_letter import DeadLetter, Reason, Rejected
from streamapp.domain.decode import NESTING_MAX, decode
from streamapp.domain.transaction import PAYLOAD_BYTES_MAX, Transaction, epoch_ms
from tests.domain.messages import GOOD, KEY, message

NOT_JSON = [
    b" ",
    b"hello",
    b"{",
    message()[:-1],
    message() + b"x",
    message() + message(),
    message()[:-1] + b",}",
    b"\xef\xbb\xbf" + message(),  # a byte order mark
    message().decode().encode("utf-16-le"),
    message(amount="01"),
    message(amount="1."),
    message(amount=".5"),
    message(amount="+5"),
    message(amount="0x10"),
    message(note="NaN"),
    message(note='{"deep":NaN}'),
    message(note='"\x01"'),
    message(tx_id='"\\ud800"'),  # half of a surrogate pair
    message(note="[" * 20_000),
    message(note="[" * 20_000 + "]" * 20_000),
    b'{"\\ud800":NaN}',
    b"'" + message() + b"'",
]
NOT_UTF8 = [b"\xff\xfe", b"\x80", message(note='"\x80"').replace(b"\xc2\x80", b"\xff")]
NOT_AN_OBJECT = [b"[]", b"[" + message() + b"]", b'"text"', b"5", b"1.5", b"null", b"true"]


@pytest.mark.parametrize("value", [None, b""])
def test_an_empty_value_is_refused(value: bytes | None) -> None:
    """A tombstone is no payment."""
    assert (Reason.EMPTY, "") == refusal(value)


def test_a_large_value_is_refused_unread() -> None:
    """64 KiB are read, one byte more is not, whatever it holds."""
    padding = PAYLOAD_BYTES_MAX - len(message(note='""'))
    assert isinstance(decode(KEY, message(note=f'"{"x" * padding}"')), Transaction)
    assert (Reason.TOO_LARGE, "") == refusal(message(note=f'"{"x" * (padding + 1)}"'))
    assert (Reason.TOO_LARGE, "") == refusal(b"\xff" * (PAYLOAD_BYTES_MAX + 1))


@pytest.mark.parametrize("value", NOT_JSON)
def test_what_is_not_json_is_refused(value: bytes) -> None:
    """Nothing of it can be relied on, so no field is named."""
    assert (Reason.NOT_JSON, "") == refusal(value)


def test_nesting_has_an_end_wherever_the_decoder_is_called_from() -> None:
    """The interpreter's own depends on how deep the caller is; brackets in texts don't count."""

    def decoded_from(depth: int, value: bytes) -> Transaction | Rejected:
        return decoded_from(depth - 1, value) if depth else decode(KEY, value)

    def nested(levels: int) -> bytes:
        return message(note="[" * levels + "]" * levels, other='"' + r"[{\"[" * 100 + '"')

    for depth in (0, 700):
        assert isinstance(decoded_from(depth, nested(NESTING_MAX - 1)), Transaction)
        refused = decoded_from(depth, nested(NESTING_MAX))
        assert isinstance(refused, Rejected)
        assert "nested too deeply; expected at most 64" == refused.detail


@pytest.mark.parametrize("value", NOT_UTF8)
def test_bad_utf8_is_refused(value: bytes) -> None:
    """Also inside fields that nobody reads."""
    assert (Reason.NOT_UTF8, "") == refusal(value)


@pytest.mark.parametrize("value", NOT_AN_OBJECT)
def test_json_that_is_no_object_is_refused(value: bytes) -> None:
    """A payment is an object."""
    assert (Reason.NOT_AN_OBJECT, "") == refusal(value)


@pytest.mark.parametrize("field", ["tx_id", "user_id", "amount", "timestamp"])
def test_a_missing_field_is_named(field: str) -> None:
    """The four required ones; the first missing is named."""
    assert (Reason.MISSING_FIELD, field) == refusal(message(**{field: None}))


@pytest.mark.parametrize(
    ("field", "raw"),
    [
        *((name, raw) for name in ("tx_id", "user_id") for raw in ("5", "null", "[]", "{}")),
        *(("amount", raw) for raw in ('"5"', "null", "true", "[1]", "{}")),
        *(("timestamp", raw) for raw in ("null", "true", "1000.0", "1000.5", "1e3", "[]")),
        *(("currency", raw) for raw in ("978", "[]", "false")),
        *(("latitude", raw) for raw in ('"50.85"', "true", "[]")),
        *(("device_risk_score", raw) for raw in ('"low"', "{}")),
        ("merchant_id", "17"),
        ("account_age_days", '"12"'),
    ],
)
def test_a_wrong_type_is_named(field: str, raw: str) -> None:
    """Nothing is converted: a number in quotes is not a number."""
    assert (Reason.WRONG_TYPE, field) == refusal(message(**{field: raw}))


@pytest.mark.parametrize(
    ("field", "raw"),
    [
        *((name, '""') for name in ("tx_id", "user_id")),
        *((name, json.dumps("é" * 129)) for name in ("tx_id", "user_id", "merchant_id")),
        *(("amount", raw) for raw in ("-0.01", "-1e400", "1000000000000.01", "1e400")),
        *(("amount", raw) for raw in ("NaN", "Infinity", "-Infinity", "1" + "0" * 400)),
        *(("timestamp", raw) for raw in ("-1", "253402300800000", "1e400", "1" + "0" * 40)),
        ("timestamp", '"2026-02-02T12:00:00"'),  # no offset
        ("timestamp", '"2026-02-02"'),
        ("timestamp", '"2026-02-30T12:00:00Z"'),
        ("timestamp", '"2026-02-02T24:00:00Z"'),
        ("timestamp", '"2016-12-31T23:59:60Z"'),  # leap seconds have no place in epoch time
        ("timestamp", '"2026-02-02T12:00:00+24:00"'),
        ("timestamp", '"1770033600000"'),
        ("timestamp", '"1969-12-31T23:59:59Z"'),
        ("timestamp", '"1970-01-01T00:00:00+01:00"'),
        ("timestamp", '"9999-12-31T23:59:59-01:00"'),
        ("timestamp", '"0001-01-01T00:00:00+10:00"'),
        *(("currency", raw) for raw in ('"eur"', '"EU"', '"EURO"', '""', '"EUR\\n"', '"€UR"')),
        *(("country", raw) for raw in ('"be"', '"BEL"', '"B"', '"BE\\n"', '"B3"')),
        *(("latitude", raw) for raw in ("90.0000001", "-91", "NaN")),
        *(("longitude", raw) for raw in ("180.1", "-181")),
        *(("device_risk_score", raw) for raw in ("1.01", "-0.01")),
        ("account_age_days", "-1"),
        ("account_age_days", "100001"),
    ],
)
def test_a_value_out_of_range_is_named(field: str, raw: str) -> None:
    """Right in type, wrong in value; NaN counts as a value of its field."""
    assert (Reason.OUT_OF_RANGE, field) == refusal(message(**{field: raw}))


@pytest.mark.parametrize("key", [None, b"", b"bob", b"ann ", b"\xff", b'"ann"'])
def test_a_key_that_is_not_the_user_is_refused(key: bytes | None) -> None:
    """Or one user's history would be split over partitions."""
    assert (Reason.KEY_MISMATCH, "key") == refusal(message(), key)


def test_a_refusal_never_quotes_the_message() -> None:
    """What is private in a payment stays in the dead letter's value, out of headers and logs."""
    secret = "s3cret"
    for field, raw in GOOD.items():
        wrong = "[]" if raw.startswith('"') else f'"{secret}"'
        refused = decode(KEY, message(**{"tx_id": f'"{secret}"', field: wrong}))
        assert isinstance(refused, Rejected)
        assert secret not in refused.detail


@pytest.mark.parametrize(
    ("field", "raw", "expected"),
    [
        ("amount", "0", 0.0),
        ("amount", "1e12", 1e12),
        ("amount", "1E+2", 100.0),
        ("amount", "1e-400", 0.0),
        ("amount", "7", 7.0),
        ("timestamp", "0", 0),
        ("timestamp", "253402300799999", 253_402_300_799_999),
        ("tx_id", '"\\u00e9\\ud83d\\ude00"', "é😀"),
        ("tx_id", json.dumps("é" * 128), "é" * 128),
        ("tx_id", '"\\u0000"', "\0"),
        ("merchant_id", '""', ""),
        ("merchant_id", "null", None),
        ("latitude", "-90", -90.0),
        ("longitude", "180", 180.0),
    ],
)
def test_values_at_the_edge_are_read(field: str, raw: str, expected: object) -> None:
    """What the contract allows is let through as it is."""
    assert expected == getattr(accepted(message(**{field: raw})), field)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-02-02T12:00:00Z", 1_770_033_600_000),
        ("2026-02-02t12:00:00z", 1_770_033_600_000),
        ("2026-02-02 12:00:00Z", 1_770_033_600_000),
        ("2026-02-02T13:00:00+01:00", 1_770_033_600_000),
        ("2026-02-02T13:00:00+0100", 1_770_033_600_000),
        ("2026-02-02T12:00:00-00:00", 1_770_033_600_000),
        ("2026-02-02T12:00:00.9996Z", 1_770_033_600_999),  # down to the millisecond
        ("2026-02-02T12:00:00.9999996Z", 1_770_033_601_000),  # first rounded to the microsecond
        ("1970-01-01T00:00:00.0009Z", 0),
        ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
    ],
)
def test_times_of_rfc_3339_are_read_to_the_millisecond(text: str, expected: int) -> None:
    """With any offset, and a space for the T, as RFC 3339 allows."""
    assert expected == epoch_ms(accepted(message(timestamp=f'"{text}"')).timestamp)


def test_unknown_fields_are_kept_out_of_the_way() -> None:
    """Whatever they hold, so long as it is JSON."""
    plain = accepted(message())
    for raw in ('"x"', "1e999", "1" * 5000, "[[{}]]", '{"amount":-1}', "null"):
        assert plain == accepted(message(extra=raw))


def test_of_a_field_given_twice_the_last_counts() -> None:
    """RFC 8259 leaves it open; the key is held against the user_id that counts."""
    twice = message()[:-1] + b',"amount":99,"user_id":"bob"}'
    assert (Reason.KEY_MISMATCH, "key") == refusal(twice, KEY)
    transaction = decode(b"bob", twice)
    assert isinstance(transaction, Transaction)
    assert ("bob", 99.0) == (transaction.user_id, transaction.amount)


def test_headers_of_a_dead_letter() -> None:
    """They say why, where in the message, and where it came from."""
    refused = decode(KEY, message(amount="-1"))
    assert isinstance(refused, Rejected)
    headers = dict(DeadLetter(refused, "transactions", 3, 41, KEY, b"").headers())
    expected = {
        "dlq.reason": b"out_of_range",
        "dlq.field": b"amount",
        "dlq.stage": b"decode",
        "dlq.topic": b"transactions",
        "dlq.partition": b"3",
        "dlq.offset": b"41",
    }
    assert expected == {name: headers[name] for name in expected}


def refusal(value: bytes | None, key: bytes | None = KEY) -> tuple[Reason, str]:
    """Reason and field by which the record is refused."""
    outcome = decode(key, value)
    assert isinstance(outcome, Rejected), outcome
    assert "decode" == outcome.stage
    assert outcome.detail
    return outcome.reason, outcome.field


def accepted(value: bytes) -> Transaction:
    """The transaction in the message."""
    outcome = decode(KEY, value)
    assert isinstance(outcome, Transaction), outcome
    return outcome
