"""Bytes to messages: each record becomes a `Transaction` (or `Label`) or a `Rejected`, no error."""

import json
import math
import re
from datetime import datetime
from typing import Final, TypeVar

import msgspec

from streamapp.domain.dead_letter import Reason, Rejected
from streamapp.domain.label import Label
from streamapp.domain.transaction import PAYLOAD_BYTES_MAX, TIME_MS_MAX, Transaction, epoch_ms

M = TypeVar("M", Transaction, Label)

_transactions: Final = msgspec.json.Decoder(Transaction)
_labels: Final = msgspec.json.Decoder(Label)
_PATH: Final = re.compile(r" - at `\$\.?([^`]*)`$")
_MISSING: Final = re.compile(r"Object missing required field `([^`]+)`")
#: Strings, ended or not, are passed over: brackets in them nest nothing.
_BRACKET: Final = re.compile(rb'"(?:[^"\\]|\\.)*"?|[][{}]', re.DOTALL)

#: How deep a JSON decoder gets depends on how deep on the stack it is called; this does not.
NESTING_MAX: Final = 64


def decode(key: bytes | None, value: bytes | None) -> Transaction | Rejected:
    """One record's transaction, or why it is none. `key` must be the user_id in UTF-8."""
    transaction = _decoded(_transactions, key, value)
    if isinstance(transaction, Rejected) or _is_in_calendar(transaction.timestamp):
        return transaction
    return _out_of_calendar("timestamp")


def decode_label(key: bytes | None, value: bytes | None) -> Label | Rejected:
    """One record's label, or why it is none; likewise."""
    label = _decoded(_labels, key, value)
    if isinstance(label, Rejected):
        return label
    if not _is_in_calendar(label.timestamp):
        return _out_of_calendar("timestamp")
    return label if _is_in_calendar(label.label_time) else _out_of_calendar("label_time")


def _decoded(
    decoder: msgspec.json.Decoder[M], key: bytes | None, value: bytes | None
) -> M | Rejected:
    """All but the limits of times."""
    if not value:
        return _rejected(Reason.EMPTY, "", "empty value; expected a JSON object")
    if len(value) > PAYLOAD_BYTES_MAX:
        detail = f"{len(value)} bytes; expected at most {PAYLOAD_BYTES_MAX}"
        return _rejected(Reason.TOO_LARGE, "", detail)
    try:
        _verify_nesting(value)
        if not value.isascii():
            value.decode()  # msgspec does not look inside the fields it skips
        message = decoder.decode(value)
    except (UnicodeDecodeError, RecursionError, msgspec.DecodeError) as error:
        return _diagnose(value, error, decoder.type)
    if key != message.user_id.encode():
        kind = "no key" if key is None else "another key"
        return _rejected(Reason.KEY_MISMATCH, "key", f"{kind}; expected the user_id in UTF-8")
    return message


def _verify_nesting(value: bytes) -> None:
    """Raises RecursionError."""
    if value.count(b"{") + value.count(b"[") <= NESTING_MAX:
        return
    depth = 0
    for bracket in _BRACKET.finditer(value):
        depth += {b"{": 1, b"[": 1, b"}": -1, b"]": -1}.get(bracket[0], 0)
        if depth > NESTING_MAX:
            raise RecursionError


def _is_in_calendar(timestamp: datetime | int) -> bool:
    """From 1970 to 9999 in UTC; the years between need no look at the time zone."""
    if isinstance(timestamp, datetime) and 1970 < timestamp.year < 9999:
        return True
    return 0 <= epoch_ms(timestamp) <= TIME_MS_MAX


def _out_of_calendar(field: str) -> Rejected:
    return _rejected(Reason.OUT_OF_RANGE, field, "expected 1970 to 9999 in UTC")


def _rejected(reason: Reason, field: str, detail: str) -> Rejected:
    return Rejected(reason, field, "decode", detail)


def _diagnose(value: bytes, error: Exception, kind: type[msgspec.Struct]) -> Rejected:
    """Names reason and field of a refused message; slow, and only run on refused messages."""
    if isinstance(error, UnicodeDecodeError):
        return _rejected(Reason.NOT_UTF8, "", f"{error.reason} at byte {error.start}")
    if isinstance(error, RecursionError):
        return _rejected(Reason.NOT_JSON, "", f"nested too deeply; expected at most {NESTING_MAX}")
    message = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return _not_json(value, message, kind)
    if missing := _MISSING.search(message):
        return _rejected(Reason.MISSING_FIELD, missing.group(1), "absent; expected a value")
    path = _PATH.search(message)
    if path is None:
        return _rejected(Reason.NOT_AN_OBJECT, "", message)
    wrong_type = ", got `" in message
    reason = Reason.WRONG_TYPE if wrong_type else Reason.OUT_OF_RANGE
    return _rejected(reason, path.group(1), message[: path.start()])


def _not_json(value: bytes, message: str, kind: type[msgspec.Struct]) -> Rejected:
    """NaN and Infinity are not JSON, but naming their field says more than a byte position."""
    try:
        lenient = json.loads(value)
    except ValueError:
        return _rejected(Reason.NOT_JSON, "", message)
    if isinstance(lenient, dict):
        for field, content in lenient.items():
            is_ours = field in kind.__struct_fields__  # others may not even be Unicode
            if is_ours and isinstance(content, float) and not math.isfinite(content):
                detail = "NaN or infinite; expected a finite number"
                return _rejected(Reason.OUT_OF_RANGE, field, detail)
    return _rejected(Reason.NOT_JSON, "", message)
