"""What is promised of every outcome of `decode`, for property tests and the fuzzer alike: bounds,
and that the compiled reader of batches finds the same.
"""

import math
import re

import msgspec

from streamapp.domain.dead_letter import DeadLetter, Reason, Rejected
from streamapp.domain.decode import decode
from streamapp.domain.transaction import TIME_MS_MAX, Transaction, epoch_ms
from streamapp.features.columns import columns_of
from streamapp.features.plain_json import CARRIED
from streamapp.scoring.payments import read_payments

FIELDS = Transaction.__struct_fields__
REQUIRED = frozenset({"tx_id", "user_id", "amount", "timestamp"})

#: The fields that each reason of the decoder may name.
FIELDS_OF: dict[Reason, frozenset[str]] = {
    Reason.EMPTY: frozenset({""}),
    Reason.TOO_LARGE: frozenset({""}),
    Reason.NOT_UTF8: frozenset({""}),
    Reason.NOT_JSON: frozenset({""}),
    Reason.NOT_AN_OBJECT: frozenset({""}),
    Reason.MISSING_FIELD: REQUIRED,
    Reason.WRONG_TYPE: frozenset(FIELDS),
    Reason.OUT_OF_RANGE: frozenset(FIELDS),
    Reason.KEY_MISMATCH: frozenset({"key"}),
}


def settled(key: bytes | None, value: bytes | None) -> Transaction | Rejected:
    """Decode, and hold the outcome to what is promised of it."""
    outcome = decode(key, value)
    _read_alike(key, value, outcome)
    if isinstance(outcome, Rejected):
        assert outcome.stage == "decode"
        assert outcome.field in FIELDS_OF[outcome.reason], outcome
        assert 0 < len(outcome.detail) <= 200, outcome
        DeadLetter(outcome, "transactions", 0, 0, key, value).headers()
    else:
        assert [] == broken_bounds(outcome, key)
        assert outcome == decode(key, msgspec.json.encode(outcome)), "another when encoded again"
    return outcome


def _read_alike(key: bytes | None, value: bytes | None, outcome: Transaction | Rejected) -> None:
    payments, refused = read_payments([key], [value], [7])
    if isinstance(outcome, Rejected):
        assert [(0, outcome)] == refused, (outcome, refused)
        assert 0 == len(payments.rows)
        return
    user = outcome.user_id.encode()
    assert ([], [0], [user]) == (refused, payments.rows.tolist(), payments.users())
    expected = columns_of([outcome], [7]).records
    assert expected.tobytes() == payments.columns.records.tobytes(), (expected, payments.columns)
    carried = [msgspec.json.encode(getattr(outcome, name)) for name in CARRIED]
    assert carried == [text[0] for text in payments.texts]


def broken_bounds(transaction: Transaction, key: bytes | None) -> list[str]:
    """Fields of an accepted transaction that the contract does not allow."""
    t = transaction
    shares = (t.device_risk_score, t.ip_risk_score)
    texts = (t.merchant_id, t.merchant_category, t.transaction_type, t.device_id, t.ip_address)
    holds = {
        "tx_id": 1 <= len(t.tx_id) <= 128,
        "user_id": 1 <= len(t.user_id) <= 128 and t.user_id.encode() == key,
        "amount": math.isfinite(t.amount) and 0 <= t.amount <= 1e12,
        "timestamp": 0 <= epoch_ms(t.timestamp) <= TIME_MS_MAX,
        "currency": t.currency is None or bool(re.fullmatch("[A-Z]{3}", t.currency)),
        "country": t.country is None or bool(re.fullmatch("[A-Z]{2}", t.country)),
        "latitude": t.latitude is None or -90 <= t.latitude <= 90,
        "longitude": t.longitude is None or -180 <= t.longitude <= 180,
        "shares": all(share is None or 0 <= share <= 1 for share in shares),
        "age": t.account_age_days is None or 0 <= t.account_age_days <= 100_000,
        "texts": all(text is None or len(text) <= 128 for text in (*texts, t.channel)),
    }
    return [field for field, good in holds.items() if not good]
