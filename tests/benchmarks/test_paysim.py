"""A PaySim log becomes a recording in the log's order."""

import pyarrow as pa
import pytest

from benchmarks.paysim import converted


@pytest.mark.parametrize("kind", ["action", "type"])
def test_a_log_is_converted(kind: str) -> None:
    """Under either name of the column that says what was done; step 25 is a day after step 1."""
    log = pa.table(
        {
            "step": [1, 25],
            kind: ["CASH_IN", "TRANSFER"],
            "amount": [10, 20.5],
            "nameOrig": ["C1", "C2"],
            "nameDest": ["M1", "C3"],
            "isFraud": [0, 1],
        }
    )
    first, second = converted(log).to_pylist()
    assert ("C1", "M1", "CASH_IN", 10.0, 0) == tuple(
        first[name]
        for name in ("user_id", "merchant_id", "merchant_category", "amount", "is_fraud")
    )
    assert 86_400 == (second["timestamp"] - first["timestamp"]).total_seconds()
    assert (0, 1) == (first["tx_id"], second["tx_id"])
    assert 1 == second["is_fraud"]
