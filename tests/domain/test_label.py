"""Labels are read exactly, and what is none is refused by its reason and field."""

import json
from typing import Any

import msgspec
import pytest

from streamapp.contract.examples import LABEL
from streamapp.domain.dead_letter import Reason, Rejected
from streamapp.domain.decode import decode_label
from streamapp.domain.label import Label
from streamapp.domain.transaction import PAYLOAD_BYTES_MAX

KEY = LABEL.user_id.encode()


def message(**changes: Any) -> bytes:
    """The example with some fields changed; `...` leaves one out."""
    fields = msgspec.to_builtins(LABEL) | changes
    return json.dumps({k: v for k, v in fields.items() if v is not ...}).encode()


def test_a_label_is_read_exactly() -> None:
    """Unknown fields are passed over."""
    assert decode_label(KEY, message(till=7)) == LABEL


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, (Reason.EMPTY, "")),
        (b"x" * (PAYLOAD_BYTES_MAX + 1), (Reason.TOO_LARGE, "")),
        (b"\xff", (Reason.NOT_UTF8, "")),
        (b"{", (Reason.NOT_JSON, "")),
        (b"[]", (Reason.NOT_AN_OBJECT, "")),
        *[
            (message(**{name: ...}), (Reason.MISSING_FIELD, name))
            for name in ("tx_id", "user_id", "is_fraud", "timestamp", "label_time")
        ],
        (message(is_fraud=1), (Reason.WRONG_TYPE, "is_fraud")),
        (message(is_fraud=None), (Reason.WRONG_TYPE, "is_fraud")),
        (message(tx_id=""), (Reason.OUT_OF_RANGE, "tx_id")),
        (message(label_time="2018-07-08"), (Reason.OUT_OF_RANGE, "label_time")),
        (message(label_time="1969-12-31T23:59:59Z"), (Reason.OUT_OF_RANGE, "label_time")),
        (message(timestamp="1969-12-31T23:59:59Z"), (Reason.OUT_OF_RANGE, "timestamp")),
        (message(user_id="another"), (Reason.KEY_MISMATCH, "key")),
    ],
)
def test_what_is_no_label_is_refused(value: bytes | None, expected: tuple[Reason, str]) -> None:
    """Field, kind and what was expected are named, and never the value."""
    refused = decode_label(KEY, value)
    assert isinstance(refused, Rejected)
    assert expected == (refused.reason, refused.field)
    assert refused.detail


def test_a_label_may_be_older_than_its_payment() -> None:
    """Clocks differ: the join takes it as known with the payment, and counts it."""
    assert isinstance(decode_label(KEY, message(label_time=0)), Label)
