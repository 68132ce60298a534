"""Verdicts are made as columns; they must be what the structs of the contract would encode."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from streamapp.domain.transaction import TIME_MS_MAX, Transaction, rfc3339
from streamapp.domain.verdict import decode_verdict
from streamapp.features.contract import FEATURE_NAMES
from streamapp.scoring import verdicts
from streamapp.scoring.artifact import ModelArtifact
from streamapp.scoring.pipeline import Pipeline


@given(st.lists(st.integers(0, TIME_MS_MAX), min_size=1, max_size=20))
def test_a_column_of_times_reads_as_each_time_alone(times_ms: list[int]) -> None:
    """The batch's way to write event times and the single one are the same text."""
    transactions = [
        Transaction(tx_id="t", user_id="u", amount=1.0, timestamp=time_ms) for time_ms in times_ms
    ]
    assert [rfc3339(time_ms) for time_ms in times_ms] == verdicts._times(transactions)


@given(
    st.lists(
        st.floats(allow_nan=False, allow_infinity=False),
        min_size=len(FEATURE_NAMES),
        max_size=len(FEATURE_NAMES),
    )
)
def test_a_vector_encodes_as_the_dictionary_of_its_features(vector: list[float]) -> None:
    """Consumers see an object from feature name to value, in the contract's order."""
    named = dict(zip(FEATURE_NAMES, vector, strict=True))
    assert msgspec.json.encode(named) == msgspec.json.encode(verdicts._Vector(*vector))


def test_a_verdict_is_what_its_struct_encodes(model: ModelArtifact) -> None:
    """Read as verdict v1 and encoded again, a payload keeps every byte, duplicates too."""
    value = b'{"tx_id":"1","user_id":"ann","amount":1e6,"timestamp":1767603600001}'
    payloads = Pipeline(model).process([b"ann", b"ann"], [value, value]).payloads
    assert payloads == [msgspec.json.encode(decode_verdict(payload)) for payload in payloads]
    assert "transactions-0-0" == decode_verdict(payloads[1]).duplicate_of
